//! OpenAI's responses: read into and written from no format's words.
//!
//! What only OpenAI keeps (earlier turns, conversations, background work) cannot be passed to others.

use std::borrow::Cow;

use super::front::Format;
use super::json::{Kind, Text, Value, Writer};
use super::neutral::{
    Answer, Arguments, Block, Choice, Client, Effort, Event, FAILED, Finish, Output, Request, Role,
    Source, Target, Thinking, Tool, Turn, Unsupported, Written, joined, lost, plain_id, reason,
    result_text, source_of, tool_name,
};
use super::openai;
use super::usage;
use super::watch::Seen;

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
                request
                    .system
                    .extend(value.text().map(|text| Block::text(text)));
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
                        blocks.extend(text.map(|text| Block::text(text)));
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
                    content.extend(output.text().map(|text| Block::text(text)));
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
                    .map(|text| Block::text(text))
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

fn part(part: Value<'_>) -> Result<Block<'_>, &'static str> {
    Ok(match &*part.word_of("type") {
        "input_text" | "output_text" | "text" => {
            Block::text(part.text_of("text").ok_or("a part needs `text`")?)
        }
        "refusal" => Block::Refusal(part.text_of("refusal").unwrap_or_default()),
        "input_image" => Block::Image {
            source: match (part.text_of("image_url"), part.text_of("file_id")) {
                (Some(url), _) => source_of(url),
                (None, Some(id)) => Source::File(id),
                (None, None) => return Err("an image needs `image_url`"),
            },
            detail: part
                .text_of("detail")
                .filter(|detail| detail.as_written() != "auto"),
            cache: None,
        },
        "input_file" => Block::Document {
            source: match (
                part.text_of("file_data"),
                part.text_of("file_url"),
                part.text_of("file_id"),
            ) {
                (Some(data), ..) => source_of(data),
                (None, Some(url), _) => Source::Link(url),
                (None, None, Some(id)) => Source::File(id),
                (None, None, None) => return Err("a file needs `file_data`"),
            },
            name: part.text_of("filename"),
            cache: None,
        },
        _ => return Err("a part of this type cannot be passed to this model's provider"),
    })
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

fn write_response(
    id: &str,
    done: Option<(&Items, &Finish, &Seen)>,
    client: &Client,
    out: &mut Writer,
) {
    out.open().key("id");
    if id.starts_with("resp_") {
        out.pieces(&[id]);
    } else {
        out.pieces(&["resp_", &client.id]);
    }
    out.key("object")
        .string("response")
        .key("created_at")
        .integer(client.created);
    let status = match done {
        None => "in_progress",
        Some((_, Finish::Length | Finish::ContentFilter, _)) => "incomplete",
        Some(_) => "completed",
    };
    out.key("status")
        .string(status)
        .key("error")
        .null()
        .key("incomplete_details");
    match done {
        Some((_, Finish::Length, _)) => {
            out.open().key("reason").string("max_output_tokens").close();
        }
        Some((_, Finish::ContentFilter, _)) => {
            out.open().key("reason").string("content_filter").close();
        }
        _ => {
            out.null();
        }
    }
    out.key("model")
        .string(&client.model)
        .key("output")
        .open_array();
    if let Some((items, ..)) = done {
        for (place, item) in items.items.iter().enumerate() {
            item.write(place, client, true, out);
        }
    }
    out.close_array();
    out.key("parallel_tool_calls")
        .boolean(true)
        .key("tool_choice")
        .string("auto");
    out.key("tools").open_array().close_array().key("usage");
    match done {
        Some((_, _, seen)) => usage::write(Format::Responses, &client.usage(seen), out),
        None => {
            out.null();
        }
    }
    out.close();
}

/// The items of an answer, put together from its pieces.
#[derive(Debug, Default)]
struct Items {
    items: Vec<Item>,
}

#[derive(Debug)]
enum Item {
    Message {
        text: Text<'static>,
        refusal: bool,
    },
    Reasoning {
        text: Text<'static>,
        signature: Option<Text<'static>>,
    },
    Call {
        id: String,
        name: Text<'static>,
        arguments: Text<'static>,
    },
}

impl Items {
    fn text(&mut self, more: &Text<'_>, refused: bool) {
        match self.items.last_mut() {
            Some(Item::Message { text, refusal }) if *refusal == refused => text.push(more),
            _ => self.items.push(Item::Message {
                text: more.clone().into_owned(),
                refusal: refused,
            }),
        }
    }

    fn thinking(&mut self, more: &Text<'_>) {
        match self.items.last_mut() {
            Some(Item::Reasoning {
                text,
                signature: None,
            }) => text.push(more),
            _ => self.items.push(Item::Reasoning {
                text: more.clone().into_owned(),
                signature: None,
            }),
        }
    }

    fn sign(&mut self, with: &Text<'_>) {
        match self.items.last_mut() {
            Some(Item::Reasoning {
                signature: place @ None,
                ..
            }) => *place = Some(with.clone().into_owned()),
            _ => self.redacted(with),
        }
    }

    fn redacted(&mut self, data: &Text<'_>) {
        self.items.push(Item::Reasoning {
            text: Text::default(),
            signature: Some(data.clone().into_owned()),
        });
    }

    fn call(&mut self, id: String, name: &Text<'_>) {
        self.items.push(Item::Call {
            id,
            name: name.clone().into_owned(),
            arguments: Text::default(),
        });
    }

    fn arguments(&mut self, more: &Text<'_>) {
        if let Some(Item::Call { arguments, .. }) = self.items.last_mut() {
            arguments.push(more);
        }
    }
}

impl Item {
    fn id(&self, place: usize, client: &Client) -> String {
        let kind = match self {
            Self::Message { .. } => "msg",
            Self::Reasoning { .. } => "rs",
            Self::Call { .. } => "fc",
        };
        format!("{kind}_{}_{place}", client.id)
    }

    /// Writes it, as it is when it begins or as it is when it is whole.
    fn write(&self, place: usize, client: &Client, whole: bool, out: &mut Writer) {
        let status = if whole { "completed" } else { "in_progress" };
        out.open().key("id").pieces(&[&self.id(place, client)]);
        match self {
            Self::Message { .. } => {
                out.key("type")
                    .string("message")
                    .key("status")
                    .string(status);
                out.key("role")
                    .string("assistant")
                    .key("content")
                    .open_array();
                if whole {
                    self.write_part(true, out);
                }
                out.close_array();
            }
            Self::Reasoning { signature, .. } => {
                out.key("type")
                    .string("reasoning")
                    .key("summary")
                    .open_array();
                if whole {
                    self.write_part(true, out);
                }
                out.close_array();
                if let Some(signature) = signature.as_ref().filter(|_| whole) {
                    out.key("encrypted_content").text(signature);
                }
                out.key("status").string(status);
            }
            Self::Call {
                id,
                name,
                arguments,
            } => {
                out.key("type")
                    .string("function_call")
                    .key("status")
                    .string(status);
                out.key("call_id")
                    .pieces(&[id])
                    .key("name")
                    .text(name)
                    .key("arguments");
                match (whole, arguments.is_empty()) {
                    (true, true) => out.string("{}"),
                    (true, false) => out.text(arguments),
                    (false, _) => out.string(""),
                };
            }
        }
        out.close();
    }

    fn write_part(&self, whole: bool, out: &mut Writer) {
        let empty = Text::default();
        match self {
            Self::Message {
                text,
                refusal: true,
            } => {
                let text = if whole { text } else { &empty };
                out.open_as("refusal").key("refusal").text(text).close();
            }
            Self::Message { text, .. } => {
                let text = if whole { text } else { &empty };
                out.open_as("output_text").key("text").text(text);
                out.key("annotations").open_array().close_array().close();
            }
            Self::Reasoning { text, .. } if !text.is_empty() => {
                let text = if whole { text } else { &empty };
                out.open_as("summary_text").key("text").text(text).close();
            }
            Self::Reasoning { .. } | Self::Call { .. } => {}
        }
    }
}

/// The items of a stream by their places.
#[derive(Debug, Default)]
pub struct Places {
    /// For a call its place in the output, and whether arguments came.
    calls: Vec<(u64, bool)>,
}

impl Places {
    /// Tells what an event of a stream says.
    pub fn read(&mut self, root: Value<'_>, each: &mut impl FnMut(Event<'_>)) {
        let kind = root.word_of("type");
        let place = root.integer_of("output_index").unwrap_or_default();
        let delta = root.text_of("delta").filter(|text| !text.is_empty());
        match (&*kind, delta) {
            ("response.created", _) => each(Event::Start {
                id: root
                    .some("response")
                    .and_then(|response| response.text_of("id")),
            }),
            ("response.output_text.delta", Some(text)) => each(Event::Text(text)),
            ("response.refusal.delta", Some(text)) => each(Event::Refusal(text)),
            (
                "response.reasoning_summary_text.delta" | "response.reasoning_text.delta",
                Some(text),
            ) => {
                each(Event::Thinking(text));
            }
            ("response.output_item.added", _) => {
                let Some(item) = root
                    .some("item")
                    .filter(|item| item.word_of("type") == "function_call")
                else {
                    return;
                };
                let call = self.calls.len();
                self.calls.push((place, false));
                each(Event::Call {
                    call,
                    id: item.text_of("call_id").unwrap_or_default(),
                    name: item.text_of("name").unwrap_or_default(),
                    signature: None,
                });
            }
            ("response.function_call_arguments.delta", Some(part)) => {
                if let Some(call) = self.calls.iter().position(|(known, _)| *known == place) {
                    self.calls[call].1 = true;
                    each(Event::Arguments { call, part });
                }
            }
            ("response.output_item.done", _) => {
                // Arguments that came in no pieces come here.
                let arguments = root.some("item").and_then(|item| item.text_of("arguments"));
                if let Some(call) = self
                    .calls
                    .iter()
                    .position(|(known, had)| *known == place && !had)
                    && let Some(part) = arguments.filter(|part| !part.is_empty())
                {
                    self.calls[call].1 = true;
                    each(Event::Arguments { call, part });
                }
            }
            _ => {}
        }
    }
}

