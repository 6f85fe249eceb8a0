//! `slice`: an answer that is asked for in parts of equal size, each stored by itself, and sent as the
//! whole that they make.
//!
//! Owns which part a request asks for (`$slice_range`), whether what came is that part, and what of it
//! and of those behind it the client gets. Parts begin at multiples of the size, so that everybody asks
//! for the same ones.
//!
//! Invariant: what is sent of a part lies where it does in the whole; a part of another whole, told by
//! its length or its `ETag`, never follows.

use std::cell::Cell;
use std::fmt::{self, Display, Formatter};
use std::num::NonZeroU64;
use std::ops::Range;

use super::exchange::Exchange;
use super::head::{Known, Method};

/// What a request has to do with slices.
#[derive(Debug, Default)]
pub struct Slicing {
    /// Where the part begins that is asked for; `None` as long as nobody wants to know.
    start: Cell<Option<u64>>,
    /// The whole, once its first part came.
    whole: Option<Whole>,
    /// The request asks for a further part of an answer that began.
    pub is_further: bool,
    /// What is still to be sent of the whole, by further parts.
    pub rest: Option<Range<u64>>,
}

/// What all parts have to agree on.
#[derive(Debug, Clone)]
struct Whole {
    length: u64,
    etag: Option<Box<[u8]>>,
    /// What of it the client gets.
    window: Range<u64>,
}

/// A part that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its place in the whole.
    pub range: Range<u64>,
    /// How long the whole is.
    pub length: u64,
}

/// Why what came is not the part that was asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Problem {
    /// Not 206.
    Status(u16),
    /// The `ETag` is another one than that of the first part.
    Etag,
    /// The whole has another length than before.
    Length,
    /// There is no `Content-Range`, or it cannot be read.
    Unreadable,
    /// `Content-Range` does not tell how long the whole is.
    NoLength,
    /// It is another range.
    Range {
        /// The one that came.
        found: Range<u64>,
        /// The one that was to come.
        expected: Range<u64>,
    },
    /// The body is not as long as the range.
    Body,
}

impl Display for Problem {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => {
                write!(out, "unexpected status code {status} in slice response")
            }
            Self::Etag => out.write_str("etag mismatch in slice response"),
            Self::Length => out.write_str("length mismatch in slice response"),
            Self::Unreadable => out.write_str("invalid range in slice response"),
            Self::NoLength => out.write_str("no complete length in slice response"),
            Self::Range { found, expected } => write!(
                out,
                "unexpected range in slice response: {}-{}, expected: {}-{}",
                found.start, found.end, expected.start, expected.end
            ),
            Self::Body => out.write_str("a body of another length in slice response"),
        }
    }
}

impl Slicing {
    /// Makes ready for the next request.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// The answer that began is taken back: nothing of it was sent.
    pub fn take_back(&mut self) {
        self.whole = None;
        self.rest = None;
    }

    /// Is the answer made of parts?
    pub fn is_active(&self) -> bool {
        self.start.get().is_some()
    }

    /// For a request of our own that asks for the same part.
    pub fn again(&self) -> Self {
        Self {
            start: self.start.clone(),
            ..Self::default()
        }
    }

    /// For a request of our own that asks for the part that begins there.
    pub fn further(&self, start: u64) -> Self {
        Self {
            start: Cell::new(Some(start)),
            whole: self.whole.clone(),
            is_further: true,
            rest: None,
        }
    }
}

/// `$slice_range`: the part to ask for; `None` where there are none. The first to ask decides that
/// there are.
pub fn range(exchange: &Exchange) -> Option<Range<u64>> {
    let size = exchange.settings.slice?;
    let start = match exchange.slicing.start.get() {
        Some(start) => start,
        // Parts of what a request changes are no parts of one answer.
        None if exchange.is_subrequest
            || exchange.status != 0
            || !matches!(exchange.method, Method::Get | Method::Head) =>
        {
            return None;
        }
        None => {
            let start = asked_start(exchange) / size * size.get();
            let start = match start.checked_add(size.get()) {
                Some(end) if i64::try_from(end).is_ok() => start,
                _ => 0,
            };
            exchange.slicing.start.set(Some(start));
            start
        }
    };
    Some(start..start.saturating_add(size.get()))
}

/// Where the range begins that the client wants; 0 if that cannot be known before there is an answer.
fn asked_start(exchange: &Exchange) -> u64 {
    let fields = &exchange.head.fields;
    if fields.has(Known::IfRange) {
        return 0;
    }
    let Some((unit, ranges)) = fields
        .known(Known::Range)
        .and_then(|value| value.split_at_checked(6))
    else {
        return 0;
    };
    if !unit.eq_ignore_ascii_case(b"bytes=") || ranges.contains(&b',') {
        return 0;
    }
    Reader(ranges).number().unwrap_or(0)
}

