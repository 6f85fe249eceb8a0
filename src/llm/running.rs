//! Calls under way, as people see them, and what was spent today.
//!
//! A call has a place here from its reservation to its settlement. Who answers it writes how far it is
//! with plain stores; the list is locked for a look at its beginning, at its end, and by those who watch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use parking_lot::Mutex;

use crate::metrics::registry;
use crate::store::calls::DAY;
use crate::unit::money::Money;

/// A call under way.
#[derive(Debug)]
pub struct RunningCall {
    /// Its number: when it began, in microseconds since 1970.
    pub id: u64,
    /// The name of its key; empty for none.
    pub key: Box<str>,
    /// From which gateway.
    pub gateway: Box<str>,
    /// For which user.
    pub user: Box<str>,
    /// The model that was asked for.
    pub asked: Box<str>,
    /// What is held for it.
    pub held: Money,
    started: Instant,
    answering: Mutex<Box<str>>,
    output: AtomicU64,
}

impl RunningCall {
    /// Milliseconds since it began.
    #[must_use]
    pub fn age(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// The provider that answers and its own name for the model; empty until one does.
    #[must_use]
    pub fn answering(&self) -> Box<str> {
        self.answering.lock().clone()
    }

    /// About how many tokens came out so far.
    #[must_use]
    pub fn output(&self) -> u64 {
        self.output.load(Relaxed)
    }

    /// Says who answers.
    pub fn set_answering(&self, label: &str) {
        *self.answering.lock() = label.into();
    }

    /// Says how many tokens came out so far. Only the one who answers the call says it.
    pub fn set_output(&self, tokens: u64) {
        let before = self.output.load(Relaxed);
        if tokens > before {
            self.output.store(tokens, Relaxed);
            registry::with(|counters| counters.model_output.add(tokens - before));
        }
    }
}

/// All calls under way.
#[derive(Default, Debug)]
pub struct Running {
    calls: Mutex<BTreeMap<u64, Arc<RunningCall>>>,
    begun: AtomicU64,
    ended: AtomicU64,
    today: Mutex<Today>,
}

/// What was spent on a day.
#[derive(Clone, Copy, Default, Debug)]
struct Today {
    /// Days since 1970 in UTC.
    day: u64,
    spent: Money,
}

/// What there is to see of calls under way.
#[derive(Clone, Default, Debug)]
pub struct Seen {
    /// How many there are.
    pub count: u64,
    /// What is held for all of them.
    pub held: Money,
    /// The oldest of them, the oldest first.
    pub oldest: Vec<Arc<RunningCall>>,
    /// Calls that began since the start of the process.
    pub begun: u64,
    /// Calls that ended since, and calls that were refused.
    pub ended: u64,
}

/// A call as it begins.
#[derive(Clone, Copy, Debug)]
pub struct Begun<'a> {
    /// See [`RunningCall::id`].
    pub id: u64,
    /// See [`RunningCall::key`].
    pub key: &'a str,
    /// See [`RunningCall::gateway`].
    pub gateway: &'a str,
    /// See [`RunningCall::user`].
    pub user: &'a str,
    /// See [`RunningCall::asked`].
    pub asked: &'a str,
    /// See [`RunningCall::held`].
    pub held: Money,
}

impl Running {
    /// A call begins.
    pub fn begin(&self, call: Begun<'_>) -> Arc<RunningCall> {
        let running = Arc::new(RunningCall {
            id: call.id,
            key: call.key.into(),
            gateway: call.gateway.into(),
            user: call.user.into(),
            asked: call.asked.into(),
            held: call.held,
            started: Instant::now(),
            answering: Mutex::default(),
            output: AtomicU64::new(0),
        });
        self.begun.fetch_add(1, Relaxed);
        self.calls.lock().insert(call.id, Arc::clone(&running));
        running
    }

    /// A call has ended, with so many tokens of the client's and of the model's, and what counts of its
    /// cost.
    pub fn end(&self, call: &RunningCall, input: u64, output: u64, charged: Money) {
        self.calls.lock().remove(&call.id);
        call.set_output(output);
        registry::with(|counters| counters.model_input.add(input));
        self.add(call.id / DAY, charged);
        self.note_end();
    }

    /// A call was refused.
    pub fn note_end(&self) {
        self.ended.fetch_add(1, Relaxed);
    }

    /// Adds to what was spent on a day since 1970 in UTC; what is of a day before is not of today.
    pub fn add(&self, day: u64, spent: Money) {
        let mut today = self.today.lock();
        if day > today.day {
            *today = Today { day, spent };
        } else if day == today.day {
            today.spent = today.spent.plus(spent);
        }
    }

    /// What was spent on the day that a time in microseconds since 1970 is in.
    #[must_use]
    pub fn spent_today(&self, now: u64) -> Money {
        let today = *self.today.lock();
        match today.day == now / DAY {
            true => today.spent,
            false => Money::ZERO,
        }
    }

    /// What there is to see, with so many of the calls at most.
    #[must_use]
    pub fn seen(&self, most: usize) -> Seen {
        let calls = self.calls.lock();
        Seen {
            count: calls.len() as u64,
            held: calls.values().map(|call| call.held).sum(),
            oldest: calls.values().take(most).map(Arc::clone).collect(),
            begun: self.begun.load(Relaxed),
            ended: self.ended.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(id: u64) -> Begun<'static> {
        Begun {
            id,
            key: "laptop",
            gateway: "hub",
            user: "",
            asked: "chat",
            held: Money::from_pico(5),
        }
    }

    #[test]
    fn a_call_is_seen_from_its_beginning_to_its_end() {
        let running = Running::default();
        let calls: Vec<_> = [3, 1, 2].map(|id| running.begin(begun(id))).into();
        calls[1].set_answering("one/model");
        calls[1].set_output(7);
        calls[1].set_output(4);
        let seen = running.seen(2);
        assert_eq!((seen.count, seen.held.pico(), seen.begun), (3, 15, 3));
        let oldest = seen.oldest.iter().map(|call| (call.id, call.output()));
        assert_eq!(oldest.collect::<Vec<_>>(), [(1, 7), (2, 0)]);
        assert_eq!(&*seen.oldest[0].answering(), "one/model");
        running.end(&calls[1], 1, 9, Money::ZERO);
        let seen = running.seen(2);
        assert_eq!((seen.count, seen.ended), (2, 1));
        assert_eq!(calls[1].output(), 9);
    }

    #[test]
    fn what_is_spent_is_of_the_day_on_which_its_call_began() {
        let running = Running::default();
        let noon = 20_000 * DAY + DAY / 2;
        running.add(20_000, Money::from_pico(3));
        running.add(20_000, Money::from_pico(4));
        running.add(19_999, Money::from_pico(100));
        assert_eq!(running.spent_today(noon).pico(), 7);
        assert_eq!(running.spent_today(noon + DAY), Money::ZERO);
        running.add(20_001, Money::from_pico(1));
        assert_eq!(running.spent_today(noon + DAY).pico(), 1);
    }
}
