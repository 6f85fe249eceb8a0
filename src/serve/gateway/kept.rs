//! `llm_cache`: an answer that was kept is given again, and of equal calls at the same time one is made.
//!
//! What may be kept: an answer of texts and thoughts that came to its own end, with its usage told, to a
//! call for one answer; and vectors of texts, as many as were asked for. Nothing that failed, broke off, ran
//! out of room, was refused, or calls tools.
//!
//! Invariant: a key that may not use a model is not looked up for, and every call that is answered from
//! here has its row in the ledger and counts for limits of calls.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::Poll;
use std::time::Duration;

use super::account::{Account, End, Opening, Worth};
use super::relay::{self, Asked, Way, renamed};
use super::route::Candidate;
use super::{Call, told};
use crate::conf::typed::llm::{Cache, CacheScope};
use crate::http::body::Body;
use crate::http::exchange::Exchange;
use crate::http::head::Known;
use crate::llm::kept::{Begun, Found, Kept, Lead, Same, Waited, Whose, answers, same};
use crate::llm::usage::Usage;
use crate::llm::wire::embeddings;
use crate::llm::wire::front::{Format, Operation, Streaming};
use crate::llm::wire::json::Index;
use crate::llm::wire::neutral::{Client, Finish};
use crate::llm::wire::translate;
use crate::llm::wire::watch::{Metered, Seen, Watcher};
use crate::metrics::model_calls;
use crate::net::deadline::Deadline;
use crate::serve::downstream::{ClientError, Downstream};
use crate::serve::generation::Local;
use crate::serve::{Next, plain};
use crate::unit::clock;
use crate::unit::money::Money;

const HIT: &str = "HIT";
const MISS: &str = "MISS";
const BYPASS: &str = "BYPASS";

/// What stands for those who were tried where an answer was kept.
const TRIED: &str = "cache:hit";

/// What a provider sends, while it may have to be kept.
#[derive(Default)]
pub struct Record {
    recorded: RefCell<Recorded>,
    /// So many bytes are held, whatever may be kept.
    least: Cell<usize>,
}

#[derive(Default)]
struct Recorded {
    format: Option<Format>,
    is_stream: bool,
    is_whole: bool,
    /// Bytes that may still come.
    room: usize,
    /// The first bytes of one that is too long are wanted all the same.
    is_head_wanted: bool,
    is_too_long: bool,
    bytes: Vec<u8>,
}

impl Record {
    /// An answer begins; one before it was none.
    pub fn begin(&self, format: Format, is_stream: bool) {
        let least = self.least.get();
        *self.recorded.borrow_mut() = Recorded {
            format: Some(format),
            is_stream,
            room: answers().most_of_one().max(least),
            is_head_wanted: least > 0,
            ..Recorded::default()
        };
    }

    /// Holds so many bytes, also if they are not to be kept.
    pub fn hold(&self, least: usize) {
        self.least.set(least);
    }

    /// Shows what there is: in which format, whether it is a stream, whether there was more.
    pub fn read<T>(&self, see: impl FnOnce(Format, bool, bool, &[u8]) -> T) -> Option<T> {
        let recorded = self.recorded.borrow();
        let Recorded {
            is_stream,
            is_whole,
            is_too_long,
            ref bytes,
            ..
        } = *recorded;
        Some(see(
            recorded.format?,
            is_stream,
            is_too_long || !is_whole,
            bytes,
        ))
    }

    /// More of it.
    pub fn push(&self, bytes: &[u8]) {
        let mut recorded = self.recorded.borrow_mut();
        match recorded.room.checked_sub(bytes.len()) {
            Some(room) => {
                recorded.room = room;
                recorded.bytes.extend_from_slice(bytes);
            }
            None => {
                let room = std::mem::take(&mut recorded.room);
                recorded.is_too_long = true;
                match recorded.is_head_wanted {
                    true => recorded.bytes.extend_from_slice(&bytes[..room]),
                    false => recorded.bytes = Vec::new(),
                }
            }
        }
    }

    /// That was all.
    pub fn end(&self) {
        self.recorded.borrow_mut().is_whole = true;
    }
}

/// A call to which no answer is kept.
pub struct Miss {
    same: Same,
    whose: Whose,
    /// When it began.
    begun: Begun,
    /// Others may wait for it.
    lead: Option<Lead>,
    pub record: Rc<Record>,
}

/// What is kept for a call.
pub enum Looked {
    Answer(Arc<Kept>),
    /// Nothing. `None` if its answer is not to be kept either.
    Miss(Option<Miss>),
}

