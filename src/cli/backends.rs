//! `openclaw backends`: the peers of the upstreams, and what may be done with them by hand; and the providers
//! of language models.

use super::exit::Exit;
use super::figures::{count, micros, part, rate};
use super::session::{Failure, Session, print_json};
use super::table::{Side, Table};
use super::words::{PeerName, PeerWord};
use super::{print, providers};
use crate::conf::check::closest;
use crate::protocol::{Group, Peer, PeerAction, PeerChange, PeerState, Summary, Upstreams};

/// Lists the peers.
pub fn list(session: &Session) -> Result<(), Failure> {
    let upstreams: Upstreams = session.get("/v1/upstreams")?;
    if session.json {
        print_json(&upstreams);
        return Ok(());
    }
    let summary: Summary = session.get("/v1/summary")?;
    match summary.llm {
        Some(llm) if upstreams.upstreams.is_empty() => print(&providers::listed(llm.providers)),
        Some(llm) => {
            show(session, &upstreams);
            print(&format!("\n{}", providers::listed(llm.providers)));
        }
        None => show(session, &upstreams),
    }
    Ok(())
}

/// Does something with a peer, and lists its upstream.
pub fn change(session: &Session, word: &PeerWord) -> Result<(), Failure> {
    let (name, action, weight) = match word {
        PeerWord::Drain(peer) => (peer, PeerAction::Drain, None),
        PeerWord::Down(peer) => (peer, PeerAction::Down, None),
        PeerWord::Up(peer) => (peer, PeerAction::Up, None),
        PeerWord::Weight { peer, weight } => (peer, PeerAction::Weight, Some(*weight)),
        PeerWord::Reset(peer) => (peer, PeerAction::Reset, None),
        PeerWord::Check(peer) => (peer, PeerAction::Check, None),
    };
    let before: Upstreams = session.get("/v1/upstreams")?;
    let address = address(&before, name)?;
    let change = PeerChange {
        upstream: name.upstream.clone(),
        address,
        action,
        weight,
    };
    let mut after: Upstreams = session.post("/v1/peers", &change)?;
    if !session.json {
        after
            .upstreams
            .retain(|upstream| upstream.name == name.upstream);
    }
    show(session, &after);
    Ok(())
}

/// The options of the daemon that stand behind the words about a peer.
pub fn daemon(word: &PeerWord) -> &super::words::Daemon {
    match word {
        PeerWord::Drain(peer)
        | PeerWord::Down(peer)
        | PeerWord::Up(peer)
        | PeerWord::Weight { peer, .. }
        | PeerWord::Reset(peer)
        | PeerWord::Check(peer) => &peer.daemon,
    }
}

/// A state in a word.
pub fn state(state: PeerState) -> &'static str {
    match state {
        PeerState::Up => "up",
        PeerState::Drain => "drain",
        PeerState::Down => "down",
        PeerState::Failed => "failed",
        PeerState::Unhealthy => "unhealthy",
        PeerState::Ejected => "left out",
        PeerState::Checking => "checking",
        PeerState::Unresolved => "unresolved",
    }
}

/// The address of the peer that is meant. Done here, so that a name that stands in the file can be
/// written too, and that the message says which ones there are.
fn address(upstreams: &Upstreams, name: &PeerName) -> Result<String, Failure> {
    let wrong = |message: String| Failure::Told(Exit::Failed, message);
    let upstream = upstreams
        .upstreams
        .iter()
        .find(|it| it.name == name.upstream);
    let Some(upstream) = upstream else {
        let names = || upstreams.upstreams.iter().map(|it| it.name.as_str());
        let hint = match closest(&name.upstream, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if upstreams.upstreams.is_empty() => "there is none".to_owned(),
            None => format!("there are {}", names().collect::<Vec<_>>().join(", ")),
        };
        return Err(wrong(format!(
            "there is no upstream `{}`\nhint: {hint}",
            name.upstream
        )));
    };
    let by_address = upstream.peers.iter().find(|it| it.address == name.peer);
    let mut by_name = upstream.peers.iter().filter(|it| it.name == name.peer);
    match (by_address, by_name.next(), by_name.next()) {
        (Some(peer), _, _) | (None, Some(peer), None) => Ok(peer.address.clone()),
        (None, found, _) => {
            let addresses: Vec<_> = upstream
                .peers
                .iter()
                .map(|it| it.address.as_str())
                .collect();
            let what = match found {
                Some(_) => "more than one peer",
                None => "no peer",
            };
            Err(wrong(format!(
                "upstream `{}` has {what} `{}`\nhint: its peers are {}",
                name.upstream,
                name.peer,
                addresses.join(", ")
            )))
        }
    }
}

fn show(session: &Session, upstreams: &Upstreams) {
    if session.json {
        print_json(upstreams);
    } else if upstreams.upstreams.is_empty() {
        print("no backends: nothing is passed on\n");
    } else {
        print(&table(upstreams).text());
        for group in upstreams
            .upstreams
            .iter()
            .filter_map(|it| it.group.as_ref())
        {
            print(&format!("{}\n", group_line(group)));
        }
    }
}

