//! Conditional requests (RFC 9110 section 13) as nginx's `ngx_http_not_modified_filter_module`
//! evaluates them.
//!
//! Owns the decision and what a 304 loses; whether an answer may be asked about at all (its status is
//! 200, it has validators) is the caller's.

use super::exchange::Exchange;
use super::head::{Fields, Known};
use crate::conf::typed::location::IfModifiedSince;
use crate::http::date;

/// What becomes of the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is sent.
    Send,
    /// The client has it: 304.
    NotModified,
    /// It is not what the client expects: 412.
    Failed,
}

/// Asks the request's conditions of an answer that was last modified at this time (seconds since
/// 1970) and has this entity tag.
pub fn evaluate(
    request: &Fields,
    modified: i64,
    etag: Option<&[u8]>,
    rule: IfModifiedSince,
) -> Verdict {
    // A date that cannot be read is older than any file, here and in nginx.
    if let Some(value) = request.known(Known::IfUnmodifiedSince)
        && date::parse(value).is_none_or(|limit| limit < modified)
    {
        return Verdict::Failed;
    }
    if request.has(Known::IfMatch)
        && !(request.all(Known::IfMatch)).any(|list| lists(list, etag, Comparison::Strong))
    {
        return Verdict::Failed;
    }
    let since = request.known(Known::IfModifiedSince);
    let has_tags = request.has(Known::IfNoneMatch);
    if since.is_none() && !has_tags {
        return Verdict::Send;
    }
    // nginx asks both where both are sent, while RFC 9110 section 13.1.3 lets the tags alone decide:
    // a 304 needs the agreement of each.
    let is_newer = since.is_some_and(|since| match (rule, date::parse(since)) {
        (IfModifiedSince::Off, _) | (_, None) => true,
        (IfModifiedSince::Exact, Some(since)) => since != modified,
        (IfModifiedSince::Before, Some(since)) => since < modified,
    });
    let is_other = has_tags
        && !(request.all(Known::IfNoneMatch)).any(|list| lists(list, etag, Comparison::Weak));
    if is_newer || is_other {
        Verdict::Send
    } else {
        Verdict::NotModified
    }
}

/// Does `If-None-Match` list the tag? A cache lets it alone decide (RFC 9110 section 13.2.2).
pub fn lists_tag(request: &Fields, etag: Option<&[u8]>) -> bool {
    (request.all(Known::IfNoneMatch)).any(|list| lists(list, etag, Comparison::Weak))
}

/// Turns the answer into a 304: it keeps its validators and loses what describes a body.
pub fn make_not_modified(exchange: &mut Exchange) {
    exchange.status = 304;
    exchange.answer_length = None;
    exchange.answer.retain(|known, _, _| {
        !matches!(
            known,
            Some(
                Known::ContentType
                    | Known::ContentLength
                    | Known::ContentEncoding
                    | Known::AcceptRanges
            )
        )
    });
}

/// How entity tags are compared (RFC 9110 section 8.8.3.2).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    /// Byte for byte.
    Strong,
    /// Without `W/`.
    Weak,
}

/// Is the tag in the list? `*` lists any, even where there is none.
fn lists(list: &[u8], etag: Option<&[u8]>, comparison: Comparison) -> bool {
    if list == b"*" {
        return true;
    }
    let Some(etag) = etag else {
        return false;
    };
    let opaque = |tag| match comparison {
        Comparison::Strong => tag,
        Comparison::Weak => <[u8]>::strip_prefix(tag, b"W/").unwrap_or(tag),
    };
    let etag = opaque(etag);
    let mut rest = list;
    while !rest.is_empty() {
        // Compared where it begins and not cut at commas: a tag may hold one.
        if let Some(behind) = opaque(rest).strip_prefix(etag) {
            let behind = skip(behind, b" \t");
            if behind.is_empty() || behind[0] == b',' {
                return true;
            }
        }
        let comma = memchr::memchr(b',', rest).unwrap_or(rest.len());
        rest = skip(&rest[comma..], b" \t,");
    }
    false
}

