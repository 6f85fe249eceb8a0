//! What is done to the body of an answer, decided by its head.
//!
//! Owns the conditions of `gzip`, and what they change in the head. Call [`begin`] once for an answer
//! that is sent, when all of its fields are there but those of ranges: what is changed here has none.

use super::chain::{Chain, Filter};
use super::compress::Gzip;
use crate::conf::typed::filters::{Compression, Filters};
use crate::http::coding::{self, Accepted, Coding};
use crate::http::exchange::Exchange;
use crate::http::head::{Fields, Known};

/// Changes the head for what is done to the body, and makes what does it; `None` if nothing is. For
/// an answer without its body (HEAD) what is returned is of no use, but that there is something says
/// that the head changed.
pub fn begin(exchange: &mut Exchange) -> Option<Box<Chain>> {
    let settings = std::sync::Arc::clone(&exchange.settings);
    let filters = settings.filters.as_ref()?;
    let mut chain: Option<Box<Chain>> = None;
    if let Some((coding, compression)) = coding(exchange, filters) {
        let name = Known::ContentEncoding;
        exchange.answer.push_known(
            Some(name),
            name.name().as_bytes(),
            coding.token().as_bytes(),
        );
        change_body(exchange);
        append(&mut chain, compressor(coding, compression));
    }
    chain
}

fn append(chain: &mut Option<Box<Chain>>, filter: Filter) {
    match chain {
        Some(chain) => chain.append(filter),
        None => *chain = Some(Box::new(Chain::new(filter))),
    }
}

fn compression_of(filters: &Filters, coding: Coding) -> Option<&Compression> {
    match coding {
        Coding::Gzip => filters.gzip.as_ref(),
        Coding::Brotli | Coding::Zstd => None,
    }
}

fn compressor(coding: Coding, compression: &Compression) -> Filter {
    match coding {
        Coding::Gzip | Coding::Brotli | Coding::Zstd => Filter::Gzip(Gzip::new(compression.level)),
    }
}

/// The body will be another one: its length is not known, its parts cannot be asked for, and it is
/// the same as before only in what it means (RFC 9110 section 8.8.1).
fn change_body(exchange: &mut Exchange) {
    exchange.answer_length = None;
    exchange.answer.remove(Known::AcceptRanges);
    weaken_etag(&mut exchange.answer);
}

/// Makes a strong `ETag` weak; what is neither is taken away.
fn weaken_etag(answer: &mut Fields) {
    let Some(etag) = answer.known(Known::Etag) else {
        return;
    };
    if etag.starts_with(b"W/") {
        return;
    }
    if !etag.starts_with(b"\"") {
        answer.remove(Known::Etag);
        return;
    }
    let weak = [b"W/", etag].concat();
    answer.replace(Known::Etag, &weak);
}

/// The coding to compress with, if any; tells caches that it depends on who asks.
fn coding<'a>(exchange: &mut Exchange, filters: &'a Filters) -> Option<(Coding, &'a Compression)> {
    let answer = &exchange.answer;
    if !matches!(exchange.status, 200 | 403 | 404)
        || (answer.known(Known::ContentEncoding)).is_some_and(|value| !value.is_empty())
        || exchange.answer_length == Some(0)
        // RFC 9110 section 7.7.
        || coding::says(answer, b"no-transform")
    {
        return None;
    }
    let content_type = answer.known(Known::ContentType);
    let accepted = Accepted::of(&exchange.head.fields);
    // Who refuses the body as it is gets it in a coding however short it is.
    let least = |compression: &Compression| match accepted.refuses_identity() {
        true => 0,
        false => compression.min_length,
    };
    let mut is_candidate = false;
    let mut best: Option<(u16, Coding, &Compression)> = None;
    for coding in Coding::ALL {
        let Some(compression) = compression_of(filters, coding) else {
            continue;
        };
        if exchange
            .answer_length
            .is_some_and(|length| length < least(compression))
            || !compression.types.has(content_type)
        {
            continue;
        }
        is_candidate = true;
        let weight = accepted.weight(coding);
        if weight == 0
            || accepted.prefers_identity(weight)
            || best.is_some_and(|(best, _, _)| best >= weight)
            || (coding == Coding::Gzip && !coding::may_be_gzip(exchange, &filters.clients))
        {
            continue;
        }
        best = Some((weight, coding, compression));
    }
    if is_candidate && filters.vary {
        vary(&mut exchange.answer);
    }
    best.map(|(_, coding, compression)| (coding, compression))
}

/// Tells caches that there are several forms of the body, unless they know.
fn vary(answer: &mut Fields) {
    let is_known = answer.all(Known::Vary).any(|value| {
        value.split(|&byte| byte == b',').any(|name| {
            let name = name.trim_ascii();
            name == b"*" || name.eq_ignore_ascii_case(b"accept-encoding")
        })
    });
    if !is_known {
        answer.push_first(Known::Vary, b"Accept-Encoding");
    }
}
