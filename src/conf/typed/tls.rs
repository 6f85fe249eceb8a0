//! TLS: what a server offers its clients (`ssl_*`), and what is asked of a peer (`proxy_ssl_*`,
//! `grpc_ssl_*`).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::acme::Order;
use super::on_demand::OnDemand;
use crate::conf::source::Span;
use crate::conf::template::Template;

/// What one `server {}` offers on its addresses with TLS.
#[derive(Debug)]
pub struct ServerTls {
    /// Its certificates; a client gets the first that it understands. Empty when nothing says where
    /// one comes from: then the server serves a placeholder and says so.
    pub certificates: Vec<Certificate>,
    /// `acme_on_demand`: certificates for names that clients bring.
    pub on_demand: Option<Arc<OnDemand>>,
    /// `ssl_certificate_cache`, for those whose paths are computed; `None` is `off`.
    pub certificate_cache: Option<CertificateCache>,
    /// `ssl_protocols`
    pub protocols: Protocols,
    /// `ssl_ciphers`, `ssl_conf_command Ciphersuites`, in the order of preference.
    pub suites: Vec<Suite>,
    /// `ssl_prefer_server_ciphers`
    pub prefers_own_order: bool,
    /// `ssl_conf_command Options PrioritizeChaCha`: where our order counts, a client that has ChaCha20
    /// first gets it, because it has no AES in hardware.
    pub prioritizes_chacha: bool,
    /// `ssl_ecdh_curve`, in the order of preference.
    pub groups: Vec<Group>,
    /// `ssl_buffer_size`: the most bytes of content in a record, at most 16384.
    pub buffer_size: usize,
    /// `ssl_session_cache`
    pub session_cache: SessionCache,
    /// `ssl_session_timeout`
    pub session_timeout: Duration,
    /// `ssl_session_tickets`
    pub tickets: bool,
    /// `ssl_session_ticket_key`; the first encrypts.
    pub ticket_keys: Vec<(PathBuf, Span)>,
    /// `ssl_verify_client`
    pub verify_client: VerifyClient,
    /// `ssl_verify_depth`
    pub verify_depth: u32,
    /// `ssl_client_certificate`: authorities for clients, whose names are sent to them.
    pub client_authorities: Option<(PathBuf, Span)>,
    /// `ssl_trusted_certificate`: authorities whose names are not sent.
    pub trusted: Option<(PathBuf, Span)>,
    /// `ssl_crl`
    pub revoked: Option<(PathBuf, Span)>,
    /// `ssl_ocsp`: what is asked of the authorities of clients; `None` is `off`.
    pub client_status: Option<ClientStatus>,
    /// `ssl_stapling`
    pub stapling: Stapling,
    /// `ssl_early_data`
    pub early_data: bool,
    /// `ssl_reject_handshake`
    pub rejects: bool,
}

/// Where one certificate comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Certificate {
    /// `ssl_certificate` and `ssl_certificate_key`.
    Files(CertificateFiles),
    /// One that we get ourselves, or make for a local name.
    Managed(Arc<Order>),
    /// `ssl_certificate` with variables: evaluated and loaded for each handshake.
    Computed {
        /// `ssl_certificate`
        certificate: Template,
        /// `ssl_certificate_key`
        key: Template,
        /// Where relative paths start.
        directory: PathBuf,
        /// `ssl_password_file`
        passwords: Option<PathBuf>,
        /// The line.
        span: Span,
    },
}

/// `ssl_certificate_cache`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CertificateCache {
    /// `max`: how many are kept; what was used longest ago goes first.
    pub most: usize,
    /// `inactive`: what nobody used for so long is forgotten.
    pub inactive: Duration,
    /// `valid`: after so long it is loaded again.
    pub valid: Duration,
}

/// A pair of files; also what tells one such pair from another.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct CertificateFiles {
    /// `ssl_certificate`
    pub certificate: PathBuf,
    /// `ssl_certificate_key`
    pub key: PathBuf,
    /// `ssl_password_file`
    pub passwords: Option<PathBuf>,
    /// The line of `ssl_certificate`.
    pub span: Span,
}

/// `ssl_protocols`: what rustls speaks of it. At least one is on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Protocols {
    /// `TLSv1.2`
    pub tls12: bool,
    /// `TLSv1.3`
    pub tls13: bool,
}

