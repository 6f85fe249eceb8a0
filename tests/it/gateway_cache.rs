//! `llm_cache`: answers that are kept, for whom, and how often a provider is asked.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::gateway::{events, logged, metric, post, read, said};
use crate::gateway_doors::Door;
use crate::support::backend::{Backend, Exchange, Then};
use crate::support::client::Answer;
use crate::support::model::{self, WORDS};
use crate::support::server::{Server, Setup, eventually};

const LOG: &str = "log_format calls '$llm_cache|$llm_attempts|$llm_outcome|$llm_input_tokens|$llm_output_tokens|$llm_cost|$llm_saved';";

fn conf(cache: &str) -> String {
    format!(
        "llm_provider one {{ base_url http://%ONE%/v1; retries 0; }} llm_price one/* in=0 out=1;
         llm_model chat {{ target one/say; }} {LOG}
         server {{ listen %LISTEN1%; access_log calls.log calls; {cache}
            location /v1/ {{ llm_gateway anybody; llm_cache global; }}
            location /v1beta/ {{ llm_gateway anybody; llm_cache global; }}
            location /api/ {{ llm_gateway anybody; llm_cache global; }}
            location /keys/ {{ llm_gateway; }}
            location /groups/ {{ llm_gateway; llm_cache group; }}
            location /all/ {{ llm_gateway; llm_cache global; }}
            location /off/ {{ llm_gateway anybody; llm_cache off; }}
            location /soon/ {{ llm_gateway anybody; llm_cache global wait=1s; }}
            location = /metrics {{ metrics; }} }}"
    )
}

fn gateway(one: &Backend) -> Server {
    Setup::http(&conf("llm_cache key;"))
        .set("ONE", one.address())
        .tolerate("no luck")
        .tolerate("client closed connection")
        .tolerate("upstream")
        .tolerate("one/")
        .start()
}

fn chat(text: &str, more: Value) -> Value {
    let mut call = json!({ "model": "chat", "messages": [{ "role": "user", "content": text }] });
    for (name, value) in more.as_object().expect("members") {
        call[name] = value.clone();
    }
    call
}

fn ask(server: &Server, fields: &str, call: &Value) -> Answer {
    post(server, "/v1/chat/completions", fields, call)
}

