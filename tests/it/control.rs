//! The control socket of a running daemon: what it tells, what it changes, and what cannot hurt it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;
use openclaw::protocol::client::{CallError, Client};
use openclaw::protocol::{
    Applied, Change, ConfState, ConfigTexts, Event, Explanation, FileText, History, Outcome,
    PeerAction, PeerChange, PeerState, Question, Refusal, RefusalCode, Revert, Review,
    RevisionDiff, Revisions, Routes, Status, Topic, Upstreams,
};

use crate::support::server::{Server, Setup, eventually};

/// A client that waits for each answer.
pub struct Control {
    pub client: Client,
    pub runtime: tokio::runtime::Runtime,
}

impl Control {
    /// The control socket of a server of these tests.
    pub fn of(server: &Server) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("an event loop");
        let control = Self {
            client: Client::new(socket(server)),
            runtime,
        };
        eventually("the control socket answers", || {
            control.get::<Status>("/v1/status").ok()
        });
        // The first revision is recorded as soon as the store is open.
        eventually("the first revision is recorded", || {
            (control.must_get::<Status>("/v1/status").revision > 0).then_some(())
        });
        control
    }

    pub fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        self.runtime.block_on(self.client.get(path))
    }

    pub fn must_get<T: serde::de::DeserializeOwned>(&self, path: &str) -> T {
        self.get(path)
            .unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub fn post<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        body: &impl serde::Serialize,
    ) -> Result<T, CallError> {
        self.runtime.block_on(self.client.post(path, body))
    }

    fn refusal<T: serde::de::DeserializeOwned + std::fmt::Debug>(
        &self,
        path: &str,
        body: &impl serde::Serialize,
    ) -> Refusal {
        match self.post::<T>(path, body) {
            Err(CallError::Refused(refusal)) => *refusal,
            other => panic!("{path} must be refused, not {other:?}"),
        }
    }

    /// A change of the main file as it is now.
    pub fn change(&self, edit: impl FnOnce(&str) -> String) -> Change {
        let texts: ConfigTexts = self.must_get("/v1/config");
        let main = &texts.files[0];
        Change {
            base: texts.base,
            files: vec![FileText {
                path: main.path.clone(),
                text: edit(&main.text),
            }],
            removed: Vec::new(),
            note: "a test".to_owned(),
            client: "test".to_owned(),
        }
    }
}

fn socket(server: &Server) -> PathBuf {
    server.site().prefix.join("state/control.sock")
}

fn get(server: &Server, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    let answer = server.connect(1).ask(&request);
    format!("{} {}", answer.status, answer.text())
}

const SITE: &str = "
    # The site; comments stay.
    server {
        listen %LISTEN1%;
        server_name a.test;   # its name

        location / { return 200 root; }
    }
";

#[test]
fn the_socket_is_for_its_owner_and_tells_what_runs() {
    let server = Setup::http(SITE).start();
    let control = Control::of(&server);
    let mode = fs::metadata(socket(&server))
        .expect("bound")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let status: Status = control.must_get("/v1/status");
    assert_eq!(status.pid, server.pid());
    assert_eq!(status.state, ConfState::Clean);
    assert_eq!(status.revision, 1);
    assert_eq!(status.generation, 1);
    assert_eq!(status.read_only, None);
    assert_eq!(status.store.error, None);
    assert_eq!(status.listens, [format!("0.0.0.0:{}", server.port(1))]);
    let routes: Routes = control.must_get("/v1/routes");
    let route = &routes.routes[0];
    assert_eq!((&*route.server, &*route.location), ("a.test", "/"));
    assert_eq!(route.target, "return 200 root");
    assert!(route.address.contains("location"), "{}", route.address);
}

#[test]
fn a_long_history_is_as_long_as_asked_for_also_before_anything_was_kept() {
    let server = Setup::http(SITE).start();
    let control = Control::of(&server);
    for (window, step, points) in [("7d", 3600, 168), ("30d", 3600, 720), ("1y", 86_400, 365)] {
        let history: History = control.must_get(&format!("/v1/history?window={window}"));
        assert_eq!((history.step_seconds, history.points.len()), (step, points));
    }
    for query in ["window=2w", "window=7d&route=4000000000"] {
        let answer = control.get::<History>(&format!("/v1/history?{query}"));
        assert!(matches!(answer, Err(CallError::Refused(_))), "{query}");
    }
}

