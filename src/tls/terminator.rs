//! TLS with clients: reading their first message, and the handshake that one server offers.
//!
//! Owns what rustls needs to be told. Who the server is, whoever read the first message decides: see
//! [`Greeting`].

use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::RwLock;
use rustls::server::{Accepted, Acceptor, ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CipherSuite, ServerConfig, SignatureScheme};
use smallvec::SmallVec;

use super::clients::Clients;
use super::computed::Computed;
use super::provider;
use super::resumption::Resumption;
use super::sessions::Identity;
use super::slot::{Held, Slot};
use super::standing::Standings;
use super::stream::Secure;
use super::watched::Watched;
use crate::conf::typed::on_demand::OnDemand;
use crate::conf::typed::tls::{Certificate, ServerTls, Suite, VerifyClient};
use crate::net;

/// The longest first message. Browsers stay below 2 KiB, with hybrid key exchange.
const MOST_HELLO: usize = 64 << 10;
/// What is read at once of a first message.
const READ: usize = 4 << 10;
/// The type of a record that carries a handshake (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 22;

/// What a client may send before the end of a handshake: one request.
const MOST_EARLY_DATA: u32 = 16 << 10;
/// What rustls counts into the size of a record beside its content.
const RECORD_HEAD: usize = 5;
/// The most content of a record (RFC 8446 section 5.1).
const MOST_CONTENT: usize = 16 << 10;

/// The suites with ChaCha20, as clients name them.
const CHACHA: [CipherSuite; 3] = [
    CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// What one server offers.
pub struct Terminator {
    offer: Arc<RwLock<Offer>>,
    slots: Vec<Arc<Slot>>,
    computed: Vec<Arc<Computed>>,
    identity: Identity,
    asks: bool,
    standings: Option<Standings>,
    /// Looks at the files of [`Clients`].
    _watched: Option<Arc<Watched>>,
    rejects: bool,
    on_demand: Option<Arc<OnDemand>>,
    /// The names that its own orders are for.
    ordered: Vec<Box<str>>,
}

/// What rustls is told, and what is asked of clients. It is another one when files change.
#[derive(Clone)]
struct Offer {
    config: Arc<ServerConfig>,
    /// The same with ChaCha20 first, for clients that have it first.
    chacha_first: Option<Arc<ServerConfig>>,
    clients: Option<Arc<Clients>>,
}

impl fmt::Debug for Terminator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Terminator")
    }
}

impl Terminator {
    /// Offers what is written, with the certificates in these slots; HTTP/2 if `http2`. Sessions of the
    /// server `identity` are found in `resumption`, where what those before had is found (`previous`).
    /// What cannot be read is told.
    pub fn new(
        tls: &Arc<ServerTls>,
        slots: Vec<Arc<Slot>>,
        http2: bool,
        identity: Identity,
        resumption: &mut Resumption,
        previous: Option<&Resumption>,
        warnings: &mut Vec<String>,
    ) -> Result<Self, rustls::Error> {
        let files = Clients::files(tls);
        let seen = Watched::stamps(&files);
        let clients = Clients::load(tls, warnings).map(Arc::new);
        let storage = resumption.storage(tls, identity, previous);
        let ticketer = resumption.ticketer(tls, identity, previous, warnings);
        let finish = |mut config: ServerConfig| {
            config.ignore_client_order = tls.prefers_own_order;
            config.max_fragment_size =
                (tls.buffer_size < MOST_CONTENT).then_some(tls.buffer_size + RECORD_HEAD);
            if tls.early_data {
                config.max_early_data_size = MOST_EARLY_DATA;
                config.send_half_rtt_data = true;
            }
            if ticketer.is_none() && !storage.can_cache() {
                config.send_tls13_tickets = 0;
            }
            if let Some(ticketer) = &ticketer {
                config.ticketer = Arc::clone(ticketer);
            }
            config.session_storage = Arc::clone(&storage);
            let older: [&[u8]; 3] = [b"http/1.1", b"http/1.0", b"http/0.9"];
            let http2: &[&[u8]] = if http2 { &[b"h2"] } else { &[] };
            config.alpn_protocols = (http2.iter().chain(&older))
                .map(|name| name.to_vec())
                .collect();
            Arc::new(config)
        };
        let config = |suites: &[Suite]| begin(tls, suites, &slots, clients.as_deref());
        let chacha = match tls.prefers_own_order && tls.prioritizes_chacha {
            true => Some(finish(config(&chacha_first(&tls.suites))?)),
            false => None,
        };
        let offer = Arc::new(RwLock::new(Offer {
            config: finish(config(&tls.suites)?),
            chacha_first: chacha,
            clients,
        }));
        let watched = {
            let (offer, slots, tls) = (Arc::downgrade(&offer), slots.clone(), Arc::clone(tls));
            Watched::begin(files, seen, move || {
                let Some(offer) = offer.upgrade() else {
                    return Ok(());
                };
                let clients = Arc::new(Clients::load_again(&tls)?);
                let before = offer.read().clone();
                // Whose names clients are told is said to rustls when it begins.
                let again = |before: &ServerConfig, suites: &[Suite]| {
                    let config = begin(&tls, suites, &slots, Some(&clients));
                    let mut config = config.map_err(|error| error.to_string())?;
                    config.ignore_client_order = before.ignore_client_order;
                    config.max_fragment_size = before.max_fragment_size;
                    config.max_early_data_size = before.max_early_data_size;
                    config.send_half_rtt_data = before.send_half_rtt_data;
                    config.send_tls13_tickets = before.send_tls13_tickets;
                    config.ticketer = Arc::clone(&before.ticketer);
                    config.session_storage = Arc::clone(&before.session_storage);
                    config.alpn_protocols.clone_from(&before.alpn_protocols);
                    Ok::<_, String>(Arc::new(config))
                };
                let config = again(&before.config, &tls.suites)?;
                let chacha = before.chacha_first.as_deref();
                let chacha = chacha.map(|before| again(before, &chacha_first(&tls.suites)));
                *offer.write() = Offer {
                    config,
                    chacha_first: chacha.transpose()?,
                    clients: Some(clients),
                };
                Ok(())
            })
        };
        Ok(Self {
            offer,
            slots,
            computed: Vec::new(),
            identity,
            asks: tls.verify_client != VerifyClient::Off,
            standings: None,
            _watched: watched,
            rejects: tls.rejects,
            on_demand: tls.on_demand.clone(),
            ordered: match tls.on_demand {
                Some(_) => ordered(tls),
                None => Vec::new(),
            },
        })
    }

