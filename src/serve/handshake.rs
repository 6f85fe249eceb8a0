//! The beginning of a client's connection where TLS is spoken: which server answers, and what the
//! handshake came to.

use std::future::Future as _;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use rustls::HandshakeKind;

use super::connection;
use super::worker::Worker;
use crate::conf::typed::listen::Address;
use crate::conf::typed::log::Level;
use crate::http::exchange::{Connection, Exchange, Secured};
use crate::http::variables;
use crate::log::error_log;
use crate::net;
use crate::net::deadline::Deadline;
use crate::tls::stream::{Secure, Stream};
use crate::tls::terminator::{Greeted, Greeting, HandshakeError, Hello, Terminator};
use crate::tls::{computed, openssl};

/// The protocol of a challenge (RFC 8737 section 6.2).
const ACME: &[u8] = b"acme-tls/1";

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

/// Reads what a client begins with, of which `read` was read already, chooses the server that it
/// names and shakes hands; within the time that a request's head has. `None` when there is nothing
/// more to be done with it.
pub async fn accept(
    worker: &Rc<Worker>,
    io: net::stream::Stream,
    read: Vec<u8>,
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
    let mut greeting = Greeting::new(io, read);
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
        .is_some_and(|mut offered| offered.any(|protocol| protocol == ACME));
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
            let terminator = local.generation.terminator(position)?;
            if terminator.computed().is_empty() {
                Arc::clone(terminator.config())
            } else {
                let http = Arc::clone(&local.generation.http);
                let server = Arc::clone(&http.servers[position]);
                let mut asking = connection.clone();
                asking.secured = Some(Rc::new(Secured {
                    server_name: name.clone(),
                    ..Secured::default()
                }));
                let exchange = Exchange::new(Rc::new(asking), http, server);
                let mut loading = pin!(computed(terminator, &name, &exchange));
                match deadline
                    .guard(|context| loading.as_mut().poll(context))
                    .await
                {
                    Some(Ok(config)) => config,
                    Some(Err(error)) => {
                        let message = format_args!("{error} while SSL handshaking");
                        local.log(&exchange, Level::Error, message);
                        return None;
                    }
                    None => {
                        told(&HandshakeError::Io(std::io::ErrorKind::TimedOut.into()));
                        return None;
                    }
                }
            }
        }
    };
    let secure = match shake_hands(hello, config, &deadline).await {
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
    connection.secured = Some(Rc::new(Secured {
        protocol: session.protocol_version().map_or("", openssl::version),
        cipher: (session.negotiated_cipher_suite())
            .map_or("", |suite| openssl::suite(suite.suite())),
        curve: (session.negotiated_key_exchange_group())
            .map_or("", |group| openssl::group(group.name())),
        server_name: name,
        alpn_protocol: String::from_utf8_lossy(session.alpn_protocol().unwrap_or_default()).into(),
        is_resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
    }));
    let stream = Stream::Secure(Box::new(secure));
    Some(match is_http2 {
        true => Accepted::Http2(stream),
        false => Accepted::Http1(stream),
    })
}

/// What is offered to a client where certificates stand at computed paths: those that could be loaded.
async fn computed(
    terminator: &Terminator,
    name: &str,
    exchange: &Exchange,
) -> Result<Arc<rustls::ServerConfig>, String> {
    if !computed::is_plain_name(name) {
        return Err("the name that was asked for cannot be a part of a path".to_owned());
    }
    let mut loaded = Vec::new();
    let mut failure = None;
    for computed in terminator.computed() {
        let (mut certificate, mut key) = (Vec::new(), Vec::new());
        variables::expand(&computed.certificate, exchange, &mut certificate);
        variables::expand(&computed.key, exchange, &mut key);
        let wanted = match computed.wanted(&certificate, &key) {
            Ok(wanted) => wanted,
            Err(error) => {
                failure.get_or_insert(error.to_string());
                continue;
            }
        };
        if let Some(kept) = computed.kept(&wanted) {
            loaded.push(kept);
            continue;
        }
        // Files are read on a thread of their own, and by few at a time: a slow disk holds only those
        // who wait for it.
        let permit = Arc::clone(&computed.loading).acquire_owned().await;
        let computed = Arc::clone(computed);
        let loading = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            computed.load(&wanted)
        });
        match loading.await {
            Ok(Ok(certified)) => loaded.push(certified),
            Ok(Err(error)) => {
                failure.get_or_insert(error.to_string());
            }
            Err(error) => {
                failure.get_or_insert(error.to_string());
            }
        }
    }
    match failure {
        Some(failure) if loaded.is_empty() => Err(failure),
        _ => Ok(terminator.config_with(loaded)),
    }
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
