//! Who may pass: passwords, their files, and those who guess.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::backend::Backend;
use crate::support::client::Answer;
use crate::support::server::{Server, Setup, eventually};

fn guarded(inside: &str, users: &str) -> Setup {
    Setup::http(&format!(
        "server {{
             listen %LISTEN1%;
             auth_basic Private;
             auth_basic_user_file %PREFIX%/users;
             {inside}
             location / {{ return 200; }}
             location /files/ {{ alias %PREFIX%/www/; }}
             location /metrics {{ auth_basic off; metrics; }}
         }}"
    ))
    .file("users", users)
    .file("www/a", "content")
}

fn get(server: &Server, user: &str, password: &str) -> Answer {
    let pair = data_encoding::BASE64.encode(format!("{user}:{password}").as_bytes());
    server.connect(1).ask(&format!(
        "GET /files/a HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {pair}\r\n\r\n"
    ))
}

fn status(server: &Server, user: &str, password: &str) -> u16 {
    get(server, user, password).status
}

#[test]
fn what_keeps_a_user_out_stands_in_the_log_without_the_password() {
    let server = guarded("", "ann:{PLAIN}one\nold:rqXexS6ZhobKA\n").start();
    assert_eq!(status(&server, "ann", "one"), 200);
    let refused = get(&server, "ann", "hunter2");
    assert_eq!(refused.status, 401);
    assert_eq!(
        refused.value("WWW-Authenticate"),
        Some("Basic realm=\"Private\"")
    );
    assert_eq!(status(&server, "bob", "hunter2"), 401);
    assert_eq!(status(&server, "old", "hunter2"), 500);
    let prefix = server.site().prefix.clone();
    for line in [
        "user \"ann\": password mismatch, client: 127.0.0.1".to_owned(),
        format!(
            "user \"bob\" was not found in \"{}/users\", client",
            prefix.display()
        ),
        "user \"old\": its password is kept in the form of DES".to_owned(),
    ] {
        eventually(&line, || server.said().contains(&line).then_some(()));
    }
    fs::remove_file(prefix.join("users")).expect("there");
    eventually("the file is missed", || {
        (status(&server, "ann", "one") == 403).then_some(())
    });
    let line = format!(
        "open() \"{}/users\" failed (2: No such file or directory), client",
        prefix.display()
    );
    eventually(&line, || server.said().contains(&line).then_some(()));
    assert!(!server.said().contains("hunter2"));
}

#[test]
fn a_file_that_changes_is_read_again_without_a_reload() {
    let server = guarded("", "ann:{PLAIN}one\n").start();
    assert_eq!(status(&server, "ann", "one"), 200);
    fs::write(server.site().prefix.join("users"), "ann:{PLAIN}another\n").expect("written");
    eventually("the old one is refused", || {
        (status(&server, "ann", "one") == 401).then_some(())
    });
    assert_eq!(status(&server, "ann", "another"), 200);
}

