//! The journal: calls that are about to leave, until the ledger has them.
//!
//! A call must not leave before it is certain that a kill of the process cannot lose it. A commit of
//! SQLite makes it certain, at the price of some pages; so does a record in a file that is mapped into
//! memory, for the price of copying it: what is in such a page is the system's, whatever becomes of
//! the process. The thread of [`super::writer`] commits the calls some milliseconds later, with others.
//!
//! Two files take turns. When the writer takes the entries that wait for it, what comes next goes into
//! the other file; when all that it took is committed, it empties the first one. The invariants: a call
//! that has left is in the ledger or in one of the files; behind the last record of a file there are
//! zeros. What a process that was killed has left behind is put into the ledger by the next one, where
//! it is missing.
//!
//! The room of a file is written before it is mapped, so that a full disk is an error like any other
//! and not a fault of memory. Whoever cuts off a file under the process, or fills a disk whose file system
//! copies what is written again, ends the process; SQLite, which maps its index beside the store, has the
//! same bargain.
//!
//! As with the commits of the ledger, a loss of power may cost the last calls: nothing waits for the
//! disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use memmap2::MmapMut;
use parking_lot::Mutex;

use super::calls::{NAME, OpenCall};
use super::clipped;
use super::open::{self, StoreError};
use crate::unit::money::Money;

/// What stands behind the name of the store in the names of the files.
const PARTS: [&str; 2] = ["-calls-0", "-calls-1"];

/// The room of a file that begins to be used: some hundred calls. It doubles when it is full.
const FIRST: usize = 64 << 10;

/// The room that an empty file keeps. A disk that has failed for long leaves more behind.
const KEPT: usize = 1 << 20;

/// No file becomes larger, and no more is read of one: some hundred thousand calls, many more than may
/// wait.
const LARGEST: usize = 64 << 20;

/// In front of a record: its length and its checksum.
const HEAD: usize = 8;

/// The longest record behind its head: four numbers, and four names with their lengths.
const LONGEST: usize = 4 * 8 + 4 * (2 + NAME);

/// The journal of a store that is open.
#[derive(Debug)]
pub(super) struct Journal {
    turn: Mutex<Turn>,
}

#[derive(Debug)]
struct Turn {
    files: [Part; 2],
    /// Which file takes what comes.
    active: usize,
    /// The writer has taken its last entries.
    is_closed: bool,
}

/// One of the files.
#[derive(Debug)]
struct Part {
    path: PathBuf,
    file: File,
    /// `None` before the first record.
    map: Option<MmapMut>,
    /// So many bytes of it are records.
    length: usize,
}

impl Journal {
    /// Opens the journal of a store, to be called by whoever has its lock. Returns what is in it, too:
    /// after [`Self::forget`], when that is in the ledger, it can be used.
    pub(super) fn open(store: &Path) -> Result<(Self, Vec<OpenCall>), StoreError> {
        let mut calls = Vec::new();
        let mut open = |part: &str| {
            let path = open::beside(store, part);
            let failed = |error: io::Error| StoreError::of_system(&path, "open", &error);
            if let Err(error) = open::create(&path)
                && error.kind() != io::ErrorKind::AlreadyExists
            {
                return Err(failed(error));
            }
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
                .open(&path)
                .map_err(failed)?;
            let mut bytes = Vec::new();
            (&file)
                .take(LARGEST as u64)
                .read_to_end(&mut bytes)
                .map_err(failed)?;
            calls.extend(records(&bytes));
            Ok(Part {
                path,
                file,
                map: None,
                length: 0,
            })
        };
        let turn = Turn {
            files: [open(PARTS[0])?, open(PARTS[1])?],
            active: 0,
            is_closed: false,
        };
        let journal = Self {
            turn: Mutex::new(turn),
        };
        Ok((journal, calls))
    }

    /// Empties both files.
    pub(super) fn forget(&self) -> Result<(), StoreError> {
        self.turn.lock().files.iter_mut().try_for_each(Part::cut)
    }

