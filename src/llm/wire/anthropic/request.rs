//! Requests, read and written.

use std::borrow::Cow;

use super::{content, hint, is_empty, write_block, write_hint};
use crate::llm::wire::front::Format;
use crate::llm::wire::json::{Duplicates, Index, Kind, Text, Value, Writer};
use crate::llm::wire::neutral::{
    Block, Choice, Effort, Output, Request, Role, Target, Thinking, Tool, Turn, Unsupported,
    Written, as_system, lost, tool_name,
};

/// The newer version of the API, in which sampling parameters are gone.
pub const VERSION: &str = "2026-10-21";

/// The older one.
pub const OLD_VERSION: &str = "2023-06-01";

/// The least budget for thinking.
const LEAST_BUDGET: u64 = 1_024;

/// What stands in the place of a user's turn that the conversation lacks.
const NO_USER: &str = ".";

/// Reads a request.
///
/// # Errors
/// What of it has no meaning outside of this format, and where.
pub fn read_request(root: Value<'_>) -> Result<Request<'_>, Unsupported> {
    let mut request = Request {
        list: "messages",
        ..Request::default()
    };
    let mut effort = None;
    let mut thought = None;
    for (key, value) in root.members() {
        if value.is_null() {
            continue;
        }
        let number = (value.kind() == Kind::Number).then(|| value.raw());
        match &*key.string().unwrap_or_default() {
            "model" | "messages" | "models" | "fallbacks" | "cache_control" => {}
            "system" => content(value, &mut request.system).map_err(|(position, what)| {
                Unsupported::new(format!("system[{position}]"), what)
            })?,
            "stream" => request.stream = value.boolean().unwrap_or_default(),
            "max_tokens" => request.max_output = value.integer(),
            "temperature" => request.sampling.temperature = number,
            "top_p" => request.sampling.top_p = number,
            "top_k" => request.sampling.top_k = number,
            "stop_sequences" => {
                request.stop = value.items().filter_map(|item| item.text()).collect();
            }
            "metadata" => request.user = value.text_of("user_id"),
            "thinking" => thought = Some(value),
            "output_config" => {
                effort = value
                    .some("effort")
                    .and_then(|effort| Effort::of(&effort.string()?));
                if let Some(format) = value.some("format") {
                    request.output = output(format)?;
                }
            }
            "output_format" => request.output = output(value)?,
            "service_tier" => request.tier = value.text(),
            "tools" => {
                for (position, item) in value.items().enumerate() {
                    let own = item.some("type").is_none_or(|kind| kind.is("custom"));
                    let Some(name) = item.text_of("name").filter(|_| own) else {
                        return Err(Unsupported::new(
                            format!("tools[{position}]"),
                            "a tool that only its provider runs cannot be passed to another",
                        ));
                    };
                    request.tools.push(Tool {
                        name,
                        description: item.text_of("description"),
                        schema: item.raw_of("input_schema"),
                        strict: item.boolean_of("strict"),
                        cache: hint(item),
                    });
                }
            }
            "tool_choice" => {
                let kind = value.word_of("type");
                request.choice = match &*kind {
                    "none" => Some(Choice::None),
                    "auto" => Some(Choice::Auto),
                    "any" => Some(Choice::Any),
                    "tool" => value.text_of("name").map(Choice::Tool),
                    _ => {
                        return Err(Unsupported::new(
                            "tool_choice.type",
                            "an unknown choice of tools",
                        ));
                    }
                };
                if value.boolean_of("disable_parallel_tool_use") == Some(true) {
                    request.parallel = Some(false);
                }
            }
            "mcp_servers" if value.items().next().is_some() => {
                return Err(Unsupported::new(
                    "mcp_servers",
                    "only Anthropic connects to these servers",
                ));
            }
            name => request.dropped.push(name.to_owned()),
        }
    }
    request.thinking = match thought {
        Some(value) => thinking(value, effort),
        None => effort.map(Thinking::Effort),
    };
    let messages = root.some("messages");
    for (at, message) in messages
        .into_iter()
        .flat_map(|list| list.items())
        .enumerate()
    {
        let role = message.word_of("role");
        let role = match &*role {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "system" => Role::System,
            _ => {
                return Err(Unsupported::new(
                    format!("messages[{at}].role"),
                    "an unknown role",
                ));
            }
        };
        let mut blocks = Vec::new();
        if let Some(value) = message.some("content") {
            content(value, &mut blocks).map_err(|(position, what)| {
                Unsupported::new(format!("messages[{at}].content[{position}]"), what)
            })?;
        }
        request.say(role, at, blocks);
    }
    Ok(request)
}

/// The value of `thinking`, which gateways of OpenAI's kind take as well.
#[must_use]
pub fn thinking(value: Value<'_>, effort: Option<Effort>) -> Option<Thinking> {
    let kind = value.some("type")?.string()?;
    match &*kind {
        "enabled" => Some(
            value
                .integer_of("budget_tokens")
                .map_or(Thinking::Adaptive, Thinking::Budget),
        ),
        "adaptive" => Some(effort.map_or(Thinking::Adaptive, Thinking::Effort)),
        "disabled" => Some(Thinking::Off),
        _ => None,
    }
}

fn output(format: Value<'_>) -> Result<Output<'_>, Unsupported> {
    match format.some("schema") {
        Some(schema)
            if format
                .some("type")
                .is_some_and(|kind| kind.is("json_schema")) =>
        {
            Ok(Output::Schema {
                name: None,
                schema: Cow::Borrowed(schema.raw()),
                strict: None,
            })
        }
        _ => Err(Unsupported::new(
            "output_config.format",
            "an unknown form of answers",
        )),
    }
}

/// Writes a request.
///
/// # Errors
/// What of it cannot be said in this format, and where.
pub fn write_request(request: &Request<'_>, target: &Target<'_>) -> Result<Written, Unsupported> {
    request.one_answer()?;
    let mut dropped = request.dropped.clone();
    let mut most = request.max_output.unwrap_or(target.max_output).max(1);
    let turns = turns(request, target)?;

    // How much to think, in the words that the model takes.
    let mut budget = None;
    let mut effort = None;
    match request.thinking {
        None | Some(Thinking::Off) => {}
        Some(Thinking::Adaptive) if target.adaptive => effort = Some(None),
        Some(thinking) if target.adaptive => effort = Some(thinking.effort()),
        Some(thinking) if target.budget => {
            let wanted = match thinking {
                Thinking::Budget(tokens) => tokens,
                other => other.effort().unwrap_or(Effort::Medium).budget(),
            };
            budget = Some(wanted.max(LEAST_BUDGET));
        }
        Some(_) => dropped.push("thinking".to_owned()),
    }
    if budget.is_some() && lacks_thinking(&turns) {
        // The provider wants its own thoughts back before the results of a call; they are gone, and
        // nobody can make them up.
        budget = None;
        dropped.push("thinking".to_owned());
    }
    if let Some(budget) = budget
        && most <= budget
    {
        most = most.saturating_add(budget);
    }

    let sampling = &request.sampling;
    let tempered = sampling
        .temperature
        .is_some_and(|number| number.parse() != Ok(1.0_f64));
    let asked = tempered || sampling.top_p.is_some() || sampling.top_k.is_some();
    let drawn = asked && target.sampling && budget.is_none();
    let undrawn = asked && !drawn;
    dropped.extend(lost([
        ("temperature", undrawn && sampling.temperature.is_some()),
        ("top_p", undrawn && sampling.top_p.is_some()),
        ("top_k", undrawn && sampling.top_k.is_some()),
        ("seed", sampling.seed.is_some()),
        ("presence_penalty", sampling.presence_penalty.is_some()),
        ("frequency_penalty", sampling.frequency_penalty.is_some()),
    ]));

    let mut out = Writer::new();
    out.open()
        .key("model")
        .string(target.model)
        .key("max_tokens")
        .integer(most);
    let system: Vec<&Block<'_>> = request
        .system
        .iter()
        .filter(|block| !is_empty(block))
        .collect();
    let instruct = match &request.output {
        Output::Json => Some("Answer with one JSON object and nothing else.".to_owned()),
        Output::Schema { schema, .. } if !target.schema => Some(format!(
            "Answer with one JSON object and nothing else. It must follow this JSON schema: {schema}"
        )),
        _ => None,
    };
    if !system.is_empty() || instruct.is_some() {
        out.key("system").open_array();
        for block in system {
            write_block(block, &mut out).map_err(|what| Unsupported::new("system", what))?;
        }
        if let Some(instruct) = instruct {
            out.open_as("text").key("text").string(&instruct).close();
        }
        out.close_array();
    }
    out.key("messages").open_array();
    for turn in &turns {
        out.open()
            .key("role")
            .string(if turn.user { "user" } else { "assistant" });
        out.key("content").open_array();
        for (origin, block) in &turn.blocks {
            write_block(block, &mut out).map_err(|what| match origin {
                Some((turn, position)) => request.unsupported(turn, *position, what),
                None => Unsupported::new(request.list, what),
            })?;
        }
        out.close_array().close();
    }
    out.close_array();
    if drawn {
        // The scale of the temperature ends at 1 here.
        let over = |number: &&str| number.parse::<f64>().is_ok_and(|number| number > 1.0);
        let temperature = sampling.temperature;
        out.members(&[
            (
                "temperature",
                temperature.filter(over).map(|_| "1").or(temperature),
            ),
            ("top_p", sampling.top_p),
            ("top_k", sampling.top_k),
        ]);
    }
    let stop: Vec<&Text<'_>> = request
        .stop
        .iter()
        .filter(|word| !word.decoded().trim().is_empty())
        .collect();
    if stop.len() < request.stop.len() {
        dropped.push("stop".to_owned());
    }
    if !stop.is_empty() {
        out.key("stop_sequences").texts(stop);
    }
    if let Some(user) = &request.user {
        out.key("metadata").open().key("user_id").text(user).close();
    }
    if let Some(budget) = budget {
        out.key("thinking").open_as("enabled");
        out.key("budget_tokens").integer(budget).close();
    } else if effort.is_some() {
        out.key("thinking").open_as("adaptive").close();
    }
    let format = match &request.output {
        Output::Schema { schema, .. } if target.schema => Some(schema),
        _ => None,
    };
    if matches!(effort, Some(Some(_))) || format.is_some() {
        out.key("output_config").open();
        if let Some(Some(effort)) = effort {
            let word = if effort == Effort::Minimal {
                Effort::Low
            } else {
                effort
            };
            out.key("effort").string(word.name());
        }
        if let Some(schema) = format {
            out.key("format").open_as("json_schema");
            out.key("schema").raw(schema).close();
        }
        out.close();
    }
    if let Some(tier) = &request.tier {
        match tier.as_written() {
            "auto" | "standard_only" => {
                out.key("service_tier").text(tier);
            }
            "default" | "standard" => {
                out.key("service_tier").string("standard_only");
            }
            "priority" => {
                out.key("service_tier").string("auto");
            }
            _ => dropped.push("service_tier".to_owned()),
        }
    }
    write_tools(request, budget.is_some(), &mut dropped, &mut out);
    if request.stream {
        out.key("stream").boolean(true);
    }
    out.close();
    Ok(Written {
        body: out.finish(),
        dropped,
        version: Some(if drawn { OLD_VERSION } else { VERSION }),
    })
}

fn write_tools(request: &Request<'_>, thinks: bool, dropped: &mut Vec<String>, out: &mut Writer) {
    // A history with calls must have its tools declared, even if they are not to be called again.
    let mut lost: Vec<&Text<'_>> = Vec::new();
    if request.tools.is_empty() {
        for block in request.turns.iter().flat_map(|turn| &turn.blocks) {
            if let Block::Call { name, .. } = block
                && !lost.contains(&name)
            {
                lost.push(name);
            }
        }
    }
    if request.tools.is_empty() && lost.is_empty() {
        return;
    }
    out.key("tools").open_array();
    for tool in &request.tools {
        out.open();
        tool.write(
            Format::Anthropic,
            "input_schema",
            Some(&object_schema(tool.schema.as_deref())),
            out,
        );
        if let Some(strict) = tool.strict.filter(|strict| *strict) {
            out.key("strict").boolean(strict);
        }
        write_hint(tool.cache.as_deref(), out);
        out.close();
    }
    for name in lost {
        out.open()
            .key("name")
            .text(&tool_name(name, Format::Anthropic));
        out.key("input_schema").raw(r#"{"type":"object"}"#).close();
    }
    out.close_array();
    let mut choice = request.choice.clone();
    if thinks && matches!(choice, Some(Choice::Any | Choice::Tool(_))) {
        // Whoever thinks may not be forced.
        dropped.push("tool_choice".to_owned());
        choice = Some(Choice::Auto);
    }
    let alone = request.parallel == Some(false);
    let kind = match &choice {
        None if alone => "auto",
        None => return,
        Some(Choice::None) => "none",
        Some(Choice::Auto) => "auto",
        Some(Choice::Any) => "any",
        Some(Choice::Tool(_)) => "tool",
    };
    out.key("tool_choice").open_as(kind);
    if let Some(Choice::Tool(name)) = &choice {
        out.key("name").text(&tool_name(name, Format::Anthropic));
    }
    if alone && kind != "none" {
        out.key("disable_parallel_tool_use").boolean(true);
    }
    out.close();
}

/// A schema with an object at its root, as this format wants it.
fn object_schema(schema: Option<&str>) -> Cow<'_, str> {
    let Some(schema) = schema else {
        return Cow::Borrowed(r#"{"type":"object","properties":{}}"#);
    };
    let mut index = Index::new();
    let kind = index
        .read(schema.as_bytes(), Duplicates::LastCounts)
        .ok()
        .map(|root| {
            (
                root.some("type").is_some_and(|kind| kind.is("object")),
                root.members().next().is_some(),
            )
        });
    match kind {
        Some((true, _)) => Cow::Borrowed(schema),
        Some((false, false)) => Cow::Borrowed(r#"{"type":"object","properties":{}}"#),
        _ => {
            let mut out = Writer::new();
            out.open_as("object").key("properties").open();
            out.key("value").raw(schema).close();
            out.key("required")
                .open_array()
                .string("value")
                .close_array()
                .close();
            Cow::Owned(out.finish())
        }
    }
}

/// A turn of this format: neighbours of one role are one.
struct Merged<'r, 'a> {
    user: bool,
    blocks: Vec<(Origin<'r, 'a>, Cow<'r, Block<'a>>)>,
}

/// Where the client said it: the turn and the place in it. Nothing for what is ours.
type Origin<'r, 'a> = Option<(&'r Turn<'a>, usize)>;

fn turns<'r, 'a>(
    request: &'r Request<'a>,
    target: &Target<'_>,
) -> Result<Vec<Merged<'r, 'a>>, Unsupported> {
    let mut turns: Vec<Merged<'r, 'a>> = Vec::new();
    for turn in &request.turns {
        let user = turn.role != Role::Assistant;
        let mut blocks = Vec::new();
        for (position, block) in turn.blocks.iter().enumerate() {
            let unsigned = matches!(
                block,
                Block::Thinking {
                    signature: None,
                    ..
                }
            );
            if is_empty(block) || unsigned {
                // Without its signature the provider does not take a thought back.
                continue;
            }
            let block = match block {
                Block::Text { text, cache } if turn.role == Role::System => {
                    Cow::Owned(Block::Text {
                        text: as_system(text),
                        cache: cache.clone(),
                    })
                }
                block => Cow::Borrowed(block),
            };
            blocks.push((Some((turn, position)), block));
        }
        if blocks.is_empty() {
            continue;
        }
        match turns.last_mut() {
            Some(last) if last.user == user => last.blocks.append(&mut blocks),
            _ => turns.push(Merged { user, blocks }),
        }
    }
    if turns.first().is_none_or(|turn| !turn.user) {
        let text = Block::text(Text::of(NO_USER));
        turns.insert(
            0,
            Merged {
                user: true,
                blocks: vec![(None, Cow::Owned(text))],
            },
        );
    }
    if let Some(last) = turns.last_mut().filter(|turn| !turn.user) {
        // The client puts the beginning of the answer into the model's mouth.
        let calls = last.blocks.iter().any(|(_, block)| block.is_call());
        if calls || !target.prefill {
            let at = request.turns.last().map_or(0, |turn| turn.at);
            return Err(Unsupported::new(
                format!("{}[{at}]", request.list),
                if calls {
                    "calls of tools at the end need their results"
                } else {
                    "this model does not go on with an answer that is begun; end with a message of the user"
                },
            ));
        }
        if let Some((_, block)) = last.blocks.last_mut()
            && let Block::Text { text, .. } = block.to_mut()
        {
            *text = Text::owned(text.decoded().trim_end().to_owned());
        }
        last.blocks.retain(|(_, block)| !is_empty(block));
        if last.blocks.is_empty() {
            turns.pop();
        }
    }
    Ok(turns)
}

/// Whether the last thing the model did was to call tools, without a thought that is signed.
fn lacks_thinking(turns: &[Merged<'_, '_>]) -> bool {
    let Some(last) = turns.iter().rev().find(|turn| !turn.user) else {
        return false;
    };
    let mut blocks = last.blocks.iter().map(|(_, block)| &**block);
    let calls = blocks.clone().any(Block::is_call);
    calls
        && !matches!(
            blocks.next(),
            Some(Block::Thinking { .. } | Block::Redacted(_))
        )
}
