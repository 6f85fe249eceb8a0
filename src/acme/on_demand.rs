//! Certificates for names that are known only when a client asks for them.
//!
//! Owns which of those names are held, which are being looked at, and which were refused a short
//! while ago. Whoever connects can say any name, so everything here is bounded: a name that no rule
//! admits costs a comparison; one that has to be asked about is asked about once, whoever brings it,
//! in a bounded number at a time and of a bounded number for each client; what was refused is
//! remembered for a while, and only so many of those; and new orders are placed at the pace that the
//! rule sets. A name that no client brings any more is not renewed, and forgotten in the end.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};
use tokio::sync::{OnceCell, watch};

use super::care;
use super::certificate::{Certificate, Plan, Record};
use super::manager::{Manager, is_same};
use super::status::State;
use super::storage::{self, Home};
use crate::conf::local_names::is_local;
use crate::conf::typed::acme::{Issuer, Order};
use crate::conf::typed::log::Level;
use crate::conf::typed::on_demand::{OnDemand, Rate};
use crate::log::error_log;
use crate::metrics::registry;
use crate::tls::fetch::{Fetcher, Limits, Trust};
use crate::tls::placeholder::placeholder;
use crate::tls::slot::Slot;

/// So many names are looked at, or got, at a time.
const MOST_FLIGHTS: usize = 64;
/// So many names that were refused are remembered, twice.
const MOST_REFUSED: usize = 2048;
/// So many names that are not held one client may bring within [`CLIENT_WINDOW`].
const MOST_OF_CLIENT: u32 = 30;
const CLIENT_WINDOW: Duration = Duration::from_secs(60);
/// So many new names are counted, whatever a limit says.
const MOST_COUNTED: usize = 100_000;
/// So many clients are counted; more are not.
const MOST_CLIENTS: usize = 8192;
/// How long a name that the service refused is not asked about again.
const REFUSED: Duration = Duration::from_secs(60);
/// The same where the service did not answer.
const UNANSWERED: Duration = Duration::from_secs(10);
/// And where no more may be got now.
const LIMITED: Duration = Duration::from_secs(5);
/// How long a service may take to answer.
const ASKING: Limits = Limits {
    timeout: Duration::from_secs(5),
    body: 64 << 10,
};
/// The last use of a name is written down when it is so much later than what is written.
const USE_KEPT: u64 = 3600;
/// A name is looked at no more often than this.
const LEAST_PAUSE: Duration = Duration::from_secs(1);
/// The longest name of a host (RFC 1035 section 2.3.4), as text.
const LONGEST_NAME: usize = 253;
/// That no more is got is told once in so long.
const TOLD_AGAIN: Duration = Duration::from_secs(600);

/// What is kept of a name beside its certificate.
#[derive(Clone, Serialize, Deserialize, PartialEq, Eq, Debug)]
pub struct Kept {
    /// When a client brought it last.
    #[serde(with = "storage::unix_time")]
    pub used: SystemTime,
    /// The service that allowed it, if one was asked.
    pub asked: Option<Box<str>>,
}

/// Why a client gets no certificate for the name that it brings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Denial {
    /// No name of a host, an address, or one without a dot.
    Unfit,
    /// No pattern admits it.
    NotAllowed,
    /// The service does not allow it.
    Forbidden,
    /// The service does not answer.
    Unanswered,
    /// The client brought too many names.
    Client,
    /// Too many names are looked at now.
    Busy,
    /// As many are new as may be.
    Limit,
    /// As many are held as may be.
    Full,
    /// The authority's terms are not agreed to.
    Unagreed,
    /// The authority did not give it.
    Failed,
}

