//! `llm_gateway`: a call of a language model, from the client's key to the last cent.
//!
//! The order is: what is asked for and in whose words ([`front`]), whose key it is, the whole body, who
//! answers for the model ([`mod@route`]), what the call may spend ([`account`]), then one provider after the
//! other ([`tries`]) is asked ([`mod@ask`]) until one gives an answer that is worth something ([`relay`]).
//! Errors are told in the client's own format, whatever they come from.
//!
//! Invariant: once a byte of an answer was queued for the client, no other provider is asked; what goes
//! wrong from then on is told inside of the answer.

mod account;
pub mod ask;
mod bodies;
pub mod inquiry;
mod kept;
mod own_time;
mod pass;
mod provider_key;
mod relay;
mod route;
mod sent;
mod told;
mod tries;

use std::rc::Rc;

use self::account::{Account, End};
pub use self::own_time::OwnTime;
use self::pass::Passing;
use self::route::Candidate;
use self::sent::native;
use super::Next;
use super::downstream::{ClientError, Downstream};
use super::generation::Local;
use super::request_body::RequestBody;
use crate::conf::typed::llm::{self, Causes};
use crate::conf::typed::llm_log::LlmLog;
use crate::http::exchange::Exchange;
use crate::http::head::Known;
use crate::llm::key::Caller;
use crate::llm::models;
use crate::llm::price;
use crate::llm::refusal::Refusal;
use crate::llm::room::Room;
use crate::llm::wire;
use crate::llm::wire::error::{Class, Code, Told};
use crate::llm::wire::facts::Facts;
use crate::llm::wire::front::{Format, Front, Operation, percent_decoded, recognise};
use crate::llm::wire::json::{Duplicates, Index, Value};

/// The outcome of a call whose client did not wait for its end.
const CLIENT_GONE: &str = "client_abort";

/// What the configuration says of the place where calls come in.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// Nobody needs a key.
    pub for_anybody: bool,
    /// Who answers.
    pub choosing: &'a llm::Choosing,
    /// `llm_cache`
    pub cache: Option<&'a llm::Cache>,
    /// `llm_log`
    pub log: Option<&'a LlmLog>,
    /// What of the call's time is ours.
    pub own_time: &'a OwnTime,
}

/// Answers a call.
pub(super) async fn answer(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    place: Place<'_>,
) -> Next {
    match received(local, exchange, downstream, place).await {
        Ok(next) => next,
        Err(error) => super::client_failed(local, exchange, downstream, &error),
    }
}

