//! `llm_gateway`: calls of language models, to providers that do what the model's name says.

use serde_json::{Value, json};

use crate::support::backend::{Backend, Then};
use crate::support::client::Answer;
use crate::support::model::{self, WORDS};
use crate::support::server::{Server, Setup, eventually};

/// A gateway before one provider that speaks OpenAI's API, one that speaks Anthropic's, and one that is
/// not there.
fn gateway(openai: &Backend, anthropic: &Backend, models: &str) -> Server {
    Setup::http(&format!(
        "llm_provider one {{ base_url http://%ONE%/v1; api_key file:%PREFIX%/one.key; }}
         llm_provider two {{ api anthropic; base_url http://%TWO%; api_key file:%PREFIX%/two.key;
            header X-Team blue; }}
         llm_provider gone {{ base_url http://127.0.0.1:%NOBODY%/v1; }}
         log_format calls '$llm_key|$llm_model|$llm_target|$llm_outcome|$llm_input_tokens|$llm_cached_tokens|$llm_output_tokens|$llm_cost|$llm_attempts';
         {models}
         server {{ listen %LISTEN1%; access_log calls.log calls;
            location /v1/ {{ llm_gateway anybody; }} location /below/ {{ llm_gateway anybody; }}
            location /keys/ {{ llm_gateway; }} }}"
    ))
    .set("ONE", openai.address())
    .set("TWO", anthropic.address())
    .set("NOBODY", "1")
    .file("one.key", "sk-of-one-0123456789\n")
    .file("two.key", "sk-ant-of-two-0123456789\n")
    .start()
}

pub fn post(server: &Server, path: &str, fields: &str, call: &Value) -> Answer {
    let body = call.to_string();
    let length = body.len();
    server.connect(1).ask(&format!(
        "POST {path} HTTP/1.1\r\nHost: ai.example\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n{fields}\r\n{body}"
    ))
}

pub fn chat(server: &Server, model: &str, more: Value) -> Answer {
    let mut call = json!({ "model": model, "messages": [{ "role": "user", "content": "Hello?" }] });
    for (name, value) in more.as_object().expect("members") {
        call[name] = value.clone();
    }
    post(server, "/v1/chat/completions", "", &call)
}

pub fn read(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("JSON: {}", answer.text()))
}

/// The data of a stream's events.
pub fn events(answer: &Answer) -> Vec<String> {
    let text = answer.text();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(str::to_owned).collect()
}

/// What an answer of OpenAI's API says, piece by piece.
pub fn said(answer: &Answer) -> String {
    let chunks = events(answer).into_iter().filter(|data| data != "[DONE]");
    let words = chunks.map(|data| {
        let chunk: Value = serde_json::from_str(&data).expect("JSON");
        chunk["choices"][0]["delta"]["content"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    });
    words.collect()
}

#[test]
fn a_call_reaches_its_provider_with_the_gateways_key_and_nothing_else_of_the_client() {
    let (one, two) = (model::openai(), model::anthropic());
    let server = gateway(&one, &two, "llm_model chat { target one/say; }");
    let call = json!({ "model": "chat", "messages": [{ "role": "user", "content": "Hello?" }],
        "temperature": 0.50, "of_tomorrow": { "b": 1, "a": [1.0e2] } });
    let answer = post(
        &server,
        "/v1/chat/completions",
        "Authorization: Bearer oc-of-the-client\r\nCookie: a=b\r\nX-Forwarded-For: 192.0.2.1\r\n\
         OpenAI-Beta: tomorrow\r\n",
        &call,
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.value("Content-Type"), Some("application/json"));
    assert_eq!(answer.value("x-openclaw-model"), Some("one/say"));
    assert_eq!(answer.value("x-openclaw-attempts"), Some("one/say:ok"));
    let told = read(&answer);
    assert_eq!(told["choices"][0]["message"]["content"], WORDS.concat());
    assert_eq!(told["model"], "chat");

    let seen = one.seen();
    let asked = &seen[0];
    assert_eq!(asked.head.line, "POST /v1/chat/completions HTTP/1.1");
    assert_eq!(
        asked.head.value("Authorization"),
        Some("Bearer sk-of-one-0123456789")
    );
    assert_eq!(asked.head.value("OpenAI-Beta"), Some("tomorrow"));
    for absent in ["Cookie", "X-Forwarded-For", "x-api-key"] {
        assert_eq!(asked.head.value(absent), None, "{absent}");
    }
    // Byte for byte what the client wrote, but for the model.
    let expected = call.to_string().replace("\"chat\"", "\"say\"");
    assert_eq!(String::from_utf8_lossy(&asked.body), expected);
}

#[test]
fn a_stream_passes_event_by_event_and_its_usage_only_to_who_asked() {
    let (one, two) = (model::openai(), model::anthropic());
    let server = gateway(&one, &two, "llm_model chat { target one/say; }");
    let answer = chat(&server, "chat", json!({ "stream": true }));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.value("Content-Type"), Some("text/event-stream"));
    assert_eq!(said(&answer), WORDS.concat());
    let data = events(&answer);
    assert_eq!(data.last().map(String::as_str), Some("[DONE]"));
    assert!(!answer.text().contains("\"usage\""), "{}", answer.text());
    // The gateway asked all the same: it has to know.
    let call: Value = serde_json::from_slice(&one.seen()[0].body).expect("JSON");
    assert_eq!(call["stream_options"]["include_usage"], true);

    let more = json!({ "stream": true, "stream_options": { "include_usage": true } });
    let answer = chat(&server, "chat", more);
    assert!(
        answer.text().contains("\"completion_tokens\":12"),
        "{}",
        answer.text()
    );
}

#[test]
fn messages_of_anthropic_go_to_a_provider_of_that_api() {
    let (one, two) = (model::openai(), model::anthropic());
    let server = gateway(&one, &two, "");
    let call = json!({ "model": "two/say", "max_tokens": 100,
        "messages": [{ "role": "user", "content": "Hello?" }] });
    let fields = "x-api-key: oc-of-the-client\r\nanthropic-version: 2026-10-21\r\n";
    let answer = post(&server, "/v1/messages", fields, &call);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.value("request-id").is_some());
    assert_eq!(read(&answer)["content"][0]["text"], WORDS.concat());
    let seen = two.seen();
    let head = &seen[0].head;
    assert_eq!(head.line, "POST /v1/messages HTTP/1.1");
    assert_eq!(head.value("x-api-key"), Some("sk-ant-of-two-0123456789"));
    assert_eq!(head.value("anthropic-version"), Some("2026-10-21"));
    assert_eq!(head.value("X-Team"), Some("blue"));

    let mut streamed = call.clone();
    streamed["stream"] = json!(true);
    let answer = post(&server, "/v1/messages", fields, &streamed);
    let text = answer.text();
    assert!(
        text.contains("event: message_start") && text.contains("event: message_stop"),
        "{text}"
    );
}