impl Denial {
    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            Self::Unfit => "it is no name of a host with a dot in it",
            Self::NotAllowed => "no `allow=` of `acme_on_demand` is for it",
            Self::Forbidden => "the service that `ask=` names does not allow it",
            Self::Unanswered => "the service that `ask=` names does not answer",
            Self::Client => "the client asks for too many names",
            Self::Busy => "too many names are looked at now",
            Self::Limit => "as many names are new as `limit=` of `acme_on_demand` lets through",
            Self::Full => "as many names are held as `most=` of `acme_on_demand` lets be",
            Self::Unagreed => "the terms of the authority are not agreed to",
            Self::Failed => "the last attempt to get it failed",
        }
    }
}

/// What there is for a client that brings a name.
pub enum Demand {
    /// A certificate.
    Held(Arc<CertifiedKey>),
    /// It is looked at.
    Wait(Flight),
    /// Nothing.
    Refused(Denial),
}

type Outcome = Option<Result<(), Denial>>;

/// A name that is looked at.
pub struct Flight(watch::Receiver<Outcome>);

impl Flight {
    /// Waits until it is clear what becomes of it; then it is to be demanded again.
    pub async fn land(mut self) -> Result<(), Denial> {
        match self.0.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.unwrap_or(Err(Denial::Failed)),
            Err(_) => Err(Denial::Failed),
        }
    }
}

/// A name that is held.
struct Name {
    rule: Arc<OnDemand>,
    certificate: Arc<Certificate>,
    /// The last use, in seconds since 1970.
    used: AtomicU64,
}

impl Name {
    fn new(rule: &Arc<OnDemand>, certificate: Arc<Certificate>, used: SystemTime) -> Self {
        Self {
            rule: Arc::clone(rule),
            certificate,
            used: AtomicU64::new(seconds(used)),
        }
    }
}

/// How a name that is held does.
pub struct Standing {
    /// What is got for it.
    pub order: Arc<Order>,
    /// When a client brought it last.
    pub used: SystemTime,
}

/// What `cert why` tells of a name.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// So many names are held.
    pub held: usize,
    /// So many were new within the time of the limit.
    pub new: usize,
    /// Why the name was refused a short while ago.
    pub refused: Option<Denial>,
}

/// The names that clients brought.
#[derive(Default)]
pub struct Names {
    held: RwLock<HashMap<Box<str>, Arc<Name>>>,
    pending: Mutex<Pending>,
    fetcher: OnceCell<Fetcher>,
}

#[derive(Default)]
struct Pending {
    flights: HashMap<Box<str>, watch::Receiver<Outcome>>,
    refused: Refused,
    /// When names were new, oldest first; as many as any limit counts.
    new: VecDeque<SystemTime>,
    clients: HashMap<IpAddr, u32>,
    clients_since: Option<SystemTime>,
    told: Option<SystemTime>,
}

/// Names that were refused, the younger and the older half.
#[derive(Default)]
struct Refused {
    young: HashMap<Box<str>, Memory>,
    old: HashMap<Box<str>, Memory>,
}

#[derive(Clone, Copy)]
struct Memory {
    why: Denial,
    until: SystemTime,
    /// Attempts that failed, one after the other.
    attempts: u32,
}

impl Refused {
    fn find(&self, name: &str) -> Option<Memory> {
        self.young.get(name).or_else(|| self.old.get(name)).copied()
    }

    fn put(&mut self, name: &str, memory: Memory) {
        if self.young.len() >= MOST_REFUSED {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(name.into(), memory);
    }

    fn remove(&mut self, name: &str) {
        self.young.remove(name);
        self.old.remove(name);
    }
}

impl Pending {
    /// How many names were new within the time of a limit.
    fn count(&self, limit: Rate, now: SystemTime) -> usize {
        let mut latest = self.new.iter().rev();
        let is_within = |at: &&SystemTime| {
            // What a clock that was wrong has written counts as well.
            now.duration_since(**at)
                .map_or(true, |since| since < limit.within)
        };
        latest.by_ref().take_while(is_within).count()
    }

