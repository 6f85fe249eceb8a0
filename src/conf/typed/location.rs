//! `server {}` and `location {}`: names, matching, and the settings in force in each place.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use super::access::{Guard, Login, Mirror, Origin};
use super::cors::Cors;
use super::filters::Filters;
use super::hostnames::Pattern;
use super::listen::Address;
use super::llm;
use super::llm_log::LlmLog;
use super::log::{AccessLog, ErrorLog};
use super::proxy::Proxy;
use super::tls::ServerTls;
use crate::conf::regex::Regex;
use crate::conf::source::Span;
use crate::conf::template::Template;
use crate::conf::variable::Variable;

/// One `server {}`.
#[derive(Debug)]
pub struct Server {
    /// `server_name`, in order; never empty (`""` when nothing is written).
    pub names: Vec<ServerName>,
    /// The value of `$server_name`: the first name as written.
    pub primary_name: Box<[u8]>,
    /// The addresses that it listens at, in the order written.
    pub listens: Vec<Address>,
    /// What holds before a location is found, and where none matches.
    pub settings: Arc<Settings>,
    /// Providers at whom somebody may log in somewhere in it.
    pub logins: Box<[Arc<Login>]>,
    /// `rewrite`, `if`, `set`, `return` of the server level.
    pub statements: Vec<Statement>,
    /// Its locations as written.
    pub locations: Vec<Location>,
    /// How requests are read.
    pub reading: Reading,
    /// What it offers where it listens with `ssl`; `None` if it does so nowhere.
    pub tls: Option<Arc<ServerTls>>,
    /// The `server` word.
    pub span: Span,
}

/// One name of a server.
#[derive(Debug)]
pub enum ServerName {
    /// `example.org`, in lower case; may be empty.
    Exact(Box<[u8]>),
    /// `*.example.org`, kept as `.example.org`.
    Suffix(Box<[u8]>),
    /// `.example.org`: the name itself and everything below; kept as `.example.org`.
    SelfOrSuffix(Box<[u8]>),
    /// `www.example.*`, kept as `www.example.`.
    Prefix(Box<[u8]>),
    /// `~^www\d+\.example\.org$`
    Regex(Arc<Regex>),
}

impl ServerName {
    /// The name as a table of host names takes it; `None` for a regular expression.
    pub fn pattern(&self) -> Option<Pattern<'_>> {
        match self {
            Self::Exact(name) => Some(Pattern::Exact(name)),
            Self::Suffix(suffix) => Some(Pattern::Suffix(suffix)),
            Self::SelfOrSuffix(suffix) => Some(Pattern::SelfOrSuffix(suffix)),
            Self::Prefix(prefix) => Some(Pattern::Prefix(prefix)),
            Self::Regex(_) => None,
        }
    }
}

/// How a server reads requests (values of the `http` and `server` level only).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reading {
    /// `client_header_timeout`
    pub header_timeout: Duration,
    /// `large_client_header_buffers`: how many, and the size of each in bytes.
    pub large_header_buffers: (usize, usize),
    /// `max_headers`
    pub max_fields: usize,
    /// `ignore_invalid_headers`
    pub ignore_invalid: bool,
    /// `underscores_in_headers`
    pub underscores: bool,
    /// `merge_slashes`
    pub merge_slashes: bool,
    /// `http2 on`: clients without TLS may speak HTTP/2 at once.
    pub http2: bool,
    /// Clients with TLS are offered HTTP/2: unless `http2 off` is written.
    pub http2_over_tls: bool,
    /// `http2_max_concurrent_streams`
    pub http2_streams: u32,
    /// `http2_body_preread_size`: the window of a stream, bytes.
    pub http2_window: u32,
}

/// One `location {}`.
#[derive(Debug)]
pub struct Location {
    /// How it matches.
    pub kind: LocationKind,
    /// Locations inside it.
    pub children: Vec<Self>,
    /// What holds in it.
    pub settings: Arc<Settings>,
    /// Its line.
    pub span: Span,
}

