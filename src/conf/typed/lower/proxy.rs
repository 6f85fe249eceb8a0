//! `proxy_pass` and `grpc_pass` with their families.

use std::sync::Arc;

use super::Cx;
use super::peer_tls;
use super::proxy_cache::proxy_cache;
use super::proxy_store::{hides_cache, proxy_store};
use super::scope::Scope;
use super::upstream;
use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::include::{Node, Word};
use crate::conf::template::Template;
use crate::conf::typed::cache_path::CachePath;
use crate::conf::typed::proxy::{
    Bind, BindAddress, CookieEdit, CookieFlags, CookieName, HttpVersion, NextUpstream, Proxy,
    ProxyProtocol, Redirect, Scheme, SetField, Target,
};
use crate::conf::typed::tls::PeerTls;
use crate::conf::typed::upstream::{PeerAddress, Upstream};
use crate::conf::variable::{Core, Variable};

/// Fields of a peer that are not passed on unless `proxy_pass_header` says so.
const HIDDEN: [&str; 8] = [
    "date",
    "server",
    "x-pad",
    "x-accel-expires",
    "x-accel-redirect",
    "x-accel-limit-rate",
    "x-accel-buffering",
    "x-accel-charset",
];

/// Fields of a client that never reach a peer as they are: they concern one connection, or are
/// written anew.
const REPLACED: [&str; 11] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "te",
    "trailer",
    "keep-alive",
    "proxy-connection",
    "expect",
    "upgrade",
    "http2-settings",
];

/// What of the place the proxy has to know.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The location's text.
    pub name: &'a [u8],
    /// A path in `proxy_pass` makes no sense here, for this reason.
    pub refuses_path: Option<&'static str>,
    /// Every zone of the cache.
    pub caches: &'a [Arc<CachePath>],
}

/// The proxy of a place where `proxy_pass` is in force.
pub fn proxy(
    line: &Node,
    scope: &Scope<'_>,
    place: Place<'_>,
    upstreams: &mut Vec<Arc<Upstream>>,
    cx: &mut Cx,
) -> Option<Proxy> {
    let word = line.arguments.first()?;
    let (target, url) = target(word, Scheme::OF_PROXY, scope, place, upstreams, cx)?;
    let tls = tls("proxy", word, &target, scope, upstreams, cx);
    let set_fields = set_fields("proxy_set_header", scope, cx);
    let mut replaced: Vec<Box<[u8]>> = REPLACED.iter().map(|name| name.as_bytes().into()).collect();
    replaced.extend(
        set_fields
            .iter()
            .map(|field| field.name.to_ascii_lowercase().into()),
    );
    Some(Proxy {
        schemes: Scheme::OF_PROXY,
        redirects: redirects(scope, &target, url, place, cx),
        cache: proxy_cache(scope, place.caches, &set_fields, cx).filter(|_| !hides_cache(scope)),
        store: proxy_store(scope, cx),
        target,
        tls,
        set_fields,
        replaced,
        method: scope
            .nearest("proxy_method")
            .map(|_| scope.template("proxy_method", cx)),
        body: scope
            .nearest("proxy_set_body")
            .map(|_| scope.template("proxy_set_body", cx)),
        pass_request_headers: scope.flag("proxy_pass_request_headers"),
        pass_request_body: scope.flag("proxy_pass_request_body"),
        http_version: match scope.text("proxy_http_version") {
            "1.0" => HttpVersion::Http10,
            "2" => HttpVersion::Http2,
            _ => HttpVersion::Http11,
        },
        hidden: hidden("proxy", scope),
        ignored: lower_case("proxy_ignore_headers", scope),
        cookie_domains: cookie_edits("proxy_cookie_domain", scope, cx),
        cookie_paths: cookie_edits("proxy_cookie_path", scope, cx),
        cookie_flags: cookie_flags(scope, cx),
        buffering: scope.flag("proxy_buffering"),
        buffer_size: scope.size("proxy_buffer_size").max(1024),
        buffers: buffers(scope),
        request_buffering: scope.flag("proxy_request_buffering"),
        intercept_errors: scope.flag("proxy_intercept_errors"),
        ignore_client_abort: scope.flag("proxy_ignore_client_abort"),
        force_ranges: scope.flag("proxy_force_ranges"),
        pass_trailers: scope.flag("proxy_pass_trailers"),
        bind: bind("proxy_bind", scope, cx),
        socket_keepalive: scope.flag("proxy_socket_keepalive"),
        proxy_protocol: match scope.text("proxy_protocol") {
            "on" | "v1" => Some(ProxyProtocol::Text),
            "v2" => Some(ProxyProtocol::Binary),
            _ => None,
        },
        connect_timeout: scope.time("proxy_connect_timeout"),
        send_timeout: scope.time("proxy_send_timeout"),
        read_timeout: scope.time("proxy_read_timeout"),
        limit_rate: scope.template("proxy_limit_rate", cx),
        next_upstream: next_upstream("proxy_next_upstream", scope),
        next_upstream_tries: usize::try_from(scope.number("proxy_next_upstream_tries"))
            .unwrap_or_default(),
        next_upstream_timeout: scope.time("proxy_next_upstream_timeout"),
        health_check: None,
        priority: (scope.nearest("priority")).map(|_| scope.template("priority", cx)),
    })
}

