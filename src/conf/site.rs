//! The short form of a site: a name, where its requests go, a path; and what that is in a
//! configuration.
//!
//! Owns what may be typed there, and the place in an existing configuration where a site belongs. It
//! reads no file. Invariant: what is typed becomes whole words of the configuration with that very
//! meaning; what could mean anything else there (`;`, quotes, `$`, blanks) is refused.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::net::Ipv6Addr;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::address::Address;
use super::edit::{self, EditError, Operation, Place};
use super::include::{Loaded, Node};
use super::lexer;
use super::local_names::is_local;
use super::source::Span;
use super::tree::{Directive, Document, Item};
use super::typed::hostnames::Pattern;
use super::typed::lower::{listen, names, peer_tls, upstream};
use super::variable::Names;

/// The port of a URL that names none.
pub const DEFAULT_PORT: u16 = 80;

/// The port of a URL with `https` that names none.
pub const SECURE_PORT: u16 = 443;

/// The longest name of a site (RFC 1035 section 2.3.4, without the root's dot).
const MAX_NAME: usize = 253;

/// The longest part of a name between dots (as above).
const MAX_LABEL: usize = 63;

/// The longest target or path that is taken.
const MAX_TEXT: usize = 2048;

/// The name of the variable that `Connection` is set from.
const UPGRADE: &str = "connection_upgrade";

/// A site as it is typed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Site {
    /// Its names; at least one.
    pub names: Vec<Name>,
    /// Who answers.
    pub target: Target,
    /// The path below which it answers.
    pub path: UrlPath,
    /// The port on which it is asked without TLS.
    pub port: u16,
    /// Is it asked with TLS? As it suits the names and the port, if nobody says it.
    pub https: Option<Https>,
}

/// How a site is asked with TLS.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Https {
    /// Not at all.
    Off,
    /// With it and without.
    Both,
    /// With it; without it, it leads there.
    Redirect,
    /// As [`Self::Redirect`], and browsers are told never to come without it (RFC 6797).
    Strict,
}

impl Https {
    /// All of them with the word that is typed.
    pub const ALL: [(&str, Self); 4] = [
        ("redirect", Self::Redirect),
        ("hsts", Self::Strict),
        ("both", Self::Both),
        ("off", Self::Off),
    ];

    /// What suits names and a port: TLS where a public authority certifies all of the names, and
    /// where the port is the one that it asks at.
    pub fn suited(names: &[Name], port: u16) -> Self {
        match port == DEFAULT_PORT && names.iter().all(Name::is_public) {
            true => Self::Redirect,
            false => Self::Off,
        }
    }

    /// The word that is typed.
    pub fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Both => "both",
            Self::Redirect => "redirect",
            Self::Strict => "hsts",
        }
    }
}

/// A name of a site in lower case, perhaps with a wildcard: `example.org`, `*.example.org`,
/// `.example.org`, `www.example.*`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Name(String);

/// A path of a URL, as it is compared with that of a request: decoded, from `/` on.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct UrlPath(String);

/// Who answers the requests of a site.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// A program that speaks HTTP: the text of `proxy_pass`.
    Proxy(String),
    /// Files in this directory, absolute and without a `/` at its end.
    Files(String),
    /// Another site: this URL, and the path of the request behind it if it has none of its own.
    Redirect(String),
}

/// What of a site is typed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Field {
    /// Its names.
    Domain,
    /// Who answers.
    Target,
    /// Below which path.
    Path,
    /// On which port.
    Port,
    /// Whether with TLS.
    Https,
}

/// Why something typed is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invalid {
    /// What.
    pub field: Field,
    /// Where in it, in bytes.
    pub range: Range<usize>,
    /// Why.
    pub message: String,
    /// The way out, if one is known.
    pub hint: Option<String>,
}

/// What a site adds to a configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Addition {
    /// Files that are new, and what they hold.
    pub files: Vec<(PathBuf, String)>,
    /// What is done to the others, in order.
    pub operations: Vec<Operation>,
    /// What it is, in a line.
    pub note: String,
}

/// Why a site cannot be added.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refused {
    /// It is there: its path, and the `file:line` of its location.
    Exists(String, String),
    /// Its names belong to different servers: one of them, and the `file:line` of its server.
    Divided(String, String),
    /// The server answers before a location is looked for: with this line, at this `file:line`.
    Answered(String, String),
    /// It has a server without TLS: one of its names, and the `file:line` of that server.
    Plain(String, String),
    /// The target names this group of peers, and a port, which groups do not have.
    GroupHasPorts(String),
}

impl fmt::Display for Invalid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(out, " (hint: {hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Invalid {}

impl fmt::Display for Refused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists(path, place) => {
                write!(out, "the site has `location {path}` already ({place})")
            }
            Self::Divided(name, place) => write!(
                out,
                "`{name}` has a server already ({place}) that does not have the other names; add them one by one"
            ),
            Self::Answered(line, place) => write!(
                out,
                "the server answers all requests with `{line}` ({place}) before it looks at locations"
            ),
            Self::Plain(name, place) => write!(
                out,
                "`{name}` has a server without TLS ({place}): HTTPS `both` adds it there, or edit it"
            ),
            Self::GroupHasPorts(name) => write!(
                out,
                "`{name}` is a group of peers with ports of their own; write `http://{name}`"
            ),
        }
    }
}

impl std::error::Error for Refused {}

impl Site {
    /// Reads what was typed: names with blanks or commas between them, a target (see
    /// [`Target::parse`]), a path (`/` if empty), a port (`usual` if empty, see [`usual_port`]) and a
    /// word of [`Https::ALL`].
    /// Everything that is wrong is told at once.
    pub fn parse(
        domain: &str,
        target: &str,
        path: &str,
        port: &str,
        https: &str,
        usual: u16,
    ) -> Result<Self, Vec<Invalid>> {
        let mut problems = Vec::new();
        let names = Name::parse_list(domain).map_err(|problem| problems.push(problem));
        let target_read = Target::parse(target).map_err(|problem| problems.push(problem));
        let path_read = UrlPath::parse(path).map_err(|problem| problems.push(problem));
        let https = read_https(https).map_err(|problem| problems.push(problem));
        let is_secure = matches!(https, Ok(Some(https)) if https != Https::Off);
        let typed_port = port;
        let port = read_port(port, usual).map_err(|problem| problems.push(problem));
        // With TLS it has both ports of the web, wherever others listen.
        let port = match port {
            Ok(_) if is_secure && typed_port.trim_matches(' ').is_empty() => Ok(DEFAULT_PORT),
            Ok(port) if is_secure && !matches!(port, DEFAULT_PORT | SECURE_PORT) => {
                problems.push(
                    Invalid::whole(
                        Field::Port,
                        typed_port,
                        "with HTTPS a site has the ports 80 and 443",
                    )
                    .hint("leave the port empty, or write `off` for HTTPS"),
                );
                Err(())
            }
            Ok(_) if is_secure => Ok(DEFAULT_PORT),
            port => port,
        };
        if let (Ok(Target::Files(_)), Ok(path)) = (&target_read, &path_read)
            && !path.0.ends_with('/')
        {
            problems.push(
                Invalid::whole(
                    Field::Path,
                    path.as_str(),
                    "the path of a directory ends with a `/`",
                )
                .hint(format!("write `{}/`", path.as_str())),
            );
        }
        match (names, target_read, path_read, port, https) {
            (Ok(names), Ok(target), Ok(path), Ok(port), Ok(https)) if problems.is_empty() => {
                Ok(Self {
                    names,
                    target,
                    path,
                    port,
                    https,
                })
            }
            _ => Err(problems),
        }
    }

    /// What it is, in a line.
    fn note(&self) -> String {
        let name = self.names.first().map_or("", Name::as_str);
        let port = match self.port {
            DEFAULT_PORT => String::new(),
            port => format!(":{port}"),
        };
        format!("add {name}{port} {}: {}", self.path.as_str(), self.target)
    }

