//! How many calls a provider with `max_connections auto` gets at once, learned from how it answers.
//!
//! A server that has more calls than it can work on lets them wait, and their first token comes later. So the
//! time until the first token is compared with what is usual when there is room: as long as it is much the
//! same, the limit grows while it is used up; when half of the last calls waited longer than that, it
//! shrinks by as much as they did. Answers that say that there is too much (429, 503, 529) and calls that are
//! not answered in time shrink it at once, but not twice for calls that were under way together.
//!
//! What else makes a first token come later must not count:
//!
//! - Calls are compared with those of the same key and model, of about as many tokens, and of the same kind: an
//!   answer that is not streamed is there as a whole only. A longer prompt changes nothing.
//! - The middle of sixteen calls is looked at, so that a few slow ones change nothing.
//! - A provider that became slower by itself is no faster with fewer calls: what is usual follows slowly, by
//!   the calls that come while no more than half of the limit is used, and by all calls at the least limit.
//!   Where there are none of them for long, the limit is half as high for sixteen calls.
//!
//! Nothing here asks a clock, and nothing is known of queues, circuits or who asks.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::conf::typed::llm::Bounds;

const RELAXED: Ordering = Ordering::Relaxed;

/// The limit of one that was never asked, if it may be that.
const FIRST: u32 = 8;

/// So many calls are looked at before the limit changes.
const SAMPLES: usize = 16;

/// So many times what is usual is not yet slow.
const TOLERANCE: f64 = 1.5;

/// What is left of a limit at least, when calls were slow.
const LEAST_LEFT: f64 = 0.75;

/// What is left of a limit that was too much for the provider.
const LEFT_OF_OVERLOAD: f64 = 0.75;

/// A middle below this says that what was usual is so no more, though there is no room.
const FASTER: f64 = 0.7;

/// So many calls of a kind have to be known before others are compared with them.
const KNOWN: u64 = 3;

/// So many times sixteen calls may come without one that tells what is usual.
const UNTOLD: u32 = 12;

/// How far one call moves what is usual.
const STEP: f64 = 0.03;

/// Kinds of calls of a model: by tokens, and by whether the answer is streamed.
const KINDS: usize = 12;

/// What a call is compared with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kind(usize);

impl Kind {
    /// The kind of a call with about so many tokens: up to 256, 1k, 4k, 16k, 64k, and above.
    #[must_use]
    pub fn of(tokens: u64, is_streamed: bool) -> Self {
        let mut size = 0;
        while size < KINDS / 2 - 1 && tokens > 256 << (2 * size) {
            size += 1;
        }
        Self(size + usize::from(is_streamed) * (KINDS / 2))
    }
}

/// How soon answers of one key and model usually begin, by kind. A number holds microseconds, and in its
/// lowest byte how many calls are known, up to 255.
#[derive(Debug, Default)]
pub struct Usual([AtomicU64; KINDS]);

impl Usual {
    /// How many calls are known, and what is usual in seconds.
    fn known(&self, kind: Kind) -> (u64, f64) {
        let known = self.0[kind.0].load(RELAXED);
        (known & 0xff, (known >> 8) as f64 / 1e6)
    }

    fn note(&self, kind: Kind, count: u64, seconds: f64) {
        let micros = (seconds * 1e6).clamp(1.0, 1e12) as u64;
        self.0[kind.0].store(micros << 8 | count.min(255), RELAXED);
    }

    /// Another call began its answer after so long: the middle of them moves towards it.
    fn follow(&self, kind: Kind, seconds: f64) {
        let (count, usual) = self.known(kind);
        let next = match count {
            0 => seconds,
            _ => {
                let step = 1.0 + STEP.max(0.5 / count as f64);
                seconds.clamp(usual / step, usual * step)
            }
        };
        self.note(kind, count + 1, next);
    }
}

/// A call whose answer began.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// What it is compared with.
    pub kind: Kind,
    /// When it was sent.
    pub began: Instant,
    /// How long it took until something of worth came.
    pub first_part: Duration,
    /// How many calls were under way with it when it was sent.
    pub under_way: u32,
}

