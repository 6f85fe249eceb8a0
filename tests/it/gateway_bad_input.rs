//! `llm_gateway`: what cannot be answered is told in the words of each client's format, and accounted.

use serde_json::{Value, json};

use crate::gateway::openclaw;
use crate::support::client::Answer;
use crate::support::model;
use crate::support::server::{Server, Setup, eventually};

/// A format of clients: where it asks, and how its errors look.
struct Door {
    path: &'static str,
    /// The field with the key, as its library sends it.
    key: &'static str,
    /// The members of a call beside its model.
    call: fn() -> Value,
    /// What its errors say, and their code or kind.
    error: fn(&Value) -> (Value, Value),
}

fn openai_error(told: &Value) -> (Value, Value) {
    (
        told["error"]["message"].clone(),
        told["error"]["code"].clone(),
    )
}

const DOORS: [(&str, Door); 5] = [
    (
        "openai",
        Door {
            path: "/v1/chat/completions",
            key: "Authorization: Bearer ",
            call: || json!({ "messages": [{ "role": "user", "content": "Hello?" }] }),
            error: openai_error,
        },
    ),
    (
        "responses",
        Door {
            path: "/v1/responses",
            key: "Authorization: Bearer ",
            call: || json!({ "input": "Hello?" }),
            error: openai_error,
        },
    ),
    (
        "anthropic",
        Door {
            path: "/v1/messages",
            key: "x-api-key: ",
            call: || json!({ "max_tokens": 9, "messages": [{ "role": "user", "content": "Hello?" }] }),
            error: |told| {
                assert_eq!(told["type"], "error", "{told}");
                (
                    told["error"]["message"].clone(),
                    told["error"]["type"].clone(),
                )
            },
        },
    ),
    (
        "gemini",
        Door {
            path: "/v1beta/models/MODEL:generateContent",
            key: "x-goog-api-key: ",
            call: || json!({ "contents": [{ "role": "user", "parts": [{ "text": "Hello?" }] }] }),
            error: |told| {
                assert!(told["error"]["code"].is_u64(), "{told}");
                (
                    told["error"]["message"].clone(),
                    told["error"]["status"].clone(),
                )
            },
        },
    ),
    (
        "ollama",
        Door {
            path: "/api/chat",
            key: "Authorization: Bearer ",
            call: || json!({ "messages": [{ "role": "user", "content": "Hello?" }] }),
            error: |told| (told["error"].clone(), Value::Null),
        },
    ),
];

impl Door {
    fn ask(&self, server: &Server, key: &str, model: &str) -> Answer {
        let mut call = (self.call)();
        if !self.path.contains("MODEL") {
            call["model"] = json!(model);
            call["stream"] = json!(false);
        }
        self.send(server, key, model, call.to_string().as_bytes())
    }

    fn send(&self, server: &Server, key: &str, model: &str, body: &[u8]) -> Answer {
        let path = self.path.replace("MODEL", model);
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\n{}{key}\r\nContent-Length: {}\r\n\r\n",
            self.key,
            body.len()
        );
        let mut client = server.connect(1);
        client.send([head.as_bytes(), body].concat());
        client.answer("POST")
    }

    /// The words and the kind of an error, which must be one of this format.
    fn refused(&self, answer: &Answer, what: &str) -> (String, String) {
        let told: Value = serde_json::from_slice(&answer.body)
            .unwrap_or_else(|_| panic!("{what}: {} {}", answer.status, answer.text()));
        let (message, kind) = (self.error)(&told);
        let message = message.as_str().unwrap_or_else(|| panic!("{what}: {told}"));
        assert!(!message.is_empty(), "{what}: {told}");
        assert_eq!(answer.value("Content-Type"), Some("application/json"));
        (
            message.to_owned(),
            kind.as_str().unwrap_or_default().to_owned(),
        )
    }
}

fn key(server: &Server, name: &str, words: &[&str]) -> String {
    let words = [&["key", "add", name, "--print-config", "env"], words].concat();
    let said = openclaw(server, &words);
    let start = said.find("oc-").expect("a secret");
    let letters = said[start..].chars();
    letters
        .take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '-')
        .collect()
}

