//! The control protocol: what the daemon and its clients say to each other.
//!
//! HTTP/1.1 with JSON bodies over a Unix socket of mode 0600. Owns the types and the paths, and the
//! client ([`client`]); the daemon's side is `control`. Nothing here knows how it is served or shown.
//!
//! # Version
//!
//! Every path starts with `/v1/`. Within a version only this is added: paths, members of objects,
//! words of enumerations that clients show as they are. A client ignores members that it does not
//! know; the daemon refuses those, because one that is misspelt would silently have no effect. An
//! answer of the daemon carries `OpenClaw-Protocol: 1`.
//!
//! # Paths
//!
//! | method and path | body | answer |
//! | --- | --- | --- |
//! | `GET /v1/status` | | [`Status`] |
//! | `GET /v1/summary` | | [`Summary`] |
//! | `GET /v1/history?window=5m\|1h\|1d\|7d\|30d\|1y[&route=ID]` | | [`History`] |
//! | `GET /v1/routes` | | [`Routes`] |
//! | `GET /v1/upstreams` | | [`Upstreams`] |
//! | `GET /v1/events?limit=N` | | [`Events`] |
//! | `GET /v1/config` | | [`ConfigTexts`] |
//! | `POST /v1/config/review` | [`Change`] | [`Review`] |
//! | `POST /v1/config/apply` | [`Change`] | [`Applied`] |
//! | `POST /v1/config/revert` | [`Revert`] | [`Applied`], or [`Review`] with `dry_run` |
//! | `POST /v1/reload` | | [`Applied`] |
//! | `GET /v1/revisions?limit=N&before=ID` | | [`Revisions`] |
//! | `GET /v1/revisions/ID` | | [`RevisionTexts`] |
//! | `GET /v1/revisions/ID/diff` | | [`RevisionDiff`] |
//! | `POST /v1/peers` | [`PeerChange`] | [`Upstreams`] |
//! | `POST /v1/explain` | [`Question`] | [`Explanation`] |
//! | `GET /v1/cache` | | [`Caches`] |
//! | `POST /v1/cache/show` | [`CacheName`] | [`CacheEntries`] |
//! | `POST /v1/cache/purge` | [`CachePurge`] | [`CachePurged`] |
//! | `GET /v1/keys` | | [`KeyList`] |
//! | `GET /v1/keys/NAME` | | [`KeyState`], with who uses its secrets |
//! | `POST /v1/keys` | [`KeyChange`] | [`KeyChanged`] |
//! | `GET /v1/alerts` | | [`AlertList`] |
//! | `POST /v1/alerts` | [`AlertChange`] | [`Done`] |
//! | `POST /v1/alerts/test` | [`AlertTest`] | [`Done`] |
//! | `GET /v1/spend?by=WORD[&from=DAY][&to=DAY]` | | [`SpendReport`] |
//! | `GET /v1/llm/calls?limit=N[&before=ID][&key=NAME]` | | [`ModelCalls`] |
//! | `GET /v1/llm/calls/ID` | | [`ModelCall`] |
//! | `POST /v1/llm/test` | [`ProviderName`] | [`ProviderTests`] |
//! | `GET /v1/certificates` | | [`Certificates`] |
//! | `POST /v1/certificates/renew` | [`CertificateName`] | [`Done`] |
//! | `POST /v1/certificates/why` | [`CertificateName`] | [`Preflight`] |
//! | `POST /v1/certificates/import` | [`Import`] | [`Imported`] |
//! | `POST /v1/certificates/agree` | [`TermsAgreement`] | [`Done`] |
//! | `POST /v1/backup` | [`FileName`] | [`Done`] |
//! | `POST /v1/restore` | [`FileName`] | [`Done`] |
//! | `GET /v1/stream?topics=T,T` | | lines of JSON, each an [`Event`] |
//! | `POST /v1/subscriptions/ID` | [`Lease`] | [`Done`] |
//! | `GET /v1/metrics` | | Prometheus text |
//!
//! A refusal has a status of 4xx or 5xx and a [`Refusal`].
//!
//! # Certificates
//!
//! A certificate is named by its [`Certificate::id`], or by any name of [`Certificate::names`]. When
//! one comes into another state an [`Event::Occurred`] of the kind `certificate` tells it; the numbers
//! of [`CertificateStates`] are in every [`Summary`].
//!
//! # Streams
//!
//! The first line of a stream is [`Event::Opened`] with the number of the subscription. It is a lease:
//! it ends [`LEASE`] after the last `POST /v1/subscriptions/ID`, so that a client that is stuck costs
//! nothing. What a slow reader does not take is dropped and counted.

mod alerts;
mod cache;
pub mod client;
mod keys;
mod llm;

pub use cache::{
    CacheEntries, CacheEntry, CacheKey, CacheName, CachePurge, CachePurged, CacheResults,
    CacheTarget, CacheZone, Caches,
};

pub use keys::{
    BudgetSetting, KeyAction, KeyBudget, KeyChange, KeyChanged, KeyList, KeySecret, KeySettings,
    KeyState, KeyUse, SecretText, SpendReport, SpendRow,
};

pub use alerts::{
    AlertAction, AlertChange, AlertList, AlertReceiver, AlertSendState, AlertState, AlertTest,
};
pub use llm::{
    CallTokens, LlmNow, ModelCall, ModelCalls, ProviderName, ProviderNow, ProviderTest,
    ProviderTests, RunningCall,
};

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The version of the protocol, and of every path.
pub const VERSION: u32 = 1;

