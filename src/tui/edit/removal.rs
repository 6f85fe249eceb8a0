//! Taking a route out of the configuration, and moving it among its neighbours.

use std::path::PathBuf;

use crate::conf::address::{Address, Found};
use crate::conf::edit::{self, Operation, Place};
use crate::conf::include::{self, Loaded, Node};
use crate::conf::source::Span;

/// What of a server says nothing about how requests are answered: without its last location it is of
/// no use.
const BARE: [&str; 6] = [
    "listen",
    "server_name",
    "access_log",
    "error_log",
    "http2",
    "location",
];

/// A block that may go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Removal {
    /// `Delete route?`
    pub title: String,
    /// What will happen.
    pub lines: Vec<String>,
    /// The file that it is in.
    pub path: PathBuf,
    /// The text of the file without it.
    pub text: String,
}

impl Removal {
    /// What taking the block with this address out does; `traffic` tells what happens on it now.
    pub fn of(loaded: &Loaded, address: &Address, traffic: Vec<String>) -> Result<Self, String> {
        let mut node = find(loaded, address)?;
        let parent = address.parent();
        let server = find(loaded, &parent).ok();
        let around = server.and_then(|server| server.block.as_deref());
        let around = around.unwrap_or(&loaded.nodes);
        let kind = node.name.text.to_string();
        let what = |node: &Node| {
            let words: Vec<&str> = node.arguments.iter().map(|word| &*word.text).collect();
            format!("{} {}", node.name.text, words.join(" "))
                .trim_end()
                .to_owned()
        };
        let mut lines = Vec::new();
        let mut title = "Delete route?".to_owned();
        let fall = match &*kind {
            "location" => {
                let locations = around.iter().filter(|node| &*node.name.text == "location");
                let is_bare = around.iter().all(|node| BARE.contains(&&*node.name.text));
                let is_last = locations.count() == 1;
                match server.filter(|server| &*server.name.text == "server") {
                    Some(server) if is_last && is_bare => {
                        lines.push(format!(
                            "server {}  with its only {}",
                            name_of(server),
                            what(node)
                        ));
                        title = "Delete site?".to_owned();
                        node = server;
                        fall_of_server(loaded, server)
                    }
                    server => {
                        let name = server.map(name_of).unwrap_or_default();
                        lines.push(format!("{name}  {}", what(node)).trim_start().to_owned());
                        fall_of_location(around, node)
                    }
                }
            }
            "server" if node.block.is_some() => {
                title = "Delete site?".to_owned();
                lines.push(format!("server {}", name_of(node)));
                fall_of_server(loaded, node)
            }
            _ => {
                title = format!("Delete {kind}?");
                lines.push(what(node));
                String::new()
            }
        };
        if let Some(first) = lines.first_mut() {
            first.push_str(&format!("  ({})", place(loaded, node.span)));
        }
        lines.extend(traffic);
        lines.push(String::new());
        if !fall.is_empty() {
            lines.push(format!("Requests will fall to: {fall}"));
            lines.push(String::new());
        }
        lines.push("The change is a revision; `u` brings it back.".to_owned());
        lines.push(String::new());
        let operation = |at| Operation::Remove { at, comments: true };
        let (path, text) = changed(loaded, node.span, operation)?;
        Ok(Self {
            title,
            lines,
            path,
            text,
        })
    }
}

/// The text of a location's file with the location above the one before it, or below the next one.
pub fn moved(loaded: &Loaded, address: &Address, is_up: bool) -> Result<(PathBuf, String), String> {
    let node = find(loaded, address)?;
    if &*node.name.text != "location" {
        return Err("Only locations have an order that can be changed.".to_owned());
    }
    let parent = find(loaded, &address.parent())?;
    let siblings: Vec<&Node> = parent
        .block
        .iter()
        .flatten()
        .filter(|other| &*other.name.text == "location" && other.span.file == node.span.file)
        .collect();
    let at = siblings.iter().position(|other| other.span == node.span);
    let other = at.and_then(|at| match is_up {
        true => at.checked_sub(1).and_then(|at| siblings.get(at)),
        false => siblings.get(at + 1),
    });
    let Some(other) = other else {
        return Err(match is_up {
            true => "It is the first location of its server.".to_owned(),
            false => "It is the last location of its server.".to_owned(),
        });
    };
    let outline = outline(loaded, node.span);
    let near = address_in(&outline, other.span)?;
    let to = match is_up {
        true => Place::Before(near),
        false => Place::After(near),
    };
    changed(loaded, node.span, |from| Operation::Move { from, to })
}

