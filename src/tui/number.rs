//! Numbers as people read them: short, with their unit, and honest about what is not known.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::protocol::{Micros, Millis};
use crate::unit::money::Money;

/// Requests per second: `0`, `0.4`, `1204`, `120k`.
pub fn rate(value: f64) -> String {
    match value {
        value if !value.is_finite() => "?".to_owned(),
        value if value <= 0.0 => "0".to_owned(),
        value if value < 0.05 => "<0.1".to_owned(),
        value if value < 9.95 => short(value),
        value if value < 99_999.5 => format!("{value:.0}"),
        value => count(value as u64),
    }
}

/// A count: `157`, `31.2M`.
pub fn count(value: u64) -> String {
    scaled(value, 1000.0, 10_000)
}

/// Bytes in units of 1024: `157`, `4.1K`, `1.2M`.
pub fn bytes(value: u64) -> String {
    scaled(value, 1024.0, 1000)
}

/// Bytes with their unit: `157 B`, `4.1 KB`.
pub fn size(value: u64) -> String {
    let text = bytes(value);
    match text.strip_suffix(char::is_alphabetic) {
        Some(digits) => format!("{digits} {}B", &text[digits.len()..]),
        None => format!("{text} B"),
    }
}

/// A duration with its unit: `0 ms`, `0.3 ms`, `41 ms`, `2.1 s`, `61 s`.
pub fn duration(value: Micros) -> String {
    match value {
        0 => "0 ms".to_owned(),
        1..50 => "<0.1 ms".to_owned(),
        50..9_950 => format!("{} ms", short(value as f64 / 1e3)),
        9_950..999_500 => format!("{:.0} ms", value as f64 / 1e3),
        999_500..9_950_000 => format!("{:.1} s", value as f64 / 1e6),
        9_950_000..10_000_000_000 => format!("{:.0} s", value as f64 / 1e6),
        _ => age(value / 1000),
    }
}

/// A duration in milliseconds where the head of the column says so: `0.3`, `41`, `2140`; what is
/// longer than a minute has a unit of its own.
pub fn milliseconds(value: Micros) -> String {
    match value {
        0 => "0".to_owned(),
        1..50 => "<0.1".to_owned(),
        50..9_950 => short(value as f64 / 1e3),
        9_950..60_000_000 => format!("{:.0}", value as f64 / 1e3),
        60_000_000..100_000_000_000 => format!("{:.0} s", value as f64 / 1e6),
        _ => age(value / 1000),
    }
}

/// A share of something: `97.1%`; `none` if there is nothing to have a share of.
pub fn share(part: u64, whole: u64, none: &str) -> String {
    match whole {
        0 => none.to_owned(),
        _ => percent(part as f64 / whole as f64),
    }
}

/// A share from 0 to 1: `97.1%`, `100%`; never `0.0%` for something, nor `100%` for not quite all.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        percent if !percent.is_finite() => "?".to_owned(),
        percent if percent <= 0.0 => "0.0%".to_owned(),
        percent if percent < 0.05 => "<0.1%".to_owned(),
        percent if percent >= 100.0 => "100%".to_owned(),
        percent if percent >= 99.95 => "99.9%".to_owned(),
        percent => format!("{percent:.1}%"),
    }
}

/// Dollars from their exact decimals, short: `$0`, `<$0.0001`, `$0.0031`, `$4.12`, `$1204`.
pub fn dollars(exact: &str) -> String {
    const CENT: i64 = 10_000_000_000;
    let Some(money) = Money::parse(exact) else {
        // What is owed to us, or what a newer daemon says.
        return format!("${exact}");
    };
    let dollars = money.pico() as f64 / 1e12;
    match money.pico() {
        0 => "$0".to_owned(),
        pico if pico < CENT / 200 => "<$0.0001".to_owned(),
        pico if pico < 10 * CENT => format!("${dollars:.4}"),
        pico if pico < 100_000 * CENT => format!("${dollars:.2}"),
        _ => format!("${}", count(dollars.round() as u64)),
    }
}

/// The share of an amount in another; nothing if that is nothing.
pub fn share_of_dollars(part: &str, whole: &str) -> Option<f64> {
    let (part, whole) = (Money::parse(part)?.pico(), Money::parse(whole)?.pico());
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// How long ago, of milliseconds: `91 s`, `42 m`, `7 h`, `12 d`.
pub fn age(milliseconds: Millis) -> String {
    match milliseconds / 1000 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} m", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// For how long something runs: `04:31`, `12d 04:31`.
pub fn uptime(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match days {
        0 => format!("{hours:02}:{minutes:02}"),
        _ => format!("{days}d {hours:02}:{minutes:02}"),
    }
}

/// Minutes and seconds of a wait: `00:41`.
pub fn stopwatch(milliseconds: Millis) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        ..3_600 => format!("{:02}:{:02}", seconds / 60, seconds % 60),
        _ => format!(
            "{}:{:02}:{:02}",
            seconds / 3_600,
            seconds / 60 % 60,
            seconds % 60
        ),
    }
}

/// The time of day: `12:03:11`.
pub fn clock(at: Millis, zone: &TimeZone) -> String {
    formatted(at, zone, "%H:%M:%S")
}

/// The same with milliseconds: `12:03:11.204`.
pub fn clock_milliseconds(at: Millis, zone: &TimeZone) -> String {
    formatted(at, zone, "%H:%M:%S%.3f")
}

