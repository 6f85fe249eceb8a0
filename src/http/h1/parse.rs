//! The head of a request or response: bytes to ranges.
//!
//! Owns the syntax of RFC 9112 sections 2 to 5 and the limits on a head; how long the body is stands
//! in `framing`, what may be asked for is policy. Invariant: a head comes out the same, or fails with
//! the same error, however its bytes were cut on their way; and no byte is looked at more than a few
//! times, so a client that sends byte by byte costs us no more than it pays.
//!
//! Stricter than nginx where nginx guesses: a bare line feed in a request, several spaces in the
//! request line, a field without a colon, control bytes in a value and folded lines are refused.

use std::fmt;
use std::ops::Range;

use super::scan;
use crate::http::head::{Fields, Known, Method, RequestHead, ResponseHead, Slice, Version};
use crate::http::uri;

/// What a head may cost.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Bytes of one line with its line end (`large_client_header_buffers`, the size).
    pub line: usize,
    /// Bytes of the whole head (`large_client_header_buffers`, number times size). At most 4 GiB.
    pub total: usize,
    /// Fields of one head, dropped ones too (`max_headers`). At most 65534.
    pub fields: usize,
    /// Drop a field whose name has characters other than letters, digits and `-`
    /// (`ignore_invalid_headers`); otherwise it is kept. Responses keep theirs always.
    pub ignore_invalid: bool,
    /// Take `_` for a usual character of a name (`underscores_in_headers`).
    pub underscores: bool,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self {
            line: 8 << 10,
            total: 32 << 10,
            fields: 1000,
            ignore_invalid: true,
            underscores: false,
        }
    }
}

/// Was the head all there?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// The head ends at its `length`.
    Complete,
    /// More bytes are needed; call again when they stand behind those already there.
    Partial,
}

/// Where in a head the parser stands. One serves a connection: [`HeadParser::reset`] it between heads.
#[derive(Default, Debug)]
pub struct HeadParser {
    in_fields: bool,
    /// Where the line being read begins.
    position: usize,
    /// The line being read was seen without its end; no line feed of it stands in front of this.
    scanned: Option<usize>,
    empty_lines: u8,
    dropped: usize,
    first_dropped: Slice,
}

impl HeadParser {
    /// Makes ready for the next head.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// The first field, as name and value, that was dropped because of its name; for the log.
    pub fn dropped(&self) -> Option<Slice> {
        (self.dropped > 0).then_some(self.first_dropped)
    }

    /// Parses a request head that begins at the first byte of `head.fields.bytes`. Call it with the
    /// same `head`, which was reset before the first call, until the head is complete.
    pub fn request(
        &mut self,
        head: &mut RequestHead,
        limits: &HeadLimits,
    ) -> Result<Progress, RequestError> {
        let total = limits.total.min(u32::MAX as usize);
        while !self.in_fields {
            let end = self.position.saturating_add(limits.line).min(total);
            let Some(window) = self.window(&head.fields.bytes, end) else {
                return Ok(Progress::Partial);
            };
            match request_line(window, self.position)? {
                StartLine::Incomplete if window.len() == end => {
                    return Err(RequestError::UriTooLong);
                }
                StartLine::Incomplete => {
                    self.scanned = Some(window.len());
                    return Ok(Progress::Partial);
                }
                // RFC 9112 section 2.2: some clients end a body with a line end that is not part of
                // it, and that is to be skipped. More than a few are no accident.
                StartLine::Empty { next } => {
                    self.empty_lines += 1;
                    if self.empty_lines > EMPTY_LINES {
                        return Err(RequestError::BadRequestLine);
                    }
                    self.position = next;
                    self.scanned = None;
                }
                StartLine::Request(line) => {
                    let start = self.position;
                    head.method = line.method;
                    head.method_token = Slice::new(start, start + line.method_length);
                    head.target = slice(&line.target);
                    head.path_and_query = slice(&line.path_and_query);
                    head.authority = slice(&line.authority);
                    head.version = line.version;
                    head.line = Slice::new(start, line.end);
                    if line.version == Version::Http09 {
                        head.length = line.next;
                        return Ok(Progress::Complete);
                    }
                    self.position = line.next;
                    self.scanned = None;
                    self.in_fields = true;
                }
            }
        }

        let rules = FieldRules {
            line: limits.line,
            total,
            count: limits.fields,
            unusual: if limits.underscores {
                OTHER_TOKEN
            } else {
                OTHER_TOKEN | UNDERSCORE
            },
            drop_unusual: limits.ignore_invalid,
            unique: UNIQUE_IN_REQUESTS,
            line_feeds: false,
        };
        let Some(length) = self.fields(&mut head.fields, &rules)? else {
            return Ok(Progress::Partial);
        };
        head.length = length;

        // RFC 9112 section 3.2; nginx also wants a Host beside an absolute-form target. That there
        // is not more than one was seen to when the second came.
        match head.fields.known(Known::Host) {
            Some(host) if uri::check_host(host).is_err() => return Err(RequestError::BadHost),
            None if head.version >= Version::Http11 => return Err(RequestError::MissingHost),
            Some(_) | None => {}
        }
        Ok(Progress::Complete)
    }

