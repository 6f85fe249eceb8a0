//! What is looked at from time to time: budgets, keys, failures, and what is used.
//!
//! Failures and what is used are read from the ledger, by the times of calls, of which there is an
//! index. Invariant: one look reads at most [`MOST`] calls, however many there are.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::{Control, revisions};
use crate::alerts::failures::{Ended, Tally};
use crate::alerts::spikes::{self, Cause, Finding, Spikes, Used};
use crate::alerts::{self, Alert, Severity};
use crate::conf::typed::alerts::{ErrorRule, Failing, SpikeFloor};
use crate::llm::account::{Account, Moment};
use crate::llm::books::books;
use crate::protocol::FullestBudget;
use crate::store::{BilledCalls, Reader, StoreError};
use crate::unit;
use crate::unit::printable::escape;

/// The parts of a budget, in hundredths, of which is told that they are spent.
const MARKS: [i128; 4] = [50, 80, 95, 100];

/// How often budgets are looked at, and how often keys are in between.
const LOOK: Duration = Duration::from_secs(2);
const LOOKS_BETWEEN: u32 = 15;

/// How often failures are counted, and what is used.
const COUNT: Duration = Duration::from_secs(10);

/// Of a key that ends is told so long before.
const EXPIRES_SOON: u64 = 7 * 86_400_000_000;

/// Calls that a look reads at most, the newest.
const MOST: u32 = 50_000;

/// One cause is told so often at most.
const QUIET: Duration = Duration::from_secs(3600);

/// A window of what is used, in microseconds, and how long calls that began in it may take to count.
const WINDOW: u64 = spikes::WINDOW * 1_000_000;
const LATE: u64 = 60_000_000;

/// Of so long, in microseconds, the bills of providers are compared with our prices; by what part of
/// the larger sum they may differ, and by how many dollars in any case.
const BILLS: u64 = 3_600_000_000;
const TOLERANCE: f64 = 0.05;
const LEAST_GAP: f64 = 0.01;

/// So many windows that are over are read at a time.
const AT_ONCE: u64 = 144;

/// Budgets of which a mark was reached: by whose they are and which, the start of the window and the
/// mark.
type Reached = HashMap<(String, usize), (u64, i128)>;

/// The budget of which the greatest part is spent, as it was at the last look.
static FULLEST: Mutex<Option<FullestBudget>> = Mutex::new(None);

/// The budget of which the greatest part was spent a moment ago; `None` if there is none with a limit.
pub fn fullest_budget() -> Option<FullestBudget> {
    FULLEST.lock().clone()
}

/// Looks at budgets and keys, for ever.
pub(super) async fn budgets_and_keys() {
    let mut reached = Reached::new();
    let mut looks = 0_u32;
    loop {
        tokio::time::sleep(LOOK).await;
        if !books().are_open() {
            continue;
        }
        let now = Moment::now();
        look_at_budgets(&mut reached, now);
        if looks.is_multiple_of(LOOKS_BETWEEN) {
            look_at_keys(now);
        }
        looks = looks.wrapping_add(1);
    }
}

fn look_at_budgets(reached: &mut Reached, now: Moment) {
    let mut fullest = None;
    for key in books().keys().all() {
        let name = key.row.name.as_str();
        let whose = ("key", name);
        look_at_budget(
            reached,
            &mut fullest,
            name.to_owned(),
            whose,
            &key.account,
            now,
        );
    }
    for (scope, name, account) in books().shared_budgets() {
        // No key has a blank in its name.
        let whose = format!("{} {name}", scope.word());
        let known = (scope.word(), &*name);
        look_at_budget(reached, &mut fullest, whose, known, &account, now);
    }
    *FULLEST.lock() = fullest.map(|(_, budget)| budget);
}

