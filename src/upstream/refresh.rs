//! The names in `upstream {}` blocks: looked up together at the start, and again as they grow old.
//!
//! Owns when a name is asked for and what becomes of the answer; asking is
//! [`net::resolver`](crate::net::resolver)'s. A name that does not resolve costs its own group some
//! peers and nothing else: it is tried again, at first soon and then less often, until it resolves.
//! Names with `resolve` follow DNS for as long as the group lives; all others are looked up once, as
//! in nginx.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::group::{Peers, Resolved};
use crate::conf::typed::upstream::{self as conf, PeerAddress};
use crate::net::resolver::{Answer, ResolveError, Resolver};

/// The first wait before a name that did not resolve is tried again; it doubles each time.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// The longest wait.
const LAST_RETRY: Duration = Duration::from_secs(30);

/// A name is not asked for more often than this, whatever its answers say.
const LEAST_LIFETIME: Duration = Duration::from_secs(1);

/// The names of all groups of a configuration.
#[derive(Debug)]
pub struct Names {
    entries: Vec<Entry>,
    asked: JoinSet<(usize, Result<Answer, ResolveError>)>,
}

#[derive(Debug)]
struct Entry {
    peers: Arc<Peers>,
    server: usize,
    resolver: Resolver,
    /// When to ask; `None` while asked, and when there is nothing more to ask.
    due: Option<Instant>,
    retry: Duration,
    failure: Option<ResolveError>,
}

/// What happened to a name, for the log.
#[derive(Debug, Clone)]
pub struct NameEvent {
    /// The group.
    pub upstream: Arc<conf::Upstream>,
    /// Position of the `server` line.
    pub server: usize,
    /// What.
    pub kind: NameEventKind,
}

/// See [`NameEvent`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameEventKind {
    /// It does not resolve, for this reason; told once until the reason changes.
    Failed(ResolveError),
    /// It resolves to other addresses than before; how many.
    Changed(usize),
}

impl Names {
    /// The names of these groups, none looked up yet. `resolver_of` gives the resolver for a
    /// group's `resolver`.
    pub fn new(
        groups: &[Arc<Peers>],
        resolver_of: impl Fn(Option<&Arc<conf::Resolver>>) -> Resolver,
    ) -> Self {
        let mut entries = Vec::new();
        for peers in groups {
            let upstream = peers.upstream();
            for (server, line) in upstream.servers.iter().enumerate() {
                if matches!(line.address, PeerAddress::Name { .. }) {
                    entries.push(Entry {
                        peers: Arc::clone(peers),
                        server,
                        resolver: resolver_of(upstream.resolver.as_ref()),
                        due: Some(Instant::now()),
                        retry: FIRST_RETRY,
                        failure: None,
                    });
                }
            }
        }
        Self {
            entries,
            asked: JoinSet::new(),
        }
    }

    /// Is there no name at all?
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Looks all of them up at once, for no longer than `patience`. Those that are late or fail are
    /// told, and left to [`Self::keep`].
    pub async fn resolve(&mut self, patience: Duration) -> Vec<NameEvent> {
        let deadline = Instant::now() + patience;
        let mut events = Vec::new();
        self.ask_due();
        while let Ok(Some(asked)) = tokio::time::timeout_at(deadline, self.asked.join_next()).await
        {
            if let Ok((entry, outcome)) = asked {
                // At the start every address is new; that is nothing to tell.
                let event = self.entries[entry].settle(outcome);
                events.extend(event.filter(|it| matches!(it.kind, NameEventKind::Failed(_))));
            }
        }
        for entry in &mut self.entries {
            let is_late = entry.due.is_none()
                && entry.failure.is_none()
                && !self.asked.is_empty()
                && entry.is_unknown();
            if is_late {
                entry.failure = Some(ResolveError::TimedOut);
                events.push(entry.event(NameEventKind::Failed(ResolveError::TimedOut)));
            }
        }
        events
    }

    /// Keeps the names up to date; ends when none is left that could change.
    pub async fn keep(mut self, mut report: impl FnMut(NameEvent)) {
        loop {
            self.ask_due();
            let due = self.entries.iter().filter_map(|entry| entry.due).min();
            if due.is_none() && self.asked.is_empty() {
                return;
            }
            let sleep = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(asked) = self.asked.join_next() => {
                    if let Ok((entry, outcome)) = asked
                        && let Some(event) = self.entries[entry].settle(outcome)
                    {
                        report(event);
                    }
                }
                () = sleep => {}
            }
        }
    }

    fn ask_due(&mut self) {
        let now = Instant::now();
        for (position, entry) in self.entries.iter_mut().enumerate() {
            if entry.due.is_none_or(|due| due > now) {
                continue;
            }
            entry.due = None;
            let line = &entry.peers.upstream().servers[entry.server];
            let PeerAddress::Name { host, .. } = &line.address else {
                continue;
            };
            let (resolver, host, service) =
                (entry.resolver.clone(), host.clone(), line.service.clone());
            self.asked.spawn(async move {
                let outcome = match service {
                    None => resolver.addresses(&host).await,
                    Some(service) => resolver.targets(&service, &host).await,
                };
                (position, outcome)
            });
        }
    }
}

