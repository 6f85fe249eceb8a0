//! May a request pass?

pub mod ip_rules;
