//! Durations as nginx writes them: `30s`, `1h 30m`, `500ms`, `10d`.
//!
//! Two readers, as in nginx's `ngx_parse_time`: [`milliseconds`] knows `ms` but neither months nor
//! years, [`seconds`] knows `M` and `y` but no `ms`. Units stand from large to small, each at most
//! once; a number without a unit is seconds and comes last.

use std::time::Duration;

/// Reads a duration that is kept in milliseconds.
pub fn milliseconds(text: &str) -> Option<Duration> {
    parse(text, false).map(Duration::from_millis)
}

/// Reads a duration that is kept in whole seconds.
pub fn seconds(text: &str) -> Option<Duration> {
    parse(text, true).map(Duration::from_secs)
}

/// Spells a duration with the largest unit that divides it, down to milliseconds; [`milliseconds`]
/// reads it back (and [`seconds`] does, if it is whole seconds). Less than a millisecond is cut off.
pub fn print(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if duration.subsec_millis() != 0 {
        return format!("{}ms", duration.as_millis());
    }
    for (unit, length) in [('d', 86_400), ('h', 3_600), ('m', 60)] {
        if seconds != 0 && seconds.is_multiple_of(length) {
            return format!("{}{unit}", seconds / length);
        }
    }
    format!("{seconds}s")
}

/// How far the reading has come; a unit must stand after the ones before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Start,
    Year,
    Month,
    Week,
    Day,
    Hour,
    Minute,
    Second,
    Millisecond,
    /// A number without a unit, followed by a blank.
    Last,
}

/// The one state machine of both readers; the result counts seconds or milliseconds.
fn parse(text: &str, whole_seconds: bool) -> Option<u64> {
    const MAX: u64 = i64::MAX as u64;
    let bytes = text.as_bytes();
    let mut step = if whole_seconds {
        Step::Start
    } else {
        Step::Month
    };
    let mut value: u64 = 0;
    let mut total: u64 = 0;
    let mut any_digit = false;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        if byte.is_ascii_digit() {
            value = value
                .checked_mul(10)?
                .checked_add(u64::from(byte - b'0'))
                .filter(|&value| value <= MAX)?;
            any_digit = true;
            continue;
        }
        let (next, length) = match byte {
            b'y' => (Step::Year, 60 * 60 * 24 * 365),
            b'M' => (Step::Month, 60 * 60 * 24 * 30),
            b'w' => (Step::Week, 60 * 60 * 24 * 7),
            b'd' => (Step::Day, 60 * 60 * 24),
            b'h' => (Step::Hour, 60 * 60),
            b'm' if bytes.get(at) == Some(&b's') => {
                if whole_seconds {
                    return None;
                }
                at += 1;
                (Step::Millisecond, 1)
            }
            b'm' => (Step::Minute, 60),
            b's' => (Step::Second, 1),
            b' ' => (Step::Last, 1),
            _ => return None,
        };
        // A bare number must come before nothing else, so after seconds there is no room for it.
        let refused = match next {
            Step::Last => step >= Step::Second,
            _ => step >= next,
        };
        if refused {
            return None;
        }
        step = next;
        let scale = match next {
            Step::Millisecond => 1,
            _ if whole_seconds => length,
            _ => length * 1000,
        };
        value = value.checked_mul(scale).filter(|&value| value <= MAX)?;
        total = total.checked_add(value).filter(|&total| total <= MAX)?;
        value = 0;
        while bytes.get(at) == Some(&b' ') {
            at += 1;
        }
    }
    if !any_digit {
        return None;
    }
    let rest = if whole_seconds {
        value
    } else {
        value.checked_mul(1000)?
    };
    total.checked_add(rest).filter(|&total| total <= MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(text: &str) -> Option<u64> {
        milliseconds(text).and_then(|duration| u64::try_from(duration.as_millis()).ok())
    }

    fn s(text: &str) -> Option<u64> {
        seconds(text).map(|duration| duration.as_secs())
    }

    #[test]
    fn a_bare_number_is_seconds() {
        assert_eq!(ms("60"), Some(60_000));
        assert_eq!(s("60"), Some(60));
        assert_eq!(ms("0"), Some(0));
    }

    #[test]
    fn units_add_up_from_large_to_small_with_or_without_blanks() {
        assert_eq!(ms("1h 30m"), Some(5_400_000));
        assert_eq!(ms("1h30m"), Some(5_400_000));
        assert_eq!(ms("1w2d3h4m5s6ms"), Some(788_645_006));
        assert_eq!(ms("1h  30"), Some(3_630_000));
        assert_eq!(s("1y 1M"), Some(34_128_000));
    }

    #[test]
    fn a_unit_twice_or_out_of_order_is_refused() {
        for refused in [
            "1m 1h", "1m 2m", "1s 1s", "1ms 1s", "1s 5 ", "5 1s 1s", "1h 1d",
        ] {
            assert_eq!(ms(refused), None, "{refused:?}");
        }
    }

    #[test]
    fn milliseconds_stand_only_where_they_are_kept() {
        assert_eq!(ms("500ms"), Some(500));
        assert_eq!(ms("1s 500ms"), Some(1_500));
        assert_eq!(s("500ms"), None);
    }

    #[test]
    fn months_and_years_stand_only_where_seconds_are_kept() {
        assert_eq!(s("2y"), Some(63_072_000));
        assert_eq!(s("2M"), Some(5_184_000));
        assert_eq!(ms("2y"), None);
        assert_eq!(ms("2M"), None);
    }

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for refused in [
            "", " ", "s", "ms", "1x", "-1", "1.5s", "1S", "1 h", "٣", "1µ",
        ] {
            assert_eq!(ms(refused), None, "{refused:?}");
        }
    }

    #[test]
    fn an_overflow_is_refused() {
        assert_eq!(s("9223372036854775807"), Some(i64::MAX as u64));
        assert_eq!(s("9223372036854775808"), None);
        assert_eq!(ms("9223372036854775807"), None);
        assert_eq!(s("292471208678y"), None);
        assert_eq!(s("9223372036854775807s 1"), None);
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(count in 0..1_000_000u64, unit in 0..5usize) {
            let length = [1, 1_000, 60_000, 3_600_000, 86_400_000][unit];
            let duration = Duration::from_millis(count * length);
            prop_assert_eq!(milliseconds(&print(duration)), Some(duration));
        }

        #[test]
        fn any_text_is_read_without_panic(text in "[0-9yMwdhms ]{0,40}|.*") {
            let _ = (milliseconds(&text), seconds(&text));
        }
    }
}
