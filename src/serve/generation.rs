//! One configuration at run time: what all workers share ([`Generation`]), and what each worker
//! makes of it for itself ([`Local`]).
//!
//! A generation is built completely, or not at all, before anything of it is used. A request holds
//! the [`Local`] that it began with until its end, so a reload changes no request half-way; the last
//! reference to an old generation is the end of its last request.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fmt;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::runtime::Handle;

use super::account;
use super::gateway;
use super::health::{self, Check};
use super::peer_http2;
use super::proxy::Plan;
use super::proxy_fields::Url;
use crate::access::auto_bans;
use crate::access::limits::Zones;
use crate::access::login::provider::Provider;
use crate::acme::manager::Manager;
use crate::acme::status::State;
use crate::cache::zone::Zone;
use crate::conf::typed::access::Login;
use crate::conf::typed::acme::Order;
use crate::conf::typed::listen::Address;
use crate::conf::typed::llm_money::Owner;
use crate::conf::typed::location::{Handler, Location, Server, Settings, Statement};
use crate::conf::typed::log::Level;
use crate::conf::typed::process::Process;
use crate::conf::typed::tls::Certificate;
use crate::conf::typed::upstream as conf;
use crate::conf::typed::{Config, Http};
use crate::http::exchange::{Connection, Exchange};
use crate::http::places;
use crate::llm::account::Limits;
use crate::llm::books::SharedLimit;
use crate::llm::refusal::Scope;
use crate::llm::tariff::Tariff;
use crate::log::{self, ErrorLogs, OpenAccessLog, error_log};
use crate::metrics::cache::{self, ListedCache};
use crate::metrics::prometheus::{Listed, ListedCertificate, ListedGroup};
use crate::metrics::registry;
use crate::metrics::traffic::{self, RouteId, RouteKey};
use crate::net::resolver::Resolver;
use crate::route::table::RouteTable;
use crate::tls::client::Connectors;
use crate::tls::computed::Computed;
use crate::tls::facts::Facts;
use crate::tls::files::Files;
use crate::tls::placeholder::placeholder;
use crate::tls::resumption::{self, Resumption};
use crate::tls::slot::Slot;
use crate::tls::standing::{self, Standings};
use crate::tls::stapling::Staple;
use crate::tls::stream::Stream;
use crate::tls::terminator::Terminator;
use crate::unit::{clock, secret};
use crate::upstream::group::{Group, Peers, Selected};
use crate::upstream::health::Condition;
use crate::upstream::multiplexed::Multiplexed;
use crate::upstream::pool::{Idle, Pool};
use crate::upstream::refresh::Names;

/// A configuration in force.
#[derive(Debug)]
pub struct Generation {
    /// Counts the configurations that were built, from 1.
    pub number: u64,
    /// The typed configuration.
    pub http: Arc<Http>,
    /// What concerns the process.
    pub process: Process,
    /// Which server, which location.
    pub routes: RouteTable,
    /// By [`Settings::id`].
    places: Vec<Place>,
    /// What the limits know of clients.
    pub zones: Zones,
    /// By position in [`Http::upstreams`].
    peers: Vec<Arc<Peers>>,
    /// The active checks of these.
    checks: Vec<Arc<Check>>,
    /// Names of groups in lower case, for `proxy_pass` with variables.
    groups: HashMap<Box<[u8]>, usize>,
    listens: HashMap<Address, usize>,
    /// By position in [`crate::conf::typed::llm::Llm::providers`].
    pub llm_providers: Vec<gateway::ask::Provider>,
    /// What calls of language models cost.
    pub llm_tariff: Tariff,
    /// For how many days bodies of calls are kept at most, if any are (`llm_log`).
    pub llm_log_days: Option<u32>,
    /// By position in [`Http::caches`].
    caches: Vec<Arc<Zone>>,
    /// By position in [`Http::servers`]: what servers with TLS offer.
    terminators: Vec<Option<Terminator>>,
    /// What lets clients take up their sessions again.
    pub resumption: Resumption,
    /// `ssl_ocsp_cache`: what was answered about clients, by the names of the places.
    standings: Vec<(Box<str>, Arc<standing::Zone>)>,
    /// The certificates that we get ourselves.
    pub acme: Arc<Manager>,
    /// The certificates that stand in files.
    pub files: Arc<Files>,
    /// One for each `resolver` that was written.
    resolvers: Vec<(Arc<conf::Resolver>, Resolver)>,
    system_resolver: Resolver,
    /// What was amended while building, for the log.
    pub warnings: Vec<String>,
    /// Has a worker taken it into use?
    has_served: AtomicBool,
}

