//! Active checks: every peer of a group is asked regularly whether it works.
//!
//! Owns what is asked and how the answer is judged; what follows from it stands in
//! [`crate::upstream::health`]. Checks run on the main thread, one task for each group, and never on
//! the way of a request. A check asks as the location asks whose `proxy_pass` leads to the group: the
//! same fields, the same TLS, the same local address.
//!
//! What a peer sends is bounded in size and time.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::future::{Future as _, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::cache::Asks;
use super::peer::{PeerError, Way};
use super::peer_http2;
use super::proxy::Plan;
use super::proxy_request::write_request_head;
use crate::conf::typed::Http;
use crate::conf::typed::health::{CheckKind, FieldValue, HealthCheck, Match};
use crate::conf::typed::listen::Address;
use crate::conf::typed::location::{Handler, Location, Server, Settings};
use crate::conf::typed::proxy::{HttpVersion, Target};
use crate::http::exchange::{Connection, Exchange};
use crate::http::h1::chunked::Decoder;
use crate::http::h1::framing::{self, BodyLength};
use crate::http::h1::parse::{HeadLimits, HeadParser, Progress};
use crate::http::head::{Fields, Method, ResponseHead};
use crate::http::variables;
use crate::net;
use crate::tls::client;
use crate::tls::stream::Stream;
use crate::tls::terminator::HandshakeError;
use crate::unit::clock;
use crate::upstream::balance;
use crate::upstream::group::{Peer, Peers};
use crate::upstream::health::{Condition, Finding};

/// So much of a body is looked at, in bytes.
const MOST_BODY: usize = 256 << 10;
/// The head of an answer may have so many bytes.
const MOST_HEAD: usize = 16 << 10;
/// So many peers of a group are asked at a time.
const MOST_AT_ONCE: usize = 64;
/// The first checks of a group are spread over this time, or over the interval if that is shorter.
const SPREAD: Duration = Duration::from_secs(1);
/// A list of peers is looked through at least this often.
const LOOK: Duration = Duration::from_secs(60);

/// The check of one group.
pub struct Check {
    peers: Arc<Peers>,
    health: Arc<HealthCheck>,
    /// How peers are connected to.
    way: Way,
    socket_keepalive: bool,
    /// What is sent over HTTP/1.
    request: Vec<u8>,
    /// The same for HTTP/2, where that is spoken.
    http2: Option<http::Request<()>>,
    place: Place,
}

/// The location that a check asks for.
struct Place {
    http: Arc<Http>,
    server: Arc<Server>,
    settings: Arc<Settings>,
}

impl fmt::Debug for Check {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.peers.upstream().name;
        formatter.debug_tuple("Check").field(name).finish()
    }
}

/// A peer came into another condition.
#[derive(Debug)]
pub struct Turned {
    /// The name of its group.
    pub upstream: Box<str>,
    /// Its address.
    pub peer: Box<str>,
    /// Into which.
    pub condition: Condition,
    /// What was found.
    pub words: Box<str>,
}

/// The checks of a configuration, each group once; the groups know of it when this returns. `plan_of`
/// gives the compiled proxy of a place. Those that cannot be made are told in `warnings`.
pub fn checks<'a>(
    http: &Arc<Http>,
    peers: &[Arc<Peers>],
    plan_of: impl Fn(&Settings) -> Option<&'a Plan>,
    warnings: &mut Vec<String>,
) -> Vec<Arc<Check>> {
    let mut checks: Vec<Arc<Check>> = Vec::new();
    let mut places = Vec::new();
    for server in &http.servers {
        collect(server, &server.locations, &mut places);
    }
    for (server, settings) in places {
        let (Handler::Proxy(proxy), Some(plan)) = (&settings.handler, plan_of(&settings)) else {
            continue;
        };
        let Target::Group { upstream, .. } = proxy.target else {
            continue;
        };
        let peers = &peers[upstream];
        let of_group = &peers.upstream().guard.health_check;
        let Some(health) = proxy.health_check.as_ref().or(of_group.as_ref()) else {
            continue;
        };
        if checks.iter().any(|check| Arc::ptr_eq(&check.peers, peers)) {
            continue;
        }
        let place = Place {
            http: Arc::clone(http),
            server,
            settings: Arc::clone(&settings),
        };
        match Check::new(peers, health, plan, place) {
            Ok(check) => {
                peers.attend_checks(health.mandatory);
                checks.push(Arc::new(check));
            }
            Err(reason) => warnings.push(format!(
                "the peers of \"{}\" are not checked: {reason}",
                peers.upstream().name
            )),
        }
    }
    checks
}

