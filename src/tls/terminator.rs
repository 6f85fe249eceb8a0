//! TLS with clients: reading their first message, and the handshake that one server offers.
//!
//! Owns what rustls needs to be told. Who the server is, whoever read the first message decides: see
//! [`Greeting`].

use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::server::{Accepted, Acceptor, ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SignatureScheme};
use smallvec::SmallVec;

use super::computed::Computed;
use super::provider;
use super::slot::{Held, Slot};
use super::stream::Secure;
use crate::conf::typed::tls::ServerTls;
use crate::net;

/// The longest first message. Browsers stay below 2 KiB, with hybrid key exchange.
const MOST_HELLO: usize = 64 << 10;
/// What is read at once of a first message.
const READ: usize = 4 << 10;
/// The type of a record that carries a handshake (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 22;

/// What one server offers.
pub struct Terminator {
    config: Arc<ServerConfig>,
    slots: Vec<Arc<Slot>>,
    computed: Vec<Arc<Computed>>,
}

impl fmt::Debug for Terminator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Terminator")
    }
}

impl Terminator {
    /// Offers what is written, with the certificates in these slots; HTTP/2 if `http2`.
    pub fn new(tls: &ServerTls, slots: Vec<Arc<Slot>>, http2: bool) -> Result<Self, rustls::Error> {
        let provider = provider::restricted(&tls.suites, &tls.groups);
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(provider::versions(tls.protocols))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Certificates {
                slots: slots.clone(),
                computed: Vec::new(),
            }));
        config.ignore_client_order = tls.prefers_own_order;
        if http2 {
            config.alpn_protocols.push(b"h2".to_vec());
        }
        config.alpn_protocols.push(b"http/1.1".to_vec());
        Ok(Self {
            config: Arc::new(config),
            slots,
            computed: Vec::new(),
        })
    }

    /// With certificates whose paths have yet to be computed for each client.
    pub fn with_computed(self, computed: Vec<Arc<Computed>>) -> Self {
        Self { computed, ..self }
    }

    /// The certificates to be computed before the handshake.
    pub fn computed(&self) -> &[Arc<Computed>] {
        &self.computed
    }

    /// What rustls is told for a client for which these certificates were computed.
    pub fn config_with(&self, computed: Vec<Arc<CertifiedKey>>) -> Arc<ServerConfig> {
        let mut config = ServerConfig::clone(&self.config);
        config.cert_resolver = Arc::new(Certificates {
            slots: self.slots.clone(),
            computed,
        });
        Arc::new(config)
    }

    /// What rustls is told.
    pub fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }
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
        let good = held.iter().filter(|held| held.lacking.is_none());
        let good: SmallVec<[&Arc<CertifiedKey>; 2]> = (self.computed.iter())
            .chain(good.map(|held| &held.certified))
            .collect();
        choose(&good, hello.signature_schemes())
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
    let liked = schemes.iter().find_map(|scheme| {
        let scheme = std::slice::from_ref(scheme);
        let mut all = certificates.iter();
        all.find(|certified| certified.key.choose_scheme(scheme).is_some())
    });
    liked.or(certificates.first()).copied()
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
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                formatter.write_str("peer closed connection in SSL handshake")
            }
            Self::Io(error) => write!(formatter, "SSL_do_handshake() failed ({error})"),
            Self::Tls(error) => write!(formatter, "SSL_do_handshake() failed ({error})"),
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
            Ok(session) => Ok(Secure::new(self.io, session.into())),
            Err((error, mut alert)) => {
                let mut context = Context::from_waker(std::task::Waker::noop());
                send(&mut self.io, &mut |out| alert.write(out), &mut context);
                Err(HandshakeError::Tls(error))
            }
        }
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
