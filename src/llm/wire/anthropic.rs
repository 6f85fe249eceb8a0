//! Anthropic's messages: read into and written from no format's words.

use std::borrow::Cow;
use std::collections::VecDeque;

use super::front::Format;
use super::json::{Duplicates, Index, Kind, Text, Value, Writer};
use super::neutral::{
    Answer, Arguments, Block, Choice, Client, Effort, Event, Finish, Output, Request, Role, Source,
    Target, Thinking, Tool, Turn, Unsupported, Written, as_system, lost, plain_id, reason,
    tool_name,
};
use super::usage;
use super::watch::Seen;

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

fn write_id(id: Option<&Text<'_>>, client: &Client, out: &mut Writer) {
    match id.filter(|id| !id.is_empty()) {
        Some(id) => out.text(id),
        None => out.pieces(&["msg_", &client.id]),
    };
}

/// The blocks of a stream by their numbers.
#[derive(Debug, Default)]
pub struct Blocks {
    /// For the block with this number the call that it is, counted from the first.
    calls: Vec<(u64, usize)>,
}

impl Blocks {
    /// Tells what an event of a stream says.
    pub fn read(&mut self, root: Value<'_>, each: &mut impl FnMut(Event<'_>)) {
        let kind = root.word_of("type");
        let number = root.integer_of("index").unwrap_or_default();
        match &*kind {
            "message_start" => each(Event::Start {
                id: root.path(&["message", "id"]).and_then(|id| id.text()),
            }),
            "ping" => each(Event::Ping),
            "content_block_start" => {
                let Some(block) = root.some("content_block") else {
                    return;
                };
                let text = |name: &str| {
                    block
                        .some(name)
                        .and_then(|text| text.text())
                        .filter(|text| !text.is_empty())
                };
                match &*block.word_of("type") {
                    "text" => {
                        if let Some(text) = text("text") {
                            each(Event::Text(text));
                        }
                    }
                    "thinking" => {
                        if let Some(text) = text("thinking") {
                            each(Event::Thinking(text));
                        }
                        if let Some(text) = text("signature") {
                            each(Event::Signature(text));
                        }
                    }
                    "redacted_thinking" => {
                        if let Some(data) = text("data") {
                            each(Event::Redacted(data));
                        }
                    }
                    "tool_use" => {
                        let call = self.calls.len();
                        self.calls.push((number, call));
                        each(Event::Call {
                            call,
                            id: text("id").unwrap_or_default(),
                            name: text("name").unwrap_or_default(),
                            signature: None,
                        });
                        // Some servers give the whole input at once.
                        if let Some(input) = block
                            .some("input")
                            .filter(|input| input.members().next().is_some())
                        {
                            each(Event::Arguments {
                                call,
                                part: Text::owned(input.raw().to_owned()),
                            });
                        }
                    }
                    _ => {}
                }
            }
            "content_block_delta" => {
                let Some(delta) = root.some("delta") else {
                    return;
                };
                let text = |name: &str| {
                    delta
                        .some(name)
                        .and_then(|text| text.text())
                        .filter(|text| !text.is_empty())
                };
                if let Some(text) = text("text") {
                    each(Event::Text(text));
                }
                if let Some(text) = text("thinking") {
                    each(Event::Thinking(text));
                }
                if let Some(text) = text("signature") {
                    each(Event::Signature(text));
                }
                if let Some(part) = text("partial_json")
                    && let Some((_, call)) =
                        self.calls.iter().rev().find(|(known, _)| *known == number)
                {
                    each(Event::Arguments { call: *call, part });
                }
            }
            _ => {}
        }
    }
}

/// Writes a stream for a client: one block open at a time, with rising numbers.
#[derive(Debug, Default)]
pub struct Stream {
    started: bool,
    id: String,
    /// Blocks that are not finished, in their order. The first one is open; what comes for the others waits.
    queue: VecDeque<Waiting>,
    /// The number of the block at the front.
    number: u64,
    calls: usize,
}

#[derive(Debug)]
struct Waiting {
    kind: Kinds,
    /// Events that could not be written yet, as JSON of their deltas.
    deltas: Vec<String>,
    /// Whether its start was written.
    open: bool,
    balance: Balance,
}

#[derive(Debug, PartialEq)]
enum Kinds {
    Text,
    Thinking,
    Redacted(String),
    Call {
        call: usize,
        id: String,
        name: String,
    },
}

/// Whether a JSON text that comes in parts is whole.
#[derive(Debug, Default)]
struct Balance {
    depth: u32,
    begun: bool,
    quoted: bool,
    escaped: bool,
}

impl Balance {
    fn feed(&mut self, part: &str) {
        for byte in part.bytes() {
            match (self.quoted, byte) {
                (true, _) if self.escaped => self.escaped = false,
                (true, b'\\') => self.escaped = true,
                (true, b'"') => self.quoted = false,
                (true, _) => {}
                (false, b'"') => self.quoted = true,
                (false, b'{' | b'[') => {
                    self.begun = true;
                    self.depth = self.depth.saturating_add(1);
                }
                (false, b'}' | b']') => self.depth = self.depth.saturating_sub(1),
                (false, _) => {}
            }
        }
    }

    const fn is_whole(&self) -> bool {
        self.begun && self.depth == 0
    }
}

