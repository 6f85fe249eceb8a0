//! Panics: each is counted and told once, in the error log, and costs the connection it happened on.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;

use crate::conf::typed::log::Level;
use crate::log::error_log;
use crate::metrics::registry;

/// From here on panics of any thread are told in the error log. The event loop of the worker catches
/// them at the edge of the task.
pub fn install_hook() {
    std::panic::set_hook(Box::new(|panic| {
        registry::with(|counters| counters.panics.increase());
        tell(panic);
    }));
}

fn tell(panic: &PanicHookInfo) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("unnamed");
    let message = text(panic.payload());
    match panic.location() {
        Some(place) => error_log::report(
            Level::Alert,
            format_args!("thread {name} panicked at {place}: {message}"),
        ),
        None => error_log::report(
            Level::Alert,
            format_args!("thread {name} panicked: {message}"),
        ),
    }
    // Asked for by `RUST_BACKTRACE`; a line of the log is too short for one.
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        for line in backtrace.to_string().lines() {
            error_log::report(Level::Alert, format_args!("{line}"));
        }
    }
}

fn text(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_found_in_both_forms_that_panics_have() {
        assert_eq!(text(&"plain"), "plain");
        assert_eq!(text(&"made".to_owned()), "made");
        assert_eq!(text(&7), "no message");
    }
}
