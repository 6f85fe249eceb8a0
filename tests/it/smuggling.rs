//! Requests that two servers could read differently are refused and nothing of them goes on.
//!
//! Every vector is a test: one connection sends it with a second request behind it, which no reading
//! may let through. Where nginx takes a vector it is marked: we promise more.

use crate::support::backend::{Backend, Then};
use crate::support::client::Client;
use crate::support::server::{Server, Setup, is_nginx, under_test};
use crate::support::wire::End;

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// Sends bytes that must be refused, with a request hidden behind them.
fn refuse(request: impl AsRef<[u8]>) {
    let backend = Backend::start();
    let server = Setup::proxy(&backend).start();
    let mut client = server.connect(1);
    let mut bytes = request.as_ref().to_vec();
    bytes.extend(SMUGGLED.as_bytes());
    client.send(bytes);
    refused(&mut client);
    let seen = backend.seen();
    assert!(seen.is_empty(), "the backend got {seen:?}");
    still_serves(&server);
}

/// A refusal is one answer, 400 or 501, and the end of the connection.
fn refused(client: &mut Client) {
    let answer = client.answer("GET");
    assert!(
        matches!(answer.status, 400 | 501),
        "refused with 400 or 501, not {}",
        answer.line
    );
    assert!(answer.says_close(), "{:?}", answer.fields);
    let (rest, end) = client.rest();
    assert_eq!(String::from_utf8_lossy(&rest), "", "nothing follows");
    assert!(matches!(end, End::Closed | End::Reset), "{end:?}");
}

