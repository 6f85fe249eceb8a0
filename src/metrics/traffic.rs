//! What was asked of each route and of each peer.
//!
//! Routes and peers have small numbers, given out once for a name and kept for as long as the
//! process runs, over reloads too, so that no total ever goes back. Each worker thread has a page of
//! its own with a tally for each route and peer that it had to do with; it alone writes there, with
//! plain loads and stores, and finds the tally by the number: on the way of a request nothing is
//! locked, allocated (but for the first request of a route) or compared. The page of a thread that
//! ended is added to a page that belongs to nobody.
//!
//! How much is kept is bounded: see [`MOST_KEYS`].

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;

use super::histogram::{Histogram, Snapshot};
use super::registry::Counter;

/// So many routes have numbers of their own, and so many peers; all that come later share
/// [`RouteId::OTHER`] and [`PeerId::OTHER`].
pub const MOST_KEYS: usize = 20_000;

/// Of the peers' numbers, so many may be of addresses that were computed from requests: clients
/// may have a say in those.
const MOST_COMPUTED: usize = 2_000;

/// Of the name of a computed upstream, so many bytes are kept.
const COMPUTED_NAME: usize = 255;

/// The number of a route.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RouteId(pub u32);

impl RouteId {
    /// Routes beyond [`MOST_KEYS`].
    pub const OTHER: Self = Self(0);
}

/// The number of a peer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PeerId(pub u32);

impl PeerId {
    /// Peers beyond [`MOST_KEYS`].
    pub const OTHER: Self = Self(0);
}

/// What a route is known by.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct RouteKey {
    /// The first name of the server; empty if it has none.
    pub server: Box<str>,
    /// The first address that the server listens at.
    pub listen: Box<str>,
    /// The location as written: `/api/`, `= /x`, `~ \.php$`, `@name`; empty for the server itself.
    pub location: Box<str>,
}

/// What a peer is known by.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PeerKey {
    /// The name of its upstream.
    pub upstream: Box<str>,
    /// Its address.
    pub address: Box<str>,
}

/// A request or an attempt that ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// The status of the answer; 0 if there was none.
    pub status: u16,
    /// Bytes that came in: from the client, or from the peer.
    pub received: u64,
    /// Bytes that went out.
    pub sent: u64,
    /// How long it took, in nanoseconds.
    pub time: u64,
    /// Of this, what passed with peers.
    pub upstream_time: u64,
    /// A request for which a cache was looked into: was the answer there? `None` for attempts.
    pub was_cached: Option<bool>,
}

/// What few requests have to do with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Besides {
    /// Somebody said who they are and could not prove it.
    pub failed_logins: u64,
    /// Bytes of bodies before they were compressed.
    pub unpacked: u64,
    /// And after.
    pub packed: u64,
}

/// The number of a route; the same for the same key.
pub fn route_id(key: RouteKey) -> RouteId {
    RouteId(LEDGER.names.lock().routes.number(key))
}

/// The number of a peer of an upstream that the configuration names; the same for the same key.
pub fn peer_id(key: PeerKey) -> PeerId {
    PeerId(LEDGER.names.lock().peers.number(key))
}

/// The number of a peer whose upstream was computed from a request.
pub fn computed_peer_id(key: PeerKey) -> PeerId {
    LEDGER.names.lock().computed_peer(key)
}

/// Counts a request that ended.
pub fn count_request(route: RouteId, ended: &Ended) {
    with(|writer| writer.count_request(route, ended));
}

/// Counts what few requests have to do with, before [`count_request`] counts the request itself.
pub fn count_besides(route: RouteId, besides: &Besides) {
    with(|writer| {
        with_slot(&writer.routes, &writer.page.routes, route.0, |tally| {
            tally.failed_logins.add(besides.failed_logins);
            tally.unpacked.add(besides.unpacked);
            tally.packed.add(besides.packed);
        });
    });
}

