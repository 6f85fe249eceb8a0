//! A client's connection from its first byte to its last: reading heads, keep-alive, pipelining,
//! lingering close.
//!
//! A connection is in one of two states. Parked, it is a descriptor and a deadline. When bytes arrive
//! it becomes busy: an exchange and buffers are there, and stay for a moment after an answer, so
//! that a client in full flight costs no allocation per request and an idle one no memory.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::io::AsyncWrite as _;

use super::downstream::{Downstream, Http1};
use super::generation::Local;
use super::handshake::{self, Accepted};
use super::worker::{Guard, Worker};
use super::{http2, proxy_protocol, serve};
use crate::conf::typed::listen::Address;
use crate::conf::typed::location::{Lingering, LingeringMode, Reading, Server};
use crate::conf::typed::log::Level;
use crate::http::exchange::{Connection, Exchange};
use crate::http::h1::framing;
use crate::http::h1::parse::{HeadLimits, HeadParser, Progress, RequestError};
use crate::http::head::{Known, Method, Slice};
use crate::http::{buffer, uri};
use crate::log;
use crate::metrics::registry;
use crate::net;
use crate::net::deadline::Deadline;
use crate::tls::stream::Stream;
use crate::unit::clock;

/// How long after an answer a connection keeps its memory. A client in full flight sends its next
/// request within this time. Longer would let the memory of many connections that are used once lie
/// between what they keep for good, where the allocator cannot give it back: with a second, ten
/// thousand of them took 57 MiB.
pub(super) const PARK_AFTER: Duration = Duration::from_millis(50);
/// What an HTTP/2 client sends first (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

static SERIAL: AtomicU64 = AtomicU64::new(1);

/// How a busy phase ended.
enum End {
    /// Nothing came for a while; the connection waits on without its memory.
    Park { stream: Stream, keepalive: Duration },
    /// The client speaks HTTP/2; these bytes of it were read.
    Http2 { stream: Stream, read: Vec<u8> },
    /// It is over.
    Closed,
}

/// Serves a client's connection, as a task of this thread.
///
/// What the task holds lies in memory for as long as the connection, so it is small ([`keep`]); what a
/// handshake needs lies beside it, until that is over.
pub fn start(worker: &Rc<Worker>, stream: net::stream::Stream, listen: Rc<Address>) {
    let guard = worker.enter();
    let remote = stream.peer_address();
    let local_address = match &*listen {
        Address::Ip(address) if !address.ip().is_unspecified() => (*listen).clone(),
        Address::Unix(_) => (*listen).clone(),
        Address::Ip(_) => stream.local_address(),
    };
    let connection = Connection {
        serial: SERIAL.fetch_add(1, Ordering::Relaxed),
        remote_text: Connection::text_of(&remote),
        remote,
        local: local_address,
        secured: None,
        proxied: None,
        accepted: clock::now(),
        descriptor: stream.descriptor(),
    };
    let (is_proxied, is_secure) = {
        let local = worker.local();
        let (generation, to) = (&local.generation, &connection.local);
        (
            generation.is_proxied(&listen, to),
            generation.is_secure(&listen, to),
        )
    };
    if is_proxied || is_secure {
        let (worker, to) = (Rc::clone(worker), Rc::clone(&listen));
        let greeting = Box::pin(greet(worker, stream, connection, to, is_proxied, is_secure));
        tokio::task::spawn_local(async move {
            if let Some((stream, connection, first)) = greeting.await {
                keep(guard, stream, connection, listen, Some(first)).await;
            }
        });
    } else {
        let (stream, connection) = (stream.into(), Rc::new(connection));
        tokio::task::spawn_local(keep(guard, stream, connection, listen, None));
    }
}

/// What is known of a connection before its first request.
#[derive(Default)]
struct First {
    /// Bytes of it that were read.
    read: Vec<u8>,
    /// The client speaks plain HTTP where TLS is spoken.
    is_misplaced: bool,
    /// The handshake chose HTTP/2.
    is_http2: bool,
}

