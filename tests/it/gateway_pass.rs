//! `llm_gateway`: vectors between all formats, and other paths of a provider that pass as they are.

use serde_json::{Value, json};

use crate::support::backend::Backend;
use crate::support::client::Answer;
use crate::support::model;
use crate::support::server::{Server, Setup, eventually};

struct Providers {
    openai: Backend,
    gemini: Backend,
    ollama: Backend,
}

impl Providers {
    fn start() -> Self {
        Self {
            openai: model::openai(),
            gemini: model::gemini(),
            ollama: model::ollama(),
        }
    }

    fn gateway(&self, more: &str) -> Server {
        Setup::http(&format!(
            "llm_provider o {{ base_url http://%O%/v1; api_key file:%PREFIX%/o.key; {more} }}
             llm_provider g {{ api gemini; base_url http://%G%; api_key file:%PREFIX%/g.key; }}
             llm_provider l {{ api ollama; base_url http://%L%; }}
             llm_model alias {{ target o/embed; }}
             log_format calls '$llm_model|$llm_target|$llm_outcome|$llm_input_tokens|$llm_output_tokens|$llm_cost';
             server {{ listen %LISTEN1%; access_log calls.log calls; client_max_body_size 1m;
                location / {{ llm_gateway anybody; }} location /deep/ {{ llm_gateway anybody; }} }}"
        ))
        .set("O", self.openai.address())
        .set("G", self.gemini.address())
        .set("L", self.ollama.address())
        .file("o.key", "sk-of-o-0123456789\n")
        .file("g.key", "of-g-0123456789\n")
        .start()
    }
}

fn send(server: &Server, line: &str, kind: &str, body: &[u8]) -> Answer {
    let mut client = server.connect(1);
    let length = body.len();
    let kind = match kind {
        "" => String::new(),
        kind => format!("Content-Type: {kind}\r\n"),
    };
    let head = format!("{line} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n{kind}\r\n");
    client.send([head.as_bytes(), body].concat());
    client.answer(line.split(' ').next().unwrap_or_default())
}

fn post(server: &Server, path: &str, call: &Value) -> Answer {
    let line = format!("POST {path}");
    send(
        server,
        &line,
        "application/json",
        call.to_string().as_bytes(),
    )
}

fn read(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("JSON: {}", answer.text()))
}

/// The last line of the log, once there are so many.
fn logged(server: &Server, count: usize) -> String {
    eventually("the log", || {
        let log = std::fs::read_to_string(server.site().prefix.join("calls.log")).ok()?;
        log.lines().nth(count - 1).map(str::to_owned)
    })
}

#[test]
fn vectors_are_made_by_every_provider_for_every_format() {
    let providers = Providers::start();
    let server = providers.gateway("");
    let expected = json!([[2.0, 1.0, 0.0], [4.0, 2.0, 1.0]]);
    for provider in ["o", "g", "l"] {
        let name = format!("{provider}/embed");
        let call = json!({ "model": name, "input": ["ab", "abcd"] });
        let answer = post(&server, "/v1/embeddings", &call);
        assert_eq!(answer.status, 200, "{provider}: {}", answer.text());
        let told = read(&answer);
        let vectors = [0, 1].map(|at| told["data"][at]["embedding"].clone());
        assert_eq!(json!(vectors), expected, "{provider}");
        assert_eq!(told["model"], name);
        assert!(told["usage"]["total_tokens"].as_u64() > Some(0), "{told}");

        // As the official library asks: packed.
        let call = json!({ "model": name, "input": "ab", "encoding_format": "base64" });
        let told = read(&post(&server, "/v1/embeddings", &call));
        let packed = &told["data"][0]["embedding"];
        assert_eq!(packed, "AAAAQAAAgD8AAAAA", "{provider}: {told}");

        let requests = ["ab", "abcd"].map(|text| {
            json!({ "model": format!("models/{name}"), "content": { "parts": [{ "text": text }] } })
        });
        let path = format!("/v1beta/models/{provider}%2Fembed");
        let call = json!({ "requests": requests });
        let told = read(&post(&server, &format!("{path}:batchEmbedContents"), &call));
        let vectors = [0, 1].map(|at| told["embeddings"][at]["values"].clone());
        assert_eq!(json!(vectors), expected, "{provider}: {told}");
        let call = json!({ "content": { "parts": [{ "text": "ab" }] } });
        let told = read(&post(&server, &format!("{path}:embedContent"), &call));
        assert_eq!(
            told["embedding"]["values"], expected[0],
            "{provider}: {told}"
        );

        let call = json!({ "model": name, "input": ["ab", "abcd"] });
        let told = read(&post(&server, "/api/embed", &call));
        assert_eq!(told["embeddings"], expected, "{provider}: {told}");
        let call = json!({ "model": name, "prompt": "ab" });
        let told = read(&post(&server, "/api/embeddings", &call));
        assert_eq!(told["embedding"], expected[0], "{provider}: {told}");
    }
}

#[test]
fn more_texts_than_a_provider_takes_at_once_are_asked_for_in_parts() {
    let providers = Providers::start();
    let server = providers.gateway("");
    let texts = |count: usize| {
        (1..=count)
            .map(|length| "a".repeat(length))
            .collect::<Vec<_>>()
    };
    let ask = |texts: &[String]| {
        let call = json!({ "model": "g/embed", "input": texts });
        post(&server, "/v1/embeddings", &call)
    };
    let answer = ask(&texts(250));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told = read(&answer);
    let vectors = told["data"].as_array().expect("vectors").iter();
    let firsts = vectors.map(|one| one["embedding"][0].as_f64().unwrap_or_default() as usize);
    assert_eq!(firsts.collect::<Vec<_>>(), (1..=250).collect::<Vec<_>>());
    assert_eq!(told["usage"]["prompt_tokens"], 250);
    assert_eq!(answer.value("x-openclaw-attempts"), Some("g/embed:ok"));
    assert_eq!(logged(&server, 1), "g/embed|g/embed|ok|250|0|-");
    assert_eq!(providers.gemini.seen().len(), 3);

    // What was answered before one part fails is paid, and told.
    let mut bad = texts(250);
    bad[170] = "bad".to_owned();
    let answer = ask(&bad);
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_eq!(read(&answer)["error"]["message"], "no luck: 400");
    assert_eq!(logged(&server, 2), "g/embed|-|invalid_value|100|0|-");
    assert_eq!(providers.gemini.seen().len(), 5);

    let answer = ask(&vec!["a".to_owned(); 2049]);
    assert_eq!(answer.status, 400);
    let error = &read(&answer)["error"];
    assert!(
        error["message"]
            .as_str()
            .is_some_and(|told| told.contains("at most 2048")),
        "{error}"
    );
    assert_eq!(error["param"], "input");
    assert_eq!(providers.gemini.seen().len(), 5);
}

#[test]
fn vectors_cost_their_input_alone_and_stand_under_the_name_that_was_asked() {
    let providers = Providers::start();
    let server = providers.gateway("");
    let answer = post(
        &server,
        "/v1/embeddings",
        &json!({ "model": "alias", "input": "Hello?" }),
    );
    assert_eq!(read(&answer)["model"], "alias");
    assert_eq!(answer.value("x-openclaw-model"), Some("o/embed"));
    assert_eq!(logged(&server, 1), "alias|o/embed|ok|9|0|-");
    let call = json!({ "model": "o/text-embedding-3-small", "input": "Hello?" });
    assert_eq!(post(&server, "/v1/embeddings", &call).status, 200);
    // Nine tokens at two cents a million.
    assert_eq!(
        logged(&server, 2),
        "o/text-embedding-3-small|o/text-embedding-3-small|ok|9|0|0.00000018"
    );
}

#[test]
fn tokens_of_another_model_and_providers_without_vectors_are_refused_by_name() {
    let providers = Providers::start();
    let server = providers.gateway("");
    let call = json!({ "model": "g/embed", "input": [[1, 2], [3]] });
    let answer = post(&server, "/v1/embeddings", &call);
    assert_eq!(answer.status, 400);
    let error = &read(&answer)["error"];
    assert_eq!(error["param"], "input[0]", "{error}");
    assert_eq!(providers.gemini.seen().len(), 0);
}

/// A form as libraries send it, with a sound in it.
fn form(model: &str, sound: &[u8]) -> Vec<u8> {
    let mut form = format!(
        "--b0undary\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n{model}\r\n\
         --b0undary\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\
         Content-Type: audio/wav\r\n\r\n"
    )
    .into_bytes();
    form.extend_from_slice(sound);
    form.extend_from_slice(b"\r\n--b0undary--\r\n");
    form
}

#[test]
fn a_form_goes_on_byte_for_byte_but_for_the_name_of_its_model() {
    let providers = Providers::start();
    let server = providers.gateway("");
    let sound: Vec<u8> = (0..=255).cycle().take(200_000).collect();
    let kind = "multipart/form-data; boundary=b0undary";
    let answer = send(
        &server,
        "POST /v1/audio/transcriptions",
        kind,
        &form("o/whisper-x", &sound),
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(read(&answer)["text"], "Hello?");
    let seen = providers.openai.seen();
    assert_eq!(seen[0].head.value("Content-Type"), Some(kind));
    assert_eq!(seen[0].body, form("whisper-x", &sound));
    assert_eq!(
        logged(&server, 1),
        "o/whisper-x|o/whisper-x|ok|9|12|-",
        "the provider told what it used"
    );

    let twice = [
        &form("o/cheap", b"")[..],
        b"--b0undary\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\no/dear\r\n--b0undary--\r\n",
    ]
    .concat();
    for bad in [twice, b"--b0undary".to_vec(), b"no form".to_vec()] {
        let answer = send(&server, "POST /v1/audio/transcriptions", kind, &bad);
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert_eq!(read(&answer)["error"]["param"], "model");
    }
    let large = send(
        &server,
        "POST /v1/audio/transcriptions",
        kind,
        &form("o/whisper-x", &vec![0; 2 << 20]),
    );
    assert_eq!(large.status, 413, "{}", large.text());
    assert_eq!(read(&large)["error"]["code"], "request_too_large");
}

#[test]
fn sound_passes_as_it_comes_and_one_that_breaks_off_is_seen_to() {
    let providers = Providers::start();
    let server = providers.gateway("");
    let call = json!({ "model": "o/tts-x", "input": "Hello?", "voice": "v" });
    let answer = post(&server, "/v1/audio/speech", &call);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.value("Content-Type"), Some("audio/mpeg"));
    assert_eq!(answer.value("x-openclaw-model"), Some("o/tts-x"));
    let sound: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    assert!(answer.body == sound, "{} bytes", answer.body.len());
    // Seconds of sound are no tokens: what it cost nobody knows.
    assert_eq!(logged(&server, 1), "o/tts-x|o/tts-x|ok|0|0|-");

    let call = json!({ "model": "o/cut-sound", "input": "Hello?", "voice": "v" });
    let answer = post(&server, "/v1/audio/speech", &call);
    assert!(answer.cut.is_some(), "{answer:?}");
    assert!(logged(&server, 2).contains("|upstream_truncated|"));
}

#[test]
fn pictures_and_judgements_pass_with_the_providers_name_for_the_model() {
    let providers = Providers::start();
    let server = providers.gateway("");
    let call = json!({ "model": "o/gpt-image-x", "prompt": "A cat", "n": 1 });
    let answer = post(&server, "/deep/v1/images/generations", &call);
    assert_eq!(read(&answer)["data"][0]["b64_json"], "AAAA");
    let asked = &providers.openai.seen()[0];
    assert_eq!(asked.head.line, "POST /v1/images/generations HTTP/1.1");
    let expected = call.to_string().replace("o/gpt-image-x", "gpt-image-x");
    assert_eq!(String::from_utf8_lossy(&asked.body), expected);
    assert_eq!(logged(&server, 1), "o/gpt-image-x|o/gpt-image-x|ok|5|7|-");

    // No model, no provider named: the first that speaks the API judges.
    let answer = post(&server, "/v1/moderations", &json!({ "input": "Hello?" }));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(read(&answer)["results"][0]["flagged"], false);
    assert!(logged(&server, 2).starts_with("moderations|o|ok|"));
    let error = post(
        &server,
        "/v1/images/generations",
        &json!({ "model": "o/status-429", "prompt": "A cat" }),
    );
    assert_eq!(error.status, 429, "{}", error.text());
    let foreign = post(
        &server,
        "/v1/images/generations",
        &json!({ "model": "g/imagen", "prompt": "A cat" }),
    );
    assert_eq!(foreign.status, 400, "{}", foreign.text());
}

#[test]
fn the_account_of_a_provider_is_closed_unless_it_is_opened() {
    let providers = Providers::start();
    let server = providers.gateway("");
    let closed = [
        ("GET /v1/files", ""),
        ("DELETE /v1/files/file-1", ""),
        ("GET /v1/responses/resp_1", ""),
        ("POST /v1/fine_tuning/jobs", "{\"model\":\"o/say\"}"),
        ("POST /v1/realtime/client_secrets", "{}"),
        ("GET /v1beta/files", ""),
        ("POST /v1/messages/batches", "{}"),
    ];
    for (line, body) in closed {
        let answer = send(&server, line, "application/json", body.as_bytes());
        assert!(matches!(answer.status, 400 | 404), "{line}: {answer:?}");
        assert!(
            answer.text().contains("passthrough on"),
            "{}",
            answer.text()
        );
    }
    assert_eq!(providers.openai.seen().len(), 0);

    let server = providers.gateway("passthrough on;");
    let answer = send(&server, "GET /v1/files?limit=2", "", b"");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(read(&answer)["line"], "GET /v1/files?limit=2 HTTP/1.1");
    let seen = providers.openai.seen();
    let head = &seen.last().expect("asked").head;
    assert_eq!(
        head.value("Authorization"),
        Some("Bearer sk-of-o-0123456789")
    );
    assert_eq!(head.value("Content-Length"), None);
    assert!(logged(&server, 1).starts_with("files|o|ok|"));
    for (line, status) in [
        ("GET /v1/responses/resp_1", 200),
        ("DELETE /v1/files/file-1", 200),
        ("GET /v1/files/%2e%2e/admin", 400),
        ("GET /v1/files//x", 400),
        ("PROPFIND /v1/files", 405),
        ("GET /v1beta/files", 404),
    ] {
        let answer = send(&server, line, "", b"");
        assert_eq!(answer.status, status, "{line}: {}", answer.text());
    }
    // Called something else, it is JSON all the same, here and there.
    let call = json!({ "model": "o/say", "x": "&model=dear&" }).to_string();
    let kind = "application/x-www-form-urlencoded";
    let answer = send(&server, "POST /v1/of/tomorrow", kind, call.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = providers.openai.seen();
    let asked = seen.last().expect("asked");
    assert_eq!(asked.head.value("Content-Type"), Some("application/json"));
    assert_eq!(read(&answer)["asked"]["model"], "say");
}
