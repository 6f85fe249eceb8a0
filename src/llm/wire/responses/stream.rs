//! Streams: read event by event, and written.

use super::{Item, Items, write_response};
use crate::llm::wire::json::{Text, Value, Writer};
use crate::llm::wire::neutral::{Client, Event, Finish, reason};
use crate::llm::wire::watch::Seen;

/// The items of a stream by their places.
#[derive(Debug, Default)]
pub struct Places {
    /// For a call its place in the output, and whether arguments came.
    calls: Vec<(u64, bool)>,
}

impl Places {
    /// Tells what an event of a stream says.
    pub fn read(&mut self, root: Value<'_>, each: &mut impl FnMut(Event<'_>)) {
        let kind = root.word_of("type");
        let place = root.integer_of("output_index").unwrap_or_default();
        let delta = root.text_of("delta").filter(|text| !text.is_empty());
        match (&*kind, delta) {
            ("response.created", _) => each(Event::Start {
                id: root
                    .some("response")
                    .and_then(|response| response.text_of("id")),
            }),
            ("response.output_text.delta", Some(text)) => each(Event::Text(text)),
            ("response.refusal.delta", Some(text)) => each(Event::Refusal(text)),
            (
                "response.reasoning_summary_text.delta" | "response.reasoning_text.delta",
                Some(text),
            ) => {
                each(Event::Thinking(text));
            }
            ("response.output_item.added", _) => {
                let Some(item) = root
                    .some("item")
                    .filter(|item| item.word_of("type") == "function_call")
                else {
                    return;
                };
                let call = self.calls.len();
                self.calls.push((place, false));
                each(Event::Call {
                    call,
                    id: item.text_of("call_id").unwrap_or_default(),
                    name: item.text_of("name").unwrap_or_default(),
                    signature: None,
                });
            }
            ("response.function_call_arguments.delta", Some(part)) => {
                if let Some(call) = self.calls.iter().position(|(known, _)| *known == place) {
                    self.calls[call].1 = true;
                    each(Event::Arguments { call, part });
                }
            }
            ("response.output_item.done", _) => {
                // Arguments that came in no pieces come here.
                let arguments = root.some("item").and_then(|item| item.text_of("arguments"));
                if let Some(call) = self
                    .calls
                    .iter()
                    .position(|(known, had)| *known == place && !had)
                    && let Some(part) = arguments.filter(|part| !part.is_empty())
                {
                    self.calls[call].1 = true;
                    each(Event::Arguments { call, part });
                }
            }
            _ => {}
        }
    }
}

/// Writes a stream for a client.
#[derive(Debug, Default)]
pub struct Stream {
    started: bool,
    id: String,
    sequence: u64,
    items: Items,
    /// The place of each call among the items.
    calls: Vec<usize>,
    /// The place of the message or the thought that is open.
    open: Option<usize>,
}

impl Stream {
    /// Writes one event.
    pub fn event(&mut self, event: Event<'_>, client: &Client, out: &mut Writer) {
        if let Event::Start { id: Some(id) } = &event {
            id.as_written().clone_into(&mut self.id);
        }
        self.start(client, out);
        match event {
            Event::Start { .. } => {}
            Event::Ping => {
                out.plain(": ping\n\n");
            }
            Event::Text(text) => self.delta(
                Item::Message {
                    text: Text::default(),
                    refusal: false,
                },
                &text,
                client,
                out,
            ),
            Event::Refusal(text) => self.delta(
                Item::Message {
                    text: Text::default(),
                    refusal: true,
                },
                &text,
                client,
                out,
            ),
            Event::Thinking(text) => self.delta(
                Item::Reasoning {
                    text: Text::default(),
                    signature: None,
                },
                &text,
                client,
                out,
            ),
            Event::Signature(signature) => {
                if let Some(Item::Reasoning {
                    signature: place, ..
                }) = self.open.map(|open| &mut self.items.items[open])
                {
                    *place = Some(signature.into_owned());
                    self.close(client, out);
                } else {
                    self.redacted(signature, client, out);
                }
            }
            Event::Redacted(data) => self.redacted(data, client, out),
            Event::Call { call, id, name, .. } => {
                self.close(client, out);
                self.items.call(client.id_of(call, &id), &name);
                let place = self.items.items.len() - 1;
                self.calls.push(place);
                self.item("response.output_item.added", place, false, client, out);
            }
            Event::Arguments { call, part } => {
                let Some(&place) = self.calls.get(call) else {
                    return;
                };
                if let Item::Call { arguments, .. } = &mut self.items.items[place] {
                    arguments.push(&part);
                }
                self.about(
                    "response.function_call_arguments.delta",
                    place,
                    client,
                    out,
                    |_, out| {
                        out.key("delta").text(&part);
                    },
                );
            }
        }
    }

    fn emit(&mut self, name: &str, out: &mut Writer, rest: impl FnOnce(&mut Writer)) {
        out.plain("event: ").plain(name).plain("\ndata: ");
        out.open_as(name)
            .key("sequence_number")
            .integer(self.sequence);
        self.sequence += 1;
        rest(out);
        out.close().plain("\n\n");
    }

