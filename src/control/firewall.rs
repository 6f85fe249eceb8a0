//! Does a firewall of this machine let connections to our ports pass?
//!
//! Only read, never changed: the commands that would open a port are told. What cannot be decided
//! (marks, sets of addresses, rules of one interface) is told as unknown, never as open.

use std::fs;

use serde_json::Value;

use super::command::{self, Ran};

/// What happens to a new TCP connection from anywhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Passage {
    /// It passes.
    Open,
    /// It does not.
    Closed,
    /// It depends on what cannot be decided here.
    Unknown,
}

/// A firewall that is in use on this machine.
#[derive(Debug)]
pub struct Firewall {
    /// Its name.
    pub name: &'static str,
    /// What it lets pass, or why that cannot be seen.
    pub rules: Result<Rules, String>,
}

/// What a firewall lets pass.
#[derive(Debug)]
pub enum Rules {
    /// By `ufw status`.
    Ufw(String),
    /// By the services and the ports of the zone.
    Firewalld(String, String),
    /// By `nft -j list ruleset`.
    Nftables(String),
}

impl Rules {
    /// What happens to a new TCP connection to this port from anywhere.
    pub fn passage(&self, port: u16) -> Passage {
        match self {
            Self::Ufw(status) => ufw_passage(status, port),
            Self::Firewalld(services, ports) => firewalld_passage(services, ports, port),
            Self::Nftables(ruleset) => {
                nft_passage(ruleset, port).map_or(Passage::Unknown, |it| it.0)
            }
        }
    }
}

/// Looks which firewall is in use, and asks it for its rules; `None` if none of those that we know
/// is. Takes a few seconds at most.
pub fn look() -> Option<Firewall> {
    if let Ok(conf) = fs::read_to_string("/etc/ufw/ufw.conf")
        && ufw_is_enabled(&conf)
    {
        let rules = match command::run("ufw", &["status"]) {
            Ran::Well(status) => Ok(Rules::Ufw(status)),
            Ran::Badly(why) => Err(why),
            Ran::Absent => Err("the program ufw is not there".to_owned()),
        };
        return Some(Firewall { name: "ufw", rules });
    }
    if let Ran::Well(state) = command::run("firewall-cmd", &["--state"])
        && state.trim() == "running"
    {
        let services = command::run("firewall-cmd", &["--list-services"]);
        let open = command::run("firewall-cmd", &["--list-ports"]);
        let rules = match (services, open) {
            (Ran::Well(services), Ran::Well(open)) => Ok(Rules::Firewalld(services, open)),
            (Ran::Badly(why), _) | (_, Ran::Badly(why)) => Err(why),
            _ => Err("the program firewall-cmd went away".to_owned()),
        };
        return Some(Firewall {
            name: "firewalld",
            rules,
        });
    }
    let rules = match command::run("nft", &["-j", "list", "ruleset"]) {
        Ran::Absent => return None,
        Ran::Badly(why) => Err(why),
        Ran::Well(ruleset) if nft_passage(&ruleset, 80).is_some() => Ok(Rules::Nftables(ruleset)),
        Ran::Well(_) => Err("nft did not answer in JSON".to_owned()),
    };
    Some(Firewall {
        name: "nftables",
        rules,
    })
}

/// Is ufw switched on, by the text of `/etc/ufw/ufw.conf`?
fn ufw_is_enabled(conf: &str) -> bool {
    conf.lines()
        .filter_map(|line| line.trim().strip_prefix("ENABLED="))
        .next_back()
        .is_some_and(|value| value.trim_matches(['"', '\'']).eq_ignore_ascii_case("yes"))
}

