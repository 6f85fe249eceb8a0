//! What is stored, on its way to a client.

use std::future::{Future, poll_fn};
use std::ops::Range;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;

use super::{PATIENCE, now, wait};
use crate::cache::entry::{Entry, Head};
use crate::cache::flight::Follower;
use crate::cache::freshness::{self, IS_ERROR, NO_RANGES};
use crate::cache::reuse;
use crate::cache::status::{self, Forwarded, Told};
use crate::cache::zone::{ReadError, Reader, Zone};
use crate::conf::typed::location::IfModifiedSince;
use crate::conf::typed::log::Level;
use crate::conf::typed::proxy_cache::ProxyCache;
use crate::filter::begin;
use crate::http::body::Body;
use crate::http::conditional::{self, Verdict};
use crate::http::exchange::{CacheStatus, Exchange};
use crate::http::h1::write::push_decimal;
use crate::http::head::{Fields, Known, Method, Version};
use crate::http::{buffer, date, range, slices};
use crate::serve::downstream::{ClientError, Downstream, Framing, framing_for};
use crate::serve::generation::Local;
use crate::serve::peer::deliver;
use crate::serve::proxy::{Outcome, Plan};
use crate::serve::{answer, proxy_fields};
use crate::unit::clock;

/// What of a stored body is queued for a client at once.
pub const PIECE: usize = 64 << 10;

/// So much of an answer that is being stored may wait for the client that caused it, at least. With
/// more it reads what is stored, as those do who follow: nobody is to wait for a slow one.
pub const AHEAD: usize = 1 << 20;

/// The greatest body of which several ranges are put together in memory.
const SEVERAL_RANGES: u64 = 4 << 20;

/// What is sent of the cache.
pub(super) enum Stored {
    /// What is stored whole.
    Entry(Arc<Entry>),
    /// What another request is storing.
    Flight(Follower, Arc<Head>),
}

/// How it is sent.
pub(super) struct Sending<'a> {
    pub(super) zone: &'a Arc<Zone>,
    pub(super) cache: &'a ProxyCache,
    pub(super) status: CacheStatus,
    pub(super) forwarded: Option<Forwarded>,
    pub(super) forwarded_status: Option<u16>,
    pub(super) is_collapsed: bool,
}

impl<'a> Sending<'a> {
    pub(super) fn hit(zone: &'a Arc<Zone>, cache: &'a ProxyCache, status: CacheStatus) -> Self {
        Self {
            zone,
            cache,
            status,
            forwarded: None,
            forwarded_status: None,
            is_collapsed: false,
        }
    }

    pub(super) fn following(zone: &'a Arc<Zone>, cache: &'a ProxyCache) -> Self {
        Self {
            is_collapsed: true,
            ..Self::hit(zone, cache, CacheStatus::Hit)
        }
    }
}

/// The bytes that are sent.
enum Source {
    Memory(Bytes),
    Disk(Reader),
    Flight(Follower),
}

