//! Caring for one certificate: waiting until something is to be done, and doing it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use instant_acme::{CertificateIdentifier, Error};

use super::account::Authority;
use super::again;
use super::certificate::{Certificate, Plan};
use super::challenges::Challenges;
use super::failure::Failure;
use super::ordering::Attempt;
use super::renewal;
use super::revoked;
use super::status::State;
use super::transport::listening;
use crate::conf::typed::acme::ChallengeKind;
use crate::conf::typed::log::Level;
use crate::store;

/// Nothing is waited for longer without a look: another instance may have renewed, and the clock may
/// have been set.
pub const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// How often it is looked whether another instance is done.
const LOOK_ELSEWHERE: Duration = Duration::from_secs(1);

/// An order that another instance makes is given up after so many looks.
const MOST_LOOKS_ELSEWHERE: u32 = 300;

/// How often it is looked whether the terms were agreed to.
const LOOK_AGREED: Duration = Duration::from_secs(10);

/// Between two orders that both went well.
const LEAST_REST: Duration = Duration::from_secs(60);

/// After so many failed attempts with one authority the next one is tried.
const TRIES: u32 = 2;

/// Cares for a certificate for ever; `authorities` are those of its order, at least one.
pub async fn care(
    certificate: Arc<Certificate>,
    authorities: Vec<Arc<Authority>>,
    challenges: Arc<Challenges>,
) {
    loop {
        step(&certificate, &authorities, &challenges, LOOK_AGAIN).await;
    }
}

/// Does what is to be done for a certificate, or waits for a while, `longest` at most.
pub async fn step(
    certificate: &Certificate,
    authorities: &[Arc<Authority>],
    challenges: &Arc<Challenges>,
    longest: Duration,
) {
    look(certificate);
    let now = SystemTime::now();
    match certificate.plan(now) {
        Plan::Wait(at) => {
            ask(certificate, authorities, now).await;
            ask_status(certificate, authorities).await;
            let rest = at.duration_since(SystemTime::now()).unwrap_or_default();
            // What the authority just said may have changed it.
            if certificate.plan(SystemTime::now()) != Plan::Order {
                pause(certificate, rest.min(longest)).await;
            }
        }
        Plan::Order => {
            let rest = order(certificate, authorities, challenges).await;
            pause(certificate, rest).await;
        }
    }
}

/// Makes one attempt, or waits for another instance that makes it; `true` if the certificate is there.
pub async fn once(
    certificate: &Certificate,
    authorities: &[Arc<Authority>],
    challenges: &Arc<Challenges>,
) -> bool {
    for _ in 0..MOST_LOOKS_ELSEWHERE {
        let rest = order(certificate, authorities, challenges).await;
        if certificate.is_there() {
            return true;
        }
        if certificate.state() != State::Elsewhere {
            return false;
        }
        pause(certificate, rest).await;
        look(certificate);
        if certificate.is_there() {
            return true;
        }
    }
    false
}

/// Notices that the certificate was revoked.
async fn ask_status(certificate: &Certificate, authorities: &[Arc<Authority>]) {
    let Some(facts) = certificate.facts() else {
        return;
    };
    let record = certificate.record();
    if !certificate.is_status_due(&facts) {
        return;
    }
    certificate.ask_status_after(&facts, revoked::UNANSWERED);
    let issued = record.issued.map(|issued| issued.directory);
    let mut all = authorities.iter();
    let Some(authority) = all.find(|authority| Some(&authority.issuer.uri) == issued.as_ref())
    else {
        return;
    };
    let Ok(fetcher) = authority.fetcher() else {
        return;
    };
    // Who says when to renew says so at once for what was revoked.
    let wishes = record.suggestion.is_some_and(|wish| wish.window.is_some());
    let held = certificate.slot.held();
    let chain = &held.certified.cert;
    let is_revoked = revoked::is_revoked(chain, &facts, &fetcher, !wishes).await;
    if is_revoked.is_some() {
        certificate.ask_status_after(&facts, revoked::pause(&facts));
    }
    if is_revoked == Some(true) {
        let text = "revoked by its authority, another one is got";
        certificate.tell(Level::Error, store::Level::Bad, text);
        if let Err(Failure::Trouble { trouble, .. }) =
            certificate.keep(|record| record.revoked = Some(facts.sha256))
        {
            certificate.say(trouble.to_string());
        }
    }
}

