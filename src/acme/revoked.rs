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
    found.await.ok()
}
