//! The chunked transfer coding (RFC 9112 section 7.1).
//!
//! Owns decoding without copying and the writing of chunk heads. The decoder takes every byte up to
//! the next piece of payload or the end of the message, never one behind it, and keeps what it needs
//! of a line cut in two. Sizes, extensions and trailers are bounded; a line end is CR LF.

use std::fmt;
use std::ops::Range;

use super::parse::{FieldLine, field_line};
use crate::http::head::{Fields, Known};

/// The last chunk with an empty trailer section.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// What follows the payload of a chunk.
pub const CHUNK_END: &[u8] = b"\r\n";

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
    /// Bytes of extensions and padding in all chunk heads.
    extensions: usize,
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

/// Bytes of chunk extensions and padding a body may have. Nobody reads them; a client that sends
/// one byte of payload with kilobytes of extensions in each chunk spends our time (CVE-2023-39326).
const MOST_EXTENSIONS: usize = 16 << 10;

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
        self.extensions += 1;
        match self.extensions > MOST_EXTENSIONS {
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
                if field.known.is_none_or(may_trail) {
                    trailers.add(field.known, name, field.value);
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
fn may_trail(known: Known) -> bool {
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
    /// Too many bytes of extensions in the body.
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
