//! A request's head as HTTP/1 would have had it, and what is refused on the way there.
//!
//! A block of fields becomes a head while it is decoded. The rules of RFC 9113 section 8 are here, and
//! what we refuse of HTTP/1 too, so that a rule of this proxy cannot be passed by speaking another
//! version.

use std::fmt;

use super::hpack::decoder::{Field, has_control};
use crate::http::h1::chunked::may_trail;
use crate::http::h1::parse::{self, HeadLimits, LONGEST_NAME, MOST_FIELDS, RequestError};
use crate::http::head::{Fields, Known, Method, RequestHead, Slice, Version};
use crate::http::uri;

/// What a field counts for besides its name and its value (RFC 9113 section 6.5.2).
const OVERHEAD: usize = 32;

/// What a head asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asks {
    /// An answer.
    Answer,
    /// A connection of WebSocket (RFC 8441): the head reads as the GET with `Upgrade` that HTTP/1
    /// would have had, but for the key.
    WebSocket,
}

/// Why a head is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeadError {
    /// It breaks a rule of HTTP/2 (RFC 9113 section 8.1.1): the stream is reset.
    Malformed(&'static str),
    /// It breaks a rule that HTTP/1 has too: it is answered.
    Refused(RequestError),
    /// `:authority` and Host name two hosts.
    HostDiffers,
    /// Neither `:authority` nor Host is there.
    NoHost,
    /// An extended CONNECT for something else than WebSocket.
    UnknownProtocol,
}

impl fmt::Display for HeadError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => write!(out, "client sent {what}"),
            Self::Refused(error) => error.fmt(out),
            Self::HostDiffers => {
                out.write_str("client sent \"Host\" header that differs from \":authority\"")
            }
            Self::NoHost => out.write_str("client sent neither \":authority\" nor \"Host\" header"),
            Self::UnknownProtocol => out.write_str("client sent CONNECT for an unknown protocol"),
        }
    }
}

impl std::error::Error for HeadError {}

impl From<RequestError> for HeadError {
    fn from(error: RequestError) -> Self {
        Self::Refused(error)
    }
}

const METHOD: usize = 0;
const SCHEME: usize = 1;
const AUTHORITY: usize = 2;
const PATH: usize = 3;
const PROTOCOL: usize = 4;

/// Takes the fields of a request one after the other and makes a head of them. What is refused is
/// remembered until the end: the block has to be read whole in any case. As much of a refused head is
/// there as a log wants.
#[derive(Debug, Default)]
pub struct HeadBuilder {
    /// The values of pseudo fields.
    text: Vec<u8>,
    pseudo: [Option<Slice>; 5],
    cookies: Vec<u8>,
    has_fields: bool,
    count: usize,
    /// The size of all fields as the client has to count it (RFC 9113 section 6.5.2).
    size: usize,
    malformed: Option<&'static str>,
    refused: Option<HeadError>,
}

impl HeadBuilder {
    /// Makes ready for the next request.
    pub fn reset(&mut self) {
        self.text.clear();
        self.pseudo = [None; 5];
        self.cookies.clear();
        self.has_fields = false;
        self.count = 0;
        self.size = 0;
        self.malformed = None;
        self.refused = None;
    }

    /// The size of all fields so far as the client has to count it.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The next field.
    pub fn field(&mut self, field: Field<'_>, limits: &HeadLimits, head: &mut RequestHead) {
        self.size += field.name.len() + field.value.len() + OVERHEAD;
        if self.malformed.is_some() {
            return;
        }
        if let Some(name) = field.name.strip_prefix(b":") {
            return self.pseudo(name, field.value);
        }
        if !self.has_fields {
            self.has_fields = true;
            self.begin(head);
        }
        if !field.is_valid {
            self.malformed = Some("invalid header line");
            return;
        }
        if self.refused.is_some() && field.known != Some(Known::ContentLength) {
            return;
        }
        if let Err(error) = self.usual(field, limits, &mut head.fields) {
            match error {
                HeadError::Malformed(what) => self.malformed = Some(what),
                error => self.refused = self.refused.or(Some(error)),
            }
        }
    }

