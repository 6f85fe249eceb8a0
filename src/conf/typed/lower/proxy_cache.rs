//! `proxy_cache` with its family.

use std::sync::Arc;

use super::Cx;
use super::scope::Scope;
use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::include::Node;
use crate::conf::template::{Part, Template};
use crate::conf::typed::cache_path::CachePath;
use crate::conf::typed::proxy::{NextUpstream, SetField};
use crate::conf::typed::proxy_cache::{CacheZone, Ignored, ProxyCache, Valid};
use crate::conf::variable::{Core, Variable};
use crate::unit;

/// The cache of a place where `proxy_pass` is in force; `None` where there is none.
pub fn proxy_cache(
    scope: &Scope<'_>,
    caches: &[Arc<CachePath>],
    set_fields: &[SetField],
    cx: &mut Cx,
) -> Option<Box<ProxyCache>> {
    // What is wrong is told where nothing is stored too.
    let valid = valid(scope, cx);
    let status_name = status_name(scope, cx);
    let line = scope.nearest("proxy_cache")?;
    let word = line.arguments.first()?;
    if &*word.text == "off" {
        return None;
    }
    let zone = match word.text.contains('$') {
        true => CacheZone::Computed(cx.template(word)),
        false => match caches.iter().position(|cache| *cache.name == *word.text) {
            Some(position) => CacheZone::Known(position),
            None => {
                let problem = Diagnostic::error(
                    Code::UNKNOWN_CACHE_ZONE,
                    word.span,
                    format!("the cache zone `{}` is unknown", word.text),
                );
                cx.report(problem.hint(match caches {
                    [] => "define it in `http {}`: `proxy_cache_path DIRECTORY keys_zone=NAME:10m;`"
                        .to_owned(),
                    caches => {
                        let names: Vec<_> =
                            caches.iter().map(|cache| format!("`{}`", cache.name)).collect();
                        format!("zones of `proxy_cache_path` are {}", names.join(", "))
                    }
                }));
                return None;
            }
        },
    };
    if !scope.flag("proxy_buffering") {
        cx.report(
            Diagnostic::warning(
                Code::CACHE_WITHOUT_BUFFERING,
                line.span,
                "nothing is stored where `proxy_buffering` is off",
            )
            .hint("remove `proxy_buffering off;`, or say `proxy_cache off;` here"),
        );
    }
    let key = (scope.nearest("proxy_cache_key")).map(|_| scope.template("proxy_cache_key", cx));
    let has = |test: &dyn Fn(&Variable) -> bool| {
        key.as_ref().is_some_and(|key| holds_variable(key, test))
    };
    let key_has_slice = has(&|variable| *variable == Variable::Core(Core::SliceRange));
    if let Some(slice) = scope.nearest("slice").filter(|_| scope.size("slice") > 0) {
        let is_asked_for = set_fields.iter().any(|field| {
            field.name.eq_ignore_ascii_case(b"range")
                && holds_variable(&field.value, &|variable| {
                    *variable == Variable::Core(Core::SliceRange)
                })
        });
        let lacks = match (key_has_slice, is_asked_for) {
            (true, true) => None,
            (false, _) => Some((
                "the key of the cache lacks `$slice_range`",
                "proxy_cache_key $scheme$proxy_host$request_uri$slice_range;",
            )),
            (true, false) => Some((
                "the peer is not asked for them",
                "proxy_set_header Range $slice_range;",
            )),
        };
        if let Some((why, remedy)) = lacks {
            cx.report(
                Diagnostic::warning(
                    Code::SLICES_NOT_STORED,
                    slice.span,
                    format!("slices are not stored in `{}`: {why}", word.text),
                )
                .hint(format!("say `{remedy}`")),
            );
        }
    }
    Some(Box::new(ProxyCache {
        zone,
        key_host: match &key {
            Some(_) => None,
            None => host_of_client(set_fields),
        },
        key_is_personal: has(&|variable| match variable {
            Variable::Core(Core::RemoteUser) => true,
            Variable::Http(name) => **name == *b"authorization",
            _ => false,
        }),
        key_has_slice,
        key_has_body: has(&|variable| *variable == Variable::Core(Core::RequestBody)),
        checks_type: scope.flag("proxy_cache_check_type")
            && !has(&|variable| matches!(variable, Variable::Http(name) if **name == *b"cookie")),
        key,
        valid,
        takes_post: (scope.nearest("proxy_cache_methods")).is_some_and(|line| {
            let mut words = line.arguments.iter();
            words.any(|word| word.text.eq_ignore_ascii_case("POST"))
        }),
        min_uses: u32::try_from(scope.number("proxy_cache_min_uses")).unwrap_or(u32::MAX),
        bypass: predicates("proxy_cache_bypass", scope, cx),
        no_cache: predicates("proxy_no_cache", scope, cx),
        purge: predicates("proxy_cache_purge", scope, cx),
        lock: scope.flag("proxy_cache_lock"),
        lock_age: scope.time("proxy_cache_lock_age"),
        lock_timeout: scope.time("proxy_cache_lock_timeout"),
        use_stale: use_stale(scope),
        use_stale_updating: (scope.nearest("proxy_cache_use_stale"))
            .is_some_and(|line| super::scope::has_word(line, "updating")),
        background_update: (scope.nearest("proxy_cache_background_update"))
            .map(|_| scope.flag("proxy_cache_background_update")),
        revalidate: scope.flag("proxy_cache_revalidate"),
        convert_head: scope.flag("proxy_cache_convert_head"),
        max_range_offset: (scope.nearest("proxy_cache_max_range_offset"))
            .and_then(|_| unit::size::offset(scope.text("proxy_cache_max_range_offset"))),
        strip_cookies: scope.flag("proxy_cache_strip_cookies"),
        client_control: scope.flag("proxy_cache_client_control"),
        status_name,
        ignored: ignored(scope),
    }))
}

