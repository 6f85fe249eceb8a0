//! Ranges (RFC 9110 section 14) as nginx's `ngx_http_range_filter_module` understands them.
//!
//! Owns the reading of `Range` and `If-Range` and what they make of an answer: fields, length and
//! body. Invariant: the bytes sent for a range are those of the whole body at its place; ranges that
//! together ask for more than there is get the whole.

use std::ops::Range;

use smallvec::SmallVec;

use super::body::{Body, FileBody, FilePart};
use super::exchange::Exchange;
use super::h1::write::push_decimal;
use super::head::{Known, Version};
use crate::http::date;

/// The ranges of one request; most ask for one.
pub type Ranges = SmallVec<[Range<u64>; 1]>;

/// What is sent of a body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Selection {
    /// All of it: nothing else was asked for, or it makes no sense, or it is too much.
    Whole,
    /// These ranges, in the order asked for; none is empty or reaches beyond the end.
    Parts(Ranges),
    /// None of the ranges lies inside: 416.
    Unsatisfiable,
}

/// The ranges asked for lie outside of the body: the answer is 416, and its `Content-Range`, which
/// tells the length, already stands in the exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unsatisfiable;

/// Reads a `Range` field for a body of this length. With a limit, a request for more ranges gets the
/// whole.
pub fn select(value: &[u8], length: u64, limit: Option<usize>) -> Selection {
    const UNIT: &[u8] = b"bytes=";
    match value.split_at_checked(UNIT.len()) {
        Some((unit, [_, ..])) if unit.eq_ignore_ascii_case(UNIT) => {}
        _ => return Selection::Whole,
    }
    let mut rest = Reader(&value[UNIT.len()..]);
    let mut ranges = Ranges::new();
    let mut sum = 0u64;
    loop {
        let Some(range) = rest.range(length) else {
            return Selection::Unsatisfiable;
        };
        if range.start < range.end {
            if limit.is_some_and(|limit| ranges.len() >= limit) {
                return Selection::Whole;
            }
            sum = sum.saturating_add(range.end - range.start);
            ranges.push(range);
        } else if range.start == 0 {
            // The first byte of nothing, or the last 0 bytes at the start: the whole, empty as it is.
            return Selection::Whole;
        }
        if rest.byte() != Some(b',') {
            break;
        }
    }
    if ranges.is_empty() {
        Selection::Unsatisfiable
    } else if sum > length {
        // Overlapping ranges would let a small request ask for any amount (RFC 9110 section 14.2).
        Selection::Whole
    } else {
        Selection::Parts(ranges)
    }
}

/// Cuts an answer down to the ranges that its request asks for: status, length, fields and body. To
/// be called when the other fields of the answer are complete; the answer's type, `ETag` and
/// `Last-Modified` are read from them.
pub fn apply(exchange: &mut Exchange, body: Body) -> Result<Body, Unsatisfiable> {
    let limit = exchange.settings.max_ranges;
    let (200, Some(length)) = (exchange.status, exchange.answer_length) else {
        return Ok(body);
    };
    if exchange.version() < Version::Http10 || limit == Some(0) {
        return Ok(body);
    }
    let selection = match exchange.head.fields.known(Known::Range) {
        Some(value) if is_current(exchange) => select(value, length, limit),
        _ => Selection::Whole,
    };
    match selection {
        Selection::Whole => {
            push(exchange, Known::AcceptRanges, b"bytes");
            Ok(body)
        }
        Selection::Unsatisfiable => {
            exchange.status = 416;
            exchange.answer_length = None;
            let mut value = b"bytes */".to_vec();
            push_decimal(&mut value, length);
            push(exchange, Known::ContentRange, &value);
            Err(Unsatisfiable)
        }
        Selection::Parts(ranges) => {
            exchange.status = 206;
            if let [range] = &ranges[..] {
                exchange.answer_length = Some(range.end - range.start);
                let mut value = b"bytes ".to_vec();
                push_content_range(&mut value, range, length);
                push(exchange, Known::ContentRange, &value);
                Ok(cut(body, range))
            } else {
                Ok(several(exchange, body, ranges, length))
            }
        }
    }
}