    /// With somebody who asks the authorities of clients about them.
    pub fn with_standings(self, standings: Option<Standings>) -> Self {
        Self { standings, ..self }
    }

    /// Who asks the authorities of clients about them, if somebody does.
    pub fn standings(&self) -> Option<&Standings> {
        self.standings.as_ref()
    }

    /// With certificates whose paths have yet to be computed for each client.
    pub fn with_computed(self, computed: Vec<Arc<Computed>>) -> Self {
        Self { computed, ..self }
    }

    /// The certificates to be computed before the handshake.
    pub fn computed(&self) -> &[Arc<Computed>] {
        &self.computed
    }

    /// What rustls is told for a client for which these certificates were computed; `config` is what it
    /// would be told otherwise.
    pub fn config_with(
        &self,
        config: &ServerConfig,
        computed: Vec<Arc<CertifiedKey>>,
    ) -> Arc<ServerConfig> {
        let mut config = config.clone();
        config.cert_resolver = Arc::new(Certificates {
            slots: self.slots.clone(),
            computed,
        });
        Arc::new(config)
    }

    /// What rustls is told for a client that gets this certificate and no other.
    pub fn config_of(
        &self,
        config: &ServerConfig,
        certified: Arc<CertifiedKey>,
    ) -> Arc<ServerConfig> {
        let mut config = config.clone();
        config.cert_resolver = Arc::new(SingleCertAndKey::from(certified));
        Arc::new(config)
    }

    /// The rule for a name, in lower case, that the server's own certificates are not for, nor will be.
    pub fn on_demand(&self, name: &str) -> Option<&Arc<OnDemand>> {
        let rule = self.on_demand.as_ref()?;
        let is_own = |own: &str| match own.strip_prefix('*') {
            Some(suffix) => (name.split_once('.')).is_some_and(|(_, rest)| *rest == suffix[1..]),
            None => *own == *name,
        };
        let is_own = name.is_empty()
            || self.ordered.iter().any(|own| is_own(own))
            || self.slots.iter().any(|slot| slot.held().is_for(name));
        (!is_own).then_some(rule)
    }

    /// Is there a certificate that clients may trust, for whatever name?
    pub fn has_certificate(&self) -> bool {
        !self.computed.is_empty() || self.slots.iter().any(|slot| slot.held().lacking.is_none())
    }

    /// What rustls is told for this client.
    pub fn config(&self, client: &ClientHello<'_>) -> Arc<ServerConfig> {
        let likes_chacha = || {
            let offered = client.cipher_suites().iter();
            // Values that mean nothing and are there to keep servers from choking (RFC 8701).
            let mut offered = offered.filter(|suite| u16::from(**suite) & 0x0f0f != 0x0a0a);
            let first = offered.next().copied();
            first.is_some_and(|first| CHACHA.contains(&first))
        };
        let offer = self.offer.read();
        Arc::clone(match &offer.chacha_first {
            Some(config) if likes_chacha() => config,
            _ => &offer.config,
        })
    }

