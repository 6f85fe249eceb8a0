//! HTTP/2 on the wire, as far as the engine leaves it to us.
//!
//! The crate h2 reads and writes frames, compresses fields and keeps the states of streams. What
//! stands here is what it does not do: watching what a client asks for besides work, and reading a
//! request's fields as strictly as those of HTTP/1.

pub mod frame_meter;
pub mod request;
