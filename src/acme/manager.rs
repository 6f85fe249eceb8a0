//! Which certificates are wanted, and what is there for them.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::challenges::Challenges;
use super::status::{State, Status};
use crate::conf::typed::acme::{KeyKind, Order};
use crate::store::Store;
use crate::tls::placeholder::placeholder;
use crate::tls::slot::Slot;

/// What tells one wanted certificate from another: authorities, names, key.
type Key = (Vec<Box<str>>, Vec<Box<str>>, KeyKind);

/// Holds the certificates that we get ourselves.
#[derive(Debug, Default)]
pub struct Manager {
    slots: Mutex<HashMap<Key, (Arc<Slot>, Order)>>,
    challenges: Challenges,
}

/// Why something that a person asked for is not done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// What is in the way.
    pub reason: String,
    /// The way out, if one is known.
    pub hint: Option<String>,
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.reason)
    }
}

impl std::error::Error for Refused {}

impl Manager {
    /// Gets nothing: for a configuration that is only tested.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Gets what [`Manager::attend`] tells it to, in tasks on this runtime, and keeps it below the
    /// state directory.
    pub fn start(_state_directory: PathBuf, _runtime: &Handle) -> Arc<Self> {
        Arc::default()
    }

    /// Tells from now on what happens to the store.
    pub fn remember(&self, _store: Store) {}

    /// The slot for a wanted certificate, the same for as long as the program runs; `None` if the
    /// machine cannot make keys.
    pub fn slot(&self, order: &Order) -> Option<Arc<Slot>> {
        let key = key(order);
        let mut slots = self.slots.lock();
        if let Some((slot, _)) = slots.get(&key) {
            return Some(Arc::clone(slot));
        }
        let slot = Slot::new(placeholder("no certificate was issued yet")?);
        slots.insert(key, (Arc::clone(&slot), order.clone()));
        Some(slot)
    }

    /// What authorities ask to see now.
    pub fn challenges(&self) -> &Challenges {
        &self.challenges
    }

    /// Cares for these from now on and for no others; to be called once a configuration is in force.
    /// The files of those that are not wanted any more stay.
    pub fn attend(&self, orders: &[Arc<Order>]) {
        let wanted: Vec<Key> = orders.iter().map(|order| key(order)).collect();
        self.slots.lock().retain(|key, _| wanted.contains(key));
    }

    /// How all of them stand, by name.
    pub fn statuses(&self) -> Vec<Status> {
        let slots = self.slots.lock();
        let mut statuses: Vec<Status> = slots
            .values()
            .map(|(slot, order)| Status {
                names: order.names.clone(),
                issuer: order.issuers.first().map(|issuer| issuer.name.clone()),
                challenge: None,
                facts: None,
                state: State::Waiting,
                lacking: slot.held().lacking.clone(),
                next_attempt: None,
                next_renewal: None,
                last_error: None,
                log: Vec::new(),
            })
            .collect();
        statuses.sort_by(|one, other| one.names.cmp(&other.names));
        statuses
    }

    /// Gets the certificate for a name anew, now, whatever is there.
    pub fn renew(&self, name: &str) -> Result<(), Refused> {
        Err(self.unknown(name))
    }

    /// Takes a certificate with its key, both PEM, for a name for which one is wanted; it is renewed
    /// as if it had been got here.
    pub fn import(&self, name: &str, _certificate: &[u8], _key: &[u8]) -> Result<(), Refused> {
        Err(self.unknown(name))
    }

    /// Keeps that the terms of an issuer are agreed to, and whom the authority may write to.
    pub fn agree(&self, issuer: &str, _contact: Option<&str>) -> Result<(), Refused> {
        Err(Refused {
            reason: format!("there is no issuer `{issuer}`"),
            hint: None,
        })
    }

    fn unknown(&self, name: &str) -> Refused {
        Refused {
            reason: format!("no server wants a certificate for `{name}` from here"),
            hint: None,
        }
    }
}

fn key(order: &Order) -> Key {
    let issuers = order.issuers.iter().map(|issuer| issuer.name.clone());
    (issuers.collect(), order.names.clone(), order.key)
}
