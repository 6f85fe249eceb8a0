//! A peer that speaks HTTP/2: a request becomes a stream of a connection that others share.
//!
//! Owns the translation in both directions and the pace of both bodies, which pass at the same time.
//! Frames and their rules are h2's. It is used directly and not through hyper, whose client would run
//! a task for each request and tells less about what the peer did with one.
//!
//! A stream that is dropped before its end is reset, so a peer learns that nobody waits for it.

use std::cell::Cell;
use std::fmt::Write as _;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{Reason, RecvStream, SendStream};

use super::downstream::{ClientError, Downstream};
use super::peer::{Failure, PeerError, Question, Sink, before_request, connect, head_received};
use super::peer_patience::Patient;
use super::request_body::{self, RequestBody, Sender};
use crate::conf::typed::proxy::Proxy;
use crate::http::exchange::Exchange;
use crate::http::h1::chunked::may_trail;
use crate::http::h1::parse::ResponseError;
use crate::http::h1::write;
use crate::http::head::{Fields, Known, ResponseHead, Version};
use crate::net::deadline::Deadline;
use crate::tls;
use crate::unit::clock;
use crate::upstream::group::Selected;
use crate::upstream::multiplexed::Lease;

/// Bytes of an answer that a peer may send before we take them.
const WINDOW: u32 = 256 << 10;
/// The same for all streams of a connection: no slow client holds up the others.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;
/// Bytes of a request's body that wait for a peer to take them.
const SEND_BUFFER: usize = 64 << 10;
/// Bytes of fields that a peer may send (SETTINGS_MAX_HEADER_LIST_SIZE); what a place takes of them
/// is `proxy_buffer_size`.
const HEADER_LIST: u32 = 256 << 10;
/// The most fields of a head.
const MOST_FIELDS: usize = 1000;

/// A connection that may carry many streams.
#[derive(Debug)]
pub struct Connection {
    send: SendRequest<Bytes>,
    /// Whoever drives it says that it ended.
    has_ended: Rc<Cell<bool>>,
}

impl Connection {
    /// Has it ended, or did the peer say that it takes no more?
    pub fn is_over(&self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        let ready = self.send.clone().poll_ready(&mut context);
        self.has_ended.get() || matches!(ready, Poll::Ready(Err(_)))
    }

    /// How many streams it may carry at a time.
    fn room(&self) -> Option<usize> {
        (!self.is_over()).then(|| self.send.current_max_send_streams())
    }
}

/// An exchange with a peer, from the head of its answer on.
pub struct Stream {
    sending: SendStream<Bytes>,
    sender: Sender,
    /// Everything was sent that the peer takes.
    is_sent: bool,
    receiving: Option<RecvStream>,
    /// The body ended; trailers may follow.
    has_body_ended: bool,
    /// Bytes of the body received.
    pub received: u64,
    /// Where the body goes.
    pub sink: Sink,
    /// All of the answer was received.
    pub is_complete: bool,
    reading: Patience,
    writing: Patience,
    lease: Lease<Connection>,
}

/// How long the peer may keep us waiting for one thing.
struct Patience {
    deadline: Deadline,
    is_armed: bool,
}

impl Patience {
    fn new() -> Self {
        Self {
            deadline: Deadline::new(),
            is_armed: false,
        }
    }

    /// Passes on what was polled; `None` after `timeout` without anything.
    fn poll<T>(
        &mut self,
        context: &mut Context<'_>,
        timeout: Duration,
        polled: Poll<T>,
    ) -> Poll<Option<T>> {
        if let Poll::Ready(value) = polled {
            self.is_armed = false;
            return Poll::Ready(Some(value));
        }
        if !self.is_armed {
            self.is_armed = true;
            self.deadline.set(timeout);
        }
        self.deadline.poll_expired(context).map(|()| None)
    }
}

