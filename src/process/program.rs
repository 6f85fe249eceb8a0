//! The main thread at work: signals, reloads, and the end.
//!
//! It owns what outlives a generation: the listening sockets, the handles of the workers, the pid
//! file. Invariant: a reload that fails at any step has changed nothing.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::desk::{self, Author, Counter, Desk, InForce, Proposal};
use super::history::{Attempt, History};
use super::notify::{self, State};
use super::pid_file::PidFile;
use super::privileges::{self, Identity};
use super::watchdog::Watchdog;
use super::worker::{Handle, News, Order};
use super::{chain, conf_files, configuration, memory};
use crate::alerts::{self, Alert, Severity};
use crate::conf::include::Loaded;
use crate::conf::typed::Config;
use crate::conf::typed::log::{ErrorLog, Level};
use crate::conf::typed::process::{LogRotation, Process};
use crate::llm::account::Moment;
use crate::llm::books::books;
use crate::llm::kept::answers;
use crate::log::{self, error_log};
use crate::net::listener::{self, ListenError, Share, Sockets};
use crate::protocol::{Applied, Base, Refusal, RefusalCode};
use crate::serve::generation::Generation;
use crate::serve::health::Turned;
use crate::tls::files::{Change, Files};
use crate::tls::{tickets, watched};
use crate::upstream::health::Condition;
use crate::upstream::refresh::{NameEvent, NameEventKind};

/// A worker whose thread ended by itself is started again, after this long.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// How long the names of upstreams may hold up a start or a reload.
const NAMES_PATIENCE: Duration = Duration::from_secs(5);

/// How long what was stored last may take to reach the disk, at the end.
const CACHE_PATIENCE: Duration = Duration::from_secs(2);

/// How often the sizes of log files are looked at, with `log_rotate`.
const LOGS_SEEN: Duration = Duration::from_secs(5);

/// How often the files of certificates are looked at.
const CERTIFICATES_SEEN: Duration = Duration::from_secs(2);

/// As above, when a person waits for an edit.
const EDIT_PATIENCE: Duration = Duration::from_millis(400);

/// What the main thread holds.
#[derive(Debug)]
pub struct Program {
    /// Where others ask.
    pub desk: Desk,
    /// What they ask for.
    pub counter: Counter,
    /// What was in force before.
    pub history: History,
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
    /// The tasks that check peers.
    pub checks: JoinSet<()>,
    /// The tasks that keep the status of certificates at hand.
    pub staples: JoinSet<()>,
    /// Where answers of OCSP responders are kept.
    pub answers: std::path::PathBuf,
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
        self.attend_names(&Arc::clone(&self.generation), NAMES_PATIENCE)
            .await;
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
        self.generation.start_caches(privileges::renounce);
        started();
        self.generation.attend();
        set_llm_limits(&self.generation).await;
        self.start_llm_log(self.generation.llm_log_days).await;
        let generation = Arc::clone(&self.generation);
        self.attend_staples(&generation);
        self.attend_checks(&generation);
        // A generation ends with its last request, not with the program.
        drop(generation);
        let files = Arc::clone(&self.generation.files);
        let watching = tokio::spawn(watch_certificates(files));
        let thrift = tokio::spawn(memory::keep_small());
        workers.watchdog = Watchdog::of_process();
        notify::keep_sockets(&Sockets::default(), &self.sockets);
        notify::tell(&State::Ready(self.status()));
        // The store may take its time to open; nobody waits for it.
        let first = self.desk.in_force();
        let (loaded, digest) = (Arc::clone(&first.loaded), first.digest.clone());
        drop(first);
        let history = self.history.clone();
        let mut beginning = std::pin::pin!(async move {
            let revision = history.begin(&loaded, &digest).await;
            (revision, digest)
        });
        let mut has_begun = false;
        let mut logs_seen = Instant::now();

