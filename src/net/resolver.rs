//! Names to addresses.
//!
//! Owns asking, remembering for as long as the answers live, and asking once for all who want the
//! same name at the same time. With `resolver` it speaks DNS to the servers named there and to no
//! other; without, it asks the system (`/etc/hosts`, `/etc/resolv.conf`), whose answers have no
//! lifetime and are taken to be good for [`SYSTEM_LIFETIME`].
//!
//! A [`Resolver`] may be used from any thread; the questions are asked on the runtime that it was
//! given, so that an answer does not depend on the life of the worker that asked first. Every
//! question ends within `resolver_timeout`. When the servers do not answer, an answer that has run
//! out goes on being used for [`STALE_LIFETIME`] (RFC 8767): an outage of DNS is not one of the sites.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, Semaphore, watch};
use tokio::task::JoinSet;

use crate::conf::typed::upstream as conf;

/// How long an answer of the system is good for.
pub const SYSTEM_LIFETIME: Duration = Duration::from_secs(30);

/// How long an answer that has run out serves while no server answers.
pub const STALE_LIFETIME: Duration = Duration::from_secs(3600);

/// How long "no such name" is remembered, as in nginx; `valid=` replaces it.
const NEGATIVE_LIFETIME: Duration = Duration::from_secs(10);

/// Who has an old answer at hand waits no longer than this for a new one (RFC 8767 section 5).
const STALE_PATIENCE: Duration = Duration::from_millis(1800);

/// Between two tries of a name for which an old answer serves.
const STALE_RETRY: Duration = Duration::from_secs(5);

/// No answer is good for longer.
const LONGEST_LIFETIME: Duration = Duration::from_secs(86_400);

/// One server is given this long before the question is asked again, as in nginx.
const RESEND: Duration = Duration::from_secs(5);

/// Without `resolver_timeout`.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// Names remembered; the one that runs out first makes room.
const CAPACITY: usize = 1024;

/// Names asked for at a time: whoever sends requests with many hosts finds no room at last.
const MOST_ASKED: usize = 256;

/// Addresses taken from one answer.
const MOST_ADDRESSES: usize = 256;

/// Targets of a service that are looked up.
const MOST_TARGETS: usize = 64;

/// The longest name that DNS can carry (RFC 1035 section 2.3.4), as text.
const LONGEST_NAME: usize = 255;

/// Asks for names. Clones share what they remember.
#[derive(Debug, Clone)]
pub struct Resolver {
    inner: Arc<Inner>,
}

/// What is known of a name.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its addresses, IPv4 first; never empty.
    pub addresses: Arc<[Endpoint]>,
    /// When it should be asked for again.
    pub expires: Instant,
}

/// One address of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// The address; its port is 0 but for services.
    pub address: SocketAddr,
    /// The weight of its SRV record, at least 1.
    pub weight: Option<u32>,
    /// Its SRV record has not the best priority.
    pub is_backup: bool,
}

/// A record that holds the name of something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pointer {
    /// CNAME: the name is another one's.
    Alias,
    /// NS: a server of the zone of this name.
    NameServer,
}

/// A CAA record: who may certify a name (RFC 8659).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization {
    /// Who does not understand it must not certify.
    pub is_critical: bool,
    /// What it is about, in lower case: `issue`, `issuewild`, `iodef`.
    pub tag: String,
    /// What it says.
    pub value: String,
}

/// Why there is no answer. Shown with the number and words that nginx logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResolveError {
    /// It is not a name that can be asked for.
    Malformed,
    /// The servers failed, or said what makes no sense.
    ServerFailure,
    /// There is no such name, or it has no address.
    NotFound,
    /// The servers refused to answer.
    Refused,
    /// No server answered in time.
    TimedOut,
}

impl fmt::Display for ResolveError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Malformed => "1: Format error",
            Self::ServerFailure => "2: Server failure",
            Self::NotFound => "3: Host not found",
            Self::Refused => "5: Operation refused",
            Self::TimedOut => "110: Operation timed out",
        })
    }
}

impl std::error::Error for ResolveError {}

type Outcome = Result<Answer, ResolveError>;