fn collect(
    server: &Arc<Server>,
    locations: &[Location],
    all: &mut Vec<(Arc<Server>, Arc<Settings>)>,
) {
    for location in locations {
        all.push((Arc::clone(server), Arc::clone(&location.settings)));
        collect(server, &location.children, all);
    }
}

impl Place {
    /// A request of our own that stands there.
    fn exchange(&self, target: &str) -> Exchange {
        let nowhere = Address::Ip(SocketAddr::from(([127, 0, 0, 1], 0)));
        let connection = Connection {
            serial: 0,
            remote_text: Connection::text_of(&nowhere),
            remote: nowhere.clone(),
            local: nowhere,
            secured: None,
            proxied: None,
            accepted: clock::now(),
            descriptor: -1,
        };
        let mut exchange = Exchange::new(
            Rc::new(connection),
            Arc::clone(&self.http),
            Arc::clone(&self.server),
        );
        exchange.enter(&self.settings);
        exchange.head.fields.bytes = format!(
            "GET {target} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: openclaw (health check)\r\n\r\n"
        )
        .into_bytes();
        // It was checked when it was read; an answer is made of whatever was understood.
        let _ = HeadParser::default().request(&mut exchange.head, &HeadLimits::default());
        exchange.host = self.server.primary_name.to_vec();
        let (path, args) = target.split_once('?').unwrap_or((target, ""));
        exchange.path = path.into();
        exchange.args = args.into();
        if let Handler::Proxy(proxy) = &self.settings.handler
            && let Target::Group {
                scheme, host, port, ..
            } = &proxy.target
        {
            exchange.proxy_scheme = *scheme;
            exchange.proxy_host.extend_from_slice(host);
            exchange.proxy_port.extend_from_slice(port);
        }
        exchange
    }
}

impl Check {
    fn new(
        peers: &Arc<Peers>,
        health: &Arc<HealthCheck>,
        plan: &Plan,
        place: Place,
    ) -> Result<Self, Arc<str>> {
        let proxy = &plan.proxy;
        let target = match &health.kind {
            CheckKind::Http { uri, .. } => uri,
            CheckKind::Tcp | CheckKind::Grpc { .. } => "/",
        };
        let exchange = place.exchange(target);
        let way = Way::of(proxy, plan.secure(&exchange)?, &exchange);
        let mut request = Vec::new();
        let asks = Asks::default();
        write_request_head(&mut request, &exchange, plan, None, None, false, &asks);
        // Otherwise it stays open until the peer loses patience.
        let lower = request.to_ascii_lowercase();
        if health.keepalive.is_zero() && memchr::memmem::find(&lower, b"\r\nconnection:").is_none()
        {
            request.truncate(request.len() - 2);
            request.extend_from_slice(b"Connection: close\r\n\r\n");
        }
        let is_grpc = matches!(health.kind, CheckKind::Grpc { .. });
        let http2 = match proxy.http_version == HttpVersion::Http2 || is_grpc {
            true => Some(peer_http2::request(&request, way.secure.is_some())?),
            false => None,
        };
        Ok(Self {
            peers: Arc::clone(peers),
            health: Arc::clone(health),
            way,
            socket_keepalive: proxy.socket_keepalive,
            request,
            http2,
            place,
        })
    }

