//! What went wrong, in the form of nginx's `error_log`.
//!
//! Owns the form of a line, the levels, the limit on repeated lines, and the log that everything
//! without a request writes to. A line is at most 2048 bytes, is written at once and alone, and
//! holds no byte that could end it or steer a terminal, whatever a client sent.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};

use parking_lot::RwLock;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::Context;

use super::access_log::push_escaped;
use super::sink::{self, LogFile, Piece};
use super::syslog::Sender;
use super::{DROPPED, OpenError};
use crate::conf::typed::location::Handler;
use crate::conf::typed::log::Level;
use crate::conf::typed::proxy;
use crate::conf::variable::{Core, Variable};
use crate::http::exchange::{Attempt, Exchange};
use crate::http::head::Known;
use crate::http::{uri, variables};
use crate::unit::{clock, secret};

/// The longest line, its end included (nginx `NGX_MAX_ERROR_STR`).
const LINE: usize = 2048;

/// So many equal lines are written in a second by one thread; further ones are counted.
const REPEATS: u32 = 5;

/// How many different lines a thread remembers to find equal ones.
const REMEMBERED: usize = 16;

/// The opened error logs of one place.
#[derive(Debug, Clone)]
pub struct ErrorLogs {
    targets: Arc<[(Level, Target)]>,
    /// The least severe level that any of them takes.
    level: Option<Level>,
}

/// Where lines go.
#[derive(Debug)]
pub(super) enum Target {
    File(Arc<LogFile>),
    Syslog(Sender),
}

impl ErrorLogs {
    pub(super) fn new(targets: Arc<[(Level, Target)]>) -> Self {
        let level = targets.iter().map(|(level, _)| *level).max();
        Self { targets, level }
    }

    /// Is a line of this level written anywhere? Ask before a message costs something.
    pub fn enabled(&self, level: Level) -> bool {
        self.level.is_some_and(|least| level <= least)
    }
}

/// Writes a line about a request, or about a connection that has none.
///
/// `connection` is `$connection`; the context's own when it is left out.
pub fn write(
    logs: &ErrorLogs,
    level: Level,
    connection: Option<u64>,
    message: fmt::Arguments,
    context: Option<&Exchange>,
) {
    if !logs.enabled(level) {
        return;
    }
    let mut line = Line::new();
    let serial = connection.or(context.map(|exchange| exchange.connection.serial));
    line.begin(level, serial);
    line.push_message(message);
    // nginx leaves the context out of debug lines, of which each request has hundreds.
    if let Some(exchange) = context
        && level != Level::Debug
    {
        line.push_exchange(exchange);
        if level <= Level::Error {
            line.push_id(exchange);
        }
    }
    finish(logs, level, line);
}

/// Writes a line to the default log.
pub fn report(level: Level, message: fmt::Arguments) {
    if !default_enabled(level) && !copies(level) {
        return;
    }
    let mut line = Line::new();
    line.begin(level, None);
    line.push_message(message);
    finish_default(level, line);
}

/// Makes these the default log of the process, for all that has no request.
pub fn set_default(logs: ErrorLogs) {
    let level = logs.level;
    *DEFAULT.write() = Some(logs);
    DEFAULT_LEVEL.store(level.map_or(0, |level| level as u8 + 1), Relaxed);
    // What was asked for earlier about a level holds no longer.
    tracing::callsite::rebuild_interest_cache();
}

/// Is a line of this level written to the default log?
pub fn default_enabled(level: Level) -> bool {
    (level as u8) < DEFAULT_LEVEL.load(Relaxed)
}

/// Opens the log of `-e FILE` before there is a configuration; the file exists from here on, even if
/// nothing is ever written. It takes `notice` and worse, as nginx's does until it has read one.
pub fn open_early(path: &Path) -> Result<ErrorLogs, OpenError> {
    let file = if path == Path::new("stderr") {
        sink::open_stderr()?
    } else {
        sink::open(path, &mut Vec::new())?
    };
    Ok(ErrorLogs::new([(Level::Notice, Target::File(file))].into()))
}

