//! An entry while it is filled: one [`Fill`] writes it, any number of [`Follower`]s on any thread
//! read along.
//!
//! Nobody waits for a follower, nor does the fill wait for a disk. The body passes through a window
//! in memory: what was appended and is not written yet, and, if anybody follows, a little more.
//! Whoever is behind the window reads from the file that is being written. So does the client that
//! caused the fill, if it is slow ([`Fill::follow`]): the peer is read at the speed of the peer. If the
//! disk is too slow, or fails, the fill stores nothing and goes on for those who keep up and, at its
//! speed, for that client.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::future::Future as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Sleep, sleep};

use super::entry::{Entry, Head};
use super::file::Writer;
use super::format::{BLOCK, MOST_HEAD};
use super::key::{Digest, Key};
use super::pool::{Lane, Refused};
use super::zone::Zone;

/// So many bytes of one body may wait for the disk, and of all bodies of a zone.
const MOST_UNWRITTEN: u64 = 8 << 20;
const MOST_UNWRITTEN_IN_ZONE: u64 = 64 << 20;

/// With so many that wait for the disk nothing is taken in advance for a client that is behind anyway;
/// with so many of one body it has to wait, for this long at most while the disk gets nowhere.
const ENOUGH_UNWRITTEN: u64 = MOST_UNWRITTEN / 4;
const ENOUGH_UNWRITTEN_IN_ZONE: u64 = MOST_UNWRITTEN_IN_ZONE / 2;
const MUCH_UNWRITTEN: u64 = MOST_UNWRITTEN / 4 * 3;
const PATIENCE: Duration = Duration::from_millis(500);

/// Whoever finds too many waiting for the disk looks again after this long.
pub(super) const PAUSE: Duration = Duration::from_millis(20);

/// So many bytes stay in memory for those who follow, although they are written.
const WINDOW: u64 = 1 << 20;

/// The same where there is no file to read from.
const WINDOW_ALONE: u64 = 4 << 20;

/// The right to fill an entry. Dropped without a [`Fill::commit`], nothing is stored and those who
/// follow are told.
#[derive(Debug)]
pub struct Fill {
    zone: Arc<Zone>,
    flight: Arc<Flight>,
    patience: Patience,
    is_over: bool,
}

/// With a disk that does not keep up.
#[derive(Debug)]
enum Patience {
    Whole,
    Until(Pin<Box<Sleep>>),
    Over,
}

/// One who follows another's fill.
#[derive(Debug)]
pub struct Follower {
    zone: Arc<Zone>,
    flight: Arc<Flight>,
    /// So much of the body was read.
    position: u64,
    /// What comes from the file.
    pending: Option<oneshot::Receiver<Option<Bytes>>>,
    /// The disk is asked again after this.
    pause: Option<Pin<Box<Sleep>>>,
    /// It is the one who fills: nothing of what is before it is let go.
    is_own: bool,
}

/// What a follower is told first.
#[derive(Clone, Debug)]
pub enum Started {
    /// The head is there; the body can be read.
    Filling(Arc<Head>),
    /// What was stored before is good again.
    Renewed(Arc<Entry>),
    /// Nothing is stored: the answer was not one to store, or there was none.
    Released,
}

/// The body cannot be read on: the fill ended early, or the reader is too slow for what is kept of
/// it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lost;

impl fmt::Display for Lost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the answer that was followed broke off")
    }
}

impl std::error::Error for Lost {}

/// A filling, shared by all who take part.
#[derive(Debug)]
pub struct Flight {
    pub(super) digest: Digest,
    pub(super) key: Box<[u8]>,
    pub(super) serial: u64,
    state: Mutex<State>,
    changed: Notify,
    /// Only who writes to the disk has it, one at a time.
    output: Mutex<Option<Output>>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Of the body, if it is known.
    length: Option<u64>,
    /// A longer body is not stored: `max_size` would drive it out at once, and much else with it.
    most: u64,
    /// Whole blocks from `start` on; after the end also the last one.
    window: VecDeque<Bytes>,
    /// Where the window begins.
    start: u64,
    /// The block that is not whole yet.
    tail: BytesMut,
    /// How much of the body came.
    appended: u64,
    /// How much of it is in the file.
    written: u64,
    /// Will it be stored?
    is_stored: bool,
    /// Does a thread write, or is it about to?
    is_writing: bool,
    /// For reading what left the window: the file, where the body begins in it, and the checksums.
    file: Option<(Arc<File>, u64)>,
    table: Vec<u32>,
    followers: usize,
    /// How much the client of the one who fills has of it, if that one reads here too.
    owed: Option<u64>,
    /// Who waits for the disk to catch up.
    room: Option<Waker>,
    /// What it became, until its file has its name.
    entry: Option<Arc<Entry>>,
}

