//! THE directive table: name, module, contexts, arguments, default and one line of help.
//!
//! The checker, the lowering (defaults), `openclaw help DIRECTIVE`, `openclaw -V` (modules) and later
//! the dashboard's forms read this table; no other place knows a directive's name and shape at once.
//!
//! Names, contexts and arity are those of nginx 1.31. Not here: what a value means (the lowering), and
//! the names of nginx that this version lacks ([`foreign()`]). Invariant: a name has at most one row for
//! each context, so [`find`] has one answer.

mod access;
mod acme;
mod acme_dns;
mod alerts;
mod bans;
mod cache_path;
mod filters;
mod foreign;
mod grpc;
mod header_edits;
mod health;
mod help;
mod http_core;
mod limits;
mod llm;
mod llm_money;
mod peer_tls;
mod process;
mod proxy;
mod proxy_cache;
mod response;
mod routing;
mod tls;
mod upstream;

use std::sync::LazyLock;

pub use acme_dns::PROVIDERS;
pub use foreign::foreign;
pub use help::{Entry, entries, render_help};

/// The places of a configuration in which a directive may stand; a set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Contexts(pub u32);

impl Contexts {
    /// Outside of every block.
    pub const MAIN: Self = Self(1);
    /// Inside `events {}`.
    pub const EVENTS: Self = Self(1 << 1);
    /// Inside `http {}`.
    pub const HTTP: Self = Self(1 << 2);
    /// Inside `server {}`.
    pub const SERVER: Self = Self(1 << 3);
    /// Inside `location {}`.
    pub const LOCATION: Self = Self(1 << 4);
    /// Inside an `if {}` of a server.
    pub const IF_IN_SERVER: Self = Self(1 << 5);
    /// Inside an `if {}` of a location.
    pub const IF_IN_LOCATION: Self = Self(1 << 6);
    /// Inside `limit_except {}`.
    pub const LIMIT_EXCEPT: Self = Self(1 << 7);
    /// Inside `upstream {}`.
    pub const UPSTREAM: Self = Self(1 << 8);
    /// Inside `types {}`, `map {}`, `geo {}`, `split_clients {}`: entries, not directives.
    pub const ENTRIES: Self = Self(1 << 9);
    /// Inside `acme_issuer {}`.
    pub const ACME_ISSUER: Self = Self(1 << 11);
    /// Inside `dns_provider {}`.
    pub const DNS_PROVIDER: Self = Self(1 << 12);
    /// Inside `oidc_provider {}`.
    pub const OIDC_PROVIDER: Self = Self(1 << 21);
    /// Inside `match {}`.
    pub const MATCH: Self = Self(1 << 20);
    /// Inside `llm_provider {}`.
    pub const LLM_PROVIDER: Self = Self(1 << 22);
    /// Inside `llm_model {}`.
    pub const LLM_MODEL: Self = Self(1 << 23);
    /// Everywhere (`include`).
    pub const ANY: Self = Self(u32::MAX);

    /// Both sets together; usable in constants.
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Is every place of `other` in this set?
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What one argument of a directive is; the checker refuses what does not parse as this.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Argument {
    /// `on` or `off`.
    Flag,
    /// A whole number within bounds (inclusive).
    Number { min: i64, max: i64 },
    /// Bytes: `8k`, `1m` (nginx `ngx_parse_size`).
    Size,
    /// Bytes up to `g` (nginx `ngx_parse_offset`).
    Offset,
    /// A duration kept in milliseconds: `60s`, `1m 30s`, `500ms`.
    Milliseconds,
    /// A duration kept in seconds (`expires`, `fail_timeout`): no `ms`.
    Seconds,
    /// Exactly one of these words.
    OneOf(&'static [&'static str]),
    /// Text in which `$` has no meaning.
    Text,
    /// Text in which variables are expanded (a complex value).
    Template,
    /// The name of a variable, with its `$`.
    Variable,
    /// A path of this machine; relative to the prefix or to the configuration's directory.
    Path,
    /// A path in which variables are expanded.
    PathTemplate,
    /// A regular expression.
    Regex,
    /// A word or a `name=value` out of these names (a name ending in `=` takes a value).
    Parameter(&'static [&'static str]),
    /// Checked by the directive's own lowering only.
    Free,
}

/// Does the directive open a block, and what stands in it?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// Ends with `;`.
    Simple,
    /// Opens a block whose inside is this context.
    Block(Contexts),
}

