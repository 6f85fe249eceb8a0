//! One request and what became of it.
//!
//! An [`Exchange`] belongs to a connection (or to an HTTP/2 stream) and is used again for its next
//! request, so that a request allocates nothing. Phases fill it in; logs, metrics and variables read it.
//! What is computed when first asked (map values, the request id) sits behind cells, so that
//! evaluating a template needs only `&Exchange`.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::claims::Claims;
use super::coding::Compressed;
use super::head::{Fields, Method, RequestHead, ResponseHead, Version};
use super::slices::Slicing;
use super::temporary_file::TemporaryFile;
use crate::conf::regex::Groups;
use crate::conf::typed::Http;
use crate::conf::typed::listen::Address;
use crate::conf::typed::location::{Server, Settings};
use crate::conf::typed::proxy::Scheme;
use crate::metrics::cache::{CacheId, CacheResult};
use crate::metrics::traffic::PeerId;
use crate::net::proxy_protocol::Header;
use crate::unit::clock;

/// What all requests of one connection share.
#[derive(Debug, Clone)]
pub struct Connection {
    /// `$connection`: counts up over the life of the process.
    pub serial: u64,
    /// The client.
    pub remote: Address,
    /// `$remote_addr`: the client's address as text, `unix:` for a Unix socket.
    pub remote_text: Box<str>,
    /// The address that accepted it (the socket's own, also when bound to `*`).
    pub local: Address,
    /// What TLS came to, if the connection is secured by it.
    pub secured: Option<Rc<Secured>>,
    /// What a proxy said of it before its first byte (`listen … proxy_protocol`).
    pub proxied: Option<Rc<Header>>,
    /// When it was accepted.
    pub accepted: Instant,
    /// The descriptor, for `$tcpinfo_*`.
    pub descriptor: i32,
}

/// What a handshake with a client came to, for `$ssl_*`.
#[derive(Debug, Clone, Default)]
pub struct Secured {
    /// `$ssl_protocol`: `TLSv1.3`.
    pub protocol: &'static str,
    /// `$ssl_cipher`, in OpenSSL's spelling.
    pub cipher: &'static str,
    /// `$ssl_curve`, in OpenSSL's spelling.
    pub curve: &'static str,
    /// `$ssl_server_name`: the name that the client asked for, in lower case; empty if none.
    pub server_name: Box<str>,
    /// `$ssl_alpn_protocol`
    pub alpn_protocol: Box<str>,
    /// `$ssl_session_reused`
    pub is_resumed: bool,
    /// `$ssl_ciphers`: what the client offered, by the numbers of the registry.
    pub ciphers: Box<[u16]>,
    /// `$ssl_curves`, likewise.
    pub curves: Box<[u16]>,
    /// `$ssl_early_data`: is set for as long as what the client says may be a replay.
    pub early: Option<Arc<AtomicBool>>,
    /// What tells the server of the handshake from others.
    pub server: [u8; 16],
    /// What the client showed.
    pub certificate: Option<Box<ClientCertificate>>,
    /// What its authority says of it (`ssl_ocsp`), the error against it; `None` if nobody was asked.
    pub standing: Option<Result<(), &'static str>>,
    /// What is thought of it.
    pub judged: RefCell<Option<Judged>>,
}

/// The certificate of a client.
#[derive(Debug, Clone)]
pub struct ClientCertificate {
    /// The certificate and those that came with it, as DER.
    pub chain: Vec<Box<[u8]>>,
    /// `$ssl_client_sigalg`; empty where the session was taken up again.
    pub proof: &'static str,
    /// Writes what a certificate says. Who reads certificates stands beside this floor.
    pub describe: fn(&[u8], ClientFact, &mut Vec<u8>) -> bool,
}

/// What can be asked of a client's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is named after its variable")]
pub enum ClientFact {
    Raw,
    Folded,
    Escaped,
    Fingerprint,
    Subject,
    SubjectLegacy,
    Issuer,
    IssuerLegacy,
    Serial,
    NotBefore,
    NotAfter,
    DaysLeft,
}

/// What is thought of a client.
#[derive(Debug, Clone)]
pub struct Judged {
    /// Who thinks so: another configuration may think otherwise.
    pub by: u64,
    /// `$ssl_client_verify`
    pub verdict: Box<str>,
    /// What its requests are answered with, if not with what they ask for.
    pub status: Option<u16>,
    /// The reason for that.
    pub why: &'static str,
}

