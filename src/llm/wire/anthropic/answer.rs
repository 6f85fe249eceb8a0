//! Whole answers, read and written.

use super::{block, finish, is_empty, write_block, write_finish, write_id};
use crate::llm::wire::front::Format;
use crate::llm::wire::json::{Value, Writer};
use crate::llm::wire::neutral::{Answer, Client};
use crate::llm::wire::usage;
use crate::llm::wire::watch::Seen;

/// Reads an answer.
#[must_use]
pub fn read_answer(root: Value<'_>) -> Answer<'_> {
    Answer {
        id: root.text_of("id"),
        blocks: root
            .items_of("content")
            .filter_map(|item| block(item).ok())
            .collect(),
        finish: finish(root),
    }
}

/// Writes an answer.
#[must_use]
pub fn write_answer(answer: &Answer<'_>, seen: &Seen, client: &Client) -> String {
    let mut out = Writer::new();
    out.open().key("id");
    write_id(answer.id.as_ref(), client, &mut out);
    out.key("type")
        .string("message")
        .key("role")
        .string("assistant");
    out.key("model").string(&client.model);
    out.key("content").open_array();
    for block in answer.blocks.iter().filter(|block| !is_empty(block)) {
        // A block that this format does not have was refused when the request was read.
        let before = out.written().len();
        if write_block(block, &mut out).is_err() {
            out.cut(before);
        }
    }
    out.close_array();
    write_finish(&answer.reason(), &mut out);
    out.key("usage");
    usage::write(Format::Anthropic, &client.usage(seen), &mut out);
    out.close();
    out.finish()
}
