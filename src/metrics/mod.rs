//! Counting: numbers that a worker writes without a lock and anybody may read.
//!
//! A worker writes with plain loads and stores into places that are its own ([`registry`],
//! [`traffic`], [`cache`], [`histogram`]); readers sum over the workers. What happened over a time is worked
//! out by one reader that looks once a second ([`window`]). Single requests are told to those who
//! watch ([`live`]), calls of language models are counted when they have ended ([`model_calls`]), all numbers to monitoring ([`prometheus`]).

pub mod alerts;
pub mod cache;
pub mod histogram;
pub mod live;
pub mod model_calls;
pub mod prometheus;
pub mod registry;
pub mod traffic;
pub mod window;