#[derive(Debug)]
struct Inner {
    servers: Vec<SocketAddr>,
    valid: Option<Duration>,
    ipv4: bool,
    ipv6: bool,
    timeout: Duration,
    runtime: Handle,
    /// Made when first needed, on the runtime.
    client: OnceCell<TokioResolver>,
    room: Arc<Semaphore>,
    known: Mutex<HashMap<Question, Known, foldhash::fast::RandomState>>,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Question {
    /// The addresses of a host, in lower case.
    Host(Box<str>),
    /// The targets of a service, by its whole name.
    Service(Box<str>),
}

#[derive(Debug)]
struct Known {
    /// The last outcome, if it is worth remembering.
    outcome: Option<Outcome>,
    /// Until when it is taken as it is.
    fresh_until: Instant,
    /// The question is on its way: here comes its outcome.
    asked: Option<watch::Receiver<Option<Outcome>>>,
}

impl Resolver {
    /// A resolver as configured; `None` asks the system. Questions are asked on `runtime`.
    pub fn new(conf: Option<&conf::Resolver>, runtime: Handle) -> Self {
        let system = conf::Resolver {
            servers: Vec::new(),
            valid: None,
            ipv4: true,
            ipv6: true,
            timeout: DEFAULT_TIMEOUT,
        };
        let conf = conf.unwrap_or(&system);
        let inner = Inner {
            servers: conf.servers.clone(),
            valid: conf.valid,
            ipv4: conf.ipv4,
            ipv6: conf.ipv6,
            timeout: conf.timeout,
            runtime,
            client: OnceCell::new(),
            room: Arc::new(Semaphore::new(MOST_ASKED)),
            known: Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The addresses of a host: remembered, or asked for. A literal address stands for itself.
    pub async fn addresses(&self, host: &str) -> Outcome {
        if let Some(address) = literal(host) {
            return Ok(Answer {
                addresses: Arc::new([endpoint(address)]),
                expires: Instant::now() + LONGEST_LIFETIME,
            });
        }
        let name = host.strip_suffix('.').unwrap_or(host);
        if name.is_empty() || name.len() > LONGEST_NAME {
            return Err(ResolveError::Malformed);
        }
        self.ask(Question::Host(name.to_ascii_lowercase().into()))
            .await
    }

    /// The targets of a service at a host (`service=` of `server`): its SRV records and the
    /// addresses of their targets. A service without a dot is looked up as `_service._tcp.host`, one
    /// with a dot as `service.host`, as in nginx.
    pub async fn targets(&self, service: &str, host: &str) -> Outcome {
        let host = host.strip_suffix('.').unwrap_or(host);
        let name = match service.contains('.') {
            true => format!("{service}.{host}"),
            false => format!("_{service}._tcp.{host}"),
        };
        if host.is_empty() || name.len() > LONGEST_NAME {
            return Err(ResolveError::Malformed);
        }
        self.ask(Question::Service(name.to_ascii_lowercase().into()))
            .await
    }

    /// The names that the records of a host hold, in lower case and without a dot at the end; asked
    /// afresh, as what follows them must not act on an old answer. None is no error.
    pub async fn pointers(&self, host: &str, kind: Pointer) -> Result<Vec<Box<str>>, ResolveError> {
        let name = question_name(host)?;
        let kind = match kind {
            Pointer::Alias => RecordType::CNAME,
            Pointer::NameServer => RecordType::NS,
        };
        let ask = async {
            let client = self.inner.client().await?;
            match client.lookup(name, kind).await {
                Ok(lookup) => Ok(lookup),
                Err(error) => Err(ResolveError::from(&error)),
            }
        };
        let asked = tokio::time::timeout(self.inner.timeout, ask).await;
        let lookup = match asked.unwrap_or(Err(ResolveError::TimedOut)) {
            Ok(lookup) => lookup,
            Err(ResolveError::NotFound) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let names = lookup.answers().iter().filter_map(|record| {
            let name = match &record.data {
                RData::CNAME(name) if kind == RecordType::CNAME => &name.0,
                RData::NS(name) if kind == RecordType::NS => &name.0,
                _ => return None,
            };
            let name = name.to_ascii().to_ascii_lowercase();
            Some(name.trim_end_matches('.').into())
        });
        Ok(names.collect())
    }

    /// The CAA records of this very name, asked for afresh; none is no error.
    pub async fn authorizations(&self, host: &str) -> Result<Vec<Authorization>, ResolveError> {
        let name = question_name(host)?;
        let ask = async {
            let client = self.inner.client().await?;
            let lookup = client.lookup(name, RecordType::CAA).await;
            lookup.map_err(|error| ResolveError::from(&error))
        };
        let asked = tokio::time::timeout(self.inner.timeout, ask).await;
        let lookup = match asked.unwrap_or(Err(ResolveError::TimedOut)) {
            Ok(lookup) => lookup,
            Err(ResolveError::NotFound) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let records = lookup.answers().iter();
        let records = records.filter_map(|record| match &record.data {
            RData::CAA(record) => Some(Authorization {
                is_critical: record.issuer_critical,
                tag: record.tag.to_ascii_lowercase(),
                value: String::from_utf8_lossy(&record.value).into_owned(),
            }),
            _ => None,
        });
        Ok(records.take(MOST_ADDRESSES).collect())
    }

    async fn ask(&self, question: Question) -> Outcome {
        let (mut receiver, stale) = {
            let now = Instant::now();
            let mut known = self.inner.known.lock();
            let entry = known.get_mut(&question);
            let mut stale = None;
            if let Some(entry) = &entry
                && let Some(outcome) = &entry.outcome
            {
                if now < entry.fresh_until {
                    return outcome.clone();
                }
                stale = outcome
                    .as_ref()
                    .ok()
                    .filter(|answer| now < answer.expires + STALE_LIFETIME)
                    .cloned();
            }
            // A sender that is gone without a word was lost with its runtime.
            let asked = entry.as_ref().and_then(|entry| entry.asked.clone());
            let receiver = match asked.filter(|asked| asked.has_changed().is_ok()) {
                Some(receiver) => receiver,
                None => {
                    let Ok(room) = Arc::clone(&self.inner.room).try_acquire_owned() else {
                        return stale.ok_or(ResolveError::ServerFailure);
                    };
                    let (sender, receiver) = watch::channel(None);
                    let asked = Some(receiver.clone());
                    match entry {
                        Some(entry) => entry.asked = asked,
                        None => {
                            make_room(&mut known, now);
                            known.insert(
                                question.clone(),
                                Known {
                                    outcome: None,
                                    fresh_until: now,
                                    asked,
                                },
                            );
                        }
                    }
                    let inner = Arc::clone(&self.inner);
                    self.inner.runtime.spawn(async move {
                        let outcome = inner.find(&question).await;
                        let outcome = inner.remember(&question, outcome);
                        sender.send_replace(Some(outcome));
                        drop(room);
                    });
                    receiver
                }
            };
            (receiver, stale)
        };
        let answer = async move {
            match receiver.wait_for(Option::is_some).await {
                Ok(outcome) => outcome.clone().unwrap_or(Err(ResolveError::ServerFailure)),
                Err(_) => Err(ResolveError::ServerFailure),
            }
        };
        match stale {
            None => answer.await,
            Some(stale) => tokio::time::timeout(STALE_PATIENCE, answer)
                .await
                .unwrap_or(Ok(stale)),
        }
    }
}

impl Inner {
    /// Asks, within `resolver_timeout`.
    async fn find(self: &Arc<Self>, question: &Question) -> Outcome {
        let find = async {
            match question {
                Question::Host(host) if self.servers.is_empty() => self.ask_system(host).await,
                Question::Host(host) => {
                    let (addresses, lifetime) = self.ask_servers(host).await?;
                    let endpoints = addresses.into_iter().map(endpoint).collect();
                    Ok((endpoints, lifetime))
                }
                Question::Service(name) => self.ask_service(name).await,
            }
        };
        let found: Result<(Vec<Endpoint>, Duration), _> = tokio::time::timeout(self.timeout, find)
            .await
            .unwrap_or(Err(ResolveError::TimedOut));
        let (mut endpoints, lifetime) = found?;
        endpoints.retain(|endpoint| match endpoint.address {
            SocketAddr::V4(_) => self.ipv4,
            SocketAddr::V6(_) => self.ipv6,
        });
        // Stable: among addresses of a family the order is the server's.
        endpoints.sort_by_key(|endpoint| (endpoint.is_backup, endpoint.address.is_ipv6()));
        let mut distinct: Vec<Endpoint> = Vec::with_capacity(endpoints.len());
        for endpoint in endpoints {
            if !distinct.iter().any(|it| it.address == endpoint.address) {
                distinct.push(endpoint);
            }
            if distinct.len() == MOST_ADDRESSES {
                break;
            }
        }
        if distinct.is_empty() {
            return Err(ResolveError::NotFound);
        }
        let lifetime = self.valid.unwrap_or(lifetime).min(LONGEST_LIFETIME);
        Ok(Answer {
            addresses: distinct.into(),
            expires: Instant::now() + lifetime,
        })
    }

    /// Keeps an outcome, and says what those who wait are told.
    fn remember(&self, question: &Question, outcome: Outcome) -> Outcome {
        let now = Instant::now();
        let mut known = self.known.lock();
        let Some(entry) = known.get_mut(question) else {
            return outcome;
        };
        entry.asked = None;
        let old = entry.outcome.take().and_then(Result::ok);
        let (fresh_until, outcome) = match (outcome, old) {
            (Ok(answer), _) => (answer.expires, Ok(answer)),
            (Err(ResolveError::NotFound), _) => (
                now + self.valid.unwrap_or(NEGATIVE_LIFETIME),
                Err(ResolveError::NotFound),
            ),
            (Err(_), Some(old)) if now < old.expires + STALE_LIFETIME => {
                (now + STALE_RETRY, Ok(old))
            }
            // Not remembered: the next who asks tries again.
            (Err(error), _) => {
                known.remove(question);
                return Err(error);
            }
        };
        entry.outcome = Some(outcome.clone());
        entry.fresh_until = fresh_until;
        outcome
    }

    async fn ask_system(&self, host: &str) -> Result<(Vec<Endpoint>, Duration), ResolveError> {
        let host = host.to_owned();
        // `getaddrinfo` blocks, and cannot be stopped: when the time is over only the wait ends.
        let found = tokio::task::spawn_blocking(move || {
            let addresses = (&*host, 0).to_socket_addrs()?;
            std::io::Result::Ok(addresses.collect::<Vec<_>>())
        });
        let addresses = match found.await {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(error)) => return Err(of_system(&error)),
            Err(_) => return Err(ResolveError::ServerFailure),
        };
        let endpoints = addresses.iter().map(|address| endpoint(address.ip()));
        Ok((endpoints.collect(), SYSTEM_LIFETIME))
    }

    /// A and AAAA records, both asked for at once.
    async fn ask_servers(&self, host: &str) -> Result<(Vec<IpAddr>, Duration), ResolveError> {
        let name = question_name(host)?;
        let client = self.client().await?;
        let ask = async |kind, is_wanted| match is_wanted {
            true => Some(client.lookup(name.clone(), kind).await),
            false => None,
        };
        let (four, six) = tokio::join!(
            ask(RecordType::A, self.ipv4),
            ask(RecordType::AAAA, self.ipv6)
        );
        let mut addresses = Vec::new();
        let mut lifetime = LONGEST_LIFETIME;
        let mut error = ResolveError::NotFound;
        for outcome in [four, six].into_iter().flatten() {
            match outcome {
                Ok(lookup) => {
                    lifetime = lifetime.min(lifetime_of(&lookup));
                    let records = lookup.answers().iter();
                    addresses.extend(records.filter_map(|record| match record.data {
                        RData::A(address) => Some(IpAddr::V4(address.0)),
                        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
                        _ => None,
                    }));
                }
                Err(failure) => match ResolveError::from(&failure) {
                    ResolveError::NotFound => {}
                    other => {
                        // Half an answer is good for long enough to ask again.
                        lifetime = lifetime.min(STALE_RETRY);
                        error = other;
                    }
                },
            }
        }
        match addresses.is_empty() {
            true => Err(error),
            false => Ok((addresses, lifetime)),
        }
    }

    /// SRV records, then the addresses of all targets at once.
    async fn ask_service(
        self: &Arc<Self>,
        name: &str,
    ) -> Result<(Vec<Endpoint>, Duration), ResolveError> {
        let client = self.client().await?;
        let lookup = client
            .lookup(question_name(name)?, RecordType::SRV)
            .await
            .map_err(|error| ResolveError::from(&error))?;
        let mut lifetime = lifetime_of(&lookup);
        let records = lookup.answers().iter();
        let services = records.filter_map(|record| match &record.data {
            RData::SRV(service) => Some(service.clone()),
            _ => None,
        });
        let services: Vec<_> = services.take(MOST_TARGETS).collect();
        let best = services.iter().map(|service| service.priority).min();
        let mut targets = JoinSet::new();
        for (position, service) in services.iter().enumerate() {
            let inner = Arc::clone(self);
            let target = service.target.to_ascii();
            targets.spawn(async move { (position, inner.ask_servers(&target).await) });
        }
        let mut found = vec![Vec::new(); services.len()];
        let mut error = ResolveError::NotFound;
        while let Some(target) = targets.join_next().await {
            match target {
                Ok((position, Ok((addresses, target_lifetime)))) => {
                    lifetime = lifetime.min(target_lifetime);
                    found[position] = addresses;
                }
                Ok((_, Err(failure))) => {
                    lifetime = lifetime.min(STALE_RETRY);
                    error = failure;
                }
                Err(_) => error = ResolveError::ServerFailure,
            }
        }
        let endpoints = services.iter().zip(found).flat_map(|(service, addresses)| {
            addresses.into_iter().map(|address| Endpoint {
                address: SocketAddr::new(address, service.port),
                weight: Some(u32::from(service.weight).max(1)),
                is_backup: Some(service.priority) != best,
            })
        });
        let endpoints: Vec<_> = endpoints.collect();
        match endpoints.is_empty() {
            true => Err(error),
            false => Ok((endpoints, lifetime)),
        }
    }

    async fn client(&self) -> Result<&TokioResolver, ResolveError> {
        let build = async || {
            let provider = TokioRuntimeProvider::default();
            let mut builder = if self.servers.is_empty() {
                TokioResolver::builder_tokio()?
            } else {
                let servers = self.servers.iter().map(|server| {
                    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
                    let connections = connections.map(|mut connection| {
                        connection.port = server.port();
                        connection
                    });
                    NameServerConfig::new(server.ip(), true, connections.into())
                });
                let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
                TokioResolver::builder_with_config(config, provider)
            };
            let options: &mut ResolverOpts = builder.options_mut();
            options.timeout = RESEND.min(self.timeout);
            options.attempts = (self.timeout.as_secs() / RESEND.as_secs()).clamp(1, 10) as usize;
            // What is remembered, and for how long, is ours to say.
            options.cache_size = 0;
            if !self.servers.is_empty() {
                options.use_hosts_file = ResolveHosts::Never;
            }
            builder.build()
        };
        self.client
            .get_or_try_init(build)
            .await
            .map_err(|_: NetError| ResolveError::ServerFailure)
    }
}

/// Forgets answers that ran out, or else the one that runs out first.
fn make_room(known: &mut HashMap<Question, Known, foldhash::fast::RandomState>, now: Instant) {
    if known.len() < CAPACITY {
        return;
    }
    known.retain(|_, entry| entry.asked.is_some() || now < entry.fresh_until);
    while known.len() >= CAPACITY {
        let next = known.iter().min_by_key(|(_, entry)| entry.fresh_until);
        let Some((question, _)) = next else { return };
        let question = question.clone();
        known.remove(&question);
    }
}

/// The standard library keeps `getaddrinfo`'s number to itself; its words (glibc's and musl's) must
/// do, because an outage must not be taken for "no such name".
fn of_system(error: &std::io::Error) -> ResolveError {
    const NONE: [&str; 4] = [
        "not known",
        "No address associated",
        "does not resolve",
        "no usable address",
    ];
    let text = error.to_string();
    match NONE.iter().any(|words| text.contains(words)) {
        true => ResolveError::NotFound,
        false => ResolveError::ServerFailure,
    }
}

/// `127.0.0.1`, `::1`, `[::1]`.
fn literal(host: &str) -> Option<IpAddr> {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    match bare {
        Some(six) => six.parse().ok().map(IpAddr::V6),
        None => host.parse().ok(),
    }
}

fn endpoint(address: IpAddr) -> Endpoint {
    Endpoint {
        address: SocketAddr::new(address, 0),
        weight: None,
        is_backup: false,
    }
}

/// The name as DNS has it, complete: no search list is walked.
fn question_name(host: &str) -> Result<Name, ResolveError> {
    let name = match host.is_ascii() {
        true => Name::from_ascii(host),
        false => Name::from_utf8(host),
    };
    let mut name = name.map_err(|_| ResolveError::Malformed)?;
    name.set_fqdn(true);
    Ok(name)
}

fn lifetime_of(lookup: &Lookup) -> Duration {
    lookup
        .valid_until()
        .saturating_duration_since(Instant::now())
}

impl From<&NetError> for ResolveError {
    fn from(error: &NetError) -> Self {
        match error {
            NetError::Timeout => Self::TimedOut,
            NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
                ResponseCode::NXDomain | ResponseCode::NoError => Self::NotFound,
                _ => Self::ServerFailure,
            },
            NetError::Dns(DnsError::ResponseCode(ResponseCode::Refused)) => Self::Refused,
            NetError::Dns(DnsError::ResponseCode(ResponseCode::FormErr)) => Self::Malformed,
            _ => Self::ServerFailure,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, UdpSocket};
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const A: u16 = 1;
    const CNAME: u16 = 5;
    const AAAA: u16 = 28;
    const SRV: u16 = 33;

    /// A question as received, and what is needed to answer it.
    struct Asked {
        id: [u8; 2],
        /// The question section.
        section: Vec<u8>,
        name: String,
        kind: u16,
    }

    impl Asked {
        fn parse(datagram: &[u8]) -> Self {
            let mut at = 12;
            let mut labels = Vec::new();
            while datagram[at] != 0 {
                let length = usize::from(datagram[at]);
                labels.push(String::from_utf8_lossy(&datagram[at + 1..=at + length]).into_owned());
                at += 1 + length;
            }
            Self {
                id: [datagram[0], datagram[1]],
                section: datagram[12..at + 5].to_vec(),
                name: labels.join("."),
                kind: u16::from_be_bytes([datagram[at + 1], datagram[at + 2]]),
            }
        }

        /// An answer of records of the type asked for, all for the name asked for.
        fn answer(&self, ttl: u32, records: &[&[u8]]) -> Vec<u8> {
            let records: Vec<_> = records.iter().map(|data| (self.kind, *data)).collect();
            self.reply(0, ttl, &records)
        }

        fn reply(&self, code: u8, ttl: u32, records: &[(u16, &[u8])]) -> Vec<u8> {
            let mut out = self.id.to_vec();
            out.extend([0x81, 0x80 | code, 0, 1, 0, records.len() as u8, 0, 0, 0, 0]);
            out.extend(&self.section);
            for (kind, data) in records {
                out.extend([0xc0, 12]);
                out.extend(kind.to_be_bytes());
                out.extend([0, 1]);
                out.extend(ttl.to_be_bytes());
                out.extend((data.len() as u16).to_be_bytes());
                out.extend(*data);
            }
            out
        }
    }

    fn encoded(name: &str) -> Vec<u8> {
        let mut out = Vec::new();
        for label in name.split('.') {
            out.push(label.len() as u8);
            out.extend(label.as_bytes());
        }
        out.push(0);
        out
    }

    /// A name server on a real socket that answers each question with these datagrams.
    struct Server {
        address: SocketAddr,
        asked: Arc<AtomicUsize>,
        thread: Option<std::thread::JoinHandle<()>>,
    }

    impl Server {
        fn start(mut reply: impl FnMut(&Asked) -> Vec<Vec<u8>> + Send + 'static) -> Self {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
            let address = socket.local_addr().expect("bound");
            let asked = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&asked);
            let thread = std::thread::spawn(move || {
                let mut buffer = [0; 2048];
                while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    // An empty datagram ends the server.
                    if length == 0 {
                        return;
                    }
                    count.fetch_add(1, Ordering::SeqCst);
                    for datagram in reply(&Asked::parse(&buffer[..length])) {
                        let _ = socket.send_to(&datagram, from);
                    }
                }
            });
            Self {
                address,
                asked,
                thread: Some(thread),
            }
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::SeqCst)
        }

        /// A resolver that asks this server for IPv4 addresses.
        fn resolver(&self, change: impl FnOnce(&mut conf::Resolver)) -> Resolver {
            let mut conf = conf::Resolver {
                servers: vec![self.address],
                valid: None,
                ipv4: true,
                ipv6: false,
                timeout: Duration::from_secs(30),
            };
            change(&mut conf);
            Resolver::new(Some(&conf), Handle::current())
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
            let _ = socket.send_to(&[], self.address);
            if let Some(thread) = self.thread.take() {
                let _ = thread.join();
            }
        }
    }

