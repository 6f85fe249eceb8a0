//! Certificates of clients: which are asked for, and what is thought of those that are shown.
//!
//! A handshake succeeds with any certificate whose key the client has; whether the certificate is good
//! enough is decided afterwards ([`Clients::judge`]), so that a person sees a page that says what is
//! wrong and not a broken connection (nginx `ngx_ssl_verify_callback`). The judgement is made of each
//! connection, also of one that takes up a session again: a session is no way around it.
//!
//! A file that cannot be read fails closed: no certificate is good then.

use std::cell::Cell;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath, anchor_from_trusted_cert};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::facts::Facts;
use super::ocsp::Question;
use super::revocation::{Revoked, Status};
use super::standing::Asked;
use super::{file, pem, provider, signature};
use crate::conf::typed::tls::{ServerTls, VerifyClient};

/// What a server thinks of clients.
#[derive(Debug)]
pub struct Clients {
    /// Counts those that were made: a judgement holds for the one that made it.
    pub serial: u64,
    mode: VerifyClient,
    depth: u32,
    anchors: Vec<TrustAnchor<'static>>,
    /// Trusted certificates as they are; those that others issued help to find a way.
    trusted: Vec<CertificateDer<'static>>,
    revoked: Option<Revoked>,
    /// A file could not be read.
    is_broken: bool,
    asks: Arc<Asks>,
}

/// What is thought of a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It showed no certificate.
    Nothing,
    /// It showed a good one.
    Good,
    /// It showed one that is not; why, in OpenSSL's words.
    Bad(&'static str),
}

/// What a request gets instead of its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The certificate is not good.
    Bad(&'static str),
    /// There is none.
    Missing,
}

/// So many certificates between a client's own and an authority are looked at: webpki builds no longer
/// path.
const MOST_BETWEEN: usize = 6;

const SELF_SIGNED: &str = "self-signed certificate";
const SELF_SIGNED_CHAIN: &str = "self-signed certificate in certificate chain";
const NO_ISSUER: &str = "unable to get issuer certificate";
const NO_LOCAL_ISSUER: &str = "unable to get local issuer certificate";
const FIRST_UNVERIFIED: &str = "unable to verify the first certificate";

/// What `optional_no_ca` does not mind (nginx `ngx_ssl_verify_error_optional`).
const UNKNOWN_AUTHORITY: [&str; 5] = [
    SELF_SIGNED,
    SELF_SIGNED_CHAIN,
    NO_ISSUER,
    NO_LOCAL_ISSUER,
    FIRST_UNVERIFIED,
];

impl Clients {
    /// What a server thinks of clients; `None` if it does not ask. What cannot be read is told.
    pub fn load(tls: &ServerTls, warnings: &mut Vec<String>) -> Option<Self> {
        if tls.verify_client == VerifyClient::Off {
            return None;
        }
        let (clients, problems) = Self::read(tls);
        let told = |problem| format!("{problem}; no client certificate is accepted");
        warnings.extend(problems.into_iter().map(told));
        Some(clients)
    }

    /// As [`Clients::load`] from files that changed.
    ///
    /// # Errors
    ///
    /// If one of them is no good, in words for people.
    pub fn load_again(tls: &ServerTls) -> Result<Self, String> {
        let (clients, problems) = Self::read(tls);
        match problems.is_empty() {
            true => Ok(clients),
            false => Err(problems.join("; ")),
        }
    }

    /// The files that it is made of.
    pub fn files(tls: &ServerTls) -> Vec<PathBuf> {
        if tls.verify_client == VerifyClient::Off {
            return Vec::new();
        }
        let files = [&tls.client_authorities, &tls.trusted, &tls.revoked];
        let files = files.into_iter().flatten();
        files.map(|(path, _)| path.clone()).collect()
    }

