//! Who is told when something needs a person.

use std::sync::Arc;
use std::time::Duration;

use super::secret::SecretSource;
use crate::conf::source::Span;

/// What `http {}` says of alerts.
#[derive(Debug, Default)]
pub struct Alerts {
    /// Every `alert`, in order.
    pub receivers: Vec<Arc<Receiver>>,
    /// `alert_heartbeat`
    pub heartbeat: Option<Heartbeat>,
}

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
    /// Its name in the configuration.
    pub span: Span,
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
