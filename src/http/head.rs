//! One request or response head over byte ranges.
//!
//! Owns the bytes of a head and the list of its fields as ranges into them; knows nothing of
//! sockets or policy. Routing, variables, cache keys and logs all read this one form; HTTP/1.1 is
//! parsed in place, an HTTP/2 head is copied in once. Spelling and order of fields are kept.

/// The fields of a head. Names and values are ranges of [`Fields::bytes`].
#[derive(Debug)]
pub struct Fields {
    /// What the ranges point into. For a request of HTTP/1.1 this is the connection's read buffer:
    /// bytes behind the head (body, pipelined requests) stand in it too.
    pub bytes: Vec<u8>,
    list: Vec<Field>,
    /// Position in `list` of the first field of each known name; `NONE` when absent.
    first: [u16; Known::COUNT],
}

const NONE: u16 = u16::MAX;

/// One field as ranges.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    name_start: u32,
    name_length: u16,
    known: Option<Known>,
    value_start: u32,
    value_length: u32,
}

impl Field {
    /// Which known name it has.
    pub fn known(self) -> Option<Known> {
        self.known
    }
}

impl Default for Fields {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            list: Vec::new(),
            first: [NONE; Known::COUNT],
        }
    }
}

impl Fields {
    /// Forgets all fields; the bytes stay.
    pub fn forget(&mut self) {
        if !self.list.is_empty() {
            self.list.clear();
            self.first = [NONE; Known::COUNT];
        }
    }

    /// Forgets fields and bytes; capacity stays.
    pub fn clear(&mut self) {
        self.forget();
        self.bytes.clear();
    }

    /// Adds a field whose name and value already stand in `bytes` at these ranges, where the caller
    /// already knows which name it is.
    pub fn add(
        &mut self,
        known: Option<Known>,
        name: std::ops::Range<usize>,
        value: std::ops::Range<usize>,
    ) {
        self.parts().1.add(known, name, value);
    }

    /// The bytes, and the list of fields to add ranges of them to.
    #[inline]
    pub fn parts(&mut self) -> (&[u8], List<'_>) {
        let list = List {
            fields: &mut self.list,
            first: &mut self.first,
        };
        (&self.bytes, list)
    }

