//! A daemon for tests: what it knows, and one that tells it over a real socket.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request as HttpRequest, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::protocol::*;

/// The daemon's clock: 2023-11-15 12:03:11 UTC.
pub const NOW: Millis = 1_700_049_791_000;

const CONF: &str = "\
http { upstream app {
    server 10.0.0.10:8080 weight=5;
    server 10.0.0.11:8080 weight=5;
    server 10.0.0.12:8080 weight=5;
    server 10.0.0.13:8080;
}
server {
    listen 80;
    server_name example.org;
    # The site.
    location / {
        proxy_pass http://app;
    }
    location /api/ {
        proxy_pass http://api;
        proxy_read_timeout 30s;
        # Slow, but they like it.
        gzip on;
    }
} }
";

/// Who the daemon is.
pub fn status() -> Status {
    Status {
        protocol: VERSION,
        version: "0.1.0".to_owned(),
        pid: 4711,
        host: "gw-1".to_owned(),
        started: NOW - 1_053_060_000,
        now: NOW,
        generation: 3,
        revision: 41,
        conf: "/etc/openclaw/openclaw.conf".to_owned(),
        prefix: "/etc/openclaw".to_owned(),
        workers: 4,
        listens: vec!["0.0.0.0:80".to_owned(), "[::]:80".to_owned()],
        resident: 19 << 20,
        store: StoreStatus {
            path: "/var/lib/openclaw/openclaw.db".to_owned(),
            bytes: 3_400_000,
            ..StoreStatus::default()
        },
        may_change: true,
        ..Status::default()
    }
}

/// Revisions, one of them refused, one an undo.
pub fn revisions() -> Revisions {
    let row = |id, ago_minutes: u64, author: &str, client: &str, note: &str| Revision {
        id,
        at: NOW - ago_minutes * 60_000,
        author: author.to_owned(),
        client: client.to_owned(),
        note: note.to_owned(),
        parent: id - 1,
        added: 3,
        removed: 1,
        ..Revision::default()
    };
    Revisions {
        current: 41,
        revisions: vec![
            Revision {
                outcome: Outcome::Refused,
                reason: Some("openclaw.conf:61: unknown directive `lisen`".to_owned()),
                ..row(42, 2, "root", "cli", "edit openclaw.conf")
            },
            row(
                41,
                5,
                "root",
                "dashboard",
                "example.org /api/: proxy_read_timeout 90s",
            ),
            Revision {
                reverts: Some(39),
                ..row(40, 93, "alice", "dashboard", "undo of revision 39")
            },
            row(
                39,
                1500,
                "alice",
                "dashboard",
                "add git.example.org /: http://127.0.0.1:3000",
            ),
            row(38, 4500, "root", "reload", ""),
        ],
    }
}

/// What a revision changed.
pub fn revision_diff(id: u64) -> RevisionDiff {
    RevisionDiff {
        revision: Revision {
            id,
            ..Revision::default()
        },
        diff: format!(
            "--- /etc/openclaw/openclaw.conf\n+++ /etc/openclaw/openclaw.conf\n\
             @@ -52,3 +52,3 @@ http / server \"example.org\" / location \"/api/\"\n     \
             proxy_pass http://api;\n-    proxy_read_timeout 30s;\n\
             +    proxy_read_timeout {id}s;\n }}\n"
        ),
        ..RevisionDiff::default()
    }
}

fn traffic(rate: f64, statuses: [u64; 5], p50: u64, p99: u64) -> Traffic {
    Traffic {
        rate,
        statuses,
        p50: p50 * 1000,
        p90: p50 * 5000,
        p99: p99 * 1000,
        max: p99 * 3000,
        received: rate * 900.0,
        sent: rate * 9_000.0,
        ..Traffic::default()
    }
}

/// What happens; the figures agree with each other.
pub fn summary() -> Summary {
    let rows = [
        (1, 812.0, [0, 7_960, 130, 14, 16], 6, 41),
        (2, 301.0, [0, 2_890, 40, 50, 30], 12, 88),
        (3, 64.0, [0, 480, 160, 0, 0], 1, 2),
        (4, 19.0, [0, 180, 0, 10, 0], 8, 63),
        (5, 8.0, [0, 80, 0, 0, 0], 0, 0),
    ];
    let routes = rows.map(|(route, rate, statuses, p50, p99)| RouteTraffic {
        route,
        total: (rate * 26_000.0) as u64,
        failed_logins: if route == 2 { 12 } else { 0 },
        unpacked: if route == 2 { 8_400_000 } else { 0 },
        packed: if route == 2 { 2_100_000 } else { 0 },
        traffic: Traffic {
            // One of them has a cache.
            looked_up: if route == 2 { 2_900 } else { 0 },
            cached: if route == 2 { 2_531 } else { 0 },
            ..traffic(rate, statuses, p50, p99)
        },
    });
    let statuses = rows.iter().fold([0; 5], |mut sum, row| {
        for (sum, count) in sum.iter_mut().zip(row.2) {
            *sum += count;
        }
        sum
    });
    Summary {
        at: NOW,
        revision: 41,
        uptime_seconds: 1_053_060,
        traffic: Traffic {
            p90: 31_000,
            max: 2_140_000,
            looked_up: 2_900,
            cached: 2_531,
            ..traffic(1204.0, statuses, 6, 88)
        },
        in_flight: 38,
        connections: 412,
        idle: 370,
        total: 31_234_567,
        http2: 0.61,
        peak: 1710.0,
        upstream_share: 0.82,
        own_p99: 300,
        routes: routes.to_vec(),
        peers: peers(),
        peer_states: PeerStates {
            up: 5,
            drain: 1,
            failed: 1,
            down: 1,
        },
        certificate_states: CertificateStates {
            all: 5,
            warn: 1,
            bad: 1,
            soonest: Some(NOW + 12 * 86_400_000),
            worst: "old.example.org: there is no such file".to_owned(),
            terms: None,
            clock: String::new(),
        },
        warning: Some("app 10.0.0.12:8080 failed since 12:01:40".to_owned()),
        troubles: vec!["backend app/10.0.0.12:8080 fails its checks: status 503".to_owned()],
        groups: vec![group()],
        unseen_alerts: 3,
        spent_today: Some("4.12".to_owned()),
        llm: Some(Box::new(llm_now())),
        ..Summary::default()
    }
}

