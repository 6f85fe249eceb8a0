//! `dns_provider {}`.

use std::sync::Arc;
use std::time::Duration;

use super::Cx;
use super::listen::split_port;
use super::scope::Scope;
use super::secret::{public, secret};
use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::include::{Node, Word};
use crate::conf::typed::acme_dns::{DnsApi, DnsProvider, Transport, TsigAlgorithm};
use crate::unit;

/// The longest `propagation`: an order does not wait for ever.
const LONGEST_PROPAGATION: Duration = Duration::from_secs(3600);

/// The longest name that DNS can carry (RFC 1035 section 2.3.4), as text.
const LONGEST_NAME: usize = 253;

/// What a provider needs, and what it takes besides.
struct Shape {
    api: &'static str,
    /// Its usual address; empty where there is none.
    url: &'static str,
    needed: &'static [&'static str],
    optional: &'static [&'static str],
}

const TOKEN: &[&str] = &["api_token"];
const URL: &[&str] = &["api_url"];

const SHAPES: &[Shape] = &[
    Shape {
        api: "acme-dns",
        url: "",
        needed: &["api_url", "username", "password", "subdomain"],
        optional: &[],
    },
    Shape {
        api: "cloudflare",
        url: "https://api.cloudflare.com/client/v4",
        needed: TOKEN,
        optional: URL,
    },
    Shape {
        api: "desec",
        url: "https://desec.io/api/v1",
        needed: TOKEN,
        optional: URL,
    },
    Shape {
        api: "digitalocean",
        url: "https://api.digitalocean.com/v2",
        needed: TOKEN,
        optional: URL,
    },
    Shape {
        api: "duckdns",
        url: "https://www.duckdns.org",
        needed: TOKEN,
        optional: URL,
    },
    Shape {
        api: "exec",
        url: "",
        needed: &[],
        optional: &["exec_timeout"],
    },
    Shape {
        api: "gandi",
        url: "https://api.gandi.net/v5/livedns",
        needed: TOKEN,
        optional: URL,
    },
    Shape {
        api: "hetzner",
        url: "https://api.hetzner.cloud/v1",
        needed: TOKEN,
        optional: URL,
    },
    Shape {
        api: "hetzner-console",
        url: "https://dns.hetzner.com/api/v1",
        needed: TOKEN,
        optional: URL,
    },
    Shape {
        api: "ovh",
        url: "https://eu.api.ovh.com/1.0",
        needed: &["application_key", "application_secret", "consumer_key"],
        optional: &["endpoint", "api_url"],
    },
    Shape {
        api: "porkbun",
        url: "https://api.porkbun.com/api/json/v3",
        needed: &["api_key", "api_secret"],
        optional: URL,
    },
    Shape {
        api: "rfc2136",
        url: "",
        needed: &["server", "tsig_key", "tsig_secret"],
        optional: &["tsig_algorithm", "transport"],
    },
    Shape {
        api: "route53",
        url: "https://route53.amazonaws.com",
        needed: &["access_key", "secret_key"],
        optional: &["session_token", "api_url"],
    },
];

/// What every block may have.
const COMMON: &[&str] = &["provider", "exec", "zone", "propagation", "include"];

/// Every `dns_provider {}`; a name stands once.
pub fn providers(http: &Scope<'_>, cx: &mut Cx) -> Vec<Arc<DnsProvider>> {
    let mut providers: Vec<Arc<DnsProvider>> = Vec::new();
    for node in http.own("dns_provider") {
        let Some(found) = provider(node, http, cx) else {
            continue;
        };
        match providers.iter().find(|known| known.name == found.name) {
            Some(first) => cx.report(
                Diagnostic::error(
                    Code::DUPLICATE,
                    found.span,
                    format!("the DNS provider `{}` stands twice", found.name),
                )
                .label(first.span, "first here"),
            ),
            None => providers.push(Arc::new(found)),
        }
    }
    providers
}