/// Reads what is asked for, and has it answered.
async fn received(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    place: Place<'_>,
) -> Result<Next, ClientError> {
    let target = String::from_utf8_lossy(exchange.head.bytes(exchange.head.path_and_query));
    let target = target.into_owned();
    hide_key(exchange);
    let versioned = versioned(exchange, &target);
    let Some((front, path)) = front(exchange, &target, versioned.as_deref()) else {
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
    account::ready().await;
    let caller = match place.for_anybody {
        true => None,
        // Strangers are sent away before their call is read.
        false => match account::caller(exchange, target.split_once('?').map(|(_, query)| query)) {
            Ok(caller) => Some(caller),
            Err(refusal) => return Ok(told::refusal(local, exchange, format, &refusal)),
        },
    };
    // Clients of Ollama name the model that they ask about in a body.
    let is_ours = wire::models::is_ours(front.operation);
    let names_inside = front.operation == Operation::Model && front.model.is_none();
    if is_ours && !names_inside {
        let name = front.model.as_deref().unwrap_or_default();
        return Ok(ours(local, exchange, &front, name, caller.as_ref()));
    }
    if let Some(coding) = coding(exchange) {
        exchange.keep_alive = false;
        exchange.is_body_unwanted = true;
        let told = Told {
            status: 415,
            ..Told::own(
                Code::InvalidValue,
                format!(
                    "the call is compressed (`Content-Encoding: {coding}`); hint: send it as it is"
                ),
            )
        };
        account::note_refused(caller.as_ref(), "", &told);
        return Ok(told::error(exchange, format, &told));
    }
    // It is held whole: another provider may have to be asked with it.
    let most = local.generation.http.llm.body_memory;
    let limit = exchange.settings.max_body_size.unwrap_or(u64::MAX);
    let limit = limit
        .min(exchange.settings.body_buffer_size as u64)
        .min(most);
    let mut length = downstream.body_length().unwrap_or(0);
    let mut room = Room::new(most);
    let read = if length > limit || !room.grow(length) {
        Err(503)
    } else {
        let fits = |read: u64| {
            length = read;
            room.grow(read)
        };
        RequestBody::prepare(exchange, downstream, true, fits).await?
    };
    // What is larger than all may be together finds room at no other time either.
    let read = match read {
        Err(503) if length > limit => Err(413),
        read => read,
    };
    let body = match read {
        Ok(RequestBody::Memory(bytes)) => bytes,
        Ok(RequestBody::File(_)) | Err(413) => {
            // What is left of it nobody reads.
            exchange.keep_alive = false;
            exchange.is_body_unwanted = true;
            let told = Told::own(
                Code::RequestTooLarge,
                "the call is larger than this gateway takes",
            );
            account::note_refused(caller.as_ref(), "", &told);
            return Ok(told::error(exchange, format, &told));
        }
        Err(503) => {
            exchange.keep_alive = false;
            exchange.is_body_unwanted = true;
            let refusal = Refusal::Memory;
            let told = account::told(&refusal, &local.generation.http.llm.rules);
            account::note_refused(caller.as_ref(), "", &told);
            return Ok(told::refusal(local, exchange, format, &refusal));
        }
        Ok(_) => Vec::new(),
        Err(status) => return Ok(Next::Fail(status)),
    };
    let passing = match front.operation {
        Operation::Other => match Passing::read(exchange, &front, path, &body) {
            Ok(passing) => Some(passing),
            Err(told) => {
                account::note_refused(caller.as_ref(), "", &told);
                return Ok(told::error(exchange, format, &told));
            }
        },
        _ => None,
    };
    let bytes = passing.as_ref().map_or(&*body, Passing::described);
    let mut index = Index::new();
    let next = match index.read(bytes, Duplicates::Refuse) {
        Ok(root) if is_ours => {
            let name = root.some("model").or_else(|| root.some("name"));
            let name = name.and_then(|name| name.string()).unwrap_or_default();
            ours(local, exchange, &front, &name, caller.as_ref())
        }
        Ok(root) => {
            let asking = Asking {
                front: &front,
                caller: caller.as_ref(),
                root,
                text: std::str::from_utf8(bytes).unwrap_or_default(),
                passing: passing.as_ref(),
                place,
            };
            called(local, exchange, downstream, &asking).await?
        }
        Err(malformed) => {
            let told = Told::own(Code::InvalidJson, malformed.to_string());
            account::note_refused(caller.as_ref(), "", &told);
            told::error(exchange, format, &told)
        }
    };
    exchange.body = body;
    Ok(next)
}

/// Answers what no provider is asked for: which models there are, and what their clients ask before.
fn ours(
    local: &Local,
    exchange: &mut Exchange,
    front: &Front<'_>,
    name: &str,
    caller: Option<&Caller>,
) -> Next {
    let format = front.format;
    let llm = &local.generation.http.llm;
    let may = |name: &str| caller.is_none_or(|caller| caller.key.allows_model(name));
    let models: Vec<wire::models::Model<'_>> = (llm.models.iter())
        .filter(|model| may(&model.name))
        .map(|model| {
            let known = model.targets.first().and_then(|target| {
                let provider = llm.providers.get(target.provider)?;
                price::find(provider.kind, &target.model)
            });
            wire::models::Model {
                name: &model.name,
                created: 0,
                owner: "openclaw",
                context: known.as_ref().and_then(|known| known.max_input),
                max_output: known.as_ref().and_then(|known| known.max_output),
            }
        })
        .collect();
    let body = match front.operation {
        Operation::Version => wire::models::version().to_owned(),
        // Whether a provider has one in its memory nobody knows.
        Operation::Running => wire::models::list(format, &[]),
        Operation::Model => {
            let name = tagless(format, name);
            let is_it = |model: &&wire::models::Model<'_>| model.name.eq_ignore_ascii_case(name);
            match models.iter().find(is_it) {
                Some(model) => wire::models::one(format, model),
                None => return told::error(exchange, format, &unknown_model(local, name)),
            }
        }
        _ => wire::models::list(format, &models),
    };
    let id = told::request_id(exchange);
    told::begin(exchange, format, &id);
    exchange.status = 200;
    told::json(exchange, body.into_bytes())
}

/// Takes the key that clients of Gemini write into the query (`?key=`) out of all that logs can show.
fn hide_key(exchange: &mut Exchange) {
    fn hide(query: &mut [u8]) {
        for part in query.split_mut(|byte| *byte == b'&') {
            let Some(equals) = part.iter().position(|byte| *byte == b'=') else {
                continue;
            };
            let (name, value) = part.split_at_mut(equals);
            let is_key = std::str::from_utf8(name).is_ok_and(|name| percent_decoded(name) == "key");
            if is_key {
                value[1..].fill(b'*');
            }
        }
    }

    if exchange.args.is_empty() {
        return;
    }
    hide(&mut exchange.args);
    let head = &mut exchange.head;
    // The request line is not always where the target is.
    for slice in [head.target, head.path_and_query, head.line] {
        let text = &mut head.fields.bytes[slice.start as usize..slice.end as usize];
        let Some(mark) = text.iter().position(|byte| *byte == b'?') else {
            continue;
        };
        let query = &mut text[mark + 1..];
        let end = query.iter().position(|byte| *byte == b' ');
        let end = end.unwrap_or(query.len());
        hide(&mut query[..end]);
    }
}

/// How the body of a call is compressed, if it is: no provider takes such a call, and we look into it.
fn coding(exchange: &Exchange) -> Option<&'static str> {
    let said = exchange.head.fields.known(Known::ContentEncoding)?;
    let codings = ["gzip", "x-gzip", "deflate", "compress", "br", "zstd"];
    codings
        .into_iter()
        .find(|coding| said.trim_ascii().eq_ignore_ascii_case(coding.as_bytes()))
}