/// Sends what is stored. `None` if it cannot be read, and then nothing was sent.
pub(super) async fn send(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    plan: &Plan,
    sending: Sending<'_>,
    stored: Stored,
) -> Result<Option<Outcome>, ClientError> {
    let (entry, flight, flight_head);
    let (head, length) = match stored {
        Stored::Entry(found) => {
            entry = Some(found);
            flight = None;
            match &entry {
                Some(entry) => (&entry.head, Some(entry.length)),
                None => return Ok(None),
            }
        }
        Stored::Flight(follower, head) => {
            entry = None;
            let length = follower.length();
            flight = Some(follower);
            flight_head = head;
            (&*flight_head, length)
        }
    };
    exchange.caching.status = Some(sending.status);
    if head.flags & IS_ERROR != 0 {
        return Ok(Some(Outcome::Failed(head.status)));
    }
    let proxy = &*plan.proxy;
    exchange.upstream_head.reset();
    exchange.upstream_head.status = head.status;
    buffer::ensure(&mut exchange.upstream_head.fields.bytes);
    freshness::read_fields(&head.fields, &mut exchange.upstream_head.fields);
    exchange.upstream_head.length = exchange.upstream_head.fields.bytes.len();
    if proxy.intercept_errors && head.status >= 300 && answer::has_error_page(exchange, head.status)
    {
        return Ok(Some(Outcome::Intercepted(head.status)));
    }
    proxy_fields::take_response(exchange, plan, None);
    exchange.status = head.status;
    exchange.has_peer_reason = false;
    exchange.answer_length = length;
    let part = match slices::begin(exchange, length) {
        Ok(part) => part,
        Err(problem) => {
            local.log(
                exchange,
                Level::Error,
                format_args!("{problem} while reading the cache"),
            );
            return Ok(Some(Outcome::Failed(502)));
        }
    };
    if let Some(part) = part.as_ref().filter(|_| exchange.slicing.is_further) {
        let range = slices::share(exchange, part, None);
        let source = match (entry, flight) {
            (_, Some(follower)) => Source::Flight(follower),
            (Some(entry), None) => {
                match source_of(local, exchange, downstream, &sending, &entry, &range).await? {
                    Some(source) => source,
                    None => return Ok(None),
                }
            }
            (None, None) => return Ok(None),
        };
        return Ok(Some(
            match send_body(exchange, downstream, source, &range).await? {
                true => Outcome::Sent,
                false => break_off(local, exchange, downstream).await,
            },
        ));
    }
    let now = now();
    push_age(exchange, head, now);
    if let Some(name) = &sending.cache.status_name {
        let told = Told {
            forwarded: sending.forwarded,
            forwarded_status: sending.forwarded_status,
            remaining: Some(reuse::remaining(head, now)),
            is_stored: false,
            is_collapsed: sending.is_collapsed,
            detail: None,
        };
        exchange
            .answer
            .push(b"Cache-Status", &status::value(name, &told));
    }
    if is_known_to_client(exchange) {
        conditional::make_not_modified(exchange);
    }
    let modified = head
        .last_modified
        .and_then(|modified| i64::try_from(modified).ok());
    let has_trailers = answer::complete(exchange, modified);
    let filters = begin::begin(exchange);
    let mut body = None;
    let mut window = None;
    if wants_range(exchange)
        && filters.is_none()
        && exchange.status == 200
        && head.flags & NO_RANGES == 0
        && exchange.settings.max_ranges != Some(0)
    {
        // Several ranges are put together of what is there whole.
        let memory = (entry.as_ref().filter(|_| part.is_none())).and_then(|entry| entry.body());
        let wants_several = exchange
            .head
            .fields
            .known(Known::Range)
            .is_some_and(|range| range.contains(&b','));
        let cut = match memory.filter(|body| wants_several && body.len() as u64 <= SEVERAL_RANGES) {
            Some(whole) => {
                let whole = Body::Bytes(whole.to_vec());
                range::apply(exchange, whole).map(|cut| body = Some(cut))
            }
            None => range::apply_to_stream(exchange).map(|found| window = found),
        };
        if cut.is_err() {
            return Ok(Some(Outcome::Failed(416)));
        }
    }
    if has_trailers && exchange.head.version == Version::Http11 {
        exchange.answer_length = None;
    }
    let is_head = exchange.method == Method::Head || exchange.head.method == Method::Head;
    let has_body = !is_head
        && !matches!(exchange.status, 204 | 304)
        && (length != Some(0) || exchange.answer_length.is_none());
    let range = match &part {
        Some(part) if has_body => slices::share(exchange, part, window),
        _ => window.unwrap_or(0..length.unwrap_or(u64::MAX)),
    };
    let source = match (&entry, flight) {
        _ if !has_body => None,
        (_, Some(follower)) => Some(Source::Flight(follower)),
        (Some(entry), None) => match body {
            Some(Body::Bytes(bytes)) => Some(Source::Memory(bytes.into())),
            _ => match source_of(local, exchange, downstream, &sending, entry, &range).await? {
                Some(source) => Some(source),
                None => return Ok(None),
            },
        },
        (None, None) => None,
    };
    let framing = match has_body {
        true => framing_for(
            exchange.head.version,
            exchange.answer_length,
            exchange.settings.chunked_transfer_encoding,
        ),
        false => Framing::Nothing,
    };
    answer::start(local, exchange, downstream, framing, has_body);
    downstream.set_filters(filters.filter(|_| has_body));
    let sent = match source {
        Some(source) => send_body(exchange, downstream, source, &range).await?,
        None => true,
    };
    if !sent {
        return Ok(Some(break_off(local, exchange, downstream).await));
    }
    if exchange.slicing.rest.is_some() {
        return Ok(Some(Outcome::Sent));
    }
    answer::add_trailers(exchange);
    downstream.queue_end(&exchange.answer_trailers);
    exchange.bytes_sent += downstream.flush(exchange.settings.send_timeout).await?;
    answer::note_sent(exchange, downstream);
    exchange.is_complete = true;
    Ok(Some(Outcome::Sent))
}