fn skip<'a>(text: &'a [u8], any_of: &[u8]) -> &'a [u8] {
    let start = text.iter().position(|byte| !any_of.contains(byte));
    &text[start.unwrap_or(text.len())..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fixture;

    /// Sun, 06 Nov 1994 08:49:37 GMT
    const MODIFIED: i64 = 784_111_777;
    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
    const ETAG: &str = "\"2ebcca01-24\"";

    fn verdict(rule: IfModifiedSince, fields: &[(&str, &str)]) -> Verdict {
        let mut request = Fields::default();
        for (name, value) in fields {
            request.push(name.as_bytes(), value.as_bytes());
        }
        evaluate(&request, MODIFIED, Some(ETAG.as_bytes()), rule)
    }

    fn exact(fields: &[(&str, &str)]) -> Verdict {
        verdict(IfModifiedSince::Exact, fields)
    }

    #[test]
    fn a_request_without_conditions_is_answered() {
        assert_eq!(exact(&[("Host", "x")]), Verdict::Send);
    }

    #[test]
    fn if_modified_since_follows_the_rule_of_the_location() {
        let since = |rule, date| verdict(rule, &[("If-Modified-Since", date)]);
        for (date, by_exact, by_before) in [
            (DATE, Verdict::NotModified, Verdict::NotModified),
            (EARLIER, Verdict::Send, Verdict::Send),
            (LATER, Verdict::Send, Verdict::NotModified),
            ("yesterday", Verdict::Send, Verdict::Send),
        ] {
            assert_eq!(since(IfModifiedSince::Exact, date), by_exact, "{date}");
            assert_eq!(since(IfModifiedSince::Before, date), by_before, "{date}");
            assert_eq!(since(IfModifiedSince::Off, date), Verdict::Send, "{date}");
        }
    }

    #[test]
    fn if_none_match_compares_weakly() {
        for (list, expected) in [
            (ETAG, Verdict::NotModified),
            ("W/\"2ebcca01-24\"", Verdict::NotModified),
            ("\"x\",W/\"2ebcca01-24\" , \"y\"", Verdict::NotModified),
            ("*", Verdict::NotModified),
            ("\"x\"", Verdict::Send),
            ("\"2ebcca01-24\"x", Verdict::Send),
            ("2ebcca01-24", Verdict::Send),
            ("", Verdict::Send),
        ] {
            assert_eq!(exact(&[("If-None-Match", list)]), expected, "{list}");
        }
    }

    #[test]
    fn if_match_compares_strongly() {
        for (list, expected) in [
            (ETAG, Verdict::Send),
            ("\"x\", \"2ebcca01-24\"", Verdict::Send),
            ("*", Verdict::Send),
            ("W/\"2ebcca01-24\"", Verdict::Failed),
            ("\"x\"", Verdict::Failed),
        ] {
            assert_eq!(exact(&[("If-Match", list)]), expected, "{list}");
        }
    }

    #[test]
    fn a_list_may_be_sent_in_several_fields() {
        let lists = [("If-None-Match", "\"x\""), ("If-None-Match", ETAG)];
        assert_eq!(exact(&lists), Verdict::NotModified);
    }

    #[test]
    fn without_an_entity_tag_only_the_star_matches() {
        for (list, expected) in [("*", Verdict::NotModified), (ETAG, Verdict::Send)] {
            let mut request = Fields::default();
            request.push(b"If-None-Match", list.as_bytes());
            let verdict = evaluate(&request, MODIFIED, None, IfModifiedSince::Exact);
            assert_eq!(verdict, expected, "{list}");
        }
    }

    #[test]
    fn if_unmodified_since_fails_for_what_is_newer_and_for_what_is_no_date() {
        let until = |date| exact(&[("If-Unmodified-Since", date)]);
        assert_eq!(until(DATE), Verdict::Send);
        assert_eq!(until(LATER), Verdict::Send);
        assert_eq!(until(EARLIER), Verdict::Failed);
        assert_eq!(until("tomorrow"), Verdict::Failed);
    }

    #[test]
    fn date_and_tag_must_both_agree_to_a_304() {
        let both = |date, list| exact(&[("If-Modified-Since", date), ("If-None-Match", list)]);
        assert_eq!(both(DATE, ETAG), Verdict::NotModified);
        assert_eq!(both(EARLIER, ETAG), Verdict::Send);
        assert_eq!(both(DATE, "\"x\""), Verdict::Send);
    }

    #[test]
    fn a_304_keeps_its_validators_and_loses_what_describes_a_body() {
        let mut exchange = fixture::exchange(fixture::settings(), "/", &[]);
        exchange.status = 200;
        exchange.answer_length = Some(5);
        for (name, value) in [
            ("Content-Type", "text/plain"),
            ("ETag", ETAG),
            ("Content-Encoding", "gzip"),
            ("Last-Modified", DATE),
            ("Accept-Ranges", "bytes"),
            ("Content-Length", "5"),
            ("X-Other", "kept"),
        ] {
            exchange.answer.push(name.as_bytes(), value.as_bytes());
        }
        make_not_modified(&mut exchange);
        assert_eq!(exchange.status, 304);
        assert_eq!(exchange.answer_length, None);
        assert_eq!(
            fixture::answer(&exchange),
            "ETag: \"2ebcca01-24\"\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\nX-Other: kept\n"
        );
    }
}
