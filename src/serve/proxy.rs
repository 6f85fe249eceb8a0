//! `proxy_pass`: the exchange with a peer, from choosing one to the last byte of its answer.
//!
//! Owns the order of attempts, and what is sent to a peer. How a peer is spoken to is in
//! [`super::peer_http1`] and [`super::peer_http2`], what becomes of its answer in [`super::relay`].
//!
//! Invariant: once a byte of an answer's head was queued for the client, no other peer is asked.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use super::cache::{self, Asks, Caching, Step};
use super::downstream::{ClientError, Downstream};
use super::fields::FieldSet;
use super::generation::{Local, LocalUpstream};
use super::peer::{Answering, Failure, PeerError, Question, Secure, Way};
use super::proxy_fields;
use super::proxy_request::write_request_head;
use super::relay::relay_answer;
use super::request_body::RequestBody;
use super::{peer_http1, peer_http2, slices};
use crate::conf::typed::log::Level;
use crate::conf::typed::proxy::{HttpVersion, NextUpstream, Proxy, Target};
use crate::conf::typed::proxy_cache::ProxyCache;
use crate::http::buffer;
use crate::http::exchange::{Attempt, Exchange};
use crate::http::head::Known;
use crate::http::uri::{self, Escape};
use crate::http::variables;
use crate::metrics::traffic::PeerId;
use crate::tls::client::{Connector, Connectors};
use crate::unit::clock;
use crate::upstream::balance::{Event, Shortage, Tried};
use crate::upstream::group::{NoPeer, Selected};
use crate::upstream::queue::Class;

/// A request body up to this size travels in one write with its head.
const BODY_WITH_HEAD: usize = 16 << 10;
/// How often a request goes to a peer of HTTP/2 again that refused it.
const MOST_REFUSALS: u8 = 3;

/// What a proxied location needs at run time, compiled from its typed value.
#[derive(Debug)]
pub struct Plan {
    /// The typed value.
    pub proxy: Arc<Proxy>,
    /// Request fields that are not passed on.
    pub replaced: FieldSet,
    /// Response fields that are not passed on.
    pub hidden: FieldSet,
    /// `X-Accel-…` and others that have no effect.
    pub ignored: FieldSet,
    /// What begins TLS with a peer, where requests may go to one over TLS.
    connector: Option<Arc<Connector>>,
}

impl Plan {
    /// Compiles the names that a request would otherwise compare, and takes what it needs of the
    /// generation's `connectors`.
    pub fn new(proxy: &Arc<Proxy>, connectors: &mut Connectors) -> Self {
        let set = |names: &[Box<[u8]>]| FieldSet::new(names.iter().map(|name| &**name));
        let tls = proxy.tls.as_ref();
        Self {
            connector: tls
                .map(|tls| connectors.connector(tls, proxy.http_version == HttpVersion::Http2)),
            proxy: Arc::clone(proxy),
            replaced: set(&proxy.replaced),
            hidden: set(&proxy.hidden),
            ignored: set(&proxy.ignored),
        }
    }

    /// TLS as a request needs it, if it goes to a peer over TLS. The error says why that cannot be.
    pub fn secure(&self, exchange: &Exchange) -> Result<Option<Secure>, Arc<str>> {
        match (&self.connector, &self.proxy.tls) {
            (Some(connector), Some(tls)) if exchange.proxy_scheme.is_secure() => {
                let number = connector.number()?;
                Ok(Some(proxy_fields::secure(
                    connector, number, &tls.name, exchange,
                )))
            }
            _ => Ok(None),
        }
    }
}

/// What became of a proxied request.
#[derive(Debug)]
pub enum Outcome {
    /// The answer was sent to its end.
    Sent,
    /// The answer began and broke off, or the connection became a tunnel and ended: the client's
    /// connection closes.
    Cut,
    /// No answer was sent; this status says why.
    Failed(u16),
    /// An empty answer of our own with this status is to be sent.
    Answered(u16),
    /// The peer answered with a status that `proxy_intercept_errors` gives to `error_page`.
    Intercepted(u16),
    /// `X-Accel-Redirect`: the answer is somewhere else, a path or `@name`.
    Redirected(Vec<u8>),
}

