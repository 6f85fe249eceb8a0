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
//! | `POST /v1/llm/cache/purge` | [`KeptPurge`] | [`KeptPurged`] |
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
mod certificates;
pub mod client;
mod config;
mod keys;
mod limits;
mod llm;
mod routes;
mod upstreams;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use alerts::{
    AlertAction, AlertChange, AlertList, AlertReceiver, AlertSendState, AlertState, AlertTest,
};
pub use cache::{
    CacheEntries, CacheEntry, CacheKey, CacheName, CachePurge, CachePurged, CacheResults,
    CacheTarget, CacheZone, Caches, KeptAnswers, KeptPurge, KeptPurged, KeptShare,
};
pub use certificates::{
    CLOSE_DAYS, Certificate, CertificateName, CertificateSource, CertificateState,
    CertificateStates, CertificateUse, Certificates, ChainLink, Check, Import, Imported, LogLine,
    ManagedCertificate, Preflight, SOON_DAYS, ServedCertificate, Terms, TermsAgreement, Trouble,
};
pub use config::{
    Applied, Base, Change, ConfigTexts, FileText, Outcome, Problem, Revert, Review, Revision,
    RevisionDiff, RevisionTexts, Revisions,
};
pub use keys::{
    BudgetSetting, KeyAction, KeyBudget, KeyChange, KeyChanged, KeyList, KeySecret, KeySettings,
    KeyState, KeyUse, SecretText, SpendReport, SpendRow,
};
pub use limits::{
    BanChange, BanState, Bans, LimitKind, LimitTraffic, LimitZone, LimitedKey, Limits, RouteLimit,
};
pub use llm::{
    CallTokens, FullestBudget, LlmNow, ModelCall, ModelCalls, ModelNow, ProviderName, ProviderNow,
    ProviderTest, ProviderTests, RunningCall,
};
pub use routes::{Explanation, Question, Route, RouteTraffic, Routes, Step};
pub use upstreams::{
    Circuit, Group, HealthChange, Peer, PeerAction, PeerChange, PeerHealth, PeerState, PeerStates,
    PeerTraffic, Upstream, Upstreams,
};

/// The version of the protocol, and of every path.
pub const VERSION: u32 = 1;

/// How long a subscription lives without being renewed.
pub const LEASE: Duration = Duration::from_secs(10);

/// The largest body of a request, and the largest answer that a client takes.
pub const MAX_BODY: usize = 16 << 20;

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
    /// Alerts that say what is wrong and that nobody has acknowledged, of the hundred that are listed.
    pub unseen_alerts: u64,
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
