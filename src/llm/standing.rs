//! How providers stand: which of them, with which key and for which model, may be asked now.
//!
//! For each provider, key and model there is one [`Standing`]: a circuit that opens when asking fails,
//! the time until which a limit of the provider's has to be waited for, whether it refuses our key, how
//! many calls are under way and how soon its answers begin. All workers share it and no lock is taken to
//! read or write it; only who names a model for the first time waits for a moment.
//!
//! Configurations that follow each other share what they have in common: who holds a [`Provider`] keeps
//! what is known of it, and a reload takes it up by the provider's name and a digest of the key.
//!
//! A limit that was reached (429) says nothing about health and never opens a circuit. Neither does a
//! client that leaves.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::adaptive::{Adaptive, Kind, Sample, Usual};
use crate::conf::typed::health::Limits;
use crate::conf::typed::llm::{self, Bounds, MostCalls};
use crate::upstream::circuit::{Circuit, LimitsById, Pass, Phase, Reason, Turn, Watched, Window};
use crate::upstream::queue::{Class, Place, Queue};

const RELAXED: Ordering = Ordering::Relaxed;

/// When a circuit opens: at five failures in a row, or when half of ten calls or more fail.
const LIMITS: Limits = Limits {
    errors: 5,
    ratio: 50,
    volume: 10,
    slow: None,
    window: Duration::from_secs(30),
    open: Duration::from_secs(10),
    probes: 1,
};

/// Retries may be so many in a hundred calls of the last second,
const RETRY_PERCENT: u64 = 20;

/// or so many, if that is more.
const RETRIES_LEAST: u64 = 10;

/// The time over which retries and calls are compared.
const RETRY_WINDOW: Duration = Duration::from_secs(1);

/// A limit of a provider is waited for at most so long before it is tried again.
const LONGEST_COOLING: Duration = Duration::from_secs(600);

/// How long a limit is waited for whose provider does not say.
const USUAL_COOLING: Duration = Duration::from_secs(2);

/// A key that lacks money or permission is tried again after so long: accounts are topped up.
const REFUSED_FOR: Duration = Duration::from_secs(300);

/// How long it takes until one that recovered has all of its calls again.
const RETURNING: Duration = Duration::from_secs(30);

/// So many models of one key have a standing of their own. Clients may name any, and who is not listed
/// any more is simply asked.
const MOST_MODELS: usize = 1024;

/// A time that never comes.
const NEVER: u64 = u64::MAX;

/// What all times are counted from.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

fn milliseconds(now: Instant) -> u64 {
    now.saturating_duration_since(*ORIGIN).as_millis() as u64
}

/// What is known of the providers that any configuration in use names.
pub fn standings() -> &'static Standings {
    static STANDINGS: LazyLock<Standings> = LazyLock::new(Standings::default);
    &STANDINGS
}

/// All providers.
#[derive(Debug, Default)]
pub struct Standings {
    providers: Mutex<Vec<Weak<Provider>>>,
    turned: Notify,
}

impl Standings {
    /// A circuit has opened or closed.
    pub fn note_turn(&self) {
        self.turned.notify_one();
    }

    /// Waits until one does. For one who waits.
    pub async fn turned(&self) {
        self.turned.notified().await;
    }

    /// What is known of the provider of this name; nothing at first.
    pub fn provider(&self, name: &str) -> Arc<Provider> {
        let mut providers = self
            .providers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        providers.retain(|provider| provider.strong_count() > 0);
        let known = providers.iter().filter_map(Weak::upgrade);
        if let Some(provider) = known.into_iter().find(|known| *known.name == *name) {
            return provider;
        }
        let provider = Arc::new(Provider {
            name: name.into(),
            under_way: AtomicU32::new(0),
            most: Adaptive::default(),
            queue: Arc::default(),
            waiting_bytes: AtomicU64::new(0),
            turned_away: AtomicU64::new(0),
            retries: Window::default(),
            keys: Mutex::default(),
        });
        providers.push(Arc::downgrade(&provider));
        provider
    }

