//! The numbers for programs: Prometheus text (exposition format 0.0.4), and the same as JSON.
//!
//! Names and labels are stable: what is here stays, more may come. Times are seconds, sizes bytes.
//! Routes and peers appear once they had something to do; `server` is the first name of a server,
//! `listen` the first address it listens at, `location` the text behind `location` (empty for
//! requests that found none), `upstream` the name of an upstream and `peer` an address in it. `class`
//! is `1xx` to `5xx`, or `none` for a request that got no answer. How many series there can be is
//! bounded by [`super::traffic::MOST_KEYS`]; what comes later is counted under `other`.
//!
//! | name | type | labels | meaning |
//! | --- | --- | --- | --- |
//! | `openclaw_build_info` | gauge | version | always 1 |
//! | `openclaw_config_revision` | gauge | | the recorded revision in force, 0 if none is |
//! | `openclaw_config_generation` | gauge | | configurations put into force, tried ones counted |
//! | `openclaw_uptime_seconds` | gauge | | since the first configuration was in force |
//! | `openclaw_process_resident_bytes` | gauge | | memory of the process |
//! | `openclaw_process_open_fds` | gauge | | descriptors that are open |
//! | `openclaw_process_cpu_seconds_total` | counter | | processor time, user and system |
//! | `openclaw_connections` | gauge | state | clients' connections: `reading`, `writing`, `waiting` |
//! | `openclaw_connections_accepted_total` | counter | | accepted |
//! | `openclaw_connections_handled_total` | counter | | of these, not refused for want of room |
//! | `openclaw_http2_requests_total` | counter | | requests begun over HTTP/2 |
//! | `openclaw_http2_floods_total` | counter | | HTTP/2 connections ended because their client asked for much and wanted nothing |
//! | `openclaw_tls_handshakes_total` | counter | protocol | handshakes that came to their end: `TLSv1.2`, `TLSv1.3` |
//! | `openclaw_tls_handshakes_resumed_total` | counter | | of these, those that resumed a session |
//! | `openclaw_tls_handshakes_failed_total` | counter | | handshakes that failed or were given up |
//! | `openclaw_on_demand_names_total` | counter | outcome | names that clients brought to `acme_on_demand`: `issued`, `refused`, `failed` |
//! | `openclaw_certificate_expiry_seconds` | gauge | name, key | when a certificate ends, in seconds since 1970; 0 for a placeholder |
//! | `openclaw_certificate_failures` | gauge | name, key | attempts to get it that failed since the last that did not |
//! | `openclaw_requests_total` | counter | server, listen, location, class | requests that ended |
//! | `openclaw_received_bytes_total` | counter | server, listen, location | from clients, heads and bodies |
//! | `openclaw_sent_bytes_total` | counter | server, listen, location | to clients, heads and bodies |
//! | `openclaw_request_duration_seconds` | histogram | server, listen, location | from a request's first byte to its end |
//! | `openclaw_request_upstream_seconds_total` | counter | server, listen, location | of this, what passed with peers |
//! | `openclaw_request_cache_lookups_total` | counter | server, listen, location | for which a cache was looked into; only of routes that have one |
//! | `openclaw_request_cache_hits_total` | counter | server, listen, location | of these, those whose answer was the cache's |
//! | `openclaw_upstream_attempts_total` | counter | upstream, peer, class | tries at a peer |
//! | `openclaw_upstream_failures_total` | counter | upstream, peer | what `max_fails` counts |
//! | `openclaw_upstream_received_bytes_total` | counter | upstream, peer | from a peer |
//! | `openclaw_upstream_sent_bytes_total` | counter | upstream, peer | to a peer |
//! | `openclaw_upstream_duration_seconds` | histogram | upstream, peer | from the start of a try to its end |
//! | `openclaw_upstream_active` | gauge | upstream, peer | requests under way |
//! | `openclaw_upstream_idle_connections` | gauge | upstream, peer | connections kept |
//! | `openclaw_limit_requests_total` | counter | zone, kind, result | what the zones of `limit_req` (kind `requests`) and `limit_conn` (`connections`) let pass, `passed` or `delayed`, and what was `refused` |
//! | `openclaw_limit_keys` | gauge | zone, kind | keys that a zone holds |
//! | `openclaw_limit_bytes` | gauge | zone, kind | memory that a zone takes |
//! | `openclaw_bans` | gauge | origin | clients that are kept out: by `people`, or by `auto_ban` |
//! | `openclaw_auto_bans_total` | counter | | bans that `auto_ban` made |
//! | `openclaw_bans_turned_away_total` | counter | | connections and requests of clients that are kept out |
//! | `openclaw_upstream_peer_state` | gauge | upstream, peer, state | 1 for the one of `up`, `failed`, `unhealthy`, `checking`, `ejected`, `draining`, `down` that holds |
//! | `openclaw_upstream_checks_total` | counter | upstream, peer, result | active checks that came out as `pass` or `fail` |
//! | `openclaw_upstream_breaker_state` | gauge | upstream, state | 1 for the one of `closed`, `open`, `half-open` that holds |
//! | `openclaw_upstream_breaker_opened_total` | counter | upstream | how often the circuit of a group opened |
//! | `openclaw_upstream_queue_waiting` | gauge | upstream | requests that wait for a peer |
//! | `openclaw_upstream_queue_refused_total` | counter | upstream | requests that were turned away from the queue |
//! | `openclaw_cache_entries` | gauge | zone | entries |
//! | `openclaw_cache_size_bytes` | gauge | zone | what they take on the disk |
//! | `openclaw_cache_memory_bytes` | gauge | zone | what of them is in memory |
//! | `openclaw_cache_results_total` | counter | zone, result | requests that the cache had to do with: `hit`, `miss`, `expired`, `stale`, `updating`, `revalidated`, `bypass` |
//! | `openclaw_cache_saved_bytes_total` | counter | zone | sent from the cache |
//! | `openclaw_cache_stored_total` | counter | zone | entries that were stored |
//! | `openclaw_cache_removed_total` | counter | zone, reason | entries removed: `evicted`, `inactive`, `purged`, `broken` |
//! | `openclaw_cache_abandoned_total` | counter | zone | answers not stored because of the disk |
//! | `openclaw_cache_disk_errors_total` | counter | zone | failures of the disk |
//! | `openclaw_logins_total` | counter | result | logins with a password: `ok`, `failed`, `throttled` |
//! | `openclaw_compression_input_bytes_total` | counter | coding | bodies before they were compressed: with `gzip`, `br`, `zstd` |
//! | `openclaw_compression_output_bytes_total` | counter | coding | and after |
//! | `gen_ai_client_token_usage` | histogram | gen_ai_operation_name, gen_ai_provider_name, gen_ai_request_model, gen_ai_token_type | tokens of a call of a language model, `input` and `output` |
//! | `gen_ai_client_operation_duration_seconds` | histogram | as above without the last, error_type | from a call's beginning to its end |
//! | `gen_ai_client_operation_time_to_first_chunk_seconds` | histogram | as above without error_type | until the first piece of a stream |
//! | `gen_ai_client_operation_time_per_output_chunk_seconds` | histogram | as above | between two pieces of a stream; the mean of each call, once for each piece |
//! | `openclaw_alerts_raised_total` | counter | kind | alerts that were raised and kept |
//! | `openclaw_alerts_delivered_total` | counter | receiver | alerts that a receiver took |
//! | `openclaw_alerts_failed_total` | counter | receiver | tries to tell one that failed |
//! | `openclaw_alerts_parked_total` | counter | receiver | alerts that were given up |
//! | `openclaw_alerts_waiting` | gauge | | tellings that are still to be made |
//! | `openclaw_alerts_parked` | gauge | | tellings that were given up and are kept |
//! | `openclaw_alerts_unseen` | gauge | | alerts that are no good news and that nobody has acknowledged |
//! | `openclaw_llm_calls_total` | counter | operation, provider, model, outcome | calls of language models that ended |
//! | `openclaw_llm_spend_dollars_total` | counter | operation, provider, model, outcome | what those cost that have a known price |
//! | `openclaw_llm_unpriced_calls_total` | counter | operation, provider, model, outcome | those that have none |
//! | `openclaw_llm_caller_calls_total` | counter | by, name | calls by `key`, `gateway`, `user`, `node`: the first hundred names of each, then `other` |
//! | `openclaw_llm_caller_spend_dollars_total` | counter | by, name | what they cost |
//! | `openclaw_llm_cache_requests_total` | counter | result | calls that `llm_cache` was looked through for |
//! | `openclaw_llm_cache_saved_dollars_total` | counter | | what those that were answered from it would have cost |
//! | `openclaw_llm_cache_entries` | gauge | | answers that are kept |
//! | `openclaw_llm_cache_bytes` | gauge | | memory that they take |
//! | `openclaw_llm_cache_evicted_total` | counter | | those that have given way to others |
//! | `openclaw_llm_cache_purged_total` | counter | | those that were purged |
//! | `openclaw_llm_log_lines_total` | counter | result | calls whose bodies were written down, or lost |
//! | `openclaw_llm_refusals_total` | counter | reason | calls that were refused |
//! | `openclaw_llm_in_flight` | gauge | | calls under way |
//! | `openclaw_llm_body_bytes` | gauge | | what the bodies of those take that are larger than 64 KiB |
//! | `openclaw_llm_reserved_dollars` | gauge | | what is held for them |
//! | `openclaw_llm_budget_dollars` | gauge | key, period | what a key may spend |
//! | `openclaw_llm_budget_remaining_dollars` | gauge | key, period | what is left of it, with what is held taken off |
//! | `openclaw_llm_provider_state` | gauge | provider, state | 1 for the state that holds |
//! | `openclaw_llm_provider_in_flight` | gauge | provider | calls under way |
//! | `openclaw_llm_provider_in_flight_limit` | gauge | provider | how many there may be now, where that is limited |
//! | `openclaw_llm_provider_queue_length` | gauge | provider | calls that wait for it |
//! | `openclaw_llm_provider_queue_refused_total` | counter | provider | calls that found no place in its queue, or waited in vain |
//! | `openclaw_llm_provider_first_token_seconds` | gauge | provider | how soon its answers begin, lately |
//! | `openclaw_panics_total` | counter | | caught panics, each cost one connection |
//! | `openclaw_live_dropped_total` | counter | | requests that those who watch were not told |

