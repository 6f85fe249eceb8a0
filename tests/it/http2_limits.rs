//! What a client of HTTP/2 may ask for and how long it may take: floods, heads, bodies and answers
//! that do not move, idle connections. And what it may do freely.

use crate::support::backend::{Backend, Exchange, Then, answer_as_asked, pattern};
use crate::support::frames::*;
use crate::support::server::{Server, Setup, eventually, is_nginx, under_test};
use crate::support::wire::End;

const OPEN: u8 = END_HEADERS;
const WHOLE: u8 = END_HEADERS | END_STREAM;

/// A server with these directives; nginx has other ways to defend itself.
fn start(backend: &Backend, directives: &str) -> Option<Server> {
    if is_nginx(&under_test()) {
        return None;
    }
    let setup = Setup::http(&format!(
        "error_log error.log info;
         {directives}
         map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
         server {{ listen %LISTEN1%; http2 on; root www;
            location / {{ }}
            location /own {{ return 200 own; }}
            location = /metrics {{ metrics; }}
            location /slowly {{ limit_rate 100; return 200 {}; }}
            location /tunnel {{ proxy_pass http://%BACKEND%; proxy_read_timeout 60s;
                proxy_set_header Upgrade $http_upgrade;
                proxy_set_header Connection $connection_upgrade; }}
            location /passed/ {{ proxy_pass http://%BACKEND%; proxy_pass_trailers on;
                proxy_set_header TE trailers; proxy_set_header Connection TE; }} }}",
        "x".repeat(250)
    ));
    let server = setup
        .set("BACKEND", backend.address())
        .file("www/file", pattern(4 << 20))
        .start();
    Some(server)
}

