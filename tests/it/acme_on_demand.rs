//! Certificates for names that only clients know, from a real authority.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use openclaw::protocol::{Certificates, Preflight};
use serde_json::json;

use crate::acme::{answer, is_served, setup};
use crate::control::Control;
use crate::support::backend::{Backend, Then};
use crate::support::pebble::Pebble;
use crate::support::server::{Server, eventually};

/// A server for whatever name clients bring, with a rule.
fn anybody(rule: &str) -> String {
    format!(
        "server {{
            listen 127.0.0.1:%TLS% ssl default_server;
            server_name _;
            acme pebble;
            acme_on_demand {rule};
            location / {{ return 200 \"$ssl_server_name\\n\"; }}
        }}\n"
    )
}

fn is_kept(server: &Server, name: &str) -> bool {
    let place = server.site().prefix.join("state/acme/pebble");
    place.join(name).exists()
}

/// The page of metrics.
fn numbers(server: &Server) -> serde_json::Value {
    let output = Command::new("curl")
        .args(["--silent", "--max-time", "20"])
        .arg(format!("http://127.0.0.1:{}/", server.port(1)))
        .output()
        .expect("curl runs");
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

/// What stands in the way of a name, as far as it is about names that clients bring.
fn told(server: &Server, name: &str) -> Vec<String> {
    let why: Preflight = Control::of(server)
        .post("/v1/certificates/why", &json!({ "name": name }))
        .expect("it is looked into");
    let told = (why.checks.into_iter()).filter(|check| check.subject == "on demand");
    told.map(|check| check.seen).collect()
}

#[test]
fn a_name_that_no_server_lists_gets_its_certificate_while_its_client_waits() {
    let pebble = Pebble::start();
    let metrics = "server { listen %LISTEN1%; location / { metrics json; } }";
    let rule = anybody("allow=*.example.com limit=3/1h") + metrics;
    let mut server = setup(&pebble, "", &rule).start();
    // All at once: one order is placed, and all of them have what came of it.
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| answer(&pebble, "a.example.com")))
            .collect();
        for client in clients {
            let said = client.join().expect("no panic");
            assert_eq!(said.as_deref(), Some("a.example.com\n"));
        }
    });
    assert_eq!(pebble.orders(), 1);
    // Nobody says that these may have one, or nobody could give it.
    for name in ["a.example.net", "example.com", "localhost"] {
        assert!(!is_served(&pebble, name), "{name}");
        assert!(!is_kept(&server, name), "{name}");
    }
    let counted = &numbers(&server)["on_demand_names"];
    assert_eq!(counted["issued"], 1);
    assert!(counted["refused"].as_u64() >= Some(3), "{counted}");
    assert_eq!(pebble.orders(), 1);
    // It is there after a start and a reload, and no other is ordered for it.
    server.quit();
    server.start_again();
    assert!(is_served(&pebble, "a.example.com"));
    server.signal(nix::sys::signal::Signal::SIGHUP);
    eventually("the configuration is read again", || {
        (numbers(&server)["config_generation"] == 2).then_some(())
    });
    assert!(is_served(&pebble, "a.example.com"));
    assert_eq!(pebble.orders(), 1);
    // It is one certificate as others are.
    let control = Control::of(&server);
    let listed: Certificates = control.must_get("/v1/certificates");
    let found = listed.certificates.iter();
    let found: Vec<_> = found.filter(|it| it.is_named("a.example.com")).collect();
    assert_eq!(found.len(), 1, "{listed:?}");
    let managed = found[0].managed.as_ref().expect("it is got here");
    assert!(managed.last_used.is_some() && managed.next.is_some());
    assert_eq!(found[0].used_by[0].server, "_");
    assert_eq!(
        told(&server, "b.example.com"),
        [
            "`allow=` admits it",
            "1 of 1000 names are held, 1 of 3 were new within 1h"
        ]
    );
}

