//! `listen`: addresses, their options, and which servers share them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};

use super::{Cx, http3};
use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::include::{Node, Word};
use crate::conf::typed::listen::{Address, Keepalive, Listen, Options};
use crate::unit;

/// Host and port of a text; brackets of an IPv6 address are removed. `None` if the port is none.
pub fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = if let Some(inside) = text.strip_prefix('[') {
        let (host, rest) = inside.split_once(']')?;
        (
            host,
            rest.strip_prefix(':')
                .map(Some)
                .or_else(|| rest.is_empty().then_some(None))?,
        )
    } else {
        match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    match port {
        None => Some((host, None)),
        Some(port) => Some((host, Some(port.parse().ok().filter(|&port| port > 0)?))),
    }
}

/// Adds the `listen` lines of a server (its position is `server`) to the list of addresses; those of
/// the server, in the order written.
pub fn add(
    nodes: &[&Node],
    server: usize,
    server_node: &Node,
    listens: &mut Vec<Listen>,
    cx: &mut Cx,
) -> Vec<Address> {
    if nodes.is_empty() {
        // nginx takes 8000 where it may not bind 80.
        let port = if nix::unistd::geteuid().is_root() {
            80
        } else {
            8000
        };
        let address = Address::Ip(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port));
        place(
            address.clone(),
            Options::default(),
            false,
            false,
            server,
            server_node,
            &server_node.name,
            listens,
            cx,
        );
        return vec![address];
    }
    let is_of_tcp = |node: &&Node| node.arguments.iter().all(|word| &*word.text != "quic");
    let has_others = nodes.iter().any(is_of_tcp);
    let mut found = Vec::new();
    for node in nodes {
        let Some((first, rest)) = node.arguments.split_first() else {
            continue;
        };
        let Some(addresses) = addresses(first, cx) else {
            continue;
        };
        let mut options = Options::default();
        let mut is_default = false;
        let mut has_options = false;
        let mut is_quic = false;
        for word in rest {
            let (key, value) = word
                .text
                .split_once('=')
                .map_or((&*word.text, None), |(key, value)| (key, Some(value)));
            let number = value.and_then(|value| value.parse::<u32>().ok());
            let size = value
                .and_then(unit::size::size)
                .and_then(|size| u32::try_from(size).ok());
            let is_fine = match (key, value) {
                ("default_server" | "default", None) => {
                    is_default = true;
                    true
                }
                ("http2", None) => {
                    cx.report(
                        Diagnostic::warning(
                            Code::DEPRECATED,
                            word.span,
                            "the `http2` parameter of `listen` is deprecated",
                        )
                        .hint("write `http2 on;` in the server"),
                    );
                    options.http2 = true;
                    true
                }
                ("ssl", None) => {
                    options.ssl = true;
                    true
                }
                ("proxy_protocol", None) => {
                    options.proxy_protocol = true;
                    true
                }
                ("quic", None) => {
                    http3::warn_of_listen(word, first, has_others, cx);
                    is_quic = true;
                    options.ssl = true;
                    true
                }
                ("backlog", _) => {
                    options.backlog = number;
                    has_options = true;
                    number.is_some_and(|number| number > 0)
                }
                ("rcvbuf", _) => {
                    options.receive_buffer = size;
                    has_options = true;
                    size.is_some()
                }
                ("sndbuf", _) => {
                    options.send_buffer = size;
                    has_options = true;
                    size.is_some()
                }
                ("fastopen", _) => {
                    options.fastopen = number;
                    has_options = true;
                    number.is_some()
                }
                ("ipv6only", Some(value)) => {
                    options.ipv6_only = Some(value == "on");
                    has_options = true;
                    matches!(value, "on" | "off")
                }
                ("so_keepalive", Some(value)) => {
                    options.keepalive = keepalive(value);
                    has_options = true;
                    options.keepalive.is_some()
                }
                ("deferred", None) => {
                    options.deferred = true;
                    has_options = true;
                    true
                }
                ("reuseport", None) => {
                    options.reuse_port = true;
                    has_options = true;
                    true
                }
                ("bind", None) => {
                    has_options = true;
                    true
                }
                ("setfib" | "accept_filter" | "multipath", _) => true,
                _ => false,
            };
            if !is_fine {
                cx.error(
                    Code::UNKNOWN_PARAMETER,
                    word.span,
                    format!("invalid parameter `{}`", word.text),
                );
            }
        }
        // Over UDP the address would be another one.
        if is_quic && has_others {
            continue;
        }
        for address in addresses {
            found.push(address.clone());
            place(
                address,
                options.clone(),
                is_default,
                has_options,
                server,
                server_node,
                first,
                listens,
                cx,
            );
        }
    }
    found
}

