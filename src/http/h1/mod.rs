//! HTTP/1.1 on the wire.
//!
//! Owns the octets of the protocol: heads, the length of a body, chunks, status lines. Pure functions
//! over byte slices; reading, writing, time and policy stand elsewhere. What these parsers accept has
//! exactly one meaning: where RFC 9112 lets a recipient repair a message, it is refused, because two
//! recipients that repair differently are how requests are smuggled.

pub mod chunked;
pub mod framing;
pub mod parse;
mod scan;
pub mod write;
