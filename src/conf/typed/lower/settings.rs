//! Everything that holds in one place: a server, a location, an `if`, a `limit_except`.

use std::collections::HashMap;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ipnet::IpNet;

use super::health::Checks;
use super::llm_log::llm_log;
use super::location::PlacedLocation;
use super::log::{self, Formats};
use super::scope::{Scope, parameter};
use super::{
    Cx, access, bans, cors, filters, header_edits, limits, llm as gateway, map, proxy,
    proxy_networks, rewrite, tls, upstream,
};
use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::include::{self, Node};
use crate::conf::template::Template;
use crate::conf::typed::access::Login;
use crate::conf::typed::cache_path::CachePath;
use crate::conf::typed::limits::LimitZones;
use crate::conf::typed::llm;
use crate::conf::typed::location::{
    AccessRule, AccessSubject, AddHeader, Autoindex, AutoindexFormat, BodyInFile, DisableSymlinks,
    ErrorPage, ErrorPageStatus, Expires, Fallback, Handler, IfModifiedSince, LimitExcept,
    Lingering, LingeringMode, Location, LocationKind, MetricsFormat, RealIp, RealIpSource, Root,
    ServerTokens, Settings, TryFiles, Types,
};
use crate::conf::typed::log::ErrorLog;
use crate::conf::typed::upstream::Upstream;
use crate::unit;

/// The media types that we bring along, in nginx's own format.
const MIME_TYPES: &str = include_str!("../../../../assets/mime.types");

/// What making settings needs besides the scope, and what it adds to.
#[derive(Debug)]
pub struct Maker<'a> {
    /// Every `log_format`.
    pub formats: &'a Formats,
    /// The error log where none is written.
    pub error_logs: &'a [ErrorLog],
    /// Every `proxy_cache_path`.
    pub caches: &'a [Arc<CachePath>],
    /// Groups of peers; addresses in `proxy_pass` add to them.
    pub upstreams: Vec<Arc<Upstream>>,
    /// A `mime.types` that is not there is included: the table that we bring along stands for it.
    pub has_built_in_types: bool,
    /// The checks of peers.
    pub checks: Checks,
    /// The addresses of proxies that `set_real_ip_from` gives by their names.
    pub proxies: HashMap<Box<str>, Vec<IpAddr>>,
    /// What `limit_req` and `limit_conn` may name.
    pub limit_zones: &'a LimitZones,
    /// Every `oidc_provider`.
    pub logins: Vec<Arc<Login>>,
    /// Fields in which the server at hand tells backends who somebody is.
    pub identity: Arc<[Box<[u8]>]>,
    /// Settings made so far.
    pub count: usize,
}

/// What kind of place settings are for.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    /// The location around it; `None` for a server.
    kind: Option<&'a LocationKind>,
    /// The `if` or `limit_except` that it is, whose content is that of the location around it.
    inner: Option<&'static str>,
}

