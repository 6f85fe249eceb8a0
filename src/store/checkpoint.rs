//! Brings the write-ahead log into the file, beside the thread that writes.
//!
//! SQLite does this at the end of a commit, with two syncs of the disk: whoever opens a call of a
//! language model would wait for them. Here a thread of its own does it on a connection of its own,
//! which writes no rows, while commits go on. The log begins anew when a commit finds all of it in the
//! file. Under a load without pauses that does not happen by itself: then, once in a while, the commit
//! does the rest.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use rusqlite::hooks::Wal;
use rusqlite::{Connection, OpenFlags};

/// From so many pages in the log on, what is there is brought into the file.
const ENOUGH: i32 = 1000;

/// From so many on, commits do it themselves: 32 MiB, some ten thousand calls.
const TOO_MUCH: i32 = 8192;

/// Until it helped, they try again after so many more.
const AGAIN: i32 = 1024;

/// The thread, for as long as the connection that writes is open. Dropped after that connection, it
/// waits for the end of the thread, whose connection is then the last and removes the log.
#[derive(Debug)]
pub(super) struct Checkpoints {
    thread: Option<JoinHandle<()>>,
}

impl Checkpoints {
    /// Starts the thread for a connection that writes. Without a thread or a second connection,
    /// commits do as SQLite does.
    pub(super) fn start(writer: &mut Connection, path: &Path) -> Result<Self, rusqlite::Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let Ok(connection) = Connection::open_with_flags(path, flags) else {
            return Ok(Self { thread: None });
        };
        let (sender, receiver) = sync_channel(1);
        let thread = thread::Builder::new()
            .name("checkpoint".to_owned())
            .spawn(move || run(&connection, &receiver));
        let Ok(thread) = thread else {
            return Ok(Self { thread: None });
        };
        let checkpoints = Self {
            thread: Some(thread),
        };
        watch(writer, sender)?;
        Ok(checkpoints)
    }
}

/// Looks at the log after each commit. The connection owns the sender: it closes with it.
fn watch(writer: &mut Connection, sender: SyncSender<()>) -> Result<(), rusqlite::Error> {
    let mut next = TOO_MUCH;
    writer.wal_hook(Some(move |log: &mut Wal, pages: i32| {
        if pages < TOO_MUCH {
            next = TOO_MUCH;
        } else if pages >= next {
            next = pages.saturating_add(AGAIN);
            // If the thread is at it, or the disk fails, the next one tries again; the rows are safe in
            // the log.
            let _ = log.checkpoint();
        }
        if pages >= ENOUGH {
            // If it was told already, that is enough.
            let _ = sender.try_send(());
        }
        Ok(())
    }))
}

fn run(connection: &Connection, receiver: &Receiver<()>) {
    while receiver.recv().is_ok() {
        // The disk may fail or be full: then the log grows, and the commits that it stops say why.
        let _ = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::time::{Duration, Instant};

    use super::*;

    fn database(directory: &Path) -> Connection {
        let connection = Connection::open(directory.join("store.db")).expect("a file");
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; CREATE TABLE t (x)",
            )
            .expect("a table");
        connection
    }

    /// Commits some more pages.
    fn write(connection: &Connection, pages: i32) {
        for _ in 0..pages {
            connection
                .execute("INSERT INTO t VALUES (zeroblob(4000))", [])
                .expect("a row");
        }
    }

    fn bytes(path: PathBuf) -> u64 {
        fs::metadata(path).map_or(0, |data| data.len())
    }

    #[test]
    fn the_thread_brings_the_log_into_the_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("store.db");
        let mut connection = database(directory.path());
        let checkpoints = Checkpoints::start(&mut connection, &file).expect("a hook");
        write(&connection, ENOUGH);
        let begun = Instant::now();
        while bytes(file.clone()) < 1 << 20 {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "it stays in the log"
            );
            thread::sleep(Duration::from_millis(5));
        }
        drop(connection);
        drop(checkpoints);
        assert!(!directory.path().join("store.db-wal").exists());
        let rows: i32 = Connection::open(file)
            .expect("a file")
            .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
            .expect("a count");
        assert_eq!(rows, ENOUGH);
    }

    #[test]
    fn without_help_of_the_thread_the_log_has_a_bound() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut connection = database(directory.path());
        let (sender, _receiver) = sync_channel(1);
        watch(&mut connection, sender).expect("a hook");
        for _ in 0..4 {
            write(&connection, TOO_MUCH);
        }
        let most = (TOO_MUCH + AGAIN) as u64 * 4200;
        assert!(bytes(directory.path().join("store.db-wal")) < most);
    }
}
