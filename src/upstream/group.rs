//! The peers of an `upstream {}` and the way a request gets one.
//!
//! [`Peers`] is what all workers share: the addresses known, and what an operator overrode at run
//! time. It changes rarely, as a whole: readers compare one number ([`Peers::epoch`]) and take the
//! new [`Table`] when it moved. [`Group`] is a worker's own view with the state of the balance;
//! [`Selected`] is a peer in use. Failures and recoveries are handed back as values; nothing is
//! logged here.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::balance::{self, Choice, Event, Shortage, State, Tried, Verdict, Wish};
use super::circuit::{Circuit, LimitsById, Pass, Report, Turn, Watched, Window};
use super::hash::Circle;
use super::health::{Condition, Finding, Record};
use super::queue::{Class, Counts, Queue};
use super::sticky::{self, Sessions};
use crate::conf::source::Span;
use crate::conf::typed::health::{Guard, HealthCheck, RetryBudget};
use crate::conf::typed::listen::Address;
use crate::conf::typed::upstream::{
    Keepalive, Method, PeerAddress, RandomChoice, TimeUntil, Upstream, UpstreamServer,
};
use crate::http::exchange::Exchange;
use crate::http::variables;
use crate::metrics::traffic::{self, PeerId, PeerKey};
use crate::unit::clock;

/// The time over which the budget of retries is counted.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);

/// Who finds a queue full is told to come again after no more than this.
const MOST_RETRY_AFTER: Duration = Duration::from_secs(30);

/// One peer: an address of one `server` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its own for as long as the address is known.
    pub(super) id: u32,
    /// Position of its line in [`Upstream::servers`].
    pub server: usize,
    /// The first line with the same name: its points on the circle are shared.
    pub(super) name: u32,
    /// Where it is.
    pub address: Address,
    /// The address as in `$upstream_addr`.
    pub label: Box<str>,
    /// What a session remembers: `route=`, or the MD5 of the label.
    pub(super) session: Box<str>,
    /// Its share, as configured, as the SRV record says, or as overridden.
    pub weight: u32,
    /// Gets nothing.
    pub is_down: bool,
    /// Gets only the requests of sessions that belong to it.
    pub is_draining: bool,
    /// What checks say of it.
    pub condition: Condition,
    /// Its circuit, with `eject`.
    pub watched: Option<Watched>,
    /// What its attempts are counted as.
    pub traffic_id: PeerId,
}

impl Peer {
    /// Does it get nothing, because somebody or a check says so?
    pub fn is_out(&self) -> bool {
        self.is_down || self.condition.is_out()
    }
}

/// All peers of a group at one moment.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Those that are chosen first.
    pub primary: Vec<Arc<Peer>>,
    /// Those that are chosen when no other can be.
    pub backup: Vec<Arc<Peer>>,
    pub(super) circle: Circle,
}

impl Table {
    pub(super) fn is_empty(&self) -> bool {
        self.primary.is_empty() && self.backup.is_empty()
    }
}

/// An address that a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Address and port.
    pub address: SocketAddr,
    /// The weight of an SRV record; it holds where the `server` line sets none.
    pub weight: Option<u32>,
    /// An SRV record of a lower priority than the best: a backup.
    pub is_backup: bool,
}

/// What an operator changes about a peer while the process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Override {
    /// Whether it gets requests.
    pub mode: Mode,
    /// Its weight, if not the configured one.
    pub weight: Option<NonZeroU32>,
}

/// Whether a peer gets requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// As its line says.
    #[default]
    Configured,
    /// It does.
    Up,
    /// It does not.
    Down,
    /// Only those of its sessions.
    Drain,
}

/// The peers of one upstream, shared by all workers.
#[derive(Debug)]
pub struct Peers {
    upstream: Arc<Upstream>,
    epoch: AtomicU64,
    known: Mutex<Known>,
    /// The balance of all workers, with `zone`.
    shared: Option<Mutex<State>>,
    queue: Arc<Queue>,
    waiting: Arc<Counts>,
    sessions: Option<Arc<Mutex<Sessions>>>,
    /// The circuit of the group, with `breaker`.
    breaker: Option<Watched>,
    /// Requests and retries, with `retry_budget`.
    budget: Option<Arc<Window>>,
    /// Held while a peer is being left out.
    ejecting: Mutex<()>,
    /// Told when peers changed, or are to be checked now.
    changed: Notify,
}

/// A peer as it is known from one table to the next: its line and its address.
type Key = (usize, Address);

#[derive(Debug)]
struct Known {
    table: Arc<Table>,
    next_id: u32,
    /// By `server` line.
    addresses: Vec<Vec<Resolved>>,
    overrides: Vec<(usize, Address, Override)>,
    /// The upstream was computed from a request.
    is_computed: bool,
    /// Are the peers checked, and is a new one to pass first?
    checked: Option<bool>,
    records: HashMap<Key, Record>,
    circuits: HashMap<Key, Arc<Circuit>>,
    limits: Option<Arc<LimitsById>>,
    /// Peers that somebody wants to be checked now.
    asked: Vec<Key>,
}

impl Peers {
    /// The peers of an upstream with literal addresses; those behind names follow by
    /// [`Self::learn`]. Overrides, learned sessions, and the addresses of names that the lines still
    /// have are taken over from the same upstream of the configuration before: a reload while DNS is
    /// out of order takes no peer away.
    pub fn new(upstream: Arc<Upstream>, previous: Option<&Self>) -> Self {
        Self::build(upstream, previous, false)
    }

