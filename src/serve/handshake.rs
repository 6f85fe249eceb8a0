//! The beginning of a client's connection where TLS is spoken: which server answers, and what the
//! handshake came to.

use std::cell::RefCell;
use std::future::Future as _;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;

use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use rustls::{HandshakeKind, ProtocolVersion, SignatureScheme};

use super::connection;
use super::generation::Local;
use super::worker::Worker;
use crate::acme::challenges;
use crate::acme::on_demand::{Demand, Denial};
use crate::conf::typed::listen::Address;
use crate::conf::typed::log::Level;
use crate::conf::typed::on_demand::OnDemand;
use crate::http::exchange::{ClientCertificate, ClientFact, Connection, Exchange, Judged, Secured};
use crate::http::variables;
use crate::log::error_log;
use crate::metrics::registry;
use crate::net;
use crate::net::deadline::Deadline;
use crate::tls::clients::{self, Refusal, Verdict};
use crate::tls::presented::{self, Presented};
use crate::tls::stream::{Secure, Stream};
use crate::tls::terminator::{Greeted, Greeting, HandshakeError, Hello, Terminator};
use crate::tls::{computed, openssl, standing};
use crate::unit::clock;

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
        registry::with(|counters| counters.tls_failed.increase());
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
        name.strip_suffix('.')
            .unwrap_or(name)
            .to_ascii_lowercase()
            .into()
    };
    let asks_for_proof = hello
        .client()
        .alpn()
        .is_some_and(|mut offered| offered.any(|protocol| protocol == challenges::PROTOCOL));
    let challenged = match asks_for_proof {
        true => local.generation.acme.challenges().handshake(&name),
        false => None,
    };
    // A client that names nobody, or an address, gets the default server.
    let position = match name.is_empty() {
        true => position,
        false => {
            let routes = &local.generation.routes;
            routes.server_of_name(listening, name.as_bytes())
        }
    };
    let terminator = local.generation.terminator(position);
    let is_challenge = challenged.is_some();
    let config = match challenged {
        Some(config) => config,
        None => {
            let terminator = terminator?;
            if terminator.rejects() {
                told(&hello.refuse());
                return None;
            }
            let config = terminator.config(&hello.client());
            let brought = match terminator.on_demand(&name) {
                Some(rule) => match demanded(&local, rule, &name, connection, &deadline).await {
                    Ok(certified) => Some(certified),
                    // What there is for other names may still say something to the client.
                    Err(_) if terminator.has_certificate() => None,
                    Err(why) => {
                        let client = &connection.remote_text;
                        let why = why.text();
                        let message = format_args!(
                            "no certificate for \"{name}\": {why}, while SSL handshaking, client: {client}"
                        );
                        error_log::report(Level::Info, message);
                        told(&hello.refuse());
                        return None;
                    }
                },
                None => None,
            };
            if let Some(certified) = brought {
                deadline.set(server.reading.header_timeout);
                terminator.config_of(&config, certified)
            } else if terminator.computed().is_empty() {
                config
            } else {
                let http = Arc::clone(&local.generation.http);
                let server = Arc::clone(&http.servers[position]);
                let mut asking = connection.clone();
                asking.secured = Some(Rc::new(Secured {
                    server_name: name.clone(),
                    ..Secured::default()
                }));
                let exchange = Exchange::new(Rc::new(asking), http, server);
                let mut loading = pin!(computed(terminator, &config, &name, &exchange));
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
    let offered = Offered::of(&hello);
    let (secure, proof) = match shake_hands(hello, config, &deadline).await {
        Ok(done) => done,
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
    let is_resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
    registry::with(|counters| {
        match session.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => counters.tls12.increase(),
            _ => counters.tls13.increase(),
        }
        if is_resumed {
            counters.tls_resumed.increase();
        }
    });
    let shown = session.peer_certificates().unwrap_or_default();
    let certificate = shown.first().map(|_| {
        Box::new(ClientCertificate {
            chain: shown.iter().map(|shown| shown.to_vec().into()).collect(),
            proof: proof.map_or("", openssl::signature_scheme),
            describe: client_certificate,
        })
    });
    let mut standing = None;
    let secured = Secured {
        protocol: session.protocol_version().map_or("", openssl::version),
        cipher: (session.negotiated_cipher_suite())
            .map_or("", |suite| openssl::suite(suite.suite())),
        curve: (session.negotiated_key_exchange_group())
            .map_or("", |group| openssl::group(group.name())),
        server_name: name,
        alpn_protocol: String::from_utf8_lossy(session.alpn_protocol().unwrap_or_default()).into(),
        is_resumed,
        ciphers: offered.ciphers,
        curves: offered.curves,
        early: secure.is_early(),
        server: terminator.map(Terminator::identity).unwrap_or_default(),
        certificate,
        standing: None,
        judged: RefCell::default(),
    };
    if let Some(standings) = terminator.and_then(Terminator::standings) {
        deadline.set(server.reading.header_timeout);
        let shown = secure.session().peer_certificates().unwrap_or_default();
        let clients = terminator.and_then(Terminator::clients);
        let questions = clients.and_then(|clients| clients.questions(shown, clock::unix()));
        let tell = |problem: &str| {
            error_log::report(
                Level::Error,
                format_args!("{problem} while requesting certificate status"),
            );
        };
        if let Some(questions) = questions {
            let mut asking = pin!(standings.doubt(questions, tell));
            let asked = deadline
                .guard(|context| asking.as_mut().poll(context))
                .await;
            // Who does not answer in time says no better than who does not answer.
            let doubt = asked.unwrap_or(Some(standing::UNASKED));
            standing = Some(doubt.map_or(Ok(()), Err));
        }
    }
    connection.secured = Some(Rc::new(Secured {
        standing,
        ..secured
    }));
    let stream = Stream::Secure(Box::new(secure));
    Some(match is_http2 {
        true => Accepted::Http2(stream),
        false => Accepted::Http1(stream),
    })
}

/// The certificate for a name that a client brings, for which it waits as long as the rule lets it.
async fn demanded(
    local: &Local,
    rule: &Arc<OnDemand>,
    name: &str,
    connection: &Connection,
    deadline: &Deadline,
) -> Result<Arc<CertifiedKey>, Denial> {
    let client = match &connection.remote {
        Address::Ip(address) => Some(address.ip()),
        Address::Unix(_) => None,
    };
    let acme = &local.generation.acme;
    let flight = match acme.demand(rule, name, client) {
        Demand::Held(certified) => return Ok(certified),
        Demand::Refused(why) => return Err(why),
        Demand::Wait(flight) => flight,
    };
    deadline.set(rule.wait);
    let mut landing = pin!(flight.land());
    match deadline
        .guard(|context| landing.as_mut().poll(context))
        .await
    {
        Some(outcome) => outcome?,
        // It is got all the same, for who comes next.
        None => return Err(Denial::Busy),
    }
    match acme.demand(rule, name, client) {
        Demand::Held(certified) => Ok(certified),
        Demand::Wait(_) => Err(Denial::Busy),
        Demand::Refused(why) => Err(why),
    }
}

/// What the client offered, as the registry numbers it.
struct Offered {
    ciphers: Box<[u16]>,
    curves: Box<[u16]>,
}

impl Offered {
    fn of(hello: &Hello) -> Self {
        let client = hello.client();
        let groups = client.named_groups().unwrap_or_default();
        Self {
            ciphers: client
                .cipher_suites()
                .iter()
                .map(|&suite| suite.into())
                .collect(),
            curves: groups.iter().map(|&group| group.into()).collect(),
        }
    }
}

/// What is thought of the client of a request: may it go on? The error is a status.
pub fn check_client(local: &Local, exchange: &Exchange) -> Result<(), u16> {
    let Some(secured) = &exchange.connection.secured else {
        return Ok(());
    };
    let terminator = local.generation.terminator(exchange.server_position);
    let Some((terminator, clients)) =
        terminator.and_then(|terminator| Some((terminator, terminator.clients()?)))
    else {
        return Ok(());
    };
    if terminator.identity() != secured.server {
        // What another server asked and thought of this client says nothing here.
        local.log(
            exchange,
            Level::Info,
            format_args!(
                "client attempted to request the server name different from the one that was negotiated while reading client request headers"
            ),
        );
        return Err(421);
    }
    // Judged once for a connection, and again when another configuration asks for something else.
    let known = secured.judged.borrow().as_ref().map(|judged| judged.by);
    if known != Some(clients.serial) {
        let chain = secured.certificate.iter().flat_map(|shown| &shown.chain);
        let chain: Vec<_> = chain.map(|shown| CertificateDer::from(&**shown)).collect();
        let verdict = match (clients.judge(&chain, clock::unix()), secured.standing) {
            (Verdict::Good, Some(Err(doubt))) => Verdict::Bad(doubt),
            // Its authority is trusted since the handshake only.
            (Verdict::Good, None) if terminator.standings().is_some() => {
                Verdict::Bad(standing::UNASKED)
            }
            (verdict, _) => verdict,
        };
        let (status, why) = match clients.admit(verdict) {
            Ok(()) => (None, ""),
            Err(Refusal::Bad(why)) => (Some(495), why),
            Err(Refusal::Missing) => (Some(496), ""),
        };
        *secured.judged.borrow_mut() = Some(Judged {
            by: clients.serial,
            verdict: verdict.to_string().into(),
            status,
            why,
        });
    }
    let judged = secured.judged.borrow();
    let Some(Judged {
        status: Some(status),
        why,
        ..
    }) = *judged
    else {
        return Ok(());
    };
    match status {
        495 => local.log(
            exchange,
            Level::Info,
            format_args!(
                "client SSL certificate verify error: ({why}) while reading client request headers"
            ),
        ),
        _ => local.log(
            exchange,
            Level::Info,
            format_args!(
                "client sent no required SSL certificate while reading client request headers"
            ),
        ),
    }
    Err(status)
}

/// What `$ssl_client_*` say of a certificate.
fn client_certificate(der: &[u8], fact: ClientFact, out: &mut Vec<u8>) -> bool {
    let text = match fact {
        ClientFact::Raw => Some(presented::raw(der)),
        ClientFact::Folded => Some(presented::folded(der)),
        ClientFact::Escaped => Some(presented::escaped(der)),
        ClientFact::Fingerprint => Some(presented::fingerprint(der)),
        _ => Presented::read(der).map(|certificate| match fact {
            ClientFact::Subject => certificate.subject(),
            ClientFact::SubjectLegacy => certificate.subject_legacy(),
            ClientFact::Issuer => certificate.issuer(),
            ClientFact::IssuerLegacy => certificate.issuer_legacy(),
            ClientFact::Serial => certificate.serial(),
            ClientFact::NotBefore => certificate.not_before(),
            ClientFact::NotAfter => certificate.not_after(),
            _ => {
                let now = i64::try_from(clock::unix().as_secs()).unwrap_or(i64::MAX);
                certificate.days_left(now).to_string()
            }
        }),
    };
    match text {
        Some(text) => {
            out.extend_from_slice(text.as_bytes());
            true
        }
        None => false,
    }
}

/// What is offered to a client where certificates stand at computed paths: those that could be loaded.
async fn computed(
    terminator: &Terminator,
    config: &rustls::ServerConfig,
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
        _ => Ok(terminator.config_with(config, loaded)),
    }
}

async fn shake_hands(
    hello: Hello,
    config: Arc<rustls::ServerConfig>,
    deadline: &Deadline,
) -> Result<(Secure, Option<SignatureScheme>), HandshakeError> {
    let mut proof = None;
    clients::take_proof();
    let mut secure = hello.answer(config)?;
    let drive = |context: &mut Context<'_>| {
        let polled = secure.poll_handshake(context);
        // Before another connection has its turn on this thread.
        proof = clients::take_proof().or(proof);
        polled
    };
    match deadline.guard(drive).await {
        Some(Ok(())) => Ok((secure, proof)),
        Some(Err(error)) => Err(HandshakeError::of(error)),
        None => Err(HandshakeError::Io(std::io::ErrorKind::TimedOut.into())),
    }
}
