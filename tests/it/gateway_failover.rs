//! Who is asked next when one cannot answer: of conversations, and of calls that pass as they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::gateway::{chat, logged, post, read};
use crate::support::backend::{Backend, Then};
use crate::support::client::Answer;
use crate::support::model;
use crate::support::server::{Server, Setup, eventually};

const LOG: &str = "log_format calls '$llm_model|$llm_target|$llm_outcome|$llm_input_tokens|$llm_output_tokens|$llm_attempts';";

fn start(one: &Backend, lines: &str) -> Server {
    Setup::http(&format!(
        "{lines} {LOG}
         server {{ listen %LISTEN1%; access_log calls.log calls;
            location /v1/ {{ llm_gateway anybody; }} }}"
    ))
    .set("ONE", one.address())
    .start()
}

const ONE: &str = "llm_provider one { base_url http://%ONE%/v1; retries 0; }";

fn attempts(answer: &Answer) -> &str {
    answer.value("x-openclaw-attempts").unwrap_or_default()
}

#[test]
fn a_provider_that_does_not_know_the_model_is_not_the_last_one() {
    let one = model::openai();
    let server = start(
        &one,
        "llm_provider one { base_url http://%ONE%/v1; retries 2; }
         llm_model chat { strategy ordered; target one/status-404; target one/say; }
         llm_model none { strategy ordered; target one/status-404; target one/status-404-after-0; }
         llm_model shaky { strategy ordered; target one/status-500; target one/status-404; }
         llm_model wrong { strategy ordered; target one/status-400; target one/say; }",
    );
    let answer = chat(&server, "chat", json!({}));
    assert_eq!(attempts(&answer), "one/status-404:404,one/say:ok");
    // Nobody is asked twice for what it does not have.
    let none = chat(&server, "none", json!({}));
    assert_eq!(none.status, 404, "{}", none.text());
    assert_eq!(
        attempts(&none),
        "one/status-404:404,one/status-404-after-0:404"
    );
    // One that fails may yet answer; one that lacks the model is left out of the further rounds.
    let shaky = chat(&server, "shaky", json!({}));
    assert_eq!(shaky.status, 500, "{}", shaky.text());
    assert_eq!(
        attempts(&shaky),
        "one/status-500:500,one/status-404:404,one/status-500:500,one/status-500:500"
    );
    // What makes no sense to one makes none to the next.
    let wrong = chat(&server, "wrong", json!({}));
    assert_eq!((wrong.status, one.seen().len()), (400, 2 + 2 + 4 + 1));
}

#[test]
fn a_conversation_that_is_too_long_for_one_goes_on_to_one_that_reads_more() {
    let one = model::openai();
    let server = start(
        &one,
        &format!(
            "{ONE} llm_model chat {{ strategy ordered; target one/too-long max_context=1k;
                target one/small max_context=1k; target one/other on=429;
                target one/say max_context=2k on=context; }}
             llm_model short {{ strategy ordered; target one/too-long; target one/too-long backup; }}"
        ),
    );
    let answer = chat(&server, "chat", json!({}));
    assert_eq!(attempts(&answer), "one/too-long:400,one/say:ok");
    let answer = chat(&server, "short", json!({}));
    assert_eq!(answer.status, 400, "{}", answer.text());
    let error = &read(&answer)["error"];
    assert_eq!(error["code"], "context_length_exceeded", "{error}");
    assert_eq!(attempts(&answer), "one/too-long:400,one/too-long:400");
}

#[test]
fn sound_and_pictures_come_from_the_next_target_when_one_fails() {
    let one = model::openai();
    let server = start(
        &one,
        &format!(
            "{ONE} llm_provider gone {{ base_url http://127.0.0.1:1/v1; }}
             llm_model tts {{ strategy ordered; target gone/x; target one/status-503;
                target one/status-404; target one/no-sound; target one/tts; }}
             llm_model picture {{ strategy ordered; target one/error-inside; target one/picture; }}"
        ),
    );
    let call = json!({ "model": "tts", "input": "Hello?", "voice": "v" });
    let answer = post(&server, "/v1/audio/speech", "", &call);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.body.len(), 100_000);
    assert_eq!(answer.value("Content-Type"), Some("audio/mpeg"));
    assert_eq!(
        attempts(&answer),
        "gone/x:unreachable,one/status-503:503,one/status-404:404,one/no-sound:worthless,one/tts:ok"
    );
    let call = json!({ "model": "picture", "prompt": "A cat" });
    let answer = post(&server, "/v1/images/generations", "", &call);
    assert_eq!(
        attempts(&answer),
        "one/error-inside:worthless,one/picture:ok"
    );
    // Where no model is named, any provider of the API will do.
    let server = start(
        &one,
        &format!("llm_provider gone {{ base_url http://127.0.0.1:1/v1; }} {ONE}"),
    );
    let answer = post(
        &server,
        "/v1/moderations",
        "",
        &json!({ "input": "Hello?" }),
    );
    assert_eq!(attempts(&answer), "gone:unreachable,one:ok");
}

