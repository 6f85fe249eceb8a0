//! The numbers of the engine as the protocol tells them.

use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

use parking_lot::Mutex;

use super::answer::millis;
use super::{Control, bans, certificates, limits, llm, revisions};
use crate::metrics::live::RequestSummary;
use crate::metrics::traffic::{PeerId, RouteId, RouteKey, ledger};
use crate::metrics::window::{self, Aggregator, Moment, Window};
use crate::metrics::{self, registry};
use crate::process::desk::{InForce, refusal};
use crate::protocol::{
    Attempt, Circuit, Explanation, Group, HealthChange, History, Level, Millis, Occurrence,
    PeerHealth, PeerState, PeerStates, PeerTraffic, Point, Refusal, RefusalCode, Request,
    RouteTraffic, Summary, Traffic, Upstream,
};
use crate::store::{Numbers as Rolled, Rollup, Row, Series};
use crate::unit::clock;
use crate::upstream::circuit::Report;
use crate::upstream::group::{self, Peers};
use crate::upstream::health::Condition;

/// What is known beyond the engine's own counters.
#[derive(Debug)]
pub struct Known {
    aggregator: Aggregator,
    /// By the peer's number: its state and since when.
    peers: HashMap<u32, (PeerState, Millis)>,
    states: PeerStates,
    /// By the peer's number: what checks and circuits say.
    vitals: HashMap<u32, Vitals>,
    groups: Vec<Group>,
    /// The names of groups of which too many answers are 5xx.
    erring: HashSet<Box<str>>,
    troubles: Vec<String>,
    occurred: u64,
}

#[derive(Debug, Clone, Default)]
struct Vitals {
    health: Option<PeerHealth>,
    circuit: Option<Circuit>,
}

/// The numbers, kept by one task and asked by all.
#[derive(Debug)]
pub struct Numbers(Mutex<Known>);

impl Numbers {
    /// From now on.
    pub fn new() -> Self {
        Self(Mutex::new(Known {
            aggregator: Aggregator::new(Moment::now()),
            peers: HashMap::new(),
            states: PeerStates::default(),
            vitals: HashMap::new(),
            groups: Vec::new(),
            erring: HashSet::new(),
            troubles: Vec::new(),
            occurred: 0,
        }))
    }
}

/// A second has passed.
pub fn tick(control: &Control) {
    let now = Moment::now();
    control.numbers.0.lock().aggregator.tick(now);
    limits::tick(control);
    watch_peers(control);
    certificates::watch(control);
    bans::tell(control);
    llm::tick(control);
}

/// Of the answers of a group in ten seconds, so many in a hundred being 5xx is a trouble; it is over
/// at half of it.
const ERRING: u64 = 10;
/// So few answers say nothing.
const FEW: u64 = 20;
/// So many troubles are told.
const MOST_TROUBLES: usize = 8;

/// The state of a peer; `is_left_out` if it is, for having failed.
pub fn state(peer: &group::Peer, is_left_out: bool) -> PeerState {
    let is_ejected = (peer.watched.as_ref()).is_some_and(|it| !it.circuit().is_closed());
    match peer.condition {
        _ if peer.is_down => PeerState::Down,
        _ if peer.is_draining => PeerState::Drain,
        Condition::Unhealthy => PeerState::Unhealthy,
        Condition::Checking => PeerState::Checking,
        _ if is_ejected => PeerState::Ejected,
        _ if is_left_out => PeerState::Failed,
        Condition::Healthy | Condition::Unchecked => PeerState::Up,
    }
}

