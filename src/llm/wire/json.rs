//! JSON read where it stands and written piece by piece.
//!
//! Owns the one reader of JSON on the way of a call. It keeps an index of where values begin and end
//! and copies nothing: a value can be cut out, replaced or handed on exactly as it was written, with
//! its numbers, its escapes and the order of its members. `serde_json` cannot serve here: its values
//! sort members, respell numbers and refuse the lone surrogates that real clients send.
//!
//! The reader is strict (RFC 8259), bounded in depth and in the number of values, and can refuse a
//! member that stands twice in one object: two parsers that disagree on which one counts are a way
//! around every limit.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::{self, Write as _};
use std::ops::Range;

use smallvec::SmallVec;

/// How deep arrays and objects may nest. What providers and their libraries accept at most.
pub const MAX_DEPTH: usize = 128;

/// How many values a text may have, numbers in arrays not counted. Each costs 12 bytes while it is read.
pub const MAX_VALUES: usize = 1 << 20;

/// Why a text is not JSON that we take, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed {
    /// The offset of the byte at which it was seen.
    pub at: usize,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It is not UTF-8.
    NotUtf8,
    /// It ends too early.
    Truncated,
    /// Something else was expected here.
    Expected(&'static str),
    /// A control character stands in a string.
    Control,
    /// An escape that JSON does not know.
    Escape,
    /// It nests deeper than [`MAX_DEPTH`].
    TooDeep,
    /// It has more values than [`MAX_VALUES`], or 4 GiB of text.
    TooMany,
    /// A member stands twice in one object.
    Duplicate,
    /// More follows after the value.
    Trailing,
}

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at;
        match self.fault {
            Fault::NotUtf8 => write!(formatter, "not UTF-8 at byte {at}"),
            Fault::Truncated => write!(formatter, "the JSON text ends too early, at byte {at}"),
            Fault::Expected(what) => write!(formatter, "expected {what} at byte {at}"),
            Fault::Control => write!(formatter, "a control character in a string at byte {at}"),
            Fault::Escape => write!(formatter, "an unknown escape at byte {at}"),
            Fault::TooDeep => write!(
                formatter,
                "nested deeper than {MAX_DEPTH} levels at byte {at}"
            ),
            Fault::TooMany => write!(formatter, "too many values at byte {at}"),
            Fault::Duplicate => write!(
                formatter,
                "the member at byte {at} stands twice in its object"
            ),
            Fault::Trailing => write!(formatter, "more text after the JSON value, at byte {at}"),
        }
    }
}

impl std::error::Error for Malformed {}

/// What to do with a member that stands twice in one object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Duplicates {
    /// The text is malformed: for what clients send.
    Refuse,
    /// The last one counts, as it does for most readers: for what providers answer.
    LastCounts,
}

/// Where the values of one text are. Kept and used again, it allocates nothing for the next text.
#[derive(Default, Debug)]
pub struct Index {
    nodes: Vec<Node>,
}

/// One value or the name of a member: its bytes, and the node that follows after all within it.
#[derive(Clone, Copy, Debug)]
struct Node {
    start: u32,
    end: u32,
    next: u32,
}

impl Index {
    /// An index of nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { nodes: Vec::new() }
    }

    /// Reads a whole text.
    ///
    /// # Errors
    /// Where and why it is not JSON that we take.
    pub fn read<'a>(
        &'a mut self,
        bytes: &'a [u8],
        duplicates: Duplicates,
    ) -> Result<Value<'a>, Malformed> {
        let text = std::str::from_utf8(bytes).map_err(|error| Malformed {
            at: error.valid_up_to(),
            fault: Fault::NotUtf8,
        })?;
        if u32::try_from(bytes.len()).is_err() {
            return Err(Malformed {
                at: 0,
                fault: Fault::TooMany,
            });
        }
        self.nodes.clear();
        Scan {
            bytes,
            at: 0,
            nodes: &mut self.nodes,
            duplicates,
        }
        .whole(text)?;
        Ok(Value {
            text,
            nodes: &self.nodes,
            at: 0,
        })
    }
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: &'a mut Vec<Node>,
    duplicates: Duplicates,
}

