//! Certificates as the protocol tells them: what is served, what is wanted, how each does.
//!
//! Owns the judgement of a certificate's state. What is held comes from the configuration in force,
//! how it is got from [`crate::acme`]; without a daemon the files are read instead.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use super::answer::millis;
use super::{Control, numbers};
use crate::acme::clock;
use crate::acme::ledger::Usage;
use crate::acme::manager::Refused;
use crate::acme::status::{self, State, Status};
use crate::conf::source::{Sources, Span};
use crate::conf::typed::Http;
use crate::conf::typed::acme::{Issuer, Order};
use crate::conf::typed::location::{Server, ServerName};
use crate::conf::typed::tls::{self, CertificateFiles};
use crate::process::desk::{InForce, refusal};
use crate::protocol::{
    Certificate, CertificateName, CertificateSource, CertificateState, CertificateStates,
    CertificateUse, Certificates, ChainLink, Done, Level, LogLine, ManagedCertificate, Millis,
    Refusal, RefusalCode, SOON_DAYS, ServedCertificate, Terms, TermsAgreement, Trouble,
};
use crate::serve::generation::Generation;
use crate::tls::facts::Facts;
use crate::tls::files::{self, Pair};
use crate::tls::material;
use crate::tls::slot::Held;
use crate::unit::time;

const DAY: i64 = 86_400;

/// A renewal that is so many seconds late does not come by itself.
const LATE: i64 = DAY;

/// How often certificates are looked at while all is well, in seconds.
const QUIET: u64 = 30;

/// What a chain of certificates says, the one of the server first.
type Chain = Vec<Facts>;

/// What is known of certificates beyond what is held.
#[derive(Debug, Default)]
pub struct Watch(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// By [`Certificate::id`]: what was held when it was read, and what it says.
    chains: HashMap<String, (Arc<Held>, Arc<Chain>)>,
    /// By [`Certificate::id`]: the state that was told, the end of what was served, and the failures.
    told: HashMap<String, (CertificateState, Millis, u32)>,
    /// The generation of `told`.
    generation: u64,
    states: CertificateStates,
    /// Something goes on, so that the next look should be soon.
    is_busy: bool,
    ticks: u64,
    /// That the clock is wrong was told.
    is_clock_wrong: bool,
}

/// The certificates of the configuration in force.
pub fn list(control: &Control) -> Certificates {
    let in_force = control.desk.in_force();
    let now = SystemTime::now();
    Certificates {
        revision: in_force.revision,
        certificates: control.certificates.all(&in_force, now),
    }
}

/// The certificates that a configuration names, as its files have them.
pub fn of_files(http: &Http, sources: &Sources, now: Millis) -> Certificates {
    let found = wanted(http, sources).into_iter().map(|wanted| {
        let lacking = |why: &str| Holding {
            chain: None,
            lacking: Some(why.to_owned()),
        };
        let holding = match &wanted.kind {
            Kind::Files(files) => read(files),
            Kind::Managed(_) => lacking("it is got by the daemon, which does not run"),
            Kind::Computed => Holding::default(),
            Kind::Nothing => lacking(NOWHERE),
        };
        judge(&wanted, holding, None, now)
    });
    Certificates {
        revision: 0,
        certificates: sorted(found.collect()),
    }
}

/// How many certificates are in which state, as they were when they were looked at last.
pub fn states(control: &Control) -> CertificateStates {
    CertificateStates {
        clock: clock::wrong().map_or_else(String::new, clock_text),
        ..control.certificates.0.lock().states.clone()
    }
}

/// What there is to say of a clock that is so many seconds ahead.
fn clock_text(ahead: i64) -> String {
    let off = time::print(Duration::from_secs(ahead.unsigned_abs()));
    match ahead > 0 {
        true => format!("the clock of this machine is {off} ahead of the authorities'"),
        false => format!("the clock of this machine is {off} behind the authorities'"),
    }
}

