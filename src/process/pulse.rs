//! What a worker does from time to time, and how it finds the time.
//!
//! Lines of logs go out, idle connections to peers close, and the clock moves on even when the event
//! loop is so busy that it never sleeps. A worker with nothing to do is not woken: the pulse beats
//! only after something happened, and while something is left to be done.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use crate::log;
use crate::serve::worker::Worker;
use crate::unit::clock;

/// The pulse of a worker at work: the clock is at most so much behind.
const BEAT: Duration = Duration::from_millis(20);

/// How often lines of logs go out.
const LINES: Duration = Duration::from_millis(100);

/// How often idle connections to peers are looked at.
const SWEEP: Duration = Duration::from_secs(1);

thread_local! {
    static PULSE: Pulse = const { Pulse {
        is_beating: Cell::new(false),
        awakenings: Cell::new(0),
        waker: RefCell::new(None),
    } };
}

struct Pulse {
    /// Is a beat under way, which will see what happened?
    is_beating: Cell<bool>,
    /// How often the thread woke.
    awakenings: Cell<u32>,
    waker: RefCell<Option<Waker>>,
}

/// To be called whenever the event loop of this thread wakes.
pub fn awake() {
    clock::refresh();
    // The event loop may outlive the thread's own values by a moment.
    let _ = PULSE.try_with(|pulse| {
        pulse.awakenings.set(pulse.awakenings.get().wrapping_add(1));
        if !pulse.is_beating.replace(true)
            && let Some(waker) = pulse.waker.take()
        {
            waker.wake();
        }
    });
}

/// Beats for as long as the worker lives.
pub async fn beat(worker: Rc<Worker>) {
    let mut lines_at = clock::now();
    let mut sweep_at = clock::now();
    loop {
        let before = PULSE.with(|pulse| pulse.awakenings.get());
        let is_beating = PULSE.with(|pulse| pulse.is_beating.get());
        let until = if is_beating {
            Some(BEAT)
        } else if log::is_waiting() {
            Some(LINES)
        } else if worker.local().idle_peers() > 0 {
            Some(SWEEP)
        } else {
            None
        };
        rest(until, is_beating).await;
        // A loop that never sleeps does not call `awake`.
        clock::refresh();
        let now = clock::now();
        if log::is_waiting() && is_due(&mut lines_at, now, LINES) {
            log::tick();
        }
        if is_due(&mut sweep_at, now, SWEEP) {
            worker.sweep();
        }
        // Woken once, by this very beat: nothing else happens.
        PULSE.with(|pulse| {
            let awakenings = pulse.awakenings.get().wrapping_sub(before);
            if is_beating && awakenings == 1 {
                pulse.is_beating.set(false);
            }
        });
    }
}

/// Sleeps; a slow pulse ends its sleep when something happens.
async fn rest(time: Option<Duration>, is_beating: bool) {
    let mut sleep = time.map(|time| Box::pin(tokio::time::sleep(time)));
    poll_fn(|context| {
        if let Some(sleep) = &mut sleep
            && sleep.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(());
        }
        PULSE.with(|pulse| {
            if !is_beating {
                if pulse.is_beating.get() {
                    return Poll::Ready(());
                }
                *pulse.waker.borrow_mut() = Some(context.waker().clone());
            }
            Poll::Pending
        })
    })
    .await;
}

/// Has the time passed since this was done last? Then it is done now.
fn is_due(last: &mut Instant, now: Instant, every: Duration) -> bool {
    let is_due = now.saturating_duration_since(*last) >= every;
    if is_due {
        *last = now;
    }
    is_due
}