fn look_at_budget(
    reached: &mut Reached,
    fullest: &mut Option<(i128, FullestBudget)>,
    whose: String,
    (scope, name): (&str, &str),
    account: &Account,
    now: Moment,
) {
    if !account.has_budget() {
        return;
    }
    let starts = account.window_starts(now);
    for (place, budget) in account.standing(now).budgets.iter().enumerate() {
        let Some(limit) = budget.limit.filter(|limit| limit.pico() > 0) else {
            continue;
        };
        let share = i128::from(budget.spent.pico()) * 100 / i128::from(limit.pico());
        // In hundredths of hundredths: small parts differ, too.
        let part = i128::from(budget.spent.pico()) * 10_000 / i128::from(limit.pico());
        if fullest.as_ref().is_none_or(|(most, _)| part > *most) {
            let budget = FullestBudget {
                whose: format!("{scope} {name}"),
                period: budget.period.word().to_owned(),
                spent: budget.spent.to_string(),
                limit: limit.to_string(),
            };
            *fullest = Some((part, budget));
        }
        let mark = MARKS.into_iter().rev().find(|mark| share >= *mark);
        let known = reached
            .entry((whose.clone(), place))
            .or_insert((starts[place], 0));
        if known.0 != starts[place] {
            *known = (starts[place], 0);
        }
        let Some(mark) = mark.filter(|mark| *mark > known.1) else {
            continue;
        };
        known.1 = mark;
        let phrase = budget.period.phrase();
        alerts::raise(Alert {
            kind: match mark {
                100 => "budget.exceeded",
                _ => "budget.threshold",
            },
            subject: format!("{whose} {mark} % {}", budget.period.word()),
            severity: if mark == 100 {
                Severity::Bad
            } else {
                Severity::Warn
            },
            text: format!(
                "the {scope} `{name}` has spent ${} of ${limit} {phrase}, {share} %",
                budget.spent
            ),
            // Once in its window, over a restart too.
            quiet: Duration::from_micros(now.unix.saturating_sub(starts[place])),
        });
    }
}

fn look_at_keys(now: Moment) {
    for key in books().keys().all() {
        if key.row.is_revoked {
            continue;
        }
        let usable = key.secrets.iter().filter(|secret| {
            secret.revoked.is_none() && secret.expires.is_none_or(|expires| expires > now.unix)
        });
        // The one that lasts longest counts: the others are being replaced.
        let last = usable
            .map(|secret| secret.expires.unwrap_or(u64::MAX))
            .max();
        let Some(last) = last.filter(|last| *last < now.unix.saturating_add(EXPIRES_SOON)) else {
            continue;
        };
        let hours = (last - now.unix) / 3_600_000_000;
        alerts::raise(Alert {
            kind: "key.expiring",
            subject: key.row.name.clone(),
            severity: Severity::Warn,
            text: format!("the key `{}` ends in {hours} hours", key.row.name),
            quiet: Duration::from_secs(2 * 86_400),
        });
    }
}

/// Counts failures, for ever.
pub(super) async fn failures(control: Arc<Control>) {
    loop {
        tokio::time::sleep(COUNT).await;
        let rules = {
            let in_force = control.desk.in_force();
            in_force.generation.http.alerts.errors.clone()
        };
        let longest = rules.iter().map(|rule| rule.within).max();
        let Some(longest) = longest.filter(|_| books().are_open()) else {
            continue;
        };
        let now = Moment::now().unix;
        let ago = move |time: Duration| now.saturating_sub(time.as_micros() as u64);
        let names = key_names();
        let read = revisions::read(&control, move |reader| {
            let mut tallies: Vec<Tally> = rules.iter().map(|_| Tally::default()).collect();
            reader.ended_calls(ago(longest), MOST, |call| {
                let ended = Ended {
                    key: names.get(&call.key).map_or("", String::as_str),
                    provider: call.provider,
                    model: call.model,
                    outcome: call.outcome,
                    tried: call.tried,
                };
                for (tally, rule) in tallies.iter_mut().zip(&rules) {
                    if call.id >= ago(rule.within) {
                        tally.add(rule, &ended);
                    }
                }
            })?;
            Ok((rules, tallies))
        });
        let Ok((rules, tallies)) = read.await else {
            continue;
        };
        for (rule, tally) in rules.iter().zip(&tallies) {
            for (name, sum) in tally.exceeding(rule) {
                tell_failures(rule, name, sum.failed, sum.all);
            }
        }
    }
}

