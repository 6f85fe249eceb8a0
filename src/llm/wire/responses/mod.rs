//! OpenAI's responses: read into and written from no format's words.
//!
//! Here is what answers and streams have in common: the parts and the items of a response.
//! What only OpenAI keeps (earlier turns, conversations, background work) cannot be passed to others.

mod answer;
mod request;
mod stream;

pub use self::answer::{read_answer, write_answer};
pub use self::request::{read_request, write_request};
pub use self::stream::{Places, Stream};

use super::front::Format;
use super::json::{Text, Value, Writer};
use super::neutral::{Block, Client, Finish, Source, source_of};
use super::usage;
use super::watch::Seen;

fn part(part: Value<'_>) -> Result<Block<'_>, &'static str> {
    Ok(match &*part.word_of("type") {
        "input_text" | "output_text" | "text" => {
            Block::text(part.text_of("text").ok_or("a part needs `text`")?)
        }
        "refusal" => Block::Refusal(part.text_of("refusal").unwrap_or_default()),
        "input_image" => Block::Image {
            source: match (part.text_of("image_url"), part.text_of("file_id")) {
                (Some(url), _) => source_of(url),
                (None, Some(id)) => Source::File(id),
                (None, None) => return Err("an image needs `image_url`"),
            },
            detail: part
                .text_of("detail")
                .filter(|detail| detail.as_written() != "auto"),
            cache: None,
        },
        "input_file" => Block::Document {
            source: match (
                part.text_of("file_data"),
                part.text_of("file_url"),
                part.text_of("file_id"),
            ) {
                (Some(data), ..) => source_of(data),
                (None, Some(url), _) => Source::Link(url),
                (None, None, Some(id)) => Source::File(id),
                (None, None, None) => return Err("a file needs `file_data`"),
            },
            name: part.text_of("filename"),
            cache: None,
        },
        _ => return Err("a part of this type cannot be passed to this model's provider"),
    })
}

fn write_response(
    id: &str,
    done: Option<(&Items, &Finish, &Seen)>,
    client: &Client,
    out: &mut Writer,
) {
    out.open().key("id");
    if id.starts_with("resp_") {
        out.pieces(&[id]);
    } else {
        out.pieces(&["resp_", &client.id]);
    }
    out.key("object")
        .string("response")
        .key("created_at")
        .integer(client.created);
    let status = match done {
        None => "in_progress",
        Some((_, Finish::Length | Finish::ContentFilter, _)) => "incomplete",
        Some(_) => "completed",
    };
    out.key("status")
        .string(status)
        .key("error")
        .null()
        .key("incomplete_details");
    match done {
        Some((_, Finish::Length, _)) => {
            out.open().key("reason").string("max_output_tokens").close();
        }
        Some((_, Finish::ContentFilter, _)) => {
            out.open().key("reason").string("content_filter").close();
        }
        _ => {
            out.null();
        }
    }
    out.key("model")
        .string(&client.model)
        .key("output")
        .open_array();
    if let Some((items, ..)) = done {
        for (place, item) in items.items.iter().enumerate() {
            item.write(place, client, true, out);
        }
    }
    out.close_array();
    out.key("parallel_tool_calls")
        .boolean(true)
        .key("tool_choice")
        .string("auto");
    out.key("tools").open_array().close_array().key("usage");
    match done {
        Some((_, _, seen)) => usage::write(Format::Responses, &client.usage(seen), out),
        None => {
            out.null();
        }
    }
    out.close();
}

/// The items of an answer, put together from its pieces.
#[derive(Debug, Default)]
struct Items {
    items: Vec<Item>,
}

#[derive(Debug)]
enum Item {
    Message {
        text: Text<'static>,
        refusal: bool,
    },
    Reasoning {
        text: Text<'static>,
        signature: Option<Text<'static>>,
    },
    Call {
        id: String,
        name: Text<'static>,
        arguments: Text<'static>,
    },
}

