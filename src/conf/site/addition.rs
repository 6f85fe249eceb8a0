//! What a site is in a configuration, and where in an existing one it belongs.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use super::{DEFAULT_PORT, Https, Name, SECURE_PORT, Site, Target};
use crate::conf::address::Address;
use crate::conf::edit::{self, EditError, Operation, Place};
use crate::conf::include::{Loaded, Node};
use crate::conf::lexer;
use crate::conf::source::Span;
use crate::conf::tree::{Directive, Document, Item};
use crate::conf::typed::lower::{listen, names, peer_tls, upstream};
use crate::conf::variable::Names;

/// The name of the variable that `Connection` is set from.
const UPGRADE: &str = "connection_upgrade";

/// What a site adds to a configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Addition {
    /// Files that are new, and what they hold.
    pub files: Vec<(PathBuf, String)>,
    /// What is done to the others, in order.
    pub operations: Vec<Operation>,
    /// What it is, in a line.
    pub note: String,
}

/// Why a site cannot be added.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refused {
    /// It is there: its path, and the `file:line` of its location.
    Exists(String, String),
    /// Its names belong to different servers: one of them, and the `file:line` of its server.
    Divided(String, String),
    /// The server answers before a location is looked for: with this line, at this `file:line`.
    Answered(String, String),
    /// It has a server without TLS: one of its names, and the `file:line` of that server.
    Plain(String, String),
    /// The target names this group of peers, and a port, which groups do not have.
    GroupHasPorts(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists(path, place) => {
                write!(out, "the site has `location {path}` already ({place})")
            }
            Self::Divided(name, place) => write!(
                out,
                "`{name}` has a server already ({place}) that does not have the other names; add them one by one"
            ),
            Self::Answered(line, place) => write!(
                out,
                "the server answers all requests with `{line}` ({place}) before it looks at locations"
            ),
            Self::Plain(name, place) => write!(
                out,
                "`{name}` has a server without TLS ({place}): HTTPS `both` adds it there, or edit it"
            ),
            Self::GroupHasPorts(name) => write!(
                out,
                "`{name}` is a group of peers with ports of their own; write `http://{name}`"
            ),
        }
    }
}

impl std::error::Error for Refused {}

impl Site {
    /// What it is, in a line.
    fn note(&self) -> String {
        let name = self.names.first().map_or("", Name::as_str);
        let port = match self.port {
            DEFAULT_PORT => String::new(),
            port => format!(":{port}"),
        };
        format!("add {name}{port} {}: {}", self.path.as_str(), self.target)
    }