fn tell_failures(rule: &ErrorRule, name: &str, failed: u64, all: u64) {
    let what = if rule.of_attempts {
        "attempts"
    } else {
        "calls"
    };
    let (subject, whose) = match rule.failing {
        Failing::All => (what.to_owned(), "of language models".to_owned()),
        Failing::Provider => (
            format!("provider {name}"),
            format!("at the provider `{name}`"),
        ),
        Failing::Model => (format!("model {name}"), format!("of the model `{name}`")),
        Failing::Key => (format!("key {name}"), format!("of the key `{name}`")),
    };
    let subject = match rule.failing {
        Failing::All => subject,
        _ => format!("{subject} {what}"),
    };
    let within = unit::time::print(rule.within);
    alerts::raise(Alert {
        kind: "errors.threshold",
        subject,
        severity: Severity::Bad,
        text: format!("{failed} of {all} {what} {whose} failed within {within}"),
        quiet: QUIET,
    });
}

/// Compares what providers say that calls cost with what they cost by our prices, for ever.
pub(super) async fn bills(control: Arc<Control>) {
    loop {
        tokio::time::sleep(COUNT).await;
        // Who tells nobody needs not look.
        let has_receivers = !super::receivers(&control).is_empty();
        if !has_receivers || !books().are_open() {
            continue;
        }
        let since = Moment::now().unix.saturating_sub(BILLS);
        let read = revisions::read(&control, move |reader| reader.billed_calls(since, MOST));
        for calls in read.await.unwrap_or_default() {
            if let Some(text) = gap(&calls) {
                alerts::raise(Alert {
                    kind: "ledger.reconcile_gap",
                    subject: format!("{}/{}", calls.provider, calls.model),
                    severity: Severity::Warn,
                    text,
                    quiet: Duration::from_secs(24 * 3600),
                });
            }
        }
    }
}

/// What is to be told of a difference between a provider's bill and our prices, if it is one.
fn gap(calls: &BilledCalls) -> Option<String> {
    let difference = (calls.billed - calls.cost).abs();
    if difference < LEAST_GAP || difference < calls.billed.max(calls.cost) * TOLERANCE {
        return None;
    }
    Some(format!(
        "`{}/{}` billed ${:.4} within the last hour for what costs ${:.4} by our prices; what is \
         billed counts, `llm_price` corrects ours",
        calls.provider, calls.model, calls.billed, calls.cost
    ))
}

/// The names of keys by their numbers.
fn key_names() -> HashMap<u64, String> {
    let keys = books().keys();
    let names = keys
        .all()
        .iter()
        .map(|key| (key.row.id, key.row.name.clone()));
    names.collect()
}

/// Looks for what is out of the ordinary in what is used, for ever.
pub(super) async fn spikes(control: Arc<Control>) {
    let mut known: Option<(Spikes, u64)> = None;
    // Of whom it was told when, so that the end of what was not told is not told either.
    let mut told: HashMap<(Cause, bool), u64> = HashMap::new();
    loop {
        tokio::time::sleep(COUNT).await;
        let floor = {
            let in_force = control.desk.in_force();
            in_force.generation.http.alerts.spike
        };
        let Some(floor) = floor.filter(|_| books().are_open()) else {
            known = None;
            continue;
        };
        let floors = Used {
            dollars: floor.money.pico() as f64 / 1e12,
            tokens: floor.tokens as f64,
            ..Used::default()
        };
        let now = Moment::now().unix;
        // Windows from this one on may have calls that still run.
        let open = now.saturating_sub(LATE) / WINDOW;
        let (mut spikes, mut next) = known.take().unwrap_or_else(|| {
            let first = open.saturating_sub(spikes::REMEMBERED);
            (Spikes::default(), first)
        });
        let names = Arc::new(key_names());
        while next < open {
            let (first, end) = (next, open.min(next + AT_ONCE));
            let names = Arc::clone(&names);
            let read = revisions::read(&control, move |reader| {
                let windows = (first..end).map(|window| {
                    let (from, until) = (window * WINDOW, (window + 1) * WINDOW);
                    used(reader, from, until, &names)
                });
                windows.collect::<Result<Vec<_>, _>>()
            });
            let Ok(windows) = read.await else { break };
            for (window, used) in (first..).zip(&windows) {
                spikes.close(window, used, floors);
            }
            next = end;
        }
        // What could not be read is not judged by.
        if next >= open {
            let read = revisions::read(&control, move |reader| {
                used(reader, now.saturating_sub(WINDOW), u64::MAX, &names)
            });
            if let Ok(used) = read.await {
                for finding in spikes.look(now / WINDOW, &used, floors) {
                    tell_spike(&mut told, &finding, floor, now);
                }
            }
        }
        known = Some((spikes, next));
    }
}