/// How long a subscription lives without being renewed.
pub const LEASE: Duration = Duration::from_secs(10);

/// The largest body of a request, and the largest answer that a client takes.
pub const MAX_BODY: usize = 16 << 20;

/// A certificate from a file with fewer days left is [`CertificateState::Expiring`].
pub const SOON_DAYS: i64 = 30;

/// With fewer days left nobody should sleep well.
pub const CLOSE_DAYS: i64 = 7;

/// A time: milliseconds since 1970 in UTC.
pub type Millis = u64;

/// A duration in microseconds.
pub type Micros = u64;

/// Who and what the daemon is.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// [`VERSION`] of the daemon.
    pub protocol: u32,
    /// The program's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// The machine's name.
    pub host: String,
    /// When it started.
    pub started: Millis,
    /// The daemon's clock now.
    pub now: Millis,
    /// Configurations that were put into force since the start.
    pub generation: u64,
    /// The revision in force; 0 while none is recorded.
    pub revision: u64,
    /// The main file, absolute.
    pub conf: String,
    /// Where relative paths of the configuration start.
    pub prefix: String,
    /// Do the files say what is in force?
    pub state: ConfState,
    /// Why the configuration cannot be edited through the daemon, if it cannot.
    pub read_only: Option<String>,
    /// How many workers serve.
    pub workers: usize,
    /// The addresses that are listened to.
    pub listens: Vec<String>,
    /// The memory of the process in bytes.
    pub resident: u64,
    /// The store.
    pub store: StoreStatus,
    /// Lines of logs that were lost since the start, because a disk was full or a reader too slow.
    pub dropped_log_lines: u64,
    /// May this client change anything?
    pub may_change: bool,
}

/// Do the files say what is in force?
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfState {
    /// They do.
    #[default]
    Clean,
    /// They were changed since, and the change is not in force.
    Edited,
}

/// How the store does.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StoreStatus {
    /// Its file.
    pub path: String,
    /// Why it is not in use, if it is not.
    pub error: Option<String>,
    /// What it holds on disk, in bytes.
    pub bytes: u64,
    /// Rows that were dropped because the disk did not keep up.
    pub dropped: u64,
}

/// What happens now; once a second.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Summary {
    /// The daemon's clock.
    pub at: Millis,
    /// The revision in force.
    pub revision: u64,
    /// Do the files say what is in force?
    pub state: ConfState,
    /// Since the start.
    pub uptime_seconds: u64,
    /// All requests, over the last seconds and the window.
    pub traffic: Traffic,
    /// Requests being answered.
    pub in_flight: u64,
    /// Clients' connections open.
    pub connections: u64,
    /// Of these, waiting for a request.
    pub idle: u64,
    /// Requests since the start.
    pub total: u64,
    /// The share of requests over HTTP/2, 0 to 1.
    pub http2: f64,
    /// Connections of HTTP/2 ended since the start because their client asked for much and wanted
    /// nothing.
    pub floods: u64,
    /// The largest rate per second in the last five minutes.
    pub peak: f64,
    /// Of the time of requests, the share that passed waiting for peers, 0 to 1.
    pub upstream_share: f64,
    /// The 99th percentile of the time that was ours, in the last ten seconds.
    pub own_p99: Micros,
    /// Routes that had requests in the last ten seconds; only with the topic `routes`.
    pub routes: Vec<RouteTraffic>,
    /// Peers; only with the topic `peers`.
    pub peers: Vec<PeerTraffic>,
    /// How many peers are in which state.
    pub peer_states: PeerStates,
    /// How many certificates are in which state.
    pub certificate_states: CertificateStates,
    /// What the zones of limits do; only with the topic `routes`.
    pub limits: Vec<LimitTraffic>,
    /// Panics since the start.
    pub panics: u64,
    /// Logins that failed, or were refused because too many did, since the start.
    pub failed_logins: u64,
    /// What the newest warning says, if there is one that still holds.
    pub warning: Option<String>,
    /// What is wrong with backends now, the worst first; no more than eight.
    pub troubles: Vec<String>,
    /// Groups with a circuit or a queue; only with the topic `peers`.
    pub groups: Vec<Group>,
    /// What calls of language models cost since midnight in UTC, in dollars; `None` without a provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spent_today: Option<String>,
    /// What the gateway to language models does; only with the topic `llm`, and a provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub llm: Option<Box<LlmNow>>,
}

/// Requests over a time.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Traffic {
    /// Requests per second, over the last second.
    pub rate: f64,
    /// Requests in the last ten seconds, by the hundreds of their status: 1xx to 5xx.
    pub statuses: [u64; 5],
    /// Of the last ten seconds; 0 without requests.
    pub p50: Micros,
    /// As above.
    pub p90: Micros,
    /// As above.
    pub p99: Micros,
    /// As above.
    pub max: Micros,
    /// Bytes per second from clients.
    pub received: f64,
    /// Bytes per second to clients.
    pub sent: f64,
    /// Requests in the last ten seconds for which a cache was looked into.
    pub looked_up: u64,
    /// Of these, those whose answer was the cache's.
    pub cached: u64,
}

