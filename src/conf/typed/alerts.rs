//! Who is told when something needs a person.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::secret::SecretSource;
use crate::conf::source::Span;
use crate::unit::money::Money;

/// What `http {}` says of alerts.
#[derive(Debug, Default)]
pub struct Alerts {
    /// Every `alert`, in order.
    pub receivers: Vec<Arc<Receiver>>,
    /// `alert_heartbeat`
    pub heartbeat: Option<Heartbeat>,
    /// `alert_spike`; `None` if it is off.
    pub spike: Option<SpikeFloor>,
    /// Every `alert_errors`, in order.
    pub errors: Vec<ErrorRule>,
}

/// What nobody is told of if it is used in ten minutes, however unusual it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SpikeFloor {
    /// So much money.
    pub money: Money,
    /// So many tokens.
    pub tokens: u64,
}

/// Where nothing is said.
pub const USUAL_FLOOR: SpikeFloor = SpikeFloor {
    money: Money::from_pico(10_000_000_000_000),
    tokens: 10_000_000,
};

/// When too many calls of language models fail.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ErrorRule {
    /// Whose failures count together.
    pub failing: Failing,
    /// Is each one that was asked counted, or what clients were told?
    pub of_attempts: bool,
    /// So many are too many.
    pub count: Option<u64>,
    /// So many of a hundred are.
    pub share: Option<u8>,
    /// Of fewer in all a share means nothing.
    pub least: u64,
    /// Within so long.
    pub within: Duration,
}

/// Where nothing is said: a quarter of all calls of five minutes.
pub const USUAL_ERRORS: ErrorRule = ErrorRule {
    failing: Failing::All,
    of_attempts: false,
    count: None,
    share: Some(25),
    least: 20,
    within: Duration::from_secs(300),
};

/// Whose failures count together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failing {
    /// All of them.
    All,
    /// Those of a provider.
    Provider,
    /// Those of a model.
    Model,
    /// Those of a key.
    Key,
}

/// The words of `alert_errors`.
pub const FAILING: [(&str, Failing); 4] = [
    ("all", Failing::All),
    ("provider", Failing::Provider),
    ("model", Failing::Model),
    ("key", Failing::Key),
];

/// One `alert`.
#[derive(Debug)]
pub struct Receiver {
    /// What people call it.
    pub name: Box<str>,
    /// Where it is; a secret with some services.
    pub url: SecretSource,
    /// What it is sent.
    pub format: Format,
    /// What messages are signed with, each of them: a new one stands beside the old for a while.
    pub secrets: Vec<SecretSource>,
    /// The kinds that it is told of, with `*` at the end for all that begin so; none for all.
    pub events: Vec<Box<str>>,
    /// May it be in a private network?
    pub allows_private: bool,
    /// What it takes to send it letters; `None` for one that is told over HTTP.
    pub mail: Option<Mail>,
    /// Its name in the configuration.
    pub span: Span,
}

/// Letters to somebody.
#[derive(Debug)]
pub struct Mail {
    /// The server that takes them.
    pub host: Box<str>,
    /// Its port.
    pub port: u16,
    /// How the way there is kept secret.
    pub security: MailSecurity,
    /// Who sends them.
    pub from: Box<str>,
    /// Who gets them; at least one.
    pub to: Vec<Box<str>>,
    /// The user and the password.
    pub login: Option<(Box<str>, SecretSource)>,
    /// Whose certificates the server may have, in a file; those whom the system trusts if there is
    /// none.
    pub authorities: Option<PathBuf>,
}

/// How the way to a mail server is kept secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MailSecurity {
    /// TLS from the first byte: `smtps`.
    Tls,
    /// TLS once both agree, and nothing without it: `smtp`.
    StartTls,
    /// Not at all: `smtp` and `plain`.
    Plain,
}

impl Receiver {
    /// Is it told of this kind?
    pub fn wants(&self, kind: &str) -> bool {
        self.events.is_empty()
            || self
                .events
                .iter()
                .any(|wanted| match wanted.strip_suffix('*') {
                    Some(beginning) => kind.starts_with(beginning),
                    None => **wanted == *kind,
                })
    }
}

/// `alert_heartbeat`
#[derive(Debug)]
pub struct Heartbeat {
    /// Where.
    pub url: SecretSource,
    /// How often.
    pub every: Duration,
    /// May it be in a private network?
    pub allows_private: bool,
}

/// What is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// An object, signed as Standard Webhooks says.
    Json,
    /// What Slack takes.
    Slack,
    /// What Discord takes.
    Discord,
    /// What ntfy takes.
    Ntfy,
}

/// The words of `format=`.
pub const FORMATS: [(&str, Format); 4] = [
    ("json", Format::Json),
    ("slack", Format::Slack),
    ("discord", Format::Discord),
    ("ntfy", Format::Ntfy),
];
