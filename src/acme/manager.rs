//! Which certificates are wanted, and what is there for them.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::account::Authority;
use super::authority;
use super::care::care;
use super::certificate::{self, Certificate, Issued};
use super::challenges::{Challenges, PROOFS};
use super::failure::Failure;
use super::ledger::Usage;
use super::local::Local;
use super::on_demand::Names;
use super::status::{State, Status};
use super::storage::{self, Home};
use crate::conf::source::Span;
use crate::conf::typed::acme::{Issuer, KeyKind, Order};
use crate::conf::typed::log::Level;
use crate::conf::typed::on_demand::OnDemand;
use crate::log::error_log;
use crate::store::Store;
use crate::tls::placeholder::placeholder;
use crate::tls::slot::{Held, Slot};

/// What tells one wanted certificate from another: authorities, names, key.
type Key = (Vec<Box<str>>, Vec<Box<str>>, KeyKind);

/// Holds the certificates that we get ourselves.
#[derive(Default)]
pub struct Manager {
    entries: Mutex<HashMap<Key, Entry>>,
    challenges: Arc<Challenges>,
    /// `None` where nothing is to be got.
    place: Option<Place>,
    store: Arc<OnceLock<Store>>,
    authorities: Mutex<HashMap<Box<str>, Arc<Authority>>>,
    /// The names that clients bring.
    pub names: Names,
}

/// Where things are kept and done.
struct Place {
    state: PathBuf,
    runtime: Handle,
}

struct Entry {
    order: Arc<Order>,
    slot: Arc<Slot>,
    /// `None` where nothing is to be got, or from nobody.
    certificate: Option<Arc<Certificate>>,
    /// Where the own authority signs.
    local: Option<Arc<Local>>,
    task: Option<AbortHandle>,
    /// It is for a name that a client brought, and cared for by [`super::on_demand`].
    is_on_demand: bool,
}

impl fmt::Debug for Manager {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.entries.lock().len();
        formatter
            .debug_struct("Manager")
            .field("certificates", &count)
            .finish_non_exhaustive()
    }
}

/// Why something that a person asked for is not done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// What is in the way.
    pub reason: String,
    /// The way out, if one is known.
    pub hint: Option<String>,
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.reason)
    }
}

impl std::error::Error for Refused {}

impl Refused {
    fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            hint: None,
        }
    }
}

impl Manager {
    /// Gets nothing: for a configuration that is only tested.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Gets what [`Manager::attend`] tells it to, in tasks on this runtime, and keeps it below the
    /// state directory.
    pub fn start(state_directory: PathBuf, runtime: &Handle) -> Arc<Self> {
        Arc::new(Self {
            place: Some(Place {
                state: state_directory,
                runtime: runtime.clone(),
            }),
            ..Self::default()
        })
    }

    /// Tells from now on what happens to the store.
    pub fn remember(&self, store: Store) {
        // The first one is that of the process.
        let _ = self.store.set(store);
    }

    /// The slot for a wanted certificate, the same for as long as it is wanted; with what is on the
    /// disk for it. `None` if the machine cannot make keys.
    pub fn slot(&self, order: &Arc<Order>) -> Option<Arc<Slot>> {
        let mut entries = self.entries.lock();
        let key = key(order);
        if let Some(entry) = entries.get(&key) {
            return Some(Arc::clone(&entry.slot));
        }
        let slot = Slot::new(placeholder("no certificate was issued yet")?);
        let certificate = self.certificate(order, &slot);
        let is_local = self.place.is_some() && order.issuers.is_empty();
        let local = is_local.then(|| Local::new(Arc::clone(order), Arc::clone(&slot)));
        entries.insert(
            key,
            Entry {
                order: Arc::clone(order),
                slot: Arc::clone(&slot),
                certificate,
                local,
                task: None,
                is_on_demand: false,
            },
        );
        Some(slot)
    }

    /// The certificate that an order is for, with what is on the disk for it.
    fn certificate(&self, order: &Arc<Order>, slot: &Arc<Slot>) -> Option<Arc<Certificate>> {
        let place = self.place.as_ref()?;
        let made = self.fresh(order, slot)?;
        if !made.is_there()
            && let Some(issuer) = order.issuers.first()
        {
            // A name more on a server must not cost the others their certificate.
            let homes = storage::homes(&storage::issuer_directory(&place.state, issuer));
            if let Some(material) = certificate::nearest(&homes, order) {
                let held = Held::new(material.certified_key());
                made.stand_in(held, material.facts);
            }
        }
        Some(made)
    }

