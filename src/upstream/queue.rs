//! The `queue` of a group: requests that wait until a peer has room.
//!
//! Three classes wait apart. Who frees a place calls one that waits: the first of the highest class,
//! except that a class that was passed over [`PATIENCE`] times goes first once, so that nobody waits
//! for ever behind those who keep coming. When the queue is full, a request takes the place of the
//! newest of the lowest class below its own.
//!
//! Invariant: a call is not lost. Who was called and leaves without a peer calls the next.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// So often a class is passed over before it goes first.
const PATIENCE: u32 = 8;

/// Who waits in front of whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Class {
    /// Before all others.
    High,
    /// Where nothing is said.
    #[default]
    Normal,
    /// Behind all others; gives up its place first.
    Low,
}

impl Class {
    /// What a `priority` came out as: a word, or a number from 1 to 3. Anything else is normal.
    pub fn of(text: &[u8]) -> Self {
        match text {
            b"high" | b"1" => Self::High,
            b"low" | b"3" => Self::Low,
            _ => Self::Normal,
        }
    }
}

/// Requests that wait.
#[derive(Debug, Default)]
pub struct Queue {
    length: AtomicUsize,
    waiting: Mutex<Waiting>,
    counts: Arc<Counts>,
}

/// What all queues of a group count together: without `zone` each worker has its own.
#[derive(Debug, Default)]
pub struct Counts {
    /// Requests that wait.
    pub waiting: AtomicUsize,
    /// Requests that found no place, or lost it, or waited in vain.
    pub refused: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    classes: [VecDeque<Arc<Waiter>>; 3],
    passed_over: [u32; 3],
}

#[derive(Debug, Default)]
struct Waiter {
    called: Notify,
    is_called: AtomicBool,
    is_shed: AtomicBool,
}

/// A place in the queue, given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    queue: Arc<Queue>,
    waiter: Arc<Waiter>,
    class: Class,
}

impl Queue {
    /// An empty one that counts there.
    pub fn new(counts: Arc<Counts>) -> Self {
        Self {
            counts,
            ..Self::default()
        }
    }

    /// Somebody is turned away.
    pub fn note_refused(&self) {
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
    }

    fn add(&self) {
        self.length.fetch_add(1, Ordering::Relaxed);
        self.counts.waiting.fetch_add(1, Ordering::Relaxed);
    }

    fn remove(&self) {
        self.length.fetch_sub(1, Ordering::Relaxed);
        self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.length.load(Ordering::Relaxed)
    }

    /// Does nobody wait?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits behind all of the same class, if there is room for so many altogether.
    pub fn join(self: &Arc<Self>, class: Class, room: usize) -> Option<Place> {
        let waiter = Arc::new(Waiter::default());
        let mut waiting = self.waiting.lock();
        if waiting.classes.iter().map(VecDeque::len).sum::<usize>() >= room {
            let lower = waiting.classes[class as usize + 1..].iter_mut().rev();
            let mut newest = lower.filter_map(VecDeque::pop_back);
            let shed = newest.next()?;
            self.remove();
            shed.is_shed.store(true, Ordering::Relaxed);
            shed.called.notify_one();
        }
        waiting.classes[class as usize].push_back(Arc::clone(&waiter));
        self.add();
        Some(Place {
            queue: Arc::clone(self),
            waiter,
            class,
        })
    }

    /// There may be room: calls the one whose turn it is.
    pub fn call(&self) {
        if self.is_empty() {
            return;
        }
        let mut waiting = self.waiting.lock();
        let Waiting {
            classes,
            passed_over,
        } = &mut *waiting;
        let free = |class: &VecDeque<Arc<Waiter>>| {
            let mut waiters = class.iter();
            waiters.position(|it| !it.is_called.load(Ordering::Relaxed))
        };
        let found: [Option<usize>; 3] = [0, 1, 2].map(|class| free(&classes[class]));
        let starved =
            (0..3).find(|&class| found[class].is_some() && passed_over[class] >= PATIENCE);
        let first = (0..3).find(|&class| found[class].is_some());
        let Some((class, position)) = starved.or(first).and_then(|it| Some((it, found[it]?)))
        else {
            return;
        };
        passed_over[class] = 0;
        for lower in class + 1..3 {
            if found[lower].is_some() {
                passed_over[lower] += 1;
            }
        }
        let waiter = &classes[class][position];
        waiter.is_called.store(true, Ordering::Relaxed);
        waiter.called.notify_one();
    }
}

