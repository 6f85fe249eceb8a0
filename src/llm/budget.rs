//! Budgets: so much money in a day, a week, a month, or for good, by somebody's calendar.
//!
//! The invariant: what is spent and what is held for calls under way together never go beyond a
//! budget, as long as no call costs more than was held for it. A call belongs to the window in which
//! it began, also when it ends in the next.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use super::refusal::Refusal;
use crate::unit::money::Money;

/// The time that a budget is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Period {
    /// From midnight to midnight.
    Day,
    /// From Monday to Sunday.
    Week,
    /// From the first to the last day.
    Month,
    /// For good.
    Total,
}

impl Period {
    /// All of them, in the order in which budgets are kept.
    pub const ALL: [Self; 4] = [Self::Day, Self::Week, Self::Month, Self::Total];

    /// The word that people write: `5/day`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Total => "total",
        }
    }

    /// As it is told in a sentence.
    #[must_use]
    pub const fn phrase(self) -> &'static str {
        match self {
            Self::Day => "a day",
            Self::Week => "a week",
            Self::Month => "a month",
            Self::Total => "in all",
        }
    }

    /// When the window with a moment begins and ends, in microseconds since 1970.
    #[must_use]
    pub fn bounds(self, at: u64, zone: &TimeZone) -> (u64, u64) {
        self.calendar(at, zone).unwrap_or((0, u64::MAX))
    }

    fn calendar(self, at: u64, zone: &TimeZone) -> Option<(u64, u64)> {
        let moment = Timestamp::from_microsecond(i64::try_from(at).ok()?).ok()?;
        let date = moment.to_zoned(zone.clone()).date();
        let (first, next) = match self {
            Self::Day => (date, date.checked_add(1.day()).ok()?),
            Self::Week => {
                let since = i64::from(date.weekday().to_monday_zero_offset());
                let first = date.checked_sub(since.days()).ok()?;
                (first, first.checked_add(1.week()).ok()?)
            }
            Self::Month => {
                let first = date.first_of_month();
                (first, first.checked_add(1.month()).ok()?)
            }
            Self::Total => return None,
        };
        // Days do not all begin at midnight; the first moment of a day is what counts.
        let begin = |date: jiff::civil::Date| {
            let moment = date.to_zoned(zone.clone()).ok()?.timestamp();
            u64::try_from(moment.as_microsecond()).ok()
        };
        Some((begin(first)?, begin(next)?))
    }
}

/// A budget in the window that is now.
#[derive(Clone, Copy, Debug)]
struct Window {
    limit: Option<Money>,
    /// When it began and ends, in microseconds since 1970.
    start: u64,
    end: u64,
    spent: Money,
    held: Money,
}

/// How a budget stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Of which time.
    pub period: Period,
    /// The budget; `None` for no bound.
    pub limit: Option<Money>,
    /// What was spent.
    pub spent: Money,
    /// What is held for calls under way.
    pub held: Money,
}

/// The budgets of one key.
#[derive(Clone, Debug)]
pub struct Budgets {
    zone: TimeZone,
    windows: [Window; 4],
}

/// In which windows money is held: their beginnings.
pub type Hold = [u64; 4];

impl Budgets {
    /// Budgets of which nothing is spent.
    #[must_use]
    pub fn new(limits: [Option<Money>; 4], zone: TimeZone) -> Self {
        let windows = limits.map(|limit| Window {
            limit,
            start: 0,
            end: 0,
            spent: Money::ZERO,
            held: Money::ZERO,
        });
        Self { zone, windows }
    }

    /// Other budgets from now on; what is spent and held stays.
    pub fn set_limits(&mut self, limits: [Option<Money>; 4]) {
        for (window, limit) in self.windows.iter_mut().zip(limits) {
            window.limit = limit;
        }
    }

    /// Is there any?
    #[must_use]
    pub fn are_bounded(&self) -> bool {
        self.windows.iter().any(|window| window.limit.is_some())
    }

    /// When the windows of a moment begin: from there on what is spent has to be counted.
    pub fn starts(&mut self, now: u64) -> Hold {
        self.roll(now);
        self.windows.map(|window| window.start)
    }

    /// Says what was spent before the program started, in each window of now.
    pub fn set_spent(&mut self, now: u64, spent: [Money; 4]) {
        self.roll(now);
        for (window, spent) in self.windows.iter_mut().zip(spent) {
            window.spent = spent;
        }
    }

    /// Says what was spent, beside what it knows of, in each window of now.
    pub fn add_spent(&mut self, now: u64, spent: [Money; 4]) {
        self.roll(now);
        for (window, spent) in self.windows.iter_mut().zip(spent) {
            window.spent = window.spent.plus(spent);
        }
    }

    /// Whose calendar they follow.
    #[must_use]
    pub const fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Is there room?
    pub fn check(&mut self, now: u64, cost: Money) -> Result<(), Refusal> {
        self.roll(now);
        for (window, period) in self.windows.iter().zip(Period::ALL) {
            let Some(limit) = window.limit else {
                continue;
            };
            let left = limit.minus(window.spent).minus(window.held);
            // With nothing left nothing goes, not even what costs nothing.
            if cost > left || left <= Money::ZERO {
                return Err(Refusal::Budget {
                    period,
                    limit,
                    left: left.max(Money::ZERO),
                    cost,
                    resets: (window.end != u64::MAX).then_some(window.end),
                });
            }
        }
        Ok(())
    }

    /// Holds money, after [`Self::check`] and at the same time.
    pub fn hold(&mut self, cost: Money) -> Hold {
        for window in &mut self.windows {
            window.held = window.held.plus(cost);
        }
        self.windows.map(|window| window.start)
    }