#[test]
fn a_location_may_lie_above_the_path_of_the_api() {
    let (one, two) = (model::openai(), model::anthropic());
    let server = gateway(&one, &two, "");
    let call = json!({ "model": "one/say", "messages": [] });
    let answer = post(&server, "/below/v1/chat/completions", "", &call);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(post(&server, "/below/nothing/here", "", &call).status, 404);
}

#[test]
fn the_next_provider_answers_when_one_fails_before_its_answer_begins() {
    let (one, two) = (model::openai(), model::anthropic());
    for bad in [
        "gone/say",
        "one/status-500",
        "one/status-429",
        "one/status-401",
        "one/empty",
        "one/error-inside",
        "one/cut-before",
    ] {
        let model = format!("llm_model chat {{ target {bad}; target one/say backup; }}");
        let server = gateway(&one, &two, &model);
        for stream in [false, true] {
            let answer = chat(&server, "chat", json!({ "stream": stream }));
            assert_eq!(answer.status, 200, "{bad}: {}", answer.text());
            let text = match stream {
                true => said(&answer),
                false => read(&answer)["choices"][0]["message"]["content"].to_string(),
            };
            assert_eq!(text.trim_matches('"'), WORDS.concat(), "{bad} {stream}");
            let attempts = answer.value("x-openclaw-attempts").unwrap_or_default();
            assert!(
                attempts.starts_with(bad) && attempts.ends_with(",one/say:ok"),
                "{attempts}"
            );
            assert_eq!(answer.value("x-openclaw-model"), Some("one/say"));
        }
    }
}