/// Counts an attempt at a peer that ended.
pub fn count_attempt(peer: PeerId, ended: &Ended) {
    with(|writer| writer.count_attempt(peer, ended));
}

/// A peer is in use by one more request, until [`end_use`].
pub fn begin_use(peer: PeerId) {
    with_peer(peer, |peer| peer.active.increase());
}

/// A request is through with a peer; has the peer failed, as the balancer sees it?
pub fn end_use(peer: PeerId, has_failed: bool) {
    with_peer(peer, |peer| {
        peer.active.decrease();
        if has_failed {
            peer.failures.increase();
        }
    });
}

/// A peer is left out until a moment of [`crate::unit::clock::milliseconds`]; by this worker, or, if
/// the workers share the balance, by all.
pub fn leave_out(peer: PeerId, is_shared: bool, until: u64) {
    match is_shared {
        false => with_peer(peer, |peer| peer.left_out_until.store(until, READ)),
        true => {
            let mut workers = LEDGER.workers.lock();
            let peer = workers.nobody.peers.slot(peer.0);
            peer.left_out_until.store(until, READ);
        }
    }
}

/// A peer is not left out any more.
pub fn take_in(peer: PeerId, is_shared: bool) {
    leave_out(peer, is_shared, 0);
}

/// A connection to a peer that is kept, counted while this lives.
#[derive(Debug)]
pub struct Kept(PeerId);

impl Kept {
    /// One more.
    pub fn new(peer: PeerId) -> Self {
        with_peer(peer, |peer| peer.idle.increase());
        Self(peer)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        with_peer(self.0, |peer| peer.idle.decrease());
    }
}

/// The numbers of this process.
pub fn ledger() -> &'static Ledger {
    &LEDGER
}

/// All pages, and the names.
#[derive(Debug, Default)]
pub struct Ledger {
    names: Mutex<Names>,
    workers: Mutex<Workers>,
}

/// What was counted for a route or a peer, over all workers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Requests or attempts.
    pub count: u64,
    /// By the hundreds of their status: without one, 1xx, to 5xx.
    pub statuses: [u64; 6],
    /// See [`Ended::received`].
    pub received: u64,
    /// See [`Ended::sent`].
    pub sent: u64,
    /// The sum of [`Ended::time`].
    pub time: u64,
    /// The sum of [`Ended::upstream_time`].
    pub upstream_time: u64,
    /// Those for which a cache was looked into.
    pub looked_up: u64,
    /// Of these, those whose answer was there.
    pub cached: u64,
    /// See [`count_besides`].
    pub besides: Besides,
    /// How long they took.
    pub latency: Snapshot,
}

/// How a peer does now, over all workers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PeerGauges {
    /// What the balancer took for a failure, since the start.
    pub failures: u64,
    /// Requests under way.
    pub active: u64,
    /// Connections kept.
    pub idle: u64,
    /// Workers that leave it out because it failed.
    pub left_out: u32,
}

impl Ledger {
    /// The key of a route.
    pub fn route(&self, id: RouteId) -> Option<Arc<RouteKey>> {
        self.names.lock().routes.key(id.0)
    }

    /// The key of a peer.
    pub fn peer(&self, id: PeerId) -> Option<Arc<PeerKey>> {
        self.names.lock().peers.key(id.0)
    }

    /// All routes that had requests, by number.
    pub fn routes(&self) -> Vec<(RouteId, Totals)> {
        let mut counts = Vec::new();
        let workers = self.workers.lock();
        let slots: Vec<_> = workers.all().map(|page| &page.routes).collect();
        let changed = changed(&slots, &mut counts, RouteId, |tally| tally, |_| 0);
        changed
            .into_iter()
            .map(|change| (change.id, change.totals))
            .collect()
    }

