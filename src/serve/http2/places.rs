//! Where the exchanges of a connection run: one future for each place of the session, which answers
//! one stream after the other there.
//!
//! A future is made once and used again, with all the memory that an exchange needs, for as long as
//! the connection is busy. Whoever wakes one of them marks its place and wakes the connection, which
//! looks at those that are marked and at no others.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};

/// The futures of a connection.
pub struct Places {
    list: Vec<Place>,
    marks: Arc<Marks>,
}

struct Place {
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
    waker: Waker,
}

/// Which places are to be looked at.
struct Marks {
    words: Box<[AtomicU64]>,
    /// The connection looks at the marks before it goes to sleep again.
    is_awake: AtomicBool,
    /// What wakes the connection.
    task: Mutex<Waker>,
}

/// What wakes one place.
struct Mark {
    marks: Arc<Marks>,
    place: usize,
}

impl Wake for Mark {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.marks.set(self.place);
        // The order of this and the store in `sleep` is what keeps a mark from being overlooked.
        if !self.marks.is_awake.load(Ordering::SeqCst) {
            let task = self.marks.task.lock();
            task.unwrap_or_else(PoisonError::into_inner).wake_by_ref();
        }
    }
}

impl Marks {
    fn set(&self, place: usize) {
        self.words[place / 64].fetch_or(1 << (place % 64), Ordering::SeqCst);
    }

    fn is_empty(&self) -> bool {
        (self.words.iter()).all(|word| word.load(Ordering::SeqCst) == 0)
    }
}

impl Places {
    /// Room for so many futures.
    pub fn new(most: usize) -> Self {
        Self {
            list: Vec::new(),
            marks: Arc::new(Marks {
                words: (0..most.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
                is_awake: AtomicBool::new(false),
                task: Mutex::new(Waker::noop().clone()),
            }),
        }
    }

    /// The connection runs: until [`Places::sleep`] nobody has to wake it.
    pub fn awake(&self, context: &Context<'_>) {
        self.marks.is_awake.store(true, Ordering::SeqCst);
        let task = self.marks.task.lock();
        (task.unwrap_or_else(PoisonError::into_inner)).clone_from(context.waker());
    }

    /// The connection wants to go to sleep; `false` if there are marks.
    pub fn sleep(&self) -> bool {
        self.marks.is_awake.store(false, Ordering::SeqCst);
        self.marks.is_empty()
    }

    /// Has a place a future?
    pub fn has(&self, place: usize) -> bool {
        (self.list.get(place)).is_some_and(|place| place.future.is_some())
    }

    /// Puts a future to a place.
    pub fn put(&mut self, place: usize, future: impl Future<Output = ()> + 'static) {
        while self.list.len() <= place {
            let mark = Mark {
                marks: Arc::clone(&self.marks),
                place: self.list.len(),
            };
            self.list.push(Place {
                future: None,
                waker: Arc::new(mark).into(),
            });
        }
        self.list[place].future = Some(Box::pin(future));
    }

    /// A place is to be looked at.
    pub fn mark(&self, place: usize) {
        self.marks.set(place);
    }

    /// All places are to be looked at.
    pub fn mark_all(&self) {
        (0..self.list.len()).for_each(|place| self.marks.set(place));
    }

    /// Polls the futures of all places that are marked, from this one on and then those before it;
    /// `false` if there was none.
    pub fn poll(&mut self, first: usize) -> bool {
        let mut has_any = false;
        let count = self.marks.words.len();
        let (first_word, first_bit) = ((first / 64) % count.max(1), first % 64);
        // The word of the first place has its turn twice: from that place on, and up to it.
        for turn in 0..=count {
            let index = (first_word + turn) % count.max(1);
            let turned = match turn {
                0 => u64::MAX << first_bit,
                _ if turn == count => !(u64::MAX << first_bit),
                _ => u64::MAX,
            };
            let Some(word) = self.marks.words.get(index) else {
                break;
            };
            if word.load(Ordering::Relaxed) & turned == 0 {
                continue;
            }
            let mut marked = word.fetch_and(!turned, Ordering::SeqCst) & turned;
            has_any = true;
            while marked != 0 {
                let place = 64 * index + marked.trailing_zeros() as usize;
                marked &= marked - 1;
                let Some(place) = self.list.get_mut(place) else {
                    continue;
                };
                let mut context = Context::from_waker(&place.waker);
                if let Some(future) = &mut place.future
                    && future.as_mut().poll(&mut context).is_ready()
                {
                    place.future = None;
                }
            }
        }
        has_any
    }

    /// Drops all futures; none of them may have anything to do.
    pub fn clear(&mut self) {
        self.list = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::rc::Rc;
    use std::task::Poll;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicU64);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn only_what_is_marked_is_polled_and_a_sleeper_is_woken() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let context = Context::from_waker(&waker);
        let woken = || count.0.load(Ordering::Relaxed);
        let mut places = Places::new(130);
        let polls = Rc::new(Cell::new(0));
        let wakers = Rc::new(Cell::new(None));
        for place in [3, 129] {
            let (polls, wakers) = (Rc::clone(&polls), Rc::clone(&wakers));
            let future = poll_fn(move |context| {
                polls.set(polls.get() + place);
                wakers.set(Some(context.waker().clone()));
                Poll::Pending
            });
            places.put(place, future);
        }
        places.awake(&context);
        assert!(!places.poll(0) && places.sleep());
        places.awake(&context);
        places.mark(129);
        assert!(places.poll(0) && !places.poll(0));
        assert_eq!(polls.get(), 129);
        // Awake, it sees the mark by itself.
        let waker_of_place = wakers.take().expect("it was polled");
        waker_of_place.wake_by_ref();
        assert_eq!(woken(), 0);
        assert!(!places.sleep());
        assert!(places.poll(0) && places.sleep());
        waker_of_place.wake();
        assert_eq!(woken(), 1);
        assert_eq!(polls.get(), 2 * 129);
    }

    #[test]
    fn the_first_place_is_as_asked_and_each_has_its_turn() {
        let mut places = Places::new(130);
        let order = Rc::new(std::cell::RefCell::new(Vec::new()));
        for place in [0, 3, 63, 64, 129] {
            let order = Rc::clone(&order);
            let future = poll_fn(move |_| {
                order.borrow_mut().push(place);
                Poll::Pending
            });
            places.put(place, future);
        }
        for (first, expected) in [
            (0, [0, 3, 63, 64, 129]),
            (4, [63, 64, 129, 0, 3]),
            (64, [64, 129, 0, 3, 63]),
            (130, [0, 3, 63, 64, 129]),
        ] {
            [0, 3, 63, 64, 129]
                .iter()
                .for_each(|&place| places.mark(place));
            assert!(places.poll(first) && !places.poll(first));
            assert_eq!(order.take(), expected, "{first}");
        }
    }

    #[test]
    fn a_future_that_ended_makes_room_for_another() {
        let mut places = Places::new(1);
        places.put(0, async {});
        places.mark(0);
        assert!(places.has(0) && places.poll(0) && !places.has(0));
    }
}
