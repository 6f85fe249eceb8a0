//! The head of a request as a peer gets it.
//!
//! Owns which fields of the client pass, and what is said in their place. No value can begin another
//! field, whatever it is made of.

use super::cache::Asks;
use super::proxy::Plan;
use crate::conf::template::Template;
use crate::conf::typed::proxy::HttpVersion;
use crate::http::exchange::Exchange;
use crate::http::h1::write;
use crate::http::head::{Known, Method};
use crate::http::{hop_by_hop, variables};

/// The head of the request as the peer gets it; `true` if it asks the peer to close afterwards.
pub fn write_request_head(
    out: &mut Vec<u8>,
    exchange: &Exchange,
    plan: &Plan,
    uri: Option<&[u8]>,
    length: Option<u64>,
    is_chunked: bool,
    asks: &Asks<'_>,
) -> bool {
    let proxy = &*plan.proxy;
    let head = &exchange.head;
    match &proxy.method {
        Some(method) => variables::expand(method, exchange, out),
        None if asks.with_get => out.extend_from_slice(b"GET"),
        // An error page and a subrequest are fetched with GET whatever the client's method was.
        None if exchange.method == Method::Get
            && (head.method != Method::Get || exchange.is_subrequest) =>
        {
            out.extend_from_slice(b"GET")
        }
        None => out.extend_from_slice(head.bytes(head.method_token)),
    }
    out.push(b' ');
    let target = uri.unwrap_or_else(|| head.bytes(head.path_and_query));
    if target.starts_with(b"?") {
        out.push(b'/');
    }
    let start = out.len();
    out.extend_from_slice(target);
    // A target made of variables may hold decoded bytes that would end the request line.
    if out[start..]
        .iter()
        .any(|byte| *byte <= b' ' || *byte == 0x7f)
    {
        let raw = out.split_off(start);
        for byte in raw {
            match byte {
                0..=b' ' | 0x7f => {
                    let digit = |half: u8| b"0123456789ABCDEF"[usize::from(half)];
                    out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
                }
                byte => out.push(byte),
            }
        }
    }
    out.extend_from_slice(match proxy.http_version {
        HttpVersion::Http10 => b" HTTP/1.0\r\n",
        // For HTTP/2 the head is made of this one.
        HttpVersion::Http11 | HttpVersion::Http2 => b" HTTP/1.1\r\n",
    });
    let mut closes = false;
    for field in &proxy.set_fields {
        // Whatever is configured, a body is framed by the length that it has.
        let frames = field.name.eq_ignore_ascii_case(b"content-length")
            || field.name.eq_ignore_ascii_case(b"transfer-encoding");
        if !frames || (length.is_none() && !is_chunked) {
            let start = out.len();
            write_set_field(out, exchange, &field.name, &field.value);
            closes |=
                field.name.eq_ignore_ascii_case(b"connection") && asks_to_close(&out[start..]);
        }
    }
    if let Some(length) = length {
        out.extend_from_slice(b"Content-Length: ");
        write::push_decimal(out, length);
        out.extend_from_slice(b"\r\n");
    }
    if is_chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    if proxy.pass_request_headers {
        let nominated = head.fields.has(Known::Connection);
        for (known, name, value) in head.fields.iter() {
            if plan.replaced.contains(known, name)
                || (asks.whole && known.is_some_and(is_of_copy))
                || (nominated && hop_by_hop::is_nominated(&head.fields, name))
            {
                continue;
            }
            write::push_field(out, name, value);
        }
    }
    for (known, value) in [
        (Known::IfModifiedSince, asks.modified),
        (Known::IfNoneMatch, asks.etag),
    ] {
        if !value.is_empty() && !plan.replaced.has(known) {
            write::push_field(out, known.name().as_bytes(), value);
        }
    }
    out.extend_from_slice(b"\r\n");
    closes
}

/// Fields about what the client has already.
fn is_of_copy(known: Known) -> bool {
    matches!(
        known,
        Known::IfModifiedSince
            | Known::IfUnmodifiedSince
            | Known::IfNoneMatch
            | Known::IfMatch
            | Known::IfRange
            | Known::Range
    )
}

/// Does a `Connection` line that we wrote ask the peer to close?
fn asks_to_close(line: &[u8]) -> bool {
    let options = line
        .splitn(2, |&byte| byte == b':')
        .last()
        .unwrap_or_default();
    options
        .split(|&byte| byte == b',')
        .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
}

/// A field with a value computed for the request; nothing when the value is empty.
fn write_set_field(out: &mut Vec<u8>, exchange: &Exchange, name: &[u8], value: &Template) {
    let start = out.len();
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    let value_start = out.len();
    variables::expand(value, exchange, out);
    if out.len() == value_start {
        out.truncate(start);
        return;
    }
    // A value made of the client's bytes must not be able to begin another field.
    for byte in &mut out[value_start..] {
        if matches!(byte, b'\r' | b'\n' | 0) {
            *byte = b' ';
        }
    }
    // HTTP/2 in clear text past the rules of this proxy: never offered to a peer.
    let is_h2c = |option: &[u8]| option.trim_ascii().eq_ignore_ascii_case(b"h2c");
    if name.eq_ignore_ascii_case(b"upgrade")
        && out[value_start..].split(|&byte| byte == b',').any(is_h2c)
    {
        out.truncate(start);
        return;
    }
    out.extend_from_slice(b"\r\n");
}
