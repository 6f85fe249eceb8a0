//! The record of what was put into force, by whom, and of what was refused and why.
//!
//! Invariant: a revision has a number only once the store has it safely; while there is no store the
//! program goes on and counts none.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::conf_files;
use super::desk::{Author, InForce, Proposal};
use data_encoding::HEXLOWER;

use crate::access::tokens::sealed;
use crate::conf::include::Loaded;
use crate::conf::typed::log::Level;
use crate::log::error_log;
use crate::protocol::Refusal;
use crate::store::{Outcome, Reader, Revision, RevisionFile, Store, StoreError};

/// How long a change waits for the store to have it.
const PATIENCE: Duration = Duration::from_secs(3);

/// Keeps the record of one configuration.
#[derive(Clone, Debug)]
pub struct History {
    store: Store,
    /// The main file, which names the configuration in the store.
    conf: String,
}

/// A configuration that is tried.
#[derive(Debug)]
pub struct Attempt<'a> {
    /// Its texts.
    pub loaded: &'a Loaded,
    /// Its digest.
    pub digest: &'a str,
    /// Who wants it.
    pub author: &'a Author,
    /// What was proposed, if it does not come from the files.
    pub proposal: Option<&'a Proposal>,
    /// Why it is not in force, if it is not.
    pub refusal: Option<&'a Refusal>,
}

impl History {
    /// The record of a configuration.
    pub fn new(store: Store, conf: String) -> Self {
        Self { store, conf }
    }

    /// Records an attempt; returns the revision in force after it, 0 if the store does not take it.
    pub async fn record(&self, before: &InForce, attempt: &Attempt<'_>) -> u64 {
        let files = conf_files::texts(attempt.loaded);
        let old = conf_files::texts(&before.loaded);
        let (added, removed) = conf_files::changed_lines(&old, &files);
        let proposal = attempt.proposal;
        let revision = Revision {
            at: now(),
            author: attempt.author.name.clone(),
            client: attempt.author.client.clone(),
            note: proposal.map_or_else(String::new, |proposal| proposal.note.clone()),
            outcome: match attempt.refusal {
                None => Outcome::Applied,
                Some(_) => Outcome::Refused,
            },
            reason: attempt.refusal.map(|refusal| refusal.message.clone()),
            parent: before.revision,
            reverts: proposal.and_then(|proposal| proposal.reverts),
            added,
            removed,
            digest: attempt.digest.to_owned(),
            conf: self.conf.clone(),
        };
        let id = self.put(revision, &files).await;
        match attempt.refusal {
            None => id,
            Some(_) => before.revision,
        }
    }

    /// The revision of what the program starts with: the last one in force, if its texts are the
    /// same, otherwise a new one. Waits for the store to open.
    pub async fn begin(&self, first: &Loaded, digest: &str) -> u64 {
        let (store, conf) = (self.store.clone(), self.conf.clone());
        let looked_up = tokio::task::spawn_blocking(move || {
            store.wait_open(Duration::from_secs(30));
            let reader = store.reader()?;
            keep_key_of_sessions(&store, &reader);
            reader.latest_applied(&conf)
        });
        let last = match looked_up.await {
            Ok(Ok(last)) => last,
            Ok(Err(error)) => {
                tell(&error);
                return 0;
            }
            Err(_) => return 0,
        };
        if let Some(last) = &last
            && last.row.digest == digest
        {
            return last.id;
        }
        let files = conf_files::texts(first);
        let revision = Revision {
            at: now(),
            client: "start".to_owned(),
            note: match last {
                Some(_) => "changed while the program did not run".to_owned(),
                None => "the first configuration".to_owned(),
            },
            outcome: Outcome::Applied,
            parent: last.map_or(0, |last| last.id),
            added: files
                .iter()
                .map(|(_, text)| text.lines().count() as u32)
                .sum(),
            digest: digest.to_owned(),
            conf: self.conf.clone(),
            ..Revision::default()
        };
        self.put(revision, &files).await
    }

    async fn put(&self, revision: Revision, files: &[(PathBuf, String)]) -> u64 {
        let files = files
            .iter()
            .map(|(path, text)| RevisionFile {
                path: path.display().to_string(),
                text: text.clone(),
            })
            .collect();
        let receipt = self.store.put_revision(revision, files);
        match tokio::time::timeout(PATIENCE, receipt.outcome()).await {
            Ok(Ok(id)) => id,
            Ok(Err(error)) => {
                tell(&error);
                0
            }
            Err(_) => {
                error_log::report(
                    Level::Error,
                    format_args!("the store did not take the revision in time"),
                );
                0
            }
        }
    }
}

fn tell(error: &StoreError) {
    error_log::report(
        Level::Error,
        format_args!("the revision is not recorded: {error}"),
    );
}

/// Milliseconds since 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_millis() as u64
}
/// Takes the key of logins out of the store, or puts a new one in, so that nobody is logged out by a
/// restart. Without a store sessions end with the process.
fn keep_key_of_sessions(store: &Store, reader: &Reader) {
    const NAME: &str = "session_key";
    let kept = reader.meta(NAME).ok().flatten();
    let kept = kept.and_then(|text| HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok());
    let mut key = kept.unwrap_or([0; sealed::KEY_BYTES]);
    if kept.is_none() {
        if aws_lc_rs::rand::fill(&mut key).is_err() {
            return;
        }
        let receipt = store.put_meta(NAME.to_owned(), HEXLOWER.encode(&key));
        if let Err(error) = receipt.wait() {
            tell(&error);
        }
    }
    sealed::set_key(&key);
}