    /// Writes a call down; then it may leave. What is done `then`, with it, the writer sees no later than
    /// the file that it is in.
    pub(super) fn append(&self, call: &OpenCall, then: impl FnOnce()) -> Result<(), StoreError> {
        let mut turn = self.turn.lock();
        if turn.is_closed {
            return Err(StoreError::Closed);
        }
        let active = turn.active;
        turn.files[active].append(call)?;
        then();
        Ok(())
    }

    /// Takes the entries that wait for the writer, and from here on lets calls go into the other file,
    /// unless what is in that one is not committed yet. Nothing comes after the last turn.
    pub(super) fn turn<T>(&self, take: impl FnOnce() -> (T, bool)) -> T {
        let mut turn = self.turn.lock();
        let (taken, is_last) = take();
        turn.is_closed |= is_last;
        let other = 1 - turn.active;
        if turn.files[other].length == 0 {
            turn.active = other;
        }
        taken
    }

    /// Everything that was taken in the last turn and before is committed.
    pub(super) fn committed(&self) {
        let mut turn = self.turn.lock();
        let other = 1 - turn.active;
        turn.files[other].empty();
    }

    /// Removes the files of a journal that is closed, if nothing is in them.
    pub(super) fn remove(&self) {
        let turn = self.turn.lock();
        let is_empty = turn.files.iter().all(|part| part.length == 0);
        for part in turn.files.iter().filter(|_| is_empty) {
            let _made_anew_anyway = std::fs::remove_file(&part.path);
        }
    }
}

impl Part {
    fn append(&mut self, call: &OpenCall) -> Result<(), StoreError> {
        let end = self.length + HEAD + LONGEST;
        if self.map.as_ref().is_none_or(|map| map.len() < end) {
            self.grow(end)?;
        }
        let map = self.map.as_deref_mut().unwrap_or_default();
        let room = map.get_mut(self.length..end).ok_or(StoreError::Busy)?;
        self.length += write_record(room, call);
        Ok(())
    }

    fn grow(&mut self, wanted: usize) -> Result<(), StoreError> {
        static ZEROS: [u8; FIRST] = [0; FIRST];
        if wanted > LARGEST {
            return Err(StoreError::Busy);
        }
        let wanted = wanted.next_multiple_of(FIRST).next_power_of_two();
        let mut size = self.map.as_ref().map_or(0, |map| map.len());
        let mut enlarge = || {
            while size < wanted {
                self.file.write_all_at(&ZEROS, size as u64)?;
                size += FIRST;
            }
            map(&self.file)
        };
        let larger = enlarge().map_err(|error| self.failed(&error))?;
        self.map = Some(larger);
        Ok(())
    }

    /// Makes room for what comes next.
    fn empty(&mut self) {
        let map = self.map.as_deref_mut().unwrap_or_default();
        // If a large one cannot be made small it is used as it is.
        if map.len() <= KEPT || self.cut().is_err() {
            let map = self.map.as_deref_mut().unwrap_or_default();
            if let Some(records) = map.get_mut(..self.length) {
                records.fill(0);
            }
            self.length = 0;
        }
    }

    /// Gives all room back.
    fn cut(&mut self) -> Result<(), StoreError> {
        // Only what is not mapped may be cut off.
        let map = self.map.take();
        if let Err(error) = self.file.set_len(0) {
            self.map = map;
            return Err(self.failed(&error));
        }
        self.length = 0;
        Ok(())
    }

    fn failed(&self, error: &io::Error) -> StoreError {
        StoreError::of_system(&self.path, "write", error)
    }
}

/// Maps a file that is all written.
fn map(file: &File) -> io::Result<MmapMut> {
    #[expect(unsafe_code, reason = "another program could change what is mapped")]
    // SAFETY: the file is the owner's alone, and whoever has the lock of the store is the only one who
    // writes to it; what stands in it is only bytes to us, and is not read through the mapping.
    unsafe {
        MmapMut::map_mut(file)
    }
}

