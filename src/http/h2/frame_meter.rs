//! What an HTTP/2 client asks for besides work, counted as its frames pass.
//!
//! Every frame costs us something, and most kinds of them bring no request nearer to its answer. A
//! client that sends nothing else keeps a processor busy for a few bytes (rapid reset, floods of
//! SETTINGS, PING, PRIORITY and empty DATA: CVE-2023-44487, CVE-2019-9511 to 9518). So a connection
//! has points: such a frame takes some, work done gives some back, and so does time. A client without
//! points is sent away with ENHANCE_YOUR_CALM.
//!
//! | what | points |
//! | --- | --- |
//! | at first, and at most | [`MOST_POINTS`] |
//! | each second | + [`POINTS_PER_SECOND`] |
//! | an answer that was sent whole | + [`ANSWER_EARNS`] |
//! | a piece of an answer, and each 512 bytes of it | + [`PIECE_EARNS`], + 1 |
//! | HEADERS | − 2 |
//! | RST_STREAM | − 10 |
//! | SETTINGS, GOAWAY | − 20 |
//! | PING, DATA without a byte of content | − 2 |
//! | CONTINUATION | − 5 |
//! | WINDOW_UPDATE, PRIORITY, kinds we do not know | − 1 |
//! | DATA with content | nothing: flow control bounds it |
//!
//! On the way the meter checks what the engine lets pass or answers with another code: that SETTINGS
//! come first, and the sizes of frames. It looks at the heads of frames only and copies no payload.
//!
//! Invariant: how the bytes are cut into pieces changes nothing.

use std::fmt;

use h2::Reason;

/// The points of a connection that has done nothing wrong.
pub const MOST_POINTS: u32 = 2000;
/// What time gives back.
pub const POINTS_PER_SECOND: u64 = 100;
/// What an answer that was sent whole gives back.
pub const ANSWER_EARNS: u32 = 12;
/// What a piece of an answer gives back: the client may say for each that it was read.
pub const PIECE_EARNS: u32 = 4;
/// So many bytes of an answer give a point back.
pub const BYTES_PER_POINT: usize = 512;

/// What we take in one frame (SETTINGS_MAX_FRAME_SIZE, RFC 9113 section 6.5.2); the least there is.
const MOST_PAYLOAD: u32 = 16 << 10;
/// Length, kind, flags and stream of a frame.
const HEAD: usize = 9;
const PREFACE: u8 = 24;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const ACK: u8 = 0x1;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const WITH_PRIORITY: u8 = 0x20;

const SETTINGS_INITIAL_WINDOW_SIZE: u16 = 4;
const MOST_WINDOW: u32 = (1 << 31) - 1;

/// Why a connection is ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The points are used up; the kind of the frame that was one too many.
    Flood(u8),
    /// Something else than SETTINGS came first (RFC 9113 section 3.4).
    NoSettings,
    /// A frame of a length that its kind cannot have (RFC 9113 section 4.2).
    FrameSize(u8),
    /// A window larger than there are (RFC 9113 section 6.5.2).
    WindowSize,
}

impl Fault {
    /// What the client is told.
    pub fn reason(self) -> Reason {
        match self {
            Self::Flood(_) => Reason::ENHANCE_YOUR_CALM,
            Self::NoSettings => Reason::PROTOCOL_ERROR,
            Self::FrameSize(_) => Reason::FRAME_SIZE_ERROR,
            Self::WindowSize => Reason::FLOW_CONTROL_ERROR,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Flood(kind) => {
                write!(
                    out,
                    "client sent a flood of HTTP/2 frames, at last {}",
                    Kind(kind)
                )
            }
            Self::NoSettings => out.write_str("client did not begin with a SETTINGS frame"),
            Self::FrameSize(kind) => {
                write!(out, "client sent {} frame of a wrong length", Kind(kind))
            }
            Self::WindowSize => out.write_str("client sent SETTINGS with a window too large"),
        }
    }
}

