//! HTTP/2 with a client: hyper speaks it, and each stream becomes an exchange like any other.
//!
//! Owns the translation in both directions. A request's pseudo fields become the request line that
//! HTTP/1 would have had, once; an answer's head is taken from the exchange. Body bytes pass through
//! a pipe between our task and hyper's, which says how much the client takes.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use super::downstream::{ClientError, Downstream};
use super::worker::Worker;
use super::{connection, serve};
use crate::conf::typed::listen::Address;
use crate::http::exchange::{Connection, Exchange};
use crate::http::head::{Fields, Known, Method, RequestHead, Slice, Version};
use crate::log;
use crate::metrics::registry;
use crate::net::deadline::Deadline;
use crate::tls::stream::Stream;
use crate::unit::clock;

/// Bytes of an answer that may wait for the client before the peer has to wait.
const PIPE: usize = 64 << 10;
/// Bytes of a header list (SETTINGS_MAX_HEADER_LIST_SIZE).
const HEADER_LIST: u32 = 32 << 10;

/// The client's side of one stream.
pub struct Http2 {
    body: Option<Incoming>,
    body_length: Option<u64>,
    /// Bytes of a frame that did not fit.
    rest: Bytes,
    respond: Option<oneshot::Sender<http::Response<PipeBody>>>,
    response: Option<http::Response<PipeBody>>,
    pipe: Rc<RefCell<Pipe>>,
    pending: Vec<u8>,
    has_no_body: bool,
    deadline: Deadline,
    is_armed: bool,
}

impl std::fmt::Debug for Http2 {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Http2")
            .field("pending", &self.pending.len())
            .finish_non_exhaustive()
    }
}

/// What is between the task of a request and hyper.
#[derive(Default)]
struct Pipe {
    frames: VecDeque<Frame<Bytes>>,
    queued: usize,
    has_ended: bool,
    is_cut: bool,
    is_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// hyper's end of a pipe.
pub struct PipeBody(Rc<RefCell<Pipe>>);

impl http_body::Body for PipeBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let mut pipe = self.0.borrow_mut();
        if let Some(frame) = pipe.frames.pop_front() {
            pipe.queued -= frame.data_ref().map_or(0, Bytes::len);
            if let Some(writer) = pipe.writer.take() {
                writer.wake();
            }
            return Poll::Ready(Some(Ok(frame)));
        }
        if pipe.is_cut {
            return Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())));
        }
        if pipe.has_ended {
            return Poll::Ready(None);
        }
        pipe.reader = Some(context.waker().clone());
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        let pipe = self.0.borrow();
        pipe.has_ended && pipe.frames.is_empty() && !pipe.is_cut
    }
}

impl Drop for PipeBody {
    fn drop(&mut self) {
        let mut pipe = self.0.borrow_mut();
        pipe.is_gone = true;
        if let Some(writer) = pipe.writer.take() {
            writer.wake();
        }
    }
}

impl Http2 {
    fn new(body: Incoming, respond: oneshot::Sender<http::Response<PipeBody>>) -> Self {
        let body_length = body.size_hint().exact();
        let is_empty = body.is_end_stream();
        Self {
            body: (!is_empty).then_some(body),
            body_length,
            rest: Bytes::new(),
            respond: Some(respond),
            response: None,
            pipe: Rc::default(),
            pending: Vec::new(),
            has_no_body: false,
            deadline: Deadline::new(),
            is_armed: false,
        }
    }

    /// Has all of the request's body been read?
    pub fn is_body_complete(&self) -> bool {
        self.body.is_none() && self.rest.is_empty()
    }

    /// The length of the request's body that is still to come, if it is known.
    pub fn body_length(&self) -> Option<u64> {
        if self.is_body_complete() {
            Some(0)
        } else {
            self.body_length
        }
    }

