//! A zone: the entries of one `proxy_cache_path`, shared by all workers.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use foldhash::fast::RandomState;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep};

use super::entry::{Entry, Head};
use super::file::{self, EntryFile, FileError};
use super::flight::{Fill, Flight, Follower, PAUSE};
use super::format::{BLOCK, MOST_BODY, blocks};
use super::index::{MOST_VARIANTS, Shard};
use super::keeper::Bell;
use super::key::{Digest, Key};
use super::place::{PURGES, Place, on_disk};
use super::pool::{Lane, Pool, Refused};
use super::purge::{Rules, Target};
use crate::conf::typed::cache_path::CachePath;
use crate::conf::typed::log::Level;
use crate::metrics::cache::{self as metrics, CacheId};
use crate::unit::clock;

/// The index is in so many parts, each with a lock of its own.
const PARTS: usize = 16;

/// No body longer than this is kept in memory, however much of that there is.
const MOST_IN_MEMORY: u64 = 1 << 20;

/// So many blocks are read from the disk at once.
const READ_AHEAD: u64 = 2;

/// Keys that were removed are remembered for fills that began before; so many in each part.
const MOST_REMOVED: usize = 1024;

/// Digests that are not on the disk, as is known while that is still being read.
const MOST_TRIED: usize = 100_000;

/// After a failure of the disk nothing is stored for this long; it doubles up to the second.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LAST_PAUSE: Duration = Duration::from_secs(60);

/// After somebody waited in vain for the disk to read something, nobody else does for this long.
const HANGING: Duration = Duration::from_secs(1);

/// Writes a line to the error log.
pub type Report = fn(Level, fmt::Arguments<'_>);

/// The entries of one `proxy_cache_path`.
#[derive(Debug)]
pub struct Zone {
    /// What its results are counted under.
    pub id: CacheId,
    conf: Mutex<Arc<CachePath>>,
    pub(super) place: Place,
    parts: Box<[Mutex<Part>]>,
    capacity: u64,
    most_in_memory: AtomicU64,
    most_body: AtomicU64,
    serial: AtomicU64,
    /// The first serial of this process.
    pub(super) first_serial: u64,
    /// Files, and what they take.
    pub(super) count: AtomicU64,
    pub(super) size: AtomicU64,
    /// Bytes that wait for the disk.
    pub(super) unwritten: AtomicU64,
    /// Is the directory still being read?
    is_loading: AtomicBool,
    /// Nothing is stored until then, in [`clock::milliseconds`].
    aside_until: AtomicU64,
    /// The last pause in milliseconds; 0 while the disk does its part.
    pause: AtomicU64,
    /// Nobody waits until then for what only the disk knows, in [`clock::milliseconds`].
    hangs_until: AtomicU64,
    pub(super) rules: Rules,
    /// Files that are to be removed.
    dead: Mutex<Vec<(Digest, u8)>>,
    pub(super) pool: Arc<Pool>,
    pub(super) bell: Arc<Bell>,
    pub(super) report: Report,
    has_started: AtomicBool,
    /// What happened, for people.
    pub figures: Figures,
    pub(super) faults: Faults,
}

/// What happened in a zone since the process started.
#[derive(Default, Debug)]
pub struct Figures {
    /// Entries that were stored.
    pub stored: AtomicU64,
    /// Entries that were removed to make room.
    pub evicted: AtomicU64,
    /// Entries that were removed because nobody wanted them for long.
    pub expired: AtomicU64,
    /// Entries that were purged.
    pub purged: AtomicU64,
    /// Fills that were not stored because of the disk.
    pub abandoned: AtomicU64,
    /// Failures of the disk.
    pub disk_errors: AtomicU64,
    /// Files that were not what was written.
    pub broken: AtomicU64,
}

/// Failures that tests cause.
#[derive(Default, Debug)]
pub struct Faults {
    #[cfg(test)]
    pub full: AtomicBool,
    #[cfg(test)]
    pub gate: Mutex<()>,
}

/// How much is in a zone.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Extent {
    /// Entries.
    pub entries: u64,
    /// What their files take.
    pub bytes: u64,
    /// Entries in memory.
    pub entries_in_memory: u64,
    /// What they take there.
    pub bytes_in_memory: u64,
    /// Is the directory still being read?
    pub is_loading: bool,
    /// Is nothing stored, because the disk failed?
    pub is_aside: bool,
}

/// A part of the index, and what is under way in it.
#[derive(Debug)]
pub(super) struct Part {
    pub index: Shard,
    flights: HashMap<Digest, Arc<Flight>, RandomState>,
    /// What was removed, and when in serials.
    removed: HashMap<Digest, u64, RandomState>,
    /// Fills that are older than this are not stored; for what `removed` has forgotten.
    floor: u64,
    tried: HashSet<Digest, RandomState>,
}

/// What is stored for a key.
#[derive(Clone, Debug)]
pub enum Found {
    /// This, which was chosen.
    Entry(Arc<Entry>),
    /// Perhaps something that only the disk knows: [`Zone::load`], then find again. Found once more
    /// after that, it means that the disk is too slow: take it for nothing.
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

/// A purge that could not be made to last.
#[derive(Debug)]
pub enum PurgeError {
    /// Too many are under way.
    TooMany,
    /// It holds until the process ends: it could not be written down.
    NotSaved,
}

impl fmt::Display for PurgeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::TooMany => "too many purges are under way, try again in a minute",
            Self::NotSaved => {
                "the purge holds until the program ends, it could not be written down"
            }
        })
    }
}

