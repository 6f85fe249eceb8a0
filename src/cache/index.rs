//! The index: a record for each file of a zone, found by the digest of its key, in the order of use.
//!
//! One [`Shard`] stands for a part of the digests and is locked for the length of a look. Records
//! are small, because there is one for every file, whether or not its head is in memory
//! (`keys_zone` promises 8,000 keys in a megabyte); what is read often has its [`Entry`] beside it,
//! as many as `memory` allows.
//!
//! Who comes in goes into a small queue first and is kept longer only if it was wanted again there:
//! a walk over a million answers that nobody wants twice does not drive out those that are wanted
//! all the time (this is S3-FIFO).
//!
//! Invariants: a file has one record, and a record that is not [`Record::is_ghost`] has one file or
//! will have one; a slot is not used again before the file is gone that had it; a record whose file
//! is not written yet keeps its entry.

use std::collections::VecDeque;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::entry::Entry;
use super::key::Digest;

/// The most variants of one key.
pub const MOST_VARIANTS: u8 = 32;

/// No record.
const NONE: u32 = u32::MAX;

/// Records are taken from the system so many at a time.
const CHUNK: usize = 256;

/// What a file's record knows.
#[derive(Debug)]
pub struct Record {
    pub digest: Digest,
    /// Its head, and perhaps its body, if they are in memory.
    pub entry: Option<Arc<Entry>>,
    /// What the file takes on the disk.
    pub size: u64,
    next: u32,
    newer: u32,
    older: u32,
    /// When it was last wanted, in seconds since 1970.
    pub used: u32,
    /// How often it was wanted.
    pub uses: u16,
    /// Which of the files of its digest.
    pub slot: u8,
    flags: u8,
}

/// The file is not there yet.
const PENDING: u8 = 1;
/// The file is to be removed; nobody finds it.
const DEAD: u8 = 1 << 1;
/// There is no file, only a count of uses.
const GHOST: u8 = 1 << 2;
/// It was wanted since the queues last looked.
const WANTED: u8 = 1 << 3;
/// It is in the queue of those that are kept.
const KEPT: u8 = 1 << 4;
/// The record is in use.
const LIVE: u8 = 1 << 5;

impl Record {
    pub fn is_pending(&self) -> bool {
        self.flags & PENDING != 0
    }

    pub fn is_dead(&self) -> bool {
        self.flags & DEAD != 0
    }

    pub fn is_ghost(&self) -> bool {
        self.flags & GHOST != 0
    }

    fn is_live(&self) -> bool {
        self.flags & LIVE != 0
    }
}

/// A part of a zone's index.
#[derive(Debug)]
pub struct Shard {
    chunks: Vec<Box<[Record]>>,
    /// The first record that is not in use; they are linked by `next`.
    free: u32,
    buckets: Vec<u32>,
    count: usize,
    newest: u32,
    oldest: u32,
    memory: Memory,
    secret: RandomState,
}

/// Which entries are in memory.
#[derive(Debug)]
struct Memory {
    /// The most bytes.
    most: usize,
    bytes: usize,
    /// What those take whose file is not there yet. They cannot go, and whoever stores is bound in how
    /// much there may be of it; nothing else goes in their place, for a disk that hangs would take
    /// everything that is wanted out of memory.
    pending_bytes: usize,
    /// Of this, in `young`.
    young_bytes: usize,
    young: VecDeque<Held>,
    kept: VecDeque<Held>,
    /// How many of both are in memory still.
    count: usize,
}

/// An element of a queue: the record, and the address of the entry that it had then (it may have
/// another meanwhile, or be another's record; then the element means nothing).
#[derive(Clone, Copy, Debug)]
struct Held {
    record: u32,
    entry: usize,
}

