//! Numbers for people: a few digits and a unit.
//!
//! Owns how a number is spelled, not where it stands. Programs take `--json`.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::protocol::{Micros, Millis};

/// A duration: `0.3 ms`, `31 ms`, `2.1 s`, `91 s`.
pub fn micros(micros: Micros) -> String {
    let ms = micros as f64 / 1e3;
    match ms {
        _ if micros == 0 => "0 ms".to_owned(),
        ms if ms < 0.95 => format!("{ms:.1} ms").replace("0.0 ms", "<0.1 ms"),
        ms if ms < 999.5 => format!("{ms:.0} ms"),
        ms if ms < 9_950.0 => format!("{:.1} s", ms / 1e3),
        ms => format!("{:.0} s", ms / 1e3),
    }
}

/// A count: `812`, `9.9k`, `31.2M`.
pub fn count(number: u64) -> String {
    scaled(number as f64, 1e3, &["", "k", "M", "G", "T", "P"], "")
}

/// Bytes: `812 B`, `1.9 GiB`.
pub fn bytes(bytes: u64) -> String {
    let units = [" B", " KiB", " MiB", " GiB", " TiB", " PiB"];
    scaled(bytes as f64, 1024.0, &units, "")
}

/// Bytes per second: `33.0 MiB/s`.
pub fn byte_rate(rate: f64) -> String {
    let units = [" B", " KiB", " MiB", " GiB", " TiB", " PiB"];
    scaled(rate, 1024.0, &units, "/s")
}

/// How often a second: `0`, `0.2`, `812`, `12.1k`.
pub fn rate(rate: f64) -> String {
    match rate {
        rate if rate > 0.0 && rate < 9.95 => format!("{rate:.1}"),
        rate => scaled(rate, 1e3, &["", "k", "M", "G"], ""),
    }
}

/// A share of 0 to 1 in percent: `97.1%`.
pub fn share(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

/// So many of all in percent; `–` of none.
pub fn part(some: u64, all: u64) -> String {
    match all {
        0 => "–".to_owned(),
        all => share(some as f64 / all as f64),
    }
}

/// How long: `42s`, `5m 12s`, `3h 07m`, `12d 4h`.
pub fn age(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{minutes}m {:02}s", seconds % 60),
        3_600..86_400 => format!("{hours}h {:02}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

/// The time of day there: `12:03:11`.
pub fn time(at: Millis, zone: &TimeZone) -> String {
    strftime(at, zone, "%H:%M:%S")
}

/// The day and the time there: `2026-11-22 12:03:11`.
pub fn date_time(at: Millis, zone: &TimeZone) -> String {
    strftime(at, zone, "%Y-%m-%d %H:%M:%S")
}

fn strftime(at: Millis, zone: &TimeZone, form: &str) -> String {
    let at = i64::try_from(at).ok();
    match at.and_then(|at| Timestamp::from_millisecond(at).ok()) {
        Some(at) => at.to_zoned(zone.clone()).strftime(form).to_string(),
        None => "?".to_owned(),
    }
}

fn scaled(number: f64, step: f64, units: &[&str], behind: &str) -> String {
    let mut number = number.max(0.0);
    let mut unit = 0;
    // What would be shown as a whole step is shown in the next unit.
    while number >= step - 0.5 && unit + 1 < units.len() {
        number /= step;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && number < 99.95);
    format!("{number:.digits$}{}{behind}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_few_digits_and_a_unit() {
        for (number, expected) in [
            (0, "0 ms"),
            (20, "<0.1 ms"),
            (300, "0.3 ms"),
            (31_000, "31 ms"),
            (999_700, "1.0 s"),
            (2_140_000, "2.1 s"),
            (91_000_000, "91 s"),
        ] {
            assert_eq!(micros(number), expected);
        }
        assert_eq!(count(999), "999");
        assert_eq!(count(9_900), "9.9k");
        assert_eq!(count(31_200_000), "31.2M");
        assert_eq!(count(u64::MAX), "18447P");
        assert_eq!(bytes(1_023), "1023 B");
        assert_eq!(bytes(1_024), "1.0 KiB");
        assert_eq!(byte_rate(34_603_008.0), "33.0 MiB/s");
        assert_eq!(rate(0.0), "0");
        assert_eq!(rate(0.21), "0.2");
        assert_eq!(rate(12_100.0), "12.1k");
        assert_eq!(rate(f64::NAN), "0");
        assert_eq!(part(3, 1_000), "0.3%");
        assert_eq!(part(0, 0), "–");
    }

    #[test]
    fn durations_are_told_in_two_units() {
        for (seconds, expected) in [
            (42, "42s"),
            (312, "5m 12s"),
            (11_220, "3h 07m"),
            (1_051_200, "12d 4h"),
        ] {
            assert_eq!(age(seconds), expected);
        }
    }

    #[test]
    fn times_are_those_of_a_zone() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(date_time(1_700_000_000_000, &zone), "2023-11-15 00:13:20");
        assert_eq!(time(1_700_000_000_000, &zone), "00:13:20");
        assert_eq!(time(u64::MAX, &zone), "?");
    }
}
