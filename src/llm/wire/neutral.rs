//! A call in no format's words: what every format is read into and written from.
//!
//! Text stays as JSON wrote it ([`Text`]) and what is opaque stays as it came: the arguments of a tool,
//! its schema, a signature, the bytes of a picture. Nothing of it is printed again.

use std::borrow::Cow;
use std::fmt;

use sha2::{Digest, Sha256};

use super::front::{Format, Operation};
use super::json::{Duplicates, Index, Kind, Text, Writer};
use super::watch::Seen;
use crate::llm::usage::Usage;

/// Why an answer ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finish {
    /// It was complete.
    Stop,
    /// It came to a word at which it should stop.
    StopSequence(Option<Text<'static>>),
    /// It reached the limit of its length, or of the context.
    Length,
    /// It calls tools and waits for their results.
    ToolCalls,
    /// It was held back, or the request was refused.
    ContentFilter,
    /// The model made something that is no answer: a call that cannot be read, and the like.
    Malformed(String),
    /// A word that we do not know. It is shown to clients as [`Finish::Stop`].
    Unknown(String),
}

/// The longest word of a provider that is kept.
const MAX_WORD: usize = 64;

impl Finish {
    /// What a provider's word means. The words of the formats do not collide.
    #[must_use]
    pub fn of(word: &str) -> Self {
        match word {
            "stop" | "end_turn" | "STOP" | "completed" | "eos" | "eos_token" => Self::Stop,
            "stop_sequence" => Self::StopSequence(None),
            "length"
            | "max_tokens"
            | "model_context_window_exceeded"
            | "pause_turn"
            | "MAX_TOKENS"
            | "CONTINUATION"
            | "max_output_tokens"
            | "model_length" => Self::Length,
            "tool_calls" | "function_call" | "tool_use" => Self::ToolCalls,
            "content_filter" | "refusal" | "SAFETY" | "RECITATION" | "BLOCKLIST"
            | "PROHIBITED_CONTENT" | "SPII" | "LANGUAGE" | "MODEL_ARMOR" => Self::ContentFilter,
            "MALFORMED_FUNCTION_CALL"
            | "UNEXPECTED_TOOL_CALL"
            | "MISSING_THOUGHT_SIGNATURE"
            | "TOO_MANY_TOOL_CALLS"
            | "MALFORMED_RESPONSE"
            | "OTHER"
            | "load"
            | "unload"
            | "error" => Self::Malformed(word.to_owned()),
            _ if word.starts_with("IMAGE_") => Self::ContentFilter,
            _ => {
                let mut word = word.to_owned();
                let end = (0..=MAX_WORD.min(word.len()))
                    .rev()
                    .find(|end| word.is_char_boundary(*end));
                word.truncate(end.unwrap_or(0));
                Self::Unknown(word)
            }
        }
    }
}

/// A request for an answer to a conversation.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Request<'a> {
    /// What the client's format calls the conversation: `messages`, `contents`, `input`.
    pub list: &'static str,
    /// What the model is told before the conversation.
    pub system: Vec<Block<'a>>,
    /// The conversation.
    pub turns: Vec<Turn<'a>>,
    /// The tools that it may call.
    pub tools: Vec<Tool<'a>>,
    /// Which of them it should call.
    pub choice: Option<Choice<'a>>,
    /// Whether it may call several at once.
    pub parallel: Option<bool>,
    /// The most tokens of the answer.
    pub max_output: Option<u64>,
    /// How it is drawn: numbers as they were written.
    pub sampling: Sampling<'a>,
    /// Words at which it stops.
    pub stop: Vec<Text<'a>>,
    /// How many answers are wanted, if not one.
    pub answers: Option<u64>,
    /// For whom it is asked.
    pub user: Option<Text<'a>>,
    /// The form of the answer.
    pub output: Output<'a>,
    /// How much to think.
    pub thinking: Option<Thinking>,
    /// The service tier, in the words of the client's format.
    pub tier: Option<Text<'a>>,
    /// Whether it is to come as a stream.
    pub stream: bool,
    /// Whether tools were declared in OpenAI's older way, and are to be called in it.
    pub legacy: bool,
    /// Members that the format does not know or that have no meaning elsewhere.
    pub dropped: Vec<String>,
}