    /// How everything stands that was asked so far, by provider, key and model.
    pub fn report(&self, now: Instant) -> Vec<Report> {
        let providers: Vec<Arc<Provider>> = (self.providers.lock())
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        let mut reports = Vec::new();
        for provider in providers {
            let keys: Vec<Arc<Key>> = (provider.keys.lock())
                .unwrap_or_else(PoisonError::into_inner)
                .iter()
                .filter_map(Weak::upgrade)
                .collect();
            for key in keys {
                let models = key.models.read().unwrap_or_else(PoisonError::into_inner);
                reports.extend(models.values().map(|standing| Report {
                    provider: provider.name.clone(),
                    key: key.name.clone(),
                    model: standing.model.clone(),
                    fitness: standing.fitness(now),
                    reason: standing.reason(),
                    share: match standing.watched.circuit().is_closed() {
                        true => standing.share(now),
                        false => 0,
                    },
                    under_way: standing.under_way.load(RELAXED),
                    first_part: standing.first_part(),
                    asked: standing.asked.load(RELAXED),
                    failed: standing.failed.load(RELAXED),
                    limited: standing.limited.load(RELAXED),
                    opened: standing.watched.report(now).opened,
                }));
            }
        }
        reports.sort_by(|one, other| {
            (&one.provider, &one.key, &one.model).cmp(&(&other.provider, &other.key, &other.model))
        });
        reports
    }
}

/// How one provider stands with one key and one model.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// The provider.
    pub provider: Box<str>,
    /// Where its key is written down, never the key; empty if it has none.
    pub key: Box<str>,
    /// The provider's own name for the model.
    pub model: Box<str>,
    /// May it be asked?
    pub fitness: Fitness,
    /// Why its circuit opened last, if it ever did.
    pub reason: Option<Reason>,
    /// Of a hundred calls that could go elsewhere, how many it gets; 0 until its circuit has closed.
    pub share: u64,
    /// Calls under way.
    pub under_way: u32,
    /// How soon its answers begin, lately; `None` before the first.
    pub first_part: Option<Duration>,
    /// Calls since the start of the program.
    pub asked: u64,
    /// Of these, those that failed by its fault.
    pub failed: u64,
    /// Of these, those that reached a limit of its.
    pub limited: u64,
    /// How often its circuit opened.
    pub opened: u64,
}

/// May one be asked?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fitness {
    /// Yes.
    Ready,
    /// A probe tries whether it works again.
    Probing,
    /// It failed too often, and is left alone for so long.
    Open(Duration),
    /// A limit of the provider's was reached, and is over in so long.
    Cooling(Duration),
    /// It refuses our key: for good, or it is tried again in so long.
    Refused(Option<Duration>),
}

impl Fitness {
    /// For how long it stays so, if that is known.
    #[must_use]
    pub const fn left(self) -> Option<Duration> {
        match self {
            Self::Open(left) | Self::Cooling(left) => Some(left),
            Self::Refused(left) => left,
            Self::Ready | Self::Probing => None,
        }
    }

    /// A word for it: `ready`, `probing`, `open`, `cooling`, `refused`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Probing => "probing",
            Self::Open(_) => "open",
            Self::Cooling(_) => "cooling",
            Self::Refused(_) => "refused",
        }
    }
}

/// What all keys of a provider share.
pub struct Provider {
    name: Box<str>,
    under_way: AtomicU32,
    /// How many there may be, where that is to be learned.
    most: Adaptive,
    /// Calls that wait until fewer are under way.
    queue: Arc<Queue>,
    waiting_bytes: AtomicU64,
    turned_away: AtomicU64,
    retries: Window,
    keys: Mutex<Vec<Weak<Key>>>,
}

