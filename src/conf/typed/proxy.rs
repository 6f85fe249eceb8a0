//! `proxy_pass` and `grpc_pass` with their families, of one location.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::health::HealthCheck;
use super::proxy_cache::ProxyCache;
use super::tls::PeerTls;
use crate::conf::regex::Regex;
use crate::conf::template::Template;

/// Everything that one proxied location holds.
#[derive(Debug)]
pub struct Proxy {
    /// Where to.
    pub target: Target,
    /// The schemes that its targets may have: [`Scheme::OF_PROXY`] or [`Scheme::OF_GRPC`].
    pub schemes: [Scheme; 2],
    /// What is asked of peers over TLS; `None` where no request can go to one.
    pub tls: Option<Arc<PeerTls>>,
    /// `proxy_set_header` and the defaults, in the order sent; a field with an empty value is not sent.
    pub set_fields: Vec<SetField>,
    /// Lower-case names of request fields that are not passed on because they are set or never pass.
    pub replaced: Vec<Box<[u8]>>,
    /// `proxy_method`
    pub method: Option<Template>,
    /// `proxy_set_body`
    pub body: Option<Template>,
    /// `proxy_pass_request_headers`
    pub pass_request_headers: bool,
    /// `proxy_pass_request_body`
    pub pass_request_body: bool,
    /// `proxy_http_version`
    pub http_version: HttpVersion,
    /// `proxy_hide_header` minus `proxy_pass_header` with nginx's defaults; lower case.
    pub hidden: Vec<Box<[u8]>>,
    /// `proxy_ignore_headers`; lower case.
    pub ignored: Vec<Box<[u8]>>,
    /// `proxy_redirect` in order; empty when off.
    pub redirects: Vec<Redirect>,
    /// `proxy_cookie_domain`
    pub cookie_domains: Vec<CookieEdit>,
    /// `proxy_cookie_path`
    pub cookie_paths: Vec<CookieEdit>,
    /// `proxy_cookie_flags`
    pub cookie_flags: Vec<CookieFlags>,
    /// `proxy_buffering`
    pub buffering: bool,
    /// `proxy_buffer_size`: the most that the head of a response may take, bytes.
    pub buffer_size: usize,
    /// `proxy_buffers` as bytes in all: how much of a response may wait for a slow client.
    pub buffers: usize,
    /// `proxy_request_buffering`
    pub request_buffering: bool,
    /// `proxy_cache`; `None` where it is off.
    pub cache: Option<Box<ProxyCache>>,
    /// `proxy_store`; `None` where it is off.
    pub store: Option<Box<Store>>,
    /// `proxy_intercept_errors`
    pub intercept_errors: bool,
    /// `proxy_ignore_client_abort`
    pub ignore_client_abort: bool,
    /// `proxy_force_ranges`
    pub force_ranges: bool,
    /// `proxy_pass_trailers`
    pub pass_trailers: bool,
    /// `proxy_bind`
    pub bind: Option<Bind>,
    /// `proxy_socket_keepalive`
    pub socket_keepalive: bool,
    /// `proxy_protocol`: a connection begins with a header that names the client.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// `proxy_connect_timeout`
    pub connect_timeout: Duration,
    /// `proxy_send_timeout`
    pub send_timeout: Duration,
    /// `proxy_read_timeout`
    pub read_timeout: Duration,
    /// `proxy_limit_rate`
    pub limit_rate: Template,
    /// `proxy_next_upstream`
    pub next_upstream: NextUpstream,
    /// `proxy_next_upstream_tries`; 0 is no limit.
    pub next_upstream_tries: usize,
    /// `proxy_next_upstream_timeout`; zero is no limit.
    pub next_upstream_timeout: Duration,
    /// `health_check` of the location.
    pub health_check: Option<Arc<HealthCheck>>,
    /// `priority`
    pub priority: Option<Template>,
}

/// Where `proxy_pass` points to.
#[derive(Debug)]
pub enum Target {
    /// No variable in it: a group known at start.
    Group {
        /// How its peers are spoken to.
        scheme: Scheme,
        /// Position in [`super::Http::upstreams`].
        upstream: usize,
        /// `$proxy_host`: name or address with the port if it is not the scheme's own.
        host: Box<[u8]>,
        /// `$proxy_port`
        port: Box<[u8]>,
        /// The path (with query) that replaces the matched prefix; `None` passes the request's own.
        uri: Option<Box<[u8]>>,
    },
    /// With variables: evaluated for each request, then looked up among the groups by name, else resolved.
    Dynamic(Template),
}

/// How a peer is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scheme {
    /// `http`: as it is.
    #[default]
    Http,
    /// `https`: over TLS.
    Https,
    /// `grpc`: HTTP/2 as it is.
    Grpc,
    /// `grpcs`: HTTP/2 over TLS.
    Grpcs,
}

impl Scheme {
    /// What `proxy_pass` takes.
    pub const OF_PROXY: [Self; 2] = [Self::Http, Self::Https];
    /// What `grpc_pass` takes.
    pub const OF_GRPC: [Self; 2] = [Self::Grpc, Self::Grpcs];

    /// Which of these schemes a URL begins with, and what follows `://`. One of gRPC may be left out.
    pub fn split(of: [Self; 2], url: &[u8]) -> Option<(Self, &[u8])> {
        let found = of.into_iter().find_map(|scheme| {
            let (begin, rest) = url.split_at_checked(scheme.prefix().len())?;
            let is_it = begin.eq_ignore_ascii_case(scheme.prefix().as_bytes());
            is_it.then_some((scheme, rest))
        });
        match found {
            None if of == Self::OF_GRPC && memchr::memmem::find(url, b"://").is_none() => {
                Some((Self::Grpc, url))
            }
            found => found,
        }
    }