impl Items {
    fn text(&mut self, more: &Text<'_>, refused: bool) {
        match self.items.last_mut() {
            Some(Item::Message { text, refusal }) if *refusal == refused => text.push(more),
            _ => self.items.push(Item::Message {
                text: more.clone().into_owned(),
                refusal: refused,
            }),
        }
    }

    fn thinking(&mut self, more: &Text<'_>) {
        match self.items.last_mut() {
            Some(Item::Reasoning {
                text,
                signature: None,
            }) => text.push(more),
            _ => self.items.push(Item::Reasoning {
                text: more.clone().into_owned(),
                signature: None,
            }),
        }
    }

    fn sign(&mut self, with: &Text<'_>) {
        match self.items.last_mut() {
            Some(Item::Reasoning {
                signature: place @ None,
                ..
            }) => *place = Some(with.clone().into_owned()),
            _ => self.redacted(with),
        }
    }

    fn redacted(&mut self, data: &Text<'_>) {
        self.items.push(Item::Reasoning {
            text: Text::default(),
            signature: Some(data.clone().into_owned()),
        });
    }

    fn call(&mut self, id: String, name: &Text<'_>) {
        self.items.push(Item::Call {
            id,
            name: name.clone().into_owned(),
            arguments: Text::default(),
        });
    }

    fn arguments(&mut self, more: &Text<'_>) {
        if let Some(Item::Call { arguments, .. }) = self.items.last_mut() {
            arguments.push(more);
        }
    }
}

impl Item {
    fn id(&self, place: usize, client: &Client) -> String {
        let kind = match self {
            Self::Message { .. } => "msg",
            Self::Reasoning { .. } => "rs",
            Self::Call { .. } => "fc",
        };
        format!("{kind}_{}_{place}", client.id)
    }

    /// Writes it, as it is when it begins or as it is when it is whole.
    fn write(&self, place: usize, client: &Client, whole: bool, out: &mut Writer) {
        let status = if whole { "completed" } else { "in_progress" };
        out.open().key("id").pieces(&[&self.id(place, client)]);
        match self {
            Self::Message { .. } => {
                out.key("type")
                    .string("message")
                    .key("status")
                    .string(status);
                out.key("role")
                    .string("assistant")
                    .key("content")
                    .open_array();
                if whole {
                    self.write_part(true, out);
                }
                out.close_array();
            }
            Self::Reasoning { signature, .. } => {
                out.key("type")
                    .string("reasoning")
                    .key("summary")
                    .open_array();
                if whole {
                    self.write_part(true, out);
                }
                out.close_array();
                if let Some(signature) = signature.as_ref().filter(|_| whole) {
                    out.key("encrypted_content").text(signature);
                }
                out.key("status").string(status);
            }
            Self::Call {
                id,
                name,
                arguments,
            } => {
                out.key("type")
                    .string("function_call")
                    .key("status")
                    .string(status);
                out.key("call_id")
                    .pieces(&[id])
                    .key("name")
                    .text(name)
                    .key("arguments");
                match (whole, arguments.is_empty()) {
                    (true, true) => out.string("{}"),
                    (true, false) => out.text(arguments),
                    (false, _) => out.string(""),
                };
            }
        }
        out.close();
    }

    fn write_part(&self, whole: bool, out: &mut Writer) {
        let empty = Text::default();
        match self {
            Self::Message {
                text,
                refusal: true,
            } => {
                let text = if whole { text } else { &empty };
                out.open_as("refusal").key("refusal").text(text).close();
            }
            Self::Message { text, .. } => {
                let text = if whole { text } else { &empty };
                out.open_as("output_text").key("text").text(text);
                out.key("annotations").open_array().close_array().close();
            }
            Self::Reasoning { text, .. } if !text.is_empty() => {
                let text = if whole { text } else { &empty };
                out.open_as("summary_text").key("text").text(text).close();
            }
            Self::Reasoning { .. } | Self::Call { .. } => {}
        }
    }
}
