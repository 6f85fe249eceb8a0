//! The chunked transfer coding (RFC 9112 section 7.1).
//!
//! Owns decoding without copying and the writing of chunk heads. The decoder takes every byte up to
//! the next piece of payload or the end of the message, never one behind it, and keeps what it needs
//! of a line cut in two. Sizes, extensions and trailers are bounded; a line end is CR LF.

use std::fmt;
use std::ops::Range;

use super::parse::{FieldLine, Name, field_line};
use super::write;
use crate::http::head::{Fields, Known};

/// What follows the payload of a chunk.
pub const CHUNK_END: &[u8] = b"\r\n";

/// Writes the last chunk and the trailer section, which may be empty.
pub fn write_end(out: &mut Vec<u8>, trailers: &Fields) {
    out.extend_from_slice(b"0\r\n");
    for (_, name, value) in trailers.iter() {
        write::push_field(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the line in front of the payload of a chunk. A length of 0 would end the body.
pub fn write_chunk_head(out: &mut Vec<u8>, length: usize) {
    debug_assert!(length > 0, "an empty chunk ends the body");
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut line = [0; 18];
    let mut start = 16;
    line[16..].copy_from_slice(b"\r\n");
    let mut rest = length;
    loop {
        start -= 1;
        line[start] = DIGITS[rest & 15];
        rest >>= 4;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&line[start..]);
}

/// Decodes one body. Made new for each.
#[derive(Default, Debug)]
pub struct Decoder {
    state: State,
    /// Of the chunk: what its head says so far, then what is still to come of its payload.
    remaining: u64,
    /// Digits of the size read.
    digits: u8,
    /// Bytes of extensions and padding beyond what the payload pays for.
    excess: usize,
    /// Where in `trailers.bytes` the line being read begins.
    line: usize,
    trailers: usize,
}

/// What one step gave.
#[derive(PartialEq, Eq, Debug)]
pub struct Decoded {
    /// How many bytes of the input are done with, the payload included.
    pub consumed: usize,
    /// The payload in the input; empty if there was none.
    pub data: Range<usize>,
}

/// Nobody reads extensions. A client that sends a byte of payload with kilobytes of them in each
/// chunk spends our time (CVE-2023-39326), one that signs each of its large chunks does not: so every
/// chunk allows for `FREE` bytes of extensions and two for each byte of payload, and a body for this
/// many more.
const MOST_EXCESS: usize = 16 << 10;
const FREE: usize = 16;

/// Bytes of trailer lines a body may have, and their number.
const MOST_TRAILERS: usize = 8 << 10;
const MOST_TRAILER_FIELDS: usize = 100;

/// Leading zeros count: a size may have no more digits than the largest number.
const MOST_DIGITS: u8 = 16;

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum State {
    #[default]
    Size,
    /// White space behind the size, which old servers pad it with.
    Padding,
    Extension,
    SizeLineFeed,
    Payload,
    PayloadCarriageReturn,
    PayloadLineFeed,
    Trailer,
    Done,
}

impl Decoder {
    /// Has the whole body, with its trailer section, been seen?
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes bytes up to and including the next piece of payload, or the end of the body. Call it
    /// again with the rest of the input until that is empty or the body is done; then with fresh
    /// input. Trailer fields are added to `trailers`, a copy; fields that no trailer section may
    /// have are left out.
    pub fn decode(&mut self, input: &[u8], trailers: &mut Fields) -> Result<Decoded, ChunkError> {
        let mut at = 0;
        while at < input.len() && self.state != State::Done {
            if self.state == State::Payload {
                let length = usize::try_from(self.remaining)
                    .unwrap_or(usize::MAX)
                    .min(input.len() - at);
                self.remaining -= length as u64;
                if self.remaining == 0 {
                    self.state = State::PayloadCarriageReturn;
                }
                return Ok(Decoded {
                    consumed: at + length,
                    data: at..at + length,
                });
            }
            if self.state == State::Trailer {
                at += self.trailer(&input[at..], trailers)?;
                continue;
            }
            self.head_byte(input[at])?;
            at += 1;
        }
        Ok(Decoded {
            consumed: at,
            data: at..at,
        })
    }

    fn head_byte(&mut self, byte: u8) -> Result<(), ChunkError> {
        match (self.state, byte) {
            (State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = match byte {
                    b'0'..=b'9' => byte - b'0',
                    _ => (byte | 0x20) - b'a' + 10,
                };
                self.digits = self.digits.saturating_add(1);
                self.remaining = (self.remaining << 4) | u64::from(digit);
                if self.digits > MOST_DIGITS || self.remaining > i64::MAX as u64 {
                    return Err(ChunkError::SizeOverflow);
                }
            }
            (State::Size, _) if self.digits == 0 => return Err(ChunkError::BadSize),
            (State::Size | State::Padding | State::Extension, b'\r') => {
                self.state = State::SizeLineFeed;
            }
            (State::Size | State::Padding, b';') => self.extend(State::Extension)?,
            (State::Size | State::Padding, b' ' | b'\t') => self.extend(State::Padding)?,
            (State::Size | State::Padding, _) => return Err(ChunkError::BadSize),
            (State::Extension, b'\t' | 0x20..=0x7e | 0x80..) => self.extend(State::Extension)?,
            (State::Extension, _) => return Err(ChunkError::BadExtension),
            (State::SizeLineFeed, b'\n') => {
                self.digits = 0;
                let size = usize::try_from(self.remaining).unwrap_or(usize::MAX);
                let paid = size.saturating_mul(2).saturating_add(FREE);
                self.excess = self.excess.saturating_sub(paid);
                self.state = match self.remaining {
                    0 => State::Trailer,
                    _ => State::Payload,
                };
            }
            (State::PayloadCarriageReturn, b'\r') => self.state = State::PayloadLineFeed,
            (State::PayloadLineFeed, b'\n') => self.state = State::Size,
            _ => return Err(ChunkError::BadLineEnd),
        }
        Ok(())
    }

    fn extend(&mut self, state: State) -> Result<(), ChunkError> {
        self.state = state;
        self.excess += 1;
        match self.excess > MOST_EXCESS {
            true => Err(ChunkError::ExtensionsTooLong),
            false => Ok(()),
        }
    }

    /// Takes bytes of the trailer section up to the end of a line; a line is read when it is whole.
    fn trailer(&mut self, input: &[u8], trailers: &mut Fields) -> Result<usize, ChunkError> {
        if self.trailers == 0 {
            self.line = trailers.bytes.len();
        }
        let found = memchr::memchr(b'\n', input);
        let length = found.map_or(input.len(), |position| position + 1);
        self.trailers = self.trailers.saturating_add(length);
        if self.trailers > MOST_TRAILERS {
            return Err(ChunkError::TrailersTooLarge);
        }
        trailers.bytes.extend_from_slice(&input[..length]);
        if found.is_none() {
            return Ok(length);
        }
        match field_line(&trailers.bytes, self.line, false) {
            Ok(FieldLine::Field(field)) => {
                if trailers.len() == MOST_TRAILER_FIELDS {
                    return Err(ChunkError::TrailersTooLarge);
                }
                let name = self.line..self.line + field.name_length;
                let known = match field.name {
                    Name::Known(known) => Some(known),
                    Name::Unknown { .. } => None,
                };
                if known.is_none_or(may_trail) {
                    trailers.add(known, name, field.value);
                }
                self.line = field.next;
            }
            Ok(FieldLine::End { .. }) => self.state = State::Done,
            Ok(FieldLine::Incomplete) | Err(_) => return Err(ChunkError::BadTrailer),
        }
        Ok(length)
    }
}

/// RFC 9110 section 6.5.1: fields that frame, route, authorise or say how to process the content
/// are not to be sent as trailers, since some recipients merge trailers into the head.
pub fn may_trail(known: Known) -> bool {
    !matches!(
        known,
        Known::TransferEncoding
            | Known::ContentLength
            | Known::Host
            | Known::Connection
            | Known::KeepAlive
            | Known::ProxyConnection
            | Known::Te
            | Known::Trailer
            | Known::Upgrade
            | Known::Http2Settings
            | Known::Expect
            | Known::Authorization
            | Known::ProxyAuthorization
            | Known::ProxyAuthenticate
            | Known::WwwAuthenticate
            | Known::Cookie
            | Known::SetCookie
            | Known::Forwarded
            | Known::XForwardedFor
            | Known::XForwardedHost
            | Known::XForwardedProto
            | Known::XRealIp
            | Known::CacheControl
            | Known::Vary
            | Known::Location
            | Known::Range
            | Known::ContentEncoding
            | Known::ContentRange
            | Known::ContentType
            | Known::XAccelBuffering
            | Known::XAccelCharset
            | Known::XAccelExpires
            | Known::XAccelLimitRate
            | Known::XAccelRedirect
    )
}

/// Why a chunked body is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChunkError {
    /// No hexadecimal digits where a size must stand, or something else behind them.
    BadSize,
    /// More than 63 bits or 16 digits.
    SizeOverflow,
    /// Something other than CR LF where a line or the payload ends.
    BadLineEnd,
    /// A control byte in an extension.
    BadExtension,
    /// Too many bytes of extensions for the payload.
    ExtensionsTooLong,
    /// A trailer line that is no field.
    BadTrailer,
    /// Too many trailer fields or bytes.
    TrailersTooLarge,
}

impl fmt::Display for ChunkError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::BadSize => "invalid chunk size",
            Self::SizeOverflow => "chunk size too large",
            Self::BadLineEnd => "invalid line end in chunked body",
            Self::BadExtension => "invalid chunk extension",
            Self::ExtensionsTooLong => "too long chunk extensions",
            Self::BadTrailer => "invalid trailer",
            Self::TrailersTooLarge => "too large trailers",
        })
    }
}

