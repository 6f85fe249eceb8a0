//! What is routed where, for people: every location of every server, and every upstream with its
//! peers, each with the place where it is written.

use std::collections::HashMap;
use std::sync::Arc;

use super::{limits, llm, numbers};
use crate::conf::address::Address;
use crate::conf::include::{Loaded, Node};
use crate::conf::source::{FileId, Span};
use crate::conf::typed::Http;
use crate::conf::typed::location::{Location, LocationKind, Server, Settings};
use crate::conf::typed::upstream::Method;
use crate::protocol::{Peer, PeerState, Route, Upstream};
use crate::serve::generation::Generation;
use crate::upstream::group::{Override, Peers};

/// How many lines of a block are shown as notes.
const MOST_NOTES: usize = 24;

/// Directives of a location that say what answers; the first that is there is its target.
const TARGETS: &[&str] = &[
    "return",
    "proxy_pass",
    "grpc_pass",
    "stub_status",
    "metrics",
    "llm_gateway",
    "alias",
    "root",
];

/// All routes, server after server as written, the locations of each in the order in which they are
/// matched.
pub fn routes(generation: &Generation, loaded: &Loaded) -> Vec<Route> {
    let outline = Outline::new(loaded);
    let http = &generation.http;
    let mut routes = Vec::new();
    for (position, server) in http.servers.iter().enumerate() {
        let base = server_route(http, position, server, &outline);
        let before = routes.len();
        let mut locations: Vec<&Location> = Vec::new();
        collect(&server.locations, &mut locations);
        locations.sort_by_key(|location| rank(&location.kind));
        for location in locations {
            let node = outline.node(location.span);
            routes.push(Route {
                id: generation.route_id(&location.settings).0,
                location: written(node, &location.kind),
                address: outline.address(node),
                limits: limits::of_place(&location.settings, &http.limit_zones),
                ..place(&base, node, loaded)
            });
        }
        // What no location takes is answered by the server itself.
        let takes_all = server.locations.iter().any(
            |location| matches!(&location.kind, LocationKind::Prefix { path, .. } if **path == *b"/"),
        );
        if routes.len() == before || !takes_all {
            let node = outline.node(server.span);
            routes.push(Route {
                id: generation.route_id(&server.settings).0,
                limits: limits::of_place(&server.settings, &http.limit_zones),
                ..place(&base, node, loaded)
            });
        }
    }
    routes
}

/// Every upstream with what the configuration says of its peers.
pub fn upstreams(generation: &Generation, loaded: &Loaded) -> Vec<Upstream> {
    let outline = Outline::new(loaded);
    let mut users: HashMap<&str, u32> = HashMap::new();
    for server in &generation.http.servers {
        let mut locations = Vec::new();
        collect(&server.locations, &mut locations);
        let all = locations.iter().map(|location| &location.settings);
        for settings in all.chain([&server.settings]) {
            if let Some(name) = upstream_of(settings, &generation.http) {
                *users.entry(name).or_default() += 1;
            }
        }
    }
    // The row of a provider says how it does, by key and model; its addresses beside it would not know.
    let own = |peers: &&Arc<Peers>| {
        let name = &*peers.upstream().name;
        users.contains_key(name) || !llm::is_of_provider(generation, peers.upstream())
    };
    let upstreams = generation.peers().iter().filter(own).map(|peers| {
        let upstream = peers.upstream();
        let node = match upstream.is_implicit {
            true => None,
            false => outline.block_around(upstream.span),
        };
        Upstream {
            name: upstream.name.to_string(),
            is_implicit: upstream.is_implicit,
            method: method(&upstream.method, node),
            keepalive: u32::try_from(upstream.keepalive.connections).unwrap_or(u32::MAX),
            peers: peers_of(peers, loaded),
            group: None,
            check: (generation.checks().iter())
                .find(|check| Arc::ptr_eq(check.peers(), peers))
                .map_or_else(String::new, |check| check.in_words()),
            conf_address: outline.address(node),
            routes: users.get(&*upstream.name).copied().unwrap_or_default(),
        }
    });
    upstreams.collect()
}