#[test]
fn who_guesses_is_sent_away_for_a_while_and_counted() {
    let server = guarded("auth_throttle 3 1h;", "ann:{PLAIN}one\nbob:{PLAIN}two\n").start();
    assert_eq!(status(&server, "bob", "two"), 200);
    for _ in 0..3 {
        assert_eq!(status(&server, "ann", "x"), 401);
    }
    let answer = get(&server, "ann", "one");
    assert_eq!(answer.status, 429);
    let wait: u64 = answer
        .value("Retry-After")
        .and_then(|wait| wait.parse().ok())
        .expect("told");
    assert!((1..=1200).contains(&wait), "{wait}");
    // Who is in stays in.
    assert_eq!(status(&server, "bob", "two"), 200);
    let metrics = server
        .connect(1)
        .ask("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        .text();
    for line in [
        "openclaw_logins_total{result=\"ok\"} 1\n",
        "openclaw_logins_total{result=\"failed\"} 3\n",
        "openclaw_logins_total{result=\"throttled\"} 1\n",
    ] {
        assert!(metrics.contains(line), "{line}{metrics}");
    }
}

#[test]
fn the_password_is_not_passed_to_a_place_that_asks_nobody() {
    let backend = Backend::start();
    let server = Setup::http(
        "server { listen %LISTEN1%;
            location / { auth_basic a; auth_basic_user_file %PREFIX%/users; proxy_pass http://%BACKEND%; } }",
    )
    .set("BACKEND", backend.address())
    .file("users", "ann:{PLAIN}one\n")
    .start();
    let answer = server
        .connect(1)
        .ask("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(answer.status, 401);
    assert!(backend.seen().is_empty());
}

#[test]
fn a_costly_password_does_not_hold_up_others() {
    // bcrypt at the cost of 12 takes some tenths of a second.
    let kept = openclaw::access::passwords::hash::make(
        openclaw::access::passwords::hash::NewForm::Bcrypt,
        b"secret",
    )
    .expect("made");
    let server = guarded("", &format!("ann:{kept}\n")).start();
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| status(&server, "ann", "secret")))
            .collect();
        for one in all {
            assert_eq!(one.join().expect("asked"), 200);
        }
    });
    assert_eq!(status(&server, "ann", "wrong"), 401);
    assert_eq!(status(&server, "nobody", "wrong"), 401);
}

fn passwd(directory: &Path, words: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_openclaw"))
        .current_dir(directory)
        .arg("passwd")
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program is there");
    let mut stdin = child.stdin.take().expect("a pipe");
    // It may have refused before it reads.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

#[test]
fn passwd_makes_changes_verifies_and_takes_out_users() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("users");
    let at = |words: &[&str], input: &str| {
        let output = passwd(directory.path(), words, input);
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(!said.contains("secret"), "{said}");
        (output.status.success(), said)
    };
    assert!(at(&["users", "ann"], "secret\n").0);
    let mode = path.metadata().expect("made").permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    let text = fs::read_to_string(&path).expect("there");
    assert!(
        text.starts_with("ann:$2y$11$") && !text.contains("secret"),
        "{text}"
    );
    assert!(at(&["users", "--verify", "ann"], "secret").0);
    let (good, said) = at(&["users", "--verify", "ann"], "other\n");
    assert!(
        !good && said.contains("not the password of `ann`"),
        "{said}"
    );

    let text = format!("# ours\n{text}");
    fs::write(&path, &text).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).expect("ours");
    assert!(at(&["users", "bob", "--argon2id"], "secret two\n").0);
    let both = fs::read_to_string(&path).expect("there");
    assert!(
        both.starts_with(&text) && both.contains("\nbob:$argon2id$v=19$"),
        "{both}"
    );
    let mode = path.metadata().expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o604);
    assert!(at(&["users", "--verify", "bob"], "secret two\n").0);
    assert!(at(&["users", "--delete", "bob"], "").0);
    assert_eq!(fs::read_to_string(&path).expect("there"), text);

    for (words, input) in [
        (&["users", "--delete", "bob"][..], ""),
        (&["users", "a:b"], "secret\n"),
        (&["users", "ann"], "\n"),
        (&["nothing", "--verify", "ann"], "secret\n"),
    ] {
        assert!(!at(words, input).0, "{words:?}");
    }
    let left = fs::read_dir(directory.path()).expect("ours").count();
    assert_eq!(left, 1);
}

#[test]
fn passwd_finds_the_file_that_the_configuration_names() {
    let directory = tempfile::tempdir().expect("a directory");
    let conf = directory.path().join("openclaw.conf");
    fs::write(
        &conf,
        "events {} http { server { listen 127.0.0.1:1; auth_basic a; auth_basic_user_file users; } }",
    )
    .expect("written");
    let conf = conf.to_string_lossy();
    let output = passwd(Path::new("/"), &["ann", "-c", &conf], "secret\n");
    assert!(output.status.success(), "{output:?}");
    let text = fs::read_to_string(directory.path().join("users")).expect("made");
    assert!(text.starts_with("ann:$2y$"));
}
