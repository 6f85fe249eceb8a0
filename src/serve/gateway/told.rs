//! Errors of the gateway, in the format of the client's own library.

use std::time::Duration;

use super::account;
use crate::conf::typed::log::Level;
use crate::conf::variable::{Core, Variable};
use crate::http::body::Body;
use crate::http::exchange::Exchange;
use crate::http::head::Known;
use crate::http::variables;
use crate::llm::refusal::Refusal;
use crate::llm::standing::standings;
use crate::llm::wire::error::Told;
use crate::llm::wire::front::Format;
use crate::metrics::model_calls;
use crate::serve::generation::Local;
use crate::serve::{Next, plain};
use crate::upstream::circuit::Turn;

/// Libraries of clients wait themselves when they are told to wait longer than a minute, and not as long.
const LONGEST_WAIT: u128 = 60;

/// The number of a request, as its answer and the log tell it.
pub fn request_id(exchange: &Exchange) -> String {
    let mut id = Vec::with_capacity(32);
    variables::write(&Variable::Core(Core::RequestId), exchange, &mut id);
    String::from_utf8_lossy(&id).into_owned()
}

/// Answers with an error.
pub fn error(exchange: &mut Exchange, format: Format, told: &Told) -> Next {
    let id = request_id(exchange);
    let body = told.body(format, &id);
    let call = exchange.call.get_or_insert_default();
    if let Some(code) = told.code.as_deref().filter(|_| call.outcome.is_empty()) {
        code.clone_into(&mut call.outcome);
    }
    begin(exchange, format, &id);
    if !told.should_retry() {
        exchange.answer.push(b"x-should-retry", b"false");
    }
    exchange.status = told.status_for(format);
    json(exchange, body.into_bytes())
}

/// As [`error`], with the time after which it may go better; told are whole seconds up to a minute.
pub fn error_after(
    exchange: &mut Exchange,
    format: Format,
    told: &Told,
    wait: Option<Duration>,
) -> Next {
    if let Some(wait) = wait.filter(|_| told.should_retry()) {
        let seconds = wait.as_millis().div_ceil(1000).clamp(1, LONGEST_WAIT);
        let seconds = seconds.to_string();
        exchange.answer.push(b"Retry-After", seconds.as_bytes());
    }
    error(exchange, format, told)
}

/// The most of a list of what was tried that a field holds, bytes: a client names as many models as it
/// likes, and no library takes a head of any length.
const MOST_TRIED: usize = 2048;

/// Tells what was tried, of a long list the end.
pub fn attempts(exchange: &mut Exchange, all: &str) {
    let start = all.ceil_char_boundary(all.len().saturating_sub(MOST_TRIED));
    let last = match all[start..].split_once(',') {
        Some((_, whole)) if start > 0 => whole,
        _ => &all[start..],
    };
    field(exchange, b"x-openclaw-attempts", last);
}

/// Tells the log that a provider is given up, or asked again.
pub fn turn(local: &Local, exchange: &Exchange, label: &str, turn: Option<Turn>) {
    match &turn {
        Some(Turn::Opened(reason)) => local.log(
            exchange,
            Level::Warn,
            format_args!("\"{label}\" is not asked any more for a while: {reason}"),
        ),
        Some(Turn::Closed) => local.log(
            exchange,
            Level::Notice,
            format_args!("\"{label}\" answers again"),
        ),
        None => {}
    }
    if turn.is_some() {
        standings().note_turn();
    }
}

/// Answers that the key may not make this call.
pub fn refusal(local: &Local, exchange: &mut Exchange, format: Format, refusal: &Refusal) -> Next {
    let told = account::told(refusal, &local.generation.http.llm.rules);
    let (_, _, outcome) = refusal.code().row();
    model_calls::count_refusal(outcome);
    exchange.call.get_or_insert_default().outcome = outcome.to_owned();
    // Who guesses keys is kept out as one who guesses passwords (`auto_ban`).
    exchange.has_failed_login |= *refusal == Refusal::Unknown;
    if let Some(wait) = refusal.retry_after() {
        let seconds = wait
            .as_millis()
            .div_ceil(1000)
            .min(LONGEST_WAIT)
            .to_string();
        exchange.answer.push(b"Retry-After", seconds.as_bytes());
    }
    error(exchange, format, &told)
}

/// The fields that every answer has.
pub fn begin(exchange: &mut Exchange, format: Format, id: &str) {
    let name: &[u8] = match format {
        Format::Anthropic => b"request-id",
        _ => b"x-request-id",
    };
    exchange.answer.push(name, id.as_bytes());
}

/// Adds a field. Parts of its value may be a client's: nothing of it can begin another line.
pub fn field(exchange: &mut Exchange, name: &[u8], value: &str) {
    let plain = |byte: u8| match byte {
        b' '..=b'~' => byte,
        _ => b'?',
    };
    let value: Vec<u8> = value.bytes().map(plain).collect();
    exchange.answer.push(name, &value);
}

/// Answers with a text of JSON, whose status is set.
pub fn json(exchange: &mut Exchange, body: Vec<u8>) -> Next {
    exchange.has_peer_reason = false;
    exchange.answer_length = Some(body.len() as u64);
    let content_type = Known::ContentType;
    exchange.answer.remove(content_type);
    (exchange.answer).push_known(Some(content_type), b"Content-Type", b"application/json");
    Next::Send(plain(Body::Bytes(body)))
}