impl Maker<'_> {
    /// The settings of a server outside of its locations.
    pub fn server(&mut self, scope: &Scope<'_>, cx: &mut Cx) -> Arc<Settings> {
        let place = Place {
            kind: None,
            inner: None,
        };
        Arc::new(self.settings(scope, place, b"".as_slice().into(), Handler::Files, cx))
    }

    /// The locations of a server with their settings.
    pub fn locations(
        &mut self,
        placed: Vec<PlacedLocation<'_>>,
        around: &Scope<'_>,
        cx: &mut Cx,
    ) -> Vec<Location> {
        placed
            .into_iter()
            .map(|placed| {
                let block = placed.node.block.as_deref().unwrap_or_default();
                let scope = around.inside(block);
                let name = placed.name();
                let place = Place {
                    kind: Some(&placed.kind),
                    inner: None,
                };
                let handler = self
                    .handler(&scope, place, &name, cx)
                    .unwrap_or(Handler::Files);
                let mut settings = self.settings(&scope, place, name.clone(), handler.clone(), cx);
                let mut of_if = |cx: &mut Cx, node: &Node| {
                    Some(self.inner(node, &scope, &placed.kind, "if", &name, &handler, cx))
                };
                settings.statements = rewrite::statements(block, cx, &mut of_if);
                settings.limit_except = scope.own("limit_except").first().map(|node| LimitExcept {
                    methods: (node.arguments.iter())
                        .map(|word| word.text.to_ascii_uppercase().into_bytes().into())
                        .collect(),
                    settings: self.inner(
                        node,
                        &scope,
                        &placed.kind,
                        "limit_except",
                        &name,
                        &handler,
                        cx,
                    ),
                });
                settings.try_files = try_files(&scope, cx);
                Location {
                    settings: Arc::new(settings),
                    children: self.locations(placed.children, &scope, cx),
                    span: placed.node.span,
                    kind: placed.kind,
                }
            })
            .collect()
    }

    /// The settings inside of an `if` or `limit_except` of a location.
    #[expect(
        clippy::too_many_arguments,
        reason = "the location around it, in parts"
    )]
    fn inner(
        &mut self,
        node: &Node,
        around: &Scope<'_>,
        kind: &LocationKind,
        inner: &'static str,
        name: &[u8],
        handler: &Handler,
        cx: &mut Cx,
    ) -> Arc<Settings> {
        let scope = around.inside(node.block.as_deref().unwrap_or_default());
        let place = Place {
            kind: Some(kind),
            inner: Some(inner),
        };
        // A proxy of the location goes on with what the block changes about it.
        let handler = match (self.handler(&scope, place, name, cx), handler) {
            (Some(handler), _) => handler,
            (None, Handler::Proxy(_)) => {
                let outer = proxy::Place {
                    name,
                    refuses_path: None,
                    caches: self.caches,
                };
                let upstreams = &mut self.upstreams;
                let proxy = match (around.own("proxy_pass"), around.own("grpc_pass")) {
                    ([line, ..], _) => proxy::proxy(line, &scope, outer, upstreams, cx),
                    (_, [line, ..]) => proxy::grpc(line, &scope, upstreams, cx),
                    _ => None,
                };
                proxy.map_or_else(|| handler.clone(), |proxy| Handler::Proxy(Arc::new(proxy)))
            }
            (None, handler) => handler.clone(),
        };
        Arc::new(self.settings(&scope, place, name.into(), handler, cx))
    }

    /// What the block itself says answers.
    fn handler(
        &mut self,
        scope: &Scope<'_>,
        place: Place<'_>,
        name: &[u8],
        cx: &mut Cx,
    ) -> Option<Handler> {
        let metrics = scope.own("metrics").first();
        if let (Some(grpc), Some(proxy)) = (
            scope.own("grpc_pass").first(),
            scope.own("proxy_pass").first(),
        ) {
            cx.report(
                Diagnostic::error(
                    Code::TWO_ANSWERS,
                    grpc.name.span,
                    "`grpc_pass` answers here, and so does `proxy_pass`",
                )
                .label(proxy.name.span, "the other one")
                .hint("give each a location of its own"),
            );
        }
        let gateway = scope.own("llm_gateway").first();
        let others = ["proxy_pass", "grpc_pass", "stub_status", "metrics"];
        for line in [metrics, gateway].into_iter().flatten() {
            let others = others.iter().filter(|name| **name != &*line.name.text);
            let Some(other) = others.filter_map(|name| scope.own(name).first()).next() else {
                continue;
            };
            let (name, other_name) = (&line.name.text, &other.name.text);
            cx.report(
                Diagnostic::error(
                    Code::TWO_ANSWERS,
                    line.name.span,
                    format!("`{name}` answers here, and so does `{other_name}`"),
                )
                .label(other.name.span, "the other one")
                .hint("give each a location of its own"),
            );
        }
        if let Some(line) = scope.own("proxy_pass").first() {
            let refuses_path = match (place.inner, place.kind) {
                (Some("if"), _) => Some("inside of `if`"),
                (Some(_), _) => Some("inside of `limit_except`"),
                (None, Some(LocationKind::Regex(_))) => {
                    Some("in a location given by a regular expression")
                }
                (None, Some(LocationKind::Named(_))) => Some("in a named location"),
                _ => None,
            };
            let of_proxy = proxy::Place {
                name,
                refuses_path,
                caches: self.caches,
            };
            let mut proxy = proxy::proxy(line, scope, of_proxy, &mut self.upstreams, cx)?;
            self.checks.add_to(&mut proxy, scope, &self.upstreams, cx);
            return Some(Handler::Proxy(Arc::new(proxy)));
        }
        if let Some(line) = scope.own("grpc_pass").first() {
            let mut proxy = proxy::grpc(line, scope, &mut self.upstreams, cx)?;
            self.checks.add_to(&mut proxy, scope, &self.upstreams, cx);
            return Some(Handler::Proxy(Arc::new(proxy)));
        }
        if let Some(line) = scope.own("health_check").first() {
            self.checks.nothing_to_check(line, cx);
        }
        if let Some(line) = gateway {
            return Some(Handler::Gateway {
                for_anybody: !line.arguments.is_empty(),
                choosing: Arc::new(gateway::choosing(scope, cx)),
                cache: gateway::cache(scope, !line.arguments.is_empty(), cx),
                log: llm_log(scope, cx),
            });
        }
        if let Some(line) = metrics {
            let is_json = line
                .arguments
                .first()
                .is_some_and(|word| &*word.text == "json");
            return Some(Handler::Metrics(match is_json {
                true => MetricsFormat::Json,
                false => MetricsFormat::Prometheus,
            }));
        }
        scope
            .own("stub_status")
            .first()
            .map(|_| Handler::StubStatus)
    }

    fn settings(
        &mut self,
        scope: &Scope<'_>,
        place: Place<'_>,
        name: Box<[u8]>,
        handler: Handler,
        cx: &mut Cx,
    ) -> Settings {
        let id = self.count;
        self.count += 1;
        let has_path = matches!(
            place.kind,
            Some(LocationKind::Prefix { .. } | LocationKind::Exact(_))
        );
        let body_timeout = scope.time("client_body_timeout");
        let is_gateway = matches!(handler, Handler::Gateway { .. });
        let mut cors = cors::cors(scope, cx);
        if let Some(cors) = cors.as_mut().filter(|_| is_gateway) {
            let of_gateway = || llm::EXPOSED.as_bytes().into();
            cors.expose.get_or_insert_with(of_gateway);
        }
        Settings {
            id,
            prefix_length: match place.kind {
                Some(LocationKind::Prefix { path, .. } | LocationKind::Exact(path)) => path.len(),
                _ => 0,
            },
            is_regex: matches!(
                place.kind,
                Some(LocationKind::Regex(_) | LocationKind::Named(_))
            ),
            is_named: matches!(place.kind, Some(LocationKind::Named(_))),
            auto_redirect: has_path && name.ends_with(b"/") && matches!(handler, Handler::Proxy(_)),
            name,
            handler,
            statements: Vec::new(),
            limit_except: None,
            access: access(scope, cx).into(),
            guard: access::guard(scope, &self.identity, &self.logins, cx),
            origin: access::origin(scope, cx),
            mirror: access::mirror(scope, cx),
            limits: limits::limits(scope, self.limit_zones, cx).map(Arc::new),
            auto_bans: bans::auto_bans(scope, cx).map(Arc::new),
            real_ip: self.real_ip(scope, cx).map(Arc::new),
            internal: !scope.all("internal").is_empty(),
            root: root(scope, place, cx),
            index: index(scope, cx).into(),
            autoindex: scope.flag("autoindex").then(|| Autoindex {
                exact_size: scope.flag("autoindex_exact_size"),
                local_time: scope.flag("autoindex_localtime"),
                format: match scope.text("autoindex_format") {
                    "xml" => AutoindexFormat::Xml,
                    "json" => AutoindexFormat::Json,
                    "jsonp" => AutoindexFormat::Jsonp,
                    _ => AutoindexFormat::Html,
                },
            }),
            try_files: None,
            error_pages: error_pages(scope, cx).into(),
            recursive_error_pages: scope.flag("recursive_error_pages"),
            types: types(scope, self.has_built_in_types),
            default_type: scope.text("default_type").as_bytes().into(),
            add_headers: add_headers("add_header", scope, cx).into(),
            add_trailers: add_headers("add_trailer", scope, cx).into(),
            hsts: tls::hsts(scope, cx),
            expires: expires(scope, cx),
            etag: scope.flag("etag"),
            cors: cors.map(Arc::new),
            filters: filters::filters(scope, cx).map(Arc::new),
            header_edits: header_edits::header_edits(scope, cx).map(Arc::new),
            if_modified_since: match scope.text("if_modified_since") {
                "off" => IfModifiedSince::Off,
                "before" => IfModifiedSince::Before,
                _ => IfModifiedSince::Exact,
            },
            slice: std::num::NonZeroU64::new(scope.size("slice") as u64),
            max_ranges: scope
                .nearest("max_ranges")
                .and_then(|line| line.arguments.first()?.text.parse().ok()),
            max_body_size: match is_gateway && scope.nearest("client_max_body_size").is_none() {
                true => Some(llm::USUAL_BODY),
                false => scope.limit("client_max_body_size"),
            },
            // A gateway may have to say a call again: it holds it in memory.
            body_buffer_size: match is_gateway {
                true => llm::MOST_BODY,
                false => scope.size("client_body_buffer_size").max(1),
            },
            body_timeout,
            body_in_file: match scope.text("client_body_in_file_only") {
                "on" => BodyInFile::On,
                "clean" => BodyInFile::Clean,
                _ => BodyInFile::Off,
            },
            body_temp_path: scope.path(scope.text("client_body_temp_path")).into(),
            send_timeout: scope.time("send_timeout"),
            keepalive_timeout: Some(scope.time("keepalive_timeout")).filter(|time| !time.is_zero()),
            keepalive_header: (scope.nearest("keepalive_timeout"))
                .and_then(|line| line.arguments.get(1))
                .and_then(|word| unit::time::seconds(&word.text))
                .map(|time| time.as_secs())
                .filter(|&seconds| seconds > 0),
            keepalive_requests: scope.number("keepalive_requests"),
            keepalive_time: scope.time("keepalive_time"),
            lingering: Lingering {
                mode: match scope.text("lingering_close") {
                    "off" => LingeringMode::Off,
                    "always" => LingeringMode::Always,
                    _ => LingeringMode::On,
                },
                time: scope.time("lingering_time"),
                timeout: scope.time("lingering_timeout"),
            },
            reset_timed_out: scope.flag("reset_timedout_connection"),
            limit_rate: scope.template("limit_rate", cx),
            limit_rate_after: scope.template("limit_rate_after", cx),
            server_tokens: server_tokens(scope, cx),
            absolute_redirect: scope.flag("absolute_redirect"),
            server_name_in_redirect: scope.flag("server_name_in_redirect"),
            port_in_redirect: scope.flag("port_in_redirect"),
            chunked_transfer_encoding: scope.flag("chunked_transfer_encoding"),
            sendfile: scope.flag("sendfile"),
            log_not_found: scope.flag("log_not_found"),
            rewrite_log: scope.flag("rewrite_log"),
            access_logs: log::access_logs(scope, self.formats, cx).into(),
            error_logs: log::error_logs(scope, self.error_logs, cx).into(),
            resolver: upstream::resolver(scope, cx),
            disable_symlinks: disable_symlinks(scope, cx),
        }
    }
}