    /// All peers that had anything to do, by number.
    pub fn peers(&self, now: u64) -> Vec<(PeerId, Totals, PeerGauges)> {
        let gauges = self.gauges(now);
        let workers = self.workers.lock();
        let slots: Vec<_> = workers.all().map(|page| &page.peers).collect();
        let mut counts = Vec::new();
        let changed = changed(&slots, &mut counts, PeerId, |peer| &peer.tally, |_| 0);
        let mut changed = changed.into_iter().peekable();
        gauges
            .into_iter()
            .map(|(id, gauges)| {
                let found = changed.next_if(|change| change.id == id);
                let totals = found.map(|change| change.totals).unwrap_or_default();
                (id, totals, gauges)
            })
            .collect()
    }

    /// The routes whose count is another one than in `counts` (by number), which is brought up to
    /// date. Only one reader may ask: it takes the longest times away.
    pub(super) fn changed_routes(&self, counts: &mut Vec<u64>) -> Vec<Change<RouteId>> {
        let workers = self.workers.lock();
        let slots: Vec<_> = workers.all().map(|page| &page.routes).collect();
        changed(&slots, counts, RouteId, |tally| tally, take)
    }

    /// As [`Self::changed_routes`].
    pub(super) fn changed_peers(&self, counts: &mut Vec<u64>) -> Vec<Change<PeerId>> {
        let workers = self.workers.lock();
        let slots: Vec<_> = workers.all().map(|page| &page.peers).collect();
        changed(&slots, counts, PeerId, |peer| &peer.tally, take)
    }

    /// How the peers do at a moment of [`crate::unit::clock::milliseconds`], by number.
    pub(super) fn gauges(&self, now: u64) -> Vec<(PeerId, PeerGauges)> {
        let workers = self.workers.lock();
        let mut found: Vec<Option<PeerGauges>> = Vec::new();
        for (page, stands_for) in workers.all().zip(workers.stand_for()) {
            for (number, peer) in &*page.peers.0.lock() {
                let position = *number as usize;
                if found.len() <= position {
                    found.resize(position + 1, None);
                }
                let sum = found[position].get_or_insert_default();
                sum.failures = sum.failures.wrapping_add(peer.failures.value());
                sum.active = sum.active.wrapping_add(peer.active.value());
                sum.idle = sum.idle.wrapping_add(peer.idle.value());
                if peer.left_out_until.load(READ) > now {
                    sum.left_out = sum.left_out.saturating_add(stands_for);
                }
            }
        }
        (0..)
            .zip(found)
            .filter_map(|(number, gauges)| Some((PeerId(number), gauges?)))
            .collect()
    }

    /// How much of the time of all requests was ours.
    pub(super) fn own_time(&self) -> Snapshot {
        let mut sum = Snapshot::default();
        for page in self.workers.lock().all() {
            page.own_time.add_to(&mut sum);
        }
        sum
    }

    /// A page for the thread that calls.
    pub(super) fn writer(&'static self) -> Writer {
        let page = Arc::new(Page::default());
        self.workers.lock().pages.push(Arc::clone(&page));
        Writer {
            ledger: self,
            page,
            routes: RefCell::default(),
            peers: RefCell::default(),
        }
    }
}

/// A route or peer for which something was counted.
#[derive(Debug)]
pub(super) struct Change<I> {
    pub(super) id: I,
    pub(super) totals: Totals,
    /// The greatest time in nanoseconds since this was asked last.
    pub(super) longest: u64,
}

const READ: Ordering = Ordering::Relaxed;

static LEDGER: LazyLock<Ledger> = LazyLock::new(Ledger::default);

thread_local! {
    static MINE: Writer = LEDGER.writer();
}

fn with(run: impl FnOnce(&Writer)) {
    // Fails only while the thread ends, when nobody asks for the numbers of what is dropped.
    let _ = MINE.try_with(run);
}

fn with_peer(peer: PeerId, run: impl FnOnce(&PeerTally)) {
    with(|writer| writer.with_peer(peer, run));
}