/// What ufw does with a port, by the text of `ufw status`. It denies what no rule allows; the
/// default is told by `verbose` only, and is that almost everywhere.
fn ufw_passage(status: &str, port: u16) -> Passage {
    if !status.lines().any(|line| line.trim() == "Status: active") {
        return Passage::Open;
    }
    if let Some(defaults) = status
        .lines()
        .find_map(|line| line.strip_prefix("Default: "))
        && defaults.starts_with("allow (incoming)")
    {
        return Passage::Open;
    }
    let mut partly = false;
    for line in status.lines() {
        // Columns are set apart by two blanks or more; names of applications hold one.
        let columns: Vec<&str> = line
            .split("  ")
            .map(str::trim)
            .filter(|column| !column.is_empty())
            .collect();
        let [to, action, from, ..] = columns[..] else {
            continue;
        };
        if to.ends_with("(v6)") || !ufw_covers(to, port) {
            continue;
        }
        let is_allowed = action.starts_with("ALLOW") || action.starts_with("LIMIT");
        let is_denied = action.starts_with("DENY") || action.starts_with("REJECT");
        if action.ends_with("OUT") || action.ends_with("FWD") || !(is_allowed || is_denied) {
            continue;
        }
        // The first rule that fits is the one that holds.
        match (from.starts_with("Anywhere"), is_allowed) {
            (true, true) => return Passage::Open,
            (true, false) if partly => return Passage::Unknown,
            (true, false) => return Passage::Closed,
            (false, _) => partly = true,
        }
    }
    match partly {
        true => Passage::Unknown,
        false => Passage::Closed,
    }
}

/// `80/tcp`, `80,443/tcp`, `8000:9000/tcp`, `Anywhere`, `Nginx Full`, each also with `on eth0`.
fn ufw_covers(to: &str, port: u16) -> bool {
    match to {
        "Anywhere" => return true,
        "Nginx Full" | "Apache Full" | "WWW Full" => return [80, 443].contains(&port),
        "Nginx HTTP" | "Apache" | "WWW" => return port == 80,
        "Nginx HTTPS" | "Apache Secure" | "WWW Secure" => return port == 443,
        _ => {}
    }
    let (ports, protocol) = to.split_once('/').unwrap_or((to, "tcp"));
    protocol == "tcp"
        && ports.split(',').any(|ports| match ports.split_once(':') {
            Some((first, last)) => {
                let number = |text: &str| text.parse::<u16>().ok();
                number(first)
                    .zip(number(last))
                    .is_some_and(|(first, last)| (first..=last).contains(&port))
            }
            None => ports.parse() == Ok(port),
        })
}

/// What firewalld does with a port, by the services and ports of the zone.
fn firewalld_passage(services: &str, ports: &str, port: u16) -> Passage {
    let service = match port {
        80 => Some("http"),
        443 => Some("https"),
        _ => None,
    };
    let by_service = service.is_some_and(|name| services.split_whitespace().any(|it| it == name));
    let by_port = ports.split_whitespace().any(|it| {
        let Some(numbers) = it.strip_suffix("/tcp") else {
            return false;
        };
        let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
        match (first.parse::<u16>(), last.parse()) {
            (Ok(first), Ok(last)) => (first..=last).contains(&port),
            _ => false,
        }
    });
    match by_service || by_port {
        true => Passage::Open,
        false => Passage::Closed,
    }
}

/// A chain of nftables that new connections go through.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chain {
    /// `inet`
    pub family: String,
    /// `filter`
    pub table: String,
    /// `input`
    pub name: String,
}

/// What nftables does with a port, by `nft -j list ruleset`, and the chain that stops it.
pub fn nft_passage(ruleset: &str, port: u16) -> Option<(Passage, Option<Chain>)> {
    let ruleset: Value = serde_json::from_str(ruleset).ok()?;
    let items = ruleset.get("nftables")?.as_array()?;
    let chains = items.iter().filter_map(|item| item.get("chain"));
    let mut result = (Passage::Open, None);
    for chain in chains.filter(|chain| {
        text(chain, "hook") == "input" && ["ip", "ip6", "inet"].contains(&text(chain, "family"))
    }) {
        let named = Chain {
            family: text(chain, "family").to_owned(),
            table: text(chain, "table").to_owned(),
            name: text(chain, "name").to_owned(),
        };
        let verdict = match walk(items, &named, port, 0) {
            Verdict::Accept => Passage::Open,
            Verdict::Drop => Passage::Closed,
            Verdict::Unknown => Passage::Unknown,
            Verdict::Next if text(chain, "policy") == "drop" => Passage::Closed,
            Verdict::Next => Passage::Open,
        };
        // Every chain of the hook has to let it pass.
        match (verdict, result.0) {
            (Passage::Closed, Passage::Open | Passage::Unknown)
            | (Passage::Unknown, Passage::Open) => result = (verdict, Some(named)),
            _ => {}
        }
    }
    Some(result)
}

