//! What is said of limits and bans: how much they refused, and whom.

use serde::{Deserialize, Serialize};

use super::Millis;

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
