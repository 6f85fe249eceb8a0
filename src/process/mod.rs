//! The running program: from a configuration file to served sockets, through reloads, to the end.
//!
//! Owns the process: its user, its limits, its pid file, its signals, its threads. What a request
//! becomes is not decided here. One thread, the main one, waits for signals and makes everything
//! that workers share; a worker serves alone.
//!
//! Invariants: what can fail fails before anything is taken into use, at the start as in a reload;
//! rights are dropped before the first connection is accepted.

mod accept;
pub mod conf_files;
mod configuration;
pub mod control_socket;
mod daemon;
pub mod desk;
mod history;
mod inherited;
mod keeper;
mod limits;
mod memory;
mod notify;
mod panics;
pub mod pid_file;
pub mod places;
pub mod privileges;
mod program;
mod pulse;
mod watchdog;
mod worker;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::Registry;

use crate::acme::manager::Manager;
use crate::cache::place;
use crate::conf::diagnostic::any_error;
use crate::conf::include::Loaded;
use crate::conf::typed::log::{ErrorLog, Level, Target};
use crate::conf::typed::process::Process;
use crate::log::{self, error_log};
use crate::net::listener::{self, Sockets};
use crate::serve::generation::Generation;
use crate::store::Store;
use crate::tls::file;
use crate::tls::files::Files;
use control_socket::ControlSocket;
use desk::{Desk, InForce};
use history::History;
use pid_file::{PidFile, PidFileError};
use privileges::Identity;
use program::{Program, Signals};

pub use configuration::{examine, pid_path, show};

/// The file of the store in its directory.
const STORE_FILE: &str = "openclaw.db";

/// How long the end waits for the store to have everything.
const STORE_PATIENCE: Duration = Duration::from_secs(5);

/// What the command line says about the process. Paths are absolute.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setup {
    /// The configuration file.
    pub conf: PathBuf,
    /// Its text, if there is no such file: it was made from the command line.
    pub text: Option<String>,
    /// Where relative paths start.
    pub prefix: PathBuf,
    /// Was the prefix named on the command line?
    pub has_own_prefix: bool,
    /// Directives that stand before the file (`-g`).
    pub globals: Option<String>,
    /// Where messages go until the configuration names a place.
    pub error_log: EarlyLog,
    /// Stay in the foreground, whatever the configuration says.
    pub foreground: bool,
    /// A dashboard has the terminal: nothing is written to it once requests are served.
    pub has_screen: bool,
}

/// Where messages go until the configuration is read, and when it names no place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EarlyLog {
    /// Named by the user: this file, or the word `stderr`.
    Named(PathBuf),
    /// This file if it can be opened, standard error otherwise.
    Usual(PathBuf),
}

/// It did not go well; the reasons have been told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failed;

/// A configuration that was tested.
#[derive(Debug)]
pub struct Tested {
    /// Its texts and its problems.
    pub loaded: Loaded,
    /// What would keep it from being used though nothing is wrong with its text.
    pub failure: Option<String>,
}

impl Tested {
    /// Can it be used?
    pub fn is_good(&self) -> bool {
        self.failure.is_none() && !any_error(&self.loaded.diagnostics)
    }
}

