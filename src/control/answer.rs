//! One request of a client and its answer.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body, Frame, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::{
    Control, Visitor, alerts, bans, cache, certificates, explain, import, kept, keys, limits, llm,
    numbers, preflight, revisions, routes,
};
use crate::conf::typed::listen::Address;
use crate::conf::typed::location::MetricsFormat;
use crate::conf::typed::log::Level;
use crate::http::variables;
use crate::log::error_log;
use crate::metrics::prometheus;
use crate::process;
use crate::process::conf_files;
use crate::process::desk::{self, InForce, Proposal, refusal};
use crate::protocol::{
    AlertChange, AlertTest, BanChange, Base, CacheName, CachePurge, CertificateName, Change,
    ConfState, ConfigTexts, Done, FileName, FileText, Import, KeptPurge, KeyChange, Lease,
    MAX_BODY, Millis, PeerAction, PeerChange, ProviderName, Question, Refusal, RefusalCode, Revert,
    Review, Routes, Status, TermsAgreement, Topic, Upstreams, VERSION,
};
use crate::serve::metrics_page;
use crate::upstream::group::{Mode, Override};

/// How long a body may take to come.
const BODY_PATIENCE: Duration = Duration::from_secs(20);

/// So many events or revisions are told at once.
const MOST_ROWS: usize = 1000;

type Told = Result<Vec<u8>, Refusal>;

/// The body of an answer: whole, or lines as they come.
pub enum AnswerBody {
    /// All at once.
    Whole(Option<Bytes>),
    /// A stream; counts as one while it lives.
    Lines {
        /// Where the lines come from.
        lines: mpsc::Receiver<Bytes>,
        /// Streams of the connection.
        count: Arc<AtomicU64>,
    },
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Lines { lines, .. } => lines
                .poll_recv(context)
                .map(|line| line.map(|line| Ok(Frame::data(line)))),
        }
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        if let Self::Lines { count, .. } = self {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Answers a request.
pub async fn answer(
    control: &Control,
    visitor: &Visitor,
    request: Request<Incoming>,
    streams: &Arc<AtomicU64>,
) -> Response<AnswerBody> {
    if !visitor.is_welcome() {
        return refused(&Refusal {
            hint: Some("use `sudo`, or the user that the daemon runs as".to_owned()),
            ..refusal(
                RefusalCode::Forbidden,
                format!("user {} may not talk to this daemon", visitor.name),
            )
        });
    }
    if request.method() == Method::GET && request.uri().path() == "/v1/stream" {
        let topics = match topics(request.uri().query().unwrap_or_default()) {
            Ok(topics) => topics,
            Err(refusal) => return refused(&refusal),
        };
        return match control.hub.open(topics) {
            Ok(lines) => {
                streams.fetch_add(1, Ordering::Relaxed);
                let count = Arc::clone(streams);
                respond(
                    StatusCode::OK,
                    "application/x-ndjson",
                    AnswerBody::Lines { lines, count },
                )
            }
            Err(refusal) => refused(&refusal),
        };
    }
    let is_text = request.uri().path() == "/v1/metrics";
    match tell(control, visitor, request).await {
        Ok(bytes) => {
            let kind = match is_text {
                true => prometheus::CONTENT_TYPE,
                false => "application/json",
            };
            respond(StatusCode::OK, kind, AnswerBody::Whole(Some(bytes.into())))
        }
        Err(refusal) => refused(&refusal),
    }
}

fn respond(status: StatusCode, kind: &'static str, body: AnswerBody) -> Response<AnswerBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(
        "Content-Type",
        hyper::header::HeaderValue::from_static(kind),
    );
    fields.insert("OpenClaw-Protocol", VERSION.into());
    response
}

