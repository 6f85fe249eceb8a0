//! `proxy_pass`: the exchange with a peer, from choosing one to the last byte of its answer.
//!
//! Owns the order of attempts, what is sent to a peer, and the relay of its answer with
//! back-pressure. The peer's connection is polled inside the request's own task: nothing is spawned,
//! and the same turn of the event loop that reads from the peer writes to the client.
//!
//! Invariant: once a byte of an answer's head was queued for the client, no other peer is asked; if the
//! answer then breaks off, the client's connection is cut, so that it sees the answer as cut.

use std::future::poll_fn;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::AsyncWrite as _;

use super::downstream::{ClientError, Downstream, Framing, framing_for};
use super::fields::FieldSet;
use super::generation::{Local, LocalUpstream};
use super::pace::Pace;
use super::proxy_fields;
use super::request_body::RequestBody;
use super::{answer, tunnel};
use crate::conf::template::Template;
use crate::conf::typed::log::Level;
use crate::conf::typed::proxy::{HttpVersion, NextUpstream, Proxy, Target};
use crate::http::buffer;
use crate::http::exchange::{Attempt, Exchange};
use crate::http::h1::chunked::{ChunkError, Decoder};
use crate::http::h1::framing::{self, BodyLength};
use crate::http::h1::parse::{HeadLimits, HeadParser, Progress, ResponseError};
use crate::http::h1::write;
use crate::http::head::{Known, Method, Version};
use crate::http::uri::{self, Escape};
use crate::http::{hop_by_hop, range, variables};
use crate::metrics::traffic::PeerId;
use crate::net::deadline::Deadline;
use crate::tls::client::{self, Connector, Connectors};
use crate::tls::stream::Stream;
use crate::tls::terminator::HandshakeError;
use crate::unit::clock;
use crate::upstream::balance::{Event, Tried};
use crate::upstream::group::{NoPeer, Selected};
use crate::upstream::pool::Idle;

/// A request body up to this size travels in one write with its head.
const BODY_WITH_HEAD: usize = 16 << 10;
/// What is read from a peer at once when its answer is large.
const READ: usize = buffer::LARGE;

/// What a proxied location needs at run time, compiled from its typed value.
#[derive(Debug)]
pub struct Plan {
    /// The typed value.
    pub proxy: Arc<Proxy>,
    /// Request fields that are not passed on.
    replaced: FieldSet,
    /// Response fields that are not passed on.
    pub hidden: FieldSet,
    /// `X-Accel-…` and others that have no effect.
    pub ignored: FieldSet,
    /// What begins TLS with a peer, where requests may go to one over TLS.
    connector: Option<client::Made>,
}

impl Plan {
    /// Compiles the names that a request would otherwise compare, and takes what it needs of the
    /// generation's `connectors`.
    pub fn new(proxy: &Arc<Proxy>, connectors: &mut Connectors) -> Self {
        let set = |names: &[Box<[u8]>]| FieldSet::new(names.iter().map(|name| &**name));
        let tls = proxy.tls.as_ref();
        Self {
            connector: tls.map(|tls| connectors.connector(tls, false)),
            proxy: Arc::clone(proxy),
            replaced: set(&proxy.replaced),
            hidden: set(&proxy.hidden),
            ignored: set(&proxy.ignored),
        }
    }
}

/// What became of a proxied request.
#[derive(Debug)]
pub enum Outcome {
    /// The answer was sent to its end.
    Sent,
    /// The answer began and broke off, or the connection became a tunnel and ended: the client's
    /// connection closes.
    Cut,
    /// No answer was sent; this status says why.
    Failed(u16),
    /// The peer answered with a status that `proxy_intercept_errors` gives to `error_page`.
    Intercepted(u16),
    /// `X-Accel-Redirect`: the answer is somewhere else, a path or `@name`.
    Redirected(Vec<u8>),
}

/// Why an attempt at a peer failed.
#[derive(Debug)]
enum PeerError {
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
    fn condition(&self) -> NextUpstream {
        match self {
            Self::ConnectTimedOut
            | Self::HandshakeTimedOut
            | Self::SendTimedOut
            | Self::ReadTimedOut => NextUpstream::TIMEOUT,
            Self::Head(_) => NextUpstream::INVALID_HEADER,
            _ => NextUpstream::ERROR,
        }
    }

    fn status(&self) -> u16 {
        if self.condition() == NextUpstream::TIMEOUT {
            504
        } else {
            502
        }
    }

    /// Did it fail before a byte of the request was sent?
    fn is_before_request(&self) -> bool {
        matches!(
            self,
            Self::Connect(_) | Self::ConnectTimedOut | Self::Handshake(_) | Self::HandshakeTimedOut
        )
    }