    fn build(upstream: Arc<Upstream>, previous: Option<&Self>, is_computed: bool) -> Self {
        let mut known = Known {
            table: Arc::default(),
            next_id: 0,
            addresses: vec![Vec::new(); upstream.servers.len()],
            overrides: Vec::new(),
            is_computed,
            checked: None,
            records: HashMap::new(),
            circuits: HashMap::new(),
            limits: (upstream.guard.eject.as_ref())
                .map(|eject| Arc::new(LimitsById(eject.limits.clone()))),
            asked: Vec::new(),
        };
        if let Some(previous) = previous {
            let old = previous.known.lock();
            // Where the line of a peer stands now.
            let line_of = |(server, address): &Key| {
                let name = &previous.upstream.servers[*server].name;
                let line = upstream.servers.iter().position(|line| line.name == *name);
                line.map(|line| (line, address.clone()))
            };
            let records = old.records.iter();
            known.records = records
                .filter_map(|(key, record)| Some((line_of(key)?, record.clone())))
                .collect();
            let circuits = old.circuits.iter();
            known.circuits = circuits
                .filter_map(|(key, circuit)| Some((line_of(key)?, Arc::clone(circuit))))
                .collect();
            for (line, addresses) in upstream.servers.iter().zip(&mut known.addresses) {
                let mut lines = previous.upstream.servers.iter().zip(&old.addresses);
                let same = lines.find(|(other, _)| {
                    other.address == line.address && other.service == line.service
                });
                if let Some((_, known)) = same {
                    addresses.clone_from(known);
                }
            }
            for (server, address, change) in &old.overrides {
                let name = &previous.upstream.servers[*server].name;
                let line = upstream.servers.iter().position(|line| line.name == *name);
                if let Some(line) = line {
                    known.overrides.push((line, address.clone(), *change));
                }
            }
        }
        known.rebuild(&upstream);
        let sessions = sticky::sessions(
            upstream.sticky.as_ref(),
            previous.and_then(|previous| previous.sessions.as_ref()),
        );
        let shared = upstream
            .zone
            .as_ref()
            .map(|_| Mutex::new(State::new(&upstream, Arc::clone(&known.table))));
        let breaker = upstream.guard.breaker.as_ref().map(|limits| {
            let before = previous.and_then(|previous| previous.breaker.as_ref());
            let circuit = match before {
                Some(before) => Arc::clone(before.circuit()),
                None => Arc::new(Circuit::new(clock::now())),
            };
            Watched::new(circuit, Arc::new(LimitsById(limits.clone())))
        });
        let budget = upstream.guard.retry_budget.map(|_| {
            let before = previous.and_then(|previous| previous.budget.clone());
            before.unwrap_or_default()
        });
        let waiting: Arc<Counts> = match previous {
            Some(previous) => Arc::clone(&previous.waiting),
            None => Arc::default(),
        };
        Self {
            upstream,
            epoch: AtomicU64::new(1),
            known: Mutex::new(known),
            shared,
            queue: Arc::new(Queue::new(Arc::clone(&waiting))),
            waiting,
            sessions,
            breaker,
            budget,
            ejecting: Mutex::new(()),
            changed: Notify::new(),
        }
    }

    /// The peers that a `proxy_pass` with variables came out as: the addresses of one name, begun
    /// with at random.
    pub fn of_addresses(host: &str, addresses: &[Address]) -> Self {
        let start = match addresses.len() {
            0 => 0,
            length => balance::random_number() as usize % length,
        };
        let (before, after) = addresses.split_at(start);
        let lines = after.iter().chain(before).map(|address| {
            let address = match address {
                Address::Ip(address) => PeerAddress::Ip(*address),
                Address::Unix(path) => PeerAddress::Unix(path.clone()),
            };
            UpstreamServer::new(host, address, Span::default())
        });
        let upstream = Upstream {
            name: host.into(),
            is_implicit: true,
            servers: lines.collect(),
            method: Method::RoundRobin,
            sticky: None,
            zone: None,
            keepalive: Keepalive::usual(),
            guard: Guard::default(),
            queue: None,
            resolver: None,
            span: Span::default(),
        };
        Self::build(Arc::new(upstream), None, true)
    }

    /// Its typed configuration.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// Changes whenever the table does.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// The peers as known now.
    pub fn table(&self) -> Arc<Table> {
        Arc::clone(&self.known.lock().table)
    }

    /// Sets the addresses that the name of a `server` line stands for. Addresses that were known stay
    /// where they are in the order, whatever the order of the answer; `true` if anything changed.
    pub fn learn(&self, server: usize, answer: &[Resolved]) -> bool {
        self.change(|known| {
            let Some(addresses) = known.addresses.get_mut(server) else {
                return;
            };
            addresses.retain_mut(|old| {
                let new = answer.iter().find(|new| new.address == old.address);
                new.inspect(|new| old.clone_from(new)).is_some()
            });
            for new in answer {
                if !addresses.iter().any(|old| old.address == new.address) {
                    addresses.push(new.clone());
                }
            }
        })
    }

    /// Overrides what the configuration says of a peer, for all workers, from their next choice on;
    /// `false` if there is no such peer.
    pub fn set_override(&self, server: usize, address: &Address, change: Override) -> bool {
        let table = self.table();
        let mut peers = table.primary.iter().chain(&table.backup);
        if !peers.any(|peer| peer.server == server && peer.address == *address) {
            return false;
        }
        self.change(|known| {
            known
                .overrides
                .retain(|(line, at, _)| *line != server || at != address);
            if change != Override::default() {
                known.overrides.push((server, address.clone(), change));
            }
        });
        true
    }

    /// What is overridden of a peer.
    pub fn override_of(&self, server: usize, address: &Address) -> Override {
        let known = self.known.lock();
        let mut overrides = known.overrides.iter();
        overrides
            .find(|(line, at, _)| *line == server && at == address)
            .map(|(.., change)| *change)
            .unwrap_or_default()
    }

    /// The peers are checked from now on; where it is `mandatory`, one that is new gets nothing
    /// before it has passed.
    pub fn attend_checks(&self, mandatory: bool) {
        self.change(|known| known.checked = Some(mandatory));
    }

    /// Takes in what a check of a peer found out; tells into which condition the peer came by it.
    pub fn note_finding(
        &self,
        server: usize,
        address: &Address,
        finding: Finding,
        check: &HealthCheck,
    ) -> Option<Condition> {
        let turned = {
            let mut known = self.known.lock();
            let mandatory = known.checked == Some(true);
            let record = known.records.entry((server, address.clone()));
            let record = record.or_insert_with(|| Record::new(mandatory));
            record.note(finding, check).then_some(record.condition)
        };
        if turned.is_some() {
            self.change(|_| {});
        }
        turned
    }

    /// What checks found out about a peer; `None` where none are made.
    pub fn record(&self, server: usize, address: &Address) -> Option<Record> {
        let known = self.known.lock();
        let mandatory = known.checked?;
        let record = known.records.get(&(server, address.clone()));
        Some(record.cloned().unwrap_or_else(|| Record::new(mandatory)))
    }

    /// Asks for a check of a peer now; `false` if its group is not checked.
    pub fn ask_for_check(&self, server: usize, address: &Address) -> bool {
        let mut known = self.known.lock();
        if known.checked.is_none() {
            return false;
        }
        let key = (server, address.clone());
        if !known.asked.contains(&key) {
            known.asked.push(key);
        }
        drop(known);
        self.changed.notify_one();
        true
    }

    /// The peers that are to be checked now, each told once.
    pub fn take_asked(&self) -> Vec<(usize, Address)> {
        std::mem::take(&mut self.known.lock().asked)
    }

    /// Until the peers changed, or somebody asked for a check. For the one task that checks them.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// How the circuit of the group stands, with `breaker`.
    pub fn breaker(&self, now: Instant) -> Option<Report> {
        self.breaker.as_ref().map(|breaker| breaker.report(now))
    }