/// May a directive stand more than once in one block?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Repeat {
    /// A second one is an error, as nginx's "is duplicate".
    Once,
    /// Each adds to a list (`add_header`, `server`, `access_log`).
    Many,
}

/// What we do with a directive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Support {
    /// Does what nginx's does.
    Full,
    /// Accepted; it has no meaning here, for this reason.
    NoEffect(&'static str),
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Directive {
    /// The name as written.
    pub name: &'static str,
    /// The nginx module that it belongs to, e.g. `http_proxy`; `openclaw -V` names modules by it.
    pub module: &'static str,
    /// Where it may stand.
    pub contexts: Contexts,
    /// Simple or block.
    pub form: Form,
    /// The fewest arguments.
    pub min: u8,
    /// The most arguments; 255 is "any number".
    pub max: u8,
    /// What the arguments are, in order; the last one stands for all that follow.
    pub arguments: &'static [Argument],
    /// The value in force when nothing is written, as it would be written (without name and `;`).
    pub default: Option<&'static str>,
    /// Once or many times in one block.
    pub repeat: Repeat,
    /// What it does here.
    pub support: Support,
    /// One line that says what it is for.
    pub help: &'static str,
}

/// The row of a directive in a context. Names may have several rows (`server` in http and in upstream).
pub fn find(name: &str, context: Contexts) -> Option<&'static Directive> {
    rows(name)
        .iter()
        .copied()
        .find(|row| row.contexts.contains(context))
}

/// All rows of a name, whatever the context; empty when the name is unknown.
pub fn rows(name: &str) -> &'static [&'static Directive] {
    static BY_NAME: LazyLock<Vec<&'static Directive>> = LazyLock::new(|| {
        let mut sorted: Vec<_> = all().collect();
        sorted.sort_by_key(|row| row.name);
        sorted
    });
    let start = BY_NAME.partition_point(|row| row.name < name);
    let length = BY_NAME[start..].partition_point(|row| row.name == name);
    &BY_NAME[start..start + length]
}

/// Every row, area by area.
pub fn all() -> impl Iterator<Item = &'static Directive> {
    DIRECTIVES.iter()
}

/// All rows.
pub static DIRECTIVES: &[Directive] = &joined::<{ count(AREAS) }>(AREAS);

const AREAS: &[&[Directive]] = &[
    process::ROWS,
    http_core::ROWS,
    routing::ROWS,
    response::ROWS,
    limits::ROWS,
    bans::ROWS,
    tls::ROWS,
    proxy::ROWS,
    peer_tls::PROXY,
    grpc::ROWS,
    peer_tls::GRPC,
    upstream::ROWS,
    health::ROWS,
    access::ROWS,
    acme::ROWS,
    acme_dns::ROWS,
    cache_path::ROWS,
    proxy_cache::ROWS,
    filters::ROWS,
    header_edits::ROWS,
    llm::ROWS,
    llm_money::ROWS,
    alerts::ROWS,
];

const fn count(areas: &[&[Directive]]) -> usize {
    let mut sum = 0;
    let mut area = 0;
    while area < areas.len() {
        sum += areas[area].len();
        area += 1;
    }
    sum
}

/// One list of the areas' rows, made when this is compiled.
const fn joined<const COUNT: usize>(areas: &[&[Directive]]) -> [Directive; COUNT] {
    let mut all = [areas[0][0]; COUNT];
    let mut filled = 0;
    let mut area = 0;
    while area < areas.len() {
        let mut position = 0;
        while position < areas[area].len() {
            all[filled] = areas[area][position];
            filled += 1;
            position += 1;
        }
        area += 1;
    }
    all
}

const HTTP_SERVER: Contexts = Contexts::HTTP.or(Contexts::SERVER);
const HTTP_SERVER_LOCATION: Contexts = HTTP_SERVER.or(Contexts::LOCATION);
const HTTP_TO_IF_IN_LOCATION: Contexts = HTTP_SERVER_LOCATION.or(Contexts::IF_IN_LOCATION);

/// Any number of arguments.
const ANY_NUMBER: u8 = u8::MAX;

/// A whole number that may be zero.
const COUNT: Argument = Argument::Number {
    min: 0,
    max: i64::MAX,
};

/// A whole number from one on.
const POSITIVE: Argument = Argument::Number {
    min: 1,
    max: i64::MAX,
};

