//! The body of a request on its way to a peer: held in memory, in a temporary file, or streamed.

use std::task::{Context, Poll};
use std::time::Duration;

use super::downstream::{ClientError, Downstream};
use crate::access::identity;
use crate::conf::typed::location::BodyInFile;
use crate::http::buffer;
use crate::http::exchange::Exchange;
use crate::http::h1::chunked;
use crate::http::temporary_file::TemporaryFile;

/// How much is read or sent at once.
const PIECE: usize = 32 << 10;

/// The body of a request.
#[derive(Debug)]
pub enum RequestBody {
    /// There is none.
    Empty,
    /// All of it, in memory.
    Memory(Vec<u8>),
    /// All of it, in a file.
    File(TemporaryFile),
    /// It is passed on as it arrives; nothing of it is kept but what came with the head.
    Stream {
        /// Its length, if the client told it; otherwise it is sent chunked.
        length: Option<u64>,
        /// What came with the head.
        first: Vec<u8>,
        /// Some of it was taken from the client: the request cannot be repeated.
        has_begun: bool,
    },
}

impl RequestBody {
    /// Reads the body, or lets it stream. The inner error is the status to answer with: 503 if what was read
    /// does not fit, which is asked with its length.
    pub async fn prepare(
        exchange: &mut Exchange,
        downstream: &mut Downstream,
        buffering: bool,
        mut fits: impl FnMut(u64) -> bool,
    ) -> Result<Result<Self, u16>, ClientError> {
        if downstream.is_body_complete() {
            // Read for a place that this request was redirected away from, or not there at all.
            if let Some(mut file) = exchange.body_file.take() {
                return Ok(Ok(match file.rewind() {
                    Ok(()) => Self::File(file),
                    Err(_) => return Ok(Err(500)),
                }));
            }
            return Ok(Ok(match exchange.body.is_empty() {
                true => Self::Empty,
                false => Self::Memory(std::mem::take(&mut exchange.body)),
            }));
        }
        if !buffering {
            let length = downstream.body_length();
            let mut first = buffer::take_small();
            // A body that came with the head is whole, and has a length whatever its framing was.
            if downstream.take_read_body(exchange, &mut first)? {
                return Ok(Ok(match first.is_empty() {
                    true => Self::Empty,
                    false => Self::Memory(first),
                }));
            }
            downstream.allow_body(exchange).await?;
            return Ok(Ok(Self::Stream {
                length,
                first,
                has_begun: false,
            }));
        }
        let limit = exchange.settings.max_body_size.unwrap_or(u64::MAX);
        let only_file = exchange.settings.body_in_file != BodyInFile::Off;
        let in_memory = match only_file {
            true => 0,
            false => exchange.settings.body_buffer_size,
        };
        let timeout = exchange.settings.body_timeout;
        let mut bytes = buffer::take_small();
        let mut file: Option<TemporaryFile> = None;
        loop {
            let is_complete = downstream
                .read_body(exchange, &mut bytes, PIECE, timeout)
                .await?;
            let length = file.as_ref().map_or(0, TemporaryFile::length) + bytes.len() as u64;
            if length > limit {
                return Ok(Err(413));
            }
            if !fits(length) {
                return Ok(Err(503));
            }
            if is_complete && file.is_none() && (!only_file || bytes.is_empty()) {
                return Ok(Ok(match bytes.is_empty() {
                    true => Self::Empty,
                    false => Self::Memory(bytes),
                }));
            }
            if file.is_some() || bytes.len() > in_memory || is_complete {
                let kept = match &mut file {
                    Some(file) => Ok(file),
                    none => TemporaryFile::create(&exchange.settings.body_temp_path)
                        .map(|created| none.insert(created)),
                };
                if let Err(error) = kept.and_then(|file| file.append(&bytes)) {
                    tracing::error!(
                        "cannot keep a request body in {}: {error}",
                        exchange.settings.body_temp_path.display()
                    );
                    return Ok(Err(500));
                }
                bytes.clear();
            }
            if is_complete && let Some(mut file) = file {
                if exchange.settings.body_in_file == BodyInFile::On {
                    file.keep();
                }
                buffer::give_back(bytes);
                return Ok(Ok(Self::File(file)));
            }
        }
    }

    /// Its length; `None` when it is streamed and the client did not tell.
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Memory(bytes) => Some(bytes.len() as u64),
            Self::File(file) => Some(file.length()),
            Self::Stream { length, .. } => *length,
        }
    }

    /// Could it be sent a second time?
    pub fn can_repeat(&self) -> bool {
        !matches!(
            self,
            Self::Stream {
                has_begun: true,
                ..
            }
        )
    }

    /// What of it is to be sent behind the head. `is_with_head` says that the head's write holds it,
    /// `in_chunks` that one of unknown length is framed by chunks.
    pub fn sender(&mut self, is_with_head: bool, in_chunks: bool) -> Sender {
        let is_done = is_with_head || matches!(self, Self::Empty);
        if let Self::File(file) = self {
            // A second attempt sends from the start.
            let _ = file.rewind();
        }
        Sender {
            in_chunks,
            piece: Vec::new(),
            sent: 0,
            is_done,
            is_begun: false,
        }
    }

    /// Leaves the body with its request, which may be sent somewhere else.
    pub fn give_back(self, exchange: &mut Exchange) {
        match self {
            Self::Memory(bytes) => exchange.body = bytes,
            Self::File(file) => exchange.body_file = Some(file),
            Self::Stream { first, .. } => buffer::give_back(first),
            Self::Empty => {}
        }
    }
}