/// What is opened and compiled for one place.
#[derive(Debug)]
struct Place {
    route: RouteId,
    access: Arc<[OpenAccessLog]>,
    errors: ErrorLogs,
    plan: Option<Plan>,
}

/// Why a generation could not be built.
#[derive(Debug)]
pub struct BuildError(String);

impl fmt::Display for BuildError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for BuildError {}

impl Generation {
    /// Builds everything that a configuration needs to serve, but for its sockets. What is known of
    /// the peers of the generation before is taken over.
    /// Names are asked for on the runtime `background`; `files` holds the certificates that stand in
    /// files, `acme` those that do not.
    pub fn build(
        config: Config,
        number: u64,
        previous: Option<&Self>,
        background: &Handle,
        files: &Arc<Files>,
        acme: &Arc<Manager>,
    ) -> Result<Arc<Self>, BuildError> {
        let http = Arc::new(config.http);
        let mut all: Vec<(RouteId, Arc<Settings>)> = Vec::new();
        for server in &http.servers {
            let route = route(server, String::new());
            all.push((route, Arc::clone(&server.settings)));
            collect_statements(&server.statements, route, &mut all);
            collect_locations(server, &server.locations, &mut all);
        }
        all.sort_by_key(|(_, settings)| settings.id);
        all.dedup_by_key(|(_, settings)| settings.id);
        let llm_log_days = all
            .iter()
            .filter_map(|(_, settings)| match &settings.handler {
                Handler::Gateway { log: Some(log), .. } => Some(log.days),
                _ => None,
            });
        let llm_log_days = llm_log_days.max();
        let mut opened = Vec::new();
        let mut connectors = Connectors::default();
        let mut places = Vec::with_capacity(all.len());
        for (route, settings) in &all {
            let failed = |error: log::OpenError| BuildError(error.to_string());
            let place = Place {
                route: *route,
                access: log::open_access(&settings.access_logs, &mut opened).map_err(failed)?,
                errors: log::open_errors(&settings.error_logs, &mut opened).map_err(failed)?,
                plan: match &settings.handler {
                    Handler::Proxy(proxy) => Some(Plan::new(proxy, &mut connectors)),
                    Handler::Files
                    | Handler::StubStatus
                    | Handler::Metrics(_)
                    | Handler::Gateway { .. } => None,
                },
            };
            debug_assert_eq!(
                places.len(),
                settings.id,
                "settings are counted without a gap"
            );
            places.push(place);
        }
        let databases: BTreeSet<&Path> = http.places.iter().map(|place| &*place.path).collect();
        let unread: Vec<String> = databases
            .into_iter()
            .filter_map(|path| {
                let why = places::load(path).err()?;
                Some(format!(
                    "database \"{}\" cannot be read: {why}",
                    path.display()
                ))
            })
            .collect();
        let mut resolvers: Vec<(Arc<conf::Resolver>, Resolver)> = Vec::new();
        let written = (all.iter()).filter_map(|(_, settings)| settings.resolver.as_ref());
        for written in written.chain(
            http.upstreams
                .iter()
                .filter_map(|upstream| upstream.resolver.as_ref()),
        ) {
            if !resolvers.iter().any(|(known, _)| known == written) {
                resolvers.push((
                    Arc::clone(written),
                    Resolver::new(Some(written), background.clone()),
                ));
            }
        }
        let peers = http
            .upstreams
            .iter()
            .map(|upstream| {
                let before = previous.and_then(|previous| {
                    previous
                        .peers
                        .iter()
                        .find(|peers| peers.upstream().name == upstream.name)
                        .map(|peers| &**peers)
                });
                Arc::new(Peers::new(Arc::clone(upstream), before))
            })
            .collect::<Vec<_>>();
        let groups = http
            .upstreams
            .iter()
            .enumerate()
            .filter(|(_, upstream)| !upstream.is_implicit)
            .map(|(position, upstream)| {
                (
                    upstream.name.to_ascii_lowercase().into_bytes().into(),
                    position,
                )
            })
            .collect();
        let listens = http
            .listens
            .iter()
            .enumerate()
            .map(|(position, listen)| (listen.address.clone(), position))
            .collect();
        opened.dedup_by_key(|warning| warning.to_string());
        let mut warnings: Vec<_> = opened.iter().map(ToString::to_string).collect();
        let llm_providers: Vec<_> = (http.llm.providers.iter())
            .map(|provider| gateway::ask::Provider::new(provider, &mut connectors))
            .collect();
        warnings.extend(llm_providers.iter().flat_map(|provider| {
            let name = &provider.conf.name;
            (provider.troubles())
                .map(move |why| format!("no key for the provider \"{name}\": {why}"))
        }));
        warnings.extend(connectors.failures().map(|reason| reason.to_string()));
        warnings.extend(unread);
        let plan_of = |settings: &Settings| places.get(settings.id)?.plan.as_ref();
        let checks = health::checks(&http, &peers, plan_of, &mut warnings);
        let mut resumption = Resumption::following(previous.map(|previous| &previous.resumption));
        let mut terminators = Vec::with_capacity(http.servers.len());
        let mut standings_zones = Vec::new();
        let system_resolver = Resolver::new(None, background.clone());
        for server in &http.servers {
            let before = previous.map(|previous| &previous.resumption);
            let written = server
                .tls
                .as_ref()
                .and_then(|tls| tls.client_status.as_ref());
            let standings = written.map(|written| {
                let zone = written.cache.as_ref().map(|(name, most)| {
                    let known = previous.map_or(&[][..], |previous| &previous.standings);
                    let find = |zones: &[(Box<str>, Arc<standing::Zone>)]| {
                        let mut zones = zones.iter();
                        let found =
                            zones.find(|(known, zone)| known == name && zone.most() == *most);
                        found.map(|(_, zone)| Arc::clone(zone))
                    };
                    find(&standings_zones).unwrap_or_else(|| {
                        let zone = find(known).unwrap_or_else(|| standing::Zone::new(*most));
                        standings_zones.push((name.clone(), Arc::clone(&zone)));
                        zone
                    })
                });
                let asked = server.settings.resolver.as_ref();
                let resolver = asked.and_then(|asked| {
                    let found = resolvers.iter().find(|(known, _)| known == asked);
                    found.map(|(_, resolver)| resolver.clone())
                });
                let resolver = resolver.unwrap_or_else(|| system_resolver.clone());
                Standings::new(written, zone, resolver, background.clone()).map_err(|error| {
                    BuildError(format!("OCSP responders cannot be asked: {error}"))
                })
            });
            terminators.push(terminator(
                server,
                files,
                acme,
                &mut resumption,
                before,
                standings.transpose()?,
                &mut warnings,
            )?);
        }
        // What is stored survives a change of everything but the zone itself.
        let known = previous.map_or(&[][..], |previous| &previous.caches);
        let caches = http.caches.iter().map(|conf| {
            let kept = known.iter().find(|zone| zone.may_become(conf));
            kept.map_or_else(
                || Zone::new(Arc::clone(conf), error_log::report),
                Arc::clone,
            )
        });
        Ok(Arc::new(Self {
            number,
            routes: RouteTable::new(&http),
            llm_providers,
            llm_tariff: Tariff::new(&http.llm.rules.prices),
            llm_log_days,
            caches: caches.collect(),
            zones: Zones::new(&http.limit_zones, previous.map(|previous| &previous.zones)),
            http,
            process: config.process,
            places,
            peers,
            checks,
            groups,
            listens,
            terminators,
            resumption,
            acme: Arc::clone(acme),
            files: Arc::clone(files),
            resolvers,
            system_resolver,
            standings: standings_zones,
            warnings,
            has_served: AtomicBool::new(false),
        }))
    }

