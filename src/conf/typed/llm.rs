//! The gateway to language models: who can be asked, and under which names.

use std::sync::Arc;
use std::time::Duration;

use super::llm_money::Rules;
use super::proxy::Proxy;
use super::secret::SecretSource;
use crate::conf::source::Span;
use crate::conf::template::Template;

/// What `api` takes: the APIs, then providers that speak OpenAI's at an address of their own.
pub const APIS: &[&str] = &[
    "openai",
    "anthropic",
    "gemini",
    "ollama",
    "azure",
    "openclaw",
    "cerebras",
    "deepseek",
    "fireworks",
    "groq",
    "llamacpp",
    "lmstudio",
    "mistral",
    "oneapi",
    "openrouter",
    "together",
    "vllm",
    "xai",
    "xroute",
];

/// Which API a provider speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Api {
    /// OpenAI's, and that of all who speak like it.
    OpenAi,
    /// Anthropic's messages.
    Anthropic,
    /// Gemini's `generateContent`.
    Gemini,
    /// Ollama's own.
    Ollama,
}

impl Api {
    /// The API of a word of [`APIS`], and the address where it usually is; empty if it has none.
    pub fn of_word(word: &str) -> (Self, &'static str) {
        match word {
            "azure" | "openclaw" => (Self::OpenAi, ""),
            "llamacpp" => (Self::OpenAi, "http://127.0.0.1:8080/v1"),
            "lmstudio" => (Self::OpenAi, "http://127.0.0.1:1234/v1"),
            "oneapi" => (Self::OpenAi, "http://127.0.0.1:3000/v1"),
            "vllm" => (Self::OpenAi, "http://127.0.0.1:8000/v1"),
            "anthropic" => (Self::Anthropic, "https://api.anthropic.com"),
            "gemini" => (Self::Gemini, "https://generativelanguage.googleapis.com"),
            "ollama" => (Self::Ollama, "http://127.0.0.1:11434"),
            "cerebras" => (Self::OpenAi, "https://api.cerebras.ai/v1"),
            "deepseek" => (Self::OpenAi, "https://api.deepseek.com/v1"),
            "fireworks" => (Self::OpenAi, "https://api.fireworks.ai/inference/v1"),
            "groq" => (Self::OpenAi, "https://api.groq.com/openai/v1"),
            "mistral" => (Self::OpenAi, "https://api.mistral.ai/v1"),
            "openrouter" => (Self::OpenAi, "https://openrouter.ai/api/v1"),
            "together" => (Self::OpenAi, "https://api.together.xyz/v1"),
            "xai" => (Self::OpenAi, "https://api.x.ai/v1"),
            "xroute" => (Self::OpenAi, "https://api.xroute.ai/openai/v1"),
            _ => (Self::OpenAi, "https://api.openai.com/v1"),
        }
    }
}

/// Those of [`APIS`] that speak OpenAI's older API alone: clients of `/v1/responses` are served in its
/// words.
pub const WITHOUT_RESPONSES: &[&str] = &[
    "cerebras", "deepseek", "mistral", "oneapi", "together", "xroute",
];

/// What a provider of OpenAI's API does in a way of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Dialect {
    /// Nothing.
    Plain,
    /// Azure: its key stands in `api-key`, and deployments stand for models.
    Azure {
        /// `api_version`: without it, the API that has none.
        version: Option<Box<str>>,
        /// `deployment`: the one that answers, whatever the model is called.
        deployment: Option<Box<str>>,
    },
    /// Another gateway of this kind: it takes every format as it comes.
    Gateway,
}

/// What `http {}` says of language models.
#[derive(Debug, Default)]
pub struct Llm {
    /// Every `llm_provider`, in order.
    pub providers: Vec<Arc<Provider>>,
    /// Every `llm_model`, in order.
    pub models: Vec<Model>,
    /// What calls may cost, and how many there may be.
    pub rules: Rules,
    /// `llm_cache_size`: how much memory kept answers may take, bytes.
    pub cache_size: usize,
    /// `llm_body_memory`: how much memory the bodies of calls may take together, bytes.
    pub body_memory: u64,
}