    /// See [`Downstream::poll_body`].
    pub fn poll_body(
        &mut self,
        context: &mut Context<'_>,
        exchange: &mut Exchange,
        into: &mut Vec<u8>,
        timeout: Duration,
    ) -> Poll<Result<bool, ClientError>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(Ok(true));
        };
        match Pin::new(body).poll_frame(context) {
            Poll::Ready(frame) => {
                self.is_armed = false;
                match frame {
                    None => {
                        self.body = None;
                        Poll::Ready(Ok(true))
                    }
                    Some(Ok(frame)) => {
                        if let Ok(mut data) = frame.into_data() {
                            exchange.request_length += data.len() as u64;
                            while data.has_remaining() {
                                let chunk = data.chunk();
                                into.extend_from_slice(chunk);
                                let length = chunk.len();
                                data.advance(length);
                            }
                        }
                        Poll::Ready(Ok(false))
                    }
                    Some(Err(_)) => Poll::Ready(Err(ClientError::Closed(None))),
                }
            }
            Poll::Pending => {
                if !self.is_armed {
                    self.is_armed = true;
                    self.deadline.set(timeout);
                }
                self.deadline.poll_expired(context).map(|()| {
                    self.is_armed = false;
                    Err(ClientError::TimedOut)
                })
            }
        }
    }

    /// See [`Downstream::begin`].
    pub fn begin(&mut self, exchange: &mut Exchange, has_no_body: bool) {
        let mut response = http::Response::new(PipeBody(Rc::clone(&self.pipe)));
        *response.status_mut() = http::StatusCode::from_u16(exchange.status)
            .unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        let mut add = |name: &[u8], value: &[u8]| {
            if let (Ok(name), Ok(value)) = (
                http::HeaderName::from_bytes(name),
                http::HeaderValue::from_bytes(value),
            ) {
                headers.append(name, value);
            }
        };
        let mut scratch = Vec::new();
        if !exchange.answer.has(Known::Server)
            && let Some(server) = crate::filter::headers::server(exchange, &mut scratch)
        {
            add(b"server", server);
        }
        if !exchange.answer.has(Known::Date) {
            crate::http::variables::with_times(|times| add(b"date", times.http()));
        }
        if let Some(length) = exchange.answer_length {
            add(b"content-length", length.to_string().as_bytes());
        }
        for (known, name, value) in exchange.answer.iter() {
            // RFC 9113 section 8.2.2: fields of a connection have no place here.
            if !matches!(
                known,
                Some(
                    Known::Connection
                        | Known::KeepAlive
                        | Known::ProxyConnection
                        | Known::TransferEncoding
                        | Known::Upgrade
                )
            ) {
                add(name, value);
            }
        }
        self.has_no_body = has_no_body;
        if has_no_body {
            self.pipe.borrow_mut().has_ended = true;
        }
        exchange.head_bytes_sent = 0;
        self.response = Some(response);
    }

    /// See [`Downstream::queue`].
    pub fn queue(&mut self, bytes: &[u8]) {
        if !self.has_no_body {
            self.pending.extend_from_slice(bytes);
        }
    }

    /// See [`Downstream::queue_end`].
    pub fn queue_end(&mut self, trailers: &Fields) {
        self.hand_over();
        let mut pipe = self.pipe.borrow_mut();
        if !self.has_no_body && !trailers.is_empty() {
            let mut map = http::HeaderMap::new();
            for (_, name, value) in trailers.iter() {
                if let (Ok(name), Ok(value)) = (
                    http::HeaderName::from_bytes(name),
                    http::HeaderValue::from_bytes(value),
                ) {
                    map.append(name, value);
                }
            }
            pipe.frames.push_back(Frame::trailers(map));
        }
        pipe.has_ended = true;
        if let Some(reader) = pipe.reader.take() {
            reader.wake();
        }
    }

    /// Bytes that the client has not taken.
    pub fn queued(&self) -> usize {
        let waits = usize::from(self.response.is_some());
        self.pending.len() + self.pipe.borrow().queued + waits
    }

    fn hand_over(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let bytes = Bytes::from(std::mem::take(&mut self.pending));
        let mut pipe = self.pipe.borrow_mut();
        pipe.queued += bytes.len();
        pipe.frames.push_back(Frame::data(bytes));
        if let Some(reader) = pipe.reader.take() {
            reader.wake();
        }
    }

    /// See [`Downstream::poll_flush`]. What hyper holds counts as written.
    pub fn poll_flush(
        &mut self,
        context: &mut Context<'_>,
        timeout: Duration,
    ) -> Poll<Result<usize, ClientError>> {
        if let Some(response) = self.response.take() {
            let Some(respond) = self.respond.take() else {
                return Poll::Ready(Err(ClientError::Closed(None)));
            };
            if respond.send(response).is_err() {
                return Poll::Ready(Err(ClientError::Closed(None)));
            }
        }
        let written = self.pending.len();
        self.hand_over();
        let mut pipe = self.pipe.borrow_mut();
        if pipe.is_gone && !(pipe.has_ended && pipe.frames.is_empty()) {
            return Poll::Ready(Err(ClientError::Closed(None)));
        }
        if pipe.queued <= PIPE && (pipe.queued == 0 || written > 0) {
            self.is_armed = false;
            return Poll::Ready(Ok(written));
        }
        pipe.writer = Some(context.waker().clone());
        drop(pipe);
        if !self.is_armed || written > 0 {
            self.is_armed = true;
            self.deadline.set(timeout);
        }
        ready!(self.deadline.poll_expired(context));
        self.is_armed = false;
        Poll::Ready(Err(ClientError::TimedOut))
    }

    /// See [`Downstream::poll_gone`].
    pub fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(respond) = &mut self.respond {
            return respond.poll_closed(context);
        }
        let mut pipe = self.pipe.borrow_mut();
        if pipe.is_gone {
            return Poll::Ready(());
        }
        pipe.writer = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        let mut pipe = self.pipe.borrow_mut();
        if !pipe.has_ended {
            pipe.is_cut = true;
        }
        if let Some(reader) = pipe.reader.take() {
            reader.wake();
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
    let streams = {
        let local = worker.local();
        let Some(listening) = local.generation.listen(listen, &connection.local) else {
            return;
        };
        connection::default_server(&local, listening)
            .1
            .reading
            .http2_streams
    };
    let count = Rc::new(std::cell::Cell::new(0));
    let io = hyper_util::rt::TokioIo::new(Rewound {
        read: Bytes::from(read),
        stream,
    });
    let service = hyper::service::service_fn({
        let worker = Rc::clone(worker);
        let connection = Rc::clone(connection);
        let listen = Rc::clone(listen);
        move |request: http::Request<Incoming>| {
            count.set(count.get() + 1);
            let (respond, response) = oneshot::channel();
            tokio::task::spawn_local(exchange(
                Rc::clone(&worker),
                Rc::clone(&connection),
                Rc::clone(&listen),
                request,
                respond,
                count.get(),
            ));
            async move {
                // A dropped sender is an answer that was given up before its head: the stream is reset.
                response
                    .await
                    .map_err(|_| io::Error::from(io::ErrorKind::ConnectionAborted))
            }
        }
    });
    let mut builder = hyper::server::conn::http2::Builder::new(LocalExecutor);
    builder
        .max_concurrent_streams(streams)
        .max_header_list_size(HEADER_LIST)
        .max_send_buf_size(PIPE)
        .auto_date_header(false);
    let mut serving = std::pin::pin!(builder.serve_connection(io, service));
    let mut is_told = false;
    let idle = Deadline::new();
    let result = std::future::poll_fn(|context| {
        if worker.is_draining() && !is_told {
            is_told = true;
            serving.as_mut().graceful_shutdown();
        }
        // Only to be woken when the worker drains.
        idle.set(Duration::from_secs(3600));
        let _ = idle.poll_expired(context);
        serving.as_mut().poll(context)
    })
    .await;
    if let Err(error) = result {
        tracing::info!(
            "{error} while serving HTTP/2, client: {}",
            connection.remote_text
        );
    }
}