        let ending = loop {
            let restart_at = workers.restarts.first().map(|restart| restart.at);
            let rotation = self.generation.process.log_rotation;
            let rotate_at = rotation.map(|_| logs_seen + LOGS_SEEN);
            let watchdog_at = workers.watchdog.as_ref().map(Watchdog::due);
            tokio::select! {
                biased;
                kind = signals.next() => {
                    if let Some(ending) = self.take(kind, &mut workers).await {
                        break ending;
                    }
                }
                Some(news) = workers.news.recv() => workers.hear(news),
                (revision, digest) = &mut beginning, if !has_begun => {
                    has_begun = true;
                    let now = self.desk.in_force();
                    // A signal may have brought another configuration meanwhile.
                    if now.revision == 0 && now.digest == digest {
                        self.counter.show(InForce {
                            generation: Arc::clone(&now.generation),
                            loaded: Arc::clone(&now.loaded),
                            digest,
                            revision,
                        });
                    }
                }
                // What the first revision is must be known before there is a second.
                Some(order) = self.counter.orders.recv(), if has_begun => {
                    self.serve_order(order, &mut workers).await;
                }
                () = at(restart_at) => self.restart_worker(&mut workers),
                () = at(rotate_at) => {
                    if let Some(rotation) = self.generation.process.log_rotation {
                        rotate_logs(rotation, &mut workers);
                    }
                    logs_seen = Instant::now();
                }
                () = at(watchdog_at) => workers.ask_for_signs_of_life(),
            }
        };