    fn about(
        &mut self,
        name: &str,
        place: usize,
        client: &Client,
        out: &mut Writer,
        rest: impl FnOnce(&Item, &mut Writer),
    ) {
        let items = std::mem::take(&mut self.items);
        let item = &items.items[place];
        self.emit(name, out, |out| {
            out.key("item_id").pieces(&[&item.id(place, client)]);
            out.key("output_index").integer(place as u64);
            match item {
                Item::Message { .. } => {
                    out.key("content_index").integer(0);
                }
                Item::Reasoning { .. } => {
                    out.key("summary_index").integer(0);
                }
                Item::Call { .. } => {}
            }
            rest(item, out);
        });
        self.items = items;
    }

    fn item(&mut self, name: &str, place: usize, whole: bool, client: &Client, out: &mut Writer) {
        let items = std::mem::take(&mut self.items);
        self.emit(name, out, |out| {
            out.key("output_index").integer(place as u64).key("item");
            items.items[place].write(place, client, whole, out);
        });
        self.items = items;
    }

    fn start(&mut self, client: &Client, out: &mut Writer) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        let id = self.id.clone();
        for name in ["response.created", "response.in_progress"] {
            self.emit(name, out, |out| {
                out.key("response");
                write_response(&id, None, client, out);
            });
        }
    }

    fn delta(&mut self, kind: Item, more: &Text<'_>, client: &Client, out: &mut Writer) {
        let same = self
            .open
            .is_some_and(|open| match (&self.items.items[open], &kind) {
                (Item::Message { refusal, .. }, Item::Message { refusal: other, .. }) => {
                    refusal == other
                }
                (Item::Reasoning { .. }, Item::Reasoning { .. }) => true,
                _ => false,
            });
        if !same {
            self.close(client, out);
            self.items.items.push(kind);
            let place = self.items.items.len() - 1;
            self.open = Some(place);
            self.item("response.output_item.added", place, false, client, out);
            let (name, part) = match &self.items.items[place] {
                Item::Reasoning { .. } => (
                    "response.reasoning_summary_part.added",
                    r#"{"type":"summary_text","text":""}"#,
                ),
                Item::Message { refusal: true, .. } => (
                    "response.content_part.added",
                    r#"{"type":"refusal","refusal":""}"#,
                ),
                _ => (
                    "response.content_part.added",
                    r#"{"type":"output_text","text":"","annotations":[]}"#,
                ),
            };
            self.about(name, place, client, out, |_, out| {
                out.key("part").raw(part);
            });
        }
        let Some(place) = self.open else { return };
        let name = match &mut self.items.items[place] {
            Item::Message { text, refusal } => {
                text.push(more);
                if *refusal {
                    "response.refusal.delta"
                } else {
                    "response.output_text.delta"
                }
            }
            Item::Reasoning { text, .. } => {
                text.push(more);
                "response.reasoning_summary_text.delta"
            }
            Item::Call { .. } => return,
        };
        self.about(name, place, client, out, |_, out| {
            out.key("delta").text(more);
        });
    }

    fn redacted(&mut self, data: Text<'_>, client: &Client, out: &mut Writer) {
        self.close(client, out);
        self.items.redacted(&data);
        let place = self.items.items.len() - 1;
        self.item("response.output_item.added", place, false, client, out);
        self.item("response.output_item.done", place, true, client, out);
    }

    /// Writes the end of the message or the thought that is open.
    fn close(&mut self, client: &Client, out: &mut Writer) {
        let Some(place) = self.open.take() else {
            return;
        };
        let (text_name, part_name, member) = match &self.items.items[place] {
            Item::Reasoning { .. } => (
                "response.reasoning_summary_text.done",
                "response.reasoning_summary_part.done",
                "text",
            ),
            Item::Message { refusal: true, .. } => (
                "response.refusal.done",
                "response.content_part.done",
                "refusal",
            ),
            _ => (
                "response.output_text.done",
                "response.content_part.done",
                "text",
            ),
        };
        self.about(text_name, place, client, out, |item, out| {
            if let Item::Message { text, .. } | Item::Reasoning { text, .. } = item {
                out.key(member).text(text);
            }
        });
        self.about(part_name, place, client, out, |item, out| {
            out.key("part");
            item.write_part(true, out);
        });
        self.item("response.output_item.done", place, true, client, out);
    }

    /// Writes the end of a stream that ended well.
    pub fn end(&mut self, seen: &Seen, client: &Client, out: &mut Writer) {
        self.start(client, out);
        self.close(client, out);
        for place in self.calls.clone() {
            self.about(
                "response.function_call_arguments.done",
                place,
                client,
                out,
                |item, out| {
                    if let Item::Call { arguments, .. } = item {
                        let none = Text::of("{}");
                        out.key("arguments").text(if arguments.is_empty() {
                            &none
                        } else {
                            arguments
                        });
                    }
                },
            );
            self.item("response.output_item.done", place, true, client, out);
        }
        let finish = reason(seen.finish.clone(), !self.calls.is_empty());
        let name = match finish {
            Finish::Length | Finish::ContentFilter => "response.incomplete",
            _ => "response.completed",
        };
        let items = std::mem::take(&mut self.items);
        let id = std::mem::take(&mut self.id);
        self.emit(name, out, |out| {
            out.key("response");
            write_response(&id, Some((&items, &finish, seen)), client, out);
        });
    }
}
