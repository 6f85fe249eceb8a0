//! `health_check`, `match {}`, `eject`, `breaker` and `retry_budget`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::Cx;
use super::scope::Scope;
use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::include::{Node, Word};
use crate::conf::source::Span;
use crate::conf::typed::health::{
    BodyTest, CheckKind, Eject, FieldTest, FieldValue, Guard, HealthCheck, Limits, Match,
    RetryBudget, StatusTest,
};
use crate::conf::typed::proxy::{Proxy, Target};
use crate::conf::typed::upstream::{PeerAddress, Upstream, UpstreamServer};
use crate::unit;

/// What is known of all checks while a configuration is lowered.
#[derive(Debug, Default)]
pub struct Checks {
    matches: HashMap<Box<str>, Arc<Match>>,
    /// By position of the group: where it is checked.
    checked: HashMap<usize, Span>,
    /// Groups that a location passes requests to.
    targeted: Vec<usize>,
}

impl Checks {
    /// With the `match {}` blocks of `http`.
    pub fn new(http: &Scope<'_>, cx: &mut Cx) -> Self {
        let mut checks = Self::default();
        for node in http.own("match") {
            let Some(found) = of_match(node, http, cx) else {
                continue;
            };
            if checks.matches.contains_key(&found.name) {
                cx.error(
                    Code::DUPLICATE,
                    node.name.span,
                    format!("`match {}` stands twice", found.name),
                );
                continue;
            }
            checks.matches.insert(found.name.clone(), Arc::new(found));
        }
        checks
    }

    /// What the block of a group says.
    pub fn guard(&self, block: &Scope<'_>, servers: &[UpstreamServer], cx: &mut Cx) -> Guard {
        let own = |name: &str| block.own(name).first().copied();
        let eject = own("eject").map(|line| {
            let mut most = 50;
            let limits = limits(line, Some(&mut most), cx);
            let is_one = matches!(servers, [only]
                if !only.resolve && !matches!(only.address, PeerAddress::Name { .. }));
            if is_one {
                let problem = Diagnostic::warning(
                    Code::EJECT_ALONE,
                    line.name.span,
                    "the only peer of a group is never left out",
                );
                cx.report(
                    problem
                        .hint("`breaker` answers at once while the group as a whole does not work"),
                );
            }
            Eject { limits, most }
        });
        let breaker = own("breaker").map(|line| limits(line, None, cx));
        let health_check = own("health_check").map(|line| self.check(line, block, cx));
        Guard {
            eject,
            breaker,
            retry_budget: own("retry_budget").and_then(|line| retry_budget(line, cx)),
            health_check,
        }
    }

    /// Adds what a location says of checks to its proxy.
    pub fn add_to(
        &mut self,
        proxy: &mut Proxy,
        location: &Scope<'_>,
        upstreams: &[Arc<Upstream>],
        cx: &mut Cx,
    ) {
        let line = location.own("health_check").first();
        let Target::Group { upstream, .. } = proxy.target else {
            if let Some(line) = line {
                self.nothing_to_check(line, cx);
            }
            return;
        };
        self.targeted.push(upstream);
        let Some(line) = line else { return };
        let before = match &upstreams[upstream].guard.health_check {
            Some(check) => Some(check.span),
            None => self.checked.get(&upstream).copied(),
        };
        if let Some(before) = before {
            let problem = Diagnostic::warning(
                Code::CHECKED_TWICE,
                line.name.span,
                format!(
                    "the peers of `{}` are checked already",
                    upstreams[upstream].name
                ),
            );
            cx.report(
                problem
                    .label(before, "by this one, which stays")
                    .hint("keep one of them"),
            );
            return;
        }
        self.checked.insert(upstream, line.name.span);
        proxy.health_check = Some(self.check(line, location, cx));
    }

    /// A check where no request is passed on that could tell what to ask.
    pub fn nothing_to_check(&self, line: &Node, cx: &mut Cx) {
        cx.report(
            Diagnostic::error(
                Code::NOTHING_TO_CHECK,
                line.name.span,
                "`health_check` has no group of peers to check here",
            )
            .hint("it stands beside a `proxy_pass` or `grpc_pass` without variables, or in `upstream`"),
        );
    }

