//! Limits on a request: what is judged in [`crate::access::limits`] is done about here.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::downstream::Downstream;
use super::generation::Local;
use crate::access::limits::{requests, requests_at_a_time};
use crate::conf::typed::limits::Limits;
use crate::conf::typed::log::Level;
use crate::http::exchange::{Exchange, LimitStatus};
use crate::net::deadline::Deadline;

/// How a request comes out of its limits.
pub enum Outcome {
    /// It goes on.
    Admitted,
    /// It is answered with this status.
    Refused(u16),
    /// Its client did not wait.
    Gone,
}

/// Takes a request through the limits of its place, in nginx's order: its rate first, and only if it
/// keeps to that it is counted among those at a time.
pub async fn admit(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    limits: &Limits,
) -> Outcome {
    // What was redirected inside was judged already.
    if exchange.limit_req_status.is_none() && !limits.requests.is_empty() {
        match by_rate(local, exchange, limits) {
            Rate::Kept => {}
            Rate::Exceeded(status) => return Outcome::Refused(status),
            Rate::Early(by) => {
                if !Box::pin(delay(exchange, downstream, by, local)).await {
                    return Outcome::Gone;
                }
            }
        }
    }
    if exchange.limit_conn_status.is_none() && !limits.connections.is_empty() {
        return at_a_time(local, exchange, limits);
    }
    Outcome::Admitted
}

/// How a request keeps to its rate.
enum Rate {
    Kept,
    /// It must wait for so long.
    Early(Duration),
    Exceeded(u16),
}

fn by_rate(local: &Rc<Local>, exchange: &mut Exchange, limits: &Limits) -> Rate {
    let manner = limits.of_requests;
    let (words, is_dry) = match manner.is_dry_run {
        true => (", dry run", true),
        false => ("", false),
    };
    let conf = &local.generation.http.limit_zones;
    let name = |zone: usize| &*conf.requests[zone].zone.name;
    let zones = &local.generation.zones;
    let verdict = requests::judge(&limits.requests, zones, conf, exchange, |zone, length| {
        let key = &conf.requests[zone].zone.key_text;
        log_long_key(local, exchange, key, length, 65_535);
    });
    let status = match verdict {
        requests::Verdict::Unlimited => return Rate::Kept,
        requests::Verdict::Passed => LimitStatus::Passed,
        requests::Verdict::Delayed { by, excess, zone } => {
            local.log(
                exchange,
                manner.delay_level(),
                format_args!(
                    "delaying request{words}, excess: {}.{:03}, by zone \"{}\"",
                    excess / 1000,
                    excess % 1000,
                    name(zone)
                ),
            );
            if !is_dry {
                exchange.limit_req_status = Some(LimitStatus::Delayed);
                return Rate::Early(by);
            }
            LimitStatus::DelayedDryRun
        }
        requests::Verdict::Refused { excess, zone, wait } => {
            local.log(
                exchange,
                manner.level,
                format_args!(
                    "limiting requests{words}, excess: {}.{:03} by zone \"{}\"",
                    excess / 1000,
                    excess % 1000,
                    name(zone)
                ),
            );
            if !is_dry {
                exchange.limit_req_status = Some(LimitStatus::Rejected);
                retry_after(exchange, wait);
                return Rate::Exceeded(manner.status);
            }
            LimitStatus::RejectedDryRun
        }
        requests::Verdict::Full { zone } => {
            local.log(
                exchange,
                Level::Alert,
                format_args!(
                    "could not allocate node in limit_req zone \"{}\"",
                    name(zone)
                ),
            );
            if !is_dry {
                exchange.limit_req_status = Some(LimitStatus::Rejected);
                retry_after(exchange, Duration::ZERO);
                return Rate::Exceeded(manner.status);
            }
            LimitStatus::RejectedDryRun
        }
    };
    exchange.limit_req_status = Some(status);
    Rate::Kept
}

fn at_a_time(local: &Rc<Local>, exchange: &mut Exchange, limits: &Limits) -> Outcome {
    let manner = limits.of_connections;
    let conf = &local.generation.http.limit_zones;
    let zones = &local.generation.zones;
    let verdict = requests_at_a_time::judge(
        &limits.connections,
        zones,
        conf,
        exchange,
        |zone, length| {
            let key = &conf.connections[zone].key_text;
            log_long_key(local, exchange, key, length, 255);
        },
    );
    match verdict {
        requests_at_a_time::Verdict::Unlimited => return Outcome::Admitted,
        requests_at_a_time::Verdict::Passed(places) => {
            exchange.limit_conn_status = Some(LimitStatus::Passed);
            exchange.held.push(Box::new(places));
            return Outcome::Admitted;
        }
        requests_at_a_time::Verdict::Refused { zone } => {
            let words = if manner.is_dry_run { ", dry run," } else { "" };
            local.log(
                exchange,
                manner.level,
                format_args!(
                    "limiting connections{words} by zone \"{}\"",
                    conf.connections[zone].name
                ),
            );
        }
        requests_at_a_time::Verdict::Full => {}
    }
    if manner.is_dry_run {
        exchange.limit_conn_status = Some(LimitStatus::RejectedDryRun);
        return Outcome::Admitted;
    }
    exchange.limit_conn_status = Some(LimitStatus::Rejected);
    retry_after(exchange, Duration::ZERO);
    Outcome::Refused(manner.status)
}

/// Waits; `false` if the client goes away meanwhile.
async fn delay(
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    by: Duration,
    local: &Rc<Local>,
) -> bool {
    let deadline = Deadline::new();
    deadline.set(by);
    let has_stayed = poll_fn(|context| {
        if downstream.poll_gone(context).is_ready() {
            return Poll::Ready(false);
        }
        deadline.poll_expired(context).map(|()| true)
    })
    .await;
    if !has_stayed {
        local.log(
            exchange,
            Level::Info,
            format_args!("client prematurely closed connection while delaying request"),
        );
        exchange.keep_alive = false;
        exchange.status = 499;
    }
    has_stayed
}

/// Tells the client when to come again: in a second at the earliest.
fn retry_after(exchange: &mut Exchange, wait: Duration) {
    let seconds = wait.as_millis().div_ceil(1000).max(1);
    exchange.retry_after = u32::try_from(seconds).unwrap_or(u32::MAX);
}

fn log_long_key(local: &Rc<Local>, exchange: &Exchange, key: &str, length: usize, most: usize) {
    local.log(
        exchange,
        Level::Error,
        format_args!("the value of the \"{key}\" key is more than {most} bytes: it has {length}"),
    );
}