#[test]
fn a_change_is_live_when_it_is_answered_and_leaves_the_rest_of_the_file() {
    let server = Setup::http(SITE).start();
    let control = Control::of(&server);
    let change = control.change(|text| {
        text.replace(
            "location / { return 200 root; }",
            "location / { return 200 root; }\n        location /new/ { return 200 new; }",
        )
    });
    let review: Review = control
        .post("/v1/config/review", &change)
        .expect("it is sound");
    assert!(review.is_applicable, "{review:?}");
    assert!(
        review
            .diff
            .contains("+        location /new/ { return 200 new; }")
    );
    assert_eq!(get(&server, "/new/"), "200 root");
    let applied: Applied = control
        .post("/v1/config/apply", &change)
        .expect("it is sound");
    assert_eq!((applied.revision, applied.generation), (2, 2));
    assert_eq!(get(&server, "/new/"), "200 new");
    let text = fs::read_to_string(server.site().conf_file()).expect("there");
    assert_eq!(text, change.files[0].text);
    let revisions: Revisions = control.must_get("/v1/revisions");
    assert_eq!(revisions.current, 2);
    let newest = &revisions.revisions[0];
    assert_eq!((newest.added, newest.removed), (1, 0));
    assert_eq!((&*newest.client, &*newest.note), ("test", "a test"));
    assert_eq!(newest.outcome, Outcome::Applied);

    // The same base once more: somebody was faster.
    let refusal = control.refusal::<Applied>("/v1/config/apply", &change);
    assert_eq!(refusal.code, RefusalCode::Stale);

    // And back.
    let texts: ConfigTexts = control.must_get("/v1/config");
    let mut revert = Revert {
        base: texts.base,
        revision: 2,
        undo: true,
        dry_run: true,
        client: "test".to_owned(),
    };
    let review: Review = control
        .post("/v1/config/revert", &revert)
        .expect("nothing is in the way");
    assert!(
        review.diff.contains("-        location /new/"),
        "{}",
        review.diff
    );
    revert.dry_run = false;
    let applied: Applied = control
        .post("/v1/config/revert", &revert)
        .expect("nothing is in the way");
    assert_eq!(applied.revision, 3);
    assert_eq!(get(&server, "/new/"), "200 root");
    let diff: RevisionDiff = control.must_get("/v1/revisions/3/diff");
    assert_eq!(diff.revision.reverts, Some(2));
    assert!(
        diff.diff.contains("-        location /new/"),
        "{}",
        diff.diff
    );
}

#[test]
fn a_broken_change_is_refused_with_its_place_and_changes_nothing() {
    let server = Setup::http(SITE).start();
    let control = Control::of(&server);
    let before = fs::read_to_string(server.site().conf_file()).expect("there");
    let change = control.change(|text| text.replace("return 200 root", "retrun 200 root"));
    let refusal = control.refusal::<Applied>("/v1/config/apply", &change);
    assert_eq!(refusal.code, RefusalCode::Problems);
    let problem = &refusal.problems[0];
    assert!(problem.is_error);
    assert_eq!(problem.column, 22);
    assert_eq!(&problem.source[21..27], "retrun");
    assert_eq!(problem.hint.as_deref(), Some("did you mean `return`?"));
    assert_eq!(
        fs::read_to_string(server.site().conf_file()).expect("there"),
        before
    );
    assert_eq!(get(&server, "/"), "200 root");
    let revisions: Revisions = control.must_get("/v1/revisions");
    assert_eq!(revisions.current, 1);
    assert_eq!(revisions.revisions[0].outcome, Outcome::Refused);
    assert!(revisions.revisions[0].reason.is_some());
}