/// Writes a stream for a client.
#[derive(Debug, Default)]
pub struct Stream {
    started: bool,
    id: String,
    sequence: u64,
    items: Items,
    /// The place of each call among the items.
    calls: Vec<usize>,
    /// The place of the message or the thought that is open.
    open: Option<usize>,
}

impl Stream {
    /// Writes one event.
    pub fn event(&mut self, event: Event<'_>, client: &Client, out: &mut Writer) {
        if let Event::Start { id: Some(id) } = &event {
            id.as_written().clone_into(&mut self.id);
        }
        self.start(client, out);
        match event {
            Event::Start { .. } => {}
            Event::Ping => {
                out.plain(": ping\n\n");
            }
            Event::Text(text) => self.delta(
                Item::Message {
                    text: Text::default(),
                    refusal: false,
                },
                &text,
                client,
                out,
            ),
            Event::Refusal(text) => self.delta(
                Item::Message {
                    text: Text::default(),
                    refusal: true,
                },
                &text,
                client,
                out,
            ),
            Event::Thinking(text) => self.delta(
                Item::Reasoning {
                    text: Text::default(),
                    signature: None,
                },
                &text,
                client,
                out,
            ),
            Event::Signature(signature) => {
                if let Some(Item::Reasoning {
                    signature: place, ..
                }) = self.open.map(|open| &mut self.items.items[open])
                {
                    *place = Some(signature.into_owned());
                    self.close(client, out);
                } else {
                    self.redacted(signature, client, out);
                }
            }
            Event::Redacted(data) => self.redacted(data, client, out),
            Event::Call { call, id, name, .. } => {
                self.close(client, out);
                self.items.call(client.id_of(call, &id), &name);
                let place = self.items.items.len() - 1;
                self.calls.push(place);
                self.item("response.output_item.added", place, false, client, out);
            }
            Event::Arguments { call, part } => {
                let Some(&place) = self.calls.get(call) else {
                    return;
                };
                if let Item::Call { arguments, .. } = &mut self.items.items[place] {
                    arguments.push(&part);
                }
                self.about(
                    "response.function_call_arguments.delta",
                    place,
                    client,
                    out,
                    |_, out| {
                        out.key("delta").text(&part);
                    },
                );
            }
        }
    }