impl Scan<'_> {
    const fn fail<T>(&self, fault: Fault) -> Result<T, Malformed> {
        let fault = match fault {
            Fault::Expected(_) if self.at >= self.bytes.len() => Fault::Truncated,
            other => other,
        };
        Err(Malformed { at: self.at, fault })
    }

    fn space(&mut self) -> Option<u8> {
        loop {
            match self.bytes.get(self.at).copied() {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                other => return other,
            }
        }
    }

    fn push(&mut self, start: usize) -> Result<usize, Malformed> {
        if self.nodes.len() >= MAX_VALUES {
            return self.fail(Fault::TooMany);
        }
        let next = self.nodes.len() + 1;
        self.nodes.push(Node {
            start: start as u32,
            end: self.at as u32,
            next: next as u32,
        });
        Ok(next - 1)
    }

    /// Containers are kept on a stack of our own: the depth of a hostile text must not be that of ours.
    fn whole(&mut self, text: &str) -> Result<(), Malformed> {
        let mut open: SmallVec<[u32; 32]> = SmallVec::new();
        loop {
            // A value starts here.
            let start = self.at;
            let first = self.space();
            let start = start.max(self.at);
            let mut opened = false;
            match first {
                Some(b'{' | b'[') => {
                    if open.len() == MAX_DEPTH {
                        return self.fail(Fault::TooDeep);
                    }
                    self.at += 1;
                    let node = self.push(start)?;
                    open.push(node as u32);
                    opened = true;
                }
                Some(b'"') => {
                    self.string()?;
                    self.push(start)?;
                }
                Some(b'-' | b'0'..=b'9') => {
                    self.number()?;
                    // Numbers of an array are found by reading it again: a vector has thousands.
                    let in_array = open
                        .last()
                        .is_some_and(|node| self.is_array(*node as usize));
                    if !in_array {
                        self.push(start)?;
                    }
                }
                Some(b't') => self.word(b"true", start)?,
                Some(b'f') => self.word(b"false", start)?,
                Some(b'n') => self.word(b"null", start)?,
                _ => return self.fail(Fault::Expected("a value")),
            }
            // What comes after a value, or at the start of a container.
            loop {
                let Some(&container) = open.last() else {
                    return match self.space() {
                        None => Ok(()),
                        Some(_) => self.fail(Fault::Trailing),
                    };
                };
                let array = self.is_array(container as usize);
                let next = self.space();
                match (next, array) {
                    (Some(b']'), true) | (Some(b'}'), false) => {
                        self.at += 1;
                        let length = self.nodes.len() as u32;
                        let node = &mut self.nodes[container as usize];
                        node.end = self.at as u32;
                        node.next = length;
                        if !array && self.duplicates == Duplicates::Refuse {
                            self.refuse_duplicates(text, container as usize)?;
                        }
                        open.pop();
                        opened = false;
                        continue;
                    }
                    (Some(b','), _) if !opened => {
                        self.at += 1;
                        if self.space().is_none() {
                            return self.fail(Fault::Truncated);
                        }
                    }
                    _ if opened => {}
                    (_, true) => return self.fail(Fault::Expected("`,` or `]`")),
                    (_, false) => return self.fail(Fault::Expected("`,` or `}`")),
                }
                if !array {
                    if self.space() != Some(b'"') {
                        return self.fail(Fault::Expected("the name of a member in quotes"));
                    }
                    let start = self.at;
                    self.string()?;
                    self.push(start)?;
                    if self.space() != Some(b':') {
                        return self.fail(Fault::Expected("`:`"));
                    }
                    self.at += 1;
                }
                break;
            }
        }
    }

    fn is_array(&self, node: usize) -> bool {
        self.bytes[self.nodes[node].start as usize] == b'['
    }

    fn word(&mut self, word: &'static [u8], start: usize) -> Result<(), Malformed> {
        for expected in word {
            if self.bytes.get(self.at) != Some(expected) {
                return self.fail(Fault::Expected("`true`, `false` or `null`"));
            }
            self.at += 1;
        }
        self.push(start)?;
        Ok(())
    }

    /// From the opening quote to after the closing one, eight bytes at a time.
    fn string(&mut self) -> Result<(), Malformed> {
        self.at += 1;
        loop {
            self.at += plain_prefix(&self.bytes[self.at..]);
            match self.bytes.get(self.at).copied() {
                None => return self.fail(Fault::Truncated),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    let length = match self.bytes.get(self.at + 1) {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
                        Some(b'u') => match self.bytes.get(self.at + 2..self.at + 6) {
                            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => 6,
                            _ => return self.fail(Fault::Escape),
                        },
                        None => {
                            self.at += 1;
                            return self.fail(Fault::Truncated);
                        }
                        Some(_) => return self.fail(Fault::Escape),
                    };
                    self.at += length;
                }
                Some(_) => return self.fail(Fault::Control),
            }
        }
    }

    fn digits(&mut self) -> Result<(), Malformed> {
        let count = self.bytes[self.at..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        if count == 0 {
            return self.fail(Fault::Expected("a digit"));
        }
        self.at += count;
        Ok(())
    }

    fn number(&mut self) -> Result<(), Malformed> {
        if self.bytes[self.at] == b'-' {
            self.at += 1;
        }
        if self.bytes.get(self.at) == Some(&b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn refuse_duplicates(&self, text: &str, object: usize) -> Result<(), Malformed> {
        let end = self.nodes[object].next as usize;
        let names = || {
            let mut at = object + 1;
            std::iter::from_fn(move || {
                (at < end).then(|| {
                    let node = self.nodes[at];
                    at = self.nodes[at + 1].next as usize;
                    (
                        node.start as usize,
                        &text[node.start as usize + 1..node.end as usize - 1],
                    )
                })
            })
        };
        let duplicate = |at| {
            Err(Malformed {
                at,
                fault: Fault::Duplicate,
            })
        };
        // Pairs are compared while they are few; more go through a set whose hash nobody can guess.
        let mut few: SmallVec<[Cow<'_, str>; 12]> = SmallVec::new();
        for (count, (at, name)) in names().enumerate() {
            if count == 12 {
                let mut set = HashSet::new();
                for (at, name) in names() {
                    if !set.insert(decode(name)) {
                        return duplicate(at);
                    }
                }
                return Ok(());
            }
            let name = decode(name);
            if few.contains(&name) {
                return duplicate(at);
            }
            few.push(name);
        }
        Ok(())
    }
}

/// How many bytes at the start are neither a quote, nor a backslash, nor a control character.
fn plain_prefix(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let mut at = 0;
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let word = u64::from_le_bytes(*word);
        let zero = |x: u64| x.wrapping_sub(ONES) & !x;
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let found = (zero(word ^ (ONES * u64::from(b'"')))
            | zero(word ^ (ONES * u64::from(b'\\')))
            | control)
            & HIGHS;
        if found != 0 {
            // A borrow can only make a byte look found that comes after one that is.
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    at + rest
        .iter()
        .take_while(|byte| **byte >= 0x20 && **byte != b'"' && **byte != b'\\')
        .count()
}

/// What a value is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `null`.
    Null,
    /// `true` or `false`.
    Boolean,
    /// A number.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

/// A value in a text that was read.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    text: &'a str,
    nodes: &'a [Node],
    at: u32,
}

impl fmt::Debug for Value<'_> {
    /// What stands in it stays out of logs.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} at {:?}", self.kind(), self.span())
    }
}

impl<'a> Value<'a> {
    const fn node(&self) -> Node {
        self.nodes[self.at as usize]
    }

    const fn with(&self, at: u32) -> Self {
        Self { at, ..*self }
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.text.as_bytes()[self.node().start as usize] {
            b'{' => Kind::Object,
            b'[' => Kind::Array,
            b'"' => Kind::String,
            b't' | b'f' => Kind::Boolean,
            b'n' => Kind::Null,
            _ => Kind::Number,
        }
    }

    /// Its bytes in the text.
    #[must_use]
    pub const fn span(&self) -> Range<usize> {
        let node = self.node();
        node.start as usize..node.end as usize
    }

    /// It, as it is written.
    #[must_use]
    pub fn raw(&self) -> &'a str {
        &self.text[self.span()]
    }

    /// The inside of a string with its escapes; nothing for another kind.
    #[must_use]
    pub fn text(&self) -> Option<Text<'a>> {
        (self.kind() == Kind::String).then(|| {
            let Range { start, end } = self.span();
            Text(Cow::Borrowed(&self.text[start + 1..end - 1]))
        })
    }

    /// A string without its escapes; nothing for another kind.
    #[must_use]
    pub fn string(&self) -> Option<Cow<'a, str>> {
        (self.kind() == Kind::String).then(|| {
            let Range { start, end } = self.span();
            decode(&self.text[start + 1..end - 1])
        })
    }

    /// Whether it is this string.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        self.string().is_some_and(|string| string == text)
    }

    /// A whole number that is not negative, however it is spelled (`8`, `8.0`, `8e0`).
    #[must_use]
    pub fn integer(&self) -> Option<u64> {
        if self.kind() != Kind::Number {
            return None;
        }
        let raw = self.raw();
        raw.parse().ok().or_else(|| {
            let number: f64 = raw.parse().ok()?;
            (number >= 0.0 && number.fract() == 0.0 && number < 9e15).then_some(number as u64)
        })
    }

    /// A number.
    #[must_use]
    pub fn number(&self) -> Option<f64> {
        (self.kind() == Kind::Number).then(|| self.raw().parse().ok())?
    }

    /// A boolean.
    #[must_use]
    pub fn boolean(&self) -> Option<bool> {
        match self.raw() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// Whether it is `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.kind() == Kind::Null
    }

    /// The members of an object in their order; none for another kind.
    pub fn members(&self) -> impl Iterator<Item = (Value<'a>, Value<'a>)> + use<'a> {
        let this = *self;
        let node = self.node();
        let end = if self.kind() == Kind::Object {
            node.next
        } else {
            0
        };
        let mut at = self.at + 1;
        std::iter::from_fn(move || {
            (at < end).then(|| {
                let name = this.with(at);
                let value = this.with(at + 1);
                at = value.node().next;
                (name, value)
            })
        })
    }

    /// The values of an array that are not numbers, in their order; none for another kind.
    pub fn items(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let this = *self;
        let end = if self.kind() == Kind::Array {
            self.node().next
        } else {
            0
        };
        let mut at = self.at + 1;
        std::iter::from_fn(move || {
            (at < end).then(|| {
                let value = this.with(at);
                at = value.node().next;
                value
            })
        })
    }

    /// The numbers of an array as they are written, in their order. They must be its only values.
    pub fn numbers(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let flat = self.kind() == Kind::Array && self.node().next == self.at + 1;
        let inside = if flat {
            let Range { start, end } = self.span();
            &self.text[start + 1..end - 1]
        } else {
            ""
        };
        inside
            .split(',')
            .map(str::trim)
            .filter(|number| !number.is_empty())
    }

    /// The member of this name; nothing when it is missing or this is no object.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<Self> {
        self.named(name).map(|(_, value)| value)
    }

    /// The member of this name with its name as it is written.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<(Self, Self)> {
        let mut found = None;
        for (key, value) in self.members() {
            let span = key.span();
            let written = &self.text[span.start + 1..span.end - 1];
            if written == name || (written.contains('\\') && decode(written) == name) {
                found = Some((key, value));
            }
        }
        found
    }

    /// The member of this name unless it is `null`.
    #[must_use]
    pub fn some(&self, name: &str) -> Option<Self> {
        self.member(name).filter(|value| !value.is_null())
    }

    /// The member of either name unless it is `null`: Gemini is spoken with and without humps.
    #[must_use]
    pub fn either(&self, name: &str, other: &str) -> Option<Self> {
        self.some(name).or_else(|| self.some(other))
    }

    /// The text of the member of this name, if it is a string.
    #[must_use]
    pub fn text_of(&self, name: &str) -> Option<Text<'a>> {
        self.some(name)?.text()
    }

    /// The member of this name as a word; an empty one if it is no string.
    #[must_use]
    pub fn word_of(&self, name: &str) -> Cow<'a, str> {
        self.some(name)
            .and_then(|value| value.string())
            .unwrap_or_default()
    }

    /// The member of this name as a whole number that is not negative.
    #[must_use]
    pub fn integer_of(&self, name: &str) -> Option<u64> {
        self.some(name)?.integer()
    }

    /// The member of this name as a boolean.
    #[must_use]
    pub fn boolean_of(&self, name: &str) -> Option<bool> {
        self.some(name)?.boolean()
    }

    /// The member of this name as the JSON that it is written in, unless it is `null`.
    #[must_use]
    pub fn raw_of(&self, name: &str) -> Option<Cow<'a, str>> {
        Some(Cow::Borrowed(self.some(name)?.raw()))
    }

    /// The values of the array of this name that are not numbers; none if there is no such array.
    pub fn items_of(&self, name: &str) -> impl Iterator<Item = Value<'a>> + use<'a> {
        self.some(name).into_iter().flat_map(|value| value.items())
    }

    /// The member along a path of names, unless it is `null`.
    #[must_use]
    pub fn path(&self, names: &[&str]) -> Option<Self> {
        let mut value = *self;
        for name in names {
            value = value.some(name)?;
        }
        Some(value)
    }
}