    /// Counts a name that is not held; `false` if the client brought too many.
    fn admit(&mut self, client: IpAddr, now: SystemTime) -> bool {
        let is_over = self.clients_since.is_none_or(|since| {
            now.duration_since(since)
                .map_or(true, |since| since >= CLIENT_WINDOW)
        });
        if is_over {
            self.clients.clear();
            self.clients_since = Some(now);
        }
        if self.clients.len() >= MOST_CLIENTS && !self.clients.contains_key(&client) {
            return true;
        }
        let count = self.clients.entry(client).or_default();
        *count += 1;
        *count <= MOST_OF_CLIENT
    }
}

/// Could a client's name get a certificate at all? It is in lower case.
pub fn is_fit(name: &str) -> bool {
    let is_label = |label: &str| {
        let is_fine = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        (1..=63).contains(&label.len())
            && label.bytes().all(is_fine)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= LONGEST_NAME
        && name.contains('.')
        && name.split('.').all(is_label)
        // An address, or what some take for one.
        && !last.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whom a client's address is counted for: a network of IPv6 has one customer.
fn counted(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => address.into(),
            None => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
        },
        client => client,
    }
}

fn seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

fn moment(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

impl Names {
    /// The certificate for a name, if one is held under this rule.
    fn find(&self, rule: &OnDemand, name: &str, now: u64) -> Option<Arc<CertifiedKey>> {
        let held = self.held.read();
        let known = held.get(name)?;
        if rule.ask.is_some() && known.rule.ask != rule.ask {
            return None;
        }
        let held = known.certificate.slot.held();
        if held.lacking.is_some() {
            return None;
        }
        // Not with each handshake: workers would pull the line from each other.
        if known.used.load(Relaxed) + 60 < now {
            known.used.store(now, Relaxed);
        }
        Some(Arc::clone(&held.certified))
    }

    /// How the names that are held do.
    pub fn standings(&self) -> Vec<Standing> {
        let held = self.held.read();
        let standings = held.values().map(|name| Standing {
            order: Arc::clone(name.certificate.order()),
            used: moment(name.used.load(Relaxed)),
        });
        standings.collect()
    }

    /// What there is to tell of a name, or of any.
    pub fn room(&self, rule: &OnDemand, name: &str) -> Room {
        let now = SystemTime::now();
        let pending = self.pending.lock();
        let refused = pending.refused.find(name);
        Room {
            held: self.held.read().len(),
            new: pending.count(rule.limit, now),
            refused: (refused.filter(|memory| memory.until > now)).map(|memory| memory.why),
        }
    }

    /// Asks the service of a rule about a name.
    pub async fn ask(&self, rule: &OnDemand, name: &str) -> Result<(), Denial> {
        let Some(ask) = &rule.ask else {
            return Ok(());
        };
        let fetcher = self
            .fetcher
            .get_or_try_init(async || Fetcher::new(Trust::System));
        let Ok(fetcher) = fetcher.await else {
            return Err(Denial::Unanswered);
        };
        let mark = match ask.contains('?') {
            true => '&',
            false => '?',
        };
        let request = http::Request::get(format!("{ask}{mark}domain={name}")).body(Bytes::new());
        let Ok(request) = request else {
            return Err(Denial::Unanswered);
        };
        match fetcher.send(request, ASKING).await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            // That it cannot say it now is no word about the name.
            Ok(answer) if answer.status().is_server_error() => {
                let status = answer.status().as_u16();
                error_log::report(
                    Level::Warn,
                    format_args!(
                        "the service that says who may have a certificate answers with {status} for \"{name}\""
                    ),
                );
                Err(Denial::Unanswered)
            }
            Ok(_) => Err(Denial::Forbidden),
            Err(error) => {
                error_log::report(
                    Level::Warn,
                    format_args!(
                        "the service that says who may have a certificate cannot be asked: {error}"
                    ),
                );
                Err(Denial::Unanswered)
            }
        }
    }
}

impl Manager {
    /// What there is for a client at this address that brings a name, in lower case, to a server with
    /// this rule.
    pub fn demand(
        self: &Arc<Self>,
        rule: &Arc<OnDemand>,
        name: &str,
        client: Option<IpAddr>,
    ) -> Demand {
        let refused = |why| {
            registry::with(|counters| counters.on_demand_refused.increase());
            Demand::Refused(why)
        };
        if !is_fit(name) || (rule.is_public() && is_local(name)) {
            return refused(Denial::Unfit);
        }
        if !rule.admits(name) {
            return refused(Denial::NotAllowed);
        }
        let now = SystemTime::now();
        if let Some(certified) = self.names.find(rule, name, seconds(now)) {
            return Demand::Held(certified);
        }
        let Some(runtime) = self.runtime() else {
            return refused(Denial::Busy);
        };
        let mut pending = self.names.pending.lock();
        if let Some(flight) = pending.flights.get(name) {
            return Demand::Wait(Flight(flight.clone()));
        }
        let memory = pending.refused.find(name);
        if let Some(memory) = memory.filter(|memory| memory.until > now) {
            return refused(memory.why);
        }
        if client.is_some_and(|client| !pending.admit(counted(client), now)) {
            return refused(Denial::Client);
        }
        if pending.flights.len() >= MOST_FLIGHTS {
            return refused(Denial::Busy);
        }
        let (sender, receiver) = watch::channel(None);
        pending.flights.insert(name.into(), receiver.clone());
        drop(pending);
        let attempts = memory.map_or(0, |memory| memory.attempts);
        let (manager, rule, name) = (Arc::clone(self), Arc::clone(rule), Box::from(name));
        runtime.spawn(async move {
            let landing = Landing {
                manager: Arc::clone(&manager),
                name,
                sender,
            };
            let outcome = manager.look_at(&rule, &landing.name, attempts).await;
            registry::with(|counters| match outcome {
                Ok(()) => counters.on_demand_issued.increase(),
                Err(Denial::Failed | Denial::Unagreed) => counters.on_demand_failed.increase(),
                Err(_) => counters.on_demand_refused.increase(),
            });
            landing.land(outcome);
        });
        Demand::Wait(Flight(receiver))
    }

