//! Providers of language models, as faithful as their documents: each speaks its own API and does what
//! the name of the model says.
//!
//! | model | the provider |
//! | --- | --- |
//! | `say` | answers [`WORDS`], in three pieces if it streams |
//! | `tool` | calls the tool `weather` for one city |
//! | `tools` | calls it for two cities at once |
//! | `recite` | tells what it was sent: `system: …`, `user: …`, `call: …`, `result: …`, a line each |
//! | `think` | thinks [`THOUGHT`] before it answers [`WORDS`], signed where the API has signatures |
//! | `see` | says `saw ` and the base64 text of the picture that it was sent |
//! | `json` | says `{"city":"Bern"}` if it was sent a schema, to the tool if it must call one, else `no schema` |
//! | `embed` | makes vectors: of the length of each text, its half, and the position of the text (Gemini: 100 at most, no `bad`) |
//! | `status-503` | answers with an error of this status; `status-429-after-30` asks to wait 30 seconds |
//! | `too-long` | says that the conversation is longer than it reads |
//! | `empty` | answers 200 without an answer in it |
//! | `error-inside` | answers 200 with an error in it; a stream begins with one |
//! | `cut` | begins to answer and closes the connection |
//! | `cut-before` | closes the connection before the answer has content |
//! | `hang` | says nothing, or begins a stream and says nothing more, until the proxy is gone |
//!
//! A key with `bad` in it is refused (401), one with `poor` in it has no money (402), and one with `full`
//! in it has reached its limit for 30 seconds (429), whatever is asked for.
//!
//! All of them report 9 tokens of input, 4 of which came from a cache, and 12 of output; Ollama has no word
//! for the cache.

use serde_json::{Value, json};

use super::backend::{Backend, Exchange, Then};

/// What the model `say` says.
pub const WORDS: [&str; 3] = ["Hel", "lo, ", "world"];

/// What the model `think` thinks.
pub const THOUGHT: &str = "They greet.";

/// What the thought is signed with.
const SIGNATURE: &str = "c2lnbmVkIGJ5IHRoZSBtb2NrCg==";

/// What a model does, and with which tool, when it must call this one, or any and this is the first.
fn forced(model: String, tool: &Value, must: bool, first: &Value) -> (String, String) {
    let tool = tool.as_str().or(first.as_str().filter(|_| must));
    match (model.as_str(), tool) {
        ("json", Some(tool)) => ("tool".to_owned(), tool.to_owned()),
        _ => (model, "weather".to_owned()),
    }
}

/// The cities for which a model calls the tool.
fn cities(model: &str) -> &'static [&'static str] {
    match model {
        "tool" => &["Bern"],
        "tools" => &["Bern", "Rome"],
        _ => &[],
    }
}

/// What was said, a line each.
#[derive(Default)]
struct Recital(Vec<String>);

