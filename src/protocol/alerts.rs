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
    /// `json`, `slack`, `discord` or `ntfy`.
    pub format: String,
    /// The kinds it is told of; none for all.
    pub events: Vec<String>,
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
