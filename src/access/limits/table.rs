//! The states of a zone: one for each key, in bounded memory, shared by all workers.
//!
//! A table is cut into shards with a lock each, so that workers seldom wait for one another; a shard
//! is a slab of entries, an index into it, and a list from the entry used last to the one not used
//! for longest. The hash is seeded: a client that chooses its key cannot choose its place.
//!
//! Invariant: states whose keys have up to [`SHORT`] bytes, as addresses have, never take more than the
//! table's size, [`STATE`] bytes each. Longer keys are counted with their length; since the slab does
//! not shrink, a table that was full of short keys and is then filled with long ones may take twice
//! its size, and no more.

use std::hash::{BuildHasher as _, RandomState};

use parking_lot::{Mutex, MutexGuard};

/// What a state costs, its share of the index included; longer keys cost their length besides.
pub const STATE: usize = 60;

/// A shard has at least this much memory: small zones are forgotten in order.
const SMALLEST_SHARD: usize = 256 << 10;
const MOST_SHARDS: usize = 16;

/// The longest key that stands in the entry itself.
const SHORT: usize = 22;

/// What the allocator takes besides a long key.
const ALLOCATION: usize = 24;

const NONE: u32 = u32::MAX;
const FIRST_INDEX: usize = 16;

/// The states of a zone.
#[derive(Debug)]
pub struct Table {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
}

/// One state.
#[derive(Debug)]
pub struct Entry {
    key: Key,
    /// When it was accounted last, in [`crate::unit::clock::milliseconds`].
    pub last: u64,
    /// Thousandths of a request ahead of the rate; or requests under way.
    pub value: u32,
    /// Requests refused since the state began.
    pub refused: u32,
    /// The next one towards that used last; for a free entry the next free one.
    newer: u32,
    older: u32,
}

#[derive(Debug)]
enum Key {
    Short(u8, [u8; SHORT]),
    Long(Box<[u8]>),
}

impl Key {
    fn new(bytes: &[u8]) -> Self {
        match bytes.len() <= SHORT {
            true => {
                let mut short = [0; SHORT];
                short[..bytes.len()].copy_from_slice(bytes);
                Self::Short(bytes.len() as u8, short)
            }
            false => Self::Long(bytes.into()),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Short(length, bytes) => &bytes[..usize::from(*length)],
            Self::Long(bytes) => bytes,
        }
    }
}

impl Entry {
    /// The key.
    pub fn key(&self) -> &[u8] {
        self.key.bytes()
    }
}

/// A part of a table that has a lock of its own.
#[derive(Debug)]
pub struct Shard {
    /// Positions of entries; open addressing, the next place is tried.
    index: Vec<u32>,
    entries: Vec<Entry>,
    free: u32,
    newest: u32,
    oldest: u32,
    length: usize,
    used: usize,
    budget: usize,
    /// Requests that went through this part.
    pub counts: Counts,
}

/// How often a zone decided what.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Let pass at once.
    pub passed: u64,
    /// Let pass after a while.
    pub delayed: u64,
    /// Refused.
    pub refused: u64,
}

/// A key was found, or there is room for it now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The position of its entry.
    pub entry: u32,
    /// Its state begins.
    pub is_new: bool,
}

impl Table {
    /// A table that takes at most so many bytes.
    pub fn new(size: usize) -> Self {
        let shards = (size / SMALLEST_SHARD).clamp(1, MOST_SHARDS);
        let shards = 1 << shards.ilog2();
        Self {
            shards: (0..shards)
                .map(|_| Mutex::new(Shard::new(size / shards)))
                .collect(),
            hasher: RandomState::new(),
        }
    }