    /// Its `location {}`; `above` are lines of the levels around it that it would switch off.
    fn location(&self, upgrade: Option<&str>, above: &[String]) -> String {
        let mut text = format!("location {} {{\n", lexer::escape(self.path.as_str()));
        let mut line = |words: &str| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "    {words};");
        };
        match &self.target {
            Target::Proxy(url) => {
                line(&format!("proxy_pass {}", lexer::escape(url)));
                if let Some(rest) = url.strip_prefix("https://") {
                    // Most servers with several names need to be told which one is meant.
                    line("proxy_ssl_server_name on");
                    let authority = rest.split('/').next().unwrap_or_default();
                    let address = upstream::peer_address(authority, 443);
                    // One at home has a certificate of its own making, as a rule.
                    if address.is_some_and(|address| peer_tls::is_public(&address)) {
                        line("proxy_ssl_verify on");
                    }
                }
                if let Some(upgrade) = upgrade {
                    // `$host` has no port, and links that the backend makes need it.
                    let host = match self.port {
                        DEFAULT_PORT => "$host",
                        _ => "$host:$server_port",
                    };
                    line(&format!("proxy_set_header Host {host}"));
                    line("proxy_set_header X-Real-IP $remote_addr");
                    line("proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for");
                    line("proxy_set_header X-Forwarded-Proto $scheme");
                    line("proxy_set_header Upgrade $http_upgrade");
                    line(&format!("proxy_set_header Connection ${upgrade}"));
                    above.iter().for_each(|above| line(above));
                }
            }
            Target::Files(directory) => {
                match self.path.as_str() {
                    "/" => line(&format!("root {}", lexer::escape(directory))),
                    _ => line(&format!(
                        "alias {}",
                        lexer::escape(&format!("{directory}/"))
                    )),
                }
                line("index index.html");
            }
            Target::Redirect(url) => {
                let after_scheme = url.split_once("://").map_or("", |(_, rest)| rest);
                let own = match after_scheme.contains(['/', '?', '#']) {
                    true => "",
                    false => "$request_uri",
                };
                line(&format!(
                    "return 301 {}",
                    lexer::escape(&format!("{url}{own}"))
                ));
            }
        }
        text.push_str("}\n");
        text
    }

    /// Its `server {}`, or two where one only leads to the other. `plain` and `secure` are where they
    /// listen without TLS and with it.
    fn server(
        &self,
        plain: &[String],
        secure: &[String],
        upgrade: Option<&str>,
        above: &[String],
    ) -> String {
        let https = self.https();
        let names: Vec<String> = self
            .names
            .iter()
            .map(|name| lexer::escape(&name.0))
            .collect();
        let names = names.join(" ");
        let mut text = String::new();
        let leads_there = matches!(https, Https::Redirect | Https::Strict);
        if leads_there {
            text.push_str("server {\n");
            for address in plain {
                let _ = writeln!(text, "    listen {};", lexer::escape(address));
            }
            let _ = writeln!(text, "    server_name {names};\n");
            text.push_str("    return 301 https://$host$request_uri;\n}\n\n");
        }
        text.push_str("server {\n");
        if !leads_there {
            for address in plain {
                let _ = writeln!(text, "    listen {};", lexer::escape(address));
            }
        }
        if https != Https::Off {
            for address in secure {
                let _ = writeln!(text, "    listen {} ssl;", lexer::escape(address));
            }
        }
        let _ = writeln!(text, "    server_name {names};");
        if https == Https::Strict {
            text.push_str("    hsts on;\n");
        }
        text.push('\n');
        for line in self.location(upgrade, above).lines() {
            let _ = writeln!(text, "    {line}");
        }
        text.push_str("}\n");
        text
    }

    /// Is it asked with TLS?
    fn https(&self) -> Https {
        self.https
            .unwrap_or_else(|| Https::suited(&self.names, self.port))
    }

    /// Does its location set fields of the request?
    fn is_proxied(&self) -> bool {
        matches!(self.target, Target::Proxy(_))
    }
}

impl Addition {
    /// The new texts of the files that change, and of those that are new. `texts` are texts that
    /// stand for files already.
    pub fn texts(
        &self,
        path: &Path,
        prefix: &Path,
        texts: &HashMap<PathBuf, String>,
    ) -> Result<HashMap<PathBuf, String>, EditError> {
        let mut after = edit::run(path, prefix, texts.clone(), &self.operations)?;
        // Later, because an address may fit a directive of a new file too.
        after.extend(self.files.iter().cloned());
        after.retain(|path, text| texts.get(path) != Some(text));
        Ok(after)
    }
}