    /// Whose peers it checks.
    pub fn peers(&self) -> &Arc<Peers> {
        &self.peers
    }

    /// What is asked and how often: `GET /health, every 5 s`.
    pub fn in_words(&self) -> String {
        let what = match &self.health.kind {
            CheckKind::Http { uri, expects } => match expects {
                Some(expects) => format!("GET {uri}, match {}", expects.name),
                None => format!("GET {uri}"),
            },
            CheckKind::Tcp => "connect".to_owned(),
            CheckKind::Grpc { service, .. } if service.is_empty() => "gRPC health".to_owned(),
            CheckKind::Grpc { service, .. } => format!("gRPC health of {service}"),
        };
        format!("{what}, every {} s", self.health.interval.as_secs_f64())
    }

    /// Checks the peers for as long as this is polled, and tells of each that comes into another
    /// condition.
    pub async fn keep(self: Arc<Self>, tell: impl Fn(&Turned)) {
        let mut due: HashMap<(usize, Address), Instant> = HashMap::new();
        let mut kept: HashMap<(usize, Address), (Stream, Instant)> = HashMap::new();
        let mut under_way: HashSet<(usize, Address)> = HashSet::new();
        let mut asked = JoinSet::new();
        loop {
            let now = Instant::now();
            let table = self.peers.table();
            let all = || table.primary.iter().chain(&table.backup);
            let mut seen: HashMap<(usize, Address), &Arc<Peer>> = HashMap::new();
            for peer in all().filter(|peer| !peer.is_down) {
                seen.insert((peer.server, peer.address.clone()), peer);
            }
            due.retain(|key, _| seen.contains_key(key));
            kept.retain(|key, _| seen.contains_key(key));
            for key in seen.keys() {
                if !due.contains_key(key) {
                    due.insert(key.clone(), now + self.first_pause(key));
                }
            }
            for key in self.peers.take_asked() {
                due.entry(key).and_modify(|at| *at = now);
            }
            let mut next = now + LOOK;
            for (key, at) in &mut due {
                if under_way.contains(key) {
                    continue;
                }
                if *at > now || under_way.len() >= MOST_AT_ONCE {
                    // Who has to wait for a place is looked at when one is free.
                    next = next.min((*at).max(now + Duration::from_millis(1)));
                    continue;
                }
                *at = now + self.health.interval + random_part(self.health.jitter);
                under_way.insert(key.clone());
                let (check, key) = (Arc::clone(&self), key.clone());
                let stream = kept.remove(&key);
                asked.spawn(async move {
                    let (finding, stream) = check.ask(&key.1, stream).await;
                    (key, finding, stream)
                });
            }
            if under_way.len() >= MOST_AT_ONCE {
                next = now + LOOK;
            }
            tokio::select! {
                Some(done) = asked.join_next(), if !asked.is_empty() => {
                    // A check that panicked is lost; its peer is asked again by the next generation.
                    let Ok((key, finding, stream)) = done else { continue };
                    under_way.remove(&key);
                    kept.extend(stream.map(|stream| (key.clone(), stream)));
                    let words = finding.words.clone();
                    let (server, address) = &key;
                    let turned = self.peers.note_finding(*server, address, finding, &self.health);
                    if let Some(condition) = turned {
                        tell(&Turned {
                            upstream: self.peers.upstream().name.clone(),
                            peer: address.to_string().into(),
                            condition,
                            words,
                        });
                    }
                }
                () = tokio::time::sleep_until(next) => {}
                () = self.peers.changed() => {}
            }
        }
    }

    /// How long the first check of a peer is put off, so that not all are asked at once; a check of
    /// before, under another configuration, counts.
    fn first_pause(&self, (server, address): &(usize, Address)) -> Duration {
        let record = self.peers.record(*server, address).unwrap_or_default();
        if record.condition == Condition::Checking {
            return Duration::ZERO;
        }
        let interval = self.health.interval;
        match record.last {
            Some(last) => {
                let now = clock::unix().as_millis() as u64;
                let ago = Duration::from_millis(now.saturating_sub(last.at));
                interval.saturating_sub(ago)
            }
            None => random_part(SPREAD.min(interval)),
        }
    }