fn refused(refusal: &Refusal) -> Response<AnswerBody> {
    let status = match refusal.code {
        RefusalCode::Invalid => StatusCode::BAD_REQUEST,
        RefusalCode::NotFound => StatusCode::NOT_FOUND,
        RefusalCode::Forbidden | RefusalCode::ReadOnly => StatusCode::FORBIDDEN,
        RefusalCode::Stale | RefusalCode::Conflict => StatusCode::CONFLICT,
        RefusalCode::Problems => StatusCode::UNPROCESSABLE_ENTITY,
        RefusalCode::NoStore | RefusalCode::Busy => StatusCode::SERVICE_UNAVAILABLE,
        RefusalCode::Failed => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let body = serde_json::to_vec(refusal).unwrap_or_default();
    respond(
        status,
        "application/json",
        AnswerBody::Whole(Some(body.into())),
    )
}

/// What a request is told.
async fn tell(control: &Control, visitor: &Visitor, request: Request<Incoming>) -> Told {
    let method = request.method().clone();
    let uri = request.uri().clone();
    let query = Query::parse(uri.query().unwrap_or_default());
    let path: Vec<&str> = uri.path().trim_start_matches('/').split('/').collect();
    let desk = &control.desk;
    match (method.as_str(), path.as_slice()) {
        ("GET", ["v1", "status"]) => json(&status(control).await),
        ("GET", ["v1", "summary"]) => json(&numbers::summary(control, true, true, true)),
        ("GET", ["v1", "history"]) => {
            const HOUR: u64 = 3600;
            const DAY: u64 = 24 * HOUR;
            let route = query.number("route")?;
            // What is longer than a day, or before the start, the store remembers.
            match query.text("window").unwrap_or("5m") {
                "7d" => json(&numbers::long_history(control, 7 * DAY, HOUR, route).await?),
                "30d" => json(&numbers::long_history(control, 30 * DAY, HOUR, route).await?),
                "1y" => json(&numbers::long_history(control, 365 * DAY, DAY, route).await?),
                window => json(&numbers::history(control, window, route)?),
            }
        }
        ("GET", ["v1", "routes"]) => json(&*control.routes.of(&desk.in_force())),
        ("GET", ["v1", "upstreams"]) => json(&all_upstreams(control)),
        ("GET", ["v1", "bans"]) => json(&bans::list()),
        ("POST", ["v1", "bans"]) => {
            let wanted: BanChange = body(control, request).await?;
            let bans = bans::change(visitor, &wanted)?;
            let action = if wanted.remove { "unban" } else { "ban" };
            audit(control, visitor, action, &wanted.network);
            json(&bans)
        }
        ("GET", ["v1", "keys"]) => json(&keys::list(control).await?),
        ("GET", ["v1", "keys", name]) => json(&keys::show(control, name).await?),
        ("POST", ["v1", "keys"]) => {
            let change: KeyChange = body(control, request).await?;
            let changed = keys::change(control, &change).await?;
            let action = format!("key {}", keys::word(change.action));
            audit(control, visitor, &action, &change.name);
            json(&changed)
        }
        ("GET", ["v1", "spend"]) => {
            let (from, to) = (query.text("from"), query.text("to"));
            json(&keys::spend(control, query.text("by").unwrap_or("key"), from, to).await?)
        }
        ("GET", ["v1", "llm", "calls"]) => {
            let (limit, before) = (query.number("limit")?, query.number("before")?);
            json(&llm::calls(control, limit, before, query.text("key")).await?)
        }
        ("POST", ["v1", "llm", "cache", "purge"]) => {
            let wanted: KeptPurge = body(control, request).await?;
            audit(control, visitor, "cache purge", &wanted.words());
            json(&kept::purge(&wanted)?)
        }
        ("POST", ["v1", "llm", "test"]) => {
            let wanted: ProviderName = body(control, request).await?;
            let asked = wanted.name.as_deref().unwrap_or("all");
            audit(control, visitor, "provider test", asked);
            json(&llm::test(control, wanted.name.as_deref()).await?)
        }
        ("GET", ["v1", "llm", "calls", id]) => json(&llm::call(control, number(id)?).await?),
        ("GET", ["v1", "alerts"]) => json(&alerts::list(control).await?),
        ("POST", ["v1", "alerts"]) => {
            let change: AlertChange = body(control, request).await?;
            let done = alerts::change(control, &change).await?;
            audit(control, visitor, alerts::action(change.action), &change.id);
            json(&done)
        }
        ("POST", ["v1", "alerts", "test"]) => {
            let test: AlertTest = body(control, request).await?;
            audit(control, visitor, "alerts test", &test.name);
            json(&alerts::test(control, &test.name).await?)
        }
        ("GET", ["v1", "limits"]) => json(&limits::list(control)),
        ("GET", ["v1", "events"]) => {
            let limit = query.number("limit")?.unwrap_or(100) as usize;
            json(&revisions::events(control, limit.min(MOST_ROWS)).await?)
        }
        ("GET", ["v1", "config"]) => json(&config_texts(control)),
        ("POST", ["v1", "config", "review"]) => {
            let change: Change = body(control, request).await?;
            json(&review(control, &proposal(change))?)
        }
        ("POST", ["v1", "config", "apply"]) => {
            let change: Change = body(control, request).await?;
            let author = visitor.author(&change.client);
            let proposal = proposal(change);
            audit(control, visitor, "apply", &proposal.note);
            json(&desk.apply(proposal, author).await?)
        }
        ("POST", ["v1", "config", "revert"]) => {
            let revert: Revert = body(control, request).await?;
            let author = visitor.author(&revert.client);
            let is_dry = revert.dry_run;
            let proposal = revisions::proposal_of(control, &revert).await?;
            if is_dry {
                return json(&review(control, &proposal)?);
            }
            audit(control, visitor, "revert", &revert.revision.to_string());
            json(&desk.apply(proposal, author).await?)
        }
        ("POST", ["v1", "reload"]) => {
            audit(control, visitor, "reload", "");
            json(&desk.reload(visitor.author("")).await?)
        }
        ("GET", ["v1", "revisions"]) => {
            let limit = query.number("limit")?.unwrap_or(50) as usize;
            let before = query.number("before")?;
            json(&revisions::list(control, limit.min(MOST_ROWS), before).await?)
        }
        ("GET", ["v1", "revisions", id]) => json(&revisions::texts(control, number(id)?).await?),
        ("GET", ["v1", "revisions", id, "diff"]) => {
            json(&revisions::diff(control, number(id)?).await?)
        }
        ("POST", ["v1", "peers"]) => {
            let change: PeerChange = body(control, request).await?;
            change_peer(control, &change)?;
            numbers::watch_peers(control);
            audit(
                control,
                visitor,
                "peer",
                &format!("{} {} {:?}", change.upstream, change.address, change.action),
            );
            json(&all_upstreams(control))
        }
        ("POST", ["v1", "explain"]) => {
            let question: Question = body(control, request).await?;
            let in_force = desk.in_force();
            let mut explanation = explain(
                &in_force.generation.http,
                &in_force.loaded.sources,
                &question,
            )
            .map_err(|reason| refusal(RefusalCode::Invalid, reason))?;
            numbers::add_route(control, &in_force, &mut explanation);
            json(&explanation)
        }
        ("GET", ["v1", "cache"]) => json(&cache::list(control)),
        ("POST", ["v1", "cache", "show"]) => {
            let wanted: CacheName = body(control, request).await?;
            json(&cache::show(control, &wanted).await?)
        }
        ("POST", ["v1", "cache", "purge"]) => {
            let wanted: CachePurge = body(control, request).await?;
            audit(
                control,
                visitor,
                "cache purge",
                &format!("{:?}", wanted.target),
            );
            json(&cache::purge(control, &wanted).await?)
        }
        ("GET", ["v1", "certificates"]) => json(&certificates::list(control)),
        ("POST", ["v1", "certificates", "renew"]) => {
            let wanted: CertificateName = body(control, request).await?;
            audit(control, visitor, "certificate renewal", &wanted.name);
            json(&certificates::renew(control, &wanted)?)
        }
        ("POST", ["v1", "certificates", "why"]) => {
            let wanted: CertificateName = body(control, request).await?;
            json(&preflight::run(control, &wanted.name).await?)
        }
        ("POST", ["v1", "certificates", "import"]) => {
            let wanted: Import = body(control, request).await?;
            if !wanted.dry_run {
                audit(control, visitor, "certificate import", &wanted.name);
            }
            let author = visitor.author(&wanted.client);
            json(&import::run(control, wanted, author).await?)
        }
        ("POST", ["v1", "certificates", "agree"]) => {
            let agreement: TermsAgreement = body(control, request).await?;
            audit(control, visitor, "terms agreement", &agreement.issuer);
            json(&certificates::agree(control, &agreement)?)
        }
        ("POST", ["v1", "backup"]) => {
            let FileName { path } = body(control, request).await?;
            audit(control, visitor, "backup", &path);
            json(&revisions::backup(control, absolute(&path)?).await?)
        }
        ("POST", ["v1", "restore"]) => {
            let FileName { path } = body(control, request).await?;
            audit(control, visitor, "restore", &path);
            json(&revisions::restore(control, absolute(&path)?).await?)
        }
        ("GET", ["v1", "metrics"]) => {
            let generation = Arc::clone(&desk.in_force().generation);
            match metrics_page::text(&generation, MetricsFormat::Prometheus).await {
                Some((_, text)) => Ok(text.into_bytes()),
                None => Err(refusal(RefusalCode::Failed, "the page could not be made")),
            }
        }
        ("POST", ["v1", "subscriptions", id]) => {
            let Lease { topics } = body(control, request).await?;
            match control.hub.renew(number(id)?, topics) {
                true => json(&Done::default()),
                false => Err(refusal(RefusalCode::NotFound, "the subscription has ended")),
            }
        }
        ("GET" | "POST", ["v1", ..]) => Err(refusal(
            RefusalCode::NotFound,
            format!("there is no {method} {}", uri.path().escape_debug()),
        )),
        ("GET" | "POST", _) => Err(Refusal {
            hint: Some(format!("this daemon speaks version {VERSION}")),
            ..refusal(RefusalCode::NotFound, "there is no such version")
        }),
        _ => Err(refusal(
            RefusalCode::Invalid,
            "the methods are GET and POST",
        )),
    }
}

fn json(value: &impl Serialize) -> Told {
    serde_json::to_vec(value).map_err(|error| refusal(RefusalCode::Failed, error.to_string()))
}

/// Reads a body whole, and one or two at a time: nobody makes the daemon hold many.
async fn body<T: DeserializeOwned>(
    control: &Control,
    request: Request<Incoming>,
) -> Result<T, Refusal> {
    let reading = async {
        let place = control.bodies.acquire().await;
        let collected = Limited::new(request.into_body(), MAX_BODY).collect().await;
        drop(place);
        collected
    };
    let invalid = |reason: String| refusal(RefusalCode::Invalid, reason);
    let collected = tokio::time::timeout(BODY_PATIENCE, reading)
        .await
        .map_err(|_| invalid("the body did not come in time".to_owned()))?
        .map_err(|error| invalid(error.to_string()))?;
    serde_json::from_slice(&collected.to_bytes()).map_err(|error| invalid(error.to_string()))
}

fn number(text: &str) -> Result<u64, Refusal> {
    text.parse().map_err(|_| {
        refusal(
            RefusalCode::Invalid,
            format!("`{}` is not a number", text.escape_debug()),
        )
    })
}

fn absolute(path: &str) -> Result<PathBuf, Refusal> {
    let path = PathBuf::from(path);
    match path.is_absolute() {
        true => Ok(path),
        false => Err(refusal(RefusalCode::Invalid, "the path is not absolute")),
    }
}

/// The parameters of a request.
struct Query<'a>(HashMap<&'a str, &'a str>);

impl<'a> Query<'a> {
    fn parse(text: &'a str) -> Self {
        Self(
            text.split('&')
                .filter_map(|pair| pair.split_once('='))
                .collect(),
        )
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).copied()
    }

    fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        self.text(name).map(number).transpose()
    }
}

