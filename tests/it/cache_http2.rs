//! The cache with HTTP/2 on either side: clients that share what is stored with those of HTTP/1.1,
//! streams that are slow or given up, and peers whose answers end otherwise.

use std::sync::Arc;

use crate::cache::Door;
use crate::support::backend::{Backend, Then, pattern};
use crate::support::frames::{
    CANCEL, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, INITIAL_WINDOW_SIZE, block, frame, get,
    request, reset, window_update,
};
use crate::support::http2_backend::{Http2Backend, Manner};
use crate::support::server::{Server, Setup, eventually};

/// A window that never closes.
const WIDE: u32 = 1 << 30;

fn start(backend: &Backend) -> Server {
    Setup::http(
        "proxy_cache_path %PREFIX%/cache levels=1:2 keys_zone=one:10m;
         server { listen %LISTEN1%; http2 on;
             location / { proxy_pass http://%BACKEND%; proxy_cache one; proxy_cache_lock on;
                 proxy_cache_valid 200 1m; proxy_cache_key $uri; } }",
    )
    .set("BACKEND", backend.address())
    .start()
}

/// A client whose streams take everything at once.
fn wide(server: &Server) -> Frames {
    let mut client = Frames::with_settings(server.port(1), &[(INITIAL_WINDOW_SIZE, WIDE)]);
    client.send(window_update(0, WIDE));
    client
}

fn ask(method: &str, path: &str, more: &[(&str, &str)], stream: u32) -> Vec<u8> {
    let block = match method {
        "GET" => get(path, more),
        _ => request(method, path, more),
    };
    frame(HEADERS, END_HEADERS | END_STREAM, stream, block)
}

/// A backend whose answer stops in the middle until the door opens.
fn held(length: usize) -> (Backend, Arc<Door>) {
    let door = Arc::new(Door::default());
    let waiting = Arc::clone(&door);
    let backend = Backend::scripted(move |exchange| {
        exchange.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"
        ));
        let body = pattern(length);
        let (first, rest) = body.split_at(length / 2);
        exchange.send(first);
        waiting.pass();
        exchange.send(rest);
        Then::NextRequest
    });
    (backend, door)
}