fn provider(node: &Node, http: &Scope<'_>, cx: &mut Cx) -> Option<DnsProvider> {
    let name = node.arguments.first()?;
    let block = node.block.as_deref()?;
    let scope = http.inside(block);
    let line = |name: &str| scope.own(name).first().copied();
    let (chosen, shape) = match (line("provider"), line("exec")) {
        (Some(line), None) => {
            let word = line.arguments.first()?;
            // What is no word of `provider` was told by the check.
            let shape = SHAPES.iter().find(|shape| shape.api == &*word.text)?;
            (word, shape)
        }
        (None, Some(exec)) => {
            let shape = SHAPES.iter().find(|shape| shape.api == "exec")?;
            (&exec.name, shape)
        }
        (Some(line), Some(exec)) => {
            cx.report(
                Diagnostic::error(
                    Code::BAD_DNS_PROVIDER,
                    exec.name.span,
                    "`exec` beside `provider`: one of them answers challenges",
                )
                .label(line.span, "the other one")
                .hint("keep one of them"),
            );
            return None;
        }
        (None, None) => {
            cx.report(
                Diagnostic::error(
                    Code::BAD_DNS_PROVIDER,
                    name.span,
                    format!("the DNS provider `{}` has no `provider`", name.text),
                )
                .hint("add a line such as `provider cloudflare;`, or `exec PROGRAM;`"),
            );
            return None;
        }
    };
    let is_whole = fits(shape, chosen, block, cx);
    let api = match is_whole {
        true => api(shape, &scope, cx),
        false => None,
    };
    let zone = line("zone").and_then(|line| zone(line.arguments.first()?, cx));
    let propagation = propagation(&scope, cx);
    Some(DnsProvider {
        name: name.text.clone(),
        api: api?,
        zone,
        propagation,
        span: name.span,
    })
}

/// Does the block have what the provider needs, and nothing else? Tells what is wrong.
fn fits(shape: &Shape, chosen: &Word, block: &[Node], cx: &mut Cx) -> bool {
    let takes = || {
        let needed = shape.needed.iter().map(|name| format!("`{name}`"));
        let optional = shape.optional.iter().map(|name| format!("`{name}`"));
        let mut text = needed.collect::<Vec<_>>().join(", ");
        let optional = optional.collect::<Vec<_>>().join(", ");
        if !optional.is_empty() {
            let joint = if text.is_empty() { "" } else { ", perhaps " };
            text = format!("{text}{joint}{optional}");
        }
        format!("`{}` takes {text}", shape.api)
    };
    let mut is_fine = true;
    for line in block {
        let name = &*line.name.text;
        if ![COMMON, shape.needed, shape.optional]
            .iter()
            .any(|names| names.contains(&name))
        {
            is_fine = false;
            cx.report(
                Diagnostic::error(
                    Code::BAD_DNS_PROVIDER,
                    line.name.span,
                    format!("`{}` takes no `{name}`", shape.api),
                )
                .label(chosen.span, "this one")
                .hint(takes()),
            );
        }
    }
    for name in shape.needed {
        if !block.iter().any(|line| &*line.name.text == *name) {
            is_fine = false;
            cx.report(
                Diagnostic::error(
                    Code::BAD_DNS_PROVIDER,
                    chosen.span,
                    format!("`{}` needs `{name}`", shape.api),
                )
                .hint(takes()),
            );
        }
    }
    is_fine
}

