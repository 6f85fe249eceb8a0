//! Logs: what a request leaves behind, and what went wrong.
//!
//! Owns the opened files, the lines that wait for them in each thread, and the form of the lines.
//! Does not own the formats' and places' text (`conf::typed::log`) nor the values of variables
//! (`http::variables`). Three things always hold: a request never waits for a log and never fails
//! because of one; lines of several threads never mix; what a client sends can neither begin a new
//! line nor steer a terminal.
//!
//! What a worker thread does: [`access_log::write`] at the end of each request, [`flush_thread`]
//! before it closes a client's connection, [`tick`] about ten times a second while [`is_waiting`],
//! and once after [`reopen_all`] and after a generation ended, [`finish_thread`] when it ends.

pub mod access_log;
pub mod dated;
pub mod error_log;
mod sink;
mod syslog;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub use access_log::OpenAccessLog;
pub use error_log::ErrorLogs;

use crate::conf::typed::log::{AccessLog, ErrorLog, Target};

/// Opens the access logs of one place. Two logs with one path share one file, whoever opened it.
/// What was amended or does not work yet is appended to `warnings`.
pub fn open_access(
    logs: &[AccessLog],
    warnings: &mut Vec<OpenWarning>,
) -> Result<Arc<[OpenAccessLog]>, OpenError> {
    logs.iter()
        .map(|log| OpenAccessLog::open(log, warnings))
        .collect()
}

/// Opens the error logs of one place.
pub fn open_errors(
    logs: &[ErrorLog],
    warnings: &mut Vec<OpenWarning>,
) -> Result<ErrorLogs, OpenError> {
    let targets = logs
        .iter()
        .map(|log| {
            let target = match &log.target {
                Target::File(path) => error_log::Target::File(sink::open(path, warnings)?),
                Target::Stderr => error_log::Target::File(sink::open_stderr()?),
                Target::Syslog(syslog) => {
                    error_log::Target::Syslog(syslog::Sender::open(syslog, warnings))
                }
                // The language has no such error log.
                Target::FileTemplate(_) => {
                    return Err(OpenError {
                        path: PathBuf::new(),
                        source: io::ErrorKind::InvalidInput.into(),
                    });
                }
            };
            Ok((log.level, target))
        })
        .collect::<Result<_, _>>()?;
    Ok(ErrorLogs::new(targets))
}

/// Opens every log file anew by its name and swaps it in, as after a rotation (`USR1`). A file that
/// cannot be opened stays the one it was, and its error is returned.
#[must_use = "a log that cannot be opened again keeps writing to the file that was moved away"]
pub fn reopen_all() -> Vec<OpenError> {
    let errors = sink::reopen_all();
    syslog::reconnect_all();
    errors
}

/// Moves every log file away that has grown to so many bytes, and keeps so many of them (`LOG.1` is
/// the newest); [`reopen_all`] is to follow if any was moved. Links, pipes and standard streams stay.
pub fn rotate(size: u64, keep: u32) -> (usize, Vec<OpenError>) {
    sink::rotate(size, keep)
}

/// Writes the lines of unbuffered logs that wait in this thread, with one write for each file.
/// Costs a glance when none wait.
pub fn flush_thread() {
    sink::flush_thread();
}

/// What a worker does from time to time: lines out that waited long enough, files of ended
/// generations closed, repeated messages summed up.
pub fn tick() {
    sink::tick();
    error_log::tick();
}

/// Is there something in this thread that [`tick`] will have to do?
pub fn is_waiting() -> bool {
    sink::is_waiting() || error_log::is_waiting()
}

/// Writes all that waits in this thread, buffered logs included. Also done when a thread ends.
pub fn finish_thread() {
    sink::finish_thread();
    error_log::finish_thread();
}

/// The user who gets the log files that are opened with the rights of root, so that it can open them
/// again after those rights are gone (nginx `ngx_reopen_files`).
pub fn set_owner(user: Option<u32>) {
    sink::set_owner(user);
}