impl Connection {
    /// An address as `$remote_addr` tells it; IPv4 in IPv6 is IPv4.
    pub fn text_of(address: &Address) -> Box<str> {
        match address {
            Address::Ip(address) => address.ip().to_canonical().to_string().into(),
            Address::Unix(_) => "unix:".into(),
        }
    }

    /// Is it secured by TLS?
    pub fn is_secure(&self) -> bool {
        self.secured.is_some()
    }

    /// The client's address, if it has one.
    pub fn remote_ip(&self) -> Option<IpAddr> {
        match &self.remote {
            Address::Ip(address) => Some(address.ip()),
            Address::Unix(_) => None,
        }
    }

    /// The client's port; 0 for a Unix socket.
    pub fn remote_port(&self) -> u16 {
        match &self.remote {
            Address::Ip(address) => address.port(),
            Address::Unix(_) => 0,
        }
    }

    /// The port that accepted it; 0 for a Unix socket.
    pub fn local_port(&self) -> u16 {
        match &self.local {
            Address::Ip(address) => address.port(),
            Address::Unix(_) => 0,
        }
    }
}

/// One try at one peer, for `$upstream_*`.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The peer's address as in `$upstream_addr`.
    pub address: Rc<str>,
    /// The name of its `server` line.
    pub server_name: Rc<str>,
    /// The peer that it is counted for; `None` if no peer was asked, or one that cannot help it: its
    /// kept connection had ended.
    pub peer: Option<PeerId>,
    /// The group changed before this attempt (an internal redirect): ` : ` instead of `, `.
    pub is_new_group: bool,
    /// The status received, or 502/504 when none was.
    pub status: u16,
    /// When the attempt began.
    pub started: Instant,
    /// How long it waited for a peer before, where the group has a `queue`.
    pub queue_time: Option<Duration>,
    /// Until connected.
    pub connect_time: Option<Duration>,
    /// Until the head of the response was read.
    pub header_time: Option<Duration>,
    /// Until the end.
    pub response_time: Option<Duration>,
    /// Body bytes received.
    pub response_length: u64,
    /// Bytes sent to the peer.
    pub bytes_sent: u64,
    /// Bytes received from the peer.
    pub bytes_received: u64,
}

/// What a cache did for a request.
#[derive(Debug, Default)]
pub struct Caching {
    /// The zone that the request had to do with.
    pub zone: Option<CacheId>,
    /// `$upstream_cache_status`; `None` if no cache was asked.
    pub status: Option<CacheStatus>,
    /// `$upstream_cache_key`; empty if there was none.
    pub key: Vec<u8>,
    /// `$upstream_cache_age`: of the stored answer that was sent, in seconds.
    pub age: Option<u64>,
    /// Why the answer of a peer was not stored, if it might have been.
    pub refusal: Option<&'static str>,
    /// The last failure of a peer was an answer that cannot be read.
    pub is_malformed: bool,
    /// `$upstream_cache_last_modified`: what a peer is asked to compare with.
    pub last_modified: Vec<u8>,
    /// `$upstream_cache_etag`, likewise.
    pub etag: Vec<u8>,
}

impl Caching {
    /// Makes ready for the next request; buffers keep their room.
    pub fn reset(&mut self) {
        self.zone = None;
        self.status = None;
        self.key.clear();
        self.age = None;
        self.refusal = None;
        self.is_malformed = false;
        self.last_modified.clear();
        self.etag.clear();
    }
}

/// What a request has to do with bans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BanStatus {
    /// Its client is kept out.
    TurnedAway,
    /// It was counted against its client.
    Counted,
    /// It was one too many: its client is kept out from now on.
    Banned,
}

/// Where an answer came from, as nginx names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheStatus {
    /// A peer: nothing was stored.
    Miss,
    /// A peer: the cache was not to be asked.
    Bypass,
    /// A peer: what was stored is stale.
    Expired,
    /// The cache: it is stale, and nothing better was to be had.
    Stale,
    /// The cache: it is stale, and another request renews it.
    Updating,
    /// The cache: a peer said that it is still good.
    Revalidated,
    /// The cache.
    Hit,
}

impl CacheStatus {
    /// What it is counted as.
    pub const fn result(self) -> CacheResult {
        match self {
            Self::Miss => CacheResult::Miss,
            Self::Bypass => CacheResult::Bypass,
            Self::Expired => CacheResult::Expired,
            Self::Stale => CacheResult::Stale,
            Self::Updating => CacheResult::Updating,
            Self::Revalidated => CacheResult::Revalidated,
            Self::Hit => CacheResult::Hit,
        }
    }

