//! A connection that only reads.
//!
//! It sees the rows as they were when a question began, whatever the writer does meanwhile, and
//! keeps nobody from writing. Calls block for as long as the disk takes. The questions stand beside
//! the tables that they ask: [`super::revisions`], [`super::events`], [`super::traffic`].

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension as _};

use super::open::{self, StoreError};

/// Asks the store.
#[derive(Debug)]
pub struct Reader {
    pub(super) connection: Connection,
    path: PathBuf,
}

impl Reader {
    /// Opens a store that exists, also without a daemon.
    ///
    /// # Errors
    ///
    /// If the file is missing, damaged, not ours or of another version.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            connection: open::open_to_read(path)?,
            path: path.to_owned(),
        })
    }

    /// The value that [`super::Store::put_meta`] kept under a key.
    pub fn meta(&self, key: &str) -> Result<Option<String>, StoreError> {
        self.ask(|connection| {
            connection
                .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| {
                    row.get(0)
                })
                .optional()
        })
    }

    /// Runs a question and puts SQLite's errors into our words.
    pub(super) fn ask<T>(
        &self,
        question: impl FnOnce(&Connection) -> Result<T, rusqlite::Error>,
    ) -> Result<T, StoreError> {
        question(&self.connection)
            .map_err(|error| StoreError::of_sqlite(&self.path, "read", &error))
    }

    /// The file, for errors.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}