/// Looks for peers and groups that have come into another state, and tells of each.
pub fn watch_peers(control: &Control) {
    let in_force = control.desk.in_force();
    let now = millis(SystemTime::now());
    let mut news: Vec<(Level, String, String)> = Vec::new();
    let limited = limits::troubles(control);
    let unasked = llm::troubles(control);
    {
        let mut known = control.numbers.0.lock();
        let known = &mut *known;
        let mut states = PeerStates::default();
        let mut before = std::mem::take(&mut known.peers);
        let mut groups_before = std::mem::take(&mut known.groups);
        let mut erring_before = std::mem::take(&mut known.erring);
        known.vitals.clear();
        // With how bad each is, the worst first.
        let mut troubles: Vec<(u8, String)> = Vec::new();
        for peers in in_force.generation.peers() {
            let upstream = peers.upstream();
            let is_of_provider = llm::is_of_provider(&in_force.generation, upstream);
            let table = peers.table();
            let mut answers = [0; 5];
            for peer in table.primary.iter().chain(&table.backup) {
                let id = peer.traffic_id.0;
                let counted = known.aggregator.peer(peer.traffic_id);
                for (sum, count) in answers.iter_mut().zip(counted.traffic.statuses) {
                    *sum += count;
                }
                let state = state(peer, counted.gauges.left_out > 0);
                match state {
                    _ if is_of_provider => {}
                    PeerState::Up => states.up += 1,
                    PeerState::Drain => states.drain += 1,
                    PeerState::Down => states.down += 1,
                    _ => states.failed += 1,
                }
                let vitals = vitals(peers, peer);
                let found = match &vitals.health {
                    Some(health) => health.found.clone(),
                    None => String::new(),
                };
                let (old, since) = before.remove(&id).unwrap_or((state, 0));
                let since = if old == state { since } else { now };
                let subject = format!("{}/{}", upstream.name, peer.label);
                match state {
                    PeerState::Unhealthy => {
                        troubles.push((2, format!("backend {subject} fails its checks: {found}")));
                    }
                    PeerState::Failed => troubles.push((3, format!("backend {subject} fails"))),
                    PeerState::Ejected => {
                        troubles.push((4, format!("backend {subject} is left out, it failed")));
                    }
                    _ => {}
                }
                if old != state {
                    let (level, text) = match (old, state) {
                        (_, PeerState::Failed) => (Level::Bad, "failed, left out for a while"),
                        (_, PeerState::Unhealthy) => (Level::Bad, "fails its checks"),
                        (_, PeerState::Ejected) => (Level::Bad, "left out, too much failed"),
                        (_, PeerState::Checking) => (Level::Info, "is checked first"),
                        (PeerState::Failed, PeerState::Up) => (Level::Good, "is tried again"),
                        (PeerState::Unhealthy, PeerState::Up) => (Level::Good, "passes its checks"),
                        (PeerState::Ejected, PeerState::Up) => (Level::Good, "taken in again"),
                        (_, PeerState::Up) => (Level::Info, "up"),
                        (_, PeerState::Down) => (Level::Info, "taken out"),
                        (_, PeerState::Drain) => (Level::Info, "drains"),
                        (_, PeerState::Unresolved) => (Level::Warn, "does not resolve"),
                    };
                    let is_checked =
                        matches!(state, PeerState::Unhealthy) || old == PeerState::Unhealthy;
                    let text = match is_checked && !found.is_empty() {
                        true => format!("{text}: {found}"),
                        false => text.to_owned(),
                    };
                    news.push((level, subject, text));
                }
                known.peers.insert(id, (state, since));
                known.vitals.insert(id, vitals);
            }
            if table.primary.is_empty() && table.backup.is_empty() {
                states.failed += upstream.servers.len() as u32;
            }
            let name = upstream.name.to_string();
            let was_erring = erring_before.remove(&upstream.name);
            let is_erring = is_erring(answers, was_erring);
            let share = share_of_errors(answers);
            if is_erring {
                troubles.push((1, format!("{share} % of the answers of {name} are 5xx")));
                known.erring.insert(upstream.name.clone());
            }
            match (was_erring, is_erring) {
                (false, true) => {
                    let text = format!("{share} % of its answers are 5xx");
                    news.push((Level::Bad, name.clone(), text));
                }
                (true, false) => {
                    let text = "answers as it should again".to_owned();
                    news.push((Level::Good, name.clone(), text));
                }
                _ => {}
            }
            let Some(group) = group_of(peers) else {
                continue;
            };
            let at = groups_before.iter().position(|it| it.name == group.name);
            let old = at
                .map(|at| groups_before.swap_remove(at))
                .unwrap_or_default();
            let phase = |group: &Group| match &group.breaker {
                Some(breaker) => breaker.phase.clone(),
                None => CLOSED.to_owned(),
            };
            let (was, is) = (phase(&old), phase(&group));
            if is != CLOSED {
                let text = format!("the circuit of {name} is {is}: requests get 503");
                troubles.push((0, text));
            }
            if was != is && !(was == "half-open" && is == "open") {
                let (level, text) = match is.as_str() {
                    "open" => (Level::Bad, "its circuit opened: requests get 503"),
                    CLOSED => (Level::Good, "its circuit closed"),
                    _ => (Level::Info, "its circuit is tried with probes"),
                };
                news.push((level, name.clone(), text.to_owned()));
            }
            if group.refused > old.refused && at.is_some() {
                let text = format!("requests to {name} find no peer with room and get 503");
                troubles.push((0, text));
            } else if group.waiting > 0 && old.waiting > 0 {
                let text = match group.waiting > old.waiting {
                    true => "wait, and they grow more",
                    false => "wait",
                };
                troubles.push((5, format!("{} requests to {name} {text}", group.waiting)));
            }
            known.groups.push(group);
        }
        troubles.extend(unasked.into_iter().map(|text| (3, text)));
        troubles.extend(limited.into_iter().map(|text| (6, text)));
        troubles.sort_by_key(|(rank, _)| *rank);
        troubles.truncate(MOST_TROUBLES);
        known.troubles = troubles.into_iter().map(|(_, text)| text).collect();
        known.states = states;
    }
    for (level, subject, text) in news {
        occur(control, level, "peer", &subject, &text);
    }
}