impl Recital {
    /// Text, or a list of parts with text.
    fn say(&mut self, who: &str, content: &Value) {
        let text: String = match content {
            Value::String(text) => text.clone(),
            Value::Array(parts) => parts
                .iter()
                .filter_map(|part| part["text"].as_str())
                .collect(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        if !text.is_empty() {
            self.0.push(format!("{who}: {text}"));
        }
    }

    /// A call of a tool; its arguments are an object or the text of one.
    fn call(&mut self, name: &Value, arguments: &Value) {
        let parsed = arguments
            .as_str()
            .and_then(|text| serde_json::from_str::<Value>(text).ok());
        let arguments = parsed.as_ref().unwrap_or(arguments);
        let name = name.as_str().unwrap_or_default();
        self.0.push(format!("call: {name} {arguments}"));
    }
}

/// A provider of each kind, by the name that tests give it.
pub fn one_of_each() -> [(&'static str, Backend); 4] {
    [
        ("o", openai()),
        ("a", anthropic()),
        ("g", gemini()),
        ("l", ollama()),
    ]
}

/// A provider that speaks OpenAI's API.
pub fn openai() -> Backend {
    Backend::scripted(|exchange| {
        let line = exchange.seen.head.line.clone();
        let Some((model, call)) = asked(exchange) else {
            return openai_without_json(exchange, &line);
        };
        let streams = call["stream"] == true;
        if let Some(then) = misbehave(exchange, &model, streams) {
            return then;
        }
        match path_of(&line) {
            path if path.ends_with("/responses") => {
                return responses(exchange, &model, &call, streams);
            }
            path if path.ends_with("/embeddings") => {
                return openai_vectors(exchange, &model, &call);
            }
            path if path.ends_with("/chat/completions") => {}
            path if path.ends_with("/completions") => return completion(exchange, &model, &call),
            path => return openai_other(exchange, path, &model, &call),
        }
        let usage = json!({ "prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21,
            "prompt_tokens_details": { "cached_tokens": 4 } });
        let image = call["messages"][0]["content"]
            .as_array()
            .into_iter()
            .flatten()
            .find_map(|part| part["image_url"]["url"].as_str());
        let image = image.and_then(|url| url.strip_prefix("data:image/png;base64,"));
        let has_schema = call["response_format"]["type"] == "json_schema";
        let (model, tool) = {
            let choice = &call["tool_choice"];
            let first = &call["tools"][0]["function"]["name"];
            forced(
                model,
                &choice["function"]["name"],
                choice == "required",
                first,
            )
        };
        let mut recital = Recital::default();
        for message in call["messages"].as_array().into_iter().flatten() {
            match message["role"].as_str() {
                Some("tool") => recital.say("result", &message["content"]),
                role => recital.say(role.unwrap_or_default(), &message["content"]),
            }
            for call in message["tool_calls"].as_array().into_iter().flatten() {
                recital.call(&call["function"]["name"], &call["function"]["arguments"]);
            }
        }
        let words = words(&model, image, has_schema, recital);
        let chunk = |delta: Value, finish: Value| {
            json!({ "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model,
                "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }] })
        };
        let call_of_tool = |index: usize, city: &str, is_begin: bool| {
            let arguments = match is_begin {
                true => String::new(),
                false => format!("{{\"city\":\"{city}\"}}"),
            };
            json!({ "index": index, "id": format!("call_{index}"), "type": "function",
                "function": { "name": tool, "arguments": arguments } })
        };
        let cities = cities(&model);
        let is_tool = !cities.is_empty();
        if !streams {
            let calls = cities.iter().enumerate();
            let calls: Vec<Value> = calls
                .map(|(index, city)| call_of_tool(index, city, false))
                .collect();
            let mut message = json!({ "role": "assistant", "content": words.concat() });
            if is_tool {
                message["content"] = Value::Null;
                message["tool_calls"] = json!(calls);
            }
            if model == "think" {
                message["reasoning_content"] = json!(THOUGHT);
            }
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
            "tool" | "tools" => {
                for (index, city) in cities.iter().enumerate() {
                    let begun = json!({ "tool_calls": [call_of_tool(index, city, true)] });
                    event(exchange, &chunk(begun, Value::Null).to_string());
                    for piece in ["{\"city\":\"", city, "\"}"] {
                        let delta = json!({ "tool_calls": [{ "index": index, "function": { "arguments": piece } }] });
                        event(exchange, &chunk(delta, Value::Null).to_string());
                    }
                }
            }
            _ => {
                if model == "think" {
                    let thought = chunk(json!({ "reasoning_content": THOUGHT }), Value::Null);
                    event(exchange, &thought.to_string());
                }
                for word in &words {
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
        let image = call["messages"][0]["content"]
            .as_array()
            .into_iter()
            .flatten()
            .find_map(|block| block["source"]["data"].as_str());
        let has_schema = call["output_config"]["format"]["type"] == "json_schema";
        let (model, called) = {
            let choice = &call["tool_choice"];
            let first = &call["tools"][0]["name"];
            forced(model, &choice["name"], choice["type"] == "any", first)
        };
        let mut recital = Recital::default();
        recital.say("system", &call["system"]);
        for message in call["messages"].as_array().into_iter().flatten() {
            recital.say(
                message["role"].as_str().unwrap_or_default(),
                &message["content"],
            );
            for block in message["content"].as_array().into_iter().flatten() {
                match block["type"].as_str() {
                    Some("tool_use") => recital.call(&block["name"], &block["input"]),
                    Some("tool_result") => recital.say("result", &block["content"]),
                    _ => {}
                }
            }
        }
        let words = words(&model, image, has_schema, recital);
        let cities = cities(&model);
        let is_tool = !cities.is_empty();
        let stop = if is_tool { "tool_use" } else { "end_turn" };
        let mut message = json!({ "id": "msg_1", "type": "message", "role": "assistant", "model": model,
            "content": [], "stop_reason": null, "stop_sequence": null, "usage": usage });
        let tool = |index: usize, input: Value| json!({ "type": "tool_use", "id": format!("toolu_{index}"), "name": called, "input": input });
        if !streams {
            message["stop_reason"] = json!(stop);
            message["content"] = match model.as_str() {
                "empty" => json!([]),
                "tool" | "tools" => {
                    let calls = cities.iter().enumerate();
                    calls
                        .map(|(index, city)| tool(index, json!({ "city": city })))
                        .collect()
                }
                "think" => {
                    json!([{ "type": "thinking", "thinking": THOUGHT, "signature": SIGNATURE },
                    { "type": "text", "text": words.concat() }])
                }
                _ => json!([{ "type": "text", "text": words.concat() }]),
            };
            return whole(exchange, 200, &message);
        }
        begin_stream(exchange);
        message["usage"]["output_tokens"] = json!(1);
        // What came in is told again at the end, in all.
        named(
            exchange,
            &json!({ "type": "message_start", "message": message }),
        );
        match model.as_str() {
            "cut-before" => return Then::Close,
            "empty" => {}
            "tool" | "tools" => {
                for (index, city) in cities.iter().enumerate() {
                    let block = tool(index, json!({}));
                    let pieces = ["{\"city\":\"", city, "\"}"];
                    let pieces = pieces
                        .map(|piece| json!({ "type": "input_json_delta", "partial_json": piece }));
                    anthropic_block(exchange, index, &block, &pieces);
                }
            }
            _ => {
                let index = usize::from(model == "think");
                if model == "think" {
                    let block = json!({ "type": "thinking", "thinking": "", "signature": "" });
                    let pieces = [
                        json!({ "type": "thinking_delta", "thinking": THOUGHT }),
                        json!({ "type": "signature_delta", "signature": SIGNATURE }),
                    ];
                    anthropic_block(exchange, 0, &block, &pieces);
                }
                let block = json!({ "type": "text", "text": "" });
                named(
                    exchange,
                    &json!({ "type": "content_block_start", "index": index, "content_block": block }),
                );
                named(exchange, &json!({ "type": "ping" }));
                for word in &words {
                    let delta = json!({ "type": "text_delta", "text": word });
                    named(
                        exchange,
                        &json!({ "type": "content_block_delta", "index": index, "delta": delta }),
                    );
                    match model.as_str() {
                        "cut" => return Then::Close,
                        "hang" => return wait_for_the_end(exchange),
                        _ => {}
                    }
                }
                named(
                    exchange,
                    &json!({ "type": "content_block_stop", "index": index }),
                );
            }
        }
        named(
            exchange,
            &json!({ "type": "message_delta",
            "delta": { "stop_reason": stop, "stop_sequence": null }, "usage": usage }),
        );
        named(exchange, &json!({ "type": "message_stop" }));
        exchange.send("0\r\n\r\n");
        Then::NextRequest
    })
}

/// A whole block of a stream.
fn anthropic_block(exchange: &mut Exchange<'_>, index: usize, block: &Value, pieces: &[Value]) {
    let begun = json!({ "type": "content_block_start", "index": index, "content_block": block });
    named(exchange, &begun);
    for piece in pieces {
        let delta = json!({ "type": "content_block_delta", "index": index, "delta": piece });
        named(exchange, &delta);
    }
    named(
        exchange,
        &json!({ "type": "content_block_stop", "index": index }),
    );
}

/// What a model says to a call with this picture, or with a schema.
fn words(model: &str, image: Option<&str>, has_schema: bool, recital: Recital) -> Vec<String> {
    match (model, has_schema) {
        ("recite", _) => vec![recital.0.join("\n")],
        ("see", _) => vec!["saw ".to_owned(), image.unwrap_or("nothing").to_owned()],
        ("json", true) => vec!["{\"city\":".to_owned(), "\"Bern\"}".to_owned()],
        ("json", false) => vec!["no schema".to_owned()],
        _ => WORDS.map(str::to_owned).to_vec(),
    }
}

/// The vector of a text at a position.
fn vector(text: &Value, position: usize) -> [f32; 3] {
    let length = text.as_str().unwrap_or_default().len() as f32;
    [length, length / 2.0, position as f32]
}

/// The path of a request line.
fn path_of(line: &str) -> &str {
    let target = line.split(' ').nth(1).unwrap_or_default();
    target.split('?').next().unwrap_or_default()
}

/// `/v1/responses`.
fn responses(exchange: &mut Exchange<'_>, model: &str, call: &Value, streams: bool) -> Then {
    let image = call["input"][0]["content"]
        .as_array()
        .into_iter()
        .flatten()
        .find_map(|part| part["image_url"].as_str());
    let image = image.and_then(|url| url.strip_prefix("data:image/png;base64,"));
    let (model, tool) = {
        let choice = &call["tool_choice"];
        let first = &call["tools"][0]["name"];
        forced(
            model.to_owned(),
            &choice["name"],
            choice == "required",
            first,
        )
    };
    let model = model.as_str();
    let mut recital = Recital::default();
    recital.say("system", &call["instructions"]);
    if call["input"].is_string() {
        recital.say("user", &call["input"]);
    }
    for item in call["input"].as_array().into_iter().flatten() {
        match item["type"].as_str() {
            Some("function_call") => recital.call(&item["name"], &item["arguments"]),
            Some("function_call_output") => recital.say("result", &item["output"]),
            _ => recital.say(item["role"].as_str().unwrap_or_default(), &item["content"]),
        }
    }
    let has_schema = call["text"]["format"]["type"] == "json_schema";
    let words = words(model, image, has_schema, recital);
    let cities = cities(model);
    let called = |index: usize, city: &str| {
        json!({ "type": "function_call", "id": format!("fc_{index}"), "call_id": format!("call_{index}"),
            "status": "completed", "name": tool, "arguments": format!("{{\"city\":\"{city}\"}}") })
    };
    let thought = json!({ "type": "reasoning", "id": "rs_1", "status": "completed",
        "summary": [{ "type": "summary_text", "text": THOUGHT }] });
    let item = json!({ "type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
        "content": [{ "type": "output_text", "text": words.concat(), "annotations": [] }] });
    let output = match model {
        "empty" => json!([]),
        "tool" | "tools" => {
            let calls = cities.iter().enumerate();
            calls.map(|(index, city)| called(index, city)).collect()
        }
        "think" => json!([thought, item]),
        _ => json!([item]),
    };
    let mut response = json!({ "id": "resp_1", "object": "response", "created_at": 1, "model": model,
        "status": "completed", "error": null, "incomplete_details": null, "output": output,
        "parallel_tool_calls": true, "tool_choice": "auto", "tools": [],
        "usage": { "input_tokens": 9, "input_tokens_details": { "cached_tokens": 4 },
            "output_tokens": 12, "output_tokens_details": { "reasoning_tokens": 0 }, "total_tokens": 21 } });
    if !streams {
        return whole(exchange, 200, &response);
    }
    let last = response.clone();
    response["status"] = json!("in_progress");
    response["output"] = json!([]);
    response["usage"] = Value::Null;
    begin_stream(exchange);
    let mut number = 0;
    let mut say = |exchange: &mut Exchange<'_>, kind: &str, mut event: Value| {
        event["type"] = json!(kind);
        event["sequence_number"] = json!(number);
        number += 1;
        named(exchange, &event);
    };
    say(
        exchange,
        "response.created",
        json!({ "response": response }),
    );
    match model {
        "cut-before" => return Then::Close,
        "empty" => {}
        "tool" | "tools" => {
            for (index, city) in cities.iter().enumerate() {
                let item = called(index, city);
                let place = json!({ "output_index": index, "item_id": item["id"] });
                let mut begun = item.clone();
                begun["arguments"] = json!("");
                let added = json!({ "output_index": index, "item": begun });
                say(exchange, "response.output_item.added", added);
                let mut delta = place.clone();
                delta["delta"] = item["arguments"].clone();
                say(exchange, "response.function_call_arguments.delta", delta);
                let mut done = place;
                done["arguments"] = item["arguments"].clone();
                say(exchange, "response.function_call_arguments.done", done);
                let done = json!({ "output_index": index, "item": item });
                say(exchange, "response.output_item.done", done);
            }
        }
        _ => {
            let index = usize::from(model == "think");
            if model == "think" {
                let mut begun = thought.clone();
                begun["summary"] = json!([]);
                let added = json!({ "output_index": 0, "item": begun });
                say(exchange, "response.output_item.added", added);
                let place = |mut event: Value| {
                    event["output_index"] = json!(0);
                    event["summary_index"] = json!(0);
                    event["item_id"] = thought["id"].clone();
                    event
                };
                let part = |text: &str| json!({ "part": { "type": "summary_text", "text": text } });
                say(
                    exchange,
                    "response.reasoning_summary_part.added",
                    place(part("")),
                );
                let delta = place(json!({ "delta": THOUGHT }));
                say(exchange, "response.reasoning_summary_text.delta", delta);
                let done = place(json!({ "text": THOUGHT }));
                say(exchange, "response.reasoning_summary_text.done", done);
                say(
                    exchange,
                    "response.reasoning_summary_part.done",
                    place(part(THOUGHT)),
                );
                let done = json!({ "output_index": 0, "item": thought });
                say(exchange, "response.output_item.done", done);
            }
            let mut begun = item.clone();
            begun["content"] = json!([]);
            say(
                exchange,
                "response.output_item.added",
                json!({ "output_index": index, "item": begun }),
            );
            let part = |text: &str| {
                json!({ "output_index": index, "content_index": 0, "item_id": "msg_1",
                    "part": { "type": "output_text", "text": text, "annotations": [] } })
            };
            say(exchange, "response.content_part.added", part(""));
            for word in &words {
                let delta = json!({ "output_index": index, "content_index": 0, "item_id": "msg_1",
                    "delta": word, "logprobs": [] });
                say(exchange, "response.output_text.delta", delta);
                match model {
                    "cut" => return Then::Close,
                    "hang" => return wait_for_the_end(exchange),
                    _ => {}
                }
            }
            let text = words.concat();
            let done = json!({ "output_index": index, "content_index": 0, "item_id": "msg_1", "text": text,
                "logprobs": [] });
            say(exchange, "response.output_text.done", done);
            say(exchange, "response.content_part.done", part(&text));
            let done = json!({ "output_index": index, "item": item });
            say(exchange, "response.output_item.done", done);
        }
    }
    say(exchange, "response.completed", json!({ "response": last }));
    exchange.send("0\r\n\r\n");
    Then::NextRequest
}

/// `/v1/completions`.
fn completion(exchange: &mut Exchange<'_>, model: &str, call: &Value) -> Then {
    let usage = json!({ "prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21,
        "prompt_tokens_details": { "cached_tokens": 4 } });
    let piece = |text: &str, finish: Value| {
        json!({ "id": "cmpl-1", "object": "text_completion", "created": 1, "model": model,
            "choices": [{ "index": 0, "text": text, "finish_reason": finish }] })
    };
    if call["stream"] != true {
        let mut answer = piece(&WORDS.concat(), json!("stop"));
        if model == "empty" {
            answer["choices"] = json!([]);
        }
        answer["usage"] = usage;
        return whole(exchange, 200, &answer);
    }
    begin_stream(exchange);
    match model {
        "cut-before" => return Then::Close,
        "empty" => {}
        _ => {
            for word in WORDS {
                event(exchange, &piece(word, Value::Null).to_string());
                if model == "cut" {
                    return Then::Close;
                }
            }
        }
    }
    event(exchange, &piece("", json!("stop")).to_string());
    if call["stream_options"]["include_usage"] == true {
        let mut last = piece("", Value::Null);
        last["choices"] = json!([]);
        last["usage"] = usage;
        event(exchange, &last.to_string());
    }
    event(exchange, "[DONE]");
    exchange.send("0\r\n\r\n");
    Then::NextRequest
}

/// `/v1/embeddings`: packed if it is asked for, as the official library does.
fn openai_vectors(exchange: &mut Exchange<'_>, model: &str, call: &Value) -> Then {
    let inputs = match &call["input"] {
        Value::Array(inputs) => inputs.clone(),
        one => vec![one.clone()],
    };
    let data = inputs.iter().enumerate().map(|(position, text)| {
        let vector = vector(text, position);
        let vector = match call["encoding_format"] == "base64" {
            true => {
                let bytes: Vec<u8> = vector
                    .iter()
                    .flat_map(|float| float.to_le_bytes())
                    .collect();
                json!(data_encoding::BASE64.encode(&bytes))
            }
            false => json!(vector),
        };
        json!({ "object": "embedding", "index": position, "embedding": vector })
    });
    let answer = json!({ "object": "list", "data": data.collect::<Vec<_>>(), "model": model,
        "usage": { "prompt_tokens": 9, "total_tokens": 9 } });
    whole(exchange, 200, &answer)
}

/// Other paths whose body is JSON.
fn openai_other(exchange: &mut Exchange<'_>, path: &str, model: &str, call: &Value) -> Then {
    if path.ends_with("/audio/speech") {
        let sound: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        exchange.send(
            "HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nTransfer-Encoding: chunked\r\n\r\n",
        );
        let pieces = match model {
            "no-sound" => return Then::Close,
            "cut-sound" => 1,
            _ => 4,
        };
        for piece in sound.chunks(25_000).take(pieces) {
            exchange.send(format!("{:x}\r\n", piece.len()));
            exchange.send(piece);
            exchange.send("\r\n");
        }
        if model == "cut-sound" {
            return Then::Close;
        }
        exchange.send("0\r\n\r\n");
        return Then::NextRequest;
    }
    let answer = match path.rsplit('/').next() {
        Some("moderations") => json!({ "id": "modr-1", "model": model,
            "results": [{ "flagged": false, "categories": {}, "category_scores": {} }] }),
        Some("generations") => json!({ "created": 1, "data": [{ "b64_json": "AAAA" }],
            "usage": { "input_tokens": 5, "output_tokens": 7, "total_tokens": 12 } }),
        _ => json!({ "path": path, "asked": call }),
    };
    whole(exchange, 200, &answer)
}

/// Other paths whose body is no JSON: forms, and none at all.
fn openai_without_json(exchange: &mut Exchange<'_>, line: &str) -> Then {
    match path_of(line).rsplit('/').next() {
        Some("transcriptions") => {
            let answer = json!({ "text": "Hello?", "usage": { "type": "tokens", "input_tokens": 9,
                "output_tokens": 12, "total_tokens": 21 } });
            whole(exchange, 200, &answer)
        }
        _ => whole(
            exchange,
            200,
            &json!({ "object": "list", "data": [], "line": line }),
        ),
    }
}

/// A provider that speaks Gemini's API.
pub fn gemini() -> Backend {
    Backend::scripted(|exchange| {
        let line = exchange.seen.head.line.clone();
        let Some((_, call)) = asked(exchange) else {
            return Then::Close;
        };
        let last = path_of(&line).rsplit('/').next().unwrap_or_default();
        let Some((model, verb)) = last.rsplit_once(':') else {
            return Then::Close;
        };
        let streams = verb == "streamGenerateContent";
        let usage = json!({ "promptTokenCount": 9, "cachedContentTokenCount": 4,
            "candidatesTokenCount": 12, "totalTokenCount": 21 });
        if let Some(status) = model.strip_prefix("status-") {
            let status: u16 = status.parse().expect("a status");
            return whole(exchange, status, &gemini_error(status));
        }
        match verb {
            "batchEmbedContents" => {
                let requests = call["requests"].as_array().map_or(&[][..], Vec::as_slice);
                let is_bad = |request: &Value| request["content"]["parts"][0]["text"] == "bad";
                if requests.len() > 100 || requests.iter().any(is_bad) {
                    return whole(exchange, 400, &gemini_error(400));
                }
                let usage = json!({ "promptTokenCount": requests.len() });
                let vectors = requests.iter().enumerate().map(|(position, request)| {
                    assert_eq!(request["model"], format!("models/{model}"));
                    let text = &request["content"]["parts"][0]["text"];
                    json!({ "values": vector(text, position) })
                });
                let answer =
                    json!({ "embeddings": vectors.collect::<Vec<_>>(), "usageMetadata": usage });
                return whole(exchange, 200, &answer);
            }
            "embedContent" => {
                let values = vector(&call["content"]["parts"][0]["text"], 0);
                return whole(exchange, 200, &json!({ "embedding": { "values": values } }));
            }
            _ => {}
        }
        let image = call["contents"][0]["parts"]
            .as_array()
            .into_iter()
            .flatten()
            .find_map(|part| part["inlineData"]["data"].as_str());
        let config = &call["generationConfig"];
        let has_schema =
            config["responseJsonSchema"].is_object() || config["responseSchema"].is_object();
        let (model, tool) = {
            let choice = &call["toolConfig"]["functionCallingConfig"];
            let first = &call["tools"][0]["functionDeclarations"][0]["name"];
            let named = &choice["allowedFunctionNames"][0];
            forced(model.to_owned(), named, choice["mode"] == "ANY", first)
        };
        let model = model.as_str();
        let mut recital = Recital::default();
        recital.say("system", &call["systemInstruction"]["parts"]);
        for content in call["contents"].as_array().into_iter().flatten() {
            recital.say(
                content["role"].as_str().unwrap_or("user"),
                &content["parts"],
            );
            for part in content["parts"].as_array().into_iter().flatten() {
                let (called, told) = (&part["functionCall"], &part["functionResponse"]);
                if called.is_object() {
                    recital.call(&called["name"], &called["args"]);
                }
                recital.say("result", &told["response"]);
            }
        }
        let words = words(model, image, has_schema, recital);
        let chunk = |part: Value, finish: Option<&str>| {
            let parts = match part {
                Value::Array(parts) => parts,
                part => vec![part],
            };
            let mut candidate =
                json!({ "content": { "role": "model", "parts": parts }, "index": 0 });
            if let Some(finish) = finish {
                candidate["finishReason"] = json!(finish);
            }
            json!({ "candidates": [candidate], "usageMetadata": usage, "modelVersion": model,
                "responseId": "resp-1" })
        };
        let calls = cities(model).iter();
        let calls: Value = calls
            .map(|city| json!({ "functionCall": { "name": tool, "args": { "city": city } } }))
            .collect();
        let thought = json!({ "text": THOUGHT, "thought": true });
        if !streams {
            return match model {
                "error-inside" => whole(exchange, 200, &gemini_error(500)),
                "cut" | "cut-before" => cut(exchange),
                "hang" => wait_for_the_end(exchange),
                "empty" => whole(exchange, 200, &json!({ "usageMetadata": usage })),
                "tool" | "tools" => whole(exchange, 200, &chunk(calls, Some("STOP"))),
                "think" => {
                    let parts =
                        json!([thought, { "text": words.concat(), "thoughtSignature": SIGNATURE }]);
                    whole(exchange, 200, &chunk(parts, Some("STOP")))
                }
                _ => whole(
                    exchange,
                    200,
                    &chunk(json!({ "text": words.concat() }), Some("STOP")),
                ),
            };
        }
        begin_stream(exchange);
        if model == "error-inside" {
            event(exchange, &gemini_error(500).to_string());
            exchange.send("0\r\n\r\n");
            return Then::NextRequest;
        }
        match model {
            "cut-before" => return Then::Close,
            "empty" => {}
            "tool" | "tools" => event(exchange, &chunk(calls, Some("STOP")).to_string()),
            _ => {
                if model == "think" {
                    event(exchange, &chunk(thought, None).to_string());
                }
                for (position, word) in words.iter().enumerate() {
                    let finish = (position + 1 == words.len()).then_some("STOP");
                    event(
                        exchange,
                        &chunk(json!({ "text": word }), finish).to_string(),
                    );
                    match model {
                        "cut" => return Then::Close,
                        "hang" => return wait_for_the_end(exchange),
                        _ => {}
                    }
                }
            }
        }
        exchange.send("0\r\n\r\n");
        Then::NextRequest
    })
}

fn gemini_error(status: u16) -> Value {
    let word = match status {
        400 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        503 => "UNAVAILABLE",
        _ => "INTERNAL",
    };
    json!({ "error": { "code": status, "message": format!("no luck: {status}"), "status": word } })
}

/// A provider that speaks Ollama's API.
pub fn ollama() -> Backend {
    Backend::scripted(|exchange| {
        let line = exchange.seen.head.line.clone();
        let Some((model, call)) = asked(exchange) else {
            return Then::Close;
        };
        let streams = call["stream"] != false;
        let error = json!({ "error": "no luck" });
        if let Some(status) = model.strip_prefix("status-") {
            let status: u16 = status.parse().expect("a status");
            let error = json!({ "error": format!("no luck: {status}") });
            return whole(exchange, status, &error);
        }
        match path_of(&line) {
            "/api/embed" => {
                let inputs = match &call["input"] {
                    Value::Array(inputs) => inputs.clone(),
                    one => vec![one.clone()],
                };
                let vectors = inputs.iter().enumerate();
                let vectors = vectors.map(|(position, text)| vector(text, position));
                let answer = json!({ "model": model, "embeddings": vectors.collect::<Vec<_>>(),
                    "prompt_eval_count": 9 });
                return whole(exchange, 200, &answer);
            }
            "/api/embeddings" => {
                let answer = json!({ "embedding": vector(&call["prompt"], 0) });
                return whole(exchange, 200, &answer);
            }
            _ => {}
        }
        let is_old = path_of(&line) == "/api/generate";
        let image = call["messages"][0]["images"][0].as_str();
        let mut recital = Recital::default();
        for message in call["messages"].as_array().into_iter().flatten() {
            match message["role"].as_str() {
                Some("tool") => recital.say("result", &message["content"]),
                role => recital.say(role.unwrap_or_default(), &message["content"]),
            }
            for call in message["tool_calls"].as_array().into_iter().flatten() {
                recital.call(&call["function"]["name"], &call["function"]["arguments"]);
            }
        }
        // It has no word for a tool that must be called.
        let only = match call["format"].is_object() {
            true => &Value::Null,
            false => &call["tools"][0]["function"]["name"],
        };
        let (model, called) = forced(model, only, false, only);
        let words = words(&model, image, call["format"].is_object(), recital);
        let piece = |message: Value, is_last: bool| {
            let mut piece =
                json!({ "model": model, "created_at": "2026-11-01T00:00:00Z", "done": is_last });
            match is_old {
                true => piece["response"] = message["content"].clone(),
                false => piece["message"] = message,
            }
            if is_last {
                piece["done_reason"] = json!("stop");
                piece["prompt_eval_count"] = json!(9);
                piece["eval_count"] = json!(12);
            }
            piece
        };
        let text = |text: &str| json!({ "role": "assistant", "content": text });
        let mut tool = text("");
        let calls = cities(&model).iter();
        tool["tool_calls"] = calls
            .map(|city| json!({ "function": { "name": called, "arguments": { "city": city } } }))
            .collect();
        let mut thought = text("");
        thought["thinking"] = json!(THOUGHT);
        if !streams {
            return match model.as_str() {
                "error-inside" => whole(exchange, 200, &error),
                "cut" | "cut-before" => cut(exchange),
                "hang" => wait_for_the_end(exchange),
                "empty" => whole(exchange, 200, &json!({ "model": model, "done": true })),
                "tool" | "tools" => whole(exchange, 200, &piece(tool, true)),
                "think" => {
                    thought["content"] = json!(words.concat());
                    whole(exchange, 200, &piece(thought, true))
                }
                _ => whole(exchange, 200, &piece(text(&words.concat()), true)),
            };
        }
        exchange.send(
            "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n",
        );
        let line = |exchange: &mut Exchange<'_>, value: &Value| {
            exchange.send(chunked(&format!("{value}\n")));
        };
        match model.as_str() {
            "cut-before" => return Then::Close,
            "error-inside" => line(exchange, &error),
            "empty" => line(exchange, &piece(text(""), true)),
            "tool" | "tools" => {
                line(exchange, &piece(tool, false));
                line(exchange, &piece(text(""), true));
            }
            _ => {
                if model == "think" {
                    line(exchange, &piece(thought, false));
                }
                for word in &words {
                    line(exchange, &piece(text(word), false));
                    match model.as_str() {
                        "cut" => return Then::Close,
                        "hang" => return wait_for_the_end(exchange),
                        _ => {}
                    }
                }
                line(exchange, &piece(text(""), true));
            }
        }
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
        ("too-long", _) => {
            let mut told = error(400);
            told["error"]["code"] = json!("context_length_exceeded");
            Some(whole(exchange, 400, &told))
        }
        ("error-inside", false) => Some(whole(exchange, 200, &error(500))),
        ("error-inside", true) => {
            begin_stream(exchange);
            exchange.send(chunked(&format!("event: error\ndata: {}\n\n", error(500))));
            exchange.send("0\r\n\r\n");
            Some(Then::NextRequest)
        }
        ("cut" | "cut-before", false) => Some(cut(exchange)),
        ("hang", false) => Some(wait_for_the_end(exchange)),
        _ => None,
    }
}

/// Less of an answer than its head announces.
fn cut(exchange: &mut Exchange<'_>) -> Then {
    exchange.send(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{\"id\":",
    );
    Then::Close
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