#[derive(Clone, Debug)]
enum Phase {
    Waiting,
    Filling(Arc<Head>),
    Whole(Arc<Head>),
    Renewed(Arc<Entry>),
    Released,
}

#[derive(Debug)]
struct Output {
    file: Arc<File>,
    path: PathBuf,
    writer: Writer,
}

impl Flight {
    pub(super) fn new(key: &Key<'_>, serial: u64, most: u64) -> Arc<Self> {
        Arc::new(Self {
            digest: key.digest,
            key: key.text.into(),
            serial,
            state: Mutex::new(State {
                phase: Phase::Waiting,
                length: None,
                most,
                window: VecDeque::new(),
                start: 0,
                tail: BytesMut::new(),
                appended: 0,
                written: 0,
                is_stored: true,
                is_writing: false,
                file: None,
                table: Vec::new(),
                followers: 0,
                owed: None,
                room: None,
                entry: None,
            }),
            changed: Notify::new(),
            output: Mutex::new(None),
        })
    }

    /// Reads along from this place of the body on.
    pub(super) fn follow(self: &Arc<Self>, zone: &Arc<Zone>, position: u64) -> Follower {
        self.state.lock().followers += 1;
        Follower {
            zone: Arc::clone(zone),
            flight: Arc::clone(self),
            position,
            pending: None,
            pause: None,
            is_own: false,
        }
    }

