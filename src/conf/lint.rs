//! Traps of a configuration that is valid: `openclaw lint`.
//!
//! Each lint is a rule of thumb about what people mean. It tells what happens, and the way out; it
//! never makes a configuration unusable, and says nothing where it cannot know. What is certainly not
//! what was meant is told by the lowering, at every test of the configuration. Works on the tree, so
//! that a place is always known.

use super::diagnostic::{Code, Diagnostic, arrange};
use super::include::{Loaded, Node, Word};
use super::source::Span;
use super::typed::lower::scope::Scope;
use std::collections::HashMap;
use std::path::Path;

/// Fields whose loss is worth a word when an `add_header` hides those of the level above.
const PROTECTING: &[&str] = &[
    "content-security-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "permissions-policy",
    "referrer-policy",
    "x-content-type-options",
    "x-frame-options",
];

/// What a client says of itself: with another word it is another client.
const CLAIMED: &[&str] = &[
    "$http_x_forwarded_for",
    "$proxy_add_x_forwarded_for",
    "$http_x_real_ip",
    "$http_true_client_ip",
    "$http_cf_connecting_ip",
    "$http_forwarded",
    "$http_x_client_ip",
];

/// What tells hosts from one another in the key of a cache.
const HOSTS: &[&str] = &[
    "$host",
    "$http_host",
    "$server_name",
    "$ssl_server_name",
    "$hostname",
];

/// Adds what is found to the problems of a configuration.
pub fn lint(loaded: &mut Loaded) {
    let mut found = Vec::new();
    let main_file = loaded.sources.ids().next();
    let conf_directory = main_file
        .and_then(|file| loaded.sources.path(file).parent())
        .map(Path::to_owned)
        .unwrap_or_default();
    let main = Scope::outermost(&loaded.nodes, Path::new(""));
    for http in main.own("http") {
        let scope = main.inside(block(http));
        unvarying(&scope, &mut found);
        bodies_in_clear(&scope, &mut found);
        counted_apart(&main, &scope, &mut found);
        for name in ["limit_req_zone", "limit_conn_zone"] {
            let inside = scope.own("server").iter().flat_map(|server| block(server));
            let lines = scope.own(name).iter().copied();
            for line in lines.chain(inside.filter(|line| &*line.name.text == name)) {
                claimed_key(line, &mut found);
            }
        }
        let mut caches = Caches::default();
        for server in scope.own("server") {
            let inner = scope.inside(block(server));
            redirects_by_host(server, &inner, &mut found);
            lost_fields(&inner, &mut found);
            place(&inner, None, &mut found);
            stapling(&inner, &conf_directory, &mut found);
            let host_count = names(&inner).count().max(1);
            caches.place(&inner, server, host_count);
            below(server, &inner, &mut found, &mut |scope| {
                caches.place(scope, server, host_count);
            });
        }
        caches.tell(&mut found);
    }
    loaded.diagnostics.append(&mut found);
    arrange(&mut loaded.diagnostics);
}

/// The locations and conditions in a block, and those in them.
fn below<'a>(
    around: &'a Node,
    scope: &Scope<'a>,
    found: &mut Vec<Diagnostic>,
    each: &mut dyn FnMut(&Scope<'_>),
) {
    for node in block(around) {
        if !matches!(&*node.name.text, "location" | "if" | "limit_except") {
            continue;
        }
        let inner = scope.inside(block(node));
        lost_fields(&inner, found);
        if &*node.name.text == "location" {
            location(node, &inner, found);
            place(&inner, Some(node), found);
            cached_place(node, &inner, found);
        }
        each(&inner);
        below(node, &inner, found, each);
    }
}

fn block(node: &Node) -> &[Node] {
    node.block.as_deref().unwrap_or_default()
}

fn names<'a>(server: &Scope<'a>) -> impl Iterator<Item = &'a Word> {
    let lines = server.own("server_name").to_vec().into_iter();
    lines.flat_map(|line| &line.arguments)
}

fn warn(
    found: &mut Vec<Diagnostic>,
    code: Code,
    span: Span,
    message: impl Into<String>,
    hint: impl Into<String>,
) {
    found.push(Diagnostic::warning(code, span, message).hint(hint));
}

