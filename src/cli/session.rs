//! A word's conversation with the daemon: where it is, what it says, how the word ends.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::{Builder, Runtime};

use super::args::Options;
use super::exit::Exit;
use super::paint::Paint;
use super::socket::{self, Tried};
use super::words::Daemon;
use super::{complain, paths, print, problems};
use crate::conf::include;
use crate::process::{self, Setup};
use crate::protocol::client::{CallError, Client};
use crate::protocol::{Problem, Refusal, RefusalCode, Status, VERSION};
use crate::unit::printable::{escape, escape_json, escape_lines};

/// How long a daemon may take to say who it is.
const PATIENCE: Duration = Duration::from_secs(5);

/// A daemon that answers.
#[derive(Debug)]
pub struct Session {
    /// Moves the bytes of calls.
    pub runtime: Runtime,
    /// Makes the calls.
    pub client: Client,
    /// What the daemon said it is.
    pub status: Status,
    /// JSON is wanted.
    pub json: bool,
    /// Colour on standard output.
    pub paint: Paint,
}

/// A word that did not end well.
#[derive(Debug)]
pub enum Failure {
    /// A call that did not succeed.
    Call(CallError),
    /// No daemon answers.
    NoDaemon(Tried),
    /// For any other reason.
    Told(Exit, String),
    /// The result was told already; only the code is left.
    Quiet(Exit),
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl Failure {
    /// It failed, with a message in lower case and without a full stop.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Told(Exit::Failed, message.into())
    }

    /// Tells it, and says how the program ends.
    pub fn tell(self, daemon: &Daemon) -> ExitCode {
        match self {
            Self::NoDaemon(tried) => {
                complain(&escape_lines(&tried.text()));
                Exit::NoDaemon.into()
            }
            Self::Call(CallError::Refused(refusal)) => {
                if daemon.json {
                    print_json(&*refusal);
                }
                tell_refusal(&refusal, Paint::of(daemon.color, &io::stderr()));
                match refusal.code {
                    RefusalCode::Problems => Exit::Configuration.into(),
                    _ => Exit::Failed.into(),
                }
            }
            Self::Call(error @ CallError::Connect { .. }) => {
                complain(&format!("openclaw: {}", escape(&error.to_string())));
                Exit::NoDaemon.into()
            }
            Self::Call(error) => {
                complain(&format!("openclaw: {}", escape(&error.to_string())));
                Exit::Failed.into()
            }
            Self::Told(exit, message) => {
                complain(&format!("openclaw: {}", escape_lines(&message)));
                exit.into()
            }
            Self::Quiet(exit) => exit.into(),
        }
    }
}

impl Session {
    /// Finds the daemon.
    pub fn open(daemon: &Daemon) -> Result<Self, Failure> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::failed(error.to_string()))?;
        let mut tried = Tried::default();
        for socket in sockets(daemon)? {
            let client = Client::new(&socket);
            let asked = runtime.block_on(async {
                tokio::time::timeout(PATIENCE, client.get::<Status>("/v1/status")).await
            });
            let status = match asked.unwrap_or(Err(CallError::TimedOut)) {
                Ok(status) => status,
                Err(CallError::Connect { error, .. }) => {
                    tried.sockets.push((socket, error));
                    continue;
                }
                Err(CallError::Refused(refusal)) if refusal.code == RefusalCode::NotFound => {
                    return Err(Failure::failed(format!(
                        "the daemon of {} does not speak version {VERSION} of the control \
                         protocol; this is openclaw {}\n\
                         hint: use the program of the daemon's version, or restart the daemon",
                        socket.display(),
                        env!("CARGO_PKG_VERSION")
                    )));
                }
                Err(error) => return Err(error.into()),
            };
            if status.protocol > VERSION {
                complain(&format!(
                    "openclaw: [warn] the daemon is openclaw {} and newer than this program, \
                     openclaw {}; what is new in it is not shown",
                    escape(&status.version),
                    env!("CARGO_PKG_VERSION")
                ));
            }
            return Ok(Self {
                runtime,
                client,
                status,
                json: daemon.json,
                paint: Paint::of(daemon.color, &io::stdout()),
            });
        }
        Err(Failure::NoDaemon(tried))
    }

    /// Reads something.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        Ok(self.runtime.block_on(self.client.get(path))?)
    }

    /// Changes something.
    pub fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        Ok(self.runtime.block_on(self.client.post(path, body))?)
    }

    /// Tells problems on standard error.
    pub fn warn(&self, found: &[Problem]) {
        // The same choice was made for standard output; here it is about the other stream.
        let paint = match self.paint.is_on() {
            true => Paint::of(super::args::Color::Auto, &io::stderr()),
            false => Paint::PLAIN,
        };
        let text = problems::render(found, paint);
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}

/// Prints an answer as the protocol has it.
pub fn print_json(answer: &impl Serialize) {
    if let Ok(text) = serde_json::to_string_pretty(answer) {
        print(&escape_json(&text));
        print("\n");
    }
}

fn tell_refusal(refusal: &Refusal, paint: Paint) {
    if !refusal.problems.is_empty() {
        let text = problems::render(&refusal.problems, paint);
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
    let mut text = format!("openclaw: {}", escape(&refusal.message));
    if let Some(hint) = &refusal.hint {
        text.push_str(&format!("\nhint: {}", escape(hint)));
    }
    if let Some(diff) = &refusal.diff {
        text.push_str(&format!("\nwhat changed meanwhile:\n{}", paint.diff(diff)));
    }
    complain(text.trim_end_matches('\n'));
}

/// What the command line says about the configuration of a daemon.
pub fn setup(daemon: &Daemon) -> Result<Setup, paths::NotFound> {
    let options = Options {
        conf: daemon.conf.clone(),
        prefix: daemon.prefix.clone(),
        ..Options::default()
    };
    let surroundings = paths::Surroundings::of_process();
    let places = paths::find(&options, &surroundings, |path| path.exists())?;
    Ok(super::setup(&options, places))
}

/// The sockets at which the daemon may be found, in the order in which they are tried.
pub fn sockets(daemon: &Daemon) -> Result<Vec<PathBuf>, Failure> {
    let environment = std::env::var_os("OPENCLAW_SOCKET")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    let configured = configured_socket(daemon)?;
    let named = daemon.socket.clone().or(configured).or(environment);
    Ok(socket::candidates(named))
}

/// The socket of the configuration that was asked for with `-c` or `-p`, as far as one that may have
/// mistakes elsewhere tells it: that is when it is looked at.
fn configured_socket(daemon: &Daemon) -> Result<Option<PathBuf>, Failure> {
    if daemon.socket.is_some() || (daemon.conf.is_none() && daemon.prefix.is_none()) {
        return Ok(None);
    }
    let setup = setup(daemon).map_err(|error| Failure::failed(error.to_string()))?;
    let loaded = include::load(&setup.conf, &setup.prefix, None);
    let named = loaded
        .nodes
        .iter()
        .find(|node| &*node.name.text == "control_socket" && node.block.is_none())
        .and_then(|node| node.arguments.first());
    let socket = match named {
        Some(word) if &*word.text == "off" => None,
        Some(word) => Some(setup.prefix.join(&*word.text)),
        None => process::places::usual(&setup).socket,
    };
    socket.map(Some).ok_or_else(|| {
        Failure::Told(
            Exit::NoDaemon,
            format!("{} turns the control socket off", setup.conf.display()),
        )
    })
}
