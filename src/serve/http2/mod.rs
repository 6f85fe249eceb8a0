//! HTTP/2 with a client: each stream becomes an exchange like any other.
//!
//! [`connection`] moves bytes between the socket and the session, knows how long which client may take
//! for what, and drives the exchanges; [`places`] are where these run; [`stream`] is the client's side
//! of one exchange, [`tunnel`] its bytes once it has become a WebSocket.
//!
//! All streams of a connection run inside its one task. So whatever several of them have to say in one
//! turn of the event loop, answers and lines of the log, goes out in one write, and a stream costs no
//! task of its own.

mod connection;
mod places;
mod stream;
mod tunnel;

use std::cell::RefCell;

pub use connection::run;
pub use stream::Http2;

use crate::http::h2::session::Session;

/// What a connection and its streams share. Nobody keeps it borrowed while another one runs.
#[derive(Debug)]
struct Shared {
    session: RefCell<Session>,
}
