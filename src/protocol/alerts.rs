//! Alerts, and who is told of them.

use serde::{Deserialize, Serialize};

use super::Millis;

/// What was told lately, and to whom.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AlertList {
    /// Who is told.
    pub receivers: Vec<AlertReceiver>,
    /// The alerts, newest first.
    pub alerts: Vec<AlertState>,
}

/// Somebody who is told.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AlertReceiver {
    /// Its name in the configuration.
    pub name: String,
    /// `json`, `slack`, `discord`, `ntfy` or `smtp`.
    pub format: String,
    /// The kinds it is told of; none for all.
    pub events: Vec<String>,
    /// Alerts that it is still to be told.
    pub waiting: u64,
    /// Alerts that it could not be told, and is not told any more.
    pub parked: u64,
    /// When it was last told.
    pub sent: Option<Millis>,
    /// When it could not be told something that it does not know yet.
    pub failed: Option<Millis>,
    /// Why that was; empty for nothing.
    pub error: String,
}

/// An alert.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AlertState {
    /// What receivers know it by.
    pub id: String,
    /// When.
    pub at: Millis,
    /// `provider.down`, `budget.threshold`, …
    pub kind: String,
    /// What it is about.
    pub subject: String,
    /// `info`, `good`, `warn` or `bad`.
    pub severity: String,
    /// A sentence.
    pub text: String,
    /// When a person said that they have seen it.
    pub seen: Option<Millis>,
    /// Who was told.
    pub sends: Vec<AlertSendState>,
}

/// Whether somebody was told.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AlertSendState {
    /// Who.
    pub receiver: String,
    /// `waiting`, `sent` or `parked`.
    pub state: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried again, while it waits.
    pub next: Millis,
    /// When it was last tried; 0 if it never was.
    pub tried: Millis,
    /// What went wrong last; empty for nothing.
    pub error: String,
}

/// Whom to send a message on trial.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AlertTest {
    /// Its name in the configuration.
    pub name: String,
}

/// What is to be done with an alert.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AlertChange {
    /// [`AlertState::id`], or as much of it as no other of those that are listed begins with. Of
    /// [`AlertAction::AcknowledgeAll`] the newest that was seen, or nothing.
    pub id: String,
    /// What.
    pub action: AlertAction,
}

/// What can be done with an alert.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertAction {
    /// A person has seen it.
    #[default]
    Acknowledge,
    /// It was seen with all that came before; without a number, with all there are.
    AcknowledgeAll,
    /// Those who do not know of it are told, now, even if they had been given up.
    Retry,
}
