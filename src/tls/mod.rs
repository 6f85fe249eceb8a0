//! TLS towards clients and towards peers, and certificates as things that are held.
//!
//! Owns handshakes, what a certificate file must be, and which certificate a name is served with.
//! Does not know requests, nor where certificates come from that are not files.

pub mod fetch;
pub mod openssl;
pub mod placeholder;
pub mod provider;
pub mod slot;
pub mod stream;
pub mod terminator;
