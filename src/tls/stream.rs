//! A connected stream that may be TLS: what everything above reads from and writes to.
//!
//! Owns the records between the socket and the plaintext. The session of rustls is driven here and not
//! by an adapter of another crate, because three questions are asked of an idle stream that only the
//! session can answer: is there anything to read, is the other end gone, may it be used again.
//!
//! Invariant: bytes that [`AsyncWrite::poll_write`] reports as written were handed to the system, as
//! with a plain stream, so nobody has to flush. While it is pending some of them may be encrypted
//! already; whoever calls again must offer the same bytes first, as all callers here do.

use std::io::{self, BufRead as _, Read, Write};
use std::os::fd::RawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use rustls::Connection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::conf::typed::listen::Address;
use crate::net;

/// Plaintext that is encrypted in one go: four records, as much as rustls buffers.
const WRITE: usize = 64 << 10;

/// A connected stream.
#[derive(Debug)]
pub enum Stream {
    /// Without TLS.
    Plain(net::stream::Stream),
    /// With TLS.
    Secure(Box<Secure>),
}

/// A stream with TLS, at either end of it.
pub struct Secure {
    io: net::stream::Stream,
    session: Connection,
    /// The other end sends nothing more.
    has_ended: bool,
    /// Plaintext that was encrypted and not yet reported as written.
    unreported: usize,
    /// We said that we send nothing more.
    is_closing: bool,
    /// What the client said before the end of the handshake, until that is all read.
    early: Option<Box<Early>>,
}

/// Data from before the end of a handshake (RFC 8446 section 2.3).
#[derive(Default)]
struct Early {
    bytes: Vec<u8>,
    taken: usize,
    /// Has the handshake yet to end?
    is_open: Arc<AtomicBool>,
}

impl std::fmt::Debug for Secure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Secure")
            .field("io", &self.io)
            .field("has_ended", &self.has_ended)
            .finish_non_exhaustive()
    }
}

impl Secure {
    /// A stream whose handshake has yet to be driven, see [`Secure::poll_handshake`].
    pub fn new(io: net::stream::Stream, session: Connection) -> Self {
        Self {
            io,
            session,
            has_ended: false,
            unreported: 0,
            is_closing: false,
            early: None,
        }
    }

    /// Takes what was read already and not looked at: what came with the client's first message.
    pub fn take_read(&mut self) -> io::Result<()> {
        self.session
            .process_new_packets()
            .map(|_| ())
            .map_err(|error| {
                // The alert that says why, if the socket takes it.
                let _ = self.poll_send(&mut Context::from_waker(std::task::Waker::noop()));
                io::Error::new(io::ErrorKind::InvalidData, error)
            })
    }

