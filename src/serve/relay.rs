//! A peer's answer on its way to the client: its head, edited, then its body with back-pressure.
//!
//! The peer's connection is polled inside the request's own task: nothing is spawned, and the same
//! turn of the event loop that reads from the peer writes to the client.
//!
//! Invariant: if an answer of which something was sent breaks off, the client's connection is cut, so
//! that it sees the answer as cut.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use super::downstream::{ClientError, Downstream, Framing, framing_for};
use super::generation::{Local, LocalUpstream};
use super::pace::Pace;
use super::peer::PeerError;
use super::peer_http1::{Link, Source, poll_source};
use super::proxy::{Outcome, Plan, finish_attempt, log_event};
use super::{answer, proxy_fields, tunnel};
use crate::conf::typed::log::Level;
use crate::conf::typed::proxy::{HttpVersion, Proxy};
use crate::http::buffer;
use crate::http::exchange::Exchange;
use crate::http::h1::framing::{self, BodyLength};
use crate::http::head::{Method, Version};
use crate::http::range;
use crate::unit::clock;
use crate::upstream::group::Selected;
use crate::upstream::pool::Idle;

/// A peer's head was read: turns it into the answer, sends that, and relays the body.
pub async fn relay_answer(
    local: &Rc<Local>,
    upstream: &Rc<LocalUpstream>,
    selected: Selected,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    plan: &Plan,
    mut link: Link,
) -> Result<Outcome, ClientError> {
    let proxy = &*plan.proxy;
    let status = exchange.upstream_head.status;
    let method = if exchange.method == Method::Head || exchange.head.method == Method::Head {
        Method::Head
    } else {
        exchange.method
    };
    let length = match framing::response_body(method, &exchange.upstream_head) {
        Ok(length) => length,
        Err(error) => {
            local.log(
                exchange,
                Level::Error,
                format_args!("{error} while reading response header from upstream"),
            );
            finish_attempt(exchange, 502);
            exchange.upstream_head.status = 0;
            if let Some(attempt) = exchange.attempts.last_mut() {
                attempt.status = 502;
            }
            let event = selected.fail(clock::now());
            log_event(local, exchange, event);
            return Ok(Outcome::Failed(502));
        }
    };
    if status == 101 {
        let is_wanted =
            framing::wants_upgrade(&exchange.head).is_some() && downstream.as_http1().is_some();
        if !is_wanted {
            local.log(
                exchange,
                Level::Error,
                format_args!(
                    "upstream sent unexpected 101 while reading response header from upstream"
                ),
            );
            finish_attempt(exchange, 502);
            let event = selected.fail(clock::now());
            log_event(local, exchange, event);
            return Ok(Outcome::Failed(502));
        }
        let outcome = tunnel::run(local, exchange, downstream, plan, link.stream).await;
        // Until here the tunnel counted as a connection to its peer.
        succeed(local, exchange, selected);
        return outcome;
    }
    if let Some(target) = proxy_fields::accel_redirect(exchange, plan) {
        finish_attempt(exchange, status);
        succeed(local, exchange, selected);
        return Ok(Outcome::Redirected(target));
    }
    if proxy.intercept_errors && status >= 300 && answer::has_error_page(exchange, status) {
        finish_attempt(exchange, status);
        succeed(local, exchange, selected);
        return Ok(Outcome::Intercepted(status));
    }

    let buffering = proxy_fields::take_response(exchange, plan, &selected) && proxy.buffering;
    exchange.status = status;
    exchange.has_peer_reason = true;
    exchange.answer_length = match length {
        BodyLength::Length(length) => Some(length),
        BodyLength::None => proxy_fields::told_length(exchange, method),
        BodyLength::Chunked | BodyLength::UntilClose => None,
    };
    let has_body = !matches!(length, BodyLength::None | BodyLength::Length(0));
    let has_trailers = answer::complete(exchange, None);
    if has_trailers && has_body && exchange.head.version == Version::Http11 {
        exchange.answer_length = None;
    }
    let mut window = None;
    if proxy.force_ranges && has_body {
        match range::apply_to_stream(exchange) {
            Ok(found) => window = found,
            Err(range::Unsatisfiable) => {
                finish_attempt(exchange, status);
                succeed(local, exchange, selected);
                return Ok(Outcome::Failed(416));
            }
        }
        exchange.has_peer_reason &= window.is_none();
    }
    let framing = if has_body {
        framing_for(
            exchange.head.version,
            exchange.answer_length,
            exchange.settings.chunked_transfer_encoding,
        )
    } else {
        Framing::Nothing
    };
    answer::start(local, exchange, downstream, framing, has_body);

    let mut source = Source::new(length, exchange.upstream_head.length);
    source.window = window;
    let limit = if buffering {
        proxy.buffers.max(buffer::SMALL)
    } else {
        0
    };
    let relayed = relay(exchange, downstream, &mut link, &mut source, limit, proxy).await;
    if let Some(attempt) = exchange.attempts.last_mut() {
        attempt.response_length = source.received;
    }
    finish_attempt(exchange, status);
    match relayed {
        Ok(()) => {
            let is_clean = source.leaves_connection_clean(&exchange.upstream_head.fields.bytes);
            // A peer that was asked in HTTP/1.0, or to close, closes, whatever it says.
            if is_clean
                && !exchange.peer_closes
                && proxy.http_version == HttpVersion::Http11
                && link.requests != u64::MAX
                && framing::keeps_response_connection(&exchange.upstream_head)
            {
                upstream.keep(
                    &selected,
                    link.kind,
                    Idle {
                        stream: link.stream,
                        requests: link.requests,
                        created: link.created,
                    },
                );
            }
            succeed(local, exchange, selected);
            exchange.is_complete = true;
            answer::note_sent(exchange);
            Ok(Outcome::Sent)
        }
        Err(RelayError::Client(error)) => {
            answer::note_sent(exchange);
            super::log_client_error(local, exchange, &error, "sending to client");
            Ok(Outcome::Cut)
        }
        Err(RelayError::Peer(error)) => {
            local.log(
                exchange,
                Level::Error,
                format_args!("{error} while reading upstream"),
            );
            // Nothing was sent yet: the client gets a whole answer that says so.
            if exchange.bytes_sent == 0 && downstream.take_back() {
                exchange.answer.clear();
                exchange.answer_trailers.clear();
                exchange.head_bytes_sent = 0;
                exchange.error_status = 0;
                let event = selected.fail(clock::now());
                log_event(local, exchange, event);
                return Ok(Outcome::Failed(502));
            }
            let event = selected.fail(clock::now());
            log_event(local, exchange, event);
            // What was received is still owed to the client; then it sees the cut.
            if let Ok(count) = downstream.flush(exchange.settings.send_timeout).await {
                exchange.bytes_sent += count;
            }
            answer::note_sent(exchange);
            Ok(Outcome::Cut)
        }
    }
}

