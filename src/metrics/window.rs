//! What happened over a time: rates, percentiles and histories, worked out of the workers' totals.
//!
//! One [`Aggregator`] belongs to one thread, which calls [`Aggregator::tick`] once a second and asks
//! whatever it is asked. Time is passed in. A tick reads one number per route and worker, and the
//! rest only of those that moved. What is kept is bounded by the routes that had requests in the last
//! ten seconds, by [`MOST_RINGS`], and by what nobody has taken with [`Aggregator::take_minute`].

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

use super::histogram::Snapshot;
use super::registry::{self, Counters};
use super::traffic::{
    self, Besides, Change, Ledger, PeerGauges, PeerId, PeerKey, RouteId, RouteKey, Totals,
};
use crate::unit::clock;

/// The figures that say how something does now are of so many seconds.
pub const RECENT: usize = 10;

/// So many routes have a history of their own. One that is new takes the place of the one whose last
/// request is longest ago, if that is at least [`RECENT`] seconds.
pub const MOST_RINGS: usize = 300;

/// The points of a route's history are this long.
const ROUTE_STEP: u32 = 5;

/// A tick that comes sooner than this after the one before, in milliseconds, does nothing.
const LEAST_TICK: u64 = 500;

/// A moment by both clocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Moment {
    /// [`clock::milliseconds`]: what durations are measured by.
    pub milliseconds: u64,
    /// Milliseconds since 1970 in UTC, for people.
    pub unix: u64,
}

impl Moment {
    /// This one.
    pub fn now() -> Self {
        Self {
            milliseconds: clock::milliseconds(),
            unix: clock::unix().as_millis() as u64,
        }
    }
}

/// Requests or attempts over a time; durations in microseconds.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Traffic {
    /// Per second, over the last second.
    pub rate: f64,
    /// In the last ten seconds, by the hundreds of their status: 1xx to 5xx.
    pub statuses: [u64; 5],
    /// Of the last ten seconds, zero without any.
    pub p50: u64,
    /// As above.
    pub p90: u64,
    /// As above.
    pub p99: u64,
    /// As above.
    pub max: u64,
    /// Bytes per second that came in, over the last ten seconds.
    pub received: f64,
    /// Bytes per second that went out, over the last ten seconds.
    pub sent: f64,
    /// Requests in the last ten seconds for which a cache was looked into.
    pub looked_up: u64,
    /// Of these, those whose answer was there.
    pub cached: u64,
}

/// All requests.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Summary {
    /// When the tick was, in milliseconds since 1970.
    pub at: u64,
    /// What happens.
    pub traffic: Traffic,
    /// Requests being answered.
    pub in_flight: u64,
    /// Clients' connections open.
    pub connections: u64,
    /// Of these, waiting for a request.
    pub idle: u64,
    /// Connections accepted since the start.
    pub accepted: u64,
    /// Requests answered since the start.
    pub total: u64,
    /// The share of requests over HTTP/2 in the last ten seconds, 0 to 1.
    pub http2: f64,
    /// The largest rate per second in the last five minutes.
    pub peak: f64,
    /// Of the time of the requests of the last ten seconds, the share that passed with peers, 0 to 1.
    pub upstream_share: f64,
    /// The 99th percentile of the time that was ours, in the last ten seconds, in microseconds.
    pub own_p99: u64,
    /// Panics since the start.
    pub panics: u64,
    /// Logins that failed or were throttled since the start.
    pub failed_logins: u64,
}

/// The requests of a route.
#[derive(Clone, PartialEq, Debug)]
pub struct RouteTraffic {
    /// Which.
    pub route: RouteId,
    /// Requests since the start.
    pub total: u64,
    /// What few of them had to do with, since the start.
    pub besides: Besides,
    /// What happens.
    pub traffic: Traffic,
}

/// The attempts at a peer. What it sends is `received`.
#[derive(Clone, PartialEq, Debug)]
pub struct PeerTraffic {
    /// Which.
    pub peer: PeerId,
    /// How it does now.
    pub gauges: PeerGauges,
    /// When it was last left out by a first worker or taken in by the last, in milliseconds since
    /// 1970; 0 if it never was.
    pub since: u64,
    /// Attempts since the start.
    pub total: u64,
    /// What happens.
    pub traffic: Traffic,
}

/// How far back a history goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Window {
    /// Five minutes by the second.
    FiveMinutes,
    /// An hour by 15 seconds.
    Hour,
    /// A day by five minutes.
    Day,
}

/// Numbers over a window, oldest first; only as far back as they were taken.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct History {
    /// When the last point ended, in milliseconds since 1970.
    pub at: u64,
    /// How long a point is.
    pub step_seconds: u32,
    /// The points.
    pub points: Vec<Point>,
}