/// Hears what a proxy says of the client, and makes the handshake of TLS.
async fn greet(
    worker: Rc<Worker>,
    mut stream: net::stream::Stream,
    mut connection: Connection,
    listen: Rc<Address>,
    is_proxied: bool,
    is_secure: bool,
) -> Option<(Stream, Rc<Connection>, Box<First>)> {
    let mut first = Box::<First>::default();
    // Before all else, TLS too: it is the proxy that speaks.
    if is_proxied {
        first.read = proxy_protocol::read(&worker, &mut stream, &mut connection, &listen).await?;
    }
    if !is_secure {
        return Some((stream.into(), Rc::new(connection), first));
    }
    let read = std::mem::take(&mut first.read);
    let stream = match handshake::accept(&worker, stream, read, &mut connection, &listen).await? {
        Accepted::Http1(secure) => secure,
        Accepted::Http2(secure) => {
            first.is_http2 = true;
            secure
        }
        Accepted::Plain { io, read } => {
            first.read = read;
            first.is_misplaced = true;
            io.into()
        }
    };
    Some((stream, Rc::new(connection), first))
}

/// Serves the requests of a connection, and waits for them.
// An `async fn` would keep all that it is given twice: as it got it, and as it works with it.
#[expect(clippy::manual_async_fn, reason = "its future is smaller so")]
fn keep(
    guard: Guard,
    mut stream: Stream,
    connection: Rc<Connection>,
    listen: Rc<Address>,
    mut first: Option<Box<First>>,
) -> impl Future<Output = ()> {
    async move {
        let mut requests = 0;
        // A fresh connection has the time of a request head; a kept one that of keep-alive.
        let mut patience = None;
        let (stream, read) = loop {
            if first
                .as_ref()
                .is_none_or(|first| first.read.is_empty() && !first.is_http2)
            {
                let patience = {
                    let local = guard.worker().local();
                    let Some(position) = local.generation.listen(&listen, &connection.local) else {
                        return;
                    };
                    patience.unwrap_or(default_server(&local, position).1.reading.header_timeout)
                };
                registry::with(|counters| counters.waiting.increase());
                let is_readable = wait(guard.worker(), &mut stream, patience, requests == 0).await;
                registry::with(|counters| counters.waiting.decrease());
                if !is_readable {
                    stream.say_goodbye();
                    return;
                }
            }
            let begun = first.take().map(|first| *first).unwrap_or_default();
            if begun.is_http2 {
                break (stream, begun.read);
            }
            let busy = Box::pin(busy(
                guard.worker(),
                stream,
                begun,
                &connection,
                &listen,
                &mut requests,
            ));
            match busy.await {
                End::Park {
                    stream: parked,
                    keepalive,
                } => {
                    stream = parked;
                    patience = Some(keepalive);
                }
                End::Http2 { stream, read } => break (stream, read),
                End::Closed => return,
            }
        };
        let worker = guard.worker();
        Box::pin(http2::run(worker, stream, read, &connection, &listen)).await;
    }
}

/// Waits for something to read; `false` if the time passed or the worker drains. A client whose
/// first request is still on its way was promised an answer when its connection was accepted, so
/// that one is waited for even then, as nginx does.
fn wait(
    worker: &Worker,
    stream: &mut Stream,
    patience: Duration,
    is_fresh: bool,
) -> impl Future<Output = bool> {
    let deadline = Deadline::new();
    deadline.set(patience);
    std::future::poll_fn(move |context| {
        // A request that has arrived already goes before the drain.
        if stream.poll_peek(context).is_ready() {
            return Poll::Ready(true);
        }
        if worker.is_draining() && !is_fresh {
            return Poll::Ready(false);
        }
        deadline.poll_expired(context).map(|()| false)
    })
}

/// The server whose settings hold before a request names one, and its position.
pub(super) fn default_server(local: &Local, listen: usize) -> (usize, &Arc<Server>) {
    let http = &local.generation.http;
    let position = http.listens[listen].default_server;
    (position, &http.servers[position])
}

