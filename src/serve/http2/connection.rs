//! A client's connection that speaks HTTP/2, from the preface to its last byte.
//!
//! Owns the socket, and how long a client may take and how much it may ask for: the head that does not
//! end (`client_header_timeout`), the socket that takes nothing (`send_timeout`), the connection
//! without a stream (`keepalive_timeout`), its whole life (`keepalive_time`, `keepalive_requests`). A
//! stream has its own times, see [`super::stream`].
//!
//! In one turn all frames that came are read, all streams that have something to do run, and what they
//! had to say is written at once. A connection without a stream gives its memory back after a moment.
//!
//! Invariant: a connection ends with GOAWAY, and no answer that was begun is cut by us unless the
//! client is at fault.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::AsyncWrite as _;

use super::Shared;
use super::places::Places;
use super::stream::Http2;
use crate::conf::typed::listen::Address;
use crate::conf::typed::location::LingeringMode;
use crate::conf::typed::log::Level;
use crate::http::buffer;
use crate::http::exchange::{Connection, Exchange};
use crate::http::h1::parse::RequestError;
use crate::http::h2::frame::Code;
use crate::http::h2::request::{Asks, HeadError};
use crate::http::h2::session::{self, Fault, Session};
use crate::http::variables;
use crate::log;
use crate::metrics::registry;
use crate::net::deadline::Deadline;
use crate::serve::connection::PARK_AFTER;
use crate::serve::downstream::Downstream;
use crate::serve::generation::Local;
use crate::serve::worker::Worker;
use crate::serve::{connection, serve};
use crate::tls::stream::Stream;
use crate::unit::clock;

/// A client counts each field as its length and 32 bytes; a head of usual fields that our own limit
/// allows must not fail for these.
const LIST_OVERHEAD: usize = 4 << 10;
/// The most streams that one connection may have at a time, whatever is configured.
const MOST_STREAMS: usize = 1 << 16;
/// How long a client without a stream has to answer that it has heard our goodbye, and how long it
/// may say nothing between our end and its own.
const GOODBYE: Duration = Duration::from_secs(1);
/// While so much waits to be written, nothing is read that might have to be answered.
const MOST_UNWRITTEN: usize = 256 << 10;
/// So many turns follow each other before other connections have theirs.
const TURNS: usize = 8;

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
    let settings = &server.settings;
    let lingering = &settings.lingering;
    let (count, size) = server.reading.large_header_buffers;
    let streams = (server.reading.http2_streams as usize).min(MOST_STREAMS);
    let now = clock::milliseconds();
    let session = Session::new(
        session::Limits {
            streams,
            window: server.reading.http2_window,
            list: (count.saturating_mul(size)).saturating_add(LIST_OVERHEAD),
            head: connection::limits(&server.reading),
        },
        now,
    );
    let mut serving = Serving {
        stream: Some(stream),
        has_unread: !read.is_empty(),
        input: read,
        client: Client {
            worker: Rc::clone(worker),
            connection: Rc::clone(connection),
            listen: Rc::clone(listen),
        },
        shared: Rc::new(Shared {
            session: RefCell::new(session),
        }),
        places: Places::new(2 * streams),
        local: Rc::downgrade(&worker.local()),
        begun: Vec::new(),
        changed: Vec::new(),
        most_requests: settings.keepalive_requests,
        header_timeout: server.reading.header_timeout,
        send_timeout: settings.send_timeout,
        keepalive: settings.keepalive_timeout.unwrap_or_default(),
        end_of_life: now.saturating_add(milliseconds(settings.keepalive_time)),
        idle_since: now,
        is_idle: true,
        is_resting: false,
        goodbye: None,
        unfinished: None,
        stalled_since: None,
        closing: Closing::Open(match lingering.mode {
            LingeringMode::Off => None,
            LingeringMode::On | LingeringMode::Always => {
                Some((lingering.timeout.min(GOODBYE), lingering.time))
            }
        }),
        deadline: Deadline::new(),
    };
    drop(server);
    registry::with(|counters| counters.waiting.increase());
    poll_fn(|context| serving.poll(context)).await;
    if serving.is_idle {
        registry::with(|counters| counters.waiting.decrease());
    }
}

