//! Calls that wait for a provider that has as many as it may; regions that calls stay in; and the cheaper
//! model for a budget that is nearly used up.

use std::io::{Read as _, Write as _};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use parking_lot::{Mutex, MutexGuard};
use serde_json::{Value, json};

use crate::gateway::{chat, key, logged, metric, openclaw, post, read};
use crate::support::backend::{Backend, Then};
use crate::support::certificate::Authority;
use crate::support::client::{Answer, Client};
use crate::support::model;
use crate::support::secure_backend::SecureBackend;
use crate::support::server::{Server, Setup, eventually};

const LOG: &str = "log_format calls '$llm_model|$llm_outcome|$llm_queue_time|$llm_attempts';";

fn start(one: &Backend, lines: &str) -> Server {
    Setup::http(&format!(
        "{lines} {LOG}
         server {{ listen %LISTEN1%; access_log calls.log calls;
            location /v1/ {{ llm_gateway anybody; }}
            location /metrics {{ metrics; }}
            location /eu/ {{ llm_gateway anybody; llm_region $arg_region; }}
            location /keys/ {{ llm_gateway; llm_downgrade 50% one/mini; llm_downgrade 90% one/tiny;
                llm_route one/by-rule; }} }}"
    ))
    .set("ONE", one.address())
    .start()
}

/// A provider that answers as many calls as it is allowed to, in the order in which they came.
fn slow(allowed: &Arc<AtomicUsize>) -> Backend {
    let allowed = Arc::clone(allowed);
    let asked = AtomicUsize::new(0);
    Backend::scripted(move |exchange| {
        if exchange.read_body().is_err() {
            return Then::Close;
        }
        let number = asked.fetch_add(1, Ordering::SeqCst);
        eventually("the test goes on", || {
            (allowed.load(Ordering::SeqCst) > number).then_some(())
        });
        let body = json!({ "choices": [{ "index": 0, "finish_reason": "stop",
            "message": { "role": "assistant", "content": "Hello" } }] })
        .to_string();
        let length = body.len();
        exchange.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
        Then::NextRequest
    })
}

fn begin(server: &Server, model: &str) -> Client {
    let call = json!({ "model": model, "messages": [] }).to_string();
    let mut client = server.connect(1);
    client.send(format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{call}",
        call.len()
    ));
    client
}

fn waits(server: &Server, count: u64) {
    eventually("so many wait", || {
        let told: Value =
            serde_json::from_str(&openclaw(server, &["providers", "--json"])).expect("JSON");
        (told[0]["waiting"] == count).then_some(())
    });
}

fn attempts(answer: &Answer) -> &str {
    answer.value("x-openclaw-attempts").unwrap_or_default()
}

