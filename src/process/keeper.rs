//! The process that opens files of root for the program when that is root no more.
//!
//! It is begun before the rights go, and only stays if there are such files: those of certbot, whose
//! directories are closed to all but root. See [`crate::tls::opener`].

use std::collections::BTreeSet;
use std::io;
use std::os::fd::RawFd;
use std::path::PathBuf;

use nix::sys::signal::SigSet;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, close, fork};

use super::daemon;
use super::privileges::{self, Identity};
use crate::tls::file;
use crate::tls::opener::{self, Opener};

/// The other process, while it is not known whether it is needed.
#[derive(Debug)]
pub struct Begun {
    opener: Opener,
    process: Pid,
    files: BTreeSet<PathBuf>,
}

/// Begins it, for the files that were read up to now; the program has one thread. `identity` is whom
/// the program becomes.
pub fn begin(identity: &Identity) -> io::Result<Begun> {
    let files = file::recorded();
    let (opener, keeper) = opener::wire()?;
    daemon::wait_for_other_threads()?;
    #[expect(
        unsafe_code,
        reason = "there is no other way to a process that stays root"
    )]
    // SAFETY: the process has one thread, which was just looked at. So the child finds no lock held
    // by a thread that it has not.
    let forked = unsafe { fork() }?;
    match forked {
        ForkResult::Parent { child } => Ok(Begun {
            opener,
            process: child,
            files,
        }),
        ForkResult::Child => {
            // It ends with the wire, and by no signal that is meant for the program.
            let _ = SigSet::all().thread_block();
            drop(opener);
            let _ = daemon::let_go_of_terminal();
            close_others(keeper.descriptor());
            // What is left is to be the owner of root's files.
            let _ = privileges::become_owner();
            keeper.serve(&files, identity.user.as_raw());
            std::process::exit(0);
        }
    }
}

impl Begun {
    /// Keeps it if there are files that the program cannot open by itself, now that it has given up its
    /// rights; lets it end otherwise.
    pub fn settle(self) {
        let is_needed =
            (self.files.iter()).any(|path| std::fs::File::open(path).is_err_and(is_denied));
        if is_needed {
            file::set_opener(self.opener);
            return;
        }
        drop(self.opener);
        let _ = waitpid(self.process, None);
    }
}

fn is_denied(error: io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// Sockets and logs of the program are none of its business.
fn close_others(kept: RawFd) {
    let open = std::fs::read_dir("/proc/self/fd");
    let names = open.into_iter().flatten().flatten();
    let numbers: Vec<RawFd> = names
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    for number in numbers {
        // The directory that was just read is among them, and closed already.
        if number > 2 && number != kept {
            let _ = close(number);
        }
    }
}