/// The numbers of a route.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RouteTraffic {
    /// [`Route::id`]
    pub route: u32,
    /// Requests since the start.
    pub total: u64,
    /// Requests with a wrong password or a forged token, since the start.
    pub failed_logins: u64,
    /// Bytes of bodies before they were compressed, since the start.
    pub unpacked: u64,
    /// And after.
    pub packed: u64,
    /// What happens.
    #[serde(flatten)]
    pub traffic: Traffic,
}

/// The numbers of a peer.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PeerTraffic {
    /// [`Peer::id`]
    pub peer: u32,
    /// Its state now.
    pub state: PeerState,
    /// When it came into that state; 0 if it has been in it from the start.
    pub since: Millis,
    /// Requests under way.
    pub active: u64,
    /// Connections kept.
    pub idle: u64,
    /// Attempts since the start.
    pub total: u64,
    /// Attempts since the start that failed.
    pub failed: u64,
    /// What active checks found, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<PeerHealth>,
    /// Its circuit, with `eject`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub circuit: Option<Circuit>,
    /// What happens.
    #[serde(flatten)]
    pub traffic: Traffic,
}

/// What active checks found out about a peer.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PeerHealth {
    /// `unchecked`, `checking`, `healthy`, `unhealthy`.
    pub condition: String,
    /// When it came into this condition; 0 if it has been in it from the start.
    pub since: Millis,
    /// When it was checked last; 0 if never.
    pub checked: Millis,
    /// What came out of it: `status 200 in 3 ms`.
    pub found: String,
    /// Checks so far.
    pub checks: u64,
    /// Of these, failed.
    pub failures: u64,
    /// How many came out like the last one, in a row.
    pub in_a_row: u32,
    /// The conditions that it came into, the newest first.
    pub changes: Vec<HealthChange>,
}

/// A peer came into another condition.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthChange {
    /// When.
    pub at: Millis,
    /// See [`PeerHealth::condition`].
    pub condition: String,
    /// What was found.
    pub found: String,
}

/// How a circuit stands.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Circuit {
    /// `closed`, `open`, `half-open`.
    pub phase: String,
    /// For how long it stays open.
    pub left_ms: u64,
    /// How often it opened since the start.
    pub opened: u64,
    /// Requests in its window.
    pub requests: u64,
    /// Of these, failures.
    pub failures: u64,
}

/// How a group of peers does.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Group {
    /// [`Upstream::name`]
    pub name: String,
    /// Its circuit, with `breaker`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaker: Option<Circuit>,
    /// Requests that wait in its `queue`.
    pub waiting: u64,
    /// How many there may be for each worker, or for all with `zone`; 0 without a queue.
    pub room: u64,
    /// Requests that were turned away from the queue since the start.
    pub refused: u64,
}

/// How a peer does.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum PeerState {
    /// Failed too often, left out for `fail_timeout`.
    Failed,
    /// Fails its checks.
    Unhealthy,
    /// Left out by `eject`.
    Ejected,
    /// Has not been checked yet, which has to come first.
    Checking,
    /// Taken out by the configuration or by hand.
    Down,
    /// Finishes what it has; gets nothing new.
    Drain,
    /// Its name does not resolve.
    Unresolved,
    /// Gets requests.
    #[default]
    Up,
}

/// How many peers are in which state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PeerStates {
    /// [`PeerState::Up`]
    pub up: u32,
    /// [`PeerState::Drain`]
    pub drain: u32,
    /// [`PeerState::Failed`] and all others that nobody wanted.
    pub failed: u32,
    /// [`PeerState::Down`]
    pub down: u32,
}

/// Numbers over a window, oldest first.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// When the last point ended.
    pub at: Millis,
    /// How long a point is.
    pub step_seconds: u32,
    /// The points; a gap (the daemon did not run) is a point of zeros.
    pub points: Vec<Point>,
}

/// One point of a history.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Point {
    /// Requests per second.
    pub rate: f64,
    /// Of these, answered with 5xx.
    pub errors: f64,
    /// Percentiles of the time to answer.
    pub p50: Micros,
    /// As above.
    pub p99: Micros,
    /// Bytes per second to clients.
    pub sent: f64,
    /// Requests per second for which a cache was looked into.
    pub looked_up: f64,
    /// Of these, those whose answer was the cache's.
    pub cached: f64,
}

/// Where requests go: a location of a server, or a server without any.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Route {
    /// Names it in [`RouteTraffic`]; the same for as long as the daemon runs.
    pub id: u32,
    /// The first name of its server; empty if it has none.
    pub server: String,
    /// All names of its server.
    pub names: Vec<String>,
    /// The addresses of its server, as written.
    pub listens: Vec<String>,
    /// Is its server the default of one of its addresses?
    pub is_default: bool,
    /// As written behind `location`: `/api/`, `= /x`, `~ \.php$`, `@name`; empty for a server without.
    pub location: String,
    /// What answers: `http://app`, `root /srv/www`, `return 301 https://…`.
    pub target: String,
    /// The name of the `upstream` block, if the target is one.
    pub upstream: Option<String>,
    /// The file and lines, from 1, where it is written.
    pub file: String,
    /// See `file`.
    pub line: u32,
    /// See `file`.
    pub end_line: u32,
    /// The address of its block, for [`crate::conf::address::Address`].
    pub address: String,
    /// The address of its server's block.
    pub server_address: String,
    /// What holds in it, for people: lines such as `allow 10.0.0.0/8` or `gzip on`.
    pub notes: Vec<String>,
    /// The limits that hold in it, written there or around it.
    pub limits: Vec<RouteLimit>,
}