#[test]
fn a_service_says_who_may_have_one_and_is_asked_once() {
    let pebble = Pebble::start();
    let service = Backend::scripted(|exchange| {
        let line = &exchange.seen.head.line;
        let answer = match line.ends_with("&domain=good.example.com HTTP/1.1") {
            true => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            false => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        };
        exchange.send(answer);
        Then::NextRequest
    });
    let rule = format!(
        "allow=*.example.com ask=http://{}/a?key=1",
        service.address()
    );
    let server = setup(&pebble, "", &anybody(&rule)).start();
    for _ in 0..3 {
        assert!(is_served(&pebble, "good.example.com"));
        assert!(!is_served(&pebble, "bad.example.com"));
        assert!(!is_served(&pebble, "bad.example.net"));
    }
    let asked: Vec<String> = (service.seen().into_iter())
        .map(|seen| seen.head.line)
        .collect();
    assert_eq!(
        asked,
        [
            "GET /a?key=1&domain=good.example.com HTTP/1.1",
            "GET /a?key=1&domain=bad.example.com HTTP/1.1"
        ]
    );
    assert_eq!(pebble.orders(), 1);
    assert!(!is_kept(&server, "bad.example.com"));
}

#[test]
fn no_more_names_are_new_than_the_limit_lets_through_and_none_more_are_held() {
    for (rule, why) in [
        (
            "limit=1/1h",
            "1 of 1000 names are held, 1 of 1 were new within 1h",
        ),
        (
            "most=1",
            "1 of 1 names are held, 1 of 20 were new within 1h",
        ),
    ] {
        let pebble = Pebble::start();
        let rule = format!("allow=*.example.com {rule}");
        let server = setup(&pebble, "", &anybody(&rule)).start();
        assert!(is_served(&pebble, "a.example.com"));
        for name in ["b.example.com", "c.example.com", "b.example.com"] {
            assert!(!is_served(&pebble, name), "{name}");
        }
        assert!(is_served(&pebble, "a.example.com"));
        assert_eq!(pebble.orders(), 1);
        let told = told(&server, "b.example.com");
        assert_eq!(told[1], why);
        assert!(told[2].starts_with("refused a short while ago"), "{told:?}");
    }
}

#[test]
fn what_fails_leaves_nothing_behind_and_is_tried_again_when_a_client_comes() {
    let pebble = Pebble::start();
    // Nobody listens there.
    let wrong = json!({ "host": "a.example.com", "addresses": ["127.0.0.77"] });
    pebble.tell_dns("add-a", &wrong);
    let rule = anybody("allow=*.example.com");
    let server = setup(&pebble, "challenge http-01;", &rule).start();
    assert!(!is_served(&pebble, "a.example.com"));
    eventually("nothing is left", || {
        (!is_kept(&server, "a.example.com")).then_some(())
    });
    assert!(server.said().contains("127.0.0.77"));
    pebble.tell_dns("clear-a", &json!({ "host": "a.example.com" }));
    eventually("it is served", || {
        is_served(&pebble, "a.example.com").then_some(())
    });
}

#[test]
fn a_name_that_no_client_brings_any_more_is_forgotten() {
    let pebble = Pebble::start();
    let rule = anybody("allow=*.example.com inactive=2s");
    let server = setup(&pebble, "", &rule).start();
    assert!(is_served(&pebble, "a.example.com"));
    assert!(is_kept(&server, "a.example.com"));
    server.signal(nix::sys::signal::Signal::SIGHUP);
    eventually("it is forgotten", || {
        (!is_kept(&server, "a.example.com")).then_some(())
    });
    let control = Control::of(&server);
    let listed: Certificates = control.must_get("/v1/certificates");
    let mut found = listed.certificates.iter();
    assert!(!found.any(|it| it.is_named("a.example.com")));
}

#[test]
fn a_name_is_renewed_while_it_is_used_unless_the_service_takes_it_back() {
    let options = crate::support::pebble::Options {
        validity: Some(6),
        ..Default::default()
    };
    let pebble = Pebble::start_with(options);
    let is_allowed = Arc::new(AtomicBool::new(true));
    let allowed = Arc::clone(&is_allowed);
    let service = Backend::scripted(move |exchange| {
        let answer = match allowed.load(Ordering::SeqCst) {
            true => "HTTP/1.1 204 No Content\r\n\r\n",
            false => "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
        };
        exchange.send(answer);
        Then::NextRequest
    });
    let rule = format!("ask=http://{}/", service.address());
    let server = setup(&pebble, "", &anybody(&rule)).start();
    assert!(is_served(&pebble, "a.example.com"));
    eventually("it is renewed", || (pebble.orders() >= 2).then_some(()));
    is_allowed.store(false, Ordering::SeqCst);
    eventually("it is forgotten", || {
        (!is_kept(&server, "a.example.com")).then_some(())
    });
    assert!(!is_served(&pebble, "a.example.com"));
}
