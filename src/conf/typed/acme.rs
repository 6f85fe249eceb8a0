//! Certificates that we get ourselves: from whom, and for which names.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD};

use super::acme_dns::DnsProvider;
use super::upstream::Resolver;
use crate::conf::source::Span;

/// `acme_issuer NAME { … }`: an authority to get certificates from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Issuer {
    /// Its name in the configuration.
    pub name: Box<str>,
    /// `uri`: the address of its directory.
    pub uri: Box<str>,
    /// `contact`, as `mailto:` addresses.
    pub contacts: Vec<Box<str>>,
    /// `challenge`; `None` leaves it to what the server listens at.
    pub challenge: Option<ChallengeKind>,
    /// Who puts records into the zone, where the challenge is [`ChallengeKind::Dns01`].
    pub provider: Option<Arc<DnsProvider>>,
    /// `account_key` as a file.
    pub account_key: Option<PathBuf>,
    /// `external_account_key`
    pub external_account: Option<ExternalAccount>,
    /// `preferred_chain`: the common name of the issuer of the topmost certificate.
    pub preferred_chain: Option<Box<str>>,
    /// `profile`
    pub profile: Option<Profile>,
    /// `accept_terms_of_service`
    pub accepts_terms: bool,
    /// `ssl_verify`
    pub verify: bool,
    /// `ssl_trusted_certificate`
    pub trusted: Option<PathBuf>,
    /// `state_path`; the state directory's own place otherwise.
    pub state_path: Option<PathBuf>,
    /// `retry`
    pub retry: Retry,
    /// `resolver` of the `http` block: who is asked for the addresses of the authority.
    pub resolver: Option<Arc<Resolver>>,
    /// The word that named it; where there is none it is the built-in one.
    pub span: Span,
}

impl Issuer {
    /// The name of the authority that is there without being written.
    pub const BUILT_IN: &str = "letsencrypt";
    /// The address of its directory.
    pub const BUILT_IN_URI: &str = "https://acme-v02.api.letsencrypt.org/directory";

    /// The authority that is there without being written.
    pub fn built_in() -> Self {
        Self {
            name: Self::BUILT_IN.into(),
            uri: Self::BUILT_IN_URI.into(),
            contacts: Vec::new(),
            challenge: None,
            provider: None,
            account_key: None,
            external_account: None,
            preferred_chain: None,
            profile: None,
            accepts_terms: false,
            verify: true,
            trusted: None,
            state_path: None,
            retry: Retry {
                least: Duration::from_secs(60),
                most: Duration::from_secs(86_400),
            },
            resolver: None,
            span: Span::default(),
        }
    }
}

/// How long to wait after a failed attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retry {
    /// After the first one.
    pub least: Duration,
    /// At most, after many.
    pub most: Duration,
}

/// `profile NAME [require]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Profile {
    /// What the authority calls it.
    pub name: Box<str>,
    /// Without it there shall be no certificate.
    pub is_required: bool,
}

/// `external_account_key KID KEY`: an account at the authority that ours belongs to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExternalAccount {
    /// What the authority calls the key.
    pub identifier: Box<str>,
    /// The key.
    pub key: MacKey,
}

/// The secret that an external account is known by.
#[derive(Clone, PartialEq, Eq)]
pub enum MacKey {
    /// A file with it in base64url.
    File(PathBuf),
    /// `data:KEY`; its bytes.
    Literal(Box<[u8]>),
}

impl MacKey {
    /// The bytes of a key; authorities hand it out in base64url, some in base64, and with or without
    /// `=` at its end.
    pub fn decode(text: &str) -> Option<Vec<u8>> {
        let text = text.trim();
        let bare = text.trim_end_matches('=');
        [
            BASE64URL_NOPAD.decode(bare.as_bytes()),
            BASE64_NOPAD.decode(bare.as_bytes()),
        ]
        .into_iter()
        .find_map(|decoded| decoded.ok().filter(|bytes| !bytes.is_empty()))
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(formatter, "File({})", path.display()),
            Self::Literal(_) => formatter.write_str("***"),
        }
    }
}

/// How a name is proven to be ours.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ChallengeKind {
    /// A file on port 80 (RFC 8555 section 8.3).
    Http01,
    /// A handshake on port 443 (RFC 8737).
    TlsAlpn01,
    /// A record in the zone (RFC 8555 section 8.4).
    Dns01,
}

impl fmt::Display for ChallengeKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::Dns01 => "dns-01",
        })
    }
}

/// One certificate to be had: for these names, from these authorities.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Order {
    /// From whom, the first that gives one; none is the own small authority for local names.
    pub issuers: Vec<Arc<Issuer>>,
    /// For whom, in lower case, the first is the one that people know it by; DNS names, wildcards, and
    /// addresses as text. Never empty.
    pub names: Vec<Box<str>>,
    /// The kind of its key.
    pub key: KeyKind,
    /// How the names can be proven with an issuer that does not say it, the likeliest first.
    pub challenges: Vec<ChallengeKind>,
    /// The line that asks for it.
    pub span: Span,
}

/// What key a certificate is made for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum KeyKind {
    /// ECDSA on P-256.
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// ECDSA on P-521.
    EcdsaP521,
    /// RSA with so many bits.
    Rsa(u32),
}

impl fmt::Display for KeyKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EcdsaP256 => formatter.write_str("ecdsa:256"),
            Self::EcdsaP384 => formatter.write_str("ecdsa:384"),
            Self::EcdsaP521 => formatter.write_str("ecdsa:521"),
            Self::Rsa(bits) => write!(formatter, "rsa:{bits}"),
        }
    }
}