    /// As in `$upstream_cache_status`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Miss => "MISS",
            Self::Bypass => "BYPASS",
            Self::Expired => "EXPIRED",
            Self::Stale => "STALE",
            Self::Updating => "UPDATING",
            Self::Revalidated => "REVALIDATED",
            Self::Hit => "HIT",
        }
    }
}

/// What a limit thought of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is named after its word")]
pub enum LimitStatus {
    Passed,
    Delayed,
    Rejected,
    DelayedDryRun,
    RejectedDryRun,
}

impl LimitStatus {
    /// As nginx writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Passed => "PASSED",
            Self::Delayed => "DELAYED",
            Self::Rejected => "REJECTED",
            Self::DelayedDryRun => "DELAYED_DRY_RUN",
            Self::RejectedDryRun => "REJECTED_DRY_RUN",
        }
    }
}

/// The value of a slot variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// Not computed or set yet.
    Unset,
    /// Known to have no value.
    Absent,
    /// A range of the exchange's arena.
    Value(u32, u32),
}

/// One request and its answer.
#[derive(Debug)]
pub struct Exchange {
    /// The connection it came over, with the client that it is for.
    pub connection: Rc<Connection>,
    /// The connection as it was accepted, once `real_ip` has put another client in its place.
    accepted: Option<Rc<Connection>>,
    /// What was in its place for the request before, which is often for the same client.
    replaced: Option<Rc<Connection>>,
    /// The configuration in force for it.
    pub http: Arc<Http>,
    /// The server that its name chose.
    pub server: Arc<Server>,
    /// Its position in [`Http::servers`].
    pub server_position: usize,
    /// What holds where it stands now.
    pub settings: Arc<Settings>,

    /// When its first byte was read.
    pub started: Instant,
    /// How many requests came over the connection, this one counted.
    pub request_count: u64,
    /// The head as received.
    pub head: RequestHead,
    /// The method in force: an error page is fetched with GET.
    pub method: Method,
    /// The host: authority of the target or `Host`, lower case, without port; may be empty.
    pub host: Vec<u8>,
    /// What `host` and `host_port` were made from; kept for the next request of the connection.
    pub host_as_received: Vec<u8>,
    /// The port in the authority or `Host`, if one is written.
    pub host_port: Option<u16>,
    /// The normalised path, decoded; rewritten by `rewrite`, `try_files`, `error_page`, `index`.
    pub path: Vec<u8>,
    /// The query without `?`; rewritten likewise.
    pub args: Vec<u8>,
    /// The path as received is what `path` says after normalising: nothing was rewritten.
    pub path_is_original: bool,
    /// The target had a `?`, an escape, a double slash or dots, or `+`: path and target differ.
    pub target_is_complex: bool,
    /// `try_files` found the path behind the `alias` of a regular expression: it is appended there.
    /// An internal redirect ends that.
    pub is_behind_alias: bool,
    /// The request was redirected inside (`internal` locations are open to it).
    pub is_internal: bool,
    /// Made by us on behalf of a client's request; see [`Exchange::derive`].
    pub is_subrequest: bool,
    /// Internal redirects so far; the limit is ten.
    pub redirects: u8,
    /// A `break` or `rewrite … break` ran: the location's own rewrites are over.
    pub rewrite_broken: bool,
    /// The status that the answer gets whatever answers: that of the error for which `error_page`
    /// acts, or its `=code`; 0 when none.
    pub error_status: u16,
    /// An `error_page` acts already; without `recursive_error_pages` no second one does.
    pub has_error_page: bool,
    /// Bytes of the request read, head and body.
    pub request_length: u64,
    /// The request body when it is held in memory (`$request_body`).
    pub body: Vec<u8>,
    /// The request's trailer fields, once its body was read to its end; none that may not stand there.
    pub trailers: Fields,
    /// The file that holds the body (`$request_body_file`).
    pub body_file: Option<TemporaryFile>,
    /// `set $limit_rate`, which goes before the directive.
    pub limit_rate: Option<u64>,

    /// `$limit_req_status`; once it is there, the request is counted no second time.
    pub limit_req_status: Option<LimitStatus>,
    /// `$limit_conn_status`, likewise.
    pub limit_conn_status: Option<LimitStatus>,
    /// `$ban_status`
    pub ban_status: Option<BanStatus>,
    /// Somebody said who they are and could not prove it.
    pub has_failed_login: bool,
    /// `Retry-After` in seconds, if the request fails; 0 is none.
    pub retry_after: u32,
    /// What is let go of at the end of the request: the places that it takes up somewhere.
    pub held: Vec<Box<dyn Any>>,

