//! From one format into another: requests, whole answers and streams.
//!
//! What both formats can say is said; optional members that the other has no word for are named in a
//! list; content that it cannot express is an error that tells where it stands.

use std::borrow::Cow;

use super::error::Told;
use super::front::{Format, Operation};
use super::json::{Duplicates, Index, Text, Value, Writer};
use super::neutral::{
    Answer, Arguments, Block, Client, Event, Request, Target, Unsupported, Written,
};
use super::sse::{Events, Frame, Framing};
use super::watch::{Failed, Seen};
use super::{anthropic, gemini, ollama, openai, responses};

/// Reads a request for an answer to a conversation.
///
/// # Errors
/// What of it has no meaning outside of its format, and where.
pub fn read_request(format: Format, root: Value<'_>) -> Result<Request<'_>, Unsupported> {
    let mut request = match format {
        Format::OpenAi => openai::read_request(root),
        Format::Anthropic => anthropic::read_request(root),
        Format::Responses => responses::read_request(root),
        Format::Gemini => gemini::read_request(root),
        Format::Ollama => ollama::read_request(root),
    }?;
    request.pair_results();
    Ok(request)
}

/// Writes a request in a provider's format.
///
/// # Errors
/// What of it cannot be said in this format, and where the client said it.
pub fn write_request(
    format: Format,
    request: &Request<'_>,
    target: &Target<'_>,
) -> Result<Written, Unsupported> {
    let mut written = match format {
        Format::OpenAi => openai::write_request(request, target),
        Format::Anthropic => anthropic::write_request(request, target),
        Format::Responses => responses::write_request(request, target),
        Format::Gemini => gemini::write_request(request, target),
        Format::Ollama => ollama::write_request(request, target),
    }?;
    written.dropped.sort();
    written.dropped.dedup();
    Ok(written)
}

/// Takes every thought and signature out: those of one model mean nothing to another.
pub fn forget_thinking(request: &mut Request<'_>) {
    for turn in &mut request.turns {
        turn.blocks
            .retain(|block| !matches!(block, Block::Thinking { .. } | Block::Redacted(_)));
        for block in &mut turn.blocks {
            if let Block::Call { signature, .. } = block {
                *signature = None;
            }
        }
    }
}

/// Translates a whole answer, if it is one. What it tells is put into `seen`, whatever it is.
///
/// # Errors
/// Why it is none: see [`Seen::verdict`].
pub fn answer(
    from: Format,
    to: Format,
    client: &Client,
    body: &[u8],
    seen: &mut Seen,
) -> Result<String, Failed> {
    let mut index = Index::new();
    let Ok(root) = index.read(body, Duplicates::LastCounts) else {
        return Err(Failed::NotJson);
    };
    seen.answer(from, Operation::Chat, root);
    seen.verdict()?;
    let mut answer = read_answer(from, root);
    settle(&mut answer, client);
    Ok(write_answer(to, &answer, seen, client))
}

fn read_answer(format: Format, root: Value<'_>) -> Answer<'_> {
    match format {
        Format::OpenAi => openai::read_answer(root),
        Format::Anthropic => anthropic::read_answer(root),
        Format::Responses => responses::read_answer(root),
        Format::Gemini => gemini::read_answer(root),
        Format::Ollama => ollama::read_answer(root),
    }
}

/// Writes a whole answer.
#[must_use]
pub fn write_answer(format: Format, answer: &Answer<'_>, seen: &Seen, client: &Client) -> String {
    match format {
        Format::Anthropic => anthropic::write_answer(answer, seen, client),
        Format::OpenAi => openai::write_answer(answer, seen, client),
        Format::Responses => responses::write_answer(answer, seen, client),
        Format::Gemini => gemini::write_answer(answer, seen, client),
        Format::Ollama => ollama::write_answer(answer, seen, client),
    }
}

/// Writes a whole answer of texts and thoughts as a stream, its texts in pieces of a few words.
#[must_use]
pub fn write_stream(format: Format, answer: &Answer<'_>, seen: &Seen, client: &Client) -> String {
    let mut writer = Stream::new(format);
    let mut out = Writer::new();
    let id = answer.id.clone();
    writer.event(Event::Start { id }, client, seen, &mut out);
    for block in &answer.blocks {
        match block {
            Block::Text { text, .. } => {
                for piece in pieces(&text.decoded()) {
                    let event = Event::Text(Text::of(piece));
                    writer.event(event, client, seen, &mut out);
                }
            }
            Block::Thinking { text, signature } => {
                for piece in pieces(&text.decoded()) {
                    let event = Event::Thinking(Text::of(piece));
                    writer.event(event, client, seen, &mut out);
                }
                if let Some(signature) = signature {
                    let event = Event::Signature(signature.borrowed());
                    writer.event(event, client, seen, &mut out);
                }
            }
            Block::Redacted(data) => {
                writer.event(Event::Redacted(data.borrowed()), client, seen, &mut out);
            }
            Block::Refusal(why) => {
                writer.event(Event::Refusal(why.borrowed()), client, seen, &mut out);
            }
            Block::Image { .. }
            | Block::Document { .. }
            | Block::Audio { .. }
            | Block::Call { .. }
            | Block::Result { .. } => {}
        }
    }
    writer.end(seen, client, &mut out);
    out.finish()
}

/// A text in pieces of some words, as models say it.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    /// A piece ends with the word that reaches this, in bytes.
    const PIECE: usize = 24;
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let from = rest.ceil_char_boundary(PIECE.min(rest.len()));
        let end = rest[from..]
            .find(char::is_whitespace)
            .map_or(rest.len(), |place| from + place);
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some(piece)
    })
}

