//! `location {}` and `server_name`: how requests find their place.
//!
//! Owns modifiers, nesting and names, and what may not stand twice. The settings that hold in a
//! location are made by the caller, who walks the [`PlacedLocation`]s with their nodes.

use std::collections::HashMap;
use std::sync::Arc;

use super::Cx;
use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::include::{Node, Word};
use crate::conf::source::Span;
use crate::conf::typed::hostnames::{HostnameTable, Pattern};
use crate::conf::typed::location::{LocationKind, ServerName};

/// A location whose settings are still to be made.
#[derive(Debug)]
pub struct PlacedLocation<'a> {
    /// How it matches.
    pub kind: LocationKind,
    /// Its `location {}`; the locations in it are `children`.
    pub node: &'a Node,
    /// Locations inside it.
    pub children: Vec<Self>,
}

impl PlacedLocation<'_> {
    /// Its text without the modifier: for `Settings::name`.
    pub fn name(&self) -> Box<[u8]> {
        match &self.kind {
            LocationKind::Exact(path) | LocationKind::Prefix { path, .. } => path.clone(),
            LocationKind::Regex(regex) => regex.source().as_bytes().into(),
            LocationKind::Named(name) => format!("@{name}").into_bytes().into(),
        }
    }
}

/// The locations that stand directly in the block of a server.
pub fn locations<'a>(block: &'a [Node], cx: &mut Cx) -> Vec<PlacedLocation<'a>> {
    locations_in(block, None, cx)
}

fn locations_in<'a>(
    block: &'a [Node],
    parent: Option<(&LocationKind, Span)>,
    cx: &mut Cx,
) -> Vec<PlacedLocation<'a>> {
    let mut found = Vec::new();
    let mut seen: HashMap<(&str, Box<[u8]>), Span> = HashMap::new();
    for node in block.iter().filter(|node| &*node.name.text == "location") {
        let Some(kind) = kind(node, cx) else {
            continue;
        };
        let span = head(node);
        if let Some(parent) = parent
            && !may_stand_inside(&kind, span, parent, cx)
        {
            continue;
        }
        let inside = node.block.as_deref().unwrap_or_default();
        let children = locations_in(inside, Some((&kind, span)), cx);
        let location = PlacedLocation {
            kind,
            node,
            children,
        };
        let (class, code) = match location.kind {
            LocationKind::Exact(_) => ("exact", Code::DUPLICATE_LOCATION),
            LocationKind::Prefix { .. } => ("prefix", Code::DUPLICATE_LOCATION),
            LocationKind::Named(_) => ("named", Code::DUPLICATE_NAMED_LOCATION),
            LocationKind::Regex(_) => {
                found.push(location);
                continue;
            }
        };
        let name = location.name();
        let shown = String::from_utf8_lossy(&name).into_owned();
        if let Some(&first) = seen.get(&(class, name.clone())) {
            let message = format!("the location `{shown}` stands twice");
            cx.report(
                match code {
                    // nginx takes the first one without a word.
                    Code::DUPLICATE_NAMED_LOCATION => Diagnostic::warning(code, span, message),
                    _ => Diagnostic::error(code, span, message),
                }
                .label(span, "here again")
                .label(first, "first here"),
            );
            continue;
        }
        seen.insert((class, name), span);
        found.push(location);
    }
    found
}

/// From `location` to the last word before the `{`.
fn head(node: &Node) -> Span {
    let last = node.arguments.last().unwrap_or(&node.name).span;
    match last.file == node.name.span.file {
        true => node.name.span.to(last),
        false => node.name.span,
    }
}

