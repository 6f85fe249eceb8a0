//! Vectors of texts, in the formats that have them: OpenAI, Gemini and Ollama.

use std::borrow::Cow;

use data_encoding::BASE64;

use super::front::{Format, Operation};
use super::json::{Duplicates, Index, Kind, Text, Value, Writer, encode};
use super::neutral::{Client, Unsupported};
use super::watch::{Failed, Seen};

/// A request for vectors.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Embed<'a> {
    /// What they are wanted of, in order.
    pub inputs: Vec<Input<'a>>,
    /// How many numbers a vector should have.
    pub dimensions: Option<u64>,
    /// Whether they are wanted packed: little-endian 32-bit floats in base64. OpenAI's libraries ask for
    /// that unless told otherwise.
    pub packed: bool,
    /// Members that have no meaning elsewhere.
    pub dropped: Vec<String>,
}

/// What an answer must hold, and how a client wants to read it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// So many vectors.
    pub vectors: usize,
    /// Whether they are wanted packed: see [`Embed::packed`].
    pub packed: bool,
    /// Whether one is asked for by a call that knows of no more.
    pub single: bool,
}

impl Embed<'_> {
    /// What the answer to it must hold, for a client that asked by this operation.
    #[must_use]
    pub fn wanted(&self, operation: Operation) -> Wanted {
        Wanted {
            vectors: self.inputs.len(),
            packed: self.packed,
            single: operation == Operation::Embedding,
        }
    }
}