/// While on, lines of the default log of level `warn` and worse also go to standard error, where
/// the person who starts the program looks (nginx `ngx_use_stderr`). On until switched off.
pub fn copy_to_stderr(is_on: bool) {
    COPIES.store(is_on, Relaxed);
}

/// An error of the system as nginx writes it: `(2: No such file or directory)`.
pub fn cause(error: &io::Error) -> impl fmt::Display {
    fmt::from_fn(move |formatter| match error.raw_os_error() {
        Some(number) => write!(
            formatter,
            "({number}: {})",
            nix::errno::Errno::from_raw(number).desc()
        ),
        None => write!(formatter, "({error})"),
    })
}

/// Writes the events of libraries, and our own, to the default log.
pub fn layer<S: Subscriber>() -> impl tracing_subscriber::Layer<S> {
    Events
}

/// See [`super::tick`].
pub(super) fn tick() {
    let second = clock::unix().as_secs();
    let _ = REPEATED.try_with(|repeated| repeated.borrow_mut().end(second));
}

/// See [`super::is_waiting`].
pub(super) fn is_waiting() -> bool {
    REPEATED
        .try_with(|repeated| repeated.borrow().has_unsaid())
        .unwrap_or(false)
}

/// See [`super::finish_thread`].
pub(super) fn finish_thread() {
    let _ = REPEATED.try_with(|repeated| repeated.borrow_mut().end(u64::MAX));
}

static DEFAULT: RwLock<Option<ErrorLogs>> = RwLock::new(None);
/// The least severe level of the default log, plus one; 0 when it takes none.
static DEFAULT_LEVEL: AtomicU8 = AtomicU8::new(0);
static COPIES: AtomicBool = AtomicBool::new(true);

fn copies(level: Level) -> bool {
    level <= Level::Warn && COPIES.load(Relaxed)
}

fn finish_default(level: Level, line: Line) {
    if copies(level) {
        let default = DEFAULT.read();
        let has_stderr = default.as_ref().is_some_and(|logs| {
            logs.targets.iter().any(|(least, target)| {
                level <= *least
                    && matches!(target, Target::File(file) if file.path() == Path::new("/dev/stderr"))
            })
        });
        drop(default);
        if !has_stderr {
            // Nobody is left to tell when standard error is gone.
            let _ = io::stderr().write_all(line.for_stderr(level).end());
        }
    }
    let default = DEFAULT.read().clone();
    if let Some(logs) = default
        && logs.enabled(level)
    {
        finish(&logs, level, line);
    }
}

/// Writes a line unless it repeats one too often.
fn finish(logs: &ErrorLogs, level: Level, line: Line) {
    // Worse must never be missing, and better is switched on by those who want every line.
    if matches!(level, Level::Crit | Level::Error | Level::Warn) {
        let second = clock::unix().as_secs();
        let text = &line.bytes[line.message..line.own.unwrap_or(line.length)];
        let is_admitted = REPEATED
            .try_with(|repeated| repeated.borrow_mut().admit(logs, level, text, second))
            .unwrap_or(true);
        if !is_admitted {
            return;
        }
    }
    send(logs, level, line);
}

fn send(logs: &ErrorLogs, level: Level, mut line: Line) {
    let line = line.end();
    for (_, target) in logs.targets.iter().filter(|(least, _)| level <= *least) {
        match target {
            Target::File(file) => {
                if file.write(Piece::Lines(line)).is_err() {
                    DROPPED.fetch_add(1, Relaxed);
                }
            }
            Target::Syslog(sender) => {
                let mut datagram = Vec::with_capacity(LINE + 128);
                sender.push_header(Some(level), &mut datagram);
                datagram.extend_from_slice(&line[..line.len() - 1]);
                // Its loss is counted; a line about it would be lost the same way.
                let _ = sender.send(&datagram);
            }
        }
    }
}

/// A line while it is put together.
struct Line {
    bytes: [u8; LINE],
    length: usize,
    /// Where the message begins: behind time, level, process and connection.
    message: usize,
    /// Where begins what no other line can have: lines that are equal up to there say the same.
    own: Option<usize>,
    /// Something did not fit; nothing behind it is added.
    is_full: bool,
}