/// A second has passed: looks whether a certificate has come into another state, and tells it.
pub fn watch(control: &Control) {
    let in_force = control.desk.in_force();
    let number = in_force.generation.number;
    {
        let mut known = control.certificates.0.lock();
        known.ticks += 1;
        let is_due = known.is_busy || known.ticks.is_multiple_of(QUIET);
        if !is_due && known.generation == number {
            return;
        }
    }
    let all = control.certificates.all(&in_force, SystemTime::now());
    let news = control.certificates.take(&all, number);
    for (level, subject, text) in news {
        numbers::occur(control, level, "certificate", &subject, &text);
    }
    let wrong = clock::wrong();
    let was_wrong = std::mem::replace(
        &mut control.certificates.0.lock().is_clock_wrong,
        wrong.is_some(),
    );
    match wrong {
        Some(ahead) if !was_wrong => {
            let level = match ahead.abs() >= clock::SERIOUS {
                true => Level::Bad,
                false => Level::Warn,
            };
            numbers::occur(control, level, "certificate", "clock", &clock_text(ahead));
        }
        None if was_wrong => {
            numbers::occur(
                control,
                Level::Good,
                "certificate",
                "clock",
                "it is right again",
            );
        }
        _ => {}
    }
}

/// Gets a certificate anew.
pub fn renew(control: &Control, wanted: &CertificateName) -> Result<Done, Refusal> {
    let listed = list(control);
    let found = listed.certificates.iter();
    let mut found = found.filter(|certificate| certificate.is_named(&wanted.name));
    let Some(certificate) = found.next() else {
        return Err(unknown(&wanted.name));
    };
    let name = certificate.names.first().map_or("", String::as_str);
    if let CertificateSource::Files { certificate, .. } = &certificate.source {
        return Err(Refusal {
            hint: Some(format!(
                "replace the file, or use `openclaw cert import {name}`"
            )),
            ..refusal(
                RefusalCode::Invalid,
                format!("the certificate of `{name}` is the file `{certificate}`"),
            )
        });
    }
    let manager = &control.desk.in_force().generation.acme;
    manager.renew(name).map_err(refused)?;
    control.certificates.0.lock().is_busy = true;
    Ok(Done {
        text: format!("a new certificate for {name} is being got"),
    })
}

/// Keeps that somebody agreed to the terms of the authorities that wait for it.
pub fn agree(control: &Control, agreement: &TermsAgreement) -> Result<Done, Refusal> {
    let contact = agreement.email.trim();
    if !contact.is_empty() && !is_address(contact) {
        return Err(refusal(
            RefusalCode::Invalid,
            format!("`{}` is no address of mail", contact.escape_debug()),
        ));
    }
    let listed = list(control);
    let waiting = listed.certificates.iter();
    let waiting =
        waiting.filter_map(|it| Some(it.managed.as_ref()?.terms.as_ref()?.issuer.clone()));
    let mut issuers: Vec<String> = match agreement.issuer.as_str() {
        "" => waiting.collect(),
        issuer => vec![issuer.to_owned()],
    };
    // Who is asked before anything waits means the authority that is there without being written.
    if issuers.is_empty() {
        issuers.push(Issuer::BUILT_IN.to_owned());
    }
    issuers.sort_unstable();
    issuers.dedup();
    let manager = &control.desk.in_force().generation.acme;
    let contact = (!contact.is_empty()).then(|| contact.to_owned());
    for issuer in &issuers {
        manager.agree(issuer, contact.as_deref()).map_err(refused)?;
    }
    control.certificates.0.lock().is_busy = true;
    Ok(Done {
        text: format!("the terms of {} are agreed to", issuers.join(", ")),
    })
}

/// `user@host`, without what could be more than that in a message to an authority.
fn is_address(text: &str) -> bool {
    let is_plain = |letter: char| letter.is_ascii_graphic() && !"<>,;?&\"\\`".contains(letter);
    text.len() <= 254
        && text.chars().all(is_plain)
        && text.split_once('@').is_some_and(|(user, host)| {
            !user.is_empty() && host.contains('.') && !host.contains('@')
        })
}