/// What the peer is told as its host, if clients have a say in it.
fn host_of_client(set_fields: &[SetField]) -> Option<Template> {
    let host = set_fields
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case(b"host"))?;
    let is_ours = |part: &Part| match part {
        Part::Text(_) => true,
        // It is in the key already.
        Part::Variable(variable) => *variable == Variable::Core(Core::ProxyHost),
        Part::Capture(_) => false,
    };
    (!host.value.parts().iter().all(is_ours)).then(|| host.value.clone())
}

fn holds_variable(template: &Template, test: &dyn Fn(&Variable) -> bool) -> bool {
    template
        .parts()
        .iter()
        .any(|part| matches!(part, Part::Variable(variable) if test(variable)))
}

fn predicates(name: &str, scope: &Scope<'_>, cx: &mut Cx) -> Vec<Template> {
    let lines: Vec<&Node> = scope.all(name).to_vec();
    let words = lines.iter().flat_map(|line| &line.arguments);
    words.map(|word| cx.template(word)).collect()
}

/// Every `proxy_cache_valid`: statuses and a time, or a time alone for those that nginx takes then.
fn valid(scope: &Scope<'_>, cx: &mut Cx) -> Vec<Valid> {
    let mut all = Vec::new();
    for line in scope.all("proxy_cache_valid") {
        let Some((time, statuses)) = line.arguments.split_last() else {
            continue;
        };
        let Some(seconds) = unit::time::seconds(&time.text) else {
            let problem = Diagnostic::error(
                Code::BAD_CACHE_VALID,
                time.span,
                format!("invalid time `{}`", time.text),
            );
            cx.report(problem.hint("a time stands last, e.g. `proxy_cache_valid 200 302 10m;`"));
            continue;
        };
        let seconds = seconds.as_secs();
        if statuses.is_empty() {
            let usual = [200, 301, 302].map(|status| Valid {
                status: Some(status),
                seconds,
            });
            all.extend(usual);
        }
        for word in statuses {
            let status = match &*word.text {
                "any" => None,
                text => match unit::decimal(text).filter(|status| (100..=599).contains(status)) {
                    Some(status) => Some(status as u16),
                    None => {
                        cx.report(
                            Diagnostic::error(
                                Code::BAD_CACHE_VALID,
                                word.span,
                                format!("invalid status `{text}`"),
                            )
                            .hint("a status is a number from 100 to 599, or `any`"),
                        );
                        continue;
                    }
                },
            };
            all.push(Valid { status, seconds });
        }
    }
    all
}

fn use_stale(scope: &Scope<'_>) -> NextUpstream {
    let Some(line) = scope.nearest("proxy_cache_use_stale") else {
        return NextUpstream::default();
    };
    (line.arguments.iter()).fold(NextUpstream::default(), |set, word| {
        set.or(NextUpstream::of_word(&word.text).unwrap_or_default())
    })
}

/// The name that `Cache-Status` gives us: a token of structured fields (RFC 9211 section 2).
fn status_name(scope: &Scope<'_>, cx: &mut Cx) -> Option<Box<[u8]>> {
    let word = scope.nearest("proxy_cache_status")?.arguments.first()?;
    let is_token = |text: &str| {
        text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '*')
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte))
    };
    match &*word.text {
        "off" => None,
        text if is_token(text) => Some(text.as_bytes().into()),
        text => {
            cx.report(
                Diagnostic::error(
                    Code::BAD_CACHE_NAME,
                    word.span,
                    format!("`{text}` is no name for a cache"),
                )
                .hint("a name begins with a letter and has no spaces, e.g. `edge-1`; or say `off`"),
            );
            None
        }
    }
}

fn ignored(scope: &Scope<'_>) -> Ignored {
    let words = scope.all("proxy_ignore_headers");
    let words = words.iter().flat_map(|line| &line.arguments);
    words.fold(Ignored::NOTHING, |set, word| {
        set.or(match word.text.to_ascii_lowercase().as_str() {
            "x-accel-expires" => Ignored::X_ACCEL_EXPIRES,
            "cache-control" => Ignored::CACHE_CONTROL,
            "expires" => Ignored::EXPIRES,
            "set-cookie" => Ignored::SET_COOKIE,
            "vary" => Ignored::VARY,
            _ => Ignored::NOTHING,
        })
    })
}
