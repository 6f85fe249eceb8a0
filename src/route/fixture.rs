//! What tests of routing start from: a configuration as text, and a request for it.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::conf::typed::Http;
use crate::conf::typed::listen::{Address, Listen, Options};
use crate::conf::typed::location::{Reading, Server};
use crate::conf::typed::lower::fixture::{located, nodes, problems, settings};
use crate::conf::typed::lower::{Cx, location, map, rewrite};
use crate::http::exchange::{Connection, Exchange};
use crate::http::head::Slice;
use crate::http::uri;

/// The content of an `http {}` whose servers all stand at one address; the first is the default.
pub fn http(text: &str) -> Arc<Http> {
    let nodes = nodes(text);
    let mut cx = Cx::new(&nodes);
    let lookups = map::lookups(&nodes, &mut cx);
    let mut servers = Vec::new();
    for node in nodes.iter().filter(|node| &*node.name.text == "server") {
        let block = node.block.as_deref().expect("a block");
        let names = location::server_names(node, &mut cx);
        let placed = location::locations(block, &mut cx);
        servers.push(Arc::new(Server {
            names: names.names,
            primary_name: names.primary,
            listens: Vec::new(),
            settings: Arc::new(settings()),
            logins: Box::default(),
            statements: rewrite::statements(block, &mut cx, &mut |_, _| None),
            locations: located(placed, &mut cx),
            tls: None,
            reading: Reading {
                header_timeout: Duration::ZERO,
                large_header_buffers: (0, 0),
                max_fields: 0,
                ignore_invalid: true,
                underscores: false,
                merge_slashes: true,
                http2: false,
                http2_over_tls: true,
                http2_streams: 0,
                http2_window: 0,
            },
            span: node.span,
        }));
    }
    let told = problems(&cx);
    assert!(!told.contains("OC-E"), "{text}: {told}");
    Arc::new(Http {
        listens: vec![Listen {
            address: Address::Ip(SocketAddr::from(([127, 0, 0, 1], 80))),
            options: Options::default(),
            servers: (0..servers.len()).collect(),
            default_server: 0,
            has_explicit_default: false,
            is_covered: false,
            span: nodes[0].span,
        }],
        servers,
        maps: lookups.maps,
        geos: lookups.geos,
        splits: lookups.splits,
        names: cx.names,
        ..Http::default()
    })
}

/// A request with this target, at the first server.
pub fn exchange(http: &Arc<Http>, target: &str) -> Exchange {
    let address = Address::Ip(SocketAddr::from(([127, 0, 0, 1], 80)));
    let connection = Connection {
        serial: 1,
        remote: address.clone(),
        remote_text: "127.0.0.1".into(),
        local: address,
        secured: None,
        proxied: None,
        accepted: Instant::now(),
        descriptor: -1,
    };
    let server = Arc::clone(&http.servers[0]);
    let mut exchange = Exchange::new(Rc::new(connection), Arc::clone(http), server);
    exchange.head.fields.bytes = target.as_bytes().to_vec();
    exchange.head.target = Slice::new(0, target.len());
    exchange.head.path_and_query = exchange.head.target;
    let (_, query) = uri::split_query(target.as_bytes());
    exchange.args = query.unwrap_or_default().to_vec();
    let found = uri::normalise(target.as_bytes(), true, &mut exchange.path).expect("a path");
    if let uri::Path::AsReceived(length) = found.path {
        exchange.path = target.as_bytes()[..length].to_vec();
    }
    exchange
}
