//! Ollama's own format: read into and written from no format's words.

use std::borrow::Cow;

use super::front::{Format, Operation};
use super::json::{Kind, Text, Value, Writer};
use super::neutral::{
    Answer, Arguments, Block, Called, Choice, Client, Effort, Event, Finish, Output, Request, Role,
    Source, Target, Thinking, Tool, Turn, Unsupported, Written, joined, lost, object_of, reason,
    result_text, tell_call,
};
use super::watch::Seen;
use super::{openai, usage};

/// Reads a request of `/api/chat` or `/api/generate`.
///
/// # Errors
/// What of it has no meaning outside of this format, and where.
pub fn read_request(root: Value<'_>) -> Result<Request<'_>, Unsupported> {
    let mut request = Request {
        list: "messages",
        stream: true,
        ..Request::default()
    };
    let mut prompt = Vec::new();
    for (key, value) in root.members() {
        if value.is_null() {
            continue;
        }
        match &*key.string().unwrap_or_default() {
            "model" | "messages" | "models" | "fallbacks" | "keep_alive" => {}
            "stream" => request.stream = value.boolean().unwrap_or(true),
            "system" => {
                request.system.extend(value.text().map(Block::text));
            }
            "prompt" => {
                let text = value.text().filter(|text| !text.is_empty());
                prompt.extend(text.map(Block::text));
            }
            "images" => prompt.extend(value.items().filter_map(image)),
            "think" => {
                request.thinking = match value.string() {
                    Some(word) => Effort::of(&word).map(Thinking::Effort),
                    None => value.boolean().map(|on| {
                        if on {
                            Thinking::Adaptive
                        } else {
                            Thinking::Off
                        }
                    }),
                };
            }
            "format" => {
                request.output = match value.kind() {
                    Kind::Object => Output::Schema {
                        name: None,
                        schema: Cow::Borrowed(value.raw()),
                        strict: None,
                    },
                    _ if value.is("json") => Output::Json,
                    _ => Output::Free,
                };
            }
            "options" => {
                for (key, value) in value.members() {
                    let number = (value.kind() == Kind::Number).then(|| value.raw());
                    match &*key.string().unwrap_or_default() {
                        "num_predict" => request.max_output = value.integer(),
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
                        name => request.dropped.push(format!("options.{name}")),
                    }
                }
            }
            "tools" => {
                for (position, item) in value.items().enumerate() {
                    let function = item.some("function").unwrap_or(item);
                    let Some(name) = function.text_of("name") else {
                        return Err(Unsupported::new(
                            format!("tools[{position}]"),
                            "a tool needs a name",
                        ));
                    };
                    request.tools.push(Tool {
                        name,
                        description: function.text_of("description"),
                        schema: function.raw_of("parameters"),
                        strict: None,
                        cache: None,
                    });
                }
            }
            name => request.dropped.push(name.to_owned()),
        }
    }
    if !prompt.is_empty() {
        request.say(Role::User, 0, prompt);
    }
    // Calls have no ids: a result belongs to the first call of its tool that has none.
    let mut open: Vec<(Text<'_>, Text<'_>)> = Vec::new();
    for (at, message) in root.items_of("messages").enumerate() {
        let mut blocks = Vec::new();
        let text = message.text_of("content").filter(|text| !text.is_empty());
        blocks.extend(text.map(Block::text));
        blocks.extend(message.items_of("images").filter_map(image));
        match &*message.word_of("role") {
            "system" if request.turns.is_empty() => request.system.append(&mut blocks),
            "system" => request.say(Role::System, at, blocks),
            "user" => request.say(Role::User, at, blocks),
            "assistant" => {
                let mut all = Vec::new();
                if let Some(text) = message.text_of("thinking").filter(|text| !text.is_empty()) {
                    all.push(Block::thought(text));
                }
                all.append(&mut blocks);
                for (position, call) in message.items_of("tool_calls").enumerate() {
                    let call = self::call(call, || Text::owned(format!("call_{at}_{position}")));
                    if let Block::Call { id, name, .. } = &call {
                        open.push((id.clone(), name.clone()));
                    }
                    all.push(call);
                }
                request.say(Role::Assistant, at, all);
            }
            "tool" => {
                let name = message
                    .text_of("tool_name")
                    .or_else(|| message.text_of("name"));
                let id = message.text_of("tool_call_id");
                let place = open.iter().position(|(known, called)| match (&id, &name) {
                    (Some(id), _) => known == id,
                    (None, Some(name)) => called == name,
                    (None, None) => true,
                });
                let id = place.map(|place| open.remove(place).0).or(id);
                let result = Block::Result {
                    id: id.unwrap_or_default(),
                    name,
                    content: blocks,
                    failed: false,
                    cache: None,
                };
                request.say(Role::User, at, vec![result]);
            }
            _ => {
                return Err(Unsupported::new(
                    format!("messages[{at}].role"),
                    "an unknown role",
                ));
            }
        }
    }
    Ok(request)
}

fn image(data: Value<'_>) -> Option<Block<'_>> {
    let data = data.text()?;
    // The type is not told; the first bytes of each kind give it away.
    let media = match data.as_written() {
        data if data.starts_with("/9j/") => "image/jpeg",
        data if data.starts_with("R0lG") => "image/gif",
        data if data.starts_with("UklG") => "image/webp",
        _ => "image/png",
    };
    Some(Block::Image {
        source: Source::Data {
            media: Text::of(media),
            data,
        },
        detail: None,
        cache: None,
    })
}

fn call<'a>(call: Value<'a>, mint: impl FnOnce() -> Text<'a>) -> Block<'a> {
    let function = call.some("function").unwrap_or(call);
    Block::Call {
        id: call
            .text_of("id")
            .filter(|id| !id.is_empty())
            .unwrap_or_else(mint),
        name: function.text_of("name").unwrap_or_default(),
        arguments: match function.some("arguments") {
            Some(value) if value.kind() == Kind::String => {
                Arguments::String(value.text().unwrap_or_default())
            }
            Some(value) => Arguments::Object(Cow::Borrowed(value.raw())),
            None => Arguments::Object(Cow::Borrowed("{}")),
        },
        signature: None,
    }
}

/// Writes a request of `/api/chat`.
///
/// # Errors
/// What of it cannot be said in this format, and where.
pub fn write_request(request: &Request<'_>, target: &Target<'_>) -> Result<Written, Unsupported> {
    request.one_answer()?;
    let mut dropped = request.dropped.clone();
    let mut out = Writer::new();
    out.open()
        .key("model")
        .string(target.model)
        .key("messages")
        .open_array();
    if let Some(text) = joined(&request.system, "\n\n") {
        openai::write_said("system", &text, &mut out);
    }
    let mut calls = Called::default();
    for turn in &request.turns {
        calls.add(&turn.blocks);
        write_turn(request, turn, &calls, &mut out)?;
    }
    out.close_array().key("stream").boolean(request.stream);
    out.key("options").open();
    if let Some(most) = request.max_output {
        out.key("num_predict").integer(most);
    }
    let sampling = &request.sampling;
    out.members(&[
        ("temperature", sampling.temperature),
        ("top_p", sampling.top_p),
        ("top_k", sampling.top_k),
        ("seed", sampling.seed),
        ("presence_penalty", sampling.presence_penalty),
        ("frequency_penalty", sampling.frequency_penalty),
    ]);
    if !request.stop.is_empty() {
        out.key("stop").texts(&request.stop);
    }
    out.close();
    match &request.output {
        Output::Free => {}
        Output::Json => {
            out.key("format").string("json");
        }
        Output::Schema { schema, .. } => {
            out.key("format").raw(schema);
        }
    }
    match request.thinking {
        None => {}
        Some(Thinking::Off) => {
            out.key("think").boolean(false);
        }
        Some(thinking) => {
            out.key("think");
            // Most models know only on and off; a word switches it on for them as well.
            match thinking.effort() {
                None => out.boolean(true),
                Some(Effort::Minimal | Effort::Low) => out.string("low"),
                Some(Effort::Medium) => out.string("medium"),
                Some(_) => out.string("high"),
            };
        }
    }
    // It has no word for which tool may be called. One that is not there is not called.
    let tools: Vec<_> = match &request.choice {
        Some(Choice::None) => Vec::new(),
        Some(Choice::Tool(name)) => {
            let named = request.tools.iter();
            named.filter(|tool| tool.name == *name).collect()
        }
        Some(Choice::Auto | Choice::Any) | None => request.tools.iter().collect(),
    };
    if !tools.is_empty() {
        out.key("tools").open_array();
        for tool in tools {
            out.open_as("function").key("function").open();
            tool.write(
                Format::Ollama,
                "parameters",
                Some(tool.schema.as_deref().unwrap_or(r#"{"type":"object"}"#)),
                &mut out,
            );
            out.close().close();
        }
        out.close_array();
    }
    dropped.extend(lost([
        (
            "tool_choice",
            !matches!(request.choice, None | Some(Choice::None)),
        ),
        ("parallel_tool_calls", request.parallel.is_some()),
        ("user", request.user.is_some()),
        ("service_tier", request.tier.is_some()),
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
    let mut images: Vec<&Text<'_>> = Vec::new();
    let mut text: Option<Text<'static>> = None;
    let mut thought = Text::default();
    for (position, block) in turn.blocks.iter().enumerate() {
        let wrong = |what: &str| Err(request.unsupported(turn, position, what));
        match block {
            Block::Text { text: more, .. }
            | Block::Refusal(more)
            | Block::Document {
                source: Source::Text(more),
                ..
            } => match &mut text {
                Some(text) => {
                    if turn.role != Role::Assistant {
                        text.push(&Text::of("\n"));
                    }
                    text.push(more);
                }
                None => text = Some(more.clone().into_owned()),
            },
            Block::Image {
                source: Source::Data { data, .. },
                ..
            } => images.push(data),
            Block::Image { .. } => {
                return wrong(
                    "this model's provider fetches nothing: images must be in the request itself",
                );
            }
            Block::Document { .. } => return wrong("this model's provider takes no documents"),
            Block::Audio { .. } => return wrong("this model's provider takes no audio"),
            Block::Thinking { text, .. } => thought.push(text),
            Block::Redacted(_) | Block::Call { .. } => {}
            Block::Result {
                id,
                name,
                content,
                failed,
                ..
            } => {
                out.open().key("role").string("tool");
                if let Some(name) = calls.tool(id).or(name.as_ref()) {
                    out.key("tool_name").text(name);
                }
                out.key("content").text(&result_text(content, *failed));
                let pictures = content.iter().filter_map(|inner| match inner {
                    Block::Image {
                        source: Source::Data { data, .. },
                        ..
                    } => Some(data),
                    _ => None,
                });
                let pictures: Vec<&Text<'_>> = pictures.collect();
                let texts = content
                    .iter()
                    .filter(|inner| matches!(inner, Block::Text { .. }))
                    .count();
                if texts + pictures.len() < content.len() {
                    return wrong(
                        "bytes in the result of a tool must be images in the request itself",
                    );
                }
                write_images(&pictures, out);
                out.close();
            }
        }
    }
    let called = turn.blocks.iter().any(Block::is_call);
    let results = turn
        .blocks
        .iter()
        .any(|block| matches!(block, Block::Result { .. }));
    if results && text.is_none() && images.is_empty() {
        return Ok(());
    }
    let role = match turn.role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    };
    out.open()
        .key("role")
        .string(role)
        .key("content")
        .text(&text.unwrap_or_default());
    if !thought.is_empty() {
        out.key("thinking").text(&thought);
    }
    write_images(&images, out);
    if called {
        out.key("tool_calls").open_array();
        for block in &turn.blocks {
            write_call(block, out);
        }
        out.close_array();
    }
    out.close();
    Ok(())
}

fn write_images(images: &[&Text<'_>], out: &mut Writer) {
    if !images.is_empty() {
        out.key("images").texts(images.iter().copied());
    }
}

fn write_call(block: &Block<'_>, out: &mut Writer) {
    if let Block::Call {
        name, arguments, ..
    } = block
    {
        out.open().key("function").open().key("name").text(name);
        out.key("arguments")
            .raw(&arguments.object())
            .close()
            .close();
    }
}

/// Reads an answer of `/api/chat` or `/api/generate`.
#[must_use]
pub fn read_answer(root: Value<'_>) -> Answer<'_> {
    let mut answer = Answer {
        finish: Some(finish(root)),
        ..Answer::default()
    };
    let message = root.some("message").unwrap_or(root);
    if let Some(text) = message.text_of("thinking").filter(|text| !text.is_empty()) {
        answer.blocks.push(Block::thought(text));
    }
    let text = message
        .text_of("content")
        .or_else(|| root.text_of("response"));
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        answer.blocks.push(Block::text(text));
    }
    answer.blocks.extend(
        message
            .items_of("tool_calls")
            .map(|item| call(item, Text::default)),
    );
    answer
}

fn finish(root: Value<'_>) -> Finish {
    root.some("done_reason")
        .and_then(|word| word.string())
        .map_or(Finish::Stop, |word| Finish::of(&word))
}

fn head(client: &Client, out: &mut Writer) {
    out.open().key("model").string(&client.model);
    out.key("created_at").string(&moment(client.created));
}

/// A moment as RFC 3339 writes it, in UTC. Days are counted as Howard Hinnant's `civil_from_days` does.
#[must_use]
pub fn moment(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

fn tail(finish: &Finish, seen: &Seen, client: &Client, out: &mut Writer) {
    let word = if *finish == Finish::Length {
        "length"
    } else {
        "stop"
    };
    out.key("done")
        .boolean(true)
        .key("done_reason")
        .string(word);
    out.key("total_duration")
        .integer(0)
        .key("load_duration")
        .integer(0);
    usage::write(Format::Ollama, &client.usage(seen), out);
    out.close();
}

/// Writes the message, or for `/api/generate` the members that stand for it.
fn body(
    text: &Text<'_>,
    thought: &Text<'_>,
    calls: &[Block<'_>],
    client: &Client,
    out: &mut Writer,
) {
    if client.operation == Operation::Completion {
        out.key("response").text(text);
        if !thought.is_empty() {
            out.key("thinking").text(thought);
        }
        return;
    }
    out.key("message")
        .open()
        .key("role")
        .string("assistant")
        .key("content")
        .text(text);
    if !thought.is_empty() {
        out.key("thinking").text(thought);
    }
    if !calls.is_empty() {
        out.key("tool_calls").open_array();
        for call in calls {
            write_call(call, out);
        }
        out.close_array();
    }
    out.close();
}

/// Writes an answer.
#[must_use]
pub fn write_answer(answer: &Answer<'_>, seen: &Seen, client: &Client) -> String {
    let mut text = Text::default();
    let mut thought = Text::default();
    let mut calls = Vec::new();
    for block in &answer.blocks {
        match block {
            Block::Text { text: more, .. } | Block::Refusal(more) => text.push(more),
            Block::Thinking { text: more, .. } => thought.push(more),
            Block::Call { .. } => calls.push(block.clone()),
            _ => {}
        }
    }
    let mut out = Writer::new();
    head(client, &mut out);
    body(&text, &thought, &calls, client, &mut out);
    tail(&answer.reason(), seen, client, &mut out);
    out.finish()
}

/// The lines of a stream.
#[derive(Debug, Default)]
pub struct Lines {
    started: bool,
    calls: usize,
}

impl Lines {
    /// Tells what a line of a stream says.
    pub fn read(&mut self, root: Value<'_>, each: &mut impl FnMut(Event<'_>)) {
        if !std::mem::replace(&mut self.started, true) {
            each(Event::Start { id: None });
        }
        let answer = read_answer(root);
        for block in answer.blocks {
            match block {
                Block::Thinking { text, .. } => each(Event::Thinking(text)),
                Block::Text { text, .. } => each(Event::Text(text)),
                call => tell_call(call, &mut self.calls, each),
            }
        }
    }
}

/// Writes a stream for a client. Calls come whole, at the end.
#[derive(Debug, Default)]
pub struct Stream {
    calls: Vec<(Text<'static>, Text<'static>)>,
}

impl Stream {
    /// Writes one event.
    pub fn event(&mut self, event: Event<'_>, client: &Client, out: &mut Writer) {
        let (text, thought) = match event {
            Event::Text(text) | Event::Refusal(text) => (text, Text::default()),
            Event::Thinking(text) => (Text::default(), text),
            Event::Call { name, .. } => {
                self.calls.push((name.into_owned(), Text::default()));
                return;
            }
            Event::Arguments { call, part } => {
                if let Some((_, arguments)) = self.calls.get_mut(call) {
                    arguments.push(&part);
                }
                return;
            }
            Event::Start { .. } | Event::Ping | Event::Signature(_) | Event::Redacted(_) => return,
        };
        let mut line = Writer::new();
        head(client, &mut line);
        body(&text, &thought, &[], client, &mut line);
        line.key("done").boolean(false).close();
        out.plain(&line.finish()).plain("\n");
    }

    /// Writes the end of a stream that ended well.
    pub fn end(&mut self, seen: &Seen, client: &Client, out: &mut Writer) {
        let calls: Vec<Block<'_>> = self
            .calls
            .iter()
            .map(|(name, arguments)| Block::Call {
                id: Text::default(),
                name: name.borrowed(),
                arguments: Arguments::Object(object_of(arguments)),
                signature: None,
            })
            .collect();
        if !calls.is_empty() {
            let mut line = Writer::new();
            head(client, &mut line);
            body(
                &Text::default(),
                &Text::default(),
                &calls,
                client,
                &mut line,
            );
            line.key("done").boolean(false).close();
            out.plain(&line.finish()).plain("\n");
        }
        let finish = reason(seen.finish.clone(), !calls.is_empty());
        let mut line = Writer::new();
        head(client, &mut line);
        body(&Text::default(), &Text::default(), &[], client, &mut line);
        tail(&finish, seen, client, &mut line);
        out.plain(&line.finish()).plain("\n");
    }
}

#[cfg(test)]
mod tests {
    use super::moment;

    #[test]
    fn moments_are_written_in_utc() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (4_102_444_799, "2099-12-31T23:59:59Z"),
        ] {
            assert_eq!(moment(seconds), expected);
        }
    }
}
