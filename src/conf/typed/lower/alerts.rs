//! `alert` and `alert_heartbeat`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::scope::{Scope, has_word, parameter};
use super::{Cx, secret};
use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::include::{Node, Word};
use crate::conf::typed::alerts::{
    Alerts, ErrorRule, FAILING, FORMATS, Format, Heartbeat, Mail, MailSecurity, Receiver,
    SpikeFloor, USUAL_ERRORS, USUAL_FLOOR,
};
use crate::conf::typed::secret::SecretSource;
use crate::unit;
use crate::unit::money::Money;

const EXAMPLE: &str =
    "write `alert ops https://hooks.example.com/x secret=file:/etc/openclaw/hook;`";

const MAIL_EXAMPLE: &str =
    "write `alert mail smtps://mail.example.com from=proxy@example.com to=me@example.com;`";

/// How often is asked for where nothing is said.
const USUAL_PAUSE: Duration = Duration::from_secs(60);

/// Within how long failures may be counted: longer, and too much would have to be read.
const WITHIN: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(10)..=Duration::from_secs(3600);

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
    alerts.spike = match http.own("alert_spike").first() {
        Some(line) => spike(line, cx),
        None => Some(USUAL_FLOOR),
    };
    let errors = http.own("alert_errors");
    match errors.first() {
        None => alerts.errors.push(USUAL_ERRORS),
        Some(line) if errors.len() == 1 && has_word(line, "off") => {}
        Some(_) => {
            let rules = errors.iter().filter_map(|line| error_rule(line, cx));
            alerts.errors.extend(rules);
        }
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
    let is_mail = url.text.starts_with("smtp:") || url.text.starts_with("smtps:");
    let mail = match is_mail {
        true => Some(mail(url, words, allows_private, http, cx)?),
        false => None,
    };
    let mut receiver = Receiver {
        name: name.text.clone(),
        url: match is_mail {
            true => SecretSource::Literal(url.text.clone()),
            false => address(url, allows_private, http, cx)?,
        },
        mail,
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
        } else if !is_mail && &*word.text != "private" {
            let message = format!("`{}` is for an alert by `smtp://` alone", word.text);
            refuse(word, message, cx);
        }
    }
    if is_mail && (has_word_of(line, "format=") || !receiver.secrets.is_empty()) {
        let message = "a letter has neither a format nor a signature".to_owned();
        refuse(url, message, cx);
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

fn has_word_of(line: &Node, name: &str) -> bool {
    line.arguments
        .iter()
        .any(|word| word.text.starts_with(name))
}

fn refuse_mail(word: &Word, message: String, cx: &mut Cx) {
    cx.report(Diagnostic::error(Code::BAD_ALERT, word.span, message).hint(MAIL_EXAMPLE));
}

/// `smtp://mail.example.com to=… from=…`
fn mail(
    url: &Word,
    words: &[Word],
    allows_private: bool,
    http: &Scope<'_>,
    cx: &mut Cx,
) -> Option<Mail> {
    let uri: Option<http::Uri> = url.text.parse().ok();
    let uri = uri.filter(|uri| matches!(uri.path(), "" | "/") && uri.query().is_none());
    let authority = uri.as_ref().and_then(|uri| uri.authority());
    let authority = authority.filter(|authority| !authority.as_str().contains('@'));
    let Some((uri, authority)) = uri.as_ref().zip(authority) else {
        let message = format!("`{}` is not `smtp://` or `smtps://` and a host", url.text);
        refuse_mail(url, message, cx);
        return None;
    };
    let host = authority.host().trim_matches(['[', ']']);
    let literal = host.parse::<IpAddr>();
    if literal.is_ok_and(|address| !unit::address::is_public(address)) && !allows_private {
        let message = format!("`{host}` is in a private network");
        let problem = Diagnostic::error(Code::BAD_ALERT, url.span, message);
        cx.report(problem.hint("add `private` if that is meant"));
    }
    let is_tls = uri.scheme_str() == Some("smtps");
    let is_plain = words.iter().any(|word| &*word.text == "plain");
    let mut mail = Mail {
        host: host.into(),
        port: authority
            .port_u16()
            .unwrap_or(if is_tls { 465 } else { 587 }),
        security: match (is_tls, is_plain) {
            (true, _) => MailSecurity::Tls,
            (_, true) => MailSecurity::Plain,
            _ => MailSecurity::StartTls,
        },
        from: Box::default(),
        to: Vec::new(),
        login: None,
        authorities: None,
    };
    let (mut user, mut password) = (None, None);
    for word in words {
        let value = |name: &str| word.text.strip_prefix(name);
        if let Some(text) = value("to=") {
            mail.to = text.split(',').map(Box::from).collect();
            for wrong in text.split(',').filter(|text| !is_mailbox(text)) {
                refuse_mail(word, format!("`{wrong}` is not an address of mail"), cx);
            }
        } else if let Some(text) = value("from=") {
            mail.from = text.into();
            if !is_mailbox(text) {
                refuse_mail(word, format!("`{text}` is not an address of mail"), cx);
            }
        } else if let Some(text) = value("ca=") {
            mail.authorities = Some(http.path_beside_conf(text));
            if text.is_empty() {
                refuse_mail(word, "`ca=` names no file".to_owned(), cx);
            } else if is_plain {
                let message = "`ca=` is for a server with TLS, not for one that is `plain`";
                refuse_mail(word, message.to_owned(), cx);
            }
        } else if let Some(text) = value("user=") {
            user = Some(text);
        } else if let Some(text) = value("password=") {
            let of_it = Word {
                text: text.into(),
                ..word.clone()
            };
            password = Some(secret::secret(&of_it, http, cx));
        }
    }
    if mail.to.is_empty() || mail.from.is_empty() {
        let message = "it is not said `from=` whom and `to=` whom letters are".to_owned();
        refuse_mail(url, message, cx);
        return None;
    }
    if user.is_some() != password.is_some() {
        let message = "`user=` and `password=` go together".to_owned();
        refuse_mail(url, message, cx);
    }
    if is_plain && (password.is_some() || is_tls) {
        let message = "`plain` is for a server without TLS and without a password".to_owned();
        refuse_mail(url, message, cx);
    }
    mail.login = user.map(Box::from).zip(password);
    Some(mail)
}

/// An address as the commands of SMTP take it without quotes (RFC 5321, section 4.1.2).
fn is_mailbox(text: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_graphic() && !b"<>()[]\\,;:\"".contains(&byte);
    let parts = text.split_once('@');
    let is_whole =
        |(user, host): (&str, &str)| !user.is_empty() && !host.is_empty() && !host.contains('@');
    text.len() <= 254 && text.bytes().all(is_fit) && parts.is_some_and(is_whole)
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

fn spike(line: &Node, cx: &mut Cx) -> Option<SpikeFloor> {
    let word = line.arguments.first()?;
    if &*word.text == "off" && line.arguments.len() == 1 {
        return None;
    }
    let mut floor = USUAL_FLOOR;
    let mut refuse = |word: &Word, message: String| {
        let example = "write `alert_spike 5 tokens=2m;`: dollars in ten minutes, or `off`";
        cx.report(Diagnostic::error(Code::BAD_ALERT_RULE, word.span, message).hint(example));
    };
    match Money::parse(&word.text).filter(|money| *money > Money::ZERO) {
        Some(money) => floor.money = money,
        None => refuse(word, format!("`{}` is not an amount in dollars", word.text)),
    }
    for word in &line.arguments[1..] {
        let tokens = word.text.strip_prefix("tokens=").unwrap_or_default();
        match count(tokens) {
            Some(tokens) => floor.tokens = tokens,
            None => refuse(word, format!("`{tokens}` is not a number of tokens")),
        }
    }
    Some(floor)
}

/// A count as people write it: `60`, `200k`, `2m`.
fn count(text: &str) -> Option<u64> {
    let (digits, times) = match text.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1000),
        None => match text.strip_suffix(['m', 'M']) {
            Some(digits) => (digits, 1_000_000),
            None => (text, 1),
        },
    };
    let count = unit::decimal(digits)?.checked_mul(times)?;
    (count > 0).then_some(count)
}

