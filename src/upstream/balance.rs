//! The choice among peers: smooth weighted round robin, least connections, random, least time, and
//! the marks that failures leave.
//!
//! Owns what changes with every request ([`State`]); the peers themselves are a
//! [`Table`] that does not change. Without `zone` each worker has a state of its
//! own, with it they share one behind a lock; the code is the same. The order of picks is nginx's to
//! the last request (`ngx_http_upstream_round_robin.c` and the modules of the methods).
//!
//! # Least time
//!
//! nginx sells this method and does not publish its formula. Ours: a peer's average is
//! `average × 0.9 + sample × 0.1` (the first sample as it is), and the peer with the least
//! `(connections + 1) × average ÷ weight` is taken; equals take turns by weighted round robin, so
//! that peers without a sample, whose average is zero, are all measured first. With `inflight` the
//! average is not taken below the mean age of the requests in progress.

use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::circuit::{Pass, Reason, Watched};
use super::group::{Peer, Table};
use super::hash;
use crate::conf::typed::upstream::{Method, RandomChoice, Upstream};

/// How far a slow start raises a weight, in steps of the whole.
const RAMP: i64 = 1000;

/// What is tried before a method that guesses (hash, random) gives up and takes turns, as nginx.
pub(super) const GUESSES: u8 = 20;

/// What a new sample weighs in a peer's average time.
const SAMPLE: f64 = 0.1;

/// The state of one group.
#[derive(Debug)]
pub struct State {
    table: Arc<Table>,
    pub(super) primary: Tier,
    pub(super) backup: Tier,
    /// How many tries a request has at most.
    tries: u32,
    random: u64,
    /// The ages of requests in progress are measured from here.
    began: Instant,
}

/// Primary or backup peers.
#[derive(Debug, Default)]
pub(super) struct Tier {
    pub(super) peers: Vec<PeerState>,
    pub(super) total_weight: u64,
    /// The only peer of the group: never marked, and tried again by the same request.
    is_single: bool,
    /// [`RAMP`] if a peer here has a slow start, else 1.
    scale: i64,
}

/// What is known of one peer.
#[derive(Debug)]
pub(super) struct PeerState {
    id: u32,
    pub(super) weight: u32,
    /// `weight`, lowered by failures, raised by one with each pick.
    effective_weight: i64,
    current_weight: i64,
    connections: u32,
    max_connections: u32,
    fails: u32,
    max_fails: u32,
    fail_timeout: Duration,
    /// The last failure.
    failed: Option<Instant>,
    /// The last failure, or the pick that probes whether it is over.
    checked: Option<Instant>,
    slow_start: Duration,
    /// When it came back.
    recovered: Option<Instant>,
    is_down: bool,
    is_draining: bool,
    /// With `eject`.
    watched: Option<Watched>,
    /// Seconds; zero until measured.
    average_time: f64,
    /// The sum of the starts of requests in progress, in seconds since the state began.
    starts: f64,
}

/// What a request brings to the choice.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish<'a> {
    /// The text that `hash` and `ip_hash` go by.
    pub(super) key: &'a [u8],
    /// The id of the peer that the session belongs to.
    pub(super) sticky: Option<&'a [u8]>,
}

/// The place of a chosen peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) is_backup: bool,
    pub(super) position: usize,
    pub(super) id: u32,
    /// It had failed too often: until this one tells how it does, it gets no other.
    pub(super) is_probe: bool,
    /// How its circuit let it in.
    pub(super) pass: Pass,
}

/// Why no peer was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortage {
    /// The group has no address at all: its names do not resolve.
    Unresolved,
    /// A peer would have been taken but for `max_conns`: waiting may help.
    Busy,
    /// All were tried, are down, or have failed.
    NoneLive,
    /// The group as a whole fails, and is not asked for now.
    Open,
}

/// What happened to a peer, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It reached `max_fails`; nginx says `upstream server temporarily disabled`.
    Disabled,
    /// It had been disabled and has answered.
    Recovered,
    /// Its circuit opened: it is left out by all workers.
    Ejected(Reason),
    /// Its circuit closed.
    Readmitted,
    /// The circuit of its group opened.
    Opened(Reason),
    /// The circuit of its group closed.
    Closed,
}

/// What one request has tried so far; begin each request with a new one.
#[derive(Debug, Default)]
pub struct Tried {
    limit: u32,
    left: u32,
    is_started: bool,
    is_on_backup: bool,
    /// Guesses that a method made for this request.
    pub(super) guesses: u8,
    pub(super) rehashes: u32,
    pub(super) hash: u32,
    /// One bit per id modulo 64: a zero answers without a look at the list.
    mask: u64,
    ids: SmallVec<[u32; 6]>,
}

impl Tried {
    /// Nothing tried; `limit` is `proxy_next_upstream_tries`, 0 for none.
    pub fn with_limit(limit: usize) -> Self {
        Self {
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
            ..Self::default()
        }
    }

    /// May another peer be tried after this one failed? (nginx's `peer.tries`.)
    pub fn may_continue(&self) -> bool {
        self.left > 0
    }

    /// Was no peer tried yet?
    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub(super) fn has(&self, id: u32) -> bool {
        self.mask & (1 << (id % 64)) != 0 && self.ids.contains(&id)
    }

    fn add(&mut self, id: u32) {
        if !self.has(id) {
            self.mask |= 1 << (id % 64);
            self.ids.push(id);
        }
    }
}

impl State {
    pub(super) fn new(upstream: &Upstream, table: Arc<Table>) -> Self {
        let mut state = Self {
            table: Arc::default(),
            primary: Tier::default(),
            backup: Tier::default(),
            tries: 0,
            random: random_number(),
            began: Instant::now(),
        };
        state.follow(upstream, table);
        state
    }

    /// The table that positions refer to.
    pub(super) fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// Takes over a changed table; peers that stay keep what is known of them.
    pub(super) fn follow(&mut self, upstream: &Upstream, table: Arc<Table>) {
        self.primary.follow(upstream, &table.primary);
        self.backup.follow(upstream, &table.backup);
        self.primary.is_single = table.primary.len() == 1 && table.backup.is_empty();
        let peers = table.primary.iter().chain(&table.backup);
        self.tries = peers
            .filter(|peer| !peer.is_out() && !peer.is_draining)
            .count() as u32;
        self.table = table;
    }

