//! A request's head as HTTP/1 would have had it, and what is refused on the way there.
//!
//! The engine has refused what it knows to be malformed: names in capital letters, fields of a
//! connection, pseudo fields that are unknown, repeated or behind others, lengths that contradict
//! each other. The rest of RFC 9113 section 8 is here, and what we refuse of HTTP/1 too, so that a
//! rule of this proxy cannot be passed by speaking another version.

use std::fmt;

use http::request::Parts;

use crate::http::h1::parse::{self, HeadLimits, LONGEST_NAME, MOST_FIELDS, RequestError};
use crate::http::head::{Fields, Known, Method, RequestHead, Slice, Version};
use crate::http::uri;

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

/// Writes a head as HTTP/1 would have had it. If it is refused, as much of it is there as a log
/// wants.
pub fn translate(
    parts: &Parts,
    limits: &HeadLimits,
    head: &mut RequestHead,
) -> Result<Asks, HeadError> {
    let protocol = parts.extensions.get::<h2::ext::Protocol>();
    let method = match protocol {
        Some(_) => b"GET",
        None => parts.method.as_str().as_bytes(),
    };
    // Without a path there is nothing to show but this.
    let target = match parts.uri.path() {
        "" => "/",
        _ => (parts.uri.path_and_query()).map_or("/", |target| target.as_str()),
    }
    .as_bytes();
    let authority = parts
        .uri
        .authority()
        .map(|authority| authority.as_str().as_bytes());
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
    let result = translate_fields(parts, authority, limits, fields);
    head.length = head.fields.bytes.len();
    let mut asks = Asks::Answer;
    if let Some(protocol) = protocol {
        if protocol.as_str() != "websocket" {
            return Err(HeadError::UnknownProtocol);
        }
        asks = Asks::WebSocket;
        head.fields.push(b"Connection", b"Upgrade");
        head.fields.push(b"Upgrade", b"websocket");
        head.length = head.fields.bytes.len();
    }
    // RFC 9113 section 8.5: an authority and nothing else.
    if head.method == Method::Connect && authority.is_none() {
        return Err(HeadError::Malformed("CONNECT without \":authority\""));
    }
    result?;
    if target.len() > limits.line {
        return Err(RequestError::UriTooLong.into());
    }
    if head.length > limits.total {
        return Err(RequestError::HeaderTooLarge.into());
    }
    let is_method = |byte: &u8| byte.is_ascii_uppercase() || matches!(byte, b'_' | b'-');
    if !method.iter().all(is_method) {
        return Err(RequestError::BadMethod.into());
    }
    if head.method == Method::Connect {
        return Ok(Asks::Answer);
    }
    // RFC 9113 section 8.3.1.
    if parts.uri.path().is_empty() {
        return Err(HeadError::Malformed("no \":path\" header"));
    }
    let is_asterisk = head.method == Method::Options && target == b"*";
    if !target.starts_with(b"/") && !is_asterisk {
        return Err(HeadError::Malformed("invalid \":path\" header"));
    }
    Ok(asks)
}

fn translate_fields(
    parts: &Parts,
    authority: Option<&[u8]>,
    limits: &HeadLimits,
    fields: &mut Fields,
) -> Result<(), HeadError> {
    // `:authority` stands for Host (RFC 9113 section 8.3.1).
    if let Some(authority) = authority {
        fields.push_known(Some(Known::Host), b"Host", authority);
        if authority.contains(&b'@') {
            return Err(HeadError::Malformed("user in \":authority\" header"));
        }
        if uri::check_host(authority).is_err() {
            return Err(RequestError::BadHost.into());
        }
    }
    let mut count = 0;
    let mut cookies: Vec<u8> = Vec::new();
    for (name, value) in &parts.headers {
        let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
        count += 1;
        if count > limits.fields.min(MOST_FIELDS) {
            return Err(RequestError::TooManyFields.into());
        }
        if name.len() > LONGEST_NAME || name.len() + value.len() + 4 > limits.line {
            return Err(RequestError::HeaderTooLarge.into());
        }
        // RFC 9113 section 8.2.1.
        if let (Some(b' ' | b'\t'), _) | (_, Some(b' ' | b'\t')) = (value.first(), value.last()) {
            return Err(HeadError::Malformed("white space around a header's value"));
        }
        let known = Known::of(name);
        match known {
            Some(Known::Host) if authority.is_some_and(|own| !own.eq_ignore_ascii_case(value)) => {
                return Err(HeadError::HostDiffers);
            }
            Some(Known::Host) if authority.is_some() => continue,
            Some(Known::Host) if uri::check_host(value).is_err() => {
                return Err(RequestError::BadHost.into());
            }
            // Cookie crumbs are joined again (RFC 9113 section 8.2.3).
            Some(Known::Cookie) => {
                if !cookies.is_empty() {
                    cookies.extend_from_slice(b"; ");
                }
                cookies.extend_from_slice(value);
                continue;
            }
            // The engine has read it, but takes none for zero.
            Some(Known::ContentLength) if value.is_empty() => {
                return Err(HeadError::Malformed("invalid \"Content-Length\" header"));
            }
            Some(known) if parse::comes_once(known) && fields.has(known) => {
                return Err(RequestError::from_duplicate(known).into());
            }
            Some(_) => {}
            None if !parse::keeps_name(name, limits)? => continue,
            None => {}
        }
        fields.push_known(known, name, value);
    }
    if !cookies.is_empty() {
        fields.push_known(Some(Known::Cookie), b"Cookie", &cookies);
    }
    match fields.has(Known::Host) {
        true => Ok(()),
        false => Err(HeadError::NoHost),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A head of lines as `name: value`, the pseudo fields among them as the engine hands them on.
    fn parts(lines: &str) -> Parts {
        let mut request = http::Request::builder();
        let mut uri = http::uri::Parts::default();
        for line in lines.lines() {
            let (name, value) = line[1..].split_once(':').expect("a colon");
            let name = format!("{}{name}", &line[..1]);
            let value = value.strip_prefix(' ').unwrap_or(value);
            request = match &*name {
                ":method" => request.method(value),
                ":path" => {
                    uri.path_and_query = Some(value.parse().expect("a path"));
                    request
                }
                ":authority" => {
                    uri.authority = Some(value.parse().expect("an authority"));
                    request
                }
                ":protocol" => request.extension(h2::ext::Protocol::from(value)),
                _ => request.header(name, value),
            };
        }
        if uri.authority.is_some() && uri.path_and_query.is_some() {
            uri.scheme = Some(http::uri::Scheme::HTTP);
        }
        let uri = http::Uri::from_parts(uri).expect("a URI");
        request.uri(uri).body(()).expect("a request").into_parts().0
    }

    fn translated(lines: &str) -> (RequestHead, Result<Asks, HeadError>) {
        let mut head = RequestHead::default();
        let result = translate(&parts(lines), &HeadLimits::default(), &mut head);
        (head, result)
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
    fn what_the_engine_lets_pass_is_refused_here() {
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
                "client sent white space around a header's value",
            ),
            (
                ":method: GET\n:authority: a\n:path: /\nx: y\t",
                "client sent white space around a header's value",
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
        let parts = parts(":method: GET\n:authority: a\n:path: /\na_b: 1\na.b: 2\na-b: 3");
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
            let mut head = RequestHead::default();
            assert!(translate(&parts, &limits, &mut head).is_ok());
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
            let mut head = RequestHead::default();
            let result = translate(&parts(&format!("{begin}{rest}")), &limits, &mut head);
            assert_eq!(result.expect_err("a limit").to_string(), why, "{rest}");
        }
    }
}
