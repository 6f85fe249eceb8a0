//! `map`, `geo`, `split_clients`: variables that are looked up in a table.
//!
//! Owns the entries and what may not stand twice. Invariant: the tables come out in the order in
//! which [`super::names::collect`] counted them, because a variable names its table by position.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::Cx;
use super::rewrite::defined;
use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::include::{Node, Word};
use crate::conf::regex::Regex;
use crate::conf::source::Span;
use crate::conf::template::Template;
use crate::conf::typed::hostnames::{HostnameTable, Pattern};
use crate::conf::typed::map::{AddressTable, Geo, Map, SplitClients};
use crate::unit;

/// All tables of an `http {}`.
#[derive(Debug, Default)]
pub struct Lookups {
    /// For `Http::maps`.
    pub maps: Vec<Map>,
    /// For `Http::geos`.
    pub geos: Vec<Geo>,
    /// For `Http::splits`.
    pub splits: Vec<SplitClients>,
}

/// The tables that stand directly in an `http {}`.
pub fn lookups(http: &[Node], cx: &mut Cx) -> Lookups {
    let mut lookups = Lookups::default();
    for node in http {
        let Some(entries) = node.block.as_deref() else {
            continue;
        };
        match &*node.name.text {
            "map" => lookups.maps.push(map(node, entries, cx)),
            "geo" => lookups.geos.push(geo(node, entries, cx)),
            "split_clients" => lookups.splits.push(split_clients(node, entries, cx)),
            _ => {}
        }
    }
    lookups
}

/// An address or a network as nginx reads it (`ngx_ptocidr`); tells what is wrong with it.
pub fn network(word: &Word, code: Code, cx: &mut Cx) -> Option<IpNet> {
    let text = &*word.text;
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address = match address.contains(':') {
        true => address.parse().ok(),
        false => ipv4(address).map(IpAddr::V4),
    };
    let network = address.and_then(|address| match length {
        Some(length) => {
            let length = unit::decimal(length).and_then(|length| u8::try_from(length).ok());
            IpNet::new(address, length?).ok()
        }
        None => Some(IpNet::from(address)),
    });
    let Some(network) = network else {
        let problem = Diagnostic::error(
            code,
            word.span,
            format!("`{text}` is neither an address nor a network"),
        );
        cx.report(problem.hint("for example `192.0.2.1`, `192.0.2.0/24` or `2001:db8::/32`"));
        return None;
    };
    if network.trunc() != network {
        let problem = Diagnostic::warning(
            Code::HOST_BITS,
            word.span,
            format!("the low address bits of `{text}` have no meaning"),
        );
        cx.report(problem.hint(format!("it stands for `{}`", network.trunc())));
    }
    Some(network.trunc())
}

/// Four numbers with dots between them; zeros in front mean nothing (nginx `ngx_inet_addr`).
fn ipv4(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        *octet = u8::try_from(unit::decimal(parts.next()?)?).ok()?;
    }
    parts.next().is_none().then(|| octets.into())
}