    fn emit(&mut self, name: &str, out: &mut Writer, rest: impl FnOnce(&mut Writer)) {
        out.plain("event: ").plain(name).plain("\ndata: ");
        out.open_as(name)
            .key("sequence_number")
            .integer(self.sequence);
        self.sequence += 1;
        rest(out);
        out.close().plain("\n\n");
    }

    fn about(
        &mut self,
        name: &str,
        place: usize,
        client: &Client,
        out: &mut Writer,
        rest: impl FnOnce(&Item, &mut Writer),
    ) {
        let items = std::mem::take(&mut self.items);
        let item = &items.items[place];
        self.emit(name, out, |out| {
            out.key("item_id").pieces(&[&item.id(place, client)]);
            out.key("output_index").integer(place as u64);
            match item {
                Item::Message { .. } => {
                    out.key("content_index").integer(0);
                }
                Item::Reasoning { .. } => {
                    out.key("summary_index").integer(0);
                }
                Item::Call { .. } => {}
            }
            rest(item, out);
        });
        self.items = items;
    }

    fn item(&mut self, name: &str, place: usize, whole: bool, client: &Client, out: &mut Writer) {
        let items = std::mem::take(&mut self.items);
        self.emit(name, out, |out| {
            out.key("output_index").integer(place as u64).key("item");
            items.items[place].write(place, client, whole, out);
        });
        self.items = items;
    }