/// What the gateway to language models does.
fn llm_now() -> LlmNow {
    let running = |ago: u64, key: &str, asked: &str, answering: &str, output| RunningCall {
        id: (NOW - ago) * 1000,
        key: key.to_owned(),
        gateway: "hub".to_owned(),
        user: String::new(),
        asked: asked.to_owned(),
        answering: answering.to_owned(),
        age: ago,
        output,
        held: "0.0156".to_owned(),
    };
    let provider = |name: &str, state: &str, note: &str| ProviderNow {
        name: name.to_owned(),
        kind: name.to_owned(),
        state: state.to_owned(),
        note: note.to_owned(),
        under_way: u32::from(name == "openai") * 2,
        most: u32::from(name == "openai") * 16,
        is_adaptive: name == "openai",
        waiting: u32::from(name == "openai"),
        first_token: if state == "ready" { 430_000 } else { 0 },
        address: format!("https://api.{name}.com/v1"),
        room: u32::from(name == "openai") * 100,
        turned_away: 3,
        asked: if state == "ready" { 9_314 } else { 0 },
        failed: if name == "openai" { 17 } else { 0 },
        limited: 2,
        models: match name {
            "openai" => vec![
                ModelNow {
                    model: "gpt-4o".to_owned(),
                    key: "env:OPENAI_KEY".to_owned(),
                    state: "ready".to_owned(),
                    reason: "5 failures in a row".to_owned(),
                    share: 64,
                    first_token: 610_000,
                    failed: 17,
                    ..ModelNow::default()
                },
                ModelNow {
                    model: "gpt-4o-mini".to_owned(),
                    key: "env:OPENAI_KEY".to_owned(),
                    state: "ready".to_owned(),
                    share: 100,
                    under_way: 2,
                    first_token: 430_000,
                    ..ModelNow::default()
                },
            ],
            _ => Vec::new(),
        },
    };
    LlmNow {
        today: "4.12".to_owned(),
        held: "0.0312".to_owned(),
        running: 2,
        calls: vec![
            running(34_000, "alice", "chat", "openai/gpt-4o-mini", 812),
            running(1_200, "chat-ui", "claude-haiku", "", 0),
        ],
        calls_per_minute: 22,
        failed_per_minute: 1,
        kept_per_minute: (6, 19),
        budget: Some(FullestBudget {
            whose: "key alice".to_owned(),
            period: "day".to_owned(),
            spent: "4.1".to_owned(),
            limit: "10".to_owned(),
        }),
        input_rate: 1_830.0,
        output_rate: 71.4,
        ended: 98,
        providers: vec![
            provider("openai", "ready", ""),
            provider("anthropic", "ready", ""),
            provider("mistral", "no key", "mistral.key: there is no such file"),
        ],
    }
}

/// What was spent, by something.
pub fn spend(by: &str, from: &str, to: &str) -> SpendReport {
    let row = |name: &str, calls, failed, input, cache_read, output, cost: &str| SpendRow {
        name: name.to_owned(),
        calls,
        failed,
        input,
        cache_read,
        output,
        cost: cost.to_owned(),
        ..SpendRow::default()
    };
    let mut rows = match by {
        "key" => vec![
            row("ci-bot", 31, 2, 402_000, 80_000, 61_000, "1.60"),
            row("alice", 40, 1, 510_000, 0, 92_000, "1.31"),
            row("chat-ui", 27, 0, 388_000, 210_000, 59_000, "1.21"),
        ],
        "provider" => vec![
            row("openai", 67, 3, 972_000, 210_000, 149_000, "3.00"),
            row("anthropic", 22, 0, 310_000, 80_000, 58_000, "1.12"),
            row("", 9, 9, 0, 0, 0, "0.00"),
        ],
        _ => vec![
            row("gpt-4o-mini", 61, 1, 910_000, 210_000, 140_000, "2.31"),
            row("claude-haiku", 22, 0, 310_000, 80_000, 58_000, "1.12"),
            row("gpt-4o", 6, 2, 62_000, 0, 9_000, "0.69"),
            row("house-model", 9, 0, 18_000, 0, 5_000, "0.00"),
        ],
    };
    if let Some(house) = rows.get_mut(3) {
        house.unpriced = 9;
    }
    let total = match from == to {
        true => "4.12",
        false => "61.20",
    };
    SpendReport {
        by: by.to_owned(),
        from: from.to_owned(),
        to: to.to_owned(),
        total: row("", 98, 3, 1_300_000, 290_000, 212_000, total),
        rows,
    }
}

