//! A stream as plain bytes, once its CONNECT was answered (RFC 8441 section 5): DATA carries them,
//! END_STREAM is the end of one direction.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stream::Http2;

impl AsyncRead for Http2 {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Some(tunnel) = &mut this.tunnel else {
            return Poll::Ready(Ok(()));
        };
        while this.unread.is_empty() {
            match ready!(tunnel.poll_data(context)) {
                Some(Ok(bytes)) => this.unread = bytes,
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = this.unread.len().min(buffer.remaining());
        buffer.put_slice(&this.unread.split_to(count));
        // It cannot be more than was taken.
        let _ = tunnel.flow_control().release_capacity(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Http2 {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let Some(send) = &mut this.send else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        send.reserve_capacity(bytes.len());
        let mut room = send.capacity();
        while room == 0 {
            room = match ready!(send.poll_capacity(context)) {
                Some(room) => room.map_err(broken)?,
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            };
        }
        let count = room.min(bytes.len());
        send.send_data(Bytes::copy_from_slice(&bytes[..count]), false)
            .map_err(broken)?;
        this.note_sent(count, count == bytes.len());
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(send) = &mut this.send
            && !this.is_finished
        {
            send.send_data(Bytes::new(), true).map_err(broken)?;
            this.is_finished = true;
        }
        Poll::Ready(Ok(()))
    }
}

fn broken(error: h2::Error) -> io::Error {
    match error.into_io() {
        Some(error) => error,
        None => io::ErrorKind::ConnectionReset.into(),
    }
}