    fn pseudo(&mut self, name: &[u8], value: &[u8]) {
        let which = match name {
            b"method" => METHOD,
            b"scheme" => SCHEME,
            b"authority" => AUTHORITY,
            b"path" => PATH,
            b"protocol" => PROTOCOL,
            _ => {
                self.malformed = Some("unknown pseudo header");
                return;
            }
        };
        if self.has_fields {
            self.malformed = Some("pseudo header behind other headers");
        } else if self.pseudo[which].is_some() {
            self.malformed = Some("duplicate pseudo header");
        } else if has_control(value) {
            self.malformed = Some("invalid pseudo header");
        } else {
            let start = self.text.len();
            self.text.extend_from_slice(value);
            self.pseudo[which] = Some(Slice::new(start, self.text.len()));
        }
    }

    fn value(&self, which: usize) -> Option<&[u8]> {
        self.pseudo[which].map(|slice| slice.of(&self.text))
    }

    /// All pseudo fields are there: writes the line that HTTP/1 would have had, and Host.
    fn begin(&mut self, head: &mut RequestHead) {
        let method = match self.pseudo[PROTOCOL] {
            Some(_) => b"GET",
            None => self.value(METHOD).unwrap_or_default(),
        };
        // Without a path there is nothing to show but this.
        let target = match self.value(PATH) {
            None | Some(b"") => b"/",
            Some(path) => path,
        };
        let fields = &mut head.fields;
        let put = |fields: &mut Fields, bytes: &[u8]| {
            let start = fields.bytes.len();
            fields.bytes.extend_from_slice(bytes);
            Slice::new(start, fields.bytes.len())
        };
        head.method = Method::of(method);
        head.method_token = put(fields, method);
        put(fields, b" ");
        head.target = put(fields, target);
        head.path_and_query = head.target;
        put(fields, b" HTTP/2.0");
        head.line = Slice::new(0, fields.bytes.len());
        head.version = Version::Http2;
        put(fields, b"\r\n");
        // `:authority` stands for Host (RFC 9113 section 8.3.1).
        if let Some(authority) = self.pseudo[AUTHORITY] {
            let authority = authority.of(&self.text);
            fields.push_known(Some(Known::Host), b"Host", authority);
            if authority.contains(&b'@') {
                self.malformed = Some("user in \":authority\" header");
            } else if uri::check_host(authority).is_err() {
                self.refused = Some(RequestError::BadHost.into());
            }
        }
    }

    fn usual(
        &mut self,
        field: Field<'_>,
        limits: &HeadLimits,
        fields: &mut Fields,
    ) -> Result<(), HeadError> {
        let Field {
            known, name, value, ..
        } = field;
        self.count += 1;
        if self.count > limits.fields.min(MOST_FIELDS) {
            return Err(RequestError::TooManyFields.into());
        }
        if name.len() > LONGEST_NAME
            || name.len() + value.len() + 4 > limits.line
            || fields.bytes.len() + name.len() + value.len() > limits.total
        {
            return Err(RequestError::HeaderTooLarge.into());
        }
        match known {
            // RFC 9113 section 8.2.2.
            Some(
                Known::Connection
                | Known::KeepAlive
                | Known::ProxyConnection
                | Known::TransferEncoding
                | Known::Upgrade,
            ) => return Err(HeadError::Malformed("header of a connection")),
            Some(Known::Te) if value != b"trailers" => {
                return Err(HeadError::Malformed("invalid \"TE\" header"));
            }
            Some(Known::Host) => {
                if let Some(authority) = self.value(AUTHORITY) {
                    return match authority.eq_ignore_ascii_case(value) {
                        true => Ok(()),
                        false => Err(HeadError::HostDiffers),
                    };
                }
                if uri::check_host(value).is_err() {
                    return Err(RequestError::BadHost.into());
                }
            }
            // Cookie crumbs are joined again (RFC 9113 section 8.2.3).
            Some(Known::Cookie) => {
                if !self.cookies.is_empty() {
                    self.cookies.extend_from_slice(b"; ");
                }
                self.cookies.extend_from_slice(value);
                return match self.cookies.len() > limits.total {
                    true => Err(RequestError::HeaderTooLarge.into()),
                    false => Ok(()),
                };
            }
            // RFC 9113 section 8.1.1: there is one, and it is a number.
            Some(Known::ContentLength) if fields.has(Known::ContentLength) || !is_number(value) => {
                return Err(HeadError::Malformed("invalid \"Content-Length\" header"));
            }
            _ => {}
        }
        match known {
            Some(known) if parse::comes_once(known) && fields.has(known) => {
                return Err(RequestError::from_duplicate(known).into());
            }
            Some(_) => {}
            None if !parse::keeps_name(name, limits)? => return Ok(()),
            None => {}
        }
        fields.push_known(known, name, value);
        Ok(())
    }

