//! Reading along: an answer that leaves in the format in which it came is not touched, only looked at.
//!
//! What is seen (usage, why it ended, errors, whether anything of worth came) settles the account and
//! tells whether the answer may pass: a success without an answer in it is a failure here, because the
//! client's library would take it for an empty success.

use std::borrow::Cow;
use std::fmt;

use super::error::{Code, ProviderError, Told};
use super::facts::Estimate;
use super::front::{Format, Operation};
use super::json::{Duplicates, Index, Kind, Value, encode};
use super::neutral::Finish;
use super::sse::{Events, Frame, Framing, TooLong};
use super::usage::Reported;

/// What was seen of an answer.
#[derive(Clone, Default, Debug)]
pub struct Seen {
    /// What the provider told of its usage.
    pub reported: Reported,
    /// The model that answered, in the provider's word.
    pub model: Option<String>,
    /// The provider's id of the answer.
    pub id: Option<String>,
    /// Why it ended.
    pub finish: Option<Finish>,
    /// Whether anything came that a person reads or a program acts on. Before that, another provider can
    /// still be tried and nobody notices.
    pub content: bool,
    /// Calls of tools that were begun.
    pub tool_calls: u32,
    /// Whether its end was seen: the terminator of a stream, or all of a whole answer.
    pub ended: bool,
    /// An error in the place of an answer, or in the middle of one.
    pub error: Option<ProviderError>,
    /// Events of a stream, comments not counted.
    pub events: u64,
    /// Whether something of it was no JSON.
    pub garbled: bool,
    /// By what it is paid.
    pub metered: Metered,
    /// Whether there was an answer at all, be it empty.
    answered: bool,
    shown: Estimate,
    thought: Estimate,
}

/// By what an answer is paid.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Metered {
    /// By its tokens.
    #[default]
    ByTokens,
    /// By something that the answer does not tell: seconds of sound, pictures. Its cost is unknown.
    Unknown,
    /// Nothing was made that could cost: something was read, or removed.
    Free,
}

/// The most bytes of an id or a name that are kept.
const MAX_WORD: usize = 128;

impl Seen {
    /// About how many tokens came out so far, and how many were thought before: for a client that left
    /// before the provider told.
    #[must_use]
    pub const fn estimated_output(&self) -> (u64, u64) {
        (self.shown.tokens(), self.thought.tokens())
    }

    /// Looks at a whole answer.
    #[must_use]
    pub fn of_answer(format: Format, operation: Operation, body: &[u8]) -> Self {
        let mut seen = Self::default();
        let mut index = Index::new();
        match index.read(body, Duplicates::LastCounts) {
            Ok(root) => {
                seen.answer(format, operation, root);
                seen.ended = true;
            }
            Err(_) => seen.garbled = true,
        }
        seen
    }

    /// This and another part of one answer, which came in parts.
    #[must_use]
    pub fn and_part(mut self, part: Self) -> Self {
        self.reported.add(&part.reported);
        self.ended &= part.ended;
        self.answered &= part.answered;
        self.content &= part.content;
        self.garbled |= part.garbled;
        self.error = self.error.or(part.error);
        self
    }

    /// Looks at a whole answer that is read already.
    pub fn answer(&mut self, format: Format, operation: Operation, root: Value<'_>) {
        self.ended = true;
        if self.fails(format, root) {
            return;
        }
        self.names(format, root);
        self.reported.read(format, root);
        match operation {
            Operation::Chat | Operation::Completion => {}
            Operation::Embeddings | Operation::Embedding => {
                let vectors = root
                    .some("data")
                    .or_else(|| root.some("embeddings"))
                    .or_else(|| root.some("embedding"));
                self.answered = vectors.is_some();
                self.content = vectors.is_some_and(|vectors| vectors.span().len() > 2);
                self.reported.no_output();
                return;
            }
            Operation::CountTokens => {
                // What was counted was not used, and nobody takes money for it.
                self.reported = Reported::default();
                self.metered = Metered::Free;
                self.answered = true;
                self.content = true;
                return;
            }
            _ => {
                self.answered = true;
                self.content = true;
                return;
            }
        }
        match format {
            Format::OpenAi => {
                for choice in root.items_of("choices") {
                    self.answered = true;
                    self.finish_of(choice.member("finish_reason"));
                    self.text(choice.member("text"));
                    if let Some(message) = choice.some("message") {
                        self.openai_message(message);
                    }
                }
            }
            Format::Responses => self.responses_whole(root),
            Format::Anthropic => {
                self.answered = root.member("content").is_some();
                self.finish = super::anthropic::finish(root);
                for block in root.items_of("content") {
                    self.anthropic_block(block);
                }
            }
            Format::Gemini => self.gemini(root),
            Format::Ollama => self.ollama(root),
        }
    }