    /// Drives the handshake to its end, or to where the client sends data before that.
    pub fn poll_handshake(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.is_handshaking() {
            let _ = self.poll_send(context)?;
            if !self.session.is_handshaking() {
                break;
            }
            if let Connection::Server(session) = &mut self.session
                && session.early_data().is_some()
            {
                let early = self.early.get_or_insert_default();
                early.is_open.store(true, Relaxed);
                break;
            }
            if self.session.wants_read() {
                if ready!(self.poll_receive(context))? == 0 {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
            } else {
                // Only what is to be sent is left.
                ready!(self.poll_send(context))?;
            }
        }
        // What is left to send (session tickets) may go out with the first answer, but a client that
        // waits for the end of the handshake must get that.
        self.poll_send(context).map_ok(|_| ())
    }

    /// What the handshake came to.
    pub fn session(&self) -> &Connection {
        &self.session
    }

    /// The session, to read early data from it.
    pub fn session_mut(&mut self) -> &mut Connection {
        &mut self.session
    }

    /// Says, at any time, whether the handshake has yet to end: what the client says until then may be
    /// a replay (RFC 8446 section 8). `None` if it sends nothing before that.
    pub fn is_early(&self) -> Option<Arc<AtomicBool>> {
        self.early.as_ref().map(|early| Arc::clone(&early.is_open))
    }

    /// Data from before the end of the handshake, handed to `take` as in [`Secure::poll_plaintext`];
    /// `None` if there is none now.
    fn take_early(&mut self, take: &mut dyn FnMut(&[u8]) -> usize) -> Option<usize> {
        let early = self.early.as_mut()?;
        if early.taken == early.bytes.len() {
            early.bytes.clear();
            early.taken = 0;
            if let Connection::Server(session) = &mut self.session
                && let Some(mut data) = session.early_data()
            {
                // What rustls holds; it limits how much that is.
                let _ = data.read_to_end(&mut early.bytes);
            }
        }
        if early.bytes.is_empty() {
            if !self.session.is_handshaking() {
                self.early = None;
            }
            return None;
        }
        let count = take(&early.bytes[early.taken..]);
        early.taken += count;
        Some(count)
    }

    /// Takes records from the socket; `Ok(0)` is the end.
    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut socket = Socket {
            io: &mut self.io,
            context,
        };
        let count = match self.session.read_tls(&mut socket) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            Err(error) => return Poll::Ready(Err(error)),
        };
        if count == 0 {
            self.has_ended = true;
        }
        match self.session.process_new_packets() {
            Ok(state) => {
                self.has_ended |= state.peer_has_closed();
                if let Some(early) = &self.early
                    && !self.session.is_handshaking()
                {
                    early.is_open.store(false, Relaxed);
                }
                Poll::Ready(Ok(count))
            }
            Err(error) => {
                // The alert that says why, if the socket takes it.
                let _ = self.poll_send(context);
                Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)))
            }
        }
    }

    /// Sends the records that wait.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.wants_write() {
            let mut socket = Socket {
                io: &mut self.io,
                context,
            };
            match self.session.write_tls(&mut socket) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Plaintext that can be read, handed to `take`, which says how much of it it took; nothing is
    /// handed over at the end. An end without a goodbye is an end, as for nginx: too many programs
    /// just close.
    fn poll_plaintext(
        &mut self,
        context: &mut Context<'_>,
        mut take: impl FnMut(&[u8]) -> usize,
    ) -> Poll<io::Result<usize>> {
        loop {
            if self.early.is_some()
                && let Some(count) = self.take_early(&mut take)
            {
                return Poll::Ready(Ok(count));
            }
            let mut reader = self.session.reader();
            match reader.fill_buf() {
                Ok([]) => return Poll::Ready(Ok(0)),
                Ok(bytes) => {
                    let count = take(bytes);
                    reader.consume(count);
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Poll::Ready(Ok(0));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
            if self.has_ended {
                return Poll::Ready(Ok(0));
            }
            ready!(self.poll_receive(context))?;
            // An answer to a key update, for instance; what the socket does not take goes with the
            // next write.
            if self.session.wants_write() {
                let _ = self.poll_send(context)?;
            }
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.unreported == 0 {
            // The room that rustls has is for one go.
            ready!(self.poll_send(context))?;
            let part = &bytes[..bytes.len().min(WRITE)];
            self.unreported = self.session.writer().write(part)?;
        }
        ready!(self.poll_send(context))?;
        Poll::Ready(Ok(std::mem::take(&mut self.unreported)))
    }

    fn poll_peek(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.early.is_some() {
            let mut seen = 0;
            self.take_early(&mut |bytes| {
                seen = bytes.len().min(1);
                0
            });
            if seen > 0 {
                return Poll::Ready(Ok(1));
            }
        }
        match self.session.reader().fill_buf() {
            Ok([]) => return Poll::Ready(Ok(0)),
            Ok(_) => return Poll::Ready(Ok(1)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Poll::Ready(Ok(0)),
        }
        if self.has_ended {
            return Poll::Ready(Ok(0));
        }
        self.io.poll_peek(context)
    }

    /// As [`Secure::poll_peek`], but takes the records that wait and so knows what they are.
    fn poll_look(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut seen = 0;
        let polled = self.poll_plaintext(context, |bytes| {
            seen = bytes.len().min(1);
            0
        });
        match ready!(polled) {
            Ok(_) => Poll::Ready(Ok(seen)),
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl From<net::stream::Stream> for Stream {
    fn from(stream: net::stream::Stream) -> Self {
        Self::Plain(stream)
    }
}

impl Stream {
    /// Reads what is there behind the buffer's bytes, at most `room` of them (the buffer's free
    /// capacity if that is more). `Ok(0)` is the end.
    pub fn poll_read_into(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut Vec<u8>,
        room: usize,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => stream.poll_read_into(context, buffer, room),
            Self::Secure(secure) => {
                if buffer.capacity() == buffer.len() {
                    buffer.reserve(room);
                }
                secure.poll_plaintext(context, |bytes| {
                    let count = bytes.len().min(buffer.capacity() - buffer.len());
                    buffer.extend_from_slice(&bytes[..count]);
                    count
                })
            }
        }
    }

    /// Can anything be read now (1), or is this the end (0)? Nothing is taken. With TLS 1 may mean a
    /// record without a byte for us; who then reads waits.
    pub fn poll_peek(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => stream.poll_peek(context),
            Self::Secure(secure) => secure.poll_peek(context),
        }
    }

    /// Ready when the other end has closed its sending side or the connection is broken. Bytes that
    /// wait to be read are not a sign of that, and end the watching.
    pub fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Plain(stream) => stream.poll_gone(context),
            Self::Secure(secure) => match ready!(secure.poll_look(context)) {
                Ok(1..) => Poll::Pending,
                Ok(0) | Err(_) => Poll::Ready(()),
            },
        }
    }

    /// Is an idle connection still good? An idle peer has nothing to say, so anything is its end;
    /// but for what TLS says by itself, as new session tickets.
    pub fn is_quiet(&mut self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_quiet(),
            Self::Secure(secure) => {
                let mut context = Context::from_waker(std::task::Waker::noop());
                secure.poll_look(&mut context).is_pending()
            }
        }
    }

    /// The stream below, if nothing has to be encrypted: for what the system sends by itself.
    pub fn plain(&self) -> Option<&net::stream::Stream> {
        match self {
            Self::Plain(stream) => Some(stream),
            Self::Secure(_) => None,
        }
    }

    /// The socket's stream.
    fn below(&self) -> &net::stream::Stream {
        match self {
            Self::Plain(stream) => stream,
            Self::Secure(secure) => &secure.io,
        }
    }

    /// The address at the other end; a client's Unix socket has no name.
    pub fn peer_address(&self) -> Address {
        self.below().peer_address()
    }

    /// The address at this end.
    pub fn local_address(&self) -> Address {
        self.below().local_address()
    }

    /// Switches Nagle's algorithm off; a Unix socket has none.
    pub fn set_nodelay(&self) {
        self.below().set_nodelay();
    }

    /// Makes the close that follows a reset, which frees the kernel's buffers at once.
    pub fn reset_on_close(&self) {
        self.below().reset_on_close();
    }

    /// Says that nothing more comes, if the socket takes it at once: so the other end knows an end
    /// from a cut. To be called at an end in good order only (RFC 8446 section 6.1).
    pub fn say_goodbye(&mut self) {
        if let Self::Secure(secure) = self
            && !secure.is_closing
        {
            secure.is_closing = true;
            secure.session.send_close_notify();
            let mut context = Context::from_waker(std::task::Waker::noop());
            // One that is gone already misses nothing.
            let _ = secure.poll_send(&mut context);
        }
    }

    /// The descriptor.
    pub fn descriptor(&self) -> RawFd {
        self.below().descriptor()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Secure(secure) => secure
                .poll_plaintext(context, |bytes| {
                    let count = bytes.len().min(buffer.remaining());
                    buffer.put_slice(&bytes[..count]);
                    count
                })
                .map_ok(|_| ()),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Secure(secure) => secure.poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Self::Secure(secure) => {
                let first = parts.iter().find(|part| !part.is_empty());
                secure.poll_write(context, first.map_or(&[], |part| part))
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Secure(secure) => secure.poll_send(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Secure(secure) => {
                if !secure.is_closing {
                    secure.is_closing = true;
                    secure.session.send_close_notify();
                }
                ready!(secure.poll_send(context))?;
                Pin::new(&mut secure.io).poll_shutdown(context)
            }
        }
    }
}

/// The socket as rustls reads and writes it.
struct Socket<'a, 'b> {
    io: &'a mut net::stream::Stream,
    context: &'a mut Context<'b>,
}

impl Read for Socket<'_, '_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(bytes);
        match Pin::new(&mut *self.io).poll_read(self.context, &mut buffer) {
            Poll::Ready(result) => result.map(|()| buffer.filled().len()),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Socket<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match Pin::new(&mut *self.io).poll_write(self.context, bytes) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn write_vectored(&mut self, parts: &[io::IoSlice<'_>]) -> io::Result<usize> {
        match Pin::new(&mut *self.io).poll_write_vectored(self.context, parts) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