fn topics(query: &str) -> Result<Vec<Topic>, Refusal> {
    let query = Query::parse(query);
    let words = query.text("topics").unwrap_or("summary").split(',');
    let topics = words.map(|word| {
        let found = Topic::ALL.into_iter().find(|topic| topic.name() == word);
        found.ok_or_else(|| {
            refusal(
                RefusalCode::Invalid,
                format!("there is no topic `{}`", word.escape_debug()),
            )
        })
    });
    topics.collect()
}

/// Leaves a line about a change, in the store and in the error log.
fn audit(control: &Control, visitor: &Visitor, action: &str, detail: &str) {
    error_log::report(
        Level::Notice,
        format_args!(
            "control: {action} {} by {} (uid {}, pid {})",
            detail.escape_debug(),
            visitor.name.escape_debug(),
            visitor.uid,
            visitor.pid.unwrap_or_default(),
        ),
    );
    revisions::audit(control, visitor, action, detail);
}

/// Milliseconds since 1970.
pub fn millis(time: SystemTime) -> Millis {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as Millis
}

async fn status(control: &Control) -> Status {
    let desk = &control.desk;
    let in_force = desk.in_force();
    let generation = &in_force.generation;
    Status {
        protocol: VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        host: String::from_utf8_lossy(variables::hostname()).into_owned(),
        started: millis(control.started),
        now: millis(SystemTime::now()),
        generation: generation.number,
        revision: in_force.revision,
        conf: desk.setup.conf.display().to_string(),
        prefix: desk.setup.prefix.display().to_string(),
        state: control.conf_state.of(control, &in_force),
        read_only: desk.read_only(),
        workers: generation.process.workers,
        listens: generation
            .http
            .listens
            .iter()
            .map(|listen| listen.address.to_string())
            .collect(),
        resident: numbers::resident(),
        store: revisions::store_status(control),
        dropped_log_lines: crate::log::dropped_lines(),
        may_change: true,
    }
}

