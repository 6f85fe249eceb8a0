//! A zone: the entries of one `proxy_cache_path`, shared by all workers.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use super::entry::{Entry, Head};
use super::flight::{Fill, Flight, Follower};
use super::key::{Digest, Key};

/// The entries of one `proxy_cache_path`.
#[derive(Debug)]
pub struct Zone {
    name: Box<str>,
    serial: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default, Debug)]
struct State {
    entries: HashMap<Digest, Vec<Arc<Entry>>>,
    flights: HashMap<Digest, Arc<Flight>>,
    uses: HashMap<Digest, u32>,
}

/// What is stored for a key.
#[derive(Clone, Debug)]
pub enum Found {
    /// This, which was chosen.
    Entry(Arc<Entry>),
    /// Perhaps something that only the disk knows: [`Zone::load`], then find again.
    OnDisk,
    /// Nothing that was chosen.
    Nothing,
}

/// Who fills an entry.
#[derive(Debug)]
pub enum Begin {
    /// The caller does.
    Fill(Fill),
    /// Another does; the caller may follow.
    Follow(Follower),
}

/// A stored body cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadError {
    /// It was removed or replaced meanwhile: find again.
    Gone,
    /// The disk failed, or gives other bytes than were written; the entry is removed.
    Broken,
    /// Too many wait for the disk already.
    Busy,
}

impl fmt::Display for ReadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Gone => "the entry was removed",
            Self::Broken => "the entry cannot be read",
            Self::Busy => "the disk is too slow",
        })
    }
}

impl std::error::Error for ReadError {}

/// Reads a stored body, or a part of it.
#[derive(Debug)]
pub struct Reader {
    body: Bytes,
    /// What is still to be read.
    range: Range<u64>,
}

impl Zone {
    /// A zone in memory only.
    pub fn in_memory(name: &str) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            serial: AtomicU64::new(1),
            state: Mutex::default(),
        })
    }

    /// The name in `keys_zone`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Finds the newest entry of a key that `choose` takes: the one whose `Vary` fits the request.
    /// Never waits.
    pub fn find(&self, key: &Key<'_>, mut choose: impl FnMut(&Entry) -> bool) -> Found {
        let state = self.state.lock();
        let entries = state.entries.get(&key.digest).into_iter().flatten();
        for entry in entries.rev() {
            if *entry.key == *key.text && choose(entry) {
                return Found::Entry(Arc::clone(entry));
            }
        }
        Found::Nothing
    }

    /// Brings what the disk knows of a key, so that finding gives an answer. Always ends, and for
    /// good: after it, [`Self::find`] does not say [`Found::OnDisk`] for want of trying.
    pub async fn load(&self, _key: &Key<'_>) {}

    /// One more request wants the key; how many did, this one counted. Forgotten after `inactive`.
    pub fn count_use(&self, key: &Key<'_>) -> u32 {
        let mut state = self.state.lock();
        let uses = state.uses.entry(key.digest).or_insert(0);
        *uses = uses.saturating_add(1);
        *uses
    }

    /// Fills the key, or follows the one who does: only one does at a time. Whoever has an entry that
    /// is stale does this too, to renew it.
    pub fn begin_fill(self: &Arc<Self>, key: &Key<'_>) -> Begin {
        let mut state = self.state.lock();
        if let Some(flight) = state.flights.get(&key.digest)
            && *flight.key == *key.text
        {
            return Begin::Follow(flight.follow());
        }
        let flight = Flight::new(key.digest, key.text, self.next_serial());
        state.flights.insert(key.digest, Arc::clone(&flight));
        drop(state);
        Begin::Fill(Fill::new(Arc::clone(self), flight, true))
    }

    /// Fills the key beside whoever else does (without `proxy_cache_lock`, or after its time).
    pub fn fill_alone(self: &Arc<Self>, key: &Key<'_>) -> Fill {
        let flight = Flight::new(key.digest, key.text, self.next_serial());
        Fill::new(Arc::clone(self), flight, false)
    }

    /// Does somebody fill or renew the key now?
    pub fn is_filling(&self, key: &Key<'_>) -> bool {
        let state = self.state.lock();
        let flight = state.flights.get(&key.digest);
        flight.is_some_and(|flight| *flight.key == *key.text)
    }

    /// Opens an entry's body, or a part of it (`range` within its length). At once if it is in
    /// memory.
    pub async fn open(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        range: Range<u64>,
    ) -> Result<Reader, ReadError> {
        let body = entry.body().cloned().ok_or(ReadError::Gone)?;
        Ok(Reader { body, range })
    }

    /// Gives an entry another head, because the origin says that it is still good.
    pub fn renew(&self, entry: &Arc<Entry>, head: Head) -> Arc<Entry> {
        let renewed = Arc::new(Entry {
            key: entry.key.clone(),
            head,
            length: entry.length,
            serial: entry.serial,
            body: entry.body.clone(),
        });
        let digest = Key::new(&entry.key).digest;
        let mut state = self.state.lock();
        let entries = state.entries.get_mut(&digest);
        let place =
            entries.and_then(|entries| entries.iter_mut().find(|held| Arc::ptr_eq(held, entry)));
        if let Some(place) = place {
            *place = Arc::clone(&renewed);
        }
        renewed
    }

    /// Removes all variants of a key. Were there any? What is being filled meanwhile is not stored.
    pub fn remove(&self, key: &Key<'_>) -> bool {
        self.state.lock().entries.remove(&key.digest).is_some()
    }

    pub(super) fn put(&self, entry: Arc<Entry>) {
        let digest = Key::new(&entry.key).digest;
        let mut state = self.state.lock();
        let entries = state.entries.entry(digest).or_default();
        entries.retain(|held| held.key != entry.key || held.head.vary != entry.head.vary);
        entries.push(entry);
    }

    pub(super) fn land(&self, flight: &Arc<Flight>) {
        let mut state = self.state.lock();
        let held = state.flights.get(&flight.digest);
        if held.is_some_and(|held| Arc::ptr_eq(held, flight)) {
            state.flights.remove(&flight.digest);
        }
    }

    fn next_serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed)
    }
}

impl Reader {
    /// The next bytes, verified; `None` at the end of the range. May be dropped and called again:
    /// nothing is lost.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        if self.range.is_empty() {
            return Ok(None);
        }
        let range = self.range.start as usize..self.range.end as usize;
        self.range.start = self.range.end;
        Ok(Some(self.body.slice(range)))
    }
}