    /// As [`Manager::certificate`], with what is for all of its names only.
    pub(super) fn fresh(&self, order: &Arc<Order>, slot: &Arc<Slot>) -> Option<Arc<Certificate>> {
        let home = Home::of(&self.place.as_ref()?.state, order)?;
        Some(Certificate::new(
            Arc::clone(order),
            home,
            Arc::clone(slot),
            Arc::clone(&self.store),
        ))
    }

    /// Where tasks run; `None` if nothing is to be got.
    pub(super) fn runtime(&self) -> Option<Handle> {
        Some(self.place.as_ref()?.runtime.clone())
    }

    /// The state directory; `None` if nothing is to be got.
    pub(super) fn state(&self) -> Option<PathBuf> {
        Some(self.place.as_ref()?.state.clone())
    }

    /// The certificate that the configuration itself wants for an order like this, if it does.
    pub(super) fn configured(&self, order: &Order) -> Option<Arc<Certificate>> {
        let entries = self.entries.lock();
        let entry = entries.get(&key(order)).filter(|entry| !entry.is_on_demand);
        entry?.certificate.clone()
    }

    /// Is a certificate listed for a name that a client brought?
    pub(super) fn is_on_demand(&self, order: &Order) -> bool {
        let entries = self.entries.lock();
        entries
            .get(&key(order))
            .is_some_and(|entry| entry.is_on_demand)
    }

    /// Lists a certificate for a name that a client brought, which a task cares for.
    pub(super) fn enter(&self, certificate: &Arc<Certificate>, task: AbortHandle) {
        let order = certificate.order();
        let entry = Entry {
            order: Arc::clone(order),
            slot: Arc::clone(&certificate.slot),
            certificate: Some(Arc::clone(certificate)),
            local: None,
            task: Some(task),
            is_on_demand: true,
        };
        let before = self.entries.lock().insert(key(order), entry);
        if let Some(task) = before.and_then(|before| before.task) {
            task.abort();
        }
    }

    /// Takes such a certificate from the list; `false` if it is not there, or is wanted by the
    /// configuration meanwhile.
    pub(super) fn leave(&self, order: &Order) -> bool {
        let mut entries = self.entries.lock();
        let key = key(order);
        if !entries.get(&key).is_some_and(|entry| entry.is_on_demand) {
            return false;
        }
        if let Some(task) = entries.remove(&key).and_then(|entry| entry.task) {
            task.abort();
        }
        true
    }

    /// The slot of a certificate that is wanted, if it is known.
    pub fn known_slot(&self, order: &Order) -> Option<Arc<Slot>> {
        let entries = self.entries.lock();
        Some(Arc::clone(&entries.get(&key(order))?.slot))
    }

    /// The authorities that an order is for, in its order.
    pub(super) fn authorities_of(&self, order: &Order) -> Vec<Arc<Authority>> {
        let Some(place) = &self.place else {
            return Vec::new();
        };
        let mut authorities = self.authorities.lock();
        let asked = order.issuers.iter().map(|issuer| {
            let known = authorities.get(&issuer.name);
            if let Some(known) = known.filter(|known| is_same(&known.issuer, issuer)) {
                return Arc::clone(known);
            }
            let directory = storage::issuer_directory(&place.state, issuer);
            let made = Authority::new(Arc::clone(issuer), directory, place.runtime.clone());
            authorities.insert(issuer.name.clone(), Arc::clone(&made));
            made
        });
        asked.collect()
    }

    /// As [`Manager::challenges`], for who puts answers out.
    pub(super) fn offers(&self) -> &Arc<Challenges> {
        &self.challenges
    }

    /// What authorities ask to see now.
    pub fn challenges(&self) -> &Challenges {
        &self.challenges
    }

    /// Cares for these from now on, and for the names that these rules admit, and for no others; to be
    /// called once a configuration is in force. The files of those that are not wanted any more stay.
    pub fn attend(self: &Arc<Self>, orders: &[Arc<Order>], rules: &[Arc<OnDemand>]) {
        if let Some(place) = &self.place {
            let issuers = orders.iter().flat_map(|order| &order.issuers);
            let issuers = issuers.chain(rules.iter().flat_map(|rule| &rule.issuers));
            let mut places: Vec<PathBuf> = issuers
                .map(|issuer| storage::issuer_directory(&place.state, issuer).join(PROOFS))
                .collect();
            places.sort_unstable();
            places.dedup();
            self.challenges.look_into(places);
        }
        self.attend_orders(orders, rules);
        self.attend_names(rules);
    }