fn map(node: &Node, entries: &[Node], cx: &mut Cx) -> Map {
    let mut map = Map {
        source: Template::default(),
        volatile: false,
        values: HostnameTable::default(),
        longest_value: Some(0),
        hostnames: false,
        regexes: Vec::new(),
        default: Template::default(),
    };
    if let [source, name] = node.arguments.as_slice() {
        map.source = cx.template(source);
        defined(name, cx);
    }
    let mut default = None;
    // Where each of `map.values` stands.
    let mut places: HostnameTable<Span> = HostnameTable::default();
    for entry in entries {
        let (key, value) = match (&entry.block, entry.arguments.as_slice()) {
            (None, [value]) => (&entry.name, value),
            (None, []) if &*entry.name.text == "hostnames" => {
                map.hostnames = true;
                continue;
            }
            (None, []) if &*entry.name.text == "volatile" => {
                map.volatile = true;
                continue;
            }
            _ => {
                cx.report(
                    Diagnostic::error(
                        Code::BAD_MAP_ENTRY,
                        entry.name.span,
                        "an entry of a map is a value and what it maps to",
                    )
                    .hint("for example `example.org 1;`; a text with blanks needs quotes"),
                );
                continue;
            }
        };
        let value = cx.template(value);
        let text = &*key.text;
        if text == "default" {
            if let Some(first) = default.replace(key.span) {
                cx.report(duplicate(
                    "`default` stands twice".to_owned(),
                    key.span,
                    first,
                ));
            }
            map.default = value;
            continue;
        }
        if let Some(pattern) = text.strip_prefix('~') {
            let (pattern, ignore_case) = match pattern.strip_prefix('*') {
                Some(pattern) => (pattern, true),
                None => (pattern, false),
            };
            match Regex::new(pattern, ignore_case, &mut cx.names) {
                Ok(regex) => map.regexes.push((regex, value)),
                // One bad line of a table must not take down every site that the process serves.
                Err(reason) => cx.report(
                    Diagnostic::warning(
                        Code::MAP_REGEX_IGNORED,
                        key.span,
                        format!("invalid regular expression `{pattern}`: {reason}"),
                    )
                    .label(key.span, "this entry is left out"),
                ),
            }
            continue;
        }
        // A backslash protects `default`, `~` and the like.
        let lower = text.strip_prefix('\\').unwrap_or(text).to_ascii_lowercase();
        let pattern = match map.hostnames {
            true => Pattern::parse(lower.as_bytes()),
            false => Some(Pattern::Exact(lower.as_bytes())),
        };
        let Some(pattern) = pattern else {
            let problem = Diagnostic::error(
                Code::BAD_MAP_ENTRY,
                key.span,
                format!("`{text}` is not a host name or wildcard"),
            );
            cx.report(problem.hint("a `*` may only be the first or the last part"));
            continue;
        };
        if !places.insert(pattern, key.span) {
            let bare = lower.trim_start_matches('*').trim_end_matches('*');
            let name = bare.trim_start_matches('.').as_bytes();
            let first = places.find(bare.as_bytes()).or_else(|| places.find(name));
            let first = first.copied().unwrap_or(key.span);
            cx.report(duplicate(format!("`{text}` stands twice"), key.span, first));
            continue;
        }
        map.longest_value = match pattern {
            Pattern::Exact(name) => map.longest_value.map(|most| most.max(name.len())),
            _ => None,
        };
        map.values.insert(pattern, value);
    }
    map
}

fn duplicate(message: String, span: Span, first: Span) -> Diagnostic {
    Diagnostic::error(Code::DUPLICATE_MAP_ENTRY, span, message)
        .label(span, "here again")
        .label(first, "first here")
}

