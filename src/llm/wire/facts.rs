//! What routing, limits and reservations need to know of a request, gathered in one walk over it.
//!
//! Nothing is judged here beyond what the gateway itself depends on: a model that can be named. Whether
//! the rest makes sense is the provider's to say, in its own words.

use std::borrow::Cow;
use std::hash::{BuildHasher, Hasher};

use super::front::{Format, Front, Operation, Streaming, is_model};
use super::json::{Kind, Value};
use super::usage::{FAST, IN_US, Multipliers};

/// Facts of one request.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Facts<'a> {
    /// The model that the client named, in the body or in the URL.
    pub model: Option<Cow<'a, str>>,
    /// Whether it wants a stream.
    pub stream: bool,
    /// Whether it wants the usage of a stream in a chunk of its own (OpenAI). Other formats always
    /// tell it.
    pub include_usage: bool,
    /// The most tokens it wants per answer: the largest number under any of the names for it, so that
    /// the one that a provider ignores cannot hide the one that it heeds.
    pub max_output: Option<u64>,
    /// How many answers it wants, at least one; the older completions may ask for several texts at once.
    pub answers: u64,
    /// The service tier that it asks for, in the word of its format.
    pub service: Option<Cow<'a, str>>,
    /// What it asks for that multiplies a price.
    pub multipliers: Multipliers,
    /// Whether the provider is to work on it although nobody waits (OpenAI's `background`).
    pub background: bool,
    /// About how many tokens go in: see [`Estimate`].
    pub input_tokens: u64,
    /// Messages of the user.
    pub turns: u32,
    /// Tools that are declared.
    pub tools: u32,
    /// Images in all messages.
    pub images: u32,
    /// Documents in all messages.
    pub documents: u32,
    /// Pieces of audio in all messages.
    pub audio: u32,
    /// Whether an answer of a given form is asked for.
    pub json_schema: bool,
    /// Whether thinking is asked for.
    pub thinking: bool,
    /// Whom the client says it asks for.
    pub user: Option<Cow<'a, str>>,
    /// The models to try when the first fails, as the client lists them (`models`, `fallbacks`).
    pub fallbacks: Vec<Cow<'a, str>>,
    /// What the user said last, as JSON writes it: the last text of the last turn; empty if there is
    /// none.
    pub last_text: &'a str,
    /// A hash of how the conversation starts: the same for all its turns, so that they can go to the
    /// provider that has its beginning in a cache.
    pub conversation: u64,
}

/// A request that the gateway cannot route.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unroutable {
    /// The member that is wrong; empty for the whole body.
    pub param: &'static str,
    /// What is wrong with it.
    pub message: &'static str,
}

/// The most fallbacks that a client may list.
const MAX_FALLBACKS: usize = 16;