/// Who is kept out.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Bans {
    /// The bans, those made last first.
    pub bans: Vec<BanState>,
    /// Connections and requests that were turned away since the start.
    pub turned_away: u64,
}

/// A client, or a network of them, that is kept out.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BanState {
    /// An address or a network.
    pub network: String,
    /// Since when.
    pub since: Millis,
    /// Until when; `None` for good.
    pub until: Option<Millis>,
    /// Why.
    pub reason: String,
    /// Who said so.
    pub by: String,
}

/// Somebody is to be kept out, or let in again.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BanChange {
    /// An address or a network.
    pub network: String,
    /// For so long; `None` for good.
    pub seconds: Option<u64>,
    /// Why.
    pub reason: String,
    /// Let them in again.
    pub remove: bool,
}

/// A limit of a route.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RouteLimit {
    /// [`LimitZone::name`]
    pub zone: String,
    /// What is limited.
    pub of: LimitKind,
    /// What is let through, for people: `5r/s burst 20 nodelay`, `10 at a time`.
    pub rule: String,
}

/// What a limit is on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    /// `limit_req`: how many requests come in a time.
    #[default]
    Requests,
    /// `limit_conn`: how many requests are under way at a time.
    Connections,
}

/// What a zone does, per second over the last ten seconds.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LimitTraffic {
    /// [`LimitZone::name`]
    pub zone: String,
    /// What is limited.
    pub of: LimitKind,
    /// Let pass at once.
    pub passed: f64,
    /// Let pass after a while.
    pub delayed: f64,
    /// Refused.
    pub refused: f64,
}

/// A zone of `limit_req_zone` or `limit_conn_zone`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LimitZone {
    /// By which it is named.
    pub name: String,
    /// What is limited.
    pub of: LimitKind,
    /// What is counted by, as written: `$binary_remote_addr`.
    pub key: String,
    /// The rate, as written; empty for connections.
    pub rate: String,
    /// The memory that it may take, in bytes.
    pub size: u64,
    /// The memory that it takes.
    pub bytes: u64,
    /// Keys that it holds.
    pub keys: u64,
    /// Requests let pass at once since the zone began. A dry run counts as if it were none.
    pub passed: u64,
    /// Let pass after a while.
    pub delayed: u64,
    /// Refused.
    pub refused: u64,
    /// What it does now.
    pub traffic: LimitTraffic,
    /// The keys that were refused most, the worst first.
    pub worst: Vec<LimitedKey>,
}

/// A key of a zone.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LimitedKey {
    /// The key, an address as such.
    pub key: String,
    /// Requests refused since its state began.
    pub refused: u64,
    /// Requests that it was ahead of its rate when it was seen last; or requests under way.
    pub ahead: f64,
}

/// All zones of limits.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// The revision they are of.
    pub revision: u64,
    /// The zones.
    pub zones: Vec<LimitZone>,
}

/// All routes, in the order in which nginx matches.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Routes {
    /// The revision they are of.
    pub revision: u64,
    /// The routes.
    pub routes: Vec<Route>,
}

/// One address of an upstream.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Peer {
    /// Names it in [`PeerTraffic`]; the same for as long as the daemon runs.
    pub id: u32,
    /// The address.
    pub address: String,
    /// The name on its `server` line, as written.
    pub name: String,
    /// Its weight in force.
    pub weight: u32,
    /// Used only when the others fail.
    pub is_backup: bool,
    /// `max_fails`
    pub max_fails: u32,
    /// `fail_timeout`
    pub fail_timeout_ms: u64,
    /// `max_conns`; 0 without a limit.
    pub max_connections: u64,
    /// Was something set by hand that the configuration does not say?
    pub is_overridden: bool,
    /// The state in words of its numbers.
    #[serde(flatten)]
    pub traffic: PeerTraffic,
    /// The place of its `server` line.
    pub file: String,
    /// See `file`.
    pub line: u32,
}

/// An `upstream` block, or the implicit one of a `proxy_pass`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Upstream {
    /// Its name.
    pub name: String,
    /// Made by a `proxy_pass` that names an address.
    pub is_implicit: bool,
    /// How peers are chosen, as written: `round robin`, `least_conn`, `hash $uri consistent`.
    pub method: String,
    /// `keepalive`: connections kept per worker.
    pub keepalive: u32,
    /// The peers.
    pub peers: Vec<Peer>,
    /// Its circuit and its queue, if it has one.
    pub group: Option<Group>,
    /// What its peers are asked: `GET /health, every 5 s`; empty if nothing.
    pub check: String,
    /// The address of the block; empty for an implicit one.
    pub conf_address: String,
    /// How many routes lead here.
    pub routes: u32,
}

/// All upstreams.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Upstreams {
    /// The revision they are of.
    pub revision: u64,
    /// The upstreams.
    pub upstreams: Vec<Upstream>,
}

/// Something that happened and is worth a line.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Occurrence {
    /// Counts up.
    pub id: u64,
    /// When.
    pub at: Millis,
    /// How bad: `info`, `warn`, `bad`, `good`.
    pub level: Level,
    /// `peer`, `revision`, `certificate`, `reload`, `store`, `process`, `limit`, `ban`.
    pub kind: String,
    /// What it is about: a peer's address, a file.
    pub subject: String,
    /// What happened.
    pub text: String,
}

