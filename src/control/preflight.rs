//! What stands in the way of a certificate, as far as that can be seen from here.
//!
//! Looks at the configuration, the machine, the names in DNS and the authority, and says of each what
//! was seen and what is to be done. Nothing is changed and nothing is ordered. Every question to the
//! network has an end; few of them are asked at a time.

use std::collections::BTreeSet;
use std::error::Error;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use nix::ifaddrs::getifaddrs;
use nix::unistd::{AccessFlags, access};
use tokio::sync::Semaphore;

use super::firewall::{self, Passage};
use super::{Control, certificates};
use crate::acme::ledger::Usage;
use crate::acme::manager::Manager;
use crate::acme::on_demand::{self, Denial};
use crate::acme::status::{State, Status};
use crate::conf::typed::Http;
use crate::conf::typed::acme::{ChallengeKind, Issuer, Order};
use crate::conf::typed::listen::Address;
use crate::conf::typed::location::Server;
use crate::conf::typed::on_demand::OnDemand;
use crate::http::date;
use crate::net::resolver::{Authorization, ResolveError, Resolver};
use crate::process::desk::refusal;
use crate::protocol::{
    Certificate, CertificateSource, CertificateState, Check, Level, Preflight, Refusal, RefusalCode,
};
use crate::serve::generation::Generation;
use crate::tls::fetch::{Fetcher, Limits, Trust};
use crate::tls::file;
use crate::tls::pem;
use crate::unit;

/// So many are looked into at a time; who asks more often waits.
static TURN: Semaphore = Semaphore::const_new(2);

/// How long one question to DNS or to an authority may take.
const PATIENCE: Duration = Duration::from_secs(8);

/// A directory of an authority is a few hundred bytes.
const MOST_BYTES: usize = 64 << 10;

/// A clock that is wrong by more seconds is worth a word; by more of the second, certificates fail.
const CLOCK: (u64, u64) = (60, 3600);

/// The longest name that is looked at (RFC 1035 section 2.3.4).
const LONGEST_NAME: usize = 253;

/// Looks at everything that a certificate for a name needs.
pub async fn run(control: &Control, name: &str) -> Result<Preflight, Refusal> {
    let listed = certificates::list(control);
    // An id stands for its first name.
    let by_id = listed.certificates.iter().find(|it| it.id == name);
    let name = match by_id.and_then(|it| it.names.first()) {
        Some(name) => name.clone(),
        None => name.trim_end_matches('.').to_ascii_lowercase(),
    };
    if !is_name(&name) {
        return Err(refusal(
            RefusalCode::Invalid,
            format!(
                "`{}` is no name that a certificate can be for",
                name.escape_debug()
            ),
        ));
    }
    let Ok(_turn) = TURN.acquire().await else {
        return Err(refusal(RefusalCode::Busy, "the program ends"));
    };
    let in_force = control.desk.in_force();
    let generation = &in_force.generation;
    let http = &generation.http;
    let mut checks = Vec::new();
    let mut position = server_of(http, &name);
    let mut order = order_of(http, &name);
    let brought = match order {
        Some(_) => None,
        None => rule_of(generation, &name),
    };
    if let Some((server, _)) = &brought {
        position = Some(*server);
    }
    checks.push(server_check(http, position, &name));
    let certificate = listed.certificates.iter().find(|it| it.is_named(&name));
    let server = position.map(|position| &http.servers[position]);
    let secured = server.is_some_and(|server| server.tls.is_some());
    if certificate.is_some() || (secured && brought.is_none()) {
        checks.push(certificate_check(certificate, &name));
    }
    if let Some((_, rule)) = &brought {
        let (found, may_have_one) = on_demand_checks(&generation.acme, rule, &name).await;
        checks.extend(found);
        order = may_have_one.then(|| rule.order(&name));
    }
    let statuses = generation.acme.statuses();
    let status = statuses
        .iter()
        .find(|status| status.names.iter().any(|own| **own == *name));
    let issuer = order.as_ref().and_then(|order| order.issuers.first());
    let challenge = order.as_ref().and_then(|order| challenge_of(order, status));
    if let (Some(_), Some(issuer)) = (&order, issuer) {
        checks.push(terms_check(issuer, status));
        checks.push(state_check(issuer, &control.desk.places.state));
        checks.push(challenge_check(http, &name, issuer, challenge));
    }
    let ports = ports_of(http, position, challenge);
    checks.push(firewall_check(&ports).await);
    // Names are looked up as the server does it.
    let Some(asking) = server.or(http.servers.first()) else {
        let name = name.clone();
        return Ok(Preflight {
            name,
            checks,
            last_error: None,
        });
    };
    let resolver = generation.resolver_of(&asking.settings);
    let is_dns = challenge == Some(ChallengeKind::Dns01);
    let (addresses, authority, rules) = tokio::join!(
        addresses(&name, &resolver),
        async {
            match issuer {
                Some(issuer) => Some(Authority::ask(issuer, &resolver).await),
                None => None,
            }
        },
        authorizations(&name, &resolver, issuer.is_some()),
    );
    if !name.starts_with("*.") {
        checks.extend(address_checks(&name, addresses, &own_addresses(), is_dns));
    }
    if let (Some(issuer), Some(authority)) = (issuer, &authority) {
        checks.push(caa_check(&name, rules, issuer, authority, challenge));
        checks.extend(authority.checks(issuer, SystemTime::now()));
    }
    if let Some(order) = &order {
        checks.extend(limits_check(&generation.acme, order));
        checks.extend(provider_check(&generation.acme, order).await);
    }
    Ok(Preflight {
        name,
        checks,
        last_error: status
            .and_then(|status| status.last_error.as_ref())
            .map(certificates::trouble),
    })
}