    /// What the files hold, and what is wrong with them.
    fn read(tls: &ServerTls) -> (Self, Vec<String>) {
        static SERIAL: AtomicU64 = AtomicU64::new(1);
        let mut problems = Vec::new();
        let mut failed = |path: &Path, problem: String| {
            problems.push(format!("cannot load \"{}\": {problem}", path.display()));
        };
        let mut named = Vec::new();
        let mut trusted = Vec::new();
        for (file, certificates) in [
            (&tls.client_authorities, &mut named),
            (&tls.trusted, &mut trusted),
        ] {
            if let Some((path, _)) = file {
                match certificates_of(path) {
                    Ok(found) => *certificates = found,
                    Err(problem) => failed(path, problem),
                }
            }
        }
        let revoked = tls.revoked.as_ref().and_then(|(path, _)| {
            let revoked = Revoked::load(path);
            revoked.map_err(|problem| failed(path, problem)).ok()
        });
        let names = named
            .iter()
            .filter_map(|certificate| anchor_from_trusted_cert(certificate).ok())
            .map(|anchor| DistinguishedName::in_sequence(&anchor.subject))
            .collect();
        trusted.splice(0..0, named);
        let clients = Self {
            serial: SERIAL.fetch_add(1, Relaxed),
            mode: tls.verify_client,
            depth: tls.verify_depth,
            anchors: anchors(&trusted),
            trusted,
            revoked,
            is_broken: !problems.is_empty(),
            asks: Arc::new(Asks {
                names,
                schemes: provider::provider()
                    .signature_verification_algorithms
                    .supported_schemes(),
            }),
        };
        (clients, problems)
    }

    /// How rustls asks for certificates.
    pub fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.asks) as Arc<dyn ClientCertVerifier>
    }

    /// What is thought of a client that showed these certificates, its own first.
    pub fn judge(&self, shown: &[CertificateDer<'_>], now: Duration) -> Verdict {
        let Some((own, others)) = shown.split_first() else {
            return Verdict::Nothing;
        };
        if self.is_broken {
            return Verdict::Bad(match self.revoked.is_none() && !self.anchors.is_empty() {
                true => "unable to get certificate CRL",
                false => NO_LOCAL_ISSUER,
            });
        }
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        // A certificate that is trusted as it is need not lead anywhere; with a list of revoked ones it
        // has to be looked up like any other.
        if self.revoked.is_none()
            && is_self_issued(own)
            && self.trusted.iter().any(|trusted| trusted == own)
        {
            return judge_time(own, seconds);
        }
        match self.find_path(own, others, now, |_| ()) {
            Ok(()) => Verdict::Good,
            Err(error) => Verdict::Bad(reason(&error, own, others)),
        }
    }

    /// What can be asked about a client that showed these certificates, its own first: about it and
    /// each between it and the authority, in this order. `None` if it is not good anyway.
    pub fn questions(&self, shown: &[CertificateDer<'_>], now: Duration) -> Option<Vec<Asked>> {
        let (own, others) = shown.split_first()?;
        if self.judge(shown, now) != Verdict::Good {
            return None;
        }
        let questions = self.find_path(own, others, now, |path| {
            let end: &webpki::Cert<'_> = path.end_entity();
            let anchor = path.anchor();
            let above = path.intermediate_certificates();
            let above = above.map(|issuer| {
                let name = wrap(issuer.subject());
                (name, issuer.subject_public_key_info().to_vec())
            });
            let anchor = (wrap(&anchor.subject), wrap(&anchor.subject_public_key_info));
            std::iter::once(end)
                .chain(path.intermediate_certificates())
                .zip(above.chain([anchor]))
                .filter_map(|(certificate, (issuer, key))| {
                    let facts = Facts::read(&certificate.der());
                    let responders = facts.map(|facts| facts.ocsp_responders);
                    // The others are no business of this program's (nginx knows no other either).
                    let mut responders = responders.into_iter().flatten();
                    Some(Asked {
                        question: Question::of_parts(certificate.serial(), &issuer, &key)?,
                        responder: responders.find(|url| url.starts_with("http://")),
                    })
                })
                .collect()
        });
        // One that is trusted as it is leads nowhere.
        Some(questions.unwrap_or_default())
    }

    fn find_path<T>(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: Duration,
        take: impl FnOnce(&VerifiedPath<'_>) -> T,
    ) -> Result<T, webpki::Error> {
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        // Paths are looked for in every order of what the client sent, and it may send hundreds that
        // nearly fit. They come in order (RFC 8446 section 4.4.2), so one more than a path may have
        // tells a path that is too long, and none behind it is needed.
        let most =
            usize::try_from(self.depth).map_or(MOST_BETWEEN, |depth| depth.saturating_add(1));
        let between: Vec<CertificateDer<'_>> = (others.iter())
            .take(most.min(MOST_BETWEEN))
            .chain(&self.trusted)
            .map(|certificate| CertificateDer::from(&**certificate))
            .collect();
        let check = |path: &VerifiedPath<'_>| {
            let count = path.intermediate_certificates().count();
            if u32::try_from(count).is_ok_and(|count| count > self.depth) {
                return Err(webpki::Error::MaximumPathDepthExceeded);
            }
            match &self.revoked {
                Some(revoked) => check_revocation(revoked, path, seconds),
                None => Ok(()),
            }
        };
        let own = EndEntityCert::try_from(own)?;
        let algorithms = provider::provider().signature_verification_algorithms;
        own.verify_for_usage(
            algorithms.all,
            &self.anchors,
            &between,
            UnixTime::since_unix_epoch(now),
            KeyUsage::client_auth(),
            None,
            Some(&check),
        )
        .map(|path| take(&path))
    }

    /// May a request of such a client pass?
    pub fn admit(&self, verdict: Verdict) -> Result<(), Refusal> {
        match verdict {
            Verdict::Good => Ok(()),
            Verdict::Nothing if self.mode == VerifyClient::Required => Err(Refusal::Missing),
            Verdict::Nothing => Ok(()),
            Verdict::Bad(reason)
                if self.mode == VerifyClient::OptionalNoAuthority
                    && UNKNOWN_AUTHORITY.contains(&reason) =>
            {
                Ok(())
            }
            Verdict::Bad(reason) => Err(Refusal::Bad(reason)),
        }
    }
}

impl fmt::Display for Verdict {
    /// `$ssl_client_verify`
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => formatter.write_str("NONE"),
            Self::Good => formatter.write_str("SUCCESS"),
            Self::Bad(reason) => write!(formatter, "FAILED:{reason}"),
        }
    }
}