    /// Parses a response head that begins at `start` in `head.fields.bytes`; a response of 1xx may
    /// stand in front of it. Call it with the same `head` and `start` until the head is complete.
    ///
    /// Lines that end in a bare line feed are taken if all do, the status line first. A peer that
    /// ends lines in CR LF but lets a line feed through inside of a value could otherwise be made to
    /// send fields of a stranger's choice; and a connection of such a peer is never used again.
    pub fn response(
        &mut self,
        head: &mut ResponseHead,
        start: usize,
        limits: &HeadLimits,
    ) -> Result<Progress, ResponseError> {
        let total = start.saturating_add(limits.total).min(u32::MAX as usize);
        if !self.in_fields {
            let end = start.saturating_add(limits.line).min(total);
            let Some(window) = self.window(&head.fields.bytes, end) else {
                return Ok(Progress::Partial);
            };
            let Some(line) = status_line(window, start)? else {
                if window.len() == end {
                    return Err(ResponseError::HeaderTooLarge);
                }
                self.scanned = Some(window.len());
                return Ok(Progress::Partial);
            };
            head.version = line.version;
            head.status = line.status;
            head.reason = slice(&line.reason);
            head.line_feeds = line.line_feeds;
            self.position = line.next;
            self.scanned = None;
            self.in_fields = true;
        }

        let rules = FieldRules {
            line: limits.line,
            total,
            count: limits.fields,
            unusual: 0,
            drop_unusual: false,
            unique: UNIQUE_IN_RESPONSES,
            line_feeds: head.line_feeds,
        };
        let Some(length) = self.fields(&mut head.fields, &rules)? else {
            return Ok(Progress::Partial);
        };
        head.length = length;
        Ok(Progress::Complete)
    }

    /// The bytes up to `end`; `None` if the line was seen incomplete before and its end has not come.
    fn window<'a>(&mut self, bytes: &'a [u8], end: usize) -> Option<&'a [u8]> {
        let window = &bytes[..bytes.len().min(end)];
        if let Some(scanned) = self.scanned
            && window.len() < end
            && let Some(fresh) = window.get(scanned..)
            && memchr::memchr(b'\n', fresh).is_none()
        {
            self.scanned = Some(window.len());
            return None;
        }
        Some(window)
    }

    /// Reads field lines; gives the end of the head when it is there.
    fn fields(
        &mut self,
        fields: &mut Fields,
        rules: &FieldRules,
    ) -> Result<Option<usize>, FieldError> {
        let most = rules.count.min(MOST_FIELDS);
        loop {
            let end = self.position.saturating_add(rules.line).min(rules.total);
            let Some(window) = self.window(&fields.bytes, end) else {
                return Ok(None);
            };
            let field = match field_line(window, self.position, rules.line_feeds)? {
                FieldLine::Field(field) => field,
                FieldLine::End { next } => return Ok(Some(next)),
                FieldLine::Incomplete if window.len() == end => return Err(FieldError::TooLarge),
                FieldLine::Incomplete => {
                    self.scanned = Some(window.len());
                    return Ok(None);
                }
            };
            if fields.len() + self.dropped >= most {
                return Err(FieldError::TooMany);
            }
            let name = self.position..self.position + field.name_length;
            self.position = field.next;
            self.scanned = None;

            if field.class != 0 && rules.unusual != 0 {
                // A peer that takes `_` for `-`, as CGI does, would read this as the field that
                // frames or routes the message. Dropping it is not enough: it says bad intent.
                if resembles_framing(&window[name.clone()]) {
                    return Err(FieldError::ResemblesFraming);
                }
                if field.class & rules.unusual != 0 && rules.drop_unusual {
                    if self.dropped == 0 {
                        self.first_dropped = Slice::new(name.start, field.value.end);
                    }
                    self.dropped += 1;
                    continue;
                }
            }
            if let Some(known) = field.known
                && rules.unique & bit(known) != 0
                && fields.has(known)
            {
                return Err(FieldError::Duplicate(known));
            }
            fields.add(field.known, name, field.value);
        }
    }
}

