//! What a provider is sent: the call as it came but for what must change, or said in its words.

use std::collections::VecDeque;

use super::ask::{Provider, Sent};
use super::relay::Way;
use super::{Call, told};
use crate::conf::typed::llm::{self, Api, Dialect};
use crate::http::exchange::Exchange;
use crate::llm::price;
use crate::llm::wire::front::{Format, Front, Operation, Streaming, percent_encoded};
use crate::llm::wire::neutral::{Client, Names, Target, Unsupported};
use crate::llm::wire::surgery::Surgery;
use crate::llm::wire::{embeddings, forget, gemini, translate};
use crate::unit::clock;

/// A call as a provider gets it, at its own place for it.
pub fn sent(
    call: &Call<'_>,
    exchange: &Exchange,
    provider: &Provider,
    model: &str,
    is_elsewhere: bool,
) -> Result<(Sent, Way), Unsupported> {
    let (mut sent, way) = said(call, exchange, provider, model, is_elsewhere)?;
    let format = match &way {
        Way::Translated { from, .. } | Way::Vectors { from, .. } => *from,
        Way::Same | Way::Passed { .. } => call.asking.front.format,
    };
    if matches!(format, Format::OpenAi | Format::Responses) {
        match &provider.conf.dialect {
            Dialect::Plain => {}
            Dialect::Gateway => sent.path = format!("/v1{}", sent.path).into(),
            Dialect::Azure {
                version,
                deployment,
            } => {
                let name = deployment.as_deref().unwrap_or(model);
                sent.path = at_azure(&sent.path, version.as_deref(), name).into();
            }
        }
    }
    Ok((sent, way))
}

/// Where Azure has a path of OpenAI's API.
fn at_azure(path: &str, version: Option<&str>, deployment: &str) -> String {
    let Some(version) = version else {
        return format!("/openai/v1{path}");
    };
    let join = if path.contains('?') { '&' } else { '?' };
    // What belongs to no model, and the newer API, stands beside the deployments.
    let is_beside = deployment.is_empty() || path.starts_with("/responses");
    match is_beside {
        true => format!("/openai{path}{join}api-version={version}"),
        false => {
            let deployment = percent_encoded(deployment);
            format!("/openai/deployments/{deployment}{path}{join}api-version={version}")
        }
    }
}

/// A call as a provider gets it, in its own format or in the client's, and how its answer becomes the
/// client's. What another model thought means nothing to one that is asked elsewhere, in its place.
fn said(
    call: &Call<'_>,
    exchange: &Exchange,
    provider: &Provider,
    model: &str,
    is_elsewhere: bool,
) -> Result<(Sent, Way), Unsupported> {
    let Call {
        asking,
        facts,
        name,
        ..
    } = *call;
    let front = asking.front;
    let format = format_of(provider, front);
    if let Some(passing) = asking.passing {
        return passing.sent(asking, provider, model);
    }
    if format == front.format && front.streaming != Streaming::Array {
        let path = match (format, front.operation) {
            (Format::OpenAi, Operation::Chat) => "/chat/completions".into(),
            (Format::OpenAi, Operation::Completion) => "/completions".into(),
            (Format::OpenAi, Operation::Embeddings) => "/embeddings".into(),
            (Format::Responses, Operation::Chat) => "/responses".into(),
            (Format::Anthropic, Operation::Chat) => "/v1/messages".into(),
            (Format::Anthropic, Operation::CountTokens) => "/v1/messages/count_tokens".into(),
            (Format::Gemini, Operation::Chat) => gemini::path(model, facts.stream).into(),
            (Format::Gemini, Operation::Embeddings) => {
                gemini::path_of(model, "batchEmbedContents").into()
            }
            (Format::Gemini, Operation::Embedding) => gemini::path_of(model, "embedContent").into(),
            (Format::Ollama, Operation::Embedding) => "/api/embeddings".into(),
            (Format::Ollama, Operation::Chat) => "/api/chat".into(),
            (Format::Ollama, Operation::Completion) => "/api/generate".into(),
            (Format::Ollama, Operation::Embeddings) => "/api/embed".into(),
            _ => {
                return Err(Unsupported::new(
                    "",
                    "this is not passed on to this provider",
                ));
            }
        };
        let mut surgery = Surgery::new(asking.root);
        if format != Format::Gemini {
            surgery.set_string(&["model"], model);
        }
        surgery.remove(&["models"]).remove(&["fallbacks"]);
        if is_elsewhere && let Some(rest) = forget::without_thoughts(format, asking.root) {
            surgery.set(forget::conversation(format), rest);
        }
        if format == Format::OpenAi && facts.stream && !facts.include_usage {
            surgery.set(&["stream_options", "include_usage"], "true");
        }
        let is_embedding = matches!(
            front.operation,
            Operation::Embeddings | Operation::Embedding
        );
        let body = match format == Format::Gemini && is_embedding {
            true => embeddings::naming(asking.root, asking.text, model),
            false => surgery.finish(asking.text),
        };
        return Ok((Sent::json(path, body), Way::Same));
    }
    if matches!(
        front.operation,
        Operation::Embeddings | Operation::Embedding
    ) {
        return vectors(call, exchange, format, model);
    }
    if !matches!(front.operation, Operation::Chat | Operation::Completion) {
        return Err(Unsupported::new(
            "",
            "only conversations are said in another API's words",
        ));
    }
    let path = match format {
        Format::OpenAi | Format::Responses => "/chat/completions".into(),
        Format::Anthropic => "/v1/messages".into(),
        Format::Gemini => gemini::path(model, facts.stream).into(),
        Format::Ollama => "/api/chat".into(),
    };
    let mut request = translate::read_request(front.format, asking.root)?;
    // Some say it in the path, or by saying nothing.
    request.stream = facts.stream;
    if is_elsewhere {
        translate::forget_thinking(&mut request);
    }
    let mut target = Target::new(model);
    if let Some(most) = price::find(provider.conf.kind, model).and_then(|known| known.max_output) {
        target.max_output = target.max_output.min(most);
    }
    let written = translate::write_request(format, &request, &target)?;
    let client = Client {
        id: told::request_id(exchange),
        model: name.to_owned(),
        operation: front.operation,
        created: clock::unix().as_secs(),
        legacy: request.legacy,
        include_usage: facts.include_usage,
        array: front.streaming == Streaming::Array,
        input_tokens: facts.input_tokens,
        names: Names::of(&request, format),
    };
    let sent = Sent {
        version: written.version,
        ..Sent::json(path, written.body)
    };
    let dropped = written.dropped.join(",");
    let way = Way::Translated {
        from: format,
        client: Box::new(client),
        dropped,
    };
    Ok((sent, way))
}