/// Runs the program until a signal ends it. Once it serves, `attend` is called on the main thread's
/// event loop with the desk and the socket for the control protocol, if there is one.
pub fn run(setup: Setup, attend: impl FnOnce(&Desk, Option<ControlSocket>)) -> Result<(), Failed> {
    let inherited = inherited::take();
    // Somebody reads from the first line on; the file is there even if nothing is ever told.
    let early = open_early_log(&setup.error_log)?;
    let usual_error_log = early.log;
    daemon::restrict_new_files();
    // What libraries tell goes there too; this is the first and only one to be set.
    let _ = tracing::subscriber::set_global_default(Registry::default().with(error_log::layer()));

    // Whose files are read from here on may be root's.
    file::record();
    // The text: all that is wrong with it is shown at once.
    let reading = configuration::read(&setup, &usual_error_log, &[], &[]).examined();
    let loaded = reading.loaded;
    error_log::copy_to_stderr(false);
    configuration::log(&loaded.diagnostics, &loaded.sources);
    error_log::copy_to_stderr(true);
    show(&loaded.diagnostics, &loaded.sources);
    let config = reading.config.ok_or(Failed)?;

    let runtime = runtime()?;

    // Who we shall be, before files are made that belong to that user.
    let identity = identity(&config.process, &loaded)?;
    if let Some(identity) = &identity {
        log::set_owner(Some(identity.user.as_raw()));
        hand_over(&early.made, identity)?;
    }
    let owner = (identity.as_ref()).map(|identity| (identity.user, identity.group));
    for cache in &config.http.caches {
        if let Err(error) = place::make(&cache.path, owner) {
            return Err(fail(format_args!(
                "mkdir() \"{}\" failed {}",
                cache.path.display(),
                error_log::cause(&error)
            )));
        }
    }
    if let Some(directory) = &config.process.working_directory {
        std::env::set_current_dir(directory).map_err(|error| {
            fail(format_args!(
                "chdir(\"{}\") failed {}",
                directory.display(),
                error_log::cause(&error)
            ))
        })?;
    }

    // What serves, but for its sockets: logs are opened here, and certificates read.
    let places = places::of(&setup, &config.process);
    let acme = Manager::start(places.state.clone(), runtime.handle());
    let generation = Generation::build(config, 1, None, runtime.handle(), &Files::new(), &acme)
        .map_err(|error| fail(format_args!("{}", chain(&error))))?;
    for warning in &generation.warnings {
        error_log::report(Level::Warn, format_args!("{warning}"));
    }
    let process = &generation.process;
    let mut remarks = Vec::new();
    let error_logs = log::open_errors(&process.error_logs, &mut remarks)
        .map_err(|error| fail(format_args!("{}", chain(&error))))?;
    for remark in remarks {
        error_log::report(Level::Warn, format_args!("{remark}"));
    }
    error_log::set_default(error_logs);
    raise_open_files(&generation);

    // The sockets of all workers, while we may bind any port.
    let endpoints = listener::endpoints(&generation.http.listens);
    for remark in inherited.remarks {
        error_log::report(Level::Warn, format_args!("{remark}"));
    }
    let (mut given, given_warnings) = Sockets::inherited(inherited.sockets);
    let unused = given.close_others(&endpoints);
    for address in &unused {
        error_log::report(
            Level::Warn,
            format_args!(
                "the service manager listens on {address}, for which no server has a \"listen\", \
                 its socket is closed here"
            ),
        );
    }
    // Before an address is bound that they would be in the way of.
    notify::forget_sockets(&unused);
    let (sockets, warnings) =
        given
            .adapt(endpoints, process.workers)
            .map_err(|error| match error.hint() {
                Some(hint) => fail(format_args!("{error} (hint: {hint})")),
                None => fail(format_args!("{error}")),
            })?;
    drop(given);
    for warning in given_warnings.into_iter().chain(warnings) {
        error_log::report(Level::Alert, format_args!("{warning}"));
    }

    // Into the background, while there is one thread; nginx's default is on.
    let starter =
        if setup.foreground || setup.has_screen || process.daemon == Some(false) {
            None
        } else {
            let starter = daemon::go_to_background();
            Some(starter.map_err(|error| {
                fail(format_args!("fork() failed {}", error_log::cause(&error)))
            })?)
        };

    // Signals are taken before the pid file says that there is somebody to send them to.
    panics::install_hook();
    let signals = {
        let _within = runtime.enter();
        Signals::new().map_err(|error| {
            fail(format_args!(
                "sigaction() failed {}",
                error_log::cause(&error)
            ))
        })?
    };
    let pid_file = write_pid(&process.pid, identity.as_ref())
        .map_err(|error| fail(format_args!("{error}")))?;

    // Where people reach it and where it remembers. It serves without both.
    let owner = identity
        .as_ref()
        .map(|identity| (identity.user, identity.group));
    let made = control_socket::make_directory(&places.state, 0o700, owner)
        .and_then(|()| control_socket::hand_over(&places.state, owner));
    if let Err(error) = made {
        error_log::report(
            Level::Error,
            format_args!(
                "mkdir() \"{}\" failed {}",
                places.state.display(),
                error_log::cause(&error)
            ),
        );
    }
    let control = places.socket.as_ref().and_then(|path| {
        ControlSocket::bind(path, owner)
            .inspect_err(|error| error_log::report(Level::Error, format_args!("{error}")))
            .ok()
    });

    // The last moment with the rights of root.
    if let Some(nice) = process.priority
        && let Err(error) = limits::set_priority(nice)
    {
        error_log::report(
            Level::Alert,
            format_args!("setpriority({nice}) failed {}", error_log::cause(&error)),
        );
    }
    if let Some(identity) = &identity {
        // Certbot's keys are for root alone, and are to be read again when there are new ones.
        let keeper = match identity.user.is_root() {
            true => None,
            false => keeper::begin(identity)
                .inspect_err(|error| {
                    error_log::report(
                        Level::Warn,
                        format_args!(
                            "files of root will not be read again {}",
                            error_log::cause(error)
                        ),
                    );
                })
                .ok(),
        };
        privileges::become_user(identity).map_err(|error| {
            fail(format_args!(
                "setuid({}) failed {}",
                identity.user,
                error_log::cause(&error)
            ))
        })?;
        if let Some(keeper) = keeper {
            keeper.settle();
        }
    }

    error_log::report(
        Level::Notice,
        format_args!("openclaw/{}", env!("CARGO_PKG_VERSION")),
    );
    // Its thread has the rights of the one that starts it: none.
    let store_path = places.state.join(STORE_FILE);
    let starting = std::thread::spawn(move || {
        privileges::renounce();
        Store::start(store_path)
    });
    let store = starting
        .join()
        .map_err(|_| fail(format_args!("the thread of the store does not start")))?;
    acme.remember(store.clone());

    let first = InForce {
        generation: Arc::clone(&generation),
        digest: conf_files::digest(&loaded),
        loaded: Arc::new(loaded),
        revision: 0,
    };
    let conf = setup.conf.display().to_string();
    let answers = places.state.join("ocsp");
    let (desk, counter) = Desk::new(setup, usual_error_log.clone(), places, store.clone(), first);
    let program = Program {
        desk: desk.clone(),
        counter,
        history: History::new(store.clone(), conf),
        usual_error_log,
        generation,
        sockets,
        pid_file,
        identity,
        names: None,
        checks: tokio::task::JoinSet::new(),
        staples: tokio::task::JoinSet::new(),
        answers,
    };
    let started = || {
        error_log::copy_to_stderr(false);
        attend(&desk, control);
        if let Some(starter) = starter
            && let Err(error) = starter.release()
        {
            error_log::report(
                Level::Alert,
                format_args!("dup2() failed {}", error_log::cause(&error)),
            );
        }
    };
    let ended = runtime.block_on(program.serve(signals, started));
    store.close(STORE_PATIENCE);
    log::dated::finish(STORE_PATIENCE);
    log::finish_thread();
    ended.map_err(|error| fail(format_args!("{error}")))
}