/// A cipher suite, by its name in the registry of IANA.
#[expect(non_camel_case_types, reason = "the names of the registry")]
#[expect(missing_docs, reason = "the names of the registry")]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Suite {
    TLS13_AES_256_GCM_SHA384,
    TLS13_AES_128_GCM_SHA256,
    TLS13_CHACHA20_POLY1305_SHA256,
    TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

impl Suite {
    /// All of them, in the order in which we offer them.
    pub const ALL: [Self; 9] = [
        Self::TLS13_AES_256_GCM_SHA384,
        Self::TLS13_AES_128_GCM_SHA256,
        Self::TLS13_CHACHA20_POLY1305_SHA256,
        Self::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        Self::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        Self::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        Self::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        Self::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        Self::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ];
}

impl Suite {
    /// Is ChaCha20 what it encrypts with?
    pub fn is_chacha(self) -> bool {
        matches!(
            self,
            Self::TLS13_CHACHA20_POLY1305_SHA256
                | Self::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
                | Self::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
        )
    }
}

/// A way to exchange keys.
#[expect(missing_docs, reason = "the names of the registry")]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Group {
    X25519MlKem768,
    Secp256r1MlKem768,
    X25519,
    Secp256r1,
    Secp384r1,
}

impl Group {
    /// What we offer when nothing is written: the hybrid exchange first.
    pub const USUAL: [Self; 4] = [
        Self::X25519MlKem768,
        Self::X25519,
        Self::Secp256r1,
        Self::Secp384r1,
    ];
}

/// `ssl_session_cache`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SessionCache {
    /// `off` and `none`: no session is kept here.
    Off,
    /// `builtin[:sessions]`, and ours when nothing is written: of this server alone.
    Own {
        /// How many sessions at most.
        sessions: usize,
    },
    /// `shared:NAME:SIZE`
    Shared {
        /// The name of the zone.
        name: Box<str>,
        /// How many sessions at most; nginx keeps about 4000 in a megabyte.
        sessions: usize,
    },
}

/// `ssl_verify_client`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VerifyClient {
    /// `off`: none is asked for.
    Off,
    /// `on`
    Required,
    /// `optional`
    Optional,
    /// `optional_no_ca`: any will do; it is for the peer to judge.
    OptionalNoAuthority,
}

/// `ssl_ocsp` and its family.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientStatus {
    /// `ssl_ocsp leaf`: only a client's own certificate is asked about.
    pub only_own: bool,
    /// `ssl_ocsp_responder`: who is asked, instead of whom certificates name.
    pub responder: Option<Box<str>>,
    /// `ssl_ocsp_cache`: the name of the place, and how many answers it keeps at most.
    pub cache: Option<(Box<str>, usize)>,
}

/// `ssl_stapling` and its family.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Stapling {
    /// `ssl_stapling`
    pub enabled: bool,
    /// `ssl_stapling_verify`
    pub verify: bool,
    /// `ssl_stapling_file`
    pub file: Option<(PathBuf, Span)>,
    /// `ssl_stapling_responder`
    pub responder: Option<Box<str>>,
    /// The line that switched it on.
    pub span: Span,
}

/// What is asked of a peer over TLS (`proxy_ssl_*`, `grpc_ssl_*`).
#[derive(Clone, Debug)]
pub struct PeerTls {
    /// `proxy_ssl_protocols`
    pub protocols: Protocols,
    /// `proxy_ssl_ciphers`
    pub suites: Vec<Suite>,
    /// `proxy_ssl_conf_command Groups`, in the order of preference.
    pub groups: Vec<Group>,
    /// `proxy_ssl_name`: whom the certificate must name; the host of `proxy_pass` by default.
    pub name: Template,
    /// `proxy_ssl_server_name`: is the name sent (SNI)?
    pub sends_name: bool,
    /// `proxy_ssl_verify`
    pub verify: bool,
    /// `proxy_ssl_verify_depth`
    pub verify_depth: u32,
    /// `proxy_ssl_trusted_certificate`
    pub trusted: Option<(PathBuf, Span)>,
    /// `proxy_ssl_crl`
    pub revoked: Option<(PathBuf, Span)>,
    /// `proxy_ssl_certificate`, `_key` and `proxy_ssl_password_file`.
    pub certificate: Option<CertificateFiles>,
    /// `proxy_ssl_session_reuse`
    pub reuses_sessions: bool,
}