/// Where the body of an entry is read from; `None` if it cannot be.
async fn source_of(
    local: &Local,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    sending: &Sending<'_>,
    entry: &Arc<Entry>,
    range: &Range<u64>,
) -> Result<Option<Source>, ClientError> {
    if let Some(body) = entry.body() {
        return Ok(Some(Source::Memory(
            body.slice(in_memory(range, body.len())),
        )));
    }
    match open(sending, downstream, entry, range.clone()).await? {
        Ok(reader) => Ok(Some(Source::Disk(reader))),
        Err(error) => {
            local.log(
                exchange,
                Level::Warn,
                format_args!("{error} while reading the cache"),
            );
            exchange.answer.clear();
            Ok(None)
        }
    }
}

/// Opens a body that is on the disk, if that does not take too long.
async fn open(
    sending: &Sending<'_>,
    downstream: &mut Downstream,
    entry: &Arc<Entry>,
    range: Range<u64>,
) -> Result<Result<Reader, ReadError>, ClientError> {
    let until = clock::now() + PATIENCE;
    let opened = wait(downstream, until, sending.zone.open(entry, range)).await?;
    Ok(opened.unwrap_or_else(|| {
        sending.zone.gave_up_waiting();
        Err(ReadError::Busy)
    }))
}

/// Sends what a client is behind with of an answer that is whole by now, and with it the end. An
/// outcome if that did not succeed.
pub async fn send_rest(
    local: &Local,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    behind: Follower,
    window: Option<Range<u64>>,
) -> Result<Option<Outcome>, ClientError> {
    let range = window.unwrap_or(0..u64::MAX);
    if !send_body(exchange, downstream, Source::Flight(behind), &range).await? {
        return Ok(Some(break_off(local, exchange, downstream).await));
    }
    if exchange.slicing.rest.is_none() && !exchange.slicing.is_further {
        answer::add_trailers(exchange);
        downstream.queue_end(&exchange.answer_trailers);
    }
    exchange.bytes_sent += downstream.flush(exchange.settings.send_timeout).await?;
    Ok(None)
}

/// What was stored cannot be read on: the client gets what was read, then it sees the cut.
pub async fn break_off(
    local: &Local,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
) -> Outcome {
    local.log(
        exchange,
        Level::Error,
        format_args!("a stored answer broke off while sending to client"),
    );
    if let Ok(count) = downstream.flush(exchange.settings.send_timeout).await {
        exchange.bytes_sent += count;
    }
    answer::note_sent(exchange, downstream);
    Outcome::Cut
}