    /// The hash of a key.
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    /// The part in which a hash is, locked.
    pub fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        self.at(self.position(hash))
    }

    /// The position of the part in which a hash is.
    pub fn position(&self, hash: u64) -> usize {
        (hash >> 32) as usize & (self.shards.len() - 1)
    }

    /// A part by its position, locked.
    pub fn at(&self, position: usize) -> MutexGuard<'_, Shard> {
        self.shards[position].lock()
    }

    /// The entry of a key, which is made if it is not there, and is used last from here on. Of those
    /// not used for longest, `is_over` says whether their state tells nothing any more; if that does
    /// not make room, `forgets` the oldest, or there is none.
    pub fn enter(
        &self,
        shard: &mut Shard,
        hash: u64,
        key: &[u8],
        forgets: bool,
        is_over: impl Fn(&Entry) -> bool,
    ) -> Option<Place> {
        if let Some(entry) = shard.find(hash, key) {
            shard.unlink(entry);
            shard.link(entry);
            return Some(Place {
                entry,
                is_new: false,
            });
        }
        // Two at a time, so that a zone in use frees itself of what is over.
        for _ in 0..2 {
            let oldest = shard.oldest;
            if !forgets || oldest == NONE || !is_over(&shard.entries[oldest as usize]) {
                break;
            }
            self.remove(shard, oldest);
        }
        let cost = cost(key);
        while shard.used + cost > shard.budget {
            if !forgets || shard.oldest == NONE {
                return None;
            }
            self.remove(shard, shard.oldest);
        }
        if (shard.length + 1) * 4 > shard.index.len() * 3 {
            self.grow(shard);
        }
        let entry = shard.take_free(Entry {
            key: Key::new(key),
            last: 0,
            value: 0,
            refused: 0,
            newer: NONE,
            older: NONE,
        });
        shard.used += cost;
        shard.length += 1;
        shard.note(hash, entry);
        shard.link(entry);
        Some(Place {
            entry,
            is_new: true,
        })
    }

    /// Forgets an entry.
    pub fn remove(&self, shard: &mut Shard, entry: u32) {
        shard.unlink(entry);
        let key = std::mem::replace(
            &mut shard.entries[entry as usize].key,
            Key::Short(0, [0; SHORT]),
        );
        let mask = shard.index.len() - 1;
        let mut hole = self.hash(key.bytes()) as usize & mask;
        while shard.index[hole] != entry {
            hole = (hole + 1) & mask;
        }
        // Those behind it move up, unless that would put them before their own place.
        let mut next = hole;
        loop {
            next = (next + 1) & mask;
            let other = shard.index[next];
            if other == NONE {
                break;
            }
            let home = self.hash(shard.entries[other as usize].key()) as usize & mask;
            let distance = |from: usize, to: usize| to.wrapping_sub(from) & mask;
            if distance(home, next) >= distance(hole, next) {
                shard.index[hole] = other;
                hole = next;
            }
        }
        shard.index[hole] = NONE;
        shard.used -= cost(key.bytes());
        shard.length -= 1;
        shard.entries[entry as usize].newer = shard.free;
        shard.free = entry;
    }

    fn grow(&self, shard: &mut Shard) {
        let length = (shard.index.len() * 2).max(FIRST_INDEX);
        let old = std::mem::replace(&mut shard.index, vec![NONE; length]);
        for entry in old.into_iter().filter(|&entry| entry != NONE) {
            let hash = self.hash(shard.entries[entry as usize].key());
            shard.note(hash, entry);
        }
    }

    /// What is counted, over all parts.
    pub fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        for shard in &self.shards {
            let counts = shard.lock().counts;
            sum.passed += counts.passed;
            sum.delayed += counts.delayed;
            sum.refused += counts.refused;
        }
        sum
    }

    /// Keys that are held.
    pub fn length(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().length).sum()
    }

    /// Bytes taken.
    pub fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().bytes()).sum()
    }

    /// Runs over all entries, a part at a time; for a person who asks, not for a request.
    pub fn each(&self, mut run: impl FnMut(&Entry)) {
        for shard in &self.shards {
            let shard = shard.lock();
            let mut entry = shard.newest;
            while let Some(found) = shard.entries.get(entry as usize) {
                run(found);
                entry = found.older;
            }
        }
    }
}

fn cost(key: &[u8]) -> usize {
    match key.len() <= SHORT {
        true => STATE,
        false => STATE + ALLOCATION + key.len(),
    }
}

impl Shard {
    fn new(budget: usize) -> Self {
        Self {
            index: Vec::new(),
            entries: Vec::new(),
            free: NONE,
            newest: NONE,
            oldest: NONE,
            length: 0,
            used: 0,
            budget,
            counts: Counts::default(),
        }
    }

    /// An entry by its position.
    pub fn entry(&mut self, entry: u32) -> &mut Entry {
        &mut self.entries[entry as usize]
    }

