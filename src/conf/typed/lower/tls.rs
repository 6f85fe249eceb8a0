//! `ssl_*`: what a server offers its clients.

use std::sync::Arc;
use std::time::Duration;

use super::scope::Scope;
use super::{Cx, acme};
use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::typed::acme::Order;
use crate::conf::typed::tls::{
    Certificate, CertificateFiles, Group, Protocols, ServerTls, SessionCache, Stapling, Suite,
    VerifyClient,
};

/// What a server offers on its addresses with `ssl`; `orders` are what `$acme_certificate` stands for.
pub fn server(scope: &Scope<'_>, orders: &[Arc<Order>], cx: &mut Cx) -> ServerTls {
    ServerTls {
        certificates: certificates(scope, orders, cx),
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
fn certificates(scope: &Scope<'_>, orders: &[Arc<Order>], cx: &mut Cx) -> Vec<Certificate> {
    let certificates = scope.all("ssl_certificate");
    let keys = scope.all("ssl_certificate_key");
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
        found.push(Certificate::Files(CertificateFiles {
            certificate: scope.path(&certificate.text),
            key: scope.path(&key.text),
            passwords: None,
            span: line.name.span,
        }));
    }
    found
}
