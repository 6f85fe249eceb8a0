//! A provider's answer on its way to the client: whole, or event by event as it comes.
//!
//! A stream is held back until something of worth is in it, so that one that fails before is nothing
//! that a client ever saw, and another provider can be asked.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use super::account::Account;
use super::ask::{Incoming, Provider};
use super::pass::{self, Listener};
use super::{OwnTime, kept, told};
use crate::conf::typed::log::Level;
use crate::http::exchange::Exchange;
use crate::http::head::Known;
use crate::llm::standing::Trial;
use crate::llm::wire::embeddings::{self, Wanted};
use crate::llm::wire::error::Told;
use crate::llm::wire::front::{Format, Front, Operation, Streaming};
use crate::llm::wire::json::{Duplicates, Index};
use crate::llm::wire::neutral::Client;
use crate::llm::wire::surgery::Surgery;
use crate::llm::wire::translate::{self, Translator};
use crate::llm::wire::watch::{Failed, Seen, Watcher};
use crate::serve::downstream::{ClientError, Downstream, framing_for};
use crate::serve::generation::Local;
use crate::serve::peer::PeerError;
use crate::serve::{Next, answer, log_client_error};
use crate::unit::clock;

/// The largest answer that is held whole, bytes: vectors and pictures are large.
pub const MOST_WHOLE: usize = 64 << 20;

/// So much of a stream is held back at most until something of worth is in it, in bytes and events.
const MOST_HELD: (usize, u64) = (256 << 10, 64);

/// What may wait for a slow client before the provider has to wait too, bytes.
const WAITING: usize = 256 << 10;

/// What became of an answer.
pub enum Outcome {
    /// The client has it, or will.
    Answered {
        next: Next,
        /// What was seen of it.
        seen: Box<Seen>,
        /// A word for how it ended.
        outcome: &'static str,
    },
    /// It was none. The client saw nothing of it, but it may have cost something.
    Worthless {
        /// Why it was none.
        failed: Failed,
        /// What was seen of it.
        seen: Box<Seen>,
    },
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
    /// How the answer becomes the client's.
    pub way: Way,
    /// What of the call's time is ours.
    pub own_time: &'a OwnTime,
}

/// Who is told how the call goes.
pub struct Watching<'a> {
    /// The ledger.
    pub account: &'a mut Account,
    /// What is known of the provider.
    pub trial: &'a mut Trial,
}

impl Watching<'_> {
    /// Something of worth came.
    pub fn first_part(&mut self, local: &Local, exchange: &Exchange, label: &str) {
        self.account.first_part(label);
        let turn = self.trial.answers(clock::now());
        told::turn(local, exchange, label, turn);
    }
}

/// How an answer becomes the client's.
pub enum Way {
    /// The provider speaks the client's format.
    Same,
    /// It is said in the client's format.
    Translated {
        /// The provider's format.
        from: Format,
        /// How it is shown to the client.
        client: Box<Client>,
        /// Members of the call that had no place in the provider's format, with commas.
        dropped: String,
    },
    /// They are vectors, said in the client's format.
    Vectors {
        /// The provider's format.
        from: Format,
        /// What was asked for.
        wanted: Wanted,
        /// What the client is shown.
        client: Box<Client>,
        /// See [`Way::Translated`].
        dropped: String,
        /// Answers that came before: the provider does not take so many inputs at once.
        before: Vec<Vec<u8>>,
        /// Bodies that are still to be sent.
        rest: VecDeque<String>,
    },
    /// It passes as it comes, whatever it is.
    Passed {
        /// It costs nothing: something is read, or removed.
        is_free: bool,
    },
}

/// What a stream goes through.
enum Pipe {
    Same(Box<Watcher>),
    Translated(Box<Translator>),
    Passed(Box<Listener>),
}

impl Pipe {
    fn new(exchange: &Exchange, asked: &Asked<'_>) -> Self {
        let format = asked.front.format;
        match &asked.way {
            Way::Passed { is_free } => {
                Self::Passed(Box::new(Listener::new(exchange, format, *is_free)))
            }
            // Vectors do not stream.
            Way::Same | Way::Vectors { .. } => {
                let watcher = Watcher::new(format).naming(asked.model);
                Self::Same(Box::new(match asked.include_usage {
                    true => watcher,
                    false => watcher.hiding_usage(),
                }))
            }
            Way::Translated { from, client, .. } => {
                let client = (**client).clone();
                Self::Translated(Box::new(Translator::new(*from, format, client)))
            }
        }
    }

