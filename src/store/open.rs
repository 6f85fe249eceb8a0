//! Opens or makes the file, and says readably why it cannot.
//!
//! The invariant: nothing here deletes or changes a file that is not a whole store of a version that
//! this program knows. A lock on a file beside it, which the system drops however the process ends,
//! keeps a second daemon out. The lock is not on the store itself: closing any handle on a file drops
//! all of SQLite's own locks on it in this process.

use std::fmt;
use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::checkpoint::Checkpoints;

/// Marks the file as ours: `OCLW`.
pub(super) const APPLICATION: i32 = i32::from_be_bytes(*b"OCLW");

/// From nothing to the present form, step by step. Each one that was in a release stays as it is.
const MIGRATIONS: &[&str] = &[
    include_str!("../../assets/schema/0001_first.sql"),
    include_str!("../../assets/schema/0002_llm.sql"),
    include_str!("../../assets/schema/0003_cache.sql"),
    include_str!("../../assets/schema/0004_llm_trace.sql"),
    include_str!("../../assets/schema/0005_llm_money.sql"),
    include_str!("../../assets/schema/0006_alerts.sql"),
    include_str!("../../assets/schema/0007_llm_kept.sql"),
];

/// The form that this program reads and writes.
pub(super) const VERSION: i32 = MIGRATIONS.len() as i32;

/// How long a statement waits for somebody else's lock, such as that of `sqlite3` in a shell.
const BUSY: Duration = Duration::from_secs(5);

/// How long a lock is waited for. One that was just dropped may live on for a moment, in a child
/// process that has not yet become its own program.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is left of the write-ahead log's file when it is not needed.
const LOG_KEPT: i64 = 16 << 20;

/// Why the store cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreError {
    /// The file is a store, or was one, and its content is broken.
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        found: String,
    },
    /// A newer program has written the file.
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: i32,
    },
    /// The file belongs to something else.
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: String,
    },
    /// There is no file, and none was to be made.
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Another process uses the file.
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file or its directory cannot be written.
    NotWritable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        found: String,
    },
    /// The disk is full.
    Full {
        /// The file that should have grown.
        path: PathBuf,
    },
    /// Something else went wrong.
    Failed {
        /// The file.
        path: PathBuf,
        /// What was being done, as in "cannot … the store".
        action: &'static str,
        /// What the system or SQLite said.
        found: String,
    },
    /// A file for a backup is something else already.
    NotABackup {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be restored from.
    NotRestorable {
        /// The file.
        path: PathBuf,
        /// Why.
        found: String,
    },
    /// More than the store takes at once.
    TooLarge {
        /// The size in bytes.
        bytes: usize,
        /// The most that is taken.
        limit: usize,
    },
    /// A name or a secret belongs to another key.
    Taken,
    /// Too much waits to be written.
    Busy,
    /// The store was closed, or its thread failed in the middle of this.
    Closed,
}

impl fmt::Display for StoreError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged { path, found } => write!(
                formatter,
                "the store `{}` is damaged: {found}; hint: bring back a backup with \
                 `openclaw restore FILE`, or move the file away to begin with an empty one",
                path.display()
            ),
            Self::Newer { path, version } => write!(
                formatter,
                "the store `{}` has version {version}, made by a newer program; this one knows \
                 version {VERSION}; hint: use the newer program, or move the file away",
                path.display()
            ),
            Self::Foreign { path, found } => write!(
                formatter,
                "`{}` is not a store of OpenClaw: {found}; hint: name another file, or move this \
                 one away",
                path.display()
            ),
            Self::Missing { path } => {
                write!(formatter, "there is no store `{}`", path.display())
            }
            Self::Locked { path } => write!(
                formatter,
                "the store `{}` is in use by another process",
                path.display()
            ),
            Self::NotWritable { path, found } => write!(
                formatter,
                "the store `{}` cannot be written: {found}",
                path.display()
            ),
            Self::Full { path } => write!(
                formatter,
                "no room on the disk for the store `{}`",
                path.display()
            ),
            Self::Failed {
                path,
                action,
                found,
            } => write!(
                formatter,
                "cannot {action} the store `{}`: {found}",
                path.display()
            ),
            Self::NotABackup { path } => write!(
                formatter,
                "`{}` exists and is not a backup of OpenClaw; hint: name a new file",
                path.display()
            ),
            Self::NotRestorable { path, found } => {
                write!(
                    formatter,
                    "`{}` cannot be restored: {found}",
                    path.display()
                )
            }
            Self::TooLarge { bytes, limit } => write!(
                formatter,
                "{bytes} bytes are more than the {limit} that a revision may have"
            ),
            Self::Taken => formatter.write_str("another key has this name or this secret"),
            Self::Busy => formatter.write_str("too much waits to be written to the store"),
            Self::Closed => formatter.write_str("the store is closed"),
        }
    }
}