    /// What a URL begins with.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Http => "http://",
            Self::Https => "https://",
            Self::Grpc => "grpc://",
            Self::Grpcs => "grpcs://",
        }
    }

    /// The port where none is written.
    pub const fn usual_port(self) -> u16 {
        match self {
            Self::Http | Self::Grpc => 80,
            Self::Https | Self::Grpcs => 443,
        }
    }

    /// Is it spoken over TLS?
    pub const fn is_secure(self) -> bool {
        matches!(self, Self::Https | Self::Grpcs)
    }
}

/// One field to send to the peer.
#[derive(Debug)]
pub struct SetField {
    /// As written.
    pub name: Box<[u8]>,
    /// Not sent when it comes out empty.
    pub value: Template,
}

/// `proxy_http_version`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is named after its version")]
pub enum HttpVersion {
    Http10,
    Http11,
    Http2,
}

/// A version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// `v1`: a line of text.
    Text,
    /// `v2`: the binary form.
    Binary,
}

/// One `proxy_redirect`.
#[derive(Debug)]
pub enum Redirect {
    /// The text at the start of `Location` is replaced.
    Prefix { from: Template, to: Template },
    /// What matches is replaced.
    Regex { regex: Regex, to: Template },
}

/// One `proxy_cookie_domain` or `proxy_cookie_path`.
#[derive(Debug)]
pub enum CookieEdit {
    /// The text (a whole domain, or the start of a path) is replaced.
    Text { from: Template, to: Template },
    /// What matches is replaced.
    Regex { regex: Regex, to: Template },
}

/// One `proxy_cookie_flags`.
#[derive(Debug)]
pub struct CookieFlags {
    /// For cookies of this name.
    pub name: CookieName,
    /// `Some(true)` adds `Secure`, `Some(false)` removes it.
    pub secure: Option<bool>,
    /// As `secure`, for `HttpOnly`.
    pub http_only: Option<bool>,
    /// `SameSite`: set to a word, or removed.
    pub same_site: Option<Option<&'static str>>,
}

/// Which cookies are meant.
#[derive(Debug)]
pub enum CookieName {
    /// The name, which may hold variables.
    Text(Template),
    /// A pattern.
    Regex(Regex),
}

/// `proxy_store`: answers become files.
#[derive(Debug)]
pub struct Store {
    /// The file; the one that `root` or `alias` lead to if it is not written.
    pub path: Option<Template>,
    /// `proxy_store_access`: the rights of a file.
    pub access: u32,
}

/// `proxy_bind`
#[derive(Debug)]
pub struct Bind {
    /// The local address; may be a variable; empty binds nothing.
    pub address: BindAddress,
}

/// The local address of `proxy_bind`.
#[derive(Debug)]
pub enum BindAddress {
    /// Fixed; port 0 lets the system choose.
    Fixed(IpAddr, u16),
    /// With variables.
    Template(Template),
}

/// The conditions of `proxy_next_upstream`, as a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NextUpstream(pub u16);

impl NextUpstream {
    /// `error`
    pub const ERROR: Self = Self(1);
    /// `timeout`
    pub const TIMEOUT: Self = Self(1 << 1);
    /// `invalid_header`
    pub const INVALID_HEADER: Self = Self(1 << 2);
    /// `http_500`
    pub const HTTP_500: Self = Self(1 << 3);
    /// `http_502`
    pub const HTTP_502: Self = Self(1 << 4);
    /// `http_503`
    pub const HTTP_503: Self = Self(1 << 5);
    /// `http_504`
    pub const HTTP_504: Self = Self(1 << 6);
    /// `http_403`
    pub const HTTP_403: Self = Self(1 << 7);
    /// `http_404`
    pub const HTTP_404: Self = Self(1 << 8);
    /// `http_429`
    pub const HTTP_429: Self = Self(1 << 9);
    /// `non_idempotent`
    pub const NON_IDEMPOTENT: Self = Self(1 << 10);

    /// Both sets together.
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Does the set hold this condition?
    pub const fn has(self, condition: Self) -> bool {
        self.0 & condition.0 != 0
    }

    /// The condition that a word stands for; `off` stands for none.
    pub fn of_word(word: &str) -> Option<Self> {
        Some(match word {
            "error" => Self::ERROR,
            "timeout" => Self::TIMEOUT,
            "invalid_header" => Self::INVALID_HEADER,
            "http_500" => Self::HTTP_500,
            "http_502" => Self::HTTP_502,
            "http_503" => Self::HTTP_503,
            "http_504" => Self::HTTP_504,
            "http_403" => Self::HTTP_403,
            "http_404" => Self::HTTP_404,
            "http_429" => Self::HTTP_429,
            "non_idempotent" => Self::NON_IDEMPOTENT,
            _ => return None,
        })
    }

    /// The condition that a status stands for.
    pub const fn of_status(status: u16) -> Option<Self> {
        Some(match status {
            500 => Self::HTTP_500,
            502 => Self::HTTP_502,
            503 => Self::HTTP_503,
            504 => Self::HTTP_504,
            403 => Self::HTTP_403,
            404 => Self::HTTP_404,
            429 => Self::HTTP_429,
            _ => return None,
        })
    }
}