/// Calls that are over, newest first.
pub fn model_calls() -> ModelCalls {
    let call = |ago: u64, key: &str, provider: &str, model: &str, outcome: &str| ModelCall {
        id: (NOW - ago) * 1000,
        state: "settled".to_owned(),
        key: key.to_owned(),
        gateway: "hub".to_owned(),
        operation: "chat".to_owned(),
        asked: "chat".to_owned(),
        tried: format!("{provider}/{model}:ok"),
        attempts: 1,
        provider: provider.to_owned(),
        model: model.to_owned(),
        outcome: outcome.to_owned(),
        status: 200,
        tokens: CallTokens {
            input: 640,
            cache_read: 1_024,
            output: 102,
            reasoning: 96,
            ..CallTokens::default()
        },
        reserved: "0.0156".to_owned(),
        cost: Some("0.0031425".to_owned()),
        charged: "0.0031425".to_owned(),
        price: "2026-11-21".to_owned(),
        first: Some(390_000),
        upstream: 2_139_400,
        total: 2_140_000,
        ..ModelCall::default()
    };
    let mut calls = vec![
        call(2_000, "alice", "openai", "gpt-4o-mini", "ok"),
        call(4_000, "chat-ui", "anthropic", "claude-haiku", "ok"),
        call(9_000, "ci-bot", "openai", "house-model", "ok"),
        call(13_000, "ci-bot", "", "", "budget_exceeded"),
        call(92_000_000, "alice", "openai", "gpt-4o", "interrupted"),
        call(93_000_000, "alice", "openai", "gpt-4o-mini", "ok"),
    ];
    calls[1].rule = "cheap-first".to_owned();
    calls[1].tried =
        "openai/gpt-4o-mini:429,mistral/small:unreachable,anthropic/claude-haiku:ok".to_owned();
    calls[1].attempts = 3;
    calls[1].user = "robin".to_owned();
    calls[1].billed = Some("0.0032".to_owned());
    calls[2].cost = None;
    calls[2].charged = "0.00".to_owned();
    calls[2].estimated = true;
    calls[3] = ModelCall {
        status: 402,
        attempts: 0,
        tried: String::new(),
        tokens: CallTokens::default(),
        cost: Some("0.00".to_owned()),
        charged: "0.00".to_owned(),
        first: None,
        upstream: 0,
        total: 0,
        ..calls[3].clone()
    };
    calls[4].state = "interrupted".to_owned();
    calls[4].status = 0;
    calls[5].tried = "cache:hit".to_owned();
    calls[5].attempts = 0;
    calls[5].cost = Some("0.00".to_owned());
    calls[5].charged = "0.00".to_owned();
    calls[5].saved = Some("0.0031425".to_owned());
    calls[5].kept_from = Some(calls[5].id - 74_000_000);
    calls[5].kept_age = Some(72_000);
    calls[5].upstream = 0;
    calls[5].total = 900;
    ModelCalls { calls }
}

/// Keys: one that is being rotated, one with little left, one that was taken back.
pub fn keys() -> KeyList {
    const DAY: Millis = 86_400_000;
    let budget = |period: &str, limit: Option<&str>, spent: &str| KeyBudget {
        period: period.to_owned(),
        limit: limit.map(str::to_owned),
        spent: spent.to_owned(),
        held: "0.00".to_owned(),
    };
    let secret = |prefix: &str, days: u64| KeySecret {
        prefix: prefix.to_owned(),
        created: NOW - days * DAY,
        not_before: NOW - days * DAY,
        ..KeySecret::default()
    };
    let used = |gateway: &str, hours: u64, calls| KeyUse {
        gateway: gateway.to_owned(),
        first: NOW - 9 * DAY,
        last: NOW - hours * 3_600_000,
        calls,
    };
    let key = |name: &str, prefix: &str, day: Option<&str>, spent: &str| KeyState {
        name: name.to_owned(),
        owner: "ops".to_owned(),
        created: NOW - 120 * DAY,
        zone: "UTC".to_owned(),
        budgets: vec![
            budget("day", day, spent),
            budget("week", None, "8.40"),
            budget("month", None, "21.70"),
            budget("total", None, "140.00"),
        ],
        secrets: vec![secret(prefix, 40)],
        ..KeyState::default()
    };
    let mut bot = key("ci-bot", "oc-7f3a", Some("2.00"), "1.60");
    bot.group = "machines".to_owned();
    bot.rpm = Some(60);
    bot.models = vec!["gpt-4o-mini".to_owned(), "claude-*".to_owned()];
    let mut old = secret("oc-7f3a", 40);
    old.expires = Some(NOW + 2 * DAY);
    old.uses = ["pi", "runner", "hub", "vps"]
        .map(|gateway| used(gateway, if gateway == "pi" { 1 } else { 30 }, 400))
        .into();
    let mut new = secret("oc-b81c", 1);
    new.uses = ["runner", "hub", "vps"]
        .map(|gateway| used(gateway, 0, 12))
        .into();
    bot.secrets = vec![old, new];
    bot.last_used = NOW - 4_000;
    let mut alice = key("alice", "oc-91bc", Some("5.00"), "1.31");
    alice.running = 1;
    alice.last_used = NOW - 34_000;
    let mut chat = key("chat-ui", "oc-c004", None, "1.21");
    chat.last_used = NOW - 1_200;
    let mut leaked = key("leaked", "oc-aa10", None, "0.00");
    leaked.revoked = true;
    let mut expired = key("old-bot", "oc-1d2e", Some("1.00"), "0.00");
    expired.secrets[0].expires = Some(NOW - DAY);
    expired.last_used = NOW - 3 * DAY;
    KeyList {
        keys: vec![alice, chat, bot, leaked, expired],
        unusable: Vec::new(),
    }
}

fn group() -> Group {
    Group {
        name: "app".to_owned(),
        breaker: Some(Circuit {
            phase: "closed".to_owned(),
            requests: 8_124,
            failures: 14,
            ..Circuit::default()
        }),
        waiting: 2,
        room: 100,
        refused: 0,
    }
}

