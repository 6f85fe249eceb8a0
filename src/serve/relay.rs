//! A peer's answer on its way to the client: its head, edited, then its body with back-pressure.
//!
//! The peer's connection is polled inside the request's own task: nothing is spawned, and the same
//! turn of the event loop that reads from the peer writes to the client.
//!
//! Invariant: if an answer of which something was sent breaks off, the client's connection is cut, so
//! that it sees the answer as cut.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use super::cache::{self, Caching};
use super::downstream::{ClientError, Downstream, Framing, framing_for};
use super::generation::{Local, LocalUpstream};
use super::pace::Pace;
use super::peer::{Answering, Failure, PeerError, Question, Sink, deliver};
use super::peer_http1::{Link, poll_source};
use super::proxy::{Outcome, finish_attempt, log_event};
use super::request_body::RequestBody;
use super::{answer, peer_http1, peer_http2, proxy_fields, tunnel};
use crate::cache::flight::{Fill, Follower, Lost};
use crate::conf::typed::log::Level;
use crate::conf::typed::proxy::{HttpVersion, Proxy, Store};
use crate::files::serve as files;
use crate::files::store::Storing;
use crate::filter::begin;
use crate::filter::compress::WHOLE;
use crate::http::buffer;
use crate::http::conditional;
use crate::http::date;
use crate::http::exchange::Exchange;
use crate::http::h1::framing::{self, BodyLength};
use crate::http::head::{Known, Method, Version};
use crate::http::range;
use crate::http::slices;
use crate::unit::clock;
use crate::upstream::group::Selected;
use crate::upstream::pool::Idle;

/// With more than this to come of a body that nobody wants, the connection is given up instead.
const NOT_WORTH: u64 = 256 << 10;