    /// Groups of the last regular expression that matched, and the text they are ranges of.
    pub groups: RefCell<(Groups, Vec<u8>)>,
    /// Values of the variables that the configuration defines.
    pub slots: RefCell<(Vec<Slot>, Vec<u8>)>,
    /// `$request_id`, made when first asked.
    pub id: Cell<Option<u128>>,

    /// The answer's status; 0 before there is one.
    pub status: u16,
    /// The answer's fields as sent: the content handler's, then the filters'.
    pub answer: Fields,
    /// The answer's body length, when known before it is sent.
    pub answer_length: Option<u64>,
    /// The answer's trailer fields as sent.
    pub answer_trailers: Fields,
    /// Bytes sent, head and framing included.
    pub bytes_sent: u64,
    /// Bytes of the answer's head sent.
    pub head_bytes_sent: u64,
    /// What compressing the body on its way came to, if that was done.
    pub compressed: Option<Compressed>,
    /// The answer was sent completely.
    pub is_complete: bool,
    /// Tries at peers, in order.
    pub attempts: SmallVec<[Attempt; 1]>,
    /// The head of the last peer's response.
    pub upstream_head: ResponseHead,
    /// The trailer fields of the last peer's response.
    pub upstream_trailers: Fields,
    /// What a cache did for it.
    pub caching: Caching,
    /// What the request has to do with slices.
    pub slicing: Slicing,
    /// What it is and came to as a call of a language model, if it is one.
    pub call: Option<Box<ModelCall>>,
    /// The scheme of the last `proxy_pass` entered.
    pub proxy_scheme: Scheme,
    /// `$proxy_host` and `$proxy_port` of the last `proxy_pass` entered.
    pub proxy_host: Vec<u8>,
    /// See `proxy_host`.
    pub proxy_port: Vec<u8>,
    /// The token that it was let in by.
    pub token: Option<Rc<Claims>>,
    /// What the provider said of whoever is logged in.
    pub login: Option<Rc<Claims>>,
    /// The request failed: what is left of its body will be thrown away.
    pub is_body_unwanted: bool,
    /// Its first bytes were there before the answer to the request before it was sent.
    pub is_pipelined: bool,
    /// The answer is sent in chunks.
    pub is_chunked: bool,
    /// The peer was asked to close its connection after its answer.
    pub peer_closes: bool,
    /// The connection stays open for another request.
    pub keep_alive: bool,
    /// The status line is the peer's, with its reason phrase.
    pub has_peer_reason: bool,
    /// `Server` is the peer's or none (`proxy_pass_header`).
    pub passes_server: bool,
    /// As `passes_server`, for `Date`.
    pub passes_date: bool,
    /// Is HTTP/2 spoken with the client?
    pub is_http2: bool,
}

/// A call of a language model, as logs tell it. Empty texts are told as nothing.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ModelCall {
    /// The name of the key, never the key.
    pub key: String,
    /// From which gateway the client says it is.
    pub gateway: String,
    /// For whom the client says it asks.
    pub user: String,
    /// The model that was asked for.
    pub model: String,
    /// The provider that answered, with its own name for the model.
    pub target: String,
    /// All that were asked, each with what came of it.
    pub attempts: String,
    /// A word for its end: `ok`, or the code of an error.
    pub outcome: String,
    /// What it used, as the provider told or as it was estimated.
    pub tokens: Option<CallTokens>,
    /// What it cost in dollars; empty if that is not known.
    pub cost: String,
    /// What a kept answer has saved, in dollars; empty where none was given.
    pub saved: String,
    /// Was an answer kept: `HIT`, `MISS` or `BYPASS`; empty where none is.
    pub cache: &'static str,
    /// The model that `llm_route` chose in the place of the one that was asked for.
    pub route: String,
    /// How long it waited for room at a provider.
    pub queued: Duration,
    /// What of it rules may look at.
    pub shape: CallShape,
}

/// What is known of a call before anybody is asked.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct CallShape {
    /// The group of the key.
    pub group: String,
    /// The format in which the client speaks.
    pub format: &'static str,
    /// How much the key has used of the budget that it has used most of, in percent.
    pub budget_used: Option<u64>,
    /// About how many tokens go in.
    pub input_tokens: u64,
    /// Messages of the user.
    pub turns: u32,
    /// Are tools declared?
    pub has_tools: bool,
    /// Are pictures in it?
    pub has_image: bool,
    /// Is an answer of a given form asked for?
    pub has_schema: bool,
    /// The most tokens that an answer may have, if the client says so.
    pub max_tokens: Option<u64>,
    /// The same for all turns of a conversation.
    pub conversation: u64,
    /// What the user said last, cut short. Taken away before anything is logged.
    pub text: String,
}

