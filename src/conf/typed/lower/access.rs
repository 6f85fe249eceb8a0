//! Who may pass: what a place asks of a client besides its address.

use std::fs;
use std::io::Read as _;
use std::sync::Arc;

use super::scope::Scope;
use super::{Cx, login, rewrite};
use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::include::{Node, Word};
use crate::conf::typed::access::{
    AuthRequest, Basic, Guard, Login, Mirror, Origin, Referers, Signature, Throttle,
};
use crate::conf::typed::hostnames::Pattern;
use crate::conf::typed::listen::{Address, Listen};
use crate::conf::variable::Variable;
use crate::unit;

/// What a place asks; `None` if it asks nothing. `identity` are the fields that clients of its server
/// are not believed.
pub fn guard(
    scope: &Scope<'_>,
    identity: &Arc<[Box<[u8]>]>,
    logins: &[Arc<Login>],
    cx: &mut Cx,
) -> Option<Arc<Guard>> {
    let basic = basic(scope, cx);
    if basic.is_none() && !scope.own("auth_throttle").is_empty() {
        // It counts further in; what is wrong with it is told here.
        throttle(scope, cx);
    }
    let request = request(scope, cx);
    let token = login::token(scope, cx);
    let login = login::required(scope, logins, cx);
    let require = login::require("auth_require", 403, scope, cx);
    let is_asked = basic.is_some()
        || token.is_some()
        || login.is_some()
        || request.is_some()
        || !require.is_empty()
        || !identity.is_empty();
    is_asked.then(|| {
        Arc::new(Guard {
            satisfy_any: scope.text("satisfy") == "any",
            delay: scope.time("auth_delay"),
            basic,
            token,
            login,
            require,
            request,
            identity: Arc::clone(identity),
        })
    })
}

/// `auth_request`
fn request(scope: &Scope<'_>, cx: &mut Cx) -> Option<AuthRequest> {
    let mut sets = Vec::new();
    for line in scope.all("auth_request_set") {
        let [name, value] = line.arguments.as_slice() else {
            continue;
        };
        let value = cx.template(value);
        match rewrite::defined(name, cx) {
            Some(Variable::Slot(slot)) => sets.push((slot, value)),
            Some(_) => cx.error(
                Code::FIXED_VARIABLE,
                name.span,
                format!("`{}` is built in and cannot be defined", name.text),
            ),
            None => {}
        }
    }
    let word = scope.nearest("auth_request")?.arguments.first()?;
    if &*word.text == "off" {
        return None;
    }
    must_be_path(word, "that asks with `proxy_pass`", cx);
    Some(AuthRequest {
        uri: word.text.as_bytes().into(),
        sets: sets.into(),
    })
}

/// Tells if a word is not the path of a location of the same server.
pub fn must_be_path(word: &Word, what: &str, cx: &mut Cx) {
    if !word.text.starts_with('/') {
        let problem = Diagnostic::error(
            Code::NO_PATH,
            word.span,
            format!("`{}` is not the path of a location", word.text),
        );
        cx.report(problem.hint(format!(
            "name a location of this server, such as `/auth`, {what}"
        )));
    }
}

