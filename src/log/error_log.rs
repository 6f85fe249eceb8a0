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
use crate::http::exchange::{Attempt, Connection, Exchange};
use crate::http::head::Known;
use crate::http::{date, variables};
use crate::unit::clock;

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
    }
    finish(logs, level, line);
}

/// Writes a line about a connection that has no request yet.
pub fn write_connection(
    logs: &ErrorLogs,
    level: Level,
    connection: &Connection,
    message: fmt::Arguments,
) {
    if !logs.enabled(level) {
        return;
    }
    let mut line = Line::new();
    line.begin(level, Some(connection.serial));
    line.push_message(message);
    if level != Level::Debug {
        line.push_message(format_args!(
            ", client: {}, server: {}",
            connection.remote_text, connection.local
        ));
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
    Ok(ErrorLogs::new(
        [(Level::Notice, Target::File(file))].into(),
    ))
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
            let mut copy = Line::new();
            copy.push_message(format_args!("openclaw: [{}] ", level.name()));
            copy.push_clean(&line.bytes[line.message..line.length]);
            // Nobody is left to tell when standard error is gone.
            let _ = io::stderr().write_all(copy.end());
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
        let text = &line.bytes[line.message..line.length];
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
    /// Something did not fit; nothing behind it is added.
    is_full: bool,
}

impl Line {
    fn new() -> Self {
        Self {
            bytes: [0; LINE],
            length: 0,
            message: 0,
            is_full: false,
        }
    }

    /// `YYYY/MM/DD HH:MM:SS [level] PID#TID: *CONNECTION `
    fn begin(&mut self, level: Level, connection: Option<u64>) {
        let now = date::iso8601(clock::unix().as_secs());
        // 1970-09-28T12:00:00+06:00
        for &byte in now.as_bytes().iter().take(19) {
            self.push_clean(&[match byte {
                b'-' => b'/',
                b'T' => b' ',
                byte => byte,
            }]);
        }
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
        let mut escaped = Vec::with_capacity(bytes.len().min(LINE));
        for &byte in bytes.iter().take(LINE) {
            escaped.clear();
            push_escaped(&[byte], &mut escaped);
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
            self.push_quoted("upstream", &upstream_address(exchange, attempt));
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

    fn push_quoted(&mut self, name: &str, value: &[u8]) {
        self.push_message(format_args!(", {name}: \""));
        self.push_foreign(value);
        self.push_clean(b"\"");
    }

    /// The whole line with its end.
    fn end(&mut self) -> &[u8] {
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
                for byte in bytes {
                    const HEX: &[u8; 16] = b"0123456789ABCDEF";
                    let [high, low] = [byte >> 4, byte & 15].map(|half| HEX[usize::from(half)]);
                    self.push_clean(&[b'\\', b'x', high, low]);
                }
            } else {
                self.push_clean(bytes);
            }
        }
        Ok(())
    }
}

/// The peer and what it was asked for, as one URI.
fn upstream_address(exchange: &Exchange, attempt: &Attempt) -> Vec<u8> {
    let mut uri = Vec::new();
    uri.extend_from_slice(b"http://");
    uri.extend_from_slice(attempt.address.as_bytes());
    if attempt.address.starts_with("unix:") {
        uri.push(b':');
    }
    let mut prefix = None;
    if let Handler::Proxy(proxy) = &exchange.settings.handler {
        match &proxy.target {
            proxy::Target::Group { uri, .. } => prefix = uri.as_deref().map(<[u8]>::to_vec),
            proxy::Target::Dynamic(template) => {
                let mut target = Vec::new();
                variables::expand(template, exchange, &mut target);
                let rest = memchr::memmem::find(&target, b"://").map_or(0, |at| at + 3);
                if let Some(path) = memchr::memchr(b'/', &target[rest..]) {
                    uri.extend_from_slice(&target[rest + path..]);
                    return uri;
                }
            }
        }
    }
    match prefix {
        None if exchange.path_is_original => {
            uri.extend_from_slice(exchange.head.bytes(exchange.head.path_and_query));
            return uri;
        }
        None => uri.extend_from_slice(&exchange.path),
        Some(prefix) => {
            uri.extend_from_slice(&prefix);
            uri.extend_from_slice(
                exchange
                    .path
                    .get(exchange.settings.prefix_length..)
                    .unwrap_or_default(),
            );
        }
    }
    if !exchange.args.is_empty() {
        uri.push(b'?');
        uri.extend_from_slice(&exchange.args);
    }
    uri
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
        line.push_message(format_args!("repeated {unsaid} times: "));
        for &byte in &*self.text {
            line.push_clean(&[byte]);
        }
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