impl std::error::Error for PurgeError {}

/// Reads a stored body, or a part of it.
#[derive(Debug)]
pub struct Reader {
    source: Source,
    /// What is still to be given.
    range: Range<u64>,
}

#[derive(Debug)]
enum Source {
    Memory(Bytes),
    /// It is not on the disk yet.
    Flight(Follower),
    File {
        zone: Arc<Zone>,
        entry: Arc<Entry>,
        file: Arc<(EntryFile, Vec<u32>)>,
        /// What is being read.
        pending: Option<oneshot::Receiver<Result<Bytes, ReadError>>>,
        /// The disk is asked again after this.
        pause: Option<Pin<Box<Sleep>>>,
    },
}

impl Zone {
    /// A zone that knows nothing of its directory yet.
    pub fn new(conf: Arc<CachePath>, report: Report) -> Arc<Self> {
        let memory = memory_of_part(&conf);
        let part = || {
            Mutex::new(Part {
                index: Shard::new(memory),
                flights: HashMap::default(),
                removed: HashMap::default(),
                floor: 0,
                tried: HashSet::default(),
            })
        };
        // In microseconds, so that it is never behind what an earlier process has given out.
        let first_serial = clock::unix().as_micros() as u64;
        Arc::new(Self {
            id: metrics::cache_id(&conf.name),
            place: Place::new(conf.path.clone(), conf.levels.clone()),
            parts: (0..PARTS).map(|_| part()).collect(),
            capacity: conf.capacity(),
            most_in_memory: AtomicU64::new(most_in_memory(&conf)),
            most_body: AtomicU64::new(most_body(&conf)),
            serial: AtomicU64::new(first_serial),
            first_serial,
            count: AtomicU64::new(0),
            size: AtomicU64::new(0),
            unwritten: AtomicU64::new(0),
            is_loading: AtomicBool::new(true),
            aside_until: AtomicU64::new(0),
            pause: AtomicU64::new(0),
            hangs_until: AtomicU64::new(0),
            rules: Rules::default(),
            dead: Mutex::default(),
            pool: Pool::new(),
            bell: Arc::default(),
            report,
            has_started: AtomicBool::new(false),
            figures: Figures::default(),
            faults: Faults::default(),
            conf: Mutex::new(conf),
        })
    }

    /// Lets it read its directory and keep to its limits from now on, in threads that begin with a
    /// call of `begin`. Does nothing the second time.
    pub fn start(self: &Arc<Self>, begin: fn()) {
        if self.has_started.swap(true, Ordering::Relaxed) {
            return;
        }
        self.pool.begin_with(begin);
        if let Err(error) = super::keeper::start(self, begin) {
            (self.report)(
                Level::Alert,
                format_args!(
                    "cache zone \"{}\" keeps to no limit, it has no thread ({})",
                    self.conf().name,
                    cause(&error)
                ),
            );
        }
    }

    /// May this zone go on as that one, with its entries?
    pub fn may_become(&self, conf: &CachePath) -> bool {
        let own = self.conf.lock();
        own.name == conf.name
            && own.path == conf.path
            && own.levels == conf.levels
            && own.keys == conf.keys
    }

    /// Keeps to other limits from now on.
    pub fn become_like(&self, conf: &Arc<CachePath>) {
        let before = std::mem::replace(&mut *self.conf.lock(), Arc::clone(conf));
        self.most_body.store(most_body(conf), Ordering::Relaxed);
        if before.memory != conf.memory {
            (self.most_in_memory).store(most_in_memory(conf), Ordering::Relaxed);
            let memory = memory_of_part(conf);
            for mut part in self.parts() {
                part.index.set_memory(memory);
            }
        }
    }

    /// What is written about it.
    pub fn conf(&self) -> Arc<CachePath> {
        Arc::clone(&self.conf.lock())
    }

    /// Finds the most recent entry of a key that `choose` takes: the one whose `Vary` fits the request.
    /// Never waits.
    pub fn find(&self, key: &Key<'_>, mut choose: impl FnMut(&Entry) -> bool) -> Found {
        let part = self.part(key.digest);
        let mut best: Option<(u32, &Arc<Entry>)> = None;
        let mut is_on_disk = false;
        let mut is_known = false;
        for number in part.index.of(key.digest) {
            let record = part.index.record(number);
            if record.is_ghost() {
                continue;
            }
            is_known = true;
            if record.is_dead() {
                continue;
            }
            let Some(entry) = &record.entry else {
                is_on_disk = true;
                continue;
            };
            if best.is_none_or(|(_, best)| recency(best) < recency(entry))
                && *entry.key() == *key.text
                && !self.rules.concern(entry)
                && choose(entry)
            {
                best = Some((number, entry));
            }
        }
        match best.map(|(number, entry)| (number, Arc::clone(entry))) {
            Some((number, entry)) => {
                let mut part = part;
                part.index.touch(number, now());
                Found::Entry(entry)
            }
            None if is_on_disk => Found::OnDisk,
            None if !is_known
                && self.is_loading.load(Ordering::Relaxed)
                && !part.tried.contains(&key.digest) =>
            {
                Found::OnDisk
            }
            None => Found::Nothing,
        }
    }

