//! The history of the configuration: what was put into force or refused, and the texts of it.
//!
//! A text is kept once however many revisions have it, and goes with the last of them. Numbers of
//! revisions count up and are not used again. Kept are the newest [`KEPT`], of these at most
//! [`REFUSED_KEPT`] refused ones, fewer if their texts are larger than [`TEXTS_KEPT`]; what is in
//! force for a main file stays.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use sha2::{Digest as _, Sha256};

use super::{Kept, Reader, StoreError, clipped, integer, natural};

/// Revisions that are kept.
pub const KEPT: u32 = 1000;

/// Refused revisions that are kept.
pub const REFUSED_KEPT: u32 = 100;

/// Bytes of text that are kept, all revisions together.
pub const TEXTS_KEPT: u64 = 256 << 20;

/// Bytes that the files of one revision may have together.
pub const LARGEST: usize = 16 << 20;

/// Main files whose present revision stays however old it is.
const MAIN_FILES: u32 = 100;

/// The longest name, and the longest note or reason, in bytes. More is cut off.
const NAME: usize = 4096;
const NOTE: usize = 16 << 10;

/// A revision without its texts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Revision {
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// Who: the user's name.
    pub author: String,
    /// By what: `dashboard`, `cli`, `reload`, `start`.
    pub client: String,
    /// What it was for. At most 16 KiB are kept.
    pub note: String,
    /// Was it put into force?
    pub outcome: Outcome,
    /// Why it was refused. At most 16 KiB are kept.
    pub reason: Option<String>,
    /// The number of the revision that it changed; 0 for the first.
    pub parent: u64,
    /// The number of the revision whose change it takes back, if it is an undo.
    pub reverts: Option<u64>,
    /// Lines that came.
    pub added: u32,
    /// Lines that went.
    pub removed: u32,
    /// What the caller tells equal sets of files by.
    pub digest: String,
    /// The path of the main file. One store may serve several.
    pub conf: String,
}

/// What became of a revision.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Outcome {
    /// It was put into force.
    #[default]
    Applied,
    /// It was not.
    Refused,
}

/// A file of a revision.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RevisionFile {
    /// Absolute.
    pub path: String,
    /// The whole text.
    pub text: String,
}

/// A revision and its texts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RevisionTexts {
    /// The revision.
    pub revision: Kept<Revision>,
    /// Its files in the order in which they were given: the main file first.
    pub files: Vec<RevisionFile>,
}

const COLUMNS: &str = "id, at, author, client, note, outcome, reason, parent, reverts, added, \
                       removed, digest, conf";

impl Reader {
    /// Revisions, newest first, at most so many, and older than the one with a number.
    pub fn revisions(
        &self,
        limit: u32,
        before: Option<u64>,
    ) -> Result<Vec<Kept<Revision>>, StoreError> {
        let statement =
            format!("SELECT {COLUMNS} FROM revisions WHERE id < ?1 ORDER BY id DESC LIMIT ?2");
        self.page(&statement, limit, before, read)
    }

    /// A revision with its files in the order in which they were given, if it is kept.
    pub fn revision(&self, id: u64) -> Result<Option<RevisionTexts>, StoreError> {
        // One transaction: the writer may remove the revision between the two questions.
        let found = self.ask(|connection| {
            let transaction = connection.unchecked_transaction()?;
            let revision = transaction
                .query_row(
                    &format!("SELECT {COLUMNS} FROM revisions WHERE id = ?1"),
                    [integer(id)],
                    |row| {
                        Ok(Kept {
                            id: natural(row.get(0)?),
                            row: read(row)?,
                        })
                    },
                )
                .optional()?;
            let files: Vec<(RevisionFile, Vec<u8>)> = transaction
                .prepare(
                    "SELECT path, texts.text, texts.digest
                     FROM revision_files JOIN texts ON texts.id = revision_files.text
                     WHERE revision = ?1 ORDER BY position",
                )?
                .query_map([integer(id)], |row| {
                    let file = RevisionFile {
                        path: row.get(0)?,
                        text: row.get(1)?,
                    };
                    Ok((file, row.get(2)?))
                })?
                .collect::<Result<_, _>>()?;
            Ok(revision.map(|revision| (revision, files)))
        })?;
        let Some((revision, files)) = found else {
            return Ok(None);
        };
        let mut whole = Vec::with_capacity(files.len());
        for (file, digest) in files {
            // An undo would put it into force: better no text than a wrong one.
            if Sha256::digest(&file.text).as_slice() != digest {
                return Err(StoreError::Damaged {
                    path: self.path().to_owned(),
                    found: format!(
                        "the text of `{}` in revision {id} is not the one that was written",
                        file.path
                    ),
                });
            }
            whole.push(file);
        }
        Ok(Some(RevisionTexts {
            revision,
            files: whole,
        }))
    }