impl<'a> Facts<'a> {
    /// Gathers the facts of a request with a body.
    ///
    /// # Errors
    /// The body is no object, or names no model where it must.
    pub fn of(front: &Front<'a>, root: Value<'a>) -> Result<Self, Unroutable> {
        let wrong = |param, message| Err(Unroutable { param, message });
        if root.kind() != Kind::Object {
            return wrong("", "the body must be a JSON object");
        }
        let mut facts = Self {
            model: front.model.clone(),
            answers: 1,
            ..Self::default()
        };
        let mut asked = None;
        let mut walk = Walk::default();
        let mut hasher = foldhash::quality::FixedState::default().build_hasher();
        let most = |facts: &mut Self, value: Value<'_>| {
            facts.max_output = facts.max_output.max(count(value));
        };
        let mut prompts = 1;
        for (key, value) in root.members() {
            let key = key.string().unwrap_or_default();
            match &*key {
                "model" if front.model.is_none() => {
                    facts.model = match value.string() {
                        Some(name) if is_model(&name) => Some(name),
                        Some(_) => return wrong("model", "`model` is not the name of a model"),
                        None => return wrong("model", "`model` must be a string"),
                    };
                }
                "stream" => asked = value.boolean(),
                "stream_options" => {
                    facts.include_usage = value.boolean_of("include_usage").unwrap_or_default();
                }
                "max_tokens" | "max_completion_tokens" | "max_output_tokens" => {
                    most(&mut facts, value);
                }
                "generationConfig" | "generation_config" => {
                    for (key, value) in value.members() {
                        match &*key.string().unwrap_or_default() {
                            "maxOutputTokens" | "max_output_tokens" => most(&mut facts, value),
                            "candidateCount" | "candidate_count" => {
                                facts.answers = count(value).unwrap_or(1).max(1);
                            }
                            "responseSchema"
                            | "response_schema"
                            | "responseJsonSchema"
                            | "response_json_schema" => {
                                facts.json_schema |= !value.is_null();
                                walk.raw(value);
                            }
                            "thinkingConfig" | "thinking_config" => {
                                facts.thinking |= !value.is_null();
                            }
                            _ => {}
                        }
                    }
                }
                "options" => {
                    if let Some(value) = value.member("num_predict") {
                        most(&mut facts, value);
                    }
                }
                "n" | "best_of" => {
                    facts.answers = facts.answers.max(count(value).unwrap_or(1));
                }
                "service_tier" | "serviceTier" => facts.service = value.string(),
                "speed" if value.is(FAST) => facts.multipliers.push(FAST),
                "inference_geo" if value.is(IN_US) => facts.multipliers.push(IN_US),
                "background" => facts.background = value.boolean() == Some(true),
                "tools" | "functions" => {
                    let declared: usize = value
                        .items()
                        .map(|tool| {
                            tool.either("functionDeclarations", "function_declarations")
                                .map_or(1, |list| list.items().count())
                        })
                        .sum();
                    facts.tools = facts.tools.saturating_add(declared as u32);
                    walk.raw(value);
                }
                "response_format" => {
                    facts.json_schema |= value.member("type").is_some_and(|t| t.is("json_schema"));
                    walk.raw(value);
                }
                "text" | "output_config" => {
                    if let Some(format) = value.some("format") {
                        facts.json_schema |=
                            format.member("type").is_some_and(|t| t.is("json_schema"));
                        walk.raw(format);
                    }
                    facts.thinking |= value.some("effort").is_some();
                }
                "output_format" => {
                    facts.json_schema |= !value.is_null();
                    walk.raw(value);
                }
                "format" if front.format == Format::Ollama => {
                    facts.json_schema |= value.kind() == Kind::Object;
                    walk.raw(value);
                }
                "thinking" => {
                    facts.thinking |= value.member("type").is_some_and(|t| !t.is("disabled"));
                }
                "reasoning" => facts.thinking |= value.some("effort").is_some(),
                "reasoning_effort" => facts.thinking |= !value.is_null() && !value.is("none"),
                "think" => facts.thinking |= value.raw() != "false" && !value.is_null(),
                "safety_identifier" | "user" if facts.user.is_none() || &*key == "user" => {
                    facts.user = value.string().or(facts.user);
                }
                "metadata" if front.format == Format::Anthropic => {
                    facts.user = value.member("user_id").and_then(|value| value.string());
                }
                "models" | "fallbacks" => {
                    for model in value.items().take(MAX_FALLBACKS) {
                        match model.string() {
                            Some(name) if is_model(&name) => facts.fallbacks.push(name),
                            _ => {
                                return wrong(
                                    if &*key == "models" {
                                        "models"
                                    } else {
                                        "fallbacks"
                                    },
                                    "fallbacks must be names of models",
                                );
                            }
                        }
                    }
                }
                "messages" | "contents" | "input" | "prompt" | "images" | "suffix" => {
                    if &*key == "prompt" && front.operation == Operation::Completion {
                        // Each text has its answers; numbers are the tokens of one.
                        let is_text = |item: &Value<'_>| item.kind() != Kind::Number;
                        prompts = value.items().filter(is_text).count().max(1) as u64;
                    }
                    let last = walk.conversation(value, &mut hasher);
                    facts.last_text = last.unwrap_or(facts.last_text);
                }
                "system" | "systemInstruction" | "system_instruction" | "instructions" => {
                    hasher.write(value.raw().as_bytes());
                    walk.value(value);
                }
                "content" | "requests" | "generateContentRequest" => walk.value(value),
                _ => {}
            }
        }
        let needs_model = !matches!(
            front.operation,
            Operation::Other | Operation::Models | Operation::Version | Operation::Running
        );
        if facts.model.is_none() && needs_model {
            return wrong("model", "`model` is missing");
        }
        facts.stream = match front.streaming {
            Streaming::Asked => asked.unwrap_or(false),
            Streaming::AskedNot => asked.unwrap_or(true),
            Streaming::Events | Streaming::Array => true,
            Streaming::Never => false,
        };
        facts.include_usage |= front.format != Format::OpenAi;
        if matches!(
            front.operation,
            Operation::Embeddings | Operation::Embedding
        ) {
            // Vectors are no tokens; nothing is to be reserved for them.
            facts.max_output = Some(0);
        }
        facts.answers = facts.answers.saturating_mul(prompts);
        facts.input_tokens = walk.estimate.tokens();
        facts.turns = walk.turns;
        facts.images = walk.images;
        facts.documents = walk.documents;
        facts.audio = walk.audio;
        facts.conversation = hasher.finish();
        Ok(facts)
    }
}

