//! A stream of the daemon that is followed for as long as somebody looks: its lease is renewed, and
//! it is opened again when the daemon comes back.

use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use crate::protocol::client::{CallError, Client, Stream};
use crate::protocol::{Event, LEASE, Topic};

/// How long to wait before the next try, at most.
const LONGEST_WAIT: Duration = Duration::from_secs(4);

/// A stream that does not end.
#[derive(Debug)]
pub struct Follower {
    client: Client,
    topics: Vec<Topic>,
    stream: Option<Stream>,
    renewal: Interval,
    wait: Duration,
}

/// What a follower sees.
#[derive(Debug)]
pub enum Sight {
    /// The daemon told something.
    Event(Event),
    /// The daemon went away, and why; it is waited for.
    Lost(String),
    /// It is back. What happened between was not seen.
    Back,
}

impl Follower {
    /// Opens the stream; from then on it is kept.
    pub async fn open(client: &Client, topics: &[Topic]) -> Result<Self, CallError> {
        let mut renewal = interval(LEASE / 3);
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            client: client.clone(),
            topics: topics.to_vec(),
            stream: Some(client.stream(topics).await?),
            renewal,
            wait: Duration::ZERO,
        })
    }

    /// The next thing that happens. Nothing is lost if this is dropped before it is ready.
    pub async fn next(&mut self) -> Sight {
        loop {
            let Some(stream) = &mut self.stream else {
                sleep(self.wait).await;
                self.wait = (self.wait * 2).clamp(Duration::from_secs(1), LONGEST_WAIT);
                if let Ok(stream) = self.client.stream(&self.topics).await {
                    self.stream = Some(stream);
                    return Sight::Back;
                }
                continue;
            };
            let lost = tokio::select! {
                event = stream.next() => match event {
                    Ok(Some(event)) => return Sight::Event(event),
                    Ok(None) => "it ended the stream".to_owned(),
                    Err(error) => error.to_string(),
                },
                _ = self.renewal.tick() => {
                    match self.client.renew(stream.subscription(), None).await {
                        Ok(()) => continue,
                        Err(error) => error.to_string(),
                    }
                }
            };
            self.stream = None;
            // A daemon that restarts is back soon.
            self.wait = Duration::from_millis(250);
            return Sight::Lost(lost);
        }
    }
}