fn check(subject: &str, level: Level, seen: impl Into<String>, advice: impl Into<String>) -> Check {
    Check {
        subject: subject.to_owned(),
        level,
        seen: seen.into(),
        advice: advice.into(),
    }
}

/// A host, a wildcard of one, or an address.
fn is_name(name: &str) -> bool {
    if name.parse::<IpAddr>().is_ok() {
        return true;
    }
    let host = name.strip_prefix("*.").unwrap_or(name);
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    name.len() <= LONGEST_NAME && host.split('.').all(is_label)
}

/// The server that answers for a name: one with TLS before one without.
fn server_of(http: &Http, name: &str) -> Option<usize> {
    let has = |server: &Server| {
        let names = certificates::names_of(server);
        names.iter().any(|own| {
            own == name
                || own.strip_prefix("*.").is_some_and(|parent| {
                    name.split_once('.').is_some_and(|(_, rest)| rest == parent)
                })
        })
    };
    let found = |is_wanted: &dyn Fn(&Server) -> bool| {
        let mut servers = http.servers.iter();
        servers.position(|server| is_wanted(server) && has(server))
    };
    found(&|server| server.tls.is_some()).or_else(|| found(&|_| true))
}

fn server_check(http: &Http, position: Option<usize>, name: &str) -> Check {
    let Some(position) = position else {
        return check(
            "server",
            Level::Bad,
            format!("no server has the name {name}"),
            "add a site: `a` on the screen Routes, or `server_name` and `listen 443 ssl` in a \
             `server` block",
        );
    };
    let server = &http.servers[position];
    let listens = certificates::secure_listens(http, position);
    match listens.is_empty() {
        true => check(
            "server",
            Level::Bad,
            format!(
                "the server of {name} listens on {} without TLS",
                shown(server.listens.iter())
            ),
            "add `listen 443 ssl;` to it",
        ),
        false => check(
            "server",
            Level::Good,
            format!("a server has the name, with TLS on {}", listens.join(", ")),
            "",
        ),
    }
}

fn shown<T: ToString>(items: impl Iterator<Item = T>) -> String {
    let items: Vec<String> = items.map(|item| item.to_string()).collect();
    items.join(", ")
}

/// Where it comes from and how it does.
fn certificate_check(certificate: Option<&Certificate>, name: &str) -> Check {
    let Some(certificate) = certificate else {
        return check(
            "certificate",
            Level::Bad,
            "nothing says where its certificate comes from",
            format!(
                "name files with `ssl_certificate`, use `openclaw cert import {name}`, or take the \
                 line `ssl_certificate` away, so that one is got"
            ),
        );
    };
    let from = match &certificate.source {
        CertificateSource::Files { certificate, .. } => format!("from the file {certificate}"),
        CertificateSource::Issuer { name, .. } => format!("from {name}"),
        CertificateSource::OwnAuthority => "from the own authority".to_owned(),
        CertificateSource::Computed => "from files that depend on variables".to_owned(),
        CertificateSource::Nowhere => "from nowhere".to_owned(),
    };
    let seen = match (&certificate.served, certificate.remark.as_str()) {
        (Some(served), "") => format!("{from}, valid for {} days", served.days_left),
        (_, "") => from,
        (_, remark) => format!("{from}: {remark}"),
    };
    let advice = match (&certificate.source, certificate.state) {
        (CertificateSource::Files { .. }, CertificateState::Valid) => String::new(),
        (CertificateSource::Files { .. }, _) => format!(
            "replace the files; `openclaw cert import {name} --cert FILE --key FILE` does it"
        ),
        _ => String::new(),
    };
    check("certificate", certificate.level(), seen, advice)
}

/// The server that a client with this name comes to, and its rule for names that clients bring.
fn rule_of(generation: &Generation, name: &str) -> Option<(usize, Arc<OnDemand>)> {
    let listens = generation.http.listens.iter().enumerate();
    let mut secure = listens.filter(|(_, listen)| listen.options.ssl);
    secure.find_map(|(listen, _)| {
        let server = generation.routes.server_of_name(listen, name.as_bytes());
        generation.terminator(server)?;
        let tls = generation.http.servers.get(server)?.tls.as_ref()?;
        Some((server, Arc::clone(tls.on_demand.as_ref()?)))
    })
}

