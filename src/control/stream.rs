//! Streams: who listens to what, and for how long.
//!
//! A stream is a queue of lines that ends with its lease. Nobody waits for a reader: a line that
//! finds the queue full is dropped and counted, and the count is told with the next one. While
//! nobody listens nothing is made.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::{Control, numbers, revisions};
use crate::metrics::live;
use crate::process::desk::refusal;
use crate::protocol::{Event, LEASE, Refusal, RefusalCode, Request, Topic};

/// So many streams at once.
const STREAMS: usize = 32;

/// So many lines wait for a reader.
const LINES: usize = 64;

/// How often requests that ended are passed on.
const REQUESTS: Duration = Duration::from_millis(200);

/// So many requests are told in one line; more are counted as dropped.
const MOST_REQUESTS: usize = 500;

/// All streams.
#[derive(Debug)]
pub struct Hub {
    state: Mutex<State>,
    /// Somebody wants to see requests.
    wanted: tokio::sync::Notify,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    open: HashMap<u64, Subscription>,
}

#[derive(Debug)]
struct Subscription {
    topics: Vec<Topic>,
    until: Instant,
    lines: mpsc::Sender<Bytes>,
    /// Requests that this reader was not told.
    dropped: u64,
}

impl Subscription {
    fn wants(&self, topic: Topic) -> bool {
        self.topics.contains(&topic)
    }
}

impl Hub {
    /// Without streams.
    pub fn new() -> Self {
        Self {
            state: Mutex::default(),
            wanted: tokio::sync::Notify::new(),
        }
    }

    /// Opens a stream.
    pub fn open(&self, topics: Vec<Topic>) -> Result<mpsc::Receiver<Bytes>, Refusal> {
        let mut state = self.state.lock();
        if state.open.len() >= STREAMS {
            return Err(refusal(
                RefusalCode::Busy,
                format!("{STREAMS} streams are open already"),
            ));
        }
        state.next += 1;
        let subscription = state.next;
        let (lines, receiver) = mpsc::channel(LINES);
        let opened = line(&Event::Opened { subscription });
        // The queue is empty.
        let _ = lines.try_send(opened);
        let wants_requests = topics.contains(&Topic::Requests);
        state.open.insert(
            subscription,
            Subscription {
                topics,
                until: Instant::now() + LEASE,
                lines,
                dropped: 0,
            },
        );
        if wants_requests {
            self.wanted.notify_one();
        }
        Ok(receiver)
    }

    /// Lets a stream live on; `false` if it has ended.
    pub fn renew(&self, id: u64, topics: Option<Vec<Topic>>) -> bool {
        let mut state = self.state.lock();
        let Some(subscription) = state.open.get_mut(&id) else {
            return false;
        };
        subscription.until = Instant::now() + LEASE;
        if let Some(topics) = topics {
            if topics.contains(&Topic::Requests) {
                self.wanted.notify_one();
            }
            subscription.topics = topics;
        }
        true
    }

    /// Ends what is over; `true` if anybody listens to a topic.
    fn anybody(&self, topic: Topic) -> bool {
        let now = Instant::now();
        let mut state = self.state.lock();
        state
            .open
            .retain(|_, stream| stream.until > now && !stream.lines.is_closed());
        state.open.values().any(|stream| stream.wants(topic))
    }

    /// Tells everybody who wants to know about a topic.
    fn tell(&self, topic: Topic, event: &Event) {
        let bytes = line(event);
        for stream in self.state.lock().open.values() {
            if stream.wants(topic) {
                // A slow reader gets the next one.
                let _ = stream.lines.try_send(bytes.clone());
            }
        }
    }

    fn tell_summary(&self, control: &Control) {
        let mut made: HashMap<(bool, bool, bool), Bytes> = HashMap::new();
        for stream in self.state.lock().open.values() {
            if !stream.wants(Topic::Summary) {
                continue;
            }
            let kind = (
                stream.wants(Topic::Routes),
                stream.wants(Topic::Peers),
                stream.wants(Topic::Llm),
            );
            let bytes = made.entry(kind).or_insert_with(|| {
                let summary = numbers::summary(control, kind.0, kind.1, kind.2);
                line(&Event::Summary(Box::new(summary)))
            });
            let _ = stream.lines.try_send(bytes.clone());
        }
    }

    fn tell_requests(&self, requests: &[Request], dropped: u64) {
        let told = requests.len().min(MOST_REQUESTS);
        let dropped = dropped + (requests.len() - told) as u64;
        for stream in self.state.lock().open.values_mut() {
            if !stream.wants(Topic::Requests) {
                continue;
            }
            let event = Event::Requests {
                requests: requests[..told].to_vec(),
                dropped: dropped + stream.dropped,
            };
            match stream.lines.try_send(line(&event)) {
                Ok(()) => stream.dropped = 0,
                Err(_) => stream.dropped += dropped + told as u64,
            }
        }
    }
}

fn line(event: &Event) -> Bytes {
    let mut bytes = serde_json::to_vec(event).unwrap_or_default();
    bytes.push(b'\n');
    bytes.into()
}

/// Keeps the numbers up to date, once a second for as long as the program runs.
pub async fn keep_numbers(control: Arc<Control>) {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut count = 0u64;
    loop {
        second.tick().await;
        numbers::tick(&control);
        if control.hub.anybody(Topic::Summary) {
            control.hub.tell_summary(&control);
        }
        count += 1;
        if count.is_multiple_of(60) {
            numbers::keep_minute(&control);
        }
    }
}

/// Passes on what happens: changes of the configuration, occurrences, requests.
pub async fn pass_on_news(control: Arc<Control>) {
    tokio::spawn(pass_on_requests(Arc::clone(&control)));
    let mut changes = control.desk.changes();
    let mut occurrences = control.desk.listen();
    loop {
        tokio::select! {
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
                let in_force = changes.borrow_and_update().clone();
                let revision = in_force.revision;
                numbers::changed(&control, &in_force);
                control.hub.tell(Topic::Summary, &Event::Changed { revision });
            }
            occurrence = occurrences.recv() => {
                if let Ok(occurrence) = occurrence {
                    revisions::keep_event(&control, &occurrence);
                    control.hub.tell(Topic::Events, &Event::Occurred(occurrence));
                }
            }
        }
    }
}

/// While somebody wants to see requests, takes them from the workers.
async fn pass_on_requests(control: Arc<Control>) {
    loop {
        control.hub.wanted.notified().await;
        let _watching = live::subscribe();
        let mut ended = Vec::new();
        while control.hub.anybody(Topic::Requests) {
            tokio::time::sleep(REQUESTS).await;
            let dropped = live::drain(&mut ended);
            if ended.is_empty() && dropped == 0 {
                continue;
            }
            let requests: Vec<_> = ended.drain(..).map(numbers::request).collect();
            control.hub.tell_requests(&requests, dropped);
        }
    }
}
