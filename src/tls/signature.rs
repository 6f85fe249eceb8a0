//! Signatures made with the key of a certificate, whatever the certificate is like.
//!
//! Owns the comparison of algorithms and keys, which rustls does only for certificates that it would
//! serve with: lists of revoked certificates, answers of OCSP responders and clients with certificates
//! of the first version have keys too. What may be used is the provider's; SHA-1 and MD5 may not.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::{CertificateError, DigitallySignedStruct, Error, PeerMisbehaved, SignatureScheme};

use super::der::{self, Reader};
use super::provider;

/// What has the shape of a certificate: content, algorithm and signature (X.509 `SIGNED`).
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// What is signed, with its tag and length.
    pub content: &'a [u8],
    /// The inside of the `AlgorithmIdentifier`.
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Signed<'a> {
    /// Takes it apart; `None` if it has another shape. What follows the signature (the certificates of
    /// an OCSP answer) is left to the caller.
    pub fn read(bytes: &'a [u8]) -> Option<(Self, Reader<'a>)> {
        let mut reader = Reader::new(bytes).enter(der::SEQUENCE)?;
        let before = reader.rest();
        reader.take(der::SEQUENCE)?;
        let content = &before[..before.len() - reader.rest().len()];
        let algorithm = reader.take(der::SEQUENCE)?;
        let signature = bits(&mut reader)?;
        let signed = Self {
            content,
            algorithm,
            signature,
        };
        Some((signed, reader))
    }

    /// Was it signed with this key, a `SubjectPublicKeyInfo`?
    pub fn is_by(&self, key: &[u8]) -> bool {
        let Some((kind, key)) = key_parts(key) else {
            return false;
        };
        let known = provider::provider().signature_verification_algorithms.all;
        known
            .iter()
            .filter(|known| known.signature_alg_id().as_ref() == self.algorithm)
            .filter(|known| known.public_key_alg_id().as_ref() == kind)
            .any(|known| {
                known
                    .verify_signature(key, self.content, self.signature)
                    .is_ok()
            })
    }
}

/// Did a client prove that it has the key of the certificate that it shows?
///
/// # Errors
///
/// If the signature is wrong, or made in a way that was not offered.
pub fn check_possession(
    certificate: &[u8],
    message: &[u8],
    signed: &DigitallySignedStruct,
    is_tls13: bool,
) -> Result<HandshakeSignatureValid, Error> {
    let bad = |error| Error::InvalidCertificate(error);
    let key = key_of(certificate).ok_or(bad(CertificateError::BadEncoding))?;
    let (kind, key) = key_parts(key).ok_or(bad(CertificateError::BadEncoding))?;
    let known = provider::provider().signature_verification_algorithms;
    let (_, algorithms) = known
        .mapping
        .iter()
        .find(|(scheme, _)| *scheme == signed.scheme && (!is_tls13 || is_of_tls13(*scheme)))
        .ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
    // RFC 8446 section 4.2.3: from 1.3 on a scheme names the curve as well; the first is that one.
    let most = if is_tls13 { 1 } else { algorithms.len() };
    algorithms
        .iter()
        .take(most)
        .filter(|algorithm| algorithm.public_key_alg_id().as_ref() == kind)
        .find(|algorithm| {
            algorithm
                .verify_signature(key, message, signed.signature())
                .is_ok()
        })
        .map(|_| HandshakeSignatureValid::assertion())
        .ok_or(bad(CertificateError::BadSignature))
}

/// RFC 8446 section 4.2.3: these are for certificates only.
fn is_of_tls13(scheme: SignatureScheme) -> bool {
    !matches!(
        scheme,
        SignatureScheme::RSA_PKCS1_SHA256
            | SignatureScheme::RSA_PKCS1_SHA384
            | SignatureScheme::RSA_PKCS1_SHA512
    )
}

/// The key of a certificate, as `SubjectPublicKeyInfo` with its tag and length.
pub fn key_of(certificate: &[u8]) -> Option<&[u8]> {
    let (signed, _) = Signed::read(certificate)?;
    let mut reader = Reader::new(signed.content).enter(der::SEQUENCE)?;
    // The version, which the first one does not write.
    let _ = reader.take(der::CONTEXT_0);
    reader.take(der::INTEGER)?;
    for _ in ["algorithm", "issuer", "validity", "subject"] {
        reader.take(der::SEQUENCE)?;
    }
    let before = reader.rest();
    reader.take(der::SEQUENCE)?;
    Some(&before[..before.len() - reader.rest().len()])
}

/// What kind of key it is, as the inside of an `AlgorithmIdentifier`, and the key.
fn key_parts(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut reader = Reader::new(key).enter(der::SEQUENCE)?;
    let kind = reader.take(der::SEQUENCE)?;
    Some((kind, bits(&mut reader)?))
}

/// The key alone, as a responder's name or the identifier of an issuer is made of it.
pub fn key_bits(key: &[u8]) -> Option<&[u8]> {
    key_parts(key).map(|(_, bits)| bits)
}

/// The whole bytes of a BIT STRING.
fn bits<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    match reader.take(der::BIT_STRING)? {
        [0, bytes @ ..] => Some(bytes),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{
        CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PublicKeyData as _,
    };

    use super::*;

    #[test]
    fn a_certificate_is_signed_by_the_key_that_signed_it() {
        let keys = [
            KeyPair::generate().expect("a key"),
            KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("a key"),
            KeyPair::generate_for(&PKCS_ED25519).expect("a key"),
        ];
        for (position, key) in keys.iter().enumerate() {
            let parameters = CertificateParams::new(Vec::new()).expect("no names");
            let certificate = parameters.self_signed(key).expect("signed");
            let (signed, rest) = Signed::read(certificate.der()).expect("signed");
            assert!(rest.is_empty());
            for (other, key) in keys.iter().enumerate() {
                let is_by = signed.is_by(&key.subject_public_key_info());
                assert_eq!(is_by, position == other, "{position} {other}");
            }
            let own = key_of(certificate.der()).expect("a key");
            assert_eq!(own, key.subject_public_key_info());
        }
    }

    #[test]
    fn what_is_cut_or_changed_is_not_signed() {
        let key = KeyPair::generate().expect("a key");
        let parameters = CertificateParams::new(Vec::new()).expect("no names");
        let certificate = parameters.self_signed(&key).expect("signed");
        let der = certificate.der().to_vec();
        for position in 0..der.len() {
            let mut changed = der.clone();
            changed[position] ^= 1;
            let is_by = Signed::read(&changed)
                .is_some_and(|(signed, _)| signed.is_by(&key.subject_public_key_info()));
            assert!(!is_by, "{position}");
            assert!(Signed::read(&der[..position]).is_none(), "{position}");
            let _ = key_of(&changed);
        }
    }
}