    /// What we were doing, in nginx's words.
    fn doing(&self) -> &'static str {
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
enum Failure {
    Peer(PeerError),
    Client(ClientError),
}

/// A connection to a peer in use.
struct Link {
    stream: Stream,
    requests: u64,
    created: Instant,
    kind: u64,
    deadline: Deadline,
    is_armed: bool,
}

impl Link {
    /// `operation`, given up after `timeout` without progress.
    fn poll_timed<T>(
        &mut self,
        context: &mut Context<'_>,
        timeout: Duration,
        operation: impl FnOnce(&mut Stream, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<Option<T>> {
        if let Poll::Ready(value) = operation(&mut self.stream, context) {
            self.is_armed = false;
            return Poll::Ready(Some(value));
        }
        if !self.is_armed {
            self.is_armed = true;
            self.deadline.set(timeout);
        }
        self.deadline.poll_expired(context).map(|()| {
            self.is_armed = false;
            None
        })
    }
}

/// Proxies one request. `Err` means that the client is gone or misbehaved before an answer began.
pub async fn proxy(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    plan: &Plan,
) -> Result<Outcome, ClientError> {
    let proxy = &*plan.proxy;
    let (upstream, uri) = match resolve_target(local, exchange, proxy).await {
        Ok(found) => found,
        Err(status) => return Ok(Outcome::Failed(status)),
    };

    let secure = match (&plan.connector, &proxy.tls) {
        (Some(connector), Some(tls)) if exchange.proxy_scheme.is_secure() => match connector {
            Ok(connector) => Some(proxy_fields::secure(connector, &tls.name, exchange)),
            Err(reason) => {
                local.log(
                    exchange,
                    Level::Error,
                    format_args!("{reason} while connecting to upstream"),
                );
                return Ok(Outcome::Failed(502));
            }
        },
        _ => None,
    };

    // The whole body is read before a peer is asked, unless it may stream: so a slow client holds no
    // peer, and the request can be repeated.
    // A body that is replaced or not passed on is read as well: variables may ask for it.
    let mut body = {
        // HTTP/1.0 has no chunks: a body of unknown length has to be read first.
        let buffering = proxy.request_buffering
            || (proxy.http_version == HttpVersion::Http10 && downstream.body_length().is_none());
        match RequestBody::prepare(exchange, downstream, buffering).await? {
            Ok(body) => body,
            Err(status) => return Ok(Outcome::Failed(status)),
        }
    };

    let mut request = buffer::take_small();
    // Variables may ask for the body while the head is written.
    if let RequestBody::Memory(bytes) = &mut body {
        exchange.body = std::mem::take(bytes);
    }
    let own_body = proxy.body.as_ref().map(|template| {
        let mut bytes = buffer::take_small();
        variables::expand(template, exchange, &mut bytes);
        bytes
    });
    let length = match (&own_body, &body) {
        (Some(bytes), _) => Some(bytes.len() as u64),
        (None, _) if !proxy.pass_request_body => None,
        (None, RequestBody::Memory(_)) => Some(exchange.body.len() as u64),
        // A length of zero that the client told is told again; otherwise nothing is said.
        (None, RequestBody::Empty) => {
            let fields = &exchange.head.fields;
            let is_told = fields.has(Known::ContentLength) || fields.has(Known::TransferEncoding);
            (is_told && proxy.pass_request_body).then_some(0)
        }
        (None, body) => body.length(),
    };
    let is_chunked = own_body.is_none()
        && proxy.pass_request_body
        && matches!(body, RequestBody::Stream { length: None, .. });
    exchange.peer_closes = write_request_head(
        &mut request,
        exchange,
        plan,
        uri.as_deref(),
        length,
        is_chunked,
    );
    if let RequestBody::Memory(bytes) = &mut body {
        *bytes = std::mem::take(&mut exchange.body);
    }
    // What is sent in place of the client's body; that one stays with its request.
    let replacement = match own_body {
        Some(bytes) => Some(RequestBody::Memory(bytes)),
        None if !proxy.pass_request_body => Some(RequestBody::Empty),
        None => None,
    };
    let kept = replacement.map(|replacement| std::mem::replace(&mut body, replacement));
    let head_end = request.len();
    if let RequestBody::Memory(bytes) = &body
        && bytes.len() <= BODY_WITH_HEAD
    {
        request.extend_from_slice(bytes);
    }

    let bind = proxy
        .bind
        .as_ref()
        .and_then(|bind| proxy_fields::bind_address(bind, exchange));
    let way = Way {
        kind: pool_kind(bind, secure.as_ref()),
        bind,
        secure,
    };
    let outcome = attempts(
        local, &upstream, &way, exchange, downstream, plan, &request, head_end, &mut body,
    )
    .await;
    buffer::give_back(request);
    kept.unwrap_or(body).give_back(exchange);
    outcome
}

/// Asks peers until one answers, and relays that answer.
#[expect(
    clippy::too_many_arguments,
    reason = "one call; a structure would only rename them"
)]
async fn attempts(
    local: &Rc<Local>,
    upstream: &Rc<LocalUpstream>,
    way: &Way,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    plan: &Plan,
    request: &[u8],
    head_end: usize,
    body: &mut RequestBody,
) -> Result<Outcome, ClientError> {
    let proxy = &*plan.proxy;
    let began = clock::now();
    let mut tried = Tried::with_limit(proxy.next_upstream_tries);
    let first_attempt = exchange.attempts.len();
    let mut last_status = 502;
    'peers: loop {
        let selected = match upstream.group.select_in_turn(exchange, &mut tried).await {
            Ok(selected) => selected,
            Err(NoPeer { label, .. }) => {
                local.log(
                    exchange,
                    Level::Error,
                    format_args!("no live upstreams while connecting to upstream"),
                );
                push_attempt(exchange, &label, &label, None, first_attempt);
                finish_attempt(exchange, 502);
                return Ok(Outcome::Failed(last_status));
            }
        };
        let mut may_reuse = true;
        loop {
            let target = selected.target();
            push_attempt(
                exchange,
                &target.label,
                &target.server_name,
                Some(target.traffic_id),
                first_attempt,
            );
            let idle = if may_reuse {
                upstream.checkout(&selected, way.kind)
            } else {
                None
            };
            let is_reused = idle.is_some();
            let link = attempt(
                &selected, idle, way, exchange, downstream, plan, request, head_end, body,
            )
            .await;
            let failure = match link {
                Ok(link) => {
                    let status = exchange.upstream_head.status;
                    let repeats = NextUpstream::of_status(status)
                        .is_some_and(|condition| proxy.next_upstream.has(condition))
                        && tried.may_continue()
                        && may_repeat(exchange, proxy, body)
                        && is_in_time(proxy, began);
                    if repeats {
                        finish_attempt(exchange, status);
                        // nginx does not count 403 and 404 as failures of the peer.
                        let event = match status {
                            403 | 404 => selected.pass_over(clock::now()),
                            _ => selected.fail(clock::now()),
                        };
                        log_event(local, exchange, event);
                        last_status = status;
                        continue 'peers;
                    }
                    return relay_answer(
                        local, upstream, selected, exchange, downstream, plan, link,
                    )
                    .await;
                }
                Err(Failure::Client(error)) => {
                    finish_attempt(exchange, 499);
                    return Err(error);
                }
                Err(Failure::Peer(error)) => error,
            };

            local.log(
                exchange,
                Level::Error,
                format_args!("{failure} while {}", failure.doing()),
            );
            finish_attempt(exchange, failure.status());
            let may_go_on = proxy.next_upstream.has(failure.condition())
                && body.can_repeat()
                && (failure.is_before_request() || may_repeat(exchange, proxy, body))
                && is_in_time(proxy, began);
            // A connection that was kept may have been closed by the peer at any time: that says
            // nothing about the peer, and the request is owed a fresh connection.
            if is_reused && failure.condition() == NextUpstream::ERROR && may_go_on {
                may_reuse = false;
                if let Some(attempt) = exchange.attempts.last_mut() {
                    attempt.peer = None;
                }
                continue;
            }
            let event = selected.fail(clock::now());
            log_event(local, exchange, event);
            last_status = failure.status();
            if may_go_on && tried.may_continue() {
                continue 'peers;
            }
            return Ok(Outcome::Failed(last_status));
        }
    }
}