/// What a rule or a chain does with a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Accept,
    Drop,
    /// The next rule decides.
    Next,
    Unknown,
}

/// Chains that jump into each other deeper than this are not followed.
const MAX_DEPTH: usize = 16;

fn walk(items: &[Value], chain: &Chain, port: u16, depth: usize) -> Verdict {
    if depth > MAX_DEPTH {
        return Verdict::Unknown;
    }
    let rules = items.iter().filter_map(|item| item.get("rule"));
    let rules = rules.filter(|rule| {
        text(rule, "family") == chain.family
            && text(rule, "table") == chain.table
            && text(rule, "chain") == chain.name
    });
    // Something that we cannot decide may have accepted or dropped it already.
    let mut doubt = false;
    for rule in rules {
        let mut fits = Some(true);
        for expression in rule
            .get("expr")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            if let Some(condition) = expression.get("match") {
                fits = match (fits, condition_holds(condition, port)) {
                    (Some(false), _) | (_, Some(false)) => Some(false),
                    (None, _) | (_, None) => None,
                    (Some(true), Some(true)) => Some(true),
                };
                continue;
            }
            // Statements that are conditions as well: a rate, a set, a match of iptables.
            if ["limit", "xt", "vmap", "connlimit", "lookup"]
                .iter()
                .any(|name| expression.get(name).is_some())
                && fits != Some(false)
            {
                fits = None;
                if expression.get("vmap").is_some() {
                    doubt = true;
                }
                continue;
            }
            let verdict = if expression.get("accept").is_some() {
                Verdict::Accept
            } else if expression.get("drop").is_some() || expression.get("reject").is_some() {
                Verdict::Drop
            } else if expression.get("return").is_some() {
                match fits {
                    Some(true) if doubt => return Verdict::Unknown,
                    Some(true) => return Verdict::Next,
                    Some(false) => continue,
                    None => Verdict::Unknown,
                }
            } else if let Some(target) = expression.get("jump").or(expression.get("goto")) {
                let target = Chain {
                    name: text(target, "target").to_owned(),
                    ..chain.clone()
                };
                match fits {
                    Some(false) => continue,
                    _ => walk(items, &target, port, depth + 1),
                }
            } else {
                // Counters, logs and the like.
                continue;
            };
            match (fits, verdict) {
                (Some(false), _) | (_, Verdict::Next) => {}
                (None, _) | (_, Verdict::Unknown) => doubt = true,
                (Some(true), _) if doubt => return Verdict::Unknown,
                (Some(true), verdict) => return verdict,
            }
        }
    }
    match doubt {
        true => Verdict::Unknown,
        false => Verdict::Next,
    }
}

/// Does a new TCP connection to this port, from another machine, fulfil it?
fn condition_holds(condition: &Value, port: u16) -> Option<bool> {
    let (left, right) = (condition.get("left")?, condition.get("right")?);
    let is_negated = text(condition, "op") == "!=";
    let holds = |is_in: bool| Some(is_in != is_negated);
    if let Some(payload) = left.get("payload") {
        return match (text(payload, "protocol"), text(payload, "field")) {
            ("tcp" | "th", "dport") => holds(contains_port(right, port)?),
            ("tcp", _) => None,
            ("udp" | "icmp" | "icmpv6" | "igmp" | "sctp", _) => Some(false),
            ("ip", "protocol") | ("ip6", "nexthdr") => holds(contains_word(right, "tcp")),
            _ => None,
        };
    }
    if let Some(meta) = left.get("meta") {
        return match text(meta, "key") {
            "l4proto" => holds(contains_word(right, "tcp")),
            "iif" | "iifname" => match right.as_str() {
                Some("lo") => holds(false),
                _ => None,
            },
            _ => None,
        };
    }
    if let Some(state) = left.get("ct")
        && text(state, "key") == "state"
    {
        return holds(contains_word(right, "new"));
    }
    None
}