    /// Looks at one event of a stream of chat or completion.
    pub fn event(&mut self, format: Format, name: Option<&[u8]>, data: &[u8], index: &mut Index) {
        self.events += 1;
        if matches!(format, Format::OpenAi | Format::Responses) && data.trim_ascii() == b"[DONE]" {
            self.ended = true;
            return;
        }
        match index.read(data, Duplicates::LastCounts) {
            Ok(root) => self.event_value(format, name, root),
            Err(_) => self.garbled = true,
        }
    }

    fn event_value(&mut self, format: Format, name: Option<&[u8]>, root: Value<'_>) {
        if self.fails(format, root) {
            return;
        }
        if name == Some(b"error") && self.error.is_none() {
            // An error whose body has no shape that we know.
            self.error = Some(ProviderError::of_body(format, 502, root.raw().as_bytes()));
            return;
        }
        self.names(format, root);
        self.reported.read(format, root);
        match format {
            Format::OpenAi => {
                for choice in root.items_of("choices") {
                    self.answered = true;
                    self.finish_of(choice.member("finish_reason"));
                    self.text(choice.member("text"));
                    // A whole message in a stream: what some caches of answers replay.
                    if let Some(delta) = choice.some("delta").or_else(|| choice.some("message")) {
                        self.openai_message(delta);
                    }
                }
            }
            Format::Responses => self.responses_event(root),
            Format::Anthropic => self.anthropic_event(root),
            Format::Gemini => self.gemini(root),
            Format::Ollama => self.ollama(root),
        }
    }

    fn fails(&mut self, format: Format, root: Value<'_>) -> bool {
        match ProviderError::of(format, None, root) {
            Some(error) => {
                self.error.get_or_insert(error);
                true
            }
            None => false,
        }
    }