impl Maker<'_> {
    fn real_ip(&mut self, scope: &Scope<'_>, cx: &mut Cx) -> Option<RealIp> {
        let mut networks = Vec::new();
        let mut trusts_unix = false;
        for word in scope
            .all("set_real_ip_from")
            .iter()
            .flat_map(|line| &line.arguments)
        {
            let text = &*word.text;
            let may_be_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            let is_name = text.bytes().all(may_be_name)
                && text.bytes().any(|byte| byte.is_ascii_alphabetic());
            if text == "unix:" {
                trusts_unix = true;
            } else if let Some(path) = text.strip_prefix("file:") {
                networks.extend(proxy_networks::of_file(word, path, cx));
            } else if let Some(known) = proxy_networks::of_provider(text) {
                networks.extend(known);
            } else if is_name {
                networks.extend(self.addresses_of(word, cx).iter().copied().map(IpNet::from));
            } else {
                networks.extend(map::network(word, Code::BAD_ADDRESS, cx));
            }
        }
        let source = match scope.text("real_ip_header") {
            "X-Forwarded-For" => RealIpSource::ForwardedFor,
            "proxy_protocol" => RealIpSource::ProxyProtocol,
            name => RealIpSource::Field(name.to_ascii_lowercase().into_bytes().into()),
        };
        if let Some(word) =
            (scope.nearest("real_ip_header")).and_then(|line| line.arguments.first())
        {
            check_field_name(word, cx);
        }
        (trusts_unix || !networks.is_empty()).then(|| RealIp {
            networks: networks.into(),
            trusts_unix,
            source,
            recursive: scope.flag("real_ip_recursive"),
        })
    }

    /// The addresses of a proxy that is given by its name, which is looked up once. One that has none
    /// is not trusted; the sites work on (nginx would not start).
    fn addresses_of(&mut self, word: &include::Word, cx: &mut Cx) -> &[IpAddr] {
        self.proxies.entry(word.text.clone()).or_insert_with(|| {
            match (&*word.text, 0).to_socket_addrs() {
                Ok(found) => found.map(|address| address.ip()).collect(),
                Err(_) => {
                    let problem = Diagnostic::warning(
                        Code::UNKNOWN_PROXY,
                        word.span,
                        format!("host not found in set_real_ip_from `{}`", word.text),
                    );
                    cx.report(problem.hint(format!(
                        "no request is believed to come through it until a reload finds it; an address needs no look-up; providers that are known are {}",
                        proxy_networks::providers()
                    )));
                    Vec::new()
                }
            }
        })
    }
}