fn kind(node: &Node, cx: &mut Cx) -> Option<LocationKind> {
    let prefix = |path: &str, strong| LocationKind::Prefix {
        path: path.as_bytes().into(),
        strong,
    };
    match node.arguments.as_slice() {
        [modifier, word] => match &*modifier.text {
            "=" => Some(LocationKind::Exact(word.text.as_bytes().into())),
            "^~" => Some(prefix(&word.text, true)),
            "~" => regex(word, &word.text, false, cx),
            "~*" => regex(word, &word.text, true, cx),
            text => {
                let problem = Diagnostic::error(
                    Code::BAD_LOCATION,
                    modifier.span,
                    format!("`{text}` is not a modifier of a location"),
                );
                cx.report(match text {
                    "!~" | "!~*" | "!=" => {
                        problem.hint("a location cannot be negated; put the rest into `location /`")
                    }
                    _ => problem.hint("use one of `=`, `^~`, `~`, `~*`, or none for a prefix"),
                });
                None
            }
        },
        [word] => {
            let text = &*word.text;
            if let Some(path) = text.strip_prefix('=') {
                Some(LocationKind::Exact(path.as_bytes().into()))
            } else if let Some(path) = text.strip_prefix("^~") {
                Some(prefix(path, true))
            } else if let Some(pattern) = text.strip_prefix("~*") {
                regex(word, pattern, true, cx)
            } else if let Some(pattern) = text.strip_prefix('~') {
                regex(word, pattern, false, cx)
            } else if let Some(name) = text.strip_prefix('@') {
                Some(LocationKind::Named(name.into()))
            } else {
                Some(prefix(text, false))
            }
        }
        // The checker told that the number of arguments is wrong.
        _ => None,
    }
}

fn regex(word: &Word, pattern: &str, ignore_case: bool, cx: &mut Cx) -> Option<LocationKind> {
    let regex = cx.regex(word, pattern, ignore_case)?;
    Some(LocationKind::Regex(Arc::new(regex)))
}

/// Can a location match inside of another one (nginx `ngx_http_core_location`)?
fn may_stand_inside(
    kind: &LocationKind,
    span: Span,
    (parent, parent_span): (&LocationKind, Span),
    cx: &mut Cx,
) -> bool {
    let (outer, outer_text): (&str, &[u8]) = match parent {
        LocationKind::Exact(path) => ("an exact location", path),
        LocationKind::Named(name) => ("a named location", name.as_bytes()),
        LocationKind::Prefix { path, .. } => ("", path),
        LocationKind::Regex(regex) => ("", regex.source().as_bytes()),
    };
    let message = if !outer.is_empty() {
        format!("nothing can be inside of {outer}")
    } else {
        match kind {
            LocationKind::Named(name) => {
                format!("the named location `@{name}` must stand directly in a server")
            }
            LocationKind::Exact(path) | LocationKind::Prefix { path, .. }
                if !path.starts_with(outer_text) =>
            {
                format!(
                    "`{}` is outside of the location `{}` around it",
                    String::from_utf8_lossy(path),
                    String::from_utf8_lossy(outer_text),
                )
            }
            _ => return true,
        }
    };
    let mut problem = Diagnostic::error(Code::MISPLACED_LOCATION, span, message)
        .label(parent_span, "inside of this location");
    problem = match (parent, kind) {
        (LocationKind::Regex(_), _) => {
            problem.hint("inside of a regular expression, use regular expressions")
        }
        (LocationKind::Prefix { .. }, LocationKind::Exact(_) | LocationKind::Prefix { .. }) => {
            problem.hint("write the whole path, and put it beside the outer one if it differs")
        }
        _ => problem,
    };
    cx.report(problem);
    false
}

/// The names of a server as its `server_name` lines give them.
#[derive(Debug)]
pub struct PlacedNames {
    /// For `Server::names`; `""` when nothing is written.
    pub names: Vec<ServerName>,
    /// For `Server::primary_name`.
    pub primary: Box<[u8]>,
    /// Where each of `names` stands.
    spans: Vec<Span>,
}

impl PlacedNames {
    /// Each name, and where it stands.
    pub fn placed(&self) -> impl Iterator<Item = (&ServerName, Span)> {
        self.names.iter().zip(self.spans.iter().copied())
    }
}

