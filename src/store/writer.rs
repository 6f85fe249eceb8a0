//! The thread that writes, and the handle that everybody else has.
//!
//! Three lanes lead to the thread. Rows (what was counted, what happened) come in numbers, wait in a
//! bounded queue and are written in batches; one that does not fit is counted and gone. Commands (a
//! revision, an audit line, a restore) are few, are answered, and are refused rather than dropped.
//! Entries of the ledger are written first and in groups: they wait a few milliseconds for others, and
//! are tried again for as long as the disk fails. Whoever opens a call puts it into the journal
//! ([`super::journal`]) itself, which is memory. No lane blocks its caller.
//!
//! A command that keeps something commits with a sync of the disk: its answer means that the row
//! survives a loss of power. Batches commit without, as SQLite's `synchronous = NORMAL`: a loss of
//! power may cost the last seconds of them, never the file; an end of the process costs nothing that
//! was committed.

use std::collections::VecDeque;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use rusqlite::{Transaction, TransactionBehavior, params};
use tokio::sync::oneshot;

use super::backup;
use super::calls::{self, Entry, OpenCall, Settlement};
use super::events::{self, Audit, Event};
use super::journal::Journal;
use super::open::{self, Lock, Opened, StoreError};
use super::reader::Reader;
use super::revisions::{self, Revision, RevisionFile};
use super::traffic::{self, Rollup};

/// Rows that wait at most: a minute's worth of some thousand routes and peers, which all come at
/// once.
const QUEUE: usize = 8192;

/// Commands that wait at most. A revision may have 16 MiB.
const COMMANDS: usize = 32;

/// Entries of the ledger that wait at most before no call is opened any more. Each has some hundred
/// bytes. Ends are taken beyond it: there are no more of them than calls that were opened.
const LEDGER: usize = 16_384;

/// A group of the ledger has at most so many entries.
const GROUP: usize = 1024;

/// An entry of the ledger waits for others at most so long.
const LEDGER_GATHER: Duration = Duration::from_millis(20);

/// A transaction has at most so many rows.
const BATCH: usize = 256;

/// A row waits for others at most so long.
const GATHER: Duration = Duration::from_secs(1);

/// What may pass by itself, such as a full disk, is tried again after this.
const RETRY: Duration = Duration::from_secs(5);

/// How often the writer looks whether the file is still in its place, at most: a ledger in use
/// commits a thousand times a second.
const LOOK: Duration = Duration::from_secs(1);

/// How often the writer looks for what is too old.
const THIN: Duration = Duration::from_secs(60);

/// What waits to be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Row {
    /// The numbers of a minute.
    Rollup(Rollup),
    /// Something that happened.
    Event(Event),
}

/// How the store does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// The thread is opening it; what is put waits.
    Opening,
    /// It is in use.
    Open,
    /// It is not in use, or the last write failed. Whatever may pass by itself (a full disk, another
    /// process) is tried again every five seconds; the rest waits for [`Store::set_aside`] or
    /// [`Store::restore`].
    Failed(StoreError),
}

/// The store, from outside. Clones are the same store; with the last of them it closes by itself,
/// without anybody waiting for it.
#[derive(Clone, Debug)]
pub struct Store {
    handle: Arc<Handle>,
}

/// The answer to a command, when it has been carried out.
#[derive(Debug)]
pub struct Receipt<T>(oneshot::Receiver<Result<T, StoreError>>);

impl<T> Receipt<T> {
    /// Waits without blocking the thread.
    ///
    /// # Errors
    ///
    /// Why the command was not carried out.
    pub async fn outcome(self) -> Result<T, StoreError> {
        self.0.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Waits and blocks the thread.
    ///
    /// # Errors
    ///
    /// Why the command was not carried out.
    ///
    /// # Panics
    ///
    /// In an asynchronous context.
    pub fn wait(self) -> Result<T, StoreError> {
        self.0.blocking_recv().unwrap_or(Err(StoreError::Closed))
    }
}

impl Store {
    /// Starts the thread, which opens the file and makes it if it is missing, with its directory.
    /// Does not wait for the disk: see [`Self::state`]. To be called with the rights that the
    /// process keeps: files made with more could not be opened again.
    pub fn start(path: impl Into<PathBuf>) -> Self {
        let shared = Arc::new(Shared {
            path: path.into(),
            queue: Mutex::default(),
            woken: Condvar::new(),
            journal: OnceLock::new(),
            state: Mutex::new(State::Opening),
            changed: Condvar::new(),
            ended: Condvar::new(),
            copying: Mutex::new(()),
            dropped: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        });
        let writer = Writer::new(Arc::clone(&shared));
        let thread = thread::Builder::new().name("store".to_owned());
        if let Err(error) = thread.spawn(|| writer.run()) {
            let failed = StoreError::of_system(&shared.path, "start the thread of", &error);
            shared.queue.lock().has_ended = true;
            shared.set_state(State::Failed(failed));
        }
        Self {
            handle: Arc::new(Handle { shared }),
        }
    }

    /// The file, as it was named.
    pub fn path(&self) -> &Path {
        &self.shared().path
    }

    /// How it does.
    pub fn state(&self) -> State {
        self.shared().state.lock().clone()
    }

