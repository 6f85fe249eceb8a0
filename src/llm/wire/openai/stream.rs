//! Streams: read event by event, and written.

use std::borrow::Cow;

use super::{finish_word, head, write_completion, write_signature, write_thinking};
use crate::llm::wire::front::{Format, Operation};
use crate::llm::wire::json::{Kind, Text, Value, Writer};
use crate::llm::wire::neutral::{Block, Client, Event, reason};
use crate::llm::wire::usage;
use crate::llm::wire::watch::Seen;

/// The calls of a stream, which come in pieces and not always in order.
#[derive(Debug, Default)]
pub struct Calls {
    calls: Vec<Call>,
    /// Whether thinking came since the last signature.
    thought: bool,
    started: bool,
}

#[derive(Debug)]
struct Call {
    index: Option<u64>,
    id: String,
    name: String,
    /// Whether it was told that it begins. Its name may come in pieces before.
    begun: bool,
    signature: Option<Text<'static>>,
}

impl Calls {
    /// Tells what an event of a stream says.
    pub fn read(&mut self, root: Value<'_>, each: &mut impl FnMut(Event<'_>)) {
        let Some(choice) = root.some("choices").and_then(|list| list.items().next()) else {
            return;
        };
        if !std::mem::replace(&mut self.started, true) {
            each(Event::Start {
                id: root.text_of("id"),
            });
        }
        // Only the first of several answers can be told in other formats.
        let first = choice
            .some("index")
            .is_none_or(|index| index.integer() == Some(0));
        let Some(delta) = choice
            .some("delta")
            .or_else(|| choice.some("message"))
            .filter(|_| first)
        else {
            return;
        };
        let text = |name: &str| {
            delta
                .some(name)
                .and_then(|value| value.text())
                .filter(|text| !text.is_empty())
        };
        if let Some(thought) = text("reasoning_content").or_else(|| text("reasoning")) {
            self.thought = true;
            each(Event::Thinking(thought));
        }
        for block in delta.items_of("thinking_blocks") {
            if let Some(data) = block.text_of("data") {
                each(Event::Redacted(data));
                continue;
            }
            let thinking = block.text_of("thinking");
            if let Some(thinking) = thinking.filter(|text| !text.is_empty() && !self.thought) {
                each(Event::Thinking(thinking));
            }
            if let Some(signature) = block.text_of("signature") {
                self.thought = false;
                each(Event::Signature(signature));
            }
        }
        match delta.some("content") {
            Some(parts) if parts.kind() == Kind::Array => {
                for part in parts.items() {
                    if let Some(text) = part.text_of("text") {
                        self.begin_all(each);
                        each(Event::Text(text));
                    }
                }
            }
            _ => {
                if let Some(text) = text("content") {
                    self.begin_all(each);
                    each(Event::Text(text));
                }
            }
        }
        if let Some(refusal) = text("refusal") {
            each(Event::Refusal(refusal));
        }
        for call in delta.items_of("tool_calls") {
            self.call(call, call.some("function"), each);
        }
        if let Some(function) = delta.some("function_call") {
            self.call(function, Some(function), each);
        }
        if choice.some("finish_reason").is_some() {
            self.begin_all(each);
        }
    }

    fn call(
        &mut self,
        call: Value<'_>,
        function: Option<Value<'_>>,
        each: &mut impl FnMut(Event<'_>),
    ) {
        let index = call.integer_of("index");
        let id = call.text_of("id").filter(|id| !id.is_empty());
        let place = match &id {
            // Some servers give every call the index 0: the id tells them apart.
            Some(id) => self
                .calls
                .iter()
                .rposition(|known| known.id == id.as_written())
                .or_else(|| {
                    self.calls.iter().rposition(|known| {
                        known.id.is_empty() && known.index == index && index.is_some()
                    })
                }),
            None => match index {
                Some(_) => self.calls.iter().rposition(|known| known.index == index),
                None => self.calls.len().checked_sub(1),
            },
        };
        let place = place.unwrap_or_else(|| {
            self.calls.push(Call {
                index,
                id: String::new(),
                name: String::new(),
                begun: false,
                signature: None,
            });
            self.calls.len() - 1
        });
        let known = &mut self.calls[place];
        if let Some(id) = id
            && known.id.is_empty()
        {
            id.as_written().clone_into(&mut known.id);
        }
        if let Some(signature) = call
            .path(&["extra_content", "google", "thought_signature"])
            .and_then(|text| text.text())
        {
            known.signature = Some(signature.into_owned());
        }
        let name = function.and_then(|function| function.some("name")?.text());
        if let Some(name) = name
            && !known.begun
            && known.name != name.as_written()
        {
            known.name.push_str(name.as_written());
        }
        let part = function.and_then(|function| {
            let arguments = function.some("arguments")?;
            match arguments.kind() {
                Kind::String => arguments.text(),
                // Some servers send the object itself.
                Kind::Object => Some(Text::owned(arguments.raw().to_owned())),
                _ => None,
            }
        });
        if let Some(part) = part.filter(|part| !part.is_empty()) {
            self.begin(place, each);
            each(Event::Arguments { call: place, part });
        }
    }

    fn begin(&mut self, last: usize, each: &mut impl FnMut(Event<'_>)) {
        // Calls are counted in the order in which they came, so those before begin first.
        for (place, call) in self.calls.iter_mut().enumerate().take(last + 1) {
            if !std::mem::replace(&mut call.begun, true) {
                each(Event::Call {
                    call: place,
                    id: Text::written(Cow::Borrowed(&call.id)),
                    name: Text::written(Cow::Borrowed(&call.name)),
                    signature: call.signature.as_ref().map(Text::borrowed),
                });
            }
        }
    }

    /// Tells of calls that have begun without any arguments.
    pub fn begin_all(&mut self, each: &mut impl FnMut(Event<'_>)) {
        if let Some(last) = self.calls.len().checked_sub(1) {
            self.begin(last, each);
        }
    }
}

/// Writes a stream for a client.
#[derive(Debug, Default)]
pub struct Stream {
    id: String,
    started: bool,
    /// For each call, whether it had arguments.
    calls: Vec<bool>,
    /// What was thought since the last signature: the whole of it goes out with that.
    thought: Text<'static>,
}

impl Stream {
    fn chunk(
        &self,
        client: &Client,
        out: &mut Writer,
        finish: Option<&str>,
        delta: impl FnOnce(&mut Writer),
    ) {
        self.begin(client, out);
        out.key("choices").open_array().open();
        out.key("index").integer(0).key("delta").open();
        delta(out);
        out.close().key("finish_reason");
        match finish {
            Some(finish) => out.string(finish),
            None => out.null(),
        };
        out.close().close_array();
        if client.include_usage {
            out.key("usage").null();
        }
        out.close().plain("\n\n");
    }

    fn completion(&self, text: &Text<'_>, finish: Option<&str>, client: &Client, out: &mut Writer) {
        self.begin(client, out);
        write_completion(text, finish, out);
        out.close().plain("\n\n");
    }

    fn begin(&self, client: &Client, out: &mut Writer) {
        let object = if client.operation == Operation::Completion {
            "text_completion"
        } else {
            "chat.completion.chunk"
        };
        out.plain("data: ");
        head(
            Some(&Text::written(Cow::Borrowed(&self.id))),
            object,
            client,
            out,
        );
    }

    /// Writes one event.
    pub fn event(&mut self, event: Event<'_>, client: &Client, out: &mut Writer) {
        if let Event::Start { id } = &event {
            if let Some(id) = id {
                id.as_written().clone_into(&mut self.id);
            }
            self.start(client, out);
            return;
        }
        if matches!(event, Event::Ping) {
            out.plain(": ping\n\n");
            return;
        }
        if client.operation == Operation::Completion {
            if let Event::Text(text) = event {
                self.completion(&text, None, client, out);
            }
            return;
        }
        self.start(client, out);
        match event {
            Event::Start { .. } | Event::Ping => {}
            Event::Text(text) => self.chunk(client, out, None, |out| {
                out.key("content").text(&text);
            }),
            Event::Refusal(text) => self.chunk(client, out, None, |out| {
                out.key("refusal").text(&text);
            }),
            Event::Thinking(text) => {
                self.thought.push(&text);
                self.chunk(client, out, None, |out| {
                    out.key("reasoning_content").text(&text);
                });
            }
            Event::Signature(signature) => {
                let text = std::mem::take(&mut self.thought);
                let block = Block::Thinking {
                    text,
                    signature: Some(signature),
                };
                self.blocks(&block, client, out);
            }
            Event::Redacted(data) => self.blocks(&Block::Redacted(data), client, out),
            Event::Call {
                call,
                id,
                name,
                signature,
            } => {
                if self.calls.len() <= call {
                    self.calls.resize(call + 1, false);
                }
                self.chunk(client, out, None, |out| {
                    if client.legacy {
                        out.key("function_call").open().key("name").text(&name);
                        out.key("arguments").string("").close();
                        return;
                    }
                    out.key("tool_calls")
                        .open_array()
                        .open()
                        .key("index")
                        .integer(call as u64);
                    out.key("id").pieces(&[&client.id_of(call, &id)]);
                    out.key("type").string("function").key("function").open();
                    out.key("name")
                        .text(&name)
                        .key("arguments")
                        .string("")
                        .close();
                    write_signature(signature.as_ref(), out);
                    out.close().close_array();
                });
            }
            Event::Arguments { call, part } => {
                if let Some(had) = self.calls.get_mut(call) {
                    *had = true;
                }
                self.arguments(call, &part, client, out);
            }
        }
    }

    fn start(&mut self, client: &Client, out: &mut Writer) {
        let started = std::mem::replace(&mut self.started, true);
        if !started && client.operation != Operation::Completion {
            self.chunk(client, out, None, |out| {
                out.key("role")
                    .string("assistant")
                    .key("content")
                    .string("");
            });
        }
    }

    fn blocks(&self, block: &Block<'_>, client: &Client, out: &mut Writer) {
        self.chunk(client, out, None, |out| {
            out.key("thinking_blocks").open_array();
            write_thinking(block, out);
            out.close_array();
        });
    }

    fn arguments(&self, call: usize, part: &Text<'_>, client: &Client, out: &mut Writer) {
        self.chunk(client, out, None, |out| {
            if client.legacy {
                out.key("function_call")
                    .open()
                    .key("arguments")
                    .text(part)
                    .close();
                return;
            }
            out.key("tool_calls")
                .open_array()
                .open()
                .key("index")
                .integer(call as u64);
            out.key("function")
                .open()
                .key("arguments")
                .text(part)
                .close();
            out.close().close_array();
        });
    }

    /// Writes the end of a stream that ended well.
    pub fn end(&mut self, seen: &Seen, client: &Client, out: &mut Writer) {
        self.start(client, out);
        for call in 0..self.calls.len() {
            if !self.calls[call] {
                self.arguments(call, &Text::of("{}"), client, out);
            }
        }
        let finish = reason(seen.finish.clone(), !self.calls.is_empty());
        let word = finish_word(&finish, client.legacy);
        if client.operation == Operation::Completion {
            self.completion(&Text::default(), Some(word), client, out);
        } else {
            self.chunk(client, out, Some(word), |_| {});
        }
        if client.include_usage {
            self.begin(client, out);
            out.key("choices").open_array().close_array().key("usage");
            usage::write(Format::OpenAi, &client.usage(seen), out);
            out.close().plain("\n\n");
        }
        out.plain("data: [DONE]\n\n");
    }
}
