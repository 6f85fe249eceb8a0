//! TLS with peers: what is offered to them, and the handshake that it begins.
//!
//! Owns what rustls needs to be told as a client, and the sessions that are kept for the next
//! handshake: those of one [`Connector`], which all workers share. Whether a certificate is right is
//! decided in [`super::peer_verifier`].

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, ClientConnection, Error};

use super::peer_verifier::{self, refusal};
use super::stream::Secure;
use super::terminator::HandshakeError;
use super::watched::Watched;
use super::{material, provider};
use crate::conf::typed::tls::PeerTls;
use crate::net;

/// Names of which sessions are kept; with each of them, eight tickets.
const SESSIONS: usize = 256 * 8;

/// What peers are offered in one place of a configuration, or in several that ask for the same.
pub struct Connector {
    offer: Arc<RwLock<Offer>>,
    verifies: bool,
    /// Looks at the files that it is made of.
    _watched: Option<Arc<Watched>>,
}

/// What rustls is told. It is another one when files change.
struct Offer {
    config: Result<Arc<ClientConfig>, Arc<str>>,
    /// Counts them: connections that were made with one are not kept for the next.
    number: u64,
}

impl fmt::Debug for Connector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Connector")
    }
}

impl Connector {
    /// Offers what is written, and HTTP/2 if `http2`. Files that cannot be used, and that a request
    /// fails for, may be mended while it runs.
    pub fn new(tls: &Arc<PeerTls>, http2: bool) -> Self {
        let paths = files(tls);
        let seen = Watched::stamps(&paths);
        let resumption = match tls.reuses_sessions {
            true => Resumption::in_memory_sessions(SESSIONS),
            false => Resumption::disabled(),
        };
        let offer = Arc::new(RwLock::new(Offer {
            config: config(tls, http2, resumption.clone()).map_err(Arc::from),
            number: 0,
        }));
        let (into, written) = (Arc::downgrade(&offer), Arc::clone(tls));
        let watched = Watched::begin(paths, seen, move || {
            let made = config(&written, http2, resumption.clone())?;
            if let Some(offer) = into.upgrade() {
                let mut offer = offer.write();
                offer.config = Ok(made);
                offer.number += 1;
            }
            Ok(())
        });
        Self {
            offer,
            verifies: tls.verify,
            _watched: watched,
        }
    }

    /// What tells connections that are made now from those that were made with other files.
    ///
    /// # Errors
    ///
    /// If none can be made; it says which file cannot be used.
    pub fn number(&self) -> Result<u64, Arc<str>> {
        let offer = self.offer.read();
        match &offer.config {
            Ok(_) => Ok(offer.number),
            Err(reason) => Err(Arc::clone(reason)),
        }
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
        let config = self.offer.read().config.clone();
        let config =
            config.map_err(|reason| HandshakeError::Tls(Error::General(reason.to_string())))?;
        let session = ClientConnection::new(config, name).map_err(HandshakeError::Tls)?;
        Ok(Secure::new(io, session.into()))
    }
}

/// Whom a certificate has to name for a host: the host without its port, and without the brackets of an
/// address.
pub fn bare_name(text: &[u8]) -> &[u8] {
    match text {
        [b'[', inside @ ..] => match memchr::memchr(b']', inside) {
            Some(end) => &inside[..end],
            None => inside,
        },
        text => match memchr::memchr(b':', text) {
            // More than one colon: an address without brackets.
            Some(colon) if !text[colon + 1..].contains(&b':') => &text[..colon],
            _ => text,
        },
    }
}

/// The files that a connector is made of.
fn files(tls: &PeerTls) -> Vec<PathBuf> {
    let judged = [&tls.trusted, &tls.revoked].into_iter().flatten();
    let judged = judged.filter(|_| tls.verify).map(|(path, _)| path);
    let shown = tls.certificate.iter();
    let shown = shown.flat_map(|files| {
        [&files.certificate, &files.key]
            .into_iter()
            .chain(&files.passwords)
    });
    judged.chain(shown).cloned().collect()
}

/// The error says which file cannot be used.
fn config(tls: &PeerTls, http2: bool, resumption: Resumption) -> Result<Arc<ClientConfig>, String> {
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
            let loaded = material::load(&files.certificate, &files.key, files.passwords.as_deref());
            let material = loaded.map_err(|error| error.to_string())?;
            let certified = rustls::sign::SingleCertAndKey::from(material.certified_key());
            builder.with_client_cert_resolver(Arc::new(certified))
        }
    };
    config.enable_sni = tls.sends_name;
    // A session that was begun under other rules is not taken up again: rustls compares who judges.
    config.resumption = resumption;
    if http2 {
        config.alpn_protocols.push(b"h2".to_vec());
    }
    Ok(Arc::new(config))
}

/// The connectors of a configuration. Places that ask for the same share one, and with it its
/// sessions and its kept connections.
#[derive(Debug, Default)]
pub struct Connectors(Vec<(Arc<PeerTls>, bool, Arc<Connector>)>);

impl Connectors {
    /// The connector for what is asked of peers in a place.
    pub fn connector(&mut self, tls: &Arc<PeerTls>, http2: bool) -> Arc<Connector> {
        let known = self.0.iter().find(|(known, speaks_http2, _)| {
            *speaks_http2 == http2 && (Arc::ptr_eq(known, tls) || offers_the_same(known, tls))
        });
        if let Some((_, _, connector)) = known {
            return Arc::clone(connector);
        }
        let connector = Arc::new(Connector::new(tls, http2));
        self.0
            .push((Arc::clone(tls), http2, Arc::clone(&connector)));
        connector
    }

    /// What could not be made, for the log.
    pub fn failures(&self) -> impl Iterator<Item = Arc<str>> {
        self.0
            .iter()
            .filter_map(|(_, _, connector)| connector.number().err())
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
