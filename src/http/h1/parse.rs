//! The head of a request or response: bytes to ranges.
//!
//! Owns the syntax of RFC 9112 sections 2 to 5 and the limits on a head; how long the body is stands
//! in `framing`, what may be asked for is policy. Invariant: a head comes out the same, or fails with
//! the same error, however its bytes were cut on their way (an error may wait for the end of its
//! line); and no byte is looked at more than a few times, so that a client which sends byte by byte
//! costs us no more than it pays.
//!
//! Stricter than nginx where nginx guesses: a bare line feed in a request, several spaces in the
//! request line, a field without a colon, control bytes in a value and folded lines are refused.

use std::fmt;
use std::ops::Range;

use super::scan;
use crate::http::head::{Fields, Known, List, Method, RequestHead, ResponseHead, Slice, Version};
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
                StartLine::Incomplete if window.len() >= end => {
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
            count: limits.fields.min(MOST_FIELDS),
            unusual: unusual(limits),
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
                if window.len() >= end {
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
            count: limits.fields.min(MOST_FIELDS),
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
        let (bytes, mut list) = fields.parts();
        let end = self.position.saturating_add(rules.line).min(rules.total);
        if self.window(bytes, end).is_none() {
            return Ok(None);
        }
        let bytes = &bytes[..bytes.len().min(rules.total)];
        loop {
            if !rules.line_feeds {
                let most = rules.count.saturating_sub(self.dropped);
                self.position = usual_fields(bytes, self.position, &mut list, rules, most);
                let rest = bytes.get(self.position..).unwrap_or_default();
                if rest.starts_with(b"\r\n") && rules.line >= 2 {
                    return Ok(Some(self.position + 2));
                }
            }
            if let Some(result) = self.unusual_field(bytes, &mut list, rules) {
                return result;
            }
        }
    }

    /// Reads a line that [`usual_fields`] left: the last one, one that has not come yet, one in error,
    /// or a field that is not so usual. Nothing behind the limit of a line is looked at, so that what
    /// a line is does not depend on how much of it has come. `None` if there is more to read.
    #[inline(never)]
    fn unusual_field(
        &mut self,
        bytes: &[u8],
        list: &mut List,
        rules: &FieldRules,
    ) -> Option<Result<Option<usize>, FieldError>> {
        let start = self.position;
        let end = start.saturating_add(rules.line).min(rules.total);
        let window = &bytes[..bytes.len().min(end)];
        let field = match field_line(window, start, rules.line_feeds) {
            Ok(FieldLine::Field(field)) => field,
            Ok(FieldLine::End { next }) => return Some(Ok(Some(next))),
            Ok(FieldLine::Incomplete) if window.len() >= end => {
                return Some(Err(FieldError::TooLarge));
            }
            Ok(FieldLine::Incomplete) => {
                self.scanned = Some(window.len());
                return Some(Ok(None));
            }
            Err(error) => return Some(Err(error)),
        };
        if list.count() + self.dropped >= rules.count {
            return Some(Err(FieldError::TooMany));
        }
        let name = start..start + field.name_length;
        let known = match field.name {
            Name::Known(known) => Some(known),
            // A peer that takes `_` for `-`, as CGI does, would read this as the field that frames or
            // routes the message. Dropping it is not enough: it says bad intent.
            Name::Unknown { class }
                if class != 0 && rules.unusual != 0 && resembles_framing(&bytes[name.clone()]) =>
            {
                return Some(Err(FieldError::ResemblesFraming));
            }
            Name::Unknown { class } if class & rules.unusual != 0 && rules.drop_unusual => {
                if self.dropped == 0 {
                    self.first_dropped = Slice::new(start, field.value.end);
                }
                self.dropped += 1;
                self.position = field.next;
                return None;
            }
            Name::Unknown { .. } => None,
        };
        if let Some(known) = known
            && list.has(known)
            && rules.unique & bit(known) != 0
        {
            return Some(Err(FieldError::Duplicate(known)));
        }
        list.add(known, name, field.value);
        self.position = field.next;
        None
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

impl RequestError {
    /// A field came twice whose name may come once.
    pub fn from_duplicate(known: Known) -> Self {
        match known {
            Known::Host => Self::DuplicateHost,
            Known::ContentLength => Self::DuplicateContentLength,
            known => Self::DuplicateField(known),
        }
    }
}

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
            FieldError::Duplicate(known) => Self::from_duplicate(known),
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

/// The name of a field.
#[derive(Clone, Copy)]
pub(super) enum Name {
    Known(Known),
    /// The classes of the characters in it.
    Unknown {
        class: u8,
    },
}

/// One field line.
pub(super) struct FieldRange {
    pub name: Name,
    pub name_length: usize,
    pub value: Range<usize>,
    pub next: usize,
}

pub(super) enum FieldLine {
    Incomplete,
    End { next: usize },
    Field(FieldRange),
}

/// Adds fields as nearly all are: a known name or one of letters, digits and `-`, a colon, a space or
/// none, a value without space around it and tabs, CR LF; and not there yet where that matters. Gives
/// the position of the first line that is not such a field: what this takes, [`field_line`] takes too.
#[inline(never)]
fn usual_fields(
    bytes: &[u8],
    start: usize,
    list: &mut List,
    rules: &FieldRules,
    most: usize,
) -> usize {
    let mut position = start;
    while list.count() < most
        && let Some(field) = usual_field(bytes, position)
        && field.next - position <= rules.line
    {
        let known = match field.name {
            Name::Known(known) if !list.has(known) || rules.unique & bit(known) == 0 => Some(known),
            Name::Unknown { class: 0 } => None,
            _ => break,
        };
        list.add(known, position..position + field.name_length, field.value);
        position = field.next;
    }
    position
}

/// One of [`usual_fields`].
#[inline(always)]
fn usual_field(bytes: &[u8], start: usize) -> Option<FieldRange> {
    let line = bytes.get(start..)?;
    let (colon, end) = scan::colon_and_control(line)?;
    let value_start = colon + 1 + usize::from(line.get(colon + 1) == Some(&b' '));
    let value = line.get(value_start..end)?;
    let has_space = |byte: Option<&u8>| byte == Some(&b' ');
    if !line[end..].starts_with(b"\r\n") || has_space(value.first()) || has_space(value.last()) {
        return None;
    }
    Some(FieldRange {
        name: name(&line[..colon])?,
        name_length: colon,
        value: start + value_start..start + end,
        next: start + end + 2,
    })
}

/// What kind of name this is; `None` if it is none.
#[inline(always)]
fn name(name: &[u8]) -> Option<Name> {
    if let Some(known) = Known::of(name) {
        return Some(Name::Known(known));
    }
    let class = name
        .iter()
        .fold(0, |union, &byte| union | NAME[usize::from(byte)]);
    let is_name = class & NO_TOKEN == 0 && !name.is_empty() && name.len() <= LONGEST_NAME;
    is_name.then_some(Name::Unknown { class })
}

/// RFC 9112 section 5: a name, a colon without space in front, a value with space around it.
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
    let Some(name_length) = scan::colon(line, 0) else {
        let ends = |&byte: &u8| NAME[usize::from(byte)] & NO_TOKEN != 0;
        return match line.iter().any(ends) {
            true => Err(FieldError::Invalid),
            false => Ok(FieldLine::Incomplete),
        };
    };
    let name = name(&line[..name_length]).ok_or(FieldError::Invalid)?;

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
        name,
        name_length,
        value: value_start..value_end,
        next,
    }))
}