/// The kind of a frame as RFC 9113 names it.
struct Kind(u8);

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self.0 {
            DATA => "DATA",
            HEADERS => "HEADERS",
            PRIORITY => "PRIORITY",
            RST_STREAM => "RST_STREAM",
            SETTINGS => "SETTINGS",
            5 => "PUSH_PROMISE",
            PING => "PING",
            GOAWAY => "GOAWAY",
            WINDOW_UPDATE => "WINDOW_UPDATE",
            CONTINUATION => "CONTINUATION",
            kind => return write!(out, "0x{kind:02x}"),
        })
    }
}

/// Where and why a client is stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stop {
    /// How many of the bytes just read may still be processed: all frames before the one in fault
    /// are among them, and that one is not whole, so that nobody judges it a second time.
    pub at: usize,
    /// Why.
    pub fault: Fault,
}

/// Follows the frames of one client.
#[derive(Debug)]
pub struct FrameMeter {
    /// Bytes of the preface to come.
    preface: u8,
    /// The head of a frame as far as it was read, and the length of the padding behind it.
    head: [u8; HEAD + 1],
    filled: usize,
    /// Kind and flags of the frame whose payload passes.
    kind: u8,
    flags: u8,
    /// Bytes of its payload to come.
    payload: u32,
    /// A setting as far as it was read.
    setting: [u8; 6],
    setting_filled: usize,
    has_settings: bool,
    /// A block of fields has begun and not ended.
    is_in_block: bool,
    /// Frames, or blocks of fields, that came to their end.
    finished: u64,
    points: u32,
    /// Up to when time has given back, in milliseconds.
    refilled: u64,
}

impl FrameMeter {
    /// For a connection whose first byte, of the preface, is still to come. Times are in
    /// milliseconds since any moment.
    pub fn new(now: u64) -> Self {
        Self {
            preface: PREFACE,
            head: [0; HEAD + 1],
            filled: 0,
            kind: 0,
            flags: 0,
            payload: 0,
            setting: [0; 6],
            setting_filled: 0,
            has_settings: false,
            is_in_block: false,
            finished: 0,
            points: MOST_POINTS,
            refilled: now,
        }
    }

    /// Work was done that gives points back.
    pub fn earn(&mut self, points: u32) {
        self.points = self.points.saturating_add(points).min(MOST_POINTS);
    }

    /// These bytes were read. After a stop the meter is not to be used again.
    pub fn read(&mut self, bytes: &[u8], now: u64) -> Result<(), Stop> {
        let gained = now.saturating_sub(self.refilled) * POINTS_PER_SECOND / 1000;
        if gained > 0 {
            self.refilled += gained * 1000 / POINTS_PER_SECOND;
            self.earn(u32::try_from(gained).unwrap_or(MOST_POINTS));
        }
        let mut at = bytes.len().min(usize::from(self.preface));
        self.preface -= at as u8;
        while at < bytes.len() {
            if self.payload > 0 {
                let count = (bytes.len() - at).min(self.payload as usize);
                if self.kind == SETTINGS {
                    for (position, &byte) in bytes[at..at + count].iter().enumerate() {
                        self.setting(byte).map_err(|fault| Stop {
                            at: at + position,
                            fault,
                        })?;
                    }
                }
                at += count;
                self.payload -= count as u32;
            } else {
                self.head[self.filled] = bytes[at];
                self.filled += 1;
                at += 1;
                if self.filled < HEAD {
                    continue;
                }
                let is_whole = self.begin().map_err(|fault| Stop { at: at - 1, fault })?;
                if !is_whole {
                    continue;
                }
                self.filled = 0;
            }
            if self.payload == 0 {
                if matches!(self.kind, HEADERS | CONTINUATION) {
                    self.is_in_block = self.flags & END_HEADERS == 0;
                }
                self.finished += u64::from(!self.is_in_block);
            }
        }
        Ok(())
    }

    /// Is the client in the middle of something that must come to its end before anything else can
    /// be read? DATA does not count: whoever waits for it has a time of its own for that. The number
    /// is another one for each such thing.
    pub fn unfinished(&self) -> Option<u64> {
        let has_part = self.filled > 0 || (self.payload > 0 && self.kind != DATA);
        (has_part || self.is_in_block).then_some(self.finished)
    }

