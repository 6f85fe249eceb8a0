//! The beginning of a client's connection where TLS is spoken: which server answers, and what the
//! handshake came to.

use std::rc::Rc;
use std::sync::Arc;

use rustls::HandshakeKind;

use super::connection;
use super::worker::Worker;
use crate::acme::challenges;
use crate::conf::typed::listen::Address;
use crate::conf::typed::log::Level;
use crate::http::exchange::{Connection, Exchange, Secured};
use crate::log::error_log;
use crate::net;
use crate::net::deadline::Deadline;
use crate::tls::openssl;
use crate::tls::stream::{Secure, Stream};
use crate::tls::terminator::{Greeted, Greeting, HandshakeError, Hello};

/// What a client's connection became.
pub enum Accepted {
    /// HTTP/1 over TLS.
    Http1(Stream),
    /// HTTP/2 over TLS.
    Http2(Stream),
    /// It does not speak TLS.
    Plain {
        /// The connection.
        io: net::stream::Stream,
        /// What was read of it.
        read: Vec<u8>,
    },
}

/// Reads what a client begins with, chooses the server that it names and shakes hands; within the
/// time that a request's head has. `None` when there is nothing more to be done with it.
pub async fn accept(
    worker: &Rc<Worker>,
    io: net::stream::Stream,
    connection: &mut Connection,
    listen: &Rc<Address>,
) -> Option<Accepted> {
    let local = worker.local();
    let listening = local.generation.listen(listen, &connection.local)?;
    let (position, server) = connection::default_server(&local, listening);
    let deadline = Deadline::new();
    deadline.set(server.reading.header_timeout);
    let told = |error: &HandshakeError| {
        error_log::report(
            Level::Info,
            format_args!(
                "{error} while SSL handshaking, client: {}, server: {}",
                connection.remote_text, connection.local
            ),
        );
    };
    let mut greeting = Greeting::new(io, Vec::new());
    let hello = match deadline.guard(|context| greeting.poll(context)).await {
        Some(Ok(Greeted::Hello(hello))) => hello,
        Some(Ok(Greeted::Plain { io, read })) => return Some(Accepted::Plain { io, read }),
        Some(Err(error)) => {
            told(&error);
            return None;
        }
        None => {
            told(&HandshakeError::Io(std::io::ErrorKind::TimedOut.into()));
            return None;
        }
    };
    let name: Box<str> = {
        let client = hello.client();
        let name = client.server_name().unwrap_or_default();
        name.trim_end_matches('.').to_ascii_lowercase().into()
    };
    let asks_for_proof = hello
        .client()
        .alpn()
        .is_some_and(|mut offered| offered.any(|protocol| protocol == challenges::PROTOCOL));
    let challenged = match asks_for_proof {
        true => local.generation.acme.challenges().handshake(&name),
        false => None,
    };
    let is_challenge = challenged.is_some();
    let config = match challenged {
        Some(config) => config,
        None => {
            let position = match name.is_empty() {
                true => position,
                false => {
                    let http = Arc::clone(&local.generation.http);
                    let exchange =
                        Exchange::new(Rc::new(connection.clone()), http, Arc::clone(server));
                    local
                        .generation
                        .routes
                        .server(listening, name.as_bytes(), &exchange)
                }
            };
            Arc::clone(local.generation.terminator(position)?.config())
        }
    };
    let mut secure = match shake_hands(hello, config, &deadline).await {
        Ok(secure) => secure,
        Err(error) => {
            told(&error);
            return None;
        }
    };
    if is_challenge {
        // The handshake was all (RFC 8737 section 3).
        let mut stream = Stream::Secure(Box::new(secure));
        stream.say_goodbye();
        return None;
    }
    let session = secure.session();
    let is_http2 = session.alpn_protocol() == Some(b"h2");
    connection.secured = Some(Box::new(Secured {
        protocol: session.protocol_version().map_or("", openssl::version),
        cipher: (session.negotiated_cipher_suite())
            .map_or("", |suite| openssl::suite(suite.suite())),
        curve: (session.negotiated_key_exchange_group())
            .map_or("", |group| openssl::group(group.name())),
        server_name: name,
        alpn_protocol: String::from_utf8_lossy(session.alpn_protocol().unwrap_or_default()).into(),
        is_resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
    }));
    secure.session_mut().set_buffer_limit(Some(64 << 10));
    let stream = Stream::Secure(Box::new(secure));
    Some(match is_http2 {
        true => Accepted::Http2(stream),
        false => Accepted::Http1(stream),
    })
}

async fn shake_hands(
    hello: Hello,
    config: Arc<rustls::ServerConfig>,
    deadline: &Deadline,
) -> Result<Secure, HandshakeError> {
    let mut secure = hello.answer(config)?;
    match deadline
        .guard(|context| secure.poll_handshake(context))
        .await
    {
        Some(Ok(())) => Ok(secure),
        Some(Err(error)) => Err(HandshakeError::of(error)),
        None => Err(HandshakeError::Io(std::io::ErrorKind::TimedOut.into())),
    }
}
