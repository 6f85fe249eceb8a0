//! The ledger: every call of a language model, from before it leaves until it is settled.
//!
//! The invariant: a call has one row. That it is there is certain before the call leaves
//! ([`Store::open_call`]); it is settled once ([`Store::settle_call`]), and settling it again changes
//! nothing. A row that is open when the program starts is that of a call whose end nobody saw: it is
//! closed with what was reserved for it ([`Store::close_interrupted`]). The sums of a day change in
//! the same transaction as the rows they are of.
//!
//! A call that leaves is in the journal ([`super::journal`]) first; its row is committed some
//! milliseconds later, in a group with others. Both survive an end of the process at any moment, kill
//! -9 too. A loss of power may cost the last of them, as SQLite's `synchronous = NORMAL` says.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row, params};

use super::writer::Store;
use super::{Reader, Receipt, StoreError, clipped, integer, natural};
use crate::unit::money::Money;

/// Microseconds of a day.
pub const DAY: u64 = 86_400_000_000;

/// Rows of calls are kept so long; their sums for ever.
const KEPT: u64 = 400 * DAY;

/// Rows that one step removes at most.
const STEP: usize = 500;

/// The longest name in bytes. More is cut off.
pub(super) const NAME: usize = 256;

/// The longest account of what was tried for a call, in bytes.
const TRIED: usize = 1024;

/// No count of a call is larger: what a provider says must not make a sum overflow.
const LARGEST: u64 = 1 << 48;

/// A call before it leaves.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct OpenCall {
    /// Its number: when it began, in microseconds since 1970, larger than that of any other before.
    pub id: u64,
    /// Whose key; 0 for none.
    pub key: u64,
    /// Which secret of the key; 0 for none.
    pub secret: u64,
    /// From which gateway.
    pub gateway: String,
    /// For which user.
    pub user: String,
    /// From which node.
    pub node: String,
    /// The model that was asked for.
    pub asked: String,
    /// What it may cost.
    pub reserved: Money,
}

/// What a call has used, by the names of the buckets of `llm::usage`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[expect(
    missing_docs,
    reason = "the buckets are explained where they are filled"
)]
pub struct Tokens {
    pub input: u64,
    pub cache_read: u64,
    pub cache_write_5m: u64,
    pub cache_write_1h: u64,
    pub audio_input: u64,
    pub output: u64,
    pub reasoning: u64,
    pub audio_output: u64,
    pub web_searches: u64,
    pub images: u64,
}

impl Tokens {
    /// All tokens that went in.
    #[must_use]
    pub const fn total_input(&self) -> u64 {
        self.input
            .saturating_add(self.cache_read)
            .saturating_add(self.cache_write_5m)
            .saturating_add(self.cache_write_1h)
            .saturating_add(self.audio_input)
    }

    /// All tokens that came out.
    #[must_use]
    pub const fn total_output(&self) -> u64 {
        self.output
            .saturating_add(self.reasoning)
            .saturating_add(self.audio_output)
    }
}

/// How a call ended.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Settlement {
    /// The model that has answered; empty for none.
    pub model: String,
    /// The provider that has answered; empty for none.
    pub provider: String,
    /// A word for the end; `ok` is the good one, all others count as failed.
    pub outcome: String,
    /// The status that the client got; 0 for none.
    pub status: u16,
    /// Are the tokens ours, because the provider did not tell them?
    pub is_estimated: bool,
    /// What was wanted: `chat`, `embeddings`, ….
    pub operation: String,
    /// The rule that chose who was asked; empty for none.
    pub rule: String,
    /// Who was asked, each with a word for what came of it: `one/model:500,two/model:ok`.
    pub tried: String,
    /// How often a provider was asked.
    pub attempts: u32,
    /// What was used.
    pub tokens: Tokens,
    /// What that costs by our prices; `None` if one of them is not known.
    pub cost: Option<Money>,
    /// What the provider says it costs. It counts, ours stands beside it.
    pub billed: Option<Money>,
    /// What it would have cost, had the answer not been kept.
    pub saved: Money,
    /// The call whose answer was kept and is given again; 0 if a provider was asked.
    pub kept_from: u64,
    /// How old that answer was, in milliseconds.
    pub kept_age: u64,
    /// The version of our prices.
    pub price: String,
    /// Microseconds until the first part of the answer.
    pub first_us: Option<u64>,
    /// Microseconds that providers took.
    pub upstream_us: u64,
    /// Microseconds in all.
    pub total_us: u64,
}

impl Settlement {
    /// What counts against budgets: what was billed, else what it costs by our prices.
    #[must_use]
    pub fn charged(&self) -> Money {
        self.billed.or(self.cost).unwrap_or_default()
    }
}

/// Where a call stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallState {
    /// It is under way.
    Open,
    /// Its end was seen.
    Settled,
    /// The program ended before it did.
    Interrupted,
}

/// A call as the ledger has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    /// How it began.
    pub open: OpenCall,
    /// Where it stands.
    pub state: CallState,
    /// How it ended; empty while it is open.
    pub end: Settlement,
    /// What counts.
    pub charged: Money,
}

/// Calls that were closed because nobody saw their end.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Interrupted {
    /// How many.
    pub calls: u64,
    /// What was reserved for them.
    pub charged: Money,
}

/// What spend is told by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpendBy {
    /// The name of the key.
    Key,
    /// The gateway.
    Gateway,
    /// The user.
    User,
    /// The model that has answered.
    Model,
    /// The provider that has answered.
    Provider,
    /// The day in UTC.
    Day,
}

