//! What tests of providers share: a server that plays an interface, zones that it keeps, and the
//! behaviour that every interface must have.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::{TcpListener, UdpSocket};

use super::{DnsError, Handle, Provider, Watcher};
use crate::conf::source::{FileId, Span};
use crate::conf::typed::acme_dns::{DnsApi, DnsProvider};
use crate::conf::typed::secret::SecretSource;
use crate::conf::typed::upstream as conf;
use crate::net::resolver::Resolver;
use crate::tls::fetch::{Fetcher, Trust};

/// The token that a fake takes.
pub(in crate::acme) const TOKEN: &str = "good-token-0123456789";

/// The name that most tests write to; another value is there from the start.
pub(in crate::acme) const NAME: &str = "_acme-challenge.example.org";

/// What is there from the start.
const UNRELATED: &str = "unrelated";

/// A request as it came.
pub(super) struct Seen {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: HashMap<String, String>,
    pub(super) fields: HeaderMap,
    pub(super) text: String,
    /// The text as JSON; null if it is none.
    pub(super) body: Value,
}

impl Seen {
    /// `GET /path`
    pub(super) fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// The parts of the path.
    pub(super) fn parts(&self) -> Vec<&str> {
        self.path.split('/').skip(1).collect()
    }

    pub(super) fn field(&self, name: &str) -> &str {
        let value = self.fields.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default()
    }

    pub(super) fn parameter(&self, name: &str) -> &str {
        self.query.get(name).map(String::as_str).unwrap_or_default()
    }

    pub(super) fn number(&self, name: &str) -> usize {
        self.parameter(name).parse().unwrap_or(1)
    }
}

/// An answer: status and text.
pub(super) type Reply = (u16, String);

/// Plays an interface.
pub(super) trait Emulation: Send + 'static {
    fn answer(&mut self, seen: &Seen) -> Reply;

    /// All values with their names.
    fn values(&self) -> Vec<(String, String)>;
}

/// A server that plays an interface.
pub(super) struct Fake<E> {
    pub(super) url: String,
    state: Arc<Mutex<State<E>>>,
}

struct State<E> {
    emulation: E,
    log: Vec<String>,
    /// So many requests are put off.
    busy: u32,
    /// Instead of answers.
    garbage: Option<&'static str>,
}

impl<E: Emulation> Fake<E> {
    pub(super) async fn start(emulation: E) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let state = Arc::new(Mutex::new(State {
            emulation,
            log: Vec::new(),
            busy: 0,
            garbage: None,
        }));
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                let service = hyper::service::service_fn(move |request| {
                    let state = Arc::clone(&state);
                    async move { Ok::<_, Infallible>(serve(&state, request).await) }
                });
                let io = hyper_util::rt::TokioIo::new(stream);
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(io, service),
                );
            }
        });
        Self { url, state }
    }

    /// The lines of all requests, and the status of each answer.
    pub(super) fn log(&self) -> Vec<String> {
        self.state.lock().log.clone()
    }

    /// All values of [`NAME`], sorted.
    pub(super) fn values(&self) -> Vec<String> {
        self.values_of(NAME)
    }

    fn values_of(&self, name: &str) -> Vec<String> {
        let all = self.state.lock().emulation.values();
        let values = all.into_iter().filter(|(owner, _)| owner == name);
        let mut values: Vec<_> = values.map(|(_, value)| value).collect();
        values.sort();
        values
    }

    pub(super) fn with<T>(&self, look: impl FnOnce(&mut E) -> T) -> T {
        look(&mut self.state.lock().emulation)
    }
}

async fn serve<E: Emulation>(
    state: &Mutex<State<E>>,
    request: Request<hyper::body::Incoming>,
) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    let text = String::from_utf8_lossy(&body).into_owned();
    let query = parts.uri.query().unwrap_or_default();
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let seen = Seen {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: pairs
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
        fields: parts.headers,
        body: serde_json::from_str(&text).unwrap_or_default(),
        text,
    };
    let mut state = state.lock();
    let (status, text) = if state.busy > 0 {
        state.busy -= 1;
        (429, "{\"message\":\"slow down\"}".to_owned())
    } else if let Some(garbage) = state.garbage {
        (200, garbage.to_owned())
    } else {
        state.emulation.answer(&seen)
    };
    state.log.push(format!("{} {status}", seen.line()));
    let mut answer = Response::builder().status(status);
    if status == 429 {
        answer = answer.header("retry-after", "0");
    }
    answer.body(Full::new(text.into())).expect("an answer")
}

/// The zones and records that an emulation keeps.
pub(super) struct Zones {
    pub(super) names: Vec<String>,
    pub(super) records: Vec<Kept>,
    next: u64,
}

/// A TXT record.
#[derive(Clone)]
pub(super) struct Kept {
    pub(super) id: u64,
    pub(super) zone: String,
    /// The whole name.
    pub(super) name: String,
    pub(super) value: String,
}

