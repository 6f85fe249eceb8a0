//! The language of `*.requests` files: what is sent in a differential case.
//!
//! One line is one connection with one request, unless it stands in a block.
//!
//! ```text
//! # A comment.
//! GET /a/b?x=1
//! GET /a/b Host: example.com | X-A: b        fields, separated by " | "
//! GET / HTTP/1.0 -Host                       "-Host": without the usual `Host: localhost`
//! @2 GET /                                   to %LISTEN2%
//! from(127.1.2.3) GET /                      from another address of the loopback
//! POST /form <<< a=1                         a body with its Content-Length
//! POST /form <<<chunked a=1                  a chunked body
//! raw GET / HTTP/1.1\r\nHost: a\r\n\r\n      exactly these bytes; one answer is awaited
//! raw*3 …                                    three answers are awaited
//! conn {                                     the requests of a block share a connection,
//! pipe {                                     …and here they are all sent before the first answer
//! }
//! let hosts = a.com b.com "c d"              names a list of values
//! GET /{a,b}{,/} Host: {$hosts}              braces multiply: 2 × 2 × the list
//! deviates(bare-lf) 400 raw GET / …          a difference we want; ours answers 400
//! mask \d+ms => TIME                         replaces in what both log before it is compared
//! option explicit-connection                 what the case says of itself, see `Case`
//! ```
//!
//! Escapes: `\r \n \t \0 \s` (a space), `\xHH`, `\\`, `\{ \} \, \|`, `\(1000)a` (a thousand times `a`);
//! in `raw` also `\w` (wait for one answer, interim or final, before sending on) and `\p` (what follows
//! goes in a packet of its own).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// One connection: what is sent and which answers are awaited.
#[derive(Debug, Clone)]
pub struct Script {
    /// The line it came from, with its values filled in.
    pub source: String,
    /// Which `%LISTENn%` it goes to.
    pub listen: usize,
    /// The address it comes from.
    pub source_address: Ipv4Addr,
    pub actions: Vec<Action>,
    pub deviation: Option<Expected>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Send(Vec<u8>),
    /// Await one answer of any kind.
    AwaitAny,
    /// Await the final answer to a request of this method.
    AwaitFinal(String),
    /// Let what was sent go out as a packet of its own.
    Flush,
}

/// A difference that is wanted: which one, and what we answer.
#[derive(Debug, Clone)]
pub struct Expected {
    pub deviation: String,
    pub status: u16,
}

/// A file of requests.
#[derive(Debug, Default)]
pub struct Requests {
    pub scripts: Vec<Script>,
    pub masks: Vec<(String, String)>,
    pub options: Vec<String>,
}

/// Reads a file of requests. A mistake in it is a mistake in the case: it panics with the line.
pub fn parse(text: &str) -> Requests {
    let mut requests = Requests::default();
    let mut lists: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut block: Option<(bool, Vec<String>)> = None;
    for line in text.lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line == "conn {" || line == "pipe {" {
            block = Some((line == "pipe {", Vec::new()));
        } else if line == "}" {
            let (pipelined, lines) = block.take().expect("a `}` closes a block");
            requests.scripts.push(shared_connection(&lines, pipelined));
        } else if let Some((_, lines)) = &mut block {
            lines.extend(multiply(line, &lists));
        } else if let Some(rest) = line.strip_prefix("let ") {
            let (name, values) = rest.split_once('=').expect("`let name = values`");
            lists.insert(name.trim().to_owned(), words(values));
        } else if let Some(rest) = line.strip_prefix("mask ") {
            let (pattern, replacement) = rest.split_once(" => ").expect("`mask regex => text`");
            requests
                .masks
                .push((pattern.to_owned(), replacement.to_owned()));
        } else if let Some(rest) = line.strip_prefix("option ") {
            requests.options.push(rest.to_owned());
        } else {
            let scripts = multiply(line, &lists);
            requests
                .scripts
                .extend(scripts.iter().map(|line| script(line)));
        }
    }
    assert!(block.is_none(), "a block of requests is not closed");
    requests
}

fn shared_connection(lines: &[String], pipelined: bool) -> Script {
    let parts: Vec<Script> = lines.iter().map(|line| script(line)).collect();
    let listen = parts.first().expect("a block holds requests").listen;
    let mut actions: Vec<Action> = parts.into_iter().flat_map(|part| part.actions).collect();
    if pipelined {
        // Stable: the order among what is sent, and among what is awaited, stays.
        actions.sort_by_key(|action| !matches!(action, Action::Send(_)));
        let sent = actions.iter().filter_map(|action| match action {
            Action::Send(bytes) => Some(bytes.as_slice()),
            _ => None,
        });
        let all = Action::Send(sent.collect::<Vec<_>>().concat());
        actions.retain(|action| !matches!(action, Action::Send(_)));
        actions.insert(0, all);
    }
    Script {
        source: lines.join("\n"),
        listen,
        source_address: Ipv4Addr::LOCALHOST,
        actions,
        deviation: None,
    }
}