fn geo(node: &Node, entries: &[Node], cx: &mut Cx) -> Geo {
    let mut geo = Geo {
        source: None,
        volatile: false,
        networks: AddressTable::default(),
        default: Box::default(),
        proxies: Vec::new(),
        proxy_recursive: false,
    };
    if let Some(name) = node.arguments.last() {
        defined(name, cx);
    }
    if let [source, _] = node.arguments.as_slice()
        && let Some(name) = source.text.strip_prefix('$')
    {
        geo.source = cx.variable(source, name).map(Template::from_variable);
    }
    let mut default = None;
    let mut ranges: Option<Ranges> = None;
    let mut networks: HashMap<IpNet, Placed> = HashMap::new();
    for entry in entries {
        let key = &entry.name;
        let argument = match (&entry.block, entry.arguments.as_slice()) {
            (None, [argument]) => argument,
            (None, []) => {
                match &*key.text {
                    "ranges" if networks.is_empty() && default.is_none() => {
                        ranges = ranges.or(Some(Ranges::default()));
                    }
                    "ranges" => cx.error(
                        Code::BAD_GEO_ENTRY,
                        key.span,
                        "`ranges` must be the first entry",
                    ),
                    "proxy_recursive" => geo.proxy_recursive = true,
                    "volatile" => geo.volatile = true,
                    _ => cx.report(bad_geo_entry(key)),
                }
                continue;
            }
            _ => {
                cx.report(bad_geo_entry(key));
                continue;
            }
        };
        match (&*key.text, &mut ranges) {
            ("default", _) => {
                if let Some(first) = default.replace(key.span) {
                    cx.report(counts_later("`default`", key.span, first));
                }
                geo.default = argument.text.as_bytes().into();
            }
            ("proxy", _) => {
                geo.proxies
                    .extend(network(argument, Code::BAD_GEO_ENTRY, cx));
            }
            ("delete", Some(ranges)) => {
                if let Some((start, end)) = range(argument, cx)
                    && !ranges.cut(start, end)
                {
                    cx.report(nothing_to_delete(argument));
                }
            }
            ("delete", None) => {
                if let Some(network) = network(argument, Code::BAD_GEO_ENTRY, cx)
                    && networks.remove(&network).is_none()
                {
                    cx.report(nothing_to_delete(argument));
                }
            }
            (_, Some(ranges)) => {
                if let Some((start, end)) = range(key, cx) {
                    let value = (argument.text.as_bytes().into(), key.span);
                    if let Some(first) = ranges.insert(start, end, value) {
                        let what = format!("the range `{}`, in part,", key.text);
                        cx.report(counts_later(&what, key.span, first));
                    }
                }
            }
            (_, None) => {
                if let Some(network) = network(key, Code::BAD_GEO_ENTRY, cx) {
                    let value = (argument.text.as_bytes().into(), key.span);
                    if let Some((_, first)) = networks.insert(network, value) {
                        let what = format!("the network `{network}`");
                        cx.report(counts_later(&what, key.span, first));
                    }
                }
            }
        }
    }
    geo.networks = match ranges {
        Some(ranges) => AddressTable::from_ranges(
            ranges
                .0
                .into_iter()
                .map(|(start, (end, (value, _)))| (start, end, value))
                .collect(),
        ),
        None => AddressTable::new(
            &networks
                .into_iter()
                .map(|(network, (value, _))| (network, value))
                .collect::<Vec<_>>(),
        ),
    };
    geo
}

/// Ranges of addresses that do not overlap: start → end, value and where it stands.
#[derive(Default)]
struct Ranges(BTreeMap<u32, (u32, Placed)>);

/// A value and where it stands.
type Placed = (Box<[u8]>, Span);

impl Ranges {
    /// Adds a range; where it lies in another one, it counts. Returns where another one stands that
    /// is not around it (which nginx refuses, unless the two are equal).
    fn insert(&mut self, start: u32, end: u32, value: Placed) -> Option<Span> {
        let first = self
            .0
            .range(..=end)
            .next_back()
            .map(|(&first, (last, (_, span)))| (first, *last, *span))
            .filter(|&(first, last, _)| {
                let is_around = first <= start && last >= end && (first, last) != (start, end);
                last >= start && !is_around
            })
            .map(|(_, _, span)| span);
        self.cut(start, end);
        self.0.insert(start, (end, value));
        first
    }

    /// Takes a range out of all; `false` if nothing was there.
    fn cut(&mut self, start: u32, end: u32) -> bool {
        let mut is_found = false;
        while let Some((&first, &(last, _))) = self.0.range(..=end).next_back()
            && last >= start
        {
            is_found = true;
            let Some((_, value)) = self.0.remove(&first) else {
                break;
            };
            if last > end {
                self.0.insert(end + 1, (last, value.clone()));
            }
            if first < start {
                self.0.insert(first, (start - 1, value));
                break;
            }
        }
        is_found
    }
}

