//! The short form of a site: a name, where its requests go, a path; and what that is in a
//! configuration ([`mod@addition`]).
//!
//! Owns what may be typed there. It reads no file. Invariant: what is typed becomes whole words of the
//! configuration with that very meaning; what could mean anything else there (`;`, quotes, `$`, blanks)
//! is refused.

mod addition;

use std::fmt;
use std::net::Ipv6Addr;
use std::ops::Range;

use super::local_names::is_local;
use super::typed::hostnames::Pattern;
pub use addition::{Addition, Refused, add, usual_port, whole};

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
mod tests;
