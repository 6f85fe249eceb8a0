//! Answers that are kept, so that the same call asked again costs nothing.
//!
//! Owns what is the same call, how much is kept, and that of equal calls at the same time one is made.
//! Whether an answer may be kept is for whoever has seen it to say. All of it is in memory: a reload
//! changes nothing, a restart forgets.
//!
//! # What is the same call
//!
//! A call is the same as another if the SHA-256 over these is:
//!
//! - whose it is: a key, a group, or everybody, so that nobody finds what is not theirs;
//! - who may answer it: the providers, with their addresses and their names for the model;
//! - the features of a provider's API that it asks for in fields (`anthropic-beta`, `openai-beta`);
//! - what it says. A conversation of texts, with limits, stops and numbers for drawing it, is brought into
//!   no format's words ([`translate`]), so that the same question is the same through every
//!   door. Whatever has more in it (tools, pictures, forms of answers, reasoning, members that nobody
//!   knows) is taken member by member in any order, within its own format.
//!
//! Left out are `stream`, `stream_options`, `user`, `metadata`, `safety_identifier` and
//! `prompt_cache_key`, and the model's name, for which those stand who may answer. Of calls of
//! `/v1/responses` only what makes them streams is left out: their answers repeat all the rest. A call for
//! vectors is taken member by member too; nothing but a call for vectors is the same.
//!
//! The invariant: what is kept never takes more memory than is allowed, and nobody gets an answer that
//! is not theirs.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use super::usage::Usage;
use super::wire::front::{Format, Operation};
use super::wire::json::{Kind, Value};
use super::wire::neutral::{Block, Request, Role};
use super::wire::translate;
use crate::unit::money::Money;

/// What a kept answer takes beside its bytes.
const BESIDE: usize = 512;

/// Of the whole memory one answer takes at most this part.
const PART: usize = 8;

/// So many answers are looked at without letting others in between.
const STEP: usize = 512;

/// Members that do not change what is answered.
const ASIDE: [&str; 9] = [
    "stream",
    "stream_options",
    "user",
    "metadata",
    "safety_identifier",
    "prompt_cache_key",
    "model",
    "models",
    "fallbacks",
];

/// Whose turns are plain.
const ROLES: [&str; 3] = ["system", "user", "assistant"];

/// The same of a format that repeats the call in its answer.
const ASIDE_REPEATED: [&str; 5] = ["stream", "stream_options", "model", "models", "fallbacks"];

/// What is the same call.
pub type Same = [u8; 32];

/// Who has an answer in common.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Whose {
    /// All that call.
    Everybody,
    /// The keys of a group.
    Group(String),
    /// The key with this number.
    Key(u64),
}

impl fmt::Display for Whose {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everybody => formatter.write_str("all"),
            Self::Group(name) => write!(formatter, "group {name}"),
            Self::Key(id) => write!(formatter, "key {id}"),
        }
    }
}

/// An answer.
#[derive(Debug)]
pub struct Kept {
    /// As the provider gave it.
    pub body: Vec<u8>,
    /// In which format.
    pub format: Format,
    /// Is it a stream?
    pub is_stream: bool,
    /// When, in milliseconds of the clock of streams and deadlines.
    pub at: u64,
    /// Who may have it.
    pub whose: Whose,
    /// What was wanted.
    pub operation: Operation,
    /// The model, as the client called it that made the call.
    pub asked: String,
    /// The number of that call in the ledger.
    pub call: u64,
    /// Who has answered.
    pub provider: String,
    /// The provider's name for the model.
    pub model: String,
    /// What was used.
    pub usage: Usage,
    /// Is that an estimate?
    pub is_estimated: bool,
    /// What it has cost, if that is known.
    pub cost: Option<Money>,
    /// How often it was given again.
    pub hits: AtomicU64,
}

impl Kept {
    /// It was given again.
    pub fn note_hit(&self) {
        self.hits.fetch_add(1, Relaxed);
    }
}

/// Which answers are meant: those of which all holds that is said.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Which {
    /// Who may have them.
    pub whose: Option<Whose>,
    /// Their model: as it was asked for, as its provider calls it, or that behind the provider's name and
    /// a slash. Upper and lower case are the same.
    pub model: Option<String>,
}

impl Which {
    fn is_meant(&self, kept: &Kept) -> bool {
        let is_named = |name: &String| {
            let of_provider = |name: &str| {
                let (provider, model) = name.split_once('/')?;
                let is_it = provider.eq_ignore_ascii_case(&kept.provider)
                    && model.eq_ignore_ascii_case(&kept.model);
                Some(is_it)
            };
            name.eq_ignore_ascii_case(&kept.asked)
                || name.eq_ignore_ascii_case(&kept.model)
                || of_provider(name) == Some(true)
        };
        self.whose.as_ref().is_none_or(|whose| *whose == kept.whose)
            && self.model.as_ref().is_none_or(is_named)
    }
}

/// What is kept, in all.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Standing {
    /// Answers.
    pub answers: usize,
    /// What they take, bytes.
    pub bytes: usize,
    /// What they may take, bytes.
    pub most: usize,
    /// How many have given way to others since the start.
    pub evicted: u64,
    /// How many were removed because somebody wanted that.
    pub purged: u64,
}

/// The answers that somebody has to calls of one model.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Share {
    /// Who may have them.
    pub whose: Whose,
    /// The model, as it was asked for.
    pub asked: String,
    /// What was wanted.
    pub operation: Operation,
    /// How many.
    pub answers: u64,
    /// What they take, bytes.
    pub bytes: u64,
    /// How often they were given again.
    pub hits: u64,
    /// What that has saved.
    pub saved: Money,
    /// When the first of them was kept, in milliseconds of the clock of streams and deadlines.
    pub oldest: u64,
    /// When the last was.
    pub newest: u64,
}

