//! A question to a provider that costs nothing: which models it has. For people who want to know
//! whether it answers, how soon, and whether it takes the key.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::http::{HeaderName, HeaderValue, Request};
use bytes::Bytes;

use super::ask::{Provider, USUAL_VERSION};
use super::sent::native;
use crate::acme::secret::Secret;
use crate::conf::typed::llm::{Api, Dialect};
use crate::conf::typed::proxy as typed;
use crate::conf::typed::upstream::{PeerAddress, Upstream};
use crate::llm::wire::error::ProviderError;
use crate::llm::wire::json::{Duplicates, Index};
use crate::protocol::ProviderTest;
use crate::tls::fetch::{FetchError, Fetcher, Limits, Trust};

/// How far an answer may go: lists of models are long.
const LIMITS: Limits = Limits {
    timeout: Duration::from_secs(15),
    body: 8 << 20,
};

/// The longest text of a provider that is told, in characters.
const LONGEST: usize = 200;

/// Asks a provider with each of its keys, at the first address of the `upstream` that it names, if it
/// names one.
pub async fn inquire(provider: &Provider, upstreams: &[Arc<Upstream>]) -> Vec<ProviderTest> {
    let mut tests = Vec::new();
    for (position, secret) in provider.secrets().enumerate() {
        let test = match secret {
            Ok(secret) => ask(provider, secret.as_deref(), upstreams).await,
            Err(why) => ProviderTest {
                text: format!("there is no key: {why}"),
                ..ProviderTest::default()
            },
        };
        tests.push(ProviderTest {
            provider: provider.conf.name.to_string(),
            key: position as u32 + 1,
            text: provider.mask(&test.text),
            ..test
        });
    }
    tests
}

async fn ask(
    provider: &Provider,
    secret: Option<&Secret>,
    upstreams: &[Arc<Upstream>],
) -> ProviderTest {
    let asking = place(provider, upstreams).and_then(|place| {
        let request = request(provider, secret)?;
        Ok((request, fetcher(provider, place)?))
    });
    let (request, fetcher) = match asking {
        Ok(asking) => asking,
        Err(why) => return failed(0, why),
    };
    let began = Instant::now();
    let answer = fetcher.send(request, LIMITS).await;
    let latency = began.elapsed().as_micros() as u64;
    match answer {
        Ok(answer) => ProviderTest {
            latency,
            ..told(provider, answer.status().as_u16(), answer.body())
        },
        Err(error) => ProviderTest {
            latency,
            ..failed(0, unreached(&error))
        },
    }
}

fn failed(status: u16, text: String) -> ProviderTest {
    ProviderTest {
        status,
        text,
        ..ProviderTest::default()
    }
}

/// The first server of the `upstream` that `base_url` names, if it names one: its host and its port.
fn place<'a>(
    provider: &Provider,
    upstreams: &'a [Arc<Upstream>],
) -> Result<Option<(Cow<'a, str>, u16)>, String> {
    let typed::Target::Group { upstream, .. } = &provider.conf.asking.target else {
        return Ok(None);
    };
    let group = upstreams.get(*upstream).filter(|group| !group.is_implicit);
    let Some(group) = group else {
        return Ok(None);
    };
    let servers = group.servers.iter().filter(|server| !server.down);
    let mut places = servers.filter_map(|server| match &server.address {
        PeerAddress::Ip(address) => Some((Cow::from(address.ip().to_string()), address.port())),
        PeerAddress::Name { host, port } => Some((Cow::from(&**host), *port)),
        PeerAddress::Unix(_) => None,
    });
    match places.next() {
        Some(place) => Ok(Some(place)),
        None => Err(format!(
            "the upstream `{}` has no address that a test can ask",
            group.name
        )),
    }
}

