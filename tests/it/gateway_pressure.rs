//! Providers that cannot take what comes: who fails is left out, who has no room is told of.

use serde_json::{Value, json};

use crate::gateway::{chat, openclaw};
use crate::support::backend::Backend;
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
