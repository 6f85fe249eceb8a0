//! Upstreams for the tests of this module.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::balance::{State, Wish};
use super::group::Peers;
use crate::conf::source::Span;
use crate::conf::template::Template;
use crate::conf::typed::listen::Address;
use crate::conf::typed::location::{
    DisableSymlinks, Handler, IfModifiedSince, Lingering, LingeringMode, Reading, Root, Server,
    ServerTokens, Settings, Types,
};
use crate::conf::typed::upstream::{Keepalive, Method, PeerAddress, Upstream, UpstreamServer};
use crate::conf::variable::Names;
use crate::http::exchange::{Connection, Exchange};

/// A line for `127.0.0.1:PORT` with nginx's defaults.
pub fn server(port: u16) -> UpstreamServer {
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    UpstreamServer {
        address: PeerAddress::Ip(address),
        name: address.to_string().into(),
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
        span: Span::default(),
    }
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

/// A text with the built-in variables.
pub fn template(text: &str) -> Template {
    Template::parse(text, &Names::default()).expect("a valid template")
}

/// A request from an address with a query and fields.
pub fn exchange(remote: IpAddr, args: &str, fields: &[(&str, &str)]) -> Exchange {
    let server = Arc::new(Server {
        names: Vec::new(),
        primary_name: (*b"example.org").into(),
        settings: Arc::new(settings()),
        statements: Vec::new(),
        locations: Vec::new(),
        reading: Reading {
            header_timeout: Duration::ZERO,
            header_buffer: 0,
            large_header_buffers: (0, 0),
            max_fields: 0,
            ignore_invalid: true,
            underscores: false,
            merge_slashes: true,
            http2: false,
            http2_streams: 0,
        },
        span: Span::default(),
    });
    let connection = Rc::new(Connection {
        serial: 1,
        remote: Address::Ip(SocketAddr::new(remote, 50_000)),
        remote_text: remote.to_string().into(),
        local: Address::Ip(([127, 0, 0, 1], 80).into()),
        is_secure: false,
        accepted: Instant::now(),
        descriptor: -1,
    });
    let mut exchange = Exchange::new(connection, Arc::default(), server);
    exchange.args = args.into();
    for (name, value) in fields {
        exchange.head.fields.push(name.as_bytes(), value.as_bytes());
    }
    exchange
}

fn settings() -> Settings {
    let nowhere: Arc<Path> = PathBuf::new().into();
    Settings {
        name: (*b"/").into(),
        prefix_length: 1,
        is_regex: false,
        is_named: false,
        handler: Handler::Files,
        auto_redirect: false,
        statements: Vec::new(),
        limit_except: None,
        access: [].into(),
        internal: false,
        root: Root::Root(Template::default()),
        index: [].into(),
        autoindex: None,
        try_files: None,
        error_pages: [].into(),
        recursive_error_pages: false,
        types: Arc::new(Types::default()),
        default_type: Box::default(),
        add_headers: [].into(),
        add_trailers: [].into(),
        expires: None,
        etag: true,
        if_modified_since: IfModifiedSince::Exact,
        max_ranges: None,
        max_body_size: None,
        body_buffer_size: 0,
        body_timeout: Duration::ZERO,
        body_temp_path: nowhere,
        send_timeout: Duration::ZERO,
        keepalive_timeout: None,
        keepalive_header: None,
        keepalive_requests: 0,
        keepalive_time: Duration::ZERO,
        lingering: Lingering {
            mode: LingeringMode::On,
            time: Duration::ZERO,
            timeout: Duration::ZERO,
        },
        reset_timed_out: false,
        limit_rate: Template::default(),
        limit_rate_after: Template::default(),
        server_tokens: ServerTokens::Name,
        absolute_redirect: true,
        server_name_in_redirect: false,
        port_in_redirect: true,
        chunked_transfer_encoding: true,
        tcp_nodelay: true,
        sendfile: false,
        log_not_found: true,
        log_subrequest: false,
        rewrite_log: false,
        access_logs: [].into(),
        error_logs: [].into(),
        resolver: None,
        disable_symlinks: DisableSymlinks::Off,
    }
}