/// The fields by which a server tells its backends who somebody is: those of the answer that
/// `auth_request_set` reads, and those that are set from what it keeps, from a token, a login, a
/// password or a certificate.
pub fn identity(block: &[Node], around: &Scope<'_>) -> Arc<[Box<[u8]>]> {
    /// A client speaks for itself in these; who sets them replaces them.
    const OWN: &[&str] = &[
        "authorization",
        "cookie",
        "set-cookie",
        "host",
        "location",
        "www-authenticate",
        "content-type",
        "content-length",
        "connection",
        "upgrade",
        "accept",
    ];
    let mut lines = Vec::new();
    for name in ["auth_request_set", "proxy_set_header", "grpc_set_header"] {
        lines.extend(around.all(name));
    }
    collect(block, &mut lines);
    let is = |line: &&&Node, name: &str| &*line.name.text == name;
    let mut kept = Vec::new();
    let mut fields: Vec<String> = Vec::new();
    for line in lines.iter().filter(|line| is(line, "auth_request_set")) {
        let [name, value] = line.arguments.as_slice() else {
            continue;
        };
        kept.extend(name.text.strip_prefix('$'));
        let read = variables(&value.text);
        fields
            .extend(read.filter_map(|name| Some(name.strip_prefix("upstream_http_")?.to_owned())));
    }
    for line in lines.iter().filter(|line| !is(line, "auth_request_set")) {
        let [name, value] = line.arguments.as_slice() else {
            continue;
        };
        let mut read = variables(&value.text);
        let is_kept = |name: &str| {
            kept.iter().any(|kept| kept.eq_ignore_ascii_case(name))
                || name.starts_with("jwt_")
                || name.starts_with("oidc_")
                || name.starts_with("ssl_client_")
                || name == "remote_user"
        };
        if read.any(is_kept) {
            fields.push(name.text.to_string());
        }
    }
    for field in &mut fields {
        *field = field.to_ascii_lowercase().replace('_', "-");
    }
    fields.sort();
    fields.dedup();
    fields.retain(|field| !OWN.contains(&&**field));
    fields
        .into_iter()
        .map(|field| field.into_bytes().into())
        .collect()
}

/// Every `oidc_provider`.
pub fn logins(http: &Scope<'_>, cx: &mut Cx) -> Vec<Arc<Login>> {
    let mut logins: Vec<Arc<Login>> = Vec::new();
    for node in http.own("oidc_provider") {
        let Some(found) = login::provider(node, http, cx) else {
            continue;
        };
        match logins.iter().find(|known| known.name == found.name) {
            Some(first) => cx.report(
                Diagnostic::error(
                    Code::DUPLICATE,
                    found.span,
                    format!("the provider `{}` stands twice", found.name),
                )
                .label(first.span, "first here"),
            ),
            None => logins.push(Arc::new(found)),
        }
    }
    logins
}

/// The providers at whom somebody may log in somewhere in a server.
pub fn logins_of(
    block: &[Node],
    around: &Scope<'_>,
    all: &[Arc<Login>],
    cx: &mut Cx,
) -> Box<[Arc<Login>]> {
    fn named<'a>(nodes: &'a [Node], names: &mut Vec<&'a str>) {
        for node in nodes {
            if &*node.name.text == "auth_oidc" {
                names.extend(node.arguments.first().map(|word| &*word.text));
            }
            named(node.block.as_deref().unwrap_or_default(), names);
        }
    }
    let mut names = Vec::new();
    let inherited = around
        .nearest("auth_oidc")
        .and_then(|line| line.arguments.first());
    names.extend(inherited.map(|word| &*word.text));
    named(block, &mut names);
    let is_named = |login: &&Arc<Login>| names.contains(&&*login.name);
    let found: Box<[Arc<Login>]> = all.iter().filter(is_named).cloned().collect();
    // A path leads to one of them only, so that nobody is logged in at another than was asked.
    for (position, login) in found.iter().enumerate() {
        let paths = |login: &Login| {
            let logout = login.logout_path.clone();
            [Some(login.redirect_path.clone()), logout]
        };
        let own = paths(login);
        let is_shared = |other: &&Arc<Login>| {
            paths(other)
                .iter()
                .flatten()
                .any(|path| own.iter().flatten().any(|own| own == path))
        };
        if let Some(other) = found[..position].iter().find(is_shared) {
            let problem = Diagnostic::error(
                Code::SHARED_LOGIN_PATH,
                login.span,
                format!(
                    "the providers `{}` and `{}` of one server have a path in common",
                    other.name, login.name
                ),
            );
            cx.report(
                problem
                    .label(other.span, "the other one")
                    .hint("give each its own `redirect_uri` and `logout_uri`"),
            );
        }
    }
    found
}

