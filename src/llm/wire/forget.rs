//! Taking thoughts out of a call that goes on in its own format.
//!
//! What a model thought is signed by its provider, and means nothing to another: that one would refuse
//! the call. Everything else stays byte for byte.

use std::borrow::Cow;

use super::front::Format;
use super::json::{Kind, Value};

/// Where the conversation stands in a call.
#[must_use]
pub const fn conversation(format: Format) -> &'static [&'static str] {
    match format {
        Format::OpenAi | Format::Anthropic | Format::Ollama => &["messages"],
        Format::Responses => &["input"],
        Format::Gemini => &["contents"],
    }
}

/// The conversation without its thoughts and signatures as JSON; `None` if there are none in it.
#[must_use]
pub fn without_thoughts(format: Format, root: Value<'_>) -> Option<String> {
    let turns = root.path(conversation(format))?;
    if turns.kind() != Kind::Array {
        return None;
    }
    let is_of = |item: &Value<'_>, kinds: &[&str]| {
        let kind = item.member("type");
        kind.is_some_and(|kind| kinds.iter().any(|word| kind.is(word)))
    };
    let kept = match format {
        Format::OpenAi => list(turns, |turn| {
            const THOUGHTS: [&str; 4] = [
                "thinking_blocks",
                "reasoning_content",
                "reasoning_details",
                "reasoning",
            ];
            Some(without(turn, &THOUGHTS))
        }),
        Format::Ollama => list(turns, |turn| Some(without(turn, &["thinking"]))),
        Format::Responses => list(turns, |item| {
            (!is_of(&item, &["reasoning"])).then(|| item.raw().into())
        }),
        Format::Anthropic => list(turns, |turn| {
            within(turn, "content", |block| {
                let is_thought = is_of(&block, &["thinking", "redacted_thinking"]);
                (!is_thought).then(|| block.raw().into())
            })
        }),
        Format::Gemini => list(turns, |turn| {
            within(turn, "parts", |part| {
                let is_thought = part.boolean_of("thought") == Some(true);
                let signed = ["thoughtSignature", "thought_signature"];
                (!is_thought).then(|| without(part, &signed))
            })
        }),
    };
    (kept != turns.raw()).then_some(kept)
}

/// A list with what is left of its items, whose spaces between them go.
fn list<'a>(items: Value<'a>, mut keep: impl FnMut(Value<'a>) -> Option<Cow<'a, str>>) -> String {
    let mut all_stay = true;
    let kept: Vec<Cow<'a, str>> = (items.items())
        .filter_map(|item| {
            let kept = keep(item);
            all_stay &= matches!(&kept, Some(Cow::Borrowed(_)));
            kept
        })
        .collect();
    match all_stay {
        true => items.raw().to_owned(),
        false => format!("[{}]", kept.join(",")),
    }
}

/// A turn with what is left of a list in it; `None` if nothing is.
fn within<'a>(
    turn: Value<'a>,
    name: &str,
    keep: impl FnMut(Value<'a>) -> Option<Cow<'a, str>>,
) -> Option<Cow<'a, str>> {
    let Some(items) = turn
        .member(name)
        .filter(|items| items.kind() == Kind::Array)
    else {
        return Some(turn.raw().into());
    };
    let kept = list(items, keep);
    if kept == items.raw() {
        return Some(turn.raw().into());
    }
    (kept != "[]").then(|| object(turn, |key| (key == name).then_some(&*kept), &[]).into())
}

/// An object without some of its members.
fn without<'a>(whole: Value<'a>, names: &[&str]) -> Cow<'a, str> {
    match names.iter().any(|name| whole.member(name).is_some()) {
        false => whole.raw().into(),
        true => object(whole, |_| None, names).into(),
    }
}

/// An object in which some members have another value, and some are left out.
fn object<'b>(
    whole: Value<'_>,
    other: impl Fn(&str) -> Option<&'b str>,
    left_out: &[&str],
) -> String {
    let members = whole.members().filter_map(|(key, value)| {
        let name = key.string().unwrap_or_default();
        let stays = !left_out.contains(&&*name);
        stays.then(|| format!("{}:{}", key.raw(), other(&name).unwrap_or(value.raw())))
    });
    let members: Vec<String> = members.collect();
    format!("{{{}}}", members.join(","))
}

#[cfg(test)]
mod tests {
    use super::super::json::{Duplicates, Index};
    use super::*;

    #[test]
    fn thoughts_and_signatures_go_and_all_the_rest_stays() {
        let cases = [
            (
                Format::Anthropic,
                r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":[
                    {"type":"thinking","thinking":"t","signature":"s"},{"type":"text","text":"b",  "x":1.0}]},
                    {"role":"assistant","content":[{"type":"redacted_thinking","data":"d"}]}]}"#,
                Some(
                    r#"[{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"text","text":"b",  "x":1.0}]}]"#,
                ),
            ),
            (
                Format::Gemini,
                r#"{"contents":[{"parts":[{"text":"t","thought":true},{"functionCall":{"name":"f"},"thoughtSignature":"s"}]}]}"#,
                Some(r#"[{"parts":[{"functionCall":{"name":"f"}}]}]"#),
            ),
            (
                Format::Responses,
                r#"{"input":[{"type":"reasoning","encrypted_content":"e"},{"role":"user","content":"a"}]}"#,
                Some(r#"[{"role":"user","content":"a"}]"#),
            ),
            (
                Format::OpenAi,
                r#"{"messages":[{"role":"assistant","content":"a","reasoning_content":"t","thinking_blocks":[]}]}"#,
                Some(r#"[{"role":"assistant","content":"a"}]"#),
            ),
            (
                Format::Ollama,
                r#"{"messages":[{"role":"assistant","content":"a","thinking":"t"}]}"#,
                Some(r#"[{"role":"assistant","content":"a"}]"#),
            ),
            (
                Format::Anthropic,
                r#"{"messages":[{"role":"user","content":[{"type":"text","text":"thinking"}]}]}"#,
                None,
            ),
            (Format::Responses, r#"{"input":"thinking"}"#, None),
            (Format::Gemini, r#"{"contents":[{"parts":3},7]}"#, None),
            (Format::OpenAi, "{}", None),
        ];
        for (format, call, expected) in cases {
            let mut index = Index::new();
            let root = index.read(call.as_bytes(), Duplicates::Refuse);
            let kept = without_thoughts(format, root.expect("JSON"));
            assert_eq!(kept.as_deref(), expected, "{call}");
        }
    }
}