    /// The newest revision of a main file that was put into force.
    pub fn latest_applied(&self, conf: &str) -> Result<Option<Kept<Revision>>, StoreError> {
        self.ask(|connection| {
            connection
                .query_row(
                    &format!(
                        "SELECT {COLUMNS} FROM revisions WHERE outcome = 0 AND conf = ?1
                         ORDER BY id DESC LIMIT 1"
                    ),
                    [clipped(conf, NAME)],
                    |row| {
                        Ok(Kept {
                            id: natural(row.get(0)?),
                            row: read(row)?,
                        })
                    },
                )
                .optional()
        })
    }
}

fn read(row: &Row<'_>) -> Result<Revision, rusqlite::Error> {
    Ok(Revision {
        at: natural(row.get(1)?),
        author: row.get(2)?,
        client: row.get(3)?,
        note: row.get(4)?,
        outcome: match row.get::<_, i64>(5)? {
            0 => Outcome::Applied,
            _ => Outcome::Refused,
        },
        reason: row.get(6)?,
        parent: natural(row.get(7)?),
        reverts: row.get::<_, Option<i64>>(8)?.map(natural),
        added: row.get(9)?,
        removed: row.get(10)?,
        digest: row.get(11)?,
        conf: row.get(12)?,
    })
}

/// Would these files be taken?
pub(super) fn fits(files: &[RevisionFile]) -> Result<(), StoreError> {
    let bytes = files
        .iter()
        .map(|file| file.path.len() + file.text.len())
        .sum();
    if bytes > LARGEST {
        return Err(StoreError::TooLarge {
            bytes,
            limit: LARGEST,
        });
    }
    Ok(())
}

/// Keeps a revision, removes what is too old or too much, and returns the new number.
pub(super) fn insert(
    connection: &Connection,
    revision: &Revision,
    files: &[RevisionFile],
) -> Result<u64, rusqlite::Error> {
    let id = connection
        .prepare(
            "INSERT INTO revisions (at, author, client, note, outcome, reason, parent, reverts,
                                    added, removed, digest, conf)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?
        .insert(params![
            integer(revision.at),
            clipped(&revision.author, NAME),
            clipped(&revision.client, NAME),
            clipped(&revision.note, NOTE),
            revision.outcome as u8,
            revision
                .reason
                .as_deref()
                .map(|reason| clipped(reason, NOTE)),
            integer(revision.parent),
            revision.reverts.map(integer),
            revision.added,
            revision.removed,
            clipped(&revision.digest, NAME),
            clipped(&revision.conf, NAME),
        ])?;
    for (position, file) in files.iter().enumerate() {
        let digest = Sha256::digest(&file.text);
        let text: i64 = connection.query_row(
            // An update that changes nothing makes RETURNING tell the number of the one there is.
            "INSERT INTO texts (digest, bytes, text) VALUES (?1, ?2, ?3)
             ON CONFLICT (digest) DO UPDATE SET digest = excluded.digest RETURNING id",
            params![
                digest.as_slice(),
                integer(file.text.len() as u64),
                file.text
            ],
            |row| row.get(0),
        )?;
        connection.execute(
            "INSERT INTO revision_files (revision, position, path, text) VALUES (?1, ?2, ?3, ?4)",
            params![id, integer(position as u64), file.path, text],
        )?;
    }
    thin(connection, KEPT, REFUSED_KEPT, TEXTS_KEPT)?;
    Ok(natural(id))
}