    fn names(&mut self, format: Format, root: Value<'_>) {
        let word = |value: Option<Value<'_>>| {
            let word = value?.string()?;
            (!word.is_empty() && word.len() <= MAX_WORD).then(|| word.into_owned())
        };
        if self.model.is_none() {
            self.model = word(model_value(format, root));
        }
        if self.id.is_none() {
            let holder = match format {
                Format::Responses => root.some("response").unwrap_or(root),
                Format::Anthropic => root.some("message").unwrap_or(root),
                _ => root,
            };
            self.id = word(holder.member("id").or_else(|| holder.member("responseId")));
        }
    }

    fn finish_of(&mut self, word: Option<Value<'_>>) {
        if let Some(word) = word.and_then(|word| word.string())
            && !word.is_empty()
        {
            self.finish = Some(Finish::of(&word));
        }
    }

    fn text(&mut self, text: Option<Value<'_>>) {
        if let Some(text) = text.and_then(|text| text.text())
            && !text.is_empty()
        {
            self.content = true;
            self.shown.add(text.as_written());
        }
    }

    fn thinking(&mut self, text: Option<Value<'_>>) {
        if let Some(text) = text.and_then(|text| text.text())
            && !text.is_empty()
        {
            self.content = true;
            self.thought.add(text.as_written());
        }
    }

    fn openai_message(&mut self, message: Value<'_>) {
        match message.some("content") {
            Some(parts) if parts.kind() == Kind::Array => {
                for part in parts.items() {
                    self.text(part.member("text"));
                }
            }
            content => self.text(content),
        }
        self.text(message.member("refusal"));
        if message.items_of("thinking_blocks").next().is_some() {
            self.content = true;
        }
        match message.some("reasoning_content") {
            Some(text) => self.thinking(Some(text)),
            None => self.thinking(message.member("reasoning")),
        }
        for call in message.items_of("tool_calls") {
            self.content = true;
            let function = call.some("function").or_else(|| call.some("custom"));
            if call.some("id").is_some() || function.is_some_and(|f| f.some("name").is_some()) {
                self.tool_calls = self.tool_calls.saturating_add(1);
            }
            if let Some(function) = function {
                self.text(function.member("name"));
                self.text(function.member("arguments"));
            }
        }
        if let Some(function) = message.some("function_call") {
            self.content = true;
            self.tool_calls = self.tool_calls.max(1);
            self.text(function.member("arguments"));
        }
        if message.some("audio").is_some() || message.some("images").is_some() {
            self.content = true;
        }
    }

    fn anthropic_block(&mut self, block: Value<'_>) {
        let kind = block.word_of("type");
        match &*kind {
            "text" => self.text(block.member("text")),
            "thinking" => self.thinking(block.member("thinking")),
            "tool_use" => {
                self.content = true;
                self.tool_calls = self.tool_calls.saturating_add(1);
                self.text(block.member("name"));
                if let Some(input) = block.some("input") {
                    self.shown.add(input.raw());
                }
            }
            // Thinking that is hidden, tools that the provider runs by itself, and what is yet to come.
            _ => self.content = true,
        }
    }

    fn anthropic_event(&mut self, root: Value<'_>) {
        let kind = root.word_of("type");
        match &*kind {
            "message_start" => self.answered = true,
            "content_block_start" => {
                if let Some(block) = root.some("content_block") {
                    self.anthropic_block(block);
                }
            }
            "content_block_delta" => {
                let Some(delta) = root.some("delta") else {
                    return;
                };
                self.text(delta.member("text"));
                self.text(delta.member("partial_json"));
                self.thinking(delta.member("thinking"));
            }
            "message_delta" => {
                let finish = root.some("delta").and_then(super::anthropic::finish);
                self.finish = finish.or(self.finish.take());
            }
            "message_stop" => self.ended = true,
            _ => {}
        }
    }

    fn responses_whole(&mut self, response: Value<'_>) {
        self.answered = response.member("output").is_some();
        let status = response.member("status").and_then(|status| status.string());
        match status.as_deref() {
            Some("completed") => self.finish = Some(Finish::Stop),
            Some("incomplete") => {
                self.finish = Some(Finish::Length);
                self.finish_of(response.path(&["incomplete_details", "reason"]));
            }
            // It works in the background: its number is the answer, and nobody else is to be asked.
            Some("queued" | "in_progress") => self.content = true,
            _ => {}
        }
        for item in response.items_of("output") {
            let kind = item.word_of("type");
            match &*kind {
                "message" => {
                    for part in item.items_of("content") {
                        self.text(part.member("text"));
                        self.text(part.member("refusal"));
                    }
                }
                "function_call" => {
                    self.content = true;
                    self.tool_calls = self.tool_calls.saturating_add(1);
                    self.text(item.member("arguments"));
                }
                _ => self.content = true,
            }
        }
        if self.tool_calls > 0 && self.finish == Some(Finish::Stop) {
            self.finish = Some(Finish::ToolCalls);
        }
    }

    fn responses_event(&mut self, root: Value<'_>) {
        let kind = root.word_of("type");
        match &*kind {
            "response.created" | "response.in_progress" => self.answered = true,
            "response.output_item.added" => {
                let item = root.some("item");
                let kind = item
                    .and_then(|item| item.member("type"))
                    .and_then(|kind| kind.string());
                if kind.as_deref() == Some("function_call") {
                    self.content = true;
                    self.tool_calls = self.tool_calls.saturating_add(1);
                }
            }
            "response.completed" | "response.incomplete" | "response.failed" => {
                self.ended = true;
                if let Some(response) = root.some("response") {
                    // Its content was counted as it came, if it came in pieces.
                    let counted = (self.shown, self.thought, self.tool_calls);
                    let had = self.content;
                    self.responses_whole(response);
                    if had {
                        (self.shown, self.thought, self.tool_calls) = counted;
                    }
                    if self.tool_calls > 0 && self.finish == Some(Finish::Stop) {
                        self.finish = Some(Finish::ToolCalls);
                    }
                }
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                self.thinking(root.member("delta"));
            }
            _ if kind.ends_with(".delta") => self.text(root.member("delta")),
            _ => {}
        }
    }

    fn gemini(&mut self, root: Value<'_>) {
        if let Some(feedback) = root.either("promptFeedback", "prompt_feedback")
            && feedback.either("blockReason", "block_reason").is_some()
        {
            self.answered = true;
            self.finish = Some(Finish::ContentFilter);
        }
        for candidate in root.items_of("candidates") {
            self.answered = true;
            let parts = candidate.path(&["content", "parts"]);
            for part in parts.into_iter().flat_map(|list| list.items()) {
                if part.boolean_of("thought") == Some(true) {
                    self.thinking(part.member("text"));
                } else if let Some(text) = part.some("text") {
                    self.text(Some(text));
                } else if let Some(call) = part.either("functionCall", "function_call") {
                    self.content = true;
                    self.tool_calls = self.tool_calls.saturating_add(1);
                    self.shown.add(call.raw());
                } else if part.members().next().is_some() {
                    self.content = true;
                }
            }
            self.finish_of(candidate.either("finishReason", "finish_reason"));
        }
        if self.tool_calls > 0 && self.finish == Some(Finish::Stop) {
            self.finish = Some(Finish::ToolCalls);
        }
    }

    fn ollama(&mut self, root: Value<'_>) {
        if let Some(message) = root.some("message") {
            self.answered = true;
            self.text(message.member("content"));
            self.thinking(message.member("thinking"));
            for call in message.items_of("tool_calls") {
                self.content = true;
                self.tool_calls = self.tool_calls.saturating_add(1);
                self.shown.add(call.raw());
            }
        }
        if let Some(response) = root.some("response") {
            self.answered = true;
            self.text(Some(response));
            self.thinking(root.member("thinking"));
        }
        if root.boolean_of("done") == Some(true) {
            self.ended = true;
            // Older servers give no reason.
            self.finish = Some(Finish::Stop);
            self.finish_of(root.member("done_reason"));
            if self.tool_calls > 0 && self.finish == Some(Finish::Stop) {
                self.finish = Some(Finish::ToolCalls);
            }
        }
    }

    /// Whether the answer may pass as one, after its end.
    ///
    /// # Errors
    /// Why it is none.
    pub fn verdict(&self) -> Result<(), Failed> {
        if let Some(error) = &self.error {
            return Err(Failed::Error(error.clone()));
        }
        if self.garbled && !self.answered {
            return Err(Failed::NotJson);
        }
        // Some providers leave the terminator out after they told why they end.
        if !self.ended && self.finish.is_none() {
            return Err(Failed::Truncated);
        }
        if !self.answered {
            return Err(Failed::NoChoices);
        }
        let held_back = matches!(self.finish, Some(Finish::Length | Finish::ContentFilter));
        if !self.content && !held_back {
            return Err(Failed::Empty);
        }
        Ok(())
    }
}