fn still_serves(server: &Server) {
    let answer = server
        .connect(1)
        .ask("GET /fine HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!(answer.status, 200);
}

/// `name: bytes;` for each vector, `name, beyond nginx: bytes;` where nginx takes it.
macro_rules! refused {
    ($($name:ident $(, $beyond:ident nginx)?: $request:expr;)*) => {
        $(
            #[test]
            fn $name() {
                $(
                    stringify!($beyond);
                    if is_nginx(&under_test()) {
                        return;
                    }
                )?
                refuse($request);
            }
        )*
    };
}

/// A POST with these fields and five bytes of body.
fn post(fields: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\nhello")
}

/// A POST whose body is these chunks.
fn chunks(body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
}

/// A POST with a Transfer-Encoding field of this value, and the body it would have.
fn coding(value: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {value}\r\n\r\n0\r\n\r\n")
}

// RFC 9112 section 6.3: the length must be one.
refused! {
    two_content_lengths_that_differ: post("Content-Length: 5\r\nContent-Length: 6");
    two_content_lengths_that_agree: post("Content-Length: 5\r\nContent-Length: 5");
    two_content_lengths_apart: post("Content-Length: 5\r\nX: y\r\ncontent-length: 0");
    content_length_as_a_list: post("Content-Length: 5, 5");
    content_length_as_a_list_that_differs: post("Content-Length: 5, 6");
    content_length_with_plus: post("Content-Length: +5");
    content_length_with_minus: post("Content-Length: -5");
    content_length_negative_zero: post("Content-Length: -0");
    content_length_hexadecimal: post("Content-Length: 0x5");
    content_length_exponent: post("Content-Length: 5e0");
    content_length_fraction: post("Content-Length: 5.0");
    content_length_with_space_inside: post("Content-Length: 5 5");
    content_length_with_letters_behind: post("Content-Length: 5abc");
    content_length_in_quotes: post("Content-Length: \"5\"");
    content_length_empty: post("Content-Length: ");
    content_length_of_64_bits_and_more: post("Content-Length: 18446744073709551621");
    content_length_of_63_bits_and_more: post("Content-Length: 9223372036854775808");
    content_length_with_underscore_digits: post("Content-Length: 1_0");
    content_length_with_vertical_tab: post("Content-Length: \x0b5");
    content_length_with_nul: post("Content-Length: 5\0");
    content_length_with_other_digits: post("Content-Length: \u{0665}");
}

// RFC 9112 section 6.1: what both frame differently nobody may frame.
refused! {
    content_length_and_chunked:
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    chunked_and_content_length:
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n";
    chunked_and_content_length_of_zero:
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n";
    unknown_coding_and_content_length:
        post("Transfer-Encoding: cow\r\nContent-Length: 5");
    chunked_in_http_1_0:
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    chunked_in_http_1_0_kept_alive:
        "POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    coding_unknown: coding("cow");
    coding_identity: coding("identity");
    coding_gzip: coding("gzip");
    coding_empty: coding("");
    coding_comma: coding(",");
    chunked_not_last: coding("chunked, gzip");
    chunked_before_identity: coding("chunked, identity");
    chunked_behind_gzip: coding("gzip, chunked");
    chunked_twice_in_a_list: coding("chunked, chunked");
    chunked_with_comma_in_front: coding(", chunked");
    chunked_with_comma_behind: coding("chunked,");
    chunked_with_letter_in_front: coding("xchunked");
    chunked_with_letter_behind: coding("chunkedx");
    chunked_cut_short: coding("chunke");
    chunked_with_parameter: coding("chunked;q=1");
    chunked_in_quotes: coding("\"chunked\"");
    chunked_in_single_quotes: coding("'chunked'");
    chunked_with_vertical_tab: coding("\x0bchunked");
    chunked_with_form_feed_behind: coding("chunked\x0c");
    chunked_with_nul: coding("chunked\0");
    chunked_with_no_break_space: coding("\u{a0}chunked");
    chunked_with_dotless_letters: coding("chun\u{212a}ed");
    chunked_twice: coding("chunked\r\nTransfer-Encoding: chunked");
    chunked_then_identity: coding("chunked\r\nTransfer-Encoding: identity");
    identity_then_chunked: coding("identity\r\nTransfer-Encoding: chunked");
    chunked_twice_in_other_case: coding("chunked\r\ntransfer-encoding: chunked");
    chunked_folded: coding("\r\n chunked");
    chunked_folded_by_tab: coding("\r\n\tchunked");
}

// RFC 9112 section 5.1 and 5.2: a name ends at its colon and a line at its end.
refused! {
    space_before_the_colon: post("Content-Length : 5");
    tab_before_the_colon: post("Content-Length\t: 5");
    space_before_the_colon_of_transfer_encoding:
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n";
    space_before_the_first_name: "POST / HTTP/1.1\r\n Content-Length: 5\r\nHost: a\r\n\r\nhello";
    tab_before_a_name: post("\tContent-Length: 5");
    space_inside_a_name: post("Content Length: 5\r\nContent-Length: 5");
    folded_value: post("X: y\r\n Content-Length: 5");
    folded_length: post("Content-Length:\r\n 5");
    folded_host: "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n";
    folded_empty_line: post("X: y\r\n \r\nContent-Length: 5");
    empty_name: post(": 5\r\nContent-Length: 5");
    nul_in_a_name: post("Content-Length\0: 5\r\nContent-Length: 5");
    nul_in_a_value: post("X: a\0b\r\nContent-Length: 5");
    carriage_return_in_a_value: post("X: a\rContent-Length: 0\r\nContent-Length: 5");
    carriage_return_in_a_name: post("X\rY: a\r\nContent-Length: 5");
    carriage_return_twice, beyond nginx: post("X: a\r\r\nContent-Length: 5");
    carriage_return_for_a_line_end: "GET / HTTP/1.1\rHost: a\r\n\r\n";
    two_hosts: "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n";
    two_equal_hosts: "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n";
    no_host: "GET / HTTP/1.1\r\nX: y\r\n\r\n";
    no_colon, beyond nginx: post("Content-Length 5\r\nNoColon\r\nContent-Length: 5");
    no_colon_alone, beyond nginx: "GET / HTTP/1.1\r\nHost: a\r\nNoColon\r\n\r\n";
    control_byte_in_a_value, beyond nginx: "GET / HTTP/1.1\r\nHost: a\r\nX: a\x01b\r\n\r\n";
    underscore_for_hyphen_in_content_length, beyond nginx: post("Content_Length: 0\r\nContent-Length: 5");
    underscore_for_hyphen_in_transfer_encoding, beyond nginx:
        post("Transfer_Encoding: chunked\r\nContent-Length: 5");
    name_that_is_no_token, beyond nginx: "GET / HTTP/1.1\r\nHost: a\r\nX(Y): z\r\n\r\n";
}

// RFC 9112 section 2.2: a line ends with CR LF. To take LF alone is allowed and how proxies come to
// disagree, so we do not.
refused! {
    line_feed_ends_the_request_line, beyond nginx: "GET / HTTP/1.1\nHost: a\r\n\r\n";
    line_feed_ends_a_field, beyond nginx: "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n";
    line_feed_ends_the_last_field, beyond nginx: "GET / HTTP/1.1\r\nHost: a\n\r\n";
    line_feed_ends_the_head, beyond nginx: "GET / HTTP/1.1\r\nHost: a\r\n\n";
    line_feed_hides_a_field, beyond nginx: post("X: a\nContent-Length: 0\r\nContent-Length: 5");
    line_feeds_everywhere, beyond nginx: "GET / HTTP/1.1\nHost: a\n\n";
    line_feed_before_the_request, beyond nginx: "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
}

// RFC 9112 section 3: three words.
refused! {
    space_in_the_target: "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n";
    tab_in_the_request_line: "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n";
    nul_in_the_target: "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n";
    escaped_nul_in_the_target: "GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n";
    control_byte_in_the_target: "GET /\x1f HTTP/1.1\r\nHost: a\r\n\r\n";
    delete_in_the_target: "GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n";
    space_before_the_method: " GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    method_in_lower_case: "get / HTTP/1.1\r\nHost: a\r\n\r\n";
    method_with_other_bytes: "G\x01T / HTTP/1.1\r\nHost: a\r\n\r\n";
    version_cut_short: "GET / HTTP/1.\r\nHost: a\r\n\r\n";
    version_zero: "GET / HTTP/0.9\r\nHost: a\r\n\r\n";
    version_in_lower_case: "GET / http/1.1\r\nHost: a\r\n\r\n";
    version_of_another_protocol: "GET / ICY/1.1\r\nHost: a\r\n\r\n";
    version_with_letters_behind: "GET / HTTP/1.1x\r\nHost: a\r\n\r\n";
    a_word_behind_the_version: "GET / HTTP/1.1 x\r\nHost: a\r\n\r\n";
    target_without_slash: "GET x HTTP/1.1\r\nHost: a\r\n\r\n";
    target_above_the_root: "GET /../x HTTP/1.1\r\nHost: a\r\n\r\n";
    escape_cut_short: "GET /%4 HTTP/1.1\r\nHost: a\r\n\r\n";
    preface_of_http_2: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    handshake_of_tls: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n";
    two_spaces_behind_the_method, beyond nginx: "GET  / HTTP/1.1\r\nHost: a\r\n\r\n";
    two_spaces_before_the_version, beyond nginx: "GET /  HTTP/1.1\r\nHost: a\r\n\r\n";
    space_behind_the_version, beyond nginx: "GET / HTTP/1.1 \r\nHost: a\r\n\r\n";
    minor_version_of_two_digits, beyond nginx: "GET / HTTP/1.10\r\nHost: a\r\n\r\n";
    line_feed_in_an_absolute_target, beyond nginx: "GET http://a\n/ HTTP/1.1\r\nHost: a\r\n\r\n";
}

// RFC 9112 section 7.1: chunks.
refused! {
    chunk_size_empty: chunks("\r\nhello\r\n0\r\n\r\n");
    chunk_size_with_plus: chunks("+5\r\nhello\r\n0\r\n\r\n");
    chunk_size_with_minus: chunks("-5\r\nhello\r\n0\r\n\r\n");
    chunk_size_with_0x: chunks("0x5\r\nhello\r\n0\r\n\r\n");
    chunk_size_not_hexadecimal: chunks("g\r\nhello\r\n0\r\n\r\n");
    chunk_size_with_space_in_front: chunks(" 5\r\nhello\r\n0\r\n\r\n");
    chunk_size_of_64_bits_and_more: chunks("10000000000000005\r\nhello\r\n0\r\n\r\n");
    chunk_size_all_ones: chunks("ffffffffffffffff\r\nhello\r\n0\r\n\r\n");
    chunk_size_in_quotes: chunks("\"5\"\r\nhello\r\n0\r\n\r\n");
    chunk_size_with_comma: chunks("5,5\r\nhello\r\n0\r\n\r\n");
    chunk_size_with_nul: chunks("5\0\r\nhello\r\n0\r\n\r\n");
    chunk_longer_than_its_size: chunks("5\r\nhello!\r\n0\r\n\r\n");
    chunk_without_its_line_end: chunks("5\r\nhello0\r\n\r\n");
    chunk_with_another_line_end: chunks("5\r\nhello\r\r0\r\n\r\n");
    chunk_size_of_two_words, beyond nginx: chunks("5 5\r\nhello\r\n0\r\n\r\n");
    chunk_size_ends_in_line_feed, beyond nginx: chunks("5\nhello\r\n0\r\n\r\n");
    chunk_ends_in_line_feed, beyond nginx: chunks("5\r\nhello\n0\r\n\r\n");
    chunk_extension_ends_in_line_feed, beyond nginx: chunks("5;a\nhello\r\n0\r\n\r\n");
    last_chunk_ends_in_line_feed, beyond nginx: chunks("5\r\nhello\r\n0\n\r\n");
    trailers_end_in_line_feed, beyond nginx: chunks("5\r\nhello\r\n0\r\n\n");
    trailer_ends_in_line_feed, beyond nginx: chunks("5\r\nhello\r\n0\r\nX: y\n\r\n");
    chunk_extension_with_carriage_return, beyond nginx: chunks("5;a\rb\r\nhello\r\n0\r\n\r\n");
    chunk_extension_without_end, beyond nginx:
        chunks(&format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(40_000)));
    trailer_without_colon, beyond nginx: chunks("5\r\nhello\r\n0\r\nX\r\n\r\n");
    trailer_folded, beyond nginx: chunks("5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n");
    trailers_without_end, beyond nginx:
        chunks(&format!("5\r\nhello\r\n0\r\n{}\r\n", "X: y\r\n".repeat(20_000)));
}

