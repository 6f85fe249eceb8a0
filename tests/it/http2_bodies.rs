//! Bodies of answers over HTTP/2, byte for byte: whatever windows a client opens and when, however
//! slowly it reads, and whatever it takes back in the middle.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::support::backend::pattern;
use crate::support::certificate::Authority;
use crate::support::frames::*;
use crate::support::server::{Server, Setup, is_nginx, under_test};

const LENGTHS: [usize; 8] = [0, 1, 4_097, 9_000, 16_384, 65_536, 70_001, 400_000];
/// Where a body comes from: a file, also with a trailer section, a peer that tells its length, one
/// that does not, and the cache.
const SOURCES: [&str; 5] = ["/", "/trailed/", "/passed/", "/unmeasured/", "/cached/"];
/// The most streams at a time.
const STREAMS: usize = 8;
/// All streams of a connection.
const REQUESTS: u32 = 60;
/// The window that a connection begins with (RFC 9113 section 6.9.2).
const USUAL_WINDOW: i64 = 65_535;

#[test]
fn bodies_are_exact_whatever_windows_a_client_opens_and_what_it_takes_back() {
    let Some(server) = start() else {
        return;
    };
    for seed in 1..=2 {
        let settings = [(INITIAL_WINDOW_SIZE, 5_000 * seed as u32)];
        let frames = Frames::with_settings(server.port(1), &settings);
        frames.read_slowly();
        Client::new(frames, seed).run(seed % 2 == 0);
    }
}

#[test]
fn bodies_are_exact_inside_tls_too() {
    let Some(server) = start() else {
        return;
    };
    for seed in 11..=12 {
        let settings = [(INITIAL_WINDOW_SIZE, 9_000 * (seed as u32 - 10))];
        let frames = Frames::over_tls(server.port(3), "a.test", &settings);
        frames.read_slowly();
        Client::new(frames, seed).run(seed % 2 == 0);
    }
}

/// Two long answers share what the socket takes: neither waits for the end of the other.
#[test]
fn a_long_answer_leaves_room_for_others() {
    let Some(server) = start() else {
        return;
    };
    let most = (1 << 31) - 1;
    let mut frames = Frames::with_settings(server.port(1), &[(INITIAL_WINDOW_SIZE, most)]);
    frames.send(window_update(0, most - 65_535));
    frames.read_slowly();
    let paths = ["/huge", "/passed/huge", "/huge", "/passed/huge"];
    let streams = [1, 3, 5, 7];
    for (stream, path) in streams.into_iter().zip(paths) {
        frames.send(ask(stream, path));
    }
    let mut taken = BTreeMap::from(streams.map(|stream| (stream, 0)));
    while let Ok(frame) = frames.frame() {
        if frame.kind != DATA {
            continue;
        }
        *taken.entry(frame.stream).or_default() += frame.payload.len();
        if frame.flags & END_STREAM != 0 {
            break;
        }
    }
    assert!(taken.values().any(|&count| count == HUGE), "{taken:?}");
    assert!(taken.values().all(|&count| count > HUGE / 2), "{taken:?}");
}

const HUGE: usize = 4 << 20;

/// The part of the pattern that a file of this length has: each begins at another place.
fn content(length: usize) -> Range<usize> {
    let start = length % 1013;
    start..start + length
}