    fn key(&self) -> Key<'_> {
        Key {
            digest: self.digest,
            text: &self.key,
        }
    }

    /// Writes what there is to write, on a thread that may wait for the disk.
    fn write_out(self: &Arc<Self>, zone: &Arc<Zone>) {
        let mut output = self.output.lock();
        loop {
            let mut state = self.state.lock();
            if !state.is_stored {
                state.is_writing = false;
                drop(state);
                discard(&mut output);
                return;
            }
            // The last block may be short, so that its number would be found again behind it.
            let block = (state.unwritten() > 0)
                .then(|| (state.written - state.start) / BLOCK as u64)
                .and_then(|block| state.window.get(block as usize).cloned());
            let is_whole =
                matches!(state.phase, Phase::Whole(_)) && state.written == state.appended;
            if block.is_none() && !is_whole {
                state.is_writing = false;
                return;
            }
            let head = match &state.phase {
                Phase::Filling(head) | Phase::Whole(head) => Arc::clone(head),
                _ => {
                    state.is_writing = false;
                    drop(state);
                    discard(&mut output);
                    return;
                }
            };
            let entry = state.entry.clone();
            drop(state);
            let done = match block {
                Some(block) => self.write_block(zone, &mut output, &head, &block),
                None => {
                    let empty = Bytes::new();
                    let opened = match &*output {
                        Some(_) => Ok(()),
                        None => self.write_block(zone, &mut output, &head, &empty),
                    };
                    opened.and_then(|()| self.name_file(zone, &mut output, entry.as_ref()))
                }
            };
            match done {
                Ok(()) if is_whole => {
                    self.state.lock().is_writing = false;
                    return;
                }
                Ok(()) => {}
                Err(error) => {
                    discard(&mut output);
                    zone.disk_failed("write", &error);
                    let mut state = self.state.lock();
                    state.is_writing = false;
                    self.give_up(zone, &mut state);
                    return;
                }
            }
        }
    }

    fn write_block(
        &self,
        zone: &Zone,
        output: &mut Option<Output>,
        head: &Head,
        block: &Bytes,
    ) -> std::io::Result<()> {
        let output = match output {
            Some(output) => output,
            None => {
                let writer = Writer::new(&self.key, head)
                    .ok_or_else(|| std::io::Error::other("the head is too long"))?;
                zone.faults.check()?;
                let (file, path) = zone.place.create()?;
                let file = Arc::new(file);
                self.state.lock().file = Some((Arc::clone(&file), writer.body_at()));
                output.insert(Output { file, path, writer })
            }
        };
        if block.is_empty() {
            return Ok(());
        }
        zone.faults.check()?;
        let checksum = output.writer.block(&output.file, block)?;
        let length = block.len() as u64;
        let mut state = self.state.lock();
        if state.is_stored {
            zone.unwritten.fetch_sub(length, Ordering::Relaxed);
            state.written += length;
            state.table.push(checksum);
            state.trim();
        }
        let room = match state.unwritten() < ENOUGH_UNWRITTEN {
            true => state.room.take(),
            false => None,
        };
        drop(state);
        if let Some(room) = room {
            room.wake();
        }
        // Those behind the window may read from the file now.
        self.changed.notify_waiters();
        Ok(())
    }

    fn name_file(
        &self,
        zone: &Zone,
        output: &mut Option<Output>,
        entry: Option<&Arc<Entry>>,
    ) -> std::io::Result<()> {
        let (Some(written), Some(entry)) = (&*output, entry) else {
            return Ok(());
        };
        zone.faults.check()?;
        let length = written.writer.finish(&written.file, self.serial)?;
        zone.place.name(&written.path, self.digest, entry.slot)?;
        *output = None;
        zone.landed(entry, length);
        self.state.lock().entry = None;
        Ok(())
    }

    /// Nothing is stored, whatever comes.
    fn give_up(&self, zone: &Arc<Zone>, state: &mut State) {
        if !state.is_stored {
            return;
        }
        state.is_stored = false;
        let unwritten = state.unwritten();
        zone.unwritten.fetch_sub(unwritten, Ordering::Relaxed);
        if let Some(entry) = state.entry.take() {
            zone.not_landed(&entry);
        }
        zone.figures.abandoned.fetch_add(1, Ordering::Relaxed);
        if let Some(room) = state.room.take() {
            room.wake();
        }
        state.trim();
        // Who comes now would find the beginning gone.
        zone.end_flight(self);
    }

    /// Has the disk written, if it is not at it.
    fn have_written(self: &Arc<Self>, zone: &Arc<Zone>, state: &mut State) {
        if state.is_writing {
            return;
        }
        state.is_writing = true;
        let (flight, its_zone) = (Arc::clone(self), Arc::clone(zone));
        let job = move || flight.write_out(&its_zone);
        if zone.pool.submit(Lane::Write, job).is_err() {
            state.is_writing = false;
            self.give_up(zone, state);
        }
    }
}

fn discard(output: &mut Option<Output>) {
    if let Some(output) = output.take() {
        // Swept at the next start if it stays. Those who follow read on from the open file.
        let _ = std::fs::remove_file(&output.path);
    }
}

impl State {
    /// Bytes that the zone's count of unwritten ones has: those of whole blocks, of the last one
    /// after the end.
    fn unwritten(&self) -> u64 {
        let in_window: usize = self.window.iter().map(Bytes::len).sum();
        self.start + in_window as u64 - self.written.max(self.start)
    }

    /// Lets go of what nobody needs.
    fn trim(&mut self) {
        let is_whole = matches!(self.phase, Phase::Whole(_));
        let window = match (self.is_stored, self.followers, &self.file) {
            // The entry's readers come through here until the file has its name.
            (true, 0, _) if !is_whole => 0,
            (true, ..) | (false, _, Some(_)) => WINDOW,
            (false, 0, None) => 0,
            (false, _, None) => WINDOW_ALONE,
        };
        let mut kept: u64 = self.window.iter().map(|block| block.len() as u64).sum();
        while let Some(block) = self.window.front() {
            let length = block.len() as u64;
            let end = self.start + length;
            let is_in_file = self.file.is_some() && end <= self.written;
            let is_owed = self.owed.is_some_and(|position| end > position);
            if !is_in_file && (self.is_stored || is_owed) {
                return;
            }
            // What no file has is kept longer for those who follow.
            let most = match is_in_file || self.followers == 0 {
                true => window,
                false => WINDOW_ALONE,
            };
            if kept <= most {
                return;
            }
            self.window.pop_front();
            self.start += length;
            kept -= length;
        }
    }
}

