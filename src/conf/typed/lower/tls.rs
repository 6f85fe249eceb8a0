//! `ssl_*` and `hsts`: what a server offers its clients.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::ciphers;
use super::scope::{Scope, parameter};
use super::{Cx, acme, client_status};
use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::include::{Node, Word};
use crate::conf::source::Span;
use crate::conf::typed::acme::Order;
use crate::conf::typed::tls::{
    Certificate, CertificateCache, CertificateFiles, Group, Protocols, ServerTls, SessionCache,
    Stapling, Suite, VerifyClient,
};
use crate::unit;

/// The most content of a record (RFC 8446 section 5.1).
const MOST_BUFFER: usize = 16 << 10;
/// The least that makes sense: a record has a cost of its own.
const LEAST_BUFFER: usize = 512;
/// How many sessions a server keeps for itself where nothing is written.
const OWN_SESSIONS: usize = 1024;
/// nginx keeps about four thousand sessions in a megabyte.
pub(super) const SESSIONS_PER_MEGABYTE: usize = 4096;

/// What all servers share: the zones of `ssl_session_cache` by name.
#[derive(Default, Debug)]
pub struct Zones<'a> {
    known: HashMap<&'a str, (u64, Span)>,
    /// The same of `ssl_ocsp_cache`.
    pub(super) answers: HashMap<&'a str, (u64, Span)>,
}

/// What a server offers on its addresses with `ssl`; `orders` are what `$acme_certificate` stands for.
pub fn server<'a>(
    scope: &Scope<'a>,
    orders: &[Arc<Order>],
    zones: &mut Zones<'a>,
    cx: &mut Cx,
) -> ServerTls {
    let protocols = protocols(scope, cx);
    let mut offer = Offer {
        protocols,
        suites: suites(scope, protocols, cx),
        groups: groups(scope, cx),
        prefers_own_order: scope.flag("ssl_prefer_server_ciphers"),
        prioritizes_chacha: false,
        tickets: scope.flag("ssl_session_tickets"),
    };
    for line in scope.all("ssl_conf_command") {
        command(line, &mut offer, cx);
    }
    let verify_client = match scope.text("ssl_verify_client") {
        "on" => VerifyClient::Required,
        "optional" => VerifyClient::Optional,
        "optional_no_ca" => VerifyClient::OptionalNoAuthority,
        _ => VerifyClient::Off,
    };
    let client_authorities = file(scope, "ssl_client_certificate");
    let trusted = file(scope, "ssl_trusted_certificate");
    if matches!(
        verify_client,
        VerifyClient::Required | VerifyClient::Optional
    ) && client_authorities.is_none()
        && trusted.is_none()
        && let Some(line) = scope.nearest("ssl_verify_client")
    {
        cx.report(
            Diagnostic::error(
                Code::NO_CLIENT_AUTHORITY,
                line.name.span,
                "nothing says whose certificates clients must show",
            )
            .hint("name the file of their authority with `ssl_client_certificate`"),
        );
    }
    if let Some(line) = scope.nearest("ssl_dhparam") {
        cx.report(
            Diagnostic::warning(
                Code::COMMAND_WITHOUT_EFFECT,
                line.name.span,
                "`ssl_dhparam` has no effect here",
            )
            .hint("suites with finite fields are not offered: every client has better ones"),
        );
    }
    let mut session_cache = session_cache(scope, zones, cx);
    let early_data = early_data(scope, offer.protocols, &mut session_cache, cx);
    if early_data {
        // What is replayed must find nothing: a session is used once, so it is kept here.
        offer.tickets = false;
    }
    let rejects = scope.flag("ssl_reject_handshake");
    ServerTls {
        // Who refuses all handshakes shows none.
        certificates: match rejects {
            true => Vec::new(),
            false => certificates(scope, orders, cx),
        },
        on_demand: None,
        certificate_cache: certificate_cache(scope, cx),
        protocols: offer.protocols,
        suites: offer.suites,
        prefers_own_order: offer.prefers_own_order,
        prioritizes_chacha: offer.prioritizes_chacha,
        groups: offer.groups,
        buffer_size: scope
            .size("ssl_buffer_size")
            .clamp(LEAST_BUFFER, MOST_BUFFER),
        session_cache,
        session_timeout: unit::time::seconds(scope.text("ssl_session_timeout"))
            .unwrap_or(Duration::from_secs(300)),
        tickets: offer.tickets,
        ticket_keys: scope
            .all("ssl_session_ticket_key")
            .iter()
            .filter_map(|line| {
                Some((
                    scope.path_beside_conf(&line.arguments.first()?.text),
                    line.name.span,
                ))
            })
            .collect(),
        verify_client,
        verify_depth: u32::try_from(scope.number("ssl_verify_depth")).unwrap_or(u32::MAX),
        client_authorities,
        trusted,
        revoked: file(scope, "ssl_crl"),
        client_status: client_status::of_server(scope, verify_client, zones, cx),
        stapling: Stapling {
            enabled: scope.flag("ssl_stapling"),
            verify: scope.flag("ssl_stapling_verify"),
            file: file(scope, "ssl_stapling_file"),
            responder: responder("ssl_stapling_responder", scope, cx),
            span: scope
                .nearest("ssl_stapling")
                .map_or_else(Span::default, |line| line.name.span),
        },
        early_data,
        rejects,
    }
}

