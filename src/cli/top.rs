//! `openclaw top`: the busiest routes and the backends, once a second.
//!
//! On a terminal the table takes the place of the one before; otherwise it is printed once.

use std::collections::HashMap;
use std::io::{self, IsTerminal as _, Write as _};

use jiff::tz::TimeZone;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use super::figures::{count, micros, part, rate, time};
use super::follow::{Follower, Sight};
use super::paint::Paint;
use super::session::{Failure, Session, print_json};
use super::table::{Side, Table, cut};
use super::{backends, print, routes};
use crate::protocol::client::{CallError, Client};
use crate::protocol::{Event, PeerState, Routes, Summary, Topic, Traffic, Upstreams};
use crate::unit::printable::escape;

/// How many routes are printed where there is no height to fill.
const ROWS: usize = 20;

/// What names the numbers, and the numbers.
#[derive(Debug, Default, Serialize)]
struct Picture {
    summary: Summary,
    routes: Routes,
    upstreams: Upstreams,
}

impl Picture {
    async fn name(&mut self, client: &Client) -> Result<(), CallError> {
        self.routes = client.get("/v1/routes").await?;
        self.upstreams = client.get("/v1/upstreams").await?;
        Ok(())
    }
}

/// Shows the table until it is interrupted, or once.
pub fn run(session: &Session, once: bool, rows: Option<usize>) -> Result<(), Failure> {
    let is_once = once || session.json || !io::stdout().is_terminal();
    let zone = TimeZone::system();
    session.runtime.block_on(async {
        let mut picture = Picture::default();
        picture.name(&session.client).await?;
        let topics = [Topic::Summary, Topic::Routes, Topic::Peers];
        let mut follower = Follower::open(&session.client, &topics).await?;
        if is_once {
            loop {
                match follower.next().await {
                    Sight::Event(Event::Summary(summary)) => {
                        picture.summary = *summary;
                        break;
                    }
                    Sight::Event(_) => {}
                    Sight::Lost(why) => return Err(Failure::failed(why)),
                    Sight::Back => {}
                }
            }
            if session.json {
                print_json(&picture);
            } else {
                let lines = lines(&picture, rows.unwrap_or(ROWS), session.paint, &zone);
                print(&(lines.join("\n") + "\n"));
            }
            return Ok(());
        }
        let failed = |error: io::Error| Failure::failed(error.to_string());
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
        let mut resized = signal(SignalKind::window_change()).map_err(failed)?;
        let _screen = Screen::enter();
        let mut banner = Some("waiting for the first numbers".to_owned());
        loop {
            draw(&picture, banner.as_deref(), rows, session.paint, &zone);
            tokio::select! {
                sight = follower.next() => match sight {
                    Sight::Event(Event::Summary(summary)) => {
                        picture.summary = *summary;
                        banner = None;
                    }
                    Sight::Event(Event::Changed { .. }) => {
                        if let Err(error) = picture.name(&session.client).await {
                            banner = Some(error.to_string());
                        }
                    }
                    Sight::Event(_) => {}
                    Sight::Lost(why) => {
                        banner = Some(format!("the daemon is away, these numbers are old: {why}"));
                    }
                    // Numbers of routes are those of a run of the daemon.
                    Sight::Back => match picture.name(&session.client).await {
                        Ok(()) => banner = None,
                        Err(error) => banner = Some(error.to_string()),
                    },
                },
                _ = resized.recv() => {}
                _ = interrupt.recv() => return Ok(()),
                _ = terminate.recv() => return Ok(()),
                _ = hangup.recv() => return Ok(()),
            }
        }
    })
}

/// The terminal's other screen, without a cursor; what was there before comes back at the end.
struct Screen;

impl Screen {
    fn enter() -> Self {
        print("\x1b[?1049h\x1b[?25l");
        Self
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        print("\x1b[?25h\x1b[?1049l");
    }
}

