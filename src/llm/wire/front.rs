//! The front door: which format a client speaks and what it wants, told by method, path and headers.
//!
//! Nothing of the body is looked at here. The secret of a client is found wherever its library puts it;
//! no type of this module shows it.

use std::borrow::Cow;
use std::fmt;

use crate::unit::printable::is_unsafe;

/// The words in which a call is said.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Format {
    /// OpenAI: chat completions, embeddings and the rest of `/v1`.
    OpenAi,
    /// OpenAI's `/v1/responses`.
    Responses,
    /// Anthropic: `/v1/messages`.
    Anthropic,
    /// Google: `/v1beta/models/NAME:generateContent`.
    Gemini,
    /// Ollama: `/api/chat`.
    Ollama,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::OpenAi,
        Self::Responses,
        Self::Anthropic,
        Self::Gemini,
        Self::Ollama,
    ];

    /// Its name in configurations, logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Responses => "responses",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Ollama => "ollama",
        }
    }

    /// The content type of its streams.
    #[must_use]
    pub const fn stream_type(self) -> &'static str {
        match self {
            Self::Ollama => "application/x-ndjson",
            _ => "text/event-stream",
        }
    }
}

/// What a client wants.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Operation {
    /// An answer to a conversation.
    Chat,
    /// The older completion of a text: `/v1/completions`, `/api/generate`.
    Completion,
    /// Vectors of texts.
    Embeddings,
    /// Vectors of one text: Gemini's `:embedContent`, Ollama's older `/api/embeddings`.
    Embedding,
    /// The list of models.
    Models,
    /// What is known of one model. It is named in the URL, for Ollama in the body.
    Model,
    /// How many tokens a conversation has.
    CountTokens,
    /// The version of the server (Ollama).
    Version,
    /// The models that are loaded (Ollama).
    Running,
    /// Another path of the provider, passed on as it is.
    Other,
}

impl Operation {
    /// Its name in logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completion => "completion",
            Self::Embeddings | Self::Embedding => "embeddings",
            Self::Models => "models",
            Self::Model => "model",
            Self::CountTokens => "count_tokens",
            Self::Version => "version",
            Self::Running => "running",
            Self::Other => "other",
        }
    }
}

/// How it is told whether the answer is a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Streaming {
    /// By `stream` in the body, which is off when it is missing.
    Asked,
    /// By `stream` in the body, which is on when it is missing (Ollama).
    AskedNot,
    /// By the URL: a stream of events.
    Events,
    /// By the URL: one JSON array, written as it grows (Gemini without `alt=sse`).
    Array,
    /// There is no such thing.
    Never,
}

/// What a request line and its headers tell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Front<'a> {
    /// In which words the client speaks and is answered.
    pub format: Format,
    /// What it wants.
    pub operation: Operation,
    /// The model, when the URL names it.
    pub model: Option<Cow<'a, str>>,
    /// How it is told whether the answer is a stream.
    pub streaming: Streaming,
}

/// The longest name of a model that is taken from a client, in bytes.
pub const MAX_MODEL: usize = 256;