    /// How many requests wait in the queues of all workers, and how many were turned away.
    pub fn waiting(&self) -> (usize, u64) {
        let counts = &*self.waiting;
        let waiting = counts.waiting.load(Ordering::Relaxed);
        (waiting, counts.refused.load(Ordering::Relaxed))
    }

    /// May one more peer be left out? Nobody else is told so while what this gives is held: two
    /// workers must not leave out the last two peers at once.
    fn may_eject(&self) -> Option<MutexGuard<'_, ()>> {
        let eject = self.upstream.guard.eject.as_ref()?;
        let held = self.ejecting.lock();
        let table = self.table();
        let all = table.primary.iter().chain(&table.backup);
        let mut usable = 0;
        let mut ejected = 0;
        for peer in all.filter(|peer| !peer.is_out() && !peer.is_draining) {
            usable += 1;
            let watched = peer.watched.as_ref();
            ejected += u64::from(watched.is_some_and(|it| !it.circuit().is_closed()));
        }
        let may = ejected + 1 < usable && (ejected + 1) * 100 <= usable * u64::from(eject.most);
        may.then_some(held)
    }

    fn change(&self, change: impl FnOnce(&mut Known)) -> bool {
        let mut known = self.known.lock();
        change(&mut known);
        let has_changed = known.rebuild(&self.upstream);
        if has_changed {
            self.epoch.fetch_add(1, Ordering::Release);
            // Whoever waits for a peer may have got one.
            self.queue.call();
            self.changed.notify_one();
        }
        has_changed
    }
}

impl Known {
    fn rebuild(&mut self, upstream: &Upstream) -> bool {
        let mut primary = Vec::new();
        let mut backup = Vec::new();
        for (position, line) in upstream.servers.iter().enumerate() {
            let literal = match &line.address {
                PeerAddress::Ip(address) => Some(Address::Ip(*address)),
                PeerAddress::Unix(path) => Some(Address::Unix(path.clone())),
                PeerAddress::Name { .. } => None,
            };
            let resolved = self.addresses[position].iter().map(|resolved| {
                let address = Address::Ip(resolved.address);
                (address, resolved.weight, resolved.is_backup)
            });
            let all = literal
                .map(|address| (address, None, false))
                .into_iter()
                .chain(resolved);
            for (address, record_weight, is_record_backup) in all {
                let change = self
                    .overrides
                    .iter()
                    .find(|(server, at, _)| *server == position && *at == address)
                    .map(|(.., change)| *change)
                    .unwrap_or_default();
                let known = self.table.primary.iter().chain(&self.table.backup);
                let id = known
                    .clone()
                    .find(|peer| peer.server == position && peer.address == address)
                    .map(|peer| peer.id)
                    .unwrap_or_else(|| {
                        self.next_id += 1;
                        self.next_id
                    });
                let label = address.to_string().into_boxed_str();
                let key = PeerKey {
                    upstream: upstream.name.clone(),
                    address: label.clone(),
                };
                let traffic_id = match self.is_computed {
                    false => traffic::peer_id(key),
                    true => traffic::computed_peer_id(key),
                };
                let key = (position, address.clone());
                let condition = match self.checked {
                    None => Condition::Unchecked,
                    Some(mandatory) => (self.records.get(&key))
                        .map_or_else(|| Record::new(mandatory).condition, |it| it.condition),
                };
                let watched = self.limits.as_ref().map(|limits| {
                    let circuit = self.circuits.entry(key);
                    let circuit = circuit.or_insert_with(|| Arc::new(Circuit::new(clock::now())));
                    Watched::new(Arc::clone(circuit), Arc::clone(limits))
                });
                let session = match &line.route {
                    Some(route) => route.clone(),
                    None => sticky::session_of(&label),
                };
                let configured = match (line.weight, record_weight) {
                    // A weight on the line goes before the record's, as in nginx.
                    (1, Some(weight)) => weight.max(1),
                    (weight, _) => weight,
                };
                let (is_down, is_draining) = match change.mode {
                    Mode::Configured => (line.down, line.drain),
                    Mode::Up => (false, false),
                    Mode::Down => (true, false),
                    Mode::Drain => (false, true),
                };
                let first = upstream.servers.iter().position(|it| it.name == line.name);
                let peer = Arc::new(Peer {
                    id,
                    server: position,
                    name: first.unwrap_or(position) as u32,
                    address,
                    label,
                    session,
                    weight: change.weight.map_or(configured, NonZeroU32::get),
                    is_down,
                    is_draining,
                    condition,
                    watched,
                    traffic_id,
                });
                match line.backup || is_record_backup {
                    false => primary.push(peer),
                    true => backup.push(peer),
                }
            }
        }
        let is_on_circle = matches!(
            upstream.method,
            Method::Hash {
                consistent: true,
                ..
            }
        );
        let circle = match is_on_circle {
            false => Circle::default(),
            true => Circle::new(primary.iter().map(|peer| {
                let name = &*upstream.servers[peer.server].name;
                (name, peer.name, peer.weight)
            })),
        };
        let table = Table {
            primary,
            backup,
            circle,
        };
        let has_changed = *self.table != table;
        if has_changed {
            self.table = Arc::new(table);
            // What is kept is bounded by the peers that there are.
            let table = &self.table;
            let is_known = |(server, address): &Key| {
                let mut peers = table.primary.iter().chain(&table.backup);
                peers.any(|peer| peer.server == *server && peer.address == *address)
            };
            self.records.retain(|key, _| is_known(key));
            self.circuits.retain(|key, _| is_known(key));
        }
        has_changed
    }
}

/// A peer as a worker hands it out.
#[derive(Debug)]
pub struct Target {
    id: u32,
    /// Where to connect to.
    pub address: Rc<Address>,
    /// The text of `$upstream_addr`.
    pub label: Rc<str>,
    /// The name of its `server` line, for `$upstream_last_server_name`.
    pub server_name: Rc<str>,
    /// [`Peer::traffic_id`]
    pub traffic_id: PeerId,
    session: Box<str>,
    watched: Option<Watched>,
    /// For how long it is left out when it failed too often.
    fail_timeout: Duration,
}

/// No peer could be chosen.
#[derive(Debug)]
pub struct NoPeer {
    /// The group's name: what nginx shows as `$upstream_addr` of the attempt.
    pub label: Rc<str>,
    /// Why.
    pub shortage: Shortage,
    /// After how many seconds it may be worth to ask again, if that is known.
    pub retry_after: Option<u64>,
}

/// One upstream as one worker sees it.
#[derive(Debug)]
pub struct Group {
    peers: Arc<Peers>,
    name: Rc<str>,
    /// The balance of this worker, without `zone`.
    own: Option<RefCell<State>>,
    /// The epoch that the state in use has followed.
    epoch: Cell<u64>,
    targets: RefCell<Targets>,
    scratch: RefCell<Vec<u8>>,
    queue: Arc<Queue>,
}

