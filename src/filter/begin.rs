//! What is done to the body of an answer, decided by its head.
//!
//! Owns the conditions of `gunzip`, `sub_filter`, `gzip`, `brotli` and `zstd`, and what they change in the head. Call [`begin`] once for an answer
//! that is sent, when all of its fields are there but those of ranges: what is changed here has none.

use super::chain::{Chain, Filter};
use super::compress::{Brotli, Gzip, Zstd};
use super::decompress::Gunzip;
use super::headers;
use super::substitute::Substitute;
use crate::conf::template::Template;
use crate::conf::typed::filters::{Compression, Filters, Substitutes};
use crate::http::coding::{self, Accepted, Coding};
use crate::http::exchange::Exchange;
use crate::http::head::{Fields, Known};
use crate::http::variables;

/// Changes the head for what is done to the body, and makes what does it; `None` if nothing is. For
/// an answer without its body (HEAD) what is returned is of no use, but that there is something says
/// that the head changed.
pub fn begin(exchange: &mut Exchange) -> Option<Box<Chain>> {
    let settings = std::sync::Arc::clone(&exchange.settings);
    let filters = settings.filters.as_ref()?;
    if exchange.status == 304 {
        not_modified(exchange, filters);
        return None;
    }
    if exchange.answer_length == Some(0) {
        return None;
    }
    let mut chain: Option<Box<Chain>> = None;
    // Unpacked first, so that what comes next has the text.
    if filters.gunzip && is_to_unpack(exchange, filters) {
        exchange.answer.remove(Known::ContentEncoding);
        change_body(exchange);
        append(&mut chain, Filter::Gunzip(Gunzip::default()));
    }
    if let Some(rules) = &filters.substitutes
        && let Some(substitute) = substitute(exchange, rules)
    {
        append(&mut chain, Filter::Substitute(substitute));
    }
    // Packed last.
    if let Some((coding, compression)) = coding(exchange, filters) {
        let length = exchange.answer_length;
        let name = Known::ContentEncoding;
        exchange.answer.push_known(
            Some(name),
            name.name().as_bytes(),
            coding.token().as_bytes(),
        );
        change_body(exchange);
        append(&mut chain, compressor(coding, compression, length));
    }
    chain
}

/// An answer that did not change says of itself what the one that was compressed said (RFC 9110
/// section 15.4.5).
fn not_modified(exchange: &mut Exchange, filters: &Filters) {
    let compresses = Coding::ALL
        .iter()
        .any(|&coding| compression_of(filters, coding).is_some());
    if !compresses {
        return;
    }
    if filters.vary {
        headers::vary(&mut exchange.answer, b"Accept-Encoding");
    }
    let Some(etag) = exchange.answer.known(Known::Etag) else {
        return;
    };
    let weak = [b"W/", etag].concat();
    let mut known = exchange.head.fields.all(Known::IfNoneMatch);
    if known.any(|tags| memchr::memmem::find(tags, &weak).is_some()) {
        drop(known);
        weaken_etag(&mut exchange.answer);
    }
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
        Coding::Brotli => filters.brotli.as_ref(),
        Coding::Zstd => filters.zstd.as_ref(),
    }
}

/// What compresses a body of this length.
fn compressor(coding: Coding, compression: &Compression, length: Option<u64>) -> Filter {
    let level = compression.level;
    match coding {
        Coding::Gzip => Filter::Gzip(Gzip::new(level, length)),
        Coding::Brotli => Filter::Brotli(Brotli::new(level, length, compression.window)),
        Coding::Zstd => Filter::Zstd(Zstd::new(level, length)),
    }
}

/// What replaces text in the body, if it is one to search; then the head changes for it.
fn substitute(exchange: &mut Exchange, rules: &Substitutes) -> Option<Substitute> {
    let answer = &exchange.answer;
    let is_packed = answer
        .known(Known::ContentEncoding)
        .is_some_and(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"));
    // In what is packed there is no text, and the parts of a body would not fit together any more.
    if is_packed || exchange.status == 206 || !rules.types.has(answer.known(Known::ContentType)) {
        return None;
    }
    let value = |template: &Template| {
        let mut value = Vec::new();
        variables::expand(template, exchange, &mut value);
        value
    };
    let pairs = (rules.pairs.iter()).map(|(text, replacement)| (value(text), value(replacement)));
    let substitute = Substitute::new(pairs, rules.once)?;
    exchange.answer_length = None;
    if rules.keeps_last_modified {
        weaken_etag(&mut exchange.answer);
    } else {
        exchange.answer.remove(Known::LastModified);
        exchange.answer.remove(Known::Etag);
    }
    Some(substitute)
}

/// Is the body gzip that the client does not take? Tells caches that it depends on who asks.
fn is_to_unpack(exchange: &mut Exchange, filters: &Filters) -> bool {
    let coding = exchange.answer.known(Known::ContentEncoding);
    // Nobody can unpack a part from the middle.
    if !coding.is_some_and(|coding| coding.eq_ignore_ascii_case(b"gzip")) || exchange.status == 206
    {
        return false;
    }
    let takes_gzip = Accepted::of(&exchange.head.fields).weight(Coding::Gzip) > 0
        && coding::may_be_gzip(exchange, &filters.clients);
    if filters.vary {
        headers::vary(&mut exchange.answer, b"Accept-Encoding");
    }
    !takes_gzip
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
        headers::vary(&mut exchange.answer, b"Accept-Encoding");
    }
    best.map(|(_, coding, compression)| (coding, compression))
}
