//! The words that ask the daemon: what they print, what they change, how they end.
//!
//! Against a daemon of canned answers where a real one would not say it on demand, and against a real
//! one for all the rest.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use openclaw::protocol::{
    Applied, Base, Certificate, CertificateSource, CertificateState, Certificates, Check,
    ConfState, ConfigTexts, Event, Explanation, FileText, Level, ManagedCertificate, Outcome, Peer,
    PeerState, PeerTraffic, Preflight, Problem, Refusal, RefusalCode, Request, Review, Revision,
    RevisionDiff, RevisionTexts, Revisions, Route, Routes, Status, Summary, Terms, Trouble,
    Upstream, Upstreams, VERSION,
};
use tempfile::TempDir;

use crate::control::Control;
use crate::support::fake_daemon::{FakeDaemon, Running};
use crate::support::server::{Server, Setup, eventually};

/// What a client may send to somebody who looks on.
const EVIL: &str = "/\u{1b}[2J\u{1b}]0;owned\u{7}\r\n\u{9b}31m\u{202e}";

/// The program, with nothing of the surroundings that it looks at.
fn openclaw() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_openclaw"));
    command
        .env_remove("OPENCLAW_SOCKET")
        .env_remove("XDG_RUNTIME_DIR")
        .env_remove("NO_COLOR")
        .env_remove("VISUAL")
        .env_remove("EDITOR")
        .env("TZ", "UTC")
        .stdin(Stdio::null());
    command
}

fn ask(daemon: &Running, words: &[&str]) -> Output {
    ask_with(daemon, words, "", &[])
}

