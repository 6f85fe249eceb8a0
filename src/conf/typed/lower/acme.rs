//! `acme_issuer`, `acme_certificate`, and the certificates that come without being asked for.
//!
//! Owns which names a certificate can be got for. A server with TLS for which nobody says where its
//! certificate comes from gets one for its names: from a public authority for public names, from our
//! own for local ones.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Cx;
use super::location::PlacedNames;
use super::scope::Scope;
use super::upstream;
use crate::conf::check::closest;
use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::include::{Node, Word};
use crate::conf::local_names::is_local;
use crate::conf::source::Span;
use crate::conf::typed::acme::{
    ChallengeKind, ExternalAccount, Issuer, KeyKind, MacKey, Order, Profile,
};
use crate::conf::typed::acme_dns::DnsProvider;
use crate::conf::typed::listen::{Address, Listen};
use crate::conf::typed::location::ServerName;
use crate::unit;

/// What stands for the certificate of `acme_certificate` in `ssl_certificate`.
pub const VARIABLE: &str = "$acme_certificate";

/// The longest name that DNS can carry (RFC 1035 section 2.3.4), as text.
const LONGEST_NAME: usize = 253;

/// The most names that authorities put into one certificate.
const MOST_NAMES: usize = 100;

/// Every `acme_issuer {}`, and the one that is there without being written.
pub fn issuers(http: &Scope<'_>, providers: &[Arc<DnsProvider>], cx: &mut Cx) -> Vec<Arc<Issuer>> {
    let mut issuers: Vec<Arc<Issuer>> = Vec::new();
    for node in http.own("acme_issuer") {
        let Some(found) = issuer(node, http, providers, cx) else {
            continue;
        };
        match issuers.iter().find(|known| known.name == found.name) {
            Some(first) => cx.report(
                Diagnostic::error(
                    Code::DUPLICATE,
                    found.span,
                    format!("the issuer `{}` stands twice", found.name),
                )
                .label(first.span, "first here"),
            ),
            None => issuers.push(Arc::new(found)),
        }
    }
    if !issuers
        .iter()
        .any(|issuer| &*issuer.name == Issuer::BUILT_IN)
    {
        issuers.push(Arc::new(Issuer {
            resolver: upstream::resolver(http, cx),
            ..Issuer::built_in()
        }));
    }
    issuers
}