/// Does a text use one of these variables?
fn uses(text: &str, variables: &[&str]) -> Option<String> {
    let plain = text.replace(['{', '}'], "").to_ascii_lowercase();
    let found = variables.iter().find(|variable| {
        plain.match_indices(**variable).any(|(at, _)| {
            let next = plain.as_bytes().get(at + variable.len());
            next.is_none_or(|&next| !next.is_ascii_alphanumeric() && next != b'_')
        })
    });
    found.map(|variable| (*variable).to_owned())
}

fn claimed_key(line: &Node, found: &mut Vec<Diagnostic>) {
    let Some(key) = line.arguments.first() else {
        return;
    };
    if let Some(variable) = uses(&key.text, CLAIMED) {
        warn(
            found,
            Code::CLIENT_CHOOSES_KEY,
            key.span,
            format!("a client that writes another `{variable}` is another client"),
            "count by `$binary_remote_addr`, and let `set_real_ip_from` say which proxies to believe",
        );
    }
}

/// A redirect to whatever host a request names, from a server that takes every host.
fn redirects_by_host(node: &Node, scope: &Scope<'_>, found: &mut Vec<Diagnostic>) {
    let takes_all = names(scope).all(|name| matches!(&*name.text, "_" | "" | "*" | "~." | "~.*"));
    if !takes_all {
        return;
    }
    let mut rest: Vec<&Node> = block(node).iter().collect();
    while let Some(line) = rest.pop() {
        rest.extend(block(line));
        let target = redirect(line).filter(|target| {
            let text = target.text.trim_start_matches(|letter| letter != ':');
            let text = text.strip_prefix("://").unwrap_or_default();
            ["$host", "${host}", "$http_host", "${http_host}"]
                .iter()
                .any(|host| text.starts_with(host))
        });
        if let Some(target) = target {
            warn(
                found,
                Code::REDIRECT_TO_ANY_HOST,
                target.span,
                "this server takes every host, and sends clients to the one they name",
                "give it the names it is for with `server_name`, and others a server with `return 444;`",
            );
        }
    }
}

/// Where a `return` or a `rewrite` sends a client.
fn redirect(line: &Node) -> Option<&Word> {
    let words = line.arguments.as_slice();
    match (&*line.name.text, words) {
        ("return", [code, target]) if code.text.starts_with('3') => Some(target),
        ("return", [target]) if target.text.contains("://") => Some(target),
        ("rewrite", [_, target, flag]) if matches!(&*flag.text, "redirect" | "permanent") => {
            Some(target)
        }
        ("rewrite", [_, target, ..]) if target.text.contains("://") => Some(target),
        _ => None,
    }
}

/// `add_header` and `proxy_set_header` that hide those of the levels above.
fn lost_fields(scope: &Scope<'_>, found: &mut Vec<Diagnostic>) {
    let mut look = |name: &'static str, is_worth: &dyn Fn(&str) -> bool| {
        let own = scope.own(name);
        let Some(first) = own.first() else {
            return;
        };
        let field = |line: &&Node| {
            line.arguments
                .first()
                .map(|word| word.text.to_ascii_lowercase())
        };
        let here: Vec<String> = own.iter().filter_map(field).collect();
        // All levels, the outermost first; of those above only the nearest that has any is in force.
        let all = scope.merged(name);
        let above = &all[..all.len() - own.len()];
        let mut lost: Vec<&Node> = Vec::new();
        for line in above {
            let is_lost = field(line).is_some_and(|name| !here.contains(&name) && is_worth(&name));
            let is_new = lost.iter().all(|known| field(known) != field(line));
            if is_lost && is_new {
                lost.push(line);
            }
        }
        let Some(example) = lost.first() else {
            return;
        };
        let names: Vec<_> = (lost.iter())
            .filter_map(|line| line.arguments.first())
            .map(|word| format!("`{}`", word.text))
            .collect();
        let (code, hint) = match name {
            "add_header" => (
                Code::FIELDS_LOST,
                "write them here too, or `add_header_inherit merge;`",
            ),
            _ => (Code::PEER_FIELDS_LOST, "write them here too"),
        };
        found.push(
            Diagnostic::warning(
                code,
                first.name.span,
                format!(
                    "`{name}` here hides {} of the level above",
                    names.join(", ")
                ),
            )
            .label(example.name.span, "not sent from there")
            .hint(hint),
        );
    };
    if !matches!(scope.text("add_header_inherit"), "merge" | "off") {
        look("add_header", &|name| PROTECTING.contains(&name));
    }
    look("proxy_set_header", &|name| {
        matches!(name, "host" | "forwarded") || name.starts_with("x-")
    });
}