fn peers() -> Vec<PeerTraffic> {
    let peer = |peer, state, age: u64, active, rate: f64, p99, failed| PeerTraffic {
        peer,
        state,
        since: if age == 0 { 0 } else { NOW - age * 1000 },
        active,
        idle: 8,
        total: (rate * 26_000.0) as u64,
        failed,
        health: (peer <= 4).then(|| PeerHealth {
            condition: match state {
                PeerState::Unhealthy => "unhealthy",
                _ => "healthy",
            }
            .to_owned(),
            since: if age == 0 { 0 } else { NOW - age * 1000 },
            checked: NOW - 2_000,
            found: match state {
                PeerState::Unhealthy => "status 503",
                _ => "status 200 in 3 ms",
            }
            .to_owned(),
            checks: 5_182,
            failures: failed,
            in_a_row: 18,
            changes: match state {
                PeerState::Unhealthy => vec![HealthChange {
                    at: NOW - age * 1000,
                    condition: "unhealthy".to_owned(),
                    found: "status 503".to_owned(),
                }],
                _ => Vec::new(),
            },
        }),
        circuit: (peer <= 4).then(|| Circuit {
            phase: "closed".to_owned(),
            ..Circuit::default()
        }),
        traffic: traffic(rate, [0, (rate * 10.0) as u64, 0, 0, 0], 6, p99),
    };
    vec![
        peer(1, PeerState::Up, 0, 31, 402.0, 38, 0),
        peer(2, PeerState::Up, 0, 29, 398.0, 40, 0),
        peer(3, PeerState::Unhealthy, 91, 0, 0.0, 0, 14),
        peer(4, PeerState::Drain, 600, 4, 12.0, 41, 0),
        peer(5, PeerState::Up, 0, 12, 299.0, 85, 1),
        peer(6, PeerState::Up, 0, 1, 2.0, 2_000, 9),
        peer(7, PeerState::Up, 0, 2, 19.0, 63, 0),
        peer(8, PeerState::Down, 0, 0, 0.0, 0, 0),
    ]
}

/// Where requests go.
pub fn routes() -> Routes {
    let route = |id, server: &str, location: &str, target: &str, line| Route {
        id,
        server: server.to_owned(),
        names: vec![server.to_owned()],
        listens: vec!["80".to_owned()],
        is_default: server == "_",
        location: location.to_owned(),
        target: target.to_owned(),
        upstream: target.strip_prefix("http://").map(str::to_owned),
        file: "/etc/openclaw/openclaw.conf".to_owned(),
        line,
        end_line: if id == 1 { line + 2 } else { line + 5 },
        address: format!("http / server \"{server}\" / location \"{location}\""),
        server_address: format!("http / server \"{server}\""),
        notes: vec!["gzip on".to_owned(), "allow 10.0.0.0/8".to_owned()],
        limits: Vec::new(),
    };
    let mut routes = Routes {
        revision: 41,
        routes: vec![
            route(1, "example.org", "/", "http://app", 11),
            route(2, "example.org", "/api/", "http://api", 14),
            route(3, "example.org", r"~ \.(png|css)$", "root /srv/www", 40),
            route(4, "git.example.org", "/", "http://127.0.0.1:3000", 50),
            route(5, "*.example.net", "= /healthz", "return 200", 60),
            route(6, "_", "/", "return 444", 70),
        ],
    };
    routes.routes[0].names.push("www.example.org".to_owned());
    routes
}

/// Who answers.
pub fn upstreams() -> Upstreams {
    let numbers = peers();
    let peer = |id: u32, address: &str, weight, line| Peer {
        id,
        address: address.to_owned(),
        name: address.to_owned(),
        weight,
        max_fails: 1,
        fail_timeout_ms: 10_000,
        is_overridden: id == 4,
        traffic: numbers[id as usize - 1].clone(),
        file: "/etc/openclaw/openclaw.conf".to_owned(),
        line,
        ..Peer::default()
    };
    let upstream = |name: &str, is_implicit, peers| Upstream {
        name: name.to_owned(),
        is_implicit,
        method: "round robin".to_owned(),
        keepalive: 32,
        peers,
        group: (name == "app").then(group),
        check: match name {
            "app" => "GET /health, every 5 s".to_owned(),
            _ => String::new(),
        },
        conf_address: if is_implicit {
            String::new()
        } else {
            format!("http / upstream \"{name}\"")
        },
        routes: 1,
    };
    Upstreams {
        revision: 41,
        upstreams: vec![
            upstream(
                "app",
                false,
                vec![
                    peer(1, "10.0.0.10:8080", 5, 2),
                    peer(2, "10.0.0.11:8080", 5, 3),
                    peer(3, "10.0.0.12:8080", 5, 4),
                    peer(4, "10.0.0.13:8080", 1, 5),
                ],
            ),
            upstream(
                "api",
                false,
                vec![
                    peer(5, "10.0.1.20:9000", 1, 90),
                    peer(6, "10.0.1.21:9000", 1, 91),
                    peer(8, "10.0.1.22:9000", 1, 92),
                ],
            ),
            upstream(
                "127.0.0.1:3000",
                true,
                vec![peer(7, "127.0.0.1:3000", 1, 51)],
            ),
        ],
    }
}

/// A key that has just got a secret.
pub fn key_changed() -> KeyChanged {
    KeyChanged {
        key: Some(keys().keys[2].clone()),
        secret: Some(SecretText(format!("oc-{}", "7f3a".repeat(16)))),
    }
}

