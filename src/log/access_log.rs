//! A line for each request, in the form of nginx's `log_format`.
//!
//! Owns the compiled formats, the escaping of values, and the choice among file, named-by-variables
//! file and syslog. A line is formatted straight into the thread's buffer: no allocation, no lock and
//! no system call for a request. Nothing is logged that the format does not name.

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
use crate::http::variables;
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
            Target::File(path) => Destination::File(ChannelUse::open(path, buffering, warnings)?),
            Target::Stderr => Destination::File(ChannelUse::open(
                Path::new("/dev/stderr"),
                buffering,
                warnings,
            )?),
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
                    variables::with_times(|times| out.extend_from_slice(times.local()));
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
    push_escaped: impl Fn(u8, &mut Vec<u8>),
) {
    // Without an early end, so that the compiler looks at many bytes at once.
    let has_escaped = out[start..]
        .iter()
        .fold(false, |found, &byte| found | is_escaped(byte));
    if has_escaped {
        let end = out.len();
        for position in start..end {
            push_escaped(out[position], out);
        }
        out.drain(start..end);
    }
}

/// Is a byte escaped with `escape=default`? (nginx `ngx_http_log_escape`)
fn is_escaped(byte: u8) -> bool {
    !(0x20..0x7f).contains(&byte) || byte == b'"' || byte == b'\\'
}

/// Appends a byte, as `\xXX` if it is one that is escaped.
pub(super) fn push_escaped(byte: u8, out: &mut Vec<u8>) {
    if is_escaped(byte) {
        let [high, low] = hex(byte);
        out.extend_from_slice(&[b'\\', b'x', high, low]);
    } else {
        out.push(byte);
    }
}

/// Is a byte escaped with `escape=json`? (nginx `ngx_escape_json`)
fn is_escaped_in_json(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Appends a byte as in a JSON string (RFC 8259 section 7).
fn push_escaped_in_json(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        0..0x20 => {
            let [high, low] = hex(byte);
            return out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
        }
        _ => return out.push(byte),
    };
    out.extend_from_slice(&[b'\\', short]);
}

