//! Which provider a call goes to, and what becomes of it when providers and clients fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::gateway::{chat, key, logged, openclaw, post, read, said};
use crate::support::backend::{Backend, Then};
use crate::support::client::Answer;
use crate::support::model::{self, WORDS};
use crate::support::server::{Server, Setup, eventually};

const LOG: &str = "log_format calls '$llm_model|$llm_target|$llm_outcome|$llm_input_tokens|$llm_output_tokens|$llm_attempts';";

/// A gateway with these lines about providers and models; `%ONE%` is the address of the provider.
fn gateway(one: &Backend, lines: &str) -> Setup {
    Setup::http(&format!(
        "{lines} {LOG}
         server {{ listen %LISTEN1%; access_log calls.log calls;
            location /v1/ {{ llm_gateway anybody; }} }}"
    ))
    .set("ONE", one.address())
}

fn start(one: &Backend, lines: &str) -> Server {
    gateway(one, lines).start()
}

const ONE: &str = "llm_provider one { base_url http://%ONE%/v1; }";

fn attempts(answer: &Answer) -> &str {
    answer.value("x-openclaw-attempts").unwrap_or_default()
}

/// The models that were asked for, in order.
fn models(seen: &Backend) -> Vec<String> {
    let calls = seen.seen().into_iter();
    let models = calls.map(|call| {
        let call: Value = serde_json::from_slice(&call.body).expect("JSON");
        call["model"].as_str().expect("a model").to_owned()
    });
    models.collect()
}

/// Begins a call whose answer nobody waits for.
fn begin(server: &Server, model: &str, stream: bool) -> crate::support::client::Client {
    let call = json!({ "model": model, "stream": stream, "messages": [] }).to_string();
    let mut client = server.connect(1);
    client.send(format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{call}",
        call.len()
    ));
    client
}

/// A provider that begins a stream and ends it when it is told to.
fn hesitant(go_on: Arc<AtomicBool>) -> Backend {
    Backend::scripted(move |exchange| {
        if exchange.read_body().is_err() {
            return Then::Close;
        }
        let streams = String::from_utf8_lossy(&exchange.seen.body).contains("\"stream\":true");
        let usage = json!({ "prompt_tokens": 70, "completion_tokens": 900 });
        let event = |data: &Value| {
            let event = format!("data: {data}\n\n");
            format!("{:x}\r\n{event}\r\n", event.len())
        };
        let piece = json!({ "choices": [{ "index": 0, "delta": { "content": "Hel" } }] });
        if streams {
            exchange.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
            exchange.send(event(&piece));
        }
        eventually("the test goes on", || {
            go_on.load(Ordering::SeqCst).then_some(())
        });
        if streams {
            let last = json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }],
                "usage": usage });
            exchange.send(event(&last));
            exchange.send("e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n");
        } else {
            let body = json!({ "choices": [{ "index": 0, "finish_reason": "stop",
                "message": { "role": "assistant", "content": "Hello" } }], "usage": usage })
            .to_string();
            let length = body.len();
            exchange.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
            ));
        }
        Then::NextRequest
    })
}

#[test]
fn with_drain_the_answer_for_a_client_that_left_is_read_to_its_end() {
    let go_on = Arc::new(AtomicBool::new(false));
    let one = hesitant(Arc::clone(&go_on));
    let server = start(
        &one,
        "llm_provider one { base_url http://%ONE%/v1; client_gone drain; }",
    );
    let waiting = begin(&server, "one/whole", false);
    let mut streaming = begin(&server, "one/stream", true);
    eventually("both calls arrived", || {
        (one.seen().len() == 2).then_some(())
    });
    streaming.bytes(20).expect("the answer begins");
    drop((waiting, streaming));
    go_on.store(true, Ordering::SeqCst);
    for line in logged(&server, 2) {
        assert!(
            line.contains("|client_abort|70|900|") || line.contains("|ok|70|900|"),
            "{line}"
        );
    }
    eventually("its connections are kept", || {
        (one.open() == 2).then_some(())
    });
}