/// The inside of a JSON string as it is written, escapes and all.
///
/// What only passes from one format to another is never decoded: a lone surrogate, an escaped zero and
/// the halves of a pair that a provider cut apart arrive as they left.
#[derive(Clone, PartialEq, Eq, Default, Hash)]
pub struct Text<'a>(Cow<'a, str>);

impl fmt::Debug for Text<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "\"{}\"", self.0)
    }
}

impl<'a> Text<'a> {
    /// A text as it is written inside of quotes. It must come from a JSON string.
    #[must_use]
    pub const fn written(text: Cow<'a, str>) -> Self {
        Self(text)
    }

    /// A text that is not escaped yet.
    #[must_use]
    pub fn of(text: &'a str) -> Self {
        Self(encode(text))
    }

    /// A text of one's own that is not escaped yet.
    #[must_use]
    pub fn owned(text: String) -> Self {
        match encode(&text) {
            Cow::Owned(escaped) => Self(Cow::Owned(escaped)),
            Cow::Borrowed(_) => Self(Cow::Owned(text)),
        }
    }

    /// As it is written inside of quotes.
    #[must_use]
    pub fn as_written(&self) -> &str {
        &self.0
    }

    /// Without escapes. A lone surrogate becomes U+FFFD.
    #[must_use]
    pub fn decoded(&self) -> Cow<'_, str> {
        decode(&self.0)
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts another one behind it.
    pub fn push(&mut self, other: &Text<'_>) {
        self.0.to_mut().push_str(&other.0);
    }

