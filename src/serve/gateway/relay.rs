//! A provider's answer on its way to the client: whole, or event by event as it comes.
//!
//! A stream is held back until something of worth is in it, so that one that fails before is nothing
//! that a client ever saw, and another provider can be asked.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use super::ask::{Incoming, Provider};
use super::told;
use crate::conf::typed::log::Level;
use crate::http::exchange::Exchange;
use crate::http::head::Known;
use crate::llm::wire::front::{Format, Front, Operation};
use crate::llm::wire::json::{Duplicates, Index};
use crate::llm::wire::surgery::Surgery;
use crate::llm::wire::watch::{Failed, Seen, Watcher};
use crate::serve::downstream::{ClientError, Downstream, framing_for};
use crate::serve::generation::Local;
use crate::serve::peer::PeerError;
use crate::serve::{Next, answer, log_client_error};

/// The largest answer that is held whole, bytes: vectors and pictures are large.
const MOST_WHOLE: usize = 64 << 20;

/// So much of a stream is held back at most until something of worth is in it, in bytes and events.
const MOST_HELD: (usize, u64) = (256 << 10, 64);

/// What may wait for a slow client before the provider has to wait too, bytes.
const WAITING: usize = 256 << 10;

/// What became of an answer.
pub enum Outcome {
    /// The client has it, or will.
    Answered(Next, Box<Seen>),
    /// It was none. The client saw nothing of it.
    Worthless(Failed),
}

/// What the client asked for, as far as its answer is concerned.
pub struct Asked<'a> {
    /// The door that it came in by.
    pub front: &'a Front<'a>,
    /// The model, as the client calls it.
    pub model: &'a str,
    /// Does it want a stream?
    pub stream: bool,
    /// Does it want usage as an event of its own?
    pub include_usage: bool,
    /// What was tried, this provider too, for people.
    pub attempts: &'a str,
    /// The provider and its own name for the model.
    pub label: &'a str,
}

/// Passes a success of a provider on, if it is one.
pub async fn relay(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    asked: &Asked<'_>,
    provider: &Provider,
    incoming: Incoming,
) -> Result<Outcome, ClientError> {
    let streams = asked.stream
        && matches!(
            asked.front.operation,
            Operation::Chat | Operation::Completion
        );
    match streams {
        true => stream(local, exchange, downstream, asked, provider, incoming).await,
        false => whole(local, exchange, downstream, asked, incoming).await,
    }
}

async fn whole(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    asked: &Asked<'_>,
    mut incoming: Incoming,
) -> Result<Outcome, ClientError> {
    let format = asked.front.format;
    let body = match incoming.whole(exchange, downstream, MOST_WHOLE).await? {
        Ok(body) => body,
        Err(error) => {
            let failed = broke_off(local, exchange, error);
            incoming.fail(local, exchange);
            return Ok(Outcome::Worthless(failed));
        }
    };
    let seen = Seen::of_answer(format, asked.front.operation, &body);
    if let Err(failed) = seen.verdict() {
        incoming.fail(local, exchange);
        return Ok(Outcome::Worthless(failed));
    }
    incoming.succeed(local, exchange);
    let body = renamed(format, body, asked.model);
    begin(exchange, asked);
    exchange.status = 200;
    Ok(Outcome::Answered(
        told::json(exchange, body),
        Box::new(seen),
    ))
}

/// An answer in which the model has the name that the client knows.
fn renamed(format: Format, body: Vec<u8>, model: &str) -> Vec<u8> {
    let path: &[&str] = match format {
        Format::Gemini => &["modelVersion"],
        _ => &["model"],
    };
    let mut index = Index::new();
    let Ok(root) = index.read(&body, Duplicates::LastCounts) else {
        return body;
    };
    if root.path(path).is_none() {
        return body;
    }
    let Ok(text) = std::str::from_utf8(&body) else {
        return body;
    };
    let mut surgery = Surgery::new(root);
    surgery.set_string(path, model);
    surgery.finish(text).into_bytes()
}