impl std::error::Error for StoreError {}

impl StoreError {
    /// What SQLite said about a file, in our words.
    pub(super) fn of_sqlite(path: &Path, action: &'static str, error: &rusqlite::Error) -> Self {
        let path = path.to_owned();
        let found = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Damaged { path, found }
            }
            Some(ErrorCode::DiskFull) => Self::Full { path },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked { path },
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                Self::NotWritable { path, found }
            }
            _ => Self::Failed {
                path,
                action,
                found,
            },
        }
    }

    /// What the system said about a file, in our words.
    pub(super) fn of_system(path: &Path, action: &'static str, error: &io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::NotWritable {
                    path,
                    found: error.to_string(),
                }
            }
            _ => Self::Failed {
                path,
                action,
                found: error.to_string(),
            },
        }
    }

    /// May it be gone by itself after a while?
    pub(super) fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Locked { .. }
                | Self::NotWritable { .. }
                | Self::Full { .. }
                | Self::Failed { .. }
        )
    }

    /// Is the file a store of ours that this program can do nothing with but put it aside?
    pub(super) fn is_unusable_store(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Newer { .. })
    }
}

/// Keeps every other process from opening the store for writing. Clones are the same lock.
#[derive(Clone, Debug)]
pub(super) struct Lock {
    file: Arc<File>,
    path: PathBuf,
}

impl Lock {
    /// Is it the one that another process would meet?
    pub(super) fn is_in_place(&self) -> bool {
        let is_same = |data: Metadata| {
            let ours = self.file.metadata()?;
            Ok((data.dev(), data.ino()) == (ours.dev(), ours.ino()))
        };
        std::fs::metadata(&self.path)
            .and_then(is_same)
            .unwrap_or(false)
    }
}

/// A store that is open for writing, and the lock that keeps others from doing the same.
#[derive(Debug)]
pub(super) struct Opened {
    /// The connection.
    pub connection: Connection,
    /// The file with links resolved.
    pub path: PathBuf,
    /// Its device and inode.
    identity: (u64, u64),
    /// What commits wait for when nothing depends on it: in a write-ahead log the file stays whole
    /// without waiting, otherwise it does not.
    pub relaxed: &'static str,
    /// After the connection, which tells it to end.
    _checkpoints: Checkpoints,
    _lock: Lock,
}

impl Opened {
    /// Is the file still where it was? Whoever removes it means us to begin again.
    pub(super) fn is_in_place(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|data| (data.dev(), data.ino()) == self.identity)
    }
}

/// Keeps every other process from opening the store for writing. Makes its directory.
pub(super) fn lock(path: &Path) -> Result<Lock, StoreError> {
    let failed = |error: io::Error| StoreError::of_system(path, "open", &error);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory_of(path))
        .map_err(failed)?;
    let path = resolved(path);
    let name = beside(&path, ".lock");
    let file = match create(&name) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(&name),
        made => made,
    };
    let lock = Lock {
        file: Arc::new(file.map_err(failed)?),
        path: name,
    };
    let patience = Instant::now() + PATIENCE;
    loop {
        match lock.file.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) if Instant::now() < patience => {
                thread::sleep(PATIENCE / 50);
            }
            Err(TryLockError::WouldBlock) => return Err(StoreError::Locked { path }),
            // A file system without locks: as the pid file, without protection.
            Err(TryLockError::Error(_)) => return Ok(lock),
        }
    }
}