/// One point of a history.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Point {
    /// Requests per second.
    pub rate: f64,
    /// Of these, answered with 5xx.
    pub errors: f64,
    /// Percentiles of the time to answer, in microseconds.
    pub p50: u64,
    /// As above.
    pub p99: u64,
    /// Bytes per second to clients.
    pub sent: f64,
    /// Requests per second for which a cache was looked into.
    pub looked_up: f64,
    /// Of these, those whose answer was there.
    pub cached: f64,
}

/// What passed since the last time this was asked, for those with any.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Minute {
    /// By number.
    pub routes: Vec<(RouteId, Arc<RouteKey>, Passed)>,
    /// By number.
    pub peers: Vec<(PeerId, Arc<PeerKey>, Passed)>,
}

/// Requests or attempts, counted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Passed {
    /// How many.
    pub count: u64,
    /// By the hundreds of their status: 1xx to 5xx. What had none is in none.
    pub statuses: [u64; 5],
    /// Bytes that came in.
    pub received: u64,
    /// Bytes that went out.
    pub sent: u64,
    /// The sum of their times in microseconds.
    pub time: u64,
    /// In microseconds.
    pub p50: u64,
    /// As above.
    pub p99: u64,
    /// As above.
    pub max: u64,
    /// Those for which a cache was looked into.
    pub looked_up: u64,
    /// Of these, those whose answer was there.
    pub cached: u64,
}

/// Works out what happens from what was counted.
#[derive(Debug)]
pub struct Aggregator {
    ledger: &'static Ledger,
    last: Moment,
    routes: Watched<RouteId>,
    peers: Watched<PeerId>,
    /// Of all peers, by number.
    gauges: Vec<(PeerId, PeerGauges)>,
    /// When a peer was left out or taken in.
    since: HashMap<PeerId, u64>,
    total: Recent,
    own_time: (Snapshot, VecDeque<Snapshot>),
    /// Begun: all requests, and those over HTTP/2; then the same of each recent second.
    begun: ([u64; 2], VecDeque<[u64; 2]>),
    seconds: Ring,
    quarters: Ring,
    minutes: Ring,
    rings: HashMap<RouteId, RouteRing>,
}

impl Default for Aggregator {
    fn default() -> Self {
        Self::new(Moment::now())
    }
}

impl Aggregator {
    /// What was counted before now is in the totals only.
    pub fn new(now: Moment) -> Self {
        Self::of(traffic::ledger(), now)
    }

    fn of(ledger: &'static Ledger, now: Moment) -> Self {
        let mut routes = Watched::default();
        let known = ledger.changed_routes(&mut routes.counts);
        routes.start(known);
        let mut peers = Watched::default();
        let known = ledger.changed_peers(&mut peers.counts);
        peers.start(known);
        Self {
            ledger,
            last: now,
            routes,
            peers,
            gauges: ledger.gauges(now.milliseconds),
            since: HashMap::new(),
            total: Recent::default(),
            own_time: (ledger.own_time(), VecDeque::new()),
            begun: (begun(), VecDeque::new()),
            seconds: Ring::new(1, 300),
            quarters: Ring::new(15, 240),
            minutes: Ring::new(300, 288),
            rings: HashMap::new(),
        }
    }

    /// Looks at what was counted since the last time. Called once a second; after a pause, what
    /// passed is spread over its seconds.
    pub fn tick(&mut self, now: Moment) {
        let elapsed = now.milliseconds.saturating_sub(self.last.milliseconds);
        if elapsed < LEAST_TICK {
            return;
        }
        self.last = now;
        let seconds = elapsed as f64 / 1000.0;

        let routes = self.ledger.changed_routes(&mut self.routes.counts);
        let routes = self.routes.take(routes, seconds);
        let peers = self.ledger.changed_peers(&mut self.peers.counts);
        self.peers.take(peers, seconds);
        let gauges = self.ledger.gauges(now.milliseconds);
        self.note_changes(&gauges, now.unix);
        self.gauges = gauges;

        let mut all = Passage::default();
        for (_, second) in &routes {
            all.add(second);
        }
        let own_time = self.ledger.own_time();
        let own_second = own_time.since(&self.own_time.0);
        self.own_time.0 = own_time;
        keep_recent(&mut self.own_time.1, own_second);
        let begun = begun();
        let begun_since = [0, 1].map(|which| begun[which].wrapping_sub(self.begun.0[which]));
        self.begun.0 = begun;
        keep_recent(&mut self.begun.1, begun_since);
        for ring in [&mut self.seconds, &mut self.quarters, &mut self.minutes] {
            ring.add(&all, elapsed, now.unix);
        }
        self.total.push(&all, seconds);
        self.keep_rings(&routes, elapsed, now);
    }

