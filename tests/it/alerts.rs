//! Alerts, as their receivers get them.

use std::io::{BufRead as _, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::hmac;
use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::support::backend::{Backend, Seen, Then};
use crate::support::model;
use crate::support::server::{Server, Setup, eventually};

const SECRETS: [&str; 2] = ["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "another-secret-of-ours"];

/// A receiver that fails so often before it takes anything.
fn receiver(failures: usize) -> Backend {
    let asked = AtomicUsize::new(0);
    Backend::scripted(move |exchange| {
        if exchange.read_body().is_err() {
            return Then::Close;
        }
        let status = match asked.fetch_add(1, Ordering::Relaxed) < failures {
            true => "500 Internal Server Error",
            false => "204 No Content",
        };
        let length = if status.starts_with("204") {
            ""
        } else {
            "Content-Length: 0\r\n"
        };
        exchange.send(format!("HTTP/1.1 {status}\r\n{length}\r\n"));
        Then::NextRequest
    })
}

fn server(one: &Backend, hook: &Backend, words: &str) -> Server {
    Setup::http(&conf("ops", words))
        .set("ONE", one.address())
        .set("HOOK", hook.address())
        .file("new.key", format!("whsec_{}\n", SECRETS[0]))
        .file("old.key", SECRETS[1])
        .start()
}

/// The configuration of [`server`] with another name for who is told.
fn conf(name: &str, words: &str) -> String {
    format!(
        "llm_provider one {{ base_url http://%ONE%/v1; }} llm_price one/* in=0 out=1000;
         alert {name} http://%HOOK%/secret-path secret=file:%PREFIX%/new.key
            secret=file:%PREFIX%/old.key private {words};
         server {{ listen %LISTEN1%; location / {{ llm_gateway; }}
            location = /metrics {{ metrics; }} }}"
    )
}

fn openclaw(server: &Server, words: &[&str]) -> (bool, String) {
    let output = server.openclaw(words).output().expect("the program runs");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

fn key(server: &Server, name: &str, words: &[&str]) -> String {
    let words = [&["key", "add", name], words].concat();
    let said = eventually("the books are open", || {
        let (is_done, said) = openclaw(server, &words);
        is_done.then_some(said)
    });
    let secret = said.lines().find(|line| line.starts_with("oc-"));
    secret.expect("a secret").to_owned()
}

fn call(server: &Server, key: &str) -> u16 {
    call_of(server, key, "one/say")
}

fn call_of(server: &Server, key: &str, model: &str) -> u16 {
    let body = json!({ "model": model, "max_tokens": 12, "messages": [] }).to_string();
    let answer = server.connect(1).ask(&format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    answer.status
}

/// What was sent of a kind, once there is so much.
fn sent(hook: &Backend, kind: &str, count: usize) -> Vec<Seen> {
    eventually(&format!("{count} of {kind} are sent"), || {
        let of_kind = hook.seen().into_iter().filter(|seen| {
            let body: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
            body["type"] == kind
        });
        let found: Vec<Seen> = of_kind.collect();
        (found.len() >= count).then_some(found)
    })
}

/// Is it signed with both secrets, as Standard Webhooks says?
fn is_signed(seen: &Seen) -> bool {
    let value = |name: &str| seen.head.value(name).expect("a field");
    let mut signed =
        format!("{}.{}.", value("webhook-id"), value("webhook-timestamp")).into_bytes();
    signed.extend_from_slice(&seen.body);
    let keys = [
        BASE64.decode(SECRETS[0].as_bytes()).expect("base64"),
        SECRETS[1].as_bytes().to_vec(),
    ];
    let expected = keys.map(|key| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        format!("v1,{}", BASE64.encode(hmac::sign(&key, &signed).as_ref()))
    });
    value("webhook-signature") == expected.join(" ")
}

#[test]
fn marks_of_budgets_and_used_revoked_keys_are_told_and_signed() {
    let (one, hook) = (model::openai(), receiver(0));
    let server = server(&one, &hook, "");
    // Each call costs 0.012: the second reaches four fifths of the budget.
    let secret = key(&server, "kid", &["--budget", "0.03/total"]);
    assert_eq!((call(&server, &secret), call(&server, &secret)), (200, 200));
    let told = sent(&hook, "budget.threshold", 1);
    let told = told.last().expect("one");
    assert!(is_signed(told));
    let body: Value = serde_json::from_slice(&told.body).expect("JSON");
    let text = body["data"]["text"].as_str().expect("words");
    assert!(text.contains("the key `kid` has spent $0.0"), "{text}");
    assert!(!text.contains("oc-"), "{text}");

    openclaw(&server, &["key", "revoke", "kid"]);
    assert_eq!(call(&server, &secret), 401);
    let told = sent(&hook, "key.revoked_used", 1);
    let whole = String::from_utf8_lossy(&told[0].body).into_owned();
    assert!(whole.contains("kid") && !whole.contains(&secret), "{whole}");
    let (_, listed) = openclaw(&server, &["alerts"]);
    assert!(
        listed.contains("budget.threshold") && listed.contains("ops"),
        "{listed}"
    );
}

#[test]
fn what_is_used_out_of_the_ordinary_and_what_fails_too_often_is_told() {
    let (one, hook) = (model::openai(), receiver(0));
    let rules = "; alert_spike 0.02;
         alert_errors provider 2 within=1m attempts; alert_errors key 2 within=1m;
         llm_limit model one/say budget=0.03/total";
    let server = server(&one, &hook, rules);
    let secret = key(&server, "kid", &[]);
    assert_eq!((call(&server, &secret), call(&server, &secret)), (200, 200));
    for _ in 0..2 {
        assert!(call_of(&server, &secret, "one/status-503") >= 500);
    }
    let words = |kind: &str, count: usize| -> Vec<(String, String)> {
        let bodies = sent(&hook, kind, count).into_iter().map(|seen| {
            let body: Value = serde_json::from_slice(&seen.body).expect("JSON");
            let word = |name: &str| body["data"][name].as_str().unwrap_or_default().to_owned();
            (word("subject"), word("text"))
        });
        let mut words: Vec<_> = bodies.collect();
        words.sort();
        words
    };
    let spikes = words("spend.spike", 2);
    assert_eq!((&*spikes[0].0, &*spikes[1].0), ("key kid", "total"));
    let text = "the key `kid` used $0.02 in ten minutes, more than the floor of $0.02";
    assert_eq!(spikes[0].1, text);
    let failures = words("errors.threshold", 2);
    assert_eq!(failures[0].0, "key kid calls");
    assert!(
        failures[0]
            .1
            .ends_with("calls of the key `kid` failed within 1m")
    );
    assert_eq!(failures[1].0, "provider one attempts");
    let marks = words("budget.threshold", 1);
    let (subject, text) = marks.last().expect("one");
    assert!(subject.starts_with("model one/say "), "{subject}");
    assert!(
        text.contains("the model `one/say` has spent $0.0"),
        "{text}"
    );
}

/// A mail server for a thread: takes letters and hands them over as they came.
fn mail_server() -> (u16, std::sync::mpsc::Receiver<String>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (sender, letters) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let Ok(reading) = stream.try_clone() else {
                return;
            };
            let mut said = String::new();
            let _ = stream.write_all(b"220 mail\r\n");
            for line in std::io::BufReader::new(reading).lines() {
                let Ok(line) = line else { break };
                said.push_str(&line);
                said.push('\n');
                let is_letter = said.contains("\nDATA\n");
                let answer: &[u8] = match &*line {
                    "DATA" => b"354 go on\r\n",
                    "." => b"250 taken\r\n",
                    "QUIT" => break,
                    _ if is_letter => b"",
                    _ => b"250 fine\r\n",
                };
                let _ = stream.write_all(answer);
            }
            if sender.send(said).is_err() {
                return;
            }
        }
    });
    (port, letters)
}