/// The limit of one provider.
#[derive(Debug, Default)]
pub struct Adaptive {
    /// 0 before it was first asked for.
    limit: AtomicU32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// With what is left of growing by parts.
    limit: f64,
    /// When it changed last. Calls that were sent before say nothing about it.
    changed: Option<Instant>,
    /// It was never too much: it doubles while it is used up.
    has_shrunk: bool,
    /// How slow the last calls were, by what is usual.
    slow: Vec<f64>,
    /// The most calls that were under way with one of them.
    peak: u32,
    /// By how much everything became faster since it was usual.
    faster: Option<f64>,
    /// How often the last calls told nothing of what is usual.
    untold: u32,
    /// The limit, while it is half as high to find out what is usual.
    halved: Option<f64>,
}

impl Adaptive {
    /// How many calls there may be now.
    pub fn limit(&self, bounds: Bounds) -> u32 {
        match self.limit.load(RELAXED) {
            0 => FIRST,
            limit => limit,
        }
        .clamp(bounds.min, bounds.max)
    }

    /// An answer began. Is there room for more calls than before?
    pub fn answered(&self, bounds: Bounds, usual: &Usual, sample: Sample) -> bool {
        let mut state = self.state.lock();
        let limit = self.limit(bounds);
        if !state.is_of_now(sample.began) {
            return false;
        }
        let seconds = sample.first_part.as_secs_f64();
        let scale = state.faster.unwrap_or(1.0);
        let (count, known) = usual.known(sample.kind);
        let whole = state.halved.map_or(limit, |whole| whole as u32);
        let has_room = sample.under_way <= (whole / 2).max(bounds.min);
        if has_room {
            state.untold = 0;
        }
        if has_room || count == 0 {
            usual.follow(sample.kind, seconds / scale);
        }
        state.peak = state.peak.max(sample.under_way);
        if count >= KNOWN {
            state.slow.push(seconds / (known * scale));
        }
        if state.slow.len() < SAMPLES {
            return false;
        }
        let middle = *state
            .slow
            .select_nth_unstable_by(SAMPLES / 2, f64::total_cmp)
            .1;
        let at = sample.began + sample.first_part;
        if let Some(whole) = state.halved.take() {
            return self.change(&mut state, bounds, whole, at);
        }
        let is_used = state.peak >= limit - limit / 4;
        state.forget();
        if middle < FASTER {
            state.faster = Some((scale * middle.max(0.8)).max(1e-6));
        }
        let gradient = (TOLERANCE / middle).clamp(LEAST_LEFT, 1.0);
        let before = state.limit_within(limit);
        let next = match is_used {
            true if gradient >= 1.0 && !state.has_shrunk => before * 2.0,
            true if gradient >= 1.0 => before + (before.sqrt() / 2.0).max(1.0),
            _ => before * gradient,
        };
        state.has_shrunk |= gradient < 1.0;
        state.untold += 1;
        if state.untold > UNTOLD {
            state.untold = 0;
            state.halved = Some(next.clamp(bounds.min.into(), bounds.max.into()));
            return self.change(&mut state, bounds, next / 2.0, at);
        }
        self.change(&mut state, bounds, next, at)
    }

    /// A call that was sent at a time was too much for the provider, or was not answered in time.
    pub fn is_overloaded(&self, bounds: Bounds, began: Instant, now: Instant) {
        let mut state = self.state.lock();
        // Of those that were under way together, the first says all.
        if !state.is_of_now(began) {
            return;
        }
        let limit = self.limit(bounds);
        let before = match state.halved.take() {
            Some(whole) => whole,
            None => state.limit_within(limit),
        };
        state.has_shrunk = true;
        self.change(&mut state, bounds, before * LEFT_OF_OVERLOAD, now);
    }

    fn change(&self, state: &mut State, bounds: Bounds, next: f64, now: Instant) -> bool {
        let next = next.clamp(bounds.min.into(), bounds.max.into());
        if next == state.limit {
            return false;
        }
        let has_grown = next > state.limit;
        state.limit = next;
        state.changed = Some(now);
        state.forget();
        self.limit.store(next as u32, RELAXED);
        has_grown
    }
}

impl State {
    fn is_of_now(&self, began: Instant) -> bool {
        self.changed.is_none_or(|changed| began >= changed)
    }

    /// The limit with its part below one, unless the bounds are others now.
    fn limit_within(&mut self, limit: u32) -> f64 {
        if self.limit as u32 != limit {
            self.limit = limit.into();
        }
        self.limit
    }