fn api(shape: &Shape, scope: &Scope<'_>, cx: &mut Cx) -> Option<DnsApi> {
    let word = |name: &str| scope.own(name).first()?.arguments.first();
    let url = match word("api_url") {
        Some(word) => url(word, cx)?,
        None if shape.api == "ovh" => match scope.text("endpoint") {
            "ovh-ca" => "https://ca.api.ovh.com/1.0",
            "ovh-us" => "https://api.us.ovhcloud.com/1.0",
            _ => shape.url,
        }
        .into(),
        None => shape.url.into(),
    };
    let mut secret = |name: &str| word(name).map(|word| secret(word, scope, cx));
    Some(match shape.api {
        "acme-dns" => DnsApi::AcmeDns {
            url,
            password: secret("password")?,
            username: public(word("username")?, scope, cx),
            subdomain: name(word("subdomain")?, "a part of a name", cx)?,
        },
        "cloudflare" => DnsApi::Cloudflare {
            url,
            token: secret("api_token")?,
        },
        "desec" => DnsApi::Desec {
            url,
            token: secret("api_token")?,
        },
        "digitalocean" => DnsApi::DigitalOcean {
            url,
            token: secret("api_token")?,
        },
        "duckdns" => DnsApi::DuckDns {
            url,
            token: secret("api_token")?,
        },
        "exec" => {
            let line = scope.own("exec").first()?;
            let mut command: Vec<Box<str>> = (line.arguments.iter())
                .map(|word| word.text.clone())
                .collect();
            let program = command.first_mut()?;
            *program = scope.path_text(program).into();
            DnsApi::Exec {
                command,
                timeout: scope.time("exec_timeout"),
            }
        }
        "gandi" => DnsApi::Gandi {
            url,
            token: secret("api_token")?,
        },
        "hetzner" => DnsApi::Hetzner {
            url,
            token: secret("api_token")?,
        },
        "hetzner-console" => DnsApi::HetznerConsole {
            url,
            token: secret("api_token")?,
        },
        "ovh" => DnsApi::Ovh {
            url,
            application_secret: secret("application_secret")?,
            consumer_key: secret("consumer_key")?,
            application_key: public(word("application_key")?, scope, cx),
        },
        "porkbun" => DnsApi::Porkbun {
            url,
            key: secret("api_key")?,
            secret: secret("api_secret")?,
        },
        "route53" => DnsApi::Route53 {
            url,
            secret_key: secret("secret_key")?,
            session_token: secret("session_token"),
            access_key: public(word("access_key")?, scope, cx),
        },
        "rfc2136" => {
            let secret = secret("tsig_secret")?;
            let server = word("server")?;
            let (host, port) = match split_port(&server.text) {
                Some((host, port)) if !host.is_empty() => (host, port.unwrap_or(53)),
                _ => {
                    let told = format!("invalid address `{}` of a name server", server.text);
                    let problem = Diagnostic::error(Code::BAD_ADDRESS, server.span, told);
                    cx.report(problem.hint("write HOST, HOST:PORT or [IPv6]:PORT"));
                    return None;
                }
            };
            DnsApi::Rfc2136 {
                host: host.into(),
                port,
                transport: match scope.text("transport") {
                    "udp" => Transport::Udp,
                    _ => Transport::Tcp,
                },
                key: name(word("tsig_key")?, "the name of a key", cx)?,
                algorithm: match scope.text("tsig_algorithm") {
                    "hmac-sha512" => TsigAlgorithm::HmacSha512,
                    _ => TsigAlgorithm::HmacSha256,
                },
                secret,
            }
        }
        _ => return None,
    })
}

/// An address of HTTP without a `/` at its end.
fn url(word: &Word, cx: &mut Cx) -> Option<Box<str>> {
    let text = word.text.trim_end_matches('/');
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let is_fine = host.is_some_and(|host| {
        let sign = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/[]%".contains(&byte);
        !host.is_empty() && !host.starts_with(['/', ':']) && host.bytes().all(sign)
    });
    if is_fine {
        return Some(text.into());
    }
    cx.report(
        Diagnostic::error(
            Code::BAD_ADDRESS,
            word.span,
            format!("`{}` is no address of an interface", word.text),
        )
        .hint("write `https://HOST/PATH` without a query"),
    );
    None
}

fn zone(word: &Word, cx: &mut Cx) -> Option<Box<str>> {
    name(word, "the name of a zone", cx)
}

/// A name of DNS in lower case, without a dot at its end.
fn name(word: &Word, what: &str, cx: &mut Cx) -> Option<Box<str>> {
    let text = word.text.strip_suffix('.').unwrap_or(&word.text);
    let is_label = |label: &str| {
        let sign = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&label.len()) && label.bytes().all(sign)
    };
    if text.len() <= LONGEST_NAME && text.split('.').all(is_label) {
        return Some(text.to_ascii_lowercase().into());
    }
    cx.report(
        Diagnostic::error(
            Code::BAD_ADDRESS,
            word.span,
            format!("`{}` is not {what}", word.text),
        )
        .hint(
            "names are ASCII (`xn--…` for others): letters, digits and `-`, parts joined by dots",
        ),
    );
    None
}

