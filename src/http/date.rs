//! Dates as HTTP and the logs write them.
//!
//! Owns the formats and their reading; the clock is the caller's. Invariant: a time outside of the
//! years 1970 to 9999 is written as the nearest one inside, so every format has one length.

use std::fmt;

/// Format of the `Date` field, IMF-fixdate (RFC 9110 section 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn http(unix: i64) -> [u8; 29] {
    let time = Civil::of(unix);
    let mut out = *b"Www, 00 Mmm 0000 00:00:00 GMT";
    out[..3].copy_from_slice(WEEKDAYS[time.weekday].as_bytes());
    two(&mut out[5..7], time.day);
    out[8..11].copy_from_slice(time.month_name());
    four(&mut out[12..16], time.year);
    clock(&mut out[17..25], &time);
    out
}

/// Format of `$time_local`: `06/Nov/1994:08:49:37 +0000`, at this many minutes east of Greenwich.
pub fn local(unix: i64, offset: i32) -> [u8; 26] {
    let time = Civil::of(unix.saturating_add(i64::from(offset) * 60));
    let mut out = *b"00/Mmm/0000:00:00:00 +0000";
    two(&mut out[..2], time.day);
    out[3..6].copy_from_slice(time.month_name());
    four(&mut out[7..11], time.year);
    clock(&mut out[12..20], &time);
    out[21] = sign(offset);
    two(&mut out[22..24], hours(offset));
    two(&mut out[24..26], minutes(offset));
    out
}

/// Format of `$time_iso8601`: `1994-11-06T08:49:37+00:00`, at this many minutes east of Greenwich.
pub fn iso8601(unix: i64, offset: i32) -> [u8; 25] {
    let time = Civil::of(unix.saturating_add(i64::from(offset) * 60));
    let mut out = *b"0000-00-00T00:00:00+00:00";
    four(&mut out[..4], time.year);
    two(&mut out[5..7], time.month);
    two(&mut out[8..10], time.day);
    clock(&mut out[11..19], &time);
    out[19] = sign(offset);
    two(&mut out[20..22], hours(offset));
    two(&mut out[23..25], minutes(offset));
    out
}

/// Format of the error log: `1994/11/06 08:49:37`, at this many minutes east of Greenwich.
pub fn error_log(unix: i64, offset: i32) -> [u8; 19] {
    let time = Civil::of(unix.saturating_add(i64::from(offset) * 60));
    let mut out = *b"0000/00/00 00:00:00";
    four(&mut out[..4], time.year);
    two(&mut out[5..7], time.month);
    two(&mut out[8..10], time.day);
    clock(&mut out[11..19], &time);
    out
}

/// Reads a date of HTTP in any of the three formats that RFC 9110 section 5.6.7 knows, as seconds
/// since 1970. As nginx, it does not look at the day of the week nor behind the time, and takes two
/// digits of a year below 70 for this century.
pub fn parse(text: &[u8]) -> Option<i64> {
    let mut text = Reader(text);
    let (day, month, year, seconds);
    if let Some(comma) = text.0.iter().position(|&byte| byte == b',') {
        text.0 = &text.0[comma + 1..];
        text.spaces();
        day = text.digits(2)?;
        let separator = text.byte()?;
        month = text.month()?;
        year = match (separator, text.byte()?) {
            (b' ', b' ') => text.digits(4)?,
            (b'-', b'-') => match text.digits(2)? {
                year @ 70.. => year + 1900,
                year => year + 2000,
            },
            _ => return None,
        };
        text.expect(b' ')?;
        seconds = text.clock()?;
    } else {
        // asctime: `Sun Nov  6 08:49:37 1994`.
        let space = text.0.iter().position(|&byte| byte == b' ')?;
        text.0 = &text.0[space + 1..];
        month = text.month()?;
        text.expect(b' ')?;
        day = match text.0.first()? {
            b' ' => {
                text.expect(b' ')?;
                text.digits(1)?
            }
            _ => text.digits(2)?,
        };
        text.expect(b' ')?;
        seconds = text.clock()?;
        text.expect(b' ')?;
        year = text.digits(4)?;
    }
    if year < 1970 || day < 1 || day > days_in(month, year) {
        return None;
    }
    Some(days_since_1970(year, month, day) * 86_400 + seconds)
}

/// The minutes east of Greenwich of the machine's time zone at a time.
pub fn local_offset(unix: i64) -> i32 {
    #[expect(
        unsafe_code,
        reason = "the standard library does not know the time zone"
    )]
    // SAFETY: `localtime_r` reads the first and writes the second, both of which live here; a struct
    // of integers and a pointer may be all zero. The name of the zone that it points to is not read.
    // The environment, which it reads, is not written once threads run.
    let offset = unsafe {
        let mut broken_down: libc::tm = std::mem::zeroed();
        match libc::localtime_r(&(unix as libc::time_t), &mut broken_down).is_null() {
            true => 0,
            false => broken_down.tm_gmtoff,
        }
    };
    i32::try_from(offset / 60).unwrap_or_default()
}

