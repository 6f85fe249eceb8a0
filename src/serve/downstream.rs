//! The client's side of one exchange: its body is read here, its answer is written here.
//!
//! Owns framing towards the client and the bytes not yet written; knows nothing of what they mean.
//! HTTP/1.1 and HTTP/2 are two variants of one type, so that everything above is written once.
//!
//! Between those who queue the body and the framing stand the filters of the body, where there are
//! any ([`Downstream::set_filters`]): nobody else knows of them, whatever the body comes from.
//!
//! Invariant: bytes queued are framed bytes. Whoever queues decides nothing about framing; the head
//! said once, in [`Downstream::begin`], how the body is delimited.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BufMut as _;
use tokio::io::AsyncWrite as _;

use super::http2::Http2;
use super::pace::Pace;
use crate::filter::chain::{Chain, Failure};
use crate::http::buffer;
use crate::http::coding::Compressed;
use crate::http::exchange::Exchange;
use crate::http::h1::chunked::{self, ChunkError, Decoder};
use crate::http::h1::framing::{self, BodyLength};
use crate::http::head::{Fields, ResponseHead, Version};
use crate::net;
use crate::net::deadline::Deadline;
use crate::tls::stream::Stream;

/// How much of a body is read from a client at once.
const READ: usize = 16 << 10;
/// Once so much waits for the client, the filters of the body rest.
const FILTERED: usize = 64 << 10;
/// After so many bytes that were filtered it is somebody else's turn: filters take their time.
const TURN: u64 = 128 << 10;

/// The client's side of an exchange.
#[derive(Debug)]
pub enum Downstream {
    /// A connection of HTTP/1.x.
    Http1(Box<Http1>),
    /// A stream of HTTP/2.
    Http2(Box<Http2>),
    /// Nobody: what is sent here is gone, unless its body is collected. That of a subrequest, whose
    /// request has no body left to read.
    Detached(Option<Box<Collected>>),
}

/// The body of an answer to ourselves.
#[derive(Debug)]
pub struct Collected {
    /// What came of it.
    pub bytes: Vec<u8>,
    /// Of this many bytes at most; what comes then is gone.
    pub most: usize,
    /// There was more.
    pub is_cut: bool,
}

impl Collected {
    fn push(&mut self, bytes: &[u8]) {
        let room = self.most - self.bytes.len();
        self.is_cut |= bytes.len() > room;
        self.bytes
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// What went wrong with the client.
#[derive(Debug)]
pub enum ClientError {
    /// It closed or reset the connection.
    Closed(Option<io::Error>),
    /// It did not send or take anything for too long.
    TimedOut,
    /// Its chunked body is malformed.
    BadBody(ChunkError),
    /// The body for it cannot be made; no fault of its own.
    Filter(Failure),
}

impl std::fmt::Display for ClientError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed(None) => formatter.write_str("client prematurely closed connection"),
            Self::Closed(Some(error)) => {
                write!(formatter, "client connection failed ({error})")
            }
            Self::TimedOut => formatter.write_str("client timed out (110: Connection timed out)"),
            Self::BadBody(error) => write!(formatter, "client sent invalid chunked body: {error}"),
            Self::Filter(failure) => failure.fmt(formatter),
        }
    }
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> Self {
        Self::Closed(Some(error))
    }
}

/// How the body of an answer is delimited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// The bytes as they are: a length was told, or the connection's end is the end.
    Raw,
    /// Chunked (RFC 9112 section 7.1).
    Chunked,
    /// No body follows (HEAD, 204, 304).
    Nothing,
}

/// A client's connection of HTTP/1.x, between reading a head and the end of its exchange.
#[derive(Debug)]
pub struct Http1 {
    /// The connection.
    pub stream: Stream,
    /// Where in the head's bytes the unread ones begin: body or next requests.
    pub unread: usize,
    body: RequestBody,
    /// The client waits for `100 Continue` before it sends its body.
    awaits_continue: bool,
    out: Vec<u8>,
    sent: usize,
    framing: Framing,
    filtering: Option<Box<Filtering>>,
    pace: Option<Box<Pace>>,
    /// For reading from and writing to the client.
    pub deadline: Deadline,
    is_armed: bool,
}

/// The filters of a body and what they have to do with its end.
#[derive(Debug)]
pub struct Filtering {
    chain: Chain,
    /// What follows the body once all of it came out of the filters.
    end: Option<Fields>,
    failure: Option<Failure>,
    /// Bytes filtered when it was somebody else's turn last.
    turned: u64,
}