fn collect<'a>(nodes: &'a [Node], lines: &mut Vec<&'a Node>) {
    for node in nodes {
        if matches!(
            &*node.name.text,
            "auth_request_set" | "proxy_set_header" | "grpc_set_header"
        ) {
            lines.push(node);
        }
        collect(node.block.as_deref().unwrap_or_default(), lines);
    }
}

/// The names of the variables in a text.
fn variables(text: &str) -> impl Iterator<Item = &str> {
    text.split('$').skip(1).map(|rest| {
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        let is_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
        &rest[..rest
            .find(|character| !is_name(character))
            .unwrap_or(rest.len())]
    })
}

/// `mirror`
pub fn mirror(scope: &Scope<'_>, cx: &mut Cx) -> Option<Arc<Mirror>> {
    let lines = scope.all("mirror");
    let words: Vec<&Word> = lines.iter().flat_map(|line| &line.arguments).collect();
    if let Some(off) = words.iter().find(|word| &*word.text == "off") {
        if words.len() > 1 {
            cx.error(
                Code::DUPLICATE,
                off.span,
                "`mirror off` stands beside another `mirror`",
            );
        }
        return None;
    }
    for word in words.iter().filter(|word| !word.text.starts_with('/')) {
        let problem = Diagnostic::error(
            Code::NO_PATH,
            word.span,
            format!("`{}` is not the path of a location", word.text),
        );
        cx.report(
            problem
                .hint("name a location of this server that passes the copy on with `proxy_pass`"),
        );
    }
    let uris: Box<[Box<[u8]>]> = words
        .iter()
        .map(|word| word.text.as_bytes().into())
        .collect();
    (!uris.is_empty()).then(|| {
        Arc::new(Mirror {
            uris,
            with_body: scope.flag("mirror_request_body"),
        })
    })
}

/// What `$secure_link` and `$invalid_referer` are computed by.
pub fn origin(scope: &Scope<'_>, cx: &mut Cx) -> Option<Arc<Origin>> {
    let signature = signature(scope, cx);
    let referers = referers(scope, cx);
    let is_asked = signature.is_some() || referers.is_some();
    is_asked.then(|| {
        Arc::new(Origin {
            signature,
            referers,
        })
    })
}

fn signature(scope: &Scope<'_>, cx: &mut Cx) -> Option<Signature> {
    let first = |name| scope.nearest(name).and_then(|line| line.arguments.first());
    let secret = first("secure_link_secret");
    let expression = first("secure_link").zip(first("secure_link_md5"));
    if let (Some(secret), Some((other, _))) = (
        scope.own("secure_link_secret").first(),
        first("secure_link")
            .or(first("secure_link_md5"))
            .map(|word| (word, ())),
    ) {
        let problem = Diagnostic::error(
            Code::MIXED_SIGNATURES,
            secret.name.span,
            "`secure_link_secret` stands beside `secure_link`",
        );
        cx.report(
            problem
                .label(other.span, "the other way to sign")
                .hint("keep `secure_link` with `secure_link_md5`: such links can end"),
        );
        return None;
    }
    match (expression, secret) {
        (Some((shown, signed)), _) => Some(Signature::Expression {
            shown: cx.template(shown),
            signed: cx.template(signed),
        }),
        (None, Some(word)) => Some(Signature::Word(word.text.as_bytes().into())),
        (None, None) => None,
    }
}