impl Fill {
    pub(super) fn new(zone: Arc<Zone>, flight: Arc<Flight>) -> Self {
        Self {
            zone,
            flight,
            patience: Patience::Whole,
            is_over: false,
        }
    }

    /// Why a body of this length is none to store and to be followed, in a word; `None` if it is. What is
    /// too long for the zone, or for those who follow while the disk takes nothing, is better asked for
    /// by each on its own: whoever falls behind the window could not read on.
    pub fn hindrance(&self, length: Option<u64>) -> Option<&'static str> {
        if length.is_some_and(|length| length > self.zone.most_body()) {
            return Some("too-large");
        }
        let is_short = length.is_some_and(|length| length <= WINDOW_ALONE);
        (!is_short && self.zone.is_aside()).then_some("disk")
    }

    /// The answer is one to store: those who follow see it from here on. `length` is that of the
    /// body if it is known; a body of another length is not stored.
    pub fn begin(&mut self, head: Head, length: Option<u64>) {
        let mut state = self.flight.state.lock();
        // Clients have a say in the values that `Vary` selects by.
        let selected = head
            .vary
            .iter()
            .map(|(name, value)| name.len() + value.as_ref().map_or(0, |value| value.len()));
        let length_of_head = head.fields.len()
            + head.url.len()
            + head.etag.len()
            + self.flight.key.len()
            + selected.sum::<usize>();
        let is_too_long =
            length_of_head > MOST_HEAD / 4 || length.is_some_and(|length| length > state.most);
        state.phase = Phase::Filling(Arc::new(head));
        state.length = length;
        if is_too_long || self.zone.is_aside() {
            self.flight.give_up(&self.zone, &mut state);
        }
        drop(state);
        self.flight.changed.notify_waiters();
    }

    /// The body goes on. Never waits.
    pub fn append(&mut self, mut bytes: &[u8]) {
        let mut state = self.flight.state.lock();
        while !bytes.is_empty() {
            let room = BLOCK - state.tail.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            state.tail.extend_from_slice(now);
            state.appended += now.len() as u64;
            bytes = later;
            if state.tail.len() == BLOCK {
                self.end_block(&mut state);
            }
        }
        if state.appended > state.most {
            self.flight.give_up(&self.zone, &mut state);
        }
        let is_followed = state.followers > 0;
        drop(state);
        if is_followed {
            self.flight.changed.notify_waiters();
        }
    }

    /// Reads along on behalf of the client of the one who fills, from here on: nobody else waits for
    /// that one. Whatever becomes of the entry, nothing is lost on this way but by a disk that cannot
    /// read what it wrote.
    pub fn follow(&self) -> Follower {
        let position = {
            let mut state = self.flight.state.lock();
            state.owed = Some(state.appended);
            state.appended
        };
        let mut own = self.flight.follow(&self.zone, position);
        own.is_own = true;
        own
    }

    /// Is the answer still one that is stored?
    pub fn is_stored(&self) -> bool {
        self.flight.state.lock().is_stored
    }

    /// Does anything come of reading on: is it stored, or does anybody follow?
    pub fn is_wanted(&self) -> bool {
        let state = self.flight.state.lock();
        state.is_stored || state.followers > 0
    }

    /// May more of the body come? Always if the disk keeps up with it. If not, the peer waits as long
    /// as the client of the one who fills ([`Self::follow`]) has at least `ahead` to read meanwhile;
    /// a client that has read all waits too, but only before the entry is lost, and not for long. Of
    /// an answer that is not stored any more, no more comes than `ahead` of that client.
    pub fn poll_room(&mut self, context: &mut Context<'_>, ahead: u64) -> Poll<()> {
        let mut state = self.flight.state.lock();
        let is_behind = state.appended - state.owed.unwrap_or(state.appended) >= ahead;
        if !state.is_stored {
            // It is the client that wakes.
            return match is_behind {
                true => Poll::Pending,
                false => Poll::Ready(()),
            };
        }
        let in_zone = self.zone.unwritten.load(Ordering::Relaxed);
        if state.unwritten() < ENOUGH_UNWRITTEN && in_zone < ENOUGH_UNWRITTEN_IN_ZONE {
            self.patience = Patience::Whole;
            return Poll::Ready(());
        }
        if !is_behind {
            if matches!(self.patience, Patience::Whole) && state.unwritten() > MUCH_UNWRITTEN {
                self.patience = Patience::Until(Box::pin(sleep(PATIENCE)));
            }
            let Patience::Until(end) = &mut self.patience else {
                return Poll::Ready(());
            };
            if end.as_mut().poll(context).is_ready() {
                self.patience = Patience::Over;
                return Poll::Ready(());
            }
        }
        state.room = Some(context.waker().clone());
        Poll::Pending
    }

    /// The tail becomes a block of the window.
    fn end_block(&self, state: &mut State) {
        let block = std::mem::take(&mut state.tail).freeze();
        let length = block.len() as u64;
        state.window.push_back(block);
        if state.is_stored {
            let before = self.zone.unwritten.fetch_add(length, Ordering::Relaxed);
            let is_zone_full = before + length > MOST_UNWRITTEN_IN_ZONE;
            if is_zone_full {
                self.zone.disk_is_slow();
            }
            if is_zone_full || state.unwritten() > MOST_UNWRITTEN {
                self.flight.give_up(&self.zone, state);
            } else if state.unwritten() >= BLOCK as u64 {
                self.flight.have_written(&self.zone, state);
            }
        } else {
            state.trim();
        }
    }

    /// The body is complete: the entry is found from now on. `None` if it is not stored after all:
    /// without [`Self::begin`], with another length than was told there (those who follow are cut
    /// off then), after a purge, or because the disk does not do its part.
    pub fn commit(mut self) -> Option<Arc<Entry>> {
        let mut state = self.flight.state.lock();
        let Phase::Filling(head) = &state.phase else {
            return None;
        };
        if state.length.is_some_and(|length| length != state.appended) {
            return None;
        }
        let head = Arc::clone(head);
        let length = state.appended;
        if !state.tail.is_empty() {
            let tail = std::mem::take(&mut state.tail).freeze();
            if state.is_stored {
                (self.zone.unwritten).fetch_add(tail.len() as u64, Ordering::Relaxed);
            }
            state.window.push_back(tail);
        }
        state.length = Some(length);
        state.phase = Phase::Whole(Arc::clone(&head));
        let mut stored = None;
        if state.is_stored {
            let body = (state.start == 0 && length <= self.zone.most_in_memory()).then(|| {
                match state.window.len() {
                    0 => Bytes::new(),
                    1 => state.window[0].clone(),
                    _ => {
                        let mut body = BytesMut::with_capacity(length as usize);
                        state
                            .window
                            .iter()
                            .for_each(|block| body.extend_from_slice(block));
                        body.freeze()
                    }
                }
            });
            let flight = body.is_none().then(|| Arc::clone(&self.flight));
            stored = self.zone.put(
                &self.flight.key(),
                &head,
                length,
                self.flight.serial,
                body,
                flight,
            );
            match &stored {
                Some(entry) => {
                    state.entry = Some(Arc::clone(entry));
                    self.flight.have_written(&self.zone, &mut state);
                    if !state.is_stored {
                        stored = None;
                    }
                }
                None => self.flight.give_up(&self.zone, &mut state),
            }
        }
        drop(state);
        self.finish();
        stored
    }

    /// The origin says that an entry is still good (304): it gets another head in place of its own,
    /// and those who follow are told.
    pub fn renew(mut self, entry: &Arc<Entry>, head: Head) -> Arc<Entry> {
        let renewed = self.zone.renew(entry, head);
        self.flight.state.lock().phase = Phase::Renewed(Arc::clone(&renewed));
        self.finish();
        renewed
    }

    /// Nothing is stored. Those who wait for the head go on alone at once; those who read the body
    /// lose it.
    pub fn abort(self) {
        drop(self);
    }

    fn finish(&mut self) {
        self.is_over = true;
        self.zone.end_flight(&self.flight);
        self.flight.changed.notify_waiters();
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut state = self.flight.state.lock();
        state.phase = Phase::Released;
        if state.is_stored {
            state.is_stored = false;
            let unwritten = state.unwritten();
            self.zone.unwritten.fetch_sub(unwritten, Ordering::Relaxed);
            // The thread that writes discards the file; without one it is done here by asking for
            // one.
            if state.file.is_some() && !state.is_writing {
                state.is_writing = true;
                let (flight, zone) = (Arc::clone(&self.flight), Arc::clone(&self.zone));
                let job = move || flight.write_out(&zone);
                // Refused, it is swept at the next start.
                let _ = self.zone.pool.submit(Lane::Write, job);
            }
        }
        state.window.clear();
        drop(state);
        self.finish();
    }
}

