//! One certificate that is wanted: what is served for it, how it stands, and what is kept of that.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::failure::Failure;
use super::on_demand::Kept;
use super::renewal::{self, Suggestion};
use super::status::{Line, State, Status, Step, Trouble};
use super::storage::{self, Home};
use crate::conf::typed::acme::{ChallengeKind, Order};
use crate::conf::typed::log::Level;
use crate::log::error_log;
use crate::store::{self, Event, Row, Store};
use crate::tls::facts::Facts;
use crate::tls::material::{Material, MaterialError};
use crate::tls::slot::{Held, Slot};

/// So many lines are kept of what happened.
pub const LINES: usize = 50;

/// A certificate that is revoked is replaced at once, and the next one not before this time is over.
const REVOKED_AGAIN: Duration = Duration::from_secs(86_400);

/// What is kept of a certificate beside its files: `order.json`.
#[derive(Clone, Serialize, Deserialize, Default)]
#[serde(default)]
pub struct Record {
    /// For whom.
    pub names: Vec<Box<str>>,
    /// Where the certificate that is there came from.
    pub issued: Option<Issued>,
    /// An order that is not finished.
    pub pending: Option<Pending>,
    /// Attempts that failed since the last that did not.
    pub attempts: u32,
    /// Not to be tried before.
    #[serde(with = "storage::maybe_unix_time")]
    pub next_attempt: Option<SystemTime>,
    /// What went wrong last.
    pub trouble: Option<Trouble>,
    /// When the authority wants it renewed.
    pub suggestion: Option<Suggestion>,
    /// The fingerprint of a certificate that its authority revoked.
    pub revoked: Option<String>,
    /// When another one took the place of a revoked one.
    #[serde(with = "storage::maybe_unix_time")]
    pub replaced: Option<SystemTime>,
    /// What is kept of a name that a client brought.
    pub on_demand: Option<Kept>,
    /// What happened, oldest first.
    pub log: VecDeque<Line>,
}

/// See [`Record::issued`].
#[derive(Clone, Serialize, Deserialize, PartialEq, Eq, Debug)]
pub struct Issued {
    /// The issuer's name.
    pub issuer: Box<str>,
    /// The address of its directory; empty for a certificate that a person brought.
    pub directory: Box<str>,
    /// How the names were proven.
    pub challenge: Option<Box<str>>,
    /// When it came.
    #[serde(with = "storage::unix_time")]
    pub at: SystemTime,
}

/// See [`Record::pending`].
#[derive(Clone, Serialize, Deserialize, PartialEq, Eq, Debug)]
pub struct Pending {
    /// The address of the issuer's directory.
    pub directory: Box<str>,
    /// The address of the account.
    pub account: Box<str>,
    /// The address of the order.
    pub url: Box<str>,
}

/// One certificate that is wanted.
pub struct Certificate {
    /// What is served.
    pub slot: Arc<Slot>,
    /// Where it is kept.
    pub home: Home,
    /// Wakes the task that cares for it.
    pub wake: Notify,
    order: Arc<Order>,
    store: Arc<OnceLock<Store>>,
    known: Mutex<Known>,
}

struct Known {
    state: State,
    challenge: Option<ChallengeKind>,
    /// Of the certificate at home, or of one that stands in for it.
    facts: Option<Facts>,
    lacking: Option<String>,
    /// When the file that is served was written.
    seen: Option<SystemTime>,
    /// When a file was written that cannot be used.
    unusable: Option<SystemTime>,
    /// A person wants it anew.
    is_forced: bool,
    /// The fingerprint of a certificate, and when its authority is asked again whether it holds.
    status: Option<(String, Instant)>,
    record: Record,
    /// The disk has what the record says.
    is_kept: bool,
}

impl Certificate {
    /// The certificate that an order is for, with what is at home for it. `slot` holds something else.
    pub fn new(
        order: Arc<Order>,
        home: Home,
        slot: Arc<Slot>,
        store: Arc<OnceLock<Store>>,
    ) -> Arc<Self> {
        let mut record: Record = home.record();
        record.names.clone_from(&order.names);
        let certificate = Self {
            slot,
            home,
            wake: Notify::new(),
            order,
            store,
            known: Mutex::new(Known {
                state: State::Waiting,
                challenge: None,
                facts: None,
                lacking: Some("no certificate was issued yet".to_owned()),
                seen: None,
                unusable: None,
                is_forced: false,
                status: None,
                record,
                is_kept: true,
            }),
        };
        if let Err(error) = certificate.look() {
            error_log::report(Level::Error, format_args!("{error}"));
            certificate.known.lock().lacking = Some(error.to_string());
        }
        Arc::new(certificate)
    }

    /// What is wanted.
    pub fn order(&self) -> &Arc<Order> {
        &self.order
    }

