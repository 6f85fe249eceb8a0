//! Connections to peers that carry many requests at a time (HTTP/2).
//!
//! Owns which connection a request goes over and when one is done; opening and speaking is the
//! caller's. A worker has one [`Multiplexed`] per group, with the limits that [`super::pool::Pool`]
//! has: `keepalive_requests` and `keepalive_time` end what a connection may begin,
//! `keepalive_timeout` and `keepalive` end those that carry nothing.
//!
//! Requests fill the connection that was opened first before they go over another, so that a burst
//! leaves no more behind than the load needs.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Instant;

use tokio::sync::Notify;

use crate::conf::typed::listen::Address;
use crate::conf::typed::upstream::Keepalive;
use crate::metrics::traffic::{Kept, PeerId};
use crate::unit::clock;

/// To which address, and under which settings (see [`super::pool::Pool::checkout`]).
type Key = (Rc<Address>, u64);

/// The connections of one group in one worker.
#[derive(Debug)]
pub struct Multiplexed<C> {
    inner: Rc<Inner<C>>,
}

#[derive(Debug)]
struct Inner<C> {
    limits: Keepalive,
    connections: RefCell<Vec<Rc<Connection<C>>>>,
    /// Connections that are being opened, with those who wait for them.
    opening: RefCell<Vec<(Key, Rc<Notify>)>>,
}

#[derive(Debug)]
struct Connection<C> {
    handle: C,
    key: Key,
    peer: PeerId,
    created: Instant,
    requests: Cell<u64>,
    streams: Cell<usize>,
    /// Since it carries nothing.
    idle_since: Cell<Instant>,
    /// Counts it while it carries nothing.
    kept: RefCell<Option<Kept>>,
    /// It begins no other request.
    is_retired: Cell<bool>,
}

/// The right to one request over a connection. The connection counts it until it is dropped.
#[derive(Debug)]
pub struct Lease<C> {
    connection: Rc<Connection<C>>,
    pool: Weak<Inner<C>>,
}

/// A connection that is being opened. Whoever waits for it is woken when this is dropped.
#[derive(Debug)]
pub struct Opening<C> {
    key: Key,
    notify: Rc<Notify>,
    pool: Rc<Inner<C>>,
}

impl<C> Multiplexed<C> {
    /// None are open.
    pub fn new(limits: Keepalive) -> Self {
        Self {
            inner: Rc::new(Inner {
                limits,
                connections: RefCell::default(),
                opening: RefCell::default(),
            }),
        }
    }

    /// A place on a connection to this address, if there is room on one. `room` says how many
    /// requests a connection may carry at a time; `None` if it is over.
    pub fn lease(
        &self,
        address: &Rc<Address>,
        kind: u64,
        mut room: impl FnMut(&C) -> Option<usize>,
    ) -> Option<Lease<C>> {
        let now = clock::now();
        let limits = &self.inner.limits;
        let mut found = None;
        self.inner.connections.borrow_mut().retain(|connection| {
            if (&connection.key.0, connection.key.1) != (address, kind) || found.is_some() {
                return true;
            }
            let Some(room) = room(&connection.handle) else {
                // Requests that it still carries end by themselves.
                return false;
            };
            let is_spent = connection.is_retired.get()
                || connection.requests.get() >= limits.requests
                || now.duration_since(connection.created) > limits.time
                || connection.is_expired(limits, now);
            if !is_spent && connection.streams.get() < room {
                found = Some(Rc::clone(connection));
            }
            !is_spent
        });
        found.map(|connection| self.begin(connection))
    }

    /// Adds a connection that was opened, and takes the first place on it.
    pub fn add(&self, address: &Rc<Address>, kind: u64, peer: PeerId, handle: C) -> Lease<C> {
        let now = clock::now();
        let connection = Rc::new(Connection {
            handle,
            key: (Rc::clone(address), kind),
            peer,
            created: now,
            requests: Cell::new(0),
            streams: Cell::new(0),
            idle_since: Cell::new(now),
            kept: RefCell::default(),
            is_retired: Cell::new(false),
        });
        self.inner
            .connections
            .borrow_mut()
            .push(Rc::clone(&connection));
        self.begin(connection)
    }

    fn begin(&self, connection: Rc<Connection<C>>) -> Lease<C> {
        connection.requests.set(connection.requests.get() + 1);
        connection.streams.set(connection.streams.get() + 1);
        connection.kept.replace(None);
        Lease {
            connection,
            pool: Rc::downgrade(&self.inner),
        }
    }

    /// Tells when the connection that somebody else is opening is open, or could not be opened.
    pub fn opened(&self, address: &Rc<Address>, kind: u64) -> Option<Rc<Notify>> {
        let opening = self.inner.opening.borrow();
        let found = opening
            .iter()
            .find(|((at, of), _)| (at, *of) == (address, kind));
        found.map(|(_, notify)| Rc::clone(notify))
    }

    /// Says that a connection is being opened.
    pub fn open(&self, address: &Rc<Address>, kind: u64) -> Opening<C> {
        let opening = Opening {
            key: (Rc::clone(address), kind),
            notify: Rc::default(),
            pool: Rc::clone(&self.inner),
        };
        let entry = (opening.key.clone(), Rc::clone(&opening.notify));
        self.inner.opening.borrow_mut().push(entry);
        opening
    }

    /// Closes what carried nothing for longer than `keepalive_timeout`, and what `is_over`.
    pub fn sweep(&self, now: Instant, mut is_over: impl FnMut(&C) -> bool) {
        let limits = &self.inner.limits;
        let mut connections = self.inner.connections.borrow_mut();
        connections.retain(|it| !it.is_expired(limits, now) && !is_over(&it.handle));
    }

