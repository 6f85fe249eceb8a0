//! `listen`: where connections are accepted and which servers share the address.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::conf::source::Span;

/// An address to bind or to connect to.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Address {
    /// TCP.
    Ip(SocketAddr),
    /// A Unix stream socket.
    Unix(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ip(address) => write!(formatter, "{address}"),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// One distinct listening address.
#[derive(Debug)]
pub struct Listen {
    /// Where.
    pub address: Address,
    /// The options of the `listen` line that has any.
    pub options: Options,
    /// Positions in [`super::Http::servers`] of the servers at this address, in order.
    pub servers: Vec<usize>,
    /// Position in [`super::Http::servers`] of the server for requests that match no name.
    pub default_server: usize,
    /// `default_server` was written.
    pub has_explicit_default: bool,
    /// A wildcard address with the same port takes its connections: it needs no socket of its own.
    pub is_covered: bool,
    /// The line that named the address first.
    pub span: Span,
}

/// Parameters of `listen`; `None` leaves it to the system.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// `ssl`
    pub ssl: bool,
    /// `proxy_protocol`: connections begin with a header that names the client.
    pub proxy_protocol: bool,
    /// `http2` on the line (deprecated in nginx in favour of the directive).
    pub http2: bool,
    /// `backlog=N`; nginx's default is 511.
    pub backlog: Option<u32>,
    /// `rcvbuf=SIZE`
    pub receive_buffer: Option<u32>,
    /// `sndbuf=SIZE`
    pub send_buffer: Option<u32>,
    /// `ipv6only=on|off`; on by default.
    pub ipv6_only: Option<bool>,
    /// `so_keepalive=on|off|[idle]:[interval]:[count]`
    pub keepalive: Option<Keepalive>,
    /// `fastopen=N`
    pub fastopen: Option<u32>,
    /// `deferred` (TCP_DEFER_ACCEPT)
    pub deferred: bool,
    /// `reuseport`: every worker has its own queue anyway; kept for `-T` and messages.
    pub reuse_port: bool,
}

/// `so_keepalive`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Keepalive {
    /// Switched on at all.
    pub enabled: bool,
    /// Seconds before the first probe.
    pub idle: Option<u32>,
    /// Seconds between probes.
    pub interval: Option<u32>,
    /// Probes before giving up.
    pub count: Option<u32>,
}