#[test]
fn clients_of_both_protocols_share_what_is_stored() {
    const LENGTH: usize = 200_000;
    let backend = Backend::start();
    let server = start(&backend);
    let mut client = wide(&server);
    let answered = format!("body={LENGTH} field=ETag:\"a\"");
    client.send(ask("GET", "/a", &[("x-answer", &answered)], 1));
    let seen = client.until_end_of(1);
    assert_eq!(seen.status(1), Some(200));
    assert!(seen.body(1) == pattern(LENGTH));
    for (stream, method, more, status, body) in [
        (3, "GET", &[][..], 200, pattern(LENGTH)),
        (5, "HEAD", &[], 200, Vec::new()),
        (
            7,
            "GET",
            &[("range", "bytes=70000-99999")],
            206,
            pattern(LENGTH)[70_000..100_000].to_vec(),
        ),
        (9, "GET", &[("if-none-match", "\"a\"")], 304, Vec::new()),
        (11, "GET", &[("range", "bytes=200000-")], 416, Vec::new()),
    ] {
        client.send(ask(method, "/a", more, stream));
        let seen = client.until_end_of(stream);
        assert_eq!(seen.status(stream), Some(status), "{stream}");
        assert!(seen.has_ended(stream));
        if status != 416 {
            assert!(seen.body(stream) == body, "{stream}");
        }
    }
    let answer = server.connect(1).ask("GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(answer.body == pattern(LENGTH));
    assert_eq!(backend.seen().len(), 1);
    // The other way round: HEAD is asked as GET, and stored.
    client.send(ask("HEAD", "/b", &[("x-answer", "text=b")], 13));
    assert_eq!(client.until_end_of(13).status(13), Some(200));
    let answer = server.connect(1).ask("GET /b HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(answer.text(), "b");
    assert_eq!(backend.seen().len(), 2);
    assert!(backend.seen()[1].head.line.starts_with("GET "));
}

/// Parts on the way to a client that takes them by and by, and from the disk to one of HTTP/1.1.
#[test]
fn slices_are_one_answer_for_clients_of_both_protocols() {
    const LENGTH: usize = 300_007;
    let backend = Backend::scripted(|exchange| {
        let head = &exchange.seen.head;
        let range = head.value("Range").expect("a part is asked for");
        let (first, last) = (range.strip_prefix("bytes="))
            .and_then(|range| range.split_once('-'))
            .expect("a range");
        let first: usize = first.parse().expect("a number");
        let end = LENGTH.min(last.parse::<usize>().expect("a number") + 1);
        exchange.send(format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nETag: \"e\"\r\n\
             Content-Range: bytes {first}-{}/{LENGTH}\r\n\r\n",
            end - first,
            end - 1
        ));
        exchange.send(&pattern(LENGTH)[first..end]);
        Then::NextRequest
    });
    let server = Setup::http(
        "proxy_cache_path %PREFIX%/cache levels=1:2 keys_zone=one:10m memory=0;
         server { listen %LISTEN1%; http2 on;
             location / { proxy_pass http://%BACKEND%; proxy_cache one; proxy_cache_lock on; slice 64k;
                 proxy_cache_key $uri$slice_range; proxy_set_header Range $slice_range;
                 proxy_cache_valid 206 1m; } }",
    )
    .set("BACKEND", backend.address())
    .start();
    let mut client = Frames::with_settings(server.port(1), &[(INITIAL_WINDOW_SIZE, 1000)]);
    client.send(window_update(0, WIDE));
    client.send(ask("GET", "/a", &[], 1));
    client.send(window_update(1, WIDE));
    let seen = client.until_end_of(1);
    assert_eq!(seen.status(1), Some(200));
    assert!(seen.body(1) == pattern(LENGTH));
    assert_eq!(backend.seen().len(), 5);
    let mut second = server.connect(1);
    let answer = second.ask("GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(answer.body == pattern(LENGTH));
    let answer = second.ask("GET /a HTTP/1.1\r\nHost: a\r\nRange: bytes=131000-200000\r\n\r\n");
    assert_eq!(answer.status, 206);
    assert!(answer.body == pattern(LENGTH)[131_000..=200_000]);
    assert_eq!(backend.seen().len(), 5);
}

/// What the origin is told and what the key holds is one host, whichever way it is said.
#[test]
fn a_host_that_is_said_twice_poisons_nothing() {
    let backend = Backend::scripted(|exchange| {
        let host = exchange
            .seen
            .head
            .value("Host")
            .unwrap_or_default()
            .to_owned();
        exchange.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{host}",
            host.len()
        ));
        Then::NextRequest
    });
    for passed in ["$host", "$http_host"] {
        let server = Setup::http(&format!(
            "proxy_cache_path %PREFIX%/cache levels=1:2 keys_zone=one:10m;
             server {{ listen %LISTEN1%; http2 on;
                 location / {{ proxy_pass http://%BACKEND%; proxy_cache one;
                     proxy_set_header Host {passed}; proxy_cache_valid 200 1m; }} }}"
        ))
        .set("BACKEND", backend.address())
        .start();
        // Each says `evil.test` somewhere, and `a` elsewhere.
        let mut client = wide(&server);
        client.send(ask("GET", "/", &[("host", "evil.test")], 1));
        let _either_way = client.until_end_of(1);
        let authority = block(&[
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "evil.test"),
            ("host", "a"),
        ]);
        let mut client = wide(&server);
        client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, authority));
        let _either_way = client.until_end_of(1);
        for request in [
            "GET http://evil.test/ HTTP/1.1\r\nHost: a\r\n",
            "GET http://a/ HTTP/1.1\r\nHost: evil.test\r\n",
        ] {
            server
                .connect(1)
                .ask(&format!("{request}Connection: close\r\n\r\n"));
        }
        // Whoever says it plainly gets what is theirs.
        for host in ["a", "evil.test"] {
            let plain = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert_eq!(server.connect(1).ask(&plain).text(), host, "{passed}");
            let mut client = wide(&server);
            let authority = block(&[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/"),
                (":authority", host),
            ]);
            client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, authority));
            assert_eq!(client.until_end_of(1).body(1), host.as_bytes(), "{passed}");
        }
    }
}

#[test]
fn a_stream_follows_what_another_protocol_fills_and_the_other_way_round() {
    const LENGTH: usize = 100_000;
    for is_first in [true, false] {
        let (backend, door) = held(LENGTH);
        let server = start(&backend);
        let mut streams = wide(&server);
        let mut client = server.connect(1);
        let mut begin = |is_streams: bool| {
            let one = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
            match is_streams {
                true => streams.send(ask("GET", "/", &[], 1)),
                false => client.send(one),
            };
            eventually("the origin was asked", || {
                (backend.seen().len() == 1).then_some(())
            });
        };
        begin(is_first);
        begin(!is_first);
        // Both have what there is before the rest comes.
        let begun = streams.until(|frame| frame.kind == DATA);
        assert_eq!(begun.status(1), Some(200));
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(client.bytes(1).expect("the head comes"));
        }
        let first = client.bytes(LENGTH / 2).expect("the first half comes");
        door.open();
        let rest = streams.until_end_of(1);
        assert!([begun.body(1), rest.body(1)].concat() == pattern(LENGTH));
        let second = client.bytes(LENGTH / 2).expect("the second half comes");
        assert!([first, second].concat() == pattern(LENGTH));
        assert_eq!(backend.seen().len(), 1);
    }
}