    /// Chooses a peer and counts a connection to it.
    pub(super) fn select(
        &mut self,
        method: &Method,
        wish: Wish<'_>,
        tried: &mut Tried,
        now: Instant,
    ) -> Result<Choice, Shortage> {
        if !tried.is_started {
            tried.is_started = true;
            tried.left = match (self.tries, tried.limit) {
                (tries, 0) => tries,
                (tries, limit) => tries.min(limit),
            };
        }
        let is_started_on_backup = tried.is_on_backup;
        let mut is_busy = false;
        loop {
            let is_backup = tried.is_on_backup;
            let (tier, peers) = match is_backup {
                false => (&mut self.primary, &self.table.primary),
                true => (&mut self.backup, &self.table.backup),
            };
            let sticky = wish
                .sticky
                .and_then(|id| tier.by_session(peers, id, tried, now));
            let found = match method {
                Method::RoundRobin => None,
                Method::LeastConnections => tier.least_connections(sticky, tried, now),
                Method::LeastTime { inflight, .. } => {
                    let age = inflight.then(|| now.duration_since(self.began).as_secs_f64());
                    tier.least_time(sticky, age, tried, now)
                }
                Method::Random(choice) => {
                    sticky.or_else(|| tier.random(*choice, &mut self.random, tried, now))
                }
                Method::IpHash => sticky.or_else(|| hash::by_address(tier, wish.key, tried, now)),
                Method::Hash {
                    consistent: false, ..
                } => sticky.or_else(|| hash::by_key(tier, wish.key, tried, now)),
                Method::Hash {
                    consistent: true, ..
                } => sticky.or_else(|| {
                    hash::by_circle(tier, peers, &self.table.circle, wish.key, tried, now)
                }),
            };
            let found = found.or_else(|| tier.round_robin(sticky, tried, now));
            if let Some(position) = found {
                let is_single = tier.is_single;
                let peer = &mut tier.peers[position];
                let pass = match &peer.watched {
                    None => Pass::Free,
                    Some(watched) => match watched.enter(now) {
                        Some(pass) => pass,
                        None => {
                            // Another worker was faster with the last probe.
                            tried.add(peer.id);
                            if is_single {
                                return Err(Shortage::NoneLive);
                            }
                            continue;
                        }
                    },
                };
                let mut is_probe = false;
                if !is_single && peer.is_past_timeout(now) {
                    peer.checked = Some(now);
                    is_probe = peer.is_failed(now);
                }
                peer.connections += 1;
                peer.starts += now.duration_since(self.began).as_secs_f64();
                tried.add(peer.id);
                tried.left = match is_single {
                    true => 0,
                    false => tried.left.saturating_sub(1),
                };
                return Ok(Choice {
                    is_backup,
                    position,
                    id: peer.id,
                    is_probe,
                    pass,
                });
            }
            is_busy |= tier.peers.iter().any(|peer| {
                let is_live = !peer.is_down
                    && !peer.is_draining
                    && !peer.is_failed(now)
                    && peer.is_admitted(now);
                is_live && peer.is_full() && !tried.has(peer.id)
            });
            if is_backup || self.backup.peers.is_empty() {
                // Who asks again, having waited, begins where it began.
                tried.is_on_backup = is_started_on_backup;
                return Err(if self.table.is_empty() {
                    Shortage::Unresolved
                } else if is_busy {
                    Shortage::Busy
                } else {
                    Shortage::NoneLive
                });
            }
            tried.is_on_backup = true;
        }
    }

    /// The attempt ended; `verdict` says what it tells about the peer, if anything.
    pub(super) fn release(
        &mut self,
        choice: Choice,
        started: Instant,
        verdict: Option<Verdict>,
        now: Instant,
    ) -> Option<Event> {
        let began = self.began;
        let (is_single, peer) = self.find(choice)?;
        peer.connections = peer.connections.saturating_sub(1);
        peer.starts = match peer.connections {
            0 => 0.0,
            _ => peer.starts - started.duration_since(began).as_secs_f64(),
        };
        match verdict {
            None => None,
            Some(_) if is_single => {
                peer.fails = 0;
                None
            }
            Some(Verdict::Failed) => peer.fail(now),
            Some(Verdict::Worked) => peer.work(now),
        }
    }

    /// Notes how long a peer took.
    pub(super) fn measure(&mut self, choice: Choice, time: Duration) {
        if let Some((_, peer)) = self.find(choice) {
            let sample = time.as_secs_f64();
            peer.average_time = match peer.average_time {
                0.0 => sample,
                average => average * (1.0 - SAMPLE) + sample * SAMPLE,
            };
        }
    }

    /// The peer of a choice, and whether it is alone; it may have moved or gone since.
    fn find(&mut self, choice: Choice) -> Option<(bool, &mut PeerState)> {
        let tier = match choice.is_backup {
            false => &mut self.primary,
            true => &mut self.backup,
        };
        let is_single = tier.is_single;
        let position = match tier.peers.get(choice.position) {
            Some(peer) if peer.id == choice.id => choice.position,
            _ => tier.peers.iter().position(|peer| peer.id == choice.id)?,
        };
        Some((is_single, &mut tier.peers[position]))
    }
}

/// What an attempt tells about its peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Worked,
    Failed,
}

impl Tier {
    fn follow(&mut self, upstream: &Upstream, peers: &[Arc<Peer>]) {
        let mut old = std::mem::take(&mut self.peers);
        self.peers.reserve(peers.len());
        for (position, peer) in peers.iter().enumerate() {
            // Most often nothing moved.
            let known = match old.get(position) {
                Some(state) if state.id == peer.id => Some(position),
                _ => old.iter().position(|state| state.id == peer.id),
            };
            let mut state = match known {
                Some(known) => std::mem::replace(&mut old[known], PeerState::gone()),
                None => PeerState::new(upstream, peer),
            };
            if state.weight != peer.weight {
                state.weight = peer.weight;
                state.effective_weight = i64::from(peer.weight);
            }
            if state.is_down && !peer.is_out() && !state.slow_start.is_zero() {
                state.recovered = Some(crate::unit::clock::now());
            }
            state.is_down = peer.is_out();
            state.watched.clone_from(&peer.watched);
            state.is_draining = peer.is_draining;
            self.peers.push(state);
        }
        self.total_weight = peers.iter().map(|peer| u64::from(peer.weight)).sum();
        let is_slow = |state: &PeerState| !state.slow_start.is_zero();
        let scale = if self.peers.iter().any(is_slow) {
            RAMP
        } else {
            1
        };
        if self.scale != scale {
            self.scale = scale;
            for state in &mut self.peers {
                state.current_weight = 0;
            }
        }
    }