/// What `ssl_conf_command` may still change.
struct Offer {
    protocols: Protocols,
    suites: Vec<Suite>,
    groups: Vec<Group>,
    prefers_own_order: bool,
    prioritizes_chacha: bool,
    tickets: bool,
}

/// The file that a directive names.
pub(super) fn file(scope: &Scope<'_>, name: &str) -> Option<(PathBuf, Span)> {
    let line = scope.nearest(name)?;
    let word = line.arguments.first()?;
    // An empty name takes back what a level above says.
    (!word.text.is_empty()).then(|| (scope.path_beside_conf(&word.text), line.name.span))
}

fn protocols(scope: &Scope<'_>, cx: &mut Cx) -> Protocols {
    let both = Protocols {
        tls12: true,
        tls13: true,
    };
    let Some(line) = scope.nearest("ssl_protocols") else {
        return both;
    };
    let names = |name: &str| line.arguments.iter().any(|word| &*word.text == name);
    let spoken = Protocols {
        tls12: names("TLSv1.2"),
        tls13: names("TLSv1.3"),
    };
    let old: Vec<&Word> = line
        .arguments
        .iter()
        .filter(|word| matches!(&*word.text, "SSLv2" | "SSLv3" | "TLSv1" | "TLSv1.1"))
        .collect();
    let Some(first) = old.first() else {
        return spoken;
    };
    let list = old
        .iter()
        .map(|word| format!("`{}`", word.text))
        .collect::<Vec<_>>()
        .join(", ");
    if !spoken.tls12 && !spoken.tls13 {
        cx.report(
            Diagnostic::error(
                Code::NO_PROTOCOL,
                first.span,
                format!("{list} is no longer spoken, and no other protocol is named"),
            )
            .hint("write `ssl_protocols TLSv1.2 TLSv1.3`, or leave the line out"),
        );
        return both;
    }
    cx.report(
        Diagnostic::warning(
            Code::OLD_PROTOCOL,
            first.span,
            format!("{list} is no longer spoken"),
        )
        .hint("the others that are named are; take this out"),
    );
    spoken
}

fn suites(scope: &Scope<'_>, protocols: Protocols, cx: &mut Cx) -> Vec<Suite> {
    let Some(word) = scope
        .nearest("ssl_ciphers")
        .and_then(|line| line.arguments.first())
    else {
        return Suite::ALL.to_vec();
    };
    let selection = ciphers::list(&word.text);
    unknown(Code::UNKNOWN_CIPHER, word, "cipher", &selection.unknown, cx);
    if selection.tls12.is_empty() && protocols.tls12 && selection.tls13.is_empty() {
        cx.report(
            Diagnostic::error(
                Code::NO_CIPHER,
                word.span,
                "no cipher suite that is offered here is in this list",
            )
            .hint(
                "there are ECDHE suites with AES-GCM and ChaCha20; leave the line out for all of \
                 them",
            ),
        );
        return Suite::ALL.to_vec();
    }
    let tls13 = match selection.tls13.is_empty() {
        true => ciphers::TLS13.to_vec(),
        false => selection.tls13,
    };
    tls13.into_iter().chain(selection.tls12).collect()
}

