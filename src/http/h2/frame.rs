//! Frames as they travel (RFC 9113 sections 4 and 6), and the codes of errors (section 7).

use std::fmt;

/// Length, kind, flags and stream.
pub const HEAD: usize = 9;
/// The longest payload that every end takes (SETTINGS_MAX_FRAME_SIZE, RFC 9113 section 6.5.2), and the
/// longest that we take.
pub const MOST_PAYLOAD: usize = 16 << 10;
/// What a client says first.
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The largest window (RFC 9113 section 6.9.1), and the largest number of a stream.
pub const MOST_WINDOW: u32 = (1 << 31) - 1;
/// The window of a connection, and of a stream unless SETTINGS say otherwise (RFC 9113 section 6.9.2).
pub const USUAL_WINDOW: u32 = (1 << 16) - 1;

/// What kind of frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kind(pub u8);

#[expect(missing_docs, reason = "each kind is named after its frame")]
impl Kind {
    pub const DATA: Self = Self(0);
    pub const HEADERS: Self = Self(1);
    pub const PRIORITY: Self = Self(2);
    pub const RST_STREAM: Self = Self(3);
    pub const SETTINGS: Self = Self(4);
    pub const PUSH_PROMISE: Self = Self(5);
    pub const PING: Self = Self(6);
    pub const GOAWAY: Self = Self(7);
    pub const WINDOW_UPDATE: Self = Self(8);
    pub const CONTINUATION: Self = Self(9);
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 10] = [
            "DATA",
            "HEADERS",
            "PRIORITY",
            "RST_STREAM",
            "SETTINGS",
            "PUSH_PROMISE",
            "PING",
            "GOAWAY",
            "WINDOW_UPDATE",
            "CONTINUATION",
        ];
        match NAMES.get(usize::from(self.0)) {
            Some(name) => out.write_str(name),
            None => write!(out, "0x{:02x}", self.0),
        }
    }
}

/// A flag of SETTINGS and PING.
pub const ACK: u8 = 0x1;
/// A flag of DATA and HEADERS: nothing of the stream follows.
pub const END_STREAM: u8 = 0x1;
/// A flag of HEADERS and CONTINUATION: nothing of the block follows.
pub const END_HEADERS: u8 = 0x4;
/// A flag of DATA and HEADERS: padding follows.
pub const PADDED: u8 = 0x8;
/// A flag of HEADERS: a priority stands in front of the block.
pub const WITH_PRIORITY: u8 = 0x20;

/// Why a stream or a connection ends (RFC 9113 section 7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "each code is named as in the RFC")]
#[repr(u32)]
pub enum Code {
    NoError = 0,
    ProtocolError = 1,
    InternalError = 2,
    FlowControlError = 3,
    StreamClosed = 5,
    FrameSizeError = 6,
    RefusedStream = 7,
    Cancel = 8,
    CompressionError = 9,
    EnhanceYourCalm = 11,
}

/// The head of a frame.
#[derive(Clone, Copy, Debug)]
pub struct FrameHead {
    /// How long its payload is.
    pub length: usize,
    /// What kind it is.
    pub kind: Kind,
    /// Its flags.
    pub flags: u8,
    /// Its stream; the reserved bit is ignored.
    pub stream: u32,
}

impl FrameHead {
    /// Reads it from the beginning of these bytes; `None` if more are needed.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let &[high, middle, low, kind, flags, a, b, c, d] = bytes.first_chunk::<HEAD>()?;
        Some(Self {
            length: u32::from_be_bytes([0, high, middle, low]) as usize,
            kind: Kind(kind),
            flags,
            stream: u32::from_be_bytes([a, b, c, d]) & MOST_WINDOW,
        })
    }

    /// Appends it.
    pub fn write(self, out: &mut Vec<u8>) {
        let [_, high, middle, low] = (self.length as u32).to_be_bytes();
        let [a, b, c, d] = self.stream.to_be_bytes();
        out.extend_from_slice(&[high, middle, low, self.kind.0, self.flags, a, b, c, d]);
    }
}

/// Appends a frame whose payload is one number.
pub fn push_number(out: &mut Vec<u8>, kind: Kind, stream: u32, number: u32) {
    FrameHead {
        length: 4,
        kind,
        flags: 0,
        stream,
    }
    .write(out);
    out.extend_from_slice(&number.to_be_bytes());
}