impl Place {
    /// Until it is called; `false` if its place was taken away.
    pub async fn called(&self) -> bool {
        self.waiter.called.notified().await;
        !self.waiter.is_shed.load(Ordering::Relaxed)
    }

    /// There was no room after all: waits on at its place.
    pub fn wait_on(&self) {
        self.waiter.is_called.store(false, Ordering::Relaxed);
    }

    /// There was room, but none that this one can use: calls the next, and waits on.
    pub fn pass_on(&self) {
        self.queue.call();
        self.wait_on();
    }

    /// It has what it waited for; the call is used up.
    pub fn finish(self) {
        self.waiter.is_called.store(false, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.queue.waiting.lock();
        let class = &mut waiting.classes[self.class as usize];
        let place = class.iter().position(|it| Arc::ptr_eq(it, &self.waiter));
        if let Some(place) = place {
            class.remove(place);
            self.queue.remove();
        }
        let is_called = self.waiter.is_called.load(Ordering::Relaxed);
        drop(waiting);
        if is_called {
            self.queue.call();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn queue() -> Arc<Queue> {
        Arc::default()
    }

    /// Which of these were called, by their position.
    fn called(places: &[&Place]) -> Vec<usize> {
        let is_called = |place: &Place| {
            let called = std::pin::pin!(place.called());
            called.poll(&mut Context::from_waker(Waker::noop())) != Poll::Pending
        };
        let all = places.iter().enumerate();
        all.filter(|(_, place)| is_called(place))
            .map(|(position, _)| position)
            .collect()
    }

    use std::future::Future as _;

    #[test]
    fn the_first_of_the_highest_class_is_called_first() {
        let queue = queue();
        let join = |class| queue.join(class, 10).expect("there is room");
        let (low, normal, high, late) = (
            join(Class::Low),
            join(Class::Normal),
            join(Class::High),
            join(Class::High),
        );
        for expected in [[2], [3], [1], [0]] {
            queue.call();
            assert_eq!(called(&[&low, &normal, &high, &late]), expected);
        }
        queue.call();
        assert_eq!(called(&[&low, &normal, &high, &late]), [] as [usize; 0]);
    }

    #[test]
    fn who_is_passed_over_often_goes_first_once() {
        let queue = queue();
        let low = queue.join(Class::Low, 100).expect("there is room");
        for _ in 0..PATIENCE {
            let high = queue.join(Class::High, 100).expect("there is room");
            queue.call();
            assert_eq!(called(&[&low, &high]), [1]);
            high.finish();
        }
        let high = queue.join(Class::High, 100).expect("there is room");
        queue.call();
        assert_eq!(called(&[&low, &high]), [0]);
    }

    #[test]
    fn a_full_queue_sheds_the_newest_of_the_lowest_class_for_a_higher_one() {
        let queue = queue();
        let first = queue.join(Class::Low, 3).expect("there is room");
        let second = queue.join(Class::Low, 3).expect("there is room");
        let normal = queue.join(Class::Normal, 3).expect("there is room");
        assert!(queue.join(Class::Low, 3).is_none());
        let high = queue.join(Class::High, 3).expect("in the place of another");
        assert_eq!(called(&[&first, &second, &normal, &high]), [1]);
        assert!(second.waiter.is_shed.load(Ordering::Relaxed));
        drop(second);
        assert_eq!(queue.len(), 3);
        let more = queue
            .join(Class::High, 3)
            .expect("in the place of the first");
        assert!(first.waiter.is_shed.load(Ordering::Relaxed));
        let other = queue
            .join(Class::High, 3)
            .expect("in the place of the normal one");
        assert!(queue.join(Class::High, 3).is_none(), "nobody is lower");
        drop((first, normal, high, more, other));
        assert!(queue.is_empty());
    }

    #[test]
    fn who_was_called_and_leaves_calls_the_next() {
        let queue = queue();
        let first = queue.join(Class::Normal, 10).expect("there is room");
        let second = queue.join(Class::Normal, 10).expect("there is room");
        queue.call();
        drop(first);
        assert_eq!(called(&[&second]), [0]);
        second.wait_on();
        assert_eq!(called(&[&second]), [] as [usize; 0]);
        queue.call();
        assert_eq!(called(&[&second]), [0]);
    }

    #[test]
    fn a_class_is_a_word_or_a_number() {
        let classes = [&b"high"[..], b"1", b"", b"2", b"odd", b"low", b"3"].map(Class::of);
        use Class::{High, Low, Normal};
        assert_eq!(classes, [High, High, Normal, Normal, Normal, Low, Low]);
    }
}