/// May the byte stand in the name of a field (RFC 9110 section 5.6.2)?
pub fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(&byte)
}

fn check_field_name(word: &include::Word, cx: &mut Cx) {
    if word.text.is_empty() || !word.text.bytes().all(is_of_token) {
        cx.error(
            Code::BAD_FIELD_NAME,
            word.span,
            format!("`{}` is not the name of a header field", word.text),
        );
    }
}

fn access(scope: &Scope<'_>, cx: &mut Cx) -> Vec<AccessRule> {
    // `allow` and `deny` are one list, in the order written, of one level.
    let mut lines: Vec<(bool, &Node)> = Vec::new();
    let (allows, denies) = scope.all_of(["allow", "deny"]);
    lines.extend(allows.iter().map(|line| (true, *line)));
    lines.extend(denies.iter().map(|line| (false, *line)));
    // They stand in one list of nodes, whatever file each comes from.
    lines.sort_by_key(|(_, line)| std::ptr::from_ref(*line));
    lines
        .into_iter()
        .filter_map(|(allow, line)| {
            let word = line.arguments.first()?;
            let who = match &*word.text {
                "all" => AccessSubject::All,
                "unix:" => AccessSubject::Unix,
                _ => AccessSubject::Network(map::network(word, Code::BAD_ADDRESS, cx)?),
            };
            Some(AccessRule { allow, who })
        })
        .collect()
}

