//! An entry while it is filled: one [`Fill`] writes it, any number of [`Follower`]s on any thread
//! read along.
//!
//! Nobody waits for a follower, nor does the fill wait for a disk.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::entry::{Entry, Head};
use super::key::Digest;
use super::zone::Zone;

/// A body is kept in blocks of this many bytes.
pub const BLOCK: usize = 64 << 10;

/// The right to fill an entry. Dropped without a [`Fill::commit`], nothing is stored and those who
/// follow are told.
#[derive(Debug)]
pub struct Fill {
    zone: Arc<Zone>,
    flight: Arc<Flight>,
    /// Is it the one that others follow, and so must be taken out of the zone's list?
    is_shared: bool,
    is_over: bool,
}

/// One who waits for another's fill.
#[derive(Debug)]
pub struct Follower {
    flight: Arc<Flight>,
    /// So much of the body was read.
    position: u64,
}

/// What a follower is told first.
#[derive(Clone, Debug)]
pub enum Started {
    /// The head is there; the body can be read.
    Filling(Arc<Head>),
    /// What was stored before is good again: find it.
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
pub(super) struct Flight {
    pub(super) digest: Digest,
    pub(super) key: Box<[u8]>,
    pub(super) serial: u64,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    length: Option<u64>,
    blocks: VecDeque<Bytes>,
    tail: BytesMut,
    /// How much of the body was appended.
    appended: u64,
}

#[derive(Clone, Debug)]
enum Phase {
    Waiting,
    Filling(Arc<Head>),
    Whole(Arc<Head>),
    Renewed(Arc<Entry>),
    Released,
}

impl Flight {
    pub(super) fn new(digest: Digest, key: &[u8], serial: u64) -> Arc<Self> {
        Arc::new(Self {
            digest,
            key: key.into(),
            serial,
            state: Mutex::new(State {
                phase: Phase::Waiting,
                length: None,
                blocks: VecDeque::new(),
                tail: BytesMut::new(),
                appended: 0,
            }),
            changed: Notify::new(),
        })
    }

    pub(super) fn follow(self: &Arc<Self>) -> Follower {
        Follower {
            flight: Arc::clone(self),
            position: 0,
        }
    }
}

impl Fill {
    pub(super) fn new(zone: Arc<Zone>, flight: Arc<Flight>, is_shared: bool) -> Self {
        Self {
            zone,
            flight,
            is_shared,
            is_over: false,
        }
    }

    /// The answer is one to store: those who follow see it from here on. `length` is that of the
    /// body if it is known; a body of another length is not stored.
    pub fn begin(&mut self, head: Head, length: Option<u64>) {
        let mut state = self.flight.state.lock();
        state.phase = Phase::Filling(Arc::new(head));
        state.length = length;
        drop(state);
        self.flight.changed.notify_waiters();
    }

    /// The body goes on. Never waits.
    pub fn append(&mut self, mut bytes: &[u8]) {
        let mut state = self.flight.state.lock();
        state.appended += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = BLOCK - state.tail.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            state.tail.extend_from_slice(now);
            bytes = later;
            if state.tail.len() == BLOCK {
                let block = std::mem::take(&mut state.tail).freeze();
                state.blocks.push_back(block);
            }
        }
        drop(state);
        self.flight.changed.notify_waiters();
    }

    /// The body is complete: the entry is found from now on. Without [`Self::begin`], or with
    /// another length than was told there, this is an abort.
    pub fn commit(mut self) {
        let mut state = self.flight.state.lock();
        let Phase::Filling(head) = &state.phase else {
            return;
        };
        if state.length.is_some_and(|length| length != state.appended) {
            return;
        }
        let head = Arc::clone(head);
        let length = state.appended;
        let tail = std::mem::take(&mut state.tail).freeze();
        if !tail.is_empty() {
            state.blocks.push_back(tail);
        }
        state.phase = Phase::Whole(Arc::clone(&head));
        state.length = Some(length);
        let body = match state.blocks.len() {
            1 => state.blocks[0].clone(),
            _ => {
                let mut body = BytesMut::with_capacity(length as usize);
                for block in &state.blocks {
                    body.extend_from_slice(block);
                }
                body.freeze()
            }
        };
        drop(state);
        self.zone.put(Arc::new(Entry {
            key: self.flight.key.clone(),
            head: (*head).clone(),
            length,
            serial: self.flight.serial,
            body: body.into(),
        }));
        self.finish();
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
        if self.is_shared {
            self.zone.land(&self.flight);
        }
        self.flight.changed.notify_waiters();
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        if !self.is_over {
            self.flight.state.lock().phase = Phase::Released;
            self.finish();
        }
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

    /// The next bytes of the body, as soon as there are some; `None` at its end. May be dropped and
    /// called again: nothing is lost.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Lost> {
        loop {
            let changed = self.flight.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            {
                let state = self.flight.state.lock();
                match state.phase {
                    Phase::Filling(_) | Phase::Whole(_) => {}
                    Phase::Waiting | Phase::Renewed(_) | Phase::Released => return Err(Lost),
                }
                if self.position < state.appended {
                    let block = (self.position / BLOCK as u64) as usize;
                    let within = (self.position % BLOCK as u64) as usize;
                    let bytes = match state.blocks.get(block) {
                        Some(block) => block.slice(within..),
                        None => Bytes::copy_from_slice(&state.tail[within..]),
                    };
                    self.position += bytes.len() as u64;
                    return Ok(Some(bytes));
                }
                if matches!(state.phase, Phase::Whole(_)) {
                    return Ok(None);
                }
            }
            changed.await;
        }
    }
}
