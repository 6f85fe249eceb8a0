//! The gateway to language models: one address and one key for every provider.
//!
//! Owns what a call means: in which words it is said, what it used ([`usage`]), what it costs
//! ([`price`]) and who pays. Does not know the phases of a request; it neither reads nor writes a socket.

pub mod account;
pub mod books;
pub mod budget;
pub mod key;
pub mod limit;
pub mod price;
pub mod refusal;
pub mod usage;
