//! TLS with peers: what is offered to them, and the handshake that it begins.
//!
//! Owns what rustls needs to be told as a client, and the sessions that are kept for the next
//! handshake: those of one [`Connector`], which all workers share. Whether a certificate is right is
//! decided in [`super::peer_verifier`].

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, ClientConnection, Error};

use super::peer_verifier::{self, refusal};
use super::stream::Secure;
use super::terminator::HandshakeError;
use super::{material, provider};
use crate::conf::typed::tls::PeerTls;
use crate::net;

/// Names of which sessions are kept; with each of them, eight tickets.
const SESSIONS: usize = 256 * 8;

/// What peers are offered in one place of a configuration, or in several that ask for the same.
pub struct Connector {
    config: Arc<ClientConfig>,
    verifies: bool,
}

impl fmt::Debug for Connector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Connector")
    }
}

impl Connector {
    /// Offers what is written, and HTTP/2 if `http2`. The error says which file cannot be used.
    pub fn new(tls: &PeerTls, http2: bool) -> Result<Self, String> {
        let provider = provider::restricted(&tls.suites, &tls.groups);
        let verifier = peer_verifier::verifier(tls, &provider)?;
        let unusable = |error: Error| format!("TLS to peers cannot be set up: {error}");
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(provider::versions(tls.protocols))
            .map_err(unusable)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &tls.certificate {
            None => builder.with_no_client_auth(),
            Some(files) => {
                let loaded =
                    material::load(&files.certificate, &files.key, files.passwords.as_deref());
                let material = loaded.map_err(|error| error.to_string())?;
                let certified = rustls::sign::SingleCertAndKey::from(material.certified_key());
                builder.with_client_cert_resolver(Arc::new(certified))
            }
        };
        config.enable_sni = tls.sends_name;
        config.resumption = match tls.reuses_sessions {
            true => Resumption::in_memory_sessions(SESSIONS),
            false => Resumption::disabled(),
        };
        if http2 {
            config.alpn_protocols.push(b"h2".to_vec());
        }
        Ok(Self {
            config: Arc::new(config),
            verifies: tls.verify,
        })
    }

    /// Begins with a connection to a peer of this name; the handshake has yet to be driven.
    pub fn begin(&self, io: net::stream::Stream, name: &[u8]) -> Result<Secure, HandshakeError> {
        let name = std::str::from_utf8(name)
            .ok()
            .and_then(|name| ServerName::try_from(name).ok());
        let name = match name {
            Some(name) => name.to_owned(),
            None if self.verifies => {
                return Err(HandshakeError::Tls(
                    CertificateError::NotValidForName.into(),
                ));
            }
            // Nobody looks at it, and an address is never sent.
            None => ServerName::IpAddress(IpAddr::V4(Ipv4Addr::UNSPECIFIED).into()),
        };
        let session =
            ClientConnection::new(Arc::clone(&self.config), name).map_err(HandshakeError::Tls)?;
        Ok(Secure::new(io, session.into()))
    }
}

/// A connector, or why there is none.
pub type Made = Result<Arc<Connector>, Arc<str>>;

/// The connectors of a configuration. Places that ask for the same share one, and with it its
/// sessions and its kept connections.
#[derive(Debug, Default)]
pub struct Connectors(Vec<(Arc<PeerTls>, bool, Made)>);

impl Connectors {
    /// The connector for what is asked of peers in a place.
    pub fn connector(&mut self, tls: &Arc<PeerTls>, http2: bool) -> Made {
        let known = self.0.iter().find(|(known, speaks_http2, _)| {
            *speaks_http2 == http2 && (Arc::ptr_eq(known, tls) || offers_the_same(known, tls))
        });
        if let Some((_, _, made)) = known {
            return made.clone();
        }
        let made = Connector::new(tls, http2).map(Arc::new).map_err(Arc::from);
        self.0.push((Arc::clone(tls), http2, made.clone()));
        made
    }

    /// What could not be made, for the log.
    pub fn failures(&self) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter_map(|(_, _, made)| made.as_ref().err().map(|reason| &**reason))
    }
}

/// Is a connection made for one as good for the other, if the name is the same?
fn offers_the_same(one: &PeerTls, other: &PeerTls) -> bool {
    let parts = |tls: &PeerTls| {
        (
            tls.protocols,
            tls.sends_name,
            tls.verify,
            tls.verify_depth,
            tls.reuses_sessions,
        )
    };
    parts(one) == parts(other)
        && one.suites == other.suites
        && one.groups == other.groups
        && one.trusted == other.trusted
        && one.revoked == other.revoked
        && one.certificate == other.certificate
}

/// Why a handshake with a peer failed, in nginx's words.
#[derive(Debug)]
pub struct Failure {
    /// Whom the certificate was to name.
    pub name: Box<[u8]>,
    /// What went wrong.
    pub error: HandshakeError,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.error {
            HandshakeError::Tls(Error::InvalidCertificate(CertificateError::NotValidForName)) => {
                write!(
                    formatter,
                    "upstream SSL certificate does not match \"{}\"",
                    self.name.escape_ascii()
                )
            }
            HandshakeError::Tls(Error::InvalidCertificate(error)) => {
                let (number, words) = refusal(error);
                write!(
                    formatter,
                    "upstream SSL certificate verify error: ({number}:{words})"
                )
            }
            error => write!(formatter, "{error}"),
        }
    }
}