fn peers_of(peers: &Peers, loaded: &Loaded) -> Vec<Peer> {
    let upstream = peers.upstream();
    let table = peers.table();
    let mut shown = Vec::new();
    for (position, line) in upstream.servers.iter().enumerate() {
        let (number, _) = loaded.sources.line_column(line.span);
        let base = Peer {
            name: line.name.to_string(),
            weight: line.weight,
            is_backup: line.backup,
            max_fails: line.max_fails,
            fail_timeout_ms: line.fail_timeout.as_millis() as u64,
            max_connections: u64::from(line.max_connections),
            file: loaded.sources.path(line.span.file).display().to_string(),
            line: number as u32,
            ..Peer::default()
        };
        let before = shown.len();
        let tiers = [(&table.primary, false), (&table.backup, true)];
        for (tier, is_backup) in tiers {
            for peer in tier.iter().filter(|peer| peer.server == position) {
                let mut shown_peer = Peer {
                    id: peer.traffic_id.0,
                    address: peer.label.to_string(),
                    weight: peer.weight,
                    is_backup,
                    is_overridden: peers.override_of(position, &peer.address)
                        != Override::default(),
                    ..base.clone()
                };
                shown_peer.traffic.state = numbers::state(peer, false);
                shown_peer.traffic.peer = shown_peer.id;
                shown.push(shown_peer);
            }
        }
        if shown.len() == before {
            let mut unresolved = Peer {
                address: line.name.to_string(),
                ..base
            };
            unresolved.traffic.state = PeerState::Unresolved;
            shown.push(unresolved);
        }
    }
    shown
}

fn server_route(http: &Http, position: usize, server: &Server, outline: &Outline<'_>) -> Route {
    let node = outline.node(server.span);
    let lines = |name: &str| -> Vec<String> {
        let block = node.and_then(|node| node.block.as_deref());
        let block = block.unwrap_or_default();
        let lines = block.iter().filter(|line| &*line.name.text == name);
        let words = lines.flat_map(|line| line.arguments.iter().map(|word| word.text.to_string()));
        words.collect()
    };
    let listens = node
        .and_then(|node| node.block.as_deref())
        .unwrap_or_default()
        .iter()
        .filter(|line| &*line.name.text == "listen")
        .map(|line| {
            let words: Vec<_> = line.arguments.iter().map(|word| &*word.text).collect();
            words.join(" ")
        });
    let mut listens: Vec<String> = listens.collect();
    if listens.is_empty() {
        let own = http
            .listens
            .iter()
            .filter(|listen| listen.servers.contains(&position));
        listens.extend(own.map(|listen| listen.address.to_string()));
    }
    Route {
        server: String::from_utf8_lossy(&server.primary_name).into_owned(),
        names: lines("server_name"),
        listens,
        is_default: http
            .listens
            .iter()
            .any(|listen| listen.default_server == position),
        server_address: outline.address(node),
        address: outline.address(node),
        ..Route::default()
    }
}

/// Where a block stands and what it says.
fn place(base: &Route, node: Option<&Node>, loaded: &Loaded) -> Route {
    let Some(node) = node else {
        return base.clone();
    };
    let sources = &loaded.sources;
    let (line, _) = sources.line_column(node.span);
    let (end_line, _) = sources.line_column(Span {
        start: node.span.end.saturating_sub(1),
        ..node.span
    });
    let block = node.block.as_deref().unwrap_or_default();
    let target = TARGETS
        .iter()
        .find_map(|name| block.iter().find(|line| &*line.name.text == *name));
    let upstream = target
        .filter(|line| matches!(&*line.name.text, "proxy_pass" | "grpc_pass"))
        .and_then(|line| line.arguments.first())
        .map(|word| {
            word.text
                .split_once("://")
                .map_or(&*word.text, |(_, rest)| rest)
        })
        .map(|rest| rest.split('/').next().unwrap_or(rest).to_owned());
    let shown = |line: &Node| match (&*line.name.text, line.arguments.first()) {
        ("proxy_pass" | "grpc_pass", Some(url)) => url.text.to_string(),
        _ => text_of(line),
    };
    // Limits are told with all that hold in the place.
    let structure = [
        "location",
        "listen",
        "server_name",
        "if",
        "limit_except",
        "limit_req",
        "limit_conn",
    ];
    Route {
        target: target.map_or_else(|| "files".to_owned(), shown),
        upstream,
        file: sources.path(node.span.file).display().to_string(),
        line: line as u32,
        end_line: end_line as u32,
        notes: block
            .iter()
            .filter(|line| !structure.contains(&&*line.name.text))
            .filter(|line| target.is_none_or(|target| !std::ptr::eq(*line, target)))
            .take(MOST_NOTES)
            .map(text_of)
            .collect(),
        ..base.clone()
    }
}

