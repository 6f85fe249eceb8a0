//! One connection of HTTP/2 without its socket (RFC 9113).
//!
//! Owns the states of streams, both directions' windows, the tables of fields and the bytes to be
//! written; does not know what a request asks for. Bytes that were read go to [`Session::read`], which
//! takes whole frames and leaves the rest to the caller. What it changed is in [`Session::begun`] and
//! [`Session::changed`]; what is to be said to the client is in [`Session::out`].
//!
//! Invariant: a stream keeps its place from its head to [`Session::release`], whatever the client says
//! in between. Who answers it is never mistaken for another.

use std::collections::VecDeque;
use std::fmt;

use super::frame::{
    ACK, Code, END_HEADERS, END_STREAM, FrameHead, HEAD, Kind, MOST_PAYLOAD, MOST_WINDOW, PADDED,
    PREFACE, USUAL_WINDOW, WITH_PRIORITY, push_number,
};
use super::hpack::decoder::{Decoder, is_value};
use super::hpack::encoder::Encoder;
use super::out::Out;
use super::points::{
    self, EMPTY_DATA_COSTS, LATE_DATA_COSTS, PIECE_EARNS, Points, RESET_COSTS, SETTINGS_PER_POINT,
};
use super::request::{self, Asks, HeadBuilder, HeadError};
use crate::http::buffer;
use crate::http::h1::parse::{HeadLimits, RequestError};
use crate::http::head::{Fields, Known, RequestHead};

/// What waits to be written before streams have to wait with their bodies: several of them share a
/// write, and the line of the log that each leaves behind. With the answers of three streams in one
/// write, one of 64 KiB costs a sixth less than alone.
const MOST_OUT: usize = 192 << 10;
/// The window of a connection, in windows of a stream: what all streams together may send before it
/// is read. One body that nobody reads must not keep the others from coming.
const WINDOWS: u32 = 2;
/// So many streams that we have reset are remembered: what the client sent before it heard of that is
/// no fault.
const IGNORED: usize = 64;
/// A block may say so many times what a head may be long before its client is taken for an attacker;
/// up to then it is refused.
const EXCESS: usize = 16;
/// What a block may be long in any case.
const LEAST_BLOCK: usize = 64 << 10;
/// What our PING behind a goodbye says.
const GOODBYE: &[u8; 8] = b"goodbye!";

const HEADER_TABLE_SIZE: u16 = 1;
const ENABLE_PUSH: u16 = 2;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_FRAME_SIZE: u16 = 5;
const MAX_HEADER_LIST_SIZE: u16 = 6;
const ENABLE_CONNECT_PROTOCOL: u16 = 8;

/// What a client may ask for.
#[derive(Debug)]
pub struct Limits {
    /// Streams at a time.
    pub streams: usize,
    /// The window of a stream.
    pub window: u32,
    /// The size of a head as the client counts it.
    pub list: usize,
    /// What holds for a head in any version.
    pub head: HeadLimits,
}

/// Why a connection is ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The points are used up; the kind of the frame that was one too many.
    Flood(Kind),
    /// The client broke a rule of the protocol, as this code says.
    Broken(Code, &'static str),
}

impl Fault {
    /// What the client is told.
    pub fn code(self) -> Code {
        match self {
            Self::Flood(_) => Code::EnhanceYourCalm,
            Self::Broken(code, _) => code,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Flood(kind) => {
                write!(out, "client sent a flood of HTTP/2 frames, at last {kind}")
            }
            Self::Broken(_, what) => write!(out, "client sent {what}"),
        }
    }
}

/// The stream, or the connection, takes nothing more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gone;

/// How far sending came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    /// All of it.
    All,
    /// The client's windows are full.
    Window,
    /// What waits for the socket is enough for now.
    Socket,
}

/// One stream.
#[derive(Debug)]
struct Stream {
    /// 0 when the place is free.
    number: u32,
    head: RequestHead,
    /// Nobody has taken the head yet.
    is_new: bool,
    asks: Result<Asks, HeadError>,
    count: u64,
    /// What came of the body and was not taken, from `taken` on.
    body: Vec<u8>,
    taken: usize,
    /// What the body lacks of the length that the client told.
    missing: Option<u64>,
    trailers: Fields,
    /// The client sends nothing more.
    has_ended: bool,
    /// We send nothing more.
    has_sent_end: bool,
    /// It was reset.
    is_gone: bool,
    /// It waits for a window or for the socket.
    is_blocked: bool,
    /// What the client takes; changed SETTINGS may make it negative (RFC 9113 section 6.9.2).
    window: i64,
    /// What the client may send.
    room: i64,
    /// What was taken of that and not given back.
    owed: u32,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            number: 0,
            head: RequestHead::default(),
            is_new: false,
            asks: Ok(Asks::Answer),
            count: 0,
            body: Vec::new(),
            taken: 0,
            missing: None,
            trailers: Fields::default(),
            has_ended: false,
            has_sent_end: false,
            is_gone: false,
            is_blocked: false,
            window: 0,
            room: 0,
            owed: 0,
        }
    }
}

/// A connection.
#[derive(Debug)]
pub struct Session {
    /// Frames to be written.
    pub out: Out,
    /// Places of streams that have begun since the caller looked.
    pub begun: Vec<usize>,
    /// Places of streams whose exchange has to look: something came, they were reset, or may send on.
    pub changed: Vec<usize>,
    /// Points of the client.
    pub points: Points,
    limits: Limits,
    decoder: Decoder,
    encoder: Encoder,
    builder: HeadBuilder,
    has_preface: bool,
    has_settings: bool,
    streams: Vec<Stream>,
    free: Vec<usize>,
    /// Number and place of each stream, in the order of numbers.
    places: Vec<(u32, usize)>,
    /// Streams that were not reset.
    open: usize,
    /// The highest number of a stream.
    last: u32,
    /// How many requests there were.
    requests: u64,
    ignored: VecDeque<u32>,
    /// The stream and the flags of a block that has yet to end, and what there is of it.
    block: Option<(u32, u8)>,
    block_bytes: Vec<u8>,
    /// Frames, or blocks of fields, that came to their end.
    finished: u64,
    window: i64,
    room: i64,
    owed: u32,
    /// What the client wants the window of a stream to begin with.
    first_window: i64,
    /// The place of the stream that was the last to send a piece of a body.
    last_sender: usize,
    /// A stream has had to wait for the socket since those that wait were last to look again.
    has_refused: bool,
    first_place: usize,
    has_said_goodbye: bool,
    /// Requests that came behind our goodbye.
    late: usize,
    has_heard_goodbye: bool,
    has_client_left: bool,
    is_over: bool,
}