/// How a location matches the normalised path.
#[derive(Debug)]
pub enum LocationKind {
    /// `= /path`
    Exact(Box<[u8]>),
    /// `/path`, or `^~ /path` which keeps regular expressions from being tried.
    Prefix { path: Box<[u8]>, strong: bool },
    /// `~` and `~*`
    Regex(Arc<Regex>),
    /// `@name`, without the `@`.
    Named(Box<str>),
}

/// As written behind `location`, with one blank between modifier and text.
impl std::fmt::Display for LocationKind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(path) => write!(formatter, "= {}", String::from_utf8_lossy(path)),
            Self::Prefix { path, strong } => {
                let modifier = if *strong { "^~ " } else { "" };
                write!(formatter, "{modifier}{}", String::from_utf8_lossy(path))
            }
            Self::Regex(regex) => {
                let modifier = if regex.ignores_case() { "~*" } else { "~" };
                write!(formatter, "{modifier} {}", regex.source())
            }
            Self::Named(name) => write!(formatter, "@{name}"),
        }
    }
}

/// One step of the rewrite phase, in the order written.
#[derive(Debug)]
pub enum Statement {
    /// `set $variable value`
    Set { variable: Variable, value: Template },
    /// `rewrite regex replacement [flag]`
    Rewrite(Rewrite),
    /// `return`
    Return(Return),
    /// `break`
    Break,
    /// `if (condition) { … }`
    If {
        condition: Condition,
        statements: Vec<Self>,
        /// What holds from here on when the condition is true; `None` at the server level.
        settings: Option<Arc<Settings>>,
    },
}

/// `rewrite`.
#[derive(Debug)]
pub struct Rewrite {
    /// What must match.
    pub regex: Regex,
    /// The new path (and query), or the address to redirect to; a trailing `?` is already removed.
    pub replacement: Template,
    /// A trailing `?`: the request's own arguments are not appended.
    pub drops_arguments: bool,
    /// The replacement holds a `?` in its text.
    pub has_query: bool,
    /// The pattern asks for a literal `?`, so it is matched against path and query together and a
    /// match uses the query up (nginx could never match it).
    pub matches_query: bool,
    /// What happens after a match.
    pub flag: RewriteFlag,
    /// Its line, for `rewrite_log` and diagnostics.
    pub span: Span,
}

/// What happens after a rewrite matched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RewriteFlag {
    /// No flag: the next statement.
    Continue,
    /// `last`: search the locations anew.
    Last,
    /// `break`: stay here.
    Break,
    /// `redirect`, or a replacement that starts with a scheme: 302.
    Redirect,
    /// `permanent`: 301.
    Permanent,
}

/// `return code [text|URL]` or `return URL`.
#[derive(Debug)]
pub struct Return {
    /// The status; 302 for a bare URL.
    pub status: u16,
    /// The text of the body, or for a redirect status the value of `Location`.
    pub text: Option<Template>,
}

/// The condition of `if`.
#[derive(Debug)]
pub enum Condition {
    /// `($variable)`: neither empty nor `0`.
    True(Variable),
    /// `($variable = text)` and `!=`.
    Equal {
        variable: Variable,
        value: Template,
        negate: bool,
    },
    /// `~`, `~*`, `!~`, `!~*`
    Match {
        variable: Variable,
        regex: Regex,
        negate: bool,
    },
    /// `-f`, `-d`, `-e`, `-x` and their negations.
    File {
        test: FileTest,
        path: Template,
        negate: bool,
    },
}

/// What is asked of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileTest {
    /// `-f`: a regular file.
    File,
    /// `-d`: a directory.
    Directory,
    /// `-e`: anything.
    Exists,
    /// `-x`: executable.
    Executable,
}