/// The head of an answer came, whose body has this length: makes of it the head of the whole, if it is
/// the part that was asked for. `None` if the answer is none of parts: it is passed on as it is.
pub fn begin(exchange: &mut Exchange, length: Option<u64>) -> Result<Option<Part>, Problem> {
    let (Some(size), Some(start)) = (exchange.settings.slice, exchange.slicing.start.get()) else {
        return Ok(None);
    };
    let head = &exchange.upstream_head;
    if head.status != 206 {
        if exchange.slicing.is_further {
            return Err(Problem::Status(head.status));
        }
        exchange.slicing.reset();
        return Ok(None);
    }
    let etag = head.fields.known(Known::Etag);
    let part = (head.fields.known(Known::ContentRange))
        .and_then(parse)
        .ok_or(Problem::Unreadable)?;
    let (range, Some(whole)) = part else {
        return Err(Problem::NoLength);
    };
    if let Some(known) = &exchange.slicing.whole {
        if known.etag.is_some() && known.etag.as_deref() != etag {
            return Err(Problem::Etag);
        }
        if known.length != whole {
            return Err(Problem::Length);
        }
    }
    let expected = start..start.saturating_add(size.get()).min(whole);
    if range != expected || range.is_empty() {
        return Err(Problem::Range {
            found: range,
            expected,
        });
    }
    if length.is_some_and(|length| length != range.end - range.start) {
        return Err(Problem::Body);
    }
    if exchange.slicing.whole.is_none() {
        exchange.slicing.whole = Some(Whole {
            length: whole,
            etag: etag.map(Box::from),
            window: 0..whole,
        });
    }
    exchange.status = 200;
    exchange.answer_length = Some(whole);
    exchange.answer.remove(Known::ContentRange);
    exchange.answer.remove(Known::AcceptRanges);
    Ok(Some(Part {
        range,
        length: whole,
    }))
}

/// What of a part's body is sent, counted from its beginning. `window` is what of the whole the client
/// gets, if not all of it; further parts know that from the first one.
pub fn share(exchange: &mut Exchange, part: &Part, window: Option<Range<u64>>) -> Range<u64> {
    let size = exchange.settings.slice.map_or(1, NonZeroU64::get);
    let slicing = &mut exchange.slicing;
    if let (Some(window), Some(whole)) = (window, &mut slicing.whole) {
        whole.window = window;
    }
    let window = (slicing.whole.as_ref()).map_or(0..part.length, |whole| whole.window.clone());
    // Which part the client wants first was guessed before there was an answer.
    let next = match part.range.contains(&window.start) || slicing.is_further {
        true => part.range.end,
        false => window.start / size * size,
    };
    slicing.rest = (next < window.end).then_some(next..window.end);
    if next != part.range.end {
        return 0..0;
    }
    let inside = |place: u64| place.clamp(part.range.start, part.range.end) - part.range.start;
    inside(window.start)..inside(window.end)
}

/// A `Content-Range`: the range, and the length of the whole unless that is not told.
fn parse(value: &[u8]) -> Option<(Range<u64>, Option<u64>)> {
    let mut reader = Reader(value.strip_prefix(b"bytes ")?);
    let start = reader.number()?;
    reader.expect(b'-')?;
    let end = reader.number()?.checked_add(1)?;
    reader.expect(b'/')?;
    let length = match reader.expect(b'*') {
        Some(()) => None,
        None => Some(reader.number()?),
    };
    reader.spaces();
    (reader.0.is_empty() && start < end).then_some((start..end, length))
}

