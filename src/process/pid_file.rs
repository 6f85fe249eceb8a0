//! The pid file: who runs, told to scripts, and kept from starting twice.
//!
//! A lock on the file, held for as long as the process lives, tells a running process from a stale
//! number: the system lets go of it however the process ends. Written as root, the file may stand in
//! a directory that belongs to somebody else, so no link is followed.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Pid, Uid};

/// More than any number has.
const LONGEST: u64 = 32;

/// The pid file of this process. The number is in it until it is dropped.
#[derive(Debug)]
pub struct PidFile {
    file: File,
    path: PathBuf,
    /// The file's device and inode, to leave a successor's file alone.
    identity: (u64, u64),
}

/// What was found on the way.
#[derive(Debug, PartialEq, Eq)]
pub enum Remark {
    /// Its directory was missing and was made.
    DirectoryCreated(PathBuf),
    /// A process that is gone had left its number.
    Stale(String),
}

impl fmt::Display for Remark {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DirectoryCreated(path) => write!(
                formatter,
                "created the missing directory `{}` of the pid file",
                path.display()
            ),
            Self::Stale(number) => write!(
                formatter,
                "the pid file held `{number}`, a process that is gone"
            ),
        }
    }
}

/// Why there is no pid file.
#[derive(Debug)]
pub enum PidFileError {
    /// Another process holds it.
    Running {
        /// The file.
        path: PathBuf,
        /// What stands in it.
        number: String,
    },
    /// A system call failed.
    Failed {
        /// Which, in nginx's words.
        call: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl fmt::Display for PidFileError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running { path, number } => write!(
                formatter,
                "the process {number} runs already and holds the pid file \"{}\"",
                path.display()
            ),
            // The system's reason belongs to nginx's line, which tools look for.
            Self::Failed { call, path, error } => write!(
                formatter,
                "{call} \"{}\" failed {}",
                path.display(),
                crate::log::error_log::cause(error)
            ),
        }
    }
}

impl std::error::Error for PidFileError {}

impl PidFile {
    /// Writes the number of this process. `owner` gets a directory that has to be made.
    pub fn create(
        path: &Path,
        owner: Option<(Uid, Gid)>,
        remarks: &mut Vec<Remark>,
    ) -> Result<Self, PidFileError> {
        let failed = |call| {
            move |error| PidFileError::Failed {
                call,
                path: path.to_owned(),
                error,
            }
        };
        let open = || {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o644)
                .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
                .open(path)
        };
        let mut file = open()
            .or_else(|error| match path.parent() {
                Some(parent) if error.kind() == io::ErrorKind::NotFound && !parent.exists() => {
                    DirBuilder::new()
                        .recursive(true)
                        .mode(0o755)
                        .create(parent)?;
                    if let Some((user, group)) = owner {
                        nix::unistd::chown(parent, Some(user), Some(group))?;
                    }
                    remarks.push(Remark::DirectoryCreated(parent.to_owned()));
                    open()
                }
                _ => Err(error),
            })
            .map_err(failed("open()"))?;
        let data = file.metadata().map_err(failed("fstat()"))?;
        if !data.is_file() || data.nlink() != 1 {
            return Err(failed("open()")(io::ErrorKind::InvalidInput.into()));
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(PidFileError::Running {
                    path: path.to_owned(),
                    number: number_in(&mut file),
                });
            }
            // A file system without locks: as nginx, without protection.
            Err(TryLockError::Error(_)) => {}
        }
        let number = number_in(&mut file);
        if !number.is_empty() {
            remarks.push(Remark::Stale(number));
        }
        file.set_len(0).map_err(failed("ftruncate()"))?;
        file.rewind().map_err(failed("lseek()"))?;
        writeln!(file, "{}", std::process::id()).map_err(failed("write()"))?;
        Ok(Self {
            file,
            path: path.to_owned(),
            identity: (data.dev(), data.ino()),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let is_ours = self
            .path
            .symlink_metadata()
            .is_ok_and(|data| (data.dev(), data.ino()) == self.identity);
        if is_ours && std::fs::remove_file(&self.path).is_err() {
            // The directory belongs to root and we are root no longer; the number at least goes.
            let _ = self.file.set_len(0);
        }
    }
}

/// The process that a pid file names, for a signal. The words are nginx's (`ngx_signal_process`).
pub fn read(path: &Path) -> Result<Pid, ReadError> {
    let open = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path);
    let mut file = open.map_err(|error| ReadError::Open {
        path: path.to_owned(),
        error,
    })?;
    let text = number_in(&mut file);
    let number = parse(&text).ok_or_else(|| ReadError::Invalid {
        path: path.to_owned(),
        text,
    })?;
    // Somebody else may have the number by now, who must not get the signal.
    if file.try_lock().is_ok() {
        return Err(ReadError::Stale {
            path: path.to_owned(),
            number,
        });
    }
    Ok(number)
}

