//! The command line: what a person types, what is printed, and the exit code.
//!
//! nginx's options and words of our own ([`args`]). The words that ask the daemon are thin: each is a
//! call of the control protocol and a way to print the answer ([`session`]). Messages go to standard
//! error, results to standard output; how the program ends is in [`exit`].
//!
//! Invariant: text that the daemon sends is escaped before it is printed, whoever wrote it.

mod alerts;
pub mod args;
mod audit;
mod authority;
mod backends;
mod bans;
mod cache;
mod certificates;
mod completion;
mod conf_file;
mod config;
mod doctor;
mod editor;
mod exit;
mod figures;
mod fmt;
mod follow;
mod import;
mod keys;
mod limits;
mod lint;
mod logs;
mod manual;
mod models;
mod paint;
mod passwd;
mod paths;
mod problems;
mod providers;
mod routes;
mod session;
mod socket;
mod spend;
mod start;
mod status;
mod table;
mod test;
mod top;
mod trust_store;
mod words;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use nix::sys::signal::Signal;

use crate::access::passwords::hash::NewForm;
use crate::conf::check::closest;
use crate::conf::directives::{all, render_help};
use crate::conf::explain::{CODES, Code, explain};
use crate::conf::modules::configure_arguments;
use crate::process::{self, Setup};
use crate::protocol::{Done, FileName};
use crate::unit::printable::escape_lines;
use args::{Invocation, Options, Order, UsageError};
use exit::Exit;
use paths::{Paths, Surroundings};
use session::{Failure, Session, print_json};
use words::{ConfigWord, Daemon, Word};

/// The version of nginx whose language and behaviour this is.
const NGINX_VERSION: &str = "1.31.0";

/// Does what the arguments behind the program's name ask for.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match args::parse(arguments) {
        Ok(Invocation::Server(options)) => server(options),
        Ok(Invocation::Word(word)) => self::word(word),
        // Asked for, so it is a result.
        Err(UsageError::Word(error)) if !error.use_stderr() => {
            print(&format!("{}\n", error.to_string().trim_end()));
            ExitCode::SUCCESS
        }
        Err(UsageError::Word(error)) => {
            complain(error.to_string().trim_end_matches('\n'));
            Exit::Usage.into()
        }
        // As nginx ends.
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn word(word: Word) -> ExitCode {
    match word {
        Word::Status { daemon } => ask(&daemon, status::run),
        Word::Top { once, rows, daemon } => ask(&daemon, |session| top::run(&session, once, rows)),
        Word::Routes { daemon } => ask(&daemon, |session| routes::list(&session)),
        Word::Route {
            request,
            client,
            fields,
            daemon,
        } => {
            let explained = routes::question(&request, client, &fields).and_then(|question| {
                match daemon.conf.is_some() {
                    true => routes::explain_file(&daemon, &question),
                    false => Session::open(&daemon)
                        .and_then(|session| routes::explain(&session, &question)),
                }
            });
            end(&daemon, explained)
        }
        Word::Backends {
            change: None,
            daemon,
        } => ask(&daemon, |session| backends::list(&session)),
        Word::Backends {
            change: Some(change),
            daemon,
        } => ask(&backends::daemon(&change).or(&daemon), |session| {
            backends::change(&session, &change)
        }),
        Word::Ban {
            action,
            address,
            time,
            reason,
            daemon,
        } => ask(&bans::daemon(action.as_ref()).or(&daemon), |session| {
            let (address, time) = (address.as_deref(), time.as_deref());
            bans::run(&session, action.as_ref(), address, time, &reason)
        }),
        Word::Key { action, daemon } => ask(&keys::daemon(action.as_deref(), &daemon), |session| {
            keys::run(&session, action.as_deref())
        }),
        Word::Spend {
            by,
            from,
            to,
            csv,
            daemon,
        } => ask(&daemon, |session| {
            spend::tell(&session, by, from.as_deref(), to.as_deref(), csv)
        }),
        Word::Import { from } => end(from.daemon(), import::run(&from)),
        Word::Models { name, json } => models::tell(name.as_deref(), json),
        Word::Providers { action, daemon } => {
            ask(&providers::daemon(action.as_ref(), &daemon), |session| {
                providers::run(&session, action.as_ref())
            })
        }
        Word::Alerts { action, daemon } => {
            let daemon = match &action {
                None => daemon,
                Some(action) => action.daemon().or(&daemon),
            };
            ask(&daemon, |session| alerts::run(&session, action.as_ref()))
        }
        Word::Limits { daemon } => ask(&daemon, |session| limits::list(&session)),
        Word::Cache { action, daemon } => {
            ask(&cache::daemon(action.as_ref(), &daemon), |session| {
                cache::run(&session, action.as_ref())
            })
        }
        Word::Cert { action, daemon } => end(
            &certificates::daemon(action.as_ref(), &daemon),
            certificates::run(action.as_ref(), &daemon),
        ),
        Word::Logs {
            // The other way to say that there is no end.
            follow: _,
            status,
            host,
            path,
            method,
            client,
            slow,
            lines,
            daemon,
        } => ask(&daemon, |session| {
            let filter = logs::Filter {
                statuses: status,
                host,
                path,
                method,
                client,
                slow,
            };
            logs::run(&session, &filter, lines)
        }),
        Word::Config { action } => config(action),
        Word::Reload { daemon } => ask(&daemon, |session| config::reload(&session)),
        Word::Backup { file, daemon } => ask(&daemon, |session| {
            move_memory(&session, "/v1/backup", &file)
        }),
        Word::Restore {
            file,
            agreement,
            daemon,
        } => ask(&daemon, |session| {
            let question = "the keys, calls, revisions and alerts of now give way to those of the file; go on?";
            config::agree(agreement, question)?;
            move_memory(&session, "/v1/restore", &file)
        }),
        Word::Ca { action } => end(action.daemon(), authority::run(&action)),
        Word::Doctor { daemon } => doctor::run(&daemon),
        Word::Audit { what, ca, daemon } => {
            end(&daemon, audit::run(what.as_deref(), ca.as_deref(), &daemon))
        }
        Word::Passwd {
            words,
            delete,
            verify,
            argon2id,
            daemon,
        } => {
            let deed = match (delete, verify, argon2id) {
                (true, _, _) => passwd::Deed::Delete,
                (_, true, _) => passwd::Deed::Verify,
                (_, _, true) => passwd::Deed::Set(NewForm::Argon2id),
                _ => passwd::Deed::Set(NewForm::Bcrypt),
            };
            end(&daemon, passwd::run(&words, deed, &daemon))
        }
        Word::Lint { strict, daemon } => match lint::run(strict, &daemon) {
            Ok(code) => code,
            Err(failure) => failure.tell(&daemon),
        },
        Word::Fmt { check, files } => fmt::run(check, &files),
        Word::Help { directive } => help(directive.as_deref()),
        Word::Explain { code } => explain_code(&code),
        Word::Completions { shell } => {
            print(&completion::script(shell));
            ExitCode::SUCCESS
        }
        Word::Man => match manual::page() {
            Ok(page) => {
                print(&String::from_utf8_lossy(&page));
                ExitCode::SUCCESS
            }
            Err(error) => {
                complain(&format!("openclaw: {error}"));
                ExitCode::FAILURE
            }
        },
    }
}