    /// Its `location {}`; `above` are lines of the levels around it that it would switch off.
    fn location(&self, upgrade: Option<&str>, above: &[String]) -> String {
        let mut text = format!("location {} {{\n", lexer::escape(self.path.as_str()));
        let mut line = |words: &str| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "    {words};");
        };
        match &self.target {
            Target::Proxy(url) => {
                line(&format!("proxy_pass {}", lexer::escape(url)));
                if let Some(rest) = url.strip_prefix("https://") {
                    // Most servers with several names need to be told which one is meant.
                    line("proxy_ssl_server_name on");
                    let authority = rest.split('/').next().unwrap_or_default();
                    let address = upstream::peer_address(authority, 443);
                    // One at home has a certificate of its own making, as a rule.
                    if address.is_some_and(|address| peer_tls::is_public(&address)) {
                        line("proxy_ssl_verify on");
                    }
                }
                if let Some(upgrade) = upgrade {
                    // `$host` has no port, and links that the backend makes need it.
                    let host = match self.port {
                        DEFAULT_PORT => "$host",
                        _ => "$host:$server_port",
                    };
                    line(&format!("proxy_set_header Host {host}"));
                    line("proxy_set_header X-Real-IP $remote_addr");
                    line("proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for");
                    line("proxy_set_header X-Forwarded-Proto $scheme");
                    line("proxy_set_header Upgrade $http_upgrade");
                    line(&format!("proxy_set_header Connection ${upgrade}"));
                    above.iter().for_each(|above| line(above));
                }
            }
            Target::Files(directory) => {
                match self.path.as_str() {
                    "/" => line(&format!("root {}", lexer::escape(directory))),
                    _ => line(&format!(
                        "alias {}",
                        lexer::escape(&format!("{directory}/"))
                    )),
                }
                line("index index.html");
            }
            Target::Redirect(url) => {
                let after_scheme = url.split_once("://").map_or("", |(_, rest)| rest);
                let own = match after_scheme.contains(['/', '?', '#']) {
                    true => "",
                    false => "$request_uri",
                };
                line(&format!(
                    "return 301 {}",
                    lexer::escape(&format!("{url}{own}"))
                ));
            }
        }
        text.push_str("}\n");
        text
    }

    /// Its `server {}`, or two where one only leads to the other. `plain` and `secure` are where they
    /// listen without TLS and with it.
    fn server(
        &self,
        plain: &[String],
        secure: &[String],
        upgrade: Option<&str>,
        above: &[String],
    ) -> String {
        let https = self.https();
        let names: Vec<String> = self
            .names
            .iter()
            .map(|name| lexer::escape(&name.0))
            .collect();
        let names = names.join(" ");
        let mut text = String::new();
        let leads_there = matches!(https, Https::Redirect | Https::Strict);
        if leads_there {
            text.push_str("server {\n");
            for address in plain {
                let _ = writeln!(text, "    listen {};", lexer::escape(address));
            }
            let _ = writeln!(text, "    server_name {names};\n");
            text.push_str("    return 301 https://$host$request_uri;\n}\n\n");
        }
        text.push_str("server {\n");
        if !leads_there {
            for address in plain {
                let _ = writeln!(text, "    listen {};", lexer::escape(address));
            }
        }
        if https != Https::Off {
            for address in secure {
                let _ = writeln!(text, "    listen {} ssl;", lexer::escape(address));
            }
        }
        let _ = writeln!(text, "    server_name {names};");
        if https == Https::Strict {
            text.push_str("    hsts on;\n");
        }
        text.push('\n');
        for line in self.location(upgrade, above).lines() {
            let _ = writeln!(text, "    {line}");
        }
        text.push_str("}\n");
        text
    }

    /// Is it asked with TLS?
    fn https(&self) -> Https {
        self.https
            .unwrap_or_else(|| Https::suited(&self.names, self.port))
    }

    /// Does its location set fields of the request?
    fn is_proxied(&self) -> bool {
        matches!(self.target, Target::Proxy(_))
    }
}

impl Name {
    /// Does a public authority certify it without a record in DNS?
    pub fn is_public(&self) -> bool {
        self.0.contains('.')
            && !self.0.contains('*')
            && !self.0.starts_with('.')
            && self.0.parse::<std::net::IpAddr>().is_err()
            && !is_local(&self.0)
    }

    /// Reads a name; ASCII only, as browsers send it.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        read_name(text, 0).map(Self)
    }

    /// Reads names with blanks or commas between them; at least one, none twice.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, Invalid> {
        let mut names: Vec<Self> = Vec::new();
        let mut start = 0;
        for piece in text.split([' ', ',']) {
            if !piece.is_empty() {
                let name = Self(read_name(piece, start)?);
                if names.contains(&name) {
                    return Err(Invalid {
                        field: Field::Domain,
                        range: start..start + piece.len(),
                        message: format!("the name `{piece}` stands twice"),
                        hint: None,
                    });
                }
                names.push(name);
            }
            start += piece.len() + 1;
        }
        match names.is_empty() {
            true => Err(Invalid::whole(
                Field::Domain,
                text,
                "a site needs a name, such as `example.org`",
            )),
            false => Ok(names),
        }
    }

    /// The name in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of a file for it; never hidden, never a pattern.
    fn file_name(&self) -> String {
        self.0.trim_start_matches('.').replace('*', "_")
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl UrlPath {
    /// Reads a path; an empty text is `/`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let text = text.trim_matches(' ');
        if text.is_empty() {
            return Ok(Self("/".to_owned()));
        }
        let invalid = |range: Range<usize>, message: &str| Invalid {
            field: Field::Path,
            range,
            message: message.to_owned(),
            hint: None,
        };
        if !text.starts_with('/') {
            let problem = invalid(0..text.len(), "a path starts with `/`");
            return Err(match text.starts_with(['~', '=', '^', '@']) {
                true => problem.hint("add the path, then change the location in the form"),
                false => problem.hint(format!("write `/{text}`")),
            });
        }
        refuse_characters(Field::Path, text, "a path", &['?', '#', '%', '\\'])?;
        let mut start = 0;
        for (index, part) in text.split('/').enumerate() {
            let last = start + part.len() == text.len();
            if (part.is_empty() && index > 0 && !last) || matches!(part, "." | "..") {
                return Err(invalid(
                    start.saturating_sub(1)..start + part.len(),
                    "no request has such a path: `//`, `/./` and `/../` are resolved before",
                ));
            }
            start += part.len() + 1;
        }
        Ok(Self(text.to_owned()))
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Target {
    /// Reads a target: `host:port`, `:port` of this machine, `http://…`, the name of an `upstream`
    /// as `http://name`, `unix:/path` of a socket, `/directory` of files, or `redirect https://…`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let trimmed = text.trim_matches(' ');
        let whole = |message: &str| Invalid::whole(Field::Target, trimmed, message);
        if trimmed.is_empty() {
            return Err(whole("a site needs a target").hint(
                "for example `127.0.0.1:3000`, `:3000`, `/srv/www` or `redirect https://example.org`",
            ));
        }
        if let Some(url) = trimmed.strip_prefix("redirect")
            && (url.is_empty() || url.starts_with(' '))
        {
            return redirect(url.trim_matches(' '), trimmed.len());
        }
        refuse_characters(Field::Target, trimmed, "a target", &['\\', '#'])?;
        if let Some(path) = trimmed.strip_prefix("unix:") {
            return match path.starts_with('/') && path.len() > 1 && !path.contains([':', '?']) {
                true => Ok(Self::Proxy(format!("http://unix:{path}"))),
                false => Err(whole("a socket is an absolute path without `:` and `?`")
                    .hint("for example `unix:/run/app.sock`")),
            };
        }
        if trimmed.starts_with('/') {
            if trimmed.contains('?') {
                return Err(whole("the name of a directory has no `?`"));
            }
            let directory = trimmed.trim_end_matches('/');
            return match directory.is_empty() {
                true => Err(whole("the whole file system is not a site")),
                false => Ok(Self::Files(directory.to_owned())),
            };
        }
        if trimmed.starts_with(['.', '~']) {
            return Err(whole("a directory is written from `/` on").hint("for example `/srv/www`"));
        }
        if let Some((scheme, rest)) = trimmed.split_once("://") {
            let scheme = scheme.to_ascii_lowercase();
            if !matches!(&*scheme, "http" | "https") {
                return Err(whole("a target speaks HTTP").hint("write `http://host:port`"));
            }
            if rest.contains('?') {
                return Err(whole("the URL of a target has no query"));
            }
            if let Some(path) = rest.strip_prefix("unix:") {
                return match Self::parse(&format!("unix:{path}")) {
                    Ok(Self::Proxy(url)) => Ok(Self::Proxy(url.replacen("http", &scheme, 1))),
                    Ok(other) => Ok(other),
                    Err(problem) => Err(whole(&problem.message)),
                };
            }
            let (authority, path) = match rest.find('/') {
                Some(at) => rest.split_at(at),
                None => (rest, ""),
            };
            let authority = authority_of(authority, trimmed)?;
            return Ok(Self::Proxy(format!("{scheme}://{authority}{path}")));
        }
        if trimmed.contains(['/', '?']) {
            return Err(whole("this is neither an address nor a directory")
                .hint("write `http://host:port/path`, or a directory from `/` on"));
        }
        if trimmed.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(whole("a number alone is no address")
                .hint(format!("write `:{trimmed}` for a port of this machine")));
        }
        let authority = match trimmed.strip_prefix(':') {
            Some(port) => authority_of(&format!("127.0.0.1:{port}"), trimmed)?,
            None => authority_of(trimmed, trimmed)?,
        };
        Ok(Self::Proxy(format!("http://{authority}")))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proxy(url) => out.write_str(url),
            Self::Files(directory) => out.write_str(directory),
            Self::Redirect(url) => write!(out, "redirect {url}"),
        }
    }
}

