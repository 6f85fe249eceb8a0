//! What needs a person: raised anywhere, told by [`crate::control`] beside requests.
//!
//! Owns the queue between, and what is sent to whom. Nothing that was asked of a model, nor a secret,
//! is in an alert: a name, and a sentence of ours.
//!
//! Invariant: to raise one costs a lock and never a wait; a flood of them is counted and not kept.

pub mod failures;
pub mod mail;
pub mod message;
pub mod spikes;

use std::collections::VecDeque;
use std::sync::LazyLock;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// More wait for nobody.
const MOST: usize = 1024;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Better than before.
    Good,
    /// Look at it.
    Warn,
    /// It costs calls.
    Bad,
}

impl Severity {
    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Good => "good",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }
}

/// Something that somebody should know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Alert {
    /// `provider.down`, `budget.threshold`, …
    pub kind: &'static str,
    /// The key, the provider, … it is about.
    pub subject: String,
    /// How bad.
    pub severity: Severity,
    /// A sentence.
    pub text: String,
    /// So long the same is not told again.
    pub quiet: Duration,
}

struct Queue {
    waiting: Mutex<VecDeque<Alert>>,
    news: Notify,
}

fn queue() -> &'static Queue {
    static QUEUE: LazyLock<Queue> = LazyLock::new(|| Queue {
        waiting: Mutex::new(VecDeque::new()),
        news: Notify::new(),
    });
    &QUEUE
}

/// Raises one. The same again is told once in a while only.
pub fn raise(alert: Alert) {
    let queue = queue();
    let mut waiting = queue.waiting.lock();
    if waiting.len() < MOST && !waiting.contains(&alert) {
        waiting.push_back(alert);
    }
    drop(waiting);
    queue.news.notify_one();
}

/// Takes all that were raised; waits until there is one.
pub async fn raised() -> Vec<Alert> {
    let queue = queue();
    loop {
        let waiting = std::mem::take(&mut *queue.waiting.lock());
        if !waiting.is_empty() {
            return waiting.into();
        }
        queue.news.notified().await;
    }
}
