//! A client's connection that speaks HTTP/2, from the preface to its last byte.
//!
//! Owns how long a client may take and how much it may ask for: the head that does not end
//! (`client_header_timeout`), the socket that takes nothing (`send_timeout`), the connection without
//! a stream (`keepalive_timeout`), its whole life (`keepalive_time`, `keepalive_requests`). A stream
//! has its own times, see [`super::stream`].
//!
//! Invariant: a connection ends with GOAWAY, and no answer that was begun is cut by us unless the
//! client is at fault.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};

use super::metered::Metered;
use super::stream::Http2;
use super::{Running, Shared};
use crate::conf::typed::listen::Address;
use crate::conf::typed::location::{LingeringMode, Server};
use crate::conf::typed::log::Level;
use crate::http::exchange::{Connection, Exchange};
use crate::http::h1::parse::RequestError;
use crate::http::h2::request::{self, Asks, HeadError};
use crate::http::variables;
use crate::log;
use crate::metrics::registry;
use crate::net::deadline::Deadline;
use crate::serve::downstream::Downstream;
use crate::serve::worker::Worker;
use crate::serve::{connection, serve};
use crate::tls::stream::Stream;
use crate::unit::clock;

/// Bytes of answers that the engine holds for one stream.
const SEND_BUFFER: usize = 64 << 10;
/// The window of a connection, in windows of a stream: what all streams together may send before it
/// is read. One body that nobody reads must not keep the others from coming.
const WINDOWS: u32 = 2;
/// The engine counts each field as its length and 32 bytes; a head of usual fields that our own
/// limit allows must not fail for these.
const LIST_OVERHEAD: usize = 4 << 10;
/// How long a client without a stream has to answer that it has heard our goodbye, and how long it
/// may say nothing between our end and its own.
const GOODBYE: Duration = Duration::from_secs(1);

type Engine = h2::server::Connection<Metered, Bytes>;

/// What holds for a connection as a whole: the settings of its default server.
struct Limits {
    streams: u32,
    requests: u64,
    header_timeout: Duration,
    send_timeout: Duration,
    keepalive: Duration,
    life: Duration,
}

impl Limits {
    fn new(server: &Server) -> Self {
        let settings = &server.settings;
        Self {
            streams: server.reading.http2_streams,
            requests: settings.keepalive_requests,
            header_timeout: server.reading.header_timeout,
            send_timeout: settings.send_timeout,
            keepalive: settings.keepalive_timeout.unwrap_or_default(),
            life: settings.keepalive_time,
        }
    }
}

