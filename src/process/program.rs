//! The main thread at work: signals, reloads, and the end.
//!
//! It owns what outlives a generation: the listening sockets, the handles of the workers, the pid
//! file. Invariant: a reload that fails at any step has changed nothing.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::notify::{self, State};
use super::pid_file::PidFile;
use super::privileges::Identity;
use super::worker::{Handle, News, Order};
use super::{Setup, chain, configuration};
use crate::conf::typed::log::{ErrorLog, Level};
use crate::conf::typed::process::Process;
use crate::log::{self, error_log};
use crate::net::listener::{self, ListenError, Share, Sockets};
use crate::serve::generation::Generation;
use crate::upstream::refresh::{NameEvent, NameEventKind};

/// A worker whose thread ended by itself is started again, after this long.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// How long the names of upstreams may hold up a start or a reload.
const NAMES_PATIENCE: Duration = Duration::from_secs(5);

/// What the main thread holds.
#[derive(Debug)]
pub struct Program {
    /// What the command line said.
    pub setup: Setup,
    /// Where messages go when the configuration names no log.
    pub usual_error_log: ErrorLog,
    /// The configuration in force.
    pub generation: Arc<Generation>,
    /// All listening sockets.
    pub sockets: Sockets,
    /// The pid file.
    pub pid_file: PidFile,
    /// Whom the process runs as, if it changed its user.
    pub identity: Option<Identity>,
    /// The task that keeps the names of upstreams up to date.
    pub names: Option<JoinHandle<()>>,
}

/// The signals, each waited for from its making on.
#[derive(Debug)]
pub struct Signals {
    reload: Signal,
    quit: Signal,
    terminate: Signal,
    interrupt: Signal,
    reopen: Signal,
    upgrade: Signal,
    window: Signal,
}

impl Signals {
    /// Takes them; within a runtime.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            reload: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reopen: signal(SignalKind::user_defined1())?,
            upgrade: signal(SignalKind::user_defined2())?,
            window: signal(SignalKind::window_change())?,
        })
    }

    async fn next(&mut self) -> SignalKind {
        // The first that is ready in this order: an end goes before a reload.
        tokio::select! {
            biased;
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.quit.recv() => SignalKind::quit(),
            _ = self.reload.recv() => SignalKind::hangup(),
            _ = self.reopen.recv() => SignalKind::user_defined1(),
            _ = self.upgrade.recv() => SignalKind::user_defined2(),
            _ = self.window.recv() => SignalKind::window_change(),
        }
    }
}

/// How the program shall end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Graceful,
    Fast,
}

impl Program {
    /// Serves until a signal ends it; `started` is called once every worker accepts connections.
    pub async fn serve(
        mut self,
        mut signals: Signals,
        started: impl FnOnce(),
    ) -> Result<(), StartError> {
        let mut workers = Workers::new();
        let count = self.generation.process.workers;
        self.attend_names(&Arc::clone(&self.generation)).await;
        error_log::report(Level::Notice, format_args!("start worker processes"));
        for index in 0..count {
            let shares = self.sockets.shares(index, count, &HashSet::new())?;
            workers.start(index, &self.generation, shares)?;
        }
        for _ in 0..count {
            if workers.news.recv().await != Some(News::Ready) {
                return Err(StartError::Worker);
            }
        }
        started();
        notify::tell(State::Ready);

        let ending = loop {
            let restart_at = workers.restarts.first().map(|restart| restart.at);
            tokio::select! {
                biased;
                kind = signals.next() => {
                    if let Some(ending) = self.take(kind, &mut workers).await {
                        break ending;
                    }
                }
                Some(news) = workers.news.recv() => workers.hear(news),
                () = at(restart_at) => self.restart_worker(&mut workers),
            }
        };

        notify::tell(State::Stopping);
        if ending == Ending::Graceful {
            error_log::report(Level::Notice, format_args!("gracefully shutting down"));
            self.finish(&mut signals, &mut workers).await;
        }
        workers.stop();
        error_log::report(Level::Notice, format_args!("exit"));
        Ok(())
    }