fn request(provider: &Provider, secret: Option<&Secret>) -> Result<Request<Bytes>, String> {
    let base = provider.conf.base_url.trim_end_matches('/');
    let path = match provider.conf.api {
        Api::OpenAi => "/models",
        Api::Anthropic => "/v1/models",
        Api::Gemini => "/v1beta/models",
        Api::Ollama => "/api/tags",
    };
    let mut uri = format!("{base}{path}");
    if let Dialect::Azure {
        version: Some(version),
        ..
    } = &provider.conf.dialect
    {
        let _ = write!(uri, "?api-version={version}");
    }
    let mut request = Request::get(uri).header("Accept", "application/json");
    if provider.conf.api == Api::Anthropic {
        request = request.header("anthropic-version", USUAL_VERSION);
    }
    if let Some(secret) = secret {
        let key = secret.expose();
        let (name, value) = match provider.conf.api {
            Api::OpenAi if matches!(provider.conf.dialect, Dialect::Azure { .. }) => {
                ("api-key", key.to_owned())
            }
            Api::OpenAi | Api::Ollama => ("Authorization", format!("Bearer {key}")),
            Api::Anthropic => ("x-api-key", key.to_owned()),
            Api::Gemini => ("x-goog-api-key", key.to_owned()),
        };
        let value = HeaderValue::try_from(value);
        let mut value =
            value.map_err(|_| "the key has letters that no field may have".to_owned())?;
        value.set_sensitive(true);
        request = request.header(name, value);
    }
    for field in &provider.conf.fields {
        let name = HeaderName::from_bytes(&field.name);
        let value = HeaderValue::from_bytes(&field.value);
        if let (Ok(name), Ok(value)) = (name, value) {
            request = request.header(name, value);
        }
    }
    let made = request.body(Bytes::new());
    made.map_err(|_| format!("`{}` is no address of an API", provider.conf.base_url))
}

/// Who trusts as the provider's own connections do, asks at the same place, and wants the same name
/// of a certificate: that of `base_url`, not that of a server of the `upstream`.
fn fetcher(provider: &Provider, place: Option<(Cow<'_, str>, u16)>) -> Result<Fetcher, String> {
    let trust = match &provider.conf.asking.tls {
        Some(tls) if !tls.verify => Trust::Anything,
        Some(tls) => match &tls.trusted {
            Some((path, _)) => Trust::roots("ssl_trusted_certificate", path)?,
            None => Trust::System,
        },
        None => Trust::System,
    };
    let fetcher = match place {
        Some((host, port)) => Fetcher::at(trust, &host, port),
        None => Fetcher::new(trust),
    };
    fetcher.map_err(|error| error.to_string())
}

/// What an answer means, in plain words.
fn told(provider: &Provider, status: u16, body: &[u8]) -> ProviderTest {
    if status == 200 {
        return match models(body) {
            Some(models) => ProviderTest {
                is_good: true,
                status,
                models: Some(models),
                text: match models {
                    1 => "answers and has 1 model".to_owned(),
                    models => format!("answers and has {models} models"),
                },
                ..ProviderTest::default()
            },
            None => failed(
                status,
                "answers, but not with a list of models: is `base_url` right?".to_owned(),
            ),
        };
    }
    let error = ProviderError::of_body(native(provider), status, body);
    let mut said = String::new();
    for character in error.message.chars().take(LONGEST) {
        said.push(if character.is_control() {
            ' '
        } else {
            character
        });
    }
    let mut text = match status {
        401 | 403 => format!("refuses the key ({status})"),
        402 => "wants money first (402)".to_owned(),
        404 => "has no list of models there (404): is `base_url` right?".to_owned(),
        429 => "is reached, and lets this key ask no more for now (429)".to_owned(),
        500.. => format!("is reached and in trouble itself ({status})"),
        _ => format!("answers with {status}"),
    };
    if !said.is_empty() {
        let _ = write!(text, ": {said}");
    }
    failed(status, text)
}

/// How many models a list has.
fn models(body: &[u8]) -> Option<u64> {
    let mut index = Index::new();
    let root = index.read(body, Duplicates::LastCounts).ok()?;
    let list = root.path(&["data"]).or_else(|| root.path(&["models"]))?;
    Some(list.items().count() as u64)
}

/// Why there is no answer, with what is behind it.
fn unreached(error: &FetchError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    // The reason of the system is at the end.
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            let _ = write!(text, ": {words}");
        }
        source = cause.source();
    }
    text.chars().take(2 * LONGEST).collect()
}