    /// Brings what the disk knows of a key, so that finding gives an answer. May be dropped.
    pub async fn load(self: &Arc<Self>, key: &Key<'_>) {
        if self.hangs() {
            return;
        }
        let (done, loaded) = oneshot::channel();
        let (zone, digest) = (Arc::clone(self), key.digest);
        let job = move || {
            zone.load_now(digest);
            // Whoever asked may be gone.
            let _ = done.send(());
        };
        if self.pool.submit(Lane::Read, job).is_ok() {
            // It is dropped without an answer only by a panic.
            let _ = loaded.await;
        }
    }

    /// One more request wants the key; how many did, this one counted. Forgotten after `inactive`.
    pub fn count_use(&self, key: &Key<'_>) -> u32 {
        let mut part = self.part(key.digest);
        let live = |number: &u32| !part.index.record(*number).is_dead();
        let known = part.index.of(key.digest).find(live);
        let number = match known {
            Some(number) => number,
            None => {
                if self.count.load(Ordering::Relaxed) + part.index.count() as u64 / 2
                    >= self.capacity
                {
                    self.evict_oldest(&mut part);
                }
                let number = part.index.insert(key.digest, 0, now());
                part.index.make_ghost(number);
                number
            }
        };
        part.index.touch(number, now());
        u32::from(part.index.record(number).uses)
    }

    /// Fills the key, or follows the one who does: only one does at a time. Whoever has an entry that
    /// is stale does this too, to renew it.
    pub fn begin_fill(self: &Arc<Self>, key: &Key<'_>) -> Begin {
        let mut part = self.part(key.digest);
        if let Some(flight) = part.flights.get(&key.digest) {
            let flight = Arc::clone(flight);
            drop(part);
            // Another key with the same digest fills alone.
            return match *flight.key == *key.text {
                true => Begin::Follow(flight.follow(self, 0)),
                false => Begin::Fill(self.fill_alone(key)),
            };
        }
        let flight = Flight::new(key, self.next_serial(), self.most_body());
        part.flights.insert(key.digest, Arc::clone(&flight));
        drop(part);
        Begin::Fill(Fill::new(Arc::clone(self), flight))
    }

    /// Fills the key beside whoever else does (without `proxy_cache_lock`, or after its time).
    pub fn fill_alone(self: &Arc<Self>, key: &Key<'_>) -> Fill {
        let flight = Flight::new(key, self.next_serial(), self.most_body());
        Fill::new(Arc::clone(self), flight)
    }

    /// Does somebody fill or renew the key now?
    pub fn is_filling(&self, key: &Key<'_>) -> bool {
        let part = self.part(key.digest);
        let flight = part.flights.get(&key.digest);
        flight.is_some_and(|flight| *flight.key == *key.text)
    }

    /// Opens an entry's body, or a part of it (`range` within its length). At once if it is in
    /// memory.
    pub async fn open(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        range: Range<u64>,
    ) -> Result<Reader, ReadError> {
        if let Some(body) = entry.body() {
            let source = Source::Memory(body.clone());
            return Ok(Reader { source, range });
        }
        let flight = entry.flight.lock().clone();
        if let Some(flight) = flight {
            let source = Source::Flight(flight.follow(self, range.start));
            return Ok(Reader { source, range });
        }
        if self.hangs() {
            return Err(ReadError::Busy);
        }
        let (answer, opened) = oneshot::channel();
        let (zone, its_entry) = (Arc::clone(self), Arc::clone(entry));
        let job = move || {
            let _ = answer.send(zone.open_now(&its_entry));
        };
        self.pool
            .submit(Lane::Read, job)
            .map_err(|Refused| ReadError::Busy)?;
        let file = opened.await.map_err(|_| ReadError::Broken)??;
        let source = match entry.body() {
            Some(body) => Source::Memory(body.clone()),
            None => Source::File {
                zone: Arc::clone(self),
                entry: Arc::clone(entry),
                file: Arc::new(file),
                pending: None,
                pause: None,
            },
        };
        Ok(Reader { source, range })
    }

    /// Gives an entry another head, because the origin says that it is still good.
    pub fn renew(self: &Arc<Self>, entry: &Arc<Entry>, head: Head) -> Arc<Entry> {
        let renewed = Arc::new(entry.renewed(head));
        let mut part = self.part(entry.digest);
        let Some(number) = part.index.holder(entry) else {
            return renewed;
        };
        if self.rules.concern(entry) {
            return renewed;
        }
        part.index.hold(number, Arc::clone(&renewed));
        drop(part);
        let (zone, its_entry) = (Arc::clone(self), Arc::clone(&renewed));
        let job = move || zone.renew_file(&its_entry);
        // In memory it is renewed; the file follows with the next renewal.
        let _ = self.pool.submit(Lane::Write, job);
        renewed
    }

    /// Removes all variants of a key. Were there any? What is being filled meanwhile is not stored.
    pub fn remove(&self, key: &Key<'_>) -> bool {
        let serial = self.next_serial();
        let mut part = self.part(key.digest);
        let removed = self.kill_all(&mut part, key.digest);
        if part.removed.len() >= MOST_REMOVED {
            part.removed.clear();
            part.floor = serial;
        }
        part.removed.insert(key.digest, serial);
        drop(part);
        if self.is_loading.load(Ordering::Relaxed) {
            // What the disk has of it is not known yet.
            let _ = self.rules.add(serial, Target::Exact(key.text.into()));
        }
        self.figures
            .purged
            .fetch_add(removed as u64, Ordering::Relaxed);
        self.bell.ring();
        removed > 0
    }

