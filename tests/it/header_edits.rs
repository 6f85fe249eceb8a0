//! `more_set_headers` and its like: fields of requests change while bodies and further requests wait
//! behind the head.

use crate::support::backend::Backend;
use crate::support::http2_client::Http2Client;
use crate::support::server::{Server, Setup};

const LONG: &str = "a value that makes the head longer than it was, so that all behind it moves";

fn server(backend: &Backend) -> Server {
    Setup::http(&format!(
        "server {{ listen %LISTEN1%; http2 on; more_clear_headers Server;
            more_set_headers \"X-Frame-Options: DENY\";
            location / {{ more_set_input_headers \"X-Role: guest $arg_n\" \"X-Long: {LONG}\";
                more_clear_input_headers Accept-Encoding X-Hidden-*;
                proxy_pass http://%BACKEND%; }} }}"
    ))
    .set("BACKEND", backend.address())
    .start()
}

#[test]
fn bodies_and_pipelined_requests_behind_a_changed_head_arrive_whole() {
    let backend = Backend::start();
    let server = server(&backend);
    let mut client = server.connect(1);
    let body = "0123456789".repeat(5_000);
    let mut chunked = String::new();
    for piece in body.as_bytes().chunks(777) {
        let piece = std::str::from_utf8(piece).expect("digits");
        chunked.push_str(&format!("{:x}\r\n{piece}\r\n", piece.len()));
    }
    // All at once, so that each request waits behind the head of the one before.
    client.send(format!(
        "POST /?n=1 HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\nX-Role: admin\r\n\r\n{body}\
         POST /?n=2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: x-role\r\n\
         X-Hidden-One: 1\r\n\r\n{chunked}0\r\n\r\n\
         GET /?n=3 HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n",
        body.len()
    ));
    for method in ["POST", "POST", "GET"] {
        let answer = client.answer(method);
        assert_eq!(answer.status, 200);
        assert_eq!(answer.value("X-Frame-Options"), Some("DENY"));
        assert_eq!(answer.value("Server"), None);
    }
    let seen = backend.seen();
    assert_eq!(seen.len(), 3);
    for (position, seen) in seen.iter().enumerate() {
        let role = format!("guest {}", position + 1);
        assert_eq!(seen.head.value("X-Role"), Some(&*role), "{position}");
        assert_eq!(seen.head.value("X-Long"), Some(LONG), "{position}");
        for gone in ["Accept-Encoding", "X-Hidden-One"] {
            assert_eq!(seen.head.value(gone), None, "{position} {gone}");
        }
        let expected = if position < 2 { &*body } else { "" };
        assert!(seen.body == expected.as_bytes(), "{position}");
    }
}

#[test]
fn requests_over_http2_are_changed_too_and_our_own_errors_have_the_fields() {
    let backend = Backend::start();
    let server = server(&backend);
    let mut client = Http2Client::connect(server.port(1));
    let answer = client.get("/?n=7", &[("x-role", "admin"), ("accept-encoding", "gzip")]);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.value("x-frame-options"), Some("DENY"));
    assert_eq!(answer.value("server"), None);
    let seen = backend.seen().pop().expect("the backend was asked");
    assert_eq!(seen.head.value("X-Role"), Some("guest 7"));
    assert_eq!(seen.head.value("Accept-Encoding"), None);
    drop(backend);
    let answer = client.get("/", &[]);
    assert_eq!(answer.status, 502);
    assert_eq!(answer.value("x-frame-options"), Some("DENY"));
}