/// The head of a request, made of what HTTP/1 would have sent. The error says what cannot be sent.
pub fn request(head: &[u8], is_secure: bool) -> Result<http::Request<()>, &'static str> {
    let mut lines = head.split(|&byte| byte == b'\n').map(|line| {
        // Each line was written with its CR LF.
        line.strip_suffix(b"\r").unwrap_or(line)
    });
    let line = lines.next().unwrap_or_default();
    let mut words = line.split(|&byte| byte == b' ');
    let method = words.next().unwrap_or_default();
    let target = words.next().unwrap_or_default();
    let mut fields = http::HeaderMap::new();
    let mut authority: &[u8] = b"";
    for line in lines.take_while(|line| !line.is_empty()) {
        let Some(colon) = memchr::memchr(b':', line) else {
            continue;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let value = match Known::of(name) {
            Some(Known::Host) => {
                authority = value;
                continue;
            }
            // RFC 9113 section 8.2.2: fields of a connection have no place here.
            Some(
                Known::Connection
                | Known::KeepAlive
                | Known::ProxyConnection
                | Known::TransferEncoding
                | Known::Upgrade
                | Known::Http2Settings,
            ) => continue,
            Some(Known::Te) => {
                let mut codings = value.split(|&byte| byte == b',');
                if !codings.any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers")) {
                    continue;
                }
                b"trailers"
            }
            _ => value,
        };
        if let (Ok(name), Ok(value)) = (
            http::HeaderName::from_bytes(name),
            http::HeaderValue::from_bytes(value),
        ) {
            fields.append(name, value);
        }
    }
    let target = http::uri::PathAndQuery::try_from(target).or_else(|_| {
        // What this type does not take can stand there in escapes.
        let mut escaped = String::with_capacity(target.len() + 16);
        for &byte in target {
            match byte {
                b'!' | b'#'..=b';' | b'=' | b'?'..=b'Z' | b'_' | b'a'..=b'z' | b'~' => {
                    escaped.push(char::from(byte));
                }
                byte => {
                    // Writing to a string cannot fail.
                    let _ = write!(escaped, "%{byte:02X}");
                }
            }
        }
        http::uri::PathAndQuery::try_from(escaped).map_err(|_| "the path cannot be sent")
    })?;
    let uri = http::Uri::builder()
        .scheme(if is_secure { "https" } else { "http" })
        .authority(authority)
        .path_and_query(target)
        .build()
        .map_err(|_| "the host cannot be sent in HTTP/2")?;
    let mut request = http::Request::new(());
    *request.method_mut() =
        http::Method::from_bytes(method).map_err(|_| "the method cannot be sent")?;
    *request.uri_mut() = uri;
    *request.version_mut() = http::Version::HTTP_2;
    *request.headers_mut() = fields;
    Ok(request)
}

/// A place for a request on a connection, and whether others were there before.
pub async fn lease(
    question: &Question<'_>,
    selected: &Selected,
    may_share: bool,
    downstream: &mut Downstream,
) -> Result<(Lease<Connection>, bool), Failure> {
    let proxy = &*question.plan.proxy;
    let pool = &question.upstream.multiplexed;
    let target = selected.target();
    let (address, kind) = (&target.address, question.way.kind);
    if may_share {
        if let Some(lease) = pool.lease(address, kind, Connection::room) {
            return Ok((lease, true));
        }
        // One that is being opened is worth waiting for, once: most burst end on one connection.
        if let Some(opened) = pool.opened(address, kind) {
            let mut opened = pin!(opened.notified());
            let timed_out = || PeerError::ConnectTimedOut;
            before_request(downstream, &question.way, proxy, timed_out, |context| {
                opened.as_mut().poll(context).map(Ok)
            })
            .await?;
            if let Some(lease) = pool.lease(address, kind, Connection::room) {
                return Ok((lease, true));
            }
        }
    }
    let opening = pool.open(address, kind);
    let stream = connect(selected, &question.way, downstream, proxy).await?;
    if let tls::stream::Stream::Secure(secure) = &stream
        && secure.session().alpn_protocol() != Some(b"h2")
    {
        return Err(Failure::Peer(PeerError::NoHttp2));
    }
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(HEADER_LIST);
    let patient = Patient::new(stream, proxy.send_timeout);
    let mut handshake = pin!(builder.handshake::<_, Bytes>(patient));
    let timed_out = || PeerError::ConnectTimedOut;
    let (send, connection) =
        before_request(downstream, &question.way, proxy, timed_out, |context| {
            handshake.as_mut().poll(context).map_err(of_error)
        })
        .await?;
    let has_ended = Rc::new(Cell::new(false));
    let told = Rc::clone(&has_ended);
    // One task for each connection. It ends with the connection: when the peer closes it or takes
    // nothing more, or when the last place on it and its entry in the pool are gone.
    tokio::task::spawn_local(async move {
        // What went wrong is told to the streams, which have somebody to tell it to.
        let _ = connection.await;
        told.set(true);
    });
    let lease = pool.add(
        address,
        kind,
        target.traffic_id,
        Connection { send, has_ended },
    );
    drop(opening);
    Ok((lease, false))
}