fn table(upstreams: &Upstreams) -> Table {
    let mut table = Table::new(&[
        ("UPSTREAM", Side::Left),
        ("PEER", Side::Left),
        ("STATE", Side::Left),
        ("WEIGHT", Side::Right),
        ("REQ/S", Side::Right),
        ("P99", Side::Right),
        ("ACTIVE", Side::Right),
        ("IDLE", Side::Right),
        ("TOTAL", Side::Right),
        ("FAILED", Side::Right),
        ("NOTE", Side::Left),
    ]);
    for upstream in &upstreams.upstreams {
        for peer in &upstream.peers {
            let traffic = &peer.traffic;
            let has_recent = traffic.traffic.statuses.iter().any(|number| *number > 0);
            table.row([
                upstream.name.clone(),
                peer.address.clone(),
                state(traffic.state).to_owned(),
                peer.weight.to_string(),
                rate(traffic.traffic.rate),
                match has_recent {
                    true => micros(traffic.traffic.p99),
                    false => "–".to_owned(),
                },
                traffic.active.to_string(),
                traffic.idle.to_string(),
                count(traffic.total),
                part(traffic.failed, traffic.total),
                note(peer),
            ]);
        }
    }
    table
}

/// `app: circuit open for 4 s, 12 wait in the queue (room for 100), 3 turned away`
fn group_line(group: &Group) -> String {
    let mut parts = Vec::new();
    if let Some(breaker) = &group.breaker {
        parts.push(match breaker.left_ms {
            0 => format!("circuit {}", breaker.phase),
            left => format!("circuit {} for {} s", breaker.phase, left.div_ceil(1000)),
        });
        if breaker.opened > 0 {
            parts.push(format!("opened {} times", breaker.opened));
        }
    }
    if group.room > 0 {
        let (waiting, room) = (group.waiting, group.room);
        parts.push(format!("{waiting} wait in the queue (room for {room})"));
        parts.push(format!("{} turned away", group.refused));
    }
    format!("{}: {}", group.name, parts.join(", "))
}

fn note(peer: &Peer) -> String {
    let mut notes = Vec::new();
    if peer.is_overridden {
        notes.push("set by hand".to_owned());
    }
    if peer.is_backup {
        notes.push("backup".to_owned());
    }
    if let Some(health) = peer.traffic.health.as_ref().filter(|it| it.checked > 0) {
        notes.push(format!("checked: {}", health.found));
    }
    if let Some(circuit) = peer
        .traffic
        .circuit
        .as_ref()
        .filter(|it| it.phase != "closed")
    {
        notes.push(format!("circuit {}", circuit.phase));
    }
    if peer.max_connections > 0 {
        notes.push(format!("at most {} connections", peer.max_connections));
    }
    if peer.name != peer.address && !peer.name.is_empty() {
        notes.push(format!("as {}", peer.name));
    }
    notes.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{PeerTraffic, Traffic, Upstream};

    fn upstreams() -> Upstreams {
        let peer = |address: &str, name: &str| Peer {
            address: address.to_owned(),
            name: name.to_owned(),
            weight: 1,
            ..Peer::default()
        };
        Upstreams {
            upstreams: vec![Upstream {
                name: "app".to_owned(),
                peers: vec![
                    Peer {
                        is_overridden: true,
                        traffic: PeerTraffic {
                            state: PeerState::Drain,
                            total: 1_000,
                            failed: 10,
                            traffic: Traffic {
                                rate: 12.0,
                                statuses: [0, 10, 0, 0, 0],
                                p99: 31_000,
                                ..Traffic::default()
                            },
                            ..PeerTraffic::default()
                        },
                        ..peer("10.0.0.1:80", "10.0.0.1")
                    },
                    peer("10.0.0.2:80", "b.test"),
                    peer("10.0.0.3:80", "b.test"),
                ],
                ..Upstream::default()
            }],
            ..Upstreams::default()
        }
    }

    #[test]
    fn peers_are_listed_with_their_numbers() {
        assert_eq!(
            table(&upstreams()).lines()[..2],
            [
                "UPSTREAM  PEER         STATE  WEIGHT  REQ/S    P99  ACTIVE  IDLE  TOTAL  FAILED  NOTE",
                "app       10.0.0.1:80  drain       1     12  31 ms       0     0   1.0k    1.0%  \
                 set by hand, as 10.0.0.1",
            ]
        );
    }

    #[test]
    fn a_peer_is_found_by_its_address_or_by_its_name_if_that_is_one() {
        let find = |upstream: &str, peer: &str| {
            let name = PeerName {
                upstream: upstream.to_owned(),
                peer: peer.to_owned(),
                daemon: super::super::words::Daemon::default(),
            };
            address(&upstreams(), &name).map_err(|failure| match failure {
                Failure::Told(_, message) => message,
                other => panic!("{other:?}"),
            })
        };
        assert_eq!(find("app", "10.0.0.2:80"), Ok("10.0.0.2:80".to_owned()));
        assert_eq!(find("app", "10.0.0.1"), Ok("10.0.0.1:80".to_owned()));
        let said = find("app", "b.test").expect_err("two");
        assert!(said.contains("more than one"), "{said}");
        let said = find("app", "x").expect_err("none");
        assert!(said.contains("10.0.0.1:80, 10.0.0.2:80"), "{said}");
        let said = find("ap", "x").expect_err("none");
        assert!(said.contains("there are app"), "{said}");
    }
}
