//! A peer that a request goes to: how it is reached, and what can go wrong with it.
//!
//! Owns connections up to the first byte of a request, over TLS too, and the words for failures.

use std::future::poll_fn;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use super::downstream::{ClientError, Downstream};
use super::generation::LocalUpstream;
use super::peer_http1::Link;
use super::peer_http2;
use super::proxy::Plan;
use super::proxy_fields;
use crate::cache::flight::Fill;
use crate::conf::typed::listen::Address;
use crate::conf::typed::proxy::{NextUpstream, Proxy};
use crate::files::store::Storing;
use crate::http::exchange::Exchange;
use crate::http::h1::chunked::ChunkError;
use crate::http::h1::parse::ResponseError;
use crate::net;
use crate::net::deadline::Deadline;
use crate::net::proxy_protocol;
use crate::tls::client::{self, Connector};
use crate::tls::stream::Stream;
use crate::tls::terminator::HandshakeError;
use crate::unit::clock;
use crate::upstream::group::Selected;

/// Why an attempt at a peer failed.
#[derive(Debug)]
pub enum PeerError {
    Connect(io::Error),
    ConnectTimedOut,
    Handshake(client::Failure),
    HandshakeTimedOut,
    Send(io::Error),
    SendTimedOut,
    Closed,
    Receive(io::Error),
    ReadTimedOut,
    Head(ResponseError),
    Chunk(ChunkError),
    /// The peer did not agree to HTTP/2 in the handshake.
    NoHttp2,
    /// HTTP/2: the connection took no request any more.
    Unsent(h2::Error),
    /// HTTP/2: the peer says that it did nothing for the request.
    Refused(h2::Reason),
    /// HTTP/2: the peer gave the request up.
    Reset(h2::Reason),
    /// The peer broke the rules of HTTP/2.
    Http2(h2::Error),
}

impl PeerError {
    /// The condition of `proxy_next_upstream` that it is.
    pub fn condition(&self) -> NextUpstream {
        match self {
            Self::ConnectTimedOut
            | Self::HandshakeTimedOut
            | Self::SendTimedOut
            | Self::ReadTimedOut => NextUpstream::TIMEOUT,
            Self::Head(_) | Self::Reset(_) | Self::Http2(_) => NextUpstream::INVALID_HEADER,
            _ => NextUpstream::ERROR,
        }
    }

    /// The status that the client gets if no other peer is asked.
    pub fn status(&self) -> u16 {
        if self.condition() == NextUpstream::TIMEOUT {
            504
        } else {
            502
        }
    }

    /// Did it fail before the peer could begin to do something for the request?
    pub fn is_before_request(&self) -> bool {
        matches!(
            self,
            Self::Connect(_)
                | Self::ConnectTimedOut
                | Self::Handshake(_)
                | Self::HandshakeTimedOut
                | Self::NoHttp2
                | Self::Unsent(_)
                | Self::Refused(_)
        )
    }

    /// What we were doing, in nginx's words.
    pub fn doing(&self) -> &'static str {
        match self {
            Self::Connect(_) | Self::ConnectTimedOut => "connecting to upstream",
            Self::Handshake(_) | Self::HandshakeTimedOut | Self::NoHttp2 => {
                "SSL handshaking to upstream"
            }
            Self::Send(_) | Self::SendTimedOut | Self::Unsent(_) => "sending request to upstream",
            _ => "reading response header from upstream",
        }
    }
}

impl std::fmt::Display for PeerError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let system =
            |formatter: &mut std::fmt::Formatter<'_>, call: &str, error: &io::Error| match error
                .raw_os_error()
            {
                Some(number) => {
                    write!(
                        formatter,
                        "{call}() failed ({number}: {})",
                        nix::errno::Errno::from_raw(number).desc()
                    )
                }
                None if error
                    .get_ref()
                    .is_some_and(|inner| inner.is::<rustls::Error>()) =>
                {
                    let call = if call == "recv" { "read" } else { "write" };
                    write!(formatter, "SSL_{call}() failed ({error})")
                }
                None => write!(formatter, "{call}() failed ({error})"),
            };
        match self {
            Self::Connect(error) => system(formatter, "connect", error),
            Self::Send(error) => system(formatter, "send", error),
            Self::Receive(error) => system(formatter, "recv", error),
            Self::Handshake(failure) => write!(formatter, "{failure}"),
            Self::ConnectTimedOut
            | Self::HandshakeTimedOut
            | Self::SendTimedOut
            | Self::ReadTimedOut => {
                formatter.write_str("upstream timed out (110: Connection timed out)")
            }
            Self::Closed => formatter.write_str("upstream prematurely closed connection"),
            Self::Head(error) => write!(formatter, "{error}"),
            Self::Chunk(error) => {
                write!(formatter, "upstream sent invalid chunked response: {error}")
            }
            Self::NoHttp2 => formatter.write_str("upstream did not agree to HTTP/2"),
            Self::Refused(reason) | Self::Reset(reason) => {
                let number = u32::from(*reason);
                write!(
                    formatter,
                    "upstream rejected request with error {number} ({reason})"
                )
            }
            Self::Unsent(error) => write!(formatter, "{error}"),
            Self::Http2(error) => write!(formatter, "upstream sent invalid HTTP/2: {error}"),
        }
    }
}