fn issuer(
    node: &Node,
    http: &Scope<'_>,
    providers: &[Arc<DnsProvider>],
    cx: &mut Cx,
) -> Option<Issuer> {
    let name = node.arguments.first()?;
    let scope = http.inside(node.block.as_deref()?);
    let line = |name: &str| scope.own(name).first().copied();
    let word = |name: &str| line(name)?.arguments.first();
    if name.text.is_empty() || &*name.text == "off" || name.text.contains('/') {
        let told = format!("`{}` cannot be the name of an issuer", name.text);
        let problem = Diagnostic::error(Code::BAD_ISSUER, name.span, told);
        cx.report(problem.hint("use letters, digits, `-` and `_`"));
        return None;
    }
    let mut issuer = Issuer {
        name: name.text.clone(),
        contacts: scope
            .own("contact")
            .iter()
            .filter_map(|line| contact(line))
            .collect(),
        accepts_terms: line("accept_terms_of_service").is_some(),
        verify: word("ssl_verify").is_none_or(|word| word.text.eq_ignore_ascii_case("on")),
        trusted: word("ssl_trusted_certificate").map(|word| scope.path(&word.text)),
        preferred_chain: word("preferred_chain").map(|word| word.text.clone()),
        resolver: upstream::resolver(http, cx),
        span: name.span,
        ..Issuer::built_in()
    };
    match word("uri") {
        Some(word) => {
            let fine: Option<http::Uri> = word.text.parse().ok();
            let is_fine = fine.is_some_and(|uri| {
                uri.host().is_some_and(|host| !host.is_empty())
                    && matches!(uri.scheme_str(), Some("https" | "http"))
            });
            if !is_fine {
                let told = format!("`{}` is no address of a directory", word.text);
                let problem = Diagnostic::error(Code::BAD_ISSUER, word.span, told);
                cx.report(problem.hint("write it as `https://acme.example.com/directory`"));
            }
            issuer.uri = word.text.clone();
        }
        None if &*issuer.name == Issuer::BUILT_IN => {}
        None => {
            let told = format!("the issuer `{}` has no `uri`", name.text);
            let problem = Diagnostic::error(Code::BAD_ISSUER, name.span, told);
            cx.report(problem.hint("write where its directory is: `uri https://…;`"));
        }
    }
    if let Some(word) = word("account_key") {
        if let Some(kind) = key_kind(&word.text) {
            if kind != Some(KeyKind::EcdsaP256) {
                let told = format!("a key `{}` is not made for accounts", word.text);
                let problem = Diagnostic::warning(Code::ACCOUNT_KEY, word.span, told);
                cx.report(
                    problem.hint("the account has one of `ecdsa:256`, which all authorities take"),
                );
            }
        } else {
            issuer.account_key = Some(scope.path(&word.text));
            if line("external_account_key").is_some() {
                let told = "`account_key` is not used beside `external_account_key`";
                let problem = Diagnostic::warning(Code::ACCOUNT_KEY, word.span, told);
                cx.report(
                    problem.hint("remove it: the account gets a key of its own, which is kept"),
                );
            }
        }
    }
    if let Some(line) = line("challenge") {
        challenge(line, providers, &mut issuer, cx);
    }
    if let Some(line) = line("external_account_key")
        && let [identifier, key] = &line.arguments[..]
    {
        let key = match key.text.strip_prefix("data:") {
            None => Some(MacKey::File(scope.path(&key.text))),
            Some(text) => {
                cx.report(
                    Diagnostic::warning(
                        Code::SECRET_IN_TEXT,
                        key.span,
                        "a secret stands in the configuration",
                    )
                    .hint("keep it in a file and name that"),
                );
                let bytes = MacKey::decode(text);
                if bytes.is_none() {
                    // Without the text: it is a secret, if a mistyped one.
                    let told = "the key after `data:` is not base64url";
                    cx.error(Code::BAD_ISSUER, key.span, told);
                }
                bytes.map(|bytes| MacKey::Literal(bytes.into()))
            }
        };
        issuer.external_account = key.map(|key| ExternalAccount {
            identifier: identifier.text.clone(),
            key,
        });
    }
    if let Some(line) = line("profile") {
        let is_required = match line.arguments.get(1) {
            None => false,
            Some(word) if &*word.text == "require" => true,
            Some(word) => {
                let told = format!("`{}` is no parameter of `profile`", word.text);
                let problem = Diagnostic::error(Code::BAD_ISSUER, word.span, told);
                cx.report(problem.hint("the second word is `require`, or there is none"));
                false
            }
        };
        issuer.profile = line.arguments.first().map(|word| Profile {
            name: word.text.clone(),
            is_required,
        });
    }
    if let Some(word) = word("state_path") {
        if &*word.text == "off" {
            let told = "`state_path off` would forget certificates and accounts at every start";
            let problem = Diagnostic::warning(Code::STATE_IS_KEPT, word.span, told);
            cx.report(problem.hint("they are kept in the state directory; leave the line out"));
        } else {
            issuer.state_path = Some(scope.path(&word.text));
        }
    }
    if let Some(line) = line("retry") {
        let time = |position: usize| unit::time::milliseconds(&line.arguments.get(position)?.text);
        if let Some(least) = time(0) {
            issuer.retry.least = least.max(Duration::from_millis(1));
            issuer.retry.most = time(1).unwrap_or(issuer.retry.most).max(issuer.retry.least);
        }
    }
    Some(issuer)
}