fn groups(scope: &Scope<'_>, cx: &mut Cx) -> Vec<Group> {
    match scope
        .nearest("ssl_ecdh_curve")
        .and_then(|line| line.arguments.first())
    {
        Some(word) => groups_of(word, &word.text, cx),
        None => Group::USUAL.to_vec(),
    }
}

/// The groups that a list names.
pub(super) fn groups_of(word: &Word, text: &str, cx: &mut Cx) -> Vec<Group> {
    let (groups, not_here) = ciphers::groups(text);
    if groups.is_empty() {
        cx.report(
            Diagnostic::error(
                Code::NO_GROUP,
                word.span,
                format!("no group of `{text}` is offered here"),
            )
            .hint(
                "there are X25519MLKEM768, X25519, prime256v1 and secp384r1; `auto` is all of them",
            ),
        );
        return Group::USUAL.to_vec();
    }
    unknown(Code::UNKNOWN_GROUP, word, "group", &not_here, cx);
    groups
}

/// Says once for a list what is left out of it.
pub(super) fn unknown(code: Code, word: &Word, kind: &str, names: &[Box<str>], cx: &mut Cx) {
    let Some((first, rest)) = names.split_first() else {
        return;
    };
    let more = match rest.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    cx.report(
        Diagnostic::warning(
            code,
            word.span,
            format!("there is no {kind} `{first}`{more}"),
        )
        .hint("it is left out; the rest of the list counts"),
    );
}

/// One `ssl_conf_command` (OpenSSL `SSL_CONF_cmd`).
fn command(line: &Node, offer: &mut Offer, cx: &mut Cx) {
    let [name, value] = line.arguments.as_slice() else {
        return;
    };
    let ignored = |what: &Word, cx: &mut Cx| {
        cx.report(
            Diagnostic::warning(
                Code::COMMAND_WITHOUT_EFFECT,
                what.span,
                format!("`{}` has no effect here", what.text),
            )
            .hint(
                "TLS is not OpenSSL's here; `ssl_*` directives say the same where there is a way",
            ),
        );
    };
    let version = |text: &str| match text {
        "TLSv1.3" => Some((false, true)),
        "TLSv1.2" => Some((true, true)),
        _ => None,
    };
    match name.text.to_ascii_lowercase().as_str() {
        "ciphersuites" => {
            let (chosen, not_known) = ciphers::ciphersuites(&value.text);
            unknown(Code::UNKNOWN_CIPHER, value, "cipher", &not_known, cx);
            offer.suites.retain(|suite| !ciphers::TLS13.contains(suite));
            offer.suites.splice(0..0, chosen);
            let is_any = |suite: &Suite| ciphers::TLS13.contains(suite);
            if offer.protocols.tls13 && !offer.suites.iter().any(is_any) {
                if offer.protocols.tls12 {
                    // OpenSSL goes on without TLS 1.3 then.
                    offer.protocols.tls13 = false;
                } else {
                    cx.error(
                        Code::NO_CIPHER,
                        value.span,
                        "no cipher suite of TLS 1.3 is in this list",
                    );
                }
            }
        }
        "groups" | "curves" => offer.groups = groups_of(value, &value.text, cx),
        "minprotocol" => match version(&value.text) {
            Some((tls12, _)) => offer.protocols.tls12 &= tls12,
            None => ignored(value, cx),
        },
        "maxprotocol" => match &*value.text {
            "TLSv1.2" if offer.protocols.tls12 => offer.protocols.tls13 = false,
            "TLSv1.3" => {}
            _ => ignored(value, cx),
        },
        "options" => {
            for option in value.text.split(',') {
                match option {
                    "PrioritizeChaCha" => offer.prioritizes_chacha = true,
                    "-PrioritizeChaCha" => offer.prioritizes_chacha = false,
                    "ServerPreference" => offer.prefers_own_order = true,
                    "-ServerPreference" => offer.prefers_own_order = false,
                    "SessionTicket" => offer.tickets = true,
                    "-SessionTicket" => offer.tickets = false,
                    // What they ask for is so, and cannot be otherwise.
                    "NoRenegotiation"
                    | "NoResumptionOnRenegotiation"
                    | "-Compression"
                    | "-UnsafeLegacyRenegotiation"
                    | "-UnsafeRenegotiation"
                    | "ECDHSingle"
                    | "DHSingle"
                    | "MiddleboxCompat"
                    | "EncryptThenMac"
                    | "ExtendedMasterSecret"
                    | "AntiReplay" => {}
                    _ => ignored(value, cx),
                }
            }
        }
        _ => ignored(name, cx),
    }
}