/// Proxies one request, or answers it from the cache. `Err` means that the client is gone or
/// misbehaved before an answer began.
pub async fn proxy(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    plan: &Plan,
) -> Result<Outcome, ClientError> {
    let outcome = proxy_once(local, exchange, downstream, plan).await?;
    match outcome {
        // In a box of its own: few answers are made of slices.
        Outcome::Sent if exchange.slicing.rest.is_some() => {
            Box::pin(slices::follow(local, exchange, downstream, plan)).await
        }
        outcome => Ok(outcome),
    }
}

/// As [`proxy`], for one slice where an answer is made of them.
pub async fn proxy_once(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    plan: &Plan,
) -> Result<Outcome, ClientError> {
    let aim = match aim(local, exchange, &plan.proxy) {
        Ok(aim) => aim,
        Err(status) => return Ok(Outcome::Failed(status)),
    };
    let Some(cache) = &plan.proxy.cache else {
        return ask_peers(local, exchange, downstream, plan, &aim, &mut None).await;
    };
    if cache::needs_body(cache, exchange) {
        match RequestBody::prepare(exchange, downstream, true, |_| true).await? {
            Ok(body) => body.give_back(exchange),
            Err(status) => return Ok(Outcome::Failed(status)),
        }
    }
    match cache::look_up(local, exchange, downstream, plan, cache, aim.target()).await? {
        Step::Done(outcome) => Ok(outcome),
        Step::Ask(caching) => ask(local, exchange, downstream, plan, cache, &aim, caching).await,
    }
}

/// Asks a peer, with the cache's part in it if it has any.
pub async fn ask(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    plan: &Plan,
    cache: &ProxyCache,
    aim: &Aim,
    mut caching: Option<Box<Caching>>,
) -> Result<Outcome, ClientError> {
    let asked = ask_peers(local, exchange, downstream, plan, aim, &mut caching).await?;
    let Some(caching) = &mut caching else {
        return Ok(asked);
    };
    match asked {
        // No answer came of it: something that is stored may be better than none.
        Outcome::Failed(status @ 500..) => {
            let because = match status {
                502 if exchange.caching.is_malformed => NextUpstream::INVALID_HEADER,
                502 => NextUpstream::ERROR,
                504 => NextUpstream::TIMEOUT,
                // Also where no peer was left to ask.
                503 => NextUpstream::HTTP_503.or(NextUpstream::ERROR),
                status => NextUpstream::of_status(status).unwrap_or_default(),
            };
            let stale =
                cache::send_stale(local, exchange, downstream, plan, caching, because, None);
            if let Some(outcome) = stale.await? {
                return Ok(outcome);
            }
            if matches!(status, 502 | 504) {
                cache::store_error(caching, cache, status);
            }
        }
        Outcome::Intercepted(status) => cache::store_error(caching, cache, status),
        _ => {}
    }
    Ok(asked)
}

