//! How much of a site one client may have.

use std::time::Duration;

use super::log::Level;
use crate::conf::source::Span;
use crate::conf::template::Template;

/// Requests are counted in thousandths, rates in thousandths of a request per second (nginx's
/// arithmetic).
pub const REQUEST: u64 = 1000;

/// The zones of a configuration; [`RequestLimit::zone`] and [`ConnectionLimit::zone`] count them.
#[derive(Debug, Default)]
pub struct LimitZones {
    /// `limit_req_zone`
    pub requests: Vec<RequestZone>,
    /// `limit_conn_zone`
    pub connections: Vec<ConnectionZone>,
}

/// `limit_req_zone`
#[derive(Debug, Clone)]
pub struct RequestZone {
    /// What both kinds have.
    pub zone: Zone,
    /// Thousandths of a request per second; at least 1.
    pub rate: u64,
    /// The rate as written: `5r/s`.
    pub rate_text: Box<str>,
    /// What users of the zone that say nothing of it get.
    pub usual: Burst,
}

/// `limit_conn_zone`
pub type ConnectionZone = Zone;

/// A table of keys.
#[derive(Debug, Clone)]
pub struct Zone {
    /// By which it is named.
    pub name: Box<str>,
    /// What is counted by; requests for which it comes out empty are not counted.
    pub key: Template,
    /// The key as written.
    pub key_text: Box<str>,
    /// The memory that it may take, in bytes.
    pub size: usize,
    /// Its line.
    pub span: Span,
}

/// How far ahead of the rate requests may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Burst {
    /// Above this they are refused; in thousandths of a request.
    pub most: u64,
    /// Above this they are delayed; `u64::MAX` is never (`nodelay`).
    pub undelayed: u64,
}

/// `limit_req`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestLimit {
    /// Position in [`LimitZones::requests`].
    pub zone: usize,
    /// How far ahead of the rate.
    pub burst: Burst,
}

/// `limit_conn`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimit {
    /// Position in [`LimitZones::connections`].
    pub zone: usize,
    /// So many requests at a time.
    pub most: u32,
}

/// The limits of one place.
#[derive(Debug)]
pub struct Limits {
    /// `limit_req`, in order.
    pub requests: Box<[RequestLimit]>,
    /// How the limits on requests answer.
    pub of_requests: Manner,
    /// `limit_conn`, in order.
    pub connections: Box<[ConnectionLimit]>,
    /// How the limits on connections answer.
    pub of_connections: Manner,
}

/// What is done about a request too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manner {
    /// `limit_req_status`, `limit_conn_status`
    pub status: u16,
    /// `limit_req_log_level`, `limit_conn_log_level`
    pub level: Level,
    /// `limit_req_dry_run`, `limit_conn_dry_run`
    pub is_dry_run: bool,
}

impl Manner {
    /// The level at which delays are logged.
    pub fn delay_level(self) -> Level {
        match self.level {
            Level::Error => Level::Warn,
            Level::Warn => Level::Notice,
            _ => Level::Info,
        }
    }
}

impl RequestZone {
    /// How long requests take that come this much ahead of the rate.
    pub fn time_of(&self, requests: u64) -> Duration {
        Duration::from_millis(requests.saturating_mul(1000) / self.rate)
    }
}
