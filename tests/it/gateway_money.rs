//! Money under fire: many calls at once, keys that are replaced, clients that leave at any byte.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

use openclaw::unit::money::Money;
use serde_json::{Value, json};

use crate::support::backend::{Backend, Exchange, Then};
use crate::support::model;
use crate::support::server::{Server, Setup, eventually};

/// A gateway at whose provider a million tokens of output cost a dollar.
fn gateway(one: &Backend) -> Server {
    Setup::http(
        "llm_provider one { base_url http://%ONE%/v1; } llm_price one/* in=0 out=1;
         client_max_body_size 1m;
         server { listen %LISTEN1%; location / { llm_gateway; } }",
    )
    .set("ONE", one.address())
    .tolerate("client closed connection")
    .start()
}

fn openclaw(server: &Server, words: &[&str]) -> Command {
    server.openclaw(words)
}

fn said(mut command: Command) -> Option<String> {
    let output = command.output().expect("the program runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(said)
}

/// A key, once the books are open.
fn key(server: &Server, name: &str, words: &[&str]) -> String {
    let words = [&["key", "add", name], words].concat();
    let said = eventually("the books are open", || said(openclaw(server, &words)));
    said.trim().to_owned()
}

/// What was spent by a key, once it has made so many calls.
fn spent(server: &Server, name: &str, calls: u64) -> Value {
    eventually("the calls are settled", || {
        let told = said(openclaw(server, &["spend", "--by", "key", "--json"]))?;
        let told: Value = serde_json::from_str(&told).expect("JSON");
        let rows = told["rows"].as_array().expect("rows").clone();
        let row = rows.into_iter().find(|row| row["name"] == name)?;
        (row["calls"].as_u64() >= Some(calls)).then_some(row)
    })
}

/// A call that reserves 20 tokens and uses 12.
fn status(server: &Server, key: &str) -> u16 {
    let body = json!({ "model": "one/say", "max_tokens": 20, "messages": [] }).to_string();
    let answer = server.connect(1).ask(&format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    answer.status
}

/// So many calls at once; how many were answered and how many found no money.
fn at_once(server: &Server, key: &str, count: usize) -> (usize, usize) {
    let (answered, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..count {
            scope.spawn(|| {
                match status(server, key) {
                    200 => answered.fetch_add(1, Ordering::Relaxed),
                    402 => refused.fetch_add(1, Ordering::Relaxed),
                    other => panic!("status {other}"),
                };
            });
        }
    });
    (answered.into_inner(), refused.into_inner())
}

#[test]
fn calls_at_once_spend_all_of_a_budget_and_never_more() {
    let one = model::openai();
    let server = gateway(&one);
    // Room for what all of them reserve: none is refused.
    let all = key(&server, "all", &["--budget", "0.00512/total"]);
    assert_eq!(at_once(&server, &all, 256), (256, 0));
    let row = spent(&server, "all", 256);
    assert_eq!(
        (&row["calls"], &row["cost"]),
        (&json!(256), &json!("0.003072"))
    );
    // Room for 32 reservations.
    let few = key(&server, "few", &["--budget", "0.00064/total"]);
    let (answered, refused) = at_once(&server, &few, 256);
    assert_eq!(answered + refused, 256);
    assert!((32..=53).contains(&answered), "{answered}");
    let row = spent(&server, "few", 256);
    let cost = Money::parse(row["cost"].as_str().expect("dollars")).expect("dollars");
    assert_eq!(
        cost,
        Money::from_pico(12_000_000 * answered as i64),
        "{row}"
    );
    assert!(cost <= Money::parse("0.00064").expect("dollars"), "{row}");
}

#[test]
fn no_call_fails_while_a_key_is_replaced() {
    let one = model::openai();
    let server = gateway(&one);
    let secret = Mutex::new(key(&server, "shared", &[]));
    let ended = AtomicBool::new(false);
    let calls = AtomicUsize::new(0);
    thread::scope(|scope| {
        let gateways: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    // Each takes the new secret when it comes by.
                    let mut failed = Vec::new();
                    while !ended.load(Ordering::Relaxed) {
                        let mine = secret.lock().expect("a secret").clone();
                        for _ in 0..5 {
                            let status = status(&server, &mine);
                            calls.fetch_add(1, Ordering::Relaxed);
                            if status != 200 {
                                failed.push(status);
                            }
                        }
                    }
                    failed
                })
            })
            .collect();
        let wait_for_calls = || {
            let before = calls.load(Ordering::Relaxed);
            eventually("calls go on", || {
                (calls.load(Ordering::Relaxed) >= before + 40).then_some(())
            });
        };
        for _ in 0..3 {
            wait_for_calls();
            let rotated = openclaw(&server, &["key", "rotate", "shared", "--overlap", "1h"]);
            let new = said(rotated).expect("a secret");
            *secret.lock().expect("a secret") = new.trim().to_owned();
        }
        wait_for_calls();
        ended.store(true, Ordering::Relaxed);
        for gateway in gateways {
            assert_eq!(gateway.join().expect("a gateway"), [0_u16; 0]);
        }
    });
}