#[test]
fn calls_wait_in_order_for_a_provider_that_has_no_room() {
    let allowed = Arc::new(AtomicUsize::new(0));
    let one = slow(&allowed);
    let server = start(
        &one,
        "llm_provider one { base_url http://%ONE%/v1; max_connections 1; queue 2 timeout=1h; }",
    );
    let mut first = begin(&server, "one/first");
    eventually("it is under way", || (one.seen().len() == 1).then_some(()));
    let mut second = begin(&server, "one/second");
    waits(&server, 1);
    let mut third = begin(&server, "one/third");
    waits(&server, 2);
    // There is room for two.
    let full = chat(&server, "one/fourth", json!({}));
    assert_eq!((full.status, full.value("Retry-After")), (503, Some("1")));
    assert_eq!(
        read(&full)["error"]["code"],
        "queue_full",
        "{}",
        full.text()
    );
    // Who talks as Anthropic's clients do is told in their words.
    let call = json!({ "model": "one/fourth", "max_tokens": 9,
        "messages": [{ "role": "user", "content": "Hello?" }] });
    let full = post(&server, "/v1/messages", "", &call);
    assert_eq!(read(&full)["error"]["type"], "overloaded_error");
    let metrics = server
        .connect(1)
        .ask("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    for line in [
        "openclaw_llm_provider_in_flight{provider=\"one\"} 1",
        "openclaw_llm_provider_queue_length{provider=\"one\"} 2",
        "openclaw_llm_provider_queue_refused_total{provider=\"one\"} 2",
    ] {
        assert!(metrics.text().lines().any(|told| told == line), "{line}");
    }

    allowed.store(1, Ordering::SeqCst);
    let answer = first.answer("POST");
    assert_eq!(answer.value("x-openclaw-queue-ms"), None);
    eventually("the next is asked", || {
        (one.seen().len() == 2).then_some(())
    });
    waits(&server, 1);
    allowed.store(9, Ordering::SeqCst);
    for client in [&mut second, &mut third] {
        let answer = client.answer("POST");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let waited = answer.value("x-openclaw-queue-ms").expect("it waited");
        assert!(
            waited.parse::<u64>().expect("milliseconds") >= 1,
            "{waited}"
        );
    }
    let order: Vec<String> = (one.seen().iter())
        .map(|call| String::from_utf8_lossy(&call.body).into_owned())
        .collect();
    for (call, name) in order.iter().zip(["first", "second", "third"]) {
        assert!(call.contains(name), "{order:?}");
    }
    // Three calls that were answered, two that were not, and the metrics.
    let lines = logged(&server, 6);
    let third = lines.iter().find(|line| line.starts_with("one/third"));
    let third: Vec<&str> = third.expect("a line").split('|').collect();
    assert_eq!(third[3], "one/third:busy,one/third:ok");
    assert!(third[2].parse::<f64>().expect("seconds") > 0.0, "{third:?}");
    waits(&server, 0);
}