    /// One check of one peer; the connection, if it may be used again.
    async fn ask(
        &self,
        address: &Address,
        kept: Option<(Stream, Instant)>,
    ) -> (Finding, Option<(Stream, Instant)>) {
        let mut address = address.clone();
        if let (Address::Ip(address), Some(port)) = (&mut address, self.health.port) {
            address.set_port(port);
        }
        let began = std::time::Instant::now();
        let asking = tokio::time::timeout(self.health.timeout, self.converse(&address, kept));
        let (found, stream) = match asking.await {
            Ok(Ok((words, stream))) => (Ok(words), stream),
            Ok(Err(trouble)) => (Err(trouble), None),
            Err(_) => {
                let timeout = self.health.timeout.as_secs_f64();
                (Err(format!("no answer in {timeout} s")), None)
            }
        };
        let is_good = found.is_ok();
        let words = match found {
            Ok(words) => format!("{words} in {} ms", began.elapsed().as_millis()),
            Err(trouble) => trouble,
        };
        let finding = Finding {
            is_good,
            words: words.into(),
            at: clock::unix().as_millis() as u64,
        };
        (finding, stream)
    }

    async fn converse(
        &self,
        address: &Address,
        kept: Option<(Stream, Instant)>,
    ) -> Result<(String, Option<(Stream, Instant)>), String> {
        let (expects, is_grpc) = match &self.health.kind {
            CheckKind::Tcp => {
                self.connect(address).await?;
                return Ok(("connected".to_owned(), None));
            }
            CheckKind::Http { expects, .. } => (expects.as_deref(), false),
            CheckKind::Grpc { .. } => (None, true),
        };
        if let Some(request) = &self.http2 {
            let stream = self.connect(address).await?;
            return match is_grpc {
                true => Ok((self.ask_grpc(stream, request).await?, None)),
                false => {
                    let (head, _, body) = ask_http2(stream, request.clone(), Bytes::new()).await?;
                    Ok((self.judge(expects, head, &body)?, None))
                }
            };
        }
        if let Some((mut stream, created)) = kept
            && created.elapsed() < self.health.keepalive
            && let Ok((head, body, stays)) = ask_http1(&mut stream, &self.request).await
        {
            let words = self.judge(expects, head, &body)?;
            return Ok((words, stays.then_some((stream, created))));
        }
        let mut stream = self.connect(address).await?;
        let (head, body, stays) = ask_http1(&mut stream, &self.request).await?;
        let words = self.judge(expects, head, &body)?;
        let stays = stays && !self.health.keepalive.is_zero();
        Ok((words, stays.then(|| (stream, Instant::now()))))
    }

    async fn connect(&self, address: &Address) -> Result<Stream, String> {
        let way = &self.way;
        let connecting = net::connect::connect(address, way.bind, self.socket_keepalive);
        let mut stream = connecting
            .await
            .map_err(|error| told(&PeerError::Connect(error)))?;
        stream.set_nodelay();
        if !way.header.is_empty() {
            let sent = stream.write_all(&way.header).await;
            sent.map_err(|error| told(&PeerError::Send(error)))?;
        }
        let Some(secure) = &way.secure else {
            return Ok(stream.into());
        };
        let failed = |error: HandshakeError| {
            told(&PeerError::Handshake(client::Failure {
                name: secure.name.as_slice().into(),
                error,
            }))
        };
        let begun = secure.connector.begin(stream, &secure.name);
        let mut stream = begun.map_err(failed)?;
        poll_fn(|context| stream.poll_handshake(context))
            .await
            .map_err(|error| failed(HandshakeError::of(error)))?;
        if self.http2.is_some() && stream.session().alpn_protocol() != Some(b"h2") {
            return Err(told(&PeerError::NoHttp2));
        }
        Ok(Stream::Secure(Box::new(stream)))
    }

