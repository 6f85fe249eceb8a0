//! Libraries that people use, as clients of the gateway, each with every provider.
//!
//! A case is a client, a provider and a feature: `langchain-openai/g/tools-stream`. [`CLIENTS`] tells which there
//! are. The scripts in `tests/llm/clients` say each case in the words of a library and compare what comes back;
//! a case that fails is told by its name. `.ci/run` installs the libraries; `OPENCLAW_TEST_PYTHON`,
//! `OPENCLAW_TEST_LANGCHAIN` and `OPENCLAW_TEST_NODE` say where. Without them the tests fail.

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

/// Which program runs a script.
enum Program {
    Python,
    /// Another Python: LangChain wants other versions of what it is built on.
    LangChain,
    Node,
}

/// A client of a script and what it can do beside [`BASICS`].
struct Client {
    name: &'static str,
    program: Program,
    script: &'static str,
    more: &'static [&'static str],
}

/// What every client does with every provider.
const BASICS: &[&str] = &[
    "chat",
    "chat-stream",
    "tool",
    "tool-stream",
    "tools",
    "tools-stream",
    "recite",
    "recite-stream",
    "see",
    "see-stream",
    "form",
    "form-stream",
    "status-400",
    "status-400-stream",
    "status-404",
    "status-429",
    "status-429-stream",
    "status-500",
    "status-500-stream",
    "status-503",
    "status-503-stream",
    "empty",
    "empty-stream",
    "error-inside",
    "error-inside-stream",
    "cut",
    "cut-stream",
    "cut-before",
    "cut-before-stream",
    "late",
    "leave",
];

/// What does not depend on a provider.
const ONCE: &[&str] = &["unknown-model", "wrong-key"];

/// What `others` stands for is done once: whatever else the library has.
const OTHERS: &str = "others";

const CLIENTS: &[Client] = &[
    client(
        "openai",
        Program::Python,
        "openai_python.py",
        &["embed", "think", "think-stream", OTHERS],
    ),
    client(
        "openai-responses",
        Program::Python,
        "openai_python.py",
        &["think", "think-stream"],
    ),
    client(
        "anthropic",
        Program::Python,
        "anthropic_python.py",
        &["think", "think-stream", OTHERS],
    ),
    client(
        "anthropic-2023",
        Program::Python,
        "anthropic_python.py",
        &["think", "think-stream"],
    ),
    client(
        "google",
        Program::Python,
        "google_python.py",
        &["embed", "think", "think-stream", OTHERS],
    ),
    client(
        "ollama",
        Program::Python,
        "ollama_python.py",
        &["embed", "think", "think-stream", OTHERS],
    ),
    client(
        "langchain-openai",
        Program::LangChain,
        "langchain_python.py",
        &["embed"],
    ),
    client(
        "langchain-openai-responses",
        Program::LangChain,
        "langchain_python.py",
        &[],
    ),
    client(
        "langchain-anthropic",
        Program::LangChain,
        "langchain_python.py",
        &["think", "think-stream"],
    ),
    client(
        "langchain-google",
        Program::LangChain,
        "langchain_python.py",
        &["embed", "think", "think-stream"],
    ),
    client(
        "langchain-ollama",
        Program::LangChain,
        "langchain_python.py",
        &["embed", "think", "think-stream"],
    ),
    client(
        "node-openai",
        Program::Node,
        "openai_node.cjs",
        &["embed", "think", "think-stream", OTHERS],
    ),
    client(
        "node-openai-responses",
        Program::Node,
        "openai_node.cjs",
        &[],
    ),
    client(
        "node-anthropic",
        Program::Node,
        "anthropic_node.cjs",
        &["think", "think-stream"],
    ),
    client(
        "vercel-openai",
        Program::Node,
        "vercel_node.cjs",
        &["embed"],
    ),
    client(
        "vercel-openai-responses",
        Program::Node,
        "vercel_node.cjs",
        &[],
    ),
    client(
        "vercel-anthropic",
        Program::Node,
        "vercel_node.cjs",
        &["think", "think-stream"],
    ),
    client(
        "vercel-google",
        Program::Node,
        "vercel_node.cjs",
        &["embed", "think", "think-stream"],
    ),
];

