//! `limit_req_zone`, `limit_req`, `limit_conn_zone`, `limit_conn` and what belongs to them.

use super::Cx;
use super::scope::{Scope, has_word, parameter};
use crate::conf::check::closest;
use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::include::{Node, Word};
use crate::conf::typed::limits::{
    Burst, ConnectionLimit, LimitZones, Limits, Manner, REQUEST, RequestLimit, RequestZone, Zone,
};
use crate::conf::typed::log::Level;
use crate::unit;

/// nginx wants eight pages.
const SMALLEST_ZONE: u64 = 8 * 4096;

/// More than a machine has, but no more than can be reckoned with.
const LARGEST_ZONE: u64 = 1 << 34;

/// As many requests as an excess has room for.
const MOST_AHEAD: u64 = 4_000_000;

/// The highest rate, in requests.
const MOST_RATE: u64 = 1_000_000_000;

/// Every zone of `http {}`, those that stand inside of a server too.
pub fn zones(http: &Scope<'_>, cx: &mut Cx) -> LimitZones {
    let mut zones = LimitZones::default();
    let mut requests: Vec<&Node> = Vec::new();
    let mut connections: Vec<&Node> = Vec::new();
    add_zones(http.own("limit_req_zone"), false, &mut requests, cx);
    add_zones(http.own("limit_conn_zone"), false, &mut connections, cx);
    for server in http.own("server") {
        let scope = http.inside(server.block.as_deref().unwrap_or_default());
        add_zones(scope.own("limit_req_zone"), true, &mut requests, cx);
        add_zones(scope.own("limit_conn_zone"), true, &mut connections, cx);
    }
    for line in requests {
        zones.requests.extend(request_zone(line, cx));
    }
    for line in connections {
        let Some(zone) = zone(line, cx) else { continue };
        let other = (zones.requests.iter()).find(|other| other.zone.name == zone.name);
        if let Some(other) = other {
            cx.report(
                Diagnostic::error(
                    Code::ZONE_TWICE,
                    line.name.span,
                    format!("the zone `{}` is one of `limit_req_zone`", zone.name),
                )
                .label(other.zone.span, "this one")
                .hint("give each a name of its own"),
            );
        }
        zones.connections.push(zone);
    }
    zones
}

/// Adds the lines of one block. A zone is one for all servers, so the same line may stand in several
/// of them and is meant once.
fn add_zones<'a>(lines: &[&'a Node], is_in_server: bool, into: &mut Vec<&'a Node>, cx: &mut Cx) {
    for &line in lines {
        if is_in_server {
            cx.report(
                Diagnostic::warning(
                    Code::ZONE_IN_SERVER,
                    line.name.span,
                    format!("`{}` stands inside of a server", line.name.text),
                )
                .hint("the zone is shared by all servers as if it stood in `http`: move it there"),
            );
        }
        let name = |node: &Node| name_of(node).map(str::to_owned);
        let Some(first) = into.iter().find(|known| name(known) == name(line)) else {
            into.push(line);
            continue;
        };
        let words = |node: &'a Node| node.arguments.iter().map(|word| &*word.text);
        if is_in_server && words(first).eq(words(line)) {
            continue;
        }
        cx.report(
            Diagnostic::error(
                Code::ZONE_TWICE,
                line.name.span,
                format!("the zone `{}` stands twice", name(line).unwrap_or_default()),
            )
            .label(first.name.span, "first here")
            .hint("a zone is one for all servers: keep one line, or give each its own name"),
        );
    }
}

fn name_of(line: &Node) -> Option<&str> {
    let zone = parameter(line, "zone")?;
    Some(zone.split_once(':').map_or(zone, |(name, _)| name))
}

/// The word that starts with a name and `=`, or else the directive.
fn word_of<'a>(line: &'a Node, name: &str) -> &'a Word {
    let is_meant = |word: &&Word| word.text.starts_with(name);
    line.arguments
        .iter()
        .skip(1)
        .find(is_meant)
        .or_else(|| line.arguments.first().filter(is_meant))
        .unwrap_or(&line.name)
}