use std::fmt::{self, Display, Write as _};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use serde::Serialize;

use super::alerts;
use super::cache::{CacheResult, ListedCache};
use super::histogram::Snapshot;
use super::live;
use super::model_calls::{self, ListedCalls, Tallies};
use super::registry::{self, Counter, Counters};
use super::traffic::{Ledger, PeerGauges, PeerId, PeerKey, RouteKey, Totals, ledger};
use super::window::Moment;

/// What the text is, for `Content-Type`.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The limits of the histograms, in nanoseconds and as they are told; bounds of buckets, so that
/// what is told is exact.
const LIMITS: [(u64, &str); 14] = [
    (1_000_000, "0.001"),
    (2_500_000, "0.0025"),
    (5_000_000, "0.005"),
    (10_000_000, "0.01"),
    (20_000_000, "0.02"),
    (40_000_000, "0.04"),
    (80_000_000, "0.08"),
    (160_000_000, "0.16"),
    (320_000_000, "0.32"),
    (640_000_000, "0.64"),
    (1_280_000_000, "1.28"),
    (2_560_000_000, "2.56"),
    (5_120_000_000, "5.12"),
    (10_240_000_000, "10.24"),
];

const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// A peer of the configuration in force, and what that says of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Listed {
    /// Which.
    pub peer: PeerId,
    /// It gets nothing.
    pub is_down: bool,
    /// It gets nothing new.
    pub is_draining: bool,
    /// Why it is left out, for all workers: `unhealthy`, `checking`, `ejected`.
    pub held: Option<&'static str>,
    /// Active checks that passed and that failed, where there are any.
    pub checks: Option<[u64; 2]>,
}

