//! Providers of language models, as faithful as their documents: each speaks its own API and does what
//! the name of the model says.
//!
//! | model | the provider |
//! | --- | --- |
//! | `say` | answers [`WORDS`], in three pieces if it streams |
//! | `tool` | calls the tool `weather` |
//! | `status-503` | answers with an error of this status; `status-429-after-30` asks to wait 30 seconds |
//! | `empty` | answers 200 without an answer in it |
//! | `error-inside` | answers 200 with an error in it; a stream begins with one |
//! | `cut` | begins to answer and closes the connection |
//! | `cut-before` | closes the connection before the answer has content |
//! | `hang` | begins a stream and says nothing more until the proxy is gone |
//!
//! A key with `bad` in it is refused (401), one with `poor` in it has no money (402), and one with `full`
//! in it has reached its limit for 30 seconds (429), whatever is asked for.
//!
//! All of them report 9 tokens of input, 4 of which came from a cache, and 12 of output.

use serde_json::{Value, json};

use super::backend::{Backend, Exchange, Then};

/// What the model `say` says.
pub const WORDS: [&str; 3] = ["Hel", "lo, ", "world"];

/// A provider that speaks OpenAI's API.
pub fn openai() -> Backend {
    Backend::scripted(|exchange| {
        let Some((model, call)) = asked(exchange) else {
            return Then::Close;
        };
        let streams = call["stream"] == true;
        if let Some(then) = misbehave(exchange, &model, streams) {
            return then;
        }
        let usage = json!({ "prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21,
            "prompt_tokens_details": { "cached_tokens": 4 } });
        let chunk = |delta: Value, finish: Value| {
            json!({ "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model,
                "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }] })
        };
        let call_of_tool = json!([{ "index": 0, "id": "call_1", "type": "function",
            "function": { "name": "weather", "arguments": "{\"city\":\"Bern\"}" } }]);
        let is_tool = model == "tool";
        if !streams {
            let message = match is_tool {
                true => {
                    json!({ "role": "assistant", "content": null, "tool_calls": call_of_tool })
                }
                false => json!({ "role": "assistant", "content": WORDS.concat() }),
            };
            let finish = if is_tool { "tool_calls" } else { "stop" };
            let choices = match model.as_str() {
                "empty" => json!([]),
                _ => json!([{ "index": 0, "message": message, "finish_reason": finish }]),
            };
            let answer = json!({ "id": "chatcmpl-1", "object": "chat.completion", "created": 1,
                "model": model, "choices": choices, "usage": usage });
            return whole(exchange, 200, &answer);
        }
        begin_stream(exchange);
        let first = chunk(json!({ "role": "assistant", "content": "" }), Value::Null);
        event(exchange, &first.to_string());
        match model.as_str() {
            "cut-before" => return Then::Close,
            "empty" => {}
            "hang" => {
                event(
                    exchange,
                    &chunk(json!({ "content": WORDS[0] }), Value::Null).to_string(),
                );
                return wait_for_the_end(exchange);
            }
            "tool" => {
                let delta = json!({ "tool_calls": call_of_tool });
                event(exchange, &chunk(delta, Value::Null).to_string());
            }
            _ => {
                for word in WORDS {
                    let piece = chunk(json!({ "content": word }), Value::Null);
                    event(exchange, &piece.to_string());
                    if model == "cut" {
                        return Then::Close;
                    }
                }
            }
        }
        let finish = if is_tool { "tool_calls" } else { "stop" };
        event(exchange, &chunk(json!({}), json!(finish)).to_string());
        if call["stream_options"]["include_usage"] == true {
            let last = json!({ "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1,
                "model": model, "choices": [], "usage": usage });
            event(exchange, &last.to_string());
        }
        event(exchange, "[DONE]");
        exchange.send("0\r\n\r\n");
        Then::NextRequest
    })
}

/// A provider that speaks Anthropic's API.
pub fn anthropic() -> Backend {
    Backend::scripted(|exchange| {
        let Some((model, call)) = asked(exchange) else {
            return Then::Close;
        };
        let streams = call["stream"] == true;
        if let Some(then) = misbehave(exchange, &model, streams) {
            return then;
        }
        let usage = json!({ "input_tokens": 5, "cache_read_input_tokens": 4,
            "cache_creation_input_tokens": 0, "output_tokens": 12 });
        let is_tool = model == "tool";
        let stop = if is_tool { "tool_use" } else { "end_turn" };
        let mut message = json!({ "id": "msg_1", "type": "message", "role": "assistant", "model": model,
            "content": [], "stop_reason": null, "stop_sequence": null, "usage": usage });
        let tool = json!({ "type": "tool_use", "id": "toolu_1", "name": "weather", "input": { "city": "Bern" } });
        if !streams {
            message["stop_reason"] = json!(stop);
            message["content"] = match model.as_str() {
                "empty" => json!([]),
                "tool" => json!([tool]),
                _ => json!([{ "type": "text", "text": WORDS.concat() }]),
            };
            return whole(exchange, 200, &message);
        }
        begin_stream(exchange);
        message["usage"]["output_tokens"] = json!(1);
        named(
            exchange,
            &json!({ "type": "message_start", "message": message }),
        );
        match model.as_str() {
            "cut-before" => return Then::Close,
            "empty" => {}
            "tool" => {
                let block =
                    json!({ "type": "tool_use", "id": "toolu_1", "name": "weather", "input": {} });
                named(
                    exchange,
                    &json!({ "type": "content_block_start", "index": 0, "content_block": block }),
                );
                let delta =
                    json!({ "type": "input_json_delta", "partial_json": "{\"city\":\"Bern\"}" });
                named(
                    exchange,
                    &json!({ "type": "content_block_delta", "index": 0, "delta": delta }),
                );
                named(
                    exchange,
                    &json!({ "type": "content_block_stop", "index": 0 }),
                );
            }
            _ => {
                let block = json!({ "type": "text", "text": "" });
                named(
                    exchange,
                    &json!({ "type": "content_block_start", "index": 0, "content_block": block }),
                );
                named(exchange, &json!({ "type": "ping" }));
                for word in WORDS {
                    let delta = json!({ "type": "text_delta", "text": word });
                    named(
                        exchange,
                        &json!({ "type": "content_block_delta", "index": 0, "delta": delta }),
                    );
                    match model.as_str() {
                        "cut" => return Then::Close,
                        "hang" => return wait_for_the_end(exchange),
                        _ => {}
                    }
                }
                named(
                    exchange,
                    &json!({ "type": "content_block_stop", "index": 0 }),
                );
            }
        }
        named(
            exchange,
            &json!({ "type": "message_delta",
            "delta": { "stop_reason": stop, "stop_sequence": null }, "usage": { "output_tokens": 12 } }),
        );
        named(exchange, &json!({ "type": "message_stop" }));
        exchange.send("0\r\n\r\n");
        Then::NextRequest
    })
}

/// The model that is asked for, without what it is prefixed with, and the whole call.
fn asked(exchange: &mut Exchange<'_>) -> Option<(String, Value)> {
    exchange.read_body().ok()?;
    let call: Value = serde_json::from_slice(&exchange.seen.body).ok()?;
    let model = call["model"].as_str().unwrap_or_default().to_owned();
    Some((model, call))
}

/// What all providers do alike when they fail.
fn misbehave(exchange: &mut Exchange<'_>, model: &str, streams: bool) -> Option<Then> {
    let error = |status: u16| {
        let kind = match status {
            401 => "authentication_error",
            429 => "rate_limit_error",
            400..500 => "invalid_request_error",
            _ => "server_error",
        };
        let message = format!("no luck: {status}");
        json!({ "type": "error", "error": { "type": kind, "message": message, "code": null } })
    };
    let head = &exchange.seen.head;
    let key = head.value("Authorization").or(head.value("x-api-key"));
    let has = |word: &str| key.is_some_and(|key| key.contains(word));
    let of_key = [("bad", "401"), ("poor", "402"), ("full", "429-after-30")];
    let of_key = of_key.iter().find(|(word, _)| has(word));
    let of_model = model.strip_prefix("status-");
    if let Some(status) = of_key.map(|(_, status)| *status).or(of_model) {
        let (status, wait) = status.split_once("-after-").unwrap_or((status, ""));
        let status: u16 = status.parse().expect("a status");
        let body = error(status).to_string();
        let wait = match wait {
            "" => String::new(),
            wait => format!("Retry-After: {wait}\r\n"),
        };
        exchange.send(format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{wait}\r\n{body}",
            body.len()
        ));
        return Some(Then::NextRequest);
    }
    match (model, streams) {
        ("error-inside", false) => Some(whole(exchange, 200, &error(500))),
        ("error-inside", true) => {
            begin_stream(exchange);
            exchange.send(chunked(&format!("event: error\ndata: {}\n\n", error(500))));
            exchange.send("0\r\n\r\n");
            Some(Then::NextRequest)
        }
        ("cut" | "cut-before", false) => {
            exchange.send("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{\"id\":");
            Some(Then::Close)
        }
        _ => None,
    }
}

fn whole(exchange: &mut Exchange<'_>, status: u16, answer: &Value) -> Then {
    let body = answer.to_string();
    let length = body.len();
    exchange.send(format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    ));
    Then::NextRequest
}

fn begin_stream(exchange: &mut Exchange<'_>) {
    exchange.send(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
}

fn chunked(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

fn event(exchange: &mut Exchange<'_>, data: &str) {
    exchange.send(chunked(&format!("data: {data}\n\n")));
}

fn named(exchange: &mut Exchange<'_>, data: &Value) {
    let name = data["type"].as_str().unwrap_or_default();
    exchange.send(chunked(&format!("event: {name}\ndata: {data}\n\n")));
}

/// Waits until the proxy closes the connection.
fn wait_for_the_end(exchange: &mut Exchange<'_>) -> Then {
    let _ = exchange.reader.head();
    Then::Close
}
