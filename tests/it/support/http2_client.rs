//! A client of HTTP/2 by prior knowledge that asks one thing after another over one connection.

use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;

use super::wire::{Field, first, latin1};

/// How long a test waits for an answer before it calls the server stuck.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection.
pub struct Http2Client {
    runtime: tokio::runtime::Runtime,
    sender: SendRequest<Bytes>,
}

/// An answer.
#[derive(Debug)]
pub struct Http2Answer {
    pub status: u16,
    pub fields: Vec<Field>,
    pub body: Vec<u8>,
}

impl Http2Answer {
    /// The value of the first field of this name, whatever its case.
    pub fn value(&self, name: &str) -> Option<&str> {
        first(&self.fields, name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        latin1(&self.body)
    }
}

impl Http2Client {
    pub fn connect(port: u16) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("an event loop");
        let sender = runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
            let stream = stream.expect("the server must accept a connection");
            let (sender, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
            tokio::spawn(async move {
                // How it ends is seen by whoever asks.
                let _ = connection.await;
            });
            sender
        });
        Self { runtime, sender }
    }

    /// Asks; `None` if there is no answer.
    pub fn try_ask(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> Option<Http2Answer> {
        let mut request = http::Request::builder()
            .method(method)
            .uri(format!("http://app.test{path}"));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request");
        let mut sender = self.sender.clone();
        let asking = async {
            sender = sender.ready().await.ok()?;
            let (answer, mut stream) = sender.send_request(request, body.is_empty()).ok()?;
            if !body.is_empty() {
                stream.send_data(Bytes::copy_from_slice(body), true).ok()?;
            }
            let (head, mut content) = answer.await.ok()?.into_parts();
            let mut bytes = Vec::new();
            while let Some(piece) = content.data().await {
                let piece = piece.ok()?;
                let _enough = content.flow_control().release_capacity(piece.len());
                bytes.extend_from_slice(&piece);
            }
            let field = |(name, value): (&http::HeaderName, &http::HeaderValue)| Field {
                name: name.as_str().to_owned(),
                value: latin1(value.as_bytes()),
            };
            Some(Http2Answer {
                status: head.status.as_u16(),
                fields: head.headers.iter().map(field).collect(),
                body: bytes,
            })
        };
        (self.runtime)
            .block_on(async { tokio::time::timeout(PATIENCE, asking).await })
            .expect("the server must not be stuck")
    }

    /// Asks for an answer that must come.
    pub fn get(&mut self, path: &str, fields: &[(&str, &str)]) -> Http2Answer {
        let answer = self.try_ask("GET", path, fields, b"");
        answer.unwrap_or_else(|| panic!("{path} must be answered"))
    }
}
