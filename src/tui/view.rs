//! The seam between the dashboard's frame and what is shown in it: screens and overlays.
//!
//! A [`View`] keeps its own state, turns what comes in into [`Effect`]s, and draws itself. It does no
//! I/O, reads no clock and knows no other view: what it wants from the world it asks for, and what
//! it knows about the proxy it reads from the [`Model`].

use std::fmt;
use std::path::PathBuf;

use crossterm::event::KeyEvent;
use ratatui::layout::Rect;

use super::keymap::{Action, Context};
use super::model::Model;
use super::paint::Painter;
use super::theme::Role;
use crate::protocol::{
    AlertChange, AlertList, AlertTest, Applied, BanChange, Bans, CacheEntries, CacheName,
    CachePurge, CachePurged, Caches, CertificateName, Certificates, Change, ConfigTexts, Done,
    Events, Explanation, History, KeptPurge, KeptPurged, KeyChange, KeyChanged, KeyList, KeyState,
    ModelCalls, PeerChange, Preflight, Question, Refusal, Revert, Review, RevisionDiff,
    RevisionTexts, Revisions, Routes, SpendReport, Status, TermsAgreement, Upstreams,
};

/// A screen or an overlay.
pub trait View: fmt::Debug {
    /// Which rows of the table of keys hold. It may change with the state: a form names another
    /// one while a field of text has the focus.
    fn context(&self) -> Context;

    /// Takes what came in. A key that the table binds in [`View::context`] comes as
    /// [`Input::Action`], every other one as [`Input::Key`].
    fn input(&mut self, input: &Input, model: &Model) -> Vec<Effect>;

    /// Draws it. A screen gets the rows between the tabs and the line of context; an overlay gets
    /// the same and starts with [`Painter::dialog`].
    fn render(&mut self, painter: &mut Painter<'_>, area: Rect, model: &Model);

    /// What the last row but one says about it, if there is something.
    fn remark(&self, _model: &Model) -> Option<String> {
        None
    }

    /// The filter in force; empty for none.
    fn filter(&self) -> &str {
        ""
    }
}

/// What comes into a view.
#[derive(Clone, PartialEq, Debug)]
pub enum Input {
    /// The view came to the front, the daemon came back, or another revision is in force: time to
    /// ask for what is shown.
    Shown,
    /// A summary came in: about a second passed.
    Tick,
    /// The route or peer of this number is meant.
    Select(u32),
    /// Only rows with this text are wanted from now on; empty for all.
    Filter(String),
    /// A key that the table binds here.
    Action(Action),
    /// A key that it does not: letters for a field of text.
    Key(KeyEvent),
    /// Text from the clipboard.
    Paste(String),
    /// A click on something that the view told [`Painter::hit`] about.
    Click(Target),
    /// The wheel turned over something: lines down, or up if negative.
    Wheel(i16, Option<Target>),
    /// What the daemon answered to an [`Effect::Call`] of this view.
    Answer(Result<Answer, Failure>),
    /// What came out of an [`Effect::Suspend`]: the text as it was left, or why there is none.
    Edited(Result<String, String>),
    /// What this view asked with [`Effect::Ask`] was answered with yes. A no comes as nothing.
    Confirmed,
    /// What was typed into an [`Effect::Prompt`] of this view.
    Entered(String),
}

/// What a view wants.
#[derive(Debug)]
pub enum Effect {
    /// Asks the daemon; the answer comes as [`Input::Answer`].
    Call(Call),
    /// Leaves the terminal to an editor; the text comes back as [`Input::Edited`].
    Suspend(EditorJob),
    /// Puts text into the clipboard of the terminal (OSC 52), and says so.
    Copy(String),
    /// The same of a text that is not to be seen again.
    CopyQuietly {
        /// The text.
        text: String,
        /// What it is: `the secret`.
        what: &'static str,
    },
    /// Writes a file on this machine, and says so.
    Write {
        /// A file that does not exist yet.
        path: PathBuf,
        /// Its text.
        text: String,
    },
    /// A line above the keys, until the next key.
    Notice(Notice),
    /// Opens an overlay above everything.
    Open(Box<dyn View>),
    /// Asks before something is done; a yes comes as [`Input::Confirmed`].
    Ask(Ask),
    /// Asks for a line of text; it comes as [`Input::Entered`].
    Prompt(Prompt),
    /// Passes an input to the view that opened this overlay.
    Reply(Input),
    /// Closes the overlay that says so. Nothing for a screen.
    Close,
    /// Shows a screen, with the route or peer of this number selected if there is one.
    Go(Screen, Option<u32>),
    /// Asks the daemon again what routes, upstreams and texts there are.
    Refresh,
}

/// A question with two answers, the focus on the harmless one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ask {
    /// `Delete route?`
    pub title: String,
    /// What will happen, in numbers, and whether it can be undone.
    pub lines: Vec<String>,
    /// The word on the button that does it.
    pub button: String,
}

