//! A peer that a request goes to: how it is reached, and what can go wrong with it.
//!
//! Owns connections up to the first byte of a request, over TLS too, and the words for failures.

use std::future::poll_fn;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;

use super::downstream::{ClientError, Downstream};
use super::peer_http1::Link;
use crate::conf::typed::proxy::{NextUpstream, Proxy};
use crate::http::h1::chunked::ChunkError;
use crate::http::h1::parse::ResponseError;
use crate::net::deadline::Deadline;
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
}

impl PeerError {
    /// The condition of `proxy_next_upstream` that it is.
    pub fn condition(&self) -> NextUpstream {
        match self {
            Self::ConnectTimedOut
            | Self::HandshakeTimedOut
            | Self::SendTimedOut
            | Self::ReadTimedOut => NextUpstream::TIMEOUT,
            Self::Head(_) => NextUpstream::INVALID_HEADER,
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

    /// Did it fail before a byte of the request was sent?
    pub fn is_before_request(&self) -> bool {
        matches!(
            self,
            Self::Connect(_) | Self::ConnectTimedOut | Self::Handshake(_) | Self::HandshakeTimedOut
        )
    }

    /// What we were doing, in nginx's words.
    pub fn doing(&self) -> &'static str {
        match self {
            Self::Connect(_) | Self::ConnectTimedOut => "connecting to upstream",
            Self::Handshake(_) | Self::HandshakeTimedOut => "SSL handshaking to upstream",
            Self::Send(_) | Self::SendTimedOut => "sending request to upstream",
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
        }
    }
}

/// Why an attempt ended without an answer.
pub enum Failure {
    Peer(PeerError),
    Client(ClientError),
}

/// How connections for a request are made.
pub struct Way {
    /// The local address (`proxy_bind`).
    pub bind: Option<SocketAddr>,
    /// Over TLS?
    pub secure: Option<Secure>,
    /// Tells apart kept connections that were made otherwise.
    pub kind: u64,
}

/// TLS with a peer, as a request needs it.
pub struct Secure {
    /// What begins it.
    pub connector: Arc<Connector>,
    /// Whom the certificate must name.
    pub name: Vec<u8>,
}

/// Connections from one local address do not stand in for those from another (`proxy_bind`), nor
/// those to a peer of one name for those to another.
pub fn pool_kind(bind: Option<SocketAddr>, secure: Option<&Secure>) -> u64 {
    if bind.is_none() && secure.is_none() {
        return 0;
    }
    let mut hasher = DefaultHasher::new();
    bind.hash(&mut hasher);
    if let Some(secure) = secure {
        // No other connector comes to its place while connections made with it are kept: both live
        // as long as the generation.
        Arc::as_ptr(&secure.connector).hash(&mut hasher);
        secure.name.hash(&mut hasher);
    }
    hasher.finish()
}

/// A fresh connection to a peer.
pub async fn connect(
    selected: &Selected,
    way: &Way,
    downstream: &mut Downstream,
    proxy: &Proxy,
) -> Result<Link, Failure> {
    let connecting =
        crate::net::connect::connect(&selected.target().address, way.bind, proxy.socket_keepalive);
    let mut connecting = std::pin::pin!(connecting);
    let deadline = Deadline::new();
    deadline.set(proxy.connect_timeout);
    let mut is_gone = |context: &mut Context<'_>| {
        !proxy.ignore_client_abort
            && downstream.is_body_complete()
            && downstream.poll_gone(context).is_ready()
    };
    let stream = poll_fn(|context| {
        if let Poll::Ready(result) = connecting.as_mut().poll(context) {
            return Poll::Ready(result.map_err(|error| Failure::Peer(PeerError::Connect(error))));
        }
        if is_gone(context) {
            return Poll::Ready(Err(Failure::Client(ClientError::Closed(None))));
        }
        deadline
            .poll_expired(context)
            .map(|()| Err(Failure::Peer(PeerError::ConnectTimedOut)))
    })
    .await?;
    stream.set_nodelay();
    let stream = match &way.secure {
        None => stream.into(),
        Some(secure) => {
            let failed = |error: HandshakeError| {
                Failure::Peer(PeerError::Handshake(client::Failure {
                    name: secure.name.as_slice().into(),
                    error,
                }))
            };
            let mut stream = secure
                .connector
                .begin(stream, &secure.name)
                .map_err(failed)?;
            // As in nginx the handshake has as long as the connection had.
            deadline.set(proxy.connect_timeout);
            poll_fn(|context| {
                if let Poll::Ready(result) = stream.poll_handshake(context) {
                    let result = result.map_err(|error| failed(HandshakeError::of(error)));
                    return Poll::Ready(result);
                }
                if is_gone(context) {
                    return Poll::Ready(Err(Failure::Client(ClientError::Closed(None))));
                }
                deadline
                    .poll_expired(context)
                    .map(|()| Err(Failure::Peer(PeerError::HandshakeTimedOut)))
            })
            .await?;
            Stream::Secure(Box::new(stream))
        }
    };
    Ok(Link {
        stream,
        requests: 0,
        created: clock::now(),
        kind: way.kind,
        deadline,
        is_armed: false,
    })
}