    fn addresses(answer: &Answer) -> Vec<String> {
        let endpoints = answer.addresses.iter();
        endpoints.map(|it| it.address.to_string()).collect()
    }

    #[tokio::test]
    async fn an_answer_is_used_for_its_lifetime_and_then_asked_for_again() {
        let server = Server::start(|asked| {
            let ttl = if asked.name == "long.test" { 300 } else { 0 };
            vec![asked.answer(ttl, &[&[10, 0, 0, 1], &[10, 0, 0, 2]])]
        });
        let resolver = server.resolver(|_| {});
        let before = Instant::now();
        let answer = resolver.addresses("LONG.test.").await.expect("an answer");
        let after = Instant::now();
        assert_eq!(addresses(&answer), ["10.0.0.1:0", "10.0.0.2:0"]);
        let lifetime = Duration::from_secs(300);
        assert!(before + lifetime <= answer.expires && answer.expires <= after + lifetime);
        resolver.addresses("long.test").await.expect("an answer");
        assert_eq!(server.asked(), 1);
        resolver.addresses("short.test").await.expect("an answer");
        resolver.addresses("short.test").await.expect("an answer");
        assert_eq!(server.asked(), 3);
    }

    #[tokio::test]
    async fn valid_replaces_the_lifetime() {
        let server = Server::start(|asked| vec![asked.answer(0, &[&[10, 0, 0, 1]])]);
        let resolver = server.resolver(|conf| conf.valid = Some(Duration::from_secs(60)));
        for _ in 0..3 {
            resolver.addresses("a.test").await.expect("an answer");
        }
        assert_eq!(server.asked(), 1);
    }