/// The length of the names in one level of a directory for temporary files. A file's number has ten
/// digits, and the names of all levels are made of them (nginx `ngx_conf_set_path_slot`).
const DIRECTORY_LEVEL: Argument = Argument::Number { min: 1, max: 10 };

const TABLES_GROW: &str = "tables size themselves";
const NO_POOLS: &str = "memory is not taken from pools";
const NO_LOW_WATER_MARK: &str = "the system has no such limit for writing";

/// A row in its commonest form: a simple directive that stands once and takes exactly these arguments.
const fn row(
    module: &'static str,
    name: &'static str,
    contexts: Contexts,
    arguments: &'static [Argument],
) -> Directive {
    Directive {
        name,
        module,
        contexts,
        form: Form::Simple,
        min: arguments.len() as u8,
        max: arguments.len() as u8,
        arguments,
        default: None,
        repeat: Repeat::Once,
        support: Support::Full,
        help: "",
    }
}

/// How the areas write the rest of a row.
impl Directive {
    const fn takes(mut self, min: u8, max: u8) -> Self {
        self.min = min;
        self.max = max;
        self
    }

    const fn default(mut self, written: &'static str) -> Self {
        self.default = Some(written);
        self
    }

    const fn many(mut self) -> Self {
        self.repeat = Repeat::Many;
        self
    }

    const fn block(mut self, inside: Contexts) -> Self {
        self.form = Form::Block(inside);
        self
    }

    const fn no_effect(mut self, reason: &'static str) -> Self {
        self.support = Support::NoEffect(reason);
        self
    }

