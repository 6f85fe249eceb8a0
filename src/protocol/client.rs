//! Asking the daemon: one connection for each call, and streams.
//!
//! Every call is bounded in time and size. A call that does not reach a daemon says which sockets
//! were tried and why each failed.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use super::{Event, Lease, MAX_BODY, Refusal, Topic};

/// How long a daemon may take to answer. A change waits for names to resolve.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest line of a stream.
const MAX_LINE: usize = 8 << 20;

/// A daemon by its socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// A call that did not succeed.
#[derive(Debug)]
pub enum CallError {
    /// No daemon answers there.
    Connect {
        /// The socket.
        socket: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The connection broke, or what came is no answer.
    Broken(String),
    /// It took too long.
    TimedOut,
    /// The daemon says no.
    Refused(Box<Refusal>),
}

impl fmt::Display for CallError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { socket, error } => {
                let why = match error.kind() {
                    io::ErrorKind::NotFound => "does not exist".to_owned(),
                    io::ErrorKind::ConnectionRefused => "nobody listens there".to_owned(),
                    io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
                    _ => error.to_string(),
                };
                write!(out, "{}: {why}", socket.display())
            }
            Self::Broken(why) => write!(out, "the daemon did not answer as expected: {why}"),
            Self::TimedOut => out.write_str("the daemon did not answer in time"),
            Self::Refused(refusal) => refusal.fmt(out),
        }
    }
}

impl std::error::Error for CallError {}

impl Client {
    /// A client of the daemon with this control socket.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
        }
    }

    /// The socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// `GET`: reads something. `path` starts with `/v1/`.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        let bytes = self.call(Method::GET, path, Bytes::new()).await?;
        serde_json::from_slice(&bytes).map_err(|error| CallError::Broken(error.to_string()))
    }

    /// `GET` of something that is not JSON.
    pub async fn get_text(&self, path: &str) -> Result<String, CallError> {
        let bytes = self.call(Method::GET, path, Bytes::new()).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// `POST`: changes something.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &(impl Serialize + ?Sized),
    ) -> Result<T, CallError> {
        let body =
            serde_json::to_vec(body).map_err(|error| CallError::Broken(error.to_string()))?;
        let bytes = self.call(Method::POST, path, body.into()).await?;
        serde_json::from_slice(&bytes).map_err(|error| CallError::Broken(error.to_string()))
    }

    /// Opens a stream of events.
    pub async fn stream(&self, topics: &[Topic]) -> Result<Stream, CallError> {
        let names: Vec<_> = topics.iter().map(|topic| topic.name()).collect();
        let path = format!("/v1/stream?topics={}", names.join(","));
        let opening = async {
            let (answer, connection) = self.send(Method::GET, &path, Bytes::new()).await?;
            let status = answer.status();
            let body = answer.into_body();
            if status != StatusCode::OK {
                return Err(refusal(status, &collect(body).await?));
            }
            let mut stream = Stream {
                body,
                buffer: BytesMut::new(),
                searched: 0,
                connection,
                subscription: 0,
            };
            match stream.next().await? {
                Some(Event::Opened { subscription }) => stream.subscription = subscription,
                other => return Err(CallError::Broken(format!("unexpected {other:?}"))),
            }
            Ok(stream)
        };
        tokio::time::timeout(PATIENCE, opening)
            .await
            .map_err(|_| CallError::TimedOut)?
    }

    /// Keeps a stream alive, and says what it is about from now on.
    pub async fn renew(
        &self,
        subscription: u64,
        topics: Option<Vec<Topic>>,
    ) -> Result<(), CallError> {
        let path = format!("/v1/subscriptions/{subscription}");
        let _: super::Done = self.post(&path, &Lease { topics }).await?;
        Ok(())
    }

    async fn call(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, CallError> {
        let calling = async {
            let (answer, _connection) = self.send(method, path, body).await?;
            let status = answer.status();
            let bytes = collect(answer.into_body()).await?;
            match status {
                StatusCode::OK => Ok(bytes),
                status => Err(refusal(status, &bytes)),
            }
        };
        tokio::time::timeout(PATIENCE, calling)
            .await
            .map_err(|_| CallError::TimedOut)?
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(hyper::Response<Incoming>, Connection), CallError> {
        let broken = |error: &dyn fmt::Display| CallError::Broken(error.to_string());
        let stream =
            UnixStream::connect(&self.socket)
                .await
                .map_err(|error| CallError::Connect {
                    socket: self.socket.clone(),
                    error,
                })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(&error))?;
        let connection = Connection(tokio::spawn(async move {
            // What breaks it is told to whoever reads the answer.
            let _ = connection.await;
        }));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("Host", "openclaw")
            .header("Content-Type", "application/json")
            .body(Full::new(body))
            .map_err(|error| broken(&error))?;
        let answer = sender
            .send_request(request)
            .await
            .map_err(|error| broken(&error))?;
        Ok((answer, connection))
    }
}

/// The task that moves a connection's bytes, for as long as somebody wants them.
#[derive(Debug)]
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn collect(body: Incoming) -> Result<Bytes, CallError> {
    let collected = Limited::new(body, MAX_BODY).collect().await;
    let collected = collected.map_err(|error| CallError::Broken(error.to_string()))?;
    Ok(collected.to_bytes())
}

fn refusal(status: StatusCode, bytes: &[u8]) -> CallError {
    match serde_json::from_slice(bytes) {
        Ok(refusal) => CallError::Refused(Box::new(refusal)),
        Err(_) => CallError::Broken(format!("status {status} without a reason")),
    }
}

/// Events as they come.
#[derive(Debug)]
pub struct Stream {
    body: Incoming,
    buffer: BytesMut,
    /// So much of the buffer holds no end of a line.
    searched: usize,
    #[expect(dead_code, reason = "moves the bytes for as long as it is not dropped")]
    connection: Connection,
    subscription: u64,
}

impl Stream {
    /// The number that [`Client::renew`] wants.
    pub fn subscription(&self) -> u64 {
        self.subscription
    }

    /// The next event; `None` at the end. Nothing is lost if this is dropped before it is ready.
    pub async fn next(&mut self) -> Result<Option<Event>, CallError> {
        loop {
            let fresh = &self.buffer[self.searched..];
            if let Some(at) = memchr::memchr(b'\n', fresh) {
                let line = self.buffer.split_to(self.searched + at + 1);
                self.searched = 0;
                let event = serde_json::from_slice(&line);
                return event
                    .map(Some)
                    .map_err(|error| CallError::Broken(error.to_string()));
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > MAX_LINE {
                return Err(CallError::Broken("a line without an end".to_owned()));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                }
                Some(Err(error)) => return Err(CallError::Broken(error.to_string())),
            }
        }
    }
}