/// Everything that holds in one place (a server, a location, an `if`, a `limit_except`).
#[derive(Debug)]
pub struct Settings {
    /// Counts all settings of a configuration; what is built for them at run time is found by it.
    pub id: usize,
    /// The location's text for messages and `$…`; empty for a server.
    pub name: Box<[u8]>,
    /// `= /path`: a request for `alias` or `proxy_pass` with a path replaces this many bytes.
    pub prefix_length: usize,
    /// Matched by a regular expression (or named): `alias` and `proxy_pass` replace the whole path.
    pub is_regex: bool,
    /// `@name`
    pub is_named: bool,
    /// What answers.
    pub handler: Handler,
    /// A prefix or exact location ending in `/` that proxies: a request without the slash is redirected.
    pub auto_redirect: bool,
    /// The rewrite phase of this location.
    pub statements: Vec<Statement>,
    /// `limit_except`
    pub limit_except: Option<LimitExcept>,
    /// `allow`, `deny`, in order.
    pub access: Arc<[AccessRule]>,
    /// What is asked of a client besides its address; `None` if nothing.
    pub guard: Option<Arc<Guard>>,
    /// What `$secure_link` and `$invalid_referer` are computed by.
    pub origin: Option<Arc<Origin>>,
    /// `mirror`; `None` if requests are not copied.
    pub mirror: Option<Arc<Mirror>>,
    /// `limit_req`, `limit_conn`; `None` if nothing is limited.
    pub limits: Option<Arc<super::limits::Limits>>,
    /// `auto_ban`; `None` if nobody is kept out by itself.
    pub auto_bans: Option<Arc<super::bans::AutoBans>>,
    /// `set_real_ip_from` and what belongs to it; `None` if nobody is trusted.
    pub real_ip: Option<Arc<RealIp>>,
    /// `internal`
    pub internal: bool,
    /// `root` or `alias`.
    pub root: Root,
    /// `index`; each may hold variables.
    pub index: Arc<[Template]>,
    /// `autoindex`
    pub autoindex: Option<Autoindex>,
    /// `try_files`
    pub try_files: Option<TryFiles>,
    /// `error_page`, in order; the first that names the status is taken.
    pub error_pages: Arc<[ErrorPage]>,
    /// `recursive_error_pages`
    pub recursive_error_pages: bool,
    /// `types` and `default_type`.
    pub types: Arc<Types>,
    /// `default_type`
    pub default_type: Box<[u8]>,
    /// `add_header`
    pub add_headers: Arc<[AddHeader]>,
    /// `add_trailer`
    pub add_trailers: Arc<[AddHeader]>,
    /// `hsts`: the value of `Strict-Transport-Security`, sent over TLS whatever the status.
    pub hsts: Option<Box<[u8]>>,
    /// `expires`
    pub expires: Option<Expires>,
    /// `etag`
    pub etag: bool,
    /// `cors`
    pub cors: Option<Arc<Cors>>,
    /// What becomes of bodies on their way; `None` if they stay as they are.
    pub filters: Option<Arc<Filters>>,
    /// `more_set_headers` and its like; `None` if fields are left alone.
    pub header_edits: Option<Arc<super::header_edits::HeaderEdits>>,
    /// `if_modified_since`
    pub if_modified_since: IfModifiedSince,
    /// `max_ranges`; `None` is no limit, 0 switches ranges off.
    pub max_ranges: Option<usize>,
    /// `slice`: the bytes of each part that an answer is asked for in; `None` asks for the whole.
    pub slice: Option<NonZeroU64>,
    /// `client_max_body_size`; `None` is no limit.
    pub max_body_size: Option<u64>,
    /// `client_body_buffer_size`, bytes.
    pub body_buffer_size: usize,
    /// `client_body_timeout`
    pub body_timeout: Duration,
    /// `client_body_in_file_only`
    pub body_in_file: BodyInFile,
    /// `client_body_temp_path`, absolute.
    pub body_temp_path: Arc<std::path::Path>,
    /// `send_timeout`
    pub send_timeout: Duration,
    /// `keepalive_timeout`; `None` switches keep-alive off.
    pub keepalive_timeout: Option<Duration>,
    /// The second argument of `keepalive_timeout`: seconds told in `Keep-Alive`.
    pub keepalive_header: Option<u64>,
    /// `keepalive_requests`
    pub keepalive_requests: u64,
    /// `keepalive_time`
    pub keepalive_time: Duration,
    /// `lingering_close`, `lingering_time`, `lingering_timeout`
    pub lingering: Lingering,
    /// `reset_timedout_connection`
    pub reset_timed_out: bool,
    /// `limit_rate` in bytes per second; 0 is no limit.
    pub limit_rate: Template,
    /// `limit_rate_after`, bytes.
    pub limit_rate_after: Template,
    /// `server_tokens`
    pub server_tokens: ServerTokens,
    /// `absolute_redirect`
    pub absolute_redirect: bool,
    /// `server_name_in_redirect`
    pub server_name_in_redirect: bool,
    /// `port_in_redirect`
    pub port_in_redirect: bool,
    /// `chunked_transfer_encoding`
    pub chunked_transfer_encoding: bool,
    /// `sendfile`
    pub sendfile: bool,
    /// `log_not_found`
    pub log_not_found: bool,
    /// `rewrite_log`
    pub rewrite_log: bool,
    /// `access_log`; empty when off.
    pub access_logs: Arc<[AccessLog]>,
    /// `error_log`
    pub error_logs: Arc<[ErrorLog]>,
    /// `resolver`, `resolver_timeout`
    pub resolver: Option<Arc<super::upstream::Resolver>>,
    /// `disable_symlinks`
    pub disable_symlinks: DisableSymlinks,
}