    /// Finds out whether a name may have a certificate, and gets it.
    async fn look_at(
        self: &Arc<Self>,
        rule: &Arc<OnDemand>,
        name: &str,
        attempts: u32,
    ) -> Result<(), Denial> {
        let order = rule.order(name);
        let refuse = |why, pause| self.refuse(name, why, SystemTime::now() + pause, attempts);
        let Some((certificate, kept)) = self.at_home(&order) else {
            return refuse(Denial::Failed, REFUSED);
        };
        let was_allowed = kept.as_ref().is_some_and(|kept| kept.asked == rule.ask);
        if !was_allowed {
            match self.names.ask(rule, name).await {
                Ok(()) => {}
                Err(Denial::Unanswered) => return refuse(Denial::Unanswered, UNANSWERED),
                Err(why) => {
                    error_log::report(
                        Level::Info,
                        format_args!("no certificate for \"{name}\": {}", why.text()),
                    );
                    return refuse(why, REFUSED);
                }
            }
        }
        if let Some(configured) = self.configured(&order) {
            // Somebody else cares for it, and says when it is there.
            if !configured.is_there() {
                return refuse(Denial::Busy, LIMITED);
            }
            let known = Name::new(rule, configured, SystemTime::now());
            self.names.held.write().insert(name.into(), Arc::new(known));
            return Ok(());
        }
        if certificate.is_there() {
            self.hold(rule, certificate, SystemTime::now());
            return Ok(());
        }
        // From here on it costs something at the authority.
        if let Err(why) = self.reserve(rule) {
            return refuse(why, LIMITED);
        }
        if attempts > 0 {
            // The way of proof, or the authority, that was not tried yet.
            certificate.begin_after(attempts);
        }
        let authorities = self.authorities_of(&order);
        let outcome = care::once(&certificate, &authorities, self.offers()).await;
        if outcome {
            self.hold(rule, certificate, SystemTime::now());
            return Ok(());
        }
        let record = certificate.record();
        let why = match certificate.state() {
            State::Unagreed { .. } => Denial::Unagreed,
            _ => Denial::Failed,
        };
        let until = record.next_attempt;
        let until = until.unwrap_or_else(|| SystemTime::now() + REFUSED);
        certificate.home.forget();
        self.refuse(name, why, until, record.attempts)
    }

