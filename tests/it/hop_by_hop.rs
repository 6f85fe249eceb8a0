//! Fields that end at the next hop, tunnels, and targets that would make us an open proxy.

use crate::support::backend::{Backend, Exchange, Seen, Then};
use crate::support::server::{Server, Setup, is_nginx, under_test};
use crate::support::wire::{End, first};

fn asked(server: &Server, backend: &Backend, request: &str) -> Seen {
    server.connect(1).ask(request);
    backend.seen().pop().expect("the backend was asked")
}

/// RFC 9110 section 7.6.1.
#[test]
fn fields_of_one_hop_do_not_go_on() {
    let backend = Backend::start();
    let server = Setup::proxy(&backend).start();
    let seen = asked(
        &server,
        &backend,
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\n\
         Upgrade: foo\r\nX-End-To-End: yes\r\n\r\n",
    );
    for name in ["Keep-Alive", "TE", "Upgrade"] {
        assert_eq!(seen.head.value(name), None, "{name}");
    }
    let connection = seen.head.value("Connection").unwrap_or("close");
    assert_eq!(connection, "close", "none, or our own");
    assert_eq!(seen.head.value("X-End-To-End"), Some("yes"));
}

#[test]
fn fields_of_one_hop_do_not_come_back() {
    let backend = Backend::start();
    let server = Setup::proxy(&backend).start();
    let mut client = server.connect(1);
    let answer = client.ask(
        "GET / HTTP/1.1\r\nHost: a\r\nX-Answer: field=Connection:close field=Keep-Alive:timeout=9 field=X-End:yes bye\r\n\r\n",
    );
    assert_eq!(answer.value("Connection"), Some("keep-alive"));
    assert_eq!(answer.value("Keep-Alive"), None);
    assert_eq!(answer.value("X-End"), Some("yes"));
    let next = client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(
        next.status, 200,
        "what the backend closes is not the client's"
    );
}

#[test]
fn fields_of_a_client_keep_their_order_and_spelling() {
    let backend = Backend::start();
    let server = Setup::proxy(&backend).start();
    let seen = asked(
        &server,
        &backend,
        "GET / HTTP/1.1\r\nx-Second: 2\r\nHost: a\r\nACCEPT: */*\r\nX-Twice: 1\r\nx-a: b\r\nX-Twice: 2\r\n\r\n",
    );
    let kept: Vec<String> = seen
        .head
        .fields
        .iter()
        .filter(|field| !matches!(field.name.as_str(), "Host" | "Connection"))
        .map(|field| format!("{}: {}", field.name, field.value))
        .collect();
    assert_eq!(
        kept,
        [
            "x-Second: 2",
            "ACCEPT: */*",
            "X-Twice: 1",
            "x-a: b",
            "X-Twice: 2"
        ]
    );
}

/// Speaks the upgraded protocol: the echo of every byte.
fn echo(exchange: &mut Exchange<'_>) -> Then {
    if exchange.seen.head.value("Upgrade").is_none() {
        exchange.send("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n");
        return Then::NextRequest;
    }
    exchange.send(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\nwelcome",
    );
    let mut byte = Vec::new();
    while exchange.reader.exactly(1, &mut byte).is_ok() {
        if !exchange.send(&byte) {
            break;
        }
        byte.clear();
    }
    Then::Close
}

