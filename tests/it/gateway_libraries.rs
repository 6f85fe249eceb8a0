//! Official libraries as clients of the gateway, each with every provider.
//!
//! The scripts are in `tests/llm`. They chat, stream, call tools, send pictures, ask for forms and
//! vectors, meet errors, run out of patience and leave in the middle of an answer. `.ci/run` installs
//! the libraries; `OPENCLAW_TEST_PYTHON` and `OPENCLAW_TEST_NODE` say where. Without them the tests fail.

use std::env;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::backend::Backend;
use crate::support::model;
use crate::support::server::{Server, Setup, eventually};

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
            "llm_provider o { base_url http://%O%/v1; retries 0; } llm_provider a { api anthropic; base_url http://%A%; retries 0; }
             llm_provider g { api gemini; base_url http://%G%; retries 0; }
             llm_provider l { api ollama; base_url http://%L%; retries 0; } llm_model alias { target o/say; }
             server { listen %LISTEN1%; location / { llm_gateway; } }",
        )
        .set("O", o.1.address())
        .set("A", a.1.address())
        .set("G", g.1.address())
        .set("L", l.1.address())
        .start()
    }

    /// Have all let go of the streams that hang?
    fn have_ended(&self) -> bool {
        self.all.iter().all(|(_, backend)| {
            backend.seen().iter().all(|seen| {
                let call: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
                let hangs = call["model"] == "hang" || seen.head.line.contains("/hang:");
                !hangs || !backend.is_open(seen.connection)
            })
        })
    }
}

/// A script under way, which ends with its test.
struct Script(Child);

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a script with the program that has the library.
fn library(program: &str, script: &str) {
    let providers = Providers::start();
    let server = providers.gateway();
    let secret = eventually("the store is open", || {
        let output = Command::new(env!("CARGO_BIN_EXE_openclaw"))
            .args(["key", "add", "sdk", "--print-config", "env", "--socket"])
            .arg(server.site().prefix.join("state/control.sock"))
            .output()
            .expect("the program must be there");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let start = said.find("oc-")?;
        let letters = said[start..].chars();
        let secret = letters.take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '-');
        Some(secret.collect::<String>())
    });
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/llm")
        .join(script);
    let child = Command::new(program)
        .arg(&path)
        .arg(format!("http://127.0.0.1:{}", server.port(1)))
        .arg(secret)
        .env_remove("HTTP_PROXY")
        .env_remove("http_proxy")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut script = Script(child.unwrap_or_else(|error| {
        panic!("`{program}` cannot be run: {error}; `.ci/run` installs what the tests want")
    }));
    let output = script.0.stdout.take().expect("a pipe");
    let mut errors = script.0.stderr.take().expect("a pipe");
    let reading = std::thread::spawn(move || {
        let mut said = String::new();
        let _ = errors.read_to_string(&mut said);
        said
    });
    let mut lines = BufReader::new(output).lines();
    let mut wait_for = |wanted: &str| {
        let line = lines.next().and_then(Result::ok).unwrap_or_default();
        line == wanted
    };
    let has_left = wait_for("left");
    if has_left {
        // It still runs: its connections end because it left the answers, not because it is gone.
        eventually("the providers are let go", || {
            providers.have_ended().then_some(())
        });
        let mut input = script.0.stdin.take().expect("a pipe");
        input.write_all(b"\n").expect("it waits for it");
    }
    let is_well = has_left && wait_for("well");
    if !is_well {
        let _ = script.0.kill();
    }
    let said = reading.join().expect("no reader panics");
    assert!(
        is_well,
        "{name}: {said}\nhint: if a library is missing, `.ci/run` installs it",
        name = path.display()
    );
}

fn python() -> String {
    env::var("OPENCLAW_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

#[test]
fn the_library_of_openai_works_with_every_provider() {
    library(&python(), "sdk_openai.py");
}

#[test]
fn the_library_of_anthropic_works_with_every_provider() {
    library(&python(), "sdk_anthropic.py");
}

#[test]
fn the_library_of_google_works_with_every_provider() {
    library(&python(), "sdk_google.py");
}

#[test]
fn the_library_of_ollama_works_with_every_provider() {
    library(&python(), "sdk_ollama.py");
}

#[test]
fn the_library_of_openai_for_node_works_with_every_provider() {
    library("node", "sdk_openai.cjs");
}
