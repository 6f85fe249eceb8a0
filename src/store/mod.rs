//! What outlives the process: one SQLite file, one thread that writes its rows. Another brings the log of
//! what was written into the file ([`mod@checkpoint`]), a third notes the calls that are about to leave
//! ([`mod@journal`]).
//!
//! Owns the file, its form (`assets/schema`) and how long things are kept. Does not know what the
//! rows mean to anybody, nor the control protocol.
//!
//! The invariant: a request never waits for the disk. [`Store::try_put`] puts a row into a bounded
//! queue or counts it as dropped; the thread of [`writer`] writes in batches. What must not be lost
//! (a revision, an audit line) is handed over with a [`Receipt`], which answers when the row would
//! survive a loss of power. One kind of request does wait, for a line in a file: a call of a
//! language model is in the journal ([`mod@journal`]) before it leaves, and soon in the ledger ([`calls`]).
//!
//! # Writing
//!
//! ```no_run
//! use openclaw::store::{Event, Level, Outcome, Revision, RevisionFile, Row, State, Store};
//!
//! # async fn example() -> Result<(), openclaw::store::StoreError> {
//! let store = Store::start("/var/lib/openclaw/store.db");
//! if let State::Failed(error) = store.state() {
//!     eprintln!("{error}");
//! }
//! let at = 1_700_000_000_000;
//! store.try_put(Row::Event(Event {
//!     at,
//!     level: Level::Bad,
//!     kind: "peer".into(),
//!     subject: "10.0.0.1:80".into(),
//!     text: "failed 3 times".into(),
//! }));
//! let revision = Revision {
//!     at,
//!     author: "ann".into(),
//!     client: "cli".into(),
//!     note: "more room for uploads".into(),
//!     outcome: Outcome::Applied,
//!     conf: "/etc/openclaw/openclaw.conf".into(),
//!     ..Revision::default()
//! };
//! let files = vec![RevisionFile { path: revision.conf.clone(), text: "events {}".into() }];
//! let id = store.put_revision(revision, files).outcome().await?;
//! # let _ = id;
//! # Ok(())
//! # }
//! ```
//!
//! # Reading
//!
//! A [`Reader`] is a read-only connection of its own and blocks: use it on a thread that may wait.
//!
//! ```no_run
//! # fn example(store: &openclaw::store::Store) -> Result<(), openclaw::store::StoreError> {
//! let reader = store.reader()?;
//! for kept in reader.revisions(20, None)? {
//!     println!("{} {}", kept.id, kept.row.author);
//! }
//! let now = reader.latest_applied("/etc/openclaw/openclaw.conf")?;
//! let events = reader.events(100, None)?;
//! # let _ = (now, events);
//! # Ok(())
//! # }
//! ```

pub mod alerts;
pub mod backup;
pub mod calls;
mod checkpoint;
#[cfg(test)]
mod crash;
pub mod events;
mod journal;
pub mod keys;
pub mod open;
pub mod reader;
pub mod revisions;
pub mod traffic;
pub mod writer;

pub use calls::{
    BilledCalls, Call, CallState, CallerUsage, EndedCall, Interrupted, OpenCall, Payer, SecretUse,
    Settlement, Spend, SpendBy, Tokens,
};
pub use events::{Audit, Event, Level};
pub use keys::{KeyRow, SecretRow};
pub use open::StoreError;
pub use reader::Reader;
pub use revisions::{Outcome, Revision, RevisionFile, RevisionTexts};
pub use traffic::{Numbers, Rollup, Series};
pub use writer::{Receipt, Row, State, Store};

/// A row as it is kept, with its number. Numbers count up and are not used again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept<T> {
    /// Its number, from 1.
    pub id: u64,
    /// The row.
    pub row: T,
}

/// As much of a text as fits into so many bytes.
fn clipped(text: &str, longest: usize) -> &str {
    &text[..text.floor_char_boundary(longest)]
}

/// SQLite's integers have a sign; ours that do not fit are as large as can be.
fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The other direction; what is negative in the file was not written by us and is nothing.
fn natural(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