const fn client(
    name: &'static str,
    program: Program,
    script: &'static str,
    more: &'static [&'static str],
) -> Client {
    Client {
        name,
        program,
        script,
        more,
    }
}

/// The cases of a client by name.
fn cases(client: &Client) -> Vec<String> {
    let mut cases = Vec::new();
    let name = client.name;
    for provider in ["o", "a", "g", "l"] {
        let features = BASICS.iter().chain(client.more);
        for feature in features.filter(|feature| **feature != OTHERS) {
            cases.push(format!("{name}/{provider}/{feature}"));
        }
    }
    let others = client.more.iter().filter(|feature| **feature == OTHERS);
    for feature in ONCE.iter().chain(others) {
        cases.push(format!("{name}/o/{feature}"));
    }
    cases
}

/// Runs all the cases of a script, each client with a gateway of its own: what one does to the circuits of the
/// providers is nothing to the next.
fn library(script: &str) {
    let clients = CLIENTS.iter().filter(|client| client.script == script);
    let failed: Vec<String> = clients.filter_map(|client| run(client).err()).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Runs all the cases of a client, and tells which failed.
fn run(client: &Client) -> Result<(), String> {
    let cases = cases(client);
    let script = client.script;
    let python = || env::var("OPENCLAW_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let program = match client.program {
        Program::Python => python(),
        Program::LangChain => env::var("OPENCLAW_TEST_LANGCHAIN").unwrap_or_else(|_| python()),
        Program::Node => "node".to_owned(),
    };
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
        .join("tests/llm/clients")
        .join(script);
    let child = Command::new(&program)
        .arg(&path)
        .arg(format!("http://127.0.0.1:{}", server.port(1)))
        .arg(secret)
        .args(&cases)
        .env_remove("HTTP_PROXY")
        .env_remove("http_proxy")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("LANGSMITH_TRACING", "false")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = Script(child.unwrap_or_else(|error| {
        panic!("`{program}` cannot be run: {error}; `.ci/run` installs what the tests want")
    }));
    let output = child.0.stdout.take().expect("a pipe");
    let mut errors = child.0.stderr.take().expect("a pipe");
    let reading = std::thread::spawn(move || {
        let mut said = String::new();
        let _ = errors.read_to_string(&mut said);
        said
    });
    let mut told = Vec::new();
    let mut has_left = false;
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        if line == "left" {
            has_left = true;
            // It still runs: its connections end because it left the answers, not because it is gone.
            eventually("the providers are let go", || {
                providers.have_ended().then_some(())
            });
            let mut input = child.0.stdin.take().expect("a pipe");
            input.write_all(b"\n").expect("it waits for it");
            break;
        }
        told.push(line);
    }
    let said = reading.join().expect("no reader panics");
    let well: Vec<&str> = told
        .iter()
        .filter_map(|line| line.strip_prefix("ok "))
        .collect();
    let failed: Vec<&String> = told
        .iter()
        .filter(|line| line.starts_with("failed "))
        .collect();
    if has_left && well == cases {
        return Ok(());
    }
    Err(format!(
        "{}: {} of {} cases failed:
{failed:#?}
{said}
hint: if a library is missing, `.ci/run` installs it",
        client.name,
        cases.len() - well.len(),
        cases.len(),
    ))
}

#[test]
fn the_library_of_openai_works_with_every_provider() {
    library("openai_python.py");
}

#[test]
fn the_library_of_anthropic_works_with_every_provider() {
    library("anthropic_python.py");
}

#[test]
fn the_library_of_google_works_with_every_provider() {
    library("google_python.py");
}

#[test]
fn the_library_of_ollama_works_with_every_provider() {
    library("ollama_python.py");
}

#[test]
fn langchain_works_with_every_provider() {
    library("langchain_python.py");
}

#[test]
fn the_library_of_openai_for_node_works_with_every_provider() {
    library("openai_node.cjs");
}

#[test]
fn the_library_of_anthropic_for_node_works_with_every_provider() {
    library("anthropic_node.cjs");
}

#[test]
fn the_library_of_vercel_works_with_every_provider() {
    library("vercel_node.cjs");
}
