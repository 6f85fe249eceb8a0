//! TLS towards clients and towards peers, and certificates as things that are held.
//!
//! Owns handshakes, what a certificate file must be, and which certificate a name is served with.
//! Does not know requests, nor where certificates come from that are not files.

pub mod audit;
pub mod client;
pub mod clients;
pub mod computed;
mod der;
pub mod distinguished_name;
pub mod examine;
pub mod facts;
pub mod fetch;
pub mod file;
pub mod files;
pub mod material;
pub mod ocsp;
pub mod opener;
pub mod openssl;
pub mod password;
pub mod peer_verifier;
pub mod pem;
pub mod pfx;
pub mod placeholder;
pub mod presented;
pub mod provider;
pub mod resumption;
pub mod revocation;
pub mod sessions;
pub mod signature;
pub mod slot;
pub mod standing;
pub mod stapling;
pub mod stream;
pub mod terminator;
pub mod tickets;
pub mod watched;