/// Writes a record to the beginning of a place that is long enough, and says how long it is.
fn write_record(place: &mut [u8], call: &OpenCall) -> usize {
    let mut end = HEAD;
    let mut put = |bytes: &[u8]| {
        place[end..end + bytes.len()].copy_from_slice(bytes);
        end += bytes.len();
    };
    let reserved = call.reserved.pico().cast_unsigned();
    for number in [call.id, call.key, call.secret, reserved] {
        put(&number.to_le_bytes());
    }
    for name in [&call.gateway, &call.user, &call.node, &call.asked] {
        let name = clipped(name, NAME);
        put(&(name.len() as u16).to_le_bytes());
        put(name.as_bytes());
    }
    let (head, body) = place[..end].split_at_mut(HEAD);
    head[..4].copy_from_slice(&(body.len() as u32).to_le_bytes());
    head[4..].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
    end
}

/// The calls of a file, up to the first that is not whole.
fn records(mut bytes: &[u8]) -> impl Iterator<Item = OpenCall> {
    std::iter::from_fn(move || {
        let length = u32::from_le_bytes(*bytes.first_chunk()?) as usize;
        let checksum = u32::from_le_bytes(*bytes.get(4..)?.first_chunk()?);
        let end = HEAD + Some(length).filter(|&length| length <= LONGEST)?;
        let body = bytes.get(HEAD..end)?;
        bytes = &bytes[end..];
        (crc32fast::hash(body) == checksum).then(|| record(body))?
    })
}