/// Alerts: one that somebody saw, one that waits for a chat that is down, one that was given up.
pub fn alerts() -> AlertList {
    let send = |receiver: &str, state: &str, attempts: u32, error: &str| AlertSendState {
        receiver: receiver.to_owned(),
        state: state.to_owned(),
        attempts,
        next: NOW + 40_000,
        tried: NOW - 40_000,
        error: error.to_owned(),
    };
    let row =
        |number: u8, ago: u64, kind: &str, subject: &str, severity: &str, text: &str| AlertState {
            id: format!("msg_{}", format!("{number:02x}").repeat(16)),
            at: NOW - ago * 60_000,
            kind: kind.to_owned(),
            subject: subject.to_owned(),
            severity: severity.to_owned(),
            text: text.to_owned(),
            ..AlertState::default()
        };
    let busy = "it answered 503";
    AlertList {
        receivers: vec![
            AlertReceiver {
                name: "ops".to_owned(),
                format: "json".to_owned(),
                sent: Some(NOW - 40_000),
                ..AlertReceiver::default()
            },
            AlertReceiver {
                name: "chat".to_owned(),
                format: "slack".to_owned(),
                events: vec!["provider.*".to_owned(), "budget.*".to_owned()],
                waiting: 1,
                parked: 1,
                sent: Some(NOW - 90_000_000),
                failed: Some(NOW - 40_000),
                error: busy.to_owned(),
            },
        ],
        alerts: vec![
            AlertState {
                sends: vec![send("chat", "waiting", 3, busy), send("ops", "sent", 1, "")],
                ..row(
                    0x9d,
                    2,
                    "provider.down",
                    "openai",
                    "bad",
                    "openai fails, and is not asked",
                )
            },
            AlertState {
                sends: vec![send("ops", "sent", 1, "")],
                ..row(
                    0x5c,
                    31,
                    "key.revoked_used",
                    "old-laptop",
                    "warn",
                    "a revoked secret of the key `old-laptop` was used",
                )
            },
            AlertState {
                seen: Some(NOW - 80_000_000),
                sends: vec![send("chat", "parked", 57, busy), send("ops", "sent", 2, "")],
                ..row(
                    0x17,
                    1500,
                    "budget.exceeded",
                    "ci-bot 100 % day",
                    "bad",
                    "the key `ci-bot` has spent $5.02 of $5 today, 100 %",
                )
            },
            row(
                0x03,
                2900,
                "gateway.recovered",
                "gw-1",
                "warn",
                "the program serves again; it had ended without a word at 2023-11-13T11:40:00Z, 71 s ago",
            ),
        ],
    }
}

/// What names are served with, those that end soonest first.
pub fn certificates() -> Certificates {
    const DAY: Millis = 86_400_000;
    let certificate = |id: &str, names: &[&str], days: u64, challenge: &str| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Certificate {
            id: id.to_owned(),
            source: CertificateSource::Issuer {
                name: "letsencrypt".to_owned(),
                uri: "https://acme-v02.api.letsencrypt.org/directory".to_owned(),
            },
            state: CertificateState::Valid,
            used_by: vec![CertificateUse {
                server: names[0].clone(),
                listens: vec!["443 ssl".to_owned()],
                file: "/etc/openclaw/openclaw.conf".to_owned(),
                line: 23,
            }],
            served: Some(ServedCertificate {
                subject: format!("CN={}", names[0]),
                issuer: "R11".to_owned(),
                organization: "Let's Encrypt".to_owned(),
                names: names.clone(),
                serial: "04:9a:17:c4:58:30:2f:1b:aa:7e:02:11:d5:9e:4c:88:63:3f".to_owned(),
                not_before: NOW - 29 * DAY,
                not_after: NOW + days * DAY,
                days_left: days as i64,
                key: "ECDSA P-256".to_owned(),
                signature: "RSA with SHA-256".to_owned(),
                sha256: "ab:cd".to_owned() + &":12".repeat(30),
                chain: vec![ChainLink {
                    subject: "CN=R11,O=Let's Encrypt,C=US".to_owned(),
                    issuer: "CN=ISRG Root X1,O=Internet Security Research Group,C=US".to_owned(),
                    not_after: NOW + 900 * DAY,
                    key: "RSA 2048".to_owned(),
                }],
            }),
            managed: Some(ManagedCertificate {
                challenge: challenge.to_owned(),
                next: Some(NOW + days.saturating_sub(30) * DAY),
                limits: "1 of 5 certificates with these names in the last 7 days".to_owned(),
                ..ManagedCertificate::default()
            }),
            names,
            ..Certificate::default()
        }
    };
    let line = |age: u64, level, text: &str| LogLine {
        at: NOW - age * 1000,
        level,
        text: text.to_owned(),
    };
    let mut failed = certificate("c2", &["llm.example.org"], 12, "tls-alpn-01");
    failed.state = CertificateState::Failed;
    failed.remark = "renewal failed twice, it is tried again in 6 m".to_owned();
    failed.managed = failed.managed.map(|managed| ManagedCertificate {
        next: Some(NOW + 360_000),
        failures: 2,
        last_error: Some(Trouble {
            at: NOW - 90_000,
            text: "the authority could not verify llm.example.org".to_owned(),
            authority: "203.0.113.7: Connection refused (urn:ietf:params:acme:error:connection)"
                .to_owned(),
        }),
        log: vec![
            line(121, Level::Info, "order for llm.example.org is pending"),
            line(120, Level::Info, "tls-alpn-01 is ready on port 443"),
            line(
                90,
                Level::Bad,
                "llm.example.org is invalid: 203.0.113.7: Connection refused \
                 (urn:ietf:params:acme:error:connection)",
            ),
            line(90, Level::Warn, "attempt 2 failed, again in 8 m"),
        ],
        ..managed
    });
    let mut file = certificate("f1", &["*.example.net"], 201, "");
    file.managed = None;
    file.source = CertificateSource::Files {
        certificate: "/etc/openclaw/tls/example.net.crt".to_owned(),
        key: "/etc/openclaw/tls/example.net.key".to_owned(),
    };
    let mut lacking = certificate("f2", &["old.example.org"], 0, "");
    lacking.managed = None;
    lacking.served = None;
    lacking.state = CertificateState::Placeholder;
    lacking.remark = "/etc/openclaw/tls/old.crt: there is no such file".to_owned();
    lacking.source = CertificateSource::Files {
        certificate: "/etc/openclaw/tls/old.crt".to_owned(),
        key: "/etc/openclaw/tls/old.key".to_owned(),
    };
    Certificates {
        revision: 41,
        certificates: vec![
            lacking,
            failed,
            certificate("c1", &["example.org", "www.example.org"], 61, "http-01"),
            certificate("c3", &["git.example.org"], 88, "http-01"),
            file,
        ],
    }
}