    /// Which `listen` of this generation a connection came in by: it was accepted from the socket
    /// of one address and sent to another, which may be named more exactly.
    pub fn listen(&self, socket: &Address, local: &Address) -> Option<usize> {
        let find = |address| self.listens.get(address).copied();
        if socket == local {
            return find(socket);
        }
        find(local).or_else(|| find(socket))
    }

    /// Is TLS spoken where this connection came in?
    pub fn is_secure(&self, socket: &Address, local: &Address) -> bool {
        let listen = self.listen(socket, local);
        listen.is_some_and(|listen| self.http.listens[listen].options.ssl)
    }

    /// Does a connection that came in here begin with a header of the PROXY protocol?
    pub fn is_proxied(&self, socket: &Address, local: &Address) -> bool {
        let listen = self.listen(socket, local);
        listen.is_some_and(|listen| self.http.listens[listen].options.proxy_protocol)
    }

    /// What a server offers to clients with TLS.
    pub fn terminator(&self, server: usize) -> Option<&Terminator> {
        self.terminators.get(server)?.as_ref()
    }

    /// Has the certificates cared for that its servers want; once it is in force.
    pub fn attend(&self) {
        let servers = self.http.servers.iter();
        let rules = servers.filter_map(|server| server.tls.as_ref()?.on_demand.clone());
        self.acme.attend(&self.orders(), &rules.collect::<Vec<_>>());
    }

