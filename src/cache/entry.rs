//! An entry: what is stored of an answer.

use std::sync::OnceLock;

use bytes::Bytes;

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
    /// Its `ETag` as written; empty if it has none.
    pub etag: Box<[u8]>,
    /// For which requests it was selected: the fields that `Vary` names, each with the value that
    /// the request had, normalized as the policy wants them compared.
    pub vary: Vec<(Box<[u8]>, Option<Box<[u8]>>)>,
    /// What it may be purged by.
    pub tags: Vec<Box<[u8]>>,
    /// The fields as they came, each line with its end.
    pub fields: Box<[u8]>,
}

/// An answer that is stored whole. It does not change: renewing one puts another in its place.
#[derive(Debug)]
pub struct Entry {
    /// The text of its key.
    pub(super) key: Box<[u8]>,
    /// What is known of it.
    pub head: Head,
    /// The length of its body.
    pub length: u64,
    /// Grows with every entry that is begun in the zone.
    pub(super) serial: u64,
    /// The body, if it is in memory.
    pub(super) body: OnceLock<Bytes>,
}

impl Entry {
    /// The text of its key.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// Its whole body, if that is in memory.
    pub fn body(&self) -> Option<&Bytes> {
        self.body.get()
    }
}