const UPGRADING: &str = "
    map $http_upgrade $connection_upgrade { default upgrade; '' close; }
    server { listen %LISTEN1%;
        location / { proxy_pass http://%BACKEND%; }
        location /tunnel {
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_pass http://%BACKEND%;
        }
    }";

#[test]
fn an_upgraded_connection_is_a_tunnel() {
    let backend = Backend::scripted(echo);
    let server = Setup::http(UPGRADING)
        .set("BACKEND", backend.address())
        .start();
    let mut client = server.connect(1);
    // What comes right behind the request belongs to the tunnel too.
    client.send(
        "GET /tunnel HTTP/1.1\r\nHost: a\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\nearly",
    );
    let answer = client.answer("GET");
    assert_eq!(answer.status, 101);
    assert_eq!(answer.value("Upgrade"), Some("echo"));
    let connection = answer.value("Connection").unwrap_or_default();
    assert_eq!(connection.to_ascii_lowercase(), "upgrade");
    assert_eq!(client.bytes(12), Ok(b"welcomeearly".to_vec()));
    let big = vec![b'z'; 100_000];
    for size in [1, 10, 100_000] {
        client.send(&big[..size]);
        assert_eq!(client.bytes(size).map(|bytes| bytes.len()), Ok(size));
    }
    client.send("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.bytes(4).is_ok_and(|bytes| bytes == b"GET "));
    client.finish_sending();
    let (_, end) = client.rest();
    assert!(matches!(end, End::Closed | End::Reset));
    assert_eq!(backend.seen().len(), 1);
}

/// What is not asked for by the configuration is not passed on: no tunnel, and no way to a backend's
/// HTTP/2 past our rules (h2c smuggling).
#[test]
fn an_upgrade_that_is_not_configured_does_not_reach_the_backend() {
    let backend = Backend::scripted(echo);
    let server = Setup::http(UPGRADING)
        .set("BACKEND", backend.address())
        .start();
    for protocol in ["websocket", "h2c", "TLS/1.0"] {
        let mut client = server.connect(1);
        let answer = client.ask(&format!(
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: {protocol}\r\nConnection: Upgrade, HTTP2-Settings\r\n\
             HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"
        ));
        assert_eq!(answer.status, 426);
        let seen = backend.seen().pop().expect("the backend was asked");
        assert_eq!(seen.head.value("Upgrade"), None);
        assert!(!seen.head.lists("Connection", "upgrade"));
        assert!(!seen.head.lists("Connection", "HTTP2-Settings"));
    }
}

/// A client cannot drop a field that we add by naming it in Connection.
#[test]
fn connection_cannot_name_our_own_fields_away() {
    let backend = Backend::start();
    let server = Setup::http(
        "server { listen %LISTEN1%; location / {
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_pass http://%BACKEND%; } }",
    )
    .set("BACKEND", backend.address())
    .start();
    let seen = asked(
        &server,
        &backend,
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Real-IP, X-Forwarded-For\r\nX-Real-IP: 6.6.6.6\r\n\r\n",
    );
    let fields = &seen.head.fields;
    assert_eq!(first(fields, "X-Real-IP"), Some("127.0.0.1"));
    assert_eq!(first(fields, "X-Forwarded-For"), Some("127.0.0.1"));
    let count = fields
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case("x-real-ip"))
        .count();
    assert_eq!(count, 1);
}

#[test]
fn we_are_no_open_proxy() {
    let ours = Backend::start();
    let other = Backend::start();
    let server = Setup::proxy(&ours).start();
    let elsewhere = other.address();
    for target in [
        format!("http://{elsewhere}/"),
        format!("https://{elsewhere}/"),
        format!("//{elsewhere}/"),
        format!("/http://{elsewhere}/"),
        format!("http://user@{elsewhere}/"),
        format!("http://a@{elsewhere}:80/"),
    ] {
        for host in ["a", elsewhere.as_str()] {
            let mut client = server.connect(1);
            client.send(format!(
                "GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            ));
            client.rest();
        }
    }
    for target in [elsewhere.as_str(), "a:443", "a", "/", "http://a/"] {
        let mut client = server.connect(1);
        client.send(format!(
            "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"
        ));
        let answer = client.answer("CONNECT");
        assert!(
            matches!(answer.status, 400 | 405),
            "{target}: {}",
            answer.line
        );
        assert!(answer.says_close());
        client.rest();
    }
    assert!(other.seen().is_empty());
    let passed = ours.seen();
    assert!(
        !passed
            .iter()
            .any(|seen| seen.head.line.starts_with("CONNECT"))
    );
}

/// RFC 9112 section 3.2.2: the target's host counts, and what goes on is the origin form.
#[test]
fn an_absolute_target_goes_on_as_a_path() {
    let backend = Backend::start();
    let server = Setup::http(
        "server { listen %LISTEN1%; server_name other; return 404; }
         server { listen %LISTEN1%; server_name wanted; location / { proxy_set_header Host $host; proxy_pass http://%BACKEND%; } }",
    )
    .set("BACKEND", backend.address())
    .start();
    let seen = asked(
        &server,
        &backend,
        "GET http://wanted/x?y=z HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n",
    );
    assert_eq!(seen.head.line, "GET /x?y=z HTTP/1.1");
    assert_eq!(seen.head.value("Host"), Some("wanted"));
}

#[test]
fn trace_is_not_answered() {
    let backend = Backend::start();
    let server = Setup::proxy(&backend).start();
    let answer = server
        .connect(1)
        .ask("TRACE / HTTP/1.1\r\nHost: a\r\nCookie: secret\r\n\r\n");
    assert_eq!(answer.status, 405);
    assert!(!answer.text().contains("secret"));
    assert!(backend.seen().is_empty());
}

/// Fields that a client repeats are one value for us (nginx does so since 1.23).
#[test]
fn a_variable_joins_repeated_fields() {
    if is_nginx(&under_test()) {
        return;
    }
    let server = Setup::http(
        "server { listen %LISTEN1%; location / { return 200 \"$http_x_name|$http_cookie|$http_x_forwarded_for\"; } }",
    )
    .start();
    let answer = server.connect(1).ask(
        "GET / HTTP/1.1\r\nHost: a\r\nX-Name: 1\r\nCookie: a=1\r\nX-Name: 2\r\nCookie: b=2\r\n\
         X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-For: 10.0.0.2\r\n\r\n",
    );
    assert_eq!(answer.text(), "1, 2|a=1; b=2|10.0.0.1, 10.0.0.2");
}
