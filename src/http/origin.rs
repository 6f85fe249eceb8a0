//! Does a request come from where it should? `$secure_link` and `$invalid_referer`.
//!
//! Owns how links are signed (nginx `ngx_http_secure_link_module`) and which sites may refer
//! (`ngx_http_referer_module`). What follows from it is the configuration's, by `if`.

use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use md5::{Digest as _, Md5};

use super::exchange::Exchange;
use super::head::Known;
use super::variables;
use crate::conf::regex::{Groups, Regex};
use crate::conf::typed::access::{Referers, Signature};
use crate::unit::clock;

/// The longest host that is looked up; nginx's.
const LONGEST_HOST: usize = 255;

/// `$secure_link`: `1` for a good link, `0` for one that has ended; none for one that is not ours. With
/// `secure_link_secret` the link itself.
pub fn secure_link(exchange: &Exchange, out: &mut Vec<u8>) -> bool {
    let origin = exchange.settings.origin.as_ref();
    match origin.and_then(|origin| origin.signature.as_ref()) {
        None => false,
        Some(Signature::Word(word)) => match link(exchange, word) {
            Some(link) => {
                out.extend_from_slice(link);
                true
            }
            None => false,
        },
        Some(Signature::Expression { shown, signed }) => {
            let mut text = Vec::new();
            variables::expand(shown, exchange, &mut text);
            let Some((digest, ends)) = split(&text) else {
                return false;
            };
            let mut own = Vec::new();
            variables::expand(signed, exchange, &mut own);
            let decoded = BASE64URL_NOPAD.decode(unpadded(digest));
            if !decoded.is_ok_and(|decoded| is_equal(&decoded, &Md5::digest(&own))) {
                return false;
            }
            let has_ended = ends.is_some_and(|ends| ends < clock::unix().as_secs());
            out.push(if has_ended { b'0' } else { b'1' });
            true
        }
    }
}

/// `$secure_link_expires`: when the link ends, as it says itself.
pub fn secure_link_expires(exchange: &Exchange, out: &mut Vec<u8>) -> bool {
    let origin = exchange.settings.origin.as_ref();
    let Some(Signature::Expression { shown, .. }) =
        origin.and_then(|origin| origin.signature.as_ref())
    else {
        return false;
    };
    let mut text = Vec::new();
    variables::expand(shown, exchange, &mut text);
    match memchr::memchr(b',', &text) {
        Some(comma) if split(&text).is_some() => {
            out.extend_from_slice(&text[comma + 1..]);
            true
        }
        _ => false,
    }
}

/// The digest and the end of a link; `None` if the end is no time.
fn split(text: &[u8]) -> Option<(&[u8], Option<u64>)> {
    let Some(comma) = memchr::memchr(b',', text) else {
        return Some((text, None));
    };
    let digits = &text[comma + 1..];
    let ends = std::str::from_utf8(digits)
        .ok()
        .filter(|_| digits.iter().all(u8::is_ascii_digit));
    let ends = ends?.parse().ok().filter(|&ends| ends > 0)?;
    Some((&text[..comma], Some(ends)))
}

fn unpadded(mut text: &[u8]) -> &[u8] {
    while let Some(shorter) = text.strip_suffix(b"=") {
        text = shorter;
    }
    text
}

/// `/prefix/DIGEST/link`: the link, if the digest is that of the link and the word.
fn link<'a>(exchange: &'a Exchange, word: &[u8]) -> Option<&'a [u8]> {
    let target = exchange.head.bytes(exchange.head.path_and_query);
    let mut parts = target.get(1..)?.splitn(3, |&byte| byte == b'/');
    let (_, digest, link) = (parts.next()?, parts.next()?, parts.next()?);
    let digest = data_encoding::HEXLOWER_PERMISSIVE.decode(digest).ok()?;
    let own = Md5::new().chain_update(link).chain_update(word).finalize();
    (!link.is_empty() && is_equal(&digest, &own)).then_some(link)
}

/// Takes as long whatever the answer.
fn is_equal(one: &[u8], other: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(one, other).is_ok()
}

/// `$invalid_referer`
pub fn is_invalid_referer(exchange: &Exchange) -> bool {
    let origin = exchange.settings.origin.as_ref();
    let Some(referers) = origin.and_then(|origin| origin.referers.as_ref()) else {
        return false;
    };
    match exchange.head.fields.known(Known::Referer) {
        None => !referers.none,
        Some(referer) => !may_refer(referers, referer),
    }
}

fn may_refer(referers: &Referers, referer: &[u8]) -> bool {
    let behind = |scheme: &[u8]| {
        let (start, rest) = referer.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    // As short as nginx's shortest.
    let rest = behind(b"http://").or_else(|| behind(b"https://"));
    let Some(rest) = rest.filter(|_| referer.len() >= "http://i.ru".len()) else {
        return referers.blocked;
    };
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b':'));
    let host = rest[..end.unwrap_or(rest.len())].to_ascii_lowercase();
    if host.len() > LONGEST_HOST {
        return false;
    }
    if let Some(path) = referers.hosts.find(&host) {
        let slash = memchr::memchr(b'/', rest).unwrap_or(rest.len());
        return rest[slash..].starts_with(path);
    }
    let mut groups = Groups::new();
    let mut is_in = |patterns: &[Arc<Regex>], text: &[u8]| {
        patterns
            .iter()
            .any(|pattern| pattern.find(text, &mut groups))
    };
    is_in(&referers.host_patterns, &host) || is_in(&referers.patterns, rest)
}
