//! Circuits: when something fails, it is not asked for a while, and then by a few probes.
//!
//! One machine for two uses: a peer that `eject` leaves out, and a group that `breaker` stops asking.
//! All workers share it and no lock is taken: the whole state is one word that only moves by
//! compare-and-swap, so that no two workers let in more probes than are allowed.
//!
//! Time is passed in, in milliseconds since the circuit was made; nothing here asks a clock.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::conf::typed::health::Limits;

/// A window is cut into so many parts, and the oldest goes as a whole.
const PARTS: u64 = 10;

const RELAXED: Ordering = Ordering::Relaxed;

/// What a circuit does with requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// They pass.
    #[default]
    Closed,
    /// None does.
    Open,
    /// A few do, as probes.
    HalfOpen,
}

impl Phase {
    /// `closed`, `open`, `half-open`
    pub const fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

/// A request that was let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// As any other.
    Free,
    /// As a probe of the round that began then.
    Probe(u64),
}

/// What a result changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Nothing passes any more, for this reason.
    Opened(Reason),
    /// The probes succeeded.
    Closed,
}

/// Why a circuit opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// So many failures in a row.
    InARow(u32),
    /// So many failures among so many requests.
    Share(u64, u64),
    /// A probe failed.
    Probe,
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InARow(count) => write!(formatter, "{count} failures in a row"),
            Self::Share(failed, all) => write!(formatter, "{failed} of {all} requests failed"),
            Self::Probe => formatter.write_str("a probe failed"),
        }
    }
}

/// A circuit with the limits in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    circuit: Arc<Circuit>,
    limits: Arc<LimitsById>,
}

/// Limits that are the same if they are the same object: a configuration makes them once.
#[derive(Debug)]
pub struct LimitsById(pub Limits);

impl PartialEq for LimitsById {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for LimitsById {}

impl Watched {
    /// This circuit under these limits.
    pub fn new(circuit: Arc<Circuit>, limits: Arc<LimitsById>) -> Self {
        Self { circuit, limits }
    }

    /// The circuit, which outlives the limits.
    pub fn circuit(&self) -> &Arc<Circuit> {
        &self.circuit
    }

    /// For how long it opens.
    pub fn pause(&self) -> Duration {
        self.limits.0.open
    }

    /// Would a request be let in?
    pub fn admits(&self, now: Instant) -> bool {
        let word = Word(self.circuit.word.load(RELAXED));
        word.phase() == Phase::Closed
            || word
                .entered(self.circuit.time(now), &self.limits.0)
                .is_some()
    }

    /// Lets a request in, or does not.
    pub fn enter(&self, now: Instant) -> Option<Pass> {
        let circuit = &*self.circuit;
        let mut word = Word(circuit.word.load(RELAXED));
        loop {
            if word.phase() == Phase::Closed {
                return Some(Pass::Free);
            }
            let next = word.entered(circuit.time(now), &self.limits.0)?;
            let swapped = circuit
                .word
                .compare_exchange_weak(word.0, next.0, RELAXED, RELAXED);
            match swapped {
                Ok(_) => return Some(Pass::Probe(next.time())),
                Err(other) => word = Word(other),
            }
        }
    }

    /// A request that was let in is over. `is_failure` says what it tells, if anything; `may_open`
    /// has the last word before the circuit opens, and what it gives is held until it has.
    pub fn leave<G>(
        &self,
        pass: Pass,
        is_failure: Option<bool>,
        now: Instant,
        may_open: impl FnOnce() -> Option<G>,
    ) -> Option<Turn> {
        let now = self.circuit.time(now);
        match pass {
            Pass::Free => self.leave_free(is_failure?, now, may_open),
            Pass::Probe(round) => self.leave_probe(round, is_failure, now),
        }
    }