/// A thread's way to its tallies.
#[derive(Debug)]
pub(super) struct Writer {
    ledger: &'static Ledger,
    page: Arc<Page>,
    /// By number.
    routes: Found<Tally>,
    peers: Found<PeerTally>,
}

impl Writer {
    /// See [`count_request`].
    pub(super) fn count_request(&self, route: RouteId, ended: &Ended) {
        with_slot(&self.routes, &self.page.routes, route.0, |tally| {
            tally.count(ended)
        });
        let own = ended.time.saturating_sub(ended.upstream_time);
        self.page.own_time.record(own);
    }

    /// See [`count_attempt`].
    pub(super) fn count_attempt(&self, peer: PeerId, ended: &Ended) {
        self.with_peer(peer, |peer| peer.tally.count(ended));
    }

    pub(super) fn with_peer(&self, peer: PeerId, run: impl FnOnce(&PeerTally)) {
        with_slot(&self.peers, &self.page.peers, peer.0, run);
    }
}

/// What a thread found among its slots, by number.
type Found<T> = RefCell<Vec<Option<Arc<T>>>>;

/// Runs with one of this thread's tallies, which is made when it is first asked for.
fn with_slot<T: Default>(found: &Found<T>, slots: &Slots<T>, number: u32, run: impl FnOnce(&T)) {
    let known = found.borrow();
    if let Some(Some(slot)) = known.get(number as usize) {
        return run(slot);
    }
    drop(known);
    run(&make_slot(found, slots, number));
}

#[cold]
fn make_slot<T: Default>(found: &Found<T>, slots: &Slots<T>, number: u32) -> Arc<T> {
    let made = Arc::new(T::default());
    slots.0.lock().push((number, Arc::clone(&made)));
    let mut found = found.borrow_mut();
    let position = number as usize;
    if found.len() <= position {
        found.resize(position + 1, None);
    }
    found[position] = Some(Arc::clone(&made));
    made
}

impl Drop for Writer {
    fn drop(&mut self) {
        let workers = &mut *self.ledger.workers.lock();
        workers.pages.retain(|page| !Arc::ptr_eq(page, &self.page));
        for (number, tally) in &*self.page.routes.0.lock() {
            workers.nobody.routes.slot(*number).add(tally);
        }
        for (number, peer) in &*self.page.peers.0.lock() {
            let sum = workers.nobody.peers.slot(*number);
            sum.tally.add(&peer.tally);
            sum.failures.add(peer.failures.value());
        }
        let mut own_time = Snapshot::default();
        self.page.own_time.add_to(&mut own_time);
        workers.nobody.own_time.add(&own_time);
    }
}

#[derive(Debug, Default)]
struct Workers {
    /// Of the threads that run.
    pages: Vec<Arc<Page>>,
    /// Of those that ended; written under the lock.
    nobody: Page,
}

impl Workers {
    fn all(&self) -> impl Iterator<Item = &Page> {
        self.pages
            .iter()
            .map(|page| &**page)
            .chain(std::iter::once(&self.nobody))
    }

    /// For how many workers each of [`Self::all`] speaks.
    fn stand_for(&self) -> impl Iterator<Item = u32> {
        let all = u32::try_from(self.pages.len()).unwrap_or(u32::MAX);
        std::iter::repeat_n(1, self.pages.len()).chain(std::iter::once(all))
    }
}

/// The numbers of one worker.
#[derive(Debug, Default)]
struct Page {
    routes: Slots<Tally>,
    peers: Slots<PeerTally>,
    own_time: Histogram,
}

/// Tallies with their numbers. The lock is taken to add one and to read, not to count.
#[derive(Debug)]
struct Slots<T>(Mutex<Vec<(u32, Arc<T>)>>);

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Default> Slots<T> {
    /// The slot of a number, made where it lacks; for a page of which all slots are made so, which
    /// keeps them in order.
    fn slot(&mut self, number: u32) -> &T {
        let slots = self.0.get_mut();
        let position = match slots.binary_search_by_key(&number, |(known, _)| *known) {
            Ok(position) => position,
            Err(position) => {
                slots.insert(position, (number, Arc::default()));
                position
            }
        };
        &slots[position].1
    }
}