/// The proxy of a place where `grpc_pass` is in force: HTTP/2 in which both bodies stream and trailers
/// pass.
pub fn grpc(
    line: &Node,
    scope: &Scope<'_>,
    upstreams: &mut Vec<Arc<Upstream>>,
    cx: &mut Cx,
) -> Option<Proxy> {
    let word = line.arguments.first()?;
    let place = Place {
        name: b"",
        refuses_path: Some("with `grpc_pass`: the client's own names the method"),
        caches: &[],
    };
    let (target, _) = target(word, Scheme::OF_GRPC, scope, place, upstreams, cx)?;
    let tls = tls("grpc", word, &target, scope, upstreams, cx);
    let set_fields = set_fields("grpc_set_header", scope, cx);
    let replaced = REPLACED.iter().filter(|name| **name != "te");
    let replaced = replaced.map(|name| name.as_bytes().into());
    let set = (set_fields.iter()).map(|field| field.name.to_ascii_lowercase().into());
    Some(Proxy {
        schemes: Scheme::OF_GRPC,
        replaced: replaced.chain(set).collect(),
        target,
        tls,
        set_fields,
        method: None,
        body: None,
        pass_request_headers: true,
        pass_request_body: true,
        http_version: HttpVersion::Http2,
        hidden: hidden("grpc", scope),
        ignored: lower_case("grpc_ignore_headers", scope),
        redirects: Vec::new(),
        cache: None,
        store: None,
        cookie_domains: Vec::new(),
        cookie_paths: Vec::new(),
        cookie_flags: Vec::new(),
        buffering: false,
        buffer_size: scope.size("grpc_buffer_size").max(1024),
        buffers: 0,
        request_buffering: false,
        intercept_errors: scope.flag("grpc_intercept_errors"),
        ignore_client_abort: false,
        force_ranges: false,
        pass_trailers: true,
        bind: bind("grpc_bind", scope, cx),
        socket_keepalive: scope.flag("grpc_socket_keepalive"),
        proxy_protocol: None,
        connect_timeout: scope.time("grpc_connect_timeout"),
        send_timeout: scope.time("grpc_send_timeout"),
        read_timeout: scope.time("grpc_read_timeout"),
        limit_rate: Template::from_text(b"0"),
        next_upstream: next_upstream("grpc_next_upstream", scope),
        next_upstream_tries: usize::try_from(scope.number("grpc_next_upstream_tries"))
            .unwrap_or_default(),
        next_upstream_timeout: scope.time("grpc_next_upstream_timeout"),
        health_check: None,
        priority: (scope.nearest("priority")).map(|_| scope.template("priority", cx)),
    })
}

/// What is asked of peers over TLS, where any request can go to one.
fn tls(
    family: &str,
    word: &Word,
    target: &Target,
    scope: &Scope<'_>,
    upstreams: &[Arc<Upstream>],
    cx: &mut Cx,
) -> Option<Arc<PeerTls>> {
    let upstream = match target {
        Target::Group {
            scheme, upstream, ..
        } => match scheme.is_secure() {
            true => Some(&upstreams[*upstream]),
            false => return None,
        },
        Target::Dynamic(_) => {
            let schemes = [Scheme::Http, Scheme::Grpc];
            let is_plain = schemes
                .iter()
                .any(|scheme| word.text.starts_with(scheme.prefix()));
            if is_plain {
                return None;
            }
            None
        }
    };
    let tls = peer_tls::peer_tls(family, scope, cx);
    if let Some(upstream) = upstream {
        peer_tls::warn_unless_verified(family, &tls, upstream, word, cx);
    }
    Some(Arc::new(tls))
}