/// Sends a body; `false` if it cannot be read to its end.
async fn send_body(
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    source: Source,
    range: &Range<u64>,
) -> Result<bool, ClientError> {
    let timeout = exchange.settings.send_timeout;
    match source {
        Source::Memory(bytes) => {
            for piece in bytes.chunks(PIECE) {
                if downstream.queued() >= PIECE {
                    exchange.bytes_sent += downstream.flush(timeout).await?;
                }
                downstream.queue(piece);
                answer::rest(downstream).await;
            }
        }
        Source::Disk(mut reader) => loop {
            let until = clock::now() + timeout;
            match wait(downstream, until, reader.next()).await? {
                Some(Ok(Some(bytes))) => downstream.queue(&bytes),
                Some(Ok(None)) => break,
                Some(Err(_)) | None => return Ok(false),
            }
            answer::rest(downstream).await;
            if downstream.queued() >= PIECE {
                exchange.bytes_sent += downstream.flush(timeout).await?;
            }
        },
        Source::Flight(mut follower) => {
            let mut position = follower.position();
            while position < range.end {
                // What came is sent before more is awaited.
                let next = {
                    let mut next = pin!(follower.next());
                    poll_fn(|context| {
                        if let Poll::Ready(next) = next.as_mut().poll(context) {
                            return Poll::Ready(Ok(next));
                        }
                        // What waits for more is not held back meanwhile.
                        if downstream.queued() > 0 || downstream.flush_filters() {
                            match downstream.poll_flush(context, timeout) {
                                Poll::Ready(Ok(count)) => exchange.bytes_sent += count as u64,
                                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                                Poll::Pending => {}
                            }
                        } else if downstream.poll_gone(context).is_ready() {
                            return Poll::Ready(Err(ClientError::Closed(None)));
                        }
                        Poll::Pending
                    })
                    .await?
                };
                match next {
                    Ok(Some(bytes)) => {
                        deliver(Some(range), position, &bytes, downstream);
                        position += bytes.len() as u64;
                    }
                    Ok(None) => break,
                    Err(_) => return Ok(false),
                }
                answer::rest(downstream).await;
                if downstream.queued() >= PIECE {
                    exchange.bytes_sent += downstream.flush(timeout).await?;
                }
            }
        }
    }
    Ok(true)
}

fn in_memory(range: &Range<u64>, length: usize) -> Range<usize> {
    let place = |position: u64| usize::try_from(position).unwrap_or(length).min(length);
    place(range.start)..place(range.end)
}

/// `Age`, and the `Date` that it belongs to (RFC 9111 section 5.1, RFC 9110 section 6.6.1).
fn push_age(exchange: &mut Exchange, head: &Head, now: u64) {
    let age = reuse::age(head, now);
    exchange.caching.age = Some(age);
    let mut digits = buffer::take_small();
    push_decimal(&mut digits, age);
    exchange
        .answer
        .push_known(Some(Known::Age), b"Age", &digits);
    buffer::give_back(digits);
    if !exchange.answer.has(Known::Date) {
        let date = head.date.unwrap_or(head.received / 1000);
        let date = date::http(i64::try_from(date).unwrap_or(i64::MAX));
        exchange
            .answer
            .push_known(Some(Known::Date), b"Date", &date);
    }
}

/// Has the client what it asks for (RFC 9110 section 13.2.2)? The conditions that protect a change are
/// not a cache's to judge (RFC 9111 section 4.3.2).
pub fn is_known_to_client(exchange: &Exchange) -> bool {
    let request = &exchange.head.fields;
    if exchange.status != 200 || !matches!(exchange.method, Method::Get | Method::Head) {
        return false;
    }
    if request.has(Known::IfNoneMatch) {
        return conditional::lists_tag(request, exchange.answer.known(Known::Etag));
    }
    let Some(since) = request.known(Known::IfModifiedSince) else {
        return false;
    };
    let modified = match exchange.answer.known(Known::LastModified) {
        // What is stored was true at its date (RFC 9111 section 4.3.2).
        None if exchange.caching.age.is_some() => exchange.answer.known(Known::Date),
        modified => modified,
    };
    let Some(modified) = modified.and_then(date::parse) else {
        return false;
    };
    let mut asked = Fields::default();
    asked.push_known(Some(Known::IfModifiedSince), b"If-Modified-Since", since);
    let rule: IfModifiedSince = exchange.settings.if_modified_since;
    conditional::evaluate(&asked, modified, None, rule) == Verdict::NotModified
}

/// Does the client want a range that can be cut from what is stored? A range means nothing for
/// another method than GET (RFC 9110 section 14.2), and a weak tag in `If-Range` is that of no copy
/// (section 13.1.5).
pub fn wants_range(exchange: &Exchange) -> bool {
    let request = &exchange.head.fields;
    exchange.head.method == Method::Get
        && request.has(Known::Range)
        && !(request.known(Known::IfRange)).is_some_and(|tag| tag.starts_with(b"W/"))
}