    /// Gives back what was held and takes what was spent. Windows that are over meanwhile are past.
    pub fn settle(&mut self, hold: &Hold, held: Money, spent: Money) {
        for (window, start) in self.windows.iter_mut().zip(hold) {
            if window.start == *start {
                window.held = window.held.minus(held);
                window.spent = window.spent.plus(spent);
            }
        }
    }

    /// How they stand, those without a bound too.
    pub fn standing(&mut self, now: u64) -> [Standing; 4] {
        self.roll(now);
        let mut periods = Period::ALL.into_iter();
        self.windows.map(|window| Standing {
            period: periods.next().unwrap_or(Period::Total),
            limit: window.limit,
            spent: window.spent,
            held: window.held,
        })
    }

    /// Begins the windows that have come. A clock that goes back begins none again.
    fn roll(&mut self, now: u64) {
        for (window, period) in self.windows.iter_mut().zip(Period::ALL) {
            if now < window.end {
                continue;
            }
            (window.start, window.end) = period.bounds(now, &self.zone);
            window.spent = Money::ZERO;
            window.held = Money::ZERO;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::wire::error::Code;

    fn at(text: &str) -> u64 {
        let moment: Timestamp = text.parse().expect("a time");
        u64::try_from(moment.as_microsecond()).expect("after 1970")
    }

    fn cents(cents: i64) -> Money {
        Money::from_pico(cents * 10_000_000_000)
    }

    #[test]
    fn windows_follow_the_calendar_of_their_zone() {
        let berlin = TimeZone::get("Europe/Berlin").expect("a zone");
        let bounds = |period: Period, zone: &TimeZone, text: &str| {
            let (start, end) = period.bounds(at(text), zone);
            let shown = |at: u64| {
                Timestamp::from_microsecond(at as i64)
                    .expect("a time")
                    .to_string()
            };
            (shown(start), shown(end))
        };
        let expected = |start: &str, end: &str| (start.to_owned(), end.to_owned());
        let utc = TimeZone::UTC;
        assert_eq!(
            bounds(Period::Day, &utc, "2026-03-29T23:59:59.999999Z"),
            expected("2026-03-29T00:00:00Z", "2026-03-30T00:00:00Z")
        );
        // Clocks go forward: a day of 23 hours; and back: one of 25.
        assert_eq!(
            bounds(Period::Day, &berlin, "2026-03-29T12:00:00Z"),
            expected("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z")
        );
        assert_eq!(
            bounds(Period::Day, &berlin, "2026-10-25T12:00:00Z"),
            expected("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z")
        );
        assert_eq!(
            bounds(Period::Week, &utc, "2026-11-22T12:00:00Z"),
            expected("2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z")
        );
        assert_eq!(
            bounds(Period::Month, &utc, "2028-02-29T12:00:00Z"),
            expected("2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z")
        );
        assert_eq!(
            bounds(Period::Month, &berlin, "2026-12-31T23:30:00Z"),
            expected("2026-12-31T23:00:00Z", "2027-01-31T23:00:00Z")
        );
        assert_eq!(
            Period::Total.bounds(at("2026-01-01T00:00:00Z"), &utc),
            (0, u64::MAX)
        );
    }

    #[test]
    fn a_call_counts_in_the_window_in_which_it_began() {
        let mut budgets = Budgets::new([Some(cents(100)), None, None, None], TimeZone::UTC);
        let evening = at("2026-11-22T23:59:00Z");
        budgets.check(evening, cents(100)).expect("room");
        let hold = budgets.hold(cents(100));
        assert!(budgets.check(evening, cents(1)).is_err());
        let morning = at("2026-11-23T00:00:00Z");
        budgets.check(morning, cents(100)).expect("a new day");
        budgets.settle(&hold, cents(100), cents(70));
        let [day, week, month, total] = budgets.standing(morning);
        assert_eq!((day.spent, day.held), (Money::ZERO, Money::ZERO));
        // The week has begun anew as well, on a Monday; the month has not.
        assert_eq!(week.spent, Money::ZERO);
        assert_eq!((month.spent, total.spent), (cents(70), cents(70)));
        assert_eq!((month.held, total.held), (Money::ZERO, Money::ZERO));
    }

    #[test]
    fn a_clock_that_goes_back_gives_no_money_back() {
        let mut budgets = Budgets::new([Some(cents(10)), None, None, None], TimeZone::UTC);
        let now = at("2026-11-22T12:00:00Z");
        let starts = budgets.starts(now);
        budgets.settle(&starts, Money::ZERO, cents(10));
        for then in ["2026-11-22T01:00:00Z", "2026-11-20T01:00:00Z"] {
            assert!(budgets.check(at(then), cents(1)).is_err());
        }
    }

    #[test]
    fn a_refusal_tells_what_is_left_and_when_there_is_more() {
        let mut budgets = Budgets::new([None, None, Some(cents(500)), None], TimeZone::UTC);
        let now = at("2026-11-22T12:00:00Z");
        budgets.set_spent(now, [cents(499); 4]);
        let refusal = budgets.check(now, cents(2)).expect_err("too much");
        assert_eq!(refusal.code(), Code::BudgetExceeded);
        assert_eq!(refusal.retry_after(), None);
        assert_eq!(
            refusal.to_string(),
            "the budget of $5.00 a month has $0.01 left, and this call may cost $0.02; hint: ask \
             for fewer tokens with `max_tokens`; it begins anew at 2026-12-01T00:00:00Z"
        );
        assert!(budgets.check(now, cents(1)).is_ok());
        budgets.set_spent(now, [cents(500); 4]);
        let refusal = budgets
            .check(now, Money::ZERO)
            .expect_err("nothing is left");
        assert!(!refusal.to_string().contains("hint"), "{refusal}");
    }
}
