//! What is known about the proxy: what the daemon told, and how old it is.
//!
//! One value, written only by the application as messages come in; views read it.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::rc::Rc;

use jiff::tz::TimeZone;

use super::view::Window;
use crate::protocol::{
    Caches, Certificates, ConfigTexts, History, Millis, Occurrence, PeerTraffic, Request,
    RouteTraffic, Routes, Status, Summary, Upstreams,
};

/// So many requests are kept for the log.
pub const LOG_ROWS: usize = 10_000;

/// So many occurrences are kept.
const EVENT_ROWS: usize = 200;

/// Something the daemon is asked for now and then.
#[derive(Clone, Debug)]
pub struct Loaded<T> {
    /// What it said last.
    pub value: Option<T>,
    /// Why it could not be read, and since when by the monotonic clock.
    pub error: Option<(String, Millis)>,
}

impl<T> Default for Loaded<T> {
    fn default() -> Self {
        Self {
            value: None,
            error: None,
        }
    }
}

/// How the connection to the daemon does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Link {
    /// Nothing is known yet.
    Connecting {
        /// Since when.
        since: Millis,
    },
    /// No daemon was reached since the start.
    Absent {
        /// The sockets, and why each failed.
        tried: Vec<(PathBuf, String)>,
        /// When it is tried again.
        retry: Millis,
    },
    /// Summaries come.
    Live,
    /// None came for some time.
    Old {
        /// When the last one came.
        since: Millis,
    },
    /// The connection is gone.
    Lost {
        /// Since when.
        since: Millis,
        /// Why.
        error: String,
        /// When it is tried again.
        retry: Millis,
    },
}

/// What changes every second, and stands still while the display is paused.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// The newest summary.
    pub summary: Option<Rc<Summary>>,
    /// Its routes by their number.
    pub routes: Rc<HashMap<u32, RouteTraffic>>,
    /// Its peers by their number.
    pub peers: Rc<HashMap<u32, PeerTraffic>>,
    /// The curve of all requests.
    pub history: Loaded<Rc<History>>,
    /// What happened, newest first.
    pub events: VecDeque<Occurrence>,
    /// Requests as they ended, newest last.
    pub log: VecDeque<Rc<Request>>,
    /// How many requests ever came into the log.
    pub logged: u64,
    /// How many were not told because too much happened.
    pub dropped: u64,
}

/// Everything that is known.
#[derive(Clone, Debug)]
pub struct Model {
    /// The connection.
    pub link: Link,
    /// The socket that answered.
    pub socket: Option<PathBuf>,
    /// Who the daemon is.
    pub status: Option<Status>,
    /// Where requests go.
    pub routes: Loaded<Rc<Routes>>,
    /// Who answers them.
    pub upstreams: Loaded<Rc<Upstreams>>,
    /// What is stored.
    pub caches: Loaded<Rc<Caches>>,
    /// What names are served with.
    pub certificates: Loaded<Rc<Certificates>>,
    /// The texts.
    pub config: Loaded<Rc<ConfigTexts>>,
    /// How far back curves go.
    pub window: Window,
    /// Keys that change something are gone.
    pub is_read_only: bool,
    /// The proxy runs in this process.
    pub owns_daemon: bool,
    /// The configuration that can be changed while no daemon answers.
    pub conf: Option<PathBuf>,
    /// The monotonic clock, in milliseconds.
    pub now: Millis,
    /// The zone that times are shown in.
    pub zone: TimeZone,
    current: Live,
    paused: Option<(Millis, Box<Live>)>,
}

impl Model {
    /// Nothing is known.
    pub fn new(zone: TimeZone, now: Millis) -> Self {
        Self {
            link: Link::Connecting { since: now },
            socket: None,
            status: None,
            routes: Loaded::default(),
            upstreams: Loaded::default(),
            caches: Loaded::default(),
            certificates: Loaded::default(),
            config: Loaded::default(),
            window: Window::default(),
            is_read_only: false,
            owns_daemon: false,
            conf: None,
            now,
            zone,
            current: Live::default(),
            paused: None,
        }
    }

    /// What is to be shown: what happens, or what happened when the display was paused.
    pub fn live(&self) -> &Live {
        match &self.paused {
            Some((_, live)) => live,
            None => &self.current,
        }
    }

    /// What happens, paused or not.
    pub fn current(&self) -> &Live {
        &self.current
    }

    /// The same, to be changed.
    pub fn current_mut(&mut self) -> &mut Live {
        &mut self.current
    }

    /// Since when the display is paused.
    pub fn paused_since(&self) -> Option<Millis> {
        self.paused.as_ref().map(|(since, _)| *since)
    }

    /// Stops the display, or lets it go on.
    pub fn toggle_pause(&mut self) {
        self.paused = match self.paused.take() {
            Some(_) => None,
            None => Some((self.now, Box::new(self.current.clone()))),
        };
    }

    /// The daemon's clock, as far as it told it.
    pub fn daemon_time(&self) -> Option<Millis> {
        self.live().summary.as_ref().map(|summary| summary.at)
    }

    /// Is what is shown not from now?
    pub fn is_old(&self) -> bool {
        matches!(self.link, Link::Old { .. } | Link::Lost { .. })
    }
}

impl<T> Loaded<T> {
    /// It could not be read.
    pub fn fail(&mut self, why: &str, now: Millis) {
        let since = self.error.take().map_or(now, |(_, since)| since);
        self.error = Some((why.to_owned(), since));
    }

    /// It was read.
    pub fn set(&mut self, value: T) {
        self.value = Some(value);
        self.error = None;
    }
}

impl Live {
    /// Takes a summary in. Without its topic a list in it is empty, and nothing is known of it.
    pub fn take_summary(&mut self, mut summary: Summary) {
        let routes = std::mem::take(&mut summary.routes);
        let peers = std::mem::take(&mut summary.peers);
        self.routes = Rc::new(routes.into_iter().map(|row| (row.route, row)).collect());
        self.peers = Rc::new(peers.into_iter().map(|row| (row.peer, row)).collect());
        self.summary = Some(Rc::new(summary));
    }

    /// Takes requests into the log.
    pub fn take_requests(&mut self, requests: Vec<Request>, dropped: u64) {
        self.logged += requests.len() as u64;
        self.dropped += dropped;
        for request in requests {
            if self.log.len() == LOG_ROWS {
                self.log.pop_front();
            }
            self.log.push_back(Rc::new(request));
        }
    }

    /// Takes an occurrence in, unless it is known.
    pub fn take_occurrence(&mut self, occurrence: Occurrence) {
        // Not by their numbers: a daemon that starts counts anew, and what the store tells of the one
        // before has others.
        let is_same = |known: &Occurrence| {
            (known.at, &known.kind, &known.subject, &known.text)
                == (
                    occurrence.at,
                    &occurrence.kind,
                    &occurrence.subject,
                    &occurrence.text,
                )
        };
        if self.events.iter().any(is_same) {
            return;
        }
        let newer = self
            .events
            .iter()
            .take_while(|known| known.at > occurrence.at);
        let at = newer.count();
        self.events.insert(at, occurrence);
        self.events.truncate(EVENT_ROWS);
    }
}
