//! The journal: calls that are about to leave, until the ledger has them.
//!
//! A call must not leave before it is certain that a kill of the process cannot lose it. A commit of
//! SQLite makes it certain, at the price of some pages; so does a line at the end of a file, for a
//! hundredth of that. A thread that does nothing else writes these lines, for as many calls as wait
//! together, and lets the calls go; the thread of [`super::writer`] commits them some milliseconds
//! later, with others.
//!
//! Two files take turns. When the writer takes the entries that wait for it, what comes next goes into
//! the other file; when all that it took is committed, it empties the first one. The invariant: a call
//! that has left is in the ledger or in one of the files. What a process that was killed has left
//! behind is put into the ledger by the next one, where it is missing.
//!
//! As with the commits of the ledger, a loss of power may cost the last calls: nothing waits for the
//! disk, unless [`super::Store::sync_calls`] wants it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::calls::{NAME, OpenCall};
use super::clipped;
use super::open::{self, StoreError};
use crate::unit::money::Money;

/// What stands behind the name of the store in the names of the files.
const PARTS: [&str; 2] = ["-calls-0", "-calls-1"];

/// No more is read of a file: some hundred thousand calls, many more than may wait.
const LARGEST: u64 = 64 << 20;

/// In front of a record: its length and its checksum.
const HEAD: usize = 8;

/// The longest record behind its head: four numbers, and four names with their lengths.
const LONGEST: usize = 4 * 8 + 4 * (2 + NAME);

/// The journal of a store that is open.
#[derive(Debug)]
pub(super) struct Journal {
    paths: [PathBuf; 2],
    files: [File; 2],
    turn: Mutex<Turn>,
}

#[derive(Debug)]
struct Turn {
    /// Which file takes what comes.
    active: usize,
    lengths: [u64; 2],
    /// The writer has taken its last entries.
    is_closed: bool,
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
                .take(LARGEST)
                .read_to_end(&mut bytes)
                .map_err(failed)?;
            calls.extend(records(&bytes));
            Ok((path, file))
        };
        let [first, second] = [open(PARTS[0])?, open(PARTS[1])?];
        let journal = Self {
            paths: [first.0, second.0],
            files: [first.1, second.1],
            turn: Mutex::new(Turn {
                active: 0,
                lengths: [0; 2],
                is_closed: false,
            }),
        };
        Ok((journal, calls))
    }

    /// Empties both files.
    pub(super) fn forget(&self) -> Result<(), StoreError> {
        for (file, path) in self.files.iter().zip(&self.paths) {
            let failed = |error: io::Error| StoreError::of_system(path, "write", &error);
            file.set_len(0).map_err(failed)?;
        }
        Ok(())
    }

    /// Writes calls down; then they may leave. What is done `then`, with them, the writer sees no later
    /// than the file that they are in.
    pub(super) fn append<'a>(
        &self,
        calls: impl Iterator<Item = &'a Arc<OpenCall>>,
        is_synced: bool,
        then: impl FnOnce(),
    ) -> Result<(), StoreError> {
        let mut bytes = Vec::with_capacity(256);
        for call in calls {
            write_record(&mut bytes, call);
        }
        let mut turn = self.turn.lock();
        if turn.is_closed {
            return Err(StoreError::Closed);
        }
        let active = turn.active;
        let (file, length) = (&self.files[active], turn.lengths[active]);
        let written = file.write_all_at(&bytes, length);
        let kept = written.and_then(|()| if is_synced { file.sync_data() } else { Ok(()) });
        if let Err(error) = kept {
            // What follows is written over it in any case.
            let _cut_off_if_possible = file.set_len(length);
            return Err(StoreError::of_system(&self.paths[active], "write", &error));
        }
        turn.lengths[active] += bytes.len() as u64;
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
        if turn.lengths[other] == 0 {
            turn.active = other;
        }
        taken
    }

    /// Everything that was taken in the last turn and before is committed.
    pub(super) fn committed(&self) {
        let other = {
            let turn = self.turn.lock();
            let other = 1 - turn.active;
            if turn.lengths[other] == 0 {
                return;
            }
            other
        };
        // Nobody else touches the other file. If it stays as it is it is emptied another time.
        if self.files[other].set_len(0).is_ok() {
            self.turn.lock().lengths[other] = 0;
        }
    }

    /// Removes the files of a journal that is closed, if nothing is in them.
    pub(super) fn remove(&self) {
        let is_empty = self.turn.lock().lengths == [0; 2];
        for path in self.paths.iter().filter(|_| is_empty) {
            let _made_anew_anyway = std::fs::remove_file(path);
        }
    }
}

fn write_record(out: &mut Vec<u8>, call: &OpenCall) {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD]);
    let reserved = call.reserved.pico().cast_unsigned();
    let numbers = [call.id, call.key, call.secret, reserved];
    for number in numbers {
        out.extend_from_slice(&number.to_le_bytes());
    }
    for name in [&call.gateway, &call.user, &call.node, &call.asked] {
        let name = clipped(name, NAME);
        out.extend_from_slice(&(name.len() as u16).to_le_bytes());
        out.extend_from_slice(name.as_bytes());
    }
    let (head, body) = out[start..].split_at_mut(HEAD);
    head[..4].copy_from_slice(&(body.len() as u32).to_le_bytes());
    head[4..].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
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

    proptest! {
        #[test]
        fn what_was_written_whole_is_read_however_the_file_ends(
            calls in proptest::collection::vec(any_call(), 0..6),
            cut in any::<proptest::sample::Index>(),
        ) {
            let mut bytes = Vec::new();
            let mut ends = vec![0];
            for call in &calls {
                write_record(&mut bytes, call);
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
            let mut bytes = Vec::new();
            for call in &calls {
                write_record(&mut bytes, call);
            }
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
        let mut bytes = Vec::new();
        write_record(&mut bytes, &call);
        let found: Vec<OpenCall> = records(&bytes).collect();
        assert_eq!(found[0].asked, "ä".repeat(128));
    }

    #[test]
    fn the_files_take_turns_and_one_that_is_not_committed_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = directory.path().join("store.db");
        let (journal, calls) = Journal::open(&store).expect("opened");
        assert!(calls.is_empty());
        let append = |id: u64| {
            let call = Arc::new(OpenCall {
                id,
                ..OpenCall::default()
            });
            journal
                .append([&call].into_iter(), false, || ())
                .expect("written");
        };
        let left = || -> Vec<u64> {
            let (_, calls) = Journal::open(&store).expect("opened");
            calls.iter().map(|call| call.id).collect()
        };
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
        let call = Arc::default();
        let refused = journal.append([&call].into_iter(), false, || ());
        assert_eq!(refused, Err(StoreError::Closed));
    }
}