impl Default for Zones {
    fn default() -> Self {
        let mut zones = Self {
            names: ["example.net", "example.org", "deep.example.org"]
                .map(str::to_owned)
                .into(),
            records: Vec::new(),
            next: 100,
        };
        zones.add("example.org", "_acme-challenge", UNRELATED);
        zones
    }
}

impl Zones {
    /// `name` is relative to the zone; empty or `@` for the zone itself.
    pub(super) fn add(&mut self, zone: &str, name: &str, value: &str) -> u64 {
        assert!(
            self.names.iter().any(|known| known == zone),
            "`{zone}` is no zone"
        );
        self.next += 1;
        self.records.push(Kept {
            id: self.next,
            zone: zone.into(),
            name: whole(zone, name),
            value: value.into(),
        });
        self.next
    }

    /// The values at a relative name.
    pub(super) fn at(&self, zone: &str, name: &str) -> Vec<String> {
        let name = whole(zone, name);
        let ours = self.records.iter();
        let ours = ours.filter(|kept| kept.zone == zone && kept.name == name);
        ours.map(|kept| kept.value.clone()).collect()
    }

    /// Replaces the values at a relative name.
    pub(super) fn set(&mut self, zone: &str, name: &str, values: &[String]) {
        let owner = whole(zone, name);
        self.records
            .retain(|kept| kept.zone != zone || kept.name != owner);
        for value in values {
            self.add(zone, name, value);
        }
    }

    pub(super) fn remove(&mut self, id: u64) -> bool {
        let before = self.records.len();
        self.records.retain(|kept| kept.id != id);
        self.records.len() < before
    }

    pub(super) fn all(&self) -> Vec<(String, String)> {
        let all = self.records.iter();
        all.map(|kept| (kept.name.clone(), kept.value.clone()))
            .collect()
    }
}

impl Emulation for Zones {
    fn answer(&mut self, _: &Seen) -> Reply {
        (500, String::new())
    }

    fn values(&self) -> Vec<(String, String)> {
        self.all()
    }
}

fn whole(zone: &str, name: &str) -> String {
    match name {
        "" | "@" => zone.to_owned(),
        name => format!("{name}.{zone}"),
    }
}

/// The name below its zone, `@` for the zone itself.
pub(super) fn below(kept: &Kept) -> &str {
    let name = kept.name.strip_suffix(&kept.zone).unwrap_or(&kept.name);
    match name.strip_suffix('.').unwrap_or(name) {
        "" => "@",
        name => name,
    }
}

/// One page of a list, and how many there are.
pub(super) fn page<T: Clone>(all: &[T], number: usize, length: usize) -> (Vec<T>, usize) {
    let start = (number.max(1) - 1) * length;
    let page = all.iter().skip(start).take(length).cloned().collect();
    (page, all.len().div_ceil(length).max(1))
}

/// A provider that waits for nothing and whose names have no CNAME records.
pub(super) async fn provider(api: DnsApi, zone: Option<&str>) -> Provider {
    Provider {
        conf: Arc::new(DnsProvider {
            name: "test".into(),
            api,
            zone: zone.map(Into::into),
            propagation: None,
            span: Span::new(FileId(0), 0..0),
        }),
        fetcher: Fetcher::new(Trust::Anything).expect("a fetcher"),
        watcher: Watcher {
            resolver: nothing_known().await,
            port: 53,
        },
        pace: Duration::from_millis(1),
        held: tokio::sync::Mutex::default(),
    }
}

/// A resolver whose server knows no name.
async fn nothing_known() -> Resolver {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
    let conf = conf::Resolver {
        servers: vec![socket.local_addr().expect("an address")],
        valid: None,
        ipv4: true,
        ipv6: false,
        timeout: Duration::from_secs(30),
    };
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            // An answer that there is no such name, with nothing but the question.
            buffer[2..4].copy_from_slice(&[0x85, 0x03]);
            buffer[6..12].fill(0);
            let end = 12
                + buffer[12..length]
                    .iter()
                    .position(|byte| *byte == 0)
                    .expect("a name");
            let _ = socket.send_to(&buffer[..end + 5], from).await;
        }
    });
    Resolver::new(Some(&conf), tokio::runtime::Handle::current())
}

/// A name server that has the same texts at every name.
pub(super) struct Texts {
    pub(super) texts: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Texts {
    pub(super) async fn start(address: SocketAddr, texts: &[&str]) -> Self {
        let socket = UdpSocket::bind(address).await.expect("bound");
        let texts: Vec<_> = texts.iter().map(|&text| text.to_owned()).collect();
        let texts = Arc::new(Mutex::new(texts));
        let shared = Arc::clone(&texts);
        let task = tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let mut answer = buffer[..length].to_vec();
                let texts = shared.lock().clone();
                answer[2..4].copy_from_slice(&[0x84, 0]);
                answer[7] = texts.len() as u8;
                for text in texts {
                    // The name of the question, TXT, IN, no lifetime.
                    answer.extend([0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 0]);
                    answer.extend([0, text.len() as u8 + 1, text.len() as u8]);
                    answer.extend(text.as_bytes());
                }
                let _ = socket.send_to(&answer, from).await;
            }
        });
        Self { texts, task }
    }
}