/// What stands in the way of a certificate on demand, and whether the name may have one.
async fn on_demand_checks(acme: &Manager, rule: &Arc<OnDemand>, name: &str) -> (Vec<Check>, bool) {
    let subject = "on demand";
    let denied = |denial: Denial, advice: &str| {
        let told = check(subject, Level::Bad, denial.text(), advice);
        (vec![told], false)
    };
    if !on_demand::is_fit(name) {
        return denied(Denial::Unfit, "list it as a `server_name`");
    }
    if !rule.admits(name) {
        return denied(
            Denial::NotAllowed,
            "add `allow=` for it to `acme_on_demand`",
        );
    }
    let mut checks = Vec::new();
    let asked = acme.names.ask(rule, name).await;
    if let Err(denial) = asked {
        let advice = match denial {
            Denial::Forbidden => "have the service answer `?domain=` with 200 for this name",
            _ => "start it, and look into the error log for what it says",
        };
        checks.push(check(subject, Level::Bad, denial.text(), advice));
    } else {
        let allowed = match rule.ask {
            Some(_) => "the service that `ask=` names allows it",
            None => "`allow=` admits it",
        };
        checks.push(check(subject, Level::Good, allowed, ""));
    }
    let room = acme.names.room(rule, name);
    let is_full = room.held >= rule.most || room.new >= rule.limit.count;
    let level = match is_full {
        true => Level::Bad,
        false => Level::Good,
    };
    let seen = format!(
        "{} of {} names are held, {} of {} were new within {}",
        room.held,
        rule.most,
        room.new,
        rule.limit.count,
        unit::time::print(rule.limit.within)
    );
    let advice = match is_full {
        true => "wait, or set `limit=` and `most=` of `acme_on_demand` higher",
        false => "",
    };
    checks.push(check(subject, level, seen, advice));
    if let Some(denial) = room.refused {
        let seen = format!("refused a short while ago: {}", denial.text());
        checks.push(check(subject, Level::Warn, seen, ""));
    }
    (checks, asked.is_ok())
}

/// How far the limits of the authority are.
fn limits_check(acme: &Manager, order: &Order) -> Option<Check> {
    acme.usage(order).map(judge_usage)
}

fn judge_usage(usage: Usage) -> Check {
    match usage.is_used_up() {
        true => check(
            "limits",
            Level::Bad,
            usage.text(),
            "wait: it refuses what comes before, and counts that as well",
        ),
        false => check("limits", Level::Info, usage.text(), ""),
    }
}

/// Does the DNS provider that proves the names let us in?
async fn provider_check(acme: &Manager, order: &Order) -> Option<Check> {
    Some(match acme.check_zones(order).await? {
        Ok(seen) => check("provider", Level::Good, seen, ""),
        Err(seen) => check(
            "provider",
            Level::Bad,
            seen,
            "look at the secrets in its `dns_provider` block and at what they may change",
        ),
    })
}

/// What is ordered for a name.
fn order_of(http: &Http, name: &str) -> Option<Arc<Order>> {
    let mut orders = certificates::orders(http);
    orders
        .find(|order| order.names.iter().any(|own| **own == *name))
        .cloned()
}

/// How the names of an order are proven: as they were last, as the issuer says, or as is likeliest.
fn challenge_of(order: &Order, status: Option<&Status>) -> Option<ChallengeKind> {
    let issuer = order.issuers.first()?;
    status
        .and_then(|status| status.challenge)
        .or(issuer.challenge)
        .or_else(|| order.challenges.first().copied())
}

fn terms_check(issuer: &Issuer, status: Option<&Status>) -> Check {
    match status.map(|status| &status.state) {
        Some(State::Unagreed { issuer, terms }) => check(
            "terms",
            Level::Bad,
            match terms {
                Some(terms) => format!("nobody agreed to the terms of {issuer}: {terms}"),
                None => format!("nobody agreed to the terms of {issuer}"),
            },
            "`openclaw cert agree`, `A` on the screen Certificates, or `accept_terms_of_service` \
             in its `acme_issuer`",
        ),
        _ => check(
            "terms",
            Level::Good,
            format!("nothing waits for the terms of {}", issuer.name),
            "",
        ),
    }
}