/// All certificates that a configuration orders.
pub fn orders(http: &Http) -> impl Iterator<Item = &Arc<Order>> {
    let servers = http.servers.iter();
    let all = servers.filter_map(|server| server.tls.as_ref());
    all.flat_map(|tls| &tls.certificates)
        .filter_map(|certificate| match certificate {
            tls::Certificate::Managed(order) => Some(order),
            _ => None,
        })
}

/// What is wanted by name, and is not there.
fn unknown(name: &str) -> Refusal {
    Refusal {
        hint: Some("`openclaw cert list` shows all".to_owned()),
        ..refusal(
            RefusalCode::NotFound,
            format!("there is no certificate for `{}`", name.escape_debug()),
        )
    }
}

/// What the keeper of certificates refused.
pub fn refused(refused: Refused) -> Refusal {
    Refusal {
        hint: refused.hint,
        ..refusal(RefusalCode::Failed, refused.reason)
    }
}

const NOWHERE: &str = "nothing says where its certificate comes from";

/// Where a wanted certificate comes from.
#[derive(Clone, Debug)]
enum Kind {
    Files(CertificateFiles),
    Managed(Arc<Order>),
    /// By variables, for each handshake.
    Computed,
    Nothing,
}

/// A certificate that a configuration wants.
#[derive(Clone, Debug)]
struct Wanted {
    id: String,
    kind: Kind,
    /// The names of its servers that can be in a certificate.
    names: Vec<String>,
    used_by: Vec<CertificateUse>,
    /// When a client asked for it last, if it is got because clients ask for it.
    last_used: Option<Millis>,
}

/// What is held for a wanted certificate.
#[derive(Debug, Default)]
struct Holding {
    /// What is served; `None` for a placeholder, and for what is read for each handshake.
    chain: Option<Arc<Chain>>,
    /// Why nothing better is served.
    lacking: Option<String>,
}

/// What a configuration wants, each certificate once.
fn wanted(http: &Http, sources: &Sources) -> Vec<Wanted> {
    let mut all: Vec<Wanted> = Vec::new();
    for (position, server) in http.servers.iter().enumerate() {
        let Some(tls) = &server.tls else {
            continue;
        };
        let mut here: Vec<(Kind, String, Span)> = (tls.certificates.iter())
            .map(|certificate| {
                let (kind, id, span) = match certificate {
                    tls::Certificate::Files(files) => {
                        let id = format!("{} {}", files.certificate.display(), files.key.display());
                        (Kind::Files(files.clone()), id, files.span)
                    }
                    tls::Certificate::Managed(order) => (
                        Kind::Managed(Arc::clone(order)),
                        order_id(order),
                        order.span,
                    ),
                    tls::Certificate::Computed { span, .. } => {
                        let (file, line) = place_of(*span, sources);
                        (Kind::Computed, format!("{file}:{line}"), *span)
                    }
                };
                (kind, id, span)
            })
            .collect();
        if here.is_empty() && !tls.rejects {
            let (file, line) = place_of(server.span, sources);
            here.push((Kind::Nothing, format!("{file}:{line}"), server.span));
        }
        for (kind, id, span) in here {
            let (file, line) = place_of(span, sources);
            let user = CertificateUse {
                server: String::from_utf8_lossy(&server.primary_name).into_owned(),
                listens: secure_listens(http, position),
                file,
                line,
            };
            let names = names_of(server);
            match all.iter_mut().find(|known| known.id == id) {
                Some(known) => {
                    known.used_by.push(user);
                    known.names.extend(names);
                    known.names.dedup();
                }
                None => all.push(Wanted {
                    id,
                    kind,
                    names,
                    used_by: vec![user],
                    last_used: None,
                }),
            }
        }
    }
    all
}

