//! What is said of calls of language models: those under way, and those that are over. Money is
//! dollars, written as a decimal number without loss.

use serde::{Deserialize, Serialize};

use super::{Micros, Millis};

/// What the gateway does now; in a summary with the topic `llm`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LlmNow {
    /// What was spent since midnight in UTC.
    pub today: String,
    /// What is held for calls under way.
    pub held: String,
    /// Calls under way.
    pub running: u64,
    /// The oldest of them, the oldest first; no more than a hundred.
    pub calls: Vec<RunningCall>,
    /// Calls that began in the last minute.
    pub calls_per_minute: u64,
    /// Tokens that went in, each second of the last ten.
    pub input_rate: f64,
    /// Tokens that came out, each second of the last ten.
    pub output_rate: f64,
    /// Calls that failed in the last minute.
    pub failed_per_minute: u64,
    /// Calls in the last minute to which an answer was kept, and all for which one was looked for.
    pub kept_per_minute: (u64, u64),
    /// The budget of which the greatest part is spent, with a limit; `None` without any.
    pub budget: Option<FullestBudget>,
    /// Calls that ended or were refused since the start: if it is another number, the ledger has more
    /// to tell.
    pub ended: u64,
    /// Those that can be asked, as the configuration has them.
    pub providers: Vec<ProviderNow>,
}

/// A budget.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FullestBudget {
    /// Whose: `key kid`, `gateway hub`.
    pub whose: String,
    /// `day`, `week`, `month` or `total`.
    pub period: String,
    /// What was spent of it.
    pub spent: String,
    /// What it allows.
    pub limit: String,
}

/// A call under way.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RunningCall {
    /// Its number in the ledger.
    pub id: u64,
    /// The name of its key; empty for none.
    pub key: String,
    /// From which gateway.
    pub gateway: String,
    /// For which user.
    pub user: String,
    /// The model that was asked for.
    pub asked: String,
    /// The provider that answers with its own name for the model; empty until one does.
    pub answering: String,
    /// For how long it is under way.
    pub age: Millis,
    /// About how many tokens came out so far.
    pub output: u64,
    /// What is held for it.
    pub held: String,
}

/// A provider now.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProviderNow {
    /// Its name in the configuration.
    pub name: String,
    /// What it is in tables of prices: `openai`, `groq`.
    pub kind: String,
    /// `ready`, or what is in its way for one of its models: `no key`, `open` after failures, `probing`,
    /// `cooling` after a limit, `refused` with our key.
    pub state: String,
    /// More about its state, for people; may be empty.
    pub note: String,
    /// Calls under way.
    pub under_way: u32,
    /// How many there may be now; 0 for any number.
    pub most: u32,
    /// That number is learned.
    pub is_adaptive: bool,
    /// Calls that wait until it has room.
    pub waiting: u32,
    /// How soon its answers begin, lately, in microseconds; 0 before the first.
    pub first_token: Micros,
    /// Where it is: its `base_url`.
    pub address: String,
    /// So many calls may wait; 0 without a queue.
    pub room: u32,
    /// Calls that found no place in the queue, or waited in vain, since the start.
    pub turned_away: u64,
    /// Calls since the start.
    pub asked: u64,
    /// Of these, those that failed by its fault.
    pub failed: u64,
    /// Of these, those that reached a limit of its.
    pub limited: u64,
    /// Its models by its keys: those that may not be asked first, then those that are asked most; not
    /// all of very many.
    pub models: Vec<ModelNow>,
}

/// How a provider stands with one key and one model.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelNow {
    /// The provider's own name for the model.
    pub model: String,
    /// Where the key is written down, never the key; empty if it has none.
    pub key: String,
    /// `ready`, `probing`, `open`, `cooling`, `refused`.
    pub state: String,
    /// For how long it stays so; 0 if nobody knows.
    pub left_ms: Millis,
    /// Why its circuit opened last; empty if it never did.
    pub reason: String,
    /// Of a hundred calls that could go elsewhere, how many it gets; 0 until its circuit has closed.
    pub share: u64,
    /// Calls under way.
    pub under_way: u32,
    /// See [`ProviderNow::first_token`].
    pub first_token: Micros,
    /// See [`ProviderNow::failed`].
    pub failed: u64,
}