/// One `llm_provider {}`.
#[derive(Debug)]
pub struct Provider {
    /// What targets call it.
    pub name: Box<str>,
    /// What it is in tables of prices: the word of `api`.
    pub kind: &'static str,
    /// The API that it speaks.
    pub api: Api,
    /// What it does in its own way.
    pub dialect: Dialect,
    /// Does it have `/v1/responses`?
    pub has_responses: bool,
    /// How it is reached until its answer begins.
    pub asking: Arc<Proxy>,
    /// How its answer is read from then on.
    pub reading: Arc<Proxy>,
    /// `base_url`, as written or as it usually is.
    pub base_url: Box<str>,
    /// The path of `base_url`, without a slash at its end; may be empty.
    pub base_path: Box<[u8]>,
    /// `api_key`; several share the calls.
    pub keys: Vec<SecretSource>,
    /// `max_connections`: calls under way at once.
    pub max_connections: MostCalls,
    /// `queue`: calls that wait while there are as many.
    pub queue: Option<Queue>,
    /// `region`: where it computes.
    pub region: Option<Box<str>>,
    /// `retries`: how often a call that failed is made once more.
    pub retries: u32,
    /// `total_timeout`: until the last byte of its answer; zero for no limit.
    pub total_timeout: Duration,
    /// `client_gone drain`: its answer is read to the end for the ledger when the client has left.
    pub drains: bool,
    /// `header`
    pub fields: Vec<Field>,
    /// `passthrough`: paths of its account beside those of models are open to clients.
    pub passthrough: bool,
    /// Its name in the configuration.
    pub span: Span,
}

/// `max_connections`: how many calls a provider gets at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MostCalls {
    /// So many; 0 for any number.
    Fixed(u32),
    /// `auto`: as many as it answers well.
    Adaptive(Bounds),
}

/// Between which a number that adapts is, both included. The least is never 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// `min=`
    pub min: u32,
    /// `max=`
    pub max: u32,
}

impl Bounds {
    /// Where nothing else is said.
    pub const USUAL: Self = Self { min: 4, max: 1000 };
}

/// One `queue`: calls that wait for a provider.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Queue {
    /// So many may wait,
    pub room: usize,
    /// with so many bytes all together,
    pub bytes: u64,
    /// and for so long.
    pub timeout: Duration,
}

/// One `header`: a field that a provider gets with each call.
#[derive(Debug)]
pub struct Field {
    /// As written.
    pub name: Box<[u8]>,
    /// Its value.
    pub value: Box<[u8]>,
}

/// One `llm_model {}`.
#[derive(Debug)]
pub struct Model {
    /// What clients ask for.
    pub name: Box<str>,
    /// What answers for it, in order.
    pub targets: Vec<Target>,
    /// `strategy`: which of them is asked first.
    pub strategy: Strategy,
    /// Its name in the configuration.
    pub span: Span,
}

/// One `target`.
#[derive(Debug)]
pub struct Target {
    /// Position in [`Llm::providers`].
    pub provider: usize,
    /// What the provider calls the model.
    pub model: Box<str>,
    /// Its share of the calls among those that are no backups.
    pub weight: u32,
    /// Asked when the others cannot answer.
    pub is_backup: bool,
    /// `on=`: asked after another one failed for one of these causes.
    pub on: Causes,
    /// `max_context=`: the most tokens of a call that goes there.
    pub max_context: Option<u64>,
    /// `if=`: asked only if this is neither empty nor `0`.
    pub condition: Option<Template>,
    /// `region=`: where this model computes, if not where its provider does.
    pub region: Option<Box<str>>,
}

/// `strategy`: which target is asked first among those that are no backups.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Strategy {
    /// The first one that can answer.
    Ordered,
    /// Each gets its share.
    #[default]
    Weighted,
    /// The one with the fewest calls under way.
    LeastBusy,
    /// The faster of two that are drawn, by how soon its answers begin.
    Fastest,
    /// Always the same one for calls that have this in common.
    Affinity(Common),
}

/// What calls have in common that go to the same target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Common {
    /// How the conversation begins: a provider's cache of prompts is used again.
    Conversation,
    /// The client's key.
    Key,
    /// For whom the client says it asks.
    User,
}

/// Why a target did not answer; a set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Causes(u8);