/// An address that the authority may write to, with a scheme.
fn contact(line: &Node) -> Option<Box<str>> {
    let text = &*line.arguments.first()?.text;
    let scheme = text.split(':').next().unwrap_or_default();
    let has_scheme = text.contains(':')
        && scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    Some(match has_scheme {
        true => text.into(),
        false => format!("mailto:{text}").into(),
    })
}

fn challenge(line: &Node, providers: &[Arc<DnsProvider>], issuer: &mut Issuer, cx: &mut Cx) {
    let Some(kind) = line.arguments.first() else {
        return;
    };
    let provider = line.arguments.get(1);
    issuer.challenge = Some(match &*kind.text {
        "http-01" | "http" => ChallengeKind::Http01,
        "tls-alpn-01" | "tls-alpn" => ChallengeKind::TlsAlpn01,
        "dns-01" | "dns" => ChallengeKind::Dns01,
        text => {
            let told = format!("`{text}` is no challenge");
            let problem = Diagnostic::error(Code::BAD_ISSUER, kind.span, told);
            cx.report(problem.hint("use `http-01`, `tls-alpn-01` or `dns-01 PROVIDER`"));
            return;
        }
    });
    match (issuer.challenge, provider) {
        (Some(ChallengeKind::Dns01), Some(word)) => {
            issuer.provider = (providers.iter())
                .find(|provider| provider.name == word.text)
                .cloned();
            if issuer.provider.is_none() {
                let told = format!("there is no DNS provider `{}`", word.text);
                let problem = Diagnostic::error(Code::BAD_ISSUER, word.span, told);
                let known = providers.iter().map(|provider| &*provider.name);
                cx.report(match closest(&word.text, known) {
                    Some(near) => problem.hint(format!("did you mean `{near}`?")),
                    None => problem.hint("define it with `dns_provider NAME { … }`"),
                });
            }
        }
        (Some(ChallengeKind::Dns01), None) => {
            let told = "`dns-01` needs a DNS provider";
            let problem = Diagnostic::error(Code::BAD_ISSUER, kind.span, told);
            cx.report(problem.hint("name one that `dns_provider NAME { … }` defines"));
        }
        (_, Some(word)) => {
            let told = format!("`{}` takes no DNS provider", kind.text);
            cx.error(Code::BAD_ISSUER, word.span, told);
        }
        _ => {}
    }
}

/// `alg[:size]`: `None` if it is no such word, `Some(None)` if there is no key like that.
fn key_kind(text: &str) -> Option<Option<KeyKind>> {
    let (algorithm, size) = text.split_once(':').unwrap_or((text, ""));
    let kind = match (algorithm, size) {
        ("ecdsa", "" | "256") => Some(KeyKind::EcdsaP256),
        ("ecdsa", "384") => Some(KeyKind::EcdsaP384),
        ("ecdsa", "521") => Some(KeyKind::EcdsaP521),
        ("rsa", "" | "2048") => Some(KeyKind::Rsa(2048)),
        ("rsa", "3072") => Some(KeyKind::Rsa(3072)),
        ("rsa", "4096") => Some(KeyKind::Rsa(4096)),
        ("ecdsa" | "rsa", _) => None,
        _ => return None,
    };
    Some(kind)
}

/// What a server is known by, and how a proof could be made.
#[derive(Clone, Copy)]
pub struct Identity<'a> {
    /// Its `server_name`s.
    pub names: &'a PlacedNames,
    /// Its position.
    pub position: usize,
    /// All addresses that are listened at.
    pub listens: &'a [Listen],
}