/// A group of the configuration in force that has a circuit or a queue.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ListedGroup {
    /// Its name.
    pub upstream: String,
    /// The phase of its circuit, and how often that opened.
    pub breaker: Option<(&'static str, u64)>,
    /// Requests that wait, and requests that were turned away.
    pub queue: Option<(u64, u64)>,
}

/// A certificate of the configuration in force.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ListedCertificate {
    /// The first name that it is for.
    pub name: String,
    /// What its key is; empty for a placeholder.
    pub key: String,
    /// When it ends, in seconds since 1970; 0 for a placeholder.
    pub expiry: u64,
    /// Attempts to get it that failed since the last one that did not.
    pub failures: u32,
}

/// A zone of limits of the configuration in force.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ListedZone {
    /// Its name.
    pub zone: String,
    /// `requests` or `connections`.
    pub kind: &'static str,
    /// Keys that it holds.
    pub keys: u64,
    /// Memory that it takes.
    pub bytes: u64,
    /// Requests that it let pass at once.
    pub passed: u64,
    /// Requests that it let pass after a while.
    pub delayed: u64,
    /// Requests that it refused.
    pub refused: u64,
}

/// Who is kept out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct ListedBans {
    /// Bans that people made.
    pub of_people: u64,
    /// Bans that were made by themselves.
    pub by_itself: u64,
    /// How often one was made by itself.
    pub made_by_itself: u64,
    /// Connections and requests that were turned away.
    pub turned_away: u64,
}

/// What is told beside the numbers that are counted here: what those say who know.
#[derive(Clone, Debug, Default)]
pub struct Besides {
    /// Groups with a circuit or a queue.
    pub groups: Vec<ListedGroup>,
    /// Certificates.
    pub certificates: Vec<ListedCertificate>,
    /// Zones of the cache.
    pub caches: Vec<ListedCache>,
    /// Zones of limits.
    pub zones: Vec<ListedZone>,
    /// Who is kept out.
    pub bans: ListedBans,
    /// Calls of language models; `None` if the configuration has no provider.
    pub calls: Option<ListedCalls>,
}

/// All numbers as Prometheus text. The states are told of the peers that are listed. Reads files of
/// the system and takes a while where there are many routes: not for a thread that serves.
pub fn text(listed: &[Listed], besides: Besides, now: Moment) -> String {
    Numbers::of(listed, besides, now).text()
}

/// All numbers as JSON: an object with the members of the same names as the series, times in
/// seconds; as for [`text`].
pub fn json(listed: &[Listed], besides: Besides, now: Moment) -> String {
    // Plain data: it cannot fail.
    serde_json::to_string(&Numbers::of(listed, besides, now)).unwrap_or_default()
}

/// Each name with each kind of key once, the one that ends first: a series may be there only once.
fn distinct(mut certificates: Vec<ListedCertificate>) -> Vec<ListedCertificate> {
    certificates.sort_by(|one, other| {
        (&one.name, &one.key, one.expiry).cmp(&(&other.name, &other.key, other.expiry))
    });
    certificates.dedup_by(|one, other| (&one.name, &one.key) == (&other.name, &other.key));
    certificates
}

#[derive(Serialize)]
struct Numbers {
    version: &'static str,
    config_revision: u64,
    config_generation: u64,
    uptime_seconds: f64,
    process: Process,
    connections: Connections,
    http2_requests: u64,
    http2_floods: u64,
    tls_handshakes: Handshakes,
    on_demand_names: OnDemandNames,
    certificates: Vec<ListedCertificate>,
    limit_zones: Vec<ListedZone>,
    bans: ListedBans,
    caches: Vec<ListedCache>,
    logins: Logins,
    compression: [Compression; 3],
    panics: u64,
    live_dropped: u64,
    routes: Vec<Route>,
    upstream_peers: Vec<Peer>,
    upstreams: Vec<ListedGroup>,
    alerts: alerts::Tallies,
    #[serde(skip_serializing_if = "Option::is_none")]
    model_calls: Option<ModelCalls>,
}

#[derive(Serialize)]
struct ModelCalls {
    #[serde(flatten)]
    listed: ListedCalls,
    #[serde(flatten)]
    tallies: Tallies,
}

/// What the system tells about this process; `None` where it does not.
#[derive(Serialize)]
struct Process {
    resident_bytes: Option<u64>,
    open_fds: Option<u64>,
    cpu_seconds: Option<f64>,
}

#[derive(Serialize)]
struct Connections {
    accepted: u64,
    handled: u64,
    active: u64,
    reading: u64,
    writing: u64,
    waiting: u64,
}

#[derive(Serialize)]
struct OnDemandNames {
    issued: u64,
    refused: u64,
    failed: u64,
}

#[derive(Serialize)]
struct Handshakes {
    tls12: u64,
    tls13: u64,
    resumed: u64,
    failed: u64,
}

#[derive(Serialize)]
struct Compression {
    coding: &'static str,
    input_bytes: u64,
    output_bytes: u64,
}

#[derive(Serialize)]
struct Logins {
    ok: u64,
    failed: u64,
    throttled: u64,
}

#[derive(Serialize)]
struct Route {
    server: Box<str>,
    listen: Box<str>,
    location: Box<str>,
    #[serde(flatten)]
    traffic: Traffic,
    upstream_seconds: f64,
    cache_lookups: u64,
    cache_hits: u64,
}

#[derive(Serialize)]
struct Peer {
    upstream: Box<str>,
    peer: Box<str>,
    /// `None` if the configuration in force has no such peer.
    state: Option<&'static str>,
    /// Active checks that passed and that failed.
    checks: Option<[u64; 2]>,
    failures: u64,
    active: u64,
    idle_connections: u64,
    #[serde(flatten)]
    traffic: Traffic,
}

#[derive(Serialize)]
struct Traffic {
    count: u64,
    /// Without a status, 1xx, to 5xx.
    classes: [u64; 6],
    received_bytes: u64,
    sent_bytes: u64,
    seconds: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    #[serde(skip)]
    latency: Snapshot,
}