/// How many lines could not be written since the process began.
pub fn dropped_lines() -> u64 {
    DROPPED.load(Relaxed)
}

static DROPPED: AtomicU64 = AtomicU64::new(0);

/// A log that cannot be opened.
#[derive(Debug)]
pub struct OpenError {
    /// Its file.
    pub path: PathBuf,
    source: io::Error,
}

impl fmt::Display for OpenError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "cannot open the log `{}`", self.path.display())
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Something about a log that a person should know although it is open.
#[derive(Debug, PartialEq, Eq)]
pub enum OpenWarning {
    /// The directory was missing and was made.
    DirectoryCreated(PathBuf),
    /// The name of a syslog server does not resolve; lines are dropped until it does.
    Unresolved {
        /// The name.
        name: Box<str>,
        /// What the resolver said.
        reason: String,
    },
}

impl fmt::Display for OpenWarning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DirectoryCreated(path) => {
                write!(
                    formatter,
                    "created the missing log directory `{}`",
                    path.display()
                )
            }
            Self::Unresolved { name, reason } => write!(
                formatter,
                "cannot resolve the syslog server `{name}` ({reason}); its lines are dropped until it resolves"
            ),
        }
    }
}

#[cfg(test)]
mod fixture {
    //! An exchange as it stands when its line is written.

    use std::path::Path;
    use std::rc::Rc;
    use std::sync::Arc;
    use std::time::Instant;

    use parking_lot::{Mutex, MutexGuard};

    use crate::conf::include;
    use crate::conf::typed::Http;
    use crate::conf::typed::listen::Address;
    use crate::conf::typed::location::Settings;
    use crate::conf::typed::lower::config::lower;
    use crate::http::exchange::{Connection, Exchange};
    use crate::http::head::{Method, Slice};

    /// A request by this line with these fields, read from 192.0.2.7 over connection 31.
    pub fn exchange(line: &str, fields: &[(&str, &[u8])]) -> Exchange {
        let http = configured("");
        let server = Arc::clone(&http.servers[0]);
        let connection = Rc::new(Connection {
            serial: 31,
            remote: Address::Ip(([192, 0, 2, 7], 50_000).into()),
            remote_text: "192.0.2.7".into(),
            local: Address::Ip(([127, 0, 0, 1], 80).into()),
            secured: None,
            proxied: None,
            accepted: Instant::now(),
            descriptor: -1,
        });
        let mut exchange = Exchange::new(connection, Arc::new(http), server);
        let head = &mut exchange.head;
        head.fields.bytes.extend_from_slice(line.as_bytes());
        head.line = Slice::new(0, line.len());
        let start = line.find(' ').map_or(line.len(), |at| at + 1);
        let target = start..line.rfind(' ').unwrap_or(start).max(start);
        head.target = Slice::new(target.start, target.end);
        head.path_and_query = head.target;
        head.method = Method::Get;
        for (name, value) in fields {
            head.fields.push(name.as_bytes(), value);
        }
        exchange.path = line.as_bytes()[target].to_vec();
        exchange.host = b"example.org".to_vec();
        exchange.status = 200;
        exchange.head_bytes_sent = 150;
        exchange.bytes_sent = 762;
        exchange
    }

    /// What holds in the one location of a server.
    pub fn settings_of(location: &str) -> Arc<Settings> {
        let http = configured(location);
        Arc::clone(&http.servers[0].locations[0].settings)
    }

    fn configured(inside: &str) -> Http {
        let text = format!("events {{}} http {{ server {{ server_name example.org; {inside} }} }}");
        let mut loaded = include::load_text(Path::new("test.conf"), text, Path::new("/"));
        let config = lower(&mut loaded, Path::new("/"), &[]);
        config.expect("a configuration").http
    }

    /// Held by tests that look at or change what the whole process shares.
    pub fn alone() -> MutexGuard<'static, ()> {
        static ALONE: Mutex<()> = Mutex::new(());
        ALONE.lock()
    }
}