impl Causes {
    /// `429`: a limit of the provider's.
    pub const LIMIT: Self = Self(1);
    /// `5xx`: it failed, could not be reached, refused our key, has no such model, or answered with
    /// nothing.
    pub const SERVER: Self = Self(1 << 1);
    /// `timeout`
    pub const TIMEOUT: Self = Self(1 << 2);
    /// `budget`: the caller's money does not suffice.
    pub const BUDGET: Self = Self(1 << 3);
    /// `circuit`: it is left alone because it failed before, or has as many calls as it may.
    pub const CIRCUIT: Self = Self(1 << 4);
    /// `context`: the conversation is longer than its model reads.
    pub const CONTEXT: Self = Self(1 << 5);
    /// All that a target is asked for where nothing is written: a budget is not one of them.
    pub const USUAL: Self =
        Self(Self::LIMIT.0 | Self::SERVER.0 | Self::TIMEOUT.0 | Self::CIRCUIT.0 | Self::CONTEXT.0);

    /// The words of `on=`.
    pub const WORDS: [(&'static str, Self); 6] = [
        ("429", Self::LIMIT),
        ("5xx", Self::SERVER),
        ("timeout", Self::TIMEOUT),
        ("budget", Self::BUDGET),
        ("circuit", Self::CIRCUIT),
        ("context", Self::CONTEXT),
    ];

    /// None.
    pub const NONE: Self = Self(0);

    /// Both.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Is any of these among them?
    #[must_use]
    pub const fn contains(self, any: Self) -> bool {
        self.0 & any.0 != 0
    }
}

/// `llm_cache`: answers are kept, and given to who makes the same call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cache {
    /// Who gets them.
    pub scope: CacheScope,
    /// `max_age=`: how old an answer may be that is given.
    pub max_age: Duration,
    /// `wait=`: how long a call waits for the same one that is under way.
    pub wait: Duration,
}

/// Who shares answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CacheScope {
    /// Each key has its own.
    Key,
    /// The keys of a group; one that has none has its own.
    Group,
    /// Everybody.
    Global,
}

/// One `llm_route`.
#[derive(Debug)]
pub struct Route {
    /// The model that answers in the place of the one that was asked for, unless this is empty.
    pub model: Template,
    /// `if=`: only if this is neither empty nor `0`.
    pub condition: Option<Template>,
    /// `always`: it is asked at each turn, whatever was chosen for the conversation before.
    pub is_for_each_turn: bool,
}

/// `llm_sticky`: conversations keep the model that was chosen for them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stickiness {
    /// So long after the last turn.
    pub lifetime: Duration,
    /// A hash of the rules, which are other ones if it is another one.
    pub rules: u64,
}

/// One `llm_downgrade`.
#[derive(Debug)]
pub struct Downgrade {
    /// Once so much of a budget is used, in percent,
    pub percent: u64,
    /// this model answers.
    pub model: Box<str>,
}

/// `llm_tag`: where it is read who calls, beside the key.
#[derive(Debug, Default)]
pub struct Tags {
    /// `gateway`; the field `X-Gateway-Id` otherwise.
    pub gateway: Option<Template>,
    /// `user`; the field `X-User`, or else what the call itself names.
    pub user: Option<Template>,
    /// `node`; the field `X-Node-Id` otherwise.
    pub node: Option<Template>,
}

/// What a place says of who answers, and who asks.
#[derive(Debug, Default)]
pub struct Choosing {
    /// `llm_tag`
    pub tags: Tags,
    /// `llm_route`, in order.
    pub routes: Vec<Route>,
    /// `llm_sticky`
    pub sticky: Option<Stickiness>,
    /// `llm_region`: the regions that calls stay in, with commas; all if it is empty.
    pub region: Option<Template>,
    /// `llm_downgrade`, the highest share first.
    pub downgrades: Vec<Downgrade>,
}

/// What pages in browsers may read of the gateway's answers where `cors` does not say.
pub const EXPOSED: &str = "x-request-id, request-id, retry-after, x-should-retry, \
    x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, \
    x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens, \
    x-openclaw-model, x-openclaw-attempts, x-openclaw-cost, x-openclaw-cache, x-openclaw-saved, \
    x-openclaw-overhead-us, x-openclaw-queue-ms, x-openclaw-route, x-openclaw-dropped, age";

/// How large a call may be where `client_max_body_size` is not written: images travel in it.
pub const USUAL_BODY: u64 = 32 << 20;

/// How large a call may be at all, bytes.
pub const MOST_BODY: usize = 256 << 20;