/// What is counted for a route or a peer.
#[derive(Debug, Default)]
struct Tally {
    /// Written last: who has seen it has seen the others.
    count: AtomicU64,
    statuses: [Counter; 6],
    received: Counter,
    sent: Counter,
    time: Counter,
    upstream_time: Counter,
    looked_up: Counter,
    cached: Counter,
    failed_logins: Counter,
    unpacked: Counter,
    packed: Counter,
    longest: AtomicU64,
    latency: Histogram,
}

impl Tally {
    fn count(&self, ended: &Ended) {
        self.statuses[usize::from(ended.status / 100).min(5)].increase();
        self.received.add(ended.received);
        self.sent.add(ended.sent);
        self.time.add(ended.time);
        self.upstream_time.add(ended.upstream_time);
        if let Some(was_cached) = ended.was_cached {
            self.looked_up.increase();
            if was_cached {
                self.cached.increase();
            }
        }
        // The one reader that sets it back may do so in between; then this time is either told now
        // or is not the longest of what was just told.
        if ended.time > self.longest.load(READ) {
            self.longest.store(ended.time, Ordering::Relaxed);
        }
        self.latency.record(ended.time);
        let count = self.count.load(READ).wrapping_add(1);
        self.count.store(count, Ordering::Release);
    }

    fn add(&self, other: &Self) {
        let mut counted = Totals::default();
        other.add_to(&mut counted);
        for (sum, count) in self.statuses.iter().zip(counted.statuses) {
            sum.add(count);
        }
        self.received.add(counted.received);
        self.sent.add(counted.sent);
        self.time.add(counted.time);
        self.upstream_time.add(counted.upstream_time);
        self.looked_up.add(counted.looked_up);
        self.cached.add(counted.cached);
        self.failed_logins.add(counted.besides.failed_logins);
        self.unpacked.add(counted.besides.unpacked);
        self.packed.add(counted.besides.packed);
        self.latency.add(&counted.latency);
        let longest = self.longest.load(READ).max(other.longest.load(READ));
        self.longest.store(longest, Ordering::Relaxed);
        let count = self.count.load(READ).wrapping_add(counted.count);
        self.count.store(count, Ordering::Release);
    }

    fn add_to(&self, sum: &mut Totals) {
        let add = |sum: &mut u64, count: u64| *sum = sum.wrapping_add(count);
        add(&mut sum.count, self.count.load(Ordering::Acquire));
        for (sum, count) in sum.statuses.iter_mut().zip(&self.statuses) {
            add(sum, count.value());
        }
        add(&mut sum.received, self.received.value());
        add(&mut sum.sent, self.sent.value());
        add(&mut sum.time, self.time.value());
        add(&mut sum.upstream_time, self.upstream_time.value());
        add(&mut sum.looked_up, self.looked_up.value());
        add(&mut sum.cached, self.cached.value());
        add(&mut sum.besides.failed_logins, self.failed_logins.value());
        add(&mut sum.besides.unpacked, self.unpacked.value());
        add(&mut sum.besides.packed, self.packed.value());
        self.latency.add_to(&mut sum.latency);
    }
}

/// What is counted for a peer besides.
#[derive(Debug, Default)]
pub(super) struct PeerTally {
    tally: Tally,
    pub(super) failures: Counter,
    pub(super) active: Counter,
    pub(super) idle: Counter,
    pub(super) left_out_until: AtomicU64,
}

/// What stood there, and zero from now on.
fn take(longest: &AtomicU64) -> u64 {
    let told = longest.load(READ);
    longest.store(0, Ordering::Relaxed);
    told
}

