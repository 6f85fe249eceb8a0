//! A connected stream that may be TLS: what everything above reads from and writes to.
//!
//! Owns the records between the socket and the plaintext. The session of rustls is driven here and not
//! by an adapter of another crate, because three questions are asked of an idle stream that only the
//! session can answer: is there anything to read, is the other end gone, may it be used again.
//!
//! Invariant: bytes that [`AsyncWrite::poll_write`] reports as written were handed to the system, as
//! with a plain stream, so nobody has to flush. While it is pending some of them may be encrypted
//! already; whoever calls again must offer the same bytes first, as all callers here do.
//!
//! System calls are what a record costs most. A small message takes one read and one write, whatever
//! else there is to say; while much comes, as much is read at once as rustls can hold decrypted.

use std::cell::RefCell;
use std::io::{self, BufRead as _, Read, Write};
use std::os::fd::RawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use rustls::{Connection, ProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::conf::typed::listen::Address;
use crate::net;

/// Plaintext that is encrypted in one go: as much as ever waits at once. A rest would be a small
/// record and a system call of its own.
const WRITE: usize = 272 << 10;
/// What rustls reads at once, which it keeps for as long as the connection lives.
const READ: usize = 4 << 10;
/// What is read at once while much comes: two whole records.
const LARGE_READ: usize = 2 * (5 + (16 << 10) + 17);
/// As much as rustls holds decrypted before it takes more.
const DECRYPTED: usize = 16 << 10;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; LARGE_READ].into());
}

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
    /// The last read took all that it had room for: there is more.
    is_flowing: bool,
    /// Records that were read with others, and that rustls had no room for.
    unfed: Vec<u8>,
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
    pub fn new(io: net::stream::Stream, mut session: Connection) -> Self {
        session.set_buffer_limit(Some(WRITE));
        Self {
            io,
            session,
            has_ended: false,
            is_flowing: false,
            unfed: Vec::new(),
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
        // What a server of TLS 1.3 has left are session tickets: nobody waits for them. They go out
        // with the first answer and cost no system call of their own.
        let owes_tickets = matches!(self.session, Connection::Server(_))
            && self.session.protocol_version() == Some(ProtocolVersion::TLSv1_3)
            && !self.session.is_handshaking();
        match owes_tickets {
            true => Poll::Ready(Ok(())),
            false => self.poll_send(context),
        }
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

    /// Takes records from the socket, or those read before; `Ok(0)` is the end.
    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if !self.unfed.is_empty() {
            let records = std::mem::take(&mut self.unfed);
            return Poll::Ready(self.feed(context, &records));
        }
        if self.is_flowing {
            return SCRATCH.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                ready!(Pin::new(&mut self.io).poll_read(context, &mut buffer))?;
                let records = buffer.filled();
                self.is_flowing = records.len() > READ;
                if records.is_empty() {
                    self.has_ended = true;
                    return Poll::Ready(Ok(0));
                }
                Poll::Ready(self.feed(context, records))
            });
        }
        let mut socket = Socket {
            io: &mut self.io,
            context,
        };
        let count = match self.session.read_tls(&mut socket) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            Err(error) => return Poll::Ready(Err(error)),
        };
        self.is_flowing = count == READ;
        self.has_ended |= count == 0;
        self.process(context).map(|_| count).into()
    }

    /// Gives records to rustls, and keeps what it has no room for.
    fn feed(&mut self, context: &mut Context<'_>, records: &[u8]) -> io::Result<usize> {
        let mut rest = records;
        let mut decrypted = 0;
        while !rest.is_empty() && decrypted < DECRYPTED && !self.has_ended {
            self.session.read_tls(&mut rest)?;
            decrypted = self.process(context)?;
        }
        if !self.has_ended {
            self.unfed.extend_from_slice(rest);
        }
        Ok(records.len())
    }

    /// Decrypts what was read; says how much plaintext there is.
    fn process(&mut self, context: &mut Context<'_>) -> io::Result<usize> {
        match self.session.process_new_packets() {
            Ok(state) => {
                self.has_ended |= state.peer_has_closed();
                if let Some(early) = &self.early
                    && !self.session.is_handshaking()
                {
                    early.is_open.store(false, Relaxed);
                }
                Ok(state.plaintext_bytes_to_read())
            }
            Err(error) => {
                // The alert that says why, if the socket takes it.
                let _ = self.poll_send(context);
                Err(io::Error::new(io::ErrorKind::InvalidData, error))
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
            // What there is to say to what came (new keys), nobody waits for: it goes with the next
            // write.
            ready!(self.poll_receive(context))?;
        }
    }

    fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.unreported == 0 {
            self.unreported = self.session.writer().write_vectored(parts)?;
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
        if !self.unfed.is_empty() {
            return Poll::Ready(Ok(1));
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

    /// Are bytes encrypted, and perhaps sent in part, that no write has reported yet?
    pub fn is_mid_write(&self) -> bool {
        matches!(self, Self::Secure(secure) if secure.unreported > 0)
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
            Self::Secure(secure) => secure.poll_write(context, &[io::IoSlice::new(bytes)]),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Self::Secure(secure) => secure.poll_write(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::time::Duration;

    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair};
    use rustls::pki_types::PrivateKeyDer;
    use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixStream;

    use super::*;
    use crate::conf::typed::tls::Protocols;
    use crate::tls::provider;

    const TLS12: Protocols = Protocols {
        tls12: true,
        tls13: false,
    };
    const TLS13: Protocols = Protocols {
        tls12: false,
        tls13: true,
    };

    /// Both ends of a connection before their handshake, the client's first.
    fn ends(protocols: Protocols) -> (Secure, Secure) {
        let key = KeyPair::generate().expect("a key");
        let parameters = CertificateParams::new(vec!["a.test".to_owned()]).expect("a name");
        let certificate = parameters.self_signed(&key).expect("a certificate");
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).expect("a root");
        let versions = provider::versions(protocols);
        let client = ClientConfig::builder_with_provider(provider::provider())
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let server = ServerConfig::builder_with_provider(provider::provider())
            .with_protocol_versions(versions)
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("they belong together");
        let name = "a.test".try_into().expect("a name");
        let client = ClientConnection::new(Arc::new(client), name).expect("a client");
        let server = ServerConnection::new(Arc::new(server)).expect("a server");
        let (left, right) = UnixStream::pair().expect("two sockets");
        (
            Secure::new(net::stream::Stream::Unix(left), client.into()),
            Secure::new(net::stream::Stream::Unix(right), server.into()),
        )
    }

    /// Both ends after their handshake.
    async fn shaken(protocols: Protocols) -> (Secure, Secure) {
        let (mut client, mut server) = ends(protocols);
        let (one, other) = tokio::join!(
            poll_fn(|context| client.poll_handshake(context)),
            poll_fn(|context| server.poll_handshake(context)),
        );
        one.expect("the client is content");
        other.expect("the server is content");
        (client, server)
    }

    fn stream(secure: Secure) -> Stream {
        Stream::Secure(Box::new(secure))
    }

    fn secure(stream: &mut Stream) -> &mut Secure {
        match stream {
            Stream::Secure(secure) => secure,
            Stream::Plain(_) => panic!("all streams here are secure"),
        }
    }

    /// Both ends as everything above sees them.
    async fn streams(protocols: Protocols) -> (Stream, Stream) {
        let (client, server) = shaken(protocols).await;
        (stream(client), stream(server))
    }

    fn small_buffers(secure: &Secure) {
        let socket = socket2::SockRef::from(&secure.io);
        socket.set_send_buffer_size(1).expect("a socket");
        socket.set_recv_buffer_size(1).expect("a socket");
    }

    fn run<T>(test: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        // What never comes is a failure and not a test that never ends.
        let limited = async { tokio::time::timeout(Duration::from_secs(60), test).await };
        runtime.block_on(limited).expect("it comes to its end")
    }

    /// Waits until something can be read from the socket below.
    async fn arrival(stream: &mut Stream) {
        let io = &secure(stream).io;
        let seen = poll_fn(|context| io.poll_peek(context)).await;
        assert!(seen.is_ok());
    }

    fn is_gone(stream: &mut Stream) -> bool {
        let mut context = Context::from_waker(std::task::Waker::noop());
        stream.poll_gone(&mut context).is_ready()
    }

    async fn read(stream: &mut Stream) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        poll_fn(|context| stream.poll_read_into(context, &mut bytes, 100)).await?;
        Ok(bytes)
    }

    /// One end that sends something and reads what the other sends, both at once.
    struct Side {
        stream: Stream,
        outgoing: Vec<u8>,
        sent: usize,
        is_shut: bool,
        incoming: Vec<u8>,
        has_ended: bool,
        /// How much is written and read at once, one after the other.
        sizes: Box<dyn Iterator<Item = usize>>,
        next_write: usize,
        is_vectored: bool,
    }

    impl Side {
        fn new(stream: Stream, length: usize, sizes: Vec<usize>, is_vectored: bool) -> Self {
            let mut sizes = Box::new(sizes.into_iter().cycle());
            Self {
                stream,
                outgoing: (0..length).map(|at| (at % 251) as u8).collect(),
                sent: 0,
                is_shut: false,
                incoming: Vec::new(),
                has_ended: false,
                next_write: sizes.next().expect("some"),
                sizes,
                is_vectored,
            }
        }

        fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
            loop {
                let mut has_moved = false;
                if self.sent < self.outgoing.len() {
                    let end = self.outgoing.len().min(self.sent + self.next_write);
                    let part = &self.outgoing[self.sent..end];
                    let stream = Pin::new(&mut self.stream);
                    let polled = if self.is_vectored {
                        let (first, rest) = part.split_at(part.len() / 3);
                        let parts = [first, &[], rest].map(io::IoSlice::new);
                        stream.poll_write_vectored(context, &parts)
                    } else {
                        stream.poll_write(context, part)
                    };
                    if let Poll::Ready(count) = polled {
                        let count = count.expect("the other end reads");
                        assert!(count > 0 && count <= part.len());
                        self.sent += count;
                        self.next_write = self.sizes.next().expect("no end");
                        has_moved = true;
                    }
                } else if !self.is_shut {
                    self.is_shut = Pin::new(&mut self.stream).poll_shutdown(context).is_ready();
                    has_moved = self.is_shut;
                }
                if !self.has_ended {
                    let mut bytes = Vec::new();
                    let room = self.sizes.next().expect("no end");
                    let polled = self.stream.poll_read_into(context, &mut bytes, room);
                    if let Poll::Ready(count) = polled {
                        assert_eq!(count.expect("the other end is content"), bytes.len());
                        self.has_ended = bytes.is_empty();
                        self.incoming.append(&mut bytes);
                        has_moved = true;
                    }
                }
                if self.is_shut && self.has_ended {
                    return Poll::Ready(());
                }
                if !has_moved {
                    return Poll::Pending;
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        /// Both directions at once, however the bytes are cut and however little the sockets take.
        #[test]
        fn what_one_end_sends_the_other_reads(
            is_old: bool,
            is_vectored: bool,
            is_small: bool,
            lengths in (0..200_000usize, 0..200_000usize),
            sizes in prop::collection::vec(prop_oneof![1..200usize, 1..100_000usize], 1..12),
        ) {
            run(async {
                let protocols = if is_old { TLS12 } else { TLS13 };
                let (client, server) = shaken(protocols).await;
                if is_small {
                    small_buffers(&client);
                    small_buffers(&server);
                }
                let mut client = Side::new(stream(client), lengths.0, sizes.clone(), is_vectored);
                let mut server = Side::new(stream(server), lengths.1, sizes, is_vectored);
                poll_fn(|context| {
                    let one = client.poll(context).is_ready();
                    let other = server.poll(context).is_ready();
                    if one && other { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
                prop_assert!(client.outgoing == server.incoming);
                prop_assert!(server.outgoing == client.incoming);
                Ok(())
            })?;
        }
    }

    #[test]
    fn what_is_reported_as_written_needs_no_further_call() {
        run(async {
            let (client, server) = shaken(TLS13).await;
            small_buffers(&server);
            let (mut client, mut server) = (stream(client), stream(server));
            let bytes = vec![7; 300_000];
            let mut context = Context::from_waker(std::task::Waker::noop());
            let mut sent = 0;
            while let Poll::Ready(count) =
                Pin::new(&mut server).poll_write(&mut context, &bytes[..50_000])
            {
                sent += count.expect("the client is there");
            }
            let mut received = 0;
            while received < sent {
                received += read(&mut client).await.expect("bytes").len();
            }
            // And nothing is sent twice when the writing goes on.
            let mut all = vec![0; 50_000 - (received - sent)];
            let (written, filled) = tokio::join!(
                server.write_all(&bytes[..50_000]),
                client.read_exact(&mut all)
            );
            written.expect("the client reads");
            filled.expect("the server has sent it");
            drop(server);
            assert_eq!(read(&mut client).await.expect("an end"), b"");
        });
    }

    #[test]
    fn the_parts_of_a_write_travel_in_one_record() {
        run(async {
            let (mut client, mut server) = streams(TLS13).await;
            // Tickets are out of the way.
            server.flush().await.expect("the client is there");
            arrival(&mut client).await;
            assert!(client.is_quiet());
            let parts = [&b"head"[..], b"", &[1; 1000]].map(io::IoSlice::new);
            let written =
                poll_fn(|context| Pin::new(&mut server).poll_write_vectored(context, &parts));
            assert_eq!(written.await.expect("the client is there"), 1004);
            let mut raw = [0; 4096];
            let io = &mut secure(&mut client).io;
            let count = io.read(&mut raw).await.expect("a record");
            // Header, plaintext, type and tag (RFC 8446 section 5.2).
            assert_eq!(count, 5 + 1004 + 1 + 16);
        });
    }

    #[test]
    fn tickets_wait_for_the_first_answer() {
        run(async {
            let (mut client, mut server) = streams(TLS13).await;
            assert!(secure(&mut server).session.wants_write());
            server
                .write_all(b"answer")
                .await
                .expect("the client is there");
            assert!(!secure(&mut server).session.wants_write());
            assert_eq!(read(&mut client).await.expect("an answer"), b"answer");
        });
    }

    #[test]
    fn a_handshake_leaves_nothing_unsaid_that_the_other_end_waits_for() {
        run(async {
            for protocols in [TLS12, TLS13] {
                let (mut client, mut server) = ends(protocols);
                let client = async {
                    poll_fn(|context| client.poll_handshake(context)).await?;
                    read(&mut stream(client)).await
                };
                let server = async {
                    poll_fn(|context| server.poll_handshake(context)).await?;
                    let mut server = stream(server);
                    server.write_all(b"welcome").await?;
                    server.shutdown().await
                };
                let (said, served) = tokio::join!(client, server);
                served.expect("the client has shaken hands");
                assert_eq!(said.expect("a word of the server"), b"welcome");
            }
        });
    }

    #[test]
    fn the_end_of_one_direction_leaves_the_other_open() {
        run(async {
            for protocols in [TLS12, TLS13] {
                let (mut client, mut server) = streams(protocols).await;
                client
                    .write_all(b"question")
                    .await
                    .expect("the server is there");
                client.shutdown().await.expect("the server is there");
                assert_eq!(read(&mut server).await.expect("bytes"), b"question");
                assert_eq!(read(&mut server).await.expect("an end"), b"");
                server.write_all(b"answer").await.expect("the client reads");
                server.say_goodbye();
                server.say_goodbye();
                assert_eq!(read(&mut client).await.expect("bytes"), b"answer");
                assert_eq!(read(&mut client).await.expect("an end"), b"");
                let nothing_more = poll_fn(|context| client.poll_peek(context)).await;
                assert_eq!(nothing_more.expect("an end"), 0);
            }
        });
    }

    #[test]
    fn an_end_without_a_goodbye_is_an_end_even_in_a_record() {
        run(async {
            for cut in [0, 3, 20] {
                let (mut client, mut server) = streams(TLS13).await;
                let sender = secure(&mut server);
                let mut records = Vec::new();
                let mut writer = sender.session.writer();
                writer.write_all(b"something").expect("there is room");
                while sender.session.wants_write() {
                    sender.session.write_tls(&mut records).expect("memory");
                }
                let length = records.len() - 9 - 22;
                let io = &mut sender.io;
                io.write_all(&records[..length + cut]).await.expect("room");
                drop(server);
                assert_eq!(read(&mut client).await.expect("an end"), b"");
                assert!(is_gone(&mut client));
            }
        });
    }

    #[test]
    fn what_is_no_record_is_an_error_and_the_other_end_is_told_why() {
        run(async {
            for wrong in [
                &b"GET / HTTP/1.1\r\n\r\n"[..],
                &[23, 3, 3, 0, 20],
                &[0; 100],
            ] {
                let (mut client, mut server) = streams(TLS13).await;
                let io = &mut secure(&mut client).io;
                io.write_all(wrong).await.expect("room");
                if wrong.len() == 5 {
                    io.write_all(&[9; 20]).await.expect("room");
                }
                let error = read(&mut server).await.expect_err("no plaintext");
                assert_eq!(error.kind(), io::ErrorKind::InvalidData);
                let error = read(&mut client).await.expect_err("an alert");
                assert!(error.to_string().contains("alert"), "{error}");
            }
        });
    }

    #[test]
    fn a_client_that_leaves_is_noticed_however_it_leaves() {
        run(async {
            for protocols in [TLS12, TLS13] {
                // With a goodbye and open sockets, with both, with neither.
                for (says_goodbye, closes) in [(true, false), (true, true), (false, true)] {
                    let (mut client, mut server) = streams(protocols).await;
                    assert!(!is_gone(&mut server));
                    if says_goodbye {
                        client.say_goodbye();
                    }
                    let kept = (!closes).then_some(client);
                    poll_fn(|context| server.poll_gone(context)).await;
                    drop(kept);
                }
            }
        });
    }

    #[test]
    fn bytes_that_wait_are_no_sign_of_an_end_and_are_not_lost() {
        run(async {
            let (mut client, mut server) = streams(TLS13).await;
            assert!(!is_gone(&mut server));
            client
                .write_all(b"next")
                .await
                .expect("the server is there");
            arrival(&mut server).await;
            assert!(!is_gone(&mut server));
            let seen = poll_fn(|context| server.poll_peek(context)).await;
            assert_eq!(seen.expect("bytes"), 1);
            assert_eq!(read(&mut server).await.expect("bytes"), b"next");
        });
    }

    #[test]
    fn an_idle_connection_is_quiet_whatever_tls_says_by_itself() {
        run(async {
            let (mut client, mut server) = streams(TLS13).await;
            assert!(client.is_quiet());
            // Tickets, then new keys.
            server.flush().await.expect("the client is there");
            arrival(&mut client).await;
            assert!(client.is_quiet());
            let session = secure(&mut server).session_mut();
            session.refresh_traffic_keys().expect("TLS 1.3");
            server.flush().await.expect("the client is there");
            arrival(&mut client).await;
            assert!(client.is_quiet());
            // It can be used after that, in both directions.
            client
                .write_all(b"question")
                .await
                .expect("the server is there");
            assert_eq!(read(&mut server).await.expect("bytes"), b"question");
            server
                .write_all(b"unasked")
                .await
                .expect("the client is there");
            arrival(&mut client).await;
            assert!(!client.is_quiet());
        });
    }

    #[test]
    fn an_idle_connection_that_ends_is_not_quiet() {
        run(async {
            for says_goodbye in [true, false] {
                let (mut client, mut server) = streams(TLS13).await;
                assert!(client.is_quiet());
                if says_goodbye {
                    server.say_goodbye();
                } else {
                    drop(server);
                }
                arrival(&mut client).await;
                assert!(!client.is_quiet());
            }
        });
    }

    #[test]
    fn a_handshake_that_is_cut_or_refused_fails() {
        run(async {
            let (mut client, server) = ends(TLS13);
            drop(server);
            let cut = poll_fn(|context| client.poll_handshake(context)).await;
            assert!(cut.is_err());
            let (mut client, _) = ends(TLS12);
            let (_, mut server) = ends(TLS13);
            let (left, right) = UnixStream::pair().expect("two sockets");
            client.io = net::stream::Stream::Unix(left);
            server.io = net::stream::Stream::Unix(right);
            let (one, other) = tokio::join!(
                poll_fn(|context| client.poll_handshake(context)),
                poll_fn(|context| server.poll_handshake(context)),
            );
            let error = other.expect_err("no version in common");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            let error = one.expect_err("the server has refused");
            assert!(error.to_string().contains("alert"), "{error}");
        });
    }
}