fn referers(scope: &Scope<'_>, cx: &mut Cx) -> Option<Referers> {
    let lines = scope.all("valid_referers");
    let line = lines.first()?;
    let mut referers = Referers::default();
    let refuse = |word: &Word, cx: &mut Cx| {
        let problem = Diagnostic::error(
            Code::BAD_REFERER,
            word.span,
            format!("`{}` names no site that may refer", word.text),
        );
        cx.report(problem.hint(
            "write `none`, `blocked`, `server_names`, a name such as `*.example.com/path`, or `~` and an expression",
        ));
    };
    let add = |word: &Word, text: &str, referers: &mut Referers| {
        let (host, path) = text.split_at(text.find('/').unwrap_or(text.len()));
        let host = host.to_ascii_lowercase();
        let pattern = Pattern::parse(host.as_bytes()).filter(|_| !host.is_empty());
        match pattern {
            Some(pattern) => {
                referers.hosts.insert(pattern, path.as_bytes().into());
                true
            }
            None => word.text.is_empty(),
        }
    };
    for word in lines.iter().flat_map(|line| &line.arguments) {
        match &*word.text {
            "none" => referers.none = true,
            "blocked" => referers.blocked = true,
            "server_names" => {
                for name in scope
                    .all("server_name")
                    .iter()
                    .flat_map(|line| &line.arguments)
                {
                    match name.text.strip_prefix('~') {
                        Some(pattern) => referers
                            .host_patterns
                            .extend(cx.regex(name, pattern, true).map(Arc::new)),
                        // What is wrong with a name is told where it stands.
                        None => {
                            add(name, &name.text, &mut referers);
                        }
                    }
                }
            }
            text => match text.strip_prefix('~') {
                Some("") => refuse(word, cx),
                Some(pattern) => referers
                    .patterns
                    .extend(cx.regex(word, pattern, true).map(Arc::new)),
                None => {
                    if !add(word, text, &mut referers) {
                        refuse(word, cx);
                    }
                }
            },
        }
    }
    if referers.hosts.is_empty()
        && referers.patterns.is_empty()
        && referers.host_patterns.is_empty()
    {
        let problem = Diagnostic::error(
            Code::BAD_REFERER,
            line.name.span,
            "no site is named that may refer",
        );
        cx.report(problem.hint("add `server_names` or names of sites"));
    }
    Some(referers)
}

fn basic(scope: &Scope<'_>, cx: &mut Cx) -> Option<Basic> {
    let line = scope.nearest("auth_basic")?;
    let realm = line.arguments.first()?;
    if &*realm.text == "off" {
        return None;
    }
    let file = scope.nearest("auth_basic_user_file");
    let file = file.and_then(|line| line.arguments.first());
    if file.is_none() {
        cx.report(
            Diagnostic::warning(
                Code::NO_PASSWORD_FILE,
                line.name.span,
                "nobody gets in: there is no `auth_basic_user_file`",
            )
            .hint("name a file that `openclaw passwd` makes, here or on a level around"),
        );
    }
    Some(Basic {
        realm: cx.template(realm),
        file: file.map(|word| {
            let text = match word.text.starts_with(['/', '$']) {
                true => word.text.to_string(),
                false => scope
                    .path_beside_conf(&word.text)
                    .to_string_lossy()
                    .into_owned(),
            };
            look_at(word, &text, cx);
            cx.template_of(word, &text)
        }),
        throttle: throttle(scope, cx),
    })
}

/// Tells of a file that lets nobody in, or not all who stand in it. It may be another one when it is
/// used.
fn look_at(word: &Word, path: &str, cx: &mut Cx) {
    /// As much of a file is looked at.
    const MOST: u64 = 4 << 20;
    if path.contains('$') {
        return;
    }
    let mut text = Vec::new();
    let read = fs::metadata(path).and_then(|metadata| match metadata.is_file() {
        true => fs::File::open(path)?.take(MOST).read_to_end(&mut text),
        false => Err(std::io::Error::other("not a regular file")),
    });
    if let Err(error) = read {
        let problem = Diagnostic::warning(
            Code::PASSWORD_FILE_UNREADABLE,
            word.span,
            format!("`{}` cannot be read, so nobody gets in: {error}", word.text),
        );
        cx.report(problem.hint(format!("`openclaw passwd {} NAME` makes it", word.text)));
        return;
    }
    let is_des = |byte: &u8| byte.is_ascii_alphanumeric() || b"./".contains(byte);
    for (number, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let mut parts = line.trim_ascii_end().split(|&byte| byte == b':');
        let (user, kept) = (parts.next().unwrap_or_default(), parts.next());
        let is_old = kept.is_some_and(|kept| kept.len() == 13 && kept.iter().all(is_des));
        if is_old && !user.starts_with(b"#") {
            let problem = Diagnostic::warning(
                Code::PASSWORD_FORM,
                word.span,
                format!(
                    "line {} of `{}`: the password of `{}` is kept in the form of DES, which is refused",
                    number + 1,
                    word.text,
                    user.escape_ascii()
                ),
            );
            cx.report(problem.hint(format!(
                "DES looks at eight characters only; set it anew: `openclaw passwd {} {}`",
                word.text,
                user.escape_ascii()
            )));
        }
    }
}