    /// The name that people know it by.
    pub fn name(&self) -> &str {
        self.order.names.first().map_or("", |name| name)
    }

    /// Takes what is at home into use, if it was put there since; another instance may have.
    pub fn look(&self) -> Result<bool, MaterialError> {
        let modified = self.home.modified();
        {
            let known = self.known.lock();
            if modified.is_some() && (known.seen == modified || known.unusable == modified) {
                return Ok(false);
            }
        }
        let loaded = self.home.load();
        if loaded.is_err() {
            // What is wrong with it is told once.
            self.known.lock().unusable = modified;
        }
        let Some(material) = loaded? else {
            return Ok(false);
        };
        if covers(&material.facts, &self.order).is_err() {
            return Ok(false);
        }
        let mut record: Record = self.home.record();
        let mut known = self.known.lock();
        record.names.clone_from(&self.order.names);
        known.record = record;
        known.seen = modified;
        known.challenge =
            (known.record.issued.as_ref()).and_then(|issued| kind(issued.challenge.as_deref()?));
        self.serve(&mut known, &material);
        if known.record.attempts == 0 {
            known.state = State::Valid;
        }
        Ok(true)
    }

    /// Reads again what is kept of it, which another instance may have written.
    pub fn read_record(&self) {
        let mut record: Record = self.home.record();
        record.names.clone_from(&self.order.names);
        let mut known = self.known.lock();
        if !known.is_kept {
            // What failed is not forgotten because the disk does not take it: the pauses would not grow.
            record.attempts = record.attempts.max(known.record.attempts);
            record.next_attempt = record.next_attempt.max(known.record.next_attempt);
        }
        known.record = record;
    }

    /// Serves a certificate for some of the names until there is one for all.
    pub fn stand_in(&self, held: Held, facts: Facts) {
        let mut known = self.known.lock();
        let whose = facts.dns_names.first().cloned().unwrap_or_default();
        known.lacking = Some(format!(
            "the certificate for `{whose}` stands in until there is one for all names"
        ));
        known.facts = Some(facts);
        self.slot.put(held);
    }

    /// Is there a certificate for all of its names?
    pub fn is_there(&self) -> bool {
        self.known.lock().seen.is_some()
    }

    /// Puts a certificate that has just come to its place, and serves it.
    pub fn take(&self, material: &Material, issued: Issued) -> Result<(), Failure> {
        let disk = |error: std::io::Error| Failure::of_disk(self.home.directory(), &error);
        self.home.put(material).map_err(disk)?;
        let mut known = self.known.lock();
        known.seen = self.home.modified();
        known.challenge = issued.challenge.as_deref().and_then(kind);
        known.record.issued = Some(issued);
        known.record.pending = None;
        known.record.attempts = 0;
        known.record.next_attempt = None;
        known.record.trouble = None;
        known.record.suggestion = None;
        if known.record.revoked.take().is_some() {
            known.record.replaced = Some(SystemTime::now());
        }
        known.is_forced = false;
        known.state = State::Valid;
        self.serve(&mut known, material);
        self.put_record(&mut known)
    }

    fn put_record(&self, known: &mut Known) -> Result<(), Failure> {
        let kept = self.home.put_record(&known.record);
        known.is_kept = kept.is_ok();
        kept.map_err(|error| Failure::of_disk(self.home.directory(), &error))
    }

    fn serve(&self, known: &mut Known, material: &Material) {
        known.facts = Some(material.facts.clone());
        known.lacking = None;
        self.slot.put(Held::new(material.certified_key()));
    }

    /// How it stands.
    pub fn status(&self) -> Status {
        let known = self.known.lock();
        let issued = known.record.issued.as_ref();
        let first = self.order.issuers.first().map(|issuer| &issuer.name);
        let now = SystemTime::now();
        Status {
            names: self.order.names.clone(),
            issuer: issued.map(|issued| &issued.issuer).or(first).cloned(),
            challenge: known.challenge,
            facts: known.facts.clone(),
            state: known.state.clone(),
            lacking: known.lacking.clone(),
            next_attempt: known.record.next_attempt.filter(|at| *at > now),
            next_renewal: known.seen.and_then(|_| renewal_of(&known, now)),
            last_error: known.record.trouble.clone(),
            log: known.record.log.iter().cloned().collect(),
        }
    }

    /// What is kept of it.
    pub fn record(&self) -> Record {
        self.known.lock().record.clone()
    }

    /// Changes what is kept of it.
    pub fn keep(&self, change: impl FnOnce(&mut Record)) -> Result<(), Failure> {
        let mut known = self.known.lock();
        change(&mut known.record);
        self.put_record(&mut known)
    }

    /// Goes on after so many attempts that failed and are written nowhere.
    pub fn begin_after(&self, attempts: u32) {
        let mut known = self.known.lock();
        known.record.attempts = attempts;
        known.is_kept = false;
    }

