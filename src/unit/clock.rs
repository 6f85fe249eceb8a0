//! The time, read once per turn of a worker's event loop.
//!
//! Asking the system costs some 25 ns; a request would ask five times. A worker calls [`refresh`]
//! when it wakes; on a thread that never does, every question asks the system.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

thread_local! {
    static NOW: Cell<Option<(Instant, Duration)>> = const { Cell::new(None) };
}

/// Reads the system's clocks for this thread.
pub fn refresh() {
    NOW.set(Some(read()));
}

/// The monotonic time.
pub fn now() -> Instant {
    NOW.get().unwrap_or_else(read).0
}

/// The time since 1970 in UTC; the epoch itself if the clock stands before it.
pub fn unix() -> Duration {
    NOW.get().unwrap_or_else(read).1
}

fn read() -> (Instant, Duration) {
    (
        Instant::now(),
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default(),
    )
}