fn propagation(scope: &Scope<'_>, cx: &mut Cx) -> Option<Duration> {
    let text = scope.text("propagation");
    if text == "off" {
        return None;
    }
    match unit::time::milliseconds(text) {
        Some(time) if time.is_zero() => None,
        Some(time) => Some(time.min(LONGEST_PROPAGATION)),
        None => {
            if let Some(word) = scope
                .own("propagation")
                .first()
                .and_then(|line| line.arguments.first())
            {
                cx.report(
                    Diagnostic::error(
                        Code::NOT_A_DURATION,
                        word.span,
                        format!("`{text}` is not a duration"),
                    )
                    .hint("write a time such as `90s`, or `off` to not wait"),
                );
            }
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{nodes, problems};
    use super::*;
    use crate::conf::directives;
    use std::path::Path;

    fn lowered(text: &str) -> (Vec<Arc<DnsProvider>>, String) {
        let nodes = nodes(text);
        let mut cx = Cx::new(&nodes);
        let scope = Scope::outermost(&nodes, Path::new("/etc/openclaw"));
        let found = providers(&scope, &mut cx);
        (found, problems(&cx))
    }

    fn told(inside: &str) -> String {
        lowered(&format!("dns_provider zone {{ {inside} }}")).1
    }

    #[test]
    fn every_word_of_provider_has_a_shape_and_every_parameter_a_row() {
        for api in directives::PROVIDERS {
            assert!(SHAPES.iter().any(|shape| shape.api == *api), "`{api}`");
        }
        assert_eq!(SHAPES.len(), directives::PROVIDERS.len() + 1, "and `exec`");
        for name in SHAPES
            .iter()
            .flat_map(|shape| [shape.needed, shape.optional])
            .flatten()
        {
            let context = directives::Contexts::DNS_PROVIDER;
            assert!(directives::find(name, context).is_some(), "`{name}`");
        }
    }

    #[test]
    fn every_provider_is_built_from_what_it_needs() {
        for shape in SHAPES.iter().filter(|shape| shape.api != "exec") {
            let parameters = shape.needed.iter().map(|name| match *name {
                "api_url" => "api_url https://dns.example.org/;".to_owned(),
                "subdomain" | "tsig_key" => format!("{name} Example;"),
                "server" => "server [2001:db8::1];".to_owned(),
                name => format!("{name} env:VALUE;"),
            });
            let parameters: String = parameters.collect();
            let text = format!(
                "dns_provider zone {{ provider {}; {parameters} }}",
                shape.api
            );
            let (found, told) = lowered(&text);
            assert_eq!(told, "", "{text}");
            assert_eq!(found[0].api.name(), shape.api);
            assert_eq!(found[0].propagation, Some(Duration::from_secs(120)));
            let shown = format!("{:?}", found[0]);
            assert!(shown.contains(shape.url.trim_end_matches('/')), "{shown}");
        }
    }

    #[test]
    fn what_is_missing_and_what_is_needless_is_told_each() {
        assert_eq!(
            told("provider route53; api_token env:X; access_key AKIA;"),
            "OC-E170 `route53` takes no `api_token`\nOC-E170 `route53` needs `secret_key`\n"
        );
        assert_eq!(
            told("zone example.org;"),
            "OC-E170 the DNS provider `zone` has no `provider`\n"
        );
        assert_eq!(
            told("provider desec; api_token env:X; exec /hook;"),
            "OC-E170 `exec` beside `provider`: one of them answers challenges\n"
        );
        assert_eq!(
            told("exec /hook; api_url https://a.example;"),
            "OC-E170 `exec` takes no `api_url`\n"
        );
    }

    #[test]
    fn the_hint_lists_what_the_provider_takes() {
        let nodes = nodes("dns_provider zone { provider ovh; exec_ x; }");
        let mut cx = Cx::new(&nodes);
        providers(&Scope::outermost(&nodes, Path::new("/")), &mut cx);
        assert_eq!(
            cx.diagnostics[0].hint.as_deref(),
            Some(
                "`ovh` takes `application_key`, `application_secret`, `consumer_key`, perhaps \
                 `endpoint`, `api_url`"
            )
        );
    }

    #[test]
    fn a_secret_in_the_text_is_warned_of_and_never_shown() {
        let text = "dns_provider zone { provider cloudflare; api_token 9f86d081884c7d65; }";
        let (found, told) = lowered(text);
        assert_eq!(told, "OC-W170 a secret stands in the configuration\n");
        assert!(!format!("{:?}", found[0]).contains("9f86d081884c7d65"));
        // The key of an account is no secret, its password is.
        let text = "provider acme-dns; api_url http://127.0.0.1:1; username a; password file:p; subdomain b;";
        assert_eq!(self::told(text), "");
    }

    #[test]
    fn places_of_secrets_are_read_and_relative_files_start_at_the_prefix() {
        let token = |word: &str| {
            let (found, told) = lowered(&format!(
                "dns_provider z {{ provider desec; api_token {word}; }}"
            ));
            assert_eq!(told, "");
            match &found[0].api {
                DnsApi::Desec { token, .. } => token.to_string(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(token("env:TOKEN_1"), "env:TOKEN_1");
        assert_eq!(token("file:keys/desec"), "file:/etc/openclaw/keys/desec");
        assert_eq!(token("credential:desec.token"), "credential:desec.token");
        for wrong in [
            "env:",
            "env:1A",
            "env:A-B",
            "file:",
            "credential:../a",
            "credential:",
            "''",
        ] {
            let told = told(&format!("provider desec; api_token {wrong};"));
            assert!(told.starts_with("OC-E171 "), "{wrong}: {told}");
        }
    }

    #[test]
    fn values_that_make_no_sense_are_refused() {
        for (wrong, code) in [
            ("zone -_.example..org;", "OC-E140"),
            ("zone 'exämple.org';", "OC-E140"),
            ("propagation soon;", "OC-E044"),
            ("api_url ftp://a.example;", "OC-E140"),
            ("api_url https:///path;", "OC-E140"),
            ("api_url 'https://a.example/?q=1';", "OC-E140"),
        ] {
            let told = told(&format!("provider desec; api_token env:X; {wrong}"));
            assert!(
                told.starts_with(code) && told.lines().count() == 1,
                "{wrong}: {told}"
            );
        }
        let told = told("provider rfc2136; server :53; tsig_key k; tsig_secret env:X;");
        assert!(told.starts_with("OC-E140"), "{told}");
    }

    #[test]
    fn waiting_for_servers_is_bounded_or_off() {
        let wait = |text: &str| {
            lowered(&format!(
                "dns_provider z {{ provider desec; api_token env:X; {text} }}"
            ))
            .0[0]
                .propagation
        };
        assert_eq!(wait("propagation 90s;"), Some(Duration::from_secs(90)));
        assert_eq!(wait("propagation 30d;"), Some(LONGEST_PROPAGATION));
        assert_eq!(wait("propagation off;"), None);
        assert_eq!(wait("propagation 0;"), None);
    }

    #[test]
    fn the_program_of_exec_is_found_below_the_prefix_and_keeps_its_arguments() {
        let (found, told) =
            lowered("dns_provider z { exec hooks/dns --zone a.example; exec_timeout 5s; }");
        assert_eq!(told, "");
        let DnsApi::Exec { command, timeout } = &found[0].api else {
            panic!("{:?}", found[0].api);
        };
        let command: Vec<&str> = command.iter().map(|word| &**word).collect();
        assert_eq!(command, ["/etc/openclaw/hooks/dns", "--zone", "a.example"]);
        assert_eq!(*timeout, Duration::from_secs(5));
    }

    #[test]
    fn a_provider_stands_once() {
        let one = "dns_provider a { provider desec; api_token env:X; }";
        let (found, told) = lowered(&format!("{one} {one}"));
        assert_eq!(found.len(), 1);
        assert_eq!(told, "OC-E036 the DNS provider `a` stands twice\n");
    }

    #[test]
    fn the_parts_of_ovh_have_their_own_addresses() {
        let url = |text: &str| {
            let keys = "application_key a; application_secret env:B; consumer_key env:C;";
            let (found, _) = lowered(&format!("dns_provider z {{ provider ovh; {keys} {text} }}"));
            match &found[0].api {
                DnsApi::Ovh { url, .. } => url.clone(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(&*url(""), "https://eu.api.ovh.com/1.0");
        assert_eq!(&*url("endpoint ovh-us;"), "https://api.us.ovhcloud.com/1.0");
        assert_eq!(
            &*url("api_url http://127.0.0.1:8/1.0/;"),
            "http://127.0.0.1:8/1.0"
        );
    }
}
