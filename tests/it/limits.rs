//! Limits on heads, bodies and patience: each has its status and costs nobody else anything.

use crate::support::backend::Backend;
use crate::support::server::{Setup, is_nginx, under_test};
use crate::support::wire::End;

fn limited(backend: &Backend) -> Setup {
    Setup::http(
        "client_header_buffer_size 1k;
         large_client_header_buffers 4 4k;
         client_max_body_size 1k;
         server { listen %LISTEN1%; location / { proxy_pass http://%BACKEND%; } }",
    )
    .set("BACKEND", backend.address())
}

#[test]
fn a_request_line_that_is_too_long_is_414() {
    let backend = Backend::start();
    let server = limited(&backend).start();
    for size in [4200, 8000, 100_000] {
        let mut client = server.connect(1);
        client.send(format!(
            "GET /{} HTTP/1.1\r\nHost: a\r\n\r\n",
            "x".repeat(size)
        ));
        let answer = client.answer("GET");
        assert_eq!(answer.status, 414, "{size}");
        assert!(answer.says_close());
    }
    assert!(backend.seen().is_empty());
}

/// nginx calls it 494 inside and 400 outside.
#[test]
fn a_field_that_is_too_long_is_400() {
    let backend = Backend::start();
    let server = limited(&backend).start();
    for size in [4200, 20_000, 100_000] {
        let mut client = server.connect(1);
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n",
            "x".repeat(size)
        ));
        let answer = client.answer("GET");
        assert_eq!(answer.status, 400, "{size}");
        assert!(answer.says_close());
    }
    assert!(backend.seen().is_empty());
}

#[test]
fn a_head_that_is_too_long_is_400() {
    let backend = Backend::start();
    let server = limited(&backend).start();
    let field = format!("X-Some: {}\r\n", "x".repeat(1000));
    let mut client = server.connect(1);
    client.send(format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        field.repeat(100)
    ));
    assert_eq!(client.answer("GET").status, 400);
    assert!(backend.seen().is_empty());
    let mut client = server.connect(1);
    client.send(format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        field.repeat(5)
    ));
    assert_eq!(client.answer("GET").status, 200);
}

#[test]
fn a_body_that_is_too_long_is_413() {
    let backend = Backend::start();
    let server = limited(&backend).start();
    for (fields, body) in [
        ("Content-Length: 1025", "x".repeat(1025)),
        ("Content-Length: 9223372036854775807", String::new()),
        (
            "Transfer-Encoding: chunked",
            format!("401\r\n{}\r\n0\r\n\r\n", "x".repeat(1025)),
        ),
        (
            "Transfer-Encoding: chunked",
            format!("{}0\r\n\r\n", "1\r\nx\r\n".repeat(1025)),
        ),
    ] {
        let mut client = server.connect(1);
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{body}"
        ));
        let answer = client.answer("POST");
        assert_eq!(answer.status, 413, "{fields}");
    }
    assert!(backend.seen().is_empty());
    let answer = server.connect(1).ask(&format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1024\r\n\r\n{}",
        "x".repeat(1024)
    ));
    assert_eq!(answer.status, 200);
}

#[test]
fn a_slow_head_ends_its_connection() {
    let backend = Backend::start();
    let server = Setup::http(
        "client_header_timeout 1s;
         server { listen %LISTEN1%; location / { proxy_pass http://%BACKEND%; } }",
    )
    .set("BACKEND", backend.address())
    .start();
    for start in ["", "GET", "GET / HTTP/1.1\r\nHost: a\r\nX: "] {
        let mut client = server.connect(1);
        client.send(start);
        let (bytes, end) = client.rest();
        assert!(matches!(end, End::Closed | End::Reset), "{start:?} {end:?}");
        let said = String::from_utf8_lossy(&bytes).into_owned();
        assert!(
            said.is_empty() || said.starts_with("HTTP/1.1 408 "),
            "{said}"
        );
    }
    assert!(backend.seen().is_empty());
}

/// A deadline on the whole head: a byte now and then does not buy time.
#[test]
fn a_head_that_trickles_ends_its_connection() {
    let backend = Backend::start();
    let server = Setup::http(
        "client_header_timeout 1s;
         server { listen %LISTEN1%; location / { proxy_pass http://%BACKEND%; } }",
    )
    .set("BACKEND", backend.address())
    .start();
    let mut client = server.connect(1);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n");
    // A field every 50 ms for at most 20 s: only a server without a deadline lets it come to its end.
    let refused = (0..400).any(|number| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        !client.send(format!("X-{number}: y\r\n"))
    });
    assert!(refused, "the connection outlives its deadline");
}

#[test]
fn a_slow_body_ends_its_connection() {
    let backend = Backend::start();
    let server = Setup::http(
        "client_body_timeout 1s;
         server { listen %LISTEN1%; location / { proxy_pass http://%BACKEND%; } }",
    )
    .set("BACKEND", backend.address())
    .start();
    for (fields, body) in [
        ("Content-Length: 10", ""),
        ("Content-Length: 10", "hello"),
        ("Transfer-Encoding: chunked", "5\r\nhel"),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n"),
    ] {
        let mut client = server.connect(1);
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{body}"
        ));
        let (bytes, end) = client.rest();
        assert!(matches!(end, End::Closed | End::Reset), "{fields} {end:?}");
        let said = String::from_utf8_lossy(&bytes).into_owned();
        assert!(
            said.is_empty() || said.starts_with("HTTP/1.1 408 "),
            "{said}"
        );
    }
    assert!(backend.seen().is_empty(), "half a body is not passed on");
}

#[test]
fn an_idle_connection_ends_after_its_time() {
    let server =
        Setup::http("keepalive_timeout 1s; server { listen %LISTEN1%; return 200 ok; }").start();
    let mut client = server.connect(1);
    assert!(!client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").says_close());
    let (rest, end) = client.rest();
    assert!(rest.is_empty(), "nobody asked");
    assert!(matches!(end, End::Closed | End::Reset), "{end:?}");
}

#[test]
fn a_backend_that_does_not_answer_is_504() {
    let backend = Backend::start();
    let server = Setup::http(
        "proxy_read_timeout 1s;
         server { listen %LISTEN1%; location / { proxy_pass http://%BACKEND%; } }",
    )
    .set("BACKEND", backend.address())
    .start();
    let answer = server
        .connect(1)
        .ask("GET / HTTP/1.1\r\nHost: a\r\nX-Answer: delay=3000\r\n\r\n");
    assert_eq!(answer.status, 504);
}

#[test]
fn a_backend_that_is_not_there_is_502() {
    let server =
        Setup::http("server { listen %LISTEN1%; location / { proxy_pass http://%DEAD1%; } }")
            .start();
    let mut client = server.connect(1);
    for _ in 0..3 {
        assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").status, 502);
    }
}

#[test]
fn the_id_of_an_error_that_we_answer_stands_in_the_line_that_says_why() {
    let server =
        Setup::http("server { listen %LISTEN1%; location / { proxy_pass http://%DEAD1%; } }")
            .start();
    if is_nginx(&under_test()) {
        return;
    }
    let answer = server.connect(1).ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(answer.status, 502);
    let id = answer
        .value("X-OpenClaw-Error")
        .expect("an error of ours has one");
    let said = server.read("error.log");
    let line = said.lines().find(|line| line.contains("connect() failed"));
    let line = line.expect("the cause is told");
    assert!(line.ends_with(&format!(", id: \"{id}\"")), "{line}");
}