/// Who shares a budget.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Payer<'a> {
    /// All keys of a group, those that were removed too.
    Group(&'a str),
    /// A gateway.
    Gateway(&'a str),
    /// A model, as it was asked for, in any case.
    Model(&'a str),
}

/// Sums of calls that are not open.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Spend {
    /// How many.
    pub calls: u64,
    /// How many did not end well.
    pub failed: u64,
    /// How many have no known price: they are not in the sum.
    pub unpriced: u64,
    /// How many are estimated.
    pub estimated: u64,
    /// Tokens that went in, those of the cache too.
    pub input: u64,
    /// Of these, what was read from a cache.
    pub cache_read: u64,
    /// Tokens that came out, thinking too.
    pub output: u64,
    /// What counts.
    pub charged: Money,
    /// What kept answers have saved.
    pub saved: Money,
}

impl Spend {
    /// Adds other sums.
    pub fn add(&mut self, other: &Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.failed = self.failed.saturating_add(other.failed);
        self.unpriced = self.unpriced.saturating_add(other.unpriced);
        self.estimated = self.estimated.saturating_add(other.estimated);
        self.input = self.input.saturating_add(other.input);
        self.cache_read = self.cache_read.saturating_add(other.cache_read);
        self.output = self.output.saturating_add(other.output);
        self.charged = self.charged.plus(other.charged);
        self.saved = self.saved.plus(other.saved);
    }
}

/// Who has used which secret of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SecretUse {
    /// The gateway.
    pub gateway: String,
    /// The secret's number.
    pub secret: u64,
    /// When it was first used there, in microseconds since 1970.
    pub first: u64,
    /// When it was last used there.
    pub last: u64,
    /// How often.
    pub calls: u64,
}

impl Store {
    /// Closes the rows that an earlier process has left open, with what was reserved for them: all
    /// whose number is smaller. To be called once, before the first call.
    pub fn close_interrupted(&self, before: u64) -> Receipt<Interrupted> {
        self.command(move |writer| {
            writer.keep(|transaction| close_interrupted(transaction, before))
        })
    }
}

/// A call that is over, for those who count failures.
#[derive(Clone, Copy, Debug)]
pub struct EndedCall<'a> {
    /// When it began.
    pub id: u64,
    /// Whose it is; 0 for nobody's.
    pub key: u64,
    /// Who answered, or was paid without an answer; empty for nobody.
    pub provider: &'a str,
    /// The model that did, or what was asked for.
    pub model: &'a str,
    /// What became of it.
    pub outcome: &'a str,
    /// Who was asked, with what came of each.
    pub tried: &'a str,
}

/// What calls of a key, a gateway and a user have used together.
#[derive(Clone, PartialEq, Debug)]
pub struct CallerUsage {
    /// The key; 0 for none.
    pub key: u64,
    /// The gateway; empty for none.
    pub gateway: String,
    /// The user; empty for none.
    pub user: String,
    /// What they cost, in dollars.
    pub dollars: f64,
    /// Tokens in and out.
    pub tokens: f64,
    /// What the call cost that cost most.
    pub largest_dollars: f64,
    /// Tokens of the call with most of them.
    pub largest_tokens: f64,
}

/// Calls of a model of which the provider said what they cost.
#[derive(Clone, PartialEq, Debug)]
pub struct BilledCalls {
    /// The provider.
    pub provider: String,
    /// Its name for the model.
    pub model: String,
    /// How many.
    pub calls: u64,
    /// What they cost by our prices, in dollars.
    pub cost: f64,
    /// What the provider says, in dollars.
    pub billed: f64,
}

impl Reader {
    /// Is any call open?
    pub fn has_open_calls(&self) -> Result<bool, StoreError> {
        self.ask(|connection| {
            connection.query_row(
                "SELECT EXISTS (SELECT 1 FROM llm_calls WHERE state = 0)",
                [],
                |row| row.get(0),
            )
        })
    }

    /// The largest number of a call; 0 if there is none.
    pub fn last_call(&self) -> Result<u64, StoreError> {
        self.ask(|connection| {
            connection.query_row("SELECT coalesce(max(id), 0) FROM llm_calls", [], |row| {
                Ok(natural(row.get(0)?))
            })
        })
    }

    /// A call.
    pub fn call(&self, id: u64) -> Result<Option<Call>, StoreError> {
        self.ask(|connection| {
            connection
                .query_row(
                    &format!("SELECT {COLUMNS} FROM llm_calls WHERE id = ?1"),
                    [integer(id)],
                    call,
                )
                .optional()
        })
    }

    /// Calls, newest first, at most so many, and older than the one with a number; of a key only if
    /// one is named.
    pub fn calls(
        &self,
        limit: u32,
        before: Option<u64>,
        key: Option<u64>,
    ) -> Result<Vec<Call>, StoreError> {
        self.ask(|connection| {
            connection
                .prepare(&format!(
                    "SELECT {COLUMNS} FROM llm_calls
                     WHERE id < ?1 AND (?2 IS NULL OR key = ?2) ORDER BY id DESC LIMIT ?3"
                ))?
                .query_map(
                    params![integer(before.unwrap_or(u64::MAX)), key.map(integer), limit],
                    call,
                )?
                .collect()
        })
    }

    /// When a key was last used in a call that is known, in microseconds since 1970.
    pub fn last_use(&self, key: u64) -> Result<Option<u64>, StoreError> {
        self.ask(|connection| {
            let sql = "SELECT max(id) FROM llm_calls WHERE key = ?1";
            let last: Option<i64> = connection.query_row(sql, [integer(key)], |row| row.get(0))?;
            Ok(last.map(natural))
        })
    }