/// Why something that looks like an answer is none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failed {
    /// An error in it.
    Error(ProviderError),
    /// It is no JSON.
    NotJson,
    /// It has no choices.
    NoChoices,
    /// It ended well, and nothing was in it.
    Empty,
    /// It stopped before its end.
    Truncated,
    /// One event of it is too long.
    TooLong,
}

impl fmt::Display for Failed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Error(error) => &error.message,
            Self::NotJson => "the provider's answer is not JSON",
            Self::NoChoices => "the provider's answer has no choices",
            Self::Empty => "the provider ended its answer before it began",
            Self::Truncated => "the provider's answer ended before its end",
            Self::TooLong => "an event of the provider's stream is too long",
        })
    }
}

impl std::error::Error for Failed {}

impl Failed {
    /// As a client is told it.
    #[must_use]
    pub fn told(&self) -> Told {
        let code = match self {
            Self::Error(error) => return Told::provider(error),
            Self::NotJson | Self::TooLong => Code::UpstreamError,
            Self::NoChoices | Self::Empty => Code::EmptyAnswer,
            Self::Truncated => Code::UpstreamTruncated,
        };
        Told::own(code, self.to_string())
    }
}

/// Where a format names the model of an answer or an event.
#[must_use]
pub fn model_value<'a>(format: Format, root: Value<'a>) -> Option<Value<'a>> {
    match format {
        Format::OpenAi | Format::Ollama => root.some("model"),
        Format::Responses => root.some("response").unwrap_or(root).some("model"),
        Format::Anthropic => root.some("message").unwrap_or(root).some("model"),
        Format::Gemini => root.either("modelVersion", "model_version"),
    }
}