/// What each key, user and gateway, and all together, used from one time on and before another.
fn used(
    reader: &Reader,
    from: u64,
    until: u64,
    names: &HashMap<u64, String>,
) -> Result<HashMap<Cause, Used>, StoreError> {
    let mut sums: HashMap<Cause, Used> = HashMap::new();
    for usage in reader.usage(from, until, MOST)? {
        let key = names.get(&usage.key).map_or("", String::as_str);
        // A call that names no gateway has that of its key's name: it is told of once.
        let is_gateway = !usage.gateway.is_empty() && usage.gateway != key;
        let causes = [
            Some(Cause::Total),
            (!key.is_empty()).then(|| Cause::Key(key.into())),
            (!usage.user.is_empty()).then(|| Cause::User(escape(&usage.user).into())),
            is_gateway.then(|| Cause::Gateway(escape(&usage.gateway).into())),
        ];
        for cause in causes.into_iter().flatten() {
            sums.entry(cause).or_default().add(&Used {
                dollars: usage.dollars,
                tokens: usage.tokens,
                largest_dollars: usage.largest_dollars,
                largest_tokens: usage.largest_tokens,
            });
        }
    }
    Ok(sums)
}

fn tell_spike(
    told: &mut HashMap<(Cause, bool), u64>,
    finding: &Finding,
    floor: SpikeFloor,
    now: u64,
) {
    let cause = (finding.cause.clone(), finding.is_money);
    let is_quiet = |at: &u64| now.saturating_sub(*at) < QUIET.as_micros() as u64;
    let (whose, subject) = match &finding.cause {
        Cause::Total => ("all together".to_owned(), "total".to_owned()),
        Cause::Key(name) => (format!("the key `{name}`"), format!("key {name}")),
        Cause::User(name) => (format!("the user `{name}`"), format!("user {name}")),
        Cause::Gateway(name) => (format!("the gateway `{name}`"), format!("gateway {name}")),
    };
    let amount = |amount: f64| match finding.is_money {
        true => format!("${amount:.2}"),
        false => format!("{amount:.0} tokens"),
    };
    let subject = match finding.is_money {
        true => subject,
        false => format!("{subject} tokens"),
    };
    let (used, limit) = (amount(finding.used), amount(finding.limit));
    let alert = if finding.is_spike {
        if told.get(&cause).is_some_and(is_quiet) {
            return;
        }
        told.retain(|_, at| is_quiet(at));
        told.insert(cause, now);
        let is_floor = match finding.is_money {
            true => finding.limit <= floor.money.pico() as f64 / 1e12,
            false => finding.limit <= floor.tokens as f64,
        };
        let than = if is_floor {
            "the floor of"
        } else {
            "the usual, up to"
        };
        Alert {
            kind: "spend.spike",
            subject,
            severity: Severity::Bad,
            text: format!("{whose} used {used} in ten minutes, more than {than} {limit}"),
            quiet: QUIET,
        }
    } else {
        if !told.contains_key(&cause) {
            return;
        }
        Alert {
            kind: "spend.resolved",
            subject,
            severity: Severity::Good,
            text: format!("{whose} used {used} in ten minutes: no more than usual again"),
            quiet: Duration::ZERO,
        }
    };
    alerts::raise(alert);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bill_may_differ_by_a_cent_or_a_twentieth() {
        let told = |cost: f64, billed: f64| {
            let calls = BilledCalls {
                provider: "one".to_owned(),
                model: "say".to_owned(),
                calls: 3,
                cost,
                billed,
            };
            gap(&calls).is_some()
        };
        let cases = [
            (1.0, 1.0, false),
            (1.0, 1.04, false),
            (1.0, 1.06, true),
            (1.06, 1.0, true),
            (0.0, 0.009, false),
            (0.0, 0.02, true),
        ];
        for (cost, billed, is_gap) in cases {
            assert_eq!(told(cost, billed), is_gap, "{cost} {billed}");
        }
    }
}
