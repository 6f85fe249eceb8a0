//! Request paths, queries and hosts: normalising, escaping, validating.
//!
//! Owns what nginx's `ngx_http_parse_complex_uri`, `ngx_escape_uri`, `ngx_unescape_uri` and
//! `ngx_http_validate_host` do. Routing and files see only the normalised path: it begins with `/`,
//! has no `.` or `..` segment and no escape left, whatever its bytes are.

use std::fmt;
use std::ops::Range;

/// What [`normalise`] found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Normalised {
    /// Where the normalised path is.
    pub path: Path,
    /// The query in the target, without its `?` and a fragment; `None` without a `?`.
    pub query: Option<Range<usize>>,
    /// The path had escapes: it is escaped again before it is sent on.
    pub escaped: bool,
}

/// Where a normalised path is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Path {
    /// It is this many bytes of the target from its start: there was nothing to do, nothing written.
    AsReceived(usize),
    /// It was appended to the output.
    Appended,
}

/// A path that leaves the root, or a broken escape, or an escaped NUL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InvalidPath;

impl fmt::Display for InvalidPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // nginx's words when it cannot parse the URI.
        out.write_str("client sent invalid request")
    }
}

impl std::error::Error for InvalidPath {}

/// Normalises the path of a target: escapes are decoded, `.` and `..` segments resolved, several
/// slashes merged if asked, the query and the fragment cut off. `+` stays. The target is one that
/// the head parser has let through: it begins with `/`, or with `?` and then stands for `/?`, or is
/// `*`.
pub fn normalise(
    target: &[u8],
    merge_slashes: bool,
    out: &mut Vec<u8>,
) -> Result<Normalised, InvalidPath> {
    // Most targets need nothing. A segment that begins with a dot may be one to resolve.
    let mut after_slash = false;
    let mut stop = target.len();
    for (position, &byte) in target.iter().enumerate() {
        let class = PATH[usize::from(byte)];
        if class != USUAL {
            match class {
                SLASH if !after_slash => {
                    after_slash = true;
                    continue;
                }
                DOT if !after_slash => continue,
                _ => {
                    stop = position;
                    break;
                }
            }
        }
        after_slash = false;
    }
    match target.get(stop) {
        None => Ok(Normalised {
            path: Path::AsReceived(stop),
            query: None,
            escaped: false,
        }),
        Some(b'?') if stop > 0 => Ok(Normalised {
            path: Path::AsReceived(stop),
            query: Some(query(target, stop)),
            escaped: false,
        }),
        Some(b'#') if stop > 0 => Ok(Normalised {
            path: Path::AsReceived(stop),
            query: None,
            escaped: false,
        }),
        Some(_) => normalise_into(target, stop, merge_slashes, out),
    }
}

/// The query behind the `?` at this position; a fragment is cut off.
fn query(target: &[u8], mark: usize) -> Range<usize> {
    let start = mark + 1;
    let end = memchr::memchr(b'#', &target[start..]).map_or(target.len(), |found| start + found);
    start..end
}

/// As [`normalise`], where nothing needs to be done in front of `plain`.
fn normalise_into(
    target: &[u8],
    plain: usize,
    merge_slashes: bool,
    out: &mut Vec<u8>,
) -> Result<Normalised, InvalidPath> {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        Usual,
        Slash,
        Dot,
        DotDot,
    }
    let base = out.len();
    out.extend_from_slice(&target[..plain]);
    if plain == 0 {
        out.push(b'/');
    }
    let mut state = match out.last() {
        Some(b'/') => State::Slash,
        _ => State::Usual,
    };
    let mut escaped = false;
    let mut query_range = None;
    let mut at = plain;
    while let Some(&raw) = target.get(at) {
        at += 1;
        let mut byte = raw;
        // Decoded, these are neither escape, fragment nor query.
        let mut literal = false;
        if raw == b'%' {
            escaped = true;
            byte = escape(target.get(at..).unwrap_or_default()).ok_or(InvalidPath)?;
            at += 2;
            if byte == 0 {
                return Err(InvalidPath);
            }
            literal = matches!(byte, b'%' | b'#' | b'?');
        }
        let ends = !literal && matches!(byte, b'?' | b'#');
        if ends || byte == b'/' {
            match state {
                State::Usual => {}
                State::Slash => {}
                State::Dot => {
                    out.pop();
                }
                State::DotDot => leave_segment(out, base)?,
            }
            if ends {
                if byte == b'?' {
                    query_range = Some(query(target, at - 1));
                }
                state = State::Usual;
                break;
            }
            if state == State::Usual || (state == State::Slash && !merge_slashes) {
                out.push(b'/');
            }
            state = State::Slash;
            continue;
        }
        state = match (state, byte) {
            (State::Slash, b'.') => State::Dot,
            (State::Dot, b'.') => State::DotDot,
            _ => State::Usual,
        };
        out.push(byte);
    }
    match state {
        State::Usual | State::Slash => {}
        State::Dot => {
            out.pop();
        }
        State::DotDot => leave_segment(out, base)?,
    }
    Ok(Normalised {
        path: Path::Appended,
        query: query_range,
        escaped,
    })
}

