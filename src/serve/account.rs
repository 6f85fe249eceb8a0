//! What a request that ended is counted as.

use crate::http::exchange::Exchange;
use crate::metrics::histogram::nanoseconds;
use crate::metrics::traffic::{self, Ended, RouteId};
use crate::unit::clock;

/// Counts a request for a route, and its attempts for their peers.
pub fn count(route: RouteId, exchange: &Exchange) {
    let now = clock::now();
    let mut upstream_time = 0;
    for attempt in &exchange.attempts {
        let until_now = || now.saturating_duration_since(attempt.started);
        let time = nanoseconds(attempt.response_time.unwrap_or_else(until_now));
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
                },
            );
        }
    }
    traffic::count_request(
        route,
        &Ended {
            status: exchange.status,
            received: exchange.request_length,
            sent: exchange.bytes_sent,
            time: nanoseconds(now.saturating_duration_since(exchange.started)),
            upstream_time,
        },
    );
}