    /// What the certificate at home says; `None` if there is none.
    pub fn facts(&self) -> Option<Facts> {
        let known = self.known.lock();
        known.seen.and(known.facts.clone())
    }

    /// Tells what goes on.
    pub fn set_state(&self, state: State) {
        self.known.lock().state = state;
    }

    /// What goes on.
    pub fn state(&self) -> State {
        self.known.lock().state.clone()
    }

    /// Tells how far the order has come.
    pub fn step(&self, step: Step) {
        self.set_state(State::Ordering(step));
    }

    /// Tells how the names are proven.
    pub fn set_challenge(&self, kind: ChallengeKind) {
        self.known.lock().challenge = Some(kind);
    }

    /// Adds to what happened.
    pub fn say(&self, text: impl Into<String>) {
        let at = SystemTime::now();
        let mut known = self.known.lock();
        let log = &mut known.record.log;
        log.push_back(Line {
            at,
            text: text.into(),
        });
        while log.len() > LINES {
            log.pop_front();
        }
    }

    /// Adds to what happened, and tells it in the error log and in the history.
    pub fn tell(&self, level: Level, grade: store::Level, text: &str) {
        let name = self.name();
        error_log::report(level, format_args!("certificate \"{name}\": {text}"));
        self.say(text);
        if let Some(store) = self.store.get() {
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            // A history that is full misses a line, which the store counts.
            let _ = store.try_put(Row::Event(Event {
                at: since.unwrap_or_default().as_millis() as u64,
                level: grade,
                kind: "certificate".to_owned(),
                subject: name.to_owned(),
                text: text.to_owned(),
            }));
        }
    }

    /// Wants it anew, now, whatever is there.
    pub fn force(&self) {
        self.known.lock().is_forced = true;
        self.wake.notify_one();
    }

    /// What is to be done, at this time.
    pub fn plan(&self, now: SystemTime) -> Plan {
        let known = self.known.lock();
        if known.is_forced {
            return Plan::Order;
        }
        let record = &known.record;
        if let Some(at) = record.next_attempt.filter(|at| *at > now) {
            return Plan::Wait(at);
        }
        let own = known.facts.as_ref().map(|facts| &facts.sha256);
        if known.seen.is_some() && record.revoked.is_some() && record.revoked.as_ref() == own {
            // An authority that calls each new one revoked is not asked all the time.
            let rest = record.replaced.map(|at| at + REVOKED_AGAIN);
            return rest.filter(|at| *at > now).map_or(Plan::Order, Plan::Wait);
        }
        let is_ours = record.issued.as_ref().is_some_and(|issued| {
            issued.directory.is_empty()
                || (self.order.issuers.iter()).any(|issuer| issuer.uri == issued.directory)
        });
        let has_begun = record.pending.is_some() || record.attempts > 0;
        match renewal_of(&known, now) {
            Some(at) if known.seen.is_some() && is_ours && !has_begun && at > now => Plan::Wait(at),
            _ => Plan::Order,
        }
    }

    /// Is it time to ask the authority whether this certificate still holds?
    pub fn is_status_due(&self, facts: &Facts) -> bool {
        let known = self.known.lock();
        let asked = known.status.as_ref();
        !asked.is_some_and(|(whose, next)| *whose == facts.sha256 && Instant::now() < *next)
    }

    /// Sets when that is asked again.
    pub fn ask_status_after(&self, facts: &Facts, pause: Duration) {
        self.known.lock().status = Some((facts.sha256.clone(), Instant::now() + pause));
    }

    /// Keeps that an attempt failed, and when the next one may be.
    pub fn fail(&self, trouble: Trouble, next: SystemTime) -> Result<(), Failure> {
        let mut known = self.known.lock();
        known.is_forced = false;
        let record = &mut known.record;
        record.attempts = record.attempts.saturating_add(1);
        record.next_attempt = Some(next);
        record.trouble = Some(trouble);
        known.state = State::Failed {
            attempts: known.record.attempts,
        };
        self.put_record(&mut known)
    }
}

/// What is to be done with a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plan {
    /// Nothing until then.
    Wait(SystemTime),
    /// It is to be ordered.
    Order,
}

fn renewal_of(known: &Known, now: SystemTime) -> Option<SystemTime> {
    let facts = known.facts.as_ref()?;
    // One that a person brought came into being long before, and a time that is yet to come was told
    // by a clock that was wrong.
    let issued = known.record.issued.as_ref();
    let issued = issued.filter(|issued| !issued.directory.is_empty() && issued.at <= now);
    Some(renewal::due(
        facts,
        issued.map(|issued| issued.at),
        known.record.suggestion.as_ref(),
    ))
}