/// Waits for a while, or until somebody wants something.
async fn pause(certificate: &Certificate, rest: Duration) {
    let _ = tokio::time::timeout(rest, certificate.wake.notified()).await;
}

/// Takes into use what another instance has got.
fn look(certificate: &Certificate) {
    match certificate.look() {
        Ok(true) => certificate.say("another certificate was put there, it is served now"),
        Ok(false) => {}
        Err(error) => certificate.say(error.to_string()),
    }
}

/// Orders the certificate; returns how long to wait before the next look.
async fn order(
    certificate: &Certificate,
    authorities: &[Arc<Authority>],
    challenges: &Arc<Challenges>,
) -> Duration {
    let attempts = certificate.record().attempts;
    let position = (attempts / TRIES) as usize % authorities.len().max(1);
    let Some(authority) = authorities.get(position) else {
        return LOOK_AGAIN;
    };
    let issuer = &authority.issuer;
    let now = SystemTime::now();
    let names = &certificate.order().names;
    if let Some(at) = authority.ledger.proof_allowed(names, now) {
        // It would refuse; with another authority it may go on at once.
        let kept = certificate.keep(|record| {
            record.next_attempt = Some(at);
            if authorities.len() > 1 {
                record.attempts = record.attempts.saturating_add(TRIES);
                record.next_attempt = None;
            }
        });
        if let Err(Failure::Trouble { trouble, .. }) = kept {
            certificate.say(trouble.to_string());
        }
        return LOOK_AGAIN;
    }
    if !matches!(
        certificate.state(),
        State::Unagreed { .. } | State::Elsewhere
    ) {
        certificate.set_state(State::Waiting);
    }
    let Ok(_turn) = authority.turns.acquire().await else {
        return LOOK_AGAIN;
    };
    let lock = match certificate.home.lock() {
        Ok(Some(lock)) => lock,
        Ok(None) => {
            certificate.set_state(State::Elsewhere);
            return LOOK_ELSEWHERE;
        }
        Err(error) => {
            let failure = Failure::of_disk(certificate.home.directory(), &error);
            let before = certificate.state();
            return failed(certificate, authority, failure, &before);
        }
    };
    if let Err(error) = certificate.home.finish_putting() {
        let failure = Failure::of_disk(certificate.home.directory(), &error);
        let before = certificate.state();
        return failed(certificate, authority, failure, &before);
    }
    // Whoever had it before may have done what was to be done, or begun it.
    certificate.read_record();
    look(certificate);
    if let Plan::Wait(_) = certificate.plan(SystemTime::now()) {
        if certificate.is_there() {
            certificate.set_state(State::Valid);
        }
        return Duration::ZERO;
    }
    let kinds = match issuer.challenge {
        Some(kind) => vec![kind],
        None => certificate.order().challenges.clone(),
    };
    let challenge = kinds
        .get(attempts as usize % kinds.len().max(1))
        .copied()
        .unwrap_or(ChallengeKind::Http01);
    let replaces = certificate
        .facts()
        .and_then(|facts| facts.renewal_identifier);
    let issued = certificate.record().issued;
    let is_its_own = issued.is_some_and(|issued| issued.directory == issuer.uri);
    let is_renewal = certificate.is_there();
    // What goes on hides from now on what was told before.
    let before = certificate.state();
    let attempt = Attempt {
        certificate,
        authority,
        challenge,
        challenges,
        replaces: replaces.filter(|_| is_its_own),
    };
    let outcome = listening(attempt.run()).await;
    drop(lock);
    match outcome {
        Ok(()) => {
            let what = if is_renewal { "renewed" } else { "issued" };
            let text = format!("{what} by `{}`", issuer.name);
            certificate.tell(Level::Notice, store::Level::Good, &text);
            match certificate.plan(SystemTime::now()) {
                Plan::Wait(_) => Duration::ZERO,
                // One that is to be renewed as soon as it comes.
                Plan::Order => LEAST_REST,
            }
        }
        Err(failure) => {
            // The next attempt starts from the directory and the roots as they are then.
            authority.close_account().await;
            failed(certificate, authority, failure, &before)
        }
    }
}