/// Requests one after another, for as long as they come without a pause. `begun` is the first of them.
async fn busy(
    worker: &Rc<Worker>,
    stream: Stream,
    begun: First,
    connection: &Rc<Connection>,
    listen: &Rc<Address>,
    requests: &mut u64,
) -> End {
    let is_misplaced = begun.is_misplaced;
    let mut local = worker.local();
    let Some(mut listening) = local.generation.listen(listen, &connection.local) else {
        return End::Closed;
    };
    let server = Arc::clone(default_server(&local, listening).1);
    let mut exchange = Exchange::new(
        Rc::clone(connection),
        Arc::clone(&local.generation.http),
        server,
    );
    exchange.head.fields.bytes = begun.read;
    let mut downstream = Downstream::Http1(Box::new(Http1::new(stream)));
    let mut parser = HeadParser::default();
    let mut patience = None;
    loop {
        // The next request belongs to the configuration in force when it begins.
        if !worker.is_current(&local) {
            local = worker.local();
            match local.generation.listen(listen, &connection.local) {
                Some(position) => listening = position,
                None => return End::Closed,
            }
        }
        let (position, server) = default_server(&local, listening);
        exchange.enter_server(server, position);
        let header_timeout = server.reading.header_timeout;
        parser.reset();
        let head = read_head(
            worker,
            &mut exchange,
            &mut downstream,
            &mut parser,
            patience,
            header_timeout,
            !is_misplaced,
        )
        .await;
        let Downstream::Http1(http1) = &mut downstream else {
            return End::Closed;
        };
        let first = match head {
            Read::Head => Ok(()),
            Read::Refused(error) => {
                keep_refused_line(&mut exchange);
                local.log(
                    &exchange,
                    Level::Info,
                    format_args!("{error} while reading client request headers"),
                );
                Err(status_of(error))
            }
            Read::TimedOut => {
                // Nobody is told: the client may not even speak HTTP.
                local.log(
                    &exchange,
                    Level::Info,
                    format_args!("client timed out (110: Connection timed out) while reading client request headers"),
                );
                exchange.status = 408;
                *requests += 1;
                exchange.request_count = *requests;
                local.finish(&mut exchange);
                log::flush_thread();
                if exchange.settings.reset_timed_out {
                    http1.stream.reset_on_close();
                }
                return End::Closed;
            }
            Read::Http2 => {
                let read = std::mem::take(&mut exchange.head.fields.bytes);
                let Downstream::Http1(http1) = downstream else {
                    return End::Closed;
                };
                return End::Http2 {
                    stream: http1.stream,
                    read,
                };
            }
            Read::Ended { was_partial } => {
                if was_partial {
                    local.log(
                        &exchange,
                        Level::Info,
                        format_args!("client prematurely closed connection while reading client request headers"),
                    );
                    exchange.status = 400;
                    *requests += 1;
                    exchange.request_count = *requests;
                    local.finish(&mut exchange);
                    log::flush_thread();
                }
                return End::Closed;
            }
            Read::Idle => {
                let keepalive = exchange
                    .settings
                    .keepalive_timeout
                    .unwrap_or_default()
                    .saturating_sub(PARK_AFTER);
                buffer::release(&mut exchange.head.fields.bytes);
                let Downstream::Http1(http1) = downstream else {
                    return End::Closed;
                };
                return End::Park {
                    stream: http1.stream,
                    keepalive,
                };
            }
        };

        // Reading may have taken long: a reload in the meantime counts.
        if !worker.is_current(&local) {
            local = worker.local();
            match local.generation.listen(listen, &connection.local) {
                Some(position) => listening = position,
                None => return End::Closed,
            }
        }
        *requests += 1;
        exchange.request_count = *requests;
        registry::with(|counters| {
            counters.requests.increase();
            counters.writing.increase();
        });
        let mut prepared = first.and_then(|()| prepare(&local, &mut exchange, http1, listening));
        if is_misplaced {
            exchange.keep_alive = false;
            local.log(
                &exchange,
                Level::Info,
                format_args!("client sent plain HTTP request to HTTPS port while reading client request headers"),
            );
            prepared = prepared.and(Err(497));
        }
        let is_whole = serve(&local, &mut exchange, &mut downstream, prepared).await;
        local.finish(&mut exchange);
        registry::with(|counters| counters.writing.decrease());

        let stays = is_whole && exchange.keep_alive;
        let settings = Arc::clone(&exchange.settings);
        if !stays {
            // The line of the log is there before the client sees the end.
            log::flush_thread();
            if is_whole {
                linger(&mut exchange, &mut downstream, &settings.lingering).await;
            }
            let Downstream::Http1(http1) = &mut downstream else {
                return End::Closed;
            };
            if is_whole {
                http1.stream.say_goodbye();
            } else if settings.reset_timed_out {
                http1.stream.reset_on_close();
            }
            buffer::release(&mut exchange.head.fields.bytes);
            return End::Closed;
        }
        if !downstream.is_body_complete() && !discard_body(&mut exchange, &mut downstream).await {
            log::flush_thread();
            return End::Closed;
        }
        let Downstream::Http1(http1) = &mut downstream else {
            return End::Closed;
        };
        http1.release_buffers();
        // What was read behind this request begins the next one.
        let bytes = &mut exchange.head.fields.bytes;
        if http1.unread >= bytes.len() {
            buffer::release(bytes);
        } else {
            bytes.drain(..http1.unread);
        }
        http1.unread = 0;
        if exchange.upstream_head.fields.bytes.capacity() != 0 {
            exchange.upstream_head.reset();
            buffer::release(&mut exchange.upstream_head.fields.bytes);
        }
        exchange.reset();
        patience = settings.keepalive_timeout;
    }
}