fn session_cache<'a>(scope: &Scope<'a>, zones: &mut Zones<'a>, cx: &mut Cx) -> SessionCache {
    let Some(line) = scope.nearest("ssl_session_cache") else {
        return SessionCache::Own {
            sessions: OWN_SESSIONS,
        };
    };
    let mut cache = SessionCache::Off;
    for word in &line.arguments {
        let text: &'a str = &word.text;
        let mut parts = text.split(':');
        let wrong = |cx: &mut Cx| {
            cx.report(
                Diagnostic::error(
                    Code::UNKNOWN_PARAMETER,
                    word.span,
                    format!("invalid session cache `{}`", word.text),
                )
                .hint("write `off`, `none`, `builtin[:COUNT]` or `shared:NAME:SIZE`"),
            );
        };
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some("off" | "none"), None, ..) => {}
            (Some("builtin"), count, None, _) => match count.map(str::parse::<usize>) {
                None => {
                    cache = SessionCache::Own {
                        // OpenSSL's own default.
                        sessions: 20_480,
                    }
                }
                Some(Ok(sessions)) => cache = SessionCache::Own { sessions },
                Some(Err(_)) => wrong(cx),
            },
            (Some("shared"), Some(name), Some(size), None) if !name.is_empty() => {
                let Some(bytes) = unit::size::offset(size) else {
                    wrong(cx);
                    continue;
                };
                // nginx's zones have eight pages at least.
                if bytes < 8 * 4096 {
                    cx.error(
                        Code::OUT_OF_RANGE,
                        word.span,
                        format!("the session cache `{name}` is too small, 32k is the least"),
                    );
                    continue;
                }
                let (known, place) = *zones.known.entry(name).or_insert((bytes, word.span));
                if known != bytes {
                    cx.report(
                        Diagnostic::error(
                            Code::CONFLICTING_SESSION_CACHE,
                            word.span,
                            format!("the session cache `{name}` has two sizes"),
                        )
                        .label(place, "first given here")
                        .hint("give it the same size everywhere, or another name"),
                    );
                }
                let megabytes = bytes as f64 / f64::from(1 << 20);
                cache = SessionCache::Shared {
                    name: name.into(),
                    sessions: (megabytes * SESSIONS_PER_MEGABYTE as f64) as usize,
                };
            }
            _ => wrong(cx),
        }
    }
    cache
}

fn early_data(
    scope: &Scope<'_>,
    protocols: Protocols,
    cache: &mut SessionCache,
    cx: &mut Cx,
) -> bool {
    let is_on = scope.flag("ssl_early_data");
    let Some(line) = scope.nearest("ssl_early_data").filter(|_| is_on) else {
        return false;
    };
    let lacks = |what: &str, hint: &str, cx: &mut Cx| {
        cx.report(
            Diagnostic::warning(
                Code::EARLY_DATA_WITHOUT_EFFECT,
                line.name.span,
                format!("there is no early data without {what}"),
            )
            .hint(hint),
        );
    };
    if !protocols.tls13 {
        lacks("`TLSv1.3`", "name it in `ssl_protocols`", cx);
        return false;
    }
    if *cache == SessionCache::Off {
        if scope.text("ssl_session_cache") == "off" {
            lacks(
                "a session cache",
                "write `ssl_session_cache shared:tls:1m`",
                cx,
            );
            return false;
        }
        *cache = SessionCache::Own {
            sessions: OWN_SESSIONS,
        };
    }
    true
}