/// How a call that others wait for has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ended {
    Not,
    /// Its answer is kept.
    Kept,
    /// Its answer is not one to be kept: each makes the call of its own.
    Unfit,
    /// Its client has gone, or its answer was purged before it was there: another may make it.
    Left,
}

/// When a call began: its answer is kept if nothing was purged since.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Begun(u64);

/// What is known of a call.
#[derive(Debug)]
pub enum Found {
    /// Its answer.
    Answer(Arc<Kept>),
    /// Nothing: it is to be made, and others may wait for it.
    Nothing(Lead),
    /// Somebody makes it.
    UnderWay(Wait),
}

/// What came of waiting for somebody else's call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waited {
    /// Look again: there may be an answer now, or it is this call's turn.
    LookAgain,
    /// Its answer is for nobody else.
    Alone,
}

/// All answers that are kept.
#[derive(Default, Debug)]
pub struct Answers {
    inner: Mutex<Inner>,
    /// Held by whoever looks at all of them.
    walking: Mutex<()>,
}

#[derive(Default, Debug)]
struct Inner {
    most: usize,
    held: usize,
    turn: u64,
    /// How often somebody looked at all of them.
    walks: u64,
    evicted: u64,
    purged: u64,
    /// How often somebody wanted something removed.
    purges: u64,
    answers: HashMap<Same, Entry>,
    /// By when they were used last.
    order: BTreeMap<u64, Same>,
    under_way: HashMap<Same, watch::Receiver<Ended>>,
}

#[derive(Debug)]
struct Entry {
    /// When it was used last; see [`Inner::order`].
    turn: u64,
    /// The last walk that has come by.
    walk: u64,
    kept: Arc<Kept>,
}

/// The answers of the process; they outlive a reload.
pub fn answers() -> &'static Answers {
    static ANSWERS: LazyLock<Answers> = LazyLock::new(Answers::default);
    &ANSWERS
}

impl Answers {
    /// So many bytes may be kept from now on; nothing for 0.
    pub fn set_most(&self, most: usize) {
        let mut inner = self.inner.lock();
        inner.most = most;
        inner.make_room(0);
    }

    /// Removes what is meant; returns how many answers that were, and their bytes. What calls that are under
    /// way get is not kept, whichever was meant: it may be as old as what was removed.
    pub fn purge(&self, which: &Which) -> (usize, usize) {
        let mut inner = self.inner.lock();
        inner.purges += 1;
        if *which == Which::default() {
            let bytes = std::mem::take(&mut inner.held);
            let answers = std::mem::take(&mut inner.answers);
            let order = std::mem::take(&mut inner.order);
            inner.purged += answers.len() as u64;
            // To give back what many of them take is long; calls need not wait for it.
            drop(inner);
            drop(order);
            return (answers.len(), bytes);
        }
        drop(inner);
        let (mut count, mut bytes) = (0, 0);
        self.walk(|inner, same, kept| {
            if which.is_meant(kept) {
                inner.remove(same);
                inner.purged += 1;
                count += 1;
                bytes += size(kept);
            }
        });
        (count, bytes)
    }

    /// What is kept for whom and of which model, in order.
    pub fn shares(&self) -> Vec<Share> {
        let mut shares: BTreeMap<(Whose, String, &'static str), Share> = BTreeMap::new();
        self.walk(|_, _, kept| {
            let operation = kept.operation;
            let of = (kept.whose.clone(), kept.asked.clone(), operation.name());
            let share = shares.entry(of).or_insert_with(|| Share {
                whose: kept.whose.clone(),
                asked: kept.asked.clone(),
                operation,
                answers: 0,
                bytes: 0,
                hits: 0,
                saved: Money::ZERO,
                oldest: kept.at,
                newest: kept.at,
            });
            let hits = kept.hits.load(Relaxed);
            let cost = i128::from(kept.cost.unwrap_or_default().pico());
            share.answers += 1;
            share.bytes += size(kept) as u64;
            share.hits += hits;
            let saved = Money::saturated(cost.saturating_mul(i128::from(hits)));
            share.saved = share.saved.plus(saved);
            share.oldest = share.oldest.min(kept.at);
            share.newest = share.newest.max(kept.at);
        });
        shares.into_values().collect()
    }

    /// Shows every answer once that was there at the beginning and still is when it is its turn. Calls are
    /// let in between.
    fn walk(&self, mut see: impl FnMut(&mut Inner, &Same, &Kept)) {
        let _alone = self.walking.lock();
        let (walk, last) = {
            let mut inner = self.inner.lock();
            inner.walks += 1;
            (inner.walks, inner.turn)
        };
        // First those that nobody uses meanwhile, then those that have got another place: few.
        let mut from = 0;
        for (until, most) in [(last, STEP), (u64::MAX, usize::MAX)] {
            while from <= until {
                let mut inner = self.inner.lock();
                let order = inner.order.range(from..=until).take(most);
                let step: Vec<(u64, Same)> = order.map(|(turn, same)| (*turn, *same)).collect();
                let Some((turn, _)) = step.last() else { break };
                from = turn.saturating_add(1);
                for (_, same) in &step {
                    let Some(entry) = inner.answers.get_mut(same) else {
                        continue;
                    };
                    if std::mem::replace(&mut entry.walk, walk) != walk {
                        let kept = Arc::clone(&entry.kept);
                        see(&mut inner, same, &kept);
                    }
                }
                if until == u64::MAX {
                    return;
                }
            }
            from = last.saturating_add(1);
        }
    }

    /// How large one answer may be that is kept, bytes.
    pub fn most_of_one(&self) -> usize {
        self.inner.lock().most / PART
    }

    /// What a call begins with whose answer is kept without anybody waiting for it.
    pub fn begin(&self) -> Begun {
        Begun(self.inner.lock().purges)
    }

    /// Keeps an answer that nobody waits for.
    pub fn keep(&self, same: Same, begun: Begun, kept: Kept) {
        self.inner.lock().keep(same, begun, kept);
    }

    /// How they stand.
    pub fn standing(&self) -> Standing {
        let inner = self.inner.lock();
        Standing {
            answers: inner.answers.len(),
            bytes: inner.held,
            most: inner.most,
            evicted: inner.evicted,
            purged: inner.purged,
        }
    }

    /// Looks for an answer that is not older than `most_age` milliseconds.
    pub fn look(&'static self, same: Same, most_age: u64, now: u64) -> Found {
        let mut inner = self.inner.lock();
        if let Some(kept) = inner.find(&same, most_age, now) {
            return Found::Answer(kept);
        }
        if let Some(ended) = inner.under_way.get(&same) {
            return Found::UnderWay(Wait(ended.clone()));
        }
        let (ended, waiting) = watch::channel(Ended::Not);
        inner.under_way.insert(same, waiting);
        Found::Nothing(Lead {
            answers: self,
            same,
            begun: Begun(inner.purges),
            ended,
        })
    }
}

impl Inner {
    fn find(&mut self, same: &Same, most_age: u64, now: u64) -> Option<Arc<Kept>> {
        let entry = self.answers.get_mut(same)?;
        if now.saturating_sub(entry.kept.at) > most_age {
            return None;
        }
        self.turn += 1;
        self.order.remove(&entry.turn);
        entry.turn = self.turn;
        self.order.insert(self.turn, *same);
        Some(Arc::clone(&entry.kept))
    }