/// The value of a line of the page of metrics.
fn metric(server: &Server, name: &str) -> u64 {
    let page = server
        .connect(1)
        .ask("GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .text();
    page.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
        .unwrap_or_else(|| panic!("no {name} in {page}"))
}

#[test]
fn a_client_that_floods_is_told_to_calm_down() {
    let backend = Backend::start();
    let Some(server) = start(&backend, "keepalive_requests 1000000;") else {
        return;
    };
    let streams = |frames: fn(u32) -> Vec<u8>| -> Vec<u8> {
        (0..3000)
            .flat_map(|number| frames(1 + 2 * number))
            .collect()
    };
    let malformed = |stream: u32| frame(HEADERS, WHOLE, stream, get("/own", &[("x", " y")]));
    let refused = |stream: u32| {
        frame(
            HEADERS,
            OPEN,
            stream,
            request("POST", "/passed/x", &[("content-length", "9")]),
        )
    };
    let malformed_upload = |stream: u32| {
        frame(
            HEADERS,
            OPEN,
            stream,
            request("POST", "/passed/x", &[("x", " y")]),
        )
    };
    // One field of nearly 4 KiB goes to the table, and is named again and again.
    let mut bomb = get("/own", &[]);
    bomb.extend([0x40, 1, b'x', 0x7f]);
    bomb.extend([0xbd, 0x1e]);
    bomb.extend([b'y'; 0x7f + 0x3d + (0x1e << 7)]);
    bomb.extend([0xbe; 8000]);
    for (name, bytes) in [
        (
            "SETTINGS",
            settings(&[(INITIAL_WINDOW_SIZE, 1000)]).repeat(2000),
        ),
        ("empty SETTINGS", settings(&[]).repeat(2000)),
        ("PING", frame(PING, 0, 0, [0; 8]).repeat(5000)),
        (
            "PING acknowledgements",
            frame(PING, ACK, 0, [0; 8]).repeat(5000),
        ),
        (
            "PRIORITY",
            frame(PRIORITY, 0, 1, [0, 0, 0, 0, 7]).repeat(9000),
        ),
        ("WINDOW_UPDATE", window_update(0, 1).repeat(9000)),
        ("unknown frames", frame(0xbe, 0, 0, b"grease").repeat(9000)),
        (
            "rapid reset",
            streams(|stream| [ask(stream, "/passed/x"), reset(stream, CANCEL)].concat()),
        ),
        // Resets that the client brings about without sending any (CVE-2025-8671).
        (
            "resets by WINDOW_UPDATE of 0",
            streams(|stream| [ask(stream, "/passed/x"), window_update(stream, 0)].concat()),
        ),
        (
            "resets by windows beyond the largest",
            streams(|stream| [ask(stream, "/passed/x"), window_update(stream, u32::MAX)].concat()),
        ),
        (
            "resets by DATA behind the end",
            streams(|stream| [ask(stream, "/passed/x"), frame(DATA, 0, stream, b"x")].concat()),
        ),
        (
            "resets by HEADERS behind the end",
            streams(|stream| [ask(stream, "/passed/x"), ask(stream, "/passed/x")].concat()),
        ),
        (
            "resets by more DATA than the length says",
            streams(|stream| {
                let upload = request("POST", "/passed/x", &[("content-length", "1")]);
                let head = frame(HEADERS, OPEN, stream, upload);
                [head, frame(DATA, 0, stream, b"xx")].concat()
            }),
        ),
        (
            "DATA of a stream that was reset",
            [malformed_upload(1), frame(DATA, 0, 1, b"x").repeat(20_000)].concat(),
        ),
        (
            "SETTINGS of many settings",
            settings(&[(INITIAL_WINDOW_SIZE, 1000); 2000]).repeat(50),
        ),
        ("malformed requests", streams(malformed)),
        ("streams beyond the limit", streams(refused)),
        (
            "empty DATA",
            [
                frame(HEADERS, OPEN, 1, request("POST", "/passed/x", &[])),
                frame(DATA, 0, 1, []).repeat(5000),
            ]
            .concat(),
        ),
        (
            "DATA of padding",
            [
                frame(HEADERS, OPEN, 1, request("POST", "/passed/x", &[])),
                frame(DATA, PADDED, 1, [1, 0]).repeat(5000),
            ]
            .concat(),
        ),
        (
            "CONTINUATION",
            [
                frame(HEADERS, END_STREAM, 1, get("/own", &[])),
                frame(CONTINUATION, 0, 1, block(&[("x", "y")])).repeat(5000),
            ]
            .concat(),
        ),
        ("a bomb of fields", frame(HEADERS, WHOLE, 1, bomb)),
    ] {
        let before = metric(&server, "openclaw_http2_floods_total");
        let mut frames = Frames::connect(server.port(1));
        frames.acknowledges = false;
        frames.send(bytes);
        let seen = frames.rest();
        assert_eq!(seen.goaway(), Some(ENHANCE_YOUR_CALM), "{name}");
        assert_ne!(seen.end, Some(End::TimedOut), "{name}");
        eventually("the flood is counted", || {
            (metric(&server, "openclaw_http2_floods_total") == before + 1).then_some(())
        });
    }
    assert!(
        server
            .said()
            .contains("client sent a flood of HTTP/2 frames, at last PING, client: 127.0.0.1")
    );
    // What was taken back in the same breath made no work; of the rest no more came than may.
    assert!(backend.connections() < 500, "{}", backend.connections());
    assert_eq!(
        Frames::connect(server.port(1)).status_of(1, "/own"),
        Some(200)
    );
}

/// A client may be talkative as long as it wants something.
#[test]
fn a_client_that_wants_much_is_not_taken_for_a_flood() {
    let backend = Backend::start();
    let Some(server) = start(&backend, "keepalive_requests 1000000;") else {
        return;
    };
    let mut frames = Frames::connect(server.port(1));
    for batch in 0..60 {
        let first = 1 + 100 * batch;
        for stream in (first..first + 100).step_by(2) {
            frames.send(ask(stream, "/own"));
            frames.send(frame(PRIORITY, 0, stream, [0, 0, 0, 0, 7]));
            frames.send(window_update(0, 3));
            frames.send(frame(PING, 0, 0, [0; 8]));
        }
        let last = first + 98;
        assert_eq!(frames.until_end_of(last).status(last), Some(200), "{batch}");
    }
    // Every answer is read in small pieces, each acknowledged twice.
    let mut frames = Frames::with_settings(server.port(1), &[(INITIAL_WINDOW_SIZE, 1024)]);
    frames.send(ask(1, "/file"));
    let mut taken = 0;
    while taken < 4 << 20 {
        let frame = frames.frame().expect("a frame");
        if frame.kind == DATA && !frame.payload.is_empty() {
            taken += frame.payload.len();
            let count = frame.payload.len() as u32;
            frames.send([window_update(0, count), window_update(1, count)].concat());
        }
    }
    assert_eq!(metric(&server, "openclaw_http2_floods_total"), 0);
}

#[test]
fn a_head_that_does_not_end_ends_its_connection() {
    let backend = Backend::start();
    let Some(server) = start(&backend, "client_header_timeout 1s;") else {
        return;
    };
    let whole = ask(1, "/own");
    for (name, begun) in [
        ("nothing", Vec::new()),
        ("a part of the frame's head", whole[..4].to_vec()),
        ("a part of the frame", whole[..20].to_vec()),
        (
            "no end of the block",
            frame(HEADERS, END_STREAM, 1, get("/own", &[])),
        ),
        (
            "a PING that does not end",
            frame(PING, 0, 0, [0; 8])[..12].to_vec(),
        ),
    ] {
        let mut frames = Frames::connect(server.port(1));
        frames.send(begun);
        let seen = frames.rest();
        assert!(seen.goaway().is_some(), "{name}: {seen:?}");
        assert!(matches!(seen.end, Some(End::Closed | End::Reset)), "{name}");
    }
    // The same behind a request that was answered.
    let mut frames = Frames::connect(server.port(1));
    assert_eq!(frames.status_of(1, "/own"), Some(200));
    frames.send(frame(HEADERS, END_STREAM, 3, get("/own", &[])));
    assert_eq!(frames.rest().goaway(), Some(PROTOCOL_ERROR));
    assert!(server.said().contains("client timed out"));
}

#[test]
fn a_body_that_does_not_come_ends_its_stream_only() {
    let backend = Backend::start();
    let Some(server) = start(&backend, "client_body_timeout 1s;") else {
        return;
    };
    let mut frames = Frames::connect(server.port(1));
    let upload = request("POST", "/passed/x", &[("content-length", "9")]);
    frames.send(frame(HEADERS, OPEN, 1, upload));
    frames.send(frame(DATA, 0, 1, b"part"));
    let seen = frames.until_end_of(1);
    assert_eq!(seen.status(1), Some(408));
    assert_eq!(frames.status_of(3, "/own"), Some(200));
    assert!(backend.seen().is_empty());
}

#[test]
fn a_client_that_opens_no_window_loses_its_stream_only() {
    let backend = Backend::start();
    let Some(server) = start(&backend, "send_timeout 1s;") else {
        return;
    };
    let mut frames = Frames::with_settings(server.port(1), &[(INITIAL_WINDOW_SIZE, 0)]);
    frames.send(ask(1, "/file"));
    let seen = frames.until_end_of(1);
    assert_eq!(seen.status(1), Some(200));
    assert!(
        seen.reset(1).is_some() && seen.body(1).is_empty(),
        "{seen:?}"
    );
    frames.send(settings(&[(INITIAL_WINDOW_SIZE, 100)]));
    assert_eq!(frames.status_of(3, "/own"), Some(200));
    assert!(
        server
            .said()
            .contains("client timed out (110: Connection timed out) while sending to client")
    );
}

#[test]
fn a_client_that_reads_nothing_loses_its_connection() {
    let backend = Backend::start();
    let Some(server) = start(&backend, "send_timeout 1s; lingering_close off;") else {
        return;
    };
    let most = (1 << 31) - 1;
    let mut frames = Frames::with_settings(server.port(1), &[(INITIAL_WINDOW_SIZE, most)]);
    frames.send(window_update(0, most - 65_535));
    for stream in (1..20).step_by(2) {
        frames.send(ask(stream, "/file"));
    }
    eventually("the server has given up", || {
        let said = server.said();
        let line = said.lines().find(|line| {
            line.contains("while sending to client, client: 127.0.0.1")
                && !line.contains("request:")
        });
        line.map(drop)
    });
    assert!(matches!(frames.rest().end, Some(End::Closed | End::Reset)));
}

#[test]
fn a_connection_without_streams_is_closed_in_good_order() {
    let backend = Backend::start();
    for (directives, answers) in [
        ("keepalive_timeout 1s;", true),
        // The goodbye is not heard; that changes nothing.
        ("keepalive_timeout 1s;", false),
        ("keepalive_timeout 0;", true),
        ("keepalive_requests 1;", true),
        ("keepalive_time 1s;", true),
    ] {
        let Some(server) = start(&backend, directives) else {
            return;
        };
        let mut frames = Frames::connect(server.port(1));
        assert_eq!(frames.status_of(1, "/own"), Some(200), "{directives}");
        frames.acknowledges = answers;
        let seen = frames.rest();
        assert_eq!(seen.goaway(), Some(NO_ERROR), "{directives}");
        assert_eq!(seen.end, Some(End::Closed), "{directives}");
    }
}

#[test]
fn requests_under_way_are_answered_when_the_last_one_came() {
    let backend = Backend::start();
    let Some(server) = start(&backend, "keepalive_requests 3;") else {
        return;
    };
    let mut frames = Frames::connect(server.port(1));
    let late = get("/passed/x", &[("x-answer", "delay=300 text=late")]);
    for stream in [1, 3, 5] {
        frames.send(frame(HEADERS, WHOLE, stream, &late));
    }
    let seen = frames.rest();
    for stream in [1, 3, 5] {
        assert_eq!(seen.status(stream), Some(200));
        assert_eq!(seen.body(stream), b"late");
    }
    assert_eq!(
        (seen.goaway(), seen.end),
        (Some(NO_ERROR), Some(End::Closed))
    );
}

#[test]
fn a_server_that_quits_says_goodbye_and_finishes_its_answers() {
    let backend = Backend::start();
    let Some(mut server) = start(&backend, "") else {
        return;
    };
    let mut idle = Frames::connect(server.port(1));
    assert_eq!(idle.status_of(1, "/own"), Some(200));
    let mut frames = Frames::connect(server.port(1));
    let late = get("/passed/x", &[("x-answer", "delay=500 text=late")]);
    frames.send(frame(HEADERS, WHOLE, 1, late));
    eventually("the request is under way", || {
        (!backend.seen().is_empty()).then_some(())
    });
    server.signal(nix::sys::signal::Signal::SIGQUIT);
    let seen = frames.rest();
    assert_eq!(seen.body(1), b"late");
    assert_eq!(
        (seen.goaway(), seen.end),
        (Some(NO_ERROR), Some(End::Closed))
    );
    let seen = idle.rest();
    assert_eq!(
        (seen.goaway(), seen.end),
        (Some(NO_ERROR), Some(End::Closed))
    );
    assert!(server.wait().success());
}

#[test]
fn the_limits_of_a_head_are_those_of_http_1() {
    let backend = Backend::start();
    let limits = "large_client_header_buffers 4 1k; max_headers 20;";
    let Some(server) = start(&backend, limits) else {
        return;
    };
    let long = "y".repeat(1100);
    let part = "y".repeat(900);
    let path = format!("/{long}");
    let many: Vec<_> = (0..21).map(|number| format!("x-{number}")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), "y")).collect();
    let parts: Vec<_> = ["a", "b", "c", "d", "e"]
        .map(|name| (name, part.as_str()))
        .into();
    let huge: Vec<_> = vec![("x", part.as_str()); 16];
    for (name, block, status) in [
        ("a long path", get(&path, &[]), 414),
        ("a long field", get("/own", &[("x", &long)]), 400),
        ("many fields", get("/own", &many), 400),
        ("a long head", get("/own", &parts), 400),
        ("a huge head", get("/own", &huge), 400),
        ("a head just within", get("/own", &parts[..3]), 200),
    ] {
        let mut frames = Frames::connect(server.port(1));
        frames.send(frame(HEADERS, WHOLE, 1, block));
        assert_eq!(frames.until_end_of(1).status(1), Some(status), "{name}");
        assert_eq!(frames.status_of(3, "/own"), Some(200), "{name}");
    }
}