#[test]
fn a_file_is_removed_if_only_a_pattern_finds_it() {
    let site = SITE.replace("location / ", "include plain.conf; location / ");
    let server = Setup::http(&format!("{site}\n include sites/*.conf;\n"))
        .file("conf/plain.conf", "location /plain { return 200 plain; }\n")
        .file("conf/sites/b.conf", "map $host $b { default b; }\n")
        .file("conf/other.conf", "mine\n")
        .start();
    let control = Control::of(&server);
    let directory = server.site().conf_file();
    let directory = directory.parent().expect("a file is in a directory");
    let without = |name: &str| Change {
        files: Vec::new(),
        removed: vec![directory.join(name).display().to_string()],
        ..control.change(str::to_owned)
    };

    // Named by itself it is missed, and what is no part of the configuration is not ours to remove.
    let change = without("plain.conf");
    let review: Review = control.post("/v1/config/review", &change).expect("read");
    assert!(!review.is_applicable);
    let refusal = control.refusal::<Applied>("/v1/config/apply", &change);
    assert_eq!(refusal.code, RefusalCode::Problems);
    assert!(
        refusal.message.contains("plain.conf` does not exist"),
        "{refusal}"
    );
    let refusal = control.refusal::<Applied>("/v1/config/apply", &without("other.conf"));
    assert!(
        refusal.message.contains("no part of the configuration"),
        "{refusal}"
    );
    assert!(directory.join("plain.conf").exists() && directory.join("other.conf").exists());
    assert_eq!(get(&server, "/plain"), "200 plain");

    let change = without("sites/b.conf");
    let review: Review = control.post("/v1/config/review", &change).expect("sound");
    assert!(review.is_applicable, "{review:?}");
    assert!(review.diff.contains("-map $host $b"), "{}", review.diff);
    let told = review
        .effects
        .iter()
        .any(|line| line.starts_with("removes "));
    assert!(told, "{:?}", review.effects);
    let applied: Applied = control.post("/v1/config/apply", &change).expect("sound");
    assert!(!applied.is_unchanged);
    assert!(!directory.join("sites/b.conf").exists());
    let texts: ConfigTexts = control.must_get("/v1/config");
    assert_eq!(texts.state, ConfState::Clean);
    assert!(!texts.files.iter().any(|file| file.path.ends_with("b.conf")));

    // It can be had back.
    let revert = Revert {
        base: texts.base,
        revision: applied.revision,
        undo: true,
        client: "test".to_owned(),
        ..Revert::default()
    };
    let _: Applied = control.post("/v1/config/revert", &revert).expect("undone");
    assert!(directory.join("sites/b.conf").exists());
}

#[test]
fn a_change_that_starts_from_before_a_hand_edit_is_refused() {
    let mut server = Setup::http(SITE).start();
    let control = Control::of(&server);
    let change = control.change(|text| text.replace("200 root", "200 other"));
    let by_hand = fs::read_to_string(server.site().conf_file()).expect("there");
    let by_hand = by_hand.replace("comments stay", "comments may change");
    server.rewrite(&by_hand);
    eventually("the edit by hand is seen", || {
        let status: Status = control.must_get("/v1/status");
        (status.state == ConfState::Edited).then_some(())
    });
    let refusal = control.refusal::<Applied>("/v1/config/apply", &change);
    assert_eq!(refusal.code, RefusalCode::Stale);
    assert!(refusal.diff.is_some_and(|diff| diff.contains("may change")));
    assert_eq!(get(&server, "/"), "200 root");
    // With the new base both changes take effect.
    let change = control.change(|text| text.replace("200 root", "200 other"));
    let _: Applied = control
        .post("/v1/config/apply", &change)
        .expect("the base is current");
    assert_eq!(get(&server, "/"), "200 other");
    let text = fs::read_to_string(server.site().conf_file()).expect("there");
    assert!(text.contains("may change"));
}

#[test]
fn a_reload_by_signal_becomes_a_revision_too() {
    let mut server = Setup::http(SITE).start();
    let control = Control::of(&server);
    let text = fs::read_to_string(server.site().conf_file()).expect("there");
    server.rewrite(&text.replace("200 root", "200 signalled"));
    server.signal(Signal::SIGHUP);
    eventually("the reload is recorded", || {
        let status: Status = control.must_get("/v1/status");
        (status.revision == 2 && status.state == ConfState::Clean).then_some(())
    });
    assert_eq!(get(&server, "/"), "200 signalled");
    let revisions: Revisions = control.must_get("/v1/revisions");
    assert_eq!(revisions.revisions[0].client, "signal");
}

