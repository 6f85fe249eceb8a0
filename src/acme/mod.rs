//! Getting certificates: accounts, orders, challenges and renewal (RFC 8555), and the own small
//! authority for names that no public one certifies.
//!
//! Runs beside requests and never on their way. What it gets it hands over as slots of [`crate::tls`].

pub mod authority;
pub mod challenges;
pub mod dns;
pub mod manager;
pub mod secret;
