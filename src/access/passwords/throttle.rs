//! How often somebody may guess.
//!
//! A guess takes a token from a bucket of its sender and from one of the name that it is for; one that
//! turns out right gives them back. Tokens come back evenly over the period. Invariant: the number of
//! buckets is bounded, and a bucket that is full is none.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// So many buckets are kept; each is some forty bytes.
const MOST_BUCKETS: usize = 16 << 10;

/// Whose guesses are counted together.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Guesser {
    /// An IPv4 address, or a network of IPv6 as one household has it.
    Address([u8; 8]),
    /// A name, by a keyed digest.
    User([u8; 16]),
}

impl Guesser {
    /// Who sends from this address.
    pub fn of_address(address: IpAddr) -> Self {
        let mut bytes = [0; 8];
        match address.to_canonical() {
            IpAddr::V4(address) => bytes[..4].copy_from_slice(&address.octets()),
            // A /64 is one line's; nobody else has an address in it.
            IpAddr::V6(address) => bytes.copy_from_slice(&address.octets()[..8]),
        }
        Self::Address(bytes)
    }
}

/// The buckets: when each will be full again.
#[derive(Debug, Default)]
pub struct Throttle {
    full_again: HashMap<Guesser, Instant>,
}

impl Throttle {
    /// Takes a token, of which there are so many in a period. The error is how long it takes until
    /// there is one.
    pub fn take(
        &mut self,
        who: Guesser,
        count: u32,
        period: Duration,
        now: Instant,
    ) -> Result<(), Duration> {
        let step = period / count.max(1);
        if self.full_again.len() >= MOST_BUCKETS && !self.full_again.contains_key(&who) {
            self.make_room(now);
        }
        let full_again = self.full_again.entry(who).or_insert(now);
        let next = (*full_again).max(now) + step;
        // The last token may be taken at the very end of the period.
        match next.checked_duration_since(now + step * count.max(1)) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => {
                *full_again = next;
                Ok(())
            }
        }
    }

    /// Gives a token back.
    pub fn give_back(&mut self, who: Guesser, count: u32, period: Duration) {
        if let Some(full_again) = self.full_again.get_mut(&who) {
            let step = period / count.max(1);
            *full_again = full_again.checked_sub(step).unwrap_or(*full_again);
        }
    }

    /// Forgets buckets that are full; if there are none, those that are the fullest.
    fn make_room(&mut self, now: Instant) {
        self.full_again.retain(|_, full_again| *full_again > now);
        if self.full_again.len() >= MOST_BUCKETS {
            let mut all: Vec<Instant> = self.full_again.values().copied().collect();
            let middle = all.len() / 2;
            let (_, &mut median, _) = all.select_nth_unstable(middle);
            self.full_again.retain(|_, full_again| *full_again > median);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(60);

    fn who(last: u8) -> Guesser {
        Guesser::of_address(IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn so_many_guesses_are_let_through_and_then_one_by_one() {
        let mut throttle = Throttle::default();
        let now = Instant::now();
        for _ in 0..6 {
            assert_eq!(throttle.take(who(1), 6, PERIOD, now), Ok(()));
        }
        let wait = throttle
            .take(who(1), 6, PERIOD, now)
            .expect_err("one too many");
        assert_eq!(wait, PERIOD / 6);
        assert_eq!(throttle.take(who(2), 6, PERIOD, now), Ok(()), "another one");
        let later = now + wait;
        assert_eq!(throttle.take(who(1), 6, PERIOD, later), Ok(()));
        assert!(throttle.take(who(1), 6, PERIOD, later).is_err());
        // All of them after the whole period.
        let later = later + PERIOD;
        for _ in 0..6 {
            assert_eq!(throttle.take(who(1), 6, PERIOD, later), Ok(()));
        }
    }

    #[test]
    fn a_right_one_costs_nothing() {
        let mut throttle = Throttle::default();
        let now = Instant::now();
        for _ in 0..100 {
            assert_eq!(throttle.take(who(1), 2, PERIOD, now), Ok(()));
            throttle.give_back(who(1), 2, PERIOD);
        }
    }

    #[test]
    fn the_addresses_of_one_network_of_ipv6_are_one() {
        let of = |text: &str| Guesser::of_address(text.parse().expect("an address"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), who(1));
    }

    #[test]
    fn there_is_room_for_so_many_and_the_worst_are_kept() {
        let mut throttle = Throttle::default();
        let now = Instant::now();
        let guesser = |number: u32| Guesser::of_address(IpAddr::from(number.to_be_bytes()));
        for _ in 0..6 {
            assert_eq!(throttle.take(who(1), 6, PERIOD, now), Ok(()));
        }
        for number in 0..40_000 {
            assert_eq!(throttle.take(guesser(number), 6, PERIOD, now), Ok(()));
            assert!(throttle.full_again.len() <= MOST_BUCKETS);
        }
        assert!(throttle.take(who(1), 6, PERIOD, now).is_err());
    }
}
