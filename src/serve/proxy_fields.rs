//! Fields and addresses on their way through a proxied location: what of a peer's head reaches the
//! client, and how `Location`, `Set-Cookie` and `X-Accel-…` are edited or obeyed.

use std::net::SocketAddr;
use std::sync::Arc;

use super::answer;
use super::peer::Secure;
use super::proxy::Plan;
use crate::conf::regex::Groups;
use crate::conf::template::Template;
use crate::conf::typed::proxy::{
    Bind, BindAddress, CookieEdit, CookieFlags, CookieName, Redirect, Scheme,
};
use crate::http::exchange::Exchange;
use crate::http::head::{Fields, Known, Method};
use crate::http::{hop_by_hop, variables};
use crate::tls::client::{self, Connector};
use crate::upstream::group::Selected;

/// The parts of the URL that a `proxy_pass` with variables came out as.
#[derive(Debug, PartialEq, Eq)]
pub struct Url<'a> {
    /// How its peer is spoken to.
    pub scheme: Scheme,
    /// Name or address, with the port as written.
    pub host_and_port: &'a [u8],
    /// Name or address; an IPv6 address without its brackets.
    pub host: &'a [u8],
    /// The port; the scheme's own if none is written.
    pub port: u16,
    /// Path and query; empty if none is written.
    pub uri: &'a [u8],
    /// `unix:PATH` in place of a host.
    pub unix: Option<&'a [u8]>,
}

/// Takes `http://host[:port][/uri]` or `http://unix:path[:/uri]` apart, with one of these schemes.
pub fn split_url(schemes: [Scheme; 2], text: &[u8]) -> Option<Url<'_>> {
    let (scheme, rest) = Scheme::split(schemes, text)?;
    if let Some(path) = rest.strip_prefix(b"unix:") {
        let (path, uri) = match memchr::memchr(b':', path) {
            Some(colon) => (&path[..colon], &path[colon + 1..]),
            None => (path, &b""[..]),
        };
        return (!path.is_empty()).then_some(Url {
            scheme,
            host_and_port: b"localhost",
            host: b"",
            port: scheme.usual_port(),
            uri,
            unix: Some(path),
        });
    }
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?'))
        .unwrap_or(rest.len());
    let (host_and_port, uri) = rest.split_at(end);
    let (host, port) = match host_and_port {
        [b'[', inside @ ..] => {
            let close = memchr::memchr(b']', inside)?;
            (&inside[..close], inside[close + 1..].strip_prefix(b":"))
        }
        _ => match memchr::memrchr(b':', host_and_port) {
            Some(colon) => (&host_and_port[..colon], Some(&host_and_port[colon + 1..])),
            None => (host_and_port, None),
        },
    };
    let port = match port {
        None => scheme.usual_port(),
        Some(digits) => std::str::from_utf8(digits)
            .ok()?
            .parse()
            .ok()
            .filter(|&port| port > 0)?,
    };
    (!host.is_empty()).then_some(Url {
        scheme,
        host_and_port,
        host,
        port,
        uri,
        unix: None,
    })
}

/// TLS with a peer whose name is this template: a host, of which a port is no part. `number` is the
/// connector's.
pub fn secure(
    connector: &Arc<Connector>,
    number: u64,
    name: &Template,
    exchange: &Exchange,
) -> Secure {
    let mut text = Vec::new();
    variables::expand(name, exchange, &mut text);
    Secure {
        connector: Arc::clone(connector),
        number,
        name: client::bare_name(&text).to_vec(),
    }
}

/// The local address to connect from.
pub fn bind_address(bind: &Bind, exchange: &Exchange) -> Option<SocketAddr> {
    match &bind.address {
        BindAddress::Fixed(address, port) => Some(SocketAddr::new(*address, *port)),
        BindAddress::Template(template) => {
            let mut text = Vec::new();
            variables::expand(template, exchange, &mut text);
            let text = std::str::from_utf8(&text).ok()?;
            text.parse()
                .ok()
                .or_else(|| text.parse().ok().map(|address| SocketAddr::new(address, 0)))
        }
    }
}

