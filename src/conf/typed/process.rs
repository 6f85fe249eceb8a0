//! What concerns the process: user, workers, events, pid file, the main error log.

use std::path::PathBuf;
use std::time::Duration;

use super::log::ErrorLog;
use crate::conf::source::Span;

/// The main context and `events {}`.
#[derive(Debug, Clone)]
pub struct Process {
    /// `user NAME [GROUP]`
    pub user: Option<(Box<str>, Option<Box<str>>, Span)>,
    /// `worker_processes`; `auto` is already the number of processors.
    pub workers: usize,
    /// `worker_connections`
    pub worker_connections: usize,
    /// `worker_rlimit_nofile`
    pub open_files: Option<u64>,
    /// `worker_shutdown_timeout`; `None` waits without end.
    pub shutdown_timeout: Option<Duration>,
    /// `worker_priority`: nice value.
    pub priority: Option<i32>,
    /// `daemon on|off`; `None` when not written.
    pub daemon: Option<bool>,
    /// `master_process`, which means nothing to one process with threads.
    pub master_process: bool,
    /// `pid FILE`, absolute.
    pub pid: PathBuf,
    /// `state_directory DIRECTORY`, absolute; `None` is the usual place.
    pub state_directory: Option<PathBuf>,
    /// `control_socket`
    pub control_socket: ControlSocket,
    /// `log_rotate SIZE [keep=N]`; without it somebody else rotates, if anybody does.
    pub log_rotation: Option<LogRotation>,
    /// `error_log` of the main context.
    pub error_logs: Vec<ErrorLog>,
    /// `working_directory`
    pub working_directory: Option<PathBuf>,
    /// `multi_accept`
    pub multi_accept: bool,
}

/// Where the daemon listens to dashboard and command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlSocket {
    /// Nothing is said: the usual place.
    Usual,
    /// This path, absolute.
    Path(PathBuf),
    /// `off`
    Off,
}

/// When log files are moved away, and how many stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRotation {
    /// Bytes that a file has grown to; at least 1.
    pub size: u64,
    /// Files that are kept besides the one written to, from 1 to 999; 5 by default.
    pub keep: u32,
}