fn script(line: &str) -> Script {
    let mut rest = line;
    let mut deviation = None;
    if let Some(after) = rest.strip_prefix("deviates(") {
        let (id, after) = after.split_once(") ").expect("`deviates(id) status …`");
        let (status, after) = after.split_once(' ').expect("`deviates(id) status …`");
        deviation = Some(Expected {
            deviation: id.to_owned(),
            status: status.parse().expect("a status of three digits"),
        });
        rest = after;
    }
    let mut source_address = Ipv4Addr::LOCALHOST;
    if let Some(after) = rest.strip_prefix("from(") {
        let (address, after) = after.split_once(") ").expect("`from(127.1.2.3) …`");
        source_address = address.parse().expect("`from(127.1.2.3) …`");
        rest = after;
    }
    let mut listen = 1;
    if let Some(after) = rest.strip_prefix('@') {
        let (number, after) = after.split_once(' ').expect("`@2 GET /`");
        listen = number.parse().expect("the number of a %LISTENn%");
        rest = after;
    }
    let actions = if let Some(raw) = rest.strip_prefix("raw") {
        let (count, text) = raw.split_once(' ').expect("`raw text` or `raw*2 text`");
        let count = count
            .strip_prefix('*')
            .map_or(1, |count| count.parse().expect("`raw*2 text`"));
        let method = text.split([' ', '\\']).next().unwrap_or_default();
        let mut actions = raw_actions(text);
        actions.extend((0..count).map(|_| Action::AwaitFinal(method.to_owned())));
        actions
    } else {
        request_actions(rest)
    };
    Script {
        source: line.to_owned(),
        listen,
        source_address,
        actions,
        deviation,
    }
}

fn request_actions(line: &str) -> Vec<Action> {
    let (head, body) = match line.split_once(" <<<") {
        Some((head, body)) => (head, Some(body)),
        None => (line, None),
    };
    let (method, rest) = head.split_once(' ').unwrap_or((head, "/"));
    let (target, mut fields) = rest.split_once(' ').unwrap_or((rest, ""));
    let mut version = "HTTP/1.1";
    if fields.starts_with("HTTP/") {
        (version, fields) = fields.split_once(' ').unwrap_or((fields, ""));
    }
    let fields: Vec<&str> = fields
        .split(" | ")
        .map(str::trim_start)
        .filter(|field| !field.is_empty())
        .collect();
    let has = |name: &str| {
        fields.iter().any(|field| {
            field
                .split(':')
                .next()
                .is_some_and(|own| own.eq_ignore_ascii_case(name))
        })
    };
    let mut request = unescape(&format!("{method} {target} {version}\\r\\n"));
    if !has("Host") && !fields.contains(&"-Host") {
        request.extend(b"Host: localhost\r\n");
    }
    for field in fields.iter().filter(|field| **field != "-Host") {
        request.extend(unescape(field));
        request.extend(b"\r\n");
    }
    let mut framed = Vec::new();
    if let Some(body) = body {
        if let Some(body) = body.strip_prefix("chunked ") {
            let body = unescape(body);
            request.extend(b"Transfer-Encoding: chunked\r\n");
            for part in body.chunks(body.len().div_ceil(2).max(1)) {
                framed.extend(format!("{:x}\r\n", part.len()).into_bytes());
                framed.extend(part);
                framed.extend(b"\r\n");
            }
            framed.extend(b"0\r\n\r\n");
        } else {
            framed = unescape(body.strip_prefix(' ').unwrap_or(body));
            if !has("Content-Length") {
                request.extend(format!("Content-Length: {}\r\n", framed.len()).into_bytes());
            }
        }
    }
    request.extend(b"\r\n");
    request.extend(framed);
    vec![Action::Send(request), Action::AwaitFinal(method.to_owned())]
}

fn raw_actions(text: &str) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut rest = text;
    loop {
        let next = ["\\w", "\\p"]
            .iter()
            .filter_map(|mark| rest.find(mark))
            .min();
        let Some(place) = next else {
            break;
        };
        actions.push(Action::Send(unescape(&rest[..place])));
        actions.push(if rest[place..].starts_with("\\w") {
            Action::AwaitAny
        } else {
            Action::Flush
        });
        rest = &rest[place + 2..];
    }
    actions.push(Action::Send(unescape(rest)));
    actions
}

