//! Providers that cannot take what comes: circuits that open, and queues that are full.
//!
//! Invariant: what comes and goes all the time is told once. A circuit has closed for people only when its
//! calls have all come back, and a queue that was full is told of again only after it had room for a while.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::numbers;
use super::Control;
use crate::alerts::{self, Alert, Severity};
use crate::llm::standing::{Fitness, Report, standings};
use crate::protocol::Level;
use crate::unit::clock;
use crate::unit::printable::escape;

/// How often is looked.
const LOOK: Duration = Duration::from_secs(2);

/// A queue in which there was no room for so long is full, though nobody was turned away.
const FULL_FOR: Duration = Duration::from_secs(10);

/// A queue has room again when it had some for so long.
const ROOM_FOR: Duration = Duration::from_secs(60);

/// The same is not told again for so long, over a restart too.
const QUIET: Duration = Duration::from_secs(60);

/// Looks at circuits and queues, for ever.
pub(super) async fn watch(control: Arc<Control>) {
    let mut watched = Watched::default();
    loop {
        tokio::time::sleep(LOOK).await;
        let in_force = control.desk.in_force();
        let providers = &in_force.generation.llm_providers;
        if providers.is_empty() {
            watched = Watched::default();
            continue;
        }
        let now = clock::now();
        let queues = providers.iter().filter_map(|provider| {
            let queue = provider.conf.queue?;
            Some(Line {
                provider: provider.conf.name.to_string(),
                room: queue.room,
                waiting: provider.standing.waiting(),
                turned_away: provider.standing.turned_away(),
            })
        });
        let mut told = watched.look_at_circuits(&standings().report(now));
        told.extend(watched.look_at_queues(queues, now));
        for alert in told {
            let level = match alert.severity {
                Severity::Good => Level::Good,
                _ => Level::Warn,
            };
            numbers::occur(&control, level, "provider", &alert.subject, &alert.text);
            alerts::raise(alert);
        }
    }
}

/// The queue of a provider.
#[derive(Clone, Debug)]
struct Line {
    provider: String,
    /// So many may wait,
    room: usize,
    /// and so many do.
    waiting: usize,
    /// Calls that found no place, or waited in vain.
    turned_away: u64,
}

/// By provider, key and model.
type Name = [Box<str>; 3];

/// What was seen at the last look.
#[derive(Debug, Default)]
struct Watched {
    circuits: HashMap<Name, Seen>,
    queues: HashMap<String, Full>,
}

/// A circuit.
#[derive(Debug, Default)]
struct Seen {
    opened: u64,
    is_told: bool,
}

/// A queue.
#[derive(Debug, Default)]
struct Full {
    turned_away: u64,
    /// Since when there was no room.
    since: Option<Instant>,
    /// When it was told, or last was no better than then.
    told: Option<Instant>,
}

impl Watched {
    fn look_at_circuits(&mut self, reports: &[Report]) -> Vec<Alert> {
        let mut found = Vec::new();
        let mut seen = HashMap::with_capacity(reports.len());
        for report in reports {
            let name = [&report.provider, &report.key, &report.model].map(Box::clone);
            let mut circuit = self.circuits.remove(&name).unwrap_or_default();
            let has_opened = report.opened > circuit.opened;
            circuit.opened = report.opened;
            let is_open = matches!(report.fitness, Fitness::Open(_) | Fitness::Probing);
            if has_opened && !circuit.is_told {
                circuit.is_told = true;
                found.push(told(report, true));
            } else if circuit.is_told && !has_opened && !is_open && report.share >= 100 {
                circuit.is_told = false;
                found.push(told(report, false));
            }
            seen.insert(name, circuit);
        }
        // What nobody uses any more is forgotten.
        self.circuits = seen;
        found
    }

    fn look_at_queues(&mut self, lines: impl Iterator<Item = Line>, now: Instant) -> Vec<Alert> {
        let mut found = Vec::new();
        let mut seen = HashMap::new();
        for line in lines {
            let known = self.queues.remove(&line.provider);
            let mut queue = known.unwrap_or(Full {
                turned_away: line.turned_away,
                ..Full::default()
            });
            let turned_away = line.turned_away.saturating_sub(queue.turned_away);
            queue.turned_away = line.turned_away;
            queue.since = (queue.since.or(Some(now))).filter(|_| line.waiting >= line.room);
            let since = queue
                .since
                .map(|since| now.saturating_duration_since(since));
            let is_full = since.is_some_and(|time| time >= FULL_FOR);
            if turned_away > 0 || is_full {
                if queue.told.is_none() {
                    found.push(saturated(&line, turned_away));
                }
                queue.told = Some(now);
            }
            let is_over = |told: Instant| now.saturating_duration_since(told) >= ROOM_FOR;
            if queue.told.is_some_and(is_over) {
                queue.told = None;
            }
            seen.insert(line.provider, queue);
        }
        self.queues = seen;
        found
    }
}