    /// Spend by what it is told by, for days since 1970 in UTC from one up to before another. Keys
    /// are named as they were last.
    pub fn spend(
        &self,
        by: SpendBy,
        from: u64,
        to: u64,
    ) -> Result<BTreeMap<String, Spend>, StoreError> {
        let label = match by {
            SpendBy::Key => {
                "coalesce((SELECT name FROM llm_keys WHERE id = key),
                          CASE key WHEN 0 THEN '' ELSE '#' || key END)"
            }
            SpendBy::Gateway => "gateway",
            SpendBy::User => "user",
            SpendBy::Model => "model",
            SpendBy::Provider => "provider",
            SpendBy::Day => "date(day * 86400, 'unixepoch')",
        };
        self.ask(|connection| {
            let mut sums: BTreeMap<String, Spend> = BTreeMap::new();
            let mut statement = connection.prepare(&format!(
                "SELECT {label}, calls, failed, unpriced, estimated, input, cache_read, output,
                        charged, saved
                 FROM llm_days WHERE day >= ?1 AND day < ?2"
            ))?;
            let mut rows = statement.query(params![integer(from), integer(to)])?;
            // Added up here: sums in SQL would fail where they overflow.
            while let Some(row) = rows.next()? {
                sums.entry(row.get(0)?).or_default().add(&spend(row, 1)?);
            }
            Ok(sums)
        })
    }

    /// What counts of the calls of each key that began at a time in microseconds since 1970 or
    /// later, and are not open.
    pub fn charged_since(&self, from: u64) -> Result<HashMap<u64, Money>, StoreError> {
        self.ask(|connection| {
            let mut sums: HashMap<u64, Money> = HashMap::new();
            // Whole days have their sums; what is left of the first one has rows.
            let whole = from.div_ceil(DAY);
            for (statement, first, end) in [
                (
                    "SELECT key, charged FROM llm_days WHERE day >= ?1 AND day < ?2",
                    whole,
                    u64::MAX,
                ),
                (
                    "SELECT key, charged FROM llm_calls WHERE id >= ?1 AND id < ?2 AND state > 0",
                    from,
                    whole.saturating_mul(DAY),
                ),
            ] {
                let mut statement = connection.prepare(statement)?;
                let mut rows = statement.query(params![integer(first), integer(end)])?;
                while let Some(row) = rows.next()? {
                    let sum = sums.entry(natural(row.get(0)?)).or_default();
                    *sum = sum.plus(Money::from_pico(row.get(1)?));
                }
            }
            Ok(sums)
        })
    }

    /// What counts of the calls of a group, a gateway or a model that began from one time on and before
    /// another, in microseconds since 1970, and are not open.
    pub fn charged_of(&self, payer: Payer<'_>, from: u64, until: u64) -> Result<Money, StoreError> {
        // Whole days have their sums, but that of `until`; the rest has rows. What was asked for is
        // in the rows alone.
        let (first, last) = match payer {
            Payer::Model(_) => (0, 0),
            Payer::Group(_) | Payer::Gateway(_) => (from.div_ceil(DAY), until / DAY),
        };
        let (is_payer, name) = match payer {
            Payer::Group(name) => ("key IN (SELECT id FROM llm_keys WHERE team = ?3)", name),
            Payer::Gateway(name) => ("gateway = ?3", name),
            Payer::Model(name) => ("lower(asked) = lower(?3)", name),
        };
        let name = clipped(name, NAME);
        let days =
            format!("SELECT charged FROM llm_days WHERE day >= ?1 AND day < ?2 AND {is_payer}");
        let rows = format!(
            "SELECT charged FROM llm_calls WHERE id >= ?1 AND id < ?2 AND state > 0 AND {is_payer}"
        );
        let parts = match first < last {
            true => vec![
                (&rows, from, first.saturating_mul(DAY)),
                (&days, first, last),
                (&rows, last.saturating_mul(DAY), until),
            ],
            false => vec![(&rows, from, until)],
        };
        self.ask(|connection| {
            let mut sum = Money::ZERO;
            for (statement, first, end) in parts {
                let mut statement = connection.prepare(statement)?;
                let mut rows = statement.query(params![integer(first), integer(end), name])?;
                while let Some(row) = rows.next()? {
                    sum = sum.plus(Money::from_pico(row.get(0)?));
                }
            }
            Ok(sum)
        })
    }

    /// Calls that began since a time in microseconds since 1970, were passed on and are over, the
    /// newest first, so many at most.
    pub fn ended_calls(
        &self,
        since: u64,
        most: u32,
        mut take: impl FnMut(EndedCall<'_>),
    ) -> Result<(), StoreError> {
        self.ask(|connection| {
            let mut statement = connection.prepare(
                "SELECT id, key, provider, model, asked, outcome, tried FROM llm_calls
                 WHERE id >= ?1 AND state = 1 AND attempts > 0 ORDER BY id DESC LIMIT ?2",
            )?;
            let mut rows = statement.query(params![integer(since), most])?;
            while let Some(row) = rows.next()? {
                let text = |column| row.get_ref(column)?.as_str().map_err(rusqlite::Error::from);
                take(EndedCall {
                    id: natural(row.get(0)?),
                    key: natural(row.get(1)?),
                    provider: text(2)?,
                    model: match text(3)? {
                        "" => text(4)?,
                        model => model,
                    },
                    outcome: text(5)?,
                    tried: text(6)?,
                });
            }
            Ok(())
        })
    }

    /// What each who calls has used in calls that began from one time on and before another, in
    /// microseconds since 1970, and are not open; of so many of the newest at most. The tokens of an
    /// answer that was kept were used before.
    pub fn usage(&self, from: u64, until: u64, most: u32) -> Result<Vec<CallerUsage>, StoreError> {
        self.ask(|connection| {
            connection
                .prepare(
                    "SELECT key, gateway, user, total(charged), total(tokens),
                        1.0 * max(charged), 1.0 * max(tokens) FROM
                        (SELECT key, gateway, user, charged, CASE WHEN kept_from > 0 THEN 0 ELSE
                            input + cache_read + cache_write_5m + cache_write_1h + audio_input
                            + output + reasoning + audio_output END AS tokens
                         FROM llm_calls
                         WHERE id >= ?1 AND id < ?2 AND state > 0 ORDER BY id DESC LIMIT ?3)
                     GROUP BY key, gateway, user",
                )?
                .query_map(params![integer(from), integer(until), most], |row| {
                    Ok(CallerUsage {
                        key: natural(row.get(0)?),
                        gateway: row.get(1)?,
                        user: row.get(2)?,
                        dollars: row.get::<_, f64>(3)? / 1e12,
                        tokens: row.get(4)?,
                        largest_dollars: row.get::<_, f64>(5)? / 1e12,
                        largest_tokens: row.get(6)?,
                    })
                })?
                .collect()
        })
    }

    /// Calls that began since a time in microseconds since 1970 and of which both our prices and the
    /// provider say what they cost, by provider and model; of so many of the newest at most.
    pub fn billed_calls(&self, since: u64, most: u32) -> Result<Vec<BilledCalls>, StoreError> {
        self.ask(|connection| {
            connection
                .prepare(
                    "SELECT provider, model, count(*), total(cost), total(billed) FROM
                        (SELECT provider, model, cost, billed FROM llm_calls
                         WHERE id >= ?1 AND state = 1 AND attempts > 0 AND cost IS NOT NULL
                            AND billed IS NOT NULL
                         ORDER BY id DESC LIMIT ?2)
                     GROUP BY provider, model",
                )?
                .query_map(params![integer(since), most], |row| {
                    Ok(BilledCalls {
                        provider: row.get(0)?,
                        model: row.get(1)?,
                        calls: natural(row.get(2)?),
                        cost: row.get::<_, f64>(3)? / 1e12,
                        billed: row.get::<_, f64>(4)? / 1e12,
                    })
                })?
                .collect()
        })
    }

    /// Which gateways have used which secret of a key, in calls since a time in microseconds since
    /// 1970.
    pub fn secret_uses(&self, key: u64, since: u64) -> Result<Vec<SecretUse>, StoreError> {
        self.ask(|connection| {
            connection
                .prepare(
                    "SELECT gateway, secret, min(id), max(id), count(*) FROM llm_calls
                     WHERE id >= ?1 AND key = ?2 GROUP BY gateway, secret ORDER BY 1, 2",
                )?
                .query_map(params![integer(since), integer(key)], |row| {
                    Ok(SecretUse {
                        gateway: row.get(0)?,
                        secret: natural(row.get(1)?),
                        first: natural(row.get(2)?),
                        last: natural(row.get(3)?),
                        calls: natural(row.get(4)?),
                    })
                })?
                .collect()
        })
    }
}