/// The orders that the `acme_certificate` lines of a server make.
pub fn written(
    scope: &Scope<'_>,
    identity: Identity<'_>,
    issuers: &[Arc<Issuer>],
    cx: &mut Cx,
) -> Vec<Arc<Order>> {
    let mut orders = Vec::new();
    for line in scope.own("acme_certificate") {
        let Some((first, rest)) = line.arguments.split_first() else {
            continue;
        };
        let Some(issuer) = find(first, issuers, cx) else {
            continue;
        };
        let mut key = KeyKind::EcdsaP256;
        let mut names = Names::default();
        for word in rest {
            match word.text.strip_prefix("key=") {
                Some(text) => match key_kind(text) {
                    Some(Some(kind)) => key = kind,
                    _ => {
                        let told = format!("`{text}` is no kind of key");
                        let problem = Diagnostic::error(Code::BAD_KEY_KIND, word.span, told);
                        cx.report(problem.hint(
                            "use `ecdsa:256`, `ecdsa:384`, `ecdsa:521`, `rsa:2048`, `rsa:3072` or `rsa:4096`",
                        ));
                    }
                },
                None => names.add(&word.text, &issuer, word.span, cx),
            }
        }
        let is_listed = rest.iter().any(|word| !word.text.starts_with("key="));
        if !is_listed {
            for (name, span) in identity.names.placed() {
                match name {
                    ServerName::Regex(_) => left_out(span, "a regular expression", cx),
                    _ => {
                        if let Some(text) = text(name) {
                            names.add(&text, &issuer, span, cx);
                        }
                    }
                }
            }
        }
        if names.found.is_empty() {
            if !names.is_refused {
                let told = "there is no name that the certificate could be for";
                let problem = Diagnostic::error(Code::NO_IDENTIFIER, line.name.span, told);
                cx.report(problem.hint("give the server a `server_name`, or list names here"));
            }
            continue;
        }
        orders.push(Arc::new(Order {
            issuers: vec![issuer],
            names: names.found,
            key,
            challenges: challenges(identity),
            span: line.name.span,
        }));
    }
    orders
}

/// Tells where `$acme_certificate` stands and there is nothing that it could stand for.
pub fn stands_for(word: &Word, scope: &Scope<'_>, orders: &[Arc<Order>], cx: &mut Cx) {
    // An order that could not be made was told of.
    if orders.is_empty() && scope.own("acme_certificate").is_empty() {
        let told = format!("`{VARIABLE}` stands for nothing in this server");
        let problem = Diagnostic::error(Code::NO_ACME_CERTIFICATE, word.span, told);
        cx.report(problem.hint("say whom the certificate comes from: `acme_certificate ISSUER;`"));
    }
}

/// The issuers that `acme` names, in order; none if it is off, or names nobody.
pub fn chosen(scope: &Scope<'_>, issuers: &[Arc<Issuer>], cx: &mut Cx) -> Vec<Arc<Issuer>> {
    let line = scope.nearest("acme");
    match line.map(|line| &line.arguments[..]) {
        Some([word]) if &*word.text == "off" => Vec::new(),
        Some(words) => {
            let found = words.iter().filter_map(|word| find(word, issuers, cx));
            found.collect()
        }
        None => {
            // Who writes a single one means it.
            let mut written = issuers
                .iter()
                .filter(|issuer| issuer.span != Span::default());
            let only = written.next().filter(|_| written.next().is_none());
            let mut all = issuers.iter();
            let built_in = all.find(|issuer| &*issuer.name == Issuer::BUILT_IN);
            only.or(built_in).cloned().into_iter().collect()
        }
    }
}

