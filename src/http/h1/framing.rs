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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(version: Version, fields: &[(&str, &str)]) -> RequestHead {
        let mut head = RequestHead {
            version,
            ..RequestHead::default()
        };
        for (name, value) in fields {
            head.fields.push(name.as_bytes(), value.as_bytes());
        }
        head
    }

    fn response(version: Version, status: u16, fields: &[(&str, &str)]) -> ResponseHead {
        let mut head = ResponseHead {
            version,
            status,
            ..ResponseHead::default()
        };
        for (name, value) in fields {
            head.fields.push(name.as_bytes(), value.as_bytes());
        }
        head
    }

    fn length_of(fields: &[(&str, &str)]) -> Result<BodyLength, RequestError> {
        request_body(&request(Version::Http11, fields))
    }

    #[test]
    fn a_request_without_length_or_coding_has_no_body() {
        assert_eq!(length_of(&[("Host", "a")]), Ok(BodyLength::None));
        let old = request(Version::Http09, &[]);
        assert_eq!(request_body(&old), Ok(BodyLength::None));
    }

    #[test]
    fn a_length_is_decimal_digits_up_to_63_bits() {
        for (value, length) in [
            ("0", 0),
            ("5", 5),
            ("0005", 5),
            ("9223372036854775807", i64::MAX as u64),
        ] {
            let fields = [("Content-Length", value)];
            assert_eq!(length_of(&fields), Ok(BodyLength::Length(length)));
        }
    }

    #[test]
    fn smuggling_a_length_that_some_read_otherwise() {
        for value in [
            "",
            "+5",
            "-5",
            "-0",
            "5,5",
            "5, 5",
            "5 5",
            "5;",
            "0x5",
            "1e1",
            "5.0",
            "5\u{a0}",
            "٥",
            "9223372036854775808",
            "18446744073709551615",
            "18446744073709551621",
            "99999999999999999999999999",
        ] {
            assert_eq!(
                length_of(&[("Content-Length", value)]),
                Err(RequestError::BadContentLength),
                "{value}"
            );
            assert_eq!(
                response_body(
                    Method::Get,
                    &response(Version::Http11, 200, &[("Content-Length", value)])
                ),
                Err(ResponseError::BadContentLength),
                "{value}"
            );
        }
    }

    #[test]
    fn smuggling_a_length_beside_a_coding() {
        for coding in ["chunked", "identity", "x"] {
            let fields = [("Content-Length", "5"), ("Transfer-Encoding", coding)];
            assert_eq!(
                length_of(&fields),
                Err(RequestError::LengthWithTransferEncoding)
            );
            let [length, coding] = fields;
            assert_eq!(
                response_body(
                    Method::Get,
                    &response(Version::Http11, 200, &[coding, length])
                ),
                Err(ResponseError::LengthWithTransferEncoding)
            );
        }
    }

    #[test]
    fn smuggling_two_lengths_or_codings_past_the_parser() {
        for second in ["5", "6"] {
            let fields = [("Content-Length", "5"), ("content-length", second)];
            assert_eq!(
                length_of(&fields),
                Err(RequestError::DuplicateContentLength)
            );
            assert_eq!(
                response_body(Method::Get, &response(Version::Http11, 200, &fields)),
                Err(ResponseError::DuplicateField(Known::ContentLength))
            );
        }
        let fields = [
            ("Transfer-Encoding", "chunked"),
            ("Transfer-Encoding", "chunked"),
        ];
        assert_eq!(
            length_of(&fields),
            Err(RequestError::DuplicateField(Known::TransferEncoding))
        );
    }

    #[test]
    fn smuggling_a_coding_that_is_not_chunked_alone() {
        assert_eq!(
            length_of(&[("Transfer-Encoding", "Chunked")]),
            Ok(BodyLength::Chunked)
        );
        for coding in [
            "",
            "identity",
            "gzip",
            "gzip, chunked",
            "chunked, chunked",
            "chunked, identity",
            "chunked,",
            ",chunked",
            "chunked;q=1",
            "xchunked",
            "chunkedx",
            "\"chunked\"",
            "chun\tked",
        ] {
            assert_eq!(
                length_of(&[("Transfer-Encoding", coding)]),
                Err(RequestError::UnsupportedTransferEncoding),
                "{coding}"
            );
            assert_eq!(
                response_body(
                    Method::Get,
                    &response(Version::Http11, 200, &[("Transfer-Encoding", coding)])
                ),
                Err(ResponseError::UnsupportedTransferEncoding),
                "{coding}"
            );
        }
    }

    #[test]
    fn smuggling_a_coding_in_http_1_0() {
        for coding in ["chunked", "gzip"] {
            let head = request(Version::Http10, &[("Transfer-Encoding", coding)]);
            assert_eq!(
                request_body(&head),
                Err(RequestError::TransferEncodingInHttp10)
            );
        }
    }

    #[test]
    fn a_response_has_the_length_its_fields_tell_or_ends_with_the_connection() {
        for (fields, length) in [
            (&[][..], BodyLength::UntilClose),
            (&[("Content-Length", "7")], BodyLength::Length(7)),
            (&[("Transfer-Encoding", "chunked")], BodyLength::Chunked),
        ] {
            for status in [200, 206, 301, 404, 500, 600, 999] {
                let head = response(Version::Http11, status, fields);
                assert_eq!(response_body(Method::Post, &head), Ok(length));
            }
        }
    }

    #[test]
    fn responses_that_never_have_a_body_have_none_whatever_they_tell() {
        for fields in [
            &[][..],
            &[("Content-Length", "7")],
            &[("Transfer-Encoding", "chunked")],
        ] {
            for status in [100, 101, 103, 199, 204, 304] {
                let head = response(Version::Http11, status, fields);
                assert_eq!(response_body(Method::Get, &head), Ok(BodyLength::None));
            }
            let head = response(Version::Http11, 200, fields);
            assert_eq!(response_body(Method::Head, &head), Ok(BodyLength::None));
            assert_eq!(response_body(Method::Connect, &head), Ok(BodyLength::None));
        }
        let refused = response(Version::Http11, 403, &[("Content-Length", "7")]);
        assert_eq!(
            response_body(Method::Connect, &refused),
            Ok(BodyLength::Length(7))
        );
    }

    #[test]
    fn a_contradiction_is_one_also_where_no_body_follows() {
        let fields = [("Content-Length", "5"), ("Transfer-Encoding", "chunked")];
        for (method, status) in [(Method::Head, 200), (Method::Get, 304)] {
            assert_eq!(
                response_body(method, &response(Version::Http11, status, &fields)),
                Err(ResponseError::LengthWithTransferEncoding)
            );
        }
    }

    #[test]
    fn a_chunked_response_of_http_1_0_is_read_and_its_connection_not_used_again() {
        let fields = [
            ("Transfer-Encoding", "chunked"),
            ("Connection", "keep-alive"),
        ];
        let head = response(Version::Http10, 200, &fields);
        assert_eq!(response_body(Method::Get, &head), Ok(BodyLength::Chunked));
        assert!(!keeps_response_connection(&head));
    }

    #[test]
    fn connections_stay_open_by_version_and_option() {
        for (version, values, kept) in [
            (Version::Http11, &[][..], true),
            (Version::Http10, &[], false),
            (Version::Http09, &[], false),
            (Version::Http11, &["close"], false),
            (Version::Http11, &["upgrade, CLOSE"], false),
            (Version::Http11, &["upgrade", "x ,close"], false),
            (Version::Http11, &["enclose"], true),
            (Version::Http11, &["keep-alive, close"], false),
            (Version::Http11, &["keep-alive"], true),
            (Version::Http10, &["Keep-Alive"], true),
            (Version::Http10, &["x, keep-alive"], true),
            (Version::Http10, &["keep-alive", "close"], false),
            (Version::Http10, &["close", "keep-alive"], false),
            (Version::Http10, &["x-keep-alive"], false),
            (Version::Http09, &["keep-alive"], false),
        ] {
            let fields: Vec<_> = values.iter().map(|&value| ("Connection", value)).collect();
            let case = format!("{version:?} {values:?}");
            assert_eq!(
                keeps_request_connection(&request(version, &fields)),
                kept,
                "{case}"
            );
            assert_eq!(
                keeps_response_connection(&response(version, 200, &fields)),
                kept,
                "{case}"
            );
        }
    }

    #[test]
    fn a_peer_of_bare_line_feeds_or_another_protocol_is_not_used_again() {
        let mut head = response(Version::Http11, 200, &[("Content-Length", "0")]);
        assert!(keeps_response_connection(&head));
        head.line_feeds = true;
        assert!(!keeps_response_connection(&head));
        let switched = response(Version::Http11, 101, &[("Connection", "upgrade")]);
        assert!(!keeps_response_connection(&switched));
    }

    #[test]
    fn an_upgrade_is_wanted_only_if_connection_names_it() {
        let upgrade = ("Upgrade", "websocket");
        for (version, fields, wanted) in [
            (
                Version::Http11,
                &[upgrade, ("Connection", "keep-alive, Upgrade")][..],
                true,
            ),
            (
                Version::Http11,
                &[("Connection", "a"), upgrade, ("Connection", "upgrade")],
                true,
            ),
            (
                Version::Http10,
                &[upgrade, ("Connection", "Upgrade")],
                false,
            ),
            (Version::Http11, &[upgrade], false),
            (
                Version::Http11,
                &[upgrade, ("Connection", "upgrades")],
                false,
            ),
            (Version::Http11, &[("Connection", "upgrade")], false),
        ] {
            let expected = wanted.then_some(&b"websocket"[..]);
            assert_eq!(
                wants_upgrade(&request(version, fields)),
                expected,
                "{fields:?}"
            );
        }
    }

    #[test]
    fn continue_is_expected_in_http_1_1_only() {
        let fields = [("Expect", "100-Continue")];
        assert!(expects_continue(&request(Version::Http11, &fields)));
        assert!(!expects_continue(&request(Version::Http10, &fields)));
        assert!(!expects_continue(&request(
            Version::Http11,
            &[("Expect", "x")]
        )));
        assert!(!expects_continue(&request(Version::Http11, &[])));
    }

    proptest! {
        #[test]
        fn a_length_is_what_the_standard_library_reads(value in "[0-9+, -]{0,22}") {
            let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
            let expected = value.parse::<i64>().ok().filter(|_| digits);
            let length = length_of(&[("Content-Length", &value)]).ok();
            prop_assert_eq!(length, expected.map(|length| BodyLength::Length(length as u64)));
        }
    }
}