#[test]
fn an_answer_that_is_worth_nothing_is_paid_all_the_same() {
    let one = model::openai();
    let server = start(
        &one,
        &format!("{ONE} llm_model chat {{ target one/empty; target one/say backup; }}"),
    );
    assert_eq!(chat(&server, "chat", json!({})).status, 200);
    let alone = chat(&server, "one/empty", json!({}));
    assert_eq!(
        read(&alone)["error"]["code"],
        "empty_answer",
        "{}",
        alone.text()
    );
    let lines = logged(&server, 2);
    assert_eq!(
        lines[0],
        "chat|one/say|ok|18|24|one/empty:worthless,one/say:ok"
    );
    // Three tries, each of which told its usage.
    assert!(
        lines[1].starts_with("one/empty|-|empty_answer|27|36|"),
        "{}",
        lines[1]
    );
}

#[test]
fn no_time_is_left_when_the_total_timeout_is_over() {
    let one = model::openai();
    let server = start(
        &one,
        &format!(
            "{ONE} llm_provider slow {{ base_url http://%ONE%/v1; total_timeout 100ms; retries 0; }}"
        ),
    );
    let answer = chat(&server, "slow/hang", json!({ "stream": true }));
    assert_eq!(answer.status, 200);
    assert_eq!(said(&answer), WORDS[0]);
    assert!(
        answer.text().contains("upstream_truncated"),
        "{}",
        answer.text()
    );
    let silent = Backend::scripted(|exchange| {
        let _ = exchange.read_body();
        let _ = exchange.reader.head();
        Then::Close
    });
    let server = start(
        &one,
        &format!(
            "{ONE} llm_provider slow {{ base_url http://{}/v1; total_timeout 100ms; }}
             llm_model chat {{ target slow/x; target one/say backup; }}",
            silent.address()
        ),
    );
    let answer = chat(&server, "chat", json!({}));
    assert_eq!(attempts(&answer), "slow/x:timeout,one/say:ok");
}

#[test]
fn a_limit_of_a_provider_is_waited_for_and_told_to_clients() {
    let one = model::openai();
    let server = start(
        &one,
        &format!(
            "{ONE} llm_model chat {{ target one/status-429-after-30; target one/say backup; }}"
        ),
    );
    let first = chat(&server, "chat", json!({}));
    assert_eq!(attempts(&first), "one/status-429-after-30:429,one/say:ok");
    for _ in 0..20 {
        let next = chat(&server, "chat", json!({}));
        assert_eq!(
            attempts(&next),
            "one/status-429-after-30:cooling,one/say:ok"
        );
    }
    assert_eq!(
        models(&one).iter().filter(|model| *model != "say").count(),
        1
    );
    let alone = chat(&server, "one/status-429-after-30", json!({}));
    assert_eq!(alone.status, 429, "{}", alone.text());
    let wait: u64 = alone
        .value("Retry-After")
        .expect("a time")
        .parse()
        .expect("seconds");
    assert!((1..=30).contains(&wait), "{wait}");
    assert_eq!(
        read(&alone)["error"]["attempts"][0],
        "one/status-429-after-30:cooling"
    );
    // Whatever a provider says, a client's library is not told to wait longer than a minute.
    let long = chat(&server, "one/status-429-after-900", json!({}));
    assert_eq!((long.status, long.value("Retry-After")), (429, Some("60")));
    assert_eq!(one.seen().len(), 1 + 21 + 1);
}

#[test]
fn in_a_total_outage_providers_get_hardly_more_calls_than_there_are() {
    let one = model::openai();
    let server = start(
        &one,
        &format!(
            "{ONE} llm_provider two {{ base_url http://%ONE%/v1; }}
             llm_model chat {{ target one/status-500; target two/status-503 backup; }}"
        ),
    );
    const CALLS: usize = 120;
    let mut statuses = Vec::new();
    for _ in 0..CALLS {
        let answer = chat(&server, "chat", json!({}));
        if let Some(wait) = answer.value("Retry-After") {
            assert!((1..=60).contains(&wait.parse().expect("seconds")), "{wait}");
        }
        statuses.push(answer.status);
    }
    let asked = one.seen().len();
    assert!(
        asked * 10 <= CALLS * 12,
        "{asked} calls of providers for {CALLS}"
    );
    // Both circuits are open: nobody is asked, and it is told when to come again.
    assert!(asked <= 40, "{asked}");
    assert_eq!(statuses.last(), Some(&503));
    let last = chat(&server, "chat", json!({}));
    assert_eq!(
        read(&last)["error"]["code"],
        "no_healthy_upstream",
        "{}",
        last.text()
    );
    assert!(last.value("Retry-After").is_some());
    assert_eq!(
        read(&last)["error"]["attempts"],
        json!(["one/status-500:open", "two/status-503:open"])
    );
}

