//! Alerts, as their receivers get them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, UNIX_EPOCH};

use aws_lc_rs::hmac;
use data_encoding::BASE64;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};

use crate::support::backend::{Backend, Seen, Then};
use crate::support::certificate::{Authority, Pair};
use crate::support::model;
use crate::support::server::{Server, Setup, eventually};

const SECRETS: [&str; 2] = ["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "another-secret-of-ours"];

/// Longer than anything takes.
const LONG: Duration = Duration::from_secs(60);

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

/// What a mail server does about TLS.
enum Mailbox {
    /// Nothing.
    Plain,
    /// It begins TLS when it is asked to, with this certificate.
    StartTls(Box<Pair>),
    /// It lets somebody in between say something before TLS begins: with the answer, or behind it.
    Injected { is_behind: bool },
}

/// A mail server for a thread: takes letters and hands over what it was told, as it came.
fn mail_server(mailbox: Mailbox) -> (u16, Receiver<String>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (sender, letters) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut said = String::new();
            let _ = stream.write_all(b"220 mail\r\n");
            let is_secret = take_letter(&mut stream, &mut said, &mailbox);
            if let (true, Mailbox::StartTls(pair)) = (is_secret, &mailbox)
                && let Some(mut stream) = secured(stream, pair)
            {
                take_letter(&mut stream, &mut said, &Mailbox::Plain);
            }
            if sender.send(said).is_err() {
                return;
            }
        }
    });
    (port, letters)
}

/// Speaks as a mail server until the end, or until TLS begins: does it?
fn take_letter(stream: &mut (impl Read + Write), said: &mut String, mailbox: &Mailbox) -> bool {
    let mut line = String::new();
    let mut byte = [0];
    loop {
        line.clear();
        while !line.ends_with('\n') {
            match stream.read(&mut byte) {
                Ok(1) => line.push(char::from(byte[0])),
                _ => return false,
            }
        }
        let word = line.trim_end();
        said.push_str(word);
        said.push('\n');
        let is_letter = said.contains("\nDATA\n") && word != "DATA";
        let answer: &[u8] = match (word, mailbox) {
            ("DATA", _) => b"354 go on\r\n",
            (".", _) => b"250 taken\r\n",
            ("QUIT", _) => return false,
            ("STARTTLS", Mailbox::Injected { is_behind: false }) => {
                b"220 go on\r\n250 AUTH PLAIN\r\n"
            }
            ("STARTTLS", _) => b"220 go on\r\n",
            (word, Mailbox::Plain) if word.starts_with("EHLO") => b"250 fine\r\n",
            (word, _) if word.starts_with("EHLO") => b"250-mail\r\n250 STARTTLS\r\n",
            _ if is_letter => b"",
            _ => b"250 fine\r\n",
        };
        let _ = stream.write_all(answer);
        if word == "STARTTLS" {
            if let Mailbox::Injected { is_behind: true } = mailbox {
                let _ = stream.write_all(b"250-mail\r\n250 AUTH PLAIN\r\n");
            }
            return true;
        }
    }
}

fn secured(
    stream: TcpStream,
    pair: &Pair,
) -> Option<rustls::StreamOwned<rustls::ServerConnection, TcpStream>> {
    let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes());
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("PEM");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a pair");
    let session = rustls::ServerConnection::new(Arc::new(config)).ok()?;
    Some(rustls::StreamOwned::new(session, stream))
}

