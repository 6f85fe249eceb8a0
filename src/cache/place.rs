//! Where a zone's files are: names, directories, and who may write there.
//!
//! An entry's file is named by the digest of its key as nginx's are, in the same directories
//! (`levels`), with a dot and a number behind it: answers that vary have several. So a directory
//! that nginx filled is left as it is; its files are not ours.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use nix::unistd::{AccessFlags, Gid, Uid, access};

use super::index::MOST_VARIANTS;
use super::key::Digest;
use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::typed::Http;

/// Files that are being written are in this directory of the cache's; no level has such a name.
pub const FILLING: &str = "filling";

/// The list of purges that are under way.
pub const PURGES: &str = "purges";

/// The directory of a zone.
#[derive(Clone, Debug)]
pub struct Place {
    root: PathBuf,
    levels: Vec<u8>,
}

impl Place {
    /// This directory with so many digits in the names of each level.
    pub fn new(root: PathBuf, levels: Vec<u8>) -> Self {
        Self { root, levels }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The digits of each level.
    pub fn levels(&self) -> &[u8] {
        &self.levels
    }

    /// The file of an entry.
    pub fn file(&self, digest: Digest, slot: u8) -> PathBuf {
        let name = digest.to_string();
        let mut path = self.root.clone();
        let mut end = name.len();
        for &digits in &self.levels {
            let start = end - usize::from(digits);
            path.push(&name[start..end]);
            end = start;
        }
        path.push(format!("{name}.{slot}"));
        path
    }

    /// A new file for what is being written, readable by its owner only.
    pub fn create(&self) -> io::Result<(File, PathBuf)> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let directory = self.root.join(FILLING);
        let mut has_made = false;
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = directory.join(format!("{}-{}-{count}", std::process::id(), *RUN));
            let file = File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path);
            match file {
                Ok(file) => return Ok((file, path)),
                Err(error) if error.kind() == io::ErrorKind::NotFound && !has_made => {
                    has_made = true;
                    make(&directory, None)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives a written file its name.
    pub fn name(&self, written: &Path, digest: Digest, slot: u8) -> io::Result<()> {
        let path = self.file(digest, slot);
        match fs::rename(written, &path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(parent) = path.parent() {
                    make(parent, None)?;
                }
                fs::rename(written, &path)
            }
            done => done,
        }
    }

    /// Removes an entry's file, or what stands in its place; it may be gone already.
    pub fn remove(&self, digest: Digest, slot: u8) -> io::Result<()> {
        let path = self.file(digest, slot);
        let removed = match fs::remove_file(&path) {
            // Only an empty one: nobody's files are lost by a name.
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => fs::remove_dir(&path),
            removed => removed,
        };
        match removed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// Removes what other processes left behind that were ended while they wrote. How many files?
    pub fn sweep(&self) -> usize {
        let Ok(entries) = fs::read_dir(self.root.join(FILLING)) else {
            return 0;
        };
        let own = std::process::id();
        let mut swept = 0;
        for entry in entries.flatten() {
            let name = entry.file_name();
            let mut parts = name.to_str().unwrap_or_default().split('-');
            let process: Option<u32> = parts.next().and_then(|part| part.parse().ok());
            let run: Option<u64> = parts.next().and_then(|part| part.parse().ok());
            let (Some(process), Some(run)) = (process, run) else {
                continue;
            };
            // A process that hands over to its successor still writes.
            let is_alive = match process == own {
                true => run == *RUN,
                false => Path::new("/proc").join(process.to_string()).exists(),
            };
            if !is_alive && fs::remove_file(entry.path()).is_ok() {
                swept += 1;
            }
        }
        swept
    }
}

/// Tells the files of this process from those of one that had the same number, as the first process
/// of a container always has.
static RUN: LazyLock<u64> = LazyLock::new(|| {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_nanos() as u64
});

/// The entry whose file has this name.
pub fn parse(name: &[u8]) -> Option<(Digest, u8)> {
    let (digest, slot) = name.split_at_checked(32)?;
    let slot = std::str::from_utf8(slot.strip_prefix(b".")?).ok()?;
    let number: u8 = slot.parse().ok()?;
    let is_plain = number < MOST_VARIANTS && number.to_string() == slot;
    is_plain.then_some((Digest::parse(digest)?, number))
}

/// Makes a directory and those above it, each the owner's; one that is there becomes the owner's.
pub fn make(directory: &Path, owner: Option<(Uid, Gid)>) -> io::Result<()> {
    let own = |path: &Path| match owner {
        Some((user, group)) => chown(path, Some(user.as_raw()), Some(group.as_raw())),
        None => Ok(()),
    };
    if let Ok(metadata) = fs::metadata(directory) {
        if !metadata.is_dir() {
            return Err(io::Error::from(io::ErrorKind::NotADirectory));
        }
        let is_own = owner.is_none_or(|(user, _)| metadata.uid() == user.as_raw());
        return if is_own { Ok(()) } else { own(directory) };
    }
    let missing: Vec<_> = (directory.ancestors())
        .take_while(|path| !path.as_os_str().is_empty() && !path.exists())
        .collect();
    for path in missing.iter().rev() {
        match DirBuilder::new().mode(0o700).create(path) {
            // Another thread was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(()) => own(path)?,
        }
    }
    Ok(())
}

/// The caches of a configuration whose directories cannot be made or written to by this process.
pub fn examine(http: &Http) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for cache in &http.caches {
        let Some(there) = cache.path.ancestors().find(|path| path.exists()) else {
            continue;
        };
        let trouble = if !there.is_dir() {
            format!("`{}` is not a directory", there.display())
        } else if let Err(errno) = access(there, AccessFlags::W_OK | AccessFlags::X_OK) {
            format!(
                "`{}` cannot be written to: {}",
                there.display(),
                errno.desc().to_lowercase()
            )
        } else {
            continue;
        };
        found.push(
            Diagnostic::error(
                Code::CACHE_UNWRITABLE,
                cache.span,
                format!("the directory of the cache zone `{}` is of no use", cache.name),
            )
            .label(cache.span, trouble)
            .hint("give the user that the program runs as the right to write there, or name another directory"),
        );
    }
    found
}

/// The levels below a directory, read one file at a time.
#[derive(Debug)]
pub struct Walk {
    /// The directories that are being read, the outermost first.
    open: Vec<fs::ReadDir>,
    levels: Vec<u8>,
}

impl Walk {
    /// All files of a zone.
    pub fn new(place: &Place) -> io::Result<Self> {
        Ok(Self {
            open: vec![fs::read_dir(&place.root)?],
            levels: place.levels.clone(),
        })
    }
}

/// A file of an entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Found {
    /// Whose it is.
    pub digest: Digest,
    /// Which of them.
    pub slot: u8,
    /// What it takes on the disk.
    pub size: u64,
    /// When it was written last, in microseconds since 1970.
    pub written: u64,
}

