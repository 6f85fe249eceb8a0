//! The header that a proxy sends before the bytes of a client, where one is awaited.

use std::io;
use std::rc::Rc;
use std::task::{Poll, ready};

use super::connection;
use super::worker::Worker;
use crate::conf::typed::listen::Address;
use crate::conf::typed::log::Level;
use crate::http::exchange::Connection;
use crate::log::error_log;
use crate::net::deadline::Deadline;
use crate::net::proxy_protocol::{HeaderError, LONGEST, Progress, parse};
use crate::net::stream::Stream;

/// What is read at once: a header of the usual size, and most first messages behind it.
const READ: usize = 1 << 10;

/// Reads the header, within the time that a request's head has, and keeps what it says in the
/// connection. What was read behind it is handed back; `None` if the connection is to be closed.
pub async fn read(
    worker: &Rc<Worker>,
    io: &mut Stream,
    connection: &mut Connection,
    listen: &Rc<Address>,
) -> Option<Vec<u8>> {
    let local = worker.local();
    let listening = local.generation.listen(listen, &connection.local)?;
    let (_, server) = connection::default_server(&local, listening);
    let deadline = Deadline::new();
    deadline.set(server.reading.header_timeout);
    let mut bytes = Vec::new();
    let read = deadline
        .guard(|context| {
            loop {
                match parse(&bytes) {
                    Ok(Progress::Partial) => {}
                    Ok(Progress::Complete(length, header)) => {
                        return Poll::Ready(Ok(Ok((length, header))));
                    }
                    Err(error) => return Poll::Ready(Ok(Err(error))),
                }
                debug_assert!(bytes.len() < LONGEST, "the parser knows by then");
                if ready!(io.poll_read_into(context, &mut bytes, READ))? == 0 {
                    let end = io::Error::from(io::ErrorKind::UnexpectedEof);
                    return Poll::Ready(Err(end));
                }
            }
        })
        .await;
    let told = |level: Level, what: std::fmt::Arguments<'_>| {
        error_log::report(
            level,
            format_args!(
                "{what} while reading PROXY protocol, client: {}, server: {}",
                connection.remote_text, connection.local
            ),
        );
    };
    match read {
        Some(Ok(Ok((length, header)))) => {
            connection.proxied = header.map(Rc::new);
            bytes.drain(..length);
            return Some(bytes);
        }
        Some(Ok(Err(HeaderError::Broken))) => {
            let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
            let end = bytes.iter().position(is_end).unwrap_or(bytes.len());
            let line = bytes[..end].escape_ascii();
            told(Level::Error, format_args!("broken header: \"{line}\""));
        }
        Some(Ok(Err(error))) => told(Level::Error, format_args!("{error}")),
        // Somebody looked whether the port is open.
        Some(Err(_)) if bytes.is_empty() => {}
        Some(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
            told(Level::Info, format_args!("client closed connection"));
        }
        Some(Err(error)) => told(Level::Info, format_args!("{error}")),
        None => told(
            Level::Info,
            format_args!("client timed out (110: Connection timed out)"),
        ),
    }
    None
}