impl Shard {
    /// An empty one that holds entries of so many bytes in memory.
    pub fn new(memory: usize) -> Self {
        Self {
            chunks: Vec::new(),
            free: NONE,
            buckets: vec![NONE; 16],
            count: 0,
            newest: NONE,
            oldest: NONE,
            memory: Memory {
                most: memory,
                pending_bytes: 0,
                bytes: 0,
                young_bytes: 0,
                young: VecDeque::new(),
                kept: VecDeque::new(),
                count: 0,
            },
            secret: RandomState::default(),
        }
    }

    /// How many records there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// How many bytes of memory entries take, and how many entries they are.
    pub fn memory(&self) -> (usize, usize) {
        let bytes = self.memory.bytes + self.memory.pending_bytes;
        (bytes, self.memory.count)
    }

    /// Holds entries of so many bytes in memory from now on.
    pub fn set_memory(&mut self, most: usize) {
        self.memory.most = most;
        self.make_room();
    }

    /// How many bytes the index itself takes.
    pub fn own_bytes(&self) -> usize {
        self.chunks.len() * (CHUNK * size_of::<Record>() + size_of::<Box<[Record]>>())
            + self.buckets.capacity() * size_of::<u32>()
    }

    /// The record with this number.
    pub fn record(&self, index: u32) -> &Record {
        &self.chunks[index as usize / CHUNK][index as usize % CHUNK]
    }

    fn record_mut(&mut self, index: u32) -> &mut Record {
        &mut self.chunks[index as usize / CHUNK][index as usize % CHUNK]
    }

    /// All records of a digest, the newest first.
    pub fn of(&self, digest: Digest) -> impl Iterator<Item = u32> {
        let mut next = self.buckets[self.bucket(digest)];
        std::iter::from_fn(move || {
            while next != NONE {
                let index = next;
                let record = self.record(index);
                next = record.next;
                if record.digest == digest {
                    return Some(index);
                }
            }
            None
        })
    }

    /// The record that has this very entry.
    pub fn holder(&self, entry: &Arc<Entry>) -> Option<u32> {
        self.of(entry.digest).find(|&index| {
            let held = self.record(index).entry.as_ref();
            held.is_some_and(|held| Arc::ptr_eq(held, entry))
        })
    }

    /// The record of a file.
    pub fn at_slot(&self, digest: Digest, slot: u8) -> Option<u32> {
        self.of(digest).find(|&index| {
            let record = self.record(index);
            !record.is_ghost() && record.slot == slot
        })
    }

    /// A slot that no file of this digest has.
    pub fn free_slot(&self, digest: Digest) -> Option<u8> {
        let taken = self.of(digest).fold(0u32, |taken, index| {
            let record = self.record(index);
            match record.is_ghost() {
                true => taken,
                false => taken | 1 << record.slot,
            }
        });
        let slot = taken.trailing_ones() as u8;
        (slot < MOST_VARIANTS).then_some(slot)
    }

    /// Adds a record as the one that was used last.
    pub fn insert(&mut self, digest: Digest, slot: u8, now: u32) -> u32 {
        if self.count >= self.buckets.len() {
            self.spread();
        }
        if self.free == NONE {
            let first = (self.chunks.len() * CHUNK) as u32;
            let last = first + CHUNK as u32 - 1;
            let chunk = (first..=last).map(|index| Record {
                digest: Digest([0; 16]),
                entry: None,
                size: 0,
                next: if index == last { NONE } else { index + 1 },
                newer: NONE,
                older: NONE,
                used: 0,
                uses: 0,
                slot: 0,
                flags: 0,
            });
            self.chunks.push(chunk.collect());
            self.free = first;
        }
        let index = self.free;
        let bucket = self.bucket(digest);
        let next = self.buckets[bucket];
        self.buckets[bucket] = index;
        let record = self.record_mut(index);
        let free = record.next;
        record.digest = digest;
        record.next = next;
        record.used = now;
        record.uses = 0;
        record.slot = slot;
        record.size = 0;
        record.flags = LIVE;
        self.free = free;
        self.count += 1;
        self.link_newest(index);
        index
    }

