//! `access_log`, `log_format`, `error_log`: what is written where.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::conf::template::Template;

/// One `access_log`.
#[derive(Debug, Clone)]
pub struct AccessLog {
    /// Where.
    pub target: Target,
    /// What.
    pub format: Arc<LogFormat>,
    /// `buffer=SIZE`
    pub buffer: Option<usize>,
    /// `flush=TIME`
    pub flush: Option<Duration>,
    /// `gzip[=level]`
    pub gzip: Option<u8>,
    /// `if=condition`: written unless it comes out empty or `0`.
    pub condition: Option<Template>,
}

/// `log_format`.
#[derive(Debug, PartialEq, Eq)]
pub struct LogFormat {
    /// Its name.
    pub name: Box<str>,
    /// How values are escaped.
    pub escape: Escape,
    /// The line without its line end.
    pub line: Template,
}

/// `escape=`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is named after its word")]
pub enum Escape {
    Default,
    Json,
    None,
}

/// One `error_log`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorLog {
    /// Where.
    pub target: Target,
    /// The least severe level that is written.
    pub level: Level,
}

/// Where a log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A file, absolute path.
    File(PathBuf),
    /// A file whose name holds variables (access log only).
    FileTemplate(Template),
    /// `stderr`
    Stderr,
    /// `syslog:server=…`
    Syslog(Syslog),
}

/// `syslog:` and its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Syslog {
    /// `server=`
    pub server: SyslogServer,
    /// `facility=`, as its number; `local7` (23) by default.
    pub facility: u8,
    /// `severity=`, as its number; `info` (6) by default. The error log uses each line's own.
    pub severity: u8,
    /// `tag=`; `openclaw` by default.
    pub tag: Box<str>,
    /// `nohostname`
    pub no_hostname: bool,
    /// `format=`
    pub form: SyslogForm,
}

/// `format=` of `syslog:`: what stands before the text of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyslogForm {
    /// `rfc3164`, which is nginx's and our default.
    Rfc3164,
    /// `rfc5424`: with the year, the time zone and the process.
    Rfc5424,
}

/// The receiver of what goes to syslog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyslogServer {
    /// `host:port`; 514 by default. Resolved when the log is opened. Over UDP, or over TCP where
    /// `tcp:` stands in front.
    Host {
        name: Box<str>,
        port: u16,
        is_stream: bool,
    },
    /// `unix:PATH`
    Unix(PathBuf),
}

/// The levels of `error_log`, most severe first, as nginx orders them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each variant is named after its word")]
pub enum Level {
    Emerg,
    Alert,
    Crit,
    Error,
    Warn,
    Notice,
    Info,
    Debug,
}

impl Level {
    /// The word in the configuration and in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Emerg => "emerg",
            Self::Alert => "alert",
            Self::Crit => "crit",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Notice => "notice",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}
