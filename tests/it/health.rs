//! Peers that are watched: active checks, ejection, circuits, the queue, the budget of retries.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use nix::sys::signal::Signal;

use super::support::backend::{Backend, Then};
use super::support::certificate::Authority;
use super::support::client::Answer;
use super::support::http2_backend::{Http2Backend, Manner};
use super::support::secure_backend::SecureBackend;
use super::support::server::{Server, Setup, eventually};

/// What is told of checks is no error.
const TALKATIVE: &str = "daemon off; pid server.pid; error_log error.log notice;";

/// A server with this in its `http`.
fn http(conf: &str) -> Setup {
    Setup::http(conf).globals(TALKATIVE)
}

/// A backend that says its name, and whose `/health` is as somebody wants it.
struct Watched {
    backend: Backend,
    works: Arc<AtomicBool>,
    checks: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

impl Watched {
    fn start(name: &'static str) -> Self {
        let works = Arc::new(AtomicBool::new(true));
        let checks: Arc<AtomicUsize> = Arc::default();
        let requests: Arc<AtomicUsize> = Arc::default();
        let (is_working, checked, asked) = (
            Arc::clone(&works),
            Arc::clone(&checks),
            Arc::clone(&requests),
        );
        let backend = Backend::scripted(move |exchange| {
            let is_check = exchange.seen.head.line.contains("/health");
            let status = match is_check {
                true if !is_working.load(Ordering::SeqCst) => "503 Down",
                _ => "200 OK",
            };
            match is_check {
                true => checked.fetch_add(1, Ordering::SeqCst),
                false => asked.fetch_add(1, Ordering::SeqCst),
            };
            let length = name.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{name}"
            );
            exchange.send(answer);
            Then::NextRequest
        });
        Self {
            backend,
            works,
            checks,
            requests,
        }
    }