    fn leave_free<G>(
        &self,
        is_failure: bool,
        now: u64,
        may_open: impl FnOnce() -> Option<G>,
    ) -> Option<Turn> {
        let (circuit, limits) = (&*self.circuit, &self.limits.0);
        let closed = circuit.word.load(RELAXED);
        if Word(closed).phase() != Phase::Closed {
            // Of before; what it tells is known already.
            return None;
        }
        if limits.ratio > 0 {
            circuit.window.record(now, limits.window, is_failure);
        }
        if !is_failure {
            if limits.errors > 0 && circuit.in_a_row.load(RELAXED) > 0 {
                circuit.in_a_row.store(0, RELAXED);
            }
            return None;
        }
        let mut reason = None;
        if limits.errors > 0 {
            let count = circuit.in_a_row.fetch_add(1, RELAXED).saturating_add(1);
            if count >= limits.errors {
                reason = Some(Reason::InARow(count));
            }
        }
        if reason.is_none() && limits.ratio > 0 {
            let (all, failed) = circuit.window.sum(now, limits.window);
            if all >= u64::from(limits.volume) && failed * 100 >= all * u64::from(limits.ratio) {
                reason = Some(Reason::Share(failed, all));
            }
        }
        let reason = reason?;
        let _held = may_open()?;
        let open = Word::new(Phase::Open, now + limits.open.as_millis() as u64);
        let swapped = circuit
            .word
            .compare_exchange(closed, open.0, RELAXED, RELAXED);
        swapped.is_ok().then(|| {
            circuit.opened.fetch_add(1, RELAXED);
            Turn::Opened(reason)
        })
    }

    fn leave_probe(&self, round: u64, is_failure: Option<bool>, now: u64) -> Option<Turn> {
        let (circuit, limits) = (&*self.circuit, &self.limits.0);
        let mut word = Word(circuit.word.load(RELAXED));
        loop {
            if word.phase() != Phase::HalfOpen || word.time() != round {
                return None;
            }
            let (next, turn) = match is_failure {
                None => (
                    word.with(word.taken().saturating_sub(1), word.passed()),
                    None,
                ),
                Some(true) => {
                    let until = now + limits.open.as_millis() as u64;
                    let turn = Turn::Opened(Reason::Probe);
                    (Word::new(Phase::Open, until), Some(turn))
                }
                Some(false) if word.passed() + 1 >= u64::from(limits.probes) => {
                    // What was counted before would open it again at the first failure.
                    circuit.in_a_row.store(0, RELAXED);
                    circuit.window.clear();
                    (Word::new(Phase::Closed, now), Some(Turn::Closed))
                }
                Some(false) => (word.with(word.taken(), word.passed() + 1), None),
            };
            let swapped = circuit
                .word
                .compare_exchange_weak(word.0, next.0, RELAXED, RELAXED);
            match swapped {
                Ok(_) => {
                    if matches!(turn, Some(Turn::Opened(_))) {
                        circuit.opened.fetch_add(1, RELAXED);
                    }
                    return turn;
                }
                Err(other) => word = Word(other),
            }
        }
    }

    /// When it closed again, if it ever was open and is not now.
    pub fn closed_at(&self) -> Option<Instant> {
        let word = Word(self.circuit.word.load(RELAXED));
        let is_it = word.phase() == Phase::Closed && word.time() > 0;
        is_it.then(|| self.circuit.began + Duration::from_millis(word.time()))
    }

    /// Is an answer with this status, whose head came after this time, a failure?
    pub fn is_failure(&self, status: u16, time: Option<Duration>) -> bool {
        let slow = self.limits.0.slow;
        status >= 500 || slow.zip(time).is_some_and(|(slow, time)| time > slow)
    }

    /// Has a request that is not answered after this time failed?
    pub fn is_overdue(&self, time: Duration) -> bool {
        self.limits.0.slow.is_some_and(|slow| time > slow)
    }

    /// How it stands.
    pub fn report(&self, now: Instant) -> Report {
        let circuit = &*self.circuit;
        let word = Word(circuit.word.load(RELAXED));
        let time = circuit.time(now);
        let (all, failed) = circuit.window.sum(time, self.limits.0.window);
        let left = match word.phase() {
            Phase::Open => Duration::from_millis(word.time().saturating_sub(time)),
            Phase::Closed | Phase::HalfOpen => Duration::ZERO,
        };
        Report {
            phase: word.phase(),
            left,
            opened: circuit.opened.load(RELAXED),
            all,
            failed,
        }
    }
}

/// How a circuit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// What it does.
    pub phase: Phase,
    /// For how long it stays open.
    pub left: Duration,
    /// How often it opened.
    pub opened: u64,
    /// Requests in the window, while it is closed and a ratio is looked at.
    pub all: u64,
    /// Of these, failures.
    pub failed: u64,
}