    /// All requests.
    pub fn summary(&self) -> Summary {
        let sum = &self.total.sum.figures;
        let mut own_time = Snapshot::default();
        for second in &self.own_time.1 {
            own_time.merge(second);
        }
        let [own_p99] = own_time.percentiles([0.99]);
        let begun = |which: usize| self.begun.1.iter().map(|second| second[which]).sum::<u64>();
        let gauge = |which: fn(&Counters) -> &registry::Counter| registry::total(which);
        Summary {
            at: self.last.unix,
            traffic: self.total.traffic(self.total.span()),
            in_flight: gauge(|counters| &counters.writing),
            connections: gauge(|counters| &counters.active),
            idle: gauge(|counters| &counters.waiting),
            accepted: gauge(|counters| &counters.accepted),
            total: self.routes.counts.iter().sum(),
            http2: share(begun(1), begun(0)),
            peak: self.seconds.peak(),
            upstream_share: share(sum.upstream_time, sum.time),
            own_p99,
            panics: gauge(|counters| &counters.panics),
            failed_logins: gauge(|counters| &counters.logins_failed)
                + gauge(|counters| &counters.logins_throttled),
        }
    }

    /// The routes that had requests in the last ten seconds, by number.
    pub fn routes(&self) -> Vec<RouteTraffic> {
        let mut routes: Vec<_> = self.routes.recent.keys().copied().collect();
        routes.sort_unstable();
        routes.into_iter().map(|route| self.route(route)).collect()
    }

    /// One route.
    pub fn route(&self, route: RouteId) -> RouteTraffic {
        RouteTraffic {
            route,
            total: self.routes.count(route.0),
            besides: (self.routes.totals.get(&route))
                .map(|totals| totals.besides)
                .unwrap_or_default(),
            traffic: self.routes.traffic(route, self.total.span()),
        }
    }

    /// One peer.
    pub fn peer(&self, peer: PeerId) -> PeerTraffic {
        let found = self.gauges.binary_search_by_key(&peer, |(id, _)| *id);
        PeerTraffic {
            peer,
            gauges: found.map(|at| self.gauges[at].1).unwrap_or_default(),
            since: self.since.get(&peer).copied().unwrap_or_default(),
            total: self.peers.count(peer.0),
            traffic: self.peers.traffic(peer, self.total.span()),
        }
    }

    /// All requests over a window.
    pub fn history(&self, window: Window) -> History {
        match window {
            Window::FiveMinutes => self.seconds.history(),
            Window::Hour => self.quarters.history(),
            Window::Day => self.minutes.history(),
        }
    }

    /// The requests of a route over the last five minutes; `None` if nothing is known of it.
    pub fn route_history(&self, route: RouteId) -> Option<History> {
        self.rings.get(&route).map(|ring| ring.ring.history())
    }

    /// What passed since this was asked last (at first: since the start of the aggregator), up to the
    /// last tick.
    pub fn take_minute(&mut self) -> Minute {
        let routes = std::mem::take(&mut self.routes.passed).into_iter();
        let peers = std::mem::take(&mut self.peers.passed).into_iter();
        Minute {
            routes: routes
                .filter_map(|(id, second)| Some((id, self.ledger.route(id)?, second.passed())))
                .collect(),
            peers: peers
                .filter_map(|(id, second)| Some((id, self.ledger.peer(id)?, second.passed())))
                .collect(),
        }
    }

    /// Notes when peers come into another state.
    fn note_changes(&mut self, gauges: &[(PeerId, PeerGauges)], unix: u64) {
        let mut before = self.gauges.iter().peekable();
        for (id, gauges) in gauges {
            let was = before.next_if(|(known, _)| known == id);
            let was_left_out = was.is_some_and(|(_, gauges)| gauges.left_out > 0);
            if was_left_out != (gauges.left_out > 0) {
                self.since.insert(*id, unix);
            }
        }
    }

    /// Brings the histories of routes up to date.
    fn keep_rings(&mut self, routes: &[(RouteId, Passage)], elapsed: u64, now: Moment) {
        let nothing = Passage::default();
        let moved: HashMap<RouteId, &Passage> =
            routes.iter().map(|(id, second)| (*id, second)).collect();
        for (id, ring) in &mut self.rings {
            let second = moved.get(id).copied();
            if second.is_some() {
                ring.used = now.milliseconds;
            }
            ring.ring.add(second.unwrap_or(&nothing), elapsed, now.unix);
        }
        let rings = &mut self.rings;
        // A ring whose points are all empty tells nothing.
        rings.retain(|_, ring| now.milliseconds - ring.used <= ring.ring.length_milliseconds());
        let stale_after = RECENT as u64 * 1000;
        let mut stale: Vec<(u64, RouteId)> = Vec::new();
        let mut is_searched = false;
        for (id, second) in routes {
            if rings.contains_key(id) {
                continue;
            }
            if rings.len() >= MOST_RINGS {
                if !is_searched {
                    is_searched = true;
                    stale = (rings.iter())
                        .filter(|(_, ring)| now.milliseconds - ring.used >= stale_after)
                        .map(|(id, ring)| (ring.used, *id))
                        .collect();
                    stale.sort_unstable_by(|left, right| right.cmp(left));
                }
                let Some((_, oldest)) = stale.pop() else {
                    return;
                };
                rings.remove(&oldest);
            }
            let mut ring = Ring::new(ROUTE_STEP, 60);
            ring.add(second, elapsed, now.unix);
            let used = now.milliseconds;
            rings.insert(*id, RouteRing { ring, used });
        }
    }
}

