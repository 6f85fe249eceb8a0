//! Streams cut into events: server-sent events, and lines of JSON.
//!
//! An event is handed out with all its bytes, line endings and comments included: the events of a
//! stream, one behind the other, are the stream. Bytes may come cut anywhere; what is not whole yet is
//! kept, at most [`MAX_EVENT`] of it.

use std::borrow::Cow;
use std::fmt;

use memchr::memchr2;

/// The most bytes of one event: a picture comes in one.
pub const MAX_EVENT: usize = 16 << 20;

/// How a stream is cut into events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// Server-sent events, which end with an empty line.
    Events,
    /// One JSON text on each line.
    Lines,
}

/// One event of a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// All its bytes.
    pub raw: &'a [u8],
    /// Its name, if it has one.
    pub event: Option<&'a [u8]>,
    /// Its data. Nothing for one of comments alone.
    pub data: Option<Cow<'a, [u8]>>,
    /// Where the data stands in the bytes, if it stands in one piece.
    pub at: Option<usize>,
}

/// An event is longer than [`MAX_EVENT`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooLong;

impl fmt::Display for TooLong {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "an event of the stream is longer than {MAX_EVENT} bytes"
        )
    }
}

impl std::error::Error for TooLong {}

/// Cuts a stream into events.
#[derive(Debug)]
pub struct Events {
    framing: Framing,
    /// The beginning of an event that is not whole yet.
    pending: Vec<u8>,
    /// Up to where `pending` was searched for line endings, and where its last line starts.
    searched: usize,
    line: usize,
    /// Whether the stream so far ended with a carriage return: a line feed now is part of that ending.
    after_return: bool,
    /// Whether nothing was handed out yet: a mark of the byte order may come first.
    first: bool,
}

impl Events {
    /// At the start of a stream.
    #[must_use]
    pub const fn new(framing: Framing) -> Self {
        Self {
            framing,
            pending: Vec::new(),
            searched: 0,
            line: 0,
            after_return: false,
            first: true,
        }
    }