    /// May this request go to the peer?
    pub(super) fn is_usable(&self, position: usize, tried: &Tried, now: Instant) -> bool {
        let peer = &self.peers[position];
        !peer.is_down
            && !peer.is_draining
            && !peer.is_failed(now)
            && !peer.is_full()
            && peer.is_admitted(now)
            && !tried.has(peer.id)
    }

    /// The peer of a session, if it can take the request; a draining one still can.
    fn by_session(
        &self,
        peers: &[Arc<Peer>],
        session: &[u8],
        tried: &Tried,
        now: Instant,
    ) -> Option<usize> {
        let position = peers
            .iter()
            .position(|peer| peer.session.as_bytes() == session)?;
        let peer = self.peers.get(position)?;
        let is_usable = !peer.is_down
            && !peer.is_failed(now)
            && !peer.is_full()
            && peer.is_admitted(now)
            && !tried.has(peer.id);
        is_usable.then_some(position)
    }

    /// The peer at which the weights, laid end to end, cover `at`.
    pub(super) fn at_weight(&self, mut at: u64) -> usize {
        for (position, peer) in self.peers.iter().enumerate() {
            let weight = u64::from(peer.weight);
            if at < weight {
                return position;
            }
            at -= weight;
        }
        self.peers.len().saturating_sub(1)
    }

    /// Smooth weighted round robin (`ngx_http_upstream_get_peer`).
    fn round_robin(&mut self, sticky: Option<usize>, tried: &Tried, now: Instant) -> Option<usize> {
        if self.is_single {
            let peer = &self.peers[0];
            let is_free = !peer.is_down && !peer.is_draining && !peer.is_full();
            return sticky.or(is_free.then_some(0));
        }
        if let Some(position) = sticky {
            // A session's peer pays for its pick like any other, but only for one in a row.
            let peer = &self.peers[position];
            let limit = (self.total_weight as i64 - i64::from(peer.weight)) * self.scale;
            if peer.current_weight <= -limit {
                return sticky;
            }
        }
        let mut best = None;
        let mut total = 0;
        for position in 0..self.peers.len() {
            if self.is_usable(position, tried, now) {
                self.advance(position, &mut best, &mut total, now);
            }
        }
        let best = sticky.or(best)?;
        self.pay(best, total);
        Some(best)
    }

    /// One peer's part in a round: its weight grows, and the greatest leads.
    pub(super) fn advance(
        &mut self,
        position: usize,
        best: &mut Option<usize>,
        total: &mut i64,
        now: Instant,
    ) {
        let scale = self.scale;
        let peer = &mut self.peers[position];
        let weight = peer.effective_weight * peer.ramp(scale, now);
        peer.current_weight += weight;
        *total += weight;
        if peer.effective_weight < i64::from(peer.weight) {
            peer.effective_weight += 1;
        }
        let current = peer.current_weight;
        if best.is_none_or(|best| current > self.peers[best].current_weight) {
            *best = Some(position);
        }
    }

    /// The peer that was picked pays for the round.
    pub(super) fn pay(&mut self, position: usize, total: i64) {
        self.peers[position].current_weight -= total;
    }

    /// `least_conn`.
    fn least_connections(
        &mut self,
        sticky: Option<usize>,
        tried: &Tried,
        now: Instant,
    ) -> Option<usize> {
        let scale = self.scale;
        self.least(sticky, tried, now, |left, right| {
            left.connections_per_weight(right, scale, now)
        })
    }

    /// `least_time`.
    fn least_time(
        &mut self,
        sticky: Option<usize>,
        age: Option<f64>,
        tried: &Tried,
        now: Instant,
    ) -> Option<usize> {
        let scale = self.scale;
        self.least(sticky, tried, now, |left, right| {
            let left = left.cost(age, scale, now);
            left.total_cmp(&right.cost(age, scale, now))
        })
    }

    /// The least peer by some measure; equals take turns (`ngx_http_upstream_get_least_conn_peer`).
    fn least(
        &mut self,
        sticky: Option<usize>,
        tried: &Tried,
        now: Instant,
        compare: impl Fn(&PeerState, &PeerState) -> std::cmp::Ordering,
    ) -> Option<usize> {
        if self.is_single {
            return None;
        }
        if sticky.is_some() {
            return sticky;
        }
        let mut least: Option<usize> = None;
        let mut is_tied = false;
        for position in 0..self.peers.len() {
            if !self.is_usable(position, tried, now) {
                continue;
            }
            let order = least.map(|least| compare(&self.peers[position], &self.peers[least]));
            match order {
                None | Some(std::cmp::Ordering::Less) => {
                    least = Some(position);
                    is_tied = false;
                }
                Some(std::cmp::Ordering::Equal) => is_tied = true,
                Some(std::cmp::Ordering::Greater) => {}
            }
        }
        let first = least?;
        if !is_tied {
            return Some(first);
        }
        let mut best = None;
        let mut total = 0;
        for position in first..self.peers.len() {
            let is_equal = self.is_usable(position, tried, now)
                && compare(&self.peers[position], &self.peers[first]).is_eq();
            if is_equal {
                self.advance(position, &mut best, &mut total, now);
            }
        }
        let best = best?;
        self.pay(best, total);
        Some(best)
    }