#[test]
fn a_stream_that_is_given_up_in_the_middle_leaves_a_whole_answer() {
    const LENGTH: usize = 100_000;
    let (backend, door) = held(LENGTH);
    let server = start(&backend);
    let mut client = wide(&server);
    client.send(ask("GET", "/", &[], 1));
    client.until(|frame| frame.kind == DATA);
    client.send(reset(1, CANCEL));
    // The reset was read: what came after it is answered. Whoever follows now is not cut off.
    client.send(ask("GET", "/", &[("range", "bytes=0-9")], 3));
    let begun = client.until(|frame| frame.kind == DATA && frame.stream == 3);
    assert_eq!(begun.status(3), Some(206));
    assert!(begun.body(3) == pattern(10));
    door.open();
    let answer = server.connect(1).ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(answer.body == pattern(LENGTH));
    assert_eq!(backend.seen().len(), 1);
}

#[test]
fn a_stream_whose_window_is_closed_holds_up_neither_others_nor_what_is_stored() {
    const LENGTH: usize = 6_000_000;
    let backend = Backend::start();
    let server = start(&backend);
    // The stream's window stays as it is at first, the connection's does not.
    let mut client = Frames::connect(server.port(1));
    client.send(window_update(0, WIDE));
    let answered = format!("body={LENGTH}");
    client.send(ask("GET", "/great", &[("x-answer", &answered)], 1));
    let begun = client.until(|frame| frame.kind == DATA);
    client.send(ask("GET", "/small", &[("x-answer", "text=small")], 3));
    let mut between = client.until_end_of(3);
    assert_eq!(between.body(3), b"small");
    let answer = server
        .connect(1)
        .ask("GET /great HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(answer.body == pattern(LENGTH));
    client.send(window_update(1, WIDE));
    between.frames.extend(client.until_end_of(1).frames);
    assert!([begun.body(1), between.body(1)].concat() == pattern(LENGTH));
    assert_eq!(backend.seen().len(), 2);
}

#[test]
fn answers_of_peers_that_speak_http_2_are_stored_whole_or_not_at_all() {
    let peer = Http2Backend::start(Manner::default());
    let server = Setup::http(
        "proxy_cache_path %PREFIX%/cache levels=1:2 keys_zone=one:10m;
         server { listen %LISTEN1%; http2 on; proxy_http_version 2; proxy_pass_trailers on;
             location / { proxy_pass http://%BACKEND%; proxy_cache one; proxy_cache_lock on;
                 proxy_cache_valid 200 1m;
                 add_header X-Cache $upstream_cache_status always; } }",
    )
    .set("BACKEND", peer.address())
    .tolerate("upstream rejected request with error 2")
    .start();
    let one = |method: &str, path: &str, more: &str| {
        server.connect(1).ask(&format!(
            "{method} {path} HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n{more}\r\n"
        ))
    };
    let calls = || peer.calls().len();
    let first = one("GET", "/stream/9000", "");
    assert_eq!(first.value("X-Cache"), Some("MISS"));
    assert!(!first.trailers.is_empty());
    let again = one("GET", "/stream/9000", "");
    assert_eq!(again.value("X-Cache"), Some("HIT"));
    assert!(again.body == first.body && again.body.len() > 100_000);
    // What comes behind a body was for the first one (RFC 9110 section 6.5.1).
    assert!(again.trailers.is_empty());
    assert_eq!(
        again.value("Content-Length"),
        Some(&*first.body.len().to_string())
    );
    let part = one("GET", "/stream/9000", "Range: bytes=20-29\r\n");
    assert_eq!((part.status, &part.body[..]), (206, &first.body[20..30]));
    assert_eq!(
        one("HEAD", "/stream/9000", "").value("X-Cache"),
        Some("HIT")
    );
    let mut client = wide(&server);
    client.send(ask("GET", "/stream/9000", &[], 1));
    assert!(client.until_end_of(1).body(1) == first.body);
    assert_eq!(calls(), 1);

    // Asked as GET, so that it can be stored.
    assert_eq!(one("HEAD", "/stream/3", "").value("X-Cache"), Some("MISS"));
    assert_eq!(peer.calls()[1].method, "GET");
    assert_eq!(
        one("GET", "/stream/3", "").text(),
        "message 0\nmessage 1\nmessage 2\n"
    );
    assert_eq!(calls(), 2);

    // A head that ends the answer is a whole answer without a body.
    assert_eq!(
        one("GET", "/trailers-only", "").value("X-Cache"),
        Some("MISS")
    );
    assert_eq!(
        one("GET", "/trailers-only", "").value("X-Cache"),
        Some("HIT")
    );
    assert_eq!(calls(), 3);

    for number in 4..=5 {
        let cut = one("GET", "/cut", "");
        assert!(cut.cut.is_some() || cut.status == 502);
        assert_eq!(calls(), number);
    }
}
