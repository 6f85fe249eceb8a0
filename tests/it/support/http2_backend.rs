//! A backend that speaks HTTP/2 without TLS, as a service of gRPC does. The path says how it answers.
//!
//! | path | answer |
//! | --- | --- |
//! | `/unary` | what was sent, when all of it was |
//! | `/echo` | each piece as it comes, without waiting for the end |
//! | `/stream/N` | N messages |
//! | `/trailers-only` | a head that ends the answer |
//! | `/refuse` | refused, the first time; then as `/unary` |
//! | `/refuse-always` | refused |
//! | `/reset` | given up before the head |
//! | `/cut` | given up in the middle of the body |
//! | `/silent` | none; what the proxy does to the stream is recorded |
//! | `/head-only` | a head, then nothing; recorded likewise |
//! | `/early` | 413 without a look at the body |
//! | `/interim` | 103, then as `/unary` |
//! | `/last` | as `/unary`; the connection takes no request after it |
//! | `/take/N` | takes N bytes of the body and no more |
//! | `/grpc.health.v1.Health/Check` | serving; not, for a service `bad` |
//! | `/hold` | as `/unary`, when [`Http2Backend::release`] says so |

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::sync::Notify;
use tokio::task::LocalSet;

use super::ports::{Port, reserve};

/// What arrived.
#[derive(Debug, Clone)]
pub struct Call {
    pub connection: usize,
    pub method: String,
    pub uri: String,
    pub fields: HeaderMap,
}

#[derive(Default)]
struct Shared {
    calls: Mutex<Vec<Call>>,
    resets: Mutex<Vec<Reason>>,
    connections: AtomicUsize,
    active: AtomicUsize,
    most_active: AtomicUsize,
    taken: AtomicUsize,
    has_refused: AtomicBool,
    released: Notify,
}

/// How a backend behaves on every connection.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// Streams at a time.
    pub streams: u32,
    /// The first connection says that it goes before it looks at a request.
    pub goes_first: bool,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            streams: 100,
            goes_first: false,
        }
    }
}

/// A listening backend. It listens until the tests end.
pub struct Http2Backend {
    port: Port,
    shared: Arc<Shared>,
}

impl Http2Backend {
    pub fn start(manner: Manner) -> Self {
        let port = reserve();
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, port.number)).expect("a reserved port is free");
        let shared: Arc<Shared> = Arc::default();
        let told = Arc::clone(&shared);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            let local = LocalSet::new();
            local.block_on(&runtime, listen(listener, manner, told));
        });
        Self { port, shared }
    }

    /// Its address as configurations write it.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port.number)
    }

    pub fn calls(&self) -> Vec<Call> {
        self.shared.calls.lock().expect("no panic").clone()
    }

    /// What the proxy said to streams that it gave up.
    pub fn resets(&self) -> Vec<Reason> {
        self.shared.resets.lock().expect("no panic").clone()
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many requests are being answered, and how many were at most.
    pub fn active(&self) -> (usize, usize) {
        let load = |number: &AtomicUsize| number.load(Ordering::SeqCst);
        (load(&self.shared.active), load(&self.shared.most_active))
    }

    /// Bytes of bodies that were taken.
    pub fn taken(&self) -> usize {
        self.shared.taken.load(Ordering::SeqCst)
    }

    /// Lets go of those who wait for it.
    pub fn release(&self) {
        self.shared.released.notify_waiters();
    }
}

async fn listen(listener: TcpListener, manner: Manner, shared: Arc<Shared>) {
    listener.set_nonblocking(true).expect("a socket");
    let listener = tokio::net::TcpListener::from_std(listener).expect("a runtime");
    while let Ok((stream, _)) = listener.accept().await {
        let number = shared.connections.fetch_add(1, Ordering::SeqCst);
        if manner.goes_first && number == 0 {
            let stream = stream.into_std().expect("a socket");
            thread::spawn(move || go(stream));
            continue;
        }
        tokio::task::spawn_local(serve(stream, number, manner, Arc::clone(&shared)));
    }
}

