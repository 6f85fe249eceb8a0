//! The client's side of one stream.
//!
//! What was queued waits here and not in the session: that gets no more than the client has opened its
//! windows for. So a client that does not read is seen here, and its time is that of `send_timeout`.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::Shared;
use crate::filter::headers;
use crate::http::buffer;
use crate::http::exchange::Exchange;
use crate::http::h1::{framing, write};
use crate::http::h2::frame::Code;
use crate::http::h2::request::Asks;
use crate::http::h2::session::{Gone, Sent};
use crate::http::head::{Fields, Known, ResponseHead};
use crate::http::variables;
use crate::net::deadline::Deadline;
use crate::serve::downstream::{ClientError, Filtering};
use crate::serve::pace::Pace;

/// So many bytes that were sent make room for what follows.
const COMPACT: usize = 32 << 10;

/// The client's side of the stream at one place of a connection.
pub struct Http2 {
    pub(super) shared: Rc<Shared>,
    pub(super) place: usize,
    /// The body is not read to its end.
    has_body: bool,
    awaits_continue: bool,
    wants_tunnel: bool,
    /// The status of the answer whose head waits to be sent, and that head's fields.
    status: Option<u16>,
    fields: Fields,
    /// The head was sent.
    has_begun: bool,
    pending: Vec<u8>,
    sent: usize,
    trailers: Fields,
    /// Nothing more is queued.
    has_ended: bool,
    /// The session has it all.
    is_finished: bool,
    has_no_body: bool,
    /// See `Downstream::set_filters`.
    pub filtering: Option<Box<Filtering>>,
    pace: Option<Box<Pace>>,
    deadline: Deadline,
    is_armed: bool,
}

/// Why no more was sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// All that was queued was sent.
    All,
    /// The client's windows are full.
    Window,
    /// The socket takes no more for now; the connection watches that.
    Socket,
    /// The pace allows no more for now.
    Pace,
}

impl std::fmt::Debug for Http2 {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Http2")
            .field("place", &self.place)
            .field("queued", &self.queued())
            .finish_non_exhaustive()
    }
}

impl Http2 {
    /// The client's side of streams at a place, one after the other.
    pub(super) fn new(shared: &Rc<Shared>, place: usize) -> Self {
        Self {
            shared: Rc::clone(shared),
            place,
            has_body: false,
            awaits_continue: false,
            wants_tunnel: false,
            status: None,
            fields: Fields::default(),
            has_begun: false,
            pending: Vec::new(),
            sent: 0,
            trailers: Fields::default(),
            has_ended: false,
            is_finished: false,
            has_no_body: false,
            filtering: None,
            pace: None,
            deadline: Deadline::new(),
            is_armed: false,
        }
    }

    /// The head of a stream was read.
    pub(super) fn enter(&mut self, exchange: &mut Exchange, asks: Asks) {
        self.wants_tunnel = asks == Asks::WebSocket;
        let session = self.shared.session.borrow();
        let is_complete = session.is_body_complete(self.place);
        if is_complete {
            push_all(&mut exchange.trailers, session.trailers(self.place));
        }
        drop(session);
        self.has_body = !self.wants_tunnel && !is_complete;
        self.awaits_continue = self.has_body && framing::expects_continue(&exchange.head);
        self.status = None;
        self.has_begun = false;
        self.has_ended = false;
        self.is_finished = false;
        self.has_no_body = false;
        self.filtering = None;
        self.pace = None;
        self.is_armed = false;
    }

    /// The exchange is over, well or not. The place is free for another one.
    pub(super) fn leave(&mut self) {
        // RFC 8441 section 5 wants CANCEL for a tunnel that breaks off.
        let code = match self.wants_tunnel && self.has_begun {
            true => Code::Cancel,
            false => Code::InternalError,
        };
        self.shared.session.borrow_mut().release(self.place, code);
        buffer::release(&mut self.pending);
        self.sent = 0;
        self.trailers.clear();
    }

    /// Did the client ask for a tunnel?
    pub fn wants_tunnel(&self) -> bool {
        self.wants_tunnel
    }

    /// Has all of the request's body been read?
    pub fn is_body_complete(&self) -> bool {
        !self.has_body
    }

    /// The length of the request's body that is still to come, if it is known.
    pub fn body_length(&self) -> Option<u64> {
        match self.has_body {
            false => Some(0),
            true => self.shared.session.borrow().body_length(self.place),
        }
    }