/// With this on standard input, and these in the environment.
fn ask_with(
    daemon: &Running,
    words: &[&str],
    input: &str,
    environment: &[(&str, &OsStr)],
) -> Output {
    let mut child = openclaw()
        .args(words)
        .arg("--socket")
        .arg(daemon.socket())
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program must be there");
    let mut stdin = child.stdin.take().expect("piped");
    // A program that asks nothing does not read.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Nothing in what was printed is obeyed by a terminal.
fn assert_harmless(output: &Output) {
    for text in [stdout(output), stderr(output)] {
        let bad = text.chars().find(|character| {
            (character.is_control() && *character != '\n') || *character == '\u{202e}'
        });
        assert_eq!(bad, None, "{text:?}");
    }
}

fn upstreams(state: PeerState) -> Upstreams {
    Upstreams {
        revision: 41,
        upstreams: vec![Upstream {
            name: "app".to_owned(),
            peers: vec![Peer {
                address: "10.0.0.1:80".to_owned(),
                name: "10.0.0.1".to_owned(),
                weight: 1,
                traffic: PeerTraffic {
                    state,
                    ..PeerTraffic::default()
                },
                ..Peer::default()
            }],
            ..Upstream::default()
        }],
    }
}

fn config(text: &str) -> ConfigTexts {
    ConfigTexts {
        base: Base {
            revision: 41,
            digest: "d41".to_owned(),
        },
        conf: "/etc/openclaw/openclaw.conf".to_owned(),
        files: vec![FileText {
            path: "/etc/openclaw/openclaw.conf".to_owned(),
            text: text.to_owned(),
        }],
        ..ConfigTexts::default()
    }
}

fn problem() -> Problem {
    Problem {
        code: "OC-E030".to_owned(),
        is_error: true,
        message: "unknown directive `lisen`".to_owned(),
        hint: Some("did you mean `listen`?".to_owned()),
        file: "/etc/openclaw/openclaw.conf".to_owned(),
        line: 3,
        column: 5,
        width: 5,
        source: "    lisen 80;".to_owned(),
    }
}

const CARET: &str = "\
  |
3 |     lisen 80;
  |     ^^^^^
";

#[test]
fn without_a_daemon_every_word_says_what_was_tried_and_ends_with_4() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let runtime = directory.path();
    for words in [
        &["status"][..],
        &["top", "--once"],
        &["routes"],
        &["route", "http://a/"],
        &["backends"],
        &["backends", "drain", "app", "10.0.0.1:80"],
        &["cert"],
        &["cert", "show", "a.example"],
        &["cert", "renew", "a.example"],
        &["cert", "why", "a.example"],
        &["cert", "agree", "--yes"],
        &["logs", "-f"],
        &["config", "history"],
        &["config", "undo", "--yes"],
        &["reload"],
        &["backup", "x"],
        &["restore", "x", "--yes"],
    ] {
        let absent = runtime.join("absent.sock");
        let output = openclaw().args(words).arg("--socket").arg(&absent).output();
        let output = output.expect("the program must be there");
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(4), "{words:?}: {said}");
        assert_eq!(stdout(&output), "");
        assert!(said.contains("absent.sock  does not exist"), "{said}");
        assert!(said.contains("hint: start it with"), "{said}");
    }
    // The usual places, when none is named.
    let output = openclaw()
        .arg("status")
        .env("XDG_RUNTIME_DIR", runtime)
        .output();
    let said = stderr(&output.expect("the program must be there"));
    assert!(said.contains("/run/openclaw/control.sock"), "{said}");
    assert!(
        said.contains(&format!("{}/openclaw/control.sock", runtime.display())),
        "{said}"
    );
    // A socket that outlived its daemon.
    let stale = runtime.join("stale.sock");
    drop(UnixListener::bind(&stale).expect("a fresh socket"));
    let output = openclaw()
        .arg("status")
        .env("OPENCLAW_SOCKET", &stale)
        .output();
    let output = output.expect("the program must be there");
    assert_eq!(output.status.code(), Some(4));
    assert!(
        stderr(&output).contains("its daemon is gone"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_word_that_is_misspelt_ends_with_2() {
    for words in [
        &["status", "--jsno"][..],
        &["route"],
        &["config"],
        &["backends", "dain"],
        &["cert", "import", "a.example"],
        &["cert", "renw", "a.example"],
    ] {
        let output = openclaw()
            .args(words)
            .output()
            .expect("the program must be there");
        assert_eq!(output.status.code(), Some(2), "{words:?}");
    }
}

#[test]
fn the_status_is_plain_text_and_json() {
    let daemon = FakeDaemon::new()
        .answer(
            "GET /v1/summary",
            &Summary {
                warning: Some(EVIL.to_owned()),
                ..Summary::default()
            },
        )
        .answer("GET /v1/upstreams", &upstreams(PeerState::Failed))
        .answer("GET /v1/events", &serde_json::json!({ "events": [] }))
        .start();
    let output = ask(&daemon, &["status"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        stdout(&output).contains("app 10.0.0.1:80 failed"),
        "{}",
        stdout(&output)
    );
    assert_harmless(&output);
    let output = ask(&daemon, &["status", "--json"]);
    assert_harmless(&output);
    let answer = json(&output);
    assert_eq!(answer["summary"]["warning"], EVIL);
    assert_eq!(answer["status"]["revision"], 41);
}

#[test]
fn routes_and_one_request_are_explained() {
    let daemon = FakeDaemon::new()
        .answer(
            "GET /v1/routes",
            &Routes {
                revision: 41,
                routes: vec![Route {
                    server: "example.org".to_owned(),
                    location: "/api/".to_owned(),
                    target: "http://app".to_owned(),
                    ..Route::default()
                }],
            },
        )
        .answer(
            "POST /v1/explain",
            &Explanation {
                target: "http://app".to_owned(),
                status: Some(404),
                ..Explanation::default()
            },
        )
        .start();
    let output = ask(&daemon, &["routes"]);
    assert!(
        stdout(&output).contains("example.org"),
        "{}",
        stdout(&output)
    );
    let words = [
        "route",
        "POST",
        "example.org/api/x",
        "-H",
        "X-A: b",
        "--client",
        "10.0.0.7",
    ];
    let output = ask(&daemon, &words);
    assert!(
        stdout(&output).contains("=> http://app, status 404"),
        "{}",
        stdout(&output)
    );
    assert_eq!(
        daemon.asked("POST /v1/explain"),
        [
            r#"{"method":"POST","url":"http://example.org/api/x","fields":[["X-A","b"]],"client":"10.0.0.7"}"#
        ]
    );
    assert_eq!(json(&ask(&daemon, &["routes", "--json"]))["revision"], 41);
}

fn certificates() -> Certificates {
    let certificate = |name: &str, state, remark: &str| Certificate {
        id: format!("letsencrypt {name}"),
        names: vec![name.to_owned()],
        source: CertificateSource::Issuer {
            name: "letsencrypt".to_owned(),
            uri: "https://acme.example/directory".to_owned(),
        },
        state,
        remark: remark.to_owned(),
        managed: Some(ManagedCertificate {
            challenge: "http-01".to_owned(),
            limits: "1 of 5 certificates with these names in 7 days".to_owned(),
            ..ManagedCertificate::default()
        }),
        ..Certificate::default()
    };
    let mut waiting = certificate("b.example", CertificateState::Agreement, "terms");
    waiting.managed = waiting.managed.map(|managed| ManagedCertificate {
        terms: Some(Terms {
            issuer: "letsencrypt".to_owned(),
            url: "https://acme.example/terms".to_owned(),
        }),
        ..managed
    });
    let mut failed = certificate("a.example", CertificateState::Failed, EVIL);
    failed.managed = failed.managed.map(|managed| ManagedCertificate {
        failures: 3,
        last_error: Some(Trouble {
            at: 1_700_000_000_000,
            text: "proving the names".to_owned(),
            authority: EVIL.to_owned(),
        }),
        ..managed
    });
    Certificates {
        revision: 41,
        certificates: vec![failed, waiting],
    }
}

#[test]
fn certificates_are_listed_and_told_without_moving_the_cursor() {
    let daemon = FakeDaemon::new()
        .answer("GET /v1/certificates", &certificates())
        .start();
    let output = ask(&daemon, &["cert", "list"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    for part in [
        "a.example",
        "failed 3",
        "http-01",
        "letsencrypt",
        "agreement",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_harmless(&output);
    let output = ask(&daemon, &["cert", "show", "a.example"]);
    assert!(stdout(&output).contains("proving the names"));
    assert_harmless(&output);
    let output = ask(&daemon, &["cert", "--json"]);
    assert_eq!(json(&output)["certificates"][1]["state"], "agreement");
    assert_harmless(&output);
}

#[test]
fn a_renewal_tells_the_limits_and_waits_for_a_yes() {
    let daemon = FakeDaemon::new()
        .answer("GET /v1/certificates", &certificates())
        .answer(
            "POST /v1/certificates/renew",
            &serde_json::json!({ "text": "asked" }),
        )
        .start();
    let asked = || daemon.asked("POST /v1/certificates/renew");
    let output = ask_with(&daemon, &["cert", "renew", "a.example"], "n\n", &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("1 of 5 certificates"),
        "{}",
        stderr(&output)
    );
    assert!(asked().is_empty());
    let output = ask_with(&daemon, &["cert", "renew", "a.example"], "y\n", &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(asked(), [r#"{"name":"a.example"}"#]);
    let output = ask(&daemon, &["cert", "renew", "c.example", "--yes"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(asked().len(), 1);
}

#[test]
fn terms_are_shown_and_agreed_to_only_by_a_yes() {
    let daemon = FakeDaemon::new()
        .answer("GET /v1/certificates", &certificates())
        .answer(
            "POST /v1/certificates/agree",
            &serde_json::json!({ "text": "agreed" }),
        )
        .start();
    let asked = || daemon.asked("POST /v1/certificates/agree");
    let output = ask_with(&daemon, &["cert", "agree"], "\n", &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("https://acme.example/terms"));
    assert!(asked().is_empty());
    let words = ["cert", "agree", "--yes", "--email", "me@b.example"];
    let output = ask(&daemon, &words);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(asked(), [r#"{"issuer":"","email":"me@b.example"}"#]);
}

#[test]
fn a_preflight_ends_with_1_if_something_is_in_the_way() {
    let check = |level| Preflight {
        name: "a.example".to_owned(),
        checks: vec![Check {
            subject: "caa".to_owned(),
            level,
            seen: EVIL.to_owned(),
            advice: "add a record".to_owned(),
        }],
        last_error: None,
    };
    for (level, code, word) in [
        (Level::Bad, 1, "FAIL  caa"),
        (Level::Warn, 0, "WARN  caa"),
        (Level::Good, 0, "OK    caa"),
    ] {
        let daemon = FakeDaemon::new()
            .answer("POST /v1/certificates/why", &check(level))
            .start();
        let output = ask(&daemon, &["cert", "why", "a.example"]);
        assert_eq!(output.status.code(), Some(code), "{}", stdout(&output));
        assert!(stdout(&output).contains(word), "{}", stdout(&output));
        assert!(stdout(&output).contains("hint: add a record"));
        assert_harmless(&output);
    }
}

#[test]
fn a_peer_is_drained_by_the_name_in_the_file() {
    let daemon = FakeDaemon::new()
        .answer("GET /v1/upstreams", &upstreams(PeerState::Up))
        .answer("POST /v1/peers", &upstreams(PeerState::Drain))
        .start();
    let output = ask(&daemon, &["backends", "drain", "app", "10.0.0.1"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("drain"), "{}", stdout(&output));
    assert_eq!(
        daemon.asked("POST /v1/peers"),
        [r#"{"upstream":"app","address":"10.0.0.1:80","action":"drain","weight":null}"#]
    );
    let output = ask(&daemon, &["backends", "down", "app", "10.0.0.9"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("its peers are 10.0.0.1:80"),
        "{}",
        stderr(&output)
    );
    assert_eq!(daemon.asked("POST /v1/peers").len(), 1);
}

#[test]
fn hostile_requests_do_not_reach_the_terminal_raw() {
    let request = |status, target: &str| Request {
        status,
        client: "10.0.0.7".to_owned(),
        host: "example.org".to_owned(),
        method: "GET".to_owned(),
        target: target.to_owned(),
        is_complete: true,
        ..Request::default()
    };
    let line = |event: &Event| serde_json::to_string(event).expect("plain data");
    let daemon = FakeDaemon::new()
        .stream(
            "GET /v1/stream",
            &[
                line(&Event::Opened { subscription: 7 }),
                line(&Event::Requests {
                    requests: vec![request(200, "/not-wanted"), request(404, EVIL)],
                    dropped: 3,
                }),
            ],
        )
        .start();
    // It ends by itself, although the stream does not.
    let output = ask(&daemon, &["logs", "-n", "1", "--status", "404"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        stdout(&output).contains("/^[[2J^[]0;owned^G^M^J"),
        "{}",
        stdout(&output)
    );
    assert_harmless(&output);
    assert!(
        stderr(&output).contains("3 requests were too fast"),
        "{}",
        stderr(&output)
    );
    let output = ask(&daemon, &["logs", "-n", "1", "--json", "--status", "4xx"]);
    assert_harmless(&output);
    let told: Request = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(told.target, EVIL);
}

#[test]
fn revisions_are_listed_and_compared() {
    let revision = Revision {
        id: 41,
        author: "root".to_owned(),
        client: "cli".to_owned(),
        parent: 40,
        note: EVIL.to_owned(),
        outcome: Outcome::Applied,
        ..Revision::default()
    };
    let daemon = FakeDaemon::new()
        .answer(
            "GET /v1/revisions",
            &Revisions {
                current: 41,
                revisions: vec![revision.clone()],
            },
        )
        .answer(
            "GET /v1/revisions/41/diff",
            &RevisionDiff {
                diff: format!("-a\n+b{EVIL}\n"),
                ..RevisionDiff::default()
            },
        )
        .answer(
            "GET /v1/revisions/41",
            &RevisionTexts {
                revision,
                files: config("old;\n").files,
            },
        )
        .answer(
            "GET /v1/config",
            &ConfigTexts {
                state: ConfState::Edited,
                ..config("new;\n")
            },
        )
        .start();
    let output = ask(&daemon, &["config", "history"]);
    assert!(stdout(&output).contains("*   41"), "{}", stdout(&output));
    assert_harmless(&output);
    let output = ask(&daemon, &["config", "diff", "41"]);
    assert!(
        stdout(&output).starts_with("-a\n+b/^[[2J"),
        "{}",
        stdout(&output)
    );
    let output = ask(&daemon, &["config", "diff"]);
    assert!(
        stdout(&output).contains("-old;\n+new;\n"),
        "{}",
        stdout(&output)
    );
    let output = ask(&daemon, &["config", "show", "41"]);
    assert!(
        stdout(&output).contains("openclaw.conf:\nold;\n"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn a_reload_of_a_broken_file_shows_the_caret_and_ends_with_3() {
    let refusal = Refusal {
        code: RefusalCode::Problems,
        message: "the configuration has errors".to_owned(),
        problems: vec![problem()],
        ..Refusal::default()
    };
    let daemon = FakeDaemon::new()
        .refuse("POST /v1/reload", 422, &refusal)
        .start();
    let output = ask(&daemon, &["reload"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains(CARET), "{}", stderr(&output));
    assert_eq!(stdout(&output), "");
    let output = ask(&daemon, &["reload", "--json"]);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(json(&output)["problems"][0]["line"], 3);
}

#[test]
fn a_revert_shows_its_difference_and_asks() {
    let review = Review {
        diff: "-a\n+b\n".to_owned(),
        effects: vec!["2 listeners stay".to_owned()],
        is_applicable: true,
        ..Review::default()
    };
    let daemon = FakeDaemon::new()
        .answer("GET /v1/config", &config("x;\n"))
        .answer("POST /v1/config/revert", &review)
        .start();
    let output = ask_with(&daemon, &["config", "revert", "40"], "n\n", &[]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output), "-a\n+b\n- 2 listeners stay\n");
    assert!(
        stderr(&output).contains("nothing was changed"),
        "{}",
        stderr(&output)
    );
    let asked = daemon.asked("POST /v1/config/revert");
    assert_eq!(asked.len(), 1);
    assert!(asked[0].contains(r#""dry_run":true"#), "{}", asked[0]);
    ask_with(&daemon, &["config", "revert", "40"], "y\n", &[]);
    let asked = daemon.asked("POST /v1/config/revert");
    assert_eq!(asked.len(), 3);
    assert!(asked[2].contains(r#""revision":40,"undo":false,"dry_run":false,"client":"cli""#));
}

/// An editor that replaces one word by another, `sed` in a script.
fn editor(directory: &Path, from: &str, to: &str) -> std::ffi::OsString {
    let path = directory.join("editor");
    let log = directory.join("edited");
    fs::write(
        &path,
        format!(
            "#!/bin/sh\nstat -c '%a' \"$1\" >'{}'\nsed -i 's/{from}/{to}/' \"$1\"\n",
            log.display()
        ),
    )
    .expect("a fresh file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
    path.into_os_string()
}

fn edited(answer: impl FnOnce(FakeDaemon) -> FakeDaemon) -> (Running, TempDir) {
    let review = Review {
        diff: "-old;\n+new;\n".to_owned(),
        is_applicable: true,
        ..Review::default()
    };
    let daemon = FakeDaemon::new()
        .answer("GET /v1/config", &config("old;\n"))
        .answer("POST /v1/config/review", &review)
        .answer(
            "POST /v1/config/apply",
            &Applied {
                revision: 42,
                ..Applied::default()
            },
        );
    (
        answer(daemon).start(),
        tempfile::tempdir().expect("a temporary directory"),
    )
}

#[test]
fn an_edit_is_reviewed_and_applied_against_its_base() {
    let (daemon, directory) = edited(|daemon| daemon);
    let editor = editor(directory.path(), "old", "new");
    let temporary = ("TMPDIR", directory.path().as_os_str());
    let words = ["config", "edit", "-m", "why"];
    let output = ask_with(&daemon, &words, "y\n", &[("EDITOR", &editor), temporary]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stdout(&output), "-old;\n+new;\nrevision 42 is in force\n");
    assert_eq!(
        daemon.asked("POST /v1/config/apply"),
        [
            r#"{"base":{"revision":41,"digest":"d41"},"files":[{"path":"/etc/openclaw/openclaw.conf","text":"new;\n"}],"note":"why","client":"cli"}"#
        ]
    );
    // The copy was private, and is gone.
    let mode = fs::read_to_string(directory.path().join("edited")).expect("the editor ran");
    assert_eq!(mode, "600\n");
    let left = fs::read_dir(directory.path()).expect("ours");
    assert_eq!(left.count(), 2, "the editor and its log");
    // VISUAL goes first, and may carry options.
    let output = ask_with(
        &daemon,
        &["config", "edit"],
        "",
        &[
            ("VISUAL", OsStr::new("true --wait")),
            ("EDITOR", &editor),
            temporary,
        ],
    );
    assert!(
        stdout(&output).contains("nothing was different"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn an_edit_that_is_not_applied_is_kept() {
    let stale = Refusal {
        code: RefusalCode::Stale,
        message: "the base is not current".to_owned(),
        diff: Some("-theirs\n".to_owned()),
        ..Refusal::default()
    };
    let broken = Review {
        diff: "-old;\n+new;\n".to_owned(),
        problems: vec![problem()],
        ..Review::default()
    };
    type Answers = Box<dyn FnOnce(FakeDaemon) -> FakeDaemon>;
    let cases: [(Answers, &str, i32, &str); 3] = [
        (
            Box::new(move |daemon| daemon.refuse("POST /v1/config/apply", 409, &stale)),
            "y\n",
            1,
            "changed while you were editing",
        ),
        (
            Box::new(move |daemon| daemon.answer("POST /v1/config/review", &broken)),
            "",
            3,
            CARET,
        ),
        (Box::new(|daemon| daemon), "n\n", 1, "nothing was changed"),
    ];
    for (answers, input, code, expected) in cases {
        let (daemon, directory) = edited(answers);
        let editor = editor(directory.path(), "old", "new");
        let temporary = ("TMPDIR", directory.path().as_os_str());
        let environment = [("EDITOR", editor.as_os_str()), temporary];
        let output = ask_with(&daemon, &["config", "edit"], input, &environment);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(expected), "{said}");
        let kept = said
            .lines()
            .find_map(|line| line.strip_prefix("openclaw: what you edited is kept in "))
            .unwrap_or_else(|| panic!("{said}"));
        assert_eq!(fs::read_to_string(kept).expect("kept"), "new;\n");
    }
}

#[test]
fn a_daemon_of_another_version_is_told() {
    let newer = Status {
        protocol: VERSION + 1,
        version: "9.0.0\u{1b}[2J".to_owned(),
        ..Status::default()
    };
    let daemon = FakeDaemon::new()
        .answer("GET /v1/status", &newer)
        .answer("GET /v1/routes", &Routes::default())
        .start();
    let output = ask(&daemon, &["routes"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(
        stderr(&output).contains("openclaw 9.0.0^[[2J and newer"),
        "{}",
        stderr(&output)
    );
    let refusal = Refusal {
        code: RefusalCode::NotFound,
        ..Refusal::default()
    };
    let daemon = FakeDaemon::new()
        .refuse("GET /v1/status", 404, &refusal)
        .start();
    let output = ask(&daemon, &["routes"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("does not speak version 1"),
        "{}",
        stderr(&output)
    );
}

/// A site and an upstream.
fn site() -> Setup {
    Setup::http(
        "upstream app { server %DEAD1% weight=2; server %DEAD2%; }
         server {
             listen %LISTEN1%;
             server_name site;
             location / { return 200 hello; }
             location /missing/ { return 404; }
             location /app/ { proxy_pass http://app/; }
         }",
    )
}

fn daemon() -> (Server, Control) {
    let server = site().start();
    let control = Control::of(&server);
    (server, control)
}

fn real(server: &Server, words: &[&str], environment: &[(&str, &OsStr)]) -> Output {
    openclaw()
        .args(words)
        .arg("--socket")
        .arg(server.site().prefix.join("state/control.sock"))
        .envs(environment.iter().copied())
        .output()
        .expect("the program must be there")
}

/// What it prints when it goes well.
fn told(server: &Server, words: &[&str]) -> String {
    let output = real(server, words, &[]);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{words:?}: {}",
        stderr(&output)
    );
    stdout(&output)
}

fn status_of(server: &Server, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: site\r\nConnection: close\r\n\r\n");
    let answer = server.connect(1).ask(&request);
    format!("{} {}", answer.status, answer.text())
}

#[test]
fn a_running_daemon_tells_how_it_does() {
    let (server, _control) = daemon();
    let said = told(&server, &["status"]);
    assert!(said.contains("revision 1, clean"), "{said}");
    assert!(said.contains("2 up, 0 drain"), "{said}");
    let said = told(&server, &["top", "--once"]);
    assert!(said.contains("UPSTREAM"), "{said}");
    let said = told(&server, &["routes"]);
    assert!(said.contains("/app/      http://app/"), "{said}");
    // The same by the file that the daemon was started with, and by what names its socket.
    let conf = server.site().conf_file();
    let named = openclaw()
        .args(["routes", "-c"])
        .arg(&conf)
        .arg("-p")
        .arg(&server.site().prefix)
        .output()
        .expect("the program must be there");
    assert_eq!(stdout(&named), said, "{}", stderr(&named));
    let url = format!("http://site:{}/app/x", server.port(1));
    let said = told(&server, &["route", &url]);
    assert!(said.contains("=> http://app"), "{said}");
    let by_file = openclaw()
        .args(["route", &url, "-c"])
        .arg(&conf)
        .output()
        .expect("the program must be there");
    assert_eq!(stdout(&by_file), said, "{}", stderr(&by_file));
}

#[test]
fn a_peer_of_a_running_daemon_is_drained_and_put_back() {
    let (server, _control) = daemon();
    let (_, dead) = server.site().dead()[0];
    let dead = format!("127.0.0.1:{dead}");
    let state = || {
        let upstreams: Upstreams =
            serde_json::from_str(&told(&server, &["backends", "--json"])).expect("JSON");
        let peers = upstreams.upstreams.into_iter().flat_map(|it| it.peers);
        let peer = peers.into_iter().find(|peer| peer.address == dead);
        let peer = peer.expect("configured");
        (peer.traffic.state, peer.weight)
    };
    for (words, expected) in [
        (
            &["backends", "drain", "app", &dead][..],
            (PeerState::Drain, 2),
        ),
        (&["backends", "down", "app", &dead], (PeerState::Down, 2)),
        (&["backends", "up", "app", &dead], (PeerState::Up, 2)),
        (
            &["backends", "weight", "app", &dead, "9"],
            (PeerState::Up, 9),
        ),
        (&["backends", "reset", "app", &dead], (PeerState::Up, 2)),
    ] {
        told(&server, words);
        eventually("the peer is in that state", || {
            (state() == expected).then_some(())
        });
    }
}

#[test]
fn requests_are_followed_as_they_end() {
    let (server, _control) = daemon();
    let mut child = openclaw()
        .args(["logs", "-f", "--status", "404", "--socket"])
        .arg(server.site().prefix.join("state/control.sock"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program must be there");
    let out = BufReader::new(child.stdout.take().expect("piped"));
    let (tell, lines) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in out.lines().map_while(Result::ok) {
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    // When it looks on is not told: requests go on until it sees one.
    let line = eventually("a request is seen", || {
        status_of(&server, "/");
        status_of(&server, "/missing/?a=\u{9b}31m");
        lines.try_recv().ok()
    });
    assert!(
        line.contains(" 404 ") && line.contains("GET site/missing/?a="),
        "{line}"
    );
    assert!(!line.contains(char::is_control), "{line:?}");
    child.kill().expect("ours");
    child.wait().expect("ours");
    reader.join().expect("it ends with the pipe");
}

#[test]
fn a_configuration_is_edited_undone_and_reverted() {
    let (server, _control) = daemon();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let original = fs::read_to_string(server.site().conf_file()).expect("there");
    let editor = editor(directory.path(), "200 hello", "200 changed");
    let environment = [
        ("EDITOR", editor.as_os_str()),
        ("TMPDIR", directory.path().as_os_str()),
    ];
    let output = real(
        &server,
        &["config", "edit", "--yes", "-m", "why"],
        &environment,
    );
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        stdout(&output).contains("revision 2 is in force"),
        "{}",
        stdout(&output)
    );
    assert_eq!(status_of(&server, "/"), "200 changed");
    let history = told(&server, &["config", "history"]);
    assert!(
        history.contains("*    2") && history.contains("why"),
        "{history}"
    );
    let diff = told(&server, &["config", "diff", "2"]);
    assert!(
        diff.contains("-             location / { return 200 hello; }"),
        "{diff}"
    );
    // A broken edit is refused with the caret, and what runs goes on.
    let broken = self::editor(directory.path(), "return 200 changed", "retrun 200 x");
    let environment = [
        ("EDITOR", broken.as_os_str()),
        ("TMPDIR", directory.path().as_os_str()),
    ];
    let output = real(&server, &["config", "edit"], &environment);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("^^^^^^"), "{}", stderr(&output));
    assert_eq!(status_of(&server, "/"), "200 changed");

    told(&server, &["config", "undo", "--yes"]);
    assert_eq!(status_of(&server, "/"), "200 hello");
    assert_eq!(
        fs::read_to_string(server.site().conf_file()).expect("there"),
        original
    );
    told(&server, &["config", "revert", "2", "--yes"]);
    assert_eq!(status_of(&server, "/"), "200 changed");
    let output = real(&server, &["config", "revert", "99", "--yes"], &[]);
    assert_eq!(output.status.code(), Some(1));

    // A whole file in its place.
    let file = directory.path().join("new.conf");
    fs::write(&file, original.replace("200 hello", "200 applied")).expect("fresh");
    let file = file.to_str().expect("UTF-8");
    told(&server, &["config", "apply", file, "--yes"]);
    assert_eq!(status_of(&server, "/"), "200 applied");
}

#[test]
fn a_running_daemon_refuses_a_broken_file_and_takes_a_good_one() {
    let server = site().tolerate("retrun").tolerate("is not applied").start();
    let _control = Control::of(&server);
    let conf = server.site().conf_file();
    let text = fs::read_to_string(&conf).expect("there");
    fs::write(&conf, text.replace("return 200 hello", "retrun 200 hello")).expect("ours");
    let output = real(&server, &["reload"], &[]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("retrun 200 hello; }"),
        "{}",
        stderr(&output)
    );
    assert!(stderr(&output).contains("^^^^^^"), "{}", stderr(&output));
    assert_eq!(
        real(&server, &["config", "check"], &[]).status.code(),
        Some(3)
    );
    assert_eq!(status_of(&server, "/"), "200 hello");
    fs::write(&conf, text.replace("200 hello", "200 reloaded")).expect("ours");
    let diff = told(&server, &["config", "diff"]);
    assert!(
        diff.contains("+             location / { return 200 reloaded; }"),
        "{diff}"
    );
    told(&server, &["config", "check"]);
    told(&server, &["reload"]);
    assert_eq!(status_of(&server, "/"), "200 reloaded");
}

#[test]
fn the_memory_of_a_running_daemon_is_written_and_taken_back() {
    let (server, _control) = daemon();
    let directory = &server.site().prefix;
    let file = directory.join("state/backup.db");
    let file = file.to_str().expect("UTF-8");
    told(&server, &["backup", file]);
    // Nobody is there to be asked.
    let output = real(&server, &["restore", file], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("go on? [y/N]"),
        "{}",
        stderr(&output)
    );
    told(&server, &["restore", "--yes", file]);
    let history = told(&server, &["config", "history"]);
    assert!(history.contains("*    1"), "{history}");
    let output = real(&server, &["restore", "/no/such/file", "-y"], &[]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    // A place where nobody may write says who it is that tried.
    let output = real(&server, &["backup", "/sys/backup.db"], &[]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("hint: the daemon writes it"), "{said}");
}

/// What the doctor says of a check: its level and its text.
fn findings(output: &Output, check: &str) -> Vec<(String, String)> {
    let answer = json(output);
    let findings = answer["findings"].as_array().expect("a list");
    findings
        .iter()
        .filter(|finding| finding["check"] == check)
        .map(|finding| {
            let text = |name: &str| finding[name].as_str().expect("text").to_owned();
            (text("level"), text("text"))
        })
        .collect()
}

#[test]
fn the_doctor_knows_the_daemon_and_its_ports() {
    let (server, _control) = daemon();
    let output = real(&server, &["doctor", "--json"], &[]);
    let (level, text) = findings(&output, "daemon").remove(0);
    assert_eq!(level, "ok", "{text}");
    let port = format!(":{}", server.port(1));
    let ports = findings(&output, "ports");
    assert!(
        ports
            .iter()
            .any(|(level, text)| level == "ok" && text.contains(&port)),
        "{ports:?}"
    );
}

#[test]
fn the_doctor_names_who_has_the_port_and_ends_with_its_fault() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let conf = directory.path().join("openclaw.conf");
    let doctor = || {
        openclaw()
            .args(["doctor", "--json", "-c"])
            .arg(&conf)
            .env("HOME", directory.path())
            .output()
            .expect("the program must be there")
    };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port();
    fs::write(
        &conf,
        format!("events {{ }}\nhttp {{ server {{ listen 127.0.0.1:{port}; return 200; }} }}\n"),
    )
    .expect("fresh");
    let output = doctor();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let process = format!("process {}", std::process::id());
    let ports = findings(&output, "ports");
    assert!(
        ports
            .iter()
            .any(|(level, text)| level == "fail" && text.contains(&process)),
        "{ports:?}"
    );
    assert_eq!(findings(&output, "daemon")[0].0, "warn");
    assert_eq!(findings(&output, "configuration")[0].0, "ok");
    assert!(!directory.path().join("logs").exists(), "it only looks");
    fs::write(&conf, "events { }\nhttp { lisen 80; }\n").expect("ours");
    let output = doctor();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(json(&output)["problems"][0]["line"], 2);
    fs::remove_file(&conf).expect("ours");
    assert_eq!(doctor().status.code(), Some(3));
}

#[test]
fn bash_completes_words_and_the_manual_is_one() {
    let output = openclaw().args(["completions", "bash"]).output();
    let script = stdout(&output.expect("the program must be there"));
    let asked = format!(
        "{script}\nCOMP_WORDS=(openclaw backends dr); COMP_CWORD=2\n\
         _openclaw openclaw dr backends\necho \"${{COMPREPLY[@]}}\""
    );
    let output = Command::new("bash").args(["-c", &asked]).output();
    let output = output.expect("bash is everywhere");
    assert_eq!(stdout(&output), "drain\n", "{}", stderr(&output));
    let output = openclaw()
        .arg("man")
        .output()
        .expect("the program must be there");
    assert!(
        stdout(&output).contains(".TH openclaw 8"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn the_own_authority_is_shown_and_explained_and_nothing_is_made_for_that() {
    use openclaw::acme::authority::Authority;
    let directory = TempDir::new().expect("a directory");
    let conf = directory.path().join("openclaw.conf");
    fs::write(&conf, "events { }\nhttp { }\nstate_directory memory;\n").expect("written");
    let ca = |words: &[&str]| {
        openclaw()
            .arg("ca")
            .args(words)
            .arg("-c")
            .arg(&conf)
            .output()
            .expect("the program must be there")
    };
    let output = ca(&["show"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("there is no authority in"));
    assert!(!directory.path().join("memory").exists());

    let place = directory.path().join("memory/authority");
    let made = Authority::open(&place, &["nas"]).expect("made");
    let facts = made.facts();
    let output = ca(&["show"]);
    let text = stdout(&output);
    for part in [
        &facts.fingerprint,
        &facts.path.display().to_string(),
        "home.arpa",
        "nas",
        "not by this machine",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(stdout(&ca(&["show", "--pem"])), facts.pem);
    let output = ca(&["show", "--json"]);
    assert_eq!(json(&output)["fingerprint"], facts.fingerprint.as_str());
    assert_eq!(json(&output)["trusted"], serde_json::Value::Null);
    let text = stdout(&ca(&["trust"]));
    for part in [
        &*facts.fingerprint,
        "--install",
        "Firefox",
        "Android",
        "Windows",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let output = ca(&["untrust"]);
    assert!(output.status.success());
    assert_eq!(stdout(&output), "this machine does not trust it\n");

    fs::write(&facts.path, "garbage").expect("written");
    let output = ca(&["trust"]);
    assert_eq!(output.status.code(), Some(1));
    let told = stderr(&output);
    assert!(
        told.contains("cannot be used: it is no certificate"),
        "{told}"
    );
    assert_eq!(fs::read_to_string(&facts.path).expect("there"), "garbage");
}