/// Opens the store for writing, makes it if it is missing and brings it to the present form.
pub(super) fn open(path: &Path, lock: Lock) -> Result<Opened, StoreError> {
    let path = resolved(path);
    let system = |error: io::Error| StoreError::of_system(&path, "open", &error);
    let sqlite = |error: rusqlite::Error| StoreError::of_sqlite(&path, "open", &error);

    let is_made = match create(&path) {
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        Err(error) => return Err(system(error)),
    };
    let data = std::fs::metadata(&path).map_err(system)?;
    if !data.is_file() {
        return Err(StoreError::Foreign {
            found: "it is not a file".to_owned(),
            path,
        });
    }
    // SQLite removes the log of a file without content. Whatever emptied it, the log may hold all.
    let has_log = std::fs::metadata(beside(&path, "-wal")).is_ok_and(|log| log.len() > 0);
    if !is_made && data.len() == 0 && has_log {
        return Err(StoreError::Damaged {
            found: "it is empty, and its log is not".to_owned(),
            path,
        });
    }

    let mut connection = Connection::open_with_flags(
        &path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(sqlite)?;
    connection.busy_timeout(BUSY).map_err(sqlite)?;
    // Until it is known to be whole, not even the log is played into it: what is damaged may be of
    // use to somebody as it is.
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map_err(sqlite)?;
    let form = form(&connection, &path)?;
    // SQLite opens what it may not write for reading only, without a word.
    if connection.is_readonly("main").map_err(sqlite)? {
        return Err(StoreError::NotWritable {
            found: "permission denied".to_owned(),
            path,
        });
    }
    // A store that somebody opened to others holds configurations with their secrets' names.
    if data.permissions().mode() & 0o077 != 0 {
        let _ = std::fs::set_permissions(&path, Permissions::from_mode(0o600));
    }
    check(&connection, &path, "quick_check")?;
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)
        .map_err(sqlite)?;
    let journal: String = connection
        .pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))
        .map_err(sqlite)?;
    let relaxed = if journal == "wal" { "NORMAL" } else { "FULL" };
    connection
        .execute_batch(&format!(
            "PRAGMA journal_size_limit = {LOG_KEPT};
             PRAGMA foreign_keys = ON;
             PRAGMA trusted_schema = OFF;
             PRAGMA temp_store = MEMORY;
             PRAGMA cell_size_check = ON;
             PRAGMA synchronous = FULL;"
        ))
        .map_err(sqlite)?;
    migrate(&mut connection, form).map_err(sqlite)?;
    connection
        .pragma_update(None, "synchronous", relaxed)
        .map_err(sqlite)?;
    if is_made {
        sync_directory(&path).map_err(system)?;
    }
    let checkpoints = Checkpoints::start(&mut connection, &path).map_err(sqlite)?;
    Ok(Opened {
        connection,
        _checkpoints: checkpoints,
        identity: (data.dev(), data.ino()),
        path,
        relaxed,
        _lock: lock,
    })
}

/// Makes a file for the owner only, which is not there yet. One that root makes belongs to whom the
/// directory belongs: a restore by root must not take the store away from its daemon.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    if nix::unistd::geteuid().is_root() {
        let directory = std::fs::metadata(directory_of(path))?;
        std::os::unix::fs::fchown(&file, Some(directory.uid()), Some(directory.gid()))?;
    }
    Ok(file)
}

/// Opens a store for reading only. It has to be of the present form.
pub(super) fn open_to_read(path: &Path) -> Result<Connection, StoreError> {
    let connection = connect_to_read(path)?;
    let form = form(&connection, path)?;
    if form < VERSION {
        return Err(StoreError::Failed {
            path: path.to_owned(),
            action: "read",
            found: format!("it has version {form} until the daemon has brought it to {VERSION}"),
        });
    }
    Ok(connection)
}

/// Opens a file for reading only, whatever its form.
pub(super) fn connect_to_read(path: &Path) -> Result<Connection, StoreError> {
    let sqlite = |error: rusqlite::Error| StoreError::of_sqlite(path, "read", &error);
    if let Err(error) = std::fs::metadata(path) {
        return Err(match error.kind() {
            io::ErrorKind::NotFound => StoreError::Missing {
                path: path.to_owned(),
            },
            _ => StoreError::of_system(path, "read", &error),
        });
    }
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(sqlite)?;
    connection.busy_timeout(BUSY).map_err(sqlite)?;
    connection
        .execute_batch(
            "PRAGMA query_only = ON; PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY;",
        )
        .map_err(sqlite)?;
    Ok(connection)
}