/// A peer that began to answer: the head is in the exchange, the body is still to come.
pub enum Answering {
    /// Over a connection of its own.
    Http1(Link),
    /// Over a stream of a connection that is shared.
    Http2(Box<peer_http2::Stream>),
}

/// Why an attempt ended without an answer.
pub enum Failure {
    Peer(PeerError),
    Client(ClientError),
}

/// What is asked of peers for a request: the same of each that is tried.
pub struct Question<'a> {
    /// The group of peers with what this worker keeps of them.
    pub upstream: &'a Rc<LocalUpstream>,
    /// The place's own.
    pub plan: &'a Plan,
    /// How connections are made.
    pub way: Way,
    /// The head as HTTP/1 has it, and with it a small body.
    pub request: &'a [u8],
    /// Where in `request` the head ends.
    pub head_end: usize,
    /// The head as HTTP/2 has it, where that is spoken.
    pub http2: Option<http::Request<()>>,
}

/// How connections for a request are made.
pub struct Way {
    /// The local address (`proxy_bind`).
    pub bind: Option<SocketAddr>,
    /// `proxy_protocol`: the header that goes before everything else, TLS too; empty if none.
    pub header: Vec<u8>,
    /// Over TLS?
    pub secure: Option<Secure>,
    /// Tells apart kept connections that were made otherwise.
    pub kind: u64,
    /// The request goes on when its client is gone: `proxy_ignore_client_abort`, or others wait for
    /// the answer.
    pub outlasts_client: bool,
    /// Interim answers (1xx) are passed on.
    pub passes_interim: bool,
}

/// TLS with a peer, as a request needs it.
pub struct Secure {
    /// What begins it.
    pub connector: Arc<Connector>,
    /// The connector's [`Connector::number`] when the request began.
    pub number: u64,
    /// Whom the certificate must name.
    pub name: Vec<u8>,
}

impl Way {
    /// The way of a request. Connections that were made otherwise do not stand in for each other:
    /// they come from another address, are another client's, or lead to a peer of another name.
    pub fn of(proxy: &Proxy, secure: Option<Secure>, exchange: &Exchange) -> Self {
        let bind =
            (proxy.bind.as_ref()).and_then(|bind| proxy_fields::bind_address(bind, exchange));
        let mut header = Vec::new();
        if let Some(version) = proxy.proxy_protocol {
            let connection = &exchange.connection;
            let ends = match (&connection.remote, &connection.local) {
                (Address::Ip(client), Address::Ip(local)) => Some((*client, *local)),
                _ => None,
            };
            proxy_protocol::write(version, ends, &mut header);
        }
        let kind = match (bind, header.is_empty(), &secure) {
            (None, true, None) => 0,
            // With a key of our own: clients choose some of what is hashed, and one that found a
            // second client with the same number would speak in its name.
            (bind, _, secure) => {
                // No other connector comes to the place of one while connections made with it are
                // kept: both live as long as the generation.
                let secure = secure
                    .as_ref()
                    .map(|secure| (Arc::as_ptr(&secure.connector), secure.number, &secure.name));
                KEY.hash_one((bind, &header, secure))
            }
        };
        Self {
            bind,
            header,
            secure,
            kind,
            outlasts_client: proxy.ignore_client_abort,
            passes_interim: true,
        }
    }
}

