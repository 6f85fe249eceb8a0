//! What active checks found out about peers.
//!
//! Owns the counting of successes and failures and what follows from it; who asks the peers stands
//! above. What is known of a peer outlives the configuration.

use std::collections::VecDeque;

use crate::conf::typed::health::HealthCheck;

/// So many changes of a peer are remembered.
const CHANGES: usize = 16;

/// What checks say of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Condition {
    /// Nothing: there are none, or none yet.
    #[default]
    Unchecked,
    /// It gets no request before it has passed.
    Checking,
    /// It works.
    Healthy,
    /// It does not.
    Unhealthy,
}

impl Condition {
    /// Does it keep requests away?
    pub fn is_out(self) -> bool {
        matches!(self, Self::Checking | Self::Unhealthy)
    }
}

/// What came out of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Did the peer pass?
    pub is_good: bool,
    /// In words: `200 in 3 ms`, `connection refused`.
    pub words: Box<str>,
    /// When, in milliseconds since 1970.
    pub at: u64,
}

/// What is known of a peer.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// What follows from it.
    pub condition: Condition,
    /// Since when, in milliseconds since 1970; 0 if it was never checked.
    pub since: u64,
    /// The last check.
    pub last: Option<Finding>,
    /// Checks so far.
    pub checks: u64,
    /// Of these, failed.
    pub failures: u64,
    /// How many came out like the last one, in a row.
    pub in_a_row: u32,
    /// What it was before, the newest first.
    pub changes: VecDeque<Change>,
}

/// A peer came into another condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// Into which.
    pub condition: Condition,
    /// What was found.
    pub words: Box<str>,
}

impl Record {
    /// Nothing is known of it yet.
    pub fn new(mandatory: bool) -> Self {
        Self {
            condition: match mandatory {
                true => Condition::Checking,
                false => Condition::Unchecked,
            },
            ..Self::default()
        }
    }

    /// Takes a finding in; `true` if the condition is another one now.
    pub fn note(&mut self, finding: Finding, check: &HealthCheck) -> bool {
        let is_same = (self.last.as_ref()).is_some_and(|last| last.is_good == finding.is_good);
        self.in_a_row = match is_same {
            true => self.in_a_row.saturating_add(1),
            false => 1,
        };
        self.checks += 1;
        self.failures += u64::from(!finding.is_good);
        let next = match (self.condition, finding.is_good) {
            // The first finding decides: there is nothing that it could outweigh.
            (Condition::Unchecked | Condition::Checking, true) => Condition::Healthy,
            (Condition::Checking, false) => Condition::Unhealthy,
            (Condition::Unhealthy, true) if self.in_a_row >= check.passes => Condition::Healthy,
            (Condition::Unchecked | Condition::Healthy, false) if self.in_a_row >= check.fails => {
                Condition::Unhealthy
            }
            (condition, _) => condition,
        };
        let has_changed = next != self.condition;
        if has_changed {
            self.condition = next;
            self.since = finding.at;
            self.changes.truncate(CHANGES - 1);
            self.changes.push_front(Change {
                at: finding.at,
                condition: next,
                words: finding.words.clone(),
            });
        }
        self.last = Some(finding);
        has_changed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::conf::source::Span;
    use crate::conf::typed::health::CheckKind;

    fn check(fails: u32, passes: u32) -> HealthCheck {
        HealthCheck {
            kind: CheckKind::Tcp,
            interval: Duration::from_secs(5),
            jitter: Duration::ZERO,
            timeout: Duration::from_secs(5),
            fails,
            passes,
            mandatory: false,
            port: None,
            keepalive: Duration::ZERO,
            span: Span::default(),
        }
    }

    fn conditions(mandatory: bool, check: &HealthCheck, findings: &str) -> String {
        let mut record = Record::new(mandatory);
        let mut at = 0;
        let letters = findings.chars().map(|letter| {
            at += 1;
            let finding = Finding {
                is_good: letter == '+',
                words: "".into(),
                at,
            };
            record.note(finding, check);
            match record.condition {
                Condition::Unchecked => '?',
                Condition::Checking => 'c',
                Condition::Healthy => 'h',
                Condition::Unhealthy => 'u',
            }
        });
        letters.collect()
    }

    #[test]
    fn failures_in_a_row_take_a_peer_out_and_successes_in_a_row_take_it_in() {
        let check = check(3, 2);
        assert_eq!(conditions(false, &check, "+--+---+-++-"), "hhhhhhuuuuhh");
        assert_eq!(conditions(false, &check, "--+"), "??h");
        assert_eq!(conditions(false, &check, "---"), "??u");
    }

    #[test]
    fn of_a_new_peer_the_first_check_decides_where_it_is_mandatory() {
        let check = check(3, 2);
        assert_eq!(conditions(true, &check, "+-"), "hh");
        assert_eq!(conditions(true, &check, "-++"), "uuh");
    }

    #[test]
    fn changes_are_remembered_the_newest_first_and_not_without_end() {
        let check = check(1, 1);
        let mut record = Record::new(false);
        for at in 1..100 {
            let finding = Finding {
                is_good: at % 2 == 0,
                words: at.to_string().into(),
                at,
            };
            record.note(finding, &check);
        }
        assert_eq!(record.changes.len(), CHANGES);
        assert_eq!(&*record.changes[0].words, "99");
        assert_eq!((record.checks, record.failures, record.since), (99, 50, 99));
    }
}