/// The columns of [`call`].
const COLUMNS: &str = "id, state, key, secret, gateway, user, node, asked, reserved, model,
    provider, outcome, status, estimated, attempts, input, cache_read, cache_write_5m,
    cache_write_1h, audio_input, output, reasoning, audio_output, web_searches, images, cost, billed,
    charged, price, first_us, upstream_us, total_us, operation, rule, tried, saved,
    kept_from, kept_age";

fn call(row: &Row<'_>) -> Result<Call, rusqlite::Error> {
    let count = |column: usize| row.get(column).map(natural);
    let money = |column: usize| row.get(column).map(Money::from_pico);
    let perhaps = |column: usize| row.get::<_, Option<i64>>(column);
    Ok(Call {
        open: OpenCall {
            id: count(0)?,
            key: count(2)?,
            secret: count(3)?,
            gateway: row.get(4)?,
            user: row.get(5)?,
            node: row.get(6)?,
            asked: row.get(7)?,
            reserved: money(8)?,
        },
        state: match row.get::<_, i64>(1)? {
            0 => CallState::Open,
            1 => CallState::Settled,
            _ => CallState::Interrupted,
        },
        end: Settlement {
            model: row.get(9)?,
            provider: row.get(10)?,
            outcome: row.get(11)?,
            status: row.get(12)?,
            is_estimated: row.get(13)?,
            attempts: row.get(14)?,
            tokens: Tokens {
                input: count(15)?,
                cache_read: count(16)?,
                cache_write_5m: count(17)?,
                cache_write_1h: count(18)?,
                audio_input: count(19)?,
                output: count(20)?,
                reasoning: count(21)?,
                audio_output: count(22)?,
                web_searches: count(23)?,
                images: count(24)?,
            },
            cost: perhaps(25)?.map(Money::from_pico),
            billed: perhaps(26)?.map(Money::from_pico),
            price: row.get(28)?,
            first_us: perhaps(29)?.map(natural),
            upstream_us: count(30)?,
            total_us: count(31)?,
            operation: row.get(32)?,
            rule: row.get(33)?,
            tried: row.get(34)?,
            saved: money(35)?,
            kept_from: count(36)?,
            kept_age: count(37)?,
        },
        charged: money(27)?,
    })
}

