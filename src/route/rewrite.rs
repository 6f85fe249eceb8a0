//! The rewrite phase: `set`, `if`, `rewrite`, `return`, `break`, run in the order written.
//!
//! Owns what one run over a list of statements does to a request; searching the location again, at
//! most ten times, is the caller's. The rules, the escaping of captures among them, are those of
//! nginx's script engine (`ngx_http_script.c`), with two deviations: a pattern that asks for a `?`
//! sees the query (see [`Rewrite::matches_query`]), and control characters never reach a `Location`
//! field as they are (nginx lets `return 301 $uri` split the response).

use std::cell::Cell;
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::remember;
use crate::conf::regex::{Groups, Regex};
use crate::conf::template::{Part, Template};
use crate::conf::typed::location::{
    Condition, DisableSymlinks, FileTest, Return, Rewrite, RewriteFlag, Statement,
};
use crate::conf::typed::log::Level;
use crate::conf::variable::{Core, Variable};
use crate::http::exchange::Exchange;
use crate::http::uri::{self, Escape, Unescape};
use crate::http::variables;
use crate::unit;

/// How a run ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome<'a> {
    /// The request goes on where it stands; the settings in force may be those of an `if`.
    Continue,
    /// The path is another one: its location is searched. After the statements of a server that
    /// happens anyway.
    SearchAgain,
    /// The client is sent to another address, ready to be the value of `Location`; it may be empty.
    Redirect {
        /// One of 301, 302, 303, 307, 308.
        status: u16,
        /// Where to; a path stands for this server.
        location: Vec<u8>,
    },
    /// `return`: this status, perhaps with a body.
    Return {
        /// The status; 444 closes the connection without an answer.
        status: u16,
        /// The body.
        text: Option<&'a Template>,
    },
    /// A rewrite left no path; the request cannot be served. It is told already.
    EmptyPath,
}

/// Where messages go, with their severity.
pub type Tell<'a> = &'a mut dyn FnMut(Level, fmt::Arguments<'_>);

/// Runs the statements of a server or of a location on a request.
pub fn run<'a>(
    statements: &'a [Statement],
    exchange: &mut Exchange,
    tell: Tell<'_>,
) -> Outcome<'a> {
    if statements.is_empty() {
        return Outcome::Continue;
    }
    let mut run = Run {
        is_quoting: true,
        is_rewritten: false,
        is_logged: exchange.settings.rewrite_log,
        scratch: SCRATCH.take(),
        tell,
    };
    let outcome = run.statements(statements, exchange);
    if run.scratch.capacity() <= KEPT_CAPACITY {
        run.scratch.clear();
        SCRATCH.set(std::mem::take(&mut run.scratch));
    }
    match outcome {
        Some(outcome) => outcome,
        None if run.is_rewritten => Outcome::SearchAgain,
        None => Outcome::Continue,
    }
}

thread_local! {
    /// Room for a value that is being put together.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A larger buffer is not kept for the next run.
const KEPT_CAPACITY: usize = 64 * 1024;

struct Run<'t> {
    /// Captures are escaped: from the start of a run until a rewrite matched (nginx's `e->quote`).
    is_quoting: bool,
    /// The path changed, and no `break` came after it (nginx's `uri_changed`).
    is_rewritten: bool,
    /// `rewrite_log`, as set where the run started.
    is_logged: bool,
    scratch: Vec<u8>,
    tell: Tell<'t>,
}