    /// Is the answer as it has to be?
    fn judge(
        &self,
        expects: Option<&Match>,
        head: ResponseHead,
        body: &[u8],
    ) -> Result<String, String> {
        let status = head.status;
        let Some(expects) = expects else {
            return match (200..400).contains(&status) {
                true => Ok(format!("status {status}")),
                false => Err(format!("status {status}")),
            };
        };
        judge_head(expects, &head)?;
        for test in &expects.bodies {
            if test.pattern.is_match(body) == test.is_negated {
                let source = test.pattern.source();
                return Err(match test.is_negated {
                    true => format!("`{source}` is found in the body"),
                    false => format!("`{source}` is not found in the body"),
                });
            }
        }
        if !expects.required.is_empty() {
            let mut exchange = self.place.exchange("/");
            exchange.status = status;
            exchange.upstream_head = head;
            for (name, variable) in &expects.required {
                let mut value = Vec::new();
                variables::write(variable, &exchange, &mut value);
                if value.is_empty() || value == b"0" {
                    return Err(format!("`{name}` is empty or 0"));
                }
            }
        }
        Ok(format!("status {status}"))
    }

    /// The health service of gRPC (`grpc.health.v1`).
    async fn ask_grpc(&self, stream: Stream, like: &http::Request<()>) -> Result<String, String> {
        let CheckKind::Grpc { service, status } = &self.health.kind else {
            return Err("it is not a check of gRPC".to_owned());
        };
        let mut request = like.clone();
        *request.method_mut() = http::Method::POST;
        let mut uri = request.uri().clone().into_parts();
        uri.path_and_query = Some(http::uri::PathAndQuery::from_static(
            "/grpc.health.v1.Health/Check",
        ));
        *request.uri_mut() = http::Uri::from_parts(uri).map_err(|error| error.to_string())?;
        let fields = request.headers_mut();
        let value = http::HeaderValue::from_static;
        fields.insert(http::header::CONTENT_TYPE, value("application/grpc"));
        fields.insert(http::header::TE, value("trailers"));
        let (head, trailers, body) = ask_http2(stream, request, grpc_message(service)).await?;
        if head.status != 200 {
            return Err(format!("status {}", head.status));
        }
        // An answer without a body has it among its fields.
        let told = trailers.as_ref().and_then(|it| it.get("grpc-status"));
        let told = told.map(|value| value.as_bytes().to_vec());
        let told = told.or_else(|| field(&head.fields, b"grpc-status").map(<[u8]>::to_vec));
        let told = told.as_deref().and_then(|it| std::str::from_utf8(it).ok());
        let code: u32 = (told.and_then(|it| it.parse().ok()))
            .ok_or_else(|| "the answer has no grpc-status".to_owned())?;
        match (status, code) {
            (Some(wanted), code) if *wanted == code => Ok(format!("grpc-status {code}")),
            (None | Some(0), 0) => match serving_status(&body) {
                Some(1) => Ok("serving".to_owned()),
                Some(2) => Err("not serving".to_owned()),
                _ => Err("it does not say that it is serving".to_owned()),
            },
            (_, 5) => Err(format!("the service `{service}` is not known there")),
            (_, 12) => Err("it has no health service (grpc-status 12)".to_owned()),
            (_, code) => Err(format!("grpc-status {code}")),
        }
    }
}

