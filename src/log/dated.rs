//! Lines that are kept for some days: a file for each day, removed when its time is over.
//!
//! Owns the files of one directory, `2026-11-22.30d.jsonl` and the like, which nobody else may read, and the
//! key in it. A name tells the day, in UTC, and for how many days the file is kept behind it. One thread writes
//! and removes them. The invariant: nobody waits for it (a line that it has no room for is counted and lost),
//! no file outlives its days while the program runs, and all of them together never take more than
//! [`MOST_BYTES`].

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use parking_lot::Mutex;

use super::error_log;
use crate::conf::typed::log::Level;
use crate::unit::clock;

/// The most that all files take, bytes. The oldest go before their time if there is more.
const MOST_BYTES: u64 = 1 << 30;

/// So many lines may wait,
const MOST_WAITING: usize = 1024;

/// and so many bytes.
const MOST_WAITING_BYTES: usize = 16 << 20;

/// How often it is looked for files whose time is over, and how often a failure is told.
const LOOK: Duration = Duration::from_secs(60);

/// The name of the file with the key.
const KEY: &str = "key";

/// What stands behind the days in a name.
const KIND: &str = "d.jsonl";

/// A key that nobody else has.
pub type Key = [u8; 32];

enum Order {
    /// A line, and for how many days it is kept.
    Line(u32, Vec<u8>),
    /// No file is kept for longer from now on.
    Longest(u32),
    /// Says so when all that came before is written.
    Written(SyncSender<()>),
}

struct Writer {
    directory: PathBuf,
    orders: SyncSender<Order>,
    key: Key,
}

static WRITER: Mutex<Option<Writer>> = Mutex::new(None);
static WAITING_BYTES: AtomicUsize = AtomicUsize::new(0);
static WRITTEN: AtomicU64 = AtomicU64::new(0);
static LOST: AtomicU64 = AtomicU64::new(0);

/// Keeps lines in a directory from now on, for at most so many days; `None` if no more are to come: what is
/// there goes when its time is over. Blocks for what a few small files take.
///
/// # Errors
///
/// Why the directory or the key in it cannot be used: nothing is written then.
pub fn start(directory: &Path, longest: Option<u32>) -> io::Result<()> {
    let mut writer = WRITER.lock();
    let known = writer.as_ref().filter(|it| it.directory == directory);
    if known.is_none() {
        if longest.is_none() && !directory.exists() {
            return Ok(());
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        let key = key_in(directory)?;
        let (orders, taken) = mpsc::sync_channel(MOST_WAITING);
        let files = Files::new(directory);
        thread::Builder::new()
            .name("dated".to_owned())
            .spawn(move || files.run(&taken))?;
        // The thread of another directory ends when it has written what it has.
        *writer = Some(Writer {
            directory: directory.to_owned(),
            orders,
            key,
        });
    }
    if let (Some(writer), Some(longest)) = (&*writer, longest) {
        // Without room it is told again with the next configuration.
        let _ = writer.orders.try_send(Order::Longest(longest));
    }
    Ok(())
}

/// The key of the directory.
pub fn key() -> Option<Key> {
    WRITER.lock().as_ref().map(|writer| writer.key)
}

/// Keeps a line, without its end, for so many days. Waits for nothing.
pub fn write(days: u32, line: Vec<u8>) {
    let size = line.len();
    let orders = WRITER.lock().as_ref().map(|writer| writer.orders.clone());
    let waiting = WAITING_BYTES.fetch_add(size, Relaxed);
    let has_room = waiting.saturating_add(size) <= MOST_WAITING_BYTES;
    let is_taken =
        has_room && orders.is_some_and(|orders| orders.try_send(Order::Line(days, line)).is_ok());
    if !is_taken {
        WAITING_BYTES.fetch_sub(size, Relaxed);
        LOST.fetch_add(1, Relaxed);
    }
}

/// Waits until all lines are written, at most so long.
pub fn finish(patience: Duration) {
    let orders = WRITER.lock().as_ref().map(|writer| writer.orders.clone());
    let (written, end) = mpsc::sync_channel(1);
    let told = orders.is_some_and(|orders| orders.try_send(Order::Written(written)).is_ok());
    if told {
        // What cannot be written in this time is lost with the program.
        let _ = end.recv_timeout(patience);
    }
}

/// How many lines were written, and how many were lost, since the start.
pub fn counts() -> (u64, u64) {
    (WRITTEN.load(Relaxed), LOST.load(Relaxed))
}

/// The key of a directory, made if there is none.
fn key_in(directory: &Path) -> io::Result<Key> {
    let path = directory.join(KEY);
    let mut key = Key::default();
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&path);
    match made {
        Ok(mut file) => {
            aws_lc_rs::rand::fill(&mut key).map_err(|_| io::Error::other("no random bytes"))?;
            file.write_all(&key)?;
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let mut options = OpenOptions::new();
            options.read(true).custom_flags(libc::O_NOFOLLOW);
            options.open(&path)?.read_exact(&mut key)?;
        }
        Err(error) => return Err(error),
    }
    Ok(key)
}