fn hex(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    [byte >> 4, byte & 15].map(|half| DIGITS[usize::from(half)])
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::{dropped_lines, fixture, flush_thread, is_waiting, open_access, tick};
    use super::*;
    use crate::conf::variable::Names;
    use crate::http::date;

    const COMBINED: &str = "$remote_addr - $remote_user [$time_local] \"$request\" $status \
                            $body_bytes_sent \"$http_referer\" \"$http_user_agent\"";

    fn template(text: &str) -> Template {
        Template::parse(text, &Names::default()).expect("a template")
    }

    fn access_log(target: Target, escape: Escape, line: &str) -> AccessLog {
        AccessLog {
            target,
            format: Arc::new(LogFormat {
                name: "test".into(),
                escape,
                line: template(line),
            }),
            buffer: None,
            flush: None,
            gzip: None,
            condition: None,
        }
    }

    fn open(log: AccessLog) -> Arc<[OpenAccessLog]> {
        open_access(&[log], &mut Vec::new()).expect("opens")
    }

    /// The line of an exchange.
    fn line(escape: Escape, format: &str, exchange: &Exchange) -> String {
        let format = Format::new(&LogFormat {
            name: "test".into(),
            escape,
            line: template(format),
        });
        let mut out = Vec::new();
        format.append(exchange, &mut out);
        // Bytes that are no UTF-8 stay apart.
        out.iter().map(|&byte| char::from(byte)).collect()
    }

    #[test]
    fn the_combined_format_is_that_of_nginx() {
        clock::refresh();
        let now = clock::unix().as_secs() as i64;
        let time = date::local(now, date::local_offset(now));
        let time = std::str::from_utf8(&time).expect("a text");
        // The right sides were written by nginx 1.22.
        type Case<'a> = (&'a str, &'a [(&'a str, &'a [u8])], String);
        let cases: [Case; 4] = [
            (
                "GET /r HTTP/1.1",
                &[],
                format!("192.0.2.7 - - [{time}] \"GET /r HTTP/1.1\" 200 612 \"-\" \"-\""),
            ),
            (
                "GET /r?b=1&x HTTP/1.1",
                &[
                    ("User-Agent", b"M \"q\" \\ \t\x01\x1f\x7f\x80\xc3\xa9"),
                    ("referer", b"http://e/"),
                ],
                format!(
                    "192.0.2.7 - - [{time}] \"GET /r?b=1&x HTTP/1.1\" 200 612 \"http://e/\" \
                     \"M \\x22q\\x22 \\x5C \\x09\\x01\\x1F\\x7F\\x80\\xC3\\xA9\""
                ),
            ),
            (
                "GET /r%22?b=%22\"\u{e9} HTTP/1.1",
                &[("User-Agent", b""), ("Referer", b"")],
                format!(
                    "192.0.2.7 - - [{time}] \"GET /r%22?b=%22\\x22\\xC3\\xA9 HTTP/1.1\" 200 612 \
                     \"\" \"\""
                ),
            ),
            (
                "GET /r? HTTP/1.0",
                &[("Authorization", b"Basic dXNlcjpwYXNz")],
                format!("192.0.2.7 - user [{time}] \"GET /r? HTTP/1.0\" 200 612 \"-\" \"-\""),
            ),
        ];
        for (request, fields, expected) in cases {
            let exchange = fixture::exchange(request, fields);
            assert_eq!(line(Escape::Default, COMBINED, &exchange), expected);
        }
    }

    #[test]
    fn a_request_that_was_not_understood_has_a_line_of_what_came() {
        let mut exchange = fixture::exchange("\u{16}\u{3}", &[]);
        exchange.status = 400;
        exchange.path.clear();
        assert_eq!(
            line(
                Escape::Default,
                "$request|$status|$uri|$request_uri|$args|$is_args|$server_protocol|$https",
                &exchange
            ),
            "\\x16\\x03|400|-|-|-||-|"
        );
    }

    #[test]
    fn each_escape_writes_values_and_missing_ones_as_nginx() {
        let exchange = fixture::exchange(
            "GET / HTTP/1.1",
            &[
                ("User-Agent", b"M \"q\" \\ \t\x01\x1f\x7f\x80\xc3\xa9"),
                ("X-Thing", b"a\x08b\x0cc\x0b\r\n"),
                ("X-Empty", b""),
            ],
        );
        let format = "$http_user_agent|$http_x_thing|$http_x_empty|$http_none|$cookie_a|$1";
        assert_eq!(
            line(Escape::Default, format, &exchange),
            "M \\x22q\\x22 \\x5C \\x09\\x01\\x1F\\x7F\\x80\\xC3\\xA9|a\\x08b\\x0Cc\\x0B\\x0D\\x0A||-|-|-"
        );
        assert_eq!(
            line(Escape::Json, format, &exchange),
            "M \\\"q\\\" \\\\ \\t\\u0001\\u001F\u{7f}\u{80}\u{c3}\u{a9}|a\\bb\\fc\\u000B\\r\\n||||"
        );
        assert_eq!(
            line(Escape::None, format, &exchange),
            "M \"q\" \\ \t\u{1}\u{1f}\u{7f}\u{80}\u{c3}\u{a9}|a\u{8}b\u{c}c\u{b}\r\n||||"
        );
    }

    #[test]
    fn fields_by_position_and_by_search_have_the_same_values() {
        let mut exchange = fixture::exchange(
            "GET / HTTP/1.1",
            &[
                ("Via", b"1.1 a"),
                ("X-Forwarded-For", b"10.0.0.1"),
                ("via", b"1.1 b"),
                ("Cookie", b"a=1"),
                ("Cookie", b"b=2"),
                ("If-None-Match", b"\"x\""),
            ],
        );
        exchange.answer.push(b"Content-Type", b"text/plain");
        exchange.answer.push(b"ETag", b"\"y\"");
        assert_eq!(
            line(
                Escape::None,
                "$http_via|$http_x_forwarded_for|$http_cookie|$http_if_none_match|\
                 $sent_http_content_type|$sent_http_etag|$sent_http_via",
                &exchange
            ),
            "1.1 a, 1.1 b|10.0.0.1|a=1; b=2|\"x\"|text/plain|\"y\"|"
        );
    }

    #[test]
    fn credentials_are_logged_only_by_their_own_name() {
        let exchange = fixture::exchange("GET / HTTP/1.1", &[("Authorization", b"Bearer secret")]);
        assert!(!line(Escape::Default, COMBINED, &exchange).contains("secret"));
        assert_eq!(
            line(Escape::Default, "$http_authorization", &exchange),
            "Bearer secret"
        );
    }

    #[test]
    fn numbers_are_written_as_nginx_writes_them() {
        clock::refresh();
        let mut exchange = fixture::exchange("GET / HTTP/1.1", &[]);
        exchange.status = 0;
        exchange.head_bytes_sent = 900;
        exchange.request_length = 57;
        exchange.request_count = 3;
        exchange.started = clock::now() - Duration::from_millis(1234);
        let now = clock::unix();
        assert_eq!(
            line(
                Escape::Json,
                "$status $body_bytes_sent $bytes_sent $request_length $connection \
                 $connection_requests $request_time $msec",
                &exchange
            ),
            format!(
                "000 0 762 57 31 3 1.234 {}.{:03}",
                now.as_secs(),
                now.subsec_millis()
            )
        );
    }

    #[test]
    fn a_line_is_written_unless_its_condition_is_empty_or_zero() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("access.log");
        let mut log = access_log(Target::File(path.clone()), Escape::Default, "$arg_log");
        log.condition = Some(template("$arg_log"));
        let logs = open(log);
        for args in ["log=", "log=0", "", "log=1", "log=00", "log=0 "] {
            let mut exchange = fixture::exchange("GET / HTTP/1.1", &[]);
            exchange.args = args.as_bytes().to_vec();
            write(&logs, &exchange);
        }
        flush_thread();
        assert_eq!(std::fs::read(&path).expect("a file"), b"1\n00\n0 \n");
    }

    #[test]
    fn a_place_writes_to_all_of_its_logs_and_off_writes_to_none() {
        let directory = tempfile::tempdir().expect("a directory");
        let [one, two] = ["one", "two"].map(|name| directory.path().join(name));
        let logs = open_access(
            &[
                access_log(Target::File(one.clone()), Escape::Default, "a"),
                access_log(Target::File(two.clone()), Escape::Default, "b $status"),
                access_log(Target::File(one.clone()), Escape::Default, "c"),
            ],
            &mut Vec::new(),
        )
        .expect("opens");
        let exchange = fixture::exchange("GET / HTTP/1.1", &[]);
        write(&logs, &exchange);
        write(&[], &exchange);
        assert!(is_waiting());
        flush_thread();
        assert_eq!(std::fs::read(&one).expect("a file"), b"a\nc\n");
        assert_eq!(std::fs::read(&two).expect("a file"), b"b 200\n");
    }

    #[test]
    fn a_name_with_variables_is_opened_for_each_line() {
        let _alone = fixture::alone();
        let directory = tempfile::tempdir().expect("a directory");
        let name = format!("{}/$arg_site.log", directory.path().display());
        let logs = open(access_log(
            Target::FileTemplate(template(&name)),
            Escape::Default,
            "$arg_site",
        ));
        let write_for = |args: &str| {
            let mut exchange = fixture::exchange("GET / HTTP/1.1", &[]);
            exchange.args = args.as_bytes().to_vec();
            write(&logs, &exchange);
        };
        write_for("site=a");
        write_for("site=b");
        write_for("site=a");
        let read = |name: &str| std::fs::read_to_string(directory.path().join(name));
        assert_eq!(read("a.log").expect("a file"), "a\na\n");
        assert_eq!(read("b.log").expect("a file"), "b\n");

        let before = dropped_lines();
        write_for("site=x/../../escaped");
        write_for("site=../escaped");
        write_for("site=nul\0byte");
        write_for("site=no/such/directory");
        write_for(&format!("site={}", "x".repeat(5000)));
        assert!(dropped_lines() >= before + 5);
        assert_eq!(directory.path().read_dir().expect("a directory").count(), 2);
    }

    #[test]
    fn a_name_with_variables_needs_the_root_that_is_made_of_them() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(directory.path().join("known")).expect("a directory");
        let name = format!("{}/$arg_site.log", directory.path().display());
        let logs = open(access_log(
            Target::FileTemplate(template(&name)),
            Escape::Default,
            "x",
        ));
        let root = directory.path().display();
        let settings = fixture::settings_of(&format!("location / {{ root {root}/$arg_site; }}"));
        for args in ["site=known", "site=unknown"] {
            let mut exchange = fixture::exchange("GET / HTTP/1.1", &[]);
            exchange.settings = Arc::clone(&settings);
            exchange.args = args.as_bytes().to_vec();
            write(&logs, &exchange);
        }
        assert!(directory.path().join("known.log").exists());
        assert!(!directory.path().join("unknown.log").exists());
    }

    #[test]
    fn lines_to_syslog_have_a_header_and_no_line_end() {
        use crate::conf::typed::log::{Syslog, SyslogForm, SyslogServer};
        let receiver = std::net::UdpSocket::bind("127.0.0.1:0").expect("binds");
        let port = receiver.local_addr().expect("bound").port();
        let logs = open(access_log(
            Target::Syslog(Syslog {
                server: SyslogServer::Host {
                    name: "127.0.0.1".into(),
                    port,
                    is_stream: false,
                },
                facility: 16,
                severity: 5,
                tag: "openclaw".into(),
                no_hostname: true,
                form: SyslogForm::Rfc3164,
            }),
            Escape::Default,
            "$request $status",
        ));
        write(&logs, &fixture::exchange("GET / HTTP/1.1", &[]));
        let mut datagram = [0; 200];
        let length = receiver.recv(&mut datagram).expect("a datagram");
        let text = std::str::from_utf8(&datagram[..length]).expect("a text");
        assert!(text.starts_with("<133>"), "{text}");
        assert_eq!(&text[20..], " openclaw: GET / HTTP/1.1 200");
    }

    #[test]
    fn a_full_disk_costs_the_lines_and_is_told_once() {
        let _alone = fixture::alone();
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("error.log");
        let errors = error_log::open_early(&path).expect("opens");
        error_log::copy_to_stderr(false);
        error_log::set_default(errors);
        clock::refresh();
        let logs = open(access_log(
            Target::File(PathBuf::from("/dev/full")),
            Escape::Default,
            "$status",
        ));
        let before = dropped_lines();
        for _ in 0..3 {
            for _ in 0..10 {
                write(&logs, &fixture::exchange("GET / HTTP/1.1", &[]));
            }
            flush_thread();
            tick();
        }
        error_log::set_default(error_log::ErrorLogs::new([].into()));
        assert!(dropped_lines() >= before + 30);
        let text = std::fs::read_to_string(&path).expect("a file");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(
            text.ends_with(
                ": write() to \"/dev/full\" failed (28: No space left on device), 10 lines lost\n"
            ),
            "{text}"
        );
    }

    /// Undoes `escape=default`.
    fn unescape(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rest = text;
        while let Some((&byte, behind)) = rest.split_first() {
            if byte == b'\\' {
                let digits = std::str::from_utf8(&behind[1..3]).expect("hexadecimal");
                out.push(u8::from_str_radix(digits, 16).expect("hexadecimal"));
                rest = &behind[3..];
            } else {
                out.push(byte);
                rest = behind;
            }
        }
        out
    }

    /// Undoes `escape=json`.
    fn unescape_json(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rest = text;
        while let Some((&byte, behind)) = rest.split_first() {
            rest = behind;
            if byte != b'\\' {
                out.push(byte);
                continue;
            }
            let (&letter, behind) = rest.split_first().expect("a letter");
            rest = behind;
            out.push(match letter {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'b' => 0x08,
                b'f' => 0x0c,
                b'u' => {
                    let digits = std::str::from_utf8(&rest[..4]).expect("hexadecimal");
                    rest = &rest[4..];
                    u8::from_str_radix(digits, 16).expect("hexadecimal")
                }
                same => same,
            });
        }
        out
    }

    proptest! {
        #[test]
        fn an_escaped_value_is_plain_text_and_can_be_read_back(before: Vec<u8>, value: Vec<u8>) {
            let start = before.len();
            let escaped = |is_escaped: fn(u8) -> bool, push: fn(u8, &mut Vec<u8>)| {
                let mut out = before.clone();
                out.extend_from_slice(&value);
                escape_tail(&mut out, start, is_escaped, push);
                assert_eq!(&out[..start], &before[..], "what stands before stays");
                out.split_off(start)
            };
            let default = escaped(is_escaped, push_escaped);
            prop_assert!(default.iter().all(|byte| (0x20..0x7f).contains(byte)));
            prop_assert!(!default.contains(&b'"'));
            prop_assert_eq!(&unescape(&default), &value);
            let json = escaped(is_escaped_in_json, push_escaped_in_json);
            prop_assert!(json.iter().all(|&byte| byte >= 0x20));
            prop_assert_eq!(&unescape_json(&json), &value);
        }

        #[test]
        fn a_line_ends_only_where_it_ends(
            request: String,
            agent: Vec<u8>,
            thing: Vec<u8>,
            path: Vec<u8>,
        ) {
            let fields: [(&str, &[u8]); 2] = [("User-Agent", &agent), ("X-Thing", &thing)];
            let mut exchange = fixture::exchange(&request, &fields);
            exchange.path = path;
            let format = format!("{COMBINED} $http_x_thing $uri $request_uri");
            let text = line(Escape::Default, &format, &exchange);
            prop_assert!(text.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
            prop_assert!(text.is_ascii());
        }
    }
}