/// Requests begun: all, and those over HTTP/2.
fn begun() -> [u64; 2] {
    [
        registry::total(|counters| &counters.requests),
        registry::total(|counters| &counters.http2_requests),
    ]
}

fn share(part: u64, whole: u64) -> f64 {
    match whole {
        0 => 0.0,
        _ => (part as f64 / whole as f64).min(1.0),
    }
}

fn keep_recent<T>(recent: &mut VecDeque<T>, second: T) {
    if recent.len() == RECENT {
        recent.pop_front();
    }
    recent.push_back(second);
}

/// What passed between two moments.
#[derive(Clone, Debug, Default)]
struct Passage {
    figures: Figures,
    latency: Snapshot,
}

/// A passage but for how long its requests took.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    count: u64,
    statuses: [u64; 6],
    received: u64,
    sent: u64,
    /// In nanoseconds, as the next two.
    time: u64,
    upstream_time: u64,
    longest: u64,
    looked_up: u64,
    cached: u64,
}

impl Passage {
    fn between(before: Option<&Totals>, now: &Totals, longest: u64) -> Self {
        let nothing = Totals::default();
        let before = before.unwrap_or(&nothing);
        Self {
            figures: Figures {
                count: now.count.wrapping_sub(before.count),
                statuses: std::array::from_fn(|class| {
                    now.statuses[class].wrapping_sub(before.statuses[class])
                }),
                received: now.received.wrapping_sub(before.received),
                sent: now.sent.wrapping_sub(before.sent),
                time: now.time.wrapping_sub(before.time),
                upstream_time: now.upstream_time.wrapping_sub(before.upstream_time),
                longest,
                looked_up: now.looked_up.wrapping_sub(before.looked_up),
                cached: now.cached.wrapping_sub(before.cached),
            },
            latency: now.latency.since(&before.latency),
        }
    }

    /// Adds what passed elsewhere, or later.
    fn add(&mut self, other: &Self) {
        self.figures.add(&other.figures);
        self.latency.merge(&other.latency);
    }

    fn passed(&self) -> Passed {
        let Figures {
            count,
            statuses,
            received,
            sent,
            time,
            longest,
            looked_up,
            cached,
            ..
        } = self.figures;
        let [p50, p99] = self.percentiles([0.5, 0.99]);
        Passed {
            count,
            statuses: classes(statuses),
            received,
            sent,
            time: time / 1000,
            p50,
            p99,
            max: longest / 1000,
            looked_up,
            cached,
        }
    }

    /// In microseconds; a bucket's middle may lie beyond what was longest.
    fn percentiles<const N: usize>(&self, shares: [f64; N]) -> [u64; N] {
        let longest = self.figures.longest / 1000;
        let found = self.latency.percentiles(shares);
        found.map(|percentile| percentile.min(longest))
    }
}

impl Figures {
    fn add(&mut self, other: &Self) {
        let sums = [
            (&mut self.count, other.count),
            (&mut self.received, other.received),
            (&mut self.sent, other.sent),
            (&mut self.time, other.time),
            (&mut self.upstream_time, other.upstream_time),
            (&mut self.looked_up, other.looked_up),
            (&mut self.cached, other.cached),
        ];
        let statuses = self.statuses.iter_mut().zip(other.statuses);
        for (sum, more) in sums.into_iter().chain(statuses) {
            *sum = sum.saturating_add(more);
        }
        self.longest = self.longest.max(other.longest);
    }
}

/// 1xx to 5xx.
fn classes([_, classes @ ..]: [u64; 6]) -> [u64; 5] {
    classes
}

/// The last ten seconds, each without the buckets in which nothing is, and their sum.
#[derive(Debug, Default)]
struct Recent {
    sum: Passage,
    seconds: VecDeque<Sparse>,
}

#[derive(Debug)]
struct Sparse {
    /// How long it really was.
    seconds: f64,
    figures: Figures,
    buckets: Vec<(u8, u64)>,
}

