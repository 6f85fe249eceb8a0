//! `upstream {}`: peers, the method of choosing one, and the connections kept to them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::health::Guard;
use crate::conf::source::Span;
use crate::conf::template::Template;
use crate::conf::variable::Variable;

/// A group of peers.
#[derive(Debug)]
pub struct Upstream {
    /// Its name; for an address named in `proxy_pass` directly, `host:port` as written there.
    pub name: Box<str>,
    /// Made from an address in `proxy_pass`, not from a block.
    pub is_implicit: bool,
    /// `server` lines in order.
    pub servers: Vec<UpstreamServer>,
    /// How a peer is chosen.
    pub method: Method,
    /// `sticky`
    pub sticky: Option<Sticky>,
    /// `zone NAME SIZE`: the state is shared by all workers.
    pub zone: Option<Box<str>>,
    /// `keepalive` and its limits.
    pub keepalive: Keepalive,
    /// Checks, circuits and budgets.
    pub guard: Guard,
    /// `queue N timeout=T`
    pub queue: Option<(usize, Duration)>,
    /// `resolver` of the block, or of `http`.
    pub resolver: Option<std::sync::Arc<Resolver>>,
    /// The word that named it.
    pub span: Span,
}

/// One `server` line.
#[derive(Debug)]
pub struct UpstreamServer {
    /// Where.
    pub address: PeerAddress,
    /// As written, for `$upstream_last_server_name` and messages.
    pub name: Box<str>,
    /// `weight=`; 1 by default.
    pub weight: u32,
    /// `max_conns=`; 0 is no limit.
    pub max_connections: u32,
    /// `max_fails=`; 1 by default, 0 never marks it.
    pub max_fails: u32,
    /// `fail_timeout=`; 10 s by default.
    pub fail_timeout: Duration,
    /// `slow_start=`; zero is none.
    pub slow_start: Duration,
    /// `backup`
    pub backup: bool,
    /// `down`
    pub down: bool,
    /// `drain`
    pub drain: bool,
    /// `resolve`: the name is looked up again as its answers grow old.
    pub resolve: bool,
    /// `service=NAME` (SRV)
    pub service: Option<Box<str>>,
    /// `route=` of `sticky route`.
    pub route: Option<Box<str>>,
    /// Its line.
    pub span: Span,
}

impl UpstreamServer {
    /// A line without parameters.
    pub fn new(name: &str, address: PeerAddress, span: Span) -> Self {
        Self {
            address,
            name: name.into(),
            weight: 1,
            max_connections: 0,
            max_fails: 1,
            fail_timeout: Duration::from_secs(10),
            slow_start: Duration::ZERO,
            backup: false,
            down: false,
            drain: false,
            resolve: false,
            service: None,
            route: None,
            span,
        }
    }
}

/// Where a peer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerAddress {
    /// A literal address.
    Ip(SocketAddr),
    /// A name to look up; every address that it has becomes a peer.
    Name { host: Box<str>, port: u16 },
    /// `unix:PATH`
    Unix(PathBuf),
}

/// How a peer is chosen.
#[derive(Debug)]
pub enum Method {
    /// Smooth weighted round robin.
    RoundRobin,
    /// `least_conn`
    LeastConnections,
    /// `ip_hash`
    IpHash,
    /// `hash key [consistent]`
    Hash { key: Template, consistent: bool },
    /// `random [two [method]]`
    Random(RandomChoice),
    /// `least_time header|last_byte [inflight]`
    LeastTime { until: TimeUntil, inflight: bool },
}

/// `random`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RandomChoice {
    /// One peer by weight.
    One,
    /// Two, and of them the one with fewer connections.
    TwoLeastConnections,
    /// Two, and of them the faster one.
    TwoLeastTime(TimeUntil),
}

/// Which time counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeUntil {
    /// Until the head of the response.
    Header,
    /// Until its last byte.
    LastByte,
}

/// `sticky`.
#[derive(Debug)]
pub enum Sticky {
    /// `sticky cookie name [expires=] [domain=] [path=] [httponly] [secure] [samesite=]`
    Cookie {
        name: Box<str>,
        /// What follows the value in `Set-Cookie`, without `expires`; starts with `; ` unless empty.
        attributes: Template,
        /// `expires=`; `None` ends with the session, `max` is [`Duration::MAX`].
        expires: Option<Duration>,
    },
    /// `sticky route $variable …`
    Route(Vec<Variable>),
    /// `sticky learn create=… lookup=… zone=… [timeout=] [header]`
    Learn {
        create: Vec<Variable>,
        lookup: Vec<Variable>,
        timeout: Duration,
        /// Most sessions kept (from the zone's size).
        capacity: usize,
        header: bool,
    },
}

/// `keepalive N`, `keepalive_requests`, `keepalive_time`, `keepalive_timeout`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keepalive {
    /// Idle connections kept per worker; 0 keeps none.
    pub connections: usize,
    /// Requests over one connection.
    pub requests: u64,
    /// The age at which a connection is not used again.
    pub time: Duration,
    /// How long it may be idle.
    pub timeout: Duration,
}

impl Keepalive {
    /// What is in force where nothing is written (mainline nginx).
    pub const fn usual() -> Self {
        Self {
            connections: 32,
            requests: 1000,
            time: Duration::from_secs(3600),
            timeout: Duration::from_secs(60),
        }
    }
}

/// `resolver`.
#[derive(Debug, PartialEq, Eq)]
pub struct Resolver {
    /// Name servers; empty uses those of the system.
    pub servers: Vec<SocketAddr>,
    /// `valid=`: replaces the answers' own lifetime.
    pub valid: Option<Duration>,
    /// `ipv4=off` makes it false.
    pub ipv4: bool,
    /// `ipv6=off` makes it false.
    pub ipv6: bool,
    /// `resolver_timeout`
    pub timeout: Duration,
}
