//! The books of the process: its keys with their accounts, and the ledger of its calls.
//!
//! Owns the way of a call's money from the secret in its head to its settled row, and that nothing of
//! it is lost. What is asked of providers, and how, is not known here.
//!
//! # A call
//!
//! ```no_run
//! # use openclaw::llm::account::Moment;
//! # use openclaw::llm::books::{Beginning, Cost, books};
//! # use openclaw::llm::price::{self, Terms};
//! # use openclaw::llm::refusal::Refusal;
//! # use openclaw::llm::usage::Usage;
//! # async fn example(secret: &str, usage: Usage) -> Result<(), Refusal> {
//! let now = Moment::now();
//! // A worker keeps the view; to look at it costs one number that hardly ever changes.
//! let mut view = books().view();
//! let caller = view.keys().authenticate(secret, now.unix)?;
//! let model = price::find("openai", "gpt-4o");
//! let terms = Terms { start: now.unix / 1_000_000, ..Terms::default() };
//! let beginning = Beginning {
//!     gateway: caller.key.gateway(None)?,
//!     asked: "chat",
//!     // The larger of all caps that the client has set, else the model's.
//!     tokens: 2_000,
//!     cost: model.as_ref().and_then(|model| model.prices.most(1_000, 1_000, terms)),
//!     ..Beginning::default()
//! };
//! let mut call = books().begin(Some(&caller), &beginning, now)?;
//! call.commit()?;
//! // From here on the call may leave. However this function ends, it is accounted.
//! call.end.attempts += 1;
//! call.end.provider = "openai".into();
//! call.end.model = "gpt-4o".into();
//! // As often as the provider tells what was used so far:
//! let own = model.and_then(|model| model.prices.cost(&usage, terms));
//! call.used(&usage, Cost { own, billed: None });
//! call.end.price = price::version().into();
//! call.finish("ok", 200);
//! # Ok(())
//! # }
//! ```
//!
//! A [`LiveCall`] that is dropped without [`LiveCall::finish`] (the client is gone, a panic, a task
//! that was aborted) settles itself: with what was told to be used, else with all that was reserved;
//! with nothing if it has not left ([`Settlement::attempts`] is 0).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use parking_lot::{Mutex, RwLock};
use smallvec::SmallVec;

use super::account::{Account, Accounts, Demand, Hold, Limits, Moment};
use super::key::{Caller, Key, KeyError, Keys};
use super::refusal::{Refusal, Scope};
use super::running::{Begun, Running, RunningCall};
use super::usage::Usage;
use crate::alerts::{self, Alert, Severity};
use crate::metrics::model_calls::{self, EndedCall};
use crate::store::calls::DAY;
use crate::store::{
    Interrupted, OpenCall, Payer, Reader, Settlement, SpendBy, State, Store, StoreError, Tokens,
};
use crate::unit::money::Money;

/// How long a store may take to open before the books try again.
const OPENING: Duration = Duration::from_secs(60);

/// The outcome of a call that nobody has finished.
const DROPPED: &str = "dropped";

/// The books of this process.
pub fn books() -> &'static Books {
    static BOOKS: LazyLock<Books> = LazyLock::new(Books::default);
    &BOOKS
}

/// Keys, accounts and the ledger.
#[derive(Default, Debug)]
pub struct Books {
    keys: RwLock<Arc<Keys>>,
    /// Counts the changes of the keys.
    version: AtomicU64,
    /// Accounts of groups, gateways and models that have limits.
    shared: RwLock<Shared>,
    store: OnceLock<Store>,
    running: Arc<Running>,
    is_open: AtomicBool,
    /// The number of the last call.
    last: AtomicU64,
    /// Held by the one who reads the keys.
    reading: Mutex<()>,
}

/// Accounts by whose they are.
type Shared = HashMap<(Scope, Box<str>), Arc<Account>>;

/// What a group, a gateway or a model may use, all its calls together.
#[derive(Clone, Debug)]
pub struct SharedLimit {
    /// What it is.
    pub scope: Scope,
    /// Its name.
    pub name: Box<str>,
    /// How much in a minute, and at once.
    pub limits: Limits,
    /// Budgets by day, week, month and in all.
    pub budgets: [Option<Money>; 4],
}

/// Under which name an account is kept: models are asked for in any case.
fn shared_name(scope: Scope, name: &str) -> Box<str> {
    match scope {
        Scope::Model => name.to_ascii_lowercase().into(),
        Scope::Key | Scope::Group | Scope::Gateway => name.into(),
    }
}

