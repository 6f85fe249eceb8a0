//! Keys of the gateway to language models, and what they spend.
//!
//! A key is changed in the store first and in force when that has happened. A secret is told in the
//! answer to the change that makes it, and nowhere else.

use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Date;
use parking_lot::Mutex;

use super::{Control, revisions};
use crate::alerts::{self, Alert, Severity};
use crate::conf::typed::log::Level;
use crate::llm::account::Moment;
use crate::llm::books::books;
use crate::llm::budget::Period;
use crate::llm::key::{Key, Secret};
use crate::log::error_log;
use crate::process::desk::refusal;
use crate::protocol::{
    KeyAction, KeyBudget, KeyChange, KeyChanged, KeyList, KeySecret, KeySettings, KeyState, KeyUse,
    Refusal, RefusalCode, SecretText, SpendReport, SpendRow,
};
use crate::store::calls::DAY;
use crate::store::{KeyRow, SecretRow, SecretUse, Spend, SpendBy, StoreError};
use crate::unit;
use crate::unit::money::Money;

/// How often it is looked whether the store has opened.
const LOOK: Duration = Duration::from_millis(50);

/// After a while of failures, less often.
const LATER: Duration = Duration::from_secs(5);

/// Secrets that nobody uses any more are looked for once an hour at least: clocks are set.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// Keys at most.
const MOST: usize = 10_000;

/// Secrets of a key at most, those that were before too.
const MOST_SECRETS: usize = 32;

/// The longest name of an owner or a group.
const LONGEST: usize = 128;

/// So many days are told if nothing else is asked for.
const DAYS: i64 = 30;

/// Held by the one who changes a key: two at once could undo each other's.
static CHANGING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Somebody wants a secret revoked once nobody uses it.
static ENDING: tokio::sync::Notify = tokio::sync::Notify::const_new();

/// Keys that cannot be used, as they were told when the books were read.
static UNUSABLE: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Opens the books once the store is open; until then no call begins.
pub async fn open_books(control: Arc<Control>) {
    let mut failures = 0;
    let opened = loop {
        let store = control.desk.store.clone();
        let opening = tokio::task::spawn_blocking(move || books().open(&store, Moment::now()));
        match opening.await {
            Ok(Ok(opened)) => break opened,
            _ => {
                failures += 1;
                let pause = if failures < 100 { LOOK } else { LATER };
                tokio::time::sleep(pause).await;
            }
        }
    };
    if opened.interrupted.calls > 0 {
        error_log::report(
            Level::Warn,
            format_args!(
                "{} calls of language models were under way when the process before ended; ${} \
                 was reserved for them and counts as spent",
                opened.interrupted.calls, opened.interrupted.charged
            ),
        );
        let under_way = match opened.interrupted.calls {
            1 => "1 call was under way".to_owned(),
            calls => format!("{calls} calls were under way"),
        };
        alerts::raise(Alert {
            kind: "ledger.reconcile_gap",
            subject: "interrupted".to_owned(),
            severity: Severity::Warn,
            text: format!(
                "{} when the process before ended; ${} that was reserved for \
                 them counts as spent, whatever they cost",
                under_way, opened.interrupted.charged
            ),
            quiet: Duration::ZERO,
        });
    }
    tell_unusable(opened.unusable);
    revoke_unused(&control).await;
}

/// Revokes secrets when nobody has used them for as long as was asked for; for ever.
async fn revoke_unused(control: &Control) {
    loop {
        let now = Moment::now();
        let mut next = LONGEST_PAUSE;
        for key in books().keys().all() {
            if !key.secrets.iter().any(is_to_end) {
                continue;
            }
            match revoke_unused_of(control, &key.row.name, now).await {
                Ok(Some(wait)) => next = next.min(wait),
                Ok(None) => {}
                Err(refusal) => {
                    next = next.min(LATER);
                    error_log::report(
                        Level::Error,
                        format_args!(
                            "unused secrets of the key `{}` cannot be revoked: {}",
                            key.row.name, refusal.message
                        ),
                    );
                }
            }
        }
        // A secret that is used meanwhile is due later, never earlier.
        let _ = tokio::time::timeout(next.max(LOOK), ENDING.notified()).await;
    }
}