/// The name of a model without the tag that clients of Ollama add to one that has none.
fn tagless(format: Format, name: &str) -> &str {
    let tagless = name.strip_suffix(":latest");
    tagless.filter(|_| format == Format::Ollama).unwrap_or(name)
}

/// The path of the location, without a `/` at its end.
fn place_of(exchange: &Exchange) -> &str {
    let place = std::str::from_utf8(&exchange.settings.name).unwrap_or_default();
    place.trim_end_matches('/')
}

/// The target as it is below a location with the version of the API in its path, `/v1/legal/` or
/// `/team/v1/`, whose clients have that for the beginning of the API.
fn versioned(exchange: &Exchange, target: &str) -> Option<String> {
    let place = place_of(exchange);
    let is_versioned = place != "/v1" && place.split('/').any(|part| part == "v1");
    let rest = target.strip_prefix(place).filter(|_| is_versioned)?;
    rest.starts_with('/').then(|| format!("/v1{rest}"))
}

/// Which door a request came in by. What stands before the API's own path, if the location is below one,
/// is left out; also of the target that is given back. What the API has no word for comes last.
fn front<'a>(
    exchange: &Exchange,
    target: &'a str,
    versioned: Option<&'a str>,
) -> Option<(Front<'a>, &'a str)> {
    let method = exchange.head.bytes(exchange.head.method_token);
    let method = std::str::from_utf8(method).ok()?;
    let has = |wanted: &str| {
        let mut fields = exchange.head.fields.iter();
        fields.any(|(_, name, _)| name.eq_ignore_ascii_case(wanted.as_bytes()))
    };
    let door = |target: &'a str| {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        Some((recognise(method, path, query, has)?, target))
    };
    let is_known = |(front, _): &(Front<'_>, &str)| front.operation != Operation::Other;
    let whole = door(target);
    if whole.as_ref().is_some_and(is_known) {
        return whole;
    }
    let below = target.strip_prefix(place_of(exchange)).and_then(door);
    let versioned = versioned.and_then(door);
    let known = [below, versioned].into_iter().flatten();
    known.max_by_key(is_known).or(whole)
}

/// A call whose body was read.
struct Asking<'a> {
    front: &'a Front<'a>,
    caller: Option<&'a Caller>,
    root: Value<'a>,
    /// All of it.
    text: &'a str,
    /// It goes on as it is.
    passing: Option<&'a Passing<'a>>,
    place: Place<'a>,
}

