//! The client's side of one stream.
//!
//! What was queued waits here and not in the engine: the engine gets no more than the client has
//! opened its windows for. So a client that does not read is seen here, and its time is that of
//! `send_timeout`.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use super::Shared;
use crate::filter::headers;
use crate::http::exchange::Exchange;
use crate::http::h1::framing;
use crate::http::h2::frame_meter::{ANSWER_EARNS, BYTES_PER_POINT, PIECE_EARNS};
use crate::http::h2::request::Asks;
use crate::http::head::{Fields, Known, ResponseHead};
use crate::http::variables;
use crate::net::deadline::Deadline;
use crate::serve::downstream::{ClientError, Filtering};
use crate::serve::pace::Pace;

/// The client's side of one stream.
pub struct Http2 {
    shared: Rc<Shared>,
    body: Option<RecvStream>,
    body_length: Option<u64>,
    awaits_continue: bool,
    respond: SendResponse<Bytes>,
    /// The answer's head, until it is sent.
    head: Option<Response<()>>,
    /// Where the answer's body goes once its head was sent.
    pub(super) send: Option<SendStream<Bytes>>,
    pending: Vec<u8>,
    /// What of the last piece did not fit the windows.
    rest: Bytes,
    trailers: Option<HeaderMap>,
    /// Nothing more is queued.
    has_ended: bool,
    /// The engine has it all.
    pub(super) is_finished: bool,
    /// Bytes sent that have not earned a point yet.
    unearned: usize,
    has_no_body: bool,
    /// See `Downstream::set_filters`.
    pub filtering: Option<Box<Filtering>>,
    pace: Option<Box<Pace>>,
    deadline: Deadline,
    is_armed: bool,
    /// The client's bytes, if it asked for a tunnel.
    pub(super) tunnel: Option<RecvStream>,
    /// Of these, what was read from the engine and by nobody else yet.
    pub(super) unread: Bytes,
}

/// How far sending came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sent {
    /// The engine has all that was queued.
    All,
    /// The client's windows are full, or those that wait for the socket are.
    Blocked,
    /// The pace allows no more for now.
    Paced,
}

impl std::fmt::Debug for Http2 {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Http2")
            .field("stream", &self.respond.stream_id())
            .field("queued", &self.queued())
            .finish_non_exhaustive()
    }
}

impl Http2 {
    /// The client's side of a stream whose head was read.
    pub(super) fn new(
        shared: &Rc<Shared>,
        body: RecvStream,
        respond: SendResponse<Bytes>,
        exchange: &Exchange,
        asks: Asks,
    ) -> Self {
        let (body, tunnel) = match asks {
            Asks::WebSocket => (None, Some(body)),
            Asks::Answer if body.is_end_stream() => (None, None),
            Asks::Answer => (Some(body), None),
        };
        let length = exchange.head.fields.known(Known::ContentLength);
        Self {
            shared: Rc::clone(shared),
            awaits_continue: body.is_some() && framing::expects_continue(&exchange.head),
            body,
            body_length: length
                .and_then(|length| std::str::from_utf8(length).ok())
                .and_then(|length| length.parse().ok()),
            respond,
            head: None,
            send: None,
            pending: Vec::new(),
            rest: Bytes::new(),
            trailers: None,
            has_ended: false,
            is_finished: false,
            unearned: 0,
            has_no_body: false,
            filtering: None,
            pace: None,
            deadline: Deadline::new(),
            is_armed: false,
            tunnel,
            unread: Bytes::new(),
        }
    }

    /// Did the client ask for a tunnel?
    pub fn wants_tunnel(&self) -> bool {
        self.tunnel.is_some()
    }

    /// Has all of the request's body been read?
    pub fn is_body_complete(&self) -> bool {
        self.body.is_none()
    }

    /// The length of the request's body that is still to come, if it is known.
    pub fn body_length(&self) -> Option<u64> {
        match self.body {
            None => Some(0),
            Some(_) => self.body_length,
        }
    }

    /// See `Downstream::allow_body`.
    pub fn allow_body(&mut self) {
        if std::mem::take(&mut self.awaits_continue) {
            let mut interim = Response::new(());
            *interim.status_mut() = StatusCode::CONTINUE;
            // A stream that is gone is found out about when its body is read.
            let _ = self.respond.send_informational(interim);
        }
    }

