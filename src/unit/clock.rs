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
    static CLOCK: Clock = const {
        Clock {
            instant: Cell::new(None),
            unix: Cell::new(Duration::ZERO),
            milliseconds: Cell::new(0),
            left: Cell::new(0),
        }
    };
}

/// What [`milliseconds`] counts from.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// What was asked of the system last. Each part is a cell of its own, so that whoever wants one moves
/// no other.
struct Clock {
    /// `None` on a thread that never refreshes.
    instant: Cell<Option<Instant>>,
    unix: Cell<Duration>,
    milliseconds: Cell<u64>,
    left: Cell<u32>,
}

/// Reads the system's clocks for this thread.
pub fn refresh() {
    CLOCK.with(|clock| {
        clock.refresh();
    });
}

/// The monotonic time.
#[inline]
pub fn now() -> Instant {
    CLOCK.with(|clock| match clock.instant.get() {
        Some(instant) if clock.is_fresh() => instant,
        _ => clock.ask_again().instant,
    })
}

/// How long ago a moment of [`now`] was. Most are of the same turn of the event loop, which costs less
/// to find out than to subtract.
#[inline]
pub fn since(moment: Instant) -> Duration {
    let now = now();
    match now == moment {
        true => Duration::ZERO,
        false => now.saturating_duration_since(moment),
    }
}

/// The monotonic time in whole milliseconds since some moment of this process: what deadlines are
/// counted in, because adding and comparing numbers is cheaper than times.
#[inline]
pub fn milliseconds() -> u64 {
    CLOCK.with(|clock| match clock.is_fresh() {
        true => clock.milliseconds.get(),
        false => clock.ask_again().milliseconds,
    })
}

/// The time since 1970 in UTC; the epoch itself if the clock stands before it.
#[inline]
pub fn unix() -> Duration {
    CLOCK.with(|clock| match clock.is_fresh() {
        true => clock.unix.get(),
        false => clock.ask_again().unix,
    })
}

struct Now {
    instant: Instant,
    unix: Duration,
    milliseconds: u64,
}

impl Clock {
    fn refresh(&self) -> Now {
        let now = ask();
        self.instant.set(Some(now.instant));
        self.unix.set(now.unix);
        self.milliseconds.set(now.milliseconds);
        self.left.set(USES);
        now
    }

    /// May one more question be answered from memory?
    #[inline]
    fn is_fresh(&self) -> bool {
        let left = self.left.get();
        self.left.set(left.saturating_sub(1));
        left > 0
    }

    #[cold]
    fn ask_again(&self) -> Now {
        match self.instant.get() {
            Some(_) => self.refresh(),
            None => ask(),
        }
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
