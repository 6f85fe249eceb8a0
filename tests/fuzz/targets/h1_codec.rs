//! A connection's bytes mean to hyper what they mean to us: every request that we take, hyper takes
//! with the same method, target, fields and body; where we wait for more, it waits as well. Cutting
//! the bytes changes nothing; the parser of responses, the normaliser and the date reader take any
//! bytes without a panic.
#![no_main]

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::service::service_fn;
use hyper::{Request, Response, Uri};
use libfuzzer_sys::fuzz_target;
use openclaw::http::h1::chunked::Decoder;
use openclaw::http::h1::framing::{self, BodyLength};
use openclaw::http::h1::parse::{HeadLimits, HeadParser, Progress};
use openclaw::http::head::{Fields, Method, RequestHead, ResponseHead, Version};
use openclaw::http::{date, uri};

fuzz_target!(|input: &[u8]| {
    // The last byte says how large the pieces are.
    let Some((&cut, bytes)) = input.split_last() else {
        return;
    };
    let ours = our_requests(bytes, bytes.len().max(1));
    assert_eq!(
        ours.requests,
        our_requests(bytes, usize::from(cut).max(1)).requests
    );
    compare(&ours, &their_requests(bytes));
    response(bytes);
    let mut path = Vec::new();
    if uri::normalise(bytes, cut & 1 == 0, &mut path).is_ok() && bytes.first() == Some(&b'/') {
        assert!(!path.windows(4).any(|window| window == b"/../"));
    }
    let _ = uri::validate_host(bytes, &mut path);
    let _ = date::parse(bytes);
});

#[derive(PartialEq, Eq, Debug)]
struct Message {
    method: Vec<u8>,
    path: Vec<u8>,
    /// Names in lower case, sorted.
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    /// `None` if it did not come to its end.
    body: Option<Vec<u8>>,
}

#[derive(PartialEq, Eq, Debug)]
enum End {
    /// The next request is not all there.
    Partial,
    /// It is refused.
    Error,
    /// None follows, or none that can be compared.
    Done,
}

struct Ours {
    requests: Vec<Message>,
    /// Of each request, as it came.
    targets: Vec<Vec<u8>>,
    end: End,
}

impl Ours {
    fn end(mut self, end: End) -> Self {
        self.end = end;
        self
    }
}

/// Limits that hyper does not have are out of reach; it drops no field.
const LIMITS: HeadLimits = HeadLimits {
    line: 1 << 20,
    total: 1 << 20,
    fields: 4096,
    ignore_invalid: false,
    underscores: true,
};

/// The requests of a connection, whose bytes come in pieces of this size.
fn our_requests(bytes: &[u8], piece: usize) -> Ours {
    let mut ours = Ours {
        requests: Vec::new(),
        targets: Vec::new(),
        end: End::Done,
    };
    let mut rest = bytes;
    loop {
        let mut head = RequestHead::default();
        let mut parser = HeadParser::default();
        let mut pieces = rest.chunks(piece);
        let end = loop {
            match parser.request(&mut head, &LIMITS) {
                Ok(Progress::Complete) => break End::Done,
                Ok(Progress::Partial) => match pieces.next() {
                    Some(piece) => head.fields.bytes.extend_from_slice(piece),
                    None => break End::Partial,
                },
                Err(_) => break End::Error,
            }
        };
        if end != End::Done {
            return ours.end(end);
        }
        // These hyper does not know, or reads otherwise by design.
        if head.version == Version::Http09
            || head.method == Method::Connect
            || !rest.starts_with(head.bytes(head.line)) && !rest.starts_with(b"\r\n")
            || !head.bytes(head.line).ends_with(b"HTTP/1.1")
                && !head.bytes(head.line).ends_with(b"HTTP/1.0")
        {
            return ours.end(End::Done);
        }
        let Ok(length) = framing::request_body(&head) else {
            return ours.end(End::Error);
        };
        rest = &rest[head.length..];
        let mut path = head.bytes(head.path_and_query).to_vec();
        path.truncate(
            path.iter()
                .position(|&byte| byte == b'#')
                .unwrap_or(path.len()),
        );
        ours.targets.push(head.bytes(head.target).to_vec());
        let mut message = Message {
            method: head.bytes(head.method_token).to_vec(),
            path,
            fields: fields(head.fields.iter().map(|(_, name, value)| (name, value))),
            body: None,
        };
        let body = match length {
            BodyLength::None | BodyLength::UntilClose => Ok(Some((Vec::new(), 0))),
            BodyLength::Length(length) => Ok(usize::try_from(length)
                .ok()
                .and_then(|length| Some((rest.get(..length)?.to_vec(), length)))),
            BodyLength::Chunked => our_chunks(rest, piece),
        };
        match body {
            Ok(Some((body, length))) => {
                message.body = Some(body);
                ours.requests.push(message);
                rest = &rest[length..];
            }
            Ok(None) => {
                ours.requests.push(message);
                return ours.end(End::Partial);
            }
            Err(()) => {
                ours.requests.push(message);
                return ours.end(End::Error);
            }
        }
        if !framing::keeps_request_connection(&head) {
            return ours.end(End::Done);
        }
    }
}