        watching.abort();
        thrift.abort();
        notify::tell(&State::Stopping);
        if ending == Ending::Graceful {
            error_log::report(Level::Notice, format_args!("gracefully shutting down"));
            self.finish(&mut signals, &mut workers).await;
        }
        workers.stop();
        let deadline = std::time::Instant::now() + CACHE_PATIENCE;
        for zone in self.generation.caches() {
            zone.settle(deadline);
        }
        error_log::report(Level::Notice, format_args!("exit"));
        Ok(())
    }

    /// Bodies of calls are kept for at most so many days from here on.
    async fn start_llm_log(&self, days: Option<u32>) {
        let directory = self.desk.places.state.join("llm-log");
        let starting = tokio::task::spawn_blocking(move || log::dated::start(&directory, days));
        if let Ok(Err(error)) = starting.await {
            error_log::report(
                Level::Error,
                format_args!("bodies of calls are not written down: {error}"),
            );
        }
    }

    /// Lets the workers finish what runs, as long as that may take.
    async fn finish(&mut self, signals: &mut Signals, workers: &mut Workers) {
        // The sockets close in the workers, once those have taken what waits in them.
        self.sockets = Sockets::default();
        // Nor is a certificate got any more: what the authority wants to see is not served, and who
        // comes next may want the same.
        self.generation.acme.attend(&[], &[]);
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
            notify::tell(&State::Reloading);
            let is_applied = self.reload(workers).await;
            self.tell_ready(is_applied);
        } else if kind == SignalKind::quit() {
            announce(kind, ", shutting down");
            return Some(Ending::Graceful);
        } else if kind == SignalKind::terminate() || kind == SignalKind::interrupt() {
            announce(kind, ", exiting");
            return Some(Ending::Fast);
        } else if kind == SignalKind::user_defined1() {
            announce(kind, ", reopening logs");
            reopen_logs(workers);
        } else if kind == SignalKind::window_change() && self.desk.setup.has_screen {
            // The terminal has another size, which is the dashboard's to know.
        } else {
            announce(kind, ", which is not supported, ignoring");
        }
        None
    }

    /// Puts the configuration into force as its files have it now, because a signal asks for it. Were
    /// they taken?
    async fn reload(&mut self, workers: &mut Workers) -> bool {
        error_log::report(Level::Notice, format_args!("reconfiguring"));
        let author = Author {
            name: String::new(),
            client: "signal".to_owned(),
        };
        // What is wrong is told to the log.
        self.change(None, &author, workers).await.is_ok()
    }

    /// Tells the service manager that a reload is over.
    fn tell_ready(&self, is_applied: bool) {
        let mut status = self.status();
        if !is_applied {
            status.push_str("; the last reload was refused, the error log says why");
        }
        notify::tell(&State::Ready(status));
    }

    /// What is going on, in one line.
    fn status(&self) -> String {
        let count = |number, word| format!("{number} {word}{}", if number == 1 { "" } else { "s" });
        format!(
            "serving generation {} on {} with {}",
            self.generation.number,
            count(self.sockets.addresses().count(), "port"),
            count(self.generation.process.workers, "worker"),
        )
    }

    /// Does what somebody at the desk asks for.
    async fn serve_order(&mut self, order: desk::Order, workers: &mut Workers) {
        match order {
            desk::Order::Change {
                proposal,
                author,
                reply,
            } => {
                error_log::report(
                    Level::Notice,
                    format_args!(
                        "{} by {} through {}",
                        match &proposal {
                            Some(_) => "changing the configuration",
                            None => "reconfiguring",
                        },
                        author.name.escape_debug(),
                        author.client.escape_debug()
                    ),
                );
                notify::tell(&State::Reloading);
                let done = self.change(proposal.as_deref(), &author, workers).await;
                // A proposal that is refused has changed nothing, not even a file.
                self.tell_ready(done.is_ok() || proposal.is_some());
                // Whoever asked may be gone; it is done all the same.
                let _ = reply.send(done);
            }
            desk::Order::RecordAgain { reply } => {
                let now = self.desk.in_force();
                let revision = self.history.begin(&now.loaded, &now.digest).await;
                self.counter.show(InForce {
                    generation: Arc::clone(&now.generation),
                    loaded: Arc::clone(&now.loaded),
                    digest: now.digest.clone(),
                    revision,
                });
                let _ = reply.send(());
            }
        }
    }

    /// Puts a configuration into force: the files as they are, or with the changes of a proposal,
    /// which are then written. What is wrong has been told to the log when this returns.
    async fn change(
        &mut self,
        proposal: Option<&Proposal>,
        author: &Author,
        workers: &mut Workers,
    ) -> Result<Applied, Refusal> {
        let before = self.desk.in_force();
        if let Some(proposal) = proposal {
            self.refuse_stale(&before, proposal)?;
        }
        let (changed, removed) = proposal.map_or((&[][..], &[][..]), |proposal| {
            (&proposal.files[..], &proposal.removed[..])
        });
        let setup = &self.desk.setup;
        let reading =
            configuration::read(setup, &self.usual_error_log, changed, removed).examined();
        let loaded = reading.loaded;
        // Who proposes a change is told what is wrong with it; a signal has only the log.
        if proposal.is_none() {
            configuration::log(&loaded.diagnostics, &loaded.sources);
        }
        let problems = desk::problems(&loaded.diagnostics, &loaded.sources);
        let digest = conf_files::digest(&loaded);
        let done = match reading.config {
            None => Err(Refusal {
                code: RefusalCode::Problems,
                message: match problems.iter().find(|problem| problem.is_error) {
                    Some(first) => format!(
                        "{} in {}:{}:{}",
                        first.message, first.file, first.line, first.column
                    ),
                    None => "the configuration cannot be used".to_owned(),
                },
                problems: problems.clone(),
                ..Refusal::default()
            }),
            Some(config) => {
                self.put_into_force(config, &loaded, proposal, workers)
                    .await
            }
        };
        if let Err(refusal) = &done {
            let (worst, level) = match proposal {
                Some(_) => (Level::Warn, Level::Warn),
                None => (Level::Emerg, Level::Error),
            };
            if refusal.code != RefusalCode::Problems || proposal.is_some() {
                error_log::report(worst, format_args!("{refusal}"));
            }
            error_log::report(
                level,
                format_args!(
                    "the new configuration is not applied, generation {} stays",
                    before.generation.number
                ),
            );
        }
        let is_unchanged = digest == before.digest;
        let revision = match (&done, is_unchanged) {
            (Ok(_), true) => before.revision,
            _ => {
                let attempt = Attempt {
                    loaded: &loaded,
                    digest: &digest,
                    author,
                    proposal,
                    refusal: done.as_ref().err(),
                };
                self.history.record(&before, &attempt).await
            }
        };
        let generation = done?;
        let number = generation.number;
        self.counter.show(InForce {
            generation,
            loaded: Arc::new(loaded),
            digest,
            revision,
        });
        Ok(Applied {
            revision,
            generation: number,
            problems,
            is_unchanged,
        })
    }

    /// A proposal starts from what is in force and from the files as they are; anything else would
    /// undo somebody's change unseen.
    fn refuse_stale(&self, before: &InForce, proposal: &Proposal) -> Result<(), Refusal> {
        if self.desk.setup.text.is_some() {
            return Err(Refusal {
                hint: Some("start it with `--save FILE` to have a file".to_owned()),
                ..desk::refusal(
                    RefusalCode::ReadOnly,
                    "the program was started without a configuration file",
                )
            });
        }
        let now = configuration::load(&self.desk.setup, &[], &[]);
        let current = Base {
            revision: before.revision,
            digest: conf_files::digest(&now),
        };
        let known = conf_files::texts(&now);
        let is_new = |path: &Path| !known.iter().any(|(other, _)| other == path);
        let surprise = proposal
            .files
            .iter()
            .find(|(path, _)| is_new(path) && path.exists());
        if current == proposal.base && surprise.is_none() {
            // Whoever may change the configuration may not remove any other file.
            return match proposal.removed.iter().find(|path| is_new(path)) {
                None => Ok(()),
                Some(path) => Err(desk::refusal(
                    RefusalCode::Problems,
                    format!("`{}` is no part of the configuration", path.display()),
                )),
            };
        }
        let message = match surprise {
            Some((path, _)) => format!(
                "`{}` exists and is no part of the configuration yet",
                path.display()
            ),
            None if current.revision != proposal.base.revision => format!(
                "the configuration is revision {} by now, the change starts from revision {}",
                current.revision, proposal.base.revision
            ),
            None => "the files were changed since the change was begun".to_owned(),
        };
        let old = conf_files::texts(&before.loaded);
        Err(Refusal {
            hint: Some("look at what is there now, and make the change anew".to_owned()),
            current: Some(Box::new(current)),
            diff: Some(conf_files::difference(&old, &known)),
            ..desk::refusal(RefusalCode::Stale, message)
        })
    }

    /// All that can fail comes first.
    async fn put_into_force(
        &mut self,
        config: Config,
        loaded: &Loaded,
        proposal: Option<&Proposal>,
        workers: &mut Workers,
    ) -> Result<Arc<Generation>, Refusal> {
        let failed = |reason: String| desk::refusal(RefusalCode::Failed, reason);
        if let Some(proposal) = proposal {
            let texts = conf_files::texts(loaded);
            let stranger = proposal
                .files
                .iter()
                .find(|(path, _)| !texts.iter().any(|(part, _)| part == path));
            if let Some((path, _)) = stranger {
                return Err(Refusal {
                    hint: Some("add an `include` that names it in the same change".to_owned()),
                    ..desk::refusal(
                        RefusalCode::Invalid,
                        format!("`{}` is no part of the configuration", path.display()),
                    )
                });
            }
        }
        let count = config.process.workers;
        let before = Arc::clone(&self.generation);
        self.tell_fixed(&config.process);
        let background = tokio::runtime::Handle::current();
        let next = Generation::build(
            config,
            before.number + 1,
            Some(&before),
            &background,
            &before.files,
            &before.acme,
        );
        let next = next.map_err(|error| failed(error.to_string()))?;
        for warning in &next.warnings {
            error_log::report(Level::Warn, format_args!("{warning}"));
        }
        let mut remarks = Vec::new();
        let error_logs = log::open_errors(&next.process.error_logs, &mut remarks)
            .map_err(|error| failed(chain(&error)))?;
        super::raise_open_files(&next);
        let (sockets, warnings) = self
            .sockets
            .adapt(listener::endpoints(&next.http.listens), count)
            .map_err(|error| Refusal {
                hint: error.hint().map(|hint| hint.to_string()),
                ..failed(error.to_string())
            })?;
        for warning in warnings {
            error_log::report(Level::Alert, format_args!("{warning}"));
        }
        let shares: Vec<_> = (0..count)
            .map(|index| sockets.shares(index, count, workers.held(index)))
            .collect::<Result<_, _>>()
            .map_err(|error| failed(error.to_string()))?;
        let moved = if self.pid_file.path() == next.process.pid {
            None
        } else {
            let moved = super::write_pid(&next.process.pid, self.identity.as_ref());
            Some(moved.map_err(|error| failed(error.to_string()))?)
        };

        // A person waits for an edit; names that take longer are looked up while it is in force.
        let patience = match proposal {
            Some(_) => EDIT_PATIENCE,
            None => NAMES_PATIENCE,
        };
        self.attend_names(&next, patience).await;

        // Last of all that can fail, because it cannot be taken back as surely as the rest.
        if let Some(proposal) = proposal {
            conf_files::write(&proposal.files).map_err(|error| Refusal {
                hint: Some(
                    "make the file and its directory writable for the program's user".to_owned(),
                ),
                ..desk::refusal(RefusalCode::ReadOnly, chain(&error))
            })?;
            for path in &proposal.removed {
                if let Err(error) = std::fs::remove_file(path) {
                    error_log::report(
                        Level::Error,
                        format_args!(
                            "unlink() \"{}\" failed {}",
                            path.display(),
                            error_log::cause(&error)
                        ),
                    );
                }
            }
        }

        // From here on nothing fails.
        error_log::set_default(error_logs);
        if let Some(moved) = moved {
            self.pid_file = moved;
        }
        // What is not listened to any more is closed by the worker that held it last.
        notify::keep_sockets(&self.sockets, &sockets);
        self.sockets = sockets;
        self.generation = Arc::clone(&next);
        for (index, shares) in shares.into_iter().enumerate() {
            workers.install(index, &self.generation, shares);
        }
        workers.shrink_to(count);
        next.start_caches(privileges::renounce);
        next.attend();
        set_llm_limits(&next).await;
        self.start_llm_log(next.llm_log_days).await;
        self.attend_staples(&next);
        self.attend_checks(&next);
        Ok(next)
    }

    /// Looks the names of a generation's upstreams up before it is used, for a bounded time, and
    /// keeps them up to date from then on in place of those of the generation before.
    async fn attend_names(&mut self, generation: &Generation, patience: Duration) {
        let mut names = generation.names();
        if let Some(before) = self.names.take() {
            before.abort();
        }
        if names.is_empty() {
            return;
        }
        for event in names.resolve(patience).await {
            tell_name(&event);
        }
        self.names = Some(tokio::spawn(names.keep(|event| tell_name(&event))));
    }

    /// Keeps the status of the certificates of a generation at hand, and no longer that of others.
    fn attend_staples(&mut self, generation: &Generation) {
        self.staples = JoinSet::new();
        for staple in generation.staples() {
            let tell = |problem: &str| error_log::report(Level::Warn, format_args!("{problem}"));
            self.staples
                .spawn(staple.keep(Some(self.answers.clone()), tell));
        }
    }

    /// Checks the peers of a generation, and no longer those of others.
    fn attend_checks(&mut self, generation: &Generation) {
        self.checks = JoinSet::new();
        for check in generation.checks() {
            self.checks.spawn(Arc::clone(check).keep(tell_check));
        }
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

/// Tells what checks found out about a peer.
fn tell_check(turned: &Turned) {
    let (level, word) = match turned.condition {
        Condition::Unhealthy => (Level::Warn, "unhealthy"),
        Condition::Healthy | Condition::Checking | Condition::Unchecked => {
            (Level::Notice, "healthy")
        }
    };
    error_log::report(
        level,
        format_args!(
            "peer {} of upstream \"{}\" is {word}: {}",
            turned.peer,
            turned.upstream,
            turned.words.escape_debug()
        ),
    );
    let (kind, severity) = match turned.condition {
        Condition::Unhealthy => ("peer.down", Severity::Bad),
        Condition::Healthy => ("peer.up", Severity::Good),
        Condition::Checking | Condition::Unchecked => return,
    };
    alerts::raise(Alert {
        kind,
        subject: turned.peer.to_string(),
        severity,
        text: format!(
            "the peer {} of the upstream `{}` is {word}",
            turned.peer, turned.upstream
        ),
        // One that comes and goes all the time is told of now and then.
        quiet: Duration::from_secs(10 * 60),
    });
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
    /// The service manager's; `None` if it does not watch.
    watchdog: Option<Watchdog>,
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
            watchdog: None,
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
        let id = match news {
            News::Ready => return,
            News::Alive(id) | News::Ended(id) => id,
        };
        if let Some(watchdog) = &mut self.watchdog
            && watchdog.heard(id)
        {
            notify::tell(&State::Alive);
        }
        if news == News::Alive(id) {
            return;
        }
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

    /// What the watchdog hears of keeps the service manager from starting the program again.
    fn ask_for_signs_of_life(&mut self) {
        let Some(watchdog) = &mut self.watchdog else {
            return;
        };
        let workers = self.active.iter().flatten().chain(&self.leaving);
        match watchdog.ask(workers.map(Handle::id)) {
            Ok(()) => self.tell_all(|| Order::Answer),
            Err(silent) => error_log::report(
                Level::Alert,
                format_args!("{silent} workers do not answer, the service manager is not told"),
            ),
        }
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

/// Moves log files away that have grown too large.
fn rotate_logs(rotation: LogRotation, workers: &mut Workers) {
    let (moved, errors) = log::rotate(rotation.size, rotation.keep);
    for error in errors {
        error_log::report(
            Level::Error,
            format_args!("the log cannot be moved away: {}", chain(&error)),
        );
    }
    if moved > 0 {
        reopen_logs(workers);
    }
}

/// The limits of a generation hold from here on; what has a budget is counted first.
async fn set_llm_limits(generation: &Generation) {
    answers().set_most(generation.http.llm.cache_size);
    let limits = generation.llm_limits();
    let zone = generation.http.llm.rules.zone.clone();
    let setting =
        tokio::task::spawn_blocking(move || books().set_limits(limits, &zone, Moment::now()));
    if let Ok(Err(error)) = setting.await {
        error_log::report(
            Level::Error,
            format_args!("budgets of language models are counted from nothing: {error}"),
        );
    }
}

/// Takes changed files of certificates and of keys for tickets into use, for ever. Files are read on a thread of its own:
/// neither a slow disk nor a costly password holds the main thread.
async fn watch_certificates(files: Arc<Files>) {
    loop {
        tokio::time::sleep(CERTIFICATES_SEEN).await;
        let looking = Arc::clone(&files);
        let looking = move || (looking.look(), tickets::look(), watched::look());
        let looked = tokio::task::spawn_blocking(looking).await;
        let (looked, troubles, changes) = looked.unwrap_or_default();
        for change in changes {
            match change {
                watched::Change::Taken(paths) => {
                    let paths: Vec<_> = paths
                        .iter()
                        .map(|path| path.display().to_string())
                        .collect();
                    error_log::report(
                        Level::Notice,
                        format_args!("\"{}\" has changed, it is used now", paths.join("\", \"")),
                    );
                }
                watched::Change::Refused(problem) => error_log::report(
                    Level::Error,
                    format_args!("{problem}; what was there before is used on"),
                ),
            }
        }
        for trouble in troubles {
            error_log::report(
                Level::Error,
                format_args!("{trouble}; the keys from before are used on"),
            );
        }
        for change in looked {
            match change {
                Change::Loaded {
                    certificate,
                    warnings,
                } => {
                    let certificate = certificate.display();
                    error_log::report(
                        Level::Notice,
                        format_args!("certificate \"{certificate}\" has changed, it is served now"),
                    );
                    for warning in warnings {
                        error_log::report(
                            Level::Warn,
                            format_args!("certificate \"{certificate}\": {warning}"),
                        );
                    }
                }
                Change::Refused { error, is_served } => {
                    let consequence = match is_served {
                        true => "the one from before is served on",
                        false => "a placeholder is served",
                    };
                    let hint = match error.hint() {
                        Some(hint) => format!(" (hint: {hint})"),
                        None => String::new(),
                    };
                    error_log::report(Level::Error, format_args!("{error}; {consequence}{hint}"));
                }
            }
        }
    }
}

/// Waits for a time that may never come.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