async fn ask_peers(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    plan: &Plan,
    aim: &Aim,
    caching: &mut Option<Box<Caching>>,
) -> Result<Outcome, ClientError> {
    let proxy = &*plan.proxy;
    let uri = aim.target();
    let upstream = match aim.upstream(local, exchange, proxy).await {
        Ok(upstream) => upstream,
        Err(status) => return Ok(Outcome::Failed(status)),
    };

    let secure = match plan.secure(exchange) {
        Ok(secure) => secure,
        Err(reason) => {
            local.log(
                exchange,
                Level::Error,
                format_args!("{reason} while connecting to upstream"),
            );
            return Ok(Outcome::Failed(502));
        }
    };

    // The whole body is read before a peer is asked, unless it may stream: so a slow client holds no
    // peer, and the request can be repeated.
    // A body that is replaced or not passed on is read as well: variables may ask for it.
    let mut body = {
        // HTTP/1.0 has no chunks: a body of unknown length has to be read first.
        let buffering = proxy.request_buffering
            || (proxy.http_version == HttpVersion::Http10 && downstream.body_length().is_none());
        match RequestBody::prepare(exchange, downstream, buffering, |_| true).await? {
            Ok(body) => body,
            Err(status) => return Ok(Outcome::Failed(status)),
        }
    };

    let mut request = buffer::take_small();
    // Variables may ask for the body while the head is written.
    if let RequestBody::Memory(bytes) = &mut body {
        exchange.body = std::mem::take(bytes);
    }
    let own_body = proxy.body.as_ref().map(|template| {
        let mut bytes = buffer::take_small();
        variables::expand(template, exchange, &mut bytes);
        bytes
    });
    let length = match (&own_body, &body) {
        (Some(bytes), _) => Some(bytes.len() as u64),
        (None, _) if !proxy.pass_request_body => None,
        (None, RequestBody::Memory(_)) => Some(exchange.body.len() as u64),
        // A length of zero that the client told is told again; otherwise nothing is said.
        (None, RequestBody::Empty) => {
            let fields = &exchange.head.fields;
            let is_told = fields.has(Known::ContentLength) || fields.has(Known::TransferEncoding);
            (is_told && proxy.pass_request_body).then_some(0)
        }
        (None, body) => body.length(),
    };
    let is_chunked = own_body.is_none()
        && proxy.pass_request_body
        && matches!(body, RequestBody::Stream { length: None, .. });
    let asks = (caching.as_ref()).map_or_else(Asks::default, |caching| caching.asks(exchange));
    let closes = write_request_head(&mut request, exchange, plan, uri, length, is_chunked, &asks);
    exchange.peer_closes = closes;
    if let RequestBody::Memory(bytes) = &mut body {
        *bytes = std::mem::take(&mut exchange.body);
    }
    // What is sent in place of the client's body; that one stays with its request.
    let replacement = match own_body {
        Some(bytes) => Some(RequestBody::Memory(bytes)),
        None if !proxy.pass_request_body => Some(RequestBody::Empty),
        None => None,
    };
    let kept = replacement.map(|replacement| std::mem::replace(&mut body, replacement));
    let head_end = request.len();
    if let RequestBody::Memory(bytes) = &body
        && bytes.len() <= BODY_WITH_HEAD
    {
        request.extend_from_slice(bytes);
    }

    let mut way = Way::of(proxy, secure, exchange);
    way.outlasts_client |= caching.as_ref().is_some_and(|caching| caching.may_store());
    let http2 = match proxy.http_version {
        HttpVersion::Http10 | HttpVersion::Http11 => Ok(None),
        HttpVersion::Http2 => {
            let secure = exchange.proxy_scheme.is_secure();
            peer_http2::request(&request[..head_end], secure).map(Some)
        }
    };
    let outcome = match http2 {
        Ok(http2) => {
            let question = Question {
                upstream: &upstream,
                plan,
                way,
                request: &request,
                head_end,
                http2,
            };
            attempts(local, &question, exchange, downstream, &mut body, caching).await
        }
        Err(reason) => {
            local.log(
                exchange,
                Level::Error,
                format_args!("{reason} while preparing a request to upstream"),
            );
            Ok(Outcome::Failed(500))
        }
    };
    buffer::give_back(request);
    kept.unwrap_or(body).give_back(exchange);
    outcome
}