/// What answers a request in a place.
#[derive(Debug, Clone)]
pub enum Handler {
    /// Files below `root`.
    Files,
    /// `proxy_pass`
    Proxy(Arc<Proxy>),
    /// `stub_status`
    StubStatus,
    /// `metrics`
    Metrics(MetricsFormat),
    /// `llm_gateway`
    Gateway {
        /// Nobody needs a key.
        for_anybody: bool,
        /// Who answers.
        choosing: Arc<llm::Choosing>,
        /// `llm_cache`
        cache: Option<llm::Cache>,
        /// `llm_log`
        log: Option<LlmLog>,
    },
}

/// The argument of `metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsFormat {
    /// The text format that Prometheus reads.
    Prometheus,
    /// An object.
    Json,
}

/// `limit_except methods { … }`
#[derive(Debug)]
pub struct LimitExcept {
    /// The methods that stay outside; `GET` includes `HEAD`.
    pub methods: Vec<MethodName>,
    /// What holds for all others.
    pub settings: Arc<Settings>,
}

/// A method named in `limit_except`, in capital letters.
pub type MethodName = Box<[u8]>;

/// `allow` or `deny`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRule {
    /// Lets pass or refuses.
    pub allow: bool,
    /// Whom.
    pub who: AccessSubject,
}

/// Whom a rule speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessSubject {
    /// `all`
    All,
    /// `unix:`
    Unix,
    /// An address or a network.
    Network(ipnet::IpNet),
}

/// Whom to believe who a request is from.
#[derive(Debug, PartialEq, Eq)]
pub struct RealIp {
    /// `set_real_ip_from`: the proxies.
    pub networks: Box<[ipnet::IpNet]>,
    /// `set_real_ip_from unix:`
    pub trusts_unix: bool,
    /// `real_ip_header`
    pub source: RealIpSource,
    /// `real_ip_recursive`
    pub recursive: bool,
}

/// `real_ip_header`: what names the client.
#[derive(Debug, PartialEq, Eq)]
pub enum RealIpSource {
    /// `X-Forwarded-For`, all of its fields together.
    ForwardedFor,
    /// The first field of this name.
    Field(Box<[u8]>),
    /// `proxy_protocol`
    ProxyProtocol,
}

/// `root` or `alias`.
#[derive(Debug, Clone)]
pub enum Root {
    /// The whole path is appended; relative paths are already below the prefix.
    Root(Template),
    /// The path behind the location's prefix is appended; for a regular expression, nothing.
    Alias(Template),
}