    /// See `Downstream::allow_body`.
    pub fn allow_body(&mut self) {
        if std::mem::take(&mut self.awaits_continue) {
            let mut session = self.shared.session.borrow_mut();
            // A stream that is gone is found out about when its body is read.
            let _ = session.send_head(self.place, 100, &Fields::default(), false);
        }
    }

    /// See `Downstream::poll_body`.
    pub fn poll_body(
        &mut self,
        context: &mut Context<'_>,
        exchange: &mut Exchange,
        into: &mut Vec<u8>,
        room: usize,
        timeout: Duration,
    ) -> Poll<Result<bool, ClientError>> {
        if !self.has_body {
            return Poll::Ready(Ok(true));
        }
        let mut session = self.shared.session.borrow_mut();
        let count = match session.body(self.place) {
            Ok(Some([])) => {
                drop(session);
                if !self.is_armed {
                    self.is_armed = true;
                    self.deadline.set(timeout);
                }
                return self.deadline.poll_expired(context).map(|()| {
                    self.is_armed = false;
                    Err(ClientError::TimedOut)
                });
            }
            Ok(Some(bytes)) => {
                let count = bytes.len().min(room.max(1));
                into.extend_from_slice(&bytes[..count]);
                count
            }
            Ok(None) => 0,
            Err(Gone) => return Poll::Ready(Err(ClientError::Closed(None))),
        };
        self.is_armed = false;
        exchange.request_length += count as u64;
        session.take_body(self.place, count);
        self.has_body = !session.is_body_complete(self.place);
        if !self.has_body {
            push_all(&mut exchange.trailers, session.trailers(self.place));
        }
        Poll::Ready(Ok(!self.has_body))
    }

    /// See `Downstream::begin`.
    pub fn begin(&mut self, exchange: &mut Exchange, has_no_body: bool) {
        // Any status of success would be the beginning of the tunnel that the client asked for
        // (RFC 8441 section 5), and there is none.
        if self.wants_tunnel && (200..300).contains(&exchange.status) {
            exchange.status = 501;
        }
        self.put_head(exchange, has_no_body);
    }

    /// The answer to a client that asked for a tunnel and gets it.
    pub fn begin_tunnel(&mut self, exchange: &mut Exchange) {
        self.put_head(exchange, false);
    }

    fn put_head(&mut self, exchange: &mut Exchange, has_no_body: bool) {
        let fields = &mut self.fields;
        fields.clear();
        let answer = &exchange.answer;
        if !answer.has(Known::Server) && !exchange.passes_server {
            let mut scratch = Vec::new();
            if let Some(server) = headers::server(exchange, &mut scratch) {
                fields.push_known(Some(Known::Server), b"server", server);
            }
        }
        if !answer.has(Known::Date) && !exchange.passes_date {
            variables::with_times(|times| {
                fields.push_known(Some(Known::Date), b"date", times.http());
            });
        }
        if let Some(length) = exchange.answer_length {
            let start = fields.bytes.len();
            fields.bytes.extend_from_slice(b"content-length");
            let middle = fields.bytes.len();
            write::push_decimal(&mut fields.bytes, length);
            let end = fields.bytes.len();
            fields.add(Some(Known::ContentLength), start..middle, middle..end);
        }
        push_all(fields, answer);
        self.status = Some(exchange.status);
        self.has_no_body = has_no_body;
        self.has_ended = has_no_body;
        exchange.head_bytes_sent = 0;
    }

    /// See `Downstream::queue_interim`.
    pub fn queue_interim(&mut self, head: &ResponseHead) {
        let mut session = self.shared.session.borrow_mut();
        // A stream that is gone is found out about with the next frame.
        let _ = session.send_head(self.place, head.status, &head.fields, false);
    }

    /// See `Downstream::queue`.
    pub fn queue(&mut self, bytes: &[u8]) {
        if !self.has_no_body {
            buffer::ensure(&mut self.pending);
            self.pending.extend_from_slice(bytes);
        }
    }

    /// See `Downstream::raw_queue`.
    pub fn raw_queue(&mut self) -> Option<&mut Vec<u8>> {
        (!self.has_no_body).then_some(&mut self.pending)
    }

    /// See `Downstream::queue_end`.
    pub fn queue_end(&mut self, trailers: &Fields) {
        self.has_ended = true;
        if !self.has_no_body {
            push_all(&mut self.trailers, trailers);
        }
    }