impl Line {
    fn new() -> Self {
        Self {
            bytes: [0; LINE],
            length: 0,
            message: 0,
            own: None,
            is_full: false,
        }
    }

    /// `YYYY/MM/DD HH:MM:SS [level] PID#TID: *CONNECTION `
    fn begin(&mut self, level: Level, connection: Option<u64>) {
        variables::with_times(|times| self.push_clean(times.error_log()));
        self.push_message(format_args!(
            " [{}] {}#{}: ",
            level.name(),
            std::process::id(),
            nix::unistd::gettid()
        ));
        if let Some(connection) = connection {
            self.push_message(format_args!("*{connection} "));
        }
        self.message = self.length;
    }

    /// Appends text of ours, which may hold text of others.
    fn push_message(&mut self, message: fmt::Arguments) {
        // Writing to a line does not fail, and a value that cannot be shown says so itself.
        let _ = self.write_fmt(message);
    }

    /// Appends bytes of a client or a peer, escaped as in an access log, so that a quote in them
    /// does not end the quotes around them.
    fn push_foreign(&mut self, bytes: &[u8]) {
        let mut escaped = Vec::new();
        for &byte in bytes.iter().take(LINE) {
            escaped.clear();
            push_escaped(byte, &mut escaped);
            self.push_clean(&escaped);
        }
    }

    /// Appends bytes that need no escape, all of them or none.
    fn push_clean(&mut self, bytes: &[u8]) {
        // One byte stays free for the line's end.
        if self.is_full || bytes.len() >= LINE - self.length {
            self.is_full = true;
            return;
        }
        self.bytes[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    /// `, client: …, server: …, request: "…", upstream: "…", host: "…", referrer: "…"` (nginx
    /// `ngx_http_log_error_handler`).
    fn push_exchange(&mut self, exchange: &Exchange) {
        let head = &exchange.head;
        self.push_message(format_args!(
            ", client: {}, server: ",
            exchange.connection.remote_text
        ));
        self.push_foreign(&exchange.server.primary_name);
        let request = head.bytes(head.line);
        if !request.is_empty() {
            self.push_quoted("request", request);
        }
        if let Some(attempt) = exchange.attempts.last() {
            self.push_quoted("upstream", &upstream_uri(exchange, attempt));
        }
        let host = head
            .fields
            .known(Known::Host)
            .unwrap_or_else(|| head.bytes(head.authority));
        if !host.is_empty() {
            self.push_quoted("host", host);
        }
        if let Some(referrer) = head.fields.known(Known::Referer) {
            self.push_quoted("referrer", referrer);
        }
    }

    /// `, id: "…"`: what the field `X-OpenClaw-Error` of an answer says, so that who was shown it
    /// finds the cause.
    fn push_id(&mut self, exchange: &Exchange) {
        self.own = Some(self.length);
        let mut id = Vec::with_capacity(32);
        variables::write(&Variable::Core(Core::RequestId), exchange, &mut id);
        self.push_quoted("id", &id);
    }

    fn push_quoted(&mut self, name: &str, value: &[u8]) {
        self.push_message(format_args!(", {name}: \""));
        self.push_foreign(value);
        self.push_clean(b"\"");
    }

    /// The message as a person reads it on standard error.
    fn for_stderr(&self, level: Level) -> Self {
        let mut copy = Self::new();
        copy.push_message(format_args!("openclaw: [{}] ", level.name()));
        copy.push_clean(&self.bytes[self.message..self.length]);
        copy
    }

    /// The whole line with its end.
    fn end(&mut self) -> &[u8] {
        secret::hide(&mut self.bytes[..self.length]);
        self.bytes[self.length] = b'\n';
        &self.bytes[..=self.length]
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            let mut buffer = [0; 4];
            let bytes = character.encode_utf8(&mut buffer).as_bytes();
            if character.is_control() {
                // Each of its bytes is one that is escaped.
                self.push_foreign(bytes);
            } else {
                self.push_clean(bytes);
            }
        }
        Ok(())
    }
}

/// The peer and what it was asked for, as one URI.
fn upstream_uri(exchange: &Exchange, attempt: &Attempt) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(exchange.proxy_scheme.prefix().as_bytes());
    out.extend_from_slice(attempt.address.as_bytes());
    if attempt.address.starts_with("unix:") {
        out.push(b':');
    }
    if let Handler::Proxy(proxy) = &exchange.settings.handler {
        match &proxy.target {
            proxy::Target::Group { uri: None, .. } => {}
            proxy::Target::Group { uri: Some(uri), .. } => {
                out.extend_from_slice(uri);
                let rest = exchange.path.get(exchange.settings.prefix_length..);
                return with_path(out, rest.unwrap_or_default(), &exchange.args);
            }
            proxy::Target::Dynamic(template) => {
                let mut target = Vec::new();
                variables::expand(template, exchange, &mut target);
                let authority = memchr::memmem::find(&target, b"://").map_or(0, |at| at + 3);
                if let Some(slash) = memchr::memchr(b'/', &target[authority..]) {
                    out.extend_from_slice(&target[authority + slash..]);
                    return out;
                }
            }
        }
    }
    if exchange.path_is_original {
        out.extend_from_slice(exchange.head.bytes(exchange.head.path_and_query));
        return out;
    }
    with_path(out, &exchange.path, &exchange.args)
}