fn state_check(issuer: &Issuer, state: &Path) -> Check {
    let path: PathBuf = match &issuer.state_path {
        Some(path) => path.clone(),
        None => state.to_owned(),
    };
    match access(&path, AccessFlags::W_OK | AccessFlags::X_OK) {
        Ok(()) => check(
            "state",
            Level::Good,
            format!("{} can be written", path.display()),
            "",
        ),
        // It is made with the first certificate.
        Err(nix::errno::Errno::ENOENT)
            if path
                .parent()
                .is_some_and(|it| access(it, AccessFlags::W_OK).is_ok()) =>
        {
            check(
                "state",
                Level::Good,
                format!("{} can be made", path.display()),
                "",
            )
        }
        Err(errno) => check(
            "state",
            Level::Bad,
            format!("{}: {}", path.display(), errno.desc()),
            "the directory belongs to the user that the daemon runs as, with mode 0700",
        ),
    }
}

/// Is there what the proof needs: a listener, or who writes into the zone?
fn challenge_check(
    http: &Http,
    name: &str,
    issuer: &Issuer,
    challenge: Option<ChallengeKind>,
) -> Check {
    let listens = |port: u16, ssl: bool| {
        http.listens.iter().any(|listen| {
            listen.options.ssl == ssl
                && matches!(&listen.address, Address::Ip(address) if address.port() == port)
        })
    };
    if name.starts_with("*.") && challenge != Some(ChallengeKind::Dns01) {
        return check(
            "challenge",
            Level::Bad,
            "a wildcard can only be proven by a record in DNS",
            format!(
                "write `challenge dns-01 PROVIDER;` into `acme_issuer {}`, and a `dns_provider` block",
                issuer.name
            ),
        );
    }
    match challenge {
        Some(ChallengeKind::Http01) if listens(80, false) => check(
            "challenge",
            Level::Good,
            "http-01 is answered on port 80, before any redirect",
            "",
        ),
        Some(ChallengeKind::Http01) => check(
            "challenge",
            Level::Bad,
            "http-01 is asked for on port 80, and nothing listens there without TLS",
            "add `listen 80;` to the server",
        ),
        Some(ChallengeKind::TlsAlpn01) if listens(443, true) => check(
            "challenge",
            Level::Good,
            "tls-alpn-01 is answered on port 443",
            "",
        ),
        Some(ChallengeKind::TlsAlpn01) => check(
            "challenge",
            Level::Bad,
            "tls-alpn-01 is asked for on port 443, and nothing listens there with TLS",
            "add `listen 443 ssl;` to the server",
        ),
        Some(ChallengeKind::Dns01) => match &issuer.provider {
            Some(provider) => check(
                "challenge",
                Level::Good,
                format!("dns-01 by the provider {}", provider.name),
                "",
            ),
            None => check(
                "challenge",
                Level::Bad,
                "dns-01 needs somebody who writes into the zone",
                "name a `dns_provider` behind `challenge dns-01`",
            ),
        },
        None => check(
            "challenge",
            Level::Bad,
            "there is no way to prove the name: nothing listens on port 80 or, with TLS, 443",
            "add `listen 80;` and `listen 443 ssl;` to the server",
        ),
    }
}

/// The ports that have to be reached from outside.
fn ports_of(http: &Http, position: Option<usize>, challenge: Option<ChallengeKind>) -> Vec<u16> {
    let mut ports = BTreeSet::new();
    if let Some(position) = position {
        ports.extend(
            http.servers[position]
                .listens
                .iter()
                .filter_map(|address| match address {
                    Address::Ip(address) => Some(address.port()),
                    Address::Unix(_) => None,
                }),
        );
    }
    match challenge {
        Some(ChallengeKind::Http01) => {
            ports.insert(80);
        }
        Some(ChallengeKind::TlsAlpn01) => {
            ports.insert(443);
        }
        _ => {}
    }
    ports.into_iter().collect()
}

/// Does the firewall of this machine let these ports pass?
pub async fn firewall_check(ports: &[u16]) -> Check {
    let ports = ports.to_vec();
    let looked = tokio::task::spawn_blocking(move || firewall_of(&ports)).await;
    looked.unwrap_or_else(|_| check("firewall", Level::Info, "it cannot be looked at", ""))
}

fn firewall_of(ports: &[u16]) -> Check {
    const BEYOND: &str = "a firewall of the provider or a router cannot be seen from here";
    let Some(firewall) = firewall::look() else {
        return check(
            "firewall",
            Level::Good,
            "no firewall of this machine stops them that we know",
            BEYOND,
        );
    };
    let name = firewall.name;
    let rules = match firewall.rules {
        Ok(rules) => rules,
        Err(why) => {
            return check(
                "firewall",
                Level::Info,
                format!("what {name} lets pass cannot be seen: {why}"),
                "`sudo openclaw doctor` looks as root",
            );
        }
    };
    let of = |wanted: Passage| {
        let ports = ports.iter().filter(|port| rules.passage(**port) == wanted);
        shown(ports)
    };
    match (of(Passage::Closed), of(Passage::Unknown)) {
        (closed, _) if !closed.is_empty() => check(
            "firewall",
            Level::Bad,
            format!("{name} stops port {closed}"),
            "`sudo openclaw doctor` tells the command that opens it",
        ),
        (_, unknown) if !unknown.is_empty() => check(
            "firewall",
            Level::Info,
            format!("{name} lets port {unknown} pass under conditions that cannot be decided here"),
            BEYOND,
        ),
        _ => check(
            "firewall",
            Level::Good,
            format!("{name} lets port {} pass", shown(ports.iter())),
            BEYOND,
        ),
    }
}

