//! `ssl_ocsp`, `ssl_ocsp_responder` and `ssl_ocsp_cache`: what is asked of the authorities of clients.

use super::Cx;
use super::scope::Scope;
use super::tls::{SESSIONS_PER_MEGABYTE, Zones, responder};
use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::typed::tls::{ClientStatus, VerifyClient};
use crate::unit;

/// The least that a cache is given (nginx: eight pages).
const LEAST_CACHE: u64 = 8 * 4096;

/// What a server asks about its clients; `None` for nothing.
pub fn of_server<'a>(
    scope: &Scope<'a>,
    clients: VerifyClient,
    zones: &mut Zones<'a>,
    cx: &mut Cx,
) -> Option<ClientStatus> {
    let responder = responder("ssl_ocsp_responder", scope, cx);
    let cache = cache(scope, zones, cx);
    let line = scope.nearest("ssl_ocsp")?;
    let only_own = match scope.text("ssl_ocsp") {
        "on" => false,
        "leaf" => true,
        _ => return None,
    };
    match clients {
        VerifyClient::Required | VerifyClient::Optional => {}
        VerifyClient::OptionalNoAuthority => {
            cx.report(
                Diagnostic::error(
                    Code::STATUS_WITHOUT_AUTHORITY,
                    line.name.span,
                    "`ssl_ocsp` does not go with `ssl_verify_client optional_no_ca`",
                )
                .hint("write `ssl_verify_client optional`: an authority that nobody knows cannot be asked"),
            );
            return None;
        }
        VerifyClient::Off => {
            cx.report(
                Diagnostic::warning(
                    Code::STATUS_WITHOUT_CLIENTS,
                    line.name.span,
                    "`ssl_ocsp` has no effect: no client is asked for a certificate",
                )
                .hint("write `ssl_verify_client on` with `ssl_client_certificate`"),
            );
            return None;
        }
    }
    Some(ClientStatus {
        only_own,
        responder,
        cache,
    })
}

/// `ssl_ocsp_cache off | shared:NAME:SIZE`.
fn cache<'a>(scope: &Scope<'a>, zones: &mut Zones<'a>, cx: &mut Cx) -> Option<(Box<str>, usize)> {
    let word = scope.nearest("ssl_ocsp_cache")?.arguments.first()?;
    let text: &'a str = &word.text;
    if text == "off" {
        return None;
    }
    let parts = text
        .strip_prefix("shared:")
        .and_then(|text| text.split_once(':'));
    let parts = parts.and_then(|(name, size)| Some((name, unit::size::offset(size)?)));
    let Some((name, bytes)) = parts.filter(|(name, _)| !name.is_empty()) else {
        cx.report(
            Diagnostic::error(
                Code::UNKNOWN_PARAMETER,
                word.span,
                format!("invalid OCSP cache `{text}`"),
            )
            .hint("write `off` or `shared:NAME:SIZE`"),
        );
        return None;
    };
    if bytes < LEAST_CACHE {
        cx.error(
            Code::OUT_OF_RANGE,
            word.span,
            format!("the OCSP cache `{name}` is too small, 32k is the least"),
        );
        return None;
    }
    let (known, place) = *zones.answers.entry(name).or_insert((bytes, word.span));
    if known != bytes {
        cx.report(
            Diagnostic::error(
                Code::CONFLICTING_STATUS_CACHE,
                word.span,
                format!("the OCSP cache `{name}` has two sizes"),
            )
            .label(place, "first given here")
            .hint("give it the same size everywhere, or another name"),
        );
    }
    let megabytes = bytes as f64 / f64::from(1 << 20);
    let most = (megabytes * SESSIONS_PER_MEGABYTE as f64) as usize;
    Some((name.into(), most))
}