/// The routes of what is in force, made once for each configuration.
#[derive(Debug, Default)]
pub struct RouteCache(Mutex<Option<(String, u64, Arc<Routes>)>>);

impl RouteCache {
    /// The routes.
    pub fn of(&self, in_force: &InForce) -> Arc<Routes> {
        let mut cache = self.0.lock();
        let number = in_force.generation.number;
        if let Some((digest, known, routes)) = &*cache
            && *known == number
            && *digest == in_force.digest
            && routes.revision == in_force.revision
        {
            return Arc::clone(routes);
        }
        let routes = Arc::new(Routes {
            revision: in_force.revision,
            routes: routes::routes(&in_force.generation, &in_force.loaded),
        });
        *cache = Some((in_force.digest.clone(), number, Arc::clone(&routes)));
        routes
    }
}

fn all_upstreams(control: &Control) -> Upstreams {
    let in_force = control.desk.in_force();
    let mut upstreams = routes::upstreams(&in_force.generation, &in_force.loaded);
    numbers::add_peers(control, &mut upstreams);
    Upstreams {
        revision: in_force.revision,
        upstreams,
    }
}

/// Do the files say what is in force? Asked every second, so their texts are read only when something
/// about them has changed.
#[derive(Debug, Default)]
pub struct ConfWatch(Mutex<Option<(Fingerprint, String, ConfState)>>);

