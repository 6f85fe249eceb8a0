//! What is no conversation and no vector: other paths of a provider's API, passed on as they are.
//!
//! Sound, pictures and the like name a model, for which somebody answers as always. What else a
//! provider's account has (files, batches, fine-tuning, keys) belongs to whoever pays it, so such paths
//! reach only a provider whose block says `passthrough on`.

use std::borrow::Cow;
use std::ops::Range;

use super::Asking;
use super::ask::{Provider, Sent};
use super::relay::Way;
use super::sent::speaks;
use crate::conf::typed::llm::{self, Llm};
use crate::http::exchange::Exchange;
use crate::http::head::{Known, Method};
use crate::llm::models::Choice;
use crate::llm::wire::error::{Class, Code, ProviderError, Told};
use crate::llm::wire::front::{Format, Front, percent_decoded, without_key};
use crate::llm::wire::json::{Duplicates, Index, Writer};
use crate::llm::wire::neutral::Unsupported;
use crate::llm::wire::sse::{Events, Framing};
use crate::llm::wire::surgery::Surgery;
use crate::llm::wire::watch::{Failed, Metered, Seen};
use crate::llm::wire::{gemini, multipart};

/// First parts of paths that compute something of what they are sent and touch nothing else.
const OPEN: [&str; 9] = [
    "audio",
    "detokenize",
    "fim",
    "images",
    "moderations",
    "ocr",
    "rerank",
    "score",
    "tokenize",
];

/// A call that is passed on.
pub struct Passing<'a> {
    method: &'static str,
    /// Behind the version of the API, with a slash.
    path: &'a str,
    /// The version, as it stands in the path.
    version: &'a str,
    /// The query without a key.
    query: Option<Cow<'a, str>>,
    content_type: Cow<'static, str>,
    body: &'a [u8],
    shape: Shape,
    is_open: bool,
}

/// What a body is.
enum Shape {
    Json,
    /// A form, and where the name of its model stands.
    Form(Option<Range<usize>>, Vec<u8>),
    /// Nothing that a model could stand in.
    Opaque,
}