    /// What groups, gateways and models may use, as the books take it.
    pub fn llm_limits(&self) -> Vec<SharedLimit> {
        let limits = self.http.llm.rules.limits.iter();
        let taken = limits.map(|limit| SharedLimit {
            scope: match limit.owner {
                Owner::Group => Scope::Group,
                Owner::Gateway => Scope::Gateway,
                Owner::Model => Scope::Model,
            },
            name: limit.name.clone(),
            limits: Limits {
                rpm: limit.rpm,
                tpm: limit.tpm,
                concurrency: limit.concurrency,
            },
            budgets: limit.budgets,
        });
        taken.collect()
    }

    /// The certificates that its servers want from elsewhere than files.
    fn orders(&self) -> Vec<Arc<Order>> {
        let servers = self.http.servers.iter();
        let offered = servers.filter_map(|server| server.tls.as_ref());
        offered
            .flat_map(|tls| &tls.certificates)
            .filter_map(|certificate| match certificate {
                Certificate::Managed(order) => Some(Arc::clone(order)),
                Certificate::Files(_) | Certificate::Computed { .. } => None,
            })
            .collect()
    }

    /// The certificates whose status is sent along, each once; that of others is not sent any more.
    pub fn staples(&self) -> Vec<Staple> {
        let mut staples: Vec<Staple> = Vec::new();
        for (server, terminator) in self.http.servers.iter().zip(&self.terminators) {
            let (Some(tls), Some(terminator)) = (&server.tls, terminator) else {
                continue;
            };
            let written = server.settings.resolver.as_ref();
            let resolver = written.map(|written| self.resolver(written));
            for staple in Staple::of(tls, terminator.slots(), resolver.as_ref()) {
                if !staples.iter().any(|known| known.has_slot_of(&staple)) {
                    staples.push(staple);
                }
            }
        }
        let slots = self.terminators.iter().flatten().map(Terminator::slots);
        for slot in slots.flatten() {
            if !staples.iter().any(|staple| staple.is_of(slot)) {
                slot.forget_status();
            }
        }
        staples
    }

    /// The names in the `upstream {}` blocks: to be looked up before the generation is used, then kept.
    pub fn names(&self) -> Names {
        Names::new(&self.peers, |written| match written {
            Some(written) => self.resolver(written),
            None => self.system_resolver.clone(),
        })
    }

    /// The resolver of a place: its own, or the system's.
    pub fn resolver_of(&self, settings: &Settings) -> Resolver {
        match &settings.resolver {
            Some(written) => self.resolver(written),
            None => self.system_resolver.clone(),
        }
    }

    /// The resolver made for a `resolver` line.
    fn resolver(&self, written: &Arc<conf::Resolver>) -> Resolver {
        let known = self.resolvers.iter().find(|(known, _)| known == written);
        known
            .map_or(&self.system_resolver, |(_, resolver)| resolver)
            .clone()
    }

    /// The zone of a `proxy_cache_path`, by its position in [`Http::caches`].
    pub fn cache(&self, position: usize) -> Option<&Arc<Zone>> {
        self.caches.get(position)
    }

    /// The zones of the cache keep to what this generation says of them, in threads that begin with
    /// a call of `begin`.
    pub fn start_caches(&self, begin: fn()) {
        for (zone, conf) in self.caches.iter().zip(&self.http.caches) {
            zone.become_like(conf);
            zone.start(begin);
        }
    }

