//! No failure is silent: whatever a provider does instead of answering, a client of every format gets an
//! error that its library raises, or the answer of another provider.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::backend::{Backend, Exchange, Then};
use crate::support::client::Answer;
use crate::support::server::{Server, Setup, eventually};

/// What a provider does, asked for a whole answer and for a stream.
struct Script {
    name: &'static str,
    whole: Does,
    stream: Does,
    /// A part of the answer comes before: another provider must not be asked any more.
    has_begun: bool,
}

#[derive(Clone, Copy)]
enum Does {
    /// Sends these bytes and closes the connection.
    Says(&'static str),
    /// As `Says`, behind the head of a stream.
    Streams(&'static str),
    /// As `Streams`, and then nothing until the proxy is gone.
    Hangs(Option<&'static str>),
    /// A line that never ends, behind the head of a stream.
    EndlessLine,
}

const fn both(name: &'static str, does: Does) -> Script {
    Script {
        name,
        whole: does,
        stream: does,
        has_begun: false,
    }
}

/// One that does the same before its stream begins as it does with a whole answer.
const fn early(name: &'static str, whole: &'static str, stream: &'static str) -> Script {
    Script {
        name,
        whole: Does::Says(whole),
        stream: Does::Streams(stream),
        has_begun: false,
    }
}

/// One whose stream begins well.
const fn late(name: &'static str, whole: &'static str, stream: Does) -> Script {
    Script {
        name,
        whole: Does::Says(whole),
        stream,
        has_begun: true,
    }
}

const HELLO: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hello\"}}]}\n\n";

macro_rules! ok {
    ($body:expr) => {
        concat!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n",
            $body
        )
    };
}

macro_rules! hello {
    ($rest:expr) => {
        concat!(
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hello\"}}]}\n\n",
            $rest
        )
    };
}

macro_rules! error {
    ($status:expr, $body:expr) => {
        both_says(concat!(
            "HTTP/1.1 ",
            $status,
            " X\r\nConnection: close\r\n\r\n",
            $body
        ))
    };
}

const fn both_says(raw: &'static str) -> Does {
    Does::Says(raw)
}

const SCRIPTS: &[Script] = &[
    both("closes", Does::Says("")),
    both("never-answers", Does::Hangs(None)),
    both("speaks-no-http", Does::Says("\u{1}\u{2}what?\r\n\r\n")),
    both("cuts-its-head", Does::Says("HTTP/1.1 200 OK\r\nContent-Ty")),
    both(
        "error-500",
        error!(
            "500",
            "{\"error\":{\"message\":\"no\",\"type\":\"server_error\"}}"
        ),
    ),
    both(
        "error-502-page",
        error!("502", "<html><h1>Bad Gateway</h1></html>"),
    ),
    both("error-503-empty", error!("503", "")),
    both(
        "error-529",
        error!(
            "529",
            "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"no\"}}"
        ),
    ),
    both(
        "error-429",
        error!(
            "429",
            "{\"error\":{\"message\":\"slow\",\"type\":\"requests\"}}"
        ),
    ),
    both(
        "error-401",
        error!(
            "401",
            "{\"error\":{\"message\":\"sk-proj-1234567890abcdef is bad\",\"code\":\"invalid_api_key\"}}"
        ),
    ),
    both("error-402", error!("402", "{\"error\":\"pay\"}")),
    both(
        "error-403",
        error!("403", "{\"error\":{\"message\":\"no\"}}"),
    ),
    both("error-408", error!("408", "")),
    both("redirect", error!("302", "")),
    early(
        "error-inside",
        ok!("{\"error\":{\"message\":\"boom\"}}"),
        "data: {\"error\":{\"message\":\"boom\",\"code\":500}}\n\n",
    ),
    early(
        "error-as-text",
        ok!("{\"error\":\"boom\"}"),
        "data: {\"error\":\"boom\"}\n\ndata: [DONE]\n\n",
    ),
    both(
        "a-page-of-html",
        Does::Says(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<html>sign in</html>",
        ),
    ),
    both("nothing-at-all", Does::Says(ok!(""))),
    early("an-empty-object", ok!("{}"), "data: {}\n\ndata: [DONE]\n\n"),
    early("null", ok!("null"), "data: null\n\ndata: [DONE]\n\n"),
    early(
        "no-choices",
        ok!("{\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":0}}"),
        "data: {\"choices\":[]}\n\ndata: [DONE]\n\n",
    ),
    early(
        "an-empty-message",
        ok!(
            "{\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":\"stop\"}]}"
        ),
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
    ),
    early(
        "garbage",
        ok!("{\"choices\": [}"),
        "data: {\"choi\n\ndata: \u{7}\n\n",
    ),
    early(
        "ends-before-it-begins",
        ok!("{\"choices\":[{\"mess"),
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}]}\n\n",
    ),
    early("done-and-nothing-else", ok!("[]"), "data: [DONE]\n\n"),
    both(
        "wrong-chunks",
        Does::Says(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ),
    ),
    both(
        "shorter-than-it-says",
        Does::Says(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{\"choices\":",
        ),
    ),
    Script {
        name: "an-endless-line",
        whole: Does::Says(ok!("{\"choices\":")),
        stream: Does::EndlessLine,
        has_begun: false,
    },
    late(
        "breaks-off",
        ok!("{\"choices\":[{"),
        Does::Streams(hello!("")),
    ),
    late(
        "fails-in-the-middle",
        ok!("{\"error\":{\"message\":\"x\"}}"),
        Does::Streams(hello!("data: {\"error\":{\"message\":\"boom\"}}\n\n")),
    ),
    late(
        "goes-silent",
        ok!("{\"choices\":"),
        Does::Hangs(Some(HELLO)),
    ),
];

