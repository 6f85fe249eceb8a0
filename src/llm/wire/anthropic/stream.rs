//! Streams: read event by event, and written.

use std::borrow::Cow;
use std::collections::VecDeque;

use super::{write_finish, write_id};
use crate::llm::wire::front::Format;
use crate::llm::wire::json::{Text, Value, Writer};
use crate::llm::wire::neutral::{Client, Event, reason};
use crate::llm::wire::usage;
use crate::llm::wire::watch::Seen;

/// The blocks of a stream by their numbers.
#[derive(Debug, Default)]
pub struct Blocks {
    /// For the block with this number the call that it is, counted from the first.
    calls: Vec<(u64, usize)>,
}

impl Blocks {
    /// Tells what an event of a stream says.
    pub fn read(&mut self, root: Value<'_>, each: &mut impl FnMut(Event<'_>)) {
        let kind = root.word_of("type");
        let number = root.integer_of("index").unwrap_or_default();
        match &*kind {
            "message_start" => each(Event::Start {
                id: root.path(&["message", "id"]).and_then(|id| id.text()),
            }),
            "ping" => each(Event::Ping),
            "content_block_start" => {
                let Some(block) = root.some("content_block") else {
                    return;
                };
                let text = |name: &str| {
                    block
                        .some(name)
                        .and_then(|text| text.text())
                        .filter(|text| !text.is_empty())
                };
                match &*block.word_of("type") {
                    "text" => {
                        if let Some(text) = text("text") {
                            each(Event::Text(text));
                        }
                    }
                    "thinking" => {
                        if let Some(text) = text("thinking") {
                            each(Event::Thinking(text));
                        }
                        if let Some(text) = text("signature") {
                            each(Event::Signature(text));
                        }
                    }
                    "redacted_thinking" => {
                        if let Some(data) = text("data") {
                            each(Event::Redacted(data));
                        }
                    }
                    "tool_use" => {
                        let call = self.calls.len();
                        self.calls.push((number, call));
                        each(Event::Call {
                            call,
                            id: text("id").unwrap_or_default(),
                            name: text("name").unwrap_or_default(),
                            signature: None,
                        });
                        // Some servers give the whole input at once.
                        if let Some(input) = block
                            .some("input")
                            .filter(|input| input.members().next().is_some())
                        {
                            each(Event::Arguments {
                                call,
                                part: Text::owned(input.raw().to_owned()),
                            });
                        }
                    }
                    _ => {}
                }
            }
            "content_block_delta" => {
                let Some(delta) = root.some("delta") else {
                    return;
                };
                let text = |name: &str| {
                    delta
                        .some(name)
                        .and_then(|text| text.text())
                        .filter(|text| !text.is_empty())
                };
                if let Some(text) = text("text") {
                    each(Event::Text(text));
                }
                if let Some(text) = text("thinking") {
                    each(Event::Thinking(text));
                }
                if let Some(text) = text("signature") {
                    each(Event::Signature(text));
                }
                if let Some(part) = text("partial_json")
                    && let Some((_, call)) =
                        self.calls.iter().rev().find(|(known, _)| *known == number)
                {
                    each(Event::Arguments { call: *call, part });
                }
            }
            _ => {}
        }
    }
}

/// Writes a stream for a client: one block open at a time, with rising numbers.
#[derive(Debug, Default)]
pub struct Stream {
    started: bool,
    id: String,
    /// Blocks that are not finished, in their order. The first one is open; what comes for the others waits.
    queue: VecDeque<Waiting>,
    /// The number of the block at the front.
    number: u64,
    calls: usize,
}

#[derive(Debug)]
struct Waiting {
    kind: Kinds,
    /// Events that could not be written yet, as JSON of their deltas.
    deltas: Vec<String>,
    /// Whether its start was written.
    open: bool,
    balance: Balance,
}

#[derive(Debug, PartialEq)]
enum Kinds {
    Text,
    Thinking,
    Redacted(String),
    Call {
        call: usize,
        id: String,
        name: String,
    },
}

/// Whether a JSON text that comes in parts is whole.
#[derive(Debug, Default)]
struct Balance {
    depth: u32,
    begun: bool,
    quoted: bool,
    escaped: bool,
}

impl Balance {
    fn feed(&mut self, part: &str) {
        for byte in part.bytes() {
            match (self.quoted, byte) {
                (true, _) if self.escaped => self.escaped = false,
                (true, b'\\') => self.escaped = true,
                (true, b'"') => self.quoted = false,
                (true, _) => {}
                (false, b'"') => self.quoted = true,
                (false, b'{' | b'[') => {
                    self.begun = true;
                    self.depth = self.depth.saturating_add(1);
                }
                (false, b'}' | b']') => self.depth = self.depth.saturating_sub(1),
                (false, _) => {}
            }
        }
    }

    const fn is_whole(&self) -> bool {
        self.begun && self.depth == 0
    }
}

