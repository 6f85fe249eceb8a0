//! A stream as plain bytes, once its CONNECT was answered (RFC 8441 section 5): DATA carries them,
//! END_STREAM is the end of one direction.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stream::Http2;
use crate::http::h2::session::{Gone, Sent};

impl AsyncRead for Http2 {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut session = self.shared.session.borrow_mut();
        let count = match session.body(self.place) {
            Err(Gone) => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Ok(None) => return Poll::Ready(Ok(())),
            Ok(Some([])) => return Poll::Pending,
            Ok(Some(bytes)) => {
                let count = bytes.len().min(buffer.remaining());
                buffer.put_slice(&bytes[..count]);
                count
            }
        };
        session.take_body(self.place, count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Http2 {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut session = self.shared.session.borrow_mut();
        match session.send_data(self.place, bytes, false) {
            Ok((0, _)) if !bytes.is_empty() => Poll::Pending,
            Ok((count, _)) => Poll::Ready(Ok(count)),
            Err(Gone) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut session = self.shared.session.borrow_mut();
        match session.send_data(self.place, &[], true) {
            Ok((_, Sent::All)) => Poll::Ready(Ok(())),
            Ok(_) => Poll::Pending,
            Err(Gone) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }
}