    /// What the disk has for a name, if something can be kept at all.
    fn at_home(&self, order: &Arc<Order>) -> Option<(Arc<Certificate>, Option<Kept>)> {
        let slot = Slot::new(placeholder("no certificate was issued yet")?);
        let certificate = self.fresh(order, &slot)?;
        let kept = certificate.record().on_demand;
        Some((certificate, kept))
    }

    fn refuse(
        &self,
        name: &str,
        why: Denial,
        until: SystemTime,
        attempts: u32,
    ) -> Result<(), Denial> {
        let memory = Memory {
            why,
            until,
            attempts,
        };
        self.names.pending.lock().refused.put(name, memory);
        Err(why)
    }

    /// Counts a name that is new, if there may be one more.
    fn reserve(&self, rule: &OnDemand) -> Result<(), Denial> {
        let now = SystemTime::now();
        let held = self.names.held.read().len();
        let mut pending = self.names.pending.lock();
        let why = match () {
            () if held >= rule.most => Denial::Full,
            () if pending.count(rule.limit, now) >= rule.limit.count => Denial::Limit,
            () => {
                pending.new.push_back(now);
                while pending.new.len() > MOST_COUNTED {
                    pending.new.pop_front();
                }
                return Ok(());
            }
        };
        let is_told = (pending.told).is_some_and(|told| {
            now.duration_since(told)
                .is_ok_and(|since| since < TOLD_AGAIN)
        });
        if !is_told {
            pending.told = Some(now);
            error_log::report(
                Level::Warn,
                format_args!(
                    "no more certificates are got on demand for now: {}",
                    why.text()
                ),
            );
        }
        Err(why)
    }

    /// Serves a certificate to who brings its name from now on, and cares for it.
    fn hold(
        self: &Arc<Self>,
        rule: &Arc<OnDemand>,
        certificate: Arc<Certificate>,
        used: SystemTime,
    ) {
        let Some(runtime) = self.runtime() else {
            return;
        };
        let order = Arc::clone(certificate.order());
        let Some(text) = order.names.first().cloned() else {
            return;
        };
        let name = Arc::new(Name::new(rule, Arc::clone(&certificate), used));
        let task = runtime.spawn(self.care_while_used(Arc::clone(&name)));
        self.names.held.write().insert(text.clone(), name);
        self.names.pending.lock().refused.remove(&text);
        self.enter(&certificate, task.abort_handle());
    }

