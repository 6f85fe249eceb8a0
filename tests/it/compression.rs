//! Bodies that are compressed on their way to the client.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flate2::read::GzDecoder;
use flate2::write::GzDecoder as GzWriter;

use crate::support::backend::{Backend, Then, pattern};
use crate::support::client::Framing;
use crate::support::frames::{Frames, frame, get};
use crate::support::server::{Server, Setup};

const PATIENCE: Duration = Duration::from_secs(20);

fn unpacked(body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    GzDecoder::new(body)
        .read_to_end(&mut plain)
        .expect("a whole gzip body");
    plain
}

fn proxy(backend: &Backend, inside: &str) -> Server {
    Setup::http(&format!(
        "server {{ listen %LISTEN1%; gzip on; gzip_types *; gzip_min_length 0; {inside}
            location / {{ proxy_pass http://%BACKEND%; }}
            location /unbuffered {{ proxy_buffering off; proxy_pass http://%BACKEND%; }} }}"
    ))
    .set("BACKEND", backend.address())
    .start()
}

#[test]
fn bodies_of_every_size_and_framing_unpack_to_what_the_peer_sent() {
    let backend = Backend::start();
    let server = proxy(&backend, "gzip_http_version 1.0;");
    for path in ["/", "/unbuffered"] {
        for (version, framing) in [("1.1", Framing::Chunked), ("1.0", Framing::UntilClose)] {
            for size in [1, 100, 8192, 65_535, 65_536, 300_000, 3_000_000] {
                for answer in ["", "chunked ", "close "] {
                    let mut client = server.connect(1);
                    let answer = client.ask(&format!(
                        "GET {path} HTTP/{version}\r\nHost: a\r\nAccept-Encoding: gzip\r\n\
                         X-Answer: {answer}body={size}\r\n\r\n"
                    ));
                    assert_eq!(answer.value("Content-Encoding"), Some("gzip"));
                    assert_eq!(answer.value("Content-Length"), None);
                    assert_eq!(answer.framing, framing);
                    assert!(unpacked(&answer.body) == pattern(size), "{size}");
                }
            }
        }
    }
}

#[test]
fn nothing_is_compressed_that_is_empty_or_must_not_be_changed() {
    let backend = Backend::start();
    let server = proxy(&backend, "");
    let mut client = server.connect(1);
    for answer in [
        "body=0",
        "status=204",
        "status=304",
        "body=100 field=Content-Encoding:br",
        "body=100 field=Cache-Control:public,%20no-transform",
        "status=206 body=100 field=Content-Range:bytes%200-99/200",
    ] {
        let answered = client.ask(&format!(
            "GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\nX-Answer: {answer}\r\n\r\n"
        ));
        assert_ne!(answered.value("Content-Encoding"), Some("gzip"), "{answer}");
    }
}

/// A peer that sends a piece whenever it is told to, in chunks.
fn telling() -> (Backend, mpsc::Sender<&'static str>) {
    let (sender, pieces): (_, Receiver<&'static str>) = mpsc::channel();
    let pieces = Arc::new(Mutex::new(pieces));
    let backend = Backend::scripted(move |exchange| {
        exchange.send(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
        );
        let pieces = pieces.lock().expect("one request at a time");
        while let Ok(piece) = pieces.recv_timeout(PATIENCE) {
            exchange.send(format!("{:x}\r\n{piece}\r\n", piece.len()));
            if piece.is_empty() {
                break;
            }
        }
        Then::Close
    });
    (backend, sender)
}

const EVENTS: [&str; 4] = ["data: one\n\n", "data: two\n\n", "d", "ata: three\n\n"];

#[test]
fn what_a_peer_sent_reaches_the_client_before_the_peer_sends_more() {
    for path in ["/", "/unbuffered"] {
        let (backend, sender) = telling();
        let server = proxy(&backend, "");
        let mut stream = TcpStream::connect(("127.0.0.1", server.port(1))).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
            .write_all(
                format!("GET {path} HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n")
                    .as_bytes(),
            )
            .expect("it reads");
        let mut wire = Vec::new();
        let mut expected = String::new();
        for event in EVENTS {
            sender.send(event).expect("the peer waits for it");
            expected.push_str(event);
            while !plain(&wire).ends_with(&expected) {
                let mut bytes = [0; 1024];
                let count = stream.read(&mut bytes).expect("bytes in time");
                assert_ne!(count, 0, "closed after {:?}", plain(&wire));
                wire.extend_from_slice(&bytes[..count]);
            }
        }
        sender.send("").expect("the peer waits for it");
    }
}

/// What can be read of a chunked gzip body of which this much arrived.
fn plain(wire: &[u8]) -> String {
    let Some(head) = wire.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        return String::new();
    };
    let mut rest = &wire[head + 4..];
    let mut unpacker = GzWriter::new(Vec::new());
    while let Some(end) = rest.windows(2).position(|bytes| bytes == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).expect("ASCII");
        let size = usize::from_str_radix(size, 16).expect("a size");
        let chunk = &rest[end + 2..];
        if size == 0 || chunk.len() < size + 2 {
            break;
        }
        unpacker.write_all(&chunk[..size]).expect("gzip");
        unpacker.flush().expect("memory");
        rest = &chunk[size + 2..];
    }
    String::from_utf8(unpacker.get_ref().clone()).expect("ASCII")
}

#[test]
fn streams_of_http2_are_compressed_and_flushed_too() {
    let (backend, sender) = telling();
    let server = proxy(&backend, "http2 on;");
    let mut client = Frames::connect(server.port(1));
    client.send(frame(1, 5, 1, get("/", &[("accept-encoding", "gzip")])));
    let mut unpacker = GzWriter::new(Vec::new());
    let mut expected = String::new();
    for event in EVENTS {
        sender.send(event).expect("the peer waits for it");
        expected.push_str(event);
        client.until(|frame| {
            if frame.kind == 0 {
                unpacker.write_all(&frame.payload).expect("gzip");
                unpacker.flush().expect("memory");
            }
            unpacker.get_ref().ends_with(expected.as_bytes())
        });
        assert_eq!(unpacker.get_ref(), expected.as_bytes());
    }
    sender.send("").expect("the peer waits for it");
}

#[test]
fn trailer_fields_follow_a_compressed_body() {
    let backend = Backend::start();
    let server = proxy(&backend, "proxy_pass_trailers on;");
    let mut client = server.connect(1);
    let answer = client.ask(
        "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nAccept-Encoding: gzip\r\n\
         X-Answer: chunked body=100000 trailer=X-Sum:1\r\n\r\n",
    );
    assert!(unpacked(&answer.body) == pattern(100_000));
    let names: Vec<_> = answer.trailers.iter().map(|field| &*field.name).collect();
    assert_eq!(names, ["X-Sum"]);
}
