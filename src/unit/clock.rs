//! The time, read once per turn of a worker's event loop.
//!
//! Asking the system costs some 25 ns; a request would ask five times. A worker calls [`refresh`]
//! when it wakes; on a thread that never does, every question asks the system. An event loop that is
//! too busy to sleep asks again by itself after `USES` questions, so that the time never stands
//! still.

use std::cell::Cell;
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// So many questions are answered from memory: those of a dozen requests.
const USES: u32 = 64;

thread_local! {
    static CLOCK: Clock = const { Clock { now: Cell::new(None), left: Cell::new(0) } };
}

#[derive(Clone, Copy)]
struct Now {
    instant: Instant,
    unix: Duration,
    milliseconds: u64,
}

/// What [`milliseconds`] counts from.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

struct Clock {
    now: Cell<Option<Now>>,
    left: Cell<u32>,
}

/// Reads the system's clocks for this thread.
pub fn refresh() {
    CLOCK.with(Clock::refresh);
}

/// The monotonic time.
pub fn now() -> Instant {
    CLOCK.with(Clock::read).instant
}

/// The monotonic time in whole milliseconds since some moment of this process: what deadlines are
/// counted in, because adding and comparing numbers is cheaper than times.
pub fn milliseconds() -> u64 {
    CLOCK.with(Clock::read).milliseconds
}

/// The time since 1970 in UTC; the epoch itself if the clock stands before it.
pub fn unix() -> Duration {
    CLOCK.with(Clock::read).unix
}

impl Clock {
    fn refresh(&self) {
        self.now.set(Some(ask()));
        self.left.set(USES);
    }

    fn read(&self) -> Now {
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

fn ask() -> Now {
    let origin = *ORIGIN;
    let instant = Instant::now();
    Now {
        instant,
        unix: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default(),
        milliseconds: instant.saturating_duration_since(origin).as_millis() as u64,
    }
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
