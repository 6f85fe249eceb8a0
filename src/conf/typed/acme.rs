//! Certificates that we get ourselves: from whom, and for which names.

use std::path::PathBuf;
use std::sync::Arc;

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
    /// `challenge`
    pub challenge: ChallengeKind,
    /// `accept_terms_of_service`
    pub accepts_terms: bool,
    /// `ssl_verify`
    pub verify: bool,
    /// `ssl_trusted_certificate`
    pub trusted: Option<PathBuf>,
    /// `state_path`; the state directory's own place otherwise.
    pub state_path: Option<PathBuf>,
    /// The word that named it; where there is none it is the built-in one.
    pub span: Span,
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

/// One certificate to be had: for these names, from this authority.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Order {
    /// From whom; `None` is the own small authority for local names.
    pub issuer: Option<Arc<Issuer>>,
    /// For whom, in lower case, the first is the one that people know it by; DNS names, wildcards, and
    /// addresses as text. Never empty.
    pub names: Vec<Box<str>>,
    /// The kind of its key.
    pub key: KeyKind,
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
    /// RSA with so many bits.
    Rsa(u32),
}