/// One try: send a request, read the head of the answer. The body is sent as far as it has come.
pub async fn attempt(
    question: &Question<'_>,
    head: &http::Request<()>,
    selected: &Selected,
    lease: Lease<Connection>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    body: &mut RequestBody,
) -> Result<Box<Stream>, Failure> {
    let proxy = &*question.plan.proxy;
    if let Some(attempt) = exchange.attempts.last_mut() {
        attempt.connect_time = Some(clock::since(attempt.started));
    }
    exchange.upstream_head.reset();
    exchange.upstream_head.fields.clear();
    exchange.upstream_trailers.clear();

    let unsent = |error| Failure::Peer(PeerError::Unsent(error));
    let mut send = lease.handle().send.clone();
    poll_fn(|context| send.poll_ready(context))
        .await
        .map_err(unsent)?;
    let is_empty = matches!(body, RequestBody::Empty);
    let (mut response, sending) = send.send_request(head.clone(), is_empty).map_err(unsent)?;
    count_sent(exchange, question.head_end);
    let mut stream = Box::new(Stream {
        sending,
        sender: body.sender(false, false),
        is_sent: is_empty,
        receiving: None,
        has_body_ended: false,
        received: 0,
        sink: Sink::default(),
        is_complete: false,
        reading: Patience::new(),
        writing: Patience::new(),
        lease,
    });
    let response = loop {
        let step = poll_fn(|context| {
            if let Poll::Ready(Err(failure)) =
                stream.poll_request(context, exchange, downstream, body, proxy)
            {
                return Poll::Ready(Err(failure));
            }
            if let Poll::Ready(Some(interim)) = response.poll_informational(context) {
                let interim = interim.map(|interim| interim.map(|()| None));
                return Poll::Ready(interim.map_err(|error| Failure::Peer(of_error(error))));
            }
            let polled = Pin::new(&mut response).poll(context);
            // A peer may wait for the rest of a body that we have not got yet.
            let polled = match stream.is_sent {
                true => stream.reading.poll(context, proxy.read_timeout, polled),
                false => polled.map(Some),
            };
            match polled {
                Poll::Ready(Some(Ok(response))) => return Poll::Ready(Ok(response.map(Some))),
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Err(Failure::Peer(of_error(error))));
                }
                Poll::Ready(None) => {
                    stream.lease.retire();
                    return Poll::Ready(Err(Failure::Peer(PeerError::ReadTimedOut)));
                }
                Poll::Pending => {}
            }
            if stream.is_sent
                && !question.way.outlasts_client
                && downstream.poll_gone(context).is_ready()
            {
                return Poll::Ready(Err(Failure::Client(ClientError::Closed(None))));
            }
            Poll::Pending
        })
        .await?;
        let (parts, receiving) = step.into_parts();
        let Some(receiving) = receiving else {
            if question.way.passes_interim {
                pass_interim(&parts, exchange, downstream).await?;
            }
            continue;
        };
        break http::Response::from_parts(parts, receiving);
    };
    let (parts, receiving) = response.into_parts();
    let head = &mut exchange.upstream_head;
    head.status = parts.status.as_u16();
    head.version = Version::Http2;
    push_fields(&parts.headers, &mut head.fields, proxy.buffer_size)
        .map_err(|error| Failure::Peer(PeerError::Head(error)))?;
    head.length = head.fields.bytes.len();
    let length = head.length as u64;
    if let Some(attempt) = exchange.attempts.last_mut() {
        attempt.bytes_received += length;
    }
    head_received(exchange, selected);
    stream.is_complete = receiving.is_end_stream();
    stream.receiving = Some(receiving);
    Ok(stream)
}

