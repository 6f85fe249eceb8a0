//! `dns_provider {}`: who can put a TXT record into a zone, and how it is asked.

use std::time::Duration;

use super::secret::SecretSource;
use crate::conf::source::Span;

/// A provider of DNS, by the name that issuers use for it.
#[derive(PartialEq, Eq, Debug)]
pub struct DnsProvider {
    /// The block's name.
    pub name: Box<str>,
    /// Whom it asks.
    pub api: DnsApi,
    /// `zone`: the only zone that it writes to; without, the zone is looked for.
    pub zone: Option<Box<str>>,
    /// `propagation`: how long to wait at most until all servers of the zone have a record; `None`
    /// does not wait.
    pub propagation: Option<Duration>,
    /// Where the block is.
    pub span: Span,
}

/// An interface to change records. `url` is where it is reached, without a `/` at the end.
#[derive(PartialEq, Eq, Debug)]
#[expect(
    missing_docs,
    reason = "the fields are named as in each provider's own words"
)]
pub enum DnsApi {
    /// acme-dns: a server for nothing but challenges.
    AcmeDns {
        url: Box<str>,
        username: SecretSource,
        password: SecretSource,
        subdomain: Box<str>,
    },
    /// Cloudflare.
    Cloudflare { url: Box<str>, token: SecretSource },
    /// deSEC.
    Desec { url: Box<str>, token: SecretSource },
    /// DigitalOcean.
    DigitalOcean { url: Box<str>, token: SecretSource },
    /// DuckDNS.
    DuckDns { url: Box<str>, token: SecretSource },
    /// A program of this machine: `COMMAND… present|remove NAME VALUE`.
    Exec {
        command: Vec<Box<str>>,
        /// It is killed after this.
        timeout: Duration,
    },
    /// Gandi LiveDNS.
    Gandi { url: Box<str>, token: SecretSource },
    /// DNS in the Hetzner Cloud.
    Hetzner { url: Box<str>, token: SecretSource },
    /// The older Hetzner DNS Console.
    HetznerConsole { url: Box<str>, token: SecretSource },
    /// OVHcloud.
    Ovh {
        url: Box<str>,
        application_key: SecretSource,
        application_secret: SecretSource,
        consumer_key: SecretSource,
    },
    /// Porkbun.
    Porkbun {
        url: Box<str>,
        key: SecretSource,
        secret: SecretSource,
    },
    /// Dynamic updates (RFC 2136), signed (RFC 8945).
    Rfc2136 {
        /// A name or an address.
        host: Box<str>,
        port: u16,
        transport: Transport,
        key: Box<str>,
        algorithm: TsigAlgorithm,
        /// Base64, as in the key files of name servers.
        secret: SecretSource,
    },
    /// Amazon Route 53.
    Route53 {
        url: Box<str>,
        access_key: SecretSource,
        secret_key: SecretSource,
        session_token: Option<SecretSource>,
    },
}

/// How dynamic updates travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// One connection for each update.
    Tcp,
    /// One datagram, sent again if no answer comes.
    Udp,
}

/// The digest of a signature of dynamic updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TsigAlgorithm {
    /// `hmac-sha256`
    HmacSha256,
    /// `hmac-sha512`
    HmacSha512,
}

impl DnsApi {
    /// The word of `provider` that chooses it, or `exec`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::AcmeDns { .. } => "acme-dns",
            Self::Cloudflare { .. } => "cloudflare",
            Self::Desec { .. } => "desec",
            Self::DigitalOcean { .. } => "digitalocean",
            Self::DuckDns { .. } => "duckdns",
            Self::Exec { .. } => "exec",
            Self::Gandi { .. } => "gandi",
            Self::Hetzner { .. } => "hetzner",
            Self::HetznerConsole { .. } => "hetzner-console",
            Self::Ovh { .. } => "ovh",
            Self::Porkbun { .. } => "porkbun",
            Self::Rfc2136 { .. } => "rfc2136",
            Self::Route53 { .. } => "route53",
        }
    }
}
