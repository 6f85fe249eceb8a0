//! The location of a path: one walk over a tree of bytes, then regular expressions as written.
//!
//! The order is nginx's (`ngx_http_core_find_location`): an exact location ends the search; else
//! the longest prefix is found and its nested locations are searched the same way; a `^~` prefix
//! keeps the regular expressions *beside it* from being tried; the first regular expression that
//! matches wins over the prefix, and its nested locations are searched in turn.
//!
//! Invariant: a search allocates nothing and looks at each byte of the path at most once per nested
//! level; the names of nested locations are kept without the part that their parent has matched.

use std::collections::HashMap;
use std::sync::Arc;

use super::remember;
use crate::conf::regex::{Groups, Regex};
use crate::conf::typed::location::{Location, LocationKind, Settings};
use crate::http::exchange::Exchange;

/// The locations of a server, ready to be searched.
#[derive(Debug, Default)]
pub struct LocationTree {
    root: Level,
    named: HashMap<Box<str>, Arc<Settings>>,
}

/// Where a search ended.
#[derive(Clone, Copy, Debug)]
pub enum Found<'a> {
    /// No location has the path: the server's own settings hold.
    Nothing,
    /// This location.
    Location(&'a Arc<Settings>),
    /// A location that proxies has the path with a slash at its end: the client is sent there. The
    /// settings are that location's, its name is where to.
    Redirect(&'a Arc<Settings>),
}

impl LocationTree {
    /// Compiles the locations of a server.
    pub fn new(locations: &[Location]) -> Self {
        let mut named = HashMap::new();
        for location in locations {
            if let LocationKind::Named(name) = &location.kind {
                // The first one of a name counts, as in nginx.
                named
                    .entry(name.clone())
                    .or_insert_with(|| Arc::clone(&location.settings));
            }
        }
        Self {
            root: Level::new(locations, 0),
            named,
        }
    }

    /// The location of a normalised path. Groups of a regular expression are remembered.
    pub fn find(&self, path: &[u8], exchange: &Exchange) -> Found<'_> {
        let mut place = None;
        match (self.root.search(path, exchange, &mut place), place) {
            (_, None) => Found::Nothing,
            (Rank::Redirect, Some(settings)) => Found::Redirect(settings),
            (_, Some(settings)) => Found::Location(settings),
        }
    }

    /// A named location, without the `@`.
    pub fn named(&self, name: &str) -> Option<&Arc<Settings>> {
        self.named.get(name)
    }
}

/// The locations that stand directly beside each other.
#[derive(Debug, Default)]
struct Level {
    /// How many bytes of the path the names leave out, because the parent has matched them.
    skip: usize,
    tree: Node,
    places: Box<[Place]>,
    regexes: Box<[(Arc<Regex>, Place)]>,
}

#[derive(Debug)]
struct Place {
    settings: Arc<Settings>,
    /// `^~`
    is_strong: bool,
    /// What stands inside of it, if anything does.
    nested: Option<Box<Level>>,
}

/// A node of the tree: what its label adds to the path of its parent.
#[derive(Debug, Default)]
struct Node {
    label: Box<[u8]>,
    /// The position of the `=` location with exactly this path.
    exact: Option<u32>,
    /// The position of the prefix location with this path.
    prefix: Option<u32>,
    /// The first bytes of the children's labels, sorted.
    firsts: Box<[u8]>,
    children: Box<[Node]>,
}

/// How a search of one level ended (in nginx: `NGX_DECLINED` or `NGX_AGAIN`, `NGX_OK`, `NGX_DONE`).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rank {
    /// Nothing or a prefix: the level around it may still try its regular expressions.
    Open,
    /// An exact location or a regular expression.
    Final,
    /// The path lacks its last slash.
    Redirect,
}