#[test]
fn a_fault_of_the_call_itself_is_told_at_once() {
    let (one, two) = (model::openai(), model::anthropic());
    let server = gateway(
        &one,
        &two,
        "llm_model chat { target one/status-400; target one/say backup; }",
    );
    let answer = chat(&server, "chat", json!({}));
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_eq!(read(&answer)["error"]["message"], "no luck: 400");
    assert_eq!(answer.value("x-should-retry"), Some("false"));
    assert_eq!(one.seen().len(), 1);
}

#[test]
fn a_stream_that_breaks_off_ends_with_an_error_and_without_a_terminator() {
    let (one, two) = (model::openai(), model::anthropic());
    let server = gateway(
        &one,
        &two,
        "llm_model chat { target one/cut; target one/say backup; }",
    );
    let answer = chat(&server, "chat", json!({ "stream": true }));
    assert_eq!(answer.status, 200);
    let data = events(&answer);
    let last: Value = serde_json::from_str(data.last().expect("events")).expect("JSON");
    assert_eq!(last["error"]["code"], "upstream_truncated", "{data:?}");
    assert_eq!(one.seen().len(), 1);
    let call = json!({ "model": "two/cut", "max_tokens": 9, "stream": true, "messages": [] });
    let answer = post(&server, "/v1/messages", "", &call);
    let text = answer.text();
    assert!(
        text.contains("event: error") && !text.contains("message_stop"),
        "{text}"
    );
}

#[test]
fn when_everybody_fails_the_client_is_told_what_was_tried() {
    let (one, two) = (model::openai(), model::anthropic());
    let server = gateway(
        &one,
        &two,
        "llm_model chat { target one/status-503; target gone/say backup; }",
    );
    let answer = chat(&server, "chat", json!({}));
    assert_eq!(answer.status, 502, "{}", answer.text());
    let error = &read(&answer)["error"];
    let message = error["message"].as_str().expect("words");
    assert!(
        message.contains("one/status-503:503,gone/say:unreachable"),
        "{message}"
    );
    assert_eq!(error["code"], "upstream_error");
}

#[test]
fn what_cannot_be_understood_is_told_in_the_clients_own_format() {
    let (one, two) = (model::openai(), model::anthropic());
    let server = gateway(&one, &two, "llm_model gpt-4o { target one/say; }");
    let unknown = chat(&server, "gpt-4", json!({}));
    assert_eq!(unknown.status, 404);
    let error = &read(&unknown)["error"];
    assert_eq!(
        (&error["code"], &error["param"]),
        (&json!("model_not_found"), &json!("model"))
    );
    assert!(
        error["message"]
            .as_str()
            .expect("words")
            .contains("did you mean gpt-4o?")
    );

    let broken = server.connect(1).ask(
        "POST /v1/messages HTTP/1.1\r\nHost: a\r\nx-api-key: k\r\nanthropic-version: 2023-06-01\r\n\
         Content-Length: 5\r\n\r\n{\"a\":",
    );
    assert_eq!(broken.status, 400);
    let told = read(&broken);
    assert_eq!(
        (&told["type"], &told["error"]["type"]),
        (&json!("error"), &json!("invalid_request_error"))
    );
    let twice = "{\"model\":\"gpt-4o\",\"model\":\"x\",\"messages\":[]}";
    let answer = server.connect(1).ask(&format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{twice}",
        twice.len()
    ));
    assert_eq!(
        (answer.status, &read(&answer)["error"]["code"]),
        (400, &json!("invalid_json"))
    );
    assert_eq!(one.seen().len(), 0);
}

