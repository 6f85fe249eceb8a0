//! What `openclaw` without a word does: attach to the daemon, or serve.
//!
//! On a terminal it shows the dashboard of the daemon that runs; if none does, it serves in this
//! process with the dashboard on the terminal, after writing a first configuration if there is none.
//! Without a terminal, and with `--daemon`, it serves as nginx does.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, IsTerminal as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, chown, dup2_stderr, geteuid};

use super::args::{Color, Glyphs, Options, Quick};
use super::paths::{self, Paths, Surroundings};
use super::session;
use super::words::Daemon;
use super::{complain, setup};
use crate::conf::site;
use crate::control;
use crate::process::{self, EarlyLog, Setup, places};
use crate::tui;

/// The configuration that the program brings along.
const FIRST_CONF: &str = include_str!("../../assets/openclaw.conf");

/// The table of media types that it includes.
const MIME_TYPES: &str = include_str!("../../assets/mime.types");

/// How long requests under way may take when the dashboard that served them is left.
const FINISH: Duration = Duration::from_secs(3);

/// Serves, or shows what serves.
pub fn run(options: &Options) -> ExitCode {
    let has_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    let has_screen = options.dashboard || (has_terminal && !options.headless);
    if let Some(quick) = &options.quick {
        return match quick_setup(options, quick) {
            Ok(setup) if has_screen => serve_with_screen(setup, options),
            Ok(setup) => serve(Setup {
                foreground: true,
                ..setup
            }),
            Err(reason) => fail(&reason),
        };
    }
    if has_screen {
        let daemon = Daemon {
            socket: options.socket.clone(),
            conf: options.conf.clone(),
            prefix: options.prefix.clone(),
            ..Daemon::default()
        };
        let sockets = match session::sockets(&daemon) {
            Ok(sockets) => sockets,
            Err(failure) => return failure.tell(&daemon),
        };
        // One that exists and does not let us in is one that runs: a second would be in its way.
        let is_there = |socket: &PathBuf| match UnixStream::connect(socket) {
            Ok(_) => true,
            Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
        };
        if options.dashboard || sockets.iter().any(is_there) {
            return show(screen(options, sockets, false));
        }
    }
    let surroundings = Surroundings::of_process();
    let found = match paths::find(options, &surroundings, |path| path.exists()) {
        Err(_) if has_screen && options.prefix.is_none() => write_first(options, &surroundings),
        Err(error) => Err(format!("{error}\nhint: name one with `-c FILE`")),
        Ok(paths) => Ok(paths),
    };
    match found {
        Ok(paths) if has_screen => serve_with_screen(setup(options, paths), options),
        Ok(paths) => serve(setup(options, paths)),
        Err(reason) => fail(&reason),
    }
}

fn fail(reason: &str) -> ExitCode {
    complain(&format!("openclaw: [emerg] {reason}"));
    ExitCode::FAILURE
}

fn serve(setup: Setup) -> ExitCode {
    match process::run(setup, control::attend) {
        Ok(()) => ExitCode::SUCCESS,
        Err(process::Failed) => ExitCode::FAILURE,
    }
}

/// Shows the dashboard of a daemon.
fn show(options: tui::Options) -> ExitCode {
    match tui::run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let cause = std::error::Error::source(&error);
            let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
            complain(&format!("openclaw: {error}{cause}"));
            ExitCode::FAILURE
        }
    }
}

fn screen(options: &Options, sockets: Vec<PathBuf>, owns_daemon: bool) -> tui::Options {
    let wanted = &options.screen;
    tui::Options {
        sockets,
        is_read_only: wanted.read_only,
        colour: match wanted.color {
            Color::Auto => tui::Choice::Auto,
            Color::Always => tui::Choice::Always,
            Color::Never => tui::Choice::Never,
        },
        glyphs: match wanted.glyphs {
            Glyphs::Auto => None,
            Glyphs::Braille => Some("braille".to_owned()),
            Glyphs::Block => Some("block".to_owned()),
            Glyphs::Ascii => Some("ascii".to_owned()),
        },
        theme: wanted.theme.clone(),
        no_mouse: wanted.no_mouse,
        owns_daemon,
        offline: match owns_daemon {
            true => None,
            false => offline(options),
        },
    }
}