/// The orders for a server of whose certificate nothing is written; `is_on_demand` if names that
/// clients bring may get one.
pub fn automatic(
    scope: &Scope<'_>,
    identity: Identity<'_>,
    server: Span,
    issuers: &[Arc<Issuer>],
    is_on_demand: bool,
    cx: &mut Cx,
) -> Vec<Arc<Order>> {
    let chosen = chosen(scope, issuers, cx);
    if chosen.is_empty() {
        return Vec::new();
    }
    let tell_left_out = |span: Span, what: &str, cx: &mut Cx| {
        // What is known only when a client asks may be got then.
        if !is_on_demand {
            left_out(span, what, cx);
        }
    };
    let named = || {
        let placed = identity.names.placed();
        placed.filter_map(|(name, span)| Some((name, text(name)?, span)))
    };
    // An address needs a kind of certificate that lives for days only; names do better without.
    let has_name = named().any(|(_, text, _)| text.parse::<IpAddr>().is_err() && !is_local(&text));
    let is_wild = chosen
        .iter()
        .all(|issuer| issuer.challenge == Some(ChallengeKind::Dns01));
    let mut public = Names::default();
    let mut local: Vec<Box<str>> = Vec::new();
    for (name, text, span) in named() {
        if is_local(&text) {
            match name {
                ServerName::SelfOrSuffix(_) => {
                    local.push(text[1..].into());
                    local.push(format!("*{text}").into());
                }
                _ => local.push(text.into()),
            }
        } else if matches!(name, ServerName::Prefix(_)) {
            tell_left_out(span, "a name with `*` at its end", cx);
        } else if text.parse::<IpAddr>().is_ok() && has_name {
            tell_left_out(span, "an address beside names", cx);
        } else if matches!(name, ServerName::Suffix(_)) && !is_wild {
            tell_left_out(span, "a wildcard without `challenge dns-01`", cx);
        } else if let Some(issuer) = chosen.first() {
            public.add(&text, issuer, span, cx);
        }
    }
    for (name, span) in identity.names.placed() {
        if matches!(name, ServerName::Regex(_)) {
            tell_left_out(span, "a regular expression", cx);
        }
    }
    local.dedup();
    let order = |issuers, names| {
        Arc::new(Order {
            issuers,
            names,
            key: KeyKind::EcdsaP256,
            challenges: challenges(identity),
            span: server,
        })
    };
    let mut orders = Vec::new();
    if !public.found.is_empty() {
        orders.push(order(chosen, public.found));
    }
    if !local.is_empty() {
        orders.push(order(Vec::new(), local));
    }
    orders
}

fn find(word: &Word, issuers: &[Arc<Issuer>], cx: &mut Cx) -> Option<Arc<Issuer>> {
    let found = issuers.iter().find(|issuer| issuer.name == word.text);
    if found.is_none() {
        let told = format!("there is no issuer `{}`", word.text);
        let problem = Diagnostic::error(Code::UNKNOWN_ISSUER, word.span, told);
        let known = issuers.iter().map(|issuer| &*issuer.name);
        cx.report(match closest(&word.text, known) {
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None => problem.hint("define it with `acme_issuer NAME { uri …; }` in `http`"),
        });
    }
    found.cloned()
}

fn left_out(span: Span, what: &str, cx: &mut Cx) {
    cx.report(Diagnostic::warning(
        Code::NAME_LEFT_OUT,
        span,
        format!("no certificate is got for {what}"),
    ));
}

/// A name of a server as it would be written in an order; `None` for what names nobody.
fn text(name: &ServerName) -> Option<String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    match name {
        ServerName::Exact(name) => text(name).filter(|name| !name.is_empty() && name != "_"),
        ServerName::Suffix(suffix) => text(suffix).map(|suffix| format!("*{suffix}")),
        ServerName::SelfOrSuffix(suffix) => text(suffix),
        ServerName::Prefix(prefix) => text(prefix).map(|prefix| format!("{prefix}*")),
        ServerName::Regex(_) => None,
    }
}

/// The names of one order, each once.
#[derive(Default)]
struct Names {
    found: Vec<Box<str>>,
    /// One was refused, and that was told.
    is_refused: bool,
}