    /// The entry of a key.
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        if self.index.is_empty() {
            return None;
        }
        let mask = self.index.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            match self.index[at] {
                NONE => return None,
                entry if self.entries[entry as usize].key() == key => return Some(entry),
                _ => at = (at + 1) & mask,
            }
        }
    }

    /// Writes an entry into the index, which has room.
    fn note(&mut self, hash: u64, entry: u32) {
        let mask = self.index.len() - 1;
        let mut at = hash as usize & mask;
        while self.index[at] != NONE {
            at = (at + 1) & mask;
        }
        self.index[at] = entry;
    }

    fn take_free(&mut self, entry: Entry) -> u32 {
        if self.free != NONE {
            let position = self.free;
            self.free = self.entries[position as usize].newer;
            self.entries[position as usize] = entry;
            return position;
        }
        if self.entries.len() == self.entries.capacity() {
            // Little at a time, and never more than there may be: room that stands empty counts.
            let most = (self.budget / STATE).saturating_sub(self.entries.len());
            let more = (self.entries.len() / 8).max(FIRST_INDEX);
            self.entries.reserve_exact(more.min(most).max(1));
        }
        self.entries.push(entry);
        (self.entries.len() - 1) as u32
    }

    fn link(&mut self, entry: u32) {
        let newest = std::mem::replace(&mut self.newest, entry);
        let linked = &mut self.entries[entry as usize];
        linked.older = newest;
        linked.newer = NONE;
        match self.entries.get_mut(newest as usize) {
            Some(before) => before.newer = entry,
            None => self.oldest = entry,
        }
    }

    fn unlink(&mut self, entry: u32) {
        let (newer, older) = {
            let linked = &self.entries[entry as usize];
            (linked.newer, linked.older)
        };
        match self.entries.get_mut(newer as usize) {
            Some(newer) => newer.older = older,
            None => self.newest = older,
        }
        match self.entries.get_mut(older as usize) {
            Some(older) => older.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn bytes(&self) -> usize {
        let long = |entry: &Entry| match &entry.key {
            Key::Short(..) => 0,
            Key::Long(bytes) => bytes.len() + ALLOCATION,
        };
        self.entries.capacity() * size_of::<Entry>()
            + self.index.capacity() * size_of::<u32>()
            + self.entries.iter().map(long).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(table: &Table, key: &[u8]) -> Option<bool> {
        let hash = table.hash(key);
        let mut shard = table.shard(hash);
        let place = table.enter(&mut shard, hash, key, true, |_| false)?;
        Some(place.is_new)
    }

    fn keys(table: &Table) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        table.each(|entry| keys.push(entry.key().to_vec()));
        keys
    }

    #[test]
    fn ten_megabytes_hold_160000_addresses_as_bytes_and_as_text() {
        for is_text in [false, true] {
            let table = Table::new(10 << 20);
            for number in 0..160_000_u32 {
                let address = std::net::Ipv4Addr::from(0xc000_0000 + number);
                let key = match is_text {
                    true => address.to_string().into_bytes(),
                    false => address.octets().to_vec(),
                };
                assert_eq!(enter(&table, &key), Some(true));
            }
            assert_eq!(table.length(), 160_000);
            let bytes = table.bytes();
            assert!(bytes <= 10 << 20, "{bytes}");
            assert!(bytes / 160_000 <= 65, "{bytes}");
            for number in [0, 80_000, 159_999] {
                let address = std::net::Ipv4Addr::from(0xc000_0000 + number);
                let key = match is_text {
                    true => address.to_string().into_bytes(),
                    false => address.octets().to_vec(),
                };
                assert_eq!(enter(&table, &key), Some(false), "{address}");
            }
        }
    }

    #[test]
    fn a_full_table_forgets_what_was_not_used_for_longest_and_stays_within_its_size() {
        let table = Table::new(32 << 10);
        let most = (32 << 10) / STATE;
        for number in 0..most {
            assert_eq!(enter(&table, &number.to_be_bytes()), Some(true));
        }
        assert_eq!(enter(&table, &0_usize.to_be_bytes()), Some(false));
        assert_eq!(enter(&table, b"one more"), Some(true));
        let held = keys(&table);
        assert_eq!(held.len(), most);
        assert_eq!(
            held[..2],
            [b"one more".to_vec(), 0_usize.to_be_bytes().to_vec()]
        );
        assert!(!held.contains(&1_usize.to_be_bytes().to_vec()));
        for number in 0..10 * most {
            enter(&table, number.to_string().repeat(10).as_bytes());
        }
        assert!(table.bytes() <= 64 << 10, "{}", table.bytes());
        assert!(table.length() > 100);
        assert_eq!(enter(&table, &[b'x'; 40_000]), None, "no room for that");
        assert!(table.length() <= most);
    }

    #[test]
    fn entries_come_and_go_in_any_order_and_are_found_all_the_same() {
        use std::collections::HashSet;
        let table = Table::new(64 << 10);
        let mut held: HashSet<u32> = HashSet::new();
        let mut random = 12_345_u32;
        for _ in 0..20_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let number = random >> 16 & 511;
            let key = number.to_string().repeat(1 + number as usize % 9);
            let hash = table.hash(key.as_bytes());
            let mut shard = table.shard(hash);
            if random & 1 == 0 {
                let place = table.enter(&mut shard, hash, key.as_bytes(), true, |_| false);
                assert_eq!(place.expect("room").is_new, held.insert(number));
            } else {
                let found = shard.find(hash, key.as_bytes());
                assert_eq!(found.is_some(), held.remove(&number));
                if let Some(entry) = found {
                    table.remove(&mut shard, entry);
                }
            }
        }
        assert_eq!(table.length(), held.len());
        assert_eq!(keys(&table).len(), held.len());
    }
}
