//! Tunnels: after a peer switched protocols (101), bytes pass both ways until both sides ended. The
//! client's side is a connection of HTTP/1.1, or a stream of HTTP/2 (RFC 8441).
//!
//! Invariant: an end of one direction is passed on as an end of that direction only, so a protocol
//! that says goodbye in both directions can.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

use super::answer;
use super::downstream::{ClientError, Downstream};
use super::generation::Local;
use super::proxy::{Outcome, Plan};
use crate::conf::typed::log::Level;
use crate::http::buffer;
use crate::http::exchange::Exchange;
use crate::http::h1::write;
use crate::http::head::Known;
use crate::net::deadline::Deadline;
use crate::tls::stream::Stream;
use crate::unit::clock;

/// One direction of a tunnel. It holds a buffer only while it holds bytes.
#[derive(Default)]
struct Direction {
    bytes: Vec<u8>,
    written: usize,
    has_ended: bool,
    is_shut: bool,
    total: u64,
}

impl Direction {
    /// Moves what can be moved; ready when something was.
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        let mut progress = false;
        loop {
            if self.written < self.bytes.len() {
                match Pin::new(&mut *to).poll_write(context, &self.bytes[self.written..])? {
                    Poll::Ready(count) => {
                        self.written += count;
                        self.total += count as u64;
                        progress = true;
                        continue;
                    }
                    Poll::Pending => break,
                }
            }
            self.written = 0;
            self.bytes.clear();
            if self.has_ended {
                buffer::release(&mut self.bytes);
                if !self.is_shut && Pin::new(&mut *to).poll_shutdown(context)?.is_ready() {
                    self.is_shut = true;
                    progress = true;
                }
                break;
            }
            buffer::ensure(&mut self.bytes);
            let read = std::pin::pin!(from.read_buf(&mut self.bytes));
            match read.poll(context)? {
                Poll::Ready(0) => self.has_ended = true,
                Poll::Ready(_) => {}
                Poll::Pending => {
                    buffer::release(&mut self.bytes);
                    break;
                }
            }
            progress = true;
        }
        if progress {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    fn is_done(&self) -> bool {
        self.has_ended && self.is_shut
    }
}

/// Tells the client that its peer switched, and passes bytes until both sides ended or nothing moved
/// for `proxy_read_timeout`.
pub async fn run(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    plan: &Plan,
    mut peer: Stream,
) -> Result<Outcome, ClientError> {
    exchange.keep_alive = false;
    let rest_from_peer =
        exchange.upstream_head.fields.bytes[exchange.upstream_head.length..].to_vec();
    let timeout = plan.proxy.read_timeout;
    let mut down = Direction::default();
    let mut up = Direction::default();
    let result = match downstream {
        Downstream::Http1(http1) => {
            exchange.status = 101;
            let mut head = buffer::take_small();
            head.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\n");
            for (known, name, value) in exchange.upstream_head.fields.iter() {
                if !is_of_connection(known) {
                    write::push_field(&mut head, name, value);
                }
            }
            answer::push_own_fields(&mut head, exchange);
            head.extend_from_slice(b"Connection: upgrade\r\n\r\n");
            exchange.head_bytes_sent = head.len() as u64;
            exchange.bytes_sent = head.len() as u64;
            head.extend_from_slice(&rest_from_peer);
            down.bytes = head;
            up.bytes = exchange.head.fields.bytes[http1.unread..].to_vec();
            http1.unread = exchange.head.fields.bytes.len();
            pass(&mut http1.stream, &mut peer, &mut up, &mut down, timeout).await
        }
        Downstream::Http2(http2) => {
            // RFC 8441 section 5: 200 takes the place of 101, and there is no key to prove.
            exchange.status = 200;
            for (known, name, value) in exchange.upstream_head.fields.iter() {
                if !is_of_connection(known) && !name.eq_ignore_ascii_case(b"Sec-WebSocket-Accept") {
                    exchange.answer.push_known(known, name, value);
                }
            }
            http2.begin_tunnel(exchange);
            let send_timeout = exchange.settings.send_timeout;
            poll_fn(|context| http2.poll_flush(context, send_timeout)).await?;
            down.bytes = rest_from_peer;
            pass(&mut **http2, &mut peer, &mut up, &mut down, timeout).await
        }
        // It never wants a tunnel.
        Downstream::Detached(_) => return Ok(Outcome::Failed(502)),
    };
    exchange.bytes_sent = exchange.bytes_sent.max(down.total);
    if let Some(attempt) = exchange.attempts.last_mut() {
        attempt.response_time = Some(clock::since(attempt.started));
        attempt.response_length = down.total.saturating_sub(exchange.head_bytes_sent);
        attempt.bytes_sent += up.total;
    }
    exchange.is_complete = matches!(result, Ok(true));
    match result {
        Ok(true) => {}
        Ok(false) => local.log(
            exchange,
            Level::Info,
            format_args!(
                "upstream timed out (110: Connection timed out) while proxying upgraded connection"
            ),
        ),
        Err(error) => local.log(
            exchange,
            Level::Info,
            format_args!("{error} while proxying upgraded connection"),
        ),
    }
    answer::note_sent(exchange, downstream);
    Ok(Outcome::Cut)
}

/// Fields of a peer's 101 that end here.
fn is_of_connection(known: Option<Known>) -> bool {
    matches!(
        known,
        Some(Known::Connection | Known::ContentLength | Known::TransferEncoding | Known::KeepAlive)
    )
}

/// Passes bytes both ways; `false` if nothing moved for too long.
async fn pass(
    client: &mut (impl AsyncRead + AsyncWrite + Unpin),
    peer: &mut Stream,
    up: &mut Direction,
    down: &mut Direction,
    timeout: Duration,
) -> io::Result<bool> {
    let deadline = Deadline::new();
    deadline.set(timeout);
    poll_fn(|context| {
        loop {
            let moved_up = up.poll(context, client, peer)?.is_ready();
            let moved_down = down.poll(context, peer, client)?.is_ready();
            // A peer that ended has nothing more to say to the client; a client that ended may still
            // be told something.
            if down.is_done() || (up.is_done() && down.has_ended) {
                return Poll::Ready(Ok(true));
            }
            if !moved_up && !moved_down {
                break;
            }
            deadline.set(timeout);
        }
        deadline.poll_expired(context).map(|()| Ok(false))
    })
    .await
}