/// A port, a range, or a set of both; `None` for a set that has a name.
fn contains_port(value: &Value, port: u16) -> Option<bool> {
    if let Some(number) = value.as_u64() {
        return Some(number == u64::from(port));
    }
    if let Some(range) = value.get("range").and_then(Value::as_array) {
        let bounds = (range.first()?.as_u64()?, range.get(1)?.as_u64()?);
        return Some((bounds.0..=bounds.1).contains(&u64::from(port)));
    }
    let members = value
        .get("set")
        .and_then(Value::as_array)
        .or(value.as_array())?;
    let mut found = Some(false);
    for member in members {
        match contains_port(member, port) {
            Some(true) => return Some(true),
            Some(false) => {}
            None => found = None,
        }
    }
    found
}

fn contains_word(value: &Value, word: &str) -> bool {
    let members = value
        .get("set")
        .and_then(Value::as_array)
        .or(value.as_array());
    match members {
        Some(members) => members.iter().any(|member| member.as_str() == Some(word)),
        None => value.as_str() == Some(word),
    }
}

fn text<'v>(value: &'v Value, member: &str) -> &'v str {
    value
        .get(member)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UFW: &str = "\
Status: active

To                         Action      From
--                         ------      ----
22/tcp                     LIMIT       Anywhere
80,443/tcp                 ALLOW       Anywhere
8000:8100/tcp              ALLOW       Anywhere
5432/tcp                   ALLOW       10.0.0.0/8
53/udp                     ALLOW       Anywhere
8443                       DENY        Anywhere
9000/tcp on wg0            ALLOW       Anywhere
22/tcp (v6)                LIMIT       Anywhere (v6)
6000/tcp (v6)              ALLOW       Anywhere (v6)
25/tcp                     DENY OUT    Anywhere
";

    #[test]
    fn ufw_is_understood() {
        assert!(ufw_is_enabled(
            "# /etc/ufw/ufw.conf\n#ENABLED=no\nENABLED=yes\nLOGLEVEL=low\n"
        ));
        assert!(!ufw_is_enabled("ENABLED=no\n"));
        for (port, expected) in [
            (22, Passage::Open),
            (80, Passage::Open),
            (443, Passage::Open),
            (8050, Passage::Open),
            (5432, Passage::Unknown),
            (53, Passage::Closed),
            (8443, Passage::Closed),
            (9000, Passage::Closed),
            (6000, Passage::Closed),
            (25, Passage::Closed),
        ] {
            assert_eq!(ufw_passage(UFW, port), expected, "{port}");
        }
        let by_name = "Status: active\n\nNginx Full                 ALLOW       Anywhere\n";
        assert_eq!(ufw_passage(by_name, 443), Passage::Open);
        assert_eq!(ufw_passage(by_name, 8080), Passage::Closed);
        assert_eq!(ufw_passage("Status: inactive\n", 80), Passage::Open);
    }

    #[test]
    fn firewalld_is_understood() {
        let passage =
            |port| firewalld_passage("dhcpv6-client http ssh", "8000-8100/tcp 443/udp", port);
        assert_eq!(passage(80), Passage::Open);
        assert_eq!(passage(443), Passage::Closed);
        assert_eq!(passage(8050), Passage::Open);
    }

    /// As `nft -j list ruleset` prints the workstation example of nftables, with port 80 added.
    const NFT: &str = r#"{"nftables": [
        {"metainfo": {"version": "1.0.6", "release_name": "Lester Gooch #5", "json_schema_version": 1}},
        {"table": {"family": "inet", "name": "filter", "handle": 1}},
        {"chain": {"family": "inet", "table": "filter", "name": "input", "handle": 1, "type": "filter", "hook": "input", "prio": 0, "policy": "drop"}},
        {"chain": {"family": "inet", "table": "filter", "name": "web", "handle": 9}},
        {"chain": {"family": "inet", "table": "filter", "name": "output", "handle": 3, "type": "filter", "hook": "output", "prio": 0, "policy": "accept"}},
        {"rule": {"family": "inet", "table": "filter", "chain": "input", "handle": 4, "expr": [{"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "lo"}}, {"accept": null}]}},
        {"rule": {"family": "inet", "table": "filter", "chain": "input", "handle": 5, "expr": [{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}}, {"accept": null}]}},
        {"rule": {"family": "inet", "table": "filter", "chain": "input", "handle": 6, "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "icmp", "field": "type"}}, "right": "echo-request"}}, {"accept": null}]}},
        {"rule": {"family": "inet", "table": "filter", "chain": "input", "handle": 7, "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": {"set": [22, 80, {"range": [8000, 8100]}]}}}, {"counter": {"packets": 0, "bytes": 0}}, {"accept": null}]}},
        {"rule": {"family": "inet", "table": "filter", "chain": "input", "handle": 8, "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": {"prefix": {"addr": "10.0.0.0", "len": 8}}}}, {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 5432}}, {"accept": null}]}},
        {"rule": {"family": "inet", "table": "filter", "chain": "input", "handle": 10, "expr": [{"jump": {"target": "web"}}]}},
        {"rule": {"family": "inet", "table": "filter", "chain": "web", "handle": 11, "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 8443}}, {"accept": null}]}}
    ]}"#;

    #[test]
    fn nftables_are_walked_as_the_kernel_does() {
        let chain = Chain {
            family: "inet".to_owned(),
            table: "filter".to_owned(),
            name: "input".to_owned(),
        };
        for (port, expected) in [
            (80, Passage::Open),
            (8050, Passage::Open),
            (8443, Passage::Open),
            (443, Passage::Closed),
            (5432, Passage::Unknown),
        ] {
            let (passage, by) = nft_passage(NFT, port).expect("a ruleset");
            assert_eq!(passage, expected, "{port}");
            assert_eq!(
                by,
                (passage != Passage::Open).then(|| chain.clone()),
                "{port}"
            );
        }
        let empty = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}}]}"#;
        assert_eq!(nft_passage(empty, 80), Some((Passage::Open, None)));
        assert_eq!(nft_passage("no JSON", 80), None);
    }

    #[test]
    fn a_rule_that_drops_everything_stands_for_a_policy() {
        let ruleset = r#"{"nftables": [
            {"chain": {"family": "ip", "table": "filter", "name": "INPUT", "hook": "input", "policy": "accept"}},
            {"rule": {"family": "ip", "table": "filter", "chain": "INPUT", "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 80}}, {"accept": null}]}},
            {"rule": {"family": "ip", "table": "filter", "chain": "INPUT", "expr": [{"reject": null}]}}
        ]}"#;
        assert_eq!(nft_passage(ruleset, 80).expect("good").0, Passage::Open);
        assert_eq!(nft_passage(ruleset, 443).expect("good").0, Passage::Closed);
    }

    #[test]
    fn chains_in_a_circle_end() {
        let ruleset = r#"{"nftables": [
            {"chain": {"family": "ip", "table": "t", "name": "a", "hook": "input", "policy": "drop"}},
            {"rule": {"family": "ip", "table": "t", "chain": "a", "expr": [{"jump": {"target": "a"}}]}}
        ]}"#;
        assert_eq!(nft_passage(ruleset, 80).expect("good").0, Passage::Unknown);
    }
}
