//! `grpc_pass`: calls as gRPC makes them, and what becomes of them.

use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::net::TcpStream;

use crate::support::certificate::Authority;
use crate::support::http2_backend::{Http2Backend, Manner};
use crate::support::server::{Server, Setup, eventually, oracle};

/// How long a test waits before it calls the server stuck.
const PATIENCE: Duration = Duration::from_secs(20);

/// A gateway to this peer for clients of HTTP/2, with these directives more.
fn gateway(peer: &Http2Backend, more: &str) -> Server {
    Setup::new(format!(
        "worker_processes 1; events {{}} http {{ %COMMON%
            server {{ listen %LISTEN1%; http2 on; {more}
                location / {{ grpc_pass grpc://{}; }} }}
        }}",
        peer.address()
    ))
    .start()
}

fn start() -> Http2Backend {
    Http2Backend::start(Manner::default())
}

/// Runs a client of HTTP/2 to the gateway.
fn with_client<R>(server: &Server, run: impl AsyncFnOnce(SendRequest<Bytes>) -> R) -> R {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let port = server.port(1);
    runtime.block_on(async move {
        let work = async {
            let stream = TcpStream::connect(("127.0.0.1", port)).await;
            let stream = stream.expect("the server accepts");
            let (client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
            tokio::spawn(async move {
                // The end of the test is the end of it.
                let _ = connection.await;
            });
            run(client.ready().await.expect("a connection")).await
        };
        tokio::time::timeout(PATIENCE, work)
            .await
            .expect("the server is not stuck")
    })
}

/// Begins a call of a method.
fn call(client: &mut SendRequest<Bytes>, path: &str) -> (ResponseFuture, SendStream<Bytes>) {
    let request = Request::post(format!("http://api.test{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("x-call", "yes")
        .body(())
        .expect("a request");
    client.send_request(request, false).expect("it is sent")
}

/// The rest of a body, and its trailers.
async fn rest(body: &mut RecvStream) -> (Vec<u8>, Option<HeaderMap>) {
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.expect("the body is whole");
        body.flow_control()
            .release_capacity(piece.len())
            .expect("it was taken");
        bytes.extend_from_slice(&piece);
    }
    (bytes, body.trailers().await.expect("the end is whole"))
}

fn status(trailers: &Option<HeaderMap>) -> Option<&str> {
    let value = trailers.as_ref()?.get("grpc-status")?;
    value.to_str().ok()
}

/// One message and its answer.
async fn unary(
    client: &mut SendRequest<Bytes>,
    path: &str,
    message: &'static [u8],
) -> Response<()> {
    let (response, mut sending) = call(client, path);
    sending
        .send_data(Bytes::from_static(message), true)
        .expect("it is sent");
    let (parts, mut body) = response.await.expect("an answer").into_parts();
    if parts.status == http::StatusCode::OK && !body.is_end_stream() {
        let (bytes, trailers) = rest(&mut body).await;
        assert_eq!(bytes, message);
        assert_eq!(status(&trailers), Some("0"));
    }
    Response::from_parts(parts, ())
}

#[test]
fn a_unary_call_has_its_trailers_and_a_peer_is_told_that_they_are_wanted() {
    let peer = start();
    let server = gateway(&peer, "");
    let head = with_client(&server, async |mut client| {
        unary(&mut client, "/unary", b"hello").await
    });
    assert_eq!(head.status(), 200);
    assert_eq!(head.headers()["content-type"], "application/grpc");
    let calls = peer.calls();
    assert_eq!(calls[0].method, "POST");
    assert_eq!(calls[0].uri, format!("http://{}/unary", peer.address()));
    assert_eq!(calls[0].fields["te"], "trailers");
    assert_eq!(calls[0].fields["content-type"], "application/grpc");
    assert_eq!(calls[0].fields["x-call"], "yes");
}

#[test]
fn a_stream_of_the_server_passes_message_by_message() {
    let peer = start();
    let server = gateway(&peer, "");
    let (bytes, trailers) = with_client(&server, async |mut client| {
        let (response, mut sending) = call(&mut client, "/stream/100");
        sending.send_data(Bytes::new(), true).expect("it is sent");
        rest(response.await.expect("an answer").body_mut()).await
    });
    let text = String::from_utf8(bytes).expect("text");
    assert_eq!(text.lines().count(), 100);
    assert!(text.ends_with("message 99\n"));
    assert_eq!(status(&trailers), Some("0"));
}

/// Each side says something only when it has heard the other: nothing may wait for an end.
#[test]
fn both_sides_talk_by_turns_in_one_call() {
    let peer = start();
    let server = gateway(&peer, "");
    with_client(&server, async |mut client| {
        let (response, mut sending) = call(&mut client, "/echo");
        // The head comes before anything was said.
        let mut body = response.await.expect("an answer").into_body();
        for number in 0..20 {
            let message = Bytes::from(format!("turn {number}"));
            sending
                .send_data(message.clone(), false)
                .expect("it is sent");
            let mut heard = Vec::new();
            while heard.len() < message.len() {
                let piece = body.data().await.expect("more").expect("whole");
                body.flow_control()
                    .release_capacity(piece.len())
                    .expect("it was taken");
                heard.extend_from_slice(&piece);
            }
            assert_eq!(heard, message);
        }
        sending.send_data(Bytes::new(), true).expect("it is sent");
        let (bytes, trailers) = rest(&mut body).await;
        assert!(bytes.is_empty());
        assert_eq!(status(&trailers), Some("0"));
    });
}

#[test]
fn an_error_in_a_head_that_ends_the_answer_passes_as_such() {
    let peer = start();
    let server = gateway(&peer, "");
    let head = with_client(&server, async |mut client| {
        let (response, mut sending) = call(&mut client, "/trailers-only");
        sending.send_data(Bytes::new(), true).expect("it is sent");
        let answer = response.await.expect("an answer");
        assert!(answer.body().is_end_stream());
        answer.map(|_| ())
    });
    assert_eq!(head.headers()["grpc-status"], "5");
}

#[test]
fn a_call_that_is_cancelled_is_cancelled_at_the_peer() {
    let peer = start();
    let server = gateway(&peer, "");
    with_client(&server, async |mut client| {
        let (response, mut sending) = call(&mut client, "/head-only");
        let answer = response.await.expect("an answer");
        sending.send_reset(Reason::CANCEL);
        drop(answer);
        // While this lives the connection does.
        while peer.resets().is_empty() {
            tokio::task::yield_now().await;
        }
        drop(client);
    });
    assert_eq!(peer.resets(), [Reason::CANCEL]);
}

#[test]
fn many_calls_share_one_connection() {
    let peer = start();
    let server = gateway(&peer, "");
    with_client(&server, async |mut client| {
        for _ in 0..50 {
            assert_eq!(unary(&mut client, "/unary", b"again").await.status(), 200);
        }
    });
    assert_eq!(peer.connections(), 1);
}

#[test]
fn a_peer_that_is_gone_is_an_answer_of_http_as_with_nginx() {
    let peer = start();
    let server = Setup::http(
        "server { listen %LISTEN1%; http2 on;
            location / { grpc_pass %DEAD1%; }
            location /page { grpc_pass grpc://%DEAD1%; error_page 502 = /status; }
            location = /status { internal; default_type application/grpc;
                add_header grpc-status 14 always; return 204; } }",
    )
    .start();
    drop(peer);
    let (plain, page) = with_client(&server, async |mut client| {
        let plain = unary(&mut client, "/x", b"").await;
        (plain, unary(&mut client, "/page", b"").await)
    });
    assert_eq!(plain.status(), 502);
    assert_eq!(page.status(), 204);
    assert_eq!(page.headers()["grpc-status"], "14");
}

#[test]
fn fields_are_set_hidden_and_passed_as_written() {
    let peer = start();
    let server = gateway(
        &peer,
        "grpc_set_header Host named.test; grpc_set_header X-Call no; grpc_set_header X-More $host;
         grpc_hide_header X-Head;",
    );
    let head = with_client(&server, async |mut client| {
        unary(&mut client, "/unary", b"x").await
    });
    assert!(!head.headers().contains_key("x-head"));
    let calls = peer.calls();
    assert_eq!(calls[0].uri, "http://named.test/unary");
    assert_eq!(calls[0].fields["x-call"], "no");
    assert_eq!(calls[0].fields["x-more"], "api.test");
}

/// nginx as the service, which is itself a gateway, and TLS on the way.
#[test]
fn a_gateway_behind_a_gateway_is_reached_over_tls() {
    let peer = start();
    let authority = Authority::new();
    let pair = authority.issue(&["inner.test"]);
    let inner = Setup::http(&format!(
        "server {{ listen 127.0.0.1:%LISTEN1% ssl http2;
            ssl_certificate %PREFIX%/inner.pem; ssl_certificate_key %PREFIX%/inner.key;
            location / {{ grpc_pass grpc://{}; }} }}",
        peer.address()
    ))
    .program(&oracle())
    .file("inner.pem", pair.certificate)
    .file("inner.key", pair.key)
    .start();
    let server = Setup::http(&format!(
        "server {{ listen %LISTEN1%; http2 on;
            grpc_ssl_verify on; grpc_ssl_name inner.test; grpc_ssl_server_name on;
            grpc_ssl_trusted_certificate %PREFIX%/ca.pem;
            location / {{ grpc_pass grpcs://127.0.0.1:{0}; }}
            location /stream/ {{ grpc_pass $arg_none$scheme_of_peer://127.0.0.1:{0}; }} }}
         map $host $scheme_of_peer {{ default grpcs; }}",
        inner.port(1)
    ))
    .file("ca.pem", authority.pem())
    .start();
    with_client(&server, async |mut client| {
        assert_eq!(unary(&mut client, "/unary", b"hello").await.status(), 200);
        let (response, mut sending) = call(&mut client, "/stream/3");
        sending.send_data(Bytes::new(), true).expect("it is sent");
        let (_, trailers) = rest(response.await.expect("an answer").body_mut()).await;
        assert_eq!(status(&trailers), Some("0"));
    });
    assert_eq!(peer.calls().len(), 2);
}

#[test]
fn a_silent_peer_times_out() {
    let peer = start();
    let server = gateway(&peer, "grpc_read_timeout 100ms;");
    let head = with_client(&server, async |mut client| {
        unary(&mut client, "/silent", b"hello").await
    });
    assert_eq!(head.status(), 504);
    eventually("it is in the log", || {
        let said = server.said();
        said.contains("upstream: \"grpc://127.0.0.1:").then_some(())
    });
}
