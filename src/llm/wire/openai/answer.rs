//! Whole answers, read and written.

use super::{arguments, calls, finish_word, head, part, thoughts, write_completion, write_message};
use crate::llm::wire::front::{Format, Operation};
use crate::llm::wire::json::{Text, Value, Writer};
use crate::llm::wire::neutral::{Answer, Block, Client, Finish, joined};
use crate::llm::wire::usage;
use crate::llm::wire::watch::Seen;

/// Reads an answer. Of several choices the first counts.
#[must_use]
pub fn read_answer(root: Value<'_>) -> Answer<'_> {
    let mut answer = Answer {
        id: root.text_of("id"),
        ..Answer::default()
    };
    let Some(choice) = root.some("choices").and_then(|list| list.items().next()) else {
        return answer;
    };
    answer.finish = choice
        .some("finish_reason")
        .and_then(|word| word.string())
        .map(|word| Finish::of(&word));
    let Some(message) = choice.some("message") else {
        return answer;
    };
    answer.blocks = thoughts(message);
    if let Some(content) = message.some("content") {
        if let Some(text) = content.text() {
            if !text.is_empty() {
                answer.blocks.push(Block::text(text));
            }
        } else {
            answer
                .blocks
                .extend(content.items().filter_map(|item| part(item).ok()));
        }
    }
    if let Some(refusal) = message.text_of("refusal")
        && !refusal.is_empty()
    {
        answer.blocks.push(Block::Refusal(refusal));
    }
    calls(message, &mut answer.blocks);
    if let Some(function) = message.some("function_call") {
        answer.blocks.push(Block::Call {
            id: Text::default(),
            name: function.text_of("name").unwrap_or_default(),
            arguments: arguments(function),
            signature: None,
        });
    }
    answer
}

/// Writes an answer.
#[must_use]
pub fn write_answer(answer: &Answer<'_>, seen: &Seen, client: &Client) -> String {
    if client.operation == Operation::Completion {
        let mut out = Writer::new();
        head(answer.id.as_ref(), "text_completion", client, &mut out);
        let text = joined(&answer.blocks, "").unwrap_or_default();
        write_completion(&text, Some(finish_word(&answer.reason(), false)), &mut out);
        out.key("usage");
        usage::write(Format::OpenAi, &client.usage(seen), &mut out);
        out.close();
        return out.finish();
    }
    let mut out = Writer::new();
    head(answer.id.as_ref(), "chat.completion", client, &mut out);
    out.key("choices")
        .open_array()
        .open()
        .key("index")
        .integer(0);
    out.key("message").open().key("role").string("assistant");
    let legacy_call = answer.blocks.iter().find_map(|block| match block {
        Block::Call {
            name, arguments, ..
        } if client.legacy => Some((name, arguments)),
        _ => None,
    });
    if let Some((name, arguments)) = legacy_call {
        let rest: Vec<Block<'_>> = answer
            .blocks
            .iter()
            .filter(|block| !matches!(block, Block::Call { .. }))
            .cloned()
            .collect();
        write_message(&rest, true, true, &mut out);
        out.key("function_call").open().key("name").text(name);
        out.key("arguments").text(&arguments.string()).close();
    } else {
        write_message(&answer.blocks, true, true, &mut out);
    }
    out.close().key("logprobs").null();
    out.key("finish_reason")
        .string(finish_word(&answer.reason(), client.legacy));
    out.close().close_array();
    out.key("usage");
    usage::write(Format::OpenAi, &client.usage(seen), &mut out);
    out.close();
    out.finish()
}