/// Fills in every combination of a line's braces.
fn multiply(line: &str, lists: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let Some(open) = unescaped(line, '{') else {
        return vec![line.to_owned()];
    };
    let close = open + unescaped(&line[open..], '}').expect("a `{` has its `}`");
    let inner = &line[open + 1..close];
    let values = if let Some(name) = inner.strip_prefix('$') {
        lists
            .get(name)
            .unwrap_or_else(|| panic!("no `let {name} = …` before `{line}`"))
            .clone()
    } else {
        let mut values = Vec::new();
        let mut rest = inner;
        while let Some(comma) = unescaped(rest, ',') {
            values.push(rest[..comma].to_owned());
            rest = &rest[comma + 1..];
        }
        values.push(rest.to_owned());
        values
    };
    let tails = multiply(&line[close + 1..], lists);
    let mut lines = Vec::new();
    for value in values {
        for tail in &tails {
            lines.push(format!("{}{value}{tail}", &line[..open]));
        }
    }
    lines
}

/// The place of the first such character that no backslash precedes.
fn unescaped(text: &str, wanted: char) -> Option<usize> {
    let mut escaped = false;
    for (place, each) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if each == '\\' {
            escaped = true;
        } else if each == wanted {
            return Some(place);
        }
    }
    None
}

/// Words between spaces; a quoted one may hold spaces.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let word;
        if let Some(quoted) = rest.strip_prefix('"') {
            (word, rest) = quoted.split_once('"').expect("a quote is closed");
        } else {
            (word, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        }
        words.push(word.to_owned());
        rest = rest.trim_start();
    }
    words
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((plain, escape)) = rest.split_once('\\') {
        bytes.extend(plain.as_bytes());
        let kind = escape
            .chars()
            .next()
            .expect("a backslash escapes something");
        rest = &escape[kind.len_utf8()..];
        match kind {
            'r' => bytes.push(b'\r'),
            'n' => bytes.push(b'\n'),
            't' => bytes.push(b'\t'),
            '0' => bytes.push(0),
            's' => bytes.push(b' '),
            'x' => {
                let digits = rest.get(..2).expect("`\\x` and two digits");
                bytes.push(u8::from_str_radix(digits, 16).expect("`\\x` and two digits"));
                rest = &rest[2..];
            }
            '(' => {
                let (count, after) = rest.split_once(')').expect("`\\(10)a`");
                let count = count.parse().expect("`\\(10)a`");
                let repeated = after.chars().next().expect("`\\(10)a`");
                bytes.extend(repeated.to_string().repeat(count).into_bytes());
                rest = &after[repeated.len_utf8()..];
            }
            other => bytes.extend(other.to_string().into_bytes()),
        }
    }
    bytes.extend(rest.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(line: &str) -> Vec<String> {
        parse(line)
            .scripts
            .iter()
            .map(|script| match &script.actions[0] {
                Action::Send(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn a_line_is_a_request_with_the_usual_host() {
        assert_eq!(
            sent("GET /a?b Accept: x | X-Y: z"),
            ["GET /a?b HTTP/1.1\r\nHost: localhost\r\nAccept: x\r\nX-Y: z\r\n\r\n"]
        );
        assert_eq!(sent("GET / HTTP/1.0 -Host"), ["GET / HTTP/1.0\r\n\r\n"]);
    }

    #[test]
    fn bodies_are_framed() {
        assert_eq!(
            sent("POST / Host: a <<< hello"),
            ["POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"]
        );
        assert_eq!(
            sent("POST / Host: a <<<chunked abc"),
            [
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
            ]
        );
    }

    #[test]
    fn braces_multiply() {
        let lines = sent("let hosts = a b\nGET /{x,y}{,/} Host: {$hosts}");
        assert_eq!(lines.len(), 8);
        assert!(lines[0].starts_with("GET /x HTTP/1.1\r\nHost: a\r\n"));
        assert!(lines[7].starts_with("GET /y/ HTTP/1.1\r\nHost: b\r\n"));
        assert_eq!(
            sent("GET /\\{a\\,b\\} Host: h"),
            ["GET /{a,b} HTTP/1.1\r\nHost: h\r\n\r\n"]
        );
    }

    #[test]
    fn raw_bytes_are_sent_in_parts() {
        let requests = parse("raw*2 A\\r\\n\\wB\\(3)x");
        assert_eq!(
            requests.scripts[0].actions,
            [
                Action::Send(b"A\r\n".to_vec()),
                Action::AwaitAny,
                Action::Send(b"Bxxx".to_vec()),
                Action::AwaitFinal("A".to_owned()),
                Action::AwaitFinal("A".to_owned()),
            ]
        );
    }

    #[test]
    fn a_pipeline_sends_everything_first() {
        let requests = parse("pipe {\nGET /1\nHEAD /2\n}");
        let actions = &requests.scripts[0].actions;
        assert_eq!(actions.len(), 3);
        assert!(matches!(&actions[0], Action::Send(bytes) if bytes.len() > 60));
        assert_eq!(actions[2], Action::AwaitFinal("HEAD".to_owned()));
    }
}