/// Adds to accounts with budgets what the ledger has of calls before the one with a number.
fn count_spent(
    reader: &Reader,
    accounts: Vec<(Scope, Box<str>, Arc<Account>)>,
    first: u64,
    now: Moment,
) -> Result<(), StoreError> {
    for (scope, name, account) in accounts {
        if !account.has_budget() {
            continue;
        }
        let payer = match scope {
            Scope::Key => continue,
            Scope::Group => Payer::Group(&name),
            Scope::Gateway => Payer::Gateway(&name),
            Scope::Model => Payer::Model(&name),
        };
        let mut spent = [Money::ZERO; 4];
        for (spent, start) in spent.iter_mut().zip(account.window_starts(now)) {
            *spent = reader.charged_of(payer, start, first)?;
        }
        account.add_spent(now, spent);
    }
    Ok(())
}

/// What was found when the books were opened.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Opened {
    /// Calls whose end the process before has not seen.
    pub interrupted: Interrupted,
    /// Keys that cannot be used, and why.
    pub unusable: Vec<(String, KeyError)>,
}

/// What a worker has of the keys. It is as new as the last look at it.
#[derive(Debug)]
pub struct View<'a> {
    books: &'a Books,
    version: u64,
    keys: Arc<Keys>,
}

impl View<'_> {
    /// The keys now.
    pub fn keys(&mut self) -> &Keys {
        if self.books.version.load(Ordering::Acquire) != self.version {
            *self = self.books.view();
        }
        &self.keys
    }
}

/// A call, as it is asked for.
#[derive(Clone, Copy, Default, Debug)]
pub struct Beginning<'a> {
    /// The gateway; see [`Key::gateway`].
    pub gateway: &'a str,
    /// The user whom the client names.
    pub user: &'a str,
    /// The node that the client names.
    pub node: &'a str,
    /// The model, as the client asks for it.
    pub asked: &'a str,
    /// Tokens in and out that it may use.
    pub tokens: u64,
    /// What it may cost; `None` if the price is not known.
    pub cost: Option<Money>,
    /// May a key with a budget make calls whose price is not known?
    pub allows_unpriced: bool,
    /// Is its answer kept? Then nothing has to be left of a budget.
    pub is_kept: bool,
}

/// What a call costs.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Cost {
    /// By our prices; `None` if one of them is not known.
    pub own: Option<Money>,
    /// What the provider says it bills.
    pub billed: Option<Money>,
}

impl Books {
    /// Opens them: closes what an earlier process has left open, reads the keys and counts what each
    /// has spent. Until then no key is known and no call begins. Blocks. To be called again if it
    /// fails; once it has succeeded it does nothing.
    ///
    /// # Errors
    ///
    /// What is wrong with the store.
    pub fn open(&self, store: &Store, now: Moment) -> Result<Opened, StoreError> {
        match store.wait_open(OPENING) {
            State::Open => {}
            State::Opening => return Err(StoreError::Busy),
            State::Failed(error) => return Err(error),
        }
        let _alone = self.reading.lock();
        if self.is_open.load(Ordering::Acquire) {
            return Ok(Opened::default());
        }
        let reader = store.reader()?;
        let first = reader.last_call()?.max(now.unix).saturating_add(1);
        let interrupted = match reader.has_open_calls()? {
            true => store.close_interrupted(first).wait()?,
            false => Interrupted::default(),
        };
        self.last.fetch_max(first, Ordering::Relaxed);
        let unusable = self.read(&reader, self.keys(), now)?;
        self.count_shared(&reader, first, now)?;
        let today = now.unix / DAY;
        let spent = reader.spend(SpendBy::Day, today, today + 1)?;
        let spent = spent.values().map(|sums| sums.charged).sum();
        self.running.add(today, spent);
        let _ = self.store.set(store.clone());
        self.is_open.store(true, Ordering::Release);
        Ok(Opened {
            interrupted,
            unusable,
        })
    }

    /// Reads the keys again, after one was changed. What they have used stays used. Blocks.
    ///
    /// # Errors
    ///
    /// What is wrong with the store.
    pub fn read_keys(&self, now: Moment) -> Result<Vec<(String, KeyError)>, StoreError> {
        let _alone = self.reading.lock();
        let store = self.store.get().ok_or(StoreError::Closed)?;
        self.read(&store.reader()?, self.keys(), now)
    }

    /// Reads everything again, after another ledger was put in place of the one that was. Calls that
    /// are under way count for the one before. Blocks.
    ///
    /// # Errors
    ///
    /// What is wrong with the store.
    pub fn restored(&self, now: Moment) -> Result<Vec<(String, KeyError)>, StoreError> {
        let _alone = self.reading.lock();
        let store = self.store.get().ok_or(StoreError::Closed)?;
        let reader = store.reader()?;
        let first = reader.last_call()?.max(now.unix).saturating_add(1);
        self.last.fetch_max(first, Ordering::Relaxed);
        if reader.has_open_calls()? {
            store.close_interrupted(first).wait()?;
        }
        let unusable = self.read(&reader, Arc::default(), now)?;
        self.count_shared(&reader, first, now)?;
        Ok(unusable)
    }

