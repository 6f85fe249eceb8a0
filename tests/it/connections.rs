//! Client connections: kept, pipelined, closed, and the interim answer they may wait for.

use crate::support::backend::{Backend, Then};
use crate::support::server::Setup;
use crate::support::wire::End;

#[test]
fn a_connection_serves_one_request_after_the_other() {
    let backend = Backend::start();
    let server = Setup::proxy(&backend).start();
    let mut client = server.connect(1);
    for number in 0..50 {
        let answer = client.ask(&format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(answer.status, 200);
        assert!(!answer.says_close());
    }
    let lines: Vec<String> = backend
        .seen()
        .into_iter()
        .map(|seen| seen.head.line)
        .collect();
    let expected: Vec<String> = (0..50)
        .map(|number| format!("GET /{number} HTTP/1.1"))
        .collect();
    assert_eq!(lines, expected);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let backend = Backend::start();
    let server = Setup::proxy(&backend).start();
    let mut client = server.connect(1);
    // The first answer is the slowest: order is not a matter of luck.
    let requests: String = (0..20)
        .map(|number| {
            let delay = if number == 0 { 50 } else { 0 };
            format!(
                "POST /{number} HTTP/1.1\r\nHost: a\r\nX-Answer: delay={delay} text={number}\r\n\
                 Content-Length: 4\r\n\r\nGET "
            )
        })
        .collect();
    client.send(requests);
    for number in 0..20 {
        assert_eq!(client.answer("POST").text(), number.to_string());
    }
}

#[test]
fn a_pipeline_ends_with_the_request_that_says_close() {
    let backend = Backend::start();
    let server = Setup::proxy(&backend).start();
    let mut client = server.connect(1);
    client.send(
        "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n\
         GET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n\
         GET /3 HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    assert!(!client.answer("GET").says_close());
    assert!(client.answer("GET").says_close());
    let (rest, _) = client.rest();
    assert!(rest.is_empty());
    assert_eq!(backend.seen().len(), 2);
}

#[test]
fn the_server_closes_when_it_said_so() {
    let backend = Backend::start();
    let server = Setup::proxy(&backend).start();
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\nConnection: close\r\n\r\n",
    ] {
        let mut client = server.connect(1);
        assert!(client.ask(request).says_close());
        assert_eq!(client.rest(), (Vec::new(), End::Closed));
    }
}

#[test]
fn an_old_client_may_keep_its_connection() {
    let backend = Backend::start();
    let server = Setup::proxy(&backend).start();
    let mut client = server.connect(1);
    for _ in 0..3 {
        let answer = client.ask("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(answer.value("Connection"), Some("keep-alive"));
    }
}

#[test]
fn a_client_that_comes_byte_by_byte_is_served() {
    let backend = Backend::start();
    let server = Setup::proxy(&backend).start();
    let mut client = server.connect(1);
    for byte in b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;e=1\r\nhello\r\n0\r\nX: y\r\n\r\n" {
        client.send([*byte]);
    }
    assert_eq!(client.answer("POST").status, 200);
    let seen = backend.seen();
    assert_eq!(seen[0].body, b"hello");
}

#[test]
fn upstream_connections_are_used_again() {
    let backend = Backend::start();
    let server = Setup::http(
        "upstream kept { server %BACKEND%; keepalive 8; }
         server { listen %LISTEN1%; location / { proxy_set_header Connection \"\"; proxy_pass http://kept; } }",
    )
    .set("BACKEND", backend.address())
    .start();
    for _ in 0..20 {
        let answer = server
            .connect(1)
            .ask("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert_eq!(answer.status, 200);
    }
    assert_eq!(backend.connections(), 1);
    assert!(backend.seen().iter().all(|seen| seen.connection == 0));
}

/// A kept upstream connection may die at the very moment it is used: that costs no request that may
/// be sent again (RFC 9110 section 9.2.2).
#[test]
fn a_stale_upstream_connection_costs_no_request() {
    let backend = Backend::scripted(|exchange| {
        if exchange.read_body().is_err() {
            return Then::Close;
        }
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        // It did not say so.
        Then::Close
    });
    let server = Setup::http(
        "upstream kept { server %BACKEND% max_fails=0; keepalive 8; }
         server { listen %LISTEN1%; location / { proxy_set_header Connection \"\"; proxy_pass http://kept; } }",
    )
    .set("BACKEND", backend.address())
    .start();
    let mut client = server.connect(1);
    for _ in 0..200 {
        let answer = client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    }
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it() {
    let backend = Backend::start();
    let server = Setup::proxy(&backend).start();
    let mut client = server.connect(1);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    let interim = client.next_answer("POST").expect("an interim answer");
    assert_eq!(interim.line, "HTTP/1.1 100 Continue");
    assert!(interim.fields.is_empty());
    client.send("hello");
    assert_eq!(client.answer("POST").status, 200);
    let seen = backend.seen();
    assert_eq!(seen[0].body, b"hello");
    assert_eq!(seen[0].head.value("Expect"), None, "we have answered it");
}

#[test]
fn a_body_that_will_not_be_taken_is_not_asked_for() {
    let backend = Backend::start();
    let server = Setup::http(
        "server { listen %LISTEN1%; client_max_body_size 4; location / { proxy_pass http://%BACKEND%; } }",
    )
    .set("BACKEND", backend.address())
    .start();
    let mut client = server.connect(1);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    let first = client.next_answer("POST").expect("an answer");
    assert_eq!(first.status, 413);
    assert!(backend.seen().is_empty());
}

#[test]
fn http_1_0_has_no_100_continue() {
    let backend = Backend::start();
    let server = Setup::proxy(&backend).start();
    let mut client = server.connect(1);
    client.send("POST / HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello");
    assert_eq!(client.next_answer("POST").expect("an answer").status, 200);
}