/// Tells that a peer was given up, or came back.
fn log_event(local: &Local, exchange: &Exchange, event: Option<Event>) {
    match event {
        Some(Event::Disabled) => local.log(
            exchange,
            Level::Warn,
            format_args!("upstream server temporarily disabled"),
        ),
        Some(Event::Recovered) => local.log(
            exchange,
            Level::Notice,
            format_args!("upstream server is back"),
        ),
        None => {}
    }
}

/// How connections for a request are made.
struct Way {
    /// The local address (`proxy_bind`).
    bind: Option<SocketAddr>,
    /// Over TLS?
    secure: Option<Secure>,
    /// Tells apart kept connections that were made otherwise.
    kind: u64,
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
fn pool_kind(bind: Option<SocketAddr>, secure: Option<&Secure>) -> u64 {
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

/// May a request that may already have been acted upon be sent again?
fn may_repeat(exchange: &Exchange, proxy: &Proxy, body: &RequestBody) -> bool {
    body.can_repeat()
        && (exchange.method.is_idempotent()
            || proxy.next_upstream.has(NextUpstream::NON_IDEMPOTENT))
}

fn is_in_time(proxy: &Proxy, began: Instant) -> bool {
    proxy.next_upstream_timeout.is_zero()
        || clock::now().saturating_duration_since(began) < proxy.next_upstream_timeout
}

/// One try: connect, or take the kept connection, send, read the head of the answer.
#[expect(
    clippy::too_many_arguments,
    reason = "one call; a structure would only rename them"
)]
async fn attempt(
    selected: &Selected,
    idle: Option<Idle<Stream>>,
    way: &Way,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    plan: &Plan,
    request: &[u8],
    head_end: usize,
    body: &mut RequestBody,
) -> Result<Link, Failure> {
    let proxy = &*plan.proxy;
    let mut link = match idle {
        Some(Idle {
            stream,
            created,
            requests,
        }) => Link {
            stream,
            requests,
            created,
            kind: way.kind,
            deadline: Deadline::new(),
            is_armed: false,
        },
        None => connect(selected, way, downstream, proxy).await?,
    };
    link.requests += 1;
    let now = clock::now();
    if let Some(attempt) = exchange.attempts.last_mut() {
        attempt.connect_time = Some(now.saturating_duration_since(attempt.started));
    }

    let head = &mut exchange.upstream_head;
    head.reset();
    buffer::ensure(&mut head.fields.bytes);
    head.fields.bytes.clear();
    exchange.upstream_trailers.clear();

    let mut sent = 0;
    let mut sending = body.sender(request.len() > head_end);
    let mut is_sent = false;
    let mut parser = HeadParser::default();
    let limits = HeadLimits {
        line: proxy.buffer_size,
        total: proxy.buffer_size,
        fields: 1000,
        ignore_invalid: true,
        underscores: true,
    };
    let body_timeout = exchange.settings.body_timeout;
    loop {
        // Sending and reading run together: a peer may answer before it has read everything.
        let step = poll_fn(|context| {
            while !is_sent {
                if sent < request.len() {
                    match link.poll_timed(context, proxy.send_timeout, |stream, context| {
                        Pin::new(stream).poll_write(context, &request[sent..])
                    }) {
                        Poll::Ready(Some(Ok(count))) => {
                            sent += count;
                            count_sent(exchange, count);
                            continue;
                        }
                        Poll::Ready(Some(Err(error))) => {
                            return Poll::Ready(Err(Failure::Peer(PeerError::Send(error))));
                        }
                        Poll::Ready(None) => {
                            return Poll::Ready(Err(Failure::Peer(PeerError::SendTimedOut)));
                        }
                        Poll::Pending => break,
                    }
                }
                match sending.poll_next(context, exchange, downstream, body_timeout) {
                    Poll::Ready(Ok(false)) => {
                        is_sent = true;
                    }
                    Poll::Ready(Ok(true)) => {
                        match link.poll_timed(context, proxy.send_timeout, |stream, context| {
                            Pin::new(stream).poll_write(context, sending.pending())
                        }) {
                            Poll::Ready(Some(Ok(count))) => {
                                sending.advance(count);
                                count_sent(exchange, count);
                            }
                            Poll::Ready(Some(Err(error))) => {
                                return Poll::Ready(Err(Failure::Peer(PeerError::Send(error))));
                            }
                            Poll::Ready(None) => {
                                return Poll::Ready(Err(Failure::Peer(PeerError::SendTimedOut)));
                            }
                            Poll::Pending => break,
                        }
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(Failure::Client(error))),
                    Poll::Pending => break,
                }
            }
            let bytes = &mut exchange.upstream_head.fields.bytes;
            let read = if is_sent {
                link.poll_timed(context, proxy.read_timeout, |stream, context| {
                    stream.poll_read_into(context, bytes, buffer::SMALL)
                })
            } else {
                link.stream
                    .poll_read_into(context, bytes, buffer::SMALL)
                    .map(Some)
            };
            match read {
                Poll::Ready(Some(Ok(count))) => return Poll::Ready(Ok(count)),
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Err(Failure::Peer(PeerError::Receive(error))));
                }
                Poll::Ready(None) => {
                    return Poll::Ready(Err(Failure::Peer(PeerError::ReadTimedOut)));
                }
                Poll::Pending => {}
            }
            if is_sent && !proxy.ignore_client_abort && downstream.poll_gone(context).is_ready() {
                return Poll::Ready(Err(Failure::Client(ClientError::Closed(None))));
            }
            Poll::Pending
        })
        .await;
        let count = match step {
            Ok(count) => count,
            // The peer closed its receiving side; it may have said why.
            Err(Failure::Peer(PeerError::Send(error))) => {
                match read_what_is_there(&mut link, exchange).await {
                    Some(count) if count > 0 => {
                        is_sent = true;
                        sending.abandon();
                        link.requests = u64::MAX;
                        count
                    }
                    _ => return Err(Failure::Peer(PeerError::Send(error))),
                }
            }
            Err(failure) => return Err(failure),
        };
        if count == 0 {
            return Err(Failure::Peer(PeerError::Closed));
        }
        if let Some(attempt) = exchange.attempts.last_mut() {
            attempt.bytes_received += count as u64;
        }
        loop {
            let head = &mut exchange.upstream_head;
            match parser
                .response(head, 0, &limits)
                .map_err(|error| Failure::Peer(PeerError::Head(error)))?
            {
                Progress::Partial => break,
                Progress::Complete => {}
            }
            let status = head.status;
            if (100..200).contains(&status) && status != 101 {
                // Interim answers are passed on (RFC 9110 section 15.2), but for 100, which is ours to
                // say and was said; a client of HTTP/1.0 knows none.
                if status != 100 && exchange.head.version >= Version::Http11 {
                    let bytes = head.fields.bytes[..head.length].to_vec();
                    downstream.queue_interim(|out| out.extend_from_slice(&bytes));
                    downstream
                        .flush(exchange.settings.send_timeout)
                        .await
                        .map_err(Failure::Client)?;
                }
                // What was passed on makes room: however many come, one head's worth is held.
                let head = &mut exchange.upstream_head;
                let length = head.length;
                head.reset();
                head.fields.bytes.drain(..length);
                parser.reset();
                continue;
            }
            if !is_sent {
                // An early answer: the rest of the request is not sent, and the connection is done.
                link.requests = u64::MAX;
            }
            let now = clock::now();
            if let Some(attempt) = exchange.attempts.last_mut() {
                attempt.status = status;
                attempt.header_time = Some(now.saturating_duration_since(attempt.started));
            }
            let time = exchange
                .attempts
                .last()
                .and_then(|attempt| attempt.header_time);
            selected.head_received(exchange, time.unwrap_or_default(), now);
            return Ok(link);
        }
    }
}