/// Tells what a request wants; nothing if its path belongs to no format.
///
/// `path` is as it came, without the query; `has` tells whether a header is there, by its name in
/// lower case.
#[must_use]
pub fn recognise<'a>(
    method: &str,
    path: &'a str,
    query: Option<&str>,
    has: impl Fn(&str) -> bool,
) -> Option<Front<'a>> {
    let read = matches!(method, "GET" | "HEAD");
    let front = |format, operation, streaming| {
        Some(Front {
            format,
            operation,
            model: None,
            streaming,
        })
    };
    if let Some(rest) = path.strip_prefix("/api/") {
        let (operation, streaming) = match (rest, read) {
            ("chat", false) => (Operation::Chat, Streaming::AskedNot),
            ("generate", false) => (Operation::Completion, Streaming::AskedNot),
            ("embed", false) => (Operation::Embeddings, Streaming::Never),
            ("embeddings", false) => (Operation::Embedding, Streaming::Never),
            ("tags", true) => (Operation::Models, Streaming::Never),
            ("show", false) => (Operation::Model, Streaming::Never),
            ("version", true) => (Operation::Version, Streaming::Never),
            ("ps", true) => (Operation::Running, Streaming::Never),
            _ => return None,
        };
        return front(Format::Ollama, operation, streaming);
    }
    if let Some(rest) = path.strip_prefix("/openai/deployments/") {
        let (model, rest) = rest.split_once('/')?;
        let (operation, streaming) = match rest {
            "chat/completions" => (Operation::Chat, Streaming::Asked),
            "completions" => (Operation::Completion, Streaming::Asked),
            "embeddings" => (Operation::Embeddings, Streaming::Never),
            _ => (Operation::Other, Streaming::Never),
        };
        return Some(Front {
            format: Format::OpenAi,
            operation,
            model: Some(model_of(model)?),
            streaming,
        });
    }
    let (version, rest) = path.strip_prefix('/')?.split_once('/')?;
    if !matches!(version, "v1" | "v1beta" | "v1alpha") {
        return None;
    }
    let models = rest
        .strip_prefix("models/")
        .or_else(|| rest.strip_prefix("tunedModels/"));
    if let Some((name, verb)) = models.unwrap_or(rest).rsplit_once(':') {
        // A library that sees a slash in the name of a model (`provider/model`) leaves out `models/`.
        let gemini = match verb {
            "generateContent" => Some((Operation::Chat, Streaming::Never)),
            "streamGenerateContent" => {
                let events = pairs(query).any(|(name, value)| name == "alt" && value == "sse");
                let streaming = if events {
                    Streaming::Events
                } else {
                    Streaming::Array
                };
                Some((Operation::Chat, streaming))
            }
            "embedContent" => Some((Operation::Embedding, Streaming::Never)),
            "batchEmbedContents" => Some((Operation::Embeddings, Streaming::Never)),
            "countTokens" => Some((Operation::CountTokens, Streaming::Never)),
            _ if version != "v1" && models.is_some() => Some((Operation::Other, Streaming::Never)),
            // `/v1/models/llama3:8b` is a model of OpenAI's list.
            _ => None,
        };
        if let Some((operation, streaming)) = gemini {
            return Some(Front {
                format: Format::Gemini,
                operation,
                model: Some(model_of(name)?),
                streaming,
            });
        }
    }
    let gemini =
        version != "v1" || has("x-goog-api-key") || pairs(query).any(|(name, _)| name == "key");
    let format = if gemini {
        Format::Gemini
    } else if has("anthropic-version") {
        Format::Anthropic
    } else {
        Format::OpenAi
    };
    if rest == "models" && read {
        return front(format, Operation::Models, Streaming::Never);
    }
    if let Some(name) = models
        && read
    {
        return Some(Front {
            format,
            operation: Operation::Model,
            model: Some(model_of(name)?),
            streaming: Streaming::Never,
        });
    }
    if gemini && version != "v1" {
        return front(Format::Gemini, Operation::Other, Streaming::Never);
    }
    match (rest, read) {
        ("chat/completions", false) => front(Format::OpenAi, Operation::Chat, Streaming::Asked),
        ("completions", false) => front(Format::OpenAi, Operation::Completion, Streaming::Asked),
        ("embeddings", false) => front(Format::OpenAi, Operation::Embeddings, Streaming::Never),
        ("responses", false) => front(Format::Responses, Operation::Chat, Streaming::Asked),
        ("responses/input_tokens", false) => {
            front(Format::Responses, Operation::CountTokens, Streaming::Never)
        }
        ("messages", false) => front(Format::Anthropic, Operation::Chat, Streaming::Asked),
        ("messages/count_tokens", false) => {
            front(Format::Anthropic, Operation::CountTokens, Streaming::Never)
        }
        _ if rest.starts_with("responses/") => {
            front(Format::Responses, Operation::Other, Streaming::Never)
        }
        _ if rest.starts_with("messages/") => {
            front(Format::Anthropic, Operation::Other, Streaming::Never)
        }
        _ => front(format, Operation::Other, Streaming::Asked),
    }
}

fn model_of(name: &str) -> Option<Cow<'_, str>> {
    let name = percent_decoded(name);
    is_model(&name).then_some(name)
}

/// Whether a text may be the name of a model: short, not empty, without spaces and what nobody would see.
#[must_use]
pub fn is_model(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_MODEL
        && !name.chars().any(|c| is_unsafe(c) || c.is_whitespace())
}

/// Where a client put its secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// `Authorization: Bearer …`
    Bearer,
    /// `x-api-key` (Anthropic).
    ApiKey,
    /// `x-goog-api-key` (Gemini).
    Google,
    /// `api-key` (Azure).
    Azure,
    /// `?key=…` (Gemini).
    Query,
}

impl Place {
    /// The header that must not go on to a provider; the query has none.
    #[must_use]
    pub const fn header(self) -> Option<&'static str> {
        match self {
            Self::Bearer => Some("authorization"),
            Self::ApiKey => Some("x-api-key"),
            Self::Google => Some("x-goog-api-key"),
            Self::Azure => Some("api-key"),
            Self::Query => None,
        }
    }
}