    /// Appends a field, copying name and value behind the bytes.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        self.push_known(Known::of(name), name, value);
    }

    /// As [`Fields::push`] where the caller already knows which name it is.
    pub fn push_known(&mut self, known: Option<Known>, name: &[u8], value: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(name);
        let middle = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.add(known, start..middle, middle..self.bytes.len());
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Is there no field?
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The fields as `(known, name, value)`, in the order received.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (Option<Known>, &[u8], &[u8])> {
        self.list
            .iter()
            .map(|&field| (field.known, self.name(field), self.value(field)))
    }

    /// The field at a position.
    pub fn at(&self, position: usize) -> (Option<Known>, &[u8], &[u8]) {
        let field = self.list[position];
        (field.known, self.name(field), self.value(field))
    }

    /// The name's bytes as received.
    pub fn name(&self, field: Field) -> &[u8] {
        let start = field.name_start as usize;
        &self.bytes[start..start + usize::from(field.name_length)]
    }

    /// The value's bytes, without the white space around it.
    pub fn value(&self, field: Field) -> &[u8] {
        let start = field.value_start as usize;
        &self.bytes[start..start + field.value_length as usize]
    }

    /// The value of the first field of a known name.
    pub fn known(&self, known: Known) -> Option<&[u8]> {
        match self.first[known as usize] {
            NONE => None,
            position => Some(self.value(self.list[usize::from(position)])),
        }
    }

    /// Is there a field of this name?
    pub fn has(&self, known: Known) -> bool {
        self.first[known as usize] != NONE
    }

    /// The values of all fields of a known name, in order.
    pub fn all(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        let first = match self.first[known as usize] {
            NONE => self.list.len(),
            position => usize::from(position),
        };
        self.list[first..]
            .iter()
            .filter(move |field| field.known == Some(known))
            .map(|&field| self.value(field))
    }

    /// The values of `X-Forwarded-For`, those added last first.
    pub fn forwarded_for(&self) -> impl Iterator<Item = &[u8]> {
        let is_one = |field: &&Field| field.known == Some(Known::XForwardedFor);
        let fields = self.list.iter().rev().filter(is_one);
        fields.map(|&field| self.value(field))
    }

    /// The values of all fields whose name is this one, without regard to case.
    pub fn named<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.list
            .iter()
            .map(|&field| (self.name(field), self.value(field)))
            .filter(move |(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// Puts a field in front of all others.
    pub fn push_first(&mut self, known: Known, value: &[u8]) {
        self.push_known(Some(known), known.name().as_bytes(), value);
        self.list.rotate_right(1);
        self.find_first();
    }

    /// Gives the first field of a known name another value.
    pub fn replace(&mut self, known: Known, value: &[u8]) {
        let position = self.first[known as usize];
        if let Some(field) = self.list.get_mut(usize::from(position)) {
            field.value_start = self.bytes.len() as u32;
            field.value_length = value.len() as u32;
            self.bytes.extend_from_slice(value);
        }
    }

    /// Gives the first field of a name another value and takes out the others of that name; `false`
    /// if there is none. The spelling of the name stays.
    pub fn set(&mut self, name: &[u8], value: &[u8]) -> bool {
        let start = self.bytes.len();
        let bytes = &self.bytes;
        let mut found = false;
        self.list.retain_mut(|field| {
            let name_start = field.name_start as usize;
            let own = &bytes[name_start..name_start + usize::from(field.name_length)];
            if !own.eq_ignore_ascii_case(name) {
                return true;
            }
            field.value_start = start as u32;
            field.value_length = value.len() as u32;
            !std::mem::replace(&mut found, true)
        });
        if found {
            self.bytes.extend_from_slice(value);
            self.find_first();
        }
        found
    }

    /// Removes all fields of a known name.
    pub fn remove(&mut self, known: Known) {
        if self.has(known) {
            self.retain(|field, _, _| field != Some(known));
        }
    }

    /// Keeps the fields for which the answer is `true`.
    pub fn retain(&mut self, mut keep: impl FnMut(Option<Known>, &[u8], &[u8]) -> bool) {
        let mut list = std::mem::take(&mut self.list);
        list.retain(|&field| keep(field.known, self.name(field), self.value(field)));
        self.list = list;
        self.find_first();
    }

    /// Looks again for the first field of each known name.
    fn find_first(&mut self) {
        self.first = [NONE; Known::COUNT];
        for (position, field) in self.list.iter().enumerate().rev() {
            if let Some(known) = field.known {
                self.first[known as usize] = position as u16;
            }
        }
    }
}

/// The list of a head's fields while their bytes are read.
pub struct List<'a> {
    fields: &'a mut Vec<Field>,
    first: &'a mut [u16; Known::COUNT],
}

impl List<'_> {
    /// Adds a field.
    #[inline]
    pub fn add(
        &mut self,
        known: Option<Known>,
        name: std::ops::Range<usize>,
        value: std::ops::Range<usize>,
    ) {
        if let Some(known) = known {
            let first = &mut self.first[known as usize];
            if *first == NONE {
                *first = self.fields.len() as u16;
            }
        }
        self.fields.push(Field {
            name_start: name.start as u32,
            name_length: (name.end - name.start) as u16,
            known,
            value_start: value.start as u32,
            value_length: (value.end - value.start) as u32,
        });
    }

    /// How many fields there are.
    #[inline]
    pub fn count(&self) -> usize {
        self.fields.len()
    }

    /// Is there a field of this name?
    #[inline]
    pub fn has(&self, known: Known) -> bool {
        self.first[known as usize] != NONE
    }
}