impl Level {
    fn new(locations: &[Location], skip: usize) -> Self {
        let mut names: Vec<Name<'_>> = Vec::new();
        let mut places = Vec::new();
        let mut regexes = Vec::new();
        for location in locations {
            let place = |is_strong: bool, nested_skip: usize| Place {
                settings: Arc::clone(&location.settings),
                is_strong,
                nested: (!location.children.is_empty())
                    .then(|| Box::new(Self::new(&location.children, nested_skip))),
            };
            let (path, is_exact, is_strong) = match &location.kind {
                LocationKind::Exact(path) => (path, true, false),
                LocationKind::Prefix { path, strong } => (path, false, *strong),
                LocationKind::Regex(regex) => {
                    // What stands inside of a pattern is compared with the whole path.
                    regexes.push((Arc::clone(regex), place(false, 0)));
                    continue;
                }
                LocationKind::Named(_) => continue,
            };
            // The configuration was refused if it does not start as its parent does.
            if let Some(name) = path.get(skip..) {
                names.push(Name {
                    name,
                    is_exact,
                    position: places.len() as u32,
                });
                places.push(place(is_strong, path.len()));
            }
        }
        names.sort_by(|one, other| one.name.cmp(other.name));
        Self {
            skip,
            tree: Node::new(&names, 0),
            places: places.into(),
            regexes: regexes.into(),
        }
    }

    /// Leaves in `place` what was matched last, on this level or further inside.
    fn search<'a>(
        &'a self,
        path: &[u8],
        exchange: &Exchange,
        place: &mut Option<&'a Arc<Settings>>,
    ) -> Rank {
        let rest = path.get(self.skip..).unwrap_or_default();
        let mut is_strong = false;
        match self.tree.walk(rest, &self.places) {
            (Walk::Exact, Some(found)) => {
                *place = Some(&found.settings);
                return Rank::Final;
            }
            (Walk::Redirect, Some(found)) => {
                *place = Some(&found.settings);
                return Rank::Redirect;
            }
            (_, Some(found)) => {
                *place = Some(&found.settings);
                is_strong = found.is_strong;
                if let Some(nested) = &found.nested {
                    let rank = nested.search(path, exchange, place);
                    if rank != Rank::Open {
                        return rank;
                    }
                }
            }
            (_, None) => {}
        }
        if is_strong || self.regexes.is_empty() {
            return Rank::Open;
        }
        let mut groups = Groups::new();
        for (regex, found) in &self.regexes {
            if regex.find(path, &mut groups) {
                remember(exchange, regex, &groups, path);
                *place = Some(&found.settings);
                if let Some(nested) = &found.nested {
                    nested.search(path, exchange, place);
                }
                return Rank::Final;
            }
        }
        Rank::Open
    }
}

struct Name<'a> {
    name: &'a [u8],
    is_exact: bool,
    position: u32,
}

/// How a walk over the tree ended.
enum Walk {
    Exact,
    Prefix,
    Redirect,
}

impl Node {
    /// The tree of sorted names that agree in their first `depth` bytes.
    fn new(names: &[Name<'_>], depth: usize) -> Self {
        let mut node = Self::default();
        // The names that end here come first.
        let own = names.partition_point(|name| name.name.len() == depth);
        for name in &names[..own] {
            let place = match name.is_exact {
                true => &mut node.exact,
                false => &mut node.prefix,
            };
            place.get_or_insert(name.position);
        }
        let mut children = Vec::new();
        for names in names[own..].chunk_by(|one, other| one.name[depth] == other.name[depth]) {
            // Sorted, so what the first and the last one have in common, all have.
            let (first, last) = (names[0].name, names[names.len() - 1].name);
            let common = first
                .iter()
                .zip(last)
                .skip(depth)
                .take_while(|(one, other)| one == other)
                .count();
            let mut child = Self::new(names, depth + common);
            child.label = first[depth..depth + common].into();
            children.push(child);
        }
        node.firsts = children.iter().map(|child| child.label[0]).collect();
        node.children = children.into();
        node
    }

    /// The longest prefix of the path, or the location that is exactly the path.
    fn walk<'a>(&self, mut rest: &[u8], places: &'a [Place]) -> (Walk, Option<&'a Place>) {
        let place = |position: Option<u32>| position.and_then(|at| places.get(at as usize));
        let mut node = self;
        let mut longest = None;
        loop {
            longest = node.prefix.or(longest);
            let Some((&first, _)) = rest.split_first() else {
                if let Some(exact) = place(node.exact) {
                    return (Walk::Exact, Some(exact));
                }
                if node.prefix.is_none()
                    && let Some(child) = node.child(b'/')
                    && *child.label == *b"/"
                    && let Some(found) = child.redirecting(places)
                {
                    return (Walk::Redirect, Some(found));
                }
                return (Walk::Prefix, place(longest));
            };
            let Some(child) = node.child(first) else {
                return (Walk::Prefix, place(longest));
            };
            match rest.strip_prefix(&*child.label) {
                Some(behind) => rest = behind,
                None => {
                    // The path may end one slash before the label does.
                    if child.label.strip_suffix(b"/") == Some(rest)
                        && let Some(found) = child.redirecting(places)
                    {
                        return (Walk::Redirect, Some(found));
                    }
                    return (Walk::Prefix, place(longest));
                }
            }
            node = child;
        }
    }

