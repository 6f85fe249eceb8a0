//! What is said of upstreams and their peers.

use serde::{Deserialize, Serialize};

use super::{Millis, Traffic};

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
