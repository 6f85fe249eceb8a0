//! Where the running program is asked for something: to reload, to take a change of its
//! configuration, to say what is in force.
//!
//! Those who ask hold a [`Desk`]; the main thread serves one order after the other, so that no two
//! changes ever overlap. What is in force can be looked at without asking.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::places::Places;
use super::{Setup, conf_files, configuration};
use crate::conf::diagnostic::{Diagnostic, Severity};
use crate::conf::include::Loaded;
use crate::conf::source::Sources;
use crate::conf::typed::Config;
use crate::conf::typed::log::ErrorLog;
use crate::protocol::{Applied, Base, Occurrence, Problem, Refusal, RefusalCode};
use crate::serve::generation::Generation;
use crate::store::Store;

/// So many orders wait; more are refused.
const ORDERS: usize = 16;

/// So many occurrences are kept for a listener that is slow.
const OCCURRENCES: usize = 256;

/// A configuration as it is served.
#[derive(Debug)]
pub struct InForce {
    /// What runs.
    pub generation: Arc<Generation>,
    /// Its texts and its tree.
    pub loaded: Arc<Loaded>,
    /// Its digest, see [`conf_files::digest`].
    pub digest: String,
    /// Its revision; 0 while none is recorded.
    pub revision: u64,
}

/// Who asks for a change.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Author {
    /// The user's name.
    pub name: String,
    /// The program: `dashboard`, `cli`, `signal`.
    pub client: String,
}

/// New texts for files of the configuration.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Proposal {
    /// What they start from.
    pub base: Base,
    /// The files that change or are new, by their absolute paths.
    pub files: Vec<(PathBuf, String)>,
    /// Files that go.
    pub removed: Vec<PathBuf>,
    /// What it is for.
    pub note: String,
    /// The revision that it takes back.
    pub reverts: Option<u64>,
}

/// Something the main thread shall do.
#[derive(Debug)]
pub enum Order {
    /// Take the files as they are; or with the changes of the proposal.
    Change {
        /// The changes.
        proposal: Option<Box<Proposal>>,
        /// For the record.
        author: Author,
        /// Where the result goes.
        reply: oneshot::Sender<Result<Applied, Refusal>>,
    },
    /// The store holds another record now: find what is in force in it, or record it.
    RecordAgain {
        /// Answered when it is done.
        reply: oneshot::Sender<()>,
    },
}

/// What a configuration would be, see [`Desk::read`].
#[derive(Debug)]
pub struct Read {
    /// Its texts, its tree, what is wrong.
    pub loaded: Loaded,
    /// The typed value, unless something forbids using it.
    pub config: Option<Config>,
}

/// The way to the running program.
#[derive(Clone, Debug)]
pub struct Desk {
    /// What the command line said.
    pub setup: Arc<Setup>,
    /// Where the program keeps its memory.
    pub places: Arc<Places>,
    /// Its memory.
    pub store: Store,
    usual_error_log: Arc<ErrorLog>,
    orders: mpsc::Sender<Order>,
    in_force: watch::Receiver<Arc<InForce>>,
    occurrences: broadcast::Sender<Occurrence>,
}

/// The main thread's side of a [`Desk`].
#[derive(Debug)]
pub struct Counter {
    /// What is asked for.
    pub orders: mpsc::Receiver<Order>,
    in_force: watch::Sender<Arc<InForce>>,
}

impl Desk {
    /// A desk and its other side.
    pub fn new(
        setup: Setup,
        usual_error_log: ErrorLog,
        places: Places,
        store: Store,
        first: InForce,
    ) -> (Self, Counter) {
        let (sender, orders) = mpsc::channel(ORDERS);
        let (showing, in_force) = watch::channel(Arc::new(first));
        let desk = Self {
            setup: Arc::new(setup),
            places: Arc::new(places),
            store,
            usual_error_log: Arc::new(usual_error_log),
            orders: sender,
            in_force,
            occurrences: broadcast::channel(OCCURRENCES).0,
        };
        let counter = Counter {
            orders,
            in_force: showing,
        };
        (desk, counter)
    }