fn root(scope: &Scope<'_>, place: Place<'_>, cx: &mut Cx) -> Root {
    let path = |word: &include::Word, cx: &mut Cx| match word.text.starts_with(['/', '$']) {
        true => cx.template(word),
        false => cx.template_of(word, &scope.path_text(&word.text)),
    };
    let (roots, aliases) = scope.all_of(["root", "alias"]);
    if let (Some(root), Some(alias)) = (roots.first(), aliases.first()) {
        cx.report(
            Diagnostic::error(Code::DUPLICATE, alias.name.span, "`alias` stands beside `root`")
                .label(root.name.span, "this one")
                .hint("`root` appends the whole path, `alias` what is behind the location's prefix: keep one"),
        );
    }
    if let Some(word) = aliases.first().and_then(|line| line.arguments.first()) {
        if matches!(place.kind, Some(LocationKind::Named(_))) {
            cx.error(
                Code::MISPLACED,
                word.span,
                "`alias` cannot be used in a named location",
            );
        }
        return Root::Alias(path(word, cx));
    }
    match roots.first().and_then(|line| line.arguments.first()) {
        Some(word) => {
            let mut text = word.text.to_string();
            while text.len() > 1 && text.ends_with('/') {
                text.pop();
            }
            if text == "/" {
                text.clear();
                return Root::Root(Template::from_text(b""));
            }
            let text = if text.starts_with(['/', '$']) {
                text
            } else {
                scope.path_text(&text)
            };
            Root::Root(cx.template_of(word, &text))
        }
        None => Root::Root(Template::from_text(scope.path_text("html").as_bytes())),
    }
}

