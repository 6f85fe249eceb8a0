//! Which certificates are wanted, and what is there for them.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::challenges::Challenges;
use crate::conf::typed::acme::{KeyKind, Order};
use crate::tls::placeholder::placeholder;
use crate::tls::slot::Slot;

/// What tells one wanted certificate from another: authority, names, key.
type Key = (Option<Box<str>>, Vec<Box<str>>, KeyKind);

/// Holds the certificates that we get ourselves.
#[derive(Debug, Default)]
pub struct Manager {
    slots: Mutex<HashMap<Key, Arc<Slot>>>,
    challenges: Challenges,
}

impl Manager {
    /// Holds nothing yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The slot for a wanted certificate, the same for as long as the program runs; `None` if the
    /// machine cannot make keys.
    pub fn slot(&self, order: &Order) -> Option<Arc<Slot>> {
        let issuer = order.issuer.as_ref().map(|issuer| issuer.name.clone());
        let key = (issuer, order.names.clone(), order.key);
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.get(&key) {
            return Some(Arc::clone(slot));
        }
        let slot = Slot::new(placeholder("no certificate was issued yet")?);
        slots.insert(key, Arc::clone(&slot));
        Some(slot)
    }

    /// What authorities ask to see now.
    pub fn challenges(&self) -> &Challenges {
        &self.challenges
    }
}