impl Stream {
    /// Writes one event.
    pub fn event(&mut self, event: Event<'_>, client: &Client, seen: &Seen, out: &mut Writer) {
        match event {
            Event::Start { id } => {
                if let Some(id) = id {
                    id.as_written().clone_into(&mut self.id);
                }
                self.start(client, seen, out);
            }
            Event::Ping => {
                self.start(client, seen, out);
                out.plain("event: ping\ndata: {\"type\":\"ping\"}\n\n");
            }
            Event::Text(text) | Event::Refusal(text) => {
                self.start(client, seen, out);
                let place = self.place(Kinds::Text);
                self.delta(place, "text_delta", "text", &text, out);
            }
            Event::Thinking(text) => {
                self.start(client, seen, out);
                let place = self.place(Kinds::Thinking);
                self.delta(place, "thinking_delta", "thinking", &text, out);
            }
            Event::Signature(text) => {
                self.start(client, seen, out);
                let place = self.place(Kinds::Thinking);
                // Whatever is thought next is a thought of its own. This is said first: to write
                // moves the blocks.
                self.queue[place].balance.begun = true;
                self.delta(place, "signature_delta", "signature", &text, out);
            }
            Event::Redacted(data) => {
                self.start(client, seen, out);
                self.queue
                    .push_back(Waiting::new(Kinds::Redacted(data.as_written().to_owned())));
                self.settle(false, out);
            }
            Event::Call { call, id, name, .. } => {
                self.start(client, seen, out);
                self.calls += 1;
                self.queue.push_back(Waiting::new(Kinds::Call {
                    call,
                    id: client.id_of(call, &id),
                    name: name.as_written().to_owned(),
                }));
                self.settle(false, out);
            }
            Event::Arguments { call, part } => {
                let place = self
                    .queue
                    .iter()
                    .position(|waiting| matches!(&waiting.kind, Kinds::Call { call: known, .. } if *known == call));
                if let Some(place) = place {
                    self.queue[place].balance.feed(&part.decoded());
                    self.delta(place, "input_json_delta", "partial_json", &part, out);
                }
            }
        }
    }

    /// The block for more of a kind: the last one, or a new one.
    fn place(&mut self, kind: Kinds) -> usize {
        let goes_on = self
            .queue
            .back()
            .is_some_and(|last| last.kind == kind && !last.balance.begun);
        if !goes_on {
            self.queue.push_back(Waiting::new(kind));
        }
        self.queue.len() - 1
    }

    fn delta(&mut self, place: usize, kind: &str, member: &str, text: &Text<'_>, out: &mut Writer) {
        let mut delta = Writer::new();
        delta.open_as(kind).key(member).text(text).close();
        self.queue[place].deltas.push(delta.finish());
        self.settle(false, out);
    }

    /// Writes what can be written: all of the first block, and of those behind it that it waits for no
    /// more.
    fn settle(&mut self, last: bool, out: &mut Writer) {
        loop {
            let behind = self.queue.len() > 1;
            let Some(front) = self.queue.front_mut() else {
                return;
            };
            if !std::mem::replace(&mut front.open, true) {
                event(out, "content_block_start", |out| {
                    out.key("index")
                        .integer(self.number)
                        .key("content_block")
                        .open();
                    match &front.kind {
                        Kinds::Text => {
                            out.key("type").string("text").key("text").string("");
                        }
                        Kinds::Thinking => {
                            out.key("type")
                                .string("thinking")
                                .key("thinking")
                                .string("");
                            out.key("signature").string("");
                        }
                        Kinds::Redacted(data) => {
                            out.key("type").string("redacted_thinking").key("data");
                            out.pieces(&[data]);
                        }
                        Kinds::Call { id, name, .. } => {
                            out.key("type").string("tool_use").key("id").pieces(&[id]);
                            out.key("name").pieces(&[name]).key("input").open().close();
                        }
                    }
                    out.close();
                });
            }
            for delta in front.deltas.drain(..) {
                event(out, "content_block_delta", |out| {
                    out.key("index")
                        .integer(self.number)
                        .key("delta")
                        .raw(&delta);
                });
            }
            // A call may get more of its arguments while another one is begun; the rest is over as
            // soon as something else begins.
            let over = match front.kind {
                Kinds::Call { .. } => front.balance.is_whole() && behind,
                Kinds::Redacted(_) => true,
                Kinds::Text | Kinds::Thinking => behind,
            };
            if !over && !last {
                return;
            }
            event(out, "content_block_stop", |out| {
                out.key("index").integer(self.number);
            });
            self.queue.pop_front();
            self.number += 1;
        }
    }

    fn start(&mut self, client: &Client, seen: &Seen, out: &mut Writer) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        event(out, "message_start", |out| {
            out.key("message").open().key("id");
            write_id(Some(&Text::written(Cow::Borrowed(&self.id))), client, out);
            out.key("type")
                .string("message")
                .key("role")
                .string("assistant");
            out.key("model").string(&client.model);
            out.key("content").open_array().close_array();
            out.key("stop_reason").null().key("stop_sequence").null();
            // What is not told yet is estimated, and put right at the end: clients take 0 for a fact.
            let mut told = client.usage(seen);
            told.output = told.output.max(1);
            out.key("usage");
            usage::write(Format::Anthropic, &told, out);
            out.close();
        });
    }

    /// Writes the end of a stream that ended well.
    pub fn end(&mut self, seen: &Seen, client: &Client, out: &mut Writer) {
        self.start(client, seen, out);
        self.settle(true, out);
        let finish = reason(seen.finish.clone(), self.calls > 0);
        event(out, "message_delta", |out| {
            out.key("delta").open();
            write_finish(&finish, out);
            out.close().key("usage");
            usage::write(Format::Anthropic, &client.usage(seen), out);
        });
        event(out, "message_stop", |_| {});
    }
}

impl Waiting {
    fn new(kind: Kinds) -> Self {
        Self {
            kind,
            deltas: Vec::new(),
            open: false,
            balance: Balance::default(),
        }
    }
}

fn event(out: &mut Writer, name: &str, rest: impl FnOnce(&mut Writer)) {
    out.plain("event: ").plain(name).plain("\ndata: ");
    out.open_as(name);
    rest(out);
    out.close().plain("\n\n");
}