/// Reads a whole answer, or all of a stream, as a provider gave it. What it tells is put into `seen`,
/// whatever it is. `None` if there is more in it than texts and thoughts.
///
/// # Errors
/// Why it is none: see [`Seen::verdict`].
pub fn read_texts<'a>(
    format: Format,
    bytes: &'a [u8],
    is_stream: bool,
    index: &'a mut Index,
    seen: &mut Seen,
) -> Result<Option<Answer<'a>>, Failed> {
    let answer = match is_stream {
        false => {
            let Ok(root) = index.read(bytes, Duplicates::LastCounts) else {
                return Err(Failed::NotJson);
            };
            seen.answer(format, Operation::Chat, root);
            seen.verdict()?;
            Some(read_answer(format, root))
        }
        true => read_stream(format, bytes, index, seen)?,
    };
    Ok(answer.filter(|answer| {
        answer.blocks.iter().all(|block| {
            matches!(
                block,
                Block::Text { .. } | Block::Thinking { .. } | Block::Redacted(_)
            )
        })
    }))
}

/// All that an answer says, for people: texts, thoughts, refusals, and which tools it calls with what. Of
/// one that broke off, what there is of it.
#[must_use]
pub fn said(format: Format, bytes: &[u8], is_stream: bool) -> String {
    let mut said = String::new();
    let mut index = Index::new();
    if !is_stream {
        let Ok(root) = index.read(bytes, Duplicates::LastCounts) else {
            return said;
        };
        for block in read_answer(format, root).blocks {
            match block {
                Block::Text { text, .. } | Block::Thinking { text, .. } => {
                    said.push_str(&text.decoded());
                }
                Block::Call {
                    name, arguments, ..
                } => {
                    let arguments = match &arguments {
                        Arguments::String(text) => text.decoded(),
                        Arguments::Object(json) => json.clone(),
                    };
                    said.push_str(&format!("\n{}({arguments})", name.decoded()));
                }
                _ => {}
            }
        }
        return said;
    }
    let mut reader = Reader::new(format);
    let mut take = |frame: Frame<'_>| {
        let Some(data) = &frame.data else { return };
        let Ok(root) = index.read(data, Duplicates::LastCounts) else {
            return;
        };
        reader.read(root, &mut |event: Event<'_>| match event {
            Event::Text(more) | Event::Thinking(more) | Event::Refusal(more) => {
                said.push_str(&more.decoded());
            }
            Event::Call { name, .. } => said.push_str(&format!("\n{} ", name.decoded())),
            Event::Arguments { part, .. } => said.push_str(&part.decoded()),
            Event::Start { .. } | Event::Signature(_) | Event::Redacted(_) | Event::Ping => {}
        });
    };
    let mut events = Events::new(framing(format));
    // What came before an event that is too long is said.
    if events.push(bytes, &mut take).is_ok() {
        events.finish(&mut take);
    }
    said
}

