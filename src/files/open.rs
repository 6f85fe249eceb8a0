//! Opening and looking at files, with `disable_symlinks` if asked for.
//!
//! Owns the system calls; which path is asked for is [`super::serve`]'s business. Invariants: an open
//! never waits (a FIFO without a writer would stop the worker) and is never inherited by a program
//! that is started; a path with a NUL byte names no file.

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, stat};

/// What is known of a file without reading it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status {
    /// What it is.
    pub kind: Kind,
    /// Its length in bytes; means nothing for a directory.
    pub size: u64,
    /// When it was last modified, in seconds since 1970.
    pub modified: i64,
}

/// What a file is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A device, FIFO, socket or, where links are not followed, a symbolic link.
    Other,
}

/// A call that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failed {
    /// Its name as nginx's error log has it: `open()`.
    pub call: &'static str,
    /// Why.
    pub error: Errno,
}

impl Failed {
    /// There is no such file, as far as the client is concerned.
    pub fn is_not_found(self) -> bool {
        matches!(
            self.error,
            Errno::ENOENT | Errno::ENOTDIR | Errno::ENAMETOOLONG
        )
    }

    /// A link that must not or cannot be followed (EMLINK is FreeBSD's word).
    pub fn is_link(self) -> bool {
        matches!(self.error, Errno::ELOOP | Errno::EMLINK)
    }
}

/// Which symbolic links are followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Links {
    /// All.
    Followed,
    /// None behind the first `from` bytes of the path.
    Refused { from: usize },
    /// Behind the first `from` bytes, those that belong to the owner of what they lead to.
    OfOwner { from: usize },
}

/// Opens a file for reading and looks at it once. The path is given back as it was.
pub fn open(path: &mut Vec<u8>, links: Links) -> Result<(File, Status), Failed> {
    let descriptor = match links {
        Links::Followed => with_c_string(path, |path| {
            nix::fcntl::open(path, READ, Mode::empty()).map_err(failed("open()"))
        })?,
        Links::Refused { from } => walk(path, from, false)?,
        Links::OfOwner { from } => walk(path, from, true)?,
    };
    let status = fstat(&descriptor).map_err(failed("fstat()"))?;
    Ok((File::from(descriptor), Status::of(&status)))
}

/// Looks at a file without opening it.
pub fn look(path: &mut Vec<u8>, links: Links) -> Result<Status, Failed> {
    match links {
        Links::Followed => with_c_string(path, |path| {
            let status = stat(path).map_err(failed("stat()"))?;
            Ok(Status::of(&status))
        }),
        // What is looked at must be what the walk arrives at.
        Links::Refused { .. } | Links::OfOwner { .. } => Ok(open(path, links)?.1),
    }
}

impl Status {
    fn of(status: &FileStat) -> Self {
        let format = SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT;
        Self {
            kind: match format {
                SFlag::S_IFREG => Kind::Regular,
                SFlag::S_IFDIR => Kind::Directory,
                _ => Kind::Other,
            },
            size: u64::try_from(status.st_size).unwrap_or_default(),
            modified: status.st_mtime,
        }
    }
}

const READ: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_CLOEXEC);

/// For the directories on the way: they need not be readable.
const SEARCH: OFlag = OFlag::O_PATH
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_CLOEXEC);

/// Opens a file component by component (nginx `ngx_open_file_wrapper`), so that no link can be put
/// in place between a check and the use.
fn walk(path: &[u8], from: usize, of_owner: bool) -> Result<OwnedFd, Failed> {
    // The part that is trusted is opened at once: it may hold links.
    let (mut directory, mut rest) = match path.split_at_checked(from) {
        Some((trusted, [b'/', rest @ ..])) if from > 0 => {
            let opened = nix::fcntl::open(trusted, SEARCH, Mode::empty());
            (opened.map_err(failed("open()"))?, rest)
        }
        _ => {
            let start: &[u8] = if path.starts_with(b"/") { b"/" } else { b"." };
            let opened = nix::fcntl::open(start, SEARCH, Mode::empty());
            (opened.map_err(failed("open()"))?, path)
        }
    };
    while let Some(slash) = memchr::memchr(b'/', rest) {
        let component = &rest[..slash];
        rest = &rest[slash + 1..];
        if !component.is_empty() {
            directory = enter(directory.as_fd(), component, SEARCH, of_owner)?;
        }
    }
    match rest {
        // A slash at the end: the directory itself, now to be read.
        b"" => {
            nix::fcntl::openat(&directory, c".", READ, Mode::empty()).map_err(failed("openat()"))
        }
        name => enter(directory.as_fd(), name, READ, of_owner),
    }
}

/// Opens one component.
fn enter(
    directory: BorrowedFd<'_>,
    name: &[u8],
    flags: OFlag,
    of_owner: bool,
) -> Result<OwnedFd, Failed> {
    if !of_owner {
        let flags = flags | OFlag::O_NOFOLLOW;
        return nix::fcntl::openat(directory, name, flags, Mode::empty())
            .map_err(failed("openat()"));
    }
    let opened = nix::fcntl::openat(directory, name, flags, Mode::empty());
    let opened = opened.map_err(failed("openat()"))?;
    let found = fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW);
    let reached = fstat(&opened);
    match (found, reached) {
        (Ok(found), Ok(reached)) if found.st_uid == reached.st_uid => Ok(opened),
        (Ok(_), Ok(_)) => Err(failed("openat()")(Errno::ELOOP)),
        (Err(error), _) | (_, Err(error)) => Err(failed("openat()")(error)),
    }
}