/// Where a body streams on, its head is there before its flaw is: the backend must see it cut.
#[test]
fn a_flaw_in_a_streamed_body_cuts_the_upstream_request() {
    for body in [
        "zz\r\n",
        "5\r\nhello!\r\n",
        "5\r\nhello0\r\n\r\n",
        "5 5\r\nhello\r\n",
    ] {
        if body.starts_with("5 5") && is_nginx(&under_test()) {
            continue;
        }
        let (whole, wholes) = std::sync::mpsc::channel();
        let backend = Backend::scripted(move |exchange| {
            whole
                .send(exchange.read_body().is_ok())
                .expect("the test waits for it");
            Then::Close
        });
        let server = Setup::http(
            "server { listen %LISTEN1%; proxy_request_buffering off; location / { proxy_pass http://%BACKEND%; } }",
        )
        .set("BACKEND", backend.address())
        .start();
        let mut client = server.connect(1);
        client.send(chunks("3\r\nabc\r\n"));
        client.send(format!("{body}{SMUGGLED}"));
        let (answered, _) = client.rest();
        let answered = String::from_utf8_lossy(&answered);
        assert!(
            answered.is_empty() || answered.starts_with("HTTP/1.1 400"),
            "{answered}"
        );
        assert!(backend.seen().len() <= 1, "only the first request");
        if backend.connections() > 0 {
            let whole = wholes.recv_timeout(std::time::Duration::from_secs(20));
            assert!(
                whole.is_err() || whole == Ok(false),
                "the body is not whole"
            );
        }
    }
}