/// The names of the server whose node this is.
pub fn server_names(server: &Node, cx: &mut Cx) -> PlacedNames {
    let mut placed = PlacedNames {
        names: Vec::new(),
        primary: Box::default(),
        spans: Vec::new(),
    };
    let lines = server.block.as_deref().unwrap_or_default().iter();
    for word in lines
        .filter(|node| &*node.name.text == "server_name")
        .flat_map(|node| &node.arguments)
    {
        let Some(name) = server_name(word, cx) else {
            continue;
        };
        if placed.names.is_empty() {
            placed.primary = match &name {
                // The first name without the dot of `.example.org`, a regular expression with its `~`.
                ServerName::Exact(name) => name.clone(),
                ServerName::Suffix(suffix) => [b"*", &**suffix].concat().into(),
                ServerName::SelfOrSuffix(suffix) => suffix[1..].into(),
                ServerName::Prefix(prefix) => [&**prefix, b"*"].concat().into(),
                ServerName::Regex(_) => word.text.as_bytes().into(),
            };
        }
        placed.names.push(name);
        placed.spans.push(word.span);
    }
    if placed.names.is_empty() {
        placed.names.push(ServerName::Exact(Box::default()));
        placed.spans.push(server.name.span);
    }
    placed
}

/// Tells the names that several servers at one address (`address` is its text) have. The first
/// server has the name, as in nginx. A server that is alone gets all requests anyway.
pub fn warn_of_conflicts(address: &str, servers: &[&PlacedNames], cx: &mut Cx) {
    if servers.len() < 2 {
        return;
    }
    let mut taken = HostnameTable::default();
    for server in servers {
        for (name, &span) in server.names.iter().zip(&server.spans) {
            let Some(pattern) = name.pattern() else {
                continue;
            };
            if taken.insert(pattern, span) {
                continue;
            }
            let probe = match pattern {
                Pattern::Exact(name) => name.to_vec(),
                Pattern::SelfOrSuffix(suffix) => suffix[1..].to_vec(),
                Pattern::Suffix(suffix) => suffix.to_vec(),
                Pattern::Prefix(prefix) => prefix.to_vec(),
            };
            let shown = String::from_utf8_lossy(&probe).into_owned();
            let mut problem = Diagnostic::warning(
                Code::CONFLICTING_NAME,
                span,
                format!("the name `{shown}` at `{address}` belongs to another server already"),
            )
            .label(span, "this one is ignored")
            .hint("requests for it go to the server that has it first");
            if let Some(&first) = taken.find(&probe)
                && first != span
            {
                problem = problem.label(first, "requests go to this one");
            }
            cx.report(problem);
        }
    }
}

fn server_name(word: &Word, cx: &mut Cx) -> Option<ServerName> {
    if let Some(pattern) = word.text.strip_prefix('~') {
        if pattern.is_empty() {
            cx.error(
                Code::BAD_SERVER_NAME,
                word.span,
                "the regular expression is empty",
            );
            return None;
        }
        // The host is in lower case when it is compared; a pattern with capitals means any case.
        let ignore_case = pattern.contains(|letter: char| letter.is_ascii_uppercase());
        let regex = cx.regex(word, pattern, ignore_case)?;
        return Some(ServerName::Regex(Arc::new(regex)));
    }
    let name = match word.text.eq_ignore_ascii_case("$hostname") {
        true => hostname(),
        false => word.text.to_ascii_lowercase(),
    };
    // nginx refuses these at once, and a `*` in a wrong place only if servers share the address;
    // such a name is compared like any other, and no host is equal to it.
    if matches!(&*name, "*" | "." | "*.") {
        let problem = Diagnostic::error(
            Code::BAD_SERVER_NAME,
            word.span,
            format!("`{name}` is not a name of a server"),
        );
        cx.report(problem.hint("write `_` for a server that has no name"));
        return None;
    }
    if let Some(reason) = suspicious(&name) {
        let mut problem = Diagnostic::warning(
            Code::SUSPICIOUS_NAME,
            word.span,
            format!("no request has the name `{name}`: {reason}"),
        );
        if !name.is_ascii() {
            problem = problem.hint("write the name as browsers send it, with `xn--`");
        } else if name.contains('*') {
            problem = problem.hint("use a regular expression: `~…`");
        }
        cx.report(problem);
    }
    let pattern = Pattern::parse(name.as_bytes()).unwrap_or(Pattern::Exact(name.as_bytes()));
    Some(match pattern {
        Pattern::Exact(name) => ServerName::Exact(name.into()),
        Pattern::Suffix(suffix) => ServerName::Suffix(suffix.into()),
        Pattern::SelfOrSuffix(suffix) => ServerName::SelfOrSuffix(suffix.into()),
        Pattern::Prefix(prefix) => ServerName::Prefix(prefix.into()),
    })
}