    /// `random` (`ngx_http_upstream_random_module.c`).
    fn random(
        &self,
        choice: RandomChoice,
        seed: &mut u64,
        tried: &mut Tried,
        now: Instant,
    ) -> Option<usize> {
        if self.peers.len() < 2 || tried.guesses > GUESSES {
            return None;
        }
        let mut first: Option<usize> = None;
        loop {
            let position = self.at_weight(next_random(seed) % self.total_weight.max(1));
            if first != Some(position) && self.is_usable(position, tried, now) {
                let Some(other) = first else {
                    if choice == RandomChoice::One {
                        return Some(position);
                    }
                    first = Some(position);
                    continue;
                };
                let (peer, other_peer) = (&self.peers[position], &self.peers[other]);
                let order = match choice {
                    RandomChoice::TwoLeastTime(_) => peer
                        .cost(None, self.scale, now)
                        .total_cmp(&other_peer.cost(None, self.scale, now)),
                    RandomChoice::One | RandomChoice::TwoLeastConnections => {
                        peer.connections_per_weight(other_peer, self.scale, now)
                    }
                };
                return Some(if order.is_gt() { other } else { position });
            }
            tried.guesses += 1;
            if tried.guesses > GUESSES {
                return None;
            }
        }
    }
}

impl PeerState {
    fn new(upstream: &Upstream, peer: &Peer) -> Self {
        let server = &upstream.servers[peer.server];
        Self {
            id: peer.id,
            weight: peer.weight,
            effective_weight: i64::from(peer.weight),
            max_connections: server.max_connections,
            max_fails: server.max_fails,
            fail_timeout: server.fail_timeout,
            slow_start: server.slow_start,
            is_down: peer.is_out(),
            is_draining: peer.is_draining,
            watched: peer.watched.clone(),
            ..Self::gone()
        }
    }

    /// Stands where a state was taken from.
    fn gone() -> Self {
        Self {
            id: u32::MAX,
            weight: 0,
            effective_weight: 0,
            current_weight: 0,
            connections: 0,
            max_connections: 0,
            fails: 0,
            max_fails: 0,
            fail_timeout: Duration::ZERO,
            failed: None,
            checked: None,
            slow_start: Duration::ZERO,
            recovered: None,
            is_down: true,
            is_draining: false,
            watched: None,
            average_time: 0.0,
            starts: 0.0,
        }
    }

    fn is_past_timeout(&self, now: Instant) -> bool {
        self.checked
            .is_none_or(|checked| now.duration_since(checked) > self.fail_timeout)
    }

    fn is_failed(&self, now: Instant) -> bool {
        self.max_fails > 0 && self.fails >= self.max_fails && !self.is_past_timeout(now)
    }

    fn is_admitted(&self, now: Instant) -> bool {
        let watched = self.watched.as_ref();
        watched.is_none_or(|watched| watched.admits(now))
    }

    fn is_full(&self) -> bool {
        self.max_connections > 0 && self.connections >= self.max_connections
    }

    /// The part of its weight that a slow start gives it, from 1 to `scale`.
    fn ramp(&self, scale: i64, now: Instant) -> i64 {
        if self.slow_start.is_zero() {
            return scale;
        }
        let closed = self.watched.as_ref().and_then(Watched::closed_at);
        match self.recovered.max(closed) {
            Some(recovered) => {
                let part = now.duration_since(recovered).as_secs_f64()
                    / self.slow_start.as_secs_f64()
                    * scale as f64;
                (part as i64).clamp(1, scale)
            }
            _ => scale,
        }
    }

    fn connections_per_weight(&self, other: &Self, scale: i64, now: Instant) -> std::cmp::Ordering {
        let weight = |peer: &Self| u128::from(peer.weight) * peer.ramp(scale, now) as u128;
        let left = u128::from(self.connections) * weight(other);
        left.cmp(&(u128::from(other.connections) * weight(self)))
    }

    /// See the module's text on least time.
    fn cost(&self, age: Option<f64>, scale: i64, now: Instant) -> f64 {
        let connections = f64::from(self.connections);
        let mut average = self.average_time;
        if let Some(age) = age
            && self.connections > 0
        {
            average = average.max(age - self.starts / connections);
        }
        let weight = f64::from(self.weight) * self.ramp(scale, now) as f64;
        (connections + 1.0) * average / weight
    }

    /// `ngx_http_upstream_free_round_robin_peer` with `NGX_PEER_FAILED`.
    fn fail(&mut self, now: Instant) -> Option<Event> {
        self.fails = self.fails.saturating_add(1);
        self.failed = Some(now);
        self.checked = Some(now);
        if self.max_fails == 0 {
            return None;
        }
        let part = i64::from(self.weight / self.max_fails);
        self.effective_weight = (self.effective_weight - part).max(0);
        (self.fails >= self.max_fails).then_some(Event::Disabled)
    }

    /// The same without: a peer lives again once a pick made after its timeout worked.
    fn work(&mut self, now: Instant) -> Option<Event> {
        if self.failed >= self.checked {
            return None;
        }
        let was_disabled = self.max_fails > 0 && self.fails >= self.max_fails;
        self.fails = 0;
        if !was_disabled {
            return None;
        }
        if !self.slow_start.is_zero() {
            self.recovered = Some(now);
        }
        Some(Event::Recovered)
    }
}

/// A number that differs each time; the system seeds it once per thread.
pub fn random_number() -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    std::hash::RandomState::new().build_hasher().finish()
}