/// A question with a line of text for an answer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Prompt {
    /// `Test a URL`
    pub title: String,
    /// What is wanted.
    pub label: String,
    /// What is there already.
    pub text: String,
    /// Earlier answers, oldest first.
    pub history: Vec<String>,
}

/// A text for an editor.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EditorJob {
    /// The file it is of; the editor gets a copy with the same name.
    pub path: PathBuf,
    /// The line where the cursor should stand, from 1.
    pub line: u32,
    /// The text.
    pub text: String,
}

/// A line for the person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
    /// What there is to say.
    pub text: String,
    /// How it looks.
    pub role: Role,
}

impl Notice {
    /// Something went well.
    pub fn good(text: impl Into<String>) -> Effect {
        Effect::Notice(Self {
            text: text.into(),
            role: Role::Ok,
        })
    }

    /// Something did not.
    pub fn bad(text: impl Into<String>) -> Effect {
        Effect::Notice(Self {
            text: text.into(),
            role: Role::Bad,
        })
    }

    /// Something to know.
    pub fn plain(text: impl Into<String>) -> Effect {
        Effect::Notice(Self {
            text: text.into(),
            role: Role::Text,
        })
    }
}

/// The screens, in the order of their digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Screen {
    /// What happens.
    Overview,
    /// Where requests go.
    Routes,
    /// Who answers them.
    Backends,
    /// What names are served with.
    Certificates,
    /// Requests as they end.
    Logs,
    /// Revisions.
    Config,
    /// What is stored.
    Cache,
    /// What calls of language models cost.
    Llm,
    /// Who may make them.
    Keys,
    /// What needed a person, and who was told.
    Alerts,
}

impl Screen {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Overview,
        Self::Routes,
        Self::Backends,
        Self::Certificates,
        Self::Logs,
        Self::Config,
        Self::Cache,
        Self::Llm,
        Self::Keys,
        Self::Alerts,
    ];

    /// Its name, as typed behind `:` in small letters.
    pub fn name(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Routes => "Routes",
            Self::Backends => "Backends",
            Self::Certificates => "Certificates",
            Self::Logs => "Logs",
            Self::Config => "Config",
            Self::Cache => "Cache",
            Self::Llm => "LLM",
            Self::Keys => "Keys",
            Self::Alerts => "Alerts",
        }
    }

    /// Its name where there is little room.
    pub fn short_name(self) -> &'static str {
        match self {
            Self::Overview => "Over",
            Self::Routes => "Route",
            Self::Backends => "Back",
            Self::Certificates => "Cert",
            Self::Logs => "Logs",
            Self::Config => "Conf",
            Self::Cache => "Cache",
            Self::Llm => "LLM",
            Self::Keys => "Keys",
            Self::Alerts => "Alert",
        }
    }
}

/// Something on the screen that can be clicked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// A screen's tab.
    Screen(Screen),
    /// A hint in the last row.
    Press(Action),
    /// A pane of a screen.
    Pane(u8),
    /// A row of a table: its position in what is listed.
    Row {
        /// The pane.
        pane: u8,
        /// From 0.
        row: usize,
    },
    /// The head of a column.
    Header {
        /// The pane.
        pane: u8,
        /// Its position in the table's definition.
        column: u8,
    },
    /// A button of a dialog.
    Button(u8),
    /// A field of a form.
    Field(u8),
}

/// Where a click means what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hit {
    /// Where.
    pub area: Rect,
    /// What.
    pub target: Target,
}