    /// Cares for a name as long as clients bring it.
    fn care_while_used(
        self: &Arc<Self>,
        name: Arc<Name>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let manager = Arc::downgrade(self);
        async move {
            let (rule, certificate) = (&name.rule, &name.certificate);
            loop {
                let Some(manager) = manager.upgrade() else {
                    return;
                };
                let used = name.used.load(Relaxed);
                let now = SystemTime::now();
                if moment(used) + rule.inactive < now {
                    let text = "forgotten: no client has asked for it for long";
                    certificate.tell(Level::Notice, crate::store::Level::Info, text);
                    manager.forget(certificate);
                    return;
                }
                let kept = certificate.record().on_demand;
                let is_kept = kept.is_some_and(|kept| {
                    kept.asked == rule.ask && seconds(kept.used) + USE_KEPT > used
                });
                if !is_kept {
                    let kept = Kept {
                        used: moment(used),
                        asked: rule.ask.clone(),
                    };
                    if certificate
                        .keep(|record| record.on_demand = Some(kept))
                        .is_err()
                    {
                        certificate.say("when it was used last cannot be kept");
                    }
                }
                if certificate.plan(now) == Plan::Order
                    && let Some(text) = certificate.order().names.first()
                    && manager.names.ask(rule, text).await == Err(Denial::Forbidden)
                {
                    let text = "forgotten: the service that allowed it does not any more";
                    certificate.tell(Level::Notice, crate::store::Level::Info, text);
                    manager.forget(certificate);
                    return;
                }
                let authorities = manager.authorities_of(certificate.order());
                let challenges = Arc::clone(manager.offers());
                // It may wait for long, and holds nothing that has an end of its own.
                drop(manager);
                let end = (moment(used) + rule.inactive).duration_since(now);
                let longest = end.unwrap_or_default().clamp(LEAST_PAUSE, care::LOOK_AGAIN);
                care::step(certificate, &authorities, &challenges, longest).await;
            }
        }
    }

    /// Forgets a name with its files.
    fn forget(&self, certificate: &Certificate) {
        self.names.held.write().remove(certificate.name());
        certificate.home.forget();
        self.leave(certificate.order());
    }

    /// Goes on with the names that these rules hold, after a start or a reload, and lets go of those
    /// that no rule admits any more; the files of those stay until they are old.
    pub(super) fn attend_names(self: &Arc<Self>, rules: &[Arc<OnDemand>]) {
        let is_kept = |name: &Name| {
            let order = name.certificate.order();
            let is_same_issuer = |(one, other): (&Arc<Issuer>, &Arc<Issuer>)| is_same(one, other);
            rules.iter().any(|rule| {
                // The line may stand elsewhere, and what it says of other names is of no matter.
                rule.issuers.len() == order.issuers.len()
                    && (rule.issuers.iter().zip(&order.issuers)).all(is_same_issuer)
                    && (&rule.ask, rule.inactive) == (&name.rule.ask, name.rule.inactive)
                    && rule.challenges == order.challenges
                    && order.names.iter().all(|text| rule.admits(text))
            })
        };
        self.names.held.write().retain(|_, name| {
            let order = name.certificate.order();
            // One that the configuration itself wants, or wanted, comes back when a client brings it.
            let is_kept = is_kept(name) && self.is_on_demand(order);
            if !is_kept {
                self.leave(order);
            }
            is_kept
        });
        let Some((runtime, state)) = self.runtime().zip(self.state()) else {
            return;
        };
        if rules.is_empty() {
            return;
        }
        let (manager, rules) = (Arc::clone(self), rules.to_vec());
        runtime.spawn_blocking(move || manager.find_names(&rules, &state));
    }