    fn start(&mut self, client: &Client, out: &mut Writer) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        let id = self.id.clone();
        for name in ["response.created", "response.in_progress"] {
            self.emit(name, out, |out| {
                out.key("response");
                write_response(&id, None, client, out);
            });
        }
    }

    fn delta(&mut self, kind: Item, more: &Text<'_>, client: &Client, out: &mut Writer) {
        let same = self
            .open
            .is_some_and(|open| match (&self.items.items[open], &kind) {
                (Item::Message { refusal, .. }, Item::Message { refusal: other, .. }) => {
                    refusal == other
                }
                (Item::Reasoning { .. }, Item::Reasoning { .. }) => true,
                _ => false,
            });
        if !same {
            self.close(client, out);
            self.items.items.push(kind);
            let place = self.items.items.len() - 1;
            self.open = Some(place);
            self.item("response.output_item.added", place, false, client, out);
            let (name, part) = match &self.items.items[place] {
                Item::Reasoning { .. } => (
                    "response.reasoning_summary_part.added",
                    r#"{"type":"summary_text","text":""}"#,
                ),
                Item::Message { refusal: true, .. } => (
                    "response.content_part.added",
                    r#"{"type":"refusal","refusal":""}"#,
                ),
                _ => (
                    "response.content_part.added",
                    r#"{"type":"output_text","text":"","annotations":[]}"#,
                ),
            };
            self.about(name, place, client, out, |_, out| {
                out.key("part").raw(part);
            });
        }
        let Some(place) = self.open else { return };
        let name = match &mut self.items.items[place] {
            Item::Message { text, refusal } => {
                text.push(more);
                if *refusal {
                    "response.refusal.delta"
                } else {
                    "response.output_text.delta"
                }
            }
            Item::Reasoning { text, .. } => {
                text.push(more);
                "response.reasoning_summary_text.delta"
            }
            Item::Call { .. } => return,
        };
        self.about(name, place, client, out, |_, out| {
            out.key("delta").text(more);
        });
    }

    fn redacted(&mut self, data: Text<'_>, client: &Client, out: &mut Writer) {
        self.close(client, out);
        self.items.redacted(&data);
        let place = self.items.items.len() - 1;
        self.item("response.output_item.added", place, false, client, out);
        self.item("response.output_item.done", place, true, client, out);
    }

    /// Writes the end of the message or the thought that is open.
    fn close(&mut self, client: &Client, out: &mut Writer) {
        let Some(place) = self.open.take() else {
            return;
        };
        let (text_name, part_name, member) = match &self.items.items[place] {
            Item::Reasoning { .. } => (
                "response.reasoning_summary_text.done",
                "response.reasoning_summary_part.done",
                "text",
            ),
            Item::Message { refusal: true, .. } => (
                "response.refusal.done",
                "response.content_part.done",
                "refusal",
            ),
            _ => (
                "response.output_text.done",
                "response.content_part.done",
                "text",
            ),
        };
        self.about(text_name, place, client, out, |item, out| {
            if let Item::Message { text, .. } | Item::Reasoning { text, .. } = item {
                out.key(member).text(text);
            }
        });
        self.about(part_name, place, client, out, |item, out| {
            out.key("part");
            item.write_part(true, out);
        });
        self.item("response.output_item.done", place, true, client, out);
    }

    /// Writes the end of a stream that ended well.
    pub fn end(&mut self, seen: &Seen, client: &Client, out: &mut Writer) {
        self.start(client, out);
        self.close(client, out);
        for place in self.calls.clone() {
            self.about(
                "response.function_call_arguments.done",
                place,
                client,
                out,
                |item, out| {
                    if let Item::Call { arguments, .. } = item {
                        let none = Text::of("{}");
                        out.key("arguments").text(if arguments.is_empty() {
                            &none
                        } else {
                            arguments
                        });
                    }
                },
            );
            self.item("response.output_item.done", place, true, client, out);
        }
        let finish = reason(seen.finish.clone(), !self.calls.is_empty());
        let name = match finish {
            Finish::Length | Finish::ContentFilter => "response.incomplete",
            _ => "response.completed",
        };
        let items = std::mem::take(&mut self.items);
        let id = std::mem::take(&mut self.id);
        self.emit(name, out, |out| {
            out.key("response");
            write_response(&id, Some((&items, &finish, seen)), client, out);
        });
    }
}