/// The payload of a chunked body and the length of all of it.
fn our_chunks(bytes: &[u8], piece: usize) -> Result<Option<(Vec<u8>, usize)>, ()> {
    let mut decoder = Decoder::default();
    let mut trailers = Fields::default();
    let mut payload = Vec::new();
    let mut length = 0;
    for piece in bytes.chunks(piece) {
        let mut input = piece;
        while !input.is_empty() && !decoder.is_done() {
            let step = decoder.decode(input, &mut trailers).map_err(|_| ())?;
            assert!(step.consumed > 0 && step.data.end <= step.consumed);
            payload.extend_from_slice(&input[step.data]);
            length += step.consumed;
            input = &input[step.consumed..];
        }
    }
    Ok(decoder.is_done().then_some((payload, length)))
}

fn fields<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut fields: Vec<_> = fields
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_vec()))
        .collect();
    fields.sort();
    fields
}

fn compare(ours: &Ours, theirs: &[Message]) {
    for (position, request) in ours.requests.iter().enumerate() {
        let Some(their) = theirs.get(position) else {
            // Its type for targets is narrower than nginx is.
            let target = std::str::from_utf8(&ours.targets[position]);
            let is_uri = target.is_ok_and(|target| target.parse::<Uri>().is_ok());
            assert!(!is_uri, "hyper does not take {request:?}");
            return;
        };
        if request.body.is_none() && ours.end == End::Error {
            assert_eq!(their.fields, request.fields);
            return;
        }
        assert_eq!(request, their);
    }
    if ours.end == End::Partial {
        assert_eq!(
            ours.requests.len(),
            theirs.len(),
            "hyper takes more: {theirs:?}"
        );
    }
}

fn their_requests(bytes: &[u8]) -> Vec<Message> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let service = service_fn(|request: Request<Incoming>| {
        let seen = Rc::clone(&seen);
        async move {
            let (parts, body) = request.into_parts();
            let headers = parts.headers.iter();
            let message = Message {
                method: parts.method.as_str().as_bytes().to_vec(),
                path: parts
                    .uri
                    .path_and_query()
                    .map_or_else(Vec::new, |path| path.as_str().into()),
                fields: fields(
                    headers.map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes())),
                ),
                body: None,
            };
            let position = seen.borrow().len();
            seen.borrow_mut().push(message);
            if let Ok(body) = body.collect().await {
                seen.borrow_mut()[position].body = Some(body.to_bytes().to_vec());
            }
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .header_read_timeout(None)
        .max_headers(4096)
        .serve_connection(Bytestream(bytes.to_vec(), 0), service);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime without drivers starts");
    let _ = runtime.block_on(connection);
    seen.take()
}

/// Bytes to read, then the end; what is written is lost.
struct Bytestream(Vec<u8>, usize);

impl Read for Bytestream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let end = self.0.len().min(self.1 + buffer.remaining());
        buffer.put_slice(&self.0[self.1..end]);
        self.1 = end;
        Poll::Ready(Ok(()))
    }
}

impl Write for Bytestream {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A response head in one go and byte by byte is the same.
fn response(bytes: &[u8]) {
    let mut whole = ResponseHead::default();
    whole.fields.bytes.extend_from_slice(bytes);
    let expected = HeadParser::default().response(&mut whole, 0, &LIMITS);
    let mut head = ResponseHead::default();
    let mut parser = HeadParser::default();
    let mut result = Ok(Progress::Partial);
    for &byte in bytes {
        head.fields.bytes.push(byte);
        result = parser.response(&mut head, 0, &LIMITS);
        if result != Ok(Progress::Partial) {
            break;
        }
    }
    if expected == Ok(Progress::Complete) {
        assert_eq!(result, expected);
        assert_eq!(head.length, whole.length);
        assert_eq!(head.fields.len(), whole.fields.len());
        let _ = framing::response_body(Method::Get, &head);
        let _ = framing::keeps_response_connection(&head);
    } else {
        assert_ne!(result, Ok(Progress::Complete));
    }
}
