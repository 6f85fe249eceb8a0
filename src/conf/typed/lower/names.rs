//! Which variables a configuration defines, learned before anything is lowered.
//!
//! A template may name a variable that a later line defines (nginx looks names up when the whole
//! text is read), so a first walk over the tree collects: `set`, `map`, `geo`, `split_clients`, and
//! the named groups of regular expressions. Invariant: maps, geos and splits are counted in the order
//! of the walk, which is the order in which they are lowered.

use crate::conf::check;
use crate::conf::include::{Node, Word};
use crate::conf::variable::{CORE, Core, Names, Source};

/// Defines the variables of these nodes and of all blocks in them.
pub fn collect(nodes: &[Node], names: &mut Names) {
    let mut counts = Counts::default();
    collect_in(nodes, names, &mut counts);
}

/// The existing variable whose name looks most like this one.
pub fn nearest(name: &str, names: &Names) -> Option<String> {
    let known = CORE.iter().map(|(known, _)| *known);
    let defined = names.slots.iter().map(|(known, _)| &**known);
    check::closest(name, known.chain(defined)).map(str::to_owned)
}

/// May the configuration not define this name? As in nginx, where these variables lack
/// `NGX_HTTP_VAR_CHANGEABLE`; other names that start with `http_` and the like may be taken.
pub fn is_fixed(name: &str) -> bool {
    const FIELDS: &[&str] = &[
        "http_cookie",
        "http_host",
        "http_referer",
        "http_user_agent",
        "http_via",
        "http_x_forwarded_for",
        "sent_http_cache_control",
        "sent_http_connection",
        "sent_http_content_length",
        "sent_http_content_type",
        "sent_http_keep_alive",
        "sent_http_last_modified",
        "sent_http_link",
        "sent_http_location",
        "sent_http_transfer_encoding",
    ];
    match core(name) {
        Some(core) => !matches!(core, Core::Args | Core::LimitRate),
        None => FIELDS.iter().any(|field| field.eq_ignore_ascii_case(name)),
    }
}

fn core(name: &str) -> Option<Core> {
    let name = name.to_ascii_lowercase();
    let position = CORE.binary_search_by(|(known, _)| (*known).cmp(&name));
    position.ok().map(|position| CORE[position].1)
}

#[derive(Default)]
struct Counts {
    maps: u16,
    geos: u16,
    splits: u16,
    places: u16,
}

fn collect_in(nodes: &[Node], names: &mut Names, counts: &mut Counts) {
    for node in nodes {
        let arguments = &node.arguments;
        match (&*node.name.text, &node.block) {
            ("set" | "auth_request_set" | "auth_jwt_claim_set" | "auth_jwt_header_set", None) => {
                define(arguments.first(), Source::Set, names)
            }
            ("map", Some(_)) => {
                define(arguments.get(1), Source::Map(counts.maps), names);
                counts.maps = counts.maps.saturating_add(1);
            }
            ("geo", Some(_)) => {
                define(arguments.last(), Source::Geo(counts.geos), names);
                counts.geos = counts.geos.saturating_add(1);
            }
            ("geoip2", Some(block)) => {
                for entry in super::places::variables(block) {
                    define(Some(&entry.name), Source::Place(counts.places), names);
                    counts.places = counts.places.saturating_add(1);
                }
            }
            ("split_clients", Some(_)) => {
                define(arguments.get(1), Source::Split(counts.splits), names);
                counts.splits = counts.splits.saturating_add(1);
            }
            _ => {}
        }
        // Any directive may take a pattern; a text that merely looks like one defines a variable
        // that is always empty.
        for word in std::iter::once(&node.name).chain(arguments) {
            for group in group_names(&word.text) {
                names.define(&group.to_ascii_lowercase(), Source::Capture);
            }
        }
        if let Some(block) = &node.block {
            collect_in(block, names, counts);
        }
    }
}

fn define(word: Option<&Word>, source: Source, names: &mut Names) {
    if let Some(name) = word.and_then(|word| word.text.strip_prefix('$')) {
        // `$args` and `$limit_rate` can be set, and stay what they are.
        if !is_fixed(name) && core(name).is_none() {
            names.define(&name.to_ascii_lowercase(), source);
        }
    }
}

/// The names in `(?<name>` and `(?P<name>` of a pattern.
fn group_names(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("(?").filter_map(|(at, open)| {
        let rest = &text[at + open.len()..];
        let rest = rest.strip_prefix('P').unwrap_or(rest).strip_prefix('<')?;
        let name = &rest[..rest.find('>')?];
        let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        is_name.then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::nodes;
    use super::*;

    fn collected(text: &str) -> Vec<(String, Source)> {
        let mut names = Names::default();
        collect(&nodes(text), &mut names);
        let slots = names.slots.iter();
        slots
            .map(|(name, source)| (name.to_string(), *source))
            .collect()
    }

    #[test]
    fn every_kind_of_definition_is_found_at_any_depth() {
        let text = "http { map a $m { } geo $g { } geo $x $g2 { } split_clients a $s { }
            server { location / { if ($a) { set $Set x; } } } }";
        assert_eq!(
            collected(text),
            [
                ("m".to_owned(), Source::Map(0)),
                ("g".to_owned(), Source::Geo(0)),
                ("g2".to_owned(), Source::Geo(1)),
                ("s".to_owned(), Source::Split(0)),
                ("set".to_owned(), Source::Set),
            ]
        );
        // What is built in stays what it is.
        assert_eq!(
            collected("set $args a; set $uri b; set $http_host c; set plain d;"),
            []
        );
    }

    #[test]
    fn groups_of_patterns_are_told_from_what_looks_like_them() {
        let groups = |text: &str| group_names(text).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(groups("^(?<a>x)(?P<b_1>(?<C>y))$"), ["a", "b_1", "C"]);
        for text in [
            "(?<=a)", "(?<!a)", "(?:a)", "(?<1>a)", "(?<a", "(?", "(?<>a)", "(?P=a)",
        ] {
            assert_eq!(groups(text), [] as [&str; 0], "{text}");
        }
        assert_eq!(
            collected("location ~ (?<Named>x) { }"),
            [("named".to_owned(), Source::Capture)]
        );
    }

    #[test]
    fn the_nearest_name_may_be_built_in_or_defined() {
        let mut names = Names::default();
        names.define("backend_pool", Source::Set);
        assert_eq!(
            nearest("remote_adr", &names).as_deref(),
            Some("remote_addr")
        );
        assert_eq!(
            nearest("backend_pol", &names).as_deref(),
            Some("backend_pool")
        );
        assert_eq!(nearest("something", &names), None);
    }
}
