//! `openclaw import`: what is made of other gateways' configurations.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::model;
use crate::support::server::{Server, Setup, eventually};

fn data(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/import");
    directory.join(name)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs it without a daemon that could answer.
fn imported(words: &[&str], into: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_openclaw"))
        .arg("import")
        .args(words)
        .arg("--into")
        .arg(into)
        .arg("--socket")
        .arg(into.join("no.sock"))
        .output()
        .expect("the program runs")
}

/// The configuration is as expected and can be used; returns what was left over.
fn made(words: &[&str], into: &Path, expected: &str) -> String {
    let output = imported(words, into);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    let conf = into.join("openclaw.conf");
    let expected = fs::read_to_string(data(expected)).expect("what is expected");
    let expected = expected.replace("%DIR%", into.to_str().expect("text"));
    assert_eq!(
        fs::read_to_string(&conf).expect("a configuration"),
        expected
    );
    let tested = Command::new(env!("CARGO_BIN_EXE_openclaw"))
        .arg("-t")
        .arg("-p")
        .arg(into)
        .arg("-c")
        .arg(&conf)
        .env("OPENCLAW_SHARED_API_KEY", "sk-0123456789abcdef")
        .output()
        .expect("the program runs");
    assert!(tested.status.success(), "{}", text(&tested.stderr));
    said
}

fn is_private(path: &Path) -> bool {
    let data = fs::metadata(path).expect("a file");
    data.permissions().mode() & 0o077 == 0
}

#[test]
fn the_configuration_of_a_gateway_is_converted_with_and_without_its_indentation() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = data("flat.yaml");
    let words = ["gateway-config", file.to_str().expect("text")];
    let said = made(&words, &directory.path().join("flat"), "flat.conf");
    for left in [
        "retryDelayMs",
        "temperature: 0.7",
        "maxTokens",
        "stream",
        "gateway.log",
    ] {
        assert!(said.contains(left), "{left}: {said}");
    }
    let file = data("indented.yaml");
    let into = directory.path().join("indented");
    let words = ["gateway-config", file.to_str().expect("text")];
    let said = made(&words, &into, "indented.conf");
    for left in [
        "`llm.openapi.proxy` has no place",
        "keepAlive",
        "temperature",
    ] {
        assert!(said.contains(left), "{left}: {said}");
    }
    assert!(!said.contains("sk-written-here"), "{said}");
    let key = into.join("keys/hub.key");
    assert!(is_private(&key) && is_private(&into.join("openclaw.conf")));
    assert_eq!(
        fs::read_to_string(key).expect("a key"),
        "sk-written-here-0123456789\n"
    );
    // Nothing is written over.
    let again = imported(&words, &into);
    assert!(!again.status.success());
    assert!(text(&again.stderr).contains("is there already"));
}

#[test]
fn the_configuration_of_one_api_is_converted() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = data("one-api.json");
    let words = ["one-api", file.to_str().expect("text")];
    let into = directory.path().join("made");
    let said = made(&words, &into, "one-api.conf");
    assert!(said.contains("`database`"), "{said}");
    assert_eq!(
        fs::read_to_string(into.join("keys/openai.key")).expect("a key"),
        "sk-...\n"
    );
    let broken = directory.path().join("broken.json");
    for (content, complaint) in [
        ("{", "no JSON"),
        ("[]", "no object"),
        ("{}", "no providers"),
    ] {
        fs::write(&broken, content).expect("written");
        let words = ["one-api", broken.to_str().expect("text")];
        let output = imported(&words, &directory.path().join("none"));
        assert!(!output.status.success());
        assert!(
            text(&output.stderr).contains(complaint),
            "{}",
            text(&output.stderr)
        );
    }
}

