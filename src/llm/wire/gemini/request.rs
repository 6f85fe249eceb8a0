//! Requests, read and written.

use std::borrow::Cow;

use super::{part, write_inline};
use crate::llm::wire::front::Format;
use crate::llm::wire::json::{Duplicates, Index, Kind, Text, Value, Writer};
use crate::llm::wire::neutral::{
    Block, Called, Choice, Effort, Output, Request, Role, Source, Target, Thinking, Tool, Turn,
    Unsupported, Written, as_system, joined, lost, object_of, tool_name,
};

/// What stands for the signature of a thought that another provider had: the documented word for a call that
/// is not to be checked, in base64.
const NO_SIGNATURE: &str = "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I=";

/// Reads a request.
///
/// # Errors
/// What of it has no meaning outside of this format, and where.
pub fn read_request(root: Value<'_>) -> Result<Request<'_>, Unsupported> {
    let mut request = Request {
        list: "contents",
        ..Request::default()
    };
    for (key, value) in root.members() {
        if value.is_null() {
            continue;
        }
        match &*key.string().unwrap_or_default() {
            "contents" | "model" | "models" | "fallbacks" => {}
            "systemInstruction" | "system_instruction" => {
                if let Some(text) = value.text() {
                    request.system.push(Block::text(text));
                }
                for (position, item) in value.items_of("parts").enumerate() {
                    request.system.push(part(item).map_err(|what| {
                        Unsupported::new(format!("systemInstruction.parts[{position}]"), what)
                    })?);
                }
            }
            "generationConfig" | "generation_config" => configuration(value, &mut request),
            "tools" => {
                for (position, item) in value.items().enumerate() {
                    let declared = item.either("functionDeclarations", "function_declarations");
                    let Some(declared) = declared else {
                        return Err(Unsupported::new(
                            format!("tools[{position}]"),
                            "a tool that only its provider runs cannot be passed to another",
                        ));
                    };
                    request.tools.extend(declared.items().filter_map(tool));
                }
            }
            "toolConfig" | "tool_config" => {
                let mode = value.either("functionCallingConfig", "function_calling_config");
                let Some(mode) = mode else { continue };
                let only = mode
                    .either("allowedFunctionNames", "allowed_function_names")
                    .and_then(|names| names.items().next()?.text());
                request.choice = match &*mode.word_of("mode") {
                    "NONE" => Some(Choice::None),
                    "AUTO" => Some(Choice::Auto),
                    "ANY" | "VALIDATED" => Some(only.map_or(Choice::Any, Choice::Tool)),
                    _ => None,
                };
            }
            "serviceTier" | "service_tier" => request.tier = value.text(),
            "cachedContent" | "cached_content" => {
                return Err(Unsupported::new(
                    "cachedContent",
                    "what lies with one provider cannot be passed to another",
                ));
            }
            name => request.dropped.push(name.to_owned()),
        }
    }
    let contents: Vec<Value<'_>> = match root.some("contents") {
        Some(one) if one.kind() == Kind::Object => vec![one],
        Some(list) => list.items().collect(),
        None => Vec::new(),
    };
    // Calls that have no result yet, so that results without an id find theirs by name.
    let mut open: Vec<(Text<'_>, Text<'_>)> = Vec::new();
    for (at, content) in contents.into_iter().enumerate() {
        let role = match &*content.word_of("role") {
            "model" => Role::Assistant,
            "user" | "function" | "" => Role::User,
            _ => {
                return Err(Unsupported::new(
                    format!("contents[{at}].role"),
                    "an unknown role",
                ));
            }
        };
        let mut blocks = Vec::new();
        for (position, item) in content.items_of("parts").enumerate() {
            let mut block = part(item).map_err(|what| {
                Unsupported::new(format!("contents[{at}].parts[{position}]"), what)
            })?;
            match &mut block {
                Block::Call { id, name, .. } => {
                    if id.is_empty() {
                        *id = Text::owned(format!("call_{at}_{position}"));
                    }
                    open.push((id.clone(), name.clone()));
                }
                Block::Result { id, name, .. } => {
                    let place = open.iter().position(|(known, called)| {
                        if id.is_empty() {
                            Some(called) == name.as_ref()
                        } else {
                            known == id
                        }
                    });
                    if let Some(place) = place {
                        *id = open.remove(place).0;
                    }
                }
                _ => {}
            }
            blocks.push(block);
        }
        request.say(role, at, blocks);
    }
    Ok(request)
}