/// The certificates that are held because clients asked for their names.
fn on_demand(generation: &Generation, sources: &Sources) -> Vec<Wanted> {
    let servers = &generation.http.servers;
    let standings = generation.acme.names.standings();
    let found = standings.into_iter().filter_map(|standing| {
        let name = standing.order.names.first()?;
        let rule_of = |server: &Arc<Server>| server.tls.as_ref()?.on_demand.clone();
        let mut all = servers.iter().enumerate();
        let (position, rule) = all.find_map(|(position, server)| {
            let rule = rule_of(server)?;
            rule.admits(name).then_some((position, rule))
        })?;
        let (file, line) = place_of(rule.span, sources);
        Some(Wanted {
            id: order_id(&standing.order),
            names: vec![name.to_string()],
            used_by: vec![CertificateUse {
                server: String::from_utf8_lossy(&servers[position].primary_name).into_owned(),
                listens: secure_listens(&generation.http, position),
                file,
                line,
            }],
            kind: Kind::Managed(standing.order),
            last_used: Some(millis(standing.used)),
        })
    });
    found.collect()
}

fn order_id(order: &Order) -> String {
    let issuer = order.issuers.first().map_or("own", |issuer| &*issuer.name);
    format!("{issuer} {} {}", order.names.join(","), order.key)
}

fn place_of(span: Span, sources: &Sources) -> (String, u32) {
    let line = u32::try_from(sources.line_column(span).0).unwrap_or(u32::MAX);
    (sources.path(span.file).display().to_string(), line)
}

/// The addresses with TLS that a server listens at.
pub fn secure_listens(http: &Http, server: usize) -> Vec<String> {
    let listens = http.listens.iter();
    listens
        .filter(|listen| listen.options.ssl && listen.servers.contains(&server))
        .map(|listen| listen.address.to_string())
        .collect()
}

/// The names of a server that a certificate can be for.
pub fn names_of(server: &Server) -> Vec<String> {
    let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    let mut names = Vec::new();
    for name in &server.names {
        match name {
            ServerName::Exact(name) => names.push(text(name)),
            ServerName::Suffix(suffix) => names.push(format!("*{}", text(suffix))),
            ServerName::SelfOrSuffix(suffix) => {
                let suffix = text(suffix);
                names.push(suffix.trim_start_matches('.').to_owned());
                names.push(format!("*{suffix}"));
            }
            ServerName::Prefix(_) | ServerName::Regex(_) => {}
        }
    }
    // `_` and the empty name are for nobody.
    names.retain(|name| name.contains('.') || name == "localhost");
    names
}

/// Reads a pair of files.
fn read(files: &CertificateFiles) -> Holding {
    let passwords = files.passwords.as_deref();
    match material::load(&files.certificate, &files.key, passwords) {
        Ok(material) => {
            let chain = material.chain.iter().filter_map(|der| Facts::read(der));
            Holding {
                chain: Some(Arc::new(chain.collect())),
                lacking: None,
            }
        }
        Err(error) => Holding {
            chain: None,
            lacking: Some(error.to_string()),
        },
    }
}

impl Watch {
    /// All certificates of a configuration in force.
    fn all(&self, in_force: &InForce, now: SystemTime) -> Vec<Certificate> {
        let generation = &in_force.generation;
        let mut wanted = wanted(&generation.http, &in_force.loaded.sources);
        for found in on_demand(generation, &in_force.loaded.sources) {
            if !wanted.iter().any(|known| known.id == found.id) {
                wanted.push(found);
            }
        }
        let statuses = generation.acme.statuses();
        let mut by_names: HashMap<&[Box<str>], Vec<&Status>> = HashMap::new();
        for status in &statuses {
            by_names.entry(&status.names).or_default().push(status);
        }
        let files = generation.files.list();
        let now = millis(now);
        let all = wanted.iter().map(|wanted| {
            let status = match &wanted.kind {
                Kind::Managed(order) => {
                    let named = by_names.get(&order.names[..]).into_iter().flatten();
                    named.copied().find(|status| is_of(status, order))
                }
                _ => None,
            };
            let holding = self.holding(wanted, generation, &files);
            let mut certificate = judge(wanted, holding, status, now);
            if let (Some(managed), Kind::Managed(order)) = (&mut certificate.managed, &wanted.kind)
            {
                let usage = generation.acme.usage(order);
                managed.limits = usage.map_or_else(String::new, Usage::text);
            }
            certificate
        });
        sorted(all.collect())
    }

