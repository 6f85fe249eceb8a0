//! TLS with the peers of the configuration: does the handshake of each succeed, and if not, why and
//! what helps.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError, Error};
use tokio::time::{Instant, timeout_at};

use super::{Findings, Level};
use crate::conf::typed::Config;
use crate::conf::typed::listen::Address;
use crate::conf::typed::location::{Handler, Location, Settings};
use crate::conf::typed::proxy::{HttpVersion, Proxy, Scheme, Target};
use crate::conf::typed::tls::PeerTls;
use crate::conf::typed::upstream::PeerAddress;
use crate::net::connect::connect;
use crate::tls::client::{Connector, Failure, bare_name};
use crate::tls::facts::Facts;
use crate::tls::openssl;
use crate::tls::terminator::HandshakeError;
use crate::unit::clock;

/// How long all peers may take together.
const PATIENCE: Duration = Duration::from_secs(8);
/// How many peers are looked at.
const MOST_PEERS: usize = 32;
/// A certificate that ends sooner is worth a word, in seconds; one that lives for days only has a third
/// of its life left then.
const SOON: i64 = 14 * 24 * 60 * 60;

/// One peer as one place speaks to it.
#[derive(Clone)]
struct Peer {
    address: PeerAddress,
    /// As it is written, with the port.
    shown: String,
    tls: Arc<PeerTls>,
    is_http2: bool,
    /// Whom its certificate has to name.
    name: Vec<u8>,
    /// What the directives begin with.
    family: &'static str,
}

/// What is said of a peer.
type Said = (Level, String, Option<String>);

/// Shakes hands with each peer that is spoken to over TLS.
pub fn look(config: &Config, findings: &mut Findings) {
    let mut peers = BTreeMap::new();
    for server in &config.http.servers {
        add(&server.settings, config, &mut peers);
        add_all(&server.locations, config, &mut peers);
    }
    if peers.is_empty() {
        return;
    }
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    else {
        return;
    };
    let looked_at: Vec<Peer> = peers.values().take(MOST_PEERS).cloned().collect();
    let all_said = runtime.block_on(async {
        let deadline = Instant::now() + PATIENCE;
        let tasks: Vec<_> = looked_at
            .iter()
            .map(|peer| tokio::spawn(look_at(peer.clone(), deadline)))
            .collect();
        let mut all_said = Vec::new();
        for task in tasks {
            all_said.extend(task.await.ok());
        }
        all_said
    });
    // A name that hangs holds a thread; nobody waits for it.
    runtime.shutdown_background();
    for (level, text, command) in all_said {
        let finding = findings.add(level, "peers", text);
        finding.commands.extend(command);
    }
    if peers.len() > MOST_PEERS {
        let text = format!("{} more peers were not looked at", peers.len() - MOST_PEERS);
        findings.add(Level::Warn, "peers", text);
    }
}

fn add_all(locations: &[Location], config: &Config, peers: &mut BTreeMap<String, Peer>) {
    for location in locations {
        add(&location.settings, config, peers);
        add_all(&location.children, config, peers);
    }
}

/// The peers of a place, each once for whatever is asked of it.
fn add(settings: &Settings, config: &Config, peers: &mut BTreeMap<String, Peer>) {
    let Handler::Proxy(proxy) = &settings.handler else {
        return;
    };
    let Proxy {
        target:
            Target::Group {
                scheme,
                upstream,
                host,
                ..
            },
        tls: Some(tls),
        ..
    } = &**proxy
    else {
        return;
    };
    let Some(group) = config
        .http
        .upstreams
        .get(*upstream)
        .filter(|_| scheme.is_secure())
    else {
        return;
    };
    // One with variables comes to the host that is written, more often than not.
    let name = bare_name(tls.name.literal().unwrap_or(host)).to_vec();
    for server in group.servers.iter().filter(|server| !server.down) {
        let shown = match &server.address {
            PeerAddress::Ip(address) => address.to_string(),
            PeerAddress::Name { host, port } => format!("{host}:{port}"),
            PeerAddress::Unix(path) => format!("unix:{}", path.display()),
        };
        let version = proxy.http_version;
        let key = format!(
            "{shown} {scheme:?} {version:?} {} {tls:?}",
            name.escape_ascii()
        );
        peers.entry(key).or_insert_with(|| Peer {
            address: server.address.clone(),
            shown,
            tls: Arc::clone(tls),
            is_http2: version == HttpVersion::Http2,
            name: name.clone(),
            family: match scheme {
                Scheme::Grpc | Scheme::Grpcs => "grpc",
                Scheme::Http | Scheme::Https => "proxy",
            },
        });
    }
}