fn failed(call: &'static str) -> impl Fn(Errno) -> Failed {
    move |error| Failed { call, error }
}

/// The path as the system wants it, without a copy: a NUL stands behind it for the time of the call.
fn with_c_string<T>(
    path: &mut Vec<u8>,
    call: impl FnOnce(&CStr) -> Result<T, Failed>,
) -> Result<T, Failed> {
    path.push(0);
    let result = match CStr::from_bytes_with_nul(path) {
        Ok(path) => call(path),
        Err(_) => Err(failed("open()")(Errno::ENOENT)),
    };
    path.pop();
    result
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;

    fn bytes(path: &Path) -> Vec<u8> {
        path.as_os_str().as_bytes().to_vec()
    }

    /// `real/file`, a link to it, a link to its directory.
    fn directory() -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path();
        std::fs::create_dir(path.join("real")).expect("a directory");
        std::fs::write(path.join("real/file"), "12345").expect("a file");
        symlink("real/file", path.join("link")).expect("a link");
        symlink("real", path.join("way")).expect("a link");
        symlink("circle", path.join("circle")).expect("a link");
        directory
    }

    /// What becomes of a path below the directory, links behind it refused.
    fn opened(below: &str, links: impl Fn(usize) -> Links) -> Result<Kind, Failed> {
        let directory = directory();
        let mut path = bytes(directory.path());
        let links = links(path.len());
        path.extend_from_slice(below.as_bytes());
        let before = path.clone();
        let opened = open(&mut path, links).map(|(_, status)| status);
        assert_eq!(path, before);
        let looked_at = look(&mut path, links);
        assert_eq!(
            looked_at.map_err(|failed| failed.error),
            opened.map_err(|failed| failed.error)
        );
        opened.map(|status| status.kind)
    }

    fn error(call: &'static str, error: Errno) -> Result<Kind, Failed> {
        Err(Failed { call, error })
    }

    #[test]
    fn links_are_followed_unless_they_are_refused() {
        let followed = |below| opened(below, |_| Links::Followed);
        assert_eq!(followed("/real/file"), Ok(Kind::Regular));
        assert_eq!(followed("/link"), Ok(Kind::Regular));
        assert_eq!(followed("/way/file"), Ok(Kind::Regular));
        assert_eq!(followed("/way"), Ok(Kind::Directory));
        assert_eq!(followed("/nothing"), error("open()", Errno::ENOENT));
        assert_eq!(followed("/circle"), error("open()", Errno::ELOOP));
    }

    #[test]
    fn refused_links_are_found_in_every_part_of_the_path() {
        let refused = |below| opened(below, |from| Links::Refused { from });
        assert_eq!(refused("/real/file"), Ok(Kind::Regular));
        assert_eq!(refused("//real//file"), Ok(Kind::Regular));
        assert_eq!(refused("/real/"), Ok(Kind::Directory));
        assert_eq!(refused("/real"), Ok(Kind::Directory));
        assert_eq!(refused("/link"), error("openat()", Errno::ELOOP));
        assert_eq!(refused("/way/file"), error("openat()", Errno::ENOTDIR));
        assert_eq!(refused("/real/nothing"), error("openat()", Errno::ENOENT));
    }

    #[test]
    fn links_of_the_same_owner_may_be_followed() {
        let of_owner = |below| opened(below, |from| Links::OfOwner { from });
        assert_eq!(of_owner("/link"), Ok(Kind::Regular));
        assert_eq!(of_owner("/way/file"), Ok(Kind::Regular));
        assert_eq!(of_owner("/circle"), error("openat()", Errno::ELOOP));
    }

    #[test]
    fn the_part_in_front_may_hold_links() {
        let directory = directory();
        let mut path = bytes(&directory.path().join("way"));
        let from = path.len();
        path.extend_from_slice(b"/file");
        assert!(open(&mut path, Links::Refused { from }).is_ok());
        assert!(open(&mut path, Links::Refused { from: 0 }).is_err());
    }

    #[test]
    fn a_path_with_a_nul_names_no_file() {
        let mut path = b"/etc/passwd\0.png".to_vec();
        let failed = look(&mut path, Links::Followed).expect_err("no such file");
        assert!(failed.is_not_found());
        assert_eq!(path, b"/etc/passwd\0.png");
    }

    #[test]
    fn a_fifo_without_a_writer_does_not_hold_up() {
        let directory = directory();
        let mut path = bytes(&directory.path().join("fifo"));
        nix::unistd::mkfifo(&path[..], Mode::S_IRUSR | Mode::S_IWUSR).expect("a FIFO");
        let (_, status) = open(&mut path, Links::Followed).expect("it opens");
        assert_eq!(status.kind, Kind::Other);
    }
}