fn find<'l>(loaded: &'l Loaded, address: &Address) -> Result<&'l Node, String> {
    match address.find(&loaded.nodes) {
        Found::One(node) => Ok(node),
        Found::Nothing => Err(format!("There is no `{address}` any more.")),
        Found::Several(count) => Err(format!("`{address}` names {count} directives.")),
    }
}

/// The tree of one file alone, in which addresses do not depend on others.
fn outline(loaded: &Loaded, span: Span) -> Loaded {
    let path = loaded.sources.path(span.file);
    include::outline(path, loaded.sources.text(span.file).to_owned())
}

fn address_in(outline: &Loaded, span: Span) -> Result<Address, String> {
    let span = Span {
        file: outline.sources.ids().next().unwrap_or_default(),
        ..span
    };
    Address::of(&outline.nodes, span).ok_or_else(|| "It is not there any more.".to_owned())
}

/// The text of a file after something is done to the directive with this span.
fn changed(
    loaded: &Loaded,
    span: Span,
    operation: impl FnOnce(Address) -> Operation,
) -> Result<(PathBuf, String), String> {
    let outline = outline(loaded, span);
    let address = address_in(&outline, span)?;
    let change = edit::edit(&outline, &operation(address)).map_err(|error| error.to_string())?;
    let text = edit::apply(loaded.sources.text(span.file), &change.edits);
    Ok((loaded.sources.path(span.file).to_owned(), text))
}

/// `openclaw.conf:48-56`
fn place(loaded: &Loaded, span: Span) -> String {
    let path = loaded.sources.path(span.file);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let (start, _) = loaded.sources.line_column(span);
    let last = Span {
        start: span.end.saturating_sub(1).max(span.start),
        ..span
    };
    let (end, _) = loaded.sources.line_column(last);
    match start == end {
        true => format!("{name}:{start}"),
        false => format!("{name}:{start}-{end}"),
    }
}

/// The first name of a server, or where it listens.
fn name_of(server: &Node) -> String {
    let first = |name: &str| {
        let mut lines = server.block.iter().flatten();
        let line = lines.find(|line| &*line.name.text == name)?;
        Some(line.arguments.first()?.text.to_string())
    };
    first("server_name")
        .or_else(|| first("listen"))
        .unwrap_or_else(|| "without a name".to_owned())
}

/// What answers in a block: `http://app`.
fn target_of(node: &Node) -> Option<String> {
    let lines = || node.block.iter().flatten();
    let words = |line: &Node| {
        let words: Vec<&str> = line.arguments.iter().map(|word| &*word.text).collect();
        // A text of several lines is told in one.
        words.join(" ").replace('\n', "\\n").replace('\r', "\\r")
    };
    let named = |name: &str| lines().find(|line| &*line.name.text == name);
    if let Some(line) = named("return") {
        return Some(format!("return {}", words(line)));
    }
    if let Some(line) = named("proxy_pass") {
        return Some(words(line));
    }
    ["alias", "root"]
        .iter()
        .find_map(|name| named(name).map(|line| format!("{name} {}", words(line))))
}

/// Where the requests of a location go when it is gone.
fn fall_of_location(around: &[Node], gone: &Node) -> String {
    let (modifier, path) = modifier_and_path(gone);
    if path.starts_with('@') {
        return "nothing: lines that name it will be wrong".to_owned();
    }
    let others: Vec<&Node> = around
        .iter()
        .filter(|node| &*node.name.text == "location" && node.span != gone.span)
        .collect();
    let mut prefixes: Vec<(&Node, String)> = Vec::new();
    let mut has_regex = false;
    for node in others {
        let (modifier, text) = modifier_and_path(node);
        match modifier.as_str() {
            "" | "^~" if !text.starts_with('@') => {
                // A regular expression may match any path that some prefix does.
                let is_regex = matches!(&*modifier_and_path(gone).0, "~" | "~*");
                if is_regex && text == "/" || !is_regex && path.starts_with(&text) {
                    prefixes.push((node, text));
                }
            }
            "~" | "~*" => has_regex = true,
            _ => {}
        }
    }
    let longest = prefixes.into_iter().max_by_key(|(_, text)| text.len());
    let fall = match longest {
        Some((node, text)) => match target_of(node) {
            Some(target) => format!("location {text}  ({target})"),
            None => format!("location {text}"),
        },
        None => "the settings of the server itself".to_owned(),
    };
    match has_regex || matches!(&*modifier, "~" | "~*") {
        true => format!("{fall}, or a regular expression that matches"),
        false => fall,
    }
}

fn modifier_and_path(node: &Node) -> (String, String) {
    match node.arguments.as_slice() {
        [modifier, path] => (modifier.text.to_string(), path.text.to_string()),
        [word] => {
            let text = &*word.text;
            let sign = ["^~", "~*", "~", "="]
                .iter()
                .find(|sign| text.starts_with(**sign));
            match sign {
                Some(sign) => ((*sign).to_owned(), text[sign.len()..].to_owned()),
                None => (String::new(), text.to_owned()),
            }
        }
        _ => (String::new(), String::new()),
    }
}