/// Who is kept out.
pub fn bans() -> Bans {
    let ban = |network: &str, minutes: Option<u64>, by: &str, reason: &str| BanState {
        network: network.to_owned(),
        since: NOW - 600_000,
        until: minutes.map(|minutes| NOW + minutes * 60_000),
        by: by.to_owned(),
        reason: reason.to_owned(),
    };
    let login = "5 in 10m, the last a failed login at git.example.org/api/v1/session";
    Bans {
        bans: vec![
            ban(
                "203.0.113.9",
                Some(55),
                "auto_ban",
                "20 in 1m, the last 404 at example.org/wp-login.php",
            ),
            ban("2001:db8:7:9::/64", Some(9), "auto_ban", login),
            ban("198.51.100.0/24", None, "ann", "scans\u{1b}[2J"),
            ban("192.0.2.77", Some(3 * 1440), "ann", ""),
        ],
        turned_away: 12_408,
    }
}

/// Two zones of the cache.
pub fn caches() -> Caches {
    let zone = |name: &str, entries: u64, hit: u64, hottest: Vec<CacheKey>| CacheZone {
        name: name.to_owned(),
        path: format!("/var/cache/openclaw/{name}"),
        entries,
        most_entries: 81_920,
        bytes: entries * 23_000,
        most_bytes: Some(1 << 30),
        entries_in_memory: entries / 10,
        bytes_in_memory: entries * 1_300,
        most_in_memory: 32 << 20,
        inactive: 3600,
        results: CacheResults {
            hit,
            miss: 15_600,
            expired: 4_400,
            stale: 90,
            updating: 12,
            revalidated: 1_200,
            bypass: 300,
        },
        saved: hit * 31_000,
        stored: 19_000,
        evicted: 800,
        purged: 12,
        hottest,
        ..CacheZone::default()
    };
    let key = |path: &str, uses, left| CacheKey {
        key: format!("httpapp{path}"),
        url: format!("https://example.org{path}"),
        status: 200,
        length: 18_000,
        age: 74,
        left,
        uses,
    };
    let hottest = vec![
        key("/", 41_200, 526),
        key("/static/site.css", 12_800, 3_526),
        key("/news", 900, -14),
    ];
    let mut pages = zone("pages", 2_110, 64_000, Vec::new());
    pages.is_loading = true;
    Caches {
        zones: vec![zone("static", 18_204, 71_000, hottest), pages],
        llm: Some(kept_answers()),
    }
}

/// Kept answers of language models.
fn kept_answers() -> KeptAnswers {
    let share = |key: Option<&str>, model: &str, answers, hits: u64| KeptShare {
        key: key.map(str::to_owned),
        group: (key.is_none() && model != "embed").then(|| "family".to_owned()),
        model: model.to_owned(),
        operation: match model {
            "embed" => "embeddings",
            _ => "chat",
        }
        .to_owned(),
        answers,
        bytes: answers * 2_900,
        hits,
        saved: format!("{}.{:02}", hits / 1000, hits / 10 % 100),
        oldest: 3_300,
        newest: 12,
    };
    KeptAnswers {
        answers: 2_514,
        bytes: 7_290_600,
        most_bytes: 64 << 20,
        results: CacheResults {
            hit: 4_812,
            miss: 3_020,
            bypass: 77,
            ..CacheResults::default()
        },
        saved: "6.21".to_owned(),
        evicted: 12,
        purged: 3,
        shares: vec![
            share(Some("laptop"), "gpt-4o", 1_800, 3_300),
            share(None, "claude-haiku", 510, 1_400),
            share(None, "embed", 204, 112),
        ],
    }
}

/// Kept answers that were purged.
pub fn kept_purged() -> KeptPurged {
    KeptPurged {
        answers: 510,
        bytes: 1_479_000,
    }
}

/// What is stored under a key.
pub fn cache_entries() -> CacheEntries {
    CacheEntries {
        looked_for: vec!["httpapp/".to_owned()],
        entries: vec![CacheEntry {
            zone: "static".to_owned(),
            key: "httpapp/news".to_owned(),
            url: "https://example.org/news".to_owned(),
            file: "/var/cache/openclaw/static/d/6f/a6bf1757fff057f266b697df9cf176fd.0".to_owned(),
            status: 200,
            length: 18_000,
            is_in_memory: true,
            stored: 0,
            age: 74,
            left: -14,
            stale_while_revalidate: 60,
            stale_if_error: 0,
            vary: vec![("accept-encoding".to_owned(), Some("br".to_owned()))],
            tags: vec!["news".to_owned(), "front".to_owned()],
            fields: vec![
                "Content-Type: text/html".to_owned(),
                "Cache-Control: max-age=60".to_owned(),
            ],
            uses: 900,
        }],
    }
}

/// Where something was purged.
pub fn cache_purged() -> CachePurged {
    CachePurged {
        zones: vec!["static".to_owned()],
    }
}

/// What keeps a certificate from coming.
pub fn preflight() -> Preflight {
    let check = |subject: &str, level, seen: &str, advice: &str| Check {
        subject: subject.to_owned(),
        level,
        seen: seen.to_owned(),
        advice: advice.to_owned(),
    };
    Preflight {
        name: "llm.example.org".to_owned(),
        checks: vec![
            check(
                "server",
                Level::Good,
                "served by llm.example.org on 443 ssl (openclaw.conf:23)",
                "",
            ),
            check(
                "listen",
                Level::Good,
                "port 443 is listened to, and tls-alpn-01 is answered there",
                "",
            ),
            check(
                "address",
                Level::Bad,
                "llm.example.org points to 203.0.113.7, this machine has 198.51.100.4",
                "point the name here; behind a router that translates addresses this is no fault",
            ),
            check("caa", Level::Good, "no CAA record forbids it", ""),
            check(
                "limits",
                Level::Info,
                "1 of 5 certificates with these names in the last 7 days",
                "",
            ),
        ],
        last_error: certificates().certificates[1]
            .managed
            .as_ref()
            .and_then(|managed| managed.last_error.clone()),
    }
}