fn spend(row: &Row<'_>, first: usize) -> Result<Spend, rusqlite::Error> {
    let count = |column: usize| row.get(first + column).map(natural);
    Ok(Spend {
        calls: count(0)?,
        failed: count(1)?,
        unpriced: count(2)?,
        estimated: count(3)?,
        input: count(4)?,
        cache_read: count(5)?,
        output: count(6)?,
        charged: Money::from_pico(row.get(first + 7)?),
        saved: Money::from_pico(row.get(first + 8)?),
    })
}

/// What the thread is handed.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    /// A call is about to leave.
    Open(Arc<OpenCall>),
    /// A call has ended. It carries its beginning, in case the file was replaced meanwhile.
    Settle(Arc<OpenCall>, Arc<Settlement>),
}

/// Puts calls that a process which was killed has left in its journal into the ledger.
pub(super) fn recover(connection: &Connection, calls: &[OpenCall]) -> Result<(), rusqlite::Error> {
    let mut statements = Statements {
        connection,
        prepared: Default::default(),
    };
    (calls.iter()).try_for_each(|call| insert(&mut statements, call))
}

/// Writes them. Runs within a transaction of the caller.
pub(super) fn write<'a>(
    connection: &Connection,
    entries: impl Iterator<Item = &'a Entry>,
) -> Result<(), rusqlite::Error> {
    let mut statements = Statements {
        connection,
        prepared: Default::default(),
    };
    let mut sums = HashMap::new();
    for entry in entries {
        match entry {
            Entry::Open(call) => insert(&mut statements, call)?,
            Entry::Settle(call, end) => {
                if settle(&mut statements, call, end)? {
                    let sum: &mut Spend = sums.entry(Day::of(call, end)).or_default();
                    sum.add(&spent(end));
                }
            }
        }
    }
    (sums.iter()).try_for_each(|(day, sum)| add_to_day(&mut statements, day, sum))
}

/// What is executed for many entries, prepared for the first of them and kept by the connection:
/// preparing costs more than executing.
struct Statements<'a> {
    connection: &'a Connection,
    prepared: [Option<CachedStatement<'a>>; 4],
}

impl<'a> Statements<'a> {
    fn take(&mut self, which: usize) -> Result<&mut CachedStatement<'a>, rusqlite::Error> {
        let place = &mut self.prepared[which];
        match place {
            Some(statement) => Ok(statement),
            None => Ok(place.insert(self.connection.prepare_cached(SQL[which])?)),
        }
    }
}

// Places in `SQL`.
const INSERT: usize = 0;
const IS_THERE: usize = 1;
const SETTLE: usize = 2;
const ADD: usize = 3;

const SQL: [&str; 4] = [
    // It is there already where the journal has brought it.
    "INSERT OR IGNORE INTO llm_calls (id, state, key, secret, gateway, user, node, asked, reserved)
     VALUES (?1, 0, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    "SELECT 1 FROM llm_calls WHERE id = ?1",
    "UPDATE llm_calls SET state = 1, model = ?2, provider = ?3, outcome = ?4, status = ?5,
        estimated = ?6, attempts = ?7, input = ?8, cache_read = ?9, cache_write_5m = ?10,
        cache_write_1h = ?11, audio_input = ?12, output = ?13, reasoning = ?14,
        audio_output = ?15, web_searches = ?16, images = ?17, cost = ?18, billed = ?19,
        charged = ?20, price = ?21, first_us = ?22, upstream_us = ?23, total_us = ?24,
        operation = ?25, rule = ?26, tried = ?27, saved = ?28, kept_from = ?29, kept_age = ?30
     WHERE id = ?1 AND state = 0",
    // What overflows an integer becomes a fraction, which `min` puts back in its place.
    "INSERT INTO llm_days VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14,
        ?15)
     ON CONFLICT DO UPDATE SET
        calls = calls + excluded.calls,
        failed = failed + excluded.failed,
        unpriced = unpriced + excluded.unpriced,
        estimated = estimated + excluded.estimated,
        input = min(input + excluded.input, 9223372036854775807),
        cache_read = min(cache_read + excluded.cache_read, 9223372036854775807),
        output = min(output + excluded.output, 9223372036854775807),
        charged = min(charged + excluded.charged, 9223372036854775807),
        saved = min(saved + excluded.saved, 9223372036854775807)",
];

fn insert(statements: &mut Statements<'_>, call: &OpenCall) -> Result<(), rusqlite::Error> {
    statements
        .take(INSERT)?
        .execute(params![
            integer(call.id),
            integer(call.key),
            integer(call.secret),
            clipped(&call.gateway, NAME),
            clipped(&call.user, NAME),
            clipped(&call.node, NAME),
            clipped(&call.asked, NAME),
            call.reserved.pico(),
        ])
        .map(drop)
}

/// Was it open until now?
fn settle(
    statements: &mut Statements<'_>,
    call: &OpenCall,
    end: &Settlement,
) -> Result<bool, rusqlite::Error> {
    if update(statements, call, end)? {
        return Ok(true);
    }
    // It was settled before, or its row is gone with a file that was replaced.
    let is_there = statements.take(IS_THERE)?.exists([integer(call.id)])?;
    if !is_there {
        insert(statements, call)?;
        update(statements, call, end)?;
    }
    Ok(!is_there)
}

