//! Sessions that are taken up again: where they are kept, for how long, and for whom.

use std::path::PathBuf;

use nix::sys::signal::Signal;

use crate::support::certificate::Authority;
use crate::support::openssl::{request, talk};
use crate::support::server::{Server, Setup, eventually};

/// Servers at one address, each with directives of its own; two workers.
fn start(servers: &[(&str, &str)], files: &[(&str, Vec<u8>)]) -> Server {
    let authority = Authority::new();
    let mut conf = String::new();
    let mut setup_files = Vec::new();
    for (name, directives) in servers {
        let pair = authority.issue(&[name]);
        conf.push_str(&format!(
            "server {{ listen %LISTEN1% ssl; server_name {name};
            ssl_certificate %PREFIX%/{name}.pem; ssl_certificate_key %PREFIX%/{name}.key;
            location / {{ return 200 \"$ssl_session_reused\\n\"; }}
            {directives} }}\n"
        ));
        setup_files.push((format!("{name}.pem"), pair.certificate.into_bytes()));
        setup_files.push((format!("{name}.key"), pair.key.into_bytes()));
    }
    let setup = Setup::new(format!(
        "worker_processes 2; events {{}}\nhttp {{ %COMMON% {conf} }}"
    ))
    .globals("daemon off; pid server.pid; error_log error.log notice;")
    .tolerate("ticket key");
    let setup =
        (setup_files.into_iter()).fold(setup, |setup, (path, text)| setup.file(&path, text));
    let setup = (files.iter()).fold(setup, |setup, (path, text)| setup.file(path, text.clone()));
    setup.start()
}

fn reload(server: &Server) {
    const ENDED: &str = "exited with code 0";
    let before = server.said().matches(ENDED).count();
    server.signal(Signal::SIGHUP);
    eventually("the old generation has ended", || {
        (server.said().matches(ENDED).count() > before).then_some(())
    });
}

/// A session of one version that openssl keeps in a file.
struct Session {
    file: PathBuf,
    version: &'static str,
}

impl Session {
    /// Shakes hands for the first time.
    fn begin(server: &Server, name: &str, version: &'static str, more: &[&str]) -> Self {
        let file = server.site().prefix.join(format!("session{version}{name}"));
        let path = file.display().to_string();
        let arguments = [&[version, "-sess_out", &path], more].concat();
        let handshake = request(server.port(1), name, &arguments);
        assert_eq!(handshake.body(), Some("."), "{}", handshake.said);
        Self { file, version }
    }

    /// Is it taken up again? Where it is, a new one takes its place.
    fn resumes(&self, server: &Server, name: &str, more: &[&str]) -> bool {
        if !self.file.exists() {
            return false;
        }
        let path = self.file.display().to_string();
        let arguments = [&[self.version, "-sess_in", &path, "-sess_out", &path], more].concat();
        let handshake = request(server.port(1), name, &arguments);
        let expected = if handshake.is_resumed() { "r" } else { "." };
        assert_eq!(handshake.body(), Some(expected), "{}", handshake.said);
        handshake.is_resumed()
    }
}

const VERSIONS: [&str; 2] = ["-tls1_2", "-tls1_3"];

#[test]
fn sessions_are_taken_up_again_by_any_worker_with_tickets_and_without() {
    let server = start(
        &[
            ("usual.test", ""),
            (
                "shared.test",
                "ssl_session_cache shared:TLS:1m; ssl_session_tickets off;",
            ),
            (
                "own.test",
                "ssl_session_cache builtin:100; ssl_session_tickets off;",
            ),
        ],
        &[],
    );
    for name in ["usual.test", "shared.test", "own.test"] {
        for version in VERSIONS {
            let session = Session::begin(&server, name, version, &[]);
            for _ in 0..6 {
                assert!(session.resumes(&server, name, &[]), "{name} {version}");
            }
        }
        // A client of 1.2 that takes no tickets.
        let session = Session::begin(&server, name, "-tls1_2", &["-no_ticket"]);
        assert!(session.resumes(&server, name, &["-no_ticket"]), "{name}");
    }
}

#[test]
fn nothing_is_taken_up_again_where_it_is_switched_off_or_too_old() {
    let server = start(
        &[
            (
                "off.test",
                "ssl_session_cache off; ssl_session_tickets off;",
            ),
            (
                "none.test",
                "ssl_session_cache none; ssl_session_tickets off;",
            ),
            ("old.test", "ssl_session_timeout 0;"),
            (
                "older.test",
                "ssl_session_timeout 0; ssl_session_tickets off;",
            ),
        ],
        &[],
    );
    for name in ["off.test", "none.test", "old.test", "older.test"] {
        for version in VERSIONS {
            let session = Session::begin(&server, name, version, &[]);
            assert!(!session.resumes(&server, name, &[]), "{name} {version}");
        }
    }
}

