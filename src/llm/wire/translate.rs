//! From one format into another: requests, whole answers and streams.
//!
//! What both formats can say is said; optional members that the other has no word for are named in a
//! list; content that it cannot express is an error that tells where it stands.

use std::borrow::Cow;

use super::front::{Format, Operation};
use super::json::{Duplicates, Index, Text, Value, Writer};
use super::neutral::{
    Answer, Arguments, Block, Client, Event, Request, Target, Unsupported, Written,
};
use super::sse::{Events, Framing};
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
    let mut answer = match from {
        Format::OpenAi => openai::read_answer(root),
        Format::Anthropic => anthropic::read_answer(root),
        Format::Responses => responses::read_answer(root),
        Format::Gemini => gemini::read_answer(root),
        Format::Ollama => ollama::read_answer(root),
    };
    settle(&mut answer, client);
    Ok(match to {
        Format::Anthropic => anthropic::write_answer(&answer, seen, client),
        Format::OpenAi => openai::write_answer(&answer, seen, client),
        Format::Responses => responses::write_answer(&answer, seen, client),
        Format::Gemini => gemini::write_answer(&answer, seen, client),
        Format::Ollama => ollama::write_answer(&answer, seen, client),
    })
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
    from: Format,
    client: Client,
    events: Events,
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
        Self {
            from,
            client,
            events: Events::new(match from {
                Format::Ollama => Framing::Lines,
                _ => Framing::Events,
            }),
            index: Index::new(),
            seen: Seen::default(),
            reader: match from {
                Format::Anthropic => Reader::Anthropic(anthropic::Blocks::default()),
                Format::OpenAi => Reader::OpenAi(openai::Calls::default()),
                Format::Responses => Reader::Responses(responses::Places::default()),
                Format::Gemini => Reader::Gemini(gemini::Parts::default()),
                Format::Ollama => Reader::Ollama(ollama::Lines::default()),
            },
            writer: match to {
                Format::Anthropic => Stream::Anthropic(anthropic::Stream::default()),
                Format::OpenAi => Stream::OpenAi(openai::Stream::default()),
                Format::Responses => Stream::Responses(responses::Stream::default()),
                Format::Gemini => Stream::Gemini(gemini::Stream::default()),
                Format::Ollama => Stream::Ollama(ollama::Stream::default()),
            },
            out: Writer::new(),
            over: false,
        }
    }

    /// What was seen so far.
    #[must_use]
    pub const fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Takes the next bytes of the provider and gives those for the client. After an error in the stream
    /// nothing more comes.
    ///
    /// # Errors
    /// An event is too long: nothing more of the stream can be understood.
    pub fn push(&mut self, bytes: &[u8]) -> Result<String, Failed> {
        let Self {
            from,
            client,
            events,
            index,
            seen,
            reader,
            writer,
            out,
            over,
        } = self;
        events
            .push(bytes, |frame| {
                let Some(data) = &frame.data else { return };
                one(
                    *from,
                    client,
                    index,
                    seen,
                    reader,
                    writer,
                    out,
                    over,
                    frame.event,
                    data,
                );
            })
            .map_err(|_| Failed::TooLong)?;
        Ok(self.out.take())
    }

    /// Takes note that the provider ended its body, and gives what is left for the client: the end, if
    /// the answer is whole.
    pub fn end(&mut self) -> String {
        let Self {
            from,
            client,
            events,
            index,
            seen,
            reader,
            writer,
            out,
            over,
        } = self;
        events.finish(|frame| {
            let Some(data) = &frame.data else { return };
            one(
                *from,
                client,
                index,
                seen,
                reader,
                writer,
                out,
                over,
                frame.event,
                data,
            );
        });
        if !self.over && self.seen.verdict().is_ok() {
            self.over = true;
            self.writer.end(&self.seen, &self.client, &mut self.out);
        }
        self.out.take()
    }

    /// Whether the stream was an answer, after [`Translator::end`].
    ///
    /// # Errors
    /// Why it was none. What the client has of it already must end with an event that tells it.
    pub fn verdict(&self) -> Result<(), Failed> {
        self.seen.verdict()
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "the parts of a translator, borrowed one by one"
)]
fn one(
    from: Format,
    client: &Client,
    index: &mut Index,
    seen: &mut Seen,
    reader: &mut Reader,
    writer: &mut Stream,
    out: &mut Writer,
    over: &mut bool,
    name: Option<&[u8]>,
    data: &[u8],
) {
    if *over {
        return;
    }
    seen.event(from, name, data, index);
    if seen.error.is_some() {
        *over = true;
        return;
    }
    if let Ok(root) = index.read(data, Duplicates::LastCounts) {
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
        match reader {
            Reader::OpenAi(calls) => calls.read(root, &mut each),
            Reader::Anthropic(blocks) => blocks.read(root, &mut each),
            Reader::Responses(places) => places.read(root, &mut each),
            Reader::Gemini(parts) => parts.read(root, &mut each),
            Reader::Ollama(lines) => lines.read(root, &mut each),
        }
    }
    // The terminator ends the stream, whatever the provider sends after it.
    if seen.ended && seen.verdict().is_ok() {
        *over = true;
        writer.end(seen, client, out);
    }
}

impl Stream {
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