    fn push<'b>(&mut self, bytes: &'b [u8]) -> Result<Cow<'b, [u8]>, Failed> {
        match self {
            Self::Same(watcher) => watcher.push(bytes).map_err(|_| Failed::TooLong),
            Self::Translated(translator) => {
                translator.push(bytes).map(|text| text.into_bytes().into())
            }
            Self::Passed(listener) => {
                listener.hear(bytes);
                Ok(bytes.into())
            }
        }
    }

    fn end(&mut self) -> Vec<u8> {
        match self {
            Self::Same(watcher) => watcher.end(),
            Self::Translated(translator) => translator.end().into_bytes(),
            Self::Passed(listener) => {
                listener.end();
                Vec::new()
            }
        }
    }

    /// Was it an answer? Asked at its end.
    fn verdict(&self) -> Result<(), Failed> {
        match self {
            Self::Same(_) | Self::Translated(_) => self.seen().verdict(),
            Self::Passed(listener) => listener.verdict(),
        }
    }

    fn seen(&self) -> &Seen {
        match self {
            Self::Same(watcher) => watcher.seen(),
            Self::Translated(translator) => translator.seen(),
            Self::Passed(listener) => listener.seen(),
        }
    }

    /// What the client is told of a stream that fails after its start.
    fn failure(&self, told: &Told, format: Format, id: &str) -> String {
        match self {
            Self::Same(_) | Self::Passed(_) => told.event(format, id),
            Self::Translated(translator) => translator.failure(told, format, id),
        }
    }

    /// Has an error of the provider already passed as it came?
    fn passes_errors(&self) -> bool {
        matches!(self, Self::Same(_) | Self::Passed(_))
    }

    /// Can an error be told inside of it? Of sound or a file a client only sees that the connection
    /// closes before its end.
    fn has_events(&self) -> bool {
        match self {
            Self::Same(_) | Self::Translated(_) => true,
            Self::Passed(listener) => listener.hears_events(),
        }
    }
}

/// Passes a success of a provider on, if it is one.
pub async fn relay(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    asked: &Asked<'_>,
    provider: &Provider,
    incoming: Incoming,
    watching: &mut Watching<'_>,
) -> Result<Outcome, ClientError> {
    let streams = match asked.way {
        Way::Passed { .. } => !pass::is_whole(exchange),
        _ => {
            let operation = asked.front.operation;
            asked.stream && matches!(operation, Operation::Chat | Operation::Completion)
        }
    };
    match streams {
        true => {
            stream(
                local, exchange, downstream, asked, provider, incoming, watching,
            )
            .await
        }
        false => {
            whole(
                local, exchange, downstream, asked, provider, incoming, watching,
            )
            .await
        }
    }
}