fn throttle(scope: &Scope<'_>, cx: &mut Cx) -> Option<Throttle> {
    const DEFAULT: Throttle = Throttle {
        count: 20,
        period: std::time::Duration::from_secs(600),
    };
    let Some(line) = scope.nearest("auth_throttle") else {
        return Some(DEFAULT);
    };
    let (count, period) = match line.arguments.as_slice() {
        [word] if &*word.text == "off" => return None,
        [count, period] => (count, period),
        _ => {
            let problem = Diagnostic::error(
                Code::BAD_THROTTLE,
                line.name.span,
                "`auth_throttle` takes a count and a time, or `off`",
            );
            cx.report(problem.hint("write `auth_throttle 20 10m;`"));
            return Some(DEFAULT);
        }
    };
    let number = count
        .text
        .parse()
        .ok()
        .filter(|count| (1..=1_000_000).contains(count));
    let time = unit::time::milliseconds(&period.text).filter(|time| time.as_secs() >= 1);
    for (word, is_fine, what) in [
        (count, number.is_some(), "a count from 1 to 1000000"),
        (period, time.is_some(), "a time of at least one second"),
    ] {
        if !is_fine {
            let problem = Diagnostic::error(
                Code::BAD_THROTTLE,
                word.span,
                format!("`{}` is not {what}", word.text),
            );
            cx.report(problem.hint("write `auth_throttle 20 10m;` or `auth_throttle off;`"));
        }
    }
    Some(Throttle {
        count: number.unwrap_or(DEFAULT.count),
        period: time.unwrap_or(DEFAULT.period),
    })
}

/// Tells of a server that asks for passwords where everybody on the way reads them.
pub fn lint_clear_text(
    node: &Node,
    scope: &Scope<'_>,
    position: usize,
    listens: &[Listen],
    cx: &mut Cx,
) {
    let block = node.block.as_deref().unwrap_or_default();
    let inner = scope.inside(block);
    let is_open = |listen: &&Listen| {
        let is_here = match &listen.address {
            Address::Ip(address) => address.ip().to_canonical().is_loopback(),
            Address::Unix(_) => true,
        };
        listen.servers.contains(&position) && !listen.options.ssl && !is_here
    };
    let Some(open) = listens.iter().find(is_open) else {
        return;
    };
    // One that sends everybody elsewhere asks for nothing; one behind a proxy is asked over it.
    let is_behind = !inner.all("set_real_ip_from").is_empty();
    if is_behind || !inner.own("return").is_empty() {
        return;
    }
    if let Some(line) = asks(block).or_else(|| scope.nearest("auth_basic").filter(is_on)) {
        cx.report(
            Diagnostic::warning(
                Code::PASSWORDS_IN_CLEAR,
                line.name.span,
                format!("passwords are sent in clear text to `{}`", open.address),
            )
            .hint("listen with `ssl`, and send clients of this port there with `return 301`"),
        );
    }
}

fn is_on(line: &&Node) -> bool {
    line.arguments
        .first()
        .is_some_and(|word| &*word.text != "off")
}

/// The first line in these blocks that asks for a password.
fn asks(nodes: &[Node]) -> Option<&Node> {
    nodes.iter().find_map(|node| match &*node.name.text {
        "auth_basic" => Some(node).filter(is_on),
        _ => asks(node.block.as_deref().unwrap_or_default()),
    })
}
