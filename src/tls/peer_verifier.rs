//! Is the certificate of a peer right?
//!
//! Owns the rules of `proxy_ssl_verify`: the authorities that count, how long a chain may be, what was
//! revoked, and whom a certificate must name. The path is built by webpki; what OpenSSL takes beyond
//! it, and people therefore have, is taken here too: a certificate that stands among the trusted ones
//! itself, and a name in the subject of a certificate that has no alternative names.
//!
//! With `proxy_ssl_verify off` anybody may answer ([`Anybody`]). Then not even the signature of the
//! handshake is looked at: it would only prove that whoever answers has the key to a certificate of
//! their own making. What remains is that nobody can read along without answering.

use std::fmt;
use std::sync::{Arc, LazyLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, ServerName, TrustAnchor, UnixTime,
};
use rustls::{CertificateError, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use webpki::{
    BorrowedCertRevocationList, CertRevocationList, EndEntityCert, Error, ExpirationPolicy,
    KeyUsage, RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy,
};

use super::facts::Facts;
use super::{fetch, file};
use crate::conf::typed::tls::PeerTls;

/// Sub-authorities in a chain beyond which webpki looks no further.
const MOST_DEPTH: u32 = 6;

/// What the system trusts, read once.
static SYSTEM: LazyLock<Vec<TrustAnchor<'static>>> = LazyLock::new(|| fetch::system_roots().roots);

/// A verifier for what is asked of a peer; the error says which file is at fault.
pub fn verifier(
    tls: &PeerTls,
    provider: &CryptoProvider,
) -> Result<Arc<dyn ServerCertVerifier>, String> {
    let algorithms = provider.signature_verification_algorithms;
    if !tls.verify {
        return Ok(Arc::new(Anybody { algorithms }));
    }
    let mut pinned = Vec::new();
    let anchors = match &tls.trusted {
        None => SYSTEM.clone(),
        Some((path, _)) => {
            let failed = |reason: &dyn fmt::Display| {
                format!(
                    "cannot load trusted certificates \"{}\": {reason}",
                    path.display()
                )
            };
            let (text, _) = file::read(path).map_err(|problem| failed(&problem))?;
            let mut store = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(&text) {
                let certificate = certificate.map_err(|error| failed(&error))?;
                let is_self_signed = Facts::read(&certificate)
                    .ok_or_else(|| failed(&"one of them is malformed"))?
                    .is_self_signed;
                // One that only stands for itself need not be an authority.
                let added = store.add(certificate.clone());
                if is_self_signed {
                    pinned.push(certificate);
                } else {
                    added.map_err(|error| failed(&error))?;
                }
            }
            if store.is_empty() && pinned.is_empty() {
                return Err(failed(&"it holds no certificate"));
            }
            store.roots
        }
    };
    let mut revoked = Vec::new();
    if let Some((path, _)) = &tls.revoked {
        let failed = |reason: &dyn fmt::Display| {
            format!(
                "cannot load revoked certificates \"{}\": {reason}",
                path.display()
            )
        };
        let (text, _) = file::read(path).map_err(|problem| failed(&problem))?;
        for list in CertificateRevocationListDer::pem_slice_iter(&text) {
            let list = list.map_err(|error| failed(&error))?;
            let list = BorrowedCertRevocationList::from_der(&list)
                .and_then(|list| list.to_owned())
                .map_err(|error| failed(&error))?;
            revoked.push(list.into());
        }
        if revoked.is_empty() {
            return Err(failed(&"it holds no list"));
        }
    }
    Ok(Arc::new(Verifier {
        anchors,
        pinned,
        revoked,
        depth: tls.verify_depth.min(MOST_DEPTH) as usize,
        algorithms,
    }))
}

/// Judges by authorities.
struct Verifier {
    anchors: Vec<TrustAnchor<'static>>,
    /// Trusted certificates that signed themselves: right when one is presented as it is.
    pinned: Vec<CertificateDer<'static>>,
    revoked: Vec<CertRevocationList<'static>>,
    /// The most sub-authorities between a certificate and one that is trusted.
    depth: usize,
    algorithms: WebPkiSupportedAlgorithms,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Verifier")
            .field("anchors", &self.anchors.len())
            .field("revoked", &self.revoked.len())
            .field("depth", &self.depth)
            .finish_non_exhaustive()
    }
}