/// What a site adds to a configuration: a location to the server that has its names and port, or a
/// server of its own, in a file of its own where the configuration includes a directory of sites.
pub fn add(loaded: &Loaded, site: &Site) -> Result<Addition, Refused> {
    let mut addition = Addition {
        files: Vec::new(),
        operations: Vec::new(),
        note: site.note(),
    };
    let Some(http) = loaded.nodes.iter().find(|node| &*node.name.text == "http") else {
        let mut text = String::new();
        if !loaded.nodes.iter().any(|node| &*node.name.text == "events") {
            text.push_str("events { }\n\n");
        }
        text.push_str(&http_of(&[site]));
        addition.operations.push(Operation::Insert {
            to: Place::Last(Address::default()),
            text,
        });
        return Ok(addition);
    };
    let inside = http.block.as_deref().unwrap_or_default();
    group_without_port(site, inside)?;
    let mut server = None;
    if site.https() != Https::Off || site.https.is_none() {
        server = server_of(loaded, site, inside, SECURE_PORT)?;
    }
    // A site without TLS stays as it is until somebody says otherwise.
    if server.is_none() {
        server = server_of(loaded, site, inside, site.port)?;
        if let Some(server) = server {
            match site.https {
                None | Some(Https::Off) => {}
                Some(Https::Both) => {
                    let lines = server.block.iter().flatten();
                    let mut listens = lines.filter(|line| &*line.name.text == "listen");
                    let secure = addresses(inside, SECURE_PORT);
                    let lines = secure
                        .iter()
                        .map(|address| format!("listen {} ssl;\n", lexer::escape(address)));
                    addition.operations.push(Operation::Insert {
                        to: match listens.next_back() {
                            Some(last) => Place::After(address_of(loaded, last.span)),
                            None => Place::First(address_of(loaded, server.span)),
                        },
                        text: lines.collect(),
                    });
                }
                Some(Https::Redirect | Https::Strict) => {
                    let name = site.names.first().map_or("", Name::as_str);
                    return Err(Refused::Plain(
                        name.to_owned(),
                        place_text(loaded, server.span),
                    ));
                }
            }
        }
    }
    let own = server.map_or(&[][..], |server| {
        server.block.as_deref().unwrap_or_default()
    });
    // Fields that a level sets are those of the level above no more.
    let above = [own, inside].into_iter().find_map(|level| {
        let lines: Vec<&Node> = level
            .iter()
            .filter(|node| &*node.name.text == "proxy_set_header")
            .collect();
        (!lines.is_empty()).then_some(lines)
    });
    let above = above.unwrap_or_default();
    let is_set = |name: &str| {
        let mut names = above.iter().filter_map(|line| line.arguments.first());
        names.any(|word| word.text.eq_ignore_ascii_case(name))
    };
    let mut upgrade = None;
    if site.is_proxied() && !is_set("Host") {
        let (name, map) = upgrade_map(loaded, inside);
        if let Some(text) = map {
            let to = place_of_map(loaded, http);
            addition.operations.push(Operation::Insert { to, text });
        }
        upgrade = Some(name);
    }
    let ours = [
        "Host",
        "X-Real-IP",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "Upgrade",
        "Connection",
    ];
    let kept: Vec<String> = above
        .iter()
        .filter(|line| {
            let name = line.arguments.first().map_or("", |word| &*word.text);
            !ours.iter().any(|our| our.eq_ignore_ascii_case(name))
        })
        .map(|line| {
            let words = line.arguments.iter().map(|word| lexer::escape(&word.text));
            format!("proxy_set_header {}", words.collect::<Vec<_>>().join(" "))
        })
        .collect();
    if let Some(server) = server {
        let text = site.location(upgrade.as_deref(), &kept);
        let to = place_of_location(loaded, server);
        addition.operations.push(Operation::Insert { to, text });
        return Ok(addition);
    }
    let plain = addresses(inside, site.port);
    let secure = addresses(inside, SECURE_PORT);
    let text = site.server(&plain, &secure, upgrade.as_deref(), &kept);
    match file_of(loaded, http, site) {
        Some(path) => addition.files.push((path, text)),
        None => addition.operations.push(Operation::Insert {
            to: Place::Last(address_of(loaded, http.span)),
            text,
        }),
    }
    Ok(addition)
}

/// A whole configuration with nothing but this site; requests for other names are answered with 404.
pub fn whole(site: &Site) -> String {
    format!(
        "events {{ }}\n\n{}",
        http_of(&[site]).trim_start_matches('\n')
    )
}

/// An `http {}` with these sites, and a server for what is meant for none of them.
fn http_of(sites: &[&Site]) -> String {
    let mut text = String::from("http {\n    include mime.types;\n");
    let mut put = |block: &str| {
        text.push('\n');
        for line in block.lines() {
            let _ = match line.is_empty() {
                true => writeln!(text),
                false => writeln!(text, "    {line}"),
            };
        }
    };
    if sites.iter().any(|site| site.is_proxied()) {
        put(&map_text(UPGRADE));
    }
    for site in sites {
        let (plain, secure) = (site.port.to_string(), SECURE_PORT.to_string());
        put(&site.server(&[plain], &[secure], Some(UPGRADE), &[]));
    }
    let mut ports: Vec<u16> = sites.iter().map(|site| site.port).collect();
    ports.dedup();
    if sites.iter().any(|site| site.https() != Https::Off) {
        put(&format!(
            "# Handshakes for any other name.\nserver {{\n    listen {SECURE_PORT} ssl default_server;\n    server_name _;\n    ssl_reject_handshake on;\n}}\n"
        ));
    }
    for port in ports {
        put(&format!(
            "# Requests for any other name.\nserver {{\n    listen {port} default_server;\n    server_name _;\n    return 404;\n}}\n"
        ));
    }
    text.push_str("}\n");
    text
}

