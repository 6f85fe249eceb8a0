//! The key with which a provider is asked: read again when its file has changed, without a reload.
//!
//! Invariant: a key that could be read once stays in use until another can be: a file that is being
//! replaced, and is not there for a moment, stops no call.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::acme::secret::Secret;
use crate::conf::typed::secret::SecretSource;
use crate::unit::clock;

/// The key of one provider.
#[derive(Debug)]
pub struct ProviderKey {
    source: SecretSource,
    held: RwLock<Held>,
    /// The second in which its file was last looked at.
    looked: AtomicU64,
    /// How often another key was read.
    readings: AtomicU64,
}

#[derive(Debug)]
struct Held {
    /// It, or why there is none.
    secret: Result<Arc<Secret>, Arc<str>>,
    stamp: Option<Stamp>,
}

/// What changes when a file does: seconds and nanoseconds of its time, its length, its number.
type Stamp = (i64, i64, u64, u64);

impl ProviderKey {
    /// Reads it.
    pub fn new(source: &SecretSource) -> Self {
        Self {
            held: RwLock::new(Held {
                // Taken before: a change in between is seen as one.
                stamp: stamp(source),
                secret: read(source),
            }),
            looked: AtomicU64::new(clock::unix().as_secs()),
            readings: AtomicU64::new(0),
            source: source.clone(),
        }
    }

    /// The key as it is now; its file is looked at once a second.
    pub fn current(&self) -> Result<Arc<Secret>, Arc<str>> {
        self.look_in_time();
        self.held.read().secret.clone()
    }

    /// Which key it is: another number when it was replaced.
    pub fn reading(&self) -> u64 {
        self.look_in_time();
        self.readings.load(Ordering::Acquire)
    }

    fn look_in_time(&self) {
        let now = clock::unix().as_secs();
        let is_due = || self.looked.load(Ordering::Relaxed) != now;
        if matches!(self.source, SecretSource::File(_))
            && is_due()
            && self.looked.swap(now, Ordering::Relaxed) != now
        {
            self.look();
        }
    }

    fn look(&self) {
        let stamp = stamp(&self.source);
        if self.held.read().stamp == stamp {
            return;
        }
        let secret = read(&self.source);
        let mut held = self.held.write();
        if secret.is_ok() || held.secret.is_err() {
            *held = Held { secret, stamp };
            drop(held);
            self.readings.fetch_add(1, Ordering::Release);
        }
    }

    /// A text in which it is replaced by `***`.
    pub fn mask(&self, text: &str) -> String {
        match &self.held.read().secret {
            Ok(secret) => secret.mask(text),
            Err(_) => text.to_owned(),
        }
    }
}

fn read(source: &SecretSource) -> Result<Arc<Secret>, Arc<str>> {
    let read = Secret::read(source).map(Arc::new);
    read.map_err(|error| error.to_string().into())
}

fn stamp(source: &SecretSource) -> Option<Stamp> {
    let SecretSource::File(path) = source else {
        return None;
    };
    let about = fs::metadata(path).ok()?;
    Some((about.mtime(), about.mtime_nsec(), about.len(), about.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(key: &ProviderKey) -> Option<String> {
        // As if the last look were long ago.
        key.looked.store(0, Ordering::Relaxed);
        let secret = key.current().ok()?;
        Some(secret.expose().to_owned())
    }

    #[test]
    fn a_key_is_read_again_when_its_file_has_changed() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("key");
        let key = ProviderKey::new(&SecretSource::File(path.clone()));
        assert_eq!(said(&key), None, "there is no file yet");
        fs::write(&path, "first\n").expect("written");
        assert_eq!(said(&key).as_deref(), Some("first"));
        fs::write(&path, "the second\n").expect("written");
        assert_eq!(said(&key).as_deref(), Some("the second"));
        assert_eq!(key.mask("no: the second"), "no: ***");
    }

    #[test]
    fn a_key_outlives_its_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("key");
        fs::write(&path, "first\n").expect("written");
        let key = ProviderKey::new(&SecretSource::File(path.clone()));
        fs::remove_file(&path).expect("removed");
        assert_eq!(said(&key).as_deref(), Some("first"));
        fs::write(&path, "").expect("written");
        assert_eq!(
            said(&key).as_deref(),
            Some("first"),
            "an empty file is no key"
        );
        fs::write(&path, "third").expect("written");
        assert_eq!(said(&key).as_deref(), Some("third"));
    }
}