impl Invalid {
    fn whole(field: Field, text: &str, message: impl Into<String>) -> Self {
        Self {
            field,
            range: 0..text.len(),
            message: message.into(),
            hint: None,
        }
    }

    fn hint(mut self, text: impl Into<String>) -> Self {
        self.hint = Some(text.into());
        self
    }
}

impl Addition {
    /// The new texts of the files that change, and of those that are new. `texts` are texts that
    /// stand for files already.
    pub fn texts(
        &self,
        path: &Path,
        prefix: &Path,
        texts: &HashMap<PathBuf, String>,
    ) -> Result<HashMap<PathBuf, String>, EditError> {
        let mut after = edit::run(path, prefix, texts.clone(), &self.operations)?;
        // Later, because an address may fit a directive of a new file too.
        after.extend(self.files.iter().cloned());
        after.retain(|path, text| texts.get(path) != Some(text));
        Ok(after)
    }
}

/// What a site adds to a configuration: a location to the server that has its names and port, or a
/// server of its own, in a file of its own where the configuration includes a directory of sites.
pub fn add(loaded: &Loaded, site: &Site) -> Result<Addition, Refused> {
    let mut addition = Addition {
        files: Vec::new(),
        operations: Vec::new(),
        note: site.note(),
    };
    let Some(http) = loaded.nodes.iter().find(|node| &*node.name.text == "http") else {
        let mut text = String::new();
        if !loaded.nodes.iter().any(|node| &*node.name.text == "events") {
            text.push_str("events { }\n\n");
        }
        text.push_str(&http_of(&[site]));
        addition.operations.push(Operation::Insert {
            to: Place::Last(Address::default()),
            text,
        });
        return Ok(addition);
    };
    let inside = http.block.as_deref().unwrap_or_default();
    group_without_port(site, inside)?;
    let mut server = None;
    if site.https() != Https::Off || site.https.is_none() {
        server = server_of(loaded, site, inside, SECURE_PORT)?;
    }
    // A site without TLS stays as it is until somebody says otherwise.
    if server.is_none() {
        server = server_of(loaded, site, inside, site.port)?;
        if let Some(server) = server {
            match site.https {
                None | Some(Https::Off) => {}
                Some(Https::Both) => {
                    let lines = server.block.iter().flatten();
                    let mut listens = lines.filter(|line| &*line.name.text == "listen");
                    let secure = addresses(inside, SECURE_PORT);
                    let lines = secure
                        .iter()
                        .map(|address| format!("listen {} ssl;\n", lexer::escape(address)));
                    addition.operations.push(Operation::Insert {
                        to: match listens.next_back() {
                            Some(last) => Place::After(address_of(loaded, last.span)),
                            None => Place::First(address_of(loaded, server.span)),
                        },
                        text: lines.collect(),
                    });
                }
                Some(Https::Redirect | Https::Strict) => {
                    let name = site.names.first().map_or("", Name::as_str);
                    return Err(Refused::Plain(
                        name.to_owned(),
                        place_text(loaded, server.span),
                    ));
                }
            }
        }
    }
    let own = server.map_or(&[][..], |server| {
        server.block.as_deref().unwrap_or_default()
    });
    // Fields that a level sets are those of the level above no more.
    let above = [own, inside].into_iter().find_map(|level| {
        let lines: Vec<&Node> = level
            .iter()
            .filter(|node| &*node.name.text == "proxy_set_header")
            .collect();
        (!lines.is_empty()).then_some(lines)
    });
    let above = above.unwrap_or_default();
    let is_set = |name: &str| {
        let mut names = above.iter().filter_map(|line| line.arguments.first());
        names.any(|word| word.text.eq_ignore_ascii_case(name))
    };
    let mut upgrade = None;
    if site.is_proxied() && !is_set("Host") {
        let (name, map) = upgrade_map(loaded, inside);
        if let Some(text) = map {
            let to = place_of_map(loaded, http);
            addition.operations.push(Operation::Insert { to, text });
        }
        upgrade = Some(name);
    }
    let ours = [
        "Host",
        "X-Real-IP",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "Upgrade",
        "Connection",
    ];
    let kept: Vec<String> = above
        .iter()
        .filter(|line| {
            let name = line.arguments.first().map_or("", |word| &*word.text);
            !ours.iter().any(|our| our.eq_ignore_ascii_case(name))
        })
        .map(|line| {
            let words = line.arguments.iter().map(|word| lexer::escape(&word.text));
            format!("proxy_set_header {}", words.collect::<Vec<_>>().join(" "))
        })
        .collect();
    if let Some(server) = server {
        let text = site.location(upgrade.as_deref(), &kept);
        let to = place_of_location(loaded, server);
        addition.operations.push(Operation::Insert { to, text });
        return Ok(addition);
    }
    let plain = addresses(inside, site.port);
    let secure = addresses(inside, SECURE_PORT);
    let text = site.server(&plain, &secure, upgrade.as_deref(), &kept);
    match file_of(loaded, http, site) {
        Some(path) => addition.files.push((path, text)),
        None => addition.operations.push(Operation::Insert {
            to: Place::Last(address_of(loaded, http.span)),
            text,
        }),
    }
    Ok(addition)
}

/// A whole configuration with nothing but this site; requests for other names are answered with 404.
pub fn whole(site: &Site) -> String {
    format!(
        "events {{ }}\n\n{}",
        http_of(&[site]).trim_start_matches('\n')
    )
}

/// An `http {}` with these sites, and a server for what is meant for none of them.
fn http_of(sites: &[&Site]) -> String {
    let mut text = String::from("http {\n    include mime.types;\n");
    let mut put = |block: &str| {
        text.push('\n');
        for line in block.lines() {
            let _ = match line.is_empty() {
                true => writeln!(text),
                false => writeln!(text, "    {line}"),
            };
        }
    };
    if sites.iter().any(|site| site.is_proxied()) {
        put(&map_text(UPGRADE));
    }
    for site in sites {
        let (plain, secure) = (site.port.to_string(), SECURE_PORT.to_string());
        put(&site.server(&[plain], &[secure], Some(UPGRADE), &[]));
    }
    let mut ports: Vec<u16> = sites.iter().map(|site| site.port).collect();
    ports.dedup();
    if sites.iter().any(|site| site.https() != Https::Off) {
        put(&format!(
            "# Handshakes for any other name.\nserver {{\n    listen {SECURE_PORT} ssl default_server;\n    server_name _;\n    ssl_reject_handshake on;\n}}\n"
        ));
    }
    for port in ports {
        put(&format!(
            "# Requests for any other name.\nserver {{\n    listen {port} default_server;\n    server_name _;\n    return 404;\n}}\n"
        ));
    }
    text.push_str("}\n");
    text
}

/// The server that has the names of a site at a port, if there is one.
fn server_of<'n>(
    loaded: &Loaded,
    site: &Site,
    http: &'n [Node],
    wanted: u16,
) -> Result<Option<&'n Node>, Refused> {
    let has = |server: &Node, name: &Name| {
        let lines = server.block.iter().flatten();
        let mut words = lines
            .filter(|line| &*line.name.text == "server_name")
            .flat_map(|line| &line.arguments);
        words.any(|word| word.text.eq_ignore_ascii_case(name.as_str()))
    };
    let of = |name: &Name| {
        http.iter()
            .filter(|node| &*node.name.text == "server")
            .filter(|node| listens(node).iter().any(|(_, port)| *port == wanted))
            .find(|node| has(node, name))
    };
    let servers: Vec<Option<&Node>> = site.names.iter().map(of).collect();
    let first = servers.iter().flatten().next();
    let Some(&server) = first else {
        return Ok(None);
    };
    if let Some(other) = servers
        .iter()
        .position(|found| found.is_none_or(|found| found.span != server.span))
    {
        // The name that has a server is the one to speak of.
        let named = servers.iter().position(Option::is_some).unwrap_or(other);
        let name = site.names.get(named).map_or("", Name::as_str);
        return Err(Refused::Divided(
            name.to_owned(),
            place_text(loaded, server.span),
        ));
    }
    for line in server.block.iter().flatten() {
        let words: Vec<&str> = line.arguments.iter().map(|word| &*word.text).collect();
        let is_same = match (&*line.name.text, words.as_slice()) {
            ("location", ["^~", path]) => *path == site.path.as_str(),
            ("location", [path]) => path.strip_prefix("^~").unwrap_or(path) == site.path.as_str(),
            ("return", _) => {
                return Err(Refused::Answered(
                    format!("return {}", words.join(" ")),
                    place_text(loaded, line.span),
                ));
            }
            _ => false,
        };
        if is_same {
            return Err(Refused::Exists(
                site.path.as_str().to_owned(),
                place_text(loaded, line.span),
            ));
        }
    }
    Ok(Some(server))
}