#[derive(Debug)]
enum RequestBody {
    Complete,
    Length(u64),
    Chunked(Decoder),
}

impl Http1 {
    /// The client's side of a fresh connection.
    pub fn new(stream: Stream) -> Self {
        Self {
            stream,
            unread: 0,
            body: RequestBody::Complete,
            awaits_continue: false,
            out: Vec::new(),
            sent: 0,
            framing: Framing::Raw,
            filtering: None,
            pace: None,
            deadline: Deadline::new(),
            is_armed: false,
        }
    }

    /// A head was read; this is how its body is delimited.
    pub fn expect_body(&mut self, head_length: usize, length: BodyLength, awaits_continue: bool) {
        self.unread = head_length;
        self.body = match length {
            BodyLength::None | BodyLength::UntilClose | BodyLength::Length(0) => {
                RequestBody::Complete
            }
            BodyLength::Length(length) => RequestBody::Length(length),
            BodyLength::Chunked => RequestBody::Chunked(Decoder::default()),
        };
        self.awaits_continue = awaits_continue && !matches!(self.body, RequestBody::Complete);
    }

    /// Gives the buffers back while the connection waits for its next request.
    pub fn release_buffers(&mut self) {
        if self.sent == self.out.len() {
            self.sent = 0;
            buffer::release(&mut self.out);
        }
    }

