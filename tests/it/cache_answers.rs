//! The cache and answers whose form is unusual: with something before or behind them, without an
//! end, or too long to be stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::backend::{Backend, Then};
use crate::support::server::{Setup, eventually};

fn start(backend: &Backend) -> crate::support::server::Server {
    Setup::http(
        "proxy_cache_path %PREFIX%/cache levels=1:2 keys_zone=one:10m max_size=1m;
         server { listen %LISTEN1%; location / { proxy_pass http://%BACKEND%; proxy_cache one;
             proxy_pass_trailers on; add_header X-Cache $upstream_cache_status always; } }",
    )
    .set("BACKEND", backend.address())
    .start()
}

#[test]
fn what_comes_before_an_answer_or_behind_its_body_is_no_field_of_what_is_stored() {
    let backend = Backend::start();
    let server = start(&backend);
    // RFC 9111 section 3 (final statuses only), section 3.1 (trailers).
    let request = "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nX-Answer: interim=103 chunked \
                   trailer=X-Sum:1 trailer=Cache-Control:no-store field=X-Own:2 \
                   field=Cache-Control:max-age=60 text=abc\r\n\r\n";
    for result in ["MISS", "HIT"] {
        let answer = server.connect(1).ask(request);
        assert_eq!((answer.status, answer.text().as_str()), (200, "abc"));
        assert_eq!(answer.value("X-Cache"), Some(result));
        assert_eq!(answer.value("X-Own"), Some("2"));
        assert_eq!(answer.value("X-Sum"), None);
        assert_eq!(answer.value("Cache-Control"), Some("max-age=60"));
    }
    assert_eq!(backend.seen().len(), 1);
}

/// A backend that answers `/endless` without end, `/long` with 3 MB, and all else briefly. Did an
/// answer without end end, or a long one before it was whole?
fn endless(fields: &'static str) -> (Backend, Arc<AtomicBool>) {
    let has_ended = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&has_ended);
    let backend = Backend::scripted(move |exchange| {
        let line = exchange.seen.head.line.clone();
        let target = line.split(' ').nth(1).unwrap_or_default();
        if target == "/short" {
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            return Then::NextRequest;
        }
        let (framing, mut left) = match target {
            "/long" => ("Content-Length: 196608000", 3000),
            _ => ("Transfer-Encoding: chunked", usize::MAX),
        };
        exchange.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n{fields}\r\n"));
        let mut piece = vec![b'x'; 65536];
        if target == "/endless" {
            piece = [b"10000\r\n", &*piece, b"\r\n"].concat();
        }
        while left > 0 && exchange.send(&piece) {
            left -= 1;
        }
        if left > 0 {
            ended.store(true, Ordering::Relaxed);
        }
        Then::Close
    });
    (backend, has_ended)
}

fn wait_for(has_ended: &AtomicBool) {
    eventually("the peer is not read on", || {
        has_ended.swap(false, Ordering::Relaxed).then_some(())
    });
}

#[test]
fn a_head_that_became_a_get_does_not_read_what_nobody_wants() {
    let (backend, has_ended) = endless("Cache-Control: private\r\n");
    let server = start(&backend);
    let mut client = server.connect(1);
    for target in ["/endless", "/long"] {
        let head = client.ask(&format!("HEAD {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(head.status, 200);
        wait_for(&has_ended);
        let next = client.ask("GET /short HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(next.text(), "ok");
    }
}

#[test]
fn what_is_too_long_to_be_stored_is_not_read_on_for_nobody() {
    let (backend, has_ended) = endless("Cache-Control: max-age=60\r\n");
    let server = start(&backend);
    for target in ["/endless", "/long"] {
        let mut client = server.connect(1);
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        client.bytes(100_000).expect("the answer begins");
        drop(client);
        wait_for(&has_ended);
    }
}

#[test]
fn a_range_of_what_is_too_long_to_be_stored_is_cut_and_the_rest_not_read() {
    let (backend, has_ended) = endless("Cache-Control: max-age=60\r\n");
    let server = start(&backend);
    let mut client = server.connect(1);
    for _ in 0..2 {
        let part = client.ask("GET /long HTTP/1.1\r\nHost: a\r\nRange: bytes=10-19\r\n\r\n");
        assert_eq!((part.status, part.text().as_str()), (206, "xxxxxxxxxx"));
        assert_eq!(part.value("Content-Range"), Some("bytes 10-19/196608000"));
        assert_eq!(part.value("X-Cache"), Some("MISS"));
        wait_for(&has_ended);
    }
}