    /// Holds what was held before the start. Reads files.
    fn find_names(self: &Arc<Self>, rules: &[Arc<OnDemand>], state: &std::path::Path) {
        let now = SystemTime::now();
        for rule in rules {
            let Some(issuer) = rule.issuers.first() else {
                continue;
            };
            let mut found: Vec<(Kept, Box<str>, Home)> = Vec::new();
            for home in storage::homes(&storage::issuer_directory(state, issuer)) {
                let record: Record = home.record();
                let (Some(kept), [name]) = (record.on_demand, &record.names[..]) else {
                    continue;
                };
                if kept.used + rule.inactive < now {
                    home.forget();
                } else if is_fit(name) && rule.admits(name) && kept.asked == rule.ask {
                    found.push((kept, name.clone(), home));
                }
            }
            // Where there is no room for all, those that were used last.
            found.sort_by_key(|(kept, ..)| std::cmp::Reverse(kept.used));
            for (kept, name, _) in found.into_iter().take(rule.most) {
                if self.names.held.read().contains_key(&name) {
                    continue;
                }
                let found = self.at_home(&rule.order(&name));
                if let Some((certificate, _)) = found.filter(|(found, _)| found.is_there()) {
                    if let Some(issued) = certificate.record().issued {
                        self.names.pending.lock().new.push_front(issued.at);
                    }
                    self.hold(rule, certificate, kept.used);
                }
            }
        }
        let mut pending = self.names.pending.lock();
        pending.new.make_contiguous().sort_unstable();
    }
}

/// Says what became of a name, also when it is given up.
struct Landing {
    manager: Arc<Manager>,
    name: Box<str>,
    sender: watch::Sender<Outcome>,
}

impl Landing {
    fn land(self, outcome: Result<(), Denial>) {
        self.sender.send_replace(Some(outcome));
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.manager.names.pending.lock().flights.remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_a_host_is_fit_and_nothing_else_is() {
        for name in ["a.example.com", "xn--a.b", "a_b.example.com", "1.2.3.4a"] {
            assert!(is_fit(name), "{name}");
        }
        let long = format!("{}.com", "a".repeat(64));
        let longer = format!("{}com", "a.".repeat(130));
        for name in [
            "",
            "localhost",
            "192.0.2.1",
            "1.2.3",
            "::1",
            ".example.com",
            "a..b",
            "*.example.com",
            "a b.example.com",
            "a/../b.example.com",
            "-a.example.com",
            "A.example.com",
            "a.example.com&x=y",
            &long,
            &longer,
        ] {
            assert!(!is_fit(name), "{name}");
        }
    }

    #[test]
    fn what_is_remembered_of_refused_names_is_bounded() {
        let mut refused = Refused::default();
        let memory = Memory {
            why: Denial::Forbidden,
            until: SystemTime::now(),
            attempts: 0,
        };
        for number in 0..10 * MOST_REFUSED {
            refused.put(&format!("n{number}.example.com"), memory);
        }
        assert!(refused.young.len() + refused.old.len() <= 2 * MOST_REFUSED);
        let last = format!("n{}.example.com", 10 * MOST_REFUSED - 1);
        assert!(refused.find(&last).is_some());
        assert!(refused.find("n0.example.com").is_none());
        refused.remove(&last);
        assert!(refused.find(&last).is_none());
    }

    #[test]
    fn a_client_that_brings_many_names_is_refused_and_no_other_is() {
        let mut pending = Pending::default();
        let now = SystemTime::now();
        let [one, other]: [IpAddr; 2] = ["192.0.2.1", "192.0.2.2"]
            .map(|address: &str| address.parse::<IpAddr>().expect("an address"));
        for _ in 0..MOST_OF_CLIENT {
            assert!(pending.admit(one, now));
        }
        assert!(!pending.admit(one, now));
        assert!(pending.admit(other, now));
        assert!(pending.admit(one, now + CLIENT_WINDOW));
        for number in 0..2 * MOST_CLIENTS as u32 {
            let address = IpAddr::V4(std::net::Ipv4Addr::from(number));
            pending.admit(address, now + CLIENT_WINDOW);
        }
        assert!(pending.clients.len() <= MOST_CLIENTS);
        let [own, neighbour, far] = ["2001:db8::1", "2001:db8::2:3", "2001:db8:0:1::1"]
            .map(|address| counted(address.parse().expect("an address")));
        assert_eq!(own, neighbour);
        assert_ne!(own, far);
    }

    #[test]
    fn names_are_new_within_the_time_of_the_limit() {
        let mut pending = Pending::default();
        let now = SystemTime::now();
        let ago = |seconds| now - Duration::from_secs(seconds);
        pending.new.extend([ago(100), ago(50), ago(10)]);
        let count = |within| {
            let limit = Rate {
                count: 1,
                within: Duration::from_secs(within),
            };
            pending.count(limit, now)
        };
        assert_eq!([count(5), count(20), count(60), count(3600)], [0, 1, 2, 3]);
    }
}