    /// Lets the workers finish what runs, as long as that may take.
    async fn finish(&mut self, signals: &mut Signals, workers: &mut Workers) {
        // The sockets close in the workers, once those have taken what waits in them.
        self.sockets = Sockets::default();
        workers.drain();
        let timeout = self.generation.process.shutdown_timeout;
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        while workers.is_any_running() {
            tokio::select! {
                biased;
                kind = signals.next() => {
                    if kind == SignalKind::terminate() || kind == SignalKind::interrupt() {
                        announce(kind, ", exiting");
                        return;
                    }
                    if kind == SignalKind::user_defined1() {
                        announce(kind, ", reopening logs");
                        reopen_logs(workers);
                    }
                }
                Some(news) = workers.news.recv() => workers.hear(news),
                () = at(deadline) => {
                    error_log::report(
                        Level::Warn,
                        format_args!("worker_shutdown_timeout has passed, closing what is open"),
                    );
                    return;
                }
            }
        }
    }

    /// Does what a signal asks for.
    async fn take(&mut self, kind: SignalKind, workers: &mut Workers) -> Option<Ending> {
        if kind == SignalKind::hangup() {
            announce(kind, ", reconfiguring");
            notify::tell(State::Reloading);
            self.reload(workers).await;
            notify::tell(State::Ready);
        } else if kind == SignalKind::quit() {
            announce(kind, ", shutting down");
            return Some(Ending::Graceful);
        } else if kind == SignalKind::terminate() || kind == SignalKind::interrupt() {
            announce(kind, ", exiting");
            return Some(Ending::Fast);
        } else if kind == SignalKind::user_defined1() {
            announce(kind, ", reopening logs");
            reopen_logs(workers);
        } else {
            announce(kind, ", which is not supported, ignoring");
        }
        None
    }

    /// Puts the configuration into force as its file has it now.
    async fn reload(&mut self, workers: &mut Workers) {
        error_log::report(Level::Notice, format_args!("reconfiguring"));
        if let Err(reason) = self.try_reload(workers).await {
            if let Some(reason) = reason {
                error_log::report(Level::Emerg, format_args!("{reason}"));
            }
            error_log::report(
                Level::Error,
                format_args!(
                    "the new configuration is not applied, generation {} stays",
                    self.generation.number
                ),
            );
        }
    }

    /// All that can fail comes first. `Err(None)`: the reasons have been told.
    async fn try_reload(&mut self, workers: &mut Workers) -> Result<(), Option<String>> {
        let reading = configuration::read(&self.setup, &self.usual_error_log);
        configuration::log(&reading.loaded.diagnostics, &reading.loaded.sources);
        let config = reading.config.ok_or(None)?;
        let count = config.process.workers;
        let before = Arc::clone(&self.generation);
        self.tell_fixed(&config.process);
        let background = tokio::runtime::Handle::current();
        let next = Generation::build(config, before.number + 1, Some(&before), &background);
        let next = next.map_err(|error| error.to_string())?;
        for warning in &next.warnings {
            error_log::report(Level::Warn, format_args!("{warning}"));
        }
        let mut remarks = Vec::new();
        let error_logs = log::open_errors(&next.process.error_logs, &mut remarks)
            .map_err(|error| chain(&error))?;
        super::raise_open_files(&next);
        let (sockets, warnings) = self
            .sockets
            .adapt(listener::endpoints(&next.http.listens), count)
            .map_err(|error| match error.hint() {
                Some(hint) => format!("{error} (hint: {hint})"),
                None => error.to_string(),
            })?;
        for warning in warnings {
            error_log::report(Level::Alert, format_args!("{warning}"));
        }
        let shares: Vec<_> = (0..count)
            .map(|index| sockets.shares(index, count, workers.held(index)))
            .collect::<Result<_, _>>()
            .map_err(|error| error.to_string())?;
        let moved = if self.pid_file.path() == next.process.pid {
            None
        } else {
            let moved = super::write_pid(&next.process.pid, self.identity.as_ref());
            Some(moved.map_err(|error| error.to_string())?)
        };

        self.attend_names(&next).await;

        // From here on nothing fails.
        error_log::set_default(error_logs);
        if let Some(moved) = moved {
            self.pid_file = moved;
        }
        // What is not listened to any more is closed by the worker that held it last.
        self.sockets = sockets;
        self.generation = next;
        for (index, shares) in shares.into_iter().enumerate() {
            workers.install(index, &self.generation, shares);
        }
        workers.shrink_to(count);
        Ok(())
    }

