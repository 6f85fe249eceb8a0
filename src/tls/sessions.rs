//! Sessions that are kept here, so that a client may take its own up again without a full handshake.
//!
//! Owns how many there are and for how long. A session is found only by the server that it was made
//! with: rustls compares the name that the client asks for and nothing else, so the server is part of
//! what a session is kept under. What is kept are secrets: nothing of it is printed, and it is
//! overwritten when it goes.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustls::server::StoresServerSessions;
use zeroize::Zeroizing;

use crate::unit::clock;

/// What tells the sessions, and the tickets, of one server from those of another.
pub type Identity = [u8; 16];

/// What a session is kept under, as rustls makes it.
type SessionId = [u8; 32];

/// Workers seldom wait for each other with so many parts.
const SHARDS: usize = 8;
/// The largest session: it holds the client's certificates.
const MOST_VALUE: usize = 16 << 10;
/// What sessions take on average at most: a client must not fill the memory with large certificates.
const MEAN_VALUE: usize = 1 << 10;

/// A place for sessions; servers may share one.
pub struct Zone {
    shards: [Mutex<Shard>; SHARDS],
    /// How many sessions a shard holds at most.
    most: usize,
}

#[derive(Default)]
struct Shard {
    sessions: HashMap<(Identity, SessionId), Session>,
    /// In the order in which they came; some may be gone.
    order: VecDeque<((Identity, SessionId), u64)>,
    bytes: usize,
    serial: u64,
}

struct Session {
    value: Zeroizing<Vec<u8>>,
    until: Instant,
    serial: u64,
}

impl fmt::Debug for Zone {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Zone")
            .field("most", &self.most)
            .finish_non_exhaustive()
    }
}

impl Zone {
    /// A place for so many sessions.
    pub fn new(sessions: usize) -> Arc<Self> {
        Arc::new(Self {
            shards: Default::default(),
            most: sessions.div_ceil(SHARDS),
        })
    }

    fn shard(&self, id: &SessionId) -> &Mutex<Shard> {
        &self.shards[usize::from(id[0]) % SHARDS]
    }

    fn put(&self, identity: Identity, id: SessionId, value: Vec<u8>, lifetime: Duration) -> bool {
        let value = Zeroizing::new(value);
        if value.len() > MOST_VALUE || self.most == 0 {
            return false;
        }
        let key = (identity, id);
        let mut shard = self.shard(&id).lock();
        let shard = &mut *shard;
        shard.serial += 1;
        let session = Session {
            until: clock::now() + lifetime,
            serial: shard.serial,
            value,
        };
        shard.order.push_back((key, shard.serial));
        shard.bytes += session.value.len();
        if let Some(before) = shard.sessions.insert(key, session) {
            shard.bytes -= before.value.len();
        }
        let now = clock::now();
        while let Some(&(oldest, serial)) = shard.order.front() {
            let is_stale = (shard.sessions.get(&oldest))
                .is_none_or(|session| session.serial != serial || session.until <= now);
            let is_full = shard.sessions.len() > self.most
                || shard.bytes > self.most.saturating_mul(MEAN_VALUE)
                || shard.order.len() > self.most.saturating_mul(2);
            if !is_stale && !is_full {
                break;
            }
            shard.order.pop_front();
            let is_meant =
                (shard.sessions.get(&oldest)).is_some_and(|session| session.serial == serial);
            if is_meant && let Some(session) = shard.sessions.remove(&oldest) {
                shard.bytes -= session.value.len();
            }
        }
        true
    }

    fn get(&self, identity: Identity, id: &[u8]) -> Option<Vec<u8>> {
        let id = id.try_into().ok()?;
        let shard = self.shard(&id).lock();
        let session = shard.sessions.get(&(identity, id))?;
        (session.until > clock::now()).then(|| session.value.to_vec())
    }

