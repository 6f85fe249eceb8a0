//! Who pays: what is held before a call leaves, and settled when it has ended.
//!
//! There is one [`Account`] for each key of the process, and one for each group, gateway and model
//! that has limits. A call is held at all that it concerns or at none: they are locked together,
//! always in the same order, for some hundred nanoseconds. So no two calls see the same room, and
//! none is refused because of one that is refused itself.
//!
//! The invariant: a [`Hold`] is given back exactly once, on every path. Whoever forgets it, in a panic
//! or because the client is gone, has used all that was held.

use std::num::NonZeroU64;
use std::sync::Arc;

use jiff::tz::TimeZone;
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;

use super::budget::{self, Budgets, Standing};
use super::limit::{Rate, RateStanding};
use super::refusal::{Refusal, Scarce, Scope};
use crate::unit::clock;
use crate::unit::money::Money;

/// What a key, a group, a gateway or a model may use.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Limits {
    /// Calls in a minute.
    pub rpm: Option<NonZeroU64>,
    /// Tokens in a minute, in and out together.
    pub tpm: Option<NonZeroU64>,
    /// Calls at once.
    pub concurrency: Option<NonZeroU64>,
}

/// Now, by the clock on the wall for calendars, and by one that never goes back for rates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    /// Microseconds since 1970.
    pub unix: u64,
    /// Milliseconds since some moment of the process.
    pub milliseconds: u64,
}

impl Moment {
    /// The time of the thread.
    #[must_use]
    pub fn now() -> Self {
        Self {
            unix: clock::unix().as_micros() as u64,
            milliseconds: clock::milliseconds(),
        }
    }
}

/// What a call may use at most.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Demand {
    /// What it may cost; nothing if its price is not known.
    pub cost: Money,
    /// Tokens in and out.
    pub tokens: u64,
    /// Its answer is kept: whoever has spent all may have it, for it costs nothing.
    pub is_kept: bool,
}

/// What is used, held and allowed.
#[derive(Debug)]
pub struct Account {
    scope: Scope,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limits: Limits,
    requests: Option<Rate>,
    tokens: Option<Rate>,
    running: u64,
    budgets: Budgets,
}

/// How an account stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AccountStanding {
    /// Calls in a minute.
    pub requests: Option<RateStanding>,
    /// Tokens in a minute.
    pub tokens: Option<RateStanding>,
    /// Calls under way.
    pub running: u64,
    /// Budgets.
    pub budgets: [Standing; 4],
}

impl Account {
    /// An account without budgets, of which nothing is used.
    #[must_use]
    pub fn new(scope: Scope, limits: Limits, now: Moment) -> Self {
        Self::with_budgets(scope, limits, [None; 4], TimeZone::UTC, now)
    }

    /// An account with budgets, which follow the calendar of a zone.
    #[must_use]
    pub fn with_budgets(
        scope: Scope,
        limits: Limits,
        budgets: [Option<Money>; 4],
        zone: TimeZone,
        now: Moment,
    ) -> Self {
        let mut state = State {
            limits: Limits::default(),
            requests: None,
            tokens: None,
            running: 0,
            budgets: Budgets::new(budgets, zone),
        };
        state.set_limits(limits, now);
        Self {
            scope,
            state: Mutex::new(state),
        }
    }

    /// Other limits from now on; what is used stays used.
    pub fn set_limits(&self, limits: Limits, now: Moment) {
        self.state.lock().set_limits(limits, now);
    }

    /// Other budgets from now on; what is spent stays spent.
    pub fn set_budgets(&self, budgets: [Option<Money>; 4]) {
        self.state.lock().budgets.set_limits(budgets);
    }

    /// May it spend only so much?
    #[must_use]
    pub fn has_budget(&self) -> bool {
        self.state.lock().budgets.are_bounded()
    }

    /// How much of the budget is spent that is spent most, in percent; `None` without budgets.
    pub fn budget_used(&self, now: Moment) -> Option<u64> {
        let standing = {
            let mut state = self.state.lock();
            if !state.budgets.are_bounded() {
                return None;
            }
            state.budgets.standing(now.unix)
        };
        let used = standing.into_iter().filter_map(|budget| {
            let limit = budget.limit?;
            let spent = i128::from(budget.spent.pico().max(0)) * 100;
            // Nothing of nothing is all of it.
            let percent = spent.checked_div(i128::from(limit.pico())).unwrap_or(100);
            Some(u64::try_from(percent).unwrap_or(100))
        });
        used.max()
    }

    /// When the windows of its budgets begin: from there on the ledger tells what was spent.
    pub fn window_starts(&self, now: Moment) -> budget::Hold {
        self.state.lock().budgets.starts(now.unix)
    }

    /// Says what was spent in each window before the program started.
    pub fn set_spent(&self, now: Moment, spent: [Money; 4]) {
        self.state.lock().budgets.set_spent(now.unix, spent);
    }