fn start() -> Option<Server> {
    if is_nginx(&under_test()) {
        return None;
    }
    let pair = Authority::new().issue(&["a.test"]);
    let whole = pattern(LENGTHS[LENGTHS.len() - 1] + 1013);
    let mut setup = Setup::http(
        "proxy_cache_path %PREFIX%/cache keys_zone=zone:1m;
         server { listen %LISTEN1% sndbuf=16k; listen %LISTEN3% ssl sndbuf=16k; http2 on;
            keepalive_requests 100000;
            ssl_certificate %PREFIX%/a.pem; ssl_certificate_key %PREFIX%/a.key;
            location / { root www; }
            location /trailed/ { alias www/; add_trailer X-End reached; }
            location /passed/ { proxy_pass http://127.0.0.1:%LISTEN2%/; }
            location /unmeasured/ { proxy_pass http://127.0.0.1:%LISTEN2%/trailed/; }
            location /cached/ { proxy_pass http://127.0.0.1:%LISTEN2%/;
                proxy_cache zone; proxy_cache_valid 200 1h; } }
         server { listen %LISTEN2%;
            location / { root www; }
            location /trailed/ { alias www/; add_trailer X-End reached; } }",
    )
    .file("a.pem", pair.certificate)
    .file("a.key", pair.key)
    .file("www/huge", vec![b'x'; HUGE]);
    for length in LENGTHS {
        setup = setup.file(&format!("www/{length}"), &whole[content(length)]);
    }
    Some(setup.start())
}

/// One answer under way.
struct Answer {
    length: usize,
    path: String,
    has_begun: bool,
    body: Vec<u8>,
    window: i64,
    /// What was read of the window and not given back.
    owed: u32,
}

/// A client that does as it likes, but keeps to the rules, and watches whether the server does.
struct Client {
    frames: Frames,
    random: u64,
    whole: Vec<u8>,
    running: BTreeMap<u32, Answer>,
    next: u32,
    window: i64,
    owed: u32,
    first_window: i64,
    /// A smaller window holds once the server has said so.
    coming_window: Option<i64>,
    acknowledged: u32,
    finished: usize,
}

impl Client {
    fn new(frames: Frames, seed: u64) -> Self {
        Self {
            frames,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            whole: pattern(LENGTHS[LENGTHS.len() - 1] + 1013),
            running: BTreeMap::new(),
            next: 1,
            window: USUAL_WINDOW,
            owed: 0,
            first_window: 0,
            coming_window: None,
            acknowledged: 0,
            finished: 0,
        }
    }

    /// Anything below this.
    fn any(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    /// `is_wide`: it opens its windows so wide that only the socket has the server wait.
    fn run(&mut self, is_wide: bool) {
        let seen = self
            .frames
            .until(|frame| frame.kind == SETTINGS && frame.flags & ACK != 0);
        assert_eq!(seen.end, None);
        if is_wide {
            let more = 64 << 20;
            self.frames.send(window_update(0, more));
            self.window += i64::from(more);
        }
        self.change_window(if is_wide { 1 << 20 } else { 20_000 });
        while self.finished == 0 || !self.running.is_empty() {
            while self.running.len() < STREAMS && self.next < 2 * REQUESTS {
                self.ask();
            }
            self.give_windows();
            let frame = self.frames.frame();
            let frame =
                frame.unwrap_or_else(|end| panic!("{end:?} with {} left", self.running.len()));
            self.take(frame);
        }
        assert!(self.finished > REQUESTS as usize / 3, "{}", self.finished);
    }

    fn ask(&mut self) {
        let length = LENGTHS[self.any(LENGTHS.len() as u64) as usize];
        let source = SOURCES[self.any(SOURCES.len() as u64) as usize];
        let path = format!("{source}{length}");
        self.frames.send(ask(self.next, &path));
        let answer = Answer {
            length,
            path,
            has_begun: false,
            body: Vec::new(),
            window: self.first_window,
            owed: 0,
        };
        self.running.insert(self.next, answer);
        self.next += 2;
    }

    fn change_window(&mut self, window: i64) {
        if self.coming_window.is_some() {
            return;
        }
        self.frames
            .send(settings(&[(INITIAL_WINDOW_SIZE, window as u32)]));
        self.coming_window = Some(window);
        if window > self.first_window {
            self.set_window(window);
        }
    }

    fn set_window(&mut self, window: i64) {
        for answer in self.running.values_mut() {
            answer.window += window - self.first_window;
        }
        self.first_window = window;
    }

    fn give_windows(&mut self) {
        // Nothing would come any more.
        let is_stuck = self.window <= 0 || self.running.values().all(|answer| answer.window <= 0);
        if self.owed > 0 && (is_stuck || self.any(9) == 0) {
            self.frames.send(window_update(0, self.owed));
            self.window += i64::from(self.owed);
            self.owed = 0;
        }
        let streams: Vec<u32> = self.running.keys().copied().collect();
        for stream in streams {
            let is_chosen = self.any(12) == 0;
            let Some(answer) = self.running.get_mut(&stream) else {
                continue;
            };
            let mut more = answer.owed;
            // Smaller SETTINGS took more than was ever read.
            if is_stuck && answer.window + i64::from(more) <= 0 {
                more = (3_000 - answer.window) as u32;
            }
            if more > 0 && (is_stuck || is_chosen) {
                self.frames.send(window_update(stream, more));
                answer.window += i64::from(more);
                answer.owed = 0;
            }
        }
    }

    fn take(&mut self, frame: Frame) {
        let Frame { stream, flags, .. } = frame;
        match frame.kind {
            SETTINGS if flags & ACK != 0 => {
                self.acknowledged += 1;
                if let Some(window) = self.coming_window.take() {
                    self.set_window(window);
                }
            }
            GOAWAY => panic!("the server has had enough: {}", frame.number(4)),
            RST_STREAM => panic!("{stream} was reset with {}", frame.number(0)),
            HEADERS => {
                let Some(answer) = self.running.get_mut(&stream) else {
                    return;
                };
                // What follows the body are trailers.
                if !std::mem::replace(&mut answer.has_begun, true) {
                    assert_eq!(frame.status(), 200, "{}", answer.path);
                }
                if flags & END_STREAM != 0 {
                    self.finish(stream);
                }
            }
            DATA => {
                let count = frame.payload.len();
                assert!(count <= 16_384);
                self.window -= count as i64;
                self.owed += count as u32;
                assert!(self.window >= 0, "more than the connection takes");
                let takes_back = self.any(60) == 0;
                let changes = self.any(40) == 0;
                // What was taken back may have been on its way.
                let Some(answer) = self.running.get_mut(&stream) else {
                    return;
                };
                answer.window -= count as i64;
                answer.owed += count as u32;
                assert!(count == 0 || answer.window >= 0, "more than {stream} takes");
                answer.body.extend_from_slice(&frame.payload);
                let expected = &self.whole[content(answer.length)];
                assert!(
                    expected.starts_with(&answer.body),
                    "{} differs after {} bytes",
                    answer.path,
                    answer.body.len() - count
                );
                if flags & END_STREAM != 0 {
                    self.finish(stream);
                } else if takes_back {
                    self.frames.send(reset(stream, CANCEL));
                    self.running.remove(&stream);
                }
                if changes {
                    let window = 1_000 + self.any(60_000) as i64;
                    self.change_window(window);
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, stream: u32) {
        let answer = self.running.remove(&stream).expect("it was asked");
        assert_eq!(answer.body.len(), answer.length, "{}", answer.path);
        self.finished += 1;
    }
}
