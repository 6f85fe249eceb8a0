//! May a request pass?

pub mod auto_bans;
pub mod bans;
pub mod identity;
pub mod ip_rules;
pub mod kept_file;
pub mod limits;
pub mod login;
pub mod passwords;
pub mod real_ip;
pub mod tokens;