/// What was read of a request line that is none goes to the log all the same.
fn keep_refused_line(exchange: &mut Exchange) {
    let head = &mut exchange.head;
    if !head.line.is_empty() {
        return;
    }
    let bytes = &head.fields.bytes;
    let start = bytes
        .iter()
        .position(|byte| !matches!(byte, b'\r' | b'\n'))
        .unwrap_or(bytes.len());
    let rest = &bytes[start..];
    let length = memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
    let length = length.min(exchange.server.reading.large_header_buffers.1);
    if rest.starts_with(b"HEAD ") {
        head.method = Method::Head;
    }
    head.line = Slice::new(start, start + length);
}

/// What reading a head came to.
enum Read {
    Head,
    Refused(RequestError),
    TimedOut,
    Http2,
    /// The client closed; in the middle of a head or not.
    Ended {
        was_partial: bool,
    },
    /// Nothing came for a while after an answer.
    Idle,
}

/// Reads until the head is complete. `may_be_http2` is false where TLS is spoken and this client does
/// not: HTTP/2 would get by the answer that tells it so, and by what TLS asks of clients.
async fn read_head(
    worker: &Rc<Worker>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    parser: &mut HeadParser,
    keepalive: Option<Duration>,
    header_timeout: Duration,
    may_be_http2: bool,
) -> Read {
    let Downstream::Http1(http1) = downstream else {
        return Read::Ended { was_partial: false };
    };
    let reading = &exchange.server.reading;
    let limits = limits(reading);
    let http2_allowed = reading.http2 && may_be_http2;
    let mut has_begun = !exchange.head.fields.bytes.is_empty();
    exchange.is_pipelined = has_begun && exchange.request_count > 0;
    let is_first = keepalive.is_none() && exchange.request_count == 0;
    if !has_begun {
        registry::with(|counters| counters.waiting.increase());
        http1.deadline.set(match keepalive {
            Some(keepalive) => keepalive.min(PARK_AFTER),
            None => header_timeout,
        });
    } else {
        registry::with(|counters| counters.reading.increase());
        http1.deadline.set(header_timeout);
        exchange.started = clock::now();
    }
    let read = loop {
        if has_begun {
            let bytes = &exchange.head.fields.bytes;
            let seen = bytes.len().min(PREFACE.len());
            let may_be_http2 = http2_allowed && is_first && bytes[..seen] == PREFACE[..seen];
            if may_be_http2 && seen == PREFACE.len() {
                break Read::Http2;
            }
            if !may_be_http2 {
                match parser.request(&mut exchange.head, &limits) {
                    Ok(Progress::Complete) => break Read::Head,
                    Ok(Progress::Partial) => {}
                    Err(error) => break Read::Refused(error),
                }
            }
        }
        let bytes = &mut exchange.head.fields.bytes;
        let polled = http1
            .deadline
            .guard_with(&mut http1.stream, |stream, context| {
                buffer::ensure(bytes);
                match stream.poll_read_into(context, bytes, buffer::SMALL) {
                    Poll::Ready(result) => Poll::Ready(Some(result)),
                    Poll::Pending => {
                        if bytes.is_empty() {
                            buffer::release(bytes);
                        }
                        if !has_begun && !is_first && worker.is_draining() {
                            return Poll::Ready(None);
                        }
                        Poll::Pending
                    }
                }
            })
            .await;
        match polled {
            None if has_begun => break Read::TimedOut,
            None if keepalive.is_some_and(|keepalive| keepalive > PARK_AFTER) => break Read::Idle,
            None | Some(None) => break Read::Ended { was_partial: false },
            Some(Some(Ok(0) | Err(_))) => {
                break Read::Ended {
                    was_partial: has_begun,
                };
            }
            Some(Some(Ok(_))) => {
                if !has_begun {
                    has_begun = true;
                    exchange.started = clock::now();
                    registry::with(|counters| {
                        counters.waiting.decrease();
                        counters.reading.increase();
                    });
                    http1.deadline.set(header_timeout);
                }
            }
        }
    };
    registry::with(|counters| {
        if has_begun {
            counters.reading.decrease()
        } else {
            counters.waiting.decrease()
        }
    });
    read
}