    /// See `Downstream::poll_body`. Trailer fields of a request are taken and dropped.
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
        match body.poll_data(context) {
            Poll::Ready(data) => {
                self.is_armed = false;
                match data {
                    None => {
                        self.body = None;
                        Poll::Ready(Ok(true))
                    }
                    Some(Ok(bytes)) => {
                        exchange.request_length += bytes.len() as u64;
                        into.extend_from_slice(&bytes);
                        // It cannot be more than was taken.
                        let _ = body.flow_control().release_capacity(bytes.len());
                        let is_complete = body.is_end_stream();
                        if is_complete {
                            self.body = None;
                        }
                        Poll::Ready(Ok(is_complete))
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

    /// See `Downstream::begin`.
    pub fn begin(&mut self, exchange: &mut Exchange, has_no_body: bool) {
        // Any status of success would be the beginning of the tunnel that the client asked for
        // (RFC 8441 section 5), and there is none.
        if self.tunnel.is_some() && (200..300).contains(&exchange.status) {
            exchange.status = 501;
        }
        let mut response = head_of(exchange.status);
        let fields = response.headers_mut();
        let answer = &exchange.answer;
        let mut scratch = Vec::new();
        if !answer.has(Known::Server)
            && !exchange.passes_server
            && let Some(server) = headers::server(exchange, &mut scratch)
        {
            push(fields, b"server", server);
        }
        if !answer.has(Known::Date) && !exchange.passes_date {
            variables::with_times(|times| push(fields, b"date", times.http()));
        }
        if let Some(length) = exchange.answer_length {
            fields.append(http::header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        push_all(fields, answer);
        self.has_no_body = has_no_body;
        self.has_ended = has_no_body;
        exchange.head_bytes_sent = 0;
        self.head = Some(response);
    }

    /// The answer to a client that asked for a tunnel and gets it.
    pub fn begin_tunnel(&mut self, exchange: &mut Exchange) {
        let tunnel = self.tunnel.take();
        self.begin(exchange, false);
        self.tunnel = tunnel;
    }

    /// See `Downstream::queue_interim`.
    pub fn queue_interim(&mut self, head: &ResponseHead) {
        let mut interim = head_of(head.status);
        push_all(interim.headers_mut(), &head.fields);
        // A stream that is gone is found out about with the next frame.
        let _ = self.respond.send_informational(interim);
    }

    /// See `Downstream::queue`.
    pub fn queue(&mut self, bytes: &[u8]) {
        if !self.has_no_body {
            self.pending.extend_from_slice(bytes);
        }
    }

    /// See `Downstream::queue_end`.
    pub fn queue_end(&mut self, trailers: &Fields) {
        self.has_ended = true;
        if !self.has_no_body && !trailers.is_empty() {
            let mut fields = HeaderMap::new();
            push_all(&mut fields, trailers);
            self.trailers = Some(fields).filter(|fields| !fields.is_empty());
        }
    }

    /// See `Downstream::take_back`.
    pub fn take_back(&mut self) -> bool {
        if self.head.take().is_none() {
            return false;
        }
        self.pending.clear();
        self.trailers = None;
        self.has_ended = false;
        self.has_no_body = false;
        true
    }

    /// Bytes that the client has not opened its windows for; never 0 if there is anything to send.
    pub fn queued(&self) -> usize {
        let waits = self.head.is_some() || (self.has_ended && !self.is_finished);
        self.pending.len() + self.rest.len() + usize::from(waits)
    }

    /// See `Downstream::set_pace`.
    pub fn set_pace(&mut self, pace: Option<Pace>) {
        self.pace = pace.map(Box::new);
    }

    /// See `Downstream::is_paced`.
    pub fn is_paced(&self) -> bool {
        self.pace.is_some()
    }

    /// See `Downstream::poll_flush`. What the engine has counts as written: it gets no more than the
    /// client has room for.
    pub fn poll_flush(
        &mut self,
        context: &mut Context<'_>,
        timeout: Duration,
    ) -> Poll<Result<usize, ClientError>> {
        let mut written = 0;
        let sent = match self.send_what_fits(context, &mut written) {
            Ok(sent) => sent,
            Err(_) => return Poll::Ready(Err(ClientError::Closed(None))),
        };
        // Waiting for the pace is ours, not the client's: its time begins anew.
        if written > 0 || sent != Sent::Blocked {
            self.is_armed = false;
        }
        match sent {
            Sent::All => Poll::Ready(Ok(written)),
            _ if written > 0 => Poll::Ready(Ok(written)),
            Sent::Paced => Poll::Pending,
            Sent::Blocked => {
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

    /// Hands to the engine what the windows and the pace allow.
    fn send_what_fits(
        &mut self,
        context: &mut Context<'_>,
        written: &mut usize,
    ) -> Result<Sent, h2::Error> {
        let ends = |this: &Self| {
            this.has_ended
                && this.pending.is_empty()
                && this.rest.is_empty()
                && this.trailers.is_none()
        };
        if let Some(head) = self.head.take() {
            self.is_finished = ends(self);
            self.send = Some(self.respond.send_response(head, self.is_finished)?);
        }
        let Some(send) = &mut self.send else {
            return Ok(Sent::All);
        };
        loop {
            if self.rest.is_empty() {
                if self.pending.is_empty() {
                    break;
                }
                self.rest = Bytes::from(std::mem::take(&mut self.pending));
                self.shared.earn(PIECE_EARNS);
            }
            let mut wanted = self.rest.len();
            if let Some(pace) = &mut self.pace {
                match pace.poll_allowance(context) {
                    Poll::Ready(allowance) => wanted = wanted.min(allowance),
                    Poll::Pending => return Ok(Sent::Paced),
                }
            }
            send.reserve_capacity(wanted);
            let mut room = send.capacity();
            while room == 0 {
                match send.poll_capacity(context) {
                    Poll::Ready(Some(more)) => room = more?,
                    Poll::Ready(None) => return Err(Reason::CANCEL.into()),
                    Poll::Pending => return Ok(Sent::Blocked),
                }
            }
            let part = self.rest.split_to(room.min(wanted));
            let count = part.len();
            let is_last = self.has_ended
                && self.rest.is_empty()
                && self.pending.is_empty()
                && self.trailers.is_none();
            send.send_data(part, is_last)?;
            self.is_finished = is_last;
            *written += count;
            earn_bytes(&self.shared, &mut self.unearned, count);
            if let Some(pace) = &mut self.pace {
                pace.note(count);
            }
        }
        if self.has_ended && !self.is_finished {
            match self.trailers.take() {
                Some(trailers) => send.send_trailers(trailers)?,
                None => send.send_data(Bytes::new(), true)?,
            }
            self.is_finished = true;
        }
        Ok(Sent::All)
    }

    /// Bytes of a tunnel were sent: a piece of what the peer said, or all that there was room for.
    pub(super) fn note_sent(&mut self, count: usize, is_whole: bool) {
        if is_whole {
            self.shared.earn(PIECE_EARNS);
        }
        earn_bytes(&self.shared, &mut self.unearned, count);
    }

    /// See `Downstream::poll_gone`.
    pub fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.send {
            Some(send) => send.poll_reset(context).map(|_| ()),
            None => self.respond.poll_reset(context).map(|_| ()),
        }
    }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        if self.is_finished {
            self.shared.earn(ANSWER_EARNS);
        } else {
            // RFC 8441 section 5 wants CANCEL for a tunnel that breaks off.
            self.respond.send_reset(match self.tunnel {
                Some(_) if self.send.is_some() => Reason::CANCEL,
                _ => Reason::INTERNAL_ERROR,
            });
        }
    }
}

fn earn_bytes(shared: &Shared, unearned: &mut usize, count: usize) {
    *unearned += count;
    shared.earn((*unearned / BYTES_PER_POINT) as u32);
    *unearned %= BYTES_PER_POINT;
}

fn head_of(status: u16) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

/// Fields that may stand in HTTP/2; RFC 9113 section 8.2.2: those of a connection have no place here.
fn push_all(into: &mut HeaderMap, fields: &Fields) {
    for (known, name, value) in fields.iter() {
        if !matches!(
            known,
            Some(
                Known::Connection
                    | Known::KeepAlive
                    | Known::ProxyConnection
                    | Known::TransferEncoding
                    | Known::Upgrade
                    | Known::Te
            )
        ) {
            push(into, name, value);
        }
    }
}

/// What is no name or value is left out.
fn push(into: &mut HeaderMap, name: &[u8], value: &[u8]) {
    if let (Ok(name), Ok(value)) = (
        HeaderName::from_bytes(name),
        HeaderValue::from_bytes(value.trim_ascii()),
    ) {
        // A head with more fields than the map takes is not one of ours.
        let _ = into.try_append(name, value);
    }
}
