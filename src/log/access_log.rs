//! A line for each request, in the form of nginx's `log_format`.
//!
//! Owns the compiled formats, the escaping of values, and the choice among file, named-by-variables
//! file and syslog. A line is formatted straight into the thread's buffer: no allocation, no lock and
//! no system call for a request. Nothing is logged that the format does not name.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::sink::{self, Buffering, ChannelUse};
use super::syslog::Sender;
use super::{DROPPED, OpenError, OpenWarning, error_log};
use crate::conf::template::{Part, Template};
use crate::conf::typed::location::Root;
use crate::conf::typed::log::{AccessLog, Escape, Level, LogFormat, Target};
use crate::conf::variable::{Core, Variable};
use crate::http::exchange::Exchange;
use crate::http::h1::write::push_decimal;
use crate::http::head::{Fields, Known};
use crate::http::{date, variables};
use crate::unit::clock;

/// Room that a thread keeps for lines that go to no buffer.
const SCRATCH: usize = 16 * 1024;

/// The longest name of a file (`PATH_MAX`).
const PATH: usize = 4096;

/// Writes the line of a request to each of these logs.
pub fn write(logs: &[OpenAccessLog], exchange: &Exchange) {
    for log in logs {
        log.write(exchange);
    }
}

/// An `access_log` ready to write to.
#[derive(Debug)]
pub struct OpenAccessLog {
    format: Format,
    condition: Option<Template>,
    destination: Destination,
}

#[derive(Debug)]
enum Destination {
    File(ChannelUse),
    /// Opened, written and closed for each line (nginx without `open_log_file_cache`).
    Named(Template),
    Syslog(Sender),
}

impl OpenAccessLog {
    pub(super) fn open(
        log: &AccessLog,
        warnings: &mut Vec<OpenWarning>,
    ) -> Result<Self, OpenError> {
        let buffering = Buffering::new(log.buffer, log.flush, log.gzip);
        let destination = match &log.target {
            Target::File(path) => {
                Destination::File(ChannelUse::open(path, buffering, warnings)?)
            }
            Target::Stderr => {
                Destination::File(ChannelUse::open(Path::new("/dev/stderr"), buffering, warnings)?)
            }
            Target::FileTemplate(name) => Destination::Named(name.clone()),
            Target::Syslog(syslog) => Destination::Syslog(Sender::open(syslog, warnings)),
        };
        Ok(Self {
            format: Format::new(&log.format),
            condition: log.condition.clone(),
            destination,
        })
    }

    fn write(&self, exchange: &Exchange) {
        match &self.destination {
            Destination::File(channel) => channel.append(|out| {
                if !self.is_wanted(exchange, out) {
                    return false;
                }
                self.format.append(exchange, out);
                out.push(b'\n');
                true
            }),
            Destination::Syslog(sender) => with_scratch(|datagram| {
                if !self.is_wanted(exchange, datagram) {
                    return;
                }
                sender.push_header(None, datagram);
                self.format.append(exchange, datagram);
                if let Err(undelivered) = sender.send(datagram) {
                    undelivered.report();
                }
            }),
            Destination::Named(name) => with_scratch(|line| {
                if !self.is_wanted(exchange, line) {
                    return;
                }
                self.format.append(exchange, line);
                line.push(b'\n');
                let length = line.len();
                variables::expand(name, exchange, line);
                let (line, name) = line.split_at(length);
                if let Err(error) = write_to_named(exchange, name, line) {
                    report_named(name, &error);
                }
            }),
        }
    }

    /// Does the condition of `if=` hold? The end of the buffer serves to find out.
    fn is_wanted(&self, exchange: &Exchange, out: &mut Vec<u8>) -> bool {
        let Some(condition) = &self.condition else {
            return true;
        };
        let start = out.len();
        variables::expand(condition, exchange, out);
        let is_wanted = !matches!(&out[start..], b"" | b"0");
        out.truncate(start);
        is_wanted
    }
}

