//! Noticing that an authority revoked a certificate, where it does not say so by its wish for a renewal
//! (RFC 9773): by the status that it signs (OCSP), or by the list that the certificate names.
//!
//! What cannot be asked, or makes no sense, says nothing; only a signed word that a certificate is
//! revoked counts.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use rustls::pki_types::CertificateDer;

use crate::tls::facts::Facts;
use crate::tls::fetch::{Fetcher, Limits};
use crate::tls::ocsp::{Question, REVOKED};
use crate::tls::revocation;
use crate::unit::clock;

/// How often an authority is asked at most, and at least.
const PAUSES: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(4 * 3600));

/// A status is some kilobytes.
const STATUS: Limits = Limits {
    timeout: Duration::from_secs(15),
    body: 64 << 10,
};
/// Authorities cut their lists into parts of less than this.
const LIST: Limits = Limits {
    timeout: Duration::from_secs(60),
    body: 8 << 20,
};

/// How long to wait before the next question: one that lives shortly is asked about more often.
pub fn pause(facts: &Facts) -> Duration {
    let life = facts.not_after.saturating_sub(facts.not_before);
    let life = Duration::from_secs(u64::try_from(life).unwrap_or(0));
    (life / 50).clamp(PAUSES.0, PAUSES.1)
}

/// How long to wait after a question that nobody answered.
pub const UNANSWERED: Duration = Duration::from_secs(600);

/// Is the first certificate of a chain revoked? `None` if nobody says it. Lists are asked for only if
/// `with_lists`.
pub async fn is_revoked(
    chain: &[CertificateDer<'static>],
    facts: &Facts,
    fetcher: &Fetcher,
    with_lists: bool,
) -> Option<bool> {
    let [certificate, issuer, ..] = chain else {
        return None;
    };
    let now = i64::try_from(clock::unix().as_secs()).unwrap_or(i64::MAX);
    if let Some(responder) = facts.ocsp_responders.first() {
        let question = Question::new(certificate, issuer)?;
        let request = Request::post(responder)
            .header("Content-Type", "application/ocsp-request")
            .header("Accept", "application/ocsp-response")
            .body(Bytes::from(question.request()));
        let answer = fetcher.send(request.ok()?, STATUS).await.ok()?;
        return match question.check(answer.body(), now) {
            Ok(_) => Some(false),
            Err(REVOKED) => Some(true),
            Err(_) => None,
        };
    }
    let point = facts.revocation_lists.first().filter(|_| with_lists)?;
    let request = Request::get(point).body(Bytes::new()).ok()?;
    let answer = fetcher.send(request, LIST).await.ok()?;
    let (certificate, issuer) = (certificate.clone(), issuer.clone());
    // A list has many entries.
    let found = tokio::task::spawn_blocking(move || {
        revocation::is_listed(answer.body(), &certificate, &issuer)
    });
    found.await.ok()?
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use rcgen::{
        BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
        CrlDistributionPoint, DnType, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose,
        RevokedCertParams, SerialNumber, date_time_ymd,
    };
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::tls::fetch::Trust;

    type Issuer = CertifiedIssuer<'static, KeyPair>;

    fn authority(name: &str) -> Issuer {
        let mut parameters = CertificateParams::new(Vec::new()).expect("no names");
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        CertifiedIssuer::self_signed(parameters, key).expect("signed")
    }

    fn list(issuer: &Issuer, serial: u64) -> Vec<u8> {
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2090, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(serial),
                revocation_time: date_time_ymd(2021, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(issuer).expect("signed").der().to_vec()
    }

    /// A certificate with its chain, whose list is found there.
    fn certificate(issuer: &Issuer, serial: u64, list: &str) -> Vec<CertificateDer<'static>> {
        let mut parameters = CertificateParams::new(vec!["a.test".into()]).expect("a name");
        parameters.serial_number = Some(SerialNumber::from(serial));
        parameters.crl_distribution_points = vec![CrlDistributionPoint {
            uris: vec![list.to_owned()],
        }];
        let key = KeyPair::generate().expect("a key");
        let own = parameters.signed_by(&key, issuer).expect("signed");
        vec![own.der().clone(), issuer.der().clone()]
    }

    /// Answers whoever asks with this.
    async fn answering(body: Vec<u8>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all(head.as_bytes()).await;
                let _ = stream.write_all(&body).await;
            }
        });
        address
    }

    #[tokio::test]
    async fn a_list_that_the_issuer_signed_says_who_is_revoked_and_no_other_does() {
        let issuer = authority("list authority");
        let fetcher = Fetcher::new(Trust::Anything).expect("a fetcher");
        let revoked = async |answer: Vec<u8>, serial: u64, with_lists: bool| {
            let url = format!("http://{}/list", answering(answer).await);
            let chain = certificate(&issuer, serial, &url);
            let facts = Facts::read(&chain[0]).expect("a certificate");
            assert_eq!(facts.revocation_lists, [url]);
            is_revoked(&chain, &facts, &fetcher, with_lists).await
        };
        assert_eq!(revoked(list(&issuer, 7), 7, true).await, Some(true));
        assert_eq!(revoked(list(&issuer, 7), 8, true).await, Some(false));
        assert_eq!(revoked(list(&issuer, 7), 7, false).await, None);
        // Its name alone does not make it the issuer.
        let other = authority("list authority");
        assert_eq!(revoked(list(&other, 7), 7, true).await, None);
        assert_eq!(revoked(b"garbage".to_vec(), 7, true).await, None);
    }

    #[tokio::test]
    async fn who_does_not_answer_says_nothing() {
        let issuer = authority("list authority");
        let closed = {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
            listener.local_addr().expect("an address")
        };
        let chain = certificate(&issuer, 7, &format!("http://{closed}/list"));
        let facts = Facts::read(&chain[0]).expect("a certificate");
        let fetcher = Fetcher::new(Trust::Anything).expect("a fetcher");
        assert_eq!(is_revoked(&chain, &facts, &fetcher, true).await, None);
        assert_eq!(is_revoked(&chain[..1], &facts, &fetcher, true).await, None);
    }
}