/// Is it revoked once nobody uses it?
fn is_to_end(secret: &SecretRow) -> bool {
    secret.idle.is_some() && secret.revoked.is_none()
}

/// Revokes those of one key; tells when the next may be due.
async fn revoke_unused_of(
    control: &Control,
    name: &str,
    now: Moment,
) -> Result<Option<Duration>, Refusal> {
    let _alone = CHANGING.lock().await;
    let Some(key) = books().keys().named(name).map(Arc::clone) else {
        return Ok(None);
    };
    let store = &control.desk.store;
    // Calls that are over count, also those on their way to the disk.
    let flushed = store.flush().outcome().await;
    flushed.map_err(|error| failed(&error))?;
    let id = key.row.id;
    let waits = key.secrets.iter().filter(|secret| is_to_end(secret));
    let longest = waits.filter_map(|secret| secret.idle).max().unwrap_or(0);
    let since = now.unix.saturating_sub(longest);
    let uses = revisions::read(control, move |reader| reader.secret_uses(id, since)).await?;
    let mut secrets = key.secrets.clone();
    let (mut next, mut has_changed) = (None, false);
    for secret in secrets.iter_mut().filter(|secret| is_to_end(secret)) {
        let of_it = uses.iter().filter(|used| used.secret == secret.id);
        let last = of_it.map(|used| used.last).max();
        let last = last.unwrap_or(secret.created).max(secret.created);
        let due = last.saturating_add(secret.idle.unwrap_or_default());
        if due <= now.unix {
            secret.revoked = Some(now.unix);
            has_changed = true;
            error_log::report(
                Level::Notice,
                format_args!(
                    "the secret `{}…` of the key `{name}` is revoked: nobody has used it for {} s",
                    secret.prefix,
                    secret.idle.unwrap_or_default() / 1_000_000
                ),
            );
            continue;
        }
        let wait = Duration::from_micros(due - now.unix);
        next = Some(next.map_or(wait, |next: Duration| next.min(wait)));
    }
    if has_changed {
        let kept = store.put_key(key.row.clone(), secrets).outcome().await;
        kept.map_err(|error| failed(&error))?;
        read_keys().await?;
    }
    Ok(next)
}

fn tell_unusable(unusable: Vec<(String, crate::llm::key::KeyError)>) {
    let lines: Vec<String> = unusable
        .iter()
        .map(|(name, error)| format!("the key `{}` cannot be used: {error}", name.escape_debug()))
        .collect();
    for line in &lines {
        error_log::report(Level::Error, format_args!("{line}"));
    }
    *UNUSABLE.lock() = lines;
}

/// All keys.
pub async fn list(control: &Control) -> Result<KeyList, Refusal> {
    opened(control)?;
    let now = Moment::now();
    let keys = books().keys();
    let known: Vec<(u64, Option<u64>)> = (keys.all().iter())
        .map(|key| (key.row.id, rotated(key, now)))
        .collect();
    // Of keys that are being rotated, who has moved.
    let uses = revisions::read(control, move |reader| {
        let uses = known.into_iter().map(|(id, since)| {
            let uses = since.map(|since| reader.secret_uses(id, since));
            Ok((reader.last_use(id)?, uses.transpose()?.unwrap_or_default()))
        });
        uses.collect::<Result<Vec<_>, StoreError>>()
    })
    .await?;
    let keys = keys.all().iter().zip(uses);
    Ok(KeyList {
        keys: keys
            .map(|(key, (last, uses))| KeyState {
                last_used: last.map_or(0, millis),
                ..told(key, &uses, now)
            })
            .collect(),
        unusable: UNUSABLE.lock().clone(),
    })
}