#[test]
fn an_answer_is_sent_at_the_pace_that_limit_rate_says() {
    let backend = Backend::start();
    let Some(server) = start(&backend, "") else {
        return;
    };
    let mut frames = Frames::connect(server.port(1));
    frames.send(ask(1, "/slowly"));
    let seen = frames.until_end_of(1);
    assert_eq!(seen.body(1).len(), 250);
    let first = seen.frames.iter().find(|frame| frame.kind == DATA);
    let first = first.expect("a piece").payload.len();
    assert!((100..250).contains(&first), "{first}");
}

#[test]
fn interim_answers_and_trailers_reach_the_client() {
    let backend = Backend::start();
    let Some(server) = start(&backend, "") else {
        return;
    };
    let mut frames = Frames::connect(server.port(1));
    let asked = "interim=103 chunked text=body trailer=X-Sum:7";
    frames.send(frame(
        HEADERS,
        WHOLE,
        1,
        get("/passed/x", &[("x-answer", asked)]),
    ));
    let seen = frames.until_end_of(1);
    let of_stream: Vec<_> = (seen.frames.iter())
        .filter(|frame| frame.stream == 1)
        .map(|frame| (frame.kind, frame.flags & END_STREAM))
        .collect();
    assert_eq!(
        of_stream,
        [(HEADERS, 0), (HEADERS, 0), (DATA, 0), (HEADERS, END_STREAM)]
    );
    assert_eq!(seen.status(1), Some(103));
    let heads: Vec<_> = seen
        .frames
        .iter()
        .filter(|frame| frame.kind == HEADERS)
        .collect();
    assert_eq!(heads[1].status(), 200);
    assert_eq!(seen.body(1), b"body");
}