/// A body that nobody reads is no request: not for an answer of our own, not for a method that has
/// no use for one.
#[test]
fn an_unread_body_is_never_taken_for_a_request() {
    let backend = Backend::start();
    let server = Setup::http(
        "server { listen %LISTEN1%;
            location / { proxy_pass http://%BACKEND%; }
            location /own { return 200 own; }
            location /none { return 404; }
            location /file { root www; } }",
    )
    .set("BACKEND", backend.address())
    .file("www/file", "file")
    .start();
    for path in ["/own", "/none", "/file", "/passed"] {
        for method in ["GET", "HEAD", "POST", "DELETE", "OPTIONS"] {
            let mut client = server.connect(1);
            let length = SMUGGLED.len();
            client.send(format!(
                "{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{SMUGGLED}"
            ));
            let first = client.answer(method);
            assert_ne!(first.status, 400, "{method} {path}");
            client.send("GET /own HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            // Either the connection goes on with the next request, or it ends here.
            if !first.says_close() {
                assert_eq!(client.answer("GET").text(), "own", "{method} {path}");
            }
            client.rest();
        }
    }
    let smuggled = |line: &str| line.contains("smuggled");
    let seen = backend.seen();
    assert!(!seen.iter().any(|seen| smuggled(&seen.head.line)));
}

/// Bytes that a backend sends behind its answer belong to nobody: the next client must not get them.
#[test]
fn bytes_behind_an_answer_are_not_the_next_answer() {
    let backend = Backend::scripted(|exchange| {
        if exchange.read_body().is_err() {
            return Then::Close;
        }
        exchange.send(
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirstHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned",
        );
        Then::NextRequest
    });
    let server = Setup::http(
        "upstream kept { server %BACKEND%; keepalive 4; }
         server { listen %LISTEN1%; location / { proxy_set_header Connection \"\"; proxy_pass http://kept; } }",
    )
    .set("BACKEND", backend.address())
    .start();
    for _ in 0..10 {
        let answer = server
            .connect(1)
            .ask("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert_eq!(answer.text(), "first");
    }
}
