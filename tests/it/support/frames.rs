//! HTTP/2 as frames: what a client sends byte for byte, and what comes back.
//!
//! Written apart from the engine of the proxy. Fields are sent as literals without compression, and
//! the server is told to use no table, so that of an answer the status can be read.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::time::Duration;

use rustls::{ClientConnection, StreamOwned};

use super::tls_client::Handshaker;
use super::wire::{End, Reader};

/// How long a test waits for a frame before it calls the server stuck.
const PATIENCE: Duration = Duration::from_secs(20);

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 0x1;
pub const ACK: u8 = 0x1;
pub const END_HEADERS: u8 = 0x4;
pub const PADDED: u8 = 0x8;
pub const WITH_PRIORITY: u8 = 0x20;

/// RFC 9113 section 7.
pub const NO_ERROR: u32 = 0;
pub const PROTOCOL_ERROR: u32 = 1;
pub const FLOW_CONTROL_ERROR: u32 = 3;
pub const STREAM_CLOSED: u32 = 5;
pub const FRAME_SIZE_ERROR: u32 = 6;
pub const REFUSED_STREAM: u32 = 7;
pub const CANCEL: u32 = 8;
pub const COMPRESSION_ERROR: u32 = 9;
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// RFC 9113 section 6.5.2, RFC 8441 section 3.
pub const HEADER_TABLE_SIZE: u16 = 1;
pub const ENABLE_PUSH: u16 = 2;
pub const MAX_CONCURRENT_STREAMS: u16 = 3;
pub const INITIAL_WINDOW_SIZE: u16 = 4;
pub const MAX_FRAME_SIZE: u16 = 5;
pub const ENABLE_CONNECT_PROTOCOL: u16 = 8;

/// A frame as it came.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl fmt::Debug for Frame {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "kind {} flags {:#x} stream {} of {} bytes",
            self.kind,
            self.flags,
            self.stream,
            self.payload.len()
        )
    }
}

impl Frame {
    /// The number at a place of the payload.
    pub fn number(&self, at: usize) -> u32 {
        let bytes = self.payload[at..at + 4].try_into();
        u32::from_be_bytes(bytes.expect("four bytes"))
    }

    /// The settings of a SETTINGS frame.
    pub fn settings(&self) -> BTreeMap<u16, u32> {
        assert_eq!(self.kind, SETTINGS);
        let entry = |entry: &[u8]| {
            let name = u16::from_be_bytes([entry[0], entry[1]]);
            let value = [entry[2], entry[3], entry[4], entry[5]];
            (name, u32::from_be_bytes(value))
        };
        self.payload.chunks(6).map(entry).collect()
    }

    /// The status of a HEADERS frame: a server writes it first.
    pub fn status(&self) -> u16 {
        assert_eq!(self.kind, HEADERS);
        let block = &self.payload[..];
        // The table of size 0 that we asked for is confirmed in the first block.
        let block = block.strip_prefix(&[0x20]).unwrap_or(block);
        match *block {
            // RFC 7541 appendix A.
            [indexed @ 0x88..=0x8e, ..] => {
                [200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)]
            }
            [0x08 | 0x18 | 0x48, 0x03, ref digits @ ..] => digits[..3]
                .iter()
                .fold(0, |status, digit| status * 10 + u16::from(digit - b'0')),
            // RFC 7541 appendix B, the digits only.
            [0x08 | 0x18 | 0x48, length, ref coded @ ..] if length & 0x80 != 0 => {
                let coded = &coded[..usize::from(length & 0x7f)];
                let bit = |at: usize| u16::from(coded[at / 8] >> (7 - at % 8) & 1);
                let bits = |at: usize, count: usize| {
                    (at..at + count).fold(0, |number, at| number << 1 | bit(at))
                };
                let mut at = 0;
                (0..3).fold(0, |status, _| {
                    let (digit, length) = match bits(at, 5) {
                        digit @ 0..=2 => (digit, 5),
                        _ => (bits(at, 6) - 0x19 + 3, 6),
                    };
                    at += length;
                    status * 10 + digit
                })
            }
            _ => panic!("not a status: {block:02x?}"),
        }
    }
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A SETTINGS frame.
pub fn settings(entries: &[(u16, u32)]) -> Vec<u8> {
    let entry =
        |&(name, value): &(u16, u32)| [&name.to_be_bytes()[..], &value.to_be_bytes()[..]].concat();
    let payload: Vec<u8> = entries.iter().flat_map(entry).collect();
    frame(SETTINGS, 0, 0, payload)
}