fn count_sent(exchange: &mut Exchange, count: usize) {
    if let Some(attempt) = exchange.attempts.last_mut() {
        attempt.bytes_sent += count as u64;
    }
}

/// One read of what the peer sent before it refused to take more.
async fn read_what_is_there(link: &mut Link, exchange: &mut Exchange) -> Option<usize> {
    poll_fn(|context| {
        let bytes = &mut exchange.upstream_head.fields.bytes;
        match link.stream.poll_read_into(context, bytes, buffer::SMALL) {
            Poll::Ready(result) => Poll::Ready(result.ok()),
            Poll::Pending => Poll::Ready(None),
        }
    })
    .await
}

/// A fresh connection to a peer.
async fn connect(
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

fn push_attempt(
    exchange: &mut Exchange,
    address: &Rc<str>,
    server_name: &Rc<str>,
    peer: Option<PeerId>,
    first: usize,
) {
    exchange.attempts.push(Attempt {
        address: Rc::clone(address),
        server_name: Rc::clone(server_name),
        peer,
        is_new_group: exchange.attempts.len() == first,
        status: 0,
        started: clock::now(),
        connect_time: None,
        header_time: None,
        response_time: None,
        response_length: 0,
        bytes_sent: 0,
        bytes_received: 0,
    });
}

fn finish_attempt(exchange: &mut Exchange, status: u16) {
    if let Some(attempt) = exchange.attempts.last_mut() {
        if attempt.status == 0 {
            attempt.status = status;
        }
        attempt.response_time = Some(clock::now().saturating_duration_since(attempt.started));
    }
}

/// The group of peers and, for a `proxy_pass` with a path, the path and query to send.
async fn resolve_target(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    proxy: &Proxy,
) -> Result<(Rc<LocalUpstream>, Option<Vec<u8>>), u16> {
    match &proxy.target {
        Target::Group {
            scheme,
            upstream,
            host,
            port,
            uri,
        } => {
            exchange.proxy_scheme = *scheme;
            exchange.proxy_host.clear();
            exchange.proxy_host.extend_from_slice(host);
            exchange.proxy_port.clear();
            exchange.proxy_port.extend_from_slice(port);
            let uri = uri.as_ref().map(|uri| {
                let mut target = Vec::new();
                let behind = if exchange.rewrite_broken {
                    // A path rewritten here replaces the one in `proxy_pass`.
                    0
                } else {
                    target.extend_from_slice(uri);
                    exchange.settings.prefix_length
                };
                uri::push_escaped(
                    &mut target,
                    exchange.path.get(behind..).unwrap_or_default(),
                    Escape::Path,
                );
                append_args(&mut target, &exchange.args);
                target
            });
            let uri = uri.or_else(|| changed_target(exchange));
            Ok((local.upstream(*upstream), uri))
        }
        Target::Dynamic(template) => {
            let mut text = Vec::new();
            variables::expand(template, exchange, &mut text);
            let Some(target) = proxy_fields::split_url(&text) else {
                local.log(
                    exchange,
                    Level::Error,
                    format_args!("invalid URL prefix in \"{}\"", text.escape_ascii()),
                );
                return Err(500);
            };
            exchange.proxy_scheme = target.scheme;
            exchange.proxy_host.clear();
            exchange.proxy_host.extend_from_slice(target.host_and_port);
            exchange.proxy_port.clear();
            exchange
                .proxy_port
                .extend_from_slice(target.port.to_string().as_bytes());
            let uri = match target.uri {
                b"" => changed_target(exchange),
                uri if uri.starts_with(b"?") => {
                    let mut with_slash = b"/".to_vec();
                    with_slash.extend_from_slice(uri);
                    Some(with_slash)
                }
                uri => Some(uri.to_vec()),
            };
            Ok((local.dynamic(exchange, &target).await?, uri))
        }
    }
}

/// The path and query to send when it is no longer what the client asked for.
fn changed_target(exchange: &Exchange) -> Option<Vec<u8>> {
    if exchange.path_is_original {
        return None;
    }
    let mut target = Vec::with_capacity(exchange.path.len() + exchange.args.len() + 1);
    uri::push_escaped(&mut target, &exchange.path, Escape::Path);
    append_args(&mut target, &exchange.args);
    Some(target)
}

fn append_args(target: &mut Vec<u8>, args: &[u8]) {
    if !args.is_empty() {
        target.push(b'?');
        target.extend_from_slice(args);
    }
}

/// The head of the request as the peer gets it; `true` if it asks the peer to close afterwards.
fn write_request_head(
    out: &mut Vec<u8>,
    exchange: &Exchange,
    plan: &Plan,
    uri: Option<&[u8]>,
    length: Option<u64>,
    is_chunked: bool,
) -> bool {
    let proxy = &*plan.proxy;
    let head = &exchange.head;
    match &proxy.method {
        Some(method) => variables::expand(method, exchange, out),
        // An error page is fetched with GET whatever the client's method was.
        None if exchange.method == Method::Get && head.method != Method::Get => {
            out.extend_from_slice(b"GET")
        }
        None => out.extend_from_slice(head.bytes(head.method_token)),
    }
    out.push(b' ');
    let target = uri.unwrap_or_else(|| head.bytes(head.path_and_query));
    if target.starts_with(b"?") {
        out.push(b'/');
    }
    let start = out.len();
    out.extend_from_slice(target);
    // A target made of variables may hold decoded bytes that would end the request line.
    if out[start..]
        .iter()
        .any(|byte| *byte <= b' ' || *byte == 0x7f)
    {
        let raw = out.split_off(start);
        for byte in raw {
            match byte {
                0..=b' ' | 0x7f => {
                    let digit = |half: u8| b"0123456789ABCDEF"[usize::from(half)];
                    out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
                }
                byte => out.push(byte),
            }
        }
    }
    out.extend_from_slice(match proxy.http_version {
        HttpVersion::Http10 => b" HTTP/1.0\r\n",
        HttpVersion::Http11 => b" HTTP/1.1\r\n",
    });
    let mut closes = false;
    for field in &proxy.set_fields {
        // Whatever is configured, a body is framed by the length that it has.
        let frames = field.name.eq_ignore_ascii_case(b"content-length")
            || field.name.eq_ignore_ascii_case(b"transfer-encoding");
        if !frames || (length.is_none() && !is_chunked) {
            let start = out.len();
            write_set_field(out, exchange, &field.name, &field.value);
            closes |=
                field.name.eq_ignore_ascii_case(b"connection") && asks_to_close(&out[start..]);
        }
    }
    if let Some(length) = length {
        out.extend_from_slice(b"Content-Length: ");
        write::push_decimal(out, length);
        out.extend_from_slice(b"\r\n");
    }
    if is_chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    if proxy.pass_request_headers {
        let nominated = head.fields.has(Known::Connection);
        for (known, name, value) in head.fields.iter() {
            if plan.replaced.contains(known, name)
                || (nominated && hop_by_hop::is_nominated(&head.fields, name))
            {
                continue;
            }
            write::push_field(out, name, value);
        }
    }
    out.extend_from_slice(b"\r\n");
    closes
}

/// Does a `Connection` line that we wrote ask the peer to close?
fn asks_to_close(line: &[u8]) -> bool {
    let options = line
        .splitn(2, |&byte| byte == b':')
        .last()
        .unwrap_or_default();
    options
        .split(|&byte| byte == b',')
        .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
}

/// A field with a value computed for the request; nothing when the value is empty.
fn write_set_field(out: &mut Vec<u8>, exchange: &Exchange, name: &[u8], value: &Template) {
    let start = out.len();
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    let value_start = out.len();
    variables::expand(value, exchange, out);
    if out.len() == value_start {
        out.truncate(start);
        return;
    }
    // A value made of the client's bytes must not be able to begin another field.
    for byte in &mut out[value_start..] {
        if matches!(byte, b'\r' | b'\n' | 0) {
            *byte = b' ';
        }
    }
    // HTTP/2 in clear text past the rules of this proxy: never offered to a peer.
    let is_h2c = |option: &[u8]| option.trim_ascii().eq_ignore_ascii_case(b"h2c");
    if name.eq_ignore_ascii_case(b"upgrade")
        && out[value_start..].split(|&byte| byte == b',').any(is_h2c)
    {
        out.truncate(start);
        return;
    }
    out.extend_from_slice(b"\r\n");
}

/// A peer's head was read: turns it into the answer, sends that, and relays the body.
async fn relay_answer(
    local: &Rc<Local>,
    upstream: &Rc<LocalUpstream>,
    selected: Selected,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    plan: &Plan,
    mut link: Link,
) -> Result<Outcome, ClientError> {
    let proxy = &*plan.proxy;
    let status = exchange.upstream_head.status;
    let method = if exchange.method == Method::Head || exchange.head.method == Method::Head {
        Method::Head
    } else {
        exchange.method
    };
    let length = match framing::response_body(method, &exchange.upstream_head) {
        Ok(length) => length,
        Err(error) => {
            local.log(
                exchange,
                Level::Error,
                format_args!("{error} while reading response header from upstream"),
            );
            finish_attempt(exchange, 502);
            exchange.upstream_head.status = 0;
            if let Some(attempt) = exchange.attempts.last_mut() {
                attempt.status = 502;
            }
            let event = selected.fail(clock::now());
            log_event(local, exchange, event);
            return Ok(Outcome::Failed(502));
        }
    };
    if status == 101 {
        let is_wanted =
            framing::wants_upgrade(&exchange.head).is_some() && downstream.as_http1().is_some();
        if !is_wanted {
            local.log(
                exchange,
                Level::Error,
                format_args!(
                    "upstream sent unexpected 101 while reading response header from upstream"
                ),
            );
            finish_attempt(exchange, 502);
            let event = selected.fail(clock::now());
            log_event(local, exchange, event);
            return Ok(Outcome::Failed(502));
        }
        let outcome = tunnel::run(local, exchange, downstream, plan, link.stream).await;
        // Until here the tunnel counted as a connection to its peer.
        succeed(local, exchange, selected);
        return outcome;
    }
    if let Some(target) = proxy_fields::accel_redirect(exchange, plan) {
        finish_attempt(exchange, status);
        succeed(local, exchange, selected);
        return Ok(Outcome::Redirected(target));
    }
    if proxy.intercept_errors && status >= 300 && answer::has_error_page(exchange, status) {
        finish_attempt(exchange, status);
        succeed(local, exchange, selected);
        return Ok(Outcome::Intercepted(status));
    }

    let buffering = proxy_fields::take_response(exchange, plan, &selected) && proxy.buffering;
    exchange.status = status;
    exchange.has_peer_reason = true;
    exchange.answer_length = match length {
        BodyLength::Length(length) => Some(length),
        BodyLength::None => proxy_fields::told_length(exchange, method),
        BodyLength::Chunked | BodyLength::UntilClose => None,
    };
    let has_body = !matches!(length, BodyLength::None | BodyLength::Length(0));
    let has_trailers = answer::complete(exchange, None);
    if has_trailers && has_body && exchange.head.version == Version::Http11 {
        exchange.answer_length = None;
    }
    let mut window = None;
    if proxy.force_ranges && has_body {
        match range::apply_to_stream(exchange) {
            Ok(found) => window = found,
            Err(range::Unsatisfiable) => {
                finish_attempt(exchange, status);
                succeed(local, exchange, selected);
                return Ok(Outcome::Failed(416));
            }
        }
        exchange.has_peer_reason &= window.is_none();
    }
    let framing = if has_body {
        framing_for(
            exchange.head.version,
            exchange.answer_length,
            exchange.settings.chunked_transfer_encoding,
        )
    } else {
        Framing::Nothing
    };
    answer::start(local, exchange, downstream, framing, has_body);

    let mut source = Source::new(length, exchange.upstream_head.length);
    source.window = window;
    let limit = if buffering {
        proxy.buffers.max(buffer::SMALL)
    } else {
        0
    };
    let relayed = relay(exchange, downstream, &mut link, &mut source, limit, proxy).await;
    if let Some(attempt) = exchange.attempts.last_mut() {
        attempt.response_length = source.received;
    }
    finish_attempt(exchange, status);
    match relayed {
        Ok(()) => {
            let is_clean = source.leaves_connection_clean(&exchange.upstream_head.fields.bytes);
            // A peer that was asked in HTTP/1.0, or to close, closes, whatever it says.
            if is_clean
                && !exchange.peer_closes
                && proxy.http_version == HttpVersion::Http11
                && link.requests != u64::MAX
                && framing::keeps_response_connection(&exchange.upstream_head)
            {
                upstream.keep(
                    &selected,
                    link.kind,
                    Idle {
                        stream: link.stream,
                        requests: link.requests,
                        created: link.created,
                    },
                );
            }
            succeed(local, exchange, selected);
            exchange.is_complete = true;
            answer::note_sent(exchange);
            Ok(Outcome::Sent)
        }
        Err(RelayError::Client(error)) => {
            answer::note_sent(exchange);
            super::log_client_error(local, exchange, &error, "sending to client");
            Ok(Outcome::Cut)
        }
        Err(RelayError::Peer(error)) => {
            local.log(
                exchange,
                Level::Error,
                format_args!("{error} while reading upstream"),
            );
            // Nothing was sent yet: the client gets a whole answer that says so.
            if exchange.bytes_sent == 0 && downstream.take_back() {
                exchange.answer.clear();
                exchange.answer_trailers.clear();
                exchange.head_bytes_sent = 0;
                exchange.error_status = 0;
                let event = selected.fail(clock::now());
                log_event(local, exchange, event);
                return Ok(Outcome::Failed(502));
            }
            let event = selected.fail(clock::now());
            log_event(local, exchange, event);
            // What was received is still owed to the client; then it sees the cut.
            if let Ok(count) = downstream.flush(exchange.settings.send_timeout).await {
                exchange.bytes_sent += count;
            }
            answer::note_sent(exchange);
            Ok(Outcome::Cut)
        }
    }
}

/// The peer did what it was asked.
fn succeed(local: &Local, exchange: &Exchange, selected: Selected) {
    let time = exchange
        .attempts
        .last()
        .and_then(|attempt| attempt.response_time)
        .unwrap_or_default();
    let event = selected.succeed(exchange, time, clock::now());
    log_event(local, exchange, event);
}

enum RelayError {
    Client(ClientError),
    Peer(PeerError),
}

/// Where the body of a peer's answer stands.
struct Source {
    length: BodyLength,
    /// Bytes of the body still to come, when a length was told.
    remaining: u64,
    decoder: Decoder,
    /// Where in the head's buffer the unread bytes begin.
    unread: usize,
    /// Body bytes received, as `$upstream_response_length`.
    received: u64,
    /// What of the body the client gets, if not all of it.
    window: Option<Range<u64>>,
    is_complete: bool,
}

impl Source {
    fn new(length: BodyLength, head_length: usize) -> Self {
        let (remaining, is_complete) = match length {
            BodyLength::None => (0, true),
            BodyLength::Length(length) => (length, length == 0),
            BodyLength::Chunked | BodyLength::UntilClose => (0, false),
        };
        Self {
            length,
            remaining,
            decoder: Decoder::default(),
            unread: head_length,
            received: 0,
            window: None,
            is_complete,
        }
    }

    /// Queues body bytes, of which `self.received` is the position, or what the client asked for.
    fn deliver(&self, bytes: &[u8], downstream: &mut Downstream) {
        let Some(window) = &self.window else {
            downstream.queue(bytes);
            return;
        };
        let end = self.received + bytes.len() as u64;
        let (from, to) = (window.start.max(self.received), window.end.min(end));
        if from < to {
            let at = |position: u64| (position - self.received) as usize;
            downstream.queue(&bytes[at(from)..at(to)]);
        }
    }

    /// Did the answer end exactly where the peer stopped sending? Otherwise the next answer on this
    /// connection would begin with bytes that belong to nobody.
    fn leaves_connection_clean(&self, bytes: &[u8]) -> bool {
        self.is_complete
            && !matches!(self.length, BodyLength::UntilClose)
            && self.unread >= bytes.len()
    }

    /// Moves bytes that were already read to the client's queue.
    fn take_read(
        &mut self,
        exchange: &mut Exchange,
        downstream: &mut Downstream,
        pass_trailers: bool,
    ) -> Result<(), PeerError> {
        let bytes = &exchange.upstream_head.fields.bytes;
        match self.length {
            BodyLength::None => {}
            BodyLength::Length(_) => {
                let count = (bytes.len() - self.unread)
                    .min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
                self.deliver(&bytes[self.unread..self.unread + count], downstream);
                self.unread += count;
                self.took(count);
            }
            BodyLength::UntilClose => {
                self.deliver(&bytes[self.unread..], downstream);
                self.received += (bytes.len() - self.unread) as u64;
                self.unread = bytes.len();
            }
            BodyLength::Chunked => {
                while self.unread < bytes.len() && !self.decoder.is_done() {
                    let input = &bytes[self.unread..];
                    let decoded = self
                        .decoder
                        .decode(input, &mut exchange.upstream_trailers)
                        .map_err(PeerError::Chunk)?;
                    self.deliver(&input[decoded.data.clone()], downstream);
                    self.received += decoded.data.len() as u64;
                    self.unread += decoded.consumed;
                    if decoded.consumed == 0 {
                        break;
                    }
                }
                self.is_complete = self.decoder.is_done();
                if self.is_complete && pass_trailers {
                    for (_, name, value) in exchange.upstream_trailers.iter() {
                        exchange.answer_trailers.push(name, value);
                    }
                }
            }
        }
        Ok(())
    }

    fn took(&mut self, count: usize) {
        self.remaining -= count as u64;
        self.received += count as u64;
        self.is_complete = self.remaining == 0;
    }
}

/// Moves the body from the peer to the client. `limit` is how much may wait for a slow client
/// before the peer has to wait too; 0 reads on only when all was written.
async fn relay(
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    link: &mut Link,
    source: &mut Source,
    limit: usize,
    proxy: &Proxy,
) -> Result<(), RelayError> {
    let send_timeout = exchange.settings.send_timeout;
    source
        .take_read(exchange, downstream, proxy.pass_trailers)
        .map_err(RelayError::Peer)?;
    let mut is_ended = false;
    let mut is_client_gone = None;
    let mut pace = match proxy.limit_rate.literal() {
        Some(b"0") => None,
        _ => Some(answer::size_of(&proxy.limit_rate, exchange)),
    }
    .filter(|&rate| rate > 0)
    .map(|rate| Pace::new(rate, 0));
    poll_fn(|context| {
        loop {
            let mut progress = false;
            if source.is_complete && !is_ended {
                is_ended = true;
                answer::add_trailers(exchange);
                downstream.queue_end(&exchange.answer_trailers);
            }
            if downstream.queued() > 0 && is_client_gone.is_none() {
                match downstream.poll_flush(context, send_timeout) {
                    Poll::Ready(Ok(count)) => {
                        exchange.bytes_sent += count as u64;
                        progress = true;
                    }
                    Poll::Ready(Err(error)) if proxy.ignore_client_abort => {
                        is_client_gone = Some(error)
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(RelayError::Client(error))),
                    Poll::Pending => {}
                }
            }
            if is_ended && (downstream.queued() == 0 || is_client_gone.is_some()) {
                return Poll::Ready(match is_client_gone.take() {
                    Some(error) => Err(RelayError::Client(error)),
                    None => Ok(()),
                });
            }
            let queued = downstream.queued();
            let received = source.received;
            let is_allowed = pace
                .as_mut()
                .is_none_or(|pace| source.is_complete || pace.poll_allowance(context).is_ready());
            if is_allowed
                && !source.is_complete
                && (queued == 0 || queued < limit || is_client_gone.is_some())
            {
                match poll_source(
                    context,
                    exchange,
                    downstream,
                    link,
                    source,
                    proxy,
                    is_client_gone.is_some(),
                ) {
                    Poll::Ready(Ok(())) => {
                        progress = true;
                        if let Some(pace) = &mut pace {
                            pace.note((source.received - received) as usize);
                        }
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(RelayError::Peer(error))),
                    Poll::Pending => {}
                }
            }
            if !progress {
                return Poll::Pending;
            }
        }
    })
    .await
}

/// One read from the peer into the client's queue.
fn poll_source(
    context: &mut Context<'_>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    link: &mut Link,
    source: &mut Source,
    proxy: &Proxy,
    is_discarding: bool,
) -> Poll<Result<(), PeerError>> {
    let is_raw = source.window.is_none()
        && matches!(
            source.length,
            BodyLength::Length(_) | BodyLength::UntilClose
        );
    let read = if is_raw
        && !is_discarding
        && let Some(queue) = downstream.raw_queue()
    {
        // Nothing is added to the bytes: they are read to where they are written from.
        if queue.capacity() < READ {
            let mut large = buffer::take_large();
            large.extend_from_slice(queue);
            buffer::give_back(std::mem::replace(queue, large));
        }
        let before = queue.len();
        let room = match source.length {
            BodyLength::Length(_) => usize::try_from(source.remaining)
                .unwrap_or(usize::MAX)
                .min(READ),
            _ => READ,
        };
        let read = link.poll_timed(context, proxy.read_timeout, |stream, context| {
            use bytes::BufMut as _;
            let mut limited = queue.limit(room);
            let read = std::pin::pin!(tokio::io::AsyncReadExt::read_buf(stream, &mut limited));
            read.poll(context)
        });
        if let Poll::Ready(Some(Ok(count))) = read {
            debug_assert_eq!(queue.len(), before + count);
            match source.length {
                BodyLength::Length(_) => source.took(count),
                _ => source.received += count as u64,
            }
        }
        read
    } else {
        let head_length = exchange.upstream_head.length;
        let bytes = &mut exchange.upstream_head.fields.bytes;
        if source.unread == bytes.len() {
            bytes.truncate(head_length);
            source.unread = head_length;
        }
        let read = link.poll_timed(context, proxy.read_timeout, |stream, context| {
            stream.poll_read_into(context, bytes, READ / 2)
        });
        if let Poll::Ready(Some(Ok(count))) = read
            && count > 0
        {
            source.take_read(exchange, downstream, proxy.pass_trailers)?;
        }
        read
    };
    match read {
        Poll::Ready(Some(Ok(0))) if matches!(source.length, BodyLength::UntilClose) => {
            source.is_complete = true;
            Poll::Ready(Ok(()))
        }
        Poll::Ready(Some(Ok(0))) => Poll::Ready(Err(PeerError::Closed)),
        Poll::Ready(Some(Ok(count))) => {
            if let Some(attempt) = exchange.attempts.last_mut() {
                attempt.bytes_received += count as u64;
            }
            Poll::Ready(Ok(()))
        }
        Poll::Ready(Some(Err(error))) => Poll::Ready(Err(PeerError::Receive(error))),
        Poll::Ready(None) => Poll::Ready(Err(PeerError::ReadTimedOut)),
        Poll::Pending => Poll::Pending,
    }
}