fn zone(line: &Node, cx: &mut Cx) -> Option<Zone> {
    let key = line.arguments.first()?;
    let mut refuse = |word: &Word, message: String, hint: &str| {
        let problem = Diagnostic::error(Code::BAD_ZONE, word.span, message);
        cx.report(problem.hint(hint));
    };
    if key.text.starts_with("zone=") {
        refuse(
            key,
            format!(
                "`{}` starts with its key, not with the zone",
                line.name.text
            ),
            "for example `$binary_remote_addr`",
        );
        return None;
    }
    let Some(text) = parameter(line, "zone") else {
        refuse(
            &line.name,
            format!("`{}` names no zone", line.name.text),
            "add `zone=NAME:10m`",
        );
        return None;
    };
    let word = word_of(line, "zone=");
    let Some((name, size)) = text.split_once(':') else {
        refuse(
            word,
            format!("the zone `{text}` has no size"),
            "write `zone=NAME:10m`: 10m has room for 170,000 addresses",
        );
        return None;
    };
    if name.is_empty() {
        refuse(
            word,
            "the zone has no name".to_owned(),
            "write `zone=NAME:10m`",
        );
        return None;
    }
    let Some(size) = unit::size::size(size) else {
        refuse(
            word,
            format!("`{size}` is not a size"),
            "a number with k or m: `zone=NAME:10m`",
        );
        return None;
    };
    if !(SMALLEST_ZONE..=LARGEST_ZONE).contains(&size) {
        let kind = if size < SMALLEST_ZONE {
            "small"
        } else {
            "large"
        };
        refuse(
            word,
            format!("the zone `{name}` is too {kind}"),
            "it must have from 32k to 16384m",
        );
        return None;
    }
    Some(Zone {
        name: name.into(),
        key: cx.template(key),
        key_text: key.text.clone(),
        size: usize::try_from(size).unwrap_or(usize::MAX),
        span: line.name.span,
    })
}

fn request_zone(line: &Node, cx: &mut Cx) -> Option<RequestZone> {
    let zone = zone(line, cx)?;
    let word = word_of(line, "rate=");
    let rate = parameter(line, "rate").and_then(|text| {
        let (number, scale) = match (text.strip_suffix("r/s"), text.strip_suffix("r/m")) {
            (Some(number), _) => (number, 1),
            (_, Some(number)) => (number, 60),
            _ => (text, 1),
        };
        let number = unit::decimal(number)?;
        (1..=MOST_RATE)
            .contains(&number)
            .then(|| number * REQUEST / scale)
    });
    let Some(rate) = rate else {
        let told = match parameter(line, "rate") {
            Some(text) => format!("`{text}` is not a rate"),
            None => format!("the zone `{}` has no rate", zone.name),
        };
        cx.report(
            Diagnostic::error(Code::BAD_RATE, word.span, told)
                .hint("requests per second or minute: `rate=5r/s`, `rate=30r/m`"),
        );
        return None;
    };
    let usual = burst(line, Burst::default(), cx);
    if usual != Burst::default() {
        let own = ["burst=", "delay=", "nodelay"];
        let word = own.iter().map(|name| word_of(line, name));
        let word = word.min_by_key(|word| (word.span == line.name.span, word.span));
        let span = word.map_or(line.name.span, |word| word.span);
        cx.report(
            Diagnostic::warning(
                Code::BURST_ON_ZONE,
                span,
                format!(
                    "`burst` and `nodelay` on the zone hold for each `limit_req zone={};` without its own",
                    zone.name
                ),
            )
            .hint("write them behind `limit_req`, where nginx wants them"),
        );
    }
    Some(RequestZone {
        zone,
        rate,
        rate_text: parameter(line, "rate").unwrap_or_default().into(),
        usual,
    })
}

/// `burst=`, `delay=` and `nodelay` of a line, or what is usual where it says nothing of them.
fn burst(line: &Node, usual: Burst, cx: &mut Cx) -> Burst {
    let mut number = |name: &str| {
        let text = parameter(line, name)?;
        let number = unit::decimal(text).filter(|number| (1..=MOST_AHEAD).contains(number));
        if number.is_none() {
            let word = word_of(line, name);
            cx.report(
                Diagnostic::error(
                    Code::BAD_BURST,
                    word.span,
                    format!("`{text}` is not a number of requests"),
                )
                .hint(format!("it must be from 1 to {MOST_AHEAD}")),
            );
        }
        Some(number.unwrap_or(1) * REQUEST)
    };
    let most = number("burst");
    let delay = match has_word(line, "nodelay") {
        true => Some(u64::MAX),
        false => number("delay"),
    };
    if most.is_none() && delay.is_none() {
        return usual;
    }
    Burst {
        most: most.unwrap_or_default(),
        undelayed: delay.unwrap_or_default(),
    }
}