    /// Forgets a record.
    pub fn remove(&mut self, index: u32) {
        self.drop_entry(index);
        self.unlink(index);
        let record = self.record(index);
        let (digest, next) = (record.digest, record.next);
        let bucket = self.bucket(digest);
        let mut at = self.buckets[bucket];
        if at == index {
            self.buckets[bucket] = next;
        } else {
            while at != NONE {
                let record = self.record_mut(at);
                if record.next == index {
                    record.next = next;
                    break;
                }
                at = record.next;
            }
        }
        let free = self.free;
        let record = self.record_mut(index);
        record.flags = 0;
        record.next = free;
        self.free = index;
        self.count -= 1;
    }

    /// It is wanted: it is now the one that was used last.
    pub fn touch(&mut self, index: u32, now: u32) {
        let record = self.record_mut(index);
        record.uses = record.uses.saturating_add(1);
        record.flags |= WANTED;
        // Within a second the order does not matter.
        if record.used != now {
            record.used = now;
            self.unlink(index);
            self.link_newest(index);
        }
    }

    /// Makes it a count of uses without a file.
    pub fn make_ghost(&mut self, index: u32) {
        self.record_mut(index).flags |= GHOST;
    }

    /// Carries a count over.
    pub fn set_uses(&mut self, index: u32, uses: u16) {
        self.record_mut(index).uses = uses;
    }

    /// What its file takes.
    pub fn set_size(&mut self, index: u32, size: u64) {
        self.record_mut(index).size = size;
    }

    /// Its file is not there yet.
    pub fn set_pending(&mut self, index: u32) {
        self.record_mut(index).flags |= PENDING;
    }

    /// Its file is there, or will never be.
    pub fn clear_pending(&mut self, index: u32) {
        let record = self.record_mut(index);
        if !record.is_pending() {
            return;
        }
        record.flags &= !PENDING;
        if let Some(cost) = record.entry.as_ref().map(|entry| entry.cost()) {
            self.memory.pending_bytes = self.memory.pending_bytes.saturating_sub(cost);
            self.grow_by(index, cost);
        }
        self.make_room();
    }

    /// Nobody finds it any more; its file is to be removed.
    pub fn kill(&mut self, index: u32) {
        self.drop_entry(index);
        self.record_mut(index).flags |= DEAD;
    }

    /// The record that nobody used for the longest time, among those with a file that may be
    /// removed.
    pub fn oldest(&self) -> Option<u32> {
        let mut index = self.oldest;
        while index != NONE {
            let record = self.record(index);
            if !record.is_dead() && !record.is_pending() {
                return Some(index);
            }
            index = record.newer;
        }
        None
    }

    /// Records from this number on, at most so many, and where to go on; for walks in small steps.
    pub fn some_from(&self, from: u32, most: usize) -> (Vec<u32>, Option<u32>) {
        let end = (self.chunks.len() * CHUNK) as u32;
        let mut found = Vec::new();
        for index in from..end {
            if found.len() == most {
                return (found, Some(index));
            }
            if self.record(index).is_live() {
                found.push(index);
            }
        }
        (found, None)
    }

    /// Every record.
    pub fn all(&self) -> impl Iterator<Item = &Record> {
        self.chunks
            .iter()
            .flatten()
            .filter(|record| record.is_live())
    }

    /// Every record's number.
    pub fn numbers(&self) -> impl Iterator<Item = u32> + use<> {
        let live: Vec<u32> = (0..(self.chunks.len() * CHUNK) as u32)
            .filter(|&index| self.record(index).is_live())
            .collect();
        live.into_iter()
    }

    /// Puts an entry beside its record; another that stood there goes.
    pub fn hold(&mut self, index: u32, entry: Arc<Entry>) {
        let was_kept = self.record(index).flags & KEPT != 0;
        self.drop_entry(index);
        let cost = entry.cost();
        let held = Held {
            record: index,
            entry: Arc::as_ptr(&entry).addr(),
        };
        let record = self.record_mut(index);
        record.entry = Some(entry);
        record.flags &= !(WANTED | KEPT);
        self.memory.count += 1;
        if was_kept {
            self.record_mut(index).flags |= KEPT;
            self.memory.kept.push_back(held);
        } else {
            self.memory.young.push_back(held);
        }
        self.grow_by(index, cost);
        self.make_room_beside(index);
    }

