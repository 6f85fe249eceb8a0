//! HTTP/2 with a client, as bytes (RFC 9113).
//!
//! [`session`] is one connection without its socket: bytes go in and come out, streams begin, move and
//! end. [`frame`] are the frames, [`out`] those that wait to be written, [`hpack`] the fields in them; [`request`] makes of the fields of a
//! request the head that HTTP/1 would have had, and [`points`] counts what a client asks for besides
//! work.

pub mod frame;
pub mod hpack;
pub mod out;
pub mod points;
pub mod request;
pub mod session;