/// Reads a request and says that nothing was done about it (RFC 9113 section 6.8).
fn go(mut stream: TcpStream) {
    stream.set_nonblocking(false).expect("a socket");
    // SETTINGS without any.
    let _ = stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
    let mut preface = [0; 24];
    let _ = stream.read_exact(&mut preface);
    let mut head = [0; 9];
    while stream.read_exact(&mut head).is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        let _ = stream.read_exact(&mut payload);
        if head[3] == 1 {
            // GOAWAY: the last stream is 0, the error none.
            let _ = stream.write_all(&[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            return;
        }
    }
}

async fn serve(stream: tokio::net::TcpStream, number: usize, manner: Manner, shared: Arc<Shared>) {
    let handshake = h2::server::Builder::new()
        .max_concurrent_streams(manner.streams)
        .handshake::<_, Bytes>(stream);
    let Ok(mut connection) = handshake.await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        shared.calls.lock().expect("no panic").push(Call {
            connection: number,
            method: request.method().to_string(),
            uri: request.uri().to_string(),
            fields: request.headers().clone(),
        });
        if request.uri().path() == "/last" {
            connection.graceful_shutdown();
        }
        let active = shared.active.fetch_add(1, Ordering::SeqCst) + 1;
        shared.most_active.fetch_max(active, Ordering::SeqCst);
        let shared = Arc::clone(&shared);
        tokio::task::spawn_local(async move {
            // A proxy that is gone is part of some tests.
            let _ = answer(request, respond, &shared).await;
            shared.active.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

fn trailers() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().expect("a value"));
    trailers.insert("x-trailer", "yes".parse().expect("a value"));
    trailers
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    shared: &Shared,
) -> Result<(), h2::Error> {
    let path = request.uri().path().to_owned();
    let mut body = request.into_body();
    let head = || {
        Response::builder()
            .header("content-type", "application/grpc")
            .header("x-head", "yes")
            .body(())
            .expect("a head")
    };
    let number = || path.rsplit('/').next().and_then(|word| word.parse().ok());
    match &*path {
        "/echo" => {
            let mut sending = respond.send_response(head(), false)?;
            while let Some(piece) = body.data().await {
                let piece = piece?;
                body.flow_control().release_capacity(piece.len())?;
                send(&mut sending, piece).await?;
            }
            return sending.send_trailers(trailers());
        }
        "/trailers-only" => {
            let mut head = head();
            head.headers_mut()
                .insert("grpc-status", "5".parse().expect("a value"));
            respond.send_response(head, true)?;
            return Ok(());
        }
        "/refuse" if !shared.has_refused.swap(true, Ordering::SeqCst) => {
            respond.send_reset(Reason::REFUSED_STREAM);
            return Ok(());
        }
        "/refuse-always" => {
            respond.send_reset(Reason::REFUSED_STREAM);
            return Ok(());
        }
        "/reset" => {
            respond.send_reset(Reason::INTERNAL_ERROR);
            return Ok(());
        }
        "/cut" => {
            let mut sending = respond.send_response(head(), false)?;
            send(&mut sending, Bytes::from_static(b"half")).await?;
            // The reset must not overtake the data.
            let _ = body.data().await;
            tokio::task::yield_now().await;
            sending.send_reset(Reason::INTERNAL_ERROR);
            return Ok(());
        }
        "/silent" => {
            let reason = std::future::poll_fn(|context| respond.poll_reset(context)).await?;
            shared.resets.lock().expect("no panic").push(reason);
            return Ok(());
        }
        "/head-only" => {
            let mut sending = respond.send_response(head(), false)?;
            let reason = std::future::poll_fn(|context| sending.poll_reset(context)).await?;
            shared.resets.lock().expect("no panic").push(reason);
            return Ok(());
        }
        "/early" => {
            let mut head = head();
            *head.status_mut() = http::StatusCode::PAYLOAD_TOO_LARGE;
            let mut sending = respond.send_response(head, false)?;
            send(&mut sending, Bytes::from_static(b"too large")).await?;
            sending.send_data(Bytes::new(), true)?;
            return Ok(());
        }
        "/interim" => {
            let interim = Response::builder()
                .status(103)
                .header("link", "</a>")
                .body(());
            respond.send_informational(interim.expect("a head"))?;
        }
        path if path.starts_with("/stream/") => {
            let mut sending = respond.send_response(head(), false)?;
            for message in 0..number().unwrap_or_default() {
                let text = format!("message {message}\n");
                send(&mut sending, text.into()).await?;
            }
            return sending.send_trailers(trailers());
        }
        path if path.starts_with("/take/") => {
            let most: usize = number().unwrap_or_default() as usize;
            let mut taken = 0;
            while taken < most {
                let Some(piece) = body.data().await else {
                    break;
                };
                let piece = piece?;
                taken += piece.len();
                shared.taken.fetch_add(piece.len(), Ordering::SeqCst);
                body.flow_control().release_capacity(piece.len())?;
            }
            shared.released.notified().await;
        }
        "/hold" => shared.released.notified().await,
        _ => {}
    }
    let mut whole = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        shared.taken.fetch_add(piece.len(), Ordering::SeqCst);
        whole.extend_from_slice(&piece);
    }
    if path == "/grpc.health.v1.Health/Check" {
        let status = match whole.ends_with(b"bad") {
            true => 2,
            false => 1,
        };
        whole = vec![0, 0, 0, 0, 2, 8, status];
    }
    let mut sending = respond.send_response(head(), false)?;
    send(&mut sending, whole.into()).await?;
    sending.send_trailers(trailers())
}

/// Sends as the other end takes it.
async fn send(sending: &mut SendStream<Bytes>, mut bytes: Bytes) -> Result<(), h2::Error> {
    while !bytes.is_empty() {
        sending.reserve_capacity(bytes.len());
        if sending.capacity() == 0 {
            match std::future::poll_fn(|context| sending.poll_capacity(context)).await {
                Some(room) => room?,
                None => return Ok(()),
            };
        }
        let count = sending.capacity().min(bytes.len());
        sending.send_data(bytes.split_to(count), false)?;
    }
    Ok(())
}
