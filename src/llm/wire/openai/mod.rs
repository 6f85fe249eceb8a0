//! OpenAI's chat completions: read into and written from no format's words.
//!
//! Here is what requests, answers and streams have in common: calls of tools, thoughts, a message of the
//! assistant, the head of an answer; and what OpenAI's responses say in the same words.

mod answer;
mod request;
mod stream;

pub use self::answer::{read_answer, write_answer};
pub use self::request::{read_request, write_request};
pub use self::stream::{Calls, Stream};

use std::borrow::Cow;

use super::front::Format;
use super::json::{Kind, Text, Value, Writer};
use super::neutral::{
    Arguments, Block, Choice, Client, Finish, Source, plain_id, source_of, tool_name,
};

fn part(part: Value<'_>) -> Result<Block<'_>, &'static str> {
    let cache = part.raw_of("cache_control");
    let kind = part.word_of("type");
    Ok(match &*kind {
        "text" | "" => Block::Text {
            text: part.text_of("text").ok_or("a part needs `text`")?,
            cache,
        },
        "refusal" => Block::Refusal(part.text_of("refusal").unwrap_or_default()),
        "image_url" => {
            let image = part.some("image_url").ok_or("an image needs `image_url`")?;
            let url = image.text().or_else(|| image.some("url")?.text());
            Block::Image {
                source: source_of(url.ok_or("an image needs a URL")?),
                detail: image.text_of("detail"),
                cache,
            }
        }
        "input_audio" => {
            let audio = part
                .some("input_audio")
                .ok_or("audio needs `input_audio`")?;
            let format = audio.word_of("format");
            Block::Audio {
                media: Text::owned(if format == "mp3" {
                    "audio/mpeg".to_owned()
                } else {
                    format!("audio/{format}")
                }),
                data: audio.text_of("data").ok_or("audio needs `data`")?,
            }
        }
        "file" => {
            let file = part.some("file").ok_or("a file needs `file`")?;
            let data = file.text_of("file_data");
            let id = file.text_of("file_id");
            let source = data.map(source_of).or_else(|| id.map(Source::File));
            let source = source.ok_or("a file needs `file_data` or `file_id`")?;
            Block::Document {
                source,
                name: file.text_of("filename"),
                cache,
            }
        }
        _ => return Err("a part of this type cannot be passed to this model's provider"),
    })
}

/// What an assistant thought, by any of the names that are in use.
fn thoughts(message: Value<'_>) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    if let Some(list) = message.some("thinking_blocks") {
        for block in list.items() {
            if let Some(data) = block.text_of("data") {
                blocks.push(Block::Redacted(data));
            } else {
                blocks.push(Block::Thinking {
                    text: block.text_of("thinking").unwrap_or_default(),
                    signature: block.text_of("signature"),
                });
            }
        }
    }
    if blocks.is_empty() {
        let text = message
            .some("reasoning_content")
            .or_else(|| message.some("reasoning"));
        if let Some(text) = text.and_then(|text| text.text())
            && !text.is_empty()
        {
            blocks.push(Block::thought(text));
        }
    }
    blocks
}

fn arguments(function: Value<'_>) -> Arguments<'_> {
    match function.some("arguments") {
        Some(object) if object.kind() == Kind::Object => {
            Arguments::Object(Cow::Borrowed(object.raw()))
        }
        other => Arguments::String(other.and_then(|text| text.text()).unwrap_or_default()),
    }
}

fn calls<'a>(message: Value<'a>, blocks: &mut Vec<Block<'a>>) {
    for call in message.items_of("tool_calls") {
        let function = call.some("function").unwrap_or(call);
        blocks.push(Block::Call {
            id: call.text_of("id").unwrap_or_default(),
            name: function.text_of("name").unwrap_or_default(),
            arguments: arguments(function),
            signature: call
                .path(&["extra_content", "google", "thought_signature"])
                .and_then(|signature| signature.text()),
        });
    }
}