/// This worker's copies of what requests hold on to.
#[derive(Debug, Default)]
struct Targets {
    table: Arc<Table>,
    primary: Vec<Rc<Target>>,
    backup: Vec<Rc<Target>>,
}

impl Group {
    /// A worker's view of the peers.
    pub fn new(peers: Arc<Peers>) -> Rc<Self> {
        let table = peers.table();
        let own = peers.shared.is_none();
        let own = own.then(|| RefCell::new(State::new(&peers.upstream, table)));
        let queue = match own {
            Some(_) => Arc::new(Queue::new(Arc::clone(&peers.waiting))),
            None => Arc::clone(&peers.queue),
        };
        Rc::new(Self {
            name: Rc::from(&*peers.upstream.name),
            own,
            epoch: Cell::new(0),
            targets: RefCell::default(),
            scratch: RefCell::default(),
            queue,
            peers,
        })
    }

    /// Its typed configuration.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.peers.upstream
    }

    /// Chooses a peer that this request has not tried.
    pub fn select(
        self: &Rc<Self>,
        exchange: &Exchange,
        tried: &mut Tried,
        now: Instant,
    ) -> Result<Selected, NoPeer> {
        let upstream = &*self.peers.upstream;
        let mut scratch = self.scratch.take();
        scratch.clear();
        match &upstream.method {
            Method::IpHash => match exchange.connection.remote_ip() {
                Some(IpAddr::V4(address)) => scratch.extend_from_slice(&address.octets()[..3]),
                Some(IpAddr::V6(address)) => scratch.extend_from_slice(&address.octets()),
                None => scratch.extend_from_slice(&[0; 3]),
            },
            Method::Hash { key, .. } => variables::expand(key, exchange, &mut scratch),
            Method::RoundRobin
            | Method::LeastConnections
            | Method::Random(_)
            | Method::LeastTime { .. } => {}
        }
        let length = scratch.len();
        let is_sticky = upstream.sticky.as_ref().is_some_and(|sticky| {
            sticky::write_session(
                sticky,
                self.peers.sessions.as_deref(),
                exchange,
                now,
                &mut scratch,
            )
        });
        let (key, session) = scratch.split_at(length);
        let wish = Wish {
            key,
            sticky: is_sticky.then_some(session),
        };
        let selected = self.choose(wish, tried, now);
        self.scratch.replace(scratch);
        selected
    }

    fn choose(
        self: &Rc<Self>,
        wish: Wish<'_>,
        tried: &mut Tried,
        now: Instant,
    ) -> Result<Selected, NoPeer> {
        let breaker_pass = match &self.peers.breaker {
            None => Pass::Free,
            Some(breaker) => match breaker.enter(now) {
                Some(pass) => pass,
                None => return Err(self.none(Shortage::Open, Some(breaker.report(now).left))),
            },
        };
        let method = &self.peers.upstream.method;
        let chosen = self.with_state(|state| {
            let choice = state.select(method, wish, tried, now)?;
            Ok((choice, self.target(state.table(), choice)))
        });
        match chosen {
            Ok((choice, target)) => {
                if choice.is_probe {
                    self.leave_out(&target);
                }
                traffic::begin_use(target.traffic_id);
                Ok(Selected {
                    group: Rc::clone(self),
                    target,
                    choice,
                    breaker_pass,
                    started: now,
                    has_head: Cell::new(false),
                    is_over: false,
                })
            }
            Err(shortage) => {
                if let Some(breaker) = &self.peers.breaker {
                    breaker.leave(breaker_pass, None, now, || Some(()));
                }
                Err(self.none(shortage, None))
            }
        }
    }

    fn none(&self, shortage: Shortage, wait: Option<Duration>) -> NoPeer {
        NoPeer {
            label: Rc::clone(&self.name),
            shortage,
            retry_after: wait.map(|wait| wait.as_millis().div_ceil(1000).max(1) as u64),
        }
    }

    /// Do requests wait here when all peers have as many as they may have?
    pub fn has_queue(&self) -> bool {
        self.peers.upstream.queue.is_some()
    }

    /// As [`Self::select`], but where all peers are at `max_conns`, waits in the `queue` for one, in
    /// order of class and arrival, for as long as the queue's timeout.
    pub async fn select_in_turn(
        self: &Rc<Self>,
        exchange: &Exchange,
        tried: &mut Tried,
        class: Class,
    ) -> Result<Selected, NoPeer> {
        let Some((room, patience)) = self.peers.upstream.queue else {
            return self.select(exchange, tried, clock::now());
        };
        let queue = &self.queue;
        if queue.is_empty() {
            match self.select(exchange, tried, clock::now()) {
                Err(none) if none.shortage == Shortage::Busy => {}
                other => return other,
            }
        }
        // Whoever is turned away now would not be served sooner than those who wait.
        let busy = || {
            queue.note_refused();
            self.none(Shortage::Busy, Some(patience.min(MOST_RETRY_AFTER)))
        };
        let Some(place) = queue.join(class, room) else {
            return Err(busy());
        };
        // The one in front looks again, in case a peer came back without anybody leaving.
        queue.call();
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            match tokio::time::timeout_at(deadline, place.called()).await {
                Ok(true) => {}
                // Too late, or somebody of a higher class has the place.
                Ok(false) | Err(_) => return Err(busy()),
            }
            match self.select(exchange, tried, clock::now()) {
                Err(none) if none.shortage == Shortage::Busy => match tried.is_empty() {
                    true => place.wait_on(),
                    // What is free was tried; another may take it.
                    false => place.pass_on(),
                },
                other => {
                    place.finish();
                    // There may be room for the next as well.
                    queue.call();
                    return other;
                }
            }
        }
    }

    /// A request begins; counts for the budget of retries.
    pub fn note_request(&self, now: Instant) {
        if let Some(budget) = &self.peers.budget {
            budget.record(self.time(now), BUDGET_WINDOW, false);
        }
    }

    /// May a request be tried at another peer? Where it may, that is counted.
    pub fn may_retry(&self, now: Instant) -> bool {
        let (Some(window), Some(budget)) =
            (&self.peers.budget, self.peers.upstream.guard.retry_budget)
        else {
            return true;
        };
        let RetryBudget { percent, least } = budget;
        let time = self.time(now);
        let (all, retries) = window.sum(time, BUDGET_WINDOW);
        let allowed = (all - retries) * u64::from(percent) / 100;
        let may = retries < allowed.max(u64::from(least));
        if may {
            window.record(time, BUDGET_WINDOW, true);
        }
        may
    }

    /// Milliseconds since some moment that all workers share.
    fn time(&self, now: Instant) -> u64 {
        static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
        now.saturating_duration_since(*ORIGIN).as_millis() as u64
    }

    /// Runs with the state in force, brought up to date.
    fn with_state<R>(&self, run: impl FnOnce(&mut State) -> R) -> R {
        let epoch = self.peers.epoch();
        let catch_up = |state: &mut State| {
            if self.epoch.get() != epoch {
                let table = self.peers.table();
                if !Arc::ptr_eq(state.table(), &table) {
                    state.follow(&self.peers.upstream, table);
                }
                self.epoch.set(epoch);
            }
        };
        match (&self.own, &self.peers.shared) {
            (Some(own), _) => {
                let mut state = own.borrow_mut();
                catch_up(&mut state);
                run(&mut state)
            }
            (None, shared) => {
                let mut state = shared
                    .as_ref()
                    .expect("a group without a state of its own shares one")
                    .lock();
                catch_up(&mut state);
                run(&mut state)
            }
        }
    }

    /// This worker's copy of a chosen peer.
    fn target(&self, table: &Arc<Table>, choice: Choice) -> Rc<Target> {
        let mut targets = self.targets.borrow_mut();
        if !Arc::ptr_eq(&targets.table, table) {
            let old = std::mem::take(&mut *targets);
            let copy = |peer: &Arc<Peer>| {
                let mut known = old.primary.iter().chain(&old.backup);
                if let Some(known) = known.find(|target| target.id == peer.id) {
                    return Rc::clone(known);
                }
                let line = &self.peers.upstream.servers[peer.server];
                Rc::new(Target {
                    id: peer.id,
                    address: Rc::new(peer.address.clone()),
                    label: Rc::from(&*peer.label),
                    server_name: Rc::from(&*line.name),
                    traffic_id: peer.traffic_id,
                    session: peer.session.clone(),
                    watched: peer.watched.clone(),
                    fail_timeout: line.fail_timeout,
                })
            };
            targets.primary = table.primary.iter().map(copy).collect();
            targets.backup = table.backup.iter().map(copy).collect();
            targets.table = Arc::clone(table);
        }
        let tier = match choice.is_backup {
            false => &targets.primary,
            true => &targets.backup,
        };
        Rc::clone(&tier[choice.position])
    }

    /// Tells that a peer gets nothing for a while.
    fn leave_out(&self, target: &Target) {
        let until = clock::milliseconds() + target.fail_timeout.as_millis() as u64;
        traffic::leave_out(target.traffic_id, self.own.is_none(), until);
    }

    /// Does the method go by the time until this point?
    fn measures(&self, until: TimeUntil) -> bool {
        match self.peers.upstream.method {
            Method::LeastTime { until: wanted, .. }
            | Method::Random(RandomChoice::TwoLeastTime(wanted)) => wanted == until,
            _ => false,
        }
    }
}