macro_rules! known_fields {
    ($($variant:ident $name:literal,)*) => {
        /// Field names that the proxy itself reads or writes.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        #[expect(missing_docs, reason = "each variant is named after its field")]
        pub enum Known { $($variant,)* }

        impl Known {
            /// Every known name.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The usual spelling.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

known_fields! {
    Accept "Accept", AcceptEncoding "Accept-Encoding", AcceptLanguage "Accept-Language", AcceptRanges "Accept-Ranges",
    Age "Age", Allow "Allow", Authorization "Authorization", CacheControl "Cache-Control", Connection "Connection",
    ContentDisposition "Content-Disposition",
    ContentEncoding "Content-Encoding", ContentLength "Content-Length", ContentRange "Content-Range",
    ContentType "Content-Type", Cookie "Cookie", Date "Date", Destination "Destination", Etag "ETag", Expect "Expect",
    Expires "Expires", Forwarded "Forwarded", Host "Host", Http2Settings "HTTP2-Settings", IfMatch "If-Match",
    IfModifiedSince "If-Modified-Since", IfNoneMatch "If-None-Match", IfRange "If-Range",
    IfUnmodifiedSince "If-Unmodified-Since", KeepAlive "Keep-Alive", LastModified "Last-Modified", Link "Link",
    Location "Location", Origin "Origin", Pragma "Pragma", Priority "Priority", ProxyAuthenticate "Proxy-Authenticate",
    ProxyAuthorization "Proxy-Authorization", ProxyConnection "Proxy-Connection", Range "Range", Referer "Referer",
    Refresh "Refresh", RetryAfter "Retry-After", Server "Server", SetCookie "Set-Cookie", Status "Status", Te "TE",
    Trailer "Trailer", TransferEncoding "Transfer-Encoding", Upgrade "Upgrade", UserAgent "User-Agent", Vary "Vary",
    Via "Via", WwwAuthenticate "WWW-Authenticate", XAccelBuffering "X-Accel-Buffering", XAccelCharset "X-Accel-Charset",
    XAccelExpires "X-Accel-Expires", XAccelLimitRate "X-Accel-Limit-Rate", XAccelRedirect "X-Accel-Redirect",
    XForwardedFor "X-Forwarded-For", XForwardedHost "X-Forwarded-Host", XForwardedProto "X-Forwarded-Proto",
    XRealIp "X-Real-IP",
}

impl Known {
    /// The known name that these bytes are, without regard to case.
    #[inline]
    pub fn of(name: &[u8]) -> Option<Self> {
        let (first, last) = ends(name);
        let position = SLOTS[slot((first, last), name.len(), MULTIPLIER)];
        let spelling = SPELLINGS.get(usize::from(position))?;
        let difference = (first ^ spelling.ends.0) & spelling.compared.0
            | (last ^ spelling.ends.1) & spelling.compared.1;
        if difference != 0 || spelling.length != name.len() {
            return None;
        }
        if name.len() > 16 {
            return spelling.known.has_name(name);
        }
        Some(spelling.known)
    }

    /// As [`Known::of`] where it can be no other one. The two words of a longer name do not meet.
    #[inline(never)]
    fn has_name(self, name: &[u8]) -> Option<Self> {
        name.eq_ignore_ascii_case(self.name().as_bytes())
            .then_some(self)
    }
}

/// How a known name is written.
#[derive(Clone, Copy)]
struct Spelling {
    ends: (u64, u64),
    /// All bits of `ends` but the bit of case of each letter.
    compared: (u64, u64),
    length: usize,
    known: Known,
}

/// The first and the last eight bytes of a name; of a shorter one the first and last four, or two,
/// repeated until two words are full.
#[inline]
const fn ends(name: &[u8]) -> (u64, u64) {
    if let (Some(first), Some(last)) = (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        (u64::from_le_bytes(*first), u64::from_le_bytes(*last))
    } else if let (Some(first), Some(last)) = (name.first_chunk::<4>(), name.last_chunk::<4>()) {
        let word = u32::from_le_bytes(*first) as u64 | (u32::from_le_bytes(*last) as u64) << 32;
        (word, word)
    } else if let (Some(first), Some(last)) = (name.first_chunk::<2>(), name.last_chunk::<2>()) {
        let half = u16::from_le_bytes(*first) as u64 | (u16::from_le_bytes(*last) as u64) << 16;
        let word = half | half << 32;
        (word, word)
    } else {
        (0, 0)
    }
}

/// All bits of a word but the bit of case of each letter.
const fn compared(word: u64) -> u64 {
    let mut bytes = word.to_le_bytes();
    let mut position = 0;
    while position < bytes.len() {
        let is_letter = bytes[position].is_ascii_alphabetic();
        bytes[position] = if is_letter { !(CASE as u8) } else { u8::MAX };
        position += 1;
    }
    u64::from_le_bytes(bytes)
}

const CASE: u64 = 0x2020_2020_2020_2020;

/// The known names by position.
static SPELLINGS: [Spelling; Known::COUNT] = {
    let mut spellings = [Spelling {
        ends: (0, 0),
        compared: (0, 0),
        length: 0,
        known: Known::ALL[0],
    }; Known::COUNT];
    let mut position = 0;
    while position < Known::COUNT {
        let known = Known::ALL[position];
        let (first, last) = ends(known.name().as_bytes());
        spellings[position] = Spelling {
            ends: (first, last),
            compared: (compared(first), compared(last)),
            length: known.name().len(),
            known,
        };
        position += 1;
    }
    spellings
};

/// In which of `SLOTS` a name stands, in whichever case, if it is known.
#[inline]
const fn slot((first, last): (u64, u64), length: usize, multiplier: u64) -> usize {
    let mixed = (first | CASE) ^ (last | CASE).rotate_left(23) ^ length as u64;
    (mixed.wrapping_mul(multiplier) >> (64 - 9)) as usize
}

const EMPTY: u8 = u8::MAX;

/// The position of the known name of each slot.
static SLOTS: [u8; 1 << 9] = match slots(MULTIPLIER) {
    Some(slots) => slots,
    None => unreachable!(),
};

/// The first odd number behind a fixed one that gives every known name a slot of its own.
const MULTIPLIER: u64 = {
    let mut multiplier = 0x9e37_79b9_7f4a_7c15;
    while slots(multiplier).is_none() {
        multiplier += 2;
    }
    multiplier
};

const fn slots(multiplier: u64) -> Option<[u8; 1 << 9]> {
    let mut slots = [EMPTY; 1 << 9];
    let mut position = 0;
    while position < Known::COUNT {
        let name = Known::ALL[position].name().as_bytes();
        let slot = slot(ends(name), name.len(), multiplier);
        if slots[slot] != EMPTY {
            return None;
        }
        slots[slot] = position as u8;
        position += 1;
    }
    Some(slots)
}

/// The method of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[expect(missing_docs, reason = "each variant is named after its method")]
pub enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Delete,
    Mkcol,
    Copy,
    Move,
    Options,
    Propfind,
    Proppatch,
    Lock,
    Unlock,
    Patch,
    Trace,
    Connect,
    /// Any other token.
    Other,
}

impl Method {
    /// The method that this token names; methods are case-sensitive (RFC 9110 section 9.1).
    pub fn of(token: &[u8]) -> Self {
        match token {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"MKCOL" => Self::Mkcol,
            b"COPY" => Self::Copy,
            b"MOVE" => Self::Move,
            b"OPTIONS" => Self::Options,
            b"PROPFIND" => Self::Propfind,
            b"PROPPATCH" => Self::Proppatch,
            b"LOCK" => Self::Lock,
            b"UNLOCK" => Self::Unlock,
            b"PATCH" => Self::Patch,
            b"TRACE" => Self::Trace,
            b"CONNECT" => Self::Connect,
            _ => Self::Other,
        }
    }

    /// May a request be sent again after it may have been acted upon? The methods that nginx does
    /// not call non-idempotent: all but POST, LOCK and PATCH.
    pub fn is_idempotent(self) -> bool {
        !matches!(self, Self::Post | Self::Lock | Self::Patch)
    }
}

/// The version of the protocol in which a message was received.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Version {
    /// `GET /` without version or fields; nothing but a body is answered.
    Http09,
    /// `HTTP/1.0`
    Http10,
    /// `HTTP/1.1`
    #[default]
    Http11,
    /// `HTTP/2.0` in variables and logs.
    Http2,
}

impl Version {
    /// As in `$server_protocol`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http09 => "HTTP/0.9",
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2.0",
        }
    }
}

