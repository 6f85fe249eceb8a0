//! One provider is asked: the call goes out with the provider's own key, the head of the answer comes
//! in, and its body is pulled from here.
//!
//! Nothing of the client's reaches a provider but the call itself and the fields named in [`PASSED`]:
//! neither its address nor its cookies, and never its key.

use std::borrow::Cow;
use std::future::poll_fn;
use std::hash::BuildHasher as _;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::RwLock;

use super::kept::Record;
use super::provider_key::ProviderKey;
use crate::acme::secret::Secret;
use crate::conf::typed::llm::{self, Api, Dialect};
use crate::conf::typed::log::Level;
use crate::conf::typed::proxy::{NextUpstream, Proxy};
use crate::conf::typed::secret::SecretSource;
use crate::http::buffer;
use crate::http::exchange::Exchange;
use crate::http::h1::framing;
use crate::http::h1::write;
use crate::http::head::Method;
use crate::llm::standing::{self, Fitness, standings};
use crate::net::deadline::Deadline;
use crate::serve::downstream::{ClientError, Downstream};
use crate::serve::generation::{Local, LocalUpstream};
use crate::serve::peer::{Answering, Failure, PeerError, Question, Way};
use crate::serve::peer_http1::poll_source;
use crate::serve::proxy::{self, Plan, finish_attempt, log_event, push_attempt, try_peer};
use crate::serve::relay::{Source, keep};
use crate::serve::request_body::RequestBody;
use crate::tls::client::Connectors;
use crate::unit::clock;
use crate::upstream::balance::Tried;
use crate::upstream::group::Selected;

/// Fields of a client's call that a provider may want: which version of its API is spoken, what is
/// tried out, and what ties lines of logs together. A name that ends with `-` stands for all that begin
/// with it.
const PASSED: [&str; 11] = [
    "accept",
    "anthropic-beta",
    "anthropic-dangerous-direct-browser-access",
    "anthropic-version",
    "idempotency-key",
    "openai-beta",
    "traceparent",
    "tracestate",
    "user-agent",
    "x-goog-api-client",
    "x-stainless-",
];

/// The version of Anthropic's API where nobody says which.
pub const USUAL_VERSION: &str = "2023-06-01";

/// A provider as it is asked.
#[derive(Debug)]
pub struct Provider {
    /// Its typed value.
    pub conf: Arc<llm::Provider>,
    /// What is known of it.
    pub standing: Arc<standing::Provider>,
    /// Its keys, or one that is none.
    pub keys: Vec<Key>,
    plan: Plan,
}

/// A key for a provider.
#[derive(Debug)]
pub struct Key {
    /// Where it comes from, for people.
    name: String,
    /// Itself; nothing where none is written.
    secret: Option<ProviderKey>,
    provider: Arc<standing::Provider>,
    /// What is known of the provider with this key, and which reading of the key that is about.
    standing: RwLock<(u64, Arc<standing::Key>)>,
}

impl Provider {
    /// Takes what is needed of the generation's `connectors`, and reads the keys.
    pub fn new(conf: &Arc<llm::Provider>, connectors: &mut Connectors) -> Self {
        let standing = standings().provider(&conf.name);
        let read = |source: Option<&SecretSource>| {
            let secret = source.map(ProviderKey::new);
            let name = source.map_or_else(String::new, ToString::to_string);
            let known = standing_of(&standing, secret.as_ref(), &name);
            Key {
                standing: RwLock::new((0, known)),
                provider: Arc::clone(&standing),
                secret,
                name,
            }
        };
        let keys = match conf.keys.is_empty() {
            true => vec![read(None)],
            false => conf.keys.iter().map(|source| read(Some(source))).collect(),
        };
        Self {
            plan: Plan::new(&conf.asking, connectors),
            keys,
            standing,
            conf: Arc::clone(conf),
        }
    }