/// Reads along with a stream that passes through.
#[derive(Debug)]
pub struct Watcher {
    format: Format,
    events: Events,
    index: Index,
    seen: Seen,
    /// Whether the chunk of usage is taken out, because the gateway asked for it and not the client.
    hides_usage: bool,
    /// The name under which the client knows the model, as JSON.
    model: Option<String>,
}

impl Watcher {
    /// At the start of a stream of chat or completion.
    #[must_use]
    pub fn new(format: Format) -> Self {
        let framing = match format {
            Format::Ollama => Framing::Lines,
            _ => Framing::Events,
        };
        Self {
            format,
            events: Events::new(framing),
            index: Index::new(),
            seen: Seen::default(),
            hides_usage: false,
            model: None,
        }
    }

    /// Takes the chunk out that carries nothing but usage (OpenAI).
    #[must_use]
    pub fn hiding_usage(mut self) -> Self {
        self.hides_usage = self.format == Format::OpenAi;
        self
    }

    /// Puts another name into every place that names the model.
    #[must_use]
    pub fn naming(mut self, model: &str) -> Self {
        self.model = Some(format!("\"{}\"", encode(model)));
        self
    }

    /// What was seen so far.
    #[must_use]
    pub const fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Takes the next bytes of a provider and gives those for the client: the same ones, unless something
    /// is to be changed. Then they come event by event.
    ///
    /// # Errors
    /// An event is too long: nothing more of the stream can be understood.
    pub fn push<'a>(&mut self, bytes: &'a [u8]) -> Result<Cow<'a, [u8]>, TooLong> {
        let Self {
            format,
            events,
            index,
            seen,
            hides_usage,
            model,
        } = self;
        if !*hides_usage && model.is_none() {
            events.push(bytes, |frame| {
                if let Some(data) = &frame.data {
                    seen.event(*format, frame.event, data, index);
                }
            })?;
            return Ok(Cow::Borrowed(bytes));
        }
        let mut out = Vec::with_capacity(bytes.len() + 64);
        events.push(bytes, |frame| {
            edited(
                *format,
                seen,
                index,
                *hides_usage,
                model.as_deref(),
                &frame,
                &mut out,
            );
        })?;
        Ok(Cow::Owned(out))
    }

    /// Takes note that the provider ended its body, and gives what is left for the client.
    pub fn end(&mut self) -> Vec<u8> {
        let Self {
            format,
            events,
            index,
            seen,
            hides_usage,
            model,
        } = self;
        let mut out = Vec::new();
        events.finish(|frame| {
            let mut last = Vec::new();
            edited(
                *format,
                seen,
                index,
                *hides_usage,
                model.as_deref(),
                &frame,
                &mut last,
            );
            if *hides_usage || model.is_some() {
                out = last;
            }
        });
        out
    }

    /// Whether the stream was an answer, after [`Watcher::end`].
    ///
    /// # Errors
    /// Why it was none. If bytes of it are with the client already, it is to be told by an event
    /// ([`Told::event`]).
    pub fn verdict(&self) -> Result<(), Failed> {
        self.seen.verdict()
    }
}