impl Stream {
    /// Writes one event.
    pub fn event(&mut self, event: Event<'_>, client: &Client, seen: &Seen, out: &mut Writer) {
        match event {
            Event::Start { id } => {
                if let Some(id) = id {
                    id.as_written().clone_into(&mut self.id);
                }
                self.start(client, seen, out);
            }
            Event::Ping => {
                self.start(client, seen, out);
                out.plain("event: ping\ndata: {\"type\":\"ping\"}\n\n");
            }
            Event::Text(text) | Event::Refusal(text) => {
                self.start(client, seen, out);
                let place = self.place(Kinds::Text);
                self.delta(place, "text_delta", "text", &text, out);
            }
            Event::Thinking(text) => {
                self.start(client, seen, out);
                let place = self.place(Kinds::Thinking);
                self.delta(place, "thinking_delta", "thinking", &text, out);
            }
            Event::Signature(text) => {
                self.start(client, seen, out);
                let place = self.place(Kinds::Thinking);
                // Whatever is thought next is a thought of its own. This is said first: to write
                // moves the blocks.
                self.queue[place].balance.begun = true;
                self.delta(place, "signature_delta", "signature", &text, out);
            }
            Event::Redacted(data) => {
                self.start(client, seen, out);
                self.queue
                    .push_back(Waiting::new(Kinds::Redacted(data.as_written().to_owned())));
                self.settle(false, out);
            }
            Event::Call { call, id, name, .. } => {
                self.start(client, seen, out);
                self.calls += 1;
                self.queue.push_back(Waiting::new(Kinds::Call {
                    call,
                    id: client.id_of(call, &id),
                    name: name.as_written().to_owned(),
                }));
                self.settle(false, out);
            }
            Event::Arguments { call, part } => {
                let place = self
                    .queue
                    .iter()
                    .position(|waiting| matches!(&waiting.kind, Kinds::Call { call: known, .. } if *known == call));
                if let Some(place) = place {
                    self.queue[place].balance.feed(&part.decoded());
                    self.delta(place, "input_json_delta", "partial_json", &part, out);
                }
            }
        }
    }

    /// The block for more of a kind: the last one, or a new one.
    fn place(&mut self, kind: Kinds) -> usize {
        let goes_on = self
            .queue
            .back()
            .is_some_and(|last| last.kind == kind && !last.balance.begun);
        if !goes_on {
            self.queue.push_back(Waiting::new(kind));
        }
        self.queue.len() - 1
    }

    fn delta(&mut self, place: usize, kind: &str, member: &str, text: &Text<'_>, out: &mut Writer) {
        let mut delta = Writer::new();
        delta.open_as(kind).key(member).text(text).close();
        self.queue[place].deltas.push(delta.finish());
        self.settle(false, out);
    }

    /// Writes what can be written: all of the first block, and of those behind it that it waits for no
    /// more.
    fn settle(&mut self, last: bool, out: &mut Writer) {
        loop {
            let behind = self.queue.len() > 1;
            let Some(front) = self.queue.front_mut() else {
                return;
            };
            if !std::mem::replace(&mut front.open, true) {
                event(out, "content_block_start", |out| {
                    out.key("index")
                        .integer(self.number)
                        .key("content_block")
                        .open();
                    match &front.kind {
                        Kinds::Text => {
                            out.key("type").string("text").key("text").string("");
                        }
                        Kinds::Thinking => {
                            out.key("type")
                                .string("thinking")
                                .key("thinking")
                                .string("");
                            out.key("signature").string("");
                        }
                        Kinds::Redacted(data) => {
                            out.key("type").string("redacted_thinking").key("data");
                            out.pieces(&[data]);
                        }
                        Kinds::Call { id, name, .. } => {
                            out.key("type").string("tool_use").key("id").pieces(&[id]);
                            out.key("name").pieces(&[name]).key("input").open().close();
                        }
                    }
                    out.close();
                });
            }
            for delta in front.deltas.drain(..) {
                event(out, "content_block_delta", |out| {
                    out.key("index")
                        .integer(self.number)
                        .key("delta")
                        .raw(&delta);
                });
            }
            // A call may get more of its arguments while another one is begun; the rest is over as
            // soon as something else begins.
            let over = match front.kind {
                Kinds::Call { .. } => front.balance.is_whole() && behind,
                Kinds::Redacted(_) => true,
                Kinds::Text | Kinds::Thinking => behind,
            };
            if !over && !last {
                return;
            }
            event(out, "content_block_stop", |out| {
                out.key("index").integer(self.number);
            });
            self.queue.pop_front();
            self.number += 1;
        }
    }

    fn start(&mut self, client: &Client, seen: &Seen, out: &mut Writer) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        event(out, "message_start", |out| {
            out.key("message").open().key("id");
            write_id(Some(&Text::written(Cow::Borrowed(&self.id))), client, out);
            out.key("type")
                .string("message")
                .key("role")
                .string("assistant");
            out.key("model").string(&client.model);
            out.key("content").open_array().close_array();
            out.key("stop_reason").null().key("stop_sequence").null();
            // What is not told yet is estimated, and put right at the end: clients take 0 for a fact.
            let mut told = client.usage(seen);
            told.output = told.output.max(1);
            out.key("usage");
            usage::write(Format::Anthropic, &told, out);
            out.close();
        });
    }

    /// Writes the end of a stream that ended well.
    pub fn end(&mut self, seen: &Seen, client: &Client, out: &mut Writer) {
        self.start(client, seen, out);
        self.settle(true, out);
        let finish = reason(seen.finish.clone(), self.calls > 0);
        event(out, "message_delta", |out| {
            out.key("delta").open();
            write_finish(&finish, out);
            out.close().key("usage");
            usage::write(Format::Anthropic, &client.usage(seen), out);
        });
        event(out, "message_stop", |_| {});
    }
}

impl Waiting {
    fn new(kind: Kinds) -> Self {
        Self {
            kind,
            deltas: Vec::new(),
            open: false,
            balance: Balance::default(),
        }
    }
}

fn event(out: &mut Writer, name: &str, rest: impl FnOnce(&mut Writer)) {
    out.plain("event: ").plain(name).plain("\ndata: ");
    out.open_as(name);
    rest(out);
    out.close().plain("\n\n");
}
