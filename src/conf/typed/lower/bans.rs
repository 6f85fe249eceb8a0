//! `auto_ban` and `auto_ban_except`.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::Cx;
use super::scope::{Scope, has_word, parameter};
use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::include::{Node, Word};
use crate::conf::typed::bans::{AutoBan, AutoBans};
use crate::unit;

/// Of one rule; a state has no room for more.
const MOST: u64 = 1_000_000;

/// What a rule says nothing of.
const USUAL_PERIOD: Duration = Duration::from_secs(10 * 60);
const USUAL_TIME: Duration = Duration::from_secs(60 * 60);

/// The longest time in which is counted: what is counted is kept in memory for so long.
const LONGEST_PERIOD: Duration = Duration::from_secs(7 * 86_400);

/// A word of `on=` that is no status.
const LOGIN: &str = "login";

const EXAMPLE: &str = "write `auto_ban 10 in=10m for=1h on=login,403,444;` or `auto_ban off;`";

/// The rules of a place; `None` if there are none.
pub fn auto_bans(scope: &Scope<'_>, cx: &mut Cx) -> Option<AutoBans> {
    let except = except(scope, cx);
    let lines = scope.all("auto_ban");
    if let ([line], true) = (lines, lines.iter().any(|line| has_word(line, "off"))) {
        if line.arguments.len() > 1 {
            refuse(&line.name, "`auto_ban off` takes nothing else", cx);
        }
        return None;
    }
    let rules: Box<[AutoBan]> = lines.iter().filter_map(|line| rule(line, cx)).collect();
    (!rules.is_empty()).then_some(AutoBans { rules, except })
}

fn refuse(word: &Word, message: impl Into<String>, cx: &mut Cx) {
    cx.report(Diagnostic::error(Code::BAD_AUTO_BAN, word.span, message).hint(EXAMPLE));
}

/// The word that starts with a name and `=`, or else the directive.
fn word_of<'a>(line: &'a Node, name: &str) -> &'a Word {
    let mut words = line.arguments.iter();
    words
        .find(|word| {
            word.text
                .strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('='))
        })
        .unwrap_or(&line.name)
}

fn rule(line: &Node, cx: &mut Cx) -> Option<AutoBan> {
    let first = line.arguments.first()?;
    if &*first.text == "off" {
        refuse(first, "`off` stands beside other rules", cx);
        return None;
    }
    let count = unit::decimal(&first.text).filter(|count| (1..=MOST).contains(count));
    if count.is_none() {
        let message = format!("`{}` is not a number from 1 to {MOST}", first.text);
        refuse(first, message, cx);
    }
    let mut time = |name: &str, usual: Duration, most: Duration| {
        let Some(text) = parameter(line, name) else {
            return Some(usual);
        };
        let time = unit::time::seconds(text);
        let time = time.filter(|time| (Duration::from_secs(1)..=most).contains(time));
        if time.is_none() {
            let message = format!(
                "`{text}` is not a time from 1s to {}d",
                most.as_secs() / 86_400
            );
            refuse(word_of(line, name), message, cx);
        }
        time
    };
    let period = time("in", USUAL_PERIOD, LONGEST_PERIOD);
    let duration = time("for", USUAL_TIME, Duration::from_secs(3650 * 86_400));
    let mut statuses = Vec::new();
    let mut counts_logins = false;
    let Some(on) = parameter(line, "on") else {
        refuse(
            &line.name,
            "`auto_ban` does not say which answers count",
            cx,
        );
        return None;
    };
    for text in on.split(',') {
        let status = text
            .parse()
            .ok()
            .filter(|status| (400..=599).contains(status));
        match (text, status) {
            (LOGIN, _) => counts_logins = true,
            (_, Some(status)) => statuses.push(status),
            (_, None) => {
                let message = format!("`{text}` is neither a status from 400 to 599 nor `{LOGIN}`");
                refuse(word_of(line, "on"), message, cx);
            }
        }
    }
    statuses.sort_unstable();
    statuses.dedup();
    let (count, period, time) = (count? as u32, period?, duration?);
    let mut hasher = DefaultHasher::new();
    (count, period, &statuses, counts_logins).hash(&mut hasher);
    Some(AutoBan {
        count,
        period,
        time,
        statuses: statuses.into(),
        counts_logins,
        digest: hasher.finish(),
    })
}

fn except(scope: &Scope<'_>, cx: &mut Cx) -> Box<[IpNet]> {
    let mut networks = Vec::new();
    for word in (scope.all("auto_ban_except").iter()).flat_map(|line| &line.arguments) {
        let address = word.text.parse::<IpAddr>();
        let network = match address {
            Ok(address) => Ok(IpNet::from(address.to_canonical())),
            Err(_) => word.text.parse::<IpNet>(),
        };
        match network {
            Ok(network) => networks.push(network.trunc()),
            Err(_) => cx.report(
                Diagnostic::error(
                    Code::BAD_AUTO_BAN,
                    word.span,
                    format!("`{}` is neither an address nor a network", word.text),
                )
                .hint("for example 192.0.2.7 or 2001:db8::/32"),
            ),
        }
    }
    networks.into()
}