    /// How many bytes wait for the rest of their event.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.pending.len()
    }

    /// Takes the next bytes and hands out the events that are whole with them.
    ///
    /// # Errors
    /// An event is too long. Nothing more can be read of the stream then.
    pub fn push(&mut self, bytes: &[u8], mut each: impl FnMut(Frame<'_>)) -> Result<(), TooLong> {
        if self.pending.is_empty() {
            let taken = self.events(bytes, &mut each);
            self.pending.extend_from_slice(&bytes[taken..]);
        } else {
            let mut pending = std::mem::take(&mut self.pending);
            pending.extend_from_slice(bytes);
            let taken = self.events(&pending, &mut each);
            pending.drain(..taken);
            self.pending = pending;
        }
        if self.pending.len() > MAX_EVENT {
            return Err(TooLong);
        }
        Ok(())
    }

    /// Hands out what is left when the stream has ended: its last event may lack the empty line.
    pub fn finish(&mut self, each: impl FnOnce(Frame<'_>)) {
        let pending = std::mem::take(&mut self.pending);
        if !pending.is_empty() {
            self.searched = 0;
            self.line = 0;
            each(self.frame(&pending));
        }
    }

    /// How many bytes belong to events that were handed out.
    fn events(&mut self, bytes: &[u8], each: &mut impl FnMut(Frame<'_>)) -> usize {
        let mut start = 0;
        let mut line = self.line;
        let mut at = self.searched;
        while let Some(found) = memchr2(b'\n', b'\r', &bytes[at..]) {
            let end = at + found;
            let byte = bytes[end];
            at = end + 1;
            let fed = byte == b'\n'
                && end == line
                && (self.after_return || (end > start && bytes[end - 1] == b'\r'));
            self.after_return = byte == b'\r';
            if fed {
                // The second half of a line ending that was seen already.
                line = at;
                continue;
            }
            // The first byte of an event can be the rest of the ending of the one before it.
            let empty = end == line;
            line = at;
            let whole = match self.framing {
                Framing::Events => empty,
                Framing::Lines => byte == b'\n' && end > start,
            };
            if !whole {
                continue;
            }
            // Both bytes of an ending belong to the event, if they are here.
            if byte == b'\r' && bytes.get(at) == Some(&b'\n') {
                at += 1;
                line = at;
                self.after_return = false;
            }
            each(self.frame(&bytes[start..at]));
            start = at;
        }
        // A search goes on where it ended, relative to what is kept.
        self.line = line - start;
        self.searched = bytes.len() - start;
        if self.searched > 0 && bytes.last() != Some(&b'\r') {
            self.after_return = false;
        }
        start
    }

    fn frame<'a>(&mut self, raw: &'a [u8]) -> Frame<'a> {
        let mut from = 0;
        if std::mem::take(&mut self.first) && raw.starts_with(b"\xef\xbb\xbf") {
            from = 3;
        }
        let mut frame = Frame {
            raw,
            event: None,
            data: None,
            at: None,
        };
        if self.framing == Framing::Lines {
            let text = raw[from..].trim_ascii_end();
            let skipped = text.len() - text.trim_ascii_start().len();
            if text.len() > skipped {
                frame.data = Some(Cow::Borrowed(&text[skipped..]));
                frame.at = Some(from + skipped);
            }
            return frame;
        }
        while from < raw.len() {
            let rest = &raw[from..];
            let length = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
            let line = &rest[..length];
            let (name, value) = match memchr::memchr(b':', line) {
                Some(colon) => {
                    let value = &line[colon + 1..];
                    (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
                }
                None => (line, &line[length..]),
            };
            match name {
                b"event" => frame.event = Some(value),
                b"data" => match &mut frame.data {
                    None => {
                        frame.data = Some(Cow::Borrowed(value));
                        frame.at = Some(from + length - value.len());
                    }
                    Some(data) => {
                        let data = data.to_mut();
                        data.push(b'\n');
                        data.extend_from_slice(value);
                        frame.at = None;
                    }
                },
                // Comments (no name), `id`, `retry`, and names that nobody knows.
                _ => {}
            }
            from += length + 1;
        }
        frame
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every event as its name and data, and the bytes of all of them.
    fn cut(framing: Framing, pieces: &[&[u8]]) -> (Vec<(String, Option<String>)>, Vec<u8>) {
        let mut events = Events::new(framing);
        let mut told = Vec::new();
        let mut bytes = Vec::new();
        let mut each = |frame: Frame<'_>| {
            bytes.extend_from_slice(frame.raw);
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            if let (Some(at), Some(data)) = (frame.at, &frame.data) {
                assert_eq!(&frame.raw[at..at + data.len()], &**data);
            }
            told.push((
                text(frame.event.unwrap_or_default()),
                frame.data.as_deref().map(text),
            ));
        };
        for piece in pieces {
            events.push(piece, &mut each).expect("short enough");
        }
        events.finish(&mut each);
        (told, bytes)
    }

    fn data(told: &[(String, Option<String>)]) -> Vec<&str> {
        told.iter()
            .filter_map(|(_, data)| data.as_deref())
            .collect()
    }

    #[test]
    fn all_line_endings_comments_and_a_byte_order_mark_are_read() {
        for ending in ["\n", "\r\n", "\r"] {
            let stream = "\u{feff}: hello\nevent: a\ndata: 1\n\n: ping\n\ndata:2\ndata: 3\nid: 9\nretry\n\nevent: b\ndata: [DONE]"
                .replace('\n', ending);
            let (told, bytes) = cut(Framing::Events, &[stream.as_bytes()]);
            assert_eq!(data(&told), ["1", "2\n3", "[DONE]"], "{ending:?}");
            assert_eq!(told[0].0, "a");
            assert_eq!(told[3].0, "b");
            assert_eq!(bytes, stream.as_bytes());
        }
    }

    #[test]
    fn lines_of_json_are_read_with_and_without_their_last_ending() {
        let (told, _) = cut(Framing::Lines, &[b"{\"a\":1}\r\n\n {\"b\":2}\n{\"c\":3}"]);
        assert_eq!(data(&told), ["{\"a\":1}", "{\"b\":2}", "{\"c\":3}"]);
    }

    #[test]
    fn an_event_that_never_ends_is_refused() {
        let mut events = Events::new(Framing::Events);
        let piece = vec![b'x'; 1 << 20];
        let mut result = Ok(());
        for _ in 0..17 {
            result = events.push(&piece, |_| panic!("there is no event"));
        }
        assert_eq!(result, Err(TooLong));
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_events_and_bytes(
            parts in proptest::collection::vec(prop_oneof![
                Just("data: {\"ä\":\"😀\"}"), Just("event: x"), Just(": c"), Just(""), Just("data"),
                Just("\n"), Just("\r"), Just("\r\n"), Just("\n\n"), Just("\r\n\r\n"), Just("\r\r"),
            ], 0..30),
            cuts in proptest::collection::vec(0_usize..400, 0..12),
            lines in any::<bool>(),
        ) {
            let framing = if lines { Framing::Lines } else { Framing::Events };
            let stream = parts.concat();
            let stream = stream.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            cuts.sort_unstable();
            cuts.push(stream.len());
            let mut from = 0;
            let pieces: Vec<&[u8]> = cuts.iter().map(|cut| { let piece = &stream[from..*cut]; from = *cut; piece }).collect();
            let (whole, bytes) = cut(framing, &[stream]);
            prop_assert_eq!(&bytes[..], stream);
            let (told, bytes) = cut(framing, &pieces);
            prop_assert_eq!(&bytes[..], stream);
            prop_assert_eq!(data(&told), data(&whole));
            let single: Vec<&[u8]> = stream.chunks(1).collect();
            let (told, _) = cut(framing, &single);
            prop_assert_eq!(data(&told), data(&whole));
        }
    }
}
