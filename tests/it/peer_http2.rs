//! `proxy_http_version 2`: requests over shared connections, and what can happen to one.

use std::thread;

use crate::support::backend::pattern;
use crate::support::certificate::Authority;
use crate::support::client::Answer;
use crate::support::http2_backend::{Http2Backend, Manner};
use crate::support::secure_backend::SecureBackend;
use crate::support::server::{Server, Setup, eventually, oracle};
use crate::support::wire::first;

/// A proxy to these peers, with these directives in its server.
fn proxy(peers: &[&Http2Backend], more: &str) -> Server {
    let servers: String = (peers.iter())
        .map(|peer| format!("server {};", peer.address()))
        .collect();
    Setup::new(format!(
        "worker_processes 1; events {{}} http {{ %COMMON%
            upstream peers {{ {servers} }}
            server {{ listen %LISTEN1%;
                proxy_http_version 2; proxy_pass_trailers on; {more}
                location / {{ proxy_pass http://peers; }} }}
        }}"
    ))
    .start()
}

fn start() -> Http2Backend {
    Http2Backend::start(Manner::default())
}

fn ask(server: &Server, request: &str) -> Answer {
    let (line, body) = request.split_once('\n').unwrap_or((request, ""));
    let length = body.len();
    server.connect(1).ask(&format!(
        "{line} HTTP/1.1\r\nHost: front.test\r\nContent-Length: {length}\r\n\
         TE: trailers\r\nConnection: close\r\n\r\n{body}"
    ))
}

#[test]
fn an_nginx_is_spoken_to_by_agreement_and_without_tls_over_one_connection() {
    let pair = Authority::new().issue(&["peer.test"]);
    let peer = Setup::http(
        "server { listen 127.0.0.1:%LISTEN1% http2; listen 127.0.0.1:%LISTEN2% ssl http2;
            ssl_certificate %PREFIX%/peer.pem; ssl_certificate_key %PREFIX%/peer.key;
            location / { return 200 \"$server_protocol $connection $connection_requests $http_host $request_method $request_uri\"; }
            location /file { root %PREFIX%; }
        }",
    )
    .program(&oracle())
    .file("peer.pem", pair.certificate)
    .file("peer.key", pair.key)
    .file("file", pattern(300_000))
    .start();
    let server = Setup::new(format!(
        "worker_processes 1; events {{}} http {{ %COMMON%
            server {{ listen %LISTEN1%; proxy_http_version 2;
                location /plain/ {{ proxy_pass http://127.0.0.1:{}/; }}
                location /secure/ {{ proxy_pass https://127.0.0.1:{}/; }}
            }} }}",
        peer.port(1),
        peer.port(2)
    ))
    .start();
    for (way, port) in [("plain", peer.port(1)), ("secure", peer.port(2))] {
        let mut first = String::new();
        for number in 1..=3 {
            let answer = ask(&server, &format!("GET /{way}/a%20b?c"));
            assert_eq!(answer.status, 200);
            let text = answer.text();
            let words: Vec<_> = text.split(' ').collect();
            assert_eq!(words[0], "HTTP/2.0");
            if number == 1 {
                first = words[1].to_owned();
            }
            assert_eq!(words[1..3], [&*first, &*number.to_string()]);
            assert_eq!(
                words[3..],
                [&*format!("127.0.0.1:{port}"), "GET", "/a%20b?c"]
            );
        }
        let answer = ask(&server, &format!("GET /{way}/file"));
        assert!(answer.body == pattern(300_000));
        assert_eq!(answer.value("Content-Length"), Some("300000"));
        let answer = ask(&server, &format!("HEAD /{way}/file"));
        assert_eq!(answer.value("Content-Length"), Some("300000"));
        assert_eq!(ask(&server, &format!("GET /{way}/file/none")).status, 404);
    }
}

#[test]
fn fields_bodies_and_trailers_pass_both_ways() {
    let peer = start();
    let server = proxy(&[&peer], "proxy_set_header TE $http_te;");
    let body = String::from_utf8(pattern(200_000)).expect("ASCII");
    let answer = ask(&server, &format!("POST /unary\n{body}"));
    assert_eq!(answer.status, 200);
    assert!(answer.body == body.as_bytes());
    assert_eq!(answer.value("X-Head"), Some("yes"));
    let trailer = |name: &str| first(&answer.trailers, name);
    assert_eq!(trailer("grpc-status"), Some("0"));
    assert_eq!(trailer("x-trailer"), Some("yes"));
    let calls = peer.calls();
    assert_eq!(calls[0].method, "POST");
    assert_eq!(calls[0].uri, "http://peers/unary");
    assert_eq!(calls[0].fields["te"], "trailers");
    assert_eq!(calls[0].fields["content-length"], "200000");
    assert!(!calls[0].fields.contains_key("connection"));
    assert!(!calls[0].fields.contains_key("host"));
    let answer = ask(&server, "GET /trailers-only");
    assert_eq!(
        (answer.status, answer.value("grpc-status")),
        (200, Some("5"))
    );
    assert_eq!(answer.value("Content-Length"), Some("0"));
    assert_eq!(peer.connections(), 1);
}

#[test]
fn trailers_of_a_request_reach_the_peer_but_for_those_that_may_not() {
    let peer = start();
    for buffering in ["on", "off"] {
        let server = proxy(&[&peer], &format!("proxy_request_buffering {buffering};"));
        let answer = server.connect(1).ask(
            "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\
             Connection: close\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 7\r\nContent-Length: 9\r\nX-Two: 8\r\n\r\n",
        );
        assert_eq!(answer.body, b"body", "{buffering}");
        let trailer = |name: &str| first(&answer.trailers, name);
        assert_eq!((trailer("x-sum"), trailer("x-two")), (Some("7"), Some("8")));
        assert_eq!(trailer("x-trailer"), Some("yes"));
        assert_eq!(trailer("content-length"), None);
    }
}

#[test]
fn requests_share_a_connection_up_to_what_the_peer_carries() {
    let peer = Http2Backend::start(Manner {
        streams: 4,
        ..Manner::default()
    });
    let server = proxy(&[&peer], "");
    // So that the peer's limit is known.
    assert_eq!(ask(&server, "GET /unary").status, 200);
    thread::scope(|scope| {
        let asking: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| ask(&server, "GET /hold").status))
            .collect();
        eventually("all requests have arrived", || {
            (peer.active().0 == 8).then_some(())
        });
        assert_eq!(peer.connections(), 2);
        peer.release();
        for asked in asking {
            assert_eq!(asked.join().expect("it ends well"), 200);
        }
    });
    // The first connection is filled first.
    for _ in 0..3 {
        ask(&server, "GET /unary");
    }
    assert_eq!(peer.connections(), 2);
    assert_eq!(peer.calls().last().expect("some").connection, 0);
}

#[test]
fn a_burst_on_a_fresh_connection_fails_no_request() {
    let peer = Http2Backend::start(Manner {
        streams: 2,
        ..Manner::default()
    });
    let server = proxy(&[&peer], "");
    thread::scope(|scope| {
        let asking: Vec<_> = (0..20)
            .map(|_| scope.spawn(|| ask(&server, "POST /unary\nbody").status))
            .collect();
        for asked in asking {
            assert_eq!(asked.join().expect("it ends well"), 200);
        }
    });
}

#[test]
fn what_a_peer_did_not_look_at_is_sent_again_whatever_it_was() {
    let peer = start();
    let server = proxy(&[&peer], "");
    let answer = ask(&server, "POST /refuse\nonce more");
    assert_eq!((answer.status, answer.text().as_str()), (200, "once more"));
    assert_eq!(ask(&server, "POST /refuse-always\n").status, 502);

    let peer = Http2Backend::start(Manner {
        goes_first: true,
        ..Manner::default()
    });
    let server = proxy(&[&peer], "");
    let answer = ask(&server, "POST /unary\nonce more");
    assert_eq!((answer.status, answer.text().as_str()), (200, "once more"));
    assert_eq!(peer.connections(), 2);
}

#[test]
fn a_connection_that_takes_no_more_is_left_and_its_requests_end() {
    let peer = start();
    let server = proxy(&[&peer], "");
    for _ in 0..3 {
        let answer = ask(&server, "POST /last\nwhole");
        assert_eq!((answer.status, answer.text().as_str()), (200, "whole"));
    }
    assert_eq!(peer.connections(), 3);
}

#[test]
fn a_request_that_a_peer_gave_up_goes_to_the_next_if_that_is_wanted() {
    let (one, two) = (start(), start());
    let server = proxy(&[&one, &two], "");
    assert_eq!(ask(&server, "GET /reset").status, 502);
    assert_eq!(one.calls().len() + two.calls().len(), 1);
    let said = "upstream rejected request with error 2";
    eventually("it is in the log", || {
        server.said().contains(said).then_some(())
    });
    let wanted = proxy(&[&one, &two], "proxy_next_upstream invalid_header;");
    assert_eq!(ask(&wanted, "GET /reset").status, 502);
    assert_eq!(one.calls().len() + two.calls().len(), 3);
}

#[test]
fn an_answer_that_breaks_off_is_seen_as_cut() {
    let peer = start();
    let server = proxy(&[&peer], "");
    let answer = ask(&server, "GET /cut");
    assert_eq!(answer.status, 200);
    assert!(answer.cut.is_some());
}

#[test]
fn an_early_answer_passes_while_the_body_is_not_read() {
    let peer = start();
    let server = proxy(&[&peer], "proxy_request_buffering off;");
    let body = "x".repeat(500_000);
    let answer = ask(&server, &format!("POST /early\n{body}"));
    assert_eq!((answer.status, answer.text().as_str()), (413, "too large"));
    // Nobody else's requests suffer.
    assert_eq!(ask(&server, "GET /unary").status, 200);
    assert_eq!(peer.connections(), 1);
}

#[test]
fn interim_answers_pass() {
    let peer = start();
    let server = proxy(&[&peer], "");
    let mut client = server.connect(1);
    client.send("GET /interim HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let interim = client.next_answer("GET").expect("an answer");
    assert_eq!((interim.status, interim.value("Link")), (103, Some("</a>")));
    assert_eq!(client.next_answer("GET").expect("an answer").status, 200);
}

#[test]
fn a_body_streams_to_a_peer_that_stops_to_take_it_for_a_while() {
    let peer = start();
    let server = proxy(
        &[&peer],
        "proxy_request_buffering off; client_max_body_size 0;",
    );
    let length = 16 << 20;
    let mut client = server.connect(1);
    thread::scope(|scope| {
        let sending = scope.spawn(|| {
            client.send(format!(
                "POST /take/1000 HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\
                 Connection: close\r\n\r\n"
            ));
            client.send(pattern(length));
            client.answer("POST")
        });
        eventually("some of it was taken", || (peer.taken() > 0).then_some(()));
        peer.release();
        let answer = sending.join().expect("it ends well");
        assert_eq!(answer.status, 200);
        assert!(answer.body.len() > length / 2);
    });
}

#[test]
fn a_client_that_goes_has_its_stream_reset_before_and_after_the_head() {
    let peer = start();
    let server = proxy(&[&peer], "");
    for (count, path) in [(1, "/silent"), (2, "/head-only")] {
        let mut client = server.connect(1);
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        eventually("it has arrived", || {
            (peer.calls().len() == count).then_some(())
        });
        drop(client);
        let resets = eventually("the stream was reset", || {
            let resets = peer.resets();
            (resets.len() == count).then_some(resets)
        });
        assert_eq!(resets[count - 1], h2::Reason::CANCEL);
    }
    assert_eq!(peer.connections(), 1);
}

#[test]
fn a_peer_that_says_nothing_times_out_and_its_connection_begins_nothing_else() {
    let peer = start();
    let server = proxy(&[&peer], "proxy_read_timeout 100ms;");
    assert_eq!(ask(&server, "GET /silent").status, 504);
    assert_eq!(ask(&server, "GET /unary").status, 200);
    assert_eq!(peer.connections(), 2);
    let answer = ask(&server, "GET /head-only");
    assert!(answer.cut.is_some());
}

#[test]
fn limits_of_kept_connections_hold() {
    let peer = start();
    let server = Setup::new(format!(
        "worker_processes 1; events {{}} http {{ %COMMON%
            upstream two {{ server {0}; keepalive_requests 2; }}
            upstream none {{ server {0}; keepalive 0; }}
            server {{ listen %LISTEN1%; proxy_http_version 2;
                location /two/ {{ proxy_pass http://two/; }}
                location /none/ {{ proxy_pass http://none/; }}
            }} }}",
        peer.address()
    ))
    .start();
    for _ in 0..4 {
        assert_eq!(ask(&server, "GET /two/unary").status, 200);
    }
    assert_eq!(peer.connections(), 2);
    for _ in 0..2 {
        assert_eq!(ask(&server, "GET /none/unary").status, 200);
    }
    assert_eq!(peer.connections(), 4);
}

#[test]
fn a_peer_that_does_not_agree_to_it_is_a_failure_that_says_so() {
    let pair = Authority::new().issue(&["peer.test"]);
    let peer = SecureBackend::start(&pair, &[b"http/1.1"], |stream| {
        while stream.conn.is_handshaking() {
            if stream.conn.complete_io(&mut stream.sock).is_err() {
                return;
            }
        }
    });
    let server = Setup::http(&format!(
        "server {{ listen %LISTEN1%; proxy_http_version 2;
            location / {{ proxy_pass https://{}; }} }}",
        peer.address()
    ))
    .start();
    assert_eq!(ask(&server, "GET /").status, 502);
    eventually("it is in the log", || {
        let said = server.said();
        let is_told = said.contains("upstream did not agree to HTTP/2")
            || said.contains("received fatal alert: NoApplicationProtocol");
        is_told.then_some(())
    });
}

#[test]
fn a_peer_that_speaks_something_else_is_a_failure() {
    let peer = crate::support::backend::Backend::start();
    let server = Setup::http(&format!(
        "server {{ listen %LISTEN1%; proxy_http_version 2; proxy_read_timeout 5s;
            location / {{ proxy_pass http://{}; }} }}",
        peer.address()
    ))
    .start();
    assert_eq!(ask(&server, "GET /").status, 502);
}