/// Takes `/..` and the segment in front of it off the end; what is left ends in `/`.
fn leave_segment(out: &mut Vec<u8>, base: usize) -> Result<(), InvalidPath> {
    let end = out.len() - b"/..".len();
    let slash = out[base..end].iter().rposition(|&byte| byte == b'/');
    out.truncate(base + slash.ok_or(InvalidPath)? + 1);
    Ok(())
}

/// The byte that two hexadecimal digits stand for.
fn escape(digits: &[u8]) -> Option<u8> {
    match digits {
        [high, low, ..] => Some(nibble(*high)? << 4 | nibble(*low)?),
        _ => None,
    }
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// What is escaped, by where the text will stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Escape {
    /// A path (`NGX_ESCAPE_URI`): `?`, `%` and `#` too, `&` and `+` not.
    Path,
    /// A value in a query (`NGX_ESCAPE_ARGS`): also `&`, `+` and `;`.
    Argument,
    /// Anything: all but letters, digits, `-`, `.`, `_`, `~` (`NGX_ESCAPE_URI_COMPONENT`).
    Component,
    /// A URI in an attribute of HTML (`NGX_ESCAPE_HTML`): also quotes, but not `?`.
    HtmlAttribute,
}

/// Appends a text, its bytes escaped as `%XX` where needed.
pub fn push_escaped(out: &mut Vec<u8>, text: &[u8], escape: Escape) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let bit = escape.bit();
    out.reserve(text.len());
    let mut rest = text;
    while let Some(position) = rest
        .iter()
        .position(|&byte| ESCAPED[usize::from(byte)] & bit != 0)
    {
        let byte = rest[position];
        out.extend_from_slice(&rest[..position]);
        out.extend_from_slice(&[
            b'%',
            DIGITS[usize::from(byte >> 4)],
            DIGITS[usize::from(byte & 15)],
        ]);
        rest = &rest[position + 1..];
    }
    out.extend_from_slice(rest);
}

/// Would [`push_escaped`] escape anything?
pub fn needs_escape(text: &[u8], escape: Escape) -> bool {
    let bit = escape.bit();
    text.iter()
        .any(|&byte| ESCAPED[usize::from(byte)] & bit != 0)
}

/// Appends a text with what HTML reads as markup replaced (`ngx_escape_html`).
pub fn push_html(out: &mut Vec<u8>, text: &[u8]) {
    for &byte in text {
        match byte {
            b'<' => out.extend_from_slice(b"&lt;"),
            b'>' => out.extend_from_slice(b"&gt;"),
            b'&' => out.extend_from_slice(b"&amp;"),
            b'"' => out.extend_from_slice(b"&quot;"),
            byte => out.push(byte),
        }
    }
}

/// Which escapes are decoded, and where that ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unescape {
    /// All of them.
    Everything,
    /// All up to a `?`, escaped or not; what is behind stays (`NGX_UNESCAPE_URI`).
    Path,
    /// As `Path`, but those of control bytes, spaces, `!` to `%` and bytes from 0x7f stay: the
    /// result goes into a redirect (`NGX_UNESCAPE_REDIRECT`).
    Redirect,
}

/// Appends a text with its escapes decoded. As nginx: a `%` that no digit follows is lost, and all
/// three bytes where the second digit is none.
pub fn push_unescaped(out: &mut Vec<u8>, text: &[u8], unescape: Unescape) {
    let stops = unescape != Unescape::Everything;
    let mut rest = text;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte != b'%' {
            out.push(byte);
            if byte == b'?' && stops {
                break;
            }
            continue;
        }
        let Some((&high, behind)) = rest.split_first() else {
            return;
        };
        rest = behind;
        let Some(value) = nibble(high) else {
            out.push(high);
            continue;
        };
        let Some((&low, behind)) = rest.split_first() else {
            return;
        };
        rest = behind;
        let Some(value) = nibble(low).map(|low| value << 4 | low) else {
            continue;
        };
        match unescape {
            Unescape::Everything => out.push(value),
            _ if value == b'?' => {
                out.push(value);
                break;
            }
            Unescape::Redirect if !(value > b'%' && value < 0x7f) => {
                out.extend_from_slice(&[b'%', high, low]);
            }
            Unescape::Path | Unescape::Redirect => out.push(value),
        }
    }
    out.extend_from_slice(rest);
}

/// Path and query of a URI: what is in front of the first `?`, and what is behind it if there is one.
pub fn split_query(uri: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'?', uri) {
        Some(mark) => (&uri[..mark], Some(&uri[mark + 1..])),
        None => (uri, None),
    }
}

/// Appends a query to a URI that begins at `start` of the output: behind a `?`, or a `&` if it has
/// a query already. Nothing is appended for an empty query.
pub fn push_query(out: &mut Vec<u8>, start: usize, query: &[u8]) {
    if !query.is_empty() {
        let has_query = out[start..].contains(&b'?');
        out.push(if has_query { b'&' } else { b'?' });
        out.extend_from_slice(query);
    }
}