/// The files, as the thread has them.
struct Files {
    directory: PathBuf,
    longest: u32,
    /// The file that was written last: its day and for how many days it is kept.
    open: Option<(Date, u32, File)>,
    /// What all files take.
    bytes: u64,
    looked: Option<(Instant, Date)>,
    told: Option<Instant>,
}

impl Files {
    fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            longest: u32::MAX,
            open: None,
            bytes: 0,
            looked: None,
            told: None,
        }
    }

    fn run(mut self, orders: &Receiver<Order>) {
        self.look(today());
        loop {
            match orders.recv_timeout(LOOK) {
                Ok(Order::Line(days, line)) => {
                    WAITING_BYTES.fetch_sub(line.len(), Relaxed);
                    let written = self.write(today(), days, line);
                    match written {
                        Ok(()) => _ = WRITTEN.fetch_add(1, Relaxed),
                        Err(error) => self.fail(&error),
                    }
                }
                Ok(Order::Longest(days)) => {
                    self.longest = days;
                    self.look(today());
                }
                // Nobody may wait for it any more.
                Ok(Order::Written(end)) => _ = end.try_send(()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let today = today();
            let is_old = |(at, day): (Instant, Date)| at.elapsed() >= LOOK || day != today;
            if self.looked.is_none_or(is_old) {
                self.look(today);
            }
        }
    }

    fn write(&mut self, today: Date, days: u32, mut line: Vec<u8>) -> io::Result<()> {
        line.push(b'\n');
        let size = line.len() as u64;
        if self.bytes.saturating_add(size) > MOST_BYTES {
            self.make_room(today, size);
        }
        if self.bytes.saturating_add(size) > MOST_BYTES {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let is_open = |(day, kept, _): &&mut (Date, u32, File)| (*day, *kept) == (today, days);
        let file = match self.open.as_mut().filter(is_open) {
            Some((.., file)) => file,
            None => {
                let path = self.directory.join(format!("{today}.{days}{KIND}"));
                let file = OpenOptions::new()
                    .append(true)
                    .create(true)
                    .mode(0o600)
                    .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
                    .open(path)?;
                &mut self.open.insert((today, days, file)).2
            }
        };
        let written = file.write_all(&line);
        if written.is_err() {
            // Opened anew: it may have been removed, or its disk was.
            self.open = None;
        }
        self.bytes += size;
        written
    }

    /// Removes files whose time is over, and counts what the others take.
    fn look(&mut self, today: Date) {
        self.looked = Some((Instant::now(), today));
        self.bytes = 0;
        for (path, day, days, size) in self.all() {
            let age = today
                .since(day)
                .map_or(0, |span| i64::from(span.get_days()));
            match age > i64::from(days.min(self.longest)) {
                true => self.remove(&path),
                false => self.bytes += size,
            }
        }
        // One that was removed by hand is made again.
        let exists = |(day, days, _): &(Date, u32, File)| {
            self.directory.join(format!("{day}.{days}{KIND}")).exists()
        };
        self.open = self.open.take().filter(exists);
    }

    /// Removes the oldest files, but those of today.
    fn make_room(&mut self, today: Date, wanted: u64) {
        let mut all: Vec<_> = self.all().collect();
        all.sort_by_key(|(_, day, ..)| *day);
        for (path, day, _, size) in all {
            if day < today && self.bytes.saturating_add(wanted) > MOST_BYTES {
                self.remove(&path);
                self.bytes = self.bytes.saturating_sub(size);
            }
        }
    }

    fn all(&self) -> impl Iterator<Item = (PathBuf, Date, u32, u64)> + use<> {
        let entries = fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .flatten();
        entries.filter_map(|entry| {
            let name = entry.file_name();
            let (day, rest) = name.to_str()?.split_once('.')?;
            let days = rest.strip_suffix(KIND)?.parse().ok()?;
            let size = entry.metadata().ok()?.len();
            Some((entry.path(), day.parse().ok()?, days, size))
        })
    }

    fn remove(&mut self, path: &Path) {
        if let Err(error) = fs::remove_file(path) {
            self.fail(&error);
        }
    }

    fn fail(&mut self, error: &io::Error) {
        LOST.fetch_add(1, Relaxed);
        if self.told.is_none_or(|at| at.elapsed() >= LOOK) {
            self.told = Some(Instant::now());
            let directory = self.directory.display();
            let lost = LOST.load(Relaxed);
            error_log::report(
                Level::Error,
                format_args!("bodies of calls in {directory}: {error}; {lost} lines lost so far"),
            );
        }
    }
}

fn today() -> Date {
    let seconds = i64::try_from(clock::unix().as_secs()).unwrap_or_default();
    let now = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
    now.to_zoned(TimeZone::UTC).date()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("a directory");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_lives_for_its_days_and_no_longer_than_is_allowed_now() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut files = Files::new(directory.path());
        let day = |day: i8| Date::constant(2026, 11, day);
        for (on, days) in [(1, 7), (1, 30), (9, 7), (10, 1)] {
            files.write(day(on), days, b"{}".to_vec()).expect("written");
        }
        fs::write(directory.path().join("key"), b"x").expect("written");
        files.look(day(8));
        assert_eq!(names(directory.path()).len(), 5);
        files.look(day(10));
        assert_eq!(
            names(directory.path()),
            [
                "2026-11-01.30d.jsonl",
                "2026-11-09.7d.jsonl",
                "2026-11-10.1d.jsonl",
                "key"
            ]
        );
        assert_eq!(files.bytes, 9);
        files.longest = 3;
        files.look(day(10));
        assert_eq!(
            names(directory.path()),
            ["2026-11-09.7d.jsonl", "2026-11-10.1d.jsonl", "key"]
        );
        // Nobody else may read them.
        let path = directory.path().join("2026-11-09.7d.jsonl");
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // One that was removed by hand is made again.
        fs::remove_file(directory.path().join("2026-11-10.1d.jsonl")).expect("removed");
        files.look(day(10));
        files.write(day(10), 1, b"again".to_vec()).expect("written");
        let text = fs::read_to_string(directory.path().join("2026-11-10.1d.jsonl"));
        assert_eq!(text.expect("a file"), "again\n");
    }

    #[test]
    fn the_oldest_files_make_room_and_those_of_today_do_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut files = Files::new(directory.path());
        let day = |day: i8| Date::constant(2026, 11, day);
        for on in [1, 2, 3] {
            files.write(day(on), 30, vec![b'x'; 99]).expect("written");
        }
        // As if there were more in them.
        files.bytes = MOST_BYTES - 50;
        files.write(day(3), 30, vec![b'x'; 99]).expect("written");
        assert_eq!(
            names(directory.path()),
            ["2026-11-02.30d.jsonl", "2026-11-03.30d.jsonl"]
        );
        files.bytes = MOST_BYTES + 1000;
        assert!(files.write(day(3), 30, vec![b'x'; 99]).is_err());
        assert_eq!(names(directory.path()), ["2026-11-03.30d.jsonl"]);
    }

    #[test]
    fn a_directory_keeps_its_key() {
        let directory = tempfile::tempdir().expect("a directory");
        let key = key_in(directory.path()).expect("a key");
        assert_ne!(key, Key::default());
        assert_eq!(key_in(directory.path()).expect("the key"), key);
        let other = tempfile::tempdir().expect("a directory");
        assert_ne!(key_in(other.path()).expect("a key"), key);
    }
}