/// A number of things. Some providers take one that stands in a string too, and as many as they can of one
/// that is beyond all numbers.
fn count(value: Value<'_>) -> Option<u64> {
    let text = value.string();
    let text = text.as_deref().map_or(value.raw(), str::trim);
    let beyond = || (text.parse::<f64>().ok()? >= 9e15).then_some(u64::MAX);
    let told = value.integer().or_else(|| text.parse().ok());
    told.or_else(beyond)
}

/// The last text of a turn, as JSON writes it without its quotation marks.
fn last_text(turn: Value<'_>) -> Option<&str> {
    match turn.kind() {
        Kind::String => {
            let raw = turn.raw();
            raw.get(1..raw.len() - 1)
        }
        Kind::Object => {
            let content = turn
                .either("content", "parts")
                .or_else(|| turn.some("text"));
            last_text(content?)
        }
        Kind::Array => turn.items().filter_map(last_text).last(),
        Kind::Null | Kind::Boolean | Kind::Number => None,
    }
}

/// Tokens for an image: what the large providers take for one of about a megapixel.
const IMAGE_TOKENS: u64 = 1_000;

/// Tokens for an image of low detail (OpenAI).
const SMALL_IMAGE_TOKENS: u64 = 85;

/// Tokens that a message costs for being one.
const MESSAGE_TOKENS: u64 = 4;

#[derive(Default)]
struct Walk {
    estimate: Estimate,
    turns: u32,
    images: u32,
    documents: u32,
    audio: u32,
}

impl Walk {
    /// A value whose text goes in as it is: the schema of a tool, the arguments of a call.
    fn raw(&mut self, value: Value<'_>) {
        self.estimate.add(value.raw());
    }

