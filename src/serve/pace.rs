//! How fast an answer may be sent (`limit_rate`, `limit_rate_after`) or a peer read
//! (`proxy_limit_rate`).

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::net::deadline::Deadline;
use crate::unit::clock;

/// The pace of one direction of one exchange.
#[derive(Debug)]
pub struct Pace {
    /// Bytes per second.
    rate: u64,
    /// Bytes that go at full speed first.
    free: u64,
    moved: u64,
    began: Instant,
    pause: Deadline,
}

impl Pace {
    /// A pace of so many bytes a second, behind the first `free` ones.
    pub fn new(rate: u64, free: u64) -> Self {
        Self {
            rate,
            free,
            moved: 0,
            began: clock::now(),
            pause: Deadline::new(),
        }
    }

    /// How many bytes may move now; pending until some may. The first second's bytes may go at
    /// once, as with nginx.
    pub fn poll_allowance(&mut self, context: &mut Context<'_>) -> Poll<usize> {
        let elapsed = clock::now().saturating_duration_since(self.began);
        let earned = u128::from(self.rate) * (elapsed.as_millis() + 1000) / 1000;
        let budget = earned + u128::from(self.free);
        let moved = u128::from(self.moved);
        if budget > moved {
            return Poll::Ready(usize::try_from(budget - moved).unwrap_or(usize::MAX));
        }
        let missing = u64::try_from(moved - budget)
            .unwrap_or(u64::MAX)
            .saturating_add(1);
        self.pause.set(Duration::from_millis(
            (missing.saturating_mul(1000) / self.rate).clamp(1, 60_000),
        ));
        match self.pause.poll_expired(context) {
            Poll::Ready(()) => Poll::Ready(1),
            Poll::Pending => Poll::Pending,
        }
    }

    /// So many bytes moved.
    pub fn note(&mut self, count: usize) {
        self.moved += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_free_and_the_first_second_go_at_once_and_then_it_waits() {
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut pace = Pace::new(1000, 500);
        let Poll::Ready(first) = pace.poll_allowance(&mut context) else {
            panic!("the first bytes wait for nothing")
        };
        assert!(first >= 1500);
        pace.note(1_000_000);
        assert!(pace.poll_allowance(&mut context).is_pending());
    }
}
