//! `limit_req`: may a request pass, now or after a while? The leaky bucket of nginx.
//!
//! Each key has an excess: by how many thousandths of a request it is ahead of its rate. It shrinks
//! with the time and grows with each request that passes. Where several zones limit a place, the
//! first that refuses decides, and no state changes; of those that delay, the longest delay counts.

use std::cell::Cell;
use std::time::Duration;

use smallvec::SmallVec;

use super::Zones;
use super::table::{Entry, Shard, Table};
use crate::conf::typed::limits::{Burst, LimitZones, REQUEST, RequestLimit};
use crate::http::exchange::Exchange;
use crate::http::variables;
use crate::unit::clock;

/// The longest key (nginx).
const LONGEST_KEY: usize = 65_535;

/// A state that was not used for so long, and is not ahead of its rate, tells nothing.
const IS_OLD: u64 = 60_000;

/// What a request is up to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is counted nowhere.
    Unlimited,
    /// It may go on.
    Passed,
    /// It may go on after a while.
    Delayed {
        /// So long.
        by: Duration,
        /// Thousandths of a request that it is ahead.
        excess: u32,
        /// Position of the zone that wants it.
        zone: usize,
    },
    /// It must not go on.
    Refused {
        /// Thousandths of a request that it is ahead.
        excess: u32,
        /// Position of the zone that wants it.
        zone: usize,
        /// How long until it might go on.
        wait: Duration,
    },
    /// A zone has no room for its key.
    Full {
        /// The position of that zone.
        zone: usize,
    },
}

/// A key that is to be accounted: by which limit, with which hash, and where it ends in the scratch.
struct Pending {
    limit: usize,
    hash: u64,
    start: usize,
    end: usize,
}

/// Judges a request by the limits of its place, and accounts it unless it is refused. `too_long` is
/// told the zones whose key is too long to be counted.
pub fn judge(
    limits: &[RequestLimit],
    zones: &Zones,
    conf: &LimitZones,
    exchange: &Exchange,
    mut too_long: impl FnMut(usize, usize),
) -> Verdict {
    thread_local! {
        static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    }
    let mut keys = SCRATCH.take();
    keys.clear();
    let now = clock::milliseconds();
    let mut pending: SmallVec<[Pending; 4]> = SmallVec::new();
    let mut refused = None;
    // A place with one limit needs one look; with several, all must agree before any state changes.
    let is_only = limits.len() == 1;
    let mut delay = None;
    let mut is_counted = false;
    for (position, limit) in limits.iter().enumerate() {
        let zone = &conf.requests[limit.zone];
        let start = keys.len();
        variables::expand(&zone.zone.key, exchange, &mut keys);
        let key = &keys[start..];
        if key.is_empty() {
            continue;
        }
        if key.len() > LONGEST_KEY {
            too_long(limit.zone, key.len());
            keys.truncate(start);
            continue;
        }
        let table = &*zones.requests[limit.zone].table;
        let hash = table.hash(key);
        let mut shard = table.shard(hash);
        is_counted = true;
        let Some(excess) = look(table, &mut shard, hash, key, zone.rate, now) else {
            refused = Some(Verdict::Full { zone: limit.zone });
            break;
        };
        if u64::from(excess) > limit.burst.most {
            let entry = shard.find(hash, key);
            if let Some(entry) = entry {
                let entry = shard.entry(entry);
                entry.refused = entry.refused.saturating_add(1);
            }
            shard.counts.refused += 1;
            refused = Some(Verdict::Refused {
                excess,
                zone: limit.zone,
                wait: zone.time_of(u64::from(excess) - limit.burst.most),
            });
            break;
        }
        if is_only {
            account(&mut shard, hash, key, excess, now);
            delay = delay_by(limit, zone.rate, excess, &mut shard);
        } else {
            let end = keys.len();
            pending.push(Pending {
                limit: position,
                hash,
                start,
                end,
            });
        }
    }
    let verdict = match refused {
        Some(refused) => refused,
        None => {
            for pending in pending.iter().rev() {
                let limit = &limits[pending.limit];
                let rate = conf.requests[limit.zone].rate;
                let table = &*zones.requests[limit.zone].table;
                let key = &keys[pending.start..pending.end];
                let mut shard = table.shard(pending.hash);
                // Others may have passed meanwhile, or the state may be gone.
                let Some(excess) = look(table, &mut shard, pending.hash, key, rate, now) else {
                    continue;
                };
                account(&mut shard, pending.hash, key, excess, now);
                let own = delay_by(limit, rate, excess, &mut shard);
                if own.map(|(by, ..)| by) > delay.map(|(by, ..)| by) {
                    delay = own;
                }
            }
            match delay {
                Some((by, excess, zone)) => Verdict::Delayed { by, excess, zone },
                None if is_counted => Verdict::Passed,
                None => Verdict::Unlimited,
            }
        }
    };
    SCRATCH.set(keys);
    verdict
}

