//! `proxy_ssl_*` and `grpc_ssl_*`: what is asked of peers over TLS.

use std::net::IpAddr;

use super::scope::Scope;
use super::{Cx, ciphers, tls};
use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::include::{Node, Word};
use crate::conf::template::Template;
use crate::conf::typed::tls::{CertificateFiles, Group, PeerTls, Protocols, Suite};
use crate::conf::typed::upstream::{PeerAddress, Upstream};
use crate::conf::variable::{Core, Variable};

/// Last labels of names that only the machine or the network itself knows (RFC 2606, 6761, 6762 and
/// 8375, and what routers and clusters use).
const LOCAL_NAMES: [&str; 14] = [
    "localhost",
    "local",
    "localdomain",
    "internal",
    "intranet",
    "private",
    "corp",
    "home",
    "lan",
    "arpa",
    "test",
    "example",
    "invalid",
    "consul",
];

/// What is asked of peers in a place. `family` is what the names of the directives begin with:
/// `proxy` or `grpc`.
pub fn peer_tls(family: &str, scope: &Scope<'_>, cx: &mut Cx) -> PeerTls {
    let name = |end: &str| format!("{family}_ssl_{end}");
    let file = |end: &str| tls::file(scope, &name(end));
    let mut protocols = match scope.nearest(&name("protocols")) {
        Some(line) => protocols(line, cx),
        None => BOTH,
    };
    let mut suites = match scope.nearest(&name("ciphers")) {
        Some(line) => suites(line, cx),
        None => Suite::ALL.to_vec(),
    };
    let mut groups = Group::USUAL.to_vec();
    for line in scope.all(&name("conf_command")) {
        conf_command(line, &mut protocols, &mut suites, &mut groups, cx);
    }
    PeerTls {
        protocols,
        suites,
        groups,
        name: match scope.nearest(&name("name")) {
            Some(_) => scope.template(&name("name"), cx),
            None => Template::from_variable(Variable::Core(Core::ProxyHost)),
        },
        sends_name: scope.flag(&name("server_name")),
        verify: scope.flag(&name("verify")),
        verify_depth: u32::try_from(scope.number(&name("verify_depth"))).unwrap_or(u32::MAX),
        trusted: file("trusted_certificate"),
        revoked: file("crl"),
        certificate: certificate(family, scope, cx),
        reuses_sessions: scope.flag(&name("session_reuse")),
    }
}

/// Tells of a peer on the Internet that anybody on the way to it could stand in for.
pub fn warn_unless_verified(
    family: &str,
    tls: &PeerTls,
    upstream: &Upstream,
    word: &Word,
    cx: &mut Cx,
) {
    if tls.verify {
        return;
    }
    let public = (upstream.servers.iter()).find(|server| is_public(&server.address));
    if let Some(server) = public {
        let of_whom = match &server.address {
            PeerAddress::Name { host, .. } => host.to_string(),
            _ => server.name.to_string(),
        };
        cx.report(
            Diagnostic::warning(
                Code::UNVERIFIED_PEER,
                word.span,
                format!("the certificate of `{of_whom}` is not verified"),
            )
            .hint(format!(
                "`{family}_ssl_verify on;` verifies it, with the authorities that the system trusts \
                 unless `{family}_ssl_trusted_certificate` names others",
            )),
        );
    }
}

/// Is a peer on the Internet, as far as its address tells?
pub fn is_public(address: &PeerAddress) -> bool {
    match address {
        PeerAddress::Unix(_) => false,
        PeerAddress::Ip(address) => match address.ip().to_canonical() {
            IpAddr::V4(ip) => {
                let [first, second, ..] = ip.octets();
                // The last two: shared by a provider's customers (RFC 6598), and never on the Internet.
                !(ip.is_private()
                    || ip.is_loopback()
                    || ip.is_link_local()
                    || ip.is_unspecified()
                    || ip.is_documentation()
                    || ip.is_multicast()
                    || (first == 100 && second & 0xc0 == 64)
                    || first >= 240)
            }
            IpAddr::V6(ip) => {
                let is_documentation = ip.segments()[..2] == [0x2001, 0xdb8];
                // Global unicast is 2000::/3 and nothing else (RFC 4291 section 2.4).
                ip.segments()[0] >> 13 == 1 && !is_documentation
            }
        },
        PeerAddress::Name { host, .. } => {
            let name = host.trim_end_matches('.');
            name.rsplit_once('.').is_some_and(|(before, last)| {
                !LOCAL_NAMES
                    .iter()
                    .any(|local| last.eq_ignore_ascii_case(local))
                    // The names that documents use (RFC 2606 section 3).
                    && !before
                        .rsplit('.')
                        .next()
                        .is_some_and(|label| label.eq_ignore_ascii_case("example"))
            })
        }
    }
}

fn certificate(family: &str, scope: &Scope<'_>, cx: &mut Cx) -> Option<CertificateFiles> {
    let name = |end: &str| format!("{family}_ssl_{end}");
    let line = scope.nearest(&name("certificate"))?;
    let certificate = line.arguments.first()?;
    // An empty one takes back that of the block around.
    if certificate.text.is_empty() {
        return None;
    }
    let key = scope
        .nearest(&name("certificate_key"))
        .and_then(|line| line.arguments.first());
    let Some(key) = key else {
        cx.report(
            Diagnostic::error(
                Code::NO_PEER_CERTIFICATE_KEY,
                certificate.span,
                format!(
                    "no `{}` for the certificate `{}`",
                    name("certificate_key"),
                    certificate.text
                ),
            )
            .hint(format!(
                "name the file of its private key with `{}`",
                name("certificate_key")
            )),
        );
        return None;
    };
    for word in [certificate, key] {
        if word.text.contains('$') {
            cx.report(
                Diagnostic::error(
                    Code::COMPUTED_PEER_CERTIFICATE,
                    word.span,
                    "the certificate for peers cannot be made of variables in this version",
                )
                .hint("write the name of the file, in a location for each certificate"),
            );
            return None;
        }
    }
    let passwords = scope
        .nearest(&name("password_file"))
        .and_then(|line| line.arguments.first());
    Some(CertificateFiles {
        certificate: scope.path_beside_conf(&certificate.text),
        key: scope.path_beside_conf(&key.text),
        passwords: passwords.map(|word| scope.path_beside_conf(&word.text)),
        span: line.name.span,
    })
}