/// Asks peers until one answers, and relays that answer.
async fn attempts(
    local: &Rc<Local>,
    question: &Question<'_>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    body: &mut RequestBody,
    caching: &mut Option<Box<Caching>>,
) -> Result<Outcome, ClientError> {
    let proxy = &*question.plan.proxy;
    let upstream = question.upstream;
    let began = clock::now();
    let mut tried = Tried::with_limit(proxy.next_upstream_tries);
    let first_attempt = exchange.attempts.len();
    let mut last_status = 502;
    upstream.group.note_request(began);
    'peers: loop {
        let mut asked = upstream.group.has_queue().then(clock::now);
        let selected = match select(question, exchange, downstream, &mut tried).await? {
            Ok(selected) => selected,
            Err(none) => {
                let why = match (none.shortage, none.retry_after) {
                    (Shortage::Open, _) => "the circuit of the upstream is open",
                    (Shortage::Busy, Some(_)) => "no peer had room in time",
                    _ => "no live upstreams",
                };
                local.log(
                    exchange,
                    Level::Error,
                    format_args!("{why} while connecting to upstream"),
                );
                let label = &none.label;
                push_attempt(exchange, label, label, None, first_attempt);
                note_wait(exchange, asked);
                let Some(seconds) = none.retry_after else {
                    finish_attempt(exchange, 502);
                    return Ok(Outcome::Failed(last_status));
                };
                finish_attempt(exchange, 503);
                let name = b"Retry-After";
                exchange.answer.push(name, seconds.to_string().as_bytes());
                return Ok(Outcome::Failed(503));
            }
        };
        let mut may_reuse = true;
        let mut refusals = 0;
        loop {
            let target = selected.target();
            push_attempt(
                exchange,
                &target.label,
                &target.server_name,
                Some(target.traffic_id),
                first_attempt,
            );
            note_wait(exchange, asked.take());
            let (is_reused, answering) =
                try_peer(question, &selected, may_reuse, exchange, downstream, body).await;
            let failure = match answering {
                Ok(answering) => {
                    let status = exchange.upstream_head.status;
                    exchange.caching.is_malformed = false;
                    let repeats = NextUpstream::of_status(status)
                        .is_some_and(|condition| proxy.next_upstream.has(condition))
                        && tried.may_continue()
                        && may_repeat(exchange, proxy, body)
                        && is_in_time(proxy, began)
                        && may_retry(local, question, exchange);
                    if repeats {
                        finish_attempt(exchange, status);
                        // nginx does not count 403 and 404 as failures of the peer.
                        let event = match status {
                            403 | 404 => selected.pass_over(clock::now()),
                            _ => selected.fail(clock::now()),
                        };
                        log_event(local, exchange, event);
                        last_status = status;
                        continue 'peers;
                    }
                    if let Some(caching) = caching
                        && let Some(because) = NextUpstream::of_status(status)
                    {
                        let stale = cache::send_stale(
                            local,
                            exchange,
                            downstream,
                            question.plan,
                            caching,
                            because,
                            Some(status),
                        );
                        if let Some(outcome) = stale.await? {
                            finish_attempt(exchange, status);
                            let event = selected.fail(clock::now());
                            log_event(local, exchange, event);
                            return Ok(outcome);
                        }
                    }
                    return relay_answer(
                        local, question, selected, exchange, downstream, body, answering, caching,
                    )
                    .await;
                }
                Err(Failure::Client(error)) => {
                    finish_attempt(exchange, 499);
                    return Err(error);
                }
                Err(Failure::Peer(error)) => error,
            };

            local.log(
                exchange,
                Level::Error,
                format_args!("{failure} while {}", failure.doing()),
            );
            finish_attempt(exchange, failure.status());
            let may_go_on = proxy.next_upstream.has(failure.condition())
                && body.can_repeat()
                && (failure.is_before_request() || may_repeat(exchange, proxy, body))
                && is_in_time(proxy, began);
            // A peer that said that it did nothing, because it carries as much as it can or is about to
            // go, is asked again a few times: there may be room on another connection.
            if matches!(failure, PeerError::Refused(_) | PeerError::Unsent(_))
                && may_go_on
                && refusals < MOST_REFUSALS
            {
                refusals += 1;
                if let Some(attempt) = exchange.attempts.last_mut() {
                    attempt.peer = None;
                }
                continue;
            }
            // A connection that was kept may have been closed by the peer at any time: that says
            // nothing about the peer, and the request is owed a fresh connection.
            if is_reused && failure.condition() == NextUpstream::ERROR && may_go_on {
                may_reuse = false;
                if let Some(attempt) = exchange.attempts.last_mut() {
                    attempt.peer = None;
                }
                continue;
            }
            let event = selected.fail(clock::now());
            log_event(local, exchange, event);
            last_status = failure.status();
            exchange.caching.is_malformed = failure.condition() == NextUpstream::INVALID_HEADER;
            if may_go_on && tried.may_continue() && may_retry(local, question, exchange) {
                continue 'peers;
            }
            return Ok(Outcome::Failed(last_status));
        }
    }
}

/// One try at a peer, up to the head of its answer. Tells whether it went over a connection that was
/// there before, which only `may_reuse` allows.
pub async fn try_peer(
    question: &Question<'_>,
    selected: &Selected,
    may_reuse: bool,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    body: &mut RequestBody,
) -> (bool, Result<Answering, Failure>) {
    if let Some(head) = &question.http2 {
        let lease = peer_http2::lease(question, selected, may_reuse, downstream).await;
        let (lease, is_shared) = match lease {
            Ok(lease) => lease,
            Err(failure) => return (false, Err(failure)),
        };
        let asked =
            peer_http2::attempt(question, head, selected, lease, exchange, downstream, body).await;
        return (is_shared, asked.map(Answering::Http2));
    }
    let idle = match may_reuse {
        true => question.upstream.checkout(selected, question.way.kind),
        false => None,
    };
    let is_reused = idle.is_some();
    let asked = peer_http1::attempt(question, selected, idle, exchange, downstream, body).await;
    (is_reused, asked.map(Answering::Http1))
}