/// Tests a configuration as far as that goes without serving: its text, its user, its logs. Sockets
/// are not bound, so that it can be tested beside a running instance and without rights.
pub fn test(setup: &Setup) -> Result<Tested, Failed> {
    let early = open_early_log(&setup.error_log)?;
    daemon::restrict_new_files();
    let reading = configuration::read(setup, &early.log, &[], &[]).examined();
    let mut tested = Tested {
        loaded: reading.loaded,
        failure: None,
    };
    let Some(config) = reading.config else {
        return Ok(tested);
    };
    match identity(&config.process, &tested.loaded) {
        Ok(Some(identity)) => {
            log::set_owner(Some(identity.user.as_raw()));
            hand_over(&early.made, &identity)?;
        }
        Ok(None) => {}
        Err(Failed) => {
            // Told already, with the place.
            return Err(Failed);
        }
    }
    let runtime = runtime()?;
    match Generation::build(
        config,
        1,
        None,
        runtime.handle(),
        &Files::new(),
        &Manager::new(),
    ) {
        Ok(generation) => {
            for warning in &generation.warnings {
                error_log::report(Level::Warn, format_args!("{warning}"));
            }
        }
        Err(error) => tested.failure = Some(chain(&error)),
    }
    Ok(tested)
}

/// Sends a signal to the running process of this configuration; the error is in nginx's words.
pub fn send_signal(pid_path: &Path, signal: Signal) -> Result<(), String> {
    let process = pid_file::read(pid_path).map_err(|error| format!("[error] {error}"))?;
    kill(process, signal).map_err(|errno| {
        let number = signal as i32;
        format!(
            "[alert] kill({process}, {number}) failed ({}: {})",
            errno as i32,
            errno.desc()
        )
    })
}

/// The event loop of the main thread: signals, and all that is done beside requests.
fn runtime() -> Result<Runtime, Failed> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .on_thread_start(privileges::renounce)
        .build();
    runtime.map_err(|error| {
        fail(format_args!(
            "epoll_create() failed {}",
            error_log::cause(&error)
        ))
    })
}