    /// What the zones of the cache have and did, for [`crate::metrics::prometheus`].
    pub fn listed_caches(&self) -> Vec<ListedCache> {
        let listed = self.caches.iter().map(|zone| {
            let extent = zone.extent();
            let totals = cache::totals(zone.id);
            let figures = &zone.figures;
            ListedCache {
                zone: zone.conf().name.to_string(),
                entries: extent.entries,
                size_bytes: extent.bytes,
                memory_bytes: extent.bytes_in_memory,
                results: totals.results,
                saved_bytes: totals.saved,
                stored: figures.stored.load(Relaxed),
                evicted: figures.evicted.load(Relaxed),
                inactive: figures.expired.load(Relaxed),
                purged: figures.purged.load(Relaxed),
                abandoned: figures.abandoned.load(Relaxed),
                disk_errors: figures.disk_errors.load(Relaxed),
                broken: figures.broken.load(Relaxed),
            }
        });
        listed.collect()
    }

    /// Every zone of the cache.
    pub fn caches(&self) -> &[Arc<Zone>] {
        &self.caches
    }

    /// What the requests that end in a place of this generation are counted as; the same for a
    /// location and all that stands in its block but other locations.
    pub fn route_id(&self, settings: &Settings) -> RouteId {
        let place = self.places.get(settings.id);
        place.map_or(RouteId::OTHER, |place| place.route)
    }

    /// What the configuration says of each peer, for [`crate::metrics::prometheus`].
    pub fn listed_peers(&self) -> Vec<Listed> {
        self.peers
            .iter()
            .flat_map(|peers| {
                let table = peers.table();
                let all = table.primary.iter().chain(&table.backup);
                let listed = all.map(|peer| Listed {
                    peer: peer.traffic_id,
                    is_down: peer.is_down,
                    is_draining: peer.is_draining,
                    held: match (peer.condition, &peer.watched) {
                        (Condition::Unhealthy, _) => Some("unhealthy"),
                        (Condition::Checking, _) => Some("checking"),
                        (_, Some(watched)) if !watched.circuit().is_closed() => Some("ejected"),
                        _ => None,
                    },
                    checks: (peers.record(peer.server, &peer.address))
                        .map(|record| [record.checks - record.failures, record.failures]),
                });
                listed.collect::<Vec<_>>()
            })
            .collect()
    }

    /// The groups with a circuit or a queue, for [`crate::metrics::prometheus`].
    pub fn listed_groups(&self) -> Vec<ListedGroup> {
        let listed = self.peers.iter().map(|peers| {
            let (waiting, refused) = peers.waiting();
            let report = peers.breaker(clock::now());
            ListedGroup {
                upstream: peers.upstream().name.to_string(),
                breaker: report.map(|report| (report.phase.word(), report.opened)),
                queue: (peers.upstream().queue).map(|_| (waiting as u64, refused)),
            }
        });
        listed
            .filter(|group| group.breaker.is_some() || group.queue.is_some())
            .collect()
    }

    /// The certificates of the configuration, for [`crate::metrics::prometheus`]. Reads each.
    pub fn listed_certificates(&self) -> Vec<ListedCertificate> {
        let listed = |name: Option<&str>, facts: Option<&Facts>, failures| ListedCertificate {
            name: name.unwrap_or_default().to_owned(),
            key: facts.map_or_else(String::new, |facts| facts.key.clone()),
            expiry: facts.map_or(0, |facts| {
                u64::try_from(facts.not_after).unwrap_or_default()
            }),
            failures,
        };
        let managed = self.acme.statuses().into_iter().map(|status| {
            let failures = match status.state {
                State::Failed { attempts } => attempts,
                _ => 0,
            };
            let name = status.names.first().map(|name| &**name);
            listed(name, status.facts.as_ref(), failures)
        });
        let files = self.files.list().into_iter().map(|status| {
            let held = &status.held;
            let der = held.certified.cert.first();
            let facts = der
                .filter(|_| held.lacking.is_none())
                .and_then(|der| Facts::read(der));
            let own = facts.as_ref().and_then(|facts| {
                let address = facts.addresses.first().map(ToString::to_string);
                facts.dns_names.first().cloned().or(address)
            });
            let path = status.pair.certificate.display().to_string();
            listed(Some(&own.unwrap_or(path)), facts.as_ref(), 0)
        });
        managed.chain(files).collect()
    }

