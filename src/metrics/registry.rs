//! Per-worker counters.
//!
//! Each worker thread owns one [`Counters`]; it alone writes them (a plain load and store, no locked
//! instruction), any thread may sum them. The numbers never go down, but for the gauges, whose sum
//! over the workers is right because a connection stays on its worker.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;

use crate::unit::clock;

/// The numbers of one worker.
#[derive(Default, Debug)]
pub struct Counters {
    /// Connections accepted.
    pub accepted: Counter,
    /// Connections handled (not refused for want of room).
    pub handled: Counter,
    /// Requests begun.
    pub requests: Counter,
    /// Connections open.
    pub active: Counter,
    /// Connections on which a request head is being read.
    pub reading: Counter,
    /// Connections on which a request is being answered.
    pub writing: Counter,
    /// Connections that wait for a request.
    pub waiting: Counter,
    /// Of the requests, those over HTTP/2.
    pub http2_requests: Counter,
    /// Connections of HTTP/2 that were ended because of a flood of frames.
    pub http2_floods: Counter,
    /// Handshakes of TLS 1.2 that came to their end.
    pub tls12: Counter,
    /// The same of TLS 1.3.
    pub tls13: Counter,
    /// Of both, those that resumed a session.
    pub tls_resumed: Counter,
    /// Handshakes that failed, those that clients gave up counted.
    pub tls_failed: Counter,
    /// Names that clients brought and got a certificate for.
    pub on_demand_issued: Counter,
    /// Names that clients brought and that were refused one.
    pub on_demand_refused: Counter,
    /// Names that clients brought and for which the authority gave none.
    pub on_demand_failed: Counter,
    /// Logins with a password that was right; what is remembered of one is not counted again.
    pub logins: Counter,
    /// Those with one that was wrong, or of a user who is not there.
    pub logins_failed: Counter,
    /// Those that were refused because too much was guessed.
    pub logins_throttled: Counter,
    /// Bodies that were compressed with gzip, in bytes.
    pub gzip: Compressed,
    /// The same of brotli.
    pub brotli: Compressed,
    /// The same of zstd.
    pub zstd: Compressed,
    /// Tokens that calls of language models brought in.
    pub model_input: Counter,
    /// Tokens that came out of them, counted while they come.
    pub model_output: Counter,
    /// Panics caught.
    pub panics: Counter,
}

/// Bytes of bodies before and after they were compressed.
#[derive(Default, Debug)]
pub struct Compressed {
    /// Before.
    pub input: Counter,
    /// After.
    pub output: Counter,
}

/// A number with one writer.
#[derive(Default, Debug)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn increase(&self) {
        self.0.store(self.0.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// More by this many.
    pub fn add(&self, count: u64) {
        self.0
            .store(self.0.load(Relaxed).wrapping_add(count), Relaxed);
    }

    /// One less.
    pub fn decrease(&self) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(1), Relaxed);
    }

    /// The number now.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What holds for the process and not for a worker; written when something is put into force.
#[derive(Debug)]
struct Process {
    generation: AtomicU64,
    revision: AtomicU64,
    /// In [`clock::milliseconds`]; zero before the first generation.
    started: AtomicU64,
}

static PROCESS: Process = Process {
    generation: AtomicU64::new(0),
    revision: AtomicU64::new(0),
    started: AtomicU64::new(0),
};

/// A generation is in force: its number. The first one starts the time of [`uptime`].
pub fn set_generation(number: u64) {
    // Workers take it into use one after the other, and may be one apart.
    PROCESS.generation.fetch_max(number, Relaxed);
    let now = clock::milliseconds().max(1);
    let _ = (PROCESS.started).compare_exchange(0, now, Relaxed, Relaxed);
}

/// The generation in force; 0 before the first.
pub fn generation() -> u64 {
    PROCESS.generation.load(Relaxed)
}

/// A recorded revision is in force: its number.
pub fn set_revision(number: u64) {
    PROCESS.revision.store(number, Relaxed);
}

/// The revision in force; 0 if none is recorded.
pub fn revision() -> u64 {
    PROCESS.revision.load(Relaxed)
}

/// How long something is in force, at a moment of [`clock::milliseconds`].
pub fn uptime(now: u64) -> Duration {
    match PROCESS.started.load(Relaxed) {
        0 => Duration::ZERO,
        started => Duration::from_millis(now.saturating_sub(started)),
    }
}

/// Those of all threads there ever were: what an ended one counted stays counted.
static ALL: Mutex<Vec<&'static Counters>> = Mutex::new(Vec::new());

thread_local! {
    static MINE: Cell<Option<&'static Counters>> = const { Cell::new(None) };
}

/// Runs with the counters of this thread.
#[inline]
pub fn with<R>(run: impl FnOnce(&Counters) -> R) -> R {
    run(MINE.get().unwrap_or_else(make_mine))
}

#[cold]
fn make_mine() -> &'static Counters {
    let counters: &'static Counters = Box::leak(Box::default());
    ALL.lock().push(counters);
    MINE.set(Some(counters));
    counters
}

/// The sum of one number over all workers.
pub fn total(which: impl Fn(&Counters) -> &Counter) -> u64 {
    ALL.lock()
        .iter()
        .map(|&counters| which(counters).value())
        .fold(0, u64::wrapping_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_raised_and_lowered_on_two_threads_sums_up() {
        let before = total(|counters| &counters.panics);
        let thread = std::thread::spawn(|| with(|counters| counters.panics.increase()));
        with(|counters| {
            counters.panics.increase();
            counters.panics.increase();
            counters.panics.decrease();
        });
        thread.join().expect("thread ends");
        assert_eq!(total(|counters| &counters.panics), before + 2);
    }
}