#[test]
fn a_client_that_waits_for_leave_gets_it() {
    let backend = Backend::start();
    let Some(server) = start(&backend, "") else {
        return;
    };
    let mut frames = Frames::connect(server.port(1));
    let fields = request(
        "POST",
        "/passed/x",
        &[("expect", "100-continue"), ("content-length", "4")],
    );
    frames.send(frame(HEADERS, OPEN, 1, fields));
    let seen = frames.until(|frame| frame.kind == HEADERS);
    assert_eq!(seen.status(1), Some(100));
    frames.send(frame(DATA, END_STREAM, 1, b"body"));
    assert_eq!(frames.until_end_of(1).status(1), Some(200));
    assert_eq!(backend.seen()[0].body, b"body");
}

/// Speaks WebSocket as far as a proxy sees it: the handshake, then the echo of every byte.
fn echo(exchange: &mut Exchange<'_>) -> Then {
    let head = &exchange.seen.head;
    if head.value("Upgrade") != Some("websocket") || !head.lists("Connection", "upgrade") {
        return answer_as_asked(exchange);
    }
    if head.value("X-Answer").is_some() {
        return answer_as_asked(exchange);
    }
    exchange.send(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\n\r\nwelcome",
    );
    let mut byte = Vec::new();
    while exchange.reader.exactly(1, &mut byte).is_ok() {
        if !exchange.send(&byte) {
            break;
        }
        byte.clear();
    }
    exchange.send("bye");
    Then::Close
}

