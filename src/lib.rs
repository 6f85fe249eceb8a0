//! OpenClaw: a personal proxy appliance that speaks the nginx configuration language.
//!
//! # The map
//!
//! Imports point down only; `tests/floors.rs` enforces it.
//!
//! | floor | module | owns |
//! | --- | --- | --- |
//! | 0 | [`unit`] | sizes, times and their spelling |
//! | 1 | [`conf`] | text → tree → typed value; no sockets, no runtime |
//! | 4 | [`route`] | which server, which location, and what a request is rewritten to |
//! | 4 | [`access`] | may a request pass |
pub mod access;
pub mod cli;
pub mod conf;
pub mod files;
pub mod filter;
pub mod http;
pub mod log;
pub mod metrics;
pub mod net;
pub mod process;
pub mod route;
pub mod serve;
pub mod unit;
pub mod upstream;
