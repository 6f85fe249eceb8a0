//! How peers are watched and kept from harm: active checks, circuits, and the budget of retries.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use crate::conf::regex::Regex;
use crate::conf::source::Span;
use crate::conf::variable::Variable;

/// `health_check`: what is asked of every peer of a group, time and again.
#[derive(Debug)]
pub struct HealthCheck {
    /// What is asked.
    pub kind: CheckKind,
    /// `interval=`: between two checks of a peer.
    pub interval: Duration,
    /// `jitter=`: up to this much is added to the interval, by chance.
    pub jitter: Duration,
    /// `health_check_timeout`: how long all of one check may take.
    pub timeout: Duration,
    /// `fails=`: failures in a row that take a peer out.
    pub fails: u32,
    /// `passes=`: successes in a row that take it in again.
    pub passes: u32,
    /// `mandatory`: a peer that is new gets no request before its first check passed.
    pub mandatory: bool,
    /// `port=`: where to ask, if not where requests go.
    pub port: Option<u16>,
    /// `keepalive_time=`: how old a connection for checks may become; zero keeps none.
    pub keepalive: Duration,
    /// Its line.
    pub span: Span,
}

/// What a check asks.
#[derive(Debug)]
pub enum CheckKind {
    /// A request of HTTP.
    Http {
        /// `uri=`
        uri: Box<str>,
        /// `match=`; without one every 2xx and 3xx will do.
        expects: Option<Arc<Match>>,
    },
    /// `type=tcp`: can it be connected to? Where TLS is spoken, with a handshake.
    Tcp,
    /// `type=grpc`: the health service of gRPC.
    Grpc {
        /// `grpc_service=`; empty for the server as a whole.
        service: Box<str>,
        /// `grpc_status=`: an error that will do, of a peer that has no health service.
        status: Option<u32>,
    },
}

/// `match NAME {}`: what an answer has to be like; everything in it has to hold.
#[derive(Debug)]
pub struct Match {
    /// Its name.
    pub name: Box<str>,
    /// `status`; without one any will do.
    pub status: Option<StatusTest>,
    /// `header` lines.
    pub fields: Vec<FieldTest>,
    /// `body` lines.
    pub bodies: Vec<BodyTest>,
    /// Variables of `require`: neither empty nor `0`.
    pub required: Vec<(Box<str>, Variable)>,
}

/// `status [!] …`
#[derive(Debug)]
pub struct StatusTest {
    /// As written.
    pub text: Box<str>,
    /// Must it be none of these?
    pub is_negated: bool,
    /// The statuses.
    pub ranges: Vec<RangeInclusive<u16>>,
}

/// `header …`
#[derive(Debug)]
pub struct FieldTest {
    /// As written, for the reason of a failure.
    pub text: Box<str>,
    /// The field's name.
    pub name: Box<[u8]>,
    /// What its value has to be.
    pub value: FieldValue,
}

/// What the value of a field has to be.
#[derive(Debug)]
pub enum FieldValue {
    /// Anything.
    Present,
    /// There must be no such field.
    Absent,
    /// `= text`
    Is(Box<[u8]>),
    /// `!= text`
    IsNot(Box<[u8]>),
    /// `~ pattern`
    Matches(Regex),
    /// `!~ pattern`
    MatchesNot(Regex),
}

/// `body ~ …`, `body !~ …`
#[derive(Debug)]
pub struct BodyTest {
    /// What has to be found, or not.
    pub pattern: Regex,
    /// Must it be missing?
    pub is_negated: bool,
}

/// How a group keeps its requests from what does not work.
#[derive(Debug, Default)]
pub struct Guard {
    /// `eject`: peers that fail are left out.
    pub eject: Option<Eject>,
    /// `breaker`: a group that fails is not asked.
    pub breaker: Option<Limits>,
    /// `retry_budget`
    pub retry_budget: Option<RetryBudget>,
    /// `health_check` in the block of the group.
    pub health_check: Option<Arc<HealthCheck>>,
}

/// `eject`
#[derive(Debug, Clone)]
pub struct Eject {
    /// When a peer is left out, and for how long.
    pub limits: Limits,
    /// `most=`: of the peers that could be asked, so many in a hundred may be left out at a time.
    pub most: u32,
}

/// When a circuit opens, and how it closes again.
#[derive(Debug, Clone)]
pub struct Limits {
    /// `errors=`: failures in a row; 0 does not count them.
    pub errors: u32,
    /// `ratio=`: failures in a hundred of the window; 0 does not count them.
    pub ratio: u32,
    /// `volume=`: a window with fewer requests says nothing about the ratio.
    pub volume: u32,
    /// `slow=`: an answer that takes longer is a failure.
    pub slow: Option<Duration>,
    /// `window=`
    pub window: Duration,
    /// `open=`: for how long nothing is asked.
    pub open: Duration,
    /// `probes=`: requests that try whether it works again; so many at a time, and all must succeed.
    pub probes: u32,
}

impl Limits {
    /// What holds where nothing is written.
    pub const fn usual() -> Self {
        Self {
            errors: 5,
            ratio: 50,
            volume: 20,
            slow: None,
            window: Duration::from_secs(10),
            open: Duration::from_secs(10),
            probes: 1,
        }
    }
}

/// `retry_budget 20% min=10`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryBudget {
    /// Retries in a hundred requests.
    pub percent: u32,
    /// So many retries in ten seconds are always allowed.
    pub least: u32,
}
