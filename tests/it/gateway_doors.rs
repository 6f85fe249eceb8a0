//! `llm_gateway`: every front door to every kind of provider.
//!
//! A door is a client's format: how a call is said in it, and what an answer says. A provider does what
//! the name of the model says ([`model`]). What must come out does not depend on which of them meet.

use serde_json::{Value, json};

use crate::support::backend::Backend;
use crate::support::client::Answer;
use crate::support::model::{self, WORDS};
use crate::support::server::{Server, Setup, eventually};

/// One of each kind, and a gateway before them. `o` also answers `/v1/responses`.
struct Providers {
    all: [(&'static str, Backend); 4],
}

impl Providers {
    fn start() -> Self {
        Self {
            all: model::one_of_each(),
        }
    }

    fn gateway(&self) -> Server {
        let [o, a, g, l] = &self.all;
        Setup::http(
            "llm_provider o { base_url http://%O%/v1; retries 0; api_key file:%PREFIX%/key; }
             llm_provider a { api anthropic; base_url http://%A%; retries 0; api_key file:%PREFIX%/key; }
             llm_provider g { api gemini; base_url http://%G%; retries 0; api_key file:%PREFIX%/key; }
             llm_provider l { api ollama; base_url http://%L%; retries 0; }
             llm_model alias { target o/say; } llm_model other:8b { target l/say; }
             log_format all '$request $request_uri $args $arg_key $http_x_nothing';
             server { listen %LISTEN1%; access_log all.log all; location / { llm_gateway anybody; } }",
        )
        .set("O", o.1.address())
        .set("A", a.1.address())
        .set("G", g.1.address())
        .set("L", l.1.address())
        .file("key", "of-the-provider-0123456789\n")
        .start()
    }
}

/// How a client speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Door {
    OpenAi,
    Completions,
    Responses,
    Anthropic,
    Gemini,
    /// Gemini's streams without `alt=sse`: one array.
    GeminiArray,
    Ollama,
    Generate,
}

use Door::{Anthropic, Completions, Gemini, GeminiArray, Generate, Ollama, OpenAi, Responses};

const DOORS: [Door; 8] = [
    OpenAi,
    Completions,
    Responses,
    Anthropic,
    Gemini,
    GeminiArray,
    Ollama,
    Generate,
];

/// A picture, as far as anybody here looks.
const PICTURE: &str = "iVBORw0KGgo=";

impl Door {
    /// Does it know of tools, pictures and the like?
    fn is_chat(self) -> bool {
        !matches!(self, Completions | Generate)
    }

    fn ask(self, server: &Server, model: &str, stream: bool) -> Answer {
        let schema = json!({ "type": "object", "properties": { "city": { "type": "string" } },
            "required": ["city"], "additionalProperties": false });
        let wants = |what: &str| model.ends_with(what);
        let (tool, see, form) = (wants("/tool"), wants("/see"), wants("/json"));
        let mut call = match self {
            OpenAi => {
                let picture = json!({ "type": "image_url",
                    "image_url": { "url": format!("data:image/png;base64,{PICTURE}") } });
                let content = match see {
                    true => json!([{ "type": "text", "text": "Hello?" }, picture]),
                    false => json!("Hello?"),
                };
                let mut call = json!({ "messages": [{ "role": "user", "content": content }] });
                if tool {
                    call["tools"] = json!([{ "type": "function",
                        "function": { "name": "weather", "parameters": schema } }]);
                }
                if form {
                    call["response_format"] = json!({ "type": "json_schema",
                        "json_schema": { "name": "place", "schema": schema, "strict": true } });
                }
                call
            }
            Completions => json!({ "prompt": "Hello?" }),
            Responses => {
                let picture = json!({ "type": "input_image",
                    "image_url": format!("data:image/png;base64,{PICTURE}"), "detail": "auto" });
                let text = json!({ "type": "input_text", "text": "Hello?" });
                let content = if see {
                    json!([text, picture])
                } else {
                    json!([text])
                };
                let mut call = json!({ "input": [{ "role": "user", "content": content }] });
                if tool {
                    call["tools"] = json!([{ "type": "function", "name": "weather",
                        "parameters": schema, "strict": true }]);
                }
                if form {
                    call["text"] = json!({ "format": { "type": "json_schema", "name": "place",
                        "schema": schema, "strict": true } });
                }
                call
            }
            Anthropic => {
                let picture = json!({ "type": "image", "source": { "type": "base64",
                    "media_type": "image/png", "data": PICTURE } });
                let text = json!({ "type": "text", "text": "Hello?" });
                let content = if see {
                    json!([text, picture])
                } else {
                    json!([text])
                };
                let mut call = json!({ "max_tokens": 100,
                    "messages": [{ "role": "user", "content": content }] });
                if tool {
                    call["tools"] = json!([{ "name": "weather", "input_schema": schema }]);
                }
                if form {
                    call["output_config"] =
                        json!({ "format": { "type": "json_schema", "schema": schema } });
                }
                call
            }
            Gemini | GeminiArray => {
                let mut parts = vec![json!({ "text": "Hello?" })];
                if see {
                    let picture = json!({ "mimeType": "image/png", "data": PICTURE });
                    parts.push(json!({ "inlineData": picture }));
                }
                let mut call = json!({ "contents": [{ "role": "user", "parts": parts }] });
                if tool {
                    call["tools"] = json!([{ "functionDeclarations":
                        [{ "name": "weather", "parametersJsonSchema": schema }] }]);
                }
                if form {
                    call["generationConfig"] = json!({ "responseMimeType": "application/json",
                        "responseJsonSchema": schema });
                }
                call
            }
            Ollama => {
                let mut message = json!({ "role": "user", "content": "Hello?" });
                if see {
                    message["images"] = json!([PICTURE]);
                }
                let mut call = json!({ "messages": [message] });
                if tool {
                    call["tools"] = json!([{ "type": "function",
                        "function": { "name": "weather", "parameters": schema } }]);
                }
                if form {
                    call["format"] = schema;
                }
                call
            }
            Generate => json!({ "prompt": "Hello?" }),
        };
        let encoded = model.replace('/', "%2F");
        let path = match (self, stream) {
            (OpenAi, _) => "/v1/chat/completions".to_owned(),
            (Completions, _) => "/v1/completions".to_owned(),
            (Responses, _) => "/v1/responses".to_owned(),
            (Anthropic, _) => "/v1/messages".to_owned(),
            (Gemini | GeminiArray, false) => format!("/v1beta/models/{encoded}:generateContent"),
            (Gemini, true) => {
                format!("/v1/models/{encoded}:streamGenerateContent?alt=sse&key=oc-of-the-client")
            }
            (GeminiArray, true) => format!("/v1beta/models/{encoded}:streamGenerateContent"),
            (Ollama, _) => "/api/chat".to_owned(),
            (Generate, _) => "/api/generate".to_owned(),
        };
        match self {
            Gemini | GeminiArray => {}
            // Theirs stream unless told not to.
            Ollama | Generate if stream => call["model"] = json!(model),
            _ => {
                call["model"] = json!(model);
                call["stream"] = json!(stream);
            }
        }
        let fields = match self {
            Anthropic => "x-api-key: oc-of-the-client\r\nanthropic-version: 2023-06-01\r\n",
            Gemini | GeminiArray => "x-goog-api-key: oc-of-the-client\r\n",
            _ => "Authorization: Bearer oc-of-the-client\r\n",
        };
        let body = call.to_string();
        server.connect(1).ask(&format!(
            "POST {path} HTTP/1.1\r\nHost: ai.example\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n{fields}\r\n{body}",
            body.len()
        ))
    }

    /// The objects of an answer: one, or those of its stream.
    pub fn objects(self, answer: &Answer, stream: bool) -> Vec<Value> {
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let parse = |text: &str| -> Value {
            serde_json::from_str(text).unwrap_or_else(|_| panic!("JSON: {text}"))
        };
        match (self, stream) {
            (_, false) => vec![parse(&text)],
            (GeminiArray, true) => match serde_json::from_str(&text) {
                Ok(Value::Array(objects)) => objects,
                // One that broke off: as far as it goes.
                _ => match parse(&format!("{text}]")) {
                    Value::Array(objects) => objects,
                    other => panic!("an array: {other}"),
                },
            },
            (Ollama | Generate, true) => text.lines().map(parse).collect(),
            _ => {
                let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
                data.filter(|data| *data != "[DONE]").map(parse).collect()
            }
        }
    }

    /// What an object says.
    pub fn text(self, object: &Value, stream: bool) -> String {
        let pick = |list: &Value, name: &str| -> String {
            let items = list.as_array().into_iter().flatten();
            items.filter_map(|item| item[name].as_str()).collect()
        };
        let said = match (self, stream) {
            (OpenAi, false) => &object["choices"][0]["message"]["content"],
            (OpenAi, true) => &object["choices"][0]["delta"]["content"],
            (Completions, _) => &object["choices"][0]["text"],
            (Responses, false) => return pick(&object["output"][0]["content"], "text"),
            (Responses, true) if object["type"] == "response.output_text.delta" => &object["delta"],
            (Anthropic, false) => return pick(&object["content"], "text"),
            (Anthropic, true) => &object["delta"]["text"],
            (Gemini | GeminiArray, _) => {
                return pick(&object["candidates"][0]["content"]["parts"], "text");
            }
            (Ollama, _) => &object["message"]["content"],
            (Generate, _) => &object["response"],
            (Responses, true) => &Value::Null,
        };
        said.as_str().unwrap_or_default().to_owned()
    }

    /// The tools that an answer calls, with what they are given.
    fn tools(self, objects: &[Value], stream: bool) -> Vec<(String, Value)> {
        let mut found = Vec::new();
        // What comes in pieces.
        let (mut name, mut arguments) = (String::new(), String::new());
        let mut add = |text: &Value, arguments_text: &Value| {
            name.push_str(text.as_str().unwrap_or_default());
            arguments.push_str(arguments_text.as_str().unwrap_or_default());
        };
        for object in objects {
            match (self, stream) {
                (OpenAi, _) => {
                    let message = if stream { "delta" } else { "message" };
                    let calls = &object["choices"][0][message]["tool_calls"];
                    for call in calls.as_array().into_iter().flatten() {
                        add(&call["function"]["name"], &call["function"]["arguments"]);
                    }
                }
                (Responses, false) => {
                    let item = &object["output"][0];
                    add(&item["name"], &item["arguments"]);
                }
                (Responses, true) => match object["type"].as_str() {
                    Some("response.output_item.added") => {
                        add(&object["item"]["name"], &Value::Null);
                    }
                    Some("response.function_call_arguments.delta") => {
                        add(&Value::Null, &object["delta"]);
                    }
                    _ => {}
                },
                (Anthropic, false) => {
                    for block in object["content"].as_array().into_iter().flatten() {
                        if block["type"] == "tool_use" {
                            add(&block["name"], &json!(block["input"].to_string()));
                        }
                    }
                }
                (Anthropic, true) => add(
                    &object["content_block"]["name"],
                    &object["delta"]["partial_json"],
                ),
                (Gemini | GeminiArray, _) => {
                    let parts = &object["candidates"][0]["content"]["parts"];
                    for part in parts.as_array().into_iter().flatten() {
                        if part["functionCall"].is_object() {
                            let call = &part["functionCall"];
                            add(&call["name"], &json!(call["args"].to_string()));
                        }
                    }
                }
                (Ollama, _) => {
                    let calls = &object["message"]["tool_calls"];
                    for call in calls.as_array().into_iter().flatten() {
                        let function = &call["function"];
                        add(&function["name"], &json!(function["arguments"].to_string()));
                    }
                }
                (Completions | Generate, _) => {}
            }
        }
        if !name.is_empty() {
            let arguments = serde_json::from_str(&arguments);
            found.push((name, arguments.unwrap_or_else(|_| panic!("{objects:?}"))));
        }
        found
    }

    /// Input, cached input and output, as far as the format tells them.
    fn usage(self, objects: &[Value]) -> (u64, u64, u64) {
        let number = |names: &[&str]| {
            let mut found = objects.iter().filter_map(|object| {
                let found = names.iter().fold(object, |object, name| &object[*name]);
                found.as_u64()
            });
            found.next_back().unwrap_or_default()
        };
        match self {
            OpenAi | Completions => (
                number(&["usage", "prompt_tokens"]),
                number(&["usage", "prompt_tokens_details", "cached_tokens"]),
                number(&["usage", "completion_tokens"]),
            ),
            Responses => {
                let whole = number(&["usage", "input_tokens"]) > 0;
                let of = |names: &[&str]| match whole {
                    true => number(names),
                    false => number(&[&["response"], names].concat()),
                };
                (
                    of(&["usage", "input_tokens"]),
                    of(&["usage", "input_tokens_details", "cached_tokens"]),
                    of(&["usage", "output_tokens"]),
                )
            }
            Anthropic => {
                let started = number(&["message", "usage", "cache_read_input_tokens"]);
                let cached = number(&["usage", "cache_read_input_tokens"]).max(started);
                let started = number(&["message", "usage", "input_tokens"]);
                let input = match number(&["usage", "input_tokens"]) {
                    0 => started,
                    input => input,
                };
                (input + cached, cached, number(&["usage", "output_tokens"]))
            }
            Gemini | GeminiArray => (
                number(&["usageMetadata", "promptTokenCount"]),
                number(&["usageMetadata", "cachedContentTokenCount"]),
                number(&["usageMetadata", "candidatesTokenCount"]),
            ),
            Ollama | Generate => (number(&["prompt_eval_count"]), 0, number(&["eval_count"])),
        }
    }

    /// What the error in an answer says, where its format has it.
    fn error(self, object: &Value) -> Option<String> {
        let said = match self {
            Responses if object["type"] == "error" => &object["message"],
            Ollama | Generate => &object["error"],
            _ => &object["error"]["message"],
        };
        said.as_str().map(str::to_owned)
    }
}

/// Every door to every provider, whole and as a stream.
fn all() -> impl Iterator<Item = (Door, &'static str, bool)> {
    let doors = DOORS.into_iter();
    doors.flat_map(|door| {
        let providers = ["o", "a", "g", "l"].into_iter();
        providers.flat_map(move |provider| [false, true].map(|stream| (door, provider, stream)))
    })
}

#[test]
fn every_door_chats_with_every_provider_whole_and_streamed() {
    let providers = Providers::start();
    let server = providers.gateway();
    for (door, provider, stream) in all() {
        let what = format!("{door:?} to {provider}, stream {stream}");
        let answer = door.ask(&server, &format!("{provider}/say"), stream);
        assert_eq!(answer.status, 200, "{what}: {}", answer.text());
        let objects = door.objects(&answer, stream);
        let said: Vec<String> = objects.iter().map(|one| door.text(one, stream)).collect();
        assert_eq!(said.concat(), WORDS.concat(), "{what}: {}", answer.text());
        if stream {
            let pieces: Vec<&String> = said.iter().filter(|piece| !piece.is_empty()).collect();
            assert_eq!(pieces.len(), 3, "{what}: each as it came: {said:?}");
        }
        let kind = match (door, stream) {
            (_, false) | (GeminiArray, true) => "application/json",
            (Ollama | Generate, true) => "application/x-ndjson",
            _ => "text/event-stream",
        };
        assert_eq!(answer.value("Content-Type"), Some(kind), "{what}");
        let (input, cached, output) = door.usage(&objects);
        // Clients of OpenAI get usage in streams if they ask for it.
        if !(stream && matches!(door, OpenAi | Completions)) {
            assert_eq!((input, output), (9, 12), "{what}: {}", answer.text());
            let tells = provider != "l" && !matches!(door, Ollama | Generate);
            assert_eq!(
                cached,
                if tells { 4 } else { 0 },
                "{what}: {}",
                answer.text()
            );
        }
        assert!(
            answer.text().contains(&format!("{provider}/say")),
            "{what}: its name"
        );
    }
    for (_, backend) in &providers.all {
        for seen in backend.seen() {
            let all = format!("{:?}", seen.head);
            assert!(!all.contains("oc-of-the-client"), "{all}");
        }
    }
    let log = eventually("the log", || {
        let log = std::fs::read_to_string(server.site().prefix.join("all.log")).ok()?;
        (log.lines().count() == all().count()).then_some(log)
    });
    assert!(log.contains("?alt=sse&key=****"), "{log}");
    assert!(!log.contains("oc-of-the-client"), "{log}");
}

#[test]
fn every_door_has_tools_pictures_and_schemas_with_every_provider() {
    let providers = Providers::start();
    let server = providers.gateway();
    for (door, provider, stream) in all().filter(|(door, ..)| door.is_chat()) {
        let what = format!("{door:?} to {provider}, stream {stream}");
        let answer = door.ask(&server, &format!("{provider}/tool"), stream);
        assert_eq!(answer.status, 200, "{what}: {}", answer.text());
        let called = door.tools(&door.objects(&answer, stream), stream);
        let expected = [("weather".to_owned(), json!({ "city": "Bern" }))];
        assert_eq!(called, expected, "{what}: {}", answer.text());
        for (model, expected) in [
            ("see", format!("saw {PICTURE}")),
            ("json", "{\"city\":\"Bern\"}".to_owned()),
        ] {
            let answer = door.ask(&server, &format!("{provider}/{model}"), stream);
            assert_eq!(answer.status, 200, "{what} {model}: {}", answer.text());
            let objects = door.objects(&answer, stream);
            let said: String = objects.iter().map(|one| door.text(one, stream)).collect();
            assert_eq!(said, expected, "{what} {model}: {}", answer.text());
        }
    }
}

#[test]
fn errors_of_every_provider_are_told_in_the_words_of_every_door() {
    let providers = Providers::start();
    let mut server = providers.gateway();
    let mut last = None;
    for (door, provider, stream) in all() {
        // Who failed at one door would be left alone at the next.
        if last.replace(door).is_some_and(|last| last != door) {
            server = providers.gateway();
        }
        for (model, status) in [
            ("status-400", 400),
            ("status-429", 429),
            ("status-500", 500),
            ("error-inside", 500),
            ("empty", 502),
            ("cut-before", 502),
        ] {
            let what = format!("{door:?} to {provider}/{model}, stream {stream}");
            let answer = door.ask(&server, &format!("{provider}/{model}"), stream);
            let object = &door.objects(&answer, false)[0];
            let said = door.error(object);
            assert!(
                said.is_some_and(|said| !said.is_empty()),
                "{what}: {object}"
            );
            let near = answer.status / 100 == status / 100;
            assert!(
                near && answer.status >= 400,
                "{what}: {}: {object}",
                answer.status
            );
            if status < 500 {
                assert_eq!(answer.status, status, "{what}: {object}");
            }
        }
    }
}

#[test]
fn a_stream_that_breaks_off_is_an_error_at_every_door() {
    let providers = Providers::start();
    let mut server = providers.gateway();
    let mut last = None;
    for (door, provider, _) in all().filter(|(.., stream)| *stream) {
        // Who failed at one door would be left alone at the next.
        if last.replace(door).is_some_and(|last| last != door) {
            server = providers.gateway();
        }
        let what = format!("{door:?} to {provider}");
        let answer = door.ask(&server, &format!("{provider}/cut"), true);
        assert_eq!(answer.status, 200, "{what}: {}", answer.text());
        let objects = door.objects(&answer, true);
        let said = door.error(objects.last().expect("objects"));
        assert!(
            said.is_some_and(|said| said.contains("ended before its end")),
            "{what}: {}",
            answer.text()
        );
        for end in [
            "[DONE]",
            "message_stop",
            "response.completed",
            "\"done\":true",
            "STOP",
        ] {
            assert!(!answer.text().contains(end), "{what}: {}", answer.text());
        }
        if door == GeminiArray {
            // Who waits for the whole array never gets one.
            let whole: Result<Value, _> = serde_json::from_slice(&answer.body);
            assert!(whole.is_err(), "{what}: {}", answer.text());
        }
    }
}

#[test]
fn a_client_that_leaves_ends_the_call_at_every_provider() {
    let providers = Providers::start();
    let server = providers.gateway();
    for (name, backend) in &providers.all {
        let call = json!({ "model": format!("{name}/hang"), "stream": true,
            "messages": [{ "role": "user", "content": "Hello?" }] })
        .to_string();
        let mut client = server.connect(1);
        client.send(format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{call}",
            call.len()
        ));
        eventually("the call arrived", || {
            (backend.seen().len() == 1).then_some(())
        });
        drop(client);
        eventually("the provider is let go", || {
            (backend.open() == 0).then_some(())
        });
    }
}

#[test]
fn keys_of_providers_stand_where_each_wants_them() {
    let providers = Providers::start();
    let server = providers.gateway();
    let key = "of-the-provider-0123456789";
    for (name, backend) in &providers.all {
        OpenAi.ask(&server, &format!("{name}/say"), false);
        let head = &backend.seen()[0].head;
        let (field, value) = match *name {
            "o" => ("Authorization", format!("Bearer {key}")),
            "a" => ("x-api-key", key.to_owned()),
            "g" => ("x-goog-api-key", key.to_owned()),
            _ => continue,
        };
        assert_eq!(head.value(field), Some(&*value), "{name}");
    }
    assert_eq!(
        providers.all[3].1.seen()[0].head.value("Authorization"),
        None
    );
}

fn get(server: &Server, path: &str, fields: &str) -> Value {
    let answer = server
        .connect(1)
        .ask(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("JSON: {}", answer.text()))
}

#[test]
fn what_clients_of_ollama_and_gemini_ask_before_they_chat_is_answered() {
    let providers = Providers::start();
    let server = providers.gateway();
    let tags = get(&server, "/api/tags", "");
    assert_eq!(tags["models"][1]["name"], "other:8b", "{tags}");
    assert!(get(&server, "/api/version", "")["version"].is_string());
    assert_eq!(get(&server, "/api/ps", "")["models"], json!([]));
    let show = |name: &str| {
        let body = json!({ "model": name }).to_string();
        server.connect(1).ask(&format!(
            "POST /api/show HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    };
    let shown = show("alias");
    assert_eq!(shown.status, 200, "{}", shown.text());
    assert!(
        shown.text().contains("\"capabilities\""),
        "{}",
        shown.text()
    );
    assert_eq!(show("alias:latest").status, 200, "as its clients spell it");
    let unknown = show("nothing");
    assert_eq!(unknown.status, 404, "{}", unknown.text());
    let list = get(&server, "/v1beta/models", "x-goog-api-key: oc-1\r\n");
    assert_eq!(list["models"][0]["name"], "models/alias", "{list}");
    let list = get(&server, "/v1/models?key=oc-1", "");
    assert_eq!(list["models"][0]["name"], "models/alias", "{list}");
    let one = get(&server, "/v1beta/models/alias", "");
    assert_eq!(one["name"], "models/alias", "{one}");
    let body = json!({ "contents": [{ "role": "user", "parts": [{ "text": "Hello, you?" }] }] });
    let body = body.to_string();
    let counted = server.connect(1).ask(&format!(
        "POST /v1beta/models/alias:countTokens HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    assert!(
        counted.text().contains("\"totalTokens\":"),
        "{}",
        counted.text()
    );
    let chat = Ollama.ask(&server, "alias:latest", false);
    assert_eq!(chat.status, 200, "{}", chat.text());
}