const STALLED: &str = "client timed out (110: Connection timed out) while sending to client";
const TIMED_OUT: &str =
    "client timed out (110: Connection timed out) while reading client request headers";

/// Whom a connection is with.
#[derive(Clone)]
struct Client {
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    listen: Rc<Address>,
}

impl Client {
    /// Writes a line about the connection to the log of its default server.
    fn log(&self, level: Level, message: std::fmt::Arguments<'_>) {
        let local = self.worker.local();
        if let Some(listening) = local
            .generation
            .listen(&self.listen, &self.connection.local)
        {
            let server = connection::default_server(&local, listening).1;
            local.log_connection(server, &self.connection, level, message);
        }
    }
}

/// A connection. Times are those of [`clock::milliseconds`].
struct Serving {
    /// `None` once it is of no use any more.
    stream: Option<Stream>,
    /// What was read and is no whole frame yet.
    input: Vec<u8>,
    /// Nobody has looked at that yet.
    has_unread: bool,
    client: Client,
    shared: Rc<Shared>,
    places: Places,
    /// The configuration that was in force at the last look.
    local: Weak<Local>,
    begun: Vec<usize>,
    changed: Vec<usize>,
    most_requests: u64,
    header_timeout: Duration,
    send_timeout: Duration,
    keepalive: Duration,
    end_of_life: u64,
    /// Since when there is no stream.
    idle_since: u64,
    is_idle: bool,
    /// What is not needed without a stream was given back.
    is_resting: bool,
    /// When we said that the client should go elsewhere.
    goodbye: Option<u64>,
    /// The number of what the client has begun and not ended, and since when that is so.
    unfinished: Option<(u64, u64)>,
    /// Since when the socket takes no byte of those that wait.
    stalled_since: Option<u64>,
    closing: Closing,
    deadline: Deadline,
}

/// How the connection is closed (`lingering_close`): closing with unread bytes would make the kernel
/// send a reset, which can destroy the last frames on their way to the client.
enum Closing {
    /// Not yet; this is how long the client has then, between two reads and in all.
    Open(Option<(Duration, Duration)>),
    /// We have said our last; the client may have more to say, but no pause may be longer than this,
    /// and all of it no longer than until `end`.
    Lingering {
        pause: u64,
        pause_end: u64,
        end: u64,
    },
}