    /// Its entry has more bytes in memory than it had.
    pub fn grow(&mut self, index: u32, bytes: usize) {
        self.grow_by(index, bytes);
        self.make_room();
    }

    fn grow_by(&mut self, index: u32, bytes: usize) {
        let record = self.record(index);
        let (is_pending, is_kept) = (record.is_pending(), record.flags & KEPT != 0);
        if is_pending {
            self.memory.pending_bytes += bytes;
            return;
        }
        self.memory.bytes += bytes;
        if !is_kept {
            self.memory.young_bytes += bytes;
        }
    }

    /// The entry of a record leaves the memory.
    fn drop_entry(&mut self, index: u32) {
        let record = self.record_mut(index);
        let (is_pending, is_kept) = (record.is_pending(), record.flags & KEPT != 0);
        record.flags &= !KEPT;
        if let Some(entry) = record.entry.take() {
            let cost = entry.cost();
            self.memory.count -= 1;
            if is_pending {
                self.memory.pending_bytes = self.memory.pending_bytes.saturating_sub(cost);
                return;
            }
            self.memory.bytes = self.memory.bytes.saturating_sub(cost);
            if !is_kept {
                self.memory.young_bytes = self.memory.young_bytes.saturating_sub(cost);
            }
        }
    }

    /// Takes entries out of memory until the rest fits.
    fn make_room(&mut self) {
        self.make_room_beside(NONE);
    }

    /// The same, but for this record: its entry was put there to be found.
    fn make_room_beside(&mut self, spared: u32) {
        // What is wanted goes round once more, so there is an end; those that wait for their file
        // cannot go at all.
        let mut turns = 2 * (self.memory.young.len() + self.memory.kept.len());
        while self.memory.bytes > self.memory.most && turns > 0 {
            turns -= 1;
            let takes_young =
                self.memory.young_bytes > self.memory.most / 10 || self.memory.kept.is_empty();
            let queue = match takes_young {
                true => &mut self.memory.young,
                false => &mut self.memory.kept,
            };
            let Some(held) = queue.pop_front() else {
                continue;
            };
            if !self.is_held(held) {
                continue;
            }
            let record = self.record_mut(held.record);
            if record.is_pending() {
                match takes_young {
                    true => self.memory.young.push_back(held),
                    false => self.memory.kept.push_back(held),
                }
                continue;
            }
            let was_wanted = record.flags & WANTED != 0;
            if was_wanted || held.record == spared {
                record.flags &= !WANTED;
                record.flags |= KEPT;
                let cost = record.entry.as_ref().map_or(0, |entry| entry.cost());
                if takes_young {
                    self.memory.young_bytes = self.memory.young_bytes.saturating_sub(cost);
                }
                self.memory.kept.push_back(held);
            } else {
                self.drop_entry(held.record);
            }
        }
        // Elements that mean nothing are not worth more room than the others.
        if self.memory.young.len() + self.memory.kept.len() > 2 * self.memory.count + 64 {
            for takes_young in [true, false] {
                let mut queue = std::mem::take(match takes_young {
                    true => &mut self.memory.young,
                    false => &mut self.memory.kept,
                });
                queue.retain(|held| self.is_held(*held));
                match takes_young {
                    true => self.memory.young = queue,
                    false => self.memory.kept = queue,
                }
            }
        }
    }

    fn is_held(&self, held: Held) -> bool {
        let entry = self.record(held.record).entry.as_ref();
        entry.is_some_and(|entry| Arc::as_ptr(entry).addr() == held.entry)
    }