/// Keeps what went wrong, after a state; returns how long to wait before the next look.
fn failed(
    certificate: &Certificate,
    authority: &Authority,
    failure: Failure,
    before: &State,
) -> Duration {
    let issuer = &authority.issuer;
    let (trouble, retry_after, unproven) = match failure {
        Failure::Unagreed { terms } => {
            let state = State::Unagreed {
                issuer: issuer.name.clone(),
                terms: terms.clone(),
            };
            // It is told once.
            if *before != state {
                let terms = terms.map_or_else(String::new, |terms| format!(" ({terms})"));
                certificate.tell(
                    Level::Error,
                    store::Level::Warn,
                    &format!(
                        "the terms of `{}`{terms} have to be agreed to first: \
                         run `openclaw cert agree`, or set `accept_terms_of_service` in the issuer",
                        issuer.name
                    ),
                );
            }
            certificate.set_state(state);
            return LOOK_AGREED;
        }
        Failure::Trouble {
            trouble,
            retry_after,
            unproven,
        } => (trouble, retry_after, unproven),
    };
    let grade = match certificate.is_there() {
        true => store::Level::Warn,
        false => store::Level::Bad,
    };
    certificate.tell(
        Level::Error,
        grade,
        &format!("{trouble} (issuer `{}`)", issuer.name),
    );
    let attempts = certificate.record().attempts.saturating_add(1);
    let own = renewal::pause(attempts, issuer.retry.least, issuer.retry.most);
    let next = trouble.at + own;
    let next = retry_after.map_or(next, |at| at.max(next));
    if !unproven.is_empty() {
        authority.ledger.unproven(&unproven, trouble.at);
    }
    if let Err(Failure::Trouble { trouble, .. }) = certificate.fail(*trouble, next) {
        certificate.tell(Level::Error, store::Level::Bad, &trouble.to_string());
    }
    next.duration_since(SystemTime::now())
        .unwrap_or_default()
        .min(LOOK_AGAIN)
}

/// Asks the authority when it wants the certificate renewed, if it is time to (RFC 9773).
async fn ask(certificate: &Certificate, authorities: &[Arc<Authority>], now: SystemTime) {
    let Some(facts) = certificate.facts() else {
        return;
    };
    let record = certificate.record();
    if !renewal::is_to_be_asked(&facts, record.suggestion.as_ref(), now) {
        return;
    }
    let Some(issued) = record.issued else {
        return;
    };
    let mut all = authorities.iter();
    let Some(authority) = all.find(|authority| authority.issuer.uri == issued.directory) else {
        return;
    };
    let said = listening(async {
        let account = authority.account().await.ok()?;
        let identifier = facts.renewal_identifier.as_deref()?;
        let (key, serial) = identifier.split_once('.')?;
        let identifier = CertificateIdentifier {
            authority_key_identifier: key.into(),
            serial: serial.into(),
        };
        match again!(account.renewal_info(&identifier)) {
            Ok(said) => Some(said),
            Err(Error::Unsupported(_)) => None,
            Err(error) => {
                if let Failure::Trouble { trouble, .. } = Failure::of("asking when to renew", error)
                {
                    certificate.say(trouble.to_string());
                }
                None
            }
        }
    })
    .await;
    let before = record.suggestion.as_ref();
    let suggestion = match said {
        Some((info, pause)) => {
            let window = info.suggested_window;
            let window = (window.start.unix_timestamp(), window.end.unix_timestamp());
            let why = info.explanation_url;
            renewal::take(&facts, before, Some(window), why, pause, now)
        }
        None => {
            // What it said before holds on while it does not answer.
            let window = before.and_then(|before| before.window);
            renewal::take(&facts, before, window, None, renewal::ASK_AGAIN, now)
        }
    };
    if let Some(why) = &suggestion.explanation
        && before.is_none_or(|before| before.explanation.as_ref() != Some(why))
    {
        certificate.say(format!("the authority explains when to renew: {why}"));
    }
    if let Err(Failure::Trouble { trouble, .. }) =
        certificate.keep(|record| record.suggestion = Some(suggestion))
    {
        certificate.say(trouble.to_string());
    }
}
