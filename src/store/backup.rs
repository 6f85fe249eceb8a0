//! Copies of the store: made while it is written, and put in its place while it is in use.
//!
//! A backup is one file: a store whose journal is not a write-ahead log, which also tells it from a
//! store that a daemon uses. Both directions work on a copy beside the target that is checked whole
//! before it takes the target's place, so that an end of the process or of power at any moment
//! leaves the old content or the new one.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::open::{self, StoreError};
use super::writer::{State, Store};
use super::{natural, revisions};

/// How long a restore waits for a store that is being opened.
const OPENING: Duration = Duration::from_secs(60);

/// The size of a page in every store of ours; the content of one is copied page by page.
const PAGE: i64 = 4096;

/// Where SQLite's header has the version of the journal (2 is a write-ahead log) and our mark.
const JOURNAL_AT: usize = 18;
const APPLICATION_AT: std::ops::Range<usize> = 68..72;
const HEADER: u64 = 100;

impl Store {
    /// Copies the store into a file of mode 0600 while it is in use, and returns its size in bytes.
    /// An older backup of that name is replaced, anything else is not. Blocks.
    ///
    /// # Errors
    ///
    /// If the target is something else or cannot be written, the store cannot be read, or another
    /// backup or restore is under way. The target is as it was then.
    pub fn backup(&self, target: &Path) -> Result<u64, StoreError> {
        let _alone = self.copying().ok_or(StoreError::Busy)?;
        copy_out(self.path(), target)
    }

    /// Replaces all content of the store by that of a backup, or of another store that nobody
    /// writes. What waited to be written goes with the old content. A store that is damaged or of
    /// a newer program is set aside first. Blocks.
    ///
    /// # Errors
    ///
    /// If the source is not a whole store of this version or an older one, the store cannot be
    /// written, or another backup or restore is under way. The store is as it was then.
    pub fn restore(&self, source: &Path) -> Result<(), StoreError> {
        match self.wait_open(OPENING) {
            State::Failed(error)
                if !error.is_unusable_store() && !matches!(error, StoreError::Full { .. }) =>
            {
                return Err(error);
            }
            State::Opening => return Err(StoreError::Busy),
            State::Failed(_) | State::Open => {}
        }
        let _alone = self.copying().ok_or(StoreError::Busy)?;
        let store = open::resolved(self.path());
        let staged = stage(&store, source)?;
        let path = staged.path.clone();
        self.command(move |writer| writer.replace(&path)).wait()
    }
}

/// A file that is removed unless it was renamed.
#[derive(Debug)]
struct Copy {
    path: PathBuf,
}

impl Copy {
    /// Fills it with the content of a database and returns the connection, which waits for no disk.
    fn fill(&self, from: &Connection) -> Result<Connection, rusqlite::Error> {
        let mut copy = Connection::open_with_flags(
            &self.path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        copy.execute_batch(
            "PRAGMA synchronous = OFF; PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY;",
        )?;
        copy_pages(from, &mut copy)?;
        Ok(copy)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        for part in ["", "-journal", "-wal", "-shm"] {
            let _ = std::fs::remove_file(open::beside(&self.path, part));
        }
    }
}

/// Copies all pages in one step: from a snapshot, into one transaction.
pub(super) fn copy_pages(from: &Connection, to: &mut Connection) -> Result<(), rusqlite::Error> {
    let backup = Backup::new(from, to)?;
    match backup.step(-1)? {
        StepResult::Done => Ok(()),
        // The connections' own patience has run out by then.
        _ => Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
            None,
        )),
    }
}

fn copy_out(store: &Path, target: &Path) -> Result<u64, StoreError> {
    let target = open::resolved(target);
    let system = |error: io::Error| StoreError::of_system(&target, "write", &error);
    if !may_replace(store, &target).map_err(system)? {
        return Err(StoreError::NotABackup { path: target });
    }
    let name = open::beside(&target, &format!(".openclaw-{}.tmp", std::process::id()));
    // In a container a process that was killed had the same number. We are alone in this one.
    let _ = std::fs::remove_file(&name);
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&name)
        .map_err(system)?;
    let copy = Copy { path: name };
    let from = open::open_to_read(store)?;
    let sqlite = |error: rusqlite::Error| StoreError::of_sqlite(&target, "write", &error);
    let connection = copy.fill(&from).map_err(sqlite)?;
    drop(from);
    // Damage that SQLite copied without looking must not take the place of an older backup.
    open::check(&connection, store, "quick_check")?;
    plain_journal(&connection).map_err(sqlite)?;
    connection.close().map_err(|(_, error)| sqlite(error))?;
    let file = File::open(&copy.path).map_err(system)?;
    file.sync_all().map_err(system)?;
    let bytes = file.metadata().map_err(system)?.len();
    std::fs::rename(&copy.path, &target).map_err(system)?;
    open::sync_directory(&target).map_err(system)?;
    Ok(bytes)
}

