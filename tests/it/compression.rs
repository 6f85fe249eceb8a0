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

/// What a body in one of the other codings unpacks to.
fn unpacked_from(coding: &str, body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let read = match coding {
        "br" => brotli::Decompressor::new(body, 4096).read_to_end(&mut plain),
        "zstd" => zstd::stream::read::Decoder::new(body)
            .expect("memory")
            .read_to_end(&mut plain),
        _ => GzDecoder::new(body).read_to_end(&mut plain),
    };
    read.expect("a whole body");
    plain
}

fn unpacked(body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    GzDecoder::new(body)
        .read_to_end(&mut plain)
        .expect("a whole gzip body");
    plain
}

fn proxy(backend: &Backend, inside: &str) -> Server {
    Setup::http(&format!(
        "log_format codings '$status:$gzip_ratio:$brotli_ratio:$zstd_ratio';
         server {{ listen %LISTEN1%; gzip on; gzip_types *; gzip_min_length 0; {inside}
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

#[test]
fn a_short_body_of_known_length_is_compressed_alike_however_it_comes() {
    const SIZE: usize = 30_000;
    let backend = Backend::scripted(|exchange| {
        let piece = exchange.seen.head.value("X-Piece");
        let piece = piece.and_then(|piece| piece.parse().ok());
        exchange.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {SIZE}\r\n\r\n"
        ));
        for piece in pattern(SIZE).chunks(piece.unwrap_or(SIZE)) {
            exchange.send(piece);
        }
        Then::NextRequest
    });
    // What one body becomes more than there is room for; nobody waits for the other then.
    let grows = "sub_filter 1 '1111111111111111111111111111111111111111'; sub_filter_once off;";
    for (inside, grows) in [("", false), (grows, true)] {
        let server = proxy(&backend, inside);
        let mut client = server.connect(1);
        let mut answers = [SIZE, 9000, 1000, 77].map(|piece| {
            let answer = client.ask(&format!(
                "GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\nX-Piece: {piece}\r\n\r\n"
            ));
            assert_eq!(answer.value("Content-Encoding"), Some("gzip"));
            answer.body
        });
        let whole = match grows {
            false => pattern(SIZE),
            true => String::from_utf8(pattern(SIZE))
                .expect("ASCII")
                .replace('1', &"1".repeat(40))
                .into_bytes(),
        };
        for answer in &answers {
            assert!(unpacked(answer) == whole);
        }
        answers.sort();
        assert!(grows || answers[0] == answers[3]);
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

#[test]
fn the_coding_that_a_client_likes_best_is_taken() {
    let backend = Backend::start();
    let server = proxy(
        &backend,
        "brotli on; brotli_types *; zstd on; zstd_types *; gzip_vary on;
         access_log %PREFIX%/codings.log codings;",
    );
    let mut client = server.connect(1);
    for (accepts, coding) in [
        ("gzip, br, zstd", "br"),
        ("gzip, zstd", "zstd"),
        ("br;q=0.5, gzip;q=0.8, zstd;q=0.7", "gzip"),
        ("*;q=0.1, br;q=0", "zstd"),
        ("identity;q=0, gzip;q=0.001", "gzip"),
        ("gzip;q=0.5, identity", ""),
        ("br;q=0, gzip;q=0", ""),
        ("deflate", ""),
    ] {
        for answer in ["body=200000", "chunked body=200000", "body=50"] {
            let answered = client.ask(&format!(
                "GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {accepts}\r\nX-Answer: {answer}\r\n\r\n"
            ));
            assert_eq!(answered.value("Vary"), Some("Accept-Encoding"));
            let told = answered.value("Content-Encoding").unwrap_or_default();
            assert_eq!(told, coding, "{accepts}");
            let body = match coding {
                "" => answered.body.clone(),
                coding => unpacked_from(coding, &answered.body),
            };
            let length = answer.rsplit('=').next().expect("a length");
            assert!(
                body == pattern(length.parse().expect("a number")),
                "{accepts}"
            );
        }
    }
    let log = server.read("codings.log");
    let first = log.lines().next().expect("a line");
    let parts: Vec<&str> = first.split(':').collect();
    assert_eq!((parts[0], parts[1], parts[3]), ("200", "-", "-"), "{first}");
    assert!(parts[2].parse::<f64>().expect("a ratio") > 2.0, "{first}");
}

#[test]
fn gzip_that_is_cut_off_closes_the_connection_of_who_has_it_unpacked() {
    let backend = Backend::start();
    let server = proxy(&backend, "gunzip on;");
    for text in ["%1f%8b%08%00%00%00%00%00%02%03%4b", "no%20gzip"] {
        let mut client = server.connect(1);
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: a\r\n\
             X-Answer: text={text} field=Content-Encoding:gzip\r\n\r\n"
        ));
        let answer = client.answer("GET");
        assert!(answer.cut.is_some(), "{text}");
    }
    let log = server.read("error.log");
    for told in ["ends too early", "cannot be unpacked"] {
        assert!(log.contains(told), "{log}");
    }
}

#[test]
fn pages_of_other_sites_read_what_cors_lets_them() {
    let backend = Backend::start();
    let server = Setup::http(
        "server { listen %LISTEN1%;
            cors https://a.test https://*.b.test credentials expose=X-Sum max_age=1m;
            location / { deny all; }
            location /api/ { allow all; proxy_pass http://%BACKEND%; }
            location /own/ { cors off; proxy_pass http://%BACKEND%; } }",
    )
    .set("BACKEND", backend.address())
    .start();
    let mut client = server.connect(1);
    let mut ask = |method: &str, path: &str, fields: &str| {
        let answer = client.ask(&format!(
            "{method} {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n\
             X-Answer: status=404 field=Access-Control-Allow-Origin:* field=Vary:Cookie\r\n\r\n"
        ));
        let told = (answer.fields.iter())
            .filter(|field| field.name.starts_with("Access-Control-") || field.name == "Vary")
            .map(|field| format!("{}: {}", field.name, field.value))
            .collect::<Vec<_>>();
        (answer.status, told.join(", "))
    };
    // A question before the question is answered although nobody may pass.
    assert_eq!(
        ask(
            "OPTIONS",
            "/",
            "Origin: https://x.b.test\r\nAccess-Control-Request-Method: PUT"
        ),
        (
            204,
            "Vary: Access-Control-Request-Headers, Vary: Origin, \
             Access-Control-Allow-Origin: https://x.b.test, \
             Access-Control-Allow-Credentials: true, \
             Access-Control-Allow-Methods: GET, HEAD, POST, PUT, PATCH, DELETE, \
             Access-Control-Max-Age: 60"
                .to_owned()
        )
    );
    assert_eq!(
        ask("GET", "/api/", "Origin: https://a.test"),
        (
            404,
            "Vary: Origin, Vary: Cookie, Access-Control-Allow-Origin: https://a.test, \
             Access-Control-Allow-Credentials: true, Access-Control-Expose-Headers: X-Sum"
                .to_owned()
        )
    );
    let silent = (404, "Vary: Origin, Vary: Cookie".to_owned());
    assert_eq!(ask("GET", "/api/", "Origin: https://b.test"), silent);
    assert_eq!(ask("GET", "/api/", "X-A: b"), silent);
    let own = (
        404,
        "Access-Control-Allow-Origin: *, Vary: Cookie".to_owned(),
    );
    assert_eq!(ask("GET", "/own/", "Origin: https://a.test"), own);
    let asks = "Origin: https://a.test\r\nAccess-Control-Request-Method: PUT";
    assert_eq!(ask("OPTIONS", "/own/", asks), own);
}

#[test]
fn what_was_compressed_is_counted() {
    let backend = Backend::start();
    let server = proxy(&backend, "location = /metrics { gzip off; metrics; }");
    let mut client = server.connect(1);
    let answer = client
        .ask("GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\nX-Answer: body=5000\r\n\r\n");
    let metrics = client
        .ask("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        .text();
    let size = answer.body.len();
    for line in [
        "openclaw_compression_input_bytes_total{coding=\"gzip\"} 5000".to_owned(),
        format!("openclaw_compression_output_bytes_total{{coding=\"gzip\"}} {size}"),
    ] {
        assert!(
            metrics.lines().any(|told| told == line),
            "{line}: {metrics}"
        );
    }
}

/// RFC 9110 section 15.4.5: what a cache is told of an answer that it has is what it was told then.
#[test]
fn an_answer_that_did_not_change_has_the_fields_of_the_compressed_one() {
    let page = "a page ".repeat(100);
    let server = Setup::http(
        "server { listen %LISTEN1%; root %PREFIX%/www; gzip on; gzip_types *; gzip_vary on; }",
    )
    .file("www/a.txt", page.clone())
    .start();
    let mut client = server.connect(1);
    let mut ask = |fields: &str| {
        client.ask(&format!(
            "GET /a.txt HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n{fields}\r\n"
        ))
    };
    let first = ask("");
    assert_eq!(unpacked(&first.body), page.as_bytes());
    let tag = first.value("ETag").expect("a tag").to_owned();
    assert!(tag.starts_with("W/"), "{tag}");
    let second = ask(&format!("If-None-Match: {tag}\r\n"));
    assert_eq!(second.status, 304);
    assert_eq!(second.value("ETag"), Some(&*tag));
    assert_eq!(second.value("Vary"), Some("Accept-Encoding"));
    assert_eq!(second.value("Content-Encoding"), None);
}
