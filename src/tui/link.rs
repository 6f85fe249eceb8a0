//! The connection to the daemon: found, kept, and found again.
//!
//! While there is none, calls about the configuration are answered by its files.
//!
//! One task. It tries the sockets in order, opens a stream, renews its lease, passes on what comes
//! and makes the calls that it is told to. What it knows it tells as [`LinkEvent`]s; it shows nothing.
//! The channel to the application is bounded: a dashboard that is stuck lets the daemon drop lines,
//! which the daemon counts.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::edit::offline::Offline;
use super::view::{Answer, Call, Failure};
use crate::protocol::client::{CallError, Client, Stream};
use crate::protocol::{Event, LEASE, Status, Topic, VERSION};

/// A daemon that says nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(10);

/// How long a socket may take to say who answers.
const GREETING: Duration = Duration::from_secs(3);

/// The waits between tries; the last one repeats.
const RETRY: [u64; 3] = [1, 2, 4];

/// How many messages wait for the application.
pub const QUEUE: usize = 256;

/// Names a call in its answer.
pub type Ticket = u64;

/// What the link tells.
#[derive(Clone, PartialEq, Debug)]
pub enum LinkEvent {
    /// A daemon answers and its stream is open.
    Connected(PathBuf, Box<Status>),
    /// None does: the sockets that were tried, each with a reason, and the wait until the next try.
    Failed(Vec<(PathBuf, String)>, Duration),
    /// The connection broke: why.
    Lost(String),
    /// A line of the stream.
    Event(Event),
    /// The answer to a call.
    Answer(Ticket, Result<Answer, Failure>),
}

/// What the link is told.
#[derive(Clone, PartialEq, Debug)]
pub enum LinkOrder {
    /// Make a call.
    Call(Ticket, Call),
    /// The stream is about this from now on.
    Topics(Vec<Topic>),
    /// Try again now.
    Retry,
}