    #[tokio::test]
    async fn both_families_are_asked_for_and_ipv4_comes_first() {
        let six = "2001:db8::1".parse::<std::net::Ipv6Addr>();
        let six = six.expect("an address").octets();
        let server = Server::start(move |asked| match asked.kind {
            AAAA => vec![asked.answer(60, &[&six])],
            _ => vec![asked.answer(60, &[&[10, 0, 0, 1]])],
        });
        let resolver = server.resolver(|conf| conf.ipv6 = true);
        let answer = resolver.addresses("a.test").await.expect("an answer");
        assert_eq!(addresses(&answer), ["10.0.0.1:0", "[2001:db8::1]:0"]);
        let resolver = server.resolver(|conf| (conf.ipv4, conf.ipv6) = (false, true));
        let answer = resolver.addresses("a.test").await.expect("an answer");
        assert_eq!(addresses(&answer), ["[2001:db8::1]:0"]);
        assert_eq!(server.asked(), 3);
    }

    #[tokio::test]
    async fn all_who_ask_at_once_share_one_question() {
        let server = Server::start(|asked| vec![asked.answer(0, &[&[10, 0, 0, 1]])]);
        let resolver = server.resolver(|_| {});
        let mut tasks = JoinSet::new();
        for _ in 0..20 {
            let resolver = resolver.clone();
            tasks.spawn(async move { resolver.addresses("a.test").await });
        }
        while let Some(outcome) = tasks.join_next().await {
            outcome.expect("no panic").expect("an answer");
        }
        assert_eq!(server.asked(), 1);
    }