/// Is every text the one that was written?
pub(super) fn texts_are_whole(connection: &Connection) -> Result<bool, rusqlite::Error> {
    let mut statement = connection.prepare("SELECT text, digest FROM texts")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let text = row.get_ref(0)?.as_bytes()?;
        if Sha256::digest(text).as_slice() != row.get_ref(1)?.as_blob()? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Removes the oldest revisions beyond the bounds, and the texts that only they had.
fn thin(
    connection: &Connection,
    kept: u32,
    refused: u32,
    bytes: u64,
) -> Result<(), rusqlite::Error> {
    // What is in force for one of the main files, or is the newest of all.
    const STAYS: &str = "id IN (SELECT max(id) FROM revisions WHERE outcome = 0
                                GROUP BY conf ORDER BY 1 DESC LIMIT ?1)
                         OR id = (SELECT max(id) FROM revisions)";
    let mut removed = connection.execute(
        &format!(
            "DELETE FROM revisions WHERE NOT ({STAYS}) AND (
                 id <= (SELECT id FROM revisions ORDER BY id DESC LIMIT 1 OFFSET ?2)
                 OR outcome = 1 AND id <= (SELECT id FROM revisions WHERE outcome = 1
                                           ORDER BY id DESC LIMIT 1 OFFSET ?3))"
        ),
        params![MAIN_FILES, kept, refused],
    )?;
    loop {
        if removed > 0 {
            connection.execute(
                "DELETE FROM texts WHERE id NOT IN (SELECT text FROM revision_files)",
                [],
            )?;
        }
        let held: i64 =
            connection.query_row("SELECT coalesce(sum(bytes), 0) FROM texts", [], |row| {
                row.get(0)
            })?;
        if natural(held) <= bytes {
            return Ok(());
        }
        removed = connection.execute(
            &format!(
                "DELETE FROM revisions WHERE id IN (SELECT id FROM revisions WHERE NOT ({STAYS})
                                                    ORDER BY id LIMIT 10)"
            ),
            params![MAIN_FILES],
        )?;
        if removed == 0 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::store::open::{self, Opened};

    fn scratch() -> (tempfile::TempDir, PathBuf, Opened) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("store.db");
        let opened = open::open_alone(&path).expect("a store");
        (directory, path, opened)
    }

    fn revision(conf: &str, outcome: Outcome) -> Revision {
        Revision {
            outcome,
            conf: conf.into(),
            ..Revision::default()
        }
    }

    fn file(path: &str, text: &str) -> RevisionFile {
        RevisionFile {
            path: path.into(),
            text: text.into(),
        }
    }

    fn texts(opened: &Opened) -> i64 {
        opened
            .connection
            .query_row("SELECT count(*) FROM texts", [], |row| row.get(0))
            .expect("a number")
    }

    #[test]
    fn every_member_and_every_byte_of_text_comes_back() {
        let (_directory, path, opened) = scratch();
        let revision = Revision {
            at: 1_800_000_000_123,
            author: "ann".into(),
            client: "dashboard".into(),
            note: "ünïcode\n".into(),
            outcome: Outcome::Refused,
            reason: Some("line 3".into()),
            parent: 41,
            reverts: Some(7),
            added: u32::MAX,
            removed: 2,
            digest: "abc".into(),
            conf: "/etc/openclaw.conf".into(),
        };
        let files = [
            file("/etc/openclaw.conf", "\u{feff}events {}\r\n\0\u{1b}[2J"),
            file("/etc/b.conf", ""),
            file("/etc/a.conf", ""),
        ];
        let id = insert(&opened.connection, &revision, &files).expect("kept");
        let reader = Reader::open(&path).expect("a reader");
        let found = reader.revision(id).expect("asked").expect("kept");
        assert_eq!(
            found,
            RevisionTexts {
                revision: Kept { id, row: revision },
                files: files.to_vec(),
            }
        );
        assert_eq!(reader.revision(id + 1), Ok(None));
        assert_eq!(texts(&opened), 2);
    }

    #[test]
    fn revisions_come_newest_first_in_pages() {
        let (_directory, path, opened) = scratch();
        for _ in 0..5 {
            insert(&opened.connection, &revision("a", Outcome::Applied), &[]).expect("kept");
        }
        let reader = Reader::open(&path).expect("a reader");
        let ids = |limit, before| -> Vec<u64> {
            let page = reader.revisions(limit, before).expect("revisions");
            page.iter().map(|kept| kept.id).collect()
        };
        assert_eq!(ids(2, None), [5, 4]);
        assert_eq!(ids(2, Some(4)), [3, 2]);
        assert_eq!(ids(9, Some(2)), [1]);
        assert!(ids(0, None).is_empty() && ids(9, Some(0)).is_empty());
    }

    #[test]
    fn the_latest_in_force_is_of_the_main_file_that_is_asked_for() {
        let (_directory, path, opened) = scratch();
        for (conf, outcome) in [
            ("a", Outcome::Applied),
            ("b", Outcome::Applied),
            ("a", Outcome::Refused),
        ] {
            insert(&opened.connection, &revision(conf, outcome), &[]).expect("kept");
        }
        let reader = Reader::open(&path).expect("a reader");
        let latest = |conf| {
            let found = reader.latest_applied(conf).expect("asked");
            found.map(|kept| kept.id)
        };
        assert_eq!(latest("a"), Some(1));
        assert_eq!(latest("b"), Some(2));
        assert_eq!(latest("c"), None);
    }

    #[test]
    fn a_text_is_kept_once_and_goes_with_its_last_revision() {
        let (_directory, path, opened) = scratch();
        let connection = &opened.connection;
        let applied = revision("a", Outcome::Applied);
        for count in 0..20 {
            let files = [
                file("a", &format!("text {count}")),
                file("b", "always the same"),
            ];
            insert(connection, &applied, &files).expect("kept");
        }
        assert_eq!(texts(&opened), 21);
        thin(connection, 5, 5, u64::MAX).expect("thinned");
        assert_eq!(texts(&opened), 6);
        let reader = Reader::open(&path).expect("a reader");
        let left = reader.revisions(99, None).expect("revisions");
        assert_eq!(left.len(), 5);
        for kept in left {
            let found = reader.revision(kept.id).expect("asked").expect("kept");
            let files = found.files;
            assert_eq!(files[0].text, format!("text {}", kept.id - 1));
            assert_eq!(files[1].text, "always the same");
        }
    }

    #[test]
    fn refused_ones_go_first_and_what_is_in_force_stays() {
        let (_directory, path, opened) = scratch();
        let connection = &opened.connection;
        insert(connection, &revision("old", Outcome::Applied), &[]).expect("kept");
        for _ in 0..6 {
            insert(connection, &revision("a", Outcome::Refused), &[]).expect("kept");
            insert(connection, &revision("a", Outcome::Applied), &[]).expect("kept");
        }
        thin(connection, 10, 2, u64::MAX).expect("thinned");
        let reader = Reader::open(&path).expect("a reader");
        let left = reader.revisions(99, None).expect("revisions");
        let refused: Vec<_> = left
            .iter()
            .filter(|kept| kept.row.outcome == Outcome::Refused)
            .map(|kept| kept.id)
            .collect();
        assert_eq!(refused, [12, 10]);
        assert_eq!(left.last().map(|kept| kept.id), Some(1));
    }

    #[test]
    fn large_texts_shorten_the_history_and_the_newest_stays() {
        let (_directory, path, opened) = scratch();
        let connection = &opened.connection;
        for count in 0..40 {
            let text = format!("{count}{}", "x".repeat(1000));
            let applied = revision("a", Outcome::Applied);
            insert(connection, &applied, &[file("a", &text)]).expect("kept");
        }
        thin(connection, 1000, 100, 15_000).expect("thinned");
        let reader = Reader::open(&path).expect("a reader");
        let left = reader.revisions(99, None).expect("revisions");
        assert_eq!(left.len(), 10);
        assert_eq!(left[0].id, 40);
        thin(connection, 1000, 100, 0).expect("thinned");
        let left = reader.revisions(99, None).expect("revisions");
        assert_eq!(left.len(), 1);
        assert!(reader.revision(40).expect("asked").is_some());
    }

    #[test]
    fn a_text_that_was_changed_in_the_file_is_not_given_out() {
        let (_directory, path, opened) = scratch();
        let applied = revision("a", Outcome::Applied);
        let id = insert(&opened.connection, &applied, &[file("a", "deny all;")]).expect("kept");
        opened
            .connection
            .execute("UPDATE texts SET text = 'allow all;'", [])
            .expect("changed");
        let reader = Reader::open(&path).expect("a reader");
        let error = reader.revision(id).expect_err("changed");
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    }

    #[test]
    fn a_number_is_not_used_again() {
        let (_directory, _path, opened) = scratch();
        let applied = revision("a", Outcome::Applied);
        let first = insert(&opened.connection, &applied, &[]).expect("kept");
        opened
            .connection
            .execute("DELETE FROM revisions", [])
            .expect("removed");
        let second = insert(&opened.connection, &applied, &[]).expect("kept");
        assert_eq!((first, second), (1, 2));
    }
}