/// The texts of one second, made once in it.
pub struct Cache {
    second: i64,
    http: [u8; 29],
    local: [u8; 26],
    iso8601: [u8; 25],
    error_log: [u8; 19],
}

impl Cache {
    /// The texts of this second.
    pub fn new(second: i64) -> Self {
        let offset = local_offset(second);
        Self {
            second,
            http: http(second),
            local: local(second, offset),
            iso8601: iso8601(second, offset),
            error_log: error_log(second, offset),
        }
    }

    /// Moves to this second, if it is another.
    pub fn update(&mut self, second: i64) {
        if second != self.second {
            *self = Self::new(second);
        }
    }

    /// The second, since 1970.
    pub fn second(&self) -> i64 {
        self.second
    }

    /// For the field `Date`.
    pub fn http(&self) -> &[u8] {
        &self.http
    }

    /// For `$time_local`.
    pub fn local(&self) -> &[u8] {
        &self.local
    }

    /// For `$time_iso8601`.
    pub fn iso8601(&self) -> &[u8] {
        &self.iso8601
    }

    /// For lines of the error log.
    pub fn error_log(&self) -> &[u8] {
        &self.error_log
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Cache").field(&self.second).finish()
    }
}

/// A time of the Gregorian calendar.
struct Civil {
    year: u32,
    /// From 1.
    month: u32,
    day: u32,
    /// From Sunday.
    weekday: usize,
    second: u32,
}

impl Civil {
    fn of(unix: i64) -> Self {
        let unix = unix.clamp(0, LAST_SECOND);
        let days = unix / 86_400;
        // Counted from 1 March of the year 0, so that a leap day ends its year; 400 years repeat.
        let shifted = days + 719_468;
        let era = shifted / 146_097;
        let day_of_era = shifted % 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = match month_from_march {
            0..10 => month_from_march + 3,
            _ => month_from_march - 9,
        };
        let year = era * 400 + year_of_era + i64::from(month <= 2);
        Self {
            year: year as u32,
            month: month as u32,
            day: (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32,
            // 1 January 1970 was a Thursday.
            weekday: ((days + 4) % 7) as usize,
            second: (unix % 86_400) as u32,
        }
    }

    fn month_name(&self) -> &'static [u8] {
        MONTHS[self.month as usize - 1].as_bytes()
    }
}

fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year_from_march = year - i64::from(month <= 2);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    year_from_march * 365 + year_from_march / 4 - year_from_march / 100
        + year_from_march / 400
        + day_of_year
        - 719_468
}

fn days_in(month: i64, year: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// What is left of a text.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn expect(&mut self, expected: u8) -> Option<()> {
        (self.byte()? == expected).then_some(())
    }

    fn spaces(&mut self) {
        while let [b' ', rest @ ..] = self.0 {
            self.0 = rest;
        }
    }

    fn digits(&mut self, count: usize) -> Option<i64> {
        let mut number = 0;
        for _ in 0..count {
            let digit = self.byte()?;
            if !digit.is_ascii_digit() {
                return None;
            }
            number = number * 10 + i64::from(digit - b'0');
        }
        Some(number)
    }

    /// From 1.
    fn month(&mut self) -> Option<i64> {
        let (name, rest) = self.0.split_at_checked(3)?;
        self.0 = rest;
        let position = MONTHS.iter().position(|month| month.as_bytes() == name)?;
        Some(position as i64 + 1)
    }

    /// In seconds.
    fn clock(&mut self) -> Option<i64> {
        let hour = self.digits(2)?;
        self.expect(b':')?;
        let minute = self.digits(2)?;
        self.expect(b':')?;
        let second = self.digits(2)?;
        (hour < 24 && minute < 60 && second < 60).then_some((hour * 60 + minute) * 60 + second)
    }
}

fn clock(out: &mut [u8], time: &Civil) {
    two(&mut out[..2], time.second / 3600);
    two(&mut out[3..5], time.second / 60 % 60);
    two(&mut out[6..8], time.second % 60);
}

fn two(out: &mut [u8], number: u32) {
    out[0] = b'0' + (number / 10 % 10) as u8;
    out[1] = b'0' + (number % 10) as u8;
}

fn four(out: &mut [u8], number: u32) {
    two(&mut out[..2], number / 100);
    two(&mut out[2..4], number % 100);
}