    #[tokio::test]
    async fn no_such_name_is_remembered_and_a_failure_is_not() {
        let server = Server::start(|asked| {
            let code = if asked.name == "none.test" { 3 } else { 2 };
            vec![asked.reply(code, 0, &[])]
        });
        let resolver = server.resolver(|conf| conf.timeout = Duration::from_secs(1));
        for _ in 0..3 {
            let outcome = resolver.addresses("none.test").await;
            assert_eq!(outcome.err(), Some(ResolveError::NotFound));
        }
        assert_eq!(server.asked(), 1);
        let fails = resolver.addresses("fails.test").await;
        assert_eq!(fails.err(), Some(ResolveError::ServerFailure));
        let asked = server.asked();
        let fails = resolver.addresses("fails.test").await;
        assert_eq!(fails.err(), Some(ResolveError::ServerFailure));
        assert!(server.asked() > asked);
    }

    #[tokio::test]
    async fn an_answer_that_ran_out_serves_while_the_server_fails_but_not_when_the_name_is_gone() {
        let mut turn = 0;
        let server = Server::start(move |asked| {
            turn += 1;
            vec![match (turn, &*asked.name) {
                (_, "gone.test") if turn > 1 => asked.reply(3, 0, &[]),
                (1, _) => asked.answer(0, &[&[10, 0, 0, 1]]),
                _ => asked.reply(2, 0, &[]),
            }]
        });
        let resolver = server.resolver(|conf| conf.timeout = Duration::from_secs(1));
        resolver.addresses("a.test").await.expect("an answer");
        let answer = resolver.addresses("a.test").await.expect("the old answer");
        assert_eq!(addresses(&answer), ["10.0.0.1:0"]);
        let gone = resolver.addresses("gone.test").await;
        assert_eq!(gone.err(), Some(ResolveError::NotFound));
    }