/// Bodies of calls that are written down as they are.
fn bodies_in_clear(scope: &Scope<'_>, found: &mut Vec<Diagnostic>) {
    let line = scope.own("llm_log").first();
    let word = line.and_then(|line| line.arguments.get(1));
    if let Some(word) = word.filter(|word| &*word.text == "full") {
        warn(
            found,
            Code::BODIES_IN_CLEAR,
            word.span,
            "all that people ask and are answered is written down as it is",
            "write `llm_log body redacted;` unless everybody who asks knows of it",
        );
    }
}

/// What is true of a server as of a location.
fn place(scope: &Scope<'_>, location: Option<&Node>, found: &mut Vec<Diagnostic>) {
    let own = |name: &str| scope.own(name).to_vec();
    bodies_in_clear(scope, found);
    for name in ["return", "rewrite"] {
        for line in own(name) {
            decoded_target(line, found);
        }
    }
    for condition in own("if") {
        for line in block(condition) {
            decoded_target(line, found);
        }
    }
    if let Some(line) = own("proxy_pass").first()
        && let Some(url) = line.arguments.first()
    {
        let rest = url.text.split_once("://").map_or("", |(_, rest)| rest);
        let host = rest.split('/').next().unwrap_or_default();
        if host.contains('$') && scope.nearest("resolver").is_none() {
            warn(
                found,
                Code::NO_RESOLVER,
                url.span,
                "the host is known only when a request comes, and nothing says whom to ask for its address",
                "add `resolver ADDRESS;`; it is not needed if the variable is always the name of an `upstream`",
            );
        }
    }
    if let Some(target) = own("proxy_pass").first().or(own("grpc_pass").first()) {
        to_peer(scope, target, found);
    }
    if scope.text("satisfy") == "any"
        && let Some(line) = scope
            .all("allow")
            .iter()
            .find(|line| (line.arguments.first()).is_some_and(|word| &*word.text == "all"))
        && let Some(satisfy) = scope.nearest("satisfy")
        && (!scope.own("satisfy").is_empty() || !scope.own("allow").is_empty())
    {
        found.push(
            Diagnostic::warning(
                Code::ANYBODY_SATISFIES,
                satisfy.name.span,
                "everybody passes: one of the conditions is enough, and all addresses are allowed",
            )
            .label(line.name.span, "this lets everybody in")
            .hint("name the addresses that need no password, then `deny all;`"),
        );
    }
    if let Some(location) = location {
        conditions(location, scope, found);
    }
}

