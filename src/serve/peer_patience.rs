//! The socket of a connection that many requests share, which takes what is written or ends.
//!
//! Whoever waits for an answer over such a connection has a time of its own. But the connection itself
//! belongs to nobody: towards a peer that takes nothing more it would wait for ever, with all that it
//! holds, when the last of those has gone.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::deadline::Deadline;
use crate::tls::stream::Stream;

/// A stream on which writing fails when nothing is taken for too long.
pub struct Patient {
    stream: Stream,
    timeout: Duration,
    deadline: Deadline,
    is_armed: bool,
}

impl Patient {
    /// `timeout` is `proxy_send_timeout`, between two writes.
    pub fn new(stream: Stream, timeout: Duration) -> Self {
        Self {
            stream,
            timeout,
            deadline: Deadline::new(),
            is_armed: false,
        }
    }

    fn written<T>(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.is_armed = false;
            return polled;
        }
        if !self.is_armed {
            self.is_armed = true;
            self.deadline.set(self.timeout);
        }
        self.deadline
            .poll_expired(context)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.written(context, polled)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write_vectored(context, parts);
        this.written(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_flush(context);
        this.written(context, polled)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_shutdown(context);
        this.written(context, polled)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixStream;

    use super::*;
    use crate::net;

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
            .block_on(test);
    }

    fn pair(timeout: Duration) -> (Patient, UnixStream) {
        let (near, far) = UnixStream::pair().expect("two sockets");
        let stream = Stream::from(net::stream::Stream::Unix(near));
        (Patient::new(stream, timeout), far)
    }

    #[test]
    fn a_peer_that_takes_nothing_ends_the_connection() {
        run(async {
            let (mut near, _far) = pair(Duration::ZERO);
            let error = loop {
                if let Err(error) = near.write_all(&[0; 4096]).await {
                    break error;
                }
            };
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        });
    }

    #[test]
    fn bytes_pass_both_ways_when_they_are_taken() {
        run(async {
            let (mut near, mut far) = pair(Duration::from_secs(60));
            near.write_all(b"question").await.expect("there is room");
            let mut bytes = [0; 8];
            far.read_exact(&mut bytes).await.expect("bytes");
            far.write_all(&bytes).await.expect("there is room");
            near.read_exact(&mut bytes).await.expect("bytes");
            assert_eq!(&bytes, b"question");
        });
    }
}