/// Why no host of a request can be this name.
fn suspicious(name: &str) -> Option<&'static str> {
    if !name.is_ascii() {
        Some("it is not ASCII")
    } else if name.contains('/') {
        Some("it holds a `/`")
    } else if name.contains(':') && !name.starts_with('[') {
        Some("the port is not part of the name")
    } else if name.len() > 1 && name.ends_with('.') {
        Some("a dot at the end is not part of the name")
    } else if name.contains('$') {
        Some("variables are not expanded here")
    } else if Pattern::parse(name.as_bytes()).is_none() {
        Some("a `*` may only be its first or last part, and no part may be empty")
    } else {
        None
    }
}

/// The name of this machine in lower case.
fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{nodes, problems};
    use super::*;

    fn lower(text: &str) -> (String, String) {
        let nodes = nodes(text);
        let mut cx = Cx::new(&nodes);
        let locations = locations(&nodes, &mut cx);
        (shown(&locations), problems(&cx))
    }

    fn shown(locations: &[PlacedLocation<'_>]) -> String {
        let one = |location: &PlacedLocation<'_>| {
            let modifier = match &location.kind {
                LocationKind::Exact(_) => "=",
                LocationKind::Prefix { strong: true, .. } => "^~",
                LocationKind::Regex(_) => "~",
                _ => "",
            };
            let name = String::from_utf8_lossy(&location.name()).into_owned();
            match location.children.is_empty() {
                true => format!("{modifier}{name}"),
                false => format!("{modifier}{name} {{{}}}", shown(&location.children)),
            }
        };
        locations.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_modifier_stands_alone_or_sticks_to_the_path() {
        let (locations, problems) = lower(
            r"location = /a { } location =/b { } location ^~ /c { } location ^~/d { }
              location ~ \.php$ { } location ~\.js$ { } location ~* \.GIF$ { } location ~*\.png$ { }
              location @x { } location / { } location '' { }",
        );
        assert_eq!(problems, "");
        assert_eq!(
            locations,
            r"=/a =/b ^~/c ^~/d ~\.php$ ~\.js$ ~\.GIF$ ~\.png$ @x / "
        );
        assert_eq!(
            lower("location != /a { }").1,
            "OC-E121 `!=` is not a modifier of a location\n"
        );
    }

    #[test]
    fn the_same_text_may_stand_once_in_a_level_and_class() {
        let duplicates = |text: &str| lower(text).1;
        assert_eq!(
            duplicates("location /a { } location ^~ /a { }"),
            "OC-E122 the location `/a` stands twice\n"
        );
        assert_eq!(
            duplicates("location = /a { } location =/a { }"),
            "OC-E122 the location `/a` stands twice\n"
        );
        assert_eq!(
            duplicates("location @a { } location @a { }"),
            "OC-W146 the location `@a` stands twice\n"
        );
        assert_eq!(
            duplicates(
                "location /a { location /a { } } location = /a { } location ~ a { } location ~ a { }"
            ),
            ""
        );
    }

    #[test]
    fn nesting_follows_the_paths() {
        let (locations, problems) = lower(
            "location /a { location /a/b { location = /a/b/c { } } location ~ x { location ~ y { } } }",
        );
        assert_eq!(problems, "");
        assert_eq!(locations, "/a {/a/b {=/a/b/c} ~x {~y}}");
        let refused = |text: &str| {
            let (_, problems) = lower(text);
            assert!(problems.starts_with("OC-E123"), "{text}: {problems}");
        };
        refused("location /a { location /b { } }");
        refused("location = /a { location /a/b { } }");
        refused("location @a { location / { } }");
        refused("location / { location @a { } }");
        refused(r"location ~ \.php$ { location /a { } }");
    }

    fn names(text: &str) -> (PlacedNames, String) {
        let nodes = nodes(&format!("server {{ {text} }}"));
        let mut cx = Cx::new(&nodes);
        let names = server_names(&nodes[0], &mut cx);
        (names, problems(&cx))
    }

    #[test]
    fn names_are_lowered_and_the_first_one_is_the_server_s() {
        let primary = |text: &str| {
            let (names, problems) = names(text);
            assert_eq!(problems, "", "{text}");
            String::from_utf8_lossy(&names.primary).into_owned()
        };
        assert_eq!(primary(""), "");
        assert_eq!(
            primary("server_name A.example b; server_name c;"),
            "a.example"
        );
        assert_eq!(primary("server_name .Example.org;"), "example.org");
        assert_eq!(primary("server_name *.example.org;"), "*.example.org");
        assert_eq!(primary("server_name www.example.*;"), "www.example.*");
        assert_eq!(
            primary(r"server_name ~^(?<sub>\w+)\.org$;"),
            r"~^(?<sub>\w+)\.org$"
        );
        let (names, _) = names("server_name a .b *.c d.* ~e '';");
        assert!(matches!(
            &names.names[..],
            [
                ServerName::Exact(_),
                ServerName::SelfOrSuffix(_),
                ServerName::Suffix(_),
                ServerName::Prefix(_),
                ServerName::Regex(_),
                ServerName::Exact(_),
            ]
        ));
    }

    #[test]
    fn names_that_cannot_be_or_cannot_come_are_told() {
        for text in ["*", ".", "*.", "~"] {
            let (_, problems) = names(&format!("server_name {text};"));
            assert!(problems.starts_with("OC-E120"), "{text}: {problems}");
        }
        for text in [
            "bücher.example",
            "a/b",
            "a:80",
            "a.",
            "$host",
            "a*.b",
            "a..b",
        ] {
            let (names, problems) = names(&format!("server_name {text};"));
            assert!(problems.starts_with("OC-W141"), "{text}: {problems}");
            assert_eq!(names.names.len(), 1);
        }
    }

    #[test]
    fn conflicts_name_both_lines() {
        let texts = [
            "server_name a .b.c;",
            "server_name b.c A;",
            "",
            "server_name '' *.b.c;",
        ];
        let (mut all, mut cx) = (String::new(), Cx::new(&[]));
        for text in texts {
            all.push_str(&format!("server {{ {text} }}\n"));
        }
        let nodes = nodes(&all);
        let servers: Vec<_> = nodes
            .iter()
            .map(|node| server_names(node, &mut cx))
            .collect();
        warn_of_conflicts("*:80", &servers.iter().collect::<Vec<_>>(), &mut cx);
        let shown: Vec<_> = cx
            .diagnostics
            .iter()
            .map(|problem| {
                let place = |(span, _): &(Span, String)| &all[span.range()];
                problem
                    .labels
                    .iter()
                    .map(place)
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect();
        assert_eq!(shown, ["b.c .b.c", "A a", "'' server", "*.b.c .b.c"]);
    }
}