/// The certificates of a file; the error says what is wrong with it.
pub fn certificates_of(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let (bytes, _) = file::read(path).map_err(|problem| problem.to_string())?;
    let mut certificates = Vec::new();
    for section in pem::sections(&bytes) {
        let section = section.map_err(|fault| fault.to_string())?;
        if matches!(
            section.label,
            "CERTIFICATE" | "TRUSTED CERTIFICATE" | "X509 CERTIFICATE"
        ) {
            let certificate = CertificateDer::from(section.der.to_vec());
            if anchor_from_trusted_cert(&certificate).is_err() {
                return Err(format!(
                    "the certificate of line {} cannot be read",
                    section.line
                ));
            }
            certificates.push(certificate);
        }
    }
    match certificates.is_empty() {
        true => Err("there is no certificate in it".into()),
        false => Ok(certificates),
    }
}

/// Where a chain may end: at those that nobody else issued, as OpenSSL has it. A file without any such
/// was meant to be trusted as it is.
fn anchors(trusted: &[CertificateDer<'static>]) -> Vec<TrustAnchor<'static>> {
    let has_root = trusted.iter().any(is_self_issued);
    trusted
        .iter()
        .filter(|certificate| !has_root || is_self_issued(certificate))
        .filter_map(|certificate| Some(anchor_from_trusted_cert(certificate).ok()?.to_owned()))
        .collect()
}

fn is_self_issued(certificate: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(certificate).is_ok_and(|(_, certificate)| {
        certificate.subject().as_raw() == certificate.issuer().as_raw()
    })
}

fn judge_time(certificate: &CertificateDer<'_>, now: i64) -> Verdict {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return Verdict::Bad("certificate rejected");
    };
    let validity = certificate.validity();
    if now < validity.not_before.timestamp() {
        Verdict::Bad("certificate is not yet valid")
    } else if now > validity.not_after.timestamp() {
        Verdict::Bad("certificate has expired")
    } else {
        Verdict::Good
    }
}

fn check_revocation(
    revoked: &Revoked,
    path: &VerifiedPath<'_>,
    now: i64,
) -> Result<(), webpki::Error> {
    let anchor = path.anchor();
    // From the anchor's side: who issued, then what was issued.
    let mut key = wrap(&anchor.subject_public_key_info);
    let between = path.intermediate_certificates().rev();
    let end: &webpki::Cert<'_> = path.end_entity();
    for certificate in between.chain(std::iter::once(end)) {
        match revoked.status(certificate.serial(), certificate.issuer(), &key, now) {
            Status::Good => {}
            Status::Revoked => return Err(webpki::Error::CertRevoked),
            Status::Unknown => return Err(webpki::Error::UnknownRevocationStatus),
            Status::Stale => {
                return Err(webpki::Error::CrlExpired {
                    time: UnixTime::since_unix_epoch(Duration::ZERO),
                    next_update: UnixTime::since_unix_epoch(Duration::ZERO),
                });
            }
        }
        key = certificate.subject_public_key_info().to_vec();
    }
    Ok(())
}

/// A SEQUENCE of this content.
fn wrap(content: &[u8]) -> Vec<u8> {
    DistinguishedName::in_sequence(content).as_ref().to_vec()
}

/// OpenSSL's words for what is wrong.
fn reason(
    error: &webpki::Error,
    own: &CertificateDer<'_>,
    others: &[CertificateDer<'_>],
) -> &'static str {
    use webpki::Error;
    match error {
        Error::CertExpired { .. } => "certificate has expired",
        Error::CertNotValidYet { .. } => "certificate is not yet valid",
        Error::CertRevoked => "certificate revoked",
        Error::CrlExpired { .. } => "CRL has expired",
        Error::UnknownRevocationStatus => "unable to get certificate CRL",
        // OpenSSL does not look further, and finds no issuer there.
        Error::MaximumPathDepthExceeded | Error::MaximumPathBuildCallsExceeded => NO_LOCAL_ISSUER,
        Error::InvalidSignatureForPublicKey => "certificate signature failure",
        Error::NameConstraintViolation => "permitted subtree violation",
        Error::PathLenConstraintViolated => "path length constraint exceeded",
        Error::EndEntityUsedAsCa => "invalid CA certificate",
        Error::RequiredEkuNotFoundContext(_) => "unsuitable certificate purpose",
        Error::UnsupportedCriticalExtension => "unhandled critical extension",
        Error::UnknownIssuer | Error::CaUsedAsEndEntity | Error::UnsupportedCertVersion => {
            match (is_self_issued(own), others.last()) {
                (true, _) => SELF_SIGNED,
                (false, Some(last)) if is_self_issued(last) => SELF_SIGNED_CHAIN,
                (false, Some(_)) => NO_LOCAL_ISSUER,
                (false, None) => FIRST_UNVERIFIED,
            }
        }
        _ => "certificate rejected",
    }
}

thread_local! {
    static PROVED: Cell<Option<SignatureScheme>> = const { Cell::new(None) };
}

/// How the client of the handshake that this thread drove last proved that it has its key; forgotten
/// when asked. rustls tells the verifier, which all connections share, and nobody else.
pub fn take_proof() -> Option<SignatureScheme> {
    PROVED.take()
}

/// Asks for certificates and takes any.
#[derive(Debug)]
struct Asks {
    names: Vec<DistinguishedName>,
    schemes: Vec<SignatureScheme>,
}

impl ClientCertVerifier for Asks {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.names
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        PROVED.set(Some(signed.scheme));
        signature::check_possession(certificate, message, signed, false)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        PROVED.set(Some(signed.scheme));
        signature::check_possession(certificate, message, signed, true)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}