fn configuration<'a>(config: Value<'a>, request: &mut Request<'a>) {
    let mut json = false;
    let mut schema = None;
    for (key, value) in config.members() {
        if value.is_null() {
            continue;
        }
        let number = (value.kind() == Kind::Number).then(|| value.raw());
        match &*key.string().unwrap_or_default() {
            "maxOutputTokens" | "max_output_tokens" => request.max_output = value.integer(),
            "temperature" => request.sampling.temperature = number,
            "topP" | "top_p" => request.sampling.top_p = number,
            "topK" | "top_k" => request.sampling.top_k = number,
            "seed" => request.sampling.seed = number,
            "presencePenalty" | "presence_penalty" => request.sampling.presence_penalty = number,
            "frequencyPenalty" | "frequency_penalty" => request.sampling.frequency_penalty = number,
            "stopSequences" | "stop_sequences" => {
                request.stop = value.items().filter_map(|item| item.text()).collect();
            }
            "candidateCount" | "candidate_count" => {
                request.answers = value.integer().filter(|answers| *answers > 1);
            }
            "responseMimeType" | "response_mime_type" => json = value.is("application/json"),
            "responseJsonSchema" | "response_json_schema" => {
                schema = Some(Cow::Borrowed(value.raw()))
            }
            "responseSchema" | "response_schema" => schema = Some(Cow::Owned(plain_schema(value))),
            "thinkingConfig" | "thinking_config" => {
                let level = value
                    .either("thinkingLevel", "thinking_level")
                    .and_then(|level| level.string());
                let budget = value.either("thinkingBudget", "thinking_budget");
                request.thinking = match (level, budget) {
                    (Some(level), _) => {
                        Effort::of(&level.to_ascii_lowercase()).map(Thinking::Effort)
                    }
                    (None, Some(budget)) => Some(match budget.integer() {
                        Some(0) => Thinking::Off,
                        Some(tokens) => Thinking::Budget(tokens),
                        // Less than nothing is as much as the model sees fit.
                        None => Thinking::Adaptive,
                    }),
                    (None, None) => None,
                };
            }
            name => request.dropped.push(format!("generationConfig.{name}")),
        }
    }
    request.output = match schema {
        Some(schema) => Output::Schema {
            name: None,
            schema,
            strict: None,
        },
        None if json => Output::Json,
        None => Output::Free,
    };
}

/// A schema of Google's kind (OpenAPI, types in capitals) as everybody else writes it.
fn plain_schema(schema: Value<'_>) -> String {
    let mut out = Writer::new();
    plain(schema, &mut out);
    out.finish()
}

fn plain(value: Value<'_>, out: &mut Writer) {
    match value.kind() {
        Kind::Object => {
            let nullable = value.boolean_of("nullable") == Some(true);
            out.open();
            for (key, member) in value.members() {
                let name = key.string().unwrap_or_default();
                match (&*name, member.string()) {
                    ("nullable", _) if member.boolean().is_some() => {}
                    ("type", Some(kind)) => {
                        out.key("type");
                        if nullable {
                            out.open_array()
                                .string(&kind.to_ascii_lowercase())
                                .string("null")
                                .close_array();
                        } else {
                            out.string(&kind.to_ascii_lowercase());
                        }
                    }
                    _ => {
                        out.member_of(key);
                        plain(member, out);
                    }
                }
            }
            out.close();
        }
        // Lists of numbers have no schema in them.
        Kind::Array if value.numbers().next().is_none() => {
            out.open_array();
            for item in value.items() {
                plain(item, out);
            }
            out.close_array();
        }
        _ => {
            out.raw(value.raw());
        }
    }
}