#[expect(
    clippy::too_many_arguments,
    reason = "one address with all that is said of it"
)]
fn place(
    address: Address,
    options: Options,
    is_default: bool,
    has_options: bool,
    server: usize,
    server_node: &Node,
    word: &Word,
    listens: &mut Vec<Listen>,
    cx: &mut Cx,
) {
    let Some(listen) = listens.iter_mut().find(|listen| listen.address == address) else {
        listens.push(Listen {
            address,
            options,
            servers: vec![server],
            default_server: server,
            has_explicit_default: is_default,
            is_covered: false,
            span: word.span,
        });
        return;
    };
    if listen.servers.contains(&server) {
        cx.report(
            Diagnostic::error(
                Code::DUPLICATE,
                word.span,
                format!("the server listens on `{address}` twice"),
            )
            .label(server_node.name.span, "in this server"),
        );
        return;
    }
    listen.servers.push(server);
    if listen.options.proxy_protocol != options.proxy_protocol {
        let problem = Diagnostic::warning(
            Code::MIXED_PROXY_PROTOCOL,
            word.span,
            format!("protocol options redefined for `{}`", listen.address),
        );
        let (says, lacks) = ("`proxy_protocol` is said here", "and not here");
        let (here, before) = match options.proxy_protocol {
            true => (says, lacks),
            false => (lacks, says),
        };
        cx.report(
            problem
                .label(word.span, here)
                .label(listen.span, before)
                .hint("it holds for all servers of the address: say it for each, or for none"),
        );
    }
    // These hold for the address if any of its servers says so.
    listen.options.http2 |= options.http2;
    listen.options.ssl |= options.ssl;
    listen.options.proxy_protocol |= options.proxy_protocol;
    if has_options {
        let with_protocols = |options| Options {
            http2: listen.options.http2,
            ssl: listen.options.ssl,
            proxy_protocol: listen.options.proxy_protocol,
            ..options
        };
        let plain = with_protocols(Options::default());
        let options = with_protocols(options);
        if listen.options != plain && listen.options != options {
            cx.report(
                Diagnostic::error(
                    Code::CONFLICTING_LISTEN,
                    word.span,
                    format!("options of `{address}` differ from those given before"),
                )
                .label(listen.span, "first given here"),
            );
        }
        listen.options = options;
    }
    if is_default {
        if listen.has_explicit_default {
            cx.report(
                Diagnostic::error(
                    Code::CONFLICTING_LISTEN,
                    word.span,
                    format!("a second default server for `{address}`"),
                )
                .label(listen.span, "the address was named here first"),
            );
        }
        listen.has_explicit_default = true;
        listen.default_server = server;
    }
}

/// A specific address whose port is also bound with a wildcard needs no socket of its own; binding
/// both is refused by the system (nginx `ngx_http_init_listening`).
pub fn mark_covered(listens: &mut [Listen]) {
    let wildcards: Vec<SocketAddr> = listens
        .iter()
        .filter_map(|listen| match &listen.address {
            Address::Ip(address) if address.ip().is_unspecified() => Some(*address),
            _ => None,
        })
        .collect();
    for listen in listens {
        if let Address::Ip(address) = &listen.address {
            listen.is_covered = wildcards.iter().any(|wildcard| {
                wildcard != address
                    && wildcard.port() == address.port()
                    && wildcard.is_ipv4() == address.is_ipv4()
            });
        }
    }
}