/// A secret that a client showed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential<'a> {
    /// Where it stands.
    pub place: Place,
    /// What it is. Compare its digest, show it nobody.
    pub secret: Cow<'a, str>,
}

impl fmt::Debug for Credential<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a secret in {:?}", self.place)
    }
}

/// Every secret that a client showed, in the order in which they are to be tried.
///
/// Some libraries send two (a token and a key), so the first that a key is known for counts; all of them
/// stay here ([`Place::header`], [`without_key`]). `header` gives the value of a header by its name in
/// lower case.
pub fn credentials<'a>(
    header: impl Fn(&'static str) -> Option<&'a [u8]>,
    query: Option<&'a str>,
) -> impl Iterator<Item = Credential<'a>> {
    let places = [Place::Bearer, Place::ApiKey, Place::Google, Place::Azure];
    let headers = places.into_iter().filter_map(move |place| {
        let value = std::str::from_utf8(header(place.header()?)?).ok()?.trim();
        let secret = if place == Place::Bearer {
            let (scheme, secret) = value.split_once(' ')?;
            scheme
                .eq_ignore_ascii_case("bearer")
                .then(|| secret.trim())?
        } else {
            value
        };
        (!secret.is_empty()).then_some(Credential {
            place,
            secret: Cow::Borrowed(secret),
        })
    });
    let query = pairs(query)
        .filter(|(name, value)| name == "key" && !value.is_empty())
        .map(|(_, secret)| Credential {
            place: Place::Query,
            secret,
        });
    headers.chain(query)
}

/// A query without the secret that may stand in it: for logs and for providers.
#[must_use]
pub fn without_key(query: &str) -> Cow<'_, str> {
    let is_key = |part: &str| {
        let name = part.split_once('=').map_or(part, |(name, _)| name);
        percent_decoded(name) == "key"
    };
    if !query.split('&').any(is_key) {
        return Cow::Borrowed(query);
    }
    let rest: Vec<&str> = query.split('&').filter(|part| !is_key(part)).collect();
    Cow::Owned(rest.join("&"))
}

fn pairs<'a>(query: Option<&'a str>) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> {
    query.unwrap_or_default().split('&').filter_map(|part| {
        let (name, value) = part.split_once('=')?;
        Some((percent_decoded(name), percent_decoded(value)))
    })
}

