//! The main context and `events {}`.

use std::path::PathBuf;

use super::Cx;
use super::log;
use super::scope::{Scope, parameter};
use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::typed::log::ErrorLog;
use crate::conf::typed::process::{ControlSocket, LogRotation, Process};
use crate::unit;

/// What concerns the process.
pub fn process(main: &Scope<'_>, usual_error_logs: &[ErrorLog], cx: &mut Cx) -> Process {
    let events = main
        .own("events")
        .first()
        .map(|node| main.inside(node.block.as_deref().unwrap_or_default()));
    let events = events.as_ref().unwrap_or(main);
    let workers = main
        .nearest("worker_processes")
        .and_then(|line| line.arguments.first());
    let workers = match workers.map(|word| (&*word.text, word.span)) {
        None => 1,
        Some(("auto", _)) => std::thread::available_parallelism().map_or(1, usize::from),
        Some((text, span)) => match text.parse() {
            Ok(workers @ 1..=1024) => workers,
            _ => {
                cx.report(
                    Diagnostic::error(
                        Code::OUT_OF_RANGE,
                        span,
                        format!("invalid number of workers `{text}`"),
                    )
                    .hint("write a number from 1 to 1024, or `auto` for one per processor"),
                );
                1
            }
        },
    };
    Process {
        user: main.nearest("user").and_then(|line| {
            let name = line.arguments.first()?;
            Some((
                name.text.clone(),
                line.arguments.get(1).map(|word| word.text.clone()),
                name.span,
            ))
        }),
        workers,
        worker_connections: usize::try_from(events.number("worker_connections")).unwrap_or(512),
        open_files: main
            .nearest("worker_rlimit_nofile")
            .and_then(|line| line.arguments.first()?.text.parse().ok()),
        shutdown_timeout: main
            .nearest("worker_shutdown_timeout")
            .and_then(log::duration_of),
        priority: main
            .nearest("worker_priority")
            .and_then(|line| line.arguments.first()?.text.parse().ok()),
        daemon: main.nearest("daemon").map(|_| main.flag("daemon")),
        master_process: main.flag("master_process"),
        pid: main.path(main.text("pid")),
        log_rotation: log_rotation(main, cx),
        state_directory: path_of(main, "state_directory"),
        control_socket: match main.nearest("control_socket") {
            None => ControlSocket::Usual,
            Some(line) => match line.arguments.first() {
                Some(word) if &*word.text != "off" => ControlSocket::Path(main.path(&word.text)),
                _ => ControlSocket::Off,
            },
        },
        error_logs: log::error_logs(main, usual_error_logs, cx),
        working_directory: path_of(main, "working_directory"),
        multi_accept: events.flag("multi_accept"),
    }
}

/// `log_rotate`
fn log_rotation(main: &Scope<'_>, cx: &mut Cx) -> Option<LogRotation> {
    let line = main.nearest("log_rotate")?;
    let word = line.arguments.first()?;
    // A size that is none was told already.
    let size = unit::size::offset(&word.text).unwrap_or(1);
    let mut report = |span, message: String, hint: &str| {
        cx.report(Diagnostic::error(Code::OUT_OF_RANGE, span, message).hint(hint));
    };
    if size == 0 {
        report(
            word.span,
            "a log file cannot be moved away at no size".to_owned(),
            "write a size such as `64m`, or leave the line out",
        );
    }
    let keep = match parameter(line, "keep").map(|text| (text, text.parse())) {
        None => 5,
        Some((_, Ok(keep @ 1..=999))) => keep,
        Some((text, _)) => {
            let span = line.arguments.last().map_or(word.span, |word| word.span);
            report(
                span,
                format!("`{text}` is not a number of files"),
                "write a number from 1 to 999",
            );
            5
        }
    };
    Some(LogRotation { size, keep })
}

/// The path that a line names, absolute; `None` without one.
fn path_of(main: &Scope<'_>, name: &str) -> Option<PathBuf> {
    let word = main.nearest(name)?.arguments.first()?;
    Some(main.path(&word.text))
}