impl<'a> Request<'a> {
    /// Adds a turn to the conversation.
    pub fn say(&mut self, role: Role, at: usize, blocks: Vec<Block<'a>>) {
        self.turns.push(Turn { role, at, blocks });
    }

    /// For a format in which a request has one answer.
    ///
    /// # Errors
    /// More than one is wanted.
    pub fn one_answer(&self) -> Result<(), Unsupported> {
        match self.answers {
            None => Ok(()),
            Some(_) => Err(Unsupported::new(
                "n",
                "this model's provider gives one answer to a request",
            )),
        }
    }

    /// Puts the results of calls into one turn right after them, in their order, and says of each that
    /// is missing that there is none: most providers refuse a call without its result.
    pub fn pair_results(&mut self) {
        let mut position = 0;
        while position < self.turns.len() {
            let calls: Vec<Text<'_>> = self.turns[position]
                .blocks
                .iter()
                .filter_map(|block| match block {
                    Block::Call { id, .. } => Some(id.clone()),
                    _ => None,
                })
                .collect();
            position += 1;
            if calls.is_empty() || position == self.turns.len() {
                continue;
            }
            let end = self.turns[position..]
                .iter()
                .position(|turn| turn.role == Role::Assistant)
                .map_or(self.turns.len(), |length| position + length);
            let mut results = Vec::with_capacity(calls.len());
            let mut at = None;
            for call in calls {
                let mut found = None;
                for turn in &mut self.turns[position..end] {
                    let place = turn
                        .blocks
                        .iter()
                        .position(|block| matches!(block, Block::Result { id, .. } if *id == call));
                    if let Some(place) = place {
                        at.get_or_insert(turn.at);
                        found = Some(turn.blocks.remove(place));
                        break;
                    }
                }
                results.push(found.unwrap_or_else(|| {
                    self.dropped.push("lost tool result".to_owned());
                    Block::Result {
                        id: call,
                        name: None,
                        content: vec![Block::text(Text::of("no result"))],
                        failed: true,
                        cache: None,
                    }
                }));
            }
            let at = at.unwrap_or(self.turns[position - 1].at);
            let turn = Turn {
                role: Role::User,
                at,
                blocks: results,
            };
            self.turns.insert(position, turn);
            let emptied = position + 1..end + 1;
            for place in emptied.rev() {
                if self.turns[place].blocks.is_empty() && self.turns[place].role == Role::User {
                    self.turns.remove(place);
                }
            }
            position += 1;
        }
    }

    /// What cannot be said elsewhere, with the place where the client said it.
    #[must_use]
    pub fn unsupported(&self, turn: &Turn<'_>, position: usize, message: &str) -> Unsupported {
        let (list, at) = (self.list, turn.at);
        let parts = if list == "contents" {
            "parts"
        } else {
            "content"
        };
        Unsupported::new(format!("{list}[{at}].{parts}[{position}]"), message)
    }
}

/// Numbers that change how an answer is drawn, as they were written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sampling<'a> {
    /// From 0 to 2; Anthropic's ends at 1.
    pub temperature: Option<&'a str>,
    /// From 0 to 1.
    pub top_p: Option<&'a str>,
    /// A whole number.
    pub top_k: Option<&'a str>,
    /// A whole number.
    pub seed: Option<&'a str>,
    /// From -2 to 2.
    pub presence_penalty: Option<&'a str>,
    /// From -2 to 2.
    pub frequency_penalty: Option<&'a str>,
}

