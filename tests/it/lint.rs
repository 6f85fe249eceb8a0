//! `openclaw lint`: what it says about a file, and how it ends.

use std::process::Command;

/// How the program ended, and what it wrote on its two outputs.
struct Outcome {
    status: std::process::ExitStatus,
    stdout: String,
    stderr: String,
}

fn lint(conf: &str, words: &[&str]) -> Outcome {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("site.conf");
    std::fs::write(&file, conf).expect("a fresh file");
    let output = Command::new(env!("CARGO_BIN_EXE_openclaw"))
        .arg("lint")
        .args(words)
        .arg("-c")
        .arg(&file)
        .output()
        .expect("the program must be there");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Outcome {
        status: output.status,
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

const TRAP: &str = "events {}
http {
    server {
        server_name a.example.com;
        location /files { alias /srv/files/; }
    }
}
";

#[test]
fn a_trap_is_told_with_its_place_and_the_way_out() {
    let outcome = lint(TRAP, &[]);
    assert_eq!(outcome.status.code(), Some(0), "{}", outcome.stderr);
    for words in [
        "warning[OC-W291]: `/files../x` leads out of the directory",
        ":5:33",
        "^^^^^^^^^^^",
        "hint: end both with `/`: `location /files/`",
        "1 problem",
    ] {
        assert!(
            outcome.stderr.contains(words),
            "{words}\n{}",
            outcome.stderr
        );
    }
    assert_eq!(lint(TRAP, &["--strict"]).status.code(), Some(2));
    let outcome = lint(TRAP, &["--json"]);
    let problems: serde_json::Value =
        serde_json::from_str(&outcome.stdout).expect("what is printed is JSON");
    assert_eq!(problems[0]["code"], "OC-W291");
    assert_eq!(problems[0]["line"], 5);
}

#[test]
fn a_good_file_has_none_and_a_bad_one_is_an_error() {
    let good = TRAP.replace("/files {", "/files/ {");
    let outcome = lint(&good, &["--strict"]);
    assert_eq!(outcome.status.code(), Some(0), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("no traps found"));
    let bad = TRAP.replace("alias", "aliaz");
    assert_eq!(lint(&bad, &[]).status.code(), Some(1));
}