/// A WINDOW_UPDATE frame.
pub fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, increment.to_be_bytes())
}

/// A RST_STREAM frame.
pub fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, code.to_be_bytes())
}

/// Fields as literals that go into no table (RFC 7541 section 6.2.2).
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            // One byte for each character, as everywhere in these tests.
            push_length(&mut block, text.chars().count());
            block.extend(text.chars().map(|character| character as u8));
        }
    }
    block
}

/// RFC 7541 section 5.1, behind a bit that says that no Huffman code follows.
fn push_length(block: &mut Vec<u8>, mut length: usize) {
    if length < 0x7f {
        block.push(length as u8);
        return;
    }
    block.push(0x7f);
    length -= 0x7f;
    while length >= 0x80 {
        block.push(length as u8 | 0x80);
        length >>= 7;
    }
    block.push(length as u8);
}

/// The pseudo fields of a GET, and more fields.
pub fn get<'a>(path: &'a str, more: &[(&'a str, &'a str)]) -> Vec<u8> {
    request("GET", path, more)
}

/// The pseudo fields of a request, and more fields.
pub fn request<'a>(method: &'a str, path: &'a str, more: &[(&'a str, &'a str)]) -> Vec<u8> {
    let pseudo = [
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", "a"),
    ];
    block(&[&pseudo[..], more].concat())
}

/// A request without a body, as one HEADERS frame.
pub fn ask(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, get(path, &[]))
}

/// What became of a connection.
#[derive(Default, Debug)]
pub struct Seen {
    /// The frames in order.
    pub frames: Vec<Frame>,
    /// How it ended, if it did.
    pub end: Option<End>,
}

impl Seen {
    /// The code of the last GOAWAY.
    pub fn goaway(&self) -> Option<u32> {
        let mut goaways = self.frames.iter().rev();
        goaways
            .find(|frame| frame.kind == GOAWAY)
            .map(|frame| frame.number(4))
    }

    /// The code with which a stream was reset.
    pub fn reset(&self, stream: u32) -> Option<u32> {
        self.of(RST_STREAM, stream)
            .next()
            .map(|frame| frame.number(0))
    }

    /// The status of a stream's answer, or of the first interim one.
    pub fn status(&self, stream: u32) -> Option<u16> {
        self.of(HEADERS, stream).next().map(Frame::status)
    }

    /// The bytes of a stream's answer.
    pub fn body(&self, stream: u32) -> Vec<u8> {
        let data = self.of(DATA, stream);
        data.flat_map(|frame| frame.payload.clone()).collect()
    }

    /// Did the server end a stream in order?
    pub fn has_ended(&self, stream: u32) -> bool {
        let ends = |frame: &&Frame| frame.stream == stream && frame.flags & END_STREAM != 0;
        let mut frames = self.frames.iter();
        frames
            .find(|frame| matches!(frame.kind, DATA | HEADERS) && ends(frame))
            .is_some()
    }

    fn of(&self, kind: u8, stream: u32) -> impl Iterator<Item = &Frame> {
        (self.frames.iter()).filter(move |frame| frame.kind == kind && frame.stream == stream)
    }
}