    /// The messages, of which the first ones tell the conversation. Gives what the user said last.
    fn conversation<'a>(&mut self, value: Value<'a>, hasher: &mut impl Hasher) -> Option<&'a str> {
        let mut begun = false;
        let mut last = None;
        let mut text = None;
        if value.kind() != Kind::Array {
            hasher.write(value.raw().as_bytes());
            self.turns += 1;
            text = last_text(value);
        }
        for item in value.items() {
            let role = item.member("role");
            let user = role.is_none_or(|role| role.is("user"));
            if role.is_some() {
                self.estimate.add_tokens(MESSAGE_TOKENS);
            }
            if !begun {
                let content = item.either("content", "parts").unwrap_or(item);
                hasher.write(content.raw().as_bytes());
                begun = user;
            }
            if user && !is_tool_result(item) {
                self.turns = self.turns.saturating_add(1);
                last = Some(item);
            }
        }
        self.value(value);
        text.or_else(|| last_text(last?))
    }

    fn value(&mut self, value: Value<'_>) {
        match value.kind() {
            Kind::String => self.raw(value),
            Kind::Array => {
                // Tokens that the client counted itself.
                self.estimate.add_tokens(value.numbers().count() as u64);
                for item in value.items() {
                    self.value(item);
                }
            }
            Kind::Object => self.object(value),
            Kind::Null | Kind::Boolean | Kind::Number => {}
        }
    }

    fn object(&mut self, object: Value<'_>) {
        let kind = object.member("type").and_then(|kind| kind.string());
        let media = object
            .some("media_type")
            .or_else(|| object.either("mimeType", "mime_type"))
            .and_then(|media| media.string());
        match kind.as_deref() {
            Some("image" | "image_url" | "input_image") => {
                self.images = self.images.saturating_add(1);
                let low = object
                    .member("detail")
                    .is_some_and(|detail| detail.is("low"))
                    || object
                        .path(&["image_url", "detail"])
                        .is_some_and(|detail| detail.is("low"));
                self.estimate.add_tokens(if low {
                    SMALL_IMAGE_TOKENS
                } else {
                    IMAGE_TOKENS
                });
            }
            Some("document" | "file" | "input_file") => {
                self.documents = self.documents.saturating_add(1);
            }
            Some("input_audio") => self.audio = self.audio.saturating_add(1),
            _ => {}
        }
        for (key, value) in object.members() {
            match &*key.string().unwrap_or_default() {
                // The names of things, and what is sent along without being read by a model.
                "type" | "role" | "id" | "tool_call_id" | "tool_use_id" | "call_id" | "detail"
                | "media_type" | "mimeType" | "mime_type" | "signature" | "cache_control"
                | "encrypted_content" | "thoughtSignature" | "thought_signature" | "status"
                | "image_url" | "fileUri" | "file_uri" | "file_id" | "format" | "model" => {}
                "images" => {
                    // Ollama: base64 beside the text.
                    let count = value.items().count();
                    self.images = self.images.saturating_add(count as u32);
                    self.estimate.add_tokens(count as u64 * IMAGE_TOKENS);
                }
                "data" | "file_data" | "url"
                    if media.is_some()
                        || kind.is_some()
                        || value.span().len() > 8 && is_data(value) =>
                {
                    self.attachment(media.as_deref(), kind.as_deref(), value);
                }
                "input_audio" => {
                    let data = value.member("data").map_or(0, |data| data.span().len());
                    self.estimate.add_tokens((data as u64 / 2_000).max(50));
                }
                "input" | "args" | "arguments" | "response" | "functionResponse" => self.raw(value),
                _ => self.value(value),
            }
        }
    }

    /// Bytes in base64: told by their type, and counted by their length where that says something.
    fn attachment(&mut self, media: Option<&str>, kind: Option<&str>, data: Value<'_>) {
        let length = data.span().len() as u64;
        let media = media.unwrap_or_default();
        if media.starts_with("image/") {
            // With a type beside it, the image was counted at its block; Gemini has no such.
            if kind.is_none() {
                self.images = self.images.saturating_add(1);
                self.estimate.add_tokens(IMAGE_TOKENS);
            }
        } else if media.starts_with("audio/") || media.starts_with("video/") {
            self.audio = self.audio.saturating_add(1);
            self.estimate.add_tokens((length / 2_000).max(50));
        } else if media.starts_with("text/") || kind == Some("text") {
            self.raw(data);
        } else if kind != Some("redacted_thinking") && !media.is_empty() || is_data(data) {
            if kind.is_none() {
                self.documents = self.documents.saturating_add(1);
            }
            // Pages of a document have 50 to 100 KiB and cost about two thousand tokens.
            self.estimate.add_tokens((length / 30).max(1_500));
        }
    }
}

fn is_data(value: Value<'_>) -> bool {
    value
        .raw()
        .get(1..6)
        .is_some_and(|start| start.eq_ignore_ascii_case("data:"))
}