impl Session {
    /// A connection of which nothing was read yet. Our SETTINGS are to be written.
    pub fn new(limits: Limits, now: u64) -> Self {
        let mut session = Self {
            out: Out::default(),
            begun: Vec::new(),
            changed: Vec::new(),
            points: Points::new(now),
            decoder: Decoder::default(),
            encoder: Encoder::default(),
            builder: HeadBuilder::default(),
            has_preface: false,
            has_settings: false,
            streams: Vec::new(),
            free: Vec::new(),
            places: Vec::new(),
            open: 0,
            last: 0,
            requests: 0,
            ignored: VecDeque::new(),
            block: None,
            block_bytes: Vec::new(),
            finished: 0,
            window: i64::from(USUAL_WINDOW),
            room: i64::from(USUAL_WINDOW),
            owed: 0,
            first_window: i64::from(USUAL_WINDOW),
            last_sender: 0,
            has_refused: false,
            first_place: 0,
            has_said_goodbye: false,
            late: 0,
            has_heard_goodbye: false,
            has_client_left: false,
            is_over: false,
            limits,
        };
        let limits = &session.limits;
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let settings = [
            (MAX_CONCURRENT_STREAMS, number(limits.streams)),
            (INITIAL_WINDOW_SIZE, limits.window),
            (MAX_HEADER_LIST_SIZE, number(limits.list)),
            (ENABLE_CONNECT_PROTOCOL, 1),
        ];
        let room = session.most_room();
        let out = &mut session.out.bytes;
        buffer::ensure(out);
        FrameHead {
            length: 6 * settings.len(),
            kind: Kind::SETTINGS,
            flags: 0,
            stream: 0,
        }
        .write(out);
        for (name, value) in settings {
            out.extend_from_slice(&name.to_be_bytes());
            out.extend_from_slice(&value.to_be_bytes());
        }
        if let Some(more) = room.checked_sub(USUAL_WINDOW).filter(|&more| more > 0) {
            push_number(out, Kind::WINDOW_UPDATE, 0, more);
            session.room += i64::from(more);
        }
        session
    }

    /// At least what RFC 9113 section 6.9.2 has it begin with.
    fn most_room(&self) -> u32 {
        (self.limits.window.saturating_mul(WINDOWS)).clamp(USUAL_WINDOW, MOST_WINDOW)
    }

    /// Streams that have a place, also those that were reset and are still worked on.
    pub fn running(&self) -> usize {
        self.places.len()
    }

    /// How many requests there were.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Nothing more is to be expected of the client: it has heard our goodbye, or said its own.
    pub fn has_heard_goodbye(&self) -> bool {
        self.has_heard_goodbye || self.has_client_left
    }

    /// The connection has come to its end; all streams are gone.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Gives back what is not needed while no stream is there.
    pub fn rest(&mut self) {
        for stream in &mut self.streams {
            buffer::release(&mut stream.head.fields.bytes);
        }
        self.streams = Vec::new();
        self.free = Vec::new();
        self.places = Vec::new();
        self.begun = Vec::new();
        self.changed = Vec::new();
        self.block_bytes = Vec::new();
        self.builder = HeadBuilder::default();
        self.decoder.rest();
        self.out.rest();
    }

    /// Is the client in the middle of something that must come to its end before anything else can
    /// be read? `rest` is what [`Session::read`] has left. DATA does not count: whoever waits for it
    /// has a time of its own for that. The number is another one for each such thing.
    pub fn unfinished(&self, rest: &[u8]) -> Option<u64> {
        let is_body = rest.len() >= HEAD && rest[3] == Kind::DATA.0 && self.has_settings;
        let has_part = !rest.is_empty() && !is_body;
        (has_part || self.block.is_some() || !self.has_settings).then_some(self.finished)
    }

    /// Takes all whole frames from the beginning of these bytes; says how many bytes that were.
    pub fn read(&mut self, input: &[u8], now: u64) -> Result<usize, Fault> {
        self.points.refill(now);
        let mut at = 0;
        if !self.has_preface {
            let count = input.len().min(PREFACE.len());
            if input[..count] != PREFACE[..count] {
                return Err(Fault::Broken(Code::ProtocolError, "invalid HTTP/2 preface"));
            }
            if count < PREFACE.len() {
                return Ok(0);
            }
            self.has_preface = true;
            at = count;
        }
        while let Some(head) = FrameHead::read(&input[at..]) {
            if !self.has_settings && (head.kind != Kind::SETTINGS || head.flags & ACK != 0) {
                return Err(Fault::Broken(
                    Code::ProtocolError,
                    "another frame before SETTINGS",
                ));
            }
            if head.length > MOST_PAYLOAD {
                return Err(wrong_length());
            }
            let start = at + HEAD;
            let Some(payload) = input.get(start..start + head.length) else {
                break;
            };
            self.has_settings = true;
            self.frame(head, payload)?;
            self.finished += u64::from(self.block.is_none());
            at = start + head.length;
        }
        Ok(at)
    }

