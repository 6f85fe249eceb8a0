//! What people see of the gateway to language models: fields of answers, lines of logs, metrics, and
//! whether providers answer.

use std::process::Output;

use openclaw::protocol::{LlmNow, ModelCall, ModelCalls, ProviderTests, SpendReport, Summary};
use serde_json::{Value, json};

use crate::control::Control;
use crate::support::backend::{Backend, Then};
use crate::support::client::Answer;
use crate::support::model;
use crate::support::server::{Server, Setup, eventually};

fn gateway(provider: &Backend) -> Server {
    Setup::http(
        "llm_provider one { base_url http://%ONE%/v1; api_key file:%PREFIX%/one.key; }
         llm_provider lost { base_url http://127.0.0.1:1; api anthropic; }
         server { listen %LISTEN1%; access_log llm.log llm_json if=$llm_json;
            location /v1/ { llm_gateway anybody; } location / { return 204; }
            location = /metrics { metrics; } }",
    )
    .set("ONE", provider.address())
    .file("one.key", "sk-of-one-0123456789\n")
    .start()
}

fn chat(server: &Server, model: &str, more: Value) -> Answer {
    let mut call = json!({ "model": model, "messages": [{ "role": "user", "content": "Hello?" }] });
    for (name, value) in more.as_object().expect("members") {
        call[name] = value.clone();
    }
    let body = call.to_string();
    let length = body.len();
    server.connect(1).ask(&format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: ai.example\r\nX-Gateway-Id: pi\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    ))
}

fn openclaw(server: &Server, words: &[&str]) -> Output {
    server.openclaw(words).output().expect("the program runs")
}

#[test]
fn an_answer_tells_what_it_costs_and_each_call_is_a_line_of_json() {
    let one = model::openai();
    let server = gateway(&one);
    let whole = chat(&server, "one/gpt-4o", json!({}));
    assert_eq!(whole.status, 200, "{}", whole.text());
    assert_eq!(whole.value("x-openclaw-cost"), Some("0.0001375"));
    let streamed = chat(&server, "one/gpt-4o", json!({ "stream": true }));
    // What it costs is not known while its head is written.
    assert_eq!(streamed.value("x-openclaw-cost"), None);
    let unpriced = chat(&server, "one/say", json!({}));
    assert_eq!(unpriced.value("x-openclaw-cost"), Some("unknown"));
    for answer in [&whole, &streamed, &unpriced] {
        let own = answer.value("x-openclaw-overhead-us").expect("a field");
        assert!(own.parse::<u64>().is_ok(), "{own}");
    }
    // What is no call leaves no line.
    let other = server
        .connect(1)
        .ask("GET / HTTP/1.1\r\nHost: ai.example\r\n\r\n");
    assert_eq!(other.status, 204);

    let lines: Vec<Value> = eventually("the log", || {
        let log = std::fs::read_to_string(server.site().prefix.join("llm.log")).ok()?;
        let lines: Vec<Value> = log
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("JSON: {line}")))
            .collect();
        (lines.len() == 3).then_some(lines)
    });
    assert!(!lines[0].to_string().contains("Hello"), "{}", lines[0]);
    assert_eq!(
        lines[0]["request_id"],
        whole.value("x-request-id").expect("an id")
    );
    for line in &lines[..2] {
        assert_eq!(line["cost_dollars"], 0.000_137_5, "{line}");
        assert_eq!(
            (&line["status"], &line["input_tokens"]),
            (&json!(200), &json!(9))
        );
        assert_eq!(
            (&line["cached_tokens"], &line["output_tokens"]),
            (&json!(4), &json!(12))
        );
        assert_eq!(
            (&line["gateway"], &line["outcome"]),
            (&json!("pi"), &json!("ok"))
        );
        assert_eq!(line["target"], "one/gpt-4o");
        assert!(line["seconds"].is_number() && line["upstream_seconds"].is_number());
        // A key there was none.
        assert_eq!(line.get("key"), None);
    }
    assert_eq!(lines[2].get("cost_dollars"), None);
}