    /// The active checks of its peers.
    pub fn checks(&self) -> &[Arc<Check>] {
        &self.checks
    }

    /// The peers of every upstream, for those who resolve names and check health.
    pub fn peers(&self) -> &[Arc<Peers>] {
        &self.peers
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        // Tools that drive nginx wait for this phrase after a reload. A generation that was only
        // tested, or could not be put into force, has nothing to tell.
        if *self.has_served.get_mut() {
            error_log::report(
                Level::Notice,
                format_args!("generation {} exited with code 0", self.number),
            );
        }
    }
}

/// What a server offers to clients with TLS. A certificate that cannot be used harms no other server:
/// a placeholder stands in for it.
fn terminator(
    server: &Server,
    files: &Files,
    acme: &Manager,
    resumption: &mut Resumption,
    previous: Option<&Resumption>,
    standings: Option<Standings>,
    warnings: &mut Vec<String>,
) -> Result<Option<Terminator>, BuildError> {
    let Some(tls) = &server.tls else {
        return Ok(None);
    };
    let mut slots = Vec::new();
    let mut computed = Vec::new();
    for certificate in &tls.certificates {
        match certificate {
            Certificate::Files(named) => {
                let Some((slot, trouble)) = files.slot(named) else {
                    continue;
                };
                if let Some(error) = trouble
                    && slot.held().lacking.is_none()
                {
                    warnings.push(format!("{error}; the one from before is served on"));
                }
                slots.push(slot);
            }
            Certificate::Managed(order) => slots.extend(acme.slot(order)),
            Certificate::Computed {
                certificate,
                key,
                directory,
                passwords,
                span: _,
            } => computed.push(Computed::new(
                certificate.clone(),
                key.clone(),
                directory.clone(),
                passwords.clone(),
                tls.certificate_cache,
            )),
        }
    }
    let is_managed = |certificate: &Certificate| matches!(certificate, Certificate::Managed(_));
    let is_lacking = !tls.rejects && slots.iter().all(|slot| slot.held().lacking.is_some());
    let is_expected = tls.on_demand.is_some() || tls.certificates.iter().any(is_managed);
    if is_lacking && computed.is_empty() && !is_expected {
        let name = String::from_utf8_lossy(&server.primary_name);
        let why = format!("no certificate for server \"{name}\", a placeholder is served");
        warnings.push(why.clone());
        if slots.is_empty() {
            slots.extend(placeholder(why).map(Slot::new));
        }
    }
    let identity = resumption::identity(server, tls);
    let http2 = server.reading.http2_over_tls;
    Terminator::new(tls, slots, http2, identity, resumption, previous, warnings)
        .map(|terminator| Some(terminator.with_computed(computed).with_standings(standings)))
        .map_err(|error| BuildError(format!("TLS of a server cannot be set up: {error}")))
}

/// The number of a route of a server.
fn route(server: &Server, location: String) -> RouteId {
    let listen = server.listens.first().map(ToString::to_string);
    traffic::route_id(RouteKey {
        server: String::from_utf8_lossy(&server.primary_name).into(),
        listen: listen.unwrap_or_default().into(),
        location: location.into(),
    })
}

type Routed = (RouteId, Arc<Settings>);

fn collect_locations(server: &Server, locations: &[Location], all: &mut Vec<Routed>) {
    for location in locations {
        let route = route(server, location.kind.to_string());
        collect_settings(&location.settings, route, all);
        collect_locations(server, &location.children, all);
    }
}

fn collect_settings(settings: &Arc<Settings>, route: RouteId, all: &mut Vec<Routed>) {
    all.push((route, Arc::clone(settings)));
    if let Some(limits) = &settings.limit_except {
        collect_settings(&limits.settings, route, all);
    }
    collect_statements(&settings.statements, route, all);
}

fn collect_statements(statements: &[Statement], route: RouteId, all: &mut Vec<Routed>) {
    for statement in statements {
        if let Statement::If {
            statements,
            settings,
            ..
        } = statement
        {
            if let Some(settings) = settings {
                collect_settings(settings, route, all);
            }
            collect_statements(statements, route, all);
        }
    }
}

