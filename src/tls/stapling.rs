//! `ssl_stapling`: the status of a certificate, fetched from its authority before a client has to ask.
//!
//! Owns when to ask and what is sent. An answer is asked for anew when half of its time is over; what
//! is there is sent for as long as it holds, also after a restart, for it is kept in a file. A responder
//! that is down, or talks nonsense, takes nothing away: without an answer that holds, none is sent.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustls::pki_types::CertificateDer;

use super::facts::Facts;
use super::fetch::{Fetcher, Limits, Trust};
use super::ocsp::{Answer, Question};
use super::slot::Slot;
use super::{clients, file};
use crate::conf::typed::tls::{ServerTls, Stapling};
use crate::net::resolver::Resolver;
use crate::unit::clock;

/// How often a slot is looked at: its certificate may be another one.
const SEEN: Duration = Duration::from_secs(2);
/// How long an answer holds that does not say it (nginx has the same).
const USUAL_LIFE: i64 = 3600;
/// How soon a responder is asked again that did not answer: the first time, and at most.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));
/// One question, from the name to the last byte.
const LIMITS: Limits = Limits {
    timeout: Duration::from_secs(15),
    body: 64 << 10,
};

/// A certificate whose status is sent along.
#[derive(Clone, Debug)]
pub struct Staple {
    slot: Arc<Slot>,
    stapling: Stapling,
    /// Where the issuer is found if it does not stand behind the certificate.
    trusted: Option<PathBuf>,
    resolver: Option<Resolver>,
}

/// An answer at hand.
struct Held {
    der: Vec<u8>,
    /// `None` for one from a file that the configuration names: it is sent as it is.
    answer: Option<Answer>,
}

/// What is known of the certificate that a slot holds now.
#[derive(Default)]
struct State {
    certificate: Vec<u8>,
    question: Option<Question>,
    url: String,
    held: Option<Held>,
    next: Option<Instant>,
    failures: u32,
}

impl Staple {
    /// The slots of a server that wants it.
    pub fn of(tls: &ServerTls, slots: &[Arc<Slot>], resolver: Option<&Resolver>) -> Vec<Self> {
        let slots = slots.iter().filter(|_| tls.stapling.enabled);
        let staples = slots.map(|slot| Self {
            slot: Arc::clone(slot),
            stapling: tls.stapling.clone(),
            trusted: tls.trusted.as_ref().map(|(path, _)| path.clone()),
            resolver: resolver.cloned(),
        });
        staples.collect()
    }

    /// Is it about the certificate of this slot?
    pub fn is_of(&self, slot: &Arc<Slot>) -> bool {
        Arc::ptr_eq(&self.slot, slot)
    }