#[test]
fn a_drained_peer_gets_nothing_until_it_is_put_back() {
    let server = Setup::http(
        "upstream app { server 127.0.0.1:%LISTEN2% weight=3; server 127.0.0.1:%LISTEN3%; }
         server { listen %LISTEN1%; location / { proxy_pass http://app; } }
         server { listen 127.0.0.1:%LISTEN2%; return 200 one; }
         server { listen 127.0.0.1:%LISTEN3%; return 200 two; }",
    )
    .start();
    let control = Control::of(&server);
    let change = |action, weight| PeerChange {
        upstream: "app".to_owned(),
        address: format!("127.0.0.1:{}", server.port(2)),
        action,
        weight,
    };
    let asked = || -> Vec<String> { (0..8).map(|_| get(&server, "/")).collect() };
    assert!(asked().contains(&"200 one".to_owned()));
    let upstreams: Upstreams = control
        .post("/v1/peers", &change(PeerAction::Drain, None))
        .expect("it is there");
    let peer = &upstreams.upstreams[0].peers[0];
    assert!(peer.is_overridden);
    assert_eq!(asked(), vec!["200 two"; 8]);
    eventually("its state is told", || {
        let upstreams: Upstreams = control.must_get("/v1/upstreams");
        (upstreams.upstreams[0].peers[0].traffic.state == PeerState::Drain).then_some(())
    });
    let _: Upstreams = control
        .post("/v1/peers", &change(PeerAction::Reset, None))
        .expect("it is there");
    assert!(asked().contains(&"200 one".to_owned()));
    let upstreams: Upstreams = control
        .post("/v1/peers", &change(PeerAction::Weight, Some(7)))
        .expect("it is there");
    assert_eq!(upstreams.upstreams[0].peers[0].weight, 7);
    let refusal = control.refusal::<Upstreams>("/v1/peers", &change(PeerAction::Weight, Some(0)));
    assert_eq!(refusal.code, RefusalCode::Invalid);
    let missing = PeerChange {
        address: "127.0.0.1:1".to_owned(),
        ..change(PeerAction::Up, None)
    };
    let refusal = control.refusal::<Upstreams>("/v1/peers", &missing);
    assert_eq!(refusal.code, RefusalCode::NotFound);
}

#[test]
fn a_request_is_explained_as_it_would_be_served() {
    let server = Setup::http(
        "upstream app { server 127.0.0.1:9; }
         server { listen %LISTEN1%; server_name a.test *.b.test;
             location / { return 200 root; }
             location /app/ { deny 10.0.0.0/8; proxy_pass http://app/inner/; }
             location ~ \\.php$ { return 404; }
             location = /old { rewrite ^ /app/new last; } }
         server { listen %LISTEN1% default_server; server_name other.test; return 444; }",
    )
    .start();
    let control = Control::of(&server);
    let explain = |url: &str, client: &str| -> Explanation {
        let question = Question {
            method: "GET".to_owned(),
            url: url.replace("PORT", &server.port(1).to_string()),
            client: client.to_owned(),
            ..Question::default()
        };
        control
            .post("/v1/explain", &question)
            .unwrap_or_else(|error| panic!("{url}: {error}"))
    };
    let told = explain("http://a.test:PORT/app/x?y=1", "");
    assert_eq!((&*told.server, &*told.location), ("a.test", "/app/"));
    assert_eq!(told.upstream_url.as_deref(), Some("http://app/inner/x?y=1"));
    assert_eq!(told.peers, ["127.0.0.1:9"]);
    assert!(told.route.is_some());
    assert_eq!(
        explain("http://a.test:PORT/app/x", "10.1.2.3").status,
        Some(403)
    );
    assert_eq!(explain("http://x.b.test:PORT/a.php", "").status, Some(404));
    let told = explain("http://a.test:PORT/old", "");
    assert_eq!(told.upstream_url.as_deref(), Some("http://app/inner/new"));
    assert_eq!(explain("http://nobody.test:PORT/", "").status, Some(444));
    let told = explain("http://a.test:1/", "");
    assert!(told.steps[0].text.contains("nothing listens"), "{told:?}");
    // What is told is what happens.
    assert_eq!(get(&server, "/x.php").split(' ').next(), Some("404"));
}

#[test]
fn a_stream_tells_what_happens_and_ends_with_its_lease() {
    let server = Setup::http(SITE).start();
    let control = Control::of(&server);
    let topics = [
        Topic::Summary,
        Topic::Routes,
        Topic::Requests,
        Topic::Events,
    ];
    let watch = async {
        let mut stream = control.client.stream(&topics).await.expect("room for one");
        let port = server.port(1);
        let asking = tokio::task::spawn_blocking(move || {
            let mut client = crate::support::client::Client::connect(port);
            client.ask("GET /live HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
        });
        let (mut requests, mut summaries) = (Vec::new(), 0);
        while requests.is_empty() || summaries == 0 {
            match stream.next().await.expect("the stream lives") {
                Some(Event::Summary(_)) => summaries += 1,
                Some(Event::Requests { requests: told, .. }) => {
                    requests.extend(told.into_iter().filter(|told| told.target == "/live"));
                }
                Some(_) => {}
                None => panic!("the stream ended early"),
            }
        }
        asking.await.expect("it does not panic");
        assert_eq!(requests[0].status, 200);
        assert_eq!(requests[0].location, "/");
        // Nobody renews: it ends by itself.
        while stream.next().await.expect("an end, not a break").is_some() {}
    };
    control.runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(60), watch)
            .await
            .expect("a lease is shorter");
    });
}

#[test]
fn clients_that_send_garbage_flood_or_hang_do_not_disturb_requests() {
    let server = Setup::http(SITE).start();
    let control = Control::of(&server);
    let path = socket(&server);
    let connect = || UnixStream::connect(&path).expect("the socket is there");
    for garbage in [
        &b"\x00\xff\x01garbage\r\n\r\n"[..],
        b"GET /v1/status HTTP/9.9\r\n\r\n",
        b"POST /v1/config/apply HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n{",
        b"POST /v1/config/apply HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n{]}",
        b"POST /v1/peers HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}",
        b"GET /v1/revisions/99999999999999999999 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /v1/../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n",
        b"DELETE /v1/status HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let mut stream = connect();
        stream.write_all(garbage).expect("it reads");
        stream
            .set_read_timeout(Some(Duration::from_millis(200)))
            .expect("a socket");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer);
        assert!(!text.contains(" 200 "), "{text}");
    }
    // As many as are served at once, each with half a head; nothing of it touches a request.
    let hanging: Vec<UnixStream> = (0..100)
        .filter_map(|_| {
            let mut stream = UnixStream::connect(&path).ok()?;
            stream.write_all(b"GET /v1/stat").ok()?;
            Some(stream)
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(get(&server, "/"), "200 root");
    }
    drop(hanging);
    let status: Status = control.must_get("/v1/status");
    assert_eq!(status.revision, 1);
}

#[test]
fn a_store_that_is_damaged_is_told_and_everything_else_goes_on() {
    let server = Setup::http(SITE)
        .file("state/openclaw.db", vec![b'x'; 4096])
        .tolerate("openclaw.db")
        .start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("an event loop");
    let client = Client::new(socket(&server));
    let status: Status = eventually("the store is told to be damaged", || {
        let status: Status = runtime.block_on(client.get("/v1/status")).ok()?;
        status.store.error.is_some().then_some(status)
    });
    assert_eq!(status.revision, 0);
    assert_eq!(get(&server, "/"), "200 root");
    let control = Control { client, runtime };
    let change = control.change(|text| text.replace("200 root", "200 changed"));
    let _: Applied = control
        .post("/v1/config/apply", &change)
        .expect("a change needs no store");
    assert_eq!(get(&server, "/"), "200 changed");
}

#[test]
fn a_killed_daemon_leaves_a_whole_file_and_a_store_that_opens() {
    /// More by `OPENCLAW_KILL_ROUNDS`, for who has the time.
    const ROUNDS: usize = 25;
    let rounds = std::env::var("OPENCLAW_KILL_ROUNDS");
    let rounds = rounds.map_or(ROUNDS, |rounds| rounds.parse().expect("a number"));
    let mut server = Setup::http(SITE).start();
    let conf = server.site().conf_file();
    let original = fs::read_to_string(&conf).expect("there");
    let mut seen = 0;
    // Requests all the while, whatever becomes of them.
    let is_over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let traffic = {
        let (port, is_over) = (server.port(1), std::sync::Arc::clone(&is_over));
        std::thread::spawn(move || {
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                if let Ok(mut client) = crate::support::client::Client::try_connect(port) {
                    client.send("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
                    let _ = client.next_answer("GET");
                }
            }
        })
    };
    for round in 0..rounds {
        let control = Control::of(&server);
        let change = control.change(|_| original.replace("200 root", &format!("200 round{round}")));
        let before = fs::read_to_string(&conf).expect("there");
        let pid = nix::unistd::Pid::from_raw(server.pid().cast_signed());
        let killer = std::thread::spawn(move || {
            // From before the request is read until after it is answered, in no order.
            std::thread::sleep(Duration::from_micros(round as u64 * 7919 % 12_000));
            let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
        });
        let applied = control.post::<Applied>("/v1/config/apply", &change);
        killer.join().expect("it does not panic");
        server.wait();
        let after = fs::read_to_string(&conf).expect("there");
        assert!(
            after == before || after == change.files[0].text,
            "torn: {after}"
        );
        server.start_again();
        let control = Control::of(&server);
        let revisions: Revisions = control.must_get("/v1/revisions");
        let status: Status = control.must_get("/v1/status");
        assert_eq!(status.state, ConfState::Clean);
        assert_eq!(status.store.error, None);
        if let Ok(applied) = applied {
            seen += 1;
            assert_eq!(after, change.files[0].text);
            assert!(
                revisions
                    .revisions
                    .iter()
                    .any(|known| known.id == applied.revision)
            );
        }
    }
    is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    traffic.join().expect("it does not panic");
    eprintln!("{seen} of {rounds} changes were answered before the kill");
}
