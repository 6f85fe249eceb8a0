//! A daemon that only speaks the control protocol, from a table of answers.
//!
//! For what a real one does not do on demand: hostile texts, refusals, other versions.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::thread;

use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use openclaw::protocol::{Status, VERSION};
use serde::Serialize;
use tempfile::TempDir;
use tokio::net::UnixListener;

/// What was asked: `POST /v1/peers` and the body.
type Asked = Arc<Mutex<Vec<(String, String)>>>;

/// What is answered to `GET /v1/status`.
#[derive(Clone)]
struct Answer {
    status: u16,
    text: String,
    /// The answer does not end, as that of a stream.
    goes_on: bool,
}

/// Answers, before the start.
pub struct FakeDaemon {
    answers: BTreeMap<String, Answer>,
}

/// A daemon that answers until the test ends.
pub struct Running {
    directory: TempDir,
    asked: Asked,
}

impl FakeDaemon {
    /// One that says who it is, and nothing else.
    pub fn new() -> Self {
        let status = Status {
            protocol: VERSION,
            version: "0.1.0".to_owned(),
            revision: 41,
            conf: "/etc/openclaw/openclaw.conf".to_owned(),
            ..Status::default()
        };
        let daemon = Self {
            answers: BTreeMap::new(),
        };
        daemon.answer("GET /v1/status", &status)
    }

    /// Answers a method and a path (without its query) with this.
    pub fn answer(self, asked: &str, answer: &impl Serialize) -> Self {
        self.put(asked, 200, answer)
    }

    /// Refuses it.
    pub fn refuse(self, asked: &str, status: u16, refusal: &impl Serialize) -> Self {
        self.put(asked, status, refusal)
    }

    /// Answers with these lines and does not end.
    pub fn stream(mut self, asked: &str, lines: &[String]) -> Self {
        let text = lines.iter().map(|line| format!("{line}\n")).collect();
        let answer = Answer {
            status: 200,
            text,
            goes_on: true,
        };
        self.answers.insert(asked.to_owned(), answer);
        self
    }

    fn put(mut self, asked: &str, status: u16, answer: &impl Serialize) -> Self {
        let text = serde_json::to_string(answer).expect("plain data");
        let answer = Answer {
            status,
            text,
            goes_on: false,
        };
        self.answers.insert(asked.to_owned(), answer);
        self
    }

    /// Listens.
    pub fn start(self) -> Running {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let socket = directory.path().join("control.sock");
        let asked = Asked::default();
        let answers = Arc::new(self.answers);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = {
            let _within = runtime.enter();
            UnixListener::bind(&socket).expect("a fresh socket")
        };
        let record = asked.clone();
        // Ends with the process of the tests.
        thread::spawn(move || {
            runtime.block_on(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let (answers, record) = (answers.clone(), record.clone());
                    let service = service_fn(move |request| {
                        let (answers, record) = (answers.clone(), record.clone());
                        async move { serve(request, &answers, &record).await }
                    });
                    let serving =
                        http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                    tokio::spawn(serving);
                }
            });
        });
        Running { directory, asked }
    }
}

impl Running {
    /// Its control socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("control.sock")
    }

    /// The bodies of the requests with this method and path, in order.
    pub fn asked(&self, what: &str) -> Vec<String> {
        let asked = self.asked.lock().expect("no test panics with it");
        asked
            .iter()
            .filter(|(path, _)| path == what)
            .map(|(_, body)| body.clone())
            .collect()
    }
}

async fn serve(
    request: Request<hyper::body::Incoming>,
    answers: &BTreeMap<String, Answer>,
    record: &Asked,
) -> Result<Response<Told>, Infallible> {
    let asked = format!("{} {}", request.method(), request.uri().path());
    let body = request.into_body().collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let body = String::from_utf8_lossy(&body).into_owned();
    record
        .lock()
        .expect("no test panics with it")
        .push((asked.clone(), body));
    let answer = answers.get(&asked).cloned().unwrap_or_else(|| Answer {
        status: 404,
        text: r#"{"code":"not_found","message":"there is no such path"}"#.to_owned(),
        goes_on: false,
    });
    let told = Told {
        text: Some(answer.text.into()),
        goes_on: answer.goes_on,
    };
    let answer = Response::builder().status(answer.status).body(told);
    Ok(answer.expect("a status"))
}

/// A body that may have no end.
struct Told {
    text: Option<Bytes>,
    goes_on: bool,
}

impl Body for Told {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.text.take() {
            Some(text) => Poll::Ready(Some(Ok(Frame::data(text)))),
            // Nobody wakes it: the client goes away first.
            None if self.goes_on => Poll::Pending,
            None => Poll::Ready(None),
        }
    }
}