fn update(
    statements: &mut Statements<'_>,
    call: &OpenCall,
    end: &Settlement,
) -> Result<bool, rusqlite::Error> {
    let count = |count: u64| integer(count.min(LARGEST));
    let tokens = &end.tokens;
    let changed = statements.take(SETTLE)?.execute(params![
        integer(call.id),
        clipped(&end.model, NAME),
        clipped(&end.provider, NAME),
        clipped(&end.outcome, NAME),
        end.status,
        end.is_estimated,
        end.attempts,
        count(tokens.input),
        count(tokens.cache_read),
        count(tokens.cache_write_5m),
        count(tokens.cache_write_1h),
        count(tokens.audio_input),
        count(tokens.output),
        count(tokens.reasoning),
        count(tokens.audio_output),
        count(tokens.web_searches),
        count(tokens.images),
        end.cost.map(Money::pico),
        end.billed.map(Money::pico),
        end.charged().pico(),
        clipped(&end.price, NAME),
        end.first_us.map(count),
        count(end.upstream_us),
        count(end.total_us),
        clipped(&end.operation, NAME),
        clipped(&end.rule, NAME),
        clipped(&end.tried, TRIED),
        end.saved.pico(),
        integer(end.kept_from),
        count(end.kept_age),
    ])?;
    Ok(changed > 0)
}

/// What a call that was settled adds to the sums.
fn spent(end: &Settlement) -> Spend {
    let tokens = &end.tokens;
    let inputs = [
        tokens.input,
        tokens.cache_read,
        tokens.cache_write_5m,
        tokens.cache_write_1h,
        tokens.audio_input,
    ];
    let outputs = [tokens.output, tokens.reasoning, tokens.audio_output];
    // Those of an answer that was kept were used before.
    let is_kept = end.kept_from > 0;
    let total = |counts: &[u64]| match is_kept {
        true => 0,
        false => counts.iter().map(|&count| count.min(LARGEST)).sum(),
    };
    Spend {
        calls: 1,
        failed: u64::from(end.outcome != "ok"),
        unpriced: u64::from(end.cost.is_none() && end.billed.is_none()),
        estimated: u64::from(end.is_estimated),
        input: total(&inputs),
        cache_read: total(&[tokens.cache_read]),
        output: total(&outputs),
        charged: end.charged(),
        saved: end.saved,
    }
}

/// What the sums of a day are by.
#[derive(PartialEq, Eq, Hash)]
struct Day<'a> {
    day: u64,
    key: u64,
    gateway: &'a str,
    user: &'a str,
    provider: &'a str,
    model: &'a str,
}

impl<'a> Day<'a> {
    fn new(call: &'a OpenCall, provider: &'a str, model: &'a str) -> Self {
        Self {
            day: call.id / DAY,
            key: call.key,
            gateway: clipped(&call.gateway, NAME),
            user: clipped(&call.user, NAME),
            provider: clipped(provider, NAME),
            model: clipped(model, NAME),
        }
    }

    fn of(call: &'a OpenCall, end: &'a Settlement) -> Self {
        Self::new(call, &end.provider, &end.model)
    }
}

fn add_to_day(
    statements: &mut Statements<'_>,
    day: &Day<'_>,
    sums: &Spend,
) -> Result<(), rusqlite::Error> {
    statements
        .take(ADD)?
        .execute(params![
            integer(day.day),
            integer(day.key),
            day.gateway,
            day.user,
            day.provider,
            day.model,
            integer(sums.calls),
            integer(sums.failed),
            integer(sums.unpriced),
            integer(sums.estimated),
            integer(sums.input),
            integer(sums.cache_read),
            integer(sums.output),
            sums.charged.pico(),
            sums.saved.pico(),
        ])
        .map(drop)
}

fn close_interrupted(connection: &Connection, before: u64) -> Result<Interrupted, rusqlite::Error> {
    let open: Vec<Call> = connection
        .prepare(&format!(
            "SELECT {COLUMNS} FROM llm_calls WHERE state = 0 AND id < ?1"
        ))?
        .query_map([integer(before)], call)?
        .collect::<Result<_, _>>()?;
    let mut closed = Interrupted::default();
    let mut close = connection.prepare(
        "UPDATE llm_calls SET state = 2, outcome = 'interrupted', estimated = 1, charged = reserved
         WHERE id = ?1",
    )?;
    let mut statements = Statements {
        connection,
        prepared: Default::default(),
    };
    for Call { open: call, .. } in open {
        close.execute([integer(call.id)])?;
        add_to_day(
            &mut statements,
            &Day::new(&call, "", &call.asked),
            &Spend {
                calls: 1,
                failed: 1,
                estimated: 1,
                charged: call.reserved,
                ..Spend::default()
            },
        )?;
        closed.calls += 1;
        closed.charged = closed.charged.plus(call.reserved);
    }
    Ok(closed)
}

