//! `llm_gateway`: providers that want more than an address, and their keys.

use serde_json::{Value, json};

use crate::support::backend::{Backend, Then};
use crate::support::client::Answer;
use crate::support::model::{self, WORDS};
use crate::support::server::{Server, Setup, eventually};

fn before(backend: &Backend, provider: &str) -> Setup {
    Setup::http(&format!(
        "llm_provider p {{ {provider} }}
         server {{ listen %LISTEN1%; location / {{ llm_gateway anybody; }} }}"
    ))
    .set("P", backend.address())
    .file("key", "first-key-0123456789\n")
}

fn post(server: &Server, path: &str, fields: &str, call: &Value) -> Answer {
    let body = call.to_string();
    let length = body.len();
    server.connect(1).ask(&format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
    ))
}

fn chat(server: &Server) -> Answer {
    let call = json!({ "model": "p/say", "messages": [{ "role": "user", "content": "Hello?" }] });
    post(server, "/v1/chat/completions", "", &call)
}

/// The line of the last request that a provider got.
fn last_line(backend: &Backend) -> String {
    backend.seen().last().expect("a request").head.line.clone()
}

#[test]
fn azure_is_asked_at_its_deployments_with_its_own_field_for_the_key() {
    let backend = model::openai();
    let common = "api azure; base_url http://%P%; api_key file:%PREFIX%/key;";
    for (more, path) in [
        ("", "/openai/v1/chat/completions"),
        (
            "api_version 2024-10-21;",
            "/openai/deployments/say/chat/completions?api-version=2024-10-21",
        ),
        (
            "api_version 2024-10-21; deployment ours;",
            "/openai/deployments/ours/chat/completions?api-version=2024-10-21",
        ),
    ] {
        let server = before(&backend, &format!("{common} {more}")).start();
        let answer = chat(&server);
        assert_eq!(answer.status, 200, "{more}: {}", answer.text());
        assert_eq!(last_line(&backend), format!("POST {path} HTTP/1.1"));
        let seen = backend.seen();
        let head = &seen.last().expect("a request").head;
        assert_eq!(head.value("api-key"), Some("first-key-0123456789"));
        assert_eq!(head.value("Authorization"), None);
        let vectors = json!({ "model": "p/embed", "input": "ab" });
        let answer = post(&server, "/v1/embeddings", "", &vectors);
        assert_eq!(answer.status, 200, "{more}: {}", answer.text());
        assert!(last_line(&backend).contains("/embeddings"), "{more}");
    }
}

#[test]
fn clients_of_responses_are_served_by_providers_that_do_not_know_them() {
    let backend = model::openai();
    let call = json!({ "model": "p/say", "input": "Hello?" });
    for (api, path) in [
        ("vllm", "/v1/responses"),
        ("deepseek", "/v1/chat/completions"),
        ("oneapi", "/v1/chat/completions"),
    ] {
        let server = before(&backend, &format!("api {api}; base_url http://%P%/v1;")).start();
        let answer = post(&server, "/v1/responses", "", &call);
        assert!(answer.text().contains(&WORDS.concat()), "{api}: {answer:?}");
        assert_eq!(
            last_line(&backend),
            format!("POST {path} HTTP/1.1"),
            "{api}"
        );
    }
}