/// A curve with a peak.
pub fn history() -> History {
    let points = (0..300u32).map(|at| {
        let hill = 150 - at.abs_diff(150);
        Point {
            rate: 300.0 + f64::from(hill) * 8.0 + f64::from((at * 37) % 90),
            errors: 3.0,
            p50: 6_000,
            p99: 40_000 + u64::from((at * 53) % 60) * 900,
            ..Point::default()
        }
    });
    History {
        at: NOW,
        step_seconds: 1,
        points: points.collect(),
    }
}

/// What happened.
pub fn events() -> Events {
    let event = |id, age: u64, level, kind: &str, subject: &str, text: &str| Occurrence {
        id,
        at: NOW - age * 1000,
        level,
        kind: kind.to_owned(),
        subject: subject.to_owned(),
        text: text.to_owned(),
    };
    Events {
        events: vec![
            event(
                4,
                91,
                Level::Bad,
                "peer",
                "app 10.0.0.12:8080",
                "failed: connect timed out",
            ),
            event(
                3,
                309,
                Level::Info,
                "revision",
                "",
                "revision 41 applied by root",
            ),
            event(
                2,
                600,
                Level::Warn,
                "peer",
                "app 10.0.0.13:8080",
                "drains by hand",
            ),
            event(
                1,
                5_591,
                Level::Good,
                "peer",
                "api 10.0.1.21:9000",
                "is up again",
            ),
        ],
    }
}

/// Requests, oldest first.
pub fn requests() -> Vec<Request> {
    let request = |age: u64, status, method: &str, url: (&str, &str), duration, sent| Request {
        at: NOW + 204 - age,
        id: String::new(),
        client: "10.0.4.2".to_owned(),
        method: method.to_owned(),
        host: url.0.to_owned(),
        target: url.1.to_owned(),
        protocol: "HTTP/1.1".to_owned(),
        status,
        route: 1,
        server: url.0.to_owned(),
        location: "/".to_owned(),
        received: 312,
        sent,
        duration,
        attempts: Vec::new(),
        user_agent: "curl/8.5.0".to_owned(),
        is_complete: true,
    };
    let attempt = |peer: &str, status, started, times: [u64; 3]| Attempt {
        peer: peer.to_owned(),
        status,
        started,
        connect: Some(times[0]),
        header: Some(times[1]),
        response: Some(times[2]),
        received: 100,
    };
    let mut requests = vec![
        request(
            214,
            101,
            "GET",
            ("git.example.org", "/ws"),
            61_000_000,
            1_258_291,
        ),
        request(160, 429, "GET", ("example.org", "/api/search"), 200, 162),
        request(114, 401, "GET", ("example.org", "/api/admin"), 300, 179),
        request(
            83,
            200,
            "POST",
            ("example.org", "/api/export?year=2023&format=csv"),
            2_140_000,
            9_800,
        ),
        request(14, 502, "GET", ("example.org", "/"), 2_001_300, 157),
        request(6, 304, "GET", ("example.org", "/assets/app.css"), 100, 0),
        request(
            0,
            200,
            "GET",
            ("example.org", "/api/items?page=3"),
            12_000,
            4_198,
        ),
    ];
    requests[0].attempts = vec![attempt(
        "127.0.0.1:3000",
        101,
        200,
        [300, 2_000, 60_990_000],
    )];
    requests[3].attempts = vec![attempt(
        "10.0.1.20:9000",
        200,
        150,
        [400, 2_100_000, 2_139_000],
    )];
    requests[4].attempts = vec![
        Attempt {
            peer: "10.0.0.12:8080".to_owned(),
            status: 504,
            started: 220,
            ..Attempt::default()
        },
        attempt("10.0.0.10:8080", 502, 2_000_400, [200, 700, 800]),
    ];
    requests[6].attempts = vec![attempt("10.0.1.20:9000", 200, 120, [300, 10_000, 11_500])];
    requests
}

/// The texts.
pub fn config() -> ConfigTexts {
    ConfigTexts {
        base: Base {
            revision: 41,
            digest: "abc".to_owned(),
        },
        conf: "/etc/openclaw/openclaw.conf".to_owned(),
        prefix: "/etc/openclaw".to_owned(),
        files: vec![FileText {
            path: "/etc/openclaw/openclaw.conf".to_owned(),
            text: CONF.to_owned(),
        }],
        ..ConfigTexts::default()
    }
}

/// What would happen to a URL.
pub fn explanation() -> Explanation {
    let step = |phase: &str, text: &str, place: &str| Step {
        phase: phase.to_owned(),
        text: text.to_owned(),
        place: place.to_owned(),
    };
    Explanation {
        server: "example.org".to_owned(),
        location: "/api/".to_owned(),
        target: "http://api".to_owned(),
        route: Some(2),
        steps: vec![
            step("listen", "0.0.0.0:80 takes it", "openclaw.conf:8"),
            step(
                "server",
                "`example.org` is one of its names",
                "openclaw.conf:9",
            ),
            step(
                "location",
                "`/api/` is the longest prefix; no regular expression matches",
                "openclaw.conf:14",
            ),
            step(
                "upstream",
                "round robin over 2 peers that are up",
                "openclaw.conf:90",
            ),
        ],
        peers: vec!["10.0.1.20:9000".to_owned(), "10.0.1.21:9000".to_owned()],
        upstream_url: Some("http://api/api/items".to_owned()),
        ..Explanation::default()
    }
}

