//! `openclaw status`: the dashboard's overview as plain text.

use std::fmt::Write as _;

use jiff::tz::TimeZone;
use serde::Serialize;

use super::figures::{age, byte_rate, bytes, count, date_time, micros, part, rate, share};
use super::paint::Paint;
use super::print;
use super::session::{Failure, Session, print_json};
use crate::protocol::{
    ConfState, Events, Level, Occurrence, PeerState, Status, Summary, Upstreams,
};
use crate::unit::printable::escape;

/// How many of the newest events are shown.
const EVENTS: usize = 5;

/// Everything that is shown.
#[derive(Debug, Default, Serialize)]
struct Overview {
    status: Status,
    summary: Summary,
    upstreams: Upstreams,
    events: Events,
}

/// Asks and prints.
pub fn run(session: Session) -> Result<(), Failure> {
    let overview = Overview {
        summary: session.get("/v1/summary")?,
        upstreams: session.get("/v1/upstreams")?,
        events: session.get(&format!("/v1/events?limit={EVENTS}"))?,
        status: session.status,
    };
    if session.json {
        print_json(&overview);
    } else {
        print(&text(&overview, session.paint, &TimeZone::system()));
    }
    Ok(())
}

fn text(overview: &Overview, paint: Paint, zone: &TimeZone) -> String {
    let Overview {
        status,
        summary,
        upstreams,
        events,
    } = overview;
    let mut out = String::new();
    let mut line = |name: &str, text: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{} {text}", paint.heading(&format!("{name:<13}")));
    };
    line(
        "openclaw",
        &format!(
            "{} on {}, process {}, {} workers, up {}",
            escape(&status.version),
            escape(&status.host),
            status.pid,
            status.workers,
            age(summary.uptime_seconds)
        ),
    );
    let revision = match status.revision {
        0 => "no revision recorded".to_owned(),
        id => format!("revision {id}"),
    };
    let state = match status.state {
        ConfState::Clean => "clean".to_owned(),
        ConfState::Edited => paint.warn("edited, not in force (see `openclaw config diff`)"),
    };
    line(
        "configuration",
        &format!("{}, {revision}, {state}", escape(&status.conf)),
    );
    if let Some(why) = &status.read_only {
        line("", &format!("read-only: {}", escape(why)));
    }
    for trouble in &summary.troubles {
        line("trouble", &paint.bad(&escape(trouble)));
    }
    line("listens", &escape(&status.listens.join(", ")));
    let traffic = &summary.traffic;
    line(
        "requests",
        &format!(
            "{}/s now, {}/s peak, {} since the start, {} in flight",
            rate(traffic.rate),
            rate(summary.peak),
            count(summary.total),
            summary.in_flight
        ),
    );
    let recent: u64 = traffic.statuses.iter().sum();
    let shares: Vec<String> = (1..=5)
        .zip(traffic.statuses)
        .filter(|(hundred, number)| *hundred > 1 || *number > 0)
        .map(|(hundred, number)| format!("{hundred}xx {}", part(number, recent)))
        .collect();
    line(
        "statuses",
        &format!("{} in the last 10 s", shares.join("  ")),
    );
    line(
        "time",
        &match recent {
            0 => "no requests in the last 10 s".to_owned(),
            _ => format!(
                "p50 {}  p90 {}  p99 {}  max {}  (waiting for upstreams {}, own p99 {})",
                micros(traffic.p50),
                micros(traffic.p90),
                micros(traffic.p99),
                micros(traffic.max),
                share(summary.upstream_share),
                micros(summary.own_p99)
            ),
        },
    );
    if traffic.looked_up > 0 {
        let hits = share(traffic.cached as f64 / traffic.looked_up as f64);
        line(
            "cache",
            &format!("{hits} of answers in the last 10 s were there"),
        );
    }
    line(
        "bytes",
        &format!(
            "received {}, sent {}",
            byte_rate(traffic.received),
            byte_rate(traffic.sent)
        ),
    );
    line(
        "connections",
        &format!(
            "{} open, {} of them idle, HTTP/2 {}{}",
            summary.connections,
            summary.idle,
            share(summary.http2),
            match summary.floods {
                0 => String::new(),
                floods => format!(", {} ended for flooding", count(floods)),
            }
        ),
    );
    if summary.unseen_alerts > 0 {
        let unseen = format!("{} that nobody has acknowledged", summary.unseen_alerts);
        line(
            "alerts",
            &paint.warn(&format!("{unseen} (`openclaw alerts`)")),
        );
    }
    let states = summary.peer_states;
    line(
        "backends",
        &format!(
            "{} up, {} drain, {} failed, {} down",
            states.up, states.drain, states.failed, states.down
        ),
    );
    for upstream in &upstreams.upstreams {
        for peer in &upstream.peers {
            if peer.traffic.state != PeerState::Up {
                let name = format!("{} {}", escape(&upstream.name), escape(&peer.address));
                let state = super::backends::state(peer.traffic.state);
                line("", &paint.bad(&format!("{name} {state}")));
            }
        }
    }
    if let Some(llm) = &summary.llm {
        let (ready, others): (Vec<_>, Vec<_>) =
            (llm.providers.iter()).partition(|provider| provider.state == "ready");
        line(
            "providers",
            &format!("{} of {} ready", ready.len(), llm.providers.len()),
        );
        for provider in others {
            let words = format!("{} {} {}", provider.name, provider.state, provider.note);
            line("", &paint.bad(&escape(words.trim_end())));
        }
    }
    let certificates = &summary.certificate_states;
    if certificates.all > 0 {
        let state = match (certificates.bad, certificates.warn) {
            (0, 0) => "all in order".to_owned(),
            (0, warn) => paint.warn(&format!("{warn} to look at")),
            (bad, 0) => paint.bad(&format!("{bad} bad")),
            (bad, warn) => paint.bad(&format!("{bad} bad, {warn} to look at")),
        };
        let mut text = format!("{}, {state}", certificates.all);
        if let Some(soonest) = certificates.soonest {
            let left = soonest.saturating_sub(summary.at) / 86_400_000;
            let _ = write!(text, ", the next ends in {left} days");
        }
        line("certificates", &text);
        if !certificates.worst.is_empty() {
            line("", &escape(&certificates.worst));
        }
    }
    if !certificates.clock.is_empty() {
        line("clock", &paint.bad(&escape(&certificates.clock)));
    }
    line("memory", &format!("{} resident", bytes(status.resident)));
    let store = &status.store;
    line(
        "store",
        &match &store.error {
            Some(error) => paint.bad(&format!("not in use: {}", escape(error))),
            None if store.path.is_empty() => "none".to_owned(),
            None => format!("{}, {}", escape(&store.path), bytes(store.bytes)),
        },
    );
    if store.dropped > 0 {
        let dropped = format!("{} rows dropped, the disk did not keep up", store.dropped);
        line("", &paint.warn(&dropped));
    }
    if status.dropped_log_lines > 0 {
        let dropped = format!("{} lines lost, see the error log", status.dropped_log_lines);
        line("logs", &paint.warn(&dropped));
    }
    if summary.panics > 0 {
        line(
            "panics",
            &paint.bad(&format!("{} (see the error log)", summary.panics)),
        );
    }
    if summary.failed_logins > 0 {
        line("logins", &format!("{} failed", summary.failed_logins));
    }
    let warning = summary.warning.as_ref();
    if let Some(warning) = warning.filter(|it| !summary.troubles.contains(it)) {
        line("warning", &paint.warn(&escape(warning)));
    }
    for (position, event) in events.events.iter().take(EVENTS).enumerate() {
        let name = if position == 0 { "events" } else { "" };
        line(name, &self::event(event, paint, zone));
    }
    out
}

