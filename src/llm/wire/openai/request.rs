//! Requests, read and written.

use std::borrow::Cow;

use super::{
    arguments, calls, part, thoughts, write_choice, write_data_url, write_message, write_said,
    write_schema, write_tier,
};
use crate::llm::wire::anthropic;
use crate::llm::wire::front::Format;
use crate::llm::wire::json::{Kind, Text, Value, Writer};
use crate::llm::wire::neutral::{
    Block, Choice, Effort, Output, Request, Role, Source, Target, Thinking, Tool, Turn,
    Unsupported, Written, joined, lost, plain_id, result_text,
};

/// Members of a request that are understood, or that change nothing where they cannot be said.
const KNOWN: [&str; 30] = [
    "model",
    "messages",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "top_k",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "stop",
    "n",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "response_format",
    "reasoning_effort",
    "service_tier",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "functions",
    "function_call",
    "models",
    "fallbacks",
    "thinking",
    "reasoning",
    "modalities",
];

/// Reads a request.
///
/// # Errors
/// What of it has no meaning outside of this format, and where.
pub fn read_request(root: Value<'_>) -> Result<Request<'_>, Unsupported> {
    let mut request = Request {
        list: "messages",
        ..Request::default()
    };
    for (key, value) in root.members() {
        if value.is_null() {
            continue;
        }
        let name = key.string().unwrap_or_default();
        let number = (value.kind() == Kind::Number).then(|| value.raw());
        match &*name {
            "messages" => {}
            "prompt" => {
                let text = value.text().or_else(|| {
                    let mut items = value.items();
                    let first = items.next()?.text()?;
                    items.next().is_none().then_some(first)
                });
                let Some(text) = text else {
                    return Err(Unsupported::new(
                        "prompt",
                        "only one text can be passed to this model's provider",
                    ));
                };
                request.say(Role::User, 0, vec![Block::text(text)]);
            }
            "stream" => request.stream = value.boolean().unwrap_or_default(),
            "max_tokens" if request.max_output.is_none() => request.max_output = value.integer(),
            "max_completion_tokens" => request.max_output = value.integer().or(request.max_output),
            "temperature" => request.sampling.temperature = number,
            "top_p" => request.sampling.top_p = number,
            "top_k" => request.sampling.top_k = number,
            "seed" => request.sampling.seed = number,
            "presence_penalty" => request.sampling.presence_penalty = number,
            "frequency_penalty" => request.sampling.frequency_penalty = number,
            "stop" => {
                request.stop = match value.text() {
                    Some(text) => vec![text],
                    None => value.items().filter_map(|item| item.text()).collect(),
                };
            }
            "n" => request.answers = value.integer().filter(|answers| *answers > 1),
            "user" if request.user.is_none() => request.user = value.text(),
            "safety_identifier" => request.user = value.text(),
            "response_format" => request.output = output(value)?,
            "reasoning_effort" => {
                let word = value.string().unwrap_or_default();
                request.thinking = Effort::of(&word)
                    .map(Thinking::Effort)
                    .or_else(|| (word == "none").then_some(Thinking::Off));
            }
            "reasoning" => {
                request.thinking = value
                    .some("effort")
                    .and_then(|effort| Effort::of(&effort.string()?))
                    .map(Thinking::Effort)
                    .or_else(|| Some(Thinking::Budget(value.some("max_tokens")?.integer()?)))
                    .or(request.thinking);
            }
            "thinking" => {
                request.thinking = anthropic::thinking(value, None).or(request.thinking);
            }
            "service_tier" => request.tier = value.text(),
            "tools" => {
                for (position, item) in value.items().enumerate() {
                    let function = item
                        .some("function")
                        .filter(|_| item.member("type").is_none_or(|kind| kind.is("function")));
                    let Some(function) = function else {
                        return Err(Unsupported::new(
                            format!("tools[{position}]"),
                            "only tools of type `function` can be passed to this model's provider",
                        ));
                    };
                    request.tools.push(tool(function, item, position)?);
                }
            }
            "functions" => {
                request.legacy = true;
                for (position, item) in value.items().enumerate() {
                    request.tools.push(tool(item, item, position)?);
                }
            }
            "tool_choice" | "function_call" => request.choice = choice(value, &name)?,
            "parallel_tool_calls" => request.parallel = value.boolean(),
            "modalities" => {
                if value.items().any(|item| !item.is("text")) {
                    return Err(Unsupported::new(
                        "modalities",
                        "only text can be asked of this model's provider",
                    ));
                }
            }
            name if KNOWN.contains(&name) => {}
            name => request.dropped.push(name.to_owned()),
        }
    }
    let mut legacy_call = Text::default();
    let messages = root.some("messages");
    for (at, message) in messages
        .into_iter()
        .flat_map(|list| list.items())
        .enumerate()
    {
        let wrong = |part: Option<usize>, message: &str| {
            let part = part.map_or_else(String::new, |part| format!(".content[{part}]"));
            Err(Unsupported::new(format!("messages[{at}]{part}"), message))
        };
        let role = message.word_of("role");
        let mut blocks = Vec::new();
        if let Some(content) = message.some("content") {
            match content.kind() {
                Kind::String => blocks.push(Block::Text {
                    text: content.text().unwrap_or_default(),
                    cache: message.raw_of("cache_control"),
                }),
                Kind::Array => {
                    for (position, item) in content.items().enumerate() {
                        match part(item) {
                            Ok(block) => blocks.push(block),
                            Err(what) => return wrong(Some(position), what),
                        }
                    }
                }
                _ => return wrong(None, "`content` must be a string or a list"),
            }
        }
        match &*role {
            "system" | "developer" if request.turns.is_empty() => {
                request.system.append(&mut blocks)
            }
            "system" | "developer" => request.say(Role::System, at, blocks),
            "user" => request.say(Role::User, at, blocks),
            "tool" | "function" => {
                let id = match message.text_of("tool_call_id") {
                    Some(id) => id,
                    None => legacy_call.clone(),
                };
                let result = Block::Result {
                    id,
                    name: message.text_of("name"),
                    content: blocks,
                    failed: false,
                    cache: message.raw_of("cache_control"),
                };
                request.say(Role::User, at, vec![result]);
            }
            "assistant" => {
                let mut all = thoughts(message);
                all.append(&mut blocks);
                if let Some(refusal) = message.text_of("refusal") {
                    all.push(Block::Refusal(refusal));
                }
                calls(message, &mut all);
                if let Some(function) = message.some("function_call") {
                    legacy_call = Text::owned(format!("call_{at}"));
                    all.push(Block::Call {
                        id: legacy_call.clone(),
                        name: function.text_of("name").unwrap_or_default(),
                        arguments: arguments(function),
                        signature: None,
                    });
                }
                request.say(Role::Assistant, at, all);
            }
            _ => return wrong(None, "an unknown `role`"),
        }
    }
    Ok(request)
}

fn output(format: Value<'_>) -> Result<Output<'_>, Unsupported> {
    let kind = format.word_of("type");
    Ok(match &*kind {
        "text" => Output::Free,
        "json_object" => Output::Json,
        "json_schema" => {
            let inner = format.some("json_schema").unwrap_or(format);
            Output::Schema {
                name: inner.text_of("name"),
                schema: Cow::Borrowed(inner.some("schema").map_or("{}", |schema| schema.raw())),
                strict: inner.boolean_of("strict"),
            }
        }
        _ => {
            return Err(Unsupported::new(
                "response_format.type",
                "an unknown form of answers",
            ));
        }
    })
}

fn tool<'a>(
    function: Value<'a>,
    item: Value<'a>,
    position: usize,
) -> Result<Tool<'a>, Unsupported> {
    let Some(name) = function.text_of("name") else {
        return Err(Unsupported::new(
            format!("tools[{position}]"),
            "a tool needs a name",
        ));
    };
    Ok(Tool {
        name,
        description: function.text_of("description"),
        schema: function.raw_of("parameters"),
        strict: function.boolean_of("strict"),
        cache: item.raw_of("cache_control"),
    })
}