/// A peer's head was read: turns it into the answer, sends that, and relays the body.
#[expect(
    clippy::too_many_arguments,
    reason = "a struct of them would be made here and taken apart there, for one caller"
)]
pub async fn relay_answer(
    local: &Rc<Local>,
    question: &Question<'_>,
    selected: Selected,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    body: &mut RequestBody,
    answering: Answering,
    caching: &mut Option<Box<Caching>>,
) -> Result<Outcome, ClientError> {
    let plan = question.plan;
    let proxy = &*plan.proxy;
    let status = exchange.upstream_head.status;
    let is_head = exchange.method == Method::Head || exchange.head.method == Method::Head;
    let asked_get = caching.as_ref().is_some_and(|caching| caching.asks_get());
    let method = match is_head && !asked_get {
        true => Method::Head,
        false if is_head => Method::Get,
        false => exchange.method,
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
            exchange.caching.is_malformed = true;
            if let Some(attempt) = exchange.attempts.last_mut() {
                attempt.status = 502;
            }
            let event = selected.fail(clock::now());
            log_event(local, exchange, event);
            return Ok(Outcome::Failed(502));
        }
    };
    if status == 101 {
        let is_wanted = downstream.wants_tunnel(exchange) && !exchange.slicing.is_further;
        let link = match answering {
            Answering::Http1(link) if is_wanted => link,
            _ => {
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
        };
        let outcome = tunnel::run(local, exchange, downstream, plan, link.stream).await;
        // Until here the tunnel counted as a connection to its peer.
        succeed(local, exchange, selected);
        return outcome;
    }
    if let Some(caching) = caching {
        cache::invalidate(caching, exchange);
        if caching.is_confirmed_by(status) {
            finish_attempt(exchange, status);
            if let Answering::Http1(link) = answering {
                let body = peer_http1::Source::new(length, exchange.upstream_head.length);
                keep(question.upstream, proxy, &selected, exchange, link, &body);
            }
            succeed(local, exchange, selected);
            let sent = cache::send_confirmed(local, exchange, downstream, plan, caching);
            // It was removed while its peer was asked.
            return Ok(sent.await?.unwrap_or(Outcome::Failed(502)));
        }
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

    let buffering = proxy_fields::take_response(exchange, plan, Some(&selected)) && proxy.buffering;
    let known = match length {
        BodyLength::Length(length) => Some(length),
        BodyLength::None => Some(0),
        BodyLength::Chunked | BodyLength::UntilClose => None,
    };
    let part = match exchange.slicing.is_active() {
        // A HEAD that is passed on has no body to compare.
        true => slices::begin(exchange, known.filter(|_| method != Method::Head)),
        false => Ok(None),
    };
    let part = match part {
        Ok(part) => part,
        Err(problem) => {
            local.log(
                exchange,
                Level::Error,
                format_args!("{problem} while reading response header from upstream"),
            );
            finish_attempt(exchange, status);
            succeed(local, exchange, selected);
            return Ok(Outcome::Failed(502));
        }
    };
    let is_further = exchange.slicing.is_further;
    let mut fill = None;
    let mut asked_whole = false;
    if let (Some(caching), Some(cache)) = (&mut *caching, &proxy.cache) {
        asked_whole = caching.may_store();
        cache::freshen(caching, exchange, plan, cache).await;
        // A part is stored only if its length says that it is whole.
        if part.is_some() && known.is_none() {
            caching.store_nothing();
        }
        fill = cache::store(caching, exchange, plan, cache, known, buffering);
        cache::tell(exchange, caching, cache);
    }
    exchange.has_peer_reason = part.is_none();
    if part.is_none() {
        exchange.status = status;
        exchange.answer_length = match length {
            BodyLength::Length(length) => Some(length),
            BodyLength::None => proxy_fields::told_length(exchange, method),
            BodyLength::Chunked | BodyLength::UntilClose => None,
        };
    }
    let has_body = match &answering {
        // Without a length in the fields it is the frames that tell.
        Answering::Http2(stream) if stream.is_complete => {
            if length == BodyLength::UntilClose {
                exchange.answer_length = Some(0);
            }
            false
        }
        _ => !matches!(length, BodyLength::None | BodyLength::Length(0)),
    };
    // What was asked for is the whole; the client gets of it what it wants.
    if (asked_whole || part.is_some()) && !is_further && cache::is_known_to_client(exchange) {
        conditional::make_not_modified(exchange);
        exchange.has_peer_reason = false;
    }
    let has_trailers = !is_further && answer::complete(exchange, None);
    let filters = match (has_body || method == Method::Head || status == 304) && !is_further {
        true => begin::begin(exchange),
        false => None,
    };
    if has_trailers && has_body && exchange.head.version == Version::Http11 {
        exchange.answer_length = None;
    }
    let mut window = None;
    let wants_range =
        (asked_whole || part.is_some()) && !is_further && cache::wants_range(exchange);
    if (proxy.force_ranges || wants_range)
        && has_body
        && exchange.status == 200
        && filters.is_none()
        && !is_further
    {
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
    // A body that the client does not get may come all the same: it is stored.
    let is_sent = has_body && !(is_head || exchange.status == 304);
    let framing = if is_sent {
        framing_for(
            exchange.head.version,
            exchange.answer_length,
            exchange.settings.chunked_transfer_encoding,
        )
    } else {
        Framing::Nothing
    };
    if let Some(part) = part.as_ref().filter(|_| is_sent) {
        window = Some(slices::share(exchange, part, window));
    }
    let is_filtered = is_sent && filters.is_some();
    if !is_further {
        answer::start(local, exchange, downstream, framing, is_sent);
        downstream.set_filters(filters.filter(|_| is_sent));
    }

    let store = match &proxy.store {
        Some(store) if has_file(exchange) => begin_file(local, exchange, store),
        _ => None,
    };
    let is_stored = fill.is_some();
    let becomes_file = store.is_some();
    let sink = Sink {
        window,
        fill,
        store,
        ..Sink::default()
    };
    let mut source = Source::new(answering, length, exchange.upstream_head.length);
    *source.sink() = sink;
    let pacing = Pacing {
        limit: match buffering {
            true if is_stored => proxy.buffers.max(cache::AHEAD),
            true => proxy.buffers.max(buffer::SMALL),
            false => 0,
        },
        outlasts_client: proxy.ignore_client_abort || is_stored || becomes_file,
        length: match length {
            BodyLength::Length(length) => Some(length),
            BodyLength::None | BodyLength::Chunked | BodyLength::UntilClose => None,
        },
        is_sent,
        has_end: exchange.slicing.rest.is_none() && !is_further,
        waits_for_whole: buffering
            && is_filtered
            && matches!(length, BodyLength::Length(length) if length <= WHOLE as u64),
    };
    let relayed = relay(exchange, downstream, body, &mut source, &pacing, proxy).await;
    if let Some(store) = source.sink().store.take()
        && let Some(error) = store.failure()
    {
        log_no_file(local, exchange, error);
    }
    if let Some(attempt) = exchange.attempts.last_mut() {
        attempt.response_length = source.received();
    }
    finish_attempt(exchange, status);
    match relayed {
        Ok(behind) => {
            let window = source.sink().window.take();
            // Without a length of its own a part may end too early.
            let is_short = part.is_some_and(|part| {
                source.is_complete() && source.received() != part.range.end - part.range.start
            });
            if let Source::Http1(link, body) = source {
                keep(question.upstream, proxy, &selected, exchange, link, &body);
            }
            succeed(local, exchange, selected);
            if is_short && is_sent {
                return Ok(cache::break_off(local, exchange, downstream).await);
            }
            if let Some(behind) = behind {
                let sent = cache::send_rest(local, exchange, downstream, behind, window).await;
                if let Some(outcome) = sent? {
                    return Ok(outcome);
                }
            }
            if pacing.has_end {
                exchange.is_complete = true;
                answer::note_sent(exchange, downstream);
            }
            Ok(Outcome::Sent)
        }
        Err(RelayError::Client(error)) => {
            answer::note_sent(exchange, downstream);
            super::log_client_error(local, exchange, &error, "sending to client");
            Ok(Outcome::Cut)
        }
        Err(RelayError::Lost) => {
            succeed(local, exchange, selected);
            Ok(cache::break_off(local, exchange, downstream).await)
        }
        Err(RelayError::Peer(error)) => {
            local.log(
                exchange,
                Level::Error,
                format_args!("{error} while reading upstream"),
            );
            // Nothing was sent yet: the client gets a whole answer that says so.
            if exchange.bytes_sent == 0 && !is_further && downstream.take_back() {
                exchange.slicing.take_back();
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
            downstream.flush_filters();
            if let Ok(count) = downstream.flush(exchange.settings.send_timeout).await {
                exchange.bytes_sent += count;
            }
            answer::note_sent(exchange, downstream);
            Ok(Outcome::Cut)
        }
    }
}

/// Is this an answer that becomes a file: a whole one to a GET?
fn has_file(exchange: &Exchange) -> bool {
    exchange.method == Method::Get
        && exchange.head.method != Method::Head
        && exchange.upstream_head.status == 200
}

/// Begins the file that an answer becomes. Without it the client gets its answer all the same.
fn begin_file(local: &Rc<Local>, exchange: &Exchange, store: &Store) -> Option<Storing> {
    let Some(path) = files::path_to_store(exchange, store.path.as_ref()) else {
        log_no_file(local, exchange, &"its path is none of a file");
        return None;
    };
    let modified = (exchange.upstream_head.fields.known(Known::LastModified))
        .and_then(date::parse)
        .and_then(|modified| u64::try_from(modified).ok());
    match Storing::begin(&path, store.access, modified) {
        Ok(storing) => Some(storing),
        Err(error) => {
            log_no_file(local, exchange, &error);
            None
        }
    }
}

fn log_no_file(local: &Local, exchange: &Exchange, why: &dyn std::fmt::Display) {
    local.log(
        exchange,
        Level::Crit,
        format_args!("an answer does not become a file: {why} while reading upstream"),
    );
}

/// Keeps the connection that an answer came over, if another one may come over it.
pub fn keep(
    upstream: &LocalUpstream,
    proxy: &Proxy,
    selected: &Selected,
    exchange: &Exchange,
    link: Link,
    body: &peer_http1::Source,
) {
    // A peer that was asked in HTTP/1.0, or to close, closes, whatever it says.
    if body.leaves_connection_clean(&exchange.upstream_head.fields.bytes)
        && !exchange.peer_closes
        && proxy.http_version == HttpVersion::Http11
        && link.requests != u64::MAX
        && framing::keeps_response_connection(&exchange.upstream_head)
    {
        upstream.keep(
            selected,
            link.kind,
            Idle {
                stream: link.stream,
                requests: link.requests,
                created: link.created,
            },
        );
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
    /// What was stored for a client that is behind cannot be read.
    Lost,
}

/// Where the body of an answer comes from.
#[expect(
    clippy::large_enum_variant,
    reason = "it lives in the request's own future; a box would cost each request an allocation"
)]
pub enum Source {
    Http1(Link, peer_http1::Source),
    Http2(Box<peer_http2::Stream>),
}

impl Source {
    /// The body behind a head of this length.
    pub fn new(answering: Answering, length: BodyLength, head_length: usize) -> Self {
        match answering {
            Answering::Http1(link) => {
                Self::Http1(link, peer_http1::Source::new(length, head_length))
            }
            Answering::Http2(stream) => Self::Http2(stream),
        }
    }

    /// Body bytes received.
    pub fn received(&self) -> u64 {
        match self {
            Self::Http1(_, body) => body.received,
            Self::Http2(stream) => stream.received,
        }
    }

    /// Where it goes.
    pub fn sink(&mut self) -> &mut Sink {
        match self {
            Self::Http1(_, body) => &mut body.sink,
            Self::Http2(stream) => &mut stream.sink,
        }
    }

    /// Was all of the answer received?
    pub fn is_complete(&self) -> bool {
        match self {
            Self::Http1(_, body) => body.is_complete,
            Self::Http2(stream) => stream.is_complete,
        }
    }
}

/// What a slow client and one that is gone mean for the peer.
struct Pacing {
    /// How much may wait for the client before the peer has to wait too, or the client reads what is
    /// stored in its own time; 0 reads on only when all was written.
    limit: usize,
    /// The answer is read to its end although nobody is left who gets it.
    outlasts_client: bool,
    /// The length of the body, if it is known.
    length: Option<u64>,
    /// Does the client get a body?
    is_sent: bool,
    /// The end of the body is that of the answer; behind that of a slice comes another one.
    has_end: bool,
    /// The body passes filters, which have it all before anything is written.
    waits_for_whole: bool,
}

/// Moves the body from the peer to the client. An answer that is stored may be whole before the client
/// has all of it; it reads the rest then from what comes back.
async fn relay(
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    body: &mut RequestBody,
    source: &mut Source,
    pacing: &Pacing,
    proxy: &Proxy,
) -> Result<Option<Follower>, RelayError> {
    let send_timeout = exchange.settings.send_timeout;
    let mut has_more = false;
    if let Source::Http1(_, body) = source {
        // A read that took all the room it had is followed by another before anything is written: a
        // large body goes out with its head.
        let read = &exchange.upstream_head.fields.bytes;
        has_more = pacing.limit > 0 && read.len() == read.capacity();
        body.take_read(exchange, downstream, proxy.pass_trailers)
            .map_err(RelayError::Peer)?;
    }
    let mut is_ended = false;
    let mut is_cut = false;
    let mut is_client_gone = None;
    let mut behind: Option<Follower> = None;
    let mut pace = match proxy.limit_rate.literal() {
        Some(b"0") => None,
        _ => Some(answer::size_of(&proxy.limit_rate, exchange)),
    }
    .filter(|&rate| rate > 0)
    .map(|rate| Pace::new(rate, 0));
    poll_fn(|context| {
        loop {
            let mut progress = false;
            // Both bodies pass at the same time; what the client still sends is part of the exchange.
            if let Source::Http2(stream) = source
                && !stream.is_complete
                && is_client_gone.is_none()
            {
                match stream.poll_request(context, exchange, downstream, body, proxy) {
                    Poll::Ready(Err(Failure::Client(error))) if pacing.outlasts_client => {
                        is_client_gone = Some(error);
                        source.sink().is_discarding = true;
                    }
                    Poll::Ready(Err(Failure::Client(error))) => {
                        return Poll::Ready(Err(RelayError::Client(error)));
                    }
                    Poll::Ready(Err(Failure::Peer(error))) => {
                        return Poll::Ready(Err(RelayError::Peer(error)));
                    }
                    Poll::Ready(Ok(())) | Poll::Pending => {}
                }
            }
            // Nobody is left who gets the rest, or stores it: it is not worth reading.
            let received = source.received();
            let sink = source.sink();
            let is_wanted = sink.store.is_some() || sink.fill.as_ref().is_some_and(Fill::is_wanted);
            if !is_wanted && !proxy.ignore_client_abort {
                if let Some(error) = is_client_gone.take_if(|_| sink.fill.is_some() && !is_ended) {
                    return Poll::Ready(Err(RelayError::Client(error)));
                }
                let has_all = match &sink.window {
                    Some(window) => window.end <= received && behind.is_none(),
                    None => !pacing.is_sent,
                };
                let rest = (pacing.length).map_or(received, |all| all.saturating_sub(received));
                is_cut |= has_all && rest > NOT_WORTH;
            }
            if (source.is_complete() || is_cut) && !is_ended {
                is_ended = true;
                // Before the client has it all: others wait.
                if let Some(fill) = source.sink().fill.take()
                    && !is_cut
                {
                    fill.commit();
                }
                if let Some(store) = source.sink().store.as_mut().filter(|_| !is_cut) {
                    store.commit();
                }
                if is_client_gone.is_none() && behind.is_some() {
                    return Poll::Ready(Ok(behind.take()));
                }
                if pacing.has_end {
                    answer::add_trailers(exchange);
                    downstream.queue_end(&exchange.answer_trailers);
                }
            }
            // A body that comes whole is compressed whole, and goes out with its head.
            let queued = downstream.queued();
            let may_write = is_ended || !pacing.waits_for_whole || queued >= pacing.limit;
            let reads_first = std::mem::take(&mut has_more) && !source.is_complete();
            if queued > 0 && may_write && !reads_first && is_client_gone.is_none() {
                match downstream.poll_flush(context, send_timeout) {
                    Poll::Ready(Ok(count)) => {
                        exchange.bytes_sent += count as u64;
                        progress = true;
                    }
                    Poll::Ready(Err(error)) if pacing.outlasts_client => {
                        is_client_gone = Some(error);
                        source.sink().is_discarding = true;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(RelayError::Client(error))),
                    Poll::Pending => {}
                }
            }
            if is_client_gone.is_some() {
                behind = None;
            }
            if let Some(own) = &mut behind
                && downstream.queued() < cache::PIECE
            {
                let position = own.position();
                match own.poll_next(context) {
                    Poll::Ready(Ok(Some(bytes))) => {
                        let window = source.sink().window.as_ref();
                        deliver(window, position, &bytes, downstream);
                        progress = true;
                    }
                    Poll::Ready(Err(Lost)) => return Poll::Ready(Err(RelayError::Lost)),
                    // There is an end only behind that of the peer's answer.
                    Poll::Ready(Ok(None)) | Poll::Pending => {}
                }
            }
            if is_ended && (downstream.queued() == 0 || is_client_gone.is_some()) {
                return Poll::Ready(match is_client_gone.take() {
                    Some(error) => Err(RelayError::Client(error)),
                    None => Ok(None),
                });
            }
            let queued = downstream.queued();
            let received = source.received();
            let is_allowed = pace
                .as_mut()
                .is_none_or(|pace| source.is_complete() || pace.poll_allowance(context).is_ready());
            let sink = source.sink();
            let has_room = match &mut sink.fill {
                Some(fill) if received >= cache::AHEAD as u64 => {
                    // Others wait for this answer, and are not to wait for this client.
                    if queued >= pacing.limit && behind.is_none() && is_client_gone.is_none() {
                        behind = fill.is_stored().then(|| fill.follow());
                        sink.is_discarding |= behind.is_some();
                    }
                    let has_room = fill.poll_room(context, pacing.limit as u64).is_ready();
                    has_room
                        && (queued < pacing.limit || behind.is_some() || is_client_gone.is_some())
                }
                _ => queued < pacing.limit.max(1) || is_client_gone.is_some(),
            };
            if is_allowed && has_room && !source.is_complete() && !is_ended {
                let polled = match source {
                    Source::Http1(link, body) => {
                        poll_source(context, exchange, downstream, link, body, proxy)
                    }
                    Source::Http2(stream) => {
                        stream.poll_answer(context, exchange, downstream, proxy)
                    }
                };
                match polled {
                    Poll::Ready(Ok(())) => {
                        progress = true;
                        if let Some(pace) = &mut pace {
                            pace.note((source.received() - received) as usize);
                        }
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(RelayError::Peer(error))),
                    Poll::Pending => {}
                }
            }
            if progress || reads_first {
                if downstream.takes_long() {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                continue;
            }
            // The peer has nothing more for now, so nothing of what it sent is held back. While the
            // client is slow there is time: more may come.
            if queued == 0 && may_write && downstream.flush_filters() {
                continue;
            }
            // A stream may be silent for hours; the peer is to know that nobody listens any more.
            if matches!(source, Source::Http2(_))
                && !pacing.outlasts_client
                && downstream.is_body_complete()
                && downstream.poll_gone(context).is_ready()
            {
                return Poll::Ready(Err(RelayError::Client(ClientError::Closed(None))));
            }
            return Poll::Pending;
        }
    })
    .await
}