/// What tells that a file or a directory has changed.
type Fingerprint = Vec<Option<(u64, u64, i64, i64)>>;

impl ConfWatch {
    /// The state now.
    pub fn of(&self, control: &Control, in_force: &InForce) -> ConfState {
        let files = conf_files::texts(&in_force.loaded);
        let mut paths: Vec<&Path> = files.iter().map(|(path, _)| path.as_path()).collect();
        // A file that a pattern would find now changes its directory.
        paths.extend(files.iter().filter_map(|(path, _)| path.parent()));
        paths.dedup();
        let fingerprint: Fingerprint = paths
            .iter()
            .map(|path| {
                let data = fs::metadata(path).ok()?;
                Some((data.ino(), data.size(), data.mtime(), data.mtime_nsec()))
            })
            .collect();
        let mut known = self.0.lock();
        if let Some((before, digest, state)) = &*known
            && *before == fingerprint
            && *digest == in_force.digest
        {
            return *state;
        }
        let now = control.desk.read(&[], &[]).loaded;
        let state = match conf_files::digest(&now) == in_force.digest {
            true => ConfState::Clean,
            false => ConfState::Edited,
        };
        *known = Some((fingerprint, in_force.digest.clone(), state));
        state
    }
}

fn config_texts(control: &Control) -> ConfigTexts {
    let desk = &control.desk;
    let in_force = desk.in_force();
    let now = desk.read(&[], &[]).loaded;
    let digest = conf_files::digest(&now);
    ConfigTexts {
        state: match digest == in_force.digest {
            true => ConfState::Clean,
            false => ConfState::Edited,
        },
        base: Base {
            revision: in_force.revision,
            digest,
        },
        conf: desk.setup.conf.display().to_string(),
        prefix: desk.setup.prefix.display().to_string(),
        files: file_texts(conf_files::texts(&now)),
        read_only: desk.read_only(),
    }
}