/// One turn of a conversation.
#[derive(Clone, PartialEq, Debug)]
pub struct Turn<'a> {
    /// Whose it is.
    pub role: Role,
    /// Its place in the client's conversation.
    pub at: usize,
    /// What it says.
    pub blocks: Vec<Block<'a>>,
}

/// Whose turn it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Instructions in the middle of a conversation.
    System,
    /// The user's, with the results of tools.
    User,
    /// The model's.
    Assistant,
}

/// A piece of what is said.
#[derive(Clone, PartialEq, Debug)]
pub enum Block<'a> {
    /// Text. `cache` is Anthropic's hint that what comes before is worth keeping.
    Text {
        /// What it says.
        text: Text<'a>,
        /// The hint as JSON.
        cache: Option<Cow<'a, str>>,
    },
    /// A picture.
    Image {
        /// Where its bytes are.
        source: Source<'a>,
        /// How closely to look (OpenAI).
        detail: Option<Text<'a>>,
        /// The hint as JSON.
        cache: Option<Cow<'a, str>>,
    },
    /// A document.
    Document {
        /// Where its bytes are.
        source: Source<'a>,
        /// Its name.
        name: Option<Text<'a>>,
        /// The hint as JSON.
        cache: Option<Cow<'a, str>>,
    },
    /// Audio or video in base64 with its media type (`audio/wav`).
    Audio {
        /// Its type.
        media: Text<'a>,
        /// Its bytes.
        data: Text<'a>,
    },
    /// The model calls a tool.
    Call {
        /// What its result refers to. Empty where the format has none.
        id: Text<'a>,
        /// The tool.
        name: Text<'a>,
        /// What for.
        arguments: Arguments<'a>,
        /// Gemini's signature of the thought that led to it.
        signature: Option<Text<'a>>,
    },
    /// What a tool gave.
    Result {
        /// The call. Empty where the format has none.
        id: Text<'a>,
        /// The tool, where the format names it.
        name: Option<Text<'a>>,
        /// What it gave.
        content: Vec<Block<'a>>,
        /// Whether it failed.
        failed: bool,
        /// The hint as JSON.
        cache: Option<Cow<'a, str>>,
    },
    /// What the model thought.
    Thinking {
        /// What it says; may be empty where only the signature counts.
        text: Text<'a>,
        /// Whoever made it proves with this that nothing was changed.
        signature: Option<Text<'a>>,
    },
    /// What the model thought, for its maker's eyes only.
    Redacted(Text<'a>),
    /// Why the model does not answer.
    Refusal(Text<'a>),
}

impl<'a> Block<'a> {
    /// Text without a hint.
    #[must_use]
    pub const fn text(text: Text<'a>) -> Self {
        Self::Text { text, cache: None }
    }

    /// Thinking that nobody signed.
    #[must_use]
    pub const fn thought(text: Text<'a>) -> Self {
        Self::Thinking {
            text,
            signature: None,
        }
    }

    /// Whether it is a call of a tool.
    #[must_use]
    pub const fn is_call(&self) -> bool {
        matches!(self, Self::Call { .. })
    }
}

/// Where the bytes of a picture or a document are.
#[derive(Clone, PartialEq, Debug)]
pub enum Source<'a> {
    /// Here, in base64.
    Data {
        /// Their type, `image/png`.
        media: Text<'a>,
        /// Themselves.
        data: Text<'a>,
    },
    /// On the web.
    Link(Text<'a>),
    /// With the provider, under an id.
    File(Text<'a>),
    /// Here, as text.
    Text(Text<'a>),
}

/// The arguments of a call, as they came.
#[derive(Clone, PartialEq, Debug)]
pub enum Arguments<'a> {
    /// JSON within a string, perhaps broken: models write it.
    String(Text<'a>),
    /// An object.
    Object(Cow<'a, str>),
}

impl Arguments<'_> {
    /// As a string that holds JSON.
    #[must_use]
    pub fn string(&self) -> Text<'_> {
        match self {
            Self::String(text) if text.is_empty() => Text::of("{}"),
            Self::String(text) => text.borrowed(),
            Self::Object(json) => Text::of(json),
        }
    }

    /// As an object. What is none goes under the key `_raw`, for the sake of which it is not lost.
    #[must_use]
    pub fn object(&self) -> Cow<'_, str> {
        match self {
            Self::Object(json) => Cow::Borrowed(json),
            Self::String(text) => object_of(text),
        }
    }
}

/// The object that a string holds.
#[must_use]
pub fn object_of(text: &Text<'_>) -> Cow<'static, str> {
    let decoded = text.decoded();
    let trimmed = decoded.trim();
    if trimmed.is_empty() || trimmed == "null" {
        return Cow::Borrowed("{}");
    }
    let mut index = Index::new();
    let object = index
        .read(trimmed.as_bytes(), Duplicates::LastCounts)
        .is_ok_and(|root| root.kind() == Kind::Object);
    Cow::Owned(if object {
        trimmed.to_owned()
    } else {
        let mut out = Writer::new();
        out.open().key("_raw").text(text).close();
        out.finish()
    })
}

/// A tool.
#[derive(Clone, PartialEq, Debug)]
pub struct Tool<'a> {
    /// Its name.
    pub name: Text<'a>,
    /// What it does.
    pub description: Option<Text<'a>>,
    /// The schema of its arguments, as JSON.
    pub schema: Option<Cow<'a, str>>,
    /// Whether the arguments must follow the schema to the letter.
    pub strict: Option<bool>,
    /// The hint as JSON.
    pub cache: Option<Cow<'a, str>>,
}

impl Tool<'_> {
    /// Writes what the formats say alike of it, the schema under the name that one of them has for it.
    pub fn write(&self, format: Format, key: &str, schema: Option<&str>, out: &mut Writer) {
        out.key("name").text(&tool_name(&self.name, format));
        if let Some(description) = &self.description {
            out.key("description").text(description);
        }
        if let Some(schema) = schema {
            out.key(key).raw(schema);
        }
    }
}

