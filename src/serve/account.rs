//! What a request that ended is counted as, and what those are told who watch.

use std::time::Duration;

use crate::http::exchange::{Attempt, Exchange};
use crate::http::head::Known;
use crate::metrics::cache;
use crate::metrics::histogram::nanoseconds;
use crate::metrics::live::{self, AttemptSummary, RequestSummary, cut};
use crate::metrics::traffic::{self, Besides, Ended, RouteId};
use crate::unit::clock;

/// Counts a request for a route, and its attempts for their peers.
pub fn count(route: RouteId, exchange: &Exchange) {
    let upstream_time = count_attempts(exchange);
    if exchange.has_failed_login || exchange.compressed.is_some() {
        let compressed = exchange.compressed.as_ref();
        traffic::count_besides(
            route,
            &Besides {
                failed_logins: u64::from(exchange.has_failed_login),
                unpacked: compressed.map_or(0, |compressed| compressed.received),
                packed: compressed.map_or(0, |compressed| compressed.sent),
            },
        );
    }
    traffic::count_request(
        route,
        &Ended {
            status: exchange.status,
            received: exchange.request_length,
            sent: exchange.bytes_sent,
            time: nanoseconds(clock::since(exchange.started)),
            upstream_time,
            was_cached: (exchange.caching.status).map(|status| status.result().is_saved()),
        },
    );
    if let (Some(zone), Some(status)) = (exchange.caching.zone, exchange.caching.status) {
        cache::count(zone, status.result(), exchange.bytes_sent);
    }
    live::tell(|| summary(route, exchange));
}

/// Counts the attempts of a request for their peers; how long they took together, in nanoseconds.
pub fn count_attempts(exchange: &Exchange) -> u64 {
    let mut upstream_time = 0;
    for attempt in &exchange.attempts {
        let response_time = attempt.response_time;
        let time = nanoseconds(response_time.unwrap_or_else(|| clock::since(attempt.started)));
        upstream_time += time;
        if let Some(peer) = attempt.peer {
            traffic::count_attempt(
                peer,
                &Ended {
                    status: attempt.status,
                    received: attempt.bytes_received,
                    sent: attempt.bytes_sent,
                    time,
                    upstream_time: 0,
                    was_cached: None,
                },
            );
        }
    }
    upstream_time
}

/// A request as those see it who watch.
fn summary(route: RouteId, exchange: &Exchange) -> RequestSummary {
    let head = &exchange.head;
    // Of a head that was refused there may be no more than what was read of its line.
    let target = match head.target.is_empty() {
        false => head.target,
        true => head.line,
    };
    let agent = head.fields.known(Known::UserAgent).unwrap_or_default();
    RequestSummary {
        at: clock::unix().as_millis() as u64,
        id: exchange.id.get(),
        connection: exchange.connection.serial,
        client: exchange.connection.remote_text.to_string(),
        method: cut(head.bytes(head.method_token), live::TEXT),
        host: cut(&exchange.host, live::TEXT),
        target: cut(head.bytes(target), live::TARGET),
        protocol: head.version.name(),
        status: exchange.status,
        route: Some(route),
        received: exchange.request_length,
        sent: exchange.bytes_sent,
        duration: microseconds(clock::since(exchange.started)),
        attempts: (exchange.attempts.iter())
            .map(|attempt| attempt_summary(exchange, attempt))
            .collect(),
        user_agent: cut(agent, live::TEXT),
        is_complete: exchange.is_complete,
    }
}

fn attempt_summary(exchange: &Exchange, attempt: &Attempt) -> AttemptSummary {
    let after = attempt.started.saturating_duration_since(exchange.started);
    AttemptSummary {
        peer: attempt.address.to_string(),
        status: attempt.status,
        started: microseconds(after),
        connect: attempt.connect_time.map(microseconds),
        header: attempt.header_time.map(microseconds),
        response: attempt.response_time.map(microseconds),
        received: attempt.response_length,
    }
}

fn microseconds(time: Duration) -> u64 {
    nanoseconds(time) / 1000
}