fn index(scope: &Scope<'_>, cx: &mut Cx) -> Vec<Template> {
    let lines = scope.all("index");
    if lines.is_empty() {
        return vec![Template::from_text(b"index.html")];
    }
    let words: Vec<_> = lines.iter().flat_map(|line| &line.arguments).collect();
    words.into_iter().map(|word| cx.template(word)).collect()
}

fn try_files(scope: &Scope<'_>, cx: &mut Cx) -> Option<TryFiles> {
    let line = scope.own("try_files").first()?;
    let (last, candidates) = line.arguments.split_last()?;
    let candidates = candidates
        .iter()
        .map(|word| match word.text.strip_suffix('/') {
            Some(text) if !text.is_empty() => (cx.template_of(word, text), true),
            Some(_) => (Template::default(), true),
            None => (cx.template(word), false),
        })
        .collect();
    let fallback = if let Some(code) = last.text.strip_prefix('=') {
        match code.parse() {
            Ok(status @ 0..=999) => Fallback::Status(status),
            _ => {
                cx.error(
                    Code::NOT_A_NUMBER,
                    last.span,
                    format!("invalid code in `{}`", last.text),
                );
                return None;
            }
        }
    } else if let Some(name) = last.text.strip_prefix('@') {
        Fallback::Named(name.into())
    } else {
        Fallback::Uri(cx.template(last))
    };
    Some(TryFiles {
        candidates,
        fallback,
    })
}

fn error_pages(scope: &Scope<'_>, cx: &mut Cx) -> Vec<ErrorPage> {
    let mut pages = Vec::new();
    for line in scope.all("error_page") {
        let Some((target, codes)) = line.arguments.split_last() else {
            continue;
        };
        let (answer, codes) = match codes.split_last() {
            Some((last, rest)) if last.text.starts_with('=') => match &last.text[1..] {
                "" => (ErrorPageStatus::OfPage, rest),
                code => match code.parse() {
                    Ok(status) => (ErrorPageStatus::Set(status), rest),
                    Err(_) => {
                        cx.error(
                            Code::NOT_A_NUMBER,
                            last.span,
                            format!("invalid value `{}`", last.text),
                        );
                        continue;
                    }
                },
            },
            _ => (ErrorPageStatus::Keep, codes),
        };
        let mut statuses = Vec::new();
        for word in codes {
            match word.text.parse() {
                Ok(499) => cx.error(
                    Code::OUT_OF_RANGE,
                    word.span,
                    "`499` cannot have an error page: the client is gone",
                ),
                Ok(status @ 300..=599) => statuses.push(status),
                Ok(_) => cx.error(
                    Code::OUT_OF_RANGE,
                    word.span,
                    format!("`{}` must be between 300 and 599", word.text),
                ),
                Err(_) => cx.error(
                    Code::NOT_A_NUMBER,
                    word.span,
                    format!("`{}` is not a status", word.text),
                ),
            }
        }
        // nginx's old 497 has pages of its own; here it is an ordinary number.
        pages.push(ErrorPage {
            statuses,
            answer,
            target: cx.template(target),
        });
    }
    pages
}