    /// What is served for a wanted certificate.
    fn holding(
        &self,
        wanted: &Wanted,
        generation: &Generation,
        files: &[files::Status],
    ) -> Holding {
        let (held, trouble) = match &wanted.kind {
            Kind::Computed => return Holding::default(),
            Kind::Nothing => (None, Some(NOWHERE.to_owned())),
            Kind::Managed(order) => {
                let slot = generation.acme.known_slot(order);
                (slot.map(|slot| slot.held()), None)
            }
            Kind::Files(named) => {
                let pair = Pair::from(named);
                let status = files.iter().find(|status| status.pair == pair);
                let trouble = status.and_then(|status| status.trouble.as_ref());
                (
                    status.map(|status| Arc::clone(&status.held)),
                    trouble.map(ToString::to_string),
                )
            }
        };
        let Some(held) = held else {
            return Holding {
                chain: None,
                lacking: trouble,
            };
        };
        if let Some(lacking) = &held.lacking {
            return Holding {
                chain: None,
                lacking: trouble.or_else(|| Some(lacking.clone())),
            };
        }
        let mut known = self.0.lock();
        let entry = known.chains.get(&wanted.id);
        let chain = match entry.filter(|(before, _)| Arc::ptr_eq(before, &held)) {
            Some((_, chain)) => Arc::clone(chain),
            None => {
                let chain = held.certified.cert.iter();
                let chain: Chain = chain.filter_map(|der| Facts::read(der)).collect();
                let chain = Arc::new(chain);
                let entry = (held, Arc::clone(&chain));
                known.chains.insert(wanted.id.clone(), entry);
                chain
            }
        };
        Holding {
            chain: Some(chain),
            lacking: trouble,
        }
    }

    /// Keeps how all of them do, and gives what is news.
    fn take(&self, all: &[Certificate], generation: u64) -> Vec<(Level, String, String)> {
        let mut known = self.0.lock();
        let known = &mut *known;
        known.states = count(all);
        known.is_busy = all.iter().any(|certificate| {
            let managed = certificate.managed.as_ref();
            managed.is_some_and(|managed| managed.is_busy)
                || matches!(
                    certificate.state,
                    CertificateState::Waiting
                        | CertificateState::Failed
                        | CertificateState::Agreement
                )
        });
        known.generation = generation;
        known
            .chains
            .retain(|id, _| all.iter().any(|certificate| certificate.id == *id));
        let mut before = std::mem::take(&mut known.told);
        let mut news = Vec::new();
        for certificate in all {
            let end = certificate.served.as_ref().map_or(0, |it| it.not_after);
            let failures = certificate.managed.as_ref().map_or(0, |it| it.failures);
            let now = (certificate.state, end, failures);
            let old = before.remove(&certificate.id);
            if let Some(text) = told(certificate, old, now) {
                let subject = certificate.names.first().cloned().unwrap_or_default();
                news.push((certificate.level(), subject, text));
            }
            known.told.insert(certificate.id.clone(), now);
        }
        news
    }
}

/// What there is to tell of a certificate that was in one state, and is in another one now.
fn told(
    certificate: &Certificate,
    before: Option<(CertificateState, Millis, u32)>,
    now: (CertificateState, Millis, u32),
) -> Option<String> {
    let (state, end, failures) = now;
    let Some((old_state, old_end, old_failures)) = before else {
        // What is well from the beginning is no news.
        let is_news = !matches!(state, CertificateState::Valid | CertificateState::Waiting);
        return is_news.then(|| format!("{}: {}", state.name(), certificate.remark));
    };
    if state == CertificateState::Valid && (end != old_end || old_state != state) {
        let days = certificate.served.as_ref().map_or(0, |it| it.days_left);
        return Some(format!("has a certificate, valid for {days} days"));
    }
    if state != old_state || failures > old_failures {
        return Some(match certificate.remark.as_str() {
            "" => state.name().to_owned(),
            remark => format!("{}: {remark}", state.name()),
        });
    }
    None
}