/// Why a request head is refused. The texts are those of nginx's error log where it has one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestError {
    /// A method with other characters than `A` to `Z`, `_` and `-`.
    BadMethod,
    /// HTTP/0.9 knows GET only.
    BadMethodInHttp09,
    /// The request line is not method, target and version with one space between.
    BadRequestLine,
    /// What stands behind the target is no version of HTTP/1.
    BadVersion,
    /// HTTP/2 and above in a request line.
    UnsupportedVersion,
    /// The request line is longer than a line may be.
    UriTooLong,
    /// A field is longer than a line, or the head longer than a head, may be.
    HeaderTooLarge,
    /// More fields than `max_headers`.
    TooManyFields,
    /// A bad name, a control byte in a value, no colon.
    BadField,
    /// A name like `Transfer_Encoding` that others may read as one that frames or routes.
    ResemblesFraming,
    /// A line that ends in LF without CR.
    BareLineFeed,
    /// A CR that no LF follows.
    BareCarriageReturn,
    /// A field continued on the next line.
    ObsFold,
    /// The authority of an absolute-form target is none.
    BadAuthority,
    /// The value of Host is none.
    BadHost,
    /// HTTP/1.1 without Host.
    MissingHost,
    /// A second Host.
    DuplicateHost,
    /// A second Content-Length, be it the same.
    DuplicateContentLength,
    /// A second field of a name that may come once.
    DuplicateField(Known),
    /// Not a decimal number of at most 63 bits.
    BadContentLength,
    /// Content-Length beside Transfer-Encoding.
    LengthWithTransferEncoding,
    /// A transfer coding other than `chunked` alone.
    UnsupportedTransferEncoding,
    /// Transfer-Encoding in a version that has none.
    TransferEncodingInHttp10,
}

impl fmt::Display for RequestError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::BadMethod => "client sent invalid method",
            Self::BadMethodInHttp09 => "client sent invalid method in HTTP/0.9 request",
            Self::BadRequestLine | Self::BadVersion => "client sent invalid request",
            Self::UnsupportedVersion => "client sent invalid version",
            Self::UriTooLong => "client sent too long URI",
            Self::HeaderTooLarge => "client sent too long header line",
            Self::TooManyFields => "client sent too many header lines",
            Self::BadField => "client sent invalid header line",
            Self::ResemblesFraming => "client sent header line that resembles a framing header",
            Self::BareLineFeed => "client sent line that ends in a bare line feed",
            Self::BareCarriageReturn => "client sent carriage return without line feed",
            Self::ObsFold => "client sent folded header line",
            Self::BadAuthority => "client sent invalid host in request line",
            Self::BadHost => "client sent invalid host header",
            Self::MissingHost => "client sent HTTP/1.1 request without \"Host\" header",
            Self::DuplicateHost => "client sent duplicate host header",
            Self::DuplicateContentLength => "client sent duplicate header line: \"Content-Length\"",
            Self::DuplicateField(known) => {
                return write!(
                    out,
                    "client sent duplicate header line: \"{}\"",
                    known.name()
                );
            }
            Self::BadContentLength => "client sent invalid \"Content-Length\" header",
            Self::LengthWithTransferEncoding => {
                "client sent \"Content-Length\" and \"Transfer-Encoding\" headers at the same time"
            }
            Self::UnsupportedTransferEncoding => "client sent unknown \"Transfer-Encoding\"",
            Self::TransferEncodingInHttp10 => {
                "client sent HTTP/1.0 request with \"Transfer-Encoding\" header"
            }
        })
    }
}

impl std::error::Error for RequestError {}