/// Of what a vector is wanted.
#[derive(Clone, PartialEq, Debug)]
pub enum Input<'a> {
    /// Of a text.
    Text(Text<'a>),
    /// Of tokens that the client made itself: a JSON array of numbers.
    Tokens(&'a str),
}

/// The most inputs of one call that is said in another format: as many as OpenAI takes.
const MOST_INPUTS: usize = 2048;

/// The most inputs in one request that a format takes.
const fn most(format: Format) -> usize {
    match format {
        Format::Gemini => 100,
        _ => MOST_INPUTS,
    }
}

/// Reads a request of any of the formats, for one vector or for many.
///
/// # Errors
/// What of it has no meaning outside of its format, and where.
pub fn read(format: Format, root: Value<'_>) -> Result<Embed<'_>, Unsupported> {
    let mut embed = Embed::default();
    match format {
        Format::Gemini => {
            let batch = root.some("requests");
            let requests: Vec<Value<'_>> = match batch {
                Some(list) => list.items().collect(),
                None => vec![root],
            };
            let mut inputs = Vec::with_capacity(requests.len());
            for (position, request) in requests.into_iter().enumerate() {
                let place = match batch {
                    Some(_) => format!("requests[{position}].content"),
                    None => "content".to_owned(),
                };
                embed.dimensions = request
                    .either("outputDimensionality", "output_dimensionality")
                    .and_then(|number| number.integer())
                    .or(embed.dimensions);
                for name in ["taskType", "task_type", "title"] {
                    if request.some(name).is_some()
                        && !embed.dropped.iter().any(|known| known == name)
                    {
                        embed.dropped.push(name.to_owned());
                    }
                }
                let content = request.some("content");
                let mut text: Option<Text<'_>> = content.and_then(|content| content.text());
                for part in content
                    .into_iter()
                    .flat_map(|content| content.items_of("parts"))
                {
                    match (part.text_of("text"), &mut text) {
                        (Some(more), Some(text)) => text.push(&more),
                        (Some(more), None) => text = Some(more),
                        (None, _) => {
                            return Err(Unsupported::new(
                                place,
                                "only texts can be passed to this model's provider",
                            ));
                        }
                    }
                }
                inputs.push(Input::Text(
                    text.ok_or_else(|| Unsupported::new(place, "it needs a text"))?,
                ));
            }
            embed.inputs = inputs;
        }
        _ => {
            let input = root.some("input").or_else(|| root.some("prompt"));
            let input = input.ok_or_else(|| Unsupported::new("input", "it needs a text"))?;
            for (key, value) in root.members() {
                match &*key.string().unwrap_or_default() {
                    "model" | "models" | "fallbacks" | "input" | "prompt" | "user"
                    | "keep_alive" | "truncate" => {}
                    "dimensions" => embed.dimensions = value.integer(),
                    "encoding_format" => embed.packed = value.is("base64"),
                    _ if value.is_null() => {}
                    name => embed.dropped.push(name.to_owned()),
                }
            }
            embed.inputs = match input.kind() {
                Kind::String => input.text().map(Input::Text).into_iter().collect(),
                Kind::Array if input.numbers().next().is_some() => vec![Input::Tokens(input.raw())],
                _ => input
                    .items()
                    .enumerate()
                    .map(|(position, item)| match item.kind() {
                        Kind::String => Ok(Input::Text(item.text().unwrap_or_default())),
                        Kind::Array => Ok(Input::Tokens(item.raw())),
                        _ => Err(Unsupported::new(
                            format!("input[{position}]"),
                            "it needs a text",
                        )),
                    })
                    .collect::<Result<_, _>>()?,
            };
        }
    }
    if embed.inputs.is_empty() {
        return Err(Unsupported::new("input", "it needs at least one text"));
    }
    Ok(embed)
}

/// Writes a request: for `/v1/embeddings`, `:batchEmbedContents` or `/api/embed`. Numbers are asked for as
/// they are; whoever wants them packed is served by [`answer`]. There are several bodies, to be sent in this
/// order, where the provider does not take so many inputs at once.
///
/// # Errors
/// What of it cannot be said in this format, and where.
pub fn write(
    format: Format,
    embed: &Embed<'_>,
    model: &str,
) -> Result<(Vec<String>, Vec<String>), Unsupported> {
    if embed.inputs.len() > MOST_INPUTS {
        return Err(Unsupported::new(
            "input",
            format!("a call takes at most {MOST_INPUTS} inputs at once"),
        ));
    }
    let is_tokens = |input: &Input<'_>| matches!(input, Input::Tokens(_));
    if let Format::Gemini | Format::Ollama = format
        && let Some(place) = embed.inputs.iter().position(is_tokens)
    {
        return Err(Unsupported::new(
            format!("input[{place}]"),
            "tokens of one model mean nothing to another: send the text",
        ));
    }
    let batches = embed.inputs.chunks(most(format));
    let bodies = batches.map(|inputs| batch(format, embed, inputs, model));
    Ok((bodies.collect::<Result<_, _>>()?, embed.dropped.clone()))
}

/// Writes a request for some of the inputs.
fn batch(
    format: Format,
    embed: &Embed<'_>,
    inputs: &[Input<'_>],
    model: &str,
) -> Result<String, Unsupported> {
    let mut out = Writer::new();
    match format {
        Format::OpenAi => {
            out.open()
                .key("model")
                .string(model)
                .key("input")
                .open_array();
            for input in inputs {
                match input {
                    Input::Text(text) => out.text(text),
                    Input::Tokens(tokens) => out.raw(tokens),
                };
            }
            out.close_array();
            if let Some(dimensions) = embed.dimensions {
                out.key("dimensions").integer(dimensions);
            }
            out.key("encoding_format").string("float").close();
        }
        Format::Gemini => {
            out.open().key("requests").open_array();
            for input in inputs {
                let Input::Text(text) = input else { continue };
                out.open().key("model").string(&format!("models/{model}"));
                out.key("content").open().key("parts").open_array();
                out.open()
                    .key("text")
                    .text(text)
                    .close()
                    .close_array()
                    .close();
                if let Some(dimensions) = embed.dimensions {
                    out.key("outputDimensionality").integer(dimensions);
                }
                out.close();
            }
            out.close_array().close();
        }
        Format::Ollama => {
            out.open()
                .key("model")
                .string(model)
                .key("input")
                .open_array();
            for input in inputs {
                if let Input::Text(text) = input {
                    out.text(text);
                }
            }
            out.close_array();
            if let Some(dimensions) = embed.dimensions {
                out.key("dimensions").integer(dimensions);
            }
            out.close();
        }
        Format::Anthropic | Format::Responses => {
            return Err(Unsupported::new("model", "its provider makes no vectors"));
        }
    }
    Ok(out.finish())
}

/// A request of Gemini's with another name of the model wherever it stands in its body, and every other
/// byte as it came. `whole` is the text of `root`.
#[must_use]
pub fn naming(root: Value<'_>, whole: &str, model: &str) -> String {
    let name = format!("\"{}\"", encode(&format!("models/{model}")));
    let named = |request: Value<'_>| request.some("model").map(|old| old.span());
    let mut spans: Vec<_> = named(root).into_iter().collect();
    spans.extend(root.items_of("requests").filter_map(named));
    spans.sort_by_key(|span| span.start);
    let mut out = String::with_capacity(whole.len() + spans.len() * name.len());
    let mut done = 0;
    for span in spans {
        out.push_str(&whole[done..span.start]);
        out.push_str(&name);
        done = span.end;
    }
    out.push_str(&whole[done..]);
    out
}

/// What is seen of the answers to some of the bodies of [`write()`]: their usage is that of all of them.
#[must_use]
pub fn seen_of(from: Format, bodies: &[Vec<u8>]) -> Seen {
    let each = bodies
        .iter()
        .map(|body| Seen::of_answer(from, Operation::Embeddings, body));
    each.reduce(Seen::and_part).unwrap_or_default()
}

/// Translates an answer: those to all the bodies of [`write()`], in their order. What they tell is put into `seen`,
/// whatever it is.
///
/// # Errors
/// Why it is none: an error, no JSON, or another number of vectors than were asked for.
pub fn answer(
    from: Format,
    to: Format,
    wanted: Wanted,
    client: &Client,
    bodies: &[&[u8]],
    seen: &mut Seen,
) -> Result<String, Failed> {
    let mut indexes: Vec<Index> = bodies.iter().map(|_| Index::new()).collect();
    let mut all: Vec<Cow<'_, str>> = Vec::with_capacity(wanted.vectors);
    for (number, (index, body)) in indexes.iter_mut().zip(bodies).enumerate() {
        let root = index
            .read(body, Duplicates::LastCounts)
            .map_err(|_| Failed::NotJson)?;
        let mut part = Seen::default();
        part.answer(from, Operation::Embeddings, root);
        *seen = match number {
            0 => part,
            _ => std::mem::take(seen).and_part(part),
        };
        seen.verdict()?;
        let expected = wanted.vectors.saturating_sub(all.len()).min(most(from));
        let vectors = vectors_of(from, root)?;
        // One too many here and one too few there would give each text behind them another's vector.
        if vectors.len() != expected || vectors.is_empty() {
            return Err(Failed::NoChoices);
        }
        all.extend(vectors);
    }
    if all.len() != wanted.vectors || all.is_empty() {
        return Err(Failed::NoChoices);
    }
    let tokens = client.usage(seen).total_input();
    written(to, wanted, client, &all, tokens)
}

/// The vectors of an answer, in order.
fn vectors_of(from: Format, root: Value<'_>) -> Result<Vec<Cow<'_, str>>, Failed> {
    let mut vectors: Vec<(u64, Cow<'_, str>)> = Vec::new();
    match from {
        Format::OpenAi => {
            for (position, item) in root.items_of("data").enumerate() {
                let place = item.integer_of("index").unwrap_or(position as u64);
                let vector = item.some("embedding").ok_or(Failed::NoChoices)?;
                let vector = match vector.string() {
                    Some(packed) => Cow::Owned(unpack(&packed).ok_or(Failed::NotJson)?),
                    None => Cow::Borrowed(vector.raw()),
                };
                vectors.push((place, vector));
            }
            vectors.sort_by_key(|(place, _)| *place);
        }
        Format::Gemini => {
            let many = root.items_of("embeddings").chain(root.some("embedding"));
            for (position, item) in many.enumerate() {
                let vector = item.some("values").ok_or(Failed::NoChoices)?;
                vectors.push((position as u64, Cow::Borrowed(vector.raw())));
            }
        }
        _ => {
            let many = root.items_of("embeddings").chain(root.some("embedding"));
            for (position, item) in many.enumerate() {
                vectors.push((position as u64, Cow::Borrowed(item.raw())));
            }
        }
    }
    Ok(vectors.into_iter().map(|(_, vector)| vector).collect())
}

/// An answer in the client's format.
fn written(
    to: Format,
    wanted: Wanted,
    client: &Client,
    vectors: &[Cow<'_, str>],
    tokens: u64,
) -> Result<String, Failed> {
    let one = wanted.single;
    let mut out = Writer::new();
    match to {
        Format::Gemini => {
            out.open();
            if one {
                out.key("embedding")
                    .open()
                    .key("values")
                    .raw(&vectors[0])
                    .close();
            } else {
                out.key("embeddings").open_array();
                for vector in vectors {
                    out.open().key("values").raw(vector).close();
                }
                out.close_array();
            }
            out.close();
        }
        Format::Ollama if one => {
            out.open().key("embedding").raw(&vectors[0]).close();
        }
        Format::Ollama => {
            out.open()
                .key("model")
                .string(&client.model)
                .key("embeddings")
                .open_array();
            for vector in vectors {
                out.raw(vector);
            }
            out.close_array()
                .key("prompt_eval_count")
                .integer(tokens)
                .close();
        }
        _ => {
            out.open()
                .key("object")
                .string("list")
                .key("data")
                .open_array();
            for (position, vector) in vectors.iter().enumerate() {
                out.open()
                    .key("object")
                    .string("embedding")
                    .key("index")
                    .integer(position as u64);
                out.key("embedding");
                if wanted.packed {
                    out.string(&pack(vector).ok_or(Failed::NotJson)?);
                } else {
                    out.raw(vector);
                }
                out.close();
            }
            out.close_array().key("model").string(&client.model);
            out.key("usage").open().key("prompt_tokens").integer(tokens);
            out.key("total_tokens").integer(tokens).close().close();
        }
    }
    Ok(out.finish())
}

/// A JSON array of numbers as little-endian 32-bit floats in base64; nothing if it is something else.
#[must_use]
pub fn pack(array: &str) -> Option<String> {
    let mut index = Index::new();
    let root = index.read(array.as_bytes(), Duplicates::LastCounts).ok()?;
    let mut bytes = Vec::with_capacity(array.len() / 2);
    for number in root.numbers() {
        bytes.extend_from_slice(&number.parse::<f32>().ok()?.to_le_bytes());
    }
    Some(BASE64.encode(&bytes))
}

/// The JSON array of numbers in base64; nothing if it is something else.
#[must_use]
pub fn unpack(packed: &str) -> Option<String> {
    let bytes = BASE64.decode(packed.as_bytes()).ok()?;
    let (floats, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return None;
    }
    let mut out = Writer::new();
    out.open_array();
    for float in floats {
        let float = f32::from_le_bytes(*float);
        if !float.is_finite() {
            return None;
        }
        out.raw(&float.to_string());
    }
    out.close_array();
    Some(out.finish())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn translated(format: Format, body: &str, to: Format) -> Result<String, String> {
        let mut index = Index::new();
        let root = index
            .read(body.as_bytes(), Duplicates::Refuse)
            .expect("JSON");
        let embed = read(format, root).map_err(|error| error.to_string())?;
        let (bodies, _) = write(to, &embed, "m").map_err(|error| error.to_string())?;
        Ok(bodies.join("\n"))
    }

    #[test]
    fn requests_are_said_in_every_format() {
        use Format::{Gemini, Ollama, OpenAi};
        let openai =
            r#"{"model":"x","input":["a","b\n"],"dimensions":2,"encoding_format":"base64"}"#;
        assert_eq!(
            translated(OpenAi, openai, Gemini).as_deref(),
            Ok(
                r#"{"requests":[{"model":"models/m","content":{"parts":[{"text":"a"}]},"outputDimensionality":2},{"model":"models/m","content":{"parts":[{"text":"b\n"}]},"outputDimensionality":2}]}"#
            )
        );
        assert_eq!(
            translated(OpenAi, openai, Ollama).as_deref(),
            Ok(r#"{"model":"m","input":["a","b\n"],"dimensions":2}"#)
        );
        let gemini = r#"{"requests":[{"model":"models/x","content":{"parts":[{"text":"a"},{"text":"b"}]},"taskType":"T"}]}"#;
        assert_eq!(
            translated(Gemini, gemini, OpenAi).as_deref(),
            Ok(r#"{"model":"m","input":["ab"],"encoding_format":"float"}"#)
        );
        let one = r#"{"content":{"parts":[{"text":"a"}]}}"#;
        assert_eq!(
            translated(Gemini, one, Ollama).as_deref(),
            Ok(r#"{"model":"m","input":["a"]}"#)
        );
        let old = r#"{"model":"x","prompt":"a"}"#;
        assert_eq!(
            translated(Ollama, old, OpenAi).as_deref(),
            Ok(r#"{"model":"m","input":["a"],"encoding_format":"float"}"#)
        );
        let tokens = r#"{"model":"x","input":[[1,2],[3]]}"#;
        assert_eq!(
            translated(OpenAi, tokens, OpenAi).as_deref(),
            Ok(r#"{"model":"m","input":[[1,2],[3]],"encoding_format":"float"}"#)
        );
        for (body, to) in [
            (tokens, Gemini),
            (r#"{"model":"x","input":[1,2]}"#, Ollama),
            (r#"{"model":"x"}"#, OpenAi),
            (r#"{"model":"x","input":[]}"#, OpenAi),
            (r#"{"model":"x","input":[{}]}"#, OpenAi),
            (openai, Format::Anthropic),
        ] {
            assert!(translated(OpenAi, body, to).is_err(), "{body}");
        }
    }

    #[test]
    fn answers_are_said_in_every_format() {
        let client = Client {
            model: "alias".to_owned(),
            input_tokens: 7,
            ..Client::default()
        };
        let embed = Embed {
            inputs: vec![Input::Text(Text::of("a")), Input::Text(Text::of("b"))],
            ..Embed::default()
        };
        let packed = Embed {
            packed: true,
            ..embed.clone()
        };
        let one = Embed {
            inputs: embed.inputs[..1].to_vec(),
            ..embed.clone()
        };
        let said = |from, to, operation, embed: &Embed<'_>, body: &str| {
            let mut seen = Seen::default();
            answer(
                from,
                to,
                embed.wanted(operation),
                &client,
                &[body.as_bytes()],
                &mut seen,
            )
            .map_err(|failed| failed.to_string())
        };
        use Format::{Gemini, Ollama, OpenAi};
        let many = Operation::Embeddings;
        let ollama = r#"{"model":"m","embeddings":[[1.0,-0.50],[2,3]],"prompt_eval_count":4}"#;
        assert_eq!(
            said(Ollama, OpenAi, many, &embed, ollama).as_deref(),
            Ok(
                r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[1.0,-0.50]},{"object":"embedding","index":1,"embedding":[2,3]}],"model":"alias","usage":{"prompt_tokens":4,"total_tokens":4}}"#
            )
        );
        let told = said(Ollama, OpenAi, many, &packed, ollama).expect("an answer");
        assert!(told.contains(r#""embedding":"AACAPwAAAL8=""#), "{told}");
        let openai = r#"{"data":[{"index":1,"embedding":"AACAPwAAAL8="},{"index":0,"embedding":[0.5]}],"usage":{"prompt_tokens":3,"total_tokens":3}}"#;
        assert_eq!(
            said(OpenAi, Gemini, many, &embed, openai).as_deref(),
            Ok(r#"{"embeddings":[{"values":[0.5]},{"values":[1,-0.5]}]}"#)
        );
        let gemini = r#"{"embeddings":[{"values":[0.5]}]}"#;
        assert_eq!(
            said(Gemini, Ollama, Operation::Embedding, &one, gemini).as_deref(),
            Ok(r#"{"embedding":[0.5]}"#)
        );
        assert_eq!(
            said(Gemini, Ollama, many, &one, gemini).as_deref(),
            Ok(r#"{"model":"alias","embeddings":[[0.5]],"prompt_eval_count":7}"#)
        );
        assert!(
            said(Gemini, OpenAi, many, &embed, gemini).is_err(),
            "one vector is missing"
        );
        assert!(said(OpenAi, Gemini, many, &embed, r#"{"error":{"message":"m"}}"#).is_err());
    }

    #[test]
    fn what_is_too_much_for_one_request_is_asked_in_parts_and_put_together_in_order() {
        let texts: Vec<String> = (0..250).map(|number| format!("\"t{number}\"")).collect();
        let call = |count: usize| {
            let texts = (0..count)
                .map(|number| format!("\"t{number}\""))
                .collect::<Vec<_>>();
            format!(r#"{{"input":[{}]}}"#, texts.join(","))
        };
        let bodies = translated(Format::OpenAi, &call(250), Format::Gemini).expect("bodies");
        let sizes = bodies.lines().map(|body| body.matches("\"text\"").count());
        assert_eq!(sizes.collect::<Vec<_>>(), [100, 100, 50]);
        let at = texts.iter().map(|text| bodies.find(text.as_str()));
        assert!(at.is_sorted_by(|one, other| one.is_some() && one < other));
        for to in [Format::OpenAi, Format::Ollama] {
            let bodies = translated(Format::OpenAi, &call(2048), to).expect("a body");
            assert_eq!(bodies.lines().count(), 1);
        }
        for to in [Format::OpenAi, Format::Ollama, Format::Gemini] {
            let refused = translated(Format::OpenAi, &call(2049), to).expect_err("too many");
            assert!(refused.contains("at most 2048"), "{refused}");
        }

        let part = |first: usize, count: usize, tokens: &str| {
            let vectors =
                (first..first + count).map(|number| format!(r#"{{"values":[{number}]}}"#));
            let vectors = vectors.collect::<Vec<_>>().join(",");
            format!(r#"{{"embeddings":[{vectors}]{tokens}}}"#)
        };
        let told = r#","usageMetadata":{"promptTokenCount":7}"#;
        let wanted = Wanted {
            vectors: 250,
            packed: false,
            single: false,
        };
        let put = |parts: &[String]| {
            let bodies: Vec<&[u8]> = parts.iter().map(String::as_bytes).collect();
            let mut seen = Seen::default();
            let client = Client {
                input_tokens: 1000,
                ..Client::default()
            };
            let made = answer(
                Format::Gemini,
                Format::Ollama,
                wanted,
                &client,
                &bodies,
                &mut seen,
            );
            made.map_err(|failed| failed.to_string())
        };
        let vectors: Vec<String> = (0..250).map(|number| format!("[{number}]")).collect();
        let vectors = vectors.join(",");
        let whole = [
            part(0, 100, told),
            part(100, 100, told),
            part(200, 50, told),
        ];
        let expected = format!(r#"{{"model":"","embeddings":[{vectors}],"prompt_eval_count":21}}"#);
        assert_eq!(put(&whole), Ok(expected));
        // One that tells nothing makes the sum unknown.
        let whole = [part(0, 100, told), part(100, 100, ""), part(200, 50, told)];
        assert!(put(&whole).is_ok_and(|told| told.ends_with("\"prompt_eval_count\":1000}")));
        let shifted = [part(0, 99, told), part(99, 101, told), part(200, 50, told)];
        assert!(put(&shifted).is_err());
        assert!(put(&whole[..2]).is_err());
        let error = r#"{"error":{"code":500,"message":"m","status":"INTERNAL"}}"#.to_owned();
        assert!(put(&[part(0, 100, told), error, part(200, 50, told)]).is_err());
    }

    #[test]
    fn a_call_of_gemini_names_another_model_and_keeps_every_other_byte() {
        let body = r#"{"requests" : [{"model":"models/a","content":{},"taskType":"T"}, {"model": "models/b"}],"x":1.0}"#;
        let mut index = Index::new();
        let root = index.read(body.as_bytes(), Duplicates::Refuse);
        assert_eq!(
            naming(root.expect("JSON"), body, "e\"m"),
            r#"{"requests" : [{"model":"models/e\"m","content":{},"taskType":"T"}, {"model": "models/e\"m"}],"x":1.0}"#
        );
        let one = r#"{"content":{"parts":[]},"model":"models/a"}"#;
        let mut index = Index::new();
        let root = index.read(one.as_bytes(), Duplicates::Refuse);
        assert_eq!(
            naming(root.expect("JSON"), one, "m"),
            r#"{"content":{"parts":[]},"model":"models/m"}"#
        );
    }

    proptest! {
        #[test]
        fn numbers_survive_packing(numbers in proptest::collection::vec(-1e30_f32..1e30, 0..40)) {
            let array: Vec<String> = numbers.iter().map(f32::to_string).collect();
            let array = format!("[{}]", array.join(","));
            let packed = pack(&array).expect("numbers");
            prop_assert_eq!(unpack(&packed), Some(array));
        }
    }
}
