//! The run loop: one wait for keys, the daemon and the terminal; a frame only when something visible
//! changed, and at most ten in a second.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use crossterm::event::{Event as TerminalEvent, EventStream};
use futures_core::Stream as _;
use jiff::tz::TimeZone;
use nix::sys::signal::{Signal, raise};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::app::{App, Event, Look, Output};
use super::edit::offline::Offline;
use super::editor;
use super::glyphs::Glyphs;
use super::link::{self, LinkOrder};
use super::terminal::{self, Screen};
use super::theme::{THEMES, Theme};
use super::view::EditorJob;
use crate::unit::clock;

/// The least time between two frames.
const FRAME: Duration = Duration::from_millis(100);

/// So soon after a key is drawn, whatever was drawn before.
const KEY_FRAME: Duration = Duration::from_millis(16);

/// What the dashboard is started with.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The control sockets to try, in order.
    pub sockets: Vec<PathBuf>,
    /// Removes every key that changes something.
    pub is_read_only: bool,
    /// Shall there be colour?
    pub colour: Choice,
    /// The name of a set of glyphs; by the locale and `TERM` if absent.
    pub glyphs: Option<String>,
    /// The name of a theme; the default one if absent.
    pub theme: Option<String>,
    /// Leaves the mouse to the terminal.
    pub no_mouse: bool,
    /// The proxy runs in this process: it ends with the dashboard, which asks before it quits.
    pub owns_daemon: bool,
    /// The configuration that is read, edited and saved while no daemon answers, if there is one.
    pub offline: Option<Offline>,
}

/// Whether to do something that the surroundings have an opinion about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Choice {
    /// As `NO_COLOR` and `TERM` say.
    #[default]
    Auto,
    /// Whatever they say.
    Always,
    /// Never.
    Never,
}

/// Why the dashboard ended other than by a key.
#[derive(Debug)]
pub enum Error {
    /// No such theme or set of glyphs.
    Unknown {
        /// What it should be.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The terminal cannot be used, or is gone.
    Terminal(io::Error),
    /// A mistake of the program. What it was is told already, by the hook for panics.
    Panicked,
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { what, name } => write!(out, "no {what} is called `{name}`"),
            Self::Terminal(_) => out.write_str("the terminal cannot be used"),
            Self::Panicked => out.write_str("the dashboard broke; the proxy is not affected"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Terminal(error) => Some(error),
            Self::Unknown { .. } | Self::Panicked => None,
        }
    }
}

/// Shows the dashboard on the terminal until it is left. The terminal is given back in any case.
///
/// # Errors
///
/// When an option names something that does not exist, standard input or output is no terminal, the
/// terminal goes away, or the dashboard breaks.
pub fn run(options: Options) -> Result<(), Error> {
    let look = look(&options, |name| std::env::var(name).unwrap_or_default())?;
    let hook = std::panic::take_hook();
    let own_thread = std::thread::current().id();
    let hook = std::sync::Arc::new(hook);
    let shown = std::sync::Arc::clone(&hook);
    std::panic::set_hook(Box::new(move |panic| {
        // A panic of a worker of the proxy is its own matter.
        if std::thread::current().id() == own_thread {
            terminal::leave();
        }
        shown(panic);
    }));
    let result = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        terminal::enter(!options.no_mouse)?;
        let result = runtime.block_on(serve(&options, look));
        // An editor that was left alone must not keep the program.
        runtime.shutdown_background();
        result
    }));
    terminal::leave();
    std::panic::set_hook(Box::new(move |panic| hook(panic)));
    match result {
        Ok(result) => result.map_err(Error::Terminal),
        Err(_) => Err(Error::Panicked),
    }
}

