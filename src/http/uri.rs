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
    let needs_care = |at: &usize| match PATH[usize::from(target[*at])] {
        USUAL => false,
        SLASH | DOT => *at > 0 && target[*at - 1] == b'/',
        _ => true,
    };
    let stop = (0..target.len()).find(needs_care).unwrap_or(target.len());
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
    out.extend_from_slice(&host[..length]);
    out.make_ascii_lowercase();
    Ok(port)
}

/// As [`validate_host`], without the copy. RFC 3986 section 3.2.2, as nginx from 1.29.4: names of
/// unreserved characters, sub-delimiters and escapes; addresses in brackets; no empty label, no user.
pub fn check_host(host: &[u8]) -> Result<Host, InvalidHost> {
    let mut end = 0;
    if host.first() == Some(&b'[') {
        let inside = &host[1..];
        let is_inside =
            |&&byte: &&u8| byte == b':' || matches!(HOST[usize::from(byte)], USUAL | DOT);
        end = inside.iter().take_while(is_inside).count() + 2;
        if end == 2 || host.get(end - 1) != Some(&b']') {
            return Err(InvalidHost);
        }
    } else {
        while let Some(&byte) = host.get(end) {
            match HOST[usize::from(byte)] {
                USUAL => {}
                DOT if !host[..end].ends_with(b".") => {}
                SPECIAL if escape(&host[end + 1..]).is_some() => end += 2,
                _ if byte == b':' => break,
                _ => return Err(InvalidHost),
            }
            end += 1;
        }
    }
    let port = match &host[end..] {
        [] => None,
        [b':', digits @ ..] => port(digits)?,
        _ => return Err(InvalidHost),
    };
    if host[..end].ends_with(b".") {
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

const NONE: u8 = 4;

/// What the bytes of a host are: in a name, and but for escapes between brackets.
static HOST: [u8; 256] = {
    let mut table = [NONE; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'_' | b'~' => USUAL,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' => USUAL,
            b'.' => DOT,
            b'%' => SPECIAL,
            _ => NONE,
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Parts = (&'static [u8], &'static [u8]);

    /// Target, and path and query that nginx 1.22 makes of it with and without `merge_slashes`.
    const CASES: &[(&[u8], Option<Parts>, Option<Parts>)] = &[];

    fn normalised(target: &[u8], merge_slashes: bool) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
        let mut out = b"kept".to_vec();
        let normalised = normalise(target, merge_slashes, &mut out).ok()?;
        let path = match normalised.path {
            Path::AsReceived(length) => {
                assert_eq!(out, b"kept", "nothing is written");
                target[..length].to_vec()
            }
            Path::Appended => out.strip_prefix(b"kept").expect("only appended").to_vec(),
        };
        Some((path, normalised.query.map(|query| target[query].to_vec())))
    }

    #[test]
    fn paths_are_normalised_as_nginx_does() {
        for &(target, merged, kept) in CASES {
            for (merge_slashes, expected) in [(true, merged), (false, kept)] {
                let parts = normalised(target, merge_slashes)
                    .map(|(path, query)| (path, query.unwrap_or_default()));
                let expected = expected.map(|(path, query)| (path.to_vec(), query.to_vec()));
                let case = String::from_utf8_lossy(target);
                assert_eq!(parts, expected, "{case} {merge_slashes}");
            }
        }
    }

    #[test]
    fn usual_paths_are_not_copied() {
        for target in [
            "/",
            "/a/b.c/d-e_f",
            "/a?b%20c/../d",
            "/a.b#c%",
            "/\u{e9}+",
            "*",
            "",
        ] {
            let mut out = Vec::new();
            let normalised = normalise(target.as_bytes(), true, &mut out).expect("valid");
            assert!(matches!(normalised.path, Path::AsReceived(_)), "{target}");
            assert!(!normalised.escaped, "{target}");
        }
    }

    #[test]
    fn a_query_is_told_from_none() {
        assert_eq!(normalised(b"/a", true), Some((b"/a".to_vec(), None)));
        assert_eq!(
            normalised(b"/a?", true),
            Some((b"/a".to_vec(), Some(Vec::new())))
        );
        assert_eq!(
            normalised(b"//a?", true),
            Some((b"/a".to_vec(), Some(Vec::new())))
        );
    }

    #[test]
    fn a_query_alone_has_the_root_as_path() {
        assert_eq!(
            normalised(b"?a=/", true),
            Some((b"/".to_vec(), Some(b"a=/".to_vec())))
        );
    }

    #[test]
    fn escapes_in_the_path_are_told() {
        for (target, escaped) in [("/%41", true), ("//a", false), ("/./a?%41", false)] {
            let normalised = normalise(target.as_bytes(), true, &mut Vec::new()).expect("valid");
            assert_eq!(normalised.escaped, escaped, "{target}");
        }
    }

    fn escaped(text: &[u8], escape: Escape) -> String {
        let mut out = Vec::new();
        push_escaped(&mut out, text, escape);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn signs_are_escaped_by_where_they_will_stand() {
        let signs = b" !\"#$%&'()*+,-./09:;<=>?@AZ[\\]^_`az{|}~";
        for (escape, expected) in [
            (
                Escape::Path,
                "%20!%22%23$%25&'()*+,-./09:;%3C=%3E%3F@AZ[%5C]%5E_%60az%7B%7C%7D~",
            ),
            (
                Escape::Argument,
                "%20!%22%23$%25%26'()*%2B,-./09:%3B%3C=%3E%3F@AZ[%5C]%5E_%60az%7B%7C%7D~",
            ),
            (
                Escape::Component,
                "%20%21%22%23%24%25%26%27%28%29%2A%2B%2C-.%2F09%3A%3B%3C%3D%3E%3F%40AZ%5B%5C%5D%5E_%60az%7B%7C%7D~",
            ),
            (
                Escape::HtmlAttribute,
                "%20!%22%23$%25&%27()*+,-./09:;%3C=%3E?@AZ[%5C]%5E_%60az%7B%7C%7D~",
            ),
        ] {
            assert_eq!(escaped(signs, escape), expected, "{escape:?}");
            assert_eq!(
                escaped(b"\0\r\n\x1f\x7f\x80\xff", escape),
                "%00%0D%0A%1F%7F%80%FF"
            );
            assert_eq!(escaped(b"", escape), "");
        }
    }

    #[test]
    fn markup_is_replaced_in_html() {
        let mut out = Vec::new();
        push_html(&mut out, b"<a href=\"x\">&'");
        assert_eq!(out, b"&lt;a href=&quot;x&quot;&gt;&amp;'");
    }

    fn unescaped(text: &[u8], unescape: Unescape) -> Vec<u8> {
        let mut out = Vec::new();
        push_unescaped(&mut out, text, unescape);
        out
    }

    #[test]
    fn escapes_are_decoded_up_to_where_asked() {
        let text = b"%41%2f?%41";
        assert_eq!(unescaped(text, Unescape::Everything), b"A/?A");
        assert_eq!(unescaped(text, Unescape::Path), b"A/?%41");
        assert_eq!(unescaped(b"a%3Fb%41", Unescape::Everything), b"a?bA");
        assert_eq!(unescaped(b"a%3Fb%41", Unescape::Path), b"a?b%41");
        assert_eq!(
            unescaped(b"%0d%20%25%26%7e%7F%e9%3f%41", Unescape::Redirect),
            b"%0d%20%25&~%7F%e9?%41"
        );
    }

    #[test]
    fn broken_escapes_are_lost_as_in_nginx() {
        for (text, left) in [
            ("%", ""),
            ("a%4", "a"),
            ("%zb", "zb"),
            ("%4zb", "b"),
            ("%%41", "%41"),
        ] {
            assert_eq!(
                unescaped(text.as_bytes(), Unescape::Everything),
                left.as_bytes(),
                "{text}"
            );
        }
    }

    #[test]
    fn queries_are_split_off() {
        assert_eq!(split_query(b"/a?b?c"), (&b"/a"[..], Some(&b"b?c"[..])));
        assert_eq!(split_query(b"/a"), (&b"/a"[..], None));
    }

    #[test]
    fn an_argument_is_the_first_of_its_name_in_any_case() {
        let query = b"a=1&B=2&ba=3&b=4&c&d=&=e&a==";
        for (name, value) in [
            ("a", Some("1")),
            ("b", Some("2")),
            ("ba", Some("3")),
            ("c", None),
            ("d", Some("")),
            ("e", None),
        ] {
            assert_eq!(
                argument(query, name.as_bytes()),
                value.map(str::as_bytes),
                "{name}"
            );
        }
        assert_eq!(argument(b"", b"a"), None);
    }

    #[test]
    fn hosts_are_lowered_and_lose_port_and_last_dot() {
        for (host, expected, port) in [
            ("a", "a", None),
            ("Example.ORG", "example.org", None),
            ("example.org.", "example.org", None),
            ("example.org.:80", "example.org", Some(80)),
            ("a:", "a", None),
            ("a:0", "a", Some(0)),
            ("a:00080", "a", Some(80)),
            ("a:65535", "a", Some(65535)),
            (".a", ".a", None),
            ("10.0.0.1:8080", "10.0.0.1", Some(8080)),
            ("[::1]", "[::1]", None),
            ("[::1]:", "[::1]", None),
            ("[2001:DB8::1]:443", "[2001:db8::1]", Some(443)),
            ("a_b~c!d", "a_b~c!d", None),
            ("a%2Eb", "a%2eb", None),
            ("a,b", "a,b", None),
        ] {
            let mut out = b"old".to_vec();
            assert_eq!(validate_host(host.as_bytes(), &mut out), Ok(port), "{host}");
            assert_eq!(out, expected.as_bytes(), "{host}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for host in [
            "",
            ".",
            ":80",
            "a..b",
            "..",
            "a/b",
            "a\\b",
            "a b",
            " a",
            "a\t",
            "user@a",
            "a?b",
            "a#b",
            "a:b",
            "a:8 0",
            "a:+1",
            "a:65536",
            "a:99999999999999999999",
            "a:80:80",
            "::1",
            "[",
            "[]",
            "[::1",
            "[::1]a",
            "[::1 ]",
            "[[::1]]",
            "a[::1]",
            "[a/b]",
            "[%41]",
            "a%",
            "a%4",
            "a%zz",
            "a\u{e9}",
            "a\0",
            "a\r\nb",
            "<a>",
            "\"a\"",
        ] {
            let result = validate_host(host.as_bytes(), &mut Vec::new());
            assert_eq!(result, Err(InvalidHost), "{host}");
        }
    }

    /// Targets as the head parser lets them through, rich in what normalising looks at.
    fn any_target() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            prop::sample::select(vec![
                &b"/"[..],
                b"//",
                b".",
                b"..",
                b"/./",
                b"/../",
                b"?",
                b"#",
                b"%",
                b"%2f",
                b"%2E",
                b"%25",
                b"%3f",
                b"%23",
                b"%00",
                b"%4",
                b"+",
                b"a",
                b"b.c",
                b"\xff",
            ])
            .prop_map(<[u8]>::to_vec),
            (0x21..=0xff_u8)
                .prop_filter("DEL", |&byte| byte != 0x7f)
                .prop_map(|byte| vec![byte]),
        ];
        prop::collection::vec(part, 0..16)
            .prop_map(|parts| [b"/".to_vec(), parts.concat()].concat())
    }

    proptest! {
        #[test]
        fn a_normalised_path_stays_below_the_root(target in any_target(), merge_slashes: bool) {
            if let Some((path, query)) = normalised(&target, merge_slashes) {
                prop_assert!(path.starts_with(b"/"));
                prop_assert!(!path.contains(&0));
                let mut segments = path.split(|&byte| byte == b'/').skip(1);
                prop_assert!(segments.all(|segment| segment != b"." && segment != b".."));
                prop_assert!(!merge_slashes || !path.windows(2).any(|pair| pair == b"//"));
                prop_assert!(!query.is_some_and(|query| query.contains(&b'#')));
            }
        }

        #[test]
        fn a_normalised_path_escaped_normalises_to_itself(target in any_target(), merge_slashes: bool) {
            if let Some((path, _)) = normalised(&target, merge_slashes) {
                let again = escaped(&path, Escape::Path);
                prop_assert_eq!(normalised(again.as_bytes(), merge_slashes), Some((path, None)));
            }
        }

        #[test]
        fn a_plain_path_is_what_the_long_way_gives(target in any_target(), merge_slashes: bool) {
            let short = normalise(&target, merge_slashes, &mut Vec::new());
            if let Ok(Normalised { path: Path::AsReceived(length), query, .. }) = short {
                let mut out = Vec::new();
                let long = normalise_into(&target, 1, merge_slashes, &mut out).expect("valid as well");
                prop_assert_eq!(&out, &target[..length]);
                prop_assert_eq!(long.query, query);
                prop_assert!(!long.escaped);
            }
        }

        #[test]
        fn what_is_escaped_is_unescaped(text in prop::collection::vec(any::<u8>(), 0..60)) {
            for escape in [Escape::Path, Escape::Argument, Escape::Component, Escape::HtmlAttribute] {
                let escaped = escaped(&text, escape);
                prop_assert_eq!(unescaped(escaped.as_bytes(), Unescape::Everything), text.clone());
            }
        }

        #[test]
        fn any_bytes_are_unescaped(text in prop::collection::vec(prop_oneof![Just(b'%'), any::<u8>()], 0..40)) {
            for unescape in [Unescape::Everything, Unescape::Path, Unescape::Redirect] {
                prop_assert!(unescaped(&text, unescape).len() <= text.len());
            }
        }

        #[test]
        fn a_valid_host_is_valid_again_and_cannot_leave_its_place(host in "[\\[\\]a-zA-Z0-9.:%/@_-]{0,12}") {
            let mut out = Vec::new();
            if validate_host(host.as_bytes(), &mut out).is_ok() {
                prop_assert!(!out.iter().any(|byte| b"/@?# \\".contains(byte)));
                let mut again = Vec::new();
                prop_assert_eq!(validate_host(&out, &mut again), Ok(None));
                prop_assert_eq!(again, out);
            }
        }
    }
}
