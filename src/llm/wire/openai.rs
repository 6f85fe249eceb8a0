//! OpenAI's chat completions: read into and written from no format's words.

use std::borrow::Cow;

use super::front::{Format, Operation};
use super::json::{Kind, Text, Value, Writer};
use super::neutral::{
    Answer, Arguments, Block, Choice, Client, Effort, Event, Finish, Output, Request, Role, Source,
    Target, Thinking, Tool, Turn, Unsupported, Written, joined, plain_id, reason, source_of,
    tool_name,
};
use super::usage;
use super::watch::Seen;

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
                request.thinking = super::anthropic::thinking(value, None).or(request.thinking);
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

fn part(part: Value<'_>) -> Result<Block<'_>, &'static str> {
    let cache = part
        .some("cache_control")
        .map(|hint| Cow::Borrowed(hint.raw()));
    let kind = part
        .member("type")
        .and_then(|kind| kind.string())
        .unwrap_or_default();
    Ok(match &*kind {
        "text" | "" => Block::Text {
            text: part
                .some("text")
                .and_then(|text| text.text())
                .ok_or("a part needs `text`")?,
            cache,
        },
        "refusal" => Block::Refusal(
            part.some("refusal")
                .and_then(|text| text.text())
                .unwrap_or_default(),
        ),
        "image_url" => {
            let image = part.some("image_url").ok_or("an image needs `image_url`")?;
            let url = image.text().or_else(|| image.some("url")?.text());
            Block::Image {
                source: source_of(url.ok_or("an image needs a URL")?),
                detail: image.some("detail").and_then(|detail| detail.text()),
                cache,
            }
        }
        "input_audio" => {
            let audio = part
                .some("input_audio")
                .ok_or("audio needs `input_audio`")?;
            let format = audio
                .some("format")
                .and_then(|format| format.string())
                .unwrap_or_default();
            Block::Audio {
                media: Text::owned(if format == "mp3" {
                    "audio/mpeg".to_owned()
                } else {
                    format!("audio/{format}")
                }),
                data: audio
                    .some("data")
                    .and_then(|data| data.text())
                    .ok_or("audio needs `data`")?,
            }
        }
        "file" => {
            let file = part.some("file").ok_or("a file needs `file`")?;
            let data = file.some("file_data").and_then(|data| data.text());
            let id = file.some("file_id").and_then(|id| id.text());
            let source = data.map(source_of).or_else(|| id.map(Source::File));
            let source = source.ok_or("a file needs `file_data` or `file_id`")?;
            Block::Document {
                source,
                name: file.some("filename").and_then(|name| name.text()),
                cache,
            }
        }
        _ => return Err("a part of this type cannot be passed to this model's provider"),
    })
}

/// What an assistant thought, by any of the names that are in use.
fn thoughts(message: Value<'_>) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    if let Some(list) = message.some("thinking_blocks") {
        for block in list.items() {
            if let Some(data) = block.some("data").and_then(|data| data.text()) {
                blocks.push(Block::Redacted(data));
            } else {
                blocks.push(Block::Thinking {
                    text: block
                        .some("thinking")
                        .and_then(|text| text.text())
                        .unwrap_or_default(),
                    signature: block.some("signature").and_then(|text| text.text()),
                });
            }
        }
    }
    if blocks.is_empty() {
        let text = message
            .some("reasoning_content")
            .or_else(|| message.some("reasoning"));
        if let Some(text) = text.and_then(|text| text.text())
            && !text.is_empty()
        {
            blocks.push(Block::Thinking {
                text,
                signature: None,
            });
        }
    }
    blocks
}