    /// Says what the accounts of groups, gateways and models have spent, by the ledger.
    fn count_shared(&self, reader: &Reader, first: u64, now: Moment) -> Result<(), StoreError> {
        let shared = self.shared.read();
        let accounts: Vec<_> = (shared.iter())
            .map(|((scope, name), account)| (*scope, name.clone(), Arc::clone(account)))
            .collect();
        drop(shared);
        for (_, _, account) in &accounts {
            account.set_spent(now, [Money::ZERO; 4]);
        }
        count_spent(reader, accounts, first, now)
    }

    fn read(
        &self,
        reader: &Reader,
        before: Arc<Keys>,
        now: Moment,
    ) -> Result<Vec<(String, KeyError)>, StoreError> {
        let known: HashMap<u64, &Arc<Key>> =
            before.all().iter().map(|key| (key.row.id, key)).collect();
        let (mut keys, mut unusable) = (Vec::new(), Vec::new());
        // Most keys have windows that begin at the same time.
        let mut sums: HashMap<u64, HashMap<u64, Money>> = HashMap::new();
        for (row, secrets) in reader.keys()? {
            let (id, name) = (row.id, row.name.clone());
            let account = known.get(&id).map(|key| Arc::clone(&key.account));
            let is_new = account.is_none();
            match Key::new(row, secrets, account, now) {
                Ok(key) => {
                    if is_new {
                        let mut spent = [Money::ZERO; 4];
                        for (spent, start) in spent.iter_mut().zip(key.account.window_starts(now)) {
                            let since = match sums.entry(start) {
                                std::collections::hash_map::Entry::Occupied(entry) => {
                                    entry.into_mut()
                                }
                                std::collections::hash_map::Entry::Vacant(entry) => {
                                    entry.insert(reader.charged_since(start)?)
                                }
                            };
                            *spent = since.get(&id).copied().unwrap_or_default();
                        }
                        key.account.set_spent(now, spent);
                    }
                    keys.push(Arc::new(key));
                }
                Err(error) => unusable.push((name, error)),
            }
        }
        *self.keys.write() = Arc::new(Keys::new(keys));
        self.version.fetch_add(1, Ordering::Release);
        Ok(unusable)
    }