/// The limits of a head.
pub(super) fn limits(reading: &Reading) -> HeadLimits {
    let (count, size) = reading.large_header_buffers;
    HeadLimits {
        line: size,
        total: count.saturating_mul(size),
        fields: reading.max_fields,
        ignore_invalid: reading.ignore_invalid,
        underscores: reading.underscores,
    }
}

/// The status that a refused head is answered with.
pub(super) fn status_of(error: RequestError) -> u16 {
    match error {
        RequestError::UriTooLong => 414,
        RequestError::HeaderTooLarge | RequestError::TooManyFields => 494,
        RequestError::UnsupportedVersion => 505,
        RequestError::UnsupportedTransferEncoding => 501,
        _ => 400,
    }
}

/// From a head to a request: host, server, path, body. The error is a status.
pub(super) fn prepare(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    http1: &mut Http1,
    listen: usize,
) -> Result<(), u16> {
    // Empty lines in front of it are not part of a request.
    let head = &exchange.head;
    exchange.request_length = head.length as u64 - u64::from(head.line.start);
    exchange.method = exchange.head.method;
    http1.unread = exchange.head.length;
    let length = match framing::request_body(&exchange.head) {
        Ok(length) => length,
        Err(error) => {
            find_server(local, exchange, listen)?;
            local.log(
                exchange,
                Level::Info,
                format_args!("{error} while reading client request headers"),
            );
            return Err(status_of(error));
        }
    };
    http1.expect_body(
        exchange.head.length,
        length,
        framing::expects_continue(&exchange.head),
    );
    exchange.keep_alive = framing::keeps_request_connection(&exchange.head);
    find_server(local, exchange, listen)?;
    route(local, exchange)
}

/// What HTTP/1 and HTTP/2 have in common behind the choice of the server.
pub(super) fn route(local: &Rc<Local>, exchange: &mut Exchange) -> Result<(), u16> {
    // Before anything is done for a client, it must be one that may ask this server.
    handshake::check_client(local, exchange)?;
    // An open proxy would serve these; a reverse proxy has no use for them (nginx answers 405).
    if matches!(exchange.method, Method::Connect | Method::Trace) {
        let name = if exchange.method == Method::Connect {
            "CONNECT"
        } else {
            "TRACE"
        };
        local.log(
            exchange,
            Level::Info,
            format_args!("client sent {name} method while reading client request headers"),
        );
        exchange.keep_alive = false;
        return Err(405);
    }
    let target = exchange.head.path_and_query.of(&exchange.head.fields.bytes);
    if target == b"*" {
        // The server as a whole has no options to tell; nginx knows no such target.
        exchange.keep_alive = false;
        return Err(400);
    }
    let merge_slashes = exchange.server.reading.merge_slashes;
    match uri::normalise(target, merge_slashes, &mut exchange.path) {
        Ok(normalised) => {
            if let uri::Path::AsReceived(length) = normalised.path {
                exchange.path.extend_from_slice(&target[..length]);
            }
            if let Some(query) = normalised.query {
                exchange.args.extend_from_slice(&target[query]);
            }
            Ok(())
        }
        Err(error) => {
            local.log(
                exchange,
                Level::Info,
                format_args!("{error} while reading client request line"),
            );
            Err(400)
        }
    }
}

