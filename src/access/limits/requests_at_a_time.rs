//! `limit_conn`: how many requests of a key are under way?
//!
//! nginx speaks of connections, and counts a connection while a request of it is answered; over
//! HTTP/2 each request counts. A key stands in its zone for as long as a request of it is counted, so
//! nothing is forgotten: a zone that is full refuses.

use std::sync::Arc;

use smallvec::SmallVec;

use super::Zones;
use super::table::Table;
use crate::conf::typed::limits::{ConnectionLimit, LimitZones};
use crate::http::exchange::Exchange;
use crate::http::variables;

/// The longest key (nginx).
const LONGEST_KEY: usize = 255;

/// What a request is up to.
#[derive(Debug)]
pub enum Verdict {
    /// It is counted nowhere.
    Unlimited,
    /// It may go on, and is counted while this lives.
    Passed(Places),
    /// There are too many already.
    Refused {
        /// The position of the zone that wants it.
        zone: usize,
    },
    /// A zone has no room for its key.
    Full,
}

/// The zones in which a request is counted.
pub type Places = SmallVec<[Counted; 1]>;

/// A request that is counted in a zone, until this is dropped.
#[derive(Debug)]
pub struct Counted {
    table: Arc<Table>,
    shard: usize,
    entry: u32,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut shard = self.table.at(self.shard);
        // An entry stays where it is for as long as anything is counted in it.
        let entry = shard.entry(self.entry);
        entry.value -= 1;
        if entry.value == 0 {
            self.table.remove(&mut shard, self.entry);
        }
    }
}

/// Counts a request in the zones of its place, if each has room for it. `too_long` is told the zones
/// whose key is too long to be counted.
pub fn judge(
    limits: &[ConnectionLimit],
    zones: &Zones,
    conf: &LimitZones,
    exchange: &Exchange,
    mut too_long: impl FnMut(usize, usize),
) -> Verdict {
    let mut places = Places::new();
    let mut key = Vec::new();
    for limit in limits {
        key.clear();
        variables::expand(&conf.connections[limit.zone].key, exchange, &mut key);
        if key.is_empty() {
            continue;
        }
        if key.len() > LONGEST_KEY {
            too_long(limit.zone, key.len());
            continue;
        }
        let table = &zones.connections[limit.zone].table;
        let hash = table.hash(&key);
        let mut shard = table.shard(hash);
        let Some(place) = table.enter(&mut shard, hash, &key, false, |_| false) else {
            return Verdict::Full;
        };
        let entry = shard.entry(place.entry);
        if entry.value >= limit.most {
            entry.refused = entry.refused.saturating_add(1);
            shard.counts.refused += 1;
            return Verdict::Refused { zone: limit.zone };
        }
        entry.value += 1;
        shard.counts.passed += 1;
        drop(shard);
        places.push(Counted {
            table: Arc::clone(table),
            shard: table.position(hash),
            entry: place.entry,
        });
    }
    match places.is_empty() {
        true => Verdict::Unlimited,
        false => Verdict::Passed(places),
    }
}
