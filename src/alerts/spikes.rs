//! What is out of the ordinary in what keys, users, gateways and all together spend and use.
//!
//! Owns what is remembered of them: what was used in each [`WINDOW`] of the last seven days. Where it
//! is read, when, and who is told is not known here.
//!
//! What was used in the last window is a spike if it is more than all of
//! - a floor, which alone decides about who is new,
//! - the mean of the windows of the same hour of the days before and four times their deviation,
//! - three times what was usual lately (a moving average).
//!
//! Invariant: no more than `MOST` are remembered, and all together, however many names clients make
//! up. All that is used counts for the sum of all.

use std::collections::HashMap;

/// So long is looked at at once, in seconds.
pub const WINDOW: u64 = 600;

/// So many windows are remembered: seven days.
pub const REMEMBERED: u64 = 7 * DAY;

/// Windows of a day and of an hour.
const DAY: u64 = 86_400 / WINDOW;
const HOUR: u64 = 3_600 / WINDOW;

/// So many names are remembered.
const MOST: usize = 256;

/// How much the last window counts in what is usual, and how often that is too much.
const WEIGHT: f64 = 0.3;
const TIMES: f64 = 3.0;

/// How far from the mean of its hour something must be, in deviations.
const DEVIATIONS: f64 = 4.0;

/// Who uses something.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Cause {
    /// All together.
    Total,
    /// A key, by its name.
    Key(Box<str>),
    /// A user whom clients name.
    User(Box<str>),
    /// A gateway.
    Gateway(Box<str>),
}

/// What was used.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct Used {
    /// What it cost, in dollars.
    pub dollars: f64,
    /// Tokens in and out.
    pub tokens: f64,
}

impl Used {
    const fn both(self) -> [f64; 2] {
        [self.dollars, self.tokens]
    }
}

/// What came of a look.
#[derive(Clone, PartialEq, Debug)]
pub struct Finding {
    /// Who.
    pub cause: Cause,
    /// Is it more than usual, or as usual again?
    pub is_spike: bool,
    /// In dollars, or in tokens?
    pub is_money: bool,
    /// What was used in the last window.
    pub used: f64,
    /// What it must not exceed.
    pub limit: f64,
}

/// What is remembered.
#[derive(Default, Debug)]
pub struct Spikes {
    causes: HashMap<Cause, History>,
}

/// What somebody used.
#[derive(Default, Debug)]
struct History {
    /// The first window that is known.
    first: u64,
    /// The windows in which something was used, in order, of the last seven days.
    windows: Vec<(u64, Used)>,
    /// What is usual, and up to which window that is known.
    usual: Used,
    until: u64,
    /// Which of money and tokens are too much now.
    is_spike: [bool; 2],
}

impl Spikes {
    /// Takes what was used in a window that is over. Windows come in order.
    pub fn close(&mut self, window: u64, used: &HashMap<Cause, Used>) {
        for (cause, used) in used {
            let history = self.causes.entry(cause.clone()).or_insert(History {
                first: window,
                until: window,
                ..History::default()
            });
            history.settle(window);
            history.usual.dollars += WEIGHT * used.dollars;
            history.usual.tokens += WEIGHT * used.tokens;
            history.windows.push((window, *used));
        }
        for history in self.causes.values_mut() {
            (history.windows).retain(|(known, _)| known + REMEMBERED > window);
        }
        self.causes
            .retain(|_, history| !history.windows.is_empty() || history.is_spike != [false; 2]);
        if self.causes.len() > MOST {
            // All together stay, and of the others those who used something last.
            let mut lasts: Vec<u64> = self.causes.values().map(History::last).collect();
            lasts.sort_unstable_by(|one, other| other.cmp(one));
            let last = lasts[MOST - 1];
            let mut room = MOST - 1;
            self.causes.retain(|cause, history| {
                if *cause == Cause::Total {
                    return true;
                }
                let stays = history.last() >= last && room > 0;
                room -= usize::from(stays);
                stays
            });
        }
    }

    /// Looks at what was used in the window up to now, whose number is given: the findings that are
    /// new. A floor of 0 means that nothing of the kind is a spike.
    pub fn look(&mut self, window: u64, used: &HashMap<Cause, Used>, floors: Used) -> Vec<Finding> {
        let mut findings = Vec::new();
        let known = self.causes.keys().filter(|cause| !used.contains_key(cause));
        let known: Vec<Cause> = known.cloned().collect();
        let all = used.iter().map(|(cause, used)| (cause.clone(), *used));
        for (cause, used) in all.chain(known.into_iter().map(|cause| (cause, Used::default()))) {
            let has_room = self.causes.len() < MOST || self.causes.contains_key(&cause);
            if !has_room && cause != Cause::Total {
                continue;
            }
            let history = self.causes.entry(cause.clone()).or_insert(History {
                first: window,
                until: window,
                ..History::default()
            });
            history.settle(window);
            for kind in 0..2 {
                let (used, floor) = (used.both()[kind], floors.both()[kind]);
                let limit = history.limit(window, kind).max(floor);
                let is_spike = floor > 0.0 && used > limit;
                if is_spike != history.is_spike[kind] {
                    history.is_spike[kind] = is_spike;
                    findings.push(Finding {
                        cause: cause.clone(),
                        is_spike,
                        is_money: kind == 0,
                        used,
                        limit,
                    });
                }
            }
        }
        findings.sort_by(|one, other| one.cause.cmp(&other.cause));
        findings
    }
}

