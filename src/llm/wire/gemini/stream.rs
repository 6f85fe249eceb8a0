//! Streams: read event by event, and written.

use std::borrow::Cow;

use super::answer::write_chunk;
use super::part;
use crate::llm::wire::error::Told;
use crate::llm::wire::front::Format;
use crate::llm::wire::json::{Text, Value, Writer};
use crate::llm::wire::neutral::{Arguments, Block, Client, Event, Finish, tell_call};
use crate::llm::wire::watch::Seen;

/// The parts of a stream.
#[derive(Debug, Default)]
pub struct Parts {
    started: bool,
    calls: usize,
}

impl Parts {
    /// Tells what a chunk of a stream says.
    pub fn read(&mut self, root: Value<'_>, each: &mut impl FnMut(Event<'_>)) {
        if !std::mem::replace(&mut self.started, true) {
            each(Event::Start {
                id: root
                    .either("responseId", "response_id")
                    .and_then(|id| id.text()),
            });
        }
        let Some(content) = root
            .items_of("candidates")
            .next()
            .and_then(|candidate| candidate.some("content"))
        else {
            return;
        };
        for item in content.items_of("parts") {
            match part(item) {
                Ok(Block::Text { text, .. }) if !text.is_empty() => each(Event::Text(text)),
                Ok(Block::Thinking { text, .. }) if !text.is_empty() => each(Event::Thinking(text)),
                Ok(call @ Block::Call { .. }) => tell_call(call, &mut self.calls, each),
                _ => {}
            }
        }
    }
}

/// Writes a stream for a client. Calls come whole, at the end.
#[derive(Debug, Default)]
pub struct Stream {
    id: String,
    begun: bool,
    calls: Vec<Call>,
}

#[derive(Debug)]
struct Call {
    id: String,
    name: Text<'static>,
    arguments: Text<'static>,
    signature: Option<Text<'static>>,
}

impl Stream {
    fn chunk(
        &mut self,
        blocks: &[Block<'_>],
        finish: Option<&Finish>,
        client: &Client,
        seen: &Seen,
        out: &mut Writer,
    ) {
        let begun = std::mem::replace(&mut self.begun, true);
        out.plain(match (client.array, begun) {
            (false, _) => "data: ",
            (true, false) => "[",
            (true, true) => ",\n",
        });
        let mut chunk = Writer::new();
        write_chunk(
            blocks,
            finish,
            Some(&Text::written(Cow::Borrowed(&self.id))),
            seen,
            client,
            &mut chunk,
        );
        out.plain(&chunk.finish());
        out.plain(if client.array { "\n" } else { "\n\n" });
    }

    /// Writes one event.
    pub fn event(&mut self, event: Event<'_>, client: &Client, seen: &Seen, out: &mut Writer) {
        let block = match event {
            Event::Start { id } => {
                if let Some(id) = id {
                    id.as_written().clone_into(&mut self.id);
                }
                return;
            }
            Event::Ping | Event::Redacted(_) => return,
            Event::Text(text) | Event::Refusal(text) => Block::text(text),
            Event::Thinking(text) => Block::thought(text),
            Event::Signature(signature) => Block::Thinking {
                text: Text::default(),
                signature: Some(signature),
            },
            Event::Call {
                call,
                id,
                name,
                signature,
            } => {
                self.calls.push(Call {
                    id: client.id_of(call, &id),
                    name: name.into_owned(),
                    arguments: Text::default(),
                    signature: signature.map(Text::into_owned),
                });
                return;
            }
            Event::Arguments { call, part } => {
                if let Some(call) = self.calls.get_mut(call) {
                    call.arguments.push(&part);
                }
                return;
            }
        };
        self.chunk(&[block], None, client, seen, out);
    }

    /// The last element of an array that is never closed: whoever waits for all of it must not take what
    /// came for the whole answer.
    #[must_use]
    pub fn failure(&self, told: &Told, request_id: &str) -> String {
        let before = if self.begun { ",\n" } else { "[" };
        format!("{before}{}\n", told.body(Format::Gemini, request_id))
    }

    /// Writes the end of a stream that ended well.
    pub fn end(&mut self, seen: &Seen, client: &Client, out: &mut Writer) {
        let calls: Vec<Block<'static>> = std::mem::take(&mut self.calls)
            .into_iter()
            .map(|call| Block::Call {
                id: Text::written(Cow::Owned(call.id)),
                name: call.name,
                arguments: Arguments::String(call.arguments),
                signature: call.signature,
            })
            .collect();
        let finish = seen.finish.clone().unwrap_or(Finish::Stop);
        self.chunk(&calls, Some(&finish), client, seen, out);
        if client.array {
            out.plain("]");
        }
    }
}