    fn bucket(&self, digest: Digest) -> usize {
        // Anybody can find keys by the thousand whose digests end alike, but not what becomes of them
        // with a secret.
        self.secret.hash_one(digest) as usize & (self.buckets.len() - 1)
    }

    /// Twice as many buckets.
    fn spread(&mut self) {
        self.buckets = vec![NONE; self.buckets.len() * 2];
        // From the oldest on, so that the newest come first again.
        let mut index = self.oldest;
        while index != NONE {
            let bucket = self.bucket(self.record(index).digest);
            let next = self.buckets[bucket];
            self.buckets[bucket] = index;
            let record = self.record_mut(index);
            record.next = next;
            index = record.newer;
        }
    }

    fn link_newest(&mut self, index: u32) {
        let before = self.newest;
        let record = self.record_mut(index);
        record.newer = NONE;
        record.older = before;
        match before {
            NONE => self.oldest = index,
            _ => self.record_mut(before).newer = index,
        }
        self.newest = index;
    }

    fn unlink(&mut self, index: u32) {
        let record = self.record(index);
        let (newer, older) = (record.newer, record.older);
        match newer {
            NONE => self.newest = older,
            _ => self.record_mut(newer).older = older,
        }
        match older {
            NONE => self.oldest = newer,
            _ => self.record_mut(older).newer = newer,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::entry::Head;
    use super::super::key::Key;
    use super::*;

    fn digest(number: u32) -> Digest {
        Key::new(&number.to_le_bytes()).digest
    }

    fn entry(number: u32, length: usize) -> Arc<Entry> {
        let text = number.to_le_bytes();
        let entry = Entry::new(&Key::new(&text), Head::default(), length as u64, 1, 0);
        entry.set_body(vec![0; length].into());
        Arc::new(entry)
    }

    #[test]
    fn a_megabyte_of_keys_zone_holds_more_than_8000_records() {
        let mut shard = Shard::new(0);
        for number in 0..80_000 {
            shard.insert(digest(number), 0, number);
        }
        assert_eq!(shard.count(), 80_000);
        // 10 MiB less what sixteen shards waste in chunks that are half full.
        let bytes = shard.own_bytes() + 16 * CHUNK * size_of::<Record>();
        assert!(bytes <= 10 << 20, "{bytes}");
        let found: Vec<_> = shard.of(digest(54_321)).collect();
        assert_eq!(found.len(), 1);
        assert_eq!(shard.record(found[0]).used, 54_321);
    }

    #[test]
    fn keys_whose_digests_end_alike_are_not_found_one_behind_the_other() {
        let mut shard = Shard::new(0);
        for number in 0..4096u32 {
            let mut chosen = Digest([0; 16]);
            chosen.0[..4].copy_from_slice(&number.to_le_bytes());
            shard.insert(chosen, 0, 1);
        }
        let longest = (0..shard.buckets.len()).map(|bucket| {
            let mut index = shard.buckets[bucket];
            let mut length = 0;
            while index != NONE {
                length += 1;
                index = shard.record(index).next;
            }
            length
        });
        assert!(longest.max() < Some(64));
    }

    #[test]
    fn what_nobody_used_for_the_longest_time_is_the_oldest() {
        let mut shard = Shard::new(0);
        let numbers: Vec<_> = (0..3).map(|n| shard.insert(digest(n), 0, n)).collect();
        assert_eq!(shard.oldest(), Some(numbers[0]));
        shard.touch(numbers[0], 9);
        assert_eq!(shard.oldest(), Some(numbers[1]));
        shard.set_pending(numbers[1]);
        assert_eq!(shard.oldest(), Some(numbers[2]));
        shard.kill(numbers[2]);
        assert_eq!(shard.oldest(), Some(numbers[0]));
    }

    #[test]
    fn a_walk_over_many_does_not_drive_out_what_is_wanted_again_and_again() {
        let cost = entry(0, 1000).cost();
        let mut shard = Shard::new(20 * cost);
        let wanted: Vec<_> = (0..5)
            .map(|number| {
                let index = shard.insert(digest(number), 0, 1);
                shard.hold(index, entry(number, 1000));
                index
            })
            .collect();
        for number in 100..1000 {
            for index in &wanted {
                shard.touch(*index, 1);
            }
            let index = shard.insert(digest(number), 0, 1);
            shard.hold(index, entry(number, 1000));
        }
        assert!(
            wanted
                .iter()
                .all(|&index| shard.record(index).entry.is_some())
        );
        let (bytes, count) = shard.memory();
        assert!(bytes <= 20 * cost && count <= 20, "{bytes} {count}");
    }

    #[test]
    fn what_waits_for_a_disk_that_hangs_drives_nothing_out_before_it_is_there() {
        let cost = entry(0, 1000).cost();
        let mut shard = Shard::new(20 * cost);
        let wanted: Vec<_> = (0..5)
            .map(|number| {
                let index = shard.insert(digest(number), 0, 1);
                shard.hold(index, entry(number, 1000));
                index
            })
            .collect();
        let is_there = |shard: &Shard| {
            let mut records = wanted.iter().map(|&index| shard.record(index));
            records.all(|record| record.entry.is_some())
        };
        let waiting: Vec<_> = (100..200)
            .map(|number| {
                let index = shard.insert(digest(number), 0, 1);
                shard.set_pending(index);
                shard.hold(index, entry(number, 1000));
                index
            })
            .collect();
        // One that does not wait makes room for itself.
        let index = shard.insert(digest(300), 0, 1);
        shard.hold(index, entry(300, 1000));
        assert!(is_there(&shard));
        assert_eq!(shard.memory(), (106 * cost, 106));
        for (at, &index) in waiting.iter().enumerate() {
            wanted.iter().for_each(|index| shard.touch(*index, 1));
            match at % 10 {
                0 => shard.remove(index),
                _ => shard.clear_pending(index),
            }
        }
        assert!(is_there(&shard));
        let (bytes, count) = shard.memory();
        assert!(bytes <= 20 * cost && count <= 20, "{bytes} {count}");
        (0..5).for_each(|number| {
            let index = shard.of(digest(number)).next().expect("there");
            shard.remove(index);
        });
        assert_eq!(shard.memory().0 / cost, shard.memory().1);
    }

    proptest! {
        #[test]
        fn the_index_agrees_with_a_plain_list(
            steps in proptest::collection::vec((0u8..6, 0u32..40), 1..400),
        ) {
            let cost = entry(0, 100).cost();
            let mut shard = Shard::new(cost * 7);
            let mut list: Vec<(u32, u32)> = Vec::new();
            for (now, (what, number)) in (1..).zip(steps) {
                let place = list.iter().position(|(known, _)| *known == number);
                match (what, place) {
                    (0..=1, None) => {
                        let index = shard.insert(digest(number), 0, now);
                        list.push((number, index));
                    }
                    (2, Some(place)) => {
                        let (_, index) = list.remove(place);
                        shard.remove(index);
                    }
                    (3, Some(place)) => {
                        let found = list.remove(place);
                        shard.touch(found.1, now);
                        list.push(found);
                    }
                    (4..=5, Some(place)) => shard.hold(list[place].1, entry(number, 100)),
                    _ => {}
                }
                prop_assert_eq!(shard.count(), list.len());
                prop_assert_eq!(shard.oldest(), list.first().map(|(_, index)| *index));
                for (number, index) in &list {
                    prop_assert_eq!(shard.of(digest(*number)).collect::<Vec<_>>(), [*index]);
                }
                let held = shard.all().filter_map(|record| record.entry.as_ref());
                let bytes: Vec<_> = held.map(|entry| entry.cost()).collect();
                prop_assert_eq!(shard.memory(), (bytes.iter().sum(), bytes.len()));
                prop_assert!(shard.memory().0 <= cost * 7);
            }
        }
    }
}