/// Which tool to call.
#[derive(Clone, PartialEq, Debug)]
pub enum Choice<'a> {
    /// None.
    None,
    /// As the model sees fit.
    Auto,
    /// At least one.
    Any,
    /// This one.
    Tool(Text<'a>),
}

/// The form of an answer.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum Output<'a> {
    /// Free text.
    #[default]
    Free,
    /// Any JSON object.
    Json,
    /// JSON of a schema.
    Schema {
        /// Its name, where the format has one.
        name: Option<Text<'a>>,
        /// The schema, as JSON.
        schema: Cow<'a, str>,
        /// Whether to follow it to the letter.
        strict: Option<bool>,
    },
}

/// How much to think.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Thinking {
    /// Not at all.
    Off,
    /// As much as the model sees fit.
    Adaptive,
    /// About so much.
    Effort(Effort),
    /// At most so many tokens.
    Budget(u64),
}

/// How much thinking, in the words of the formats.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Effort {
    /// Hardly any.
    Minimal,
    /// A little.
    Low,
    /// Some.
    Medium,
    /// Much.
    High,
    /// Very much.
    Extra,
    /// All there is.
    Max,
}

impl Effort {
    /// What a word means.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Some(match word {
            "minimal" => Self::Minimal,
            "low" => Self::Low,
            "medium" => Self::Medium,
            "high" => Self::High,
            "xhigh" => Self::Extra,
            "max" => Self::Max,
            _ => return None,
        })
    }

    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Extra => "xhigh",
            Self::Max => "max",
        }
    }

    /// How many tokens it stands for, where only numbers are understood.
    #[must_use]
    pub const fn budget(self) -> u64 {
        match self {
            Self::Minimal => 128,
            Self::Low => 1_024,
            Self::Medium => 2_048,
            Self::High => 4_096,
            Self::Extra => 8_192,
            Self::Max => 16_384,
        }
    }

    /// The word for so many tokens, where only words are understood.
    #[must_use]
    pub const fn of_budget(tokens: u64) -> Self {
        match tokens {
            0..=512 => Self::Minimal,
            513..=1_024 => Self::Low,
            1_025..=2_048 => Self::Medium,
            2_049..=4_096 => Self::High,
            4_097..=8_192 => Self::Extra,
            _ => Self::Max,
        }
    }
}

