//! One worker: what all connections of a worker thread share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;

use super::generation::{Generation, Local};
use crate::metrics::registry;
use crate::net::deadline;

/// The state of a worker thread.
#[derive(Debug)]
pub struct Worker {
    /// Counts the workers from 0.
    pub index: usize,
    local: RefCell<Rc<Local>>,
    is_draining: Rc<Cell<bool>>,
    connections: Cell<usize>,
    left: Notify,
}

impl Worker {
    /// A worker that begins with a generation.
    pub fn new(index: usize, first: Arc<Generation>) -> Rc<Self> {
        let is_draining = Rc::new(Cell::new(false));
        Rc::new(Self {
            index,
            local: RefCell::new(Local::new(first, Rc::clone(&is_draining))),
            is_draining,
            connections: Cell::new(0),
            left: Notify::new(),
        })
    }

    /// The next requests use this generation; those under way keep theirs.
    pub fn install(&self, next: Arc<Generation>) {
        *self.local.borrow_mut() = Local::new(next, Rc::clone(&self.is_draining));
        // Whoever waits for a request of the old generation lets go of it.
        deadline::wake_all();
    }

    /// The generation for a request that begins now.
    pub fn local(&self) -> Rc<Local> {
        Rc::clone(&self.local.borrow())
    }

    /// Is this the generation for a request that begins now?
    pub fn is_current(&self, local: &Rc<Local>) -> bool {
        Rc::ptr_eq(&self.local.borrow(), local)
    }

    /// Takes no further request: idle connections close, the others after their answer.
    pub fn drain(&self) {
        self.is_draining.set(true);
        self.local().close_idle_peers();
        deadline::wake_all();
    }

    /// Has [`Worker::drain`] been called?
    pub fn is_draining(&self) -> bool {
        self.is_draining.get()
    }

    /// Clients' connections open on this worker.
    pub fn connection_count(&self) -> usize {
        self.connections.get()
    }

    /// Waits until no client's connection is open.
    pub async fn drained(&self) {
        while self.connections.get() > 0 {
            self.left.notified().await;
        }
    }

    /// What has to be done from time to time: connections to peers that were idle for too long close.
    pub fn sweep(&self) {
        self.local().sweep();
    }

    /// Counts a connection for as long as the guard lives.
    pub fn enter(self: &Rc<Self>) -> Guard {
        self.connections.set(self.connections.get() + 1);
        registry::with(|counters| counters.active.increase());
        Guard {
            worker: Rc::clone(self),
        }
    }
}

/// A connection that is counted.
#[derive(Debug)]
pub struct Guard {
    worker: Rc<Worker>,
}

impl Guard {
    /// The worker that serves it.
    pub fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let left = self.worker.connections.get() - 1;
        self.worker.connections.set(left);
        registry::with(|counters| counters.active.decrease());
        if left == 0 {
            self.worker.left.notify_waiters();
        }
    }
}