/// Files as the protocol tells them.
pub fn file_texts(files: Vec<(PathBuf, String)>) -> Vec<FileText> {
    let told = files.into_iter().map(|(path, text)| FileText {
        path: path.display().to_string(),
        text,
    });
    told.collect()
}

fn proposal(change: Change) -> Proposal {
    Proposal {
        base: change.base,
        files: change
            .files
            .into_iter()
            .map(|file| (PathBuf::from(file.path), file.text))
            .collect(),
        removed: change.removed.into_iter().map(PathBuf::from).collect(),
        note: change.note.chars().take(200).collect(),
        reverts: None,
    }
}

/// A file that is none of the configuration's.
fn stranger(path: &Path, text: &str) -> crate::protocol::Problem {
    crate::protocol::Problem {
        code: "OC-E000".to_owned(),
        is_error: true,
        message: "this file is no part of the configuration".to_owned(),
        hint: None,
        file: path.display().to_string(),
        line: 1,
        column: 1,
        width: 1,
        source: text.lines().next().unwrap_or_default().to_owned(),
    }
}

/// What a proposal would do; nothing is changed.
pub fn review(control: &Control, proposal: &Proposal) -> Result<Review, Refusal> {
    let desk = &control.desk;
    let in_force = desk.in_force();
    let now = desk.read(&[], &[]);
    let mut next = desk.read(&proposal.files, &proposal.removed);
    if let Some(config) = &next.config {
        process::examine(config, &mut next.loaded);
    }
    let texts = conf_files::texts(&next.loaded);
    let mut problems = desk::problems(&next.loaded.diagnostics, &next.loaded.sources);
    for (path, text) in &proposal.files {
        if !texts.iter().any(|(part, _)| part == path) {
            let hint = "add an `include` that names it in the same change";
            problems.push(crate::protocol::Problem {
                hint: Some(hint.to_owned()),
                ..stranger(path, text)
            });
        }
    }
    for path in &proposal.removed {
        let known = conf_files::texts(&now.loaded);
        if !known.iter().any(|(part, _)| part == path) {
            problems.push(stranger(path, ""));
        }
    }
    let is_sound = next.config.is_some() && problems.iter().all(|problem| !problem.is_error);
    Ok(Review {
        diff: conf_files::difference(&conf_files::texts(&now.loaded), &texts),
        effects: match &next.config {
            Some(config) => {
                let removed = proposal.removed.iter();
                let gone = removed.map(|path| format!("removes {}", path.display()));
                effects(&in_force, config).into_iter().chain(gone).collect()
            }
            None => Vec::new(),
        },
        is_applicable: is_sound && desk.read_only().is_none(),
        problems,
    })
}