fn addresses(word: &Word, cx: &mut Cx) -> Option<Vec<Address>> {
    let text = &*word.text;
    if let Some(path) = text.strip_prefix("unix:") {
        // The kernel's limit with its final NUL.
        if path.is_empty() || path.len() > 107 {
            cx.error(
                Code::BAD_ADDRESS,
                word.span,
                format!("`{text}` is not the path of a Unix socket"),
            );
            return None;
        }
        return Some(vec![Address::Unix(path.into())]);
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return match text.parse() {
            Ok(port) if port > 0 => Some(vec![Address::Ip(SocketAddr::new(
                Ipv4Addr::UNSPECIFIED.into(),
                port,
            ))]),
            _ => {
                cx.error(
                    Code::BAD_ADDRESS,
                    word.span,
                    format!("invalid port in `{text}`"),
                );
                None
            }
        };
    }
    let Some((host, port)) = split_port(text) else {
        cx.error(
            Code::BAD_ADDRESS,
            word.span,
            format!("invalid port in `{text}`"),
        );
        return None;
    };
    let port = port.unwrap_or(80);
    let ip = match host {
        "*" => Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        "" if text.starts_with('[') => Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        host => host.parse().ok(),
    };
    if let Some(ip) = ip {
        return Some(vec![Address::Ip(SocketAddr::new(ip, port))]);
    }
    // A name stands for all of its addresses, as with nginx; there is no way to listen later.
    match (host, port).to_socket_addrs() {
        Ok(found) => {
            let mut addresses: Vec<Address> = found.map(Address::Ip).collect();
            addresses.dedup();
            Some(addresses)
        }
        Err(error) => {
            cx.report(
                Diagnostic::error(
                    Code::BAD_ADDRESS,
                    word.span,
                    format!("host not found in `{text}`: {error}"),
                )
                .hint("listen on an address of this machine, or on a port alone"),
            );
            None
        }
    }
}

fn keepalive(text: &str) -> Option<Keepalive> {
    let plain = |enabled| {
        Some(Keepalive {
            enabled,
            idle: None,
            interval: None,
            count: None,
        })
    };
    match text {
        "on" => return plain(true),
        "off" => return plain(false),
        _ => {}
    }
    let mut parts = text.split(':');
    let seconds = |part: Option<&str>| match part {
        None | Some("") => Some(None),
        Some(part) => u32::try_from(unit::time::seconds(part)?.as_secs())
            .ok()
            .filter(|&time| time > 0)
            .map(Some),
    };
    let idle = seconds(parts.next())?;
    let interval = seconds(parts.next())?;
    let count = match parts.next() {
        None | Some("") => None,
        Some(count) => Some(count.parse().ok()?),
    };
    (parts.next().is_none() && (idle.is_some() || interval.is_some() || count.is_some())).then_some(
        Keepalive {
            enabled: true,
            idle,
            interval,
            count,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_told_apart() {
        assert_eq!(split_port("a:80"), Some(("a", Some(80))));
        assert_eq!(split_port("[::1]:8080"), Some(("::1", Some(8080))));
        assert_eq!(split_port("[::1]"), Some(("::1", None)));
        assert_eq!(split_port("a"), Some(("a", None)));
        for wrong in ["a:0", "a:99999", "a:b", "[::1", "[::1]x"] {
            assert_eq!(split_port(wrong), None);
        }
    }

    #[test]
    fn keepalive_takes_words_and_parts() {
        assert!(keepalive("on").is_some_and(|found| found.enabled));
        let found = keepalive("30m::10").expect("valid");
        assert_eq!(
            (found.idle, found.interval, found.count),
            (Some(1800), None, Some(10))
        );
        assert_eq!(keepalive("::"), None);
        assert_eq!(keepalive("x"), None);
    }
}
