//! Going to the background (`daemon on`).
//!
//! The process forks before it has any other thread. The one that was started stays until the other
//! one serves, so that whoever started it learns by the exit status whether it does; nginx's leaves
//! earlier.

use std::fs::OpenOptions;
use std::io::{self, PipeWriter, Read as _, Write as _};
use std::time::Duration;

use nix::sys::stat::{Mode, umask};
use nix::unistd::{ForkResult, dup2_stderr, dup2_stdin, dup2_stdout, fork, setsid};

/// How often, and how many times, it is looked whether this is the only thread.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
const MOST_LOOKS: u32 = 1000;

/// The wire to the process that was started.
#[derive(Debug)]
pub struct Starter(PipeWriter);

/// Goes on in the background. The process that was started ends in here: with success once
/// [`Starter::release`] is called, and with failure if the one in the background ends before.
pub fn go_to_background() -> io::Result<Starter> {
    let (mut reader, writer) = io::pipe()?;
    wait_for_other_threads()?;
    #[expect(unsafe_code, reason = "there is no other way to the background")]
    // SAFETY: the process has one thread, which was just looked at. So the child finds no lock held
    // by a thread that it has not.
    let fork = unsafe { fork() }?;
    match fork {
        ForkResult::Parent { .. } => {
            drop(writer);
            let mut byte = [0];
            let is_serving = matches!(reader.read(&mut byte), Ok(1));
            std::process::exit(i32::from(!is_serving));
        }
        ForkResult::Child => {
            drop(reader);
            setsid()?;
            Ok(Starter(writer))
        }
    }
}

/// Workers start later; what asks for the name of a log's host beside the start ends by itself.
pub(super) fn wait_for_other_threads() -> io::Result<()> {
    for _ in 0..MOST_LOOKS {
        if std::fs::read_dir("/proc/self/task")?.count() <= 1 {
            return Ok(());
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Err(io::Error::other(
        "a thread that has to end first does not end",
    ))
}

impl Starter {
    /// Lets the process that was started end well, and lets go of its terminal.
    pub fn release(mut self) -> io::Result<()> {
        let_go_of_terminal()?;
        // Whoever waited may be gone.
        let _ = self.0.write_all(&[1]);
        Ok(())
    }
}

/// Reads from and writes to nowhere, instead of where the process was started.
pub fn let_go_of_terminal() -> io::Result<()> {
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    // A log that goes there has a descriptor of its own.
    dup2_stderr(&null)?;
    Ok(())
}

/// No file that is made from here on can be written by others, whatever mode it is asked for with.
pub fn restrict_new_files() {
    let inherited = umask(Mode::S_IWGRP | Mode::S_IWOTH);
    umask(inherited | Mode::S_IWGRP | Mode::S_IWOTH);
}
