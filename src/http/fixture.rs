//! An exchange to test with: a GET for a path, settings as `http {}` without a directive has them.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::exchange::{Connection, Exchange};
use super::head::Slice;
use crate::conf::source::Span;
use crate::conf::template::Template;
use crate::conf::typed::listen::Address;
use crate::conf::typed::location::{Reading, Root, Server, Settings};
use crate::conf::variable::Names;

/// A text with the built-in variables.
pub fn template(text: &str) -> Template {
    Template::parse(text, &Names::default()).expect("a valid template")
}

/// A request for a path and query with these fields.
pub fn exchange(settings: Settings, target: &str, fields: &[(&str, &str)]) -> Exchange {
    let server = Arc::new(Server {
        names: Vec::new(),
        primary_name: (*b"example.org").into(),
        listens: Vec::new(),
        settings: Arc::new(settings),
        logins: Box::default(),
        statements: Vec::new(),
        locations: Vec::new(),
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
        span: Span::default(),
    });
    let connection = Rc::new(Connection {
        serial: 1,
        remote: Address::Ip(([192, 0, 2, 7], 50_000).into()),
        remote_text: "192.0.2.7".into(),
        local: Address::Ip(([127, 0, 0, 1], 80).into()),
        secured: None,
        proxied: None,
        accepted: Instant::now(),
        descriptor: -1,
    });
    let mut exchange = Exchange::new(connection, Arc::default(), server);
    let head = &mut exchange.head;
    head.fields.bytes.extend_from_slice(target.as_bytes());
    head.target = Slice::new(0, target.len());
    head.path_and_query = head.target;
    for (name, value) in fields {
        head.fields.push(name.as_bytes(), value.as_bytes());
    }
    let (path, args) = target.split_once('?').unwrap_or((target, ""));
    exchange.path = path.into();
    exchange.args = args.into();
    exchange
}

/// The settings of a location `/` below a root that does not exist.
pub fn settings() -> Settings {
    Settings {
        name: (*b"/").into(),
        prefix_length: 1,
        root: Root::Root(Template::from_text(b"/nonexistent")),
        index: [Template::from_text(b"index.html")].into(),
        default_type: (*b"text/plain").into(),
        ..crate::conf::typed::lower::fixture::settings()
    }
}

/// The fields of the answer, a line each.
pub fn answer(exchange: &Exchange) -> String {
    let lines = exchange.answer.iter().map(|(_, name, value)| {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        format!("{}: {}\n", text(name), text(value))
    });
    lines.collect()
}