impl Recent {
    fn push(&mut self, passage: &Passage, seconds: f64) {
        if self.seconds.len() == RECENT
            && let Some(oldest) = self.seconds.pop_front()
        {
            for (bucket, count) in oldest.buckets {
                self.sum.latency.take_bucket(bucket, count);
            }
        }
        self.sum.latency.merge(&passage.latency);
        self.seconds.push_back(Sparse {
            seconds,
            figures: passage.figures,
            buckets: passage.latency.filled().collect(),
        });
        self.sum.figures = Figures::default();
        for second in &self.seconds {
            self.sum.figures.add(&second.figures);
        }
    }

    fn span(&self) -> f64 {
        self.seconds.iter().map(|second| second.seconds).sum()
    }

    /// `span` is how long was looked at all routes, which may be longer than at this one.
    fn traffic(&self, span: f64) -> Traffic {
        let sum = &self.sum.figures;
        let [p50, p90, p99] = self.sum.percentiles([0.5, 0.9, 0.99]);
        let per_second = |count: u64, seconds: f64| match seconds > 0.0 {
            true => count as f64 / seconds,
            false => 0.0,
        };
        let last = self.seconds.back();
        Traffic {
            rate: last.map_or(0.0, |last| per_second(last.figures.count, last.seconds)),
            statuses: classes(sum.statuses),
            p50,
            p90,
            p99,
            max: sum.longest / 1000,
            received: per_second(sum.received, span),
            sent: per_second(sum.sent, span),
            looked_up: sum.looked_up,
            cached: sum.cached,
        }
    }
}

/// What is known of all routes, or of all peers.
#[derive(Debug)]
struct Watched<I> {
    /// How many there were at the last tick, by number.
    counts: Vec<u64>,
    /// At the last tick; of those that had any.
    totals: HashMap<I, Totals>,
    /// Of those that had any in the last ten seconds.
    recent: HashMap<I, Recent>,
    /// Since [`Aggregator::take_minute`].
    passed: BTreeMap<I, Passage>,
}

impl<I> Default for Watched<I> {
    fn default() -> Self {
        Self {
            counts: Vec::new(),
            totals: HashMap::new(),
            recent: HashMap::new(),
            passed: BTreeMap::new(),
        }
    }
}

impl<I: Copy + Hash + Ord> Watched<I> {
    fn start(&mut self, known: Vec<Change<I>>) {
        let known = known.into_iter().map(|change| (change.id, change.totals));
        self.totals = known.collect();
    }

    /// What passed since the last tick.
    fn take(&mut self, changes: Vec<Change<I>>, seconds: f64) -> Vec<(I, Passage)> {
        let mut moved = Vec::with_capacity(changes.len());
        for Change {
            id,
            totals,
            longest,
        } in changes
        {
            let passage = Passage::between(self.totals.get(&id), &totals, longest);
            self.totals.insert(id, totals);
            self.passed.entry(id).or_default().add(&passage);
            moved.push((id, passage));
        }
        let nothing = Passage::default();
        for (id, recent) in &mut self.recent {
            let found = moved.binary_search_by_key(id, |(id, _)| *id);
            let passage = found.map_or(&nothing, |at| &moved[at].1);
            recent.push(passage, seconds);
        }
        for (id, passage) in &moved {
            self.recent.entry(*id).or_insert_with(|| {
                let mut recent = Recent::default();
                recent.push(passage, seconds);
                recent
            });
        }
        self.recent.retain(|_, recent| recent.sum.figures.count > 0);
        moved
    }

    fn count(&self, number: u32) -> u64 {
        self.counts
            .get(number as usize)
            .copied()
            .unwrap_or_default()
    }

    fn traffic(&self, id: I, span: f64) -> Traffic {
        let recent = self.recent.get(&id);
        recent
            .map(|recent| recent.traffic(span))
            .unwrap_or_default()
    }
}

/// A history of so many points.
#[derive(Debug)]
struct Ring {
    step_seconds: u32,
    most: usize,
    at: u64,
    points: VecDeque<Point>,
    /// What has passed of the next point, and over how many milliseconds.
    open: (Passage, u64),
}

#[derive(Debug)]
struct RouteRing {
    ring: Ring,
    /// When the last request was seen.
    used: u64,
}

impl Ring {
    fn new(step_seconds: u32, most: usize) -> Self {
        Self {
            step_seconds,
            most,
            at: 0,
            points: VecDeque::new(),
            open: (Passage::default(), 0),
        }
    }

    /// Adds what passed in so many milliseconds up to a moment.
    fn add(&mut self, passage: &Passage, elapsed: u64, unix: u64) {
        let (open, so_far) = &mut self.open;
        open.add(passage);
        *so_far += elapsed;
        // To the next whole second: ticks are never exact.
        let points = (*so_far + 500) / 1000 / u64::from(self.step_seconds);
        if points == 0 {
            return;
        }
        let seconds = *so_far as f64 / 1000.0;
        let [p50, p99] = open.percentiles([0.5, 0.99]);
        let point = Point {
            rate: open.figures.count as f64 / seconds,
            errors: open.figures.statuses[5] as f64 / seconds,
            p50,
            p99,
            sent: open.figures.sent as f64 / seconds,
            looked_up: open.figures.looked_up as f64 / seconds,
            cached: open.figures.cached as f64 / seconds,
        };
        for _ in 0..points.min(self.most as u64) {
            if self.points.len() == self.most {
                self.points.pop_front();
            }
            self.points.push_back(point);
        }
        self.at = unix;
        self.open = (Passage::default(), 0);
    }