    /// What tells the server from others, also after the next reload.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// The certificates that stand in slots.
    pub fn slots(&self) -> &[Arc<Slot>] {
        &self.slots
    }

    /// What is asked of clients, if anything is.
    pub fn clients(&self) -> Option<Arc<Clients>> {
        match self.asks {
            true => self.offer.read().clients.clone(),
            false => None,
        }
    }

    /// Are all handshakes refused?
    pub fn rejects(&self) -> bool {
        self.rejects
    }
}

/// What rustls is told of the protocol, of certificates and of clients.
fn begin(
    tls: &ServerTls,
    suites: &[Suite],
    slots: &[Arc<Slot>],
    clients: Option<&Clients>,
) -> Result<ServerConfig, rustls::Error> {
    let provider = provider::restricted(suites, &tls.groups);
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(provider::versions(tls.protocols))?;
    let builder = match clients {
        Some(clients) => builder.with_client_cert_verifier(clients.verifier()),
        None => builder.with_no_client_auth(),
    };
    Ok(builder.with_cert_resolver(Arc::new(Certificates {
        slots: slots.to_vec(),
        computed: Vec::new(),
    })))
}

/// The same suites, those with ChaCha20 first.
fn chacha_first(suites: &[Suite]) -> Vec<Suite> {
    let (mut first, rest): (Vec<Suite>, Vec<Suite>) =
        suites.iter().partition(|suite| suite.is_chacha());
    first.extend(rest);
    first
}

fn ordered(tls: &ServerTls) -> Vec<Box<str>> {
    let orders = tls.certificates.iter().filter_map(|found| match found {
        Certificate::Managed(order) => Some(order),
        _ => None,
    });
    orders
        .flat_map(|order| order.names.iter().cloned())
        .collect()
}

/// The certificates of a server.
struct Certificates {
    slots: Vec<Arc<Slot>>,
    computed: Vec<Arc<CertifiedKey>>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Certificates")
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let held: SmallVec<[Arc<Held>; 2]> = self.slots.iter().map(|slot| slot.held()).collect();
        let good = || held.iter().filter(|held| held.lacking.is_none());
        let schemes = hello.signature_schemes();
        // With one for public names and one for those at home, the client says which it wants.
        if let Some(name) = hello.server_name()
            && held.len() > 1
        {
            let named = good().filter(|held| held.is_for(name));
            let named: SmallVec<[&Arc<CertifiedKey>; 2]> =
                named.map(|held| &held.certified).collect();
            if let Some(liked) = liked(&named, schemes) {
                return Some(Arc::clone(liked));
            }
        }
        let good: SmallVec<[&Arc<CertifiedKey>; 2]> = (self.computed.iter())
            .chain(good().map(|held| &held.certified))
            .collect();
        choose(&good, schemes)
            .or_else(|| held.first().map(|held| &held.certified))
            .map(Arc::clone)
    }
}

/// The certificate that a client likes best: the order is the client's, as it is with OpenSSL. What it
/// does not understand is better than a placeholder that it understands, and is what it gets.
fn choose<'a>(
    certificates: &[&'a Arc<CertifiedKey>],
    schemes: &[SignatureScheme],
) -> Option<&'a Arc<CertifiedKey>> {
    if let [only] = certificates {
        return Some(only);
    }
    liked(certificates, schemes).or(certificates.first().copied())
}

/// The certificate that a client understands and likes best.
fn liked<'a>(
    certificates: &[&'a Arc<CertifiedKey>],
    schemes: &[SignatureScheme],
) -> Option<&'a Arc<CertifiedKey>> {
    let liked = schemes.iter().find_map(|scheme| {
        let scheme = std::slice::from_ref(scheme);
        let mut all = certificates.iter();
        all.find(|certified| certified.key.choose_scheme(scheme).is_some())
    });
    liked.copied()
}

/// A connection of which the first message is being read.
pub struct Greeting {
    io: Option<net::stream::Stream>,
    read: Vec<u8>,
    acceptor: Acceptor,
    /// So many of the bytes read were given to the acceptor.
    given: usize,
}

impl fmt::Debug for Greeting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Greeting")
            .field("read", &self.read.len())
            .finish_non_exhaustive()
    }
}

/// What a client began with.
#[expect(
    clippy::large_enum_variant,
    reason = "it is taken apart where it is made, once for a connection"
)]
pub enum Greeted {
    /// The first message of TLS, to be answered with [`Hello::answer`].
    Hello(Hello),
    /// Not TLS; these bytes were read.
    Plain {
        /// The connection.
        io: net::stream::Stream,
        /// What was read of it.
        read: Vec<u8>,
    },
}