impl Run<'_> {
    /// `None`: the statements behind these are next.
    fn statements<'a>(
        &mut self,
        statements: &'a [Statement],
        exchange: &mut Exchange,
    ) -> Option<Outcome<'a>> {
        for statement in statements {
            let outcome = match statement {
                Statement::Set { variable, value } => {
                    self.set(variable, value, exchange);
                    None
                }
                Statement::Rewrite(rewrite) => self.rewrite(rewrite, exchange),
                Statement::Return(answer) => Some(returned(answer, exchange)),
                Statement::Break => {
                    exchange.rewrite_broken |= self.is_rewritten;
                    Some(Outcome::Continue)
                }
                Statement::If {
                    condition,
                    statements,
                    settings,
                } => {
                    if !self.holds(condition, exchange) {
                        continue;
                    }
                    if let Some(settings) = settings {
                        exchange.enter(settings);
                    }
                    self.statements(statements, exchange)
                }
            };
            if outcome.is_some() {
                return outcome;
            }
        }
        None
    }

    fn set(&mut self, variable: &Variable, value: &Template, exchange: &mut Exchange) {
        let mut scratch = std::mem::take(&mut self.scratch);
        let value = self.value(value, exchange, &mut scratch);
        match variable {
            Variable::Slot(slot) => exchange.set_slot(*slot, Some(value)),
            Variable::Core(Core::Args) => {
                exchange.args.clear();
                exchange.args.extend_from_slice(value);
                exchange.path_is_original = false;
            }
            Variable::Core(Core::LimitRate) => {
                let rate = std::str::from_utf8(value).ok().and_then(unit::size::size);
                match rate {
                    Some(rate) => exchange.limit_rate = Some(rate),
                    None => (self.tell)(
                        Level::Error,
                        format_args!("invalid $limit_rate \"{}\"", value.escape_ascii()),
                    ),
                }
            }
            // Lowering lets nothing else be set.
            _ => {}
        }
        self.scratch = scratch;
    }

    /// The value of a template, captures escaped as long as nothing was rewritten.
    fn value<'v>(
        &self,
        template: &'v Template,
        exchange: &Exchange,
        scratch: &'v mut Vec<u8>,
    ) -> &'v [u8] {
        if let Some(text) = template.literal() {
            return text;
        }
        scratch.clear();
        let is_escaping = self.is_quoting && has_escapes(exchange);
        for part in template.parts() {
            expand(part, exchange, is_escaping, scratch);
        }
        scratch
    }

    fn holds(&mut self, condition: &Condition, exchange: &Exchange) -> bool {
        let mut scratch = std::mem::take(&mut self.scratch);
        let holds = match condition {
            Condition::True(variable) => {
                scratch.clear();
                variables::write(variable, exchange, &mut scratch);
                !matches!(&scratch[..], b"" | b"0")
            }
            Condition::Equal {
                variable,
                value,
                negate,
            } => {
                // Both values stand in one buffer, one behind the other.
                scratch.clear();
                variables::write(variable, exchange, &mut scratch);
                let middle = scratch.len();
                let is_escaping = self.is_quoting && has_escapes(exchange);
                for part in value.parts() {
                    expand(part, exchange, is_escaping, &mut scratch);
                }
                (scratch[..middle] == scratch[middle..]) != *negate
            }
            Condition::Match {
                variable,
                regex,
                negate,
            } => {
                scratch.clear();
                variables::write(variable, exchange, &mut scratch);
                self.matches(regex, &scratch, exchange).is_some() != *negate
            }
            Condition::File { test, path, negate } => {
                let path = self.value(path, exchange, &mut scratch);
                self.file_is(*test, path, exchange) != *negate
            }
        };
        self.scratch = scratch;
        holds
    }

    /// Matches and remembers the groups; a pattern that does not match forgets `$1` to `$9`. Returns
    /// where the match ends.
    fn matches(&mut self, regex: &Regex, subject: &[u8], exchange: &Exchange) -> Option<usize> {
        let mut groups = Groups::new();
        let is_match = regex.find(subject, &mut groups);
        if self.is_logged {
            let verb = if is_match {
                "matches"
            } else {
                "does not match"
            };
            (self.tell)(
                Level::Notice,
                format_args!(
                    "\"{}\" {verb} \"{}\"",
                    regex.source(),
                    String::from_utf8_lossy(subject)
                ),
            );
        }
        if !is_match {
            exchange.groups.borrow_mut().0.clear();
            return None;
        }
        remember(exchange, regex, &groups, subject);
        let whole = groups.first().copied().flatten();
        Some(whole.map_or(0, |(_, end)| end as usize))
    }

    fn rewrite(&mut self, rewrite: &Rewrite, exchange: &mut Exchange) -> Option<Outcome<'static>> {
        let mut scratch = std::mem::take(&mut self.scratch);
        // Where the query starts in the subject, if the match reaches into it.
        let mut query = None;
        let end = if rewrite.matches_query && !exchange.args.is_empty() {
            scratch.clear();
            scratch.extend_from_slice(&exchange.path);
            scratch.push(b'?');
            scratch.extend_from_slice(&exchange.args);
            let end = self.matches(&rewrite.regex, &scratch, exchange);
            let length = exchange.path.len();
            query = end.filter(|&end| end > length).map(|_| length + 1);
            end
        } else {
            self.matches(&rewrite.regex, &exchange.path, exchange)
        };
        let outcome = match (end, rewrite.flag) {
            (None, _) => None,
            (Some(_), flag @ (RewriteFlag::Redirect | RewriteFlag::Permanent)) => {
                let status = match flag {
                    RewriteFlag::Permanent => 301,
                    _ => 302,
                };
                let location = self.address(rewrite, query, exchange, &mut scratch);
                Some(Outcome::Redirect { status, location })
            }
            (Some(_), flag) => self.replace(rewrite, flag, query, exchange, &mut scratch),
        };
        self.scratch = scratch;
        outcome
    }

    /// The address of a redirect: the replacement with what was needlessly escaped put back, then
    /// the request's own arguments.
    fn address(
        &mut self,
        rewrite: &Rewrite,
        query: Option<usize>,
        exchange: &Exchange,
        scratch: &mut Vec<u8>,
    ) -> Vec<u8> {
        scratch.clear();
        let has_escapes = has_escapes(exchange);
        for part in rewrite.replacement.parts() {
            // What comes from the query is escaped as it should be.
            let is_escaping = has_escapes && !comes_from_query(part, query, exchange);
            expand(part, exchange, is_escaping, scratch);
        }
        let mut location = Vec::with_capacity(scratch.len() + 1 + exchange.args.len());
        uri::push_unescaped(&mut location, scratch, Unescape::Redirect);
        if !rewrite.drops_arguments && query.is_none() && !exchange.args.is_empty() {
            location.push(if rewrite.has_query { b'&' } else { b'?' });
            location.extend_from_slice(&exchange.args);
        }
        if self.is_logged {
            let shown = String::from_utf8_lossy(&location);
            (self.tell)(
                Level::Notice,
                format_args!("rewritten redirect: \"{shown}\""),
            );
        }
        escape_controls(&mut location);
        location
    }

    /// Puts the replacement in the place of path and arguments.
    fn replace(
        &mut self,
        rewrite: &Rewrite,
        flag: RewriteFlag,
        query: Option<usize>,
        exchange: &mut Exchange,
        scratch: &mut Vec<u8>,
    ) -> Option<Outcome<'static>> {
        scratch.clear();
        // The first `?` in the text of the replacement, not in a value, starts the arguments.
        let mut arguments: Option<usize> = None;
        let has_escapes = has_escapes(exchange);
        for part in rewrite.replacement.parts() {
            match (part, arguments) {
                (Part::Text(text), None) => match memchr::memchr(b'?', text) {
                    Some(position) => {
                        scratch.extend_from_slice(&text[..position]);
                        arguments = Some(scratch.len());
                        scratch.extend_from_slice(&text[position + 1..]);
                    }
                    None => scratch.extend_from_slice(text),
                },
                (Part::Capture(number), None) if comes_from_query(part, query, exchange) => {
                    let mut escaped = Vec::new();
                    variables::write_capture(*number, exchange, &mut escaped);
                    uri::push_unescaped(scratch, &escaped, Unescape::Everything);
                }
                (part, _) => {
                    let is_escaping = has_escapes
                        && arguments.is_some()
                        && !comes_from_query(part, query, exchange);
                    expand(part, exchange, is_escaping, scratch);
                }
            }
        }
        let path = arguments.unwrap_or(scratch.len());
        // A query can hold what the reader of the request does not let into a path. nginx would
        // not have matched it at all.
        if query.is_some() && leaves_root(&scratch[..path]) {
            return None;
        }
        match arguments {
            Some(start) => {
                if !rewrite.drops_arguments && query.is_none() && !exchange.args.is_empty() {
                    scratch.push(b'&');
                    scratch.extend_from_slice(&exchange.args);
                }
                exchange.args.clear();
                exchange.args.extend_from_slice(&scratch[start..]);
                scratch.truncate(start);
            }
            None if rewrite.drops_arguments || query.is_some() => exchange.args.clear(),
            None => {}
        }
        std::mem::swap(&mut exchange.path, scratch);
        exchange.is_internal = true;
        exchange.path_is_original = false;
        self.is_quoting = false;
        if self.is_logged {
            (self.tell)(
                Level::Notice,
                format_args!(
                    "rewritten data: \"{}\", args: \"{}\"",
                    String::from_utf8_lossy(&exchange.path),
                    String::from_utf8_lossy(&exchange.args),
                ),
            );
        }
        if exchange.path.is_empty() {
            (self.tell)(
                Level::Error,
                format_args!("the rewritten URI has a zero length"),
            );
            return Some(Outcome::EmptyPath);
        }
        match flag {
            RewriteFlag::Break => {
                self.is_rewritten = false;
                exchange.rewrite_broken = true;
                Some(Outcome::Continue)
            }
            RewriteFlag::Last => Some(Outcome::SearchAgain),
            _ => {
                self.is_rewritten = true;
                None
            }
        }
    }

    /// What is asked of a file (nginx `ngx_http_script_file_code`). Asking blocks, as serving the
    /// file will.
    fn file_is(&mut self, test: FileTest, path: &[u8], exchange: &Exchange) -> bool {
        let path = Path::new(OsStr::from_bytes(path));
        let metadata = match allowed_by_links(path, exchange) {
            Ok(()) => path.metadata(),
            Err(error) => Err(error),
        };
        match metadata {
            Ok(metadata) => match test {
                FileTest::File => metadata.is_file(),
                FileTest::Directory => metadata.is_dir(),
                // A pipe, a socket or a device does not count as existing, as in nginx.
                FileTest::Exists => metadata.is_file() || metadata.is_dir(),
                FileTest::Executable => metadata.mode() & 0o100 != 0,
            },
            Err(error) => {
                let is_usual = matches!(
                    error.kind(),
                    io::ErrorKind::NotFound
                        | io::ErrorKind::NotADirectory
                        | io::ErrorKind::InvalidFilename
                        | io::ErrorKind::InvalidInput
                );
                if !is_usual {
                    let code = error.raw_os_error().unwrap_or_default();
                    let text = error.to_string();
                    let text = text.split(" (os error").next().unwrap_or_default();
                    (self.tell)(
                        Level::Crit,
                        format_args!("stat() \"{}\" failed ({code}: {text})", path.display()),
                    );
                }
                false
            }
        }
    }
}