/// Enters a call in the ledger, has it answered, and settles it.
async fn called(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    asking: &Asking<'_>,
) -> Result<Next, ClientError> {
    let format = asking.front.format;
    let facts = match Facts::of(asking.front, asking.root) {
        Ok(facts) => facts,
        Err(wrong) => {
            let told = Told::own(Code::InvalidValue, wrong.message).about(wrong.param);
            account::note_refused(asking.caller, "", &told);
            return Ok(told::error(exchange, format, &told));
        }
    };
    let llm = &local.generation.http.llm;
    let nameless = match (asking.passing, &facts.model) {
        (Some(passing), None) => Some(passing),
        _ => None,
    };
    // A path that needs no model stands in the ledger for one.
    let name = match nameless {
        Some(passing) => passing.place(),
        None => tagless(format, facts.model.as_deref().unwrap_or_default()),
    };
    route::note_shape(exchange, asking.caller, format, &facts, name);
    let routed = match nameless {
        Some(_) => None,
        None => route::routed(asking.place.choosing, exchange),
    };
    let routed = routed.as_deref().unwrap_or(name);
    let region = route::region(asking.place.choosing, exchange);
    let region = region.as_deref();
    let found = match nameless {
        Some(passing) => Some(passing.choices(llm, asking.front).and_then(|choices| {
            let candidates = choices.into_iter().filter_map(|choice| {
                let provider = local.generation.llm_providers.get(choice.provider)?;
                Some(Candidate { provider, choice })
            });
            let mut candidates = candidates.collect();
            route::stay_in(&mut candidates, region)?;
            Ok(candidates)
        })),
        None => route::candidates(local, exchange, asking.caller, &facts, routed, region),
    };
    route::forget_text(exchange);
    let mut candidates: Vec<Candidate<'_>> = match found {
        Some(Ok(candidates)) => candidates,
        Some(Err(told)) => return Ok(told::error(exchange, format, &told)),
        None => {
            let told = unknown_model(local, routed);
            account::note_refused(asking.caller, name, &told);
            exchange.call.get_or_insert_default().model = name.to_owned();
            return Ok(told::error(exchange, format, &told));
        }
    };
    let counts = |candidate: &Candidate<'_>| native(candidate.provider) == Format::Anthropic;
    if asking.front.operation == Operation::CountTokens
        && (format != Format::Anthropic || !candidates.iter().any(counts))
    {
        let id = told::request_id(exchange);
        told::begin(exchange, format, &id);
        exchange.status = 200;
        let body = wire::models::tokens(format, facts.input_tokens);
        return Ok(told::json(exchange, body.into_bytes()));
    }
    let opening = account::Opening {
        caller: asking.caller,
        facts: &facts,
        operation: asking.front.operation,
        model: name,
        passing: asking.passing,
        is_kept: false,
        tags: &asking.place.choosing.tags,
    };
    let mut call = Call {
        asking,
        facts: &facts,
        name,
        record: None,
    };
    let miss = match asking.place.cache {
        None => None,
        Some(rules) => match kept::look(exchange, downstream, rules, &call, &candidates).await? {
            kept::Looked::Answer(kept) => {
                let (next, id) = kept::answer(local, exchange, &call, &opening, &kept);
                if let (Some(log), Some(id)) = (asking.place.log, id) {
                    let said = bodies::said_again(asking, &kept);
                    bodies::note(exchange, asking, log, id, said.as_ref());
                }
                return Ok(next);
            }
            kept::Looked::Miss(miss) => miss,
        },
    };
    let own;
    call.record = miss.as_ref().map(|miss| &miss.record);
    if asking.place.log.is_some() {
        own = Rc::<kept::Record>::default();
        let record = call.record.unwrap_or(&own);
        record.hold(bodies::MOST_RECEIVED);
        call.record = Some(record);
    }
    let is_for_little = |candidate: &Candidate<'_>| candidate.choice.is_for(Causes::BUDGET);
    let has_other = candidates.iter().any(is_for_little);
    let generation = &local.generation;
    let mut opened = Account::open(&opening, exchange, generation, &candidates, has_other);
    if has_other && matches!(opened, Err(Refusal::Budget { .. })) {
        candidates.retain(is_for_little);
        opened = Account::open(&opening, exchange, generation, &candidates, false);
    }
    let mut account = match opened {
        Ok(account) => account,
        Err(refusal) => return Ok(told::refusal(local, exchange, format, &refusal)),
    };
    let mut end = End::default();
    let answered = tries::answered(
        local,
        exchange,
        downstream,
        &call,
        &candidates,
        &mut account,
        &mut end,
    )
    .await;
    if answered.is_err() && end.outcome.is_empty() {
        // It left before there was an answer. What the provider did for it meanwhile nobody told:
        // it pays what was reserved, or leaving early would be a way to pay nothing.
        let id = account.id();
        account.abandon(exchange, CLIENT_GONE);
        if let Some(log) = asking.place.log {
            let said = bodies::said(asking, call.record);
            bodies::note(exchange, asking, log, id, said.as_ref());
        }
        return answered;
    }
    end.status = exchange.status;
    let id = account.id();
    let said = asking.place.log.map(|_| bodies::said(asking, call.record));
    if let Some(miss) = miss {
        // What was written down goes with it.
        let call = Call {
            asking,
            facts: &facts,
            name,
            record: None,
        };
        miss.keep(&call, &end, &account);
    }
    account.settle(exchange, &end);
    if let Some(log) = asking.place.log {
        bodies::note(exchange, asking, log, id, said.flatten().as_ref());
    }
    answered
}

/// What is asked for, while it is being answered.
#[derive(Clone, Copy)]
struct Call<'a> {
    asking: &'a Asking<'a>,
    facts: &'a Facts<'a>,
    /// The model, as the client calls it.
    name: &'a str,
    /// Where the answer is written down, if it may be kept.
    record: Option<&'a Rc<kept::Record>>,
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
