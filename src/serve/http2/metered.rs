//! The socket as the engine sees it: what is read passes the meter, what cannot be written is known,
//! and a close waits for the client.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Shared;
use crate::net::deadline::Deadline;
use crate::tls::stream::Stream;
use crate::unit::clock;

/// A client's connection with a meter.
pub struct Metered {
    stream: Stream,
    /// What was read of it already.
    read: Bytes,
    shared: Rc<Shared>,
    closing: Closing,
}

/// How the connection is closed (`lingering_close`): closing with unread bytes would make the kernel
/// send a reset, which can destroy the last frames on their way to the client.
enum Closing {
    /// Not yet; this is how long the client has then, between two reads and in all.
    Open(Option<(Duration, Duration)>),
    /// We have said our last; the client may have more to say.
    Lingering {
        pause: Duration,
        between: Deadline,
        whole: Deadline,
    },
}

impl Metered {
    /// A connection of which `read` was read already. `lingering` is how long is waited for the
    /// client's end after ours, between two reads and in all; `None` is not at all.
    pub fn new(
        stream: Stream,
        read: Vec<u8>,
        shared: &Rc<Shared>,
        lingering: Option<(Duration, Duration)>,
    ) -> Self {
        Self {
            stream,
            read: Bytes::from(read),
            shared: Rc::clone(shared),
            closing: Closing::Open(lingering),
        }
    }

    /// Notes whether the socket takes what is written.
    fn written<T>(&self, polled: Poll<T>) -> Poll<T> {
        let stalled = &self.shared.stalled_since;
        match &polled {
            Poll::Ready(_) => stalled.set(None),
            Poll::Pending if stalled.get().is_none() => stalled.set(Some(clock::milliseconds())),
            Poll::Pending => {}
        }
        polled
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Whoever drives the connection looks for a fault after each poll.
        if this.shared.fault.get().is_some() {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        if this.read.is_empty() {
            ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        } else {
            let count = this.read.len().min(buffer.remaining());
            buffer.put_slice(&this.read.split_to(count));
        }
        let mut meter = this.shared.meter.borrow_mut();
        meter.earn(this.shared.earned.take());
        if let Err(stop) = meter.read(&buffer.filled()[before..], clock::milliseconds()) {
            this.shared.fault.set(Some(stop.fault));
            buffer.set_filled(before + stop.at);
            // No bytes would be the client's end.
            if stop.at == 0 {
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.written(polled)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write_vectored(context, parts);
        this.written(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_flush(context);
        this.written(polled)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Closing::Open(lingering) = this.closing {
            // With TLS this writes, and has to end when nothing is taken, as every write.
            let polled = Pin::new(&mut this.stream).poll_shutdown(context);
            let shut = ready!(this.written(polled));
            // A client that is gone already needs no goodbye.
            let (Ok(()), Some((pause, whole))) = (shut, lingering) else {
                return Poll::Ready(Ok(()));
            };
            this.closing = Closing::Lingering {
                pause,
                between: deadline(pause),
                whole: deadline(whole),
            };
        }
        let Closing::Lingering {
            pause,
            between,
            whole,
        } = &this.closing
        else {
            return Poll::Ready(Ok(()));
        };
        let mut scrap = [0; 4 << 10];
        loop {
            let mut buffer = ReadBuf::new(&mut scrap);
            match Pin::new(&mut this.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => between.set(*pause),
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => break,
            }
        }
        let is_late =
            between.poll_expired(context).is_ready() || whole.poll_expired(context).is_ready();
        match is_late {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }
}

fn deadline(after: Duration) -> Deadline {
    let deadline = Deadline::new();
    deadline.set(after);
    deadline
}