async fn look_at(peer: Peer, deadline: Instant) -> Said {
    let shown = peer.shown.clone();
    match timeout_at(deadline, judge(&peer)).await {
        Ok(said) => said,
        Err(_) => (
            Level::Warn,
            format!("{shown} does not answer in time"),
            None,
        ),
    }
}

async fn judge(peer: &Peer) -> Said {
    let shown = &peer.shown;
    let addresses = match addresses(&peer.address).await {
        Ok(addresses) => addresses,
        Err(why) => return (Level::Fail, format!("{shown} has no address: {why}"), None),
    };
    let connector = Connector::new(&peer.tls, peer.is_http2);
    if let Err(reason) = connector.number() {
        return (
            Level::Fail,
            format!("nobody can speak to {shown}: {reason}"),
            None,
        );
    }
    let error = match shake_hands(&addresses, &connector, &peer.name).await {
        Ok(seen) => return good(peer, &seen),
        Err(Trouble::Connect(why)) => {
            let text = format!("no connection to {shown}: {why}");
            return (Level::Warn, text, None);
        }
        Err(Trouble::Handshake(error)) => error,
    };
    // What it shows is only seen by who does not look too closely.
    let lenient = Connector::new(
        &Arc::new(PeerTls {
            verify: false,
            ..PeerTls::clone(&peer.tls)
        }),
        peer.is_http2,
    );
    let shown_to_anybody = shake_hands(&addresses, &lenient, &peer.name).await.ok();
    bad(peer, error, shown_to_anybody.and_then(|seen| seen.facts))
}

async fn addresses(address: &PeerAddress) -> Result<Vec<Address>, String> {
    match address {
        PeerAddress::Ip(address) => Ok(vec![Address::Ip(*address)]),
        PeerAddress::Unix(path) => Ok(vec![Address::Unix(path.clone())]),
        PeerAddress::Name { host, port } => {
            let found = tokio::net::lookup_host((&**host, *port)).await;
            let found: Vec<SocketAddr> = found.map_err(|error| error.to_string())?.collect();
            match found.is_empty() {
                true => Err("its name has none".to_owned()),
                false => Ok(found.into_iter().map(Address::Ip).collect()),
            }
        }
    }
}

enum Trouble {
    Connect(std::io::Error),
    Handshake(HandshakeError),
}

/// What a handshake shows.
struct Seen {
    version: &'static str,
    facts: Option<Facts>,
}

/// Shakes hands at the first address that takes a connection.
async fn shake_hands(
    addresses: &[Address],
    connector: &Connector,
    name: &[u8],
) -> Result<Seen, Trouble> {
    let mut last = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        let stream = match connect(address, None, false).await {
            Ok(stream) => stream,
            Err(error) => {
                last = error;
                continue;
            }
        };
        let mut secure = connector.begin(stream, name).map_err(Trouble::Handshake)?;
        poll_fn(|context| secure.poll_handshake(context))
            .await
            .map_err(|error| Trouble::Handshake(HandshakeError::of(error)))?;
        let session = secure.session();
        let own = session.peer_certificates().unwrap_or_default().first();
        return Ok(Seen {
            version: session.protocol_version().map_or("TLS", openssl::version),
            facts: own.and_then(|der| Facts::read(der)),
        });
    }
    Err(Trouble::Connect(last))
}

fn good(peer: &Peer, seen: &Seen) -> Said {
    let Peer { shown, tls, .. } = peer;
    let version = seen.version;
    if !tls.verify {
        let text = format!("{shown} speaks {version}; nobody looks at its certificate");
        return (Level::Ok, text, None);
    }
    let now = i64::try_from(clock::unix().as_secs()).unwrap_or(i64::MAX);
    let left = (seen.facts.as_ref())
        .map(|facts| (facts.not_after - now, facts.not_after - facts.not_before));
    match left {
        Some((left, life)) if left < SOON.min(life / 3) => {
            let days = left.div_euclid(24 * 60 * 60);
            let text = format!(
                "{shown} speaks {version}, and its certificate ends in {days} days: whoever runs it has to \
                 renew it"
            );
            (Level::Warn, text, None)
        }
        _ => {
            let text = format!("{shown} speaks {version} with a certificate that is taken");
            (Level::Ok, text, None)
        }
    }
}

