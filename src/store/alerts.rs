//! Alerts, and whom they still have to be told to.
//!
//! The invariant: an alert and all who have to be told of it are kept in one transaction; a send is
//! over when that is kept, too. So each is told at least once, whenever the program ends.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::writer::Store;
use super::{Kept, Level, Reader, Receipt, StoreError, clipped, integer, natural};

/// So long alerts are kept, microseconds.
const KEPT: u64 = 90 * 86_400_000_000;

/// The longest name and the longest sentence in bytes. More is cut off.
const WORD: usize = 256;
const SENTENCE: usize = 2048;

/// An alert.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AlertRow {
    /// What receivers know it by.
    pub message: String,
    /// When, in microseconds since 1970.
    pub at: u64,
    /// `provider.down`, `budget.threshold`, …
    pub kind: String,
    /// What it is about.
    pub subject: String,
    /// How bad.
    pub level: Level,
    /// A sentence.
    pub text: String,
    /// When a person said that they have seen it.
    pub seen: Option<u64>,
}

/// One who has to be told of an alert.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AlertSend {
    /// Who.
    pub target: String,
    /// Where it stands.
    pub state: SendState,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried again, in microseconds since 1970.
    pub next: u64,
    /// When it was last tried; 0 if it never was.
    pub tried: u64,
    /// What went wrong last.
    pub error: String,
}

/// How somebody who is told of alerts stands.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TargetStanding {
    /// Alerts that wait for them.
    pub waiting: u64,
    /// Alerts that they were not told, and will not be.
    pub parked: u64,
    /// When they were last told, in microseconds since 1970.
    pub sent: Option<u64>,
    /// When they could not be, of what they do not know yet, and why.
    pub failed: Option<(u64, String)>,
}

/// An alert with all who were told, or have to be.
pub type ToldAlert = (Kept<AlertRow>, Vec<AlertSend>);

/// Where telling somebody stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendState {
    /// It is to be tried, perhaps again.
    Waiting,
    /// They know.
    Sent,
    /// It was given up.
    Parked,
}

impl SendState {
    const fn number(self) -> i64 {
        match self {
            Self::Waiting => 0,
            Self::Sent => 1,
            Self::Parked => 2,
        }
    }
}

impl Store {
    /// Keeps an alert and who has to be told of it, at once. Answers `false` if the same cause was
    /// kept less than `quiet` microseconds before.
    pub fn put_alert(&self, alert: AlertRow, targets: Vec<String>, quiet: u64) -> Receipt<bool> {
        self.command(move |writer| {
            writer.keep(|transaction| put(transaction, &alert, &targets, quiet))
        })
    }

    /// Says what came of telling somebody.
    pub fn settle_alert(&self, alert: u64, send: AlertSend) -> Receipt<()> {
        self.command(move |writer| {
            writer.keep(|transaction| {
                transaction
                    .execute(
                        "UPDATE alert_sends SET state = ?3, attempts = ?4, next = ?5, error = ?6,
                            tried = ?7
                         WHERE alert = ?1 AND target = ?2 AND state = 0",
                        params![
                            integer(alert),
                            send.target,
                            send.state.number(),
                            send.attempts,
                            integer(send.next),
                            clipped(&send.error, SENTENCE),
                            integer(send.tried),
                        ],
                    )
                    .map(drop)
            })
        })
    }

    /// Says that a person has seen an alert. Answers `false` if one had.
    pub fn see_alert(&self, message: String, now: u64) -> Receipt<bool> {
        self.command(move |writer| {
            writer.keep(|transaction| {
                let changed = transaction.execute(
                    "UPDATE alerts SET seen = ?2 WHERE message = ?1 AND seen IS NULL",
                    params![message, integer(now)],
                )?;
                Ok(changed > 0)
            })
        })
    }

    /// Says that a person has seen an alert and all before it, or all. Answers how many had not been.
    pub fn see_alerts(&self, newest: Option<String>, now: u64) -> Receipt<u64> {
        self.command(move |writer| {
            writer.keep(|transaction| {
                let changed = transaction.execute(
                    "UPDATE alerts SET seen = ?2 WHERE seen IS NULL AND
                     (?1 IS NULL OR id <= (SELECT id FROM alerts WHERE message = ?1))",
                    params![newest, integer(now)],
                )?;
                Ok(changed as u64)
            })
        })
    }