/// Status and fields.
fn judge_head(expects: &Match, head: &ResponseHead) -> Result<(), String> {
    if let Some(test) = &expects.status {
        let is_among = test.ranges.iter().any(|range| range.contains(&head.status));
        if is_among == test.is_negated {
            return Err(format!("status {}, not as in `{}`", head.status, test.text));
        }
    }
    for test in &expects.fields {
        let value = field(&head.fields, &test.name);
        let is_fine = match (&test.value, value) {
            (FieldValue::Present, value) => value.is_some(),
            (FieldValue::Absent, value) => value.is_none(),
            (FieldValue::Is(text), Some(value)) => value == &**text,
            (FieldValue::Matches(pattern), Some(value)) => pattern.is_match(value),
            (FieldValue::Is(_) | FieldValue::Matches(_), None) => false,
            (FieldValue::IsNot(text), value) => value != Some(&**text),
            (FieldValue::MatchesNot(pattern), value) => {
                !value.is_some_and(|value| pattern.is_match(value))
            }
        };
        if !is_fine {
            return Err(format!("not as in `{}`", test.text));
        }
    }
    Ok(())
}

/// The first field of a name.
fn field<'a>(fields: &'a Fields, name: &[u8]) -> Option<&'a [u8]> {
    let mut all = fields.iter();
    all.find(|(_, known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, _, value)| value)
}

fn told(error: &PeerError) -> String {
    format!("{error} while {}", error.doing())
}

/// A time up to this one.
fn random_part(most: Duration) -> Duration {
    let milliseconds = most.as_millis() as u64;
    Duration::from_millis(match milliseconds {
        0 => 0,
        most => balance::random_number() % most,
    })
}

async fn read(stream: &mut Stream, bytes: &mut Vec<u8>) -> Result<usize, String> {
    let read = poll_fn(|context| stream.poll_read_into(context, bytes, 4096));
    read.await.map_err(|error| told(&PeerError::Receive(error)))
}

/// A request and its answer over HTTP/1; can the connection be used again?
async fn ask_http1(
    stream: &mut Stream,
    request: &[u8],
) -> Result<(ResponseHead, Vec<u8>, bool), String> {
    let sent: io::Result<()> = async {
        stream.write_all(request).await?;
        stream.flush().await
    }
    .await;
    sent.map_err(|error| told(&PeerError::Send(error)))?;
    let limits = HeadLimits {
        line: MOST_HEAD,
        total: MOST_HEAD,
        fields: 1000,
        ignore_invalid: true,
        underscores: true,
    };
    let mut head = ResponseHead::default();
    let mut parser = HeadParser::default();
    loop {
        match parser.response(&mut head, 0, &limits) {
            Err(error) => return Err(told(&PeerError::Head(error))),
            Ok(Progress::Complete) if (100..200).contains(&head.status) => {
                let length = head.length;
                head.reset();
                head.fields.bytes.drain(..length);
                parser.reset();
            }
            Ok(Progress::Complete) => break,
            Ok(Progress::Partial) => {
                if read(stream, &mut head.fields.bytes).await? == 0 {
                    return Err(told(&PeerError::Closed));
                }
            }
        }
    }
    let length = framing::response_body(Method::Get, &head)
        .map_err(|error| told(&PeerError::Head(error)))?;
    let mut raw = head.fields.bytes.split_off(head.length);
    let mut body = Vec::new();
    let mut decoder = Decoder::default();
    let mut trailers = Fields::default();
    let is_whole = loop {
        match length {
            BodyLength::None => break raw.is_empty(),
            BodyLength::Chunked => {
                while !raw.is_empty() && !decoder.is_done() {
                    let decoded = decoder.decode(&raw, &mut trailers);
                    let decoded = decoded.map_err(|error| told(&PeerError::Chunk(error)))?;
                    body.extend_from_slice(&raw[decoded.data]);
                    raw.drain(..decoded.consumed);
                }
                if decoder.is_done() {
                    break raw.is_empty();
                }
            }
            BodyLength::Length(_) | BodyLength::UntilClose => body.append(&mut raw),
        }
        match length {
            BodyLength::Length(length) if body.len() as u64 >= length => {
                break body.len() as u64 == length;
            }
            _ if body.len() >= MOST_BODY => break false,
            _ => {}
        }
        if read(stream, &mut raw).await? == 0 {
            match length {
                BodyLength::UntilClose => break false,
                _ => return Err(told(&PeerError::Closed)),
            }
        }
    };
    body.truncate(MOST_BODY);
    let stays = is_whole && framing::keeps_response_connection(&head);
    Ok((head, body, stays))
}