/// Refuses a port behind the name of a group, as the engine does.
fn group_without_port(site: &Site, http: &[Node]) -> Result<(), Refused> {
    let Target::Proxy(url) = &site.target else {
        return Ok(());
    };
    let rest = url.split_once("://").map_or(&**url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        Some((host, _)) if !rest.starts_with("unix:") => host,
        _ => return Ok(()),
    };
    let is_group = http.iter().any(|node| {
        &*node.name.text == "upstream"
            && (node.arguments.first()).is_some_and(|word| word.text.eq_ignore_ascii_case(host))
    });
    match is_group {
        true => Err(Refused::GroupHasPorts(host.to_owned())),
        false => Ok(()),
    }
}

/// The port on which a site is asked if none is typed: [`DEFAULT_PORT`], unless the configuration
/// listens without TLS only elsewhere; then the first port where it does.
pub fn usual_port(loaded: &Loaded) -> u16 {
    let http = loaded
        .nodes
        .iter()
        .find(|node| &*node.name.text == "http")
        .and_then(|http| http.block.as_deref())
        .unwrap_or_default();
    let servers = http.iter().filter(|node| &*node.name.text == "server");
    let is_plain = |line: &Node| {
        let mut words = line.arguments.iter().skip(1);
        !words.any(|word| matches!(&*word.text, "ssl" | "quic"))
    };
    let ports: Vec<u16> = servers
        .flat_map(|server| listens_of(server, is_plain))
        .map(|(_, port)| port)
        .collect();
    match ports.contains(&DEFAULT_PORT) {
        true => DEFAULT_PORT,
        false => ports.first().copied().unwrap_or(DEFAULT_PORT),
    }
}

/// The addresses and ports of a server; an address is empty if all of IPv4 are meant.
fn listens(server: &Node) -> Vec<(String, u16)> {
    listens_of(server, |_| true)
}

/// As [`listens`], of those lines that are wanted.
fn listens_of(server: &Node, is_wanted: impl Fn(&Node) -> bool) -> Vec<(String, u16)> {
    let lines = server.block.iter().flatten();
    let lines: Vec<&Node> = lines.filter(|line| &*line.name.text == "listen").collect();
    if lines.is_empty() {
        return vec![(String::new(), DEFAULT_PORT)];
    }
    lines
        .into_iter()
        .filter(|line| is_wanted(line))
        .filter_map(|line| line.arguments.first())
        .map(|word| &*word.text)
        .filter(|word| !word.starts_with("unix:"))
        .filter_map(|word| {
            if let Ok(port) = word.parse() {
                return Some((String::new(), port));
            }
            let (host, port) = listen::split_port(word)?;
            let address = match host {
                "*" | "0.0.0.0" => String::new(),
                _ if word.starts_with('[') => format!("[{host}]"),
                host => host.to_owned(),
            };
            Some((address, port.unwrap_or(DEFAULT_PORT)))
        })
        .collect()
}

/// Where a new server listens so that it is asked wherever the others at its port are; those at the
/// usual port, where nobody is at the one for TLS yet.
fn addresses(http: &[Node], port: u16) -> Vec<String> {
    let mut hosts: Vec<String> = Vec::new();
    for server in http.iter().filter(|node| &*node.name.text == "server") {
        for (host, at) in listens(server) {
            if at == port && !hosts.contains(&host) {
                hosts.push(host);
            }
        }
    }
    if hosts.is_empty() && port == SECURE_PORT {
        let plain = addresses(http, DEFAULT_PORT);
        return plain
            .iter()
            .map(|address| match address.strip_suffix(":80") {
                Some(host) => format!("{host}:{port}"),
                None => port.to_string(),
            })
            .collect();
    }
    let wildcards: Vec<String> = hosts
        .iter()
        .filter(|host| host.is_empty() || *host == "[::]")
        .cloned()
        .collect();
    let is_local =
        |host: &String| host.starts_with("127.") || host == "localhost" || host == "[::1]";
    if !wildcards.is_empty() {
        hosts = wildcards;
    } else if !hosts.iter().all(is_local) {
        hosts.retain(|host| !is_local(host));
    }
    if hosts.is_empty() {
        hosts.push(String::new());
    }
    let written = hosts.iter().map(|host| match host.is_empty() {
        true => port.to_string(),
        false => format!("{host}:{port}"),
    });
    written.collect()
}

/// The variable that `Connection` is set from, and the `map` that makes it if there is none.
fn upgrade_map(loaded: &Loaded, http: &[Node]) -> (String, Option<String>) {
    let there = http.iter().find_map(|node| {
        let [source, variable] = node.arguments.as_slice() else {
            return None;
        };
        let lines = node.block.iter().flatten();
        let upgrades = lines.filter(|line| {
            &*line.name.text == "default"
                && matches!(line.arguments.as_slice(), [word] if word.text.eq_ignore_ascii_case("upgrade"))
        });
        let fits = &*node.name.text == "map" && &*source.text == "$http_upgrade";
        (fits && upgrades.count() == 1)
            .then(|| variable.text.strip_prefix('$').map(str::to_owned))
            .flatten()
    });
    if let Some(name) = there {
        return (name, None);
    }
    let mut known = Names::default();
    names::collect(&loaded.nodes, &mut known);
    let mut name = UPGRADE.to_owned();
    let mut number = 1;
    while known.resolve(&name).is_some() {
        number += 1;
        name = format!("{UPGRADE}_{number}");
    }
    let text = map_text(&name);
    (name, Some(text))
}

fn map_text(name: &str) -> String {
    format!(
        "# WebSockets: a request that asks for an upgrade takes it along to the backend.\n\
         map $http_upgrade ${name} {{\n    default upgrade;\n    \"\" \"\";\n}}\n"
    )
}

/// Beside other maps, else above the first server or upstream, in the file of `http {}`.
fn place_of_map(loaded: &Loaded, http: &Node) -> Place {
    let inside = http.block.as_deref().unwrap_or_default();
    let mut here = inside
        .iter()
        .filter(|node| node.span.file == http.span.file);
    if let Some(map) = here.clone().rfind(|node| &*node.name.text == "map") {
        return Place::After(address_of(loaded, map.span));
    }
    match here.find(|node| matches!(&*node.name.text, "server" | "upstream")) {
        Some(block) => Place::Before(address_of(loaded, block.span)),
        None => Place::Last(address_of(loaded, http.span)),
    }
}

/// Behind the last location that is no regular expression, but above `location /` if that is last.
fn place_of_location(loaded: &Loaded, server: &Node) -> Place {
    let inside = server.block.as_deref().unwrap_or_default();
    let locations: Vec<&Node> = inside
        .iter()
        .filter(|node| &*node.name.text == "location" && node.span.file == server.span.file)
        .collect();
    let is_regex = |node: &Node| {
        (node.arguments.first()).is_some_and(|word| word.text.starts_with(['~', '@']))
    };
    let is_rest = |node: &Node| matches!(node.arguments.as_slice(), [path] if &*path.text == "/");
    let at = |node: &Node| address_of(loaded, node.span);
    match locations.iter().rfind(|node| !is_regex(node)) {
        Some(last) if is_rest(last) && locations.len() > 1 => Place::Before(at(last)),
        Some(last) => Place::After(at(last)),
        None => match locations.first() {
            Some(first) => Place::Before(at(first)),
            None => Place::Last(at(server)),
        },
    }
}

/// A file of its own for a site, where `http {}` includes a directory of them.
fn file_of(loaded: &Loaded, http: &Node, site: &Site) -> Option<PathBuf> {
    let file = http.span.file;
    let document = loaded.documents.get(usize::from(file.0))?;
    let text = loaded.sources.text(file);
    let block = find(document, http.span)?.block()?;
    let pattern = block.directives().find_map(|directive| {
        let [argument] = directive.arguments.as_slice() else {
            return None;
        };
        let pattern = argument.text(text);
        let (directory, name) = pattern.rsplit_once('/').unwrap_or(("", &pattern));
        let fits = directive.name.text(text) == "include"
            && !directory.contains(['*', '?', '[', '\\'])
            && matches!(name, "*" | "*.conf");
        fits.then(|| directory.to_owned())
    })?;
    // Includes start at the directory of the main file, whichever file they stand in.
    let main = loaded
        .sources
        .ids()
        .map(|file| loaded.sources.path(file))
        .find(|path| *path != Path::new(super::include::COMMAND_LINE))?;
    let directory = main.parent().unwrap_or(Path::new("")).join(pattern);
    let name = site.names.first().map_or(String::new(), Name::file_name);
    let taken = |path: &PathBuf| {
        let mut known = loaded.sources.ids();
        known.any(|file| loaded.sources.path(file) == path)
    };
    (1..u32::MAX)
        .map(|number| {
            directory.join(match number {
                1 => format!("{name}.conf"),
                number => format!("{name}-{number}.conf"),
            })
        })
        .find(|path| !taken(path))
}