    /// Waits until the files of what was removed are gone, so that an end of the process brings nothing
    /// back. `false` if that cannot be had now.
    pub async fn buried(self: &Arc<Self>) -> bool {
        let (answer, done) = oneshot::channel();
        let zone = Arc::clone(self);
        let job = move || {
            zone.bury();
            let _ = answer.send(());
        };
        self.pool.submit(Lane::Write, job).is_ok() && done.await.is_ok()
    }

    /// Removes what a target names, at once for whoever asks for it, and for good when this returns.
    pub async fn purge(self: &Arc<Self>, target: Target) -> Result<(), PurgeError> {
        let serial = self.next_serial();
        if let Target::Exact(text) = &target {
            self.remove(&Key::new(text));
        }
        self.rules
            .add(serial, target)
            .map_err(|super::purge::TooMany| PurgeError::TooMany)?;
        self.bell.ring();
        let (answer, done) = oneshot::channel();
        let zone = Arc::clone(self);
        let job = move || {
            let saved = zone.save_rules();
            zone.bury();
            let _ = answer.send(saved.is_ok());
        };
        let submitted = self.pool.submit(Lane::Write, job);
        submitted.map_err(|Refused| PurgeError::NotSaved)?;
        match done.await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(PurgeError::NotSaved),
        }
    }

    /// How much there is.
    pub fn extent(&self) -> Extent {
        let mut extent = Extent {
            entries: self.count.load(Ordering::Relaxed),
            bytes: self.size.load(Ordering::Relaxed),
            is_loading: self.is_loading.load(Ordering::Relaxed),
            is_aside: self.is_aside(),
            ..Extent::default()
        };
        for part in &self.parts {
            let (bytes, entries) = part.lock().index.memory();
            extent.bytes_in_memory += bytes as u64;
            extent.entries_in_memory += entries as u64;
        }
        extent
    }

    /// The entries in memory that are wanted most, with the number of their uses.
    pub fn hottest(&self, most: usize) -> Vec<(Arc<Entry>, u32)> {
        let mut found = Vec::new();
        for part in &self.parts {
            let part = part.lock();
            let records = part.index.all().filter_map(|record| {
                let entry = record.entry.as_ref()?;
                Some((entry, u32::from(record.uses)))
            });
            let mut here: Vec<_> = records.collect();
            here.sort_by_key(|(_, uses)| std::cmp::Reverse(*uses));
            here.truncate(most);
            found.extend((here.into_iter()).map(|(entry, uses)| (Arc::clone(entry), uses)));
        }
        found.sort_by_key(|(_, uses)| std::cmp::Reverse(*uses));
        found.retain(|(entry, _)| !self.rules.concern(entry));
        found.truncate(most);
        found
    }

    /// All variants of a key that are found now, read from the disk if need be, the newest first,
    /// with their uses.
    pub async fn variants(self: &Arc<Self>, key: &Key<'_>) -> Vec<(Arc<Entry>, u32)> {
        self.load(key).await;
        let part = self.part(key.digest);
        let records = part
            .index
            .of(key.digest)
            .map(|number| part.index.record(number));
        let mut found: Vec<_> = records
            .filter_map(|record| Some((record.entry.clone()?, u32::from(record.uses))))
            .filter(|(entry, _)| *entry.key() == *key.text && !self.rules.concern(entry))
            .collect();
        found.sort_by_key(|(entry, _)| std::cmp::Reverse(entry.serial));
        found
    }

    /// The file of an entry.
    pub fn file_of(&self, entry: &Entry) -> std::path::PathBuf {
        self.place.file(entry.digest, entry.slot)
    }

    /// Waits until what was stored is on the disk, or until then.
    pub fn settle(&self, deadline: Instant) {
        self.pool.settle(deadline);
    }

    /// No longer body is kept in memory.
    pub(super) fn most_in_memory(&self) -> u64 {
        self.most_in_memory.load(Ordering::Relaxed)
    }

    /// No longer body is stored.
    pub(super) fn most_body(&self) -> u64 {
        self.most_body.load(Ordering::Relaxed)
    }

    /// Is nothing stored, because the disk failed?
    pub(super) fn is_aside(&self) -> bool {
        let until = self.aside_until.load(Ordering::Relaxed);
        until != 0 && clock::milliseconds() < until
    }

    /// Makes an entry of a fill that is complete; its file is still to come. `None` if it is not to
    /// be stored.
    pub(super) fn put(
        &self,
        key: &Key<'_>,
        head: &Arc<Head>,
        length: u64,
        serial: u64,
        body: Option<Bytes>,
        flight: Option<Arc<Flight>>,
    ) -> Option<Arc<Entry>> {
        if self.rules.name(serial, key.text, head) {
            return None;
        }
        let mut part = self.part(key.digest);
        let removed = part.removed.get(&key.digest).copied().unwrap_or(0);
        if removed.max(part.floor) > serial {
            return None;
        }
        let mut uses = 0;
        let mut superseded = Vec::new();
        for number in part.index.of(key.digest) {
            let record = part.index.record(number);
            let is_same = match &record.entry {
                _ if record.is_dead() => false,
                _ if record.is_ghost() => true,
                // One that does not vary answers for all.
                None => head.vary.is_empty(),
                Some(entry) => {
                    *entry.key() == *key.text
                        && (head.vary.is_empty() || entry.head.vary == head.vary)
                        && entry.serial < serial
                }
            };
            if is_same {
                uses = uses.max(record.uses);
                superseded.push(number);
            }
        }
        for number in superseded {
            match part.index.record(number).is_ghost() {
                true => part.index.remove(number),
                false => self.kill(&mut part, number),
            }
        }
        let Some(slot) = part.index.free_slot(key.digest) else {
            // The variant that was not wanted for the longest time makes room for the next one.
            let live = |number: &u32| {
                let record = part.index.record(*number);
                !record.is_dead() && !record.is_pending()
            };
            let oldest = (part.index.of(key.digest).filter(live))
                .min_by_key(|number| part.index.record(*number).used);
            if let Some(number) = oldest {
                self.kill(&mut part, number);
            }
            drop(part);
            self.bell.ring();
            return None;
        };
        if self.count.load(Ordering::Relaxed) >= self.capacity {
            self.evict_oldest(&mut part);
        }
        let entry = Entry::new(key, (**head).clone(), length, serial, slot);
        if let Some(body) = body {
            entry.set_body(body);
        }
        *entry.flight.lock() = flight;
        let entry = Arc::new(entry);
        let number = part.index.insert(key.digest, slot, now());
        part.index.set_uses(number, uses);
        part.index.set_pending(number);
        part.index.hold(number, Arc::clone(&entry));
        self.count.fetch_add(1, Ordering::Relaxed);
        self.figures.stored.fetch_add(1, Ordering::Relaxed);
        drop(part);
        if !self.dead.lock().is_empty() {
            self.bell.ring();
        }
        Some(entry)
    }

    /// The file of an entry has its name.
    pub(super) fn landed(&self, entry: &Arc<Entry>, length: u64) {
        *entry.flight.lock() = None;
        let size = on_disk(length);
        let mut part = self.part(entry.digest);
        if let Some(number) = part.index.at_slot(entry.digest, entry.slot) {
            if let Some(renewed) = &part.index.record(number).entry {
                *renewed.flight.lock() = None;
            }
            part.index.set_size(number, size);
            self.size.fetch_add(size, Ordering::Relaxed);
            part.index.clear_pending(number);
        }
        drop(part);
        self.disk_works();
        let is_full = self.conf.lock().max_size.is_some_and(|most| {
            let size = self.size.load(Ordering::Relaxed);
            size > most
        });
        if is_full || !self.dead.lock().is_empty() {
            self.bell.ring();
        }
    }

    /// The file of an entry will never be there.
    pub(super) fn not_landed(&self, entry: &Arc<Entry>) {
        let mut part = self.part(entry.digest);
        if let Some(number) = part.index.at_slot(entry.digest, entry.slot)
            && part.index.record(number).is_pending()
        {
            part.index.clear_pending(number);
            part.index.remove(number);
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Nobody follows this fill any more.
    pub(super) fn end_flight(&self, flight: &Flight) {
        let mut part = self.part(flight.digest);
        let held = part.flights.get(&flight.digest);
        if held.is_some_and(|held| std::ptr::eq(&raw const **held, flight)) {
            part.flights.remove(&flight.digest);
        }
    }

    /// The disk did not do what it should: nothing is stored for a while.
    pub(super) fn disk_failed(&self, what: &str, error: &io::Error) {
        self.figures.disk_errors.fetch_add(1, Ordering::Relaxed);
        self.step_aside(format_args!(
            "{what} in \"{}\" failed ({})",
            self.place.root().display(),
            cause(error)
        ));
    }

    /// The disk is slower than what is to be stored.
    pub(super) fn disk_is_slow(&self) {
        self.step_aside(format_args!(
            "\"{}\" is slower than what is to be stored there",
            self.place.root().display()
        ));
    }

    /// Somebody waited in vain for what only the disk knows: for a moment nobody else does.
    pub fn gave_up_waiting(&self) {
        let until = clock::milliseconds() + HANGING.as_millis() as u64;
        self.hangs_until.store(until, Ordering::Relaxed);
    }

    fn hangs(&self) -> bool {
        let until = self.hangs_until.load(Ordering::Relaxed);
        until != 0 && clock::milliseconds() < until
    }

    fn step_aside(&self, why: fmt::Arguments<'_>) {
        let before = self.pause.load(Ordering::Relaxed);
        if self.is_aside() {
            return;
        }
        let pause = match before {
            0 => FIRST_PAUSE.as_millis() as u64,
            _ => (before * 2).min(LAST_PAUSE.as_millis() as u64),
        };
        self.pause.store(pause, Ordering::Relaxed);
        let until = clock::milliseconds() + pause;
        self.aside_until.store(until, Ordering::Relaxed);
        if before == 0 {
            (self.report)(
                Level::Error,
                format_args!(
                    "cache zone \"{}\" stores nothing for now: {why}",
                    self.conf().name
                ),
            );
        }
    }

    /// The pause after a failure is over.
    #[cfg(test)]
    pub(super) fn end_pause(&self) {
        self.aside_until.store(0, Ordering::Relaxed);
    }

    fn disk_works(&self) {
        if self.pause.load(Ordering::Relaxed) != 0 && self.pause.swap(0, Ordering::Relaxed) != 0 {
            self.aside_until.store(0, Ordering::Relaxed);
            (self.report)(
                Level::Notice,
                format_args!("cache zone \"{}\" stores again", self.conf().name),
            );
        }
    }

    pub(super) fn part(&self, digest: Digest) -> MutexGuard<'_, Part> {
        self.parts[usize::from(digest.0[0]) % PARTS].lock()
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = MutexGuard<'_, Part>> {
        self.parts.iter().map(Mutex::lock)
    }

    pub(super) fn next_serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed)
    }

    /// Nothing new is older than this, which an earlier process has given out.
    pub(super) fn see_serial(&self, serial: u64) {
        self.serial.fetch_max(serial + 1, Ordering::Relaxed);
    }

    /// The loader has found a file. Is it new?
    pub(super) fn add_known(&self, digest: Digest, slot: u8, size: u64) -> bool {
        let mut part = self.part(digest);
        if part.index.at_slot(digest, slot).is_some() {
            return false;
        }
        if self.count.load(Ordering::Relaxed) >= self.capacity {
            self.evict_oldest(&mut part);
        }
        let number = part.index.insert(digest, slot, now());
        part.index.set_size(number, size);
        self.count.fetch_add(1, Ordering::Relaxed);
        self.size.fetch_add(size, Ordering::Relaxed);
        true
    }

    /// The directory is read.
    pub(super) fn end_loading(&self) {
        self.is_loading.store(false, Ordering::Relaxed);
        for mut part in self.parts() {
            part.tried = HashSet::default();
        }
    }

    /// Nobody finds it any more.
    pub(super) fn kill(&self, part: &mut Part, number: u32) {
        let record = part.index.record(number);
        if record.is_ghost() {
            part.index.remove(number);
            return;
        }
        if !record.is_dead() {
            let file = (record.digest, record.slot);
            part.index.kill(number);
            self.dead.lock().push(file);
        }
    }

    fn kill_all(&self, part: &mut Part, digest: Digest) -> usize {
        let numbers: Vec<_> = part.index.of(digest).collect();
        let mut killed = 0;
        for number in numbers {
            let record = part.index.record(number);
            if !record.is_ghost() && !record.is_dead() {
                killed += 1;
                self.kill(part, number);
            }
        }
        killed
    }

    fn evict_oldest(&self, part: &mut Part) {
        if let Some(number) = part.index.oldest() {
            if !part.index.record(number).is_ghost() {
                self.figures.evicted.fetch_add(1, Ordering::Relaxed);
            }
            self.kill(part, number);
        }
    }

    /// Removes the files of what was killed. How many are still to be removed?
    pub(super) fn bury(&self) -> usize {
        let dead = std::mem::take(&mut *self.dead.lock());
        for (digest, slot) in dead {
            let part = self.part(digest);
            let record = part.index.at_slot(digest, slot);
            let record = record.map(|number| part.index.record(number));
            match record {
                Some(record) if record.is_dead() && record.is_pending() => {
                    drop(part);
                    self.dead.lock().push((digest, slot));
                    continue;
                }
                Some(record) if record.is_dead() => {}
                _ => continue,
            }
            drop(part);
            // The slot is nobody else's as long as there is its record.
            if let Err(error) = self.place.remove(digest, slot) {
                self.disk_failed("unlink", &error);
                self.dead.lock().push((digest, slot));
                continue;
            }
            let mut part = self.part(digest);
            if let Some(number) = part.index.at_slot(digest, slot) {
                let size = part.index.record(number).size;
                part.index.remove(number);
                self.size.fetch_sub(size, Ordering::Relaxed);
                self.count.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.dead.lock().len()
    }

    pub(super) fn save_rules(&self) -> io::Result<()> {
        self.faults.check()?;
        super::place::make(self.place.root(), None)?;
        let saved = self.rules.save(&self.place.root().join(PURGES));
        saved.inspect_err(|error| self.disk_failed("write", error))
    }

    /// Reads the heads of a digest's files that are not in memory.
    fn load_now(&self, digest: Digest) {
        let part = self.part(digest);
        let mut slots: Vec<u8> = Vec::new();
        for number in part.index.of(digest) {
            let record = part.index.record(number);
            if !record.is_ghost() && !record.is_dead() && record.entry.is_none() {
                slots.push(record.slot);
            }
        }
        if self.is_loading.load(Ordering::Relaxed) && !part.tried.contains(&digest) {
            let unknown =
                (0..MOST_VARIANTS).filter(|slot| part.index.at_slot(digest, *slot).is_none());
            slots.extend(unknown);
        }
        drop(part);
        for slot in slots {
            self.load_slot(digest, slot);
        }
        if self.is_loading.load(Ordering::Relaxed) {
            let mut part = self.part(digest);
            if part.tried.len() >= MOST_TRIED {
                part.tried.clear();
            }
            part.tried.insert(digest);
        }
    }

    fn load_slot(&self, digest: Digest, slot: u8) {
        let read = self.read_head(digest, slot);
        let mut part = self.part(digest);
        let known = part.index.at_slot(digest, slot);
        let record = known.map(|number| part.index.record(number));
        if record
            .is_some_and(|record| record.is_dead() || record.is_pending() || record.entry.is_some())
        {
            return;
        }
        match read {
            Ok((entry, size)) => {
                self.see_serial(entry.serial);
                let number = known.unwrap_or_else(|| {
                    let number = part.index.insert(digest, slot, now());
                    part.index.set_size(number, size);
                    self.count.fetch_add(1, Ordering::Relaxed);
                    self.size.fetch_add(size, Ordering::Relaxed);
                    number
                });
                if self.rules.concern(&entry) {
                    self.kill(&mut part, number);
                    return;
                }
                // A process that was killed between the new file and the removal of the old one
                // leaves both.
                let mut is_old = false;
                let others: Vec<_> = part
                    .index
                    .of(digest)
                    .filter(|other| *other != number)
                    .collect();
                for other in others {
                    let Some(held) = part.index.record(other).entry.clone() else {
                        continue;
                    };
                    if *held.key() != *entry.key() || held.head.vary != entry.head.vary {
                        continue;
                    }
                    if held.serial < entry.serial {
                        self.kill(&mut part, other);
                    } else {
                        is_old = true;
                    }
                }
                match is_old {
                    true => self.kill(&mut part, number),
                    false => part.index.hold(number, Arc::new(entry)),
                }
            }
            Err(FileError::Missing) => {
                if let Some(number) = known {
                    let size = part.index.record(number).size;
                    part.index.remove(number);
                    self.size.fetch_sub(size, Ordering::Relaxed);
                    self.count.fetch_sub(1, Ordering::Relaxed);
                }
            }
            Err(FileError::Broken) => {
                let number = known.unwrap_or_else(|| {
                    self.count.fetch_add(1, Ordering::Relaxed);
                    part.index.insert(digest, slot, now())
                });
                self.kill(&mut part, number);
                drop(part);
                self.tell_broken(digest, slot);
                self.bell.ring();
            }
            Err(FileError::Io(error)) => {
                drop(part);
                self.disk_failed("read", &error);
            }
        }
    }

    /// Reads the head of a file, and the body if it is small, without the index.
    pub(super) fn read_head(&self, digest: Digest, slot: u8) -> Result<(Entry, u64), FileError> {
        let file = EntryFile::open(&self.place.file(digest, slot))?;
        let (key, head) = file.head()?;
        let key = Key::new(&key);
        if key.digest != digest {
            return Err(FileError::Broken);
        }
        let length = file.preamble.body_length;
        let entry = Entry::new(&key, head, length, file.preamble.serial, slot);
        if length <= self.most_in_memory().min(BLOCK as u64) {
            entry.set_body(file.body(&file.table()?)?);
        }
        Ok((entry, on_disk(file.length)))
    }

    /// Opens the file of an entry; what is small and wanted again is taken into memory.
    fn open_now(&self, entry: &Arc<Entry>) -> Result<(EntryFile, Vec<u32>), ReadError> {
        #[cfg(test)]
        drop(self.faults.gate.lock());
        let read = || {
            let file = EntryFile::open(&self.place.file(entry.digest, entry.slot))?;
            if file.preamble.serial != entry.serial {
                return Err(FileError::Missing);
            }
            let table = file.table()?;
            if file.preamble.body_length != entry.length {
                return Err(FileError::Broken);
            }
            Ok((file, table))
        };
        let (file, table) = read().map_err(|error| self.unreadable(entry, error))?;
        if entry.length <= self.most_in_memory() {
            let body = file.body(&table);
            let body = body.map_err(|error| self.unreadable(entry, error))?;
            let mut part = self.part(entry.digest);
            if let Some(number) = part.index.holder(entry) {
                let length = body.len();
                if part.index.record(number).uses > 1 && entry.set_body(body) {
                    part.index.grow(number, length);
                }
            }
        }
        Ok((file, table))
    }

    fn renew_file(&self, entry: &Arc<Entry>) {
        let path = self.place.file(entry.digest, entry.slot);
        match file::renew(&path, entry.serial, entry.key(), &entry.head) {
            Ok(length) => {
                let mut part = self.part(entry.digest);
                if let Some(number) = part.index.holder(entry) {
                    let (before, now) = (part.index.record(number).size, on_disk(length));
                    if before != 0 {
                        part.index.set_size(number, now);
                        self.size
                            .fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
                    }
                }
            }
            // Its file is on its way, or it was replaced.
            Err(FileError::Missing) => {}
            Err(FileError::Broken) => {
                self.unreadable(entry, FileError::Broken);
            }
            Err(FileError::Io(error)) => self.disk_failed("write", &error),
        }
    }

    /// The file of an entry is not what it should be.
    fn unreadable(&self, entry: &Arc<Entry>, error: FileError) -> ReadError {
        if let FileError::Io(error) = error {
            self.disk_failed("read", &error);
            return ReadError::Broken;
        }
        let mut part = self.part(entry.digest);
        // Its head may have left the memory meanwhile. A file that is not there, or another's, is
        // the business of whoever reads that head again.
        let held = match error {
            FileError::Broken => part.index.at_slot(entry.digest, entry.slot),
            FileError::Missing | FileError::Io(_) => part.index.holder(entry),
        };
        if let Some(number) = held {
            self.kill(&mut part, number);
        }
        drop(part);
        self.bell.ring();
        match error {
            FileError::Missing => ReadError::Gone,
            FileError::Broken | FileError::Io(_) => {
                self.tell_broken(entry.digest, entry.slot);
                ReadError::Broken
            }
        }
    }

    fn tell_broken(&self, digest: Digest, slot: u8) {
        self.figures.broken.fetch_add(1, Ordering::Relaxed);
        (self.report)(
            Level::Warn,
            format_args!(
                "cache file \"{}\" is not what was written, it is removed",
                self.place.file(digest, slot).display()
            ),
        );
    }
}

impl Drop for Zone {
    fn drop(&mut self) {
        self.bell.close();
        self.pool.close();
    }
}

impl Faults {
    pub(super) fn check(&self) -> io::Result<()> {
        #[cfg(test)]
        {
            drop(self.gate.lock());
            if self.full.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        Ok(())
    }
}

impl Reader {
    /// The whole of what is to be read, if it is in memory.
    pub fn whole(&self) -> Option<Bytes> {
        match &self.source {
            Source::Memory(body) => {
                Some(body.slice(self.range.start as usize..self.range.end as usize))
            }
            Source::Flight(_) | Source::File { .. } => None,
        }
    }

    /// The next bytes, verified; `None` at the end of the range. May be dropped and called again:
    /// nothing is lost.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        if self.range.is_empty() {
            return Ok(None);
        }
        let wanted = self.range.end - self.range.start;
        let mut bytes = match &mut self.source {
            Source::Memory(body) => body.slice(self.range.start as usize..self.range.end as usize),
            Source::Flight(follower) => {
                let read = follower.next().await.map_err(|_| ReadError::Gone)?;
                read.ok_or(ReadError::Broken)?
            }
            Source::File {
                zone,
                entry,
                file,
                pending,
                pause,
            } => {
                let (at, end) = (self.range.start, self.range.end);
                let asked = loop {
                    if let Some(until) = pause {
                        until.await;
                        *pause = None;
                    }
                    if pending.is_none() {
                        *pending = read_blocks(zone, entry, file, at, end);
                    }
                    match pending {
                        Some(asked) => break asked,
                        // The answer has begun: better late than cut off.
                        None => *pause = Some(Box::pin(sleep(PAUSE))),
                    }
                };
                let read = asked.await.map_err(|_| ReadError::Broken)?;
                *pending = None;
                let read = read?;
                let within = (at % BLOCK as u64) as usize;
                let bytes = read.slice(within.min(read.len())..);
                // The disk goes on while the client takes this; refused, it is asked later.
                let next = at + bytes.len() as u64;
                if next < end && !bytes.is_empty() {
                    *pending = read_blocks(zone, entry, file, next, end);
                }
                bytes
            }
        };
        if bytes.is_empty() {
            return Err(ReadError::Broken);
        }
        if bytes.len() as u64 > wanted {
            bytes.truncate(wanted as usize);
        }
        self.range.start += bytes.len() as u64;
        Ok(Some(bytes))
    }
}