impl Serving {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.places.awake(context);
        loop {
            let local = self.client.worker.local();
            if !std::ptr::eq(self.local.as_ptr(), Rc::as_ptr(&local)) {
                // Who has nothing to do lets go of the configuration before this one.
                self.local = Rc::downgrade(&local);
                self.places.mark_all();
            }
            for turn in 0.. {
                let has_read = self.read(context);
                self.start_exchanges();
                let first = self.shared.session.borrow().first_place();
                let has_run = self.places.poll(first);
                if has_run {
                    // The lines of the log are there before the client sees the end.
                    log::flush_thread();
                }
                let has_written = self.write(context);
                self.note_idleness();
                if !has_read && !has_run && !has_written {
                    break;
                }
                if turn == TURNS {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
            let is_over = self.shared.session.borrow().is_over();
            if is_over && self.poll_close(context).is_ready() && self.is_idle {
                return Poll::Ready(());
            }
            let is_settled = match is_over {
                true => true,
                false => self.look_at_clock(context),
            };
            if self.places.sleep() && is_settled {
                return Poll::Pending;
            }
            self.places.awake(context);
        }
    }

    /// Reads what came; `true` if anything did.
    fn read(&mut self, context: &mut Context<'_>) -> bool {
        let mut session = self.shared.session.borrow_mut();
        if session.is_over() || session.out.len() > MOST_UNWRITTEN {
            return false;
        }
        let Some(stream) = &mut self.stream else {
            return false;
        };
        let mut has_read = std::mem::take(&mut self.has_unread);
        let room = input_room(&mut self.input);
        match stream.poll_read_into(context, &mut self.input, room) {
            Poll::Ready(Ok(0) | Err(_)) => {
                session.end(None);
                return true;
            }
            Poll::Ready(Ok(_)) => has_read = true,
            Poll::Pending if self.input.is_empty() => buffer::release(&mut self.input),
            Poll::Pending => {}
        }
        if has_read {
            self.is_resting = false;
            let result = session.read(&self.input, clock::milliseconds());
            drop(session);
            match result {
                Ok(count) if count == self.input.len() => self.input.clear(),
                Ok(count) => drop(self.input.drain(..count)),
                Err(fault) => {
                    let mut level = Level::Info;
                    if matches!(fault, Fault::Flood(_)) {
                        registry::with(|counters| counters.http2_floods.increase());
                        level = Level::Warn;
                    }
                    self.client.log(level, format_args!("{fault}"));
                    self.shared.session.borrow_mut().end(Some(fault.code()));
                }
            }
        }
        has_read
    }

    /// Has the exchanges looked at whose streams have begun or changed.
    fn start_exchanges(&mut self) {
        let mut session = self.shared.session.borrow_mut();
        std::mem::swap(&mut self.begun, &mut session.begun);
        std::mem::swap(&mut self.changed, &mut session.changed);
        let requests = session.requests();
        for place in self.begun.drain(..) {
            // A client that takes its request back in the same breath gets no work done for it.
            if session.is_gone(place) {
                session.release(place, Code::NoError);
                continue;
            }
            self.is_resting = false;
            if !self.places.has(place) {
                let exchanges = exchanges(self.client.clone(), Rc::clone(&self.shared), place);
                self.places.put(place, exchanges);
            }
            self.places.mark(place);
        }
        for place in self.changed.drain(..) {
            self.places.mark(place);
        }
        drop(session);
        if requests >= self.most_requests && self.goodbye.is_none() {
            self.say_goodbye();
        }
    }

    /// Writes what there is; `true` if streams that waited for that may go on.
    fn write(&mut self, context: &mut Context<'_>) -> bool {
        let mut session = self.shared.session.borrow_mut();
        let mut has_written = false;
        while !session.out.is_empty() {
            let Some(stream) = &mut self.stream else {
                session.out.clear();
                break;
            };
            let polled = Pin::new(stream).poll_write_vectored(context, &session.out.parts());
            match polled {
                Poll::Ready(Ok(count @ 1..)) => {
                    session.out.wrote(count);
                    has_written = true;
                    self.stalled_since = None;
                }
                Poll::Ready(_) => {
                    drop(session);
                    self.abandon();
                    return true;
                }
                Poll::Pending => {
                    self.stalled_since.get_or_insert_with(clock::milliseconds);
                    return false;
                }
            }
        }
        if has_written {
            session.unblock();
        }
        !session.changed.is_empty()
    }

    /// Is there a stream?
    fn note_idleness(&mut self) {
        let is_idle = self.shared.session.borrow().running() == 0;
        if is_idle == self.is_idle {
            return;
        }
        self.is_idle = is_idle;
        registry::with(|counters| match is_idle {
            true => counters.waiting.increase(),
            false => counters.waiting.decrease(),
        });
        if is_idle {
            self.idle_since = clock::milliseconds();
        }
    }

    /// Ends what is overdue; `true` if nothing was, and the task will be woken when something is.
    fn look_at_clock(&mut self, context: &mut Context<'_>) -> bool {
        let now = clock::milliseconds();
        if self.goodbye.is_none() && (self.client.worker.is_draining() || self.end_of_life <= now) {
            self.say_goodbye();
            return false;
        }
        let mut next = match self.goodbye {
            Some(_) => u64::MAX,
            None => self.end_of_life,
        };
        if let Some(since) = self.stalled_since {
            let end = since.saturating_add(milliseconds(self.send_timeout));
            if end <= now {
                self.client.log(Level::Info, format_args!("{STALLED}"));
                self.abandon();
                return false;
            }
            next = next.min(end);
        }
        let session = self.shared.session.borrow();
        let unfinished = session.unfinished(&self.input);
        let requests = session.requests();
        let has_heard_goodbye = session.has_heard_goodbye();
        drop(session);
        self.unfinished = match (unfinished, self.unfinished) {
            (Some(number), Some((before, since))) if number == before => Some((number, since)),
            (Some(number), _) => Some((number, now)),
            (None, _) => None,
        };
        if let Some((_, since)) = self.unfinished {
            let end = since.saturating_add(milliseconds(self.header_timeout));
            if end <= now {
                self.client.log(Level::Info, format_args!("{TIMED_OUT}"));
                let mut session = self.shared.session.borrow_mut();
                session.end(Some(Code::ProtocolError));
                return false;
            }
            next = next.min(end);
        }
        if self.is_idle {
            let end = match self.goodbye {
                _ if has_heard_goodbye => now,
                Some(said) => self
                    .idle_since
                    .max(said)
                    .saturating_add(milliseconds(GOODBYE)),
                None => self.idle_since.saturating_add(milliseconds(match requests {
                    0 => self.header_timeout,
                    _ => self.keepalive,
                })),
            };
            if end <= now && self.goodbye.is_none() && !has_heard_goodbye {
                self.say_goodbye();
                return false;
            }
            if end <= now {
                // It does not answer, or has nothing more to ask; there is nothing that it could lose.
                let mut session = self.shared.session.borrow_mut();
                session.end(Some(Code::NoError));
                return false;
            }
            next = next.min(end);
            let rest_at = self.idle_since.saturating_add(milliseconds(PARK_AFTER));
            if !self.is_resting && rest_at <= now {
                self.rest();
            } else if !self.is_resting {
                next = next.min(rest_at);
            }
        }
        self.sleep_until(next, now, context)
    }

    fn sleep_until(&self, next: u64, now: u64, context: &mut Context<'_>) -> bool {
        self.deadline
            .set(Duration::from_millis(next.saturating_sub(now)));
        self.deadline.poll_expired(context).is_pending()
    }

    /// Gives back what is not needed while there is no stream.
    fn rest(&mut self) {
        self.is_resting = true;
        self.places.clear();
        self.begun = Vec::new();
        self.changed = Vec::new();
        let mut session = self.shared.session.borrow_mut();
        if session.out.is_empty() {
            session.rest();
        }
        if self.input.is_empty() {
            buffer::release(&mut self.input);
        }
    }

    /// Tells the client to take its further requests elsewhere; those under way go on.
    fn say_goodbye(&mut self) {
        self.goodbye = Some(clock::milliseconds());
        self.shared.session.borrow_mut().say_goodbye();
    }

    /// The socket is of no use any more.
    fn abandon(&mut self) {
        let mut session = self.shared.session.borrow_mut();
        session.out.clear();
        self.stalled_since = None;
        self.stream = None;
        if !session.is_over() {
            session.end(None);
        }
    }

    /// Says the last of what there is to say, and waits a moment for the client to do so too.
    fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let now = clock::milliseconds();
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(());
        };
        if let Closing::Open(lingering) = self.closing {
            let is_unwritten = !self.shared.session.borrow().out.is_empty();
            // With TLS this writes, and has to end when nothing is taken, as every write.
            let shut = match is_unwritten {
                true => Poll::Pending,
                false => Pin::new(stream).poll_shutdown(context),
            };
            let Poll::Ready(shut) = shut else {
                let since = *self.stalled_since.get_or_insert(now);
                let end = since.saturating_add(milliseconds(self.send_timeout));
                if self.sleep_until(end, now, context) {
                    return Poll::Pending;
                }
                self.client.log(Level::Info, format_args!("{STALLED}"));
                self.abandon();
                return Poll::Ready(());
            };
            // A client that is gone already needs no goodbye.
            let (Ok(()), Some((pause, whole))) = (shut, lingering) else {
                self.abandon();
                return Poll::Ready(());
            };
            self.closing = Closing::Lingering {
                pause: milliseconds(pause),
                pause_end: now.saturating_add(milliseconds(pause)),
                end: now.saturating_add(milliseconds(whole)),
            };
        }
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(());
        };
        if let Closing::Lingering {
            pause,
            pause_end,
            end,
        } = &mut self.closing
        {
            loop {
                self.input.clear();
                let room = input_room(&mut self.input);
                match stream.poll_read_into(context, &mut self.input, room) {
                    Poll::Ready(Ok(1..)) => *pause_end = now.saturating_add(*pause),
                    Poll::Ready(_) => break,
                    Poll::Pending => {
                        let next = (*pause_end).min(*end);
                        if self.sleep_until(next, now, context) {
                            return Poll::Pending;
                        }
                        break;
                    }
                }
            }
        }
        buffer::release(&mut self.input);
        self.abandon();
        Poll::Ready(())
    }
}