fn connect_request(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "a"),
        ("sec-websocket-version", "13"),
    ];
    frame(HEADERS, OPEN, 1, block(&[&pseudo[..], more].concat()))
}

/// Reads so many bytes of a stream's DATA.
fn read_data(frames: &mut Frames, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < count {
        let frame = frames.frame().expect("a frame");
        if frame.kind == DATA {
            bytes.extend(&frame.payload);
            let count = frame.payload.len() as u32;
            frames.send([window_update(0, count), window_update(1, count)].concat());
        }
        assert_ne!(frame.kind, RST_STREAM);
    }
    bytes
}

/// RFC 8441.
#[test]
fn a_websocket_is_a_stream_here_and_a_connection_there() {
    let backend = Backend::scripted(echo);
    let Some(server) = start(&backend, "") else {
        return;
    };
    let mut frames = Frames::connect(server.port(1));
    frames.send(connect_request("/tunnel", &[]));
    let seen = frames.until(|frame| frame.kind == HEADERS);
    assert_eq!(seen.status(1), Some(200));
    assert_eq!(read_data(&mut frames, 7), b"welcome");
    let seen = &backend.seen()[0].head;
    assert_eq!(seen.line, "GET /tunnel HTTP/1.1");
    let key = seen.value("Sec-WebSocket-Key").expect("a key");
    assert_eq!((key.len(), &key[22..]), (24, "=="));
    assert_eq!(seen.value("Sec-WebSocket-Version"), Some("13"));
    let sent = pattern(100_000);
    let mut back = Vec::new();
    for piece in sent.chunks(10_000) {
        frames.send(frame(DATA, 0, 1, piece));
        back.extend(read_data(&mut frames, piece.len()));
    }
    assert!(back == sent);
    // Other streams go on beside it.
    assert_eq!(frames.status_of(3, "/own"), Some(200));
    // The end of one direction is an end of that direction only.
    frames.send(frame(DATA, END_STREAM, 1, b""));
    let seen = frames.until_end_of(1);
    assert_eq!((seen.body(1), seen.reset(1)), (b"bye".to_vec(), None));
    eventually("the tunnel is in the log", || {
        let log = server.read("logs/access.log");
        log.contains("\"GET /tunnel HTTP/2.0\" 200 ").then_some(())
    });
}

