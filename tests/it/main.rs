//! Tests of the running program, on real sockets and with real peers.
//!
//! `support` holds servers, clients and backends; every other module is a subject. All of them run
//! against `openclaw`, or against the program that `OPENCLAW_UNDER_TEST` names.

mod access;
mod acme;
mod acme_on_demand;
mod assets;
mod bans;
mod bodies;
mod cache;
mod cache_store;
mod certificate_list;
mod certificates;
mod cli;
mod compression;
mod conf_cases;
mod connections;
mod control;
mod dashboard;
mod floors;
mod gateway;
mod grpc;
mod health;
mod hop_by_hop;
mod http2;
mod http2_bodies;
mod http2_conformance;
mod http2_limits;
mod install;
mod keys;
mod life;
mod limits;
mod lint;
mod llm_cases;
mod load;
mod login;
mod metrics;
mod oracle;
mod peer_http2;
mod peer_tls;
mod places;
mod process;
mod proxied;
mod rate_limits;
mod service;
mod slow_clients;
mod smuggling;
mod support;
mod tls;
mod tls_audit;
mod tls_client_status;
mod tls_clients;
mod tls_offer;
mod tls_sessions;
mod tls_stapling;
mod words;