/// What all workers share of a circuit.
#[derive(Debug)]
pub struct Circuit {
    began: Instant,
    word: AtomicU64,
    in_a_row: AtomicU32,
    opened: AtomicU64,
    window: Window,
}

impl PartialEq for Circuit {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Circuit {}

impl Circuit {
    /// A closed one; times are told from here.
    pub fn new(began: Instant) -> Self {
        Self {
            began,
            word: AtomicU64::new(0),
            in_a_row: AtomicU32::new(0),
            opened: AtomicU64::new(0),
            window: Window::default(),
        }
    }

    /// Does it let requests pass as ever?
    pub fn is_closed(&self) -> bool {
        Word(self.word.load(RELAXED)).phase() == Phase::Closed
    }

    fn time(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_millis() as u64
    }
}

/// The state of a circuit: from below two bits of phase, ten of probes under way or done, ten of
/// probes that succeeded, and the time: until when it is open, or since when it is half open.
#[derive(Debug, Clone, Copy)]
struct Word(u64);

const COUNT_BITS: u32 = 10;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
const TIME_SHIFT: u32 = 2 + 2 * COUNT_BITS;

impl Word {
    fn new(phase: Phase, time: u64) -> Self {
        let tag = match phase {
            Phase::Closed => 0,
            Phase::Open => 1,
            Phase::HalfOpen => 2,
        };
        Self((time << TIME_SHIFT) | tag)
    }

    fn phase(self) -> Phase {
        match self.0 & 3 {
            0 => Phase::Closed,
            1 => Phase::Open,
            _ => Phase::HalfOpen,
        }
    }

    fn taken(self) -> u64 {
        (self.0 >> 2) & COUNT
    }

    fn passed(self) -> u64 {
        (self.0 >> (2 + COUNT_BITS)) & COUNT
    }

    fn time(self) -> u64 {
        self.0 >> TIME_SHIFT
    }

    fn with(self, taken: u64, passed: u64) -> Self {
        let phase_and_time = self.0 & !(((1 << (2 * COUNT_BITS)) - 1) << 2);
        Self(phase_and_time | (taken << 2) | (passed << (2 + COUNT_BITS)))
    }

    /// With one more probe, if there may be one.
    fn entered(self, now: u64, limits: &Limits) -> Option<Self> {
        let begun = Self::new(Phase::HalfOpen, now).with(1, 0);
        match self.phase() {
            Phase::Closed => None,
            Phase::Open => (now >= self.time()).then_some(begun),
            Phase::HalfOpen if self.taken() < u64::from(limits.probes) => {
                Some(self.with(self.taken() + 1, self.passed()))
            }
            // Probes that never end (a tunnel) must not keep it half open for ever.
            Phase::HalfOpen => {
                let is_stuck = now > self.time() + limits.open.as_millis() as u64;
                is_stuck.then_some(begun)
            }
        }
    }
}

/// What happened over a time: requests, and failures (or retries) among them. Each part is one word:
/// 16 bits that tell which part of time it is, 24 bits of each number.
#[derive(Debug, Default)]
pub struct Window {
    parts: [AtomicU64; PARTS as usize],
}

const NUMBER: u64 = (1 << 24) - 1;

impl Window {
    /// One more, at a time in milliseconds.
    pub fn record(&self, now: u64, length: Duration, is_marked: bool) {
        let epoch = epoch(now, length);
        let tag = epoch & 0xffff;
        let part = &self.parts[(epoch % PARTS) as usize];
        // Cannot fail: the closure always has an answer.
        let _ = part.fetch_update(RELAXED, RELAXED, |word| {
            let (all, marked) = match word >> 48 == tag {
                true => ((word >> 24) & NUMBER, word & NUMBER),
                false => (0, 0),
            };
            let all = (all + 1).min(NUMBER);
            let marked = (marked + u64::from(is_marked)).min(NUMBER);
            Some((tag << 48) | (all << 24) | marked)
        });
    }

