//! An entry: what is stored of an answer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;

use super::flight::Flight;
use super::key::{Digest, Key};

/// A field that `Vary` names and the value that the request had; `None` if it had no such field.
pub type Selecting = (Box<[u8]>, Option<Box<[u8]>>);

/// What is stored of an answer besides its body. The times and flags are written and read by
/// whoever decides about freshness; nothing in this module follows from them.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Head {
    /// The status of the answer.
    pub status: u16,
    /// When the request went to the origin, in milliseconds since 1970.
    pub requested: u64,
    /// When the head of the answer came, in milliseconds since 1970.
    pub received: u64,
    /// What its `Date` says, in seconds since 1970.
    pub date: Option<u64>,
    /// How old it was on arrival, corrected, in seconds (RFC 9111 section 4.2.3).
    pub age: u64,
    /// How long it is fresh, counted from its generation at the origin, in seconds.
    pub lifetime: u64,
    /// For so many seconds more it may be served while it is renewed (RFC 5861 section 3).
    pub stale_while_revalidate: u32,
    /// For so many seconds more it may be served when the origin fails (RFC 5861 section 4).
    pub stale_if_error: u32,
    /// Whatever else the policy wants to know, a bit each.
    pub flags: u32,
    /// Its `Last-Modified`, in seconds since 1970.
    pub last_modified: Option<u64>,
    /// What the client asked for, with scheme and host: what people name the answer by.
    pub url: Box<[u8]>,
    /// Its `ETag` as written; empty if it has none.
    pub etag: Box<[u8]>,
    /// For which requests it was selected: the fields that `Vary` names, each with the value that
    /// the request had, normalized as the policy wants them compared.
    pub vary: Vec<Selecting>,
    /// What it may be purged by.
    pub tags: Vec<Box<[u8]>>,
    /// The fields as they came, each line with its end.
    pub fields: Box<[u8]>,
}

/// An answer that is stored whole. It does not change: renewing one puts another in its place.
#[derive(Debug)]
pub struct Entry {
    /// The text of its key.
    key: Arc<[u8]>,
    pub(super) digest: Digest,
    /// What is known of it.
    pub head: Head,
    /// The length of its body.
    pub length: u64,
    /// Grows with every fill that is begun in the zone; tells this file from others of its name.
    pub(super) serial: u64,
    /// Which of the files of its digest is its.
    pub(super) slot: u8,
    /// Purges up to this serial do not concern it.
    pub(super) checked: AtomicU64,
    /// The body, if it is in memory.
    body: OnceLock<Bytes>,
    /// Where the body is until the file is written.
    pub(super) flight: Mutex<Option<Arc<Flight>>>,
}

impl Entry {
    pub(super) fn new(key: &Key<'_>, head: Head, length: u64, serial: u64, slot: u8) -> Self {
        Self {
            key: key.text.into(),
            digest: key.digest,
            head,
            length,
            serial,
            slot,
            checked: AtomicU64::new(serial),
            body: OnceLock::new(),
            flight: Mutex::new(None),
        }
    }

    /// The same with another head.
    pub(super) fn renewed(&self, head: Head) -> Self {
        Self {
            key: Arc::clone(&self.key),
            digest: self.digest,
            head,
            length: self.length,
            serial: self.serial,
            slot: self.slot,
            checked: AtomicU64::new(self.checked.load(Ordering::Relaxed)),
            body: self.body.clone(),
            flight: Mutex::new(self.flight.lock().clone()),
        }
    }

    /// The text of its key.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// Its whole body, if that is in memory.
    pub fn body(&self) -> Option<&Bytes> {
        self.body.get()
    }

    /// The body is in memory from now on. `false` if it was already.
    pub(super) fn set_body(&self, body: Bytes) -> bool {
        self.body.set(body).is_ok()
    }

    /// What it takes in memory, about.
    pub(super) fn cost(&self) -> usize {
        let vary =
            self.head.vary.iter().map(|(name, value)| {
                48 + name.len() + value.as_ref().map_or(0, |value| value.len())
            });
        let tags = self.head.tags.iter().map(|tag| 24 + tag.len());
        size_of::<Self>()
            + self.key.len()
            + self.head.url.len()
            + self.head.etag.len()
            + self.head.fields.len()
            + vary.sum::<usize>()
            + tags.sum::<usize>()
            + self.body.get().map_or(0, Bytes::len)
    }
}