impl Names {
    fn add(&mut self, text: &str, issuer: &Issuer, span: Span, cx: &mut Cx) {
        let is_wild = issuer.challenge == Some(ChallengeKind::Dns01);
        let refused = |reason: &str| {
            Diagnostic::error(
                Code::NO_IDENTIFIER,
                span,
                format!("no certificate can be for `{text}`: {reason}"),
            )
        };
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        let found: Vec<String> = if let Ok(address) = bare.parse::<IpAddr>() {
            if issuer.challenge == Some(ChallengeKind::Dns01) {
                self.is_refused = true;
                cx.report(refused("`dns-01` proves names and no addresses"));
                return;
            }
            vec![address.to_string()]
        } else if let Err(reason) = check(text) {
            self.is_refused = true;
            cx.report(refused(reason));
            return;
        } else {
            let text = text.to_ascii_lowercase();
            match text.strip_prefix('.') {
                // As nginx does; with a challenge that can prove it, what was meant.
                Some(rest) if !is_wild => vec![format!("www.{rest}"), rest.to_owned()],
                Some(rest) => vec![rest.to_owned(), format!("*.{rest}")],
                None if text.starts_with("*.") && !is_wild => {
                    self.is_refused = true;
                    cx.report(refused("a wildcard is proven by `dns-01` only").hint(
                        "set `challenge dns-01 PROVIDER;` in the issuer, or list names instead",
                    ));
                    return;
                }
                None => vec![text],
            }
        };
        for name in found {
            if self.found.iter().any(|known| **known == *name) {
                continue;
            }
            if self.found.len() == MOST_NAMES {
                self.is_refused = true;
                let told = format!("a certificate has at most {MOST_NAMES} names");
                let problem = Diagnostic::error(Code::NO_IDENTIFIER, span, told);
                cx.report(problem.hint("cut the server in two"));
                return;
            }
            self.found.push(name.into());
        }
    }
}

/// Could this be a name in a certificate? With a dot or a `*.` before it, perhaps.
pub fn check(text: &str) -> Result<(), &'static str> {
    let name = text
        .strip_prefix("*.")
        .or(text.strip_prefix('.'))
        .unwrap_or(text);
    if !text.is_ascii() {
        return Err("it must be written as browsers send it, with `xn--`");
    }
    if name.contains('*') {
        return Err("a `*` stands for the first part only");
    }
    if name.len() > LONGEST_NAME {
        return Err("it is too long");
    }
    for label in name.split('.') {
        if label.is_empty() {
            return Err("a part of it is empty");
        }
        if label.len() > 63 {
            return Err("a part of it is too long");
        }
        let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if !label.bytes().all(is_fine) {
            return Err("it has characters that no name has");
        }
    }
    Ok(())
}