/// Makes room for bytes from the socket, and says for how many there is.
fn input_room(input: &mut Vec<u8>) -> usize {
    buffer::ensure(input);
    if input.len() == input.capacity() {
        // The beginning of a long frame.
        let mut large = buffer::take_large();
        large.extend_from_slice(input);
        buffer::give_back(std::mem::replace(input, large));
    }
    input.capacity() - input.len()
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What the streams at one place use one after the other.
struct Kept {
    local: Rc<Local>,
    listening: usize,
    exchange: Exchange,
    downstream: Downstream,
}

impl Kept {
    /// `None` if the address is not served any more.
    fn new(client: &Client, shared: &Rc<Shared>, place: usize) -> Option<Self> {
        let local = client.worker.local();
        let listening = (local.generation).listen(&client.listen, &client.connection.local)?;
        let server = Arc::clone(connection::default_server(&local, listening).1);
        let http = Arc::clone(&local.generation.http);
        Some(Self {
            local,
            listening,
            exchange: Exchange::new(Rc::clone(&client.connection), http, server),
            downstream: Downstream::Http2(Box::new(Http2::new(shared, place))),
        })
    }
}

/// The streams at one place, each from its head to its end.
async fn exchanges(client: Client, shared: Rc<Shared>, place: usize) {
    let mut kept: Option<Kept> = None;
    loop {
        poll_fn(|_| {
            // A configuration that is not in force any more is not to be held.
            if (kept.as_ref()).is_some_and(|kept| !client.worker.is_current(&kept.local)) {
                kept = None;
            }
            match shared.session.borrow().is_new(place) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
        if kept.is_none() {
            kept = Kept::new(&client, &shared, place);
        }
        match &mut kept {
            Some(kept) => exchange(kept, &shared, place).await,
            // The address is not served any more, but by others perhaps.
            None => (shared.session.borrow_mut()).release(place, Code::RefusedStream),
        }
    }
}

/// One stream from its head to its end.
async fn exchange(kept: &mut Kept, shared: &Rc<Shared>, place: usize) {
    let Kept {
        local,
        listening,
        exchange,
        downstream,
    } = kept;
    let (position, server) = connection::default_server(local, *listening);
    exchange.enter_server(server, position);
    let (head, count) = (shared.session.borrow_mut()).take_head(place, &mut exchange.head);
    exchange.started = clock::now();
    exchange.is_http2 = true;
    exchange.request_count = count;
    if head == Ok(Asks::WebSocket) {
        push_key(exchange);
    }
    exchange.method = exchange.head.method;
    exchange.request_length = exchange.head.length as u64;
    registry::with(|counters| {
        counters.requests.increase();
        counters.http2_requests.increase();
        counters.writing.increase();
    });
    let found = connection::find_server(local, exchange, *listening);
    let prepared = match head {
        Ok(_) => found.and_then(|()| connection::route(local, exchange)),
        Err(error) => {
            local.log(
                exchange,
                Level::Info,
                format_args!("{error} while reading client request headers"),
            );
            Err(status_of(error))
        }
    };
    if let Err(HeadError::Malformed(_)) = head {
        // RFC 9113 section 8.1.1.
        (shared.session.borrow_mut()).release(place, Code::ProtocolError);
        exchange.status = 400;
    } else {
        if let Downstream::Http2(stream) = downstream {
            stream.enter(exchange, head.unwrap_or(Asks::Answer));
        }
        serve(local, exchange, downstream, prepared).await;
        if let Downstream::Http2(stream) = downstream {
            stream.leave();
        }
    }
    local.finish(exchange);
    registry::with(|counters| counters.writing.decrease());
    if exchange.upstream_head.fields.bytes.capacity() != 0 {
        exchange.upstream_head.reset();
        buffer::release(&mut exchange.upstream_head.fields.bytes);
    }
    exchange.reset();
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