/// The server that the request's host chooses; its settings hold from here on.
pub(super) fn find_server(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    listen: usize,
) -> Result<(), u16> {
    let host = match exchange.head.authority.is_empty() {
        // RFC 9112 section 3.2.2: an absolute-form target replaces Host.
        false => exchange.head.authority.of(&exchange.head.fields.bytes),
        true => exchange.head.fields.known(Known::Host).unwrap_or_default(),
    };
    let mut result = Ok(());
    // The requests of a connection nearly always name the same host.
    if host != exchange.host_as_received {
        exchange.host_as_received.clear();
        exchange.host.clear();
        exchange.host_port = None;
        if !host.is_empty() {
            match uri::validate_host(host, &mut exchange.host) {
                Ok(port) => {
                    exchange.host_port = port;
                    exchange.host_as_received.extend_from_slice(host);
                }
                Err(error) => {
                    exchange.host.clear();
                    local.log(
                        exchange,
                        Level::Info,
                        format_args!(
                            "client sent {error} header while reading client request headers"
                        ),
                    );
                    result = Err(400);
                }
            }
        }
    }
    if !Arc::ptr_eq(&exchange.http, &local.generation.http) {
        exchange.http = Arc::clone(&local.generation.http);
    }
    let position = local
        .generation
        .routes
        .server(listen, &exchange.host, exchange);
    exchange.enter_server(&local.generation.http.servers[position], position);
    result
}

/// Reads what is left of a body that nobody wanted, so that the next request can be read; `false`
/// when the client does not let us.
async fn discard_body(exchange: &mut Exchange, downstream: &mut Downstream) -> bool {
    let lingering = exchange.settings.lingering.clone();
    let began = clock::now();
    let mut scrap = buffer::take_small();
    let is_complete = loop {
        scrap.clear();
        match downstream
            .read_body(exchange, &mut scrap, buffer::SMALL, lingering.timeout)
            .await
        {
            Ok(true) => break true,
            Ok(false) if clock::since(began) < lingering.time => {}
            _ => break false,
        }
    };
    buffer::give_back(scrap);
    is_complete
}

/// Closes the sending side and reads on for a while: closing with unread bytes would make the kernel
/// send a reset, which can destroy the answer on its way to the client (RFC 9112 section 9.6).
async fn linger(exchange: &mut Exchange, downstream: &mut Downstream, lingering: &Lingering) {
    let has_more = !downstream.is_body_complete();
    let Downstream::Http1(http1) = downstream else {
        return;
    };
    let is_pipelined = http1.unread < exchange.head.fields.bytes.len();
    let wanted = match lingering.mode {
        LingeringMode::Off => false,
        LingeringMode::On => has_more || is_pipelined,
        LingeringMode::Always => true,
    };
    if !wanted {
        return;
    }
    // With TLS this writes, and a client that reads nothing must not hold the connection for ever.
    http1.deadline.set(lingering.timeout);
    let shut = http1
        .deadline
        .guard_with(&mut http1.stream, |stream, context| {
            Pin::new(stream).poll_shutdown(context)
        });
    if shut.await.is_none() {
        return;
    }
    let began = clock::now();
    let mut scrap = buffer::take_small();
    while clock::since(began) < lingering.time {
        scrap.clear();
        http1.deadline.set(lingering.timeout);
        let read = http1
            .deadline
            .guard_with(&mut http1.stream, |stream, context| {
                stream.poll_read_into(context, &mut scrap, buffer::SMALL)
            })
            .await;
        if !matches!(read, Some(Ok(1..))) {
            break;
        }
    }
    buffer::give_back(scrap);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_task<A, B, C, D, E, F: Future>(_: fn(A, B, C, D, E) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_connection_that_waits_holds_little() {
        // The runtime adds 96 bytes and rounds up to 128.
        assert!(size_of_task(keep) <= 128, "{} bytes", size_of_task(keep));
    }
}