fn draw(
    picture: &Picture,
    banner: Option<&str>,
    rows: Option<usize>,
    paint: Paint,
    zone: &TimeZone,
) {
    let (width, height) = crossterm::terminal::size().unwrap_or((80, 24));
    let height = usize::from(height);
    // The heading, an empty line and the head of the table; the rest is shared with the backends.
    let routes = rows.unwrap_or_else(|| height.saturating_sub(10).max(3));
    let mut lines = lines(picture, routes, Paint::PLAIN, zone);
    if let Some(banner) = banner {
        lines.insert(1, format!("! {}", escape(banner)));
    }
    lines.truncate(height);
    // One write, so that no half of a picture is seen.
    let mut out = String::from("\x1b[H");
    for (position, line) in lines.iter().enumerate() {
        if position > 0 {
            out.push_str("\r\n");
        }
        let line = cut(line, usize::from(width));
        out.push_str(&match position {
            0 => paint.heading(&line),
            1 if banner.is_some() => paint.warn(&line),
            _ => line,
        });
        out.push_str("\x1b[K");
    }
    out.push_str("\x1b[J");
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(out.as_bytes());
    let _ = stdout.flush();
}

fn lines(picture: &Picture, rows: usize, paint: Paint, zone: &TimeZone) -> Vec<String> {
    let Picture {
        summary,
        routes,
        upstreams,
    } = picture;
    let traffic = &summary.traffic;
    let heading = format!(
        "openclaw {}  {} req/s  5xx {}  p50 {}  p99 {}  in flight {}  connections {}  rev {}",
        time(summary.at, zone),
        rate(traffic.rate),
        failed(traffic),
        micros(traffic.p50),
        micros(traffic.p99),
        summary.in_flight,
        summary.connections,
        summary.revision
    );
    let mut lines = vec![paint.heading(&heading), String::new()];

    let named: HashMap<u32, _> = routes
        .routes
        .iter()
        .map(|route| (route.id, route))
        .collect();
    let mut busiest: Vec<_> = summary.routes.iter().collect();
    busiest.sort_by(|one, other| {
        let recent = |it: &crate::protocol::RouteTraffic| it.traffic.statuses.iter().sum::<u64>();
        other
            .traffic
            .rate
            .total_cmp(&one.traffic.rate)
            .then(recent(other).cmp(&recent(one)))
            .then(one.route.cmp(&other.route))
    });
    let mut table = Table::new(&[
        ("SERVER", Side::Left),
        ("LOCATION", Side::Left),
        ("REQ/S", Side::Right),
        ("P50", Side::Right),
        ("P99", Side::Right),
        ("5XX", Side::Right),
        ("HIT", Side::Right),
        ("TOTAL", Side::Right),
        ("TARGET", Side::Left),
    ]);
    for numbers in busiest.iter().take(rows) {
        let route = named.get(&numbers.route);
        table.row([
            route.map_or_else(|| format!("? {}", numbers.route), |it| routes::server(it)),
            route.map(|it| it.location.clone()).unwrap_or_default(),
            rate(numbers.traffic.rate),
            micros(numbers.traffic.p50),
            micros(numbers.traffic.p99),
            failed(&numbers.traffic),
            part(numbers.traffic.cached, numbers.traffic.looked_up),
            count(numbers.total),
            route.map(|it| it.target.clone()).unwrap_or_default(),
        ]);
    }
    match table.is_empty() {
        true => lines.push("no requests in the last 10 s".to_owned()),
        false => lines.extend(table.lines()),
    }
    if let Some(more) = busiest.len().checked_sub(rows).filter(|more| *more > 0) {
        lines.push(format!("{more} more routes had requests"));
    }

    let mut table = Table::new(&[
        ("UPSTREAM", Side::Left),
        ("PEER", Side::Left),
        ("STATE", Side::Left),
        ("REQ/S", Side::Right),
        ("P99", Side::Right),
        ("ACTIVE", Side::Right),
        ("FAILED", Side::Right),
    ]);
    let numbers: HashMap<u32, _> = summary.peers.iter().map(|it| (it.peer, it)).collect();
    let mut peers: Vec<_> = upstreams
        .upstreams
        .iter()
        .flat_map(|upstream| upstream.peers.iter().map(move |peer| (upstream, peer)))
        .map(|(upstream, peer)| {
            let numbers = numbers.get(&peer.id).copied();
            (upstream, peer, numbers.unwrap_or(&peer.traffic))
        })
        .collect();
    // What needs somebody comes first.
    peers.sort_by(|(_, _, one), (_, _, other)| {
        one.state
            .cmp(&other.state)
            .then(other.traffic.rate.total_cmp(&one.traffic.rate))
    });
    for (upstream, peer, numbers) in peers {
        let state = match numbers.state {
            PeerState::Up => "up".to_owned(),
            other => format!("! {}", backends::state(other)),
        };
        table.row([
            upstream.name.clone(),
            peer.address.clone(),
            state,
            rate(numbers.traffic.rate),
            micros(numbers.traffic.p99),
            numbers.active.to_string(),
            part(numbers.failed, numbers.total),
        ]);
    }
    if !table.is_empty() {
        lines.push(String::new());
        lines.extend(table.lines());
    }
    lines
}

