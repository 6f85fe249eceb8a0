//! May a request pass?

pub mod bans;
pub mod ip_rules;
pub mod limits;
pub mod passwords;
pub mod real_ip;
