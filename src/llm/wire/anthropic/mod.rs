//! Anthropic's messages: read into and written from no format's words.
//!
//! Here is what requests and answers have in common: the blocks of a conversation.

mod answer;
mod request;
mod stream;

pub use self::answer::{read_answer, write_answer};
pub use self::request::{OLD_VERSION, VERSION, read_request, thinking, write_request};
pub use self::stream::{Blocks, Stream};

use std::borrow::Cow;

use super::front::Format;
use super::json::{Text, Value, Writer};
use super::neutral::{Arguments, Block, Client, Finish, Source, plain_id, tool_name};

fn hint(value: Value<'_>) -> Option<Cow<'_, str>> {
    value.raw_of("cache_control")
}

fn content<'a>(value: Value<'a>, blocks: &mut Vec<Block<'a>>) -> Result<(), (usize, &'static str)> {
    if let Some(text) = value.text() {
        blocks.push(Block::text(text));
    }
    for (position, item) in value.items().enumerate() {
        blocks.push(block(item).map_err(|what| (position, what))?);
    }
    Ok(())
}

fn block(block: Value<'_>) -> Result<Block<'_>, &'static str> {
    let cache = hint(block);
    let kind = block.word_of("type");
    Ok(match &*kind {
        "text" => Block::Text {
            text: block.text_of("text").ok_or("a text block needs `text`")?,
            cache,
        },
        "image" => Block::Image {
            source: source(block.some("source").ok_or("an image needs `source`")?)?,
            detail: None,
            cache,
        },
        "document" => Block::Document {
            source: source(block.some("source").ok_or("a document needs `source`")?)?,
            name: block.text_of("title"),
            cache,
        },
        "tool_use" => Block::Call {
            id: block.text_of("id").unwrap_or_default(),
            name: block.text_of("name").unwrap_or_default(),
            arguments: Arguments::Object(block.raw_of("input").unwrap_or("{}".into())),
            signature: None,
        },
        "tool_result" => {
            let mut inner = Vec::new();
            if let Some(value) = block.some("content") {
                content(value, &mut inner).map_err(|(_, what)| what)?;
            }
            Block::Result {
                id: block.text_of("tool_use_id").unwrap_or_default(),
                name: None,
                content: inner,
                failed: block.boolean_of("is_error").unwrap_or_default(),
                cache,
            }
        }
        "thinking" => Block::Thinking {
            text: block.text_of("thinking").unwrap_or_default(),
            signature: block.text_of("signature").filter(|text| !text.is_empty()),
        },
        "redacted_thinking" => Block::Redacted(block.text_of("data").unwrap_or_default()),
        _ => return Err("a block of this type cannot be passed to this model's provider"),
    })
}

fn source(source: Value<'_>) -> Result<Source<'_>, &'static str> {
    let kind = source.word_of("type");
    let get = |name: &str| source.some(name);
    match &*kind {
        "base64" => Ok(Source::Data {
            media: get("media_type")
                .and_then(|media| media.text())
                .ok_or("a source needs `media_type`")?,
            data: get("data")
                .and_then(|data| data.text())
                .ok_or("a source needs `data`")?,
        }),
        "url" => Ok(Source::Link(
            get("url")
                .and_then(|url| url.text())
                .ok_or("a source needs `url`")?,
        )),
        "file" => Ok(Source::File(
            get("file_id")
                .and_then(|id| id.text())
                .ok_or("a source needs `file_id`")?,
        )),
        "text" => Ok(Source::Text(
            get("data")
                .and_then(|data| data.text())
                .ok_or("a source needs `data`")?,
        )),
        _ => Err("a source of this type cannot be passed to this model's provider"),
    }
}

fn is_empty(block: &Block<'_>) -> bool {
    match block {
        Block::Text { text, .. } => text.decoded().trim().is_empty(),
        Block::Refusal(text) => text.is_empty(),
        _ => false,
    }
}

fn write_hint(hint: Option<&str>, out: &mut Writer) {
    if let Some(hint) = hint {
        out.key("cache_control").raw(hint);
    }
}

