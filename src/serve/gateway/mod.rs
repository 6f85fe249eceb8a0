//! `llm_gateway`: a call of a language model, from the client's key to the last cent.
//!
//! The order is: what is asked for and in whose words ([`front`]), the whole body, who answers for the
//! model ([`models`]), then one provider after the other ([`ask`]) until one gives an answer that is
//! worth something ([`relay`]). Errors are told in the client's own format, whatever they come from.
//!
//! Invariant: once a byte of an answer was queued for the client, no other provider is asked; what goes
//! wrong from then on is told inside of the answer.

pub mod ask;
mod relay;
mod told;

use std::cell::Cell;
use std::rc::Rc;

use self::ask::{Fault, Incoming, Provider, ask};
use self::relay::{Asked, Outcome};
use super::Next;
use super::downstream::{ClientError, Downstream};
use super::generation::Local;
use super::request_body::RequestBody;
use crate::conf::typed::llm::Api;
use crate::conf::typed::log::Level;
use crate::http::exchange::Exchange;
use crate::llm::models;
use crate::llm::wire::error::{Class, Code, ProviderError, Told};
use crate::llm::wire::facts::Facts;
use crate::llm::wire::front::{Format, Front, Operation, recognise};
use crate::llm::wire::json::{Duplicates, Index, Value};
use crate::llm::wire::surgery::Surgery;

/// The most of an error's body that is looked at, bytes.
const MOST_OF_ERROR: usize = 64 << 10;

/// Answers a call.
pub async fn answer(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
) -> Next {
    match received(local, exchange, downstream).await {
        Ok(next) => next,
        Err(error) => super::client_failed(local, exchange, downstream, &error),
    }
}

/// Reads what is asked for, and has it answered.
async fn received(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
) -> Result<Next, ClientError> {
    let target = String::from_utf8_lossy(exchange.head.bytes(exchange.head.path_and_query));
    let target = target.into_owned();
    let Some(front) = front(exchange, &target) else {
        let told = Told {
            status: 404,
            class: Class::NotFound,
            ..Told::own(
                Code::InvalidValue,
                "no API of language models has this path",
            )
        };
        return Ok(told::error(exchange, Format::OpenAi, &told));
    };
    let format = front.format;
    // It is held whole: another provider may have to be asked with it.
    let body = match RequestBody::prepare(exchange, downstream, true).await? {
        Ok(RequestBody::Memory(bytes)) => bytes,
        Ok(RequestBody::File(_)) | Err(413) => {
            let told = Told::own(
                Code::RequestTooLarge,
                "the call is larger than this gateway takes",
            );
            return Ok(told::error(exchange, format, &told));
        }
        Ok(_) => Vec::new(),
        Err(status) => return Ok(Next::Fail(status)),
    };
    let mut index = Index::new();
    let next = match index.read(&body, Duplicates::Refuse) {
        Ok(root) => called(local, exchange, downstream, &front, root, &body).await?,
        Err(malformed) => {
            let told = Told::own(Code::InvalidJson, malformed.to_string());
            told::error(exchange, format, &told)
        }
    };
    exchange.body = body;
    Ok(next)
}

/// Which door a request came in by. What stands before the API's own path, if the location is below one,
/// is left out.
fn front<'a>(exchange: &Exchange, target: &'a str) -> Option<Front<'a>> {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let method = exchange.head.bytes(exchange.head.method_token);
    let method = std::str::from_utf8(method).ok()?;
    let has = |wanted: &str| {
        let mut fields = exchange.head.fields.iter();
        fields.any(|(_, name, _)| name.eq_ignore_ascii_case(wanted.as_bytes()))
    };
    let place = std::str::from_utf8(&exchange.settings.name).unwrap_or_default();
    let below = path.strip_prefix(place.trim_end_matches('/'));
    recognise(method, path, query, has).or_else(|| recognise(method, below?, query, has))
}