#[test]
fn a_letter_tells_of_an_alert() {
    let (port, letters) = mail_server();
    let server = Setup::http(&format!(
        "alert mail smtp://127.0.0.1:{port} from=proxy@example.com to=ann@example.com plain private;
         server {{ listen %LISTEN1%; return 204; }}"
    ))
    .start();
    let said = eventually("a letter is taken", || {
        let (is_done, said) = openclaw(&server, &["alerts", "test", "mail"]);
        is_done.then_some(said)
    });
    assert!(said.contains("a letter for `mail` was taken"), "{said}");
    let letter = letters
        .recv_timeout(std::time::Duration::from_secs(20))
        .expect("a letter");
    for line in [
        "MAIL FROM:<proxy@example.com>",
        "RCPT TO:<ann@example.com>",
        "From: <proxy@example.com>",
        "Content-Transfer-Encoding: base64",
    ] {
        assert!(letter.lines().any(|said| said == line), "{line}: {letter}");
    }
    let text = letter.split_once("base64\n\n").expect("a text").1;
    let text = text
        .split_once("\n.\n")
        .expect("an end")
        .0
        .replace('\n', "");
    let text = BASE64.decode(text.as_bytes()).expect("Base64");
    assert!(String::from_utf8_lossy(&text).contains("this is a test"));
}

#[test]
fn an_alert_outlives_a_kill_and_comes_again_with_the_same_number() {
    let (one, hook) = (model::openai(), receiver(1));
    let mut server = server(&one, &hook, "events=key.*,gateway.*");
    let secret = key(&server, "kid", &[]);
    openclaw(&server, &["key", "revoke", "kid"]);
    assert_eq!(call(&server, &secret), 401);
    // It was refused once; how that ended may not be on the disk yet.
    let first = sent(&hook, "key.revoked_used", 1).remove(0);
    server.kill();
    server.start_again();
    let again = sent(&hook, "key.revoked_used", 2).remove(1);
    let number = |seen: &Seen| seen.head.value("webhook-id").map(str::to_owned);
    assert_eq!(number(&first), number(&again));
    assert_eq!(first.body, again.body);
    assert!(is_signed(&again));
    sent(&hook, "gateway.recovered", 1);

    // A program that ends as it should has nothing to tell.
    server.quit();
    server.start_again();
    key(&server, "other", &[]);
    let (_, listed) = openclaw(&server, &["alerts"]);
    assert_eq!(listed.matches("gateway.recovered").count(), 1, "{listed}");
}