const CLOSED: &str = "closed";

/// Are too many of a group's answers 5xx? It takes fewer to end that than to begin it.
fn is_erring(answers: [u64; 5], was_erring: bool) -> bool {
    let all: u64 = answers.iter().sum();
    let limit = match was_erring {
        true => ERRING / 2,
        false => ERRING,
    };
    all >= FEW && answers[4] * 100 >= all * limit
}

fn share_of_errors(answers: [u64; 5]) -> u64 {
    let all: u64 = answers.iter().sum();
    answers[4] * 100 / all.max(1)
}

/// What checks and its circuit say of a peer.
fn vitals(peers: &Peers, peer: &group::Peer) -> Vitals {
    let word = |condition: Condition| {
        let word = match condition {
            Condition::Unchecked => "unchecked",
            Condition::Checking => "checking",
            Condition::Healthy => "healthy",
            Condition::Unhealthy => "unhealthy",
        };
        word.to_owned()
    };
    let record = peers.record(peer.server, &peer.address);
    let health = record.map(|record| PeerHealth {
        condition: word(record.condition),
        since: record.since,
        checked: record.last.as_ref().map_or(0, |last| last.at),
        found: record
            .last
            .map_or_else(String::new, |last| last.words.into()),
        checks: record.checks,
        failures: record.failures,
        in_a_row: record.in_a_row,
        changes: (record.changes.into_iter())
            .map(|change| HealthChange {
                at: change.at,
                condition: word(change.condition),
                found: change.words.into(),
            })
            .collect(),
    });
    let circuit = peer
        .watched
        .as_ref()
        .map(|it| circuit(&it.report(clock::now())));
    Vitals { health, circuit }
}

/// How a group does, if it has a circuit or a queue.
fn group_of(peers: &Peers) -> Option<Group> {
    let breaker = peers.breaker(clock::now()).map(|report| circuit(&report));
    let queue = peers.upstream().queue;
    let (waiting, refused) = peers.waiting();
    (breaker.is_some() || queue.is_some()).then(|| Group {
        name: peers.upstream().name.to_string(),
        breaker,
        waiting: waiting as u64,
        room: queue.map_or(0, |(room, _)| room as u64),
        refused,
    })
}