/// How many clients of each kind leave; more where there is time: 1000.
fn disconnects() -> usize {
    let count = std::env::var("OPENCLAW_TEST_DISCONNECTS");
    count.ok().and_then(|text| text.parse().ok()).unwrap_or(25)
}

/// How many pieces a [`Hose`] has in all.
const PIECES: usize = 60;

/// A provider that sends one piece after the other as it is let, each of which it bills as ten tokens, and counts
/// what it sent itself.
#[derive(Default)]
struct Hose {
    state: Mutex<HoseState>,
    changed: Condvar,
}

#[derive(Default)]
struct HoseState {
    /// So many pieces may be sent.
    allowed: usize,
    sent: usize,
    /// The client is gone.
    has_left: bool,
    /// It sends nothing more.
    is_done: bool,
}

impl Hose {
    fn state(&self) -> MutexGuard<'_, HoseState> {
        self.state.lock().expect("no holder panics")
    }

    fn change(&self, change: impl FnOnce(&mut HoseState)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    /// Sends what it may; all of it when the client is gone and `drains` it.
    fn play(&self, exchange: &mut Exchange<'_>, drains: bool) -> Then {
        if exchange.read_body().is_err() {
            return Then::Close;
        }
        let is_gemini = exchange.seen.head.line.contains(":streamGenerateContent");
        let event = |data: &Value| {
            let event = format!("data: {data}\n\n");
            format!("{:x}\r\n{event}\r\n", event.len())
        };
        let piece = |text: &str, sent: usize, finish: Option<&str>| match is_gemini {
            true => json!({ "candidates": [{ "index": 0, "finishReason": finish,
                    "content": { "role": "model", "parts": [{ "text": text }] } }],
                "usageMetadata": { "promptTokenCount": 100, "candidatesTokenCount": 10 * sent } }),
            false => json!({ "choices": [{ "index": 0, "delta": { "content": text },
                "finish_reason": finish.map(str::to_ascii_lowercase) }] }),
        };
        exchange.send(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
        );
        for sent in 1..=PIECES {
            let state = self.changed.wait_while(self.state(), |state| {
                state.allowed < sent && !state.has_left
            });
            let mut state = state.expect("no holder panics");
            if state.has_left && !drains {
                state.is_done = true;
                drop(state);
                // Until the gateway closes.
                let _ = exchange.reader.head();
                return Then::Close;
            }
            state.sent = sent;
            drop(state);
            exchange.send(event(&piece("tok ", sent, None)));
        }
        exchange.send(event(&piece("", PIECES, Some("STOP"))));
        if !is_gemini {
            let usage = json!({ "prompt_tokens": 100, "completion_tokens": 10 * PIECES });
            exchange.send(event(&json!({ "choices": [], "usage": usage })));
            exchange.send("e\r\ndata: [DONE]\n\n\r\n");
        }
        exchange.send("0\r\n\r\n");
        self.change(|state| state.is_done = true);
        Then::NextRequest
    }
}