/// How it shall look, by the options and the environment.
fn look(options: &Options, environment: impl Fn(&str) -> String) -> Result<Look, Error> {
    let term = environment("TERM");
    let theme = match &options.theme {
        None => THEMES[0],
        Some(name) => Theme::named(name).ok_or_else(|| Error::Unknown {
            what: "theme",
            name: name.clone(),
        })?,
    };
    let has_colour = match options.colour {
        Choice::Always => true,
        Choice::Never => false,
        Choice::Auto => environment("NO_COLOR").is_empty() && term != "dumb",
    };
    let glyphs = match &options.glyphs {
        Some(name) => Glyphs::named(name).ok_or_else(|| Error::Unknown {
            what: "set of glyphs",
            name: name.clone(),
        })?,
        None => {
            let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
                .into_iter()
                .map(environment)
                .find(|value| !value.is_empty());
            Glyphs::suited(&locale.unwrap_or_default(), &term)
        }
    };
    Ok(Look {
        theme: if has_colour {
            theme
        } else {
            theme.without_colour()
        },
        glyphs,
        zone: TimeZone::system(),
        is_read_only: options.is_read_only,
        owns_daemon: options.owns_daemon,
        conf: options.offline.as_ref().map(|offline| offline.conf.clone()),
    })
}

async fn serve(options: &Options, look: Look) -> io::Result<()> {
    let (orders, ordered) = mpsc::unbounded_channel();
    let (told, mut link) = mpsc::channel(link::QUEUE);
    let link_task = tokio::spawn(link::run(
        options.sockets.clone(),
        options.offline.clone(),
        ordered,
        told,
    ));
    let mut shell = Shell {
        app: App::new(look, clock::milliseconds()),
        screen: Screen::new()?,
        keys: Some(EventStream::new()),
        orders,
        editor: None,
        has_mouse: !options.no_mouse,
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut is_dirty = true;
    let mut drawn = Instant::now() - FRAME;
    let mut soonest = drawn;
    loop {
        is_dirty |= shell.app.take_dirty();
        let may_draw = is_dirty && shell.editor.is_none() && shell.screen.is_ready();
        if may_draw && Instant::now() >= soonest {
            shell.draw()?;
            is_dirty = false;
            drawn = Instant::now();
            soonest = drawn + FRAME;
            continue;
        }
        if shell.screen.has_failed() {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe));
        }
        let deadline = shell.app.deadline().map(|at| {
            let wait = at.saturating_sub(clock::milliseconds());
            Instant::now() + Duration::from_millis(wait.max(1))
        });
        let wake = if may_draw { Some(soonest) } else { deadline };
        let event = tokio::select! {
            event = next_key(&mut shell.keys) => match event {
                Some(Ok(event)) => {
                    soonest = soonest.min(drawn + KEY_FRAME);
                    match event {
                        TerminalEvent::Key(key) => Event::Key(key),
                        TerminalEvent::Mouse(mouse) => Event::Mouse(mouse),
                        TerminalEvent::Paste(text) => Event::Paste(text),
                        TerminalEvent::Resize(..) => Event::Resized,
                        TerminalEvent::FocusGained | TerminalEvent::FocusLost => continue,
                    }
                }
                Some(Err(error)) => return Err(error),
                None => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            },
            event = link.recv() => match event {
                Some(event) => Event::Link(event),
                None => return Err(io::Error::other("the link to the daemon broke")),
            },
            result = edited(&mut shell.editor) => {
                shell.editor = None;
                shell.take_back()?;
                Event::Edited(result)
            }
            () = shell.screen.written() => continue,
            () = wait(wake) => {
                if may_draw {
                    continue;
                }
                Event::Time
            }
            _ = terminate.recv() => break,
            // To a process that serves it means to reload; a terminal that is gone is seen anyway.
            _ = hangup.recv(), if !options.owns_daemon => break,
            // While an editor runs it is meant for that.
            _ = interrupt.recv() => {
                if shell.editor.is_some() {
                    continue;
                }
                break;
            }
        };
        let outputs = shell.app.update(event, clock::milliseconds());
        if !shell.apply(outputs)? {
            break;
        }
    }
    link_task.abort();
    Ok(())
}

async fn next_key(keys: &mut Option<EventStream>) -> Option<io::Result<TerminalEvent>> {
    match keys {
        Some(keys) => poll_fn(|context| Pin::new(&mut *keys).poll_next(context)).await,
        None => std::future::pending().await,
    }
}

async fn edited(editor: &mut Option<JoinHandle<Result<String, String>>>) -> Result<String, String> {
    match editor {
        Some(editor) => match editor.await {
            Ok(result) => result,
            Err(_) => Err("the editor could not be waited for".to_owned()),
        },
        None => std::future::pending().await,
    }
}