async fn stream(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    asked: &Asked<'_>,
    provider: &Provider,
    mut incoming: Incoming,
) -> Result<Outcome, ClientError> {
    let format = asked.front.format;
    let mut watcher = Watcher::new(format).naming(asked.model);
    if !asked.include_usage {
        watcher = watcher.hiding_usage();
    }
    let mut held = Vec::new();
    let mut is_ended = false;
    // Until there is something to see.
    while !is_ended {
        let read = poll_fn(|context| {
            if let Poll::Ready(read) = incoming.poll_bytes(context, exchange, downstream) {
                return Poll::Ready(Ok(read));
            }
            match downstream.poll_gone(context) {
                Poll::Ready(_) => Poll::Ready(Err(ClientError::Closed(None))),
                Poll::Pending => Poll::Pending,
            }
        })
        .await?;
        let failed = match read {
            Ok(bytes) if bytes.is_empty() => {
                is_ended = true;
                held.extend(watcher.end());
                watcher.verdict().err()
            }
            Ok(bytes) => match watcher.push(&bytes) {
                Ok(bytes) => {
                    held.extend_from_slice(&bytes);
                    let seen = watcher.seen();
                    seen.error
                        .clone()
                        .filter(|_| !seen.content)
                        .map(Failed::Error)
                }
                Err(_) => Some(Failed::TooLong),
            },
            Err(error) => Some(broke_off(local, exchange, Some(error))),
        };
        if let Some(failed) = failed {
            incoming.fail(local, exchange);
            return Ok(Outcome::Worthless(failed));
        }
        let seen = watcher.seen();
        if seen.content || held.len() > MOST_HELD.0 || seen.events >= MOST_HELD.1 {
            break;
        }
    }

    begin(exchange, asked);
    exchange.status = 200;
    exchange.has_peer_reason = false;
    let content_type = Known::ContentType;
    let stream_type = format.stream_type().as_bytes();
    (exchange.answer).push_known(Some(content_type), b"Content-Type", stream_type);
    exchange.answer.push(b"Cache-Control", b"no-cache");
    answer::complete(exchange, None);
    let chunks = exchange.settings.chunked_transfer_encoding;
    let framing = framing_for(exchange.head.version, None, chunks);
    answer::start(local, exchange, downstream, framing, true);
    downstream.queue(&held);
    drop(held);
    if is_ended {
        downstream.queue_end(&exchange.answer_trailers);
    }
    let passed = pass(
        exchange,
        downstream,
        format,
        &mut watcher,
        &mut incoming,
        is_ended,
    )
    .await;
    answer::note_sent(exchange, downstream);
    let seen = Box::new(watcher.seen().clone());
    match passed {
        Ok(None) => {
            incoming.succeed(local, exchange);
            exchange.is_complete = true;
            Ok(Outcome::Answered(Next::Done(true), seen))
        }
        Ok(Some(failed)) => {
            let name = &provider.conf.name;
            let words = provider.mask(&failed.to_string());
            local.log(
                exchange,
                Level::Error,
                format_args!("the stream of the provider \"{name}\" failed: {words}"),
            );
            incoming.fail(local, exchange);
            exchange.is_complete = true;
            Ok(Outcome::Answered(Next::Done(true), seen))
        }
        Err(error) => {
            log_client_error(local, exchange, &error, "sending to client");
            Ok(Outcome::Answered(Next::Done(false), seen))
        }
    }
}

/// Passes the rest of a stream on. What fails with the provider is told the client by an event, and
/// given back.
async fn pass(
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    format: Format,
    watcher: &mut Watcher,
    incoming: &mut Incoming,
    mut is_ended: bool,
) -> Result<Option<Failed>, ClientError> {
    let send_timeout = exchange.settings.send_timeout;
    let mut failed = None;
    poll_fn(|context| {
        loop {
            let mut progress = false;
            if downstream.queued() > 0 {
                match downstream.poll_flush(context, send_timeout) {
                    Poll::Ready(Ok(count)) => {
                        exchange.bytes_sent += count as u64;
                        progress = true;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {}
                }
            }
            if is_ended && downstream.queued() == 0 {
                return Poll::Ready(Ok(failed.take()));
            }
            if !is_ended && downstream.queued() < WAITING {
                match incoming.poll_bytes(context, exchange, downstream) {
                    Poll::Ready(Ok(bytes)) if bytes.is_empty() => {
                        is_ended = true;
                        downstream.queue(&watcher.end());
                        failed = watcher.verdict().err();
                    }
                    Poll::Ready(Ok(bytes)) => match watcher.push(&bytes) {
                        Ok(bytes) => downstream.queue(&bytes),
                        Err(_) => failed = Some(Failed::TooLong),
                    },
                    Poll::Ready(Err(_)) => failed = Some(Failed::Truncated),
                    Poll::Pending => {
                        // A stream may be silent for long; the provider is to know that nobody
                        // listens any more.
                        if !progress && downstream.poll_gone(context).is_ready() {
                            return Poll::Ready(Err(ClientError::Closed(None)));
                        }
                        if progress {
                            continue;
                        }
                        return Poll::Pending;
                    }
                }
                if let Some(failed) = &failed {
                    is_ended = true;
                    // An error of the provider's own passed as it came; it needs no second one.
                    if !matches!(failed, Failed::Error(_)) {
                        let id = told::request_id(exchange);
                        downstream.queue(failed.told().event(format, &id).as_bytes());
                    }
                }
                if is_ended {
                    downstream.queue_end(&exchange.answer_trailers);
                }
                continue;
            }
            if !progress {
                return Poll::Pending;
            }
        }
    })
    .await
}

/// The provider's connection failed, or there was too much.
fn broke_off(local: &Local, exchange: &Exchange, error: Option<PeerError>) -> Failed {
    match error {
        Some(error) => {
            local.log(
                exchange,
                Level::Error,
                format_args!("{error} while reading upstream"),
            );
            Failed::Truncated
        }
        None => Failed::TooLong,
    }
}

/// The fields that every answer of a provider has.
fn begin(exchange: &mut Exchange, asked: &Asked<'_>) {
    let id = told::request_id(exchange);
    told::begin(exchange, asked.front.format, &id);
    exchange
        .answer
        .push(b"x-openclaw-model", asked.label.as_bytes());
    exchange
        .answer
        .push(b"x-openclaw-attempts", asked.attempts.as_bytes());
}