impl History {
    fn last(&self) -> u64 {
        self.windows
            .last()
            .map_or(self.until, |(window, _)| *window)
    }

    /// What is usual before a window: nothing was used in those that were not told.
    fn settle(&mut self, window: u64) {
        let gap = window.saturating_sub(self.until).min(REMEMBERED) as i32;
        let factor = (1.0 - WEIGHT).powi(gap);
        self.usual.dollars *= factor;
        self.usual.tokens *= factor;
        self.until = self.until.max(window);
    }

    /// What is as usual at most, but for the floor.
    fn limit(&self, window: u64, kind: usize) -> f64 {
        if window < self.first + HOUR {
            return 0.0;
        }
        let usual = TIMES * self.usual.both()[kind];
        let hour = |window: u64| window % DAY / HOUR;
        let today = window / DAY;
        // The days before on which it was known in this hour.
        let first = self.first.max(window.saturating_sub(REMEMBERED));
        let begins = |day: u64| day * DAY + hour(window) * HOUR >= first;
        let days = (first / DAY..today).filter(|day| begins(*day)).count();
        if days == 0 {
            return usual;
        }
        let same = (self.windows.iter()).filter(|(known, _)| {
            let day = known / DAY;
            hour(*known) == hour(window) && day < today && begins(day)
        });
        let count = (days as u64 * HOUR) as f64;
        let (mut sum, mut squares) = (0.0, 0.0);
        for (_, used) in same {
            let used = used.both()[kind];
            sum += used;
            squares += used * used;
        }
        let mean = sum / count;
        let deviation = (squares / count - mean * mean).max(0.0).sqrt();
        usual.max(mean + DEVIATIONS * deviation)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const FLOORS: Used = Used {
        dollars: 1.0,
        tokens: 0.0,
    };

    /// Ten minutes of less than this are nobody's worry in the weeks that are played.
    const WEEKS_FLOORS: Used = Used {
        dollars: 10.0,
        ..FLOORS
    };

    /// Numbers that look like chance and are the same each time (xorshift).
    struct Chance(u64);

    impl Chance {
        /// From 0 to 1.
        fn part(&mut self) -> f64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 11) as f64 / (1_u64 << 53) as f64
        }
    }

    /// Who uses how much in a minute on the average, in dollars.
    const USERS: [(&str, f64); 5] = [
        ("agent", 0.20),
        ("ci", 0.05),
        ("laptop", 0.02),
        ("night", 0.10),
        ("rare", 0.001),
    ];

    /// Minutes of a week, and what each used in it: more by day than by night, in calls of very
    /// different sizes.
    fn week(chance: &mut Chance) -> Vec<HashMap<Cause, f64>> {
        let minute = |minute: u64, chance: &mut Chance| {
            let hour = minute / 60 % 24;
            let mut used = HashMap::new();
            for (name, usual) in USERS {
                let is_awake = (8..22).contains(&hour) != (name == "night");
                let rate = if is_awake { 1.5 } else { 0.3 };
                // A minute has no call, one, or a few; most are small, few are large.
                let calls = (rate * 2.0 * chance.part()).round() as u32;
                let dollars: f64 = (0..calls)
                    .map(|_| usual * -chance.part().max(1e-9).ln())
                    .sum();
                used.insert(Cause::Key(name.into()), dollars);
            }
            used
        };
        (0..7 * 24 * 60)
            .map(|it| minute(it, chance))
            .collect::<Vec<_>>()
    }

    /// Begins with a week that nobody has seen, looks each minute, and tells the spikes that were
    /// found: the minute and who.
    fn replay(minutes: &[HashMap<Cause, f64>]) -> Vec<(usize, Cause)> {
        let mut spikes = Spikes::default();
        let mut found = Vec::new();
        let sums = |minutes: &[HashMap<Cause, f64>]| {
            let mut sums: HashMap<Cause, Used> = HashMap::new();
            for (cause, dollars) in minutes.iter().flatten() {
                sums.entry(cause.clone()).or_default().dollars += dollars;
                sums.entry(Cause::Total).or_default().dollars += dollars;
            }
            sums
        };
        let length = (WINDOW / 60) as usize;
        for now in (length..=minutes.len()).step_by(2) {
            let used = sums(&minutes[now - length..now]);
            let window = (now / length) as u64;
            if now % length == 0 {
                spikes.close(window - 1, &used);
            }
            let findings = spikes.look(window, &used, WEEKS_FLOORS);
            let new = findings.into_iter().filter(|finding| finding.is_spike);
            found.extend(new.map(|finding| (now, finding.cause)));
        }
        found
    }

    #[test]
    fn planted_spikes_of_a_week_are_found_and_a_week_without_has_hardly_an_alarm() {
        for seed in 1..=2 {
            let mut chance = Chance(0x9E37_79B9_7F4A_7C15 ^ (seed << 32));
            let control = week(&mut chance);
            // Once in an hour of a cause at most, as people are told.
            let mut alarms = replay(&control);
            alarms.dedup_by(|later, earlier| {
                later.1 == earlier.1 && later.0.abs_diff(earlier.0) < 60
            });
            assert!(alarms.len() <= 1, "seed {seed}: {alarms:?}");

            // Twenty in the six days after the first, each of ten minutes.
            let mut minutes = control;
            let mut planted = Vec::new();
            for number in 0..20 {
                let (name, usual) = USERS[number % USERS.len()];
                let at = 24 * 60 + number * 420 + (chance.part() * 300.0) as usize;
                let cause = Cause::Key(name.into());
                let more = (usual * 15.0).max(1.5);
                for minute in &mut minutes[at..at + 10] {
                    *minute.entry(cause.clone()).or_default() += more;
                }
                planted.push((at, cause));
            }
            let found = replay(&minutes);
            let is_found = |(at, cause): &&(usize, Cause)| {
                let mut of_it = found.iter().filter(|(_, found)| found == cause);
                of_it.any(|(now, _)| (*at..at + 20).contains(now))
            };
            let recall = planted.iter().filter(is_found).count();
            assert!(recall >= 19, "seed {seed}: {recall} of 20");
            let is_false = |(now, _): &&(usize, Cause)| {
                let mut near = planted.iter();
                !near.any(|(at, _)| (*at..at + 20).contains(now))
            };
            let falsely = found.iter().filter(is_false).count();
            assert!(falsely <= 1, "seed {seed}: {falsely} false alarms");
        }
    }

    fn of(name: &str, dollars: f64) -> HashMap<Cause, Used> {
        let used = Used {
            dollars,
            tokens: 0.0,
        };
        HashMap::from([(Cause::Key(name.into()), used)])
    }

    #[test]
    fn of_who_is_new_the_floor_alone_decides_and_what_is_over_is_told_once() {
        let mut spikes = Spikes::default();
        let mut told = Vec::new();
        for dollars in [0.9, 1.1, 1.2, 0.8, 0.7] {
            let findings = spikes.look(1000, &of("kid", dollars), FLOORS);
            told.push(findings.iter().map(|it| it.is_spike).collect::<Vec<_>>());
        }
        assert_eq!(told, [vec![], vec![true], vec![], vec![false], vec![]]);
        // Who uses nothing any more is as usual again, too.
        assert_eq!(spikes.look(1000, &of("kid", 5.0), FLOORS).len(), 1);
        let findings = spikes.look(1001, &HashMap::new(), FLOORS);
        assert_eq!(findings.len(), 1);
        assert!(!findings[0].is_spike);
        let floors = Used::default();
        assert_eq!(spikes.look(1001, &of("kid", 500.0), floors), []);
    }

    #[test]
    fn what_is_used_at_this_hour_every_day_is_no_spike() {
        let mut spikes = Spikes::default();
        for window in 0..6 * DAY {
            // A job in the first hour of each day, of five to seven dollars.
            let dollars = match window % DAY / HOUR {
                0 => 5.0 + (window % 3) as f64,
                _ => 0.0,
            };
            spikes.close(window, &of("job", dollars));
        }
        let window = 6 * DAY;
        assert_eq!(spikes.look(window, &of("job", 6.5), FLOORS), []);
        assert_eq!(spikes.look(window, &of("job", 30.0), FLOORS).len(), 1);
        let over = spikes.look(window, &of("job", 6.5), FLOORS);
        assert!(over.len() == 1 && !over[0].is_spike);
        // At another hour it is one.
        let afternoon = window + 12 * HOUR;
        assert_eq!(spikes.look(afternoon, &of("job", 6.5), FLOORS).len(), 1);
    }

    #[test]
    fn names_that_clients_make_up_are_not_all_remembered() {
        let mut spikes = Spikes::default();
        for window in 0..10 {
            let mut used: HashMap<Cause, Used> = HashMap::new();
            used.insert(Cause::Total, Used::default());
            for name in 0..1000 {
                let name = format!("{window}-{name}").into();
                used.insert(Cause::User(name), Used::default());
            }
            spikes.look(window, &used, FLOORS);
            spikes.close(window, &used);
            assert!(spikes.causes.len() <= MOST + 1);
            assert!(spikes.causes.contains_key(&Cause::Total));
        }
        let users: HashSet<_> = spikes.causes.keys().collect();
        assert!(
            users
                .iter()
                .any(|it| matches!(it, Cause::User(name) if name.starts_with("9-")))
        );
    }
}