    fn take(&self, identity: Identity, id: &[u8]) -> Option<Vec<u8>> {
        let id = id.try_into().ok()?;
        let mut shard = self.shard(&id).lock();
        let session = shard.sessions.remove(&(identity, id))?;
        shard.bytes -= session.value.len();
        (session.until > clock::now()).then(|| session.value.to_vec())
    }
}

/// A server's way into a zone.
pub struct Store {
    zone: Arc<Zone>,
    identity: Identity,
    lifetime: Duration,
}

impl Store {
    /// The sessions of one server, each for so long.
    pub fn new(zone: Arc<Zone>, identity: Identity, lifetime: Duration) -> Arc<Self> {
        Arc::new(Self {
            zone,
            identity,
            lifetime,
        })
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Store")
            .field("zone", &self.zone)
            .finish_non_exhaustive()
    }
}

impl StoresServerSessions for Store {
    fn put(&self, id: Vec<u8>, value: Vec<u8>) -> bool {
        match id.try_into() {
            Ok(id) => self.zone.put(self.identity, id, value, self.lifetime),
            Err(_) => false,
        }
    }

    fn get(&self, id: &[u8]) -> Option<Vec<u8>> {
        self.zone.get(self.identity, id)
    }

    fn take(&self, id: &[u8]) -> Option<Vec<u8>> {
        self.zone.take(self.identity, id)
    }

    fn can_cache(&self) -> bool {
        self.zone.most > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn id(number: u16) -> Vec<u8> {
        let mut id = vec![0; 32];
        id[..2].copy_from_slice(&number.to_be_bytes());
        id
    }

    #[test]
    fn a_session_of_one_server_is_none_of_another_that_shares_the_zone() {
        let zone = Zone::new(100);
        let one = Store::new(Arc::clone(&zone), [1; 16], HOUR);
        let two = Store::new(zone, [2; 16], HOUR);
        assert!(one.put(id(1), vec![7]));
        assert_eq!(two.get(&id(1)), None);
        assert_eq!(two.take(&id(1)), None);
        assert_eq!(one.get(&id(1)), Some(vec![7]));
        assert_eq!(one.take(&id(1)), Some(vec![7]));
        assert_eq!(one.take(&id(1)), None);
        assert_eq!(one.get(&[]), None);
    }

    #[test]
    fn a_session_that_is_too_old_is_not_taken_up() {
        let store = Store::new(Zone::new(100), [1; 16], Duration::ZERO);
        assert!(store.put(id(1), vec![7]));
        assert_eq!(store.get(&id(1)), None);
        assert_eq!(store.take(&id(1)), None);
    }

    #[test]
    fn a_zone_holds_so_many_sessions_and_so_many_bytes() {
        let zone = Zone::new(80);
        let store = Store::new(Arc::clone(&zone), [1; 16], HOUR);
        for number in 0..2000u16 {
            // The first byte chooses the shard.
            assert!(store.put(id(number.rotate_left(8)), vec![0; 16]));
        }
        let count = |zone: &Zone| {
            let sizes = zone.shards.iter().map(|shard| {
                let shard = shard.lock();
                assert!(shard.order.len() <= 20);
                shard.sessions.len()
            });
            sizes.sum::<usize>()
        };
        assert_eq!(count(&zone), 80);
        for number in 0..2000u16 {
            store.put(id(number.rotate_left(8)), vec![0; MOST_VALUE]);
        }
        assert!(count(&zone) <= 80 * MEAN_VALUE / MOST_VALUE + SHARDS);
        assert!(!store.put(id(1), vec![0; MOST_VALUE + 1]));
        // What was taken leaves no trace that grows.
        for number in 0..2000u16 {
            let id = id(number.rotate_left(8));
            store.put(id.clone(), vec![0; 16]);
            store.take(&id);
        }
        assert!(count(&zone) <= 80);
        let none = Store::new(Zone::new(0), [1; 16], HOUR);
        assert!(!none.can_cache() && !none.put(id(1), vec![1]));
    }
}
