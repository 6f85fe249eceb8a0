//! `acme_on_demand`.

use std::sync::Arc;
use std::time::Duration;

use super::Cx;
use super::acme::{self, Identity};
use super::scope::Scope;
use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::include::Word;
use crate::conf::typed::acme::Issuer;
use crate::conf::typed::on_demand::{OnDemand, Pattern, Rate};
use crate::unit;

const DIRECTIVE: &str = "acme_on_demand";

/// The most names that can be held: each costs some kilobytes of memory, and a look now and then.
const MOST_NAMES: usize = 100_000;

/// The most new names that are counted within a time.
const MOST_COUNTED: usize = 100_000;

/// What a server may get for names that its clients bring; `None` if it gets nothing.
pub fn of_server(
    scope: &Scope<'_>,
    identity: Identity<'_>,
    issuers: &[Arc<Issuer>],
    cx: &mut Cx,
) -> Option<Arc<OnDemand>> {
    let line = scope.nearest(DIRECTIVE)?;
    if let [word] = &line.arguments[..]
        && &*word.text == "off"
    {
        return None;
    }
    let mut found = OnDemand {
        issuers: acme::chosen(scope, issuers, cx),
        challenges: acme::challenges(identity),
        patterns: Vec::new(),
        ask: None,
        limit: Rate {
            count: 20,
            within: Duration::from_secs(3600),
        },
        most: 1000,
        inactive: Duration::from_secs(30 * 86_400),
        wait: Duration::from_secs(30),
        span: line.name.span,
    };
    let mut is_wrong = false;
    for word in &line.arguments {
        let taken = take(word, &mut found, cx);
        is_wrong |= taken.is_none();
    }
    if is_wrong {
        return None;
    }
    if found.issuers.is_empty() {
        let told = "nobody is asked for certificates here: `acme off` stands in force";
        let problem = Diagnostic::warning(Code::ON_DEMAND_WITHOUT_RULE, line.name.span, told);
        cx.report(problem.hint("name the issuers with `acme ISSUER;`, or leave it out"));
        return None;
    }
    if found.patterns.is_empty() && found.ask.is_none() {
        let told = "no certificate is got on demand: nothing says for which names";
        let problem = Diagnostic::warning(Code::ON_DEMAND_WITHOUT_RULE, line.name.span, told);
        cx.report(problem.hint(
            "add `allow=*.example.com` for names below yours, or `ask=http://127.0.0.1:9000/` for a \
             service of yours that knows them",
        ));
        return None;
    }
    Some(Arc::new(found))
}

/// Tells of a line in a server that speaks no TLS.
pub fn warn_without_tls(scope: &Scope<'_>, cx: &mut Cx) {
    if let Some(line) = scope.own(DIRECTIVE).first() {
        let told = "no certificate is got on demand: the server does not listen with `ssl`";
        let problem = Diagnostic::warning(Code::ON_DEMAND_WITHOUT_RULE, line.name.span, told);
        cx.report(
            problem.hint("write `listen 443 ssl;`, or move the line to the server that does"),
        );
    }
}

/// Takes one word of the line; `None` if that was told to be wrong.
fn take(word: &Word, found: &mut OnDemand, cx: &mut Cx) -> Option<()> {
    let time = |text: &str| unit::time::milliseconds(text).filter(|time| !time.is_zero());
    let a_time = "write a time, as in `30s`, `1h` or `30d`";
    let Some((name, value)) = word.text.split_once('=') else {
        wrong(
            word,
            "is no parameter of `acme_on_demand`",
            "it has `allow=`, `ask=`, `limit=`, `most=`, `inactive=` and `wait=`, or `off` alone",
            cx,
        );
        return None;
    };
    match name {
        "allow" => {
            let pattern = match value.strip_prefix('~') {
                Some(pattern) => Pattern::Regex(Box::new(cx.regex(word, pattern, true)?)),
                None => match pattern(value) {
                    Ok(pattern) => pattern,
                    Err(reason) => {
                        wrong(
                            word,
                            reason,
                            "write `www.example.com`, `*.example.com`, `.example.com` or \
                             `~^[a-z]+\\.example\\.com$`",
                            cx,
                        );
                        return None;
                    }
                },
            };
            found.patterns.push(pattern);
        }
        "ask" => {
            let is_fine = value.parse::<http::Uri>().is_ok_and(|uri| {
                matches!(uri.scheme_str(), Some("http" | "https"))
                    && uri.host().is_some_and(|host| !host.is_empty())
                    && !value.contains('#')
            });
            if !is_fine {
                wrong(
                    word,
                    "is no address that can be asked",
                    "write it as `ask=http://127.0.0.1:9000/allowed`; `?domain=NAME` is added",
                    cx,
                );
                return None;
            }
            found.ask = Some(value.into());
        }
        "limit" => {
            let rate = value.split_once('/').and_then(|(count, within)| {
                let count = count.parse().ok();
                let count = count.filter(|count| (1..=MOST_COUNTED).contains(count))?;
                // `20/h` is `20/1h`.
                let within = match within.starts_with(|first: char| first.is_ascii_digit()) {
                    true => time(within),
                    false => time(&format!("1{within}")),
                };
                Some(Rate {
                    count,
                    within: within?,
                })
            });
            let Some(rate) = rate else {
                wrong(
                    word,
                    "is no number of names within a time",
                    "write it as `limit=20/1h`",
                    cx,
                );
                return None;
            };
            found.limit = rate;
        }
        "most" => {
            let most = value.parse().ok();
            let Some(most) = most.filter(|most| (1..=MOST_NAMES).contains(most)) else {
                wrong(
                    word,
                    "is no number of names",
                    "write a number from 1 to 100000",
                    cx,
                );
                return None;
            };
            found.most = most;
        }
        "inactive" => match time(value) {
            Some(time) => found.inactive = time,
            None => {
                wrong(word, "is no time", a_time, cx);
                return None;
            }
        },
        "wait" => match time(value) {
            Some(time) => found.wait = time,
            None => {
                wrong(word, "is no time", a_time, cx);
                return None;
            }
        },
        _ => {
            wrong(
                word,
                "is no parameter of `acme_on_demand`",
                "it has `allow=`, `ask=`, `limit=`, `most=`, `inactive=` and `wait=`, or `off` alone",
                cx,
            );
            return None;
        }
    }
    Some(())
}