/// A worker's own part of a generation.
#[derive(Debug)]
pub struct Local {
    /// The shared part.
    pub generation: Arc<Generation>,
    upstreams: Vec<Rc<LocalUpstream>>,
    /// Groups made for addresses that a `proxy_pass` with variables came out as.
    dynamic: RefCell<HashMap<Box<[u8]>, Rc<LocalUpstream>>>,
    is_draining: Rc<Cell<bool>>,
    /// By name, made when first needed.
    providers: RefCell<HashMap<Box<str>, Rc<Provider>>>,
}

/// A group of peers with the connections that this worker keeps to them.
#[derive(Debug)]
pub struct LocalUpstream {
    /// The balance.
    pub group: Rc<Group>,
    pool: RefCell<Pool<Stream>>,
    /// Connections that carry many requests at a time.
    pub multiplexed: Multiplexed<peer_http2::Connection>,
}

/// So many groups are made for computed addresses before all are forgotten.
const MOST_DYNAMIC: usize = 1024;

impl LocalUpstream {
    fn new(peers: Arc<Peers>) -> Rc<Self> {
        let limits = &peers.upstream().keepalive;
        let pool = RefCell::new(Pool::new(limits.clone()));
        let multiplexed = Multiplexed::new(limits.clone());
        Rc::new(Self {
            group: Group::new(peers),
            pool,
            multiplexed,
        })
    }

    /// A kept connection to a peer that is still good.
    pub fn checkout(&self, selected: &Selected, kind: u64) -> Option<Idle<Stream>> {
        self.pool.borrow_mut().checkout(
            &selected.target().address,
            kind,
            clock::now(),
            Stream::is_quiet,
        )
    }

    /// Keeps a connection for the next request, if it may be kept.
    pub fn keep(&self, selected: &Selected, kind: u64, idle: Idle<Stream>) {
        let target = selected.target();
        // One that may not be kept is closed by being dropped.
        let _ = self.pool.borrow_mut().checkin(
            &target.address,
            kind,
            target.traffic_id,
            idle,
            clock::now(),
        );
    }
}

impl Local {
    /// A worker's part of a generation. Kept connections are dropped with the generation before: an
    /// upstream whose settings changed must not go on under the old ones.
    pub fn new(generation: Arc<Generation>, is_draining: Rc<Cell<bool>>) -> Rc<Self> {
        generation.has_served.store(true, Relaxed);
        registry::set_generation(generation.number);
        let upstreams = generation
            .peers
            .iter()
            .map(|peers| LocalUpstream::new(Arc::clone(peers)))
            .collect();
        Rc::new(Self {
            generation,
            upstreams,
            dynamic: RefCell::default(),
            is_draining,
            providers: RefCell::default(),
        })
    }

    /// The provider of a login, as this worker knows it. The error says why it cannot be asked.
    pub fn provider(
        &self,
        login: &Arc<Login>,
        exchange: &Exchange,
    ) -> Result<Rc<Provider>, String> {
        if let Some(known) = self.providers.borrow().get(&login.name) {
            return Ok(Rc::clone(known));
        }
        let resolver = self.generation.resolver_of(&exchange.settings);
        let made = Rc::new(Provider::new(Arc::clone(login), resolver)?);
        let name = login.name.clone();
        self.providers.borrow_mut().insert(name, Rc::clone(&made));
        Ok(made)
    }

    /// The upstream at a position of [`Http::upstreams`].
    pub fn upstream(&self, position: usize) -> Rc<LocalUpstream> {
        Rc::clone(&self.upstreams[position])
    }

