//! Listening sockets that the service manager opened for us (sd_listen_fds(3)).
//!
//! Connections that come while the program starts wait in such a socket; nobody is refused. Which
//! address each one serves is for [`crate::net::listener`] to find out.
//!
//! Invariants: descriptors are taken once, before the program opens any of its own, so that none is
//! taken that the manager did not give; no child of ours gets them or takes them for its own.

use std::ffi::OsStr;
use std::os::fd::{FromRawFd as _, OwnedFd};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use socket2::Socket;

/// The first descriptor (`SD_LISTEN_FDS_START`).
const FIRST: i32 = 3;

/// More than any manager gives.
const MOST: i32 = 1024;

const VARIABLES: [&str; 3] = ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

/// What was found.
#[derive(Debug, Default)]
pub struct Inherited {
    /// Listening sockets, each with the name that the manager has for it.
    pub sockets: Vec<(String, Socket)>,
    /// What could not be taken, and why.
    pub remarks: Vec<String>,
}

/// Takes what the manager gave; to be called first of all.
pub fn take() -> Inherited {
    let variable = |name| std::env::var_os(name);
    let count = count(
        variable("LISTEN_FDS").as_deref(),
        variable("LISTEN_PID").as_deref(),
        std::process::id(),
    );
    let Some(count) = count else {
        return Inherited::default();
    };
    let names = variable("LISTEN_FDNAMES")
        .and_then(|names| names.into_string().ok())
        .unwrap_or_default();
    let mut inherited = Inherited::default();
    // Beside other threads the environment cannot be changed, and descriptors could be theirs.
    let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    if threads != 1 {
        let remark = "sockets of the service manager are not used beside other threads";
        inherited.remarks.push(remark.to_owned());
        return inherited;
    }
    for name in VARIABLES {
        #[expect(unsafe_code, reason = "there is no safe way to change the environment")]
        // SAFETY: this is the only thread, which was just looked at.
        unsafe {
            std::env::remove_var(name);
        }
    }
    let mut names = names.split(':');
    for number in FIRST..FIRST + count {
        let name = names.next().unwrap_or_default().to_owned();
        match take_one(number) {
            Ok(socket) => inherited.sockets.push((name, socket)),
            Err(reason) => inherited.remarks.push(format!(
                "the service manager's descriptor {number} \"{}\" {reason}, it is not used",
                name.escape_debug()
            )),
        }
    }
    inherited
}

/// How many descriptors there are for this process; `None` if it is not the one that is meant.
fn count(count: Option<&OsStr>, process: Option<&OsStr>, own: u32) -> Option<i32> {
    let count: i32 = count?.to_str()?.parse().ok()?;
    let is_meant = process?.to_str() == Some(&own.to_string());
    (is_meant && count > 0).then_some(count.min(MOST))
}

/// The socket behind a number; what is no listening stream socket is closed.
fn take_one(number: i32) -> Result<Socket, &'static str> {
    // What is not open must not be owned: closing it would be a mistake that ends the process.
    std::fs::symlink_metadata(format!("/proc/self/fd/{number}")).map_err(|_| "is not open")?;
    #[expect(unsafe_code, reason = "a number becomes a descriptor in no other way")]
    // SAFETY: it is open, as was just looked at, and by the manager's word it is for us; nothing in
    // this process has opened a descriptor before, and the variables that name it are gone, so that
    // it is taken once.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    fcntl(&descriptor, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(|_| "cannot be kept")?;
    let socket = Socket::from(descriptor);
    match (socket.r#type(), socket.is_listener()) {
        (Ok(socket2::Type::STREAM), Ok(true)) => Ok(socket),
        (Ok(_), _) => Err("is not a stream socket that listens"),
        (Err(_), _) => Err("is not a socket"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_taken_only_by_the_process_that_is_meant() {
        let of = |number: &str, process: &str| {
            count(Some(OsStr::new(number)), Some(OsStr::new(process)), 7)
        };
        assert_eq!(of("2", "7"), Some(2));
        assert_eq!(of("99999", "7"), Some(MOST));
        for (number, process) in [("2", "8"), ("2", ""), ("0", "7"), ("-1", "7"), ("x", "7")] {
            assert_eq!(of(number, process), None, "{number} {process}");
        }
        assert_eq!(count(None, Some(OsStr::new("7")), 7), None);
        assert_eq!(count(Some(OsStr::new("1")), None, 7), None);
    }
}