/// What is told a peer, or expected of it.
fn to_peer(scope: &Scope<'_>, target: &Node, found: &mut Vec<Diagnostic>) {
    let fields = || {
        let all = scope.all("proxy_set_header").iter();
        all.chain(scope.all("grpc_set_header"))
    };
    let asks = |name: &str| {
        let word = scope.nearest(name).and_then(|line| line.arguments.first());
        word.is_some_and(|word| &*word.text != "off")
    };
    let claimed = fields().find_map(|line| {
        let value = line.arguments.get(1)?;
        uses(&value.text, &["$remote_user"]).map(|_| value)
    });
    if let Some(value) = claimed
        && !asks("auth_basic")
        && !asks("auth_request")
    {
        found.push(
            Diagnostic::warning(
                Code::NAME_UNPROVEN,
                value.span,
                "nobody asks for a password here: a client writes what it likes into `$remote_user`",
            )
            .label(target.name.span, "and this peer believes it")
            .hint("add `auth_basic` and `auth_basic_user_file`, or send no such field from here"),
        );
    }
    let is_replaced = !scope.all("sub_filter").is_empty();
    let is_unpacked = scope.flag("gunzip")
        || fields().any(|line| {
            let [name, value] = line.arguments.as_slice() else {
                return false;
            };
            name.text.eq_ignore_ascii_case("Accept-Encoding")
                && !value.text.contains(['$', 'g', 'b', 'z'])
        });
    if is_replaced
        && !is_unpacked
        && let Some(line) = scope.nearest("sub_filter")
    {
        found.push(
            Diagnostic::warning(
                Code::PACKED_TEXT,
                line.name.span,
                "nothing is replaced in what the peer sends compressed, as it does for every browser",
            )
            .label(target.name.span, "this peer")
            .hint("add `proxy_set_header Accept-Encoding \"\";`"),
        );
    }
    let is_cache_control = |word: Option<&Word>| {
        word.is_some_and(|word| word.text.eq_ignore_ascii_case("Cache-Control"))
    };
    let added = scope.all("add_header").iter();
    let mut added = added.filter(|line| is_cache_control(line.arguments.first()));
    let mut hidden = scope.all("proxy_hide_header").iter();
    if let Some(line) = added.next()
        && !hidden.any(|line| is_cache_control(line.arguments.first()))
        && (!scope.own("add_header").is_empty() || !scope.own("proxy_pass").is_empty())
    {
        found.push(
            Diagnostic::warning(
                Code::TWO_CACHE_CONTROLS,
                line.name.span,
                "a second `Cache-Control` is sent beside the one of the peer",
            )
            .label(target.name.span, "this peer")
            .hint("add `proxy_hide_header Cache-Control;` to replace its own"),
        );
    }
}

/// Compression that caches on the way are not told of.
fn unvarying(http: &Scope<'_>, found: &mut Vec<Diagnostic>) {
    const PACKERS: [&str; 6] = [
        "gzip",
        "gzip_static",
        "brotli",
        "brotli_static",
        "zstd",
        "zstd_static",
    ];
    let mut told = Vec::new();
    let mut look = |scope: &Scope<'_>| {
        if scope.flag("gzip_vary") {
            return;
        }
        let on = |name: &&&str| matches!(scope.text(name), "on" | "always");
        let Some(line) = (PACKERS.iter().find(on)).and_then(|name| scope.nearest(name)) else {
            return;
        };
        if !told.contains(&line.name.span) {
            told.push(line.name.span);
            warn(
                found,
                Code::UNVARYING,
                line.name.span,
                "caches on the way are not told that answers differ: one may hand a client what it cannot unpack",
                "add `gzip_vary on;`, which is for all codings",
            );
        }
    };
    fn each(node: &Node, scope: &Scope<'_>, look: &mut dyn FnMut(&Scope<'_>)) {
        for node in block(node) {
            if matches!(&*node.name.text, "location" | "if") {
                let inner = scope.inside(block(node));
                look(&inner);
                each(node, &inner, look);
            }
        }
    }
    for server in http.own("server") {
        let inner = http.inside(block(server));
        look(&inner);
        each(server, &inner, &mut look);
    }
}

/// What counts in each worker apart, where there are several.
fn counted_apart(main: &Scope<'_>, http: &Scope<'_>, found: &mut Vec<Diagnostic>) {
    if main.text("worker_processes") == "1" {
        return;
    }
    for upstream in http.own("upstream") {
        let scope = http.inside(block(upstream));
        if !scope.own("zone").is_empty() {
            continue;
        }
        let servers = scope.own("server").iter().flat_map(|line| &line.arguments);
        let mut most = servers.filter(|word| word.text.starts_with("max_conns="));
        let queue = scope.own("queue").first().map(|line| &line.name);
        if let Some(word) = most.next().or(queue) {
            warn(
                found,
                Code::COUNTED_APART,
                word.span,
                "each worker counts for itself: with four workers a peer gets four times as much",
                "add `zone NAME 64k;` to the upstream, which all workers share",
            );
        }
    }
}