/// The first message of a client.
pub struct Hello {
    io: net::stream::Stream,
    accepted: Accepted,
}

/// Why a handshake failed.
#[derive(Debug)]
pub enum HandshakeError {
    /// The connection broke, or the client closed it.
    Io(io::Error),
    /// What was said is not acceptable.
    Tls(rustls::Error),
    /// The server has `ssl_reject_handshake`.
    Rejected,
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                formatter.write_str("peer closed connection in SSL handshake")
            }
            Self::Io(error) => write!(formatter, "SSL_do_handshake() failed ({error})"),
            Self::Tls(error) => write!(formatter, "SSL_do_handshake() failed ({error})"),
            Self::Rejected => formatter.write_str("handshake rejected"),
        }
    }
}

impl std::error::Error for HandshakeError {}

impl HandshakeError {
    /// What a stream says went wrong.
    pub fn of(error: io::Error) -> Self {
        match error.downcast::<rustls::Error>() {
            Ok(error) => Self::Tls(error),
            Err(error) => Self::Io(error),
        }
    }
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Greeting {
    /// Begins with a connection of which `read` was read already.
    pub fn new(io: net::stream::Stream, read: Vec<u8>) -> Self {
        Self {
            io: Some(io),
            read,
            acceptor: Acceptor::default(),
            given: 0,
        }
    }

    /// Reads until it is clear what the client wants; not to be called again after that.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Greeted, HandshakeError>> {
        let gone = || HandshakeError::Io(io::ErrorKind::UnexpectedEof.into());
        loop {
            if self.read.first().is_some_and(|&first| first != HANDSHAKE) {
                let io = self.io.take().ok_or_else(gone)?;
                let read = std::mem::take(&mut self.read);
                return Poll::Ready(Ok(Greeted::Plain { io, read }));
            }
            let mut rest = &self.read[self.given..];
            while !rest.is_empty() {
                if self.acceptor.read_tls(&mut rest)? == 0 {
                    break;
                }
            }
            self.given = self.read.len() - rest.len();
            match self.acceptor.accept() {
                Ok(Some(accepted)) => {
                    let io = self.io.take().ok_or_else(gone)?;
                    return Poll::Ready(Ok(Greeted::Hello(Hello { io, accepted })));
                }
                Ok(None) => {}
                Err((error, mut alert)) => {
                    if let Some(io) = &mut self.io {
                        send(io, &mut |out| alert.write(out), context);
                    }
                    return Poll::Ready(Err(HandshakeError::Tls(error)));
                }
            }
            if self.read.len() >= MOST_HELLO {
                let error = rustls::Error::General("the client's first message is too long".into());
                return Poll::Ready(Err(HandshakeError::Tls(error)));
            }
            let io = self.io.as_mut().ok_or_else(gone)?;
            if ready!(io.poll_read_into(context, &mut self.read, READ))? == 0 {
                return Poll::Ready(Err(gone()));
            }
        }
    }
}

impl Hello {
    /// What the client said.
    pub fn client(&self) -> ClientHello<'_> {
        self.accepted.client_hello()
    }

    /// Answers as a server; the handshake has yet to be driven.
    pub fn answer(mut self, config: Arc<ServerConfig>) -> Result<Secure, HandshakeError> {
        match self.accepted.into_connection(config) {
            Ok(session) => {
                let mut secure = Secure::new(self.io, session.into());
                secure.take_read().map_err(HandshakeError::of)?;
                Ok(secure)
            }
            Err((error, mut alert)) => {
                let mut context = Context::from_waker(std::task::Waker::noop());
                send(&mut self.io, &mut |out| alert.write(out), &mut context);
                Err(HandshakeError::Tls(error))
            }
        }
    }
}

impl Hello {
    /// Refuses it: there is nobody of that name (RFC 6066 section 3).
    pub fn refuse(mut self) -> HandshakeError {
        /// A record of version 1.2 with an alert of two bytes: fatal, `unrecognized_name`.
        const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
        let mut context = Context::from_waker(std::task::Waker::noop());
        send(&mut self.io, &mut |out| out.write(&ALERT), &mut context);
        HandshakeError::Rejected
    }
}

/// Sends an alert, if the socket takes it.
fn send(
    io: &mut net::stream::Stream,
    write: &mut dyn FnMut(&mut dyn io::Write) -> io::Result<usize>,
    context: &mut Context<'_>,
) {
    let mut bytes = Vec::new();
    if write(&mut bytes).is_ok() {
        let _ = tokio::io::AsyncWrite::poll_write(std::pin::Pin::new(io), context, &bytes);
    }
}