fn failed(traffic: &Traffic) -> String {
    part(traffic.statuses[4], traffic.statuses.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Peer, PeerTraffic, Route, RouteTraffic, Upstream};

    #[test]
    fn the_busiest_route_and_the_worst_peer_come_first() {
        let numbers = |route, rate: f64| RouteTraffic {
            route,
            total: 5,
            traffic: Traffic {
                rate,
                statuses: [0, 9, 0, 0, 1],
                p50: 1_000,
                p99: 2_000,
                looked_up: if route == 2 { 8 } else { 0 },
                cached: if route == 2 { 7 } else { 0 },
                ..Traffic::default()
            },
            ..RouteTraffic::default()
        };
        let route = |id, location: &str| Route {
            id,
            server: "a.org".to_owned(),
            location: location.to_owned(),
            target: "http://app".to_owned(),
            ..Route::default()
        };
        let peer = |id, address: &str| Peer {
            id,
            address: address.to_owned(),
            ..Peer::default()
        };
        let picture = Picture {
            summary: Summary {
                at: 1_700_000_000_000,
                revision: 3,
                routes: vec![numbers(1, 2.0), numbers(2, 40.0), numbers(9, 1.0)],
                peers: vec![PeerTraffic {
                    peer: 8,
                    state: PeerState::Failed,
                    ..PeerTraffic::default()
                }],
                ..Summary::default()
            },
            routes: Routes {
                routes: vec![route(1, "/"), route(2, "/api/")],
                ..Routes::default()
            },
            upstreams: Upstreams {
                upstreams: vec![Upstream {
                    name: "app".to_owned(),
                    peers: vec![peer(7, "10.0.0.1:80"), peer(8, "10.0.0.2:80")],
                    ..Upstream::default()
                }],
                ..Upstreams::default()
            },
        };
        assert_eq!(
            lines(&picture, 2, Paint::PLAIN, &TimeZone::UTC).join("\n"),
            "\
openclaw 22:13:20  0 req/s  5xx –  p50 0 ms  p99 0 ms  in flight 0  connections 0  rev 3

SERVER  LOCATION  REQ/S   P50   P99    5XX    HIT  TOTAL  TARGET
a.org   /api/        40  1 ms  2 ms  10.0%  87.5%      5  http://app
a.org   /           2.0  1 ms  2 ms  10.0%      –      5  http://app
1 more routes had requests

UPSTREAM  PEER         STATE     REQ/S   P99  ACTIVE  FAILED
app       10.0.0.2:80  ! failed      0  0 ms       0       –
app       10.0.0.1:80  up            0  0 ms       0       –"
        );
    }
}