impl From<FieldError> for RequestError {
    fn from(error: FieldError) -> Self {
        match error {
            FieldError::Invalid => Self::BadField,
            FieldError::ResemblesFraming => Self::ResemblesFraming,
            FieldError::BareLineFeed => Self::BareLineFeed,
            FieldError::BareCarriageReturn => Self::BareCarriageReturn,
            FieldError::ObsFold => Self::ObsFold,
            FieldError::TooMany => Self::TooManyFields,
            FieldError::TooLarge => Self::HeaderTooLarge,
            FieldError::Duplicate(Known::Host) => Self::DuplicateHost,
            FieldError::Duplicate(Known::ContentLength) => Self::DuplicateContentLength,
            FieldError::Duplicate(known) => Self::DuplicateField(known),
        }
    }
}

/// Why a response head is refused. The texts are those of nginx's error log where it has one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResponseError {
    /// The answer does not begin with a version of HTTP/1: HTTP/0.9, another protocol, an alert.
    NotHttp,
    /// No status of three digits from 100 behind the version, or a control byte in the reason.
    BadStatusLine,
    /// The head is longer than a head may be (`proxy_buffer_size`).
    HeaderTooLarge,
    /// More fields than we take.
    TooManyFields,
    /// A bad name, a control byte in a value, no colon.
    BadField,
    /// Some lines end in CR LF and some in a bare LF.
    MixedLineEnds,
    /// A CR that no LF follows.
    BareCarriageReturn,
    /// A field continued on the next line.
    ObsFold,
    /// A second Content-Length, be it the same, or Transfer-Encoding.
    DuplicateField(Known),
    /// Not a decimal number of at most 63 bits.
    BadContentLength,
    /// Content-Length beside Transfer-Encoding.
    LengthWithTransferEncoding,
    /// A transfer coding other than `chunked` alone.
    UnsupportedTransferEncoding,
}

impl fmt::Display for ResponseError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::NotHttp => "upstream sent no valid HTTP/1.0 header",
            Self::BadStatusLine => "upstream sent invalid status line",
            Self::HeaderTooLarge => "upstream sent too big header",
            Self::TooManyFields => "upstream sent too many header lines",
            Self::BadField => "upstream sent invalid header",
            Self::MixedLineEnds => "upstream sent header with mixed line ends",
            Self::BareCarriageReturn => "upstream sent carriage return without line feed",
            Self::ObsFold => "upstream sent folded header line",
            Self::DuplicateField(known) => {
                return write!(
                    out,
                    "upstream sent duplicate header line: \"{}\"",
                    known.name()
                );
            }
            Self::BadContentLength => "upstream sent invalid \"Content-Length\" header",
            Self::LengthWithTransferEncoding => {
                "upstream sent \"Content-Length\" and \"Transfer-Encoding\" headers at the same time"
            }
            Self::UnsupportedTransferEncoding => "upstream sent unknown \"Transfer-Encoding\"",
        })
    }
}

impl std::error::Error for ResponseError {}

impl From<FieldError> for ResponseError {
    fn from(error: FieldError) -> Self {
        match error {
            FieldError::Invalid | FieldError::ResemblesFraming => Self::BadField,
            FieldError::BareLineFeed => Self::MixedLineEnds,
            FieldError::BareCarriageReturn => Self::BareCarriageReturn,
            FieldError::ObsFold => Self::ObsFold,
            FieldError::TooMany => Self::TooManyFields,
            FieldError::TooLarge => Self::HeaderTooLarge,
            FieldError::Duplicate(known) => Self::DuplicateField(known),
        }
    }
}

struct RequestLine {
    method: Method,
    method_length: usize,
    target: Range<usize>,
    path_and_query: Range<usize>,
    authority: Range<usize>,
    version: Version,
    /// Where the line end begins.
    end: usize,
    next: usize,
}

enum StartLine {
    Incomplete,
    Empty { next: usize },
    Request(RequestLine),
}