fn openclaw(server: &Server, words: &[&str]) -> Option<String> {
    let output = server.openclaw(words).output().expect("the program runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(said)
}

/// The field that a client with a new key sends.
fn key(server: &Server, name: &str, words: &[&str]) -> String {
    let words = [&["key", "add", name], words].concat();
    let said = eventually("the books are open", || openclaw(server, &words));
    format!("Authorization: Bearer {}\r\n", said.trim())
}

fn result(answer: &Answer) -> &str {
    let told = answer.value("x-openclaw-cache").unwrap_or("none");
    told.split_once(';').map_or(told, |(word, _)| word)
}

#[test]
fn the_second_of_two_equal_calls_costs_nothing_and_says_the_same() {
    let one = model::openai();
    let server = gateway(&one);
    let laptop = key(&server, "laptop", &[]);
    let call = chat("Hello?", json!({ "user": "robin" }));
    let first = post(&server, "/keys/v1/chat/completions", &laptop, &call);
    assert_eq!(first.status, 200, "{}", first.text());
    assert_eq!(first.value("x-openclaw-cache"), Some("MISS"));
    assert_eq!(first.value("x-openclaw-cost"), Some("0.000012"));
    // Another order, another user: the same question.
    let call = json!({ "user": "other", "messages": [{ "content": "Hello?", "role": "user" }],
        "model": "chat" });
    let second = post(&server, "/keys/v1/chat/completions", &laptop, &call);
    assert_eq!(second.status, 200, "{}", second.text());
    let told = second.value("x-openclaw-cache").expect("told");
    assert!(told.starts_with("HIT;age="), "{told}");
    assert_eq!(second.value("x-openclaw-cost"), Some("0.00"));
    assert_eq!(second.value("x-openclaw-saved"), Some("0.000012"));
    assert_eq!(second.value("x-openclaw-model"), Some("one/say"));
    assert_eq!(second.value("Content-Type"), Some("application/json"));
    assert!(second.value("Age").is_some());
    assert_eq!(second.body, first.body);
    assert_eq!(one.seen().len(), 1);

    let lines = logged(&server, 2);
    assert_eq!(lines[0], "MISS|one/say:ok|ok|9|12|0.000012|-");
    assert_eq!(lines[1], "HIT|cache:hit|ok|9|12|0.00|0.000012");
    let row = eventually("the calls are settled", || {
        let told = openclaw(&server, &["spend", "--by", "key", "--json"])?;
        let told: Value = serde_json::from_str(&told).expect("JSON");
        let row = told["rows"][0].clone();
        (row["calls"] == 2).then_some(row)
    });
    assert_eq!(row["cost"], "0.000012", "{row}");
    assert_eq!(row["saved"], "0.000012", "{row}");
    // Nobody has used the tokens of a kept answer again.
    assert_eq!(row["output"], 12, "{row}");
    let metrics = server
        .connect(1)
        .ask("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        .text();
    for line in [
        "openclaw_llm_cache_requests_total{result=\"HIT\"} 1",
        "openclaw_llm_cache_requests_total{result=\"MISS\"} 1",
        "openclaw_llm_cache_saved_dollars_total 0.000012",
        "openclaw_llm_cache_entries 1",
    ] {
        assert!(
            metrics.lines().any(|told| told == line),
            "{line}\n{metrics}"
        );
    }
    // Nothing is kept, or told of it, where nobody asked for it.
    let plain = post(&server, "/off/v1/chat/completions", "", &call);
    assert_eq!(result(&plain), "none");
    assert_eq!(one.seen().len(), 2);
}

/// A call in the words of a door: path and body.
fn at(door: Door, stream: bool, text: &str) -> (String, Value) {
    let talk = json!([{ "role": "user", "content": text }]);
    let method = if stream {
        "streamGenerateContent?alt=sse"
    } else {
        "generateContent"
    };
    match door {
        Door::OpenAi => (
            "/v1/chat/completions".to_owned(),
            json!({ "model": "chat", "max_tokens": 99, "messages": talk, "stream": stream }),
        ),
        Door::Anthropic => (
            "/v1/messages".to_owned(),
            json!({ "model": "chat", "max_tokens": 99, "messages": talk, "stream": stream }),
        ),
        Door::Responses => (
            "/v1/responses".to_owned(),
            json!({ "model": "chat", "max_output_tokens": 99, "input": text, "stream": stream }),
        ),
        Door::Ollama => (
            "/api/chat".to_owned(),
            json!({ "model": "chat", "messages": talk, "stream": stream,
                "options": { "num_predict": 99 } }),
        ),
        _ => (
            format!("/v1beta/models/chat:{method}"),
            json!({ "contents": [{ "role": "user", "parts": [{ "text": text }] }],
                "generationConfig": { "maxOutputTokens": 99 } }),
        ),
    }
}

#[test]
fn an_answer_is_given_again_at_every_door_whole_and_as_a_stream() {
    let one = model::openai();
    let server = gateway(&one);
    let doors = [
        Door::OpenAi,
        Door::Anthropic,
        Door::Responses,
        Door::Ollama,
        Door::Gemini,
    ];
    let all: Vec<(Door, bool)> = doors
        .into_iter()
        .flat_map(|door| [(door, false), (door, true)])
        .collect();
    let mut asked = 0;
    for (first, first_stream) in &all {
        let text = format!("{first:?} {first_stream}");
        let (path, call) = at(*first, *first_stream, &text);
        let fields = "anthropic-version: 2023-06-01\r\n";
        let answer = post(&server, &path, fields, &call);
        assert_eq!(
            (answer.status, result(&answer)),
            (200, "MISS"),
            "{text}: {}",
            answer.text()
        );
        asked += 1;
        for (door, stream) in &all {
            let what = format!("{text}, then {door:?} {stream}");
            let (path, call) = at(*door, *stream, &text);
            let again = post(&server, &path, fields, &call);
            assert_eq!(
                (again.status, result(&again)),
                (200, "HIT"),
                "{what}: {}",
                again.text()
            );
            let objects = door.objects(&again, *stream);
            let said: String = objects.iter().map(|one| door.text(one, *stream)).collect();
            assert_eq!(said, WORDS.concat(), "{what}: {}", again.text());
            if (door, stream) == (first, first_stream) {
                assert_eq!(
                    again.value("Content-Type"),
                    answer.value("Content-Type"),
                    "{what}"
                );
            }
        }
        assert_eq!(one.seen().len(), asked, "{text}");
    }
}

#[test]
fn a_stream_is_told_again_as_it_came_with_usage_for_who_wants_it() {
    let one = model::openai();
    let server = gateway(&one);
    let call = chat("Hello?", json!({ "stream": true }));
    let first = ask(&server, "", &call);
    let second = ask(&server, "", &call);
    assert_eq!((result(&first), result(&second)), ("MISS", "HIT"));
    assert_eq!(second.value("Content-Type"), Some("text/event-stream"));
    assert_eq!(events(&second), events(&first));
    assert_eq!(said(&second), WORDS.concat());
    let more = json!({ "stream": true, "stream_options": { "include_usage": true } });
    let third = ask(&server, "", &chat("Hello?", more));
    assert_eq!(result(&third), "HIT");
    assert!(
        third.text().contains("\"completion_tokens\":12"),
        "{}",
        third.text()
    );
    assert_eq!(one.seen().len(), 1);
}

#[test]
fn what_is_no_whole_answer_of_text_is_not_kept() {
    let one = model::openai();
    let server = gateway(&one);
    for name in [
        "tool",
        "status-500",
        "empty",
        "error-inside",
        "cut-before",
        "cut",
    ] {
        for stream in [false, true] {
            let call = json!({ "model": format!("one/{name}"), "stream": stream,
                "messages": [{ "role": "user", "content": "Hello?" }] });
            for _ in 0..2 {
                let answer = ask(&server, "", &call);
                assert_ne!(result(&answer), "HIT", "{name} {stream}");
            }
        }
    }
    for more in [json!({ "n": 2 })] {
        for _ in 0..2 {
            let answer = ask(&server, "", &chat("Hello?", more.clone()));
            assert_eq!(result(&answer), "BYPASS", "{more}");
        }
    }
}

/// A provider of OpenAI's API whose answers end for a reason of their own.
#[test]
fn what_was_cut_short_or_held_back_or_told_no_usage_is_not_kept() {
    let one = Backend::scripted(|exchange| {
        exchange.read_body().expect("a call");
        let call: Value = serde_json::from_slice(&exchange.seen.body).expect("JSON");
        let wanted = call["messages"][0]["content"].as_str().unwrap_or_default();
        let mut answer = json!({ "id": "x", "object": "chat.completion", "model": "say",
            "choices": [{ "index": 0, "message": { "role": "assistant", "content": "Some text" },
                "finish_reason": "stop" }],
            "usage": { "prompt_tokens": 9, "completion_tokens": 12 } });
        match wanted {
            "length" | "content_filter" => answer["choices"][0]["finish_reason"] = json!(wanted),
            "refusal" => answer["choices"][0]["message"]["refusal"] = json!("I will not"),
            "usage" => answer["usage"] = Value::Null,
            "zero" => answer["usage"]["completion_tokens"] = json!(0),
            _ => {}
        }
        let body = answer.to_string();
        exchange.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        Then::NextRequest
    });
    let server = gateway(&one);
    for why in ["length", "content_filter", "refusal", "usage", "zero"] {
        for _ in 0..2 {
            let answer = ask(&server, "", &chat(why, json!({})));
            assert_eq!((answer.status, result(&answer)), (200, "MISS"), "{why}");
        }
    }
    let first = ask(&server, "", &chat("good", json!({})));
    let second = ask(&server, "", &chat("good", json!({})));
    assert_eq!((result(&first), result(&second)), ("MISS", "HIT"));
}

#[test]
fn a_client_says_how_old_an_answer_may_be() {
    let one = model::openai();
    let server = gateway(&one);
    let call = chat("Hello?", json!({}));
    let results = [
        ("", "MISS", 1),
        ("Cache-Control: max-age=3600\r\n", "HIT", 1),
        ("Cache-Control: no-cache\r\n", "BYPASS", 2),
        ("Cache-Control: private, no-store\r\n", "BYPASS", 3),
        ("Cache-Control: max-age=0\r\n", "BYPASS", 4),
        ("", "HIT", 4),
    ];
    for (fields, expected, asked) in results {
        let answer = ask(&server, fields, &call);
        assert_eq!(result(&answer), expected, "{fields}");
        assert_eq!(one.seen().len(), asked, "{fields}");
    }
    // What must not be stored is not, where nothing was kept before.
    let secret = chat("secret", json!({}));
    ask(&server, "Cache-Control: no-store\r\n", &secret);
    assert_eq!(result(&ask(&server, "", &secret)), "MISS");
    // What a client tries out belongs to the question.
    let tried = "OpenAI-Beta: tomorrow\r\n";
    assert_eq!(result(&ask(&server, tried, &call)), "MISS");
    assert_eq!(result(&ask(&server, tried, &call)), "HIT");
}

#[test]
fn no_key_sees_what_was_answered_to_another_unless_they_share() {
    let one = model::openai();
    let server = gateway(&one);
    let laptop = key(&server, "laptop", &["--group", "family"]);
    let phone = key(&server, "phone", &["--group", "family"]);
    let other = key(&server, "other", &[]);
    let alone = key(&server, "alone", &[]);
    let bound = key(&server, "bound", &["--models", "one/*"]);
    let call = chat("Hello?", json!({}));
    let mut asked = 0;
    let mut expect = |place: &str, fields: &str, expected: &str| {
        let answer = post(
            &server,
            &format!("/{place}/v1/chat/completions"),
            fields,
            &call,
        );
        asked += usize::from(expected == "MISS");
        assert_eq!(result(&answer), expected, "{place}: {}", answer.text());
        assert_eq!(one.seen().len(), asked, "{place}");
        answer.status
    };
    expect("keys", &laptop, "MISS");
    expect("keys", &laptop, "HIT");
    expect("keys", &phone, "MISS");
    expect("groups", &laptop, "MISS");
    expect("groups", &phone, "HIT");
    // Who has no group shares with nobody, and has what its key has.
    expect("groups", &other, "MISS");
    expect("groups", &alone, "MISS");
    expect("keys", &other, "HIT");
    expect("all", &laptop, "MISS");
    expect("all", &other, "HIT");
    // Who may not use the model gets nothing of it, kept or not.
    assert_eq!(expect("all", &bound, "none"), 403);
    assert_eq!(
        expect("all", "Authorization: Bearer oc-nobody\r\n", "none"),
        401
    );
}

#[test]
fn kept_answers_count_for_the_limits_of_calls_and_not_for_money() {
    let one = model::openai();
    let server = gateway(&one);
    let words = ["--rpm", "3", "--tpm", "200", "--budget", "1/total"];
    let few = key(&server, "few", &words);
    let call = chat("Hello?", json!({ "max_tokens": 20 }));
    let results: Vec<(u16, String)> = (0..4)
        .map(|_| {
            let answer = post(&server, "/keys/v1/chat/completions", &few, &call);
            (answer.status, result(&answer).to_owned())
        })
        .collect();
    let statuses: Vec<u16> = results.iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses, [200, 200, 200, 429], "{results:?}");
    assert_eq!((&*results[1].1, &*results[2].1), ("HIT", "HIT"));
    assert_eq!(one.seen().len(), 1);
}

#[test]
fn who_has_spent_all_still_gets_what_is_kept_and_nothing_else() {
    let one = model::openai();
    let server = gateway(&one);
    // The first call takes all of it.
    let words = ["--budget", "0.000012/total", "--rpm", "5"];
    let poor = key(&server, "poor", &words);
    let ask = |call: &Value| post(&server, "/keys/v1/chat/completions", &poor, call);
    let kept = chat("Hello?", json!({ "max_tokens": 12 }));
    let first = ask(&kept);
    assert_eq!(
        (first.status, result(&first)),
        (200, "MISS"),
        "{}",
        first.text()
    );
    let other = chat("Bye?", json!({ "max_tokens": 12 }));
    let refused = eventually("the budget is spent", || {
        let refused = ask(&other);
        (refused.status != 200).then_some(refused)
    });
    assert_eq!(refused.status, 402, "{}", refused.text());
    let second = ask(&kept);
    assert_eq!(
        (second.status, result(&second)),
        (200, "HIT"),
        "{}",
        second.text()
    );
    assert_eq!(second.value("x-openclaw-cost"), Some("0.00"));
    // Limits of calls hold all the same, and a key that was taken back gets nothing.
    eventually("the limit of calls is reached", || {
        (ask(&kept).status == 429).then_some(())
    });
    openclaw(&server, &["key", "revoke", "poor"]).expect("revoked");
    assert_eq!(ask(&kept).status, 401);
    assert_eq!(one.seen().len(), 1);
}

#[test]
fn vectors_are_kept_at_every_door_with_what_they_cost() {
    for (provider, api) in [
        (model::openai(), ""),
        (model::gemini(), "api gemini;"),
        (model::ollama(), "api ollama;"),
    ] {
        let conf = format!(
            "llm_provider one {{ base_url http://%ONE%{}; {api} retries 0; }}
             llm_price one/* in=1 out=0; llm_model embed {{ target one/embed; }} {LOG}
             server {{ listen %LISTEN1%; access_log calls.log calls; llm_cache global;
                location / {{ llm_gateway anybody; }} }}",
            if api.is_empty() { "/v1" } else { "" }
        );
        let server = Setup::http(&conf).set("ONE", provider.address()).start();
        let calls = [
            (
                "/v1/embeddings",
                json!({ "model": "embed", "input": ["a", "four"] }),
            ),
            (
                "/v1/embeddings",
                json!({ "model": "embed", "input": "four", "encoding_format": "base64" }),
            ),
            (
                "/api/embed",
                json!({ "model": "embed", "input": ["a", "four"] }),
            ),
            (
                "/api/embeddings",
                json!({ "model": "embed", "prompt": "four" }),
            ),
            (
                "/v1beta/models/embed:embedContent",
                json!({ "content": { "parts": [{ "text": "four" }] } }),
            ),
            (
                "/v1beta/models/embed:batchEmbedContents",
                json!({ "requests": [{ "model": "models/embed",
                    "content": { "parts": [{ "text": "four" }] } }] }),
            ),
        ];
        for (number, (path, call)) in calls.iter().enumerate() {
            let what = format!("{api} {path}");
            let first = post(&server, path, "", call);
            let (status, told) = (first.status, result(&first));
            assert_eq!((status, told), (200, "MISS"), "{what}: {}", first.text());
            let second = post(&server, path, "", call);
            let (status, told) = (second.status, result(&second));
            assert_eq!((status, told), (200, "HIT"), "{what}: {}", second.text());
            assert_eq!(read(&second), read(&first), "{what}");
            assert_eq!(
                second.value("x-openclaw-saved"),
                first.value("x-openclaw-cost")
            );
            assert_eq!(provider.seen().len(), number + 1, "{what}");
        }
        let lines = logged(&server, 2 * calls.len());
        for pair in lines.chunks(2) {
            let [miss, hit] = pair else {
                panic!("{lines:?}")
            };
            let miss: Vec<&str> = miss.split('|').collect();
            let hit: Vec<&str> = hit.split('|').collect();
            // Tokens in and out are those of the call that was made; its cost is saved.
            assert_eq!((miss[0], hit[0]), ("MISS", "HIT"));
            assert_eq!(hit[3..5], miss[3..5], "{lines:?}");
            assert_eq!((hit[5], hit[6]), ("0.00", miss[5]), "{lines:?}");
            assert_ne!(miss[3], "0", "{lines:?}");
        }
        // Another order, another call; a call for an answer in texts is none for vectors.
        let other = json!({ "model": "embed", "input": ["four", "a"] });
        let answer = post(&server, "/v1/embeddings", "", &other);
        assert_eq!(result(&answer), "MISS", "{api}");
    }
}

#[test]
fn another_number_of_vectors_than_was_asked_for_is_not_kept() {
    let one = Backend::scripted(|exchange| {
        exchange.read_body().expect("a call");
        let body = json!({ "object": "list", "model": "embed",
            "data": [{ "object": "embedding", "index": 0, "embedding": [0.5] }],
            "usage": { "prompt_tokens": 9, "total_tokens": 9 } })
        .to_string();
        exchange.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        Then::NextRequest
    });
    let server = gateway(&one);
    for (input, second) in [(json!(["a", "b"]), "MISS"), (json!(["a"]), "HIT")] {
        let call = json!({ "model": "one/embed", "input": input });
        let first = post(&server, "/v1/embeddings", "", &call);
        assert_eq!((first.status, result(&first)), (200, "MISS"), "{call}");
        let again = post(&server, "/v1/embeddings", "", &call);
        assert_eq!((again.status, result(&again)), (200, second), "{call}");
    }
}

#[test]
fn kept_answers_are_listed_without_what_was_said_and_purged() {
    let one = model::openai();
    let server = gateway(&one);
    let laptop = key(&server, "laptop", &["--group", "family"]);
    let phone = key(&server, "phone", &[]);
    let asked = |place: &str, fields: &str, text: &str| {
        let path = format!("/{place}/v1/chat/completions");
        let answer = post(&server, &path, fields, &chat(text, json!({})));
        assert_eq!(answer.status, 200, "{}", answer.text());
        result(&answer).to_owned()
    };
    let said = openclaw(&server, &["cache"]).expect("told");
    assert!(said.contains("there is no cache"), "{said}");
    let said = openclaw(&server, &["cache", "llm"]).expect("told");
    assert!(said.contains("no answer was looked for yet"), "{said}");
    for text in ["swordfish", "swordfish", "marlin"] {
        asked("keys", &laptop, text);
    }
    asked("keys", &phone, "swordfish");
    asked("groups", &laptop, "swordfish");
    asked("all", &laptop, "swordfish");
    let told = || -> Value {
        let said = openclaw(&server, &["cache", "llm", "--json"]).expect("told");
        assert!(
            !said.contains("swordfish") && !said.contains("Hel"),
            "{said}"
        );
        serde_json::from_str(&said).expect("JSON")
    };
    let kept = told();
    assert_eq!(kept["answers"], 5, "{kept}");
    assert_eq!(kept["most_bytes"], 64 << 20, "{kept}");
    assert_eq!(
        (&kept["results"]["hit"], &kept["results"]["miss"]),
        (&json!(1), &json!(5))
    );
    assert_eq!(kept["saved"], "0.000012");
    let share = |kept: &Value, name: &str, value: &str| {
        let shares = kept["shares"].as_array().expect("shares");
        shares.iter().find(|share| share[name] == value).cloned()
    };
    let of_laptop = share(&kept, "key", "laptop").expect("a share");
    assert_eq!(
        (
            &of_laptop["answers"],
            &of_laptop["hits"],
            &of_laptop["saved"]
        ),
        (&json!(2), &json!(1), &json!("0.000012"))
    );
    assert_eq!(of_laptop["model"], "chat");
    assert_eq!(
        share(&kept, "group", "family").expect("a share")["answers"],
        1
    );
    let said = openclaw(&server, &["cache", "llm"]).expect("told");
    for words in ["key laptop", "group family", "everybody", "$0.000012"] {
        assert!(said.contains(words), "{words}\n{said}");
    }
    let said = openclaw(&server, &["cache"]).expect("told");
    assert!(said.starts_with("answers of models: 5 kept"), "{said}");

    let purge = |words: &[&str]| {
        let words = [&["cache", "purge", "--llm", "--yes", "--json"], words].concat();
        let said = openclaw(&server, &words)?;
        let purged: Value = serde_json::from_str(&said).expect("JSON");
        purged["answers"].as_u64()
    };
    // Nobody has agreed.
    assert_eq!(openclaw(&server, &["cache", "purge", "--llm"]), None);
    assert_eq!(purge(&["--key", "nobody"]), None);
    assert_eq!(purge(&["--model", "other"]), Some(0));
    assert_eq!(purge(&["--key", "laptop", "--model", "one/say"]), Some(2));
    assert_eq!(asked("keys", &laptop, "marlin"), "MISS");
    assert_eq!(asked("keys", &phone, "swordfish"), "HIT");
    assert_eq!(purge(&["--group", "family"]), Some(1));
    assert_eq!(asked("groups", &laptop, "swordfish"), "MISS");
    assert_eq!(purge(&[]), Some(4));
    assert_eq!(asked("keys", &phone, "swordfish"), "MISS");
    assert_eq!(told()["purged"], 7);
}

#[test]
fn what_is_kept_survives_a_reload() {
    let one = model::openai();
    let mut server = gateway(&one);
    let call = chat("Hello?", json!({}));
    assert_eq!(result(&ask(&server, "", &call)), "MISS");
    let with = conf("add_header X-Generation 2 always;");
    server.rewrite(&format!("events {{ }} http {{ %COMMON% {with} }}"));
    server.signal(Signal::SIGHUP);
    eventually("the new configuration is in force", || {
        let answer = post(&server, "/off/v1/chat/completions", "", &json!({}));
        (answer.value("X-Generation") == Some("2")).then_some(())
    });
    assert_eq!(result(&ask(&server, "", &call)), "HIT");
    assert_eq!(one.seen().len(), 1);
}

/// Opens once.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn open(&self) {
        *self.0.lock().expect("no poison") = true;
        self.1.notify_all();
    }

    /// Waits for it, but not for ever: a test that fails ends.
    fn pass(&self) {
        let open = self.0.lock().expect("no poison");
        let limit = Duration::from_secs(60);
        let waited = self.1.wait_timeout_while(open, limit, |open| !*open);
        drop(waited.expect("no poison"));
    }
}

/// A provider whose streams begin when the gate opens; the first `failing` of them fail then.
fn behind(gate: &Arc<Gate>, failing: usize) -> Backend {
    let gate = Arc::clone(gate);
    let count = AtomicUsize::new(0);
    Backend::scripted(move |exchange| {
        if exchange.read_body().is_err() {
            return Then::Close;
        }
        gate.pass();
        if count.fetch_add(1, Ordering::SeqCst) < failing {
            exchange.send("HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n");
            return Then::NextRequest;
        }
        send_words(exchange);
        Then::NextRequest
    })
}

/// A provider that holds its first call back until the gate opens, and streams.
fn slow_at_first(gate: &Arc<Gate>) -> Backend {
    let gate = Arc::clone(gate);
    let count = AtomicUsize::new(0);
    Backend::scripted(move |exchange| {
        if exchange.read_body().is_err() {
            return Then::Close;
        }
        if count.fetch_add(1, Ordering::SeqCst) == 0 {
            gate.pass();
        }
        send_words(exchange);
        Then::NextRequest
    })
}

fn send_words(exchange: &mut Exchange<'_>) {
    let mut events = String::new();
    for word in WORDS {
        let chunk = json!({ "choices": [{ "index": 0, "delta": { "content": word } }] });
        events.push_str(&format!("data: {chunk}\n\n"));
    }
    let last = json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 9, "completion_tokens": 12 } });
    events.push_str(&format!("data: {last}\n\ndata: [DONE]\n\n"));
    exchange.send(format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {}\r\n\r\n{events}",
        events.len()
    ));
}

/// A request whose answer is read later.
fn request(call: &Value) -> String {
    request_at("/v1/chat/completions", call)
}

fn request_at(path: &str, call: &Value) -> String {
    let body = call.to_string();
    format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn a_hundred_equal_streams_at_once_are_one_call() {
    let gate = Arc::new(Gate::default());
    let one = behind(&gate, 0);
    let server = gateway(&one);
    let request = request(&chat("Hello?", json!({ "stream": true })));
    let mut clients: Vec<_> = (0..100).map(|_| server.connect(1)).collect();
    for client in &mut clients {
        client.send(&request);
    }
    eventually("one is asked", || (one.seen().len() == 1).then_some(()));
    gate.open();
    let answers: Vec<Answer> = clients
        .iter_mut()
        .map(|client| client.answer("POST"))
        .collect();
    for answer in &answers {
        assert_eq!((answer.status, said(answer)), (200, WORDS.concat()));
    }
    let hits = answers.iter().filter(|answer| result(answer) == "HIT");
    assert_eq!(hits.count(), 99);
    assert_eq!(one.seen().len(), 1);
}

#[test]
fn when_the_first_of_equal_calls_fails_or_leaves_the_next_one_is_made() {
    let gate = Arc::new(Gate::default());
    let one = behind(&gate, 1);
    let server = gateway(&one);
    let call = chat("Hello?", json!({ "stream": true }));
    let request = request(&call);
    let mut leaves = server.connect(1);
    leaves.send(&request);
    eventually("it is asked", || (one.seen().len() == 1).then_some(()));
    let mut others: Vec<_> = (0..5).map(|_| server.connect(1)).collect();
    for client in &mut others {
        client.send(&request);
    }
    drop(leaves);
    // Another one leads.
    eventually("it is asked again", || {
        (one.seen().len() == 2).then_some(())
    });
    gate.open();
    let answers: Vec<Answer> = thread::scope(|scope| {
        let answers: Vec<_> = others
            .iter_mut()
            .map(|client| scope.spawn(|| client.answer("POST")))
            .collect();
        answers
            .into_iter()
            .map(|it| it.join().expect("an answer"))
            .collect()
    });
    // Whichever of the two that were asked came first through the gate has failed.
    let failed = answers.iter().filter(|answer| answer.status != 200).count();
    assert!(failed <= 1, "{failed}");
    for answer in answers.iter().filter(|answer| answer.status == 200) {
        assert_eq!(said(answer), WORDS.concat());
    }
    assert!((2..=3).contains(&one.seen().len()), "{}", one.seen().len());
    assert_eq!(result(&ask(&server, "", &call)), "HIT");
    let whole = ask(&server, "", &chat("Hello?", json!({})));
    assert_eq!(
        read(&whole)["choices"][0]["message"]["content"],
        WORDS.concat()
    );
}

#[test]
fn who_has_waited_long_enough_asks_without_the_first() {
    let gate = Arc::new(Gate::default());
    let one = slow_at_first(&gate);
    let server = gateway(&one);
    let path = "/soon/v1/chat/completions";
    let call = chat("Hello?", json!({ "stream": true }));
    let mut first = server.connect(1);
    first.send(request_at(path, &call));
    eventually("it is asked", || (one.seen().len() == 1).then_some(()));
    // The first is held back all the while.
    let second = post(&server, path, "", &call);
    assert_eq!((second.status, result(&second)), (200, "MISS"));
    assert_eq!(said(&second), WORDS.concat());
    assert_eq!(one.seen().len(), 2);
    // Who comes now need not wait at all.
    assert_eq!(result(&post(&server, path, "", &call)), "HIT");
    gate.open();
    let first = first.answer("POST");
    assert_eq!((first.status, result(&first)), (200, "MISS"));
    assert_eq!(said(&first), WORDS.concat());
    assert_eq!(one.seen().len(), 2);
}

#[test]
fn equal_calls_for_vectors_at_once_are_one_call() {
    let gate = Arc::new(Gate::default());
    let one = {
        let gate = Arc::clone(&gate);
        Backend::scripted(move |exchange| {
            if exchange.read_body().is_err() {
                return Then::Close;
            }
            gate.pass();
            let body = json!({ "object": "list", "model": "embed",
                "data": [{ "object": "embedding", "index": 0, "embedding": [0.5, 0.25] }],
                "usage": { "prompt_tokens": 9, "total_tokens": 9 } })
            .to_string();
            exchange.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ));
            Then::NextRequest
        })
    };
    let server = gateway(&one);
    let call = json!({ "model": "one/embed", "input": ["a"] });
    let request = request_at("/v1/embeddings", &call);
    let mut clients: Vec<_> = (0..20).map(|_| server.connect(1)).collect();
    for client in &mut clients {
        client.send(&request);
    }
    eventually("one is asked", || (one.seen().len() == 1).then_some(()));
    gate.open();
    let answers: Vec<Answer> = clients
        .iter_mut()
        .map(|client| client.answer("POST"))
        .collect();
    for answer in &answers {
        assert_eq!(answer.status, 200, "{}", answer.text());
        let vector = &read(answer)["data"][0]["embedding"];
        assert_eq!(*vector, json!([0.5, 0.25]));
    }
    let hits = answers.iter().filter(|answer| result(answer) == "HIT");
    assert_eq!(hits.count(), 19);
    assert_eq!(one.seen().len(), 1);
}

#[test]
fn kept_answers_stay_within_their_memory_and_the_least_used_gives_way() {
    const MOST: u64 = 16 << 10;
    let one = model::openai();
    let with = format!("llm_cache_size {MOST}; {}", conf(""));
    let server = Setup::http(&with).set("ONE", one.address()).start();
    let number = |name: &str| metric(&server, name);
    let used = chat("used", json!({}));
    assert_eq!(result(&ask(&server, "", &used)), "MISS");
    for round in 0..60 {
        let answer = ask(&server, "", &chat(&round.to_string(), json!({})));
        assert_eq!((answer.status, result(&answer)), (200, "MISS"), "{round}");
        assert_eq!(result(&ask(&server, "", &used)), "HIT", "{round}");
        let bytes = number("openclaw_llm_cache_bytes");
        assert!(bytes > 0 && bytes <= MOST, "{round}: {bytes}");
    }
    assert_eq!(one.seen().len(), 61);
    let (entries, evicted) = (
        number("openclaw_llm_cache_entries"),
        number("openclaw_llm_cache_evicted_total"),
    );
    assert!(entries > 2 && evicted > 0, "{entries} {evicted}");
    assert_eq!(entries + evicted, 61);
    assert_eq!(
        result(&ask(&server, "", &chat("59", json!({})))),
        "HIT",
        "the newest"
    );
    assert_eq!(result(&ask(&server, "", &chat("0", json!({})))), "MISS");
    assert_eq!(one.seen().len(), 62);
    let told = openclaw(&server, &["cache", "llm", "--json"]).expect("told");
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(told["most_bytes"], MOST, "{told}");
    assert_eq!(told["evicted"], evicted + 1, "{told}");
}

#[test]
fn a_client_of_http_2_gets_what_is_kept_whole_and_as_a_stream() {
    let one = model::openai();
    let with = format!("http2 on; {}", conf(""));
    let server = Setup::http(&with).set("ONE", one.address()).start();
    let url = format!("http://127.0.0.1:{}/v1/chat/completions", server.port(1));
    // Its fields, and its body.
    let ask_2 = |call: &Value| -> (String, String) {
        let output = Command::new("curl")
            .args(["--http2-prior-knowledge", "-sSi", "--max-time", "60"])
            .args(["-H", "Content-Type: application/json", "-d"])
            .args([&call.to_string(), &url])
            .output()
            .expect("`curl` must be installed");
        let told = String::from_utf8(output.stdout).expect("text");
        let (fields, body) = told.split_once("\r\n\r\n").expect("an answer");
        (fields.to_ascii_lowercase(), body.to_owned())
    };
    for (text, stream) in [("whole", false), ("stream", true)] {
        let call = chat(text, json!({ "stream": stream }));
        // Kept of a client of HTTP/1.1.
        let first = ask(&server, "", &call);
        assert_eq!((first.status, result(&first)), (200, "MISS"));
        let asked = one.seen().len();
        for stream in [stream, !stream] {
            let what = format!("{text}, then {stream}");
            let (fields, body) = ask_2(&chat(text, json!({ "stream": stream })));
            assert!(fields.starts_with("http/2 200"), "{what}: {fields}");
            let hit = fields.contains("\r\nx-openclaw-cache: hit;age=");
            assert!(hit, "{what}: {fields}");
            let data: Vec<&str> = body
                .lines()
                .filter_map(|line| line.strip_prefix("data: "))
                .collect();
            let said: String = match stream {
                true => {
                    assert!(fields.contains("text/event-stream"), "{what}: {fields}");
                    assert_eq!(data.last(), Some(&"[DONE]"), "{what}: {body}");
                    let (_, events) = data.split_last().expect("an end");
                    let text = |event: &&str| {
                        let event: Value = serde_json::from_str(event).expect("JSON");
                        let text = event["choices"][0]["delta"]["content"].as_str();
                        text.unwrap_or_default().to_owned()
                    };
                    events.iter().map(text).collect()
                }
                false => {
                    let body: Value = serde_json::from_str(&body).expect("JSON");
                    let text = body["choices"][0]["message"]["content"].as_str();
                    text.unwrap_or_default().to_owned()
                }
            };
            assert_eq!(said, WORDS.concat(), "{what}: {body}");
        }
        assert_eq!(one.seen().len(), asked, "{text}");
    }
    // What such a client has asked for is kept as well.
    let call = chat("other", json!({}));
    let (fields, _) = ask_2(&call);
    assert!(fields.contains("x-openclaw-cache: miss"), "{fields}");
    assert_eq!(result(&ask(&server, "", &call)), "HIT");
}

/// Removes all that is kept; how many answers that were.
fn purge_all(server: &Server) -> u64 {
    let words = ["cache", "purge", "--llm", "--yes", "--json"];
    let told = eventually("it is purged", || openclaw(server, &words));
    let told: Value = serde_json::from_str(&told).expect("JSON");
    told["answers"].as_u64().expect("a number")
}

#[test]
fn answers_are_right_while_all_is_purged_again_and_again() {
    let one = model::openai();
    let server = gateway(&one);
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|client| {
                let server = &server;
                scope.spawn(move || {
                    for round in 0..40 {
                        let text = ((client + round) % 3).to_string();
                        let answer = ask(server, "", &chat(&text, json!({})));
                        let told = result(&answer).to_owned();
                        assert_eq!(answer.status, 200, "{}", answer.text());
                        assert!(["HIT", "MISS"].contains(&&*told), "{told}");
                        assert_eq!(
                            read(&answer)["choices"][0]["message"]["content"],
                            WORDS.concat()
                        );
                    }
                })
            })
            .collect();
        let purger = scope.spawn(|| {
            while !is_done.load(Ordering::SeqCst) {
                purge_all(&server);
            }
        });
        let ends: Vec<_> = clients.into_iter().map(|it| it.join()).collect();
        is_done.store(true, Ordering::SeqCst);
        purger.join().expect("purged");
        assert!(ends.iter().all(Result::is_ok));
    });
    purge_all(&server);
    let told = openclaw(&server, &["cache", "llm", "--json"]).expect("told");
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(
        (&told["answers"], &told["bytes"]),
        (&json!(0), &json!(0)),
        "{told}"
    );
}

#[test]
fn what_was_under_way_during_a_purge_is_not_kept_after_it() {
    let gate = Arc::new(Gate::default());
    let one = slow_at_first(&gate);
    let server = gateway(&one);
    let call = chat("Hello?", json!({ "stream": true }));
    let mut clients: Vec<_> = (0..2).map(|_| server.connect(1)).collect();
    clients[0].send(request(&call));
    eventually("it is asked", || (one.seen().len() == 1).then_some(()));
    assert_eq!(purge_all(&server), 0);
    // This one waits for the first perhaps, and must not get what is older than the purge.
    clients[1].send(request(&call));
    gate.open();
    for client in &mut clients {
        let answer = client.answer("POST");
        assert_eq!((answer.status, result(&answer)), (200, "MISS"));
        assert_eq!(said(&answer), WORDS.concat());
    }
    assert_eq!(one.seen().len(), 2);
    assert_eq!(result(&ask(&server, "", &call)), "HIT");
    assert_eq!(one.seen().len(), 2);
}