    /// Blocks until the file was opened or could not be, for so long at most, and says how it does.
    pub fn wait_open(&self, longest: Duration) -> State {
        let shared = self.shared();
        let mut state = shared.state.lock();
        shared
            .changed
            .wait_while_for(&mut state, |state| *state == State::Opening, longest);
        state.clone()
    }

    /// Rows that were dropped since the start, because the disk did not keep up or failed.
    pub fn dropped(&self) -> u64 {
        self.shared().dropped.load(Ordering::Relaxed)
    }

    /// What the store had on the disk after the last write, in bytes, with its log.
    pub fn bytes(&self) -> u64 {
        self.shared().bytes.load(Ordering::Relaxed)
    }

    /// Hands a row over and never waits; it is on its way to the disk within about a second.
    /// Returns false and counts the row as dropped if too many wait already or the store is closed.
    pub fn try_put(&self, row: Row) -> bool {
        let shared = self.shared();
        let mut queue = shared.queue.lock();
        if queue.is_closing || queue.has_ended || queue.rows.len() >= QUEUE {
            drop(queue);
            shared.dropped.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        if queue.rows.is_empty() {
            queue.first_row = Some(Instant::now());
        }
        queue.rows.push_back(row);
        // The first one starts the clock of the batch, the last one ends it.
        let is_news = matches!(queue.rows.len(), 1 | BATCH);
        drop(queue);
        if is_news {
            shared.woken.notify_one();
        }
        true
    }

    /// Keeps a revision with its files, the main file first. The receipt has its number and comes
    /// when it would survive a loss of power.
    pub fn put_revision(&self, revision: Revision, files: Vec<RevisionFile>) -> Receipt<u64> {
        if let Err(error) = revisions::fits(&files) {
            return refused(error);
        }
        self.command(move |writer| {
            writer.keep(|transaction| revisions::insert(transaction, &revision, &files))
        })
    }

    /// Keeps an audit line. The receipt has its number and comes when it would survive a loss of
    /// power; who does not need it drops it.
    pub fn put_audit(&self, audit: Audit) -> Receipt<u64> {
        self.command(move |writer| {
            writer.keep(|transaction| events::insert_audit(transaction, &audit))
        })
    }

    /// Keeps a value under a key; see [`Reader::meta`].
    pub fn put_meta(&self, key: String, value: String) -> Receipt<()> {
        self.command(move |writer| {
            writer.keep(|transaction| {
                transaction
                    .execute(
                        "INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)",
                        params![key, value],
                    )
                    .map(drop)
            })
        })
    }

    /// Puts a call into the journal before it leaves, and soon into the ledger. From then on it survives
    /// an end of the process at any moment. Does not wait.
    ///
    /// # Errors
    ///
    /// Nobody knows of the call, and it must not leave: the store is not open, the last write to it
    /// failed, or too many calls wait for it already.
    pub fn open_call(&self, call: Arc<OpenCall>) -> Result<(), StoreError> {
        let shared = self.shared();
        if let State::Failed(error) = &*shared.state.lock() {
            return Err(error.clone());
        }
        let journal = shared.journal.get().ok_or(StoreError::Closed)?;
        if shared.queue.lock().ledger.len() >= LEDGER {
            return Err(StoreError::Busy);
        }
        journal.append(&Arc::clone(&call), || {
            if shared.queue.lock().put_into_ledger([Entry::Open(call)]) {
                shared.woken.notify_one();
            }
        })
    }

    /// Settles a call that was opened; a second time changes nothing. Does not wait. What the disk
    /// does not take now is tried again; if the process ends before, the call is closed as
    /// interrupted at the next start. Returns false if the store is closed.
    pub fn settle_call(&self, call: Arc<OpenCall>, end: Settlement) -> bool {
        let shared = self.shared();
        let mut queue = shared.queue.lock();
        if queue.has_ended {
            return false;
        }
        let is_news = queue.put_into_ledger([Entry::Settle(call, Arc::new(end))]);
        drop(queue);
        if is_news {
            shared.woken.notify_one();
        }
        true
    }

    /// The receipt comes when every row that was put before has been written.
    pub fn flush(&self) -> Receipt<()> {
        self.command(|writer| writer.usable().map(drop))
    }

    /// Moves a damaged store, or one of a newer program, out of the way and begins with an empty
    /// one. The receipt has the old file's new name.
    ///
    /// # Errors
    ///
    /// If the store is open, or failed for another reason: then [`StoreError`] says which.
    pub fn set_aside(&self) -> Receipt<PathBuf> {
        self.command(Writer::set_aside)
    }

    /// A connection that reads. Blocks, and so do its questions.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened, or is not there yet.
    pub fn reader(&self) -> Result<Reader, StoreError> {
        Reader::open(&self.shared().path)
    }

    /// Writes what waits, closes the file and ends the thread. Takes nothing new from now on. Blocks
    /// for so long at most; returns whether it was done by then.
    pub fn close(&self, longest: Duration) -> bool {
        let shared = self.shared();
        shared.close();
        let mut queue = shared.queue.lock();
        shared
            .ended
            .wait_while_for(&mut queue, |queue| !queue.has_ended, longest);
        queue.has_ended
    }

    /// Hands over a command, which the thread carries out in its turn.
    pub(super) fn command<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Writer) -> Result<T, StoreError> + Send + 'static,
    ) -> Receipt<T> {
        let shared = self.shared();
        let mut queue = shared.queue.lock();
        if queue.is_closing || queue.has_ended {
            return refused(StoreError::Closed);
        }
        if queue.commands.len() >= COMMANDS {
            return refused(StoreError::Busy);
        }
        let (sender, receiver) = oneshot::channel();
        queue.commands.push_back(Box::new(move |writer| {
            // Who does not wait for the answer has dropped the receipt.
            let _ = sender.send(work(writer));
        }));
        drop(queue);
        shared.woken.notify_one();
        Receipt(receiver)
    }

