//! Deadlines of connections, on a coarse wheel.
//!
//! A connection has a deadline at all times, and moves it several times in every request, nearly
//! always further away. Moving one is therefore a store of the new time and nothing else: the wheel
//! finds out when the old time comes, and files the deadline anew. One task per worker turns the
//! wheel and sleeps until the next occupied slot, so an idle machine is not woken.
//!
//! Invariant: an entry stands in the wheel at most once, in a slot not later than its deadline.

use std::cell::RefCell;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::unit::clock;

/// The length of a slot in milliseconds. Deadlines fire at most this much late.
const TICK: u64 = 16;
const NEVER: u64 = u64::MAX;
/// One turn is 65 s; a later deadline is looked at once each turn.
const SLOTS: usize = 4096;
const NONE: u32 = u32::MAX;

/// A point in time after which something is given up. Belongs to one thread.
#[derive(Debug)]
pub struct Deadline {
    entry: u32,
    /// Keeps the type on its thread, where its wheel is.
    _local: std::marker::PhantomData<*const ()>,
}

impl Default for Deadline {
    fn default() -> Self {
        Self::new()
    }
}

impl Deadline {
    /// A deadline that is not set.
    pub fn new() -> Self {
        let entry = WHEEL.with_borrow_mut(Wheel::allocate);
        Self {
            entry,
            _local: std::marker::PhantomData,
        }
    }

    /// The deadline is so long from now.
    pub fn set(&self, after: Duration) {
        let at = clock::milliseconds().saturating_add(after.as_millis() as u64);
        WHEEL.with_borrow_mut(|wheel| wheel.set(self.entry, at));
    }

    /// There is no deadline.
    pub fn clear(&self) {
        WHEEL.with_borrow_mut(|wheel| wheel.entries[self.entry as usize].at = NEVER);
    }

    /// Ready when the deadline has passed; otherwise the task is woken when it does.
    pub fn poll_expired(&self, context: &mut Context<'_>) -> Poll<()> {
        WHEEL.with_borrow_mut(|wheel| {
            let entry = &mut wheel.entries[self.entry as usize];
            if entry.at <= clock::milliseconds() {
                return Poll::Ready(());
            }
            match &mut entry.waker {
                Some(waker) => waker.clone_from(context.waker()),
                none => *none = Some(context.waker().clone()),
            }
            Poll::Pending
        })
    }