    /// Closes all that carry nothing; the others when they have carried what they carry.
    pub fn close(&self) {
        self.inner.connections.borrow_mut().clear();
    }

    /// How many connections carry nothing.
    pub fn idle(&self) -> usize {
        let connections = self.inner.connections.borrow();
        connections
            .iter()
            .filter(|it| it.streams.get() == 0)
            .count()
    }
}

impl<C> Connection<C> {
    fn is_expired(&self, limits: &Keepalive, now: Instant) -> bool {
        self.streams.get() == 0 && now.duration_since(self.idle_since.get()) >= limits.timeout
    }
}

impl<C> Lease<C> {
    /// The connection.
    pub fn handle(&self) -> &C {
        &self.connection.handle
    }

    /// Nothing else begins on this connection: it does not do what it should.
    pub fn retire(&self) {
        self.connection.is_retired.set(true);
    }
}

impl<C> Drop for Lease<C> {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection.streams.set(connection.streams.get() - 1);
        if connection.streams.get() > 0 {
            return;
        }
        let Some(pool) = self.pool.upgrade() else {
            return;
        };
        let limits = &pool.limits;
        connection.idle_since.set(clock::now());
        let mut connections = pool.connections.borrow_mut();
        if connection.is_retired.get() || connection.requests.get() >= limits.requests {
            connections.retain(|it| !Rc::ptr_eq(it, connection));
            return;
        }
        if connections.iter().any(|it| Rc::ptr_eq(it, connection)) {
            let kept = Kept::new(connection.peer);
            connection.kept.replace(Some(kept));
        }
        let idle = || connections.iter().filter(|it| it.streams.get() == 0);
        if idle().count() > limits.connections {
            let oldest = idle().min_by_key(|it| it.idle_since.get()).map(Rc::clone);
            connections.retain(|it| !oldest.as_ref().is_some_and(|one| Rc::ptr_eq(it, one)));
        }
    }
}

impl<C> Drop for Opening<C> {
    fn drop(&mut self) {
        let mut opening = self.pool.opening.borrow_mut();
        opening.retain(|(_, notify)| !Rc::ptr_eq(notify, &self.notify));
        drop(opening);
        self.notify.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PEER: PeerId = PeerId::OTHER;

    fn pool(connections: usize, requests: u64) -> Multiplexed<u32> {
        Multiplexed::new(Keepalive {
            connections,
            requests,
            time: Duration::from_secs(100),
            timeout: Duration::from_secs(10),
        })
    }

    fn peer(port: u16) -> Rc<Address> {
        Rc::new(Address::Ip(([127, 0, 0, 1], port).into()))
    }

    #[test]
    fn the_first_connection_is_filled_before_the_next_and_kinds_do_not_mix() {
        let pool = pool(8, 100);
        let one = peer(1);
        let first = pool.add(&one, 0, PEER, 1);
        let second = pool.add(&one, 0, PEER, 2);
        let lease = |kind| pool.lease(&one, kind, |_| Some(2));
        let more = [lease(0), lease(0), lease(0)];
        let handles = more.each_ref().map(|it| it.as_ref().map(|it| *it.handle()));
        assert_eq!(handles, [Some(1), Some(2), None]);
        assert!(lease(1).is_none());
        assert!(pool.lease(&peer(2), 0, |_| Some(2)).is_none());
        drop(first);
        assert_eq!(lease(0).map(|it| *it.handle()), Some(1));
        drop((second, more));
        assert_eq!(pool.idle(), 2);
    }

    #[test]
    fn what_is_over_spent_or_retired_begins_nothing() {
        let pool = pool(8, 2);
        let one = peer(1);
        let lease = || pool.lease(&one, 0, |&handle| (handle != 7).then_some(9));
        drop(pool.add(&one, 0, PEER, 7));
        assert!(lease().is_none(), "over");
        let spent = pool.add(&one, 0, PEER, 1);
        assert!(lease().is_some());
        assert!(lease().is_none(), "two requests");
        drop(spent);
        assert_eq!(pool.idle(), 0);
        let retired = pool.add(&one, 0, PEER, 2);
        retired.retire();
        assert!(lease().is_none());
        drop(retired);
        assert_eq!(pool.idle(), 0);
    }

    #[test]
    fn what_carries_nothing_is_kept_up_to_the_limit_and_for_its_time() {
        let pool = pool(1, 100);
        let first = pool.add(&peer(1), 0, PEER, 1);
        let second = pool.add(&peer(2), 0, PEER, 2);
        drop((first, second));
        assert_eq!(pool.idle(), 1);
        pool.sweep(clock::now() + Duration::from_secs(11), |_| false);
        assert_eq!(pool.idle(), 0);
        let none = self::pool(0, 100);
        drop(none.add(&peer(1), 0, PEER, 1));
        assert_eq!(none.idle(), 0);
        let closed = self::pool(1, 100);
        drop(closed.add(&peer(1), 0, PEER, 1));
        closed.sweep(clock::now(), |_| true);
        assert_eq!(closed.idle(), 0);
    }

    #[tokio::test]
    async fn who_waits_for_a_connection_is_woken_whatever_became_of_it() {
        let pool = pool(8, 100);
        let one = peer(1);
        assert!(pool.opened(&one, 0).is_none());
        let opening = pool.open(&one, 0);
        assert!(pool.opened(&one, 1).is_none());
        let opened = pool.opened(&one, 0).expect("it is being opened");
        let mut waiting = std::pin::pin!(opened.notified());
        assert!(!waiting.as_mut().enable());
        drop(opening);
        waiting.await;
        assert!(pool.opened(&one, 0).is_none());
    }
}