/// One stream from its head to its end.
async fn exchange(
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    listen: Rc<Address>,
    request: http::Request<Incoming>,
    respond: oneshot::Sender<http::Response<PipeBody>>,
    count: u64,
) {
    let local = worker.local();
    let Some(listening) = local.generation.listen(&listen, &connection.local) else {
        return;
    };
    let server = Arc::clone(connection::default_server(&local, listening).1);
    let mut exchange = Exchange::new(connection, Arc::clone(&local.generation.http), server);
    exchange.started = clock::now();
    exchange.is_http2 = true;
    exchange.request_count = count;
    let (parts, body) = request.into_parts();
    write_head(&parts, &mut exchange.head);
    exchange.method = exchange.head.method;
    exchange.request_length = exchange.head.length as u64;
    registry::with(|counters| {
        counters.requests.increase();
        counters.http2_requests.increase();
        counters.writing.increase();
    });
    let mut downstream = Downstream::Http2(Box::new(Http2::new(body, respond)));
    let prepared = connection::find_server(&local, &mut exchange, listening)
        .and_then(|()| connection::route(&local, &mut exchange));
    serve(&local, &mut exchange, &mut downstream, prepared).await;
    local.finish(&exchange);
    registry::with(|counters| counters.writing.decrease());
    log::flush_thread();
}

/// The head as HTTP/1 would have had it.
fn write_head(parts: &http::request::Parts, head: &mut RequestHead) {
    let method = parts.method.as_str().as_bytes();
    let target = parts
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str())
        .as_bytes();
    let authority = parts
        .uri
        .authority()
        .map_or("", |authority| authority.as_str())
        .as_bytes();
    let fields = &mut head.fields;
    let mut at = 0;
    let mut put = |fields: &mut Fields, bytes: &[u8]| {
        fields.bytes.extend_from_slice(bytes);
        let slice = Slice::new(at, at + bytes.len());
        at += bytes.len();
        slice
    };
    head.method = Method::of(method);
    head.method_token = put(fields, method);
    put(fields, b" ");
    head.target = put(fields, target);
    head.path_and_query = head.target;
    put(fields, b" HTTP/2.0");
    head.line = Slice::new(0, fields.bytes.len());
    head.version = Version::Http2;
    put(fields, b"\r\n");
    // `:authority` stands for Host (RFC 9113 section 8.3.1).
    if !authority.is_empty() {
        fields.push(b"Host", authority);
    }
    let mut cookies: Vec<u8> = Vec::new();
    for (name, value) in &parts.headers {
        if name == http::header::HOST && !authority.is_empty() {
            continue;
        }
        // Cookie crumbs are joined again (RFC 9113 section 8.2.3).
        if name == http::header::COOKIE {
            if !cookies.is_empty() {
                cookies.extend_from_slice(b"; ");
            }
            cookies.extend_from_slice(value.as_bytes());
            continue;
        }
        fields.push(name.as_str().as_bytes(), value.as_bytes());
    }
    if !cookies.is_empty() {
        fields.push(b"Cookie", &cookies);
    }
    head.length = fields.bytes.len();
}

/// A stream of which some bytes were read already.
struct Rewound {
    read: Bytes,
    stream: Stream,
}

impl AsyncRead for Rewound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.read.is_empty() {
            let count = self.read.len().min(buffer.remaining());
            buffer.put_slice(&self.read.split_to(count));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Runs hyper's tasks on the worker's own thread.
#[derive(Clone, Copy)]
struct LocalExecutor;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