#[test]
fn who_waits_too_long_or_is_too_large_is_sent_away_and_who_leaves_gives_up_its_place() {
    let allowed = Arc::new(AtomicUsize::new(0));
    let one = slow(&allowed);
    let server = start(
        &one,
        "llm_provider one { base_url http://%ONE%/v1; max_connections 1; queue 9 timeout=50ms bytes=1k; }
         llm_provider two { base_url http://%ONE%/v1; max_connections 1; queue 1 timeout=1h; }",
    );
    let _held = begin(&server, "one/held");
    eventually("it is under way", || (one.seen().len() == 1).then_some(()));
    let late = chat(&server, "one/late", json!({}));
    assert_eq!(late.status, 503);
    assert_eq!(read(&late)["error"]["code"], "queue_timeout");
    assert!(late.value("Retry-After").is_some());
    assert!(late.value("x-openclaw-queue-ms").is_some());
    let large = chat(&server, "one/large", json!({ "user": "x".repeat(1 << 10) }));
    assert_eq!(read(&large)["error"]["code"], "queue_full");

    let _held = begin(&server, "two/held");
    eventually("it is under way", || (one.seen().len() == 2).then_some(()));
    let waits_at_two = |count: u64| {
        eventually("so many wait", || {
            let told = openclaw(&server, &["providers", "--json"]);
            let told: Value = serde_json::from_str(&told).expect("JSON");
            (told[1]["waiting"] == count).then_some(())
        });
    };
    let leaving = begin(&server, "two/leaving");
    waits_at_two(1);
    drop(leaving);
    waits_at_two(0);
    let mut next = begin(&server, "two/next");
    waits_at_two(1);
    allowed.store(9, Ordering::SeqCst);
    assert_eq!(next.answer("POST").status, 200);
    assert_eq!(one.seen().len(), 3, "nobody asked for the one that left");
    // It pays nothing for waiting.
    let lines = eventually("its line", || {
        let log = server.read("calls.log");
        log.contains("two/leaving").then_some(log)
    });
    let left = lines.lines().find(|line| line.starts_with("two/leaving"));
    assert!(left.expect("a line").contains("|client_abort|"), "{left:?}");
}

#[test]
fn whoever_has_room_is_asked_before_anybody_waits() {
    let allowed = Arc::new(AtomicUsize::new(0));
    let one = slow(&allowed);
    let other = model::openai();
    let server = start(
        &one,
        &format!(
            "llm_provider one {{ base_url http://%ONE%/v1; max_connections 1; queue 9 timeout=1h; }}
             llm_provider two {{ base_url http://{0}/v1; }}
             llm_provider bad {{ base_url http://{0}/v1; retries 0; }}
             llm_model chat {{ target one/say; target two/say backup; }}
             llm_model slow {{ target one/say; target bad/status-500 backup; }}",
            other.address()
        ),
    );
    let _held = begin(&server, "one/held");
    eventually("it is under way", || (one.seen().len() == 1).then_some(()));
    let answer = chat(&server, "chat", json!({}));
    assert_eq!(attempts(&answer), "one/say:busy,two/say:ok");
    // The other one fails: it waits after all.
    let mut waiting = begin(&server, "slow");
    waits(&server, 1);
    allowed.store(9, Ordering::SeqCst);
    let answer = waiting.answer("POST");
    assert_eq!(
        attempts(&answer),
        "one/say:busy,bad/status-500:500,one/say:ok"
    );
}

#[test]
fn a_call_waits_for_all_that_have_no_room_and_whoever_has_some_first_answers() {
    let (allowed_one, allowed_two) = (Arc::default(), Arc::default());
    let (one, two) = (slow(&allowed_one), slow(&allowed_two));
    let server = start(
        &one,
        &format!(
            "llm_provider one {{ base_url http://%ONE%/v1; max_connections 1; queue 9 timeout=1h; }}
             llm_provider two {{ base_url http://{}/v1; max_connections 1; queue 9 timeout=1h; }}
             llm_provider hasty {{ base_url http://%ONE%/v1; max_connections 1; queue 9 timeout=20ms; }}
             llm_model chat {{ strategy ordered; target one/a; target one/b; target two/c; }}
             llm_model hasty {{ strategy ordered; target hasty/a; target two/c; }}",
            two.address()
        ),
    );
    let wait_there = |counts: [u64; 3]| {
        eventually("so many wait", || {
            let told = openclaw(&server, &["providers", "--json"]);
            let told: Value = serde_json::from_str(&told).expect("JSON");
            let found = [0, 1, 2].map(|at| told[at]["waiting"].as_u64());
            (found == counts.map(Some)).then_some(())
        });
    };
    let _held = ["one/held", "hasty/held", "two/held"].map(|model| begin(&server, model));
    eventually("they are under way", || {
        (one.seen().len() + two.seen().len() == 3).then_some(())
    });
    let mut waiting = begin(&server, "chat");
    wait_there([1, 1, 0]);
    allowed_two.store(2, Ordering::SeqCst);
    let answer = waiting.answer("POST");
    assert_eq!(
        attempts(&answer),
        "one/a:busy,one/b:busy,two/c:busy,two/c:ok"
    );
    wait_there([0, 0, 0]);
    // Where the time of one queue is over, it waits on in the other.
    let _held = begin(&server, "two/held");
    eventually("it is under way", || (two.seen().len() == 3).then_some(()));
    let mut waiting = begin(&server, "hasty");
    wait_there([0, 1, 0]);
    allowed_two.store(9, Ordering::SeqCst);
    let answer = waiting.answer("POST");
    assert_eq!(attempts(&answer), "hasty/a:busy,two/c:busy,two/c:ok");
    // Who leaves gives up all its places.
    let _held = begin(&server, "two/held");
    allowed_one.store(9, Ordering::SeqCst);
    wait_there([0, 0, 0]);
}

fn limit(server: &Server) -> u64 {
    let told: Value =
        serde_json::from_str(&openclaw(server, &["providers", "--json"])).expect("JSON");
    assert_eq!(told[0]["is_adaptive"], true);
    told[0]["most"].as_u64().expect("a number")
}

#[test]
fn a_provider_that_says_it_is_too_much_gets_fewer_calls_and_a_reload_forgets_nothing() {
    let one = model::openai();
    let server = start(
        &one,
        "llm_provider one { base_url http://%ONE%/v1; max_connections auto min=2 max=99; retries 0; }
         llm_provider two { base_url http://%ONE%/v1; max_connections 7; }",
    );
    assert_eq!(limit(&server), 8);
    for (model, expected) in [("status-429", 6), ("status-503", 4), ("status-500", 4)] {
        chat(&server, &format!("one/{model}"), json!({}));
        assert_eq!(limit(&server), expected, "{model}");
    }
    let generation = || {
        let status: Value =
            serde_json::from_str(&openclaw(&server, &["status", "--json"])).expect("JSON");
        status["status"]["generation"].as_u64()
    };
    let before = generation();
    server.signal(Signal::SIGHUP);
    eventually("it is reloaded", || (generation() > before).then_some(()));
    assert_eq!(limit(&server), 4);
    let listed = openclaw(&server, &["providers"]);
    for (name, expected) in [("one ", "auto 4"), ("two ", " 7 ")] {
        let line = listed.lines().find(|line| line.starts_with(name));
        assert!(line.is_some_and(|line| line.contains(expected)), "{listed}");
    }
    let metrics = server
        .connect(1)
        .ask("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    for line in [
        "openclaw_llm_provider_in_flight_limit{provider=\"one\"} 4",
        "openclaw_llm_provider_in_flight_limit{provider=\"two\"} 7",
    ] {
        assert!(metrics.text().lines().any(|told| told == line), "{line}");
    }
}

#[test]
fn a_provider_that_gets_slower_with_each_call_gets_fewer_of_them() {
    /// It works on one call at a time, and that takes a while.
    static WORK: Mutex<()> = Mutex::new(());
    let one = Backend::scripted(|exchange| {
        if exchange.read_body().is_err() {
            return Then::Close;
        }
        {
            let alone = WORK.lock();
            std::thread::sleep(Duration::from_millis(10));
            // In the order in which they came.
            MutexGuard::unlock_fair(alone);
        }
        let body = json!({ "choices": [{ "index": 0, "finish_reason": "stop",
            "message": { "role": "assistant", "content": "Hello" } }] })
        .to_string();
        let length = body.len();
        exchange.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
        Then::NextRequest
    });
    let server = start(
        &one,
        "llm_provider one { base_url http://%ONE%/v1; max_connections auto min=1; queue 100 timeout=1h; }",
    );
    // One after the other: that is how soon it usually answers.
    for _ in 0..20 {
        assert_eq!(chat(&server, "one/say", json!({})).status, 200);
    }
    assert_eq!(limit(&server), 8);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| {
                while !is_over.load(Ordering::SeqCst) {
                    let answer = chat(&server, "one/say", json!({}));
                    assert_eq!(answer.status, 200, "{}", answer.text());
                }
            });
        }
        scope.spawn(|| {
            let found = std::panic::catch_unwind(AssertUnwindSafe(|| {
                eventually("it gets fewer", || (limit(&server) < 8).then_some(()));
            }));
            is_over.store(true, Ordering::SeqCst);
            assert!(found.is_ok());
        });
    });
    waits(&server, 0);
}

#[test]
fn many_calls_at_a_narrow_provider_are_all_answered() {
    let one = model::openai();
    let server = start(
        &one,
        "llm_provider one { base_url http://%ONE%/v1; max_connections 2; queue 100 timeout=1h; }",
    );
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let answer = chat(&server, "one/say", json!({}));
                    assert_eq!(answer.status, 200, "{}", answer.text());
                }
            });
        }
    });
    waits(&server, 0);
}