type Addresses = Result<Vec<IpAddr>, ResolveError>;

async fn addresses(name: &str, resolver: &Resolver) -> Addresses {
    if name.starts_with("*.") {
        return Ok(Vec::new());
    }
    let asked = tokio::time::timeout(PATIENCE, resolver.addresses(name)).await;
    let answer = asked.unwrap_or(Err(ResolveError::TimedOut))?;
    let addresses = answer.addresses.iter();
    Ok(addresses.map(|endpoint| endpoint.address.ip()).collect())
}

/// The addresses of this machine but those that lead nowhere else.
fn own_addresses() -> BTreeSet<IpAddr> {
    let Ok(interfaces) = getifaddrs() else {
        return BTreeSet::new();
    };
    let addresses = interfaces.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|it| IpAddr::V4(it.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|it| IpAddr::V6(it.ip())))
    });
    addresses.filter(|it| !is_local(*it)).collect()
}

/// Loopback and addresses of one link only.
fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback() || address.is_link_local(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unicast_link_local(),
    }
}

/// Can it be reached from the whole network?
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            // 100.64.0.0/10 is shared behind a provider (RFC 6598).
            let is_shared = address.octets()[0] == 100 && address.octets()[1] & 0xc0 == 64;
            !(address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_unspecified()
                || is_shared)
        }
        IpAddr::V6(address) => {
            !(address.is_loopback()
                || address.is_unique_local()
                || address.is_unicast_link_local()
                || address.is_unspecified())
        }
    }
}

/// Does the name lead here? `is_dns`: the proof does not need that.
fn address_checks(
    name: &str,
    found: Addresses,
    own: &BTreeSet<IpAddr>,
    is_dns: bool,
) -> Vec<Check> {
    let bad = match is_dns {
        true => Level::Warn,
        false => Level::Bad,
    };
    let found = match found {
        Ok(found) => found,
        Err(ResolveError::NotFound) => {
            return vec![check(
                "address",
                bad,
                format!("{name} has no address in DNS"),
                match own.iter().find(|own| is_public(**own)) {
                    Some(own) => format!("add a record for {name} with {own}"),
                    None => format!("add a record for {name} with your public address"),
                },
            )];
        }
        Err(error) => {
            return vec![check(
                "address",
                Level::Warn,
                format!("{name} cannot be looked up: {error}"),
                "are the name servers of this machine well? (`resolver`, /etc/resolv.conf)",
            )];
        }
    };
    let (ours, others): (Vec<IpAddr>, Vec<IpAddr>) =
        found.iter().partition(|address| own.contains(address));
    if others.is_empty() {
        let seen = format!(
            "{name} points to {}, which is this machine",
            shown(ours.iter())
        );
        return vec![check("address", Level::Good, seen, "")];
    }
    let public: Vec<&IpAddr> = own.iter().filter(|address| is_public(**address)).collect();
    let here = match (public.is_empty(), own.is_empty()) {
        (false, _) => shown(public.iter()),
        (true, false) => format!("{} (private)", shown(own.iter())),
        (true, true) => "none".to_owned(),
    };
    let seen = format!(
        "{name} points to {}, this machine has {here}",
        shown(others.iter())
    );
    // An authority may ask any of the addresses, and prefers those of IPv6.
    if !ours.is_empty() {
        let kind = match others.iter().all(IpAddr::is_ipv6) {
            true => "the AAAA record leads elsewhere, and authorities ask there first",
            false => "some addresses lead elsewhere, and an authority may ask there",
        };
        return vec![check(
            "address",
            Level::Warn,
            seen,
            format!("{kind}: correct or remove it"),
        )];
    }
    let advice = match public.is_empty() {
        true => {
            "behind a router that is as it should be, if it passes ports 80 and 443 on to this \
             machine"
        }
        false => {
            "point the name here; if a router or another proxy stands before this machine, it has \
             to pass ports 80 and 443 on"
        }
    };
    vec![check("address", Level::Warn, seen, advice)]
}

/// The CAA records that hold for a name, and whose they are: those of the nearest name above that has
/// some (RFC 8659 section 3).
type Rules = Result<Option<(String, Vec<Authorization>)>, (String, ResolveError)>;

