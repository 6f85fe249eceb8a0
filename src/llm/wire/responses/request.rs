//! Requests, read and written.

use std::borrow::Cow;

use super::part;
use crate::llm::wire::front::Format;
use crate::llm::wire::json::{Kind, Value, Writer};
use crate::llm::wire::neutral::{
    Arguments, Block, Choice, Effort, FAILED, Output, Request, Role, Source, Target, Thinking,
    Tool, Turn, Unsupported, Written, joined, lost, plain_id, result_text, tool_name,
};
use crate::llm::wire::openai;

/// Reads a request.
///
/// # Errors
/// What of it has no meaning outside of this format, and where.
pub fn read_request(root: Value<'_>) -> Result<Request<'_>, Unsupported> {
    let mut request = Request {
        list: "input",
        ..Request::default()
    };
    for (key, value) in root.members() {
        if value.is_null() {
            continue;
        }
        let number = (value.kind() == Kind::Number).then(|| value.raw());
        match &*key.string().unwrap_or_default() {
            "model" | "models" | "fallbacks" | "input" | "store" | "include"
            | "prompt_cache_key" => {}
            "instructions" => {
                request.system.extend(value.text().map(Block::text));
            }
            "stream" => request.stream = value.boolean().unwrap_or_default(),
            "max_output_tokens" => request.max_output = value.integer(),
            "temperature" => request.sampling.temperature = number,
            "top_p" => request.sampling.top_p = number,
            "user" if request.user.is_none() => request.user = value.text(),
            "safety_identifier" => request.user = value.text(),
            "service_tier" => request.tier = value.text(),
            "parallel_tool_calls" => request.parallel = value.boolean(),
            "reasoning" => {
                request.thinking = value.some("effort").and_then(|effort| {
                    let word = effort.string()?;
                    Effort::of(&word)
                        .map(Thinking::Effort)
                        .or_else(|| (word == "none").then_some(Thinking::Off))
                });
            }
            "text" => {
                if let Some(format) = value.some("format") {
                    request.output = match &*format.word_of("type") {
                        "json_object" => Output::Json,
                        "json_schema" => Output::Schema {
                            name: format.text_of("name"),
                            schema: Cow::Borrowed(
                                format.some("schema").map_or("{}", |schema| schema.raw()),
                            ),
                            strict: format.boolean_of("strict"),
                        },
                        _ => Output::Free,
                    };
                }
                if value
                    .some("verbosity")
                    .is_some_and(|word| !word.is("medium"))
                {
                    request.dropped.push("text.verbosity".to_owned());
                }
            }
            "tools" => {
                for (position, item) in value.items().enumerate() {
                    let name = item
                        .text_of("name")
                        .filter(|_| item.member("type").is_some_and(|kind| kind.is("function")));
                    let Some(name) = name else {
                        return Err(Unsupported::new(
                            format!("tools[{position}]"),
                            "only tools of type `function` can be passed to this model's provider",
                        ));
                    };
                    request.tools.push(Tool {
                        name,
                        description: item.text_of("description"),
                        schema: item.raw_of("parameters"),
                        strict: item.boolean_of("strict"),
                        cache: None,
                    });
                }
            }
            "tool_choice" => {
                request.choice = match (value.string().as_deref(), value.text_of("name")) {
                    (Some("none"), _) => Some(Choice::None),
                    (Some("auto"), _) => Some(Choice::Auto),
                    (Some("required"), _) => Some(Choice::Any),
                    (None, Some(name)) => Some(Choice::Tool(name)),
                    _ => {
                        return Err(Unsupported::new(
                            "tool_choice",
                            "an unknown choice of tools",
                        ));
                    }
                };
            }
            name @ ("previous_response_id" | "conversation" | "prompt") => {
                return Err(Unsupported::new(
                    name,
                    "what its provider keeps cannot be passed to another: send the whole conversation",
                ));
            }
            "background" if value.boolean() == Some(true) => {
                return Err(Unsupported::new(
                    "background",
                    "this model's provider does not work in the background",
                ));
            }
            "background" => {}
            "truncation" if value.is("disabled") => {}
            name => request.dropped.push(name.to_owned()),
        }
    }
    let Some(input) = root.some("input") else {
        return Ok(request);
    };
    if let Some(text) = input.text() {
        request.say(Role::User, 0, vec![Block::text(text)]);
    }
    for (at, item) in input.items().enumerate() {
        let wrong = |message: &str| Err(Unsupported::new(format!("input[{at}]"), message));
        match &*item.word_of("type") {
            "message" | "" => {
                let mut blocks = Vec::new();
                match item.some("content") {
                    Some(content) if content.kind() == Kind::Array => {
                        for (position, value) in content.items().enumerate() {
                            blocks.push(part(value).map_err(|what| {
                                Unsupported::new(format!("input[{at}].content[{position}]"), what)
                            })?);
                        }
                    }
                    content => {
                        let text = content.and_then(|content| content.text());
                        blocks.extend(text.map(Block::text));
                    }
                }
                match &*item.word_of("role") {
                    "system" | "developer" if request.turns.is_empty() => {
                        request.system.append(&mut blocks)
                    }
                    "system" | "developer" => request.say(Role::System, at, blocks),
                    "user" => request.say(Role::User, at, blocks),
                    "assistant" => assistant(&mut request, at).append(&mut blocks),
                    _ => return wrong("an unknown `role`"),
                }
            }
            "function_call" => assistant(&mut request, at).push(Block::Call {
                id: item.text_of("call_id").unwrap_or_default(),
                name: item.text_of("name").unwrap_or_default(),
                arguments: Arguments::String(item.text_of("arguments").unwrap_or_default()),
                signature: None,
            }),
            "function_call_output" => {
                let mut content = Vec::new();
                if let Some(output) = item.some("output") {
                    content.extend(output.text().map(Block::text));
                    for value in output.items() {
                        match part(value) {
                            Ok(block) => content.push(block),
                            Err(what) => return wrong(what),
                        }
                    }
                }
                let result = Block::Result {
                    id: item.text_of("call_id").unwrap_or_default(),
                    name: None,
                    content,
                    failed: false,
                    cache: None,
                };
                request.say(Role::User, at, vec![result]);
            }
            "reasoning" => {
                let summary: Vec<Block<'_>> = item
                    .items_of("summary")
                    .filter_map(|part| part.text_of("text"))
                    .map(Block::text)
                    .collect();
                let signature = item.text_of("encrypted_content");
                let block = match (joined(&summary, ""), signature) {
                    (None, Some(data)) => Block::Redacted(data),
                    (text, signature) => Block::Thinking {
                        text: text.unwrap_or_default(),
                        signature,
                    },
                };
                assistant(&mut request, at).push(block);
            }
            "item_reference" => {
                return wrong("what its provider keeps cannot be passed to another");
            }
            _ => return wrong("an item of this type cannot be passed to this model's provider"),
        }
    }
    Ok(request)
}

/// The assistant's turn at the end: neighbouring items of it are one.
fn assistant<'r, 'a>(request: &'r mut Request<'a>, at: usize) -> &'r mut Vec<Block<'a>> {
    if request
        .turns
        .last()
        .is_none_or(|turn| turn.role != Role::Assistant)
    {
        request.say(Role::Assistant, at, Vec::new());
    }
    let last = request.turns.len() - 1;
    &mut request.turns[last].blocks
}

/// Writes a request. Nothing of it is kept by the provider.
///
/// # Errors
/// What of it cannot be said in this format, and where.
pub fn write_request(request: &Request<'_>, target: &Target<'_>) -> Result<Written, Unsupported> {
    request.one_answer()?;
    let mut dropped = request.dropped.clone();
    let mut out = Writer::new();
    out.open().key("model").string(target.model);
    if let Some(text) = joined(&request.system, "\n\n") {
        out.key("instructions").text(&text);
    }
    out.key("input").open_array();
    for turn in &request.turns {
        write_turn(request, turn, &mut out)?;
    }
    out.close_array();
    if let Some(most) = request.max_output {
        out.key("max_output_tokens").integer(most);
    }
    let sampling = &request.sampling;
    let drawn = |number| Option::filter(number, |_| target.sampling);
    out.members(&[
        ("temperature", drawn(sampling.temperature)),
        ("top_p", drawn(sampling.top_p)),
    ]);
    dropped.extend(lost([
        (
            "temperature",
            !target.sampling && sampling.temperature.is_some(),
        ),
        ("top_p", !target.sampling && sampling.top_p.is_some()),
        ("top_k", sampling.top_k.is_some()),
        ("seed", sampling.seed.is_some()),
        ("presence_penalty", sampling.presence_penalty.is_some()),
        ("frequency_penalty", sampling.frequency_penalty.is_some()),
        ("stop", !request.stop.is_empty()),
    ]));
    if let Some(user) = &request.user {
        out.key("safety_identifier").text(user);
    }
    match request.thinking {
        Some(Thinking::Off) => {
            out.key("reasoning")
                .open()
                .key("effort")
                .string("none")
                .close();
        }
        Some(thinking) => {
            out.key("reasoning").open();
            if let Some(effort) = thinking.effort() {
                out.key("effort").string(effort.name());
            }
            out.key("summary").string("auto").close();
        }
        None => {}
    }
    match &request.output {
        Output::Free => {}
        Output::Json => {
            out.key("text").open().key("format").open();
            out.key("type").string("json_object").close().close();
        }
        Output::Schema {
            name,
            schema,
            strict,
        } => {
            out.key("text").open().key("format").open_as("json_schema");
            openai::write_schema(name.as_ref(), schema, *strict, &mut out);
            out.close().close();
        }
    }
    if let Some(tier) = &request.tier {
        openai::write_tier(tier, &mut dropped, &mut out);
    }
    if !request.tools.is_empty() {
        out.key("tools").open_array();
        for tool in &request.tools {
            out.open_as("function");
            tool.write(
                Format::Responses,
                "parameters",
                Some(
                    tool.schema
                        .as_deref()
                        .unwrap_or(r#"{"type":"object","properties":{}}"#),
                ),
                &mut out,
            );
            out.key("strict")
                .boolean(tool.strict.unwrap_or_default())
                .close();
        }
        out.close_array();
        openai::write_choice(request.choice.as_ref(), Format::Responses, &mut out);
        if let Some(parallel) = request.parallel {
            out.key("parallel_tool_calls").boolean(parallel);
        }
    }
    out.key("store").boolean(false);
    if request.stream {
        out.key("stream").boolean(true);
    }
    out.close();
    Ok(Written {
        body: out.finish(),
        dropped,
        version: None,
    })
}

fn write_turn(request: &Request<'_>, turn: &Turn<'_>, out: &mut Writer) -> Result<(), Unsupported> {
    let (role, text_type) = match turn.role {
        Role::System => ("system", "input_text"),
        Role::User => ("user", "input_text"),
        Role::Assistant => ("assistant", "output_text"),
    };
    // Results and calls are items of their own; a message lasts until one of them comes.
    let mut open = false;
    for (position, block) in turn.blocks.iter().enumerate() {
        let wrong = |what: &str| Err(request.unsupported(turn, position, what));
        let in_message = !matches!(
            block,
            Block::Call { .. } | Block::Result { .. } | Block::Thinking { .. } | Block::Redacted(_)
        );
        if in_message && !open {
            out.open()
                .key("role")
                .string(role)
                .key("content")
                .open_array();
        } else if !in_message && open {
            out.close_array().close();
        }
        open = in_message;
        match block {
            Block::Text { text, .. }
            | Block::Document {
                source: Source::Text(text),
                ..
            } => {
                out.open_as(text_type).key("text").text(text).close();
            }
            Block::Refusal(text) => {
                out.open_as("refusal").key("refusal").text(text).close();
            }
            Block::Image { .. } | Block::Document { .. } => match write_media(block, out) {
                Ok(()) => {}
                Err(what) => return wrong(what),
            },
            Block::Audio { .. } => return wrong("this model's provider takes no audio"),
            Block::Call {
                id,
                name,
                arguments,
                ..
            } => {
                out.open_as("function_call")
                    .key("call_id")
                    .string(&plain_id(id));
                out.key("name").text(&tool_name(name, Format::Responses));
                out.key("arguments").text(&arguments.string()).close();
            }
            Block::Result {
                id,
                content,
                failed,
                ..
            } => {
                out.open_as("function_call_output")
                    .key("call_id")
                    .string(&plain_id(id));
                let only_text = content
                    .iter()
                    .all(|inner| matches!(inner, Block::Text { .. }));
                out.key("output");
                if only_text {
                    out.text(&result_text(content, *failed));
                } else {
                    let mark = if *failed { FAILED } else { "" };
                    out.open_array();
                    for inner in content {
                        match inner {
                            Block::Text { text, .. } => {
                                out.open_as("input_text").key("text");
                                out.pieces(&[mark, text.as_written()]).close();
                            }
                            inner => {
                                if let Err(what) = write_media(inner, out) {
                                    return wrong(what);
                                }
                            }
                        }
                    }
                    out.close_array();
                }
                out.close();
            }
            // What another provider's model thought means nothing here.
            Block::Thinking { .. } | Block::Redacted(_) => {}
        }
    }
    if open {
        out.close_array().close();
    }
    Ok(())
}

fn write_media(block: &Block<'_>, out: &mut Writer) -> Result<(), &'static str> {
    match block {
        Block::Image { source, detail, .. } => {
            out.open_as("input_image").key("image_url");
            match source {
                Source::Data { media, data } => openai::write_data_url(media, data, out),
                Source::Link(url) => out.text(url),
                Source::File(_) | Source::Text(_) => {
                    return Err("an image that lies with another provider");
                }
            };
            if let Some(detail) = detail {
                out.key("detail").text(detail);
            }
            out.close();
        }
        Block::Document { source, name, .. } => {
            out.open_as("input_file");
            match source {
                Source::Data { media, data } => {
                    out.key("filename");
                    match name {
                        Some(name) => out.text(name),
                        None => out.string("document"),
                    };
                    openai::write_data_url(media, data, out.key("file_data"));
                }
                Source::Link(url) => {
                    out.key("file_url").text(url);
                }
                Source::File(_) | Source::Text(_) => {
                    return Err("a document that lies with another provider");
                }
            }
            out.close();
        }
        _ => return Err("bytes of a type that the result of a tool cannot hold"),
    }
    Ok(())
}