/// The value of an argument in a query, as in `$arg_name` (`ngx_http_arg`): the first `name=` in any
/// case at the start or behind a `&`; not unescaped.
pub fn argument<'a>(query: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    query.split(|&byte| byte == b'&').find_map(|argument| {
        let (found, value) = argument.split_at_checked(name.len())?;
        let value = value.strip_prefix(b"=")?;
        found.eq_ignore_ascii_case(name).then_some(value)
    })
}

/// A host that is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InvalidHost;

impl fmt::Display for InvalidHost {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("invalid host")
    }
}

impl std::error::Error for InvalidHost {}

/// A host as it stands in Host, `:authority` or a target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Host {
    /// Bytes of the host, without the port and a dot at the end.
    pub length: usize,
    /// The port, if one is given.
    pub port: Option<u16>,
}

/// Validates a host with or without port and writes it in lower case, without port and a dot at the
/// end, to `out`, which is cleared first. Gives the port.
pub fn validate_host(host: &[u8], out: &mut Vec<u8>) -> Result<Option<u16>, InvalidHost> {
    out.clear();
    let Host { length, port } = check_host(host)?;
    out.extend(host[..length].iter().map(u8::to_ascii_lowercase));
    Ok(port)
}

/// As [`validate_host`], without the copy. RFC 3986 section 3.2.2, as nginx from 1.29.4: names of
/// unreserved characters, sub-delimiters and escapes; addresses in brackets; no empty label, no user.
pub fn check_host(host: &[u8]) -> Result<Host, InvalidHost> {
    let mut end = match host {
        [b'[', rest @ ..] => {
            let inside = rest
                .iter()
                .position(|&byte| HOST[usize::from(byte)] & IN_BRACKETS == 0)
                .filter(|&position| position > 0 && rest[position] == b']')
                .ok_or(InvalidHost)?;
            inside + 2
        }
        _ => host
            .iter()
            .position(|&byte| HOST[usize::from(byte)] & IN_NAME == 0)
            .unwrap_or(host.len()),
    };
    let port = match &host[end..] {
        [] => None,
        [b':', digits @ ..] => port(digits)?,
        _ => return Err(InvalidHost),
    };
    let mut previous = 0;
    for (position, &byte) in host[..end].iter().enumerate() {
        match byte {
            b'.' if previous == b'.' => return Err(InvalidHost),
            b'%' if escape(&host[position + 1..end]).is_none() => return Err(InvalidHost),
            _ => previous = byte,
        }
    }
    if previous == b'.' {
        end -= 1;
    }
    if end == 0 {
        return Err(InvalidHost);
    }
    Ok(Host { length: end, port })
}

/// RFC 3986 section 3.2.3: digits, or none.
fn port(digits: &[u8]) -> Result<Option<u16>, InvalidHost> {
    let mut port = None;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return Err(InvalidHost);
        }
        let number = port.unwrap_or(0_u16);
        port = Some(
            number
                .checked_mul(10)
                .and_then(|number| number.checked_add(u16::from(digit - b'0')))
                .ok_or(InvalidHost)?,
        );
    }
    Ok(port)
}

const USUAL: u8 = 0;
const SLASH: u8 = 1;
const DOT: u8 = 2;
const SPECIAL: u8 = 3;

/// What the bytes of a path ask for.
static PATH: [u8; 256] = {
    let mut table = [USUAL; 256];
    table[b'/' as usize] = SLASH;
    table[b'.' as usize] = DOT;
    table[b'%' as usize] = SPECIAL;
    table[b'?' as usize] = SPECIAL;
    table[b'#' as usize] = SPECIAL;
    table
};

const IN_NAME: u8 = 1;
const IN_BRACKETS: u8 = 2;

/// Where a byte may stand in a host.
static HOST: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'.' | b'_' | b'~' => {
                IN_NAME | IN_BRACKETS
            }
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' => {
                IN_NAME | IN_BRACKETS
            }
            b'%' => IN_NAME,
            b':' => IN_BRACKETS,
            _ => 0,
        };
        byte += 1;
    }
    table
};

impl Escape {
    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// By which kinds of [`Escape`] a byte is escaped.
static ESCAPED: [u8; 256] = {
    const PATH: u8 = Escape::Path.bit();
    const ARGUMENT: u8 = Escape::Argument.bit();
    const COMPONENT: u8 = Escape::Component.bit();
    const HTML: u8 = Escape::HtmlAttribute.bit();
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'.' | b'_' | b'~' => 0,
            b'#' | b'%' => PATH | ARGUMENT | COMPONENT | HTML,
            b'?' => PATH | ARGUMENT | COMPONENT,
            b'&' | b'+' | b';' => ARGUMENT | COMPONENT,
            b'\'' => COMPONENT | HTML,
            b'!' | b'$' | b'(' | b')' | b'*' | b',' | b'/' | b':' | b'=' | b'@' | b'[' | b']' => {
                COMPONENT
            }
            // Controls, space, `"`, `<`, `>`, `\`, `^`, `` ` ``, `{`, `|`, `}`, DEL and all above.
            _ => PATH | ARGUMENT | COMPONENT | HTML,
        };
        byte += 1;
    }
    table
};