    fn remove(&mut self, same: &Same) {
        if let Some(entry) = self.answers.remove(same) {
            self.order.remove(&entry.turn);
            self.held -= size(&entry.kept);
        }
    }

    /// Lets go of what was not used for longest.
    fn make_room(&mut self, wanted: usize) {
        while self.held.saturating_add(wanted) > self.most {
            let Some((_, same)) = self.order.pop_first() else {
                return;
            };
            self.remove(&same);
            self.evicted += 1;
        }
    }

    /// Keeps an answer; tells those who wait for it what came of that.
    fn keep(&mut self, same: Same, begun: Begun, kept: Kept) -> Ended {
        let size = size(&kept);
        if size > self.most / PART {
            return Ended::Unfit;
        }
        if begun.0 != self.purges {
            return Ended::Left;
        }
        self.remove(&same);
        self.make_room(size);
        self.turn += 1;
        self.held += size;
        self.order.insert(self.turn, same);
        let entry = Entry {
            turn: self.turn,
            walk: 0,
            kept: Arc::new(kept),
        };
        self.answers.insert(same, entry);
        Ended::Kept
    }
}

fn size(kept: &Kept) -> usize {
    let whose = match &kept.whose {
        Whose::Group(name) => name.len(),
        Whose::Everybody | Whose::Key(_) => 0,
    };
    let names = kept.provider.len() + kept.model.len() + kept.asked.len() + whose;
    kept.body.len() + names + BESIDE
}

/// A call that others may wait for. Dropped, it says that its client has gone.
#[derive(Debug)]
pub struct Lead {
    answers: &'static Answers,
    same: Same,
    begun: Begun,
    ended: watch::Sender<Ended>,
}

impl Lead {
    /// Keeps its answer.
    pub fn keep(self, kept: Kept) {
        let ended = (self.answers.inner.lock()).keep(self.same, self.begun, kept);
        self.end(ended);
    }

    /// Its answer is for nobody else.
    pub fn pass(self) {
        self.end(Ended::Unfit);
    }

    fn end(&self, how: Ended) {
        // First out of the list: who looks from here on finds the answer, or makes the call.
        self.answers.inner.lock().under_way.remove(&self.same);
        self.ended.send_replace(how);
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if *self.ended.borrow() == Ended::Not {
            self.end(Ended::Left);
        }
    }
}

/// A place among those who wait.
#[derive(Debug)]
pub struct Wait(watch::Receiver<Ended>);

impl Wait {
    /// Until the call that is under way has ended.
    pub async fn ended(mut self) -> Waited {
        let ended = self.0.wait_for(|ended| *ended != Ended::Not).await;
        match ended.map(|ended| *ended) {
            Ok(Ended::Unfit) => Waited::Alone,
            Ok(_) | Err(_) => Waited::LookAgain,
        }
    }
}

/// The digest of a call; see the top of this module. `None` for one whose answer depends on what its
/// provider keeps for it, or that is neither a conversation nor a call for vectors.
#[must_use]
pub fn same(
    whose: &Whose,
    words: &[&str],
    format: Format,
    operation: Operation,
    call: Value<'_>,
) -> Option<Same> {
    let is_embedding = match operation {
        Operation::Chat => false,
        Operation::Embeddings | Operation::Embedding => true,
        _ => return None,
    };
    if call.kind() != Kind::Object || (!is_embedding && depends_on_more(call)) {
        return None;
    }
    let mut hasher = Sha256::new();
    text(&mut hasher, b'w', &whose.to_string());
    hasher.update((words.len() as u64).to_le_bytes());
    for word in words {
        text(&mut hasher, b'w', word);
    }
    said(&mut hasher, format, operation, call);
    Some(hasher.finalize().into())
}

/// The digest of what a call says alone.
#[must_use]
pub fn canonical(format: Format, operation: Operation, call: Value<'_>) -> Same {
    let mut hasher = Sha256::new();
    said(&mut hasher, format, operation, call);
    hasher.finalize().into()
}

fn said(hasher: &mut Sha256, format: Format, operation: Operation, call: Value<'_>) {
    let is_embedding = matches!(operation, Operation::Embeddings | Operation::Embedding);
    if is_embedding {
        // One vector is not told as a list of one is.
        hasher.update([b'e', u8::from(operation == Operation::Embedding)]);
    }
    let is_chat = operation == Operation::Chat;
    let request = match is_chat && is_plain(format, call) {
        true => translate::read_request(format, call).ok(),
        false => None,
    };
    // What is left aside may be named among what has no place elsewhere, and nothing else.
    let is_whole = |request: &Request<'_>| {
        let mut dropped = request.dropped.iter();
        dropped.all(|name| ASIDE.contains(&&**name) || name == "keep_alive")
    };
    match request.filter(is_whole) {
        Some(request) => plain(hasher, &request),
        None => {
            let aside: &[&str] = match format {
                Format::Responses => &ASIDE_REPEATED,
                _ => &ASIDE,
            };
            text(hasher, b'f', format.name());
            let mut members: Vec<_> = call.members().collect();
            members.retain(|(name, _)| {
                let is_aside = aside.iter().any(|aside| name.is(aside));
                !(is_aside || is_embedding && name.is("keep_alive"))
            });
            object(hasher, members);
        }
    }
}

