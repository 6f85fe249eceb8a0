//! Requests, read and written.

use std::borrow::Cow;

use super::{arguments, calls, part, thoughts, write_message};
use crate::llm::wire::anthropic;
use crate::llm::wire::front::Format;
use crate::llm::wire::json::{Kind, Text, Value, Writer};
use crate::llm::wire::neutral::{
    Block, Choice, Effort, Output, Request, Role, Source, Target, Thinking, Tool, Turn,
    Unsupported, Written, joined, plain_id, tool_name,
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
                request.turns.push(Turn {
                    role: Role::User,
                    at: 0,
                    blocks: vec![Block::Text { text, cache: None }],
                });
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
        let role = message
            .member("role")
            .and_then(|role| role.string())
            .unwrap_or_default();
        let mut blocks = Vec::new();
        if let Some(content) = message.some("content") {
            match content.kind() {
                Kind::String => blocks.push(Block::Text {
                    text: content.text().unwrap_or_default(),
                    cache: message
                        .some("cache_control")
                        .map(|hint| Cow::Borrowed(hint.raw())),
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
            "system" | "developer" => request.turns.push(Turn {
                role: Role::System,
                at,
                blocks,
            }),
            "user" => request.turns.push(Turn {
                role: Role::User,
                at,
                blocks,
            }),
            "tool" | "function" => {
                let id = match message.some("tool_call_id").and_then(|id| id.text()) {
                    Some(id) => id,
                    None => legacy_call.clone(),
                };
                let result = Block::Result {
                    id,
                    name: message.some("name").and_then(|name| name.text()),
                    content: blocks,
                    failed: false,
                    cache: message
                        .some("cache_control")
                        .map(|hint| Cow::Borrowed(hint.raw())),
                };
                request.turns.push(Turn {
                    role: Role::User,
                    at,
                    blocks: vec![result],
                });
            }
            "assistant" => {
                let mut all = thoughts(message);
                all.append(&mut blocks);
                if let Some(refusal) = message.some("refusal").and_then(|refusal| refusal.text()) {
                    all.push(Block::Refusal(refusal));
                }
                calls(message, &mut all);
                if let Some(function) = message.some("function_call") {
                    legacy_call = Text::owned(format!("call_{at}"));
                    all.push(Block::Call {
                        id: legacy_call.clone(),
                        name: function
                            .member("name")
                            .and_then(|name| name.text())
                            .unwrap_or_default(),
                        arguments: arguments(function),
                        signature: None,
                    });
                }
                request.turns.push(Turn {
                    role: Role::Assistant,
                    at,
                    blocks: all,
                });
            }
            _ => return wrong(None, "an unknown `role`"),
        }
    }
    Ok(request)
}

fn output(format: Value<'_>) -> Result<Output<'_>, Unsupported> {
    let kind = format
        .member("type")
        .and_then(|kind| kind.string())
        .unwrap_or_default();
    Ok(match &*kind {
        "text" => Output::Free,
        "json_object" => Output::Json,
        "json_schema" => {
            let inner = format.some("json_schema").unwrap_or(format);
            Output::Schema {
                name: inner.some("name").and_then(|name| name.text()),
                schema: Cow::Borrowed(inner.some("schema").map_or("{}", |schema| schema.raw())),
                strict: inner.some("strict").and_then(|strict| strict.boolean()),
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
    let Some(name) = function.some("name").and_then(|name| name.text()) else {
        return Err(Unsupported::new(
            format!("tools[{position}]"),
            "a tool needs a name",
        ));
    };
    Ok(Tool {
        name,
        description: function.some("description").and_then(|text| text.text()),
        schema: function
            .some("parameters")
            .map(|schema| Cow::Borrowed(schema.raw())),
        strict: function.some("strict").and_then(|strict| strict.boolean()),
        cache: item
            .some("cache_control")
            .map(|hint| Cow::Borrowed(hint.raw())),
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
    match named.some("name").and_then(|name| name.text()) {
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
        out.open()
            .key("role")
            .string("system")
            .key("content")
            .text(&text)
            .close();
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
    for (name, number) in [
        ("temperature", sampling.temperature),
        ("top_p", sampling.top_p),
        ("seed", sampling.seed),
        ("presence_penalty", sampling.presence_penalty),
        ("frequency_penalty", sampling.frequency_penalty),
    ] {
        match number {
            Some(number) if target.sampling || name == "seed" => {
                out.key(name).raw(number);
            }
            Some(_) => dropped.push(name.to_owned()),
            None => {}
        }
    }
    if sampling.top_k.is_some() {
        dropped.push("top_k".to_owned());
    }
    if !request.stop.is_empty() {
        out.key("stop").open_array();
        for word in request.stop.iter().take(4) {
            out.text(word);
        }
        out.close_array();
        if request.stop.len() > 4 {
            dropped.push("stop[4]".to_owned());
        }
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
            out.key("response_format")
                .open()
                .key("type")
                .string("json_object")
                .close();
        }
        Output::Schema {
            name,
            schema,
            strict,
        } => {
            out.key("response_format")
                .open()
                .key("type")
                .string("json_schema");
            out.key("json_schema").open().key("name");
            match name {
                Some(name) => out.text(name),
                None => out.string("answer"),
            };
            out.key("schema").raw(schema);
            if let Some(strict) = strict {
                out.key("strict").boolean(*strict);
            }
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
        match tier.as_written() {
            "auto" | "default" | "flex" | "scale" | "priority" | "fast" => {
                out.key("service_tier").text(tier);
            }
            "standard_only" | "standard" => {
                out.key("service_tier").string("default");
            }
            _ => dropped.push("service_tier".to_owned()),
        }
    }
    if !request.tools.is_empty() {
        out.key("tools").open_array();
        for tool in &request.tools {
            out.open()
                .key("type")
                .string("function")
                .key("function")
                .open();
            out.key("name").text(&tool_name(&tool.name, Format::OpenAi));
            if let Some(description) = &tool.description {
                out.key("description").text(description);
            }
            if let Some(schema) = &tool.schema {
                out.key("parameters").raw(schema);
            }
            if let Some(strict) = tool.strict {
                out.key("strict").boolean(strict);
            }
            out.close().close();
        }
        out.close_array();
        match &request.choice {
            None => {}
            Some(Choice::None) => {
                out.key("tool_choice").string("none");
            }
            Some(Choice::Auto) => {
                out.key("tool_choice").string("auto");
            }
            Some(Choice::Any) => {
                out.key("tool_choice").string("required");
            }
            Some(Choice::Tool(name)) => {
                out.key("tool_choice").open().key("type").string("function");
                out.key("function")
                    .open()
                    .key("name")
                    .text(&tool_name(name, Format::OpenAi));
                out.close().close();
            }
        }
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
                out.open()
                    .key("role")
                    .string("system")
                    .key("content")
                    .text(&text)
                    .close();
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
                let text = joined(content, "\n").unwrap_or_default();
                out.key("content");
                if *failed {
                    let mut marked = Text::of("Error: ");
                    marked.push(&text);
                    out.text(&marked);
                } else {
                    out.text(&text);
                }
                out.close();
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
                    out.open()
                        .key("role")
                        .string("user")
                        .key("content")
                        .text(text)
                        .close();
                }
                return Ok(());
            }
            out.open()
                .key("role")
                .string("user")
                .key("content")
                .open_array();
            for (note, position, block) in &pictures {
                out.open()
                    .key("type")
                    .string("text")
                    .key("text")
                    .text(note)
                    .close();
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
            out.open()
                .key("type")
                .string("text")
                .key("text")
                .text(text)
                .close();
        }
        Block::Image { source, detail, .. } => {
            out.open()
                .key("type")
                .string("image_url")
                .key("image_url")
                .open()
                .key("url");
            match source {
                Source::Data { media, data } => {
                    out.pieces(&["data:", media.as_written(), ";base64,", data.as_written()])
                }
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
            out.open()
                .key("type")
                .string("file")
                .key("file")
                .open()
                .key("filename");
            match name {
                Some(name) => out.text(name),
                None => out.string("document"),
            };
            out.key("file_data").pieces(&[
                "data:",
                media.as_written(),
                ";base64,",
                data.as_written(),
            ]);
            out.close().close();
        }
        Block::Document { .. } => return wrong("a document that is not in the request itself"),
        Block::Audio { media, data } => {
            let format = match media.as_written() {
                "audio/wav" | "audio/x-wav" | "audio/wave" => "wav",
                "audio/mpeg" | "audio/mp3" => "mp3",
                _ => return wrong("audio of a type other than wav and mp3"),
            };
            out.open()
                .key("type")
                .string("input_audio")
                .key("input_audio")
                .open();
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