/// `ssl_stapling` for a certificate that names nobody to ask.
fn stapling(server: &Scope<'_>, conf_directory: &Path, found: &mut Vec<Diagnostic>) {
    if !server.flag("ssl_stapling") || server.nearest("ssl_stapling_file").is_some() {
        return;
    }
    let Some(line) = server.nearest("ssl_stapling") else {
        return;
    };
    if server.nearest("ssl_stapling_responder").is_some() {
        return;
    }
    for word in (server.all("ssl_certificate").iter()).filter_map(|line| line.arguments.first()) {
        if word.text.contains('$') {
            continue;
        }
        // What cannot be read, or is none, is told elsewhere.
        if names_responder(&conf_directory.join(&*word.text)) == Some(false) {
            found.push(
                Diagnostic::warning(
                    Code::NOTHING_TO_STAPLE,
                    line.name.span,
                    "the certificate names nobody who says whether it was revoked, so nothing is stapled",
                )
                .label(word.span, "this certificate")
                .hint("leave `ssl_stapling` out; many authorities have no such service any more"),
            );
        }
    }
}

/// Does the first certificate of a file name an OCSP responder? `None` if there is none to be read.
fn names_responder(path: &Path) -> Option<bool> {
    /// The identifier of `id-ad-ocsp` as DER has it (RFC 5280 section 4.2.2.1).
    const OCSP: &[u8] = &[6, 8, 0x2b, 6, 1, 5, 5, 7, 0x30, 1];
    const LARGEST: u64 = 1 << 20;
    let file = std::fs::File::open(path).ok()?;
    // A pipe would keep us waiting.
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    std::io::Read::read_to_string(&mut std::io::Read::take(file, LARGEST), &mut text).ok()?;
    let (_, rest) = text.split_once("-----BEGIN CERTIFICATE-----")?;
    let (coded, _) = rest.split_once("-----END CERTIFICATE-----")?;
    let coded: String = coded.split_whitespace().collect();
    let certificate = data_encoding::BASE64.decode(coded.as_bytes()).ok()?;
    Some(memchr::memmem::find(&certificate, OCSP).is_some())
}

/// `$uri` where the client gets it back: it is decoded.
fn decoded_target(line: &Node, found: &mut Vec<Diagnostic>) {
    let Some(target) = redirect(line) else { return };
    if let Some(variable) = uses(&target.text, &["$uri", "$document_uri"]) {
        warn(
            found,
            Code::DECODED_REDIRECT,
            target.span,
            format!(
                "`{variable}` is decoded: `%0d%0a` in a request becomes the end of a line in the answer"
            ),
            "use `$request_uri`, which is as the client sent it, with the query",
        );
    }
}

/// What `if` does in a location beyond deciding.
fn conditions(location: &Node, scope: &Scope<'_>, found: &mut Vec<Diagnostic>) {
    let decides = |line: &Node| {
        matches!(
            &*line.name.text,
            "return" | "rewrite" | "set" | "break" | "access_log" | "limit_rate"
        )
    };
    let content: Vec<&Node> = (block(location).iter())
        .filter(|line| &*line.name.text == "if")
        .filter(|line| block(line).iter().any(|line| !decides(line)))
        .collect();
    if let (Some(condition), Some(try_files)) = (content.first(), scope.own("try_files").first()) {
        found.push(
            Diagnostic::warning(
                Code::IF_PITFALL,
                condition.name.span,
                "where this is true, `try_files` is not asked",
            )
            .label(try_files.name.span, "this one")
            .hint("let `if` only `return` or `rewrite`, or choose by a `map`"),
        );
    } else if let [first, .., last] = content.as_slice() {
        found.push(
            Diagnostic::warning(
                Code::IF_PITFALL,
                last.name.span,
                "where several are true, only the last one counts",
            )
            .label(first.name.span, "this one is without effect then")
            .hint("choose by a `map`, and write the directive once"),
        );
    }
}

/// How a location matches.
enum Matches<'a> {
    Prefix(&'a str),
    Exact,
    Pattern(&'a Word),
    Other,
}

fn matches(location: &Node) -> Matches<'_> {
    match location.arguments.as_slice() {
        [modifier, pattern] if matches!(&*modifier.text, "~" | "~*") => Matches::Pattern(pattern),
        [modifier, _] if &*modifier.text == "=" => Matches::Exact,
        [modifier, path] if &*modifier.text == "^~" => Matches::Prefix(&path.text),
        [path] if path.text.starts_with('=') => Matches::Exact,
        [path] if path.text.starts_with('/') => Matches::Prefix(&path.text),
        _ => Matches::Other,
    }
}