/// The directive with this span.
fn find(document: &Document, span: Span) -> Option<&Directive> {
    let mut items = &document.items;
    loop {
        let directive = items.iter().find_map(|item| match item {
            Item::Directive(directive) => {
                let own = directive.span();
                (own.start <= span.start && span.end <= own.end).then_some(directive)
            }
            Item::Stray { .. } => None,
        })?;
        if directive.span() == span {
            return Some(directive);
        }
        items = &directive.block()?.items;
    }
}

fn address_of(loaded: &Loaded, span: Span) -> Address {
    Address::of(&loaded.nodes, span).unwrap_or_default()
}

/// `file:line`
fn place_text(loaded: &Loaded, span: Span) -> String {
    let (line, _) = loaded.sources.line_column(span);
    format!("{}:{line}", loaded.sources.path(span.file).display())
}

fn read_port(text: &str, usual: u16) -> Result<u16, Invalid> {
    let text = text.trim_matches(' ');
    match text.is_empty() {
        true => Ok(usual),
        false => port_number(text)
            .ok_or_else(|| Invalid::whole(Field::Port, text, "a port is a number from 1 to 65535")),
    }
}

fn read_https(text: &str) -> Result<Option<Https>, Invalid> {
    let text = text.trim_matches(' ');
    if text.is_empty() {
        return Ok(None);
    }
    let found = Https::ALL
        .into_iter()
        .find(|(word, _)| word.eq_ignore_ascii_case(text));
    match found {
        Some((_, https)) => Ok(Some(https)),
        None => Err(Invalid::whole(
            Field::Https,
            text,
            "HTTPS is `redirect`, `hsts`, `both` or `off`",
        )),
    }
}

/// A port in digits only; Rust's own reading takes a `+` too.
fn port_number(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits
        .then(|| text.parse().ok())
        .flatten()
        .filter(|&port: &u16| port > 0)
}

fn read_name(text: &str, offset: usize) -> Result<String, Invalid> {
    let invalid = |range: Range<usize>, message: String| Invalid {
        field: Field::Domain,
        range: range.start + offset..range.end + offset,
        message,
        hint: None,
    };
    let all = 0..text.len();
    if let Some((_, rest)) = text.split_once("://") {
        let name = rest.split(['/', ':', '?']).next().unwrap_or_default();
        let problem = invalid(all, "a name is wanted, not a URL".to_owned());
        return Err(match Name::parse(name) {
            Ok(name) => problem.hint(format!("write `{name}`")),
            Err(_) => problem,
        });
    }
    for (at, character) in text.char_indices() {
        let here = at..at + character.len_utf8();
        match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '.' | '_' | '*' => {}
            ':' => {
                return Err(invalid(
                    at..text.len(),
                    "the port is not part of the name".to_owned(),
                )
                .hint("the port has a field of its own"));
            }
            _ if !character.is_ascii() && !character.is_control() && !character.is_whitespace() => {
                return Err(invalid(here, format!("`{character}` is not ASCII"))
                    .hint("write the name as browsers send it, with `xn--`"));
            }
            _ => {
                let shown = character.escape_default();
                return Err(invalid(here, format!("`{shown}` cannot stand in a name")));
            }
        }
    }
    let name = text.to_ascii_lowercase();
    if name.len() > MAX_NAME {
        return Err(invalid(
            all,
            format!("a name has at most {MAX_NAME} characters"),
        ));
    }
    if name.ends_with('.') {
        return Err(
            invalid(all, "a dot at the end is not part of the name".to_owned())
                .hint(format!("write `{}`", name.trim_end_matches('.'))),
        );
    }
    let is_pattern = Pattern::parse(name.as_bytes()).is_some() && name != "*";
    if !is_pattern || name.trim_matches(['*', '.']).is_empty() {
        return Err(invalid(
            all,
            "a `*` may only be the first or last part, and no part may be empty".to_owned(),
        ));
    }
    if name == "_" {
        return Err(invalid(all, "`_` is the name of no request".to_owned())
            .hint("a server for all names is one with `default_server`; write it in the file"));
    }
    let bad = name
        .split('.')
        .find(|part| part.len() > MAX_LABEL || part.starts_with('-') || part.ends_with('-'));
    match bad {
        Some(part) if part.len() > MAX_LABEL => Err(invalid(
            all,
            format!("a part of a name has at most {MAX_LABEL} characters"),
        )),
        Some(part) => Err(invalid(
            all,
            format!("`{part}` may not start or end with `-`"),
        )),
        None => Ok(name),
    }
}

/// Refuses what could end a word of the configuration or mean something in it, and more.
fn refuse_characters(field: Field, text: &str, what: &str, more: &[char]) -> Result<(), Invalid> {
    if text.len() > MAX_TEXT {
        return Err(Invalid::whole(
            field,
            text,
            format!("{what} has at most {MAX_TEXT} bytes"),
        ));
    }
    let bad = |character: char| {
        matches!(character, ';' | '{' | '}' | '"' | '\'' | '$')
            || character.is_control()
            || character.is_whitespace()
            // Invisible: a byte order mark, zero width, direction.
            || matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
            || more.contains(&character)
    };
    match text.char_indices().find(|(_, character)| bad(*character)) {
        None => Ok(()),
        Some((at, character)) => Err(Invalid {
            field,
            range: at..at + character.len_utf8(),
            message: match character {
                ' ' => format!("{what} has no blank in it"),
                '$' => format!("variables cannot be used in {what} here"),
                _ => format!(
                    "`{}` cannot stand in {what} here",
                    character.escape_default()
                ),
            },
            hint: None,
        }),
    }
}

/// A host with an optional port, as it is typed in `text`.
fn authority_of(authority: &str, text: &str) -> Result<String, Invalid> {
    let whole = |message: String| Invalid::whole(Field::Target, text, message);
    let (host, port) = if let Some(inside) = authority.strip_prefix('[') {
        let Some((host, rest)) = inside.split_once(']') else {
            return Err(whole("the `]` of the IPv6 address is missing".to_owned()));
        };
        if host.parse::<Ipv6Addr>().is_err() {
            return Err(whole(format!("`{host}` is not an IPv6 address")));
        }
        match rest.strip_prefix(':') {
            Some(port) => (format!("[{host}]"), Some(port)),
            None if rest.is_empty() => (format!("[{host}]"), None),
            None => return Err(whole(format!("`{rest}` is not a port"))),
        }
    } else {
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        };
        if port.is_some_and(|port| port.contains(':')) {
            return Err(whole("an IPv6 address stands in brackets".to_owned())
                .hint("for example `[::1]:3000`"));
        }
        let is_name = !host.is_empty()
            && host.len() <= MAX_NAME
            && !host.starts_with(['.', '-'])
            && !host.contains("..")
            && host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
        if !is_name {
            return Err(whole(format!(
                "`{host}` is not the name or address of a host"
            )));
        }
        (host.to_owned(), port)
    };
    match port {
        None => Ok(host),
        Some(port) => {
            match port_number(port) {
                Some(port) => Ok(format!("{host}:{port}")),
                None => Err(whole(format!("`{port}` is not a port"))
                    .hint("a port is a number from 1 to 65535")),
            }
        }
    }
}

