//! Bodies on both sides: which answers have none, what cut ones look like, what streams.

use std::sync::mpsc;
use std::time::Duration;

use crate::support::backend::{Backend, Then, pattern};
use crate::support::client::Framing;
use crate::support::server::{Setup, is_nginx, under_test};
use crate::support::wire::End;

const PATIENCE: Duration = Duration::from_secs(20);

/// RFC 9112 section 6.3, rule 1: whatever the fields say, these have no body, and the connection
/// goes on behind them.
#[test]
fn answers_without_a_body_have_none() {
    let backend = Backend::start();
    let server = Setup::proxy(&backend).start();
    let mut client = server.connect(1);
    for (method, answer) in [
        ("HEAD", "body=1000"),
        ("HEAD", "chunked body=1000"),
        ("HEAD", "status=404 body=9"),
        ("GET", "status=204"),
        ("GET", "status=304 body=20"),
        ("GET", "status=304 noframing"),
        ("POST", "status=204"),
    ] {
        client.send(format!(
            "{method} / HTTP/1.1\r\nHost: a\r\nX-Answer: {answer}\r\n\r\n"
        ));
        let got = client.answer(method);
        assert_eq!(got.framing, Framing::NoBody, "{answer}");
        assert_ne!(got.value("Transfer-Encoding"), Some("chunked"), "{answer}");
        if got.status == 204 {
            // RFC 9110 section 8.6.
            assert_eq!(got.value("Content-Length"), None, "{answer}");
        }
        if answer == "body=1000" {
            assert_eq!(got.value("Content-Length"), Some("1000"));
        }
        let next = client.ask("GET / HTTP/1.1\r\nHost: a\r\nX-Answer: text=next\r\n\r\n");
        assert_eq!(next.text(), "next", "the connection goes on after {answer}");
    }
}

#[test]
fn bodies_of_every_size_arrive_whole() {
    let backend = Backend::start();
    let server = Setup::proxy(&backend).start();
    let mut client = server.connect(1);
    for size in [0, 1, 4095, 4096, 8192, 65_535, 65_536, 300_000, 3_000_000] {
        for framing in ["", "chunked "] {
            let answer = client.ask(&format!(
                "GET / HTTP/1.1\r\nHost: a\r\nX-Answer: {framing}body={size}\r\n\r\n"
            ));
            assert!(answer.body == pattern(size), "{framing}{size}");
        }
    }
}