    /// The head of a frame is there; `false` if another byte is needed to judge it.
    fn begin(&mut self) -> Result<bool, Fault> {
        let [high, middle, low, kind, flags, ..] = self.head;
        let length = u32::from_be_bytes([0, high, middle, low]);
        let is_padded_data = kind == DATA && flags & PADDED != 0 && length > 0;
        if is_padded_data && self.filled == HEAD {
            return Ok(false);
        }
        self.kind = kind;
        self.flags = flags;
        self.payload = length - u32::from(is_padded_data);
        self.setting_filled = 0;

        if !self.has_settings && (kind != SETTINGS || flags & ACK != 0) {
            return Err(Fault::NoSettings);
        }
        self.has_settings = true;

        let least_of_headers =
            u32::from(flags & PADDED != 0) + 5 * u32::from(flags & WITH_PRIORITY != 0);
        let is_wrong = match kind {
            DATA => flags & PADDED != 0 && length == 0,
            HEADERS => length < least_of_headers,
            PRIORITY => length != 5,
            RST_STREAM | WINDOW_UPDATE => length != 4,
            SETTINGS if flags & ACK != 0 => length != 0,
            SETTINGS => !length.is_multiple_of(6),
            PING => length != 8,
            GOAWAY => length < 8,
            _ => false,
        };
        if is_wrong || length > MOST_PAYLOAD {
            return Err(Fault::FrameSize(kind));
        }

        let price = match kind {
            DATA => {
                let padding = match is_padded_data {
                    true => u32::from(self.head[HEAD]) + 1,
                    false => 0,
                };
                // The end of a body is work.
                match length <= padding && flags & END_STREAM == 0 {
                    true => 2,
                    false => 0,
                }
            }
            HEADERS | PING => 2,
            RST_STREAM => 10,
            SETTINGS | GOAWAY => 20,
            CONTINUATION => 5,
            _ => 1,
        };
        self.points = self
            .points
            .checked_sub(price)
            .ok_or(Fault::Flood(self.kind))?;
        Ok(true)
    }

    /// One byte of the payload of SETTINGS.
    fn setting(&mut self, byte: u8) -> Result<(), Fault> {
        self.setting[self.setting_filled] = byte;
        self.setting_filled = (self.setting_filled + 1) % 6;
        let [high, low, value @ ..] = self.setting;
        let is_window = u16::from_be_bytes([high, low]) == SETTINGS_INITIAL_WINDOW_SIZE;
        if self.setting_filled == 0 && is_window && u32::from_be_bytes(value) > MOST_WINDOW {
            return Err(Fault::WindowSize);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        frame.extend_from_slice(payload);
        frame
    }

    /// A meter that has seen preface and SETTINGS, at no time.
    fn begun() -> FrameMeter {
        let mut meter = FrameMeter::new(0);
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frame(SETTINGS, 0, &[]));
        assert_eq!(meter.read(&bytes, 0), Ok(()));
        meter.earn(MOST_POINTS);
        meter
    }

    /// How many of a frame are taken at one moment.
    fn taken(frame: &[u8]) -> u32 {
        let mut meter = begun();
        let mut count = 0;
        loop {
            match meter.read(frame, 0) {
                Ok(()) => count += 1,
                Err(stop) => {
                    assert_eq!(stop.fault, Fault::Flood(frame[3]));
                    return count;
                }
            }
            if count > 10_000 {
                return count;
            }
        }
    }

