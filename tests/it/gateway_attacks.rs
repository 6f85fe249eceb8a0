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
         log_format all '$request $request_uri $uri $args $http_referer $http_x_api_key';
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
    let inside = format!("/nowhere/{key}");
    for path in [
        "/closed/v1/x",
        "/few/v1/x",
        "/few/v1/x",
        "/nowhere",
        &inside,
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

#[test]
fn an_answer_that_tells_no_usage_costs_who_has_a_budget_all_that_was_held() {
    let one = saying(whole("audio/mpeg", "ID3"));
    let server = gateway(&one, "");
    let key = key(&server, "bounded", &["--budget", "0.05/total"]);
    let call = json!({ "model": "one/voice", "input": "Hello", "voice": "alloy" });
    let status = || post(&server, "/v1/audio/speech", &bearer(&key), &call).status;
    assert_eq!(status(), 200);
    // Ten dollars for a million tokens, of which 4096 were held.
    let row = row(&server, 1);
    assert!(
        row["cost"].as_str().expect("dollars").starts_with("0.0409"),
        "{row}"
    );
    assert_eq!(status(), 402);
    assert_eq!(one.seen().len(), 1);
}

#[test]
fn a_call_in_the_background_is_answered_once_and_paid() {
    let queued = json!({ "id": "resp_1", "object": "response", "created_at": 1, "model": "m",
        "status": "queued", "error": null, "output": [], "usage": null });
    let (one, two) = (saying(ok(&queued)), saying(ok(&queued)));
    let server = Setup::http(
        "llm_provider one { api openai; base_url http://%ONE%/v1; } llm_price * in=1 out=10;
         llm_provider two { api openai; base_url http://%TWO%/v1; }
         llm_model chat { target one/m; target two/m backup; }
         server { listen %LISTEN1%; location / { llm_gateway; } }",
    )
    .set("ONE", one.address())
    .set("TWO", two.address())
    .start();
    let key = key(&server, "bounded", &["--budget", "0.015/total"]);
    let call = json!({ "model": "chat", "input": "Hello", "background": true,
        "max_output_tokens": 1000 });
    let answer = post(&server, "/v1/responses", &bearer(&key), &call);
    assert_eq!(
        (answer.status, &read(&answer)["id"]),
        (200, &json!("resp_1"))
    );
    assert_eq!((one.seen().len(), two.seen().len()), (1, 0));
    // What it will use nobody is told: all that was held for it counts.
    let row = row(&server, 1);
    assert!(
        row["cost"].as_str().expect("dollars").starts_with("0.0100"),
        "{row}"
    );
    assert_eq!(
        post(&server, "/v1/responses", &bearer(&key), &call).status,
        402
    );
}

#[test]
fn more_is_held_for_a_call_that_asks_for_more() {
    let one = saying(completion(
        &json!({ "prompt_tokens": 1, "completion_tokens": 1 }),
    ));
    let server = gateway(
        &one,
        "llm_price one/tiers in=0 out=10 priority_out=20; llm_price one/pictures in=0 out=1;
         llm_provider google { api gemini; base_url http://%ONE%; } llm_price google/* in=0 out=10;",
    );
    let key = key(&server, "bounded", &["--budget", "0.0199/total"]);
    let says = |path: &str, call: Value| post(&server, path, &bearer(&key), &call).status;
    let texts: Vec<_> = (0..4).map(|_| "Hello").collect();
    // Each of these may have more than two thousand tokens in its answers, at ten dollars a million.
    for (path, call) in [
        (
            "/v1/completions",
            json!({ "model": "one/m", "prompt": texts, "max_tokens": 500 }),
        ),
        (
            "/v1/completions",
            json!({ "model": "one/m", "prompt": [[1, 2], [3]], "n": 2, "max_tokens": 500 }),
        ),
        (
            "/v1/chat/completions",
            json!({ "model": "one/m", "messages": [], "max_tokens": "2000" }),
        ),
        (
            "/v1/chat/completions",
            json!({ "model": "one/m", "messages": [], "max_tokens": 500, "n": "4" }),
        ),
        (
            "/v1/chat/completions",
            json!({ "model": "one/m", "messages": [], "max_tokens": 1e30 }),
        ),
        (
            "/v1beta/models/google/m:generateContent",
            json!({ "contents": [], "generationConfig":
                { "maxOutputTokens": "500", "candidateCount": "4" } }),
        ),
        (
            "/v1/chat/completions",
            json!({ "model": "one/tiers", "messages": [], "max_tokens": 1000,
                "service_tier": "priority" }),
        ),
    ] {
        assert_eq!(says(path, call.clone()), 402, "{path} {call}");
    }
    // A form says how many as well.
    let part = |name: &str, value: &str| {
        format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let form =
        part("model", "one/pictures") + &part("prompt", "A hat") + &part("n", "10") + "--b--\r\n";
    let answer = server.connect(1).ask(&format!(
        "POST /v1/images/edits HTTP/1.1\r\nHost: a\r\n{}Content-Length: {}\r\n\
         Content-Type: multipart/form-data; boundary=b\r\n\r\n{form}",
        bearer(&key),
        form.len()
    ));
    assert_eq!(answer.status, 402, "{}", answer.text());
    assert_eq!(one.seen().len(), 0);
    for call in [
        json!({ "model": "one/m", "prompt": [1, 2, 3, 4, 5], "max_tokens": 500 }),
        json!({ "model": "one/m", "prompt": "Hello", "max_tokens": 500 }),
    ] {
        assert_eq!(says("/v1/completions", call.clone()), 200, "{call}");
    }
}

#[test]
fn a_call_that_was_answered_faster_costs_more() {
    let answer = |more: Value| {
        let mut usage = json!({ "input_tokens": 1000, "output_tokens": 0 });
        for (name, value) in more.as_object().expect("members") {
            usage[name] = value.clone();
        }
        ok(
            &json!({ "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-opus-5",
            "content": [{ "type": "text", "text": "Hi" }], "stop_reason": "end_turn",
            "stop_sequence": null, "usage": usage }),
        )
    };
    // What the provider says it did counts, and what was asked for where it says nothing.
    for (told, cost) in [
        (json!({}), "0.01"),
        (json!({ "speed": "standard" }), "0.005"),
        (json!({ "speed": "fast", "inference_geo": "us" }), "0.011"),
        (
            json!({ "speed": "standard", "inference_geo": "us" }),
            "0.0055",
        ),
    ] {
        let one = saying(answer(told.clone()));
        let server = Setup::http(
            "llm_provider claude { api anthropic; base_url http://%ONE%; }
             server { listen %LISTEN1%; location / { llm_gateway anybody; } }",
        )
        .set("ONE", one.address())
        .start();
        let call = json!({ "model": "claude/claude-opus-5", "max_tokens": 10, "speed": "fast",
            "messages": [{ "role": "user", "content": "Hello" }] });
        let answer = post(&server, "/v1/messages", "", &call);
        assert_eq!(answer.value("x-openclaw-cost"), Some(cost), "{told}");
    }
}

#[test]
fn what_a_provider_bills_is_read_however_it_writes_the_number() {
    for (billed, cost) in [
        ("1.2e-05", "0.000012"),
        ("0.00014000000000000001", "0.00014"),
        // Nobody is paid for being asked.
        ("-5", "0.000011"),
        ("1e400", "0.000011"),
    ] {
        let usage = format!("{{\"prompt_tokens\":1,\"completion_tokens\":1,\"cost\":{billed}}}");
        let body = completion(&json!("USAGE"));
        let (_, body) = body.split_once("\r\n\r\n").expect("a body");
        let one = saying(whole(
            "application/json",
            &body.replace("\"USAGE\"", &usage),
        ));
        let server = gateway(&one, "");
        let key = key(&server, "k", &[]);
        let call = json!({ "model": "one/m", "messages": [] });
        let answer = post(&server, "/v1/chat/completions", &bearer(&key), &call);
        assert_eq!(answer.value("x-openclaw-cost"), Some(cost), "{billed}");
    }
}

#[test]
fn interim_answers_of_a_provider_reach_no_client() {
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n".repeat(200);
    let end = completion(&json!({ "prompt_tokens": 1, "completion_tokens": 1 }));
    let one = saying(interim + &end);
    let server = gateway(&one, "");
    let key = key(&server, "k", &[]);
    let call = json!({ "model": "one/m", "messages": [] });
    let answer = post(&server, "/v1/chat/completions", &bearer(&key), &call);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.value("Link"), None);
}

#[test]
fn a_model_that_nobody_would_see_has_no_name() {
    let one = model::openai();
    let server = gateway(&one, "");
    let key = key(&server, "k", &[]);
    for name in [
        "one/\u{202e}yas",
        "one/s\u{200b}ay",
        "one/say\u{feff}",
        "one/\u{1b}[31m",
    ] {
        let call = json!({ "model": name, "messages": [] });
        let answer = post(&server, "/v1/chat/completions", &bearer(&key), &call);
        assert_eq!(answer.status, 400, "{name:?}");
    }
    assert_eq!(one.seen().len(), 0);
}

#[test]
fn a_compressed_call_is_refused_by_its_name() {
    let one = model::openai();
    let server = gateway(&one, "");
    let key = key(&server, "k", &[]);
    let call = json!({ "model": "one/say", "messages": [] });
    let fields = |coding: &str| bearer(&key) + &format!("Content-Encoding: {coding}\r\n");
    let answer = post(&server, "/v1/chat/completions", &fields("gzip"), &call);
    assert_eq!(answer.status, 415);
    let message = read(&answer)["error"]["message"].to_string();
    assert!(message.contains("`Content-Encoding: gzip`"), "{message}");
    // Some clients write something else there.
    let answer = post(&server, "/v1/chat/completions", &fields("utf-8"), &call);
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn tokens_are_counted_for_nothing() {
    let one = saying(ok(&json!({ "input_tokens": 1000 })));
    let server = Setup::http(
        "llm_provider claude { api anthropic; base_url http://%ONE%; }
         server { listen %LISTEN1%; location / { llm_gateway; } }",
    )
    .set("ONE", one.address())
    .start();
    let key = key(
        &server,
        "bounded",
        &["--budget", "0.0000001/total", "--tpm", "10"],
    );
    // One model has a price and one has none; neither has room for what is counted.
    for model in ["claude/claude-opus-5", "claude/nobody-knows"] {
        let call = json!({ "model": model,
            "messages": [{ "role": "user", "content": "one two three four five ".repeat(10) }] });
        let answer = post(&server, "/v1/messages/count_tokens", &bearer(&key), &call);
        assert_eq!(
            (answer.status, &read(&answer)["input_tokens"]),
            (200, &json!(1000))
        );
        assert_eq!(answer.value("x-openclaw-cost"), Some("0.00"));
    }
    let row = row(&server, 2);
    assert_eq!(
        (&row["cost"], &row["input"]),
        (&json!("0.00"), &json!(0)),
        "{row}"
    );
}
