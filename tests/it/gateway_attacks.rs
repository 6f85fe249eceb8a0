//! The gateway among people who want something for nothing: clients with a valid key, and providers that
//! do not do what their documents say.

use serde_json::{Value, json};

use crate::gateway::{key, openclaw, post, read};
use crate::support::backend::{Backend, Then};
use crate::support::model;
use crate::support::server::{Server, Setup, eventually};

/// A provider that gives every call the same answer, head and all.
fn saying(answer: String) -> Backend {
    Backend::scripted(move |exchange| {
        if exchange.read_body().is_err() || !exchange.send(&answer) {
            return Then::Close;
        }
        Then::NextRequest
    })
}

fn whole(content_type: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

fn ok(body: &Value) -> String {
    whole("application/json", &body.to_string())
}

/// What OpenAI says, with this usage.
fn completion(usage: &Value) -> String {
    ok(
        &json!({ "id": "c", "object": "chat.completion", "created": 1, "model": "m", "usage": usage,
        "choices": [{ "index": 0, "finish_reason": "stop",
            "message": { "role": "assistant", "content": "Hi" } }] }),
    )
}

/// A gateway before one provider; its models cost a dollar for a million tokens in and ten for one out.
fn gateway(one: &Backend, more: &str) -> Server {
    Setup::http(&format!(
        "llm_provider one {{ base_url http://%ONE%/v1; }} llm_price one/* in=1 out=10; {more}
         server {{ listen %LISTEN1%; location / {{ llm_gateway; }} }}"
    ))
    .set("ONE", one.address())
    .start()
}

/// The last call of the ledger, as the control socket tells it, once there are so many.
fn row(server: &Server, count: usize) -> Value {
    eventually("the call is settled", || {
        let told = openclaw(server, &["spend", "--by", "key", "--json"]);
        let told: Value = serde_json::from_str(&told).expect("JSON");
        let row = told["rows"].as_array()?.first()?.clone();
        (row["calls"].as_u64() >= Some(count as u64)).then_some(row)
    })
}

fn bearer(key: &str) -> String {
    format!("Authorization: Bearer {key}\r\n")
}

#[test]
fn a_key_in_a_query_stands_in_no_log_where_nobody_asked_for_it() {
    let one = model::openai();
    let server = Setup::http(
        "llm_provider one { base_url http://%ONE%/v1; }
         log_format all '$request $request_uri $args $http_referer $http_x_api_key';
         limit_req_zone $binary_remote_addr zone=few:1m rate=1r/m;
         server { listen %LISTEN1%; access_log all.log all;
            location /closed/ { deny all; llm_gateway; }
            location /few/ { limit_req zone=few; llm_gateway; }
            location /v1/ { llm_gateway; } }",
    )
    .set("ONE", one.address())
    .tolerate("access forbidden by rule")
    .tolerate("limiting requests")
    .tolerate("No such file")
    .start();
    let key = key(&server, "laptop", &[]);
    let mut statuses = Vec::new();
    for path in [
        "/closed/v1/x",
        "/few/v1/x",
        "/few/v1/x",
        "/nowhere",
        "/v1/%",
    ] {
        for name in ["key", "k%65y"] {
            let answer = server.connect(1).ask(&format!(
                "GET {path}?{name}={key}&a=1 HTTP/1.1\r\nHost: a\r\nX-Api-Key: {key}\r\n\
                 Referer: http://a/?key={key}\r\nConnection: close\r\n\r\n"
            ));
            statuses.push(answer.status);
        }
    }
    for expected in [403, 503, 404, 400] {
        assert!(statuses.contains(&expected), "{statuses:?}");
    }
    let access = eventually("the log", || {
        let log = server.read("all.log");
        (log.lines().count() == statuses.len()).then_some(log)
    });
    let logs = access + &server.said() + &server.read("error.log");
    assert!(!logs.contains(&key[..20]), "{logs}");
    // Whose it was is still told.
    assert!(logs.contains(&format!("key={}***", &key[..9])), "{logs}");
}