async fn wait(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// The application and what it works with.
struct Shell {
    app: App,
    screen: Screen,
    /// Absent while somebody else reads the terminal.
    keys: Option<EventStream>,
    orders: mpsc::UnboundedSender<LinkOrder>,
    editor: Option<JoinHandle<Result<String, String>>>,
    has_mouse: bool,
}

impl Shell {
    fn draw(&mut self) -> io::Result<()> {
        let app = &mut self.app;
        self.screen.draw(|frame| {
            let cursor = app.render(frame.buffer_mut());
            if let Some(cursor) = cursor {
                frame.set_cursor_position(cursor);
            }
        })
    }

    /// Does what the application wants; false at the end.
    fn apply(&mut self, outputs: Vec<Output>) -> io::Result<bool> {
        for output in outputs {
            match output {
                Output::Order(order) => {
                    // A link that is gone is noticed where its events are read.
                    let _ = self.orders.send(order);
                }
                Output::Copy(text) => self.screen.put(&terminal::clipboard(&text)),
                Output::Write(path, text) => {
                    let event = Event::Written(write_new(&path, &text));
                    let outputs = self.app.update(event, clock::milliseconds());
                    self.apply(outputs)?;
                }
                Output::Edit(job) => self.edit(job),
                Output::Suspend => {
                    self.give_away();
                    // The shell takes over until `fg`.
                    raise(Signal::SIGTSTP).map_err(io::Error::from)?;
                    self.take_back()?;
                }
                Output::Redraw => self.screen.forget()?,
                Output::Quit => return Ok(false),
            }
        }
        Ok(true)
    }

    fn edit(&mut self, job: EditorJob) {
        self.give_away();
        self.editor = Some(tokio::task::spawn_blocking(move || editor::run(&job)));
    }

    fn give_away(&mut self) {
        self.keys = None;
        terminal::leave();
    }

    fn take_back(&mut self) -> io::Result<()> {
        terminal::enter(self.has_mouse)?;
        self.keys = Some(EventStream::new());
        self.screen.forget()?;
        let outputs = self.app.update(Event::Resized, clock::milliseconds());
        self.apply(outputs)?;
        Ok(())
    }
}

/// Writes a file that does not exist yet, for nobody else to read: URLs may hold secrets.
fn write_new(path: &Path, text: &str) -> Result<PathBuf, String> {
    let write = || {
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(text.as_bytes())
    };
    match write() {
        Ok(()) => Ok(path.to_owned()),
        Err(error) => Err(format!("could not write {}: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::glyphs::{ASCII, BLOCK};
    use super::*;

    fn environment<'e>(values: &'e [(&str, &str)]) -> impl Fn(&str) -> String + 'e {
        |name| {
            let value = values.iter().find(|(known, _)| *known == name);
            value.map_or_else(String::new, |(_, value)| (*value).to_owned())
        }
    }

    #[test]
    fn colour_and_letters_follow_the_environment_unless_told_otherwise() {
        let utf8 = [("LANG", "C.UTF-8"), ("TERM", "xterm")];
        let found = look(&Options::default(), environment(&utf8)).expect("a look");
        assert!(found.theme.has_colour());
        assert_eq!(found.glyphs, BLOCK);
        let plain = [("NO_COLOR", "1"), ("LC_ALL", "C"), ("LANG", "C.UTF-8")];
        let found = look(&Options::default(), environment(&plain)).expect("a look");
        assert!(!found.theme.has_colour());
        assert_eq!(found.glyphs, ASCII);
        let options = Options {
            colour: Choice::Always,
            glyphs: Some("block".to_owned()),
            theme: Some("light".to_owned()),
            ..Options::default()
        };
        let found = look(&options, environment(&plain)).expect("a look");
        assert!(found.theme.has_colour());
        assert_eq!((found.glyphs, found.theme.name), (BLOCK, "light"));
        let options = Options {
            theme: Some("pink".to_owned()),
            ..Options::default()
        };
        let error = look(&options, environment(&[])).expect_err("no such theme");
        assert_eq!(error.to_string(), "no theme is called `pink`");
    }

    #[test]
    fn a_file_that_is_there_is_not_written_over() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log.txt");
        assert_eq!(write_new(&path, "a\n"), Ok(path.clone()));
        write_new(&path, "b\n").expect_err("it exists");
        assert_eq!(std::fs::read_to_string(&path).expect("written"), "a\n");
    }
}