fn edited(
    format: Format,
    seen: &mut Seen,
    index: &mut Index,
    hides_usage: bool,
    model: Option<&str>,
    frame: &Frame<'_>,
    out: &mut Vec<u8>,
) {
    let Some(data) = &frame.data else {
        out.extend_from_slice(frame.raw);
        return;
    };
    seen.event(format, frame.event, data, index);
    let Ok(root) = index.read(data, Duplicates::LastCounts) else {
        out.extend_from_slice(frame.raw);
        return;
    };
    let only_usage = hides_usage
        && root.some("usage").is_some()
        && root
            .member("choices")
            .is_none_or(|choices| choices.items().next().is_none());
    if only_usage {
        return;
    }
    match (model, model_value(format, root), frame.at) {
        (Some(name), Some(value), Some(at)) => {
            let span = value.span();
            out.extend_from_slice(&frame.raw[..at + span.start]);
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(&frame.raw[at + span.end..]);
        }
        _ => out.extend_from_slice(frame.raw),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OPENAI: &str = concat!(
        "data: {\"id\":\"c1\",\"model\":\"m-1\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}],\"usage\":null}\n\n",
        ": keep\n\n",
        "data: {\"id\":\"c1\",\"model\":\"m-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hällo\"},\"finish_reason\":null}]}\n\n",
        "data: {\"id\":\"c1\",\"model\":\"m-1\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"t\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}}]},\"finish_reason\":null}]}\n\n",
        "data: {\"id\":\"c1\",\"model\":\"m-1\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n",
        "data: {\"id\":\"c1\",\"model\":\"m-1\",\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":3}}\n\n",
        "data: [DONE]\n\n",
    );

    const ANTHROPIC: &str = concat!(
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"a1\",\"model\":\"m-1\",\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}\n\n",
        "event: ping\ndata: {\"type\":\"ping\"}\n\n",
        "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi\"}}\n\n",
        "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":3}}\n\n",
        "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    );

    const RESPONSES: &str = concat!(
        "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"r1\",\"model\":\"m-1\",\"status\":\"in_progress\",\"error\":null}}\n\n",
        "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"Hi\"}\n\n",
        "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"r1\",\"model\":\"m-1\",\"status\":\"completed\",\"error\":null,\"output\":[{\"type\":\"message\",\"content\":[{\"type\":\"output_text\",\"text\":\"Hi\"}]}],\"usage\":{\"input_tokens\":9,\"output_tokens\":3}}}\n\n",
    );

    const GEMINI: &str = concat!(
        "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"H\"}],\"role\":\"model\"},\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":9},\"modelVersion\":\"m-1\",\"responseId\":\"g1\"}\r\n\r\n",
        "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"i\"}],\"role\":\"model\"},\"finishReason\":\"STOP\",\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":9,\"candidatesTokenCount\":3},\"modelVersion\":\"m-1\"}\r\n\r\n",
    );

    const OLLAMA: &str = concat!(
        "{\"model\":\"m-1\",\"message\":{\"role\":\"assistant\",\"content\":\"Hi\"},\"done\":false}\n",
        "{\"model\":\"m-1\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\",\"prompt_eval_count\":9,\"eval_count\":3}\n",
    );

    const STREAMS: [(Format, &str); 5] = [
        (Format::OpenAi, OPENAI),
        (Format::Responses, RESPONSES),
        (Format::Anthropic, ANTHROPIC),
        (Format::Gemini, GEMINI),
        (Format::Ollama, OLLAMA),
    ];

    fn watched(
        mut watcher: Watcher,
        pieces: impl IntoIterator<Item = Vec<u8>>,
    ) -> (String, Watcher) {
        let mut out = Vec::new();
        for piece in pieces {
            out.extend_from_slice(&watcher.push(&piece).expect("short enough"));
        }
        out.extend(watcher.end());
        (String::from_utf8(out).expect("UTF-8"), watcher)
    }

    #[test]
    fn a_stream_passes_unchanged_and_is_understood() {
        for (format, stream) in STREAMS {
            let bytes = stream.bytes().map(|byte| vec![byte]);
            let (out, watcher) = watched(Watcher::new(format), bytes);
            assert_eq!(out, stream);
            let seen = watcher.seen();
            assert_eq!(watcher.verdict(), Ok(()), "{format:?}");
            assert!(seen.content && seen.finish.is_some());
            assert_eq!(seen.model.as_deref(), Some("m-1"));
            let usage = seen.reported.usage();
            assert_eq!(
                (usage.total_input(), usage.total_output()),
                (9, 3),
                "{format:?}"
            );
            assert!((1..=4).contains(&seen.estimated_output().0), "{format:?}");
        }
    }

    #[test]
    fn the_chunk_of_usage_is_taken_out_when_nobody_asked_for_it() {
        let watcher = Watcher::new(Format::OpenAi).hiding_usage();
        let (out, watcher) = watched(watcher, [OPENAI.as_bytes().to_vec()]);
        let expected: Vec<&str> = OPENAI
            .split_inclusive("\n\n")
            .filter(|event| !event.contains("\"choices\":[],"))
            .collect();
        assert_eq!(out, expected.concat());
        assert_eq!(watcher.seen().reported.usage().total_input(), 9);
    }

    #[test]
    fn the_model_has_the_name_that_the_client_asked_for() {
        for (format, stream) in STREAMS {
            let watcher = Watcher::new(format).naming("my \"alias\"");
            let (out, _) = watched(watcher, [stream.as_bytes().to_vec()]);
            assert_eq!(
                out,
                stream.replace("\"m-1\"", "\"my \\\"alias\\\"\""),
                "{format:?}"
            );
        }
    }

    #[test]
    fn a_stream_cut_short_is_no_answer_wherever_it_is_cut() {
        for (format, stream) in STREAMS {
            let ends: Vec<usize> = stream.match_indices('\n').map(|(at, _)| at + 1).collect();
            for end in ends {
                let (_, watcher) =
                    watched(Watcher::new(format), [stream.as_bytes()[..end].to_vec()]);
                let told = watcher.seen().finish.is_some() || watcher.seen().ended;
                assert_eq!(watcher.verdict().is_ok(), told, "{format:?} {end}");
            }
            let (_, watcher) = watched(Watcher::new(format), []);
            assert_eq!(watcher.verdict(), Err(Failed::Truncated));
        }
    }

    #[test]
    fn success_without_an_answer_is_a_failure() {
        use Format::{Anthropic, Gemini, Ollama, OpenAi, Responses};
        let failing: &[(Format, &str, &str)] = &[
            (OpenAi, r#"{"error":{"message":"m","code":"x"}}"#, "m"),
            (OpenAi, r#"{"id":"x","choices":[]}"#, "no choices"),
            (OpenAi, r#"{"id":"x"}"#, "no choices"),
            (
                OpenAi,
                r#"{"choices":[{"message":{"role":"assistant","content":""},"finish_reason":"stop"}]}"#,
                "before it began",
            ),
            (
                OpenAi,
                r#"{"choices":[{"message":{"role":"assistant","content":null},"finish_reason":"tool_calls"}]}"#,
                "before it began",
            ),
            (OpenAi, "", "not JSON"),
            (OpenAi, "<html>", "not JSON"),
            (
                Responses,
                r#"{"status":"failed","error":{"message":"m"},"output":[]}"#,
                "m",
            ),
            (
                Responses,
                r#"{"status":"completed","error":null,"output":[]}"#,
                "before it began",
            ),
            (
                Anthropic,
                r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#,
                "m",
            ),
            (
                Anthropic,
                r#"{"type":"message","content":[],"stop_reason":"end_turn"}"#,
                "before it began",
            ),
            (Gemini, r#"{"usageMetadata":{}}"#, "no choices"),
            (
                Gemini,
                r#"{"candidates":[{"finishReason":"OTHER"}]}"#,
                "before it began",
            ),
            (
                Gemini,
                r#"{"candidates":[{"content":{"parts":[]},"finishReason":"MALFORMED_FUNCTION_CALL"}]}"#,
                "before it began",
            ),
            (Ollama, r#"{"error":"m"}"#, "m"),
            (
                Ollama,
                r#"{"message":{"role":"assistant","content":""},"done":true,"done_reason":"load"}"#,
                "before it began",
            ),
        ];
        for (format, body, says) in failing {
            let failed = Seen::of_answer(*format, Operation::Chat, body.as_bytes()).verdict();
            let failed = failed.expect_err(body);
            assert!(failed.to_string().contains(says), "{body}: {failed}");
            assert!(failed.told().status >= 400);
        }
        let passing: &[(Format, &str)] = &[
            (
                OpenAi,
                r#"{"choices":[{"message":{"content":""},"finish_reason":"length"}]}"#,
            ),
            (
                OpenAi,
                r#"{"choices":[{"message":{"content":null},"finish_reason":"content_filter"}]}"#,
            ),
            (
                OpenAi,
                r#"{"choices":[{"message":{"content":null,"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"stop"}],"error":null}"#,
            ),
            (
                Anthropic,
                r#"{"content":[{"type":"tool_use","id":"a","name":"f","input":{}}],"stop_reason":"tool_use"}"#,
            ),
            (Gemini, r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#),
            (Ollama, r#"{"message":{"content":"x"},"done":true}"#),
        ];
        for (format, body) in passing {
            let seen = Seen::of_answer(*format, Operation::Chat, body.as_bytes());
            assert_eq!(seen.verdict(), Ok(()), "{body}");
        }
    }

    #[test]
    fn an_error_in_a_stream_is_seen_before_and_after_content() {
        let cases: &[(Format, &str)] = &[
            (
                Format::OpenAi,
                "data: {\"error\":{\"message\":\"m\",\"type\":\"server_error\"}}\n\n",
            ),
            (
                Format::Anthropic,
                "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"m\"}}\n\n",
            ),
            (
                Format::Responses,
                "event: error\ndata: {\"type\":\"error\",\"code\":\"server_error\",\"message\":\"m\",\"param\":null}\n\n",
            ),
            (
                Format::Responses,
                "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"status\":\"failed\",\"error\":{\"code\":\"server_error\",\"message\":\"m\"}}}\n\n",
            ),
            (
                Format::Gemini,
                "data: {\"error\":{\"code\":503,\"message\":\"m\",\"status\":\"UNAVAILABLE\"}}\n\n",
            ),
            (Format::Ollama, "{\"error\":\"m\"}\n"),
        ];
        for (format, event) in cases {
            let (_, watcher) = watched(Watcher::new(*format), [event.as_bytes().to_vec()]);
            let failed = watcher.verdict().expect_err("an error");
            assert_eq!(failed.to_string(), "m", "{event}");
            assert!(!watcher.seen().content);
        }
    }

    proptest! {
        #[test]
        fn any_cut_shows_the_same(
            which in 0_usize..5,
            cuts in proptest::collection::vec(0_usize..1_500, 0..10),
            hiding in any::<bool>(),
            naming in any::<bool>(),
        ) {
            let (format, stream) = STREAMS[which];
            let stream = stream.as_bytes();
            let new = || {
                let mut watcher = Watcher::new(format);
                if hiding { watcher = watcher.hiding_usage(); }
                if naming { watcher = watcher.naming("n"); }
                watcher
            };
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            cuts.sort_unstable();
            cuts.push(stream.len());
            let mut from = 0;
            let pieces = cuts.into_iter().map(|cut| { let piece = stream[from..cut].to_vec(); from = cut; piece });
            let (cut, one) = watched(new(), pieces);
            let (whole, other) = watched(new(), [stream.to_vec()]);
            prop_assert_eq!(cut, whole);
            prop_assert_eq!(one.seen().reported.usage(), other.seen().reported.usage());
            prop_assert_eq!(one.verdict(), other.verdict());
        }

        #[test]
        fn garbage_never_panics(
            which in 0_usize..5,
            at in 0_usize..2_000,
            garbage in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let (format, stream) = STREAMS[which];
            let mut bytes = stream.as_bytes().to_vec();
            let at = at.min(bytes.len());
            bytes.splice(at..at, garbage);
            let (_, watcher) = {
                let mut watcher = Watcher::new(format).naming("n");
                let _ = watcher.push(&bytes);
                watcher.end();
                ((), watcher)
            };
            let _ = watcher.verdict().map_err(|failed| failed.told());
            let _ = Seen::of_answer(format, Operation::Chat, &bytes).verdict();
        }
    }
}