#[test]
fn in_a_total_outage_many_clients_at_once_do_not_multiply_calls() {
    let one = model::openai();
    let server = start(
        &one,
        &format!(
            "{ONE} llm_provider two {{ base_url http://%ONE%/v1; }}
             llm_model chat {{ target one/status-500; target two/status-503 backup; }}"
        ),
    );
    const CALLS: usize = 3_000;
    const AT_ONCE: usize = 64;
    let left = AtomicUsize::new(CALLS);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                let take = || {
                    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                        left.checked_sub(1)
                    })
                };
                while take().is_ok() {
                    let answer = chat(&server, "chat", json!({}));
                    assert!(answer.status >= 500, "{}", answer.text());
                    if let Some(wait) = answer.value("Retry-After") {
                        assert!((1..=60).contains(&wait.parse().expect("seconds")), "{wait}");
                    }
                }
            });
        }
    });
    let asked = one.seen().len();
    assert!(
        asked * 10 <= CALLS * 12,
        "{asked} calls of providers for {CALLS}"
    );
}

#[test]
fn limits_that_are_reached_never_open_a_circuit() {
    let one = model::openai();
    let server = start(
        &one,
        "llm_provider one { base_url http://%ONE%/v1; retries 0; }",
    );
    for _ in 0..30 {
        let answer = chat(&server, "one/status-429-after-0", json!({}));
        assert_eq!(answer.status, 429, "{}", answer.text());
    }
    assert_eq!(one.seen().len(), 30);
}

#[test]
fn a_call_that_failed_everywhere_is_made_again_unless_the_client_does_so_itself() {
    let one = model::openai();
    let server = start(&one, ONE);
    let call = json!({ "model": "one/status-500", "messages": [] });
    let ask = |fields: &str| post(&server, "/v1/chat/completions", fields, &call);
    assert_eq!(ask("").status, 500);
    assert_eq!(one.seen().len(), 3);
    let again = ask("x-stainless-retry-count: 1\r\n");
    assert_eq!(attempts(&again), "one/status-500:500");
    assert_eq!(one.seen().len(), 4);
    // A pause that the client would not live to see is not begun.
    let hasty = post(
        &server,
        "/v1/chat/completions",
        "x-stainless-retry-count: 0\r\nx-stainless-timeout: 0\r\n",
        &json!({ "model": "one/status-502", "messages": [] }),
    );
    assert_eq!(attempts(&hasty), "one/status-502:502");
}

const KEYS: &str = "llm_provider one { base_url http://%ONE%/v1; retries 0;
    api_key file:%PREFIX%/first.key; api_key file:%PREFIX%/second.key; }";

/// The keys with which a provider was asked since the last look.
fn used_keys(one: &Backend, from: usize) -> Vec<String> {
    let calls = one.seen().split_off(from).into_iter();
    let mut keys: Vec<String> = calls
        .map(|call| {
            let key = call.head.value("Authorization").expect("a key");
            key.trim_start_matches("Bearer ").to_owned()
        })
        .collect();
    keys.sort();
    keys.dedup();
    keys
}

