//! HTTP/1.1 codec.
pub mod write;