fn with_path(mut out: Vec<u8>, path: &[u8], arguments: &[u8]) -> Vec<u8> {
    uri::push_escaped(&mut out, path, uri::Escape::Path);
    if !arguments.is_empty() {
        out.push(b'?');
        out.extend_from_slice(arguments);
    }
    out
}

thread_local! {
    static REPEATED: RefCell<Repeated> = const { RefCell::new(Repeated(Vec::new())) };
}

/// The lines that this thread wrote lately, to find those that say nothing new.
struct Repeated(Vec<Seen>);

struct Seen {
    logs: ErrorLogs,
    level: Level,
    /// The line without time, process and connection.
    text: Box<[u8]>,
    second: u64,
    count: u32,
}

impl Repeated {
    /// Is this line to be written? If not, it is counted.
    fn admit(&mut self, logs: &ErrorLogs, level: Level, text: &[u8], second: u64) -> bool {
        self.end(second);
        let known = self.0.iter_mut().find(|seen| {
            Arc::ptr_eq(&seen.logs.targets, &logs.targets)
                && seen.level == level
                && *seen.text == *text
        });
        if let Some(seen) = known {
            seen.count += 1;
            return seen.count <= REPEATS;
        }
        if self.0.len() == REMEMBERED {
            self.0.remove(0).say();
        }
        self.0.push(Seen {
            logs: logs.clone(),
            level,
            text: text.into(),
            second,
            count: 1,
        });
        true
    }

    /// Sums up the lines of other seconds and forgets them.
    fn end(&mut self, second: u64) {
        self.0.retain(|seen| {
            if seen.second != second {
                seen.say();
            }
            seen.second == second
        });
    }

    fn has_unsaid(&self) -> bool {
        self.0.iter().any(|seen| seen.count > REPEATS)
    }
}

impl Seen {
    fn say(&self) {
        let Some(unsaid @ 1..) = self.count.checked_sub(REPEATS) else {
            return;
        };
        let mut line = Line::new();
        line.begin(self.level, None);
        let text = String::from_utf8_lossy(&self.text);
        line.push_message(format_args!("repeated {unsaid} times: {text}"));
        send(&self.logs, self.level, line);
    }
}

impl Drop for Repeated {
    fn drop(&mut self) {
        self.end(u64::MAX);
    }
}

/// Events of `tracing` as lines of the default log.
struct Events;

impl Events {
    fn level(metadata: &Metadata) -> Option<Level> {
        Some(match *metadata.level() {
            tracing::Level::ERROR => Level::Error,
            tracing::Level::WARN => Level::Warn,
            tracing::Level::INFO if is_ours(metadata) => Level::Notice,
            tracing::Level::INFO => Level::Info,
            tracing::Level::DEBUG => Level::Debug,
            // Single frames and polls: more than anybody reads.
            tracing::Level::TRACE => return None,
        })
    }
}