/// As [`apply`] for a body that streams by (`proxy_force_ranges`): what of it is to be sent. A
/// request for several ranges gets the whole.
pub fn apply_to_stream(exchange: &mut Exchange) -> Result<Option<Range<u64>>, Unsatisfiable> {
    let limit = exchange.settings.max_ranges;
    let (200, Some(length)) = (exchange.status, exchange.answer_length) else {
        return Ok(None);
    };
    let selection = match exchange.head.fields.known(Known::Range) {
        Some(value) if is_current(exchange) && limit != Some(0) => select(value, length, limit),
        _ => Selection::Whole,
    };
    match selection {
        Selection::Unsatisfiable => {
            let mut value = b"bytes */".to_vec();
            push_decimal(&mut value, length);
            push(exchange, Known::ContentRange, &value);
            Err(Unsatisfiable)
        }
        Selection::Parts(ranges) if ranges.len() == 1 => {
            let range = ranges[0].clone();
            exchange.status = 206;
            exchange.answer_length = Some(range.end - range.start);
            let mut value = b"bytes ".to_vec();
            push_content_range(&mut value, &range, length);
            push(exchange, Known::ContentRange, &value);
            exchange.answer.remove(Known::AcceptRanges);
            Ok(Some(range))
        }
        Selection::Whole | Selection::Parts(_) => {
            if !exchange.answer.has(Known::AcceptRanges) {
                push(exchange, Known::AcceptRanges, b"bytes");
            }
            Ok(None)
        }
    }
}

/// Is the client's copy, of which it asks for the rest, still that of today? Yes without `If-Range`.
fn is_current(exchange: &Exchange) -> bool {
    let Some(condition) = exchange.head.fields.known(Known::IfRange) else {
        return true;
    };
    if condition.len() >= 2 && condition.ends_with(b"\"") {
        // Byte for byte as nginx; RFC 9110 section 13.1.5 would have a weak tag equal to none.
        exchange.answer.known(Known::Etag) == Some(condition)
    } else {
        let modified = exchange.answer.known(Known::LastModified);
        match (modified.and_then(date::parse), date::parse(condition)) {
            (Some(modified), Some(condition)) => modified == condition,
            _ => false,
        }
    }
}

/// One range of a body.
fn cut(body: Body, range: &Range<u64>) -> Body {
    match body {
        Body::Empty => Body::Empty,
        Body::Bytes(mut bytes) => {
            let range = in_memory(range, bytes.len());
            bytes.truncate(range.end);
            bytes.drain(..range.start);
            Body::Bytes(bytes)
        }
        Body::File(mut file) => {
            let base = file.parts.first().map_or(0, |part| part.range.start);
            file.parts.truncate(1);
            if let Some(part) = file.parts.first_mut() {
                part.range = base + range.start..base + range.end;
            }
            Body::File(file)
        }
    }
}

