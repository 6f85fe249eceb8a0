//! Idle connections to peers, kept for the next request (`ngx_http_upstream_keepalive_module.c`).
//!
//! Owns which connection is reused and which is closed; opening and speaking is the caller's. A
//! worker has one [`Pool`] per group. No more than `keepalive` connections are idle at a time: one
//! more closes the one idle longest. Of one peer the connection used last is used first, so that a
//! pool shrinks to what the load needs. Each checkout and each [`Pool::sweep`] closes what is too old.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Instant;

use crate::conf::typed::listen::Address;
use crate::conf::typed::upstream::Keepalive;

/// A connection that waits for a request.
#[derive(Debug)]
pub struct Idle<S> {
    /// The connection.
    pub stream: S,
    /// When it was opened.
    pub created: Instant,
    /// Requests sent over it so far.
    pub requests: u64,
}

/// The idle connections of one group in one worker.
#[derive(Debug)]
pub struct Pool<S> {
    limits: Keepalive,
    slots: Vec<Slot<S>>,
    free: Vec<u32>,
    /// The most recent connection of each peer and kind; the others follow by `older_of_peer`.
    heads: HashMap<(Rc<Address>, u64), u32, foldhash::fast::FixedState>,
    newest: u32,
    oldest: u32,
    length: usize,
}

#[derive(Debug)]
struct Slot<S> {
    idle: Option<Idle<S>>,
    key: (Rc<Address>, u64),
    since: Instant,
    newer: u32,
    older: u32,
    newer_of_peer: u32,
    older_of_peer: u32,
}

const NONE: u32 = u32::MAX;

impl<S> Pool<S> {
    /// An empty pool.
    pub fn new(limits: Keepalive) -> Self {
        Self {
            limits,
            slots: Vec::new(),
            free: Vec::new(),
            heads: HashMap::default(),
            newest: NONE,
            oldest: NONE,
            length: 0,
        }
    }

    /// How many connections are idle.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Is none idle?
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Takes the connection to `address` that was used last and is still usable; those that are not
    /// are closed on the way. `kind` tells apart connections that may not stand in for each other,
    /// because they were opened under other settings (TLS name, local address).
    pub fn checkout(
        &mut self,
        address: &Rc<Address>,
        kind: u64,
        now: Instant,
        mut is_usable: impl FnMut(&S) -> bool,
    ) -> Option<Idle<S>> {
        if self.length == 0 {
            return None;
        }
        let key = (Rc::clone(address), kind);
        while let Some(&slot) = self.heads.get(&key) {
            let is_expired = self.is_expired(slot, now);
            let idle = self.take(slot)?;
            if !is_expired && is_usable(&idle.stream) {
                return Some(idle);
            }
        }
        None
    }

    /// Keeps a connection that has served `idle.requests` requests, or gives it back to be closed:
    /// it is too old or has served enough, or the group keeps none. One that had to make room is
    /// dropped.
    pub fn checkin(
        &mut self,
        address: &Rc<Address>,
        kind: u64,
        idle: Idle<S>,
        now: Instant,
    ) -> Result<(), Idle<S>> {
        let Keepalive {
            connections,
            requests,
            time,
            ..
        } = self.limits;
        let is_spent = idle.requests >= requests
            || now.duration_since(idle.created) > time
            || connections == 0;
        if is_spent {
            return Err(idle);
        }
        if self.length >= connections {
            self.take(self.oldest);
        }
        let key = (Rc::clone(address), kind);
        let behind = self.heads.get(&key).copied().unwrap_or(NONE);
        let slot = Slot {
            idle: Some(idle),
            key: key.clone(),
            since: now,
            newer: NONE,
            older: self.newest,
            newer_of_peer: NONE,
            older_of_peer: behind,
        };
        let position = match self.free.pop() {
            Some(position) => {
                self.slots[position as usize] = slot;
                position
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as u32
            }
        };
        if behind != NONE {
            self.slots[behind as usize].newer_of_peer = position;
        }
        self.heads.insert(key, position);
        match self.newest {
            NONE => self.oldest = position,
            newest => self.slots[newest as usize].newer = position,
        }
        self.newest = position;
        self.length += 1;
        Ok(())
    }

    /// Closes what was idle for longer than `keepalive_timeout`; a worker's ticker calls it.
    pub fn sweep(&mut self, now: Instant) {
        while self.oldest != NONE && self.is_expired(self.oldest, now) {
            self.take(self.oldest);
        }
    }

    /// Closes what `is_usable` refuses: connections that the peer closed meanwhile.
    pub fn retain(&mut self, mut is_usable: impl FnMut(&S) -> bool) {
        let mut slot = self.oldest;
        while slot != NONE {
            let newer = self.slots[slot as usize].newer;
            let is_kept = self.slots[slot as usize]
                .idle
                .as_ref()
                .is_some_and(|idle| is_usable(&idle.stream));
            if !is_kept {
                self.take(slot);
            }
            slot = newer;
        }
    }

    fn is_expired(&self, slot: u32, now: Instant) -> bool {
        let since = self.slots[slot as usize].since;
        now.duration_since(since) >= self.limits.timeout
    }

    /// Unlinks a slot.
    fn take(&mut self, slot: u32) -> Option<Idle<S>> {
        let links = self.slots.get_mut(slot as usize)?;
        let idle = links.idle.take()?;
        let (newer, older) = (links.newer, links.older);
        let (newer_of_peer, older_of_peer) = (links.newer_of_peer, links.older_of_peer);
        match newer {
            NONE => self.newest = older,
            newer => self.slots[newer as usize].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.slots[older as usize].newer = newer,
        }
        if older_of_peer != NONE {
            self.slots[older_of_peer as usize].newer_of_peer = newer_of_peer;
        }
        match (newer_of_peer, older_of_peer) {
            (NONE, NONE) => {
                self.heads.remove(&self.slots[slot as usize].key);
            }
            (NONE, older) => {
                if let Some(head) = self.heads.get_mut(&self.slots[slot as usize].key) {
                    *head = older;
                }
            }
            (newer, older) => self.slots[newer as usize].older_of_peer = older,
        }
        self.free.push(slot);
        self.length -= 1;
        Some(idle)
    }
}