/// The server that has the names of a site at a port, if there is one.
fn server_of<'n>(
    loaded: &Loaded,
    site: &Site,
    http: &'n [Node],
    wanted: u16,
) -> Result<Option<&'n Node>, Refused> {
    let has = |server: &Node, name: &Name| {
        let lines = server.block.iter().flatten();
        let mut words = lines
            .filter(|line| &*line.name.text == "server_name")
            .flat_map(|line| &line.arguments);
        words.any(|word| word.text.eq_ignore_ascii_case(name.as_str()))
    };
    let of = |name: &Name| {
        http.iter()
            .filter(|node| &*node.name.text == "server")
            .filter(|node| listens(node).iter().any(|(_, port)| *port == wanted))
            .find(|node| has(node, name))
    };
    let servers: Vec<Option<&Node>> = site.names.iter().map(of).collect();
    let first = servers.iter().flatten().next();
    let Some(&server) = first else {
        return Ok(None);
    };
    if let Some(other) = servers
        .iter()
        .position(|found| found.is_none_or(|found| found.span != server.span))
    {
        // The name that has a server is the one to speak of.
        let named = servers.iter().position(Option::is_some).unwrap_or(other);
        let name = site.names.get(named).map_or("", Name::as_str);
        return Err(Refused::Divided(
            name.to_owned(),
            place_text(loaded, server.span),
        ));
    }
    for line in server.block.iter().flatten() {
        let words: Vec<&str> = line.arguments.iter().map(|word| &*word.text).collect();
        let is_same = match (&*line.name.text, words.as_slice()) {
            ("location", ["^~", path]) => *path == site.path.as_str(),
            ("location", [path]) => path.strip_prefix("^~").unwrap_or(path) == site.path.as_str(),
            ("return", _) => {
                return Err(Refused::Answered(
                    format!("return {}", words.join(" ")),
                    place_text(loaded, line.span),
                ));
            }
            _ => false,
        };
        if is_same {
            return Err(Refused::Exists(
                site.path.as_str().to_owned(),
                place_text(loaded, line.span),
            ));
        }
    }
    Ok(Some(server))
}

/// Refuses a port behind the name of a group, as the engine does.
fn group_without_port(site: &Site, http: &[Node]) -> Result<(), Refused> {
    let Target::Proxy(url) = &site.target else {
        return Ok(());
    };
    let rest = url.split_once("://").map_or(&**url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        Some((host, _)) if !rest.starts_with("unix:") => host,
        _ => return Ok(()),
    };
    let is_group = http.iter().any(|node| {
        &*node.name.text == "upstream"
            && (node.arguments.first()).is_some_and(|word| word.text.eq_ignore_ascii_case(host))
    });
    match is_group {
        true => Err(Refused::GroupHasPorts(host.to_owned())),
        false => Ok(()),
    }
}

/// The port on which a site is asked if none is typed: [`DEFAULT_PORT`], unless the configuration
/// listens without TLS only elsewhere; then the first port where it does.
pub fn usual_port(loaded: &Loaded) -> u16 {
    let http = loaded
        .nodes
        .iter()
        .find(|node| &*node.name.text == "http")
        .and_then(|http| http.block.as_deref())
        .unwrap_or_default();
    let servers = http.iter().filter(|node| &*node.name.text == "server");
    let is_plain = |line: &Node| {
        let mut words = line.arguments.iter().skip(1);
        !words.any(|word| matches!(&*word.text, "ssl" | "quic"))
    };
    let ports: Vec<u16> = servers
        .flat_map(|server| listens_of(server, is_plain))
        .map(|(_, port)| port)
        .collect();
    match ports.contains(&DEFAULT_PORT) {
        true => DEFAULT_PORT,
        false => ports.first().copied().unwrap_or(DEFAULT_PORT),
    }
}