/// What all of a stream says, if that is texts and thoughts.
fn read_stream(
    format: Format,
    bytes: &[u8],
    index: &mut Index,
    seen: &mut Seen,
) -> Result<Option<Answer<'static>>, Failed> {
    let mut answer = Answer::default();
    let mut has_more = false;
    let mut reader = Reader::new(format);
    let mut take = |frame: Frame<'_>| {
        let Some(data) = &frame.data else { return };
        seen.event(format, frame.event, data, index);
        let Ok(root) = index.read(data, Duplicates::LastCounts) else {
            return;
        };
        let blocks = &mut answer.blocks;
        reader.read(root, &mut |event: Event<'_>| match event {
            Event::Start { id } => {
                answer.id = id.map(Text::into_owned).or_else(|| answer.id.take());
            }
            Event::Text(more) => match blocks.last_mut() {
                Some(Block::Text { text, .. }) => text.push(&more),
                _ => blocks.push(Block::text(more.into_owned())),
            },
            Event::Thinking(more) => match blocks.last_mut() {
                Some(Block::Thinking { text, signature }) if signature.is_none() => {
                    text.push(&more);
                }
                _ => blocks.push(Block::Thinking {
                    text: more.into_owned(),
                    signature: None,
                }),
            },
            Event::Signature(made) => match blocks.last_mut() {
                Some(Block::Thinking { signature, .. }) if signature.is_none() => {
                    *signature = Some(made.into_owned());
                }
                _ => blocks.push(Block::Thinking {
                    text: Text::default(),
                    signature: Some(made.into_owned()),
                }),
            },
            Event::Redacted(data) => blocks.push(Block::Redacted(data.into_owned())),
            Event::Refusal(_) | Event::Call { .. } | Event::Arguments { .. } => has_more = true,
            Event::Ping => {}
        });
    };
    let mut events = Events::new(framing(format));
    let pushed = events.push(bytes, &mut take);
    pushed.map_err(|_| Failed::TooLong)?;
    events.finish(&mut take);
    seen.verdict()?;
    answer.finish.clone_from(&seen.finish);
    Ok((!has_more).then_some(answer))
}

const fn framing(format: Format) -> Framing {
    match format {
        Format::Ollama => Framing::Lines,
        _ => Framing::Events,
    }
}

/// Gives calls the ids that they lack and tools the names that the client knows.
fn settle(answer: &mut Answer<'_>, client: &Client) {
    let mut calls = 0;
    for block in &mut answer.blocks {
        if let Block::Call {
            id,
            name,
            arguments,
            ..
        } = block
        {
            if id.is_empty() {
                *id = Text::owned(client.call_id(calls));
            }
            calls += 1;
            *name = client.names.original(name).into_owned();
            if let Arguments::String(text) = arguments
                && text.is_empty()
            {
                *arguments = Arguments::Object(Cow::Borrowed("{}"));
            }
        }
    }
}

/// Translates a stream as it comes.
#[derive(Debug)]
pub struct Translator {
    events: Events,
    rest: Rest,
}

/// All of a translator but what cuts the stream into events.
#[derive(Debug)]
struct Rest {
    from: Format,
    client: Client,
    index: Index,
    seen: Seen,
    reader: Reader,
    writer: Stream,
    out: Writer,
    /// Whether the end was written, or must not be any more.
    over: bool,
}

#[derive(Debug)]
enum Reader {
    OpenAi(openai::Calls),
    Anthropic(anthropic::Blocks),
    Responses(responses::Places),
    Gemini(gemini::Parts),
    Ollama(ollama::Lines),
}

#[derive(Debug)]
enum Stream {
    OpenAi(openai::Stream),
    Anthropic(anthropic::Stream),
    Responses(responses::Stream),
    Gemini(gemini::Stream),
    Ollama(ollama::Stream),
}

impl Translator {
    /// At the start of a provider's stream in one format, for a client of another.
    #[must_use]
    pub fn new(from: Format, to: Format, client: Client) -> Self {
        let rest = Rest {
            from,
            client,
            index: Index::new(),
            seen: Seen::default(),
            reader: Reader::new(from),
            writer: Stream::new(to),
            out: Writer::new(),
            over: false,
        };
        Self {
            events: Events::new(framing(from)),
            rest,
        }
    }

    /// What was seen so far.
    #[must_use]
    pub const fn seen(&self) -> &Seen {
        &self.rest.seen
    }

    /// Takes the next bytes of the provider and gives those for the client. After an error in the stream
    /// nothing more comes.
    ///
    /// # Errors
    /// An event is too long: nothing more of the stream can be understood.
    pub fn push(&mut self, bytes: &[u8]) -> Result<String, Failed> {
        let rest = &mut self.rest;
        let pushed = self.events.push(bytes, |frame| rest.take(&frame));
        pushed.map_err(|_| Failed::TooLong)?;
        Ok(self.rest.out.take())
    }

    /// Takes note that the provider ended its body, and gives what is left for the client: the end, if
    /// the answer is whole.
    pub fn end(&mut self) -> String {
        let rest = &mut self.rest;
        self.events.finish(|frame| rest.take(&frame));
        if !rest.over && rest.seen.verdict().is_ok() {
            rest.over = true;
            rest.writer.end(&rest.seen, &rest.client, &mut rest.out);
        }
        rest.out.take()
    }