/// Writes the members of an assistant's message after its role.
fn write_message(blocks: &[Block<'_>], reasoning: bool, signed: bool, out: &mut Writer) {
    let mut content: Option<Text<'static>> = None;
    let mut refusal: Option<&Text<'_>> = None;
    let mut thought = Text::default();
    for block in blocks {
        match block {
            Block::Text { text, .. } => content.get_or_insert_default().push(text),
            Block::Refusal(text) => refusal = Some(text),
            Block::Thinking { text, .. } => thought.push(text),
            _ => {}
        }
    }
    let called = blocks.iter().any(Block::is_call);
    out.key("content");
    match content {
        Some(text) if !(text.is_empty() && called) => out.text(&text),
        _ if called || refusal.is_some() => out.null(),
        _ => out.string(""),
    };
    if let Some(refusal) = refusal {
        out.key("refusal").text(refusal);
    }
    if reasoning && !thought.is_empty() {
        out.key("reasoning_content").text(&thought);
    }
    let has_signed = blocks.iter().any(|block| {
        matches!(
            block,
            Block::Thinking {
                signature: Some(_),
                ..
            } | Block::Redacted(_)
        )
    });
    if signed && has_signed {
        out.key("thinking_blocks").open_array();
        for block in blocks {
            write_thinking(block, out);
        }
        out.close_array();
    }
    if called {
        out.key("tool_calls").open_array();
        for block in blocks {
            if let Block::Call {
                id,
                name,
                arguments,
                signature,
            } = block
            {
                out.open()
                    .key("id")
                    .string(&plain_id(id))
                    .key("type")
                    .string("function");
                out.key("function").open();
                out.key("name").text(&tool_name(name, Format::OpenAi));
                out.key("arguments").text(&arguments.string()).close();
                if signed {
                    write_signature(signature.as_ref(), out);
                }
                out.close();
            }
        }
        out.close_array();
    }
}

fn write_thinking(block: &Block<'_>, out: &mut Writer) {
    match block {
        Block::Thinking {
            text,
            signature: Some(signature),
        } => {
            out.open_as("thinking").key("thinking").text(text);
            out.key("signature").text(signature).close();
        }
        Block::Redacted(data) => {
            out.open_as("redacted_thinking")
                .key("data")
                .text(data)
                .close();
        }
        _ => {}
    }
}

fn write_signature(signature: Option<&Text<'_>>, out: &mut Writer) {
    if let Some(signature) = signature {
        out.key("extra_content").open().key("google").open();
        out.key("thought_signature").text(signature).close().close();
    }
}

const fn finish_word(finish: &Finish, legacy: bool) -> &'static str {
    match finish {
        Finish::Length => "length",
        Finish::ToolCalls if legacy => "function_call",
        Finish::ToolCalls => "tool_calls",
        Finish::ContentFilter => "content_filter",
        Finish::Stop | Finish::StopSequence(_) | Finish::Malformed(_) | Finish::Unknown(_) => {
            "stop"
        }
    }
}

fn write_id(id: Option<&Text<'_>>, client: &Client, out: &mut Writer) {
    match id.filter(|id| !id.is_empty()) {
        Some(id) => out.text(id),
        None => out.pieces(&["chatcmpl-", &client.id]),
    };
}

fn head(id: Option<&Text<'_>>, object: &str, client: &Client, out: &mut Writer) {
    out.open().key("id");
    write_id(id, client, out);
    out.key("object").string(object);
    out.key("created").integer(client.created);
    out.key("model").string(&client.model);
}

/// Writes the choices of the older completions.
fn write_completion(text: &Text<'_>, finish: Option<&str>, out: &mut Writer) {
    out.key("choices").open_array().open();
    out.key("text").text(text).key("index").integer(0);
    out.key("logprobs").null().key("finish_reason");
    match finish {
        Some(finish) => out.string(finish),
        None => out.null(),
    };
    out.close().close_array();
}

/// Writes a message of one text.
pub(super) fn write_said(role: &str, text: &Text<'_>, out: &mut Writer) {
    out.open().key("role").string(role);
    out.key("content").text(text).close();
}

/// Writes the name, the body and the strictness of the schema of an answer.
pub(super) fn write_schema(
    name: Option<&Text<'_>>,
    schema: &str,
    strict: Option<bool>,
    out: &mut Writer,
) {
    out.key("name");
    match name {
        Some(name) => out.text(name),
        None => out.string("answer"),
    };
    out.key("schema").raw(schema);
    if let Some(strict) = strict {
        out.key("strict").boolean(strict);
    }
}

/// Writes the service tier, if there is one like it here.
pub(super) fn write_tier(tier: &Text<'_>, dropped: &mut Vec<String>, out: &mut Writer) {
    match tier.as_written() {
        "auto" | "default" | "flex" | "scale" | "priority" | "fast" => {
            out.key("service_tier").text(tier);
        }
        "standard_only" | "standard" => {
            out.key("service_tier").string("default");
        }
        _ => dropped.push("service_tier".to_owned()),
    }
}

/// Writes which tool to call: in a chat its name stands one level deeper than in a response.
pub(super) fn write_choice(choice: Option<&Choice<'_>>, format: Format, out: &mut Writer) {
    let Some(choice) = choice else { return };
    out.key("tool_choice");
    match choice {
        Choice::None => out.string("none"),
        Choice::Auto => out.string("auto"),
        Choice::Any => out.string("required"),
        Choice::Tool(name) => {
            out.open_as("function");
            let name = tool_name(name, format);
            match format {
                Format::Responses => out.key("name").text(&name).close(),
                _ => {
                    out.key("function").open().key("name").text(&name);
                    out.close().close()
                }
            }
        }
    };
}

/// Writes bytes that are in the request itself.
pub(super) fn write_data_url<'w>(
    media: &Text<'_>,
    data: &Text<'_>,
    out: &'w mut Writer,
) -> &'w mut Writer {
    out.pieces(&["data:", media.as_written(), ";base64,", data.as_written()])
}