fn is_tool_result(message: Value<'_>) -> bool {
    let blocks = message.either("content", "parts");
    blocks.is_some_and(|blocks| {
        let mut items = blocks.items().peekable();
        items.peek().is_some()
            && items.all(|block| {
                block
                    .member("type")
                    .is_some_and(|kind| kind.is("tool_result"))
                    || block
                        .either("functionResponse", "function_response")
                        .is_some()
            })
    })
}

/// About how many tokens a text has, without the tokenizer of any model.
///
/// Words are counted as tokenizers cut them: a run of letters is one token and one more for every five
/// letters beyond the eighth, a change from small to capital letters starts anew, three digits are one,
/// two marks are one, a space belongs to the word after it. Beyond ASCII a letter costs by its
/// script: about 0.4 tokens in two bytes (Cyrillic, Greek, Arabic, Hebrew, accents), 0.8 in three (Chinese,
/// Japanese, Korean), two in four (signs and pictures). English prose, source code and the large languages come
/// out within about 15 percent of the large tokenizers; random text and rare scripts do not.
#[derive(Clone, Copy, Default, Debug)]
pub struct Estimate {
    /// In tenths of a token.
    tenths: u64,
    /// Bytes of text so far.
    read: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Small,
    Capital,
    Digit,
    Mark,
    Space,
    Line,
}

const fn class(byte: u8) -> Class {
    match byte {
        b'a'..=b'z' => Class::Small,
        b'A'..=b'Z' => Class::Capital,
        b'0'..=b'9' => Class::Digit,
        b'\n' | b'\r' => Class::Line,
        b' ' | b'\t' => Class::Space,
        _ => Class::Mark,
    }
}

static CLASSES: [Class; 128] = {
    let mut classes = [Class::Mark; 128];
    let mut byte = 0;
    while byte < 128 {
        classes[byte] = class(byte as u8);
        byte += 1;
    }
    classes
};

impl Estimate {
    /// Adds tokens that are known otherwise.
    pub const fn add_tokens(&mut self, tokens: u64) {
        self.tenths = self.tenths.saturating_add(tokens.saturating_mul(10));
    }

    /// Adds a text as JSON writes it: its escapes count for what they stand for. Of a long conversation
    /// only a quarter of each text is looked at: a look at all of it would cost more than passing it on.
    pub fn add(&mut self, written: &str) {
        const WHOLE: u64 = 64 << 10;
        const SHORT: usize = 1 << 10;
        let length = written.len();
        self.read = self.read.saturating_add(length as u64);
        if self.read <= WHOLE || length <= SHORT {
            self.tenths = self.tenths.saturating_add(tenths(written));
            return;
        }
        let start = written.floor_char_boundary(length / 8 * 3);
        let end = written.floor_char_boundary(length / 8 * 5);
        let sample = tenths(&written[start..end]) as u128;
        let whole = sample * length as u128 / (end - start).max(1) as u128;
        self.tenths = self.tenths.saturating_add(whole as u64);
    }

    /// The tokens so far, rounded up.
    #[must_use]
    pub const fn tokens(&self) -> u64 {
        self.tenths.div_ceil(10)
    }
}