/// A range of IPv4 addresses, `first-last`.
fn range(word: &Word, cx: &mut Cx) -> Option<(u32, u32)> {
    let bounds = word.text.split_once('-').and_then(|(start, end)| {
        let (start, end) = (ipv4(start)?, ipv4(end)?);
        (start <= end).then_some((start.into(), end.into()))
    });
    if bounds.is_none() {
        let problem = Diagnostic::error(
            Code::BAD_GEO_ENTRY,
            word.span,
            format!("`{}` is not a range of IPv4 addresses", word.text),
        );
        cx.report(problem.hint("for example `192.0.2.1-192.0.2.9`"));
    }
    bounds
}

fn bad_geo_entry(key: &Word) -> Diagnostic {
    Diagnostic::error(
        Code::BAD_GEO_ENTRY,
        key.span,
        "an entry of `geo` is a network and its value",
    )
    .hint("for example `192.0.2.0/24 office;`")
}

fn counts_later(what: &str, span: Span, first: Span) -> Diagnostic {
    Diagnostic::warning(
        Code::DUPLICATE_NETWORK,
        span,
        format!("{what} stands twice, the later value is used"),
    )
    .label(span, "here again")
    .label(first, "first here")
}

fn nothing_to_delete(word: &Word) -> Diagnostic {
    Diagnostic::warning(
        Code::NOTHING_TO_DELETE,
        word.span,
        format!("there is no `{}` to delete", word.text),
    )
}

fn split_clients(node: &Node, entries: &[Node], cx: &mut Cx) -> SplitClients {
    let mut split = SplitClients {
        source: Template::default(),
        parts: Vec::new(),
    };
    if let [source, name] = node.arguments.as_slice() {
        split.source = cx.template(source);
        defined(name, cx);
    }
    // In hundredths of a percent.
    let mut sum = 0;
    let mut bound: u32 = 0;
    for entry in entries {
        let key = &entry.name;
        let (None, [value]) = (&entry.block, entry.arguments.as_slice()) else {
            let problem = Diagnostic::error(
                Code::BAD_SHARE,
                key.span,
                "an entry of `split_clients` is a share and its value",
            );
            cx.report(problem.hint("for example `0.5% new;`"));
            continue;
        };
        let share = match &*key.text {
            "*" => None,
            text => match text.strip_suffix('%').and_then(hundredths) {
                Some(share @ 1..) => Some(share),
                _ => {
                    let problem = Diagnostic::error(
                        Code::BAD_SHARE,
                        key.span,
                        format!("`{text}` is not a percentage"),
                    );
                    cx.report(problem.hint("for example `0.5%`, or `*` for the rest"));
                    continue;
                }
            },
        };
        sum = match share {
            Some(share) => sum + u64::from(share),
            None => 10_000,
        };
        if sum > 10_000 {
            cx.error(
                Code::BAD_SHARE,
                key.span,
                "all shares together are more than 100%",
            );
            break;
        }
        // The same rounding as nginx, so that a client stays in its part.
        let until = match share {
            Some(share) => {
                bound += (u64::from(share) * u64::from(u32::MAX) / 10_000) as u32;
                bound
            }
            None => u32::MAX,
        };
        split
            .parts
            .push((until, Template::from_text(value.text.as_bytes())));
    }
    split
}

