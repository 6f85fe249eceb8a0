//! A connected byte stream: TCP or a Unix socket.

use std::io;
use std::os::fd::{AsRawFd as _, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use nix::sys::socket::{MsgFlags, recv};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::conf::typed::listen::Address;

/// A connected stream.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix stream socket.
    Unix(UnixStream),
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
        if buffer.capacity() == buffer.len() {
            buffer.reserve(room);
        }
        let read = std::pin::pin!(self.read_buf(buffer));
        read.poll(context)
    }

    /// How many bytes (0 or 1) can be read now, without taking any; 0 is the end. The system is asked
    /// only when the event loop has seen something, or takes it for granted, as it does for a
    /// connection that is new; otherwise the task is woken when there is something.
    pub fn poll_peek(&self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            match self {
                Self::Tcp(stream) => std::task::ready!(stream.poll_read_ready(context))?,
                Self::Unix(stream) => std::task::ready!(stream.poll_read_ready(context))?,
            }
            let mut byte = [0];
            let mut look =
                || recv(self.descriptor(), &mut byte, MsgFlags::MSG_PEEK).map_err(io::Error::from);
            let seen = match self {
                Self::Tcp(stream) => stream.try_io(Interest::READABLE, &mut look),
                Self::Unix(stream) => stream.try_io(Interest::READABLE, &mut look),
            };
            match seen {
                // There was nothing after all, and the sign for it is cleared now.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                seen => return Poll::Ready(seen),
            }
        }
    }

    /// Ready when the other end has closed its sending side or the connection is broken. Bytes that
    /// wait to be read are not a sign of that, and end the watching.
    pub fn poll_gone(&self, context: &mut Context<'_>) -> Poll<()> {
        match std::task::ready!(self.poll_peek(context)) {
            Ok(1..) => Poll::Pending,
            Ok(0) | Err(_) => Poll::Ready(()),
        }
    }

    /// Is an idle connection still good? An idle peer has nothing to say, so anything is its end.
    pub fn is_quiet(&self) -> bool {
        let mut context = Context::from_waker(std::task::Waker::noop());
        self.poll_peek(&mut context).is_pending()
    }

    /// Runs one system call that writes; `WouldBlock` waits for room.
    pub fn poll_write_with<T>(
        &self,
        context: &mut Context<'_>,
        mut call: impl FnMut() -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            match self {
                Self::Tcp(stream) => std::task::ready!(stream.poll_write_ready(context))?,
                Self::Unix(stream) => std::task::ready!(stream.poll_write_ready(context))?,
            }
            let result = match self {
                Self::Tcp(stream) => stream.try_io(Interest::WRITABLE, &mut call),
                Self::Unix(stream) => stream.try_io(Interest::WRITABLE, &mut call),
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    /// The address at the other end; a client's Unix socket has no name.
    pub fn peer_address(&self) -> Address {
        match self {
            Self::Tcp(stream) => stream.peer_addr().map_or_else(|_| unnamed(), Address::Ip),
            Self::Unix(_) => unnamed(),
        }
    }

    /// The address at this end.
    pub fn local_address(&self) -> Address {
        match self {
            Self::Tcp(stream) => stream.local_addr().map_or_else(|_| unnamed(), Address::Ip),
            Self::Unix(stream) => match stream.local_addr() {
                Ok(address) => {
                    Address::Unix(address.as_pathname().map(Into::into).unwrap_or_default())
                }
                Err(_) => unnamed(),
            },
        }
    }

    /// Switches Nagle's algorithm off; a Unix socket has none.
    pub fn set_nodelay(&self) {
        if let Self::Tcp(stream) = self {
            // A socket that is closed already refuses; the next read tells.
            let _ = stream.set_nodelay(true);
        }
    }

    /// Makes the close that follows a reset, which frees the kernel's buffers at once.
    pub fn reset_on_close(&self) {
        if let Self::Tcp(stream) = self {
            let _ = socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
        }
    }

    /// The descriptor.
    pub fn descriptor(&self) -> RawFd {
        match self {
            Self::Tcp(stream) => stream.as_raw_fd(),
            Self::Unix(stream) => stream.as_raw_fd(),
        }
    }
}

fn unnamed() -> Address {
    Address::Unix(Default::default())
}

impl std::os::fd::AsFd for Stream {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
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
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