/// Runs with an empty buffer of this thread's.
fn with_scratch(run: impl FnOnce(&mut Vec<u8>)) {
    thread_local! {
        static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    let _ = LINE.try_with(|line| {
        let line = &mut *line.borrow_mut();
        line.clear();
        run(line);
        line.clear();
        line.shrink_to(SCRATCH);
    });
}

fn write_to_named(exchange: &Exchange, name: &[u8], line: &[u8]) -> io::Result<()> {
    let path = Path::new(std::ffi::OsStr::from_bytes(name));
    // Values in a name come from clients: none may lead out of the directories that are written.
    let leads_out = path
        .components()
        .any(|component| component == Component::ParentDir);
    if name.len() >= PATH || name.contains(&0) || leads_out {
        return Err(io::Error::new(
            io::ErrorKind::InvalidFilename,
            "the values in the name make no safe file name",
        ));
    }
    // Names made of a client's words would let it make files without end. Where the root is made of
    // them too, nginx writes only if that directory exists (`ngx_http_log_script_write`); it asks of
    // any root, which would silence every proxy whose unused root is missing.
    let (Root::Root(root) | Root::Alias(root)) = &exchange.settings.root;
    if root.literal().is_none() {
        let mut directory = Vec::new();
        variables::expand(root, exchange, &mut directory);
        if !Path::new(std::ffi::OsStr::from_bytes(&directory)).is_dir() {
            return Ok(());
        }
    }
    let mut file: File = sink::append_to(path)?;
    file.write_all(line)
}

/// Says once a second at most that a file named by variables could not be written.
fn report_named(name: &[u8], error: &io::Error) {
    static REPORTED: AtomicU64 = AtomicU64::new(0);
    DROPPED.fetch_add(1, Relaxed);
    let second = clock::unix().as_secs();
    if REPORTED.swap(second, Relaxed) != second {
        error_log::report(
            Level::Crit,
            format_args!(
                "writing to \"{}\" failed {}",
                String::from_utf8_lossy(name),
                error_log::cause(error)
            ),
        );
    }
}

/// A `log_format` turned into steps.
#[derive(Debug)]
struct Format {
    escape: Escape,
    steps: Box<[Step]>,
}

/// What one step appends.
#[derive(Debug)]
enum Step {
    Text(Box<[u8]>),
    RemoteAddr,
    TimeLocal,
    Request,
    Status,
    BodyBytesSent,
    /// Request fields of a name.
    Field(Known),
    /// Answer fields of a name.
    SentField(Known),
    /// A variable whose values hold nothing to escape and are never missing.
    Plain(Variable),
    Value(Variable),
    Capture(u8),
}

impl Format {
    fn new(format: &LogFormat) -> Self {
        let steps = format.line.parts().iter().map(|part| match part {
            Part::Text(text) => Step::Text(text.clone()),
            Part::Capture(number) => Step::Capture(*number),
            Part::Variable(variable) => Step::of(variable),
        });
        Self {
            escape: format.escape,
            steps: steps.collect(),
        }
    }

    fn append(&self, exchange: &Exchange, out: &mut Vec<u8>) {
        for step in &self.steps {
            let start = out.len();
            let has_value = match step {
                Step::Text(text) => {
                    out.extend_from_slice(text);
                    continue;
                }
                Step::RemoteAddr => {
                    out.extend_from_slice(exchange.connection.remote_text.as_bytes());
                    continue;
                }
                Step::TimeLocal => {
                    out.extend_from_slice(date::log_time(clock::unix().as_secs()).as_bytes());
                    continue;
                }
                Step::Status => {
                    let status = exchange.status;
                    out.extend_from_slice(
                        &[status / 100, status / 10, status].map(|digit| b'0' + (digit % 10) as u8),
                    );
                    continue;
                }
                Step::BodyBytesSent => {
                    let body = exchange.bytes_sent.saturating_sub(exchange.head_bytes_sent);
                    push_decimal(out, body);
                    continue;
                }
                Step::Plain(variable) => {
                    variables::write(variable, exchange, out);
                    continue;
                }
                Step::Request => {
                    out.extend_from_slice(exchange.head.bytes(exchange.head.line));
                    true
                }
                Step::Field(known) => push_fields(&exchange.head.fields, *known, out),
                Step::SentField(known) => push_fields(&exchange.answer, *known, out),
                Step::Value(variable) => variables::write(variable, exchange, out),
                Step::Capture(number) => variables::write_capture(*number, exchange, out),
            };
            match self.escape {
                Escape::Default if !has_value => {
                    // A value that was given up half-way leaves nothing.
                    out.truncate(start);
                    out.push(b'-');
                }
                _ if !has_value => out.truncate(start),
                Escape::Default => escape_tail(out, start, is_escaped, push_escaped),
                Escape::Json => escape_tail(out, start, is_escaped_in_json, push_escaped_in_json),
                Escape::None => {}
            }
        }
    }
}

impl Step {
    fn of(variable: &Variable) -> Self {
        // A field by its position in the head instead of a search; only names that stand for one
        // spelling, as `x_y` is also the name of a field `X_Y` where those are let in.
        let known = |name: &[u8]| match name {
            b"user_agent" => Some(Known::UserAgent),
            b"x_forwarded_for" => Some(Known::XForwardedFor),
            // Its fields are joined by another separator.
            b"cookie" => None,
            name if name.contains(&b'_') => None,
            name => Known::of(name),
        };
        match variable {
            Variable::Core(Core::RemoteAddr) => Self::RemoteAddr,
            Variable::Core(Core::TimeLocal) => Self::TimeLocal,
            Variable::Core(Core::Request) => Self::Request,
            Variable::Core(Core::Status) => Self::Status,
            Variable::Core(Core::BodyBytesSent) => Self::BodyBytesSent,
            Variable::Core(
                Core::BytesSent
                | Core::Connection
                | Core::ConnectionRequests
                | Core::ConnectionTime
                | Core::Msec
                | Core::Pid
                | Core::Pipe
                | Core::RemotePort
                | Core::RequestId
                | Core::RequestLength
                | Core::RequestTime
                | Core::Scheme
                | Core::ServerPort
                | Core::ServerProtocol
                | Core::TimeIso8601,
            ) => Self::Plain(variable.clone()),
            Variable::Http(name) => {
                known(name).map_or_else(|| Self::Value(variable.clone()), Self::Field)
            }
            Variable::SentHttp(name) => {
                known(name).map_or_else(|| Self::Value(variable.clone()), Self::SentField)
            }
            _ => Self::Value(variable.clone()),
        }
    }
}

/// Appends the values of all fields of a name; `false` if there are none.
fn push_fields(fields: &Fields, known: Known, out: &mut Vec<u8>) -> bool {
    let mut is_first = true;
    for value in fields.all(known) {
        if !is_first {
            out.extend_from_slice(b", ");
        }
        is_first = false;
        out.extend_from_slice(value);
    }
    !is_first
}

/// Escapes what stands behind `start`. Values with nothing to escape, nearly all, cost one look.
fn escape_tail(
    out: &mut Vec<u8>,
    start: usize,
    is_escaped: impl Fn(u8) -> bool,
    push_escaped: impl Fn(&[u8], &mut Vec<u8>),
) {
    // Without an early end, so that the compiler looks at many bytes at once.
    let has_escaped = out[start..]
        .iter()
        .fold(false, |found, &byte| found | is_escaped(byte));
    if has_escaped {
        let value = out.split_off(start);
        push_escaped(&value, out);
    }
}

/// Is a byte escaped with `escape=default`? (nginx `ngx_http_log_escape`)
fn is_escaped(byte: u8) -> bool {
    byte < 0x20 || byte >= 0x7f || byte == b'"' || byte == b'\\'
}

/// Appends bytes with `\xXX` for those that are escaped.
pub(super) fn push_escaped(value: &[u8], out: &mut Vec<u8>) {
    for &byte in value {
        if is_escaped(byte) {
            let [high, low] = hex(byte);
            out.extend_from_slice(&[b'\\', b'x', high, low]);
        } else {
            out.push(byte);
        }
    }
}

/// Is a byte escaped with `escape=json`? (nginx `ngx_escape_json`)
fn is_escaped_in_json(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Appends bytes as in a JSON string (RFC 8259 section 7).
fn push_escaped_in_json(value: &[u8], out: &mut Vec<u8>) {
    for &byte in value {
        let short: Cow<[u8]> = match byte {
            b'"' => b"\\\""[..].into(),
            b'\\' => b"\\\\"[..].into(),
            b'\n' => b"\\n"[..].into(),
            b'\r' => b"\\r"[..].into(),
            b'\t' => b"\\t"[..].into(),
            0x08 => b"\\b"[..].into(),
            0x0c => b"\\f"[..].into(),
            0..0x20 => {
                let [high, low] = hex(byte);
                vec![b'\\', b'u', b'0', b'0', high, low].into()
            }
            _ => vec![byte].into(),
        };
        out.extend_from_slice(&short);
    }
}

fn hex(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    [byte >> 4, byte & 15].map(|half| DIGITS[usize::from(half)])
}
