//! `proxy_store`, `proxy_store_access`.

use super::Cx;
use super::scope::Scope;
use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::typed::proxy::Store;

/// Where the answers of a place become files; `None` where they do not.
pub fn proxy_store(scope: &Scope<'_>, cx: &mut Cx) -> Option<Box<Store>> {
    let access = access(scope, cx);
    // The nearest level that speaks of either decides; both there exclude each other.
    let (stores, caches) = scope.all_of(["proxy_store", "proxy_cache"]);
    let is_on = |text: &str| text != "off";
    let word = stores.first()?.arguments.first()?;
    let cache = (caches.first()).and_then(|line| line.arguments.first());
    if !is_on(&word.text) {
        return None;
    }
    if let Some(cache) = cache.filter(|cache| is_on(&cache.text)) {
        let problem = Diagnostic::error(
            Code::STORE_AND_CACHE,
            word.span,
            "answers cannot be kept by `proxy_store` and by `proxy_cache` at once",
        );
        cx.report(
            problem
                .label(cache.span, "the other one")
                .hint("keep one of them; a cache knows how long an answer is good"),
        );
        return None;
    }
    let path = match &*word.text {
        "on" => None,
        text if text.starts_with('$') => Some(cx.template(word)),
        text => Some(cx.template_of(word, &scope.path_text(text))),
    };
    Some(Box::new(Store { path, access }))
}

/// Is the cache that a place inherits left aside because answers become files there?
pub fn hides_cache(scope: &Scope<'_>) -> bool {
    let (stores, caches) = scope.all_of(["proxy_store", "proxy_cache"]);
    let word = stores.first().and_then(|line| line.arguments.first());
    caches.is_empty() && word.is_some_and(|word| &*word.text != "off")
}

/// The rights of files: what is said of each kind of user; the owner may do both unless it is said.
fn access(scope: &Scope<'_>, cx: &mut Cx) -> u32 {
    let (mut owner, mut access) = (0o600, 0);
    let words = scope.nearest("proxy_store_access");
    for word in words.iter().flat_map(|line| &line.arguments) {
        let (who, rights) = word.text.split_once(':').unwrap_or((&word.text, ""));
        let shift = match who {
            "user" => {
                owner = 0;
                6
            }
            "group" => 3,
            "all" => 0,
            _ => 9,
        };
        let rights = match rights {
            "r" => 4,
            "rw" => 6,
            _ => 0,
        };
        if shift == 9 || rights == 0 {
            let problem = Diagnostic::error(
                Code::BAD_STORE_ACCESS,
                word.span,
                format!("`{}` says of nobody what they may do", word.text),
            );
            cx.report(problem.hint("for example `user:rw group:r all:r`"));
            continue;
        }
        access |= rights << shift;
    }
    owner | access
}