fn location(node: &Node, scope: &Scope<'_>, found: &mut Vec<Diagnostic>) {
    let prefix = match matches(node) {
        Matches::Prefix(prefix) => prefix,
        Matches::Pattern(pattern) => {
            if has_open_dot(&pattern.text) {
                warn(
                    found,
                    Code::OPEN_DOT,
                    pattern.span,
                    "a `.` here is any character",
                    "write `\\.` for a dot",
                );
            }
            return;
        }
        Matches::Exact | Matches::Other => return,
    };
    let first = |name: &str| scope.own(name).first()?.arguments.first();
    if let Some(root) = first("root") {
        let inner = prefix.trim_matches('/');
        let text = root.text.trim_end_matches('/');
        if !inner.is_empty()
            && text
                .strip_suffix(inner)
                .is_some_and(|rest| rest.ends_with('/'))
        {
            warn(
                found,
                Code::ROOT_REPEATS_PREFIX,
                root.span,
                format!(
                    "`{prefix}x` is looked for at `{text}{}/x`",
                    prefix.trim_end_matches('/')
                ),
                format!(
                    "`root` is put before the whole path: write `alias {text}/;` in `location {}/`, or a root without `/{inner}`",
                    prefix.trim_end_matches('/')
                ),
            );
        }
    }
    if let Some(alias) = first("alias")
        && !prefix.ends_with('/')
        && alias.text.ends_with('/')
    {
        warn(
            found,
            Code::ALIAS_LEADS_OUT,
            alias.span,
            format!("`{prefix}../x` leads out of the directory"),
            format!("end both with `/`: `location {prefix}/`"),
        );
    }
    if let Some(url) = first("proxy_pass")
        && !url.text.contains('$')
        && let Some((_, rest)) = url.text.split_once("://")
        && let Some(at) = rest.find('/').filter(|_| !rest.starts_with("unix:"))
    {
        let path = &rest[at..];
        if prefix.ends_with('/') != path.ends_with('/') {
            let told = format!("`{prefix}x` is asked for as `{path}x`");
            let told = match prefix.ends_with('/') {
                true => told,
                false => format!("`{prefix}/x` is asked for as `{path}/x`"),
            };
            warn(
                found,
                Code::SLASHES_DIFFER,
                url.span,
                told,
                "end both the location and the URL with `/`, or neither",
            );
        }
    }
}

/// Has a regular expression a `.` that stands for any character and is meant as a dot: before a name
/// of letters, and repeated by nothing?
fn has_open_dot(pattern: &str) -> bool {
    let bytes = pattern.as_bytes();
    let mut at = 0;
    let mut is_in_class = false;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 1,
            b'[' => is_in_class = true,
            b']' => is_in_class = false,
            b'.' if !is_in_class => {
                let next = bytes.get(at + 1).copied().unwrap_or_default();
                let behind_start = at > 0 && bytes[at - 1] != b'(' || at == 0;
                if behind_start && (next.is_ascii_alphabetic() || next == b'(') {
                    return true;
                }
            }
            _ => {}
        }
        at += 1;
    }
    false
}