impl Stream {
    /// Sends what there is of the body and what the peer takes; ready when that is all.
    pub fn poll_request(
        &mut self,
        context: &mut Context<'_>,
        exchange: &mut Exchange,
        downstream: &mut Downstream,
        body: &mut RequestBody,
        proxy: &Proxy,
    ) -> Poll<Result<(), Failure>> {
        let body_timeout = exchange.settings.body_timeout;
        while !self.is_sent {
            if self.sender.pending(body).is_empty() {
                let next = self
                    .sender
                    .poll_next(body, context, exchange, downstream, body_timeout);
                match std::task::ready!(next) {
                    Ok(true) => continue,
                    Ok(false) => {
                        self.is_sent = true;
                        request_body::strip_identity(exchange);
                        // One who refuses takes nothing anyway.
                        let _ = match exchange.trailers.is_empty() {
                            true => self.sending.send_data(Bytes::new(), true),
                            false => self.sending.send_trailers(trailers(&exchange.trailers)),
                        };
                        break;
                    }
                    Err(error) => return Poll::Ready(Err(Failure::Client(error))),
                }
            }
            let pending = self.sender.pending(body);
            self.sending
                .reserve_capacity(pending.len().min(SEND_BUFFER));
            let mut room = self.sending.capacity();
            let mut takes_more = true;
            if room == 0 {
                let polled = self.sending.poll_capacity(context);
                match self.writing.poll(context, proxy.send_timeout, polled) {
                    Poll::Ready(Some(Some(Ok(found)))) => room = found,
                    Poll::Ready(Some(_)) => takes_more = false,
                    Poll::Ready(None) => {
                        self.lease.retire();
                        return Poll::Ready(Err(Failure::Peer(PeerError::SendTimedOut)));
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
            let count = room.min(pending.len());
            let is_last =
                count == pending.len() && self.sender.is_last(body) && exchange.trailers.is_empty();
            let piece = Bytes::copy_from_slice(&pending[..count]);
            if !takes_more || self.sending.send_data(piece, is_last).is_err() {
                // Why the peer takes no more, it says where its answer is read.
                self.sender.abandon();
                self.is_sent = true;
                break;
            }
            self.sender.advance(body, count);
            self.is_sent = is_last;
            count_sent(exchange, count);
        }
        Poll::Ready(Ok(()))
    }

    /// One read of the answer's body into the client's queue.
    pub fn poll_answer(
        &mut self,
        context: &mut Context<'_>,
        exchange: &mut Exchange,
        downstream: &mut Downstream,
        proxy: &Proxy,
    ) -> Poll<Result<(), PeerError>> {
        let Some(receiving) = &mut self.receiving else {
            self.is_complete = true;
            return Poll::Ready(Ok(()));
        };
        if !self.has_body_ended {
            let polled = receiving.poll_data(context);
            match self.reading.poll(context, proxy.read_timeout, polled) {
                Poll::Ready(Some(Some(Ok(bytes)))) => {
                    // It fails for a stream that is over: then there is nobody to tell.
                    let _ = receiving.flow_control().release_capacity(bytes.len());
                    self.sink.take(self.received, &bytes, downstream);
                    self.received += bytes.len() as u64;
                    if let Some(attempt) = exchange.attempts.last_mut() {
                        attempt.bytes_received += bytes.len() as u64;
                    }
                    self.is_complete = receiving.is_end_stream();
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Some(Some(Err(error)))) => return Poll::Ready(Err(of_error(error))),
                Poll::Ready(Some(None)) => self.has_body_ended = true,
                Poll::Ready(None) => {
                    self.lease.retire();
                    return Poll::Ready(Err(PeerError::ReadTimedOut));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        let polled = receiving.poll_trailers(context);
        match self.reading.poll(context, proxy.read_timeout, polled) {
            Poll::Ready(Some(Ok(trailers))) => {
                let trailers = trailers.unwrap_or_default();
                let kept = &mut exchange.upstream_trailers;
                push_fields(&trailers, kept, proxy.buffer_size).map_err(PeerError::Head)?;
                kept.retain(|known, _, _| known.is_none_or(may_trail));
                if proxy.pass_trailers {
                    for (known, name, value) in exchange.upstream_trailers.iter() {
                        exchange.answer_trailers.push_known(known, name, value);
                    }
                }
                self.is_complete = true;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Err(of_error(error))),
            Poll::Ready(None) => {
                self.lease.retire();
                Poll::Ready(Err(PeerError::ReadTimedOut))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

/// The trailer section of a request.
fn trailers(fields: &Fields) -> http::HeaderMap {
    let mut map = http::HeaderMap::new();
    for (_, name, value) in fields.iter() {
        if let (Ok(name), Ok(value)) = (
            http::HeaderName::from_bytes(name),
            http::HeaderValue::from_bytes(value),
        ) {
            // A section with more fields than the map takes was refused.
            let _ = map.try_append(name, value);
        }
    }
    map
}

fn count_sent(exchange: &mut Exchange, count: usize) {
    if let Some(attempt) = exchange.attempts.last_mut() {
        attempt.bytes_sent += count as u64;
    }
}

/// An interim answer is passed on (RFC 9110 section 15.2), but for 100, which is ours to say and was
/// said; a client of HTTP/1.0 knows none.
async fn pass_interim(
    parts: &http::response::Parts,
    exchange: &Exchange,
    downstream: &mut Downstream,
) -> Result<(), Failure> {
    if parts.status == http::StatusCode::CONTINUE || exchange.head.version < Version::Http11 {
        return Ok(());
    }
    // As it would have been read of a peer of HTTP/1.
    let mut head = ResponseHead {
        status: parts.status.as_u16(),
        ..ResponseHead::default()
    };
    let fields = &mut head.fields;
    write::push_status_line(&mut fields.bytes, head.status);
    for (name, value) in &parts.headers {
        let name = name.as_str().as_bytes();
        let start = fields.bytes.len();
        write::push_field(&mut fields.bytes, name, value.as_bytes());
        // Behind a name stand a colon and a blank, behind a value the end of the line.
        let (name_end, end) = (start + name.len(), fields.bytes.len() - 2);
        fields.add(Known::of(name), start..name_end, name_end + 2..end);
    }
    fields.bytes.extend_from_slice(b"\r\n");
    head.length = fields.bytes.len();
    downstream.queue_interim(&head);
    downstream
        .flush(exchange.settings.send_timeout)
        .await
        .map(|_| ())
        .map_err(Failure::Client)
}

/// Appends fields as a peer sent them, if they are not more than `most` bytes.
fn push_fields(
    map: &http::HeaderMap,
    fields: &mut Fields,
    most: usize,
) -> Result<(), ResponseError> {
    if map.len() > MOST_FIELDS {
        return Err(ResponseError::TooManyFields);
    }
    for (name, value) in map {
        let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
        if fields.bytes.len() + name.len() + value.len() > most {
            return Err(ResponseError::HeaderTooLarge);
        }
        fields.push(name, value.trim_ascii());
    }
    Ok(())
}

/// What an error of a stream says about the peer.
fn of_error(error: h2::Error) -> PeerError {
    let reason = error.reason().unwrap_or(Reason::NO_ERROR);
    // RFC 9113 sections 6.8 and 8.7: streams beyond the last that GOAWAY names, and those refused,
    // were not looked at.
    if error.is_remote() && (error.is_go_away() || reason == Reason::REFUSED_STREAM) {
        return PeerError::Refused(reason);
    }
    if error.is_remote() && error.is_reset() {
        return PeerError::Reset(reason);
    }
    if !error.is_io() {
        return PeerError::Http2(error);
    }
    match error.into_io() {
        Some(error)
            if !matches!(
                error.kind(),
                io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof
            ) =>
        {
            PeerError::Receive(error)
        }
        _ => PeerError::Closed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_of_http_1_becomes_one_of_http_2() {
        let head = b"POST /a%20b?c HTTP/1.1\r\nHost: example.org:81\r\nContent-Length: 3\r\n\
            Connection: close, x\r\nTransfer-Encoding: chunked\r\nTE: gzip, Trailers\r\n\
            Upgrade: websocket\r\nX-Two:  1 \r\nX-two: 2\r\n\r\nbody: no field\r\n";
        let request = request(head, true).expect("it can be sent");
        assert_eq!(request.method(), http::Method::POST);
        assert_eq!(request.uri(), "https://example.org:81/a%20b?c");
        let fields: Vec<_> = request
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}={}", value.to_str().expect("ASCII")))
            .collect();
        assert_eq!(
            fields,
            ["content-length=3", "te=trailers", "x-two=1", "x-two=2"]
        );
    }

    #[test]
    fn what_a_path_cannot_hold_is_escaped_and_a_host_that_cannot_be_is_refused() {
        let of = |target: &str, host: &str| {
            let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nTE: deflate\r\n\r\n");
            let request = request(head.as_bytes(), false)?;
            assert!(request.headers().is_empty());
            Ok::<_, &str>(request.uri().to_string())
        };
        assert_eq!(of("/a<b>|", "a_b"), Ok("http://a_b/a%3Cb%3E%7C".to_owned()));
        assert_eq!(of("/\u{fc}", "a"), Ok("http://a/\u{fc}".to_owned()));
        assert_eq!(of("/a?{b}", "a"), Ok("http://a/a?{b}".to_owned()));
        assert!(of("/", "a b").is_err());
        assert!(of("/", "").is_err());
    }
}