/// The addresses and ports of a server; an address is empty if all of IPv4 are meant.
fn listens(server: &Node) -> Vec<(String, u16)> {
    listens_of(server, |_| true)
}

/// As [`listens`], of those lines that are wanted.
fn listens_of(server: &Node, is_wanted: impl Fn(&Node) -> bool) -> Vec<(String, u16)> {
    let lines = server.block.iter().flatten();
    let lines: Vec<&Node> = lines.filter(|line| &*line.name.text == "listen").collect();
    if lines.is_empty() {
        return vec![(String::new(), DEFAULT_PORT)];
    }
    lines
        .into_iter()
        .filter(|line| is_wanted(line))
        .filter_map(|line| line.arguments.first())
        .map(|word| &*word.text)
        .filter(|word| !word.starts_with("unix:"))
        .filter_map(|word| {
            if let Ok(port) = word.parse() {
                return Some((String::new(), port));
            }
            let (host, port) = listen::split_port(word)?;
            let address = match host {
                "*" | "0.0.0.0" => String::new(),
                _ if word.starts_with('[') => format!("[{host}]"),
                host => host.to_owned(),
            };
            Some((address, port.unwrap_or(DEFAULT_PORT)))
        })
        .collect()
}

/// Where a new server listens so that it is asked wherever the others at its port are; those at the
/// usual port, where nobody is at the one for TLS yet.
fn addresses(http: &[Node], port: u16) -> Vec<String> {
    let mut hosts: Vec<String> = Vec::new();
    for server in http.iter().filter(|node| &*node.name.text == "server") {
        for (host, at) in listens(server) {
            if at == port && !hosts.contains(&host) {
                hosts.push(host);
            }
        }
    }
    if hosts.is_empty() && port == SECURE_PORT {
        let plain = addresses(http, DEFAULT_PORT);
        return plain
            .iter()
            .map(|address| match address.strip_suffix(":80") {
                Some(host) => format!("{host}:{port}"),
                None => port.to_string(),
            })
            .collect();
    }
    let wildcards: Vec<String> = hosts
        .iter()
        .filter(|host| host.is_empty() || *host == "[::]")
        .cloned()
        .collect();
    let is_local =
        |host: &String| host.starts_with("127.") || host == "localhost" || host == "[::1]";
    if !wildcards.is_empty() {
        hosts = wildcards;
    } else if !hosts.iter().all(is_local) {
        hosts.retain(|host| !is_local(host));
    }
    if hosts.is_empty() {
        hosts.push(String::new());
    }
    let written = hosts.iter().map(|host| match host.is_empty() {
        true => port.to_string(),
        false => format!("{host}:{port}"),
    });
    written.collect()
}

/// The variable that `Connection` is set from, and the `map` that makes it if there is none.
fn upgrade_map(loaded: &Loaded, http: &[Node]) -> (String, Option<String>) {
    let there = http.iter().find_map(|node| {
        let [source, variable] = node.arguments.as_slice() else {
            return None;
        };
        let lines = node.block.iter().flatten();
        let upgrades = lines.filter(|line| {
            &*line.name.text == "default"
                && matches!(line.arguments.as_slice(), [word] if word.text.eq_ignore_ascii_case("upgrade"))
        });
        let fits = &*node.name.text == "map" && &*source.text == "$http_upgrade";
        (fits && upgrades.count() == 1)
            .then(|| variable.text.strip_prefix('$').map(str::to_owned))
            .flatten()
    });
    if let Some(name) = there {
        return (name, None);
    }
    let mut known = Names::default();
    names::collect(&loaded.nodes, &mut known);
    let mut name = UPGRADE.to_owned();
    let mut number = 1;
    while known.resolve(&name).is_some() {
        number += 1;
        name = format!("{UPGRADE}_{number}");
    }
    let text = map_text(&name);
    (name, Some(text))
}

fn map_text(name: &str) -> String {
    format!(
        "# WebSockets: a request that asks for an upgrade takes it along to the backend.\n\
         map $http_upgrade ${name} {{\n    default upgrade;\n    \"\" \"\";\n}}\n"
    )
}