fn circuit(report: &Report) -> Circuit {
    Circuit {
        phase: report.phase.word().to_owned(),
        left_ms: report.left.as_millis() as u64,
        opened: report.opened,
        requests: report.all,
        failures: report.failed,
    }
}

/// Something happened.
pub fn occur(control: &Control, level: Level, kind: &str, subject: &str, text: &str) {
    let id = {
        let mut known = control.numbers.0.lock();
        known.occurred += 1;
        known.occurred
    };
    control.desk.tell(Occurrence {
        id,
        at: millis(SystemTime::now()),
        level,
        kind: kind.to_owned(),
        subject: subject.to_owned(),
        text: text.to_owned(),
    });
}

/// Another configuration is in force.
pub fn changed(control: &Control, in_force: &InForce) {
    registry::set_revision(in_force.revision);
    if in_force.revision > 0 {
        let text = format!(
            "revision {} is in force (generation {})",
            in_force.revision, in_force.generation.number
        );
        occur(
            control,
            Level::Info,
            "revision",
            &in_force.revision.to_string(),
            &text,
        );
    }
}

/// What happens now.
pub fn summary(control: &Control, routes: bool, peers: bool, calls: bool) -> Summary {
    let in_force = control.desk.in_force();
    let state = control.conf_state.of(control, &in_force);
    let certificate_states = certificates::states(control);
    let limits = match routes {
        true => limits::traffic(control),
        false => Vec::new(),
    };
    let known = control.numbers.0.lock();
    let counted = known.aggregator.summary();
    Summary {
        at: counted.at,
        revision: in_force.revision,
        state,
        uptime_seconds: control.started.elapsed().unwrap_or_default().as_secs(),
        traffic: traffic(&counted.traffic),
        in_flight: counted.in_flight,
        connections: counted.connections,
        idle: counted.idle,
        total: counted.total,
        http2: counted.http2,
        floods: registry::total(|counters| &counters.http2_floods),
        peak: counted.peak,
        upstream_share: counted.upstream_share,
        own_p99: counted.own_p99,
        routes: match routes {
            false => Vec::new(),
            true => known
                .aggregator
                .routes()
                .iter()
                .map(|route| RouteTraffic {
                    route: route.route.0,
                    total: route.total,
                    failed_logins: route.besides.failed_logins,
                    unpacked: route.besides.unpacked,
                    packed: route.besides.packed,
                    traffic: traffic(&route.traffic),
                })
                .collect(),
        },
        peers: match peers {
            false => Vec::new(),
            // Also those that nobody was sent to yet: checks and people change their state as well.
            true => (known.peers.keys())
                .map(|id| peer_traffic(&known, &known.aggregator.peer(PeerId(*id))))
                .collect(),
        },
        peer_states: known.states,
        limits,
        unseen_alerts: metrics::alerts::unseen(),
        spent_today: llm::spent_today(control),
        llm: match calls {
            true => llm::now(control),
            false => None,
        },
        panics: counted.panics,
        failed_logins: counted.failed_logins,
        troubles: known.troubles.clone(),
        groups: match peers {
            false => Vec::new(),
            true => known.groups.clone(),
        },
        warning: match (known.troubles.first(), certificate_states.worst.as_str()) {
            (Some(text), _) => Some(text.clone()),
            (None, _) if !certificate_states.clock.is_empty() => {
                Some(certificate_states.clock.clone())
            }
            (None, "") => None,
            (None, worst) => Some(format!("certificate of {worst}")),
        },
        certificate_states,
    }
}

fn traffic(counted: &window::Traffic) -> Traffic {
    Traffic {
        rate: counted.rate,
        statuses: counted.statuses,
        p50: counted.p50,
        p90: counted.p90,
        p99: counted.p99,
        max: counted.max,
        received: counted.received,
        sent: counted.sent,
        looked_up: counted.looked_up,
        cached: counted.cached,
    }
}