    #[tokio::test]
    async fn a_silent_server_ends_in_a_timeout() {
        let server = Server::start(|_| Vec::new());
        let resolver = server.resolver(|conf| conf.timeout = Duration::from_millis(50));
        let outcome = resolver.addresses("a.test").await;
        assert_eq!(outcome.err(), Some(ResolveError::TimedOut));
    }

    #[tokio::test]
    async fn aliases_are_followed_and_a_circle_of_them_ends() {
        let server = Server::start(|asked| {
            let alias = |to: &str| vec![asked.reply(0, 60, &[(CNAME, &encoded(to))])];
            match &*asked.name {
                "alias.test" => alias("real.test"),
                "one.test" => alias("two.test"),
                "two.test" => alias("one.test"),
                _ => vec![asked.answer(60, &[&[10, 0, 0, 9]])],
            }
        });
        let resolver = server.resolver(|_| {});
        let answer = resolver.addresses("alias.test").await.expect("an answer");
        assert_eq!(addresses(&answer), ["10.0.0.9:0"]);
        let outcome = resolver.addresses("one.test").await;
        assert_eq!(outcome.err(), Some(ResolveError::NotFound));
        assert!(server.asked() < 40);
    }

    #[tokio::test]
    async fn forged_and_broken_datagrams_are_passed_over() {
        let server = Server::start(|asked| {
            let mut forged = asked.answer(60, &[&[6, 6, 6, 6]]);
            forged[0] ^= 0xff;
            let other = Asked {
                section: [&encoded("other.test")[..], &[0, 1, 0, 1]].concat(),
                id: asked.id,
                name: String::new(),
                kind: A,
            };
            vec![
                vec![0],
                b"not a message at all".to_vec(),
                forged,
                other.answer(60, &[&[6, 6, 6, 6]]),
                asked.answer(60, &[&[10, 0, 0, 1]]),
            ]
        });
        let resolver = server.resolver(|_| {});
        let answer = resolver.addresses("a.test").await.expect("an answer");
        assert_eq!(addresses(&answer), ["10.0.0.1:0"]);
    }