    fn child(&self, first: u8) -> Option<&Self> {
        // Few nodes have many children; a scan of the bytes beats a bisection up to some dozens.
        let position = memchr::memchr(first, &self.firsts)?;
        self.children.get(position)
    }

    /// The location here that a path without the last slash is sent to. If the exact and the prefix
    /// location stand here, one that redirects is enough, and the exact one is meant (nginx
    /// `ngx_http_core_find_static_location`).
    fn redirecting<'a>(&self, places: &'a [Place]) -> Option<&'a Place> {
        let place = |position: Option<u32>| position.and_then(|at| places.get(at as usize));
        let (exact, prefix) = (place(self.exact), place(self.prefix));
        let is_redirecting = [exact, prefix]
            .iter()
            .flatten()
            .any(|place| place.settings.auto_redirect);
        exact.or(prefix).filter(|_| is_redirecting)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixture::{exchange, http};
    use super::*;
    use crate::conf::typed::lower::fixture::nodes;
    use crate::conf::typed::lower::fixture::settings;
    use crate::conf::variable::Names;

    /// A location as the strategy draws it: kind, what its name adds to its parent's, proxies, inside.
    #[derive(Clone, Debug)]
    struct Drawn {
        kind: u8,
        name: String,
        proxies: bool,
        children: Vec<Drawn>,
    }

    fn drawn() -> impl Strategy<Value = Vec<Drawn>> {
        let leaf = (0u8..6, "[ab/]{0,3}", any::<bool>()).prop_map(|(kind, name, proxies)| Drawn {
            kind,
            name,
            proxies,
            children: Vec::new(),
        });
        let tree = leaf.prop_recursive(3, 24, 6, |inner| {
            let children = prop::collection::vec(inner, 0..6);
            (0u8..6, "[ab/]{0,3}", any::<bool>(), children).prop_map(
                |(kind, name, proxies, children)| Drawn {
                    kind,
                    name,
                    proxies,
                    children,
                },
            )
        });
        prop::collection::vec(tree, 0..10)
    }

    /// Valid locations out of drawn ones: no text twice, names inside start as their parent's.
    fn locations(drawn: &[Drawn], parent: &str, count: &mut usize) -> Vec<Location> {
        let mut seen = std::collections::HashSet::new();
        let mut built = Vec::new();
        for drawn in drawn {
            let name = format!("{parent}{}", drawn.name);
            let bytes: Box<[u8]> = name.as_bytes().into();
            let kind = match drawn.kind {
                0 => LocationKind::Exact(bytes),
                1 => LocationKind::Prefix {
                    path: bytes,
                    strong: true,
                },
                2 | 3 => LocationKind::Prefix {
                    path: bytes,
                    strong: false,
                },
                _ => {
                    let regex = Regex::new(&drawn.name, false, &mut Names::default());
                    LocationKind::Regex(Arc::new(regex.expect("a pattern")))
                }
            };
            let class = drawn.kind.min(1);
            let is_regex = drawn.kind > 3;
            if !is_regex && !seen.insert((class, name.clone())) {
                continue;
            }
            *count += 1;
            let mut settings = settings();
            settings.id = *count;
            settings.auto_redirect = drawn.proxies && name.ends_with('/') && !is_regex;
            let children = match drawn.kind {
                0 => Vec::new(),
                1..=3 => locations(&drawn.children, &name, count),
                // Inside of a pattern, patterns only.
                _ => {
                    let patterns = drawn.children.iter().filter(|inner| inner.kind > 3);
                    let patterns: Vec<_> = patterns.cloned().collect();
                    locations(&patterns, "", count)
                }
            };
            built.push(Location {
                kind,
                children,
                settings: Arc::new(settings),
                span: nodes("a;")[0].span,
            });
        }
        built
    }

    /// nginx's rule, by trying everything.
    fn naive<'a>(
        locations: &'a [Location],
        path: &[u8],
        found: &mut Option<&'a Location>,
    ) -> &'static str {
        let mut longest: Option<(&Location, usize, bool)> = None;
        let (mut slash_exact, mut slash_prefix) = (None, None);
        let slash = [path, b"/"].concat();
        for location in locations {
            match &location.kind {
                LocationKind::Exact(name) if **name == *path => {
                    *found = Some(location);
                    return "final";
                }
                LocationKind::Exact(name) if **name == *slash => slash_exact = Some(location),
                LocationKind::Prefix { path: name, strong } => {
                    let is_longest = longest.is_none_or(|(_, length, _)| length < name.len());
                    if path.starts_with(name) && is_longest {
                        longest = Some((location, name.len(), *strong));
                    }
                    if **name == *slash {
                        slash_prefix = Some(location);
                    }
                }
                _ => {}
            }
        }
        let redirects = [slash_exact, slash_prefix];
        if redirects
            .iter()
            .flatten()
            .any(|one| one.settings.auto_redirect)
            && longest.is_none_or(|(_, length, _)| length < path.len())
        {
            *found = slash_exact.or(slash_prefix);
            return "redirect";
        }
        let mut is_strong = false;
        if let Some((location, _, strong)) = longest {
            *found = Some(location);
            is_strong = strong;
            let rank = naive(&location.children, path, found);
            if rank != "open" {
                return rank;
            }
        }
        if !is_strong {
            for location in locations {
                if let LocationKind::Regex(regex) = &location.kind
                    && regex.is_match(path)
                {
                    *found = Some(location);
                    naive(&location.children, path, found);
                    return "final";
                }
            }
        }
        "open"
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]
        #[test]
        fn finds_what_trying_every_location_finds(
            drawn in drawn(),
            paths in prop::collection::vec("[ab/]{0,6}", 1..12),
        ) {
            let locations = locations(&drawn, "", &mut 0);
            let tree = LocationTree::new(&locations);
            let http = http("server { }");
            let exchange = exchange(&http, "/");
            for path in paths {
                let mut wanted = None;
                let rank = naive(&locations, path.as_bytes(), &mut wanted);
                let wanted = wanted.map(|location| location.settings.id);
                let (found, is_redirect) = match tree.find(path.as_bytes(), &exchange) {
                    Found::Nothing => (None, false),
                    Found::Location(settings) => (Some(settings.id), false),
                    Found::Redirect(settings) => (Some(settings.id), true),
                };
                prop_assert_eq!(found, wanted, "{}", path);
                prop_assert_eq!(is_redirect, rank == "redirect", "{}", path);
            }
        }
    }

    #[test]
    fn named_locations_are_found_by_name_only() {
        let http = http("server { location @a { } location @a { set $x 1; } location / { } }");
        let tree = LocationTree::new(&http.servers[0].locations);
        let settings = tree.named("a").expect("defined");
        // The first one of a name counts.
        assert!(settings.statements.is_empty());
        assert!(tree.named("b").is_none());
        let exchange = exchange(&http, "/@a");
        assert!(matches!(tree.find(b"@a", &exchange), Found::Nothing));
    }

    #[test]
    fn a_match_leaves_its_groups_and_one_without_groups_leaves_none() {
        let http = http(r"server { location ~ ^/(\w)/(?<name>\w+) { } location ~ ^/x { } }");
        let tree = LocationTree::new(&http.servers[0].locations);
        let exchange = exchange(&http, "/");
        let value = |text: &str| {
            let names = &exchange.http.names;
            let template = crate::conf::template::Template::parse(text, names).expect("valid");
            let mut out = Vec::new();
            crate::http::variables::expand(&template, &exchange, &mut out);
            String::from_utf8(out).expect("text")
        };
        assert!(matches!(tree.find(b"/a/bc", &exchange), Found::Location(_)));
        assert_eq!(value("$1,$2,$name"), "a,bc,bc");
        assert!(matches!(tree.find(b"/x", &exchange), Found::Location(_)));
        assert_eq!(value("$1,$2,$name"), ",,bc");
    }
}