/// Since when it is looked who uses the secrets of a key of which more than one can be used.
fn rotated(key: &Key, now: Moment) -> Option<u64> {
    let usable = key.secrets.iter().filter(|secret| {
        secret.revoked.is_none() && secret.expires.is_none_or(|expires| expires > now.unix)
    });
    let created = || key.secrets.iter().map(|secret| secret.created).min();
    (usable.count() > 1).then(created).flatten()
}

/// A key, with who uses its secrets.
pub async fn show(control: &Control, name: &str) -> Result<KeyState, Refusal> {
    opened(control)?;
    let key = named(name)?;
    let id = key.row.id;
    // The oldest of those that still count, or the first.
    let since = key.secrets.iter().map(|secret| secret.created).min();
    let since = since.unwrap_or_default();
    let (uses, last) = revisions::read(control, move |reader| {
        Ok((reader.secret_uses(id, since)?, reader.last_use(id)?))
    })
    .await?;
    Ok(KeyState {
        last_used: last.map_or(0, millis),
        ..told(&key, &uses, Moment::now())
    })
}

/// What an action is called in the audit.
pub const fn word(action: KeyAction) -> &'static str {
    match action {
        KeyAction::Add => "add",
        KeyAction::Edit => "edit",
        KeyAction::Rotate => "rotate",
        KeyAction::Revoke => "revoke",
        KeyAction::Remove => "remove",
    }
}

/// Makes or changes a key. The answer comes when that survives a loss of power and is in force.
pub async fn change(control: &Control, change: &KeyChange) -> Result<KeyChanged, Refusal> {
    opened(control)?;
    let _alone = CHANGING.lock().await;
    let store = &control.desk.store;
    let now = Moment::now();
    let mut secret = None;
    let mut rotated_until = None;
    let (mut row, mut secrets) = match change.action {
        KeyAction::Add => {
            if books().keys().named(&change.name).is_some() {
                return Err(refusal(
                    RefusalCode::Conflict,
                    format!("there is a key `{}` already", change.name.escape_debug()),
                ));
            }
            if books().keys().all().len() >= MOST {
                return Err(invalid(format!("there are {MOST} keys already")));
            }
            let row = KeyRow {
                name: change.name.clone(),
                created: now.unix,
                zone: zone_of_budgets(control),
                ..KeyRow::default()
            };
            (row, Vec::new())
        }
        _ => {
            let key = named(&change.name)?;
            (key.row.clone(), key.secrets.clone())
        }
    };
    match change.action {
        KeyAction::Remove => {
            let removed = store.remove_key(row.id).outcome().await;
            removed.map_err(|error| failed(&error))?;
            read_keys().await?;
            return Ok(KeyChanged::default());
        }
        KeyAction::Add | KeyAction::Rotate => {
            let made = match &change.secret {
                Some(text) => Secret::foreign(&text.0).ok_or_else(|| {
                    invalid(
                        "a secret from elsewhere has 16 to 512 visible characters of ASCII"
                            .to_owned(),
                    )
                })?,
                None => Secret::generate().ok_or_else(|| {
                    refusal(RefusalCode::Failed, "the system gives no random numbers")
                })?,
            };
            let ends = now.unix.saturating_add(microseconds(change.overlap));
            for before in &mut secrets {
                if before.expires.is_none_or(|expires| expires > ends) {
                    before.expires = Some(ends);
                }
            }
            // Those that nobody can use any more make room.
            if secrets.len() >= MOST_SECRETS {
                secrets.retain(|secret| secret.expires.is_none_or(|expires| expires > now.unix));
            }
            if secrets.len() >= MOST_SECRETS {
                return Err(invalid(format!("a key has at most {MOST_SECRETS} secrets")));
            }
            secrets.push(made.row(now.unix));
            if change.secret.is_none() {
                secret = Some(SecretText(made.reveal().to_owned()));
            }
            rotated_until = (change.action == KeyAction::Rotate).then_some(ends);
        }
        KeyAction::Revoke => match (&change.prefix, change.unused) {
            (None, None) => row.is_revoked = true,
            (None, Some(unused)) => {
                let Some((_, before)) = secrets
                    .split_last_mut()
                    .filter(|(_, rest)| !rest.is_empty())
                else {
                    return Err(Refusal {
                        hint: Some("rotate it first, or name a secret with `--secret`".to_owned()),
                        ..invalid("this key has only one secret".to_owned())
                    });
                };
                for secret in before {
                    secret.idle = Some(microseconds(unused.max(1)));
                }
            }
            (Some(prefix), unused) => {
                let mut found = secrets
                    .iter_mut()
                    .filter(|secret| secret.prefix.starts_with(&**prefix) && !prefix.is_empty());
                match (found.next(), found.next()) {
                    (Some(secret), None) => match unused {
                        None => secret.revoked = Some(now.unix),
                        Some(unused) => secret.idle = Some(microseconds(unused.max(1))),
                    },
                    (None, _) => {
                        return Err(refusal(
                            RefusalCode::NotFound,
                            "no secret of this key begins so",
                        ));
                    }
                    (Some(_), Some(_)) => {
                        return Err(invalid("several secrets of this key begin so".to_owned()));
                    }
                }
            }
        },
        KeyAction::Edit => {}
    }
    apply(&change.settings, change.action, &mut row, &mut secrets, now)?;
    // Whether it can be used is found out before it is kept.
    Key::new(row.clone(), secrets.clone(), None, now)
        .map_err(|error| invalid(error.to_string()))?;
    let name = row.name.clone();
    let kept = store.put_key(row, secrets).outcome().await;
    kept.map_err(|error| failed(&error))?;
    read_keys().await?;
    if change.unused.is_some() {
        ENDING.notify_one();
    }
    if let Some(until) = rotated_until {
        tell_rotated(&name, until.saturating_sub(now.unix));
    }
    Ok(KeyChanged {
        key: Some(told(&*named(&name)?, &[], now)),
        secret,
    })
}

