//! The typed value of a configuration: everything parsed, inherited and resolved; no text left to
//! interpret, no socket opened, no file but the configuration itself read.
//!
//! Inheritance is nginx's: a value that a level does not set comes from the level around it; a list
//! is inherited whole, and only if the level sets none.

pub mod access;
pub mod acme;
pub mod acme_dns;
pub mod alerts;
pub mod bans;
pub mod cache_path;
pub mod cors;
pub mod filters;
pub mod header_edits;
pub mod health;
pub mod hostnames;
pub mod limits;
pub mod listen;
pub mod llm;
pub mod llm_log;
pub mod llm_money;
pub mod location;
pub mod log;
pub mod lower;
pub mod map;
pub mod on_demand;
pub mod places;
pub mod process;
pub mod proxy;
pub mod proxy_cache;
pub mod secret;
pub mod tls;
pub mod upstream;

use std::sync::Arc;

use super::variable::Names;
use acme_dns::DnsProvider;
use cache_path::CachePath;
use listen::Listen;
use llm::Llm;
use location::Server;
use map::{Geo, Map, SplitClients};
use places::{Place, PlaceProxies};
use process::Process;
use upstream::Upstream;

/// A whole configuration.
#[derive(Debug)]
pub struct Config {
    /// What concerns the process and not a request.
    pub process: Process,
    /// What `http {}` holds; without one, nothing is served.
    pub http: Http,
}

/// `http {}`.
#[derive(Debug, Default)]
pub struct Http {
    /// Every `server {}`, in order.
    pub servers: Vec<Arc<Server>>,
    /// Every distinct address with its options and the servers that listen there.
    pub listens: Vec<Listen>,
    /// Every `upstream {}` in order, then one for each address that a `proxy_pass` names directly.
    pub upstreams: Vec<Arc<Upstream>>,
    /// Every `proxy_cache_path`.
    pub caches: Vec<Arc<CachePath>>,
    /// `map {}` blocks; [`super::variable::Source::Map`] counts them.
    pub maps: Vec<Map>,
    /// `geo {}` blocks.
    pub geos: Vec<Geo>,
    /// `split_clients {}` blocks.
    pub splits: Vec<SplitClients>,
    /// The zones of `limit_req_zone` and `limit_conn_zone`.
    pub limit_zones: limits::LimitZones,
    /// Variables of `geoip2 {}` blocks; [`super::variable::Source::Place`] counts them.
    pub places: Vec<Place>,
    /// `geoip2_proxy` and what belongs to it.
    pub place_proxies: PlaceProxies,
    /// `llm_provider` and `llm_model`.
    pub llm: Llm,
    /// `alert` and `alert_heartbeat`.
    pub alerts: alerts::Alerts,
    /// Every `dns_provider {}`.
    pub dns_providers: Vec<Arc<DnsProvider>>,
    /// The variables that the configuration defines.
    pub names: Names,
}