/// Is a certificate for all names of an order? Tells which one it lacks.
pub fn covers<'o>(facts: &Facts, order: &'o Order) -> Result<(), &'o str> {
    let has = |name: &str| match name.starts_with("*.") {
        true => facts.dns_names.iter().any(|own| own == name),
        false => facts.covers(name),
    };
    match order.names.iter().find(|name| !has(name)) {
        Some(name) => Err(name),
        None => Ok(()),
    }
}

fn kind(text: &str) -> Option<ChallengeKind> {
    [
        ChallengeKind::Http01,
        ChallengeKind::TlsAlpn01,
        ChallengeKind::Dns01,
    ]
    .into_iter()
    .find(|kind| kind.to_string() == text)
}

/// The certificate among these that is for the most of the names, if any is.
pub fn nearest(homes: &[Home], order: &Order) -> Option<Material> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    let now = i64::try_from(now).ok()?;
    let count = |facts: &Facts| {
        let names = order.names.iter();
        names.filter(|name| facts.covers(name)).count()
    };
    homes
        .iter()
        .filter_map(|home| home.load().ok().flatten())
        .filter(|material| material.facts.is_valid_at(now) && count(&material.facts) > 0)
        .max_by_key(|material| count(&material.facts))
}

/// Reads a certificate with its key that a person brings for an order.
pub fn brought(order: &Order, certificate: &[u8], key: &[u8]) -> Result<Material, String> {
    let material = storage::material(certificate, key).map_err(|error| error.to_string())?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = i64::try_from(since.unwrap_or_default().as_secs()).unwrap_or(i64::MAX);
    if material.facts.not_after < now {
        return Err("the certificate has expired".to_owned());
    }
    match covers(&material.facts, order) {
        Ok(()) => Ok(material),
        Err(name) => Err(format!("the certificate is not for `{name}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::typed::acme::{Issuer, KeyKind};
    use crate::tls::placeholder::placeholder;

    const DAY: i64 = 86_400;

    fn order() -> Arc<Order> {
        Arc::new(Order {
            issuers: vec![Arc::new(Issuer::built_in())],
            names: vec!["a.example.com".into()],
            key: KeyKind::EcdsaP256,
            challenges: vec![ChallengeKind::Http01],
            span: crate::conf::source::Span::default(),
        })
    }

    fn certificate(state: &std::path::Path) -> Arc<Certificate> {
        let order = order();
        let home = Home::of(state, &order).expect("a place");
        let slot = Slot::new(placeholder("none yet").expect("made"));
        Certificate::new(order, home, slot, Arc::default())
    }

    fn now() -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        i64::try_from(since.expect("after 1970").as_secs()).expect("not too far")
    }

    /// A certificate and its key that begin and end so many days from now.
    fn pair(from: i64, to: i64) -> (String, String) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let parameters = rcgen::CertificateParams::new(vec!["a.example.com".to_owned()]);
        let mut parameters = parameters.expect("a name");
        let day = |days: i64| {
            let seconds = u64::try_from(now() + days * DAY).expect("after 1970");
            rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
        };
        parameters.not_before = day(from);
        parameters.not_after = day(to);
        let made = parameters.self_signed(&key).expect("signed");
        (made.pem(), key.serialize_pem())
    }

    #[test]
    fn an_import_with_little_life_left_is_renewed_at_once_and_none_is_taken_without() {
        let state = tempfile::tempdir().expect("a directory");
        let certificate = certificate(state.path());
        drop(certificate.home.lock().expect("a lock"));
        let (text, key) = pair(-70, 20);
        let material = brought(&order(), text.as_bytes(), key.as_bytes()).expect("usable");
        let issued = Issued {
            issuer: "imported".into(),
            directory: Box::default(),
            challenge: None,
            at: SystemTime::now(),
        };
        certificate.take(&material, issued).expect("taken");
        assert_eq!(certificate.plan(SystemTime::now()), Plan::Order);
        let (text, key) = pair(-91, -1);
        let told = brought(&order(), text.as_bytes(), key.as_bytes()).err();
        assert_eq!(told.as_deref(), Some("the certificate has expired"));
    }

    #[test]
    fn pauses_grow_while_nothing_can_be_kept() {
        let state = tempfile::tempdir().expect("a directory");
        let certificate = certificate(state.path());
        let trouble = || Trouble {
            at: SystemTime::now(),
            what: "it failed".to_owned(),
            problem: None,
        };
        let next = SystemTime::now() + Duration::from_secs(600);
        for attempts in 1..=3 {
            // The place of its record does not exist.
            assert!(certificate.fail(trouble(), next).is_err());
            certificate.read_record();
            assert_eq!(certificate.record().attempts, attempts);
            assert_eq!(certificate.plan(SystemTime::now()), Plan::Wait(next));
        }
    }
}