/// The configuration that is meant while no daemon answers: the one that is named, or the usual one.
/// A socket that is named alone says nothing of it.
fn offline(options: &Options) -> Option<tui::Offline> {
    if options.socket.is_some() && options.conf.is_none() {
        return None;
    }
    let surroundings = Surroundings::of_process();
    let paths = paths::find(options, &surroundings, |path| path.exists()).ok()?;
    paths.conf.exists().then_some(tui::Offline {
        conf: paths.conf,
        prefix: paths.prefix,
        write: |files| {
            process::conf_files::write(files).map_err(|error| {
                let cause = std::error::Error::source(&error);
                let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
                format!("{error}{cause}")
            })
        },
    })
}

/// Serves in this process, with the dashboard on the terminal. The dashboard is a client of the
/// control socket here too; when it is left, serving ends.
fn serve_with_screen(setup: Setup, options: &Options) -> ExitCode {
    let state = places::usual(&setup).state;
    let log = state.join("error.log");
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&state);
    let opened = made.and_then(|()| File::options().create(true).append(true).open(&log));
    let log_file = match opened {
        Ok(file) => file,
        Err(error) => return fail(&format!("`{}`: {error}", log.display())),
    };
    let setup = Setup {
        has_screen: true,
        // Lines on the terminal would stand in the middle of the dashboard.
        error_log: match setup.error_log {
            EarlyLog::Usual(_) => EarlyLog::Named(log),
            named @ EarlyLog::Named(_) => named,
        },
        ..setup
    };
    let mut shown = None;
    let served = process::run(setup, |desk, socket| {
        control::attend(desk, socket);
        let sockets = desk.places.socket.iter().cloned().collect();
        let options = screen(options, sockets, true);
        let stderr = io::stderr();
        // What libraries print goes to the log while the screen is the dashboard's.
        let kept = std::os::fd::AsFd::as_fd(&stderr).try_clone_to_owned();
        let _ = dup2_stderr(&log_file);
        shown = Some(thread::spawn(move || {
            let result = tui::run(options);
            if let Ok(kept) = kept {
                let _ = dup2_stderr(kept);
            }
            // The process that serves is this one.
            let own = Pid::this();
            let _ = kill(own, Signal::SIGQUIT);
            thread::spawn(move || {
                thread::sleep(FINISH);
                let _ = kill(own, Signal::SIGTERM);
            });
            result
        }));
    });
    // Ended by a signal: the dashboard has nothing to show any more.
    tui::terminal::leave();
    let shown = match shown {
        Some(thread) if thread.is_finished() => thread.join().ok(),
        _ => None,
    };
    match (served, shown) {
        (Ok(()), Some(Err(error))) => {
            complain(&format!("openclaw: {error}"));
            ExitCode::FAILURE
        }
        (Ok(()), _) => ExitCode::SUCCESS,
        (Err(process::Failed), _) => ExitCode::FAILURE,
    }
}

/// What `--domain` and `--upstream` say, as a configuration; written to a file if one is named.
fn quick_setup(options: &Options, quick: &Quick) -> Result<Setup, String> {
    // Who names a port wants that one and no other.
    let (port, https) = match quick.port {
        Some(port) => (port, "off"),
        None if is_free(site::SECURE_PORT) => (usable_port(), ""),
        None => (usable_port(), "off"),
    };
    let names = quick.domains.join(" ");
    let site =
        site::Site::parse(&names, &quick.upstream, "/", "", https, port).map_err(|problems| {
            match problems.first() {
                Some(problem) => problem.message.clone(),
                None => "the site makes no sense".to_owned(),
            }
        })?;
    let places = places::user_directory();
    let text = format!(
        "# Made by: openclaw --domain {} --upstream {} --port {port}\n\
         error_log {}/error.log warn;\npid {}/openclaw.pid;\nworker_processes auto;\n\n{}",
        quick.domains.join(","),
        quick.upstream,
        places.display(),
        places.display(),
        // What is passed on has its type, and the dashboard shows the requests.
        site::whole(&site).replacen("    include mime.types;\n", "    access_log off;\n", 1),
    );
    let surroundings = Surroundings::of_process();
    let (conf, text) = match &quick.save {
        Some(path) => {
            let path = surroundings.current.join(path);
            write_new(&path, &text, 0o644)?;
            (path, None)
        }
        None => (places.join("quick.conf"), Some(text)),
    };
    complain(&format!(
        "openclaw: {} on port {port} is passed on to {}",
        quick.domains.join(", "),
        quick.upstream
    ));
    let prefix = conf.parent().unwrap_or(Path::new("/")).to_owned();
    let paths = Paths {
        error_log: match &options.error_log {
            Some(path) => EarlyLog::Named(path.clone()),
            None => EarlyLog::Named("stderr".into()),
        },
        conf,
        prefix,
    };
    Ok(Setup {
        text,
        ..setup(options, paths)
    })
}