/// What `return` does: a redirect status makes its text the address.
fn returned<'a>(answer: &'a Return, exchange: &Exchange) -> Outcome<'a> {
    if !matches!(answer.status, 301 | 302 | 303 | 307 | 308) {
        return Outcome::Return {
            status: answer.status,
            text: answer.text.as_ref(),
        };
    }
    let mut location = Vec::new();
    if let Some(text) = &answer.text {
        variables::expand(text, exchange, &mut location);
    }
    escape_controls(&mut location);
    Outcome::Redirect {
        status: answer.status,
        location,
    }
}

/// Did the client escape anything in the path, or write a `+`? Only then are captures escaped
/// where they need it (nginx's `quoted_uri` and `plus_in_uri`).
fn has_escapes(exchange: &Exchange) -> bool {
    let target = exchange.head.bytes(exchange.head.path_and_query);
    let path = memchr::memchr(b'?', target).map_or(target, |end| &target[..end]);
    memchr::memchr2(b'%', b'+', path).is_some()
}

fn expand(part: &Part, exchange: &Exchange, is_escaping: bool, out: &mut Vec<u8>) {
    match part {
        Part::Text(text) => out.extend_from_slice(text),
        Part::Variable(variable) => {
            variables::write(variable, exchange, out);
        }
        Part::Capture(number) if is_escaping => {
            let (groups, subject) = &*exchange.groups.borrow();
            if let Some(&Some((start, end))) = groups.get(usize::from(*number)) {
                let group = &subject[start as usize..end as usize];
                uri::push_escaped(out, group, Escape::Argument);
            }
        }
        Part::Capture(number) => {
            variables::write_capture(*number, exchange, out);
        }
    }
}

