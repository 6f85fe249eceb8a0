//! What an authority asks to see, while it asks: answers to its challenges, for those who serve.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::ServerConfig;

/// The answers that are out now.
#[derive(Debug, Default)]
pub struct Challenges {
    /// By token (RFC 8555 section 8.3).
    tokens: RwLock<HashMap<Box<str>, Arc<str>>>,
    /// By name (RFC 8737).
    handshakes: RwLock<HashMap<Box<str>, Arc<ServerConfig>>>,
}

impl Challenges {
    /// What stands at `/.well-known/acme-challenge/TOKEN`.
    pub fn token(&self, token: &str) -> Option<Arc<str>> {
        self.tokens.read().get(token).cloned()
    }

    /// How a handshake for `acme-tls/1` with this name is answered; the name is in lower case.
    pub fn handshake(&self, name: &str) -> Option<Arc<ServerConfig>> {
        self.handshakes.read().get(name).cloned()
    }
}