/// A request to the daemon.
#[derive(Clone, PartialEq, Debug)]
pub enum Call {
    /// `GET /v1/status`
    Status,
    /// `GET /v1/routes`
    Routes,
    /// `GET /v1/upstreams`
    Upstreams,
    /// `GET /v1/events`
    Events,
    /// `GET /v1/history`, of all requests or of one route.
    History(Window, Option<u32>),
    /// `GET /v1/config`
    Config,
    /// `POST /v1/config/review`
    Review(Change),
    /// `POST /v1/config/apply`
    Apply(Change),
    /// `POST /v1/config/revert`; with `dry_run` the answer is a [`Answer::Review`].
    Revert(Revert),
    /// `POST /v1/reload`
    Reload,
    /// `GET /v1/revisions`, before this one or from the newest.
    Revisions(Option<u64>),
    /// `GET /v1/revisions/ID`
    RevisionTexts(u64),
    /// `GET /v1/revisions/ID/diff`
    RevisionDiff(u64),
    /// `POST /v1/peers`
    Peers(PeerChange),
    /// `POST /v1/explain`
    Explain(Question),
    /// `GET /v1/bans`
    Bans,
    /// `POST /v1/bans`
    Ban(BanChange),
    /// `GET /v1/keys`
    Keys,
    /// `GET /v1/keys/NAME`
    Key(String),
    /// `POST /v1/keys`
    ChangeKey(Box<KeyChange>),
    /// `GET /v1/alerts`
    Alerts,
    /// `POST /v1/alerts`
    ChangeAlert(AlertChange),
    /// `POST /v1/alerts/test`
    TestAlert(AlertTest),
    /// `GET /v1/spend`, of the days from one to another.
    Spend {
        /// See [`SpendReport::by`].
        by: String,
        /// See [`SpendReport::from`].
        from: String,
        /// See [`SpendReport::to`].
        to: String,
    },
    /// `GET /v1/llm/calls`
    ModelCalls,
    /// `GET /v1/cache`
    Caches,
    /// `POST /v1/cache/show`
    CacheShow(CacheName),
    /// `POST /v1/cache/purge`
    CachePurge(CachePurge),
    /// `POST /v1/llm/cache/purge`
    KeptPurge(KeptPurge),
    /// `GET /v1/certificates`
    Certificates,
    /// `POST /v1/certificates/renew`
    Renew(CertificateName),
    /// `POST /v1/certificates/why`
    Why(CertificateName),
    /// `POST /v1/certificates/agree`
    Agree(TermsAgreement),
}

/// What the daemon answered.
#[derive(Clone, PartialEq, Debug)]
pub enum Answer {
    /// To [`Call::Status`].
    Status(Box<Status>),
    /// To [`Call::Routes`].
    Routes(Routes),
    /// To [`Call::Upstreams`] and [`Call::Peers`].
    Upstreams(Upstreams),
    /// To [`Call::Events`].
    Events(Events),
    /// To [`Call::History`].
    History(History),
    /// To [`Call::Config`].
    Config(ConfigTexts),
    /// To [`Call::Review`], and to [`Call::Revert`] with `dry_run`.
    Review(Review),
    /// To [`Call::Apply`], [`Call::Revert`] and [`Call::Reload`].
    Applied(Applied),
    /// To [`Call::Revisions`].
    Revisions(Revisions),
    /// To [`Call::RevisionTexts`].
    RevisionTexts(RevisionTexts),
    /// To [`Call::RevisionDiff`].
    RevisionDiff(RevisionDiff),
    /// To [`Call::Explain`].
    Explanation(Explanation),
    /// To [`Call::Bans`] and [`Call::Ban`].
    Bans(Bans),
    /// To [`Call::Keys`].
    Keys(KeyList),
    /// To [`Call::Key`].
    Key(Box<KeyState>),
    /// To [`Call::ChangeKey`].
    KeyChanged(Box<KeyChanged>),
    /// To [`Call::Alerts`].
    Alerts(AlertList),
    /// To [`Call::Spend`].
    Spend(SpendReport),
    /// To [`Call::ModelCalls`].
    ModelCalls(ModelCalls),
    /// To [`Call::Caches`].
    Caches(Caches),
    /// To [`Call::CacheShow`].
    CacheEntries(CacheEntries),
    /// To [`Call::CachePurge`].
    CachePurged(CachePurged),
    /// To [`Call::KeptPurge`].
    KeptPurged(KeptPurged),
    /// To [`Call::Certificates`].
    Certificates(Certificates),
    /// To [`Call::Why`].
    Preflight(Preflight),
    /// To [`Call::Renew`], [`Call::Agree`], [`Call::ChangeAlert`] and [`Call::TestAlert`].
    Done(Done),
}

/// Why there is no answer.
#[derive(Clone, PartialEq, Debug)]
pub enum Failure {
    /// The daemon says no.
    Refused(Box<Refusal>),
    /// It did not answer, or nonsense; in words.
    Broken(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(out),
            Self::Broken(why) => out.write_str(why),
        }
    }
}

/// How far back curves go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Window {
    /// Five minutes.
    #[default]
    Minutes,
    /// An hour.
    Hour,
    /// A day.
    Day,
}

impl Window {
    /// All of them, the shortest first.
    pub const ALL: [Self; 3] = [Self::Minutes, Self::Hour, Self::Day];

    /// Its word in a query and behind `:window`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Minutes => "5m",
            Self::Hour => "1h",
            Self::Day => "1d",
        }
    }

    /// Its name on the screen.
    pub fn name(self) -> &'static str {
        match self {
            Self::Minutes => "5 min",
            Self::Hour => "1 h",
            Self::Day => "1 d",
        }
    }
}