fn choice<'a>(value: Value<'a>, param: &str) -> Result<Option<Choice<'a>>, Unsupported> {
    if let Some(word) = value.string() {
        return match &*word {
            "none" => Ok(Some(Choice::None)),
            "auto" => Ok(Some(Choice::Auto)),
            "required" => Ok(Some(Choice::Any)),
            _ => Err(Unsupported::new(param, "an unknown choice of tools")),
        };
    }
    let named = value.some("function").unwrap_or(value);
    match named.text_of("name") {
        Some(name) => Ok(Some(Choice::Tool(name))),
        None => Err(Unsupported::new(
            param,
            "a choice of tools that cannot be passed on",
        )),
    }
}

/// Writes a request.
///
/// # Errors
/// What of it cannot be said in this format, and where.
pub fn write_request(request: &Request<'_>, target: &Target<'_>) -> Result<Written, Unsupported> {
    let mut dropped = request.dropped.clone();
    let mut out = Writer::new();
    out.open().key("model").string(target.model);
    out.key("messages").open_array();
    if let Some(text) = joined(&request.system, "\n\n") {
        write_said("system", &text, &mut out);
    }
    for turn in &request.turns {
        write_turn(request, turn, target, &mut out)?;
    }
    out.close_array();
    if let Some(most) = request.max_output {
        out.key(if target.old_max_tokens {
            "max_tokens"
        } else {
            "max_completion_tokens"
        });
        out.integer(most);
    }
    let sampling = &request.sampling;
    let drawn = |number| Option::filter(number, |_| target.sampling);
    out.members(&[
        ("temperature", drawn(sampling.temperature)),
        ("top_p", drawn(sampling.top_p)),
        ("seed", sampling.seed),
        ("presence_penalty", drawn(sampling.presence_penalty)),
        ("frequency_penalty", drawn(sampling.frequency_penalty)),
    ]);
    let undrawn = !target.sampling;
    dropped.extend(lost([
        ("temperature", undrawn && sampling.temperature.is_some()),
        ("top_p", undrawn && sampling.top_p.is_some()),
        (
            "presence_penalty",
            undrawn && sampling.presence_penalty.is_some(),
        ),
        (
            "frequency_penalty",
            undrawn && sampling.frequency_penalty.is_some(),
        ),
        ("top_k", sampling.top_k.is_some()),
        ("stop[4]", request.stop.len() > 4),
    ]));
    if !request.stop.is_empty() {
        out.key("stop").texts(request.stop.iter().take(4));
    }
    if let Some(answers) = request.answers {
        out.key("n").integer(answers);
    }
    if let Some(user) = &request.user {
        out.key("user").text(user);
    }
    match &request.output {
        Output::Free => {}
        Output::Json => {
            out.key("response_format").open_as("json_object").close();
        }
        Output::Schema {
            name,
            schema,
            strict,
        } => {
            out.key("response_format").open_as("json_schema");
            out.key("json_schema").open();
            write_schema(name.as_ref(), schema, *strict, &mut out);
            out.close().close();
        }
    }
    match request.thinking {
        Some(Thinking::Off) => {
            out.key("reasoning_effort").string("none");
        }
        Some(thinking) => {
            if let Some(effort) = thinking.effort() {
                out.key("reasoning_effort").string(effort.name());
            }
        }
        None => {}
    }
    if let Some(tier) = &request.tier {
        write_tier(tier, &mut dropped, &mut out);
    }
    if !request.tools.is_empty() {
        out.key("tools").open_array();
        for tool in &request.tools {
            out.open_as("function").key("function").open();
            tool.write(
                Format::OpenAi,
                "parameters",
                tool.schema.as_deref(),
                &mut out,
            );
            if let Some(strict) = tool.strict {
                out.key("strict").boolean(strict);
            }
            out.close().close();
        }
        out.close_array();
        write_choice(request.choice.as_ref(), Format::OpenAi, &mut out);
        if let Some(parallel) = request.parallel {
            out.key("parallel_tool_calls").boolean(parallel);
        }
    }
    if request.stream {
        out.key("stream").boolean(true);
        out.key("stream_options")
            .open()
            .key("include_usage")
            .boolean(true)
            .close();
    }
    out.close();
    Ok(Written {
        body: out.finish(),
        dropped,
        version: None,
    })
}