/// Names in lower case.
fn lower_case(name: &str, scope: &Scope<'_>) -> Vec<Box<[u8]>> {
    let lines = scope.all(name).iter();
    lines
        .flat_map(|line| &line.arguments)
        .map(|word| word.text.to_ascii_lowercase().into_bytes().into())
        .collect()
}

/// The fields of a peer that are not passed on.
fn hidden(family: &str, scope: &Scope<'_>) -> Vec<Box<[u8]>> {
    let passed = lower_case(&format!("{family}_pass_header"), scope);
    let mut hidden: Vec<Box<[u8]>> = HIDDEN.iter().map(|name| name.as_bytes().into()).collect();
    hidden.extend(lower_case(&format!("{family}_hide_header"), scope));
    hidden.retain(|name| !passed.contains(name));
    hidden
}

/// Where `proxy_pass` points to, and its URL as far as `proxy_redirect default` needs it.
pub fn target<'a>(
    word: &'a Word,
    schemes: [Scheme; 2],
    scope: &Scope<'_>,
    place: Place<'_>,
    upstreams: &mut Vec<Arc<Upstream>>,
    cx: &mut Cx,
) -> Option<(Target, &'a str)> {
    let text = &*word.text;
    if text.contains('$') {
        return Some((Target::Dynamic(cx.template(word)), text));
    }
    let Some((scheme, rest)) = Scheme::split(schemes, text.as_bytes()) else {
        let problem = Diagnostic::error(
            Code::BAD_ADDRESS,
            word.span,
            format!("invalid URL prefix in `{text}`"),
        );
        let [plain, secure] = schemes.map(Scheme::prefix);
        cx.report(problem.hint(format!(
            "the address must begin with `{plain}` or `{secure}`"
        )));
        return None;
    };
    // The prefix is ASCII, so the rest begins at a character.
    let rest = &text[text.len() - rest.len()..];
    let (authority, uri) = match rest.strip_prefix("unix:") {
        Some(path) => match path.split_once(':') {
            Some((path, uri)) => (&rest[..5 + path.len()], uri),
            None => (rest, ""),
        },
        None => match rest.find(['/', '?']) {
            Some(end) => rest.split_at(end),
            None => (rest, ""),
        },
    };
    if !uri.is_empty()
        && let Some(reason) = place.refuses_path
    {
        cx.report(
            Diagnostic::error(
                Code::PATH_WITHOUT_PREFIX,
                word.span,
                match schemes {
                    Scheme::OF_GRPC => format!("an address cannot have a path {reason}"),
                    _ => format!("`proxy_pass` cannot have a path {reason}"),
                },
            )
            .hint("leave out everything behind the host, or use `rewrite … break;` to change the path"),
        );
        return None;
    }
    let Some(address) = upstream::peer_address(authority, scheme.usual_port()) else {
        cx.error(
            Code::BAD_ADDRESS,
            word.span,
            format!("invalid host or port in `{text}`"),
        );
        return None;
    };
    let usual = scheme.usual_port();
    let written = match (&address, authority.rsplit_once(':')) {
        (PeerAddress::Unix(_), _) => None,
        (_, Some((host, port))) => port.parse::<u16>().ok().map(|port| (host, port)),
        _ => None,
    };
    let (host, port) = match (&address, written) {
        (PeerAddress::Unix(_), _) => ("localhost", String::new()),
        (_, Some((host, port))) if port == usual => (host, port.to_string()),
        (_, Some((_, port))) => (authority, port.to_string()),
        (_, None) => (authority, usual.to_string()),
    };
    let name = match &address {
        PeerAddress::Name { host, .. } => &**host,
        _ => authority,
    };
    let known = upstreams
        .iter()
        .position(|upstream| upstream.name.eq_ignore_ascii_case(name) && !upstream.is_implicit);
    let upstream = match known {
        Some(position) => {
            if authority.len() > name.len() {
                cx.report(
                    Diagnostic::error(
                        Code::BAD_ADDRESS,
                        word.span,
                        format!("upstream `{name}` may not have a port here"),
                    )
                    .label(upstreams[position].span, "the group is defined here")
                    .hint("ports stand in the `server` lines of the group"),
                );
            }
            position
        }
        None => {
            // `http://a` and `https://a` are two groups, which are told apart by their ports.
            let is_socket = matches!(address, PeerAddress::Unix(_));
            let name = match scheme.is_secure() && written.is_none() && !is_socket {
                true => format!("{authority}:{port}"),
                false => authority.to_owned(),
            };
            let same = upstreams
                .iter()
                .position(|upstream| upstream.is_implicit && *upstream.name == *name);
            same.unwrap_or_else(|| {
                let resolver = upstream::resolver(scope, cx);
                upstreams.push(Arc::new(upstream::implicit(
                    &name, address, resolver, word.span,
                )));
                upstreams.len() - 1
            })
        }
    };
    let uri = match uri {
        "" => None,
        uri if uri.starts_with('?') => Some(format!("/{uri}").into_bytes().into()),
        uri => Some(uri.as_bytes().into()),
    };
    let target = Target::Group {
        scheme,
        upstream,
        host: host.as_bytes().into(),
        port: port.into_bytes().into(),
        uri,
    };
    Some((target, text))
}