    /// Adds what was spent in each window before it was an account.
    pub fn add_spent(&self, now: Moment, spent: [Money; 4]) {
        self.state.lock().budgets.add_spent(now.unix, spent);
    }

    /// Does it follow the calendar of this zone?
    #[must_use]
    pub fn is_of_zone(&self, zone: &TimeZone) -> bool {
        self.state.lock().budgets.zone() == zone
    }

    /// How it stands.
    pub fn standing(&self, now: Moment) -> AccountStanding {
        self.state.lock().standing(now)
    }
}

impl State {
    fn set_limits(&mut self, limits: Limits, now: Moment) {
        let adjusted = |rate: Option<Rate>, limit: Option<NonZeroU64>| {
            let limit = limit?;
            Some(match rate {
                Some(rate) => rate.with_limit(limit, now.milliseconds),
                None => Rate::new(limit, now.milliseconds),
            })
        };
        self.requests = adjusted(self.requests, limits.rpm);
        self.tokens = adjusted(self.tokens, limits.tpm);
        self.limits = limits;
    }

    fn check(&mut self, scope: Scope, demand: Demand, now: Moment) -> Result<(), Refusal> {
        if let Some(limit) = self.limits.concurrency
            && self.running >= limit.get()
        {
            return Err(Refusal::Rate {
                what: Scarce::Concurrency,
                scope,
                limit: limit.get(),
                wait: None,
            });
        }
        for (what, rate, count) in [
            (Scarce::Requests, &mut self.requests, 1),
            (Scarce::Tokens, &mut self.tokens, demand.tokens),
        ] {
            let Some(rate) = rate else {
                continue;
            };
            if let Some(wait) = rate.wait(now.milliseconds, count) {
                return Err(Refusal::Rate {
                    what,
                    scope,
                    limit: rate.limit(),
                    wait: Some(wait),
                });
            }
        }
        match demand.is_kept {
            true => Ok(()),
            false => self.budgets.check(now.unix, demand.cost),
        }
    }

    fn standing(&mut self, now: Moment) -> AccountStanding {
        let rate = |rate: &mut Option<Rate>| {
            let rate = rate.as_mut()?;
            Some(rate.standing(now.milliseconds))
        };
        AccountStanding {
            requests: rate(&mut self.requests),
            tokens: rate(&mut self.tokens),
            running: self.running,
            budgets: self.budgets.standing(now.unix),
        }
    }
}

/// The accounts that a call concerns: its key's first, then others by [`Scope`], one of each.
pub type Accounts = SmallVec<[Arc<Account>; 4]>;

/// What is held for a call that is under way.
#[derive(Debug)]
#[must_use = "what is held is settled as used when this is dropped"]
pub struct Hold {
    parts: SmallVec<[Part; 4]>,
    demand: Demand,
    is_settled: bool,
}

#[derive(Debug)]
struct Part {
    account: Arc<Account>,
    tokens: u64,
    budgets: budget::Hold,
}

impl Hold {
    /// Holds what a call may use at all accounts that it concerns, or at none.
    ///
    /// # Errors
    ///
    /// The first account, in their order, that has no room.
    pub fn take(mut accounts: Accounts, demand: Demand, now: Moment) -> Result<Self, Refusal> {
        // Always locked in the same order. One twice would wait for itself.
        accounts.sort_by_key(|account| account.scope);
        accounts.dedup_by(|one, other| Arc::ptr_eq(one, other));
        let mut locked: SmallVec<[MutexGuard<'_, State>; 4]> = accounts
            .iter()
            .map(|account| account.state.lock())
            .collect();
        for (state, account) in locked.iter_mut().zip(&accounts) {
            state.check(account.scope, demand, now)?;
        }
        let held: SmallVec<[(u64, budget::Hold); 4]> = locked
            .iter_mut()
            .map(|state| {
                state.running += 1;
                if let Some(requests) = &mut state.requests {
                    requests.take(1);
                }
                let tokens = state.tokens.as_mut();
                let tokens = tokens.map_or(0, |tokens| tokens.take(demand.tokens));
                (tokens, state.budgets.hold(demand.cost))
            })
            .collect();
        drop(locked);
        let parts = accounts.into_iter().zip(held);
        Ok(Self {
            parts: parts
                .map(|(account, (tokens, budgets))| Part {
                    account,
                    tokens,
                    budgets,
                })
                .collect(),
            demand,
            is_settled: false,
        })
    }

    /// What it holds.
    #[must_use]
    pub const fn demand(&self) -> Demand {
        self.demand
    }

    /// Does any of its accounts have a budget?
    #[must_use]
    pub fn is_of_budget(&self) -> bool {
        self.parts.iter().any(|part| part.account.has_budget())
    }

    /// The call has ended and has used this.
    pub fn settle(mut self, used: Demand, now: Moment) {
        self.give_back(used, 1, now);
    }

    /// The call has not left: it has used nothing.
    pub fn cancel(mut self, now: Moment) {
        self.give_back(Demand::default(), 0, now);
    }

    /// The least that is left of calls and tokens a minute at any of its accounts: what the client is
    /// told in `x-ratelimit-…`.
    #[must_use]
    pub fn rates(&self, now: Moment) -> (Option<RateStanding>, Option<RateStanding>) {
        let (mut requests, mut tokens) = (None, None);
        for part in &self.parts {
            let standing = part.account.standing(now);
            requests = lesser(requests, standing.requests);
            tokens = lesser(tokens, standing.tokens);
        }
        (requests, tokens)
    }

    fn give_back(&mut self, used: Demand, calls: u64, now: Moment) {
        if std::mem::replace(&mut self.is_settled, true) {
            return;
        }
        for part in &self.parts {
            let state = &mut *part.account.state.lock();
            state.running = state.running.saturating_sub(1);
            if let Some(requests) = &mut state.requests {
                requests.settle(now.milliseconds, 1, calls);
            }
            if let Some(tokens) = &mut state.tokens {
                tokens.settle(now.milliseconds, part.tokens, used.tokens);
            }
            state
                .budgets
                .settle(&part.budgets, self.demand.cost, used.cost);
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.give_back(self.demand, 1, Moment::now());
    }
}

fn lesser(one: Option<RateStanding>, other: Option<RateStanding>) -> Option<RateStanding> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if other.remaining < one.remaining {
            other
        } else {
            one
        }),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    use proptest::prelude::*;