/// Does a capture stand in the query, which starts at `query` of the subject?
fn comes_from_query(part: &Part, query: Option<usize>, exchange: &Exchange) -> bool {
    let (Part::Capture(number), Some(query)) = (part, query) else {
        return false;
    };
    let groups = &exchange.groups.borrow().0;
    let group = groups.get(usize::from(*number)).copied().flatten();
    group.is_some_and(|(start, _)| start as usize >= query)
}

/// Escapes control characters, so that a value stays within its field.
fn escape_controls(text: &mut Vec<u8>) {
    if !text.iter().any(u8::is_ascii_control) {
        return;
    }
    let mut escaped = Vec::with_capacity(text.len() + 8);
    for &byte in &*text {
        match byte.is_ascii_control() {
            true => uri::push_escaped(&mut escaped, &[byte], Escape::Component),
            false => escaped.push(byte),
        }
    }
    *text = escaped;
}

/// Has a path a part `..`, or a NUL?
fn leaves_root(path: &[u8]) -> bool {
    path.contains(&0) || path.split(|&byte| byte == b'/').any(|part| part == b"..")
}

/// `disable_symlinks`: an error if the path leads over a link that may not be followed.
fn allowed_by_links(path: &Path, exchange: &Exchange) -> io::Result<()> {
    let (from, if_not_owner) = match &exchange.settings.disable_symlinks {
        DisableSymlinks::Off => return Ok(()),
        DisableSymlinks::On { from } => (from, false),
        DisableSymlinks::IfNotOwner { from } => (from, true),
    };
    let mut start = Vec::new();
    if let Some(from) = from {
        variables::expand(from, exchange, &mut start);
    }
    let from = Path::new(OsStr::from_bytes(&start));
    let mut place = match path.starts_with(from) {
        true => from.to_owned(),
        false => Path::new("").to_owned(),
    };
    let rest = path.strip_prefix(&place).unwrap_or(path);
    for part in rest.components() {
        place.push(part);
        let link = place.symlink_metadata()?;
        if link.is_symlink() && !(if_not_owner && place.metadata()?.uid() == link.uid()) {
            return Err(io::Error::from_raw_os_error(libc::ELOOP));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::fixture::{exchange, http};
    use super::*;
    use crate::conf::typed::location::Settings;

    /// Runs the statements of a server on a request; what was told is appended to `log`.
    fn run_on(text: &str, target: &str, log: &mut Vec<String>) -> (String, Exchange) {
        let http = http(&format!("server {{ {text} }}"));
        let mut exchange = exchange(&http, target);
        exchange.settings = Arc::new(Settings {
            rewrite_log: true,
            ..crate::conf::typed::lower::fixture::settings()
        });
        let server = Arc::clone(&exchange.server);
        let outcome = run(&server.statements, &mut exchange, &mut |level, line| {
            log.push(format!("{} {line}", level.name()));
        });
        (format!("{outcome:?}"), exchange)
    }

    #[test]
    fn a_path_that_becomes_empty_is_told_and_ends_the_request() {
        let mut log = Vec::new();
        let (outcome, _) = run_on("rewrite ^/x(.*)$ $1;", "/x", &mut log);
        assert_eq!(outcome, "EmptyPath");
        assert_eq!(
            log.last().map(String::as_str),
            Some("error the rewritten URI has a zero length")
        );
    }

    #[test]
    fn the_log_of_rewrites_tells_each_step() {
        let mut log = Vec::new();
        let text = "rewrite ^/no /x; rewrite ^/a(.*) /b$1?c=1; rewrite ^/b http://h/ redirect;";
        run_on(text, "/a/x?d=2", &mut log);
        assert_eq!(
            log,
            [
                "notice \"^/no\" does not match \"/a/x\"",
                "notice \"^/a(.*)\" matches \"/a/x\"",
                "notice rewritten data: \"/b/x\", args: \"c=1&d=2\"",
                "notice \"^/b\" matches \"/b/x\"",
                "notice rewritten redirect: \"http://h/?c=1&d=2\"",
            ]
        );
    }

    #[test]
    fn a_rewrite_leaves_what_proxying_needs_to_know() {
        let state = |text: &str| {
            let (_, exchange) = run_on(text, "/a", &mut Vec::new());
            (
                exchange.path_is_original,
                exchange.is_internal,
                exchange.rewrite_broken,
            )
        };
        assert_eq!(state("break;"), (true, false, false));
        assert_eq!(state("rewrite ^/b /c;"), (true, false, false));
        assert_eq!(state("rewrite ^/a /c last;"), (false, true, false));
        assert_eq!(state("rewrite ^/a /c break;"), (false, true, true));
        assert_eq!(state("rewrite ^/a /c; break;"), (false, true, true));
        assert_eq!(state("set $args x=1;"), (false, false, false));
    }

    #[test]
    fn the_rate_can_be_set_and_nonsense_is_told() {
        let mut log = Vec::new();
        let (_, exchange) = run_on("set $limit_rate 4k;", "/", &mut log);
        assert_eq!((exchange.limit_rate, log.len()), (Some(4096), 0));
        let (_, exchange) = run_on("set $limit_rate $arg_x;", "/?x=fast", &mut log);
        assert_eq!(exchange.limit_rate, None);
        assert_eq!(log, ["error invalid $limit_rate \"fast\""]);
    }

    #[test]
    fn no_control_character_reaches_a_redirect() {
        for text in [
            "return 301 http://h$uri;",
            "rewrite ^ http://h$uri permanent;",
        ] {
            let (outcome, _) = run_on(text, "/a%0d%0aSet-Cookie:x%7f", &mut Vec::new());
            let wanted = b"http://h/a%0D%0ASet-Cookie:x%7F".to_vec();
            let wanted = Outcome::Redirect {
                status: 301,
                location: wanted,
            };
            assert_eq!(outcome, format!("{wanted:?}"), "{text}");
        }
    }

    #[test]
    fn a_link_that_may_not_be_followed_makes_a_file_test_fail() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        std::fs::create_dir(path("real")).expect("created");
        std::fs::write(path("real/file"), "").expect("written");
        std::os::unix::fs::symlink(path("real"), path("link")).expect("linked");
        let root = directory.path().display();
        let text = format!(
            "if (-f {root}/real/file) {{ set $f real; }} if (-f {root}/link/file) {{ set $f $f-link; }} \
             return 200 $f;"
        );
        let http = http(&format!("server {{ {text} set $f ''; }}"));
        let value = |disable_symlinks: DisableSymlinks| {
            let mut exchange = exchange(&http, "/");
            exchange.settings = Arc::new(Settings {
                disable_symlinks,
                ..crate::conf::typed::lower::fixture::settings()
            });
            let server = Arc::clone(&exchange.server);
            let mut log = Vec::new();
            let outcome = run(&server.statements, &mut exchange, &mut |level, line| {
                log.push(format!("{} {line}", level.name()));
            });
            let Outcome::Return {
                text: Some(text), ..
            } = outcome
            else {
                panic!("{outcome:?}");
            };
            let mut value = Vec::new();
            variables::expand(text, &exchange, &mut value);
            (String::from_utf8(value).expect("text"), log.join("\n"))
        };
        let from = |path: &str| Some(Template::from_text(path.as_bytes()));
        assert_eq!(
            value(DisableSymlinks::Off),
            ("real-link".into(), String::new())
        );
        let told = format!(
            "crit stat() \"{root}/link/file\" failed (40: Too many levels of symbolic links)"
        );
        assert_eq!(
            value(DisableSymlinks::On { from: None }),
            ("real".into(), told)
        );
        assert_eq!(
            value(DisableSymlinks::IfNotOwner { from: None }),
            ("real-link".into(), String::new())
        );
        let behind = format!("{root}/link");
        assert_eq!(
            value(DisableSymlinks::On {
                from: from(&behind)
            }),
            ("real-link".into(), String::new())
        );
    }
}