async fn authorizations(name: &str, resolver: &Resolver, is_wanted: bool) -> Rules {
    if !is_wanted || name.parse::<IpAddr>().is_ok() {
        return Ok(None);
    }
    let climb = async {
        let mut at = name.strip_prefix("*.").unwrap_or(name);
        loop {
            match resolver.authorizations(at).await {
                Ok(found) if found.is_empty() => {}
                Ok(found) => return Ok(Some((at.to_owned(), found))),
                Err(error) => return Err((at.to_owned(), error)),
            }
            match at.split_once('.') {
                Some((_, parent)) => at = parent,
                None => return Ok(None),
            }
        }
    };
    let asked = tokio::time::timeout(PATIENCE, climb).await;
    asked.unwrap_or(Err((name.to_owned(), ResolveError::TimedOut)))
}

fn caa_check(
    name: &str,
    rules: Rules,
    issuer: &Issuer,
    authority: &Authority,
    challenge: Option<ChallengeKind>,
) -> Check {
    let (at, rules) = match rules {
        Ok(None) => return check("caa", Level::Good, "no CAA record limits who certifies", ""),
        Ok(Some(rules)) => rules,
        Err((at, error)) => {
            return check(
                "caa",
                Level::Warn,
                format!("the CAA records of {at} cannot be looked up: {error}"),
                "authorities refuse a name whose servers fail to answer this question",
            );
        }
    };
    let known = authority.identities();
    let known = match (known.is_empty(), &*issuer.uri) {
        (true, Issuer::BUILT_IN_URI) => vec!["letsencrypt.org".to_owned()],
        _ => known,
    };
    judge_rules(name, &at, &rules, &known, challenge)
}

/// Do these records permit an authority with these names to certify (RFC 8659 sections 4.2, 4.3)?
fn judge_rules(
    name: &str,
    at: &str,
    rules: &[Authorization],
    authority: &[String],
    challenge: Option<ChallengeKind>,
) -> Check {
    let known = [
        "issue",
        "issuewild",
        "iodef",
        "contactemail",
        "contactphone",
        "issuemail",
    ];
    let strange = rules
        .iter()
        .find(|rule| rule.is_critical && !known.contains(&rule.tag.as_str()));
    if let Some(rule) = strange {
        return check(
            "caa",
            Level::Bad,
            format!(
                "a CAA record of {at} has the critical tag `{}`, which nobody may ignore",
                rule.tag
            ),
            "take that record away",
        );
    }
    let of = |tag: &str| -> Vec<&Authorization> {
        rules.iter().filter(|rule| rule.tag == tag).collect()
    };
    let mut relevant = of("issue");
    if name.starts_with("*.") {
        let wild = of("issuewild");
        if !wild.is_empty() {
            relevant = wild;
        }
    }
    if relevant.is_empty() {
        return check(
            "caa",
            Level::Good,
            format!("the CAA records of {at} limit nobody"),
            "",
        );
    }
    let values = shown(relevant.iter().map(|rule| format!("\"{}\"", rule.value)));
    if authority.is_empty() {
        return check(
            "caa",
            Level::Info,
            format!("CAA of {at} permits {values}; the authority does not say its own name there"),
            "",
        );
    }
    let permitted = relevant.iter().find(|rule| {
        let domain = rule.value.split(';').next().unwrap_or_default().trim();
        authority.iter().any(|own| own.eq_ignore_ascii_case(domain))
    });
    let Some(rule) = permitted else {
        let first = authority.first().map_or("", String::as_str);
        return check(
            "caa",
            Level::Bad,
            format!("CAA of {at} permits {values}, not {first}"),
            format!(
                "add the record `{at}. CAA 0 issue \"{first}\"`, or use an authority that it permits"
            ),
        );
    };
    // RFC 8657 section 4.
    let parameter = |wanted: &str| {
        let parameters = rule.value.split(';').skip(1);
        parameters
            .filter_map(|it| it.split_once('='))
            .find_map(|(name, value)| {
                (name.trim().eq_ignore_ascii_case(wanted)).then(|| value.trim().to_owned())
            })
    };
    if let (Some(methods), Some(challenge)) = (parameter("validationmethods"), challenge) {
        let challenge = challenge.to_string();
        if !methods.split(',').any(|method| method.trim() == challenge) {
            return check(
                "caa",
                Level::Bad,
                format!("CAA of {at} permits only proofs by {methods}, not {challenge}"),
                "change `challenge` or the record",
            );
        }
    }
    match parameter("accounturi") {
        Some(account) => check(
            "caa",
            Level::Warn,
            format!("CAA of {at} permits one account only: {account}"),
            "compare it with the one of this daemon",
        ),
        None => check(
            "caa",
            Level::Good,
            format!("CAA of {at} permits {values}"),
            "",
        ),
    }
}

/// What an authority's directory says (RFC 8555 section 7.1.1).
struct Authority {
    /// The directory, or why there is none.
    directory: Result<serde_json::Value, String>,
    /// Its clock in seconds, and how long it took to say it.
    clock: Option<u64>,
}