/// The version of a file's form; 0 for one without any content. Only reads.
pub(super) fn form(connection: &Connection, path: &Path) -> Result<i32, StoreError> {
    // SQLite takes what is shorter than its smallest page for nothing at all, and writes over it.
    let bytes = std::fs::metadata(path).map_or(0, |data| data.len());
    if (1..512).contains(&bytes) {
        let path = path.to_owned();
        let found = format!("it has only {bytes} bytes");
        return Err(match was_sqlite(&path) {
            true => StoreError::Damaged { path, found },
            false => StoreError::Foreign { path, found },
        });
    }
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0));
    let read = || {
        let objects: i64 =
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        Ok((number("application_id")?, number("user_version")?, objects))
    };
    let (application, version, objects) = read().map_err(|error: rusqlite::Error| {
        match StoreError::of_sqlite(path, "open", &error) {
            StoreError::Damaged { path, found } if !was_sqlite(&path) => {
                StoreError::Foreign { path, found }
            }
            error => error,
        }
    })?;
    match (application, version, objects) {
        (0, 0, 0) => Ok(0),
        (APPLICATION, version, _) if version > VERSION => Err(StoreError::Newer {
            path: path.to_owned(),
            version,
        }),
        (APPLICATION, version, _) if version > 0 => Ok(version),
        _ => Err(StoreError::Foreign {
            path: path.to_owned(),
            found: "it is another program's SQLite file".to_owned(),
        }),
    }
}

/// Asks SQLite whether the content is whole: `quick_check`, or `integrity_check` with indexes.
pub(super) fn check(
    connection: &Connection,
    path: &Path,
    pragma: &'static str,
) -> Result<(), StoreError> {
    let found: String = connection
        .pragma_query_value(None, pragma, |row| row.get(0))
        .map_err(|error| StoreError::of_sqlite(path, "check", &error))?;
    if found == "ok" {
        return Ok(());
    }
    Err(StoreError::Damaged {
        path: path.to_owned(),
        // It tells up to a hundred things; the first says enough, and names the table at most.
        found: found.lines().next().unwrap_or_default().to_owned(),
    })
}