    /// Runs an operation until it is ready or the deadline passes (`None`).
    pub async fn guard<T>(
        &self,
        mut operation: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Option<T> {
        poll_fn(|context| {
            if let Poll::Ready(value) = operation(context) {
                return Poll::Ready(Some(value));
            }
            self.poll_expired(context).map(|()| None)
        })
        .await
    }
}

impl Deadline {
    /// As [`Deadline::guard`], for an operation on something that is borrowed from beside it.
    pub async fn guard_with<S, T>(
        &self,
        subject: &mut S,
        mut operation: impl FnMut(&mut S, &mut Context<'_>) -> Poll<T>,
    ) -> Option<T> {
        self.guard(|context| operation(subject, context)).await
    }
}

/// Wakes every task that waits for a deadline of this thread, so that it looks around.
pub fn wake_all() {
    let wakers = WHEEL.with_borrow_mut(|wheel| {
        wheel
            .entries
            .iter()
            .filter_map(|entry| entry.waker.clone())
            .collect::<Vec<_>>()
    });
    wakers.into_iter().for_each(Waker::wake);
}

impl Drop for Deadline {
    fn drop(&mut self) {
        // The thread may be ending and its wheel gone before the last connection.
        let _ = WHEEL.try_with(|wheel| wheel.borrow_mut().release(self.entry));
    }
}

/// Turns this thread's wheel; runs as a task of the worker for as long as the worker.
pub async fn turn() {
    loop {
        let next = poll_fn(|context| {
            WHEEL.with_borrow_mut(|wheel| match wheel.next_occupied() {
                Some(tick) => Poll::Ready(tick),
                None => {
                    wheel.sleeps_until = u64::MAX;
                    wheel.turner = Some(context.waker().clone());
                    Poll::Pending
                }
            })
        })
        .await;
        let until = WHEEL.with_borrow_mut(|wheel| {
            wheel.sleeps_until = next;
            // Now and in so many milliseconds.
            let wait = (next * TICK).saturating_sub(clock::milliseconds());
            Instant::now() + Duration::from_millis(wait)
        });
        let mut sleep = std::pin::pin!(tokio::time::sleep_until(until.into()));
        poll_fn(|context| {
            if sleep.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            WHEEL.with_borrow_mut(|wheel| {
                // An earlier deadline was set since.
                if wheel.sleeps_until < next {
                    return Poll::Ready(());
                }
                wheel.turner = Some(context.waker().clone());
                Poll::Pending
            })
        })
        .await;
        // The tasks woken compare with the same clock.
        clock::refresh();
        let due = WHEEL.with_borrow_mut(|wheel| wheel.advance(clock::milliseconds()));
        due.into_iter().for_each(Waker::wake);
    }
}

thread_local! {
    static WHEEL: RefCell<Wheel> = RefCell::new(Wheel::new(clock::milliseconds()));
}

struct Entry {
    /// In [`clock::milliseconds`].
    at: u64,
    waker: Option<Waker>,
    /// The slot it stands in; `NONE` when in none.
    slot: u32,
    previous: u32,
    next: u32,
}

struct Wheel {
    entries: Vec<Entry>,
    free: Vec<u32>,
    slots: Box<[u32; SLOTS]>,
    /// Every tick before this one has been looked at.
    current: u64,
    sleeps_until: u64,
    turner: Option<Waker>,
}

impl Wheel {
    fn new(now: u64) -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
            slots: Box::new([NONE; SLOTS]),
            current: now / TICK,
            sleeps_until: u64::MAX,
            turner: None,
        }
    }

    fn allocate(&mut self) -> u32 {
        let empty = Entry {
            at: NEVER,
            waker: None,
            slot: NONE,
            previous: NONE,
            next: NONE,
        };
        if let Some(position) = self.free.pop() {
            self.entries[position as usize] = empty;
            return position;
        }
        self.entries.push(empty);
        (self.entries.len() - 1) as u32
    }

    fn release(&mut self, position: u32) {
        self.unlink(position);
        let entry = &mut self.entries[position as usize];
        entry.at = NEVER;
        entry.waker = None;
        self.free.push(position);
    }

    fn set(&mut self, position: u32, at: u64) {
        let slot = {
            let entry = &mut self.entries[position as usize];
            entry.at = at;
            entry.slot
        };
        let tick = at.div_ceil(TICK).max(self.current);
        if slot != NONE && self.tick_of_slot(slot) <= tick {
            return;
        }
        self.unlink(position);
        self.link(position, tick);
        if tick < self.sleeps_until {
            self.sleeps_until = tick;
            if let Some(turner) = self.turner.take() {
                turner.wake();
            }
        }
    }

    /// The next tick at which a slot is looked at.
    fn tick_of_slot(&self, slot: u32) -> u64 {
        let turn = self.current / SLOTS as u64 * SLOTS as u64;
        let tick = turn + u64::from(slot);
        if tick < self.current {
            tick + SLOTS as u64
        } else {
            tick
        }
    }

    fn link(&mut self, position: u32, tick: u64) {
        let slot = (tick % SLOTS as u64) as u32;
        let head = self.slots[slot as usize];
        let entry = &mut self.entries[position as usize];
        entry.slot = slot;
        entry.previous = NONE;
        entry.next = head;
        if head != NONE {
            self.entries[head as usize].previous = position;
        }
        self.slots[slot as usize] = position;
    }