/// `proxy_set_header` or its like in force, then what nginx would add.
fn set_fields(name: &str, scope: &Scope<'_>, cx: &mut Cx) -> Vec<SetField> {
    let mut fields: Vec<SetField> = scope
        .all(name)
        .iter()
        .filter_map(|line| {
            let [name, value] = line.arguments.as_slice() else {
                return None;
            };
            let is_token =
                |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            if name.text.is_empty() || !name.text.bytes().all(is_token) {
                cx.error(
                    Code::BAD_FIELD_NAME,
                    name.span,
                    format!("`{}` is not the name of a header field", name.text),
                );
                return None;
            }
            Some(SetField {
                name: name.text.as_bytes().into(),
                value: cx.template(value),
            })
        })
        .collect();
    let has = |fields: &[SetField], name: &str| {
        fields
            .iter()
            .any(|field| field.name.eq_ignore_ascii_case(name.as_bytes()))
    };
    if !has(&fields, "Host") {
        let value = Template::from_variable(Variable::Core(Core::ProxyHost));
        fields.insert(
            0,
            SetField {
                name: (*b"Host").into(),
                value,
            },
        );
    }
    fields
}

fn redirects(
    scope: &Scope<'_>,
    target: &Target,
    url: &str,
    place: Place<'_>,
    cx: &mut Cx,
) -> Vec<Redirect> {
    let usual = |cx: &mut Cx, line: Option<&Node>| -> Option<Redirect> {
        match target {
            Target::Group { uri: Some(_), .. } => Some(Redirect::Prefix {
                from: Template::from_text(url.as_bytes()),
                to: Template::from_text(place.name),
            }),
            Target::Group { uri: None, .. } => Some(Redirect::Prefix {
                from: Template::from_text(format!("{url}/").as_bytes()),
                to: Template::from_text(b"/"),
            }),
            Target::Dynamic(_) => {
                if let Some(line) = line {
                    cx.report(
                        Diagnostic::error(
                            Code::PARAMETER_VALUE,
                            line.span,
                            "`proxy_redirect default` cannot be used with a `proxy_pass` that has variables",
                        )
                        .hint("name both texts: `proxy_redirect FROM TO;`"),
                    );
                }
                None
            }
        }
    };
    let lines = scope.all("proxy_redirect");
    if lines.is_empty() {
        return Vec::from_iter(usual(cx, None));
    }
    let mut redirects = Vec::new();
    for line in lines {
        match line.arguments.as_slice() {
            [word] if &*word.text == "off" => return Vec::new(),
            [word] if &*word.text == "default" => redirects.extend(usual(cx, Some(line))),
            [from, to] => {
                let to = cx.template(to);
                redirects.extend(match pattern(from) {
                    Some((pattern, ignore_case)) => cx
                        .regex(from, pattern, ignore_case)
                        .map(|regex| Redirect::Regex { regex, to }),
                    None => Some(Redirect::Prefix {
                        from: cx.template(from),
                        to,
                    }),
                });
            }
            _ => cx.error(
                Code::ARGUMENT_COUNT,
                line.span,
                "`proxy_redirect` takes `off`, `default` or two texts",
            ),
        }
    }
    redirects
}

/// The pattern of `~…` or `~*…`, and whether case is ignored.
fn pattern(word: &Word) -> Option<(&str, bool)> {
    let rest = word.text.strip_prefix('~')?;
    Some(match rest.strip_prefix('*') {
        Some(rest) => (rest, true),
        None => (rest, false),
    })
}

