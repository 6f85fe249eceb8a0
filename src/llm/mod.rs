//! The gateway to language models: one address and one key for every provider.
//!
//! Owns what a call means ([`usage`]): in which words it is said, what it used, what it costs and
//! who pays. Does not know the phases of a request; it neither reads nor writes a socket.

pub mod models;
pub mod usage;
pub mod wire;
