//! `Cache-Status` (RFC 9211): what a cache did, told to whoever asks for the answer.

use crate::http::h1::write::push_decimal;

/// Why a request went to a peer (RFC 9211 section 2.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Forwarded {
    /// The cache was told to stand aside.
    Bypass,
    /// The method asks for no stored answer.
    Method,
    /// Nothing is stored for the key.
    UriMiss,
    /// Only answers for other requests are stored (`Vary`).
    VaryMiss,
    /// The client does not take what is stored.
    Request,
    /// What is stored is stale.
    Stale,
}

impl Forwarded {
    const fn name(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Request => "request",
            Self::Stale => "stale",
        }
    }
}

/// What is told of one answer.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// Why a peer was asked; `None` if none was.
    pub forwarded: Option<Forwarded>,
    /// The status that the peer answered with, if it is not the answer's own.
    pub forwarded_status: Option<u16>,
    /// For how many seconds more the answer is fresh, if it is stored.
    pub remaining: Option<i64>,
    /// The answer of the peer is stored.
    pub is_stored: bool,
    /// The request waited for another's.
    pub is_collapsed: bool,
    /// Anything else, a token.
    pub detail: Option<&'a str>,
}

/// The value of the field.
pub fn value(name: &[u8], told: &Told<'_>) -> Vec<u8> {
    let mut out = name.to_vec();
    match told.forwarded {
        None => out.extend_from_slice(b"; hit"),
        Some(forwarded) => {
            out.extend_from_slice(b"; fwd=");
            out.extend_from_slice(forwarded.name().as_bytes());
        }
    }
    if let Some(status) = told.forwarded_status {
        out.extend_from_slice(b"; fwd-status=");
        push_decimal(&mut out, u64::from(status));
    }
    if let Some(remaining) = told.remaining {
        out.extend_from_slice(b"; ttl=");
        if remaining < 0 {
            out.push(b'-');
        }
        push_decimal(&mut out, remaining.unsigned_abs());
    }
    if told.is_stored {
        out.extend_from_slice(b"; stored");
    }
    if told.is_collapsed {
        out.extend_from_slice(b"; collapsed");
    }
    if let Some(detail) = told.detail {
        out.extend_from_slice(b"; detail=");
        out.extend_from_slice(detail.as_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_and_misses_are_told_with_what_is_known_of_them() {
        let told = Told {
            forwarded: None,
            forwarded_status: None,
            remaining: Some(-3),
            is_stored: false,
            is_collapsed: true,
            detail: None,
        };
        assert_eq!(value(b"edge", &told), b"edge; hit; ttl=-3; collapsed");
        let told = Told {
            forwarded: Some(Forwarded::Stale),
            forwarded_status: Some(304),
            remaining: Some(60),
            is_stored: true,
            is_collapsed: false,
            detail: Some("private"),
        };
        let expected = b"a; fwd=stale; fwd-status=304; ttl=60; stored; detail=private";
        assert_eq!(value(b"a", &told), expected);
    }
}