#[test]
fn a_websocket_that_the_client_resets_ends_at_the_peer_too() {
    let backend = Backend::scripted(echo);
    let Some(server) = start(&backend, "") else {
        return;
    };
    let mut frames = Frames::connect(server.port(1));
    frames.send(connect_request("/tunnel", &[]));
    assert_eq!(read_data(&mut frames, 7), b"welcome");
    frames.send(reset(1, CANCEL));
    eventually("the tunnel has ended", || {
        let log = server.read("logs/access.log");
        log.contains("GET /tunnel HTTP/2.0").then_some(())
    });
    assert_eq!(frames.status_of(3, "/own"), Some(200));
}

#[test]
fn a_websocket_that_the_peer_refuses_is_answered_as_it_says() {
    let backend = Backend::scripted(echo);
    let Some(server) = start(&backend, "") else {
        return;
    };
    for (path, asked, status) in [
        ("/tunnel", "status=403 text=no", 403),
        // Success would be the beginning of a tunnel.
        ("/tunnel", "status=200 text=no", 501),
        // Nobody configured that it is passed on.
        ("/passed/x", "status=200 text=no", 501),
    ] {
        let mut frames = Frames::connect(server.port(1));
        frames.send(connect_request(path, &[("x-answer", asked)]));
        let seen = frames.until_end_of(1);
        assert_eq!(
            (seen.status(1), seen.body(1)),
            (Some(status), b"no".to_vec())
        );
        assert_eq!(frames.status_of(3, "/own"), Some(200));
    }
}

/// The bytes of a tunnel are no body, whatever length the client tells: a peer that waited for one
/// would take the beginning of the next request for it.
#[test]
fn a_length_told_for_a_tunnel_does_not_reach_the_peer() {
    let backend = Backend::start();
    let Some(server) = start(&backend, "") else {
        return;
    };
    let mut frames = Frames::connect(server.port(1));
    let more = [("content-length", "5"), ("x-answer", "status=403 text=no")];
    frames.send(connect_request("/tunnel", &more));
    assert_eq!(frames.until_end_of(1).status(1), Some(403));
    assert_eq!(frames.status_of(3, "/passed/x"), Some(200));
    for seen in backend.seen() {
        let told = seen.head.value("Content-Length");
        assert!(matches!(told, None | Some("0")), "{:?}", seen.head);
        assert!(seen.body.is_empty());
    }
    assert_eq!(backend.seen().len(), 2);
}

#[test]
fn a_reload_changes_what_a_connection_is_answered() {
    let backend = Backend::start();
    let Some(mut server) = start(&backend, "") else {
        return;
    };
    let mut frames = Frames::connect(server.port(1));
    assert_eq!(frames.status_of(1, "/own"), Some(200));
    server.rewrite(
        "events {} http { %COMMON% server { listen %LISTEN1%; http2 on; location / { return 410; } } }",
    );
    server.signal(nix::sys::signal::Signal::SIGHUP);
    let mut stream = 1;
    eventually("the new configuration is in force", || {
        stream += 2;
        (frames.status_of(stream, "/own") == Some(410)).then_some(())
    });
}
