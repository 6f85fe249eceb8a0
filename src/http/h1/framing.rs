//! How long a message body is, and what a connection is used for after it.
//!
//! Owns the rules of RFC 9112 sections 6, 7 and 9 on a parsed head; knows nothing of reading. A head
//! whose length two recipients could read differently has no length here: it is an error.

use super::parse::{RequestError, ResponseError};
use crate::http::head::{Fields, Known, Method, RequestHead, ResponseHead, Version};

/// The length of a message body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyLength {
    /// There is none.
    None,
    /// This many bytes; 0 where Content-Length says so.
    Length(u64),
    /// Until the last chunk and the trailer section.
    Chunked,
    /// Until the peer closes; only in responses.
    UntilClose,
}

/// The length of a request body.
pub fn request_body(head: &RequestHead) -> Result<BodyLength, RequestError> {
    match length(&head.fields) {
        Ok(BodyLength::Chunked) if head.version < Version::Http11 => {
            // RFC 9112 section 6.1: to be treated as if the framing were faulty.
            Err(RequestError::TransferEncodingInHttp10)
        }
        // Section 6.3, rule 7: a request without either has no body.
        Ok(BodyLength::UntilClose) => Ok(BodyLength::None),
        Ok(length) => Ok(length),
        Err(Fault::BothLengths) => Err(RequestError::LengthWithTransferEncoding),
        Err(Fault::Duplicate(Known::ContentLength)) => Err(RequestError::DuplicateContentLength),
        Err(Fault::Duplicate(known)) => Err(RequestError::DuplicateField(known)),
        Err(Fault::Length) => Err(RequestError::BadContentLength),
        // nginx looks at the version first.
        Err(Fault::Coding) if head.version < Version::Http11 => {
            Err(RequestError::TransferEncodingInHttp10)
        }
        Err(Fault::Coding) => Err(RequestError::UnsupportedTransferEncoding),
    }
}

/// The length of the body of a response to a request of this method.
pub fn response_body(request: Method, head: &ResponseHead) -> Result<BodyLength, ResponseError> {
    // A contradiction is one also where no body follows: the peer is not to be trusted further.
    let length = match length(&head.fields) {
        Ok(length) => length,
        Err(Fault::BothLengths) => return Err(ResponseError::LengthWithTransferEncoding),
        Err(Fault::Duplicate(known)) => return Err(ResponseError::DuplicateField(known)),
        Err(Fault::Length) => return Err(ResponseError::BadContentLength),
        Err(Fault::Coding) => return Err(ResponseError::UnsupportedTransferEncoding),
    };
    Ok(match (request, head.status) {
        // Section 6.3, rule 1.
        (Method::Head, _) | (_, 100..=199 | 204 | 304) => BodyLength::None,
        // Rule 2: what follows belongs to the tunnel.
        (Method::Connect, 200..=299) => BodyLength::None,
        _ => length,
    })
}

/// Does the connection stay open after this request, as far as the client is concerned?
pub fn keeps_request_connection(head: &RequestHead) -> bool {
    keep_alive(head.version, &head.fields)
}

/// Does the connection stay open after this response, as far as the peer is concerned? Not after a
/// body that ends with it, which [`response_body`] tells.
pub fn keeps_response_connection(head: &ResponseHead) -> bool {
    keep_alive(head.version, &head.fields)
        && !head.line_feeds
        && head.status != 101
        // RFC 9112 section 6.1: the framing is faulty, so nothing may follow it.
        && !(head.version < Version::Http11 && head.fields.has(Known::TransferEncoding))
}

/// The protocol that the request asks to switch to. RFC 9110 section 7.8: `Upgrade` counts only if
/// `Connection` names it, and not in HTTP/1.0.
pub fn wants_upgrade(head: &RequestHead) -> Option<&[u8]> {
    let upgrade = head.fields.known(Known::Upgrade)?;
    (head.version == Version::Http11
        && connection_options(&head.fields).any(|option| option.eq_ignore_ascii_case(b"upgrade")))
    .then_some(upgrade)
}

/// Does the client wait for `100 Continue` before it sends the body? RFC 9110 section 10.1.1: not in
/// HTTP/1.0.
pub fn expects_continue(head: &RequestHead) -> bool {
    head.version >= Version::Http11
        && head
            .fields
            .known(Known::Expect)
            .is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"))
}

/// The options of all Connection fields, in order, without white space and empty ones.
pub fn connection_options(fields: &Fields) -> impl Iterator<Item = &[u8]> {
    fields
        .all(Known::Connection)
        .flat_map(|value| value.split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|option| !option.is_empty())
}

/// RFC 9112 section 9.3; `close` wins over `keep-alive`.
fn keep_alive(version: Version, fields: &Fields) -> bool {
    let mut kept = version >= Version::Http11;
    if fields.has(Known::Connection) {
        for option in connection_options(fields) {
            if option.eq_ignore_ascii_case(b"close") {
                return false;
            }
            kept |= version == Version::Http10 && option.eq_ignore_ascii_case(b"keep-alive");
        }
    }
    kept
}

enum Fault {
    BothLengths,
    Duplicate(Known),
    Length,
    Coding,
}

/// What the fields alone say; `UntilClose` if they say nothing.
fn length(fields: &Fields) -> Result<BodyLength, Fault> {
    let coding = only(fields, Known::TransferEncoding)?;
    let length = only(fields, Known::ContentLength)?;
    match (coding, length) {
        (None, None) => Ok(BodyLength::UntilClose),
        (None, Some(length)) => decimal(length).map(BodyLength::Length).ok_or(Fault::Length),
        // RFC 9112 section 6.3, rule 3 lets a server go on with the coding. Some peers go by the
        // length; so nobody may.
        (Some(_), Some(_)) => Err(Fault::BothLengths),
        // RFC 9112 section 7: `chunked` must come last and once. No other coding is known here, so
        // it must come alone; `identity` is no coding any more.
        (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => Ok(BodyLength::Chunked),
        (Some(_), None) => Err(Fault::Coding),
    }
}

/// The value of the field that may come once only.
fn only(fields: &Fields, known: Known) -> Result<Option<&[u8]>, Fault> {
    if !fields.has(known) {
        return Ok(None);
    }
    let mut values = fields.all(known);
    let first = values.next();
    match values.next() {
        None => Ok(first),
        Some(_) => Err(Fault::Duplicate(known)),
    }
}

/// RFC 9110 section 8.6: digits alone, no sign, no list. The bound is nginx's `off_t`.
fn decimal(value: &[u8]) -> Option<u64> {
    const MOST: u64 = i64::MAX as u64;
    if value.is_empty() {
        return None;
    }
    let mut number: u64 = 0;
    for &byte in value {
        let digit = u64::from(byte.wrapping_sub(b'0'));
        if digit > 9 {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(digit)?;
    }
    (number <= MOST).then_some(number)
}