    /// Repeats a system call that writes to the client until it did something; for a stream without
    /// TLS only.
    pub async fn write_with<T>(
        &mut self,
        timeout: Duration,
        mut call: impl FnMut(&net::stream::Stream) -> io::Result<T>,
    ) -> Result<T, ClientError> {
        self.deadline.set(timeout);
        let Some(stream) = self.stream.plain() else {
            return Err(ClientError::Closed(Some(io::ErrorKind::Unsupported.into())));
        };
        match self
            .deadline
            .guard(|context| stream.poll_write_with(context, || call(stream)))
            .await
        {
            Some(result) => result.map_err(ClientError::from),
            None => Err(ClientError::TimedOut),
        }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut written = 0;
        while self.sent < self.out.len() {
            let mut end = self.out.len();
            if let Some(pace) = &mut self.pace {
                match pace.poll_allowance(context) {
                    Poll::Ready(allowance) => end = end.min(self.sent.saturating_add(allowance)),
                    Poll::Pending if written > 0 => return Poll::Ready(Ok(written)),
                    Poll::Pending => {
                        // Waiting is ours, not the client's: its time begins anew.
                        self.is_armed = false;
                        return Poll::Pending;
                    }
                }
            }
            match Pin::new(&mut self.stream).poll_write(context, &self.out[self.sent..end]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => {
                    self.sent += count;
                    written += count;
                    if let Some(pace) = &mut self.pace {
                        pace.note(count);
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if written > 0 => return Poll::Ready(Ok(written)),
                Poll::Pending => return Poll::Pending,
            }
        }
        self.out.clear();
        self.sent = 0;
        Poll::Ready(Ok(written))
    }

    /// Appends payload of the request's body to `into`; `Ok(true)` when the body is complete.
    fn poll_body(
        &mut self,
        context: &mut Context<'_>,
        exchange: &mut Exchange,
        into: &mut Vec<u8>,
        room: usize,
    ) -> Poll<Result<bool, ClientError>> {
        loop {
            let bytes = &mut exchange.head.fields.bytes;
            match &mut self.body {
                RequestBody::Complete => return Poll::Ready(Ok(true)),
                RequestBody::Length(remaining) => {
                    let wanted = usize::try_from(*remaining).unwrap_or(usize::MAX);
                    let count = if self.unread < bytes.len() {
                        let count = wanted.min(bytes.len() - self.unread).min(room.max(1));
                        into.extend_from_slice(&bytes[self.unread..self.unread + count]);
                        self.unread += count;
                        count
                    } else {
                        if into.capacity() == into.len() {
                            into.reserve(wanted.min(room).clamp(1, READ));
                        }
                        let limit = wanted.min(room.max(1));
                        let mut limited = into.limit(limit);
                        let read = std::pin::pin!(tokio::io::AsyncReadExt::read_buf(
                            &mut self.stream,
                            &mut limited
                        ));
                        match ready!(read.poll(context))? {
                            0 => return Poll::Ready(Err(ClientError::Closed(None))),
                            count => count,
                        }
                    };
                    exchange.request_length += count as u64;
                    *remaining -= count as u64;
                    if *remaining == 0 {
                        self.body = RequestBody::Complete;
                        return Poll::Ready(Ok(true));
                    }
                    return Poll::Ready(Ok(false));
                }
                RequestBody::Chunked(decoder) => {
                    if self.unread == bytes.len() {
                        // The bytes behind the head are used up; their room is used again.
                        bytes.truncate(exchange.head.length);
                        self.unread = exchange.head.length;
                        if bytes.capacity() - bytes.len() < READ / 4 {
                            bytes.reserve(READ);
                        }
                        if ready!(self.stream.poll_read_into(context, bytes, READ))? == 0 {
                            return Poll::Ready(Err(ClientError::Closed(None)));
                        }
                    }
                    let before = into.len();
                    while self.unread < bytes.len()
                        && !decoder.is_done()
                        && into.len() - before < room.max(1)
                    {
                        let input = &bytes[self.unread..];
                        let decoded = decoder
                            .decode(input, &mut exchange.trailers)
                            .map_err(ClientError::BadBody)?;
                        into.extend_from_slice(&input[decoded.data.clone()]);
                        self.unread += decoded.consumed;
                        exchange.request_length += decoded.consumed as u64;
                        if decoded.consumed == 0 {
                            break;
                        }
                    }
                    if decoder.is_done() {
                        self.body = RequestBody::Complete;
                        return Poll::Ready(Ok(true));
                    }
                    if into.len() > before {
                        return Poll::Ready(Ok(false));
                    }
                }
            }
        }
    }
}

impl Downstream {
    /// Has the whole body of the request been read?
    pub fn is_body_complete(&self) -> bool {
        match self {
            Self::Http1(http1) => matches!(http1.body, RequestBody::Complete),
            Self::Http2(http2) => http2.is_body_complete(),
            Self::Detached(_) => true,
        }
    }

    /// The length of the body that is still to come, if the client told it.
    pub fn body_length(&self) -> Option<u64> {
        match self {
            Self::Http1(http1) => match &http1.body {
                RequestBody::Complete => Some(0),
                RequestBody::Length(length) => Some(*length),
                RequestBody::Chunked(_) => None,
            },
            Self::Http2(http2) => http2.body_length(),
            Self::Detached(_) => Some(0),
        }
    }

    /// The client still waits for leave to send its body: an answer now leaves the connection
    /// without a known next byte, so it must be the last.
    pub fn awaits_continue(&self) -> bool {
        matches!(self, Self::Http1(http1) if http1.awaits_continue)
    }

    /// Appends at most about `room` bytes of the request's body to `into`; `Ok(true)` when it is
    /// complete. `timeout` is `client_body_timeout`, between two reads.
    pub async fn read_body(
        &mut self,
        exchange: &mut Exchange,
        into: &mut Vec<u8>,
        room: usize,
        timeout: Duration,
    ) -> Result<bool, ClientError> {
        self.allow_body(exchange).await?;
        std::future::poll_fn(|context| self.poll_body(context, exchange, into, room, timeout)).await
    }

    /// Takes what of the request's body was already read, without waiting; `Ok(true)` when that is
    /// all of it.
    pub fn take_read_body(
        &mut self,
        exchange: &mut Exchange,
        into: &mut Vec<u8>,
    ) -> Result<bool, ClientError> {
        let Self::Http1(http1) = self else {
            return Ok(self.is_body_complete());
        };
        let mut context = Context::from_waker(std::task::Waker::noop());
        while http1.unread < exchange.head.fields.bytes.len()
            && !matches!(http1.body, RequestBody::Complete)
        {
            if let Poll::Ready(result) = http1.poll_body(&mut context, exchange, into, usize::MAX) {
                result?;
            }
        }
        Ok(matches!(http1.body, RequestBody::Complete))
    }

    /// As [`Downstream::read_body`], for a caller that waits for other things too.
    pub fn poll_body(
        &mut self,
        context: &mut Context<'_>,
        exchange: &mut Exchange,
        into: &mut Vec<u8>,
        room: usize,
        timeout: Duration,
    ) -> Poll<Result<bool, ClientError>> {
        match self {
            Self::Http1(http1) => {
                let polled = http1.poll_body(context, exchange, into, room);
                if polled.is_ready() {
                    http1.is_armed = false;
                    return polled;
                }
                if !http1.is_armed {
                    http1.is_armed = true;
                    http1.deadline.set(timeout);
                }
                http1.deadline.poll_expired(context).map(|()| {
                    http1.is_armed = false;
                    Err(ClientError::TimedOut)
                })
            }
            Self::Http2(http2) => http2.poll_body(context, exchange, into, room, timeout),
            Self::Detached(_) => Poll::Ready(Ok(true)),
        }
    }

    /// Tells a client that waits for it to send its body (RFC 9110 section 10.1.1). One that sent
    /// some of it already does not wait.
    pub async fn allow_body(&mut self, exchange: &Exchange) -> Result<(), ClientError> {
        let http1 = match self {
            Self::Http1(http1) => http1,
            Self::Http2(http2) => {
                http2.allow_body();
                return Ok(());
            }
            Self::Detached(_) => return Ok(()),
        };
        if !http1.awaits_continue {
            return Ok(());
        }
        http1.awaits_continue = false;
        if http1.unread < exchange.head.fields.bytes.len() {
            return Ok(());
        }
        http1
            .out
            .extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        self.flush(exchange.settings.send_timeout).await?;
        Ok(())
    }

    /// Queues the head of the answer. For HTTP/1.x these are its bytes; for HTTP/2 the head is taken
    /// from the exchange.
    pub fn begin(
        &mut self,
        exchange: &mut Exchange,
        head: impl FnOnce(&Exchange, &mut Vec<u8>),
        framing: Framing,
    ) {
        match self {
            Self::Http1(http1) => {
                buffer::ensure(&mut http1.out);
                let before = http1.out.len();
                head(exchange, &mut http1.out);
                exchange.head_bytes_sent += (http1.out.len() - before) as u64;
                http1.framing = framing;
            }
            Self::Http2(http2) => http2.begin(exchange, framing == Framing::Nothing),
            Self::Detached(_) => {}
        }
    }

    /// Takes what was read behind the head of the request (its body, further requests) out of the
    /// way, so that the head can grow.
    pub fn take_unread(&mut self, exchange: &mut Exchange) -> Vec<u8> {
        match self {
            Self::Http1(_) => {
                let bytes = &mut exchange.head.fields.bytes;
                bytes.split_off(exchange.head.length.min(bytes.len()))
            }
            Self::Http2(_) | Self::Detached(_) => Vec::new(),
        }
    }

    /// Puts it back, behind the head as it is now.
    pub fn put_back_unread(&mut self, exchange: &mut Exchange, unread: &[u8]) {
        let head = &mut exchange.head;
        if let Self::Http1(http1) = self {
            let length = head.fields.bytes.len();
            http1.unread += length - head.length;
            head.length = length;
            head.fields.bytes.extend_from_slice(unread);
        }
    }

    /// Queues an interim answer (1xx) as a peer sent it.
    pub fn queue_interim(&mut self, head: &ResponseHead) {
        match self {
            Self::Http1(http1) => {
                buffer::ensure(&mut http1.out);
                http1
                    .out
                    .extend_from_slice(&head.fields.bytes[..head.length]);
            }
            Self::Http2(http2) => http2.queue_interim(head),
            Self::Detached(_) => {}
        }
    }

    /// Sets what the body of the answer that begins passes on its way; `None` if nothing.
    pub fn set_filters(&mut self, chain: Option<Box<Chain>>) {
        if let Some(filtering) = self.filtering() {
            *filtering = chain.map(|chain| {
                Box::new(Filtering {
                    chain: *chain,
                    end: None,
                    failure: None,
                    turned: 0,
                })
            });
        }
    }

    /// What the filters did, if they compressed the body. They are gone with that.
    pub fn take_compressed(&mut self) -> Option<Compressed> {
        let filtering = self.filtering()?.take()?;
        filtering.chain.compressed()
    }

    fn filtering(&mut self) -> Option<&mut Option<Box<Filtering>>> {
        match self {
            Self::Http1(http1) => Some(&mut http1.filtering),
            Self::Http2(http2) => Some(&mut http2.filtering),
            Self::Detached(_) => None,
        }
    }

    /// The filters, if the body has any.
    fn filters(&self) -> Option<&Filtering> {
        match self {
            Self::Http1(http1) => http1.filtering.as_deref(),
            Self::Http2(http2) => http2.filtering.as_deref(),
            Self::Detached(_) => None,
        }
    }

    /// Lets the filters work on what they have, for as long as not much waits for the client.
    fn filter(&mut self) {
        // While they work, what comes out goes to the other half of this.
        let Some(mut filtering) = self.filtering().and_then(Option::take) else {
            return;
        };
        if filtering.chain.has_work() && filtering.failure.is_none() {
            let mut piece = buffer::take_large();
            loop {
                let room = FILTERED.saturating_sub(self.framed());
                if room == 0 || !filtering.chain.has_work() {
                    break;
                }
                let ran = filtering.chain.run(&mut piece, room);
                self.frame(&piece);
                piece.clear();
                if let Err(failure) = ran {
                    filtering.failure = Some(failure);
                    break;
                }
            }
            buffer::give_back(piece);
        }
        if filtering.chain.has_ended()
            && let Some(trailers) = filtering.end.take()
        {
            self.frame_end(&trailers);
        }
        if let Some(place) = self.filtering() {
            *place = Some(filtering);
        }
    }

    /// The body's source has nothing more for now: queues what its filters hold back of it. `false`
    /// if that is nothing.
    pub fn flush_filters(&mut self) -> bool {
        let filtering = self.filtering().and_then(Option::as_mut);
        let is_asked = filtering.is_some_and(|filtering| filtering.chain.flush());
        if is_asked {
            self.filter();
        }
        is_asked
    }

    /// Have the filters worked for so long that others should have their turn?
    pub fn takes_long(&mut self) -> bool {
        let Some(Some(filtering)) = self.filtering() else {
            return false;
        };
        let received = filtering.chain.received();
        let takes_long = received - filtering.turned >= TURN;
        if takes_long {
            filtering.turned = received;
        }
        takes_long
    }

    /// Queues bytes of the body.
    pub fn queue(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if let Some(Some(filtering)) = self.filtering() {
            filtering.chain.push(bytes);
            self.filter();
        } else {
            self.frame(bytes);
        }
    }

    /// Queues bytes that passed all filters.
    fn frame(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        match self {
            Self::Http1(http1) => match http1.framing {
                Framing::Nothing => {}
                Framing::Raw => http1.out.extend_from_slice(bytes),
                Framing::Chunked => {
                    chunked::write_chunk_head(&mut http1.out, bytes.len());
                    http1.out.extend_from_slice(bytes);
                    http1.out.extend_from_slice(b"\r\n");
                }
            },
            Self::Http2(http2) => http2.queue(bytes),
            Self::Detached(Some(collected)) => collected.push(bytes),
            Self::Detached(None) => {}
        }
    }

    /// Where bytes of the body may be appended directly, when neither filters nor framing do anything
    /// to them.
    pub fn raw_queue(&mut self) -> Option<&mut Vec<u8>> {
        match self {
            Self::Http1(http1) if http1.framing == Framing::Raw && http1.filtering.is_none() => {
                Some(&mut http1.out)
            }
            Self::Http2(http2) if http2.filtering.is_none() => http2.raw_queue(),
            _ => None,
        }
    }

    /// Do bytes go to the client's socket as they are?
    pub fn is_plain(&self) -> bool {
        matches!(self, Self::Http1(http1) if http1.stream.plain().is_some())
    }

    /// Queues the end of the body, with trailer fields where the framing has room for them.
    pub fn queue_end(&mut self, trailers: &Fields) {
        if let Some(Some(filtering)) = self.filtering() {
            let mut end = Fields::default();
            for (known, name, value) in trailers.iter() {
                end.push_known(known, name, value);
            }
            filtering.end = Some(end);
            filtering.chain.end();
            self.filter();
        } else {
            self.frame_end(trailers);
        }
    }

    fn frame_end(&mut self, trailers: &Fields) {
        match self {
            Self::Http1(http1) => {
                if http1.framing == Framing::Chunked {
                    chunked::write_end(&mut http1.out, trailers);
                }
            }
            Self::Http2(http2) => http2.queue_end(trailers),
            Self::Detached(_) => {}
        }
    }

    /// Forgets an answer of which nothing was written yet; `false` if something was.
    pub fn take_back(&mut self) -> bool {
        self.set_filters(None);
        match self {
            Self::Http1(http1) if http1.sent == 0 && !http1.stream.is_mid_write() => {
                http1.out.clear();
                true
            }
            Self::Http1(_) => false,
            Self::Http2(http2) => http2.take_back(),
            Self::Detached(_) => true,
        }
    }

    /// Bytes queued and not yet written, among them those that wait for a filter; never 0 if there is
    /// anything to send.
    pub fn queued(&self) -> usize {
        let filtering = self.filters().map_or(0, |filtering| {
            filtering.chain.waiting()
                + usize::from(filtering.end.is_some() || filtering.failure.is_some())
        });
        self.framed() + filtering
    }

    /// Bytes that passed all filters and are not yet written.
    fn framed(&self) -> usize {
        match self {
            Self::Http1(http1) => http1.out.len() - http1.sent,
            Self::Http2(http2) => http2.queued(),
            Self::Detached(_) => 0,
        }
    }

    /// Writes what is queued, as much as the client takes; ready with the number of bytes when some
    /// were written or none is left. `timeout` is `send_timeout`, between two writes.
    pub fn poll_flush(
        &mut self,
        context: &mut Context<'_>,
        timeout: Duration,
    ) -> Poll<Result<usize, ClientError>> {
        if self.filters().is_some() {
            self.filter();
            if let Some(failure) = self.filters().and_then(|filtering| filtering.failure)
                && self.framed() == 0
            {
                return Poll::Ready(Err(ClientError::Filter(failure)));
            }
        }
        match self {
            Self::Http1(http1) => {
                let polled = http1.poll_flush(context);
                if let Poll::Ready(result) = polled {
                    http1.is_armed = false;
                    return Poll::Ready(result.map_err(ClientError::from));
                }
                if !http1.is_armed {
                    http1.is_armed = true;
                    http1.deadline.set(timeout);
                }
                http1.deadline.poll_expired(context).map(|()| {
                    http1.is_armed = false;
                    Err(ClientError::TimedOut)
                })
            }
            Self::Http2(http2) => http2.poll_flush(context, timeout),
            Self::Detached(_) => Poll::Ready(Ok(0)),
        }
    }

    /// Writes all that is queued; returns how many bytes that were.
    pub async fn flush(&mut self, timeout: Duration) -> Result<u64, ClientError> {
        let mut written = 0;
        while self.queued() > 0 {
            written +=
                std::future::poll_fn(|context| self.poll_flush(context, timeout)).await? as u64;
        }
        Ok(written)
    }

    /// Ready when the client has gone away. Bytes of a next request are not a sign of that.
    pub fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self {
            // Pipelined bytes hide the end; the next read will tell.
            Self::Http1(http1) => http1.stream.poll_gone(context),
            Self::Http2(http2) => http2.poll_gone(),
            Self::Detached(_) => Poll::Pending,
        }
    }

    /// Sets the pace of the answer that begins; `None` is full speed.
    pub fn set_pace(&mut self, pace: Option<Pace>) {
        match self {
            Self::Http1(http1) => http1.pace = pace.map(Box::new),
            Self::Http2(http2) => http2.set_pace(pace),
            Self::Detached(_) => {}
        }
    }

    /// Is the answer sent at a limited pace?
    pub fn is_paced(&self) -> bool {
        match self {
            Self::Http1(http1) => http1.pace.is_some(),
            Self::Http2(http2) => http2.is_paced(),
            Self::Detached(_) => false,
        }
    }

    /// Did the client ask for another protocol, so that bytes may pass both ways from here on?
    pub fn wants_tunnel(&self, exchange: &Exchange) -> bool {
        match self {
            Self::Http1(_) => framing::wants_upgrade(&exchange.head).is_some(),
            Self::Http2(http2) => http2.wants_tunnel(),
            Self::Detached(_) => false,
        }
    }

    /// The connection, where it is one of HTTP/1.x.
    pub fn as_http1(&mut self) -> Option<&mut Http1> {
        match self {
            Self::Http1(http1) => Some(http1),
            Self::Http2(_) | Self::Detached(_) => None,
        }
    }
}

/// How an answer whose length is or is not known is delimited towards a client.
pub fn framing_for(version: Version, length: Option<u64>, chunked_allowed: bool) -> Framing {
    match (length, version) {
        (Some(_), _) => Framing::Raw,
        (None, Version::Http11) if chunked_allowed => Framing::Chunked,
        (None, _) => Framing::Raw,
    }
}