/// Serves a connection on which the client speaks HTTP/2; `read` was read of it already.
pub async fn run(
    worker: &Rc<Worker>,
    stream: Stream,
    read: Vec<u8>,
    connection: &Rc<Connection>,
    listen: &Rc<Address>,
) {
    let server = {
        let local = worker.local();
        let Some(listening) = local.generation.listen(listen, &connection.local) else {
            return;
        };
        Arc::clone(connection::default_server(&local, listening).1)
    };
    let client = Client {
        worker,
        connection,
        listen,
    };
    let shared = Shared::new();
    let lingering = &server.settings.lingering;
    let lingering = match lingering.mode {
        LingeringMode::Off => None,
        LingeringMode::On | LingeringMode::Always => {
            Some((lingering.timeout.min(GOODBYE), lingering.time))
        }
    };
    let metered = Metered::new(stream, read, &shared, lingering);
    let (count, size) = server.reading.large_header_buffers;
    let list = (count.saturating_mul(size)).saturating_add(LIST_OVERHEAD);
    let limits = Limits::new(&server);
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(list).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER)
        .initial_window_size(server.reading.http2_window)
        .initial_connection_window_size(window_of_connection(server.reading.http2_window))
        .enable_connect_protocol();
    drop(server);

    let deadline = Deadline::new();
    deadline.set(limits.header_timeout);
    let mut handshake = std::pin::pin!(builder.handshake(metered));
    let result = match deadline
        .guard(|context| handshake.as_mut().poll(context))
        .await
    {
        None => Err(Failure::HeadTimedOut),
        Some(Err(error)) => Err(Failure::Engine(error)),
        Some(Ok(engine)) => {
            let mut serving = Serving {
                engine,
                client: &client,
                shared: Rc::clone(&shared),
                end_of_life: clock::milliseconds().saturating_add(milliseconds(limits.life)),
                limits,
                requests: 0,
                refused_from: u64::MAX,
                goodbye: None,
                is_cut: false,
                unfinished: None,
                deadline,
            };
            std::future::poll_fn(|context| serving.poll(context)).await
        }
    };
    // What is left of the streams ends by itself now: nobody is there any more.
    std::future::poll_fn(|context| {
        if shared.open.get() == 0 {
            return Poll::Ready(());
        }
        *shared.waker.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    })
    .await;
    match result {
        Ok(()) => {}
        Err(Failure::HeadTimedOut) => client.log(Level::Info, format_args!("{TIMED_OUT}")),
        Err(Failure::Stalled) => client.log(
            Level::Info,
            format_args!("client timed out (110: Connection timed out) while sending to client"),
        ),
        Err(Failure::Engine(error)) => {
            if error.is_library() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM) {
                registry::with(|counters| counters.http2_floods.increase());
                client.log(
                    Level::Warn,
                    format_args!("client sent a flood of HTTP/2 frames ({error})"),
                );
            } else {
                client.log(Level::Info, format_args!("{error} while serving HTTP/2"));
            }
        }
    }
}

const TIMED_OUT: &str =
    "client timed out (110: Connection timed out) while reading client request headers";

/// Whom a connection is with.
struct Client<'a> {
    worker: &'a Rc<Worker>,
    connection: &'a Rc<Connection>,
    listen: &'a Rc<Address>,
}

impl Client<'_> {
    /// Writes a line about the connection to the log of its default server.
    fn log(&self, level: Level, message: std::fmt::Arguments<'_>) {
        let local = self.worker.local();
        if let Some(listening) = local.generation.listen(self.listen, &self.connection.local) {
            let server = connection::default_server(&local, listening).1;
            local.log_connection(server, self.connection, level, message);
        }
    }
}

/// At least what RFC 9113 section 6.9.2 has it begin with.
fn window_of_connection(of_stream: u32) -> u32 {
    of_stream
        .saturating_mul(WINDOWS)
        .clamp((1 << 16) - 1, (1 << 31) - 1)
}

/// Why a connection did not end in good order.
enum Failure {
    /// A head, or a frame, did not come to its end.
    HeadTimedOut,
    /// The socket took nothing of what waits for the client.
    Stalled,
    /// The client broke the protocol, or the connection broke.
    Engine(h2::Error),
}

/// A connection beyond its preface. Times are those of [`clock::milliseconds`].
struct Serving<'a> {
    engine: Engine,
    client: &'a Client<'a>,
    shared: Rc<Shared>,
    limits: Limits,
    end_of_life: u64,
    requests: u64,
    /// The number of the first request that comes too long after our goodbye.
    refused_from: u64,
    /// When we said that the client should go elsewhere.
    goodbye: Option<u64>,
    /// The client is at fault; nothing more is done for it.
    is_cut: bool,
    /// The number of what the client has begun and not ended, and since when that is so.
    unfinished: Option<(u64, u64)>,
    deadline: Deadline,
}