fn arguments(function: Value<'_>) -> Arguments<'_> {
    match function.some("arguments") {
        Some(object) if object.kind() == Kind::Object => {
            Arguments::Object(Cow::Borrowed(object.raw()))
        }
        other => Arguments::String(other.and_then(|text| text.text()).unwrap_or_default()),
    }
}

fn calls<'a>(message: Value<'a>, blocks: &mut Vec<Block<'a>>) {
    for call in message
        .some("tool_calls")
        .into_iter()
        .flat_map(|list| list.items())
    {
        let function = call.some("function").unwrap_or(call);
        blocks.push(Block::Call {
            id: call.some("id").and_then(|id| id.text()).unwrap_or_default(),
            name: function
                .some("name")
                .and_then(|name| name.text())
                .unwrap_or_default(),
            arguments: arguments(function),
            signature: call
                .path(&["extra_content", "google", "thought_signature"])
                .and_then(|signature| signature.text()),
        });
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

/// Writes the members of an assistant's message after its role.
fn write_message(blocks: &[Block<'_>], reasoning: bool, signed: bool, out: &mut Writer) {
    let mut content: Option<Text<'static>> = None;
    let mut refusal: Option<&Text<'_>> = None;
    let mut thought = Text::default();
    for block in blocks {
        match block {
            Block::Text { text, .. } => content.get_or_insert_default().push(text),
            Block::Refusal(text) => refusal = Some(text),
            Block::Thinking { text, .. } => thought.push(text),
            _ => {}
        }
    }
    let called = blocks
        .iter()
        .any(|block| matches!(block, Block::Call { .. }));
    out.key("content");
    match content {
        Some(text) if !(text.is_empty() && called) => out.text(&text),
        _ if called || refusal.is_some() => out.null(),
        _ => out.string(""),
    };
    if let Some(refusal) = refusal {
        out.key("refusal").text(refusal);
    }
    if reasoning && !thought.is_empty() {
        out.key("reasoning_content").text(&thought);
    }
    let has_signed = blocks.iter().any(|block| {
        matches!(
            block,
            Block::Thinking {
                signature: Some(_),
                ..
            } | Block::Redacted(_)
        )
    });
    if signed && has_signed {
        out.key("thinking_blocks").open_array();
        for block in blocks {
            write_thinking(block, out);
        }
        out.close_array();
    }
    if called {
        out.key("tool_calls").open_array();
        for block in blocks {
            if let Block::Call {
                id,
                name,
                arguments,
                signature,
            } = block
            {
                out.open()
                    .key("id")
                    .string(&plain_id(id))
                    .key("type")
                    .string("function");
                out.key("function").open();
                out.key("name").text(&tool_name(name, Format::OpenAi));
                out.key("arguments").text(&arguments.string()).close();
                if signed {
                    write_signature(signature.as_ref(), out);
                }
                out.close();
            }
        }
        out.close_array();
    }
}

fn write_thinking(block: &Block<'_>, out: &mut Writer) {
    match block {
        Block::Thinking {
            text,
            signature: Some(signature),
        } => {
            out.open()
                .key("type")
                .string("thinking")
                .key("thinking")
                .text(text);
            out.key("signature").text(signature).close();
        }
        Block::Redacted(data) => {
            out.open()
                .key("type")
                .string("redacted_thinking")
                .key("data")
                .text(data)
                .close();
        }
        _ => {}
    }
}

fn write_signature(signature: Option<&Text<'_>>, out: &mut Writer) {
    if let Some(signature) = signature {
        out.key("extra_content").open().key("google").open();
        out.key("thought_signature").text(signature).close().close();
    }
}

/// Reads an answer. Of several choices the first counts.
#[must_use]
pub fn read_answer(root: Value<'_>) -> Answer<'_> {
    let mut answer = Answer {
        id: root.some("id").and_then(|id| id.text()),
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
                answer.blocks.push(Block::Text { text, cache: None });
            }
        } else {
            answer
                .blocks
                .extend(content.items().filter_map(|item| part(item).ok()));
        }
    }
    if let Some(refusal) = message.some("refusal").and_then(|text| text.text())
        && !refusal.is_empty()
    {
        answer.blocks.push(Block::Refusal(refusal));
    }
    calls(message, &mut answer.blocks);
    if let Some(function) = message.some("function_call") {
        answer.blocks.push(Block::Call {
            id: Text::default(),
            name: function
                .member("name")
                .and_then(|name| name.text())
                .unwrap_or_default(),
            arguments: arguments(function),
            signature: None,
        });
    }
    answer
}

const fn finish_word(finish: &Finish, legacy: bool) -> &'static str {
    match finish {
        Finish::Length => "length",
        Finish::ToolCalls if legacy => "function_call",
        Finish::ToolCalls => "tool_calls",
        Finish::ContentFilter => "content_filter",
        Finish::Stop | Finish::StopSequence(_) | Finish::Malformed(_) | Finish::Unknown(_) => {
            "stop"
        }
    }
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

fn write_id(id: Option<&Text<'_>>, client: &Client, out: &mut Writer) {
    match id.filter(|id| !id.is_empty()) {
        Some(id) => out.text(id),
        None => out.pieces(&["chatcmpl-", &client.id]),
    };
}

fn head(id: Option<&Text<'_>>, object: &str, client: &Client, out: &mut Writer) {
    out.open().key("id");
    write_id(id, client, out);
    out.key("object").string(object);
    out.key("created").integer(client.created);
    out.key("model").string(&client.model);
}

/// Writes the choices of the older completions.
fn write_completion(text: &Text<'_>, finish: Option<&str>, out: &mut Writer) {
    out.key("choices").open_array().open();
    out.key("text").text(text).key("index").integer(0);
    out.key("logprobs").null().key("finish_reason");
    match finish {
        Some(finish) => out.string(finish),
        None => out.null(),
    };
    out.close().close_array();
}

/// The calls of a stream, which come in pieces and not always in order.
#[derive(Debug, Default)]
pub struct Calls {
    calls: Vec<Call>,
    /// Whether thinking came since the last signature.
    thought: bool,
    started: bool,
}

#[derive(Debug)]
struct Call {
    index: Option<u64>,
    id: String,
    name: String,
    /// Whether it was told that it begins. Its name may come in pieces before.
    begun: bool,
    signature: Option<Text<'static>>,
}

impl Calls {
    /// Tells what an event of a stream says.
    pub fn read(&mut self, root: Value<'_>, each: &mut impl FnMut(Event<'_>)) {
        let Some(choice) = root.some("choices").and_then(|list| list.items().next()) else {
            return;
        };
        if !std::mem::replace(&mut self.started, true) {
            each(Event::Start {
                id: root.some("id").and_then(|id| id.text()),
            });
        }
        // Only the first of several answers can be told in other formats.
        let first = choice
            .some("index")
            .is_none_or(|index| index.integer() == Some(0));
        let Some(delta) = choice
            .some("delta")
            .or_else(|| choice.some("message"))
            .filter(|_| first)
        else {
            return;
        };
        let text = |name: &str| {
            delta
                .some(name)
                .and_then(|value| value.text())
                .filter(|text| !text.is_empty())
        };
        if let Some(thought) = text("reasoning_content").or_else(|| text("reasoning")) {
            self.thought = true;
            each(Event::Thinking(thought));
        }
        for block in delta
            .some("thinking_blocks")
            .into_iter()
            .flat_map(|list| list.items())
        {
            if let Some(data) = block.some("data").and_then(|data| data.text()) {
                each(Event::Redacted(data));
                continue;
            }
            let thinking = block.some("thinking").and_then(|text| text.text());
            if let Some(thinking) = thinking.filter(|text| !text.is_empty() && !self.thought) {
                each(Event::Thinking(thinking));
            }
            if let Some(signature) = block.some("signature").and_then(|text| text.text()) {
                self.thought = false;
                each(Event::Signature(signature));
            }
        }
        match delta.some("content") {
            Some(parts) if parts.kind() == Kind::Array => {
                for part in parts.items() {
                    if let Some(text) = part.some("text").and_then(|text| text.text()) {
                        self.begin_all(each);
                        each(Event::Text(text));
                    }
                }
            }
            _ => {
                if let Some(text) = text("content") {
                    self.begin_all(each);
                    each(Event::Text(text));
                }
            }
        }
        if let Some(refusal) = text("refusal") {
            each(Event::Refusal(refusal));
        }
        for call in delta
            .some("tool_calls")
            .into_iter()
            .flat_map(|list| list.items())
        {
            self.call(call, call.some("function"), each);
        }
        if let Some(function) = delta.some("function_call") {
            self.call(function, Some(function), each);
        }
        if choice.some("finish_reason").is_some() {
            self.begin_all(each);
        }
    }

    fn call(
        &mut self,
        call: Value<'_>,
        function: Option<Value<'_>>,
        each: &mut impl FnMut(Event<'_>),
    ) {
        let index = call.some("index").and_then(|index| index.integer());
        let id = call
            .some("id")
            .and_then(|id| id.text())
            .filter(|id| !id.is_empty());
        let place = match &id {
            // Some servers give every call the index 0: the id tells them apart.
            Some(id) => self
                .calls
                .iter()
                .rposition(|known| known.id == id.as_written())
                .or_else(|| {
                    self.calls.iter().rposition(|known| {
                        known.id.is_empty() && known.index == index && index.is_some()
                    })
                }),
            None => match index {
                Some(_) => self.calls.iter().rposition(|known| known.index == index),
                None => self.calls.len().checked_sub(1),
            },
        };
        let place = place.unwrap_or_else(|| {
            self.calls.push(Call {
                index,
                id: String::new(),
                name: String::new(),
                begun: false,
                signature: None,
            });
            self.calls.len() - 1
        });
        let known = &mut self.calls[place];
        if let Some(id) = id
            && known.id.is_empty()
        {
            id.as_written().clone_into(&mut known.id);
        }
        if let Some(signature) = call
            .path(&["extra_content", "google", "thought_signature"])
            .and_then(|text| text.text())
        {
            known.signature = Some(signature.into_owned());
        }
        let name = function.and_then(|function| function.some("name")?.text());
        if let Some(name) = name
            && !known.begun
            && known.name != name.as_written()
        {
            known.name.push_str(name.as_written());
        }
        let part = function.and_then(|function| {
            let arguments = function.some("arguments")?;
            match arguments.kind() {
                Kind::String => arguments.text(),
                // Some servers send the object itself.
                Kind::Object => Some(Text::owned(arguments.raw().to_owned())),
                _ => None,
            }
        });
        if let Some(part) = part.filter(|part| !part.is_empty()) {
            self.begin(place, each);
            each(Event::Arguments { call: place, part });
        }
    }

    fn begin(&mut self, last: usize, each: &mut impl FnMut(Event<'_>)) {
        // Calls are counted in the order in which they came, so those before begin first.
        for (place, call) in self.calls.iter_mut().enumerate().take(last + 1) {
            if !std::mem::replace(&mut call.begun, true) {
                each(Event::Call {
                    call: place,
                    id: Text::written(Cow::Borrowed(&call.id)),
                    name: Text::written(Cow::Borrowed(&call.name)),
                    signature: call.signature.as_ref().map(Text::borrowed),
                });
            }
        }
    }

    /// Tells of calls that have begun without any arguments.
    pub fn begin_all(&mut self, each: &mut impl FnMut(Event<'_>)) {
        if let Some(last) = self.calls.len().checked_sub(1) {
            self.begin(last, each);
        }
    }
}

/// Writes a stream for a client.
#[derive(Debug, Default)]
pub struct Stream {
    id: String,
    started: bool,
    /// For each call, whether it had arguments.
    calls: Vec<bool>,
    /// What was thought since the last signature: the whole of it goes out with that.
    thought: Text<'static>,
}

impl Stream {
    fn chunk(
        &self,
        client: &Client,
        out: &mut Writer,
        finish: Option<&str>,
        delta: impl FnOnce(&mut Writer),
    ) {
        self.begin(client, out);
        out.key("choices").open_array().open();
        out.key("index").integer(0).key("delta").open();
        delta(out);
        out.close().key("finish_reason");
        match finish {
            Some(finish) => out.string(finish),
            None => out.null(),
        };
        out.close().close_array();
        if client.include_usage {
            out.key("usage").null();
        }
        out.close().plain("\n\n");
    }

    fn completion(&self, text: &Text<'_>, finish: Option<&str>, client: &Client, out: &mut Writer) {
        self.begin(client, out);
        write_completion(text, finish, out);
        out.close().plain("\n\n");
    }

    fn begin(&self, client: &Client, out: &mut Writer) {
        let object = if client.operation == Operation::Completion {
            "text_completion"
        } else {
            "chat.completion.chunk"
        };
        out.plain("data: ");
        head(
            Some(&Text::written(Cow::Borrowed(&self.id))),
            object,
            client,
            out,
        );
    }

    /// Writes one event.
    pub fn event(&mut self, event: Event<'_>, client: &Client, out: &mut Writer) {
        if let Event::Start { id } = &event {
            if let Some(id) = id {
                id.as_written().clone_into(&mut self.id);
            }
            self.start(client, out);
            return;
        }
        if matches!(event, Event::Ping) {
            out.plain(": ping\n\n");
            return;
        }
        if client.operation == Operation::Completion {
            if let Event::Text(text) = event {
                self.completion(&text, None, client, out);
            }
            return;
        }
        self.start(client, out);
        match event {
            Event::Start { .. } | Event::Ping => {}
            Event::Text(text) => self.chunk(client, out, None, |out| {
                out.key("content").text(&text);
            }),
            Event::Refusal(text) => self.chunk(client, out, None, |out| {
                out.key("refusal").text(&text);
            }),
            Event::Thinking(text) => {
                self.thought.push(&text);
                self.chunk(client, out, None, |out| {
                    out.key("reasoning_content").text(&text);
                });
            }
            Event::Signature(signature) => {
                let text = std::mem::take(&mut self.thought);
                let block = Block::Thinking {
                    text,
                    signature: Some(signature),
                };
                self.blocks(&block, client, out);
            }
            Event::Redacted(data) => self.blocks(&Block::Redacted(data), client, out),
            Event::Call {
                call,
                id,
                name,
                signature,
            } => {
                if self.calls.len() <= call {
                    self.calls.resize(call + 1, false);
                }
                self.chunk(client, out, None, |out| {
                    if client.legacy {
                        out.key("function_call").open().key("name").text(&name);
                        out.key("arguments").string("").close();
                        return;
                    }
                    out.key("tool_calls")
                        .open_array()
                        .open()
                        .key("index")
                        .integer(call as u64);
                    out.key("id");
                    if id.is_empty() {
                        out.string(&client.call_id(call));
                    } else {
                        out.text(&id);
                    }
                    out.key("type").string("function").key("function").open();
                    out.key("name")
                        .text(&name)
                        .key("arguments")
                        .string("")
                        .close();
                    write_signature(signature.as_ref(), out);
                    out.close().close_array();
                });
            }
            Event::Arguments { call, part } => {
                if let Some(had) = self.calls.get_mut(call) {
                    *had = true;
                }
                self.arguments(call, &part, client, out);
            }
        }
    }

    fn start(&mut self, client: &Client, out: &mut Writer) {
        let started = std::mem::replace(&mut self.started, true);
        if !started && client.operation != Operation::Completion {
            self.chunk(client, out, None, |out| {
                out.key("role")
                    .string("assistant")
                    .key("content")
                    .string("");
            });
        }
    }

    fn blocks(&self, block: &Block<'_>, client: &Client, out: &mut Writer) {
        self.chunk(client, out, None, |out| {
            out.key("thinking_blocks").open_array();
            write_thinking(block, out);
            out.close_array();
        });
    }

    fn arguments(&self, call: usize, part: &Text<'_>, client: &Client, out: &mut Writer) {
        self.chunk(client, out, None, |out| {
            if client.legacy {
                out.key("function_call")
                    .open()
                    .key("arguments")
                    .text(part)
                    .close();
                return;
            }
            out.key("tool_calls")
                .open_array()
                .open()
                .key("index")
                .integer(call as u64);
            out.key("function")
                .open()
                .key("arguments")
                .text(part)
                .close();
            out.close().close_array();
        });
    }

    /// Writes the end of a stream that ended well.
    pub fn end(&mut self, seen: &Seen, client: &Client, out: &mut Writer) {
        self.start(client, out);
        for call in 0..self.calls.len() {
            if !self.calls[call] {
                self.arguments(call, &Text::of("{}"), client, out);
            }
        }
        let finish = reason(seen.finish.clone(), !self.calls.is_empty());
        let word = finish_word(&finish, client.legacy);
        if client.operation == Operation::Completion {
            self.completion(&Text::default(), Some(word), client, out);
        } else {
            self.chunk(client, out, Some(word), |_| {});
        }
        if client.include_usage {
            self.begin(client, out);
            out.key("choices").open_array().close_array().key("usage");
            usage::write(Format::OpenAi, &client.usage(seen), out);
            out.close().plain("\n\n");
        }
        out.plain("data: [DONE]\n\n");
    }
}
