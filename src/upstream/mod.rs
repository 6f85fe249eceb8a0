//! To whom a request goes: groups of peers, the choice among them, and the idle connections kept.
//!
//! Owns the peers of every `upstream {}`, what is known of their health, and the names behind them;
//! does not connect, send, or decide what counts as a failure. A worker builds one [`group::Group`]
//! per upstream over the [`group::Peers`] that all workers share. A peer that was chosen is held as
//! a [`group::Selected`], which gives its place back exactly once, however the request ends.

pub mod balance;
pub mod circuit;
pub mod group;
pub mod hash;
pub mod health;
pub mod multiplexed;
pub mod pool;
pub mod queue;
pub mod refresh;
pub mod sticky;

#[cfg(test)]
mod fixture;