/// A peer in use by a request: counted as a connection to it until this ends. [`Self::succeed`] and
/// [`Self::fail`] say what it was worth; dropped without a word (the client went away, a panic) it
/// gives its place back and tells nothing about the peer.
#[derive(Debug)]
pub struct Selected {
    group: Rc<Group>,
    target: Rc<Target>,
    choice: Choice,
    /// How the circuit of the group let it in.
    breaker_pass: Pass,
    started: Instant,
    has_head: Cell<bool>,
    is_over: bool,
}

impl Selected {
    /// The peer.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Appends the value of the `Set-Cookie` that `sticky cookie` adds to the answer; `false` if
    /// there is none. nginx sets it with every answer, so that its lifetime starts anew.
    pub fn write_cookie(&self, exchange: &Exchange, out: &mut Vec<u8>) -> bool {
        let sticky = self.group.peers.upstream.sticky.as_ref();
        sticky.is_some_and(|sticky| {
            sticky::write_cookie(sticky, &self.target.session, exchange, clock::unix(), out)
        })
    }

    /// The head of the response is there, this long after the attempt began. Counts for `least_time
    /// header` and `sticky learn … header`, and costs nothing else.
    pub fn head_received(&self, exchange: &Exchange, time: Duration, now: Instant) {
        self.has_head.set(true);
        if self.group.measures(TimeUntil::Header) {
            self.group
                .with_state(|state| state.measure(self.choice, time));
        }
        self.learn_session(exchange, true, now);
    }

    /// The peer answered and the answer was used, complete after `time`.
    pub fn succeed(mut self, exchange: &Exchange, time: Duration, now: Instant) -> Option<Event> {
        if self.group.measures(TimeUntil::LastByte) {
            self.group
                .with_state(|state| state.measure(self.choice, time));
        }
        self.learn_session(exchange, false, now);
        let head_time = (exchange.attempts.last()).and_then(|attempt| attempt.header_time);
        let answer = Answer::Head(exchange.upstream_head.status, head_time);
        self.end(Some(Verdict::Worked), answer, now)
    }

    /// The peer answered, and another is tried although it did nothing wrong (403, 404): nginx's
    /// `NGX_PEER_NEXT`.
    pub fn pass_over(mut self, now: Instant) -> Option<Event> {
        self.end(Some(Verdict::Worked), Answer::Head(0, None), now)
    }

    /// The attempt failed as `proxy_next_upstream` counts failures.
    pub fn fail(mut self, now: Instant) -> Option<Event> {
        self.end(Some(Verdict::Failed), Answer::None, now)
    }

    fn learn_session(&self, exchange: &Exchange, is_head: bool, now: Instant) {
        let peers = &*self.group.peers;
        if let (Some(sticky), Some(sessions)) = (&peers.upstream.sticky, &peers.sessions) {
            sticky::learn(
                sticky,
                sessions,
                &self.target.session,
                exchange,
                is_head,
                now,
            );
        }
    }

    fn end(&mut self, verdict: Option<Verdict>, answer: Answer, now: Instant) -> Option<Event> {
        if self.is_over {
            return None;
        }
        self.is_over = true;
        let has_failed = verdict == Some(Verdict::Failed);
        traffic::end_use(self.target.traffic_id, has_failed);
        let event = self
            .group
            .with_state(|state| state.release(self.choice, self.started, verdict, now));
        match event {
            Some(Event::Disabled) => self.group.leave_out(&self.target),
            Some(Event::Recovered) => {
                traffic::take_in(self.target.traffic_id, self.group.own.is_none());
            }
            _ => {}
        }
        let peers = &*self.group.peers;
        let judged = |watched: &Watched| match (verdict, answer) {
            (Some(Verdict::Failed), _) => Some(true),
            (Some(Verdict::Worked), Answer::Head(status, time)) => {
                Some(watched.is_failure(status, time))
            }
            // Nobody waited for the end. That tells something only where it took too long.
            _ => {
                let time = now.saturating_duration_since(self.started);
                (!self.has_head.get() && watched.is_overdue(time)).then_some(true)
            }
        };
        let of_peer = self.target.watched.as_ref().and_then(|watched| {
            let may_open = || peers.may_eject();
            match watched.leave(self.choice.pass, judged(watched), now, may_open)? {
                Turn::Opened(reason) => Some(Event::Ejected(reason)),
                Turn::Closed => Some(Event::Readmitted),
            }
        });
        let of_group = peers.breaker.as_ref().and_then(|breaker| {
            match breaker.leave(self.breaker_pass, judged(breaker), now, || Some(()))? {
                Turn::Opened(reason) => Some(Event::Opened(reason)),
                Turn::Closed => Some(Event::Closed),
            }
        });
        self.group.queue.call();
        of_group.or(of_peer).or(event)
    }
}