/// What another configuration does to what runs, a line each.
fn effects(in_force: &InForce, next: &crate::conf::typed::Config) -> Vec<String> {
    let now = &in_force.generation;
    let mut lines = Vec::new();
    let addresses = |http: &crate::conf::typed::Http| -> Vec<Address> {
        let own = http.listens.iter().filter(|listen| !listen.is_covered);
        own.map(|listen| listen.address.clone()).collect()
    };
    let (old, new) = (addresses(&now.http), addresses(&next.http));
    let stay = new.iter().filter(|address| old.contains(address)).count();
    lines.push(match stay {
        1 => "1 listener stays".to_owned(),
        stay => format!("{stay} listeners stay"),
    });
    for address in new.iter().filter(|address| !old.contains(address)) {
        lines.push(format!("opens {address}"));
    }
    for address in old.iter().filter(|address| !new.contains(address)) {
        lines.push(format!("closes {address} once its requests are done"));
    }
    let count = |what: &str, before: usize, after: usize, lines: &mut Vec<String>| {
        if before != after {
            lines.push(format!("{what}: {before} → {after}"));
        }
    };
    count(
        "servers",
        now.http.servers.len(),
        next.http.servers.len(),
        &mut lines,
    );
    count(
        "upstreams",
        now.http.upstreams.len(),
        next.http.upstreams.len(),
        &mut lines,
    );
    count(
        "workers",
        now.process.workers,
        next.process.workers,
        &mut lines,
    );
    let user = |process: &crate::conf::typed::process::Process| {
        process.user.clone().map(|(user, group, _)| (user, group))
    };
    for (name, is_changed) in [
        ("user", user(&now.process) != user(&next.process)),
        (
            "worker_priority",
            now.process.priority != next.process.priority,
        ),
        (
            "working_directory",
            now.process.working_directory != next.process.working_directory,
        ),
        (
            "state_directory",
            now.process.state_directory != next.process.state_directory,
        ),
        (
            "control_socket",
            now.process.control_socket != next.process.control_socket,
        ),
    ] {
        if is_changed {
            lines.push(format!("`{name}` takes effect with the next start"));
        }
    }
    lines
}

fn change_peer(control: &Control, change: &PeerChange) -> Result<(), Refusal> {
    let in_force = control.desk.in_force();
    let unknown = || {
        refusal(
            RefusalCode::NotFound,
            format!(
                "there is no peer `{}` in the upstream `{}`",
                change.address.escape_debug(),
                change.upstream.escape_debug()
            ),
        )
    };
    let peers = in_force
        .generation
        .peers()
        .iter()
        .find(|peers| *peers.upstream().name == *change.upstream)
        .ok_or_else(unknown)?;
    let table = peers.table();
    let all = table.primary.iter().chain(&table.backup);
    let found: Vec<_> = all.filter(|peer| *peer.label == *change.address).collect();
    if found.is_empty() {
        return Err(unknown());
    }
    let weight = match (change.action, change.weight) {
        (PeerAction::Weight, Some(weight @ 1..=65535)) => std::num::NonZeroU32::new(weight),
        (PeerAction::Weight, _) => {
            return Err(refusal(
                RefusalCode::Invalid,
                "a weight is a number from 1 to 65535",
            ));
        }
        _ => None,
    };
    if change.action == PeerAction::Check {
        let mut asked = found.iter();
        if !asked.all(|peer| peers.ask_for_check(peer.server, &peer.address)) {
            let name = change.upstream.escape_debug();
            return Err(Refusal {
                hint: Some("add `health_check` beside its `proxy_pass`".to_owned()),
                ..refusal(
                    RefusalCode::Invalid,
                    format!("the peers of `{name}` are not checked"),
                )
            });
        }
        return Ok(());
    }
    for peer in found {
        let before = peers.override_of(peer.server, &peer.address);
        let next = match change.action {
            PeerAction::Drain => Override {
                mode: Mode::Drain,
                ..before
            },
            PeerAction::Down => Override {
                mode: Mode::Down,
                ..before
            },
            PeerAction::Up => Override {
                mode: Mode::Up,
                ..before
            },
            PeerAction::Weight => Override { weight, ..before },
            PeerAction::Reset | PeerAction::Check => Override::default(),
        };
        peers.set_override(peer.server, &peer.address, next);
    }
    let what = match change.action {
        PeerAction::Drain => "drained by hand".to_owned(),
        PeerAction::Down => "taken out by hand".to_owned(),
        PeerAction::Up => "put in by hand".to_owned(),
        PeerAction::Weight => format!("weight {} by hand", change.weight.unwrap_or_default()),
        PeerAction::Reset | PeerAction::Check => "as the configuration says again".to_owned(),
    };
    numbers::occur(
        control,
        crate::protocol::Level::Info,
        "peer",
        &format!("{}/{}", change.upstream, change.address),
        &what,
    );
    Ok(())
}
