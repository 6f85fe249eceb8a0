//! Money under fire: many calls at once, keys that are replaced, clients that leave at any byte.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use openclaw::unit::money::Money;
use serde_json::{Value, json};

use crate::support::backend::Backend;
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

#[test]
fn every_call_has_one_row_wherever_its_client_leaves() {
    // More where there is time: 1000 of each.
    let count = std::env::var("OPENCLAW_TEST_DISCONNECTS");
    let count: usize = count.ok().and_then(|text| text.parse().ok()).unwrap_or(25);
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