#[test]
fn uploads_of_every_size_arrive_whole() {
    let backend = Backend::start();
    let server = Setup::http(
        "server { listen %LISTEN1%; client_max_body_size 10m;
            location / { proxy_pass http://%BACKEND%; }
            location /streamed { proxy_request_buffering off; proxy_pass http://%BACKEND%; } }",
    )
    .set("BACKEND", backend.address())
    .start();
    for path in ["/", "/streamed"] {
        let mut client = server.connect(1);
        for size in [0, 1, 16_384, 65_536, 3_000_000] {
            let body = pattern(size);
            client.send(format!(
                "PUT {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n"
            ));
            client.send(&body);
            assert_eq!(client.answer("PUT").status, 200);
            client.send(format!(
                "PUT {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            ));
            for part in body.chunks(10_000) {
                client.send(format!("{:X}\r\n", part.len()));
                client.send(part);
                client.send("\r\n");
            }
            client.send("0\r\n\r\n");
            assert_eq!(client.answer("PUT").status, 200);
            let seen = backend.seen();
            let last = &seen[seen.len() - 2..];
            assert!(
                last[0].body == body && last[1].body == body,
                "{path} {size}"
            );
        }
    }
}

/// An answer that came cut must leave cut: a client that cannot tell would keep half a file.
#[test]
fn a_cut_answer_reaches_the_client_as_cut() {
    let backend = Backend::start();
    let server = Setup::proxy(&backend).start();
    for answer in [
        "body=100000 cut=50000",
        "body=10 cut=5",
        "body=10 cut=0",
        "length=100 text=short",
        "chunked body=100000 cut=50000",
        "chunked body=10 cut=5",
        "chunked body=10 cut=0",
    ] {
        for version in ["1.1", "1.0"] {
            let mut client = server.connect(1);
            client.send(format!(
                "GET / HTTP/{version}\r\nHost: a\r\nConnection: keep-alive\r\nX-Answer: {answer}\r\n\r\n"
            ));
            let got = client.next_answer("GET");
            // HTTP/1.0 without a length cannot tell a cut from an end, unless it is a reset.
            let unframed = version == "1.0" && answer.starts_with("chunked");
            let cut = got
                .as_ref()
                .map_or(true, |got| got.cut.is_some() || got.status == 502);
            assert!(cut || unframed, "{version} {answer}: {got:?}");
        }
    }
}

#[test]
fn an_answer_until_close_is_whole() {
    let backend = Backend::start();
    let server = Setup::proxy(&backend).start();
    for size in [0, 10, 200_000] {
        let answer = server.connect(1).ask(&format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX-Answer: close body={size}\r\n\r\n"
        ));
        assert_eq!(answer.cut, None);
        assert!(answer.body == pattern(size));
    }
}

/// A backend may refuse an upload before it has read it: its answer must reach the client.
#[test]
fn an_early_answer_reaches_a_client_that_still_sends() {
    let backend = Backend::start();
    let server = Setup::http(
        "server { listen %LISTEN1%; client_max_body_size 100m; proxy_request_buffering off;
            location / { proxy_pass http://%BACKEND%; } }",
    )
    .set("BACKEND", backend.address())
    .start();
    let mut client = server.connect(1);
    client.send(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\
         X-Answer: early status=403 text=no\r\n\r\n",
    );
    client.send(vec![b'x'; 1000]);
    let answer = client.answer("POST");
    assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
}

#[test]
fn a_streamed_upload_reaches_the_backend_before_it_is_complete() {
    let (parts, arrived) = mpsc::channel();
    let backend = Backend::scripted(move |exchange| {
        let mut part = Vec::new();
        if exchange.reader.exactly(5, &mut part).is_err() {
            return Then::Close;
        }
        parts.send(part).expect("the test waits for it");
        let mut rest = Vec::new();
        if exchange.reader.exactly(5, &mut rest).is_ok() {
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
        Then::Close
    });
    let server = Setup::http(
        "server { listen %LISTEN1%; proxy_request_buffering off;
            location / { proxy_pass http://%BACKEND%; } }",
    )
    .set("BACKEND", backend.address())
    .start();
    let mut client = server.connect(1);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nfirst");
    assert_eq!(arrived.recv_timeout(PATIENCE), Ok(b"first".to_vec()));
    client.send("other");
    assert_eq!(client.answer("POST").status, 200);
}

#[test]
fn a_streamed_answer_reaches_the_client_before_it_is_complete() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let backend = Backend::scripted(move |exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
        let told = wait.lock().expect("one connection").recv_timeout(PATIENCE);
        if told.is_ok() {
            exchange.send("4\r\nlast\r\n0\r\n\r\n");
        }
        Then::Close
    });
    let server = Setup::http(
        "server { listen %LISTEN1%; proxy_buffering off; location / { proxy_pass http://%BACKEND%; } }",
    )
    .set("BACKEND", backend.address())
    .start();
    let mut client = server.connect(1);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("first") {
        seen.extend(client.bytes(1).expect("the first part comes"));
    }
    go.send(()).expect("the backend waits");
    let (rest, _) = client.rest();
    assert!(String::from_utf8_lossy(&rest).contains("last"));
}

/// RFC 9110 section 6.5: trailers of a request go on where the next hop can take them, or are
/// dropped; they never become fields of the head.
#[test]
fn trailers_do_not_become_fields() {
    let backend = Backend::start();
    let server = Setup::proxy(&backend).start();
    let mut client = server.connect(1);
    client.send(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nX-Answer: chunked body=5 trailer=X-T:1\r\n\r\n\
         5\r\nhello\r\n0\r\nX-Secret: admin\r\nContent-Length: 3\r\nHost: evil\r\n\r\n",
    );
    let answer = client.answer("POST");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.value("X-T"), None);
    let seen = backend.seen();
    assert_eq!(seen[0].body, b"hello");
    assert_eq!(seen[0].head.value("X-Secret"), None);
    assert_ne!(seen[0].head.value("Host"), Some("evil"));
    let next = client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(
        next.status, 200,
        "the connection goes on behind the trailers"
    );
}

/// Interim answers of a backend are not its answer (RFC 9110 section 15.2).
#[test]
fn interim_answers_of_a_backend_are_not_the_answer() {
    if is_nginx(&under_test()) {
        return;
    }
    let backend = Backend::start();
    let server = Setup::proxy(&backend).start();
    let mut client = server.connect(1);
    for answer in [
        "interim=100 text=final",
        "interim=103 text=final",
        "interim=102 interim=103 chunked text=final",
    ] {
        let got = client.ask(&format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX-Answer: {answer}\r\n\r\n"
        ));
        assert_eq!(
            (got.status, got.text().as_str()),
            (200, "final"),
            "{answer}"
        );
        assert_eq!(got.value("X-Interim"), None);
    }
}

/// A backend's interim answers were once held until the final one, however many came.
#[test]
fn more_interim_answers_than_a_buffer_holds_are_passed_on() {
    if is_nginx(&under_test()) {
        return;
    }
    let backend = Backend::start();
    let server = Setup::proxy(&backend).start();
    let mut client = server.connect(1);
    let many = "interim=103 ".repeat(500);
    let got = client.ask(&format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX-Answer: {many}text=final\r\n\r\n"
    ));
    assert_eq!((got.status, got.text().as_str()), (200, "final"));
}

#[test]
fn a_client_that_leaves_ends_its_upstream_request() {
    let (ended, end) = mpsc::channel();
    let (begun, begin) = mpsc::channel();
    let backend = Backend::scripted(move |exchange| {
        begun.send(()).expect("the test waits for it");
        let mut rest = Vec::new();
        let end = exchange.reader.until_end(&mut rest);
        ended.send(end).expect("the test waits for it");
        Then::Close
    });
    let server = Setup::proxy(&backend).start();
    let mut client = server.connect(1);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    begin.recv_timeout(PATIENCE).expect("the backend is asked");
    drop(client);
    let end = end.recv_timeout(PATIENCE).expect("the backend is told");
    assert!(matches!(end, End::Closed | End::Reset));
}