/// SplitMix64.
fn next_random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *seed;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{ANY, server, state, weighted};
    use super::super::group::{Mode, Override, Peers};
    use super::*;
    use crate::conf::typed::upstream::{PeerAddress, TimeUntil, UpstreamServer};
    use proptest::prelude::*;
    use std::net::IpAddr;

    const SECOND: Duration = Duration::from_secs(1);

    /// Picks until told otherwise, each released at once as a success; positions from 0.
    fn picks(method: Method, servers: Vec<UpstreamServer>, count: usize) -> Vec<usize> {
        let (upstream, mut state) = state(method, servers);
        state.random = 7;
        let now = Instant::now();
        (0..count)
            .map(|_| {
                let choice = state
                    .select(&upstream.method, ANY, &mut Tried::default(), now)
                    .expect("a peer is free");
                state.release(choice, now, Some(Verdict::Worked), now);
                choice.position
            })
            .collect()
    }

    /// One request: tries peers until one is not in `broken`; the peers tried, and whether the last
    /// of them worked.
    fn request(
        upstream: &Upstream,
        state: &mut State,
        broken: &[usize],
        now: Instant,
    ) -> (Vec<usize>, bool) {
        let mut tried = Tried::default();
        let mut order = Vec::new();
        loop {
            let Ok(choice) = state.select(&upstream.method, ANY, &mut tried, now) else {
                return (order, false);
            };
            let number = choice.position + usize::from(choice.is_backup) * 100;
            order.push(number);
            if !broken.contains(&number) {
                state.release(choice, now, Some(Verdict::Worked), now);
                return (order, true);
            }
            state.release(choice, now, Some(Verdict::Failed), now);
            if !tried.may_continue() {
                return (order, false);
            }
        }
    }

    /// Lets requests work until one is given the peer wanted: its weight may have been lowered.
    fn pick_of(upstream: &Upstream, state: &mut State, position: usize, now: Instant) -> Choice {
        for _ in 0..10 {
            let choice = state
                .select(&upstream.method, ANY, &mut Tried::default(), now)
                .expect("a peer is free");
            if choice.position == position {
                return choice;
            }
            state.release(choice, now, Some(Verdict::Worked), now);
        }
        panic!("the peer is never picked");
    }

    #[test]
    fn weights_five_one_one_interleave_smoothly() {
        let order = picks(Method::RoundRobin, weighted(&[5, 1, 1]), 14);
        assert_eq!(order, [0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 0, 2, 0, 0]);
    }

    /// The published description of the algorithm, written down plainly.
    struct Plain {
        weights: Vec<i64>,
        current: Vec<i64>,
    }

    impl Plain {
        fn next(&mut self) -> usize {
            for (current, weight) in self.current.iter_mut().zip(&self.weights) {
                *current += weight;
            }
            let greatest = self.current.iter().max().copied().unwrap_or_default();
            let best = self.current.iter().position(|&it| it == greatest);
            let best = best.unwrap_or_default();
            self.current[best] -= self.weights.iter().sum::<i64>();
            best
        }
    }

    #[test]
    fn ten_thousand_picks_equal_the_plain_model() {
        let weights = [7, 1, 3, 3, 10, 2];
        let mut model = Plain {
            weights: weights.iter().map(|&it| i64::from(it)).collect(),
            current: vec![0; weights.len()],
        };
        let expected: Vec<_> = (0..10_000).map(|_| model.next()).collect();
        assert_eq!(
            picks(Method::RoundRobin, weighted(&weights), 10_000),
            expected
        );
    }

    #[test]
    fn a_slow_start_elsewhere_in_the_group_does_not_change_the_order() {
        let mut servers = weighted(&[5, 1, 1]);
        servers[2].slow_start = 30 * SECOND;
        let order = picks(Method::RoundRobin, servers, 7);
        assert_eq!(order, [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn a_failed_peer_is_left_out_until_its_timeout_and_then_probed_once() {
        let (upstream, mut state) = state(Method::RoundRobin, weighted(&[1, 1]));
        let start = Instant::now();
        assert_eq!(
            request(&upstream, &mut state, &[0], start),
            (vec![0, 1], true)
        );
        for second in 1..=10 {
            let now = start + second * SECOND;
            assert_eq!(request(&upstream, &mut state, &[0], now).0, [1]);
        }
        let now = start + 11 * SECOND;
        let probe = pick_of(&upstream, &mut state, 0, now);
        // While the probe runs, others stay away.
        assert_eq!(request(&upstream, &mut state, &[], now).0, [1]);
        let event = state.release(probe, now, Some(Verdict::Worked), now);
        assert_eq!(event, Some(Event::Recovered));
        let both: Vec<_> = (0..4)
            .flat_map(|_| request(&upstream, &mut state, &[], now).0)
            .collect();
        assert!(both.contains(&0) && both.contains(&1));
    }

    #[test]
    fn a_probe_that_tells_nothing_leaves_the_peer_out() {
        let (upstream, mut state) = state(Method::RoundRobin, weighted(&[1, 1]));
        let start = Instant::now();
        request(&upstream, &mut state, &[0], start);
        let later = start + 11 * SECOND;
        let probe = pick_of(&upstream, &mut state, 0, later);
        assert_eq!(state.release(probe, later, None, later), None);
        let now = later + 5 * SECOND;
        for _ in 0..4 {
            assert_eq!(request(&upstream, &mut state, &[], now).0, [1]);
        }
    }

    #[test]
    fn the_third_failure_disables_and_a_success_between_does_not_forgive_at_once() {
        let mut servers = weighted(&[1, 1]);
        servers[0].max_fails = 3;
        let (upstream, mut state) = state(Method::RoundRobin, servers);
        let now = Instant::now();
        let mut events = Vec::new();
        for verdict in [
            Verdict::Failed,
            Verdict::Failed,
            Verdict::Worked,
            Verdict::Failed,
        ] {
            let choice = pick_of(&upstream, &mut state, 0, now);
            events.push(state.release(choice, now, Some(verdict), now));
        }
        assert_eq!(events, [None, None, None, Some(Event::Disabled)]);
    }

    #[test]
    fn a_failure_lowers_the_weight_and_picks_raise_it_again() {
        // One failure of two allowed takes half of the weight; each pick gives one back.
        let mut servers = weighted(&[10, 10]);
        servers[0].max_fails = 2;
        let (upstream, mut state) = state(Method::RoundRobin, servers);
        let now = Instant::now();
        assert_eq!(request(&upstream, &mut state, &[0], now).0, [0, 1]);
        assert_eq!(state.primary.peers[0].effective_weight, 5);
        for _ in 0..5 {
            request(&upstream, &mut state, &[], now);
        }
        assert_eq!(state.primary.peers[0].effective_weight, 10);
    }

    #[test]
    fn zero_max_fails_never_disables() {
        let mut servers = weighted(&[1, 1]);
        servers[0].max_fails = 0;
        let (upstream, mut state) = state(Method::RoundRobin, servers);
        let now = Instant::now();
        let firsts: Vec<_> = (0..6)
            .map(|_| request(&upstream, &mut state, &[0], now).0[0])
            .collect();
        assert!(firsts.iter().filter(|&&first| first == 0).count() >= 2);
    }

    #[test]
    fn the_only_peer_is_never_marked_and_tried_once_a_request() {
        let (upstream, mut state) = state(Method::RoundRobin, vec![server(1)]);
        let now = Instant::now();
        for _ in 0..5 {
            assert_eq!(request(&upstream, &mut state, &[0], now), (vec![0], false));
        }
        assert_eq!(state.primary.peers[0].fails, 0);
    }

    #[test]
    fn backups_come_after_all_primaries_and_only_then() {
        let mut servers = weighted(&[1, 1, 1, 1]);
        servers[2].backup = true;
        servers[3].backup = true;
        for method in [Method::RoundRobin, Method::LeastConnections] {
            let (upstream, mut state) = state(method, servers_of(&servers));
            let now = Instant::now();
            let (order, works) = request(&upstream, &mut state, &[0, 1, 100], now);
            assert_eq!((order, works), (vec![0, 1, 100, 101], true));
            // The primaries are marked now, and so is the first backup.
            assert_eq!(request(&upstream, &mut state, &[], now).0, [101]);
            let later = now + 11 * SECOND;
            assert!(request(&upstream, &mut state, &[], later).0[0] < 2);
        }
    }

    fn servers_of(servers: &[UpstreamServer]) -> Vec<UpstreamServer> {
        servers
            .iter()
            .zip(1..)
            .map(|(line, port)| UpstreamServer {
                weight: line.weight,
                backup: line.backup,
                down: line.down,
                drain: line.drain,
                max_connections: line.max_connections,
                max_fails: line.max_fails,
                ..server(port)
            })
            .collect()
    }

    #[test]
    fn peers_that_are_down_do_not_count_as_tries() {
        let mut servers = weighted(&[1, 1, 1]);
        servers[1].down = true;
        let (upstream, mut state) = state(Method::RoundRobin, servers);
        let now = Instant::now();
        assert_eq!(
            request(&upstream, &mut state, &[0, 2], now),
            (vec![0, 2], false)
        );
    }

    #[test]
    fn the_limit_of_tries_holds() {
        let (upstream, mut state) = state(Method::RoundRobin, weighted(&[1, 1, 1]));
        let now = Instant::now();
        let mut tried = Tried::with_limit(2);
        for left in [true, false] {
            let choice = state
                .select(&upstream.method, ANY, &mut tried, now)
                .expect("a peer is free");
            state.release(choice, now, Some(Verdict::Failed), now);
            assert_eq!(tried.may_continue(), left);
        }
    }

    #[test]
    fn full_peers_are_passed_over_and_all_full_is_told_apart() {
        let mut servers = weighted(&[1, 1]);
        servers[0].max_connections = 1;
        servers[1].max_connections = 2;
        let (upstream, mut state) = state(Method::RoundRobin, servers);
        let now = Instant::now();
        let select =
            |state: &mut State| state.select(&upstream.method, ANY, &mut Tried::default(), now);
        let held: Vec<_> = (0..3).map_while(|_| select(&mut state).ok()).collect();
        assert_eq!(held.len(), 3);
        assert_eq!(select(&mut state), Err(Shortage::Busy));
        state.release(held[1], now, None, now);
        assert_eq!(select(&mut state).map(|it| it.id), Ok(held[1].id));
    }

    #[test]
    fn who_found_all_full_gets_a_primary_that_frees_up_also_when_there_are_backups() {
        let mut servers = weighted(&[1, 1]);
        servers[1].backup = true;
        for server in &mut servers {
            server.max_connections = 1;
        }
        let (upstream, mut state) = state(Method::RoundRobin, servers);
        let now = Instant::now();
        let select =
            |state: &mut State, tried: &mut Tried| state.select(&upstream.method, ANY, tried, now);
        let primary = select(&mut state, &mut Tried::default()).expect("it is free");
        let backup = select(&mut state, &mut Tried::default()).expect("it is free");
        assert!(!primary.is_backup && backup.is_backup);
        let mut tried = Tried::default();
        assert_eq!(select(&mut state, &mut tried), Err(Shortage::Busy));
        state.release(primary, now, None, now);
        assert_eq!(select(&mut state, &mut tried), Ok(primary));
        // It had its try of this one: that it is full again is not worth a wait.
        state.release(backup, now, Some(Verdict::Failed), now);
        assert_eq!(select(&mut state, &mut tried), Err(Shortage::NoneLive));
    }

    #[test]
    fn all_failed_is_no_live_peer_and_no_address_is_unresolved() {
        let (upstream, mut failed) = state(Method::RoundRobin, weighted(&[1, 1]));
        let now = Instant::now();
        request(&upstream, &mut failed, &[0, 1], now);
        let none = failed.select(&upstream.method, ANY, &mut Tried::default(), now);
        assert_eq!(none, Err(Shortage::NoneLive));
        let (upstream, mut unresolved) = state(
            Method::RoundRobin,
            vec![super::super::fixture::named("nowhere.test", 80)],
        );
        let none = unresolved.select(&upstream.method, ANY, &mut Tried::default(), now);
        assert_eq!(none, Err(Shortage::Unresolved));
    }

    #[test]
    fn least_connections_weighs_and_takes_turns_among_equals() {
        let (upstream, mut state) = state(Method::LeastConnections, weighted(&[2, 1]));
        let now = Instant::now();
        let mut select = || {
            state
                .select(&upstream.method, ANY, &mut Tried::default(), now)
                .map(|choice| choice.position)
        };
        // None is released: connections settle at two to one.
        let order: Vec<_> = (0..6).map_while(|_| select().ok()).collect();
        assert_eq!(order.iter().filter(|&&it| it == 0).count(), 4);
        assert_eq!(
            picks(Method::LeastConnections, weighted(&[5, 1, 1]), 7),
            [0, 0, 1, 0, 2, 0, 0]
        );
    }

    #[test]
    fn least_time_measures_all_first_and_then_prefers_the_fast_one() {
        let method = || Method::LeastTime {
            until: TimeUntil::LastByte,
            inflight: false,
        };
        let (upstream, mut state) = state(method(), weighted(&[1, 1, 1]));
        let now = Instant::now();
        let times = [200, 10, 200].map(Duration::from_millis);
        let mut order = Vec::new();
        for _ in 0..20 {
            let choice = state
                .select(&upstream.method, ANY, &mut Tried::default(), now)
                .expect("a peer is free");
            state.measure(choice, times[choice.position]);
            state.release(choice, now, Some(Verdict::Worked), now);
            order.push(choice.position);
        }
        assert_eq!(order[..3], [0, 1, 2]);
        assert!(order[3..].iter().all(|&position| position == 1));
    }

    #[test]
    fn least_time_with_inflight_leaves_a_peer_that_hangs() {
        let method = Method::LeastTime {
            until: TimeUntil::Header,
            inflight: true,
        };
        let (upstream, mut state) = state(method, weighted(&[1, 1]));
        let start = Instant::now();
        let mut next = |now| {
            let choice = state.select(&upstream.method, ANY, &mut Tried::default(), now)?;
            state.measure(choice, Duration::from_millis(10));
            Ok::<_, Shortage>(choice)
        };
        let first = next(start);
        let second = next(start).expect("a peer is free");
        assert_eq!(first.map(|choice| choice.position), Ok(0));
        assert_eq!(second.position, 1);
        let later = start + 5 * SECOND;
        state.release(second, start, Some(Verdict::Worked), later);
        let third = state.select(&upstream.method, ANY, &mut Tried::default(), later);
        assert_eq!(third.map(|choice| choice.position), Ok(1));
    }

    #[test]
    fn slow_start_gives_a_recovered_peer_its_share_bit_by_bit() {
        let mut servers = weighted(&[1, 1]);
        servers[0].slow_start = 100 * SECOND;
        let (upstream, mut state) = state(Method::RoundRobin, servers);
        let start = Instant::now();
        assert_eq!(request(&upstream, &mut state, &[0], start).0, [0, 1]);
        let mut share = |second: u32| {
            let now = start + second * SECOND;
            let orders = (0..1000).map(|_| request(&upstream, &mut state, &[], now).0[0]);
            orders.filter(|&position| position == 0).count()
        };
        // The first of these is the probe that brings it back.
        assert!(share(11) <= 5);
        let quarter = share(11 + 25);
        assert!((180..=220).contains(&quarter), "{quarter}");
        let whole = share(11 + 200);
        assert!((495..=505).contains(&whole), "{whole}");
    }

    #[test]
    fn a_session_goes_to_its_peer_also_while_that_drains_but_not_when_it_is_down() {
        let mut servers = weighted(&[1, 1, 1]);
        servers[1].drain = true;
        let (upstream, mut state) = state(Method::RoundRobin, servers);
        let now = Instant::now();
        let session = state.table().primary[1].session.clone();
        let wish = Wish {
            sticky: Some(session.as_bytes()),
            ..ANY
        };
        for _ in 0..5 {
            let choice = state.select(&upstream.method, wish, &mut Tried::default(), now);
            assert_eq!(choice.map(|choice| choice.position), Ok(1));
        }
        for _ in 0..5 {
            assert_ne!(request(&upstream, &mut state, &[], now).0[0], 1);
        }
        let unknown = Wish {
            sticky: Some(b"nobody"),
            ..ANY
        };
        let choice = state.select(&upstream.method, unknown, &mut Tried::default(), now);
        assert!(choice.is_ok_and(|choice| choice.position != 1));
    }

    #[test]
    fn an_override_takes_hold_and_the_rest_of_the_state_stays() {
        let (upstream, mut state) = state(Method::RoundRobin, weighted(&[1, 1]));
        let peers = Peers::new(Arc::clone(&upstream), None);
        state.follow(&upstream, peers.table());
        let now = Instant::now();
        request(&upstream, &mut state, &[0], now);
        let address = peers.table().primary[1].address.clone();
        let down = Override {
            mode: Mode::Down,
            weight: None,
        };
        assert!(peers.set_override(1, &address, down));
        state.follow(&upstream, peers.table());
        let none = state.select(&upstream.method, ANY, &mut Tried::default(), now);
        assert_eq!(none, Err(Shortage::NoneLive), "the first is still marked");
        assert!(peers.set_override(1, &address, Override::default()));
        state.follow(&upstream, peers.table());
        assert_eq!(request(&upstream, &mut state, &[], now).0, [1]);
        assert!(!peers.set_override(0, &address, down), "not of that line");
    }

    /// Replays a file of `tests/data/upstream`; its README says what stands in it.
    fn replay(recorded: &str) {
        let (group, requests) = recorded.split_once("\n\n").expect("two parts");
        let mut servers = Vec::new();
        let mut method = Method::RoundRobin;
        for line in group.lines() {
            let mut words = line.split(' ');
            let (kind, first) = (words.next(), words.next().expect("two words or more"));
            if kind == Some("method") {
                method = match (first, words.next()) {
                    ("round_robin", _) => Method::RoundRobin,
                    ("least_conn", _) => Method::LeastConnections,
                    ("ip_hash", _) => Method::IpHash,
                    ("hash", _) => Method::Hash {
                        key: Default::default(),
                        consistent: words.next() == Some("consistent"),
                    },
                    (other, _) => panic!("unknown method {other}"),
                };
                continue;
            }
            let mut server = server(1);
            server.name = first.into();
            server.address = match first.strip_prefix("unix:") {
                Some(path) => PeerAddress::Unix(path.into()),
                None => PeerAddress::Ip(first.parse().expect("an address")),
            };
            for word in words {
                match word.split_once('=') {
                    Some(("weight", weight)) => server.weight = weight.parse().expect("a number"),
                    Some(("max_fails", fails)) => {
                        server.max_fails = fails.parse().expect("a number");
                    }
                    Some(("fail_timeout", "1h")) => server.fail_timeout = 3600 * SECOND,
                    None if word == "down" => server.down = true,
                    None if word == "backup" => server.backup = true,
                    _ => panic!("unknown parameter {word}"),
                }
            }
            servers.push(server);
        }
        let (upstream, mut state) = state(method, servers);
        let now = Instant::now();
        for (number, line) in requests.lines().enumerate() {
            let (key, expected) = line.split_once("= ").expect("a key and peers");
            let key = key.trim_end();
            let key = match (&upstream.method, key.parse()) {
                (Method::IpHash, Ok(IpAddr::V4(four))) => four.octets()[..3].to_vec(),
                (Method::IpHash, Ok(IpAddr::V6(six))) => six.octets().to_vec(),
                _ => key.as_bytes().to_vec(),
            };
            let wish = Wish {
                key: &key,
                sticky: None,
            };
            let mut tried = Tried::default();
            let mut order = Vec::new();
            loop {
                let choice = state.select(&upstream.method, wish, &mut tried, now);
                let Ok(choice) = choice else {
                    order.push("backend".to_owned());
                    break;
                };
                let table = Arc::clone(state.table());
                let tier = match choice.is_backup {
                    false => &table.primary,
                    true => &table.backup,
                };
                let label = tier[choice.position].label.to_string();
                let is_dead = label.starts_with("127.0.0.1:1905");
                order.push(label);
                if !is_dead {
                    state.release(choice, now, Some(Verdict::Worked), now);
                    break;
                }
                state.release(choice, now, Some(Verdict::Failed), now);
                if !tried.may_continue() {
                    break;
                }
            }
            assert_eq!(order.join(", "), expected, "request {number}: {line}");
        }
    }

    macro_rules! recorded {
        ($($name:ident)*) => {$(
            #[test]
            fn $name() {
                replay(include_str!(concat!(
                    "../../tests/data/upstream/",
                    stringify!($name),
                    ".txt"
                )));
            }
        )*};
    }

    /// The picks of nginx, file by file.
    mod nginx {
        use super::replay;

        recorded! {
            round_robin
            round_robin_failures
            round_robin_unmarked
            round_robin_backup
            round_robin_none_live
            round_robin_single
            round_robin_single_and_down
            least_conn
            ip_hash
            ip_hash_failures
            hash
            hash_failures
            hash_consistent
            hash_consistent_failures
        }
    }

    fn any_method() -> impl Strategy<Value = u8> {
        0..7u8
    }

    fn method(number: u8) -> Method {
        match number {
            0 => Method::RoundRobin,
            1 => Method::LeastConnections,
            2 => Method::IpHash,
            3 => Method::Hash {
                key: Default::default(),
                consistent: false,
            },
            4 => Method::Hash {
                key: Default::default(),
                consistent: true,
            },
            5 => Method::Random(RandomChoice::TwoLeastConnections),
            _ => Method::LeastTime {
                until: TimeUntil::Header,
                inflight: true,
            },
        }
    }

    proptest! {
        #[test]
        fn no_request_gets_a_peer_twice_or_one_that_is_down_or_full(
            number in any_method(),
            lines in prop::collection::vec(
                (1..6u32, 0..3u32, 0..3u32, any::<bool>(), prop::bool::weighted(0.2)), 1..9),
            requests in prop::collection::vec((any::<u32>(), any::<u64>(), 0..8u64), 1..40),
        ) {
            let servers: Vec<_> = lines.iter().zip(1..).map(|(line, port)| UpstreamServer {
                weight: line.0,
                max_connections: line.1,
                max_fails: line.2,
                // The first stays primary.
                backup: line.3 && port > 1,
                down: line.4,
                ..server(port)
            }).collect();
            let (upstream, mut state) = state(method(number), servers);
            let mut now = Instant::now();
            let mut held = Vec::new();
            for (key, verdicts, seconds) in requests {
                now += Duration::from_secs(seconds);
                let key = key.to_le_bytes();
                let wish = Wish { key: &key, sticky: None };
                let mut tried = Tried::default();
                let mut seen = Vec::new();
                for turn in 0.. {
                    let Ok(choice) = state.select(&upstream.method, wish, &mut tried, now) else {
                        break;
                    };
                    prop_assert!(!seen.contains(&choice.id), "tried twice");
                    seen.push(choice.id);
                    let table = Arc::clone(state.table());
                    let tier = if choice.is_backup { &table.backup } else { &table.primary };
                    prop_assert!(!tier[choice.position].is_down);
                    let states = if choice.is_backup { &state.backup } else { &state.primary };
                    let peer = &states.peers[choice.position];
                    prop_assert!(peer.max_connections == 0
                        || peer.connections <= peer.max_connections);
                    match verdicts >> (turn * 2) & 3 {
                        0 => {
                            state.release(choice, now, Some(Verdict::Failed), now);
                            if !tried.may_continue() {
                                break;
                            }
                        }
                        1 => {
                            held.push((choice, now));
                            break;
                        }
                        _ => {
                            state.release(choice, now, Some(Verdict::Worked), now);
                            break;
                        }
                    }
                }
                prop_assert!(seen.len() <= lines.len());
            }
            for (choice, started) in held {
                state.release(choice, started, None, now);
            }
            for peer in state.primary.peers.iter().chain(&state.backup.peers) {
                prop_assert_eq!(peer.connections, 0);
                prop_assert!(peer.effective_weight >= 0);
            }
        }

        #[test]
        fn over_one_round_each_peer_gets_exactly_its_weight(
            weights in prop::collection::vec(1..20u32, 2..8),
        ) {
            let round: u32 = weights.iter().sum();
            let order = picks(Method::RoundRobin, weighted(&weights), round as usize);
            for (position, weight) in weights.iter().enumerate() {
                let count = order.iter().filter(|&&it| it == position).count();
                prop_assert_eq!(count, *weight as usize);
            }
        }

        #[test]
        fn random_picks_follow_the_weights(weights in prop::collection::vec(1..5u32, 2..5)) {
            let order = picks(Method::Random(RandomChoice::One), weighted(&weights), 4000);
            let total: u32 = weights.iter().sum();
            for (position, weight) in weights.iter().enumerate() {
                let count = order.iter().filter(|&&it| it == position).count() as f64;
                let expected = 4000.0 * f64::from(*weight) / f64::from(total);
                // More than seven standard deviations.
                prop_assert!((count - expected).abs() < 230.0, "{} of {}", count, expected);
            }
        }
    }
}