impl<'a> Passing<'a> {
    /// Looks at a call. `target` is that of the API.
    pub fn read(
        exchange: &Exchange,
        front: &Front<'_>,
        target: &'a str,
        body: &'a [u8],
    ) -> Result<Self, Told> {
        let method = match exchange.head.method {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
            _ => {
                let told = Told::own(Code::InvalidValue, "this method is not passed on");
                return Err(Told {
                    status: 405,
                    ..told
                });
            }
        };
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(without_key(query))),
            None => (target, None),
        };
        if !is_plain(path) || query.as_deref().is_some_and(|query| !is_visible(query)) {
            let told = Told::own(Code::InvalidValue, "this path is not passed on as it is");
            return Err(told);
        }
        let azure = path.strip_prefix("/openai/deployments/");
        let (version, path) = match azure.and_then(|rest| rest.find('/').map(|at| (rest, at))) {
            Some((rest, at)) => ("v1", &rest[at..]),
            None => {
                let inside = path.strip_prefix('/').unwrap_or(path);
                inside.split_at(inside.find('/').unwrap_or(inside.len()))
            }
        };
        let first = path[1.min(path.len())..].split('/').next();
        let is_open = match front.format {
            // `models/NAME:predict` makes pictures.
            Format::Gemini => front.model.is_some() && path.ends_with(":predict"),
            Format::OpenAi => OPEN.contains(&first.unwrap_or_default()),
            _ => false,
        };
        let field = exchange.head.fields.known(Known::ContentType);
        let content_type = String::from_utf8_lossy(field.unwrap_or_default()).into_owned();
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        let kind = kind.to_ascii_lowercase();
        let (shape, content_type) = if kind == "multipart/form-data" {
            let mut described = Writer::new();
            described.open();
            let mut place = None;
            // How many pictures it asks for counts as in JSON.
            for name in ["model", "n"] {
                let found = multipart::field(&content_type, body, name).map_err(|error| {
                    Told::own(Code::InvalidValue, error.to_string()).about(name)
                })?;
                if let Some(value) = found.clone().and_then(|found| body.get(found)) {
                    described.key(name).string(&String::from_utf8_lossy(value));
                }
                place = place.or(found.filter(|_| name == "model"));
            }
            described.close();
            let described = described.finish().into_bytes();
            (Shape::Form(place, described), content_type)
        } else if body.trim_ascii_start().starts_with(b"{") {
            // Whatever the client calls it: it is read as JSON here, and so it must be there.
            (Shape::Json, "application/json".to_owned())
        } else if kind.ends_with("json") && !body.is_empty() {
            (Shape::Json, content_type)
        } else {
            (Shape::Opaque, content_type)
        };
        Ok(Self {
            method,
            path,
            version,
            query,
            content_type: content_type.into(),
            body,
            is_open: is_open && (body.is_empty() || !matches!(shape, Shape::Opaque)),
            shape,
        })
    }

    /// What of it can be read as JSON: all of it, or an object that names its model.
    pub fn described(&self) -> &[u8] {
        match &self.shape {
            Shape::Json => self.body,
            Shape::Form(_, described) => described,
            Shape::Opaque => b"{}",
        }
    }

    /// How large it is, bytes.
    pub const fn size(&self) -> usize {
        self.body.len()
    }

    /// What stands for its model where it has none.
    pub fn place(&self) -> &'a str {
        let inside = &self.path[1.min(self.path.len())..];
        inside.split(['/', ':']).next().unwrap_or_default()
    }

    /// Does a provider take nothing for it? OpenAI judges texts for free.
    pub fn is_free_at(&self, provider: &llm::Provider) -> bool {
        provider.kind == "openai" && self.place() == "moderations"
    }

    /// Is it about what one account has? Another provider knows nothing of that, and what changes
    /// something must not be done twice.
    pub const fn is_of_account(&self) -> bool {
        !self.is_open
    }

    /// Who may be asked when no model is named: the first whose account is open, then, for what any of
    /// them can do, the others.
    pub fn choices<'l>(&self, llm: &'l Llm, front: &Front<'_>) -> Result<Vec<Choice<'l>>, Told> {
        let known = (llm.providers.iter().enumerate()).filter(|(_, known)| speaks(known, front));
        let mut known: Vec<_> = known.collect();
        known.sort_by_key(|(_, known)| !known.passthrough);
        if !self.is_open {
            known.retain(|(_, known)| known.passthrough);
            known.truncate(1);
        }
        match known.is_empty() {
            false => Ok((known.into_iter())
                .map(|(provider, _)| Choice {
                    provider,
                    model: "",
                    target: None,
                    is_home: true,
                })
                .collect()),
            true => Err(Told {
                status: 404,
                class: Class::NotFound,
                ..Told::own(Code::InvalidValue, CLOSED)
            }),
        }
    }

    /// As a provider gets it.
    pub fn sent(
        &self,
        asking: &Asking<'_>,
        provider: &Provider,
        model: &str,
    ) -> Result<(Sent, Way), Unsupported> {
        let front = asking.front;
        if !speaks(&provider.conf, front) {
            let name = front.format.name();
            let words = format!("this is passed on only to providers that speak the API of {name}");
            return Err(Unsupported::new("model", words));
        }
        if !self.is_open && !provider.conf.passthrough {
            return Err(Unsupported::new("", CLOSED));
        }
        let mut path = match (front.format, &front.model) {
            (Format::Gemini, Some(_)) => {
                let verb = self.path.rsplit_once(':').map_or("", |(_, verb)| verb);
                gemini::path_of(model, verb)
            }
            // The addresses of the others have the version in them.
            (Format::OpenAi | Format::Responses, _) => self.path.to_owned(),
            _ => format!("/{}{}", self.version, self.path),
        };
        if let Some(query) = self.query.as_deref().filter(|query| !query.is_empty()) {
            path.push('?');
            path.push_str(query);
        }
        let body = match &self.shape {
            Shape::Json => {
                let mut surgery = Surgery::new(asking.root);
                if asking.root.member("model").is_some() && !model.is_empty() {
                    surgery.set_string(&["model"], model);
                }
                surgery.remove(&["models"]).remove(&["fallbacks"]);
                surgery.finish(asking.text).into_bytes()
            }
            Shape::Form(Some(place), _) => {
                let (before, after) = (&self.body[..place.start], &self.body[place.end..]);
                [before, model.as_bytes(), after].concat()
            }
            Shape::Form(None, _) | Shape::Opaque => self.body.to_vec(),
        };
        let sent = Sent {
            method: self.method,
            path: path.into(),
            content_type: self.content_type.clone(),
            body,
            version: None,
        };
        let is_free = matches!(self.method, "GET" | "DELETE") || self.is_free_at(&provider.conf);
        Ok((sent, Way::Passed { is_free }))
    }
}

/// Why a path is not open.
const CLOSED: &str = "this path is not open here; hint: `passthrough on;` in an `llm_provider` opens \
                      the files, batches and other paths of its account to all keys";

/// Does a path mean the same to everybody? Nothing of it leads up, is empty, or hides a slash.
fn is_plain(path: &str) -> bool {
    let is_plain = |segment: &str| {
        let decoded = percent_decoded(segment);
        !matches!(&*decoded, "" | "." | "..") && !decoded.contains(['/', '\\', '\0'])
    };
    let inside = path.strip_prefix('/').unwrap_or(path);
    is_visible(path) && inside.split('/').all(is_plain)
}