#[test]
fn a_session_of_one_server_is_not_taken_up_by_another_even_with_its_name() {
    // Both are reached without a name, so that only the server tells them apart.
    let authority = Authority::new();
    let pair = authority.issue(&["a.test"]);
    let conf = |directives: &str| {
        format!(
            "ssl_certificate %PREFIX%/a.pem; ssl_certificate_key %PREFIX%/a.key; {directives}
            server {{ listen %LISTEN1% ssl; server_name a.test; return 200 \"$ssl_session_reused\\n\"; }}
            server {{ listen %LISTEN2% ssl; server_name b.test; return 200 \"$ssl_session_reused\\n\"; }}"
        )
    };
    for directives in [
        "ssl_session_cache shared:TLS:1m; ssl_session_tickets off;",
        "ssl_session_cache off;",
    ] {
        let server = Setup::http(&conf(directives))
            .file("a.pem", pair.certificate.clone())
            .file("a.key", pair.key.clone())
            .start();
        for version in VERSIONS {
            let path = server.site().prefix.join("session").display().to_string();
            let ask = |port, arguments: &[&str]| {
                request(server.port(port), "", &[&[version], arguments].concat())
            };
            assert!(ask(1, &["-sess_out", &path]).agreed().is_some());
            assert!(!ask(2, &["-sess_in", &path]).is_resumed(), "{directives}");
            assert!(ask(1, &["-sess_out", &path]).agreed().is_some());
            assert!(ask(1, &["-sess_in", &path]).is_resumed(), "{directives}");
        }
    }
}

#[test]
fn sessions_and_tickets_outlive_a_reload() {
    let server = start(
        &[
            ("usual.test", ""),
            (
                "shared.test",
                "ssl_session_cache shared:TLS:1m; ssl_session_tickets off;",
            ),
        ],
        &[],
    );
    let mut sessions = Vec::new();
    for name in ["usual.test", "shared.test"] {
        for version in VERSIONS {
            sessions.push((name, Session::begin(&server, name, version, &[])));
        }
    }
    reload(&server);
    for (name, session) in &sessions {
        assert!(
            session.resumes(&server, name, &[]),
            "{name} {}",
            session.version
        );
    }
}

#[test]
fn tickets_are_encrypted_with_the_first_key_and_decrypted_with_all() {
    let keys = "ssl_session_ticket_key %PREFIX%/new.key; ssl_session_ticket_key %PREFIX%/old.key;";
    let server = start(
        &[("a.test", keys)],
        &[("new.key", vec![1; 80]), ("old.key", vec![2; 48])],
    );
    let sessions = VERSIONS.map(|version| Session::begin(&server, "a.test", version, &[]));
    // The keys move on, as on a machine that rotates them.
    let prefix = server.site().prefix.clone();
    std::fs::write(prefix.join("old.key"), [1; 80]).expect("written");
    std::fs::write(prefix.join("new.key"), [3; 80]).expect("written");
    reload(&server);
    for session in &sessions {
        assert!(
            session.resumes(&server, "a.test", &[]),
            "{}",
            session.version
        );
    }
    // Now the tickets are of the third key; they are read again without a reload as well.
    std::fs::write(prefix.join("old.key"), [4; 48]).expect("written");
    std::fs::write(prefix.join("new.key"), [5; 48]).expect("written");
    for session in &sessions {
        let kept = std::fs::read(&session.file).expect("a session");
        eventually("the old key is forgotten", || {
            std::fs::write(&session.file, &kept).expect("written");
            (!session.resumes(&server, "a.test", &[])).then_some(())
        });
    }
}

#[test]
fn a_broken_ticket_key_harms_nobody() {
    let server = start(
        &[("a.test", "ssl_session_ticket_key %PREFIX%/short.key;")],
        &[("short.key", vec![1; 47])],
    );
    assert!(
        server.said().contains("it must be 48 or 80 bytes"),
        "{}",
        server.said()
    );
    for version in VERSIONS {
        let session = Session::begin(&server, "a.test", version, &[]);
        assert!(session.resumes(&server, "a.test", &[]));
    }
}

#[test]
fn early_data_is_answered_before_the_handshake_ends_and_only_once() {
    let server = start(
        &[
            (
                "early.test",
                "ssl_early_data on; location /e { return 200 \"e$ssl_early_data$ssl_session_reused\\n\"; }",
            ),
            (
                "late.test",
                "location /e { return 200 \"e$ssl_early_data$ssl_session_reused\\n\"; }",
            ),
        ],
        &[],
    );
    let prefix = &server.site().prefix;
    let path = |name: &str| prefix.join(name).display().to_string();
    std::fs::write(
        path("whole"),
        "GET /e HTTP/1.1\r\nHost: early.test\r\nConnection: close\r\n\r\n",
    )
    .expect("written");
    std::fs::write(path("part"), "GET /e HTTP/1.1\r\nHost: early.test\r\nX: ").expect("written");
    let ask = |name: &str, session: &str, early: &str, text: &str| {
        let arguments = ["-sess_in", session, "-early_data", early, "-ign_eof"];
        talk(server.port(1), name, &arguments, text)
    };
    let begin = |name| {
        let session = Session::begin(&server, name, "-tls1_3", &[]);
        session.file.display().to_string()
    };

    let session = begin("early.test");
    let first = ask("early.test", &session, &path("whole"), "");
    assert!(
        first.said.contains("Early data was accepted"),
        "{}",
        first.said
    );
    assert_eq!(first.body(), Some("e1r"), "{}", first.said);
    // Whoever recorded it sends it again: the session is used up, and the data is not looked at.
    let again = ask(
        "early.test",
        &session,
        &path("whole"),
        "GET / HTTP/1.1\r\nHost: early.test\r\nConnection: close\r\n\r\n",
    );
    assert!(
        again.said.contains("Early data was rejected"),
        "{}",
        again.said
    );
    assert_eq!(again.body(), Some("."), "{}", again.said);

    // What ends behind the handshake is no replay.
    let session = begin("early.test");
    let part = ask(
        "early.test",
        &session,
        &path("part"),
        "y\r\nConnection: close\r\n\r\n",
    );
    assert!(
        part.said.contains("Early data was accepted"),
        "{}",
        part.said
    );
    assert_eq!(part.body(), Some("er"), "{}", part.said);

    let session = begin("late.test");
    let late = ask(
        "late.test",
        &session,
        &path("part"),
        "GET /e HTTP/1.1\r\nHost: late.test\r\nConnection: close\r\n\r\n",
    );
    assert_eq!(late.body(), Some("er"), "{}", late.said);
}