/// Has the blocks from the one at this place on read; `None` if too many wait for the disk.
fn read_blocks(
    zone: &Arc<Zone>,
    entry: &Arc<Entry>,
    file: &Arc<(EntryFile, Vec<u32>)>,
    at: u64,
    end: u64,
) -> Option<oneshot::Receiver<Result<Bytes, ReadError>>> {
    let first = at / BLOCK as u64;
    let count = (blocks(end) - first).min(READ_AHEAD);
    let (answer, pending) = oneshot::channel();
    let (its_zone, entry, file) = (Arc::clone(zone), Arc::clone(entry), Arc::clone(file));
    let job = move || {
        let read = file.0.blocks(&file.1, first, count);
        let read = read.map_err(|error| its_zone.unreadable(&entry, error));
        // Whoever asked may be gone.
        let _ = answer.send(read);
    };
    zone.pool.submit(Lane::Read, job).ok()?;
    Some(pending)
}

/// Bytes of memory for each part of the index. Some heads are always there: whoever reads one from
/// the disk must find it.
fn memory_of_part(conf: &CachePath) -> usize {
    (conf.memory as usize / PARTS).max(16 << 10)
}

/// No longer body is kept in memory: a few must fit.
fn most_in_memory(conf: &CachePath) -> u64 {
    (conf.memory / PARTS as u64 / 4).min(MOST_IN_MEMORY)
}

/// No longer body is stored: it would not be kept.
fn most_body(conf: &CachePath) -> u64 {
    conf.max_size.map_or(MOST_BODY, |most| most.min(MOST_BODY))
}

/// What the most recent of several answers has most of: by its `Date` (RFC 9111 section 4), which a
/// clock that is ahead does not put before all that comes, then in the order in which they came.
fn recency(entry: &Entry) -> (u64, u64) {
    let received = entry.head.received / 1000;
    let date = entry.head.date.unwrap_or(received);
    (date.min(received), entry.serial)
}

/// In seconds since 1970.
pub(super) fn now() -> u32 {
    clock::unix().as_secs() as u32
}

/// An error of the system in nginx's form: number and words.
fn cause(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => {
            let errno = nix::errno::Errno::from_raw(number);
            format!("{number}: {}", errno.desc())
        }
        None => error.to_string(),
    }
}