/// An event in one line.
pub fn event(event: &Occurrence, paint: Paint, zone: &TimeZone) -> String {
    let text = match event.subject.is_empty() {
        true => escape(&event.text).into_owned(),
        false => format!("{}: {}", escape(&event.subject), escape(&event.text)),
    };
    let text = match event.level {
        Level::Info => text,
        Level::Good => paint.good(&text),
        Level::Warn => paint.warn(&text),
        Level::Bad => paint.bad(&text),
    };
    format!("{} {text}", date_time(event.at, zone))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{
        CertificateStates, LlmNow, Peer, PeerStates, PeerTraffic, ProviderNow, StoreStatus,
        Traffic, Upstream,
    };

    fn provider(name: &str, state: &str, note: &str) -> ProviderNow {
        ProviderNow {
            name: name.to_owned(),
            state: state.to_owned(),
            note: note.to_owned(),
            ..ProviderNow::default()
        }
    }

    #[test]
    fn the_overview_is_plain_text_that_a_screen_reader_reads() {
        let overview = Overview {
            status: Status {
                version: "0.1.0".to_owned(),
                pid: 812,
                host: "gw-1".to_owned(),
                revision: 41,
                conf: "/etc/openclaw/openclaw.conf".to_owned(),
                workers: 4,
                listens: vec!["0.0.0.0:80".to_owned(), "[::]:80".to_owned()],
                resident: 25 << 20,
                store: StoreStatus {
                    path: "/var/lib/openclaw/openclaw.db".to_owned(),
                    bytes: 1 << 20,
                    ..StoreStatus::default()
                },
                ..Status::default()
            },
            summary: Summary {
                uptime_seconds: 1_051_260,
                traffic: Traffic {
                    rate: 1204.0,
                    statuses: [0, 971, 19, 7, 3],
                    p50: 6_000,
                    p90: 31_000,
                    p99: 88_000,
                    max: 2_140_000,
                    received: 1_000.0,
                    sent: 34_603_008.0,
                    looked_up: 1_000,
                    cached: 871,
                },
                in_flight: 38,
                connections: 412,
                idle: 300,
                total: 31_200_000,
                http2: 0.61,
                floods: 2,
                peak: 1710.0,
                upstream_share: 0.82,
                own_p99: 300,
                peer_states: PeerStates {
                    up: 6,
                    drain: 1,
                    failed: 1,
                    down: 0,
                },
                certificate_states: CertificateStates {
                    all: 5,
                    warn: 1,
                    bad: 1,
                    soonest: Some(12 * 86_400_000),
                    worst: "a.example: disk \x1b[2J full".to_owned(),
                    terms: None,
                    clock: String::new(),
                },
                warning: Some("disk \x1b[2J full".to_owned()),
                llm: Some(Box::new(LlmNow {
                    providers: vec![
                        provider("here", "ready", ""),
                        provider("away", "open", "\x1bsay for 9 s"),
                    ],
                    ..LlmNow::default()
                })),
                ..Summary::default()
            },
            upstreams: Upstreams {
                upstreams: vec![Upstream {
                    name: "app".to_owned(),
                    peers: vec![Peer {
                        address: "10.0.0.12:8080".to_owned(),
                        traffic: PeerTraffic {
                            state: PeerState::Failed,
                            ..PeerTraffic::default()
                        },
                        ..Peer::default()
                    }],
                    ..Upstream::default()
                }],
                ..Upstreams::default()
            },
            events: Events {
                events: vec![Occurrence {
                    at: 1_700_000_000_000,
                    subject: "app 10.0.0.12:8080".to_owned(),
                    text: "down".to_owned(),
                    ..Occurrence::default()
                }],
            },
        };
        let shown = text(&overview, Paint::PLAIN, &TimeZone::UTC);
        let expected = "\
openclaw      0.1.0 on gw-1, process 812, 4 workers, up 12d 4h
configuration /etc/openclaw/openclaw.conf, revision 41, clean
listens       0.0.0.0:80, [::]:80
requests      1.2k/s now, 1.7k/s peak, 31.2M since the start, 38 in flight
statuses      2xx 97.1%  3xx 1.9%  4xx 0.7%  5xx 0.3% in the last 10 s
time          p50 6 ms  p90 31 ms  p99 88 ms  max 2.1 s  (waiting for upstreams 82.0%, own p99 0.3 ms)
cache         87.1% of answers in the last 10 s were there
bytes         received 1000 B/s, sent 33.0 MiB/s
connections   412 open, 300 of them idle, HTTP/2 61.0%, 2 ended for flooding
backends      6 up, 1 drain, 1 failed, 0 down
              app 10.0.0.12:8080 failed
providers     1 of 2 ready
              away open ^[say for 9 s
certificates  5, 1 bad, 1 to look at, the next ends in 12 days
              a.example: disk ^[[2J full
memory        25.0 MiB resident
store         /var/lib/openclaw/openclaw.db, 1.0 MiB
warning       disk ^[[2J full
events        2023-11-14 22:13:20 app 10.0.0.12:8080: down
";
        assert_eq!(shown, expected);
    }
}