/// Behind the line end at this position, which is a control byte; `None` if its second byte is yet
/// to come.
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

/// Is a field of this name, which is a token, kept in a request? What a head of HTTP/1 drops or is
/// refused for because of a name, it is in HTTP/2 too.
pub fn keeps_name(name: &[u8], limits: &HeadLimits) -> Result<bool, RequestError> {
    let class = name
        .iter()
        .fold(0, |union, &byte| union | NAME[usize::from(byte)]);
    if class == 0 {
        return Ok(true);
    }
    if resembles_framing(name) {
        return Err(RequestError::ResemblesFraming);
    }
    Ok(class & unusual(limits) == 0 || !limits.ignore_invalid)
}

/// May a field of this name come once only in a request?
pub fn comes_once(known: Known) -> bool {
    UNIQUE_IN_REQUESTS & bit(known) != 0
}

/// The classes of characters that make a name unusual.
fn unusual(limits: &HeadLimits) -> u8 {
    match limits.underscores {
        true => OTHER_TOKEN,
        false => OTHER_TOKEN | UNDERSCORE,
    }
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
pub const MOST_FIELDS: usize = u16::MAX as usize - 1;

/// `Fields` keeps the length of a name in 16 bits.
pub const LONGEST_NAME: usize = u16::MAX as usize;

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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The head of these bytes and what the parser said, in one go.
    fn parsed_with(
        bytes: &[u8],
        limits: &HeadLimits,
    ) -> (RequestHead, Result<Progress, RequestError>) {
        let mut head = RequestHead::default();
        head.fields.bytes.extend_from_slice(bytes);
        let result = HeadParser::default().request(&mut head, limits);
        (head, result)
    }

    fn accepted(bytes: impl AsRef<[u8]>) -> RequestHead {
        let (head, result) = parsed_with(bytes.as_ref(), &HeadLimits::default());
        assert_eq!(result, Ok(Progress::Complete));
        head
    }

    fn refused(bytes: impl AsRef<[u8]>) -> RequestError {
        let (_, result) = parsed_with(bytes.as_ref(), &HeadLimits::default());
        result.expect_err("the head is refused")
    }

    /// A request with these lines behind the Host field.
    fn with_lines(lines: &str) -> String {
        format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n")
    }

    fn answer_with(
        bytes: &[u8],
        limits: &HeadLimits,
    ) -> (ResponseHead, Result<Progress, ResponseError>) {
        let mut head = ResponseHead::default();
        head.fields.bytes.extend_from_slice(bytes);
        let result = HeadParser::default().response(&mut head, 0, limits);
        (head, result)
    }

    fn answer(bytes: impl AsRef<[u8]>) -> ResponseHead {
        let (head, result) = answer_with(bytes.as_ref(), &HeadLimits::default());
        assert_eq!(result, Ok(Progress::Complete));
        head
    }

    fn answer_refused(bytes: impl AsRef<[u8]>) -> ResponseError {
        let (_, result) = answer_with(bytes.as_ref(), &HeadLimits::default());
        result.expect_err("the head is refused")
    }

    fn field_list(fields: &Fields) -> Vec<(String, String)> {
        fields
            .iter()
            .map(|(_, name, value)| {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                (text(name), text(value))
            })
            .collect()
    }

    #[test]
    fn a_usual_request_is_parsed_into_ranges() {
        let bytes = b"GET /a/b?c=d HTTP/1.1\r\nHost: example.org:8080\r\naccept:  */* \t\r\nX-Empty:\r\n\r\nbody";
        let head = accepted(bytes);
        assert_eq!(head.method, Method::Get);
        assert_eq!(head.bytes(head.method_token), b"GET");
        assert_eq!(head.bytes(head.target), b"/a/b?c=d");
        assert_eq!(head.bytes(head.path_and_query), b"/a/b?c=d");
        assert!(head.authority.is_empty());
        assert_eq!(head.version, Version::Http11);
        assert_eq!(head.bytes(head.line), b"GET /a/b?c=d HTTP/1.1");
        assert_eq!(&bytes[head.length..], b"body");
        assert_eq!(head.fields.known(Known::Accept), Some(&b"*/*"[..]));
        let fields = [
            ("Host", "example.org:8080"),
            ("accept", "*/*"),
            ("X-Empty", ""),
        ];
        assert_eq!(
            field_list(&head.fields),
            fields.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn a_head_without_its_end_is_partial() {
        let whole = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for length in 0..whole.len() {
            let (_, result) = parsed_with(&whole[..length], &HeadLimits::default());
            assert_eq!(result, Ok(Progress::Partial), "{length}");
        }
    }

    #[test]
    fn the_same_answer_comes_again_when_asked_again() {
        for bytes in [
            with_lines("A: b"),
            with_lines("Content-Length: 1\r\nContent-Length: 1\r\nA: b"),
            with_lines("Transfer_Encoding: chunked"),
            "GET / HTTP/1.1\r\n\r\n".to_owned(),
            "GET /\r\n".to_owned(),
            "GET  / HTTP/1.1\r\n".to_owned(),
        ] {
            let mut head = RequestHead::default();
            head.fields.bytes.extend_from_slice(bytes.as_bytes());
            let mut parser = HeadParser::default();
            let first = parser.request(&mut head, &HeadLimits::default());
            let length = head.length;
            head.fields.bytes.extend_from_slice(b"X: y\r\n\r\n");
            assert_eq!(
                parser.request(&mut head, &HeadLimits::default()),
                first,
                "{bytes}"
            );
            assert_eq!(head.length, length, "{bytes}");
        }
    }

    #[test]
    fn one_parser_serves_request_after_request() {
        let mut parser = HeadParser::default();
        let mut head = RequestHead::default();
        for path in ["/one", "/two", "/three"] {
            head.fields.bytes.clear();
            head.reset();
            parser.reset();
            let bytes = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
            head.fields.bytes.extend_from_slice(bytes.as_bytes());
            let result = parser.request(&mut head, &HeadLimits::default());
            assert_eq!(result, Ok(Progress::Complete));
            assert_eq!(head.bytes(head.target), path.as_bytes());
            assert_eq!(head.fields.len(), 1);
        }
    }

    #[test]
    fn empty_lines_in_front_are_skipped_up_to_a_bound() {
        let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let head = accepted(format!("\r\n\r\n{request}"));
        assert_eq!(head.bytes(head.line), b"GET / HTTP/1.1");
        accepted("\r\n".repeat(8) + request);
        assert_eq!(
            refused("\r\n".repeat(9) + request),
            RequestError::BadRequestLine
        );
        assert_eq!(refused(format!("\n{request}")), RequestError::BareLineFeed);
        assert_eq!(
            refused(format!("\r{request}")),
            RequestError::BareCarriageReturn
        );
    }

    #[test]
    fn methods_are_upper_case_letters_hyphen_and_underscore() {
        let request = |method: &str| format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(accepted(request("PROPFIND")).method, Method::Propfind);
        assert_eq!(accepted(request("M-SEARCH")).method, Method::Other);
        assert_eq!(accepted(request("A_B")).method, Method::Other);
        for method in [
            "get",
            "GeT",
            "",
            " GET",
            "G\tT",
            "GET1",
            "\u{16}\u{3}\u{1}",
            "G:T",
        ] {
            assert_eq!(
                refused(request(method)),
                RequestError::BadMethod,
                "{method}"
            );
        }
    }

    #[test]
    fn a_tls_hello_on_a_plain_port_is_refused_by_its_first_byte() {
        assert_eq!(refused(b"\x16"), RequestError::BadMethod);
    }

    #[test]
    fn targets_of_every_form_are_taken_apart() {
        let request = |line: &str| format!("{line} HTTP/1.1\r\nHost: other\r\n\r\n");
        for (line, path, authority) in [
            ("GET /", "/", ""),
            ("GET //x", "//x", ""),
            ("GET /?q#f", "/?q#f", ""),
            ("GET http://a", "/", "a"),
            ("GET HTTPS://a:1/p?q", "/p?q", "a:1"),
            ("GET http://a?q/r", "?q/r", "a"),
            ("GET http://[::1]:80/", "/", "[::1]:80"),
            ("OPTIONS *", "*", ""),
            ("OPTIONS /", "/", ""),
            ("CONNECT a:443", "", "a:443"),
        ] {
            let head = accepted(request(line));
            assert_eq!(head.bytes(head.path_and_query), path.as_bytes(), "{line}");
            assert_eq!(head.bytes(head.authority), authority.as_bytes(), "{line}");
            assert_eq!(head.bytes(head.line), format!("{line} HTTP/1.1").as_bytes());
        }
        for (line, error) in [
            ("GET *", RequestError::BadRequestLine),
            ("PRI *", RequestError::BadRequestLine),
            ("OPTIONS **", RequestError::BadRequestLine),
            ("GET x", RequestError::BadRequestLine),
            ("GET ?x", RequestError::BadRequestLine),
            ("GET ftp://a/", RequestError::BadRequestLine),
            ("GET http:/a/", RequestError::BadRequestLine),
            ("GET http://", RequestError::BadAuthority),
            ("GET http:///x", RequestError::BadAuthority),
            ("GET http://user@a/", RequestError::BadAuthority),
            ("GET http://a#f", RequestError::BadAuthority),
            ("GET http://a:b/", RequestError::BadAuthority),
            ("CONNECT /", RequestError::BadAuthority),
            ("CONNECT a", RequestError::BadAuthority),
            ("CONNECT a:", RequestError::BadAuthority),
            ("CONNECT a:1/", RequestError::BadAuthority),
            ("CONNECT http://a:1", RequestError::BadAuthority),
        ] {
            assert_eq!(refused(request(line)), error, "{line}");
        }
    }

    #[test]
    fn bytes_above_ascii_in_a_target_pass_as_in_nginx() {
        let head = accepted(b"GET /\xd0\xb6\xff HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(head.bytes(head.target), b"/\xd0\xb6\xff");
    }

    #[test]
    fn control_bytes_in_a_target_are_refused() {
        for byte in (0..0x20).chain([0x7f]) {
            let mut request = b"GET /a".to_vec();
            request.push(byte);
            request.extend_from_slice(b"b HTTP/1.1\r\nHost: a\r\n\r\n");
            let error = match byte {
                b'\n' => RequestError::BareLineFeed,
                b'\r' => RequestError::BareCarriageReturn,
                _ => RequestError::BadRequestLine,
            };
            assert_eq!(refused(&request), error, "{byte}");
        }
    }

    #[test]
    fn versions_of_http_1_are_taken_and_others_refused() {
        let request = |version: &str| format!("GET / {version}\r\nHost: a\r\n\r\n");
        for (version, expected) in [
            ("HTTP/1.0", Version::Http10),
            ("HTTP/1.1", Version::Http11),
            ("HTTP/1.2", Version::Http11),
            ("HTTP/1.9", Version::Http11),
        ] {
            assert_eq!(accepted(request(version)).version, expected);
        }
        for (version, error) in [
            ("HTTP/2.0", RequestError::UnsupportedVersion),
            ("HTTP/3", RequestError::UnsupportedVersion),
            ("HTTP/0.9", RequestError::BadVersion),
            ("HTTP/01.1", RequestError::BadVersion),
            ("HTTP/1.01", RequestError::BadVersion),
            ("HTTP/1.10", RequestError::BadVersion),
            ("HTTP/1,1", RequestError::BadVersion),
            ("HTTP/1.", RequestError::BadVersion),
            ("HTTP/1.x", RequestError::BadVersion),
            ("http/1.1", RequestError::BadVersion),
            ("HTTP 1.1", RequestError::BadVersion),
            ("ICY/1.1", RequestError::BadVersion),
            ("", RequestError::BadVersion),
        ] {
            assert_eq!(refused(request(version)), error, "{version}");
        }
    }

    #[test]
    fn http_0_9_is_get_and_ends_with_its_line() {
        let head = accepted("GET /index.html\r\nHost: a\r\n\r\n");
        assert_eq!(head.version, Version::Http09);
        assert_eq!(head.bytes(head.target), b"/index.html");
        assert_eq!(head.length, "GET /index.html\r\n".len());
        assert!(head.fields.is_empty());
        assert_eq!(refused("POST /\r\n"), RequestError::BadMethodInHttp09);
    }

    #[test]
    fn http_1_0_needs_no_host() {
        assert!(accepted("GET / HTTP/1.0\r\n\r\n").fields.is_empty());
    }

    // What follows are the ways known to make two recipients see different messages.

    #[test]
    fn smuggling_several_spaces_in_the_request_line() {
        assert_eq!(refused("GET  / HTTP/1.1\r\n"), RequestError::BadRequestLine);
        assert_eq!(refused("GET /  HTTP/1.1\r\n"), RequestError::BadVersion);
        assert_eq!(refused("GET / HTTP/1.1 \r\n"), RequestError::BadVersion);
        assert_eq!(refused("GET\t/ HTTP/1.1\r\n"), RequestError::BadMethod);
        assert_eq!(refused("GET /\tHTTP/1.1\r\n"), RequestError::BadRequestLine);
    }

    #[test]
    fn smuggling_a_space_in_the_target() {
        assert_eq!(
            refused("GET /a HTTP/1.1 b HTTP/1.1\r\n"),
            RequestError::BadVersion
        );
    }

    #[test]
    fn smuggling_a_line_that_ends_in_a_bare_line_feed() {
        assert_eq!(
            refused("GET / HTTP/1.1\nHost: a\r\n\r\n"),
            RequestError::BareLineFeed
        );
        assert_eq!(
            refused(with_lines("A: b\nC: d")),
            RequestError::BareLineFeed
        );
        assert_eq!(
            refused("GET / HTTP/1.1\r\nHost: a\r\n\n"),
            RequestError::BareLineFeed
        );
    }

    #[test]
    fn smuggling_a_carriage_return_without_line_feed() {
        assert_eq!(
            refused("GET / HTTP/1.1\rHost: a\r\n\r\n"),
            RequestError::BareCarriageReturn
        );
        for lines in [
            "A: b\rTransfer-Encoding: chunked",
            "A: b\r\r\nC: d",
            "A: \rb",
        ] {
            assert_eq!(refused(with_lines(lines)), RequestError::BareCarriageReturn);
        }
        assert_eq!(
            refused("GET / HTTP/1.1\r\nHost: a\r\n\rX"),
            RequestError::BareCarriageReturn
        );
    }

    #[test]
    fn smuggling_white_space_in_front_of_the_colon() {
        for lines in [
            "Content-Length : 5",
            "Content-Length\t: 5",
            "Transfer-Encoding : chunked",
            "Transfer-Encoding\u{b}: chunked",
            "Transfer-Encoding\u{c}: chunked",
        ] {
            assert_eq!(
                refused(with_lines(lines)),
                RequestError::BadField,
                "{lines}"
            );
        }
    }

    #[test]
    fn smuggling_a_folded_line() {
        for lines in [
            " Transfer-Encoding: chunked",
            "A: b\r\n Transfer-Encoding: chunked",
            "A: b\r\n\tc",
            "Transfer-Encoding:\r\n chunked",
        ] {
            assert_eq!(refused(with_lines(lines)), RequestError::ObsFold, "{lines}");
        }
        assert_eq!(
            refused("GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
            RequestError::ObsFold
        );
    }

    #[test]
    fn smuggling_a_line_without_colon() {
        for lines in ["Transfer-Encoding", "A b", "\u{fffd}"] {
            assert_eq!(
                refused(with_lines(lines)),
                RequestError::BadField,
                "{lines}"
            );
        }
    }

    #[test]
    fn smuggling_an_empty_name() {
        assert_eq!(refused(with_lines(": chunked")), RequestError::BadField);
    }

    #[test]
    fn smuggling_names_with_signs_that_no_token_has() {
        for byte in (0..=255).filter(|&byte| NAME[usize::from(byte)] & NO_TOKEN != 0) {
            if matches!(byte, b':') {
                continue;
            }
            for name in [b"Transfer-Encodin".as_slice(), b""] {
                let mut request = b"GET / HTTP/1.1\r\nHost: a\r\nX".to_vec();
                request.extend_from_slice(name);
                request.push(byte);
                request.extend_from_slice(b": chunked\r\n\r\n");
                assert_eq!(refused(&request), RequestError::BadField, "{byte}");
            }
        }
    }

    #[test]
    fn smuggling_control_bytes_in_a_value() {
        for byte in (0..0x20)
            .chain([0x7f])
            .filter(|byte| !b"\t\r\n".contains(byte))
        {
            for value in ["", "chunked", "a longer value than one word "] {
                let mut request = b"GET / HTTP/1.1\r\nHost: a\r\nA: ".to_vec();
                request.extend_from_slice(value.as_bytes());
                request.push(byte);
                request.extend_from_slice(b"\r\n\r\n");
                assert_eq!(refused(&request), RequestError::BadField, "{byte}");
            }
        }
    }

    #[test]
    fn smuggling_names_that_resemble_framing_fields() {
        for lines in [
            "Transfer_Encoding: chunked",
            "transfer.encoding: chunked",
            "CONTENT_LENGTH: 5",
            "Content~Length: 5",
        ] {
            let request = with_lines(lines);
            for (ignore_invalid, underscores) in
                [(true, false), (true, true), (false, false), (false, true)]
            {
                let limits = HeadLimits {
                    ignore_invalid,
                    underscores,
                    ..HeadLimits::default()
                };
                let (_, result) = parsed_with(request.as_bytes(), &limits);
                assert_eq!(result, Err(RequestError::ResemblesFraming), "{lines}");
            }
        }
    }

    #[test]
    fn smuggling_two_hosts() {
        for second in ["Host: a", "Host: b", "hOST:", "HOST: b"] {
            assert_eq!(
                refused(with_lines(second)),
                RequestError::DuplicateHost,
                "{second}"
            );
        }
    }

    #[test]
    fn smuggling_no_host() {
        assert_eq!(refused("GET / HTTP/1.1\r\n\r\n"), RequestError::MissingHost);
        assert_eq!(
            refused("GET http://a/ HTTP/1.1\r\n\r\n"),
            RequestError::MissingHost
        );
    }

    #[test]
    fn smuggling_a_host_that_is_none() {
        for host in [
            "", " ", "a b", "a/b", "u@a", "a:b", "a:65536", "a..b", "[::1", "a\\b", ".",
        ] {
            for version in ["1.0", "1.1"] {
                let request = format!("GET / HTTP/{version}\r\nHost: {host}\r\n\r\n");
                assert_eq!(refused(request), RequestError::BadHost, "{host}");
            }
        }
    }

    #[test]
    fn smuggling_two_lengths() {
        for lines in [
            "Content-Length: 5\r\nContent-Length: 5",
            "Content-Length: 5\r\nA: b\r\ncontent-length: 6",
        ] {
            assert_eq!(
                refused(with_lines(lines)),
                RequestError::DuplicateContentLength
            );
        }
    }

    #[test]
    fn smuggling_two_transfer_encodings() {
        assert_eq!(
            refused(with_lines(
                "Transfer-Encoding: chunked\r\nTransfer-encoding: identity"
            )),
            RequestError::DuplicateField(Known::TransferEncoding)
        );
    }

    #[test]
    fn fields_that_nginx_wants_once_are_refused_twice() {
        for known in [Known::Authorization, Known::IfMatch, Known::Expect] {
            let line = format!("{}: a", known.name());
            assert_eq!(
                refused(with_lines(&format!("{line}\r\n{line}"))),
                RequestError::DuplicateField(known)
            );
        }
        accepted(with_lines(
            "Cookie: a\r\nCookie: b\r\nAccept: a\r\nAccept: b",
        ));
    }

    #[test]
    fn unusual_names_are_dropped_or_kept_as_configured() {
        let request = with_lines("A_B: 1\r\nA.B: 2\r\nA-B: 3");
        for (ignore_invalid, underscores, kept) in [
            (true, false, "A-B"),
            (true, true, "A_B A-B"),
            (false, false, "A_B A.B A-B"),
            (false, true, "A_B A.B A-B"),
        ] {
            let limits = HeadLimits {
                ignore_invalid,
                underscores,
                ..HeadLimits::default()
            };
            let (head, result) = parsed_with(request.as_bytes(), &limits);
            assert_eq!(result, Ok(Progress::Complete));
            let names: Vec<_> = field_list(&head.fields)
                .into_iter()
                .skip(1)
                .map(|(name, _)| name)
                .collect();
            assert_eq!(names.join(" "), kept);
        }
    }

    #[test]
    fn the_first_dropped_field_is_told() {
        let mut head = RequestHead::default();
        let request = with_lines("A-B: 1\r\nC_D: 2 \r\nE_F: 3");
        head.fields.bytes.extend_from_slice(request.as_bytes());
        let mut parser = HeadParser::default();
        assert_eq!(parser.dropped(), None);
        assert!(parser.request(&mut head, &HeadLimits::default()).is_ok());
        let dropped = parser.dropped().expect("a field was dropped");
        assert_eq!(head.bytes(dropped), b"C_D: 2");
    }

    #[test]
    fn a_request_line_of_the_limit_fits_and_one_byte_more_is_too_long() {
        let limits = HeadLimits {
            line: 100,
            ..HeadLimits::default()
        };
        let request = |length: usize| {
            let path = "a".repeat(length - "GET / HTTP/1.1\r\n".len());
            format!("GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n")
        };
        assert!(parsed_with(request(100).as_bytes(), &limits).1.is_ok());
        let long = request(101);
        assert_eq!(
            parsed_with(long.as_bytes(), &limits).1,
            Err(RequestError::UriTooLong)
        );
        assert_eq!(
            parsed_with(&long.as_bytes()[..100], &limits).1,
            Err(RequestError::UriTooLong)
        );
        assert_eq!(
            parsed_with(&long.as_bytes()[..99], &limits).1,
            Ok(Progress::Partial)
        );
    }

    #[test]
    fn a_field_of_the_limit_fits_and_one_byte_more_is_too_large() {
        let limits = HeadLimits {
            line: 100,
            ..HeadLimits::default()
        };
        let request = |length: usize| with_lines(&format!("A: {}", "a".repeat(length - 5)));
        assert!(parsed_with(request(100).as_bytes(), &limits).1.is_ok());
        assert_eq!(
            parsed_with(request(101).as_bytes(), &limits).1,
            Err(RequestError::HeaderTooLarge)
        );
        // The colon may also stand behind the limit.
        let name = with_lines(&format!("{}: a", "a".repeat(200)));
        assert_eq!(
            parsed_with(name.as_bytes(), &limits).1,
            Err(RequestError::HeaderTooLarge)
        );
    }

    #[test]
    fn a_head_of_the_limit_fits_and_one_byte_more_is_too_large() {
        let request = with_lines("A: b\r\nC: d");
        let limits = |total| HeadLimits {
            total,
            ..HeadLimits::default()
        };
        let fits = limits(request.len());
        assert!(parsed_with(request.as_bytes(), &fits).1.is_ok());
        for total in "POST / HTTP/1.1\r\n".len()..request.len() {
            assert_eq!(
                parsed_with(request.as_bytes(), &limits(total)).1,
                Err(RequestError::HeaderTooLarge),
                "{total}"
            );
        }
        assert_eq!(
            parsed_with(request.as_bytes(), &limits(5)).1,
            Err(RequestError::UriTooLong)
        );
    }

    #[test]
    fn as_many_fields_as_allowed_fit_and_dropped_ones_count() {
        let limits = HeadLimits {
            fields: 3,
            ..HeadLimits::default()
        };
        for (lines, fits) in [
            ("A: 1\r\nB: 2", true),
            ("A: 1\r\nB_: 2", true),
            ("A: 1\r\nB: 2\r\nC: 3", false),
            ("A_: 1\r\nB_: 2\r\nC_: 3", false),
        ] {
            let result = parsed_with(with_lines(lines).as_bytes(), &limits).1;
            let expected = match fits {
                true => Ok(Progress::Complete),
                false => Err(RequestError::TooManyFields),
            };
            assert_eq!(result, expected, "{lines}");
        }
    }

    #[test]
    fn more_fields_than_positions_can_count_are_refused() {
        let limits = HeadLimits {
            total: usize::MAX,
            fields: usize::MAX,
            ..HeadLimits::default()
        };
        let lines = "A: b\r\n".repeat(MOST_FIELDS);
        let request = format!("GET / HTTP/1.1\r\n{lines}Host: a\r\n\r\n");
        assert_eq!(
            parsed_with(request.as_bytes(), &limits).1,
            Err(RequestError::TooManyFields)
        );
    }

    #[test]
    fn a_name_longer_than_a_range_can_tell_is_refused() {
        let limits = HeadLimits {
            line: usize::MAX,
            total: usize::MAX,
            ..HeadLimits::default()
        };
        let request = with_lines(&format!("{}: b", "a".repeat(1 << 16)));
        assert_eq!(
            parsed_with(request.as_bytes(), &limits).1,
            Err(RequestError::BadField)
        );
    }

    #[test]
    fn a_usual_response_is_parsed_into_ranges() {
        let bytes = b"HTTP/1.1 404 Not  Found \r\nServer: x\r\nX_Y.Z: 1\r\n\r\nbody";
        let head = answer(bytes);
        assert_eq!((head.status, head.version), (404, Version::Http11));
        assert_eq!(head.reason.of(&head.fields.bytes), b"Not  Found ");
        assert_eq!(&bytes[head.length..], b"body");
        assert_eq!(head.fields.len(), 2);
        assert!(!head.line_feeds);
    }

    #[test]
    fn a_response_may_lack_reason_and_fields() {
        for line in ["HTTP/1.0 200", "HTTP/1.1 200 ", "HTTP/1.7 999"] {
            let head = answer(format!("{line}\r\n\r\n"));
            assert!(head.reason.is_empty());
            assert!(head.fields.is_empty());
        }
    }

    #[test]
    fn a_final_response_stands_behind_an_interim_one() {
        let bytes =
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nA: b\r\n\r\n";
        let mut head = answer(bytes);
        assert_eq!(head.status, 103);
        let start = head.length;
        head.reset();
        let mut parser = HeadParser::default();
        assert_eq!(
            parser.response(&mut head, start, &HeadLimits::default()),
            Ok(Progress::Complete)
        );
        assert_eq!((head.status, head.length), (200, bytes.len()));
        assert_eq!(head.reason.of(&head.fields.bytes), b"OK");
        assert!(!head.fields.has(Known::Link));
    }

    #[test]
    fn the_limit_of_a_response_counts_from_its_start() {
        let bytes = b"HTTP/1.1 103 E\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
        let first = "HTTP/1.1 103 E\r\n\r\n".len();
        for (total, expected) in [
            (bytes.len() - first, Ok(Progress::Complete)),
            (bytes.len() - first - 1, Err(ResponseError::HeaderTooLarge)),
        ] {
            let limits = HeadLimits {
                total,
                ..HeadLimits::default()
            };
            let mut head = ResponseHead::default();
            head.fields.bytes.extend_from_slice(bytes);
            let result = HeadParser::default().response(&mut head, first, &limits);
            assert_eq!(result, expected);
        }
    }

    #[test]
    fn what_is_no_http_1_is_no_response() {
        for text in [
            "<html>",
            "HTTP/2.0 200 OK\r\n\r\n",
            "\x15\x03",
            "\r\nHTTP/1.1 200",
            "ICY 200 OK",
        ] {
            assert_eq!(answer_refused(text), ResponseError::NotHttp, "{text}");
        }
        for line in [
            "HTTP/1.1 20 OK",
            "HTTP/1.1  200 OK",
            "HTTP/1.1 2000 OK",
            "HTTP/1.1 099 A",
            "HTTP/1.10 200",
        ] {
            assert_eq!(
                answer_refused(format!("{line}\r\n\r\n")),
                ResponseError::BadStatusLine,
                "{line}"
            );
        }
    }

    #[test]
    fn a_response_whose_lines_all_end_in_bare_line_feeds_is_taken_and_marked() {
        let head = answer("HTTP/1.1 200 OK\nA: b\nC: d\n\nbody");
        assert!(head.line_feeds);
        assert_eq!(head.fields.len(), 2);
        assert_eq!(head.length, "HTTP/1.1 200 OK\nA: b\nC: d\n\n".len());
    }

    #[test]
    fn smuggling_a_line_feed_inside_of_a_response_value() {
        for text in [
            "HTTP/1.1 200 OK\r\nA: b\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\nA: b\r\n\r\n",
            "HTTP/1.1 200 OK\nA: b\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n\n",
        ] {
            assert_eq!(answer_refused(text), ResponseError::MixedLineEnds, "{text}");
        }
    }

    #[test]
    fn smuggling_through_the_fields_of_a_response() {
        for (lines, error) in [
            ("Content-Length : 5", ResponseError::BadField),
            (" A: b", ResponseError::ObsFold),
            ("A: b\r\n c", ResponseError::ObsFold),
            ("A: b\rC: d", ResponseError::BareCarriageReturn),
            ("A: b\0", ResponseError::BadField),
            ("HTTP/1.1 200 OK", ResponseError::BadField),
            (
                "Content-Length: 1\r\nContent-Length: 1",
                ResponseError::DuplicateField(Known::ContentLength),
            ),
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
                ResponseError::DuplicateField(Known::TransferEncoding),
            ),
        ] {
            let text = format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n");
            assert_eq!(answer_refused(text), error, "{lines}");
        }
    }

    fn any_target() -> impl Strategy<Value = String> {
        prop_oneof![
            "/[!-~\u{a1}-\u{ff}]{0,40}",
            "https?://[a-z0-9-]{1,3}(\\.[a-z])?(:[0-9]{1,4})?(/[!-~]{0,20})?",
        ]
    }

    fn any_name() -> impl Strategy<Value = String> {
        let known = prop::sample::select(Known::ALL.to_vec())
            .prop_filter("comes once", |&known| UNIQUE_IN_REQUESTS & bit(known) == 0)
            .prop_map(|known| known.name().to_owned());
        prop_oneof![known, "[A-Za-z0-9-]{1,30}"].prop_filter("comes once", |name| {
            Known::of(name.as_bytes()).is_none_or(|known| UNIQUE_IN_REQUESTS & bit(known) == 0)
        })
    }

    fn any_fields() -> impl Strategy<Value = Vec<(String, String)>> {
        let value = "([!-~\u{a1}-\u{ff}]([ \t!-~\u{a1}-\u{ff}]{0,40}[!-~\u{a1}-\u{ff}])?)?";
        prop::collection::vec((any_name(), value), 0..20)
    }

    /// A well-formed request with what it consists of.
    fn any_request() -> impl Strategy<Value = (String, String, Vec<(String, String)>, Vec<u8>)> {
        ("[A-Z_-]{1,12}", any_target(), any_fields(), "[ \t]{0,3}").prop_filter_map(
            "CONNECT has another target",
            |(method, target, mut fields, space)| {
                if method == "CONNECT" {
                    return None;
                }
                fields.insert(fields.len() / 2, ("Host".to_owned(), "a.b:1".to_owned()));
                let mut bytes = format!("{method} {target} HTTP/1.1\r\n").into_bytes();
                for (name, value) in &fields {
                    bytes.extend_from_slice(format!("{name}:{space}{value}{space}\r\n").as_bytes());
                }
                bytes.extend_from_slice(b"\r\n");
                Some((method, target, fields, bytes))
            },
        )
    }

    /// A request, well-formed or with a few bytes changed.
    fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            3 => prop::sample::select(b"\r\n\t :\0/_%\x7f".to_vec()),
            1 => any::<u8>(),
        ];
        let changes = prop::collection::vec((any::<prop::sample::Index>(), byte, 0..3_u8), 0..4);
        (any_request(), changes).prop_map(|((.., mut bytes), changes)| {
            for (at, byte, change) in changes {
                let at = at.index(bytes.len());
                match change {
                    0 => bytes[at] = byte,
                    1 => bytes.insert(at, byte),
                    _ => {
                        bytes.remove(at);
                    }
                }
            }
            bytes
        })
    }

    fn small_limits() -> impl Strategy<Value = HeadLimits> {
        (10..200_usize, 10..1000_usize, 1..30_usize, any::<bool>()).prop_map(
            |(line, total, fields, ignore_invalid)| HeadLimits {
                line,
                total,
                fields,
                ignore_invalid,
                underscores: !ignore_invalid,
            },
        )
    }

    proptest! {
        #[test]
        fn a_written_request_is_parsed_back((method, target, fields, bytes) in any_request()) {
            let limits = HeadLimits { line: 1 << 20, total: 1 << 20, ..HeadLimits::default() };
            let (head, result) = parsed_with(&bytes, &limits);
            prop_assert_eq!(result, Ok(Progress::Complete));
            prop_assert_eq!(head.bytes(head.method_token), method.as_bytes());
            prop_assert_eq!(head.bytes(head.target), target.as_bytes());
            prop_assert_eq!(head.length, bytes.len());
            prop_assert_eq!(field_list(&head.fields), fields);
        }

        #[test]
        fn a_head_in_pieces_is_the_head_in_one_go(
            bytes in any_bytes(),
            mut cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
            limits in prop_oneof![Just(HeadLimits::default()), small_limits()],
        ) {
            let (whole, expected) = parsed_with(&bytes, &limits);
            let mut head = RequestHead::default();
            let mut parser = HeadParser::default();
            let mut ends: Vec<_> = cuts.drain(..).map(|cut| cut.index(bytes.len() + 1)).collect();
            ends.push(bytes.len());
            ends.sort_unstable();
            let mut result = Ok(Progress::Partial);
            for end in ends {
                let from = head.fields.bytes.len();
                head.fields.bytes.extend_from_slice(&bytes[from..end]);
                result = parser.request(&mut head, &limits);
                if result != Ok(Progress::Partial) {
                    break;
                }
            }
            if expected.is_err() && result == Ok(Progress::Partial) {
                // The line in error has not come to its end yet.
                head.fields.bytes.push(b'\n');
                result = parser.request(&mut head, &limits);
            }
            prop_assert_eq!(result, expected);
            if expected == Ok(Progress::Complete) {
                prop_assert_eq!(head.length, whole.length);
                prop_assert_eq!(field_list(&head.fields), field_list(&whole.fields));
                prop_assert_eq!(head.path_and_query, whole.path_and_query);
                prop_assert_eq!((head.method, head.version), (whole.method, whole.version));
            }
        }

        #[test]
        fn an_accepted_head_has_no_line_end_or_nul_in_any_part(bytes in any_bytes()) {
            let (head, result) = parsed_with(&bytes, &HeadLimits::default());
            if result == Ok(Progress::Complete) {
                let clean = |part: &[u8]| !part.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
                prop_assert!(clean(head.bytes(head.line)));
                for (_, name, value) in head.fields.iter() {
                    prop_assert!(clean(name) && clean(value));
                    prop_assert!(value == value.trim_ascii());
                }
                prop_assert!(head.length <= bytes.len());
            }
        }

        #[test]
        fn a_response_in_pieces_is_the_response_in_one_go(
            bytes in any_bytes(),
            line in "HTTP/1\\.[0-9] [1-9][0-9]{2}( [a-z ]{0,9})?",
            cut in any::<prop::sample::Index>(),
            line_feeds: bool,
        ) {
            let mut text = line.into_bytes();
            let fields = bytes.iter().position(|&byte| byte == b'\n').map_or(0, |found| found + 1);
            text.extend_from_slice(b"\r\n");
            text.extend_from_slice(&bytes[fields..]);
            if line_feeds {
                text.retain(|&byte| byte != b'\r');
            }
            let (whole, expected) = answer_with(&text, &HeadLimits::default());
            let cut = cut.index(text.len());
            let mut head = ResponseHead::default();
            let mut parser = HeadParser::default();
            head.fields.bytes.extend_from_slice(&text[..cut]);
            let mut result = parser.response(&mut head, 0, &HeadLimits::default());
            if result == Ok(Progress::Partial) {
                head.fields.bytes.extend_from_slice(&text[cut..]);
                result = parser.response(&mut head, 0, &HeadLimits::default());
            }
            if expected.is_err() && result == Ok(Progress::Partial) {
                head.fields.bytes.push(b'\n');
                result = parser.response(&mut head, 0, &HeadLimits::default());
            }
            prop_assert_eq!(result, expected);
            if expected == Ok(Progress::Complete) {
                prop_assert_eq!(head.length, whole.length);
                prop_assert_eq!(field_list(&head.fields), field_list(&whole.fields));
            }
        }
    }
}
