//! How much of a site one client may have: `limit_req` and `limit_conn`.
//!
//! Owns the zones and the decision about a request; what is done about it (waiting, answering,
//! logging) is the caller's. The arithmetic is nginx's, in thousandths of a request and milliseconds.
//! The zones of a configuration go on with the states of the one before, if they have the same name,
//! key and size; all workers share them.

pub mod requests;
pub mod requests_at_a_time;
pub mod table;

use std::sync::Arc;

use crate::conf::template::{Part, Template};
use crate::conf::typed::limits::{LimitZones, Zone};
use crate::conf::variable::{Core, Variable};
use crate::metrics::prometheus::ListedZone;
use crate::unit::printable;
use table::{Counts, Table};

/// The zones of a configuration.
#[derive(Debug, Default)]
pub struct Zones {
    /// By position in [`LimitZones::requests`].
    requests: Vec<Held>,
    /// By position in [`LimitZones::connections`].
    connections: Vec<Held>,
}

#[derive(Debug)]
struct Held {
    name: Box<str>,
    key_text: Box<str>,
    size: usize,
    table: Arc<Table>,
}

/// A zone as it does now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ZoneNow {
    /// How often it decided what.
    pub counts: Counts,
    /// Keys that it holds.
    pub keys: usize,
    /// Bytes that it takes.
    pub bytes: usize,
    /// The keys that were refused most, the worst first.
    pub refused: Vec<KeyNow>,
}

/// A key of a zone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyNow {
    /// In characters that can be shown; an address as such.
    pub key: String,
    /// Requests refused since its state began.
    pub refused: u32,
    /// Thousandths of a request ahead of the rate when it was accounted last; or requests under way.
    pub value: u32,
}

/// So many keys are told of a zone.
const MOST_TOLD: usize = 10;

/// Of a key, so many bytes are shown.
const SHOWN: usize = 64;

impl Zones {
    /// The zones of a configuration, with what those of the one before know.
    pub fn new(conf: &LimitZones, before: Option<&Self>) -> Self {
        let held = |zone: &Zone, known: Option<&Vec<Held>>| {
            let same = known.into_iter().flatten().find(|known| {
                known.name == zone.name
                    && known.key_text == zone.key_text
                    && known.size == zone.size
            });
            Held {
                name: zone.name.clone(),
                key_text: zone.key_text.clone(),
                size: zone.size,
                table: match same {
                    Some(known) => Arc::clone(&known.table),
                    None => Arc::new(Table::new(zone.size)),
                },
            }
        };
        Self {
            requests: (conf.requests.iter())
                .map(|zone| held(&zone.zone, before.map(|before| &before.requests)))
                .collect(),
            connections: (conf.connections.iter())
                .map(|zone| held(zone, before.map(|before| &before.connections)))
                .collect(),
        }
    }

    /// How often each zone for requests, and then each for requests at a time, decided what.
    pub fn counts(&self) -> [Vec<Counts>; 2] {
        [&self.requests, &self.connections]
            .map(|zones| zones.iter().map(|zone| zone.table.counts()).collect())
    }

    /// How each zone for requests, and then each for requests at a time, does. Looks at every state:
    /// for a person who asks.
    pub fn now(&self, conf: &LimitZones) -> [Vec<ZoneNow>; 2] {
        let requests = self.requests.iter().zip(&conf.requests);
        let connections = self.connections.iter().zip(&conf.connections);
        [
            requests
                .map(|(zone, conf)| now(&zone.table, &conf.zone))
                .collect(),
            connections
                .map(|(zone, conf)| now(&zone.table, conf))
                .collect(),
        ]
    }

    /// The zones of a configuration as metrics list them.
    pub fn listed(&self) -> Vec<ListedZone> {
        let listed = |zones: &[Held], kind: &'static str| {
            let listed = zones.iter().map(|zone| {
                let counts = zone.table.counts();
                ListedZone {
                    zone: zone.name.to_string(),
                    kind,
                    keys: zone.table.length() as u64,
                    bytes: zone.table.bytes() as u64,
                    passed: counts.passed,
                    delayed: counts.delayed,
                    refused: counts.refused,
                }
            });
            listed.collect::<Vec<_>>()
        };
        let mut all = listed(&self.requests, "requests");
        all.extend(listed(&self.connections, "connections"));
        all
    }
}

fn now(table: &Table, conf: &Zone) -> ZoneNow {
    let mut refused: Vec<KeyNow> = Vec::new();
    let is_address = is_address(&conf.key);
    table.each(|entry| {
        let least = refused.last().map_or(0, |last| last.refused);
        if entry.refused == 0 || (refused.len() == MOST_TOLD && entry.refused <= least) {
            return;
        }
        let at = refused.partition_point(|known| known.refused >= entry.refused);
        let told = KeyNow {
            key: shown(entry.key(), is_address),
            refused: entry.refused,
            value: entry.value,
        };
        refused.insert(at, told);
        refused.truncate(MOST_TOLD);
    });
    ZoneNow {
        counts: table.counts(),
        keys: table.length(),
        bytes: table.bytes(),
        refused,
    }
}

fn is_address(key: &Template) -> bool {
    let address = Variable::Core(Core::BinaryRemoteAddr);
    matches!(key.parts(), [Part::Variable(variable)] if *variable == address)
}

/// A key in characters that can be shown.
fn shown(key: &[u8], is_address: bool) -> String {
    if is_address {
        if let Ok(octets) = <[u8; 4]>::try_from(key) {
            return std::net::Ipv4Addr::from(octets).to_string();
        }
        if let Ok(octets) = <[u8; 16]>::try_from(key) {
            return std::net::Ipv6Addr::from(octets).to_string();
        }
    }
    let (start, rest) = key.split_at(key.len().min(SHOWN));
    let mut text = match std::str::from_utf8(start) {
        Ok(text) => printable::escape(text).into_owned(),
        Err(_) => start.escape_ascii().to_string(),
    };
    if !rest.is_empty() {
        text.push('…');
    }
    text
}