    #[tokio::test]
    async fn a_service_gives_ports_weights_and_backups() {
        let server = Server::start(|asked| {
            let service = |priority: u8, weight: u8, port: u8, target: &str| {
                let mut data = vec![0, priority, 0, weight, 0, port];
                data.extend(encoded(target));
                data
            };
            match (&*asked.name, asked.kind) {
                ("_http._tcp.a.test", SRV) => {
                    let (one, two, three) = (
                        service(10, 5, 80, "one.test"),
                        service(20, 1, 81, "two.test"),
                        service(10, 0, 82, "one.test"),
                    );
                    vec![asked.answer(60, &[&one, &two, &three])]
                }
                ("one.test", A) => vec![asked.answer(60, &[&[10, 0, 0, 1]])],
                ("two.test", A) => vec![asked.answer(60, &[&[10, 0, 0, 2]])],
                _ => vec![asked.reply(3, 0, &[])],
            }
        });
        let resolver = server.resolver(|_| {});
        let answer = resolver.targets("http", "a.test").await.expect("an answer");
        let found: Vec<_> = answer
            .addresses
            .iter()
            .map(|it| (it.address.to_string(), it.weight, it.is_backup))
            .collect();
        assert_eq!(
            found,
            [
                ("10.0.0.1:80".to_owned(), Some(5), false),
                ("10.0.0.1:82".to_owned(), Some(1), false),
                ("10.0.0.2:81".to_owned(), Some(1), true),
            ]
        );
        let none = resolver.targets("other.dotted", "a.test").await;
        assert_eq!(none.err(), Some(ResolveError::NotFound));
    }