fn is_of(status: &Status, order: &Order) -> bool {
    status.names == order.names
        && status.issuer.is_some() != order.issuers.is_empty()
        && status.issuer.as_ref().is_none_or(|name| {
            let mut issuers = order.issuers.iter();
            issuers.any(|issuer| issuer.name == *name)
        })
}

fn sorted(mut all: Vec<Certificate>) -> Vec<Certificate> {
    all.sort_by_key(|certificate| certificate.served.as_ref().map_or(0, |it| it.not_after));
    all
}

fn count(all: &[Certificate]) -> CertificateStates {
    let mut states = CertificateStates {
        all: u32::try_from(all.len()).unwrap_or(u32::MAX),
        soonest: all
            .iter()
            .filter_map(|it| Some(it.served.as_ref()?.not_after))
            .min(),
        terms: all.iter().find_map(|it| it.managed.as_ref()?.terms.clone()),
        ..CertificateStates::default()
    };
    let mut worst = Level::Good;
    for certificate in all {
        let level = certificate.level();
        match level {
            Level::Warn => states.warn += 1,
            Level::Bad => states.bad += 1,
            Level::Info | Level::Good => continue,
        }
        let is_worse = level == Level::Bad && worst != Level::Bad;
        if is_worse || states.worst.is_empty() {
            worst = level;
            let name = certificate.names.first().map_or("_", String::as_str);
            states.worst = format!("{name}: {}", certificate.remark);
        }
    }
    states
}

/// Puts together what is wanted, what is held and what is done about it, and says how it does.
fn judge(wanted: &Wanted, holding: Holding, status: Option<&Status>, now: Millis) -> Certificate {
    let Holding { chain, lacking } = holding;
    let seconds = i64::try_from(now / 1000).unwrap_or(i64::MAX);
    let facts = chain.as_ref().and_then(|chain| chain.first());
    let served = chain.as_ref().and_then(|chain| served(chain, seconds));
    let managed = status.map(|status| managed(status, wanted));
    let (state, remark) = match (facts, &wanted.kind) {
        (_, Kind::Computed) => (
            CertificateState::Valid,
            "its files depend on variables and are read for each handshake".to_owned(),
        ),
        (None, _) => without(status, lacking, now),
        (Some(facts), _) => match (with(facts, wanted, status, now), lacking) {
            // That the files are no good any more is worse than that what they held ends soon.
            ((state, _), Some(lacking)) if state > CertificateState::Placeholder => (
                CertificateState::Failed,
                format!("{lacking}; the one from before is served on"),
            ),
            (found, _) => found,
        },
    };
    let names = match (&wanted.kind, &served) {
        (Kind::Managed(order), _) => order.names.iter().map(ToString::to_string).collect(),
        (Kind::Files(_), Some(served)) if !served.names.is_empty() => served.names.clone(),
        _ if wanted.names.is_empty() => {
            let first = wanted.used_by.first();
            let server = first.map_or("", |it| it.server.as_str());
            vec![match server {
                "" => "_".to_owned(),
                server => server.to_owned(),
            }]
        }
        _ => wanted.names.clone(),
    };
    Certificate {
        id: wanted.id.clone(),
        names,
        source: match &wanted.kind {
            Kind::Files(files) => CertificateSource::Files {
                certificate: files.certificate.display().to_string(),
                key: files.key.display().to_string(),
            },
            Kind::Managed(order) => match order.issuers.first() {
                Some(issuer) => CertificateSource::Issuer {
                    name: issuer.name.to_string(),
                    uri: issuer.uri.to_string(),
                },
                None => CertificateSource::OwnAuthority,
            },
            Kind::Computed => CertificateSource::Computed,
            Kind::Nothing => CertificateSource::Nowhere,
        },
        state,
        remark,
        used_by: wanted.used_by.clone(),
        served,
        managed,
    }
}