    const fn help(mut self, line: &'static str) -> Self {
        self.help = line;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SINGLE_CONTEXTS: [Contexts; 16] = [
        Contexts::MAIN,
        Contexts::EVENTS,
        Contexts::HTTP,
        Contexts::SERVER,
        Contexts::LOCATION,
        Contexts::IF_IN_SERVER,
        Contexts::IF_IN_LOCATION,
        Contexts::LIMIT_EXCEPT,
        Contexts::UPSTREAM,
        Contexts::ENTRIES,
        Contexts::ACME_ISSUER,
        Contexts::DNS_PROVIDER,
        Contexts::OIDC_PROVIDER,
        Contexts::MATCH,
        Contexts::LLM_PROVIDER,
        Contexts::LLM_MODEL,
    ];

    /// A look at the shape only; the checker's own rules are stricter.
    fn fits(argument: Argument, word: &str) -> bool {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let units = |units: &[&str]| {
            digits(word)
                || units
                    .iter()
                    .any(|unit| word.strip_suffix(unit).is_some_and(digits))
        };
        match argument {
            Argument::Flag => word == "on" || word == "off",
            Argument::Number { min, max } => word
                .parse::<i64>()
                .is_ok_and(|number| (min..=max).contains(&number)),
            Argument::Size => units(&["k", "m"]),
            Argument::Offset => units(&["k", "m", "g"]),
            Argument::Milliseconds => units(&["ms", "s", "m", "h", "d"]),
            Argument::Seconds => units(&["s", "m", "h", "d"]),
            Argument::OneOf(words) => words.contains(&word),
            Argument::Parameter(names) => names.iter().any(|name| {
                if name.ends_with('=') {
                    word.starts_with(name) && word.len() > name.len()
                } else {
                    word == *name
                }
            }),
            Argument::Variable => word.starts_with('$') && word.len() > 1,
            Argument::Text | Argument::Path => !word.is_empty() && !word.contains('$'),
            Argument::Template | Argument::PathTemplate | Argument::Regex | Argument::Free => {
                !word.is_empty()
            }
        }
    }

    #[test]
    fn a_name_has_at_most_one_row_for_each_context() {
        for row in all() {
            for context in SINGLE_CONTEXTS {
                let count = rows(row.name)
                    .iter()
                    .filter(|other| other.contexts.contains(context))
                    .count();
                assert!(count <= 1, "`{}` in {context:?}", row.name);
            }
        }
    }

    #[test]
    fn every_row_stands_somewhere_and_is_found_there() {
        for row in all() {
            let found: Vec<_> = SINGLE_CONTEXTS
                .into_iter()
                .filter(|context| row.contexts.contains(*context))
                .collect();
            assert!(!found.is_empty(), "`{}` stands nowhere", row.name);
            for context in found {
                let hit = find(row.name, context).expect("found in its own context");
                assert!(std::ptr::eq(hit, row), "`{}` in {context:?}", row.name);
            }
        }
    }

    #[test]
    fn arity_agrees_with_the_arguments() {
        for row in all() {
            assert!(row.min <= row.max, "`{}`", row.name);
            assert_eq!(row.arguments.is_empty(), row.max == 0, "`{}`", row.name);
            assert!(row.arguments.len() <= row.max.into(), "`{}`", row.name);
        }
    }

    #[test]
    fn every_default_fits_its_own_arguments() {
        for row in all() {
            let Some(default) = row.default else { continue };
            let words: Vec<_> = default.split_whitespace().collect();
            assert!(
                (usize::from(row.min)..=usize::from(row.max)).contains(&words.len()),
                "`{} {default}`",
                row.name
            );
            for (position, word) in words.into_iter().enumerate() {
                let argument = row
                    .arguments
                    .get(position)
                    .or(row.arguments.last())
                    .expect("a default has arguments");
                assert!(fits(*argument, word), "`{} {default}`", row.name);
            }
        }
    }

    #[test]
    fn every_help_is_one_short_line_that_starts_in_lower_case() {
        let reasons = all().filter_map(|row| match row.support {
            Support::NoEffect(reason) => Some((row.name, reason)),
            Support::Full => None,
        });
        for (name, line) in all().map(|row| (row.name, row.help)).chain(reasons) {
            let first = line.chars().next().expect("a help has words");
            // A name in backticks may stand first, a capital may not.
            assert!(first.is_lowercase() || first == '`', "`{name}`: {line}");
            assert!(
                !line.contains('\n') && !line.ends_with('.'),
                "`{name}`: {line}"
            );
            assert!(line.len() <= 90, "`{name}`: {line}");
        }
    }

    #[test]
    fn blocks_open_one_context_and_have_no_default() {
        for row in all() {
            if let Form::Block(inside) = row.form {
                assert!(SINGLE_CONTEXTS.contains(&inside), "`{}`", row.name);
                assert_eq!(row.default, None, "`{}`", row.name);
                assert_eq!(row.support, Support::Full, "`{}`", row.name);
            }
        }
    }

    #[test]
    fn if_opens_the_context_of_the_place_where_it_stands() {
        let inside = |context| find("if", context).map(|row| row.form);
        assert_eq!(
            inside(Contexts::SERVER),
            Some(Form::Block(Contexts::IF_IN_SERVER))
        );
        assert_eq!(
            inside(Contexts::LOCATION),
            Some(Form::Block(Contexts::IF_IN_LOCATION))
        );
        // nginx allows no `if` in `http`, nor one in another.
        assert_eq!(inside(Contexts::HTTP), None);
        assert_eq!(inside(Contexts::IF_IN_LOCATION), None);
    }

    #[test]
    fn a_name_means_in_upstream_what_it_means_there() {
        let module = |name, context| find(name, context).map(|row| row.module);
        assert_eq!(module("server", Contexts::HTTP), Some("http_core"));
        assert_eq!(module("server", Contexts::UPSTREAM), Some("http_upstream"));
        assert_eq!(
            module("keepalive_timeout", Contexts::UPSTREAM),
            Some("http_upstream_keepalive")
        );
        assert_eq!(
            module("keepalive_timeout", Contexts::SERVER),
            Some("http_core")
        );
        assert_eq!(module("proxy_pass", Contexts::SERVER), None);
    }

    #[test]
    fn the_defaults_are_those_of_nginx_1_31() {
        let default = |name, context| find(name, context).and_then(|row| row.default);
        assert_eq!(default("proxy_http_version", Contexts::HTTP), Some("1.1"));
        assert_eq!(default("keepalive", Contexts::UPSTREAM), Some("32 local"));
        assert_eq!(default("client_max_body_size", Contexts::HTTP), Some("1m"));
        assert_eq!(default("max_headers", Contexts::HTTP), Some("1000"));
        assert_eq!(
            default("proxy_next_upstream", Contexts::LOCATION),
            Some("error timeout")
        );
        assert_eq!(default("worker_connections", Contexts::EVENTS), Some("512"));
    }

    #[test]
    fn include_stands_everywhere() {
        for context in SINGLE_CONTEXTS {
            assert!(find("include", context).is_some(), "{context:?}");
        }
    }

    #[test]
    fn unknown_names_have_no_rows() {
        for name in [
            "",
            "a",
            "zzz",
            "proxy_connect_timeou",
            "proxy_connect_timeouts",
            "Server",
        ] {
            assert!(rows(name).is_empty(), "`{name}`");
        }
    }
}