#[test]
fn what_was_given_up_is_kept_told_when_asked_and_counted() {
    let (one, hook) = (model::openai(), receiver(1));
    let mut server = server(&one, &hook, "");
    let secret = key(&server, "kid", &[]);
    openclaw(&server, &["key", "revoke", "kid"]);
    assert_eq!(call(&server, &secret), 401);
    let first = sent(&hook, "key.revoked_used", 1).remove(0);
    // Who was to be told is gone: nobody waits a day for them.
    let http = |conf: &str| format!("events {{}}\nhttp {{\n%COMMON%\n{conf}\n}}\n");
    let reload = |server: &mut Server, name: &str| {
        server.rewrite(&http(&conf(name, "")));
        let (is_done, said) = openclaw(server, &["reload"]);
        assert!(is_done, "{said}");
    };
    reload(&mut server, "others");
    let listed = eventually("it is given up", || {
        let (_, listed) = openclaw(&server, &["alerts", "--json"]);
        let listed: Value = serde_json::from_str(&listed).ok()?;
        (listed["alerts"][0]["sends"][0]["state"] == "parked").then_some(listed)
    });
    let id = listed["alerts"][0]["id"].as_str().expect("a number");
    reload(&mut server, "ops");
    let (is_done, said) = openclaw(&server, &["alerts", "ack", &id[..12]]);
    assert!(is_done && said.contains("it was seen"), "{said}");
    let (is_done, said) = openclaw(&server, &["alerts", "retry", "nothing"]);
    assert!(!is_done && said.contains("is not one alert"), "{said}");
    let (is_done, said) = openclaw(&server, &["alerts", "retry", id]);
    assert!(is_done && said.contains("told again to 1"), "{said}");
    let again = sent(&hook, "key.revoked_used", 2).remove(1);
    assert_eq!(again.head.value("webhook-id"), Some(id));
    assert_eq!(first.body, again.body);
    let numbers = eventually("it is counted", || {
        let answer = server
            .connect(1)
            .ask("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
        let numbers = String::from_utf8_lossy(&answer.body).into_owned();
        let delivered = "openclaw_alerts_delivered_total{receiver=\"ops\"} 1";
        numbers.contains(delivered).then_some(numbers)
    });
    for line in [
        "openclaw_alerts_raised_total{kind=\"key.revoked_used\"} 1",
        "openclaw_alerts_failed_total{receiver=\"ops\"} 2",
        "openclaw_alerts_parked_total{receiver=\"ops\"} 1",
    ] {
        assert!(numbers.contains(line), "{numbers}");
    }
    // It is told before that is on the disk.
    let listed = eventually("nothing waits", || {
        let (_, listed) = openclaw(&server, &["alerts", "--json"]);
        let listed: Value = serde_json::from_str(&listed).ok()?;
        (listed["receivers"][0]["waiting"] == 0).then_some(listed)
    });
    assert!(listed["alerts"][0]["seen"].is_u64(), "{listed}");
    let ops = &listed["receivers"][0];
    assert_eq!(ops["parked"], 0);
    assert!(ops["sent"].is_u64() && ops["failed"].is_null(), "{listed}");
}

#[test]
fn somebody_is_told_on_trial_and_nobody_in_a_private_network_by_chance() {
    let (one, hook) = (model::openai(), receiver(0));
    let server = Setup::http(
        "alert chat file:%PREFIX%/url private format=slack;
         alert near file:%PREFIX%/url;
         alert_heartbeat http://%HOOK%/beat every=1s private;
         server { listen %LISTEN1%; return 204; }",
    )
    .set("HOOK", hook.address())
    .file("url", format!("http://{}/secret-path", hook.address()))
    .start();
    drop(one);
    let (is_done, said) = eventually("the daemon answers", || {
        let (is_done, said) = openclaw(&server, &["alerts", "test", "chat"]);
        is_done.then_some((is_done, said))
    });
    assert!(is_done && said.contains("`chat` was told"), "{said}");
    let seen = hook
        .seen()
        .into_iter()
        .find(|seen| seen.head.line.starts_with("POST"));
    let seen = seen.expect("the trial");
    assert_eq!(seen.head.line, "POST /secret-path HTTP/1.1");
    assert!(String::from_utf8_lossy(&seen.body).contains("this is a test"));
    let (is_done, said) = openclaw(&server, &["alerts", "test", "near"]);
    assert!(!is_done && said.contains("private network"), "{said}");
    assert!(!said.contains("secret-path"), "{said}");
    let (is_done, said) = openclaw(&server, &["alerts", "test", "far"]);
    assert!(!is_done && said.contains("`chat`, `near`"), "{said}");
    eventually("the heart beats", || {
        let lines = hook.seen().into_iter().map(|seen| seen.head.line);
        (lines.filter(|line| line == "GET /beat HTTP/1.1").count() >= 2).then_some(())
    });
}