    /// The keys now. Workers use a [`View`].
    pub fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read())
    }

    /// What a worker keeps.
    pub fn view(&self) -> View<'_> {
        // The number first: keys that are newer than it are taken once more, older ones never.
        let version = self.version.load(Ordering::Acquire);
        View {
            books: self,
            version,
            keys: self.keys(),
        }
    }

    /// The accounts of groups, gateways and models that have a budget, with what they are and whose.
    pub fn shared_budgets(&self) -> Vec<(Scope, Box<str>, Arc<Account>)> {
        let shared = self.shared.read();
        let with_budget = shared.iter().filter(|(_, account)| account.has_budget());
        with_budget
            .map(|((scope, name), account)| (*scope, name.clone(), Arc::clone(account)))
            .collect()
    }

    /// Is there a ledger to write to?
    pub fn are_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    /// The store of the ledger, once they are open.
    pub fn store(&self) -> Option<&Store> {
        self.store.get()
    }

    /// The calls under way.
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// Says which groups, gateways and models have limits, and whose calendar their budgets follow.
    /// What those have used that had limits before stays used; what others with a budget have spent
    /// is read from the ledger, which blocks.
    ///
    /// # Errors
    ///
    /// What is wrong with the ledger; the limits are in force all the same.
    pub fn set_limits(
        &self,
        limits: Vec<SharedLimit>,
        zone: &TimeZone,
        now: Moment,
    ) -> Result<(), StoreError> {
        let _alone = self.reading.lock();
        let mut is_new = Vec::new();
        let first = {
            let mut shared = self.shared.write();
            let mut before = std::mem::take(&mut *shared);
            for limit in limits {
                let SharedLimit {
                    scope,
                    name,
                    limits,
                    budgets,
                } = limit;
                let name = shared_name(scope, &name);
                let known = before.remove(&(scope, name.clone()));
                let account = match known.filter(|account| account.is_of_zone(zone)) {
                    Some(account) => {
                        account.set_limits(limits, now);
                        account.set_budgets(budgets);
                        account
                    }
                    None => {
                        let zone = zone.clone();
                        let account = Account::with_budgets(scope, limits, budgets, zone, now);
                        let account = Arc::new(account);
                        is_new.push((scope, name.clone(), Arc::clone(&account)));
                        account
                    }
                };
                shared.insert((scope, name), account);
            }
            // Calls from here on are counted by the accounts, those before by the ledger.
            self.number(now)
        };
        let Some(store) = self.store.get().filter(|_| self.are_open()) else {
            // Those that opens the books will count.
            return Ok(());
        };
        if is_new.is_empty() {
            return Ok(());
        }
        store.flush().wait()?;
        count_spent(&store.reader()?, is_new, first, now)
    }

    /// Reserves what a call may use, of the key and of all else that has limits, and gives the call
    /// its number. Nothing is written yet.
    ///
    /// # Errors
    ///
    /// Which limit or budget has no room.
    pub fn begin(
        &self,
        caller: Option<&Caller>,
        beginning: &Beginning<'_>,
        now: Moment,
    ) -> Result<LiveCall, Refusal> {
        let store = self.store.get().filter(|_| self.are_open());
        let store = store.ok_or(Refusal::Ledger)?;
        let key = caller.map(|caller| &caller.key);
        let model = || beginning.asked.chars().take(256).collect();
        if key.is_some_and(|key| !key.allows_model(beginning.asked)) {
            return Err(Refusal::Model { model: model() });
        }
        let accounts = self.accounts(key, beginning);
        if beginning.cost.is_none()
            && !beginning.allows_unpriced
            && accounts.iter().any(|account| account.has_budget())
        {
            return Err(Refusal::Unpriced { model: model() });
        }
        let demand = Demand {
            cost: beginning.cost.unwrap_or_default(),
            tokens: beginning.tokens,
            is_kept: beginning.is_kept,
        };
        let hold = Hold::take(accounts, demand, now)?;
        let open = Arc::new(self.open_call(caller, beginning, now));
        let running = self.running.begin(Begun {
            id: open.id,
            key: key.map_or("", |key| &key.row.name),
            gateway: &open.gateway,
            user: &open.user,
            asked: &open.asked,
            held: open.reserved,
        });
        Ok(LiveCall {
            store: store.clone(),
            running,
            all_running: Arc::clone(&self.running),
            open,
            hold: Some(hold),
            is_priced: beginning.cost.is_some(),
            is_in_ledger: false,
            used: None,
            is_kept: false,
            started: Instant::now(),
            end: Settlement::default(),
        })
    }

    /// Puts a call into the ledger that was refused, with the name of the refusal as its outcome. It
    /// has used nothing. For calls of known keys: those of strangers would fill the disk.
    pub fn refused(
        &self,
        caller: &Caller,
        beginning: &Beginning<'_>,
        outcome: &str,
        status: u16,
        now: Moment,
    ) {
        let Some(store) = self.store.get() else {
            return;
        };
        let beginning = Beginning {
            cost: None,
            ..*beginning
        };
        let end = Settlement {
            outcome: outcome.to_owned(),
            status,
            cost: Some(Money::ZERO),
            ..Settlement::default()
        };
        let open = self.open_call(Some(caller), &beginning, now);
        store.settle_call(Arc::new(open), end);
        self.running.note_end();
    }

    fn accounts(&self, key: Option<&Arc<Key>>, beginning: &Beginning<'_>) -> Accounts {
        let mut accounts = SmallVec::new();
        accounts.extend(key.map(|key| Arc::clone(&key.account)));
        let shared = self.shared.read();
        if shared.is_empty() {
            return accounts;
        }
        let group = key.map_or("", |key| &key.row.group);
        for (scope, name) in [
            (Scope::Group, group),
            (Scope::Gateway, beginning.gateway),
            (Scope::Model, beginning.asked),
        ] {
            if !name.is_empty() {
                let name = shared_name(scope, name);
                accounts.extend(shared.get(&(scope, name)).map(Arc::clone));
            }
        }
        accounts
    }

    /// A number that no call has: the time, if it is later than that of the call before, which may be
    /// of another worker.
    fn number(&self, now: Moment) -> u64 {
        let next = |last: u64| Some(now.unix.max(last.saturating_add(1)));
        let updated = self
            .last
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        let last = updated.unwrap_or_default();
        now.unix.max(last.saturating_add(1))
    }

    fn open_call(
        &self,
        caller: Option<&Caller>,
        beginning: &Beginning<'_>,
        now: Moment,
    ) -> OpenCall {
        OpenCall {
            id: self.number(now),
            key: caller.map_or(0, |caller| caller.key.row.id),
            secret: caller.map_or(0, |caller| caller.secret),
            gateway: beginning.gateway.to_owned(),
            user: beginning.user.to_owned(),
            node: beginning.node.to_owned(),
            asked: beginning.asked.to_owned(),
            reserved: beginning.cost.unwrap_or_default(),
        }
    }
}

