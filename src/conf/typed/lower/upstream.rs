//! `upstream {}` and `resolver`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Cx;
use super::health::Checks;
use super::listen::split_port;
use super::scope::{Scope, has_word, parameter};
use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::include::{Node, Word};
use crate::conf::source::Span;
use crate::conf::template::Template;
use crate::conf::typed::health::Guard;
use crate::conf::typed::upstream::{
    Keepalive, Method, PeerAddress, RandomChoice, Resolver, Sticky, TimeUntil, Upstream,
    UpstreamServer,
};
use crate::conf::variable::Variable;
use crate::unit;

/// Bytes that one session of `sticky learn` takes in a zone, for its capacity.
const SESSION: u64 = 128;

/// One `upstream {}`.
pub fn upstream(node: &Node, http: &Scope<'_>, checks: &Checks, cx: &mut Cx) -> Option<Upstream> {
    let name = node.arguments.first()?;
    let block = node.block.as_deref()?;
    let scope = http.inside(block);
    let mut servers: Vec<UpstreamServer> = Vec::new();
    let mut method = Method::RoundRobin;
    let mut method_span: Option<Span> = None;
    let mut sticky = None;
    for line in block {
        let first = line.arguments.first();
        let found = match &*line.name.text {
            "server" => {
                servers.extend(server(line, cx));
                continue;
            }
            "sticky" => {
                sticky = self::sticky(line, cx);
                continue;
            }
            "least_conn" => Method::LeastConnections,
            "ip_hash" => Method::IpHash,
            "hash" => Method::Hash {
                key: first.map(|word| cx.template(word)).unwrap_or_default(),
                consistent: has_word(line, "consistent"),
            },
            "random" => Method::Random(match line.arguments.get(1).map(|word| &*word.text) {
                None if first.is_none() => RandomChoice::One,
                None | Some("least_conn") => RandomChoice::TwoLeastConnections,
                Some("least_time" | "least_time=header") => {
                    RandomChoice::TwoLeastTime(TimeUntil::Header)
                }
                Some("least_time=last_byte") => RandomChoice::TwoLeastTime(TimeUntil::LastByte),
                Some(other) => {
                    cx.error(
                        Code::UNKNOWN_PARAMETER,
                        line.span,
                        format!("invalid parameter `{other}`"),
                    );
                    RandomChoice::One
                }
            }),
            "least_time" => Method::LeastTime {
                until: match first.map(|word| &*word.text) {
                    Some("last_byte") => TimeUntil::LastByte,
                    _ => TimeUntil::Header,
                },
                inflight: has_word(line, "inflight"),
            },
            _ => continue,
        };
        if let Some(before) = method_span {
            cx.report(
                Diagnostic::warning(
                    Code::METHOD_REDEFINED,
                    line.name.span,
                    "the method of balancing is set twice",
                )
                .label(before, "this one is replaced"),
            );
        }
        method = found;
        method_span = Some(line.name.span);
    }
    if servers.is_empty() {
        cx.report(
            Diagnostic::error(
                Code::NO_SERVERS,
                name.span,
                format!("no servers are inside upstream `{}`", name.text),
            )
            .hint("add a line `server ADDRESS:PORT;`"),
        );
        return None;
    }
    let refuses_backup = matches!(
        method,
        Method::IpHash | Method::Hash { .. } | Method::Random(_)
    );
    if refuses_backup && let Some(backup) = servers.iter().find(|server| server.backup) {
        cx.report(
            Diagnostic::error(
                Code::BACKUP_WITHOUT_USE,
                backup.span,
                "the method of balancing of this group knows no `backup`",
            )
            .label(method_span.unwrap_or(name.span), "because of this"),
        );
    }
    let guard = checks.guard(&scope, &servers, cx);
    let queue = scope.own("queue").first().copied();
    if let Some(line) = queue
        && servers.iter().all(|server| server.max_connections == 0)
    {
        cx.report(
            Diagnostic::warning(
                Code::QUEUE_WITHOUT_LIMIT,
                line.name.span,
                "nobody ever waits in this `queue`",
            )
            .hint("say with `max_conns=` how many requests a peer takes at a time"),
        );
    }
    Some(Upstream {
        name: name.text.clone(),
        is_implicit: false,
        servers,
        method,
        sticky,
        zone: scope
            .own("zone")
            .first()
            .and_then(|line| line.arguments.first())
            .map(|word| word.text.clone()),
        keepalive: keepalive(&scope),
        guard,
        queue: queue.and_then(|line| {
            let room = line.arguments.first()?.text.parse().ok()?;
            let patience = parameter(line, "timeout").and_then(unit::time::milliseconds);
            Some((room, patience.unwrap_or(Duration::from_secs(60))))
        }),
        resolver: resolver(&scope, cx),
        span: name.span,
    })
}