    #[test]
    fn frames_that_bring_no_work_use_the_points_up() {
        for (name, frame, most) in [
            ("SETTINGS", frame(SETTINGS, 0, &[0, 1, 0, 0, 0, 0]), 100),
            ("PING", frame(PING, 0, &[0; 8]), 1000),
            ("RST_STREAM", frame(RST_STREAM, 0, &[0; 4]), 200),
            ("PRIORITY", frame(PRIORITY, 0, &[0; 5]), 2000),
            (
                "WINDOW_UPDATE",
                frame(WINDOW_UPDATE, 0, &[0, 0, 0, 1]),
                2000,
            ),
            ("HEADERS", frame(HEADERS, END_HEADERS, b"x"), 1000),
            ("CONTINUATION", frame(CONTINUATION, 0, &[]), 400),
            ("empty DATA", frame(DATA, 0, &[]), 1000),
            (
                "DATA of padding",
                frame(DATA, PADDED, &[[3; 1], [0; 1], [0; 1], [0; 1]].concat()),
                1000,
            ),
            ("GOAWAY", frame(GOAWAY, 0, &[0; 8]), 100),
            ("an unknown kind", frame(0xbe, 0, b"grease"), 2000),
        ] {
            assert_eq!(taken(&frame), most, "{name}");
        }
    }

    #[test]
    fn data_with_content_is_free() {
        assert!(taken(&frame(DATA, 0, b"x")) > 10_000);
        assert!(taken(&frame(DATA, PADDED, &[1, b'x', 0])) > 10_000);
        assert!(taken(&frame(DATA, END_STREAM, &[])) > 10_000);
    }

    #[test]
    fn time_and_work_give_points_back() {
        let reset = frame(RST_STREAM, 0, &[0; 4]);
        let mut meter = begun();
        for count in 0..200 {
            assert_eq!(meter.read(&reset, 0), Ok(()), "{count}");
        }
        // A second's points pay for ten of them, and no more than that.
        for count in 0..10 {
            assert_eq!(meter.read(&reset, 1000), Ok(()), "{count}");
        }
        meter.earn(ANSWER_EARNS);
        assert_eq!(meter.read(&reset, 1000), Ok(()));
        assert!(meter.read(&reset, 1000).is_err());
    }

    #[test]
    fn parts_of_a_point_are_not_lost() {
        let ping = frame(PRIORITY, 0, &[0; 5]);
        let mut meter = begun();
        for _ in 0..MOST_POINTS {
            assert_eq!(meter.read(&ping, 0), Ok(()));
        }
        for now in 1..10 {
            assert_eq!(meter.read(&[], now), Ok(()));
        }
        assert_eq!(meter.read(&ping, 10), Ok(()));
        assert!(meter.read(&ping, 11).is_err());
    }

    #[test]
    fn a_frame_of_a_wrong_length_is_a_fault_at_its_head() {
        for (kind, flags, length) in [
            (PRIORITY, 0, 4),
            (PRIORITY, 0, 6),
            (RST_STREAM, 0, 3),
            (SETTINGS, 0, 5),
            (SETTINGS, ACK, 6),
            (PING, 0, 7),
            (PING, ACK, 9),
            (GOAWAY, 0, 7),
            (WINDOW_UPDATE, 0, 5),
            (HEADERS, WITH_PRIORITY, 4),
            (HEADERS, PADDED, 0),
            (HEADERS, PADDED | WITH_PRIORITY, 5),
            (DATA, PADDED, 0),
            (DATA, 0, 16_385),
            (HEADERS, 0, 16_385),
            (CONTINUATION, 0, 16_385),
            (0xbe, 0, 16_385),
        ] {
            let frame = frame(kind, flags, &vec![0; length]);
            let stop = begun().read(&frame, 0).expect_err("a fault");
            assert_eq!(stop.fault, Fault::FrameSize(kind), "{kind} of {length}");
            assert_eq!(stop.at, HEAD - 1);
        }
        for (kind, length) in [(DATA, 16_384), (GOAWAY, 8), (GOAWAY, 100), (SETTINGS, 12)] {
            let frame = frame(kind, 0, &vec![0; length]);
            assert_eq!(begun().read(&frame, 0), Ok(()), "{kind} of {length}");
        }
    }

    #[test]
    fn what_comes_first_must_be_settings() {
        for (kind, flags, payload) in [
            (PING, 0, &[0; 8][..]),
            (SETTINGS, ACK, &[]),
            (HEADERS, END_HEADERS, b"\x82"),
        ] {
            let mut meter = FrameMeter::new(0);
            assert_eq!(meter.read(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0), Ok(()));
            let stop = meter.read(&frame(kind, flags, payload), 0);
            assert_eq!(stop.expect_err("a fault").fault, Fault::NoSettings);
        }
    }