    fn attend_orders(&self, orders: &[Arc<Order>], rules: &[Arc<OnDemand>]) {
        for order in orders {
            // Made when the generation was built; here it only has to be there.
            let _ = self.slot(order);
        }
        let mut entries = self.entries.lock();
        let wanted: HashMap<Key, &Arc<Order>> =
            orders.iter().map(|order| (key(order), order)).collect();
        entries.retain(|key, entry| {
            let is_wanted = entry.is_on_demand || wanted.contains_key(key);
            if let (false, Some(task)) = (is_wanted, &entry.task) {
                task.abort();
            }
            is_wanted
        });
        let Some(place) = &self.place else {
            return;
        };
        let local = orders.iter().filter(|order| order.issuers.is_empty());
        let labels: Vec<Box<str>> = local
            .flat_map(|order| &order.names)
            .filter(|name| !name.contains(['.', ':', '*']))
            .cloned()
            .collect();
        for label in labels.iter().filter(|label| authority::is_public(label)) {
            error_log::report(
                Level::Warn,
                format_args!(
                    "the own authority does not vouch for `{label}`, below which others have names \
                     (hint: use `{label}.lan` or `{label}.home.arpa`)"
                ),
            );
        }
        self.authorities.lock().retain(|_, known| {
            let asked = orders.iter().flat_map(|order| &order.issuers);
            let mut asked = asked.chain(rules.iter().flat_map(|rule| &rule.issuers));
            asked.any(|issuer| is_same(issuer, &known.issuer))
        });
        for (key, order) in wanted {
            let Some(entry) = entries.get_mut(&key) else {
                continue;
            };
            if std::mem::take(&mut entry.is_on_demand)
                && let Some(task) = entry.task.take()
            {
                task.abort();
            }
            let is_changed = !is_same_order(order, &entry.order);
            // One that has ended cares for nothing.
            let is_cared_for = (entry.task.as_ref()).is_some_and(|task| !task.is_finished());
            if is_cared_for && !is_changed {
                continue;
            }
            if is_changed {
                if let Some(task) = entry.task.take() {
                    task.abort();
                }
                entry.order = Arc::clone(order);
                entry.certificate = self.certificate(order, &entry.slot);
            }
            if let Some(local) = &entry.local {
                let directory = place.state.join(authority::DIRECTORY);
                let care = Arc::clone(local).care(directory, labels.clone());
                entry.task = Some(place.runtime.spawn(care).abort_handle());
                continue;
            }
            let Some(certificate) = &entry.certificate else {
                continue;
            };
            let asked = self.authorities_of(order);
            let care = care(Arc::clone(certificate), asked, Arc::clone(&self.challenges));
            entry.task = Some(place.runtime.spawn(care).abort_handle());
        }
    }

    /// What is used up of the limits of the authority of an order, if those are known.
    pub fn usage(&self, order: &Order) -> Option<Usage> {
        let issuer = order.issuers.first()?;
        if *issuer.uri != *Issuer::BUILT_IN_URI {
            return None;
        }
        let authority = self.authorities.lock().get(&issuer.name).cloned();
        Some(authority?.ledger.usage(&order.names, SystemTime::now()))
    }

    /// Could the records that prove the names of an order be put? Gives the provider and the zone of
    /// each; `None` if they are proven otherwise.
    pub async fn check_zones(&self, order: &Order) -> Option<Result<String, String>> {
        let issuer = order.issuers.first()?;
        let provider = issuer.provider.as_ref()?;
        let authority = self.authorities_of(order).into_iter().next()?;
        let zones = match authority.zones() {
            Ok(zones) => zones,
            Err(Failure::Trouble { trouble, .. }) => return Some(Err(trouble.to_string())),
            Err(Failure::Unagreed { .. }) => return None,
        };
        let mut found: Vec<String> = Vec::new();
        for name in &order.names {
            let base = name.strip_prefix("*.").unwrap_or(name);
            match zones.check(&format!("_acme-challenge.{base}")).await {
                Ok(zone) if !found.iter().any(|known| **known == *zone) => found.push(zone.into()),
                Ok(_) => {}
                Err(error) => return Some(Err(format!("`{}`: {error}", provider.name))),
            }
        }
        Some(Ok(format!(
            "`{}` lets us change {}",
            provider.name,
            found.join(", ")
        )))
    }

    /// How all of them stand, by name.
    pub fn statuses(&self) -> Vec<Status> {
        let entries = self.entries.lock();
        let mut statuses: Vec<Status> = entries
            .values()
            .map(|entry| match (&entry.certificate, &entry.local) {
                (Some(certificate), _) => certificate.status(),
                (None, Some(local)) => local.status(),
                (None, None) => Status {
                    names: entry.order.names.clone(),
                    issuer: (entry.order.issuers.first()).map(|issuer| issuer.name.clone()),
                    challenge: None,
                    facts: None,
                    state: State::Waiting,
                    lacking: entry.slot.held().lacking.clone(),
                    next_attempt: None,
                    next_renewal: None,
                    last_error: None,
                    log: Vec::new(),
                },
            })
            .collect();
        statuses.sort_by(|one, other| one.names.cmp(&other.names));
        statuses
    }

