//! Google's `generateContent`: read into and written from no format's words.
//!
//! Here is what requests and answers have in common: the parts of a conversation, and the paths of calls.

mod answer;
mod request;
mod stream;

pub use self::answer::{read_answer, write_answer};
pub use self::request::{read_request, write_request};
pub use self::stream::{Parts, Stream};

use super::front::percent_encoded;
use super::json::{Text, Value, Writer};
use super::neutral::{Arguments, Block, Source};

/// The path and query of a call for a model.
#[must_use]
pub fn path(model: &str, stream: bool) -> String {
    path_of(
        model,
        match stream {
            true => "streamGenerateContent?alt=sse",
            false => "generateContent",
        },
    )
}

/// The path of any verb for a model.
#[must_use]
pub fn path_of(model: &str, verb: &str) -> String {
    format!("/v1beta/models/{}:{verb}", percent_encoded(model))
}

fn part(part: Value<'_>) -> Result<Block<'_>, &'static str> {
    let signature = part
        .either("thoughtSignature", "thought_signature")
        .and_then(|text| text.text());
    if let Some(text) = part.text_of("text") {
        return Ok(if part.boolean_of("thought") == Some(true) {
            Block::Thinking { text, signature }
        } else {
            Block::text(text)
        });
    }
    if let Some(data) = part.either("inlineData", "inline_data") {
        return inline(data).ok_or("inline data needs `mimeType` and `data`");
    }
    if let Some(file) = part.either("fileData", "file_data") {
        let url = file
            .either("fileUri", "file_uri")
            .and_then(|url| url.text());
        let url = url.ok_or("a file needs `fileUri`")?;
        let media = file
            .either("mimeType", "mime_type")
            .and_then(|media| media.string())
            .unwrap_or_default();
        let own =
            url.as_written().starts_with("gs://") || url.as_written().contains("googleapis.com/");
        let source = if own {
            Source::File(url)
        } else {
            Source::Link(url)
        };
        return Ok(if media.starts_with("image/") {
            Block::Image {
                source,
                detail: None,
                cache: None,
            }
        } else {
            Block::Document {
                source,
                name: None,
                cache: None,
            }
        });
    }
    if let Some(call) = part.either("functionCall", "function_call") {
        return Ok(Block::Call {
            id: call.text_of("id").unwrap_or_default(),
            name: call.text_of("name").unwrap_or_default(),
            arguments: Arguments::Object(call.raw_of("args").unwrap_or("{}".into())),
            signature,
        });
    }
    if let Some(result) = part.either("functionResponse", "function_response") {
        let response = result.some("response");
        let mut content = Vec::new();
        let mut failed = false;
        if let Some(response) = response {
            let mut members = response.members();
            let only = match (members.next(), members.next()) {
                (Some((name, value)), None) => {
                    failed = name.is("error");
                    value
                        .text()
                        .filter(|_| failed || name.is("output") || name.is("result"))
                }
                _ => None,
            };
            let text = only.unwrap_or_else(|| Text::owned(response.raw().to_owned()));
            content.push(Block::text(text));
        }
        let media = result
            .items_of("parts")
            .filter_map(|item| item.either("inlineData", "inline_data"));
        content.extend(media.filter_map(inline));
        return Ok(Block::Result {
            id: result.text_of("id").unwrap_or_default(),
            name: result.text_of("name"),
            content,
            failed,
            cache: None,
        });
    }
    Err("a part of this type cannot be passed to this model's provider")
}

fn inline(data: Value<'_>) -> Option<Block<'_>> {
    let media = data.either("mimeType", "mime_type")?.text()?;
    let bytes = data.text_of("data")?;
    let is = |start: &str| media.as_written().starts_with(start);
    Some(if is("image/") {
        Block::Image {
            source: Source::Data { media, data: bytes },
            detail: None,
            cache: None,
        }
    } else if is("audio/") || is("video/") {
        Block::Audio { media, data: bytes }
    } else {
        Block::Document {
            source: Source::Data { media, data: bytes },
            name: None,
            cache: None,
        }
    })
}

fn write_inline(media: &Text<'_>, data: &Text<'_>, out: &mut Writer) {
    out.open()
        .key("inlineData")
        .open()
        .key("mimeType")
        .text(media);
    out.key("data").text(data).close().close();
}