/// Does its answer depend on what a provider keeps?
fn depends_on_more(call: Value<'_>) -> bool {
    let names = [
        "previous_response_id",
        "conversation",
        "prompt",
        "container",
        "cachedContent",
        "cached_content",
    ];
    names.iter().any(|name| call.some(name).is_some())
        || (call.some("background")).is_some_and(|background| background.boolean() != Some(false))
}

/// Does all of a call have a place in what is said in no format's words? What is not looked at here could
/// be lost there, and two calls would be the same that are not.
fn is_plain(format: Format, call: Value<'_>) -> bool {
    let numbers = [
        "temperature",
        "top_p",
        "top_k",
        "seed",
        "presence_penalty",
        "frequency_penalty",
    ];
    let is_number = |value: Value<'_>| value.kind() == Kind::Number;
    let is_count = |value: Value<'_>| value.integer().is_some();
    let is_text = |value: Value<'_>| value.kind() == Kind::String;
    let is_stop = |value: Value<'_>| {
        is_text(value) || (is_list(value) && value.items().all(|item| item.kind() == Kind::String))
    };
    // A conversation of texts, each turn with its role.
    let is_talk = |value: Value<'_>| {
        is_list(value)
            && value.items().all(|turn| {
                let is_one = |role: Value<'_>| ROLES.iter().any(|known| role.is(known));
                turn.some("role").is_some_and(is_one)
                    && turn.members().all(|(name, value)| {
                        name.is("role") || (name.is("content") && are_texts(value))
                    })
            })
    };
    call.members().all(|(name, value)| {
        let name = name.string().unwrap_or_default();
        let name = &*name;
        match format {
            Format::OpenAi => match name {
                "messages" => is_talk(value),
                "max_tokens" | "max_completion_tokens" => {
                    let other = match name {
                        "max_tokens" => "max_completion_tokens",
                        _ => "max_tokens",
                    };
                    is_count(value) && call.member(other).is_none()
                }
                "stop" => is_stop(value),
                _ => ASIDE.contains(&name) || (numbers.contains(&name) && is_number(value)),
            },
            Format::Anthropic => match name {
                "messages" => is_talk(value),
                "system" => are_texts(value),
                "max_tokens" => is_count(value),
                "stop_sequences" => is_list(value) && is_stop(value),
                _ => ASIDE.contains(&name) || (numbers[..3].contains(&name) && is_number(value)),
            },
            Format::Gemini => match name {
                "contents" | "systemInstruction" | "system_instruction" => {
                    let is_turn = |turn: Value<'_>| {
                        turn.kind() == Kind::Object
                            && turn.members().all(|(name, value)| {
                                (name.is("role") && is_text(value))
                                    || (name.is("parts") && are_parts(value))
                            })
                    };
                    match value.kind() {
                        Kind::Array => {
                            name == "contents" && is_list(value) && value.items().all(is_turn)
                        }
                        _ => is_turn(value),
                    }
                }
                "generationConfig" => value.members().all(|(name, value)| {
                    let name = name.string().unwrap_or_default();
                    match &*name {
                        "maxOutputTokens" => is_count(value),
                        "temperature" | "topP" | "topK" | "seed" | "presencePenalty"
                        | "frequencyPenalty" => is_number(value),
                        "stopSequences" => is_list(value) && is_stop(value),
                        _ => false,
                    }
                }),
                _ => ASIDE_REPEATED.contains(&name),
            },
            Format::Ollama => match name {
                "messages" => {
                    is_talk(value)
                        && value
                            .items()
                            .all(|turn| turn.some("content").is_none_or(is_text))
                }
                "keep_alive" => true,
                "options" => value.members().all(|(name, value)| {
                    let name = name.string().unwrap_or_default();
                    match &*name {
                        "num_predict" => is_count(value),
                        "stop" => is_stop(value),
                        name => numbers.contains(&name) && is_number(value),
                    }
                }),
                _ => ASIDE_REPEATED.contains(&name),
            },
            Format::Responses => match name {
                "input" => is_text(value),
                "instructions" => is_text(value),
                "max_output_tokens" => is_count(value),
                "temperature" | "top_p" => is_number(value),
                _ => ASIDE_REPEATED.contains(&name),
            },
        }
    })
}

/// Is it an array without numbers?
fn is_list(value: Value<'_>) -> bool {
    value.kind() == Kind::Array
        && between(value).all(|between| !between.contains(|c: char| c.is_ascii_digit()))
}

