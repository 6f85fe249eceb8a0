//! Limits of the system: open files and priority.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Files beside connections and listening sockets: logs, the event loops, files being sent.
const RESERVE: u64 = 128;

/// How many files the process may need open at once.
pub fn needed_files(workers: usize, connections: usize, listens: usize) -> u64 {
    let connections = (workers as u64).saturating_mul(connections as u64);
    let listens = (workers as u64).saturating_mul(2 * listens as u64);
    connections.saturating_add(listens).saturating_add(RESERVE)
}

/// Raises the limit of open files to what is wanted, or as far as allowed; it is never lowered.
/// Returns the limit in force.
pub fn raise_open_files(wanted: u64) -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if wanted <= soft {
        return Ok(soft);
    }
    if wanted > hard && setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted).is_ok() {
        return Ok(wanted);
    }
    let reachable = wanted.min(hard);
    setrlimit(Resource::RLIMIT_NOFILE, reachable, hard)?;
    Ok(reachable)
}

/// Sets the nice value of this thread, and so of the threads that it starts (`worker_priority`).
pub fn set_priority(nice: i32) -> io::Result<()> {
    #[expect(unsafe_code, reason = "no safe wrapper sets the priority")]
    // SAFETY: the call takes three numbers and touches no memory of ours.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_files_is_raised_as_far_as_allowed_and_never_lowered() {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("Linux has it");
        assert_eq!(raise_open_files(1).expect("nothing to do"), soft);
        let wanted = (soft + 1).min(hard);
        assert_eq!(raise_open_files(wanted).expect("allowed"), wanted);
        assert_eq!(raise_open_files(1).expect("nothing to do"), wanted);
    }

    #[test]
    fn every_connection_of_every_worker_has_its_file() {
        assert!(needed_files(4, 512, 3) >= 4 * (512 + 3));
        assert_eq!(needed_files(usize::MAX, usize::MAX, 1), u64::MAX);
    }

    #[test]
    fn a_thread_may_become_less_important() {
        let thread = std::thread::spawn(|| {
            set_priority(5).expect("everybody may yield");
            let stat = std::fs::read_to_string("/proc/thread-self/stat").expect("procfs");
            let fields = stat.rsplit_once(')').expect("the name ends").1;
            assert_eq!(fields.split_ascii_whitespace().nth(16), Some("5"));
        });
        thread.join().expect("the thread ends well");
    }
}