/// The state of a certificate that is not there.
fn without(
    status: Option<&Status>,
    lacking: Option<String>,
    now: Millis,
) -> (CertificateState, String) {
    let lacking = lacking.unwrap_or_else(|| "a placeholder is served".to_owned());
    let Some(status) = status else {
        return (CertificateState::Placeholder, lacking);
    };
    match &status.state {
        State::Unagreed { .. } => (CertificateState::Agreement, unagreed()),
        State::Failed { .. } => (CertificateState::Failed, failed(status, now)),
        State::Waiting => (CertificateState::Waiting, "it is next to be got".to_owned()),
        State::Elsewhere => (
            CertificateState::Waiting,
            "another instance with the same state directory gets it".to_owned(),
        ),
        State::Ordering(step) => (CertificateState::Waiting, step.to_string()),
        State::Valid => (CertificateState::Placeholder, lacking),
    }
}

/// The state of a certificate that is there.
fn with(
    facts: &Facts,
    wanted: &Wanted,
    status: Option<&Status>,
    now: Millis,
) -> (CertificateState, String) {
    let seconds = i64::try_from(now / 1000).unwrap_or(i64::MAX);
    let left = facts.not_after - seconds;
    let days = left.div_euclid(DAY);
    let state = status.map(|status| &status.state);
    if left < 0 {
        let trouble = status.and_then(|status| status.last_error.as_ref());
        let mut remark = format!("ended {}", days_ago(-left));
        if let Some(trouble) = trouble {
            remark.push_str(&format!(", {}", trouble.what));
        }
        return (CertificateState::Expired, remark);
    }
    if facts.not_before > seconds {
        let wait = (facts.not_before - seconds).div_euclid(3600);
        return (
            CertificateState::Early,
            format!("not valid yet for {wait} hours: is the clock right?"),
        );
    }
    match (state, status) {
        (Some(State::Unagreed { .. }), _) => return (CertificateState::Agreement, unagreed()),
        (Some(State::Failed { .. }), Some(status)) => {
            return (CertificateState::Failed, failed(status, now));
        }
        _ => {}
    }
    let is_renewing = matches!(state, Some(State::Ordering(_) | State::Elsewhere));
    if let Some(status) = status {
        let next = status.next_renewal.map(seconds_of);
        if next.is_some_and(|next| next + LATE < seconds) && !is_renewing {
            let remark = format!("ends in {days} days, its renewal is overdue");
            return (CertificateState::Expiring, remark);
        }
    } else {
        // Programs that renew files do it in the last third.
        let soon = (SOON_DAYS * DAY).min((facts.not_after - facts.not_before) / 3);
        if left < soon {
            let remark = format!("ends in {days} days, and whoever made the file renews it");
            return (CertificateState::Expiring, remark);
        }
    }
    let lacking = status.and_then(|status| status.lacking.clone());
    if let Some(lacking) = lacking {
        return (CertificateState::Mismatch, lacking);
    }
    let uncovered: Vec<&str> = wanted
        .names
        .iter()
        .map(String::as_str)
        .filter(|name| !facts.covers(name))
        .collect();
    // Several servers may share a certificate that is for one of them by a mistake of one line.
    if let (Some(first), Kind::Files(_)) = (uncovered.first(), &wanted.kind) {
        let remark = match uncovered.len() {
            1 => format!("it is not for {first}, which is served with it"),
            more => format!("it is not for {first} and {} more names", more - 1),
        };
        return (CertificateState::Mismatch, remark);
    }
    let remark = match (facts.is_self_signed, &wanted.kind) {
        (true, Kind::Files(_)) => "signed by itself: who does not know it does not trust it",
        _ => "",
    };
    (CertificateState::Valid, remark.to_owned())
}