/// The limits of a place; `None` if nothing is limited.
pub fn limits(scope: &Scope<'_>, zones: &LimitZones, cx: &mut Cx) -> Option<Limits> {
    let (requests, connections) = (scope.all("limit_req"), scope.all("limit_conn"));
    if requests.is_empty() && connections.is_empty() {
        return None;
    }
    let mut of_requests: Vec<(RequestLimit, &Node)> = Vec::new();
    for line in requests {
        let Some(name) = parameter(line, "zone") else {
            cx.report(
                Diagnostic::error(Code::BAD_ZONE, line.name.span, "`limit_req` names no zone")
                    .hint("add `zone=NAME`, with the name of a `limit_req_zone`"),
            );
            continue;
        };
        let names = zones.requests.iter().map(|known| &*known.zone.name);
        let word = word_of(line, "zone=");
        let Some(zone) = position(name, names, word, "limit_req_zone", cx) else {
            continue;
        };
        if let Some((_, first)) = of_requests.iter().find(|(known, _)| known.zone == zone) {
            twice(line, first, cx);
            continue;
        }
        let burst = burst(line, zones.requests[zone].usual, cx);
        of_requests.push((RequestLimit { zone, burst }, line));
    }
    let mut of_connections: Vec<(ConnectionLimit, &Node)> = Vec::new();
    for line in connections {
        let [name, most] = line.arguments.as_slice() else {
            continue;
        };
        let names = zones.connections.iter().map(|known| &*known.name);
        let Some(zone) = position(&name.text, names, name, "limit_conn_zone", cx) else {
            continue;
        };
        if let Some((_, first)) = of_connections.iter().find(|(known, _)| known.zone == zone) {
            twice(line, first, cx);
            continue;
        }
        // What is no number was told by the checker.
        let most = most.text.parse().unwrap_or(1);
        of_connections.push((ConnectionLimit { zone, most }, line));
    }
    Some(Limits {
        requests: of_requests.into_iter().map(|(limit, _)| limit).collect(),
        of_requests: Manner {
            status: status(scope, "limit_req_status"),
            level: level(scope.text("limit_req_log_level")),
            is_dry_run: scope.flag("limit_req_dry_run"),
        },
        connections: of_connections.into_iter().map(|(limit, _)| limit).collect(),
        of_connections: Manner {
            status: status(scope, "limit_conn_status"),
            level: level(scope.text("limit_conn_log_level")),
            is_dry_run: scope.flag("limit_conn_dry_run"),
        },
    })
}

fn position<'a>(
    name: &str,
    mut names: impl Iterator<Item = &'a str> + Clone,
    word: &Word,
    kind: &str,
    cx: &mut Cx,
) -> Option<usize> {
    let all = names.clone();
    let found = names.position(|known| known == name);
    if found.is_none() {
        let problem = Diagnostic::error(
            Code::UNKNOWN_ZONE,
            word.span,
            format!("there is no `{kind}` named `{name}`"),
        );
        cx.report(match closest(name, all) {
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None => problem.hint(format!("define it in `http` with `{kind}`")),
        });
    }
    found
}

fn twice(line: &Node, first: &Node, cx: &mut Cx) {
    cx.report(
        Diagnostic::error(
            Code::DUPLICATE,
            line.name.span,
            format!("`{}` names a zone for the second time", line.name.text),
        )
        .label(first.name.span, "first here")
        .hint("keep one of them"),
    );
}

fn status(scope: &Scope<'_>, name: &str) -> u16 {
    u16::try_from(scope.number(name)).unwrap_or(503)
}

fn level(word: &str) -> Level {
    match word {
        "info" => Level::Info,
        "notice" => Level::Notice,
        "warn" => Level::Warn,
        _ => Level::Error,
    }
}
