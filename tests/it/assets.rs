//! Files that are given to people beside the program.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::backend::Backend;
use super::support::server::{Setup, eventually};

fn asset(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("assets")
        .join(name)
}

#[test]
fn the_first_configuration_is_in_the_common_form() {
    let output = Command::new(env!("CARGO_BIN_EXE_openclaw"))
        .args(["fmt", "--check"])
        .arg(asset("openclaw.conf"))
        .output();
    let output = output.expect("the program must be there");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn the_dashboard_for_grafana_asks_for_metrics_that_there_are() {
    let text = fs::read_to_string(asset("grafana-dashboard.json")).expect("ours");
    let dashboard: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let mut asked = BTreeSet::new();
    let panels = dashboard["panels"].as_array().expect("panels");
    for target in panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array())
    {
        for target in target {
            let expression = target["expr"].as_str().expect("an expression");
            asked.extend(names_in(expression));
        }
    }
    assert!(asked.len() > 20, "{asked:?}");
    let backend = Backend::start();
    let server = Setup::http(
        "upstream app { server %BACKEND%; }
         proxy_cache_path %PREFIX%/cache keys_zone=one:1m;
         server { listen %LISTEN1%; location / { proxy_pass http://app; proxy_cache one; }
                  location = /metrics { metrics; } }
         server { listen %LISTEN2% ssl; server_name s.test; ssl_certificate missing.crt;
                  ssl_certificate_key missing.key; }",
    )
    .set("BACKEND", backend.address())
    .tolerate("missing")
    .tolerate("s.test")
    .start();
    let get = |path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        server.connect(1).ask(&request).text()
    };
    get("/");
    // The numbers of a worker come together after a moment.
    eventually("all that the dashboard asks for is told", || {
        let page = get("/metrics");
        let there: BTreeSet<_> = page
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split(['{', ' ']).next())
            .collect();
        asked
            .iter()
            .all(|name| there.contains(name.as_str()))
            .then_some(())
    });
}

/// The names of metrics in an expression.
fn names_in(expression: &str) -> impl Iterator<Item = String> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words = expression.split(move |letter| !is_part(letter));
    words
        .filter(|word| word.starts_with("openclaw_"))
        .map(str::to_owned)
}