/// A range of [`Fields::bytes`].
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The first byte.
    pub start: u32,
    /// Behind the last byte.
    pub end: u32,
}

impl Slice {
    /// A slice of positions.
    pub fn new(start: usize, end: usize) -> Self {
        Self {
            start: start as u32,
            end: end as u32,
        }
    }

    /// The bytes it stands for.
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start as usize..self.end as usize]
    }

    /// How many bytes.
    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// No byte?
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// The head of a request.
#[derive(Default, Debug)]
pub struct RequestHead {
    /// The fields and the bytes that every slice points into.
    pub fields: Fields,
    /// The method.
    pub method: Method,
    /// Its token as received.
    pub method_token: Slice,
    /// The whole target as received.
    pub target: Slice,
    /// The path and query of the target: the target itself in origin form, the part behind the
    /// authority in absolute form (`/` if there is none, but a query alone keeps its `?` in front),
    /// `*` for `OPTIONS *`, empty for CONNECT.
    pub path_and_query: Slice,
    /// The authority of an absolute-form target or of CONNECT, with port; empty otherwise.
    pub authority: Slice,
    /// The version.
    pub version: Version,
    /// The request line without its line end, as `$request`.
    pub line: Slice,
    /// Behind the empty line that ends the head.
    pub length: usize,
}