    /// Tells of groups whose peers cannot be checked after all.
    pub fn finish(&self, upstreams: &[Arc<Upstream>], cx: &mut Cx) {
        for (position, upstream) in upstreams.iter().enumerate() {
            if let Some(check) = &upstream.guard.health_check
                && !self.targeted.contains(&position)
            {
                cx.report(
                    Diagnostic::warning(
                        Code::UNCHECKED,
                        check.span,
                        format!("the peers of `{}` are not checked", upstream.name),
                    )
                    .hint(
                        "checks ask as the first location asks whose `proxy_pass` names the group; one with variables names none",
                    ),
                );
            }
        }
    }

    fn check(&self, line: &Node, scope: &Scope<'_>, cx: &mut Cx) -> Arc<HealthCheck> {
        let mut check = HealthCheck {
            kind: CheckKind::Tcp,
            interval: Duration::from_secs(5),
            jitter: Duration::ZERO,
            timeout: scope.time("health_check_timeout"),
            fails: 1,
            passes: 1,
            mandatory: false,
            port: None,
            keepalive: Duration::ZERO,
            span: line.name.span,
        };
        let mut kind = "http";
        let mut uri: Box<str> = "/".into();
        let mut expects = None;
        let mut service = None;
        let mut status = None;
        // Parameters that only one kind of check knows.
        let mut of_http: Option<&Word> = None;
        let mut of_grpc: Option<&Word> = None;
        for word in &line.arguments {
            let (key, value) = word.text.split_once('=').unwrap_or((&word.text, ""));
            let count = || value.parse::<u32>().ok().filter(|&count| count > 0);
            let time = || unit::time::milliseconds(value);
            let is_fine = match key {
                "interval" => time()
                    .filter(|time| !time.is_zero())
                    .map(|time| check.interval = time)
                    .is_some(),
                "jitter" => time().map(|time| check.jitter = time).is_some(),
                "fails" => count().map(|count| check.fails = count).is_some(),
                "passes" => count().map(|count| check.passes = count).is_some(),
                "keepalive_time" => time().map(|time| check.keepalive = time).is_some(),
                "port" => {
                    check.port = value.parse().ok().filter(|&port| port > 0);
                    check.port.is_some()
                }
                "mandatory" => {
                    check.mandatory = true;
                    true
                }
                // What is known of a peer always outlives a reload.
                "persistent" => line.arguments.iter().any(|word| &*word.text == "mandatory"),
                "uri" => {
                    of_http = Some(word);
                    uri = value.into();
                    value.starts_with('/') && value.bytes().all(|byte| byte.is_ascii_graphic())
                }
                "match" => {
                    of_http = Some(word);
                    expects = self.matches.get(value).cloned();
                    if expects.is_none() {
                        let names = self.matches.keys().map(|name| &**name);
                        let near = crate::conf::check::closest(value, names);
                        cx.report(
                            Diagnostic::error(
                                Code::UNKNOWN_MATCH,
                                word.span,
                                format!("there is no `match {value}`"),
                            )
                            .hint(match near {
                                Some(near) => format!("did you mean `{near}`?"),
                                None => format!("add `match {value} {{ status 200; }}` to `http`"),
                            }),
                        );
                    }
                    true
                }
                "type" => {
                    kind = value;
                    matches!(value, "http" | "tcp" | "grpc")
                }
                "grpc_service" => {
                    of_grpc = Some(word);
                    service = Some(value);
                    value.len() <= 1024
                }
                "grpc_status" => {
                    of_grpc = Some(word);
                    status = value.parse::<u32>().ok().filter(|&code| code <= 16);
                    status.is_some()
                }
                _ => false,
            };
            if !is_fine {
                cx.report(
                    Diagnostic::error(
                        Code::PARAMETER_VALUE,
                        word.span,
                        format!("invalid parameter `{}` of `health_check`", word.text),
                    )
                    .hint(match key {
                        "interval" | "jitter" | "keepalive_time" => {
                            "times are written as `500ms`, `5s` or `1m`"
                        }
                        "fails" | "passes" => "it is a number from 1 on",
                        "uri" => "it is a path, e.g. `uri=/health`",
                        "port" => "it is a number from 1 to 65535",
                        "type" => "it is `http`, `tcp` or `grpc`",
                        "persistent" => "it stands behind `mandatory`",
                        "grpc_status" => "it is the number of a status of gRPC, from 0 to 16",
                        _ => "names of services have at most 1024 bytes",
                    }),
                );
            }
        }
        let foreign = match kind {
            "http" => of_grpc,
            "tcp" => of_http.or(of_grpc),
            _ => of_http,
        };
        if let Some(word) = foreign {
            cx.report(
                Diagnostic::error(
                    Code::PARAMETER_VALUE,
                    word.span,
                    format!("a check with `type={kind}` knows no `{}`", word.text),
                )
                .hint(
                    "`uri=` and `match=` are for HTTP, `grpc_service=` and `grpc_status=` for gRPC",
                ),
            );
        }
        check.kind = match kind {
            "tcp" => CheckKind::Tcp,
            "grpc" => CheckKind::Grpc {
                service: service.unwrap_or_default().into(),
                status,
            },
            _ => CheckKind::Http { uri, expects },
        };
        Arc::new(check)
    }
}