/// Is it a text, or a list of blocks that are texts and nothing else?
fn are_texts(content: Value<'_>) -> bool {
    let is_text = |value: Value<'_>| value.kind() == Kind::String;
    let is_block = |block: Value<'_>| {
        (block.some("type")).is_some_and(|kind| kind.is("text"))
            && block.some("text").is_some_and(is_text)
            && (block.members()).all(|(name, _)| name.is("type") || name.is("text"))
    };
    is_text(content) || (is_list(content) && content.items().all(is_block))
}

/// The same in the words of Gemini.
fn are_parts(parts: Value<'_>) -> bool {
    is_list(parts)
        && parts.items().all(|part| {
            part.some("text").is_some()
                && (part.members())
                    .all(|(name, value)| name.is("text") && value.kind() == Kind::String)
        })
}

/// A call of texts, in no format's words.
fn plain(hasher: &mut Sha256, request: &Request<'_>) {
    let blocks = |hasher: &mut Sha256, blocks: &[Block<'_>]| {
        hasher.update((blocks.len() as u64).to_le_bytes());
        for block in blocks {
            match block {
                Block::Text { text: said, .. } => text(hasher, b's', &said.decoded()),
                // None of them is plain.
                _ => text(hasher, b'?', &format!("{block:?}")),
            }
        }
    };
    hasher.update([b'p']);
    blocks(hasher, &request.system);
    hasher.update((request.turns.len() as u64).to_le_bytes());
    for turn in &request.turns {
        hasher.update([match turn.role {
            Role::System => b's',
            Role::User => b'u',
            Role::Assistant => b'a',
        }]);
        blocks(hasher, &turn.blocks);
    }
    hasher.update((request.stop.len() as u64).to_le_bytes());
    for stop in &request.stop {
        text(hasher, b's', &stop.decoded());
    }
    let most = request.max_output.map(|most| most.to_string());
    let sampling = &request.sampling;
    for number in [
        most.as_deref(),
        sampling.temperature,
        sampling.top_p,
        sampling.top_k,
        sampling.seed,
        sampling.presence_penalty,
        sampling.frequency_penalty,
    ] {
        match number {
            Some(number) => text(hasher, b'v', number),
            None => hasher.update([b'-']),
        }
    }
}

fn text(hasher: &mut Sha256, kind: u8, text: &str) {
    hasher.update([kind]);
    hasher.update((text.len() as u64).to_le_bytes());
    hasher.update(text.as_bytes());
}

fn object<'a>(hasher: &mut Sha256, members: Vec<(Value<'a>, Value<'a>)>) {
    let mut named: Vec<_> = members
        .into_iter()
        .map(|(name, value)| (name.string().unwrap_or_default(), value))
        .collect();
    named.sort_by(|(one, _), (other, _)| one.cmp(other));
    hasher.update([b'o']);
    hasher.update((named.len() as u64).to_le_bytes());
    for (name, value) in named {
        text(hasher, b'n', &name);
        fold(hasher, value);
    }
}

/// What stands in an array before, between and behind its items: commas, and numbers, which are no items.
/// Without blanks.
fn between<'a>(array: Value<'a>) -> impl Iterator<Item = String> + use<'a> {
    let raw = array.raw();
    let start = array.span().start;
    let mut at = 0;
    let spans = array.items().map(move |item| {
        let span = item.span();
        span.start - start..span.end - start
    });
    let end = std::iter::once(raw.len()..raw.len());
    spans.chain(end).map(move |item| {
        let between = &raw[at..item.start];
        at = item.end;
        between.split_ascii_whitespace().collect()
    })
}