/// The limits of kept connections; those of mainline nginx where nothing is written.
fn keepalive(scope: &Scope<'_>) -> Keepalive {
    let own = |name: &str| {
        scope
            .own(name)
            .first()
            .and_then(|line| line.arguments.first())
    };
    let number = |name: &str| own(name).and_then(|word| word.text.parse::<u64>().ok());
    let time = |name: &str| own(name).and_then(|word| unit::time::milliseconds(&word.text));
    let usual = Keepalive::usual();
    Keepalive {
        connections: number("keepalive")
            .and_then(|most| usize::try_from(most).ok())
            .unwrap_or(usual.connections),
        requests: number("keepalive_requests").unwrap_or(usual.requests),
        time: time("keepalive_time").unwrap_or(usual.time),
        timeout: time("keepalive_timeout").unwrap_or(usual.timeout),
    }
}

/// The group that an address in `proxy_pass` makes.
pub fn implicit(
    name: &str,
    address: PeerAddress,
    resolver: Option<Arc<Resolver>>,
    span: Span,
) -> Upstream {
    Upstream {
        name: name.into(),
        is_implicit: true,
        servers: vec![UpstreamServer::new(name, address, span)],
        method: Method::RoundRobin,
        sticky: None,
        zone: None,
        keepalive: Keepalive::usual(),
        guard: Guard::default(),
        queue: None,
        resolver,
        span,
    }
}

/// The address of a peer; the port is the scheme's own where none is written.
pub fn peer_address(text: &str, usual_port: u16) -> Option<PeerAddress> {
    if let Some(path) = text.strip_prefix("unix:") {
        return (!path.is_empty()).then(|| PeerAddress::Unix(path.into()));
    }
    let (host, port) = split_port(text)?;
    let port = port.unwrap_or(usual_port);
    if host.is_empty() {
        return None;
    }
    Some(match host.parse() {
        Ok(ip) => PeerAddress::Ip(SocketAddr::new(ip, port)),
        Err(_) => PeerAddress::Name {
            host: host.into(),
            port,
        },
    })
}

fn server(line: &Node, cx: &mut Cx) -> Option<UpstreamServer> {
    let first = line.arguments.first()?;
    let service = parameter(line, "service").map(Box::from);
    let Some(address) = peer_address(&first.text, 80) else {
        cx.report(
            Diagnostic::error(
                Code::BAD_ADDRESS,
                first.span,
                format!("invalid address `{}` of a peer", first.text),
            )
            .hint("write HOST, HOST:PORT, [IPv6]:PORT or unix:PATH"),
        );
        return None;
    };
    let mut server = UpstreamServer::new(&first.text, address, line.span);
    server.service = service;
    for word in &line.arguments[1..] {
        let (key, value) = word
            .text
            .split_once('=')
            .map_or((&*word.text, None), |(key, value)| (key, Some(value)));
        let number = value.and_then(|value| value.parse::<u32>().ok());
        let time = value.and_then(unit::time::seconds);
        let is_fine = match (key, value) {
            ("weight", Some(_)) => number
                .filter(|&weight| weight > 0)
                .map(|weight| server.weight = weight)
                .is_some(),
            ("max_conns", Some(_)) => number.map(|most| server.max_connections = most).is_some(),
            ("max_fails", Some(_)) => number.map(|most| server.max_fails = most).is_some(),
            ("fail_timeout", Some(_)) => time.map(|time| server.fail_timeout = time).is_some(),
            ("slow_start", Some(_)) => time.map(|time| server.slow_start = time).is_some(),
            ("backup", None) => set(&mut server.backup),
            ("down", None) => set(&mut server.down),
            ("drain", None) => set(&mut server.drain),
            ("resolve", None) => set(&mut server.resolve),
            ("service", Some(name)) => !name.is_empty(),
            ("route", Some(route)) => {
                server.route = Some(route.into());
                !route.is_empty()
            }
            _ => false,
        };
        if !is_fine {
            let problem = Diagnostic::error(
                Code::UNKNOWN_PARAMETER,
                word.span,
                format!("invalid parameter `{}`", word.text),
            );
            cx.report(problem.hint(
                "a peer takes weight=, max_conns=, max_fails=, fail_timeout=, slow_start=, backup, down, drain, \
                 resolve, service= and route=",
            ));
        }
    }
    if server.service.is_some() && !server.resolve {
        cx.error(
            Code::PARAMETER_VALUE,
            line.span,
            "`service=` needs `resolve`",
        );
    }
    Some(server)
}

fn set(flag: &mut bool) -> bool {
    *flag = true;
    true
}