/// The address of an OCSP responder that a directive names.
pub(super) fn responder(name: &str, scope: &Scope<'_>, cx: &mut Cx) -> Option<Box<str>> {
    let line = scope.nearest(name)?;
    let word = line
        .arguments
        .first()
        .filter(|word| !word.text.is_empty())?;
    let is_fine = word.text.parse::<http::Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()
    });
    if !is_fine {
        cx.report(
            Diagnostic::error(
                Code::BAD_RESPONDER,
                word.span,
                format!("`{}` is not the address of a responder", word.text),
            )
            .hint("write it like `http://ocsp.example/`"),
        );
        return None;
    }
    Some(word.text.clone())
}

/// `hsts`: the value of `Strict-Transport-Security` (RFC 6797 section 6.1).
pub fn hsts(scope: &Scope<'_>, cx: &mut Cx) -> Option<Box<[u8]>> {
    /// A year is what the preload lists ask for; two are what they recommend.
    const USUAL_AGE: u64 = 2 * 365 * 24 * 60 * 60;
    const YEAR: u64 = 365 * 24 * 60 * 60;
    let line = scope.nearest("hsts")?;
    let (mut age, mut subdomains, mut preload) = (USUAL_AGE, false, None);
    for word in &line.arguments {
        let time = word.text.strip_prefix("max-age=");
        match (&*word.text, time.map(unit::time::seconds)) {
            ("off", _) if line.arguments.len() == 1 => return None,
            ("on", _) if line.arguments.len() == 1 => {}
            (_, Some(Some(time))) => age = time.as_secs(),
            ("includeSubDomains", _) => subdomains = true,
            ("preload", _) => preload = Some(word.span),
            _ => cx.report(
                Diagnostic::error(
                    Code::UNKNOWN_PARAMETER,
                    word.span,
                    format!("invalid parameter `{}`", word.text),
                )
                .hint("it has `max-age=TIME`, `includeSubDomains`, `preload`, or `off` alone"),
            ),
        }
    }
    if let Some(span) = preload
        && (age < YEAR || !subdomains)
    {
        cx.report(
            Diagnostic::warning(
                Code::HSTS_NOT_PRELOADED,
                span,
                "no list takes this name for preloading",
            )
            .hint("they ask for `includeSubDomains` and a `max-age` of a year or more"),
        );
    }
    let mut value = format!("max-age={age}");
    if subdomains {
        value.push_str("; includeSubDomains");
    }
    if preload.is_some() {
        value.push_str("; preload");
    }
    Some(value.into_bytes().into())
}

/// The field that `hsts` sends.
const HSTS_FIELD: &str = "Strict-Transport-Security";

/// Tells where `add_header Strict-Transport-Security` does not do what was meant: on a server
/// without TLS, and in places whose own `add_header` hides it.
pub fn lint_hsts(node: &Node, scope: &Scope<'_>, is_secure: bool, cx: &mut Cx) {
    let names_hsts = |line: &&Node| -> bool {
        let name = line.arguments.first();
        name.is_some_and(|word| word.text.eq_ignore_ascii_case(HSTS_FIELD))
    };
    let block = node.block.as_deref().unwrap_or_default();
    let inner = scope.inside(block);
    if !is_secure && let Some(line) = inner.own("add_header").iter().copied().find(names_hsts) {
        cx.report(
            Diagnostic::warning(
                Code::HSTS_WITHOUT_TLS,
                line.arguments.first().map_or(line.span, |word| word.span),
                format!("`{HSTS_FIELD}` has no meaning without TLS"),
            )
            .hint("send it from the server that listens with `ssl`; `hsts` does"),
        );
    }
    let is_sent = |scope: &Scope<'_>| match scope.text("add_header_inherit") {
        "merge" => scope.merged("add_header").iter().any(names_hsts),
        "off" => scope.own("add_header").iter().any(names_hsts),
        _ => scope.all("add_header").iter().any(names_hsts),
    };
    if is_secure
        && !inner.own("add_header").is_empty()
        && scope.nearest("hsts").is_none()
        && is_sent(scope)
        && !is_sent(&inner)
        && let Some(line) = inner.own("add_header").first()
    {
        cx.report(
            Diagnostic::warning(
                Code::HSTS_LOST,
                line.name.span,
                format!("`{HSTS_FIELD}` is not sent here"),
            )
            .label(line.name.span, "hides those of the level above")
            .hint("write `add_header_inherit merge;` here, or `hsts` instead of the field"),
        );
    }
    for inside in block {
        if matches!(&*inside.name.text, "location" | "if" | "limit_except") {
            lint_hsts(inside, &inner, is_secure, cx);
        }
    }
}