fn cookie_edits(name: &str, scope: &Scope<'_>, cx: &mut Cx) -> Vec<CookieEdit> {
    let mut edits = Vec::new();
    for line in scope.all(name) {
        match line.arguments.as_slice() {
            [word] if &*word.text == "off" => return Vec::new(),
            [from, to] => {
                let to = cx.template(to);
                edits.extend(match pattern(from) {
                    // Domains are compared without case whatever the pattern says.
                    Some((pattern, ignore_case)) => cx
                        .regex(from, pattern, ignore_case || name == "proxy_cookie_domain")
                        .map(|regex| CookieEdit::Regex { regex, to }),
                    None => Some(CookieEdit::Text {
                        from: cx.template(from),
                        to,
                    }),
                });
            }
            _ => cx.error(
                Code::ARGUMENT_COUNT,
                line.span,
                format!("`{name}` takes `off` or two texts"),
            ),
        }
    }
    edits
}

fn cookie_flags(scope: &Scope<'_>, cx: &mut Cx) -> Vec<CookieFlags> {
    let mut all = Vec::new();
    for line in scope.all("proxy_cookie_flags") {
        let Some((name, flags)) = line.arguments.split_first() else {
            continue;
        };
        if &*name.text == "off" && flags.is_empty() {
            return Vec::new();
        }
        let name = match pattern(name) {
            Some((pattern, _)) => match cx.regex(name, pattern, true) {
                Some(regex) => CookieName::Regex(regex),
                None => continue,
            },
            None => CookieName::Text(cx.template(name)),
        };
        let mut found = CookieFlags {
            name,
            secure: None,
            http_only: None,
            same_site: None,
        };
        for flag in flags {
            match flag.text.to_ascii_lowercase().as_str() {
                "secure" => found.secure = Some(true),
                "nosecure" => found.secure = Some(false),
                "httponly" => found.http_only = Some(true),
                "nohttponly" => found.http_only = Some(false),
                "samesite=strict" => found.same_site = Some(Some("Strict")),
                "samesite=lax" => found.same_site = Some(Some("Lax")),
                "samesite=none" => found.same_site = Some(Some("None")),
                "nosamesite" => found.same_site = Some(None),
                _ => cx.report(
                    Diagnostic::error(Code::UNKNOWN_PARAMETER, flag.span, format!("unknown flag `{}`", flag.text)).hint(
                        "flags are secure, nosecure, httponly, nohttponly, samesite=strict|lax|none and nosamesite",
                    ),
                ),
            }
        }
        all.push(found);
    }
    all
}

fn buffers(scope: &Scope<'_>) -> usize {
    let (count, size) = match scope
        .nearest("proxy_buffers")
        .map(|line| line.arguments.as_slice())
    {
        Some([count, size]) => (count.text.parse().ok(), crate::unit::size::size(&size.text)),
        _ => (None, None),
    };
    let size = size
        .and_then(|size| usize::try_from(size).ok())
        .unwrap_or(8 << 10);
    size.saturating_mul(count.unwrap_or(8))
}

fn bind(name: &str, scope: &Scope<'_>, cx: &mut Cx) -> Option<Bind> {
    let line = scope.nearest(name)?;
    let word = line.arguments.first()?;
    if &*word.text == "off" {
        return None;
    }
    if let Some(word) = line.arguments.get(1) {
        cx.report(
            Diagnostic::error(
                Code::FOREIGN_DIRECTIVE,
                word.span,
                format!("`transparent` of `{name}` is not available in this version"),
            )
            .hint("bind an address of this machine, and pass the client's in a field"),
        );
    }
    let address = match word.text.contains('$') {
        true => BindAddress::Template(cx.template(word)),
        false => match super::listen::split_port(&word.text)
            .and_then(|(host, port)| {
                Some(BindAddress::Fixed(host.parse().ok()?, port.unwrap_or(0)))
            })
            .or_else(|| word.text.parse().ok().map(|ip| BindAddress::Fixed(ip, 0)))
        {
            Some(address) => address,
            None => {
                cx.error(
                    Code::BAD_ADDRESS,
                    word.span,
                    format!("`{}` is not an address", word.text),
                );
                return None;
            }
        },
    };
    Some(Bind { address })
}

fn next_upstream(name: &str, scope: &Scope<'_>) -> NextUpstream {
    let Some(line) = scope.nearest(name) else {
        return NextUpstream::ERROR.or(NextUpstream::TIMEOUT);
    };
    line.arguments
        .iter()
        .fold(NextUpstream::default(), |set, word| {
            // `off` stands for none; the checker knows no other word.
            set.or(NextUpstream::of_word(&word.text).unwrap_or_default())
        })
}