/// Writes the first configuration where this user's is looked for.
fn write_first(options: &Options, surroundings: &Surroundings) -> Result<Paths, String> {
    let conf = match geteuid().is_root() {
        true => PathBuf::from(places::SYSTEM_CONF),
        false => surroundings
            .personal_conf()
            .ok_or("no configuration, and no home directory to write one to")?,
    };
    let text = first_conf(usable_port(), &places::user_directory(), has_own_user());
    write_new(&conf, &text, 0o640)?;
    let types = conf.with_file_name("mime.types");
    if !types.exists() {
        write_new(&types, MIME_TYPES, 0o640)?;
    }
    let sites = conf.with_file_name("sites");
    fs::create_dir_all(&sites).map_err(|error| format!("`{}`: {error}", sites.display()))?;
    // The user that root becomes reads them again at a reload, and changes them for the dashboard.
    if geteuid().is_root()
        && let Ok(Some(user)) = User::from_name(if has_own_user() { "openclaw" } else { "nobody" })
    {
        let directory = conf.parent().unwrap_or(Path::new("/"));
        for path in [directory, &conf, &types, &sites] {
            chown(path, Some(user.uid), Some(user.gid))
                .map_err(|error| format!("`{}`: {error}", path.display()))?;
        }
    }
    complain(&format!(
        "openclaw: wrote a first configuration, {}",
        conf.display()
    ));
    paths::find(options, surroundings, |path| path == conf).map_err(|error| error.to_string())
}

/// The configuration that the program brings along, for a place of its own. As root, where the
/// service's user exists, it stays as it is.
fn first_conf(port: u16, directory: &Path, is_system: bool) -> String {
    let text = FIRST_CONF.replace("listen 80 ", &format!("listen {port} "));
    if is_system {
        return text;
    }
    let directory = format!("{}/", directory.display());
    let text = [
        "/var/log/openclaw/",
        "/run/openclaw/",
        "/var/cache/openclaw/",
    ]
    .iter()
    .fold(text, |text, usual| text.replace(usual, &directory));
    text.replace(
        "\nuser openclaw;",
        "\n# Started by root, the program would change to: user openclaw;",
    )
}

/// Is there the user that the service has, and may we become it?
fn has_own_user() -> bool {
    geteuid().is_root() && matches!(User::from_name("openclaw"), Ok(Some(_)))
}

/// May this user listen there, and does nobody?
fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
}

/// 80 if this user may listen there and nobody does, or else a port that anybody may have.
fn usable_port() -> u16 {
    let is_free = |port: &u16| is_free(*port);
    [80, 8080, 8081, 8888]
        .into_iter()
        .find(is_free)
        .unwrap_or(8080)
}

/// Writes a file that is not there yet.
fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), String> {
    let told = |error: io::Error| format!("`{}` cannot be written: {error}", path.display());
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(told)?;
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(told)?;
    file.write_all(text.as_bytes()).map_err(told)?;
    file.sync_all().map_err(told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::check;
    use crate::conf::diagnostic::any_error;
    use crate::conf::include::load_text;

    #[test]
    fn the_first_configuration_is_good_in_a_place_of_its_own() {
        let directory = tempfile::tempdir().expect("a directory");
        for is_system in [false, true] {
            let text = first_conf(8080, directory.path(), is_system);
            assert!(text.contains("listen 8080 default_server;"));
            assert_eq!(text.contains("\nuser openclaw;"), is_system);
            assert_eq!(text.contains("/var/log/openclaw/"), is_system);
            let mut loaded = load_text(Path::new("openclaw.conf"), text, directory.path());
            check::check(&mut loaded);
            assert!(!any_error(&loaded.diagnostics), "{:?}", loaded.diagnostics);
        }
    }

    #[test]
    fn a_file_that_is_there_is_never_written_over() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a/openclaw.conf");
        write_new(&path, "mine", 0o600).expect("a fresh path");
        let refused = write_new(&path, "theirs", 0o600).expect_err("it is there");
        assert!(refused.contains("cannot be written"), "{refused}");
        assert_eq!(fs::read_to_string(&path).expect("there"), "mine");
    }
}
