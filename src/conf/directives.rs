//! THE directive table: name, module, contexts, arguments, default and one line of help.
//!
//! The checker, the lowering (defaults), `openclaw help DIRECTIVE`, `openclaw -V` (modules) and later
//! the dashboard's forms read this table; no other place knows a directive's name and shape at once.

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
    DIRECTIVES
        .iter()
        .find(|row| row.name == name && row.contexts.contains(context))
}

/// All rows.
pub static DIRECTIVES: &[Directive] = &[Directive {
    name: "proxy_connect_timeout",
    module: "http_proxy",
    contexts: Contexts::HTTP.or(Contexts::SERVER).or(Contexts::LOCATION),
    form: Form::Simple,
    min: 1,
    max: 1,
    arguments: &[Argument::Milliseconds],
    default: Some("60s"),
    repeat: Repeat::Once,
    support: Support::Full,
    help: "how long connecting to a peer may take",
}];
