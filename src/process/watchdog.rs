//! The watchdog of the service manager (`WatchdogSec=`): a program that has stopped working, though
//! it still runs, is started again.
//!
//! Twice in the manager's time every worker is asked for a sign of life; when the last one has given
//! it, the manager is told. So a worker that is stuck keeps the word back, as a main thread that is
//! stuck does. Where no manager watches, nobody is asked and nothing is woken.
//!
//! Invariant: the manager is told only after every worker that was asked has answered or ended.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::time::Duration;

use tokio::time::Instant;

/// Who has been asked, and when the next time is.
#[derive(Debug)]
pub struct Watchdog {
    pause: Duration,
    due: Instant,
    silent: HashSet<u64>,
}

impl Watchdog {
    /// What the manager wants of this process (sd_watchdog_enabled(3)); `None` if it does not watch.
    pub fn of_process() -> Option<Self> {
        let time = std::env::var_os("WATCHDOG_USEC");
        let process = std::env::var_os("WATCHDOG_PID");
        let pause = pause(time.as_deref(), process.as_deref(), std::process::id())?;
        Some(Self {
            pause,
            due: Instant::now() + pause,
            silent: HashSet::new(),
        })
    }

    /// When workers are to be asked next.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// It is time. `Ok` if the workers shall be asked now, the number of those that still owe the
    /// answer to the question before otherwise: no second question is put to them.
    pub fn ask(&mut self, workers: impl Iterator<Item = u64>) -> Result<(), usize> {
        self.due = Instant::now() + self.pause;
        if !self.silent.is_empty() {
            return Err(self.silent.len());
        }
        self.silent.extend(workers);
        if self.silent.is_empty() {
            // The only worker is being started again; it is asked before the manager's time is up.
            self.due = Instant::now() + self.pause / 8;
        }
        Ok(())
    }

    /// A worker has answered or ended. Is it time to tell the manager?
    pub fn heard(&mut self, worker: u64) -> bool {
        self.silent.remove(&worker) && self.silent.is_empty()
    }
}

/// Half of the manager's time, if it means this process.
fn pause(time: Option<&OsStr>, process: Option<&OsStr>, own: u32) -> Option<Duration> {
    let microseconds: u64 = time?.to_str()?.parse().ok()?;
    let is_meant = process.is_none_or(|process| process.to_str() == Some(&own.to_string()));
    (is_meant && microseconds > 1).then(|| Duration::from_micros(microseconds / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_process_that_is_meant_takes_half_of_the_time() {
        let of = |time: &str, process: Option<&str>| {
            pause(Some(OsStr::new(time)), process.map(OsStr::new), 7)
        };
        assert_eq!(pause(None, None, 7), None);
        let second = Some(Duration::from_secs(1));
        assert_eq!(of("2000000", None), second);
        assert_eq!(of("2000000", Some("7")), second);
        for (time, process) in [
            ("2000000", Some("8")),
            ("2000000", Some("x")),
            ("0", None),
            ("1", None),
            ("-3", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(of(time, process), None, "{time} {process:?}");
        }
    }

    #[test]
    fn a_worker_that_does_not_answer_keeps_the_word_back_and_is_not_asked_again() {
        let mut watchdog = Watchdog {
            pause: Duration::from_secs(1),
            due: Instant::now(),
            silent: HashSet::new(),
        };
        assert_eq!(watchdog.ask([1, 2, 3].into_iter()), Ok(()));
        assert!(!watchdog.heard(1));
        assert!(!watchdog.heard(9));
        assert!(!watchdog.heard(2));
        assert!(!watchdog.heard(2));
        assert_eq!(watchdog.ask([1, 2, 3].into_iter()), Err(1));
        assert!(watchdog.heard(3));
        assert!(!watchdog.heard(3));
        assert_eq!(watchdog.ask([1].into_iter()), Ok(()));
        assert!(watchdog.heard(1));
    }
}