#[test]
fn who_leaves_pays_what_the_provider_counted() {
    let count = disconnects().div_ceil(4);
    let hose = Arc::new(Hose::default());
    let provider = |drains: bool| {
        let hose = Arc::clone(&hose);
        Backend::scripted(move |exchange| hose.play(exchange, drains))
    };
    let (abort, drain) = (provider(false), provider(true));
    let server = Setup::http(
        "llm_provider counting { api gemini; base_url http://%ABORT%; }
         llm_provider silent { base_url http://%ABORT%/v1; }
         llm_provider drained { api gemini; base_url http://%DRAIN%; client_gone drain; }
         llm_provider late { base_url http://%DRAIN%/v1; client_gone drain; }
         server { listen %LISTEN1%; location / { llm_gateway; } }",
    )
    .set("ABORT", abort.address())
    .set("DRAIN", drain.address())
    .tolerate("client closed connection")
    .start();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for provider in ["counting", "silent", "drained", "late"] {
        let say = json!([{ "role": "user", "content": "Hello?" }]);
        let model = format!("{provider}/x");
        let fronts = [
            (
                "/v1/chat/completions".to_owned(),
                json!({ "model": model, "stream": true, "messages": say }),
            ),
            (
                "/v1/messages".to_owned(),
                json!({ "model": model, "stream": true, "max_tokens": 20, "messages": say }),
            ),
            (
                "/api/chat".to_owned(),
                json!({ "model": model, "messages": say }),
            ),
            (
                format!("/v1beta/models/{provider}%2Fx:streamGenerateContent?alt=sse"),
                json!({ "contents": [{ "role": "user", "parts": [{ "text": "Hello?" }] }] }),
            ),
        ];
        let name = format!("leaves-{provider}");
        let secret = key(&server, &name, &[]);
        let mut sent = 0;
        for (path, call) in &fronts {
            let body = call.to_string();
            for _ in 0..count {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let pieces = 1 + random as usize % (PIECES - 20);
                *hose.state() = HoseState {
                    allowed: 1,
                    ..HoseState::default()
                };
                let mut client =
                    TcpStream::connect((Ipv4Addr::LOCALHOST, server.port(1))).expect("connected");
                let request = format!(
                    "POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
                     anthropic-version: 2023-06-01\r\nAuthorization: Bearer {secret}\r\n\
                     Content-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                client.write_all(request.as_bytes()).expect("sent");
                let mut seen = Vec::new();
                let mut buffer = [0; 512];
                loop {
                    let length = client.read(&mut buffer).expect("an answer");
                    assert!(length > 0, "{}", String::from_utf8_lossy(&seen));
                    seen.extend_from_slice(&buffer[..length]);
                    let known = seen.windows(4).filter(|word| word == b"tok ").count();
                    if known >= pieces {
                        break;
                    }
                    hose.change(|state| state.allowed = known + 1);
                }
                // What is there of the rest of this piece, up to any byte.
                client.set_nonblocking(true).expect("a socket");
                let _ = client.read(&mut buffer[..(random >> 32) as usize % 80]);
                drop(client);
                hose.change(|state| state.has_left = true);
                eventually("the provider ends", || hose.state().is_done.then_some(()));
                sent += hose.state().sent;
            }
        }
        let calls = (count * fronts.len()) as u64;
        let row = spent(&server, &name, calls);
        assert_eq!(row["calls"], calls, "{row}");
        if provider == "silent" {
            // Nobody told it anything: what it cost is a guess, and said to be one.
            assert_eq!(row["estimated"], calls, "{row}");
        } else {
            assert_eq!(row["estimated"], 0, "{provider}: {row}");
            assert_eq!(row["input"], 100 * calls, "{provider}: {row}");
            assert_eq!(row["output"], 10 * sent, "{provider}: {row}");
        }
    }
}

#[test]
fn every_call_has_one_row_wherever_its_client_leaves() {
    let count = disconnects();
    let one = model::openai();
    let server = gateway(&one);
    let secret = key(&server, "hasty", &[]);
    let say = json!([{ "role": "user", "content": "Hello?" }]);
    let fronts = [
        (
            "/v1/chat/completions",
            json!({ "model": "one/say", "stream": true, "messages": say }),
        ),
        (
            "/v1/messages",
            json!({ "model": "one/say", "stream": true, "max_tokens": 20, "messages": say }),
        ),
        (
            "/v1/completions",
            json!({ "model": "one/say", "stream": true, "prompt": "Hello?" }),
        ),
        ("/api/chat", json!({ "model": "one/say", "messages": say })),
        (
            "/v1beta/models/one%2Fsay:streamGenerateContent?alt=sse",
            json!({ "contents": [{ "role": "user", "parts": [{ "text": "Hello?" }] }] }),
        ),
    ];
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for (path, call) in &fronts {
        let body = call.to_string();
        for _ in 0..count {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let offset = (random % 1500) as usize;
            let mut client =
                TcpStream::connect((Ipv4Addr::LOCALHOST, server.port(1))).expect("connected");
            let request = format!(
                "POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
                 anthropic-version: 2023-06-01\r\nAuthorization: Bearer {secret}\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            );
            client.write_all(request.as_bytes()).expect("sent");
            // Its first byte says that the call is in the ledger.
            let mut answer = vec![0; offset + 1];
            let _ = client.read_exact(&mut answer);
        }
    }
    let calls = (count * fronts.len()) as u64;
    let row = spent(&server, "hasty", calls);
    assert_eq!(row["calls"], calls, "{row}");
    let list = said(openclaw(&server, &["key", "show", "hasty", "--json"])).expect("a key");
    let list: Value = serde_json::from_str(&list).expect("JSON");
    assert_eq!(list["running"], 0, "{list}");
}

#[test]
fn spend_is_told_the_same_in_every_time_zone() {
    let one = model::openai();
    let server = gateway(&one);
    let secret = key(&server, "laptop", &[]);
    assert_eq!(status(&server, &secret), 200);
    spent(&server, "laptop", 1);
    for by in ["day", "key"] {
        let told = |zone: &str| {
            let mut command = openclaw(&server, &["spend", "--by", by, "--csv"]);
            command.env("TZ", zone);
            said(command).expect("spend")
        };
        let utc = told("UTC");
        for zone in ["Asia/Tokyo", "America/Los_Angeles", "Pacific/Kiritimati"] {
            assert_eq!(told(zone), utc, "{zone}");
        }
    }
}