    /// Why it cannot be asked with one of its keys.
    pub fn troubles(&self) -> impl Iterator<Item = Arc<str>> {
        self.keys.iter().filter_map(Key::trouble)
    }

    /// How it stands among `standings`: a word, and which of its models or keys is in trouble.
    pub fn state(&self, standings: &[standing::Report]) -> (&'static str, String) {
        if let Some(why) = self.troubles().next() {
            return ("no key", why.to_string());
        }
        let unfit = standings.iter().find(|standing| {
            standing.provider == self.conf.name && standing.fitness != Fitness::Ready
        });
        let Some(standing) = unfit else {
            return ("ready", String::new());
        };
        let left = standing.fitness.left();
        let left = left.map_or_else(String::new, |left| {
            format!(" for {} s", left.as_secs().max(1))
        });
        (standing.fitness.word(), format!("{}{left}", standing.model))
    }

    /// How soon its answers begin, lately: that of all its models, by how often they are asked.
    pub fn first_part(&self, standings: &[standing::Report]) -> Option<Duration> {
        let own = standings.iter().filter(|it| it.provider == self.conf.name);
        let known = own.filter_map(|it| Some((it.first_part?.as_micros(), it.asked.max(1))));
        let (sum, count) = known.fold((0, 0), |(sum, count), (time, asked)| {
            (sum + time * u128::from(asked), count + u128::from(asked))
        });
        Some(Duration::from_micros(sum.checked_div(count)? as u64))
    }

    /// Its keys, or nothing where none is written; why there is none.
    pub fn secrets(&self) -> impl Iterator<Item = Result<Option<Arc<Secret>>, Arc<str>>> {
        let keys = self.keys.iter();
        keys.map(|key| key.secret.as_ref().map(ProviderKey::current).transpose())
    }

    /// A text in which its keys are replaced by `***`.
    pub fn mask(&self, text: &str) -> String {
        let secrets = self.keys.iter().filter_map(|key| key.secret.as_ref());
        secrets.fold(text.to_owned(), |text, secret| secret.mask(&text))
    }

    /// May it see this field of a client? One that belongs to another API says nothing to it.
    fn is_passed(&self, name: &[u8]) -> bool {
        let begins = |start: &str| {
            let head = name.get(..start.len());
            head.is_some_and(|head| head.eq_ignore_ascii_case(start.as_bytes()))
        };
        let is_foreign = match self.conf.api {
            Api::OpenAi if self.conf.dialect == Dialect::Gateway => false,
            Api::Anthropic => begins("openai-") || begins("x-goog-"),
            Api::OpenAi => begins("anthropic-") || begins("x-goog-"),
            Api::Gemini => begins("anthropic-") || begins("openai-"),
            Api::Ollama => begins("anthropic-") || begins("openai-") || begins("x-goog-"),
        };
        !is_foreign
            && PASSED.iter().any(|passed| match passed.ends_with('-') {
                true => begins(passed),
                false => name.eq_ignore_ascii_case(passed.as_bytes()),
            })
    }

