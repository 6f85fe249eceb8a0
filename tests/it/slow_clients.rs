//! Clients that take their time on purpose: the others are served meanwhile, and they are let go.

use openclaw::protocol::Summary;

use crate::control::Control;
use crate::support::client::Client;
use crate::support::server::{Server, Setup, eventually};

/// So many clients of one kind at a time; the worker has room for hardly more.
const ATTACKERS: usize = 60;

/// So many others meanwhile.
const GOOD: usize = 40;

fn server() -> Server {
    Setup::new(
        "worker_processes 1;
         events { worker_connections 128; }
         http {
             %COMMON%
             client_header_timeout 2s; client_body_timeout 2s; send_timeout 2s; keepalive_timeout 2s;
             server {
                 listen %LISTEN1%;
                 root www;
                 location /upload { proxy_pass http://%DEAD1%; }
             }
         }",
    )
    .file("www/index.html", "hello")
    .file("www/large", vec![b'x'; 8 << 20])
    .start()
}

/// Lets attackers do their work, and looks what others get.
fn attack(begin: &str, is_answered: bool) {
    let server = server();
    let control = Control::of(&server);
    let mut attackers: Vec<Client> = (0..ATTACKERS).map(|_| server.connect(1)).collect();
    for attacker in &mut attackers {
        attacker.send(begin);
    }
    eventually("they are all there", || {
        let summary: Summary = control.must_get("/v1/summary");
        (summary.connections >= ATTACKERS as u64).then_some(())
    });
    let served = (0..GOOD)
        .filter(|_| {
            let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
            let mut client = server.connect(1);
            client.send(request);
            matches!(client.next_answer("GET"), Ok(answer) if answer.status == 200)
        })
        .count();
    assert!(served * 100 >= GOOD * 95, "{served} of {GOOD}");
    eventually("they are let go", || {
        let summary: Summary = control.must_get("/v1/summary");
        (summary.connections == 0).then_some(())
    });
    for mut attacker in attackers {
        let answer = attacker.next_answer("GET");
        let is_whole = answer.is_ok_and(|answer| answer.cut.is_none());
        assert_eq!(is_whole, is_answered);
    }
}

#[test]
fn heads_that_never_end_harm_nobody() {
    attack("GET / HTTP/1.1\r\nHost: a\r\nX-A: b\r\n", false);
}

#[test]
fn bodies_that_never_come_harm_nobody() {
    let head = "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nslow";
    // It is told that it took too long.
    attack(head, true);
}

#[test]
fn answers_that_nobody_reads_harm_nobody() {
    attack("GET /large HTTP/1.1\r\nHost: a\r\n\r\n", false);
}

#[test]
fn connections_that_only_wait_harm_nobody() {
    attack("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true);
}