    /// The block has come to its end.
    pub fn finish(
        &mut self,
        limits: &HeadLimits,
        head: &mut RequestHead,
    ) -> Result<Asks, HeadError> {
        if !self.has_fields {
            self.begin(head);
        }
        if !self.cookies.is_empty() {
            head.fields
                .push_known(Some(Known::Cookie), b"Cookie", &self.cookies);
        }
        head.length = head.fields.bytes.len();
        if let Some(what) = self.malformed {
            return Err(HeadError::Malformed(what));
        }
        let asks = self.check_pseudo(head)?;
        if let Some(error) = self.refused {
            return Err(error);
        }
        if asks == Asks::WebSocket {
            head.fields.push(b"Connection", b"Upgrade");
            head.fields.push(b"Upgrade", b"websocket");
            head.length = head.fields.bytes.len();
        }
        if !head.fields.has(Known::Host) {
            return Err(HeadError::NoHost);
        }
        if head.target.len() > limits.line {
            return Err(RequestError::UriTooLong.into());
        }
        if head.length > limits.total {
            return Err(RequestError::HeaderTooLarge.into());
        }
        let is_method = |byte: &u8| byte.is_ascii_uppercase() || matches!(byte, b'_' | b'-');
        if !head
            .method_token
            .of(&head.fields.bytes)
            .iter()
            .all(is_method)
        {
            return Err(RequestError::BadMethod.into());
        }
        Ok(asks)
    }

    /// RFC 9113 sections 8.3.1 and 8.5, RFC 8441 section 4.
    fn check_pseudo(&self, head: &RequestHead) -> Result<Asks, HeadError> {
        let malformed = |what| Err(HeadError::Malformed(what));
        let (path, scheme) = (self.value(PATH), self.value(SCHEME));
        let Some(method) = self.value(METHOD).filter(|method| !method.is_empty()) else {
            return malformed("no \":method\" header");
        };
        let is_connect = method == b"CONNECT";
        let protocol = self.value(PROTOCOL);
        if is_connect && self.pseudo[AUTHORITY].is_none() {
            return malformed("CONNECT without \":authority\"");
        }
        if is_connect && protocol.is_none() {
            return match (path, scheme) {
                (None, None) => Ok(Asks::Answer),
                _ => malformed("CONNECT with \":path\" or \":scheme\""),
            };
        }
        if !is_connect && protocol.is_some() {
            return malformed("\":protocol\" without CONNECT");
        }
        let Some(path) = path.filter(|path| !path.is_empty()) else {
            return malformed("no \":path\" header");
        };
        let is_scheme = |scheme: &[u8]| {
            scheme.first().is_some_and(u8::is_ascii_alphabetic)
                && (scheme.iter())
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
        };
        match scheme {
            None => return malformed("no \":scheme\" header"),
            Some(scheme) if !is_scheme(scheme) => return malformed("invalid \":scheme\" header"),
            Some(_) => {}
        }
        let is_asterisk = head.method == Method::Options && path == b"*";
        let has_blank = path.iter().any(|byte| matches!(byte, b' ' | b'\t'));
        if (!path.starts_with(b"/") && !is_asterisk) || has_blank {
            return malformed("invalid \":path\" header");
        }
        match protocol {
            None => Ok(Asks::Answer),
            Some(b"websocket") => Ok(Asks::WebSocket),
            Some(_) => Err(HeadError::UnknownProtocol),
        }
    }
}

/// Takes a field of a trailer section, if it may stand there (RFC 9113 section 8.1). What no trailer
/// section may have (RFC 9110 section 6.5.1) is left out.
pub fn trailer(
    field: Field<'_>,
    limits: &HeadLimits,
    trailers: &mut Fields,
) -> Result<(), HeadError> {
    if field.name.starts_with(b":") {
        return Err(HeadError::Malformed("pseudo header in trailers"));
    }
    let Field {
        known, name, value, ..
    } = field;
    if !field.is_valid {
        return Err(HeadError::Malformed("invalid trailer line"));
    }
    if trailers.len() >= limits.fields.min(MOST_FIELDS)
        || name.len() > LONGEST_NAME
        || trailers.bytes.len() + name.len() + value.len() > limits.total
    {
        return Err(RequestError::HeaderTooLarge.into());
    }
    let is_kept = match known {
        Some(known) => may_trail(known),
        None => parse::keeps_name(name, limits)?,
    };
    if is_kept {
        trailers.push_known(known, name, value);
    }
    Ok(())
}