impl Traffic {
    fn new(totals: Totals) -> Self {
        let percentiles = totals.latency.percentiles([0.5, 0.9, 0.99]);
        let [p50, p90, p99] = percentiles.map(|micros| micros as f64 / 1e6);
        Self {
            count: totals.count,
            classes: totals.statuses,
            received_bytes: totals.received,
            sent_bytes: totals.sent,
            seconds: totals.time as f64 / 1e9,
            p50,
            p90,
            p99,
            latency: totals.latency,
        }
    }
}

const STATES: [&str; 7] = [
    "up",
    "failed",
    "unhealthy",
    "checking",
    "ejected",
    "draining",
    "down",
];

const RESULTS: [&str; 2] = ["pass", "fail"];

const PHASES: [&str; 3] = ["closed", "open", "half-open"];

fn state(listed: &Listed, gauges: &PeerGauges) -> &'static str {
    match (listed.is_down, listed.is_draining, listed.held) {
        (true, ..) => "down",
        (_, true, _) => "draining",
        (.., Some(held)) => held,
        _ if gauges.left_out > 0 => "failed",
        _ => "up",
    }
}

impl Numbers {
    fn of(listed: &[Listed], besides: Besides, now: Moment) -> Self {
        Self {
            upstreams: besides.groups,
            caches: besides.caches,
            certificates: distinct(besides.certificates),
            limit_zones: besides.zones,
            bans: besides.bans,
            model_calls: besides.calls.map(|listed| ModelCalls {
                listed,
                tallies: model_calls::tallies(),
            }),
            ..Self::collect(ledger(), listed, now)
        }
    }

    fn collect(ledger: &Ledger, listed: &[Listed], now: Moment) -> Self {
        let total = |which: fn(&Counters) -> &Counter| registry::total(which);
        let routes = ledger.routes().into_iter().filter_map(|(id, totals)| {
            let RouteKey {
                server,
                listen,
                location,
            } = (*ledger.route(id)?).clone();
            Some(Route {
                server,
                listen,
                location,
                upstream_seconds: totals.upstream_time as f64 / 1e9,
                cache_lookups: totals.looked_up,
                cache_hits: totals.cached,
                traffic: Traffic::new(totals),
            })
        });
        let mut listed: Vec<&Listed> = listed.iter().collect();
        listed.sort_by_key(|listed| listed.peer);
        let of_listed = |id: &PeerId| {
            let found = listed.binary_search_by_key(id, |listed| listed.peer);
            found.ok().map(|at| listed[at])
        };
        let mut peers = ledger.peers(now.milliseconds);
        // Those that had nothing to do have a state all the same.
        let known: Vec<PeerId> = peers.iter().map(|(id, ..)| *id).collect();
        let idle = listed.iter().map(|listed| listed.peer);
        let idle = idle.filter(|id| known.binary_search(id).is_err());
        peers.extend(idle.map(|id| (id, Totals::default(), PeerGauges::default())));
        peers.sort_by_key(|(id, ..)| *id);
        peers.dedup_by_key(|(id, ..)| *id);
        let upstream_peers = peers.into_iter().filter_map(|(id, totals, gauges)| {
            let PeerKey { upstream, address } = (*ledger.peer(id)?).clone();
            Some(Peer {
                upstream,
                peer: address,
                state: of_listed(&id).map(|listed| state(listed, &gauges)),
                checks: of_listed(&id).and_then(|listed| listed.checks),
                failures: gauges.failures,
                active: gauges.active,
                idle_connections: gauges.idle,
                traffic: Traffic::new(totals),
            })
        });
        Self {
            version: env!("CARGO_PKG_VERSION"),
            config_revision: registry::revision(),
            config_generation: registry::generation(),
            uptime_seconds: registry::uptime(now.milliseconds).as_secs_f64(),
            process: Process::read(),
            connections: Connections {
                accepted: total(|counters| &counters.accepted),
                handled: total(|counters| &counters.handled),
                active: total(|counters| &counters.active),
                reading: total(|counters| &counters.reading),
                writing: total(|counters| &counters.writing),
                waiting: total(|counters| &counters.waiting),
            },
            http2_requests: total(|counters| &counters.http2_requests),
            http2_floods: total(|counters| &counters.http2_floods),
            on_demand_names: OnDemandNames {
                issued: total(|counters| &counters.on_demand_issued),
                refused: total(|counters| &counters.on_demand_refused),
                failed: total(|counters| &counters.on_demand_failed),
            },
            tls_handshakes: Handshakes {
                tls12: total(|counters| &counters.tls12),
                tls13: total(|counters| &counters.tls13),
                resumed: total(|counters| &counters.tls_resumed),
                failed: total(|counters| &counters.tls_failed),
            },
            certificates: Vec::new(),
            limit_zones: Vec::new(),
            bans: ListedBans::default(),
            caches: Vec::new(),
            logins: Logins {
                ok: total(|counters| &counters.logins),
                failed: total(|counters| &counters.logins_failed),
                throttled: total(|counters| &counters.logins_throttled),
            },
            compression: [
                Compression {
                    coding: "gzip",
                    input_bytes: total(|counters| &counters.gzip.input),
                    output_bytes: total(|counters| &counters.gzip.output),
                },
                Compression {
                    coding: "br",
                    input_bytes: total(|counters| &counters.brotli.input),
                    output_bytes: total(|counters| &counters.brotli.output),
                },
                Compression {
                    coding: "zstd",
                    input_bytes: total(|counters| &counters.zstd.input),
                    output_bytes: total(|counters| &counters.zstd.output),
                },
            ],
            panics: total(|counters| &counters.panics),
            live_dropped: live::dropped(),
            routes: routes.collect(),
            upstream_peers: upstream_peers.collect(),
            upstreams: Vec::new(),
            alerts: alerts::tallies(),
            model_calls: None,
        }
    }