fn is_ours(metadata: &Metadata) -> bool {
    let target = metadata.target();
    target == "openclaw" || target.starts_with("openclaw::")
}

impl<S: Subscriber> tracing_subscriber::Layer<S> for Events {
    fn enabled(&self, metadata: &Metadata, _: Context<S>) -> bool {
        Self::level(metadata).is_some_and(|level| default_enabled(level) || copies(level))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(if default_enabled(Level::Debug) {
            LevelFilter::DEBUG
        } else if default_enabled(Level::Notice) {
            LevelFilter::INFO
        } else {
            LevelFilter::WARN
        })
    }

    fn on_event(&self, event: &Event, _: Context<S>) {
        let metadata = event.metadata();
        let Some(level) = Self::level(metadata) else {
            return;
        };
        if !default_enabled(level) && !copies(level) {
            return;
        }
        let mut connection = Serial(None);
        event.record(&mut connection);
        let mut line = Line::new();
        line.begin(level, connection.0);
        if !is_ours(metadata) {
            line.push_message(format_args!("{}: ", metadata.target()));
        }
        event.record(&mut Message(&mut line));
        event.record(&mut OtherFields(&mut line));
        finish_default(level, line);
    }
}

/// Finds the field `connection`.
struct Serial(Option<u64>);

impl Visit for Serial {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "connection" {
            self.0 = Some(value);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// Writes the message itself.
struct Message<'a>(&'a mut Line);

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0.push_message(format_args!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.0.push_message(format_args!("{value}"));
        }
    }
}

/// Writes ` name=value` for all fields but the message and the connection.
struct OtherFields<'a>(&'a mut Line);