    /// Looks the names of a generation's upstreams up before it is used, for a bounded time, and
    /// keeps them up to date from then on in place of those of the generation before.
    async fn attend_names(&mut self, generation: &Generation) {
        let mut names = generation.names();
        if let Some(before) = self.names.take() {
            before.abort();
        }
        if names.is_empty() {
            return;
        }
        for event in names.resolve(NAMES_PATIENCE).await {
            tell_name(&event);
        }
        self.names = Some(tokio::spawn(names.keep(|event| tell_name(&event))));
    }

    /// Tells of settings that a running process cannot change.
    fn tell_fixed(&self, next: &Process) {
        let now = &self.generation.process;
        let user = |process: &Process| process.user.clone().map(|(user, group, _)| (user, group));
        for (name, is_changed) in [
            ("user", user(next) != user(now)),
            ("worker_priority", next.priority != now.priority),
            (
                "working_directory",
                next.working_directory != now.working_directory,
            ),
        ] {
            if is_changed {
                error_log::report(
                    Level::Warn,
                    format_args!("the changed \"{name}\" takes effect with the next start"),
                );
            }
        }
    }

    fn restart_worker(&self, workers: &mut Workers) {
        if workers.restarts.is_empty() {
            return;
        }
        let index = workers.restarts.remove(0).index;
        let count = self.generation.process.workers;
        let shares = self.sockets.shares(index, count, &HashSet::new());
        let started = shares
            .map_err(|error| error.to_string())
            .and_then(|shares| {
                workers
                    .start(index, &self.generation, shares)
                    .map_err(|error| error.to_string())
            });
        if let Err(reason) = started {
            error_log::report(Level::Alert, format_args!("{reason}"));
            workers.restart_later(index);
        }
    }
}

/// Tells what became of a name in an `upstream {}`.
fn tell_name(event: &NameEvent) {
    let line = &event.upstream.servers[event.server];
    match event.kind {
        NameEventKind::Failed(error) => error_log::report(
            Level::Warn,
            format_args!(
                "host not found in upstream \"{}\" ({error}), the group \"{}\" does without it until it is",
                line.name, event.upstream.name
            ),
        ),
        NameEventKind::Changed(count) => error_log::report(
            Level::Notice,
            format_args!(
                "\"{}\" in upstream \"{}\" has {count} addresses now",
                line.name, event.upstream.name
            ),
        ),
    }
}

/// Why serving did not begin.
#[derive(Debug)]
pub enum StartError {
    /// A socket could not be shared with a worker.
    Listen(ListenError),
    /// A thread could not be made.
    Thread(io::Error),
    /// A worker ended before it served; it told why.
    Worker,
}