/// Day and time, the day in words where it is near `now`: `today 11:58`, `yesterday`, `12 Nov`.
pub fn day(at: Millis, now: Millis, zone: &TimeZone) -> String {
    let date = |millis: Millis| {
        let timestamp = Timestamp::from_millisecond(i64::try_from(millis).ok()?).ok()?;
        Some(timestamp.to_zoned(zone.clone()).date())
    };
    let (Some(then), Some(today)) = (date(at), date(now)) else {
        return "?".to_owned();
    };
    if then == today {
        formatted(at, zone, "today %H:%M")
    } else if then.tomorrow().is_ok_and(|next| next == today) {
        "yesterday".to_owned()
    } else if then.year() == today.year() {
        formatted(at, zone, "%-d %b")
    } else {
        formatted(at, zone, "%Y-%m-%d")
    }
}

/// The day in UTC: `2026-07-30`.
pub fn date(at: Millis) -> String {
    formatted(at, &TimeZone::UTC, "%Y-%m-%d")
}

/// A day and a time: `2026-07-30 08:11`.
pub fn moment(at: Millis, zone: &TimeZone) -> String {
    formatted(at, zone, "%Y-%m-%d %H:%M")
}

fn formatted(at: Millis, zone: &TimeZone, format: &str) -> String {
    let timestamp = i64::try_from(at)
        .ok()
        .and_then(|at| Timestamp::from_millisecond(at).ok());
    match timestamp {
        Some(timestamp) => timestamp
            .to_zoned(zone.clone())
            .strftime(format)
            .to_string(),
        None => "?".to_owned(),
    }
}

/// One digit behind the point, unless it is zero.
fn short(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

/// Three digits and a letter from `plain` on.
fn scaled(value: u64, unit: f64, plain: u64) -> String {
    if value < plain {
        return value.to_string();
    }
    let mut scaled = value as f64;
    for letter in ["K", "M", "G", "T", "P"] {
        scaled /= unit;
        if scaled < 99.95 {
            return format!("{scaled:.1}{letter}");
        }
        if scaled < 999.5 {
            return format!("{scaled:.0}{letter}");
        }
    }
    format!("{scaled:.0}P")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_counts_keep_three_digits() {
        for (value, text) in [
            (0.0, "0"),
            (0.01, "<0.1"),
            (0.44, "0.4"),
            (8.0, "8"),
            (9.96, "10"),
            (1204.4, "1204"),
            (120_000.0, "120K"),
            (f64::NAN, "?"),
        ] {
            assert_eq!(rate(value), text);
        }
        assert_eq!(count(31_234_567), "31.2M");
        assert_eq!(count(9_999), "9999");
        assert_eq!(count(u64::MAX), "18447P");
        assert_eq!(bytes(4_198), "4.1K");
        assert_eq!(bytes(157), "157");
        assert_eq!(size(157), "157 B");
        assert_eq!(size(2_040_109_465), "1.9 GB");
    }

    #[test]
    fn dollars_are_short_and_never_nothing_for_something() {
        for (exact, shown) in [
            ("0.00", "$0"),
            ("0.000000001", "<$0.0001"),
            ("0.00314", "$0.0031"),
            ("0.25", "$0.25"),
            ("4.1249", "$4.12"),
            ("999.99", "$999.99"),
            ("1204.4", "$1204"),
            ("31234.5", "$31.2K"),
            ("-0.5", "$-0.5"),
        ] {
            assert_eq!(dollars(exact), shown, "{exact}");
        }
        assert_eq!(share_of_dollars("1.60", "2.00"), Some(0.8));
        assert_eq!(share_of_dollars("1.60", "0.00"), None);
        assert_eq!(date(1_700_049_600_000), "2023-11-15");
    }

    #[test]
    fn durations_have_their_unit() {
        for (micros, text) in [
            (0, "0 ms"),
            (12, "<0.1 ms"),
            (300, "0.3 ms"),
            (41_000, "41 ms"),
            (999_700, "1.0 s"),
            (2_100_000, "2.1 s"),
            (61_000_000, "61 s"),
        ] {
            assert_eq!(duration(micros), text);
        }
        assert_eq!(milliseconds(2_140_000), "2140");
        assert_eq!(milliseconds(61_000_000), "61 s");
        assert_eq!(uptime(12 * 86_400 + 4 * 3_600 + 31 * 60), "12d 04:31");
        assert_eq!(age(91_000), "91 s");
        assert_eq!(stopwatch(41_000), "00:41");
    }

    #[test]
    fn a_share_is_never_rounded_to_nothing_or_all() {
        assert_eq!(share(0, 0, "–"), "–");
        assert_eq!(share(0, 9, "–"), "0.0%");
        assert_eq!(share(1, 100_000, "–"), "<0.1%");
        assert_eq!(share(99_999, 100_000, "–"), "99.9%");
        assert_eq!(share(9, 9, "–"), "100%");
    }

    #[test]
    fn days_near_now_are_words() {
        let zone = TimeZone::UTC;
        let noon = 1_700_049_600_000;
        assert_eq!(clock_milliseconds(noon + 204, &zone), "12:00:00.204");
        assert_eq!(day(noon, noon + 1000, &zone), "today 12:00");
        assert_eq!(day(noon - 86_400_000, noon, &zone), "yesterday");
        assert_eq!(day(noon - 3 * 86_400_000, noon, &zone), "12 Nov");
        assert_eq!(day(noon - 400 * 86_400_000, noon, &zone), "2022-10-11");
        assert_eq!(day(u64::MAX, noon, &zone), "?");
        assert_eq!(moment(noon, &zone), "2023-11-15 12:00");
    }
}
