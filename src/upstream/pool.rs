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
use crate::metrics::traffic::{Kept, PeerId};

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
    /// Counts it, while it is there.
    kept: Option<Kept>,
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
        mut is_usable: impl FnMut(&mut S) -> bool,
    ) -> Option<Idle<S>> {
        if self.length == 0 {
            return None;
        }
        let key = (Rc::clone(address), kind);
        while let Some(&slot) = self.heads.get(&key) {
            let is_expired = self.is_expired(slot, now);
            let mut idle = self.take(slot)?;
            if !is_expired && is_usable(&mut idle.stream) {
                return Some(idle);
            }
        }
        None
    }

    /// Keeps a connection that has served `idle.requests` requests, or gives it back to be closed:
    /// it is too old or has served enough, or the group keeps none. One that had to make room is
    /// dropped. While it is kept it is counted for `peer`.
    pub fn checkin(
        &mut self,
        address: &Rc<Address>,
        kind: u64,
        peer: PeerId,
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
            kept: Some(Kept::new(peer)),
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
    pub fn retain(&mut self, mut is_usable: impl FnMut(&mut S) -> bool) {
        let mut slot = self.oldest;
        while slot != NONE {
            let newer = self.slots[slot as usize].newer;
            let is_kept = self.slots[slot as usize]
                .idle
                .as_mut()
                .is_some_and(|idle| is_usable(&mut idle.stream));
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
        links.kept = None;
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const PEER: PeerId = PeerId::OTHER;
    const SECOND: Duration = Duration::from_secs(1);

    fn limits(connections: usize) -> Keepalive {
        Keepalive {
            connections,
            requests: 3,
            time: 100 * SECOND,
            timeout: 10 * SECOND,
        }
    }

    fn peer(port: u16) -> Rc<Address> {
        Rc::new(Address::Ip(([127, 0, 0, 1], port).into()))
    }

    fn idle(stream: u32, created: Instant) -> Idle<u32> {
        Idle {
            stream,
            created,
            requests: 1,
        }
    }

    #[test]
    fn the_connection_used_last_is_used_first_and_peers_do_not_mix() {
        let mut pool = Pool::new(limits(8));
        let now = Instant::now();
        let (one, two) = (peer(1), peer(2));
        for stream in 1..=3 {
            assert!(pool.checkin(&one, 0, PEER, idle(stream, now), now).is_ok());
        }
        assert!(pool.checkin(&two, 0, PEER, idle(9, now), now).is_ok());
        assert!(pool.checkin(&one, 7, PEER, idle(8, now), now).is_ok());
        let mut next = |peer, kind| {
            pool.checkout(peer, kind, now, |_| true)
                .map(|idle| idle.stream)
        };
        assert_eq!(next(&one, 0), Some(3));
        assert_eq!(next(&one, 7), Some(8), "another kind");
        assert_eq!(next(&two, 0), Some(9));
        assert_eq!(next(&two, 0), None);
        assert_eq!(next(&one, 0), Some(2));
    }

    #[test]
    fn one_more_than_the_limit_closes_the_one_idle_longest_of_all_peers() {
        let mut pool = Pool::new(limits(2));
        let now = Instant::now();
        for port in 1..=3 {
            assert!(
                pool.checkin(&peer(port), 0, PEER, idle(port.into(), now), now)
                    .is_ok()
            );
        }
        assert_eq!(pool.len(), 2);
        assert!(pool.checkout(&peer(1), 0, now, |_| true).is_none());
        assert!(pool.checkout(&peer(3), 0, now, |_| true).is_some());
    }

    #[test]
    fn a_connection_that_is_spent_too_old_or_not_wanted_is_given_back() {
        let mut pool = Pool::new(limits(2));
        let now = Instant::now();
        let spent = Idle {
            requests: 3,
            ..idle(1, now)
        };
        assert!(pool.checkin(&peer(1), 0, PEER, spent, now).is_err());
        let old = idle(2, now);
        assert!(
            pool.checkin(&peer(1), 0, PEER, old, now + 101 * SECOND)
                .is_err()
        );
        let mut none = Pool::new(limits(0));
        assert!(none.checkin(&peer(1), 0, PEER, idle(3, now), now).is_err());
        assert!(pool.is_empty() && none.is_empty());
    }

    #[test]
    fn what_is_idle_too_long_is_closed_by_a_sweep_and_never_handed_out() {
        let mut pool = Pool::new(limits(8));
        let start = Instant::now();
        for second in 0..4 {
            let now = start + second * SECOND;
            assert!(
                pool.checkin(&peer(1), 0, PEER, idle(second, now), now)
                    .is_ok()
            );
        }
        pool.sweep(start + 11 * SECOND);
        assert_eq!(pool.len(), 2);
        let late = start + 20 * SECOND;
        assert!(pool.checkout(&peer(1), 0, late, |_| true).is_none());
        assert!(pool.is_empty());
    }

    #[test]
    fn what_the_peer_closed_is_skipped_and_retained_only_when_usable() {
        let mut pool = Pool::new(limits(8));
        let now = Instant::now();
        for stream in 0..6 {
            assert!(
                pool.checkin(&peer(1), 0, PEER, idle(stream, now), now)
                    .is_ok()
            );
        }
        let found = pool.checkout(&peer(1), 0, now, |stream| *stream < 4);
        assert_eq!(found.map(|idle| idle.stream), Some(3));
        assert_eq!(pool.len(), 3);
        pool.retain(|stream| stream.is_multiple_of(2));
        assert_eq!(pool.len(), 2);
    }

    #[test]
    fn connections_are_closed_when_the_pool_lets_go_of_them() {
        let mut pool = Pool::new(limits(1));
        let now = Instant::now();
        let stream = Rc::new(());
        for _ in 0..5 {
            let idle = Idle {
                stream: Rc::clone(&stream),
                created: now,
                requests: 1,
            };
            assert!(pool.checkin(&peer(1), 0, PEER, idle, now).is_ok());
        }
        assert_eq!(Rc::strong_count(&stream), 2);
        pool.sweep(now + 60 * SECOND);
        assert_eq!(Rc::strong_count(&stream), 1);
    }

    proptest! {
        /// Against a list in order of use.
        #[test]
        fn the_pool_does_what_a_plain_list_does(
            connections in 1..6usize,
            steps in prop::collection::vec((0..5u8, 1..4u16, 0..2u64, 0..4u64), 0..120),
        ) {
            let mut pool = Pool::new(limits(connections));
            let mut list: Vec<(u16, u64, Instant, u32)> = Vec::new();
            let mut now = Instant::now();
            for (number, (step, port, kind, seconds)) in (0..).zip(steps) {
                now += Duration::from_secs(seconds);
                let is_fresh = |since: Instant| now.duration_since(since) < 10 * SECOND;
                match step {
                    0 | 1 => {
                        let kept = pool.checkin(&peer(port), kind, PEER, idle(number, now), now);
                        prop_assert!(kept.is_ok());
                        if list.len() == connections {
                            list.remove(0);
                        }
                        list.push((port, kind, now, number));
                    }
                    2 | 3 => {
                        let is_usable = |stream: u32| !stream.is_multiple_of(5);
                        let found = pool.checkout(&peer(port), kind, now, |it| is_usable(*it));
                        let mut expected = None;
                        while let Some(at) = list
                            .iter()
                            .rposition(|it| (it.0, it.1) == (port, kind))
                        {
                            let (_, _, since, stream) = list.remove(at);
                            if is_fresh(since) && is_usable(stream) {
                                expected = Some(stream);
                                break;
                            }
                        }
                        prop_assert_eq!(found.map(|idle| idle.stream), expected);
                    }
                    _ => {
                        pool.sweep(now);
                        list.retain(|it| is_fresh(it.2));
                    }
                }
                prop_assert_eq!(pool.len(), list.len());
                prop_assert!(pool.slots.len() <= connections);
            }
        }
    }
}
