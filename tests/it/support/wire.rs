//! HTTP/1 as bytes: heads, fields and framed bodies read from a stream.
//!
//! Shared by the raw client (reads answers) and the recording backend (reads requests), and written
//! apart from the proxy's own codec, so that a mistake there cannot hide itself here. Bytes become
//! text as Latin-1: nothing is lost, whatever arrives.

use std::fmt;
use std::io::{self, Read};

/// How a connection came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The peer closed its side in order.
    Closed,
    /// The peer reset the connection.
    Reset,
    /// Nothing came for as long as a test waits.
    TimedOut,
    /// What came is not HTTP/1 framing.
    Malformed,
}

/// A header or trailer field as it stood on the wire.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Field {
    pub name: String,
    pub value: String,
}

impl fmt::Debug for Field {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.name, self.value)
    }
}

/// The first line and the fields of a message.
#[derive(Debug, Clone, Default)]
pub struct Head {
    pub line: String,
    pub fields: Vec<Field>,
}

impl Head {
    /// Reads a head without its final empty line.
    pub fn parse(bytes: &[u8]) -> Self {
        let text = latin1(bytes);
        let mut lines = text.split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let fields = lines.filter(|line| !line.is_empty()).map(field).collect();
        Self { line, fields }
    }

    /// The value of the first field of this name, whatever its case.
    pub fn value(&self, name: &str) -> Option<&str> {
        first(&self.fields, name)
    }

    /// Whether a field's comma-separated list holds a token, whatever its case.
    pub fn lists(&self, name: &str, token: &str) -> bool {
        self.fields
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case(name))
            .flat_map(|field| field.value.split(','))
            .any(|item| item.trim().eq_ignore_ascii_case(token))
    }
}

/// The value of the first field of this name, whatever its case.
pub fn first<'a>(fields: &'a [Field], name: &str) -> Option<&'a str> {
    fields
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case(name))
        .map(|field| field.value.as_str())
}

/// Bytes as text, one character for each byte.
pub fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

/// A stream and what was read from it but not used yet.
pub struct Reader<S> {
    pub stream: S,
    pub buffer: Vec<u8>,
    /// Every byte used so far, for those who count what was on the wire.
    pub used: usize,
}

impl<S: Read> Reader<S> {
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            used: 0,
        }
    }

    /// Reads a head with its final empty line. `Err` carries how the stream ended before it.
    pub fn head(&mut self) -> Result<Head, End> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let bytes = self.take(end + 4);
                return Ok(Head::parse(&bytes[..end]));
            }
            self.fill()?;
        }
    }

    /// Reads so many bytes; what came before the stream ended is in `into`.
    pub fn exactly(&mut self, mut count: usize, into: &mut Vec<u8>) -> Result<(), End> {
        loop {
            let part = self.take(count.min(self.buffer.len()));
            count -= part.len();
            into.extend(part);
            if count == 0 {
                return Ok(());
            }
            self.fill()?;
        }
    }

    /// Reads a chunked body; what came before the stream ended is in `into`.
    pub fn chunked(&mut self, into: &mut Vec<u8>, trailers: &mut Vec<Field>) -> Result<(), End> {
        loop {
            let line = self.line()?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(digits, 16).map_err(|_| End::Malformed)?;
            if size == 0 {
                break;
            }
            self.exactly(size, into)?;
            if !self.line()?.is_empty() {
                return Err(End::Malformed);
            }
        }
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(());
            }
            trailers.push(field(&line));
        }
    }

    /// Reads until the stream ends, and says how.
    pub fn until_end(&mut self, into: &mut Vec<u8>) -> End {
        loop {
            let all = self.buffer.len();
            into.extend(self.take(all));
            if let Err(end) = self.fill() {
                return end;
            }
        }
    }

    /// Reads more bytes into the buffer.
    pub fn fill(&mut self) -> Result<(), End> {
        let mut part = [0; 16 * 1024];
        loop {
            return match self.stream.read(&mut part) {
                Ok(0) => Err(End::Closed),
                Ok(count) => {
                    self.buffer.extend_from_slice(&part[..count]);
                    Ok(())
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => continue,
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Err(End::TimedOut),
                    _ => Err(End::Reset),
                },
            };
        }
    }

    fn line(&mut self) -> Result<String, End> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let bytes = self.take(end + 2);
                return Ok(latin1(&bytes[..end]));
            }
            self.fill()?;
        }
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        self.used += count;
        self.buffer.drain(..count).collect()
    }
}

fn field(line: &str) -> Field {
    let (name, value) = line.split_once(':').unwrap_or((line, ""));
    Field {
        name: name.to_owned(),
        // Exactly one space is the usual form; more of it is content that a test may look at.
        value: value.strip_prefix(' ').unwrap_or(value).to_owned(),
    }
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes
        .windows(pattern.len())
        .position(|window| window == pattern)
}