fn is_visible(text: &str) -> bool {
    text.bytes()
        .all(|byte| matches!(byte, b'!'..=b'~') && byte != b'#')
}

/// By what an answer is paid that was passed on.
pub fn metered(is_free: bool, seen: &Seen) -> Metered {
    let told = seen.reported.has_input() || seen.reported.has_output();
    match (is_free, told) {
        (true, _) => Metered::Free,
        (false, true) => Metered::ByTokens,
        (false, false) => Metered::Unknown,
    }
}

/// Is the answer to be looked at as a whole before it passes?
pub fn is_whole(exchange: &Exchange) -> bool {
    let kind = exchange.upstream_head.fields.known(Known::ContentType);
    let status = exchange.upstream_head.status;
    status == 204 || kind.is_some_and(|kind| begins(kind, b"application/json"))
}

fn begins(text: &[u8], start: &[u8]) -> bool {
    let head = text.get(..start.len());
    head.is_some_and(|head| head.eq_ignore_ascii_case(start))
}

/// Writes the head of a success that passes as it comes, and how long it says that it is.
pub fn head(exchange: &mut Exchange) -> Option<u64> {
    exchange.status = exchange.upstream_head.status;
    for (known, name) in [
        (Some(Known::ContentType), &b"Content-Type"[..]),
        (None, b"Content-Disposition"),
    ] {
        let mut fields = exchange.upstream_head.fields.named(name);
        if let Some(value) = fields.next().map(<[u8]>::to_vec) {
            exchange.answer.push_known(known, name, &value);
        }
    }
    let length = exchange.upstream_head.fields.known(Known::ContentLength);
    let length = length.and_then(|text| std::str::from_utf8(text).ok()?.trim().parse().ok());
    exchange.answer_length = length;
    length
}

/// Looks at what passes as it comes: sound, a file, a stream of events.
pub struct Listener {
    format: Format,
    /// It costs nothing.
    is_free: bool,
    /// How long it is was said at its head.
    is_counted: bool,
    events: Option<(Events, Index)>,
    seen: Seen,
}

impl Listener {
    /// Listens to the answer whose head was read.
    pub fn new(exchange: &Exchange, format: Format, is_free: bool) -> Self {
        let kind = exchange.upstream_head.fields.known(Known::ContentType);
        let streams = kind.is_some_and(|kind| begins(kind, b"text/event-stream"));
        let mut seen = Seen::default();
        seen.metered = metered(is_free, &seen);
        Self {
            format,
            is_free,
            is_counted: (exchange.upstream_head.fields.known(Known::ContentLength)).is_some(),
            events: streams.then(|| (Events::new(Framing::Events), Index::new())),
            seen,
        }
    }

    /// Something came.
    pub fn hear(&mut self, bytes: &[u8]) {
        let Self {
            format,
            is_free,
            events,
            seen,
            ..
        } = self;
        let Some((cut, index)) = events else {
            seen.content = true;
            return;
        };
        let listened = cut.push(bytes, |frame| {
            let data = frame.data.as_deref().unwrap_or_default();
            seen.events += 1;
            let Ok(root) = index.read(data, Duplicates::LastCounts) else {
                seen.content = true;
                return;
            };
            match ProviderError::of(*format, None, root) {
                Some(error) => {
                    seen.error.get_or_insert(error);
                }
                None => {
                    seen.content = true;
                    seen.reported.read(*format, root);
                }
            }
        });
        // An event that is too long to be understood passes all the same.
        if listened.is_err() {
            seen.content = true;
            *events = None;
        }
        seen.metered = metered(*is_free, seen);
    }

    /// All of it came.
    pub fn end(&mut self) {
        // Nothing at all is an answer here, too.
        self.seen.content |= self.seen.error.is_none();
        self.seen.ended = true;
    }

    /// What was seen so far.
    pub const fn seen(&self) -> &Seen {
        &self.seen
    }

    /// What speaks against it, at its end: an error inside of it.
    pub fn verdict(&self) -> Result<(), Failed> {
        match &self.seen.error {
            Some(error) => Err(Failed::Error(error.clone())),
            None => Ok(()),
        }
    }

    /// Is it a stream of events without an announced length? What goes wrong can be told inside.
    pub const fn hears_events(&self) -> bool {
        self.events.is_some() && !self.is_counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_that_mean_the_same_to_everybody_are_plain() {
        for path in ["/v1/files/file-1/content", "/v1/models/a%20b:predict"] {
            assert!(is_plain(path), "{path}");
        }
        for path in [
            "/v1/../admin",
            "/v1/%2e%2E/admin",
            "/v1/a%2fb",
            "/v1//files",
            "/v1/files/",
            "/v1/a%5Cb",
            "/v1/a#b",
            "/v1/\u{e9}",
        ] {
            assert!(!is_plain(path), "{path}");
        }
    }
}