fn unagreed() -> String {
    "the authority's terms wait for an agreement: `openclaw cert agree`".to_owned()
}

/// Why it failed and when it goes on.
fn failed(status: &Status, now: Millis) -> String {
    let what = status
        .last_error
        .as_ref()
        .map(|trouble| match &trouble.problem {
            Some(problem) => format!("{}: {problem}", trouble.what),
            None => trouble.what.clone(),
        });
    let what = what.unwrap_or_else(|| "it failed".to_owned());
    match status.next_attempt.map(millis) {
        Some(next) if next > now => {
            format!("{what}; again in {} min", (next - now).div_ceil(60_000))
        }
        _ => what,
    }
}

fn days_ago(seconds: i64) -> String {
    match seconds / DAY {
        0 => "today".to_owned(),
        1 => "yesterday".to_owned(),
        days => format!("{days} days ago"),
    }
}

fn seconds_of(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn served(chain: &Chain, now: i64) -> Option<ServedCertificate> {
    let (facts, rest) = chain.split_first()?;
    let time = |seconds: i64| u64::try_from(seconds).unwrap_or_default() * 1000;
    Some(ServedCertificate {
        subject: facts.subject.clone(),
        issuer: match &facts.issuer_common_name {
            Some(name) => name.clone(),
            None => facts.issuer.clone(),
        },
        organization: facts.issuer_organization.clone().unwrap_or_default(),
        names: names_in(facts),
        serial: facts.serial.clone(),
        not_before: time(facts.not_before),
        not_after: time(facts.not_after),
        days_left: (facts.not_after - now).div_euclid(DAY),
        key: facts.key.clone(),
        signature: facts.signature.clone(),
        sha256: facts.sha256.clone(),
        chain: rest
            .iter()
            .map(|link| ChainLink {
                subject: link.subject.clone(),
                issuer: link.issuer.clone(),
                not_after: time(link.not_after),
                key: link.key.clone(),
            })
            .collect(),
    })
}

/// What a file would serve.
pub fn served_of(chain: &[impl AsRef<[u8]>], now: Millis) -> ServedCertificate {
    let chain: Chain = chain
        .iter()
        .filter_map(|der| Facts::read(der.as_ref()))
        .collect();
    let now = i64::try_from(now / 1000).unwrap_or(i64::MAX);
    served(&chain, now).unwrap_or_default()
}

fn names_in(facts: &Facts) -> Vec<String> {
    let addresses = facts.addresses.iter().map(ToString::to_string);
    let mut names: Vec<String> = facts.dns_names.iter().cloned().chain(addresses).collect();
    if names.is_empty() {
        names.extend(facts.common_name.clone());
    }
    names
}

fn managed(status: &Status, wanted: &Wanted) -> ManagedCertificate {
    let is_busy = matches!(status.state, State::Ordering(_) | State::Elsewhere);
    ManagedCertificate {
        challenge: match status.challenge {
            Some(challenge) => challenge.to_string(),
            None => String::new(),
        },
        next: status.next_attempt.or(status.next_renewal).map(millis),
        is_busy,
        failures: match status.state {
            State::Failed { attempts } => attempts,
            _ => 0,
        },
        last_error: status.last_error.as_ref().map(trouble),
        terms: match &status.state {
            State::Unagreed { issuer, terms } => Some(Terms {
                issuer: issuer.to_string(),
                url: terms.as_deref().unwrap_or_default().to_owned(),
            }),
            _ => None,
        },
        last_used: wanted.last_used,
        limits: String::new(),
        log: status
            .log
            .iter()
            .map(|line| LogLine {
                at: millis(line.at),
                level: Level::Info,
                text: line.text.clone(),
            })
            .collect(),
    }
}

/// An attempt that failed, as the protocol tells it.
pub fn trouble(trouble: &status::Trouble) -> Trouble {
    Trouble {
        at: millis(trouble.at),
        text: trouble.what.clone(),
        authority: match &trouble.problem {
            Some(problem) => problem.to_string(),
            None => String::new(),
        },
    }
}