#[test]
fn a_client_that_leaves_ends_the_call_at_its_provider() {
    let (one, two) = (model::openai(), model::anthropic());
    let server = gateway(&one, &two, "");
    let body = json!({ "model": "one/hang", "stream": true, "messages": [] }).to_string();
    let mut client = server.connect(1);
    client.send(format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    eventually("the call arrived", || (one.seen().len() == 1).then_some(()));
    assert_eq!(one.open(), 1);
    drop(client);
    eventually("the provider is let go", || (one.open() == 0).then_some(()));
}

/// A number of the metrics that has no labels.
pub fn metric(server: &Server, name: &str) -> u64 {
    let metrics = server
        .connect(1)
        .ask("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        .text();
    let value = metrics
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = value.unwrap_or_else(|| panic!("{name}\n{metrics}"));
    value.parse().expect("a number")
}

/// The lines that the access log has, once there are so many.
pub fn logged(server: &Server, count: usize) -> Vec<String> {
    eventually("the log", || {
        let log = std::fs::read_to_string(server.site().prefix.join("calls.log")).ok()?;
        let lines: Vec<String> = log.lines().map(str::to_owned).collect();
        (lines.len() >= count).then_some(lines)
    })
}

#[test]
fn logs_tell_what_a_call_used_and_cost() {
    let (one, two) = (model::openai(), model::anthropic());
    let server = gateway(
        &one,
        &two,
        "llm_model chat { target one/status-500; target two/say; }",
    );
    for stream in [false, true] {
        let answer = chat(&server, "chat", json!({ "stream": stream }));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(chat(&server, "nothing", json!({})).status, 404);
    let lines = logged(&server, 3);
    for line in &lines[..2] {
        assert!(line.starts_with("-|chat|two/say|ok|9|4|12|-|"), "{line}");
    }
}

#[test]
fn calls_are_said_in_the_words_of_the_provider_and_answered_in_the_clients() {
    let (one, two) = (model::openai(), model::anthropic());
    let server = gateway(&one, &two, "");
    let answer = chat(&server, "two/say", json!({ "seed": 7 }));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        read(&answer)["choices"][0]["message"]["content"],
        WORDS.concat()
    );
    assert_eq!(read(&answer)["usage"]["prompt_tokens"], 9);
    assert_eq!(answer.value("x-openclaw-dropped"), Some("seed"));
    let streamed = chat(&server, "two/say", json!({ "stream": true }));
    assert_eq!(said(&streamed), WORDS.concat());
    let tool = chat(
        &server,
        "two/tool",
        json!({ "tools": [{ "type": "function",
        "function": { "name": "weather", "parameters": { "type": "object", "properties": {} } } }] }),
    );
    let call = &read(&tool)["choices"][0]["message"]["tool_calls"][0]["function"];
    assert_eq!(call["name"], "weather", "{}", tool.text());

    let message = json!({ "model": "one/say", "max_tokens": 100,
        "messages": [{ "role": "user", "content": "Hello?" }] });
    let answer = post(
        &server,
        "/v1/messages",
        "anthropic-version: 2023-06-01\r\n",
        &message,
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(read(&answer)["content"][0]["text"], WORDS.concat());
    assert_eq!(read(&answer)["usage"]["cache_read_input_tokens"], 4);
    let asked = one.seen();
    let head = &asked.last().expect("asked").head;
    assert_eq!(head.line, "POST /v1/chat/completions HTTP/1.1");
    assert_eq!(head.value("anthropic-version"), None);
    let mut streamed = message.clone();
    streamed["stream"] = json!(true);
    let text = post(&server, "/v1/messages", "", &streamed).text();
    assert!(
        text.contains("event: message_stop") && text.contains("\"text\":\"Hel\""),
        "{text}"
    );
}

/// What the program says to these words; they must succeed.
pub fn openclaw(server: &Server, words: &[&str]) -> String {
    // The daemon begins to answer before its store is open, and its socket is there before that.
    let output = eventually("the store is open", || {
        let output = server.openclaw(words).output().expect("the program runs");
        let said = String::from_utf8_lossy(&output.stderr);
        let is_early = said.contains("being opened") || said.contains("its daemon is gone");
        (!is_early).then_some(output)
    });
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{words:?}: {said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    said
}

/// A new key, as `key add` with these words prints it.
pub fn key(server: &Server, name: &str, words: &[&str]) -> String {
    let words = [&["key", "add", name, "--print-config", "env"], words].concat();
    let said = openclaw(server, &words);
    let start = said.find("oc-").expect("a secret");
    let is_of_it = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    said[start..]
        .chars()
        .take_while(|letter| is_of_it(*letter))
        .collect()
}

/// A call with a key; the location asks for one.
fn keyed(server: &Server, key: &str, model: &str) -> Answer {
    let call = json!({ "model": model, "max_tokens": 20,
        "messages": [{ "role": "user", "content": "Hello?" }] });
    let fields = format!("Authorization: Bearer {key}\r\n");
    post(server, "/keys/v1/chat/completions", &fields, &call)
}

#[test]
fn a_key_lets_in_and_its_calls_stand_in_the_ledger() {
    let (one, two) = (model::openai(), model::anthropic());
    let server = gateway(&one, &two, "llm_model gpt-4o { target one/say; }");
    let secret = key(&server, "laptop", &["--models", "gpt-4o,one/*"]);
    let none = keyed(&server, "oc-nobody-knows-this-one", "gpt-4o");
    assert_eq!(
        (none.status, &read(&none)["error"]["code"]),
        (401, &json!("invalid_api_key"))
    );
    assert_eq!(one.seen().len(), 0);
    for _ in 0..3 {
        assert_eq!(keyed(&server, &secret, "gpt-4o").status, 200);
    }
    assert_eq!(keyed(&server, &secret, "one/status-500").status, 500);
    let other = keyed(&server, &secret, "two/say");
    assert_eq!(
        (other.status, &read(&other)["error"]["code"]),
        (403, &json!("model_not_allowed"))
    );
    let spent = eventually("four calls are settled", || {
        let spent = openclaw(&server, &["spend", "--by", "key", "--json"]);
        let spent: Value = serde_json::from_str(&spent).expect("JSON");
        (spent["total"]["calls"].as_u64() >= Some(5)).then_some(spent)
    });
    assert_eq!(spent["rows"][0]["name"], "laptop", "{spent}");
    openclaw(&server, &["key", "revoke", "laptop"]);
    let gone = keyed(&server, &secret, "gpt-4o");
    assert_eq!(
        (gone.status, &read(&gone)["error"]["code"]),
        (401, &json!("key_revoked"))
    );
}

#[test]
fn who_leaves_before_the_answer_pays_what_was_reserved() {
    let silent = Backend::scripted(|exchange| {
        let _ = exchange.read_body();
        // Until the proxy is gone.
        let _ = exchange.reader.head();
        Then::Close
    });
    let server = gateway(&silent, &model::anthropic(), "");
    let secret = key(&server, "hasty", &["--budget", "5/day"]);
    let call = json!({ "model": "one/gpt-4o", "max_tokens": 1000, "messages": [] }).to_string();
    let length = call.len();
    let mut client = server.connect(1);
    client.send(format!(
        "POST /keys/v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {secret}\r\n\
         Content-Length: {length}\r\n\r\n{call}"
    ));
    eventually("the call arrived", || {
        (silent.seen().len() == 1).then_some(())
    });
    drop(client);
    let spent = eventually("the call is settled", || {
        let spent = openclaw(&server, &["spend", "--by", "key", "--json"]);
        let spent: Value = serde_json::from_str(&spent).expect("JSON");
        (spent["total"]["calls"] == 1).then_some(spent)
    });
    // A thousand tokens of output at ten dollars a million, and hardly any input.
    let cost: f64 = spent["total"]["cost"]
        .as_str()
        .expect("dollars")
        .parse()
        .expect("a number");
    assert!((0.01..0.011).contains(&cost), "{spent}");
    assert_eq!(spent["total"]["estimated"], 1, "{spent}");
}

#[test]
fn a_limit_of_a_key_is_told_with_what_is_left() {
    let (one, two) = (model::openai(), model::anthropic());
    let server = gateway(&one, &two, "");
    let secret = key(&server, "ci", &["--rpm", "2"]);
    let first = keyed(&server, &secret, "one/say");
    assert_eq!(
        first.value("x-ratelimit-limit-requests"),
        Some("2"),
        "{}",
        first.text()
    );
    assert_eq!(keyed(&server, &secret, "one/say").status, 200);
    let over = keyed(&server, &secret, "one/say");
    assert_eq!(
        (over.status, &read(&over)["error"]["code"]),
        (429, &json!("rate_limit_exceeded"))
    );
    assert!(over.value("Retry-After").is_some());
}

#[test]
fn pages_of_named_sites_may_call_and_read_errors_too() {
    let one = model::openai();
    let server = Setup::http(
        "llm_provider one { base_url http://%ONE%/v1; }
         server { listen %LISTEN1%; cors https://app.example.com https://*.example.org;
            location / { llm_gateway; } }",
    )
    .set("ONE", one.address())
    .start();
    let asked = server.connect(1).ask(
        "OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: a\r\nOrigin: https://app.example.com\r\n\
         Access-Control-Request-Method: POST\r\n\
         Access-Control-Request-Headers: authorization,x-stainless-os\r\n\r\n",
    );
    assert_eq!(asked.status, 204, "{}", asked.text());
    let allowed = "Access-Control-Allow-Origin";
    assert_eq!(asked.value(allowed), Some("https://app.example.com"));
    let fields = asked.value("Access-Control-Allow-Headers");
    assert_eq!(fields, Some("authorization,x-stainless-os"));
    // A call without a key is refused, and the page may read why.
    let call = json!({ "model": "one/say", "messages": [] });
    let of = |origin: &str| {
        let fields = format!("Origin: {origin}\r\n");
        post(&server, "/v1/chat/completions", &fields, &call)
    };
    let refused = of("https://a.example.org");
    assert_eq!(refused.status, 401);
    assert_eq!(refused.value(allowed), Some("https://a.example.org"));
    assert_eq!(refused.value("Vary"), Some("Origin"));
    let exposed = refused.value("Access-Control-Expose-Headers");
    let exposed = exposed.expect("fields that may be read");
    assert!(exposed.contains("x-request-id"));
    // Every field of the gateway's own that its sources name.
    let sources = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/serve/gateway");
    let mut own = std::collections::BTreeSet::new();
    for source in std::fs::read_dir(sources).expect("sources") {
        let text = std::fs::read_to_string(source.expect("a file").path()).expect("text");
        let names = text.split("b\"x-openclaw-").skip(1);
        own.extend(
            names.filter_map(|rest| Some(format!("x-openclaw-{}", rest.split_once('"')?.0))),
        );
    }
    assert!(own.len() > 5, "{own:?}");
    for name in own {
        let mut exposed = exposed.split(", ");
        assert!(exposed.any(|it| it == name), "{name}");
    }
    assert_eq!(of("https://evil.example").value(allowed), None);
    assert_eq!(one.seen().len(), 0);
}

/// What was spent, once so many calls are settled.
fn spent(server: &Server, calls: u64) -> Value {
    eventually("the calls are settled", || {
        let spent = openclaw(server, &["spend", "--by", "key", "--json"]);
        let spent: Value = serde_json::from_str(&spent).expect("JSON");
        (spent["total"]["calls"].as_u64() >= Some(calls)).then_some(spent)
    })
}

#[test]
fn prices_and_budgets_of_the_configuration_hold_and_change_with_a_reload() {
    let (one, two) = (model::openai(), model::anthropic());
    // 20 tokens of output are reserved and 12 used: at a dollar a million 0.00002 and 0.000012.
    let rules = |budget: &str| {
        format!(
            "llm_model chat {{ target one/say; }} llm_price one/* in=0 out=1;
             llm_limit group family {budget}; llm_budget_status 429;"
        )
    };
    let mut server = gateway(&one, &two, &rules("budget=0.00004/total"));
    let secret = key(&server, "kid", &["--group", "family"]);
    // Two fit: 0.000012 are spent, 0.00002 more would be 0.000032; a third would be 0.000044.
    for _ in 0..2 {
        let answer = keyed(&server, &secret, "chat");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    spent(&server, 2);
    let over = keyed(&server, &secret, "chat");
    assert_eq!(over.status, 429, "{}", over.text());
    assert_eq!(over.value("x-should-retry"), Some("false"));
    let error = &read(&over)["error"];
    assert_eq!(error["code"], "budget_exceeded", "{error}");
    let told = spent(&server, 3);
    assert_eq!(told["total"]["cost"], "0.000024", "{told}");

    // More from the next moment on; what was spent stays spent, also over a crash.
    let conf = std::fs::read_to_string(server.site().conf_file()).expect("the configuration");
    server.rewrite(&conf.replace("budget=0.00004/total", "budget=0.00005/total"));
    openclaw(&server, &["reload"]);
    assert_eq!(keyed(&server, &secret, "chat").status, 200);
    assert_eq!(keyed(&server, &secret, "chat").status, 429);
    server.kill();
    server.start_again();
    assert_eq!(keyed(&server, &secret, "chat").status, 429);
    let conf = conf.replace("budget=0.00004/total", "rpm=1000");
    server.rewrite(&conf.replace("llm_budget_status 429;", ""));
    openclaw(&server, &["reload"]);
    assert_eq!(keyed(&server, &secret, "chat").status, 200);
}

#[test]
fn limits_of_models_hold_for_all_keys_and_in_any_case() {
    let (one, two) = (model::openai(), model::anthropic());
    let rules = "llm_model chat { target one/say; } llm_limit model chat rpm=2;";
    let server = gateway(&one, &two, rules);
    let (first, second) = (key(&server, "a", &[]), key(&server, "b", &[]));
    assert_eq!(keyed(&server, &first, "chat").status, 200);
    assert_eq!(keyed(&server, &second, "CHAT").status, 200);
    let over = keyed(&server, &second, "Chat");
    assert_eq!(over.status, 429, "{}", over.text());
    assert!(
        over.text()
            .contains("the model's limit of 2 calls a minute")
    );
    assert_eq!(keyed(&server, &second, "one/say").status, 200);
}

#[test]
fn a_model_without_a_price_is_refused_to_budgets_unless_that_is_allowed() {
    let (one, two) = (model::openai(), model::anthropic());
    let mut server = gateway(&one, &two, "");
    let secret = key(&server, "saver", &["--budget", "1/day"]);
    let refused = keyed(&server, &secret, "one/say");
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert!(refused.text().contains("the price of the model"));
    let conf = std::fs::read_to_string(server.site().conf_file()).expect("the configuration");
    server.rewrite(&conf.replace("llm_provider gone", "llm_unpriced allow; llm_provider gone"));
    openclaw(&server, &["reload"]);
    assert_eq!(keyed(&server, &secret, "one/say").status, 200);
    let told = spent(&server, 2);
    assert_eq!(told["total"]["unpriced"], 1, "{told}");
}

#[test]
fn the_models_are_listed_that_a_key_may_use() {
    let (one, two) = (model::openai(), model::anthropic());
    let models = "llm_model gpt-4o { target one/say; } llm_model other { target two/say; }";
    let server = gateway(&one, &two, models);
    let secret = key(&server, "narrow", &["--models", "gpt-*"]);
    let list = |path: &str, fields: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        server.connect(1).ask(&request)
    };
    let all = read(&list("/v1/models", ""));
    assert_eq!(all["data"][1]["id"], "other", "{all}");
    let narrow = list("/keys/v1/models", &format!("x-api-key: {secret}\r\n"));
    assert_eq!(
        read(&narrow)["data"].as_array().map(Vec::len),
        Some(1),
        "{}",
        narrow.text()
    );
    assert_eq!(list("/keys/v1/models", "").status, 401);
    let count =
        json!({ "model": "gpt-4o", "messages": [{ "role": "user", "content": "Hello, you?" }] });
    let counted = post(
        &server,
        "/v1/messages/count_tokens",
        "anthropic-version: 2023-06-01\r\n",
        &count,
    );
    assert!(
        read(&counted)["input_tokens"].as_u64() > Some(0),
        "{}",
        counted.text()
    );
}

#[test]
fn who_guesses_keys_is_kept_out() {
    let one = model::openai();
    let server = Setup::http(
        "llm_provider one { base_url http://%ONE%/v1; }
         server { listen %LISTEN1%; set_real_ip_from 127.0.0.1; real_ip_header X-Real-IP;
            auto_ban 3 in=1m for=1h on=login;
            location / { llm_gateway; } }",
    )
    .set("ONE", one.address())
    .start();
    let call = json!({ "model": "one/say", "messages": [] });
    let ask = || {
        let fields = "X-Real-IP: 192.0.2.9\r\nAuthorization: Bearer oc-a-guess-of-mine-0\r\n";
        let body = call.to_string();
        let mut client = server.connect(1);
        client.send(format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n{fields}\r\n{body}",
            body.len()
        ));
        client.next_answer("POST").map(|answer| answer.status)
    };
    for _ in 0..3 {
        assert_eq!(ask().ok(), Some(401));
    }
    assert!(ask().is_err(), "the address is banned");
    assert_eq!(one.seen().len(), 0);
}