    /// Tries again, now, to tell those of an alert of whom it was given up, and those that wait.
    /// Answers how many those are.
    pub fn retry_alert(&self, message: String, now: u64) -> Receipt<u64> {
        self.command(move |writer| {
            writer.keep(|transaction| {
                let changed = transaction.execute(
                    "UPDATE alert_sends SET state = 0, next = ?2
                     WHERE alert = (SELECT id FROM alerts WHERE message = ?1) AND state <> 1",
                    params![message, integer(now)],
                )?;
                Ok(changed as u64)
            })
        })
    }
}

impl Reader {
    /// Alerts, newest first, with who was told.
    pub fn alerts(&self, limit: u32) -> Result<Vec<ToldAlert>, StoreError> {
        self.ask(|connection| {
            let mut sends = connection.prepare(
                "SELECT target, state, attempts, next, error, tried FROM alert_sends
                 WHERE alert = ?1 ORDER BY target",
            )?;
            let alerts: Vec<Kept<AlertRow>> = connection
                .prepare(&format!(
                    "SELECT {COLUMNS} FROM alerts ORDER BY id DESC LIMIT ?1"
                ))?
                .query_map([limit], alert)?
                .collect::<Result<_, _>>()?;
            let mut with_sends = |alert: Kept<AlertRow>| {
                let sends = sends.query_map([integer(alert.id)], |row| send(row, 0))?;
                Ok((alert, sends.collect::<Result<_, rusqlite::Error>>()?))
            };
            alerts.into_iter().map(&mut with_sends).collect()
        })
    }

    /// What has to be told by now, what waits longest first.
    pub fn due_alerts(
        &self,
        now: u64,
        limit: u32,
    ) -> Result<Vec<(Kept<AlertRow>, AlertSend)>, StoreError> {
        self.ask(|connection| {
            connection
                .prepare(
                    "SELECT id, message, at, kind, subject, level, text, seen, target, state,
                        attempts, next, error, tried
                     FROM alert_sends JOIN alerts ON id = alert
                     WHERE state = 0 AND next <= ?1 ORDER BY next LIMIT ?2",
                )?
                .query_map(params![integer(now), limit], |row| {
                    Ok((alert(row)?, send(row, 8)?))
                })?
                .collect()
        })
    }

    /// How somebody stands.
    pub fn alert_target(&self, target: &str) -> Result<TargetStanding, StoreError> {
        self.ask(|connection| {
            let of = |state: SendState| {
                connection.query_row(
                    "SELECT count(*), max(tried) FROM alert_sends WHERE state = ?1 AND target = ?2",
                    params![state.number(), target],
                    |row| Ok((natural(row.get(0)?), row.get::<_, Option<i64>>(1)?)),
                )
            };
            let (waiting, _) = of(SendState::Waiting)?;
            let (parked, _) = of(SendState::Parked)?;
            // Not counted: there may be many.
            let sent: Option<i64> = connection.query_row(
                "SELECT max(tried) FROM alert_sends WHERE state = 1 AND target = ?1",
                [target],
                |row| row.get(0),
            )?;
            let failed = |state: SendState| {
                connection
                    .query_row(
                        "SELECT tried, error FROM alert_sends
                         WHERE state = ?1 AND target = ?2 AND tried > 0
                         ORDER BY tried DESC LIMIT 1",
                        params![state.number(), target],
                        |row| Ok((natural(row.get(0)?), row.get::<_, String>(1)?)),
                    )
                    .optional()
            };
            let failed = [failed(SendState::Waiting)?, failed(SendState::Parked)?];
            Ok(TargetStanding {
                waiting,
                parked,
                sent: sent.map(natural).filter(|sent| *sent > 0),
                failed: failed.into_iter().flatten().max(),
            })
        })
    }

    /// How many have to be told, and how many could not be.
    pub fn alert_backlog(&self) -> Result<[u64; 2], StoreError> {
        self.ask(|connection| {
            let count = |state: SendState| {
                connection.query_row(
                    "SELECT count(*) FROM alert_sends WHERE state = ?1",
                    [state.number()],
                    |row| Ok(natural(row.get(0)?)),
                )
            };
            Ok([count(SendState::Waiting)?, count(SendState::Parked)?])
        })
    }

    /// How many of the newest, so many at most, say what is wrong and were seen by nobody.
    pub fn unseen_alerts(&self, newest: u32) -> Result<u64, StoreError> {
        self.ask(|connection| {
            connection.query_row(
                "SELECT count(*) FROM
                    (SELECT seen, level FROM alerts ORDER BY id DESC LIMIT ?1)
                 WHERE seen IS NULL AND level >= ?2",
                params![newest, WRONG],
                |row| Ok(natural(row.get(0)?)),
            )
        })
    }