/// What is left of a field.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn spaces(&mut self) {
        self.0 = self.0.trim_ascii_start();
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.spaces();
        self.0 = self.0.strip_prefix(&[byte])?;
        Some(())
    }

    /// A number that fits in the offset of a file.
    fn number(&mut self) -> Option<u64> {
        self.spaces();
        let digits = self.0.iter().take_while(|byte| byte.is_ascii_digit());
        let (digits, rest) = self.0.split_at(digits.count());
        if digits.is_empty() {
            return None;
        }
        let number = digits.iter().try_fold(0u64, |number, digit| {
            number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
        })?;
        self.0 = rest;
        i64::try_from(number).is_ok().then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::fixture;

    fn asking(size: u64, fields: &[(&str, &str)]) -> Exchange {
        let mut settings = fixture::settings();
        settings.slice = NonZeroU64::new(size);
        fixture::exchange(settings, "/a", fields)
    }

    fn came(
        exchange: &mut Exchange,
        status: u16,
        range: &str,
        etag: &str,
    ) -> Result<Option<Part>, Problem> {
        exchange.upstream_head.reset();
        exchange.upstream_head.status = status;
        let fields = &mut exchange.upstream_head.fields;
        fields.push(b"Content-Range", range.as_bytes());
        fields.push(b"ETag", etag.as_bytes());
        begin(exchange, None)
    }

    #[test]
    fn the_part_is_the_one_in_which_the_wanted_range_begins() {
        for (fields, expected) in [
            (&[][..], 0..10),
            (&[("Range", "bytes=0-5")], 0..10),
            (&[("Range", "bytes=25-")], 20..30),
            (&[("Range", "BYTES= 30-31")], 30..40),
            (&[("Range", "bytes=-5")], 0..10),
            (&[("Range", "bytes=25-26,40-41")], 0..10),
            (&[("Range", "lines=25-26")], 0..10),
            (&[("Range", "bytes=9223372036854775807-")], 0..10),
            (&[("Range", "bytes=99999999999999999999-")], 0..10),
            (&[("Range", "bytes=25-"), ("If-Range", "\"e\"")], 0..10),
        ] {
            let exchange = asking(10, fields);
            assert_eq!(range(&exchange), Some(expected), "{fields:?}");
        }
    }

    #[test]
    fn there_are_no_parts_without_a_size_nor_of_what_is_changed() {
        assert_eq!(range(&asking(0, &[])), None);
        let mut posts = asking(10, &[]);
        posts.method = Method::Post;
        assert_eq!(range(&posts), None);
        let mut answered = asking(10, &[]);
        answered.status = 200;
        assert_eq!(range(&answered), None);
    }

    #[test]
    fn a_part_that_was_not_asked_for_is_told_from_the_one_that_was() {
        let outcome = |status, range_text: &str| {
            let mut exchange = asking(10, &[]);
            range(&exchange);
            came(&mut exchange, status, range_text, "\"e\"")
        };
        assert_eq!(outcome(200, "bytes 0-9/25"), Ok(None));
        let part = Part {
            range: 0..10,
            length: 25,
        };
        assert_eq!(outcome(206, "bytes 0-9/25"), Ok(Some(part)));
        let part = Part {
            range: 0..5,
            length: 5,
        };
        assert_eq!(outcome(206, "bytes  0 - 4 / 5 "), Ok(Some(part)));
        assert_eq!(outcome(206, "bytes 0-9/*"), Err(Problem::NoLength));
        for bad in [
            "",
            "bytes",
            "bytes 0-9",
            "bytes 9-0/25",
            "bytes 0-9/25x",
            "lines 0-9/25",
            "bytes 0-9/99999999999999999999",
            "bytes -9/25",
        ] {
            assert_eq!(outcome(206, bad), Err(Problem::Unreadable), "{bad}");
        }
        for other in [
            "bytes 0-8/25",
            "bytes 0-10/25",
            "bytes 10-19/25",
            "bytes 0-9/5",
        ] {
            assert!(
                matches!(outcome(206, other), Err(Problem::Range { .. })),
                "{other}"
            );
        }
    }

    #[test]
    fn a_part_of_another_whole_never_follows() {
        let mut first = asking(10, &[]);
        range(&first);
        let part = came(&mut first, 206, "bytes 0-9/25", "\"e\"")
            .expect("it fits")
            .expect("a part");
        assert_eq!(share(&mut first, &part, None), 0..10);
        assert_eq!(first.slicing.rest, Some(10..25));
        let next = |status, range, etag| {
            let mut further = asking(10, &[]);
            further.slicing = first.slicing.further(10);
            came(&mut further, status, range, etag)
        };
        assert!(next(206, "bytes 10-19/25", "\"e\"").is_ok());
        assert_eq!(next(206, "bytes 10-19/25", "\"f\""), Err(Problem::Etag));
        assert_eq!(next(206, "bytes 10-19/26", "\"e\""), Err(Problem::Length));
        assert_eq!(
            next(200, "bytes 10-19/25", "\"e\""),
            Err(Problem::Status(200))
        );
    }

    proptest! {
        #[test]
        fn the_shares_of_all_parts_are_what_the_client_wants(
            length in 1u64..60, size in 1u64..20, guess in 0u64..80, first in 0u64..60, count in 1u64..60,
        ) {
            let window = first.min(length - 1)..(first.min(length - 1) + count).min(length);
            let mut exchange = asking(size, &[]);
            let mut start = guess.min(length - 1) / size * size;
            let mut sent = Vec::new();
            let mut given = Some(window.clone());
            for _ in 0..=length + 1 {
                let part = Part { range: start..(start + size).min(length), length };
                let etag = None;
                exchange.slicing.whole.get_or_insert(Whole { length, etag, window: 0..length });
                let share = share(&mut exchange, &part, given.take());
                sent.extend(share.map(|place| part.range.start + place));
                let Some(rest) = exchange.slicing.rest.clone() else { break };
                start = rest.start;
                exchange.slicing = exchange.slicing.further(start);
            }
            prop_assert_eq!(sent, window.collect::<Vec<_>>());
        }

        #[test]
        fn any_content_range_is_read_or_refused(value in "bytes [0-9 */-]{0,24}") {
            if let Some((range, _)) = parse(value.as_bytes()) {
                prop_assert!(range.start < range.end);
            }
        }
    }
}