impl fmt::Debug for Provider {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Provider").field(&self.name).finish()
    }
}

impl Provider {
    /// What is known of one key: `digest` tells it from others and is never shown, `name` is for
    /// people.
    pub fn key(self: &Arc<Self>, digest: u64, name: &str) -> Arc<Key> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.retain(|key| key.strong_count() > 0);
        let known = keys.iter().filter_map(Weak::upgrade);
        if let Some(key) = known.into_iter().find(|known| known.digest == digest) {
            return key;
        }
        let key = Arc::new(Key {
            provider: Arc::clone(self),
            digest,
            name: name.into(),
            models: RwLock::default(),
        });
        keys.push(Arc::downgrade(&key));
        key
    }

    /// Calls under way, with all keys.
    pub fn under_way(&self) -> u32 {
        self.under_way.load(RELAXED)
    }

    /// How many calls there may be now; 0 for any number.
    pub fn most(&self, most: MostCalls) -> u32 {
        match most {
            MostCalls::Fixed(most) => most,
            MostCalls::Adaptive(bounds) => self.most.limit(bounds),
        }
    }

    /// Calls that wait.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Calls that found no place in the queue, or waited in vain.
    pub fn turned_away(&self) -> u64 {
        self.turned_away.load(RELAXED)
    }

    /// A call found no place in the queue, or waited in vain.
    pub fn note_turned_away(&self) {
        self.turned_away.fetch_add(1, RELAXED);
    }

    /// Waits behind all who wait, with a call of so many bytes, if there is room.
    pub fn join(self: &Arc<Self>, queue: &llm::Queue, bytes: u64) -> Option<Waiting> {
        let more = |waiting: u64| {
            let sum = waiting.saturating_add(bytes);
            (sum <= queue.bytes).then_some(sum)
        };
        (self.waiting_bytes.fetch_update(RELAXED, RELAXED, more)).ok()?;
        let Some(place) = self.queue.join(Class::Normal, queue.room) else {
            self.waiting_bytes.fetch_sub(bytes, RELAXED);
            return None;
        };
        Some(Waiting {
            provider: Arc::clone(self),
            place: Some(place),
            bytes,
        })
    }

    /// A client's call comes to it, for the first time.
    pub fn note_call(&self, now: Instant) {
        self.retries.record(milliseconds(now), RETRY_WINDOW, false);
    }

    /// May a call be made once more? Where it may, that is counted.
    pub fn may_retry(&self, now: Instant) -> bool {
        let time = milliseconds(now);
        let (all, retries) = self.retries.sum(time, RETRY_WINDOW);
        let may = retries < RETRIES_LEAST.max((all - retries) * RETRY_PERCENT / 100);
        if may {
            self.retries.record(time, RETRY_WINDOW, true);
        }
        may
    }
}

/// A call that waits for its provider. Dropped, it leaves the queue; if it was its turn, it is that of
/// the next one.
#[derive(Debug)]
pub struct Waiting {
    provider: Arc<Provider>,
    place: Option<Place>,
    bytes: u64,
}

impl Waiting {
    /// Until it may be its turn. Then it tries to begin, and calls this again if it cannot.
    pub async fn called(&self) {
        if let Some(place) = &self.place {
            place.called().await;
        }
    }

    /// It could not begin: it waits on at its place. It has to try once more before it waits, for an
    /// end that came between.
    pub fn wait_on(&self) {
        if let Some(place) = &self.place {
            place.wait_on();
        }
        fence(Ordering::SeqCst);
    }

    /// It began. There may be room for more than one.
    pub fn begin(mut self) {
        if let Some(place) = self.place.take() {
            place.finish();
        }
        self.provider.queue.call();
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.provider.waiting_bytes.fetch_sub(self.bytes, RELAXED);
    }
}

/// One key of a provider.
#[derive(Debug)]
pub struct Key {
    provider: Arc<Provider>,
    digest: u64,
    name: Box<str>,
    models: RwLock<HashMap<Box<str>, Arc<Standing>>>,
}