impl Verifier {
    /// Does the certificate come from one that is trusted?
    fn verify_path(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), CertificateError> {
        let facts = || Facts::read(certificate).ok_or(CertificateError::BadEncoding);
        // With a list of revoked ones it has to be looked up like any other.
        if self.revoked.is_empty() && self.pinned.iter().any(|pinned| pinned == certificate) {
            let facts = facts()?;
            let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
            return match facts.is_valid_at(now) {
                true => Ok(()),
                false if now < facts.not_before => Err(CertificateError::NotValidYet),
                false => Err(CertificateError::Expired),
            };
        }
        let lists: Vec<_> = self.revoked.iter().collect();
        // As OpenSSL: with a list, each certificate of the chain needs one that is in force.
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
            options
                .with_depth(RevocationCheckDepth::Chain)
                .with_status_policy(UnknownStatusPolicy::Deny)
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build()
        });
        let entity = EndEntityCert::try_from(certificate).map_err(of_webpki)?;
        let path = entity.verify_for_usage(
            self.algorithms.all,
            &self.anchors,
            // Paths are looked for in every order of these, and a peer may send hundreds.
            &intermediates[..intermediates.len().min(self.depth)],
            now,
            KeyUsage::server_auth(),
            revocation,
            Some(
                &|path| match path.intermediate_certificates().count() > self.depth {
                    true => Err(Error::MaximumPathDepthExceeded),
                    false => Ok(()),
                },
            ),
        );
        match path {
            Ok(_) => Ok(()),
            Err(Error::UnknownIssuer | Error::CaUsedAsEndEntity) if facts()?.is_self_signed => {
                Err(Refusal::SELF_SIGNED.into())
            }
            Err(error) => Err(of_webpki(error)),
        }
    }
}

/// Is the certificate for this name? One without alternative names is for that in its subject.
fn verify_name(
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
) -> Result<(), CertificateError> {
    let mut facts = Facts::read(certificate).ok_or(CertificateError::BadEncoding)?;
    let is_name = matches!(name, ServerName::DnsName(_));
    if is_name && facts.dns_names.is_empty() {
        facts.dns_names.extend(
            facts
                .common_name
                .as_ref()
                .map(|name| name.to_ascii_lowercase()),
        );
    }
    match facts.covers(&name.to_str()) {
        true => Ok(()),
        false => Err(CertificateError::NotValidForName),
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verify_path(certificate, intermediates, now)?;
        verify_name(certificate, name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Takes whatever is presented, of any version of X.509; see the head of this file.
#[derive(Debug)]
struct Anybody {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// A reason to refuse a certificate for which rustls has no word, as OpenSSL numbers and says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Refusal(u8, &'static str);

impl Refusal {
    const SELF_SIGNED: Self = Self(18, "self-signed certificate");
    const TOO_LONG: Self = Self(22, "certificate chain too long");
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.1)
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for CertificateError {
    fn from(refusal: Refusal) -> Self {
        Self::Other(OtherError(Arc::new(refusal)))
    }
}

fn of_webpki(error: Error) -> CertificateError {
    match error {
        Error::BadDer | Error::BadDerTime | Error::TrailingData(_) => CertificateError::BadEncoding,
        Error::CertNotValidYet { .. } => CertificateError::NotValidYet,
        Error::CertExpired { .. } | Error::InvalidCertValidity => CertificateError::Expired,
        Error::UnknownIssuer => CertificateError::UnknownIssuer,
        Error::CertRevoked => CertificateError::Revoked,
        Error::UnknownRevocationStatus => CertificateError::UnknownRevocationStatus,
        Error::CrlExpired { .. } => CertificateError::ExpiredRevocationList,
        Error::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        Error::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        Error::MaximumPathDepthExceeded => Refusal::TOO_LONG.into(),
        error => CertificateError::Other(OtherError(Arc::new(error))),
    }
}

/// What OpenSSL would have said of a certificate that was refused: its number and its words, or ours
/// where it has none.
pub fn refusal(error: &CertificateError) -> (u8, String) {
    let (number, words) = match error {
        CertificateError::UnknownRevocationStatus => (3, "unable to get certificate CRL"),
        CertificateError::BadSignature => (7, "certificate signature failure"),
        CertificateError::NotValidYet => (9, "certificate is not yet valid"),
        CertificateError::Expired => (10, "certificate has expired"),
        CertificateError::ExpiredRevocationList => (12, "CRL has expired"),
        CertificateError::UnknownIssuer => (20, "unable to get local issuer certificate"),
        CertificateError::Revoked => (23, "certificate revoked"),
        CertificateError::InvalidPurpose => (26, "unsuitable certificate purpose"),
        CertificateError::Other(OtherError(other)) => {
            return match other.downcast_ref::<Refusal>() {
                Some(Refusal(number, words)) => (*number, (*words).to_owned()),
                None => (1, other.to_string()),
            };
        }
        other => return (1, other.to_string()),
    };
    (number, words.to_owned())
}
