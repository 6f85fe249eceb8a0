//! What a worker does from time to time, and how it finds the time.
//!
//! Lines of logs go out, and connections to peers close that were idle for too long. Nothing of it
//! wakes a worker that has nothing to do: whenever the event loop is about to sleep it is asked
//! whether something will have to be done, and only then a timer is set.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::log;
use crate::serve::worker::Worker;
use crate::unit::clock;

/// How often lines of logs go out.
const LINES: Duration = Duration::from_millis(100);

/// How often idle connections to peers are looked at.
const SWEEP: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Went to rest in this turn of the event loop: what happens in it is not news.
    Resting,
    /// No timer is set.
    Idle,
    /// Sleeps until it is time to look at idle connections.
    Sweeping,
    /// Sleeps until it is time for lines.
    Writing,
}

thread_local! {
    static STATE: Cell<State> = const { Cell::new(State::Resting) };
    static WAKER: RefCell<Option<Waker>> = const { RefCell::new(None) };
}

/// To be called whenever the event loop of this thread wakes.
pub fn awake() {
    clock::refresh();
}

/// To be called whenever the event loop of this thread is about to sleep.
pub fn before_sleep() {
    let next = match STATE.get() {
        State::Writing => return,
        _ if log::is_waiting() => State::Writing,
        State::Sweeping => return,
        State::Resting => {
            STATE.set(State::Idle);
            return;
        }
        // Something has happened since the last time that nothing was left to do.
        State::Idle => State::Sweeping,
    };
    STATE.set(next);
    if let Some(waker) = WAKER.take() {
        waker.wake();
    }
}

/// Does what is due, for as long as the worker lives.
pub async fn beat(worker: Rc<Worker>) {
    let mut sweep_at = Instant::now() + SWEEP;
    loop {
        match STATE.get() {
            State::Resting | State::Idle => {
                changed().await;
                sweep_at = Instant::now() + SWEEP;
                continue;
            }
            State::Writing => {
                sleep_until(Instant::now() + LINES).await;
                log::tick();
            }
            State::Sweeping => {
                tokio::select! {
                    () = sleep_until(sweep_at) => {}
                    () = changed() => continue,
                }
            }
        }
        if Instant::now() >= sweep_at {
            worker.sweep();
            sweep_at = Instant::now() + SWEEP;
        }
        STATE.set(if log::is_waiting() {
            State::Writing
        } else if worker.local().idle_peers() > 0 {
            State::Sweeping
        } else {
            State::Resting
        });
    }
}

/// Waits until [`before_sleep`] finds something to do.
async fn changed() {
    let before = STATE.get();
    poll_fn(|context| {
        let now = STATE.get();
        if now == State::Writing || (now == State::Sweeping && before != State::Sweeping) {
            return Poll::Ready(());
        }
        WAKER.set(Some(context.waker().clone()));
        Poll::Pending
    })
    .await;
}