/// Why no process is known.
#[derive(Debug)]
pub enum ReadError {
    /// The file cannot be opened.
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It does not hold a number.
    Invalid {
        /// The file.
        path: PathBuf,
        /// What it holds.
        text: String,
    },
    /// Its process is gone.
    Stale {
        /// The file.
        path: PathBuf,
        /// What it holds.
        number: Pid,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { path, error } => write!(
                formatter,
                "open() \"{}\" failed {}",
                path.display(),
                crate::log::error_log::cause(error)
            ),
            Self::Invalid { path, text } => write!(
                formatter,
                "invalid PID number \"{text}\" in \"{}\"",
                path.display()
            ),
            Self::Stale { path, number } => write!(
                formatter,
                "the process {number} of \"{}\" is gone",
                path.display()
            ),
        }
    }
}

impl std::error::Error for ReadError {}

/// The text of a pid file without the blanks around it; short, whatever the file is.
fn number_in(file: &mut File) -> String {
    let mut bytes = Vec::new();
    // What cannot be read holds no number, and that is told.
    let _ = file.take(LONGEST).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes)
        .trim()
        .escape_debug()
        .to_string()
}

fn parse(text: &str) -> Option<Pid> {
    let number = crate::unit::decimal(text)?;
    let number = i32::try_from(number).ok()?;
    // 0 and negative numbers mean groups of processes to `kill`.
    (number > 0).then(|| Pid::from_raw(number))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn create(path: &Path) -> (Result<PidFile, PidFileError>, Vec<Remark>) {
        let mut remarks = Vec::new();
        let file = PidFile::create(path, None, &mut remarks);
        (file, remarks)
    }

    #[test]
    fn it_holds_the_number_while_it_lives_and_goes_with_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a/b/pid");
        let (file, remarks) = create(&path);
        let file = file.expect("a fresh file");
        assert_eq!(
            remarks,
            [Remark::DirectoryCreated(directory.path().join("a/b"))]
        );
        let number = std::process::id();
        let text = std::fs::read_to_string(&path).expect("written");
        assert_eq!(text, format!("{number}\n"));
        assert_eq!(read(&path).expect("we run").as_raw(), number as i32);
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_second_process_is_refused_and_a_stale_number_is_not_in_the_way() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("pid");
        std::fs::write(&path, "12345\n").expect("a fresh file");
        let stale = read(&path).expect_err("nobody holds it").to_string();
        assert_eq!(
            stale,
            format!("the process 12345 of \"{}\" is gone", path.display())
        );
        let (file, remarks) = create(&path);
        let _file = file.expect("nobody holds it");
        assert_eq!(remarks, [Remark::Stale("12345".to_owned())]);
        let (second, _) = create(&path);
        assert_eq!(
            second.expect_err("held").to_string(),
            format!(
                "the process {} runs already and holds the pid file \"{}\"",
                std::process::id(),
                path.display()
            )
        );
    }

    #[test]
    fn the_file_of_a_successor_is_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("pid");
        let first = create(&path).0.expect("a fresh file");
        std::fs::remove_file(&path).expect("there");
        let _second = create(&path).0.expect("a fresh file");
        drop(first);
        read(&path).expect("the second one's");
    }

    #[test]
    fn neither_a_link_nor_anything_but_a_file_is_written_to() {
        let directory = tempfile::tempdir().expect("a directory");
        let target = directory.path().join("target");
        let path = directory.path().join("pid");
        std::fs::write(&target, "precious").expect("a fresh file");
        std::os::unix::fs::symlink(&target, &path).expect("a fresh path");
        create(&path).0.expect_err("a link");
        std::fs::remove_file(&path).expect("there");
        std::fs::hard_link(&target, &path).expect("a fresh path");
        create(&path).0.expect_err("a second name");
        assert_eq!(std::fs::read_to_string(&target).expect("there"), "precious");
        create(directory.path()).0.expect_err("a directory");
    }

    #[test]
    fn a_missing_file_and_nonsense_are_told_in_nginx_words() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("pid");
        let shown = path.display();
        let message = |path: &Path| read(path).expect_err("no process").to_string();
        assert_eq!(
            message(&path),
            format!("open() \"{shown}\" failed (2: No such file or directory)")
        );
        for (text, told) in [
            ("", ""),
            ("abc\n", "abc"),
            ("-1", "-1"),
            ("0\n", "0"),
            ("1 2", "1 2"),
        ] {
            std::fs::write(&path, text).expect("a file");
            assert_eq!(
                message(&path),
                format!("invalid PID number \"{told}\" in \"{shown}\"")
            );
        }
    }

    proptest! {
        #[test]
        fn only_a_positive_number_is_a_process(text in "\\PC{0,12}") {
            let expected = text.parse::<u32>().ok().filter(|number| {
                *number > 0 && *number <= i32::MAX as u32 && !text.starts_with('+')
            });
            prop_assert_eq!(parse(&text).map(|pid| pid.as_raw() as u32), expected);
        }
    }
}