    /// What is in force now.
    pub fn in_force(&self) -> Arc<InForce> {
        Arc::clone(&self.in_force.borrow())
    }

    /// Tells of every change of what is in force.
    pub fn changes(&self) -> watch::Receiver<Arc<InForce>> {
        self.in_force.clone()
    }

    /// Takes the files as they are now.
    pub async fn reload(&self, author: Author) -> Result<Applied, Refusal> {
        self.change(None, author).await
    }

    /// Changes the files and takes them; nothing is changed unless all goes well.
    pub async fn apply(&self, proposal: Proposal, author: Author) -> Result<Applied, Refusal> {
        self.change(Some(Box::new(proposal)), author).await
    }

    /// To be called when the store's content has been replaced.
    pub async fn record_again(&self) -> Result<(), Refusal> {
        let (reply, answer) = oneshot::channel();
        self.ask(Order::RecordAgain { reply })?;
        answer
            .await
            .map_err(|_| refusal(RefusalCode::Failed, "the program ends"))
    }

    fn ask(&self, order: Order) -> Result<(), Refusal> {
        self.orders.try_send(order).map_err(|_| {
            refusal(
                RefusalCode::Busy,
                "the program is busy with changes, or ends",
            )
        })
    }

    async fn change(
        &self,
        proposal: Option<Box<Proposal>>,
        author: Author,
    ) -> Result<Applied, Refusal> {
        let (reply, answer) = oneshot::channel();
        let order = Order::Change {
            proposal,
            author,
            reply,
        };
        self.ask(order)?;
        answer
            .await
            .unwrap_or_else(|_| Err(refusal(RefusalCode::Failed, "the program ends")))
    }

    /// Reads the configuration as its files are, but for those that have other texts.
    pub fn read(&self, texts: &[(PathBuf, String)], removed: &[PathBuf]) -> Read {
        let reading = configuration::read(&self.setup, &self.usual_error_log, texts, removed);
        Read {
            loaded: reading.loaded,
            config: reading.config,
        }
    }

    /// Why the files cannot be changed, if they cannot.
    pub fn read_only(&self) -> Option<String> {
        if self.setup.text.is_some() {
            return Some("the program was started without a file".to_owned());
        }
        conf_files::obstacle(&conf_files::texts(&self.in_force().loaded))
    }

    /// Tells everybody who listens, and the store, that something happened.
    pub fn tell(&self, occurrence: Occurrence) {
        // Nobody may be listening.
        let _ = self.occurrences.send(occurrence);
    }

    /// What happens from now on.
    pub fn listen(&self) -> broadcast::Receiver<Occurrence> {
        self.occurrences.subscribe()
    }
}

impl Counter {
    /// Shows what is in force from now on.
    pub fn show(&self, in_force: InForce) {
        self.in_force.send_replace(Arc::new(in_force));
    }
}

/// A refusal without more to say.
pub fn refusal(code: RefusalCode, message: impl Into<String>) -> Refusal {
    Refusal {
        code,
        message: message.into(),
        ..Refusal::default()
    }
}

/// Problems as the protocol tells them.
pub fn problems(diagnostics: &[Diagnostic], sources: &Sources) -> Vec<Problem> {
    let told = diagnostics.iter().map(|diagnostic| {
        let span = diagnostic.span();
        let (line, column) = sources.line_column(span);
        let source = sources.slice(sources.line_span(span.file, line));
        let mut message = diagnostic.message.clone();
        if let Some((_, label)) = diagnostic
            .labels
            .first()
            .filter(|(_, label)| !label.is_empty())
        {
            message = format!("{message}: {label}");
        }
        Problem {
            code: diagnostic.code.name().to_owned(),
            is_error: diagnostic.severity == Severity::Error,
            message,
            hint: diagnostic.hint.clone(),
            file: sources.path(span.file).display().to_string(),
            line: line as u32,
            column: column as u32,
            width: sources
                .slice(span)
                .lines()
                .next()
                .map_or(1, |text| text.chars().count().max(1)) as u32,
            source: source.to_owned(),
        }
    });
    told.collect()
}