/// Tokens of a call.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct CallTokens {
    /// All that went in.
    pub input: u64,
    /// Of these, what a provider had in its cache.
    pub cached: u64,
    /// All that came out, thinking too.
    pub output: u64,
}

impl Exchange {
    /// An exchange for the first request of a connection.
    pub fn new(connection: Rc<Connection>, http: Arc<Http>, server: Arc<Server>) -> Self {
        let settings = Arc::clone(&server.settings);
        Self {
            connection,
            accepted: None,
            replaced: None,
            http,
            server,
            server_position: 0,
            settings,
            started: clock::now(),
            request_count: 0,
            head: RequestHead::default(),
            method: Method::Get,
            host: Vec::new(),
            host_as_received: Vec::new(),
            host_port: None,
            path: Vec::new(),
            args: Vec::new(),
            path_is_original: true,
            target_is_complex: false,
            is_behind_alias: false,
            is_internal: false,
            is_subrequest: false,
            redirects: 0,
            rewrite_broken: false,
            error_status: 0,
            has_error_page: false,
            request_length: 0,
            body: Vec::new(),
            trailers: Fields::default(),
            body_file: None,
            limit_rate: None,
            limit_req_status: None,
            limit_conn_status: None,
            ban_status: None,
            has_failed_login: false,
            retry_after: 0,
            held: Vec::new(),
            groups: RefCell::default(),
            slots: RefCell::default(),
            id: Cell::new(None),
            status: 0,
            answer: Fields::default(),
            answer_length: None,
            answer_trailers: Fields::default(),
            bytes_sent: 0,
            head_bytes_sent: 0,
            compressed: None,
            is_complete: false,
            attempts: SmallVec::new(),
            upstream_head: ResponseHead::default(),
            upstream_trailers: Fields::default(),
            caching: Caching::default(),
            slicing: Slicing::default(),
            call: None,
            proxy_scheme: Scheme::default(),
            proxy_host: Vec::new(),
            proxy_port: Vec::new(),
            token: None,
            login: None,
            is_body_unwanted: false,
            is_pipelined: false,
            peer_closes: false,
            is_chunked: false,
            keep_alive: false,
            has_peer_reason: false,
            passes_server: false,
            passes_date: false,
            is_http2: false,
        }
    }

    /// An exchange of our own on behalf of this one: the same client, server and fields, another
    /// path and query. It is a GET without a body, until told otherwise; `$request_method` stays
    /// the client's (nginx: subrequest).
    pub fn derive(&self, path: &[u8], args: &[u8]) -> Self {
        let mut head = self.head.copy();
        head.method = Method::Get;
        Self {
            accepted: self.accepted.clone(),
            server_position: self.server_position,
            request_count: self.request_count,
            head,
            host: self.host.clone(),
            host_port: self.host_port,
            path: path.to_vec(),
            args: args.to_vec(),
            path_is_original: false,
            target_is_complex: true,
            is_internal: true,
            is_subrequest: true,
            slots: RefCell::new(self.slots.borrow().clone()),
            groups: RefCell::new(self.groups.borrow().clone()),
            id: self.id.clone(),
            token: self.token.clone(),
            login: self.login.clone(),
            is_http2: self.is_http2,
            ..Self::new(
                Rc::clone(&self.connection),
                Arc::clone(&self.http),
                Arc::clone(&self.server),
            )
        }
    }

    /// As [`derive`](Self::derive), for what this one asks for, at the place where it stands.
    pub fn derive_same(&self) -> Self {
        let mut own = self.derive(&self.path, &self.args);
        own.enter(&self.settings);
        own.path_is_original = self.path_is_original;
        own.target_is_complex = self.target_is_complex;
        own.rewrite_broken = self.rewrite_broken;
        own
    }

