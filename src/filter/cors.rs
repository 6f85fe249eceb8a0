//! `cors`: what browsers are told of who may read an answer (the Fetch standard, section 3.2).
//!
//! Owns the fields `Access-Control-…` of a place that has the directive: those of the peer do not
//! count there. It keeps nobody from asking; browsers keep pages from reading.

use super::headers;
use crate::conf::typed::cors::Cors;
use crate::http::exchange::Exchange;
use crate::http::head::{Known, Method};

const PREFIX: &[u8] = b"Access-Control-";
const REQUEST_METHOD: &[u8] = b"Access-Control-Request-Method";
const REQUEST_HEADERS: &[u8] = b"Access-Control-Request-Headers";

/// Does a browser ask whether a page may ask? Such a request has no cookies and no passwords, and is
/// answered before anything asks for some.
pub fn is_preflight(exchange: &Exchange) -> bool {
    let fields = &exchange.head.fields;
    exchange.head.method == Method::Options
        && fields.has(Known::Origin)
        && fields.named(REQUEST_METHOD).next().is_some()
}

/// Replaces the fields of an answer.
pub fn apply(exchange: &mut Exchange, cors: &Cors) {
    let is_of_peer = |name: &[u8]| {
        name.get(..PREFIX.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
    };
    if exchange.answer.iter().any(|(_, name, _)| is_of_peer(name)) {
        exchange.answer.retain(|_, name, _| !is_of_peer(name));
    }
    // For those without this field too: what they get may be kept and sent to others.
    if !cors.is_open() {
        headers::vary(&mut exchange.answer, b"Origin");
    }
    let fields = &exchange.head.fields;
    let mut origins = fields.all(Known::Origin);
    let Some(origin) = origins.next().filter(|origin| cors.allows(origin)) else {
        return;
    };
    // Which of two would be meant?
    if origins.next().is_some() {
        return;
    }
    let answer = &mut exchange.answer;
    let allowed = match cors.is_open() {
        true => b"*",
        false => origin,
    };
    answer.push(b"Access-Control-Allow-Origin", allowed);
    if cors.credentials {
        answer.push(b"Access-Control-Allow-Credentials", b"true");
    }
    if !is_preflight(exchange) {
        if let Some(expose) = &cors.expose {
            let answer = &mut exchange.answer;
            answer.push(b"Access-Control-Expose-Headers", expose);
        }
        return;
    }
    if cors.headers.is_none() {
        headers::vary(&mut exchange.answer, REQUEST_HEADERS);
    }
    let (fields, answer) = (&exchange.head.fields, &mut exchange.answer);
    answer.push(b"Access-Control-Allow-Methods", &cors.methods);
    match &cors.headers {
        Some(headers) => answer.push(b"Access-Control-Allow-Headers", headers),
        None => {
            if let Some(asked) = fields.named(REQUEST_HEADERS).next() {
                answer.push(b"Access-Control-Allow-Headers", asked);
            }
        }
    }
    if let Some(max_age) = &cors.max_age {
        answer.push(b"Access-Control-Max-Age", max_age);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::conf::typed::cors::Origin;
    use crate::http::fixture;

    fn cors(origins: Vec<Origin>) -> Cors {
        Cors {
            origins: origins.into(),
            methods: (*b"GET").into(),
            headers: None,
            expose: Some((*b"X-Sum").into()),
            credentials: false,
            max_age: Some((*b"60").into()),
        }
    }

    fn below() -> Vec<Origin> {
        let of = |text: &[u8]| text.into();
        vec![
            Origin::Exact(of(b"https://a.example")),
            Origin::Below(of(b"https://"), of(b".example.com:8443")),
        ]
    }

    fn answered(cors: Cors, fields: &[(&str, &str)]) -> String {
        let mut exchange = fixture::exchange(fixture::settings(), "/", fields);
        if fields.len() > 1 {
            exchange.head.method = Method::Options;
        }
        exchange
            .answer
            .push(b"access-control-allow-origin", b"https://evil.example");
        apply(&mut exchange, &Arc::new(cors));
        fixture::answer(&exchange)
    }

    #[test]
    fn only_what_is_meant_is_allowed() {
        let cors = cors(below());
        for allowed in [
            "https://a.example",
            "https://b.example.com:8443",
            "https://b-1.c.example.com:8443",
        ] {
            assert!(cors.allows(allowed.as_bytes()), "{allowed}");
        }
        for refused in [
            "",
            "null",
            "http://a.example",
            "https://a.example:8443",
            "https://xa.example",
            "https://a.example.evil.example",
            "https://example.com:8443",
            "https://.example.com:8443",
            "https://b.example.com",
            "https://evil.example/.example.com:8443",
            "https://evil.example#.example.com:8443",
            "https://user@b.example.com:8443",
        ] {
            assert!(!cors.allows(refused.as_bytes()), "{refused}");
        }
    }

    #[test]
    fn fields_of_the_peer_are_replaced_and_caches_are_told() {
        assert_eq!(
            answered(cors(below()), &[("Origin", "https://a.example")]),
            "Vary: Origin\nAccess-Control-Allow-Origin: https://a.example\n\
             Access-Control-Expose-Headers: X-Sum\n"
        );
        assert_eq!(
            answered(cors(below()), &[("Origin", "https://b.example")]),
            "Vary: Origin\n"
        );
        assert_eq!(answered(cors(below()), &[]), "Vary: Origin\n");
        assert_eq!(
            answered(cors(vec![Origin::Any]), &[("Origin", "null")]),
            "Access-Control-Allow-Origin: *\nAccess-Control-Expose-Headers: X-Sum\n"
        );
    }

    #[test]
    fn a_browser_that_asks_first_is_told_what_is_allowed() {
        let asks = [
            ("Origin", "https://a.example"),
            ("Access-Control-Request-Method", "PUT"),
            ("Access-Control-Request-Headers", "content-type,x-a"),
        ];
        assert_eq!(
            answered(cors(below()), &asks),
            "Vary: Access-Control-Request-Headers\nVary: Origin\n\
             Access-Control-Allow-Origin: https://a.example\n\
             Access-Control-Allow-Methods: GET\n\
             Access-Control-Allow-Headers: content-type,x-a\nAccess-Control-Max-Age: 60\n"
        );
    }
}
