//! What happened: occurrences that are worth a line, and who changed what.
//!
//! Both are bounded in age and number; the writer removes the oldest in small steps.

use rusqlite::{Connection, Row, params};

use super::{Kept, Reader, StoreError, clipped, integer, natural};

/// How long and how many occurrences are kept.
const EVENTS: Bounds = Bounds {
    table: "events",
    milliseconds: 90 * DAY,
    rows: 10_000,
};

/// How long and how many audit lines are kept.
const AUDIT: Bounds = Bounds {
    table: "audit",
    milliseconds: 365 * DAY,
    rows: 100_000,
};

const DAY: u64 = 86_400_000;

/// The longest word, such as a name or a kind, and the longest sentence, in bytes. More is cut off.
const WORD: usize = 256;
const SENTENCE: usize = 4096;

/// Rows that one step removes at most.
const STEP: usize = 500;

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Event {
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// How bad.
    pub level: Level,
    /// `peer`, `revision`, `reload`, `store`, `process`.
    pub kind: String,
    /// What it is about: a peer's address, a file.
    pub subject: String,
    /// What happened. At most 4 KiB are kept.
    pub text: String,
}

/// How bad something is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Level {
    /// Good to know.
    #[default]
    Info,
    /// Better than before.
    Good,
    /// Look at it.
    Warn,
    /// It costs requests.
    Bad,
}

/// A change that somebody asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Audit {
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// Who: the user's name as the system knows it.
    pub user: String,
    /// The user's number.
    pub uid: u32,
    /// The process that asked.
    pub pid: u32,
    /// By what: `dashboard`, `cli`.
    pub client: String,
    /// What was asked for: `apply`, `reload`, `peer`.
    pub action: String,
    /// With what, and what became of it. At most 4 KiB are kept.
    pub detail: String,
}

impl Reader {
    /// Occurrences, newest first, at most so many, and older than the one with a number.
    pub fn events(&self, limit: u32, before: Option<u64>) -> Result<Vec<Kept<Event>>, StoreError> {
        self.page(
            "SELECT id, at, level, kind, subject, text FROM events
             WHERE id < ?1 ORDER BY id DESC LIMIT ?2",
            limit,
            before,
            |row| {
                Ok(Event {
                    at: natural(row.get(1)?),
                    level: match row.get::<_, i64>(2)? {
                        1 => Level::Good,
                        2 => Level::Warn,
                        3 => Level::Bad,
                        _ => Level::Info,
                    },
                    kind: row.get(3)?,
                    subject: row.get(4)?,
                    text: row.get(5)?,
                })
            },
        )
    }

    /// Audit lines, newest first, at most so many, and older than the one with a number.
    pub fn audit(&self, limit: u32, before: Option<u64>) -> Result<Vec<Kept<Audit>>, StoreError> {
        self.page(
            "SELECT id, at, user, uid, pid, client, action, detail FROM audit
             WHERE id < ?1 ORDER BY id DESC LIMIT ?2",
            limit,
            before,
            |row| {
                Ok(Audit {
                    at: natural(row.get(1)?),
                    user: row.get(2)?,
                    uid: row.get(3)?,
                    pid: row.get(4)?,
                    client: row.get(5)?,
                    action: row.get(6)?,
                    detail: row.get(7)?,
                })
            },
        )
    }

    /// Rows of a statement whose first column is the number, and whose parameters are the number
    /// to stay under and the limit.
    pub(super) fn page<T>(
        &self,
        statement: &str,
        limit: u32,
        before: Option<u64>,
        read: impl Fn(&Row<'_>) -> Result<T, rusqlite::Error>,
    ) -> Result<Vec<Kept<T>>, StoreError> {
        self.ask(|connection| {
            connection
                .prepare(statement)?
                .query_map(params![integer(before.unwrap_or(u64::MAX)), limit], |row| {
                    Ok(Kept {
                        id: natural(row.get(0)?),
                        row: read(row)?,
                    })
                })?
                .collect()
        })
    }
}

/// Keeps an occurrence.
pub(super) fn insert(connection: &Connection, event: &Event) -> Result<(), rusqlite::Error> {
    let mut statement = connection.prepare(
        "INSERT INTO events (at, level, kind, subject, text) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    statement.execute(params![
        integer(event.at),
        event.level as u8,
        clipped(&event.kind, WORD),
        clipped(&event.subject, SENTENCE),
        clipped(&event.text, SENTENCE),
    ])?;
    Ok(())
}

/// Keeps an audit line and returns its number.
pub(super) fn insert_audit(connection: &Connection, audit: &Audit) -> Result<u64, rusqlite::Error> {
    let mut statement = connection.prepare(
        "INSERT INTO audit (at, user, uid, pid, client, action, detail)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    let id = statement.insert(params![
        integer(audit.at),
        clipped(&audit.user, WORD),
        audit.uid,
        audit.pid,
        clipped(&audit.client, WORD),
        clipped(&audit.action, WORD),
        clipped(&audit.detail, SENTENCE),
    ])?;
    Ok(natural(id))
}