const BOTH: Protocols = Protocols {
    tls12: true,
    tls13: true,
};

/// The versions named; those that are older than what is spoken here are told and left out.
fn protocols(line: &Node, cx: &mut Cx) -> Protocols {
    let mut found = Protocols {
        tls12: false,
        tls13: false,
    };
    let mut old: Option<&Word> = None;
    for word in &line.arguments {
        match &*word.text {
            "TLSv1.2" => found.tls12 = true,
            "TLSv1.3" => found.tls13 = true,
            _ => old = old.or(Some(word)),
        }
    }
    if let Some(old) = old {
        let is_left = found.tls12 || found.tls13;
        let message = format!("`{}` is not spoken with peers: it is broken", old.text);
        let problem = match is_left {
            true => Diagnostic::warning(Code::OLD_PEER_PROTOCOL, old.span, message),
            false => Diagnostic::error(Code::NO_PEER_PROTOCOL, old.span, message),
        };
        cx.report(problem.hint("`TLSv1.2` and `TLSv1.3` are spoken"));
        if !is_left {
            return BOTH;
        }
    }
    found
}

/// The suites of a list as OpenSSL writes it. Those of TLS 1.3 are not chosen by such a list.
fn suites(line: &Node, cx: &mut Cx) -> Vec<Suite> {
    let Some(word) = line.arguments.first() else {
        return Suite::ALL.to_vec();
    };
    let selection = ciphers::list(&word.text);
    tls::unknown(Code::UNKNOWN_CIPHER, word, "cipher", &selection.unknown, cx);
    if selection.tls12.is_empty() && selection.tls13.is_empty() {
        cx.report(
            Diagnostic::error(
                Code::NO_PEER_CIPHER,
                word.span,
                format!("`{}` names no cipher that is spoken with peers", word.text),
            )
            .hint("`DEFAULT` offers all of them"),
        );
        return Suite::ALL.to_vec();
    }
    let tls13 = match selection.tls13.is_empty() {
        true => ciphers::TLS13.to_vec(),
        false => selection.tls13,
    };
    tls13.into_iter().chain(selection.tls12).collect()
}

/// One command of OpenSSL's configuration (`SSL_CONF_cmd`).
fn conf_command(
    line: &Node,
    protocols: &mut Protocols,
    suites: &mut Vec<Suite>,
    groups: &mut Vec<Group>,
    cx: &mut Cx,
) {
    let [command, value] = line.arguments.as_slice() else {
        return;
    };
    match (
        command.text.to_ascii_lowercase().as_str(),
        &*value.text,
    ) {
        ("ciphersuites", text) => {
            let (chosen, not_known) = ciphers::ciphersuites(text);
            tls::unknown(Code::UNKNOWN_CIPHER, value, "cipher", &not_known, cx);
            if !chosen.is_empty() {
                suites.retain(|suite| !ciphers::TLS13.contains(suite));
                suites.splice(0..0, chosen);
            }
        }
        ("groups" | "curves", text) => *groups = tls::groups_of(value, text, cx),
        ("minprotocol", "TLSv1.3") if protocols.tls13 => protocols.tls12 = false,
        ("maxprotocol", "TLSv1.2") if protocols.tls12 => protocols.tls13 = false,
        ("minprotocol", "TLSv1" | "TLSv1.1" | "TLSv1.2") | ("maxprotocol", "TLSv1.3") => {}
        _ => cx.report(
            Diagnostic::warning(
                Code::COMMAND_WITHOUT_EFFECT,
                line.span,
                format!("`{} {}` has no effect here", command.text, value.text),
            )
            .hint("TLS is not OpenSSL's here; `Ciphersuites`, `Groups`, `MinProtocol` and `MaxProtocol` are understood"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::upstream::peer_address;
    use super::*;

    #[test]
    fn what_only_the_network_itself_knows_is_not_public() {
        for (text, expected) in [
            ("203.0.114.1", true),
            ("8.8.8.8:8443", true),
            ("10.1.2.3", false),
            ("172.31.0.1", false),
            ("172.32.0.1", true),
            ("100.64.0.1", false),
            ("100.128.0.1", true),
            ("169.254.1.1", false),
            ("127.0.0.1", false),
            ("[::1]", false),
            ("[fd00::1]", false),
            ("[fe80::1]", false),
            ("[2606:4700::1]", true),
            ("[2001:db8::1]", false),
            ("unix:/run/a.sock", false),
            ("app", false),
            ("localhost", false),
            ("nas.lan", false),
            ("printer.local.", false),
            ("app.default.svc.cluster.local", false),
            ("box.home.arpa", false),
            ("www.example.com", false),
            ("api.a-site.org", true),
        ] {
            let address = peer_address(text, 443).expect("an address");
            assert_eq!(is_public(&address), expected, "{text}");
        }
    }
}