    fn history(&self) -> History {
        History {
            at: self.at,
            step_seconds: self.step_seconds,
            points: self.points.iter().copied().collect(),
        }
    }

    fn peak(&self) -> f64 {
        let rates = self.points.iter().map(|point| point.rate);
        rates.fold(0.0, f64::max)
    }

    fn length_milliseconds(&self) -> u64 {
        u64::from(self.step_seconds) * self.most as u64 * 1000
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use proptest::prelude::*;

    use super::super::traffic::{Ended, Writer};
    use super::*;

    const MILLISECOND: u64 = 1_000_000;
    const BIRTH: u64 = 1_700_000_000_000;

    fn at(milliseconds: u64) -> Moment {
        Moment {
            milliseconds,
            unix: BIRTH + milliseconds,
        }
    }

    fn fixture() -> (Writer, Aggregator) {
        let ledger: &'static Ledger = Box::leak(Box::default());
        (ledger.writer(), Aggregator::of(ledger, at(0)))
    }

    fn request(status: u16, milliseconds: u64) -> Ended {
        Ended {
            status,
            received: 100,
            sent: 2000,
            time: milliseconds * MILLISECOND,
            upstream_time: milliseconds * MILLISECOND / 4,
            was_cached: None,
        }
    }

    #[test]
    fn what_came_of_the_cache_is_told_for_each_route_and_over_time() {
        let (writer, mut aggregator) = fixture();
        let ask = |route: u32, was_cached: Option<bool>, count: u64| {
            for _ in 0..count {
                let ended = Ended {
                    was_cached,
                    ..request(200, 1)
                };
                writer.count_request(RouteId(route), &ended);
            }
        };
        ask(1, Some(true), 30);
        ask(1, Some(false), 10);
        ask(2, None, 20);
        aggregator.tick(at(1000));
        let of = |traffic: &Traffic| (traffic.looked_up, traffic.cached);
        assert_eq!(of(&aggregator.route(RouteId(1)).traffic), (40, 30));
        assert_eq!(of(&aggregator.route(RouteId(2)).traffic), (0, 0));
        assert_eq!(of(&aggregator.summary().traffic), (40, 30));
        for second in 2..=11 {
            aggregator.tick(at(second * 1000));
        }
        assert_eq!(of(&aggregator.summary().traffic), (0, 0));
        let history = aggregator.history(Window::FiveMinutes);
        let point = history.points[0];
        assert_eq!(
            (point.rate, point.looked_up, point.cached),
            (60.0, 40.0, 30.0)
        );
        assert_eq!(history.points[1].looked_up, 0.0);
    }

    #[test]
    fn a_second_of_requests_is_told_by_rate_status_time_and_bytes() {
        let (writer, mut aggregator) = fixture();
        for number in 0..100 {
            let status = if number < 90 { 200 } else { 502 };
            writer.count_request(RouteId(1), &request(status, number + 1));
        }
        writer.count_request(RouteId(2), &request(304, 5));
        aggregator.tick(at(1000));
        let route = aggregator.route(RouteId(1));
        assert_eq!((route.total, route.traffic.rate), (100, 100.0));
        assert_eq!(route.traffic.statuses, [0, 90, 0, 0, 10]);
        assert_eq!(route.traffic.max, 100_000);
        assert!((44_000..57_000).contains(&route.traffic.p50), "{route:?}");
        assert!((79_000..102_000).contains(&route.traffic.p90), "{route:?}");
        assert!((87_000..=100_000).contains(&route.traffic.p99), "{route:?}");
        assert_eq!(
            (route.traffic.received, route.traffic.sent),
            (10_000.0, 200_000.0)
        );
        let summary = aggregator.summary();
        assert_eq!((summary.total, summary.traffic.rate), (101, 101.0));
        assert_eq!(summary.traffic.statuses, [0, 90, 1, 0, 10]);
        assert_eq!((summary.at, summary.peak), (BIRTH + 1000, 101.0));
        assert!((summary.upstream_share - 0.25).abs() < 1e-6, "{summary:?}");
        assert!((65_000..86_000).contains(&summary.own_p99), "{summary:?}");
        assert_eq!(aggregator.routes().len(), 2);
    }

    #[test]
    fn after_ten_quiet_seconds_a_route_is_not_told_any_more() {
        let (writer, mut aggregator) = fixture();
        writer.count_request(RouteId(1), &request(200, 1));
        for second in 1..=10 {
            aggregator.tick(at(second * 1000));
            assert_eq!(aggregator.route(RouteId(1)).traffic.statuses[1], 1);
        }
        assert_eq!(aggregator.route(RouteId(1)).traffic.rate, 0.0);
        aggregator.tick(at(11_000));
        assert!(aggregator.routes().is_empty());
        assert_eq!(aggregator.route(RouteId(1)).traffic, Traffic::default());
        assert_eq!(aggregator.route(RouteId(1)).total, 1);
        assert_eq!(aggregator.summary().traffic, Traffic::default());
        assert!(
            aggregator.routes.recent.is_empty(),
            "nothing is kept for it"
        );
    }

    #[test]
    fn what_was_counted_before_the_start_is_in_the_totals_only() {
        let (writer, aggregator) = fixture();
        writer.count_request(RouteId(1), &request(200, 1));
        let mut later = Aggregator::of(aggregator.ledger, at(0));
        later.tick(at(1000));
        assert_eq!(later.summary().total, 1);
        assert!(later.routes().is_empty());
        assert_eq!(later.take_minute(), Minute::default());
    }

    #[test]
    fn histories_have_their_steps_and_their_lengths() {
        let (writer, mut aggregator) = fixture();
        for second in 1..=700 {
            writer.count_request(
                RouteId(1),
                &request(if second > 690 { 500 } else { 200 }, 2),
            );
            writer.count_request(RouteId(1), &request(200, 2));
            aggregator.tick(at(second * 1000));
        }
        let fine = aggregator.history(Window::FiveMinutes);
        assert_eq!((fine.step_seconds, fine.points.len()), (1, 300));
        assert_eq!(fine.at, BIRTH + 700_000);
        let last = fine.points.last().expect("a point");
        assert_eq!((last.rate, last.errors, last.sent), (2.0, 1.0, 4000.0));
        assert!((1_700..=2_000).contains(&last.p50), "{last:?}");
        let hour = aggregator.history(Window::Hour);
        assert_eq!((hour.step_seconds, hour.points.len()), (15, 46));
        assert!(hour.points.iter().all(|point| point.rate == 2.0));
        assert_eq!(hour.at, BIRTH + 690_000);
        let day = aggregator.history(Window::Day);
        assert_eq!((day.step_seconds, day.points.len()), (300, 2));
        let route = aggregator.route_history(RouteId(1)).expect("is kept");
        assert_eq!((route.step_seconds, route.points.len()), (5, 60));
        assert_eq!(route.points[59].rate, 2.0);
        assert_eq!(aggregator.route_history(RouteId(2)), None);
    }

    #[test]
    fn ticks_that_are_late_or_crowded_neither_lose_nor_invent_requests() {
        let (writer, mut aggregator) = fixture();
        writer.count_request(RouteId(1), &request(200, 1));
        aggregator.tick(at(1000));
        for _ in 0..30 {
            writer.count_request(RouteId(1), &request(200, 1));
        }
        aggregator.tick(at(1200));
        assert_eq!(aggregator.summary().traffic.rate, 1.0, "too soon: nothing");
        aggregator.tick(at(7000));
        assert_eq!(aggregator.summary().traffic.rate, 5.0);
        let points = aggregator.history(Window::FiveMinutes).points;
        assert_eq!(points.len(), 7);
        assert_eq!(points.iter().map(|point| point.rate).sum::<f64>(), 31.0);
        // A day asleep fills what is kept and no more.
        aggregator.tick(at(90_000_000));
        assert_eq!(aggregator.history(Window::FiveMinutes).points.len(), 300);
        assert!(aggregator.history(Window::Day).points.len() <= 288);
    }

    #[test]
    fn so_many_routes_have_histories_and_a_busy_one_keeps_its_own() {
        let (writer, mut aggregator) = fixture();
        let most = MOST_RINGS as u32;
        for second in 1..=3 {
            for route in 1..=most + 100 {
                writer.count_request(RouteId(route), &request(200, 1));
            }
            aggregator.tick(at(second * 1000));
        }
        assert_eq!(aggregator.rings.len(), MOST_RINGS);
        assert!(aggregator.route_history(RouteId(1)).is_some());
        assert!(aggregator.route_history(RouteId(most + 1)).is_none());
        // All fall silent but one; a new one may then have the place of another.
        for second in 4..=20 {
            writer.count_request(RouteId(1), &request(200, 1));
            aggregator.tick(at(second * 1000));
        }
        writer.count_request(RouteId(most + 1), &request(200, 1));
        aggregator.tick(at(21_000));
        assert_eq!(aggregator.rings.len(), MOST_RINGS);
        assert!(aggregator.route_history(RouteId(1)).is_some());
        assert!(aggregator.route_history(RouteId(most + 1)).is_some());
        // Five minutes later a silent one has nothing to tell.
        for second in 22..=330 {
            aggregator.tick(at(second * 1000));
        }
        assert!(aggregator.rings.is_empty());
    }

    #[test]
    fn a_minute_is_taken_once_and_names_what_it_is_of() {
        let (writer, mut aggregator) = fixture();
        for second in 1..=3 {
            writer.count_request(RouteId::OTHER, &request(404, 4));
            writer.count_attempt(PeerId::OTHER, &request(502, 2));
            aggregator.tick(at(second * 1000));
        }
        let minute = aggregator.take_minute();
        let [(id, key, passed)] = &minute.routes[..] else {
            panic!("{minute:?}");
        };
        assert_eq!((*id, &*key.location), (RouteId::OTHER, "other"));
        assert_eq!((passed.count, passed.time, passed.sent), (3, 12_000, 6000));
        assert_eq!(passed.statuses, [0, 0, 0, 3, 0]);
        assert!((3_500..=4_000).contains(&passed.p99), "{passed:?}");
        assert_eq!(passed.max, 4_000);
        assert_eq!(minute.peers[0].2.statuses, [0, 0, 0, 0, 3]);
        assert_eq!(aggregator.take_minute(), Minute::default());
        writer.count_request(RouteId::OTHER, &request(200, 4));
        aggregator.tick(at(4000));
        assert_eq!(aggregator.take_minute().routes[0].2.count, 1);
    }

    #[test]
    fn it_is_told_since_when_a_peer_is_left_out() {
        let (writer, mut aggregator) = fixture();
        let until = |milliseconds| {
            writer.with_peer(PeerId(1), |peer| {
                peer.left_out_until.store(milliseconds, Relaxed);
            });
        };
        writer.count_attempt(PeerId(1), &request(200, 1));
        aggregator.tick(at(1000));
        assert_eq!(aggregator.peer(PeerId(1)).since, 0, "so from the start");
        writer.with_peer(PeerId(1), |peer| peer.failures.increase());
        until(12_000);
        for second in 2..=11 {
            aggregator.tick(at(second * 1000));
            let peer = aggregator.peer(PeerId(1));
            assert_eq!((peer.gauges.left_out, peer.gauges.failures), (1, 1));
            assert_eq!(peer.since, BIRTH + 2000);
        }
        aggregator.tick(at(12_000));
        let peer = aggregator.peer(PeerId(1));
        assert_eq!((peer.gauges.left_out, peer.since), (0, BIRTH + 12_000));
        assert_eq!(peer.total, 1);
    }

    proptest! {
        /// Against the plain list of what was requested.
        #[test]
        fn the_figures_are_those_of_the_last_ten_seconds(
            seconds in prop::collection::vec(
                prop::collection::vec((1..4u32, 1..6u16, 1..5_000u64), 0..20),
                1..30,
            ),
        ) {
            let (writer, mut aggregator) = fixture();
            let mut all: Vec<(u64, u32, u16, u64)> = Vec::new();
            for (second, requests) in (1..).zip(seconds) {
                for (route, class, time) in requests {
                    writer.count_request(RouteId(route), &request(class * 100, time));
                    all.push((second, route, class, time));
                }
                aggregator.tick(at(second * 1000));
                for route in 1..4 {
                    let mut recent: Vec<_> = all
                        .iter()
                        .filter(|it| it.1 == route && it.0 + RECENT as u64 > second)
                        .collect();
                    recent.sort_by_key(|it| it.3);
                    let told = aggregator.route(RouteId(route));
                    let is_told = aggregator.routes().iter().any(|it| it.route.0 == route);
                    prop_assert_eq!(is_told, !recent.is_empty());
                    let total = all.iter().filter(|it| it.1 == route).count();
                    prop_assert_eq!(told.total, total as u64);
                    for class in 1..6 {
                        let count = recent.iter().filter(|it| it.2 == class).count() as u64;
                        prop_assert_eq!(told.traffic.statuses[usize::from(class) - 1], count);
                    }
                    let now = recent.iter().filter(|it| it.0 == second).count();
                    prop_assert_eq!(told.traffic.rate, now as f64);
                    let longest = recent.last().map_or(0, |it| it.3 * 1000);
                    prop_assert_eq!(told.traffic.max, longest);
                    let shares = [0.5, 0.9, 0.99];
                    let found = [told.traffic.p50, told.traffic.p90, told.traffic.p99];
                    for (share, found) in shares.into_iter().zip(found) {
                        let rank = (share * recent.len() as f64).ceil() as usize;
                        let exact = rank.checked_sub(1).map_or(0, |at| recent[at].3 * 1000);
                        prop_assert!(found.abs_diff(exact) <= exact / 8 + 1);
                    }
                }
            }
        }
    }
}