/// About how many tokens a text as JSON writes it has, in tenths.
fn tenths(written: &str) -> u64 {
    let bytes = written.as_bytes();
    let mut at = 0;
    let mut tenths = 0_u64;
    while let Some(&byte) = bytes.get(at) {
        if byte >= 0x80 {
            // The first byte tells the length; the others are passed over.
            let (cost, length) = match byte {
                0xc0..=0xdf => (4, 2),
                0xe0..=0xef => (8, 3),
                _ => (20, 4),
            };
            tenths += cost;
            at += length;
            continue;
        }
        if byte == b'\\' {
            match bytes.get(at + 1) {
                Some(b'u') => {
                    tenths += 8;
                    at += 6;
                }
                Some(b'n') => {
                    tenths += 6;
                    at += 2;
                    // A line break and the indentation after it are one.
                    while let Some(b' ' | b'\t') = bytes.get(at) {
                        at += 1;
                    }
                }
                _ => {
                    tenths += 5;
                    at += 2;
                }
            }
            continue;
        }
        let class = CLASSES[byte as usize];
        let start = at;
        at += 1;
        let run = |at: usize, class: Class| {
            bytes[at.min(bytes.len())..]
                .iter()
                .take_while(|byte| {
                    **byte < 0x80 && CLASSES[**byte as usize] == class && **byte != b'\\'
                })
                .count()
        };
        match class {
            Class::Small | Class::Capital => {
                if class == Class::Capital {
                    at += run(at, Class::Capital);
                }
                at += run(at, Class::Small);
                let length = (at - start) as u64;
                tenths += 10 + length.saturating_sub(8).div_ceil(5) * 10;
            }
            Class::Digit => {
                at += run(at, Class::Digit);
                tenths += ((at - start) as u64).div_ceil(3) * 10;
            }
            Class::Mark => {
                at += run(at, Class::Mark);
                tenths += ((at - start) as u64 + 1) * 5;
            }
            Class::Space => {
                at += run(at, Class::Space);
                if at - start > 1 {
                    tenths += 10;
                }
            }
            Class::Line => {
                at += run(at, Class::Line);
                at += run(at, Class::Space);
                tenths += 6;
            }
        }
    }
    tenths
}

#[cfg(test)]
mod tests {
    use super::super::json::{Duplicates, Index};
    use super::*;