/// What a client may make of the path of something that is cached.
fn cached_place(location: &Node, scope: &Scope<'_>, found: &mut Vec<Diagnostic>) {
    let cache = scope.nearest("proxy_cache");
    let Some(target) = scope.own("proxy_pass").first() else {
        return;
    };
    if cache.is_none_or(|line| (line.arguments.first()).is_none_or(|word| &*word.text == "off")) {
        return;
    }
    let pattern = match location.arguments.as_slice() {
        [how, pattern] if matches!(&*how.text, "~" | "~*") => Some(&*pattern.text),
        [pattern] => pattern.text.strip_prefix('~'),
        _ => None,
    };
    if let Some(line) = scope.nearest("proxy_cache_check_type")
        && scope.text("proxy_cache_check_type") == "off"
        && pattern.is_some_and(|pattern| pattern.contains("\\.") || pattern.contains("[.]"))
    {
        found.push(
            Diagnostic::warning(
                Code::PAGES_CACHED_AS_FILES,
                line.name.span,
                "a page of one client is stored for all if its path only ends like a file",
            )
            .label(location.name.span, "these are told by the end of the path")
            .hint("leave `proxy_cache_check_type` on"),
        );
    }
    let passes_path = target.arguments.first().is_some_and(|url| {
        let rest = url.text.split_once("://").map(|(_, rest)| rest);
        rest.is_some_and(|rest| !rest.starts_with("unix:") && !rest.contains(['/', '$']))
    });
    let is_rewritten = !scope.own("rewrite").is_empty();
    if let Some(key) = (scope.nearest("proxy_cache_key")).and_then(|line| line.arguments.first())
        && let Some(variable) = uses(&key.text, &["$uri", "$document_uri"])
        && uses(&key.text, &["$request_uri", "$request"]).is_none()
        && passes_path
        && !is_rewritten
    {
        found.push(
            Diagnostic::warning(
                Code::PATHS_SHARE_CACHE,
                key.span,
                format!(
                    "`{variable}` is the path after it was decoded, the peer gets it as the client wrote it"
                ),
            )
            .label(target.name.span, "two paths for the peer may be one for the cache")
            .hint("make the key of `$request_uri`, which has the query in it"),
        );
    }
}

/// Who uses which zone of a cache, with which key.
#[derive(Default)]
struct Caches {
    /// By zone: the keys without a host, each with the server and how many names that has.
    zones: HashMap<String, Vec<(Span, Span, usize)>>,
    cookies: Vec<(Span, Span)>,
}

impl Caches {
    fn place(&mut self, scope: &Scope<'_>, server: &Node, host_count: usize) {
        let Some(cache) = scope.nearest("proxy_cache") else {
            return;
        };
        let Some(zone) = cache.arguments.first().filter(|word| &*word.text != "off") else {
            return;
        };
        if let Some(key) = scope
            .nearest("proxy_cache_key")
            .and_then(|line| line.arguments.first())
            && uses(&key.text, HOSTS).is_none()
        {
            let users = self.zones.entry(zone.text.to_string()).or_default();
            let user = (key.span, server.name.span, host_count);
            if !users.contains(&user) {
                users.push(user);
            }
        }
        let ignores = scope.all("proxy_ignore_headers").iter();
        let cookie = ignores
            .flat_map(|line| &line.arguments)
            .find(|word| word.text.eq_ignore_ascii_case("Set-Cookie"));
        let hides = scope.all("proxy_hide_header").iter();
        let is_hidden = hides
            .flat_map(|line| &line.arguments)
            .any(|word| word.text.eq_ignore_ascii_case("Set-Cookie"));
        if let Some(cookie) = cookie
            && !is_hidden
            && scope.text("proxy_cache_strip_cookies") != "on"
            && !self.cookies.contains(&(cookie.span, cache.name.span))
        {
            self.cookies.push((cookie.span, cache.name.span));
        }
    }

