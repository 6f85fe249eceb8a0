//! `ssl_*`: what a server offers its clients.

use std::time::Duration;

use super::Cx;
use super::scope::{Scope, parameter};
use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::typed::tls::{
    Certificate, CertificateCache, CertificateFiles, Group, Protocols, ServerTls, SessionCache,
    Stapling, Suite, VerifyClient,
};
use crate::unit;

/// What a server offers on its addresses with `ssl`.
pub fn server(scope: &Scope<'_>, cx: &mut Cx) -> ServerTls {
    ServerTls {
        certificates: certificates(scope, cx),
        certificate_cache: certificate_cache(scope, cx),
        protocols: Protocols {
            tls12: true,
            tls13: true,
        },
        suites: Suite::ALL.to_vec(),
        prefers_own_order: false,
        groups: Group::USUAL.to_vec(),
        session_cache: SessionCache::Own { sessions: 1024 },
        session_timeout: Duration::from_secs(300),
        tickets: true,
        ticket_keys: Vec::new(),
        verify_client: VerifyClient::Off,
        verify_depth: 1,
        client_authorities: None,
        trusted: None,
        revoked: None,
        stapling: Stapling::default(),
        early_data: false,
        rejects: false,
    }
}

/// Pairs of `ssl_certificate` and `ssl_certificate_key`, in order, as nginx pairs them.
fn certificates(scope: &Scope<'_>, cx: &mut Cx) -> Vec<Certificate> {
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