/// `autoindex`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Autoindex {
    /// `autoindex_exact_size`
    pub exact_size: bool,
    /// `autoindex_localtime`
    pub local_time: bool,
    /// `autoindex_format`
    pub format: AutoindexFormat,
}

/// `autoindex_format`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is named after its word")]
pub enum AutoindexFormat {
    Html,
    Xml,
    Json,
    Jsonp,
}

/// `try_files`.
#[derive(Debug)]
pub struct TryFiles {
    /// What is tried, without a trailing slash; `true` looks for a directory.
    pub candidates: Vec<(Template, bool)>,
    /// What happens when none is there.
    pub fallback: Fallback,
}

/// The last argument of `try_files`.
#[derive(Debug)]
pub enum Fallback {
    /// `=code`
    Status(u16),
    /// `@name`, without the `@`.
    Named(Box<str>),
    /// An internal redirect; may carry arguments.
    Uri(Template),
}

/// `error_page`.
#[derive(Debug)]
pub struct ErrorPage {
    /// For these statuses.
    pub statuses: Vec<u16>,
    /// Which status the client sees.
    pub answer: ErrorPageStatus,
    /// A path, an address to redirect to, or `@name`.
    pub target: Template,
}

/// The status that `error_page` lets the client see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorPageStatus {
    /// The original one.
    Keep,
    /// `=`: that of the page.
    OfPage,
    /// `=code`
    Set(u16),
}

/// `types {}`: the media type by the file name's extension in lower case.
#[derive(Debug, Default)]
pub struct Types {
    /// Extension without the dot → type.
    pub by_extension: std::collections::HashMap<Box<[u8]>, Arc<[u8]>>,
}

/// `add_header` or `add_trailer`.
#[derive(Debug, Clone)]
pub struct AddHeader {
    /// The field's name.
    pub name: Box<[u8]>,
    /// The value; nothing is added when it comes out empty.
    pub value: Template,
    /// Whatever the status.
    pub always: bool,
}

/// `expires`.
#[derive(Debug, Clone)]
pub enum Expires {
    /// `epoch`: 1970, `no-cache`.
    Epoch,
    /// `max`: 2037, ten years.
    Max,
    /// So long from now, in seconds; negative is `no-cache`.
    FromNow(i64),
    /// `modified TIME`: so long from the file's time.
    FromModified(i64),
    /// `@15h30m`: at this second of the day, in local time.
    Daily(u32),
    /// `expires $variable`: any of the others, parsed when asked; empty or `off` is none.
    Template { value: Template, modified: bool },
}

/// `if_modified_since`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is named after its word")]
pub enum IfModifiedSince {
    Off,
    Exact,
    Before,
}

/// `client_body_in_file_only`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyInFile {
    /// Only what is too large for memory.
    Off,
    /// Always, and the file stays.
    On,
    /// Always, for as long as the request.
    Clean,
}

/// `lingering_close` and its times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lingering {
    /// `off`, `on`, `always`
    pub mode: LingeringMode,
    /// `lingering_time`
    pub time: Duration,
    /// `lingering_timeout`
    pub timeout: Duration,
}

/// `lingering_close`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is named after its word")]
pub enum LingeringMode {
    Off,
    On,
    Always,
}

/// `server_tokens`
#[derive(Debug, Clone)]
pub enum ServerTokens {
    /// `off`: the name alone, which is our default.
    Name,
    /// `on`, `build`: with the version.
    Version,
    /// The empty text: no `Server` field.
    Nothing,
    /// Any other text, with variables.
    Text(Template),
}

/// `disable_symlinks`
#[derive(Debug, Clone)]
pub enum DisableSymlinks {
    /// Followed.
    Off,
    /// Refused in every part of the path behind `from`.
    On { from: Option<Template> },
    /// Refused where link and target have different owners.
    IfNotOwner { from: Option<Template> },
}