impl Authority {
    async fn ask(issuer: &Issuer, resolver: &Resolver) -> Self {
        let failed = |why: String| Self {
            directory: Err(why),
            clock: None,
        };
        let trust = match (issuer.verify, &issuer.trusted) {
            (false, _) => Trust::Anything,
            (true, None) => Trust::System,
            (true, Some(path)) => match roots(path) {
                Ok(roots) => Trust::Roots(roots),
                Err(why) => return failed(format!("`{}`: {why}", path.display())),
            },
        };
        let fetcher = match Fetcher::with_resolver(trust, resolver.clone()) {
            Ok(fetcher) => fetcher,
            Err(error) => return failed(chained(&error)),
        };
        let request = http::Request::get(&*issuer.uri).body(Bytes::new());
        let Ok(request) = request else {
            return failed("its address is no URL".to_owned());
        };
        let limits = Limits {
            timeout: PATIENCE,
            body: MOST_BYTES,
        };
        let answer = match fetcher.send(request, limits).await {
            Ok(answer) => answer,
            Err(error) => return failed(chained(&error)),
        };
        let clock = answer
            .headers()
            .get(http::header::DATE)
            .and_then(|value| date::parse(value.as_bytes()))
            .and_then(|second| u64::try_from(second).ok());
        let directory = match answer.status() {
            http::StatusCode::OK => serde_json::from_slice(answer.body())
                .map_err(|_| "it does not answer with a directory".to_owned()),
            status => Err(format!("it answers {status}")),
        };
        Self { directory, clock }
    }

    /// What CAA records call it.
    fn identities(&self) -> Vec<String> {
        let directory = self.directory.as_ref().ok();
        let names = directory.and_then(|it| it.get("meta")?.get("caaIdentities")?.as_array());
        let names = names.into_iter().flatten().filter_map(|name| name.as_str());
        names.take(16).map(str::to_owned).collect()
    }

    fn checks(&self, issuer: &Issuer, now: SystemTime) -> Vec<Check> {
        let mut checks = vec![match &self.directory {
            Ok(directory) if directory.get("newOrder").is_some() => check(
                "authority",
                Level::Good,
                format!("{} answers at {}", issuer.name, issuer.uri),
                "",
            ),
            Ok(_) => check(
                "authority",
                Level::Bad,
                format!("{} is no directory of an authority", issuer.uri),
                "`uri` is the address of its directory",
            ),
            Err(why) => check(
                "authority",
                Level::Bad,
                format!("{} cannot be reached: {why}", issuer.name),
                "may this machine reach it? (proxy, firewall, `ssl_trusted_certificate`)",
            ),
        }];
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if let Some(theirs) = self.clock {
            checks.push(clock_check(now, theirs));
        }
        checks
    }
}

/// Is our clock that of the authority?
fn clock_check(ours: u64, theirs: u64) -> Check {
    let off = ours.abs_diff(theirs);
    let way = match ours > theirs {
        true => "ahead",
        false => "behind",
    };
    let level = match off {
        off if off > CLOCK.1 => Level::Bad,
        off if off > CLOCK.0 => Level::Warn,
        _ => Level::Good,
    };
    match level {
        Level::Good => check("clock", level, "it agrees with the authority's", ""),
        level => check(
            "clock",
            level,
            format!("it is {off} seconds {way} of the authority's"),
            "`timedatectl set-ntp true` sets it",
        ),
    }
}