#[test]
fn what_belongs_to_one_account_is_asked_of_no_other() {
    let one = model::openai();
    let server = start(
        &one,
        "llm_provider one { base_url http://%ONE%/v1; passthrough on; }
         llm_provider two { base_url http://%ONE%/v1; passthrough on; }
         llm_model job { strategy ordered; target one/status-503; target two/say; }",
    );
    let call = json!({ "model": "job", "training_file": "f" });
    let answer = post(&server, "/v1/fine_tuning/jobs", "", &call);
    assert_eq!((answer.status, one.seen().len()), (503, 1));
}

#[test]
fn with_drain_sound_is_read_to_its_end_when_its_listener_has_left() {
    let go_on = Arc::new(AtomicBool::new(false));
    let waits = Arc::clone(&go_on);
    let one = Backend::scripted(move |exchange| {
        if exchange.read_body().is_err() {
            return Then::Close;
        }
        exchange.send(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
        );
        let event = |data: &str| format!("{:x}\r\ndata: {data}\n\n\r\n", data.len() + 8);
        exchange.send(event(
            "{\"type\":\"speech.audio.delta\",\"audio\":\"AAAA\"}",
        ));
        eventually("the test goes on", || {
            waits.load(Ordering::SeqCst).then_some(())
        });
        let usage = "{\"type\":\"speech.audio.done\",\"usage\":{\"input_tokens\":70,\"output_tokens\":900}}";
        exchange.send(event(usage));
        exchange.send("0\r\n\r\n");
        Then::NextRequest
    });
    let server = start(
        &one,
        "llm_provider one { base_url http://%ONE%/v1; client_gone drain; }",
    );
    let call = json!({ "model": "one/tts", "input": "Hello?", "stream_format": "sse" }).to_string();
    let mut listener = server.connect(1);
    listener.send(format!(
        "POST /v1/audio/speech HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{call}",
        call.len()
    ));
    listener.bytes(20).expect("the answer begins");
    drop(listener);
    go_on.store(true, Ordering::SeqCst);
    let line = &logged(&server, 1)[0];
    assert!(
        line.contains("|client_abort|70|900|") || line.contains("|ok|70|900|"),
        "{line}"
    );
    eventually("its connection is kept", || (one.open() == 1).then_some(()));
}

#[test]
fn a_key_that_is_not_there_is_not_waited_for() {
    let one = model::openai();
    let server = start(
        &one,
        "llm_provider bare { base_url http://%ONE%/v1; api_key env:OPENCLAW_TEST_IS_NOT_SET; }",
    );
    let answer = chat(&server, "bare/say", json!({}));
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert_eq!(attempts(&answer), "bare/say:no-key");
}

#[test]
fn of_a_long_list_of_what_was_tried_the_end_is_told() {
    let one = model::openai();
    let server = start(
        &one,
        "llm_provider dead { base_url http://127.0.0.1:1/v1; retries 0; }",
    );
    let long = "x".repeat(180);
    let models: Vec<String> = (0..16)
        .map(|number| format!("dead/{number}-{long}"))
        .collect();
    let answer = chat(&server, "dead/first", json!({ "models": models }));
    assert_eq!(answer.status, 502, "{}", answer.text());
    let told = attempts(&answer);
    assert!((1700..=2048).contains(&told.len()), "{told}");
    // Whole ones, up to the last.
    assert!(
        told.split(',').all(|one| one.starts_with("dead/")),
        "{told}"
    );
    assert!(
        told.contains("dead/15-") && !told.contains("first"),
        "{told}"
    );
}