/// The excess of a key with one more request, whose state is made if there is none; `None` if there
/// is no room.
fn look(
    table: &Table,
    shard: &mut Shard,
    hash: u64,
    key: &[u8],
    rate: u64,
    now: u64,
) -> Option<u32> {
    let is_over = |entry: &Entry| {
        let age = now.saturating_sub(entry.last);
        age >= IS_OLD && u64::from(entry.value) <= drained(rate, age)
    };
    let place = table.enter(shard, hash, key, true, is_over)?;
    let entry = shard.entry(place.entry);
    if place.is_new {
        // The first request is not ahead of anything, and as yet nothing happened.
        entry.last = 0;
        return Some(0);
    }
    Some(excess(entry, rate, now))
}

/// What a rate takes away in so many milliseconds.
fn drained(rate: u64, milliseconds: u64) -> u64 {
    rate.saturating_mul(milliseconds) / 1000
}

fn excess(entry: &Entry, rate: u64, now: u64) -> u32 {
    // A state that was never accounted stands as one of long ago. Workers read their clocks at
    // different times, so another one's may be ahead.
    if entry.last == 0 {
        return 0;
    }
    let since = now.saturating_sub(entry.last);
    let grown = u64::from(entry.value) + REQUEST;
    u32::try_from(grown.saturating_sub(drained(rate, since))).unwrap_or(u32::MAX)
}

fn account(shard: &mut Shard, hash: u64, key: &[u8], excess: u32, now: u64) {
    if let Some(entry) = shard.find(hash, key) {
        let entry = shard.entry(entry);
        entry.value = excess;
        entry.last = entry.last.max(now).max(1);
    }
}

/// How long a request of this excess has to wait, which is counted.
fn delay_by(
    limit: &RequestLimit,
    rate: u64,
    excess: u32,
    shard: &mut Shard,
) -> Option<(Duration, u32, usize)> {
    let Burst { undelayed, .. } = limit.burst;
    let ahead = u64::from(excess).saturating_sub(undelayed);
    let by = Duration::from_millis(ahead.saturating_mul(1000) / rate);
    if by.is_zero() {
        shard.counts.passed += 1;
        return None;
    }
    shard.counts.delayed += 1;
    Some((by, excess, limit.zone))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many requests pass within a minute, one coming every so many milliseconds as `gaps` tells.
    fn passed_in_a_minute(rate: u64, burst: u64, mut gaps: impl Iterator<Item = u64>) -> u64 {
        let table = Table::new(64 << 10);
        let key = b"192.0.2.1";
        let hash = table.hash(key);
        let begin = 1_000_000;
        let (mut now, mut passed) = (begin, 0);
        while now < begin + 60_000 {
            let mut shard = table.shard(hash);
            let excess = look(&table, &mut shard, hash, key, rate, now).expect("there is room");
            if u64::from(excess) <= burst * REQUEST {
                account(&mut shard, hash, key, excess, now);
                passed += 1;
            }
            now += gaps.next().expect("gaps without end");
        }
        passed
    }

    #[test]
    fn over_a_minute_the_rate_is_kept_to_one_percent_however_requests_come() {
        // In thousandths of a request per second, as `5r/s` and the like are.
        for (rate, burst) in [
            (500, 0),
            (5_000, 0),
            (5_000, 20),
            (33_000, 5),
            (100_000, 50),
            (777_000, 100),
            (2_000_000, 100),
        ] {
            let due = rate * 60 / 1000;
            // Even, all at once every second, and without any order; several may come in one millisecond.
            let per_millisecond = (rate / 1_000_000).max(1) * 2;
            let even =
                (1..).map(move |count: u64| u64::from(count.is_multiple_of(per_millisecond)));
            let flock = rate / 1000 * 3 + 10;
            let flocks = (1..).map(move |count: u64| match count % flock {
                0 => 1000,
                _ => 0,
            });
            let mut seed = rate;
            let wild = std::iter::repeat_with(move || {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                u64::from(seed.is_multiple_of(2 * per_millisecond)) * (1 + seed % 3)
            });
            let counts = [
                ("even", passed_in_a_minute(rate, burst, even)),
                ("wild", passed_in_a_minute(rate, burst, wild)),
                ("flocks", passed_in_a_minute(rate, burst, flocks)),
            ];
            for (name, passed) in counts {
                // The first one, and what may be ahead.
                let passed = passed.saturating_sub(1 + burst);
                let most = due + due.div_ceil(100);
                assert!(passed <= most, "{name}: {passed} of {due} at {rate}");
                // Without a burst each has to come late by the rest of a millisecond at least, and of a
                // flock no more than the burst.
                if name != "flocks" && burst > 0 {
                    let is_kept = passed * 100 >= due * 99;
                    assert!(is_kept, "{name}: {passed} of {due} at {rate}");
                }
            }
        }
    }
}