/// A key has a new secret: who uses it has so many microseconds to move.
fn tell_rotated(name: &str, overlap: u64) {
    let old = match overlap / 1_000_000 {
        0 => "the one before works no more".to_owned(),
        seconds => {
            let overlap = unit::time::print(Duration::from_secs(seconds));
            format!("the one before works for {overlap} more")
        }
    };
    alerts::raise(Alert {
        kind: "key.rotated",
        subject: name.to_owned(),
        severity: Severity::Info,
        text: format!("the key `{name}` has a new secret; {old}"),
        quiet: Duration::ZERO,
    });
}

/// Whose calendar the budgets of a new key follow.
fn zone_of_budgets(control: &Control) -> String {
    let in_force = control.desk.in_force();
    let zone = &in_force.generation.http.llm.rules.zone;
    zone.iana_name().unwrap_or("UTC").to_owned()
}

fn apply(
    settings: &KeySettings,
    action: KeyAction,
    row: &mut KeyRow,
    secrets: &mut [SecretRow],
    now: Moment,
) -> Result<(), Refusal> {
    for text in [&settings.group, &settings.owner].into_iter().flatten() {
        if text.chars().count() > LONGEST || text.chars().any(char::is_control) {
            return Err(invalid(format!(
                "a group and an owner have at most {LONGEST} visible characters"
            )));
        }
    }
    for (from, to) in [
        (&settings.name, &mut row.name),
        (&settings.group, &mut row.group),
        (&settings.owner, &mut row.owner),
        (&settings.gateway, &mut row.gateway),
    ] {
        if let Some(from) = from {
            to.clone_from(from);
        }
    }
    if let Some(zone) = &settings.zone {
        if action != KeyAction::Add && *zone != row.zone {
            return Err(Refusal {
                hint: Some("make another key with that zone".to_owned()),
                ..invalid("the calendar of a key's budgets stays the one it was made with".into())
            });
        }
        row.zone.clone_from(zone);
    }
    for (from, to) in [
        (&settings.models, &mut row.models),
        (&settings.addresses, &mut row.addresses),
    ] {
        if let Some(from) = from {
            to.clone_from(from);
        }
    }
    for (from, to) in [
        (settings.rpm, &mut row.rpm),
        (settings.tpm, &mut row.tpm),
        (settings.concurrency, &mut row.concurrency),
    ] {
        if let Some(from) = from {
            *to = (from > 0).then_some(from);
        }
    }
    for setting in &settings.budgets {
        let place = Period::ALL
            .iter()
            .position(|period| period.word() == setting.period);
        let place = place.ok_or_else(|| {
            invalid(format!(
                "`{}` is none of day, week, month and total",
                setting.period.escape_debug()
            ))
        })?;
        row.budgets[place] = match &setting.limit {
            None => None,
            Some(text) => {
                let limit = Money::parse(text).filter(|limit| *limit > Money::ZERO);
                Some(limit.ok_or_else(|| {
                    invalid(format!("`{}` is no amount of dollars", text.escape_debug()))
                })?)
            }
        };
    }
    if let Some(seconds) = settings.expires
        && let Some(newest) = secrets.last_mut()
    {
        newest.expires = match seconds {
            0 => None,
            seconds => Some(now.unix.saturating_add(microseconds(seconds))),
        };
    }
    Ok(())
}