fn sticky(line: &Node, cx: &mut Cx) -> Option<Sticky> {
    let (kind, rest) = line.arguments.split_first()?;
    match &*kind.text {
        "cookie" => {
            let name = rest.first()?.text.clone();
            let mut attributes = String::new();
            let mut expires = None;
            for word in &rest[1..] {
                let (key, value) = word.text.split_once('=').unwrap_or((&word.text, ""));
                match key {
                    "expires" if value == "max" => expires = Some(Duration::MAX),
                    "expires" => expires = unit::time::seconds(value),
                    "domain" => attributes.push_str(&format!("; domain={value}")),
                    "path" => attributes.push_str(&format!("; path={value}")),
                    "httponly" => attributes.push_str("; httponly"),
                    "secure" => attributes.push_str("; secure"),
                    "samesite" => attributes.push_str(&format!("; samesite={value}")),
                    _ => cx.error(
                        Code::UNKNOWN_PARAMETER,
                        word.span,
                        format!("invalid parameter `{}`", word.text),
                    ),
                }
            }
            let attributes = match rest.first() {
                Some(word) if attributes.contains('$') => cx.template_of(word, &attributes),
                _ => Template::from_text(attributes.as_bytes()),
            };
            Some(Sticky::Cookie {
                name,
                attributes,
                expires,
            })
        }
        "route" => Some(Sticky::Route(
            rest.iter()
                .filter_map(|word| variable(word, &word.text, cx))
                .collect(),
        )),
        "learn" => {
            let mut create = Vec::new();
            let mut lookup = Vec::new();
            let mut timeout = Duration::from_secs(600);
            let mut capacity = 0;
            let mut header = false;
            for word in rest {
                let (key, value) = word.text.split_once('=').unwrap_or((&word.text, ""));
                match key {
                    "create" => create.extend(variable(word, value, cx)),
                    "lookup" => lookup.extend(variable(word, value, cx)),
                    "timeout" => timeout = unit::time::milliseconds(value).unwrap_or(timeout),
                    "zone" => {
                        let size = value
                            .split_once(':')
                            .and_then(|(_, size)| unit::size::size(size));
                        capacity =
                            usize::try_from(size.unwrap_or_default() / SESSION).unwrap_or_default();
                    }
                    "header" => header = true,
                    "sync" => {}
                    _ => cx.error(
                        Code::UNKNOWN_PARAMETER,
                        word.span,
                        format!("invalid parameter `{}`", word.text),
                    ),
                }
            }
            if create.is_empty() || lookup.is_empty() || capacity == 0 {
                cx.report(
                    Diagnostic::error(
                        Code::PARAMETER_VALUE,
                        line.span,
                        "`sticky learn` is not complete",
                    )
                    .hint("it takes `create=$variable lookup=$variable zone=NAME:SIZE`"),
                );
                return None;
            }
            Some(Sticky::Learn {
                create,
                lookup,
                timeout,
                capacity,
                header,
            })
        }
        _ => {
            cx.report(
                Diagnostic::error(
                    Code::NOT_ONE_OF,
                    kind.span,
                    format!("unknown kind `{}` of stickiness", kind.text),
                )
                .hint("`sticky` takes `cookie`, `route` or `learn`"),
            );
            None
        }
    }
}

fn variable(word: &Word, text: &str, cx: &mut Cx) -> Option<Variable> {
    match text.strip_prefix('$') {
        Some(name) => cx.variable(word, name),
        None => {
            cx.error(
                Code::NOT_A_VARIABLE,
                word.span,
                format!("`{text}` is not a variable"),
            );
            None
        }
    }
}

/// The `resolver` in force in a place.
pub fn resolver(scope: &Scope<'_>, cx: &mut Cx) -> Option<Arc<Resolver>> {
    let line = scope.nearest("resolver")?;
    let mut resolver = Resolver {
        servers: Vec::new(),
        valid: None,
        ipv4: true,
        ipv6: true,
        timeout: scope.time("resolver_timeout"),
    };
    for word in &line.arguments {
        let text = &*word.text;
        let is_fine = match text.split_once('=') {
            Some(("valid", value)) => {
                resolver.valid = unit::time::seconds(value);
                resolver.valid.is_some()
            }
            Some(("ipv4", value)) => {
                resolver.ipv4 = value != "off";
                matches!(value, "on" | "off")
            }
            Some(("ipv6", value)) => {
                resolver.ipv6 = value != "off";
                matches!(value, "on" | "off")
            }
            Some(("status_zone", _)) => true,
            Some(_) => false,
            None => match split_port(text)
                .and_then(|(host, port)| Some((host.parse().ok()?, port.unwrap_or(53))))
            {
                Some((ip, port)) => {
                    resolver.servers.push(SocketAddr::new(ip, port));
                    true
                }
                // A name server that has a name is looked up by the system, at start.
                None => match std::net::ToSocketAddrs::to_socket_addrs(&(text, 53)) {
                    Ok(found) => {
                        resolver.servers.extend(found);
                        true
                    }
                    Err(_) => false,
                },
            },
        };
        if !is_fine {
            cx.report(
                Diagnostic::error(
                    Code::BAD_ADDRESS,
                    word.span,
                    format!("invalid name server or parameter `{text}`"),
                )
                .hint("name servers are addresses, e.g. `resolver 1.1.1.1 valid=300s;`"),
            );
        }
    }
    if !resolver.ipv4 && !resolver.ipv6 {
        cx.error(
            Code::PARAMETER_VALUE,
            line.span,
            "`ipv4=off` and `ipv6=off` together leave no address",
        );
    }
    Some(Arc::new(resolver))
}
