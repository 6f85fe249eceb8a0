//! Reading the files that certificates, keys and passwords stand in.
//!
//! Owns what such a file may be: a regular one of at most a mebibyte. A pipe nobody writes to, a
//! device or a directory never stops the reader.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::opener::Opener;

/// The largest file that is read, in bytes.
pub const MAX_BYTES: u64 = 1 << 20;

/// Why a file cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FileProblem {
    /// There is none of this name.
    Missing,
    /// The program may not read it, or may not enter a directory before it.
    Denied,
    /// It is a directory.
    Directory,
    /// It is a pipe, a socket or a device.
    Special,
    /// It holds nothing.
    Empty,
    /// It is larger than a certificate ever is.
    TooLarge,
    /// The system says something else.
    Failed {
        /// What it says.
        reason: String,
    },
}

impl fmt::Display for FileProblem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Missing => "there is no such file",
            Self::Denied => "permission denied",
            Self::Directory => "it is a directory",
            Self::Special => "it is not a regular file",
            Self::Empty => "it is empty",
            Self::TooLarge => "it is too large",
            Self::Failed { reason } => reason,
        })
    }
}

/// Reads a whole file.
///
/// # Errors
///
/// If it cannot be read, is empty or larger than [`MAX_BYTES`].
pub fn read(path: &Path) -> Result<(Zeroizing<Vec<u8>>, Metadata), FileProblem> {
    read_at_most(path, MAX_BYTES)
}

/// As [`read`] with another limit.
///
/// # Errors
///
/// If it cannot be read, is empty or larger than `most` bytes.
pub fn read_at_most(path: &Path, most: u64) -> Result<(Zeroizing<Vec<u8>>, Metadata), FileProblem> {
    let file = open(path).map_err(|error| problem(&error))?;
    let metadata = file.metadata().map_err(|error| problem(&error))?;
    if metadata.is_dir() {
        return Err(FileProblem::Directory);
    }
    if !metadata.is_file() {
        return Err(FileProblem::Special);
    }
    if metadata.len() > most {
        return Err(FileProblem::TooLarge);
    }
    // With room for all of it, so that no half of a key stays behind where the buffer was.
    let mut bytes = Zeroizing::new(Vec::with_capacity(metadata.len() as usize + 1));
    file.take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| problem(&error))?;
    match bytes.len() as u64 {
        0 => Err(FileProblem::Empty),
        length if length <= most => Ok((bytes, metadata)),
        _ => Err(FileProblem::TooLarge),
    }
}

/// Opens a file, by itself or by who may open more.
pub(super) fn open(path: &Path) -> std::io::Result<File> {
    // A pipe that nobody writes to would hold whoever opens it.
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path);
    match (opened, OPENER.get()) {
        (Err(error), Some(opener)) if error.kind() == ErrorKind::PermissionDenied => {
            opener.open(path)
        }
        (Ok(file), _) => {
            if let Some(recorded) = &mut *RECORDED.lock() {
                recorded.insert(path.to_owned());
            }
            Ok(file)
        }
        (Err(error), _) => Err(error),
    }
}

/// Who opens files that the program may not open any more.
static OPENER: OnceLock<Opener> = OnceLock::new();
/// What was opened while the program had all its rights.
static RECORDED: Mutex<Option<BTreeSet<PathBuf>>> = Mutex::new(None);

/// Remembers from now on what is opened.
pub fn record() {
    *RECORDED.lock() = Some(BTreeSet::new());
}

/// What was opened since [`record`]; nothing more is remembered.
pub fn recorded() -> BTreeSet<PathBuf> {
    RECORDED.lock().take().unwrap_or_default()
}

/// Has files opened from now on that the program may not open by itself.
pub fn set_opener(opener: Opener) {
    // There is one such moment in the life of a program.
    let _ = OPENER.set(opener);
}

fn problem(error: &std::io::Error) -> FileProblem {
    match error.kind() {
        ErrorKind::NotFound => FileProblem::Missing,
        ErrorKind::PermissionDenied => FileProblem::Denied,
        ErrorKind::IsADirectory => FileProblem::Directory,
        _ => FileProblem::Failed {
            reason: match error.raw_os_error() {
                Some(number) => nix::errno::Errno::from_raw(number).desc().to_lowercase(),
                None => error.kind().to_string(),
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_of_a_sane_size_are_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        let read = |path: &Path| read(path).map(|(bytes, _)| bytes.to_vec());
        std::fs::write(path("some"), "text").expect("written");
        assert_eq!(read(&path("some")), Ok(b"text".to_vec()));
        assert_eq!(read(&path("none")), Err(FileProblem::Missing));
        assert_eq!(read(directory.path()), Err(FileProblem::Directory));
        assert_eq!(read(Path::new("/dev/null")), Err(FileProblem::Special));
        nix::unistd::mkfifo(&path("pipe"), nix::sys::stat::Mode::S_IRUSR).expect("a pipe");
        assert_eq!(read(&path("pipe")), Err(FileProblem::Special));
        std::fs::write(path("empty"), "").expect("written");
        assert_eq!(read(&path("empty")), Err(FileProblem::Empty));
        std::fs::write(path("large"), vec![b'a'; MAX_BYTES as usize + 1]).expect("written");
        assert_eq!(read(&path("large")), Err(FileProblem::TooLarge));
        assert_eq!(
            read(&path("some").join("below")),
            Err(FileProblem::Failed {
                reason: "not a directory".to_owned()
            })
        );
    }
}
