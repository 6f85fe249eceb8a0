//! Whole answers, read and written.

use super::{Items, part, write_response};
use crate::llm::wire::json::{Text, Value, Writer};
use crate::llm::wire::neutral::{Answer, Arguments, Block, Client, Finish, plain_id};
use crate::llm::wire::watch::Seen;

/// Reads an answer.
#[must_use]
pub fn read_answer(root: Value<'_>) -> Answer<'_> {
    let mut answer = Answer {
        id: root.text_of("id"),
        finish: match &*root.word_of("status") {
            "completed" => Some(Finish::Stop),
            "incomplete" => root
                .path(&["incomplete_details", "reason"])
                .and_then(|reason| reason.string())
                .map(|word| Finish::of(&word))
                .or(Some(Finish::Length)),
            _ => None,
        },
        ..Answer::default()
    };
    for item in root.items_of("output") {
        match &*item.word_of("type") {
            "message" => {
                let parts = item
                    .items_of("content")
                    .filter_map(|value| part(value).ok());
                answer.blocks.extend(parts);
            }
            "function_call" => answer.blocks.push(Block::Call {
                id: item.text_of("call_id").unwrap_or_default(),
                name: item.text_of("name").unwrap_or_default(),
                arguments: Arguments::String(item.text_of("arguments").unwrap_or_default()),
                signature: None,
            }),
            "reasoning" => {
                let summary = item.items_of("summary").chain(item.items_of("content"));
                for text in summary.filter_map(|part| part.text_of("text")) {
                    answer.blocks.push(Block::thought(text));
                }
            }
            _ => {}
        }
    }
    answer
}

/// Writes an answer.
#[must_use]
pub fn write_answer(answer: &Answer<'_>, seen: &Seen, client: &Client) -> String {
    let mut items = Items::default();
    for block in &answer.blocks {
        match block {
            Block::Text { text, .. } => items.text(text, false),
            Block::Refusal(text) => items.text(text, true),
            Block::Thinking { text, signature } => {
                items.thinking(text);
                if let Some(signature) = signature {
                    items.sign(signature);
                }
            }
            Block::Redacted(data) => items.redacted(data),
            Block::Call {
                id,
                name,
                arguments,
                ..
            } => {
                items.call(plain_id(id).into_owned(), name);
                items.arguments(&arguments.string());
            }
            _ => {}
        }
    }
    let mut out = Writer::new();
    let id = answer.id.as_ref().map(Text::as_written).unwrap_or_default();
    write_response(id, Some((&items, &answer.reason(), seen)), client, &mut out);
    out.finish()
}