    fn with(
        format: Format,
        operation: Operation,
        body: &str,
        check: impl FnOnce(Result<Facts<'_>, Unroutable>),
    ) {
        let mut index = Index::new();
        let root = index
            .read(body.as_bytes(), Duplicates::Refuse)
            .expect("JSON");
        let front = Front {
            format,
            operation,
            model: (format == Format::Gemini).then_some(Cow::Borrowed("g")),
            streaming: match format {
                Format::Ollama => Streaming::AskedNot,
                Format::Gemini => Streaming::Events,
                _ => Streaming::Asked,
            },
        };
        check(Facts::of(&front, root));
    }

    #[test]
    fn a_chat_request_tells_its_facts() {
        let body = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true},"max_tokens":1,
            "max_completion_tokens":30000,"n":2,"user":"u","models":["a","b"],"reasoning_effort":"low",
            "tools":[{"type":"function","function":{"name":"f"}}],"response_format":{"type":"json_schema"},
            "messages":[{"role":"system","content":"s"},{"role":"user","content":[{"type":"text","text":"hello world"},
            {"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA","detail":"low"}}]},
            {"role":"assistant","content":null},{"role":"user","content":"more"}]}"#;
        with(Format::OpenAi, Operation::Chat, body, |facts| {
            let facts = facts.expect("facts");
            assert_eq!(facts.model.as_deref(), Some("m"));
            assert!(facts.stream && facts.include_usage && facts.json_schema && facts.thinking);
            assert_eq!(facts.max_output, Some(30_000));
            assert_eq!(
                (facts.answers, facts.turns, facts.tools, facts.images),
                (2, 2, 1, 1)
            );
            assert_eq!(facts.user.as_deref(), Some("u"));
            assert_eq!(facts.fallbacks, ["a", "b"]);
            assert!(
                (110..150).contains(&facts.input_tokens),
                "{}",
                facts.input_tokens
            );
        });
    }

    #[test]
    fn the_largest_number_under_any_name_is_reserved() {
        let cases = [
            (
                Format::OpenAi,
                r#"{"model":"m","max_tokens":9,"max_completion_tokens":3}"#,
                9,
            ),
            (Format::Anthropic, r#"{"model":"m","max_tokens":9}"#, 9),
            (
                Format::Responses,
                r#"{"model":"m","max_output_tokens":9.0}"#,
                9,
            ),
            (
                Format::Gemini,
                r#"{"generationConfig":{"maxOutputTokens":9,"max_output_tokens":8}}"#,
                9,
            ),
            (
                Format::Ollama,
                r#"{"model":"m","options":{"num_predict":9}}"#,
                9,
            ),
        ];
        for (format, body, expected) in cases {
            with(format, Operation::Chat, body, |facts| {
                assert_eq!(facts.expect("facts").max_output, Some(expected), "{body}");
            });
        }
        let unbounded = r#"{"model":"m","options":{"num_predict":-1}}"#;
        with(Format::Ollama, Operation::Chat, unbounded, |facts| {
            let facts = facts.expect("facts");
            assert_eq!((facts.max_output, facts.stream), (None, true));
        });
    }

    #[test]
    fn a_request_without_a_model_that_can_be_named_is_refused() {
        for (body, param) in [
            ("[]", ""),
            ("{}", "model"),
            (r#"{"model":7}"#, "model"),
            (r#"{"model":"a b"}"#, "model"),
            (r#"{"model":"a","fallbacks":[{}]}"#, "fallbacks"),
        ] {
            with(Format::OpenAi, Operation::Chat, body, |facts| {
                assert_eq!(facts.map_err(|wrong| wrong.param), Err(param), "{body}");
            });
        }
    }

    #[test]
    fn turns_of_one_conversation_have_one_hash() {
        let hash = |messages: &str| {
            let mut hash = 0;
            let body = format!(r#"{{"model":"m","messages":[{messages}]}}"#);
            with(Format::OpenAi, Operation::Chat, &body, |facts| {
                hash = facts.expect("facts").conversation;
            });
            hash
        };
        let first = r#"{"role":"system","content":"s"},{"role":"user","content":"a"}"#;
        let later = format!(
            r#"{first},{{"role":"assistant","content":"x"}},{{"role":"user","content":"b"}}"#
        );
        assert_eq!(hash(first), hash(&later));
        assert_ne!(hash(first), hash(&first.replace("\"a\"", "\"c\"")));
        assert_ne!(hash(first), hash(&first.replace("\"s\"", "\"t\"")));
    }

    #[test]
    fn text_is_estimated_by_word_and_script() {
        let tokens = |text: &str| {
            let mut estimate = Estimate::default();
            estimate.add(text);
            estimate.tokens()
        };
        let prose = "The quick brown fox jumps over the lazy dog. It was a bright cold day in April, \
                     and the clocks were striking thirteen.";
        // The large tokenizers count 27.
        assert!((23..=31).contains(&tokens(prose)), "{}", tokens(prose));
        assert!(
            (4..=8).contains(&tokens("机器学习模型")),
            "{}",
            tokens("机器学习模型")
        );
        assert!(tokens(&"x".repeat(400_000)) > 70_000);
        assert_eq!(tokens(""), 0);
    }

    #[test]
    fn bytes_in_base64_are_not_read_as_words() {
        let data = "QUJD".repeat(20_000);
        for (format, body) in [
            (
                Format::OpenAi,
                format!(
                    r#"{{"model":"m","messages":[{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{data}"}}}}]}}]}}"#
                ),
            ),
            (
                Format::Anthropic,
                format!(
                    r#"{{"model":"m","messages":[{{"role":"user","content":[{{"type":"image","source":{{"type":"base64","media_type":"image/png","data":"{data}"}}}}]}}]}}"#
                ),
            ),
            (
                Format::Gemini,
                format!(
                    r#"{{"contents":[{{"role":"user","parts":[{{"inlineData":{{"mimeType":"image/png","data":"{data}"}}}}]}}]}}"#
                ),
            ),
            (
                Format::Ollama,
                format!(
                    r#"{{"model":"m","messages":[{{"role":"user","content":"","images":["{data}"]}}]}}"#
                ),
            ),
            (
                Format::Responses,
                format!(
                    r#"{{"model":"m","input":[{{"role":"user","content":[{{"type":"input_image","image_url":"data:image/png;base64,{data}"}}]}}]}}"#
                ),
            ),
        ] {
            with(format, Operation::Chat, &body, |facts| {
                let facts = facts.expect("facts");
                assert_eq!(facts.images, 1, "{format:?}");
                assert!(
                    (1_000..1_100).contains(&facts.input_tokens),
                    "{format:?} {}",
                    facts.input_tokens
                );
            });
        }
    }
}
