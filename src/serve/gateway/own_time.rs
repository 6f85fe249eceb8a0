//! What of a call's time was the gateway's own work: what `x-openclaw-overhead-us` tells.
//!
//! Counted is each time from when the event loop woke up, with whatever else it had to do first, until
//! the call has nothing left to do but wait. So the client, a provider and a queue may be as slow as
//! they like. What the system takes to carry bytes and to wake the loop up is not seen from here, nor is
//! the last write, which comes after the field.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::unit::clock;

/// The own time of one call.
#[derive(Debug)]
pub struct OwnTime {
    /// Before the last wait.
    before: Cell<Duration>,
    /// When that wait was over.
    woken: Cell<Instant>,
}

impl OwnTime {
    /// Begins with the turn of the event loop that the call came in.
    pub fn begin() -> Self {
        Self {
            before: Cell::default(),
            woken: Cell::new(clock::now()),
        }
    }

    /// Goes on with the call.
    pub fn poll<F: Future + ?Sized>(
        &self,
        call: Pin<&mut F>,
        context: &mut Context<'_>,
    ) -> Poll<F::Output> {
        self.woken.set(clock::now());
        let polled = call.poll(context);
        if polled.is_pending() {
            self.before.set(self.so_far());
        }
        polled
    }

    /// All of it until now.
    pub fn so_far(&self) -> Duration {
        // The time of the turn is older than what was done in it.
        clock::refresh();
        self.before.get() + clock::since(self.woken.get())
    }
}