impl Key {
    /// How it stands with a model.
    pub fn model(&self, model: &str) -> Arc<Standing> {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(standing) = models.get(model) {
            return Arc::clone(standing);
        }
        drop(models);
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        if models.len() >= MOST_MODELS {
            models.retain(|_, standing| {
                Arc::strong_count(standing) > 1 || !standing.is_forgettable()
            });
        }
        let standing = || Arc::new(Standing::new(model, Arc::clone(&self.provider)));
        if models.len() >= MOST_MODELS {
            return standing();
        }
        Arc::clone(models.entry(model.into()).or_insert_with(standing))
    }
}

/// One provider with one key and one model.
#[derive(Debug)]
pub struct Standing {
    model: Box<str>,
    provider: Arc<Provider>,
    watched: Watched,
    /// Why its circuit opened last.
    reason: Mutex<Option<Reason>>,
    /// Until when a limit is waited for, in milliseconds; 0 if there is none.
    cooling: AtomicU64,
    /// Until when the key is not tried because it was refused; 0 if it was not.
    refused: AtomicU64,
    under_way: AtomicU32,
    /// How soon answers begin, microseconds, as an average that forgets; 0 before the first.
    first_part: AtomicU64,
    /// How soon they usually begin, where the number of calls adapts to it.
    usual: Usual,
    asked: AtomicU64,
    failed: AtomicU64,
    limited: AtomicU64,
}

impl Standing {
    fn new(model: &str, provider: Arc<Provider>) -> Self {
        static USUAL: LazyLock<Arc<LimitsById>> = LazyLock::new(|| Arc::new(LimitsById(LIMITS)));
        Self {
            model: model.into(),
            provider,
            watched: Watched::new(Arc::new(Circuit::new(*ORIGIN)), Arc::clone(&USUAL)),
            reason: Mutex::default(),
            cooling: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            under_way: AtomicU32::new(0),
            first_part: AtomicU64::new(0),
            usual: Usual::default(),
            asked: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            limited: AtomicU64::new(0),
        }
    }

    /// Would nothing be lost with it?
    fn is_forgettable(&self) -> bool {
        self.watched.circuit().is_closed()
            && self.refused.load(RELAXED) == 0
            && self.cooling.load(RELAXED) == 0
    }

    /// May it be asked?
    pub fn fitness(&self, now: Instant) -> Fitness {
        let time = milliseconds(now);
        let left = |until: u64| Duration::from_millis(until.saturating_sub(time));
        match self.refused.load(RELAXED) {
            NEVER => return Fitness::Refused(None),
            until if until > time => return Fitness::Refused(Some(left(until))),
            _ => {}
        }
        let cooling = self.cooling.load(RELAXED);
        if cooling > time {
            return Fitness::Cooling(left(cooling));
        }
        let report = self.watched.report(now);
        match report.phase {
            Phase::Closed => Fitness::Ready,
            Phase::Open if report.left.is_zero() => Fitness::Ready,
            Phase::Open => Fitness::Open(report.left),
            Phase::HalfOpen if self.watched.admits(now) => Fitness::Ready,
            Phase::HalfOpen => Fitness::Probing,
        }
    }