/// A circuit opened, or closed.
fn told(report: &Report, is_open: bool) -> Alert {
    let mut subject = format!("{}/{}", report.provider, escape(&report.model));
    if !report.key.is_empty() {
        subject.push_str(&format!(" with {}", report.key));
    }
    let (kind, severity) = match is_open {
        true => ("circuit.open", Severity::Warn),
        false => ("circuit.closed", Severity::Good),
    };
    let text = match (is_open, report.reason) {
        (true, Some(reason)) => format!("{subject} is not asked for a while: {reason}"),
        (true, None) => format!("{subject} is not asked for a while: it failed too often"),
        (false, _) => format!("{subject} answers again, and has all of its calls"),
    };
    Alert {
        kind,
        subject,
        severity,
        text,
        quiet: QUIET,
    }
}

fn saturated(line: &Line, turned_away: u64) -> Alert {
    let Line {
        provider,
        room,
        waiting,
        ..
    } = line;
    let text = match turned_away {
        0 => format!("the queue of the provider `{provider}` is full: {waiting} calls wait"),
        1 => format!("the provider `{provider}` has no room for a call: {waiting} of {room} wait"),
        count => {
            format!(
                "the provider `{provider}` has no room for {count} calls: {waiting} of {room} wait"
            )
        }
    };
    Alert {
        kind: "queue.saturated",
        subject: provider.clone(),
        severity: Severity::Warn,
        text,
        quiet: QUIET,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::circuit::Reason;

    fn report(key: &str, fitness: Fitness, opened: u64, share: u64) -> Report {
        Report {
            provider: "one".into(),
            key: key.into(),
            model: "say\u{1b}".into(),
            fitness,
            reason: (opened > 0).then_some(Reason::InARow(5)),
            share,
            under_way: 0,
            first_part: None,
            asked: 0,
            failed: 0,
            limited: 0,
            opened,
        }
    }

    fn kinds(alerts: &[Alert]) -> Vec<&str> {
        alerts.iter().map(|alert| alert.kind).collect()
    }

    #[test]
    fn a_circuit_that_flaps_is_told_once_until_it_has_all_of_its_calls_again() {
        let mut watched = Watched::default();
        let open = Fitness::Open(Duration::from_secs(9));
        let mut look = |fitness, opened, share| {
            watched.look_at_circuits(&[report("env:KEY", fitness, opened, share)])
        };
        assert_eq!(look(Fitness::Ready, 0, 100), []);
        let told = look(open, 1, 100);
        assert_eq!(kinds(&told), ["circuit.open"]);
        assert_eq!(told[0].subject, "one/say^[ with env:KEY");
        assert!(told[0].text.ends_with("for a while: 5 failures in a row"));
        for opened in 2..9 {
            assert_eq!(look(Fitness::Probing, opened - 1, 100), []);
            assert_eq!(look(Fitness::Ready, opened - 1, 40), []);
            assert_eq!(look(open, opened, 40), []);
        }
        assert_eq!(look(Fitness::Ready, 8, 99), []);
        assert_eq!(kinds(&look(Fitness::Ready, 8, 100)), ["circuit.closed"]);
        assert_eq!(look(Fitness::Ready, 8, 100), []);
        // It opened and closed between two looks.
        assert_eq!(kinds(&look(Fitness::Ready, 9, 10)), ["circuit.open"]);
    }

    #[test]
    fn each_key_has_a_circuit_and_what_is_gone_is_forgotten() {
        let mut watched = Watched::default();
        let open = Fitness::Open(Duration::from_secs(9));
        let both = [report("a", open, 1, 100), report("b", open, 1, 100)];
        assert_eq!(watched.look_at_circuits(&both).len(), 2);
        assert_eq!(watched.look_at_circuits(&both[..1]), []);
        assert_eq!(watched.look_at_circuits(&[]), []);
        assert!(watched.circuits.is_empty());
    }

    #[test]
    fn a_full_queue_is_told_once_and_again_after_it_had_room() {
        let mut watched = Watched::default();
        let begin = Instant::now();
        let mut look = |second: u64, waiting, turned_away| {
            let line = Line {
                provider: "one".to_owned(),
                room: 3,
                waiting,
                turned_away,
            };
            let now = begin + Duration::from_secs(second);
            kinds(&watched.look_at_queues([line].into_iter(), now)).len()
        };
        // What was before the first look is not news.
        assert_eq!(look(0, 0, 7), 0);
        assert_eq!(look(2, 3, 8), 1);
        for second in 2..30 {
            assert_eq!(look(2 * second, 3, 6 + second), 0);
        }
        assert_eq!(look(100, 0, 35), 0);
        assert_eq!(look(160, 0, 35), 0);
        assert_eq!(look(162, 0, 36), 1);
        assert_eq!(look(300, 0, 36), 0);
        // Nobody is turned away, and yet nobody else would find a place.
        assert_eq!([look(302, 3, 36), look(308, 3, 36)], [0, 0]);
        assert_eq!([look(312, 3, 36), look(314, 3, 36)], [1, 0]);
    }
}