    /// When the next has to be told; `None` if nothing waits.
    pub fn next_alert(&self) -> Result<Option<u64>, StoreError> {
        self.ask(|connection| {
            connection.query_row(
                "SELECT min(next) FROM alert_sends WHERE state = 0",
                [],
                |row| Ok(row.get::<_, Option<i64>>(0)?.map(natural)),
            )
        })
    }
}

/// The levels from here on say that something is wrong.
const WRONG: i64 = 2;

const COLUMNS: &str = "id, message, at, kind, subject, level, text, seen";

fn alert(row: &rusqlite::Row<'_>) -> Result<Kept<AlertRow>, rusqlite::Error> {
    Ok(Kept {
        id: natural(row.get(0)?),
        row: AlertRow {
            message: row.get(1)?,
            at: natural(row.get(2)?),
            kind: row.get(3)?,
            subject: row.get(4)?,
            level: match row.get::<_, i64>(5)? {
                1 => Level::Good,
                2 => Level::Warn,
                3 => Level::Bad,
                _ => Level::Info,
            },
            text: row.get(6)?,
            seen: row.get::<_, Option<i64>>(7)?.map(natural),
        },
    })
}

fn send(row: &rusqlite::Row<'_>, first: usize) -> Result<AlertSend, rusqlite::Error> {
    Ok(AlertSend {
        target: row.get(first)?,
        state: match row.get::<_, i64>(first + 1)? {
            0 => SendState::Waiting,
            1 => SendState::Sent,
            _ => SendState::Parked,
        },
        attempts: row.get(first + 2)?,
        next: natural(row.get(first + 3)?),
        error: row.get(first + 4)?,
        tried: natural(row.get(first + 5)?),
    })
}