    fn unlink(&mut self, position: u32) {
        let entry = &mut self.entries[position as usize];
        let (slot, previous, next) = (entry.slot, entry.previous, entry.next);
        if slot == NONE {
            return;
        }
        entry.slot = NONE;
        if next != NONE {
            self.entries[next as usize].previous = previous;
        }
        match previous {
            NONE => self.slots[slot as usize] = next,
            previous => self.entries[previous as usize].next = next,
        }
    }

    fn next_occupied(&self) -> Option<u64> {
        let start = (self.current % SLOTS as u64) as usize;
        (0..SLOTS)
            .find(|ahead| self.slots[(start + ahead) % SLOTS] != NONE)
            .map(|ahead| self.current + ahead as u64)
    }

    /// Looks at every slot up to now; returns whom to wake.
    fn advance(&mut self, now: u64) -> Vec<Waker> {
        let until = now / TICK;
        let mut due = Vec::new();
        let first = self.current;
        // After a long sleep each slot is looked at once, not once a turn.
        let last = until.min(first + SLOTS as u64 - 1);
        for tick in first..=last {
            let slot = (tick % SLOTS as u64) as usize;
            let mut position = std::mem::replace(&mut self.slots[slot], NONE);
            self.current = tick + 1;
            while position != NONE {
                let entry = &mut self.entries[position as usize];
                let next = entry.next;
                entry.slot = NONE;
                match entry.at {
                    at if at <= now => due.extend(entry.waker.take()),
                    NEVER => {}
                    at => {
                        let tick = at.div_ceil(TICK).max(self.current);
                        self.link(position, tick);
                    }
                }
                position = next;
            }
        }
        self.current = self.current.max(until + 1);
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wheel_at(origin: u64) -> (Wheel, u32) {
        let mut wheel = Wheel::new(origin);
        let entry = wheel.allocate();
        wheel.entries[entry as usize].waker = Some(Waker::noop().clone());
        (wheel, entry)
    }

    #[test]
    fn a_deadline_fires_after_its_time_and_not_before() {
        let origin = 1_000_003;
        let (mut wheel, entry) = wheel_at(origin);
        wheel.set(entry, origin + 1000);
        assert!(wheel.advance(origin + 990).is_empty());
        assert_eq!(wheel.advance(origin + 1020).len(), 1);
    }

    #[test]
    fn a_deadline_moved_away_is_filed_anew_when_the_old_time_comes() {
        let origin = 1_000_003;
        let (mut wheel, entry) = wheel_at(origin);
        wheel.set(entry, origin + 1000);
        wheel.set(entry, origin + 3_000);
        assert!(wheel.advance(origin + 2_000).is_empty());
        assert_eq!(wheel.advance(origin + 3020).len(), 1);
    }

    #[test]
    fn a_deadline_moved_nearer_fires_at_the_nearer_time() {
        let origin = 1_000_003;
        let (mut wheel, entry) = wheel_at(origin);
        wheel.set(entry, origin + 60_000);
        wheel.set(entry, origin + 1000);
        assert_eq!(wheel.advance(origin + 1020).len(), 1);
    }

    #[test]
    fn a_deadline_of_more_than_a_turn_survives_the_turns() {
        let origin = 1_000_003;
        let (mut wheel, entry) = wheel_at(origin);
        wheel.set(entry, origin + 200_000);
        for second in 1..200 {
            assert!(wheel.advance(origin + 1000 * (second)).is_empty());
        }
        assert_eq!(wheel.advance(origin + 200_020).len(), 1);
    }

    #[test]
    fn a_released_entry_is_used_again_and_its_slot_is_empty() {
        let origin = 1_000_003;
        let (mut wheel, entry) = wheel_at(origin);
        wheel.set(entry, origin + 1000);
        wheel.release(entry);
        assert_eq!(wheel.next_occupied(), None);
        assert_eq!(wheel.allocate(), entry);
    }
}