fn play(exchange: &mut Exchange<'_>) -> Then {
    if exchange.read_body().is_err() {
        return Then::Close;
    }
    let call: Value = serde_json::from_slice(&exchange.seen.body).expect("JSON");
    let name = call["model"].as_str().expect("a model");
    let streams = call["stream"] == true;
    let begin = |exchange: &mut Exchange<'_>| {
        exchange
            .send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
    };
    let Some(script) = SCRIPTS.iter().find(|script| script.name == name) else {
        match streams {
            false => {
                let body = json!({ "choices": [{ "index": 0, "finish_reason": "stop",
                    "message": { "role": "assistant", "content": "Hello, world" } }] });
                let body = body.to_string();
                let length = body.len();
                exchange.send(format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
                ))
            }
            true => {
                begin(exchange);
                let rest = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\", world\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
                // Byte by byte: no reader may depend on where the network cuts.
                (HELLO.to_owned() + rest)
                    .bytes()
                    .all(|byte| exchange.send([byte]))
            }
        };
        return Then::Close;
    };
    match if streams { script.stream } else { script.whole } {
        Does::Says(raw) => {
            exchange.send(raw);
        }
        Does::Streams(raw) => {
            begin(exchange);
            exchange.send(raw);
        }
        Does::Hangs(first) => {
            if let Some(first) = first {
                begin(exchange);
                exchange.send(first);
            }
            let _ = exchange.reader.head();
        }
        Does::EndlessLine => {
            begin(exchange);
            let line = vec![b'x'; 1 << 20];
            exchange.send("data: ");
            for _ in 0..64 {
                if !exchange.send(&line) {
                    break;
                }
            }
        }
    }
    Then::Close
}

/// A format of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    OpenAi,
    Responses,
    Anthropic,
    Gemini,
    Ollama,
}

const CLIENTS: [Client; 5] = [
    Client::OpenAi,
    Client::Responses,
    Client::Anthropic,
    Client::Gemini,
    Client::Ollama,
];