/// Removes some rows that are too old at a time in microseconds since 1970. Is there more? Runs
/// within a transaction of the caller.
pub(super) fn thin(connection: &Connection, now: u64) -> Result<bool, rusqlite::Error> {
    let removed = connection.execute(
        "DELETE FROM llm_calls WHERE id IN
            (SELECT id FROM llm_calls WHERE id < ?1 AND state > 0 ORDER BY id LIMIT ?2)",
        params![integer(now.saturating_sub(KEPT)), integer(STEP as u64)],
    )?;
    Ok(removed == STEP)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::{KeyRow, State};

    const LONG: Duration = Duration::from_secs(60);

    /// The beginning of a day.
    const TODAY: u64 = 20_000 * DAY;

    fn started() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::start(directory.path().join("store.db"));
        assert_eq!(store.wait_open(LONG), State::Open);
        (directory, store)
    }

    fn call(id: u64) -> Arc<OpenCall> {
        Arc::new(OpenCall {
            id,
            key: 7,
            secret: 1,
            gateway: "hub".into(),
            user: "ann".into(),
            node: "pi".into(),
            asked: "chat".into(),
            reserved: Money::from_pico(1000),
        })
    }

    fn end(cost: i64) -> Settlement {
        Settlement {
            model: "gpt-4o".into(),
            provider: "openai".into(),
            outcome: "ok".into(),
            status: 200,
            attempts: 2,
            operation: "chat".into(),
            rule: "short".into(),
            tried: "one/gpt-4o:500,openai/gpt-4o:ok".into(),
            tokens: Tokens {
                input: 3,
                cache_read: 4,
                output: 5,
                reasoning: 6,
                ..Tokens::default()
            },
            cost: Some(Money::from_pico(cost)),
            price: "2026-11-21".into(),
            first_us: Some(10),
            upstream_us: 20,
            total_us: 30,
            ..Settlement::default()
        }
    }

    #[test]
    fn a_call_is_one_row_from_open_to_settled_however_often_it_is_settled() {
        let (_directory, store) = started();
        assert_eq!(store.open_call(call(TODAY)), Ok(()));
        assert_eq!(store.flush().wait(), Ok(()));
        let reader = store.reader().expect("a reader");
        let found = reader.call(TODAY).expect("asked").expect("a row");
        assert_eq!(
            (found.state, found.open),
            (CallState::Open, (*call(TODAY)).clone())
        );
        assert_eq!(reader.spend(SpendBy::Key, 0, u64::MAX), Ok(BTreeMap::new()));

        for cost in [700, 700, 9999] {
            assert!(store.settle_call(call(TODAY), end(cost)));
        }
        assert_eq!(store.flush().wait(), Ok(()));
        let found = reader.call(TODAY).expect("asked").expect("a row");
        assert_eq!((found.state, &found.end), (CallState::Settled, &end(700)));
        assert_eq!(found.charged.pico(), 700);
        for by in [
            SpendBy::Gateway,
            SpendBy::User,
            SpendBy::Model,
            SpendBy::Provider,
        ] {
            let sums = reader.spend(by, 20_000, 20_001).expect("sums");
            let sum = Spend {
                calls: 1,
                input: 7,
                cache_read: 4,
                output: 11,
                charged: Money::from_pico(700),
                ..Spend::default()
            };
            assert_eq!(sums.into_values().collect::<Vec<_>>(), [sum]);
        }
        let days = reader.spend(SpendBy::Day, 0, u64::MAX).expect("sums");
        assert_eq!(days.into_keys().collect::<Vec<_>>(), ["2024-10-04"]);
        assert_eq!(reader.last_call(), Ok(TODAY));
    }

    #[test]
    fn an_end_whose_beginning_is_gone_brings_it_along() {
        let (_directory, store) = started();
        assert!(store.settle_call(call(TODAY), end(5)));
        assert_eq!(store.flush().wait(), Ok(()));
        let reader = store.reader().expect("a reader");
        let found = reader.calls(9, None, Some(7)).expect("calls");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].end, end(5));
        assert!(reader.calls(9, None, Some(8)).expect("calls").is_empty());
    }

    #[test]
    fn what_is_billed_counts_and_what_has_no_price_is_told() {
        let (_directory, store) = started();
        let billed = Settlement {
            billed: Some(Money::from_pico(900)),
            ..end(700)
        };
        store.settle_call(call(TODAY), billed);
        let unpriced = Settlement {
            cost: None,
            outcome: "upstream_error".into(),
            is_estimated: true,
            ..end(0)
        };
        store.settle_call(call(TODAY + 1), unpriced);
        assert_eq!(store.flush().wait(), Ok(()));
        let reader = store.reader().expect("a reader");
        let sums = reader.spend(SpendBy::Model, 0, u64::MAX).expect("sums")["gpt-4o"];
        assert_eq!(sums.charged.pico(), 900);
        let counts = [sums.calls, sums.failed, sums.unpriced, sums.estimated];
        assert_eq!(counts, [2, 1, 1, 1]);
    }

    #[test]
    fn calls_that_nobody_saw_end_are_closed_once_with_what_was_reserved() {
        let (_directory, store) = started();
        for id in [TODAY, TODAY + 1, TODAY + 2] {
            assert_eq!(store.open_call(call(id)), Ok(()));
        }
        store.settle_call(call(TODAY + 1), end(5));
        // The last one belongs to the process that runs.
        let closed = store.close_interrupted(TODAY + 2).wait();
        let one = Interrupted {
            calls: 1,
            charged: Money::from_pico(1000),
        };
        assert_eq!(closed, Ok(one));
        let again = store.close_interrupted(TODAY + 2).wait();
        assert_eq!(again, Ok(Interrupted::default()));
        store.settle_call(call(TODAY), end(1));
        assert_eq!(store.flush().wait(), Ok(()));
        let reader = store.reader().expect("a reader");
        let states: Vec<_> = reader.calls(9, None, None).expect("calls");
        let states: Vec<_> = states
            .iter()
            .map(|call| (call.state, call.charged.pico()))
            .collect();
        let expected = [
            (CallState::Open, 0),
            (CallState::Settled, 5),
            (CallState::Interrupted, 1000),
        ];
        assert_eq!(states, expected);
        let sums = reader.spend(SpendBy::User, 0, u64::MAX).expect("sums")["ann"];
        assert_eq!((sums.calls, sums.charged.pico()), (2, 1005));
    }

    #[test]
    fn what_callers_used_and_how_calls_ended_is_told_of_the_newest() {
        let (_directory, store) = started();
        for id in 0..3 {
            store.settle_call(call(TODAY + id), end(2_000_000_000_000));
        }
        let open = store.open_call(call(TODAY + 3));
        assert_eq!(open, Ok(()));
        assert_eq!(store.flush().wait(), Ok(()));
        let reader = store.reader().expect("a reader");
        let usage = |from, until, most| {
            let used = reader
                .usage(TODAY + from, TODAY + until, most)
                .expect("sums");
            let used = used.first().map(|used| (used.dollars, used.tokens));
            used.unwrap_or_default()
        };
        assert_eq!(usage(0, 9, 10), (6.0, 54.0));
        assert_eq!(usage(1, 2, 10), (2.0, 18.0));
        assert_eq!(usage(0, 9, 2), (4.0, 36.0));
        assert_eq!(usage(3, 9, 10), (0.0, 0.0));
        let mut seen = Vec::new();
        let taken = reader.ended_calls(TODAY + 1, 10, |call| {
            seen.push((call.id - TODAY, call.key, call.tried.to_owned()));
        });
        assert_eq!(taken, Ok(()));
        let tried = "one/gpt-4o:500,openai/gpt-4o:ok".to_owned();
        assert_eq!(seen, [(2, 7, tried.clone()), (1, 7, tried)]);
        // What was kept was used before.
        let kept = Settlement {
            kept_from: TODAY,
            ..end(0)
        };
        store.settle_call(call(TODAY + 5), kept);
        assert_eq!(store.flush().wait(), Ok(()));
        let again = reader.usage(TODAY + 5, TODAY + 6, 10).expect("sums");
        assert_eq!((again.len(), again[0].tokens), (1, 0.0));
    }

    #[test]
    fn what_counts_since_a_time_is_the_same_from_days_and_from_rows() {
        let (_directory, store) = started();
        let mut ids = Vec::new();
        for day in 0..4 {
            for part in 0..5 {
                ids.push(TODAY + day * DAY + part * DAY / 5);
            }
        }
        for (place, &id) in ids.iter().enumerate() {
            store.settle_call(call(id), end(1 << place));
        }
        assert_eq!(store.flush().wait(), Ok(()));
        let reader = store.reader().expect("a reader");
        for from in [
            0,
            TODAY,
            TODAY + 1,
            TODAY + DAY / 2,
            TODAY + 3 * DAY - 1,
            TODAY + 4 * DAY,
        ] {
            let expected: i64 = ids
                .iter()
                .enumerate()
                .filter(|&(_, &id)| id >= from)
                .map(|(place, _)| 1 << place)
                .sum();
            let found = reader.charged_since(from).expect("sums");
            let found = found.get(&7).copied().unwrap_or_default();
            assert_eq!(found.pico(), expected, "{from}");
        }
    }

    #[test]
    fn the_largest_numbers_make_no_sum_fail() {
        let (_directory, store) = started();
        let most = Settlement {
            tokens: Tokens {
                input: u64::MAX,
                audio_input: u64::MAX,
                output: u64::MAX,
                ..Tokens::default()
            },
            cost: Some(Money::MAX),
            total_us: u64::MAX,
            ..end(0)
        };
        for id in 0..3 {
            store.settle_call(call(TODAY + id), most.clone());
        }
        assert_eq!(store.flush().wait(), Ok(()));
        assert_eq!(store.state(), State::Open);
        let reader = store.reader().expect("a reader");
        let sums = reader.spend(SpendBy::Key, 0, u64::MAX).expect("sums")["#7"];
        assert_eq!((sums.calls, sums.charged), (3, Money::MAX));
        assert_eq!(
            reader.charged_since(TODAY + 1).expect("sums")[&7],
            Money::MAX
        );
    }

    #[test]
    fn spend_names_keys_as_they_are_and_were_last() {
        let (_directory, store) = started();
        let key = KeyRow {
            name: "laptop".into(),
            ..KeyRow::default()
        };
        let id = store.put_key(key, Vec::new()).wait().expect("kept");
        let of_key = Arc::new(OpenCall {
            key: id,
            ..(*call(TODAY)).clone()
        });
        store.settle_call(of_key, end(5));
        assert_eq!(store.remove_key(id).wait(), Ok(()));
        let reader = store.reader().expect("a reader");
        let sums = reader.spend(SpendBy::Key, 0, u64::MAX).expect("sums");
        assert_eq!(sums.into_keys().collect::<Vec<_>>(), ["laptop"]);
    }

    #[test]
    fn gateways_and_the_secrets_they_use_are_told() {
        let (_directory, store) = started();
        for (id, secret) in [(0, 1), (1, 1), (2, 2)] {
            let call = OpenCall {
                secret,
                ..(*call(TODAY + id)).clone()
            };
            assert_eq!(store.open_call(Arc::new(call)), Ok(()));
        }
        assert_eq!(store.flush().wait(), Ok(()));
        let uses = store.reader().expect("a reader").secret_uses(7, 0);
        let uses: Vec<_> = uses.expect("uses");
        let told = uses
            .iter()
            .map(|used| (used.secret, used.last - TODAY, used.calls));
        assert_eq!(told.collect::<Vec<_>>(), [(1, 1, 2), (2, 2, 1)]);
    }

    #[test]
    fn old_rows_go_and_their_sums_stay() {
        let (_directory, store) = started();
        for id in [TODAY, TODAY + KEPT] {
            store.settle_call(call(id), end(5));
        }
        let thinned =
            store.command(|writer| writer.keep(|transaction| thin(transaction, TODAY + KEPT + 1)));
        assert_eq!(thinned.wait(), Ok(false));
        let reader = store.reader().expect("a reader");
        assert_eq!(reader.calls(9, None, None).expect("calls").len(), 1);
        let sums = reader.spend(SpendBy::User, 0, u64::MAX).expect("sums")["ann"];
        assert_eq!(sums.calls, 2);
    }
}
