//! Providers that cannot take what comes: circuits that open, and queues that are full.
//!
//! Invariants: what comes and goes all the time is told once. A circuit has closed for people only when its
//! calls have all come back, and a queue that was full is told of again only after it had room for a while.
//! One cause is told once: a provider of which nothing works is down, and nothing is said of its circuits;
//! one of which something works is not, and has circuits that are open.

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
use crate::upstream::circuit::Reason;

/// How often is looked.
const LOOK: Duration = Duration::from_secs(2);

/// How long after a circuit has opened.
const GATHER: Duration = Duration::from_millis(200);

/// A queue in which there was no room for so long is full, though nobody was turned away.
const FULL_FOR: Duration = Duration::from_secs(10);

/// A queue has room again when it had some for so long.
const ROOM_FOR: Duration = Duration::from_secs(60);

/// A provider is up again when it works for so long.
const UP_FOR: Duration = Duration::from_secs(3);

/// Whoever was asked so lately counts when it is said how a provider does.
const IN_USE_FOR: Duration = Duration::from_secs(10 * 60);

/// The same is not told again for so long, over a restart too.
const QUIET: Duration = Duration::from_secs(60);

/// Looks at circuits and queues, for ever.
pub(super) async fn watch(control: Arc<Control>) {
    let mut watched = Watched::default();
    loop {
        let turned = tokio::time::timeout(LOOK, standings().turned()).await;
        if turned.is_ok() {
            // One circuit opens after the other where a provider fails.
            tokio::time::sleep(GATHER).await;
        }
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
        let mut told = watched.look_at_circuits(&standings().report(now), now);
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
    providers: HashMap<Box<str>, Whole>,
    queues: HashMap<String, Full>,
}

/// A circuit.
#[derive(Debug, Default)]
struct Seen {
    opened: u64,
    asked: u64,
    /// When it was asked last.
    used: Option<Instant>,
    /// It has opened since its provider worked last.
    has_news: bool,
    is_told: bool,
}

/// A provider with all of its circuits.
#[derive(Debug, Default)]
struct Whole {
    /// A circuit in use is closed.
    works: bool,
    /// One is not,
    is_out: bool,
    /// for this reason,
    reason: Option<Reason>,
    /// and that is new.
    has_news: bool,
    /// That it is down was told last.
    is_down: bool,
    /// When it was told last.
    told: Option<Instant>,
    /// Since when it works again.
    since: Option<Instant>,
}

impl Whole {
    /// What is known of it from the last look.
    fn of(last: Option<&Self>) -> Self {
        let Some(last) = last else {
            return Self::default();
        };
        Self {
            is_down: last.is_down,
            told: last.told,
            since: last.since,
            ..Self::default()
        }
    }

    fn fails(&self) -> bool {
        self.is_out && !self.works
    }

    /// Has it failed as a whole, or come back? It is told how it stands, not how it changed: one that comes
    /// and goes all the time is down.
    fn look(&mut self, provider: &str, now: Instant) -> Option<Alert> {
        let rests = |since: Instant, time| now.saturating_duration_since(since) >= time;
        self.since = self.since.or(Some(now)).filter(|_| self.works);
        let is_due = self.told.is_none_or(|told| rests(told, QUIET));
        let fails = self.fails();
        let is_news = match self.is_down {
            false => fails && self.has_news && is_due,
            true => self.since.is_some_and(|since| rests(since, UP_FOR)),
        };
        if !is_news {
            return None;
        }
        self.is_down = fails;
        self.told = Some(now);
        let (kind, severity) = match fails {
            true => ("provider.down", Severity::Bad),
            false => ("provider.up", Severity::Good),
        };
        let text = match (fails, self.reason) {
            (true, Some(reason)) => format!("{provider} fails, and is not asked: {reason}"),
            (true, None) => format!("{provider} fails, and is not asked"),
            (false, _) => format!("{provider} answers again"),
        };
        Some(Alert {
            kind,
            subject: provider.to_owned(),
            severity,
            text,
            quiet: Duration::ZERO,
        })
    }
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
    fn look_at_circuits(&mut self, reports: &[Report], now: Instant) -> Vec<Alert> {
        let mut found = Vec::new();
        let mut circuits = HashMap::with_capacity(reports.len());
        let mut providers = HashMap::new();
        for report in reports {
            let name = [&report.provider, &report.key, &report.model].map(Box::clone);
            let mut circuit = self.circuits.remove(&name).unwrap_or_default();
            circuit.has_news |= report.opened > circuit.opened;
            circuit.opened = report.opened;
            if report.asked > circuit.asked {
                circuit.used = Some(now);
            }
            circuit.asked = report.asked;
            let is_used = |used| now.saturating_duration_since(used) < IN_USE_FOR;
            let is_out = !matches!(report.fitness, Fitness::Ready | Fitness::Cooling(_));
            let state = providers.entry(report.provider.clone());
            let state = state.or_insert_with(|| Whole::of(self.providers.get(&report.provider)));
            state.has_news |= circuit.has_news;
            state.works |= !is_out && circuit.used.is_some_and(is_used);
            state.is_out |= is_out;
            state.reason = report.reason.filter(|_| is_out).or(state.reason);
            circuits.insert(name, circuit);
        }
        for (provider, whole) in &mut providers {
            found.extend(whole.look(provider, now));
        }
        for report in reports {
            let name = [&report.provider, &report.key, &report.model].map(Box::clone);
            let whole = providers.get(&report.provider);
            let Some(circuit) = circuits.get_mut(&name) else {
                continue;
            };
            let is_open = matches!(report.fitness, Fitness::Open(_) | Fitness::Probing);
            // What is told of all of it is not told of each part, unless it is still so afterwards.
            if whole.is_some_and(|whole| whole.is_down || whole.fails()) {
                circuit.has_news = is_open;
                continue;
            }
            let has_news = std::mem::take(&mut circuit.has_news);
            if has_news && !circuit.is_told {
                circuit.is_told = true;
                found.push(told(report, true));
            } else if circuit.is_told && !has_news && !is_open && report.share >= 100 {
                circuit.is_told = false;
                found.push(told(report, false));
            }
        }
        // What nobody uses any more is forgotten.
        self.circuits = circuits;
        self.providers = providers;
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
                found.push(relieved(&line.provider));
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

fn relieved(provider: &str) -> Alert {
    Alert {
        kind: "queue.resolved",
        subject: provider.to_owned(),
        severity: Severity::Good,
        text: format!("the queue of the provider `{provider}` has had room for a while"),
        quiet: QUIET,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    /// One of the same provider that answers.
    fn working(key: &str) -> Report {
        Report {
            asked: 1,
            ..report(key, Fitness::Ready, 0, 100)
        }
    }

    fn kinds(alerts: &[Alert]) -> Vec<&str> {
        alerts.iter().map(|alert| alert.kind).collect()
    }

    #[test]
    fn a_circuit_that_flaps_is_told_once_until_it_has_all_of_its_calls_again() {
        let mut watched = Watched::default();
        let now = Instant::now();
        let open = Fitness::Open(Duration::from_secs(9));
        let mut look = |fitness, opened, share| {
            let works = working("env:OTHER");
            let one = report("env:KEY", fitness, opened, share);
            watched.look_at_circuits(&[works, one], now)
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
        let now = Instant::now();
        let works = working("c");
        let all = [works, report("a", open, 1, 100), report("b", open, 1, 100)];
        assert_eq!(watched.look_at_circuits(&all, now).len(), 2);
        assert_eq!(watched.look_at_circuits(&all[..2], now), []);
        assert_eq!(watched.look_at_circuits(&[], now), []);
        assert!(watched.circuits.is_empty() && watched.providers.is_empty());
    }

    #[test]
    fn a_provider_of_which_nothing_works_is_told_instead_of_its_circuits() {
        let mut watched = Watched::default();
        let begin = Instant::now();
        let open = Fitness::Open(Duration::from_secs(9));
        let mut look = |second: u64, [one, other]: [(Fitness, u64); 2]| -> Vec<String> {
            let now = begin + Duration::from_secs(second);
            // Both are asked between two looks.
            let asked = |name, (fitness, opened)| Report {
                asked: second + 1,
                ..report(name, fitness, opened, 100)
            };
            let reports = [asked("a", one), asked("b", other)];
            let told = watched.look_at_circuits(&reports, now).into_iter();
            told.map(|alert| format!("{} {}", alert.kind, alert.subject))
                .collect()
        };
        let nothing: [String; 0] = [];
        let up = (Fitness::Ready, 0);
        assert_eq!(look(0, [up, up]), nothing);
        assert_eq!(look(2, [(open, 1), (open, 1)]), ["provider.down one"]);
        assert_eq!(look(4, [(open, 1), (Fitness::Probing, 1)]), nothing);
        // One that comes and goes all the time is down.
        assert_eq!(look(6, [(open, 1), (Fitness::Ready, 1)]), nothing);
        assert_eq!(look(8, [(open, 1), (open, 2)]), nothing);
        // What still fails when the rest is up again is told by itself.
        let half = [(open, 1), (Fitness::Ready, 2)];
        assert_eq!(look(20, half), nothing);
        let circuit = "circuit.open one/say^[ with a";
        assert_eq!(look(24, half), ["provider.up one", circuit]);
        assert_eq!(look(26, half), nothing);
        // It is not told each minute more than once, and is told if it stays so.
        let none = [(open, 1), (open, 3)];
        assert_eq!(look(30, none), nothing);
        assert_eq!(look(60, none), nothing);
        assert_eq!(look(90, none), ["provider.down one"]);
        let all = [(Fitness::Ready, 1), (Fitness::Ready, 3)];
        assert_eq!(look(200, all), nothing);
        assert_eq!(
            look(204, all),
            ["provider.up one", "circuit.closed one/say^[ with a"]
        );
    }

    #[test]
    fn what_nobody_has_asked_for_long_does_not_count_as_working() {
        let mut watched = Watched::default();
        let begin = Instant::now();
        let mut idle = report("a", Fitness::Ready, 0, 100);
        idle.asked = 7;
        assert_eq!(watched.look_at_circuits(&[idle.clone()], begin), []);
        let open = report("b", Fitness::Open(Duration::from_secs(9)), 1, 100);
        let reports = [idle, open];
        let told = watched.look_at_circuits(&reports, begin + IN_USE_FOR);
        assert_eq!(kinds(&told), ["provider.down"]);
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
            let told = watched.look_at_queues([line].into_iter(), now);
            told.first().map(|alert| alert.kind)
        };
        let (full, over) = (Some("queue.saturated"), Some("queue.resolved"));
        // What was before the first look is not news.
        assert_eq!(look(0, 0, 7), None);
        assert_eq!(look(2, 3, 8), full);
        for second in 2..30 {
            assert_eq!(look(2 * second, 3, 6 + second), None);
        }
        assert_eq!(look(100, 0, 35), None);
        assert_eq!(look(160, 0, 35), over);
        assert_eq!(look(162, 0, 36), full);
        assert_eq!(look(300, 0, 36), over);
        // Nobody is turned away, and yet nobody else would find a place.
        assert_eq!([look(302, 3, 36), look(308, 3, 36)], [None, None]);
        assert_eq!([look(312, 3, 36), look(314, 3, 36)], [full, None]);
    }
}