    #[test]
    fn a_window_too_large_is_a_fault_at_its_last_byte() {
        let settings = |value: u32| {
            let mut payload = vec![0, 1, 0x80, 0, 0, 0, 0, 4];
            payload.extend_from_slice(&value.to_be_bytes());
            frame(SETTINGS, 0, &payload)
        };
        assert_eq!(begun().read(&settings(MOST_WINDOW), 0), Ok(()));
        let stop = begun().read(&settings(MOST_WINDOW + 1), 0);
        assert_eq!(
            stop,
            Err(Stop {
                at: HEAD + 11,
                fault: Fault::WindowSize
            })
        );
    }

    #[test]
    fn what_is_unfinished_has_a_number_of_its_own() {
        let mut meter = begun();
        assert_eq!(meter.unfinished(), None);
        let head = frame(HEADERS, 0, b"\x82");
        for cut in 1..head.len() {
            assert_eq!(meter.read(&head[cut - 1..cut], 0), Ok(()));
            assert!(meter.unfinished().is_some(), "{cut}");
        }
        assert_eq!(meter.read(&head[head.len() - 1..], 0), Ok(()));
        let first = meter.unfinished().expect("the block goes on");
        assert_eq!(meter.read(&frame(CONTINUATION, 0, b"\x84"), 0), Ok(()));
        assert_eq!(meter.unfinished(), Some(first));
        let last = frame(CONTINUATION, END_HEADERS, b"\x86");
        assert_eq!(meter.read(&last, 0), Ok(()));
        assert_eq!(meter.unfinished(), None);
        assert_eq!(meter.read(&frame(PING, 0, &[0; 8])[..5], 0), Ok(()));
        assert_ne!(meter.unfinished(), Some(first));
        // The bytes of DATA are waited for by the stream.
        let mut meter = begun();
        assert_eq!(meter.read(&frame(DATA, 0, b"abc")[..10], 0), Ok(()));
        assert_eq!(meter.unfinished(), None);
    }

    /// What came of bytes that were cut into pieces: how many were taken, and the fault.
    fn in_pieces(bytes: &[u8], mut cut: impl FnMut() -> usize) -> (usize, Option<Fault>, String) {
        let mut meter = FrameMeter::new(0);
        let mut at = 0;
        while at < bytes.len() {
            let piece = &bytes[at..bytes.len().min(at + cut().max(1))];
            match meter.read(piece, 0) {
                Ok(()) => at += piece.len(),
                Err(stop) => return (at + stop.at, Some(stop.fault), String::new()),
            }
        }
        (at, None, format!("{meter:?}"))
    }

    fn any_frame() -> impl Strategy<Value = Vec<u8>> {
        let payload = prop_oneof![
            Just(0_usize),
            Just(4),
            Just(5),
            Just(6),
            Just(8),
            0..40_usize
        ];
        (0..12_u8, any::<u8>(), payload, any::<u8>())
            .prop_map(|(kind, flags, length, byte)| frame(kind, flags, &vec![byte; length]))
    }

    proptest! {
        #[test]
        fn how_bytes_are_cut_changes_nothing(
            frames in proptest::collection::vec(any_frame(), 0..200),
            begins_well in any::<bool>(),
            seed in any::<u64>(),
        ) {
            let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
            if begins_well {
                bytes.extend(frame(SETTINGS, 0, &[]));
            }
            bytes.extend(frames.concat());
            let whole = in_pieces(&bytes, || bytes.len());
            prop_assert_eq!(&whole, &in_pieces(&bytes, || 1));
            let mut state = seed;
            let random = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 33) as usize % 30
            };
            prop_assert_eq!(&whole, &in_pieces(&bytes, random));
        }

        #[test]
        fn any_bytes_are_taken_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let whole = in_pieces(&bytes, || bytes.len());
            prop_assert_eq!(whole, in_pieces(&bytes, || 1));
        }
    }
}