    /// What the client is told of a stream that fails after its start. Nothing follows it.
    #[must_use]
    pub fn failure(&self, told: &Told, to: Format, request_id: &str) -> String {
        match &self.rest.writer {
            Stream::Gemini(stream) if self.rest.client.array => stream.failure(told, request_id),
            _ => told.event(to, request_id),
        }
    }

    /// Whether the stream was an answer, after [`Translator::end`].
    ///
    /// # Errors
    /// Why it was none. What the client has of it already must end with an event that tells it.
    pub fn verdict(&self) -> Result<(), Failed> {
        self.rest.seen.verdict()
    }
}

impl Rest {
    /// Says one event of the provider.
    fn take(&mut self, frame: &Frame<'_>) {
        let Some(data) = &frame.data else { return };
        if self.over {
            return;
        }
        let Self {
            client,
            seen,
            writer,
            out,
            ..
        } = self;
        seen.event(self.from, frame.event, data, &mut self.index);
        if seen.error.is_some() {
            self.over = true;
            return;
        }
        if let Ok(root) = self.index.read(data, Duplicates::LastCounts) {
            let mut each = |event: Event<'_>| {
                let event = match event {
                    Event::Call {
                        call,
                        id,
                        name,
                        signature,
                    } => Event::Call {
                        call,
                        id,
                        name: client.names.original(&name).into_owned(),
                        signature,
                    },
                    other => other,
                };
                writer.event(event, client, seen, out);
            };
            self.reader.read(root, &mut each);
        }
        // The terminator ends the stream, whatever the provider sends after it.
        if seen.ended && seen.verdict().is_ok() {
            self.over = true;
            writer.end(seen, client, out);
        }
    }
}

impl Reader {
    fn new(format: Format) -> Self {
        match format {
            Format::Anthropic => Self::Anthropic(anthropic::Blocks::default()),
            Format::OpenAi => Self::OpenAi(openai::Calls::default()),
            Format::Responses => Self::Responses(responses::Places::default()),
            Format::Gemini => Self::Gemini(gemini::Parts::default()),
            Format::Ollama => Self::Ollama(ollama::Lines::default()),
        }
    }

    fn read(&mut self, root: Value<'_>, each: &mut impl FnMut(Event<'_>)) {
        match self {
            Self::OpenAi(calls) => calls.read(root, each),
            Self::Anthropic(blocks) => blocks.read(root, each),
            Self::Responses(places) => places.read(root, each),
            Self::Gemini(parts) => parts.read(root, each),
            Self::Ollama(lines) => lines.read(root, each),
        }
    }
}

impl Stream {
    fn new(format: Format) -> Self {
        match format {
            Format::Anthropic => Self::Anthropic(anthropic::Stream::default()),
            Format::OpenAi => Self::OpenAi(openai::Stream::default()),
            Format::Responses => Self::Responses(responses::Stream::default()),
            Format::Gemini => Self::Gemini(gemini::Stream::default()),
            Format::Ollama => Self::Ollama(ollama::Stream::default()),
        }
    }

    fn event(&mut self, event: Event<'_>, client: &Client, seen: &Seen, out: &mut Writer) {
        match self {
            Self::OpenAi(stream) => stream.event(event, client, out),
            Self::Anthropic(stream) => stream.event(event, client, seen, out),
            Self::Responses(stream) => stream.event(event, client, out),
            Self::Gemini(stream) => stream.event(event, client, seen, out),
            Self::Ollama(stream) => stream.event(event, client, out),
        }
    }

