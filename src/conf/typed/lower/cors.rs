//! `cors`.

use super::Cx;
use super::scope::Scope;
use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::include::Word;
use crate::conf::typed::cors::{Cors, Origin};
use crate::unit;

/// What other sites may do where nothing is said of methods.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";

/// What a place lets other sites do; `None` if nothing is said of them.
pub fn cors(scope: &Scope<'_>, cx: &mut Cx) -> Option<Cors> {
    let line = scope.nearest("cors")?;
    if let [word] = line.arguments.as_slice()
        && &*word.text == "off"
    {
        return None;
    }
    let mut cors = Cors {
        origins: Box::default(),
        methods: METHODS.as_bytes().into(),
        headers: None,
        expose: None,
        credentials: false,
        max_age: None,
    };
    let mut origins = Vec::new();
    let mut stars = Vec::new();
    let mut is_named = false;
    for word in &line.arguments {
        if let Some((name @ ("methods" | "headers" | "expose"), list)) = word.text.split_once('=') {
            if list == "*" {
                stars.push(word);
            }
            let value = list_of(word, list, cx).into_bytes().into();
            match name {
                "methods" => cors.methods = value,
                "headers" => cors.headers = Some(value),
                _ => cors.expose = Some(value),
            }
        } else if let Some(time) = word.text.strip_prefix("max_age=") {
            match unit::time::seconds(time) {
                Some(time) => cors.max_age = Some(time.as_secs().to_string().into_bytes().into()),
                None => cx.error(
                    Code::NOT_A_DURATION,
                    word.span,
                    format!("`{time}` is not a time"),
                ),
            }
        } else if &*word.text == "credentials" {
            cors.credentials = true;
        } else {
            if &*word.text == "*" {
                stars.push(word);
            }
            is_named = true;
            origins.extend(origin(word, cx));
        }
    }
    if !is_named {
        cx.report(
            Diagnostic::error(
                Code::BAD_ORIGIN,
                line.name.span,
                "`cors` does not say whose pages are meant",
            )
            .hint("name their origins, for example `https://app.example.com`, or write `*`"),
        );
    }
    if cors.credentials {
        for word in stars {
            cx.report(
                Diagnostic::error(
                    Code::OPEN_CREDENTIALS,
                    word.span,
                    format!("`{}` and `credentials` exclude each other", word.text),
                )
                .hint("browsers refuse it, since any page could act for its visitors: name them"),
            );
        }
    }
    cors.origins = origins.into();
    Some(cors)
}

/// A list with commas as the field has it.
fn list_of(word: &Word, list: &str, cx: &mut Cx) -> String {
    let is_token = |byte: u8| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(&byte);
    let names: Vec<&str> = list.split(',').map(str::trim).collect();
    for name in &names {
        if name.is_empty() || !name.bytes().all(is_token) {
            cx.error(
                Code::BAD_FIELD_NAME,
                word.span,
                format!("`{name}` is not the name of a method or field"),
            );
        }
    }
    names.join(", ")
}

fn origin(word: &Word, cx: &mut Cx) -> Option<Origin> {
    let text = &*word.text;
    if text == "*" {
        return Some(Origin::Any);
    }
    if let Some(pattern) = text.strip_prefix('~') {
        if !pattern.starts_with('^') || !pattern.ends_with('$') {
            cx.report(
                Diagnostic::warning(
                    Code::OPEN_ORIGIN,
                    word.span,
                    format!("`{text}` also matches origins that only contain what is meant"),
                )
                .hint("begin the expression with `^` and end it with `$`"),
            );
        }
        return Some(Origin::Regex(cx.regex(word, pattern, false)?));
    }
    let mut refuse = |reason: &str, hint: &str| {
        cx.report(
            Diagnostic::error(
                Code::BAD_ORIGIN,
                word.span,
                format!("`{text}` is not an origin: {reason}"),
            )
            .hint(hint),
        );
        None
    };
    let lower = text.to_ascii_lowercase();
    let Some((scheme, host)) = lower.split_once("://") else {
        return refuse(
            "it has no scheme",
            "write it as browsers do, for example `https://app.example.com`",
        );
    };
    if host.contains(['/', '?', '#', '@']) || !host.is_ascii() {
        return refuse(
            "it is more than scheme, host and port",
            "leave out everything behind the host and its port, a `/` at the end too",
        );
    }
    let name = host.split(':').next().unwrap_or_default();
    if host.ends_with(":80") && scheme == "http" || host.ends_with(":443") && scheme == "https" {
        return refuse(
            "browsers leave the usual port out",
            "leave the port out here too",
        );
    }
    match host.strip_prefix("*.") {
        Some(domain) if !domain.is_empty() && !domain.contains('*') => Some(Origin::Below(
            format!("{scheme}://").into_bytes().into(),
            format!(".{domain}").into_bytes().into(),
        )),
        None if !host.is_empty() && !name.contains('*') => {
            Some(Origin::Exact(lower.into_bytes().into()))
        }
        _ => refuse(
            "a `*` stands for the names below a domain",
            "for example `https://*.example.com`",
        ),
    }
}