#[test]
fn a_mail_server_is_known_by_its_own_authority_and_by_no_other() {
    let authority = Authority::new();
    let pair = Box::new(authority.issue(&["localhost"]));
    let (port, letters) = mail_server(Mailbox::StartTls(pair));
    let server = Setup::http(&format!(
        "alert good smtp://localhost:{port} from=p@example.com to=a@example.com ca=ca.pem private;
         alert wrong smtp://localhost:{port} from=p@example.com to=a@example.com ca=other.pem private;
         alert none smtp://localhost:{port} from=p@example.com to=a@example.com ca=no.pem private;
         server {{ listen %LISTEN1%; return 204; }}"
    ))
    .file("conf/ca.pem", authority.pem())
    .file("conf/other.pem", Authority::named("another").pem())
    .file("conf/no.pem", "nothing")
    .start();
    let said = eventually("a letter is taken", || {
        let (is_done, said) = openclaw(&server, &["alerts", "test", "good"]);
        is_done.then_some(said)
    });
    assert!(said.contains("a letter for `good` was taken"), "{said}");
    let letter = letters.recv_timeout(LONG).expect("a letter");
    assert!(letter.contains("STARTTLS\nEHLO"), "{letter}");
    assert!(letter.contains("RCPT TO:<a@example.com>"), "{letter}");

    let (is_done, said) = openclaw(&server, &["alerts", "test", "wrong"]);
    let why = "its certificate is signed by nobody who is trusted; `ca=` names who is";
    assert!(!is_done && said.contains(why), "{said}");
    let said = letters.recv_timeout(LONG).expect("a conversation");
    assert!(said.ends_with("STARTTLS\n"), "{said}");
    let (is_done, said) = openclaw(&server, &["alerts", "test", "none"]);
    let why = "there is no certificate in it";
    assert!(!is_done && said.contains(why), "{said}");
}

#[test]
fn what_somebody_says_before_tls_begins_is_not_believed() {
    for is_behind in [false, true] {
        let (port, letters) = mail_server(Mailbox::Injected { is_behind });
        let server = Setup::http(&format!(
            "alert mail smtp://localhost:{port} from=p@example.com to=a@example.com user=ann
                password=file:%PREFIX%/password.key private;
             server {{ listen %LISTEN1%; return 204; }}"
        ))
        .file("password.key", "hunter2")
        .start();
        let said = eventually("the daemon answers", || {
            let (_, said) = openclaw(&server, &["alerts", "test", "mail"]);
            said.contains("was not told").then_some(said)
        });
        // What is behind may come with the answer, or look like the beginning of TLS.
        let expected = match is_behind {
            false => &["it said more before TLS began than it may"][..],
            true => &["it said more before TLS began than it may", "no TLS with"],
        };
        assert!(expected.iter().any(|why| said.contains(why)), "{said}");
        let heard = letters.recv_timeout(LONG).expect("a conversation");
        assert!(
            !heard.contains("AUTH") && !heard.contains("MAIL"),
            "{heard}"
        );
    }
}