    /// The right to copy the store, in either direction, unless somebody has it.
    pub(super) fn copying(&self) -> Option<MutexGuard<'_, ()>> {
        self.shared().copying.try_lock()
    }

    fn shared(&self) -> &Shared {
        &self.handle.shared
    }
}

fn refused<T>(error: StoreError) -> Receipt<T> {
    let (sender, receiver) = oneshot::channel();
    let _ = sender.send(Err(error));
    Receipt(receiver)
}

/// Tells the thread to end when nobody is left to ask it for anything.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// What the thread and the handles share.
#[derive(Debug)]
struct Shared {
    path: PathBuf,
    queue: Mutex<Queue>,
    /// There is something for the thread.
    woken: Condvar,
    /// There from the first time on that the file is open.
    journal: OnceLock<Journal>,
    state: Mutex<State>,
    /// The state is another one.
    changed: Condvar,
    /// The thread has ended.
    ended: Condvar,
    /// Held by the one who backs up or restores.
    copying: Mutex<()>,
    dropped: AtomicU64,
    bytes: AtomicU64,
}

type Command = Box<dyn FnOnce(&mut Writer) + Send>;

#[derive(Default)]
struct Queue {
    rows: VecDeque<Row>,
    /// When the first of the rows came.
    first_row: Option<Instant>,
    commands: VecDeque<Command>,
    ledger: VecDeque<Entry>,
    /// When the first of the ledger's entries came.
    first_entry: Option<Instant>,
    is_closing: bool,
    has_ended: bool,
}