    fn tell(self, found: &mut Vec<Diagnostic>) {
        for users in self.zones.into_values() {
            let mut servers: Vec<Span> = users.iter().map(|(_, server, _)| *server).collect();
            servers.sort_unstable();
            servers.dedup();
            for (key, _, host_count) in &users {
                if servers.len() > 1 || *host_count > 1 {
                    warn(
                        found,
                        Code::HOSTS_SHARE_CACHE,
                        *key,
                        "hosts share what is cached: the key has no host",
                        "add `$host` to the key",
                    );
                }
            }
        }
        for (cookie, cache) in self.cookies {
            found.push(
                Diagnostic::warning(
                    Code::COOKIES_CACHED,
                    cookie,
                    "answers that set a cookie are stored, and the next client gets that cookie",
                )
                .label(cache, "in this cache")
                .hint("leave `Set-Cookie` out, or add `proxy_hide_header Set-Cookie;`"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::explain::{CODES, Explanation};
    use crate::conf::include;

    fn told(text: &str) -> Vec<&'static str> {
        let text = format!("{text}\n");
        let mut loaded = include::load_text(Path::new("test.conf"), text, Path::new("/"));
        lint(&mut loaded);
        let names = loaded.diagnostics.iter().map(|problem| problem.code.name());
        names.collect()
    }

    #[test]
    fn the_wrong_example_of_a_lint_has_it_and_the_right_one_has_none() {
        let mut count = 0;
        // What text alone cannot show has a test of its own.
        let is_shown = |row: &&Explanation| row.code.is_of_lint() && !row.wrong.is_empty();
        for row in CODES.iter().filter(is_shown) {
            let name = row.code.name();
            assert_eq!(told(row.wrong), [name], "{name}");
            assert_eq!(told(row.right), [] as [&str; 0], "{name}");
            count += 1;
        }
        assert_eq!(count, 22, "and one that text alone cannot show");
    }

    #[test]
    fn what_looks_like_a_trap_and_is_none_is_not_told() {
        for text in [
            "http { server { server_name a.example.com; return 301 https://$host$request_uri; } }",
            "http { server { location ~ ^/x/.+$ { } location ~ [.]php$ { } location ~ .*\\.js$ { } } }",
            "http { server { location /a/ { proxy_pass http://b; } location / { proxy_pass http://b/; } } }",
            "http { server { location /a { proxy_pass http://unix:/x:/; } } }",
            "http { server { location /images/ { root /srv/myimages; } } }",
            "http { limit_req_zone $http_x_api_key zone=a:1m rate=1r/s; }",
            "http { server { location / { if ($a) { return 403; } if ($b) { return 404; } try_files $uri =404; } } }",
            "http { proxy_set_header Host $host; server { location / { proxy_set_header Host b; } } }",
            "http { server { return 301 /x$is_args$args; } }",
            "http { server { location /x { return 302 https://a/$uri_of_mine; } } }",
            "http { proxy_cache_key $request_uri; server { server_name a; proxy_cache z; location / { } } }",
            "http { gzip on; gzip_vary on; server { location / { gzip_vary on; } } }",
            "http { server { proxy_cache z; proxy_cache_key $host$uri; location / { proxy_pass http://b/; } location /a { proxy_cache off; proxy_pass http://b; } } }",
            "http { server { proxy_cache z; proxy_cache_check_type off; location /a { proxy_pass http://b; } } }",
            "http { server { location / { sub_filter a b; proxy_set_header Accept-Encoding identity; proxy_pass http://b; } } }",
            "http { server { location / { sub_filter a b; gunzip on; proxy_pass http://b; } location /x { sub_filter a b; } } }",
            "http { server { auth_basic a; proxy_set_header X-User $remote_user; location / { proxy_pass http://b; } } }",
            "worker_processes auto; http { upstream a { zone a 64k; server 127.0.0.1:1 max_conns=1; queue 10; } }",
            "worker_processes 1; http { upstream a { server 127.0.0.1:1 max_conns=1; } }",
            "http { server { add_header Cache-Control no-store; location / { root x; } } }",
        ] {
            assert_eq!(told(text), [] as [&str; 0], "{text}");
        }
    }

    #[test]
    fn a_certificate_without_a_responder_has_nothing_to_staple() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.pem");
        let pem = |der: &[u8]| {
            let coded = data_encoding::BASE64.encode(der);
            format!("-----BEGIN CERTIFICATE-----\n{coded}\n-----END CERTIFICATE-----\n")
        };
        let conf = |more: &str| {
            format!(
                "http {{ server {{ ssl_stapling on; ssl_certificate {}; {more} }} }}",
                path.display()
            )
        };
        assert_eq!(told(&conf("")), [] as [&str; 0], "there is none");
        std::fs::write(&path, pem(b"no responder")).expect("written");
        assert_eq!(told(&conf("")), ["OC-W307"]);
        assert_eq!(
            told(&conf("ssl_stapling_responder http://a;")),
            [] as [&str; 0]
        );
        std::fs::write(&path, pem(b"x\x06\x08\x2b\x06\x01\x05\x05\x07\x30\x01x")).expect("written");
        assert_eq!(told(&conf("")), [] as [&str; 0]);
    }
}