/// Pairs of `ssl_certificate` and `ssl_certificate_key`, in order, as nginx pairs them.
fn certificates(scope: &Scope<'_>, orders: &[Arc<Order>], cx: &mut Cx) -> Vec<Certificate> {
    let certificates = scope.all("ssl_certificate");
    let keys = scope.all("ssl_certificate_key");
    let passwords = scope
        .nearest("ssl_password_file")
        .and_then(|line| line.arguments.first())
        .map(|path| scope.path_beside_conf(&path.text));
    let mut found = Vec::new();
    for (position, line) in certificates.iter().enumerate() {
        let Some(certificate) = line.arguments.first() else {
            continue;
        };
        if &*certificate.text == acme::VARIABLE {
            acme::stands_for(certificate, scope, orders, cx);
            found.extend(orders.iter().cloned().map(Certificate::Managed));
            continue;
        }
        let Some(key) = keys.get(position).and_then(|line| line.arguments.first()) else {
            cx.report(
                Diagnostic::error(
                    Code::NO_CERTIFICATE_KEY,
                    line.name.span,
                    format!(
                        "no `ssl_certificate_key` for the certificate `{}`",
                        certificate.text
                    ),
                )
                .hint("name the file of its private key with `ssl_certificate_key`"),
            );
            continue;
        };
        if let Some(scheme) =
            (["engine:", "store:"].into_iter()).find(|scheme| key.text.starts_with(scheme))
        {
            cx.report(
                Diagnostic::error(
                    Code::KEY_ELSEWHERE,
                    key.span,
                    format!("keys that are not in files (`{scheme}`) are not supported"),
                )
                .hint("name the file of the key"),
            );
            continue;
        }
        let is_computed = |text: &str| text.contains('$') || text.starts_with("data:");
        found.push(
            if is_computed(&certificate.text) || is_computed(&key.text) {
                Certificate::Computed {
                    certificate: cx.template(certificate),
                    key: cx.template(key),
                    directory: scope.path_beside_conf(""),
                    passwords: passwords.clone(),
                    span: certificate.span,
                }
            } else {
                Certificate::Files(CertificateFiles {
                    certificate: scope.path_beside_conf(&certificate.text),
                    key: scope.path_beside_conf(&key.text),
                    passwords: passwords.clone(),
                    span: certificate.span,
                })
            },
        );
    }
    found
}

/// `ssl_certificate_cache off | max=N [inactive=TIME] [valid=TIME]`.
fn certificate_cache(scope: &Scope<'_>, cx: &mut Cx) -> Option<CertificateCache> {
    let line = scope.nearest("ssl_certificate_cache")?;
    if line.arguments.iter().any(|word| &*word.text == "off") {
        return None;
    }
    let time = |name, usual| {
        parameter(line, name)
            .and_then(unit::time::seconds)
            .unwrap_or(Duration::from_secs(usual))
    };
    let most = parameter(line, "max").and_then(|most| most.parse().ok());
    let Some(most) = most.filter(|most| *most > 0) else {
        cx.report(
            Diagnostic::error(
                Code::CERTIFICATE_CACHE,
                line.name.span,
                "`ssl_certificate_cache` needs `max=` with a number from 1 on",
            )
            .hint("as in `ssl_certificate_cache max=1000 inactive=20s valid=1m`"),
        );
        return None;
    };
    Some(CertificateCache {
        most,
        inactive: time("inactive", 10),
        valid: time("valid", 60),
    })
}