/// One `match {}`.
fn of_match(node: &Node, http: &Scope<'_>, cx: &mut Cx) -> Option<Match> {
    let name = node.arguments.first()?;
    let block = node.block.as_deref()?;
    let scope = http.inside(block);
    let mut found = Match {
        name: name.text.clone(),
        status: None,
        fields: Vec::new(),
        bodies: Vec::new(),
        required: Vec::new(),
    };
    found.status = (scope.own("status").first()).and_then(|line| status_test(line, cx));
    for line in scope.own("header") {
        found.fields.extend(field_test(line, cx));
    }
    for line in scope.own("body") {
        let [operator, pattern] = line.arguments.as_slice() else {
            continue;
        };
        let regex = cx.regex(pattern, &pattern.text, operator.text.ends_with('*'));
        found.bodies.extend(regex.map(|pattern| BodyTest {
            pattern,
            is_negated: operator.text.starts_with('!'),
        }));
    }
    for word in scope.own("require").iter().flat_map(|line| &line.arguments) {
        let Some(name) = word.text.strip_prefix('$') else {
            continue;
        };
        let variable = cx.variable(word, name);
        let required = variable.map(|variable| (word.text.clone(), variable));
        found.required.extend(required);
    }
    if block.is_empty() {
        wrong_test(name, "an empty `match` lets every answer pass", cx);
    }
    Some(found)
}

fn status_test(line: &Node, cx: &mut Cx) -> Option<StatusTest> {
    let (is_negated, words) = match line.arguments.split_first() {
        Some((first, rest)) if &*first.text == "!" => (true, rest),
        _ => (false, line.arguments.as_slice()),
    };
    let mut ranges = Vec::new();
    for word in words {
        let (from, to) = word
            .text
            .split_once('-')
            .unwrap_or((&word.text, &word.text));
        let status = |text: &str| {
            text.parse::<u16>()
                .ok()
                .filter(|it| (100..600).contains(it))
        };
        match status(from).zip(status(to)).filter(|(from, to)| from <= to) {
            Some((from, to)) => ranges.push(from..=to),
            None => {
                wrong_test(
                    word,
                    format!("`{}` is no status and no range of them", word.text),
                    cx,
                );
                return None;
            }
        }
    }
    if words.is_empty() {
        wrong_test(&line.name, "`status` names no status", cx);
        return None;
    }
    Some(StatusTest {
        text: text_of(line),
        is_negated,
        ranges,
    })
}

fn field_test(line: &Node, cx: &mut Cx) -> Option<FieldTest> {
    let words: Vec<&str> = line.arguments.iter().map(|word| &*word.text).collect();
    let (name, value) = match words.as_slice() {
        ["!", name] => (*name, FieldValue::Absent),
        [name] => (*name, FieldValue::Present),
        [name, "=", value] => (*name, FieldValue::Is(value.as_bytes().into())),
        [name, "!=", value] => (*name, FieldValue::IsNot(value.as_bytes().into())),
        [name, operator @ ("~" | "~*" | "!~" | "!~*"), pattern] => {
            let regex = cx.regex(&line.arguments[2], pattern, operator.ends_with('*'))?;
            let value = match operator.starts_with('!') {
                true => FieldValue::MatchesNot(regex),
                false => FieldValue::Matches(regex),
            };
            (*name, value)
        }
        _ => {
            wrong_test(&line.name, "`header` does not say what to look for", cx);
            return None;
        }
    };
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        wrong_test(
            &line.name,
            format!("`{name}` is not the name of a header field"),
            cx,
        );
        return None;
    }
    Some(FieldTest {
        text: text_of(line),
        name: name.as_bytes().into(),
        value,
    })
}

