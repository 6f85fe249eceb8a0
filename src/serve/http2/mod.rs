//! HTTP/2 with a client: the crate h2 is the engine, and each stream becomes an exchange like any
//! other.
//!
//! [`connection`] drives the engine, knows how long which client may take for what, and starts an
//! exchange for each stream; [`metered`] stands between the engine and the socket and stops a client
//! that asks for much and wants nothing; [`stream`] is the client's side of one exchange, [`tunnel`]
//! its bytes once it has become a WebSocket.

mod connection;
mod metered;
mod stream;
mod tunnel;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;

pub use connection::run;
pub use stream::Http2;

use crate::http::h2::frame_meter::{Fault, FrameMeter};
use crate::metrics::registry;
use crate::unit::clock;

/// What a connection, its socket and its streams tell each other. Times are those of
/// [`clock::milliseconds`].
#[derive(Debug)]
struct Shared {
    /// Exchanges that run.
    open: Cell<usize>,
    /// Since when none runs.
    idle_since: Cell<u64>,
    /// Points for the meter that work has earned.
    earned: Cell<u32>,
    meter: RefCell<FrameMeter>,
    /// Why the meter stopped the client.
    fault: Cell<Option<Fault>>,
    /// Since when the socket takes no byte of those that wait.
    stalled_since: Cell<Option<u64>>,
    /// Woken when the last exchange ends.
    waker: RefCell<Option<Waker>>,
}

impl Shared {
    fn new() -> Rc<Self> {
        let now = clock::milliseconds();
        registry::with(|counters| counters.waiting.increase());
        Rc::new(Self {
            open: Cell::new(0),
            idle_since: Cell::new(now),
            earned: Cell::new(0),
            meter: RefCell::new(FrameMeter::new(now)),
            fault: Cell::new(None),
            stalled_since: Cell::new(None),
            waker: RefCell::default(),
        })
    }

    fn earn(&self, points: u32) {
        self.earned.set(self.earned.get().saturating_add(points));
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        registry::with(|counters| counters.waiting.decrease());
    }
}

/// An exchange that runs, for as long as it lives.
#[derive(Debug)]
struct Running(Rc<Shared>);

impl Running {
    fn new(shared: &Rc<Shared>) -> Self {
        if shared.open.get() == 0 {
            registry::with(|counters| counters.waiting.decrease());
        }
        shared.open.set(shared.open.get() + 1);
        Self(Rc::clone(shared))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let shared = &self.0;
        shared.open.set(shared.open.get() - 1);
        if shared.open.get() == 0 {
            registry::with(|counters| counters.waiting.increase());
            shared.idle_since.set(clock::milliseconds());
            if let Some(waker) = shared.waker.take() {
                waker.wake();
            }
        }
    }
}