/// See [`Ledger::changed_routes`]: cheap where nothing changed.
fn changed<T, I>(
    pages: &[&Slots<T>],
    counts: &mut Vec<u64>,
    id: impl Fn(u32) -> I,
    tally: impl Fn(&T) -> &Tally,
    longest: impl Fn(&AtomicU64) -> u64,
) -> Vec<Change<I>> {
    let mut sums = vec![0_u64; counts.len()];
    for slots in pages {
        for (number, slot) in &*slots.0.lock() {
            let position = *number as usize;
            if sums.len() <= position {
                sums.resize(position + 1, 0);
            }
            let count = tally(slot).count.load(Ordering::Acquire);
            sums[position] = sums[position].wrapping_add(count);
        }
    }
    counts.resize(sums.len(), 0);
    let mut changes = Vec::new();
    // By number, where in `changes`.
    let mut places = vec![None; sums.len()];
    for (position, (sum, known)) in sums.iter().zip(&*counts).enumerate() {
        if sum != known {
            places[position] = Some(changes.len());
            changes.push(Change {
                id: id(position as u32),
                totals: Totals::default(),
                longest: 0,
            });
        }
    }
    if changes.is_empty() {
        return changes;
    }
    for slots in pages {
        for (number, slot) in &*slots.0.lock() {
            let Some(Some(place)) = places.get(*number as usize) else {
                continue;
            };
            let change: &mut Change<I> = &mut changes[*place];
            let tally = tally(slot);
            tally.add_to(&mut change.totals);
            change.longest = change.longest.max(longest(&tally.longest));
        }
    }
    for (position, place) in places.iter().enumerate() {
        if let Some(place) = place {
            counts[position] = changes[*place].totals.count;
        }
    }
    changes
}

#[derive(Debug)]
struct Names {
    routes: Numbers<RouteKey>,
    peers: Numbers<PeerKey>,
    /// How many of the peers were computed.
    computed: usize,
}

impl Default for Names {
    fn default() -> Self {
        let other = || Box::from("other");
        Self {
            routes: Numbers::new(RouteKey {
                server: other(),
                listen: other(),
                location: other(),
            }),
            peers: Numbers::new(PeerKey {
                upstream: other(),
                address: other(),
            }),
            computed: 0,
        }
    }
}

impl Names {
    fn computed_peer(&mut self, mut key: PeerKey) -> PeerId {
        if key.upstream.len() > COMPUTED_NAME {
            let end = key.upstream.floor_char_boundary(COMPUTED_NAME);
            key.upstream = key.upstream[..end].into();
        }
        if let Some(number) = self.peers.numbers.get(&key) {
            return PeerId(*number);
        }
        if self.computed >= MOST_COMPUTED {
            return PeerId::OTHER;
        }
        self.computed += 1;
        PeerId(self.peers.number(key))
    }
}

/// Keys and the numbers given out for them.
#[derive(Debug)]
struct Numbers<K> {
    numbers: HashMap<Arc<K>, u32>,
    keys: Vec<Arc<K>>,
}

impl<K: Eq + Hash> Numbers<K> {
    /// The key of what shares the number 0.
    fn new(other: K) -> Self {
        let other = Arc::new(other);
        Self {
            numbers: HashMap::from([(Arc::clone(&other), 0)]),
            keys: vec![other],
        }
    }

    fn number(&mut self, key: K) -> u32 {
        if let Some(number) = self.numbers.get(&key) {
            return *number;
        }
        if self.keys.len() > MOST_KEYS {
            return 0;
        }
        let number = self.keys.len() as u32;
        let key = Arc::new(key);
        self.keys.push(Arc::clone(&key));
        self.numbers.insert(key, number);
        number
    }