impl fmt::Display for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(error) => write!(formatter, "{error}"),
            Self::Thread(error) => {
                write!(
                    formatter,
                    "cannot start a worker {}",
                    error_log::cause(error)
                )
            }
            Self::Worker => formatter.write_str("a worker ended while it started"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<ListenError> for StartError {
    fn from(error: ListenError) -> Self {
        Self::Listen(error)
    }
}

/// The workers and the news from them.
#[derive(Debug)]
struct Workers {
    /// By index; `None` where one has ended by itself and is to be started again.
    active: Vec<Option<Handle>>,
    /// Those that finish what runs.
    leaving: Vec<Handle>,
    restarts: Vec<Restart>,
    news: UnboundedReceiver<News>,
    sender: UnboundedSender<News>,
    next_id: u64,
}

#[derive(Debug)]
struct Restart {
    index: usize,
    at: Instant,
}

impl Workers {
    fn new() -> Self {
        let (sender, news) = unbounded_channel();
        Self {
            active: Vec::new(),
            leaving: Vec::new(),
            restarts: Vec::new(),
            news,
            sender,
            next_id: 0,
        }
    }

    fn start(
        &mut self,
        index: usize,
        generation: &Arc<Generation>,
        shares: Vec<Share>,
    ) -> Result<(), StartError> {
        self.next_id += 1;
        let generation = Arc::clone(generation);
        let sender = self.sender.clone();
        let worker = Handle::start(self.next_id, index, generation, shares, sender)
            .map_err(StartError::Thread)?;
        if self.active.len() <= index {
            self.active.resize_with(index + 1, || None);
        }
        self.active[index] = Some(worker);
        Ok(())
    }

    /// The sockets that a worker holds; none if it does not run.
    fn held(&self, index: usize) -> &HashSet<u64> {
        static NONE: LazyLock<HashSet<u64>> = LazyLock::new(HashSet::new);
        let worker = self.active.get(index).and_then(Option::as_ref);
        worker.map_or(&NONE, Handle::held)
    }

    /// Gives a worker a generation, and makes the worker if there is none.
    fn install(&mut self, index: usize, generation: &Arc<Generation>, shares: Vec<Share>) {
        if let Some(Some(worker)) = self.active.get_mut(index) {
            let generation = Arc::clone(generation);
            worker.tell(Order::Install { generation, shares });
            return;
        }
        self.restarts.retain(|restart| restart.index != index);
        if let Err(error) = self.start(index, generation, shares) {
            error_log::report(Level::Alert, format_args!("{error}"));
            if self.active.len() <= index {
                self.active.resize_with(index + 1, || None);
            }
            self.restart_later(index);
        }
    }

    /// Lets the workers behind the first so many finish; their sockets went to those that stay.
    fn shrink_to(&mut self, count: usize) {
        for mut worker in self.active.drain(count.min(self.active.len())..).flatten() {
            worker.tell(Order::Drain);
            self.leaving.push(worker);
        }
        self.restarts.retain(|restart| restart.index < count);
    }

    fn hear(&mut self, news: News) {
        let News::Ended(id) = news else { return };
        if let Some(position) = self.leaving.iter().position(|worker| worker.id() == id) {
            self.leaving.swap_remove(position).join();
            return;
        }
        let is_it =
            |worker: &Option<Handle>| worker.as_ref().is_some_and(|worker| worker.id() == id);
        let Some(index) = self.active.iter().position(is_it) else {
            return;
        };
        if let Some(worker) = self.active[index].take() {
            worker.join();
        }
        error_log::report(
            Level::Alert,
            format_args!("worker {index} ended by itself, starting it again"),
        );
        self.restart_later(index);
    }

    fn restart_later(&mut self, index: usize) {
        let at = Instant::now() + RESTART_PAUSE;
        self.restarts.push(Restart { index, at });
    }

    fn tell_all(&mut self, order: impl Fn() -> Order) {
        for worker in self.active.iter_mut().flatten().chain(&mut self.leaving) {
            worker.tell(order());
        }
    }

    /// From here on all workers are expected to end.
    fn drain(&mut self) {
        self.restarts.clear();
        self.shrink_to(0);
    }

    fn is_any_running(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// Ends all of them at once.
    fn stop(mut self) {
        self.tell_all(|| Order::Stop);
        for worker in self.active.into_iter().flatten().chain(self.leaving) {
            worker.join();
        }
    }
}

fn announce(kind: SignalKind, action: &str) {
    let number = kind.as_raw_value();
    let name = nix::sys::signal::Signal::try_from(number).map_or("unknown", |known| known.as_str());
    error_log::report(
        Level::Notice,
        format_args!("signal {number} ({name}) received{action}"),
    );
}

fn reopen_logs(workers: &mut Workers) {
    error_log::report(Level::Notice, format_args!("reopening logs"));
    for error in log::reopen_all() {
        error_log::report(Level::Emerg, format_args!("{}", chain(&error)));
    }
    workers.tell_all(|| Order::LogsReopened);
}

/// Waits for a time that may never come.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