    fn write_caches(&self, out: &mut Exposition) {
        type Value = fn(&ListedCache) -> u64;
        let families: [(&str, &str, &str, Value); 7] = [
            ("cache_entries", "gauge", "entries", |cache| cache.entries),
            (
                "cache_size_bytes",
                "gauge",
                "what entries take on the disk",
                |cache| cache.size_bytes,
            ),
            (
                "cache_memory_bytes",
                "gauge",
                "what of the entries is in memory",
                |cache| cache.memory_bytes,
            ),
            (
                "cache_saved_bytes_total",
                "counter",
                "bytes sent from the cache",
                |cache| cache.saved_bytes,
            ),
            (
                "cache_stored_total",
                "counter",
                "entries that were stored",
                |cache| cache.stored,
            ),
            (
                "cache_abandoned_total",
                "counter",
                "answers not stored because of the disk",
                |cache| cache.abandoned,
            ),
            (
                "cache_disk_errors_total",
                "counter",
                "failures of the disk",
                |cache| cache.disk_errors,
            ),
        ];
        for (name, kind, help, value) in families {
            out.family(name, kind, help);
            for cache in &self.caches {
                out.sample("", &[("zone", &cache.zone)], value(cache));
            }
        }
        out.family(
            "cache_results_total",
            "counter",
            "requests that the cache had to do with",
        );
        for cache in &self.caches {
            for (result, count) in CacheResult::ALL.iter().zip(cache.results) {
                let labels = [("zone", &*cache.zone), ("result", result.name())];
                out.sample("", &labels, count);
            }
        }
        out.family(
            "cache_removed_total",
            "counter",
            "entries that were removed",
        );
        for cache in &self.caches {
            for (reason, count) in [
                ("evicted", cache.evicted),
                ("inactive", cache.inactive),
                ("purged", cache.purged),
                ("broken", cache.broken),
            ] {
                let labels = [("zone", &*cache.zone), ("reason", reason)];
                out.sample("", &labels, count);
            }
        }
    }

    fn text(&self) -> String {
        let mut out = Exposition::default();
        out.family("build_info", "gauge", "the version that runs");
        out.sample("", &[("version", self.version)], 1);
        out.single(
            "config_revision",
            "gauge",
            "the recorded revision in force, 0 if none is",
            self.config_revision,
        );
        out.single(
            "config_generation",
            "gauge",
            "configurations put into force, tried ones counted",
            self.config_generation,
        );
        out.single(
            "uptime_seconds",
            "gauge",
            "since the first configuration was in force",
            self.uptime_seconds,
        );
        if let Some(bytes) = self.process.resident_bytes {
            let help = "memory of the process";
            out.single("process_resident_bytes", "gauge", help, bytes);
        }
        if let Some(count) = self.process.open_fds {
            let help = "descriptors that are open";
            out.single("process_open_fds", "gauge", help, count);
        }
        if let Some(seconds) = self.process.cpu_seconds {
            let help = "processor time, user and system";
            out.single("process_cpu_seconds_total", "counter", help, seconds);
        }
        out.family("connections", "gauge", "clients' connections by state");
        for (state, count) in [
            ("reading", self.connections.reading),
            ("writing", self.connections.writing),
            ("waiting", self.connections.waiting),
        ] {
            out.sample("", &[("state", state)], count);
        }
        out.single(
            "connections_accepted_total",
            "counter",
            "connections accepted",
            self.connections.accepted,
        );
        out.single(
            "connections_handled_total",
            "counter",
            "connections not refused for want of room",
            self.connections.handled,
        );
        out.single(
            "http2_requests_total",
            "counter",
            "requests begun over HTTP/2",
            self.http2_requests,
        );
        out.single(
            "http2_floods_total",
            "counter",
            "HTTP/2 connections ended because of a flood of frames",
            self.http2_floods,
        );
        self.write_tls(&mut out);
        self.write_limits(&mut out);
        self.write_routes(&mut out);
        self.write_peers(&mut out);
        out.family(
            "compression_input_bytes_total",
            "counter",
            "bodies before they were compressed",
        );
        for each in &self.compression {
            out.sample("", &[("coding", each.coding)], each.input_bytes);
        }
        out.family(
            "compression_output_bytes_total",
            "counter",
            "bodies after they were compressed",
        );
        for each in &self.compression {
            out.sample("", &[("coding", each.coding)], each.output_bytes);
        }
        self.write_groups(&mut out);
        self.write_caches(&mut out);
        out.family("logins_total", "counter", "logins with a password");
        for (result, count) in [
            ("ok", self.logins.ok),
            ("failed", self.logins.failed),
            ("throttled", self.logins.throttled),
        ] {
            out.sample("", &[("result", result)], count);
        }
        out.single("panics_total", "counter", "caught panics", self.panics);
        out.single(
            "live_dropped_total",
            "counter",
            "requests that those who watch were not told",
            self.live_dropped,
        );
        self.write_alerts(&mut out);
        if let Some(calls) = &self.model_calls {
            calls.tallies.write(&calls.listed, &mut out);
        }
        out.finish()
    }

    fn write_tls(&self, out: &mut Exposition) {
        let handshakes = &self.tls_handshakes;
        out.family(
            "tls_handshakes_total",
            "counter",
            "TLS handshakes that came to their end",
        );
        for (protocol, count) in [("TLSv1.2", handshakes.tls12), ("TLSv1.3", handshakes.tls13)] {
            out.sample("", &[("protocol", protocol)], count);
        }
        out.single(
            "tls_handshakes_resumed_total",
            "counter",
            "TLS handshakes that resumed a session",
            handshakes.resumed,
        );
        out.single(
            "tls_handshakes_failed_total",
            "counter",
            "TLS handshakes that failed or were given up",
            handshakes.failed,
        );
        let help = "names that clients brought to servers with acme_on_demand";
        out.family("on_demand_names_total", "counter", help);
        let names = &self.on_demand_names;
        let outcomes = [
            ("issued", names.issued),
            ("refused", names.refused),
            ("failed", names.failed),
        ];
        for (outcome, count) in outcomes {
            out.sample("", &[("outcome", outcome)], count);
        }
        let help = "when a certificate ends, in seconds since 1970";
        out.family("certificate_expiry_seconds", "gauge", help);
        for it in &self.certificates {
            out.sample("", &[("name", &it.name), ("key", &it.key)], it.expiry);
        }
        let help = "attempts to get a certificate that failed since the last that did not";
        out.family("certificate_failures", "gauge", help);
        for it in &self.certificates {
            out.sample("", &[("name", &it.name), ("key", &it.key)], it.failures);
        }
    }