    fn key(&self, number: u32) -> Option<Arc<K>> {
        self.keys.get(number as usize).cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const MILLISECOND: u64 = 1_000_000;

    fn of(status: u16, time: u64) -> Ended {
        Ended {
            status,
            received: 10,
            sent: 1000,
            time,
            upstream_time: time / 2,
            was_cached: None,
        }
    }

    fn own_ledger() -> &'static Ledger {
        Box::leak(Box::default())
    }

    fn key(location: &str) -> RouteKey {
        RouteKey {
            server: "example.org".into(),
            listen: "0.0.0.0:80".into(),
            location: location.into(),
        }
    }

    #[test]
    fn a_key_has_one_number_for_ever_and_the_number_tells_the_key() {
        let one = route_id(key("/traffic/one"));
        let two = route_id(key("/traffic/two"));
        assert_ne!(one, two);
        assert_eq!(route_id(key("/traffic/one")), one);
        assert_eq!(ledger().route(two).as_deref(), Some(&key("/traffic/two")));
        assert_eq!(ledger().route(RouteId(u32::MAX)), None);
    }

    #[test]
    fn keys_beyond_the_limit_share_a_number_and_those_known_keep_theirs() {
        let mut names = Names::default();
        let first = names.routes.number(key("/0"));
        for number in 1..MOST_KEYS + 50 {
            names.routes.number(key(&format!("/{number}")));
        }
        assert_eq!(RouteId(names.routes.number(key("/new"))), RouteId::OTHER);
        assert_eq!(names.routes.number(key("/0")), first);
        assert_eq!(names.routes.keys.len(), MOST_KEYS + 1);
    }

    #[test]
    fn computed_upstreams_cannot_use_up_the_numbers_of_the_others() {
        let mut names = Names::default();
        let peer = |upstream: String| PeerKey {
            upstream: upstream.into(),
            address: "192.0.2.1:80".into(),
        };
        for number in 0..MOST_COMPUTED {
            assert_ne!(names.computed_peer(peer(number.to_string())), PeerId::OTHER);
        }
        assert_eq!(names.computed_peer(peer("more".into())), PeerId::OTHER);
        assert_ne!(names.computed_peer(peer("7".into())), PeerId::OTHER);
        assert_ne!(names.peers.number(peer("app".into())), 0);
        let mut names = Names::default();
        let long = names.computed_peer(peer("é".repeat(1000)));
        let kept = names.peers.key(long.0).expect("has a number");
        assert_eq!(kept.upstream.len(), 254);
    }

    #[test]
    fn what_threads_counted_adds_up_also_after_their_end() {
        let ledger = own_ledger();
        let writer = ledger.writer();
        writer.count_request(RouteId(3), &of(200, MILLISECOND));
        let mut counts = Vec::new();
        let other = move || {
            let writer = ledger.writer();
            writer.count_request(RouteId(3), &of(502, 3 * MILLISECOND));
            writer.count_request(RouteId(1), &of(0, MILLISECOND));
            writer.count_attempt(PeerId(2), &of(502, MILLISECOND));
            writer.with_peer(PeerId(2), |peer| peer.failures.increase());
        };
        thread::spawn(other).join().expect("the thread ends well");
        thread::spawn(other).join().expect("the thread ends well");
        assert_eq!(ledger.workers.lock().pages.len(), 1, "the ended have none");

        let changed = ledger.changed_routes(&mut counts);
        let [one, three] = &changed[..] else {
            panic!("{changed:?}");
        };
        assert_eq!((one.id, three.id), (RouteId(1), RouteId(3)));
        assert_eq!(one.totals.statuses, [2, 0, 0, 0, 0, 0]);
        assert_eq!(three.totals.statuses, [0, 0, 1, 0, 0, 2]);
        assert_eq!((three.totals.count, three.totals.sent), (3, 3000));
        assert_eq!(three.totals.latency.count(), 3);
        assert_eq!(three.longest, 3 * MILLISECOND);
        assert_eq!(three.totals.time, 7 * MILLISECOND);
        assert_eq!(three.totals.upstream_time, 7 * MILLISECOND / 2);
        assert_eq!(ledger.own_time().count(), 5);
        let [(id, totals, gauges)] = &ledger.peers(0)[..] else {
            panic!("one peer");
        };
        assert_eq!((*id, totals.count, gauges.failures), (PeerId(2), 2, 2));
    }