/// Where the requests of a server go when it is gone: to the default server of its address.
fn fall_of_server(loaded: &Loaded, gone: &Node) -> String {
    let listens = |node: &Node| -> Vec<(String, bool)> {
        let lines = node.block.iter().flatten();
        let lines = lines.filter(|line| &*line.name.text == "listen");
        lines
            .filter_map(|line| {
                let first = line.arguments.first()?.text.to_string();
                let is_default = line
                    .arguments
                    .iter()
                    .any(|word| matches!(&*word.text, "default_server" | "default"));
                Some((first, is_default))
            })
            .collect()
    };
    let own: Vec<String> = listens(gone)
        .into_iter()
        .map(|(address, _)| address)
        .collect();
    let http = loaded.nodes.iter().find(|node| &*node.name.text == "http");
    let servers = http
        .and_then(|http| http.block.as_deref())
        .unwrap_or_default()
        .iter()
        .filter(|node| &*node.name.text == "server" && node.span != gone.span);
    let shared: Vec<(&Node, bool)> = servers
        .filter_map(|server| {
            let at = listens(server);
            let same: Vec<_> = at
                .iter()
                .filter(|(address, _)| own.contains(address))
                .collect();
            let is_same = !same.is_empty() || (at.is_empty() && own.is_empty());
            is_same.then(|| (server, same.iter().any(|(_, is_default)| *is_default)))
        })
        .collect();
    let default = shared
        .iter()
        .find(|(_, is_default)| *is_default)
        .or(shared.first());
    match default {
        Some((server, _)) => format!(
            "server {}, unless another one has the name ({})",
            name_of(server),
            place(loaded, server.span)
        ),
        None => "nothing: the address is closed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const SITE: &str = "\
http {
    server {
        listen 80 default_server;
        server_name _;
        return 404;
    }
    server {
        listen 80;
        server_name a.example;

        # The interface.
        location /api/ {
            proxy_pass http://api;
        }

        location ~ \\.php$ { return 404; }

        location / {
            proxy_pass http://app;
        }
    }
    server {
        listen 81;
        server_name b.example;
        location / { root /srv; }
    }
}
";

    fn removal(address: &str) -> Removal {
        let loaded = include::outline(Path::new("/c/openclaw.conf"), SITE.to_owned());
        let address = Address::parse(address).expect("an address");
        let traffic = vec!["serves 301 req/s now".to_owned()];
        Removal::of(&loaded, &address, traffic).expect("it can go")
    }

    #[test]
    fn the_question_says_where_requests_will_fall_to() {
        let gone = removal("http / server a.example / location /api/");
        assert_eq!(gone.title, "Delete route?");
        assert_eq!(
            gone.lines[..4],
            [
                "a.example  location /api/  (openclaw.conf:12-14)",
                "serves 301 req/s now",
                "",
                "Requests will fall to: location /  (http://app), or a regular expression that matches",
            ]
        );
        assert!(!gone.text.contains("api") && !gone.text.contains("The interface"));
        let last = removal("http / server a.example / location \"/\"");
        assert!(
            last.lines[3].contains("the settings of the server itself"),
            "{:?}",
            last.lines
        );
    }

    #[test]
    fn a_server_goes_with_its_only_location() {
        let gone = removal("http / server b.example / location \"/\"");
        assert_eq!(gone.title, "Delete site?");
        assert_eq!(
            gone.lines[0],
            "server b.example  with its only location /  (openclaw.conf:22-26)"
        );
        assert_eq!(
            gone.lines[3],
            "Requests will fall to: nothing: the address is closed"
        );
        assert!(!gone.text.contains("b.example"));
        let gone = removal("http / server a.example");
        assert!(
            gone.lines[3].starts_with("Requests will fall to: server _"),
            "{:?}",
            gone.lines
        );
    }

    #[test]
    fn locations_move_past_their_neighbours_and_back() {
        let loaded = include::outline(Path::new("/c/openclaw.conf"), SITE.to_owned());
        let api = Address::parse("http / server a.example / location /api/").expect("an address");
        moved(&loaded, &api, true).expect_err("it is the first");
        let (path, text) = moved(&loaded, &api, false).expect("moved");
        assert!(text.find("php").expect("there") < text.find("# The interface").expect("there"));
        let loaded = include::outline(&path, text);
        let (_, back) = moved(&loaded, &api, true).expect("moved back");
        assert_eq!(back, SITE);
    }
}