/// A text as one part of a path.
#[must_use]
pub fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A text without its percent escapes. Percent signs that mean nothing stay, and so does what would not be
/// UTF-8.
#[must_use]
pub fn percent_decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digit = |at: usize| {
            bytes
                .get(at)
                .and_then(|byte| char::from(*byte).to_digit(16))
        };
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).map_or(Cow::Borrowed(text), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(request: &str, headers: &[&str]) -> String {
        let (method, target) = request.split_once(' ').expect("a method and a target");
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        match recognise(method, path, query, |name| headers.contains(&name)) {
            None => "nothing".to_owned(),
            Some(front) => format!(
                "{} {} {:?} {}",
                front.format.name(),
                front.operation.name(),
                front.streaming,
                front.model.unwrap_or_default()
            ),
        }
    }

    #[test]
    fn a_front_door_is_told_by_path_and_headers() {
        let cases: &[(&str, &[&str], &str)] = &[
            ("POST /v1/chat/completions", &[], "openai chat Asked "),
            ("POST /v1/completions", &[], "openai completion Asked "),
            ("POST /v1/embeddings", &[], "openai embeddings Never "),
            ("POST /v1/responses", &[], "responses chat Asked "),
            (
                "POST /v1/responses/input_tokens",
                &[],
                "responses count_tokens Never ",
            ),
            ("GET /v1/responses/resp_1", &[], "responses other Never "),
            ("POST /v1/messages", &[], "anthropic chat Asked "),
            (
                "POST /v1/messages/count_tokens",
                &[],
                "anthropic count_tokens Never ",
            ),
            ("POST /v1/messages/batches", &[], "anthropic other Never "),
            ("GET /v1/models", &[], "openai models Never "),
            (
                "GET /v1/models",
                &["anthropic-version"],
                "anthropic models Never ",
            ),
            (
                "GET /v1/models",
                &["x-goog-api-key"],
                "gemini models Never ",
            ),
            ("GET /v1/models?key=x", &[], "gemini models Never "),
            ("GET /v1beta/models", &[], "gemini models Never "),
            ("GET /v1/models/gpt-4o", &[], "openai model Never gpt-4o"),
            (
                "GET /v1/models/llama3:8b",
                &[],
                "openai model Never llama3:8b",
            ),
            (
                "GET /v1/models/openai/gpt-4o",
                &[],
                "openai model Never openai/gpt-4o",
            ),
            (
                "POST /v1beta/models/g-2:generateContent",
                &[],
                "gemini chat Never g-2",
            ),
            (
                "POST /v1/models/g-2:generateContent",
                &[],
                "gemini chat Never g-2",
            ),
            (
                "POST /v1beta/models/a%2Fb:generateContent",
                &[],
                "gemini chat Never a/b",
            ),
            (
                "POST /v1beta/models/g:streamGenerateContent?alt=sse",
                &[],
                "gemini chat Events g",
            ),
            (
                "POST /v1beta/models/g:streamGenerateContent",
                &[],
                "gemini chat Array g",
            ),
            (
                "POST /v1beta/models/g:batchEmbedContents",
                &[],
                "gemini embeddings Never g",
            ),
            (
                "POST /v1beta/models/g:embedContent",
                &[],
                "gemini embeddings Never g",
            ),
            (
                "POST /v1beta/models/g:countTokens",
                &[],
                "gemini count_tokens Never g",
            ),
            (
                "POST /v1beta/models/llama3:8b:generateContent",
                &[],
                "gemini chat Never llama3:8b",
            ),
            (
                "POST /v1beta/openai/gpt-5:generateContent",
                &[],
                "gemini chat Never openai/gpt-5",
            ),
            (
                "POST /v1beta/cachedContents/a:expire",
                &[],
                "gemini other Never ",
            ),
            ("POST /v1beta/models/%00:generateContent", &[], "nothing"),
            ("POST /api/chat", &[], "ollama chat AskedNot "),
            ("POST /api/generate", &[], "ollama completion AskedNot "),
            ("POST /api/embed", &[], "ollama embeddings Never "),
            ("GET /api/tags", &[], "ollama models Never "),
            ("POST /api/show", &[], "ollama model Never "),
            ("GET /api/version", &[], "ollama version Never "),
            ("GET /api/ps", &[], "ollama running Never "),
            ("POST /api/pull", &[], "nothing"),
            (
                "POST /openai/deployments/d1/chat/completions?api-version=1",
                &[],
                "openai chat Asked d1",
            ),
            ("POST /v1/audio/speech", &[], "openai other Asked "),
            ("GET /index.html", &[], "nothing"),
            ("GET /", &[], "nothing"),
        ];
        for (request, headers, expected) in cases {
            assert_eq!(told(request, headers), *expected, "{request} {headers:?}");
        }
    }

    #[test]
    fn a_secret_is_found_wherever_a_library_puts_it_and_is_never_shown() {
        let find = |headers: &[(&'static str, &'static str)], query| -> Vec<(Place, String)> {
            let headers = headers.to_vec();
            let header = move |name: &'static str| {
                let found = headers.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| value.as_bytes())
            };
            credentials(header, query)
                .map(|credential| {
                    assert!(!format!("{credential:?}").contains("oc-"));
                    (credential.place, credential.secret.into_owned())
                })
                .collect()
        };
        let one = |place| vec![(place, "oc-1".to_owned())];
        assert_eq!(
            find(&[("authorization", "bearer  oc-1 ")], None),
            one(Place::Bearer)
        );
        assert_eq!(find(&[("authorization", "Basic oc-1")], None), []);
        assert_eq!(find(&[("x-api-key", "oc-1")], None), one(Place::ApiKey));
        assert_eq!(
            find(&[("x-goog-api-key", "oc-1")], None),
            one(Place::Google)
        );
        assert_eq!(find(&[("api-key", "oc-1")], None), one(Place::Azure));
        assert_eq!(find(&[], Some("alt=sse&k%65y=oc%2D1")), one(Place::Query));
        assert_eq!(find(&[("x-api-key", "")], Some("key=")), []);
        let both = find(
            &[("x-api-key", "oc-2"), ("authorization", "Bearer oc-1")],
            None,
        );
        assert_eq!(both[0], (Place::Bearer, "oc-1".to_owned()));
        assert_eq!(both.len(), 2);
    }

    #[test]
    fn the_key_leaves_the_query_and_nothing_else_does() {
        assert_eq!(without_key("alt=sse&key=s&x=1"), "alt=sse&x=1");
        assert_eq!(without_key("k%65y=s"), "");
        assert_eq!(without_key("keys=1&x=key"), "keys=1&x=key");
    }
}