/// Who is to be tested.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderName {
    /// The provider; all of them without it.
    pub name: Option<String>,
}

/// Providers that were asked which models they have.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProviderTests {
    /// One for each provider and key.
    pub tests: Vec<ProviderTest>,
}

/// What came of asking a provider which models it has.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProviderTest {
    /// Its name in the configuration.
    pub provider: String,
    /// Which of its keys, from 1.
    pub key: u32,
    /// Did it answer as it should?
    pub is_good: bool,
    /// The status of its answer; 0 if there was none.
    pub status: u16,
    /// Until its answer was there, or until it was given up; 0 if it was not asked.
    pub latency: Micros,
    /// How many models it has.
    pub models: Option<u64>,
    /// What came of it, in plain words.
    pub text: String,
}

/// Calls, newest first.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelCalls {
    /// The calls.
    pub calls: Vec<ModelCall>,
}

/// A call as the ledger has it. Its text is nowhere.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelCall {
    /// Its number: when it began, in microseconds since 1970.
    pub id: u64,
    /// `open`, `settled`, or `interrupted` if the program ended before it did.
    pub state: String,
    /// The name of its key; empty for none, `#7` for one that is gone.
    pub key: String,
    /// From which gateway.
    pub gateway: String,
    /// For which user.
    pub user: String,
    /// From which node.
    pub node: String,
    /// What was wanted: `chat`, `embeddings`.
    pub operation: String,
    /// The model that was asked for.
    pub asked: String,
    /// The rule that chose who was asked; empty for none.
    pub rule: String,
    /// Who was asked, each with what came of it: `one/model:500,two/model:ok`.
    pub tried: String,
    /// How often a provider was asked.
    pub attempts: u32,
    /// The provider that answered; empty for none.
    pub provider: String,
    /// Its own name for the model.
    pub model: String,
    /// `ok`, or a word for what went wrong; empty while it is open.
    pub outcome: String,
    /// The status that the client got; 0 for none.
    pub status: u16,
    /// Are the tokens an estimate?
    pub estimated: bool,
    /// What it used.
    pub tokens: CallTokens,
    /// What was held for it.
    pub reserved: String,
    /// What it costs by our prices; `None` if one of them is not known.
    pub cost: Option<String>,
    /// What the provider says it costs.
    pub billed: Option<String>,
    /// What counts.
    pub charged: String,
    /// What an answer that was kept has saved; `None` if a provider was asked.
    pub saved: Option<String>,
    /// The call to which that was the answer.
    pub kept_from: Option<u64>,
    /// How old it was.
    pub kept_age: Option<Millis>,
    /// The version of our prices.
    pub price: String,
    /// Until the first part of the answer.
    pub first: Option<Micros>,
    /// What providers took.
    pub upstream: Micros,
    /// In all.
    pub total: Micros,
}

/// What a call used. No token is in two of these numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CallTokens {
    /// Tokens that went in, but for those below.
    pub input: u64,
    /// Read from the provider's cache.
    pub cache_read: u64,
    /// Written to it for five minutes.
    pub cache_write_5m: u64,
    /// Written to it for an hour.
    pub cache_write_1h: u64,
    /// Sound that went in.
    pub audio_input: u64,
    /// Tokens that came out, but for those below.
    pub output: u64,
    /// Thinking.
    pub reasoning: u64,
    /// Sound that came out.
    pub audio_output: u64,
    /// Searches of the web.
    pub web_searches: u64,
    /// Pictures.
    pub images: u64,
}

impl CallTokens {
    /// Each bucket with its name, in the order of the way.
    #[must_use]
    pub fn named(&self) -> [(&'static str, u64); 10] {
        [
            ("input", self.input),
            ("cache read", self.cache_read),
            ("cache write 5m", self.cache_write_5m),
            ("cache write 1h", self.cache_write_1h),
            ("audio in", self.audio_input),
            ("output", self.output),
            ("reasoning", self.reasoning),
            ("audio out", self.audio_output),
            ("web searches", self.web_searches),
            ("images", self.images),
        ]
    }

    /// All tokens that went in.
    #[must_use]
    pub fn total_input(&self) -> u64 {
        self.named()[..5]
            .iter()
            .fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// All tokens that came out.
    #[must_use]
    pub fn total_output(&self) -> u64 {
        self.named()[5..8]
            .iter()
            .fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }
}