impl Entry {
    /// Has the name no address yet?
    fn is_unknown(&self) -> bool {
        let table = self.peers.table();
        let mut peers = table.primary.iter().chain(&table.backup);
        !peers.any(|peer| peer.server == self.server)
    }

    fn event(&self, kind: NameEventKind) -> NameEvent {
        NameEvent {
            upstream: Arc::clone(self.peers.upstream()),
            server: self.server,
            kind,
        }
    }

    /// Passes an outcome on to the peers, and says when to ask again.
    fn settle(&mut self, outcome: Result<Answer, ResolveError>) -> Option<NameEvent> {
        let line = &self.peers.upstream().servers[self.server];
        let now = Instant::now();
        match outcome {
            Ok(answer) => {
                let port = match &line.address {
                    PeerAddress::Name { port, .. } => *port,
                    PeerAddress::Ip(_) | PeerAddress::Unix(_) => 0,
                };
                let addresses: Vec<_> = answer
                    .addresses
                    .iter()
                    .map(|endpoint| {
                        let mut address = endpoint.address;
                        if line.service.is_none() {
                            address.set_port(port);
                        }
                        Resolved {
                            address,
                            weight: endpoint.weight,
                            is_backup: endpoint.is_backup,
                        }
                    })
                    .collect();
                let has_changed = self.peers.learn(self.server, &addresses);
                self.due = line
                    .resolve
                    .then(|| Instant::from_std(answer.expires).max(now + LEAST_LIFETIME));
                self.retry = FIRST_RETRY;
                self.failure = None;
                has_changed.then(|| self.event(NameEventKind::Changed(addresses.len())))
            }
            Err(error) => {
                // That a name is gone is an answer too, for one that follows DNS; as in nginx.
                if error == ResolveError::NotFound && line.resolve {
                    self.peers.learn(self.server, &[]);
                }
                self.due = Some(now + self.retry);
                self.retry = (self.retry * 2).min(LAST_RETRY);
                let is_news = self.failure.replace(error) != Some(error);
                is_news.then(|| self.event(NameEventKind::Failed(error)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
    use std::sync::mpsc;

    use tokio::runtime::Handle;

    use super::super::fixture::{named, server, upstream};
    use super::*;
    use crate::conf::typed::upstream::{Method, UpstreamServer};

    /// A name server that answers every question for an address with what it is told to, or fails.
    fn name_server(answers: mpsc::Receiver<Option<[u8; 4]>>) -> SocketAddr {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = socket.local_addr().expect("bound");
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            let mut answer = None;
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                // The last one told stays.
                answer = answers.try_recv().unwrap_or(answer);
                let mut out = buffer[..length].to_vec();
                // Without the additional section of the question.
                let end = 12 + out[12..].iter().position(|&byte| byte == 0).unwrap_or(0) + 5;
                out.truncate(end);
                out[10..12].fill(0);
                match answer {
                    Some(address) => {
                        out[2..8].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1]);
                        out.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
                        out.extend(address);
                    }
                    None => out[2..8].copy_from_slice(&[0x81, 0x83, 0, 1, 0, 0]),
                }
                let _ = socket.send_to(&out, from);
            }
        });
        address
    }

    fn resolver(server: SocketAddr) -> Resolver {
        let conf = conf::Resolver {
            servers: vec![server],
            valid: None,
            ipv4: true,
            ipv6: false,
            timeout: Duration::from_secs(30),
        };
        Resolver::new(Some(&conf), Handle::current())
    }

    fn labels(peers: &Peers) -> Vec<String> {
        let table = peers.table();
        table
            .primary
            .iter()
            .map(|it| it.label.to_string())
            .collect()
    }

    fn group(lines: Vec<UpstreamServer>) -> Arc<Peers> {
        Arc::new(Peers::new(
            Arc::new(upstream(Method::RoundRobin, lines)),
            None,
        ))
    }