/// Reads the URL of a redirect; `length` is that of all that was typed.
fn redirect(url: &str, length: usize) -> Result<Target, Invalid> {
    let invalid = |message: String| Invalid {
        field: Field::Target,
        range: 0..length,
        message,
        hint: None,
    };
    let offset = length.saturating_sub(url.len());
    refuse_characters(Field::Target, url, "a URL", &['\\']).map_err(|mut problem| {
        problem.range = problem.range.start + offset..problem.range.end + offset;
        problem
    })?;
    let is_ascii_url = url.is_ascii();
    let (scheme, rest) = url.split_once("://").ok_or_else(|| {
        invalid("a redirect needs a whole URL".to_owned())
            .hint("for example `redirect https://example.org`")
    })?;
    let scheme = scheme.to_ascii_lowercase();
    if !matches!(&*scheme, "http" | "https") || !is_ascii_url {
        return Err(invalid(
            "a redirect leads to an ASCII URL of `http` or `https`".to_owned(),
        ));
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let authority = authority_of(authority, url).map_err(|problem| invalid(problem.message))?;
    Ok(Target::Redirect(format!("{scheme}://{authority}{path}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::check::check;
    use crate::conf::diagnostic::{any_error, render_short};
    use crate::conf::diff;
    use crate::conf::include::load_texts;
    use crate::conf::template::Part;
    use crate::conf::typed::Config;
    use crate::conf::typed::location::{
        Handler, LocationKind, Root, Server, ServerName, Statement,
    };
    use crate::conf::typed::lower::config::lower;
    use crate::conf::typed::proxy;
    use proptest::prelude::*;

    const MAIN: &str = "/nowhere/openclaw.conf";

    fn site(domain: &str, target: &str, path: &str, port: &str) -> Site {
        Site::parse(domain, target, path, port, "", DEFAULT_PORT).expect("it is right")
    }

    fn load(texts: &HashMap<PathBuf, String>) -> Loaded {
        load_texts(Path::new(MAIN), Path::new("/nowhere"), None, texts.clone())
    }

    fn one(text: &str) -> HashMap<PathBuf, String> {
        HashMap::from([(PathBuf::from(MAIN), text.to_owned())])
    }

    /// The configuration with a site added to it.
    fn with(
        texts: &HashMap<PathBuf, String>,
        site: &Site,
    ) -> Result<HashMap<PathBuf, String>, Refused> {
        let addition = add(&load(texts), site)?;
        let changed = addition.texts(Path::new(MAIN), Path::new("/nowhere"), texts);
        let mut after = texts.clone();
        after.extend(changed.expect("a sound edit"));
        Ok(after)
    }

    fn added(text: &str, site: &Site) -> String {
        with(&one(text), site).expect("added")[Path::new(MAIN)].clone()
    }

    fn refusal(text: &str, site: &Site) -> String {
        with(&one(text), site).expect_err("refused").to_string()
    }

    fn lowered(texts: &HashMap<PathBuf, String>) -> Config {
        let mut loaded = load(texts);
        check(&mut loaded);
        let config = lower(&mut loaded, Path::new("/nowhere"), &[]);
        let problems = render_short(&loaded.diagnostics, &loaded.sources);
        assert!(!any_error(&loaded.diagnostics), "{problems}");
        config.expect("no error")
    }

    #[test]
    fn a_site_of_its_own_stands_at_the_end_of_http() {
        let text = "events { }\nhttp {\n  # Own.\n  server {\n    listen 80;\n    server_name a;\n  }\n}\n";
        let new = added(text, &site("B.example www.b.example", ":3000", "", ""));
        assert_eq!(
            new,
            "events { }
http {
  # WebSockets: a request that asks for an upgrade takes it along to the backend.
  map $http_upgrade $connection_upgrade {
    default upgrade;
    \"\" \"\";
  }

  # Own.
  server {
    listen 80;
    server_name a;
  }

  server {
    listen 80;
    server_name b.example www.b.example;

    location / {
      proxy_pass http://127.0.0.1:3000;
      proxy_set_header Host $host;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
    }
  }
}
"
        );
    }

    #[test]
    fn a_site_has_a_file_where_a_directory_is_included() {
        let text = "events { }\nhttp {\n    include sites/*.conf;\n}\n";
        let texts = one(text);
        let first = with(&texts, &site("*.b.example", "/srv/b/", "", "")).expect("added");
        let path = Path::new("/nowhere/sites/_.b.example.conf");
        assert_eq!(first[Path::new(MAIN)], text);
        assert_eq!(
            first[path],
            "server {
    listen 80;
    server_name *.b.example;

    location / {
        root /srv/b;
        index index.html;
    }
}
"
        );
        // The new file is part of the configuration: a second location is put into it.
        let second = with(&first, &site("*.b.example", "/srv/c", "/c/", "")).expect("added");
        assert!(second[path].contains("alias /srv/c/;"));
        let other = with(&first, &site("*.b.example", "/srv/c", "", "81")).expect("added");
        assert!(other.contains_key(Path::new("/nowhere/sites/_.b.example-2.conf")));
        // The upgrade's variable is for all sites and stands in the main file.
        let proxied = with(&first, &site("c", "app:81", "", "")).expect("added");
        assert!(proxied[Path::new(MAIN)].contains("map $http_upgrade"));
        assert_eq!(lowered(&proxied).http.servers.len(), 2);
    }

    #[test]
    fn a_location_joins_the_server_with_its_name_and_port() {
        let text = "events { }
http {
    map $http_upgrade $upgraded { default upgrade; '' close; }
    server {
        listen 80;
        server_name A.example b.example;

        location /x/ {
            root /x;
        }

        # The rest.
        location / {
            root /y;
        }
    }
}
";
        let new = added(text, &site("a.example", "http://app/v1/", "/api/", ""));
        let at = new.find("        location /api/ {\n            proxy_pass http://app/v1/;");
        assert!(at.is_some_and(|at| at < new.find("# The rest").expect("kept")));
        assert!(new.contains("Connection $upgraded;"));
        assert_eq!(new.matches("map ").count(), 1);

        let exists = refusal(text, &site("a.example", ":1", "/x/", ""));
        assert_eq!(
            exists,
            "the site has `location /x/` already (/nowhere/openclaw.conf:8)"
        );
        let divided = refusal(text, &site("a.example c.example", ":1", "/z", ""));
        assert!(
            divided.starts_with("`a.example` has a server already"),
            "{divided}"
        );
        // Another port is another server.
        let other = added(text, &site("a.example", ":1", "/x/", "8080"));
        assert!(other.contains("        listen 8080;\n        server_name a.example;"));
        assert!(other.contains("Host $host:$server_port;"));
        let redirects = text.replace("# The rest.", "return 301 https://a.example$request_uri;");
        let answered = refusal(&redirects, &site("a.example", ":1", "/z/", ""));
        assert!(
            answered.contains("`return 301 https://a.example$request_uri`"),
            "{answered}"
        );
    }

    #[test]
    fn fields_that_a_level_around_sets_are_kept() {
        let text = "events { } http { proxy_set_header Host $host; proxy_set_header X-A 'b c'; }";
        let new = added(text, &site("a", ":1", "", ""));
        assert_eq!(new.matches("proxy_set_header").count(), 2);
        let without_host = text.replace("Host $host", "X-Real-IP 1");
        let new = added(&without_host, &site("a", ":1", "", ""));
        assert!(new.contains("proxy_set_header X-A \"b c\";"));
        assert!(new.contains("proxy_set_header X-Real-IP $remote_addr;"));
    }

    #[test]
    fn the_usual_port_is_one_where_the_configuration_listens() {
        let usual = |servers: &str| {
            usual_port(&load(&one(&format!(
                "events {{ }}\nhttp {{ {servers} }}\n"
            ))))
        };
        assert_eq!(usual_port(&load(&one(""))), 80);
        assert_eq!(usual(""), 80);
        assert_eq!(usual("server { }"), 80);
        assert_eq!(usual("server { listen 8080 default_server; }"), 8080);
        assert_eq!(
            usual("server { listen 443 ssl; listen [::]:8081; listen 8080; }"),
            8081
        );
        assert_eq!(
            usual("server { listen 8080; } server { listen 127.0.0.1:80; }"),
            80
        );
        assert_eq!(
            usual("server { listen 8080; } server { listen 10.0.0.1; }"),
            80
        );
        assert_eq!(usual("server { listen 443 ssl; listen unix:/a.sock; }"), 80);
        let site = Site::parse(
            "a.example",
            ":1",
            "",
            "",
            "",
            usual("server { listen 8080; }"),
        );
        assert_eq!(site.expect("it is right").port, 8080);
    }

    #[test]
    fn a_new_server_listens_where_the_others_do() {
        let listen = |lines: &str| {
            let text = format!("events {{ }} http {{ server {{ {lines} }} }}");
            let new = added(&text, &site("n.example", "/srv/n", "", ""));
            let own = &new[new.rfind("server {").expect("there")..];
            let lines = own.lines().filter(|line| line.contains("listen"));
            lines.map(str::trim).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(listen(""), "listen 80;");
        assert_eq!(listen("listen 81;"), "listen 80;");
        assert_eq!(
            listen("listen *:80 default_server; listen [::]:80;"),
            "listen 80; listen [::]:80;"
        );
        assert_eq!(
            listen("listen 10.0.0.1; listen 127.0.0.1:80;"),
            "listen 10.0.0.1:80;"
        );
        assert_eq!(listen("listen 127.0.0.1:80;"), "listen 127.0.0.1:80;");
        assert_eq!(listen("listen unix:/a.sock;"), "listen 80;");
    }

    #[test]
    fn a_public_name_is_asked_with_tls_unless_somebody_says_otherwise() {
        let text = "events { }\nhttp { server { listen 80; listen [::]:80; server_name x; } }\n";
        let secure = |https: &str| {
            let site = Site::parse("shop.eu", "/srv/s", "", "", https, DEFAULT_PORT);
            added(text, &site.expect("it is right"))
        };
        let redirected = secure("");
        assert_eq!(secure("redirect"), redirected);
        assert!(secure("HSTS").contains("hsts on;"));
        let both = secure("both");
        assert!(both.contains("listen 443 ssl;") && !both.contains("return 301"));
        let plain = secure("off");
        assert!(!plain.contains("ssl") && !plain.contains("return 301"));
        for text in [&redirected, &secure("hsts"), &both, &plain] {
            lowered(&one(text));
        }
        // In a file of its own it is seen as it is.
        let texts = one("events { }\nhttp {\n    include sites/*.conf;\n}\n");
        let site = Site::parse("shop.eu", "/srv/s", "", "", "", DEFAULT_PORT).expect("right");
        let file = Path::new("/nowhere/sites/shop.eu.conf");
        assert_eq!(
            with(&texts, &site).expect("added")[file],
            "server {
    listen 80;
    server_name shop.eu;

    return 301 https://$host$request_uri;
}

server {
    listen 443 ssl;
    server_name shop.eu;

    location / {
        root /srv/s;
        index index.html;
    }
}
"
        );
        assert!(redirected.contains("listen [::]:443 ssl;"), "{redirected}");
        // Another path goes to the server with TLS, not to the one that leads there.
        let more = Site::parse("shop.eu", "/srv/t", "/t/", "", "", DEFAULT_PORT).expect("right");
        let more = added(&redirected, &more);
        let at = more.find("alias /srv/t/;").expect("added");
        assert!(more[..at].rfind("443 ssl") > more[..at].rfind("return 301"));
    }

    #[test]
    fn names_that_no_authority_certifies_stay_without_tls() {
        for (name, expected) in [
            ("example.org", Https::Redirect),
            ("a.b.co.uk", Https::Redirect),
            ("nas.lan", Https::Off),
            ("localhost", Https::Off),
            ("192.0.2.1", Https::Off),
            ("*.example.org", Https::Off),
            ("www.example.*", Https::Off),
            (".example.org", Https::Off),
        ] {
            let names = [Name::parse(name).expect(name)];
            assert_eq!(Https::suited(&names, DEFAULT_PORT), expected, "{name}");
            assert_eq!(Https::suited(&names, 8080), Https::Off, "{name}");
        }
    }

    #[test]
    fn a_site_without_tls_gets_it_only_where_that_is_said() {
        let text = "events { } http { server { listen 80; server_name shop.eu; root /x; } }";
        let site = |https: &str| {
            Site::parse("shop.eu", ":1", "/a/", "", https, DEFAULT_PORT).expect("right")
        };
        assert!(!added(text, &site("")).contains("ssl"));
        let both = added(text, &site("both"));
        assert_eq!(both.matches("server_name").count(), 1);
        assert!(
            both.contains("listen 80;") && both.contains("listen 443 ssl;"),
            "{both}"
        );
        lowered(&one(&both));
        let told = refusal(text, &site("redirect"));
        assert!(told.contains("has a server without TLS"), "{told}");
        let wrong = Site::parse("a.eu", ":1", "", "8080", "both", DEFAULT_PORT);
        assert_eq!(wrong.expect_err("refused")[0].field, Field::Port);
        let elsewhere = Site::parse("a.eu", ":1", "", "", "both", 8080).expect("right");
        assert_eq!(elsewhere.port, DEFAULT_PORT);
        let wrong = Site::parse("a.eu", ":1", "", "", "maybe", DEFAULT_PORT);
        assert_eq!(wrong.expect_err("refused")[0].field, Field::Https);
    }

    #[test]
    fn a_name_of_the_upgrade_that_is_taken_is_left_alone() {
        let text = "events { } http { map $scheme $connection_upgrade { default close; } }";
        let new = added(text, &site("a", ":1", "", ""));
        assert!(new.contains("map $http_upgrade $connection_upgrade_2 {"));
        assert!(new.contains("Connection $connection_upgrade_2;"));
        lowered(&one(&new));
    }

    #[test]
    fn an_empty_file_becomes_a_configuration() {
        let new = added("# Nothing yet.\n", &site("a", ":1", "", ""));
        assert!(new.starts_with("# Nothing yet.\n"));
        assert_eq!(lowered(&one(&new)).http.servers.len(), 2);
    }

    #[test]
    fn what_was_typed_is_told_with_its_place() {
        let problem = |domain: &str, target: &str, path: &str, port: &str| {
            let problems =
                Site::parse(domain, target, path, port, "", DEFAULT_PORT).expect_err("refused");
            let all = [domain, target, path, port];
            let shown = problems.iter().map(|problem| {
                let typed = all[problem.field as usize];
                format!("{}: {problem}", &typed[problem.range.clone()])
            });
            shown.collect::<Vec<_>>().join("\n")
        };
        let domain = |text: &str| problem(text, ":1", "", "");
        assert_eq!(domain("a; b"), ";: `;` cannot stand in a name");
        assert_eq!(
            domain("a.example http://b.example/x"),
            "http://b.example/x: a name is wanted, not a URL (hint: write `b.example`)"
        );
        assert_eq!(
            domain("a b\u{fc}.example"),
            "\u{fc}: `\u{fc}` is not ASCII (hint: write the name as browsers send it, with `xn--`)"
        );
        assert_eq!(
            domain("a:80"),
            ":80: the port is not part of the name (hint: the port has a field of its own)"
        );
        for name in [
            "", " ", "a..b", "*", "a.*.b", "*a", "-a", "a-", "a\nb", "a\"", "$a", "_", "a.", "*.",
            ".", "a\u{0}", "a{b", "a'", "a a",
        ] {
            assert!(
                Site::parse(name, ":1", "", "", "", DEFAULT_PORT).is_err(),
                "{name}"
            );
        }
        for name in [
            "a",
            "*.a.b",
            ".a.b",
            "a.*",
            "xn--bcher-kva.example",
            "10.0.0.1",
            "a_b",
        ] {
            assert_eq!(Name::parse(name).expect("a name").as_str(), name);
        }
        let target = |text: &str| problem("a", text, "", "");
        assert_eq!(target("h:1;"), ";: `;` cannot stand in a target here");
        assert_eq!(
            target("http://$host"),
            "$: variables cannot be used in a target here"
        );
        assert_eq!(
            target("3000"),
            "3000: a number alone is no address (hint: write `:3000` for a port of this machine)"
        );
        assert_eq!(
            target("ftp://a"),
            "ftp://a: a target speaks HTTP (hint: write `http://host:port`)"
        );
        assert_eq!(
            target("::1"),
            "::1: an IPv6 address stands in brackets (hint: for example `[::1]:3000`)"
        );
        for text in [
            "",
            "a b",
            "a:0",
            "a:65536",
            "a:",
            ":",
            "http://",
            "http://:80",
            "/",
            "//",
            "./a",
            "~/a",
            "unix:",
            "unix:a",
            "ftp://a",
            "redirect",
            "redirect a",
            "redirect https://a b",
            "a/b",
            "http://a?b",
            "redirect https://a$b",
            "[::1",
            "[x]:1",
            "a\u{7f}",
            "redirect javascript://a",
            "a:+1",
        ] {
            assert!(Target::parse(text).is_err(), "{text}");
        }
        for (text, meant) in [
            ("app", "http://app"),
            (" app:80 ", "http://app:80"),
            ("[::1]:3000", "http://[::1]:3000"),
            ("HTTP://a/b/", "http://a/b/"),
            ("Https://a/b/", "https://a/b/"),
            ("https://unix:/run/a.sock", "https://unix:/run/a.sock"),
            ("unix:/run/a.sock", "http://unix:/run/a.sock"),
            ("http://unix:/run/a.sock", "http://unix:/run/a.sock"),
            ("/srv/\u{fc}/", "/srv/\u{fc}"),
            ("redirect  https://A.example", "redirect https://A.example"),
        ] {
            assert_eq!(Target::parse(text).expect("a target").to_string(), meant);
        }
        for path in [
            "a", "~ x", "/a b", "/a//b", "/../x", "/a/.", "/%41", "/a?", "/;", "/{",
        ] {
            assert!(UrlPath::parse(path).is_err(), "{path}");
        }
        assert_eq!(
            problem("a", "/srv/x", "/y", "0"),
            "0: a port is a number from 1 to 65535\n\
             /y: the path of a directory ends with a `/` (hint: write `/y/`)"
        );
    }

    #[test]
    fn a_group_has_the_ports() {
        let text = "events { } http { upstream App { server 10.0.0.1; } }";
        let told = refusal(text, &site("a", "app:81", "", ""));
        assert_eq!(
            told,
            "`app` is a group of peers with ports of their own; write `http://app`"
        );
        lowered(&one(&added(text, &site("a", "http://app", "", ""))));
    }

    #[test]
    fn a_peer_over_tls_is_told_its_name_and_verified_if_it_is_on_the_internet() {
        let lines = |target: &str| {
            let text = whole(&site("a.example", target, "", ""));
            lowered(&one(&text));
            ["proxy_ssl_server_name on;", "proxy_ssl_verify on;"].map(|line| text.contains(line))
        };
        assert_eq!(lines("https://api.example.org"), [true, false]);
        assert_eq!(lines("https://api.a-site.org:8443/x"), [true, true]);
        assert_eq!(lines("https://192.168.1.2:8006"), [true, false]);
        assert_eq!(lines("http://api.a-site.org"), [false, false]);
    }

    #[test]
    fn a_site_alone_is_a_whole_configuration() {
        let text = whole(&site("a.example", "127.0.0.1:3000", "", ""));
        let config = lowered(&one(&text));
        assert_eq!(config.http.servers.len(), 2);
        assert!(text.contains("        proxy_pass http://127.0.0.1:3000;\n"));
        assert!(!text.contains("    \n"));
    }

    /// Is the server what was typed?
    fn means(config: &Config, server: &Server, site: &Site) -> Result<(), TestCaseError> {
        let path = site.path.as_str().as_bytes();
        let location = server.locations.iter().find(|location| {
            matches!(&location.kind, LocationKind::Prefix { path: own, .. } if **own == *path)
        });
        let location = location.ok_or_else(|| TestCaseError::fail("no location"))?;
        let settings = &location.settings;
        match &site.target {
            Target::Proxy(url) => {
                let Handler::Proxy(proxy) = &settings.handler else {
                    return Err(TestCaseError::fail("not proxied"));
                };
                let proxy::Target::Group { upstream, uri, .. } = &proxy.target else {
                    return Err(TestCaseError::fail("no group"));
                };
                let (scheme, rest) = url.split_once("://").expect("as parsed");
                prop_assert_eq!(proxy.tls.is_some(), scheme == "https");
                let group = &config.http.upstreams[*upstream];
                // The group of `https://a` is that of `https://a:443`.
                let usual_port = if scheme == "https" { ":443" } else { "" };
                let named = |name: &str| name.trim_end_matches(usual_port).to_ascii_lowercase();
                let name = &*group.name;
                match rest.strip_prefix("unix:") {
                    Some(path) => prop_assert_eq!(name, &*format!("unix:{path}")),
                    None => {
                        let (authority, path) = rest.find('/').map_or((rest, None), |at| {
                            (&rest[..at], Some(&rest.as_bytes()[at..]))
                        });
                        prop_assert_eq!(named(name), named(authority));
                        prop_assert_eq!(uri.as_deref(), path);
                    }
                }
            }
            Target::Files(directory) => {
                let (root, wanted) = match &settings.root {
                    Root::Root(root) => (root, directory.clone()),
                    Root::Alias(root) => (root, format!("{directory}/")),
                };
                prop_assert_eq!(root.literal(), Some(wanted.as_bytes()));
            }
            Target::Redirect(url) => {
                let [Statement::Return(answer)] = settings.statements.as_slice() else {
                    return Err(TestCaseError::fail("no redirect"));
                };
                prop_assert_eq!(answer.status, 301);
                let parts = answer.text.as_ref().expect("a URL").parts();
                prop_assert_eq!(&parts[0], &Part::Text(url.as_bytes().into()));
                prop_assert!(parts.len() <= 2);
            }
        }
        Ok(())
    }

    fn word() -> impl Strategy<Value = String> {
        let nasty = prop::sample::select(vec![
            ";",
            "{",
            "}",
            "\"",
            "'",
            "$",
            "$host",
            " ",
            "\t",
            "\n",
            "\r\n",
            "\\",
            "#",
            "\u{a0}",
            "\u{feff}",
            "%00",
            "../",
            "//",
            "*",
            "\u{200b}",
            "\u{1b}",
            "=",
            "~",
            "@",
            "^~",
            "?",
            "|",
            "`",
            "(",
            "a",
            "B",
            "x.example",
            "/",
            ":",
            ".",
            "-",
            "1",
            "[::1]",
            "\u{fc}",
            "unix:",
            "http://",
            "redirect ",
            "https://",
            "; }",
            "return",
            "/srv/",
            ":80",
        ]);
        prop::collection::vec(nasty, 0..6).prop_map(|pieces| pieces.concat())
    }

    fn domain() -> impl Strategy<Value = String> {
        prop_oneof![
            3 => "[a-c]{1,2}(\\.[a-c]{1,3}){0,2}",
            1 => "[a-c.*_ ,-]{1,6}",
            2 => word(),
        ]
    }

    fn target() -> impl Strategy<Value = String> {
        prop_oneof![
            2 => "[a-c]{1,2}:[1-9][0-9]{0,3}",
            1 => "https?://[a-c0-9.]{1,3}(:80)?(/[!-~]{0,6})?",
            1 => "https://(unix:/[a-c]{1,2}|a\\.[b-c]{1,2}(:443)?)",
            1 => "/[!-~]{1,8}",
            1 => "unix:/[!-~]{1,8}",
            1 => "redirect https?://[a-c.]{1,3}(/[!-~]{0,6})?",
            2 => word(),
        ]
    }

    fn path() -> impl Strategy<Value = String> {
        prop_oneof![2 => Just(String::new()), 2 => "/[!-~]{0,6}/?", 1 => "/[a-c]{1,2}/", 1 => word()]
    }

    const BASES: [&str; 4] = [
        "# First.\nevents { }\nhttp {\n\tinclude sites/*.conf; # theirs\n\n\tserver { listen 80; server_name a a.b; location /b { } } # x\n}\n# Last.",
        "events{}http{server{listen [::]:80;server_name a.a;location ~ x{return 204;}location /c/{}}}",
        "events { }\r\nhttp {\r\n    map $http_upgrade $up { default upgrade; '' close; }\r\n    server {\r\n        server_name b;\r\n    }\r\n    upstream c {\r\n        server 10.0.0.1;\r\n    }\r\n}\r\n",
        "",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn what_is_accepted_means_what_was_typed_and_changes_nothing_else(
            domain in domain(),
            target in target(),
            path in path(),
            port in prop::sample::select(vec!["", "80", "8080"]),
            base in prop::sample::select(BASES.to_vec()),
        ) {
            let Ok(site) = Site::parse(&domain, &target, &path, port, "off", DEFAULT_PORT) else {
                return Ok(());
            };
            let texts = one(base);
            let config = lowered(&one(&whole(&site)));
            means(&config, &config.http.servers[0], &site)?;
            let Ok(after) = with(&texts, &site) else {
                return Ok(());
            };
            let config = lowered(&after);
            // Every name has one server, which is what was typed.
            let server = config.http.servers.iter().find(|server| {
                let names: Vec<String> = server.names.iter().map(|name| match name {
                    ServerName::Exact(name) => String::from_utf8_lossy(name).into_owned(),
                    ServerName::Suffix(name) => format!("*{}", String::from_utf8_lossy(name)),
                    ServerName::SelfOrSuffix(name) => String::from_utf8_lossy(name).into_owned(),
                    ServerName::Prefix(name) => format!("{}*", String::from_utf8_lossy(name)),
                    ServerName::Regex(_) => String::new(),
                }).collect();
                let position = config.http.servers.iter().position(|other| std::sync::Arc::ptr_eq(other, server));
                let port = config.http.listens.iter().any(|listen| {
                    listen.servers.iter().any(|server| Some(*server) == position)
                        && matches!(listen.address, crate::conf::typed::listen::Address::Ip(at)
                            if at.port() == site.port || (at.port() == 8000 && site.port == 80))
                });
                port && site.names.iter().all(|name| names.contains(&name.0))
            });
            let server = server.ok_or_else(|| TestCaseError::fail("no server"))?;
            means(&config, server, &site)?;
            // What was there before is there still, byte for byte: only bytes were put in between.
            let new = &after[Path::new(MAIN)];
            let mut rest = new.chars();
            prop_assert!(base.chars().all(|wanted| rest.any(|is| is == wanted)), "{}", new);
            if base.contains('\n') && !base.contains("include") {
                let (old_lines, new_lines): (Vec<_>, Vec<_>) = (
                    base.split_inclusive('\n').collect(), new.split_inclusive('\n').collect(),
                );
                for change in diff::changes(&old_lines, &new_lines) {
                    prop_assert!(change.old.is_empty(), "{:?} {}", change, new);
                }
            }
            if base.contains("\r\n") {
                prop_assert!(!new.replace("\r\n", "").contains(['\r', '\n']), "{:?}", new);
            }
        }
    }
}