/// Several ranges: `multipart/byteranges` (RFC 9110 section 14.6).
fn several(exchange: &mut Exchange, body: Body, ranges: Ranges, length: u64) -> Body {
    let mut boundary = Vec::with_capacity(BOUNDARY_DIGITS);
    push_boundary(&mut boundary);
    let mut before = b"\r\n--".to_vec();
    before.extend_from_slice(&boundary);
    if let Some(media_type) = exchange.answer.known(Known::ContentType) {
        before.extend_from_slice(b"\r\nContent-Type: ");
        before.extend_from_slice(media_type);
    }
    before.extend_from_slice(b"\r\nContent-Range: bytes ");
    let mut end = b"\r\n--".to_vec();
    end.extend_from_slice(&boundary);
    end.extend_from_slice(b"--\r\n");
    let base = match &body {
        Body::File(file) => file.parts.first().map_or(0, |part| part.range.start),
        Body::Empty | Body::Bytes(_) => 0,
    };
    let mut total = end.len() as u64;
    let parts: SmallVec<[FilePart; 1]> = ranges
        .into_iter()
        .map(|range| {
            let mut before = before.clone();
            push_content_range(&mut before, &range, length);
            before.extend_from_slice(b"\r\n\r\n");
            total += before.len() as u64 + (range.end - range.start);
            FilePart {
                before,
                range: base + range.start..base + range.end,
            }
        })
        .collect();
    let mut media_type = b"multipart/byteranges; boundary=".to_vec();
    media_type.extend_from_slice(&boundary);
    exchange.answer.remove(Known::ContentType);
    push(exchange, Known::ContentType, &media_type);
    exchange.answer_length = Some(total);
    match body {
        Body::Empty => Body::Empty,
        Body::Bytes(bytes) => {
            let mut out = Vec::with_capacity(usize::try_from(total).unwrap_or_default());
            for part in parts {
                out.extend_from_slice(&part.before);
                out.extend_from_slice(&bytes[in_memory(&part.range, bytes.len())]);
            }
            out.extend_from_slice(&end);
            super::buffer::give_back(bytes);
            Body::Bytes(out)
        }
        Body::File(FileBody { file, .. }) => Body::File(FileBody { file, parts, end }),
    }
}

/// The range as positions of bytes that are held; inside of them in any case.
fn in_memory(range: &Range<u64>, length: usize) -> Range<usize> {
    let place = |position: u64| usize::try_from(position).unwrap_or(length).min(length);
    place(range.start)..place(range.end)
}

fn push(exchange: &mut Exchange, known: Known, value: &[u8]) {
    exchange
        .answer
        .push_known(Some(known), known.name().as_bytes(), value);
}

fn push_content_range(out: &mut Vec<u8>, range: &Range<u64>, length: u64) {
    push_decimal(out, range.start);
    out.push(b'-');
    push_decimal(out, range.end - 1);
    out.push(b'/');
    push_decimal(out, length);
}

const BOUNDARY_DIGITS: usize = 20;