/// May a backup take the place of what is there: nothing, an empty file, or a backup?
fn may_replace(store: &Path, target: &Path) -> io::Result<bool> {
    let data = match target.symlink_metadata() {
        Ok(data) => data,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    // Opened and closed, our own store would lose SQLite's locks.
    let is_ours = std::fs::metadata(store)
        .is_ok_and(|store| (store.dev(), store.ino()) == (data.dev(), data.ino()));
    if !data.is_file() || is_ours {
        return Ok(false);
    }
    let mut header = Vec::new();
    File::open(target)?.take(HEADER).read_to_end(&mut header)?;
    Ok(header.is_empty()
        || header.len() as u64 == HEADER
            && header.starts_with(b"SQLite format 3\0")
            && header[APPLICATION_AT] == open::APPLICATION.to_be_bytes()
            && header[JOURNAL_AT] == 1)
}

/// Makes of a copy one file that needs no other beside it.
fn plain_journal(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(()))
}

/// Copies a backup beside the store, checks it and brings it to the present form.
fn stage(store: &Path, source: &Path) -> Result<Copy, StoreError> {
    let refused = |found: String| StoreError::NotRestorable {
        path: source.to_owned(),
        found,
    };
    // What is wrong with the source is not wrong with the store.
    let of_source = |error: StoreError| match error {
        StoreError::Damaged { found, .. } => refused(format!("it is damaged: {found}")),
        StoreError::Newer { version, .. } => refused(format!(
            "it has version {version}, made by a newer program; this one knows version {}",
            open::VERSION
        )),
        StoreError::Foreign { found, .. } => {
            refused(format!("it is not a store of OpenClaw: {found}"))
        }
        StoreError::NotWritable { found, .. } | StoreError::Failed { found, .. } => refused(found),
        error => error,
    };
    let system = |error: io::Error| StoreError::of_system(store, "restore", &error);
    let sqlite =
        |error: rusqlite::Error| of_source(StoreError::of_sqlite(source, "restore", &error));
    let data = std::fs::metadata(source).map_err(|error| refused(error.to_string()))?;
    if !data.is_file() {
        return Err(refused("it is not a file".to_owned()));
    }
    if open::resolved(source) == store {
        return Err(refused("it is the store itself".to_owned()));
    }

    let from = open::connect_to_read(source).map_err(of_source)?;
    if open::form(&from, source).map_err(of_source)? == 0 {
        return Err(refused("it is empty".to_owned()));
    }
    let staged = open::beside(store, ".restore");
    // Left by a process that was killed: we are alone here.
    let _ = std::fs::remove_file(&staged);
    open::create(&staged).map_err(system)?;
    let copy = Copy { path: staged };
    let mut connection = match copy.fill(&from) {
        Ok(connection) => connection,
        Err(error) => {
            return Err(match StoreError::of_sqlite(store, "restore", &error) {
                full @ StoreError::Full { .. } => full,
                _ => sqlite(error),
            });
        }
    };
    drop(from);
    open::check(&connection, source, "integrity_check").map_err(of_source)?;
    // SQLite reads what is missing of the last page as zeros, and does not know our digests.
    let page: i64 = connection
        .pragma_query_value(None, "page_size", |row| row.get(0))
        .map_err(sqlite)?;
    if !data.len().is_multiple_of(natural(page).max(1)) {
        return Err(refused("it is damaged: its end is missing".to_owned()));
    }
    let form = open::form(&connection, source).map_err(of_source)?;
    open::migrate(&mut connection, form).map_err(sqlite)?;
    if schema(&connection).map_err(sqlite)? != present_schema().map_err(sqlite)? {
        return Err(refused(
            "its tables are not those of its version".to_owned(),
        ));
    }
    if !revisions::texts_are_whole(&connection).map_err(sqlite)? {
        return Err(refused("it is damaged: a text was changed".to_owned()));
    }
    plain_journal(&connection).map_err(sqlite)?;
    if page != PAGE {
        connection
            .execute_batch(&format!("PRAGMA page_size = {PAGE}; VACUUM;"))
            .map_err(sqlite)?;
    }
    connection.close().map_err(|(_, error)| sqlite(error))?;
    File::open(&copy.path)
        .and_then(|file| file.sync_all())
        .map_err(system)?;
    Ok(copy)
}