/// What was spent in some days, by something.
pub async fn spend(
    control: &Control,
    by: &str,
    from: Option<&str>,
    to: Option<&str>,
) -> Result<SpendReport, Refusal> {
    let kind = match by {
        "key" => SpendBy::Key,
        "gateway" => SpendBy::Gateway,
        "user" => SpendBy::User,
        "model" => SpendBy::Model,
        "provider" => SpendBy::Provider,
        "day" => SpendBy::Day,
        _ => {
            return Err(Refusal {
                hint: Some("key, gateway, user, model, provider or day".to_owned()),
                ..invalid(format!("spend is not told by `{}`", by.escape_debug()))
            });
        }
    };
    let today = day_of(Moment::now().unix);
    let to = to.map_or(Ok(today), day)?;
    let from = from.map_or(Ok(to - DAYS + 1), day)?;
    // What has ended is told, also if it is only just on its way to the disk.
    flush(control).await?;
    let number = |day: i64| u64::try_from(day).unwrap_or(0);
    let (first, end) = (number(from), number(to.saturating_add(1)));
    let sums = revisions::read(control, move |reader| reader.spend(kind, first, end)).await?;
    let mut total = Spend::default();
    let mut rows = Vec::new();
    for (name, sum) in sums {
        total.add(&sum);
        rows.push((sum.charged, spend_row(name, &sum)));
    }
    if kind != SpendBy::Day {
        rows.sort_by_key(|(charged, _)| std::cmp::Reverse(*charged));
    }
    Ok(SpendReport {
        by: by.to_owned(),
        from: shown_day(from),
        to: shown_day(to),
        rows: rows.into_iter().map(|(_, row)| row).collect(),
        total: spend_row(String::new(), &total),
    })
}

fn spend_row(name: String, sum: &Spend) -> SpendRow {
    SpendRow {
        name,
        calls: sum.calls,
        failed: sum.failed,
        unpriced: sum.unpriced,
        estimated: sum.estimated,
        input: sum.input,
        cache_read: sum.cache_read,
        output: sum.output,
        cost: sum.charged.to_string(),
        saved: sum.saved.to_string(),
    }
}

const EPOCH: Date = Date::constant(1970, 1, 1);

/// Days since 1970.
fn day(text: &str) -> Result<i64, Refusal> {
    let date: Result<Date, _> = text.parse();
    let date = date.ok().filter(|date| *date >= EPOCH);
    let date = date.ok_or_else(|| Refusal {
        hint: Some("for example 2026-11-22".to_owned()),
        ..invalid(format!("`{}` is not a day", text.escape_debug()))
    })?;
    Ok(date.duration_since(EPOCH).as_secs() / 86_400)
}

fn day_of(unix: u64) -> i64 {
    i64::try_from(unix / DAY).unwrap_or_default()
}