/// Appends a boundary: 20 digits, as nginx writes them. nginx counts; we begin the count somewhere,
/// so that nobody can put the next boundary into a file.
fn push_boundary(out: &mut Vec<u8>) {
    use std::hash::{BuildHasher as _, RandomState};
    thread_local! {
        static SEED: RandomState = RandomState::new();
        static COUNT: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
    }
    let count = COUNT.get();
    COUNT.set(count.wrapping_add(1));
    let mut number = SEED.with(|seed| seed.hash_one(count));
    let start = out.len();
    out.resize(start + BOUNDARY_DIGITS, b'0');
    for digit in out[start..].iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// What is left of a `Range` field.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    /// The next range, cut at the end of the body; empty if it lies behind it. `None` if it is none.
    fn range(&mut self, length: u64) -> Option<Range<u64>> {
        self.spaces();
        if self.0.first() == Some(&b'-') {
            self.byte();
            let count = self.number()?;
            self.at_end()?;
            return Some(length.saturating_sub(count)..length);
        }
        let start = self.number()?;
        self.spaces();
        if self.byte() != Some(b'-') {
            return None;
        }
        self.spaces();
        if matches!(self.0.first(), None | Some(b',')) {
            return Some(start..length);
        }
        let last = self.number()?;
        self.at_end()?;
        Some(start..last.saturating_add(1).min(length))
    }

    /// At the end of a range?
    fn at_end(&mut self) -> Option<()> {
        self.spaces();
        matches!(self.0.first(), None | Some(b',')).then_some(())
    }

    /// A number that fits in the offset of a file.
    fn number(&mut self) -> Option<u64> {
        let digits = self.0.iter().take_while(|byte| byte.is_ascii_digit());
        let (digits, rest) = self.0.split_at(digits.count());
        self.0 = rest;
        if digits.is_empty() {
            return None;
        }
        let number = digits.iter().try_fold(0u64, |number, digit| {
            number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
        })?;
        i64::try_from(number).is_ok().then_some(number)
    }

    fn spaces(&mut self) {
        while let [b' ', rest @ ..] = self.0 {
            self.0 = rest;
        }
    }

    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::FileExt as _;

    use proptest::prelude::*;

    use super::*;
    use crate::http::fixture;

    const CONTENT: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";

    fn parts(ranges: &[Range<u64>]) -> Selection {
        Selection::Parts(ranges.iter().cloned().collect())
    }

    #[test]
    fn one_range_is_cut_at_the_end() {
        for (value, range) in [
            ("bytes=0-0", 0..1),
            ("bytes=5-", 5..36),
            ("bytes=5-100", 5..36),
            ("bytes=-1", 35..36),
            ("bytes=-100", 0..36),
            ("BYTES= 1 - 2 ", 1..3),
            ("bytes=5-9223372036854775807", 5..36),
        ] {
            let selection = select(value.as_bytes(), 36, None);
            assert_eq!(selection, parts(&[range]), "{value}");
        }
    }

    #[test]
    fn several_ranges_keep_their_order_and_those_outside_are_dropped() {
        assert_eq!(
            select(b"bytes=5-6, 0-1,-3,40-50,7-6", 36, None),
            parts(&[5..7, 0..2, 33..36])
        );
    }

    #[test]
    fn what_is_no_range_of_bytes_gets_the_whole() {
        for value in ["", "bytes=", "bytes", "lines=1-2", "items=0-5"] {
            assert_eq!(select(value.as_bytes(), 36, None), Selection::Whole);
        }
    }

    #[test]
    fn what_cannot_be_satisfied_or_read_is_told() {
        for value in [
            "bytes=36-",
            "bytes=40-50",
            "bytes=-0",
            "bytes=5-4",
            "bytes=x",
            "bytes=1",
            "bytes=1-2x",
            "bytes=1--2",
            "bytes=0-1,",
            "bytes=0-1;2-3",
            "bytes=9223372036854775808-",
            "bytes=-9223372036854775808",
            "bytes=99999999999999999999-",
        ] {
            let selection = select(value.as_bytes(), 36, None);
            assert_eq!(selection, Selection::Unsatisfiable, "{value}");
        }
    }

    #[test]
    fn more_than_the_whole_or_than_the_limit_gets_the_whole() {
        assert_eq!(select(b"bytes=0-35,0-0", 36, None), Selection::Whole);
        assert_eq!(select(b"bytes=0-,0-", 36, None), Selection::Whole);
        assert_eq!(select(b"bytes=0-1,2-3", 36, Some(1)), Selection::Whole);
        let outside_is_free = Selection::Parts(Ranges::from_elem(0..2, 1));
        assert_eq!(select(b"bytes=0-1,40-", 36, Some(1)), outside_is_free);
        assert_eq!(select(b"bytes=0-0", 0, None), Selection::Whole);
        assert_eq!(select(b"bytes=-5", 0, None), Selection::Whole);
    }

    fn answered(fields: &[(&str, &str)], body: Body) -> (Exchange, Result<Body, Unsatisfiable>) {
        let mut exchange = fixture::exchange(fixture::settings(), "/r.txt", fields);
        exchange.status = 200;
        exchange.answer_length = Some(CONTENT.len() as u64);
        exchange.answer.push(b"Content-Type", b"text/plain");
        exchange.answer.push(b"ETag", b"\"e\"");
        exchange
            .answer
            .push(b"Last-Modified", b"Sun, 06 Nov 1994 08:49:37 GMT");
        let body = apply(&mut exchange, body);
        (exchange, body)
    }

    fn in_bytes() -> Body {
        Body::Bytes(CONTENT.to_vec())
    }

    fn in_file() -> Body {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(CONTENT).expect("room for 36 bytes");
        Body::File(FileBody::whole(file, CONTENT.len() as u64))
    }

    fn sent(body: &Body) -> Vec<u8> {
        match body {
            Body::Empty => Vec::new(),
            Body::Bytes(bytes) => bytes.clone(),
            Body::File(file) => {
                let mut out = Vec::new();
                for part in &file.parts {
                    out.extend_from_slice(&part.before);
                    let mut bytes = vec![0; (part.range.end - part.range.start) as usize];
                    (file.file.read_exact_at(&mut bytes, part.range.start))
                        .expect("the range lies in the file");
                    out.extend_from_slice(&bytes);
                }
                out.extend_from_slice(&file.end);
                out
            }
        }
    }

    #[test]
    fn without_a_range_the_whole_is_sent_and_ranges_are_offered() {
        let (exchange, body) = answered(&[], in_bytes());
        assert_eq!(exchange.status, 200);
        assert_eq!(
            exchange.answer.known(Known::AcceptRanges),
            Some(&b"bytes"[..])
        );
        assert_eq!(sent(&body.expect("a body")), CONTENT);
    }

    #[test]
    fn one_range_is_sent_with_its_place() {
        for body in [in_bytes(), in_file()] {
            let (exchange, body) = answered(&[("Range", "bytes=10-12")], body);
            assert_eq!(exchange.status, 206);
            assert_eq!(exchange.answer_length, Some(3));
            assert_eq!(
                exchange.answer.known(Known::ContentRange),
                Some(&b"bytes 10-12/36"[..])
            );
            assert!(!exchange.answer.has(Known::AcceptRanges));
            assert_eq!(sent(&body.expect("a body")), b"abc");
        }
    }

    #[test]
    fn several_ranges_are_sent_in_one_body_between_boundaries() {
        for body in [in_bytes(), in_file()] {
            let (exchange, body) = answered(&[("Range", "bytes=0-1,-2")], body);
            let body = body.expect("a body");
            let media_type = exchange.answer.known(Known::ContentType).expect("a type");
            let media_type = std::str::from_utf8(media_type).expect("ASCII");
            let boundary = media_type
                .strip_prefix("multipart/byteranges; boundary=")
                .expect("a boundary");
            assert_eq!(boundary.len(), 20);
            assert!(boundary.bytes().all(|byte| byte.is_ascii_digit()));
            let expected = format!(
                "\r\n--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/36\r\n\r\n01\
                 \r\n--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 34-35/36\r\n\r\nyz\
                 \r\n--{boundary}--\r\n"
            );
            assert_eq!(String::from_utf8_lossy(&sent(&body)), expected);
            assert_eq!(exchange.answer_length, Some(expected.len() as u64));
            assert_eq!(body.length(), expected.len() as u64);
            assert_eq!(exchange.status, 206);
            assert!(!exchange.answer.has(Known::ContentRange));
        }
    }

    #[test]
    fn a_head_request_is_told_the_length_of_its_range() {
        let (exchange, body) = answered(&[("Range", "bytes=10-12")], Body::Empty);
        assert_eq!((exchange.status, exchange.answer_length), (206, Some(3)));
        assert!(matches!(body, Ok(Body::Empty)));
    }

    #[test]
    fn a_range_outside_is_answered_with_the_length() {
        let (exchange, body) = answered(&[("Range", "bytes=36-")], in_file());
        assert!(body.is_err());
        assert_eq!((exchange.status, exchange.answer_length), (416, None));
        assert_eq!(
            exchange.answer.known(Known::ContentRange),
            Some(&b"bytes */36"[..])
        );
    }

    #[test]
    fn a_copy_of_another_version_gets_the_whole() {
        for (condition, status) in [
            ("\"e\"", 206),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 206),
            ("\"f\"", 200),
            ("W/\"e\"", 200),
            ("Sun, 06 Nov 1994 08:49:38 GMT", 200),
            ("never", 200),
            ("\"", 200),
        ] {
            let fields = [("Range", "bytes=0-0"), ("If-Range", condition)];
            assert_eq!(
                answered(&fields, in_bytes()).0.status,
                status,
                "{condition}"
            );
        }
    }

    #[test]
    fn ranges_are_for_complete_answers_to_clients_that_can_be_told() {
        let apply_to = |change: fn(&mut Exchange)| {
            let mut exchange =
                fixture::exchange(fixture::settings(), "/", &[("Range", "bytes=0-0")]);
            exchange.status = 200;
            exchange.answer_length = Some(36);
            change(&mut exchange);
            let body = apply(&mut exchange, in_bytes()).expect("a body");
            (sent(&body) == CONTENT).then_some(exchange.answer.has(Known::AcceptRanges))
        };
        assert_eq!(apply_to(|_| {}), None);
        assert_eq!(apply_to(|exchange| exchange.status = 404), Some(false));
        assert_eq!(
            apply_to(|exchange| exchange.answer_length = None),
            Some(false)
        );
        assert_eq!(
            apply_to(|exchange| exchange.head.version = Version::Http09),
            Some(false)
        );
        assert_eq!(
            apply_to(|exchange| exchange.head.version = Version::Http10),
            None
        );
        let mut settings = fixture::settings();
        settings.max_ranges = Some(0);
        let mut exchange = fixture::exchange(settings, "/", &[("Range", "bytes=0-0")]);
        exchange.status = 200;
        exchange.answer_length = Some(36);
        assert!(apply(&mut exchange, in_bytes()).is_ok_and(|body| sent(&body) == CONTENT));
        assert!(exchange.answer.is_empty());
    }

    proptest! {
        #[test]
        fn any_field_is_read_and_its_ranges_lie_inside(
            value in "(bytes=)?[0-9, -]{0,24}", length in 0u64..50, limit in prop::option::of(0usize..4),
        ) {
            if let Selection::Parts(ranges) = select(value.as_bytes(), length, limit) {
                prop_assert!(!ranges.is_empty());
                prop_assert!(limit.is_none_or(|limit| ranges.len() <= limit));
                prop_assert!(ranges.iter().all(|range| range.start < range.end && range.end <= length));
                let sum: u64 = ranges.iter().map(|range| range.end - range.start).sum();
                prop_assert!(sum <= length);
            }
        }

        #[test]
        fn the_bytes_of_each_range_are_those_of_the_whole(
            ranges in prop::collection::vec((0usize..36, 0usize..12), 1..4),
        ) {
            let wanted: Vec<&[u8]> = ranges
                .iter()
                .map(|&(start, more)| &CONTENT[start..(start + more + 1).min(CONTENT.len())])
                .collect();
            prop_assume!(wanted.iter().map(|bytes| bytes.len()).sum::<usize>() <= CONTENT.len());
            let value: Vec<String> =
                ranges.iter().map(|(start, more)| format!("{start}-{}", start + more)).collect();
            let value = format!("bytes={}", value.join(","));
            for body in [in_bytes(), in_file()] {
                let (exchange, body) = answered(&[("Range", &value)], body);
                let body = body.expect("a body");
                let bytes = sent(&body);
                prop_assert_eq!(exchange.answer_length, Some(bytes.len() as u64));
                prop_assert_eq!(body.length(), bytes.len() as u64);
                let mut text = &bytes[..];
                for wanted in &wanted {
                    if ranges.len() > 1 {
                        let head = memchr::memmem::find(text, b"\r\n\r\n").expect("fields of a part");
                        text = &text[head + 4..];
                    }
                    prop_assert_eq!(&text[..wanted.len()], *wanted);
                    text = &text[wanted.len()..];
                }
            }
        }
    }
}