/// How the names of a server can be proven: what listens where an authority looks comes first; ports
/// may also be forwarded, so that others are worth a try.
pub fn challenges(identity: Identity<'_>) -> Vec<ChallengeKind> {
    let port = |listen: &Listen| match &listen.address {
        Address::Ip(address) => address.port(),
        Address::Unix(_) => 0,
    };
    let plain = || identity.listens.iter().filter(|listen| !listen.options.ssl);
    let secure = (identity.listens.iter())
        .filter(|listen| listen.options.ssl && listen.servers.contains(&identity.position));
    let is_http_likely = plain().any(|listen| port(listen) == 80);
    let is_tls_likely = secure.into_iter().any(|listen| port(listen) == 443);
    match plain().next() {
        None => vec![ChallengeKind::TlsAlpn01],
        Some(_) if is_tls_likely && !is_http_likely => {
            vec![ChallengeKind::TlsAlpn01, ChallengeKind::Http01]
        }
        Some(_) => vec![ChallengeKind::Http01, ChallengeKind::TlsAlpn01],
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::conf::typed::tls::Certificate;
    use crate::conf::{check, include};

    /// The orders of the first server, and the codes that were told.
    fn lowered(http: &str) -> (Vec<Arc<Order>>, Vec<&'static str>) {
        let text = format!("http {{ {http} }}\n");
        let mut loaded = include::load_text(Path::new("test.conf"), text, Path::new("/"));
        check::check(&mut loaded);
        let config = super::super::config::lower(&mut loaded, Path::new("/"), &[]);
        let codes = loaded.diagnostics.iter().map(|problem| problem.code.name());
        let codes = codes.collect();
        let orders = config.map_or_else(Vec::new, |config| {
            let tls = config
                .http
                .servers
                .first()
                .and_then(|server| server.tls.as_ref());
            let certificates = tls.map_or(&[][..], |tls| &tls.certificates);
            let managed = certificates
                .iter()
                .filter_map(|certificate| match certificate {
                    Certificate::Managed(order) => Some(Arc::clone(order)),
                    _ => None,
                });
            managed.collect()
        });
        (orders, codes)
    }

    fn names(order: &Order) -> String {
        order.names.join(" ")
    }

    #[test]
    fn a_configuration_of_nginx_is_taken_as_it_is() {
        let (orders, codes) = lowered(
            "resolver 127.0.0.1:53;
             acme_issuer example {
                 uri https://acme.example.com/directory;
                 account_key ecdsa:256;
                 challenge http;
                 contact admin@example.test;
                 contact tel:+1;
                 external_account_key kid mac.key;
                 preferred_chain 'Some Root';
                 profile shortlived require;
                 ssl_trusted_certificate ca.pem;
                 ssl_verify off;
                 state_path /var/cache/nginx/acme-example;
                 accept_terms_of_service;
             }
             acme_shared_zone zone=ngx_acme_shared:1M;
             server {
                 listen 443 ssl;
                 server_name .example.test;
                 acme_certificate example key=rsa:4096;
                 ssl_certificate $acme_certificate;
                 ssl_certificate_key $acme_certificate_key;
                 ssl_certificate_cache max=2;
             }
             server { listen 80; location / { return 404; } }",
        );
        // What has no effect is told, and nothing else.
        assert!(
            codes.iter().all(|code| code.starts_with("OC-W0")),
            "{codes:?}"
        );
        assert_eq!(orders.len(), 1);
        let order = &orders[0];
        assert_eq!(names(order), "www.example.test example.test");
        assert_eq!(order.key, KeyKind::Rsa(4096));
        let issuer = &order.issuers[0];
        assert_eq!(issuer.challenge, Some(ChallengeKind::Http01));
        let contacts: Vec<_> = issuer.contacts.iter().map(|contact| &**contact).collect();
        assert_eq!(contacts, ["mailto:admin@example.test", "tel:+1"]);
        assert!(issuer.accepts_terms && !issuer.verify && issuer.resolver.is_some());
        assert!(
            issuer
                .profile
                .as_ref()
                .is_some_and(|profile| profile.is_required)
        );
    }

    #[test]
    fn public_names_get_a_certificate_and_local_ones_another() {
        let (orders, codes) = lowered(
            "server { listen 443 ssl; server_name example.com *.example.com nas.local ~x www.example.*; }
             server { listen 80; }",
        );
        assert_eq!(orders.len(), 2);
        assert_eq!(names(&orders[0]), "example.com");
        assert_eq!(&*orders[0].issuers[0].uri, Issuer::BUILT_IN_URI);
        assert_eq!(
            orders[0].challenges,
            [ChallengeKind::Http01, ChallengeKind::TlsAlpn01]
        );
        assert_eq!(names(&orders[1]), "nas.local");
        assert!(orders[1].issuers.is_empty());
        assert_eq!(codes, ["OC-W220", "OC-W220", "OC-W220"]);
    }

    #[test]
    fn nobody_is_asked_for_a_server_that_has_or_wants_none() {
        for server in [
            "acme off;",
            "ssl_certificate a.pem; ssl_certificate_key a.key;",
            "ssl_reject_handshake on;",
        ] {
            let (orders, codes) = lowered(&format!(
                "server {{ listen 443 ssl; server_name example.com; {server} }}"
            ));
            assert_eq!((orders.len(), codes.len()), (0, 0), "{server}");
        }
        let (orders, _) = lowered("server { listen 443 ssl; server_name _ ''; }");
        assert_eq!(orders.len(), 0);
    }

    #[test]
    fn several_issuers_are_asked_in_their_order_and_the_built_in_one_can_be_another() {
        let (orders, codes) = lowered(
            "acme_issuer letsencrypt { contact a@example.com; }
             acme_issuer other { uri https://ca.example.com/dir; retry 1s; }
             acme other letsencrypt;
             server { listen 443 ssl; server_name example.com; }",
        );
        assert_eq!(codes, [] as [&str; 0]);
        let issuers: Vec<_> = orders[0]
            .issuers
            .iter()
            .map(|issuer| &*issuer.name)
            .collect();
        assert_eq!(issuers, ["other", "letsencrypt"]);
        assert_eq!(orders[0].issuers[0].retry.least, Duration::from_secs(1));
        assert_eq!(&*orders[0].issuers[1].uri, Issuer::BUILT_IN_URI);
        // Nothing listens on port 80 here.
        assert_eq!(orders[0].challenges, [ChallengeKind::TlsAlpn01]);
    }

    #[test]
    fn a_single_issuer_that_is_written_is_the_one_that_is_asked() {
        let one = "acme_issuer ca { uri https://ca.example.com/dir; }";
        let other = "acme_issuer other { uri https://other.example.com/dir; }";
        let server = "server { listen 443 ssl; server_name example.com; }";
        for (text, expected) in [
            (format!("{one} {server}"), "ca"),
            (format!("{one} {other} {server}"), "letsencrypt"),
            (format!("{one} acme letsencrypt; {server}"), "letsencrypt"),
            (server.to_owned(), "letsencrypt"),
        ] {
            let (orders, codes) = lowered(&text);
            assert_eq!(codes, [] as [&str; 0], "{text}");
            assert_eq!(&*orders[0].issuers[0].name, expected, "{text}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_told_with_its_place() {
        let issuer = |text: &str| format!("acme_issuer ca {{ {text} }}");
        let server = |text: &str| format!("server {{ listen 443 ssl; {text} }}");
        let uri = "uri https://ca.example.com/dir;";
        for (text, code) in [
            (issuer(""), "OC-E220"),
            (issuer("uri ca.example.com;"), "OC-E220"),
            (issuer(&format!("{uri} challenge smtp;")), "OC-E220"),
            (issuer(&format!("{uri} challenge dns-01;")), "OC-E220"),
            (
                issuer(&format!("{uri} challenge dns-01 nobody;")),
                "OC-E220",
            ),
            (issuer(&format!("{uri} challenge http-01 zone;")), "OC-E220"),
            (issuer(&format!("{uri} profile a b;")), "OC-E220"),
            (issuer(&format!("{uri} state_path off;")), "OC-W222"),
            (issuer(&format!("{uri} account_key rsa:2048;")), "OC-W221"),
            (
                issuer(&format!(
                    "{uri} account_key own.key; external_account_key kid mac.key;"
                )),
                "OC-W221",
            ),
            (server("acme_certificate nobody a.example.com;"), "OC-E221"),
            (server("acme nobody; server_name a.example.com;"), "OC-E221"),
            (server("acme_certificate letsencrypt;"), "OC-E222"),
            (server("acme_certificate letsencrypt a..b;"), "OC-E222"),
            (server("acme_certificate letsencrypt 'a b';"), "OC-E222"),
            (
                server("acme_certificate letsencrypt *.a.example;"),
                "OC-E222",
            ),
            (
                server("acme_certificate letsencrypt a.example key=dsa;"),
                "OC-E223",
            ),
        ] {
            let (_, codes) = lowered(&text);
            assert_eq!(codes, [code], "{text}");
        }
        let (_, codes) = lowered(&format!("{0} {0}", issuer(uri)));
        assert_eq!(codes, ["OC-E036"]);
    }
}