fn peer_traffic(known: &Known, counted: &window::PeerTraffic) -> PeerTraffic {
    let (state, since) = known
        .peers
        .get(&counted.peer.0)
        .copied()
        .unwrap_or_default();
    let vitals = known
        .vitals
        .get(&counted.peer.0)
        .cloned()
        .unwrap_or_default();
    PeerTraffic {
        peer: counted.peer.0,
        state,
        since,
        active: counted.gauges.active,
        idle: counted.gauges.idle,
        total: counted.total,
        failed: counted.gauges.failures,
        health: vitals.health,
        circuit: vitals.circuit,
        traffic: traffic(&counted.traffic),
    }
}

/// Adds what is counted to the peers that the configuration names.
pub fn add_peers(control: &Control, upstreams: &mut [Upstream]) {
    let known = control.numbers.0.lock();
    for upstream in &mut *upstreams {
        let mut groups = known.groups.iter();
        upstream.group = groups.find(|group| group.name == upstream.name).cloned();
    }
    for peer in upstreams
        .iter_mut()
        .flat_map(|upstream| &mut upstream.peers)
    {
        if peer.traffic.state == PeerState::Unresolved {
            continue;
        }
        let counted = known.aggregator.peer(PeerId(peer.id));
        peer.traffic = peer_traffic(&known, &counted);
    }
}

/// Numbers over a window, of everything or of one route.
pub fn history(control: &Control, window: &str, route: Option<u64>) -> Result<History, Refusal> {
    let window = match window {
        "5m" => Window::FiveMinutes,
        "1h" => Window::Hour,
        "1d" => Window::Day,
        other => {
            return Err(refusal(
                RefusalCode::Invalid,
                format!(
                    "`{}` is not 5m, 1h, 1d, 7d, 30d or 1y",
                    other.escape_debug()
                ),
            ));
        }
    };
    let known = control.numbers.0.lock();
    let counted = match route {
        None => known.aggregator.history(window),
        Some(route) => u32::try_from(route)
            .ok()
            .and_then(|route| known.aggregator.route_history(RouteId(route)))
            .unwrap_or_default(),
    };
    Ok(History {
        at: counted.at,
        step_seconds: counted.step_seconds,
        points: counted
            .points
            .iter()
            .map(|point| Point {
                rate: point.rate,
                errors: point.errors,
                p50: point.p50,
                p99: point.p99,
                sent: point.sent,
                looked_up: point.looked_up,
                cached: point.cached,
            })
            .collect(),
    })
}

/// Hands what passed in the last minute to the store.
pub fn keep_minute(control: &Control) {
    let start = last_minute(millis(SystemTime::now()));
    let minute = control.numbers.0.lock().aggregator.take_minute();
    let rolled = |passed: &window::Passed| Rolled {
        requests: passed.count,
        statuses: passed.statuses,
        received: passed.received,
        sent: passed.sent,
        time_sum_us: passed.time,
        p50_us: passed.p50,
        p99_us: passed.p99,
        max_us: passed.max,
        looked_up: passed.looked_up,
        cached: passed.cached,
    };
    let keep = |series: Series, numbers: Rolled| {
        // The store counts what it has to drop.
        let _ = control.desk.store.try_put(Row::Rollup(Rollup {
            series,
            start,
            numbers,
        }));
    };
    let mut total = Rolled::default();
    for (_, key, passed) in &minute.routes {
        total.add(&rolled(passed));
        keep(series_of(key), rolled(passed));
    }
    if total.requests > 0 {
        keep(Series::Total, total);
    }
    for (_, key, passed) in &minute.peers {
        keep(
            Series::Peer {
                upstream: key.upstream.to_string(),
                address: key.address.to_string(),
            },
            rolled(passed),
        );
    }
}

/// When the minute before the one that a time is in began, in seconds since 1970.
fn last_minute(now: Millis) -> u64 {
    (now / 60_000).saturating_sub(1) * 60
}

/// A route as the store knows it.
fn series_of(key: &RouteKey) -> Series {
    Series::Route {
        server: key.server.to_string(),
        listen: key.listen.to_string(),
        location: key.location.to_string(),
    }
}