    fn frame(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Fault> {
        // RFC 9113 section 6.10.
        if let Some((stream, _)) = self.block
            && (head.kind != Kind::CONTINUATION || head.stream != stream)
        {
            return Err(protocol_error("another frame within a block of headers"));
        }
        self.charge(head.kind, points::price(head.kind))?;
        match head.kind {
            Kind::DATA => self.data(head, payload),
            Kind::HEADERS => self.headers(head, payload),
            Kind::PRIORITY => match (head.stream, payload.len()) {
                (0, _) => Err(protocol_error("PRIORITY frame on stream 0")),
                (_, 5) => Ok(()),
                _ => Err(wrong_length()),
            },
            Kind::RST_STREAM => self.reset_by_client(head, payload),
            Kind::SETTINGS => self.settings(head, payload),
            Kind::PUSH_PROMISE => Err(protocol_error("PUSH_PROMISE frame")),
            Kind::PING => self.ping(head, payload),
            Kind::GOAWAY => {
                if head.stream != 0 {
                    return Err(protocol_error("GOAWAY frame on a stream"));
                }
                if payload.len() < 8 {
                    return Err(wrong_length());
                }
                self.has_client_left = true;
                Ok(())
            }
            Kind::WINDOW_UPDATE => self.window_update(head, payload),
            Kind::CONTINUATION => {
                let Some((_, flags)) = self.block else {
                    return Err(protocol_error("CONTINUATION frame without a block"));
                };
                if self.block_bytes.len() + payload.len() > self.most_block() {
                    return Err(Fault::Flood(Kind::CONTINUATION));
                }
                self.block_bytes.extend_from_slice(payload);
                if head.flags & END_HEADERS == 0 {
                    return Ok(());
                }
                self.block = None;
                let mut block = std::mem::take(&mut self.block_bytes);
                let result = self.whole_block(head.stream, flags, &block);
                block.clear();
                self.block_bytes = block;
                result
            }
            // RFC 9113 section 4.1: what we do not know means nothing.
            _ => Ok(()),
        }
    }

    fn charge(&mut self, kind: Kind, price: u32) -> Result<(), Fault> {
        match self.points.charge(price) {
            true => Ok(()),
            false => Err(Fault::Flood(kind)),
        }
    }

    fn most_block(&self) -> usize {
        self.limits.list.saturating_mul(2).max(LEAST_BLOCK)
    }

    fn place(&self, number: u32) -> Option<usize> {
        let found = self
            .places
            .binary_search_by_key(&number, |&(number, _)| number);
        found.ok().map(|at| self.places[at].1)
    }

    /// Has no stream of this number begun yet?
    fn is_idle(&self, number: u32) -> bool {
        number > self.last || number.is_multiple_of(2)
    }

    fn headers(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Fault> {
        // RFC 9113 section 5.1.1.
        if head.stream.is_multiple_of(2) {
            return Err(protocol_error("HEADERS frame on a stream of ours"));
        }
        let mut block = unpadded(head, payload)?;
        if head.flags & WITH_PRIORITY != 0 {
            block = block.get(5..).ok_or(wrong_length())?;
        }
        if head.flags & END_HEADERS == 0 {
            self.block = Some((head.stream, head.flags));
            self.block_bytes.clear();
            self.block_bytes.extend_from_slice(block);
            return Ok(());
        }
        self.whole_block(head.stream, head.flags, block)
    }

    fn whole_block(&mut self, number: u32, flags: u8, block: &[u8]) -> Result<(), Fault> {
        let is_end = flags & END_STREAM != 0;
        if number > self.last {
            return self.request(number, is_end, block);
        }
        let Some(place) = self.place(number) else {
            self.skip(block)?;
            return match self.ignored.contains(&number) {
                true => Ok(()),
                false => Err(Fault::Broken(
                    Code::StreamClosed,
                    "HEADERS frame on a closed stream",
                )),
            };
        };
        let stream = &mut self.streams[place];
        if stream.is_gone {
            let is_ignored = self.ignored.contains(&number);
            self.skip(block)?;
            return match is_ignored {
                true => Ok(()),
                false => Err(Fault::Broken(
                    Code::StreamClosed,
                    "HEADERS frame on a closed stream",
                )),
            };
        }
        if stream.has_ended {
            self.skip(block)?;
            return self.fail(place, Code::StreamClosed);
        }
        // RFC 9113 section 8.1: what follows a body ends the stream.
        let mut result = match is_end {
            true => Ok(()),
            false => Err(HeadError::Malformed("trailers that do not end a stream")),
        };
        let (trailers, limits) = (&mut stream.trailers, &self.limits.head);
        let mut size = 0;
        let decoded = self.decoder.decode(block, |field| {
            size += field.name.len() + field.value.len();
            if result.is_ok() {
                result = request::trailer(field, limits, trailers);
            }
        });
        decoded.map_err(|_| broken_block())?;
        match result {
            Err(HeadError::Malformed(_)) => return self.fail(place, Code::ProtocolError),
            // What is too much is left out.
            Err(_) => stream.trailers.clear(),
            Ok(()) => {}
        }
        self.check_excess(size)?;
        self.end_of_body(place)
    }

    /// Reads a block that nobody wants: the tables change all the same.
    fn skip(&mut self, block: &[u8]) -> Result<(), Fault> {
        let mut size = 0;
        let decoded = (self.decoder).decode(block, |field| {
            size += field.name.len() + field.value.len();
        });
        decoded.map_err(|_| broken_block())?;
        self.check_excess(size)
    }

    fn check_excess(&self, size: usize) -> Result<(), Fault> {
        match size > self.limits.list.saturating_mul(EXCESS) {
            true => Err(Fault::Flood(Kind::HEADERS)),
            false => Ok(()),
        }
    }

    fn request(&mut self, number: u32, has_ended: bool, block: &[u8]) -> Result<(), Fault> {
        if self.has_heard_goodbye {
            // RFC 9113 section 6.8: the client knows that this one is not served.
            return self.skip(block);
        }
        self.last = number;
        self.requests += 1;
        self.late += usize::from(self.has_said_goodbye);
        // Those that were reset are worked on for a while; a client may use their places, but not
        // without a bound.
        let limit = self.limits.streams;
        if self.open >= limit || self.places.len() >= limit.saturating_mul(2) || self.late > limit {
            self.skip(block)?;
            self.ignore(number);
            push_number(
                &mut self.out.bytes,
                Kind::RST_STREAM,
                number,
                Code::RefusedStream as u32,
            );
            return self.charge(Kind::HEADERS, RESET_COSTS);
        }
        let place = self.free.pop().unwrap_or_else(|| {
            self.streams.push(Stream::default());
            self.streams.len() - 1
        });
        let stream = &mut self.streams[place];
        let head = &mut stream.head;
        buffer::ensure(&mut head.fields.bytes);
        head.reset();
        head.fields.clear();
        self.builder.reset();
        let (builder, limits) = (&mut self.builder, &self.limits.head);
        let decoded = (self.decoder).decode(block, |field| builder.field(field, limits, head));
        decoded.map_err(|_| broken_block())?;
        let size = builder.size();
        let mut asks = builder.finish(limits, head);
        if size > self.limits.list && !matches!(asks, Err(HeadError::Malformed(_))) {
            asks = Err(RequestError::HeaderTooLarge.into());
        }
        stream.missing = (head.fields.known(Known::ContentLength))
            .and_then(|length| std::str::from_utf8(length).ok())
            .and_then(|length| length.parse().ok());
        // RFC 9113 section 8.1.1.
        if has_ended && stream.missing.is_some_and(|missing| missing > 0) {
            asks = Err(HeadError::Malformed("no body of the length that it told"));
        }
        stream.number = number;
        stream.is_new = true;
        stream.asks = asks;
        stream.count = self.requests;
        stream.has_ended = has_ended;
        stream.has_sent_end = false;
        stream.is_gone = false;
        stream.is_blocked = false;
        stream.window = self.first_window;
        stream.room = i64::from(self.limits.window);
        stream.owed = 0;
        stream.taken = 0;
        self.places.push((number, place));
        self.open += 1;
        self.begun.push(place);
        self.check_excess(size)?;
        match asks {
            Err(HeadError::Malformed(_)) => self.charge(Kind::HEADERS, RESET_COSTS),
            _ => Ok(()),
        }
    }

    fn data(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Fault> {
        if self.is_idle(head.stream) {
            return Err(protocol_error("DATA frame on an idle stream"));
        }
        let bytes = unpadded(head, payload)?;
        let is_end = head.flags & END_STREAM != 0;
        if bytes.is_empty() && !is_end {
            self.charge(Kind::DATA, EMPTY_DATA_COSTS)?;
        }
        // RFC 9113 section 6.9.1: padding counts too.
        self.room -= payload.len() as i64;
        if self.room < 0 {
            return Err(Fault::Broken(
                Code::FlowControlError,
                "more DATA than the window of the connection",
            ));
        }
        let place = match self.place(head.stream) {
            Some(place) if !self.streams[place].is_gone => place,
            _ => {
                self.give_room(payload.len() as u32);
                // The window of the connection is given back at once, and so bounds nothing here.
                if self.ignored.contains(&head.stream) {
                    return self.charge(Kind::DATA, LATE_DATA_COSTS);
                }
                self.ignore(head.stream);
                let code = Code::StreamClosed as u32;
                push_number(&mut self.out.bytes, Kind::RST_STREAM, head.stream, code);
                return self.charge(Kind::DATA, RESET_COSTS);
            }
        };
        let stream = &mut self.streams[place];
        stream.room -= payload.len() as i64;
        let code = match () {
            () if stream.has_ended => Some(Code::StreamClosed),
            () if stream.room < 0 => Some(Code::FlowControlError),
            () if stream.missing.is_some_and(|left| left < bytes.len() as u64) => {
                Some(Code::ProtocolError)
            }
            () => None,
        };
        if let Some(code) = code {
            self.give_room(payload.len() as u32);
            return self.fail(place, code);
        }
        if let Some(missing) = &mut stream.missing {
            *missing -= bytes.len() as u64;
        }
        if !bytes.is_empty() {
            buffer::ensure(&mut stream.body);
            stream.body.extend_from_slice(bytes);
            self.changed.push(place);
        }
        self.release_body(place, payload.len() - bytes.len());
        match is_end {
            true => self.end_of_body(place),
            false => Ok(()),
        }
    }

    fn end_of_body(&mut self, place: usize) -> Result<(), Fault> {
        let stream = &mut self.streams[place];
        if stream.missing.is_some_and(|missing| missing > 0) {
            return self.fail(place, Code::ProtocolError);
        }
        stream.has_ended = true;
        self.changed.push(place);
        Ok(())
    }

    /// Bytes of the window of a stream, and of the connection, may come again.
    fn release_body(&mut self, place: usize, count: usize) {
        let count = count as u32;
        let stream = &mut self.streams[place];
        stream.owed += count;
        if !stream.has_ended && !stream.is_gone && stream.owed > self.limits.window / 2 {
            push_number(
                &mut self.out.bytes,
                Kind::WINDOW_UPDATE,
                stream.number,
                stream.owed,
            );
            stream.room += i64::from(stream.owed);
            stream.owed = 0;
        }
        self.give_room(count);
    }

    fn give_room(&mut self, count: u32) {
        self.owed += count;
        if self.owed > self.most_room() / 2 {
            push_number(&mut self.out.bytes, Kind::WINDOW_UPDATE, 0, self.owed);
            self.room += i64::from(self.owed);
            self.owed = 0;
        }
    }

    fn reset_by_client(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Fault> {
        if payload.len() != 4 {
            return Err(wrong_length());
        }
        if self.is_idle(head.stream) {
            return Err(protocol_error("RST_STREAM frame on an idle stream"));
        }
        if let Some(place) = self.place(head.stream)
            && !self.streams[place].is_gone
        {
            self.streams[place].is_gone = true;
            self.open -= 1;
            self.changed.push(place);
        }
        Ok(())
    }

    fn settings(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Fault> {
        if head.stream != 0 {
            return Err(protocol_error("SETTINGS frame on a stream"));
        }
        let is_answer = head.flags & ACK != 0;
        let (settings, rest) = payload.as_chunks::<6>();
        if !rest.is_empty() || (is_answer && !payload.is_empty()) {
            return Err(wrong_length());
        }
        if is_answer {
            return Ok(());
        }
        // Each may change the windows of all streams.
        self.charge(Kind::SETTINGS, settings.len() as u32 / SETTINGS_PER_POINT)?;
        for &[a, b, value @ ..] in settings {
            let value = u32::from_be_bytes(value);
            match u16::from_be_bytes([a, b]) {
                HEADER_TABLE_SIZE => self.encoder.resize(value as usize),
                ENABLE_PUSH if value > 1 => {
                    return Err(protocol_error("invalid ENABLE_PUSH setting"));
                }
                INITIAL_WINDOW_SIZE => {
                    const TOO_LARGE: Fault = Fault::Broken(
                        Code::FlowControlError,
                        "INITIAL_WINDOW_SIZE setting that is too large",
                    );
                    if value > MOST_WINDOW {
                        return Err(TOO_LARGE);
                    }
                    let difference = i64::from(value) - self.first_window;
                    self.first_window = i64::from(value);
                    for &(_, place) in &self.places {
                        let window = &mut self.streams[place].window;
                        *window += difference;
                        if *window > i64::from(MOST_WINDOW) {
                            return Err(TOO_LARGE);
                        }
                    }
                }
                // Ours have the length that everybody takes: longer ones would only keep other
                // streams waiting.
                MAX_FRAME_SIZE if !(MOST_PAYLOAD as u32..1 << 24).contains(&value) => {
                    return Err(protocol_error("invalid MAX_FRAME_SIZE setting"));
                }
                _ => {}
            }
        }
        FrameHead {
            length: 0,
            kind: Kind::SETTINGS,
            flags: ACK,
            stream: 0,
        }
        .write(&mut self.out.bytes);
        self.unblock();
        Ok(())
    }

    fn ping(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Fault> {
        if head.stream != 0 {
            return Err(protocol_error("PING frame on a stream"));
        }
        if payload.len() != 8 {
            return Err(wrong_length());
        }
        if head.flags & ACK == 0 {
            FrameHead {
                length: 8,
                kind: Kind::PING,
                flags: ACK,
                stream: 0,
            }
            .write(&mut self.out.bytes);
            self.out.bytes.extend_from_slice(payload);
        } else if payload == GOODBYE && self.has_said_goodbye && !self.has_heard_goodbye {
            self.has_heard_goodbye = true;
            self.go_away(Code::NoError);
        }
        Ok(())
    }

    fn window_update(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Fault> {
        let number = payload.try_into().map_err(|_| wrong_length())?;
        let more = u32::from_be_bytes(number) & MOST_WINDOW;
        if head.stream == 0 {
            if more == 0 {
                return Err(protocol_error("WINDOW_UPDATE frame of 0"));
            }
            self.window += i64::from(more);
            if self.window > i64::from(MOST_WINDOW) {
                return Err(Fault::Broken(
                    Code::FlowControlError,
                    "WINDOW_UPDATE frame beyond the largest window",
                ));
            }
            self.unblock();
            return Ok(());
        }
        if self.is_idle(head.stream) {
            return Err(protocol_error("WINDOW_UPDATE frame on an idle stream"));
        }
        let Some(place) = self.place(head.stream) else {
            return Ok(());
        };
        let stream = &mut self.streams[place];
        if stream.is_gone {
            return Ok(());
        }
        if more == 0 {
            return self.fail(place, Code::ProtocolError);
        }
        stream.window += i64::from(more);
        if stream.window > i64::from(MOST_WINDOW) {
            return self.fail(place, Code::FlowControlError);
        }
        if std::mem::take(&mut stream.is_blocked) {
            self.changed.push(place);
        }
        Ok(())
    }

    /// Streams that wait to send look again.
    pub fn unblock(&mut self) {
        self.first_place = match std::mem::take(&mut self.has_refused) {
            true => self.last_sender + 1,
            false => 0,
        };
        for &(_, place) in &self.places {
            if std::mem::take(&mut self.streams[place].is_blocked) {
                self.changed.push(place);
            }
        }
    }

    /// Resets a stream that the client has done something wrong with.
    fn fail(&mut self, place: usize, code: Code) -> Result<(), Fault> {
        self.reset(place, code);
        self.changed.push(place);
        self.charge(Kind::RST_STREAM, RESET_COSTS)
    }

    /// Resets a stream that is not gone.
    pub fn reset(&mut self, place: usize, code: Code) {
        let stream = &mut self.streams[place];
        if stream.is_gone {
            return;
        }
        stream.is_gone = true;
        self.open -= 1;
        let number = stream.number;
        push_number(&mut self.out.bytes, Kind::RST_STREAM, number, code as u32);
        self.ignore(number);
    }

    fn ignore(&mut self, number: u32) {
        if self.ignored.len() == IGNORED {
            self.ignored.pop_front();
        }
        self.ignored.push_back(number);
    }

    /// Takes the head of a stream that has begun, in exchange for another one, and says what it asks
    /// for and how many requests there were until then.
    pub fn take_head(
        &mut self,
        place: usize,
        head: &mut RequestHead,
    ) -> (Result<Asks, HeadError>, u64) {
        let stream = &mut self.streams[place];
        stream.is_new = false;
        std::mem::swap(head, &mut stream.head);
        (stream.asks, stream.count)
    }

    /// Is there a head that nobody has taken yet?
    pub fn is_new(&self, place: usize) -> bool {
        (self.streams.get(place)).is_some_and(|stream| stream.is_new)
    }

    /// Was a stream reset, or the connection ended?
    pub fn is_gone(&self, place: usize) -> bool {
        self.streams[place].is_gone
    }

    /// Does a stream have nothing more to say than what was taken?
    pub fn is_body_complete(&self, place: usize) -> bool {
        let stream = &self.streams[place];
        stream.has_ended && stream.taken == stream.body.len()
    }

    /// What the body of a request has of the length that was told, and was not taken.
    pub fn body_length(&self, place: usize) -> Option<u64> {
        let stream = &self.streams[place];
        let here = (stream.body.len() - stream.taken) as u64;
        // Trailers follow a body whose length nobody told.
        match stream.has_ended && stream.trailers.is_empty() {
            true => Some(here),
            false => stream.missing.map(|missing| missing + here),
        }
    }

    /// What came of a body and was not taken. When nothing did, `None` says that nothing will.
    pub fn body(&self, place: usize) -> Result<Option<&[u8]>, Gone> {
        let stream = &self.streams[place];
        match &stream.body[stream.taken..] {
            [] if stream.has_ended => Ok(None),
            [] if stream.is_gone => Err(Gone),
            bytes => Ok(Some(bytes)),
        }
    }

    /// So many bytes of the body were taken; the client may send as many again.
    pub fn take_body(&mut self, place: usize, count: usize) {
        let stream = &mut self.streams[place];
        stream.taken += count;
        if stream.taken == stream.body.len() {
            stream.taken = 0;
            buffer::release(&mut stream.body);
        }
        self.release_body(place, count);
    }

    /// The trailer section of a request whose body is complete.
    pub fn trailers(&self, place: usize) -> &Fields {
        &self.streams[place].trailers
    }

    /// Sends the head of an answer.
    pub fn send_head(
        &mut self,
        place: usize,
        status: u16,
        fields: &Fields,
        is_last: bool,
    ) -> Result<(), Gone> {
        self.send_block(place, Some(status), fields, is_last)
    }

    /// Sends the trailer section of an answer.
    pub fn send_trailers(&mut self, place: usize, fields: &Fields) -> Result<(), Gone> {
        self.send_block(place, None, fields, true)
    }

    fn send_block(
        &mut self,
        place: usize,
        status: Option<u16>,
        fields: &Fields,
        is_last: bool,
    ) -> Result<(), Gone> {
        let stream = &mut self.streams[place];
        if stream.is_gone {
            return Err(Gone);
        }
        stream.has_sent_end |= is_last;
        let number = stream.number;
        let out = &mut self.out.bytes;
        buffer::ensure(out);
        let start = out.len();
        out.extend_from_slice(&[0; HEAD]);
        self.encoder.begin(out);
        if let Some(status) = status {
            self.encoder.status(status, out);
        }
        for (known, name, value) in fields.iter() {
            let value = value.trim_ascii();
            if may_stand(known, name) && is_value(value) {
                self.encoder.field(known, name, value, out);
            }
        }
        let length = out.len() - start - HEAD;
        let mut flags = u8::from(is_last) * END_STREAM;
        if length <= MOST_PAYLOAD {
            flags |= END_HEADERS;
        }
        let mut head = Vec::with_capacity(HEAD);
        FrameHead {
            length: length.min(MOST_PAYLOAD),
            kind: Kind::HEADERS,
            flags,
            stream: number,
        }
        .write(&mut head);
        out[start..start + HEAD].copy_from_slice(&head);
        // What does not fit one frame follows in others.
        if length > MOST_PAYLOAD {
            let rest = out.split_off(start + HEAD + MOST_PAYLOAD);
            let count = rest.len().div_ceil(MOST_PAYLOAD);
            for (index, part) in rest.chunks(MOST_PAYLOAD).enumerate() {
                FrameHead {
                    length: part.len(),
                    kind: Kind::CONTINUATION,
                    flags: u8::from(index + 1 == count) * END_HEADERS,
                    stream: number,
                }
                .write(out);
                out.extend_from_slice(part);
            }
        }
        Ok(())
    }

    /// Sends as much of these bytes as there is room for, and says how much that is. `is_last`: they
    /// end the stream.
    pub fn send_data(
        &mut self,
        place: usize,
        bytes: &[u8],
        is_last: bool,
    ) -> Result<(usize, Sent), Gone> {
        let stream = &mut self.streams[place];
        if stream.is_gone {
            return Err(Gone);
        }
        buffer::ensure(&mut self.out.bytes);
        let mut sent = 0;
        let mut result = Sent::All;
        while sent < bytes.len() || (is_last && !stream.has_sent_end) {
            let rest = &bytes[sent..];
            if self.out.len() >= MOST_OUT {
                result = Sent::Socket;
                break;
            }
            let window = stream.window.min(self.window).max(0) as usize;
            let count = rest.len().min(window).min(MOST_PAYLOAD);
            if count == 0 && !rest.is_empty() {
                result = Sent::Window;
                break;
            }
            let ends = is_last && count == rest.len();
            stream.has_sent_end = ends;
            FrameHead {
                length: count,
                kind: Kind::DATA,
                flags: u8::from(ends) * END_STREAM,
                stream: stream.number,
            }
            .write(&mut self.out.bytes);
            self.out.bytes.extend_from_slice(&rest[..count]);
            stream.window -= count as i64;
            self.window -= count as i64;
            sent += count;
        }
        stream.is_blocked |= result != Sent::All;
        self.has_refused |= result == Sent::Socket;
        if sent > 0 {
            self.last_sender = place;
            if result == Sent::All {
                self.points.earn(PIECE_EARNS);
            }
            self.points.earn_bytes(sent);
        }
        Ok((sent, result))
    }

    /// Sends what a buffer holds from `start` on, all of it, and takes the buffer for that. `false`,
    /// and nothing has happened, if there is no room for all of it or it is so short that
    /// [`Session::send_data`] costs less.
    pub fn send_buffer(
        &mut self,
        place: usize,
        body: &mut Vec<u8>,
        start: usize,
        is_last: bool,
    ) -> Result<bool, Gone> {
        let stream = &mut self.streams[place];
        if stream.is_gone {
            return Err(Gone);
        }
        let length = body.len() - start;
        if !Out::is_worth_keeping(body, length)
            || length as i64 > stream.window.min(self.window)
            || self.out.len() >= MOST_OUT
        {
            return Ok(false);
        }
        buffer::ensure(&mut self.out.bytes);
        for from in (start..body.len()).step_by(MOST_PAYLOAD) {
            let end = body.len().min(from + MOST_PAYLOAD);
            FrameHead {
                length: end - from,
                kind: Kind::DATA,
                flags: u8::from(is_last && end == body.len()) * END_STREAM,
                stream: stream.number,
            }
            .write(&mut self.out.bytes);
            self.out.push_piece(from, end);
        }
        self.out.keep(std::mem::take(body));
        stream.has_sent_end = is_last;
        stream.window -= length as i64;
        self.window -= length as i64;
        self.last_sender = place;
        self.points.earn(PIECE_EARNS);
        self.points.earn_bytes(length);
        Ok(true)
    }

    /// The place whose stream is to be looked at first. Where some had to wait for the socket, it is
    /// the turn of those behind the one that sent last: what waits is bounded, and must not be that of
    /// one stream always.
    pub fn first_place(&self) -> usize {
        self.first_place
    }

    /// Whoever answers a stream is done with it. One whose answer did not come to its end is reset
    /// with this code.
    pub fn release(&mut self, place: usize, code: Code) {
        let stream = &self.streams[place];
        let (number, is_whole) = (stream.number, stream.has_sent_end);
        if is_whole {
            self.points.earn(points::ANSWER_EARNS);
        }
        if !is_whole {
            self.reset(place, code);
        } else if !stream.has_ended {
            // RFC 9113 section 8.1: the rest of the request is of no use.
            self.reset(place, Code::NoError);
        } else if !stream.is_gone {
            self.open -= 1;
        }
        let stream = &mut self.streams[place];
        let unread = stream.body.len() - stream.taken;
        buffer::release(&mut stream.body);
        stream.is_new = false;
        stream.taken = 0;
        stream.trailers.clear();
        stream.number = 0;
        stream.is_gone = true;
        self.give_room(unread as u32);
        if let Ok(at) = (self.places).binary_search_by_key(&number, |&(number, _)| number) {
            self.places.remove(at);
        }
        self.free.push(place);
    }

    /// Tells the client to take its further requests elsewhere; those under way go on.
    pub fn say_goodbye(&mut self) {
        self.has_said_goodbye = true;
        self.go_away_from(MOST_WINDOW, Code::NoError);
        FrameHead {
            length: 8,
            kind: Kind::PING,
            flags: 0,
            stream: 0,
        }
        .write(&mut self.out.bytes);
        self.out.bytes.extend_from_slice(GOODBYE);
    }

    /// Ends the connection, whatever is under way; nothing more is to be read.
    pub fn end(&mut self, code: Option<Code>) {
        if let Some(code) = code {
            self.go_away(code);
        }
        self.is_over = true;
        for &(_, place) in &self.places {
            let stream = &mut self.streams[place];
            if !stream.is_gone {
                stream.is_gone = true;
                self.open -= 1;
            }
            self.changed.push(place);
        }
    }

    fn go_away(&mut self, code: Code) {
        self.go_away_from(self.last, code);
    }

    fn go_away_from(&mut self, last: u32, code: Code) {
        FrameHead {
            length: 8,
            kind: Kind::GOAWAY,
            flags: 0,
            stream: 0,
        }
        .write(&mut self.out.bytes);
        self.out.bytes.extend_from_slice(&last.to_be_bytes());
        self.out
            .bytes
            .extend_from_slice(&(code as u32).to_be_bytes());
    }
}

fn protocol_error(what: &'static str) -> Fault {
    Fault::Broken(Code::ProtocolError, what)
}

fn wrong_length() -> Fault {
    Fault::Broken(Code::FrameSizeError, "a frame of a wrong length")
}

fn broken_block() -> Fault {
    Fault::Broken(
        Code::CompressionError,
        "a block of headers that cannot be decoded",
    )
}

/// A payload without its padding (RFC 9113 section 6.1).
fn unpadded(head: FrameHead, payload: &[u8]) -> Result<&[u8], Fault> {
    if head.flags & PADDED == 0 {
        return Ok(payload);
    }
    let (&padding, rest) = payload.split_first().ok_or(wrong_length())?;
    (rest.len().checked_sub(usize::from(padding)))
        .map(|length| &rest[..length])
        .ok_or(protocol_error("more padding than there is room for"))
}

/// May a field of this name stand in an answer? RFC 9113 section 8.2.2: those of a connection have no
/// place here, and what is no name is left out.
fn may_stand(known: Option<Known>, name: &[u8]) -> bool {
    let is_token = |&byte: &u8| {
        byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'-' | b'_' | b'.' | b'!' | b'#'..=b'\'' | b'*' | b'+' | b'^' | b'`' | b'|' | b'~'
            )
    };
    match known {
        Some(
            Known::Connection
            | Known::KeepAlive
            | Known::ProxyConnection
            | Known::TransferEncoding
            | Known::Upgrade
            | Known::Te,
        ) => false,
        Some(_) => true,
        None => !name.is_empty() && name.iter().all(is_token),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STREAMS: usize = 2;

    fn frame(kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        let length = payload.len();
        FrameHead {
            length,
            kind,
            flags,
            stream,
        }
        .write(&mut frame);
        frame.extend_from_slice(payload);
        frame
    }

    /// A GET of `/` from a.
    const BLOCK: &[u8] = b"\x82\x86\x84\x41\x01a";

    fn get(stream: u32) -> Vec<u8> {
        frame(Kind::HEADERS, END_HEADERS | END_STREAM, stream, BLOCK)
    }

    fn post(stream: u32) -> Vec<u8> {
        let block = [b"\x83", &BLOCK[1..]].concat();
        frame(Kind::HEADERS, END_HEADERS, stream, &block)
    }

    fn new() -> Session {
        let limits = Limits {
            streams: STREAMS,
            window: 1000,
            list: 8 << 10,
            head: HeadLimits::default(),
        };
        Session::new(limits, 0)
    }

    /// A session that has seen preface and SETTINGS.
    fn begun() -> Session {
        let mut session = new();
        let bytes = [PREFACE, &frame(Kind::SETTINGS, 0, 0, &[])[..]].concat();
        assert_eq!(session.read(&bytes, 0), Ok(bytes.len()));
        session.out.clear();
        session.points = Points::new(0);
        session
    }

    fn read(session: &mut Session, frames: &[Vec<u8>]) -> Result<(), Fault> {
        let bytes = frames.concat();
        session
            .read(&bytes, 0)
            .map(|count| assert_eq!(count, bytes.len()))
    }

    /// What is to be written.
    fn written(session: &mut Session) -> Vec<u8> {
        let mut bytes = Vec::new();
        while !session.out.is_empty() {
            let before = bytes.len();
            for part in &session.out.parts() {
                bytes.extend_from_slice(part);
            }
            session.out.wrote(bytes.len() - before);
        }
        bytes
    }

    /// Kind, flags, stream and payload of what is to be written.
    fn said(session: &mut Session) -> Vec<(Kind, u8, u32, Vec<u8>)> {
        let mut frames = Vec::new();
        let bytes = written(session);
        let mut rest = &bytes[..];
        while let Some(head) = FrameHead::read(rest) {
            let end = HEAD + head.length;
            frames.push((head.kind, head.flags, head.stream, rest[HEAD..end].to_vec()));
            rest = &rest[end..];
        }
        assert!(rest.is_empty());
        frames
    }

    fn resets(session: &mut Session) -> Vec<(u32, u32)> {
        (said(session).into_iter())
            .filter(|(kind, ..)| *kind == Kind::RST_STREAM)
            .map(|(_, _, stream, code)| {
                (stream, u32::from_be_bytes(code.try_into().expect("a code")))
            })
            .collect()
    }

    /// How many of a frame are taken at one moment.
    fn taken(frame: &[u8]) -> u32 {
        let mut session = begun();
        for count in 0..10_000 {
            match session.read(frame, 0) {
                Ok(_) => {}
                Err(fault) => {
                    assert_eq!(fault, Fault::Flood(Kind(frame[3])));
                    return count;
                }
            }
        }
        10_000
    }

    #[test]
    fn frames_that_bring_no_work_use_the_points_up() {
        for (name, frame, most) in [
            (
                "SETTINGS",
                frame(Kind::SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]),
                100,
            ),
            ("PING", frame(Kind::PING, 0, 0, &[0; 8]), 1000),
            ("PRIORITY", frame(Kind::PRIORITY, 0, 1, &[0; 5]), 2000),
            (
                "WINDOW_UPDATE",
                frame(Kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
                2000,
            ),
            ("GOAWAY", frame(Kind::GOAWAY, 0, 0, &[0; 8]), 100),
            ("an unknown kind", frame(Kind(0xbe), 0, 0, b"grease"), 2000),
        ] {
            assert_eq!(taken(&frame), most, "{name}");
        }
    }

    #[test]
    fn a_body_earns_its_way_and_empty_frames_do_not() {
        for (payload, flags, is_free) in [
            (&b"x"[..], 0, true),
            (&[1, b'x', 0], PADDED, true),
            (&[], 0, false),
            (&[3, 0, 0, 0], PADDED, false),
        ] {
            let mut session = begun();
            read(&mut session, &[post(1)]).expect("a request");
            let place = session.begun[0];
            let frame = frame(Kind::DATA, flags, 1, payload);
            let result = (0..5000).try_for_each(|_| {
                session.read(&frame, 0)?;
                let count = session.body(place).expect("open").map_or(0, <[u8]>::len);
                session.take_body(place, count);
                Ok::<_, Fault>(())
            });
            let expected = match is_free {
                true => Ok(()),
                false => Err(Fault::Flood(Kind::DATA)),
            };
            assert_eq!(result, expected, "{payload:?}");
        }
    }

    #[test]
    fn a_stream_keeps_its_place_until_it_is_released() {
        let mut session = begun();
        let reset = |stream| frame(Kind::RST_STREAM, 0, stream, &[0, 0, 0, 8]);
        read(&mut session, &[get(1), get(3), get(5)]).expect("requests");
        assert_eq!(session.begun, [0, 1]);
        assert_eq!(resets(&mut session), [(5, Code::RefusedStream as u32)]);
        // What was reset makes room for others, but not without a bound.
        read(
            &mut session,
            &[reset(1), reset(3), get(7), get(9), reset(7), get(11)],
        )
        .expect("requests");
        assert_eq!(session.begun, [0, 1, 2, 3]);
        assert_eq!(resets(&mut session), [(11, Code::RefusedStream as u32)]);
        assert!(session.is_gone(0) && session.is_gone(2) && !session.is_gone(3));
        assert_eq!(session.send_data(0, b"x", true), Err(Gone));
        session.release(0, Code::InternalError);
        session.release(3, Code::InternalError);
        assert_eq!(resets(&mut session), [(9, Code::InternalError as u32)]);
        read(&mut session, &[get(13)]).expect("a request");
        assert_eq!(session.begun.last(), Some(&3));
        assert_eq!(session.running(), 3);
    }

    #[test]
    fn windows_are_kept_and_given_back_when_bodies_are_read() {
        let mut session = begun();
        read(&mut session, &[post(1)]).expect("a request");
        let data = |length: usize| frame(Kind::DATA, 0, 1, &vec![b'x'; length]);
        read(&mut session, &[data(600)]).expect("there is room");
        session.take_body(0, 400);
        assert!(said(&mut session).is_empty());
        session.take_body(0, 200);
        let (kind, _, stream, more) = said(&mut session).remove(0);
        assert_eq!((kind, stream), (Kind::WINDOW_UPDATE, 1));
        assert_eq!(more, 600_u32.to_be_bytes());
        read(&mut session, &[data(1000)]).expect("there is room");
        assert!(resets(&mut session).is_empty());
        read(&mut session, &[data(1)]).expect("an error of the stream only");
        assert_eq!(resets(&mut session), [(1, Code::FlowControlError as u32)]);
        // What was on its way is no fault, but has its room in the window of the connection.
        read(&mut session, &[data(5), frame(Kind::HEADERS, 5, 1, BLOCK)]).expect("late frames");
        assert!(said(&mut session).is_empty());
    }

    #[test]
    fn an_answer_waits_for_windows_and_for_the_socket() {
        let mut session = begun();
        read(&mut session, &[get(1)]).expect("a request");
        session
            .send_head(0, 200, &Fields::default(), false)
            .expect("the stream is there");
        let body = vec![b'x'; 100_000];
        let (sent, stop) = session.send_data(0, &body, true).expect("the stream");
        assert_eq!((sent, stop), (65_535, Sent::Window));
        let frames = said(&mut session);
        assert_eq!(frames.len(), 1 + 4);
        assert_eq!(
            frames.iter().map(|frame| frame.3.len()).max(),
            Some(MOST_PAYLOAD)
        );
        // The socket has taken it; now it is the client that does not.
        session.unblock();
        assert_eq!(session.changed, [0]);
        let rest = &body[65_535..];
        assert_eq!(session.send_data(0, rest, true), Ok((0, Sent::Window)));
        session.changed.clear();
        let more = (1_u32 << 20).to_be_bytes();
        read(
            &mut session,
            &[
                frame(Kind::WINDOW_UPDATE, 0, 1, &more),
                frame(Kind::WINDOW_UPDATE, 0, 0, &more),
            ],
        )
        .expect("more room");
        assert_eq!(session.changed, [0]);
        assert_eq!(
            session.send_data(0, rest, true),
            Ok((rest.len(), Sent::All))
        );
        assert_eq!(
            said(&mut session).last().map(|frame| frame.1),
            Some(END_STREAM)
        );
        session.release(0, Code::InternalError);
        assert!(said(&mut session).is_empty());
        read(&mut session, &[get(3)]).expect("a request");
        session
            .send_head(0, 200, &Fields::default(), false)
            .expect("the stream is there");
        let large = vec![b'x'; 1 << 20];
        read(&mut session, &[frame(Kind::WINDOW_UPDATE, 0, 3, &more)]).expect("more room");
        let (sent, stop) = session.send_data(0, &large, false).expect("the stream");
        assert_eq!(stop, Sent::Socket);
        assert!(sent < MOST_OUT + MOST_PAYLOAD);
        // Those behind it are next, once.
        assert_eq!(session.first_place(), 0);
        session.unblock();
        assert_eq!(session.first_place(), 1);
        session.unblock();
        assert_eq!(session.first_place(), 0);
    }

    #[test]
    fn a_whole_buffer_is_sent_if_there_is_room_for_all_of_it() {
        let mut session = begun();
        read(&mut session, &[post(1)]).expect("a request");
        let mut body: Vec<u8> = (0..40_000_u32).map(|at| (at % 251) as u8).collect();
        let whole = body.clone();
        assert_eq!(session.send_buffer(0, &mut body, 7, false), Ok(true));
        assert!(body.is_empty());
        // The window is not wide enough for as much again, nor is it worth it for a few bytes.
        let mut body = whole.clone();
        assert_eq!(session.send_buffer(0, &mut body, 0, true), Ok(false));
        assert_eq!(session.send_buffer(0, &mut body, 39_000, true), Ok(false));
        assert_eq!(session.send_data(0, b"short", false), Ok((5, Sent::All)));
        body.truncate(20_000);
        body.shrink_to_fit();
        assert_eq!(session.send_buffer(0, &mut body, 0, true), Ok(true));
        let frames = said(&mut session);
        let lengths: Vec<_> = frames.iter().map(|frame| frame.3.len()).collect();
        assert_eq!(
            lengths,
            [
                MOST_PAYLOAD,
                MOST_PAYLOAD,
                39_993 - 2 * MOST_PAYLOAD,
                5,
                MOST_PAYLOAD,
                20_000 - MOST_PAYLOAD
            ]
        );
        assert!((frames.iter()).all(|(kind, _, stream, _)| (*kind, *stream) == (Kind::DATA, 1)));
        let ends: Vec<_> = frames.iter().map(|frame| frame.1).collect();
        assert_eq!(ends, [0, 0, 0, 0, 0, END_STREAM]);
        let payload: Vec<u8> = frames.into_iter().flat_map(|frame| frame.3).collect();
        assert!(payload == [&whole[7..], b"short", &whole[..20_000]].concat());
        session.reset(0, Code::Cancel);
        assert_eq!(session.send_buffer(0, &mut body, 0, true), Err(Gone));
    }

    #[test]
    fn a_long_head_goes_on_in_further_frames() {
        let mut session = begun();
        read(&mut session, &[get(1)]).expect("a request");
        let mut fields = Fields::default();
        for number in 0..1000 {
            fields.push(format!("x-{number}").as_bytes(), &[b'~'; 60]);
        }
        session
            .send_head(0, 200, &fields, true)
            .expect("the stream is there");
        let frames = said(&mut session);
        assert!(frames.len() > 2);
        let mut block = Vec::new();
        for (position, (kind, flags, stream, payload)) in frames.iter().enumerate() {
            assert_eq!(*stream, 1);
            assert_eq!(*kind == Kind::HEADERS, position == 0);
            assert_eq!(flags & END_HEADERS != 0, position + 1 == frames.len());
            block.extend_from_slice(payload);
        }
        let mut count = 0;
        Decoder::default()
            .decode(&block, |_| count += 1)
            .expect("a block");
        assert_eq!(count, 1001);
    }

    proptest! {
        /// However the bytes are cut, they mean the same.
        #[test]
        fn pieces_change_nothing(
            frames in prop::collection::vec(
                (0..11_u8, any::<u8>(), 0..8_u32, prop::collection::vec(any::<u8>(), 0..20)),
                0..20,
            ),
            cut in 1..40_usize,
        ) {
            let mut bytes = PREFACE.to_vec();
            bytes.extend(frame(Kind::SETTINGS, 0, 0, &[]));
            bytes.extend(get(1));
            for (kind, flags, stream, payload) in frames {
                bytes.extend(frame(Kind(kind), flags, stream, &payload));
            }
            let run = |cut: usize| {
                let mut session = new();
                let mut input = Vec::new();
                let mut result = Ok(());
                for piece in bytes.chunks(cut) {
                    input.extend_from_slice(piece);
                    match session.read(&input, 0) {
                        Ok(count) => drop(input.drain(..count)),
                        Err(fault) => {
                            result = Err(fault);
                            break;
                        }
                    }
                }
                (written(&mut session), session.begun, session.places, result)
            };
            prop_assert_eq!(run(bytes.len()), run(cut));
        }
    }
}