impl RequestHead {
    /// The same head in room of its own, without what stands behind it.
    pub fn copy(&self) -> Self {
        Self {
            fields: Fields {
                bytes: self.fields.bytes[..self.length.min(self.fields.bytes.len())].to_vec(),
                list: self.fields.list.clone(),
                first: self.fields.first,
            },
            ..*self
        }
    }

    /// Makes ready for the next request; the bytes stay.
    pub fn reset(&mut self) {
        self.fields.forget();
        self.method = Method::Get;
        self.method_token = Slice::default();
        self.target = Slice::default();
        self.path_and_query = Slice::default();
        self.authority = Slice::default();
        self.version = Version::Http11;
        self.line = Slice::default();
        self.length = 0;
    }

    /// The bytes of a slice of this head.
    pub fn bytes(&self, slice: Slice) -> &[u8] {
        slice.of(&self.fields.bytes)
    }
}

/// The head of a response as received from a peer.
#[derive(Default, Debug)]
pub struct ResponseHead {
    /// The fields and the bytes that every slice points into.
    pub fields: Fields,
    /// The status.
    pub status: u16,
    /// The reason phrase as received.
    pub reason: Slice,
    /// The version.
    pub version: Version,
    /// Its lines ended in LF alone; the connection is not to be used again.
    pub line_feeds: bool,
    /// Behind the empty line that ends the head.
    pub length: usize,
}

impl ResponseHead {
    /// Makes ready for the next response; the bytes stay.
    pub fn reset(&mut self) {
        self.fields.forget();
        self.status = 0;
        self.reason = Slice::default();
        self.version = Version::Http11;
        self.line_feeds = false;
        self.length = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_found_in_any_case() {
        for &known in Known::ALL {
            assert_eq!(Known::of(known.name().as_bytes()), Some(known));
            assert_eq!(
                Known::of(known.name().to_ascii_lowercase().as_bytes()),
                Some(known)
            );
        }
        assert_eq!(Known::of(b"X-Unknown"), None);
        assert_eq!(Known::of(b""), None);
        assert_eq!(Known::of(&[b'a'; 300]), None);
    }

    #[test]
    fn a_name_with_any_byte_changed_is_not_the_known_one() {
        for &known in Known::ALL {
            let name = known.name().as_bytes();
            for position in 0..name.len() {
                for byte in 0..=u8::MAX {
                    let mut changed = name.to_vec();
                    changed[position] = byte;
                    let expected = Known::ALL
                        .iter()
                        .copied()
                        .find(|known| changed.eq_ignore_ascii_case(known.name().as_bytes()));
                    assert_eq!(Known::of(&changed), expected);
                }
            }
        }
    }

    #[test]
    fn repeated_fields_keep_their_order_and_removal_keeps_the_index_true() {
        let mut fields = Fields::default();
        fields.push(b"Cookie", b"a");
        fields.push(b"X", b"1");
        fields.push(b"cookie", b"b");
        assert_eq!(fields.all(Known::Cookie).collect::<Vec<_>>(), [b"a", b"b"]);
        fields.push(b"Host", b"h");
        fields.remove(Known::Cookie);
        assert!(!fields.has(Known::Cookie));
        assert_eq!(fields.known(Known::Host), Some(&b"h"[..]));
        assert_eq!(fields.named(b"x").collect::<Vec<_>>(), [b"1"]);
    }
}