impl Queue {
    /// Is it the first that waits?
    fn put_into_ledger(&mut self, entries: impl IntoIterator<Item = Entry>) -> bool {
        let is_news = self.ledger.is_empty();
        if is_news {
            self.first_entry = Some(Instant::now());
        }
        self.ledger.extend(entries);
        is_news
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Queue")
            .field("rows", &self.rows.len())
            .field("commands", &self.commands.len())
            .field("ledger", &self.ledger.len())
            .field("is_closing", &self.is_closing)
            .field("has_ended", &self.has_ended)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn close(&self) {
        self.queue.lock().is_closing = true;
        self.woken.notify_one();
    }

    fn set_state(&self, state: State) {
        *self.state.lock() = state;
        self.changed.notify_all();
    }
}

/// What the thread takes at once.
struct Turn {
    ledger: VecDeque<Entry>,
    rows: VecDeque<Row>,
    commands: VecDeque<Command>,
    is_closing: bool,
}

/// The thread's own side.
pub(super) struct Writer {
    shared: Arc<Shared>,
    lock: Option<Lock>,
    opened: Option<Opened>,
    /// When to try again what failed; `None` if nothing did, or nothing will help.
    retry: Option<Instant>,
    /// When to look for what is too old.
    thin: Instant,
    /// When to see whether the file is still where it was, and how large.
    look: Instant,
    /// Was the file never open yet?
    is_first: bool,
}

impl Writer {
    fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            lock: None,
            opened: None,
            retry: Some(Instant::now()),
            thin: Instant::now() + THIN,
            look: Instant::now(),
            is_first: true,
        }
    }

    /// The thread.
    fn run(mut self) {
        loop {
            self.guarded(Self::recover);
            let turn = self.next();
            let is_time_to_look = Instant::now() >= self.look;
            if is_time_to_look || !turn.commands.is_empty() {
                self.look = Instant::now() + LOOK;
                self.guarded(|writer| writer.begin_again_if_moved());
            }
            self.write_ledger(turn.ledger);
            self.write(turn.rows);
            for command in turn.commands {
                self.guarded(|writer| command(writer));
            }
            if Instant::now() >= self.thin {
                self.guarded(Self::thin);
            }
            if is_time_to_look {
                self.measure();
            }
            if turn.is_closing {
                break;
            }
        }
        if let Some(journal) = self.shared.journal.get() {
            journal.remove();
        }
        // The last connection that closes writes the log into the file and removes it.
        self.opened = None;
        self.lock = None;
        let mut queue = self.shared.queue.lock();
        let left = queue.rows.len() as u64;
        queue.rows.clear();
        queue.commands.clear();
        queue.ledger.clear();
        queue.has_ended = true;
        drop(queue);
        self.shared.dropped.fetch_add(left, Ordering::Relaxed);
        if *self.shared.state.lock() == State::Open {
            self.shared.set_state(State::Failed(StoreError::Closed));
        }
        self.shared.ended.notify_all();
    }

    /// Waits until there is enough to do.
    fn next(&self) -> Turn {
        let mut queue = self.shared.queue.lock();
        loop {
            // Rows wait while there is nothing to write them to; the queue is bounded.
            let gathered = match (&self.opened, queue.first_row) {
                (Some(_), Some(first)) if queue.rows.len() < BATCH => Some(first + GATHER),
                (Some(_), Some(first)) => Some(first),
                _ => None,
            };
            // While the disk fails, entries wait for the next attempt.
            let ledger = queue
                .first_entry
                .filter(|_| self.opened.is_some())
                .map(|first| (first + LEDGER_GATHER).max(self.retry.unwrap_or(first)));
            let now = Instant::now();
            let due = [gathered, ledger, self.retry, Some(self.thin)]
                .into_iter()
                .flatten()
                .min()
                .filter(|due| *due > now);
            let is_asked = !queue.commands.is_empty() || queue.is_closing;
            let Some(due) = due.filter(|_| !is_asked) else {
                break;
            };
            self.shared.woken.wait_until(&mut queue, due);
        }
        drop(queue);
        let take = || {
            let turn = self.take(&mut self.shared.queue.lock());
            let is_last = turn.is_closing;
            (turn, is_last)
        };
        match self.shared.journal.get() {
            Some(journal) => journal.turn(take),
            None => take().0,
        }
    }

    fn take(&self, queue: &mut Queue) -> Turn {
        queue.first_entry = None;
        let takes_rows = self.opened.is_some();
        if takes_rows {
            queue.first_row = None;
        }
        Turn {
            ledger: mem::take(&mut queue.ledger),
            rows: match takes_rows {
                true => mem::take(&mut queue.rows),
                false => VecDeque::new(),
            },
            commands: mem::take(&mut queue.commands),
            is_closing: queue.is_closing,
        }
    }

    /// Opens the file, or finds out whether it can be written again.
    fn recover(&mut self) {
        if self.retry.is_none_or(|retry| retry > Instant::now()) {
            return;
        }
        self.retry = None;
        if self.opened.is_some() {
            // Nothing has to be kept for it to work; why it does not is in the state.
            let _ = self.keep(|transaction| {
                transaction.execute(
                    "INSERT OR REPLACE INTO meta (key, value) VALUES ('recovered', '')",
                    [],
                )
            });
            return;
        }
        self.open();
    }

    /// The lock, which is held from the first time on, also while the file cannot be used: another
    /// process would otherwise take the store between two of our steps.
    fn lock(&mut self) -> Result<Lock, StoreError> {
        let lock = match self.lock.take().filter(Lock::is_in_place) {
            Some(lock) => lock,
            None => open::lock(&self.shared.path)?,
        };
        self.lock = Some(lock.clone());
        Ok(lock)
    }

    /// Opens the file and goes on with it, or without one.
    fn open(&mut self) {
        let opened = self
            .lock()
            .and_then(|lock| open::open(&self.shared.path, lock))
            .and_then(|mut opened| self.open_journal(&mut opened).map(|()| opened));
        match opened {
            Ok(opened) => {
                if mem::take(&mut self.is_first) {
                    // A restore that was killed has left its copy, which nobody is using: we have
                    // the lock, and no restore of ours has begun.
                    let _ = std::fs::remove_file(open::beside(&opened.path, ".restore"));
                }
                self.opened = Some(opened);
                self.retry = None;
                self.measure();
                self.shared.set_state(State::Open);
            }
            Err(error) => {
                self.opened = None;
                self.fail(error);
            }
        }
    }

    /// Opens the journal, the first time, and puts what a process that was killed has left in it into
    /// the ledger.
    fn open_journal(&self, opened: &mut Opened) -> Result<(), StoreError> {
        if self.shared.journal.get().is_some() {
            return Ok(());
        }
        let (journal, left) = Journal::open(&opened.path)?;
        if !left.is_empty() {
            let sqlite = |error| StoreError::of_sqlite(&opened.path, "write", &error);
            let transaction = opened.connection.transaction().map_err(sqlite)?;
            calls::recover(&transaction, &left).map_err(sqlite)?;
            transaction.commit().map_err(sqlite)?;
        }
        journal.forget()?;
        let is_first = self.shared.journal.set(journal).is_ok();
        debug_assert!(is_first, "one thread opens it");
        Ok(())
    }

    /// Remembers why the store cannot be used.
    fn fail(&mut self, error: StoreError) {
        // A disk that is full leaves the connection as it is. Anything else may have to do with
        // the file, and opening it anew looks at it.
        if !matches!(error, StoreError::Full { .. } | StoreError::Locked { .. }) {
            self.opened = None;
        }
        self.retry = error.may_pass().then(|| Instant::now() + RETRY);
        self.shared.set_state(State::Failed(error));
    }

    /// The file, or why there is none.
    pub(super) fn usable(&mut self) -> Result<&mut Opened, StoreError> {
        let Some(opened) = &mut self.opened else {
            return Err(match &*self.shared.state.lock() {
                State::Failed(error) => error.clone(),
                State::Opening | State::Open => StoreError::Closed,
            });
        };
        Ok(opened)
    }

    /// Runs a transaction and commits it with a sync of the disk.
    pub(super) fn keep<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, rusqlite::Error>,
    ) -> Result<T, StoreError> {
        self.transaction("FULL", work)
    }

    fn transaction<T>(
        &mut self,
        synchronous: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, rusqlite::Error>,
    ) -> Result<T, StoreError> {
        let opened = self.usable()?;
        let relaxed = opened.relaxed;
        let connection = &mut opened.connection;
        let done = (|| {
            // Every transaction leaves the relaxed one behind; the ledger's go by the thousand.
            if synchronous != relaxed {
                connection.pragma_update(None, "synchronous", synchronous)?;
            }
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&transaction)?;
            transaction.commit()?;
            if synchronous != relaxed {
                connection.pragma_update(None, "synchronous", relaxed)?;
            }
            Ok(value)
        })();
        match done {
            Ok(value) => {
                if *self.shared.state.lock() != State::Open {
                    self.retry = None;
                    self.shared.set_state(State::Open);
                }
                Ok(value)
            }
            Err(error) => {
                let error = StoreError::of_sqlite(&self.shared.path, "write", &error);
                self.fail(error.clone());
                Err(error)
            }
        }
    }

    /// Writes entries of the ledger in groups. Those of a group that fails are kept for another time.
    fn write_ledger(&mut self, mut ledger: VecDeque<Entry>) {
        let mut kept = VecDeque::new();
        while !ledger.is_empty() {
            let count = ledger.len().min(GROUP);
            let group: Vec<Entry> = ledger.drain(..count).collect();
            let written = self.guarded(|writer| {
                let relaxed = writer.usable()?.relaxed;
                writer.transaction(relaxed, |transaction| {
                    calls::write(transaction, group.iter())
                })
            });
            if written != Some(Ok(())) {
                kept.extend(group);
            }
        }
        if kept.is_empty() {
            if let Some(journal) = self.shared.journal.get() {
                journal.committed();
            }
            return;
        }
        let mut queue = self.shared.queue.lock();
        queue.first_entry = Some(Instant::now());
        kept.append(&mut queue.ledger);
        queue.ledger = kept;
    }

    /// Writes rows in batches; those of a batch that fails are dropped.
    fn write(&mut self, mut rows: VecDeque<Row>) {
        while !rows.is_empty() {
            let count = rows.len().min(BATCH);
            let batch: Vec<Row> = rows.drain(..count).collect();
            let is_written = self.guarded(|writer| {
                let relaxed = writer.usable().map_or("NORMAL", |opened| opened.relaxed);
                writer
                    .transaction(relaxed, |transaction| {
                        batch.iter().try_for_each(|row| match row {
                            Row::Rollup(rollup) => traffic::insert(transaction, rollup),
                            Row::Event(event) => events::insert(transaction, event),
                        })
                    })
                    .is_ok()
            });
            if is_written != Some(true) {
                self.shared
                    .dropped
                    .fetch_add(count as u64, Ordering::Relaxed);
            }
        }
    }

    /// A file that was removed or replaced would take what we write with it.
    fn begin_again_if_moved(&mut self) {
        if self.opened.as_ref().is_none_or(Opened::is_in_place) {
            return;
        }
        self.opened = None;
        self.open();
    }

    /// Removes or folds some of what is too old.
    fn thin(&mut self) {
        self.thin = Instant::now() + THIN;
        let Ok(relaxed) = self.usable().map(|opened| opened.relaxed) else {
            return;
        };
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        let is_more = self.transaction(relaxed, |transaction| {
            let rows = traffic::thin(transaction, now.as_secs(), &traffic::THINNING)?;
            let lines = events::thin(transaction, now.as_millis() as u64)?;
            let calls = calls::thin(transaction, now.as_micros() as u64)?;
            if !rows {
                traffic::forget_names(transaction)?;
            }
            Ok(rows || lines || calls)
        });
        if is_more == Ok(true) {
            self.thin = Instant::now();
        }
    }

    fn set_aside(&mut self) -> Result<PathBuf, StoreError> {
        let error = match &*self.shared.state.lock() {
            State::Failed(error) => error.clone(),
            State::Opening | State::Open => StoreError::Failed {
                path: self.shared.path.clone(),
                action: "set aside",
                found: "it is in use and in order".to_owned(),
            },
        };
        if !error.is_unusable_store() {
            return Err(error);
        }
        self.lock()?;
        let aside = open::set_aside(&self.shared.path, word(&error))?;
        self.open();
        Ok(aside)
    }

    /// Puts the content of another file, which was checked, in place of the store's.
    pub(super) fn replace(&mut self, other: &Path) -> Result<(), StoreError> {
        let opened = match self.usable() {
            Ok(opened) => opened,
            Err(error) if error.is_unusable_store() => {
                self.lock()?;
                open::set_aside_for(&self.shared.path, other, word(&error))?;
                self.open();
                return self.usable().map(drop);
            }
            Err(error) => return Err(error),
        };
        let connection = &mut opened.connection;
        let relaxed = opened.relaxed;
        let path = &opened.path;
        // The pages go into the log as one transaction; readers go on with what they have.
        let done = open::connect_to_read(other).and_then(|other| {
            let sqlite = |error| StoreError::of_sqlite(path, "restore", &error);
            connection
                .pragma_update(None, "synchronous", "FULL")
                .map_err(sqlite)?;
            backup::copy_pages(&other, connection).map_err(sqlite)?;
            connection
                .pragma_update(None, "synchronous", relaxed)
                .map_err(sqlite)
        });
        match done {
            Ok(()) => {
                // The log is as large as the content now. A reader may keep it from being cut.
                let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
                self.retry = None;
                self.shared.set_state(State::Open);
                Ok(())
            }
            Err(error) => {
                self.fail(error.clone());
                Err(error)
            }
        }
    }

    /// Notes what the files have on the disk.
    fn measure(&self) {
        let bytes = ["", "-wal"]
            .iter()
            .filter_map(|part| std::fs::metadata(open::beside(&self.shared.path, part)).ok())
            .map(|data| data.len())
            .sum();
        self.shared.bytes.store(bytes, Ordering::Relaxed);
    }

    /// Does something that may panic. Then the connection is not trusted any more, and the thread
    /// goes on with a new one.
    fn guarded<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let done = panic::catch_unwind(AssertUnwindSafe(|| work(self)));
        if done.is_err() {
            self.fail(StoreError::Failed {
                path: self.shared.path.clone(),
                action: "write",
                found: "a fault in the program, see the error log".to_owned(),
            });
        }
        done.ok()
    }
}