/// A line as it was written, with single blanks.
fn text_of(line: &Node) -> Box<str> {
    let mut text = line.name.text.to_string();
    for word in &line.arguments {
        text.push(' ');
        text.push_str(&word.text);
    }
    text.into()
}

fn wrong_test(word: &Word, message: impl Into<String>, cx: &mut Cx) {
    cx.report(
        Diagnostic::error(Code::BAD_MATCH, word.span, message).hint(
            "e.g. `status 200-399;`, `status ! 500;`, `header Content-Type ~ json;`, `header ! X-Old;`, `body ~ ok;`",
        ),
    );
}

/// The parameters of `eject` and `breaker`.
fn limits(line: &Node, mut most: Option<&mut u32>, cx: &mut Cx) -> Limits {
    let mut limits = Limits::usual();
    for word in &line.arguments {
        let (key, value) = word.text.split_once('=').unwrap_or((&word.text, ""));
        let count = || value.parse::<u32>().ok();
        let time = || unit::time::milliseconds(value).filter(|time| !time.is_zero());
        let is_fine = match (key, &mut most) {
            ("errors", _) => count().map(|count| limits.errors = count).is_some(),
            ("volume", _) => (count().filter(|&count| count > 0))
                .map(|count| limits.volume = count)
                .is_some(),
            ("probes", _) => (count().filter(|count| (1..=1000).contains(count)))
                .map(|count| limits.probes = count)
                .is_some(),
            ("ratio", _) => percent(value).map(|ratio| limits.ratio = ratio).is_some(),
            ("slow", _) => {
                limits.slow = time();
                limits.slow.is_some()
            }
            // The window is cut into ten, and a part has at least a millisecond.
            ("window", _) => (time().filter(|time| *time >= Duration::from_millis(10)))
                .map(|time| limits.window = time)
                .is_some(),
            ("open", _) => time().map(|time| limits.open = time).is_some(),
            ("most", Some(most)) => (percent(value).filter(|&share| share > 0))
                .map(|share| **most = share)
                .is_some(),
            _ => false,
        };
        if !is_fine {
            cx.report(
                Diagnostic::error(
                    Code::GUARD_VALUE,
                    word.span,
                    format!("invalid parameter `{}` of `{}`", word.text, line.name.text),
                )
                .hint(
                    "e.g. `errors=5 ratio=50% volume=20 slow=2s window=10s open=10s probes=1`, \
                     and for `eject` also `most=50%`",
                ),
            );
        }
    }
    if limits.errors == 0 && limits.ratio == 0 {
        cx.report(
            Diagnostic::error(
                Code::GUARD_VALUE,
                line.name.span,
                format!("`{}` looks at nothing", line.name.text),
            )
            .hint("one of `errors=` and `ratio=` must be more than 0"),
        );
    }
    limits
}

/// `50%`
fn percent(text: &str) -> Option<u32> {
    let number = text.strip_suffix('%')?;
    number.parse().ok().filter(|&number| number <= 100)
}

fn retry_budget(line: &Node, cx: &mut Cx) -> Option<RetryBudget> {
    let word = line.arguments.first()?;
    let mut budget = RetryBudget {
        percent: 0,
        least: 10,
    };
    let number = word.text.strip_suffix('%');
    let mut is_fine = match number.and_then(|number| number.parse().ok()) {
        Some(percent @ 0..=1000) => {
            budget.percent = percent;
            true
        }
        _ => false,
    };
    if let Some(least) = line.arguments.get(1) {
        let least = least.text.strip_prefix("min=");
        match least.and_then(|least| least.parse().ok()) {
            Some(least) => budget.least = least,
            None => is_fine = false,
        }
    }
    if !is_fine {
        cx.report(
            Diagnostic::error(
                Code::GUARD_VALUE,
                line.span,
                "invalid share in `retry_budget`",
            )
            .hint("e.g. `retry_budget 20% min=10;`: 20 retries in 100 requests, and 10 in ten seconds in any case"),
        );
        return None;
    }
    Some(budget)
}
