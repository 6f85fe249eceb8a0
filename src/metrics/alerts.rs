//! What was told to people, in numbers.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use parking_lot::Mutex;
use serde::Serialize;

/// Receivers that are told apart; names of more, after many reloads, are counted together.
const MOST: usize = 64;

/// Who was not told apart.
const OTHER: &str = "other";

/// An alert was raised, and is kept.
pub fn count_raised(kind: &'static str) {
    *TALLIES.lock().raised.entry(kind).or_default() += 1;
}

/// Somebody was told, or could not be.
pub fn count_try(receiver: &str, is_told: bool) {
    let mut tallies = TALLIES.lock();
    let tally = tallies.of(receiver);
    match is_told {
        true => tally.delivered += 1,
        false => tally.failed += 1,
    }
}

/// Somebody is not told any more.
pub fn count_parked(receiver: &str) {
    TALLIES.lock().of(receiver).parked += 1;
}

/// How many are still to be told, and how many could not be.
pub fn set_backlog([waiting, parked]: [u64; 2]) {
    let mut tallies = TALLIES.lock();
    (tallies.waiting, tallies.parked) = (waiting, parked);
}

/// How many that are no good news nobody has seen, of those that are listed.
pub fn set_unseen(unseen: u64) {
    TALLIES.lock().unseen = unseen;
}

/// What [`set_unseen`] was told last.
#[must_use]
pub fn unseen() -> u64 {
    TALLIES.lock().unseen
}

/// All that was counted so far.
pub(super) fn tallies() -> Tallies {
    TALLIES.lock().clone()
}

static TALLIES: LazyLock<Mutex<Tallies>> = LazyLock::new(Mutex::default);

/// What was counted.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
pub(super) struct Tallies {
    /// Alerts, by their kinds.
    pub raised: BTreeMap<&'static str, u64>,
    /// By who was told.
    pub receivers: BTreeMap<Box<str>, Tally>,
    /// Tellings that are still to be made.
    pub waiting: u64,
    /// Tellings that were given up.
    pub parked: u64,
    /// Alerts that nobody has seen, of those that are no good news.
    pub unseen: u64,
}

/// What somebody was told.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub(super) struct Tally {
    pub delivered: u64,
    /// Tries that failed.
    pub failed: u64,
    /// Alerts that were given up.
    pub parked: u64,
}

impl Tallies {
    fn of(&mut self, receiver: &str) -> &mut Tally {
        let has_room = self.receivers.len() < MOST || self.receivers.contains_key(receiver);
        let name = if has_room { receiver } else { OTHER };
        self.receivers.entry(name.into()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_receivers_are_bounded() {
        let mut tallies = Tallies::default();
        for number in 0..3 * MOST {
            tallies.of(&format!("receiver-{number}")).delivered += 1;
        }
        assert_eq!(tallies.receivers.len(), MOST + 1);
        assert_eq!(tallies.receivers[OTHER].delivered, 2 * MOST as u64);
    }
}