    fn reason(&self) -> Option<Reason> {
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_turn(&self, turn: Option<&Turn>) {
        if let Some(Turn::Opened(reason)) = turn {
            *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = Some(*reason);
        }
    }

    /// Calls under way.
    pub fn under_way(&self) -> u32 {
        self.under_way.load(RELAXED)
    }

    /// How soon its answers begin, lately.
    pub fn first_part(&self) -> Option<Duration> {
        let first_part = self.first_part.load(RELAXED);
        (first_part > 0).then(|| Duration::from_micros(first_part))
    }

    /// Of a hundred calls that could go elsewhere, how many it gets: fewer when it only just recovered,
    /// or what made it fail comes back with all of them.
    pub fn share(&self, now: Instant) -> u64 {
        let Some(closed) = self.watched.closed_at() else {
            return 100;
        };
        let since = now.saturating_duration_since(closed).min(RETURNING);
        10 + 90 * since.as_millis() as u64 / RETURNING.as_millis() as u64
    }

    /// A call begins, if it may; at most `most` are under way at its provider, unless that is 0. Nobody
    /// overtakes those who wait.
    pub fn enter(self: &Arc<Self>, most: u32, now: Instant) -> Result<Trial, Unfit> {
        match most > 0 && !self.provider.queue.is_empty() {
            true => Err(match self.fitness(now) {
                Fitness::Ready => Unfit::Busy,
                fitness => Unfit::Fitness(fitness),
            }),
            false => self.enter_waited(most, now),
        }
    }

    /// As [`Self::enter`], for one that has waited.
    pub fn enter_waited(self: &Arc<Self>, most: u32, now: Instant) -> Result<Trial, Unfit> {
        let fitness = self.fitness(now);
        if fitness != Fitness::Ready {
            return Err(Unfit::Fitness(fitness));
        }
        let more = |under_way: u32| (most == 0 || under_way < most).then_some(under_way + 1);
        let provider = &self.provider.under_way;
        if provider.fetch_update(RELAXED, RELAXED, more).is_err() {
            return Err(Unfit::Busy);
        }
        let Some(pass) = self.watched.enter(now) else {
            provider.fetch_sub(1, RELAXED);
            return Err(Unfit::Fitness(Fitness::Probing));
        };
        self.under_way.fetch_add(1, RELAXED);
        self.asked.fetch_add(1, RELAXED);
        Ok(Trial {
            standing: Arc::clone(self),
            pass: Some(pass),
            began: now,
            measured: None,
        })
    }
}

/// Why a call may not go there now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unfit {
    /// As it stands.
    Fitness(Fitness),
    /// It has as many calls as it may.
    Busy,
}

/// A call under way. Dropped, it says nothing about who was asked: the client left.
#[derive(Debug)]
pub struct Trial {
    standing: Arc<Standing>,
    pass: Option<Pass>,
    began: Instant,
    /// Where the number of calls adapts: its bounds, what this call is compared with, and how many are
    /// under way with it.
    measured: Option<(Bounds, Kind, u32)>,
}

impl Trial {
    /// Its provider's number of calls adapts to what comes of it.
    pub fn measure(&mut self, bounds: Bounds, kind: Kind) {
        let under_way = self.standing.provider.under_way();
        self.measured = Some((bounds, kind, under_way));
    }

    /// Something of worth came.
    pub fn answers(&mut self, now: Instant) -> Option<Turn> {
        let first_part = now.saturating_duration_since(self.began);
        let time = first_part.as_micros() as u64;
        if let Some((bounds, kind, under_way)) = self.measured {
            let sample = Sample {
                kind,
                began: self.began,
                first_part,
                under_way,
            };
            let provider = &self.standing.provider;
            if (provider.most).answered(bounds, &self.standing.usual, sample) {
                provider.queue.call();
            }
        }
        let before = self.standing.first_part.load(RELAXED);
        let average = match before {
            0 => time,
            _ => before - before / 5 + time / 5,
        };
        self.standing.first_part.store(average.max(1), RELAXED);
        self.works(now)
    }

    /// It works, whatever becomes of this call: an error that is the call's own fault is an answer.
    pub fn works(&mut self, now: Instant) -> Option<Turn> {
        self.tell(Some(false), now)
    }

    /// It failed, be it after a part of its answer.
    pub fn fails(&mut self, now: Instant) -> Option<Turn> {
        self.standing.failed.fetch_add(1, RELAXED);
        let turn = match self.pass {
            Some(_) => self.tell(Some(true), now),
            None => (self.standing.watched).leave(Pass::Free, Some(true), now, || Some(())),
        };
        self.standing.note_turn(turn.as_ref());
        turn
    }

