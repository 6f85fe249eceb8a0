//! What is done to an answer on its way out, in the order written here: fields, then ranges
//! ([`crate::http::range`]), which look at the fields.
//!
//! Owns no content. Invariant: a value that came from outside ends no line of the head.

pub mod headers;