/// Removes some of what is too old or too much at a time in milliseconds since 1970. Is there more?
pub(super) fn thin(connection: &Connection, now: u64) -> Result<bool, rusqlite::Error> {
    let removed = [EVENTS.thin(connection, now)?, AUDIT.thin(connection, now)?];
    Ok(removed.contains(&STEP))
}

struct Bounds {
    table: &'static str,
    milliseconds: u64,
    rows: u64,
}

impl Bounds {
    /// Looks at the oldest rows only, which are first in the order of numbers: no index on the time
    /// has to be kept, and a step takes the same time however long the table is.
    fn thin(&self, connection: &Connection, now: u64) -> Result<usize, rusqlite::Error> {
        let table = self.table;
        connection.execute(
            &format!(
                "DELETE FROM {table} WHERE id IN (SELECT id FROM {table} ORDER BY id LIMIT ?1)
                 AND (at < ?2 OR id <= (SELECT max(id) FROM {table}) - ?3)"
            ),
            params![
                integer(STEP as u64),
                integer(now.saturating_sub(self.milliseconds)),
                integer(self.rows),
            ],
        )
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::store::open;

    const NOW: u64 = 1_800_000_000_000;

    fn scratch() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("store.db");
        (directory, path)
    }

    fn event(at: u64, text: &str) -> Event {
        Event {
            at,
            level: Level::Warn,
            kind: "peer".into(),
            subject: "10.0.0.1:80".into(),
            text: text.into(),
        }
    }

    #[test]
    fn events_come_newest_first_in_pages() {
        let (_directory, path) = scratch();
        let opened = open::open_alone(&path).expect("a store");
        for count in 0..5 {
            insert(&opened.connection, &event(NOW, &count.to_string())).expect("kept");
        }
        let reader = Reader::open(&path).expect("a reader");
        let first = reader.events(2, None).expect("events");
        assert_eq!(first[0].row, event(NOW, "4"));
        assert_eq!(first[1].row.text, "3");
        let second = reader.events(9, Some(first[1].id)).expect("events");
        let texts: Vec<_> = second.iter().map(|kept| kept.row.text.as_str()).collect();
        assert_eq!(texts, ["2", "1", "0"]);
    }

    #[test]
    fn every_level_and_every_member_of_an_audit_line_comes_back() {
        let (_directory, path) = scratch();
        let opened = open::open_alone(&path).expect("a store");
        for level in [Level::Info, Level::Good, Level::Warn, Level::Bad] {
            let event = Event {
                level,
                ..event(1, "")
            };
            insert(&opened.connection, &event).expect("kept");
            let reader = Reader::open(&path).expect("a reader");
            assert_eq!(reader.events(1, None).expect("events")[0].row, event);
        }
        let audit = Audit {
            at: u64::MAX >> 1,
            user: "ann".into(),
            uid: u32::MAX,
            pid: 7,
            client: "cli".into(),
            action: "apply".into(),
            detail: "revision 4\0\u{1b}[2J".into(),
        };
        insert_audit(&opened.connection, &audit).expect("kept");
        let reader = Reader::open(&path).expect("a reader");
        assert_eq!(reader.audit(1, None).expect("lines")[0].row, audit);
    }

    #[test]
    fn a_text_that_is_too_long_is_cut_between_characters() {
        let (_directory, path) = scratch();
        let opened = open::open_alone(&path).expect("a store");
        insert(&opened.connection, &event(NOW, &"é€".repeat(4000))).expect("kept");
        let reader = Reader::open(&path).expect("a reader");
        let text = &reader.events(1, None).expect("events")[0].row.text;
        assert!(text.len() <= SENTENCE && text.len() > SENTENCE - 4);
    }

    #[test]
    fn what_is_too_old_or_too_much_goes_in_steps() {
        let (_directory, path) = scratch();
        let mut opened = open::open_alone(&path).expect("a store");
        let transaction = opened.connection.transaction().expect("a transaction");
        let old = 1200;
        for count in 0..old + EVENTS.rows + 3 {
            let at = if count < old {
                NOW - EVENTS.milliseconds - 1
            } else {
                NOW
            };
            insert(&transaction, &event(at, "")).expect("kept");
        }
        transaction.commit().expect("committed");
        let mut steps = 0;
        while thin(&opened.connection, NOW).expect("thinned") {
            steps += 1;
        }
        assert_eq!(steps, old as usize / STEP);
        let reader = Reader::open(&path).expect("a reader");
        let left = reader.events(u32::MAX, None).expect("events");
        assert_eq!(left.len() as u64, EVENTS.rows);
        assert!(left.iter().all(|kept| kept.row.at == NOW));
        assert_eq!(left[0].id, old + EVENTS.rows + 3);
    }
}