fn config(action: ConfigWord) -> ExitCode {
    match action {
        ConfigWord::History { lines, daemon } => {
            ask(&daemon, |session| config::history(&session, lines))
        }
        ConfigWord::Show { id, daemon } => ask(&daemon, |session| config::show(&session, id)),
        ConfigWord::Diff { id, daemon } => ask(&daemon, |session| config::diff(&session, id)),
        ConfigWord::Revert {
            id,
            agreement,
            daemon,
        } => ask(&daemon, |session| config::revert(&session, id, agreement)),
        ConfigWord::Undo { agreement, daemon } => {
            ask(&daemon, |session| config::undo(&session, agreement))
        }
        ConfigWord::Edit {
            file,
            note,
            agreement,
            daemon,
        } => ask(&daemon, |session| {
            editor::run(&session, file.as_deref(), &note, agreement)
        }),
        ConfigWord::Apply {
            file,
            target,
            note,
            agreement,
            daemon,
        } => ask(&daemon, |session| {
            config::apply(&session, &file, target.as_deref(), &note, agreement)
        }),
        ConfigWord::Check { daemon } => ask(&daemon, |session| config::check(&session)),
    }
}

/// Finds the daemon, does the work, and ends as it went.
fn ask(daemon: &Daemon, work: impl FnOnce(Session) -> Result<(), Failure>) -> ExitCode {
    end(daemon, Session::open(daemon).and_then(work))
}

fn end(daemon: &Daemon, result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => Exit::Done.into(),
        Err(failure) => failure.tell(daemon),
    }
}

/// `openclaw backup` and `openclaw restore`: the daemon writes or reads the file.
fn move_memory(session: &Session, path: &str, file: &std::path::Path) -> Result<(), Failure> {
    let file = FileName {
        path: config::absolute(file)?,
    };
    let done: Done = session.post(path, &file)?;
    if session.json {
        print_json(&done);
    } else if !done.text.is_empty() {
        print(&format!("{}\n", escape_lines(&done.text)));
    }
    Ok(())
}

fn server(options: Options) -> ExitCode {
    if options.version {
        print_version(&options);
        if !options.test {
            return ExitCode::SUCCESS;
        }
    }
    let order = options.signal;
    if !options.test && order.is_none() {
        return start::run(&options);
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
    let setup = setup(&options, paths);
    match order {
        Some(order) if !options.test => send(&setup, order),
        _ => test::run(&setup, &options),
    }
}

/// What the command line says about the process.
fn setup(options: &Options, paths: Paths) -> Setup {
    Setup {
        conf: paths.conf,
        text: None,
        prefix: paths.prefix,
        has_own_prefix: options.prefix.is_some(),
        globals: options.globals.clone(),
        error_log: paths.error_log,
        foreground: options.headless,
        has_screen: false,
    }
}

fn print_version(options: &Options) {
    let version = env!("CARGO_PKG_VERSION");
    let mut text = format!("openclaw version: openclaw/{version}\n");
    if options.help {
        text.push_str(&args::help());
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
        print(&args::help());
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