/// `X-Accel-Redirect` of the peer, unless it is ignored.
pub fn accel_redirect(exchange: &mut Exchange, plan: &Plan) -> Option<Vec<u8>> {
    if plan.ignored.has(Known::XAccelRedirect) {
        return None;
    }
    let target = exchange
        .upstream_head
        .fields
        .known(Known::XAccelRedirect)?
        .to_vec();
    // These fields of the peer survive the redirect, as with nginx.
    let peer = &exchange.upstream_head.fields;
    for known in [
        Known::ContentType,
        Known::ContentDisposition,
        Known::SetCookie,
        Known::CacheControl,
        Known::Expires,
        Known::AcceptRanges,
    ] {
        for value in peer.all(known) {
            exchange
                .answer
                .push_known(Some(known), known.name().as_bytes(), value);
        }
    }
    Some(target)
}

/// The length that a head without a body tells (HEAD, 304).
pub fn told_length(exchange: &Exchange, method: Method) -> Option<u64> {
    let status = exchange.upstream_head.status;
    if method != Method::Head && status != 304 {
        return None;
    }
    let value = exchange.upstream_head.fields.known(Known::ContentLength)?;
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Copies the peer's fields that reach the client into the answer, edited; returns `false` if
/// `X-Accel-Buffering: no` switches buffering off. `selected` is the peer, if one answered.
pub fn take_response(exchange: &mut Exchange, plan: &Plan, selected: Option<&Selected>) -> bool {
    let mut buffering = true;
    let peer = std::mem::take(&mut exchange.upstream_head.fields);
    let nominates = has_nominations(&peer);
    for (known, name, value) in peer.iter() {
        match known {
            Some(
                Known::Connection
                | Known::KeepAlive
                | Known::ProxyConnection
                | Known::TransferEncoding
                | Known::ContentLength
                | Known::Upgrade
                | Known::Trailer
                | Known::Te,
            ) => continue,
            Some(Known::XAccelBuffering) if !plan.ignored.has(Known::XAccelBuffering) => {
                buffering &= !value.eq_ignore_ascii_case(b"no");
            }
            Some(Known::XAccelLimitRate) if !plan.ignored.has(Known::XAccelLimitRate) => {
                exchange.limit_rate = std::str::from_utf8(value)
                    .ok()
                    .and_then(|value| value.parse().ok());
            }
            _ => {}
        }
        if plan.hidden.contains(known, name) || (nominates && hop_by_hop::is_nominated(&peer, name))
        {
            continue;
        }
        match known {
            Some(Known::Location | Known::Refresh) if !plan.proxy.redirects.is_empty() => {
                let edited = match known {
                    Some(Known::Refresh) => edit_refresh(value, exchange, plan),
                    _ => edit_location(value, exchange, plan),
                };
                // A path that a rule made becomes absolute as one of our own would.
                let edited = match (known, edited) {
                    (Some(Known::Location), Some(edited)) => {
                        Some(answer::absolute(exchange, &edited))
                    }
                    (_, edited) => edited,
                };
                exchange
                    .answer
                    .push_known(known, name, edited.as_deref().unwrap_or(value));
            }
            Some(Known::SetCookie) if edits_cookies(plan) => {
                let edited = edit_cookie(value, exchange, plan);
                exchange.answer.push_known(known, name, &edited);
            }
            _ => exchange.answer.push_known(known, name, value),
        }
    }
    exchange.upstream_head.fields = peer;
    exchange.passes_server = !plan.hidden.has(Known::Server);
    exchange.passes_date = !plan.hidden.has(Known::Date);
    let mut cookie = Vec::new();
    if selected.is_some_and(|selected| selected.write_cookie(exchange, &mut cookie)) {
        exchange
            .answer
            .push_known(Some(Known::SetCookie), b"Set-Cookie", &cookie);
    }
    buffering
}

/// Does `Connection` name any field besides the usual options?
fn has_nominations(fields: &Fields) -> bool {
    fields.all(Known::Connection).any(|value| {
        !value.eq_ignore_ascii_case(b"keep-alive") && !value.eq_ignore_ascii_case(b"close")
    })
}

/// What the first rule that fits makes of a `Location`.
fn edit_location(location: &[u8], exchange: &Exchange, plan: &Plan) -> Option<Vec<u8>> {
    let mut scratch = Vec::new();
    for rule in &plan.proxy.redirects {
        match rule {
            Redirect::Prefix { from, to } => {
                let from = variables::value_of(from, exchange, &mut scratch);
                let Some(rest) = location.strip_prefix(from) else {
                    continue;
                };
                let mut edited = Vec::with_capacity(location.len());
                variables::expand(to, exchange, &mut edited);
                edited.extend_from_slice(rest);
                return Some(edited);
            }
            Redirect::Regex { regex, to } => {
                if let Some(edited) = replace_match(regex, to, location, exchange) {
                    return Some(edited);
                }
            }
        }
    }
    None
}

/// `Refresh: 5; url=…`: the rules apply to the address.
fn edit_refresh(value: &[u8], exchange: &Exchange, plan: &Plan) -> Option<Vec<u8>> {
    let start = value
        .windows(4)
        .position(|window| window.eq_ignore_ascii_case(b"url="))?
        + 4;
    let mut edited = value[..start].to_vec();
    edited.extend_from_slice(&edit_location(&value[start..], exchange, plan)?);
    Some(edited)
}

/// What takes the place of a subject that matches: a template that may name the match's groups.
fn replace_match(
    regex: &crate::conf::regex::Regex,
    to: &Template,
    subject: &[u8],
    exchange: &Exchange,
) -> Option<Vec<u8>> {
    let mut groups = Groups::new();
    if !regex.find(subject, &mut groups) {
        return None;
    }
    exchange.remember_groups(regex, &groups, subject);
    let mut edited = Vec::new();
    variables::expand(to, exchange, &mut edited);
    Some(edited)
}

fn edits_cookies(plan: &Plan) -> bool {
    let proxy = &plan.proxy;
    !(proxy.cookie_domains.is_empty()
        && proxy.cookie_paths.is_empty()
        && proxy.cookie_flags.is_empty())
}

/// A `Set-Cookie` with domain, path and flags edited.
fn edit_cookie(value: &[u8], exchange: &Exchange, plan: &Plan) -> Vec<u8> {
    let proxy = &plan.proxy;
    let mut edited = Vec::with_capacity(value.len() + 32);
    let mut parts = value.split(|&byte| byte == b';');
    let pair = parts.next().unwrap_or_default();
    edited.extend_from_slice(pair);
    let name = pair
        .split(|&byte| byte == b'=')
        .next()
        .unwrap_or_default()
        .trim_ascii();
    // What has no value is no cookie, and gets no flags.
    let flags = proxy
        .cookie_flags
        .iter()
        .filter(|_| pair.contains(&b'='))
        .find(|flags| is_named(flags, name, exchange));
    let (mut has_secure, mut has_http_only, mut has_same_site) = (false, false, false);
    for part in parts {
        let attribute = part.trim_ascii();
        let (key, text) = match memchr::memchr(b'=', attribute) {
            Some(equals) => (
                attribute[..equals].trim_ascii(),
                Some(attribute[equals + 1..].trim_ascii()),
            ),
            None => (attribute, None),
        };
        let is = |word: &[u8]| key.eq_ignore_ascii_case(word);
        // A flag that stays keeps its place; one that is new comes last.
        if let Some(flags) = flags {
            if is(b"secure") {
                has_secure = true;
                if flags.secure == Some(false) {
                    continue;
                }
            } else if is(b"httponly") {
                has_http_only = true;
                if flags.http_only == Some(false) {
                    continue;
                }
            } else if is(b"samesite") {
                has_same_site = true;
                match flags.same_site {
                    Some(None) => continue,
                    Some(Some(same_site)) => {
                        edited.extend_from_slice(b"; SameSite=");
                        edited.extend_from_slice(same_site.as_bytes());
                        continue;
                    }
                    None => {}
                }
            }
        }
        let replaced = match text {
            Some(text) if is(b"domain") => {
                edit_cookie_text(&proxy.cookie_domains, text, true, exchange)
            }
            Some(text) if is(b"path") => {
                edit_cookie_text(&proxy.cookie_paths, text, false, exchange)
            }
            _ => None,
        };
        edited.extend_from_slice(b"; ");
        match replaced {
            Some(text) => {
                edited.extend_from_slice(key);
                edited.push(b'=');
                edited.extend_from_slice(&text);
            }
            None => edited.extend_from_slice(attribute),
        }
    }
    if let Some(flags) = flags {
        if flags.secure == Some(true) && !has_secure {
            edited.extend_from_slice(b"; Secure");
        }
        if flags.http_only == Some(true) && !has_http_only {
            edited.extend_from_slice(b"; HttpOnly");
        }
        if let Some(Some(same_site)) = flags.same_site
            && !has_same_site
        {
            edited.extend_from_slice(b"; SameSite=");
            edited.extend_from_slice(same_site.as_bytes());
        }
    }
    edited
}

fn is_named(flags: &CookieFlags, name: &[u8], exchange: &Exchange) -> bool {
    match &flags.name {
        CookieName::Text(template) => {
            let mut scratch = Vec::new();
            variables::value_of(template, exchange, &mut scratch).eq_ignore_ascii_case(name)
        }
        CookieName::Regex(regex) => regex.is_match(name),
    }
}

/// A domain is compared whole and without case, with or without its leading dot; of a path the
/// start is replaced.
fn edit_cookie_text(
    edits: &[CookieEdit],
    text: &[u8],
    is_domain: bool,
    exchange: &Exchange,
) -> Option<Vec<u8>> {
    let mut scratch = Vec::new();
    for edit in edits {
        match edit {
            CookieEdit::Text { from, to } => {
                let from = variables::value_of(from, exchange, &mut scratch);
                let mut edited = Vec::new();
                let rest = if is_domain {
                    // The dot in front of a domain stays.
                    let bare = text.strip_prefix(b".").unwrap_or(text);
                    edited.extend_from_slice(&text[..text.len() - bare.len()]);
                    let from = from.strip_prefix(b".").unwrap_or(from);
                    bare.eq_ignore_ascii_case(from).then_some(&b""[..])
                } else {
                    text.strip_prefix(from)
                };
                let Some(rest) = rest else {
                    continue;
                };
                variables::expand(to, exchange, &mut edited);
                edited.extend_from_slice(rest);
                return Some(edited);
            }
            CookieEdit::Regex { regex, to } => {
                if let Some(edited) = replace_match(regex, to, text, exchange) {
                    return Some(edited);
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let of_proxy = |text| split_url(Scheme::OF_PROXY, text);
        let url = of_proxy(b"http://[::1]:8080/a?b").expect("valid");
        assert_eq!(
            (url.host, url.port, url.uri),
            (&b"::1"[..], 8080, &b"/a?b"[..])
        );
        let url = of_proxy(b"HTTP://example.org").expect("valid");
        assert_eq!(
            (url.host, url.port, url.uri),
            (&b"example.org"[..], 80, &b""[..])
        );
        let url = of_proxy(b"https://example.org/a").expect("valid");
        assert_eq!((url.scheme, url.port), (Scheme::Https, 443));
        let url = of_proxy(b"http://unix:/run/x.sock:/y").expect("valid");
        assert_eq!((url.unix, url.uri), (Some(&b"/run/x.sock"[..]), &b"/y"[..]));
        for wrong in [
            &b"ftp://x"[..],
            b"http://",
            b"http://:80",
            b"http://x:0",
            b"http://x:99999",
            b"x",
        ] {
            assert_eq!(of_proxy(wrong), None);
        }
        let of_grpc = |text| {
            let url = split_url(Scheme::OF_GRPC, text)?;
            Some((url.scheme, url.host, url.port))
        };
        assert_eq!(of_grpc(b"grpcs://a"), Some((Scheme::Grpcs, &b"a"[..], 443)));
        assert_eq!(of_grpc(b"a:50051"), Some((Scheme::Grpc, &b"a"[..], 50051)));
        assert_eq!(of_grpc(b"http://a"), None);
    }
}