    #[tokio::test]
    async fn names_become_peers_in_the_place_of_their_line() {
        let (tell, answers) = mpsc::channel();
        tell.send(Some([10, 0, 0, 1])).expect("a server");
        let resolver = resolver(name_server(answers));
        let peers = group(vec![server(1), named("a.test", 8080), server(2)]);
        let mut names = Names::new(&[Arc::clone(&peers)], |_| resolver.clone());
        let events = names.resolve(Duration::from_secs(30)).await;
        assert!(events.is_empty());
        assert_eq!(
            labels(&peers),
            ["127.0.0.1:1", "10.0.0.1:8080", "127.0.0.1:2"]
        );
        // Without `resolve` there is nothing left to do.
        names.keep(|_| {}).await;
    }

    #[tokio::test]
    async fn a_name_that_does_not_resolve_is_told_once_and_tried_until_it_does() {
        let (tell, answers) = mpsc::channel();
        tell.send(None).expect("a server");
        let conf_server = name_server(answers);
        // "No such name" is not remembered here, so that the second try asks again.
        let conf = conf::Resolver {
            servers: vec![conf_server],
            valid: Some(Duration::ZERO),
            ipv4: true,
            ipv6: false,
            timeout: Duration::from_secs(30),
        };
        let resolver = Resolver::new(Some(&conf), Handle::current());
        let peers = group(vec![server(1), named("a.test", 80)]);
        let mut names = Names::new(&[Arc::clone(&peers)], |_| resolver.clone());
        let events = names.resolve(Duration::from_secs(30)).await;
        let kinds: Vec<_> = events
            .iter()
            .map(|event| (event.server, event.kind))
            .collect();
        assert_eq!(kinds, [(1, NameEventKind::Failed(ResolveError::NotFound))]);
        assert_eq!(labels(&peers), ["127.0.0.1:1"]);
        tell.send(Some([10, 0, 0, 2])).expect("a server");
        for entry in &mut names.entries {
            entry.due = Some(Instant::now());
        }
        let mut told = Vec::new();
        names.keep(|event| told.push(event.kind)).await;
        assert_eq!(told, [NameEventKind::Changed(1)]);
        assert_eq!(labels(&peers), ["127.0.0.1:1", "10.0.0.2:80"]);
    }

    #[tokio::test]
    async fn the_start_does_not_wait_for_a_server_that_is_silent() {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let resolver = resolver(socket.local_addr().expect("bound"));
        let peers = group(vec![named("a.test", 80)]);
        let mut names = Names::new(&[peers], |_| resolver.clone());
        let events = names.resolve(Duration::from_millis(20)).await;
        let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [NameEventKind::Failed(ResolveError::TimedOut)]);
    }

    fn answer(addresses: &[[u8; 4]]) -> Answer {
        Answer {
            addresses: addresses
                .iter()
                .map(|&address| crate::net::resolver::Endpoint {
                    address: (address, 0).into(),
                    weight: None,
                    is_backup: false,
                })
                .collect(),
            expires: std::time::Instant::now(),
        }
    }

    #[tokio::test]
    async fn a_name_that_follows_dns_changes_its_peers_and_waits_longer_after_each_failure() {
        let line = UpstreamServer {
            resolve: true,
            ..named("a.test", 80)
        };
        let peers = group(vec![line]);
        let resolver = Resolver::new(None, Handle::current());
        let mut names = Names::new(&[Arc::clone(&peers)], |_| resolver.clone());
        let entry = &mut names.entries[0];
        let (one, two, three) = ([10, 0, 0, 1], [10, 0, 0, 2], [10, 0, 0, 3]);
        entry.settle(Ok(answer(&[one, two])));
        // The order of an answer says nothing; what was known keeps its place.
        assert!(entry.settle(Ok(answer(&[two, one]))).is_none());
        let epoch = peers.epoch();
        let event = entry.settle(Ok(answer(&[three, two])));
        assert_eq!(event.map(|it| it.kind), Some(NameEventKind::Changed(2)));
        assert!(peers.epoch() > epoch);
        assert_eq!(labels(&peers), ["10.0.0.2:80", "10.0.0.3:80"]);
        let failed = entry.settle(Err(ResolveError::TimedOut));
        assert!(failed.is_some());
        assert!(entry.settle(Err(ResolveError::TimedOut)).is_none());
        assert_eq!(entry.retry, FIRST_RETRY * 4);
        assert_eq!(labels(&peers).len(), 2, "an outage takes no peer away");
        entry.settle(Err(ResolveError::NotFound));
        assert!(labels(&peers).is_empty());
        for _ in 0..20 {
            entry.settle(Err(ResolveError::NotFound));
        }
        assert_eq!(entry.retry, LAST_RETRY);
    }
}