    fn forget(&mut self) {
        self.slow.clear();
        self.peak = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::collections::{BinaryHeap, VecDeque};

    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds { min: 4, max: 1000 };

    /// A server that works on some calls at once and lets the others wait, and clients that send as many as
    /// they may. Times are in microseconds.
    struct Scene {
        adaptive: Adaptive,
        bounds: Bounds,
        usual: Usual,
        origin: Instant,
        now: u64,
        seed: u64,
        capacity: usize,
        /// How long a first token takes that does not have to wait,
        first: u64,
        /// and the rest of the answer.
        rest: u64,
        /// Calls that clients would like to have under way.
        demand: usize,
        tokens: u64,
        /// When they were sent, with how many under way.
        waiting: VecDeque<(u64, u32)>,
        working: usize,
        events: BinaryHeap<Reverse<(u64, Event)>>,
    }

    #[derive(PartialEq, Eq, PartialOrd, Ord)]
    enum Event {
        First {
            sent: u64,
            under_way: u32,
            tokens: u64,
        },
        End,
    }

    impl Scene {
        fn new(capacity: usize, demand: usize) -> Self {
            Self {
                adaptive: Adaptive::default(),
                bounds: BOUNDS,
                usual: Usual::default(),
                origin: Instant::now(),
                now: 0,
                seed: 0x9e37_79b9_7f4a_7c15,
                capacity,
                first: 200_000,
                rest: 2_000_000,
                demand,
                tokens: 100,
                waiting: VecDeque::new(),
                working: 0,
                events: BinaryHeap::new(),
            }
        }

        /// Between three quarters and five quarters of a time.
        fn about(&mut self, time: u64) -> u64 {
            self.seed ^= self.seed << 13;
            self.seed ^= self.seed >> 7;
            self.seed ^= self.seed << 17;
            time * 3 / 4 + self.seed % (time / 2)
        }

        fn limit(&self) -> usize {
            self.adaptive.limit(self.bounds) as usize
        }

        fn at(&self, time: u64) -> Instant {
            self.origin + Duration::from_micros(time)
        }

        fn run(&mut self, calls: usize) {
            let mut left = calls;
            while left > 0 {
                while self.working + self.waiting.len() < self.limit().min(self.demand) {
                    let under_way = (self.working + self.waiting.len() + 1) as u32;
                    self.waiting.push_back((self.now, under_way));
                }
                while self.working < self.capacity
                    && let Some((sent, under_way)) = self.waiting.pop_front()
                {
                    self.working += 1;
                    let first = self.now + self.about(self.first);
                    let end = first + self.about(self.rest);
                    let tokens = self.tokens;
                    let begins = Event::First {
                        sent,
                        under_way,
                        tokens,
                    };
                    self.events.push(Reverse((first, begins)));
                    self.events.push(Reverse((end, Event::End)));
                }
                let Some(Reverse((time, event))) = self.events.pop() else {
                    return;
                };
                self.now = time;
                match event {
                    Event::First {
                        sent,
                        under_way,
                        tokens,
                    } => {
                        let sample = Sample {
                            kind: Kind::of(tokens, true),
                            began: self.at(sent),
                            first_part: Duration::from_micros(time - sent),
                            under_way,
                        };
                        self.adaptive.answered(self.bounds, &self.usual, sample);
                    }
                    Event::End => {
                        self.working -= 1;
                        left -= 1;
                    }
                }
            }
        }

        /// The limit as it is over so many calls, on average.
        fn average(&mut self, calls: usize) -> f64 {
            let parts = calls / 20;
            let sum = (0..parts).fold(0, |sum, _| {
                self.run(20);
                sum + self.limit()
            });
            sum as f64 / parts as f64
        }

        fn assert_near(&mut self, expected: usize) {
            let average = self.average(4000);
            let off = average / expected as f64 - 1.0;
            assert!(off.abs() <= 0.25, "{average} instead of {expected}");
        }
    }

    #[test]
    fn the_limit_comes_near_to_what_the_server_can_do_and_stays_there() {
        for capacity in [8, 20, 64, 200] {
            let mut scene = Scene::new(capacity, 10_000);
            scene.run(4000);
            scene.assert_near(capacity);
            scene.run(20_000);
            scene.assert_near(capacity);
        }
    }

    #[test]
    fn a_server_that_does_much_less_than_was_tried_at_first_is_found_out() {
        for capacity in [1, 2, 3] {
            let mut scene = Scene::new(capacity, 10_000);
            scene.bounds.min = 1;
            scene.run(6000);
            let average = scene.average(4000);
            assert!(
                average <= capacity as f64 * 1.5 + 1.0,
                "{average} instead of {capacity}"
            );
        }
    }

    #[test]
    fn a_server_that_loses_half_of_itself_gets_half_of_the_calls_and_all_when_it_is_whole_again() {
        let mut scene = Scene::new(40, 10_000);
        scene.run(4000);
        scene.capacity = 20;
        scene.run(4000);
        scene.assert_near(20);
        scene.capacity = 40;
        scene.run(6000);
        scene.assert_near(40);
    }

    #[test]
    fn a_provider_that_is_slower_by_itself_gets_its_calls_again() {
        let mut scene = Scene::new(1000, 60);
        scene.run(4000);
        let before = scene.limit();
        assert!(before >= 60, "{before}");
        for factor in [2, 5, 1] {
            scene.first = 200_000 * factor;
            scene.run(10_000);
            let average = scene.average(4000);
            assert!(average >= 50.0, "{average} at {factor}");
        }
        // A limit that is then too high is found out.
        (scene.capacity, scene.demand) = (30, 10_000);
        scene.run(6000);
        scene.assert_near(30);
    }

    #[test]
    fn prompts_that_get_longer_change_nothing() {
        let mut scene = Scene::new(1000, 50);
        scene.run(2000);
        let before = scene.limit();
        for factor in [4, 16, 64, 256] {
            (scene.tokens, scene.first) = (100 * factor, 200_000 * factor);
            scene.run(2000);
            assert!(scene.limit() >= before, "{} at {factor}", scene.limit());
        }
        let kinds = [0, 256, 257, 1024, 1025, 70_000, u64::MAX].map(|it| Kind::of(it, false).0);
        assert_eq!(kinds, [0, 0, 1, 1, 2, 5, 5]);
        assert_eq!(Kind::of(u64::MAX, true).0, KINDS - 1);
    }

    #[test]
    fn a_limit_that_nobody_uses_does_not_grow() {
        let mut scene = Scene::new(1000, 5);
        scene.run(5000);
        assert_eq!(scene.limit(), FIRST as usize);
    }

    #[test]
    fn too_much_is_said_once_for_calls_that_were_under_way_together() {
        let adaptive = Adaptive::default();
        let now = Instant::now();
        let second = Duration::from_secs(1);
        for _ in 0..50 {
            adaptive.is_overloaded(BOUNDS, now, now + second);
        }
        assert_eq!(adaptive.limit(BOUNDS), 6);
        adaptive.is_overloaded(BOUNDS, now + second, now + 2 * second);
        assert_eq!(adaptive.limit(BOUNDS), 4);
        for step in 2..30 {
            adaptive.is_overloaded(BOUNDS, now + step * second, now + (step + 1) * second);
        }
        assert_eq!(adaptive.limit(BOUNDS), BOUNDS.min);
        // Other bounds, after a reload.
        let wider = Bounds { min: 10, max: 20 };
        assert_eq!(adaptive.limit(wider), 10);
        assert_eq!(adaptive.limit(Bounds { min: 1, max: 2 }), 2);
    }

    proptest! {
        #[test]
        fn the_limit_never_leaves_its_bounds(
            min in 1_u32..50,
            more in 0_u32..100,
            told in proptest::collection::vec((any::<bool>(), 0_u64..100_000_000, any::<u32>(), 0_u64..100_000), 0..400),
        ) {
            let bounds = Bounds { min, max: min + more };
            let (adaptive, usual, origin) = (Adaptive::default(), Usual::default(), Instant::now());
            for (number, (is_overload, micros, under_way, tokens)) in told.into_iter().enumerate() {
                let began = origin + Duration::from_secs(number as u64);
                let first_part = Duration::from_micros(micros);
                match is_overload && number % 5 == 0 {
                    true => adaptive.is_overloaded(bounds, began, began + first_part),
                    false => {
                        let kind = Kind::of(tokens, number % 3 == 0);
                        let sample = Sample { kind, began, first_part, under_way };
                        adaptive.answered(bounds, &usual, sample);
                    }
                }
                let limit = adaptive.limit(bounds);
                prop_assert!((bounds.min..=bounds.max).contains(&limit), "{limit}");
                let state = adaptive.state.lock();
                prop_assert!(state.slow.len() < SAMPLES);
            }
        }
    }
}