    /// Makes ready for the next request of the connection; buffers keep their room. The bytes of
    /// the request head stay: the next request may already stand behind it.
    pub fn reset(&mut self) {
        if let Some(accepted) = self.accepted.take() {
            self.replaced = Some(std::mem::replace(&mut self.connection, accepted));
        }
        self.head.reset();
        self.method = Method::Get;
        self.path.clear();
        self.args.clear();
        self.path_is_original = true;
        self.target_is_complex = false;
        self.is_behind_alias = false;
        self.is_internal = false;
        self.redirects = 0;
        self.rewrite_broken = false;
        self.error_status = 0;
        self.has_error_page = false;
        self.request_length = 0;
        self.body.clear();
        self.trailers.clear();
        self.body_file = None;
        self.limit_rate = None;
        self.limit_req_status = None;
        self.limit_conn_status = None;
        self.ban_status = None;
        self.has_failed_login = false;
        self.retry_after = 0;
        self.held.clear();
        let groups = self.groups.get_mut();
        groups.0.clear();
        groups.1.clear();
        let slots = self.slots.get_mut();
        slots.0.clear();
        slots.1.clear();
        self.id.set(None);
        self.status = 0;
        self.answer.clear();
        self.answer_length = None;
        self.answer_trailers.clear();
        self.bytes_sent = 0;
        self.head_bytes_sent = 0;
        self.compressed = None;
        self.is_complete = false;
        self.attempts.clear();
        self.upstream_head.reset();
        self.upstream_head.fields.bytes.clear();
        self.upstream_trailers.clear();
        self.caching.reset();
        self.slicing.reset();
        self.call = None;
        self.proxy_host.clear();
        self.proxy_port.clear();
        self.token = None;
        self.login = None;
        self.is_body_unwanted = false;
        self.is_chunked = false;
        self.keep_alive = false;
        self.has_peer_reason = false;
        self.passes_server = false;
        self.passes_date = false;
    }

    /// The connection as it was accepted, whoever it is for.
    pub fn accepted(&self) -> &Rc<Connection> {
        self.accepted.as_ref().unwrap_or(&self.connection)
    }

    /// Has [`Exchange::replace_client`] been called for this request?
    pub fn has_other_client(&self) -> bool {
        self.accepted.is_some()
    }

    /// From here on the request is one of this client. It is no longer so for the next request.
    pub fn replace_client(&mut self, client: SocketAddr) {
        let client = Address::Ip(client);
        let known = self.replaced.take().filter(|known| known.remote == client);
        let replaced = known.unwrap_or_else(|| {
            Rc::new(Connection {
                remote_text: Connection::text_of(&client),
                remote: client,
                ..Connection::clone(self.accepted())
            })
        });
        let before = std::mem::replace(&mut self.connection, replaced);
        self.accepted.get_or_insert(before);
    }

    /// The version spoken by the client.
    pub fn version(&self) -> Version {
        self.head.version
    }

    /// The settings in force change, e.g. because a location was found. Costs nothing when they
    /// stay the same, as they do for the next request of most connections.
    pub fn enter(&mut self, settings: &Arc<Settings>) {
        if !Arc::ptr_eq(&self.settings, settings) {
            self.settings = Arc::clone(settings);
        }
    }

    /// The server in force changes, and its settings with it.
    pub fn enter_server(&mut self, server: &Arc<Server>, position: usize) {
        self.server_position = position;
        if !Arc::ptr_eq(&self.server, server) {
            self.server = Arc::clone(server);
        }
        let settings = &self.server.settings;
        if !Arc::ptr_eq(&self.settings, settings) {
            self.settings = Arc::clone(settings);
        }
    }

    /// Gives a slot variable its value.
    pub fn set_slot(&self, slot: u16, value: Option<&[u8]>) {
        let (slots, arena) = &mut *self.slots.borrow_mut();
        let position = usize::from(slot);
        if slots.len() <= position {
            slots.resize(self.http.names.slots.len().max(position + 1), Slot::Unset);
        }
        slots[position] = match value {
            None => Slot::Absent,
            Some(value) => {
                let start = arena.len() as u32;
                arena.extend_from_slice(value);
                Slot::Value(start, arena.len() as u32)
            }
        };
    }

    /// Remembers the groups of a match for `$1` and named groups.
    pub fn remember_groups(
        &self,
        regex: &crate::conf::regex::Regex,
        groups: &Groups,
        subject: &[u8],
    ) {
        let (kept, text) = &mut *self.groups.borrow_mut();
        kept.clone_from(groups);
        text.clear();
        text.extend_from_slice(subject);
        for &(group, slot) in regex.named() {
            let value = groups
                .get(usize::from(group))
                .copied()
                .flatten()
                .map(|(start, end)| &subject[start as usize..end as usize]);
            self.set_slot(slot, value);
        }
    }
}