/// A call between its reservation and its settlement.
#[derive(Debug)]
#[must_use = "a call that is dropped is settled with all that was reserved"]
pub struct LiveCall {
    store: Store,
    open: Arc<OpenCall>,
    running: Arc<RunningCall>,
    all_running: Arc<Running>,
    hold: Option<Hold>,
    is_priced: bool,
    is_in_ledger: bool,
    /// Tokens that were told to be used.
    used: Option<u64>,
    /// Nobody was asked: what was used is not used again.
    is_kept: bool,
    started: Instant,
    /// What will be in the ledger. Whoever makes the call fills in what it knows; tokens and cost
    /// are filled in by [`Self::used`], outcome, status and times by [`Self::finish`].
    pub end: Settlement,
}

impl LiveCall {
    /// The call's number.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.open.id
    }

    /// What is held for it.
    #[must_use]
    pub fn hold(&self) -> Option<&Hold> {
        self.hold.as_ref()
    }

    /// The call as people see it while it is under way.
    #[must_use]
    pub fn running(&self) -> &RunningCall {
        &self.running
    }

    /// Puts the call where nothing can lose it. Only then may it leave.
    ///
    /// # Errors
    ///
    /// [`Refusal::Ledger`] if nobody will know of it: the call must not leave.
    pub fn commit(&mut self) -> Result<(), Refusal> {
        let opened = self.store.open_call(Arc::clone(&self.open));
        self.is_in_ledger = opened.is_ok();
        opened.map_err(|_| Refusal::Ledger)
    }

    /// Says what the call has used so far; the last word counts.
    pub fn used(&mut self, usage: &Usage, cost: Cost) {
        self.end.tokens = Tokens {
            input: usage.input,
            cache_read: usage.cache_read,
            cache_write_5m: usage.cache_write_5m,
            cache_write_1h: usage.cache_write_1h,
            audio_input: usage.audio_input,
            output: usage.output,
            reasoning: usage.reasoning,
            audio_output: usage.audio_output,
            web_searches: usage.web_searches,
            images: usage.images,
        };
        self.end.cost = cost.own;
        self.end.billed = cost.billed;
        self.used = Some(usage.total_input().saturating_add(usage.total_output()));
    }

    /// Its answer was kept: it was used before, and is paid.
    pub fn kept(&mut self, usage: &Usage, saved: Money) {
        let cost = Cost {
            own: Some(Money::ZERO),
            billed: None,
        };
        self.used(usage, cost);
        self.end.saved = saved;
        self.used = Some(0);
        self.is_kept = true;
    }

    /// Notes that the first part of the answer is here.
    pub fn first_part(&mut self) {
        if self.end.first_us.is_none() {
            self.end.first_us = Some(self.started.elapsed().as_micros() as u64);
        }
    }

    /// The call has ended: `ok`, or a word for what went wrong, with the status that the client got.
    pub fn finish(mut self, outcome: &str, status: u16) {
        outcome.clone_into(&mut self.end.outcome);
        self.end.status = status;
        self.settle();
    }

    fn settle(&mut self) {
        let Some(hold) = self.hold.take() else {
            return;
        };
        let now = Moment::now();
        let demand = hold.demand();
        let mut end = std::mem::take(&mut self.end);
        end.total_us = self.started.elapsed().as_micros() as u64;
        if self.used.is_some() && end.cost.is_none() && end.billed.is_none() {
            match self.is_priced && hold.is_of_budget() {
                // Its answer did not tell what it used: who may spend only so much has used all of it.
                true => {
                    end.cost = Some(demand.cost);
                    end.is_estimated = true;
                }
                false => tell_unpriced(&end.provider, &end.model, self.is_priced),
            }
        }
        if end.outcome.is_empty() {
            DROPPED.clone_into(&mut end.outcome);
        }
        let used = match self.used {
            Some(tokens) => Demand {
                cost: end.charged(),
                tokens,
                ..Demand::default()
            },
            None if end.attempts == 0 => {
                end.cost = Some(Money::ZERO);
                Demand::default()
            }
            None => {
                end.cost = self.is_priced.then_some(demand.cost);
                end.is_estimated = true;
                demand
            }
        };
        match end.attempts {
            0 if self.used.is_none() => hold.cancel(now),
            _ => hold.settle(used, now),
        }
        let (input, output) = match self.is_kept {
            true => (0, 0),
            false => (end.tokens.total_input(), end.tokens.total_output()),
        };
        self.all_running
            .end(&self.running, input, output, end.charged());
        model_calls::count(&EndedCall {
            operation: &end.operation,
            provider: &end.provider,
            model: &end.model,
            outcome: &end.outcome,
            key: &self.running.key,
            gateway: &self.open.gateway,
            user: &self.open.user,
            node: &self.open.node,
            input,
            output,
            cost: end.billed.or(end.cost),
            total_us: end.total_us,
            first_us: end.first_us,
            chunks: self.running.chunks(),
        });
        if self.is_in_ledger {
            self.store.settle_call(Arc::clone(&self.open), end);
        }
    }
}

