//! Providers that cannot take what comes: who fails is left out, who has no room is told of.

use std::io::{ErrorKind, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::gateway::{chat, openclaw};
use crate::support::backend::{Backend, Stream, Then};
use crate::support::model;
use crate::support::server::{Server, Setup, eventually};

fn start(one: &Backend, lines: &str) -> Server {
    Setup::http(&format!(
        "{lines}
         server {{ listen %LISTEN1%; location / {{ llm_gateway anybody; }} }}"
    ))
    .set("ONE", one.address())
    .start()
}

/// The first alert of a kind.
fn alert(server: &Server, kind: &str) -> Value {
    eventually(&format!("{kind} is told"), || {
        let told: Value =
            serde_json::from_str(&openclaw(server, &["alerts", "--json"])).expect("JSON");
        let alerts = told["alerts"].as_array().expect("a list").iter();
        alerts.rev().find(|alert| alert["kind"] == kind).cloned()
    })
}

#[test]
fn a_provider_that_fails_25_times_in_a_row_does_not_stay_in_rotation() {
    let one = model::openai();
    let server = start(
        &one,
        "llm_provider one { base_url http://%ONE%/v1; }
         llm_provider two { base_url http://%ONE%/v1; }
         llm_model chat { strategy ordered; target one/status-500; target two/say; }",
    );
    let begun = std::time::Instant::now();
    // Another model of the same provider works.
    assert_eq!(chat(&server, "one/say", json!({})).status, 200);
    for _ in 0..25 {
        let answer = chat(&server, "chat", json!({}));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let calls = one.seen();
    let failed = calls.iter().filter(|call| {
        let body: Value = serde_json::from_slice(&call.body).unwrap_or_default();
        body["model"] == "status-500"
    });
    // A probe every ten seconds, if this takes so long.
    let probes = begun.elapsed().as_secs() as usize / 10;
    let failed = failed.count();
    assert!((5..=5 + probes).contains(&failed), "{failed}");
    let told = alert(&server, "circuit.open");
    assert_eq!(told["subject"], "one/status-500");
    let text = told["text"].as_str().expect("words");
    assert!(text.contains("5 failures in a row") || probes > 0, "{text}");
}

#[test]
fn a_provider_that_fails_stands_in_one_place_only() {
    let one = model::openai();
    let server = start(
        &one,
        "llm_provider one { base_url http://%ONE%/v1; }
         llm_provider two { base_url http://%ONE%/v1; }
         upstream app { server %ONE%; }",
    );
    for _ in 0..6 {
        chat(&server, "one/status-500", json!({}));
    }
    let said = |words: &[&str]| openclaw(&server, words);
    let status = eventually("it is given up", || {
        let status = said(&["status"]);
        status.contains("one open").then_some(status)
    });
    assert!(status.contains("providers     1 of 2 ready"), "{status}");
    // Its address is that of the other one, too, and of an upstream that somebody has written down.
    assert!(
        status.contains("backends      1 up, 0 drain, 0 failed, 0 down"),
        "{status}"
    );
    let listed: Value = serde_json::from_str(&said(&["backends", "--json"])).expect("JSON");
    let upstreams = listed["upstreams"].as_array().expect("a list");
    let names: Vec<_> = upstreams.iter().map(|upstream| &upstream["name"]).collect();
    assert_eq!(names, ["app"]);
}

#[test]
fn a_queue_that_turns_calls_away_is_told() {
    let one = model::openai();
    let server = start(
        &one,
        "llm_provider one { base_url http://%ONE%/v1; max_connections 1; queue 1 timeout=20ms; }",
    );
    let call = json!({ "model": "one/hang", "stream": true, "messages": [] }).to_string();
    let mut held = server.connect(1);
    held.send(format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{call}",
        call.len()
    ));
    eventually("it is under way", || (one.seen().len() == 1).then_some(()));
    // What was before the first look is not news, so calls go on until one is told.
    let told = eventually("it is told", || {
        assert_eq!(chat(&server, "one/late", json!({})).status, 503);
        let told: Value =
            serde_json::from_str(&openclaw(&server, &["alerts", "--json"])).expect("JSON");
        let alerts = told["alerts"].as_array()?.iter();
        alerts
            .rev()
            .find(|it| it["kind"] == "queue.saturated")
            .cloned()
    });
    assert_eq!(told["subject"], "one");
    let text = told["text"].as_str().expect("words");
    assert!(
        text.contains("the provider `one` has no room for"),
        "{text}"
    );
}

/// The memory of a process that is in use, in bytes.
fn memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.expect("a number").parse::<u64>().expect("kB") << 10
}

#[test]
fn a_client_that_does_not_read_makes_its_provider_wait() {
    /// More than what the system keeps of a connection in all its buffers.
    const ALL: usize = 96 << 20;
    const PIECES: usize = ALL / PIECE;
    const PIECE: usize = 64 << 10;
    let sent = Arc::new(AtomicUsize::new(0));
    let stalls = Arc::new(AtomicUsize::new(0));
    let is_gone = Arc::new(AtomicBool::new(false));
    let one = {
        let (sent, stalls, is_gone) = (sent.clone(), stalls.clone(), is_gone.clone());
        Backend::scripted(move |exchange| {
            if exchange.read_body().is_err() {
                return Then::Close;
            }
            exchange.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
            let Stream::Tcp(stream) = &mut exchange.reader.stream else {
                return Then::Close;
            };
            // Nobody who reads lets a provider wait so long.
            let patience = Some(Duration::from_millis(700));
            stream.set_write_timeout(patience).expect("a socket");
            let piece =
                json!({ "choices": [{ "index": 0, "delta": { "content": "x".repeat(PIECE) } }] });
            let event = format!("data: {piece}\n\n");
            for _ in 0..PIECES {
                let mut left = event.as_bytes();
                while !left.is_empty() {
                    match stream.write(left) {
                        Ok(count) => {
                            sent.fetch_add(count, Ordering::SeqCst);
                            left = &left[count..];
                        }
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {
                            stalls.fetch_add(1, Ordering::SeqCst);
                        }
                        Err(_) => {
                            is_gone.store(true, Ordering::SeqCst);
                            return Then::Close;
                        }
                    }
                }
            }
            Then::Close
        })
    };
    let server = start(
        &one,
        "llm_provider one { base_url http://%ONE%/v1; retries 0; }",
    );
    let before = memory(server.pid());
    // As it comes, and said in another format.
    for path in ["/v1/chat/completions", "/v1/messages"] {
        sent.store(0, Ordering::SeqCst);
        stalls.store(0, Ordering::SeqCst);
        is_gone.store(false, Ordering::SeqCst);
        let call = json!({ "model": "one/say", "stream": true, "max_tokens": 9,
            "messages": [{ "role": "user", "content": "Hello?" }] })
        .to_string();
        let mut client = server.connect(1);
        client.send(format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{call}",
            call.len()
        ));
        let stalled = eventually("the provider waits", || {
            let stalls = stalls.load(Ordering::SeqCst);
            (stalls > 0).then(|| sent.load(Ordering::SeqCst))
        });
        assert!(stalled < ALL / 2, "{path}: {stalled} bytes were taken");
        let more = memory(server.pid()).saturating_sub(before);
        assert!(more < 24 << 20, "{path}: {more} bytes more");
        // It goes on when the client does.
        client.bytes(24 << 20).expect("more of the stream");
        eventually("the provider goes on", || {
            (sent.load(Ordering::SeqCst) > stalled).then_some(())
        });
        drop(client);
        eventually("the provider is left", || {
            is_gone.load(Ordering::SeqCst).then_some(())
        });
    }
}