fn types(scope: &Scope<'_>, has_built_in: bool) -> Arc<Types> {
    /// nginx's own table where no `types` is written.
    const FEW: &str = "types { text/html html; image/gif gif; image/jpeg jpg; }";
    static BUILT_IN: LazyLock<[Arc<Types>; 2]> = LazyLock::new(|| {
        [FEW, MIME_TYPES].map(|text| {
            let path = Path::new("mime.types");
            let loaded = include::load_text(path, text.to_owned(), Path::new("/"));
            Arc::new(types_of(&loaded.nodes.iter().collect::<Vec<_>>()))
        })
    });
    match scope.all("types") {
        [] => Arc::clone(&BUILT_IN[usize::from(has_built_in)]),
        blocks => Arc::new(types_of(blocks)),
    }
}

fn types_of(blocks: &[&Node]) -> Types {
    let mut by_extension: HashMap<Box<[u8]>, Arc<[u8]>> = HashMap::new();
    for entry in blocks
        .iter()
        .flat_map(|block| block.block.as_deref().unwrap_or_default())
    {
        let media_type: Arc<[u8]> = entry.name.text.as_bytes().into();
        for extension in &entry.arguments {
            by_extension.insert(
                extension.text.to_ascii_lowercase().into_bytes().into(),
                Arc::clone(&media_type),
            );
        }
    }
    Types { by_extension }
}

fn add_headers(name: &str, scope: &Scope<'_>, cx: &mut Cx) -> Vec<AddHeader> {
    let inherit = match name {
        "add_header" => scope.text("add_header_inherit"),
        _ => scope.text("add_trailer_inherit"),
    };
    let lines: Vec<&Node> = match inherit {
        "merge" => scope.merged(name),
        "off" => scope.own(name).to_vec(),
        _ => scope.all(name).to_vec(),
    };
    lines
        .into_iter()
        .filter_map(|line| {
            let name = line.arguments.first()?;
            let value = line.arguments.get(1)?;
            check_field_name(name, cx);
            let always = match line.arguments.get(2) {
                None => false,
                Some(word) if &*word.text == "always" => true,
                Some(word) => {
                    cx.error(
                        Code::UNKNOWN_PARAMETER,
                        word.span,
                        format!("invalid parameter `{}`", word.text),
                    );
                    false
                }
            };
            check_field_value(value, &value.text, cx);
            Some(AddHeader {
                name: name.text.as_bytes().into(),
                value: cx.template(value),
                always,
            })
        })
        .collect()
}

/// Tells of a value (`text`, all of a word or a part of it) that no field can have.
pub fn check_field_value(word: &include::Word, text: &str, cx: &mut Cx) {
    let is_control = |byte: u8| byte < b' ' && byte != b'\t' || byte == 0x7f;
    if text.bytes().any(is_control) {
        cx.error(
            Code::BAD_FIELD_VALUE,
            word.span,
            "a header field's value has no control characters",
        );
    }
}

fn expires(scope: &Scope<'_>, cx: &mut Cx) -> Option<Expires> {
    let line = scope.nearest("expires")?;
    let (modified, word) = match line.arguments.as_slice() {
        [word] => (false, word),
        [first, word] if &*first.text == "modified" => (true, word),
        [first, _] => {
            cx.error(
                Code::UNKNOWN_PARAMETER,
                first.span,
                format!("invalid parameter `{}`", first.text),
            );
            return None;
        }
        _ => return None,
    };
    if word.text.contains('$') {
        return Some(Expires::Template {
            value: cx.template(word),
            modified,
        });
    }
    match (&*word.text, modified) {
        ("off", false) => return None,
        ("epoch", false) => return Some(Expires::Epoch),
        ("max", false) => return Some(Expires::Max),
        _ => {}
    }
    let found = parse_expires(&word.text, modified);
    if found.is_none() {
        cx.report(
            Diagnostic::error(
                Code::NOT_A_DURATION,
                word.span,
                format!("invalid value `{}`", word.text),
            )
            .hint("write a time like `30d` or `-1`, `@15h30m`, `epoch`, `max` or `off`"),
        );
    }
    found
}