/// What frames travel over.
enum Wire {
    Plain(TcpStream),
    Secure(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Wire {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Secure(stream) => &stream.sock,
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Secure(stream) => stream.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Secure(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Secure(stream) => stream.flush(),
        }
    }
}

/// A connection to a server of HTTP/2, by prior knowledge or by the word of TLS.
pub struct Frames {
    reader: Reader<Wire>,
    /// Whether PING and SETTINGS of the server are acknowledged.
    pub acknowledges: bool,
}

impl Frames {
    /// Connects and sends nothing.
    pub fn silent(port: u16) -> Self {
        Self::over(Wire::Plain(connect(port)))
    }

    fn over(wire: Wire) -> Self {
        Self {
            reader: Reader::new(wire),
            acknowledges: true,
        }
    }

    /// As [`Frames::with_settings`], inside TLS.
    pub fn over_tls(port: u16, name: &str, more: &[(u16, u32)]) -> Self {
        let stream = Handshaker::new().http2(connect(port), name);
        let stream = stream.expect("a handshake, and HTTP/2");
        let mut frames = Self::over(Wire::Secure(Box::new(stream)));
        frames.begin(more);
        frames
    }

    /// Has the system take little of what is not read yet. Less than the window that was told already
    /// would have it throw away what comes.
    pub fn read_slowly(&self) {
        let socket = socket2::SockRef::from(self.reader.stream.socket());
        socket.set_recv_buffer_size(64 << 10).expect("a socket");
    }

    /// Connects and sends preface and settings.
    pub fn connect(port: u16) -> Self {
        Self::with_settings(port, &[])
    }

    /// As [`Frames::connect`] with more settings.
    pub fn with_settings(port: u16, more: &[(u16, u32)]) -> Self {
        let mut frames = Self::silent(port);
        frames.begin(more);
        frames
    }

    fn begin(&mut self, more: &[(u16, u32)]) {
        let own = [(HEADER_TABLE_SIZE, 0), (ENABLE_PUSH, 0)];
        self.send([PREFACE, &settings(&[&own, more].concat())].concat());
    }

    /// Sends bytes. A server that has closed takes none, which is no failure: what it said is still
    /// to be read.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.reader.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Closes the sending side.
    pub fn finish(&mut self) {
        let _gone_already = self.reader.stream.socket().shutdown(Shutdown::Write);
    }

    /// Reads a frame, and acknowledges what wants to be.
    pub fn frame(&mut self) -> Result<Frame, End> {
        let mut head = Vec::new();
        self.reader.exactly(9, &mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = Vec::new();
        self.reader.exactly(length as usize, &mut payload)?;
        let frame = Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
            payload,
        };
        match frame.kind {
            _ if !self.acknowledges => {}
            SETTINGS if frame.flags & ACK == 0 => {
                self.send(super::frames::frame(SETTINGS, ACK, 0, []));
            }
            PING if frame.flags & ACK == 0 => {
                self.send(super::frames::frame(PING, ACK, 0, &frame.payload));
            }
            _ => {}
        }
        Ok(frame)
    }

    /// Reads until a frame is found, or to the end.
    pub fn until(&mut self, mut found: impl FnMut(&Frame) -> bool) -> Seen {
        let mut seen = Seen::default();
        loop {
            match self.frame() {
                Ok(frame) => {
                    let is_found = found(&frame);
                    seen.frames.push(frame);
                    if is_found {
                        return seen;
                    }
                }
                Err(end) => {
                    seen.end = Some(end);
                    return seen;
                }
            }
        }
    }

    /// Reads until a stream has ended or was reset, or to the end.
    pub fn until_end_of(&mut self, stream: u32) -> Seen {
        self.until(|frame| {
            frame.stream == stream
                && (frame.kind == RST_STREAM
                    || (matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0))
        })
    }

    /// Reads to the end.
    pub fn rest(&mut self) -> Seen {
        self.until(|_| false)
    }

    /// Asks for a path and gives the status.
    pub fn status_of(&mut self, stream: u32, path: &str) -> Option<u16> {
        self.send(ask(stream, path));
        self.until_end_of(stream).status(stream)
    }
}

fn connect(port: u16) -> TcpStream {
    let connect = || -> io::Result<TcpStream> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    };
    connect().expect("the server must accept a connection")
}
