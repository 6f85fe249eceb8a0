//! The one list of differences that are wanted, with the reason of each.
//!
//! The first group is applied to everything that both peers say; the second is named by the
//! requests it concerns (`deviates(id) status …`). A name that is not here fails the case.

/// A wanted difference.
pub struct Deviation {
    pub id: &'static str,
    pub reason: &'static str,
}

/// Differences that every answer may show; `normalise` applies them.
pub const EVERYWHERE: &[Deviation] = &[
    Deviation {
        id: "product",
        reason: "the field Server and the foot of error pages name the product, ours without a version",
    },
    Deviation {
        id: "upstream-connection",
        reason: "nginx before 1.29.7 sends `Connection: close` upstream unless told otherwise; the \
                 semantics we keep are those after it",
    },
    Deviation {
        id: "error-id",
        reason: "our own 5xx answers carry the field X-OpenClaw-Error, by which the log line is found",
    },
    Deviation {
        id: "retry-after",
        reason: "our answer to a request over a limit says when to come again",
    },
    Deviation {
        id: "deflate",
        reason: "another compressor makes other bytes of the same text; what they unpack to is compared",
    },
    Deviation {
        id: "boundary",
        reason: "the boundary of multipart ranges is made up for each answer",
    },
    Deviation {
        id: "mime-types",
        reason: "without a types block nginx knows three types and we know all that are common: every \
                 case says nginx's three",
    },
    Deviation {
        id: "own-length",
        reason: "what we make as a whole has its length, also where nginx sends chunks: a listing",
    },
    Deviation {
        id: "framing-size",
        reason: "logged sizes follow what was on the wire: our product name is longer, our chunks may \
                 be cut elsewhere, an interim answer is none of its size; the log is compared after that \
                 difference is taken off",
    },
];

/// Differences named by single requests.
pub const NAMED: &[Deviation] = &[
    Deviation {
        id: "gzip-proxied-file",
        reason: "`gzip_proxied no_last_modified` means the field as it is sent; nginx does not see that of \
                 a file",
    },
    Deviation {
        id: "bare-lf",
        reason: "a line that ends with LF alone is refused: RFC 9112 section 2.2 permits it, but peers that \
                 disagree on it are how requests are smuggled",
    },
    Deviation {
        id: "rewrite-query",
        reason: "a `\\?` in the regex of a rewrite is matched against the URI with its query: it could \
                 never match otherwise",
    },
    Deviation {
        id: "upstream-framing",
        reason: "an upstream's answer with contradictory framing is a 502; nginx does so since 1.23",
    },
    Deviation {
        id: "upstream-nonsense",
        reason: "an upstream that does not speak HTTP/1 is a 502: its bytes are no answer of HTTP/0.9",
    },
    Deviation {
        id: "request-line",
        reason: "a request line is three words with one space between and a version of three characters: \
                 RFC 9112 section 3 leaves no room, and guesses differ",
    },
    Deviation {
        id: "no-colon",
        reason: "a field line without a colon is no field, RFC 9112 section 5",
    },
    Deviation {
        id: "field-name",
        reason: "a field name is a token, RFC 9110 section 5.6.2; nginx drops the field and goes on",
    },
    Deviation {
        id: "framing-lookalike",
        reason: "a name such as `Content_Length` is read as the framing field by peers that take `_` for `-`",
    },
    Deviation {
        id: "control-byte",
        reason: "control bytes in a field value are refused, RFC 9110 section 5.5",
    },
    Deviation {
        id: "chunk-size",
        reason: "what follows the size of a chunk is white space or an extension, RFC 9112 section 7.1",
    },
    Deviation {
        id: "minor-version",
        reason: "a higher minor version is read as the highest we speak, RFC 9110 section 2.5, and named so",
    },
    Deviation {
        id: "broken-target",
        reason: "a target made of decoded variables is escaped where it would break the request line",
    },
    Deviation {
        id: "expect",
        reason: "100 Continue is sent when the body is awaited: not when it is there already, not for an \
                 answer that does not read it, RFC 9110 section 10.1.1",
    },
    Deviation {
        id: "reason",
        reason: "an answer whose reason phrase is missing gets the usual one",
    },
    Deviation {
        id: "h2c",
        reason: "an upgrade to HTTP/2 is never passed on: it would carry requests past every rule",
    },
    Deviation {
        id: "hop-by-hop",
        reason: "fields of one hop, and those that Connection names, go no further: RFC 9110 section 7.6.1",
    },
    Deviation {
        id: "singular-field",
        reason: "a field with one value may not come twice, RFC 9110 section 5.3; nginx refuses fewer of them",
    },
    Deviation {
        id: "tab",
        reason: "a tab around a value is white space as a space is, RFC 9110 section 5.6.3",
    },
    Deviation {
        id: "host",
        reason: "what a host is says RFC 3986 section 3.2.2, everywhere the same; so does nginx since 1.29.4",
    },
    Deviation {
        id: "scheme",
        reason: "the scheme of an absolute-form target is one that we serve",
    },
    Deviation {
        id: "ipv4-in-ipv6",
        reason: "an IPv4 address is told the same, whichever way the client or a proxy wrote it",
    },
    Deviation {
        id: "connect",
        reason: "CONNECT has its own form of target, RFC 9112 section 3.2.3: it is understood and not allowed",
    },
];

/// The deviation of the second group that has this name.
pub fn named(id: &str) -> Option<&'static Deviation> {
    NAMED.iter().find(|deviation| deviation.id == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_deviation_has_one_name_and_a_reason() {
        let all: Vec<&Deviation> = EVERYWHERE.iter().chain(NAMED).collect();
        for (place, deviation) in all.iter().enumerate() {
            assert!(deviation.reason.contains(' '), "{}", deviation.id);
            let again = all[place + 1..]
                .iter()
                .any(|other| other.id == deviation.id);
            assert!(!again, "{} stands twice", deviation.id);
        }
    }
}