    fn write_limits(&self, out: &mut Exposition) {
        out.family(
            "limit_requests_total",
            "counter",
            "requests that a zone let pass or refused",
        );
        for it in &self.limit_zones {
            let labels = [("zone", it.zone.as_str()), ("kind", it.kind)];
            let results = [
                ("passed", it.passed),
                ("delayed", it.delayed),
                ("refused", it.refused),
            ];
            for (result, count) in results {
                out.sample("", &[labels[0], labels[1], ("result", result)], count);
            }
        }
        out.family("limit_keys", "gauge", "keys that a zone holds");
        for it in &self.limit_zones {
            out.sample("", &[("zone", &it.zone), ("kind", it.kind)], it.keys);
        }
        out.family("limit_bytes", "gauge", "memory that a zone takes");
        for it in &self.limit_zones {
            out.sample("", &[("zone", &it.zone), ("kind", it.kind)], it.bytes);
        }
        let bans = &self.bans;
        out.family("bans", "gauge", "clients that are kept out");
        out.sample("", &[("origin", "people")], bans.of_people);
        out.sample("", &[("origin", "auto_ban")], bans.by_itself);
        out.single(
            "auto_bans_total",
            "counter",
            "bans that auto_ban made",
            bans.made_by_itself,
        );
        out.single(
            "bans_turned_away_total",
            "counter",
            "connections and requests of clients that are kept out",
            bans.turned_away,
        );
    }

    fn write_alerts(&self, out: &mut Exposition) {
        let alerts = &self.alerts;
        let help = "alerts that were raised and kept";
        out.family("alerts_raised_total", "counter", help);
        for (kind, count) in &alerts.raised {
            out.sample("", &[("kind", kind)], *count);
        }
        type Value = fn(&alerts::Tally) -> u64;
        let families: [(&str, &str, Value); 3] = [
            (
                "alerts_delivered_total",
                "alerts that a receiver took",
                |tally| tally.delivered,
            ),
            (
                "alerts_failed_total",
                "tries to tell one that failed",
                |tally| tally.failed,
            ),
            (
                "alerts_parked_total",
                "alerts that were given up",
                |tally| tally.parked,
            ),
        ];
        for (name, help, value) in families {
            out.family(name, "counter", help);
            for (receiver, tally) in &alerts.receivers {
                out.sample("", &[("receiver", receiver)], value(tally));
            }
        }
        let help = "tellings that are still to be made";
        out.single("alerts_waiting", "gauge", help, alerts.waiting);
        let help = "tellings that were given up and are kept";
        out.single("alerts_parked", "gauge", help, alerts.parked);
        let help = "alerts that are no good news and that nobody has acknowledged";
        out.single("alerts_unseen", "gauge", help, alerts.unseen);
    }