    /// The same, owned.
    #[must_use]
    pub fn into_owned(self) -> Text<'static> {
        Text(Cow::Owned(self.0.into_owned()))
    }

    /// The same, borrowed from this one.
    #[must_use]
    pub fn borrowed(&self) -> Text<'_> {
        Text(Cow::Borrowed(&self.0))
    }
}

/// A text with the escapes that JSON asks for.
#[must_use]
pub fn encode(text: &str) -> Cow<'_, str> {
    let plain = plain_prefix(text.as_bytes());
    if plain == text.len() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    loop {
        let plain = plain_prefix(rest.as_bytes());
        out.push_str(&rest[..plain]);
        let Some(byte) = rest.as_bytes().get(plain) else {
            return Cow::Owned(out);
        };
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            byte => {
                let _ = write!(out, "\\u{byte:04x}");
            }
        }
        rest = &rest[plain + 1..];
    }
}

/// The inside of a JSON string without its escapes. A lone surrogate becomes U+FFFD.
#[must_use]
pub fn decode(written: &str) -> Cow<'_, str> {
    let Some(first) = memchr::memchr(b'\\', written.as_bytes()) else {
        return Cow::Borrowed(written);
    };
    let mut out = String::with_capacity(written.len());
    out.push_str(&written[..first]);
    let mut rest = &written[first..];
    let unit = |text: &str| {
        text.strip_prefix("\\u")
            .and_then(|digits| digits.get(..4))
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
    };
    while let Some(escape) = rest.as_bytes().get(1) {
        let mut length = 2;
        match escape {
            b'b' => out.push('\u{8}'),
            b'f' => out.push('\u{c}'),
            b'n' => out.push('\n'),
            b'r' => out.push('\r'),
            b't' => out.push('\t'),
            b'u' => {
                let high = unit(rest).unwrap_or(0xfffd);
                length = 6;
                let low = rest.get(6..).and_then(unit);
                let character = match (high, low) {
                    (0xd800..0xdc00, Some(low @ 0xdc00..0xe000)) => {
                        length = 12;
                        char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00))
                    }
                    _ => char::from_u32(high),
                };
                out.push(character.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            other => out.push(char::from(*other)),
        }
        rest = rest.get(length..).unwrap_or_default();
        let plain = memchr::memchr(b'\\', rest.as_bytes()).unwrap_or(rest.len());
        out.push_str(&rest[..plain]);
        rest = &rest[plain..];
    }
    Cow::Owned(out)
}