impl Thinking {
    /// As a word; nothing for no thinking and for what the model sees fit.
    #[must_use]
    pub const fn effort(self) -> Option<Effort> {
        match self {
            Self::Off | Self::Adaptive => None,
            Self::Effort(effort) => Some(effort),
            Self::Budget(tokens) => Some(Effort::of_budget(tokens)),
        }
    }
}

/// An answer.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Answer<'a> {
    /// The provider's id of it.
    pub id: Option<Text<'a>>,
    /// What it says.
    pub blocks: Vec<Block<'a>>,
    /// Why it ended.
    pub finish: Option<Finish>,
}

impl Answer<'_> {
    /// Why it ended, in the light of what is in it: whoever calls tools ends for that.
    #[must_use]
    pub fn reason(&self) -> Finish {
        reason(self.finish.clone(), self.blocks.iter().any(Block::is_call))
    }
}

/// Why something ended that called tools or did not.
#[must_use]
pub fn reason(finish: Option<Finish>, calls: bool) -> Finish {
    match finish {
        None | Some(Finish::Stop | Finish::Unknown(_)) if calls => Finish::ToolCalls,
        // Without a call there is nothing to wait for.
        Some(Finish::ToolCalls) if !calls => Finish::Stop,
        Some(finish) => finish,
        None => Finish::Stop,
    }
}