static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// A fresh connection to a peer.
pub async fn connect(
    selected: &Selected,
    way: &Way,
    downstream: &mut Downstream,
    proxy: &Proxy,
) -> Result<Stream, Failure> {
    let address = &selected.target().address;
    let connecting = async {
        let mut stream = net::connect::connect(address, way.bind, proxy.socket_keepalive).await?;
        stream.set_nodelay();
        if !way.header.is_empty() {
            // There is room for it in a socket that is new.
            stream.write_all(&way.header).await?;
        }
        io::Result::Ok(stream)
    };
    let mut connecting = std::pin::pin!(connecting);
    let stream = before_request(
        downstream,
        way,
        proxy,
        || PeerError::ConnectTimedOut,
        |context| {
            let connected = connecting.as_mut().poll(context);
            connected.map_err(PeerError::Connect)
        },
    )
    .await?;
    let Some(secure) = &way.secure else {
        return Ok(stream.into());
    };
    let failed = |error: HandshakeError| {
        PeerError::Handshake(client::Failure {
            name: secure.name.as_slice().into(),
            error,
        })
    };
    let mut stream = secure
        .connector
        .begin(stream, &secure.name)
        .map_err(|error| Failure::Peer(failed(error)))?;
    // As in nginx the handshake has as long as the connection had.
    before_request(
        downstream,
        way,
        proxy,
        || PeerError::HandshakeTimedOut,
        |context| {
            let driven = stream.poll_handshake(context);
            driven.map_err(|error| failed(HandshakeError::of(error)))
        },
    )
    .await?;
    Ok(Stream::Secure(Box::new(stream)))
}

/// Runs what comes before a request for `proxy_connect_timeout`, and no longer than the client waits.
pub async fn before_request<T>(
    downstream: &mut Downstream,
    way: &Way,
    proxy: &Proxy,
    timed_out: fn() -> PeerError,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<Result<T, PeerError>>,
) -> Result<T, Failure> {
    let deadline = Deadline::new();
    deadline.set(proxy.connect_timeout);
    poll_fn(|context| {
        if let Poll::Ready(result) = poll(context) {
            return Poll::Ready(result.map_err(Failure::Peer));
        }
        if !way.outlasts_client
            && downstream.is_body_complete()
            && downstream.poll_gone(context).is_ready()
        {
            return Poll::Ready(Err(Failure::Client(ClientError::Closed(None))));
        }
        deadline
            .poll_expired(context)
            .map(|()| Err(Failure::Peer(timed_out())))
    })
    .await
}

/// Where the bytes of an answer's body go.
#[derive(Debug, Default)]
pub struct Sink {
    /// What of the body the client gets, if not all of it.
    pub window: Option<Range<u64>>,
    /// The entry of a cache that all of it is written to.
    pub fill: Option<Fill>,
    /// The file that it becomes.
    pub store: Option<Storing>,
    /// The client gets none of it: it is gone.
    pub is_discarding: bool,
    /// All of it is collected here instead, for somebody who makes the client's answer of it.
    pub collected: Option<Vec<u8>>,
}

impl Sink {
    /// May bytes be read to where the client's are written from?
    pub fn is_plain(&self) -> bool {
        self.window.is_none()
            && !self.is_discarding
            && self.collected.is_none()
            && self.store.is_none()
    }

    /// Takes bytes, of which `position` bytes came before them.
    pub fn take(&mut self, position: u64, bytes: &[u8], downstream: &mut Downstream) {
        if let Some(fill) = &mut self.fill {
            fill.append(bytes);
        }
        if let Some(store) = &mut self.store {
            store.append(bytes);
        }
        if let Some(collected) = &mut self.collected {
            collected.extend_from_slice(bytes);
        } else if !self.is_discarding {
            deliver(self.window.as_ref(), position, bytes, downstream);
        }
    }
}

/// Queues bytes of an answer's body for the client, of which `position` bytes came before them: all
/// of them, or what lies in the `window` that it asked for.
pub fn deliver(
    window: Option<&Range<u64>>,
    position: u64,
    bytes: &[u8],
    downstream: &mut Downstream,
) {
    let Some(window) = window else {
        downstream.queue(bytes);
        return;
    };
    let end = position + bytes.len() as u64;
    let (from, to) = (window.start.max(position), window.end.min(end));
    if from < to {
        let at = |place: u64| (place - position) as usize;
        downstream.queue(&bytes[at(from)..at(to)]);
    }
}

/// The head of an answer was read.
pub fn head_received(exchange: &mut Exchange, selected: &Selected) {
    let now = clock::now();
    let mut time = Duration::ZERO;
    if let Some(attempt) = exchange.attempts.last_mut() {
        time = now.saturating_duration_since(attempt.started);
        attempt.status = exchange.upstream_head.status;
        attempt.header_time = Some(time);
    }
    selected.head_received(exchange, time, now);
}
