//! Files that only root may read, for a program that has given up the rights of root.
//!
//! A process of its own keeps being root and does one thing: it opens files that were read when the
//! program started, as certbot's keys, so that a renewal is seen. Owns both ends of the wire between
//! them. Who takes the program over gains nothing by it: what those files held was in its memory
//! anyway, and no other file is opened, wherever a path leads meanwhile that somebody else could change.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::cmsg_space;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recv,
    recvmsg, sendmsg, setsockopt, socketpair, sockopt,
};
use nix::sys::time::TimeVal;
use parking_lot::Mutex;

/// The longest path that the system takes.
const MOST_PATH: usize = 4096;
/// How long an answer may take, in seconds: a disk may be slow.
const PATIENCE: i64 = 10;

/// The program's end of the wire.
#[derive(Debug)]
pub struct Opener(Mutex<OwnedFd>);

/// The end of the process that opens files.
#[derive(Debug)]
pub struct Keeper(OwnedFd);

/// A wire between the two.
pub fn wire() -> io::Result<(Opener, Keeper)> {
    let (ours, theirs) = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?;
    setsockopt(&ours, sockopt::ReceiveTimeout, &TimeVal::new(PATIENCE, 0))?;
    Ok((Opener(Mutex::new(ours)), Keeper(theirs)))
}

impl Opener {
    /// Has a file opened.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        let socket = self.0.lock();
        let number = socket.as_raw_fd();
        let path = path.as_os_str().as_bytes();
        let flags = MsgFlags::MSG_NOSIGNAL;
        sendmsg::<()>(number, &[IoSlice::new(path)], &[], flags, None)?;
        let mut error = [0; 4];
        let mut parts = [IoSliceMut::new(&mut error)];
        let mut space = cmsg_space!(RawFd);
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(number, &mut parts, Some(&mut space), flags)?;
        let length = message.bytes;
        let given = message.cmsgs()?.find_map(|given| match given {
            ControlMessageOwned::ScmRights(numbers) => numbers.first().copied(),
            _ => None,
        });
        match (given, length) {
            (Some(number), _) => {
                #[expect(unsafe_code, reason = "a descriptor comes as a number")]
                // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
                let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
                Ok(File::from(descriptor))
            }
            (None, 4) => Err(io::Error::from_raw_os_error(i32::from_ne_bytes(error))),
            (None, _) => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }
}

impl Keeper {
    /// The number of its descriptor.
    pub fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Opens these files for whoever asks at the other end, until that end is gone. `owner` is whom the
    /// program has become.
    pub fn serve(self, files: &BTreeSet<PathBuf>, owner: u32) {
        let mut path = [0; MOST_PATH];
        while let Ok(length @ 1..) = recv(self.0.as_raw_fd(), &mut path, MsgFlags::empty()) {
            let path = Path::new(std::ffi::OsStr::from_bytes(&path[..length]));
            let opened = match files.contains(path) && !is_changeable(path, owner) {
                true => open(path),
                false => Err(io::ErrorKind::PermissionDenied.into()),
            };
            let error = opened.as_ref().err();
            let error = error.map_or(0, |error| error.raw_os_error().unwrap_or(libc::EACCES));
            let error = error.to_ne_bytes();
            let numbers: Vec<RawFd> = opened.iter().map(|file| file.as_raw_fd()).collect();
            let given = [ControlMessage::ScmRights(&numbers)];
            let given = if numbers.is_empty() { &[][..] } else { &given };
            let parts = [IoSlice::new(&error)];
            let flags = MsgFlags::MSG_NOSIGNAL;
            if sendmsg::<()>(self.0.as_raw_fd(), &parts, given, flags, None).is_err() {
                return;
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    options.read(true).custom_flags(flags).open(path)
}

/// Could the program, or anybody but root, have another file stand at this path?
fn is_changeable(path: &Path, owner: u32) -> bool {
    /// Others may make files, but not take those of others away.
    const STICKY: u32 = 0o1000;
    path.ancestors().skip(1).any(|directory| {
        fs::metadata(directory).is_ok_and(|about| {
            let is_open = about.mode() & 0o022 != 0 && about.mode() & STICKY == 0;
            about.uid() == owner || is_open
        })
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn files_that_were_named_are_opened_and_no_others() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = |name: &str| directory.path().join(name);
        fs::write(place("one"), "first").expect("written");
        fs::write(place("two"), "second").expect("written");
        let inside = place("open");
        fs::create_dir(&inside).expect("made");
        fs::set_permissions(&inside, fs::Permissions::from_mode(0o777)).expect("ours");
        fs::write(inside.join("three"), "third").expect("written");
        symlink(place("one"), place("link")).expect("linked");
        let files = BTreeSet::from([
            place("one"),
            place("gone"),
            place("link"),
            inside.join("three"),
        ]);
        let (opener, keeper) = wire().expect("a wire");
        let serving = std::thread::spawn(move || keeper.serve(&files, 65534));
        let read = |path: &Path| {
            let mut text = String::new();
            opener.open(path)?.read_to_string(&mut text)?;
            io::Result::Ok(text)
        };
        assert_eq!(read(&place("one")).expect("it is named"), "first");
        assert_eq!(read(&place("link")).expect("it is named"), "first");
        let error = |path: &Path| read(path).expect_err("it is not opened").kind();
        assert_eq!(error(&place("gone")), io::ErrorKind::NotFound);
        assert_eq!(error(&place("two")), io::ErrorKind::PermissionDenied);
        assert_eq!(error(&place("x/../one")), io::ErrorKind::PermissionDenied);
        assert_eq!(
            error(&inside.join("three")),
            io::ErrorKind::PermissionDenied
        );
        // It may be another file now; the path is the same.
        fs::write(place("new"), "renewed").expect("written");
        fs::rename(place("new"), place("one")).expect("renamed");
        assert_eq!(read(&place("one")).expect("it is named"), "renewed");
        drop(opener);
        serving.join().expect("it ends with the wire");
    }
}
