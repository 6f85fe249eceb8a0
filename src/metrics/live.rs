//! The requests that end, one by one, for somebody who watches.
//!
//! Off while nobody has a [`Subscription`]; then a request costs one load. With one, each worker puts
//! a [`RequestSummary`] of each request into a queue of its own, which holds [`MOST_WAITING`]; what
//! finds no room is counted and never made. One reader takes them with [`drain`], several times a
//! second, and hands them to all who watch.

use std::cell::OnceCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;

use super::traffic::RouteId;

/// So many requests of one worker wait for [`drain`].
pub const MOST_WAITING: usize = 512;

/// Of a target, so many bytes are kept.
pub const TARGET: usize = 2 << 10;

/// Of other texts that a client sends, so many bytes are kept.
pub const TEXT: usize = 256;

/// A request that ended. What a client sent is told as it is: who shows it escapes it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RequestSummary {
    /// When it ended, in milliseconds since 1970.
    pub at: u64,
    /// `$request_id`, if it was asked for.
    pub id: Option<u128>,
    /// `$connection`
    pub connection: u64,
    /// The client's address; `unix:` for a Unix socket.
    pub client: String,
    /// The method as received, up to [`TEXT`].
    pub method: String,
    /// The host asked for, without port, in lower case, up to [`TEXT`].
    pub host: String,
    /// The target as received, up to [`TARGET`].
    pub target: String,
    /// `HTTP/1.1`
    pub protocol: &'static str,
    /// The status of the answer; 0 if there was none.
    pub status: u16,
    /// The route that it was counted for, whose key names the server and the location.
    pub route: Option<RouteId>,
    /// Bytes received, head and body.
    pub received: u64,
    /// Bytes sent, head and framing included.
    pub sent: u64,
    /// From its first byte to its end, in microseconds.
    pub duration: u64,
    /// Tries at peers, in order.
    pub attempts: Vec<AttemptSummary>,
    /// `User-Agent`, up to [`TEXT`].
    pub user_agent: String,
    /// Was the answer sent whole?
    pub is_complete: bool,
}

/// A try at a peer; times are microseconds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AttemptSummary {
    /// The peer's address, or the name of the upstream if it had no peer to ask.
    pub peer: String,
    /// Its status; 502 or 504 if there was none.
    pub status: u16,
    /// From the start of the request to that of the attempt.
    pub started: u64,
    /// Until connected.
    pub connect: Option<u64>,
    /// Until the head of the answer was read.
    pub header: Option<u64>,
    /// Until the end.
    pub response: Option<u64>,
    /// Bytes of the answer's body.
    pub received: u64,
}

