//! So much in a minute: calls and tokens.
//!
//! A bucket that fills evenly and holds a minute's worth. What a call may use is taken before, and
//! the difference to what it has used is given back, or taken, after.

use std::num::NonZeroU64;
use std::time::Duration;

/// Milliseconds of a minute: one of what is counted is this many parts.
const MINUTE: i128 = 60_000;

/// A limit, and how much of it there is.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    limit: NonZeroU64,
    /// In parts. Below zero if a call has used more than was taken for it.
    level: i128,
    /// When that was, in milliseconds of some clock that never goes back.
    at: u64,
}

/// How a limit stands: the numbers of `x-ratelimit-…`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RateStanding {
    /// The limit.
    pub limit: u64,
    /// How much there is.
    pub remaining: u64,
    /// When there is all of it, if nothing is taken.
    pub reset: Duration,
}

impl Rate {
    /// A full one.
    #[must_use]
    pub fn new(limit: NonZeroU64, now: u64) -> Self {
        Self {
            limit,
            level: i128::from(limit.get()) * MINUTE,
            at: now,
        }
    }

    /// The same with another limit: what was used stays used.
    #[must_use]
    pub fn with_limit(mut self, limit: NonZeroU64, now: u64) -> Self {
        self.fill(now);
        let used = self.full() - self.level;
        self.limit = limit;
        self.level = self.full() - used;
        self
    }

    /// The limit.
    #[must_use]
    pub const fn limit(&self) -> u64 {
        self.limit.get()
    }

    /// How long to wait until so much can be taken; `None` if it can be now. More than the limit
    /// counts as the limit: a call that is larger than that may go when there is all of it.
    pub fn wait(&mut self, now: u64, count: u64) -> Option<Duration> {
        self.fill(now);
        let missing = self.parts(count) - self.level;
        (missing > 0).then(|| self.time(missing))
    }

    /// Takes so much and returns how much that was; after [`Self::wait`] has said that there is.
    pub fn take(&mut self, count: u64) -> u64 {
        self.level -= self.parts(count);
        count.min(self.limit.get())
    }

    /// Settles what was taken with what was used.
    pub fn settle(&mut self, now: u64, taken: u64, used: u64) {
        self.fill(now);
        let difference = i128::from(taken) - i128::from(used);
        self.level = (self.level + difference * MINUTE).min(self.full());
    }

    /// How it stands.
    pub fn standing(&mut self, now: u64) -> RateStanding {
        self.fill(now);
        RateStanding {
            limit: self.limit.get(),
            remaining: u64::try_from(self.level / MINUTE).unwrap_or(0),
            reset: self.time(self.full() - self.level),
        }
    }

    fn parts(&self, count: u64) -> i128 {
        i128::from(count.min(self.limit.get())) * MINUTE
    }

    fn full(&self) -> i128 {
        i128::from(self.limit.get()) * MINUTE
    }

    /// In how many milliseconds so many parts come, rounded up.
    fn time(&self, parts: i128) -> Duration {
        let limit = i128::from(self.limit.get());
        let milliseconds = (parts.max(0) + limit - 1) / limit;
        Duration::from_millis(u64::try_from(milliseconds).unwrap_or(u64::MAX))
    }

    fn fill(&mut self, now: u64) {
        let since = now.saturating_sub(self.at);
        // In each millisecond of a minute one part of each that is allowed.
        let come = i128::from(since).saturating_mul(i128::from(self.limit.get()));
        self.level = self.level.saturating_add(come).min(self.full());
        self.at = self.at.max(now);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(limit: u64) -> Rate {
        Rate::new(NonZeroU64::new(limit).expect("a limit"), 0)
    }

    #[test]
    fn a_minute_has_its_limit_and_refills_evenly() {
        let mut rate = rate(60);
        for _ in 0..60 {
            assert_eq!(rate.wait(0, 1), None);
            rate.take(1);
        }
        assert_eq!(rate.wait(0, 1), Some(Duration::from_secs(1)));
        assert_eq!(rate.wait(999, 1), Some(Duration::from_millis(1)));
        assert_eq!(rate.wait(1000, 1), None);
        let expected = RateStanding {
            limit: 60,
            remaining: 1,
            reset: Duration::from_secs(59),
        };
        assert_eq!(rate.standing(1000), expected);
    }

    #[test]
    fn a_call_larger_than_the_limit_goes_when_there_is_all_of_it() {
        let mut rate = rate(100);
        assert_eq!(rate.wait(0, 5000), None);
        assert_eq!(rate.take(5000), 100);
        // It has used more: that is owed.
        rate.settle(0, 100, 300);
        assert_eq!(rate.wait(0, 100), Some(Duration::from_secs(180)));
        assert_eq!(rate.wait(180_000, 5000), None);
    }

    #[test]
    fn what_was_not_used_comes_back_and_not_more_than_there_was() {
        let mut rate = rate(100);
        let taken = rate.take(80);
        rate.settle(0, taken, 30);
        assert_eq!(rate.standing(0).remaining, 70);
        rate.settle(0, 100, 0);
        assert_eq!(rate.standing(0).remaining, 100);
    }

    #[test]
    fn another_limit_keeps_what_was_used() {
        let mut rate = rate(100);
        rate.take(60);
        let more = NonZeroU64::new(200).expect("a limit");
        assert_eq!(rate.with_limit(more, 0).standing(0).remaining, 140);
        let fewer = NonZeroU64::new(50).expect("a limit");
        assert_eq!(rate.with_limit(fewer, 0).standing(0).remaining, 0);
    }

    proptest! {
        #[test]
        fn no_time_lets_more_through_than_it_has_and_a_full_bucket(
            limit in 1..1000_u64,
            steps in proptest::collection::vec((0..5000_u64, 1..50_u64), 1..100),
        ) {
            let mut rate = rate(limit);
            let (mut now, mut through) = (0, 0);
            for (pause, count) in steps {
                now += pause;
                if rate.wait(now, count).is_none() {
                    through += rate.take(count);
                }
                prop_assert!(through * 60_000 <= limit * (60_000 + now));
            }
        }

        #[test]
        fn the_largest_numbers_do_not_overflow(limit in 1..=u64::MAX, now: u64, count: u64, used: u64) {
            let mut rate = rate(limit);
            let _ = rate.wait(now, count);
            let taken = rate.take(count);
            rate.settle(now, taken, used);
            let _ = (rate.standing(now), rate.wait(u64::MAX, count));
        }
    }
}