/// How bad something is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Good to know.
    #[default]
    Info,
    /// Better than before.
    Good,
    /// Look at it.
    Warn,
    /// It costs requests.
    Bad,
}

/// What happened, newest first.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Events {
    /// The occurrences.
    pub events: Vec<Occurrence>,
}

/// What a change starts from. A change whose base is not current is refused.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Base {
    /// The revision in force.
    pub revision: u64,
    /// Tells the texts of all files from any others: `ConfigTexts::base` has that of the texts there.
    pub digest: String,
}

/// A file and its text.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileText {
    /// Absolute.
    pub path: String,
    /// The whole text.
    pub text: String,
}

/// The configuration as its files have it now.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ConfigTexts {
    /// What a change of these texts starts from.
    pub base: Base,
    /// The main file.
    pub conf: String,
    /// Where relative paths start.
    pub prefix: String,
    /// The main file first, then those it includes.
    pub files: Vec<FileText>,
    /// Do they say what is in force?
    pub state: ConfState,
    /// Why they cannot be written, if they cannot.
    pub read_only: Option<String>,
}

/// New texts for some files.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// What it starts from.
    pub base: Base,
    /// The files that change, or are new.
    pub files: Vec<FileText>,
    /// Files of the configuration that go, by their paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
    /// What it is for, in a line.
    #[serde(default)]
    pub note: String,
    /// The client, for the record: `dashboard`, `cli`.
    #[serde(default)]
    pub client: String,
}

/// What a change would do.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Review {
    /// The difference to the files as they are, unified.
    pub diff: String,
    /// What is wrong with the result.
    pub problems: Vec<Problem>,
    /// What it does to what runs, one line each.
    pub effects: Vec<String>,
    /// May it be applied?
    pub is_applicable: bool,
}

/// A problem of a configuration.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// `OC-E030`
    pub code: String,
    /// Does it forbid using the configuration?
    pub is_error: bool,
    /// What is wrong.
    pub message: String,
    /// The way out.
    pub hint: Option<String>,
    /// Where it is.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// From 1.
    pub column: u32,
    /// How many characters are meant.
    pub width: u32,
    /// The whole line.
    pub source: String,
}

/// A change is in force.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Applied {
    /// The revision that is in force now.
    pub revision: u64,
    /// The generation that serves it.
    pub generation: u64,
    /// Warnings about it.
    pub problems: Vec<Problem>,
    /// Nothing was different.
    pub is_unchanged: bool,
}

/// Back to an earlier revision.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revert {
    /// What it starts from.
    pub base: Base,
    /// The revision whose texts are wanted; its own change is undone with `undo`.
    pub revision: u64,
    /// Undo only what this revision changed, and keep what came after; refused if later revisions
    /// changed the same lines.
    #[serde(default)]
    pub undo: bool,
    /// Only review.
    #[serde(default)]
    pub dry_run: bool,
    /// As [`Change::client`].
    #[serde(default)]
    pub client: String,
}

/// A revision without its texts.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Revision {
    /// Counts up.
    pub id: u64,
    /// When.
    pub at: Millis,
    /// Who: the user's name.
    pub author: String,
    /// By what: `dashboard`, `cli`, `reload`, `start`.
    pub client: String,
    /// What it was for.
    pub note: String,
    /// Was it put into force?
    pub outcome: Outcome,
    /// Why it was refused.
    pub reason: Option<String>,
    /// The revision that it changed; 0 for the first.
    pub parent: u64,
    /// The revision whose change it takes back, if it is an undo.
    pub reverts: Option<u64>,
    /// Lines that came.
    pub added: u32,
    /// Lines that went.
    pub removed: u32,
}

/// What became of a revision.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was put into force.
    #[default]
    Applied,
    /// It was not.
    Refused,
}

/// Revisions, newest first.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Revisions {
    /// The revision in force.
    pub current: u64,
    /// The revisions.
    pub revisions: Vec<Revision>,
}

/// A revision and its texts.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RevisionTexts {
    /// The revision.
    pub revision: Revision,
    /// Its files.
    pub files: Vec<FileText>,
}

/// What a revision changed.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RevisionDiff {
    /// The revision.
    pub revision: Revision,
    /// The difference to its parent, unified.
    pub diff: String,
    /// The difference from the files as they are to it, unified.
    pub to_here: String,
}

/// Something to do with a peer; the configuration stays as it is, and the change is gone with the
/// end of the daemon.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerChange {
    /// [`Upstream::name`]
    pub upstream: String,
    /// [`Peer::address`]
    pub address: String,
    /// What.
    pub action: PeerAction,
    /// The weight, for [`PeerAction::Weight`]: from 1 to 65535.
    #[serde(default)]
    pub weight: Option<u32>,
}

/// What to do with a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerAction {
    /// Give it nothing new.
    Drain,
    /// Take it out.
    Down,
    /// Put it in, whatever the configuration says.
    Up,
    /// Another weight.
    Weight,
    /// As the configuration says.
    #[default]
    Reset,
    /// Check it now.
    Check,
}