/// An error with what lies behind it, in a line.
fn chained(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// The certificates in a file.
fn roots(path: &Path) -> Result<Vec<rustls::pki_types::CertificateDer<'static>>, String> {
    let (text, _) = file::read(path).map_err(|problem| problem.to_string())?;
    let sections = pem::sections(&text);
    let roots = sections
        .filter_map(Result::ok)
        .filter(|section| section.label == "CERTIFICATE")
        .map(|section| section.der.to_vec().into());
    Ok(roots.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(tag: &str, value: &str) -> Authorization {
        Authorization {
            is_critical: false,
            tag: tag.to_owned(),
            value: value.to_owned(),
        }
    }

    #[test]
    fn limits_are_in_the_way_when_one_of_them_is_used_up() {
        use crate::acme::ledger::LIMITS;
        let nothing = Usage::default();
        let told = judge_usage(nothing);
        assert_eq!(told.level, Level::Info);
        assert!(told.seen.contains("0 of 5 certificates for the same names"));
        let up_to = |limit: usize| {
            let used = |count: usize| {
                judge_usage(Usage {
                    same_names: count,
                    ..nothing
                })
            };
            (used(limit - 1).level, used(limit).level)
        };
        assert_eq!(up_to(LIMITS.same_names), (Level::Info, Level::Bad));
        let orders = LIMITS.orders;
        let domain = LIMITS.domain;
        for usage in [Usage { orders, ..nothing }, Usage { domain, ..nothing }] {
            let told = judge_usage(usage);
            assert_eq!(told.level, Level::Bad, "{usage:?}");
            assert!(told.advice.contains("wait"), "{}", told.advice);
        }
    }

    #[test]
    fn records_permit_whom_they_name() {
        let ours = ["letsencrypt.org".to_owned()];
        let level = |name: &str, rules: &[Authorization], challenge| {
            judge_rules(name, "example.org", rules, &ours, challenge).level
        };
        let http = Some(ChallengeKind::Http01);
        for (rules, expected) in [
            (vec![rule("iodef", "mailto:a@b")], Level::Good),
            (vec![rule("issue", "letsencrypt.org")], Level::Good),
            (vec![rule("issue", " LetsEncrypt.org ; x=y")], Level::Good),
            (vec![rule("issue", ";")], Level::Bad),
            (vec![rule("issue", "other.example")], Level::Bad),
            (
                vec![
                    rule("issue", "other.example"),
                    rule("issue", "letsencrypt.org"),
                ],
                Level::Good,
            ),
            (
                vec![rule("issue", "letsencrypt.org; validationmethods=dns-01")],
                Level::Bad,
            ),
            (
                vec![rule(
                    "issue",
                    "letsencrypt.org; validationmethods=dns-01,http-01",
                )],
                Level::Good,
            ),
            (
                vec![rule("issue", "letsencrypt.org; accounturi=https://a/1")],
                Level::Warn,
            ),
            // It is about wildcards only.
            (vec![rule("issuewild", ";")], Level::Good),
        ] {
            assert_eq!(level("example.org", &rules, http), expected, "{rules:?}");
        }
        let wild = [rule("issue", "letsencrypt.org"), rule("issuewild", ";")];
        assert_eq!(level("*.example.org", &wild, None), Level::Bad);
        assert_eq!(level("*.example.org", &wild[..1], None), Level::Good);
        let critical = Authorization {
            is_critical: true,
            ..rule("future", "x")
        };
        assert_eq!(level("example.org", &[critical], None), Level::Bad);
        let unknown = judge_rules("a.example", "example", &wild, &[], None);
        assert_eq!(unknown.level, Level::Info);
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_told_with_both_addresses() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let own = BTreeSet::from([ip("198.51.100.4"), ip("2001:db8::4")]);
        let level = |found: Addresses, own: &BTreeSet<IpAddr>, is_dns| {
            let checks = address_checks("a.example", found, own, is_dns);
            assert_eq!(checks.len(), 1);
            (checks[0].level, checks[0].seen.clone() + &checks[0].advice)
        };
        assert_eq!(
            level(Ok(vec![ip("198.51.100.4")]), &own, false).0,
            Level::Good
        );
        let (found, text) = level(Ok(vec![ip("203.0.113.7")]), &own, false);
        assert_eq!(found, Level::Warn);
        assert!(
            text.contains("203.0.113.7") && text.contains("198.51.100.4"),
            "{text}"
        );
        let half = Ok(vec![ip("198.51.100.4"), ip("2001:db8::9")]);
        let (found, text) = level(half, &own, false);
        assert_eq!(found, Level::Warn);
        assert!(text.contains("AAAA"), "{text}");
        let home = BTreeSet::from([ip("192.168.1.5")]);
        let (_, text) = level(Ok(vec![ip("203.0.113.7")]), &home, false);
        assert!(
            text.contains("(private)") && text.contains("router"),
            "{text}"
        );
        let (found, text) = level(Err(ResolveError::NotFound), &own, false);
        assert_eq!(found, Level::Bad);
        assert!(text.contains("198.51.100.4"), "{text}");
        assert_eq!(
            level(Err(ResolveError::NotFound), &own, true).0,
            Level::Warn
        );
        assert_eq!(
            level(Err(ResolveError::TimedOut), &own, false).0,
            Level::Warn
        );
    }

    #[test]
    fn a_clock_is_compared_with_the_authority() {
        for (ours, theirs, expected) in [
            (1_000_000, 1_000_050, Level::Good),
            (1_000_000, 1_000_300, Level::Warn),
            (1_090_000, 1_000_000, Level::Bad),
        ] {
            assert_eq!(clock_check(ours, theirs).level, expected);
        }
        assert!(clock_check(1_090_000, 1_000_000).seen.contains("ahead"));
    }

    #[test]
    fn only_names_that_a_certificate_can_be_for_are_looked_at() {
        for name in [
            "example.org",
            "*.example.org",
            "xn--bcher-kva.example",
            "192.0.2.1",
            "2001:db8::1",
            "localhost",
        ] {
            assert!(is_name(name), "{name}");
        }
        for name in [
            "",
            ".",
            "a..b",
            "a b",
            "*",
            "a.*",
            "x/../y",
            "a\n",
            "ä.example",
        ] {
            assert!(!is_name(name), "{name}");
        }
        assert!(!is_name(&"a.".repeat(200)));
    }
}