    /// It was too much for the provider, which said so or did not answer in time.
    pub fn is_too_much(&self, now: Instant) {
        if let Some((bounds, ..)) = self.measured {
            let most = &self.standing.provider.most;
            most.is_overloaded(bounds, self.began, now);
        }
    }

    /// A limit of the provider's was reached; it may say for how long.
    pub fn is_limited(&mut self, wait: Option<Duration>, now: Instant) {
        self.standing.limited.fetch_add(1, RELAXED);
        self.is_too_much(now);
        self.cools(Some(wait.unwrap_or(USUAL_COOLING)), now);
        self.tell(None, now);
    }

    /// The provider asks to be left alone for a while, if it does.
    pub fn cools(&mut self, wait: Option<Duration>, now: Instant) {
        if let Some(wait) = wait {
            let until = milliseconds(now) + wait.min(LONGEST_COOLING).as_millis() as u64;
            self.standing.cooling.fetch_max(until, RELAXED);
        }
    }

    /// The provider refuses the key: until it is another one, or for a while.
    pub fn is_refused(&mut self, for_good: bool, now: Instant) {
        self.standing.failed.fetch_add(1, RELAXED);
        let until = match for_good {
            true => NEVER,
            false => milliseconds(now) + REFUSED_FOR.as_millis() as u64,
        };
        self.standing.refused.fetch_max(until, RELAXED);
        self.tell(None, now);
    }