/// A piece of a stream.
#[derive(Clone, PartialEq, Debug)]
pub enum Event<'a> {
    /// It begins.
    Start {
        /// The provider's id of the answer.
        id: Option<Text<'a>>,
    },
    /// More text.
    Text(Text<'a>),
    /// More thinking.
    Thinking(Text<'a>),
    /// The signature of what was thought since the last one.
    Signature(Text<'a>),
    /// Thinking for its maker's eyes only.
    Redacted(Text<'a>),
    /// More of why the model does not answer.
    Refusal(Text<'a>),
    /// A call begins. `call` counts calls of this answer.
    Call {
        /// Which call.
        call: usize,
        /// Its id; empty where the format has none.
        id: Text<'a>,
        /// The tool.
        name: Text<'a>,
        /// Gemini's signature of the thought that led to it.
        signature: Option<Text<'a>>,
    },
    /// More of the arguments of a call: a part of a text that is JSON when it is whole.
    Arguments {
        /// Which call.
        call: usize,
        /// The part.
        part: Text<'a>,
    },
    /// Nothing, to keep the line open.
    Ping,
}

/// A request has something that cannot be said in another format without changing what it means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unsupported {
    /// Where it stands, `messages[2].content[0]`.
    pub path: String,
    /// What is the matter.
    pub message: String,
}

impl Unsupported {
    /// Something at a place.
    #[must_use]
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}`: {}", self.path, self.message)
    }
}

impl std::error::Error for Unsupported {}

/// What is known of the model and the provider that a request is written for.
#[derive(Clone, Debug)]
pub struct Target<'a> {
    /// The provider's name for the model.
    pub model: &'a str,
    /// The limit of an answer where the format needs one and the client named none.
    pub max_output: u64,
    /// Whether it decides by itself how much to think (Anthropic's `adaptive`).
    pub adaptive: bool,
    /// Whether it takes a budget for thinking.
    pub budget: bool,
    /// Whether it takes temperature, `top_p` and `top_k`.
    pub sampling: bool,
    /// Whether it goes on with a text that is put into its mouth.
    pub prefill: bool,
    /// Whether it takes the schema of an answer.
    pub schema: bool,
    /// Whether it is asked for `max_tokens` and not for `max_completion_tokens` (OpenAI's kind).
    pub old_max_tokens: bool,
    /// Whether it takes our extensions of OpenAI's format (`thinking_blocks`): another gateway.
    pub extensions: bool,
}

impl<'a> Target<'a> {
    /// A model of which nothing is known but its name: what most of them take.
    #[must_use]
    pub const fn new(model: &'a str) -> Self {
        Self {
            model,
            max_output: 8_192,
            adaptive: false,
            budget: true,
            sampling: true,
            prefill: true,
            schema: true,
            old_max_tokens: false,
            extensions: false,
        }
    }
}

/// A request in a provider's format.
#[derive(Clone, PartialEq, Debug)]
pub struct Written {
    /// Its body.
    pub body: String,
    /// Members of the client's request that had no place in it.
    pub dropped: Vec<String>,
    /// The value of `anthropic-version` that it needs.
    pub version: Option<&'static str>,
}

/// How an answer is shown to a client.
#[derive(Clone, Debug)]
pub struct Client {
    /// What it asked for: a chat, or the older completion of a text (Ollama).
    pub operation: Operation,
    /// The id of the call, of letters and digits: ids that a provider did not give are made from it.
    pub id: String,
    /// The name under which the client knows the model.
    pub model: String,
    /// When the call came, in seconds since 1970.
    pub created: u64,
    /// Whether it declared tools in OpenAI's older way.
    pub legacy: bool,
    /// Whether it asked for the usage of a stream (OpenAI).
    pub include_usage: bool,
    /// Whether a stream is one JSON array (Gemini without `alt=sse`).
    pub array: bool,
    /// About how many tokens went in, until the provider tells.
    pub input_tokens: u64,
    /// The names of tools that the provider knows by others.
    pub names: Names,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            operation: Operation::Chat,
            id: String::new(),
            model: String::new(),
            created: 0,
            legacy: false,
            include_usage: false,
            array: false,
            input_tokens: 0,
            names: Names::default(),
        }
    }
}

impl Client {
    /// The usage that a client is told: what the provider told, and where it told nothing, an estimate.
    #[must_use]
    pub fn usage(&self, seen: &Seen) -> Usage {
        let mut usage = seen.reported.usage();
        if !seen.reported.has_input() {
            usage.input = self.input_tokens;
        }
        if !seen.reported.has_output() {
            (usage.output, usage.reasoning) = seen.estimated_output();
        }
        usage
    }

    /// The id of a call of a tool in a stream: the provider's, or ours if it gave none.
    #[must_use]
    pub fn id_of(&self, call: usize, id: &Text<'_>) -> String {
        match id.is_empty() {
            true => self.call_id(call),
            false => id.as_written().to_owned(),
        }
    }

    /// The id of a call of a tool to which the provider gave none: the same for the same call.
    #[must_use]
    pub fn call_id(&self, call: usize) -> String {
        const LETTERS: &[u8; 62] =
            b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let digest = Sha256::digest(format!("{}/{call}", self.id));
        let letters = digest
            .iter()
            .take(24)
            .map(|byte| char::from(LETTERS[usize::from(*byte) % 62]));
        std::iter::once("call_".to_owned())
            .chain(letters.map(String::from))
            .collect()
    }
}

/// The names of those of some members that are there: what a format has no place for.
pub fn lost<const N: usize>(members: [(&str, bool); N]) -> impl Iterator<Item = String> {
    members
        .into_iter()
        .filter(|(_, there)| *there)
        .map(|(name, _)| name.to_owned())
}

/// Instructions in the middle of a conversation, for a format that takes them from the user alone.
#[must_use]
pub fn as_system(text: &Text<'_>) -> Text<'static> {
    let mut marked = Text::of("<system>").into_owned();
    marked.push(text);
    marked.push(&Text::of("</system>"));
    marked
}

/// What a tool gave, as one text that says if it failed.
#[must_use]
pub fn result_text(content: &[Block<'_>], failed: bool) -> Text<'static> {
    let mut text = Text::of(if failed { FAILED } else { "" }).into_owned();
    if let Some(said) = joined(content, "\n") {
        text.push(&said);
    }
    text
}

/// What stands before the result of a tool that failed, where the format has no word for it.
pub const FAILED: &str = "Error: ";

/// The calls of a conversation so far, for formats whose results name the tool and not the call.
#[derive(Debug, Default)]
pub struct Called<'r, 'a>(Vec<(&'r Text<'a>, &'r Text<'a>)>);

impl<'r, 'a> Called<'r, 'a> {
    /// Takes note of the calls of a turn.
    pub fn add(&mut self, blocks: &'r [Block<'a>]) {
        self.0.extend(blocks.iter().filter_map(|block| match block {
            Block::Call { id, name, .. } => Some((id, name)),
            _ => None,
        }));
    }

    /// The tool of the last call with this id.
    #[must_use]
    pub fn tool(&self, id: &Text<'_>) -> Option<&'r Text<'a>> {
        let found = self.0.iter().rev().find(|(known, _)| *known == id);
        found.map(|(_, name)| *name)
    }

    /// The place of the call with this id among all of them.
    #[must_use]
    pub fn place(&self, id: &Text<'_>) -> Option<usize> {
        self.0.iter().position(|(known, _)| *known == id)
    }
}

/// Tells of a call in a stream that came whole. `calls` counts those of the answer.
pub fn tell_call(block: Block<'_>, calls: &mut usize, each: &mut impl FnMut(Event<'_>)) {
    if let Block::Call {
        id,
        name,
        arguments,
        signature,
    } = block
    {
        let call = *calls;
        *calls += 1;
        each(Event::Call {
            call,
            id,
            name,
            signature,
        });
        each(Event::Arguments {
            call,
            part: arguments.string(),
        });
    }
}

/// A text that differs from `text` and is the same every time: what is allowed of it, and a digest.
#[must_use]
pub fn renamed(text: &str, allowed: impl Fn(char) -> bool, most: usize) -> Option<String> {
    let fits = !text.is_empty() && text.len() <= most && text.chars().all(&allowed);
    if fits {
        return None;
    }
    // FNV-1a: names are not secrets, and whoever makes two collide confuses only the own call.
    let digest = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let kept: String = text
        .chars()
        .map(|c| if allowed(c) && c.is_ascii() { c } else { '_' })
        .take(most.saturating_sub(13))
        .collect();
    Some(format!("{kept}_{:012x}", digest >> 16))
}

/// Whether a character may stand in the names and ids of tools everywhere.
#[must_use]
pub const fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

/// The id of a call in a request: one that every provider takes.
#[must_use]
pub fn plain_id<'a>(id: &'a Text<'a>) -> Cow<'a, str> {
    renamed(id.as_written(), is_plain, 40).map_or(Cow::Borrowed(id.as_written()), Cow::Owned)
}

/// The names of tools that had to be changed for a provider, and back.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Names {
    changed: Vec<(String, Text<'static>)>,
}

impl Names {
    /// The names in a request that a format does not take.
    #[must_use]
    pub fn of(request: &Request<'_>, format: Format) -> Self {
        let mut names = Self::default();
        for tool in &request.tools {
            let written = tool.name.decoded();
            if let Some(changed) = renamed_tool(&written, format) {
                names
                    .changed
                    .push((changed, tool.name.clone().into_owned()));
            }
        }
        names
    }

    /// The client's name for a name that a provider used.
    #[must_use]
    pub fn original<'a>(&'a self, name: &'a Text<'a>) -> Text<'a> {
        let found = self
            .changed
            .iter()
            .find(|(changed, _)| changed == name.as_written());
        found.map_or_else(|| name.borrowed(), |(_, original)| original.borrowed())
    }
}

fn renamed_tool(name: &str, format: Format) -> Option<String> {
    match format {
        Format::Gemini => {
            let allowed = |c| is_plain(c) || matches!(c, '.' | ':');
            renamed(name, allowed, 64).or_else(|| {
                let first = name.chars().next()?;
                (!first.is_ascii_alphabetic() && first != '_')
                    .then(|| format!("_{}", name.chars().take(63).collect::<String>()))
            })
        }
        Format::Anthropic => renamed(name, is_plain, 128),
        Format::OpenAi | Format::Responses => renamed(name, is_plain, 64),
        Format::Ollama => None,
    }
}

/// The name of a tool as a format takes it.
#[must_use]
pub fn tool_name<'a>(name: &'a Text<'a>, format: Format) -> Text<'a> {
    renamed_tool(&name.decoded(), format).map_or_else(|| name.borrowed(), Text::owned)
}

/// A `data:` URL in its parts: type and base64. Spaces in it are dropped and the URL-safe alphabet is
/// brought into the usual one; what is not base64 is made so.
#[must_use]
pub fn data_url(url: &str) -> Option<(String, String)> {
    let start = url.get(..5)?;
    if !start.eq_ignore_ascii_case("data:") {
        return None;
    }
    let (head, data) = url[5..].split_once(',')?;
    let mut parts = head.split(';').map(str::trim);
    let media = parts
        .next()
        .filter(|media| !media.is_empty())
        .unwrap_or("text/plain");
    let media = media.to_ascii_lowercase();
    let base64 = parts.any(|part| part.eq_ignore_ascii_case("base64"));
    if !base64 {
        let data = super::front::percent_decoded(data);
        return Some((media, data_encoding::BASE64.encode(data.as_bytes())));
    }
    let mut data: String = super::front::percent_decoded(data)
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| match c {
            '-' => '+',
            '_' => '/',
            other => other,
        })
        .collect();
    let usual = data
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='));
    if !usual {
        return None;
    }
    while !data.len().is_multiple_of(4) {
        data.push('=');
    }
    Some((media, data))
}

/// The source that a URL names: its own bytes, or a place on the web.
#[must_use]
pub fn source_of<'a>(url: Text<'a>) -> Source<'a> {
    // The usual case is long and needs no copy.
    if let Some((head, data)) = split_data(&url) {
        return Source::Data {
            media: Text::owned(head.to_owned()),
            data: Text::written(Cow::Owned(data.to_owned())),
        };
    }
    match data_url(&url.decoded()) {
        Some((media, data)) => Source::Data {
            media: Text::owned(media),
            data: Text::owned(data),
        },
        None => Source::Link(url),
    }
}

/// `data:TYPE;base64,DATA` as almost everybody writes it.
fn split_data<'a>(url: &'a Text<'_>) -> Option<(&'a str, &'a str)> {
    let (media, data) = url
        .as_written()
        .strip_prefix("data:")?
        .split_once(";base64,")?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    let named = |byte: u8| {
        byte.is_ascii_lowercase()
            || byte.is_ascii_digit()
            || matches!(byte, b'/' | b'.' | b'+' | b'-')
    };
    (data.len().is_multiple_of(4)
        && data.bytes().all(plain)
        && media.bytes().all(named)
        && !media.is_empty())
    .then_some((media, data))
}

/// The words of all text blocks, one behind the other; nothing if there is none.
#[must_use]
pub fn joined(blocks: &[Block<'_>], between: &str) -> Option<Text<'static>> {
    let mut out: Option<Text<'static>> = None;
    for block in blocks {
        if let Block::Text { text, .. } = block {
            match &mut out {
                None => out = Some(text.clone().into_owned()),
                Some(out) => {
                    out.push(&Text::of(between));
                    out.push(text);
                }
            }
        }
    }
    out
}