impl Follower {
    /// Waits until it is known what the fill brings. May be dropped and called again.
    pub async fn started(&self) -> Started {
        loop {
            let changed = self.flight.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            match &self.flight.state.lock().phase {
                Phase::Waiting => {}
                Phase::Filling(head) | Phase::Whole(head) => {
                    return Started::Filling(Arc::clone(head));
                }
                Phase::Renewed(entry) => return Started::Renewed(Arc::clone(entry)),
                Phase::Released => return Started::Released,
            }
            changed.await;
        }
    }

    /// The length of the body, if it is known.
    pub fn length(&self) -> Option<u64> {
        self.flight.state.lock().length
    }

    /// How much of the body was read.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// [`Self::next`] for the one who fills, who is woken by what comes from the peer.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Lost>> {
        std::pin::pin!(self.next()).poll(context)
    }

    /// The next bytes of the body, as soon as there are some; `None` at its end. May be dropped and
    /// called again: nothing is lost.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Lost> {
        loop {
            if let Some(pause) = &mut self.pause {
                pause.await;
                self.pause = None;
            }
            if let Some(pending) = &mut self.pending {
                let read = pending.await;
                self.pending = None;
                let block = read.ok().flatten().ok_or(Lost)?;
                let within = (self.position % BLOCK as u64) as usize;
                if within >= block.len() {
                    return Err(Lost);
                }
                let flight = Arc::clone(&self.flight);
                self.advance(&mut flight.state.lock(), block.len() - within);
                return Ok(Some(block.slice(within..)));
            }
            let flight = Arc::clone(&self.flight);
            let changed = flight.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            {
                let mut state = flight.state.lock();
                match state.phase {
                    Phase::Filling(_) | Phase::Whole(_) => {}
                    Phase::Waiting | Phase::Renewed(_) | Phase::Released => return Err(Lost),
                }
                if self.position < state.start {
                    match self.ask_disk(&state).ok_or(Lost)? {
                        Ok(pending) => self.pending = Some(pending),
                        Err(Refused) => self.pause = Some(Box::pin(sleep(PAUSE))),
                    }
                    continue;
                }
                if self.position < state.appended {
                    let block = ((self.position - state.start) / BLOCK as u64) as usize;
                    let within = (self.position % BLOCK as u64) as usize;
                    let bytes = match state.window.get(block) {
                        Some(block) => block.slice(within..),
                        None => Bytes::copy_from_slice(&state.tail[within..]),
                    };
                    self.advance(&mut state, bytes.len());
                    return Ok(Some(bytes));
                }
                if matches!(state.phase, Phase::Whole(_)) {
                    return Ok(None);
                }
            }
            changed.await;
        }
    }

    fn advance(&mut self, state: &mut State, length: usize) {
        self.position += length as u64;
        if self.is_own {
            state.owed = Some(self.position);
            state.trim();
        }
    }

    /// Has a block read from the file; `None` if it is not there.
    fn ask_disk(&self, state: &State) -> Option<Result<oneshot::Receiver<Option<Bytes>>, Refused>> {
        let number = self.position / BLOCK as u64;
        let (file, body_at) = state.file.clone()?;
        let checksum = *state.table.get(number as usize)?;
        let start = number * BLOCK as u64;
        let length = (state.appended - start).min(BLOCK as u64) as usize;
        let (answer, pending) = oneshot::channel();
        let job = move || {
            let mut block = vec![0; length];
            let read = file.read_exact_at(&mut block, body_at + start);
            let is_good = read.is_ok() && crc32fast::hash(&block) == checksum;
            // Whoever asked may be gone.
            let _ = answer.send(is_good.then(|| block.into()));
        };
        let submitted = self.zone.pool.submit(Lane::Read, job);
        Some(submitted.map(|()| pending))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut state = self.flight.state.lock();
        state.followers -= 1;
        if self.is_own {
            state.owed = None;
            state.trim();
        }
    }
}