/// While it lives, requests are told.
#[derive(Debug)]
pub struct Subscription(&'static Stream);

impl Drop for Subscription {
    fn drop(&mut self) {
        self.0.unsubscribe();
    }
}

/// Begins to watch, or goes on.
pub fn subscribe() -> Subscription {
    STREAM.subscribe();
    Subscription(&STREAM)
}

/// Tells a request, if somebody watches; only then is the summary made.
pub fn tell(summary: impl FnOnce() -> RequestSummary) {
    if STREAM.is_watched() {
        MINE.with(|mine| STREAM.tell(mine, summary));
    }
}

/// Appends what was told since the last time, in the order of the ends; returns how many were not,
/// because they found no room.
pub fn drain(requests: &mut Vec<RequestSummary>) -> u64 {
    STREAM.drain(requests)
}

/// How many found no room since the start, as far as [`drain`] was told.
pub fn dropped() -> u64 {
    STREAM.dropped.load(Relaxed)
}

static STREAM: Stream = Stream::new();

thread_local! {
    static MINE: OnceCell<Arc<Queue>> = const { OnceCell::new() };
}

#[derive(Debug)]
struct Stream {
    watchers: AtomicUsize,
    queues: Mutex<Vec<Arc<Queue>>>,
    dropped: AtomicU64,
}

/// What one worker has told.
#[derive(Debug, Default)]
struct Queue(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    requests: Vec<RequestSummary>,
    dropped: u64,
}

impl Stream {
    const fn new() -> Self {
        Self {
            watchers: AtomicUsize::new(0),
            queues: Mutex::new(Vec::new()),
            dropped: AtomicU64::new(0),
        }
    }

    fn is_watched(&self) -> bool {
        self.watchers.load(Relaxed) > 0
    }

    fn subscribe(&self) {
        let queues = self.queues.lock();
        // What was left from before is nobody's.
        if self.watchers.fetch_add(1, Relaxed) == 0 {
            clear(&queues);
        }
    }

    fn unsubscribe(&self) {
        let queues = self.queues.lock();
        if self.watchers.fetch_sub(1, Relaxed) == 1 {
            clear(&queues);
        }
    }

    fn tell(&self, mine: &OnceCell<Arc<Queue>>, summary: impl FnOnce() -> RequestSummary) {
        let queue = mine.get_or_init(|| {
            let queue = Arc::new(Queue::default());
            self.queues.lock().push(Arc::clone(&queue));
            queue
        });
        // Made outside of the lock: the reader takes it rarely and for a moment.
        let has_room = queue.0.lock().requests.len() < MOST_WAITING;
        if has_room {
            let summary = summary();
            queue.0.lock().requests.push(summary);
        } else {
            queue.0.lock().dropped += 1;
        }
    }

    fn drain(&self, requests: &mut Vec<RequestSummary>) -> u64 {
        let start = requests.len();
        let mut dropped = 0;
        self.queues.lock().retain(|queue| {
            let mut waiting = std::mem::take(&mut *queue.0.lock());
            dropped += waiting.dropped;
            requests.append(&mut waiting.requests);
            // The other reference is its worker's.
            Arc::strong_count(queue) > 1
        });
        requests[start..].sort_by_key(|request| request.at);
        self.dropped.fetch_add(dropped, Relaxed);
        dropped
    }
}

fn clear(queues: &[Arc<Queue>]) {
    for queue in queues {
        *queue.0.lock() = Waiting::default();
    }
}

/// The beginning of a text of bytes, up to a length.
pub fn cut(bytes: &[u8], length: usize) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(length)]).into_owned()
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn at(at: u64) -> RequestSummary {
        RequestSummary {
            at,
            ..RequestSummary::default()
        }
    }

    fn times(requests: &[RequestSummary]) -> Vec<u64> {
        requests.iter().map(|request| request.at).collect()
    }

    #[test]
    fn what_all_workers_told_comes_in_the_order_of_the_ends_and_once() {
        static STREAM: Stream = Stream::new();
        STREAM.subscribe();
        let mine = OnceCell::new();
        let tell = |mine: &OnceCell<_>, times: &[u64]| {
            times
                .iter()
                .for_each(|time| STREAM.tell(mine, || at(*time)));
        };
        tell(&mine, &[1, 3]);
        let other = thread::spawn(move || tell(&OnceCell::new(), &[2, 4]));
        other.join().expect("the thread ends well");
        let mut requests = vec![at(9)];
        assert_eq!(STREAM.drain(&mut requests), 0);
        assert_eq!(times(&requests), [9, 1, 2, 3, 4]);
        assert_eq!(STREAM.queues.lock().len(), 1, "that of the ended is gone");
        requests.clear();
        assert_eq!(STREAM.drain(&mut requests), 0);
        assert!(requests.is_empty());
    }

    #[test]
    fn what_finds_no_room_is_counted_and_not_even_made() {
        static STREAM: Stream = Stream::new();
        STREAM.subscribe();
        let mine = OnceCell::new();
        let mut made = 0;
        for time in 0..MOST_WAITING as u64 + 7 {
            STREAM.tell(&mine, || {
                made += 1;
                at(time)
            });
        }
        let mut requests = Vec::new();
        assert_eq!(STREAM.drain(&mut requests), 7);
        assert_eq!((made, requests.len()), (MOST_WAITING, MOST_WAITING));
        assert_eq!(STREAM.dropped.load(Relaxed), 7);
        STREAM.tell(&mine, || at(1));
        assert_eq!(STREAM.drain(&mut requests), 0, "there is room again");
    }

    #[test]
    fn a_later_watcher_sees_nothing_of_what_was_told_before() {
        static STREAM: Stream = Stream::new();
        let mine = OnceCell::new();
        STREAM.subscribe();
        STREAM.tell(&mine, || at(1));
        STREAM.unsubscribe();
        assert!(!STREAM.is_watched());
        // A worker that had looked just before the end.
        STREAM.tell(&mine, || at(2));
        STREAM.subscribe();
        let mut requests = Vec::new();
        STREAM.drain(&mut requests);
        assert!(requests.is_empty());
    }

    #[test]
    fn nothing_is_made_without_a_watcher_and_all_have_to_go() {
        assert!(!STREAM.is_watched(), "no other test watches");
        tell(|| unreachable!("nobody watches"));
        let (one, two) = (subscribe(), subscribe());
        drop(one);
        tell(|| at(5));
        let mut requests = Vec::new();
        drain(&mut requests);
        assert_eq!(times(&requests), [5]);
        drop(two);
        tell(|| unreachable!("nobody watches any more"));
    }

    #[test]
    fn a_text_is_cut_even_in_the_middle_of_a_character() {
        assert_eq!(cut(b"abc", 8), "abc");
        assert_eq!(cut("aé".as_bytes(), 2), "a\u{fffd}");
        assert_eq!(cut(b"\xff\x1b[2J", 8), "\u{fffd}\u{1b}[2J");
    }
}