/// A number with at most two decimals, times a hundred (nginx `ngx_atofp`).
fn hundredths(text: &str) -> Option<u32> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if text.is_empty() || decimals.len() > 2 || !is_number(whole) || !is_number(decimals) {
        return None;
    }
    format!("{whole}{decimals:0<2}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{nodes, problems};
    use super::*;
    use crate::conf::regex::Groups;
    use crate::conf::variable::{Source, Variable};

    fn lower(text: &str) -> (Lookups, Cx) {
        let nodes = nodes(text);
        let mut cx = Cx::new(&nodes);
        let lookups = lookups(&nodes, &mut cx);
        (lookups, cx)
    }

    fn mapped(text: &str, values: &[&str]) -> Vec<String> {
        let (lookups, cx) = lower(text);
        assert_eq!(problems(&cx), "", "{text}");
        let map = &lookups.maps[0];
        let text = |value: &&str| {
            let (found, _) = map.find(value.as_bytes(), &mut Groups::new());
            String::from_utf8_lossy(found.literal().unwrap_or(b"$")).into_owned()
        };
        values.iter().map(text).collect()
    }

    #[test]
    fn a_map_looks_up_without_case_then_tries_its_patterns_then_the_default() {
        let text =
            "map $host $x { default d; A 1; ~^b 2; ~*^C 3; \\~t 4; \\default 5; '' 6; v $uri; }";
        let values = [
            "a", "A", "bc", "BC", "cd", "~T", "DEFAULT", "", "v", "nothing",
        ];
        assert_eq!(
            mapped(text, &values),
            ["1", "1", "2", "d", "3", "4", "5", "6", "$", "d"]
        );
        // A pattern never sees the empty value.
        assert_eq!(mapped("map $host $x { ~^$ 1; }", &[""]), [""]);
    }

    #[test]
    fn wildcards_and_trailing_dots_count_with_hostnames_only() {
        let text = "*.a.org 1; .b.org 2; www.c.* 3; a.org 4;";
        assert_eq!(
            mapped(
                &format!("map $host $x {{ hostnames; {text} }}"),
                &[
                    "x.a.org.",
                    "a.org",
                    "b.org",
                    "y.b.org",
                    "www.c.com",
                    "c.com"
                ]
            ),
            ["1", "4", "2", "2", "3", ""]
        );
        assert_eq!(
            mapped(
                &format!("map $host $x {{ {text} }}"),
                &["x.a.org", "*.a.org", "a.org", "a.org."]
            ),
            ["", "1", "4", ""]
        );
    }

    #[test]
    fn what_is_wrong_in_a_map_is_told() {
        let told = |text: &str| problems(&lower(&format!("map $host $x {{ {text} }}")).1);
        assert_eq!(told("a 1; A 2;"), "OC-E131 `A` stands twice\n");
        assert_eq!(
            told("hostnames; *.a 1; .a 2;"),
            "OC-E131 `.a` stands twice\n"
        );
        assert_eq!(
            told("default 1; default 2;"),
            "OC-E131 `default` stands twice\n"
        );
        assert!(told("hostnames; a*b 1;").starts_with("OC-E130"));
        assert!(told("a;").starts_with("OC-E130"));
        assert!(told("a 1 2;").starts_with("OC-E130"));
        assert!(told("a $nothing;").starts_with("OC-E101"));
        // A pattern that cannot be compiled costs its line only.
        let (lookups, cx) = lower("map $host $x { ~( 1; a 2; }");
        assert!(problems(&cx).starts_with("OC-W143"));
        assert!(lookups.maps[0].regexes.is_empty());
    }

    #[test]
    fn the_names_count_the_tables_in_order() {
        let (lookups, cx) = lower(
            "map a $one { default 1; } geo $net { default n; } map a $two { default 2; volatile; }
             split_clients a $part { * p; } map $two $one { default 3; }",
        );
        assert_eq!(problems(&cx), "");
        let source = |name: &str| match cx.names.resolve(name) {
            Some(Variable::Slot(slot)) => cx.names.slots[usize::from(slot)].1,
            other => panic!("{other:?}"),
        };
        assert_eq!(source("one"), Source::Map(2));
        assert_eq!(source("two"), Source::Map(1));
        assert_eq!(source("net"), Source::Geo(0));
        assert_eq!(source("part"), Source::Split(0));
        assert!(lookups.maps[1].volatile);
        assert_eq!(lookups.maps[2].default.literal(), Some(&b"3"[..]));
    }

    fn located(text: &str, addresses: &[&str]) -> Vec<String> {
        let (lookups, cx) = lower(&format!("geo $x {{ {text} }}"));
        assert_eq!(problems(&cx), "", "{text}");
        let find = |address: &&str| {
            let value = lookups.geos[0].find(address.parse().expect("an address"));
            String::from_utf8_lossy(value).into_owned()
        };
        addresses.iter().map(find).collect()
    }

    #[test]
    fn the_smallest_network_gives_the_value() {
        assert_eq!(
            located(
                "default d; 010.0.0.0/8 a; 10.1.0.0/16 b; 10.1.1.1 c; ::1 six; 10.2.0.0/16 e; delete 10.2.0.0/16;",
                &[
                    "1.1.1.1", "10.9.9.9", "10.1.9.9", "10.1.1.1", "::1", "::2", "10.2.0.1"
                ]
            ),
            ["d", "a", "b", "c", "six", "d", "a"]
        );
    }

    #[test]
    fn ranges_may_lie_in_each_other() {
        assert_eq!(
            located(
                "ranges; default d; 10.0.0.0-10.0.0.99 a; 10.0.0.10-10.0.0.19 b; 10.0.0.30-10.0.0.39 c; \
                 delete 10.0.0.30-10.0.0.39; 255.255.255.255-255.255.255.255 e;",
                &[
                    "9.9.9.9",
                    "10.0.0.0",
                    "10.0.0.10",
                    "10.0.0.19",
                    "10.0.0.20",
                    "10.0.0.35",
                    "10.0.0.99",
                    "10.0.0.100",
                    "255.255.255.255",
                    "::1"
                ]
            ),
            ["d", "a", "b", "b", "a", "d", "a", "d", "e", "d"]
        );
    }

    #[test]
    fn what_is_wrong_in_a_geo_is_told() {
        let told = |text: &str| problems(&lower(&format!("geo $x {{ {text} }}")).1);
        for text in [
            "10.0.0.0/33 a;",
            "a b;",
            "10.0.0.1;",
            "10.0.0.1 a b;",
            "1.1.1.1 a; ranges;",
            "ranges; 10.0.0.1 a;",
            "ranges; 10.0.0.2-10.0.0.1 a;",
            "proxy x;",
        ] {
            assert!(told(text).starts_with("OC-E132"), "{text}: {}", told(text));
        }
        for text in [
            "1.1.1.1 a; 1.1.1.1/32 b;",
            "default a; default b;",
            "ranges; 1.1.1.1-1.1.1.2 a; 1.1.1.2-1.1.1.3 b;",
            "ranges; 1.1.1.1-1.1.1.2 a; 1.1.1.1-1.1.1.2 b;",
        ] {
            assert!(told(text).starts_with("OC-W144"), "{text}: {}", told(text));
        }
        assert!(told("10.0.0.1/8 a;").starts_with("OC-W145"));
        assert!(told("delete 10.0.0.0/8;").starts_with("OC-W147"));
        assert!(told("ranges; delete 1.1.1.1-1.1.1.2;").starts_with("OC-W147"));
        let (lookups, cx) =
            lower("geo $arg_ip $x { proxy 10.0.0.0/8; proxy_recursive; volatile; }");
        assert_eq!(problems(&cx), "");
        let geo = &lookups.geos[0];
        assert!(geo.source.is_some() && geo.proxy_recursive && geo.volatile);
        assert_eq!(geo.proxies.len(), 1);
    }

    #[test]
    fn shares_add_up_with_two_decimals() {
        let (lookups, cx) = lower("split_clients $uri $x { 0.5% a; 49.55% b; * c; }");
        assert_eq!(problems(&cx), "");
        let bounds: Vec<u32> = lookups.splits[0].parts.iter().map(|part| part.0).collect();
        assert_eq!(bounds, [21_474_836, 21_474_836 + 2_128_156_294, u32::MAX]);
        for text in [
            "60% a; 50% b;",
            "* a; 1% b;",
            "0% a;",
            "1.234% a;",
            "1 a;",
            "% a;",
            "1%;",
            "-1% a;",
        ] {
            let (_, cx) = lower(&format!("split_clients $uri $x {{ {text} }}"));
            assert!(problems(&cx).starts_with("OC-E133"), "{text}");
        }
    }
}