/// Brings a file from a form to the present one, wholly or not at all.
pub(super) fn migrate(connection: &mut Connection, form: i32) -> Result<(), rusqlite::Error> {
    if form == VERSION {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let done = usize::try_from(form).unwrap_or(0);
    for migration in MIGRATIONS.iter().skip(done) {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

/// Moves a store and its log out of the way and returns its new name: the old one, the word and the
/// time. The log goes first: were it left alone with a new file, SQLite would play it into that.
pub(super) fn set_aside(path: &Path, word: &str) -> Result<PathBuf, StoreError> {
    let path = resolved(path);
    let failed = |error: io::Error| StoreError::of_system(&path, "set aside", &error);
    let aside = move_log_aside(&path, word).map_err(failed)?;
    std::fs::rename(&path, &aside).map_err(failed)?;
    sync_directory(&path).map_err(failed)?;
    Ok(aside)
}

/// As [`set_aside`], and puts another file in its place; at no moment is there none.
pub(super) fn set_aside_for(path: &Path, other: &Path, word: &str) -> Result<(), StoreError> {
    let path = resolved(path);
    let failed = |error: io::Error| StoreError::of_system(&path, "restore", &error);
    let aside = move_log_aside(&path, word).map_err(failed)?;
    // A file system without links: a moment without a store is better than none that can be used.
    if std::fs::hard_link(&path, &aside).is_err() {
        std::fs::rename(&path, &aside).map_err(failed)?;
    }
    std::fs::rename(other, &path).map_err(failed)?;
    sync_directory(&path).map_err(failed)
}

/// Moves the log of a store out of the way and returns the name that the store is to have.
fn move_log_aside(path: &Path, word: &str) -> io::Result<PathBuf> {
    let stamp = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    let aside = (0..100)
        .map(|count| match count {
            0 => beside(path, &format!(".{word}-{stamp}")),
            _ => beside(path, &format!(".{word}-{stamp}-{count}")),
        })
        .find(|name| !name.exists())
        .ok_or(io::ErrorKind::AlreadyExists)?;
    for part in ["-wal", "-shm"] {
        match std::fs::rename(beside(path, part), beside(&aside, part)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(aside)
}

/// The file with links resolved, as far as it exists.
pub(super) fn resolved(path: &Path) -> PathBuf {
    if let Ok(path) = path.canonicalize() {
        return path;
    }
    match (directory_of(path).canonicalize(), path.file_name()) {
        (Ok(directory), Some(name)) => directory.join(name),
        _ => path.to_owned(),
    }
}

/// The file whose name is that of another and something behind it.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Makes the names in a file's directory survive a loss of power.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory_of(path))?.sync_all()
}

fn directory_of(path: &Path) -> &Path {
    path.parent()
        .filter(|directory| !directory.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Does a file that SQLite refuses look as if it had been one of its own? Zeros are what a loss of
/// power leaves of a page that was never written.
fn was_sqlite(path: &Path) -> bool {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(16).read_to_end(&mut start));
    read.is_ok()
        && (b"SQLite format 3\0".starts_with(&start) || start.iter().all(|byte| *byte == 0))
}

/// As [`open`], with a lock of its own.
#[cfg(test)]
pub(super) fn open_alone(path: &Path) -> Result<Opened, StoreError> {
    open(path, lock(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().canonicalize().expect("it is there");
        (directory, path.join("store.db"))
    }

    /// A whole store of some pages, closed.
    fn filled(path: &Path) {
        let opened = open_alone(path).expect("a store");
        let mut statement = opened
            .connection
            .prepare("INSERT INTO meta (key, value) VALUES (?1, ?2)")
            .expect("a statement");
        for key in 0..200 {
            statement
                .execute(rusqlite::params![key.to_string(), "x".repeat(500)])
                .expect("a row");
        }
    }

    #[test]
    fn a_missing_store_and_its_directory_are_made_for_the_owner_only() {
        let (_directory, path) = scratch();
        let path = path.with_file_name("a").join("b/store.db");
        let opened = open_alone(&path).expect("a store");
        let mode = |path: &Path| {
            let data = std::fs::metadata(path).expect("it is there");
            data.permissions().mode() & 0o777
        };
        assert_eq!(mode(path.parent().expect("a directory")), 0o700);
        for part in ["", "-wal", "-shm", ".lock"] {
            assert_eq!(mode(&beside(&path, part)), 0o600, "{part}");
        }
        assert_eq!(form(&opened.connection, &path), Ok(VERSION));
        assert!(opened.is_in_place());
    }

    #[test]
    fn what_root_makes_belongs_to_whom_the_directory_belongs() {
        let (_directory, path) = scratch();
        let directory = directory_of(&path);
        // Only root may give a file away; for anybody else the two are the same.
        let owner = match nix::unistd::geteuid().is_root() {
            true => 12_345,
            false => nix::unistd::geteuid().as_raw(),
        };
        std::os::unix::fs::chown(directory, Some(owner), None).expect("an owner");
        let _opened = open_alone(&path).expect("a store");
        for part in ["", "-wal", "-shm", ".lock"] {
            let data = std::fs::metadata(beside(&path, part)).expect("it is there");
            assert_eq!(data.uid(), owner, "{part}");
        }
    }

    #[test]
    fn a_store_that_others_may_read_is_closed_to_them() {
        let (_directory, path) = scratch();
        filled(&path);
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("a mode");
        open_alone(&path).expect("a store");
        let data = std::fs::metadata(&path).expect("it is there");
        assert_eq!(data.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn an_empty_file_becomes_a_store() {
        let (_directory, path) = scratch();
        File::create(&path).expect("a file");
        open_alone(&path).expect("a store");
        let connection = open_to_read(&path).expect("a store");
        assert_eq!(form(&connection, &path), Ok(VERSION));
        drop(connection);

        // Unless there is a log, which SQLite would remove.
        File::create(&path).expect("a file");
        std::fs::write(beside(&path, "-wal"), "all that there was").expect("a log");
        let error = open_alone(&path).expect_err("damaged");
        assert!(error.is_unusable_store(), "{error}");
        assert!(beside(&path, "-wal").exists());
    }

    #[test]
    fn a_store_is_opened_for_writing_once() {
        let (_directory, path) = scratch();
        let first = open_alone(&path).expect("a store");
        let locked = StoreError::Locked { path: path.clone() };
        assert_eq!(open_alone(&path).expect_err("locked"), locked);
        // Under another name it is the same.
        let link = path.with_file_name("link.db");
        std::os::unix::fs::symlink(&path, &link).expect("a link");
        assert_eq!(open_alone(&link).expect_err("locked"), locked);
        assert!(open_to_read(&path).is_ok());
        drop(first);
        open_alone(&link).expect("a store");
    }

    #[test]
    fn what_is_not_ours_is_refused_and_left_as_it_is() {
        let (_directory, path) = scratch();
        let foreign = Connection::open(&path).expect("a file");
        foreign
            .execute_batch("CREATE TABLE bookmarks (url TEXT)")
            .expect("a table");
        drop(foreign);
        let before = std::fs::read(&path).expect("the file");
        let error = open_alone(&path).expect_err("foreign");
        assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
        assert!(!error.is_unusable_store() && !error.may_pass());
        assert!(open_to_read(&path).is_err());
        assert_eq!(std::fs::read(&path).expect("the file"), before);

        std::fs::write(&path, "[Unit]\nDescription=not a database\n".repeat(9)).expect("a file");
        let error = open_alone(&path).expect_err("foreign");
        assert!(matches!(error, StoreError::Foreign { .. }), "{error}");

        let directory = path.with_file_name("directory");
        std::fs::create_dir(&directory).expect("a directory");
        let error = open_alone(&directory).expect_err("foreign");
        assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
    }

    #[test]
    fn a_newer_store_is_refused_with_both_versions() {
        let (_directory, path) = scratch();
        let opened = open_alone(&path).expect("a store");
        opened
            .connection
            .pragma_update(None, "user_version", VERSION + 6)
            .expect("a version");
        drop(opened);
        let error = open_alone(&path).expect_err("newer");
        assert_eq!(
            error,
            StoreError::Newer {
                path: path.clone(),
                version: VERSION + 6
            }
        );
        assert_eq!(
            error.to_string(),
            format!(
                "the store `{}` has version {}, made by a newer program; this one knows version \
                 {VERSION}; hint: use the newer program, or move the file away",
                path.display(),
                VERSION + 6
            )
        );
        assert!(open_to_read(&path).is_err());
    }

    #[test]
    fn a_truncated_or_overwritten_store_is_damaged_and_left_as_it_is() {
        let (_directory, path) = scratch();
        filled(&path);
        let whole = std::fs::read(&path).expect("the file");
        let mut damaged = Vec::new();
        for length in [1, 100, 4096, 5000, whole.len() / 2, whole.len() - 4096] {
            damaged.push(whole[..length].to_vec());
        }
        for start in [0, 100, 4096 * 4, whole.len() - 4096] {
            let mut bytes = whole.clone();
            bytes[start..start + 4096].fill(0);
            damaged.push(bytes);
        }
        for bytes in damaged {
            std::fs::write(&path, &bytes).expect("a file");
            let error = open_alone(&path).expect_err("damaged");
            assert!(error.is_unusable_store(), "{} bytes: {error}", bytes.len());
            assert!(
                error.to_string().contains("openclaw restore FILE"),
                "{error}"
            );
            assert_eq!(std::fs::read(&path).expect("the file"), bytes);
        }
    }

    #[test]
    fn any_bytes_are_opened_or_refused_without_a_panic() {
        let (_directory, path) = scratch();
        filled(&path);
        let whole = std::fs::read(&path).expect("the file");
        // A fixed walk over the first page, where all that steers SQLite stands.
        for at in (0..4096).step_by(7) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xff;
            std::fs::write(&path, &bytes).expect("a file");
            let _ = open_alone(&path);
            let _ = open_to_read(&path);
        }
    }

    #[test]
    fn a_missing_store_is_not_made_by_reading() {
        let (_directory, path) = scratch();
        assert_eq!(
            open_to_read(&path).expect_err("missing"),
            StoreError::Missing { path: path.clone() }
        );
        assert!(!path.exists());
    }

    #[test]
    fn set_aside_moves_the_log_too_and_never_over_another_file() {
        let (_directory, path) = scratch();
        let mut names = Vec::new();
        for text in ["one", "two"] {
            std::fs::write(&path, text).expect("a file");
            std::fs::write(beside(&path, "-wal"), text).expect("a file");
            let aside = set_aside(&path, "damaged").expect("set aside");
            assert!(!path.exists() && !beside(&path, "-wal").exists());
            names.push((aside, text));
        }
        for (name, text) in names {
            assert_eq!(std::fs::read_to_string(&name).expect("a file"), text);
            let log = beside(&name, "-wal");
            assert_eq!(std::fs::read_to_string(log).expect("a file"), text);
        }
    }

    #[test]
    fn the_migrations_make_the_form_that_the_program_knows_from_every_older_one() {
        for done in 0..=MIGRATIONS.len() {
            let mut connection = Connection::open_in_memory().expect("a database");
            for migration in &MIGRATIONS[..done] {
                connection.execute_batch(migration).expect("a migration");
            }
            migrate(&mut connection, done as i32).expect("migrated");
            let found = connection
                .query_row("SELECT count(*) FROM sqlite_schema", [], |row| {
                    row.get::<_, i64>(0)
                })
                .expect("a schema");
            assert!(found > 0);
        }
    }
}