/// A request and its answer over HTTP/2.
async fn ask_http2(
    stream: Stream,
    request: http::Request<()>,
    body: Bytes,
) -> Result<(ResponseHead, Option<http::HeaderMap>, Vec<u8>), String> {
    let failed = |error: h2::Error| told(&PeerError::Http2(error));
    let mut builder = h2::client::Builder::new();
    builder
        .enable_push(false)
        .max_header_list_size(MOST_HEAD as u32);
    let (send, connection) = builder
        .handshake::<_, Bytes>(stream)
        .await
        .map_err(failed)?;
    let asking = async {
        let mut send = send.ready().await.map_err(failed)?;
        let is_empty = body.is_empty();
        let (answering, mut sending) = send.send_request(request, is_empty).map_err(failed)?;
        if !is_empty {
            sending.send_data(body, true).map_err(failed)?;
        }
        let (parts, mut receiving) = answering.await.map_err(failed)?.into_parts();
        let mut head = ResponseHead::default();
        head.status = parts.status.as_u16();
        for (name, value) in &parts.headers {
            head.fields.push(name.as_str().as_bytes(), value.as_bytes());
        }
        let mut body = Vec::new();
        while body.len() < MOST_BODY
            && let Some(piece) = receiving.data().await
        {
            let piece = piece.map_err(failed)?;
            let _ = receiving.flow_control().release_capacity(piece.len());
            body.extend_from_slice(&piece);
        }
        let trailers = match body.len() < MOST_BODY {
            true => receiving.trailers().await.map_err(failed)?,
            false => None,
        };
        body.truncate(MOST_BODY);
        Ok((head, trailers, body))
    };
    let (mut asking, mut connection) = (std::pin::pin!(asking), std::pin::pin!(connection));
    let mut has_ended = false;
    poll_fn(|context| {
        if let Poll::Ready(answer) = asking.as_mut().poll(context) {
            return Poll::Ready(answer);
        }
        // What went wrong with it is told to who asks.
        if !has_ended && connection.as_mut().poll(context).is_ready() {
            has_ended = true;
            return asking.as_mut().poll(context);
        }
        Poll::Pending
    })
    .await
}

/// `HealthCheckRequest` behind the prefix of a message that is not compressed.
fn grpc_message(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        // Field 1, a text; its length is a varint.
        message.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    framed.extend_from_slice(&message);
    framed.into()
}

/// The number of `HealthCheckResponse.status`: 0 unknown, 1 serving, 2 not serving.
fn serving_status(body: &[u8]) -> Option<u8> {
    let (prefix, rest) = body.split_at_checked(5)?;
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
    let message = rest.get(..usize::try_from(length).ok()?)?;
    match message {
        _ if prefix[0] != 0 => None,
        [] => Some(0),
        // Field 1, a varint of one byte.
        [0x08, status, ..] if *status < 0x80 => Some(*status),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_of_grpc_names_its_service_and_the_answer_is_read() {
        assert_eq!(&*grpc_message(""), b"\0\0\0\0\0");
        assert_eq!(&*grpc_message("a.B"), b"\0\0\0\0\x05\x0a\x03a.B");
        let long = grpc_message(&"x".repeat(300));
        assert_eq!(long[..8], *b"\0\0\0\x01\x2f\x0a\xac\x02");
        assert_eq!(serving_status(b"\0\0\0\0\x02\x08\x01"), Some(1));
        assert_eq!(serving_status(b"\0\0\0\0\x00"), Some(0));
        assert_eq!(serving_status(b"\x01\0\0\0\x02\x08\x01"), None);
        assert_eq!(serving_status(b"\0\0\0\0\x09\x08\x01"), None);
        assert_eq!(serving_status(b"\0\0"), None);
    }
}