fn put(
    connection: &Connection,
    alert: &AlertRow,
    targets: &[String],
    quiet: u64,
) -> Result<bool, rusqlite::Error> {
    let (kind, subject) = (clipped(&alert.kind, WORD), clipped(&alert.subject, WORD));
    let last: Option<i64> = connection
        .query_row(
            "SELECT at FROM alerts WHERE kind = ?1 AND subject = ?2 ORDER BY id DESC LIMIT 1",
            params![kind, subject],
            |row| row.get(0),
        )
        .optional()?;
    if last.is_some_and(|last| alert.at.saturating_sub(natural(last)) < quiet) {
        return Ok(false);
    }
    let level = match alert.level {
        Level::Info => 0,
        Level::Good => 1,
        Level::Warn => 2,
        Level::Bad => 3,
    };
    connection.execute(
        "INSERT INTO alerts (message, at, kind, subject, level, text)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            alert.message,
            integer(alert.at),
            kind,
            subject,
            level,
            clipped(&alert.text, SENTENCE)
        ],
    )?;
    let id = connection.last_insert_rowid();
    for target in targets {
        connection.execute(
            "INSERT OR IGNORE INTO alert_sends (alert, target, state, next) VALUES (?1, ?2, 0, ?3)",
            params![id, target, integer(alert.at)],
        )?;
    }
    connection.execute(
        "DELETE FROM alert_sends WHERE alert IN (SELECT id FROM alerts WHERE at < ?1)",
        [integer(alert.at.saturating_sub(KEPT))],
    )?;
    connection.execute(
        "DELETE FROM alerts WHERE at < ?1",
        [integer(alert.at.saturating_sub(KEPT))],
    )?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::State;

    #[test]
    fn an_alert_waits_for_each_who_has_to_be_told_and_a_cause_is_told_once_in_a_while() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::start(directory.path().join("store.db"));
        assert_eq!(store.wait_open(Duration::from_secs(60)), State::Open);
        let alert = |message: &str, at: u64| AlertRow {
            message: message.into(),
            at,
            kind: "provider.down".into(),
            subject: "openai".into(),
            level: Level::Bad,
            text: "it is down".into(),
            seen: None,
        };
        let put = |alert: AlertRow| {
            let targets = vec!["chat".to_owned(), "ops".to_owned()];
            store.put_alert(alert, targets, 100).wait()
        };
        assert_eq!(put(alert("a", 1000)), Ok(true));
        assert_eq!(put(alert("b", 1099)), Ok(false));
        assert_eq!(put(alert("c", 1100)), Ok(true));
        let reader = store.reader().expect("a reader");
        let due = reader.due_alerts(1000, 10).expect("due");
        assert_eq!(due.len(), 2);
        assert_eq!((&*due[0].0.row.message, &*due[0].1.target), ("a", "chat"));
        let settle = |alert: u64, target: &str, state: SendState| {
            let send = AlertSend {
                target: target.into(),
                state,
                attempts: 1,
                next: 5000,
                tried: 1200,
                error: "refused".into(),
            };
            store.settle_alert(alert, send).wait()
        };
        let first = due[0].0.id;
        assert_eq!(settle(first, "chat", SendState::Sent), Ok(()));
        assert_eq!(settle(first, "ops", SendState::Waiting), Ok(()));
        // What is over stays over.
        assert_eq!(settle(first, "chat", SendState::Waiting), Ok(()));
        assert_eq!(reader.due_alerts(4999, 10).expect("due").len(), 2);
        assert_eq!(reader.due_alerts(5000, 10).expect("due").len(), 3);
        assert_eq!(reader.next_alert(), Ok(Some(1100)));
        let all = reader.alerts(10).expect("alerts");
        assert_eq!((all.len(), &*all[0].0.row.message), (2, "c"));
        assert_eq!(all[1].1[0].state, SendState::Sent);
        assert_eq!((all[1].1[1].attempts, &*all[1].1[1].error), (1, "refused"));
        let chat = reader.alert_target("chat").expect("a standing");
        assert_eq!((chat.waiting, chat.parked, chat.sent), (1, 0, Some(1200)));
        let ops = reader.alert_target("ops").expect("a standing");
        assert_eq!((ops.waiting, ops.sent), (2, None));
        assert_eq!(ops.failed, Some((1200, "refused".to_owned())));
        assert_eq!(reader.alert_backlog(), Ok([3, 0]));
    }

    #[test]
    fn what_was_given_up_is_tried_again_when_a_person_says_so_and_is_seen_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::start(directory.path().join("store.db"));
        assert_eq!(store.wait_open(Duration::from_secs(60)), State::Open);
        let alert = AlertRow {
            message: "a".into(),
            at: 1000,
            ..AlertRow::default()
        };
        let targets = vec!["chat".to_owned(), "ops".to_owned()];
        assert_eq!(store.put_alert(alert, targets, 0).wait(), Ok(true));
        let reader = store.reader().expect("a reader");
        let due = reader.due_alerts(1000, 10).expect("due");
        for ((alert, send), state) in due.into_iter().zip([SendState::Sent, SendState::Parked]) {
            let send = AlertSend { state, ..send };
            assert_eq!(store.settle_alert(alert.id, send).wait(), Ok(()));
        }
        assert_eq!(reader.alert_backlog(), Ok([0, 1]));
        assert_eq!(store.retry_alert("b".into(), 2000).wait(), Ok(0));
        assert_eq!(store.retry_alert("a".into(), 2000).wait(), Ok(1));
        let due = reader.due_alerts(2000, 10).expect("due");
        assert_eq!((due.len(), &*due[0].1.target), (1, "ops"));
        assert_eq!(store.see_alert("a".into(), 3000).wait(), Ok(true));
        assert_eq!(store.see_alert("a".into(), 4000).wait(), Ok(false));
        assert_eq!(reader.alerts(1).expect("alerts")[0].0.row.seen, Some(3000));
    }

    #[test]
    fn all_are_seen_that_a_person_can_have_seen() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::start(directory.path().join("store.db"));
        assert_eq!(store.wait_open(Duration::from_secs(60)), State::Open);
        for message in ["a", "b", "c"] {
            let row = AlertRow {
                message: message.into(),
                at: 1,
                kind: "key.rotated".into(),
                subject: message.into(),
                level: Level::Warn,
                text: String::new(),
                seen: None,
            };
            assert_eq!(store.put_alert(row, Vec::new(), 0).wait(), Ok(true));
        }
        assert_eq!(store.see_alerts(Some("gone".into()), 10).wait(), Ok(0));
        assert_eq!(store.see_alerts(Some("b".into()), 10).wait(), Ok(2));
        let seen = || -> Vec<_> {
            let alerts = store.reader().expect("a reader").alerts(9);
            let alerts = alerts.expect("alerts").into_iter();
            alerts.map(|(alert, _)| alert.row.seen).collect()
        };
        assert_eq!(seen(), [None, Some(10), Some(10)]);
        assert_eq!(store.see_alerts(None, 20).wait(), Ok(1));
        assert_eq!(seen(), [Some(20), Some(10), Some(10)]);
    }
}