/// A database as One API keeps it.
fn database(path: &Path) {
    let connection = rusqlite::Connection::open(path).expect("a database");
    connection
        .execute_batch(
            "CREATE TABLE channels (id INTEGER PRIMARY KEY, type INTEGER, key TEXT, status INTEGER,
                name TEXT, weight INTEGER, base_url TEXT, models TEXT, \"group\" TEXT,
                model_mapping TEXT, priority INTEGER, config TEXT);
             INSERT INTO channels VALUES
                (1, 1, 'sk-one-0123456789' || char(10) || 'sk-two-0123456789', 1, 'main', 3,
                 'http://127.0.0.1:9', 'gpt-4,gpt-4o', 'default', '{\"gpt-4\":\"gpt-4-turbo\"}', 5, ''),
                (2, 14, 'sk-ant-0123456789', 1, 'Claude 2', 0, '', 'claude-3,gpt-4', 'vip', '', 0, '{}'),
                (3, 15, 'x', 1, 'wenxin', 0, '', 'ernie', 'default', '', 0, ''),
                (4, 1, 'x', 2, 'off', 0, '', 'gpt-4', 'default', '', 0, '');
             CREATE TABLE users (id INTEGER PRIMARY KEY, username TEXT, quota INTEGER, status INTEGER,
                \"group\" TEXT);
             INSERT INTO users VALUES (1, 'root', 1000, 1, 'default'), (2, 'ann', 0, 1, 'vip');
             CREATE TABLE tokens (id INTEGER PRIMARY KEY, user_id INTEGER, key TEXT, status INTEGER,
                name TEXT, expired_time INTEGER, remain_quota INTEGER, unlimited_quota INTEGER,
                models TEXT, subnet TEXT, deleted_at TEXT);
             INSERT INTO tokens VALUES
                (1, 1, 'AbCdEfGhIjKlMnOpQrStUvWxYz0123456789AbCdEfGhIjKl', 1, 'laptop', -1, 1234567, 0,
                 NULL, '', NULL),
                (2, 2, 'ZbCdEfGhIjKlMnOpQrStUvWxYz0123456789AbCdEfGhIjKl', 1, 'lap top', 4102444800, 0, 1,
                 'one/*,gpt-4', '127.0.0.0/8', NULL),
                (3, 1, 'YbCdEfGhIjKlMnOpQrStUvWxYz0123456789AbCdEfGhIjKl', 1, 'spent', -1, 0, 0, '', '', NULL),
                (4, 1, 'XbCdEfGhIjKlMnOpQrStUvWxYz0123456789AbCdEfGhIjKl', 2, 'off', -1, 5, 0, '', '', NULL),
                (5, 1, 'WbCdEfGhIjKlMnOpQrStUvWxYz0123456789AbCdEfGhIjKl', 1, 'gone', -1, 5, 0, '', '', '2025');
             CREATE TABLE options (key TEXT, value TEXT);
             INSERT INTO options VALUES ('ModelRatio', '{}');",
        )
        .expect("rows");
}

fn openclaw(server: &Server, words: &[&str]) -> Output {
    server.openclaw(words).output().expect("the program runs")
}

#[test]
fn keys_of_one_api_go_on_working_with_what_is_left_of_their_quota() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("one-api.db");
    database(&path);
    let db = path.to_str().expect("text");
    let said = made(
        &["one-api", "--db", db],
        &directory.path().join("made"),
        "one-api-db.conf",
    );
    for left in [
        "wenxin",
        "channel 4",
        "`vip`",
        "`spent`",
        "1 rows of `options`",
        "--tokens",
        "`ann`",
    ] {
        assert!(said.contains(left), "{left}: {said}");
    }
    assert!(!said.contains("0123456789"), "{said}");

    let one = model::openai();
    let server = Setup::http(
        "llm_provider one { base_url http://%ONE%/v1; } llm_price one/* in=0 out=1;
         server { listen %LISTEN1%; location / { llm_gateway; } }",
    )
    .set("ONE", one.address())
    .start();
    let words = ["import", "one-api", "--db", db, "--tokens"];
    eventually("the books are open", || {
        openclaw(&server, &words).status.success().then_some(())
    });
    let again = openclaw(&server, &words);
    let again = text(&again.stdout);
    assert!(
        again.contains("brought 0 keys, 4 were there already"),
        "{again}"
    );
    let call = |secret: &str| {
        let body = json!({ "model": "one/say", "max_tokens": 20, "messages": [] }).to_string();
        let answer = server.connect(1).ask(&format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {secret}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        answer.status
    };
    let rest = "bCdEfGhIjKlMnOpQrStUvWxYz0123456789AbCdEfGhIjKl";
    assert_eq!(call(&format!("sk-A{rest}")), 200);
    assert_eq!(call(&format!("sk-Z{rest}")), 200);
    for refused in ["Y", "X", "W"] {
        assert_eq!(call(&format!("sk-{refused}{rest}")), 401, "{refused}");
    }
    let shown = openclaw(&server, &["key", "show", "laptop", "--json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    let total = shown["budgets"].as_array().expect("budgets");
    let total = total.iter().find(|budget| budget["period"] == "total");
    // 1,234,567 of 500,000 units a dollar.
    assert_eq!(total.expect("a budget")["limit"], "2.469134");
    let shown = openclaw(&server, &["key", "show", "ann-lap-top", "--json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    assert_eq!(shown["owner"], "ann");
    assert_eq!(shown["group"], "vip");
}