fn record(mut body: &[u8]) -> Option<OpenCall> {
    let mut number = || {
        let (number, rest) = body.split_first_chunk()?;
        body = rest;
        Some(u64::from_le_bytes(*number))
    };
    let [id, key, secret, reserved] = [number()?, number()?, number()?, number()?];
    let mut name = || {
        let (length, rest) = body.split_first_chunk()?;
        let (name, rest) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
        body = rest;
        String::from_utf8(name.to_vec()).ok()
    };
    Some(OpenCall {
        id,
        key,
        secret,
        gateway: name()?,
        user: name()?,
        node: name()?,
        asked: name()?,
        reserved: Money::from_pico(reserved.cast_signed()),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_call() -> impl Strategy<Value = OpenCall> {
        let numbers = any::<(u64, u64, u64, i64)>();
        let names = ("\\PC{0,40}", "\\PC{0,40}", "\\PC{0,40}", "\\PC{0,40}");
        (numbers, names).prop_map(|((id, key, secret, reserved), names)| OpenCall {
            id,
            key,
            secret,
            gateway: names.0,
            user: names.1,
            node: names.2,
            asked: names.3,
            reserved: Money::from_pico(reserved),
        })
    }

    fn record_of(call: &OpenCall) -> Vec<u8> {
        let mut place = vec![0; HEAD + LONGEST];
        let length = write_record(&mut place, call);
        place.truncate(length);
        place
    }

    proptest! {
        #[test]
        fn what_was_written_whole_is_read_however_the_file_ends(
            calls in proptest::collection::vec(any_call(), 0..6),
            cut in any::<proptest::sample::Index>(),
        ) {
            let mut bytes = Vec::new();
            let mut ends = vec![0];
            for call in &calls {
                bytes.extend(record_of(call));
                ends.push(bytes.len());
            }
            let found: Vec<OpenCall> = records(&bytes).collect();
            prop_assert_eq!(&found, &calls);
            let cut = cut.index(bytes.len() + 1);
            let whole = ends.iter().filter(|&&end| end <= cut).count() - 1;
            let found: Vec<OpenCall> = records(&bytes[..cut]).collect();
            prop_assert_eq!(&found, &calls[..whole]);
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _nothing_or_something = records(&bytes).count();
        }

        #[test]
        fn a_byte_that_has_changed_ends_the_reading(
            calls in proptest::collection::vec(any_call(), 1..4),
            place in any::<proptest::sample::Index>(),
            change in 1_u8..,
        ) {
            let mut bytes: Vec<u8> = calls.iter().flat_map(record_of).collect();
            let place = place.index(bytes.len());
            bytes[place] ^= change;
            let found: Vec<OpenCall> = records(&bytes).collect();
            prop_assert!(found.len() < calls.len());
            prop_assert_eq!(&found[..], &calls[..found.len()]);
        }
    }

    #[test]
    fn names_that_are_too_long_are_cut_as_the_ledger_does() {
        let call = OpenCall {
            asked: "ä".repeat(300),
            ..OpenCall::default()
        };
        let found: Vec<OpenCall> = records(&record_of(&call)).collect();
        assert_eq!(found[0].asked, "ä".repeat(128));
    }

    #[test]
    fn the_files_take_turns_and_one_that_is_not_committed_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = directory.path().join("store.db");
        let (journal, calls) = Journal::open(&store).expect("opened");
        assert!(calls.is_empty());
        let append = |id: u64| {
            let call = OpenCall {
                id,
                ..OpenCall::default()
            };
            journal.append(&call, || ()).expect("written");
        };
        let left = || numbers(&store);
        append(1);
        journal.turn(|| ((), false));
        append(2);
        // What was taken could not be committed: what comes next stays where it is.
        journal.turn(|| ((), false));
        append(3);
        assert_eq!(left(), [1, 2, 3]);
        journal.committed();
        assert_eq!(left(), [2, 3]);
        journal.turn(|| ((), true));
        journal.committed();
        assert_eq!(left(), [0; 0]);
        let refused = journal.append(&OpenCall::default(), || ());
        assert_eq!(refused, Err(StoreError::Closed));
    }

    fn numbered(id: u64) -> OpenCall {
        OpenCall {
            id,
            asked: "x".repeat(NAME),
            ..OpenCall::default()
        }
    }

    fn numbers(store: &Path) -> Vec<u64> {
        let (_, calls) = Journal::open(store).expect("opened");
        calls.iter().map(|call| call.id).collect()
    }

    #[test]
    fn what_was_emptied_is_not_found_behind_what_came_after_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = directory.path().join("store.db");
        let (journal, _) = Journal::open(&store).expect("opened");
        for round in 0..4 {
            for step in 0..7 {
                let call = numbered(round * 10 + step);
                journal.append(&call, || ()).expect("written");
            }
            journal.turn(|| ((), false));
            journal.committed();
        }
        assert_eq!(numbers(&store), [0; 0]);
        journal.append(&numbered(99), || ()).expect("written");
        assert_eq!(numbers(&store), [99]);
    }

    #[test]
    fn a_file_grows_as_long_as_nothing_is_committed_and_gives_its_room_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = directory.path().join("store.db");
        let (journal, _) = Journal::open(&store).expect("opened");
        let count = (KEPT / NAME) as u64;
        for id in 0..count {
            journal.append(&numbered(id), || ()).expect("written");
        }
        assert_eq!(numbers(&store), (0..count).collect::<Vec<_>>());
        let size = || {
            let found = std::fs::metadata(open::beside(&store, PARTS[0]));
            found.expect("a file").len()
        };
        assert!(size() > KEPT as u64);
        journal.turn(|| ((), false));
        journal.committed();
        assert_eq!((size(), numbers(&store)), (0, Vec::new()));
    }

    #[test]
    fn a_call_that_has_no_room_is_refused_and_those_before_it_stay() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = directory.path().join("store.db");
        let (journal, _) = Journal::open(&store).expect("opened");
        let mut written = 0;
        let refused = loop {
            let mut was_done = false;
            let outcome = journal.append(&numbered(written), || was_done = true);
            assert_eq!(was_done, outcome.is_ok());
            match outcome {
                Ok(()) => written += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(refused, StoreError::Busy);
        assert_eq!(numbers(&store).len() as u64, written);
    }
}