    fn tell(&mut self, is_failure: Option<bool>, now: Instant) -> Option<Turn> {
        let pass = self.pass.take()?;
        if is_failure == Some(false) {
            self.standing.refused.store(0, RELAXED);
        }
        (self.standing.watched).leave(pass, is_failure, now, || Some(()))
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if let Some(pass) = self.pass.take() {
            (self.standing.watched).leave(pass, None, *ORIGIN, || Some(()));
        }
        self.standing.under_way.fetch_sub(1, RELAXED);
        let provider = &self.standing.provider;
        provider.under_way.fetch_sub(1, RELAXED);
        // Who joins the queue at this moment either sees that there is room, or is seen here.
        fence(Ordering::SeqCst);
        provider.queue.call();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene() -> (Standings, Arc<Key>, Instant) {
        let standings = Standings::default();
        let key = standings.provider("one").key(7, "env:KEY");
        // Times before the origin are as the origin itself.
        (standings, key, *ORIGIN + Duration::from_secs(1))
    }

    fn enter(standing: &Arc<Standing>, now: Instant) -> Trial {
        standing.enter(0, now).expect("it may be asked")
    }

    #[test]
    fn five_failures_in_a_row_open_the_circuit_and_a_probe_closes_it() {
        let (standings, key, now) = scene();
        let standing = key.model("m");
        for failures in 0..5 {
            assert_eq!(standing.fitness(now), Fitness::Ready, "{failures}");
            let turn = enter(&standing, now).fails(now);
            assert_eq!(turn.is_some(), failures == 4);
        }
        assert_eq!(standing.fitness(now), Fitness::Open(LIMITS.open));
        assert_eq!(standings.report(now)[0].share, 0);
        let later = now + LIMITS.open;
        let mut probe = enter(&standing, later);
        assert_eq!(
            standing.enter(0, later).err(),
            Some(Unfit::Fitness(Fitness::Probing))
        );
        assert_eq!(probe.answers(later), Some(Turn::Closed));
        assert_eq!(standing.fitness(later), Fitness::Ready);
        assert_eq!(standing.share(later), 10);
        assert_eq!(standing.share(later + RETURNING / 2), 55);
        assert_eq!(standing.share(later + RETURNING), 100);
        let report = standings.report(later);
        assert_eq!(
            (report[0].share, report[0].reason),
            (10, Some(Reason::InARow(5)))
        );
        // Another model of the same key was never touched.
        assert_eq!(key.model("other").fitness(now), Fitness::Ready);
    }

    #[test]
    fn after_an_outage_calls_come_back_little_by_little_behind_one_probe() {
        let (_standings, key, now) = scene();
        let standing = key.model("m");
        for _ in 0..5 {
            enter(&standing, now).fails(now);
        }
        // Nobody is let in for a while, however many come.
        let soon = now + LIMITS.open - Duration::from_millis(1);
        assert!((0..1000).all(|_| standing.enter(0, soon).is_err()));
        // It still fails: one call finds that out, and it is left alone for as long again.
        let mut back = now + LIMITS.open;
        let mut probe = enter(&standing, back);
        assert!((0..1000).all(|_| standing.enter(0, back).is_err()));
        probe.fails(back);
        drop(probe);
        assert!(matches!(standing.fitness(back), Fitness::Open(_)));
        back += LIMITS.open;
        enter(&standing, back).answers(back);
        let shares = [0, 10, 20, 30, 40].map(|seconds| {
            let now = back + Duration::from_secs(seconds);
            // As calls are drawn among those who may answer.
            (0..1000)
                .filter(|pick| pick % 100 < standing.share(now))
                .count()
        });
        assert_eq!(shares, [100, 400, 700, 1000, 1000]);
    }

    #[test]
    fn half_of_ten_calls_that_fail_open_the_circuit() {
        let (_standings, key, now) = scene();
        let standing = key.model("m");
        for call in 0..10 {
            assert_eq!(standing.fitness(now), Fitness::Ready, "{call}");
            let mut trial = enter(&standing, now);
            match call % 2 {
                0 => drop(trial.works(now)),
                _ => drop(trial.fails(now)),
            }
        }
        assert!(matches!(standing.fitness(now), Fitness::Open(_)));
    }

    #[test]
    fn a_stream_that_breaks_off_after_it_began_counts_as_a_failure() {
        let (_standings, key, now) = scene();
        let standing = key.model("m");
        for _ in 0..5 {
            let mut trial = enter(&standing, now);
            trial.answers(now);
            trial.fails(now);
        }
        assert!(matches!(standing.fitness(now), Fitness::Open(_)));
    }

    #[test]
    fn a_limit_is_waited_for_and_never_opens_the_circuit() {
        let (_standings, key, now) = scene();
        let standing = key.model("m");
        for _ in 0..50 {
            let mut trial = enter(&standing, now + Duration::from_secs(0));
            trial.is_limited(Some(Duration::ZERO), now);
        }
        assert_eq!(standing.fitness(now), Fitness::Ready);
        let second = Duration::from_secs(1);
        enter(&standing, now).is_limited(Some(3 * second), now);
        assert_eq!(standing.fitness(now), Fitness::Cooling(3 * second));
        assert_eq!(standing.fitness(now + 3 * second), Fitness::Ready);
        enter(&standing, now + 3 * second).is_limited(Some(Duration::from_secs(1 << 40)), now);
        assert_eq!(standing.fitness(now), Fitness::Cooling(LONGEST_COOLING));
    }

    #[test]
    fn a_key_that_is_refused_stays_refused_and_its_successor_is_asked() {
        let (standings, key, now) = scene();
        let standing = key.model("m");
        enter(&standing, now).is_refused(true, now);
        let later = now + Duration::from_secs(1 << 20);
        assert_eq!(standing.fitness(later), Fitness::Refused(None));
        let provider = standings.provider("one");
        assert_eq!(
            provider.key(7, "env:KEY").model("m").fitness(later),
            Fitness::Refused(None),
            "the same key of a new configuration"
        );
        let next = provider.key(8, "env:KEY");
        assert_eq!(next.model("m").fitness(now), Fitness::Ready);

        let poor = next.model("dear");
        enter(&poor, now).is_refused(false, now);
        assert_eq!(poor.fitness(now), Fitness::Refused(Some(REFUSED_FOR)));
        assert_eq!(poor.fitness(now + REFUSED_FOR), Fitness::Ready);
    }

    #[test]
    fn who_leaves_says_nothing_and_gives_its_place_back() {
        let (_standings, key, now) = scene();
        let standing = key.model("m");
        for _ in 0..20 {
            drop(enter(&standing, now));
        }
        assert_eq!(standing.fitness(now), Fitness::Ready);
        let held = standing.enter(2, now).expect("the first");
        let other = key.model("other");
        let second = other.enter(2, now).expect("the second");
        assert_eq!(standing.enter(2, now).err(), Some(Unfit::Busy));
        drop(second);
        assert!(standing.enter(2, now).is_ok());
        drop(held);
        assert_eq!(standing.under_way(), 0);
    }

    #[test]
    fn nobody_overtakes_those_who_wait_and_each_end_calls_the_next() {
        let (standings, key, now) = scene();
        let provider = standings.provider("one");
        let standing = key.model("m");
        let queue = llm::Queue {
            room: 2,
            bytes: 10,
            timeout: Duration::ZERO,
        };
        let is_called = |waiting: &Waiting| {
            let called = std::pin::pin!(waiting.called());
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            Future::poll(called, &mut context).is_ready()
        };
        let held = standing.enter(1, now).expect("the first");
        let first = provider.join(&queue, 4).expect("there is room");
        assert!(provider.join(&queue, 7).is_none(), "too many bytes");
        let second = provider.join(&queue, 6).expect("there is room");
        assert!(provider.join(&queue, 0).is_none(), "too many calls");
        assert_eq!((provider.waiting(), is_called(&first)), (2, false));
        drop(held);
        assert_eq!(standing.enter(1, now).err(), Some(Unfit::Busy));
        assert!(is_called(&first));
        let held = standing.enter_waited(1, now).expect("it has waited");
        first.begin();
        // There is no room for the next, which was called all the same: it waits on.
        assert!(is_called(&second));
        assert_eq!(standing.enter_waited(1, now).err(), Some(Unfit::Busy));
        second.wait_on();
        assert!(!is_called(&second));
        drop(held);
        assert!(is_called(&second));
        drop(second);
        assert_eq!(provider.waiting(), 0);
        assert!(standing.enter(1, now).is_ok());
        assert!(provider.join(&queue, 10).is_some());
    }

    #[test]
    fn retries_are_a_fifth_of_the_calls_or_ten_in_a_second() {
        let (standings, _key, now) = scene();
        let provider = standings.provider("one");
        let retries = |now| (0..1000).filter(|_| provider.may_retry(now)).count();
        assert_eq!(retries(now), 10);
        let later = now + Duration::from_secs(10);
        for _ in 0..200 {
            provider.note_call(later);
        }
        assert_eq!(retries(later), 40);
    }

    #[test]
    fn the_report_tells_of_everybody_and_what_nobody_uses_is_forgotten() {
        let (standings, key, now) = scene();
        enter(&key.model("b"), now).answers(now + Duration::from_millis(30));
        let under_way = enter(&key.model("a"), now);
        let report = standings.report(now);
        let told: Vec<_> = (report.iter())
            .map(|one| (&*one.provider, &*one.key, &*one.model, one.under_way))
            .collect();
        let expected = [("one", "env:KEY", "a", 1), ("one", "env:KEY", "b", 0)];
        assert_eq!(told, expected);
        assert_eq!(report[1].first_part, Some(Duration::from_millis(30)));
        for number in 0..2 * MOST_MODELS {
            key.model(&number.to_string());
        }
        assert!(standings.report(now).len() <= MOST_MODELS);
        drop((under_way, key));
        assert_eq!(standings.report(now), []);
    }
}