/// Nobody knows what a call has cost.
fn tell_unpriced(provider: &str, model: &str, is_priced: bool) {
    let name = format!("{provider}/{model}");
    let why = match is_priced {
        true => "its answers do not tell what they used",
        false => "no price is known; `llm_price` sets one",
    };
    alerts::raise(Alert {
        kind: "ledger.unpriced_model",
        severity: Severity::Warn,
        text: format!("calls of `{name}` are accounted without a cost: {why}"),
        subject: name,
        quiet: Duration::from_secs(24 * 3600),
    });
}

impl Drop for LiveCall {
    fn drop(&mut self) {
        self.settle();
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::llm::key::Secret;
    use crate::store::{Call, CallState, KeyRow};

    struct Scene {
        _directory: tempfile::TempDir,
        store: Store,
        books: Books,
        secret: Secret,
    }

    /// A moment in the middle of a day, so that no test is at midnight by chance.
    const NOW: Moment = Moment {
        unix: 1_800_000_000_000_000,
        milliseconds: 1000,
    };

    const DOLLAR: Money = Money::from_pico(1_000_000_000_000);

    fn scene(row: KeyRow) -> Scene {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::start(directory.path().join("store.db"));
        let secret = Secret::generate().expect("random");
        let put = store.put_key(row, vec![secret.row(1)]);
        put.wait().expect("kept");
        let books = Books::default();
        let opened = books.open(&store, NOW).expect("opened");
        assert_eq!(opened, Opened::default());
        Scene {
            _directory: directory,
            store,
            books,
            secret,
        }
    }

    fn row() -> KeyRow {
        KeyRow {
            name: "laptop".into(),
            budgets: [None, None, None, Some(DOLLAR)],
            ..KeyRow::default()
        }
    }

    fn cents(cents: i64) -> Money {
        Money::from_pico(cents * 10_000_000_000)
    }

    impl Scene {
        fn caller(&self) -> Caller {
            let mut view = self.books.view();
            view.keys()
                .authenticate(self.secret.reveal(), NOW.unix)
                .expect("a caller")
        }

        fn begin(&self, cost: Money) -> Result<LiveCall, Refusal> {
            let beginning = Beginning {
                gateway: "hub",
                asked: "chat",
                tokens: 100,
                cost: Some(cost),
                ..Beginning::default()
            };
            self.books.begin(Some(&self.caller()), &beginning, NOW)
        }

        fn committed(&self, cost: Money) -> LiveCall {
            let mut call = self.begin(cost).expect("room");
            call.commit().expect("committed");
            call
        }

        fn set_limits(&self, limits: Vec<SharedLimit>) {
            let set = self.books.set_limits(limits, &TimeZone::UTC, NOW);
            set.expect("the ledger is read");
        }

        fn calls(&self) -> Vec<Call> {
            self.store.flush().wait().expect("flushed");
            let reader = self.store.reader().expect("a reader");
            reader.calls(100, None, None).expect("calls")
        }

        fn spent(&self) -> (Money, Money) {
            let total = self.caller().key.account.standing(NOW).budgets[3];
            (total.spent, total.held)
        }
    }

    fn used(cost: Money) -> (Usage, Cost) {
        let usage = Usage {
            input: 30,
            output: 12,
            ..Usage::default()
        };
        let cost = Cost {
            own: Some(cost),
            billed: None,
        };
        (usage, cost)
    }

    #[test]
    fn a_call_is_in_the_ledger_before_it_leaves_and_settled_after() {
        let scene = scene(row());
        let mut call = scene.committed(cents(40));
        let open = &scene.calls()[0];
        assert_eq!((open.state, open.open.id), (CallState::Open, call.id()));
        assert_eq!(
            (open.open.reserved, scene.spent()),
            (cents(40), (Money::ZERO, cents(40)))
        );
        call.end.attempts = 1;
        call.first_part();
        let (usage, cost) = used(cents(3));
        call.used(&usage, cost);
        call.finish("ok", 200);
        let calls = scene.calls();
        let end = &calls[0].end;
        assert_eq!((calls.len(), calls[0].state), (1, CallState::Settled));
        assert_eq!(
            (&*end.outcome, end.status, end.tokens.output),
            ("ok", 200, 12)
        );
        assert!(!end.is_estimated && end.first_us.is_some());
        assert_eq!(calls[0].charged, cents(3));
        assert_eq!(scene.spent(), (cents(3), Money::ZERO));
    }

    #[test]
    fn a_call_that_is_dropped_is_accounted_by_how_far_it_came() {
        let scene = scene(row());
        // Not yet in the ledger.
        drop(scene.begin(cents(1)).expect("room"));
        assert_eq!(
            (scene.calls().len(), scene.spent()),
            (0, (Money::ZERO, Money::ZERO))
        );
        // In the ledger, and not yet out.
        drop(scene.committed(cents(2)));
        // Out, and nobody knows what it has used.
        let mut call = scene.committed(cents(4));
        call.end.attempts = 1;
        drop(call);
        // Cut off in the middle.
        let mut call = scene.committed(cents(8));
        call.end.attempts = 1;
        let (usage, cost) = used(cents(5));
        call.used(&usage, cost);
        drop(call);
        let calls = scene.calls();
        let told: Vec<_> = calls
            .iter()
            .rev()
            .map(|call| (&*call.end.outcome, call.charged, call.end.is_estimated))
            .collect();
        let expected = [
            (DROPPED, Money::ZERO, false),
            (DROPPED, cents(4), true),
            (DROPPED, cents(5), false),
        ];
        assert_eq!(told, expected);
        assert_eq!(scene.spent(), (cents(9), Money::ZERO));
    }

    #[test]
    fn what_was_spent_is_known_again_after_a_restart() {
        let scene = scene(row());
        let mut call = scene.committed(cents(60));
        call.end.attempts = 1;
        let (usage, cost) = used(cents(50));
        call.used(&usage, cost);
        call.finish("ok", 200);
        // This one is under way when the process ends.
        let call = scene.committed(cents(30));
        scene.store.flush().wait().expect("flushed");
        let next = Books::default();
        let opened = next.open(&scene.store, NOW).expect("opened");
        assert_eq!(
            (opened.interrupted.calls, opened.interrupted.charged),
            (1, cents(30))
        );
        let total = next.keys().all()[0].account.standing(NOW).budgets[3];
        assert_eq!((total.spent, total.held), (cents(80), Money::ZERO));
        // What has a number already is not given another.
        let begun = next.begin(None, &Beginning::default(), NOW).expect("room");
        assert!(begun.id() > call.id());
    }

    #[test]
    fn a_key_that_changes_keeps_what_it_has_used() {
        let scene = scene(row());
        let mut view = scene.books.view();
        let call = scene.begin(cents(90)).expect("room");
        assert!(matches!(
            scene.begin(cents(20)),
            Err(Refusal::Budget { .. })
        ));
        let key = Arc::clone(&scene.caller().key);
        let more = KeyRow {
            budgets: [None, None, None, Some(cents(200))],
            models: vec!["other".into()],
            ..key.row.clone()
        };
        let put = scene.store.put_key(more, key.secrets.clone());
        put.wait().expect("kept");
        assert_eq!(scene.books.read_keys(NOW), Ok(Vec::new()));
        let changed = view.keys().named("laptop").expect("the key");
        assert!(Arc::ptr_eq(&changed.account, &key.account));
        let total = changed.account.standing(NOW).budgets[3];
        assert_eq!((total.limit, total.held), (Some(cents(200)), cents(90)));
        assert!(matches!(scene.begin(cents(1)), Err(Refusal::Model { .. })));
        drop(call);

        scene.store.remove_key(key.row.id).wait().expect("removed");
        scene.books.read_keys(NOW).expect("read");
        let refused = view.keys().authenticate(scene.secret.reveal(), NOW.unix);
        assert_eq!(refused.err(), Some(Refusal::Unknown));
    }

    #[test]
    fn a_model_without_a_price_is_refused_to_keys_with_a_budget_unless_allowed() {
        let scene = scene(row());
        let mut beginning = Beginning {
            asked: "chat",
            ..Beginning::default()
        };
        let caller = scene.caller();
        let refused = scene.books.begin(Some(&caller), &beginning, NOW);
        assert!(matches!(refused, Err(Refusal::Unpriced { .. })));
        beginning.allows_unpriced = true;
        let mut call = scene
            .books
            .begin(Some(&caller), &beginning, NOW)
            .expect("room");
        call.commit().expect("committed");
        call.end.attempts = 1;
        drop(call);
        let calls = scene.calls();
        assert_eq!((calls[0].end.cost, calls[0].charged), (None, Money::ZERO));
    }

    #[test]
    fn limits_of_groups_gateways_and_models_hold_across_keys_and_reloads() {
        let scene = scene(KeyRow {
            group: "family".into(),
            ..row()
        });
        let one = Limits {
            concurrency: std::num::NonZeroU64::new(1),
            ..Limits::default()
        };
        for (scope, name) in [
            (Scope::Group, "family"),
            (Scope::Gateway, "hub"),
            (Scope::Model, "chat"),
        ] {
            let limits = || {
                vec![SharedLimit {
                    scope,
                    name: name.into(),
                    limits: one,
                    budgets: [None; 4],
                }]
            };
            scene.set_limits(limits());
            let call = scene.begin(cents(1)).expect("room");
            scene.set_limits(limits());
            let refused = scene.begin(cents(1)).expect_err("no room");
            assert!(matches!(refused, Refusal::Rate { scope: found, .. } if found == scope));
            drop(call);
            assert!(scene.begin(cents(1)).is_ok());
        }
        scene.set_limits(Vec::new());
        let _first = scene.begin(cents(1)).expect("room");
        assert!(scene.begin(cents(1)).is_ok());
    }

    #[test]
    fn a_budget_of_a_group_a_gateway_or_a_model_counts_what_was_spent_before_it_was_set() {
        let scene = scene(KeyRow {
            group: "family".into(),
            ..row()
        });
        let mut call = scene.committed(cents(30));
        call.end.attempts = 1;
        let (usage, cost) = used(cents(30));
        call.used(&usage, cost);
        call.finish("ok", 200);
        for (scope, name) in [
            (Scope::Group, "family"),
            (Scope::Gateway, "hub"),
            (Scope::Model, "CHAT"),
        ] {
            for place in 0..4 {
                let mut budgets = [None; 4];
                budgets[place] = Some(cents(50));
                let limit = SharedLimit {
                    scope,
                    name: name.into(),
                    limits: Limits::default(),
                    budgets,
                };
                scene.set_limits(vec![limit.clone()]);
                let refused = scene.begin(cents(21)).expect_err("20 cents are left");
                assert!(matches!(refused, Refusal::Budget { left, .. } if left == cents(20)));
                let fits = scene.begin(cents(20)).expect("room");
                // The same again changes nothing, not even what is held.
                scene.set_limits(vec![limit]);
                assert!(scene.begin(cents(1)).is_err());
                drop(fits);
                // After a start the ledger is all there is.
                let again = Books::default();
                again
                    .set_limits(
                        vec![SharedLimit {
                            scope,
                            name: name.into(),
                            limits: Limits::default(),
                            budgets,
                        }],
                        &TimeZone::UTC,
                        NOW,
                    )
                    .expect("set");
                again.open(&scene.store, NOW).expect("opened");
                let shared = again.shared.read();
                let account = shared.values().next().expect("one");
                assert_eq!(account.standing(NOW).budgets[place].spent, cents(30));
                scene.set_limits(Vec::new());
            }
        }
    }

    #[test]
    fn a_model_without_a_price_is_refused_where_anybody_has_a_budget() {
        let scene = scene(KeyRow {
            budgets: [None; 4],
            ..row()
        });
        let beginning = Beginning {
            gateway: "hub",
            asked: "chat",
            ..Beginning::default()
        };
        let begin = |beginning: &Beginning<'_>| {
            let caller = scene.caller();
            scene.books.begin(Some(&caller), beginning, NOW).map(drop)
        };
        assert_eq!(begin(&beginning), Ok(()));
        scene.set_limits(vec![SharedLimit {
            scope: Scope::Gateway,
            name: "hub".into(),
            limits: Limits::default(),
            budgets: [Some(DOLLAR), None, None, None],
        }]);
        assert!(matches!(begin(&beginning), Err(Refusal::Unpriced { .. })));
        let allowed = Beginning {
            allows_unpriced: true,
            ..beginning
        };
        assert_eq!(begin(&allowed), Ok(()));
    }

    #[test]
    fn no_call_begins_without_a_ledger() {
        let books = Books::default();
        let refused = books.begin(None, &Beginning::default(), NOW);
        assert_eq!(refused.err(), Some(Refusal::Ledger));
        let scene = scene(row());
        let mut call = scene.begin(cents(1)).expect("room");
        assert!(scene.store.close(Duration::from_secs(60)));
        let committed = call.commit();
        assert_eq!(committed, Err(Refusal::Ledger));
        drop(call);
        assert_eq!(scene.spent(), (Money::ZERO, Money::ZERO));
    }

    #[test]
    fn calls_that_were_refused_are_told_and_cost_nothing() {
        let scene = scene(row());
        let caller = scene.caller();
        let beginning = Beginning {
            asked: "chat",
            cost: Some(cents(1)),
            ..Beginning::default()
        };
        scene
            .books
            .refused(&caller, &beginning, "budget_exceeded", 402, NOW);
        let calls = scene.calls();
        assert_eq!(
            (&*calls[0].end.outcome, calls[0].charged),
            ("budget_exceeded", Money::ZERO)
        );
    }
}