/// RFC 9112 section 3.
#[inline]
fn request_line(window: &[u8], start: usize) -> Result<StartLine, RequestError> {
    let line = window.get(start..).unwrap_or_default();
    let (method, method_length) = if line.starts_with(b"GET ") {
        (Method::Get, 3)
    } else {
        match line {
            [] | [b'\r'] => return Ok(StartLine::Incomplete),
            [b'\r', b'\n', ..] => return Ok(StartLine::Empty { next: start + 2 }),
            [b'\r', ..] => return Err(RequestError::BareCarriageReturn),
            [b'\n', ..] => return Err(RequestError::BareLineFeed),
            _ => {}
        }
        let is_method = |byte: &u8| matches!(byte, b'A'..=b'Z' | b'_' | b'-');
        let Some(length) = line.iter().position(|byte| !is_method(byte)) else {
            return Ok(StartLine::Incomplete);
        };
        if length == 0 || line[length] != b' ' {
            return Err(RequestError::BadMethod);
        }
        (Method::of(&line[..length]), length)
    };

    let target_start = start + method_length + 1;
    let Some(target_end) = scan::target_end(window, target_start) else {
        return Ok(StartLine::Incomplete);
    };
    let target = target_start..target_end;
    let bytes = &window[target.clone()];
    let (path_and_query, authority) = match bytes {
        [] => return Err(RequestError::BadRequestLine),
        [b'/', ..] if method != Method::Connect => (target.clone(), 0..0),
        [b'*'] if method == Method::Options => (target.clone(), 0..0),
        // RFC 9112 section 3.2.3: nothing but the host and port of the tunnel's end.
        _ if method == Method::Connect => match uri::check_host(bytes) {
            Ok(uri::Host { port: Some(_), .. }) => (0..0, target.clone()),
            _ => return Err(RequestError::BadAuthority),
        },
        _ => absolute_form(window, &target)?,
    };

    let (version, end, next) = match window[target_end] {
        b' ' => match version(&window[target_end + 1..])? {
            Some((version, length)) => (
                version,
                target_end + 1 + length,
                target_end + 1 + length + 2,
            ),
            None => return Ok(StartLine::Incomplete),
        },
        b'\r' => match window.get(target_end + 1) {
            None => return Ok(StartLine::Incomplete),
            Some(b'\n') if method == Method::Get => (Version::Http09, target_end, target_end + 2),
            Some(b'\n') => return Err(RequestError::BadMethodInHttp09),
            Some(_) => return Err(RequestError::BareCarriageReturn),
        },
        b'\n' => return Err(RequestError::BareLineFeed),
        _ => return Err(RequestError::BadRequestLine),
    };
    Ok(StartLine::Request(RequestLine {
        method,
        method_length,
        target,
        path_and_query,
        authority,
        version,
        end,
        next,
    }))
}

