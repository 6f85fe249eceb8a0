//! A certificate for local names, signed by the own authority.
//!
//! It is made anew at every start and lives in memory alone: whoever trusts the root trusts each, and
//! a key that is not on the disk cannot be taken from there.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use rustls::sign::CertifiedKey;

use super::authority::Authority;
use super::renewal;
use super::status::{Line, State, Status, Trouble};
use crate::conf::typed::acme::Order;
use crate::conf::typed::log::Level;
use crate::log::error_log;
use crate::tls::facts::Facts;
use crate::tls::provider;
use crate::tls::slot::{Held, Slot};

/// Nothing is waited for longer without a look: the clock may have been set.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// How long to wait after a failure, and after many.
const LEAST_PAUSE: Duration = Duration::from_secs(5);
const MOST_PAUSE: Duration = Duration::from_secs(3600);

/// One certificate of the own authority.
pub struct Local {
    order: Arc<Order>,
    slot: Arc<Slot>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    facts: Option<Facts>,
    renewal: Option<SystemTime>,
    attempts: u32,
    next_attempt: Option<SystemTime>,
    trouble: Option<Trouble>,
    lacking: Option<String>,
    log: Vec<Line>,
}

impl Local {
    /// What an order is for that asks no issuer.
    pub fn new(order: Arc<Order>, slot: Arc<Slot>) -> Arc<Self> {
        Arc::new(Self {
            order,
            slot,
            known: Mutex::default(),
        })
    }

    /// Has the certificate made, and made again, for ever; `labels` are all names of one part that a
    /// new root shall vouch for.
    pub async fn care(self: Arc<Self>, directory: PathBuf, labels: Vec<Box<str>>) {
        loop {
            let now = SystemTime::now();
            let at = {
                let known = self.known.lock();
                known.next_attempt.or(known.renewal)
            };
            if let Some(rest) = at.and_then(|at| at.duration_since(now).ok()) {
                tokio::time::sleep(rest.min(LOOK_AGAIN)).await;
                continue;
            }
            let order = Arc::clone(&self.order);
            let (directory, labels) = (directory.clone(), labels.clone());
            // The root may have to be made, and files are read.
            let made = tokio::task::spawn_blocking(move || sign(&order, directory, &labels)).await;
            let made = made.unwrap_or_else(|_| Err("the thread that signs ended".to_owned()));
            self.take(made);
        }
    }

    fn take(&self, made: Result<Made, String>) {
        let at = SystemTime::now();
        let mut known = self.known.lock();
        match made {
            Ok(made) => {
                self.slot.put(made.held);
                let lacking = (!made.refused.is_empty()).then(|| {
                    format!(
                        "the root of the own authority does not vouch for {}",
                        made.refused
                    )
                });
                known.log.push(Line {
                    at,
                    text: "signed by the own authority".to_owned(),
                });
                let log = std::mem::take(&mut known.log);
                *known = Known {
                    facts: made.facts,
                    renewal: Some(made.renewal),
                    lacking,
                    log,
                    ..Known::default()
                };
            }
            Err(reason) => {
                let what = format!("signing with the own authority: {reason}");
                let name = self.order.names.first().map_or("", |name| name);
                error_log::report(Level::Error, format_args!("certificate \"{name}\": {what}"));
                known.attempts = known.attempts.saturating_add(1);
                let pause = renewal::pause(known.attempts, LEAST_PAUSE, MOST_PAUSE);
                known.next_attempt = Some(at + pause);
                known.log.push(Line {
                    at,
                    text: what.clone(),
                });
                known.trouble = Some(Trouble {
                    at,
                    what,
                    problem: None,
                });
            }
        }
        let excess = known.log.len().saturating_sub(super::certificate::LINES);
        known.log.drain(..excess);
    }

    /// How it stands.
    pub fn status(&self) -> Status {
        let known = self.known.lock();
        Status {
            names: self.order.names.clone(),
            issuer: None,
            challenge: None,
            facts: known.facts.clone(),
            state: match (known.attempts, &known.facts) {
                (0, None) => State::Waiting,
                (0, Some(_)) => State::Valid,
                (attempts, _) => State::Failed { attempts },
            },
            lacking: (self.slot.held().lacking.clone()).or_else(|| known.lacking.clone()),
            next_attempt: known.next_attempt,
            next_renewal: known.renewal,
            last_error: known.trouble.clone(),
            log: known.log.clone(),
        }
    }
}

fn sign(order: &Order, directory: PathBuf, labels: &[Box<str>]) -> Result<Made, String> {
    let labels: Vec<&str> = labels.iter().map(|label| &**label).collect();
    let names: Vec<&str> = order.names.iter().map(|name| &**name).collect();
    let root = Authority::open(&directory, &labels).map_err(|error| told(&error))?;
    // A name that the root may not vouch for shall not cost the others their certificate.
    let (permitted, refused): (Vec<&str>, Vec<&str>) =
        names.iter().partition(|name| root.vouches_for(name));
    let names = match permitted.is_empty() {
        true => &names,
        false => &permitted,
    };
    let issued = root.issue(names, order.key).map_err(|error| told(&error))?;
    let facts = issued.chain.first().and_then(|leaf| Facts::read(leaf));
    let key = provider::provider()
        .key_provider
        .load_private_key(issued.key)
        .map_err(|error| told(&error))?;
    let held = Held::new(Arc::new(CertifiedKey::new(issued.chain, key)));
    Ok(Made {
        held,
        facts,
        renewal: issued.renewal,
        refused: match permitted.is_empty() {
            true => String::new(),
            false => refused.join(", "),
        },
    })
}

/// What was signed.
struct Made {
    held: Held,
    facts: Option<Facts>,
    renewal: SystemTime,
    /// The names that were left out.
    refused: String,
}

/// An error with its causes, in one line.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