impl Drop for Texts {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A token as it stands in a configuration.
pub(super) fn secret(token: &str) -> SecretSource {
    SecretSource::Literal(token.into())
}

/// What every interface must do; `api` is given the address of the fake and a token. `refusal` is
/// what the fake says to a wrong token.
pub(super) async fn behaves<E: Emulation>(
    emulation: E,
    api: impl Fn(&str, &str) -> DnsApi,
    refusal: &str,
) {
    let fake = Fake::start(emulation).await;
    let ours = provider(api(&fake.url, TOKEN), None).await;
    let put = async |name: &str, value: &str| match ours.present(name, value).await {
        Ok(handle) => handle,
        Err(error) => panic!("{error}: {:?}; {:?}", fake.log(), error),
    };

    // Two values live beside each other and beside what was there, and no value stands twice.
    let one = put(NAME, "value-one").await;
    assert_eq!((&*one.name, &*one.value), (NAME, "value-one"));
    let two = put("_ACME-challenge.example.org.", "value-two").await;
    put(NAME, "value-one").await;
    assert_eq!(fake.values(), [UNRELATED, "value-one", "value-two"]);

    // The zone is the one with the longest name, and may be the name itself.
    let deep = "_acme-challenge.www.deep.example.org";
    let inner = put(deep, "value-three").await;
    let apex = put("deep.example.org", "value-four").await;
    assert_eq!(fake.values_of(deep), ["value-three"]);
    assert_eq!(fake.values_of("deep.example.org"), ["value-four"]);
    assert_eq!(
        &*ours.check(deep).await.expect("a zone"),
        "deep.example.org"
    );

    // A removal takes its own value only, and may be repeated.
    let take = async |handle: &Handle| {
        let outcome = ours.remove(handle.clone()).await;
        outcome.unwrap_or_else(|error| panic!("{error}: {:?}", fake.log()));
    };
    take(&one).await;
    assert_eq!(fake.values(), [UNRELATED, "value-two"]);
    take(&one).await;
    for handle in [&two, &inner, &apex] {
        take(handle).await;
    }
    assert_eq!(fake.values(), [UNRELATED]);
    assert!(fake.values_of(deep).is_empty() && fake.values_of("deep.example.org").is_empty());

    // "Not so fast" is no failure.
    fake.state.lock().busy = 2;
    let busy = put(NAME, "value-five").await;
    let put_off = fake
        .log()
        .iter()
        .filter(|line| line.ends_with(" 429"))
        .count();
    assert_eq!(put_off, 2);
    take(&busy).await;
    fake.state.lock().busy = 1000;
    match ours.present(NAME, "value-six").await {
        Err(DnsError::Refused { status, words, .. }) => {
            assert_eq!((status.as_u16(), &*words), (429, "slow down"));
        }
        other => panic!("{other:?}"),
    }
    fake.state.lock().busy = 0;

    // What cannot be done is said, and nothing is changed.
    let error = ours.present("_acme-challenge.example.com", "v").await;
    let error = error.expect_err("not our zone");
    assert!(matches!(error, DnsError::NoZone { .. }), "{error:?}");
    let elsewhere = provider(api(&fake.url, TOKEN), Some("example.net")).await;
    let error = elsewhere
        .present(NAME, "v")
        .await
        .expect_err("another zone");
    assert!(matches!(error, DnsError::OutsideZone { .. }), "{error:?}");
    let named = provider(api(&fake.url, TOKEN), Some("example.org")).await;
    let handle = named
        .present(NAME, "value-seven")
        .await
        .expect("it is in it");
    named.remove(handle).await.expect("removed");

    // The provider's own words are told, a secret in them is not.
    let wrong = "wrong-token-9876543210";
    let stranger = provider(api(&fake.url, wrong), None).await;
    let error = stranger
        .present(NAME, "v")
        .await
        .expect_err("a wrong token");
    let told = error.to_string();
    assert!(told.contains(refusal), "{told}");
    assert!(
        !told.contains(wrong) && !format!("{error:?}").contains(wrong),
        "{told}"
    );

    // Answers that make no sense are failures.
    for garbage in [
        "",
        "<html>",
        "{}",
        "[]",
        "null",
        "{\"success\":true,\"status\":\"SUCCESS\"}",
    ] {
        fake.state.lock().garbage = Some(garbage);
        let outcome = ours.present(NAME, "value-eight").await;
        assert!(outcome.is_err(), "{garbage}");
    }
    fake.state.lock().garbage = None;
    assert_eq!(fake.values(), [UNRELATED]);
}