    fn write_routes(&self, out: &mut Exposition) {
        fn labels(route: &Route) -> [(&'static str, &str); 3] {
            [
                ("server", &route.server),
                ("listen", &route.listen),
                ("location", &route.location),
            ]
        }
        out.family("requests_total", "counter", "requests that ended");
        for route in &self.routes {
            let [server, listen, location] = labels(route);
            for (class, count) in CLASSES.into_iter().zip(route.traffic.classes) {
                out.sample("", &[server, listen, location, ("class", class)], count);
            }
        }
        out.family("received_bytes_total", "counter", "bytes from clients");
        for route in &self.routes {
            out.sample("", &labels(route), route.traffic.received_bytes);
        }
        out.family("sent_bytes_total", "counter", "bytes to clients");
        for route in &self.routes {
            out.sample("", &labels(route), route.traffic.sent_bytes);
        }
        out.family(
            "request_duration_seconds",
            "histogram",
            "from a request's first byte to its end",
        );
        for route in &self.routes {
            out.histogram(&labels(route), &route.traffic);
        }
        out.family(
            "request_upstream_seconds_total",
            "counter",
            "of the time of requests, what passed with peers",
        );
        for route in &self.routes {
            out.sample("", &labels(route), route.upstream_seconds);
        }
        type Value = fn(&Route) -> u64;
        let of_cache: [(&str, &str, Value); 2] = [
            (
                "request_cache_lookups_total",
                "requests for which a cache was looked into",
                |route| route.cache_lookups,
            ),
            (
                "request_cache_hits_total",
                "requests whose answer was the cache's",
                |route| route.cache_hits,
            ),
        ];
        for (name, help, value) in of_cache {
            out.family(name, "counter", help);
            for route in self.routes.iter().filter(|route| route.cache_lookups > 0) {
                out.sample("", &labels(route), value(route));
            }
        }
    }

    fn write_peers(&self, out: &mut Exposition) {
        fn labels(peer: &Peer) -> [(&'static str, &str); 2] {
            [("upstream", &peer.upstream), ("peer", &peer.peer)]
        }
        out.family("upstream_attempts_total", "counter", "tries at a peer");
        for peer in &self.upstream_peers {
            let [upstream, address] = labels(peer);
            for (class, count) in CLASSES.into_iter().zip(peer.traffic.classes) {
                out.sample("", &[upstream, address, ("class", class)], count);
            }
        }
        type Value = fn(&Peer) -> u64;
        let plain: [(&str, &str, &str, Value); 5] = [
            (
                "upstream_failures_total",
                "counter",
                "what max_fails counts",
                |peer| peer.failures,
            ),
            (
                "upstream_received_bytes_total",
                "counter",
                "bytes from a peer",
                |peer| peer.traffic.received_bytes,
            ),
            (
                "upstream_sent_bytes_total",
                "counter",
                "bytes to a peer",
                |peer| peer.traffic.sent_bytes,
            ),
            ("upstream_active", "gauge", "requests under way", |peer| {
                peer.active
            }),
            (
                "upstream_idle_connections",
                "gauge",
                "connections kept",
                |peer| peer.idle_connections,
            ),
        ];
        for (name, kind, help, value) in plain {
            out.family(name, kind, help);
            for peer in &self.upstream_peers {
                out.sample("", &labels(peer), value(peer));
            }
        }
        out.family(
            "upstream_duration_seconds",
            "histogram",
            "from the start of a try to its end",
        );
        for peer in &self.upstream_peers {
            out.histogram(&labels(peer), &peer.traffic);
        }
        out.family(
            "upstream_peer_state",
            "gauge",
            "1 for the state that a peer is in",
        );
        for peer in &self.upstream_peers {
            let Some(holds) = peer.state else { continue };
            let [upstream, address] = labels(peer);
            for state in STATES {
                let value = u64::from(state == holds);
                out.sample("", &[upstream, address, ("state", state)], value);
            }
        }
        out.family("upstream_checks_total", "counter", "active checks");
        for peer in &self.upstream_peers {
            let [upstream, address] = labels(peer);
            for (result, count) in RESULTS.into_iter().zip(peer.checks.iter().flatten()) {
                out.sample("", &[upstream, address, ("result", result)], *count);
            }
        }
    }

    fn write_groups(&self, out: &mut Exposition) {
        fn label(group: &ListedGroup) -> (&'static str, &str) {
            ("upstream", &group.upstream)
        }
        out.family(
            "upstream_breaker_state",
            "gauge",
            "1 for the phase that a circuit is in",
        );
        for group in &self.upstreams {
            let Some((holds, _)) = group.breaker else {
                continue;
            };
            for phase in PHASES {
                let value = u64::from(phase == holds);
                out.sample("", &[label(group), ("state", phase)], value);
            }
        }
        type Value = fn(&ListedGroup) -> Option<u64>;
        let plain: [(&str, &str, &str, Value); 3] = [
            (
                "upstream_breaker_opened_total",
                "counter",
                "how often a circuit opened",
                |group| group.breaker.map(|(_, opened)| opened),
            ),
            (
                "upstream_queue_waiting",
                "gauge",
                "requests that wait for a peer",
                |group| group.queue.map(|(waiting, _)| waiting),
            ),
            (
                "upstream_queue_refused_total",
                "counter",
                "requests that were turned away from the queue",
                |group| group.queue.map(|(_, refused)| refused),
            ),
        ];
        for (name, kind, help, value) in plain {
            out.family(name, kind, help);
            for group in &self.upstreams {
                if let Some(value) = value(group) {
                    out.sample("", &[label(group)], value);
                }
            }
        }
    }
}

impl Process {
    fn read() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").ok();
        let resident = status.as_deref().and_then(|status| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("VmRSS:"))?;
            let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
            Some(kibibytes << 10)
        });
        let open = std::fs::read_dir("/proc/self/fd").ok();
        let usage = getrusage(UsageWho::RUSAGE_SELF).ok();
        Self {
            resident_bytes: resident,
            // The one that reads the directory is not counted.
            open_fds: open.map(|entries| (entries.count() as u64).saturating_sub(1)),
            cpu_seconds: usage.map(|usage| {
                let micros =
                    usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
                micros as f64 / 1e6
            }),
        }
    }
}

/// Text in the exposition format.
#[derive(Default)]
pub(super) struct Exposition {
    text: String,
    /// What the name of the family starts with.
    prefix: &'static str,
    /// The name of the family that is written.
    name: &'static str,
}

/// What every name starts with.
const PREFIX: &str = "openclaw_";