    /// The head of a call.
    fn write_head(&self, exchange: &Exchange, key: &Key, sent: &Sent, out: &mut Vec<u8>) {
        out.extend_from_slice(sent.method.as_bytes());
        out.push(b' ');
        out.extend_from_slice(&self.conf.base_path);
        out.extend_from_slice(sent.path.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        write::push_field(out, b"Host", &exchange.proxy_host);
        if let Some(Ok(key)) = key.secret.as_ref().map(ProviderKey::current) {
            let key = key.expose();
            match self.conf.api {
                Api::OpenAi if matches!(self.conf.dialect, Dialect::Azure { .. }) => {
                    write::push_field(out, b"api-key", key.as_bytes());
                }
                Api::OpenAi | Api::Ollama => {
                    write::push_field(out, b"Authorization", format!("Bearer {key}").as_bytes());
                }
                Api::Anthropic => write::push_field(out, b"x-api-key", key.as_bytes()),
                Api::Gemini => write::push_field(out, b"x-goog-api-key", key.as_bytes()),
            }
        }
        for field in &self.conf.fields {
            write::push_field(out, &field.name, &field.value);
        }
        if !sent.body.is_empty() || !matches!(sent.method, "GET" | "DELETE") {
            let length = sent.body.len().to_string();
            write::push_field(out, b"Content-Length", length.as_bytes());
            // Said anew: a provider must not read in another way what was read here as this.
            write::push_field(out, b"Content-Type", sent.content_type.as_bytes());
        }
        // A stream that is packed cannot be passed on as it comes.
        write::push_field(out, b"Accept-Encoding", b"identity");
        let is_set = |name: &[u8]| {
            let mut fields = self.conf.fields.iter();
            fields.any(|field| field.name.eq_ignore_ascii_case(name))
        };
        let mut has_version = is_set(b"anthropic-version");
        for (_, name, value) in exchange.head.fields.iter() {
            if self.is_passed(name) && !is_set(name) {
                let is_version = name.eq_ignore_ascii_case(b"anthropic-version");
                if is_version && sent.version.is_some() {
                    continue;
                }
                has_version |= is_version;
                write::push_field(out, name, value);
            }
        }
        if self.conf.api == Api::Anthropic && !has_version {
            let version = sent.version.unwrap_or(USUAL_VERSION);
            write::push_field(out, b"anthropic-version", version.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }
}

impl Key {
    /// What is known of a model with it. What was known with the key that stood in its file before is
    /// nothing that is known of this one.
    pub fn model(&self, model: &str) -> Arc<standing::Standing> {
        let Some(secret) = &self.secret else {
            return self.standing.read().1.model(model);
        };
        let reading = secret.reading();
        let (known, standing) = self.standing.read().clone();
        if known == reading {
            return standing.model(model);
        }
        let standing = standing_of(&self.provider, Some(secret), &self.name);
        *self.standing.write() = (reading, Arc::clone(&standing));
        standing.model(model)
    }

    /// Why the provider cannot be asked with it.
    pub fn trouble(&self) -> Option<Arc<str>> {
        self.secret.as_ref()?.current().err()
    }
}

/// Why no answer came of asking a provider.
#[derive(Debug)]
pub enum Fault {
    /// None of its addresses could be reached, or it broke off before its answer began.
    Unreachable,
    /// It has no address that may be asked now.
    NoPeer,
    /// It took too long to begin.
    TimedOut,
    /// Its key is not there; the words say why, for the log.
    NoKey,
    /// TLS with it cannot be set up.
    NoTls,
}

/// What is known of a provider with a key.
fn standing_of(
    provider: &Arc<standing::Provider>,
    secret: Option<&ProviderKey>,
    name: &str,
) -> Arc<standing::Key> {
    /// Nobody can tell from the digest of a key which key it is.
    static DIGEST: LazyLock<foldhash::quality::RandomState> = LazyLock::new(Default::default);
    let digest = match secret.map(ProviderKey::current) {
        Some(Ok(secret)) => DIGEST.hash_one(secret.expose()),
        Some(Err(_)) | None => DIGEST.hash_one(name),
    };
    provider.key(digest, name)
}

/// What a provider is sent.
pub struct Sent {
    /// The method.
    pub method: &'static str,
    /// Behind the path of its address; begins with a slash.
    pub path: Cow<'static, str>,
    /// What the body is.
    pub content_type: Cow<'static, str>,
    /// The call.
    pub body: Vec<u8>,
    /// The version of Anthropic's API in which it is said, if it was said anew.
    pub version: Option<&'static str>,
}

impl Sent {
    /// A call in JSON.
    pub fn json(path: Cow<'static, str>, body: String) -> Self {
        Self {
            method: "POST",
            path,
            content_type: Cow::Borrowed("application/json"),
            body: body.into_bytes(),
            version: None,
        }
    }
}

/// Asks a provider, at any of its addresses, and reads the head of its answer.
pub async fn ask(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    provider: &Provider,
    key: &Key,
    sent: Sent,
) -> Result<Result<Incoming, Fault>, ClientError> {
    let plan = &provider.plan;
    let told = |exchange: &Exchange, words: std::fmt::Arguments<'_>| {
        local.log(exchange, Level::Error, words);
    };
    if let Some(why) = key.trouble() {
        let name = &provider.conf.name;
        told(
            exchange,
            format_args!("no key for the provider \"{name}\": {why}"),
        );
        return Ok(Err(Fault::NoKey));
    }
    let Ok(aim) = proxy::aim(local, exchange, &plan.proxy) else {
        return Ok(Err(Fault::NoPeer));
    };
    let Ok(upstream) = aim.upstream(local, exchange, &plan.proxy).await else {
        return Ok(Err(Fault::NoPeer));
    };
    let secure = match plan.secure(exchange) {
        Ok(secure) => secure,
        Err(reason) => {
            told(
                exchange,
                format_args!("{reason} while connecting to upstream"),
            );
            return Ok(Err(Fault::NoTls));
        }
    };
    let mut request = buffer::take_small();
    provider.write_head(exchange, key, &sent, &mut request);
    let mut way = Way::of(&plan.proxy, secure, exchange);
    way.outlasts_client = provider.conf.drains;
    // Another one may have to be asked: until an answer is worth something the client hears nothing.
    way.passes_interim = false;
    let question = Question {
        upstream: &upstream,
        plan,
        way,
        head_end: request.len(),
        request: &request,
        http2: None,
    };
    let deadline = Deadline::new();
    if !provider.conf.total_timeout.is_zero() {
        deadline.set(provider.conf.total_timeout);
    }
    let mut body = match sent.body.is_empty() {
        true => RequestBody::Empty,
        false => RequestBody::Memory(sent.body),
    };
    let reached = {
        let mut reaching = pin!(reach(local, exchange, downstream, &question, &mut body));
        let reached = deadline.guard(|context| reaching.as_mut().poll(context));
        reached.await
    };
    let outcome = match reached {
        Some(reached) => reached?.map(|(answering, selected)| {
            Incoming::new(
                answering, selected, body, &upstream, provider, deadline, exchange,
            )
        }),
        None => {
            finish_attempt(exchange, 504);
            told(
                exchange,
                format_args!("no time is left (total_timeout) while asking upstream"),
            );
            Err(Fault::TimedOut)
        }
    };
    buffer::give_back(request);
    Ok(outcome)
}

/// Asks at one address after the other, as long as nothing was sent.
async fn reach(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    question: &Question<'_>,
    body: &mut RequestBody,
) -> Result<Result<(Answering, Selected), Fault>, ClientError> {
    let group = &question.upstream.group;
    group.note_request(clock::now());
    let mut tried = Tried::with_limit(0);
    let first = exchange.attempts.len();
    exchange.peer_closes = false;
    loop {
        let selected = match group.select(exchange, &mut tried, clock::now()) {
            Ok(selected) => selected,
            Err(none) => {
                local.log(
                    exchange,
                    Level::Error,
                    format_args!("no live upstreams while connecting to upstream"),
                );
                push_attempt(exchange, &none.label, &none.label, None, first);
                finish_attempt(exchange, 502);
                return Ok(Err(Fault::NoPeer));
            }
        };
        match ask_peer(
            local, exchange, downstream, question, &selected, body, first,
        )
        .await?
        {
            Ok(answering) => return Ok(Ok((answering, selected))),
            Err(failure) => {
                let event = selected.fail(clock::now());
                log_event(local, exchange, event);
                if failure.is_before_request() && tried.may_continue() {
                    continue;
                }
                return Ok(Err(match failure.condition() {
                    NextUpstream::TIMEOUT => Fault::TimedOut,
                    _ => Fault::Unreachable,
                }));
            }
        }
    }
}

/// Asks at one address. A connection that was kept may have been closed at any time: then the call is
/// owed a fresh one, once.
async fn ask_peer(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    question: &Question<'_>,
    selected: &Selected,
    body: &mut RequestBody,
    first: usize,
) -> Result<Result<Answering, PeerError>, ClientError> {
    let mut may_reuse = true;
    loop {
        let target = selected.target();
        let (label, name) = (&target.label, &target.server_name);
        push_attempt(exchange, label, name, Some(target.traffic_id), first);
        let (is_reused, asked) =
            try_peer(question, selected, may_reuse, exchange, downstream, body).await;
        let failure = match asked {
            Ok(answering) => return Ok(Ok(answering)),
            Err(Failure::Client(error)) => {
                finish_attempt(exchange, 499);
                return Err(error);
            }
            Err(Failure::Peer(error)) => error,
        };
        let doing = failure.doing();
        local.log(
            exchange,
            Level::Error,
            format_args!("{failure} while {doing}"),
        );
        finish_attempt(exchange, failure.status());
        // Nothing of an answer was read.
        if is_reused && failure.condition() == NextUpstream::ERROR {
            may_reuse = false;
            if let Some(attempt) = exchange.attempts.last_mut() {
                attempt.peer = None;
            }
            continue;
        }
        return Ok(Err(failure));
    }
}

/// An answer of a provider: its head is in the exchange, its body is pulled from here.
pub struct Incoming {
    source: Source,
    selected: Selected,
    /// What was sent; over HTTP/2 the rest of it may still be on its way.
    sent: RequestBody,
    upstream: Rc<LocalUpstream>,
    reading: Arc<Proxy>,
    status: u16,
    /// What came with the head was taken.
    has_begun: bool,
    /// Until all of it has to be there.
    deadline: Deadline,
    /// It is read to its end when the client has left.
    outlasts_client: bool,
    is_client_gone: bool,
    /// Where its bytes are written down, if it may be kept.
    record: Option<Rc<Record>>,
}

impl Incoming {
    fn new(
        answering: Answering,
        selected: Selected,
        sent: RequestBody,
        upstream: &Rc<LocalUpstream>,
        provider: &Provider,
        deadline: Deadline,
        exchange: &Exchange,
    ) -> Self {
        let head = &exchange.upstream_head;
        // One whose length nobody understands is read to the end of the connection, and not kept.
        let length = framing::response_body(Method::Post, head);
        let length = length.unwrap_or(framing::BodyLength::UntilClose);
        let mut source = Source::new(answering, length, head.length);
        source.sink().collected = Some(Vec::new());
        Self {
            source,
            selected,
            sent,
            upstream: Rc::clone(upstream),
            reading: Arc::clone(&provider.conf.reading),
            status: head.status,
            has_begun: false,
            deadline,
            outlasts_client: provider.conf.drains,
            is_client_gone: false,
            record: None,
        }
    }

    /// Its bytes are written down from here on.
    pub fn write_down(&mut self, record: Rc<Record>) {
        self.record = Some(record);
    }

    /// The next bytes of the body; none when all of it was received. What the client sends is not
    /// looked at.
    pub fn poll_bytes(
        &mut self,
        context: &mut Context<'_>,
        exchange: &mut Exchange,
        downstream: &mut Downstream,
    ) -> Poll<Result<Vec<u8>, PeerError>> {
        if !self.has_begun {
            self.has_begun = true;
            if let Source::Http1(_, body) = &mut self.source {
                body.take_read(exchange, downstream, false)?;
            }
        }
        loop {
            let collected = self.source.sink().collected.get_or_insert_default();
            if !collected.is_empty() {
                let bytes = std::mem::take(collected);
                if let Some(record) = &self.record {
                    record.push(&bytes);
                }
                return Poll::Ready(Ok(bytes));
            }
            if self.source.is_complete() {
                if let Some(record) = &self.record {
                    record.end();
                }
                return Poll::Ready(Ok(Vec::new()));
            }
            let reading = &*self.reading;
            let polled = match &mut self.source {
                Source::Http1(link, body) => {
                    poll_source(context, exchange, downstream, link, body, reading)
                }
                Source::Http2(stream) => {
                    let sent = &mut self.sent;
                    match stream.poll_request(context, exchange, downstream, sent, reading) {
                        Poll::Ready(Err(Failure::Peer(error))) => return Poll::Ready(Err(error)),
                        Poll::Ready(_) | Poll::Pending => {}
                    }
                    stream.poll_answer(context, exchange, downstream, reading)
                }
            };
            match polled {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    let expired = self.deadline.poll_expired(context);
                    return expired.map(|()| Err(PeerError::ReadTimedOut));
                }
            }
        }
    }

    /// The next bytes of the body, as [`Self::poll_bytes`]. Given up when the client goes, unless the
    /// answer outlasts it.
    pub async fn bytes(
        &mut self,
        exchange: &mut Exchange,
        downstream: &mut Downstream,
    ) -> Result<Result<Vec<u8>, PeerError>, ClientError> {
        poll_fn(|context| {
            if let Poll::Ready(read) = self.poll_bytes(context, exchange, downstream) {
                return Poll::Ready(Ok(read));
            }
            if !self.is_client_gone && downstream.poll_gone(context).is_ready() {
                if !self.outlasts_client {
                    return Poll::Ready(Err(ClientError::Closed(None)));
                }
                self.is_client_gone = true;
            }
            Poll::Pending
        })
        .await
    }

    /// Is the answer read for the ledger alone?
    pub const fn is_client_gone(&self) -> bool {
        self.is_client_gone
    }

    /// The client has left. Is the answer read to its end all the same?
    pub const fn note_client_gone(&mut self) -> bool {
        self.is_client_gone = true;
        self.outlasts_client
    }

    /// The whole body, up to `most` bytes; `Err(None)` if it is longer. Given up as [`Self::bytes`].
    pub async fn whole(
        &mut self,
        exchange: &mut Exchange,
        downstream: &mut Downstream,
        most: usize,
    ) -> Result<Result<Vec<u8>, Option<PeerError>>, ClientError> {
        let mut whole = Vec::new();
        loop {
            match self.bytes(exchange, downstream).await? {
                Ok(bytes) if bytes.is_empty() => return Ok(Ok(whole)),
                Ok(bytes) if whole.len() + bytes.len() > most => return Ok(Err(None)),
                Ok(bytes) if whole.is_empty() => whole = bytes,
                Ok(bytes) => whole.extend_from_slice(&bytes),
                Err(error) => return Ok(Err(Some(error))),
            }
        }
    }

    /// All of it was used as it should be: the connection may serve again.
    pub fn succeed(self, local: &Local, exchange: &mut Exchange) {
        if let Some(attempt) = exchange.attempts.last_mut() {
            attempt.response_length = self.source.received();
        }
        finish_attempt(exchange, self.status);
        if let Source::Http1(link, body) = self.source {
            keep(
                &self.upstream,
                &self.reading,
                &self.selected,
                exchange,
                link,
                &body,
            );
        }
        let attempt = exchange.attempts.last();
        let time = attempt
            .and_then(|attempt| attempt.response_time)
            .unwrap_or_default();
        let event = self.selected.succeed(exchange, time, clock::now());
        log_event(local, exchange, event);
    }

    /// It is worth nothing, and that is the provider's fault.
    pub fn fail(self, local: &Local, exchange: &mut Exchange) {
        finish_attempt(exchange, self.status);
        let event = self.selected.fail(clock::now());
        log_event(local, exchange, event);
    }
}
