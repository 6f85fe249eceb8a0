//! Counting: numbers that a worker writes without a lock and anybody may read.

pub mod registry;