    /// Gets the certificate for a name anew, now, whatever is there.
    pub fn renew(&self, name: &str) -> Result<(), Refused> {
        for certificate in self.find(name)? {
            if let State::Ordering(step) = certificate.state() {
                return Err(Refused::new(format!(
                    "the certificate for `{name}` is being got now: {step}"
                )));
            }
            certificate.force();
        }
        Ok(())
    }

    /// Takes a certificate with its key, both PEM, for a name for which one is wanted; it is renewed
    /// as if it had been got here.
    pub fn import(&self, name: &str, certificate: &[u8], key: &[u8]) -> Result<(), Refused> {
        let wanted = self.find(name)?;
        let Some(first) = wanted.first() else {
            return Err(self.unknown(name));
        };
        let material = certificate::brought(first.order(), certificate, key);
        let material = material.map_err(Refused::new)?;
        let _lock = match first.home.lock() {
            Ok(Some(lock)) => lock,
            Ok(None) => {
                return Err(Refused::new(format!(
                    "the certificate for `{name}` is being got now"
                )));
            }
            Err(error) => return Err(Refused::new(error.to_string())),
        };
        (first.home.finish_putting()).map_err(|error| Refused::new(error.to_string()))?;
        let issued = Issued {
            issuer: "imported".into(),
            directory: Box::default(),
            challenge: None,
            at: SystemTime::now(),
        };
        first
            .take(&material, issued)
            .map_err(|failure| match failure {
                Failure::Trouble { trouble, .. } => Refused::new(trouble.to_string()),
                Failure::Unagreed { .. } => Refused::new("the terms are not agreed to"),
            })?;
        first.say("a certificate was imported");
        first.wake.notify_one();
        Ok(())
    }

    /// Keeps that the terms of an issuer are agreed to, and whom the authority may write to; for the
    /// built-in one also before anything is wanted from it.
    pub fn agree(&self, issuer: &str, contact: Option<&str>) -> Result<(), Refused> {
        let authority = self.authorities.lock().get(issuer).cloned();
        let authority = match (authority, &self.place) {
            (Some(authority), _) => authority,
            (None, Some(place)) if issuer == Issuer::BUILT_IN => {
                let issuer = Issuer::built_in();
                let directory = storage::issuer_directory(&place.state, &issuer);
                Authority::new(Arc::new(issuer), directory, place.runtime.clone())
            }
            (None, _) => {
                return Err(Refused::new(format!(
                    "no certificate is wanted from an issuer `{issuer}`"
                )));
            }
        };
        authority.agree(contact).map_err(|error| {
            let path = authority.directory.display();
            Refused::new(format!("cannot keep it in `{path}`: {error}"))
        })?;
        for entry in self.entries.lock().values() {
            if let Some(certificate) = &entry.certificate {
                certificate.wake.notify_one();
            }
        }
        Ok(())
    }

    fn find(&self, name: &str) -> Result<Vec<Arc<Certificate>>, Refused> {
        let entries = self.entries.lock();
        let is_for = |entry: &&Entry| entry.order.names.iter().any(|own| **own == *name);
        let found: Vec<_> = (entries.values().filter(is_for))
            .filter_map(|entry| entry.certificate.clone())
            .collect();
        match found.is_empty() {
            true => Err(self.unknown(name)),
            false => Ok(found),
        }
    }

    fn unknown(&self, name: &str) -> Refused {
        Refused {
            reason: format!("no certificate for `{name}` is got here"),
            hint: Some("`openclaw cert list` shows for which names one is".to_owned()),
        }
    }
}

fn key(order: &Order) -> Key {
    let issuers = order.issuers.iter().map(|issuer| issuer.name.clone());
    (issuers.collect(), order.names.clone(), order.key)
}

/// Are these the same, wherever they stand?
pub(super) fn is_same(one: &Issuer, other: &Issuer) -> bool {
    let bare = |issuer: &Issuer| Issuer {
        span: Span::default(),
        ..issuer.clone()
    };
    bare(one) == bare(other)
}

fn is_same_order(one: &Order, other: &Order) -> bool {
    one.names == other.names
        && one.key == other.key
        && one.challenges == other.challenges
        && one.issuers.len() == other.issuers.len()
        && (one.issuers.iter().zip(&other.issuers)).all(|(one, other)| is_same(one, other))
}