fn write_block(block: &Block<'_>, out: &mut Writer) -> Result<(), &'static str> {
    match block {
        Block::Text { text, cache } => {
            out.open_as("text").key("text").text(text);
            write_hint(cache.as_deref(), out);
        }
        Block::Refusal(text) => {
            out.open_as("text").key("text").text(text);
        }
        Block::Image { source, cache, .. } => {
            if let Source::Data { media, .. } = source
                && !matches!(
                    media.as_written(),
                    "image/jpeg" | "image/png" | "image/gif" | "image/webp"
                )
            {
                return Err("this model's provider takes images in jpeg, png, gif and webp");
            }
            out.open_as("image").key("source");
            write_source(source, out)?;
            write_hint(cache.as_deref(), out);
        }
        Block::Document {
            source,
            name,
            cache,
        } => {
            if let Source::Data { media, .. } = source
                && media.as_written() != "application/pdf"
            {
                return Err("this model's provider takes documents in pdf and text");
            }
            out.open_as("document").key("source");
            write_source(source, out)?;
            if let Some(name) = name {
                out.key("title").text(name);
            }
            write_hint(cache.as_deref(), out);
        }
        Block::Audio { .. } => return Err("this model's provider takes no audio"),
        Block::Call {
            id,
            name,
            arguments,
            ..
        } => {
            out.open_as("tool_use").key("id").string(&plain_id(id));
            out.key("name").text(&tool_name(name, Format::Anthropic));
            out.key("input").raw(&arguments.object());
        }
        Block::Result {
            id,
            content,
            failed,
            cache,
            ..
        } => {
            out.open_as("tool_result")
                .key("tool_use_id")
                .string(&plain_id(id));
            out.key("content").open_array();
            for inner in content.iter().filter(|block| !is_empty(block)) {
                write_block(inner, out)?;
            }
            out.close_array();
            if *failed {
                out.key("is_error").boolean(true);
            }
            write_hint(cache.as_deref(), out);
        }
        Block::Thinking { text, signature } => {
            out.open_as("thinking").key("thinking").text(text);
            out.key("signature");
            match signature {
                Some(signature) => out.text(signature),
                None => out.string(""),
            };
        }
        Block::Redacted(data) => {
            out.open_as("redacted_thinking").key("data").text(data);
        }
    }
    out.close();
    Ok(())
}

fn write_source(source: &Source<'_>, out: &mut Writer) -> Result<(), &'static str> {
    out.open().key("type");
    match source {
        Source::Data { media, data } => {
            out.string("base64")
                .key("media_type")
                .text(media)
                .key("data")
                .text(data);
        }
        Source::Link(url) => {
            if !url
                .as_written()
                .get(..8)
                .is_some_and(|start| start.eq_ignore_ascii_case("https://"))
            {
                return Err("this model's provider fetches only from https addresses");
            }
            out.string("url").key("url").text(url);
        }
        Source::Text(text) => {
            out.string("text")
                .key("media_type")
                .string("text/plain")
                .key("data")
                .text(text);
        }
        Source::File(_) => return Err("a file that lies with another provider"),
    }
    out.close();
    Ok(())
}

/// Why an answer ended, from the object that holds `stop_reason`.
#[must_use]
pub fn finish(holder: Value<'_>) -> Option<Finish> {
    let finish = Finish::of(&holder.some("stop_reason")?.string()?);
    Some(match finish {
        Finish::StopSequence(_) => {
            Finish::StopSequence(holder.text_of("stop_sequence").map(Text::into_owned))
        }
        other => other,
    })
}

fn write_finish(finish: &Finish, out: &mut Writer) {
    let word = match finish {
        Finish::Length => "max_tokens",
        Finish::ToolCalls => "tool_use",
        Finish::ContentFilter => "refusal",
        Finish::StopSequence(_) => "stop_sequence",
        Finish::Stop | Finish::Malformed(_) | Finish::Unknown(_) => "end_turn",
    };
    out.key("stop_reason").string(word).key("stop_sequence");
    match finish {
        Finish::StopSequence(Some(word)) => out.text(word),
        _ => out.null(),
    };
}

fn write_id(id: Option<&Text<'_>>, client: &Client, out: &mut Writer) {
    match id.filter(|id| !id.is_empty()) {
        Some(id) => out.text(id),
        None => out.pieces(&["msg_", &client.id]),
    };
}