/// A call whose body was read.
async fn called(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    front: &Front<'_>,
    root: Value<'_>,
    body: &[u8],
) -> Result<Next, ClientError> {
    let format = front.format;
    let facts = match Facts::of(front, root) {
        Ok(facts) => facts,
        Err(wrong) => {
            let told = Told::own(Code::InvalidValue, wrong.message).about(wrong.param);
            return Ok(told::error(exchange, format, &told));
        }
    };
    let llm = &local.generation.http.llm;
    let name = facts.model.as_deref().unwrap_or_default();
    let Some(choices) = models::choices(llm, name, turn()) else {
        return Ok(told::error(exchange, format, &unknown_model(local, name)));
    };
    let text = std::str::from_utf8(body).unwrap_or_default();
    let mut attempts = String::new();
    let mut last = None;
    for choice in choices {
        let Some(provider) = local.generation.llm_providers.get(choice.provider) else {
            continue;
        };
        let label = format!("{}/{}", provider.conf.name, choice.model);
        if !attempts.is_empty() {
            attempts.push(',');
        }
        attempts.push_str(&label);
        let Some((path, call)) = translated(front, &facts, root, text, provider, choice.model)
        else {
            attempts.push_str(":unsupported");
            continue;
        };
        let incoming = match ask(local, exchange, downstream, provider, &path, call).await? {
            Ok(incoming) => incoming,
            Err(fault) => {
                attempts.push(':');
                attempts.push_str(fault.word());
                last = Some(fault.told());
                continue;
            }
        };
        let status = exchange.upstream_head.status;
        if status >= 300 {
            let error = refused(local, exchange, downstream, provider, incoming, status).await?;
            attempts.push_str(&format!(":{status}"));
            let told = Told::provider(&error);
            // What the call itself is to blame for would fail everywhere.
            if !told.class.is_transient() {
                return Ok(told::error(exchange, format, &told));
            }
            last = Some(told);
            continue;
        }
        let before = attempts.len();
        attempts.push_str(":ok");
        let asked = Asked {
            front,
            model: name,
            stream: facts.stream,
            include_usage: facts.include_usage,
            attempts: &attempts,
            label: &label,
        };
        match relay::relay(local, exchange, downstream, &asked, provider, incoming).await? {
            Outcome::Answered(next, _seen) => return Ok(next),
            Outcome::Worthless(failed) => {
                let words = provider.mask(&failed.to_string());
                local.log(exchange, Level::Error, format_args!("{label}: {words}"));
                attempts.truncate(before);
                attempts.push_str(":worthless");
                last = Some(failed.told());
            }
        }
    }
    let mut told = last.unwrap_or_else(|| {
        Told::own(
            Code::UnsupportedParameter,
            "no provider of this model understands this call",
        )
    });
    told.message = format!("{} (tried {attempts})", told.message);
    exchange
        .answer
        .push(b"x-openclaw-attempts", attempts.as_bytes());
    Ok(told::error(exchange, format, &told))
}

/// A number for the next call, evenly spread.
fn turn() -> u64 {
    thread_local! {
        static TURN: Cell<u64> = const { Cell::new(0) };
    }
    let turn = TURN.get().wrapping_add(1);
    TURN.set(turn);
    turn
}

fn unknown_model(local: &Local, name: &str) -> Told {
    let near = models::nearest(&local.generation.http.llm, name);
    let message = match near.as_slice() {
        [] => format!("there is no model `{name}` here"),
        near => format!(
            "there is no model `{name}` here; did you mean {}?",
            near.join(", ")
        ),
    };
    Told::own(Code::ModelNotFound, message).about("model")
}

/// The path and the body of a call as a provider gets it; `None` if it cannot be said in its words.
fn translated(
    front: &Front<'_>,
    facts: &Facts<'_>,
    root: Value<'_>,
    text: &str,
    provider: &Provider,
    model: &str,
) -> Option<(String, Vec<u8>)> {
    let path = match (front.format, provider.conf.api, front.operation) {
        (Format::OpenAi, Api::OpenAi, Operation::Chat) => "/chat/completions",
        (Format::OpenAi, Api::OpenAi, Operation::Completion) => "/completions",
        (Format::OpenAi, Api::OpenAi, Operation::Embeddings) => "/embeddings",
        (Format::Responses, Api::OpenAi, _) => "/responses",
        (Format::Anthropic, Api::Anthropic, Operation::Chat) => "/v1/messages",
        (Format::Anthropic, Api::Anthropic, Operation::CountTokens) => "/v1/messages/count_tokens",
        _ => return None,
    };
    let mut surgery = Surgery::new(root);
    surgery.set_string(&["model"], model);
    surgery.remove(&["models"]).remove(&["fallbacks"]);
    if front.format == Format::OpenAi && facts.stream && !facts.include_usage {
        surgery.set(&["stream_options", "include_usage"], "true");
    }
    Some((path.to_owned(), surgery.finish(text).into_bytes()))
}

/// A provider answered with an error.
async fn refused(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    provider: &Provider,
    mut incoming: Incoming,
    status: u16,
) -> Result<ProviderError, ClientError> {
    let read = incoming.whole(exchange, downstream, MOST_OF_ERROR).await?;
    let error = ProviderError::of_body(
        format_of(provider),
        status,
        read.as_deref().unwrap_or_default(),
    );
    let name = &provider.conf.name;
    let message = provider.mask(&error.message);
    local.log(
        exchange,
        Level::Error,
        format_args!("the provider \"{name}\" answered {status}: {message}"),
    );
    match status {
        500.. => incoming.fail(local, exchange),
        _ => incoming.succeed(local, exchange),
    }
    Ok(error)
}

/// The format that a provider speaks.
fn format_of(provider: &Provider) -> Format {
    match provider.conf.api {
        Api::OpenAi => Format::OpenAi,
        Api::Anthropic => Format::Anthropic,
        Api::Gemini => Format::Gemini,
        Api::Ollama => Format::Ollama,
    }
}

impl Fault {
    /// A word for it, for people.
    const fn word(&self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::NoPeer => "no-address",
            Self::TimedOut => "timeout",
            Self::NoKey => "no-key",
            Self::NoTls => "no-tls",
        }
    }

    /// As a client is told it.
    fn told(&self) -> Told {
        match self {
            Self::Unreachable | Self::NoPeer | Self::NoTls => {
                Told::own(Code::UpstreamError, "the provider cannot be reached")
            }
            Self::TimedOut => {
                Told::own(Code::UpstreamTimeout, "the provider did not answer in time")
            }
            Self::NoKey => Told::own(
                Code::UpstreamCredentialsRejected,
                "the gateway has no key for the provider",
            ),
        }
    }
}