/// A directive in one line, without its block.
fn text_of(line: &Node) -> String {
    let mut text = line.name.text.to_string();
    for word in &line.arguments {
        text.push(' ');
        text.push_str(&word.text);
    }
    text
}

fn written(node: Option<&Node>, kind: &LocationKind) -> String {
    match node {
        Some(node) => {
            let words: Vec<_> = node.arguments.iter().map(|word| &*word.text).collect();
            words.join(" ")
        }
        None => kind.to_string(),
    }
}

fn collect<'a>(locations: &'a [Location], all: &mut Vec<&'a Location>) {
    for location in locations {
        all.push(location);
        collect(&location.children, all);
    }
}

/// The order of a search: exact, prefixes that end it, patterns as written, the longest prefix.
fn rank(kind: &LocationKind) -> (u8, std::cmp::Reverse<usize>) {
    use std::cmp::Reverse;
    match kind {
        LocationKind::Exact(_) => (0, Reverse(0)),
        LocationKind::Prefix { path, strong: true } => (1, Reverse(path.len())),
        LocationKind::Regex(_) => (2, Reverse(0)),
        LocationKind::Prefix {
            path,
            strong: false,
        } => (3, Reverse(path.len())),
        LocationKind::Named(_) => (4, Reverse(0)),
    }
}

/// The name of the upstream that a place passes requests to.
fn upstream_of<'a>(settings: &Settings, http: &'a Http) -> Option<&'a str> {
    use crate::conf::typed::location::Handler;
    use crate::conf::typed::proxy::Target;
    let Handler::Proxy(proxy) = &settings.handler else {
        return None;
    };
    match &proxy.target {
        Target::Group { upstream, .. } => http.upstreams.get(*upstream).map(|found| &*found.name),
        Target::Dynamic(_) => None,
    }
}

fn method(method: &Method, node: Option<&Node>) -> String {
    let name = match method {
        Method::RoundRobin => return "round robin".to_owned(),
        Method::LeastConnections => "least_conn",
        Method::IpHash => "ip_hash",
        Method::Hash { .. } => "hash",
        Method::Random(_) => "random",
        Method::LeastTime { .. } => "least_time",
    };
    let block = node.and_then(|node| node.block.as_deref());
    let line = block
        .unwrap_or_default()
        .iter()
        .find(|line| &*line.name.text == name);
    line.map_or_else(|| name.to_owned(), text_of)
}

/// The directives of a configuration by where they begin.
struct Outline<'a> {
    nodes: &'a [Node],
    by_start: HashMap<(FileId, u32), &'a Node>,
}

impl<'a> Outline<'a> {
    fn new(loaded: &'a Loaded) -> Self {
        let mut by_start = HashMap::new();
        let mut rest: Vec<&Node> = loaded.nodes.iter().collect();
        while let Some(node) = rest.pop() {
            if let Some(block) = &node.block {
                by_start.insert((node.span.file, node.name.span.start), node);
                rest.extend(block);
            }
        }
        Self {
            nodes: &loaded.nodes,
            by_start,
        }
    }

    /// The block that begins where a span does.
    fn node(&self, span: Span) -> Option<&'a Node> {
        self.by_start.get(&(span.file, span.start)).copied()
    }

    /// The innermost block that a span lies in.
    fn block_around(&self, span: Span) -> Option<&'a Node> {
        let inside = self.by_start.values().filter(|node| {
            node.span.file == span.file
                && node.span.start <= span.start
                && span.end <= node.span.end
        });
        inside.max_by_key(|node| node.span.start).copied()
    }

    /// The address of a block; empty without one.
    fn address(&self, node: Option<&Node>) -> String {
        node.and_then(|node| Address::of(self.nodes, node.span))
            .map_or_else(String::new, |address| address.to_string())
    }
}
