//! Small files that are read when they are needed and kept until they change.
//!
//! A file is looked at once a second at most, and by whoever asks: no thread watches. Invariant: what is
//! kept is bounded in number, what is read in size, and nothing that is no regular file is read.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// So many files are kept; names of files may be made of what clients send.
const MOST_FILES: usize = 64;

/// A file is looked at again after this time.
pub const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Why a file cannot be used: the call that failed and what the system said.
#[derive(Debug)]
pub struct Unreadable {
    /// `open()`, `read()`, …
    pub call: &'static str,
    /// Why.
    pub error: io::Error,
}

impl Unreadable {
    /// Is there no such file?
    pub fn is_missing(&self) -> bool {
        self.call == "open()" && self.error.kind() == io::ErrorKind::NotFound
    }
}

/// What tells a file from the same one changed.
type Stamp = (u64, u64, u64, i64, i64, i64, i64);

struct Kept<T> {
    looked: Instant,
    stamp: Stamp,
    file: Arc<T>,
}

/// By path.
type Files<T> = HashMap<Box<[u8]>, Kept<T>>;

/// Files of one kind.
pub struct KeptFiles<T> {
    largest: u64,
    parse: fn(&[u8]) -> T,
    files: LazyLock<Mutex<Files<T>>>,
}

impl<T> KeptFiles<T> {
    /// Files of at most so many bytes, and what is made of them.
    pub const fn new(largest: u64, parse: fn(&[u8]) -> T) -> Self {
        Self {
            largest,
            parse,
            files: LazyLock::new(Mutex::default),
        }
    }

    /// The file as it is now, or was at most a second ago.
    pub fn open(&self, path: &[u8], now: Instant) -> Result<Arc<T>, Unreadable> {
        let mut files = self.files.lock();
        if let Some(kept) = files.get(path)
            && now.saturating_duration_since(kept.looked) < LOOK_AGAIN
        {
            return Ok(Arc::clone(&kept.file));
        }
        let named = Path::new(OsStr::from_bytes(path));
        let failed = |call| move |error| Unreadable { call, error };
        let looked_at = fs::metadata(named).map_err(|error| {
            files.remove(path);
            failed("open()")(error)
        })?;
        let stamp = stamp(&looked_at);
        if let Some(kept) = files.get_mut(path)
            && kept.stamp == stamp
        {
            kept.looked = now;
            return Ok(Arc::clone(&kept.file));
        }
        files.remove(path);
        // A pipe would keep the thread waiting.
        let opened = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(named)
            .map_err(failed("open()"))?;
        let described = opened.metadata().map_err(failed("fstat()"))?;
        if !described.is_file() {
            let error = match described.is_dir() {
                true => io::ErrorKind::IsADirectory.into(),
                false => io::Error::other("not a regular file"),
            };
            return Err(failed("read()")(error));
        }
        let mut text = zeroize::Zeroizing::new(Vec::new());
        let read = (&opened).take(self.largest + 1).read_to_end(&mut text);
        read.map_err(failed("read()"))?;
        if text.len() as u64 > self.largest {
            return Err(failed("read()")(io::ErrorKind::FileTooLarge.into()));
        }
        let file = Arc::new((self.parse)(&text));
        if files.len() >= MOST_FILES {
            files.clear();
        }
        let kept = Kept {
            looked: now,
            // Of the file that was read, should another one have taken its place.
            stamp: self::stamp(&described),
            file: Arc::clone(&file),
        };
        files.insert(path.into(), kept);
        Ok(file)
    }
}

fn stamp(metadata: &fs::Metadata) -> Stamp {
    (
        metadata.dev(),
        metadata.ino(),
        metadata.size(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec(),
    )
}