    fn end(&mut self, seen: &Seen, client: &Client, out: &mut Writer) {
        match self {
            Self::OpenAi(stream) => stream.end(seen, client, out),
            Self::Anthropic(stream) => stream.end(seen, client, out),
            Self::Responses(stream) => stream.end(seen, client, out),
            Self::Gemini(stream) => stream.end(seen, client, out),
            Self::Ollama(stream) => stream.end(seen, client, out),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What an OpenAI client puts together from a stream: text, thinking, and calls by index with id, name
    /// and arguments; and whether it ended well.
    #[derive(PartialEq, Debug, Default)]
    struct Heard {
        text: String,
        thought: String,
        calls: Vec<(String, String, String)>,
        done: bool,
    }

    fn heard(stream: &str) -> Heard {
        let mut heard = Heard::default();
        for data in stream
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
        {
            if data == "[DONE]" {
                heard.done = true;
                continue;
            }
            let chunk: serde_json::Value = serde_json::from_str(data).expect("JSON");
            let delta = &chunk["choices"][0]["delta"];
            heard.text += delta["content"].as_str().unwrap_or_default();
            heard.thought += delta["reasoning_content"].as_str().unwrap_or_default();
            for call in delta["tool_calls"].as_array().into_iter().flatten() {
                let index = call["index"].as_u64().expect("an index") as usize;
                if heard.calls.len() <= index {
                    heard.calls.resize(index + 1, Default::default());
                }
                let (id, name, arguments) = &mut heard.calls[index];
                *id += call["id"].as_str().unwrap_or_default();
                *name += call["function"]["name"].as_str().unwrap_or_default();
                *arguments += call["function"]["arguments"].as_str().unwrap_or_default();
            }
        }
        heard
    }

    fn translated(from: Format, to: Format, stream: &str, size: usize) -> String {
        let client = Client {
            id: "id1".to_owned(),
            model: "m".to_owned(),
            ..Client::default()
        };
        let mut translator = Translator::new(from, to, client);
        let mut out = String::new();
        for piece in stream.as_bytes().chunks(size) {
            out.push_str(&translator.push(piece).expect("short enough"));
        }
        out.push_str(&translator.end());
        assert_eq!(translator.verdict(), Ok(()), "{from:?} to {to:?}: {stream}");
        out
    }

    /// A stream of OpenAI's with calls whose arguments come in pieces, in any order.
    fn stream_of(
        text: &str,
        thought: &str,
        calls: &[String],
        order: &[prop::sample::Index],
        cuts: &[usize],
    ) -> String {
        let mut out = String::new();
        let mut chunk = |delta: serde_json::Value, finish: serde_json::Value| {
            let chunk = serde_json::json!({"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
            out.push_str(&format!("data: {chunk}\n\n"));
        };
        chunk(
            serde_json::json!({"role": "assistant", "reasoning_content": thought}),
            serde_json::Value::Null,
        );
        chunk(
            serde_json::json!({"content": text}),
            serde_json::Value::Null,
        );
        for (index, _) in calls.iter().enumerate() {
            let call = serde_json::json!({"index": index, "id": format!("id_{index}"), "type": "function", "function": {"name": format!("f{index}"), "arguments": ""}});
            chunk(
                serde_json::json!({"tool_calls": [call]}),
                serde_json::Value::Null,
            );
        }
        let mut rest: Vec<(usize, Vec<char>)> = calls
            .iter()
            .enumerate()
            .map(|(index, text)| (index, text.chars().collect()))
            .collect();
        let mut turn = 0;
        while !rest.is_empty() {
            let at = order.get(turn).map_or(0, |index| index.index(rest.len()));
            let length = cuts
                .get(turn)
                .copied()
                .unwrap_or(5)
                .clamp(1, rest[at].1.len());
            let piece: String = rest[at].1.drain(..length).collect();
            let call = serde_json::json!({"index": rest[at].0, "function": {"arguments": piece}});
            chunk(
                serde_json::json!({"tool_calls": [call]}),
                serde_json::Value::Null,
            );
            rest.retain(|(_, left)| !left.is_empty());
            turn += 1;
        }
        chunk(serde_json::json!({}), "tool_calls".into());
        out + "data: [DONE]\n\n"
    }

    /// What a model of Anthropic's says in a block of a stream.
    #[derive(Clone, PartialEq, Debug)]
    enum Spoken {
        Thought { text: String, signature: String },
        Hidden(String),
        Text(String),
        Call { name: String, input: String },
    }

    fn spoken() -> impl Strategy<Value = Spoken> {
        let input = proptest::collection::btree_map("[a-c]", "[ -~\\n\\PC]{0,8}", 0..3);
        prop_oneof![
            ("[ -~äß😀]{1,12}", "[A-Za-z0-9+/=]{1,60}")
                .prop_map(|(text, signature)| Spoken::Thought { text, signature }),
            "[A-Za-z0-9+/=]{1,60}".prop_map(Spoken::Hidden),
            "[ -~\\n\\PC]{1,12}".prop_map(Spoken::Text),
            ("[a-z]{1,6}", input).prop_map(|(name, input)| Spoken::Call {
                name,
                input: serde_json::to_string(&input).expect("JSON"),
            }),
        ]
    }

    /// A stream in which each block comes in pieces of so many letters.
    fn said_by_anthropic(blocks: &[Spoken], cuts: &[usize]) -> String {
        let mut out = String::new();
        let mut say = |event: serde_json::Value| {
            let name = event["type"].as_str().expect("a name");
            out.push_str(&format!("event: {name}\ndata: {event}\n\n"));
        };
        let usage = serde_json::json!({"input_tokens": 1, "output_tokens": 1});
        say(
            serde_json::json!({"type": "message_start", "message": {"id": "msg_1", "type": "message",
            "role": "assistant", "model": "m", "content": [], "stop_reason": null, "usage": usage}}),
        );
        let mut cuts = cuts.iter().cycle();
        for (index, block) in blocks.iter().enumerate() {
            let (begin, kind, member, text) = match block {
                Spoken::Thought { text, .. } => (
                    serde_json::json!({"type": "thinking", "thinking": "", "signature": ""}),
                    "thinking_delta",
                    "thinking",
                    text.as_str(),
                ),
                Spoken::Hidden(data) => (
                    serde_json::json!({"type": "redacted_thinking", "data": data}),
                    "",
                    "",
                    "",
                ),
                Spoken::Text(text) => (
                    serde_json::json!({"type": "text", "text": ""}),
                    "text_delta",
                    "text",
                    text.as_str(),
                ),
                Spoken::Call { name, input } => (
                    serde_json::json!({"type": "tool_use", "id": format!("toolu_{index}"), "name": name, "input": {}}),
                    "input_json_delta",
                    "partial_json",
                    input.as_str(),
                ),
            };
            say(
                serde_json::json!({"type": "content_block_start", "index": index, "content_block": begin}),
            );
            let letters: Vec<char> = text.chars().collect();
            let mut rest = &letters[..];
            while !rest.is_empty() {
                let length = cuts.next().map_or(1, |cut| *cut).min(rest.len());
                let piece: String = rest[..length].iter().collect();
                rest = &rest[length..];
                let delta = serde_json::json!({"type": kind, member: piece});
                say(
                    serde_json::json!({"type": "content_block_delta", "index": index, "delta": delta}),
                );
            }
            if let Spoken::Thought { signature, .. } = block {
                let delta = serde_json::json!({"type": "signature_delta", "signature": signature});
                say(
                    serde_json::json!({"type": "content_block_delta", "index": index, "delta": delta}),
                );
            }
            say(serde_json::json!({"type": "content_block_stop", "index": index}));
        }
        say(
            serde_json::json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}}),
        );
        say(serde_json::json!({"type": "message_stop"}));
        out
    }

    /// What a client of Anthropic's puts together from a stream.
    fn heard_of_anthropic(stream: &str) -> Vec<Spoken> {
        let mut blocks: Vec<Spoken> = Vec::new();
        let datas = stream
            .lines()
            .filter_map(|line| line.strip_prefix("data: "));
        for data in datas {
            let event: serde_json::Value = serde_json::from_str(data).expect("JSON");
            let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            let begin = &event["content_block"];
            match begin["type"].as_str() {
                Some("thinking") => blocks.push(Spoken::Thought {
                    text: word(&begin["thinking"]),
                    signature: word(&begin["signature"]),
                }),
                Some("redacted_thinking") => blocks.push(Spoken::Hidden(word(&begin["data"]))),
                Some("text") => blocks.push(Spoken::Text(word(&begin["text"]))),
                Some("tool_use") => blocks.push(Spoken::Call {
                    name: word(&begin["name"]),
                    input: String::new(),
                }),
                Some(other) => panic!("a block `{other}`"),
                None => {}
            }
            if event["type"] == "content_block_delta" {
                assert_eq!(
                    event["index"],
                    blocks.len() - 1,
                    "only the last block goes on"
                );
            }
            let delta = &event["delta"];
            match blocks.last_mut() {
                Some(Spoken::Thought { text, signature }) => {
                    *text += &word(&delta["thinking"]);
                    *signature += &word(&delta["signature"]);
                }
                Some(Spoken::Text(text)) => *text += &word(&delta["text"]),
                Some(Spoken::Call { input, .. }) => *input += &word(&delta["partial_json"]),
                Some(Spoken::Hidden(_)) | None => {}
            }
        }
        blocks
    }

    proptest! {
        #[test]
        fn any_interleaving_of_calls_survives_every_format_and_back(
            text in "[ -~äß😀]{1,12}",
            thought in "[ -~]{0,8}",
            calls in proptest::collection::vec(proptest::collection::btree_map("[a-c]", "[ -~\\n\\PC]{0,8}", 0..3), 1..4),
            order in proptest::collection::vec(any::<prop::sample::Index>(), 0..40),
            cuts in proptest::collection::vec(1_usize..9, 0..40),
            size in 1_usize..64,
        ) {
            let calls: Vec<String> = calls.iter().map(|arguments| serde_json::to_string(arguments).expect("JSON")).collect();
            let stream = stream_of(&text, &thought, &calls, &order, &cuts);
            let expected = heard(&stream);
            for format in Format::ALL {
                let there = translated(Format::OpenAi, format, &stream, size);
                let back = translated(format, Format::OpenAi, &there, size);
                let mut told = heard(&back);
                if format == Format::Ollama {
                    // It has no ids: they are made anew.
                    for (told, (id, ..)) in told.calls.iter_mut().zip(&expected.calls) {
                        prop_assert!(told.0.starts_with("call_"));
                        told.0.clone_from(id);
                    }
                }
                prop_assert_eq!(&told, &expected, "{:?}: {}", format, there);
            }
        }

        #[test]
        fn a_stream_of_thoughts_and_calls_goes_to_another_gateway_and_back_byte_for_byte(
            blocks in proptest::collection::vec(spoken(), 1..6),
            cuts in proptest::collection::vec(1_usize..9, 1..12),
            size in 1_usize..64,
        ) {
            let stream = said_by_anthropic(&blocks, &cuts);
            let there = translated(Format::Anthropic, Format::OpenAi, &stream, size);
            let back = translated(Format::OpenAi, Format::Anthropic, &there, size);
            // A text that goes on in a second block goes on.
            let mut expected: Vec<Spoken> = Vec::new();
            for block in blocks {
                match (expected.last_mut(), block) {
                    (Some(Spoken::Text(text)), Spoken::Text(more)) => *text += &more,
                    (_, block) => expected.push(block),
                }
            }
            prop_assert_eq!(heard_of_anthropic(&back), expected, "{}", there);
        }

        #[test]
        fn pictures_go_to_every_format_and_back(
            parts in proptest::collection::vec(prop_oneof![
                "[a-z][ -!#-\\[\\]-~]{0,11}".prop_map(|text| (text, None)),
                proptest::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| {
                    let bytes = [b"\x89PNG\r\n\x1a\n", &bytes[..]].concat();
                    (String::new(), Some(data_encoding::BASE64.encode(&bytes)))
                }),
            ], 1..8),
        ) {
            let content: Vec<serde_json::Value> = parts.iter().map(|(text, picture)| match picture {
                Some(data) => serde_json::json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}),
                None => serde_json::json!({"type": "text", "text": text}),
            }).collect();
            let body = serde_json::json!({"max_tokens": 9, "messages": [{"role": "user", "content": content}]}).to_string();
            let said = |from, to, body: &str| {
                let mut index = Index::new();
                let root = index.read(body.as_bytes(), Duplicates::Refuse).expect("JSON");
                let request = read_request(from, root).expect("a request");
                write_request(to, &request, &Target::new("m")).expect("a request").body
            };
            let expected: Vec<&String> = parts.iter().filter_map(|(_, picture)| picture.as_ref()).collect();
            for format in Format::ALL {
                let back = said(format, Format::Anthropic, &said(Format::Anthropic, format, &body));
                let back: serde_json::Value = serde_json::from_str(&back).expect("JSON");
                let blocks = back["messages"][0]["content"].as_array().expect("blocks");
                let pictures: Vec<&str> = blocks.iter().filter_map(|block| block["source"]["data"].as_str()).collect();
                let has_type = |block: &serde_json::Value| block["type"] == "text" || block["source"]["media_type"] == "image/png";
                prop_assert!(blocks.iter().all(has_type), "{:?}: {}", format, back);
                prop_assert_eq!(&pictures, &expected, "{:?}", format);
                let words = |blocks: &[serde_json::Value]| {
                    let texts = blocks.iter().filter_map(|block| block["text"].as_str());
                    // Ollama has one text for all: its parts stand in lines.
                    texts.collect::<Vec<_>>().join("\n")
                };
                prop_assert_eq!(words(blocks), words(&content), "{:?}", format);
            }
        }

        #[test]
        fn signatures_and_arguments_go_to_another_gateway_and_back_byte_for_byte(
            thinking in "[ -!#-\\[\\]-~]{0,20}",
            signature in "[A-Za-z0-9+/=]{1,40}",
            redacted in "[A-Za-z0-9+/=]{1,40}",
            number in "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?(e[+-]?[0-9]{1,2})?",
        ) {
            let input = format!("{{ \"n\" : {number},\"x\":[ ] }}");
            let blocks = format!(
                r#"{{"type":"thinking","thinking":"{thinking}","signature":"{signature}"}},{{"type":"redacted_thinking","data":"{redacted}"}}"#
            );
            let body = format!(
                r#"{{"max_tokens":9000,"messages":[{{"role":"user","content":"a"}},{{"role":"assistant","content":[{blocks},{{"type":"tool_use","id":"t","name":"f","input":{input}}}]}},{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"t","content":"r"}}]}}]}}"#
            );
            let mut target = Target::new("m");
            target.extensions = true;
            let said = |from, to, body: &str| {
                let mut index = Index::new();
                let root = index.read(body.as_bytes(), Duplicates::Refuse).expect("JSON");
                let request = read_request(from, root).expect("a request");
                write_request(to, &request, &target).expect("a request").body
            };
            let there = said(Format::Anthropic, Format::OpenAi, &body);
            let back = said(Format::OpenAi, Format::Anthropic, &there);
            prop_assert!(back.contains(&blocks), "{}", back);
            prop_assert!(back.contains(&input), "{}", back);
        }

        #[test]
        fn a_request_of_any_shape_is_said_or_refused(
            which in 0_usize..5,
            body in request_like(),
        ) {
            let body = body.to_string();
            let mut index = Index::new();
            let root = index.read(body.as_bytes(), Duplicates::Refuse).expect("JSON");
            let Ok(mut request) = read_request(Format::ALL[which], root) else { return Ok(()) };
            for forget in [false, true] {
                if forget {
                    forget_thinking(&mut request);
                }
                for format in Format::ALL {
                    if let Ok(written) = write_request(format, &request, &Target::new("m")) {
                        let mut again = Index::new();
                        let read = again.read(written.body.as_bytes(), Duplicates::Refuse);
                        prop_assert!(read.is_ok(), "{:?} {}", read, written.body);
                    }
                }
            }
            for format in Format::ALL {
                let mut seen = Seen::default();
                let client = Client::default();
                let told = answer(Format::ALL[which], format, &client, body.as_bytes(), &mut seen);
                if let Ok(told) = told {
                    let parsed: Result<serde_json::Value, _> = serde_json::from_str(&told);
                    prop_assert!(parsed.is_ok(), "{}", told);
                }
                let mut translator = Translator::new(Format::ALL[which], format, client);
                let line = format!("data: {body}\n\n{body}\n");
                let _ = translator.push(line.as_bytes());
                translator.end();
            }
        }
    }

    /// JSON of the words that the formats know, in places where they do and do not belong.
    fn request_like() -> impl Strategy<Value = serde_json::Value> {
        let words = vec![
            "text",
            "user",
            "assistant",
            "model",
            "tool",
            "system",
            "image_url",
            "image",
            "tool_use",
            "tool_result",
            "thinking",
            "function",
            "function_call",
            "function_call_output",
            "reasoning",
            "base64",
            "data:image/png;base64,AA==",
            "call_1",
            "",
            "auto",
            "any",
            "json_schema",
            "high",
            "message_start",
            "content_block_delta",
            "response.created",
            "stop",
        ];
        let keys = vec![
            "messages",
            "contents",
            "input",
            "role",
            "content",
            "parts",
            "type",
            "text",
            "tool_calls",
            "id",
            "name",
            "function",
            "arguments",
            "input_schema",
            "tool_call_id",
            "tool_use_id",
            "call_id",
            "output",
            "source",
            "data",
            "media_type",
            "image_url",
            "url",
            "tools",
            "tool_choice",
            "system",
            "thinking",
            "signature",
            "choices",
            "delta",
            "message",
            "candidates",
            "functionCall",
            "functionResponse",
            "args",
            "response",
            "stop",
            "max_tokens",
            "done",
            "finish_reason",
            "stop_reason",
            "inlineData",
            "mimeType",
            "index",
            "usage",
            "budget_tokens",
            "options",
            "format",
            "response_format",
            "images",
        ];
        let leaf = prop_oneof![
            4 => prop::sample::select(words).prop_map(Into::into),
            1 => Just(serde_json::Value::Null),
            1 => any::<bool>().prop_map(Into::into),
            1 => (0_u32..5000).prop_map(Into::into),
        ];
        leaf.prop_recursive(6, 96, 8, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                proptest::collection::btree_map(prop::sample::select(keys.clone()), inner, 0..8)
                    .prop_map(|members| {
                        members
                            .into_iter()
                            .map(|(key, value)| (key.to_owned(), value))
                            .collect::<serde_json::Map<_, _>>()
                            .into()
                    }),
            ]
        })
    }
}