impl Iterator for Walk {
    type Item = Found;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(directory) = self.open.last_mut() {
            let Some(found) = directory.next() else {
                self.open.pop();
                continue;
            };
            let Ok(found) = found else { continue };
            let name = found.file_name();
            let depth = self.open.len() - 1;
            if let Some(&digits) = self.levels.get(depth) {
                let name = name.as_bytes();
                let is_level = name.len() == usize::from(digits)
                    && name
                        .iter()
                        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
                if is_level && let Ok(inner) = fs::read_dir(found.path()) {
                    self.open.push(inner);
                }
                continue;
            }
            if let Some((digest, slot)) = parse(name.as_bytes())
                && let Ok(metadata) = found.metadata()
                && metadata.is_file()
            {
                return Some(Found {
                    digest,
                    slot,
                    size: on_disk(metadata.len()),
                    written: u64::try_from(metadata.mtime()).unwrap_or(0) * 1_000_000
                        + u64::try_from(metadata.mtime_nsec()).unwrap_or(0) / 1000,
                });
            }
        }
        None
    }
}

/// What a file of this length takes, in the usual blocks of file systems.
pub fn on_disk(length: u64) -> u64 {
    length.next_multiple_of(4096)
}

#[cfg(test)]
mod tests {
    use super::super::key::Key;
    use super::*;

    #[test]
    fn files_lie_where_nginx_would_put_them() {
        let digest = Key::new(b"http://example.com/").digest;
        let file = |levels: &[u8]| Place::new("/c".into(), levels.to_vec()).file(digest, 0);
        let name = "a6bf1757fff057f266b697df9cf176fd.0";
        assert_eq!(file(&[]), Path::new("/c").join(name));
        assert_eq!(file(&[1, 2]), Path::new("/c/d/6f").join(name));
        assert_eq!(file(&[2, 1, 2]), Path::new("/c/fd/6/17").join(name));
        assert_eq!(parse(name.as_bytes()), Some((digest, 0)));
        for foreign in [
            "a6bf1757fff057f266b697df9cf176fd",
            "a6bf1757fff057f266b697df9cf176fd.0000000001",
            "a6bf1757fff057f266b697df9cf176fd.01",
            "a6bf1757fff057f266b697df9cf176fd.32",
            "purges",
        ] {
            assert_eq!(parse(foreign.as_bytes()), None, "{foreign}");
        }
    }

    #[test]
    fn a_walk_finds_entries_and_nothing_else() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = Place::new(directory.path().to_owned(), vec![1, 2]);
        let digest = Key::new(b"a").digest;
        for slot in [0, 7] {
            let (file, path) = place.create().expect("created");
            file.set_len(5000).expect("longer");
            place.name(&path, digest, slot).expect("named");
        }
        let of_nginx = place.file(digest, 0).with_file_name(digest.to_string());
        fs::write(&of_nginx, "KEY: a").expect("written");
        place.create().expect("created");
        let mut found: Vec<_> = (Walk::new(&place).expect("readable"))
            .inspect(|found| assert!(found.written > 1_600_000_000_000_000))
            .map(|found| (found.digest, found.slot, found.size))
            .collect();
        found.sort_unstable();
        assert_eq!(found, [(digest, 0, 8192), (digest, 7, 8192)]);
        assert!(of_nginx.exists());
    }

    #[test]
    fn what_a_process_left_behind_that_is_gone_is_swept() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = Place::new(directory.path().to_owned(), Vec::new());
        let (_, own) = place.create().expect("created");
        let beside = |name: &str| {
            let path = own.with_file_name(name);
            fs::write(&path, "").expect("written");
            path
        };
        let earlier = beside(&format!("{}-1-0", std::process::id()));
        // The number of no process: they end at 4,194,304.
        let ended = beside("4194305-1-0");
        let alive = beside("1-1-0");
        let foreign = beside("note.txt");
        assert_eq!(place.sweep(), 2);
        assert!(!earlier.exists() && !ended.exists());
        assert!(own.exists() && alive.exists() && foreign.exists());
    }
}
