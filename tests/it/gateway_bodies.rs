//! `llm_log body`: what of calls and answers is written down, where, and what is not.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::gateway::post;
use crate::support::backend::Backend;
use crate::support::client::Answer;
use crate::support::model::{self, WORDS};
use crate::support::server::{Server, Setup, eventually};

fn conf(places: &str) -> String {
    format!(
        "llm_provider one {{ base_url http://%ONE%/v1; retries 0; }}
         llm_price one/* in=0 out=1; llm_model chat {{ target one/say; }}
         server {{ listen %LISTEN1%; {places}
            location = /metrics {{ metrics; }} }}"
    )
}

fn gateway(one: &Backend) -> Server {
    Setup::http(&conf(
        "location /v1/ { llm_gateway anybody; }
         location /full/ { llm_gateway anybody; llm_log body full retention=7d; llm_cache global; }
         location /redacted/ { llm_gateway anybody; llm_log body redacted retention=7d; }
         location /hash/ { llm_gateway anybody; llm_log body hash retention=7d; }",
    ))
    .set("ONE", one.address())
    .tolerate("upstream")
    .tolerate("one/")
    .start()
}

/// The files in which bodies are.
fn files(server: &Server) -> Vec<PathBuf> {
    let directory = server.site().prefix.join("state/llm-log");
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "jsonl"));
    paths
}

/// So many lines, once they are written.
fn lines(server: &Server, count: usize) -> Vec<Value> {
    eventually("the calls are written down", || {
        let texts = files(server);
        let texts = texts
            .iter()
            .map(|path| fs::read_to_string(path).expect("a text"));
        let text: String = texts.collect();
        let lines: Vec<Value> = (text.lines())
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        (lines.len() >= count).then_some(lines)
    })
}

fn ask(server: &Server, place: &str, text: &str, stream: bool) -> Answer {
    let call = json!({ "model": "chat", "stream": stream,
        "messages": [{ "role": "user", "content": text }] });
    let answer = post(server, &format!("{place}/v1/chat/completions"), "", &call);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer
}

const TELLING: &str = "I am robin@example.org, my key is sk-abcdefgh12345678";

#[test]
fn bodies_are_written_down_as_the_place_says() {
    let one = model::openai();
    let server = gateway(&one);
    // Nothing where nobody asked for it.
    ask(&server, "", "swordfish", false);
    ask(&server, "/full", TELLING, true);
    let hit = ask(&server, "/full", TELLING, false);
    assert!(
        hit.value("x-openclaw-cache")
            .is_some_and(|told| told.starts_with("HIT"))
    );
    ask(&server, "/redacted", TELLING, false);
    ask(&server, "/redacted", TELLING, true);
    let told = lines(&server, 4);
    assert_eq!(told.len(), 4, "{told:?}");
    for line in &told {
        assert_eq!(line["answer"], WORDS.concat(), "{line}");
        assert_eq!(line["outcome"], "ok", "{line}");
        assert!(line["call"].as_u64().is_some_and(|id| id > 0), "{line}");
        assert!(!line.to_string().contains("swordfish"));
        let said = line["request"]["messages"][0]["content"].as_str();
        match line["body"].as_str() {
            Some("full") => assert_eq!(said, Some(TELLING), "{line}"),
            Some("redacted") => {
                assert_eq!(said, Some("I am [e-mail], my key is [secret]"), "{line}");
            }
            other => panic!("{other:?}: {line}"),
        }
    }
    assert_eq!(
        (&told[0]["cache"], &told[1]["cache"]),
        (&json!("MISS"), &json!("HIT"))
    );
    let [file] = files(&server).try_into().expect("one file");
    let name = file
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    assert!(name.ends_with(".7d.jsonl"), "{name}");
    let mode = |path: &std::path::Path| fs::metadata(path).expect("there").permissions().mode();
    assert_eq!(mode(&file) & 0o777, 0o600);
    assert_eq!(mode(file.parent().expect("a directory")) & 0o777, 0o700);
    let metrics = server
        .connect(1)
        .ask("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        .text();
    assert!(
        metrics.contains("openclaw_llm_log_lines_total{result=\"written\"} 4"),
        "{metrics}"
    );
}

#[test]
fn digests_tell_equal_calls_and_nothing_else() {
    let one = model::openai();
    let server = gateway(&one);
    ask(&server, "/hash", "swordfish", false);
    ask(&server, "/hash", "swordfish", true);
    ask(&server, "/hash", "marlin", false);
    let told = lines(&server, 3);
    let digest = |line: usize, name: &str| told[line][name].as_str().expect("a digest").to_owned();
    assert_eq!(digest(0, "request_digest"), digest(1, "request_digest"));
    assert_ne!(digest(0, "request_digest"), digest(2, "request_digest"));
    assert_eq!(digest(0, "answer_digest"), digest(1, "answer_digest"));
    for line in &told {
        let text = line.to_string();
        assert!(
            !text.contains("swordfish") && !text.contains(WORDS[0]),
            "{text}"
        );
    }
    // Another installation has another key.
    let other = gateway(&one);
    ask(&other, "/hash", "swordfish", false);
    assert_ne!(
        lines(&other, 1)[0]["request_digest"],
        told[0]["request_digest"]
    );
}

#[test]
fn a_reload_that_allows_fewer_days_removes_what_is_older() {
    let one = model::openai();
    let mut server = gateway(&one);
    ask(&server, "/full", "swordfish", false);
    lines(&server, 1);
    let [file] = files(&server).try_into().expect("one file");
    let old = file.with_file_name("2020-01-01.3660d.jsonl");
    fs::write(&old, "{}\n").expect("written");
    let with = conf("location /full/ { llm_gateway anybody; llm_log body full retention=1d; }");
    server.rewrite(&format!("events {{ }} http {{ %COMMON% {with} }}"));
    server.signal(Signal::SIGHUP);
    eventually("the old file is gone", || (!old.exists()).then_some(()));
    assert!(file.exists());
    // Until nothing is written down any more: what is there stays for its days.
    let with = conf("location /v1/ { llm_gateway anybody; }");
    server.rewrite(&format!("events {{ }} http {{ %COMMON% {with} }}"));
    server.signal(Signal::SIGHUP);
    eventually("the new configuration is in force", || {
        let call = json!({ "model": "chat", "messages": [{ "role": "user", "content": "a" }] });
        let answer = post(&server, "/full/v1/chat/completions", "", &call);
        (answer.status == 404).then_some(())
    });
    assert!(file.exists());
}
