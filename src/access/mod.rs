//! May a request pass?

pub mod ip_rules;
pub mod passwords;
pub mod real_ip;