/// What a peer answered.
#[derive(Debug, Clone, Copy)]
enum Answer {
    /// Nothing that could be used.
    None,
    /// A status, and its head after so long.
    Head(u16, Option<Duration>),
}

impl Drop for Selected {
    fn drop(&mut self) {
        self.end(None, Answer::None, clock::now());
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::net::Ipv4Addr;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::super::fixture::{exchange, named, server, template, upstream, weighted};
    use super::*;
    use crate::conf::typed::health::{CheckKind, Eject, Limits};
    use crate::conf::typed::upstream::Sticky;

    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn group(upstream: Upstream) -> Rc<Group> {
        Group::new(Arc::new(Peers::new(Arc::new(upstream), None)))
    }

    fn select(group: &Rc<Group>) -> Result<Selected, NoPeer> {
        let exchange = exchange(CLIENT, "", &[]);
        group.select(&exchange, &mut Tried::default(), clock::now())
    }

    /// The label of the peer that a request would get; nothing is held.
    fn label(group: &Rc<Group>) -> String {
        select(group)
            .expect("a peer is free")
            .target()
            .label
            .to_string()
    }

    fn one_at_a_time() -> UpstreamServer {
        UpstreamServer {
            max_connections: 1,
            ..server(1)
        }
    }

    #[test]
    fn a_peer_is_given_back_once_however_the_request_ends() {
        let exchange = exchange(CLIENT, "", &[]);
        let group = group(upstream(Method::RoundRobin, vec![one_at_a_time()]));
        let now = clock::now();
        let ends: [fn(Selected, &Exchange, Instant); 5] = [
            |selected, exchange, now| {
                selected.succeed(exchange, Duration::ZERO, now);
            },
            |selected, _, now| {
                selected.fail(now);
            },
            |selected, _, now| {
                selected.pass_over(now);
            },
            |selected, _, _| drop(selected),
            |selected, _, _| {
                let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
                    let _held = selected;
                    std::panic::resume_unwind(Box::new(()));
                }));
                assert!(unwound.is_err());
            },
        ];
        for end in ends {
            let held = select(&group).expect("it is free");
            let busy = select(&group).expect_err("it is held");
            assert_eq!((&*busy.label, busy.shortage), ("backend", Shortage::Busy));
            end(held, &exchange, now);
        }
        assert!(select(&group).is_ok());
    }

    #[test]
    fn a_peer_that_went_while_it_was_in_use_is_given_back_to_nobody() {
        let peers = Peers::new(
            Arc::new(upstream(Method::RoundRobin, vec![named("a.test", 80)])),
            None,
        );
        let address = |last| Resolved {
            address: ([10, 0, 0, last], 80).into(),
            weight: None,
            is_backup: false,
        };
        assert!(peers.learn(0, &[address(1), address(2)]));
        let group = Group::new(Arc::new(peers));
        let held = select(&group).expect("a peer");
        assert_eq!(&*held.target().label, "10.0.0.1:80");
        assert!(group.peers.learn(0, &[address(3), address(2)]));
        held.fail(clock::now());
        let labels: Vec<_> = (0..4).map(|_| label(&group)).collect();
        assert!(
            labels
                .iter()
                .all(|it| it == "10.0.0.2:80" || it == "10.0.0.3:80")
        );
        assert!(labels.iter().any(|it| it == "10.0.0.3:80"));
    }

    #[test]
    fn a_request_does_not_try_a_peer_again_after_the_peers_changed() {
        let line = named("a.test", 80);
        let peers = Peers::new(Arc::new(upstream(Method::RoundRobin, vec![line])), None);
        let address = |last| Resolved {
            address: ([10, 0, 0, last], 80).into(),
            weight: None,
            is_backup: false,
        };
        peers.learn(0, &[address(1), address(2), address(3)]);
        let group = Group::new(Arc::new(peers));
        let exchange = exchange(CLIENT, "", &[]);
        let mut tried = Tried::default();
        let now = clock::now();
        let first = group.select(&exchange, &mut tried, now).expect("a peer");
        assert_eq!(&*first.target().label, "10.0.0.1:80");
        drop(first);
        group.peers.learn(0, &[address(2), address(1)]);
        let second = group.select(&exchange, &mut tried, now).expect("a peer");
        assert_eq!(&*second.target().label, "10.0.0.2:80");
        assert!(group.select(&exchange, &mut tried, now).is_err());
    }

    #[test]
    fn workers_share_the_state_of_a_zone_and_otherwise_have_their_own() {
        for zone in [None, Some("shared".into())] {
            let is_shared = zone.is_some();
            let peers = Arc::new(Peers::new(
                Arc::new(Upstream {
                    zone,
                    ..upstream(Method::RoundRobin, weighted(&[1, 1]))
                }),
                None,
            ));
            let other = Arc::clone(&peers);
            let elsewhere = std::thread::spawn(move || label(&Group::new(other)));
            assert_eq!(elsewhere.join().expect("no panic"), "127.0.0.1:1");
            let here = label(&Group::new(peers));
            assert_eq!(here == "127.0.0.1:2", is_shared);
        }
    }

    #[test]
    fn an_override_reaches_every_worker_and_the_next_configuration() {
        for zone in [None, Some("shared".into())] {
            let conf = Arc::new(Upstream {
                zone,
                ..upstream(Method::RoundRobin, weighted(&[1, 1]))
            });
            let peers = Arc::new(Peers::new(Arc::clone(&conf), None));
            let groups = [0; 2].map(|_| Group::new(Arc::clone(&peers)));
            let address = Address::Ip(([127, 0, 0, 1], 1).into());
            let drain = Override {
                mode: Mode::Drain,
                weight: None,
            };
            assert!(peers.set_override(0, &address, drain));
            let next = Group::new(Arc::new(Peers::new(conf, Some(&peers))));
            for group in groups.iter().chain([&next]) {
                for _ in 0..3 {
                    assert_eq!(label(group), "127.0.0.1:2");
                }
            }
        }
    }

    #[test]
    fn the_addresses_of_a_name_outlive_the_configuration() {
        let conf = |names: &[&str]| {
            let lines = names.iter().map(|name| named(name, 80)).collect();
            Arc::new(upstream(Method::RoundRobin, lines))
        };
        let old = Peers::new(conf(&["a.test", "b.test"]), None);
        for server in 0..2 {
            let address = Resolved {
                address: ([10, 0, 0, server], 80).into(),
                weight: None,
                is_backup: false,
            };
            old.learn(server.into(), &[address]);
        }
        let new = Peers::new(conf(&["b.test", "c.test"]), Some(&old));
        let table = new.table();
        let labels: Vec<_> = table.primary.iter().map(|peer| &*peer.label).collect();
        assert_eq!(labels, ["10.0.0.1:80"]);
    }

    #[test]
    fn a_weight_set_at_run_time_takes_hold() {
        let conf = Arc::new(upstream(Method::RoundRobin, weighted(&[1, 1])));
        let peers = Arc::new(Peers::new(conf, None));
        let group = Group::new(Arc::clone(&peers));
        let change = Override {
            mode: Mode::Configured,
            weight: NonZeroU32::new(3),
        };
        assert!(peers.set_override(1, &Address::Ip(([127, 0, 0, 1], 2).into()), change));
        let second = (0..400).filter(|_| label(&group) == "127.0.0.1:2").count();
        assert_eq!(second, 300);
    }

    #[test]
    fn the_client_address_or_the_key_decides_where_a_request_goes() {
        let by_address = group(upstream(Method::IpHash, weighted(&[1, 1, 1, 1, 1])));
        let by_key = group(upstream(
            Method::Hash {
                key: template("$arg_k"),
                consistent: true,
            },
            weighted(&[1, 1, 1, 1, 1]),
        ));
        let place = |group: &Rc<Group>, last: u8, args: &str| {
            let exchange = exchange(IpAddr::V4([10, 1, last, last].into()), args, &[]);
            let selected = group.select(&exchange, &mut Tried::default(), clock::now());
            selected.expect("a peer").target().label.to_string()
        };
        for last in 0..50 {
            let (one, two) = (format!("k={last}"), format!("x=1&k={last}"));
            assert_eq!(place(&by_address, last, ""), place(&by_address, last, "x"));
            assert_eq!(place(&by_key, 1, &one), place(&by_key, 2, &two));
        }
        let spread = |places: Vec<String>| {
            places
                .iter()
                .collect::<std::collections::HashSet<_>>()
                .len()
        };
        assert_eq!(
            spread((0..50).map(|it| place(&by_address, it, "")).collect()),
            5
        );
        let keys = (0..50).map(|it| place(&by_key, 0, &format!("k={it}")));
        assert_eq!(spread(keys.collect()), 5);
    }

    #[test]
    fn the_cookie_that_is_set_brings_the_client_back() {
        let group = group(Upstream {
            sticky: Some(Sticky::Cookie {
                name: "srv".into(),
                attributes: template("; path=/"),
                expires: None,
            }),
            ..upstream(Method::RoundRobin, weighted(&[1, 1, 1]))
        });
        drop(select(&group));
        let first = select(&group).expect("a peer");
        let mut cookie = Vec::new();
        assert!(first.write_cookie(&exchange(CLIENT, "", &[]), &mut cookie));
        let cookie = String::from_utf8(cookie).expect("text");
        let value = cookie.strip_suffix("; path=/").expect("the attributes");
        let next = exchange(CLIENT, "", &[("Cookie", value)]);
        for _ in 0..5 {
            let selected = group.select(&next, &mut Tried::default(), clock::now());
            let selected = selected.expect("a peer");
            assert_eq!(selected.target().label, first.target().label);
        }
    }

    #[test]
    fn addresses_of_one_request_begin_anywhere_and_are_all_tried() {
        let addresses: Vec<_> = (1..=3)
            .map(|port| Address::Ip(([10, 0, 0, 1], port).into()))
            .collect();
        let group = Group::new(Arc::new(Peers::of_addresses("a.test", &addresses)));
        let exchange = exchange(CLIENT, "", &[]);
        let mut tried = Tried::default();
        let mut labels = Vec::new();
        loop {
            let selected = group.select(&exchange, &mut tried, clock::now());
            let selected = selected.expect("a peer");
            labels.push(selected.target().label.to_string());
            assert_eq!(&*selected.target().server_name, "a.test");
            selected.fail(clock::now());
            if !tried.may_continue() {
                break;
            }
        }
        labels.sort();
        assert_eq!(labels, ["10.0.0.1:1", "10.0.0.1:2", "10.0.0.1:3"]);
        let none = Group::new(Arc::new(Peers::of_addresses("a.test", &[])));
        let none = select(&none).expect_err("no address");
        assert_eq!(none.shortage, Shortage::Unresolved);
    }

    /// A group of peers of which those on the ports in `bad` fail, after so many requests.
    fn after(eject: Eject, ports: u16, bad: &[u16], requests: usize) -> (Rc<Group>, Instant) {
        let lines = (1..=ports).map(|port| UpstreamServer {
            max_fails: 0,
            ..server(port)
        });
        let group = group(Upstream {
            guard: Guard {
                eject: Some(eject),
                ..Guard::default()
            },
            ..upstream(Method::RoundRobin, lines.collect())
        });
        let exchange = exchange(CLIENT, "", &[]);
        let now = clock::now();
        for _ in 0..requests {
            let selected = group.select(&exchange, &mut Tried::default(), now);
            let selected = selected.expect("a peer");
            let is_bad = bad
                .iter()
                .any(|port| &*selected.target().label == format!("127.0.0.1:{port}"));
            match is_bad {
                true => selected.fail(now),
                false => selected.pass_over(now),
            };
        }
        (group, now)
    }

    fn labels_at(group: &Rc<Group>, now: Instant) -> Vec<String> {
        let exchange = exchange(CLIENT, "", &[]);
        let mut labels: Vec<_> = (0..20)
            .map(|_| {
                let selected = group.select(&exchange, &mut Tried::default(), now);
                let selected = selected.expect("a peer");
                let label = selected.target().label.to_string();
                selected.pass_over(now);
                label
            })
            .collect();
        labels.sort();
        labels.dedup();
        labels
    }

    fn eject(most: u32) -> Eject {
        Eject {
            limits: Limits {
                errors: 3,
                open: Duration::from_secs(10),
                ..Limits::usual()
            },
            most,
        }
    }

    #[test]
    fn a_peer_that_fails_is_left_out_and_tried_again_after_its_time() {
        let (group, now) = after(eject(50), 3, &[2], 9);
        assert_eq!(labels_at(&group, now), ["127.0.0.1:1", "127.0.0.1:3"]);
        let later = now + Duration::from_secs(11);
        assert_eq!(labels_at(&group, later).len(), 3);
    }

    #[test]
    fn no_more_than_a_share_of_the_peers_is_left_out_and_never_the_last() {
        for (most, left) in [(50, 2), (25, 3), (100, 1), (10, 4)] {
            let (group, now) = after(eject(most), 4, &[1, 2, 3, 4], 100);
            assert_eq!(labels_at(&group, now).len(), left, "{most}");
        }
    }

    #[test]
    fn what_is_left_out_outlives_the_configuration() {
        let (group, now) = after(eject(50), 2, &[2], 6);
        let peers = &group.peers;
        let next = Group::new(Arc::new(Peers::new(
            Arc::clone(peers.upstream()),
            Some(peers),
        )));
        assert_eq!(labels_at(&next, now), ["127.0.0.1:1"]);
    }

    #[test]
    fn a_peer_that_a_check_finds_out_about_gets_nothing_until_it_passes() {
        let check = HealthCheck {
            kind: CheckKind::Tcp,
            interval: Duration::from_secs(5),
            jitter: Duration::ZERO,
            timeout: Duration::from_secs(5),
            fails: 1,
            passes: 1,
            mandatory: false,
            port: None,
            keepalive: Duration::ZERO,
            span: Span::default(),
        };
        let finding = |is_good, at| Finding {
            is_good,
            words: "x".into(),
            at,
        };
        let group = group(upstream(Method::RoundRobin, weighted(&[1, 1])));
        let peers = &group.peers;
        peers.attend_checks(false);
        let address = Address::Ip(([127, 0, 0, 1], 1).into());
        let now = clock::now();
        let turned = peers.note_finding(0, &address, finding(false, 1), &check);
        assert_eq!(turned, Some(Condition::Unhealthy));
        assert_eq!(labels_at(&group, now), ["127.0.0.1:2"]);
        let turned = peers.note_finding(0, &address, finding(true, 2), &check);
        assert_eq!(turned, Some(Condition::Healthy));
        assert_eq!(labels_at(&group, now).len(), 2);
    }

    #[test]
    fn the_budget_of_retries_is_a_share_of_the_requests() {
        let group = group(Upstream {
            guard: Guard {
                retry_budget: Some(RetryBudget {
                    percent: 20,
                    least: 2,
                }),
                ..Guard::default()
            },
            ..upstream(Method::RoundRobin, weighted(&[1]))
        });
        let now = clock::now();
        let retries = |now| (0..100).filter(|_| group.may_retry(now)).count();
        assert_eq!(retries(now), 2);
        for _ in 0..50 {
            group.note_request(now);
        }
        assert_eq!(retries(now), 8);
        assert_eq!(retries(now + Duration::from_secs(30)), 2);
    }

    fn queued(room: usize, patience: Duration) -> Rc<Group> {
        group(Upstream {
            queue: Some((room, patience)),
            ..upstream(Method::RoundRobin, vec![one_at_a_time()])
        })
    }

    fn poll<F: Future>(future: &mut Pin<&mut F>) -> Poll<F::Output> {
        future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn requests_wait_in_order_of_arrival_and_the_queue_has_an_end() {
        let group = queued(2, Duration::from_secs(600));
        let exchange = exchange(CLIENT, "", &[]);
        let (mut one, mut two, mut three) = (Tried::default(), Tried::default(), Tried::default());
        let held = select(&group).expect("it is free");
        let mut first = pin!(group.select_in_turn(&exchange, &mut one, Class::Normal));
        let mut second = pin!(group.select_in_turn(&exchange, &mut two, Class::Normal));
        assert!(poll(&mut first).is_pending());
        assert!(poll(&mut second).is_pending());
        let late = group
            .select_in_turn(&exchange, &mut three, Class::Normal)
            .await;
        assert_eq!(late.err().map(|it| it.shortage), Some(Shortage::Busy));
        assert!(poll(&mut first).is_pending());
        drop(held);
        assert!(poll(&mut second).is_pending(), "it is not its turn");
        let Poll::Ready(Ok(held)) = poll(&mut first) else {
            panic!("the first gets the peer")
        };
        assert!(poll(&mut second).is_pending());
        drop(held);
        assert!(matches!(poll(&mut second), Poll::Ready(Ok(_))));
        assert_eq!(group.queue.len(), 0);
    }

    #[tokio::test]
    async fn who_goes_away_while_waiting_does_not_keep_the_peer_from_the_next() {
        let group = queued(4, Duration::from_secs(600));
        let exchange = exchange(CLIENT, "", &[]);
        let (mut one, mut two) = (Tried::default(), Tried::default());
        let held = select(&group).expect("it is free");
        let mut first = Box::pin(group.select_in_turn(&exchange, &mut one, Class::Normal));
        let mut second = pin!(group.select_in_turn(&exchange, &mut two, Class::Normal));
        assert!(poll(&mut first.as_mut()).is_pending());
        assert!(poll(&mut second).is_pending());
        drop(held);
        // The first was told of the free peer, and leaves without taking it.
        drop(first);
        assert!(matches!(poll(&mut second), Poll::Ready(Ok(_))));
        assert_eq!(group.queue.len(), 0);
    }

    #[tokio::test]
    async fn a_wait_ends_after_its_timeout() {
        let group = queued(4, Duration::from_millis(10));
        let exchange = exchange(CLIENT, "", &[]);
        let _held = select(&group).expect("it is free");
        let late = group
            .select_in_turn(&exchange, &mut Tried::default(), Class::Normal)
            .await;
        assert_eq!(late.err().map(|it| it.shortage), Some(Shortage::Busy));
        assert_eq!(group.queue.len(), 0);
    }

    #[test]
    fn weights_of_records_hold_where_the_line_sets_none() {
        let heavy = UpstreamServer {
            weight: 7,
            ..named("b.test", 80)
        };
        let lines = vec![named("a.test", 80), heavy];
        let peers = Peers::new(Arc::new(upstream(Method::RoundRobin, lines)), None);
        let record = |last, is_backup| Resolved {
            address: ([10, 0, 0, last], 80).into(),
            weight: Some(3),
            is_backup,
        };
        peers.learn(0, &[record(1, false), record(2, true)]);
        peers.learn(1, &[record(3, false)]);
        let table = peers.table();
        let weights = |peers: &[Arc<Peer>]| peers.iter().map(|it| it.weight).collect::<Vec<_>>();
        assert_eq!(weights(&table.primary), [3, 7]);
        assert_eq!(weights(&table.backup), [3]);
    }
}