fn write_turn(
    request: &Request<'_>,
    turn: &Turn<'_>,
    target: &Target<'_>,
    out: &mut Writer,
) -> Result<(), Unsupported> {
    match turn.role {
        Role::System => {
            if let Some(text) = joined(&turn.blocks, "\n\n") {
                write_said("system", &text, out);
            }
        }
        Role::User => {
            // Results answer the turn before, so they come first. Their pictures have no place in them.
            let mut rest: Vec<(usize, &Block<'_>)> = Vec::new();
            let mut pictures: Vec<(Text<'_>, usize, &Block<'_>)> = Vec::new();
            for (position, block) in turn.blocks.iter().enumerate() {
                let Block::Result {
                    id,
                    content,
                    failed,
                    ..
                } = block
                else {
                    rest.push((position, block));
                    continue;
                };
                let id = plain_id(id);
                out.open()
                    .key("role")
                    .string("tool")
                    .key("tool_call_id")
                    .string(&id);
                out.key("content")
                    .text(&result_text(content, *failed))
                    .close();
                for inner in content {
                    if !matches!(inner, Block::Text { .. }) {
                        let note = format!("The result of call {id}:");
                        pictures.push((Text::owned(note), position, inner));
                    }
                }
            }
            let only_text = rest
                .iter()
                .all(|(_, block)| matches!(block, Block::Text { .. }));
            if pictures.is_empty() && only_text && rest.len() <= 1 {
                if let Some((_, Block::Text { text, .. })) = rest.first() {
                    write_said("user", text, out);
                }
                return Ok(());
            }
            out.open()
                .key("role")
                .string("user")
                .key("content")
                .open_array();
            for (note, position, block) in &pictures {
                out.open_as("text").key("text").text(note).close();
                write_part(request, turn, *position, block, out)?;
            }
            for (position, block) in rest {
                write_part(request, turn, position, block, out)?;
            }
            out.close_array().close();
        }
        Role::Assistant => {
            out.open().key("role").string("assistant");
            write_message(&turn.blocks, target.extensions, target.extensions, out);
            out.close();
        }
    }
    Ok(())
}

fn write_part(
    request: &Request<'_>,
    turn: &Turn<'_>,
    position: usize,
    block: &Block<'_>,
    out: &mut Writer,
) -> Result<(), Unsupported> {
    let wrong = |what: &str| Err(request.unsupported(turn, position, what));
    match block {
        Block::Text { text, .. }
        | Block::Document {
            source: Source::Text(text),
            ..
        } => {
            out.open_as("text").key("text").text(text).close();
        }
        Block::Image { source, detail, .. } => {
            out.open_as("image_url").key("image_url").open().key("url");
            match source {
                Source::Data { media, data } => write_data_url(media, data, out),
                Source::Link(url) => out.text(url),
                Source::File(_) | Source::Text(_) => {
                    return wrong("an image that lies with another provider");
                }
            };
            if let Some(detail) = detail {
                out.key("detail").text(detail);
            }
            out.close().close();
        }
        Block::Document {
            source: Source::Data { media, data },
            name,
            ..
        } => {
            out.open_as("file").key("file").open().key("filename");
            match name {
                Some(name) => out.text(name),
                None => out.string("document"),
            };
            write_data_url(media, data, out.key("file_data"));
            out.close().close();
        }
        Block::Document { .. } => return wrong("a document that is not in the request itself"),
        Block::Audio { media, data } => {
            let format = match media.as_written() {
                "audio/wav" | "audio/x-wav" | "audio/wave" => "wav",
                "audio/mpeg" | "audio/mp3" => "mp3",
                _ => return wrong("audio of a type other than wav and mp3"),
            };
            out.open_as("input_audio").key("input_audio").open();
            out.key("data")
                .text(data)
                .key("format")
                .string(format)
                .close()
                .close();
        }
        // What only a model says has no place here, and nothing of the user's is lost with it.
        Block::Call { .. }
        | Block::Result { .. }
        | Block::Thinking { .. }
        | Block::Redacted(_)
        | Block::Refusal(_) => {}
    }
    Ok(())
}