#[test]
fn every_format_is_told_in_its_own_words_what_was_wrong() {
    let one = model::openai();
    let server = Setup::http(
        "llm_provider one { base_url http://%ONE%/v1; }
         llm_model gpt-4o { target one/say; } llm_model gpt-4o-mini { target one/say; }
         llm_model o3-mini { target one/say; } llm_model claude-sonnet { target one/say; }
         log_format calls '$status $llm_key|$llm_model|$llm_outcome';
         server { listen %LISTEN1%; access_log calls.log calls; client_max_body_size 64k;
            location / { llm_gateway; } }",
    )
    .set("ONE", one.address())
    .start();
    let good = key(&server, "good", &[]);
    let narrow = key(&server, "narrow", &["--models", "gpt-*"]);
    let revoked = key(&server, "revoked", &[]);
    openclaw(&server, &["key", "revoke", "revoked"]);
    let expired = key(&server, "expired", &["--expires", "1s"]);
    eventually("it has expired", || {
        let answer = DOORS[0].1.ask(&server, &expired, "gpt-4o");
        (answer.status == 401).then_some(())
    });
    let before = one.seen().len();
    let deep = format!("{{\"messages\":{}{}}}", "[".repeat(200), "]".repeat(200));
    let long = format!("{{\"messages\":\"{}\"}}", "x".repeat(100 << 10));
    for (name, door) in &DOORS {
        let is_gemini = *name == "gemini";
        // Google's API tells a bad key by 400, and everybody else by 401.
        for (secret, words) in [
            ("oc-nobody-knows-this-key", "no valid key"),
            (&*revoked, "revoked"),
            (&*expired, "expired"),
        ] {
            let what = format!("{name} {words}");
            let answer = door.ask(&server, secret, "gpt-4o");
            assert!(
                answer.status == 401 || (is_gemini && answer.status == 400),
                "{what}: {} {}",
                answer.status,
                answer.text()
            );
            let (message, kind) = door.refused(&answer, &what);
            assert!(message.contains(words), "{what}: {message}");
            assert!(!message.contains("oc-"), "{what}: {message}");
            let expected: &[&str] = match *name {
                "anthropic" => &["authentication_error"],
                "gemini" => &["INVALID_ARGUMENT", "UNAUTHENTICATED"],
                "ollama" => &[""],
                _ => &["invalid_api_key", "key_revoked", "key_expired"],
            };
            assert!(expected.contains(&&*kind), "{what}: {kind}");
            assert_eq!(answer.value("x-should-retry"), Some("false"), "{what}");
        }

        let what = format!("{name}: unknown model");
        let answer = door.ask(&server, &good, "gpt4o");
        assert_eq!(answer.status, 404, "{what}: {}", answer.text());
        let (message, _) = door.refused(&answer, &what);
        let near = message.split_once("did you mean ").unwrap_or_default().1;
        assert!(
            near.starts_with("gpt-4o, gpt-4o-mini, "),
            "{what}: {message}"
        );
        assert_eq!(near.split(", ").count(), 3, "{what}: {message}");

        let what = format!("{name}: another's model");
        let answer = door.ask(&server, &narrow, "o3-mini");
        assert_eq!(answer.status, 403, "{what}: {}", answer.text());
        door.refused(&answer, &what);

        for (body, status, words) in [
            ("{\"messages\": [", 400, "ends too early"),
            ("{\"a\":1,\"a\":2}", 400, "stands twice"),
            ("[]", 400, "must be a JSON object"),
            ("", 400, "ends too early"),
            ("{\"a\":\"\u{1}\"}", 400, "control character"),
            (&*deep, 400, "nested deeper"),
            (&*long, 413, "larger than"),
        ] {
            let what = format!("{name}: {words}");
            let answer = door.send(&server, &good, "gpt-4o", body.as_bytes());
            assert_eq!(answer.status, status, "{what}: {}", answer.text());
            let (message, _) = door.refused(&answer, &what);
            assert!(message.contains(words), "{what}: {message}");
        }
        if !is_gemini {
            for (model, words) in [
                (json!(null), "`model` must be a string"),
                (json!("a\nb"), "is not the name of a model"),
            ] {
                let mut call = (door.call)();
                call["model"] = model;
                let answer = door.send(&server, &good, "", call.to_string().as_bytes());
                assert_eq!(answer.status, 400, "{name}: {}", answer.text());
                let (message, _) = door.refused(&answer, words);
                assert!(message.contains(words), "{name}: {message}");
            }
        }
    }
    assert_eq!(one.seen().len(), before, "nothing of it left");

    // Strangers leave no rows; what known keys did wrong stands in the ledger, and costs nothing.
    let doors = DOORS.len() as u64;
    let refused = doors * 8 + (doors - 1) * 2;
    let spent = eventually("the rows of refused calls", || {
        let spent = openclaw(&server, &["spend", "--by", "key", "--json"]);
        let spent: Value = serde_json::from_str(&spent).expect("JSON");
        let rows = spent["rows"].as_array().into_iter().flatten();
        let calls = rows
            .filter(|row| row["name"] == "good")
            .filter_map(|row| row["calls"].as_u64());
        (calls.sum::<u64>() >= refused).then_some(spent)
    });
    let rows = spent["rows"].as_array().expect("rows");
    let good = rows.iter().find(|row| row["name"] == "good");
    let good = good.expect("its rows");
    assert_eq!(good["calls"].as_u64(), Some(refused), "{spent}");
    let log = std::fs::read_to_string(server.site().prefix.join("calls.log")).expect("a log");
    for line in [
        "404 good|gpt4o|model_not_found",
        "400 -|-|invalid_json",
        "413 -|-|request_too_large",
    ] {
        assert!(log.lines().any(|logged| logged == line), "{line}: {log}");
    }
}