/// Runs until the application is gone; `offline` answers what it can while no daemon does.
pub async fn run(
    sockets: Vec<PathBuf>,
    mut offline: Option<Offline>,
    mut orders: mpsc::UnboundedReceiver<LinkOrder>,
    events: mpsc::Sender<LinkEvent>,
) {
    let mut topics = vec![Topic::Summary, Topic::Events];
    let mut calls = JoinSet::new();
    let mut failures = 0;
    loop {
        match connect(&sockets, &topics).await {
            Ok((client, status, stream)) => {
                failures = 0;
                let socket = client.socket().to_owned();
                // Once it is gone, it is its configuration that is meant.
                if let Some(offline) = &mut offline {
                    offline.conf = PathBuf::from(&status.conf);
                    offline.prefix = PathBuf::from(&status.prefix);
                }
                if events
                    .send(LinkEvent::Connected(socket, status))
                    .await
                    .is_err()
                {
                    return;
                }
                let mut link = Connected {
                    client,
                    stream,
                    orders: &mut orders,
                    events: &events,
                    topics: &mut topics,
                    calls: &mut calls,
                };
                let Some(why) = link.serve().await else {
                    return;
                };
                // Calls under way get no answer but this.
                calls.abort_all();
                if events.send(LinkEvent::Lost(why)).await.is_err() {
                    return;
                }
            }
            Err(tried) => {
                let wait = Duration::from_secs(RETRY[failures.min(RETRY.len() - 1)]);
                failures += 1;
                if events.send(LinkEvent::Failed(tried, wait)).await.is_err() {
                    return;
                }
                let until = Instant::now() + wait;
                loop {
                    let order = tokio::select! {
                        order = orders.recv() => order,
                        () = sleep_until(until) => break,
                    };
                    match order {
                        None => return,
                        Some(LinkOrder::Retry) => break,
                        Some(LinkOrder::Topics(wanted)) => topics = wanted,
                        Some(LinkOrder::Call(ticket, call)) => {
                            let answer = without_daemon(offline.clone(), call).await;
                            let answer = LinkEvent::Answer(ticket, answer);
                            if events.send(answer).await.is_err() {
                                return;
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What the files answer to a call.
async fn without_daemon(offline: Option<Offline>, call: Call) -> Result<Answer, Failure> {
    let Some(offline) = offline else {
        return Err(Failure::Broken("not connected".to_owned()));
    };
    // Files may be slow, and a check takes a while.
    match tokio::task::spawn_blocking(move || offline.answer(&call)).await {
        Ok(answer) => answer,
        Err(_) => Err(Failure::Broken("the check broke".to_owned())),
    }
}

/// A connection that works.
struct Connected<'l> {
    client: Client,
    stream: Stream,
    orders: &'l mut mpsc::UnboundedReceiver<LinkOrder>,
    events: &'l mpsc::Sender<LinkEvent>,
    topics: &'l mut Vec<Topic>,
    calls: &'l mut JoinSet<()>,
}

impl Connected<'_> {
    /// Until it breaks: why, or nothing if the application is gone.
    async fn serve(&mut self) -> Option<String> {
        let mut renewal = Instant::now() + LEASE / 2;
        let mut silent = Instant::now() + SILENCE;
        loop {
            tokio::select! {
                event = self.stream.next() => match event {
                    Ok(Some(event)) => {
                        silent = Instant::now() + SILENCE;
                        self.events.send(LinkEvent::Event(event)).await.ok()?;
                    }
                    Ok(None) => return Some("the daemon closed the connection".to_owned()),
                    Err(error) => return Some(error.to_string()),
                },
                order = self.orders.recv() => match order? {
                    LinkOrder::Retry => {}
                    LinkOrder::Topics(topics) => {
                        if *self.topics != topics {
                            *self.topics = topics;
                            renewal = Instant::now();
                        }
                    }
                    LinkOrder::Call(ticket, call) => {
                        let (client, events) = (self.client.clone(), self.events.clone());
                        self.calls.spawn(async move {
                            let answer = answer(&client, call).await;
                            // Nobody is left to hear it when the application ends.
                            let _ = events.send(LinkEvent::Answer(ticket, answer)).await;
                        });
                    }
                },
                () = sleep_until(renewal) => {
                    renewal = Instant::now() + LEASE / 2;
                    let (client, topics) = (self.client.clone(), self.topics.clone());
                    let subscription = self.stream.subscription();
                    self.calls.spawn(async move {
                        // A lease that was not renewed ends the stream, which tells enough.
                        let _ = client.renew(subscription, Some(topics)).await;
                    });
                }
                () = sleep_until(silent) => {
                    return Some(format!("silent for {} s", SILENCE.as_secs()));
                }
                Some(_) = self.calls.join_next() => {}
            }
        }
    }
}

/// The first socket where a daemon answers that speaks this protocol.
async fn connect(
    sockets: &[PathBuf],
    topics: &[Topic],
) -> Result<(Client, Box<Status>, Stream), Vec<(PathBuf, String)>> {
    let mut tried = Vec::new();
    for socket in sockets {
        let client = Client::new(socket);
        let greeting = async {
            let status: Status = client
                .get("/v1/status")
                .await
                .map_err(|error| why(&error))?;
            if status.protocol != VERSION {
                return Err(format!(
                    "is version {} with protocol {}; this program speaks protocol {VERSION}",
                    status.version, status.protocol
                ));
            }
            let stream = client.stream(topics).await.map_err(|error| why(&error))?;
            Ok((status, stream))
        };
        match timeout(GREETING, greeting).await {
            Ok(Ok((status, stream))) => return Ok((client, Box::new(status), stream)),
            Ok(Err(why)) => tried.push((socket.clone(), why)),
            Err(_) => tried.push((socket.clone(), "does not answer".to_owned())),
        }
    }
    Err(tried)
}

/// Why a call failed, without the socket's name, which stands beside it.
fn why(error: &CallError) -> String {
    let text = error.to_string();
    match error {
        CallError::Connect { socket, .. } => text
            .strip_prefix(&format!("{}: ", socket.display()))
            .unwrap_or(&text)
            .to_owned(),
        _ => text,
    }
}

async fn answer(client: &Client, call: Call) -> Result<Answer, Failure> {
    let answer = match call {
        Call::Status => client.get("/v1/status").await.map(Answer::Status),
        Call::Routes => client.get("/v1/routes").await.map(Answer::Routes),
        Call::Upstreams => client.get("/v1/upstreams").await.map(Answer::Upstreams),
        Call::Events => client.get("/v1/events?limit=200").await.map(Answer::Events),
        Call::History(window, None) => {
            let path = format!("/v1/history?window={}", window.word());
            client.get(&path).await.map(Answer::History)
        }
        Call::History(window, Some(route)) => {
            let path = format!("/v1/history?window={}&route={route}", window.word());
            client.get(&path).await.map(Answer::History)
        }
        Call::Config => client.get("/v1/config").await.map(Answer::Config),
        Call::Review(change) => {
            let path = "/v1/config/review";
            client.post(path, &change).await.map(Answer::Review)
        }
        Call::Apply(change) => {
            let path = "/v1/config/apply";
            client.post(path, &change).await.map(Answer::Applied)
        }
        Call::Revert(revert) => {
            let path = "/v1/config/revert";
            if revert.dry_run {
                client.post(path, &revert).await.map(Answer::Review)
            } else {
                client.post(path, &revert).await.map(Answer::Applied)
            }
        }
        Call::Reload => client.post("/v1/reload", &()).await.map(Answer::Applied),
        Call::Revisions(before) => {
            let mut path = "/v1/revisions?limit=100".to_owned();
            if let Some(before) = before {
                path.push_str(&format!("&before={before}"));
            }
            client.get(&path).await.map(Answer::Revisions)
        }
        Call::RevisionTexts(id) => {
            let path = format!("/v1/revisions/{id}");
            client.get(&path).await.map(Answer::RevisionTexts)
        }
        Call::RevisionDiff(id) => {
            let path = format!("/v1/revisions/{id}/diff");
            client.get(&path).await.map(Answer::RevisionDiff)
        }
        Call::Peers(change) => client
            .post("/v1/peers", &change)
            .await
            .map(Answer::Upstreams),
        Call::Explain(question) => {
            let path = "/v1/explain";
            client.post(path, &question).await.map(Answer::Explanation)
        }
        Call::Bans => client.get("/v1/bans").await.map(Answer::Bans),
        Call::Ban(change) => client.post("/v1/bans", &change).await.map(Answer::Bans),
        Call::Keys => client.get("/v1/keys").await.map(Answer::Keys),
        Call::Key(name) => {
            let path = format!("/v1/keys/{name}");
            client.get(&path).await.map(Answer::Key)
        }
        Call::ChangeKey(change) => client
            .post("/v1/keys", &change)
            .await
            .map(Answer::KeyChanged),
        Call::Alerts => client.get("/v1/alerts").await.map(Answer::Alerts),
        Call::ChangeAlert(change) => {
            let path = "/v1/alerts";
            client.post(path, &change).await.map(Answer::Done)
        }
        Call::TestAlert(test) => {
            let path = "/v1/alerts/test";
            client.post(path, &test).await.map(Answer::Done)
        }
        Call::Spend { by, from, to } => {
            let path = format!("/v1/spend?by={by}&from={from}&to={to}");
            client.get(&path).await.map(Answer::Spend)
        }
        Call::ModelCalls => {
            let path = "/v1/llm/calls?limit=200";
            client.get(path).await.map(Answer::ModelCalls)
        }
        Call::Caches => client.get("/v1/cache").await.map(Answer::Caches),
        Call::CacheShow(name) => {
            let path = "/v1/cache/show";
            client.post(path, &name).await.map(Answer::CacheEntries)
        }
        Call::CachePurge(purge) => {
            let path = "/v1/cache/purge";
            client.post(path, &purge).await.map(Answer::CachePurged)
        }
        Call::KeptPurge(purge) => {
            let path = "/v1/llm/cache/purge";
            client.post(path, &purge).await.map(Answer::KeptPurged)
        }
        Call::Certificates => {
            let path = "/v1/certificates";
            client.get(path).await.map(Answer::Certificates)
        }
        Call::Renew(name) => {
            let path = "/v1/certificates/renew";
            client.post(path, &name).await.map(Answer::Done)
        }
        Call::Why(name) => {
            let path = "/v1/certificates/why";
            client.post(path, &name).await.map(Answer::Preflight)
        }
        Call::Agree(agreement) => {
            let path = "/v1/certificates/agree";
            client.post(path, &agreement).await.map(Answer::Done)
        }
    };
    answer.map_err(|error| match error {
        CallError::Refused(refusal) => Failure::Refused(refusal),
        error => Failure::Broken(error.to_string()),
    })
}