#[test]
fn another_gateway_gets_every_format_as_it_came() {
    let backend = model::anthropic();
    let hub = Setup::http(
        "llm_provider far { api anthropic; base_url http://%P%; }
         log_format calls '$http_x_gateway_id|$llm_model|$llm_outcome';
         server { listen %LISTEN1%; access_log calls.log calls; location / { llm_gateway anybody; } }",
    )
    .set("P", backend.address())
    .start();
    let server = before(
        &backend,
        "api openclaw; base_url http://127.0.0.1:%HUB%; api_key file:%PREFIX%/key;
         header X-Gateway-Id laptop;",
    )
    .set("HUB", hub.port(1))
    .start();
    let call = json!({ "model": "p/far/say", "max_tokens": 9, "of_tomorrow": 1.50,
        "messages": [{ "role": "user", "content": "Hello?" }] });
    let fields = "anthropic-version: 2026-10-21\r\nanthropic-beta: tomorrow\r\n";
    let answer = post(&server, "/v1/messages", fields, &call);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = backend.seen();
    let asked = seen.last().expect("a request");
    assert_eq!(asked.head.value("anthropic-version"), Some("2026-10-21"));
    assert_eq!(asked.head.value("anthropic-beta"), Some("tomorrow"));
    let expected = call.to_string().replace("p/far/say", "say");
    assert_eq!(String::from_utf8_lossy(&asked.body), expected);

    let call =
        json!({ "model": "p/far/say", "messages": [{ "role": "user", "content": "Hello?" }] });
    let answer = post(&server, "/v1/chat/completions", "", &call);
    let told: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(told["choices"][0]["message"]["content"], WORDS.concat());
    let contents = json!({ "contents": [{ "role": "user", "parts": [{ "text": "Hello?" }] }] });
    let path = "/v1beta/models/p%2Ffar%2Fsay:streamGenerateContent?alt=sse";
    let answer = post(&server, path, "", &contents);
    assert!(
        answer.text().contains("\"text\":\"Hel\""),
        "{}",
        answer.text()
    );
    // An error of the far gateway is one here, in the client's words.
    let call = json!({ "model": "p/nothing", "max_tokens": 9, "messages": [] });
    let answer = post(&server, "/v1/messages", fields, &call);
    assert_eq!(answer.status, 404, "{}", answer.text());
    let told: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(told["error"]["type"], "not_found_error");
    let log = eventually("the log", || {
        let log = std::fs::read_to_string(hub.site().prefix.join("calls.log")).ok()?;
        (log.lines().count() == 4).then_some(log)
    });
    assert!(log.lines().all(|line| line.starts_with("laptop|")), "{log}");
}

#[test]
fn a_key_that_was_refused_is_forgotten_when_another_stands_in_its_file() {
    let backend = Backend::scripted(|exchange| {
        let _ = exchange.read_body();
        let key = exchange
            .seen
            .head
            .value("Authorization")
            .unwrap_or_default();
        let (status, body) = match key == "Bearer second-key-9876543210" {
            true => (
                200,
                "{\"choices\":[{\"message\":{\"content\":\"Hi\"},\"finish_reason\":\"stop\"}]}",
            ),
            false => (
                401,
                "{\"error\":{\"message\":\"no\",\"code\":\"invalid_api_key\"}}",
            ),
        };
        let length = body.len();
        exchange.send(format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"));
        Then::NextRequest
    });
    let provider = "base_url http://%P%/v1; api_key file:%PREFIX%/key;";
    let server = before(&backend, provider).start();
    for _ in 0..2 {
        assert!(chat(&server).status >= 500);
    }
    assert_eq!(
        backend.seen().len(),
        1,
        "it is not asked with a key it refused"
    );
    std::fs::write(server.site().prefix.join("key"), "second-key-9876543210\n").expect("written");
    eventually("the new key is tried", || {
        (chat(&server).status == 200).then_some(())
    });
}

#[test]
fn a_key_that_is_replaced_is_used_without_a_reload() {
    let backend = model::openai();
    let provider = "base_url http://%P%/v1; api_key file:%PREFIX%/key;";
    let server = before(&backend, provider).start();
    assert_eq!(chat(&server).status, 200);
    let said = |backend: &Backend| {
        let seen = backend.seen();
        let head = &seen.last().expect("a request").head;
        head.value("Authorization").unwrap_or_default().to_owned()
    };
    assert_eq!(said(&backend), "Bearer first-key-0123456789");
    // As those who replace it do: a new file in the place of the old.
    let path = server.site().prefix.join("key");
    std::fs::write(path.with_extension("new"), "second-key-9876543210\n").expect("written");
    std::fs::rename(path.with_extension("new"), &path).expect("replaced");
    eventually("the new key is used", || {
        assert_eq!(chat(&server).status, 200);
        (said(&backend) == "Bearer second-key-9876543210").then_some(())
    });
}