fn shown_day(day: i64) -> String {
    let date = EPOCH.checked_add(jiff::SignedDuration::from_hours(day.saturating_mul(24)));
    date.map(|date| date.to_string()).unwrap_or_default()
}

fn microseconds(seconds: u64) -> u64 {
    seconds.saturating_mul(1_000_000)
}

fn millis(microseconds: u64) -> u64 {
    microseconds / 1000
}

fn told(key: &Key, uses: &[SecretUse], now: Moment) -> KeyState {
    let row = &key.row;
    let standing = key.account.standing(now);
    let secrets = key.secrets.iter().map(|secret| KeySecret {
        prefix: secret.prefix.clone(),
        created: millis(secret.created),
        not_before: millis(secret.not_before),
        expires: secret.expires.map(millis),
        revoked: secret.revoked.map(millis),
        idle: secret.idle.map(|idle| idle / 1_000_000),
        uses: uses
            .iter()
            .filter(|used| used.secret == secret.id)
            .map(|used| KeyUse {
                gateway: used.gateway.clone(),
                first: millis(used.first),
                last: millis(used.last),
                calls: used.calls,
            })
            .collect(),
    });
    let budgets = standing.budgets.iter().map(|budget| KeyBudget {
        period: budget.period.word().to_owned(),
        limit: budget.limit.map(|limit| limit.to_string()),
        spent: budget.spent.to_string(),
        held: budget.held.to_string(),
    });
    KeyState {
        name: row.name.clone(),
        group: row.group.clone(),
        owner: row.owner.clone(),
        created: millis(row.created),
        revoked: row.is_revoked,
        models: row.models.clone(),
        addresses: row.addresses.clone(),
        gateway: row.gateway.clone(),
        rpm: row.rpm,
        tpm: row.tpm,
        concurrency: row.concurrency,
        zone: row.zone.clone(),
        budgets: budgets.collect(),
        running: standing.running,
        last_used: 0,
        secrets: secrets.collect(),
    }
}

/// Waits until what has ended is on the disk.
pub async fn flush(control: &Control) -> Result<(), Refusal> {
    let flushed = control.desk.store.flush().outcome().await;
    flushed.map_err(|error| failed(&error))
}

/// A key by its name.
pub fn named(name: &str) -> Result<Arc<Key>, Refusal> {
    let keys = books().keys();
    let found = keys.named(name).map(Arc::clone);
    found.ok_or_else(|| Refusal {
        hint: Some("`openclaw key list` tells which there are".to_owned()),
        ..refusal(
            RefusalCode::NotFound,
            format!("there is no key `{}`", name.escape_debug()),
        )
    })
}

/// Are the books open?
pub fn opened(control: &Control) -> Result<(), Refusal> {
    if books().are_open() {
        return Ok(());
    }
    let why = match control.desk.store.state() {
        crate::store::State::Failed(error) => error.to_string(),
        _ => "it is being opened".to_owned(),
    };
    Err(refusal(RefusalCode::NoStore, format!("the store: {why}")))
}

/// Reads keys and what they have spent anew, after another store was put in place.
pub async fn reread() -> Result<(), Refusal> {
    if !books().are_open() {
        return Ok(());
    }
    let reading = tokio::task::spawn_blocking(|| books().restored(Moment::now()));
    let read = reading.await.unwrap_or(Err(StoreError::Closed));
    tell_unusable(read.map_err(|error| failed(&error))?);
    Ok(())
}

async fn read_keys() -> Result<(), Refusal> {
    let reading = tokio::task::spawn_blocking(|| books().read_keys(Moment::now()));
    let read = reading.await.unwrap_or(Err(StoreError::Closed));
    tell_unusable(read.map_err(|error| failed(&error))?);
    Ok(())
}

fn failed(error: &StoreError) -> Refusal {
    match error {
        StoreError::Taken => refusal(RefusalCode::Conflict, error.to_string()),
        _ => refusal(RefusalCode::NoStore, format!("the store: {error}")),
    }
}

fn invalid(reason: String) -> Refusal {
    refusal(RefusalCode::Invalid, reason)
}