    #[test]
    fn only_what_moved_since_is_told_and_the_longest_time_once() {
        let ledger = own_ledger();
        let writer = ledger.writer();
        let mut counts = Vec::new();
        writer.count_request(RouteId(1), &of(200, 9));
        writer.count_request(RouteId(2), &of(200, 9));
        assert_eq!(ledger.changed_routes(&mut counts).len(), 2);
        assert!(ledger.changed_routes(&mut counts).is_empty());
        writer.count_request(RouteId(2), &of(200, 4));
        assert_eq!(
            ledger.routes().len(),
            2,
            "asking for all takes nothing away"
        );
        let changed = ledger.changed_routes(&mut counts);
        assert_eq!(changed.len(), 1);
        assert_eq!((changed[0].id, changed[0].longest), (RouteId(2), 4));
        assert_eq!(changed[0].totals.count, 2);
    }

    #[test]
    fn a_peer_is_left_out_by_those_who_say_so_and_for_so_long() {
        let ledger = own_ledger();
        let (one, two) = (ledger.writer(), ledger.writer());
        let until = |writer: &Writer, until| {
            writer.with_peer(PeerId(4), |peer| peer.left_out_until.store(until, READ));
        };
        until(&one, 500);
        until(&two, 900);
        let left_out = |now| ledger.gauges(now)[0].1.left_out;
        assert_eq!([left_out(499), left_out(500), left_out(900)], [2, 1, 0]);
        until(&one, 0);
        until(&two, 0);
        assert_eq!(left_out(0), 0);
    }

    #[test]
    fn a_peer_that_the_workers_share_is_left_out_by_all() {
        let ledger = own_ledger();
        let _workers = [ledger.writer(), ledger.writer(), ledger.writer()];
        let mut workers = ledger.workers.lock();
        let shared = workers.nobody.peers.slot(4);
        shared.left_out_until.store(700, READ);
        drop(workers);
        assert_eq!(ledger.gauges(699)[0].1.left_out, 3);
        assert_eq!(ledger.gauges(700)[0].1.left_out, 0);
    }

    #[test]
    fn gauges_go_down_when_what_they_count_is_over() {
        let peer = peer_id(PeerKey {
            upstream: "gauges_go_down".into(),
            address: "192.0.2.1:80".into(),
        });
        let gauges = || {
            let all = ledger().gauges(0);
            let found = all.into_iter().find(|(id, _)| *id == peer);
            found.map(|(_, gauges)| (gauges.active, gauges.idle, gauges.failures))
        };
        begin_use(peer);
        begin_use(peer);
        let kept = Kept::new(peer);
        assert_eq!(gauges(), Some((2, 1, 0)));
        drop(kept);
        end_use(peer, true);
        end_use(peer, false);
        assert_eq!(gauges(), Some((0, 0, 1)));
    }

    #[test]
    fn a_reader_beside_a_writer_never_sees_a_request_twice_or_half() {
        let ledger = own_ledger();
        let thread = thread::spawn(move || {
            let writer = ledger.writer();
            for _ in 0..50_000 {
                writer.count_request(RouteId(1), &of(200, MILLISECOND));
            }
        });
        let mut counts = Vec::new();
        let mut seen = 0;
        while !thread.is_finished() {
            for change in ledger.changed_routes(&mut counts) {
                assert!(change.totals.count > seen);
                assert!(change.totals.latency.count() >= change.totals.count);
                seen = change.totals.count;
            }
        }
        thread.join().expect("the thread ends well");
        ledger.changed_routes(&mut counts);
        assert_eq!(counts[1], 50_000);
    }
}