/// What would happen to a request?
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// `GET`
    pub method: String,
    /// `http://host:port/path?query`
    pub url: String,
    /// More fields of the request.
    #[serde(default)]
    pub fields: Vec<(String, String)>,
    /// The address of the client; loopback if empty.
    #[serde(default)]
    pub client: String,
}

/// What would happen to a request, as far as that is known without sending it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Explanation {
    /// The first name of the server; empty if none is asked.
    pub server: String,
    /// The location as written.
    pub location: String,
    /// What answers.
    pub target: String,
    /// The status, if it is known.
    pub status: Option<u16>,
    /// The route it is counted for.
    pub route: Option<u32>,
    /// What happens, in order, and why.
    pub steps: Vec<Step>,
    /// The peers it may go to, the likeliest first.
    pub peers: Vec<String>,
    /// The URL that a peer is asked for.
    pub upstream_url: Option<String>,
}

/// One thing that happens to a request.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Step {
    /// `listen`, `server`, `rewrite`, `location`, `access`, `content`, `upstream`, `filter`.
    pub phase: String,
    /// What is decided, and why.
    pub text: String,
    /// `file:line`; empty if no line says so.
    pub place: String,
}

/// A certificate that is served, or wanted.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Certificate {
    /// Tells it from all others; the same for as long as the configuration asks for it.
    pub id: String,
    /// What it is for: the names that are wanted, or those that its file has; never empty.
    pub names: Vec<String>,
    /// Where it comes from.
    pub source: CertificateSource,
    /// How it does.
    pub state: CertificateState,
    /// What there is to say about the state, in a sentence; empty if all is well.
    pub remark: String,
    /// The servers that serve it.
    pub used_by: Vec<CertificateUse>,
    /// What is served now; `None` while a placeholder stands in for it.
    pub served: Option<ServedCertificate>,
    /// How it is got, if it is got by the daemon itself.
    pub managed: Option<ManagedCertificate>,
}

/// Where a certificate comes from.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum CertificateSource {
    /// From files that the configuration names.
    Files {
        /// `ssl_certificate`
        certificate: String,
        /// `ssl_certificate_key`
        key: String,
    },
    /// The daemon gets it from an authority (RFC 8555).
    Issuer {
        /// The authority's name in the configuration.
        name: String,
        /// The address of its directory.
        uri: String,
    },
    /// The daemon signs it itself.
    OwnAuthority,
    /// From files whose names depend on variables.
    Computed,
    /// From nowhere: nothing says where it comes from.
    #[default]
    #[serde(other)]
    Nowhere,
}

/// How a certificate does.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum CertificateState {
    /// Its last day has passed, and it is served all the same.
    Expired,
    /// It cannot be read or got, and a placeholder is served.
    Placeholder,
    /// The last attempt to get or to renew it failed; the next one is scheduled.
    Failed,
    /// It is waited for an agreement to the authority's terms.
    Agreement,
    /// Its first day has not come.
    Early,
    /// It ends soon, and nothing that is under way will change that.
    Expiring,
    /// It is not for a name that is served with it.
    Mismatch,
    /// The first one is being got.
    Waiting,
    /// All is well.
    #[default]
    #[serde(other)]
    Valid,
}

impl CertificateState {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Placeholder => "placeholder",
            Self::Failed => "failed",
            Self::Agreement => "agreement",
            Self::Early => "not yet",
            Self::Expiring => "expiring",
            Self::Mismatch => "wrong name",
            Self::Waiting => "waiting",
            Self::Valid => "valid",
        }
    }
}

impl CertificateSource {
    /// In a word or two: who makes it, as far as the configuration says.
    pub fn name(&self) -> &str {
        match self {
            Self::Files { .. } => "file",
            Self::Issuer { name, .. } => name,
            Self::OwnAuthority => "own authority",
            Self::Computed => "files by variables",
            Self::Nowhere => "nowhere",
        }
    }
}

impl Certificate {
    /// Is this its id, or one of its names?
    pub fn is_named(&self, name: &str) -> bool {
        self.id == name || self.names.iter().any(|own| own.eq_ignore_ascii_case(name))
    }

    /// How bad its state is.
    pub fn level(&self) -> Level {
        let days = self.served.as_ref().map(|served| served.days_left);
        let is_near = days.is_none_or(|days| days < CLOSE_DAYS);
        match self.state {
            CertificateState::Valid => Level::Good,
            CertificateState::Waiting => Level::Info,
            CertificateState::Expired | CertificateState::Placeholder | CertificateState::Early => {
                Level::Bad
            }
            CertificateState::Failed | CertificateState::Expiring if is_near => Level::Bad,
            CertificateState::Failed
            | CertificateState::Expiring
            | CertificateState::Mismatch
            | CertificateState::Agreement => Level::Warn,
        }
    }
}

/// A server that serves a certificate.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CertificateUse {
    /// The first name of the server; empty if it has none.
    pub server: String,
    /// Its addresses with TLS, as written.
    pub listens: Vec<String>,
    /// The place of the line that asks for the certificate.
    pub file: String,
    /// See `file`; from 1.
    pub line: u32,
}