    fn set(&self, works: bool) {
        self.works.store(works, Ordering::SeqCst);
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn get(server: &Server, path: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    server.connect(1).ask(&request)
}

/// Who answers, over so many requests; `502` and the like where nobody does.
fn who(server: &Server, count: usize) -> Vec<String> {
    let mut client = server.connect(1);
    let mut found: Vec<String> = (0..count)
        .map(|_| {
            let answer = client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            match answer.status {
                200 => answer.text(),
                status => status.to_string(),
            }
        })
        .collect();
    found.sort();
    found.dedup();
    found
}

fn two(one: &Watched, two: &Watched, more: &str, check: &str) -> Setup {
    http(&format!(
        "upstream app {{ {more} server {}; server {}; }}
         server {{ listen %LISTEN1%; location / {{ proxy_pass http://app; {check} }} }}",
        one.backend.address(),
        two.backend.address(),
    ))
}

#[test]
fn a_peer_that_fails_its_checks_gets_no_request_until_it_passes() {
    let (one, other) = (Watched::start("one"), Watched::start("two"));
    let check = "proxy_set_header Host checked.test; \
                 health_check uri=/health?x=1 interval=20ms jitter=5ms fails=2 passes=2;";
    for zone in ["", "zone app 64k;"] {
        let server = two(&one, &other, zone, check).start();
        assert_eq!(who(&server, 6), ["one", "two"]);
        other.set(false);
        eventually("it is taken out", || {
            (who(&server, 6) == ["one"]).then_some(())
        });
        other.set(true);
        eventually("it is taken in", || {
            (who(&server, 6) == ["one", "two"]).then_some(())
        });
        let said = server.said();
        let address = other.backend.address();
        let told = format!("peer {address} of upstream \"app\" is unhealthy: status 503");
        assert_eq!(said.matches(&told).count(), 1, "{said}");
        let told = format!("peer {address} of upstream \"app\" is healthy: status 200 in ");
        assert!(said.contains(&told), "{said}");
    }
    let seen = other.backend.seen();
    let check = seen.iter().find(|seen| seen.head.line.contains("/health"));
    let check = check.expect("it was checked");
    assert_eq!(check.head.line, "GET /health?x=1 HTTP/1.1");
    assert_eq!(check.head.value("Host"), Some("checked.test"));
    assert_eq!(check.head.value("Connection"), Some("close"));
}

#[test]
fn what_a_check_found_outlives_a_reload() {
    let (one, other) = (Watched::start("one"), Watched::start("two"));
    other.set(false);
    // The next check is far away: whatever holds after the reload was known before.
    let check = "health_check uri=/health interval=1h;";
    let mut server = two(&one, &other, "", check).start();
    eventually("it is taken out", || {
        (who(&server, 6) == ["one"]).then_some(())
    });
    other.set(true);
    let checks = other.checks.load(Ordering::SeqCst);
    let conf = format!(
        "events {{}}\nhttp {{\n%COMMON%\n upstream app {{ server {}; server {}; }}
         server {{ listen %LISTEN1%; add_header X-New yes;
         location / {{ proxy_pass http://app; {check} }} }} }}",
        one.backend.address(),
        other.backend.address(),
    );
    server.rewrite(&conf);
    server.signal(Signal::SIGHUP);
    eventually("the new configuration serves", || {
        get(&server, "/").value("X-New").map(str::to_owned)
    });
    assert_eq!(who(&server, 20), ["one"]);
    assert_eq!(other.checks.load(Ordering::SeqCst), checks);
}

#[test]
fn a_new_peer_that_has_to_pass_first_gets_nothing_before() {
    let (one, other) = (Watched::start("one"), Watched::start("two"));
    one.set(false);
    other.set(false);
    let check = "health_check uri=/health interval=20ms mandatory;";
    let server = two(&one, &other, "", check).start();
    assert_eq!(who(&server, 20), ["502"]);
    assert_eq!(one.requests() + other.requests(), 0);
    one.set(true);
    eventually("the first passes", || {
        (who(&server, 6) == ["one"]).then_some(())
    });
    assert_eq!(other.requests(), 0);
}

#[test]
fn an_answer_has_to_be_as_match_says() {
    for (tests, found) in [
        (
            "status 200-299; header Content-Type = text/plain; header ! X-Bad; body ~ ^one$;",
            None,
        ),
        (
            "status ! 500-599; header Content-Type ~ ^text/; header Server !~ nginx;",
            None,
        ),
        (
            "status 301 302;",
            Some("status 200, not as in `status 301 302`"),
        ),
        ("header X-Version;", Some("not as in `header X-Version`")),
        (
            "header Content-Type != text/plain;",
            Some("not as in `header Content-Type != text/plain`"),
        ),
        ("body ~* TWO;", Some("`TWO` is not found in the body")),
        ("body !~* ONE;", Some("`ONE` is found in the body")),
        ("require $upstream_http_content_type;", None),
        (
            "require $upstream_http_x_ready;",
            Some("`$upstream_http_x_ready` is empty or 0"),
        ),
    ] {
        let one = Watched::start("one");
        let server = http(&format!(
            "match fine {{ {tests} }}
             server {{ listen %LISTEN1%; location / {{ proxy_pass http://{};
             health_check uri=/health interval=20ms match=fine; }} }}",
            one.backend.address(),
        ))
        .start();
        let expected = match found {
            Some(found) => format!("is unhealthy: {found}"),
            None => "is healthy: status 200".to_owned(),
        };
        eventually(&expected, || {
            server.said().contains(&expected).then_some(())
        });
    }
}

#[test]
fn a_check_may_connect_only_or_ask_another_port() {
    let (one, other) = (Watched::start("one"), Watched::start("two"));
    let server = http(&format!(
        "upstream app {{ server {}; server %DEAD1%; health_check type=tcp interval=20ms; }}
         upstream side {{ server {}; }}
         server {{ listen %LISTEN1%;
         location / {{ proxy_pass http://app; }}
         location /side {{ proxy_pass http://side; health_check uri=/health port={} interval=20ms; }} }}",
        one.backend.address(),
        one.backend.address(),
        other.backend.port(),
    ))
    .start();
    eventually("nobody listens there", || {
        server
            .said()
            .contains("is unhealthy: connect() failed")
            .then_some(())
    });
    eventually("the other one is asked", || {
        (other.checks.load(Ordering::SeqCst) > 2).then_some(())
    });
    assert_eq!(who(&server, 6), ["one"]);
    assert_eq!(one.checks.load(Ordering::SeqCst), 0);
}

#[test]
fn a_check_speaks_tls_as_its_location_does_and_verifies_as_it_does() {
    let authority = Authority::new();
    let pair = authority.issue(&["peer.test"]);
    let peer = SecureBackend::start(&pair, &[], |stream| {
        use std::io::{Read as _, Write as _};
        let mut bytes = Vec::new();
        let mut byte = [0];
        while !bytes.ends_with(b"\r\n\r\n") {
            match stream.read(&mut byte) {
                Ok(1) => bytes.extend(byte),
                _ => return,
            }
        }
        let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        let _ = stream.flush();
    });
    for (name, expected) in [
        ("peer.test", "is healthy: status 204"),
        ("other.test", "is unhealthy: upstream SSL certificate"),
    ] {
        let server = http(&format!(
            "server {{ listen %LISTEN1%; location / {{ proxy_pass https://{};
             proxy_ssl_verify on; proxy_ssl_trusted_certificate ca.pem; proxy_ssl_name {name};
             health_check interval=20ms; }} }}",
            peer.address(),
        ))
        .file("conf/ca.pem", authority.pem())
        .start();
        eventually(expected, || server.said().contains(expected).then_some(()));
    }
}

#[test]
fn the_health_service_of_grpc_is_asked() {
    let peer = Http2Backend::start(Manner::default());
    for (parameters, expected) in [
        ("", "is healthy: serving"),
        ("grpc_service=bad", "is unhealthy: not serving"),
        (
            "grpc_service=good grpc_status=5",
            "is unhealthy: grpc-status 0",
        ),
    ] {
        let server = http(&format!(
            "server {{ listen %LISTEN1%; location / {{ grpc_pass {};
             health_check type=grpc {parameters} interval=20ms; }} }}",
            peer.address(),
        ))
        .start();
        eventually(expected, || server.said().contains(expected).then_some(()));
    }
    let calls = peer.calls();
    assert_eq!(calls[0].method, "POST");
    assert!(calls[0].uri.ends_with("/grpc.health.v1.Health/Check"));
}

#[test]
fn a_peer_with_errors_is_left_out_and_never_all_of_them() {
    let good = Watched::start("good");
    let asked: Arc<AtomicUsize> = Arc::default();
    let counted = Arc::clone(&asked);
    // Every second answer is an error.
    let bad = Backend::scripted(move |exchange| {
        let status = match counted.fetch_add(1, Ordering::SeqCst) % 2 {
            0 => "500 Broken",
            _ => "200 OK",
        };
        exchange.send(format!("HTTP/1.1 {status}\r\nContent-Length: 3\r\n\r\nbad"));
        Then::NextRequest
    });
    let server = http(&format!(
        "upstream app {{ server {}; server {}; eject errors=0 ratio=40% volume=10 window=1h open=1h; }}
         upstream alone {{ server {}; server %DEAD1% down; eject errors=2 open=1h; }}
         server {{ listen %LISTEN1%; location / {{ proxy_pass http://app; }}
         location /alone {{ proxy_pass http://alone; }} }}",
        good.backend.address(),
        bad.address(),
        bad.address(),
    ))
    .start();
    let mut client = server.connect(1);
    for _ in 0..100 {
        client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    // Ten that tell something, of which the last one may be fine.
    assert!(asked.load(Ordering::SeqCst) <= 11, "{asked:?}");
    assert!(
        server
            .said()
            .contains("upstream server is left out, 6 of 11 requests failed")
    );
    let before = asked.load(Ordering::SeqCst);
    for _ in 0..20 {
        client.ask("GET /alone HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    assert_eq!(asked.load(Ordering::SeqCst), before + 20);
}

#[test]
fn a_peer_that_was_left_out_comes_back_bit_by_bit() {
    for (slow_start, share) in [("", 40..=60), ("slow_start=1h", 0..=10)] {
        let steady = Watched::start("steady");
        let works: Arc<AtomicBool> = Arc::default();
        let asked: Arc<AtomicUsize> = Arc::default();
        let (is_working, counted) = (Arc::clone(&works), Arc::clone(&asked));
        let shaky = Backend::scripted(move |exchange| {
            counted.fetch_add(1, Ordering::SeqCst);
            let status = match is_working.load(Ordering::SeqCst) {
                true => "200 OK",
                false => "500 Broken",
            };
            exchange.send(format!(
                "HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\nshaky"
            ));
            Then::NextRequest
        });
        let server = http(&format!(
            "upstream app {{ zone app 64k; server {} {slow_start}; server {};
             eject errors=3 open=50ms probes=1; }}
             server {{ listen %LISTEN1%; location / {{ proxy_pass http://app; }} }}",
            shaky.address(),
            steady.backend.address(),
        ))
        .start();
        let mut client = server.connect(1);
        let mut ask = || client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").status;
        eventually("it is left out", || {
            ask();
            server.said().contains("is left out").then_some(())
        });
        works.store(true, Ordering::SeqCst);
        eventually("it is taken back", || {
            ask();
            server.said().contains("is taken in again").then_some(())
        });
        let before = asked.load(Ordering::SeqCst);
        for _ in 0..100 {
            assert_eq!(ask(), 200);
        }
        let count = asked.load(Ordering::SeqCst) - before;
        assert!(share.contains(&count), "{count} of 100 with `{slow_start}`");
    }
}

#[test]
fn a_circuit_opens_for_all_and_closes_when_a_probe_succeeds() {
    let works: Arc<AtomicBool> = Arc::default();
    let asked: Arc<AtomicUsize> = Arc::default();
    let (is_working, counted) = (Arc::clone(&works), Arc::clone(&asked));
    let backend = Backend::scripted(move |exchange| {
        counted.fetch_add(1, Ordering::SeqCst);
        let status = match is_working.load(Ordering::SeqCst) {
            true => "200 OK",
            false => "500 Broken",
        };
        exchange.send(format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok"));
        Then::NextRequest
    });
    let setup = |open: &str| {
        http(&format!(
            "upstream app {{ server {}; breaker errors=3 open={open}; }}
             server {{ listen %LISTEN1%; location / {{ proxy_pass http://app; }} }}",
            backend.address(),
        ))
    };
    let server = setup("1h").start();
    for expected in [500, 500, 500, 503, 503] {
        let answer = get(&server, "/");
        assert_eq!(answer.status, expected);
        assert_eq!(answer.value("Retry-After").is_some(), expected == 503);
    }
    assert_eq!(get(&server, "/").value("Retry-After"), Some("3600"));
    assert_eq!(asked.load(Ordering::SeqCst), 3);
    drop(server);
    let server = setup("100ms").start();
    for _ in 0..3 {
        get(&server, "/");
    }
    works.store(true, Ordering::SeqCst);
    eventually("the circuit closes", || {
        (get(&server, "/").status == 200).then_some(())
    });
    assert_eq!(who(&server, 5), ["ok"]);
    let said = server.said();
    assert!(said.contains("the circuit of the upstream opens, 3 failures in a row"));
    assert!(said.contains("the circuit of the upstream closes"));
}

/// A backend that answers when it is let, and notes in which order it was asked.
struct Held {
    backend: Backend,
    gate: Arc<(Mutex<usize>, Condvar)>,
}

impl Held {
    fn start() -> Self {
        let gate: Arc<(Mutex<usize>, Condvar)> = Arc::default();
        let inside = Arc::clone(&gate);
        let backend = Backend::scripted(move |exchange| {
            let (allowed, changed) = &*inside;
            let mut allowed = allowed.lock().expect("no panic");
            while *allowed == 0 {
                allowed = changed.wait(allowed).expect("no panic");
            }
            *allowed -= 1;
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            Then::NextRequest
        });
        Self { backend, gate }
    }

    fn release(&self, count: usize) {
        let (allowed, changed) = &*self.gate;
        *allowed.lock().expect("no panic") += count;
        changed.notify_all();
    }

    fn server(&self, queue: &str) -> Server {
        http(&format!(
            "map $arg_class $class {{ default $arg_class; }}
             log_format waited \"$uri $status $upstream_queue_time\";
             access_log logs/waited.log waited;
             upstream app {{ zone app 64k; server {} max_conns=1; queue {queue}; }}
             server {{ listen %LISTEN1%; priority $class;
             location / {{ proxy_pass http://app; }} location /metrics {{ metrics; }} }}",
            self.backend.address(),
        ))
        .start()
    }

    /// The paths that were asked for.
    fn asked(&self) -> Vec<String> {
        let seen = self.backend.seen();
        let paths = seen.iter().map(|seen| {
            let path = seen.head.line.split(' ').nth(1).unwrap_or_default();
            path.split(['?', '/']).nth(1).unwrap_or_default().to_owned()
        });
        paths.collect()
    }
}

fn until_waiting(server: &Server, count: usize) {
    let line = format!("openclaw_upstream_queue_waiting{{upstream=\"app\"}} {count}");
    eventually("they wait", || {
        get(server, "/metrics").text().contains(&line).then_some(())
    });
}

#[test]
fn who_waits_is_served_by_class_and_a_full_queue_sheds_the_lowest() {
    let held = Held::start();
    let server = held.server("3 timeout=1h");
    let ask = |name: &str, class: &str| {
        let mut client = server.connect(1);
        let request = format!("GET /{name}?class={class} HTTP/1.1\r\nHost: a\r\n\r\n");
        client.send(request);
        client
    };
    let mut first = ask("first", "");
    eventually("the first is there", || {
        (held.asked().len() == 1).then_some(())
    });
    let mut low = ask("low", "low");
    until_waiting(&server, 1);
    let mut normal = ask("normal", "");
    until_waiting(&server, 2);
    let mut late = ask("late", "low");
    until_waiting(&server, 3);
    // There is no room for another low one, but for a high one.
    let refused = get(&server, "/none?class=low");
    assert_eq!(refused.status, 503);
    assert_eq!(refused.value("Retry-After"), Some("30"));
    let mut high = ask("high", "high");
    assert_eq!(late.answer("GET").status, 503, "it lost its place");
    // Who goes away leaves the queue.
    drop(low);
    until_waiting(&server, 2);
    low = ask("low", "low");
    until_waiting(&server, 3);
    for client in [&mut first, &mut high, &mut normal, &mut low] {
        held.release(1);
        assert_eq!(client.answer("GET").status, 200);
    }
    assert_eq!(held.asked(), ["first", "high", "normal", "low"]);
    until_waiting(&server, 0);
}

#[test]
fn who_waits_too_long_is_told_to_come_again() {
    let held = Held::start();
    let server = held.server("10 timeout=50ms");
    let mut first = server.connect(1);
    first.send("GET /first HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("the first is there", || {
        (held.asked().len() == 1).then_some(())
    });
    let answer = get(&server, "/second");
    assert_eq!(answer.status, 503);
    assert_eq!(answer.value("Retry-After"), Some("1"));
    held.release(1);
    assert_eq!(first.answer("GET").status, 200);
    assert_eq!(held.asked(), ["first"]);
    let logged = server.read("logs/waited.log");
    let line = logged.lines().find(|line| line.starts_with("/second 503 "));
    let waited = line.and_then(|line| line.rsplit(' ').next());
    let waited: f64 = waited.and_then(|it| it.parse().ok()).expect("it is told");
    assert!(waited >= 0.05, "{logged}");
    assert!(server.said().contains("no peer had room in time"));
}

#[test]
fn retries_are_no_more_than_their_budget() {
    let one = Watched::start("one");
    let server = http(&format!(
        "upstream app {{ server %DEAD1% max_fails=0; server {} max_fails=0; retry_budget 0% min=3; }}
         server {{ listen %LISTEN1%; location / {{ proxy_pass http://app; }}
         location /metrics {{ metrics; }} }}",
        one.backend.address(),
    ))
    .start();
    let mut client = server.connect(1);
    let statuses: Vec<_> = (0..40)
        .map(|_| client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").status)
        .collect();
    let failed = statuses.iter().filter(|status| **status == 502).count();
    assert!(failed > 5, "{statuses:?}");
    let (_, dead) = server.site().dead()[0];
    let line = format!(
        "openclaw_upstream_failures_total{{upstream=\"app\",peer=\"127.0.0.1:{dead}\"}} {}\n",
        failed + 3
    );
    let metrics = get(&server, "/metrics").text();
    assert!(metrics.contains(&line), "{line}\nin\n{metrics}");
    let told = "no other peer is tried, the budget of retries is used up";
    assert!(server.said().contains(told));
}

#[test]
fn no_get_fails_when_one_of_three_backends_is_killed() {
    let backend = || {
        Setup::http("server { listen %LISTEN1%; location / { return 200 fine; } }")
            .globals("daemon off; pid server.pid; worker_processes 1;")
            .start()
    };
    let mut backends = [backend(), backend(), backend()];
    let [one, two, three] = backends.each_ref().map(|server| server.port(1));
    let server = http(&format!(
        "upstream app {{ server 127.0.0.1:{one}; server 127.0.0.1:{two}; server 127.0.0.1:{three}; }}
         server {{ listen %LISTEN1%; location / {{ proxy_pass http://app;
         health_check interval=50ms; }} }}"
    ))
    .start();
    let done: AtomicUsize = AtomicUsize::new(0);
    thread::scope(|scope| {
        let clients = [0; 4].map(|_| {
            scope.spawn(|| {
                let mut client = server.connect(1);
                let mut failed = 0;
                for _ in 0..500 {
                    let answer = client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
                    failed += usize::from(answer.status != 200 || answer.text() != "fine");
                    done.fetch_add(1, Ordering::SeqCst);
                }
                failed
            })
        });
        eventually("they are at it", || {
            (done.load(Ordering::SeqCst) > 300).then_some(())
        });
        backends[1].kill();
        let failed: usize = clients.map(|it| it.join().expect("no panic")).iter().sum();
        assert_eq!(failed, 0);
    });
    eventually("it is known", || {
        server.said().contains("is unhealthy").then_some(())
    });
}

#[test]
fn checks_share_a_connection_for_as_long_as_they_are_told_to() {
    let watched = Watched::start("one");
    let check = "health_check uri=/health interval=20ms keepalive_time=1h;";
    let server = two(&watched, &watched, "", check).start();
    eventually("it was checked some times", || {
        (watched.checks.load(Ordering::SeqCst) >= 6).then_some(())
    });
    drop(server);
    let seen = watched.backend.seen();
    let checks = seen
        .iter()
        .filter(|seen| seen.head.line.contains("/health"));
    let connections: std::collections::BTreeSet<usize> =
        checks.map(|check| check.connection).collect();
    // Two lines of one address.
    assert!(connections.len() <= 2, "{connections:?}");
}

#[test]
fn a_peer_is_checked_when_somebody_says_so() {
    let (one, other) = (Watched::start("one"), Watched::start("two"));
    let server = two(&one, &other, "", "health_check uri=/health interval=1d;").start();
    let _control = crate::control::Control::of(&server);
    eventually("each was checked at the start", || {
        let checks = |watched: &Watched| watched.checks.load(Ordering::SeqCst);
        (checks(&one) == 1 && checks(&other) == 1).then_some(())
    });
    other.set(false);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_openclaw"))
        .args([
            "backends",
            "check",
            "app",
            &other.backend.address().to_string(),
        ])
        .arg("--socket")
        .arg(server.site().prefix.join("state/control.sock"))
        .output()
        .expect("the program must be there");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    eventually("it was checked and taken out", || {
        (other.checks.load(Ordering::SeqCst) >= 2 && who(&server, 6) == ["one"]).then_some(())
    });
    assert_eq!(one.checks.load(Ordering::SeqCst), 1);
}