/// What a client says of kept answers.
#[derive(Clone, Copy)]
struct Wish {
    /// How old it may be.
    max_age: Option<Duration>,
    is_fresh: bool,
    is_secret: bool,
}

/// Looks for an answer, or waits for the one of an equal call that is under way.
pub async fn look(
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    rules: &Cache,
    call: &Call<'_>,
    candidates: &[Candidate<'_>],
) -> Result<Looked, ClientError> {
    let wish = wish(exchange);
    let same = digest(exchange, rules, call, candidates).filter(|_| !wish.is_secret);
    let Some((same, whose)) = same else {
        note(exchange, BYPASS);
        return Ok(Looked::Miss(None));
    };
    let miss = |lead: Option<Lead>| {
        Ok(Looked::Miss(Some(Miss {
            same,
            whose: whose.clone(),
            begun: answers().begin(),
            lead,
            record: Rc::default(),
        })))
    };
    if wish.is_fresh {
        // It takes the place of what is kept; who wants the newest waits for nobody.
        note(exchange, BYPASS);
        return miss(None);
    }
    let max_age = wish.max_age.unwrap_or(rules.max_age).min(rules.max_age);
    let max_age = u64::try_from(max_age.as_millis()).unwrap_or(u64::MAX);
    let deadline = Deadline::new();
    deadline.set(rules.wait);
    loop {
        let wait = match answers().look(same, max_age, clock::milliseconds()) {
            Found::Answer(kept) => {
                note(exchange, HIT);
                return Ok(Looked::Answer(kept));
            }
            Found::Nothing(lead) => {
                note(exchange, MISS);
                return miss(Some(lead));
            }
            Found::UnderWay(wait) => wait,
        };
        let mut ended = pin!(wait.ended());
        let waited = poll_fn(|context| {
            if let Poll::Ready(waited) = ended.as_mut().poll(context) {
                return Poll::Ready(Ok(waited));
            }
            if downstream.poll_gone(context).is_ready() {
                return Poll::Ready(Err(ClientError::Closed(None)));
            }
            // Longer than this it would have taken to ask.
            deadline.poll_expired(context).map(|()| Ok(Waited::Alone))
        });
        if waited.await? == Waited::Alone {
            note(exchange, MISS);
            return miss(None);
        }
    }
}

/// Notes for the log and the answer what came of looking.
fn note(exchange: &mut Exchange, result: &'static str) {
    exchange.call.get_or_insert_default().cache = result;
    if result != HIT {
        model_calls::count_cache(result, Money::ZERO);
    }
}

/// Tells the client that its answer was not kept. One that was is told with its age.
pub fn tell(exchange: &mut Exchange) {
    let result = exchange.call.as_deref().map_or("", |call| call.cache);
    if matches!(result, MISS | BYPASS) {
        exchange.answer.push(b"x-openclaw-cache", result.as_bytes());
    }
}

fn wish(exchange: &Exchange) -> Wish {
    let mut wish = Wish {
        max_age: None,
        is_fresh: false,
        is_secret: false,
    };
    for (_, name, value) in exchange.head.fields.iter() {
        if !name.eq_ignore_ascii_case(b"cache-control") {
            continue;
        }
        for word in value.split(|byte| *byte == b',') {
            let word = word.trim_ascii().to_ascii_lowercase();
            match &*word {
                b"no-cache" => wish.is_fresh = true,
                b"no-store" => wish.is_secret = true,
                _ => {
                    let seconds = word.strip_prefix(b"max-age=");
                    let seconds = seconds.and_then(|text| std::str::from_utf8(text).ok());
                    if let Some(seconds) = seconds.and_then(crate::unit::decimal) {
                        wish.max_age = Some(Duration::from_secs(seconds));
                        wish.is_fresh |= seconds == 0;
                    }
                }
            }
        }
    }
    wish
}

/// What the call is the same as, and whose its answer is; nothing if that is not kept.
fn digest(
    exchange: &Exchange,
    rules: &Cache,
    call: &Call<'_>,
    candidates: &[Candidate<'_>],
) -> Option<(Same, Whose)> {
    let asking = call.asking;
    let operation = asking.front.operation;
    let is_fit = operation == Operation::Chat || is_vectors(operation);
    if !is_fit || asking.passing.is_some() || call.facts.answers != 1 {
        return None;
    }
    let key = asking.caller.map(|caller| &caller.key);
    if key.is_some_and(|key| !key.allows_model(call.name)) {
        return None;
    }
    let whose = match (rules.scope, key) {
        (CacheScope::Global, _) => Whose::Everybody,
        (CacheScope::Group, Some(key)) if !key.row.group.is_empty() => {
            Whose::Group(key.row.group.clone())
        }
        (CacheScope::Key | CacheScope::Group, Some(key)) => Whose::Key(key.row.id),
        (CacheScope::Key | CacheScope::Group, None) => return None,
    };
    // Whoever of them answers: in which order they are asked says nothing of the answer.
    let mut who: Vec<String> = candidates
        .iter()
        .map(|Candidate { provider, choice }| {
            let (name, url) = (&provider.conf.name, &provider.conf.base_url);
            format!("{name}/{} {url}", choice.model)
        })
        .collect();
    who.sort();
    for (_, name, value) in exchange.head.fields.iter() {
        for tried_out in ["anthropic-beta", "openai-beta"] {
            if name.eq_ignore_ascii_case(tried_out.as_bytes()) {
                let value = String::from_utf8_lossy(value);
                let _ = write!(who.last_mut()?, " {tried_out}: {value}");
            }
        }
    }
    let words: Vec<&str> = who.iter().map(String::as_str).collect();
    let front = asking.front;
    let same = same(&whose, &words, front.format, operation, asking.root)?;
    Some((same, whose))
}

impl Miss {
    /// Keeps the answer that the call got, if it may be kept.
    pub fn keep(self, call: &Call<'_>, end: &End<'_>, account: &Account) {
        let recorded = self.record.recorded.take();
        match (kept(recorded, self.whose, call, end, account), self.lead) {
            (Some(kept), Some(lead)) => lead.keep(kept),
            (Some(kept), None) => answers().keep(self.same, self.begun, kept),
            // Others may have more luck, one after the other.
            (None, Some(lead)) if end.answered.is_none() => drop(lead),
            (None, Some(lead)) => lead.pass(),
            (None, None) => {}
        }
    }
}

/// What is kept of an answer.
fn kept(
    recorded: Recorded,
    whose: Whose,
    call: &Call<'_>,
    end: &End<'_>,
    account: &Account,
) -> Option<Kept> {
    let seen = end.seen.as_deref()?;
    let (provider, model) = end.answered?;
    let worth = account.worth(end)?;
    let is_whole = recorded.is_whole && !recorded.is_too_long && seen.ended;
    if !is_whole || seen.verdict().is_err() || seen.metered != Metered::ByTokens {
        return None;
    }
    let format = recorded.format?;
    let operation = call.asking.front.operation;
    match is_vectors(operation) {
        true => _ = vectors(call, format, &recorded.bytes, &Client::default())?,
        false => {
            if !is_good(seen, &worth) {
                return None;
            }
            let mut index = Index::new();
            let mut again = Seen::default();
            let (bytes, is_stream) = (&*recorded.bytes, recorded.is_stream);
            let read = translate::read_texts(format, bytes, is_stream, &mut index, &mut again);
            if read.ok()??.blocks.is_empty() || !is_good(&again, &worth) {
                return None;
            }
        }
    }
    Some(Kept {
        format,
        is_stream: recorded.is_stream,
        at: clock::milliseconds(),
        whose,
        operation,
        asked: call.name.to_owned(),
        call: account.id(),
        provider: provider.name.to_string(),
        model: model.to_owned(),
        usage: worth.usage,
        is_estimated: worth.is_estimated,
        cost: worth.cost,
        hits: AtomicU64::new(0),
        body: recorded.bytes,
    })
}

const fn is_vectors(operation: Operation) -> bool {
    matches!(operation, Operation::Embeddings | Operation::Embedding)
}

/// A provider's answer to a call for vectors, in the words of the client; nothing if they are not those
/// that were asked for.
fn vectors(call: &Call<'_>, from: Format, body: &[u8], client: &Client) -> Option<Vec<u8>> {
    let front = call.asking.front;
    let wanted = embeddings::read(front.format, call.asking.root).ok()?;
    let wanted = wanted.wanted(front.operation);
    let mut seen = Seen::default();
    let said = embeddings::answer(from, front.format, wanted, client, &[body], &mut seen);
    Some(said.ok()?.into_bytes())
}

/// Did an answer come to its own end, with something in it that everybody may have?
fn is_good(seen: &Seen, worth: &Worth) -> bool {
    let usage: &Usage = &worth.usage;
    let is_at_end = matches!(seen.finish, Some(Finish::Stop | Finish::StopSequence(_)));
    let is_text = seen.tool_calls == 0 && usage.images == 0 && usage.audio_output == 0;
    is_at_end
        && is_text
        && seen.content
        && !worth.is_estimated
        && usage.total_input() > 0
        && usage.total_output() > 0
}

/// Answers a call with an answer that was kept. The number of the call in the ledger is given back, if it was
/// let through.
pub fn answer(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    call: &Call<'_>,
    opening: &Opening<'_>,
    kept: &Kept,
) -> (Next, Option<u64>) {
    let front = call.asking.front;
    let format = front.format;
    let opening = Opening {
        is_kept: true,
        ..*opening
    };
    let opened = Account::open(&opening, exchange, &local.generation, &[], false);
    let account = match opened {
        Ok(account) => account,
        Err(refusal) => return (told::refusal(local, exchange, format, &refusal), None),
    };
    let id = Some(account.id());
    let label = format!("{}/{}", kept.provider, kept.model);
    TRIED.clone_into(&mut exchange.call.get_or_insert_default().attempts);
    let asked = Asked {
        front,
        model: call.name,
        stream: call.facts.stream,
        include_usage: call.facts.include_usage,
        attempts: TRIED,
        label: &label,
        way: Way::Same,
        own_time: call.asking.place.own_time,
    };
    let body = said(exchange, call, kept);
    relay::begin(exchange, &asked, &account);
    let age = clock::milliseconds().saturating_sub(kept.at) / 1000;
    let saved = kept.cost.unwrap_or_default();
    told::field(exchange, b"x-openclaw-cache", &format!("{HIT};age={age}"));
    told::field(exchange, b"Age", &age.to_string());
    told::field(exchange, b"x-openclaw-cost", &Money::ZERO.to_string());
    told::field(exchange, b"x-openclaw-saved", &saved.to_string());
    model_calls::count_cache(HIT, saved);
    exchange.status = 200;
    account.settle_kept(exchange, kept);
    if !call.facts.stream {
        return (told::json(exchange, body), id);
    }
    exchange.has_peer_reason = false;
    exchange.answer_length = Some(body.len() as u64);
    let stream_type = match front.streaming {
        Streaming::Array => "application/json",
        _ => format.stream_type(),
    };
    let stream_type = stream_type.as_bytes();
    let content_type = Known::ContentType;
    exchange.answer.remove(content_type);
    (exchange.answer).push_known(Some(content_type), b"Content-Type", stream_type);
    exchange.answer.push(b"Cache-Control", b"no-cache");
    (Next::Send(plain(Body::Bytes(body))), id)
}

/// A kept answer as the client wants it: as it came where that is the same, else said anew.
fn said(exchange: &Exchange, call: &Call<'_>, kept: &Kept) -> Vec<u8> {
    let (front, facts) = (call.asking.front, call.facts);
    let format = front.format;
    let is_array = front.streaming == Streaming::Array;
    if kept.format == format && kept.is_stream == facts.stream && !is_array {
        if !facts.stream {
            return renamed(format, kept.body.clone(), call.name);
        }
        let watcher = Watcher::new(format).naming(call.name);
        let mut watcher = match facts.include_usage {
            true => watcher,
            false => watcher.hiding_usage(),
        };
        // It was read before it was kept: none of its events is too long.
        let mut body = watcher
            .push(&kept.body)
            .map_or_else(|_| Vec::new(), std::borrow::Cow::into_owned);
        body.extend(watcher.end());
        return body;
    }
    let client = Client {
        id: told::request_id(exchange),
        model: call.name.to_owned(),
        operation: front.operation,
        created: clock::unix().as_secs(),
        include_usage: facts.include_usage,
        array: is_array,
        input_tokens: facts.input_tokens,
        ..Client::default()
    };
    if is_vectors(front.operation) {
        return vectors(call, kept.format, &kept.body, &client).unwrap_or_default();
    }
    let (mut index, mut seen) = (Index::new(), Seen::default());
    let read = translate::read_texts(
        kept.format,
        &kept.body,
        kept.is_stream,
        &mut index,
        &mut seen,
    );
    // It was read before it was kept.
    let answer = read.ok().flatten().unwrap_or_default();
    match facts.stream {
        true => translate::write_stream(format, &answer, &seen, &client),
        false => translate::write_answer(format, &answer, &seen, &client),
    }
    .into_bytes()
}