/// Writes JSON piece by piece, without spaces. Commas come by themselves.
///
/// The one who writes closes what it opens; nothing here checks that.
#[derive(Default, Debug)]
pub struct Writer {
    out: String,
}

impl Writer {
    /// With nothing written yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { out: String::new() }
    }

    /// What was written.
    #[must_use]
    pub fn finish(self) -> String {
        self.out
    }

    /// What was written so far.
    #[must_use]
    pub fn written(&self) -> &str {
        &self.out
    }

    /// Takes what was written and starts again.
    pub fn take(&mut self) -> String {
        std::mem::take(&mut self.out)
    }

    fn comma(&mut self) {
        // A string ends with a quote, so these can only be the structure's own.
        if !matches!(
            self.out.as_bytes().last(),
            None | Some(b'{' | b'[' | b':' | b' ' | b'\n')
        ) {
            self.out.push(',');
        }
    }

    /// Text that is not JSON: what stands around it in a stream.
    pub fn plain(&mut self, text: &str) -> &mut Self {
        self.out.push_str(text);
        self
    }

    /// `{`
    pub fn open(&mut self) -> &mut Self {
        self.comma();
        self.out.push('{');
        self
    }

    /// `{` and the member `type`, with which most objects of these formats begin.
    pub fn open_as(&mut self, kind: &str) -> &mut Self {
        self.open().key("type").string(kind)
    }

    /// `}`
    pub fn close(&mut self) -> &mut Self {
        self.out.push('}');
        self
    }

    /// `[`
    pub fn open_array(&mut self) -> &mut Self {
        self.comma();
        self.out.push('[');
        self
    }

    /// `]`
    pub fn close_array(&mut self) -> &mut Self {
        self.out.push(']');
        self
    }

    /// The name of the next member. It must need no escapes.
    pub fn key(&mut self, name: &str) -> &mut Self {
        self.comma();
        self.out.push('"');
        self.out.push_str(name);
        self.out.push_str("\":");
        self
    }

    /// The name of the next member, as it was read.
    pub fn member_of(&mut self, name: Value<'_>) -> &mut Self {
        self.comma();
        self.out.push_str(name.raw());
        self.out.push(':');
        self
    }

    /// A string of text that is written as JSON writes it.
    pub fn text(&mut self, text: &Text<'_>) -> &mut Self {
        self.comma();
        self.out.push('"');
        self.out.push_str(&text.0);
        self.out.push('"');
        self
    }

    /// An array of such strings.
    pub fn texts<'t>(&mut self, texts: impl IntoIterator<Item = &'t Text<'t>>) -> &mut Self {
        self.open_array();
        for text in texts {
            self.text(text);
        }
        self.close_array()
    }

    /// Those of some members, each JSON already, that are there.
    pub fn members(&mut self, members: &[(&str, Option<&str>)]) -> &mut Self {
        for (name, json) in members {
            if let Some(json) = json {
                self.key(name).raw(json);
            }
        }
        self
    }

    /// A string of text that is not escaped yet.
    pub fn string(&mut self, text: &str) -> &mut Self {
        self.comma();
        self.out.push('"');
        self.out.push_str(&encode(text));
        self.out.push('"');
        self
    }

    /// A string in pieces, each written as JSON writes it.
    pub fn pieces(&mut self, pieces: &[&str]) -> &mut Self {
        self.comma();
        self.out.push('"');
        for piece in pieces {
            self.out.push_str(piece);
        }
        self.out.push('"');
        self
    }

    /// Takes back what was written after a length.
    pub fn cut(&mut self, length: usize) {
        self.out.truncate(length);
    }

    /// A value that is JSON already.
    pub fn raw(&mut self, json: &str) -> &mut Self {
        self.comma();
        self.out.push_str(json);
        self
    }

    /// A whole number.
    pub fn integer(&mut self, number: u64) -> &mut Self {
        self.comma();
        let _ = write!(self.out, "{number}");
        self
    }

    /// A boolean.
    pub fn boolean(&mut self, truth: bool) -> &mut Self {
        self.raw(if truth { "true" } else { "false" })
    }

    /// `null`
    pub fn null(&mut self) -> &mut Self {
        self.raw("null")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<String, Malformed> {
        let mut index = Index::new();
        index
            .read(text.as_bytes(), Duplicates::Refuse)
            .map(|value| value.raw().to_owned())
    }

    #[test]
    fn a_text_is_refused_where_it_goes_wrong() {
        let cases: &[(&str, usize, Fault)] = &[
            ("", 0, Fault::Truncated),
            ("{", 1, Fault::Truncated),
            ("[1,]", 3, Fault::Expected("a value")),
            (
                "{\"a\":1,}",
                7,
                Fault::Expected("the name of a member in quotes"),
            ),
            ("{\"a\" 1}", 5, Fault::Expected("`:`")),
            ("[1 2]", 3, Fault::Expected("`,` or `]`")),
            ("{\"a\":1 2}", 7, Fault::Expected("`,` or `}`")),
            ("\"\u{1}\"", 1, Fault::Control),
            ("\"\\x\"", 1, Fault::Escape),
            ("\"\\u12g4\"", 1, Fault::Escape),
            ("\"abc", 4, Fault::Truncated),
            ("01", 1, Fault::Trailing),
            ("-", 1, Fault::Truncated),
            ("1.", 2, Fault::Truncated),
            ("1e+", 3, Fault::Truncated),
            ("tru", 3, Fault::Truncated),
            ("nul1", 3, Fault::Expected("`true`, `false` or `null`")),
            ("{} x", 3, Fault::Trailing),
            ("[}", 1, Fault::Expected("a value")),
            ("{\"a\":1,\"\\u0061\":2}", 7, Fault::Duplicate),
            ("{\"m\":{\"a\":1,\"a\":2}}", 12, Fault::Duplicate),
        ];
        for (text, at, fault) in cases {
            assert_eq!(
                read(text),
                Err(Malformed {
                    at: *at,
                    fault: *fault
                }),
                "{text}"
            );
        }
        let mut index = Index::new();
        let bytes = b"\"a\xff\"";
        let told = index.read(bytes, Duplicates::Refuse).map(|_| ());
        assert_eq!(
            told,
            Err(Malformed {
                at: 2,
                fault: Fault::NotUtf8
            })
        );
    }

    #[test]
    fn depth_and_number_of_values_are_bounded() {
        let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(read(&deep(MAX_DEPTH)).is_ok());
        assert_eq!(
            read(&deep(MAX_DEPTH + 1)).map_err(|error| error.fault),
            Err(Fault::TooDeep)
        );
        let many = format!("[{}\"\"]", "\"\",".repeat(MAX_VALUES));
        assert_eq!(
            read(&many).map_err(|error| error.fault),
            Err(Fault::TooMany)
        );
        let numbers = format!("[{}1]", "1,".repeat(MAX_VALUES + 1));
        assert!(read(&numbers).is_ok());
    }

    #[test]
    fn duplicates_are_found_among_many_members() {
        let mut text = String::from("{");
        for number in 0..100 {
            let _ = write!(text, "\"m{number}\":0,");
        }
        assert!(read(&format!("{text}\"x\":1}}")).is_ok());
        assert_eq!(
            read(&format!("{text}\"m50\":1}}")).map_err(|error| error.fault),
            Err(Fault::Duplicate)
        );
        let mut index = Index::new();
        let value = index
            .read(b"{\"a\":1,\"a\":2}", Duplicates::LastCounts)
            .expect("JSON");
        assert_eq!(value.integer_of("a"), Some(2));
    }

    #[test]
    fn values_are_found_by_name_position_and_kind() {
        let text =
            br#" {"a":{"b":[true,null,"x\n",[1, 2.5 ,3]]},"n":8.0,"\u0065":"\ud83d\ude00\ud800"} "#;
        let mut index = Index::new();
        let value = index.read(text, Duplicates::Refuse).expect("JSON");
        let list = value.path(&["a", "b"]).expect("a list");
        let kinds: Vec<Kind> = list.items().map(|item| item.kind()).collect();
        assert_eq!(
            kinds,
            [Kind::Boolean, Kind::Null, Kind::String, Kind::Array]
        );
        let numbers: Vec<&str> = list.items().last().expect("one").numbers().collect();
        assert_eq!(numbers, ["1", "2.5", "3"]);
        assert_eq!(value.integer_of("n"), Some(8));
        let string = value.member("e").and_then(|value| value.string());
        assert_eq!(string.as_deref(), Some("😀\u{fffd}"));
        assert!(value.path(&["a", "c"]).is_none());
    }

    #[test]
    fn what_is_written_has_its_commas() {
        let mut writer = Writer::new();
        writer.open().key("a").open_array().integer(1).string("{[:");
        writer.null().close_array().key("b").boolean(true);
        writer.key("c").raw("{}").key("d").open().close().close();
        assert_eq!(
            writer.finish(),
            r#"{"a":[1,"{[:",null],"b":true,"c":{},"d":{}}"#
        );
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            "\\PC{0,12}".prop_map(Into::into),
            proptest::collection::vec(any::<char>(), 0..4)
                .prop_map(|text| text.into_iter().collect::<String>().into()),
        ];
        leaf.prop_recursive(4, 48, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                proptest::collection::btree_map("\\PC{0,6}", inner, 0..6).prop_map(|members| {
                    members
                        .into_iter()
                        .collect::<serde_json::Map<_, _>>()
                        .into()
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_serde_writes_is_read(value in json(), pretty in any::<bool>()) {
            let text = if pretty {
                serde_json::to_string_pretty(&value)
            } else {
                serde_json::to_string(&value)
            }
            .expect("it can be written");
            prop_assert_eq!(read(&text), Ok(text));
        }

        #[test]
        fn any_text_is_read_as_serde_reads_it(text in "[\\[\\]{},:\"\\\\ue0-9.+\\-tfn a]{0,24}") {
            let ours = read(&text).is_ok();
            let theirs = serde_json::from_str::<serde_json::Value>(&text);
            let duplicate = matches!(read(&text), Err(Malformed { fault: Fault::Duplicate, .. }));
            // What they refuse and we take: lone surrogates, and numbers beyond their range.
            if theirs.is_ok() {
                prop_assert!(ours || duplicate, "{}", text);
            } else if ours {
                let why = theirs.expect_err("refused").to_string();
                prop_assert!(
                    why.contains("surrogate") || why.contains("hex escape") || why.contains("out of range"),
                    "{} {}", text, why
                );
            }
        }

        #[test]
        fn a_text_survives_encoding(text in proptest::collection::vec(any::<char>(), 0..40)) {
            let text: String = text.into_iter().collect();
            let encoded = encode(&text);
            prop_assert_eq!(decode(&encoded), text.as_str());
            let quoted = format!("\"{encoded}\"");
            prop_assert_eq!(serde_json::from_str::<String>(&quoted).expect("JSON"), text);
        }
    }
}
