//! Too many failures: of what was asked of whom, and of what clients were told.
//!
//! Owns what counts as a failure and how calls are added up. Which calls, and who is told, is not
//! known here.

use std::collections::BTreeMap;

use crate::conf::typed::alerts::{ErrorRule, Failing};

/// A call that is over, as the ledger has it.
#[derive(Clone, Copy, Default, Debug)]
pub struct Ended<'a> {
    /// The name of its key; empty for none.
    pub key: &'a str,
    /// Who answered last; empty for nobody.
    pub provider: &'a str,
    /// The model that answered, or was asked for.
    pub model: &'a str,
    /// `ok`, or what became of it.
    pub outcome: &'a str,
    /// Who was asked, with what came of it: `openai/gpt-4o:503,other/gpt-4o:ok`.
    pub tried: &'a str,
}

/// How many there were, and how many of them failed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Sum {
    /// All.
    pub all: u64,
    /// Of these, what failed by another's fault than the client's.
    pub failed: u64,
}

impl Sum {
    /// Is that too many?
    pub fn exceeds(self, rule: &ErrorRule) -> bool {
        let is_many = rule.count.is_some_and(|count| self.failed >= count);
        let is_share = rule.share.is_some_and(|share| {
            let whole = self.all.saturating_mul(share.into());
            self.all >= rule.least && self.failed.saturating_mul(100) >= whole
        });
        self.failed > 0 && (is_many || is_share)
    }
}

/// What a rule has counted, by the names of who it tells apart; one without a name for all.
#[derive(Default, Debug)]
pub struct Tally(BTreeMap<Box<str>, Sum>);

impl Tally {
    /// Counts a call.
    pub fn add(&mut self, rule: &ErrorRule, call: &Ended<'_>) {
        if !rule.of_attempts {
            let last = || attempts(call.tried).last();
            let name = match rule.failing {
                Failing::All => "",
                Failing::Key => call.key,
                Failing::Provider if call.provider.is_empty() => {
                    last().map_or("", |attempt| attempt.provider)
                }
                Failing::Provider => call.provider,
                Failing::Model => call.model,
            };
            let has_failed = !matches!(call.outcome, "ok" | "client_abort");
            return self.count(rule, name, has_failed);
        }
        for attempt in attempts(call.tried) {
            let Some(has_failed) = has_failed(attempt.word) else {
                continue;
            };
            let name = match rule.failing {
                Failing::All => "",
                Failing::Key => call.key,
                Failing::Provider => attempt.provider,
                Failing::Model => attempt.model,
            };
            self.count(rule, name, has_failed);
        }
    }

    fn count(&mut self, rule: &ErrorRule, name: &str, has_failed: bool) {
        if name.is_empty() && rule.failing != Failing::All {
            return;
        }
        if !self.0.contains_key(name) {
            self.0.insert(name.into(), Sum::default());
        }
        if let Some(sum) = self.0.get_mut(name) {
            sum.all += 1;
            sum.failed += u64::from(has_failed);
        }
    }

    /// Those of whom there are too many.
    pub fn exceeding(&self, rule: &ErrorRule) -> impl Iterator<Item = (&str, Sum)> {
        let all = self.0.iter().map(|(name, sum)| (&**name, *sum));
        all.filter(|(_, sum)| sum.exceeds(rule))
    }
}

/// Somebody who was asked.
struct Attempt<'a> {
    provider: &'a str,
    model: &'a str,
    word: &'a str,
}

/// Those who were asked for a call, in order.
fn attempts(tried: &str) -> impl DoubleEndedIterator<Item = Attempt<'_>> {
    tried.split(',').filter_map(|part| {
        let (label, word) = part.rsplit_once(':')?;
        let label = label.split_once('#').map_or(label, |(label, _)| label);
        let (provider, model) = label.split_once('/').unwrap_or((label, ""));
        Some(Attempt {
            provider,
            model,
            word,
        })
    })
}

/// Has one failed who was asked? `None` if nobody was asked, or what was asked was to blame.
fn has_failed(word: &str) -> Option<bool> {
    match (word, word.parse::<u16>()) {
        ("ok", _) => Some(false),
        // It was not its turn, it cannot do what was asked, or its answer was kept.
        ("ready" | "probing" | "open" | "cooling" | "refused" | "busy", _)
        | ("no-retry" | "unsupported" | "hit", _) => None,
        (_, Ok(401..=403 | 408 | 429)) => Some(true),
        (_, Ok(..500)) => None,
        _ => Some(true),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn rule(failing: Failing, of_attempts: bool) -> ErrorRule {
        ErrorRule {
            failing,
            of_attempts,
            count: None,
            share: Some(50),
            least: 4,
            within: Duration::from_secs(300),
        }
    }

    fn sums(rule: &ErrorRule, calls: &[Ended<'_>]) -> Vec<(String, u64, u64)> {
        let mut tally = Tally::default();
        for call in calls {
            tally.add(rule, call);
        }
        let sums = tally.0.iter();
        sums.map(|(name, sum)| (name.to_string(), sum.all, sum.failed))
            .collect()
    }

    #[test]
    fn attempts_count_apart_from_what_clients_were_told() {
        let saved = Ended {
            key: "ci",
            provider: "two",
            model: "gpt",
            outcome: "ok",
            tried: "one/gpt#2:503,three/gpt:open,two/org/gpt:8b:ok",
        };
        let lost = Ended {
            provider: "",
            outcome: "timeout",
            tried: "one/gpt:connect,two/gpt:429",
            ..saved
        };
        let blamed = Ended {
            provider: "one",
            outcome: "client_abort",
            tried: "one/gpt:400",
            ..saved
        };
        let calls = [saved, lost, blamed];
        let of = |failing, of_attempts| sums(&rule(failing, of_attempts), &calls);
        let row = |name: &str, all, failed| (name.to_owned(), all, failed);
        assert_eq!(of(Failing::All, false), [row("", 3, 1)]);
        assert_eq!(of(Failing::All, true), [row("", 4, 3)]);
        let told = [row("one", 1, 0), row("two", 2, 1)];
        assert_eq!(of(Failing::Provider, false), told);
        let asked = [row("one", 2, 2), row("two", 2, 1)];
        assert_eq!(of(Failing::Provider, true), asked);
        let asked = [row("gpt", 3, 3), row("org/gpt:8b", 1, 0)];
        assert_eq!(of(Failing::Model, true), asked);
        assert_eq!(of(Failing::Key, false), [row("ci", 3, 1)]);
    }

    #[test]
    fn an_answer_that_was_kept_is_nobody_s_failure() {
        let kept = Ended {
            provider: "one",
            outcome: "ok",
            tried: "cache:hit",
            ..Ended::default()
        };
        assert_eq!(sums(&rule(Failing::All, true), &[kept]), []);
        let told = [("one".to_owned(), 1, 0)];
        assert_eq!(sums(&rule(Failing::Provider, false), &[kept]), told);
    }

    #[test]
    fn too_many_is_a_number_or_a_part_of_enough() {
        let share = rule(Failing::All, false);
        let sum = |all, failed| Sum { all, failed };
        assert!(!sum(3, 3).exceeds(&share));
        assert!(sum(4, 2).exceeds(&share) && !sum(5, 2).exceeds(&share));
        let count = ErrorRule {
            count: Some(3),
            share: None,
            ..share
        };
        assert!(sum(900, 3).exceeds(&count) && !sum(3, 2).exceeds(&count));
    }
}