/// RFC 9112 section 3.2.2: gives the path and query, and the authority. A query without a path
/// stands alone (`http://host?query`); a missing path is the last `/` of the scheme's two, so that it
/// is a range of the bytes received too.
#[cold]
fn absolute_form(
    window: &[u8],
    target: &Range<usize>,
) -> Result<(Range<usize>, Range<usize>), RequestError> {
    let bytes = &window[target.clone()];
    let starts_with = |scheme: &[u8]| {
        bytes
            .get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    let scheme = match () {
        () if starts_with(b"http://") => b"http://".len(),
        () if starts_with(b"https://") => b"https://".len(),
        () => return Err(RequestError::BadRequestLine),
    };
    let authority_start = target.start + scheme;
    let length = bytes[scheme..]
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?'))
        .unwrap_or(bytes.len() - scheme);
    let authority = authority_start..authority_start + length;
    uri::check_host(&window[authority.clone()]).map_err(|_| RequestError::BadAuthority)?;
    let path_and_query = match authority.end..target.end {
        rest if rest.is_empty() => authority_start - 1..authority_start,
        rest => rest,
    };
    Ok((path_and_query, authority))
}

/// RFC 9112 section 2.3, behind the second space of the request line: gives the version and its
/// length; the line end behind it was seen.
#[inline]
fn version(rest: &[u8]) -> Result<Option<(Version, usize)>, RequestError> {
    if rest.starts_with(b"HTTP/1.1\r\n") {
        return Ok(Some((Version::Http11, 8)));
    }
    for (position, expected) in b"HTTP/".iter().enumerate() {
        match rest.get(position) {
            None => return Ok(None),
            Some(byte) if byte != expected => return Err(RequestError::BadVersion),
            Some(_) => {}
        }
    }
    match rest.get(5) {
        None => return Ok(None),
        Some(b'1') => {}
        Some(b'2'..=b'9') => return Err(RequestError::UnsupportedVersion),
        Some(_) => return Err(RequestError::BadVersion),
    }
    match rest.get(6) {
        None => return Ok(None),
        Some(b'.') => {}
        Some(_) => return Err(RequestError::BadVersion),
    }
    let version = match rest.get(7) {
        None => return Ok(None),
        Some(b'0') => Version::Http10,
        // RFC 9110 section 2.5: a higher minor version is read as the highest we know.
        Some(b'1'..=b'9') => Version::Http11,
        Some(_) => return Err(RequestError::BadVersion),
    };
    match rest.get(8) {
        None => return Ok(None),
        Some(b'\r') => {}
        Some(b'\n') => return Err(RequestError::BareLineFeed),
        Some(_) => return Err(RequestError::BadVersion),
    }
    match rest.get(9) {
        None => Ok(None),
        Some(b'\n') => Ok(Some((version, 8))),
        Some(_) => Err(RequestError::BareCarriageReturn),
    }
}

struct StatusLine {
    version: Version,
    status: u16,
    reason: Range<usize>,
    line_feeds: bool,
    next: usize,
}

/// RFC 9112 section 4. The reason and, as in nginx, the space in front of it may be missing.
#[inline]
fn status_line(window: &[u8], start: usize) -> Result<Option<StatusLine>, ResponseError> {
    let line = window.get(start..).unwrap_or_default();
    for (position, expected) in b"HTTP/1.".iter().enumerate() {
        match line.get(position) {
            None => return Ok(None),
            Some(byte) if byte != expected => return Err(ResponseError::NotHttp),
            Some(_) => {}
        }
    }
    let version = match line.get(7) {
        None => return Ok(None),
        Some(b'0') => Version::Http10,
        Some(b'1'..=b'9') => Version::Http11,
        Some(_) => return Err(ResponseError::NotHttp),
    };
    match line.get(8) {
        None => return Ok(None),
        Some(b' ') => {}
        Some(_) => return Err(ResponseError::BadStatusLine),
    }
    let mut status = 0;
    for position in 9..12 {
        match line.get(position) {
            None => return Ok(None),
            Some(digit @ b'0'..=b'9') => status = status * 10 + u16::from(digit - b'0'),
            Some(_) => return Err(ResponseError::BadStatusLine),
        }
    }
    if status < 100 {
        return Err(ResponseError::BadStatusLine);
    }
    let reason_start = match line.get(12) {
        None => return Ok(None),
        Some(b' ') => start + 13,
        Some(b'\r' | b'\n') => start + 12,
        Some(_) => return Err(ResponseError::BadStatusLine),
    };
    let Some(end) = scan::control(window, reason_start) else {
        return Ok(None);
    };
    let line_feeds = window[end] == b'\n';
    match line_end(window, end, line_feeds) {
        Ok(Some(next)) => Ok(Some(StatusLine {
            version,
            status,
            reason: reason_start..end,
            line_feeds,
            next,
        })),
        Ok(None) => Ok(None),
        Err(FieldError::BareCarriageReturn) => Err(ResponseError::BareCarriageReturn),
        Err(_) => Err(ResponseError::BadStatusLine),
    }
}

struct FieldRules {
    line: usize,
    /// Behind the last byte the head may have.
    total: usize,
    count: usize,
    /// The classes of characters that make a name unusual; none in responses.
    unusual: u8,
    drop_unusual: bool,
    /// A bit for each known name that may come once.
    unique: u128,
    line_feeds: bool,
}

#[derive(Clone, Copy)]
pub(super) enum FieldError {
    Invalid,
    ResemblesFraming,
    BareLineFeed,
    BareCarriageReturn,
    ObsFold,
    TooMany,
    TooLarge,
    Duplicate(Known),
}

/// One field line.
pub(super) struct FieldRange {
    pub known: Option<Known>,
    /// The classes of characters in the name.
    class: u8,
    pub name_length: usize,
    pub value: Range<usize>,
    pub next: usize,
}

pub(super) enum FieldLine {
    Incomplete,
    End { next: usize },
    Field(FieldRange),
}

/// RFC 9112 section 5: a name, a colon without space in front, a value with space around it.
#[inline]
pub(super) fn field_line(
    window: &[u8],
    start: usize,
    line_feeds: bool,
) -> Result<FieldLine, FieldError> {
    let line = window.get(start..).unwrap_or_default();
    match line.first() {
        None => return Ok(FieldLine::Incomplete),
        Some(b'\r' | b'\n') => {
            return Ok(match line_end(window, start, line_feeds)? {
                Some(next) => FieldLine::End { next },
                None => FieldLine::Incomplete,
            });
        }
        // RFC 9112 section 5.2: to be refused, or replaced by a space; nginx refuses.
        Some(b' ' | b'\t') => return Err(FieldError::ObsFold),
        Some(_) => {}
    }

    let Some(name_length) = scan::colon(line) else {
        return match line
            .iter()
            .any(|&byte| NAME[usize::from(byte)] & NO_TOKEN != 0)
        {
            true => Err(FieldError::Invalid),
            false => Ok(FieldLine::Incomplete),
        };
    };
    let name = &line[..name_length];
    let known = Known::of(name);
    let class = match known {
        Some(_) => 0,
        None => name
            .iter()
            .fold(0, |class, &byte| class | NAME[usize::from(byte)]),
    };
    if class & NO_TOKEN != 0 || name.is_empty() || name.len() > usize::from(u16::MAX) {
        return Err(FieldError::Invalid);
    }

    let mut value_start = start + name_length + 1;
    while let Some(b' ' | b'\t') = window.get(value_start) {
        value_start += 1;
    }
    let Some(end) = scan::control(window, value_start) else {
        return Ok(FieldLine::Incomplete);
    };
    let Some(next) = line_end(window, end, line_feeds)? else {
        return Ok(FieldLine::Incomplete);
    };
    let mut value_end = end;
    while value_end > value_start && matches!(window[value_end - 1], b' ' | b'\t') {
        value_end -= 1;
    }
    Ok(FieldLine::Field(FieldRange {
        known,
        class,
        name_length,
        value: value_start..value_end,
        next,
    }))
}

/// Behind the line end at this position, which is a control byte; `None` if its second byte is yet
/// to come.
#[inline]
fn line_end(window: &[u8], at: usize, line_feeds: bool) -> Result<Option<usize>, FieldError> {
    match (window[at], line_feeds) {
        (b'\r', false) => match window.get(at + 1) {
            Some(b'\n') => Ok(Some(at + 2)),
            Some(_) => Err(FieldError::BareCarriageReturn),
            None => Ok(None),
        },
        (b'\n', true) => Ok(Some(at + 1)),
        (b'\n', false) | (b'\r', true) => Err(FieldError::BareLineFeed),
        _ => Err(FieldError::Invalid),
    }
}

/// Is this, with any other sign read as `-`, a name by which peers frame or route?
#[cold]
fn resembles_framing(name: &[u8]) -> bool {
    const FRAMING: [Known; 4] = [
        Known::TransferEncoding,
        Known::ContentLength,
        Known::Connection,
        Known::Host,
    ];
    FRAMING.iter().any(|known| {
        let framing = known.name().as_bytes();
        framing.len() == name.len()
            && framing.iter().zip(name).all(|(framing, byte)| {
                framing.eq_ignore_ascii_case(byte)
                    || (*framing == b'-' && !byte.is_ascii_alphanumeric())
            })
    })
}

fn slice(range: &Range<usize>) -> Slice {
    Slice::new(range.start, range.end)
}

const fn bit(known: Known) -> u128 {
    const { assert!(Known::COUNT <= 128) };
    1 << known as u32
}

const EMPTY_LINES: u8 = 8;

/// `Fields` counts positions in 16 bits and keeps one value for none.
const MOST_FIELDS: usize = u16::MAX as usize - 1;

/// What nginx's `ngx_http_process_unique_header_line` handles, and Host.
const UNIQUE_IN_REQUESTS: u128 = bit(Known::Host)
    | bit(Known::ContentLength)
    | bit(Known::TransferEncoding)
    | bit(Known::IfModifiedSince)
    | bit(Known::IfUnmodifiedSince)
    | bit(Known::IfMatch)
    | bit(Known::IfNoneMatch)
    | bit(Known::IfRange)
    | bit(Known::ContentRange)
    | bit(Known::Expect)
    | bit(Known::Authorization)
    | bit(Known::ProxyAuthorization);

const UNIQUE_IN_RESPONSES: u128 = bit(Known::ContentLength) | bit(Known::TransferEncoding);

const UNDERSCORE: u8 = 1;
const OTHER_TOKEN: u8 = 2;
const NO_TOKEN: u8 = 4;

/// The class of each byte in a name: 0 for letters, digits and `-`, which nginx calls valid.
static NAME: [u8; 256] = {
    let mut table = [NO_TOKEN; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' => 0,
            b'_' => UNDERSCORE,
            // RFC 9110 section 5.6.2.
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'.' | b'^' | b'`' | b'|'
            | b'~' => OTHER_TOKEN,
            _ => NO_TOKEN,
        };
        byte += 1;
    }
    table
};