fn error_rule(line: &Node, cx: &mut Cx) -> Option<ErrorRule> {
    let mut is_good = true;
    let mut refuse = |word: &Word, message: String| {
        let example = "write `alert_errors provider 25% least=20 within=5m attempts;`";
        cx.report(Diagnostic::error(Code::BAD_ALERT_RULE, word.span, message).hint(example));
        is_good = false;
    };
    let [failing, limit, words @ ..] = line.arguments.as_slice() else {
        let word = line.arguments.first()?;
        refuse(
            word,
            "it is not said how many failures are too many".to_owned(),
        );
        return None;
    };
    let known = FAILING.iter().find(|(known, _)| *known == &*failing.text);
    let mut rule = ErrorRule {
        share: None,
        ..USUAL_ERRORS
    };
    match known {
        Some((_, known)) => rule.failing = *known,
        None => {
            let known = FAILING.map(|(known, _)| format!("`{known}`")).join(", ");
            refuse(failing, format!("`{}` is none of {known}", failing.text));
        }
    }
    match limit.text.strip_suffix('%') {
        Some(share) => {
            let share = unit::decimal(share).and_then(|share| u8::try_from(share).ok());
            rule.share = share.filter(|share| (1..=100).contains(share));
        }
        None => rule.count = count(&limit.text),
    }
    if rule.share.is_none() && rule.count.is_none() {
        let message = format!("`{}` is neither a number nor a part like `25%`", limit.text);
        refuse(limit, message);
    }
    for word in words {
        let value = |name: &str| word.text.strip_prefix(name);
        if let Some(text) = value("least=") {
            match count(text) {
                Some(least) => rule.least = least,
                None => refuse(word, format!("`{text}` is not a number")),
            }
        } else if let Some(text) = value("within=") {
            match unit::time::seconds(text).filter(|within| WITHIN.contains(within)) {
                Some(within) => rule.within = within,
                None => refuse(word, format!("`{text}` is not a time from 10 s to 1 h")),
            }
        } else if &*word.text == "attempts" {
            rule.of_attempts = true;
        }
    }
    is_good.then_some(rule)
}
