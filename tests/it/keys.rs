//! Keys of the gateway to language models and their spend, as a person makes and sees them.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use openclaw::protocol::{KeyAction, KeyChange, KeyChanged, KeyList, KeySettings};
use openclaw::store::{OpenCall, Settlement, State, Store, Tokens};
use openclaw::unit::money::Money;

use crate::control::Control;
use crate::support::server::{Server, Setup, eventually};

const CONF: &str = "server { listen %LISTEN1%; return 204; }";

/// A server whose books are open.
fn started(setup: Setup) -> Server {
    let server = setup.start();
    wait_for_books(&server);
    server
}

fn wait_for_books(server: &Server) {
    let control = Control::of(server);
    eventually("the books are open", || {
        control.get::<KeyList>("/v1/keys").ok()
    });
}

fn openclaw(server: &Server, words: &[&str]) -> Output {
    server.openclaw(words).output().expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What it prints, if it ends well.
fn printed(server: &Server, words: &[&str]) -> String {
    let output = openclaw(server, words);
    assert!(
        output.status.success(),
        "{words:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// What it complains of; it must not end well.
fn complained(server: &Server, words: &[&str]) -> String {
    let output = openclaw(server, words);
    assert!(!output.status.success(), "{words:?}");
    text(&output.stderr)
}

/// Does any file below have this text?
fn is_in_a_file(directory: &Path, wanted: &str) -> bool {
    let entries = std::fs::read_dir(directory).expect("a directory");
    entries.map(|entry| entry.expect("an entry")).any(|entry| {
        let kind = entry.file_type().expect("a type");
        if kind.is_dir() {
            return is_in_a_file(&entry.path(), wanted);
        }
        let bytes = match kind.is_file() {
            true => std::fs::read(entry.path()).unwrap_or_default(),
            false => Vec::new(),
        };
        memchr::memmem::find(&bytes, wanted.as_bytes()).is_some()
    })
}

#[test]
fn a_key_is_made_shown_changed_replaced_and_taken_back() {
    let mut server = started(Setup::http(CONF));
    let secret = printed(
        &server,
        &[
            "key",
            "add",
            "laptop",
            "--budget",
            "5/day",
            "--budget",
            "50/total",
            "--models",
            "gpt-4o*,claude-*",
            "--rpm",
            "60",
            "--expires",
            "90d",
            "--group",
            "family",
        ],
    );
    let secret = secret.trim();
    assert!(secret.starts_with("oc-") && secret.len() == 46, "{secret}");
    let list = printed(&server, &["key", "list"]);
    assert!(
        list.contains(&secret[..9]) && list.contains("gpt-4o*,claude-*"),
        "{list}"
    );
    assert!(
        list.contains("0.00 of 5/day") || list.contains("0.00 of 5.00/day"),
        "{list}"
    );
    assert!(!list.contains(&secret[..12]), "{list}");

    let again = complained(&server, &["key", "add", "laptop"]);
    assert!(again.contains("there is a key `laptop` already"), "{again}");

    printed(
        &server,
        &[
            "key", "edit", "laptop", "--budget", "none/day", "--rename", "desk",
        ],
    );
    let other = printed(&server, &["key", "rotate", "desk", "--overlap", "1h"]);
    assert_ne!(other.trim(), secret);
    let shown = printed(&server, &["key", "show", "desk"]);
    assert!(
        shown.contains(&secret[..9]) && shown.contains(&other[..9]),
        "{shown}"
    );
    assert!(
        shown.contains("calls/min   60") && !shown.contains("of 5.00"),
        "{shown}"
    );
    let revoked = printed(
        &server,
        &["key", "revoke", "desk", "--secret", &secret[..9]],
    );
    assert!(revoked.contains("revoked desk"), "{revoked}");
    let keys: KeyList = Control::of(&server).must_get("/v1/keys");
    let [first, second] = &keys.keys[0].secrets[..] else {
        panic!("{keys:?}");
    };
    assert!(first.revoked.is_some() && first.expires.is_some());
    assert!(second.revoked.is_none() && second.expires.is_none());

    // It outlives the daemon, and no file has the secret.
    server.quit();
    server.start_again();
    wait_for_books(&server);
    let after: KeyList = Control::of(&server).must_get("/v1/keys");
    assert_eq!(after, keys);
    for secret in [secret, other.trim()] {
        assert!(!is_in_a_file(&server.site().prefix, secret));
    }

    printed(&server, &["key", "revoke", "desk"]);
    assert!(printed(&server, &["key"]).contains("revoked"));
    printed(&server, &["key", "remove", "desk"]);
    assert!(printed(&server, &["key", "list"]).contains("no keys"));
    let gone = complained(&server, &["key", "show", "desk"]);
    assert!(gone.contains("there is no key `desk`"), "{gone}");
}

#[test]
fn a_snippet_is_all_that_is_printed_where_one_is_asked_for() {
    let server = started(Setup::http(CONF));
    let words = [
        "key",
        "add",
        "ci",
        "--print-config",
        "env",
        "--url",
        "https://ai.example.com",
    ];
    let snippet = printed(&server, &words);
    let secret = snippet
        .lines()
        .find_map(|line| {
            line.strip_prefix("export OPENAI_API_KEY='")?
                .strip_suffix('\'')
        })
        .expect("a key");
    assert!(secret.starts_with("oc-") && secret.len() == 46);
    assert!(snippet.starts_with("export OPENAI_BASE_URL='https://ai.example.com/v1'\n"));
    assert!(snippet.lines().all(|line| line.starts_with("export ")));
    let json = printed(&server, &["key", "rotate", "ci", "--json"]);
    let changed: KeyChanged = serde_json::from_str(&json).expect("an answer");
    assert!(
        changed
            .secret
            .is_some_and(|secret| secret.0.starts_with("oc-"))
    );
}

#[test]
fn a_secret_from_elsewhere_comes_on_standard_input_and_belongs_to_one_key() {
    let server = started(Setup::http(CONF));
    let secret = "sk-0123456789abcdefghijklmnopqrstuvwxyz0123456789abcd";
    let import = |name: &str| {
        let mut child = server
            .openclaw(&["key", "add", name, "--import"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let mut input = child.stdin.take().expect("its input");
        writeln!(input, "{secret}").expect("written");
        drop(input);
        child.wait_with_output().expect("its end")
    };
    let made = import("old");
    assert!(made.status.success(), "{}", text(&made.stderr));
    // It is known already, so it is not shown.
    assert_eq!(text(&made.stdout), "made old\n");
    let taken = import("other");
    assert!(!taken.status.success());
    assert!(
        text(&taken.stderr).contains("another key has"),
        "{}",
        text(&taken.stderr)
    );
    assert!(!is_in_a_file(&server.site().prefix, secret));
}

#[test]
fn what_cannot_be_a_key_is_refused_and_says_why() {
    let server = started(Setup::http(CONF));
    for (words, why) in [
        (&["key", "add", "with blank"][..], "a key's name"),
        (&["key", "add", "a", "--budget", "5/hour"], "not a budget"),
        (
            &["key", "add", "a", "--budget", "0/day"],
            "no amount of dollars",
        ),
        (
            &["key", "add", "a", "--addresses", "example.com"],
            "neither an address",
        ),
        (
            &["key", "add", "a", "--zone", "Mars/Olympus"],
            "not known here",
        ),
        (&["key", "add", "a", "--gateway", "x y"], "a gateway's name"),
        (&["key", "add", "a", "--expires", "soon"], "not a time"),
        (
            &["key", "edit", "nobody", "--rpm", "5"],
            "there is no key `nobody`",
        ),
        (&["spend", "--from", "yesterday"], "is not a day"),
        (&["spend", "--from", "2026-13-01"], "is not a day"),
        (&["models", "no-such-model"], "no model is known"),
    ] {
        let output = match words[0] {
            "models" => Command::new(env!("CARGO_BIN_EXE_openclaw"))
                .args(words)
                .output()
                .expect("the program runs"),
            _ => openclaw(&server, words),
        };
        let told = text(&output.stderr);
        assert!(
            !output.status.success() && told.contains(why),
            "{words:?}: {told}"
        );
    }
    let control = Control::of(&server);
    let zone = |action: KeyAction, zone: &str| {
        let change = KeyChange {
            name: "b".to_owned(),
            action,
            settings: KeySettings {
                zone: Some(zone.to_owned()),
                ..KeySettings::default()
            },
            ..KeyChange::default()
        };
        control.post::<KeyChanged>("/v1/keys", &change)
    };
    assert!(zone(KeyAction::Add, "Europe/Berlin").is_ok());
    assert!(zone(KeyAction::Edit, "Europe/Berlin").is_ok());
    assert!(zone(KeyAction::Edit, "UTC").is_err());
}

#[test]
fn spend_is_told_by_key_gateway_and_day_and_counts_against_budgets_after_a_crash() {
    let mut server = started(Setup::http(CONF).tolerate("were under way"));
    printed(&server, &["key", "add", "laptop", "--budget", "5/total"]);
    server.quit();
    let store = Store::start(server.site().prefix.join("state/openclaw.db"));
    assert_eq!(store.wait_open(Duration::from_secs(60)), State::Open);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_micros() as u64;
    let call = |number: u64, gateway: &str| {
        Arc::new(OpenCall {
            id: now - number,
            key: 1,
            gateway: gateway.to_owned(),
            reserved: Money::parse("2.5").expect("money"),
            ..OpenCall::default()
        })
    };
    let end = |outcome: &str, cost: &str| Settlement {
        model: "gpt-4o".to_owned(),
        provider: "openai".to_owned(),
        outcome: outcome.to_owned(),
        cost: Money::parse(cost),
        tokens: Tokens {
            input: 1000,
            output: 10,
            ..Tokens::default()
        },
        ..Settlement::default()
    };
    store.settle_call(call(3, "vps"), end("ok", "0.000000000001"));
    store.settle_call(call(2, "pi"), end("upstream_error", "1.25"));
    // Whoever writes this row ends before the call does.
    store.open_call(call(1, "pi")).expect("in the journal");
    assert!(store.close(Duration::from_secs(60)));

    server.start_again();
    wait_for_books(&server);
    let csv = printed(&server, &["spend", "--by", "gateway", "--csv"]);
    let expected = "gateway,calls,failed,unpriced,estimated,input,cache_read,output,cost,saved\r\n\
        \"pi\",2,2,0,1,1000,0,10,3.75,0.00\r\n\
        \"vps\",1,0,0,0,1000,0,10,0.000000000001,0.00\r\n";
    assert_eq!(csv, expected);
    let table = printed(&server, &["spend"]);
    assert!(
        table.contains("laptop") && table.contains("3.750000000001"),
        "{table}"
    );
    let report = printed(&server, &["spend", "--by", "day", "--json"]);
    assert!(report.contains("\"cost\": \"3.750000000001\""), "{report}");
    let list = printed(&server, &["key", "list"]);
    assert!(list.contains("3.750000000001 of 5.00 in all"), "{list}");
    let none = printed(
        &server,
        &["spend", "--from", "2001-01-01", "--to", "2001-01-31"],
    );
    assert!(none.contains("2001-01-01 to 2001-01-31"), "{none}");
}

#[test]
fn models_are_told_without_a_daemon() {
    let models = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_openclaw"))
            .arg("models")
            .args(words)
            .output()
            .expect("the program runs");
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let one = models(&["openai/gpt-4o-latest"]);
    assert!(one.contains("gpt-4o ") && one.contains("vision"), "{one}");
    let some: serde_json::Value =
        serde_json::from_str(&models(&["claude", "--json"])).expect("JSON");
    assert!(some.as_array().is_some_and(|models| models.len() > 5));
    assert!(models(&[]).lines().count() > 2700);
}

#[test]
fn a_secret_is_revoked_once_nobody_uses_it() {
    let server = started(Setup::http(CONF));
    printed(&server, &["key", "add", "hub"]);
    let only = complained(&server, &["key", "revoke", "hub", "--when-unused", "1s"]);
    assert!(only.contains("this key has only one secret"), "{only}");
    printed(&server, &["key", "rotate", "hub"]);
    printed(&server, &["key", "revoke", "hub", "--when-unused", "24h"]);
    let shown = printed(&server, &["key", "show", "hub"]);
    assert!(shown.contains("unused for 1d"), "{shown}");
    printed(&server, &["key", "revoke", "hub", "--when-unused", "1s"]);
    eventually("the old secret is revoked, the new one is not", || {
        let shown: serde_json::Value =
            serde_json::from_str(&printed(&server, &["key", "show", "hub", "--json"])).ok()?;
        let revoked = |place: usize| shown["secrets"][place]["revoked"].is_u64();
        (revoked(0) && !revoked(1) && shown["revoked"] == false).then_some(())
    });
}