#[test]
fn keys_share_the_calls_and_one_that_is_refused_or_full_is_left_out() {
    for (bad, word) in [
        ("sk-bad-0", "refused"),
        ("sk-poor-0", "refused"),
        ("sk-full-0", "cooling"),
    ] {
        let one = model::openai();
        let server = gateway(&one, KEYS)
            .file("first.key", bad)
            .file("second.key", "sk-good-0")
            .start();
        for _ in 0..6 {
            let answer = chat(&server, "one/say", json!({}));
            assert_eq!(answer.status, 200, "{bad}: {}", answer.text());
            assert_eq!(answer.value("x-openclaw-model"), Some("one/say"));
        }
        let with_bad = one
            .seen()
            .iter()
            .filter(|call| call.head.value("Authorization") == Some(&format!("Bearer {bad}")))
            .count();
        assert_eq!(with_bad, 1, "{bad}");
        let log = logged(&server, 6).join("\n");
        assert!(
            log.contains(&format!("one/say#1:{word},one/say#2:ok")),
            "{log}"
        );
        assert!(!(log + &server.said()).contains(bad));
    }
    let one = model::openai();
    let server = gateway(&one, KEYS)
        .file("first.key", "sk-a-0")
        .file("second.key", "sk-b-0")
        .start();
    for _ in 0..8 {
        assert_eq!(chat(&server, "one/say", json!({})).status, 200);
    }
    assert_eq!(used_keys(&one, 0), ["sk-a-0", "sk-b-0"]);
}

#[test]
fn a_refused_key_is_not_asked_with_until_it_is_another_one() {
    let one = model::openai();
    let server = gateway(
        &one,
        "llm_provider one { base_url http://%ONE%/v1; retries 0; api_key file:%PREFIX%/first.key; }",
    )
    .file("first.key", "sk-bad-0")
    .start();
    let code = |answer: &Answer| read(answer)["error"]["code"].as_str().map(str::to_owned);
    let refused = Some("upstream_credentials_rejected".to_owned());
    for _ in 0..3 {
        let answer = chat(&server, "one/say", json!({}));
        assert_eq!(
            (answer.status, code(&answer)),
            (502, refused.clone()),
            "{}",
            answer.text()
        );
    }
    assert_eq!(one.seen().len(), 1);
    let generation = || {
        let status = openclaw(&server, &["status", "--json"]);
        let status: Value = serde_json::from_str(&status).expect("JSON");
        status["status"]["generation"].as_u64().expect("a number")
    };
    let reload = || {
        let before = generation();
        server.signal(Signal::SIGHUP);
        eventually("the next generation", || {
            (generation() > before).then_some(())
        });
    };
    // What is known of it survives.
    reload();
    assert_eq!(code(&chat(&server, "one/say", json!({}))), refused);
    assert_eq!(one.seen().len(), 1);
    std::fs::write(server.site().prefix.join("first.key"), "sk-good-0").expect("our own file");
    reload();
    eventually("the new key is used", || {
        (chat(&server, "one/say", json!({})).status == 200).then_some(())
    });
}

