//! `proxy_cache` with its family, of one location.

use std::time::Duration;

use super::proxy::NextUpstream;
use crate::conf::template::Template;

/// What of a location's answers is stored, and when what is stored answers.
#[derive(Debug)]
pub struct ProxyCache {
    /// `proxy_cache`
    pub zone: CacheZone,
    /// `proxy_cache_key`; without it the key is made of what is asked of the peer.
    pub key: Option<Template>,
    /// What is sent to the peer as `Host`, where the usual key has to tell hosts apart.
    pub key_host: Option<Template>,
    /// The key tells apart who asks: what was made for one of them goes to no other.
    pub key_is_personal: bool,
    /// The key tells slices apart.
    pub key_has_slice: bool,
    /// The key tells bodies of requests apart.
    pub key_has_body: bool,
    /// `proxy_cache_valid` in order.
    pub valid: Vec<Valid>,
    /// `POST` is among the `proxy_cache_methods`.
    pub takes_post: bool,
    /// `proxy_cache_min_uses`; at least 1.
    pub min_uses: u32,
    /// `proxy_cache_bypass`
    pub bypass: Vec<Template>,
    /// `proxy_no_cache`
    pub no_cache: Vec<Template>,
    /// `proxy_cache_purge`
    pub purge: Vec<Template>,
    /// `proxy_cache_lock`
    pub lock: bool,
    /// `proxy_cache_lock_age`
    pub lock_age: Duration,
    /// `proxy_cache_lock_timeout`
    pub lock_timeout: Duration,
    /// `proxy_cache_use_stale`, but for `updating`.
    pub use_stale: NextUpstream,
    /// `proxy_cache_use_stale updating`
    pub use_stale_updating: bool,
    /// `proxy_cache_background_update`; where it is not written, the origin decides
    /// (`stale-while-revalidate`).
    pub background_update: Option<bool>,
    /// `proxy_cache_revalidate`
    pub revalidate: bool,
    /// `proxy_cache_convert_head`
    pub convert_head: bool,
    /// `proxy_cache_max_range_offset`
    pub max_range_offset: Option<u64>,
    /// `proxy_cache_check_type`; off where the key tells cookies apart.
    pub checks_type: bool,
    /// `proxy_cache_strip_cookies`
    pub strip_cookies: bool,
    /// `proxy_cache_client_control`
    pub client_control: bool,
    /// `proxy_cache_status`: the name under which answers tell what the cache did.
    pub status_name: Option<Box<[u8]>>,
    /// `proxy_ignore_headers`
    pub ignored: Ignored,
}

/// The zone of `proxy_cache`.
#[derive(Debug)]
pub enum CacheZone {
    /// A position in [`super::Http::caches`].
    Known(usize),
    /// A name that each request computes; `off` and nothing are none.
    Computed(Template),
}

/// One status of a `proxy_cache_valid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Valid {
    /// `None` is `any`.
    pub status: Option<u16>,
    /// For how long an answer is fresh; 0 is not at all.
    pub seconds: u64,
}

/// The fields that `proxy_ignore_headers` takes their meaning for the cache from, as a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ignored(u8);

impl Ignored {
    /// None of them.
    pub const NOTHING: Self = Self(0);
    /// `X-Accel-Expires`
    pub const X_ACCEL_EXPIRES: Self = Self(1);
    /// `Cache-Control`, and `CDN-Cache-Control` with it.
    pub const CACHE_CONTROL: Self = Self(1 << 1);
    /// `Expires`
    pub const EXPIRES: Self = Self(1 << 2);
    /// `Set-Cookie`
    pub const SET_COOKIE: Self = Self(1 << 3);
    /// `Vary`
    pub const VARY: Self = Self(1 << 4);

    /// Both sets together.
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Does the set hold this field?
    pub const fn has(self, field: Self) -> bool {
        self.0 & field.0 != 0
    }
}