/// Numbers over so many seconds in the store, of everything or of one route.
pub async fn long_history(
    control: &Control,
    seconds: u64,
    step: u64,
    route: Option<u64>,
) -> Result<History, Refusal> {
    let series = match route {
        None => Series::Total,
        Some(route) => {
            let id = u32::try_from(route).unwrap_or(u32::MAX);
            let key = ledger().route(RouteId(id)).ok_or_else(|| {
                refusal(RefusalCode::NotFound, format!("there is no route {route}"))
            })?;
            series_of(&key)
        }
    };
    let now = millis(SystemTime::now());
    // The step that is not over yet is the last one.
    let until = (now / 1000 / step + 1) * step;
    let from = until - seconds / step * step;
    let kept = revisions::read(control, move |reader| {
        reader.traffic(&series, from, until, step)
    })
    .await?;
    let mut points = vec![Point::default(); (seconds / step) as usize];
    for (start, numbers) in kept {
        let Some(point) = points.get_mut((start.saturating_sub(from) / step) as usize) else {
            continue;
        };
        *point = Point {
            rate: numbers.requests as f64 / step as f64,
            errors: numbers.statuses[4] as f64 / step as f64,
            p50: numbers.p50_us,
            p99: numbers.p99_us,
            sent: numbers.sent as f64 / step as f64,
            looked_up: numbers.looked_up as f64 / step as f64,
            cached: numbers.cached as f64 / step as f64,
        };
    }
    Ok(History {
        at: now,
        step_seconds: step as u32,
        points,
    })
}

/// The route that an explained request is counted for.
pub fn add_route(control: &Control, in_force: &InForce, explanation: &mut Explanation) {
    let routes = control.routes.of(in_force);
    let found = routes
        .routes
        .iter()
        .find(|route| route.server == explanation.server && route.location == explanation.location);
    explanation.route = found.map(|route| route.id);
}

/// A request as the protocol tells it.
pub fn request(ended: RequestSummary) -> Request {
    let key = ended.route.and_then(|route| ledger().route(route));
    let (server, location) = key.map_or_else(Default::default, |key| {
        (key.server.to_string(), key.location.to_string())
    });
    let attempts = ended.attempts.into_iter().map(|attempt| Attempt {
        peer: attempt.peer,
        status: attempt.status,
        started: attempt.started,
        connect: attempt.connect,
        header: attempt.header,
        response: attempt.response,
        received: attempt.received,
    });
    Request {
        at: ended.at,
        id: ended.id.map_or_else(String::new, |id| format!("{id:032x}")),
        client: ended.client,
        method: ended.method,
        host: ended.host,
        target: ended.target,
        protocol: ended.protocol.to_owned(),
        status: ended.status,
        route: ended.route.map_or(0, |route| route.0),
        server,
        location,
        received: ended.received,
        sent: ended.sent,
        duration: ended.duration,
        attempts: attempts.collect(),
        user_agent: ended.user_agent,
        is_complete: ended.is_complete,
    }
}

/// The memory of the process in bytes.
pub fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    // Linux' pages are told in this unit wherever statm is.
    pages.unwrap_or_default()
        * nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
            .ok()
            .flatten()
            .map_or(4096, |size| size as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_errs_from_a_tenth_of_its_answers_on_until_it_is_a_twentieth() {
        assert!(!is_erring([0, 5, 0, 0, 5], false), "too few");
        assert!(!is_erring([0, 91, 0, 0, 9], false));
        assert!(is_erring([0, 90, 0, 0, 10], false));
        assert!(is_erring([0, 95, 0, 0, 5], true));
        assert!(!is_erring([0, 96, 0, 0, 4], true));
        assert_eq!(share_of_errors([0, 60, 0, 20, 20]), 20);
    }

    #[test]
    fn a_minute_is_kept_under_the_second_in_which_it_began() {
        assert_eq!(last_minute(1_700_000_125_999), 1_700_000_040);
        assert_eq!(last_minute(1_700_000_125_999) % 60, 0);
        assert_eq!(last_minute(5), 0);
    }
}