/// A call for vectors in another format.
fn vectors(
    call: &Call<'_>,
    exchange: &Exchange,
    format: Format,
    model: &str,
) -> Result<(Sent, Way), Unsupported> {
    let front = call.asking.front;
    let embed = embeddings::read(front.format, call.asking.root)?;
    let (bodies, dropped) = embeddings::write(format, &embed, model)?;
    let mut rest = VecDeque::from(bodies);
    let body = rest.pop_front().unwrap_or_default();
    let path = match format {
        Format::Gemini => gemini::path_of(model, "batchEmbedContents").into(),
        Format::Ollama => "/api/embed".into(),
        _ => "/embeddings".into(),
    };
    let client = Client {
        id: told::request_id(exchange),
        model: call.name.to_owned(),
        operation: front.operation,
        input_tokens: call.facts.input_tokens,
        ..Client::default()
    };
    let way = Way::Vectors {
        from: format,
        wanted: embed.wanted(front.operation),
        client: Box::new(client),
        dropped: dropped.join(","),
        before: Vec::new(),
        rest,
    };
    Ok((Sent::json(path, body), way))
}

/// The format in which a provider is asked: the client's own, if it speaks that.
pub fn format_of(provider: &Provider, front: &Front<'_>) -> Format {
    match (provider.conf.api, front.format) {
        (Api::OpenAi, format) if provider.conf.dialect == Dialect::Gateway => format,
        (Api::OpenAi, Format::Responses) if provider.conf.has_responses => Format::Responses,
        _ => native(provider),
    }
}

/// The format that a provider speaks before all.
pub fn native(provider: &Provider) -> Format {
    match provider.conf.api {
        Api::OpenAi => Format::OpenAi,
        Api::Anthropic => Format::Anthropic,
        Api::Gemini => Format::Gemini,
        Api::Ollama => Format::Ollama,
    }
}

/// Does a provider speak the client's API, so that what is no conversation can be passed on to it?
pub fn speaks(provider: &llm::Provider, front: &Front<'_>) -> bool {
    match provider.api {
        Api::OpenAi if provider.dialect == Dialect::Gateway => true,
        Api::OpenAi => matches!(front.format, Format::OpenAi | Format::Responses),
        Api::Anthropic => front.format == Format::Anthropic,
        Api::Gemini => front.format == Format::Gemini,
        Api::Ollama => front.format == Format::Ollama,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn azure_has_its_paths_with_and_without_a_version() {
        let new = at_azure("/chat/completions", None, "d");
        assert_eq!(new, "/openai/v1/chat/completions");
        for (path, deployment, expected) in [
            (
                "/chat/completions",
                "d 1",
                "/openai/deployments/d%201/chat/completions?api-version=v",
            ),
            ("/responses", "d", "/openai/responses?api-version=v"),
            ("/files?limit=1", "", "/openai/files?limit=1&api-version=v"),
        ] {
            assert_eq!(at_azure(path, Some("v"), deployment), expected);
        }
    }
}
