//! The command line: what a person types, what is printed, and the exit code.
//!
//! Exit codes: 0 when it went well, 1 when not, 2 when `-t --strict` found nothing but warnings.
//! Messages go to standard error in nginx's words, results to standard output.

mod args;
mod fmt;
mod paths;
mod test;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use nix::sys::signal::Signal;

use crate::conf::check::closest;
use crate::conf::directives::{all, render_help};
use crate::conf::explain::{CODES, Code, explain};
use crate::conf::modules::configure_arguments;
use crate::control;
use crate::process::{self, Setup};
use args::{Invocation, Options, Order, UsageError, Word};
use paths::Surroundings;

/// The version of nginx whose language and behaviour this is.
const NGINX_VERSION: &str = "1.31.0";

/// Does what the arguments behind the program's name ask for.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match args::parse(arguments) {
        Ok(Invocation::Server(options)) => server(options),
        Ok(Invocation::Word(Word::Fmt { check, files })) => fmt::run(check, &files),
        Ok(Invocation::Word(Word::Help { directive })) => help(directive.as_deref()),
        Ok(Invocation::Word(Word::Explain { code })) => explain_code(&code),
        // Asked for, so it is a result.
        Err(UsageError::Word(error)) if !error.use_stderr() => {
            print(&error.to_string());
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn server(options: Options) -> ExitCode {
    if options.version {
        print_version(&options);
        if !options.test {
            return ExitCode::SUCCESS;
        }
    }
    let surroundings = Surroundings::of_process();
    let paths = match paths::find(&options, &surroundings, |path| path.exists()) {
        Ok(paths) => paths,
        Err(error) => {
            complain(&format!(
                "openclaw: [emerg] {error}\nhint: name one with `-c FILE`"
            ));
            return ExitCode::FAILURE;
        }
    };
    let setup = Setup {
        conf: paths.conf,
        text: None,
        prefix: paths.prefix,
        has_own_prefix: options.prefix.is_some(),
        globals: options.globals.clone(),
        error_log: paths.error_log,
        foreground: options.headless,
        has_screen: false,
    };
    if options.test {
        return test::run(&setup, &options);
    }
    if let Some(order) = options.signal {
        return send(&setup, order);
    }
    match process::run(setup, control::attend) {
        Ok(()) => ExitCode::SUCCESS,
        Err(process::Failed) => ExitCode::FAILURE,
    }
}

fn print_version(options: &Options) {
    let version = env!("CARGO_PKG_VERSION");
    let mut text = format!("openclaw version: openclaw/{version}\n");
    if options.help {
        text.push_str(args::HELP);
    }
    if options.configure_arguments {
        // Tools that ask what nginx can do look for these two lines.
        text.push_str(&format!(
            "nginx version: nginx/{NGINX_VERSION} (compatible)\nconfigure arguments: {}\n",
            configure_arguments()
        ));
    }
    complain(text.trim_end_matches('\n'));
}

/// Tells the running process; a new configuration is looked at first, as nginx does, so that its
/// mistakes are seen by the one who made them.
fn send(setup: &Setup, order: Order) -> ExitCode {
    let signal = match order {
        Order::Stop => Signal::SIGTERM,
        Order::Quit => Signal::SIGQUIT,
        Order::Reload => Signal::SIGHUP,
        Order::Reopen => Signal::SIGUSR1,
    };
    if order == Order::Reload && !test::is_usable(setup) {
        return ExitCode::FAILURE;
    }
    let sent = process::pid_path(setup)
        .ok_or_else(|| "[error] no pid file is known".to_owned())
        .and_then(|path| process::send_signal(&path, signal));
    match sent {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("openclaw: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn help(directive: Option<&str>) -> ExitCode {
    let Some(name) = directive else {
        print(args::HELP);
        return ExitCode::SUCCESS;
    };
    if let Some(text) = render_help(name) {
        print(&text);
        return ExitCode::SUCCESS;
    }
    unknown("directive", name, closest(name, all().map(|row| row.name)))
}

fn explain_code(name: &str) -> ExitCode {
    if let Some(code) = Code::parse(name) {
        print(&explain(code));
        return ExitCode::SUCCESS;
    }
    let upper = name.to_ascii_uppercase();
    let near = closest(&upper, CODES.iter().map(|row| row.code.name()));
    unknown("code", name, near)
}

fn unknown(what: &str, name: &str, near: Option<&str>) -> ExitCode {
    let hint = near.map_or_else(String::new, |near| {
        format!("\nhint: did you mean `{near}`?")
    });
    complain(&format!("openclaw: unknown {what} `{name}`{hint}"));
    ExitCode::FAILURE
}

/// Prints a result. A reader that went away has seen enough.
fn print(text: &str) {
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

/// Prints a line for the person at the terminal.
fn complain(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