/// A daemon on a socket of its own, which answers with the above and writes down what it is asked.
pub struct Daemon {
    directory: tempfile::TempDir,
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    asked: Mutex<Vec<(String, String)>>,
    streams: Mutex<Vec<mpsc::UnboundedSender<Bytes>>>,
    refusal: Mutex<Option<Refusal>>,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Daemon {
    /// Starts one.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory for the socket");
        let state = Arc::default();
        let task = serve(&directory.path().join("control.sock"), Arc::clone(&state));
        Self {
            directory,
            state,
            task,
        }
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("control.sock")
    }

    /// What it was asked so far: method with path, and the body.
    pub fn asked(&self) -> Vec<(String, String)> {
        locked(&self.state.asked).clone()
    }

    /// Was this asked?
    pub fn was_asked(&self, start: &str) -> bool {
        self.asked().iter().any(|(line, _)| line.starts_with(start))
    }

    /// Says no to everything that changes something.
    pub fn refuse(&self, refusal: Refusal) {
        *locked(&self.state.refusal) = Some(refusal);
    }

    /// Tells all who listen.
    pub fn tell(&self, event: &Event) {
        let mut line = serde_json::to_vec(event).expect("plain data");
        line.push(b'\n');
        let line = Bytes::from(line);
        locked(&self.state.streams).retain(|stream| stream.send(line.clone()).is_ok());
    }

    /// Ends without a word, as by kill -9.
    pub fn die(&mut self) {
        self.task.abort();
        locked(&self.state.streams).clear();
        std::fs::remove_file(self.socket()).expect("it had a socket");
    }

    /// Starts again on the same socket.
    pub fn rise(&mut self) {
        self.task = serve(&self.socket(), Arc::clone(&self.state));
    }
}

fn serve(socket: &Path, state: Arc<State>) -> JoinHandle<()> {
    let listener = UnixListener::bind(socket).expect("the directory is ours");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let state = Arc::clone(&state);
            tokio::spawn(async move {
                let service = service_fn(move |request| answer(request, Arc::clone(&state)));
                // A client that goes away is no fault.
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    })
}

async fn answer(
    request: HttpRequest<Incoming>,
    state: Arc<State>,
) -> Result<Response<Answered>, Infallible> {
    let line = format!("{} {}", request.method(), request.uri());
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let body = String::from_utf8_lossy(&body).into_owned();
    locked(&state.asked).push((line.clone(), body.clone()));
    if path == "/v1/stream" {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut opened = serde_json::to_vec(&Event::Opened { subscription: 7 }).expect("plain");
        opened.push(b'\n');
        sender.send(opened.into()).expect("just made");
        locked(&state.streams).push(sender);
        return Ok(Response::new(Answered::Stream(receiver)));
    }
    let refusal = locked(&state.refusal).clone();
    if let Some(refusal) = refusal.filter(|_| line.starts_with("POST") && !path.contains("/sub")) {
        let mut response = Response::new(Answered::whole(&refusal));
        *response.status_mut() = StatusCode::CONFLICT;
        return Ok(response);
    }
    let answer = match path.as_str() {
        "/v1/status" => Answered::whole(&status()),
        "/v1/routes" => Answered::whole(&routes()),
        "/v1/upstreams" | "/v1/peers" => Answered::whole(&upstreams()),
        "/v1/events" => Answered::whole(&events()),
        "/v1/history" => Answered::whole(&history()),
        "/v1/config" => Answered::whole(&config()),
        "/v1/explain" => Answered::whole(&explanation()),
        "/v1/bans" => Answered::whole(&bans()),
        "/v1/keys" if line.starts_with("POST") => Answered::whole(&key_changed()),
        "/v1/keys" => Answered::whole(&keys()),
        _ if path.starts_with("/v1/keys/") => Answered::whole(&keys().keys[2]),
        "/v1/alerts" if line.starts_with("GET") => Answered::whole(&alerts()),
        "/v1/spend" => Answered::whole(&spend("model", "2023-11-15", "2023-11-15")),
        "/v1/llm/calls" => Answered::whole(&model_calls()),
        "/v1/cache" => Answered::whole(&caches()),
        "/v1/cache/show" => Answered::whole(&cache_entries()),
        "/v1/cache/purge" => Answered::whole(&cache_purged()),
        "/v1/certificates" => Answered::whole(&certificates()),
        "/v1/certificates/why" => Answered::whole(&preflight()),
        "/v1/config/revert" if body.contains("\"dry_run\":true") => Answered::whole(&Review {
            diff: "--- a\n+++ b\n-gzip on;\n+gzip off;\n".to_owned(),
            is_applicable: true,
            ..Review::default()
        }),
        "/v1/config/review" => Answered::whole(&Review {
            is_applicable: true,
            ..Review::default()
        }),
        "/v1/config/apply" | "/v1/config/revert" | "/v1/reload" => Answered::whole(&Applied {
            revision: 42,
            generation: 4,
            ..Applied::default()
        }),
        "/v1/revisions" => Answered::whole(&revisions()),
        _ if path.starts_with("/v1/revisions/") => Answered::whole(&RevisionDiff::default()),
        _ => Answered::whole(&Done::default()),
    };
    Ok(Response::new(answer))
}

/// The body of an answer.
enum Answered {
    Whole(Full<Bytes>),
    Stream(mpsc::UnboundedReceiver<Bytes>),
}

impl Answered {
    fn whole(value: &impl Serialize) -> Self {
        Self::Whole(serde_json::to_vec(value).expect("plain data").into())
    }
}

impl Body for Answered {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(context),
            Self::Stream(lines) => lines
                .poll_recv(context)
                .map(|line| line.map(|line| Ok(Frame::data(line)))),
        }
    }
}