/// What a certificate says.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ServedCertificate {
    /// Whom it is for, in the form of RFC 2253.
    pub subject: String,
    /// Who signed it: the common name, or the whole name in the form of RFC 2253.
    pub issuer: String,
    /// The organization of who signed it, if it says one.
    pub organization: String,
    /// All names and addresses that it has.
    pub names: Vec<String>,
    /// `04:9a:…`
    pub serial: String,
    /// From when it is valid.
    pub not_before: Millis,
    /// Until when it is valid.
    pub not_after: Millis,
    /// What is left of it in whole days; negative if it is over.
    pub days_left: i64,
    /// `ECDSA P-256`
    pub key: String,
    /// `ECDSA with SHA-256`
    pub signature: String,
    /// SHA-256 of it, `ab:cd:…`
    pub sha256: String,
    /// What is sent behind it, the nearest first.
    pub chain: Vec<ChainLink>,
}

/// A certificate that is sent with another one.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ChainLink {
    /// Whom it is for.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// Until when it is valid.
    pub not_after: Millis,
    /// What its key is.
    pub key: String,
}

/// How a certificate is got.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ManagedCertificate {
    /// How the names are proven: `http-01`, `tls-alpn-01`, `dns-01`; empty with the own authority.
    pub challenge: String,
    /// When it is renewed, or tried again.
    pub next: Option<Millis>,
    /// It is being got now.
    pub is_busy: bool,
    /// Attempts that failed since the last one that did not.
    pub failures: u32,
    /// Why the last one failed.
    pub last_error: Option<Trouble>,
    /// The terms that wait for an agreement.
    pub terms: Option<Terms>,
    /// What is known of the authority's limits, in a sentence; empty if nothing is.
    pub limits: String,
    /// What was done, oldest first; the last lines only.
    pub log: Vec<LogLine>,
    /// When a client asked for it last, if it is got because clients ask for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used: Option<Millis>,
}

/// The terms of an authority.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Terms {
    /// The authority's name in the configuration.
    pub issuer: String,
    /// Where they are read; empty if the authority does not say it.
    pub url: String,
}

/// An attempt that failed.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Trouble {
    /// When.
    pub at: Millis,
    /// What was being done and why it failed.
    pub text: String,
    /// The authority's own words, if it said some.
    pub authority: String,
}

/// A line of what was done.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LogLine {
    /// When.
    pub at: Millis,
    /// How bad.
    pub level: Level,
    /// What.
    pub text: String,
}

/// All certificates, those that end soonest first.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Certificates {
    /// The revision they are of.
    pub revision: u64,
    /// The certificates.
    pub certificates: Vec<Certificate>,
}

/// How many certificates are in which state.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CertificateStates {
    /// All of them.
    pub all: u32,
    /// Those with [`Certificate::level`] [`Level::Warn`].
    pub warn: u32,
    /// Those with [`Level::Bad`].
    pub bad: u32,
    /// When the first of those that are served ends.
    pub soonest: Option<Millis>,
    /// What the worst of them is, in a line; empty if all is well.
    pub worst: String,
    /// The terms that somebody must agree to before a certificate can be got.
    pub terms: Option<Terms>,
    /// How wrong the clock of the machine is by that of the authorities; empty if it is right, as far as
    /// that is known.
    pub clock: String,
}

/// Which certificate is meant.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateName {
    /// Its [`Certificate::id`], or a name that it is for; with `why` any name at all.
    pub name: String,
}

/// What stands in the way of a certificate, as far as that can be seen from here.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Preflight {
    /// The name that was asked about.
    pub name: String,
    /// What was looked at, in order.
    pub checks: Vec<Check>,
    /// Why the last attempt failed.
    pub last_error: Option<Trouble>,
}

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Check {
    /// `server`, `certificate`, `listen`, `firewall`, `address`, `caa`, `authority`, `clock`, `terms`,
    /// `limits`, `dns`, `state`.
    pub subject: String,
    /// [`Level::Good`], [`Level::Info`] for what could not be looked at, [`Level::Warn`] or
    /// [`Level::Bad`] for what makes it fail.
    pub level: Level,
    /// What was seen.
    pub seen: String,
    /// What to do; empty if nothing is to be done.
    pub advice: String,
}

/// A certificate and its key, to be served from now on.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Import {
    /// A name of the server that shall serve it.
    pub name: String,
    /// The certificate and what belongs to its chain (PEM).
    pub certificate: String,
    /// The key (PEM), not encrypted.
    pub key: String,
    /// Say what would be done, and do nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// As [`Change::client`].
    #[serde(default)]
    pub client: String,
}

/// The key is nobody's to read.
impl std::fmt::Debug for Import {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Import")
            .field("name", &self.name)
            .field("dry_run", &self.dry_run)
            .finish_non_exhaustive()
    }
}

/// What came of an [`Import`].
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Imported {
    /// What the certificate says.
    pub certificate: ServedCertificate,
    /// What is wrong with it, but not too wrong to be served.
    pub warnings: Vec<String>,
    /// The files that hold it.
    pub files: Vec<String>,
    /// The difference in the configuration, unified.
    pub diff: String,
    /// The revision that is in force now; 0 with `dry_run`.
    pub revision: u64,
}

/// An agreement to the terms of an authority.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TermsAgreement {
    /// The authority's name in the configuration. If it is empty those are meant for which
    /// certificates wait, and without any the one that is there without being written.
    #[serde(default)]
    pub issuer: String,
    /// Where the authority may write to; empty for none.
    #[serde(default)]
    pub email: String,
}

