//! What becomes of an answer's body on its way to the client.

use crate::conf::regex::Regex;
use crate::conf::template::Template;

/// What a place does to bodies; a place that does nothing has none of this.
#[derive(Debug)]
pub struct Filters {
    /// `gzip`
    pub gzip: Option<Compression>,
    /// `brotli`
    pub brotli: Option<Compression>,
    /// `zstd`
    pub zstd: Option<Compression>,
    /// `sub_filter` and what belongs to it.
    pub substitutes: Option<Substitutes>,
    /// `gunzip`: gzip of peers is unpacked for clients that do not take it.
    pub gunzip: bool,
    /// Which compressed files are sent in the place of others.
    pub beside: Beside,
    /// `gzip_vary`
    pub vary: bool,
    /// Which clients get gzip.
    pub clients: GzipClients,
}

/// How bodies are compressed with one coding.
#[derive(Debug)]
pub struct Compression {
    /// The level as written.
    pub level: u8,
    /// `brotli_window`: how far back it looks for repetitions, bytes as a power of two; without
    /// meaning for the others.
    pub window: u8,
    /// The media types that are compressed.
    pub types: MediaTypes,
    /// A body that is known to be shorter is left alone, bytes.
    pub min_length: u64,
}

/// Texts in bodies that are replaced.
#[derive(Debug)]
pub struct Substitutes {
    /// `sub_filter`, in order: what is looked for and what takes its place.
    pub pairs: Box<[(Template, Template)]>,
    /// `sub_filter_once`: each of them is replaced once only.
    pub once: bool,
    /// `sub_filter_types`
    pub types: MediaTypes,
    /// `sub_filter_last_modified`
    pub keeps_last_modified: bool,
}

/// `gzip_static`, `brotli_static`, `zstd_static`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "each field is named after its directive")]
pub struct Beside {
    pub gzip: Precompressed,
    pub brotli: Precompressed,
    pub zstd: Precompressed,
}

/// Who gets a compressed file that lies beside the one asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precompressed {
    /// Nobody; it is not looked for.
    #[default]
    Off,
    /// Clients that take it.
    On,
    /// Everybody.
    Always,
}

/// A set of media types.
#[derive(Debug)]
pub enum MediaTypes {
    /// `*`
    Any,
    /// These, in lower case.
    These(Box<[Box<[u8]>]>),
}

impl MediaTypes {
    /// Is the type of a `Content-Type` field one of them? What follows a `;` does not count.
    pub fn has(&self, content_type: Option<&[u8]>) -> bool {
        let types = match self {
            Self::Any => return true,
            Self::These(types) => types,
        };
        let Some(value) = content_type else {
            return false;
        };
        let end = memchr::memchr(b';', value).unwrap_or(value.len());
        let media_type = value[..end].trim_ascii();
        types
            .iter()
            .any(|known| known.eq_ignore_ascii_case(media_type))
    }
}

/// The conditions of the `gzip_…` directives that look at the request.
#[derive(Debug)]
pub struct GzipClients {
    /// `gzip_http_version 1.0`
    pub http10: bool,
    /// `gzip_proxied`
    pub proxied: Proxied,
    /// `gzip_disable`: not for these user agents.
    pub disable: Box<[Regex]>,
    /// `gzip_disable msie6`
    pub disable_msie6: bool,
}

/// `gzip_proxied`: which answers to requests of proxies are compressed; a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proxied(pub u16);

impl Proxied {
    /// None.
    pub const OFF: Self = Self(0);
    /// `Expires` lies in the past.
    pub const EXPIRED: Self = Self(1);
    /// `Cache-Control: no-cache`
    pub const NO_CACHE: Self = Self(1 << 1);
    /// `Cache-Control: no-store`
    pub const NO_STORE: Self = Self(1 << 2);
    /// `Cache-Control: private`
    pub const PRIVATE: Self = Self(1 << 3);
    /// Without `Last-Modified`.
    pub const NO_LAST_MODIFIED: Self = Self(1 << 4);
    /// Without `ETag`.
    pub const NO_ETAG: Self = Self(1 << 5);
    /// The request has `Authorization`.
    pub const AUTH: Self = Self(1 << 6);
    /// All.
    pub const ANY: Self = Self(1 << 7);

    /// Each word with its meaning.
    pub const WORDS: &[(&str, Self)] = &[
        ("off", Self::OFF),
        ("expired", Self::EXPIRED),
        ("no-cache", Self::NO_CACHE),
        ("no-store", Self::NO_STORE),
        ("private", Self::PRIVATE),
        ("no_last_modified", Self::NO_LAST_MODIFIED),
        ("no_etag", Self::NO_ETAG),
        ("auth", Self::AUTH),
        ("any", Self::ANY),
    ];

    /// Does the set share anything with another one?
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}