impl Client {
    fn ask(self, server: &Server, model: &str, stream: bool) -> Answer {
        let messages = json!([{ "role": "user", "content": "Hello?" }]);
        let gemini = match stream {
            true => format!("/v1beta/models/{model}:streamGenerateContent?alt=sse"),
            false => format!("/v1beta/models/{model}:generateContent"),
        };
        let (path, field, call) = match self {
            Self::OpenAi => (
                "/v1/chat/completions",
                "",
                json!({ "model": model, "messages": messages, "stream": stream }),
            ),
            Self::Responses => (
                "/v1/responses",
                "",
                json!({ "model": model, "input": "Hello?", "stream": stream }),
            ),
            Self::Anthropic => (
                "/v1/messages",
                "anthropic-version: 2023-06-01\r\n",
                json!({ "model": model, "max_tokens": 99, "messages": messages, "stream": stream }),
            ),
            Self::Gemini => (
                &*gemini,
                "x-goog-api-key: k\r\n",
                json!({ "contents": [{ "role": "user", "parts": [{ "text": "Hello?" }] }] }),
            ),
            Self::Ollama => (
                "/api/chat",
                "",
                json!({ "model": model, "messages": messages, "stream": stream }),
            ),
        };
        let body = call.to_string();
        server.connect(1).ask(&format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{field}Content-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    /// Does the library of this format raise an error when it reads this?
    fn raises(self, answer: &Answer) -> bool {
        let text = answer.text();
        let words = |error: &Value| {
            let message = if error.is_string() {
                error
            } else {
                &error["message"]
            };
            message.as_str().is_some_and(|words| !words.is_empty())
        };
        if answer.status >= 400 {
            let body: Value = serde_json::from_str(&text).unwrap_or_default();
            let is_right = match self {
                Self::OpenAi | Self::Responses => body["error"]["type"].is_string(),
                Self::Anthropic => body["type"] == "error" && body["error"]["type"].is_string(),
                Self::Gemini => {
                    body["error"]["code"] == answer.status && body["error"]["status"].is_string()
                }
                Self::Ollama => body["error"].is_string(),
            };
            return is_right && words(&body["error"]);
        }
        let last = text
            .lines()
            .rfind(|line| !line.is_empty())
            .unwrap_or_default();
        let data: Value =
            serde_json::from_str(last.trim_start_matches("data: ")).unwrap_or_default();
        match self {
            Self::OpenAi | Self::Gemini => words(&data["error"]) && !text.contains("[DONE]"),
            Self::Responses => {
                data["type"] == "error" && words(&data) && !text.contains("response.completed")
            }
            Self::Anthropic => {
                data["type"] == "error" && words(&data["error"]) && !text.contains("message_stop")
            }
            Self::Ollama => words(&data["error"]) && !text.contains("\"done\":true"),
        }
    }
}

fn gateway(provider: &Backend) -> Server {
    let models: String = (SCRIPTS.iter().map(|script| script.name).chain(["good", "refuses"]))
        .map(|name| {
            let target = match name {
                "refuses" => "nobody/x".to_owned(),
                name => format!("one/{name}"),
            };
            format!("llm_model {name} {{ target {target}; }} llm_model {name}-with-backup {{ target {target}; target two/good backup; }}\n")
        })
        .collect();
    Setup::http(&format!(
        "llm_provider one {{ base_url http://%ONE%/v1; retries 0; first_token_timeout 200ms; chunk_timeout 200ms; }}
         llm_provider two {{ base_url http://%ONE%/v1; }}
         llm_provider nobody {{ base_url http://127.0.0.1:1/v1; retries 0; }}
         {models}
         log_format calls '$llm_model|$llm_outcome|$status';
         server {{ listen %LISTEN1%; access_log calls.log calls; location / {{ llm_gateway anybody; }} }}"
    ))
    .set("ONE", provider.address())
    .start()
}

#[test]
fn whatever_a_provider_does_every_clients_library_raises_an_error() {
    let provider = Backend::scripted(play);
    let mut silent = Vec::new();
    for client in CLIENTS {
        let server = gateway(&provider);
        let mut calls = 0;
        for name in SCRIPTS.iter().map(|script| script.name).chain(["refuses"]) {
            for stream in [false, true] {
                let answer = client.ask(&server, name, stream);
                calls += 1;
                if !client.raises(&answer) {
                    silent.push(format!(
                        "{client:?} {name} {stream}: {} {}",
                        answer.status,
                        answer.text()
                    ));
                }
                assert!(
                    !answer.text().contains("1234567890abcdef"),
                    "{name}: a key is told"
                );
            }
        }
        // Each of them left a row, and none of them says that all went well.
        let log = eventually("the log", || {
            let log = server.read("calls.log");
            (log.lines().count() == calls).then_some(log)
        });
        let well: Vec<&str> = log
            .lines()
            .filter(|line| line.contains("|ok|") || line.contains("|-|"))
            .collect();
        assert_eq!(well, [""; 0], "{client:?}");
    }
    assert!(silent.is_empty(), "{}\n{}", silent.len(), silent.join("\n"));
}

#[test]
fn whatever_a_provider_does_before_it_answers_another_one_answers() {
    let provider = Backend::scripted(play);
    let mut wrong = BTreeMap::new();
    // A call for responses goes on as one, and the provider here knows only conversations.
    for client in CLIENTS
        .into_iter()
        .filter(|client| *client != Client::Responses)
    {
        let server = gateway(&provider);
        let others = SCRIPTS.iter().map(|script| (script.name, script.has_begun));
        for (name, has_begun) in others.chain([("refuses", false), ("good", false)]) {
            for stream in [false, true] {
                let answer = client.ask(&server, &format!("{name}-with-backup"), stream);
                let is_right = match has_begun && stream {
                    true => answer.status == 200 && client.raises(&answer),
                    false => {
                        answer.status == 200
                            && !client.raises(&answer)
                            && answer.text().contains("world")
                    }
                };
                if !is_right {
                    let told = format!("{} {}", answer.status, answer.text());
                    wrong.insert(format!("{client:?} {name} {stream}"), told);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