fn is_number(value: &[u8]) -> bool {
    // As many digits as always fit 64 bits.
    (1..20).contains(&value.len()) && value.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::h2::hpack::decoder::is_value;

    /// A head of lines as `name: value`; a scheme is there where it belongs.
    fn built(lines: &str, limits: &HeadLimits) -> (RequestHead, Result<Asks, HeadError>) {
        let mut head = RequestHead::default();
        let mut builder = HeadBuilder::default();
        let has_scheme = lines.contains(":scheme:") || !lines.contains(":path:");
        let scheme = if has_scheme { "" } else { ":scheme: http" };
        for line in scheme.lines().chain(lines.lines()) {
            let (name, value) = line[1..].split_once(':').expect("a colon");
            let name = format!("{}{name}", &line[..1]);
            let value = value.strip_prefix(' ').unwrap_or(value).as_bytes();
            let name = name.as_bytes();
            let field = Field {
                known: Known::of(name),
                name,
                value,
                is_valid: is_value(value),
            };
            builder.field(field, limits, &mut head);
        }
        let result = builder.finish(limits, &mut head);
        (head, result)
    }

    fn translated(lines: &str) -> (RequestHead, Result<Asks, HeadError>) {
        built(lines, &HeadLimits::default())
    }

    fn refused(lines: &str) -> String {
        match translated(lines).1 {
            Err(error) => error.to_string(),
            Ok(asks) => format!("{asks:?}"),
        }
    }

    #[test]
    fn a_head_reads_as_one_of_http_1() {
        let (head, asks) = translated(
            ":method: POST\n:authority: A.example:8080\n:path: /a%20b?c=d\ncookie: a=1\nx-y: z\n\
             cookie: b=2\ncontent-length: 3",
        );
        assert_eq!(asks, Ok(Asks::Answer));
        assert_eq!(head.method, Method::Post);
        assert_eq!(head.bytes(head.line), b"POST /a%20b?c=d HTTP/2.0");
        assert_eq!(head.bytes(head.path_and_query), b"/a%20b?c=d");
        let known = |known| head.fields.known(known).map(<[u8]>::escape_ascii);
        assert_eq!(
            known(Known::Host).expect("host").to_string(),
            "A.example:8080"
        );
        assert_eq!(
            known(Known::Cookie).expect("cookie").to_string(),
            "a=1; b=2"
        );
        assert_eq!(
            known(Known::ContentLength).expect("length").to_string(),
            "3"
        );
        assert_eq!(head.fields.named(b"x-y").next(), Some(&b"z"[..]));
        assert_eq!(head.length, head.fields.bytes.len());
    }

    #[test]
    fn an_extended_connect_reads_as_an_upgrade() {
        let (head, asks) = translated(
            ":method: CONNECT\n:protocol: websocket\n:authority: a\n:path: /chat\n\
             sec-websocket-version: 13",
        );
        assert_eq!(asks, Ok(Asks::WebSocket));
        assert_eq!(head.method, Method::Get);
        assert_eq!(head.bytes(head.line), b"GET /chat HTTP/2.0");
        assert_eq!(head.fields.known(Known::Upgrade), Some(&b"websocket"[..]));
        assert_eq!(head.fields.known(Known::Connection), Some(&b"Upgrade"[..]));
    }

    #[test]
    fn what_breaks_a_rule_is_refused() {
        for (lines, why) in [
            (":method: GET\nhost: a", "client sent no \":path\" header"),
            (
                ":method: GET\n:authority: a\n:path: ?a",
                "client sent invalid \":path\" header",
            ),
            (
                ":method: GET\n:authority: a\n:path: *",
                "client sent invalid \":path\" header",
            ),
            (":method: OPTIONS\n:authority: a\n:path: *", "Answer"),
            (
                ":method: GET\n:path: /",
                "client sent neither \":authority\" nor \"Host\" header",
            ),
            (":method: GET\n:path: /\nhost: a", "Answer"),
            (":method: GET\n:authority: a\n:path: /\nhost: A", "Answer"),
            (
                ":method: GET\n:authority: a\n:path: /\nhost: b",
                "client sent \"Host\" header that differs from \":authority\"",
            ),
            (
                ":method: GET\n:path: /\nhost: a\nhost: a",
                "client sent duplicate host header",
            ),
            (
                ":method: GET\n:path: /\nhost: a/b",
                "client sent invalid host header",
            ),
            (
                ":method: GET\n:authority: u@a\n:path: /",
                "client sent user in \":authority\" header",
            ),
            (
                ":method: GET\n:authority: a\n:path: /\nx:  y",
                "client sent invalid header line",
            ),
            (
                ":method: GET\n:authority: a\n:path: /\nx: y\t",
                "client sent invalid header line",
            ),
            (
                ":method: GET\n:authority: a\n:path: /\ncontent-length:",
                "client sent invalid \"Content-Length\" header",
            ),
            (
                ":method: GET\n:authority: a\n:path: /\ncontent_length: 3",
                "client sent header line that resembles a framing header",
            ),
            (
                ":method: GET\n:authority: a\n:path: /\nauthorization: a\nauthorization: b",
                "client sent duplicate header line: \"Authorization\"",
            ),
            (
                ":method: GET\n:authority: a\n:path: /\nconnection: x",
                "client sent header of a connection",
            ),
            (
                ":method: GET\n:authority: a\n:path: /\nte: gzip",
                "client sent invalid \"TE\" header",
            ),
            (
                ":method: GET\n:authority: a\n:path: /\ncontent-length: 3\ncontent-length: 3",
                "client sent invalid \"Content-Length\" header",
            ),
            (
                ":method: GET\n:authority: a\n:path: /\n:x: y",
                "client sent unknown pseudo header",
            ),
            (
                ":method: GET\n:path: /\nhost: a\n:authority: a",
                "client sent pseudo header behind other headers",
            ),
            (
                ":method: GET\n:authority: a\n:path: /\n:path: /",
                "client sent duplicate pseudo header",
            ),
            (
                ":method: GET\n:authority: a\n:path: /\n:scheme: h ttp",
                "client sent invalid \":scheme\" header",
            ),
            (
                ":method: GET\n:authority: a\n:path: /\n:protocol: websocket",
                "client sent \":protocol\" without CONNECT",
            ),
            (
                ":authority: a\n:path: /",
                "client sent no \":method\" header",
            ),
            (
                ":method: get\n:authority: a\n:path: /",
                "client sent invalid method",
            ),
            (":method: CONNECT\n:authority: a:443", "Answer"),
            (
                ":method: CONNECT\n:protocol: connect-udp\n:authority: a\n:path: /",
                "client sent CONNECT for an unknown protocol",
            ),
        ] {
            assert_eq!(refused(lines), why, "{lines}");
        }
    }

    #[test]
    fn unusual_names_are_dropped_or_kept_as_in_http_1() {
        let lines = ":method: GET\n:authority: a\n:path: /\na_b: 1\na.b: 2\na-b: 3";
        for (ignore_invalid, underscores, kept) in [
            (true, false, "a-b"),
            (true, true, "a_b a-b"),
            (false, false, "a_b a.b a-b"),
        ] {
            let limits = HeadLimits {
                ignore_invalid,
                underscores,
                ..HeadLimits::default()
            };
            let (head, result) = built(lines, &limits);
            assert_eq!(result, Ok(Asks::Answer));
            let names: Vec<_> = (head.fields.iter().skip(1))
                .map(|(_, name, _)| name.escape_ascii().to_string())
                .collect();
            assert_eq!(names.join(" "), kept);
        }
    }

    #[test]
    fn the_limits_of_a_head_hold() {
        let limits = HeadLimits {
            line: 40,
            total: 120,
            fields: 3,
            ..HeadLimits::default()
        };
        let begin = ":method: GET\n:authority: a\n";
        for (rest, why) in [
            (
                format!(":path: /{}", "x".repeat(40)),
                "client sent too long URI",
            ),
            (
                format!(":path: /\nx: {}", "x".repeat(40)),
                "client sent too long header line",
            ),
            (
                format!(":path: /\na: {0}\nb: {0}\nc: {0}", "x".repeat(34)),
                "client sent too long header line",
            ),
            (
                ":path: /\na: 1\nb: 2\nc: 3\nd: 4".to_owned(),
                "client sent too many header lines",
            ),
        ] {
            let (_, result) = built(&format!("{begin}{rest}"), &limits);
            assert_eq!(result.expect_err("a limit").to_string(), why, "{rest}");
        }
    }
}