#[test]
fn a_letter_tells_of_an_alert() {
    let (port, letters) = mail_server(Mailbox::Plain);
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
    let letter = letters.recv_timeout(LONG).expect("a letter");
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
    let (is_done, said) = openclaw(&server, &["alerts", "ack", "--all"]);
    assert!(is_done && said.contains("seen"), "{said}");
    let (_, listed) = openclaw(&server, &["alerts", "--json"]);
    assert!(!listed.contains("\"seen\":null"), "{listed}");
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

/// What was told of a kind: about whom, and in which words.
fn told(hook: &Backend, kind: &str, count: usize) -> Vec<(String, String)> {
    let bodies = sent(hook, kind, count).into_iter().map(|seen| {
        let body: Value = serde_json::from_slice(&seen.body).expect("JSON");
        let word = |name: &str| body["data"][name].as_str().unwrap_or_default().to_owned();
        (word("subject"), word("text"))
    });
    bodies.collect()
}

#[test]
fn a_receiver_that_fails_three_times_gets_the_same_message_a_fourth_time() {
    let (one, hook) = (model::openai(), receiver(3));
    let server = server(&one, &hook, "events=key.rotated");
    key(&server, "kid", &[]);
    openclaw(&server, &["key", "rotate", "kid", "--overlap", "1h"]);
    let number = |seen: &Seen| seen.head.value("webhook-id").map(str::to_owned);
    // It comes a second time by itself; then nobody waits for the pauses, which grow.
    let id = number(&sent(&hook, "key.rotated", 2)[0]).expect("a number");
    for count in 3..=4 {
        eventually("it is told again", || {
            let (_, said) = openclaw(&server, &["alerts", "retry", &id]);
            (said.contains("told again to 1") || hook.seen().len() >= count).then_some(())
        });
        sent(&hook, "key.rotated", count);
    }
    let all = sent(&hook, "key.rotated", 4);
    let (_, said) = eventually("it is told", || {
        let (_, listed) = openclaw(&server, &["alerts", "--json"]);
        let listed: Value = serde_json::from_str(&listed).ok()?;
        (listed["receivers"][0]["waiting"] == 0)
            .then(|| openclaw(&server, &["alerts", "retry", &id]))
    });
    assert!(said.contains("all who are told of it know of it"), "{said}");
    for seen in &all {
        assert_eq!(number(seen), number(&all[0]));
        assert_eq!(seen.body, all[0].body);
        assert!(is_signed(seen));
    }
    let (_, text) = told(&hook, "key.rotated", 4).remove(0);
    assert_eq!(
        text,
        "the key `kid` has a new secret; the one before works for 1h more"
    );
}

#[test]
fn keys_that_end_or_are_rotated_are_told() {
    let (one, hook) = (model::openai(), receiver(0));
    let server = server(&one, &hook, "events=key.*");
    key(&server, "long", &["--expires", "30d"]);
    key(&server, "short", &["--expires", "3d"]);
    openclaw(&server, &["key", "rotate", "long"]);
    let rotated = told(&hook, "key.rotated", 1);
    assert_eq!(rotated[0].0, "long");
    let expiring = told(&hook, "key.expiring", 1);
    assert_eq!(expiring[0].0, "short");
    let text = &expiring[0].1;
    assert!(text.starts_with("the key `short` ends in 7"), "{text}");
    let all = hook.seen();
    let bodies = all.iter().map(|seen| String::from_utf8_lossy(&seen.body));
    assert!(bodies.into_iter().all(|body| !body.contains("oc-")));
}

#[test]
fn providers_that_fail_and_come_back_are_told() {
    let works = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&works);
    let provider = Backend::scripted(move |exchange| {
        if exchange.read_body().is_err() {
            return Then::Close;
        }
        let (status, body) = match is_up.load(Ordering::SeqCst) {
            true => (
                "200 OK",
                "{\"choices\":[{\"message\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}],\
                 \"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}",
            ),
            false => ("503 Down", "{}"),
        };
        exchange.send(format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        Then::NextRequest
    });
    let hook = receiver(0);
    let server = server(&provider, &hook, "events=provider.*");
    let secret = key(&server, "kid", &[]);
    let down = eventually("it is given up", || {
        call(&server, &secret);
        hook.seen().first().map(|_| told(&hook, "provider.down", 1))
    });
    assert_eq!(down[0].0, "one");
    assert!(
        down[0].1.starts_with("one fails, and is not asked: "),
        "{down:?}"
    );
    // Its circuit is not told besides.
    let all = openclaw(&server, &["alerts", "--json"]);
    assert!(!all.1.contains("circuit.open"), "{}", all.1);
    works.store(true, Ordering::SeqCst);
    let up = eventually("it is asked again", || {
        call(&server, &secret);
        (hook.seen().len() > 1).then(|| told(&hook, "provider.up", 1))
    });
    assert_eq!(up[0].0, down[0].0);
    assert!(up[0].1.ends_with("answers again"), "{up:?}");
}

#[test]
fn peers_that_fail_their_checks_and_pass_them_again_are_told() {
    let works = Arc::new(AtomicBool::new(true));
    let is_up = Arc::clone(&works);
    let peer = Backend::scripted(move |exchange| {
        let status = match is_up.load(Ordering::SeqCst) {
            true => "200 OK",
            false => "503 Down",
        };
        exchange.send(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"));
        Then::NextRequest
    });
    let hook = receiver(0);
    let _server = Setup::http(
        "alert ops http://%HOOK%/x private events=peer.*;
         upstream app { zone app 64k; server %PEER%; }
         server { listen %LISTEN1%; location / { proxy_pass http://app;
            health_check interval=20ms jitter=5ms fails=2 passes=2; } }",
    )
    .set("HOOK", hook.address())
    .set("PEER", peer.address())
    .start();
    works.store(false, Ordering::SeqCst);
    let down = told(&hook, "peer.down", 1);
    works.store(true, Ordering::SeqCst);
    let up = told(&hook, "peer.up", 1);
    assert_eq!((&down[0].0, &up[0].0), (&peer.address(), &peer.address()));
    assert!(down[0].1.contains("of the upstream `app` is "), "{down:?}");
}

#[test]
fn an_outage_began_with_the_last_heartbeat_and_an_alert_not_sent_before_it_is_sent_after() {
    let (one, hook) = (model::openai(), receiver(usize::MAX));
    let mut server = server(&one, &hook, "events=key.*,gateway.*");
    let secret = key(&server, "kid", &[]);
    openclaw(&server, &["key", "revoke", "kid"]);
    assert_eq!(call(&server, &secret), 401);
    let listed = eventually("the alert is kept", || {
        let (_, listed) = openclaw(&server, &["alerts", "--json"]);
        let listed: Value = serde_json::from_str(&listed).ok()?;
        (listed["alerts"][0]["kind"] == "key.revoked_used").then_some(listed)
    });
    let pulse = server.site().prefix.join("state/alive");
    eventually("the heart beats", || pulse.exists().then_some(()));
    server.kill();
    let last = std::fs::metadata(&pulse)
        .expect("it stays behind")
        .modified();
    let last = last
        .expect("a time")
        .duration_since(UNIX_EPOCH)
        .expect("a time");
    drop(hook);
    let hook = receiver(0);
    let http = format!("events {{}}\nhttp {{\n%COMMON%\n{}\n}}\n", conf("ops", ""));
    server.rewrite(&http.replace("%HOOK%", &hook.address()));
    server.start_again();
    let (_, text) = told(&hook, "gateway.recovered", 1).remove(0);
    let since = text.split_once("without a word at ").expect("a time").1;
    let since: jiff::Timestamp = since
        .split(',')
        .next()
        .unwrap_or_default()
        .parse()
        .expect("a time");
    let off = since.as_second().abs_diff(last.as_secs() as i64);
    assert!(off <= 2, "{text}");
    // What was to be told before comes with the number that it had.
    let (is_done, said) = openclaw(
        &server,
        &[
            "alerts",
            "retry",
            listed["alerts"][0]["id"].as_str().expect("a number"),
        ],
    );
    assert!(is_done, "{said}");
    let again = sent(&hook, "key.revoked_used", 1).remove(0);
    assert_eq!(
        again.head.value("webhook-id"),
        listed["alerts"][0]["id"].as_str()
    );
}

#[test]
fn each_service_gets_an_alert_in_its_own_form() {
    let (one, hook) = (model::openai(), receiver(0));
    let (port, letters) = mail_server(Mailbox::Plain);
    let server = Setup::http(&format!(
        "llm_provider one {{ base_url http://%ONE%/v1; }}
         alert json http://%HOOK%/json private;
         alert slack http://%HOOK%/slack private format=slack;
         alert discord http://%HOOK%/discord private format=discord;
         alert ntfy http://%HOOK%/ntfy private format=ntfy;
         alert mail smtp://127.0.0.1:{port} from=p@example.com to=a@example.com plain private;
         server {{ listen %LISTEN1%; location / {{ llm_gateway; }} }}"
    ))
    .set("ONE", one.address())
    .set("HOOK", hook.address())
    .start();
    key(&server, "kid", &[]);
    openclaw(&server, &["key", "rotate", "kid"]);
    let seen = eventually("all four are told", || {
        let seen = hook.seen();
        (seen.len() >= 4).then_some(seen)
    });
    let of = |path: &str| {
        let line = format!("POST /{path} HTTP/1.1");
        let found = seen.iter().find(|seen| seen.head.line == line);
        found.unwrap_or_else(|| panic!("{path} was told"))
    };
    let body = |path: &str| -> Value { serde_json::from_slice(&of(path).body).expect("JSON") };
    let text = "the key `kid` has a new secret";
    let has_text = |value: &Value| value.as_str().is_some_and(|said| said.contains(text));
    assert!(has_text(&body("json")["data"]["text"]));
    assert!(has_text(&body("slack")["text"]));
    assert!(has_text(&body("discord")["content"]));
    assert_eq!(body("discord")["allowed_mentions"]["parse"], json!([]));
    assert!(String::from_utf8_lossy(&of("ntfy").body).contains(text));
    assert_eq!(of("ntfy").head.value("title"), Some("key.rotated"));
    let letter = letters.recv_timeout(LONG).expect("a letter");
    assert!(letter.contains("RCPT TO:<a@example.com>"), "{letter}");
}

#[test]
fn a_restored_backup_says_which_keys_there_are() {
    let (one, hook) = (model::openai(), receiver(0));
    let server = server(&one, &hook, "");
    let before = key(&server, "before", &[]);
    let file = server.site().prefix.join("backup.db");
    let file = file.to_str().expect("UTF-8");
    let (is_done, said) = openclaw(&server, &["backup", file]);
    assert!(is_done, "{said}");
    let after = key(&server, "after", &[]);
    assert_eq!((call(&server, &before), call(&server, &after)), (200, 200));
    let (is_done, said) = openclaw(&server, &["restore", "--yes", file]);
    assert!(is_done, "{said}");
    assert_eq!((call(&server, &before), call(&server, &after)), (200, 401));
    let (_, listed) = openclaw(&server, &["key", "list"]);
    assert!(
        listed.contains("before") && !listed.contains("after"),
        "{listed}"
    );
}

#[test]
fn a_bill_that_differs_from_our_prices_is_told_and_counted_until_it_was_seen() {
    let provider = Backend::scripted(|exchange| {
        if exchange.read_body().is_err() {
            return Then::Close;
        }
        let body = "{\"choices\":[{\"message\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}],\
             \"usage\":{\"prompt_tokens\":1,\"completion_tokens\":12,\"cost\":0.05}}";
        exchange.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        Then::NextRequest
    });
    let hook = receiver(0);
    let server = server(&provider, &hook, "events=ledger.*");
    let secret = key(&server, "kid", &[]);
    assert_eq!(call(&server, &secret), 200);
    let (subject, text) = told(&hook, "ledger.reconcile_gap", 1).remove(0);
    assert_eq!(subject, "one/say");
    assert!(
        text.contains("billed $0.0500 within the last hour for what costs $0.0120"),
        "{text}"
    );
    // It is counted where people look, until somebody saw it.
    let status = |words: &str| {
        eventually("the status says how many", || {
            let (_, said) = openclaw(&server, &["status"]);
            (said.contains("that nobody has acknowledged") != words.is_empty()
                && said.contains(words))
            .then_some(())
        });
    };
    status("1 that nobody has acknowledged");
    let (_, listed) = openclaw(&server, &["alerts", "--json"]);
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    let id = listed["alerts"][0]["id"].as_str().expect("a number");
    openclaw(&server, &["alerts", "ack", id]);
    status("");
}

#[test]
fn calls_that_a_kill_cut_off_are_told() {
    let (one, hook) = (model::openai(), receiver(0));
    let mut server = server(&one, &hook, "events=ledger.*");
    let secret = key(&server, "kid", &[]);
    let body = json!({ "model": "one/hang", "max_tokens": 12, "messages": [] }).to_string();
    let mut client = server.connect(1);
    client.send(format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {secret}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    eventually("the provider is asked", || {
        (!one.seen().is_empty()).then_some(())
    });
    server.kill();
    server.start_again();
    let (subject, text) = told(&hook, "ledger.reconcile_gap", 1).remove(0);
    assert_eq!(subject, "interrupted");
    assert!(text.starts_with("1 call was under way when"), "{text}");
}