    /// Is it about the same certificate?
    pub fn has_slot_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.slot, &other.slot)
    }

    /// Keeps the status at hand, for ever. Answers are kept in `directory`, where there is one; what
    /// goes wrong is told, once for each time that it begins to.
    pub async fn keep(self, directory: Option<PathBuf>, tell: fn(&str)) {
        let mut state = State::default();
        let made = match &self.resolver {
            Some(resolver) => Fetcher::with_resolver(Trust::System, resolver.clone()),
            None => Fetcher::new(Trust::System),
        };
        let fetcher = match made {
            Ok(fetcher) => fetcher,
            Err(error) => {
                tell(&format!("OCSP responders cannot be asked: {error}"));
                return;
            }
        };
        loop {
            let held = self.slot.held();
            let certificate = held.certified.cert.first();
            if held.lacking.is_none()
                && let Some(certificate) = certificate
            {
                if **certificate != *state.certificate {
                    let chain: Vec<_> = held.certified.cert.clone();
                    state = self.begin(&chain, directory.as_deref(), tell).await;
                }
                self.serve(&mut state, held.certified.ocsp.as_deref());
                let is_due = state.next.is_some_and(|next| next <= clock::now());
                if is_due {
                    self.ask(&mut state, &fetcher, directory.as_deref(), tell)
                        .await;
                    self.serve(&mut state, held.certified.ocsp.as_deref());
                }
            }
            tokio::time::sleep(SEEN).await;
            clock::refresh();
        }
    }

    /// Finds out what can be asked about a certificate, and what was answered before.
    async fn begin(
        &self,
        chain: &[CertificateDer<'static>],
        directory: Option<&Path>,
        tell: fn(&str),
    ) -> State {
        let mut state = State::default();
        let Some(certificate) = chain.first() else {
            return state;
        };
        state.certificate = certificate.to_vec();
        let Some(facts) = Facts::read(certificate) else {
            return state;
        };
        let ignored = |why: &str| {
            tell(&format!(
                "\"ssl_stapling\" ignored, {why} \"{}\"",
                facts.subject
            ))
        };
        if let Some((path, _)) = &self.stapling.file {
            let path = path.clone();
            let read =
                tokio::task::spawn_blocking(move || file::read(&path).map(|(bytes, _)| bytes));
            match read.await {
                Ok(Ok(bytes)) => {
                    state.held = Some(Held {
                        der: bytes.to_vec(),
                        answer: None,
                    });
                }
                _ => {
                    ignored("the file of \"ssl_stapling_file\" cannot be read, for the certificate")
                }
            }
            return state;
        }
        let issuer = match self.issuer(chain).await {
            Some(question) => question,
            None => {
                ignored("issuer certificate not found for certificate");
                return state;
            }
        };
        state.url = match (&self.stapling.responder, facts.ocsp_responders.first()) {
            (Some(url), _) => url.to_string(),
            (None, Some(url)) => url.clone(),
            (None, None) => {
                ignored("no OCSP responder URL in the certificate");
                return state;
            }
        };
        if let Some(kept) = directory.map(|directory| kept(directory, &facts)) {
            let read = tokio::task::spawn_blocking(move || file::read(&kept).ok());
            if let Ok(Some((bytes, _))) = read.await
                && let Ok(answer) = issuer.check(&bytes, now())
            {
                state.held = Some(Held {
                    der: bytes.to_vec(),
                    answer: Some(answer),
                });
            }
        }
        state.next = Some(next(state.held.as_ref().and_then(|held| held.answer)));
        state.question = Some(issuer);
        state
    }

    /// The question about a certificate, whose issuer stands behind it or among those that are trusted.
    async fn issuer(&self, chain: &[CertificateDer<'static>]) -> Option<Question> {
        let (certificate, above) = chain.split_first()?;
        let find = |above: &[CertificateDer<'_>]| {
            let mut above = above.iter();
            above.find_map(|issuer| Question::new(certificate, issuer))
        };
        if let Some(question) = find(above) {
            return Some(question);
        }
        let trusted = self.trusted.clone()?;
        let read = tokio::task::spawn_blocking(move || clients::certificates_of(&trusted));
        find(&read.await.ok()?.ok()?)
    }

    /// Puts what is at hand into the slot, or takes out what no longer holds.
    fn serve(&self, state: &mut State, sent: Option<&[u8]>) {
        let now = now();
        let is_over = |held: &Held| {
            let answer = held.answer.as_ref();
            answer.is_some_and(|answer| until(answer) < now)
        };
        if state.held.as_ref().is_some_and(is_over) {
            state.held = None;
        }
        let wanted = state.held.as_ref().map(|held| &*held.der);
        if wanted != sent {
            self.slot.staple(&state.certificate, wanted);
        }
    }

    async fn ask(
        &self,
        state: &mut State,
        fetcher: &Fetcher,
        directory: Option<&Path>,
        tell: fn(&str),
    ) {
        let Some(question) = &state.question else {
            return;
        };
        let request = http::Request::post(&state.url)
            .header("Content-Type", "application/ocsp-request")
            .header("Accept", "application/ocsp-response")
            .body(Bytes::from(question.request()));
        let answered = match request {
            Ok(request) => match fetcher.send(request, LIMITS).await {
                Ok(response) if response.status() == 200 => {
                    let answer = question.check(response.body(), now());
                    answer
                        .map(|answer| (response.into_body(), answer))
                        .map_err(str::to_owned)
                }
                Ok(response) => Err(format!("it answered with {}", response.status().as_u16())),
                Err(error) => Err(error.to_string()),
            },
            Err(error) => Err(error.to_string()),
        };
        match answered {
            Ok((der, answer)) => {
                if let (Some(directory), Some(facts)) = (directory, Facts::read(&state.certificate))
                {
                    let (path, der) = (kept(directory, &facts), der.clone());
                    let written = tokio::task::spawn_blocking(move || write(&path, &der)).await;
                    if let Ok(Err(error)) = written {
                        tell(&format!(
                            "an answer of an OCSP responder cannot be kept: {error}"
                        ));
                    }
                }
                state.failures = 0;
                state.next = Some(next(Some(answer)));
                state.held = Some(Held {
                    der: der.to_vec(),
                    answer: Some(answer),
                });
            }
            Err(error) => {
                if state.failures == 0 {
                    let consequence = match state.held {
                        Some(_) => "the answer from before is sent on",
                        None => "no status is sent",
                    };
                    tell(&format!(
                        "OCSP responder \"{}\": {error}; {consequence}",
                        host(&state.url)
                    ));
                }
                let wait = PATIENCE.0 * 2u32.saturating_pow(state.failures.min(16));
                state.failures = state.failures.saturating_add(1);
                state.next = Some(clock::now() + wait.min(PATIENCE.1));
            }
        }
    }
}

/// When an answer ends.
fn until(answer: &Answer) -> i64 {
    answer
        .until
        .unwrap_or(answer.from.saturating_add(USUAL_LIFE))
}

/// When to ask again: in the middle of what an answer holds.
fn next(answer: Option<Answer>) -> Instant {
    let Some(answer) = answer else {
        return clock::now();
    };
    let middle = answer.from.midpoint(until(&answer));
    let wait = u64::try_from(middle.saturating_sub(now())).unwrap_or_default();
    // A responder whose answers end at once is not asked all the time.
    clock::now() + Duration::from_secs(wait).max(PATIENCE.0)
}

fn now() -> i64 {
    i64::try_from(clock::unix().as_secs()).unwrap_or(i64::MAX)
}

/// Where the answer about a certificate is kept.
fn kept(directory: &Path, facts: &Facts) -> PathBuf {
    let name = facts.sha256.replace(':', "");
    directory.join(format!("{name}.der"))
}

/// Writes a file so that it is there whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let beside = path.with_extension("new");
    fs::write(&beside, bytes)?;
    fs::rename(&beside, path)
}

/// Whom a URL is for; its path and query are nobody's business.
fn host(url: &str) -> String {
    let uri = url.parse::<http::Uri>().ok();
    uri.and_then(|uri| uri.host().map(str::to_owned))
        .unwrap_or_default()
}
