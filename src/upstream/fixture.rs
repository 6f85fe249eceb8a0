//! Upstreams for the tests of this module.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::balance::{State, Wish};
use super::group::Peers;
use crate::conf::source::Span;
use crate::conf::typed::health::Guard;
use crate::conf::typed::listen::Address;
use crate::conf::typed::upstream::{Keepalive, Method, PeerAddress, Upstream, UpstreamServer};
use crate::http::exchange::{Connection, Exchange};
use crate::http::fixture;
pub use crate::http::fixture::template;

/// A line for `127.0.0.1:PORT` with nginx's defaults.
pub fn server(port: u16) -> UpstreamServer {
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    UpstreamServer::new(
        &address.to_string(),
        PeerAddress::Ip(address),
        Span::default(),
    )
}

/// A line for a name.
pub fn named(host: &str, port: u16) -> UpstreamServer {
    UpstreamServer {
        address: PeerAddress::Name {
            host: host.into(),
            port,
        },
        name: format!("{host}:{port}").into(),
        ..server(port)
    }
}

/// Lines for ports from 1 with these weights.
pub fn weighted(weights: &[u32]) -> Vec<UpstreamServer> {
    let lines = weights.iter().zip(1..);
    lines
        .map(|(&weight, port)| UpstreamServer {
            weight,
            ..server(port)
        })
        .collect()
}

/// A group of these lines.
pub fn upstream(method: Method, servers: Vec<UpstreamServer>) -> Upstream {
    Upstream {
        name: "backend".into(),
        is_implicit: false,
        servers,
        method,
        sticky: None,
        zone: None,
        keepalive: Keepalive {
            connections: 32,
            requests: 1000,
            time: Duration::from_secs(3600),
            timeout: Duration::from_secs(60),
        },
        guard: Guard::default(),
        queue: None,
        resolver: None,
        span: Span::default(),
    }
}

/// The state of a group, with what it was made of.
pub fn state(method: Method, servers: Vec<UpstreamServer>) -> (Arc<Upstream>, State) {
    let upstream = Arc::new(upstream(method, servers));
    let peers = Peers::new(Arc::clone(&upstream), None);
    let state = State::new(&upstream, peers.table());
    (upstream, state)
}

/// A request that wants nothing special.
pub const ANY: Wish<'static> = Wish {
    key: b"",
    sticky: None,
};

/// A request from an address with a query and fields.
pub fn exchange(remote: IpAddr, args: &str, fields: &[(&str, &str)]) -> Exchange {
    let mut exchange = fixture::exchange(fixture::settings(), &format!("/?{args}"), fields);
    exchange.connection = Rc::new(Connection {
        serial: 1,
        remote: Address::Ip(SocketAddr::new(remote, 50_000)),
        remote_text: remote.to_string().into(),
        local: Address::Ip(([127, 0, 0, 1], 80).into()),
        secured: None,
        proxied: None,
        accepted: Instant::now(),
        descriptor: -1,
    });
    exchange
}