    /// How many there were, and how many of them are marked.
    pub fn sum(&self, now: u64, length: Duration) -> (u64, u64) {
        let newest = epoch(now, length);
        let mut sum = (0, 0);
        for epoch in newest.saturating_sub(PARTS - 1)..=newest {
            let word = self.parts[(epoch % PARTS) as usize].load(RELAXED);
            if word >> 48 == epoch & 0xffff {
                sum.0 += (word >> 24) & NUMBER;
                sum.1 += word & NUMBER;
            }
        }
        sum
    }

    fn clear(&self) {
        for part in &self.parts {
            part.store(0, RELAXED);
        }
    }
}

/// Which part of time a moment is in. Never 0, which is the tag of a part that was never used.
fn epoch(now: u64, length: Duration) -> u64 {
    now / (length.as_millis() as u64 / PARTS).max(1) + PARTS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits() -> Limits {
        Limits {
            errors: 3,
            ratio: 0,
            probes: 2,
            open: Duration::from_secs(1),
            ..Limits::usual()
        }
    }

    fn watched(limits: Limits, began: Instant) -> Watched {
        Watched::new(Arc::new(Circuit::new(began)), Arc::new(LimitsById(limits)))
    }

    fn run(watched: &Watched, is_failure: bool, now: Instant) -> Option<Turn> {
        let pass = watched.enter(now).expect("it is closed");
        watched.leave(pass, Some(is_failure), now, || Some(()))
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_after_probes_that_all_succeed() {
        let now = Instant::now();
        let watched = watched(limits(), now);
        assert_eq!(run(&watched, true, now), None);
        assert_eq!(run(&watched, false, now), None);
        assert_eq!(run(&watched, true, now), None);
        assert_eq!(run(&watched, true, now), None);
        let opened = run(&watched, true, now);
        assert_eq!(opened, Some(Turn::Opened(Reason::InARow(3))));
        let early = now + Duration::from_millis(999);
        assert!(!watched.admits(early));
        assert_eq!(watched.enter(early), None);
        let later = now + Duration::from_secs(1);
        let first = watched.enter(later).expect("a probe");
        let second = watched.enter(later).expect("another");
        assert_eq!(watched.enter(later), None, "no third");
        assert_eq!(watched.leave(first, Some(false), later, || Some(())), None);
        assert_eq!(watched.enter(later), None, "it was counted");
        let closed = watched.leave(second, Some(false), later, || Some(()));
        assert_eq!(closed, Some(Turn::Closed));
        assert_eq!(run(&watched, true, later), None, "it begins anew");
    }

    #[test]
    fn a_probe_that_fails_opens_it_again_and_one_of_an_old_round_says_nothing() {
        let now = Instant::now();
        let watched = watched(limits(), now);
        for _ in 0..3 {
            run(&watched, true, now);
        }
        let later = now + Duration::from_secs(1);
        let (first, second) = (watched.enter(later), watched.enter(later));
        let (first, second) = (first.expect("a probe"), second.expect("a probe"));
        let opened = watched.leave(first, Some(true), later, || Some(()));
        assert_eq!(opened, Some(Turn::Opened(Reason::Probe)));
        let again = later + Duration::from_secs(1);
        let third = watched.enter(again).expect("a probe");
        assert_eq!(watched.leave(second, Some(true), again, || Some(())), None);
        assert_eq!(watched.report(again).phase, Phase::HalfOpen);
        // One that goes without a word gives its place back.
        assert_eq!(watched.leave(third, None, again, || Some(())), None);
        assert!(watched.enter(again).is_some() && watched.enter(again).is_some());
        assert_eq!(watched.enter(again), None);
        let stuck = again + Duration::from_millis(1001);
        assert!(watched.enter(stuck).is_some(), "probes that never end");
    }

    #[test]
    fn the_ratio_counts_from_a_volume_on_and_forgets_what_is_old() {
        let began = Instant::now();
        let limits = Limits {
            errors: 0,
            ratio: 50,
            volume: 10,
            ..Limits::usual()
        };
        let watched = watched(limits, began);
        let at = |milliseconds| began + Duration::from_millis(milliseconds);
        for request in 0..9 {
            assert_eq!(run(&watched, true, at(request)), None, "{request}");
        }
        // Ten seconds later they are forgotten.
        for request in 0..9 {
            assert_eq!(run(&watched, true, at(12_000 + request)), None, "{request}");
        }
        let opened = run(&watched, true, at(12_100));
        assert_eq!(opened, Some(Turn::Opened(Reason::Share(10, 10))));
    }

    #[test]
    fn who_may_not_open_stays_closed() {
        let now = Instant::now();
        let watched = watched(limits(), now);
        for _ in 0..10 {
            let pass = watched.enter(now).expect("it is closed");
            assert_eq!(watched.leave(pass, Some(true), now, || None::<()>), None);
        }
        assert!(watched.circuit().is_closed());
    }

    #[test]
    fn a_slow_answer_is_a_failure_where_that_is_said() {
        let now = Instant::now();
        let slow = Limits {
            slow: Some(Duration::from_secs(2)),
            ..Limits::usual()
        };
        let (slow, usual) = (watched(slow, now), watched(Limits::usual(), now));
        let time = Some(Duration::from_secs(3));
        assert!(slow.is_failure(200, time) && !usual.is_failure(200, time));
        assert!(!slow.is_failure(404, None) && usual.is_failure(503, None));
        assert!(slow.is_overdue(Duration::from_secs(3)));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Enter,
        /// Ends the request that was let in as the n-th of those under way.
        Leave(usize, Option<bool>),
        Wait(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => Just(Step::Enter),
            4 => (any::<usize>(), proptest::option::weighted(0.9, any::<bool>()))
                .prop_map(|(which, end)| Step::Leave(which, end)),
            1 => (0_u64..1500).prop_map(Step::Wait),
        ];
        proptest::collection::vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn whatever_happens_probes_are_bounded_and_only_they_close_it(
            steps in steps(),
            probes in 1_u32..4,
        ) {
            let began = Instant::now();
            let limits = Limits { probes, ..limits() };
            let watched = watched(limits, began);
            let mut now = began;
            let mut under_way: Vec<Pass> = Vec::new();
            let mut opened_at: Option<Instant> = None;
            for step in steps {
                let before = watched.report(now).phase;
                match step {
                    Step::Wait(milliseconds) => now += Duration::from_millis(milliseconds),
                    Step::Enter => {
                        let admits = watched.admits(now);
                        let pass = watched.enter(now);
                        prop_assert_eq!(pass.is_some(), admits);
                        match (before, pass) {
                            (Phase::Closed, pass) => prop_assert_eq!(pass, Some(Pass::Free)),
                            (_, Some(Pass::Free)) => prop_assert!(false, "it is not closed"),
                            (Phase::Open, Some(_)) => {
                                let since = now.duration_since(opened_at.expect("it opened"));
                                prop_assert!(since >= Duration::from_secs(1));
                            }
                            _ => {}
                        }
                        under_way.extend(pass);
                        // Of one round there are never more than allowed.
                        if let Some(Pass::Probe(round)) = pass {
                            let same = |it: &&Pass| **it == Pass::Probe(round);
                            let count = under_way.iter().filter(same).count();
                            prop_assert!(count <= probes as usize);
                        }
                    }
                    Step::Leave(which, end) => {
                        if under_way.is_empty() {
                            continue;
                        }
                        let pass = under_way.swap_remove(which % under_way.len());
                        let turn = watched.leave(pass, end, now, || Some(()));
                        let after = watched.report(now).phase;
                        match turn {
                            Some(Turn::Opened(_)) => {
                                prop_assert_eq!(end, Some(true));
                                prop_assert_eq!(after, Phase::Open);
                                opened_at = Some(now);
                            }
                            Some(Turn::Closed) => {
                                prop_assert!(matches!(pass, Pass::Probe(_)));
                                prop_assert_eq!(end, Some(false));
                                prop_assert_eq!(before, Phase::HalfOpen);
                                prop_assert_eq!(after, Phase::Closed);
                            }
                            None => prop_assert_eq!(before, after),
                        }
                    }
                }
            }
        }
    }
}