/// Beside other maps, else above the first server or upstream, in the file of `http {}`.
fn place_of_map(loaded: &Loaded, http: &Node) -> Place {
    let inside = http.block.as_deref().unwrap_or_default();
    let mut here = inside
        .iter()
        .filter(|node| node.span.file == http.span.file);
    if let Some(map) = here.clone().rfind(|node| &*node.name.text == "map") {
        return Place::After(address_of(loaded, map.span));
    }
    match here.find(|node| matches!(&*node.name.text, "server" | "upstream")) {
        Some(block) => Place::Before(address_of(loaded, block.span)),
        None => Place::Last(address_of(loaded, http.span)),
    }
}

/// Behind the last location that is no regular expression, but above `location /` if that is last.
fn place_of_location(loaded: &Loaded, server: &Node) -> Place {
    let inside = server.block.as_deref().unwrap_or_default();
    let locations: Vec<&Node> = inside
        .iter()
        .filter(|node| &*node.name.text == "location" && node.span.file == server.span.file)
        .collect();
    let is_regex = |node: &Node| {
        (node.arguments.first()).is_some_and(|word| word.text.starts_with(['~', '@']))
    };
    let is_rest = |node: &Node| matches!(node.arguments.as_slice(), [path] if &*path.text == "/");
    let at = |node: &Node| address_of(loaded, node.span);
    match locations.iter().rfind(|node| !is_regex(node)) {
        Some(last) if is_rest(last) && locations.len() > 1 => Place::Before(at(last)),
        Some(last) => Place::After(at(last)),
        None => match locations.first() {
            Some(first) => Place::Before(at(first)),
            None => Place::Last(at(server)),
        },
    }
}

/// A file of its own for a site, where `http {}` includes a directory of them.
fn file_of(loaded: &Loaded, http: &Node, site: &Site) -> Option<PathBuf> {
    let file = http.span.file;
    let document = loaded.documents.get(usize::from(file.0))?;
    let text = loaded.sources.text(file);
    let block = find(document, http.span)?.block()?;
    let pattern = block.directives().find_map(|directive| {
        let [argument] = directive.arguments.as_slice() else {
            return None;
        };
        let pattern = argument.text(text);
        let (directory, name) = pattern.rsplit_once('/').unwrap_or(("", &pattern));
        let fits = directive.name.text(text) == "include"
            && !directory.contains(['*', '?', '[', '\\'])
            && matches!(name, "*" | "*.conf");
        fits.then(|| directory.to_owned())
    })?;
    // Includes start at the directory of the main file, whichever file they stand in.
    let main = loaded
        .sources
        .ids()
        .map(|file| loaded.sources.path(file))
        .find(|path| *path != Path::new(crate::conf::include::COMMAND_LINE))?;
    let directory = main.parent().unwrap_or(Path::new("")).join(pattern);
    let name = site.names.first().map_or(String::new(), Name::file_name);
    let taken = |path: &PathBuf| {
        let mut known = loaded.sources.ids();
        known.any(|file| loaded.sources.path(file) == path)
    };
    (1..u32::MAX)
        .map(|number| {
            directory.join(match number {
                1 => format!("{name}.conf"),
                number => format!("{name}-{number}.conf"),
            })
        })
        .find(|path| !taken(path))
}

/// The directive with this span.
fn find(document: &Document, span: Span) -> Option<&Directive> {
    let mut items = &document.items;
    loop {
        let directive = items.iter().find_map(|item| match item {
            Item::Directive(directive) => {
                let own = directive.span();
                (own.start <= span.start && span.end <= own.end).then_some(directive)
            }
            Item::Stray { .. } => None,
        })?;
        if directive.span() == span {
            return Some(directive);
        }
        items = &directive.block()?.items;
    }
}

fn address_of(loaded: &Loaded, span: Span) -> Address {
    Address::of(&loaded.nodes, span).unwrap_or_default()
}

/// `file:line`
fn place_text(loaded: &Loaded, span: Span) -> String {
    let (line, _) = loaded.sources.line_column(span);
    format!("{}:{line}", loaded.sources.path(span.file).display())
}