/// What a file that was set aside is called.
fn word(error: &StoreError) -> &'static str {
    match error {
        StoreError::Newer { .. } => "newer",
        _ => "damaged",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::store::events::Level;
    use crate::store::revisions::Outcome;
    use crate::store::traffic::{Numbers, Series};

    const LONG: Duration = Duration::from_secs(60);

    fn started() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::start(directory.path().join("state/store.db"));
        assert_eq!(store.wait_open(LONG), State::Open);
        (directory, store)
    }

    fn event(text: &str) -> Row {
        Row::Event(Event {
            at: 1,
            level: Level::Info,
            kind: "peer".into(),
            subject: String::new(),
            text: text.into(),
        })
    }

    fn revision(text: &str) -> (Revision, Vec<RevisionFile>) {
        let revision = Revision {
            author: "ann".into(),
            outcome: Outcome::Applied,
            conf: "/etc/openclaw.conf".into(),
            ..Revision::default()
        };
        let file = RevisionFile {
            path: revision.conf.clone(),
            text: text.into(),
        };
        (revision, vec![file])
    }

    /// Holds the thread until the sender is dropped.
    fn held(store: &Store) -> mpsc::Sender<()> {
        let (sender, receiver) = mpsc::channel::<()>();
        let (began, begun) = mpsc::channel();
        let _ = store.command(move |_| {
            let _ = began.send(());
            let _ = receiver.recv();
            Ok(())
        });
        begun.recv().expect("the thread is held");
        sender
    }

    #[test]
    fn a_call_leaves_while_the_writer_is_busy_and_is_not_lost_if_it_never_writes_again() {
        let (directory, store) = started();
        let held = held(&store);
        let call = Arc::new(OpenCall {
            id: 7,
            asked: "chat".into(),
            ..OpenCall::default()
        });
        assert_eq!(store.open_call(Arc::clone(&call)), Ok(()));
        // What a process that is killed now leaves behind.
        let other = tempfile::tempdir().expect("a directory");
        for part in ["", "-wal", "-calls-0", "-calls-1"] {
            let name = format!("store.db{part}");
            std::fs::copy(store.path().with_file_name(&name), other.path().join(&name))
                .expect(&name);
        }
        for _ in 0..2 {
            let next = Store::start(other.path().join("store.db"));
            assert_eq!(next.wait_open(LONG), State::Open);
            let found = next.reader().expect("a reader").calls(9, None, None);
            let opened: Vec<_> = found
                .expect("calls")
                .into_iter()
                .map(|call| call.open)
                .collect();
            assert_eq!(opened, [(*call).clone()]);
            assert!(next.close(LONG));
        }
        drop(held);
        assert!(store.close(LONG));
        let left: Vec<_> = std::fs::read_dir(directory.path().join("state"))
            .expect("a directory")
            .map(|file| file.expect("a file").file_name())
            .filter(|name| name.to_string_lossy().contains("-calls-"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }

    #[test]
    fn what_is_put_is_there_for_a_reader_after_a_flush() {
        let (_directory, store) = started();
        assert!(store.try_put(event("one")));
        assert!(store.try_put(Row::Rollup(Rollup {
            series: Series::Total,
            start: 60,
            numbers: Numbers {
                requests: 3,
                ..Numbers::default()
            },
        })));
        let (revision, files) = revision("events {}");
        let id = store.put_revision(revision.clone(), files.clone()).wait();
        assert_eq!(id, Ok(1));
        let audit = Audit {
            user: "ann".into(),
            ..Audit::default()
        };
        assert_eq!(store.put_audit(audit.clone()).wait(), Ok(1));
        assert_eq!(store.put_meta("key".into(), "value".into()).wait(), Ok(()));
        assert_eq!(store.flush().wait(), Ok(()));

        let reader = store.reader().expect("a reader");
        assert_eq!(reader.events(9, None).expect("events")[0].row.text, "one");
        let traffic = reader.traffic(&Series::Total, 0, 120, 60).expect("traffic");
        assert_eq!((traffic[0].0, traffic[0].1.requests), (60, 3));
        let found = reader.revision(1).expect("a revision").expect("kept");
        assert_eq!((found.revision.row, found.files), (revision, files));
        assert_eq!(reader.audit(9, None).expect("lines")[0].row, audit);
        assert_eq!(reader.meta("key"), Ok(Some("value".to_owned())));
        assert_eq!(reader.meta("other"), Ok(None));
        assert_eq!(store.dropped(), 0);
        assert!(store.bytes() > 0);
    }

    #[test]
    fn rows_that_do_not_fit_are_counted_and_nobody_waits() {
        let (_directory, store) = started();
        let held = held(&store);
        for count in 0..QUEUE + 7 {
            assert_eq!(store.try_put(event("")), count < QUEUE);
        }
        assert_eq!(store.dropped(), 7);
        // A revision still has its place.
        let (revision, files) = revision("");
        let receipt = store.put_revision(revision, files);
        drop(held);
        assert_eq!(receipt.wait(), Ok(1));
        assert_eq!(store.flush().wait(), Ok(()));
        let reader = store.reader().expect("a reader");
        assert_eq!(reader.events(u32::MAX, None).expect("events").len(), QUEUE);
        assert!(store.try_put(event("")));
    }

    #[test]
    fn too_many_commands_are_refused_and_not_dropped() {
        let (_directory, store) = started();
        let held = held(&store);
        let receipts: Vec<_> = (0..COMMANDS).map(|_| store.flush()).collect();
        let (revision, files) = revision("");
        assert_eq!(
            store.put_revision(revision, files).wait(),
            Err(StoreError::Busy)
        );
        drop(held);
        for receipt in receipts {
            assert_eq!(receipt.wait(), Ok(()));
        }
    }

    #[test]
    fn closing_writes_what_waits_and_takes_nothing_new() {
        let (directory, store) = started();
        for _ in 0..BATCH + 1 {
            store.try_put(event(""));
        }
        let (revision, files) = revision("");
        let receipt = store.put_revision(revision, files);
        assert!(store.close(LONG));
        assert_eq!(receipt.wait(), Ok(1));
        assert_eq!(store.state(), State::Failed(StoreError::Closed));
        assert!(!store.try_put(event("")));
        assert_eq!(store.dropped(), 1);
        assert_eq!(store.flush().wait(), Err(StoreError::Closed));
        let mut left: Vec<_> = std::fs::read_dir(directory.path().join("state"))
            .expect("a directory")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["store.db", "store.db.lock"]);
        let reader = store.reader().expect("a reader without a daemon");
        assert_eq!(
            reader.events(u32::MAX, None).expect("events").len(),
            BATCH + 1
        );
    }

    #[test]
    fn a_second_store_on_the_same_file_waits_for_the_first() {
        let (_directory, store) = started();
        let second = Store::start(store.path());
        let State::Failed(error) = second.wait_open(LONG) else {
            panic!("two writers");
        };
        assert_eq!(
            error,
            StoreError::Locked {
                path: open::resolved(store.path())
            }
        );
        assert_eq!(second.flush().wait(), Err(error));
        assert!(store.close(LONG));
        // As the time for another try does, without waiting for it.
        let receipt = second.command(|writer| {
            writer.retry = Some(Instant::now());
            writer.recover();
            writer.usable().map(drop)
        });
        assert_eq!(receipt.wait(), Ok(()));
        assert_eq!(second.state(), State::Open);
    }

    #[test]
    fn a_full_disk_costs_rows_which_are_counted_and_the_store_recovers() {
        let (_directory, store) = started();
        let limit = |pages: u32| {
            let receipt = store.command(move |writer| {
                let connection = &writer.usable()?.connection;
                connection
                    .pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
                    .expect("a limit");
                Ok(())
            });
            assert_eq!(receipt.wait(), Ok(()));
        };
        let full = StoreError::Full {
            path: store.path().to_owned(),
        };
        // It cannot be less than there is.
        limit(1);
        let large = "x".repeat(100_000);
        let (record, files) = revision(&large);
        assert_eq!(store.put_revision(record, files).wait(), Err(full.clone()));
        assert_eq!(store.state(), State::Failed(full));
        for _ in 0..BATCH {
            store.try_put(event(&large));
        }
        assert_eq!(store.flush().wait(), Ok(()));
        assert_eq!(store.dropped(), BATCH as u64);

        limit(1_000_000);
        let receipt = store.command(|writer| {
            writer.retry = Some(Instant::now());
            writer.recover();
            Ok(())
        });
        assert_eq!(receipt.wait(), Ok(()));
        assert_eq!(store.state(), State::Open);
        let (record, files) = revision(&large);
        assert_eq!(store.put_revision(record, files).wait(), Ok(1));
    }

    #[test]
    fn a_file_system_without_room_costs_nothing_that_was_acknowledged() {
        use std::process::Command;
        let directory = tempfile::tempdir().expect("a directory");
        let child = Command::new("unshare")
            .args(["-rm", "sh", "-c"])
            .arg("mount -t tmpfs -o size=2m none \"$OPENCLAW_TEST_DISK\" && exec \"$0\" \"$@\"")
            .arg(std::env::current_exe().expect("this program"))
            .args(["--exact", "store::writer::tests::fills_a_small_disk"])
            .env("OPENCLAW_TEST_DISK", directory.path())
            .output()
            .expect("a child");
        let output = String::from_utf8_lossy(&child.stdout);
        assert!(
            child.status.success() && output.contains("1 passed"),
            "this test mounts a file system, which root or user namespaces have to allow: {output}{}",
            String::from_utf8_lossy(&child.stderr)
        );
    }

    /// Only for the test above, in a process of its own.
    #[test]
    fn fills_a_small_disk() {
        let Some(disk) = std::env::var_os("OPENCLAW_TEST_DISK").map(PathBuf::from) else {
            return;
        };
        let ballast = disk.join("ballast");
        std::fs::write(&ballast, vec![0; 1 << 20]).expect("room for it");
        let store = Store::start(disk.join("store.db"));
        assert_eq!(store.wait_open(LONG), State::Open);
        let mut acknowledged = 0;
        let error = loop {
            let (record, files) = revision(&format!("{acknowledged}").repeat(20_000));
            match store.put_revision(record, files).wait() {
                Ok(id) => acknowledged = id,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, StoreError::Full { .. }), "{error}");
        assert!(matches!(
            store.state(),
            State::Failed(StoreError::Full { .. })
        ));
        let count = BATCH * 4;
        for _ in 0..count {
            store.try_put(event(&"x".repeat(4000)));
        }
        assert_eq!(store.flush().wait(), Ok(()));
        let dropped = store.dropped();
        assert!(dropped > 0);
        assert!(store.backup(&disk.join("backup")).is_err());
        assert!(!disk.join("backup").exists());

        std::fs::remove_file(&ballast).expect("room");
        let receipt = store.command(|writer| {
            writer.retry = Some(Instant::now());
            writer.recover();
            Ok(())
        });
        assert_eq!(receipt.wait(), Ok(()));
        assert_eq!(store.state(), State::Open);
        let (record, files) = revision("");
        assert!(store.put_revision(record, files).wait().is_ok());
        assert!(store.close(LONG));
        let opened = open::open_alone(store.path()).expect("a store");
        open::check(&opened.connection, store.path(), "integrity_check").expect("whole");
        let reader = store.reader().expect("a reader");
        for id in 1..=acknowledged {
            assert!(reader.revision(id).expect("whole").is_some());
        }
        let events = reader.events(u32::MAX, None).expect("events").len();
        assert_eq!(events + dropped as usize, count);
    }

    #[test]
    fn a_panic_costs_its_command_and_the_thread_goes_on() {
        let (_directory, store) = started();
        let (record, files) = revision("one");
        assert_eq!(store.put_revision(record, files).wait(), Ok(1));
        let receipt: Receipt<()> = store.command(|writer| {
            writer.keep(|transaction| {
                transaction.execute("DELETE FROM revisions", [])?;
                panic!("on purpose");
            })
        });
        assert_eq!(receipt.wait(), Err(StoreError::Closed));
        let receipt = store.command(|writer| {
            writer.retry = Some(Instant::now());
            writer.recover();
            Ok(())
        });
        assert_eq!(receipt.wait(), Ok(()));
        let (record, files) = revision("two");
        assert_eq!(store.put_revision(record, files).wait(), Ok(2));
        let reader = store.reader().expect("a reader");
        assert_eq!(reader.revisions(9, None).expect("revisions").len(), 2);
    }

    #[test]
    fn a_file_that_was_removed_is_made_again() {
        let (_directory, store) = started();
        std::fs::remove_file(store.path()).expect("removed");
        let (record, files) = revision("one");
        assert_eq!(store.put_revision(record, files).wait(), Ok(1));
        let reader = store.reader().expect("a reader");
        assert!(reader.revision(1).expect("asked").is_some());
    }

    #[test]
    fn a_damaged_store_is_set_aside_on_demand_and_one_in_order_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("store.db");
        let garbage = b"SQLite format 3\0 and nothing else".repeat(300);
        std::fs::write(&path, &garbage).expect("a file");
        let store = Store::start(&path);
        let State::Failed(error) = store.wait_open(LONG) else {
            panic!("garbage is not a store");
        };
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        assert_eq!(std::fs::read(&path).expect("the file"), garbage);
        // What happens until then is not lost.
        assert!(store.try_put(event("waits")));
        assert_eq!(store.flush().wait(), Err(error));

        let aside = store.set_aside().wait().expect("set aside");
        assert_eq!(std::fs::read(&aside).expect("the file"), garbage);
        assert_eq!(store.state(), State::Open);
        assert_eq!(store.flush().wait(), Ok(()));
        let reader = store.reader().expect("a reader");
        assert_eq!(reader.events(9, None).expect("events").len(), 1);
        assert!(store.set_aside().wait().is_err());
        assert!(reader.events(9, None).is_ok());
    }

    #[test]
    fn a_revision_that_is_too_large_is_refused() {
        let (_directory, store) = started();
        let (record, files) = revision(&"x".repeat(revisions::LARGEST));
        assert!(matches!(
            store.put_revision(record, files).wait(),
            Err(StoreError::TooLarge { .. })
        ));
    }
}