/// Chooses a peer, and waits for one where the group has a queue: for as long as the client does.
async fn select(
    question: &Question<'_>,
    exchange: &Exchange,
    downstream: &mut Downstream,
    tried: &mut Tried,
) -> Result<Result<Selected, NoPeer>, ClientError> {
    let group = &question.upstream.group;
    if !group.has_queue() {
        return Ok(group.select(exchange, tried, clock::now()));
    }
    let proxy = &*question.plan.proxy;
    let class = match &proxy.priority {
        None => Class::default(),
        Some(priority) => {
            let mut text = Vec::new();
            variables::expand(priority, exchange, &mut text);
            Class::of(&text)
        }
    };
    let mut selecting = pin!(group.select_in_turn(exchange, tried, class));
    poll_fn(|context| {
        if let Poll::Ready(selected) = selecting.as_mut().poll(context) {
            return Poll::Ready(Ok(selected));
        }
        if !proxy.ignore_client_abort
            && downstream.is_body_complete()
            && downstream.poll_gone(context).is_ready()
        {
            return Poll::Ready(Err(ClientError::Closed(None)));
        }
        Poll::Pending
    })
    .await
}

/// Does the budget of retries allow one more?
fn may_retry(local: &Local, question: &Question<'_>, exchange: &Exchange) -> bool {
    let may = question.upstream.group.may_retry(clock::now());
    if !may {
        local.log(
            exchange,
            Level::Warn,
            format_args!("no other peer is tried, the budget of retries is used up"),
        );
    }
    may
}

/// Tells that a peer was given up, or came back.
pub fn log_event(local: &Local, exchange: &Exchange, event: Option<Event>) {
    match event {
        Some(Event::Disabled) => local.log(
            exchange,
            Level::Warn,
            format_args!("upstream server temporarily disabled"),
        ),
        Some(Event::Recovered) => local.log(
            exchange,
            Level::Notice,
            format_args!("upstream server is back"),
        ),
        Some(Event::Ejected(reason)) => local.log(
            exchange,
            Level::Warn,
            format_args!("upstream server is left out, {reason}"),
        ),
        Some(Event::Readmitted) => local.log(
            exchange,
            Level::Notice,
            format_args!("upstream server is taken in again"),
        ),
        Some(Event::Opened(reason)) => local.log(
            exchange,
            Level::Error,
            format_args!("the circuit of the upstream opens, {reason}"),
        ),
        Some(Event::Closed) => local.log(
            exchange,
            Level::Notice,
            format_args!("the circuit of the upstream closes"),
        ),
        None => {}
    }
}

/// May a request that may already have been acted upon be sent again?
fn may_repeat(exchange: &Exchange, proxy: &Proxy, body: &RequestBody) -> bool {
    body.can_repeat()
        && (exchange.method.is_idempotent()
            || proxy.next_upstream.has(NextUpstream::NON_IDEMPOTENT))
}

fn is_in_time(proxy: &Proxy, began: Instant) -> bool {
    proxy.next_upstream_timeout.is_zero() || clock::since(began) < proxy.next_upstream_timeout
}

/// A try at a peer begins.
pub fn push_attempt(
    exchange: &mut Exchange,
    address: &Rc<str>,
    server_name: &Rc<str>,
    peer: Option<PeerId>,
    first: usize,
) {
    exchange.attempts.push(Attempt {
        address: Rc::clone(address),
        server_name: Rc::clone(server_name),
        peer,
        is_new_group: exchange.attempts.len() == first,
        status: 0,
        started: clock::now(),
        connect_time: None,
        header_time: None,
        queue_time: None,
        response_time: None,
        response_length: 0,
        bytes_sent: 0,
        bytes_received: 0,
    });
}

/// Notes how long a request waited for the peer of its last attempt.
fn note_wait(exchange: &mut Exchange, asked: Option<Instant>) {
    if let (Some(asked), Some(attempt)) = (asked, exchange.attempts.last_mut()) {
        attempt.queue_time = Some(attempt.started.saturating_duration_since(asked));
    }
}