/// What went wrong in a handshake, and what helps.
fn bad(peer: &Peer, error: HandshakeError, seen: Option<Facts>) -> Said {
    let Peer {
        shown, family, tls, ..
    } = peer;
    let name = String::from_utf8_lossy(&peer.name).into_owned();
    let names = |facts: &Facts| -> String {
        let mut names = facts.dns_names.clone();
        names.extend(facts.addresses.iter().map(ToString::to_string));
        if names.is_empty() {
            names.extend(facts.common_name.clone());
        }
        names.truncate(4);
        names.join(", ")
    };
    let see = || {
        let server_name = match tls.sends_name {
            true => format!(" -servername {name}"),
            false => String::new(),
        };
        Some(format!(
            "openssl s_client -connect {shown}{server_name} -showcerts </dev/null"
        ))
    };
    let (text, command) = match &error {
        HandshakeError::Tls(Error::InvalidCertificate(refused)) => {
            let facts = seen.as_ref();
            let text = match refused {
                CertificateError::Expired => {
                    let end = facts.and_then(|facts| jiff::Timestamp::from_second(facts.not_after).ok());
                    let end = end.map_or_else(String::new, |end| format!(" on {}", end.strftime("%Y-%m-%d")));
                    format!("its certificate has expired{end}: it has to be renewed there")
                }
                CertificateError::NotValidYet => {
                    "its certificate is not valid yet: the clock of one of the two machines is wrong".to_owned()
                }
                CertificateError::NotValidForName => match facts.map(names) {
                    Some(others) if !others.is_empty() => format!(
                        "its certificate is not for `{name}` but for {others}: write `{family}_ssl_name` \
                         with the right one{}",
                        match tls.sends_name {
                            true => "",
                            false => ", or `…_ssl_server_name on`, so that it knows whom is meant",
                        }
                    ),
                    _ => format!("its certificate is not for `{name}`"),
                },
                CertificateError::Revoked => {
                    "its certificate was revoked by its authority: it needs another".to_owned()
                }
                CertificateError::ExpiredRevocationList | CertificateError::UnknownRevocationStatus => format!(
                    "`{family}_ssl_crl` says nothing of its authority that holds now: get a new list"
                ),
                CertificateError::UnknownIssuer | CertificateError::Other(_) => {
                    let issuer = facts.map_or_else(String::new, |facts| format!(" (\"{}\")", facts.issuer));
                    format!(
                        "its certificate comes from an authority that is not trusted{issuer}: write \
                         `{family}_ssl_trusted_certificate` with the authority's, or have the peer send the \
                         certificates between"
                    )
                }
                _ => Failure {
                    name: peer.name.as_slice().into(),
                    error,
                }
                .to_string(),
            };
            (text, see())
        }
        HandshakeError::Tls(Error::AlertReceived(alert)) => {
            let text = match alert {
                AlertDescription::UnrecognisedName if !tls.sends_name => {
                    format!("it wants to know whom is meant: write `{family}_ssl_server_name on`")
                }
                AlertDescription::UnrecognisedName => format!(
                    "it knows no `{name}`: write `{family}_ssl_name` with a name that it has"
                ),
                AlertDescription::HandshakeFailure if !tls.sends_name => format!(
                    "it ends the handshake; many do that when they are not told whom is meant: write \
                     `{family}_ssl_server_name on`"
                ),
                AlertDescription::CertificateRequired => format!(
                    "it wants a certificate: write `{family}_ssl_certificate` and `{family}_ssl_certificate_key`"
                ),
                AlertDescription::NoApplicationProtocol if *family == "grpc" => {
                    "it does not speak HTTP/2, which gRPC needs".to_owned()
                }
                AlertDescription::NoApplicationProtocol => {
                    "it does not speak HTTP/2: write `proxy_http_version 1.1`".to_owned()
                }
                AlertDescription::ProtocolVersion => format!(
                    "it speaks none of the versions of TLS that are offered: see `{family}_ssl_protocols`, \
                     and whether it knows TLS 1.2"
                ),
                other => format!("it ends the handshake with the alert {other:?}"),
            };
            (text, see())
        }
        HandshakeError::Tls(Error::InvalidMessage(_)) => (
            "it does not speak TLS there: write another port, or `http://` and `grpc://`"
                .to_owned(),
            None,
        ),
        HandshakeError::Tls(Error::PeerIncompatible(why)) => (
            format!(
                "it is not able to what is asked of it ({why:?}): see `{family}_ssl_protocols` and `{family}_ssl_ciphers`"
            ),
            see(),
        ),
        error => (error.to_string(), see()),
    };
    (Level::Fail, format!("no TLS with {shown}: {text}"), command)
}