#[test]
fn calls_never_leave_the_region_that_they_are_to_stay_in() {
    let one = model::openai();
    let server = start(
        &one,
        "llm_provider one { base_url http://%ONE%/v1; region us; retries 0; }
         llm_provider two { base_url http://%ONE%/v1; region eu; retries 0; }
         llm_provider nowhere { base_url http://%ONE%/v1; retries 0; }
         llm_model chat { strategy ordered; target one/a; target nowhere/b; target two/c; target one/d region=EU; }
         llm_model failing { strategy ordered; target two/status-500; target one/say; }
         llm_model abroad { target one/say; target nowhere/say; }",
    );
    let ask = |region: &str, model: &str| {
        let path = format!("/eu/v1/chat/completions?region={region}");
        post(
            &server,
            &path,
            "",
            &json!({ "model": model, "messages": [] }),
        )
    };
    for (region, expected) in [("", "one/a:ok"), ("eu", "two/c:ok"), ("eu,us", "one/a:ok")] {
        assert_eq!(attempts(&ask(region, "chat")), expected, "{region}");
    }
    let failing = ask("eu", "failing");
    assert_eq!(attempts(&failing), "two/status-500:500");
    let asked = one.seen().len();
    for (model, region) in [
        ("abroad", "eu"),
        ("one/say", "eu"),
        ("nowhere/say", "us"),
        ("chat", "mars"),
    ] {
        let answer = ask(region, model);
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert_eq!(read(&answer)["error"]["code"], "region_unavailable");
    }
    assert_eq!(one.seen().len(), asked);
    // Other calls stay there too.
    let call = json!({ "input": "Hello?" });
    let answer = post(&server, "/eu/v1/moderations?region=eu", "", &call);
    assert_eq!(attempts(&answer), "two:ok");
    let answer = post(&server, "/eu/v1/moderations?region=mars", "", &call);
    assert_eq!(read(&answer)["error"]["code"], "region_unavailable");
}

#[test]
fn a_key_with_a_budget_may_have_texts_judged_for_free() {
    let one = model::openai();
    let server = start(&one, "llm_provider one { base_url http://%ONE%/v1; }");
    let poor = key(&server, "poor", &["--budget", "0.01/total"]);
    let ask = |path: &str, call: Value| {
        let fields = format!("Authorization: Bearer {poor}\r\n");
        post(&server, &format!("/keys/v1/{path}"), &fields, &call)
    };
    let answer = ask("moderations", json!({ "input": "Hello?" }));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.value("x-openclaw-cost"), Some("0.00"));
    // What a picture costs nobody knows.
    let answer = ask("images/generations", json!({ "prompt": "A cat" }));
    assert_ne!(answer.status, 200, "{}", answer.text());
}

#[test]
fn a_budget_that_is_nearly_used_up_pays_for_cheaper_models() {
    let one = model::openai();
    // Twelve tokens come out each time: 12 cents.
    let server = start(
        &one,
        "llm_provider one { base_url http://%ONE%/v1; } llm_price one/* in=0 out=10000;",
    );
    let thrifty = key(
        &server,
        "thrifty",
        &["--budget", "0.48/total", "--budget", "99/month"],
    );
    let free = key(&server, "free", &[]);
    let ask = |key: &str| {
        let call = json!({ "model": "one/dear", "max_tokens": 1, "messages": [] });
        let fields = format!("Authorization: Bearer {key}\r\n");
        let answer = post(&server, "/keys/v1/chat/completions", &fields, &call);
        let told = |name: &str| answer.value(name).unwrap_or_default().to_owned();
        (told("x-openclaw-model"), told("x-openclaw-route"))
    };
    let same = |model: &str| (model.to_owned(), model.to_owned());
    for expected in ["one/by-rule", "one/by-rule", "one/mini", "one/mini"] {
        assert_eq!(ask(&thrifty), same(expected));
        assert_eq!(ask(&free), same("one/by-rule"));
    }
}

#[test]
fn a_provider_behind_an_upstream_is_tested_at_the_address_of_its_server() {
    let one = Backend::scripted(|exchange| {
        let is_list = exchange.seen.head.line.starts_with("GET /v1/models ");
        let body = match is_list {
            true => "{\"data\":[{\"id\":\"a\"}]}",
            false => "{}",
        };
        let length = body.len();
        exchange.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
        Then::NextRequest
    });
    let server = start(
        &one,
        "upstream racks { server 127.0.0.1:1 down; server %ONE%; }
         llm_provider one { base_url http://racks/v1; }",
    );
    let said = openclaw(&server, &["providers", "test"]);
    assert!(said.contains("answers and has 1 model\n"), "{said}");
}

#[test]
fn a_test_wants_the_name_of_the_provider_in_a_certificate_as_calls_do() {
    let authority = Authority::new();
    let said = |names: &[&str]| {
        let peer = SecureBackend::start(&authority.issue(names), &[b"http/1.1"], |stream| {
            let mut head = [0; 4096];
            let _ = stream.read(&mut head);
            let body = "{\"data\":[{\"id\":\"a\"}]}";
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
            );
            let _ = stream.flush();
        });
        let server = Setup::http(
            "upstream racks { server %PEER%; }
             llm_provider one { base_url https://racks/v1; ssl_trusted_certificate ca.pem; }
             server { listen %LISTEN1%; location / { llm_gateway; } }",
        )
        .set("PEER", peer.address())
        .file("conf/ca.pem", authority.pem())
        .start();
        eventually("the daemon answers", || {
            let output = server.openclaw(&["providers"]).output().expect("it runs");
            output.status.success().then_some(())
        });
        let output = server.openclaw(&["providers", "test"]).output();
        let output = output.expect("it runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let good = said(&["racks"]);
    assert!(good.contains("answers and has 1 model\n"), "{good}");
    let wrong = said(&["127.0.0.1", "other"]);
    assert!(wrong.contains("not valid for name"), "{wrong}");
}

#[test]
fn bodies_of_calls_take_as_much_memory_as_they_may_and_no_more() {
    let allowed = Arc::new(AtomicUsize::new(0));
    let one = slow(&allowed);
    let server = start(
        &one,
        "llm_provider one { base_url http://%ONE%/v1; } llm_body_memory 1m;",
    );
    let text = |length: usize| json!({ "model": "one/m", "messages": [{ "role": "user", "content": "a".repeat(length) }] });
    let send = |length: usize| {
        let call = text(length).to_string();
        let mut client = server.connect(1);
        client.send(format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{call}",
            call.len()
        ));
        client
    };
    let taken = || metric(&server, "openclaw_llm_body_bytes");
    let mut first = send(700 << 10);
    eventually("it is under way", || (one.seen().len() == 1).then_some(()));
    assert!(((700 << 10)..(701 << 10)).contains(&taken()), "{}", taken());
    // Whether the length is told or comes out, there is no room.
    let full = send(400 << 10).answer("POST");
    assert_eq!((full.status, full.value("Retry-After")), (503, Some("1")));
    assert_eq!(read(&full)["error"]["code"], "memory_full");
    let call = text(400 << 10).to_string();
    let in_chunks = |call: &str| {
        let mut client = server.connect(1);
        client.send(format!(
            "POST /v1/messages HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{call}\r\n0\r\n\r\n",
            call.len()
        ));
        client.answer("POST")
    };
    let full = in_chunks(&call);
    assert_eq!(full.status, 529, "in the words of Anthropic's clients");
    assert_eq!(read(&full)["error"]["type"], "overloaded_error");
    // More than there ever is, and little enough not to count.
    let large = send(1 << 20).answer("POST");
    assert_eq!(
        (large.status, &read(&large)["error"]["code"]),
        (413, &json!("request_too_large"))
    );
    allowed.store(9, Ordering::SeqCst);
    assert_eq!(first.answer("POST").status, 200);
    eventually("its memory is free", || (taken() == 0).then_some(()));
    let large = in_chunks(&text(1 << 20).to_string());
    assert_eq!(large.status, 413, "to come again would be of no use");
    assert_eq!(send(32 << 10).answer("POST").status, 200);
    assert_eq!(send(900 << 10).answer("POST").status, 200);
}