async fn whole(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    asked: &Asked<'_>,
    provider: &Provider,
    mut incoming: Incoming,
    watching: &mut Watching<'_>,
) -> Result<Outcome, ClientError> {
    let format = asked.front.format;
    let body = match incoming.whole(exchange, downstream, MOST_WHOLE).await? {
        Ok(body) => body,
        Err(error) => {
            let failed = broke_off(local, exchange, error);
            incoming.fail(local, exchange);
            let seen = Box::default();
            return Ok(Outcome::Worthless { failed, seen });
        }
    };
    let mut seen = Seen::default();
    let made = match &asked.way {
        Way::Vectors {
            from,
            wanted,
            client,
            before,
            ..
        } => {
            let bodies = before.iter().chain([&body]).map(Vec::as_slice);
            let bodies: Vec<&[u8]> = bodies.collect();
            embeddings::answer(*from, format, *wanted, client, &bodies, &mut seen)
                .map(String::into_bytes)
        }
        Way::Passed { is_free } => {
            // Nothing at all is an answer here, too.
            if !body.is_empty() {
                seen = Seen::of_answer(format, asked.front.operation, &body);
            }
            seen.metered = pass::metered(*is_free, &seen);
            match &seen.error {
                Some(error) => Err(Failed::Error(error.clone())),
                None => Ok(body),
            }
        }
        Way::Same => {
            seen = Seen::of_answer(format, asked.front.operation, &body);
            seen.verdict().map(|()| renamed(format, body, asked.model))
        }
        Way::Translated { from, client, .. } => {
            translate::answer(*from, format, client, &body, &mut seen).map(String::into_bytes)
        }
    };
    let body = match made {
        Ok(body) => body,
        Err(failed) => {
            incoming.fail(local, exchange);
            let seen = Box::new(seen);
            return Ok(Outcome::Worthless { failed, seen });
        }
    };
    let outcome = match incoming.is_client_gone() {
        true => super::CLIENT_GONE,
        false => "ok",
    };
    incoming.succeed(local, exchange);
    watching.first_part(local, exchange, asked.label);
    begin(exchange, asked, watching.account);
    let name = provider.conf.name.len();
    // The label is the provider's name, a slash, and the model.
    let model = asked.label.get(name + 1..).unwrap_or_default();
    (watching.account).tell_cost(exchange, &provider.conf, model, &seen);
    exchange.status = match asked.way {
        Way::Passed { .. } => exchange.upstream_head.status,
        _ => 200,
    };
    Ok(Outcome::Answered {
        next: told::json(exchange, body),
        seen: Box::new(seen),
        outcome,
    })
}

/// An answer in which the model has the name that the client knows.
pub fn renamed(format: Format, body: Vec<u8>, model: &str) -> Vec<u8> {
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
    watching: &mut Watching<'_>,
) -> Result<Outcome, ClientError> {
    let format = asked.front.format;
    let mut pipe = Pipe::new(exchange, asked);
    let mut held = Vec::new();
    let mut is_ended = false;
    // Until there is something to see.
    while !is_ended {
        let read = incoming.bytes(exchange, downstream).await?;
        let failed = match read {
            Ok(bytes) if bytes.is_empty() => {
                is_ended = true;
                held.extend(pipe.end());
                pipe.verdict().err()
            }
            Ok(bytes) => match pipe.push(&bytes) {
                Ok(bytes) => {
                    held.extend_from_slice(&bytes);
                    let seen = pipe.seen();
                    seen.error
                        .clone()
                        .filter(|_| !seen.content)
                        .map(Failed::Error)
                }
                Err(failed) => Some(failed),
            },
            Err(error) => Some(broke_off(local, exchange, Some(error))),
        };
        if let Some(failed) = failed {
            incoming.fail(local, exchange);
            let seen = Box::new(pipe.seen().clone());
            return Ok(Outcome::Worthless { failed, seen });
        }
        let seen = pipe.seen();
        if seen.content || held.len() > MOST_HELD.0 || seen.events >= MOST_HELD.1 {
            break;
        }
    }

    watching.first_part(local, exchange, asked.label);
    watching.account.note_progress(pipe.seen());
    begin(exchange, asked, watching.account);
    exchange.has_peer_reason = false;
    let length = match pipe {
        Pipe::Passed(_) => pass::head(exchange),
        _ => {
            exchange.status = 200;
            let content_type = Known::ContentType;
            let stream_type = match asked.front.streaming {
                Streaming::Array => "application/json",
                _ => format.stream_type(),
            };
            let stream_type = stream_type.as_bytes();
            (exchange.answer).push_known(Some(content_type), b"Content-Type", stream_type);
            exchange.answer.push(b"Cache-Control", b"no-cache");
            None
        }
    };
    answer::complete(exchange, None);
    let chunks = exchange.settings.chunked_transfer_encoding;
    let framing = framing_for(exchange.head.version, length, chunks);
    answer::start(local, exchange, downstream, framing, true);
    downstream.queue(&held);
    drop(held);
    if is_ended {
        downstream.queue_end(&exchange.answer_trailers);
    }
    let mut passed = pass(
        exchange,
        downstream,
        format,
        &mut pipe,
        &mut incoming,
        watching.account,
        is_ended,
    )
    .await;
    if let Err(error) = &passed
        && incoming.note_client_gone()
    {
        log_client_error(local, exchange, error, "sending to client");
        // Its provider is paid for all of it: the ledger has to know how much that is.
        passed = drain(exchange, downstream, &mut pipe, &mut incoming).await;
    }
    answer::note_sent(exchange, downstream);
    let seen = Box::new(pipe.seen().clone());
    let is_client_gone = incoming.is_client_gone();
    let (is_whole, outcome) = match passed {
        Ok(None) => {
            incoming.succeed(local, exchange);
            match is_client_gone {
                true => (false, super::CLIENT_GONE),
                false => (true, "ok"),
            }
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
            let turn = watching.trial.fails(clock::now());
            told::turn(local, exchange, asked.label, turn);
            // Where it was not told inside, the connection closes before the end that was announced.
            (!is_client_gone && pipe.has_events(), "upstream_truncated")
        }
        Err(error) => {
            log_client_error(local, exchange, &error, "sending to client");
            (false, super::CLIENT_GONE)
        }
    };
    exchange.is_complete = is_whole;
    Ok(Outcome::Answered {
        next: Next::Done(is_whole),
        seen,
        outcome,
    })
}