/// Sends a body piece by piece: always the same body.
#[derive(Debug)]
pub struct Sender {
    in_chunks: bool,
    piece: Vec<u8>,
    sent: usize,
    is_done: bool,
    is_begun: bool,
}

impl Sender {
    /// Makes the next piece ready; `Ok(false)` when everything was sent.
    pub fn poll_next(
        &mut self,
        body: &mut RequestBody,
        context: &mut Context<'_>,
        exchange: &mut Exchange,
        downstream: &mut Downstream,
        timeout: Duration,
    ) -> Poll<Result<bool, ClientError>> {
        if self.sent < self.pending_length(body) {
            return Poll::Ready(Ok(true));
        }
        if self.is_done {
            return Poll::Ready(Ok(false));
        }
        match &mut *body {
            RequestBody::Empty => self.is_done = true,
            // The whole body is one piece; it was not begun, or it would be pending or done.
            RequestBody::Memory(_) => {
                self.is_done = self.is_begun;
                self.is_begun = true;
            }
            RequestBody::File(file) => {
                self.piece.resize(PIECE, 0);
                self.sent = 0;
                let count = file
                    .read(&mut self.piece)
                    .map_err(|error| ClientError::Closed(Some(error)))?;
                self.piece.truncate(count);
                self.is_done = count == 0;
            }
            RequestBody::Stream {
                length,
                first,
                has_begun,
            } => {
                let is_chunked = self.in_chunks && length.is_none();
                self.piece.clear();
                self.sent = 0;
                // Room for the chunk's head, which is known only when its payload is.
                const HEAD: usize = 10;
                if is_chunked {
                    self.piece.extend_from_slice(&[0; HEAD]);
                }
                let before = self.piece.len();
                let came_with_head = !self.is_begun && !first.is_empty();
                self.is_begun = true;
                let is_complete = loop {
                    if came_with_head {
                        self.piece.extend_from_slice(first);
                        break false;
                    }
                    match downstream.poll_body(context, exchange, &mut self.piece, PIECE, timeout) {
                        Poll::Ready(Ok(false)) if self.piece.len() == before => {}
                        Poll::Ready(result) => break result?,
                        Poll::Pending => {
                            self.piece.clear();
                            return Poll::Pending;
                        }
                    }
                };
                let count = self.piece.len() - before;
                *has_begun |= count > 0 && !came_with_head;
                if is_chunked {
                    if count > 0 {
                        let mut head = Vec::with_capacity(HEAD);
                        chunked::write_chunk_head(&mut head, count);
                        self.sent = HEAD - head.len();
                        self.piece[self.sent..HEAD].copy_from_slice(&head);
                        self.piece.extend_from_slice(b"\r\n");
                    } else {
                        self.piece.clear();
                    }
                    if is_complete {
                        strip_identity(exchange);
                        chunked::write_end(&mut self.piece, &exchange.trailers);
                    }
                }
                self.is_done = is_complete;
            }
        }
        Poll::Ready(Ok(self.sent < self.pending_length(body)))
    }

    fn pending_length(&self, body: &RequestBody) -> usize {
        match body {
            RequestBody::Memory(bytes) if self.is_begun && !self.is_done => bytes.len(),
            RequestBody::Memory(_) => 0,
            _ => self.piece.len(),
        }
    }

    /// The bytes to write next.
    pub fn pending<'a>(&'a self, body: &'a RequestBody) -> &'a [u8] {
        match body {
            RequestBody::Memory(bytes) if self.is_begun && !self.is_done => &bytes[self.sent..],
            RequestBody::Memory(_) => &[],
            _ => &self.piece[self.sent..],
        }
    }

    /// So many of them were written.
    pub fn advance(&mut self, body: &RequestBody, count: usize) {
        self.sent += count;
        if matches!(body, RequestBody::Memory(bytes) if self.sent >= bytes.len()) {
            self.is_done = true;
            self.sent = 0;
        }
    }

    /// Does nothing follow the piece that is pending?
    pub fn is_last(&self, body: &RequestBody) -> bool {
        match body {
            RequestBody::Memory(_) => true,
            _ => self.is_done,
        }
    }

    /// The peer takes no more of it.
    pub fn abandon(&mut self) {
        self.piece.clear();
        self.sent = 0;
        self.is_done = true;
    }
}

/// What a client may not say of itself in front of its body it may not say behind it either: a backend
/// may put the one with the other.
pub fn strip_identity(exchange: &mut Exchange) {
    if let Some(guard) = &exchange.settings.guard {
        identity::strip(&mut exchange.trailers, &guard.identity);
    }
}