fn fold(hasher: &mut Sha256, value: Value<'_>) {
    match value.kind() {
        Kind::Object => object(hasher, value.members().collect()),
        Kind::Array => {
            let items: Vec<_> = value.items().collect();
            hasher.update([b'a']);
            hasher.update((items.len() as u64).to_le_bytes());
            for (between, item) in between(value).zip(items.into_iter().map(Some).chain([None])) {
                text(hasher, b'v', &between);
                if let Some(item) = item {
                    fold(hasher, item);
                }
            }
        }
        Kind::String => text(hasher, b's', &value.string().unwrap_or_default()),
        _ => text(hasher, b'v', value.raw()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::llm::wire::json::{Duplicates, Index};

    fn digest_of(format: Format, text: &str) -> Option<Same> {
        let mut index = Index::new();
        let root = index.read(text.as_bytes(), Duplicates::Refuse);
        let root = root.expect("JSON");
        same(&Whose::Key(1), &["one/say"], format, Operation::Chat, root)
    }

    fn group(name: &str) -> Whose {
        Whose::Group(name.to_owned())
    }

    fn digest(format: Format, call: &Json) -> Same {
        digest_of(format, &call.to_string()).expect("a digest")
    }

    fn kept(size: usize, at: u64) -> Kept {
        Kept {
            body: vec![b'x'; size],
            format: Format::OpenAi,
            is_stream: false,
            at,
            whose: Whose::Everybody,
            operation: Operation::Chat,
            asked: "chat".to_owned(),
            call: 1,
            provider: "one".to_owned(),
            model: "say".to_owned(),
            usage: Usage::default(),
            is_estimated: false,
            cost: None,
            hits: AtomicU64::new(0),
        }
    }

    fn empty(most: usize) -> &'static Answers {
        let answers: &'static Answers = Box::leak(Box::default());
        answers.set_most(most);
        answers
    }

    #[test]
    fn the_same_question_is_the_same_through_every_door() {
        let talk = json!([{ "role": "user", "content": "Hello?" }]);
        let system = json!([{ "role": "system", "content": "Be \u{e9}brief" },
            { "role": "user", "content": "Hello?" }]);
        let one = [
            (
                Format::OpenAi,
                json!({ "model": "a", "messages": system, "max_tokens": 50, "temperature": 0.5 }),
            ),
            (
                Format::OpenAi,
                json!({ "temperature": 0.5, "max_completion_tokens": 50, "stream": true,
                    "stream_options": { "include_usage": true }, "user": "robin", "model": "b",
                    "messages": [{ "content": [{ "text": "Be \u{e9}brief", "type": "text" }], "role": "system" },
                        { "role": "user", "content": "Hello?" }], "metadata": { "a": "b" } }),
            ),
            (
                Format::Anthropic,
                json!({ "model": "c", "max_tokens": 50, "system": "Be \u{e9}brief", "messages": talk,
                    "temperature": 0.5, "metadata": { "user_id": "robin" } }),
            ),
            (
                Format::Gemini,
                json!({ "systemInstruction": { "parts": [{ "text": "Be \u{e9}brief" }] },
                    "contents": [{ "role": "user", "parts": [{ "text": "Hello?" }] }],
                    "generationConfig": { "maxOutputTokens": 50, "temperature": 0.5 } }),
            ),
            (
                Format::Ollama,
                json!({ "model": "d", "messages": system, "stream": false,
                    "options": { "num_predict": 50, "temperature": 0.5 } }),
            ),
            (
                Format::Responses,
                json!({ "model": "e", "instructions": "Be \u{e9}brief", "input": "Hello?",
                    "max_output_tokens": 50, "temperature": 0.5 }),
            ),
        ];
        let first = digest(one[0].0, &one[0].1);
        for (format, call) in &one {
            assert_eq!(digest(*format, call), first, "{format:?}: {call}");
        }
        let escaped = r#"{"messages":[{"role":"system","content":"Be \u00e9brief"},
            {"role":"user","content":"\u0048ello?"}],"max_tokens":50,"temperature":0.5}"#;
        assert_eq!(digest_of(Format::OpenAi, escaped), Some(first));
    }

    #[test]
    fn whatever_changes_an_answer_is_another_call() {
        let base = json!({ "model": "a", "max_tokens": 50,
            "messages": [{ "role": "user", "content": "Hello?" }] });
        let changes = [
            ("/max_tokens", json!(51)),
            ("/temperature", json!(0)),
            ("/temperature", json!(1)),
            ("/seed", json!(1)),
            ("/stop", json!("x")),
            ("/stop", json!(["x", "y"])),
            ("/stop", json!(["xy"])),
            ("/top_p", json!(0.1)),
            ("/presence_penalty", json!(0.1)),
            ("/frequency_penalty", json!(0.1)),
            ("/response_format", json!({ "type": "json_object" })),
            ("/reasoning_effort", json!("low")),
            ("/reasoning_effort", json!("high")),
            (
                "/tools",
                json!([{ "type": "function", "function": { "name": "a" } }]),
            ),
            (
                "/tools",
                json!([{ "type": "function", "function": { "name": "b" } }]),
            ),
            ("/tool_choice", json!("none")),
            ("/logit_bias", json!({ "1": 5 })),
            ("/logit_bias", json!({ "1": 6 })),
            ("/of_tomorrow", json!([1, 2])),
            ("/of_tomorrow", json!([1, "a", 2])),
            ("/of_tomorrow", json!([1, "a", 3])),
            ("/of_tomorrow", json!([12])),
            ("/messages/0/content", json!("Hello")),
            (
                "/messages/0/content",
                json!([{ "type": "text", "text": "Hel" }, { "type": "text", "text": "lo?" }]),
            ),
            ("/messages/0/role", json!("assistant")),
            ("/messages/0/role", json!("developer")),
            ("/messages/0/name", json!("robin")),
            (
                "/messages/1",
                json!({ "role": "user", "content": "Hello?" }),
            ),
        ];
        let mut seen = vec![digest(Format::OpenAi, &base)];
        for (place, value) in changes {
            let mut call = base.clone();
            match place.rsplit_once('/').expect("a path") {
                ("", name) => call[name] = value,
                ("/messages", _) => call["messages"].as_array_mut().expect("turns").push(value),
                (parent, name) => call.pointer_mut(parent).expect("there")[name] = value,
            }
            let digest = digest(Format::OpenAi, &call);
            assert!(!seen.contains(&digest), "{call}");
            seen.push(digest);
        }
        let text = base.to_string();
        let mut index = Index::new();
        let root = index
            .read(text.as_bytes(), Duplicates::Refuse)
            .expect("JSON");
        for (whose, words) in [
            (Whose::Key(2), &["one/say"][..]),
            (Whose::Everybody, &["one/say"]),
            (group("1"), &["one/say"]),
            (Whose::Key(1), &["two/say"]),
            (Whose::Key(1), &["one/say", "two/say"]),
            (Whose::Key(1), &[]),
        ] {
            let digest = same(&whose, words, Format::OpenAi, Operation::Chat, root);
            let digest = digest.expect("a digest");
            assert!(!seen.contains(&digest), "{whose} {words:?}");
            seen.push(digest);
        }
    }

    #[test]
    fn what_depends_on_a_providers_memory_is_not_kept() {
        for (format, call) in [
            (
                Format::Responses,
                json!({ "input": "a", "previous_response_id": "r" }),
            ),
            (
                Format::Responses,
                json!({ "input": "a", "background": true }),
            ),
            (
                Format::Anthropic,
                json!({ "messages": [], "container": "c" }),
            ),
            (
                Format::Gemini,
                json!({ "contents": [], "cachedContent": "c" }),
            ),
        ] {
            assert_eq!(digest_of(format, &call.to_string()), None, "{call}");
        }
        // Its answer repeats for whom it was asked.
        let robin = json!({ "input": "a", "user": "robin" });
        let other = json!({ "input": "a", "user": "other" });
        assert_ne!(
            digest(Format::Responses, &robin),
            digest(Format::Responses, &other)
        );
    }

    /// JSON in which members stand in an order that a number chooses, with blanks.
    fn written(value: &Json, mut order: u64, out: &mut String) {
        match value {
            Json::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                let turn = order as usize % members.len().max(1);
                members.rotate_left(turn);
                if order % 2 == 1 {
                    members.reverse();
                }
                out.push_str("{ ");
                for (position, (name, value)) in members.into_iter().enumerate() {
                    order = order.rotate_left(7).wrapping_mul(31);
                    if position > 0 {
                        out.push_str("\n,");
                    }
                    out.push_str(&format!("{} :\t", json!(name)));
                    written(value, order, out);
                }
                out.push('}');
            }
            Json::Array(items) => {
                out.push('[');
                for (position, item) in items.iter().enumerate() {
                    if position > 0 {
                        out.push_str(" , ");
                    }
                    written(item, order.rotate_left(11), out);
                }
                out.push_str(" ]");
            }
            other => out.push_str(&other.to_string()),
        }
    }

    fn any_json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            (0_u32..20).prop_map(Json::from),
            "[a-c\"\\\\ \u{e9}]{0,3}".prop_map(Json::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
                prop::collection::btree_map("[a-d]{1,2}", inner, 0..4)
                    .prop_map(|members| Json::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn order_and_blanks_do_not_matter_and_all_else_does(
            one in any_json(),
            other in any_json(),
            words in ("[ab]{0,2}", "[ab]{0,2}"),
            order in any::<u64>(),
        ) {
            let call = |more: &Json, word: &str| {
                json!({ "messages": [{ "role": "user", "content": word }], "more": more,
                    "seed": 5, "stop": ["a", "b"] })
            };
            for format in [Format::OpenAi, Format::Anthropic, Format::Gemini, Format::Responses] {
                let first = call(&one, &words.0);
                let mut text = String::new();
                written(&first, order, &mut text);
                prop_assert_eq!(digest_of(format, &text), Some(digest(format, &first)));
                let second = call(&other, &words.1);
                prop_assert_eq!(
                    first == second,
                    digest(format, &first) == digest(format, &second)
                );
            }
            // The same of a conversation of texts.
            let plain = |word: &str| {
                json!({ "messages": [{ "role": "user", "content": word },
                    { "role": "assistant", "content": words.1 }], "seed": 5, "stop": ["a", "b"] })
            };
            let (first, second) = (plain(&words.0), plain(&words.1));
            let mut text = String::new();
            written(&first, order, &mut text);
            prop_assert_eq!(digest_of(Format::OpenAi, &text), Some(digest(Format::OpenAi, &first)));
            prop_assert_eq!(
                first == second,
                digest(Format::OpenAi, &first) == digest(Format::OpenAi, &second)
            );
        }
    }

    #[test]
    fn answers_are_bounded_and_the_one_that_was_used_last_stays() {
        let answers = empty(8 * (1000 + BESIDE + 10));
        for number in 0..8 {
            answers.keep([number; 32], answers.begin(), kept(1000, 5));
        }
        let standing = answers.standing();
        assert_eq!(
            (standing.answers, standing.bytes),
            (8, 8 * (1000 + BESIDE + 10))
        );
        assert!(matches!(answers.look([0; 32], 10, 15), Found::Answer(_)));
        answers.keep([8; 32], answers.begin(), kept(1000, 5));
        assert!(matches!(answers.look([0; 32], 10, 15), Found::Answer(_)));
        assert!(matches!(answers.look([1; 32], 10, 15), Found::Nothing(_)));
        // One that is too large takes nothing away.
        answers.keep([9; 32], answers.begin(), kept(1017, 5));
        assert_eq!(answers.standing().answers, 8);
        assert!(matches!(answers.look([8; 32], 10, 16), Found::Nothing(_)));
        // In the place of one that is kept.
        answers.keep([8; 32], answers.begin(), kept(10, 16));
        assert_eq!(answers.standing().answers, 8);
        assert!(matches!(answers.look([8; 32], 10, 16), Found::Answer(_)));
        answers.set_most(0);
        let standing = answers.standing();
        assert_eq!((standing.answers, standing.bytes), (0, 0));
        assert_eq!(standing.evicted, 1 + 8);
        answers.keep([8; 32], answers.begin(), kept(10, 16));
        assert_eq!(answers.purge(&Which::default()), (0, 0));
    }

    #[test]
    fn what_was_asked_before_a_purge_is_not_kept_after_it() {
        let answers = empty(100_000);
        let none = Which {
            model: Some("other".to_owned()),
            ..Which::default()
        };
        for which in [Which::default(), none] {
            let begun = answers.begin();
            let Found::Nothing(lead) = answers.look([1; 32], 10, 0) else {
                panic!("nothing is kept");
            };
            assert_eq!(answers.purge(&which), (0, 0));
            lead.keep(kept(10, 0));
            answers.keep([2; 32], begun, kept(10, 0));
            assert_eq!(answers.standing().answers, 0, "{which:?}");
            // Who has waited may make it.
            let Found::Nothing(lead) = answers.look([1; 32], 10, 0) else {
                panic!("nobody makes it");
            };
            drop(lead);
        }
        answers.keep([2; 32], answers.begin(), kept(10, 0));
        assert_eq!(answers.standing().answers, 1);
    }

    #[test]
    fn what_is_kept_is_told_by_whose_and_model_and_purged_so() {
        let answers = empty(64 << 20);
        let mut number: u32 = 0;
        let mut keep = |whose: Whose, asked: &str, model: &str, at| {
            number += 1;
            let mut same = [0; 32];
            same[..4].copy_from_slice(&number.to_le_bytes());
            let kept = Kept {
                whose,
                asked: asked.to_owned(),
                model: model.to_owned(),
                cost: Some(Money::from_pico(50)),
                ..kept(100, at)
            };
            answers.keep(same, answers.begin(), kept);
            same
        };
        // More than one step has.
        for at in 0..STEP as u64 + 10 {
            keep(Whose::Key(7), "chat", "say", at);
        }
        let first = keep(group("home"), "chat", "say", 3);
        keep(group("home"), "Other", "say-2", 5);
        for _ in 0..3 {
            let Found::Answer(found) = answers.look(first, 100, 3) else {
                panic!("it is kept");
            };
            found.note_hit();
        }
        let shares = answers.shares();
        let told: Vec<_> = (shares.iter())
            .map(|share| {
                (
                    share.whose.to_string(),
                    &*share.asked,
                    share.answers,
                    share.hits,
                )
            })
            .collect();
        let count = STEP as u64 + 10;
        assert_eq!(
            told,
            [
                ("group home".to_owned(), "Other", 1, 0),
                ("group home".to_owned(), "chat", 1, 3),
                ("key 7".to_owned(), "chat", count, 0),
            ]
        );
        assert_eq!(shares[1].saved, Money::from_pico(150));
        assert_eq!((shares[2].oldest, shares[2].newest), (0, count - 1));
        let bytes: u64 = shares.iter().map(|share| share.bytes).sum();
        assert_eq!(bytes, answers.standing().bytes as u64);

        let which = |whose: Option<Whose>, model: Option<&str>| Which {
            whose,
            model: model.map(str::to_owned),
        };
        assert_eq!(answers.purge(&which(Some(Whose::Key(8)), None)), (0, 0));
        assert_eq!(answers.purge(&which(None, Some("say-3"))), (0, 0));
        assert_eq!(answers.purge(&which(None, Some("one/SAY-2"))).0, 1);
        assert_eq!(
            answers.purge(&which(Some(group("home")), Some("CHAT"))).0,
            1
        );
        assert_eq!(answers.standing().answers, STEP + 10);
        assert_eq!(
            answers.purge(&which(Some(Whose::Key(7)), None)).0,
            STEP + 10
        );
        let standing = answers.standing();
        assert_eq!((standing.answers, standing.bytes), (0, 0));
        assert_eq!(standing.purged, count + 2);
        assert_eq!(answers.shares(), []);
    }

    #[test]
    fn vectors_are_the_same_for_the_same_call_for_them_alone() {
        let digest = |format, operation, call: Json| {
            let text = call.to_string();
            let mut index = Index::new();
            let root = index.read(text.as_bytes(), Duplicates::Refuse);
            same(
                &Whose::Key(1),
                &["one/v"],
                format,
                operation,
                root.expect("JSON"),
            )
        };
        let many = Operation::Embeddings;
        let first = digest(
            Format::OpenAi,
            many,
            json!({ "model": "a", "input": ["x", "y"] }),
        );
        assert!(first.is_some());
        let other_user = json!({ "input": ["x", "y"], "user": "robin", "model": "b" });
        assert_eq!(digest(Format::OpenAi, many, other_user), first);
        for (format, operation, call) in [
            (Format::OpenAi, many, json!({ "input": ["y", "x"] })),
            (Format::OpenAi, many, json!({ "input": ["x"] })),
            (
                Format::OpenAi,
                many,
                json!({ "input": ["x", "y"], "dimensions": 5 }),
            ),
            (
                Format::OpenAi,
                many,
                json!({ "input": ["x", "y"], "encoding_format": "base64" }),
            ),
            (
                Format::OpenAi,
                Operation::Chat,
                json!({ "input": ["x", "y"] }),
            ),
            (Format::Ollama, many, json!({ "input": ["x", "y"] })),
            (
                Format::Ollama,
                Operation::Embedding,
                json!({ "input": ["x", "y"] }),
            ),
        ] {
            let digest = digest(format, operation, call.clone());
            assert!(digest.is_some() && digest != first, "{call}");
        }
        // Its text is a text, and nothing that a provider keeps.
        let one = json!({ "model": "a", "prompt": "x" });
        let digest_of_one = digest(Format::Ollama, Operation::Embedding, one.clone());
        assert!(digest_of_one.is_some());
        assert_eq!(digest(Format::Ollama, Operation::Completion, one), None);
    }

    #[tokio::test]
    async fn one_leads_and_the_others_get_what_it_got_or_lead_when_it_leaves() {
        let answers = empty(1 << 20);
        let Found::Nothing(lead) = answers.look([1; 32], 10, 0) else {
            panic!("nothing is kept");
        };
        let wait = || match answers.look([1; 32], 10, 0) {
            Found::UnderWay(wait) => wait,
            found => panic!("under way: {found:?}"),
        };
        let (one, other) = (wait(), wait());
        drop(lead);
        assert_eq!(one.ended().await, Waited::LookAgain);
        assert_eq!(other.ended().await, Waited::LookAgain);
        let Found::Nothing(lead) = answers.look([1; 32], 10, 0) else {
            panic!("it is another one's turn");
        };
        let one = wait();
        lead.pass();
        assert_eq!(one.ended().await, Waited::Alone);
        let Found::Nothing(lead) = answers.look([1; 32], 10, 0) else {
            panic!("nothing is under way");
        };
        let one = wait();
        lead.keep(kept(10, 0));
        assert_eq!(one.ended().await, Waited::LookAgain);
        assert!(matches!(answers.look([1; 32], 10, 0), Found::Answer(_)));
    }
}