fn sign(offset: i32) -> u8 {
    if offset < 0 { b'-' } else { b'+' }
}

fn hours(offset: i32) -> u32 {
    offset.unsigned_abs() / 60
}

fn minutes(offset: i32) -> u32 {
    offset.unsigned_abs() % 60
}

/// 31 December 9999, 23:59:59.
const LAST_SECOND: i64 = 253_402_300_799;

const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 9110 section 5.6.7.
    const EXAMPLE: i64 = 784_111_777;

    #[test]
    fn the_example_of_the_standard_is_written_in_every_format() {
        assert_eq!(&http(EXAMPLE), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(&local(EXAMPLE, 0), b"06/Nov/1994:08:49:37 +0000");
        assert_eq!(&local(EXAMPLE, -210), b"06/Nov/1994:05:19:37 -0330");
        assert_eq!(&iso8601(EXAMPLE, 345), b"1994-11-06T14:34:37+05:45");
        assert_eq!(&error_log(EXAMPLE, 60), b"1994/11/06 09:49:37");
    }

    #[test]
    fn the_examples_of_the_standard_are_read() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse(text.as_bytes()), Some(EXAMPLE), "{text}");
        }
        assert_eq!(parse(b"Tue Nov 15 12:45:26 1994"), Some(784_903_526));
    }

    #[test]
    fn two_digits_below_70_are_of_this_century() {
        assert_eq!(
            parse(b"Friday, 06-Nov-26 08:49:37 GMT"),
            Some(1_793_954_977)
        );
    }

    #[test]
    fn what_is_no_date_is_not_read() {
        for text in [
            "",
            ",",
            "Sun, 06 Nov 1994",
            "Sun, 06 Nov 1994 08:49",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 31 Nov 1994 08:49:37 GMT",
            "Sun, 29 Feb 2100 08:49:37 GMT",
            "Sun, 06 nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:60:37 GMT",
            "Sun, 06 Nov 1994 08:49:60 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun, 06-Nov 1994 08:49:37 GMT",
            "Sun, +6 Nov 1994 08:49:37 GMT",
            "Sun Nov 6 08:49:37 1994",
            "yesterday",
            "1793954977",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn the_last_day_of_february_is_written_in_leap_years_only() {
        assert_eq!(&http(951_782_400), b"Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(&http(4_107_542_400), b"Mon, 01 Mar 2100 00:00:00 GMT");
        assert_eq!(&http(4_107_542_399), b"Sun, 28 Feb 2100 23:59:59 GMT");
    }

    #[test]
    fn times_out_of_range_are_written_as_the_nearest_one_inside() {
        assert_eq!(http(-1), http(0));
        assert_eq!(http(i64::MIN), http(0));
        assert_eq!(&http(i64::MAX), b"Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(&local(i64::MAX, 60), b"31/Dec/9999:23:59:59 +0100");
    }

    #[test]
    fn the_machines_offset_is_one_that_exists() {
        for unix in [0, EXAMPLE, 1_780_000_000, i64::MAX, i64::MIN] {
            assert!((-12 * 60..=14 * 60).contains(&local_offset(unix)), "{unix}");
        }
    }

    #[test]
    fn the_cache_changes_its_texts_with_the_second() {
        let mut cache = Cache::new(EXAMPLE);
        assert_eq!(cache.http(), b"Sun, 06 Nov 1994 08:49:37 GMT");
        cache.update(EXAMPLE);
        assert_eq!(cache.second(), EXAMPLE);
        cache.update(EXAMPLE + 1);
        assert_eq!(cache.http(), b"Sun, 06 Nov 1994 08:49:38 GMT");
        let offset = local_offset(EXAMPLE + 1);
        assert_eq!(cache.local(), local(EXAMPLE + 1, offset));
        assert_eq!(cache.iso8601(), iso8601(EXAMPLE + 1, offset));
        assert_eq!(cache.error_log(), error_log(EXAMPLE + 1, offset));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(unix in 0..=LAST_SECOND) {
            prop_assert_eq!(parse(&http(unix)), Some(unix));
        }

        #[test]
        fn any_bytes_are_read_or_refused(text in prop::collection::vec(any::<u8>(), 0..48)) {
            if let Some(unix) = parse(&text) {
                prop_assert!((0..=LAST_SECOND).contains(&unix));
            }
        }

        #[test]
        fn a_date_with_one_byte_changed_is_read_or_refused(unix in 0..=LAST_SECOND, at in 0usize..29, byte: u8) {
            let mut text = http(unix);
            text[at] = byte;
            if let Some(unix) = parse(&text) {
                prop_assert!((0..=LAST_SECOND).contains(&unix));
            }
        }
    }
}