/// The definitions of all tables and indexes, in the order of their names.
fn schema(connection: &Connection) -> Result<Vec<(String, Option<String>)>, rusqlite::Error> {
    connection
        .prepare("SELECT name, sql FROM sqlite_schema ORDER BY name")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

fn present_schema() -> Result<Vec<(String, Option<String>)>, rusqlite::Error> {
    let mut connection = Connection::open_in_memory()?;
    open::migrate(&mut connection, 0)?;
    schema(&connection)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::store::{Event, Outcome, Revision, RevisionFile, Row};

    const LONG: Duration = Duration::from_secs(60);

    fn started() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::start(directory.path().join("store.db"));
        assert_eq!(store.wait_open(LONG), State::Open);
        (directory, store)
    }

    fn put(store: &Store, text: &str) -> u64 {
        let revision = Revision {
            outcome: Outcome::Applied,
            conf: "a".into(),
            ..Revision::default()
        };
        let file = RevisionFile {
            path: "a".into(),
            text: text.into(),
        };
        store
            .put_revision(revision, vec![file])
            .wait()
            .expect("kept")
    }

    fn newest(store: &Store) -> String {
        let reader = store.reader().expect("a reader");
        let kept = reader.latest_applied("a").expect("asked").expect("one");
        let found = reader.revision(kept.id).expect("asked").expect("kept");
        found.files[0].text.clone()
    }

    fn files(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(directory)
            .expect("a directory")
            .map(|entry| {
                let entry = entry.expect("an entry");
                entry.file_name().to_string_lossy().into_owned()
            })
            .filter(|name| !name.starts_with("store.db-"))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_backup_is_one_file_for_its_owner_and_comes_back_while_the_store_is_in_use() {
        let (directory, store) = started();
        put(&store, "one");
        let target = directory.path().join("backup");
        let bytes = store.backup(&target).expect("a backup");
        let data = std::fs::metadata(&target).expect("the backup");
        assert_eq!(data.len(), bytes);
        assert_eq!(data.permissions().mode() & 0o777, 0o600);
        assert_eq!(
            files(directory.path()),
            ["backup", "store.db", "store.db.lock"]
        );

        put(&store, "two");
        let old_reader = store.reader().expect("a reader");
        assert_eq!(newest(&store), "two");
        store.restore(&target).expect("restored");
        assert_eq!(newest(&store), "one");
        assert_eq!(old_reader.revisions(9, None).expect("revisions").len(), 1);
        assert_eq!(store.state(), State::Open);
        assert_eq!(put(&store, "three"), 2);
        assert_eq!(
            files(directory.path()),
            ["backup", "store.db", "store.db.lock"]
        );

        // A backup is replaced by a newer one.
        store.backup(&target).expect("a backup");
        put(&store, "four");
        store.restore(&target).expect("restored");
        assert_eq!(newest(&store), "three");
        // It is a store by itself, also in a directory where nothing can be made.
        let reader = crate::store::Reader::open(&target).expect("a reader");
        assert_eq!(reader.revisions(9, None).expect("revisions").len(), 2);
    }

    #[test]
    fn a_backup_takes_the_place_of_nothing_but_a_backup() {
        let (directory, store) = started();
        let (_other_directory, other) = started();
        let text = directory.path().join("openclaw.conf");
        std::fs::write(&text, "events {}").expect("a file");
        let foreign = directory.path().join("foreign.db");
        Connection::open(&foreign)
            .and_then(|connection| connection.execute_batch("CREATE TABLE t (a)"))
            .expect("a file");
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(store.path(), &link).expect("a link");
        let here = directory.path().to_owned();
        let before = files(&here);
        for target in [
            &text,
            &foreign,
            &link,
            &here,
            &store.path().to_owned(),
            &other.path().to_owned(),
        ] {
            let error = store.backup(target).expect_err("refused");
            assert!(matches!(error, StoreError::NotABackup { .. }), "{error}");
        }
        assert_eq!(files(&here), before);
        put(&store, "still in order");
        let missing = here.join("no/such/directory");
        assert!(store.backup(&missing).is_err());
        // A name that was reserved is fine.
        let empty = here.join("empty");
        File::create(&empty).expect("a file");
        store.backup(&empty).expect("a backup");
    }

    #[test]
    fn only_a_whole_store_is_restored_and_otherwise_nothing_changes() {
        let (directory, store) = started();
        put(&store, "one");
        let here = directory.path();
        let good = here.join("good");
        store.backup(&good).expect("a backup");
        put(&store, "two");

        let whole = std::fs::read(&good).expect("the backup");
        let bad = here.join("bad");
        let alter = |statements: &str| {
            std::fs::write(&bad, &whole).expect("a file");
            Connection::open(&bad)
                .and_then(|connection| connection.execute_batch(statements))
                .expect("altered");
        };
        let refused = |source: &Path| {
            let error = store.restore(source).expect_err("refused");
            assert!(matches!(error, StoreError::NotRestorable { .. }), "{error}");
            assert_eq!(newest(&store), "two");
            assert_eq!(store.state(), State::Open);
            assert!(!open::beside(store.path(), ".restore").exists());
            error.to_string()
        };
        for length in [0, 1, 100, 4096, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&bad, &whole[..length]).expect("a file");
            refused(&bad);
        }
        std::fs::write(&bad, "not a database").expect("a file");
        refused(&bad);
        alter("PRAGMA user_version = 99");
        assert!(refused(&bad).contains("it has version 99"));
        alter("PRAGMA application_id = 1");
        assert!(refused(&bad).contains("not a store of OpenClaw"));
        alter("UPDATE texts SET text = 'another'");
        assert!(refused(&bad).contains("a text was changed"));
        alter("DROP TABLE audit");
        refused(&bad);
        alter("CREATE TRIGGER t AFTER INSERT ON events BEGIN DELETE FROM revisions; END");
        refused(&bad);
        assert!(refused(&here.join("missing")).contains("No such file"));
        refused(here);
        refused(store.path());
    }

    #[test]
    fn a_backup_with_pages_of_another_size_is_restored() {
        let (directory, store) = started();
        put(&store, "one");
        let target = directory.path().join("backup");
        store.backup(&target).expect("a backup");
        Connection::open(&target)
            .and_then(|connection| connection.execute_batch("PRAGMA page_size = 1024; VACUUM"))
            .expect("other pages");
        put(&store, "two");
        store.restore(&target).expect("restored");
        assert_eq!(newest(&store), "one");
    }

    #[test]
    fn a_restore_heals_a_damaged_store_and_keeps_it_aside() {
        let (directory, store) = started();
        put(&store, "one");
        let target = directory.path().join("backup");
        store.backup(&target).expect("a backup");
        assert!(store.close(LONG));
        let path = store.path().to_owned();
        std::fs::write(&path, b"SQLite format 3\0".repeat(1000)).expect("a file");
        // The log of a store that was killed must not be played into another.
        std::fs::write(open::beside(&path, "-wal"), "a log").expect("a file");

        let store = Store::start(&path);
        assert!(matches!(store.wait_open(LONG), State::Failed(_)));
        store.restore(&target).expect("restored");
        assert_eq!(store.state(), State::Open);
        assert_eq!(newest(&store), "one");
        let log = files(directory.path())
            .into_iter()
            .find(|name| name.starts_with("store.db.damaged-") && name.ends_with("-wal"))
            .expect("the log is kept");
        let log = directory.path().join(log);
        assert_eq!(std::fs::read_to_string(log).expect("the log"), "a log");
    }

    #[test]
    fn a_backup_of_a_store_that_is_written_is_whole() {
        let (directory, store) = started();
        let target = directory.path().join("backup");
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for count in 0..60 {
                    store.try_put(Row::Event(Event::default()));
                    put(&store, &count.to_string());
                }
            });
            while !writer.is_finished() {
                store.backup(&target).expect("a backup");
                let copy = Connection::open(&target).expect("a copy");
                open::check(&copy, &target, "integrity_check").expect("whole");
            }
        });
    }
}