impl std::error::Error for ChunkError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Payload, trailers and the bytes behind the body, from input that comes in these pieces; `None`
    /// while the body is not done.
    type Body = (Vec<u8>, Vec<(String, String)>, Option<Vec<u8>>);

    fn decoded(pieces: &[&[u8]]) -> Result<Body, ChunkError> {
        let mut decoder = Decoder::default();
        let mut trailers = Fields::default();
        let mut payload = Vec::new();
        let mut behind = None;
        for piece in pieces {
            let mut input = *piece;
            while !input.is_empty() {
                if decoder.is_done() {
                    behind.get_or_insert_with(Vec::new).extend_from_slice(input);
                    let Decoded { consumed, data } = decoder.decode(input, &mut trailers)?;
                    assert_eq!(
                        (consumed, data.len()),
                        (0, 0),
                        "nothing behind the end is taken"
                    );
                    break;
                }
                let Decoded { consumed, data } = decoder.decode(input, &mut trailers)?;
                assert!(consumed > 0, "every step gets on");
                assert!(data.end <= consumed);
                payload.extend_from_slice(&input[data]);
                input = &input[consumed..];
            }
        }
        if decoder.is_done() {
            behind.get_or_insert_default();
        }
        let trailers = trailers
            .iter()
            .map(|(_, name, value)| {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                (text(name), text(value))
            })
            .collect();
        Ok((payload, trailers, behind))
    }

    fn payload(input: &str) -> String {
        let (payload, _, behind) = decoded(&[input.as_bytes()]).expect("a valid body");
        assert_eq!(behind, Some(Vec::new()), "the body is done: {input:?}");
        String::from_utf8(payload).expect("text")
    }

    fn refused(input: &str) -> ChunkError {
        decoded(&[input.as_bytes()]).expect_err("the body is refused")
    }

    fn encoded(pieces: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
            write_chunk_head(&mut out, piece.len());
            out.extend_from_slice(piece);
            out.extend_from_slice(CHUNK_END);
        }
        write_end(&mut out, &Fields::default());
        out
    }

    #[test]
    fn chunks_are_joined() {
        assert_eq!(
            payload("5\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\n\r\n"),
            "hello world"
        );
        assert_eq!(payload("0\r\n\r\n"), "");
        assert_eq!(payload("A\r\n0123456789\r\n000\r\n\r\n"), "0123456789");
        assert_eq!(payload("00000003\r\nabc\r\n0\r\n\r\n"), "abc");
    }

    #[test]
    fn extensions_and_padding_are_skipped() {
        assert_eq!(
            payload("3;a=b;c=\"d;e\"\r\nabc\r\n2 ; x\r\nde\r\n1  \r\nf\r\n0;last\r\n\r\n"),
            "abcdef"
        );
    }

    #[test]
    fn bytes_behind_the_body_are_not_taken() {
        let (_, _, behind) = decoded(&[b"1\r\na\r\n0\r\n\r\nGET / HTTP/1.1\r\n"]).expect("valid");
        assert_eq!(behind.as_deref(), Some(&b"GET / HTTP/1.1\r\n"[..]));
    }

    #[test]
    fn a_body_cut_off_is_not_done() {
        let whole = b"1;a\r\na\r\n0\r\nA: b\r\n\r\n";
        for length in 0..whole.len() {
            let (_, _, behind) = decoded(&[&whole[..length]]).expect("valid so far");
            assert_eq!(behind, None, "{length}");
        }
    }

    #[test]
    fn trailers_are_collected_without_those_that_may_not_be_there() {
        let (_, trailers, _) = decoded(&[
            b"0\r\nX-Sum:  1 \r\nContent-Length: 5\r\nTransfer-Enc",
            b"oding: chunked\r\nHost: x\r\nExpires:\r",
            b"\n\r\n",
        ])
        .expect("valid");
        let expected = [("X-Sum", "1"), ("Expires", "")];
        assert_eq!(
            trailers,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn smuggling_a_size_that_some_read_otherwise() {
        for size in [
            "", "+5", "-5", "0x5", " 5", "\t5", ";5", "5g", "5_", "5,", "g", "\r", "\u{ff}",
        ] {
            assert_eq!(
                refused(&format!("{size}\r\nhello\r\n")),
                ChunkError::BadSize,
                "{size}"
            );
        }
        assert_eq!(refused("5 5\r\nhello\r\n"), ChunkError::BadSize);
        assert_eq!(refused("5\0\r\nhello\r\n"), ChunkError::BadSize);
    }

    #[test]
    fn smuggling_a_size_that_overflows() {
        for size in [
            "8000000000000000",
            "ffffffffffffffff",
            "10000000000000005",
            "100000000000000005",
            "00000000000000005",
        ] {
            assert_eq!(
                refused(&format!("{size}\r\n")),
                ChunkError::SizeOverflow,
                "{size}"
            );
        }
        let largest = decoded(&[b"7fffffffffffffff\r\nx"]).expect("the largest size");
        assert_eq!(largest.0, b"x");
    }

    #[test]
    fn smuggling_a_bare_line_feed_or_carriage_return() {
        assert_eq!(refused("5\nhello\r\n"), ChunkError::BadSize);
        assert_eq!(refused("5\rhello\r\n"), ChunkError::BadLineEnd);
        assert_eq!(refused("5\r\r\nhello\r\n"), ChunkError::BadLineEnd);
        assert_eq!(refused("5 \nhello\r\n"), ChunkError::BadSize);
        assert_eq!(refused("5\r\nhello\n"), ChunkError::BadLineEnd);
        assert_eq!(refused("5\r\nhello\rx"), ChunkError::BadLineEnd);
        assert_eq!(refused("0\n\r\n"), ChunkError::BadSize);
        assert_eq!(refused("0\r\n\n"), ChunkError::BadTrailer);
        assert_eq!(refused("0\r\nA: b\n\r\n"), ChunkError::BadTrailer);
    }

    #[test]
    fn smuggling_a_line_feed_in_an_extension() {
        assert_eq!(refused("5;a\nhello\r\n"), ChunkError::BadExtension);
        assert_eq!(refused("5;\n\r\nhello\r\n"), ChunkError::BadExtension);
        assert_eq!(refused("5;a\rb\r\nhello\r\n"), ChunkError::BadLineEnd);
        assert_eq!(refused("5;a=\"\n\"\r\nhello\r\n"), ChunkError::BadExtension);
        assert_eq!(refused("5;\0\r\n"), ChunkError::BadExtension);
        assert_eq!(refused("5;\u{7f}\r\n"), ChunkError::BadExtension);
    }

    #[test]
    fn smuggling_payload_longer_or_shorter_than_its_chunk() {
        assert_eq!(refused("4\r\nhello\r\n"), ChunkError::BadLineEnd);
        assert_eq!(refused("6\r\nhello\r\n0\r\n\r\n"), ChunkError::BadLineEnd);
        assert_eq!(refused("5\r\nhello0\r\n\r\n"), ChunkError::BadLineEnd);
    }

    #[test]
    fn smuggling_a_trailer_that_is_no_field() {
        for line in [
            "GET / HTTP/1.1",
            " A: b",
            "A : b",
            ": b",
            "A: b\r\n c",
            "A: \0",
            "A\0: b",
        ] {
            assert_eq!(
                refused(&format!("0\r\n{line}\r\n\r\n")),
                ChunkError::BadTrailer,
                "{line}"
            );
        }
    }

    #[test]
    fn extensions_are_bounded_by_what_the_payload_pays_for() {
        let chunk = |extension: usize, payload: usize| {
            let extension = "x".repeat(extension - 1);
            format!("{payload:x};{extension}\r\n{}\r\n", "a".repeat(payload))
        };
        let tiny = chunk(FREE + 2 + 100, 1);
        assert_eq!(
            refused(&tiny.repeat(MOST_EXCESS / 100 + 1)),
            ChunkError::ExtensionsTooLong
        );
        let signed = chunk(100, 50).repeat(1000) + "0\r\n\r\n";
        assert_eq!(payload(&signed).len(), 50_000);
        let padded = "1   \r\na\r\n".repeat(MOST_EXCESS) + "0\r\n\r\n";
        assert_eq!(payload(&padded).len(), MOST_EXCESS);
        let one = format!("1{}", " ".repeat(MOST_EXCESS + 1));
        assert_eq!(refused(&one), ChunkError::ExtensionsTooLong);
    }

    #[test]
    fn trailers_are_bounded_in_bytes_and_number() {
        let long = format!("0\r\nA: {}", "b".repeat(MOST_TRAILERS));
        assert_eq!(refused(&long), ChunkError::TrailersTooLarge);
        let fits = "A: b\r\n".repeat(MOST_TRAILER_FIELDS);
        assert!(decoded(&[format!("0\r\n{fits}\r\n").as_bytes()]).is_ok());
        assert_eq!(
            refused(&format!("0\r\n{fits}A: b\r\n")),
            ChunkError::TrailersTooLarge
        );
    }

    #[test]
    fn chunk_heads_are_hexadecimal_without_zeros_in_front() {
        for length in [1, 15, 16, 255, 256, 65_536, usize::MAX] {
            let mut out = Vec::new();
            write_chunk_head(&mut out, length);
            assert_eq!(out, format!("{length:x}\r\n").into_bytes());
        }
    }

    /// Cut into pieces at these places.
    fn cut(bytes: &[u8], cuts: &[prop::sample::Index]) -> Vec<Vec<u8>> {
        let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        ends.push(bytes.len());
        ends.sort_unstable();
        let mut start = 0;
        ends.iter()
            .map(|&end| bytes[std::mem::replace(&mut start, end)..end].to_vec())
            .collect()
    }

    fn any_cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
        prop::collection::vec(any::<prop::sample::Index>(), 0..20)
    }

    /// A chunked body with a few bytes changed, and bytes behind it.
    fn any_body() -> impl Strategy<Value = Vec<u8>> {
        let size = "[0-9a-fA-F]{1,3}( {0,2}|;[ -~]{0,8})";
        let chunk = (size, prop::collection::vec(any::<u8>(), 0..40));
        let trailers = prop::collection::vec("[A-Za-z-]{1,9}: ?[ -~]{0,9}", 0..4);
        let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
        (prop::collection::vec(chunk, 0..4), trailers, changes).prop_map(
            |(chunks, trailers, changes)| {
                let mut bytes = Vec::new();
                for (size, payload) in chunks {
                    let length = size.find([' ', ';']).unwrap_or(size.len());
                    // Mostly of the right length.
                    match payload.is_empty() {
                        true => bytes.extend_from_slice(size.as_bytes()),
                        false => {
                            bytes.extend_from_slice(format!("{:x}", payload.len()).as_bytes());
                            bytes.extend_from_slice(&size.as_bytes()[length..]);
                        }
                    }
                    bytes.extend_from_slice(b"\r\n");
                    bytes.extend_from_slice(&payload);
                    bytes.extend_from_slice(b"\r\n");
                }
                bytes.extend_from_slice(b"0\r\n");
                for trailer in trailers {
                    bytes.extend_from_slice(trailer.as_bytes());
                    bytes.extend_from_slice(b"\r\n");
                }
                bytes.extend_from_slice(b"\r\nGET / HTTP/1.1\r\n");
                for (at, byte) in changes {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
                bytes
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_under_any_cuts(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8),
            cuts in any_cuts(),
            behind in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let mut bytes = encoded(&pieces);
            bytes.extend_from_slice(&behind);
            let cut = cut(&bytes, &cuts);
            let cut: Vec<&[u8]> = cut.iter().map(Vec::as_slice).collect();
            let (payload, trailers, rest) = decoded(&cut).expect("valid");
            prop_assert_eq!(payload, pieces.concat());
            prop_assert!(trailers.is_empty());
            prop_assert_eq!(rest, Some(behind));
        }

        #[test]
        fn a_body_in_pieces_is_the_body_in_one_go(bytes in any_body(), cuts in any_cuts()) {
            let pieces = cut(&bytes, &cuts);
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(decoded(&pieces), decoded(&[&bytes]));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok((payload, _, behind)) = decoded(&[&bytes]) {
                prop_assert!(payload.len() + behind.map_or(0, |behind| behind.len()) <= bytes.len());
            }
        }
    }
}