    /// See `Downstream::take_back`.
    pub fn take_back(&mut self) -> bool {
        if self.status.take().is_none() {
            return false;
        }
        self.pending.clear();
        self.trailers.clear();
        self.has_ended = false;
        self.has_no_body = false;
        true
    }

    /// Bytes that the client has not opened its windows for; never 0 if there is anything to send.
    pub fn queued(&self) -> usize {
        let waits = self.status.is_some() || (self.has_ended && !self.is_finished);
        self.pending.len() - self.sent + usize::from(waits)
    }

    /// See `Downstream::set_pace`.
    pub fn set_pace(&mut self, pace: Option<Pace>) {
        self.pace = pace.map(Box::new);
    }

    /// See `Downstream::is_paced`.
    pub fn is_paced(&self) -> bool {
        self.pace.is_some()
    }

    /// See `Downstream::poll_flush`. What the session has counts as written: it gets no more than the
    /// client has room for.
    pub fn poll_flush(
        &mut self,
        context: &mut Context<'_>,
        timeout: Duration,
    ) -> Poll<Result<usize, ClientError>> {
        let mut written = 0;
        let stop = match self.send_what_fits(context, &mut written) {
            Ok(stop) => stop,
            Err(Gone) => return Poll::Ready(Err(ClientError::Closed(None))),
        };
        // Waiting for the pace is ours, not the client's: its time begins anew.
        if written > 0 || stop != Stop::Window {
            self.is_armed = false;
        }
        match stop {
            Stop::All => Poll::Ready(Ok(written)),
            _ if written > 0 => Poll::Ready(Ok(written)),
            Stop::Pace | Stop::Socket => Poll::Pending,
            Stop::Window => {
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

    /// Hands to the session what the windows, the socket and the pace allow.
    fn send_what_fits(
        &mut self,
        context: &mut Context<'_>,
        written: &mut usize,
    ) -> Result<Stop, Gone> {
        let session = &mut *self.shared.session.borrow_mut();
        let has_trailers = !self.trailers.is_empty();
        if let Some(status) = self.status.take() {
            self.is_finished = self.has_ended && self.pending.len() == self.sent && !has_trailers;
            session.send_head(self.place, status, &self.fields, self.is_finished)?;
            self.has_begun = true;
        }
        if !self.has_begun {
            return Ok(Stop::All);
        }
        loop {
            let length = self.pending.len() - self.sent;
            let is_end = self.has_ended && !self.is_finished && !has_trailers;
            if length == 0 && !is_end {
                break;
            }
            if self.pace.is_none()
                && session.send_buffer(self.place, &mut self.pending, self.sent, is_end)?
            {
                *written += length;
                self.sent = 0;
                self.is_finished = is_end;
                break;
            }
            let mut wanted = length;
            if let Some(pace) = &mut self.pace
                && wanted > 0
            {
                match pace.poll_allowance(context) {
                    Poll::Ready(allowance) => wanted = wanted.min(allowance),
                    Poll::Pending => return Ok(Stop::Pace),
                }
            }
            let is_last = is_end && wanted == length;
            let rest = &self.pending[self.sent..][..wanted];
            let (count, sent) = session.send_data(self.place, rest, is_last)?;
            self.sent += count;
            *written += count;
            if let Some(pace) = &mut self.pace {
                pace.note(count);
            }
            match sent {
                Sent::All => self.is_finished = is_last,
                Sent::Window | Sent::Socket => {
                    // A slow client may never come to the end of what is queued.
                    if self.sent >= COMPACT {
                        self.pending.drain(..self.sent);
                        self.sent = 0;
                    }
                    return Ok(match sent {
                        Sent::Socket => Stop::Socket,
                        _ => Stop::Window,
                    });
                }
            }
        }
        self.pending.clear();
        self.sent = 0;
        if self.has_ended && !self.is_finished {
            session.send_trailers(self.place, &self.trailers)?;
            self.is_finished = true;
        }
        Ok(Stop::All)
    }

    /// See `Downstream::poll_gone`.
    pub fn poll_gone(&mut self) -> Poll<()> {
        match self.shared.session.borrow().is_gone(self.place) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

fn push_all(into: &mut Fields, fields: &Fields) {
    for (known, name, value) in fields.iter() {
        into.push_known(known, name, value);
    }
}