impl Visit for OtherFields<'_> {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() != "connection" {
            self.record_debug(field, &value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() != "message" {
            self.0
                .push_message(format_args!(" {}={value:?}", field.name()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::rc::Rc;
    use std::time::Instant;

    use proptest::prelude::*;
    use tracing_subscriber::prelude::*;

    use super::super::{dropped_lines, fixture, open_errors};
    use super::*;
    use crate::conf::typed::log::{ErrorLog, Target as Place};
    use crate::http::head::Slice;

    /// A log in a new directory, and how to read it.
    struct Temporary {
        _directory: tempfile::TempDir,
        path: PathBuf,
        logs: ErrorLogs,
    }

    impl Temporary {
        fn new(level: Level) -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            let path = directory.path().join("error.log");
            let logs = open(&[(&path, level)]);
            Self {
                _directory: directory,
                path,
                logs,
            }
        }

        fn text(&self) -> String {
            std::fs::read_to_string(&self.path).expect("a text")
        }

        /// What stands behind time, level and process.
        fn messages(&self) -> Vec<String> {
            let text = self.text();
            text.lines()
                .map(|line| line.split_once(": ").expect("a line").1.to_owned())
                .collect()
        }
    }

    fn open(places: &[(&PathBuf, Level)]) -> ErrorLogs {
        let logs: Vec<_> = places
            .iter()
            .map(|(path, level)| ErrorLog {
                target: Place::File(path.to_path_buf()),
                level: *level,
            })
            .collect();
        open_errors(&logs, &mut Vec::new()).expect("opens")
    }

    fn attempt(address: &str) -> Attempt {
        Attempt {
            address: Rc::from(address),
            server_name: Rc::from(address),
            peer: None,
            is_new_group: false,
            status: 502,
            started: Instant::now(),
            connect_time: None,
            header_time: None,
            queue_time: None,
            response_time: None,
            response_length: 0,
            bytes_sent: 0,
            bytes_received: 0,
        }
    }

    #[test]
    fn a_line_about_a_request_has_the_form_of_nginx() {
        let log = Temporary::new(Level::Error);
        let mut exchange = fixture::exchange(
            "GET /a%20b?c=1 HTTP/1.1",
            &[("Host", b"example.org:80"), ("Referer", b"http://e/")],
        );
        exchange.attempts.push(attempt("127.0.0.1:1"));
        let refused = io::Error::from_raw_os_error(libc::ECONNREFUSED);
        write(
            &log.logs,
            Level::Error,
            None,
            format_args!(
                "connect() failed {} while connecting to upstream",
                cause(&refused)
            ),
            Some(&exchange),
        );
        let text = log.text();
        let (time, rest) = text.split_at(19);
        assert!(
            time.bytes()
                .zip(*b"0000/00/00 00:00:00")
                .all(|(byte, form)| byte == form || (form == b'0' && byte.is_ascii_digit())),
            "{time}"
        );
        let (process, thread) = (std::process::id(), nix::unistd::gettid());
        assert_eq!(
            rest,
            format!(
                " [error] {process}#{thread}: *31 connect() failed (111: Connection refused) while \
                 connecting to upstream, client: 192.0.2.7, server: example.org, request: \
                 \"GET /a%20b?c=1 HTTP/1.1\", upstream: \"http://127.0.0.1:1/a%20b?c=1\", host: \
                 \"example.org:80\", referrer: \"http://e/\", id: \"{:032x}\"\n",
                exchange.id.get().expect("it was told")
            )
        );
    }

    #[test]
    fn lines_that_differ_in_the_id_of_their_request_alone_are_equal() {
        let log = Temporary::new(Level::Error);
        for _ in 0..=REPEATS {
            let exchange = fixture::exchange("GET / HTTP/1.1", &[]);
            write(
                &log.logs,
                Level::Error,
                None,
                format_args!("down"),
                Some(&exchange),
            );
        }
        let text = log.text();
        assert_eq!(text.lines().count(), REPEATS as usize, "{text}");
        let mut ids: Vec<_> = text
            .lines()
            .filter_map(|line| line.split_once("id: "))
            .collect();
        ids.dedup_by_key(|(_, id)| *id);
        assert_eq!(ids.len(), REPEATS as usize, "{text}");
    }

    #[test]
    fn the_address_at_a_peer_follows_proxy_pass() {
        let mut exchange = fixture::exchange("GET /pu/a%20b%0a?c=1 HTTP/1.1", &[]);
        exchange.path = b"/pu/a b\n".to_vec();
        exchange.args = b"c=1".to_vec();
        let uri = |exchange: &Exchange, address: &str| {
            String::from_utf8(upstream_uri(exchange, &attempt(address))).expect("a text")
        };
        assert_eq!(
            uri(&exchange, "unix:/run/app.sock"),
            "http://unix:/run/app.sock:/pu/a%20b%0a?c=1"
        );
        exchange.path_is_original = false;
        assert_eq!(
            uri(&exchange, "10.0.0.1:80"),
            "http://10.0.0.1:80/pu/a%20b%0A?c=1"
        );
    }

    #[test]
    fn a_debug_line_has_no_context() {
        let log = Temporary::new(Level::Debug);
        let exchange = fixture::exchange("GET / HTTP/1.1", &[]);
        write(
            &log.logs,
            Level::Debug,
            Some(4),
            format_args!("http script var"),
            Some(&exchange),
        );
        assert_eq!(log.messages(), ["*4 http script var"]);
    }

    #[test]
    fn a_level_reaches_the_targets_that_take_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let [all, some] = ["all", "some"].map(|name| directory.path().join(name));
        let logs = open(&[(&all, Level::Info), (&some, Level::Error)]);
        assert!(logs.enabled(Level::Info) && !logs.enabled(Level::Debug));
        for level in [Level::Debug, Level::Info, Level::Error, Level::Emerg] {
            write(&logs, level, None, format_args!("x"), None);
        }
        let count = |path| {
            std::fs::read_to_string(path)
                .expect("a text")
                .lines()
                .count()
        };
        assert_eq!((count(&all), count(&some)), (3, 2));
        assert!(!open(&[]).enabled(Level::Emerg));
    }

    #[test]
    fn a_request_cannot_forge_a_line_or_end_its_quotes() {
        let log = Temporary::new(Level::Warn);
        let mut exchange = fixture::exchange("GET /\u{1b}[2J\" HTTP/1.1", &[]);
        exchange
            .head
            .fields
            .push(b"Host", b"a\n2026/01/01 [emerg]\xff\\");
        write(
            &log.logs,
            Level::Warn,
            None,
            format_args!("odd name \"{}\"", "\r\n\u{9b}31m\u{e9}"),
            Some(&exchange),
        );
        assert_eq!(
            log.messages(),
            [
                "*31 odd name \"\\x0D\\x0A\\xC2\\x9B31m\u{e9}\", client: 192.0.2.7, server: \
                 example.org, request: \"GET /\\x1B[2J\\x22 HTTP/1.1\", host: \
                 \"a\\x0A2026/01/01 [emerg]\\xFF\\x5C\""
            ]
        );
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let log = Temporary::new(Level::Error);
        for shift in 0..4 {
            let message = "x".repeat(shift) + &"\u{20ac}".repeat(LINE);
            write(
                &log.logs,
                Level::Error,
                None,
                format_args!("{message}"),
                None,
            );
        }
        let text = log.text();
        for line in text.split_inclusive('\n') {
            assert!(
                line.len() <= LINE && line.len() > LINE - 4,
                "{}",
                line.len()
            );
            assert!(line.ends_with("\u{20ac}\n"));
        }
    }

    #[test]
    fn equal_lines_of_a_second_are_written_a_few_times_and_then_counted() {
        let log = Temporary::new(Level::Info);
        let mut repeated = Repeated(Vec::new());
        let mut admit = |text: &[u8], second| repeated.admit(&log.logs, Level::Error, text, second);
        let admitted = (0..1000).filter(|_| admit(b"down", 1)).count();
        assert_eq!(admitted, REPEATS as usize);
        assert!(admit(b"another", 1));
        assert!(admit(b"down", 2), "a new second begins anew");
        assert_eq!(log.messages(), ["repeated 995 times: down"]);
        drop(repeated);
        assert_eq!(
            log.messages().len(),
            1,
            "nothing was held back in the second"
        );
    }

    #[test]
    fn lines_that_are_forgotten_for_others_are_summed_up_first() {
        let log = Temporary::new(Level::Info);
        let mut repeated = Repeated(Vec::new());
        for _ in 0..=REPEATS {
            repeated.admit(&log.logs, Level::Warn, b"first", 1);
        }
        assert!(repeated.has_unsaid());
        for number in 0..REMEMBERED {
            repeated.admit(&log.logs, Level::Warn, format!("{number}").as_bytes(), 1);
        }
        assert_eq!(log.messages(), ["repeated 1 times: first"]);
        assert!(!repeated.has_unsaid());
    }

    #[test]
    fn what_was_held_back_is_told_when_the_thread_ends() {
        let log = Temporary::new(Level::Info);
        let logs = log.logs.clone();
        let messages = std::thread::spawn(move || {
            clock::refresh();
            for _ in 0..=REPEATS + 1 {
                write(&logs, Level::Error, None, format_args!("down"), None);
            }
            for _ in 0..=REPEATS + 1 {
                write(&logs, Level::Info, None, format_args!("hello"), None);
            }
            assert!(is_waiting());
        });
        messages.join().expect("no panic");
        let messages = log.messages();
        assert_eq!(messages.iter().filter(|text| *text == "down").count(), 5);
        assert_eq!(messages.iter().filter(|text| *text == "hello").count(), 7);
        assert_eq!(messages.last().expect("a line"), "repeated 2 times: down");
    }

    #[test]
    fn the_early_log_exists_before_anything_is_written() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("early.log");
        let logs = open_early(&path).expect("opens");
        assert_eq!(std::fs::read(&path).expect("a file"), b"");
        assert!(logs.enabled(Level::Notice) && !logs.enabled(Level::Info));
        let missing = open_early(&PathBuf::from("/proc/no/such")).expect_err("cannot be");
        assert_eq!(missing.to_string(), "cannot open the log `/proc/no/such`");
        assert!(std::error::Error::source(&missing).is_some());
    }

    #[test]
    fn events_of_libraries_and_ours_reach_the_default_log() {
        let _alone = fixture::alone();
        let log = Temporary::new(Level::Info);
        copy_to_stderr(false);
        set_default(log.logs.clone());
        let subscriber = tracing_subscriber::registry().with(layer());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "openclaw::process", workers = 2, "started");
            tracing::warn!(target: "h2::codec", connection = 7_u64, reason = "bad", "odd frame");
            tracing::debug!(target: "openclaw::process", "left out");
            tracing::info!(target: "hickory", "asked");
        });
        report(Level::Emerg, format_args!("last words"));
        set_default(open(&[]));
        let text = log.text();
        for (line, level) in text.lines().zip(["notice", "warn", "info", "emerg"]) {
            assert!(line.contains(&format!(" [{level}] ")), "{line}");
        }
        assert_eq!(
            log.messages(),
            [
                "started workers=2",
                "*7 h2::codec: odd frame reason=\"bad\"",
                "hickory: asked",
                "last words",
            ]
        );
    }

    #[test]
    fn the_copy_for_standard_error_is_the_message_alone() {
        let mut line = Line::new();
        line.begin(Level::Emerg, Some(3));
        line.push_message(format_args!("bind() failed"));
        assert_eq!(
            line.for_stderr(Level::Emerg).end(),
            b"openclaw: [emerg] bind() failed\n"
        );
    }

    #[test]
    fn a_full_disk_costs_the_line_and_nothing_else() {
        let _alone = fixture::alone();
        let logs = open(&[(&PathBuf::from("/dev/full"), Level::Info)]);
        let before = dropped_lines();
        write(&logs, Level::Info, None, format_args!("lost"), None);
        assert!(dropped_lines() > before);
    }

    #[test]
    fn causes_are_written_as_the_system_numbers_them() {
        let missing = io::Error::from_raw_os_error(libc::ENOENT);
        assert_eq!(
            cause(&missing).to_string(),
            "(2: No such file or directory)"
        );
        assert_eq!(cause(&io::Error::other("odd")).to_string(), "(odd)");
    }

    proptest! {
        #[test]
        fn a_line_is_one_line_of_plain_text(
            request: Vec<u8>,
            host: Vec<u8>,
            message: String,
        ) {
            let mut exchange = fixture::exchange("", &[]);
            let head = &mut exchange.head;
            head.fields.bytes.extend_from_slice(&request);
            head.line = Slice::new(0, request.len());
            head.fields.push(b"Host", &host);
            let mut line = Line::new();
            line.begin(Level::Error, Some(1));
            line.push_message(format_args!("{message}"));
            line.push_exchange(&exchange);
            let line = line.end();
            prop_assert!(line.len() <= LINE);
            let (end, rest) = line.split_last().expect("not empty");
            prop_assert_eq!(*end, b'\n');
            let rest = std::str::from_utf8(rest).expect("no character is cut");
            prop_assert!(!rest.contains(char::is_control));
        }
    }

    #[test]
    fn the_address_at_a_peer_is_the_one_that_proxy_pass_makes() {
        let mut exchange = fixture::exchange("GET /pu/a%20b?c=1 HTTP/1.1", &[]);
        exchange.path = b"/pu/a b".to_vec();
        exchange.args = b"c=1".to_vec();
        for (pass, expected) in [
            ("http://10.0.0.1", "http://10.0.0.1:80/pu/a%20b?c=1"),
            ("http://10.0.0.1/base", "http://10.0.0.1:80/base/a%20b?c=1"),
            (
                "http://10.0.0.1/other?$args",
                "http://10.0.0.1:80/other?c=1",
            ),
            (
                "http://10.0.0.1$http_none",
                "http://10.0.0.1:80/pu/a%20b?c=1",
            ),
        ] {
            exchange.settings =
                fixture::settings_of(&format!("location /pu {{ proxy_pass {pass}; }}"));
            let uri = upstream_uri(&exchange, &attempt("10.0.0.1:80"));
            assert_eq!(std::str::from_utf8(&uri), Ok(expected), "{pass}");
        }
    }
}