/// A request that ended.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Request {
    /// When it ended.
    pub at: Millis,
    /// `$request_id`, if it was asked for; else empty.
    pub id: String,
    /// The client's address.
    pub client: String,
    /// The method.
    pub method: String,
    /// The host asked for.
    pub host: String,
    /// The target as received, cut if very long.
    pub target: String,
    /// `HTTP/1.1`
    pub protocol: String,
    /// The status of the answer.
    pub status: u16,
    /// The route it was counted for.
    pub route: u32,
    /// The first name of the server.
    pub server: String,
    /// The location as written.
    pub location: String,
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
    /// From its first byte to its end.
    pub duration: Micros,
    /// Tries at peers, in order.
    pub attempts: Vec<Attempt>,
    /// `User-Agent`, cut if very long.
    pub user_agent: String,
    /// Was the answer sent whole?
    pub is_complete: bool,
}

/// A try at a peer.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Attempt {
    /// The peer's address.
    pub peer: String,
    /// Its status; 502 or 504 if there was none.
    pub status: u16,
    /// From the start of the request to that of the attempt.
    pub started: Micros,
    /// Until connected.
    pub connect: Option<Micros>,
    /// Until the head of the answer was read.
    pub header: Option<Micros>,
    /// Until the end.
    pub response: Option<Micros>,
    /// Bytes of the answer's body.
    pub received: u64,
}

/// What a stream may be about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// [`Event::Summary`], once a second.
    Summary,
    /// [`Summary::routes`] in it.
    Routes,
    /// [`Summary::peers`] in it.
    Peers,
    /// [`Summary::llm`] in it.
    Llm,
    /// [`Event::Requests`]
    Requests,
    /// [`Event::Occurred`]
    Events,
}

impl Topic {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Summary,
        Self::Routes,
        Self::Peers,
        Self::Llm,
        Self::Requests,
        Self::Events,
    ];

    /// Its word in a query.
    pub fn name(self) -> &'static str {
        match self {
            Self::Summary => "summary",
            Self::Routes => "routes",
            Self::Peers => "peers",
            Self::Llm => "llm",
            Self::Requests => "requests",
            Self::Events => "events",
        }
    }
}

/// A line of a stream.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// The first line.
    Opened {
        /// The number of the subscription, for its lease.
        subscription: u64,
    },
    /// Once a second.
    Summary(Box<Summary>),
    /// Requests that ended.
    Requests {
        /// In the order in which they ended.
        requests: Vec<Request>,
        /// How many were not told since the last line.
        dropped: u64,
    },
    /// Something happened.
    Occurred(Occurrence),
    /// The routes or upstreams are other ones now: ask again.
    Changed {
        /// The revision in force.
        revision: u64,
    },
    /// What this client does not know.
    #[serde(other)]
    Unknown,
}

/// Renews a subscription.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    /// What it is about from now on; as before if absent.
    #[serde(default)]
    pub topics: Option<Vec<Topic>>,
}

/// Names a file on the daemon's machine.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileName {
    /// Absolute.
    pub path: String,
}

/// It was done.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Done {
    /// What there is to say about it; may be empty.
    pub text: String,
}

/// It was not done.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Refusal {
    /// A word for programs.
    pub code: RefusalCode,
    /// What is wrong.
    pub message: String,
    /// The way out.
    pub hint: Option<String>,
    /// What is wrong with the configuration.
    pub problems: Vec<Problem>,
    /// What is current, if the base was stale.
    pub current: Option<Box<Base>>,
    /// The difference between the base that the client had and what is current, if that is known.
    pub diff: Option<String>,
}

/// Why something is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalCode {
    /// The request makes no sense.
    Invalid,
    /// There is no such thing.
    NotFound,
    /// This user may not.
    Forbidden,
    /// The base is not current.
    Stale,
    /// The configuration has errors.
    Problems,
    /// The files cannot be written.
    ReadOnly,
    /// Later changes are in the way of an undo.
    Conflict,
    /// The store is not in use.
    NoStore,
    /// Too much at once.
    Busy,
    /// It went wrong.
    #[default]
    #[serde(other)]
    Failed,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(out, " (hint: {hint})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_newer_daemon_says_is_not_an_error() {
        let event: Event = serde_json::from_str(r#"{"event":"news","x":1}"#).expect("tolerated");
        assert_eq!(event, Event::Unknown);
        let code: RefusalCode = serde_json::from_str(r#""too_late""#).expect("tolerated");
        assert_eq!(code, RefusalCode::Failed);
        let event: Event =
            serde_json::from_str(r#"{"event":"summary","at":5,"mood":"good"}"#).expect("tolerated");
        assert!(matches!(event, Event::Summary(summary) if summary.at == 5));
    }

    #[test]
    fn what_a_client_misspells_is_an_error() {
        serde_json::from_str::<Change>(r#"{"base":{"revision":1,"digest":""},"file":[]}"#)
            .expect_err("`file` is no member");
        let change = PeerChange {
            upstream: "app".to_owned(),
            address: "127.0.0.1:1".to_owned(),
            action: PeerAction::Weight,
            weight: Some(3),
        };
        let text = serde_json::to_string(&change).expect("plain data");
        assert_eq!(
            text,
            r#"{"upstream":"app","address":"127.0.0.1:1","action":"weight","weight":3}"#
        );
        assert_eq!(
            serde_json::from_str::<PeerChange>(&text).expect("as above"),
            change
        );
    }
}