/// The log that is there before the configuration is read.
struct Early {
    log: ErrorLog,
    /// Directories that were made for it.
    made: Vec<PathBuf>,
}

fn open_early_log(place: &EarlyLog) -> Result<Early, Failed> {
    let (path, is_usual) = match place {
        EarlyLog::Named(path) => (path.as_path(), false),
        EarlyLog::Usual(path) => (path.as_path(), true),
    };
    let stderr = Path::new("stderr");
    let is_missing = |path: &&Path| !path.exists();
    let parents = path.ancestors().skip(1).take_while(is_missing);
    let mut made: Vec<_> = parents.map(Path::to_owned).collect();
    let (logs, path) = match error_log::open_early(path) {
        Err(_) if is_usual => (error_log::open_early(stderr), stderr),
        opened => (opened, path),
    };
    error_log::set_default(logs.map_err(|error| fail(format_args!("{}", chain(&error))))?);
    made.retain(|directory| directory.is_dir());
    let target = if path == stderr {
        Target::Stderr
    } else {
        Target::File(path.to_owned())
    };
    let level = Level::Error;
    Ok(Early {
        log: ErrorLog { target, level },
        made,
    })
}

/// Gives the early log to the user that the process will run as, who must be able to open it again.
fn hand_over(made: &[PathBuf], identity: &Identity) -> Result<(), Failed> {
    for directory in made {
        nix::unistd::chown(directory, Some(identity.user), Some(identity.group)).map_err(
            |errno| {
                fail(format_args!(
                    "chown(\"{}\", {}) failed {}",
                    directory.display(),
                    identity.user,
                    error_log::cause(&errno.into())
                ))
            },
        )?;
    }
    match log::reopen_all().into_iter().next() {
        Some(error) => Err(fail(format_args!("{}", chain(&error)))),
        None => Ok(()),
    }
}

/// The user to become; `None` if there is no change.
fn identity(process: &Process, loaded: &Loaded) -> Result<Option<Identity>, Failed> {
    match &process.user {
        Some((user, _, span)) if !privileges::is_root() => {
            // Whoever starts the program as that user, as a service does, has what was asked for.
            if privileges::is_current(user) {
                return Ok(None);
            }
            error_log::report(
                Level::Warn,
                format_args!(
                    "the \"user\" directive makes sense only if the process runs with super-user \
                     privileges, ignored in {}",
                    configuration::place(*span, &loaded.sources)
                ),
            );
            Ok(None)
        }
        Some((user, group, span)) => match privileges::look_up(user, group.as_deref()) {
            Ok(identity) => Ok(Some(identity)),
            Err(error) => {
                let place = configuration::place(*span, &loaded.sources);
                Err(fail(format_args!(
                    "{error} in {place} (hint: {})",
                    error.hint()
                )))
            }
        },
        None => Ok(privileges::is_root().then(privileges::nobody)),
    }
}

/// Raises the limit of open files to what a generation needs.
fn raise_open_files(generation: &Generation) {
    let process = &generation.process;
    let needed = limits::needed_files(
        process.workers,
        process.worker_connections,
        generation.http.listens.len(),
    );
    match limits::raise_open_files(needed.max(process.open_files.unwrap_or(0))) {
        Ok(limit) if limit < needed => error_log::report(
            Level::Warn,
            format_args!(
                "{} worker_connections exceed open file resource limit: {limit}",
                process.workers.saturating_mul(process.worker_connections)
            ),
        ),
        Ok(_) => {}
        Err(error) => error_log::report(
            Level::Alert,
            format_args!(
                "setrlimit(RLIMIT_NOFILE) failed {}",
                error_log::cause(&error)
            ),
        ),
    }
}

fn write_pid(path: &Path, identity: Option<&Identity>) -> Result<PidFile, PidFileError> {
    let mut remarks = Vec::new();
    let owner = identity.map(|identity| (identity.user, identity.group));
    let written = PidFile::create(path, owner, &mut remarks);
    for remark in remarks {
        error_log::report(Level::Warn, format_args!("{remark}"));
    }
    written
}

/// Tells why it did not go well.
fn fail(reason: std::fmt::Arguments<'_>) -> Failed {
    error_log::report(Level::Emerg, reason);
    Failed
}

/// An error and its causes in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