pub fn finish_attempt(exchange: &mut Exchange, status: u16) {
    if let Some(attempt) = exchange.attempts.last_mut() {
        if attempt.status == 0 {
            attempt.status = status;
        }
        attempt.response_time = Some(clock::since(attempt.started));
    }
}

/// Where a request goes.
pub struct Aim {
    group: Group,
    /// The path and query to send, if they are not the client's own.
    target: Option<Vec<u8>>,
}

enum Group {
    /// A position in [`crate::conf::typed::Http::upstreams`].
    Known(usize),
    /// The URL that a `proxy_pass` with variables came out as.
    Url(Vec<u8>),
}

impl Aim {
    /// The path and query to send, if they are not the client's own.
    pub fn target(&self) -> Option<&[u8]> {
        self.target.as_deref()
    }

    /// The group of peers.
    pub async fn upstream(
        &self,
        local: &Rc<Local>,
        exchange: &Exchange,
        proxy: &Proxy,
    ) -> Result<Rc<LocalUpstream>, u16> {
        match &self.group {
            Group::Known(position) => Ok(local.upstream(*position)),
            Group::Url(text) => match proxy_fields::split_url(proxy.schemes, text) {
                Some(url) => local.dynamic(exchange, &url).await,
                None => Err(500),
            },
        }
    }
}

/// What `proxy_pass` comes to for a request; its scheme and host are known to variables from here on.
pub fn aim(local: &Rc<Local>, exchange: &mut Exchange, proxy: &Proxy) -> Result<Aim, u16> {
    match &proxy.target {
        Target::Group {
            scheme,
            upstream,
            host,
            port,
            uri,
        } => {
            exchange.proxy_scheme = *scheme;
            exchange.proxy_host.clear();
            exchange.proxy_host.extend_from_slice(host);
            exchange.proxy_port.clear();
            exchange.proxy_port.extend_from_slice(port);
            let uri = uri.as_ref().map(|uri| {
                let mut target = Vec::new();
                let behind = if exchange.rewrite_broken {
                    // A path rewritten here replaces the one in `proxy_pass`.
                    0
                } else {
                    target.extend_from_slice(uri);
                    exchange.settings.prefix_length
                };
                uri::push_escaped(
                    &mut target,
                    exchange.path.get(behind..).unwrap_or_default(),
                    Escape::Path,
                );
                append_args(&mut target, &exchange.args);
                target
            });
            Ok(Aim {
                group: Group::Known(*upstream),
                target: uri.or_else(|| changed_target(exchange)),
            })
        }
        Target::Dynamic(template) => {
            let mut text = Vec::new();
            variables::expand(template, exchange, &mut text);
            let Some(target) = proxy_fields::split_url(proxy.schemes, &text) else {
                local.log(
                    exchange,
                    Level::Error,
                    format_args!("invalid URL prefix in \"{}\"", text.escape_ascii()),
                );
                return Err(500);
            };
            exchange.proxy_scheme = target.scheme;
            exchange.proxy_host.clear();
            exchange.proxy_host.extend_from_slice(target.host_and_port);
            exchange.proxy_port.clear();
            exchange
                .proxy_port
                .extend_from_slice(target.port.to_string().as_bytes());
            let uri = match target.uri {
                b"" => changed_target(exchange),
                uri if uri.starts_with(b"?") => {
                    let mut with_slash = b"/".to_vec();
                    with_slash.extend_from_slice(uri);
                    Some(with_slash)
                }
                uri => Some(uri.to_vec()),
            };
            Ok(Aim {
                group: Group::Url(text),
                target: uri,
            })
        }
    }
}

/// The path and query to send when it is no longer what the client asked for.
fn changed_target(exchange: &Exchange) -> Option<Vec<u8>> {
    if exchange.path_is_original {
        return None;
    }
    let mut target = Vec::with_capacity(exchange.path.len() + exchange.args.len() + 1);
    uri::push_escaped(&mut target, &exchange.path, Escape::Path);
    append_args(&mut target, &exchange.args);
    Some(target)
}

fn append_args(target: &mut Vec<u8>, args: &[u8]) {
    if !args.is_empty() {
        target.push(b'?');
        target.extend_from_slice(args);
    }
}