/// A time of `expires`: so long from now, before now, from the file's time, or at a time of day.
pub fn parse_expires(text: &str, modified: bool) -> Option<Expires> {
    let seconds =
        |text: &str| unit::time::seconds(text).and_then(|time| i64::try_from(time.as_secs()).ok());
    if let Some(time) = text.strip_prefix('@') {
        let time = seconds(time).filter(|&time| !modified && time <= 24 * 60 * 60)?;
        return Some(Expires::Daily(u32::try_from(time).ok()?));
    }
    let time = match text.strip_prefix('-') {
        Some(time) => -seconds(time)?,
        None => seconds(text.strip_prefix('+').unwrap_or(text))?,
    };
    Some(if modified {
        Expires::FromModified(time)
    } else {
        Expires::FromNow(time)
    })
}

fn server_tokens(scope: &Scope<'_>, cx: &mut Cx) -> ServerTokens {
    let Some(word) = scope
        .nearest("server_tokens")
        .and_then(|line| line.arguments.first())
    else {
        return ServerTokens::Name;
    };
    match &*word.text {
        "on" | "build" => ServerTokens::Version,
        "off" => ServerTokens::Name,
        "" | "none" => ServerTokens::Nothing,
        _ => ServerTokens::Text(cx.template(word)),
    }
}

fn disable_symlinks(scope: &Scope<'_>, cx: &mut Cx) -> DisableSymlinks {
    let Some(line) = scope.nearest("disable_symlinks") else {
        return DisableSymlinks::Off;
    };
    let from = parameter(line, "from").map(|text| {
        let word = line
            .arguments
            .iter()
            .find(|word| word.text.starts_with("from="))
            .unwrap_or(&line.name);
        cx.template_of(word, text)
    });
    match line.arguments.first().map(|word| &*word.text) {
        Some("on") => DisableSymlinks::On { from },
        Some("if_not_owner") => DisableSymlinks::IfNotOwner { from },
        _ => DisableSymlinks::Off,
    }
}

/// The least window of an HTTP/2 stream: one frame.
const LEAST_WINDOW: usize = 16 << 10;
/// RFC 9113 section 6.9.1.
const MOST_WINDOW: usize = (1 << 31) - 1;

/// How a server reads requests.
pub fn reading(scope: &Scope<'_>) -> crate::conf::typed::location::Reading {
    let large = scope
        .nearest("large_client_header_buffers")
        .map(|line| line.arguments.as_slice());
    let (count, size) = match large {
        Some([count, size]) => (count.text.parse().ok(), unit::size::size(&size.text)),
        _ => (None, None),
    };
    crate::conf::typed::location::Reading {
        header_timeout: scope
            .time("client_header_timeout")
            .max(Duration::from_millis(1)),
        large_header_buffers: (
            count.unwrap_or(4),
            size.and_then(|size| usize::try_from(size).ok())
                .unwrap_or(8 << 10),
        ),
        max_fields: usize::try_from(scope.number("max_headers")).unwrap_or(1000),
        ignore_invalid: scope.flag("ignore_invalid_headers"),
        underscores: scope.flag("underscores_in_headers"),
        merge_slashes: scope.flag("merge_slashes"),
        http2: scope.flag("http2"),
        http2_over_tls: scope.nearest("http2").is_none() || scope.flag("http2"),
        http2_streams: u32::try_from(scope.number("http2_max_concurrent_streams")).unwrap_or(128),
        http2_window: scope
            .size("http2_body_preread_size")
            .clamp(LEAST_WINDOW, MOST_WINDOW) as u32,
    }
}