impl Exposition {
    /// Begins a family; all its samples follow.
    pub(super) fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        self.begin(PREFIX, name, kind, help);
    }

    /// A family whose whole name others have chosen.
    pub(super) fn foreign_family(&mut self, name: &'static str, kind: &str, help: &str) {
        self.begin("", name, kind, help);
    }

    fn begin(&mut self, prefix: &'static str, name: &'static str, kind: &str, help: &str) {
        (self.prefix, self.name) = (prefix, name);
        let _ = write!(
            self.text,
            "# HELP {prefix}{name} {help}\n# TYPE {prefix}{name} {kind}\n"
        );
    }

    /// All of it.
    pub(super) fn finish(self) -> String {
        self.text
    }

    /// A family of one sample without labels.
    pub(super) fn single(
        &mut self,
        name: &'static str,
        kind: &str,
        help: &str,
        value: impl Display,
    ) {
        self.family(name, kind, help);
        self.sample("", &[], value);
    }

    pub(super) fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.text, "{}{}{suffix}", self.prefix, self.name);
        for (position, (name, value)) in labels.iter().enumerate() {
            let before = if position == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{before}{name}=\"{}\"", Escaped(value));
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{end} {value}");
    }

    fn histogram(&mut self, labels: &[(&'static str, &str)], traffic: &Traffic) {
        let mut all = labels.to_vec();
        for (limit, told) in LIMITS {
            all.push(("le", told));
            self.sample("_bucket", &all, traffic.latency.up_to(limit));
            all.pop();
        }
        // Of the buckets, not of the requests: a reader may look between the two.
        let count = traffic.latency.count();
        all.push(("le", "+Inf"));
        self.sample("_bucket", &all, count);
        self.sample("_sum", labels, traffic.seconds);
        self.sample("_count", labels, count);
    }
}

/// The value of a label: backslash, quote and line feed are escaped.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '\\' => formatter.write_str("\\\\")?,
                '"' => formatter.write_str("\\\"")?,
                '\n' => formatter.write_str("\\n")?,
                other => formatter.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::traffic::{Ended, RouteId};
    use super::*;

    const MILLISECOND: u64 = 1_000_000;

    fn ended(status: u16, milliseconds: u64) -> Ended {
        Ended {
            status,
            received: 100,
            sent: 2000,
            time: milliseconds * MILLISECOND,
            upstream_time: milliseconds * MILLISECOND / 2,
            was_cached: None,
        }
    }

    fn numbers(listed: &[Listed]) -> Numbers {
        let ledger: &'static Ledger = Box::leak(Box::default());
        let writer = ledger.writer();
        for (status, milliseconds, was_cached) in [
            (200, 1, Some(true)),
            (200, 3, Some(true)),
            (502, 6, Some(false)),
            (0, 60_000, None),
        ] {
            let request = Ended {
                was_cached,
                ..ended(status, milliseconds)
            };
            writer.count_request(RouteId::OTHER, &request);
            writer.count_attempt(PeerId::OTHER, &ended(status, milliseconds));
        }
        Numbers::collect(ledger, listed, Moment::default())
    }

    fn listed(is_down: bool, is_draining: bool) -> Listed {
        Listed {
            peer: PeerId::OTHER,
            is_down,
            is_draining,
            held: None,
            checks: None,
        }
    }

    #[test]
    fn a_route_is_told_by_class_bytes_and_time() {
        let text = numbers(&[]).text();
        let of = r#"server="other",listen="other",location="other""#;
        for line in [
            format!(r#"openclaw_requests_total{{{of},class="2xx"}} 2"#),
            format!(r#"openclaw_requests_total{{{of},class="5xx"}} 1"#),
            format!(r#"openclaw_requests_total{{{of},class="none"}} 1"#),
            format!("openclaw_received_bytes_total{{{of}}} 400"),
            format!("openclaw_sent_bytes_total{{{of}}} 8000"),
            format!(r#"openclaw_request_duration_seconds_bucket{{{of},le="0.001"}} 1"#),
            format!(r#"openclaw_request_duration_seconds_bucket{{{of},le="0.0025"}} 1"#),
            format!(r#"openclaw_request_duration_seconds_bucket{{{of},le="0.005"}} 2"#),
            format!(r#"openclaw_request_duration_seconds_bucket{{{of},le="0.01"}} 3"#),
            format!(r#"openclaw_request_duration_seconds_bucket{{{of},le="10.24"}} 3"#),
            format!(r#"openclaw_request_duration_seconds_bucket{{{of},le="+Inf"}} 4"#),
            format!("openclaw_request_duration_seconds_sum{{{of}}} 60.01"),
            format!("openclaw_request_duration_seconds_count{{{of}}} 4"),
            format!("openclaw_request_upstream_seconds_total{{{of}}} 30.005"),
            format!("openclaw_request_cache_lookups_total{{{of}}} 3"),
            format!("openclaw_request_cache_hits_total{{{of}}} 2"),
            r#"openclaw_upstream_attempts_total{upstream="other",peer="other",class="5xx"} 1"#
                .to_owned(),
        ] {
            assert!(text.lines().any(|told| told == line), "{line}\nin\n{text}");
        }
        assert!(!text.contains("peer_state{"), "no such peer is configured");
    }

    #[test]
    fn a_peer_of_the_configuration_is_in_one_state() {
        for (is_down, is_draining, expected) in [
            (false, false, "up"),
            (false, true, "draining"),
            (true, true, "down"),
        ] {
            let text = numbers(&[listed(is_down, is_draining)]).text();
            for state in STATES {
                let value = u8::from(state == expected);
                let of = format!(r#"upstream="other",peer="other",state="{state}""#);
                let line = format!("openclaw_upstream_peer_state{{{of}}} {value}\n");
                assert!(text.contains(&line), "{line}\nin\n{text}");
            }
        }
        let failed = PeerGauges {
            left_out: 1,
            ..PeerGauges::default()
        };
        assert_eq!(state(&listed(false, false), &failed), "failed");
        assert_eq!(state(&listed(true, false), &failed), "down");
        let unhealthy = Listed {
            held: Some("unhealthy"),
            checks: Some([7, 3]),
            ..listed(false, false)
        };
        assert_eq!(state(&unhealthy, &failed), "unhealthy");
        let text = numbers(&[unhealthy]).text();
        let line =
            r#"openclaw_upstream_checks_total{upstream="other",peer="other",result="fail"} 3"#;
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn a_label_cannot_end_its_quotes_or_its_line() {
        let mut out = Exposition::default();
        out.family("requests_total", "counter", "x");
        out.sample("", &[("location", "~ \\.php$\"} 1\n")], 7);
        let line = out.text.lines().last().expect("a line");
        let escaped = r#"openclaw_requests_total{location="~ \\.php$\"} 1\n"} 7"#;
        assert_eq!(line, escaped);
    }

    #[test]
    fn every_name_of_the_table_is_told_and_no_other() {
        let numbers = Numbers {
            model_calls: Some(ModelCalls {
                listed: ListedCalls::default(),
                tallies: Tallies::default(),
            }),
            ..numbers(&[listed(false, false)])
        };
        let mut told: Vec<String> = (numbers.text().lines())
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .map(str::to_owned)
            .collect();
        let mut documented: Vec<String> = include_str!("prometheus.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("//! | `"))
            .filter_map(|row| {
                let mut cells = row.split('|');
                let name = cells.next()?.trim().trim_end_matches('`');
                Some(format!("{name} {}", cells.next()?.trim()))
            })
            .collect();
        told.sort();
        documented.sort();
        assert_eq!(told, documented);
    }

    #[test]
    fn the_limits_are_what_they_are_called() {
        for (limit, told) in LIMITS {
            let seconds: f64 = told.parse().expect("a number");
            assert_eq!((seconds * 1e9).round() as u64, limit);
            let mut counted = Snapshot::default();
            counted.record(limit);
            counted.record(limit + 1);
            assert_eq!(counted.up_to(limit), 1, "{told} is the bound of a bucket");
        }
    }

    #[test]
    fn as_json_it_is_one_object_with_the_same_numbers() {
        let text = serde_json::to_string(&numbers(&[])).expect("plain data");
        let value: serde_json::Value = serde_json::from_str(&text).expect("parses");
        assert_eq!(value["routes"][0]["count"], 4);
        assert_eq!(value["routes"][0]["classes"][2], 2);
        assert_eq!(value["upstream_peers"][0]["sent_bytes"], 8000);
        assert_eq!(value["upstream_peers"][0]["state"], serde_json::Value::Null);
        assert!(value["process"]["resident_bytes"].as_u64() > Some(1 << 20));
    }
}