/// Passes the rest of a stream on. What fails with the provider is told the client by an event, and
/// given back.
async fn pass(
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    format: Format,
    pipe: &mut Pipe,
    incoming: &mut Incoming,
    account: &Account,
    mut is_ended: bool,
) -> Result<Option<Failed>, ClientError> {
    let send_timeout = exchange.settings.send_timeout;
    let mut failed = None;
    let mut cut = false;
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
                        downstream.queue(&pipe.end());
                        failed = pipe.verdict().err();
                    }
                    Poll::Ready(Ok(bytes)) => match pipe.push(&bytes) {
                        Ok(bytes) => {
                            downstream.queue(&bytes);
                            account.note_progress(pipe.seen());
                        }
                        Err(too_long) => failed = Some(too_long),
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
                    if !pipe.has_events() {
                        cut = true;
                    } else if !(matches!(failed, Failed::Error(_)) && pipe.passes_errors()) {
                        let id = told::request_id(exchange);
                        let told = pipe.failure(&failed.told(), format, &id);
                        downstream.queue(told.as_bytes());
                    }
                }
                if is_ended && !cut {
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

/// Reads the rest of a stream that nobody waits for.
async fn drain(
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    pipe: &mut Pipe,
    incoming: &mut Incoming,
) -> Result<Option<Failed>, ClientError> {
    loop {
        match incoming.bytes(exchange, downstream).await? {
            Ok(bytes) if bytes.is_empty() => {
                pipe.end();
                return Ok(pipe.verdict().err());
            }
            Ok(bytes) => {
                if let Err(failed) = pipe.push(&bytes) {
                    return Ok(Some(failed));
                }
            }
            Err(_) => return Ok(Some(Failed::Truncated)),
        }
    }
}

/// The provider's connection failed, or there was too much.
pub fn broke_off(local: &Local, exchange: &Exchange, error: Option<PeerError>) -> Failed {
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
pub fn begin(exchange: &mut Exchange, asked: &Asked<'_>, account: &Account) {
    let id = told::request_id(exchange);
    told::begin(exchange, asked.front.format, &id);
    told::field(exchange, b"x-openclaw-model", asked.label);
    told::attempts(exchange, asked.attempts);
    kept::tell(exchange);
    let route = exchange.call.as_deref().map(|call| call.route.clone());
    if let Some(route) = route.filter(|route| !route.is_empty()) {
        told::field(exchange, b"x-openclaw-route", &route);
    }
    if let Way::Translated { dropped, .. } | Way::Vectors { dropped, .. } = &asked.way
        && !dropped.is_empty()
    {
        told::field(exchange, b"x-openclaw-dropped", dropped);
    }
    tell_queue(exchange);
    told::field(
        exchange,
        b"x-openclaw-overhead-us",
        &asked.own_time.so_far().as_micros().to_string(),
    );
    account.tell_limits(exchange);
}

/// Tells how long it waited for room at a provider, if it did.
pub fn tell_queue(exchange: &mut Exchange) {
    let queued = exchange.call.as_deref().map(|call| call.queued);
    if let Some(queued) = queued.filter(|queued| !queued.is_zero()) {
        let waited = queued.as_millis().max(1).to_string();
        told::field(exchange, b"x-openclaw-queue-ms", &waited);
    }
}