    #[tokio::test]
    async fn literal_addresses_and_the_system_need_no_server() {
        let resolver = Resolver::new(None, Handle::current());
        for (host, address) in [
            ("127.0.0.1", "127.0.0.1:0"),
            ("::1", "[::1]:0"),
            ("[::1]", "[::1]:0"),
        ] {
            let answer = resolver.addresses(host).await.expect("an answer");
            assert_eq!(addresses(&answer), [address]);
        }
        let answer = resolver.addresses("localhost").await.expect("an answer");
        assert_eq!(answer.addresses[0].address.ip(), Ipv4Addr::LOCALHOST);
    }

    #[tokio::test]
    async fn names_that_cannot_be_asked_for_are_refused_at_once() {
        let server = Server::start(|_| Vec::new());
        let resolver = server.resolver(|_| {});
        let long_label = format!("{}.test", "a".repeat(64));
        for host in ["", ".", "a..test", &long_label, &"a.".repeat(200)] {
            let outcome = resolver.addresses(host).await;
            assert_eq!(outcome.err(), Some(ResolveError::Malformed), "{host}");
        }
        assert_eq!(server.asked(), 0);
    }

    #[test]
    fn workers_ask_on_a_runtime_that_is_not_theirs_and_fail_when_it_is_gone() {
        let server = Server::start(|asked| vec![asked.answer(0, &[&[10, 0, 0, 1]])]);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (give, given) = std::sync::mpsc::channel();
        let address = server.address;
        let background = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }.enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let conf = conf::Resolver {
                    servers: vec![address],
                    valid: None,
                    ipv4: true,
                    ipv6: false,
                    timeout: Duration::from_secs(30),
                };
                let resolver = Resolver::new(Some(&conf), Handle::current());
                give.send(resolver).expect("somebody takes it");
                let _ = stopped.await;
            });
        });
        let resolver = given.recv().expect("a resolver");
        let ask = |resolver: Resolver, host: &'static str| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build_local(Default::default())
                .expect("a runtime");
            runtime.block_on(resolver.addresses(host))
        };
        let other = resolver.clone();
        let asked = std::thread::spawn(move || ask(other, "a.test").is_ok());
        assert!(asked.join().expect("no panic"));
        assert!(ask(resolver.clone(), "b.test").is_ok());
        drop(stop);
        background.join().expect("no panic");
        let gone = ask(resolver, "c.test");
        assert_eq!(gone.err(), Some(ResolveError::ServerFailure));
    }

    #[test]
    fn no_more_names_are_remembered_than_there_is_room_for() {
        let now = Instant::now();
        let mut known = HashMap::default();
        for number in 0..CAPACITY + 5 {
            make_room(&mut known, now);
            known.insert(
                Question::Host(number.to_string().into()),
                Known {
                    outcome: Some(Err(ResolveError::NotFound)),
                    fresh_until: now + Duration::from_secs(number as u64 + 1),
                    asked: None,
                },
            );
        }
        assert_eq!(known.len(), CAPACITY);
        assert!(!known.contains_key(&Question::Host("0".into())));
        assert!(known.contains_key(&Question::Host("5".into())));
    }
}