    use super::*;
    use crate::llm::wire::error::Code;

    const NOW: Moment = Moment {
        unix: 1_800_000_000_000_000,
        milliseconds: 1_000_000,
    };

    fn cents(cents: i64) -> Money {
        Money::from_pico(cents * 10_000_000_000)
    }

    fn limits(rpm: u64, tpm: u64, concurrency: u64) -> Limits {
        Limits {
            rpm: NonZeroU64::new(rpm),
            tpm: NonZeroU64::new(tpm),
            concurrency: NonZeroU64::new(concurrency),
        }
    }

    fn with_budget(total: Money) -> Arc<Account> {
        let budgets = [None, None, None, Some(total)];
        let zone = TimeZone::UTC;
        let account = Account::with_budgets(Scope::Key, Limits::default(), budgets, zone, NOW);
        Arc::new(account)
    }

    fn accounts<const N: usize>(accounts: [&Arc<Account>; N]) -> Accounts {
        accounts.into_iter().map(Arc::clone).collect()
    }

    fn costs(cost: Money) -> Demand {
        Demand {
            cost,
            ..Demand::default()
        }
    }

    fn uses(tokens: u64) -> Demand {
        Demand {
            tokens,
            ..Demand::default()
        }
    }

    /// As many threads as calls, all at once; returns how many were let through, each of which ends
    /// only when all have asked.
    fn together(count: usize, account: &Arc<Account>, demand: Demand, used: Demand) -> u64 {
        let barrier = Barrier::new(count);
        let through = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..count {
                scope.spawn(|| {
                    barrier.wait();
                    let hold = Hold::take(accounts([account]), demand, NOW);
                    barrier.wait();
                    if let Ok(hold) = hold {
                        through.fetch_add(1, Ordering::Relaxed);
                        hold.settle(used, NOW);
                    }
                });
            }
        });
        through.into_inner()
    }

    #[test]
    fn calls_at_once_never_overshoot_a_budget_and_none_that_fits_is_refused() {
        let dollar = cents(100);
        // All fit.
        let account = with_budget(dollar);
        let part = Money::from_pico(dollar.pico() / 256);
        assert_eq!(together(256, &account, costs(part), costs(part)), 256);
        assert_eq!(account.standing(NOW).budgets[3].spent, dollar);
        // A third of them fits.
        let account = with_budget(dollar);
        assert_eq!(
            together(256, &account, costs(cents(1)), costs(cents(1))),
            100
        );
        let total = account.standing(NOW).budgets[3];
        assert_eq!((total.spent, total.held), (dollar, Money::ZERO));
        // What was held and not spent is there again.
        let account = with_budget(dollar);
        assert_eq!(
            together(256, &account, costs(cents(10)), costs(cents(1))),
            10
        );
        assert_eq!(
            together(256, &account, costs(cents(10)), costs(cents(1))),
            9
        );
    }

    #[test]
    fn calls_at_once_never_overshoot_the_tokens_of_a_minute() {
        let account = Arc::new(Account::new(Scope::Key, limits(0, 100, 0), NOW));
        assert_eq!(together(64, &account, uses(30), uses(30)), 3);
        let refused = Hold::take(accounts([&account]), uses(30), NOW).expect_err("no room");
        assert_eq!(refused.code(), Code::RateLimitExceeded);
        assert_eq!(
            refused.retry_after(),
            Some(std::time::Duration::from_secs(12))
        );
        // A first call that may use more than a minute has is let through.
        let account = Arc::new(Account::new(Scope::Key, limits(0, 100, 0), NOW));
        assert_eq!(together(64, &account, uses(4096), uses(10)), 1);
        assert_eq!(account.standing(NOW).tokens.expect("limited").remaining, 90);
    }

    #[test]
    fn calls_at_once_are_counted() {
        let account = Arc::new(Account::new(Scope::Gateway, limits(0, 0, 5), NOW));
        assert_eq!(together(64, &account, uses(1), uses(1)), 5);
        assert_eq!(account.standing(NOW).running, 0);
        assert_eq!(together(64, &account, uses(1), uses(1)), 5);
    }

    #[test]
    fn a_call_is_held_everywhere_or_nowhere() {
        let key = with_budget(cents(100));
        let model = Arc::new(Account::new(Scope::Model, limits(1, 0, 0), NOW));
        let both = || accounts([&model, &key]);
        let first = Hold::take(both(), costs(cents(10)), NOW).expect("room");
        let refused = Hold::take(both(), costs(cents(10)), NOW).expect_err("no room");
        assert_eq!(
            refused.to_string(),
            "the model's limit of 1 calls a minute is reached; there is room in 60.0 s"
        );
        assert_eq!(key.standing(NOW).budgets[3].held, cents(10));
        assert_eq!(
            (key.standing(NOW).running, model.standing(NOW).running),
            (1, 1)
        );
        first.cancel(NOW);
        assert_eq!(key.standing(NOW).budgets[3].held, Money::ZERO);
        let again = Hold::take(both(), costs(cents(10)), NOW).expect("room again");
        let (requests, tokens) = again.rates(NOW);
        assert_eq!((requests.expect("limited").remaining, tokens), (0, None));
        again.settle(costs(cents(3)), NOW);
        assert_eq!(key.standing(NOW).budgets[3].spent, cents(3));
        assert_eq!(model.standing(NOW).requests.expect("limited").remaining, 0);
    }

    #[test]
    fn a_call_that_nobody_settles_has_used_what_was_held() {
        let account = with_budget(cents(100));
        let thread = {
            let accounts = accounts([&account]);
            thread::spawn(move || {
                let _hold = Hold::take(accounts, costs(cents(40)), NOW).expect("room");
                std::panic::resume_unwind(Box::new("on purpose"));
            })
        };
        assert!(thread.join().is_err());
        let total = account.standing(NOW).budgets[3];
        assert_eq!((total.spent, total.held), (cents(40), Money::ZERO));
        assert_eq!(account.standing(NOW).running, 0);
    }

    #[test]
    fn an_account_named_twice_is_held_once() {
        let account = Arc::new(Account::new(Scope::Key, limits(5, 0, 0), NOW));
        let hold = Hold::take(accounts([&account, &account]), uses(1), NOW).expect("room");
        assert_eq!(account.standing(NOW).running, 1);
        hold.settle(uses(1), NOW);
    }

    proptest! {
        #[test]
        fn nothing_stays_held_and_the_sum_is_what_was_spent(
            calls in proptest::collection::vec((0..2_000_i64, 0..1_000_i64, 0..4_u8), 0..60),
        ) {
            let limit = Money::from_pico(10_000);
            let account = with_budget(limit);
            let mut spent = Money::ZERO;
            let mut under_way: Vec<(Hold, Money)> = Vec::new();
            for (held, part, way) in calls {
                let held = Money::from_pico(held);
                let used = Money::from_pico(held.pico() * part / 1000);
                let room: Money = under_way.iter().map(|(hold, _)| hold.demand().cost).sum();
                let left = limit.minus(spent).minus(room);
                let hold = Hold::take(accounts([&account]), costs(held), NOW);
                prop_assert_eq!(hold.is_ok(), held <= left && left > Money::ZERO);
                under_way.extend(hold.ok().map(|hold| (hold, used)));
                if way > 0 && let Some((hold, used)) = under_way.pop() {
                    match way {
                        1 => { spent = spent.plus(used); hold.settle(costs(used), NOW); }
                        2 => hold.cancel(NOW),
                        _ => spent = spent.plus(hold.demand().cost),
                    }
                }
                prop_assert!(account.standing(NOW).budgets[3].spent <= limit);
            }
            for (hold, _) in under_way {
                hold.cancel(NOW);
            }
            let total = account.standing(NOW).budgets[3];
            prop_assert_eq!((total.spent, total.held), (spent, Money::ZERO));
        }
    }
}
