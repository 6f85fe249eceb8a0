//! `alert` and `alert_heartbeat`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::scope::{Scope, has_word, parameter};
use super::{Cx, secret};
use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::include::{Node, Word};
use crate::conf::typed::alerts::{Alerts, FORMATS, Format, Heartbeat, Receiver};
use crate::conf::typed::secret::SecretSource;
use crate::unit;

const EXAMPLE: &str =
    "write `alert ops https://hooks.example.com/x secret=file:/etc/openclaw/hook;`";

/// How often is asked for where nothing is said.
const USUAL_PAUSE: Duration = Duration::from_secs(60);

/// What `http {}` says of alerts.
pub fn alerts(http: &Scope<'_>, cx: &mut Cx) -> Alerts {
    let mut alerts = Alerts::default();
    for line in http.own("alert") {
        let Some(receiver) = receiver(line, http, cx) else {
            continue;
        };
        let is_it = |known: &&Arc<Receiver>| known.name == receiver.name;
        if let Some(first) = alerts.receivers.iter().find(is_it) {
            let message = format!("the alert `{}` stands twice", receiver.name);
            let problem = Diagnostic::error(Code::DUPLICATE, receiver.span, message);
            cx.report(problem.label(first.span, "first here"));
            continue;
        }
        alerts.receivers.push(Arc::new(receiver));
    }
    if let Some(line) = http.own("alert_heartbeat").first() {
        alerts.heartbeat = heartbeat(line, http, cx);
    }
    alerts
}

fn refuse(word: &Word, message: String, cx: &mut Cx) {
    cx.report(Diagnostic::error(Code::BAD_ALERT, word.span, message).hint(EXAMPLE));
}

fn receiver(line: &Node, http: &Scope<'_>, cx: &mut Cx) -> Option<Receiver> {
    let [name, url, words @ ..] = line.arguments.as_slice() else {
        return None;
    };
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.text.is_empty() || name.text.len() > 64 || !name.text.bytes().all(is_fit) {
        let message = format!("`{}` cannot be the name of an alert", name.text);
        refuse(name, message, cx);
        return None;
    }
    let allows_private = has_word(line, "private");
    let mut receiver = Receiver {
        name: name.text.clone(),
        url: address(url, allows_private, http, cx)?,
        format: Format::Json,
        secrets: Vec::new(),
        events: Vec::new(),
        allows_private,
        span: name.span,
    };
    for word in words {
        let value = |name: &str| word.text.strip_prefix(name);
        if let Some(text) = value("format=") {
            match FORMATS.iter().find(|(known, _)| *known == text) {
                Some((_, format)) => receiver.format = *format,
                None => {
                    let known = FORMATS.map(|(known, _)| format!("`{known}`")).join(", ");
                    let message = format!("`{text}` is none of {known}");
                    refuse(word, message, cx);
                }
            }
        } else if let Some(text) = value("secret=") {
            let of_it = Word {
                text: text.into(),
                ..word.clone()
            };
            receiver.secrets.push(secret::secret(&of_it, http, cx));
        } else if let Some(text) = value("events=") {
            receiver.events = text.split(',').map(Box::from).collect();
            if text.split(',').any(str::is_empty) {
                refuse(word, "`events=` names an empty kind".to_owned(), cx);
            }
        }
    }
    if receiver.secrets.len() > 2 {
        refuse(
            name,
            "more than two secrets sign nothing better".to_owned(),
            cx,
        );
    }
    Some(receiver)
}

/// A URL, or where one is.
fn address(
    word: &Word,
    allows_private: bool,
    http: &Scope<'_>,
    cx: &mut Cx,
) -> Option<SecretSource> {
    let source = secret::public(word, http, cx);
    let SecretSource::Literal(text) = &source else {
        return Some(source);
    };
    let uri: Option<http::Uri> = text.parse().ok();
    let uri = uri.filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
    let Some(host) = uri.as_ref().and_then(|uri| uri.host()) else {
        refuse(word, format!("`{text}` is not a URL"), cx);
        return None;
    };
    let literal = host.trim_matches(['[', ']']).parse::<IpAddr>();
    if literal.is_ok_and(|address| !unit::address::is_public(address)) && !allows_private {
        let message = format!("`{host}` is in a private network");
        let problem = Diagnostic::error(Code::BAD_ALERT, word.span, message);
        cx.report(problem.hint("add `private` if that is meant"));
    }
    Some(source)
}

fn heartbeat(line: &Node, http: &Scope<'_>, cx: &mut Cx) -> Option<Heartbeat> {
    let url = line.arguments.first()?;
    let allows_private = has_word(line, "private");
    let every = match parameter(line, "every").map(unit::time::seconds) {
        None => USUAL_PAUSE,
        Some(Some(every)) if every >= Duration::from_secs(1) => every,
        Some(_) => {
            refuse(
                url,
                "`every=` is not a time of a second or more".to_owned(),
                cx,
            );
            return None;
        }
    };
    Some(Heartbeat {
        url: address(url, allows_private, http, cx)?,
        every,
        allows_private,
    })
}