#[test]
fn a_provider_gets_no_more_calls_at_once_than_it_may() {
    let one = model::openai();
    let server = start(
        &one,
        "llm_provider one { base_url http://%ONE%/v1; max_connections 1; }
         llm_provider two { base_url http://%ONE%/v1; }
         llm_model chat { target one/say; target two/say backup; }",
    );
    let held = begin(&server, "one/hang", true);
    eventually("it is under way", || (one.seen().len() == 1).then_some(()));
    let other = chat(&server, "chat", json!({}));
    assert_eq!(attempts(&other), "one/say:busy,two/say:ok");
    let alone = chat(&server, "one/say", json!({}));
    assert_eq!((alone.status, alone.value("Retry-After")), (503, Some("1")));
    assert_eq!(read(&alone)["error"]["code"], "queue_full");
    drop(held);
    eventually("its place is free", || {
        (attempts(&chat(&server, "chat", json!({}))) == "one/say:ok").then_some(())
    });
}

#[test]
fn a_client_names_the_models_to_try_when_the_first_fails() {
    let one = model::openai();
    let server = start(
        &one,
        &format!(
            "{ONE} llm_model good {{ target one/say; }} llm_model bad {{ target one/status-503; }}"
        ),
    );
    for member in ["models", "fallbacks"] {
        let answer = chat(
            &server,
            "bad",
            json!({ member: ["nowhere", "bad", "good"] }),
        );
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(attempts(&answer), "one/status-503:503,one/say:ok");
        let call: Value =
            serde_json::from_slice(&one.seen().last().expect("asked").body).expect("JSON");
        assert_eq!(call.get(member), None);
    }
}

#[test]
fn targets_are_asked_only_for_the_causes_that_they_name() {
    let one = model::openai();
    let server = start(
        &one,
        "llm_provider one { base_url http://%ONE%/v1; retries 0; }
         llm_model limited { strategy ordered;
            target one/status-429-after-0; target one/a on=5xx; target one/b on=429,timeout; }
         llm_model broken { strategy ordered;
            target one/status-500; target one/a on=5xx; target one/b on=429; }
         llm_model none { target one/status-500; target one/b on=429 backup; }",
    );
    let tried = |model: &str| attempts(&chat(&server, model, json!({}))).to_owned();
    assert_eq!(tried("limited"), "one/status-429-after-0:429,one/b:ok");
    assert_eq!(tried("broken"), "one/status-500:500,one/a:ok");
    assert_eq!(tried("none"), "one/status-500:500");
}

#[test]
fn a_target_that_cannot_do_what_is_asked_for_is_passed_over() {
    let one = model::openai();
    let server = start(
        &one,
        &format!(
            "{ONE} llm_model chat {{ strategy ordered; target one/gpt-3.5-turbo; target one/gpt-4o; }}
             llm_model short {{ strategy ordered; target one/a max_context=20; target one/b max_context=2k; }}
             llm_model tiny {{ target one/a max_context=20; }}"
        ),
    );
    assert_eq!(
        attempts(&chat(&server, "chat", json!({}))),
        "one/gpt-3.5-turbo:ok"
    );
    let image = json!({ "messages": [{ "role": "user", "content": [
        { "type": "image_url", "image_url": { "url": "data:image/png;base64,AAAA" } }] }] });
    assert_eq!(attempts(&chat(&server, "chat", image)), "one/gpt-4o:ok");
    assert_eq!(attempts(&chat(&server, "short", json!({}))), "one/a:ok");
    let long = json!({ "messages": [{ "role": "user", "content": "many words ".repeat(100) }] });
    assert_eq!(attempts(&chat(&server, "short", long.clone())), "one/b:ok");
    let before = one.seen().len();
    let none = chat(&server, "tiny", long);
    assert_eq!(
        (none.status, &read(&none)["error"]["code"]),
        (400, &json!("context_length_exceeded"))
    );
    assert_eq!(one.seen().len(), before);
}

#[test]
fn a_target_may_have_a_condition() {
    let one = model::openai();
    let server = start(
        &one,
        &format!(
            "map $http_x_openclaw_class $is_urgent {{ realtime 1; default 0; }}
             {ONE} llm_model chat {{ strategy ordered; target one/fast if=$is_urgent; target one/usual; }}
             llm_model urgent {{ target one/fast if=$is_urgent; }}"
        ),
    );
    let ask = |model: &str, fields: &str| {
        let call = json!({ "model": model, "messages": [] });
        post(&server, "/v1/chat/completions", fields, &call)
    };
    assert_eq!(
        attempts(&ask("chat", "x-openclaw-class: realtime\r\n")),
        "one/fast:ok"
    );
    assert_eq!(attempts(&ask("chat", "")), "one/usual:ok");
    let none = ask("urgent", "");
    assert_eq!(
        (none.status, &read(&none)["error"]["code"]),
        (503, &json!("no_healthy_upstream"))
    );
}

#[test]
fn rules_choose_the_model_by_what_is_known_of_the_call() {
    let one = model::openai();
    let server = gateway(
        &one,
        "llm_provider one { base_url http://%ONE%/v1; }
         llm_model chat { target one/usual; }
         llm_model tools { target one/tools; }
         llm_model long { target one/long; }
         llm_model eyes { target one/eyes; }
         llm_model legal { target one/legal; }
         map $llm_input_tokens $by_length { ~^[0-9][0-9][0-9] long; default ''; }
         map $llm_text $by_words { ~*(contract|clause) legal; default ''; }
         map $llm_lang:$llm_turns $by_format { anthropic:2 one/second; default ''; }
         map $llm_code $by_code { ~^[5-9][0-9]$ one/coder; default ''; }
         map $llm_has_schema:$llm_max_tokens $by_form { 1:9 one/strict; default ''; }
         map $http_x_openclaw_class $by_class { batch one/cheap; broken nowhere; default ''; }
         llm_route tools if=$llm_has_tools; llm_route eyes if=$llm_has_image;
         llm_route $by_words; llm_route $by_code; llm_route $by_form; llm_route $by_class; llm_route $by_format; llm_route $by_length;",
    )
    .start();
    let ask = |path: &str, fields: &str, more: Value| {
        let mut call = json!({ "model": "chat", "max_tokens": 9,
            "messages": [{ "role": "user", "content": "Hello?" }] });
        for (name, value) in more.as_object().expect("members") {
            call[name] = value.clone();
        }
        let answer = post(&server, path, fields, &call);
        let field = |name: &str| answer.value(name).unwrap_or("-").to_owned();
        assert_eq!(answer.status, 200, "{}", answer.text());
        (field("x-openclaw-model"), field("x-openclaw-route"))
    };
    let said = |words: &str| json!({ "messages": [{ "role": "user", "content": words }] });
    let image =
        json!([{ "type": "image_url", "image_url": { "url": "data:image/png;base64,AAAA" } }]);
    let tool = json!([{ "type": "function", "function": { "name": "f", "parameters": {} } }]);
    let cases = [
        (json!({}), "", "usual", "-"),
        (json!({ "tools": tool }), "", "tools", "tools"),
        (
            json!({ "messages": [{ "role": "user", "content": image }] }),
            "",
            "eyes",
            "eyes",
        ),
        (said("Read this Contract!"), "", "legal", "legal"),
        (said(&"word ".repeat(300)), "", "long", "long"),
        (
            said("What is wrong?\n```\nlet a = b\nreturn a + 1\n```\n"),
            "",
            "coder",
            "one/coder",
        ),
        (
            json!({ "response_format": { "type": "json_schema",
                "json_schema": { "name": "n", "schema": { "type": "object" } } } }),
            "",
            "strict",
            "one/strict",
        ),
        (
            json!({}),
            "x-openclaw-class: batch\r\n",
            "cheap",
            "one/cheap",
        ),
    ];
    for (more, fields, model, route) in cases {
        let (model, route) = (format!("one/{model}"), route.to_owned());
        assert_eq!(
            ask("/v1/chat/completions", fields, more.clone()),
            (model, route),
            "{more}"
        );
    }
    let turns = json!({ "messages": [{ "role": "user", "content": "a" },
        { "role": "assistant", "content": "b" }, { "role": "user", "content": "c" }] });
    let (model, _) = ask("/v1/messages", "anthropic-version: 2023-06-01\r\n", turns);
    assert_eq!(model, "one/second");
    let call = json!({ "model": "chat", "messages": [] });
    let nowhere = post(
        &server,
        "/v1/chat/completions",
        "x-openclaw-class: broken\r\n",
        &call,
    );
    assert_eq!(
        (nowhere.status, &read(&nowhere)["error"]["code"]),
        (404, &json!("model_not_found"))
    );
}

#[test]
fn a_conversation_that_is_split_stays_with_its_model() {
    let one = model::openai();
    let server = start(
        &one,
        "llm_provider one { base_url http://%ONE%/v1; }
         split_clients $llm_conversation $arm { 50% one/new; * one/old; } llm_route $arm;",
    );
    let mut arms = [0, 0];
    for number in 0..40 {
        let mut said = vec![json!({ "role": "user", "content": format!("Question {number}?") })];
        let mut seen = Vec::new();
        for _ in 0..3 {
            let answer = chat(&server, "any", json!({ "messages": said }));
            seen.push(
                answer
                    .value("x-openclaw-route")
                    .unwrap_or_default()
                    .to_owned(),
            );
            said.push(json!({ "role": "assistant", "content": "Yes." }));
            said.push(json!({ "role": "user", "content": "Are you sure?" }));
        }
        assert!(seen.iter().all(|arm| *arm == seen[0]), "{seen:?}");
        arms[usize::from(seen[0] == "one/new")] += 1;
    }
    assert!(arms.iter().all(|count| *count >= 5), "{arms:?}");
}

#[test]
fn a_conversation_keeps_the_model_that_the_rules_chose_first() {
    let one = model::openai();
    let lines = |sticky: &str| {
        format!(
            "llm_provider one {{ base_url http://%ONE%/v1; }} {sticky}
             map $llm_turns $by_length {{ 1 one/short; 3 ''; default one/long; }}
             llm_route $by_length; llm_route one/eyes if=$llm_has_image always;"
        )
    };
    let image = json!([{ "type": "image_url", "image_url": { "url": "https://a.example/a.png" } }]);
    let ask = |server: &Server, first: &str, turns: usize, last: Option<&Value>| {
        let mut said = vec![json!({ "role": "user", "content": first })];
        for turn in 1..turns {
            let content = last.filter(|_| turn + 1 == turns);
            let content = content.cloned().unwrap_or_else(|| json!("Go on."));
            said.push(json!({ "role": "assistant", "content": "Yes." }));
            said.push(json!({ "role": "user", "content": content }));
        }
        let answer = chat(server, "one/asked", json!({ "messages": said }));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let route = answer.value("x-openclaw-route");
        route.unwrap_or_default().to_owned()
    };

    let server = start(&one, &lines("llm_sticky 1h;"));
    assert_eq!(ask(&server, "A", 1, None), "one/short");
    assert_eq!(ask(&server, "A", 2, None), "one/short");
    // What has to be looked at each time is, and changes nothing for the turns after it.
    assert_eq!(ask(&server, "A", 3, Some(&image)), "one/eyes");
    assert_eq!(ask(&server, "A", 4, None), "one/short");
    assert_eq!(ask(&server, "B", 2, None), "one/long");
    assert_eq!(ask(&server, "B", 1, None), "one/long");
    // That no rule spoke is kept as well.
    assert_eq!(ask(&server, "C", 3, None), "");
    assert_eq!(ask(&server, "C", 1, None), "");

    let server = start(&one, &lines(""));
    let seen = [1, 2, 3].map(|turns| ask(&server, "A", turns, None));
    assert_eq!(seen, ["one/short", "one/long", ""]);
}

#[test]
fn urgent_calls_stay_here_and_go_away_when_nobody_is_here() {
    let (local, remote) = (model::ollama(), model::openai());
    let server = gateway(
        &remote,
        "llm_provider local { api ollama; base_url http://%LOCAL%; retries 0; }
         llm_provider remote { base_url http://%ONE%/v1; }
         map $http_x_openclaw_class $is_urgent { realtime 1; default ''; }
         llm_model near { target local/say; target remote/say backup; }
         llm_model far { target remote/say; }
         llm_route near if=$is_urgent; llm_route far;",
    )
    .set("LOCAL", local.address())
    .start();
    let ask = |number: usize| {
        let class = ["realtime", "batch"][number % 2];
        let call = json!({ "model": "any", "messages": [{ "role": "user", "content": "Hello?" }],
            "stream": number % 4 < 2 });
        let fields = format!("x-openclaw-class: {class}\r\n");
        let answer = post(&server, "/v1/chat/completions", &fields, &call);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer
            .value("x-openclaw-model")
            .unwrap_or_default()
            .to_owned()
    };
    for number in 0..100 {
        let expected = ["local/say", "remote/say"][number % 2];
        assert_eq!(ask(number), expected, "{number}");
    }
    assert_eq!((local.seen().len(), remote.seen().len()), (50, 50));
    drop(local);
    for number in 0..20 {
        assert_eq!(ask(number), "remote/say", "{number}");
    }
}

#[test]
fn what_was_said_reaches_rules_and_no_log() {
    let one = model::openai();
    let server = Setup::http(
        "llm_provider one { base_url http://%ONE%/v1; }
         map $llm_text $found { ~secret 1; }
         log_format calls '$llm_text|$llm_turns|$llm_route';
         server { listen %LISTEN1%; access_log calls.log calls;
            location /v1/ { llm_gateway anybody; llm_route one/say if=$found; } }",
    )
    .set("ONE", one.address())
    .start();
    let said = json!({ "messages": [{ "role": "user", "content": "a secret" }] });
    assert_eq!(chat(&server, "any", said).status, 200);
    assert_eq!(logged(&server, 1), ["-|1|one/say"]);
}

#[test]
fn the_group_of_a_key_chooses_the_model() {
    let one = model::openai();
    let server = Setup::http(
        "llm_provider one { base_url http://%ONE%/v1; }
         llm_model chat { target one/small; } llm_model chat-premium { target one/large; }
         map $llm_group:$llm_model $by_group { premium:chat chat-premium; default ''; }
         server { listen %LISTEN1%; location /keys/ { llm_gateway; llm_route $by_group; } }",
    )
    .set("ONE", one.address())
    .start();
    let rich = key(&server, "rich", &["--group", "premium", "--models", "chat"]);
    let poor = key(&server, "poor", &[]);
    for (key, expected) in [(rich, "one/large"), (poor, "one/small")] {
        let call = json!({ "model": "chat", "messages": [] });
        let fields = format!("Authorization: Bearer {key}\r\n");
        let answer = post(&server, "/keys/v1/chat/completions", &fields, &call);
        assert_eq!(
            answer.value("x-openclaw-model"),
            Some(expected),
            "{}",
            answer.text()
        );
    }
}

#[test]
fn a_key_without_money_for_one_target_gets_one_that_is_for_that() {
    let one = model::openai();
    let server = Setup::http(
        "llm_provider one { base_url http://%ONE%/v1; }
         llm_model chat { strategy ordered; target one/gpt-4o; target one/gpt-4o-mini on=budget; }
         server { listen %LISTEN1%; location /keys/ { llm_gateway; } }",
    )
    .set("ONE", one.address())
    .start();
    let key = key(&server, "thrifty", &["--budget", "0.01/day"]);
    let ask = |most: u64| {
        let call = json!({ "model": "chat", "max_tokens": most, "messages": [] });
        let fields = format!("Authorization: Bearer {key}\r\n");
        post(&server, "/keys/v1/chat/completions", &fields, &call)
    };
    assert_eq!(ask(10).value("x-openclaw-model"), Some("one/gpt-4o"));
    // Two thousand tokens of the one cost two cents, of the other a tenth of one.
    let dear = ask(2000);
    assert_eq!(
        dear.value("x-openclaw-model"),
        Some("one/gpt-4o-mini"),
        "{}",
        dear.text()
    );
    assert_eq!(ask(1_000_000).status, 402);
}

#[test]
fn thoughts_of_one_provider_do_not_reach_the_next_in_the_same_words() {
    let two = model::anthropic();
    let server = start(
        &two,
        "llm_provider two { api anthropic; base_url http://%ONE%; retries 0; }
         llm_model chat { target two/status-500; target two/say backup; }",
    );
    let call = json!({ "model": "chat", "max_tokens": 9, "messages": [
        { "role": "user", "content": "a" },
        { "role": "assistant", "content": [
            { "type": "thinking", "thinking": "t", "signature": "signed" }, { "type": "text", "text": "b" }] },
        { "role": "user", "content": "c" }] });
    let answer = post(
        &server,
        "/v1/messages",
        "anthropic-version: 2023-06-01\r\n",
        &call,
    );
    assert_eq!(attempts(&answer), "two/status-500:500,two/say:ok");
    let bodies: Vec<String> = (two.seen().iter())
        .map(|call| String::from_utf8_lossy(&call.body).into_owned())
        .collect();
    assert!(
        bodies[0].contains("signed") && !bodies[1].contains("signed"),
        "{bodies:?}"
    );
    let rest: Value = serde_json::from_str(&bodies[1]).expect("JSON");
    assert_eq!(
        rest["messages"][1]["content"],
        json!([{ "type": "text", "text": "b" }])
    );
}
