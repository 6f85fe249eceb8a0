//! The time, read once per turn of a worker's event loop.
//!
//! Asking the system costs some 25 ns; a request would ask five times. A worker calls [`refresh`]
//! when it wakes; on a thread that never does, every question asks the system. An event loop that is
//! too busy to sleep asks again by itself after [`USES`] questions, so that the time never stands
//! still.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// So many questions are answered from memory: those of a dozen requests.
const USES: u32 = 64;

thread_local! {
    static CLOCK: Clock = const { Clock { now: Cell::new(None), left: Cell::new(0) } };
}

struct Clock {
    now: Cell<Option<(Instant, Duration)>>,
    left: Cell<u32>,
}

/// Reads the system's clocks for this thread.
pub fn refresh() {
    CLOCK.with(Clock::refresh);
}

/// The monotonic time.
pub fn now() -> Instant {
    CLOCK.with(Clock::read).0
}

/// The time since 1970 in UTC; the epoch itself if the clock stands before it.
pub fn unix() -> Duration {
    CLOCK.with(Clock::read).1
}

impl Clock {
    fn refresh(&self) {
        self.now.set(Some(ask()));
        self.left.set(USES);
    }

    fn read(&self) -> (Instant, Duration) {
        let Some(now) = self.now.get() else {
            return ask();
        };
        let Some(left) = self.left.get().checked_sub(1) else {
            self.refresh();
            return self.now.get().unwrap_or(now);
        };
        self.left.set(left);
        now
    }
}

fn ask() -> (Instant, Duration) {
    (
        Instant::now(),
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_refreshes_gets_the_same_time_for_a_while_and_not_for_ever() {
        let thread = std::thread::spawn(|| {
            refresh();
            let first = now();
            assert!((1..USES).all(|_| now() == first));
            // The next one but one is asked of the system, whose clock has moved on by then.
            while Instant::now() == first {}
            now();
            assert!(now() > first);
        });
        thread.join().expect("the thread ends well");
    }
}
