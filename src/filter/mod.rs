//! What is done to an answer on its way out, in the order written here: fields ([`headers`]), then the
//! body ([`begin`] decides by the fields what is done to it, a [`chain`] does it), then ranges
//! ([`crate::http::range`]) of bodies that nothing is done to.
//!
//! Owns no content. Invariant: a value that came from outside ends no line of the head.

pub mod begin;
pub mod chain;
pub mod compress;
pub mod cors;
mod decompress;
pub mod header_edits;
pub mod headers;
pub mod substitute;
