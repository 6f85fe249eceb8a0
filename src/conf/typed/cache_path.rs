//! `proxy_cache_path`: a zone of the cache.

use std::path::PathBuf;
use std::time::Duration;

use crate::conf::source::Span;

/// Keys that one byte of `keys_zone` may stand for: nginx promises 8,000 in a megabyte, and so does
/// this (the unit is a key's share in bytes).
pub const KEY: u64 = 128;

/// A zone of the cache and where it is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CachePath {
    /// The name in `keys_zone`, by which `proxy_cache` takes it.
    pub name: Box<str>,
    /// The directory, absolute.
    pub path: PathBuf,
    /// `levels`: how many digits name the directories of each level; none to three of 1 or 2.
    pub levels: Vec<u8>,
    /// The size in `keys_zone`, in bytes; at least [`KEY`].
    pub keys: u64,
    /// `memory`: so many bytes of entries are kept in memory; may be 0.
    pub memory: u64,
    /// `inactive`: what nobody wanted for so long is removed.
    pub inactive: Duration,
    /// `max_size`: bytes on disk; `None` has no limit.
    pub max_size: Option<u64>,
    /// `min_free`: bytes of the file system that are left free.
    pub min_free: u64,
    /// How fast what is too much is removed.
    pub manager: Pace,
    /// How fast the directory is read at the start.
    pub loader: Pace,
    /// The line.
    pub span: Span,
}

/// How much is done in one go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    /// Files in one go; at least 1.
    pub files: u32,
    /// The pause after it.
    pub sleep: Duration,
    /// A go ends after this long.
    pub threshold: Duration,
}

impl CachePath {
    /// How many keys it may hold.
    pub fn capacity(&self) -> u64 {
        self.keys / KEY
    }
}