impl Serving<'_> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        loop {
            if self.goodbye.is_none() && self.client.worker.is_draining() {
                self.say_goodbye();
            }
            match self.engine.poll_accept(context) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    self.start(context, request, respond);
                    continue;
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(Failure::Engine(error))),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => {}
            }
            if !self.is_cut
                && let Some(fault) = self.shared.fault.get()
            {
                let mut level = Level::Info;
                if fault.reason() == Reason::ENHANCE_YOUR_CALM {
                    registry::with(|counters| counters.http2_floods.increase());
                    level = Level::Warn;
                }
                self.client.log(level, format_args!("{fault}"));
                self.cut(fault.reason());
                continue;
            }
            let now = clock::milliseconds();
            match self.look_at_clock(now, context) {
                Look::Again => {}
                Look::Failed(failure) => return Poll::Ready(Err(failure)),
                Look::At(next) => {
                    self.deadline
                        .set(Duration::from_millis(next.saturating_sub(now)));
                    if self.deadline.poll_expired(context).is_pending() {
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    /// Ends what is overdue, and finds when to look again.
    fn look_at_clock(&mut self, now: u64, context: &mut Context<'_>) -> Look {
        let mut next = u64::MAX;
        if let Some(since) = self.shared.stalled_since.get() {
            let end = since.saturating_add(milliseconds(self.limits.send_timeout));
            if end <= now {
                return Look::Failed(Failure::Stalled);
            }
            next = next.min(end);
        }
        if self.is_cut {
            return Look::At(next);
        }
        let unfinished = self.shared.meter.borrow().unfinished();
        self.unfinished = match (unfinished, self.unfinished) {
            (Some(number), Some((before, since))) if number == before => Some((number, since)),
            (Some(number), _) => Some((number, now)),
            (None, _) => None,
        };
        if let Some((_, since)) = self.unfinished {
            let end = since.saturating_add(milliseconds(self.limits.header_timeout));
            if end <= now {
                self.client.log(Level::Info, format_args!("{TIMED_OUT}"));
                self.cut(Reason::PROTOCOL_ERROR);
                return Look::Again;
            }
            next = next.min(end);
        }
        if self.goodbye.is_none() {
            if self.end_of_life <= now {
                self.say_goodbye();
                return Look::Again;
            }
            next = next.min(self.end_of_life);
        }
        if self.shared.open.get() == 0 && !self.engine.has_streams() {
            let since = self.shared.idle_since.get();
            let end = match self.goodbye {
                Some(said) => since.max(said).saturating_add(milliseconds(GOODBYE)),
                None if self.requests == 0 => {
                    since.saturating_add(milliseconds(self.limits.header_timeout))
                }
                None => since.saturating_add(milliseconds(self.limits.keepalive)),
            };
            if end <= now {
                match self.goodbye {
                    // It does not answer; there is nothing that it could lose.
                    Some(_) => self.cut(Reason::NO_ERROR),
                    None => self.say_goodbye(),
                }
                return Look::Again;
            }
            next = next.min(end);
        } else {
            // Whoever ends the last exchange has the clock looked at again.
            let mut waker = self.shared.waker.borrow_mut();
            match &mut *waker {
                Some(waker) => waker.clone_from(context.waker()),
                none => *none = Some(context.waker().clone()),
            }
        }
        Look::At(next)
    }

    /// Tells the client to take its further requests elsewhere; those under way go on.
    fn say_goodbye(&mut self) {
        self.goodbye = Some(clock::milliseconds());
        self.refused_from = self.requests + u64::from(self.limits.streams) + 1;
        self.engine.graceful_shutdown();
    }

    /// Ends the connection, whatever is under way.
    fn cut(&mut self, reason: Reason) {
        self.is_cut = true;
        self.engine.abrupt_shutdown(reason);
    }

    /// Begins an exchange.
    fn start(
        &mut self,
        context: &mut Context<'_>,
        request: http::Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
    ) {
        self.requests += 1;
        if self.requests >= self.refused_from {
            respond.send_reset(Reason::REFUSED_STREAM);
            return;
        }
        // A client that takes its request back in the same breath gets no work done for it.
        if respond.poll_reset(context).is_ready() {
            return;
        }
        tokio::task::spawn_local(exchange(
            Rc::clone(self.client.worker),
            Rc::clone(self.client.connection),
            Rc::clone(self.client.listen),
            request,
            respond,
            self.requests,
            Running::new(&self.shared),
        ));
        if self.requests >= self.limits.requests && self.goodbye.is_none() {
            self.say_goodbye();
        }
    }
}

/// What the clock says.
enum Look {
    /// Something was done: the engine has to be asked again.
    Again,
    /// Nothing is overdue before this time.
    At(u64),
    Failed(Failure),
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// One stream from its head to its end.
async fn exchange(
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    listen: Rc<Address>,
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    count: u64,
    running: Running,
) {
    let local = worker.local();
    let Some(listening) = local.generation.listen(&listen, &connection.local) else {
        // The address is not served any more, but by others perhaps.
        respond.send_reset(Reason::REFUSED_STREAM);
        return;
    };
    let server = Arc::clone(connection::default_server(&local, listening).1);
    let mut exchange = Exchange::new(connection, Arc::clone(&local.generation.http), server);
    exchange.started = clock::now();
    exchange.is_http2 = true;
    exchange.request_count = count;
    let (parts, body) = request.into_parts();
    let limits = connection::limits(&exchange.server.reading);
    let head = request::translate(&parts, &limits, &mut exchange.head);
    drop(parts);
    if head == Ok(Asks::WebSocket) {
        push_key(&mut exchange);
    }
    exchange.method = exchange.head.method;
    exchange.request_length = exchange.head.length as u64;
    registry::with(|counters| {
        counters.requests.increase();
        counters.http2_requests.increase();
        counters.writing.increase();
    });
    let found = connection::find_server(&local, &mut exchange, listening);
    let prepared = match head {
        Ok(_) => found.and_then(|()| connection::route(&local, &mut exchange)),
        Err(error) => {
            local.log(
                &exchange,
                Level::Info,
                format_args!("{error} while reading client request headers"),
            );
            Err(status_of(error))
        }
    };
    if let Err(HeadError::Malformed(_)) = head {
        // RFC 9113 section 8.1.1.
        respond.send_reset(Reason::PROTOCOL_ERROR);
        exchange.status = 400;
    } else {
        let asks = head.unwrap_or(Asks::Answer);
        let stream = Http2::new(&running.0, body, respond, &exchange, asks);
        let mut downstream = Downstream::Http2(Box::new(stream));
        serve(&local, &mut exchange, &mut downstream, prepared).await;
    }
    local.finish(&exchange);
    registry::with(|counters| counters.writing.decrease());
    log::flush_thread();
}

/// The status that a refused head is answered with.
fn status_of(error: HeadError) -> u16 {
    match error {
        HeadError::Refused(error) => connection::status_of(error),
        HeadError::UnknownProtocol => 501,
        HeadError::Malformed(_) | HeadError::HostDiffers | HeadError::NoHost => {
            connection::status_of(RequestError::BadHost)
        }
    }
}

/// The key that a peer of HTTP/1.1 wants to see (RFC 6455 section 4.1): 16 random bytes. It is of no
/// use over HTTP/2, so the client need send none and gets no proof of it; one that it sends stays the only one.
fn push_key(exchange: &mut Exchange) {
    let has_key = |(_, name, _): (_, &[u8], &[u8])| name.eq_ignore_ascii_case(b"sec-websocket-key");
    if exchange.head.fields.iter().any(has_key) {
        return;
    }
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let id = variables::random_id();
    let mut key = [b'='; 24];
    for (position, digit) in key[..22].iter_mut().enumerate() {
        // Six bits of 128 at a time; the last two are followed by four that are 0.
        let bits = match 122_u32.checked_sub(6 * position as u32) {
            Some(shift) => id >> shift,
            None => id << 4,
        };
        *digit = DIGITS[(bits & 63) as usize];
    }
    let head = &mut exchange.head;
    head.fields.push(b"Sec-WebSocket-Key", &key);
    head.length = head.fields.bytes.len();
}