#[test]
fn who_calls_is_read_where_the_configuration_says() {
    let one = model::openai();
    let server = Setup::http(
        "llm_provider one { base_url http://%ONE%/v1; }
         llm_tag gateway $http_x_team;
         server { listen %LISTEN1%; access_log who.log who;
            location /v1/ { llm_gateway anybody; }
            location /a/v1/ { llm_gateway anybody;
                llm_tag gateway $arg_of; llm_tag user $http_x_person; llm_tag node fixed; } }
         log_format who '$llm_gateway|$llm_user|$llm_target';",
    )
    .set("ONE", one.address())
    .start();
    let ask = |path: &str, fields: &str| {
        let body =
            r#"{"model":"one/gpt-4o","messages":[{"role":"user","content":"?"}],"user":"carl"}"#;
        let length = body.len();
        let answer = server.connect(1).ask(&format!(
            "POST {path} HTTP/1.1\r\nHost: ai.example\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
        ));
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    let long = format!("X-Team: {}\r\n", "x".repeat(200));
    ask(
        "/v1/chat/completions",
        "X-Team: blue\r\nX-Gateway-Id: pi\r\n",
    );
    ask(
        "/v1/chat/completions",
        "X-Gateway-Id: pi\r\nX-User: anna\r\n",
    );
    ask("/v1/chat/completions", "X-Team: a b/\u{e4}\r\n");
    ask("/v1/chat/completions", &long);
    ask(
        "/a/v1/chat/completions?of=hub",
        "X-Team: blue\r\nX-Person: berta\r\nX-User: anna\r\nX-Node-Id: n1\r\n",
    );
    let control = Control::of(&server);
    let spent = |by: &str| -> Vec<String> {
        eventually("the calls are over", || {
            let report: SpendReport = control.get(&format!("/v1/spend?by={by}")).ok()?;
            let calls: u64 = report.rows.iter().map(|row| row.calls).sum();
            let mut names: Vec<String> = report.rows.into_iter().map(|row| row.name).collect();
            names.sort();
            (calls == 5).then_some(names)
        })
    };
    let cut = "x".repeat(128);
    assert_eq!(spent("gateway"), ["", "a_b__", "blue", "hub", &cut]);
    assert_eq!(spent("user"), ["anna", "berta", "carl"]);
    let lines: Vec<String> = eventually("the log", || {
        let log = std::fs::read_to_string(server.site().prefix.join("who.log")).ok()?;
        let lines: Vec<String> = log.lines().map(str::to_owned).collect();
        (lines.len() == 5).then_some(lines)
    });
    let first = [
        "blue|carl|one/gpt-4o",
        "-|anna|one/gpt-4o",
        "a_b__|carl|one/gpt-4o",
    ];
    assert_eq!(lines[..3], first);
    assert_eq!(lines[4], "hub|berta|one/gpt-4o");
}

#[test]
fn a_place_may_have_the_version_of_the_api_in_its_path() {
    let one = model::openai();
    let server = Setup::http(
        "llm_provider one { base_url http://%ONE%/v1; }
         server { listen %LISTEN1%;
            location /v1/ { llm_gateway anybody; }
            location /v1/legal/ { llm_gateway anybody; llm_route one/gpt-4o-mini; } }",
    )
    .set("ONE", one.address())
    .start();
    let body =
        r#"{"model":"one/gpt-4o","max_tokens":9,"messages":[{"role":"user","content":"?"}]}"#;
    let ask = |path: &str| {
        let length = body.len();
        server.connect(1).ask(&format!(
            "POST {path} HTTP/1.1\r\nHost: ai.example\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    };
    for (path, model) in [
        ("/v1/chat/completions", "one/gpt-4o"),
        // Libraries of OpenAI add no version to an address, those of Anthropic do.
        ("/v1/legal/chat/completions", "one/gpt-4o-mini"),
        ("/v1/legal/v1/messages", "one/gpt-4o-mini"),
        ("/v1/legal/v1/chat/completions", "one/gpt-4o-mini"),
        ("/v1/v1/messages", "one/gpt-4o"),
    ] {
        let answer = ask(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_eq!(answer.value("x-openclaw-model"), Some(model), "{path}");
        let is_message = path.ends_with("messages");
        assert_eq!(
            answer.text().contains("\"type\":\"message\""),
            is_message,
            "{path}"
        );
    }
}

#[test]
fn the_ledger_and_the_metrics_tell_of_each_call() {
    let one = model::openai();
    let server = gateway(&one);
    assert_eq!(chat(&server, "one/gpt-4o", json!({})).status, 200);
    assert_eq!(
        chat(&server, "one/gpt-4o", json!({ "stream": true })).status,
        200
    );
    assert_eq!(chat(&server, "lost/claude", json!({})).status, 502);
    let control = Control::of(&server);
    let calls: ModelCalls = eventually("the calls are over", || {
        let calls: ModelCalls = control.get("/v1/llm/calls?limit=10").ok()?;
        let over = calls.calls.iter().filter(|call| call.state == "settled");
        (over.count() == 3).then_some(calls)
    });
    let [lost, streamed, whole] = &calls.calls[..] else {
        panic!("{calls:?}");
    };
    assert_eq!(
        (lost.outcome == "ok", lost.charged.as_str()),
        (false, "0.00")
    );
    assert!(lost.tried.starts_with("lost/claude:"), "{}", lost.tried);
    for call in [whole, streamed] {
        assert_eq!(
            (&*call.outcome, call.status, &*call.gateway),
            ("ok", 200, "pi")
        );
        assert_eq!((&*call.operation, &*call.tried), ("chat", "one/gpt-4o:ok"));
        assert_eq!(
            (
                call.tokens.input,
                call.tokens.cache_read,
                call.tokens.output
            ),
            (5, 4, 12)
        );
        assert_eq!(
            (&*call.charged, call.cost.as_deref()),
            ("0.0001375", Some("0.0001375"))
        );
    }
    let alone: ModelCall = control.must_get(&format!("/v1/llm/calls/{}", whole.id));
    assert_eq!(&alone, whole);
    let older: ModelCalls = control.must_get(&format!("/v1/llm/calls?before={}", streamed.id));
    assert_eq!(older.calls.len(), 1);

    let summary: Summary = control.must_get("/v1/summary");
    assert_eq!(summary.spent_today.as_deref(), Some("0.000275"));
    let now: LlmNow = *summary.llm.expect("a provider is there");
    assert_eq!((now.running, now.calls_per_minute <= 3), (0, true));

    let page = server
        .connect(1)
        .ask("GET /metrics HTTP/1.1\r\nHost: ai.example\r\n\r\n")
        .text();
    let of =
        r#"gen_ai_operation_name="chat",gen_ai_provider_name="one",gen_ai_request_model="gpt-4o""#;
    for line in [
        format!(r#"gen_ai_client_token_usage_sum{{{of},gen_ai_token_type="output"}} 24"#),
        format!("gen_ai_client_operation_duration_seconds_count{{{of}}} 2"),
        format!("gen_ai_client_operation_time_to_first_chunk_seconds_count{{{of}}} 1"),
        r#"openclaw_llm_spend_dollars_total{operation="chat",provider="one",model="gpt-4o",outcome="ok"} 0.000275"#.to_owned(),
        r#"openclaw_llm_caller_calls_total{by="gateway",name="pi"} 3"#.to_owned(),
        "openclaw_llm_in_flight 0".to_owned(),
    ] {
        assert!(page.lines().any(|told| told == line), "{line}\nin\n{page}");
    }
}

#[test]
fn providers_are_tested_with_their_keys_and_the_result_is_told_in_plain_words() {
    let provider = Backend::scripted(|exchange| {
        let is_let_in =
            exchange.seen.head.value("Authorization") == Some("Bearer sk-of-one-0123456789");
        let is_list = exchange.seen.head.line.starts_with("GET /v1/models ");
        let (status, body) = match (is_list, is_let_in) {
            (true, true) => (
                200,
                json!({ "object": "list", "data": [{ "id": "a" }, { "id": "b" }] }),
            ),
            (true, false) => (
                401,
                json!({ "error": { "message": "Incorrect API key sk-wrong-key" } }),
            ),
            _ => (404, json!({})),
        };
        let body = body.to_string();
        exchange.send(format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        Then::NextRequest
    });
    let server = gateway(&provider);
    let _ready = Control::of(&server);
    let tested = openclaw(&server, &["providers", "test", "one"]);
    let said = String::from_utf8_lossy(&tested.stdout).into_owned();
    assert!(tested.status.success(), "{said}");
    assert!(said.contains("answers and has 2 models"), "{said}");

    std::fs::write(server.site().prefix.join("one.key"), "sk-wrong-key\n").expect("a file");
    assert!(openclaw(&server, &["reload"]).status.success());
    let tested = openclaw(&server, &["providers", "test", "--json"]);
    assert!(!tested.status.success());
    let tests: ProviderTests = serde_json::from_slice(&tested.stdout).expect("JSON");
    let [one, lost] = &tests.tests[..] else {
        panic!("{tests:?}");
    };
    assert_eq!((one.is_good, one.status), (false, 401));
    assert!(
        one.text
            .starts_with("refuses the key (401): Incorrect API key"),
        "{}",
        one.text
    );
    assert!(!one.text.contains("sk-wrong-key"), "{}", one.text);
    assert_eq!((lost.is_good, lost.status), (false, 0));
    assert!(
        lost.text.starts_with("cannot connect to `127.0.0.1`"),
        "{}",
        lost.text
    );
    let unknown = openclaw(&server, &["providers", "test", "nobody"]);
    let said = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(said.contains("there is no provider `nobody`"), "{said}");
    let listed = openclaw(&server, &["providers"]);
    let said = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(said.contains("one") && said.contains("anthropic"), "{said}");
}