fn tool(declared: Value<'_>) -> Option<Tool<'_>> {
    let schema = declared
        .either("parametersJsonSchema", "parameters_json_schema")
        .map(|schema| Cow::Borrowed(schema.raw()))
        .or_else(|| {
            declared
                .some("parameters")
                .map(|schema| Cow::Owned(plain_schema(schema)))
        });
    Some(Tool {
        name: declared.text_of("name")?,
        description: declared.text_of("description"),
        schema,
        strict: None,
        cache: None,
    })
}

/// Writes a request. The model and whether it is a stream stand in the URL: [`super::path`].
///
/// # Errors
/// What of it cannot be said in this format, and where.
pub fn write_request(request: &Request<'_>, target: &Target<'_>) -> Result<Written, Unsupported> {
    let mut dropped = request.dropped.clone();
    let mut out = Writer::new();
    out.open();
    if let Some(text) = joined(&request.system, "\n\n") {
        out.key("systemInstruction")
            .open()
            .key("parts")
            .open_array();
        out.open()
            .key("text")
            .text(&text)
            .close()
            .close_array()
            .close();
    }
    out.key("contents").open_array();
    let mut calls = Called::default();
    let mut last = None;
    for turn in &request.turns {
        let role = if turn.role == Role::Assistant {
            "model"
        } else {
            "user"
        };
        let before = out.written().len();
        // Neighbours of one role are one.
        if last != Some(role) {
            if last.is_some() {
                out.close_array().close();
            }
            out.open()
                .key("role")
                .string(role)
                .key("parts")
                .open_array();
        }
        let begun = out.written().len();
        calls.add(&turn.blocks);
        write_turn(request, turn, &calls, &mut out)?;
        if out.written().len() == begun && last != Some(role) {
            // Nothing in it has a place here: the turn before goes on.
            out.cut(before);
        } else {
            last = Some(role);
        }
    }
    if last.is_some() {
        out.close_array().close();
    }
    out.close_array();

    out.key("generationConfig").open();
    if let Some(most) = request.max_output {
        out.key("maxOutputTokens").integer(most);
    }
    let sampling = &request.sampling;
    out.members(&[
        ("temperature", sampling.temperature),
        ("topP", sampling.top_p),
        ("topK", sampling.top_k),
        ("seed", sampling.seed),
        ("presencePenalty", sampling.presence_penalty),
        ("frequencyPenalty", sampling.frequency_penalty),
    ]);
    if !request.stop.is_empty() {
        out.key("stopSequences").texts(request.stop.iter().take(5));
        if request.stop.len() > 5 {
            dropped.push("stop[5]".to_owned());
        }
    }
    if let Some(answers) = request.answers {
        out.key("candidateCount").integer(answers);
    }
    match &request.output {
        Output::Free => {}
        Output::Json => {
            out.key("responseMimeType").string("application/json");
        }
        Output::Schema { schema, .. } => {
            out.key("responseMimeType").string("application/json");
            out.key("responseJsonSchema").raw(schema);
        }
    }
    if let Some(thinking) = request.thinking {
        out.key("thinkingConfig").open();
        match thinking {
            Thinking::Off => {
                out.key("thinkingBudget").integer(0);
            }
            Thinking::Adaptive => {
                out.key("thinkingBudget").raw("-1");
            }
            Thinking::Budget(tokens) if !target.adaptive => {
                out.key("thinkingBudget").integer(tokens);
            }
            Thinking::Effort(_) | Thinking::Budget(_) => {
                let effort = thinking.effort().unwrap_or(Effort::Medium);
                if target.adaptive {
                    let level = if effort == Effort::Max {
                        Effort::Extra
                    } else {
                        effort
                    };
                    out.key("thinkingLevel").string(level.name());
                } else {
                    out.key("thinkingBudget").integer(effort.budget());
                }
            }
        }
        if thinking != Thinking::Off {
            out.key("includeThoughts").boolean(true);
        }
        out.close();
    }
    out.close();

    if !request.tools.is_empty() {
        out.key("tools")
            .open_array()
            .open()
            .key("functionDeclarations")
            .open_array();
        for tool in &request.tools {
            out.open();
            tool.write(
                Format::Gemini,
                "parametersJsonSchema",
                tool.schema.as_deref(),
                &mut out,
            );
            out.close();
        }
        out.close_array().close().close_array();
        if let Some(choice) = &request.choice {
            out.key("toolConfig")
                .open()
                .key("functionCallingConfig")
                .open()
                .key("mode");
            match choice {
                Choice::None => out.string("NONE"),
                Choice::Auto => out.string("AUTO"),
                Choice::Any | Choice::Tool(_) => out.string("ANY"),
            };
            if let Choice::Tool(name) = choice {
                out.key("allowedFunctionNames").open_array();
                out.text(&tool_name(name, Format::Gemini)).close_array();
            }
            out.close().close();
        }
    }
    if let Some(tier) = &request.tier {
        match tier.as_written() {
            "flex" | "priority" | "standard" => {
                out.key("serviceTier").text(tier);
            }
            "default" | "standard_only" => {
                out.key("serviceTier").string("standard");
            }
            _ => dropped.push("service_tier".to_owned()),
        }
    }
    dropped.extend(lost([
        ("user", request.user.is_some()),
        ("parallel_tool_calls", request.parallel.is_some()),
    ]));
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
    calls: &Called<'_, '_>,
    out: &mut Writer,
) -> Result<(), Unsupported> {
    let mut signed = false;
    // Results come first, in the order of their calls.
    let place = |block: &Block<'_>| match block {
        Block::Result { id, .. } => calls.place(id).unwrap_or(usize::MAX - 1),
        _ => usize::MAX,
    };
    let mut blocks: Vec<(usize, &Block<'_>)> = turn.blocks.iter().enumerate().collect();
    if turn.role == Role::User {
        blocks.sort_by_key(|(_, block)| place(block));
    }
    for (position, block) in blocks {
        let wrong = |what: &str| Err(request.unsupported(turn, position, what));
        match block {
            Block::Text { text, .. } if turn.role == Role::System => {
                out.open().key("text").text(&as_system(text)).close();
            }
            Block::Text { text, .. }
            | Block::Refusal(text)
            | Block::Document {
                source: Source::Text(text),
                ..
            } => {
                if !text.is_empty() {
                    out.open().key("text").text(text).close();
                }
            }
            Block::Image { source, .. } | Block::Document { source, .. } => match source {
                Source::Data { media, data } => write_inline(media, data, out),
                _ => {
                    return wrong(
                        "this model's provider fetches nothing: bytes must be in the request itself",
                    );
                }
            },
            Block::Audio { media, data } => write_inline(media, data, out),
            Block::Call {
                name,
                arguments,
                signature,
                ..
            } => {
                out.open().key("functionCall").open();
                out.key("name").text(&tool_name(name, Format::Gemini));
                out.key("args").raw(&arguments.object()).close();
                // Of calls made at once only the first is signed.
                match signature {
                    Some(signature) => {
                        out.key("thoughtSignature").text(signature);
                    }
                    None if !signed => {
                        out.key("thoughtSignature").string(NO_SIGNATURE);
                    }
                    None => {}
                }
                signed = true;
                out.close();
            }
            Block::Result {
                id,
                name,
                content,
                failed,
                ..
            } => {
                let Some(name) = calls.tool(id).or(name.as_ref()) else {
                    return wrong("the result of a call that is not in the conversation");
                };
                out.open().key("functionResponse").open();
                out.key("name")
                    .text(&tool_name(name, Format::Gemini))
                    .key("response");
                let text = joined(content, "\n").unwrap_or_default();
                let object = (!*failed).then(|| object(&text)).flatten();
                match object {
                    Some(object) => {
                        out.raw(&object);
                    }
                    None => {
                        let key = if *failed { "error" } else { "output" };
                        out.open().key(key).text(&text).close();
                    }
                }
                out.close().close();
                for inner in content {
                    match inner {
                        Block::Image {
                            source: Source::Data { media, data },
                            ..
                        }
                        | Block::Document {
                            source: Source::Data { media, data },
                            ..
                        } => {
                            write_inline(media, data, out);
                        }
                        Block::Text { .. } => {}
                        _ => {
                            return wrong(
                                "bytes in the result of a tool must be in the request itself",
                            );
                        }
                    }
                }
            }
            // What was thought elsewhere means nothing here, and what was thought here is signed at its call.
            Block::Thinking { .. } | Block::Redacted(_) => {}
        }
    }
    Ok(())
}

/// A text that is a JSON object.
fn object(text: &Text<'_>) -> Option<Cow<'static, str>> {
    let decoded = text.decoded();
    decoded.trim_start().starts_with('{').then_some(())?;
    let mut index = Index::new();
    index
        .read(decoded.trim().as_bytes(), Duplicates::LastCounts)
        .ok()?;
    Some(object_of(text))
}