/// The peer did what it was asked.
fn succeed(local: &Local, exchange: &Exchange, selected: Selected) {
    let time = exchange
        .attempts
        .last()
        .and_then(|attempt| attempt.response_time)
        .unwrap_or_default();
    let event = selected.succeed(exchange, time, clock::now());
    log_event(local, exchange, event);
}

enum RelayError {
    Client(ClientError),
    Peer(PeerError),
}

/// Moves the body from the peer to the client. `limit` is how much may wait for a slow client
/// before the peer has to wait too; 0 reads on only when all was written.
async fn relay(
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    link: &mut Link,
    source: &mut Source,
    limit: usize,
    proxy: &Proxy,
) -> Result<(), RelayError> {
    let send_timeout = exchange.settings.send_timeout;
    source
        .take_read(exchange, downstream, proxy.pass_trailers)
        .map_err(RelayError::Peer)?;
    let mut is_ended = false;
    let mut is_client_gone = None;
    let mut pace = match proxy.limit_rate.literal() {
        Some(b"0") => None,
        _ => Some(answer::size_of(&proxy.limit_rate, exchange)),
    }
    .filter(|&rate| rate > 0)
    .map(|rate| Pace::new(rate, 0));
    poll_fn(|context| {
        loop {
            let mut progress = false;
            if source.is_complete && !is_ended {
                is_ended = true;
                answer::add_trailers(exchange);
                downstream.queue_end(&exchange.answer_trailers);
            }
            if downstream.queued() > 0 && is_client_gone.is_none() {
                match downstream.poll_flush(context, send_timeout) {
                    Poll::Ready(Ok(count)) => {
                        exchange.bytes_sent += count as u64;
                        progress = true;
                    }
                    Poll::Ready(Err(error)) if proxy.ignore_client_abort => {
                        is_client_gone = Some(error)
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(RelayError::Client(error))),
                    Poll::Pending => {}
                }
            }
            if is_ended && (downstream.queued() == 0 || is_client_gone.is_some()) {
                return Poll::Ready(match is_client_gone.take() {
                    Some(error) => Err(RelayError::Client(error)),
                    None => Ok(()),
                });
            }
            let queued = downstream.queued();
            let received = source.received;
            let is_allowed = pace
                .as_mut()
                .is_none_or(|pace| source.is_complete || pace.poll_allowance(context).is_ready());
            if is_allowed
                && !source.is_complete
                && (queued == 0 || queued < limit || is_client_gone.is_some())
            {
                match poll_source(
                    context,
                    exchange,
                    downstream,
                    link,
                    source,
                    proxy,
                    is_client_gone.is_some(),
                ) {
                    Poll::Ready(Ok(())) => {
                        progress = true;
                        if let Some(pace) = &mut pace {
                            pace.note((source.received - received) as usize);
                        }
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(RelayError::Peer(error))),
                    Poll::Pending => {}
                }
            }
            if !progress {
                return Poll::Pending;
            }
        }
    })
    .await
}
