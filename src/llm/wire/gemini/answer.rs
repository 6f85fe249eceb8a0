//! Whole answers, read and written.

use super::{part, write_inline};
use crate::llm::wire::front::Format;
use crate::llm::wire::json::{Text, Value, Writer};
use crate::llm::wire::neutral::{Answer, Block, Client, Finish, Source, plain_id};
use crate::llm::wire::usage;
use crate::llm::wire::watch::Seen;

/// Reads an answer. Of several candidates the first counts.
#[must_use]
pub fn read_answer(root: Value<'_>) -> Answer<'_> {
    let mut answer = Answer {
        id: root
            .either("responseId", "response_id")
            .and_then(|id| id.text()),
        ..Answer::default()
    };
    let Some(candidate) = root.items_of("candidates").next() else {
        answer.finish = root
            .either("promptFeedback", "prompt_feedback")
            .map(|_| Finish::ContentFilter);
        return answer;
    };
    if let Some(content) = candidate.some("content") {
        answer.blocks = content
            .items_of("parts")
            .filter_map(|item| part(item).ok())
            .collect();
    }
    answer.finish = candidate
        .either("finishReason", "finish_reason")
        .and_then(|word| word.string())
        .map(|word| Finish::of(&word));
    answer
}

const fn finish_word(finish: &Finish) -> &'static str {
    match finish {
        Finish::Length => "MAX_TOKENS",
        Finish::ContentFilter => "SAFETY",
        Finish::Stop
        | Finish::StopSequence(_)
        | Finish::ToolCalls
        | Finish::Malformed(_)
        | Finish::Unknown(_) => "STOP",
    }
}

fn write_answer_part(block: &Block<'_>, out: &mut Writer) {
    match block {
        Block::Text { text, .. } | Block::Refusal(text) => {
            out.open().key("text").text(text).close();
        }
        Block::Thinking { text, signature } => {
            out.open()
                .key("text")
                .text(text)
                .key("thought")
                .boolean(true);
            if let Some(signature) = signature {
                out.key("thoughtSignature").text(signature);
            }
            out.close();
        }
        Block::Call {
            id,
            name,
            arguments,
            signature,
        } => {
            out.open()
                .key("functionCall")
                .open()
                .key("id")
                .string(&plain_id(id));
            out.key("name")
                .text(name)
                .key("args")
                .raw(&arguments.object())
                .close();
            if let Some(signature) = signature {
                out.key("thoughtSignature").text(signature);
            }
            out.close();
        }
        Block::Image {
            source: Source::Data { media, data },
            ..
        }
        | Block::Audio { media, data } => {
            write_inline(media, data, out);
        }
        Block::Image { .. }
        | Block::Document { .. }
        | Block::Result { .. }
        | Block::Redacted(_) => {}
    }
}

/// Writes an answer.
#[must_use]
pub fn write_answer(answer: &Answer<'_>, seen: &Seen, client: &Client) -> String {
    let mut out = Writer::new();
    write_chunk(
        &answer.blocks,
        Some(&answer.reason()),
        answer.id.as_ref(),
        seen,
        client,
        &mut out,
    );
    out.finish()
}

pub(super) fn write_chunk(
    blocks: &[Block<'_>],
    finish: Option<&Finish>,
    id: Option<&Text<'_>>,
    seen: &Seen,
    client: &Client,
    out: &mut Writer,
) {
    out.open()
        .key("candidates")
        .open_array()
        .open()
        .key("content")
        .open()
        .key("role")
        .string("model");
    out.key("parts").open_array();
    for block in blocks {
        write_answer_part(block, out);
    }
    out.close_array().close();
    if let Some(finish) = finish {
        out.key("finishReason").string(finish_word(finish));
    }
    out.key("index").integer(0).close().close_array();
    if finish.is_some() {
        out.key("usageMetadata");
        usage::write(Format::Gemini, &client.usage(seen), out);
    }
    out.key("modelVersion")
        .string(&client.model)
        .key("responseId");
    match id.filter(|id| !id.is_empty()) {
        Some(id) => out.text(id),
        None => out.string(&client.id),
    };
    out.close();
}
