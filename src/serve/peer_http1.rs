//! A peer that speaks HTTP/1: a request goes out, the head of the answer comes in, then its body.

use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::AsyncWrite as _;

use super::downstream::{ClientError, Downstream};
use super::peer::{Failure, PeerError, Question, Sink, connect, head_received};
use super::request_body::RequestBody;
use crate::conf::typed::proxy::Proxy;
use crate::http::buffer;
use crate::http::exchange::Exchange;
use crate::http::h1::chunked::Decoder;
use crate::http::h1::framing::BodyLength;
use crate::http::h1::parse::{HeadLimits, HeadParser, Progress};
use crate::http::head::Version;
use crate::net::deadline::Deadline;
use crate::tls::stream::Stream;
use crate::unit::clock;
use crate::upstream::group::Selected;
use crate::upstream::pool::Idle;

/// What is read from a peer at once when its answer is large.
const READ: usize = buffer::LARGE;

/// A connection to a peer in use.
pub struct Link {
    /// The connection.
    pub stream: Stream,
    /// Requests sent over it, this one counted; the greatest number if it is not to be used again.
    pub requests: u64,
    /// When it was made.
    pub created: Instant,
    /// See [`super::peer::Way::kind`].
    pub kind: u64,
    /// For what is awaited of the peer.
    pub deadline: Deadline,
    /// Is the deadline set?
    pub is_armed: bool,
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

/// One try: connect, or take the kept connection, send, read the head of the answer.
pub async fn attempt(
    question: &Question<'_>,
    selected: &Selected,
    idle: Option<Idle<Stream>>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    body: &mut RequestBody,
) -> Result<Link, Failure> {
    let Question {
        plan,
        way,
        request,
        head_end,
        ..
    } = question;
    let proxy = &*plan.proxy;
    let idle = match idle {
        Some(idle) => idle,
        None => Idle {
            stream: connect(selected, way, downstream, proxy).await?,
            created: clock::now(),
            requests: 0,
        },
    };
    let mut link = Link {
        stream: idle.stream,
        requests: idle.requests,
        created: idle.created,
        kind: way.kind,
        deadline: Deadline::new(),
        is_armed: false,
    };
    link.requests += 1;
    if let Some(attempt) = exchange.attempts.last_mut() {
        attempt.connect_time = Some(clock::since(attempt.started));
    }

    let head = &mut exchange.upstream_head;
    head.reset();
    buffer::ensure(&mut head.fields.bytes);
    head.fields.bytes.clear();
    exchange.upstream_trailers.clear();

    let mut sent = 0;
    let mut sending = body.sender(request.len() > *head_end, true);
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
                let head = &request[sent..];
                // A body that is all here goes with the head: one packet, which wakes the peer once.
                if head.is_empty() || matches!(body, RequestBody::Memory(_)) {
                    match sending.poll_next(body, context, exchange, downstream, body_timeout) {
                        Poll::Ready(Ok(has_piece)) => {
                            if !has_piece && head.is_empty() {
                                is_sent = true;
                                continue;
                            }
                        }
                        Poll::Ready(Err(error)) => {
                            return Poll::Ready(Err(Failure::Client(error)));
                        }
                        Poll::Pending => break,
                    }
                }
                let parts = [head, sending.pending(body)].map(IoSlice::new);
                let written = link.poll_timed(context, proxy.send_timeout, |stream, context| {
                    Pin::new(stream).poll_write_vectored(context, &parts)
                });
                match written {
                    Poll::Ready(Some(Ok(count))) => {
                        let of_head = count.min(head.len());
                        sent += of_head;
                        if count > of_head {
                            sending.advance(body, count - of_head);
                        }
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
            if is_sent && !way.outlasts_client && downstream.poll_gone(context).is_ready() {
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
                let is_passed = question.way.passes_interim && status != 100;
                if is_passed && exchange.head.version >= Version::Http11 {
                    downstream.queue_interim(head);
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
            head_received(exchange, selected);
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

/// Where the body of a peer's answer stands.
pub struct Source {
    length: BodyLength,
    /// Bytes of the body still to come, when a length was told.
    remaining: u64,
    decoder: Decoder,
    /// Where in the head's buffer the unread bytes begin.
    unread: usize,
    /// Body bytes received, as `$upstream_response_length`.
    pub received: u64,
    /// Where it goes.
    pub sink: Sink,
    /// All of it was received.
    pub is_complete: bool,
}

impl Source {
    /// The body behind a head of this length in its buffer.
    pub fn new(length: BodyLength, head_length: usize) -> Self {
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
            sink: Sink::default(),
            is_complete,
        }
    }

    /// Did the answer end exactly where the peer stopped sending? Otherwise the next answer on this
    /// connection would begin with bytes that belong to nobody.
    pub fn leaves_connection_clean(&self, bytes: &[u8]) -> bool {
        self.is_complete
            && !matches!(self.length, BodyLength::UntilClose)
            && self.unread >= bytes.len()
    }

    /// Moves bytes that were already read to the client's queue.
    pub fn take_read(
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
                let found = &bytes[self.unread..self.unread + count];
                self.sink.take(self.received, found, downstream);
                self.unread += count;
                self.took(count);
            }
            BodyLength::UntilClose => {
                (self.sink).take(self.received, &bytes[self.unread..], downstream);
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
                    let found = &input[decoded.data.clone()];
                    self.sink.take(self.received, found, downstream);
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

/// One read from the peer into the client's queue.
pub fn poll_source(
    context: &mut Context<'_>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    link: &mut Link,
    source: &mut Source,
    proxy: &Proxy,
) -> Poll<Result<(), PeerError>> {
    let is_raw = source.sink.is_plain()
        && matches!(
            source.length,
            BodyLength::Length(_) | BodyLength::UntilClose
        );
    let read = if is_raw && let Some(queue) = downstream.raw_queue() {
        // Nothing is added to the bytes: they are read to where they are written from.
        let before = queue.len();
        let room = match source.length {
            BodyLength::Length(_) => usize::try_from(source.remaining)
                .unwrap_or(usize::MAX)
                .min(READ),
            _ => READ,
        };
        if queue.capacity() < READ {
            let mut large = buffer::take_large();
            large.reserve(before + room);
            large.extend_from_slice(queue);
            buffer::give_back(std::mem::replace(queue, large));
        }
        let read = link.poll_timed(context, proxy.read_timeout, |stream, context| {
            use bytes::BufMut as _;
            let mut limited = queue.limit(room);
            let read = std::pin::pin!(tokio::io::AsyncReadExt::read_buf(stream, &mut limited));
            read.poll(context)
        });
        if let Poll::Ready(Some(Ok(count))) = read {
            debug_assert_eq!(queue.len(), before + count);
            if let Some(fill) = &mut source.sink.fill {
                fill.append(&queue[before..]);
            }
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