fn wrong(word: &Word, what: &str, hint: &str, cx: &mut Cx) {
    let told = format!("`{}` {what}", word.text);
    let problem = Diagnostic::error(Code::BAD_ON_DEMAND, word.span, told);
    cx.report(problem.hint(hint));
}

/// A name or a wildcard, as `server_name` has them.
fn pattern(text: &str) -> Result<Pattern, &'static str> {
    let text = text.to_ascii_lowercase();
    let bare = text.trim_start_matches("*.").trim_start_matches('.');
    if bare.parse::<std::net::IpAddr>().is_ok() {
        return Err("is an address: those get no certificate on demand");
    }
    if !bare.contains('.') {
        return Err("has no dot in it: such names get no certificate on demand");
    }
    acme::check(&text)
        .map(|()| match text.strip_prefix('*') {
            Some(suffix) => Pattern::Below(suffix.into()),
            None if text.starts_with('.') => Pattern::NameAndBelow(text.into()),
            None => Pattern::Name(text.into()),
        })
        .map_err(|_| "is no name that a certificate can be for")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::conf::{check, include};

    /// What the first server may get, and the codes that were told.
    fn lowered(http: &str) -> (Option<Arc<OnDemand>>, Vec<&'static str>) {
        let text = format!("http {{ {http} }}\n");
        let mut loaded = include::load_text(Path::new("test.conf"), text, Path::new("/"));
        check::check(&mut loaded);
        let config = super::super::config::lower(&mut loaded, Path::new("/"), &[]);
        let codes = loaded.diagnostics.iter().map(|problem| problem.code.name());
        let found = config.and_then(|config| {
            let tls = config.http.servers.first()?.tls.as_ref()?;
            tls.on_demand.clone()
        });
        (found, codes.collect())
    }

    #[test]
    fn a_rule_is_inherited_and_says_who_may_have_a_certificate() {
        let (found, codes) = lowered(
            r"acme_on_demand allow=*.Shop.example.com allow=.own.example allow=a.example.net
                 allow=~^x[0-9]+\.example\.org$ ask=http://127.0.0.1:9000/allowed?key=1
                 limit=5/10m most=50 inactive=7d wait=5s;
              server { listen 443 ssl default_server; server_name ~^.+$; }",
        );
        // The regular expression gets its names by asking, so nothing is left out.
        assert_eq!(codes, [] as [&str; 0]);
        let found = found.expect("a rule");
        for name in [
            "a.shop.example.com",
            "a.b.shop.example.com",
            "own.example",
            "x.own.example",
            "a.example.net",
            "x12.example.org",
        ] {
            assert!(found.admits(name), "{name}");
        }
        for name in [
            "shop.example.com",
            ".shop.example.com",
            "ashop.example.com",
            "xown.example",
            "b.a.example.net",
            "x.example.org",
            "x1.example.org.evil.net",
        ] {
            assert!(!found.admits(name), "{name}");
        }
        assert_eq!(found.limit.count, 5);
        assert_eq!(found.limit.within, Duration::from_secs(600));
        assert_eq!((found.most, found.wait.as_secs()), (50, 5));
        assert_eq!(found.inactive, Duration::from_secs(7 * 86_400));
    }

    #[test]
    fn nothing_is_got_where_nothing_says_for_whom() {
        let server = "server { listen 443 ssl; server_name a.example.com; %; }";
        for (line, codes) in [
            ("acme_on_demand limit=1/h", &["OC-W225"][..]),
            ("acme off; acme_on_demand allow=*.example.com", &["OC-W225"]),
            ("acme_on_demand off", &[]),
        ] {
            let (found, told) = lowered(&server.replace('%', line));
            assert!(found.is_none(), "{line}");
            assert_eq!(told, codes, "{line}");
        }
        let (_, told) = lowered("server { listen 80; acme_on_demand allow=*.example.com; }");
        assert_eq!(told, ["OC-W225"]);
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for word in [
            "on",
            "allow=",
            "allow=local",
            "allow=192.0.2.1",
            "allow=*.com.*",
            "allow=a..b",
            "ask=127.0.0.1",
            "ask=ftp://a.example/",
            "limit=5",
            "limit=0/h",
            "limit=5/x",
            "most=0",
            "most=many",
            "inactive=0",
            "wait=soon",
            "mots=5",
        ] {
            let (_, told) = lowered(&format!(
                "server {{ listen 443 ssl; server_name a.example.com; acme_on_demand {word}; }}"
            ));
            assert_eq!(told, ["OC-E225"], "{word}");
        }
        let (_, told) = lowered("server { listen 443 ssl; acme_on_demand allow=~(; }");
        assert_eq!(told.len(), 1);
    }
}