    /// The upstream that a computed URL means: a group of that name, a literal address, or the
    /// addresses of a name that is looked up now. The error is a status.
    pub async fn dynamic(
        &self,
        exchange: &Exchange,
        url: &Url<'_>,
    ) -> Result<Rc<LocalUpstream>, u16> {
        let host = String::from_utf8_lossy(url.host).to_ascii_lowercase();
        if let Some(found) = self
            .generation
            .groups
            .get(host.as_bytes())
            .filter(|_| url.unix.is_none())
        {
            return Ok(self.upstream(*found));
        }
        let addresses: Vec<Address> = match (url.unix, host.parse()) {
            (Some(path), _) => vec![Address::Unix(OsStr::from_bytes(path).into())],
            (None, Ok(ip)) => vec![Address::Ip(SocketAddr::new(ip, url.port))],
            (None, Err(_)) => {
                let Some(written) = &exchange.settings.resolver else {
                    self.log(
                        exchange,
                        Level::Error,
                        format_args!("no resolver defined to resolve {host}"),
                    );
                    return Err(502);
                };
                match self.generation.resolver(written).addresses(&host).await {
                    Ok(answer) => answer
                        .addresses
                        .iter()
                        .map(|found| Address::Ip(SocketAddr::new(found.address.ip(), url.port)))
                        .collect(),
                    Err(error) => {
                        self.log(
                            exchange,
                            Level::Error,
                            format_args!("{host} could not be resolved ({error})"),
                        );
                        return Err(502);
                    }
                }
            }
        };
        let mut key = url.host_and_port.to_vec();
        for address in &addresses {
            key.extend_from_slice(format!(" {address}").as_bytes());
        }
        let mut dynamic = self.dynamic.borrow_mut();
        if let Some(found) = dynamic.get(&key[..]) {
            return Ok(Rc::clone(found));
        }
        if dynamic.len() >= MOST_DYNAMIC {
            dynamic.clear();
        }
        let name = String::from_utf8_lossy(url.host_and_port);
        let made = LocalUpstream::new(Arc::new(Peers::of_addresses(&name, &addresses)));
        dynamic.insert(key.into(), Rc::clone(&made));
        Ok(made)
    }

    /// The compiled proxy of a place.
    pub fn plan(&self, settings: &Settings) -> Option<&Plan> {
        self.generation.places.get(settings.id)?.plan.as_ref()
    }

    /// Writes a line about a request to the error log of the place where it stands.
    pub fn log(&self, exchange: &Exchange, level: Level, message: fmt::Arguments<'_>) {
        if let Some(place) = self.generation.places.get(exchange.settings.id) {
            error_log::write(&place.errors, level, None, message, Some(exchange));
        }
    }

    /// Writes a line about a connection as a whole to the log of its default server.
    pub fn log_connection(
        &self,
        server: &Server,
        connection: &Connection,
        level: Level,
        message: fmt::Arguments<'_>,
    ) {
        if let Some(place) = self.generation.places.get(server.settings.id) {
            error_log::write(
                &place.errors,
                level,
                Some(connection.serial),
                format_args!(
                    "{message}, client: {}, server: {}",
                    connection.remote_text, connection.local
                ),
                None,
            );
        }
    }

    /// What a request leaves behind that ended: its lines in the access log, and itself among what is
    /// counted, both in the place where it stands now.
    pub fn finish(&self, exchange: &mut Exchange) {
        // First, so that its line in the log says what came of it.
        if let Some(rules) = &exchange.settings.auto_bans {
            let rules = Arc::clone(rules);
            if let Some(ban) = auto_bans::count(&rules, exchange) {
                let (network, reason) = (ban.network, &ban.reason);
                self.log(
                    exchange,
                    Level::Warn,
                    format_args!("{network} is kept out: {reason}"),
                );
            }
        }
        // The request is over: from here on it is only told of. What follows its head is the next one's.
        let head = &mut exchange.head;
        let length = head.length.min(head.fields.bytes.len());
        secret::hide(&mut head.fields.bytes[..length]);
        secret::hide(&mut exchange.args);
        secret::hide(&mut exchange.path);
        if let Some(place) = self.generation.places.get(exchange.settings.id) {
            log::access_log::write(&place.access, exchange);
            account::count(place.route, exchange);
        }
    }

    /// Are connections to be closed after their answer?
    pub fn is_draining(&self) -> bool {
        self.is_draining.get()
    }

    /// Closes kept connections that were idle for too long.
    pub fn sweep(&self) {
        let now = clock::now();
        let dynamic = self.dynamic.borrow();
        for upstream in self.upstreams.iter().chain(dynamic.values()) {
            upstream.pool.borrow_mut().sweep(now);
            upstream
                .multiplexed
                .sweep(now, peer_http2::Connection::is_over);
        }
    }

    /// Closes all kept connections.
    pub fn close_idle_peers(&self) {
        for upstream in &self.upstreams {
            upstream.pool.borrow_mut().retain(|_| false);
            upstream.multiplexed.close();
        }
        self.dynamic.borrow_mut().clear();
    }

    /// How many connections to peers are kept.
    pub fn idle_peers(&self) -> usize {
        self.upstreams
            .iter()
            .map(|upstream| upstream.pool.borrow().len() + upstream.multiplexed.idle())
            .sum()
    }
}
