//! What RFC 9113 demands of a server, sentence by sentence: each case sends frames and says which
//! reactions the RFC allows.
//!
//! A stream error may always be answered as a connection error (section 5.4.2).

use crate::support::backend::Backend;
use crate::support::frames::*;
use crate::support::server::{Server, Setup, is_nginx, under_test};

/// What a server may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reaction {
    /// Go on as if nothing had happened.
    GoesOn,
    /// Reset the stream of the case with this code, and go on.
    Stream(u32),
    /// Answer the stream of the case with this status, and go on.
    Status(u16),
    /// End the connection with this code.
    Connection(u32),
}

use Reaction::{Connection, GoesOn, Status, Stream};

struct Case {
    section: &'static str,
    name: &'static str,
    /// Sent behind preface and settings.
    bytes: Vec<u8>,
    allowed: &'static [Reaction],
}

fn case(
    section: &'static str,
    name: &'static str,
    frames: &[Vec<u8>],
    allowed: &'static [Reaction],
) -> Case {
    Case {
        section,
        name,
        bytes: frames.concat(),
        allowed,
    }
}

/// The stream that the cases use.
const CASE: u32 = 1;
/// The stream of the request that shows whether the connection goes on.
const PROBE: u32 = 99;

const OPEN: u8 = END_HEADERS;
const WHOLE: u8 = END_HEADERS | END_STREAM;

const MALFORMED: &[Reaction] = &[Stream(PROTOCOL_ERROR), Connection(PROTOCOL_ERROR)];

fn head(flags: u8, block: Vec<u8>) -> Vec<u8> {
    frame(HEADERS, flags, CASE, block)
}

/// A request that waits for its body.
fn open() -> Vec<u8> {
    head(OPEN, request("POST", "/upload", &[]))
}

/// A request that has ended.
fn whole() -> Vec<u8> {
    head(WHOLE, get("/own", &[]))
}

/// A whole request with one more field.
fn with(name: &str, value: &str) -> Vec<u8> {
    head(WHOLE, get("/own", &[(name, value)]))
}

/// A whole request of these fields and no others.
fn only(fields: &[(&str, &str)]) -> Vec<u8> {
    head(WHOLE, block(fields))
}

fn data(flags: u8, payload: &[u8]) -> Vec<u8> {
    frame(DATA, flags, CASE, payload)
}

fn start() -> Option<(Backend, Server)> {
    if is_nginx(&under_test()) {
        return None;
    }
    let backend = Backend::start();
    let server = Setup::http(
        "server { listen %LISTEN1%; http2 on; root www;
            http2_max_concurrent_streams 10;
            http2_body_preread_size 64k;
            location / { }
            location /own { return 200 own; }
            location /upload { proxy_pass http://%BACKEND%; proxy_request_buffering on; }
            location /passed/ { proxy_pass http://%BACKEND%; }
            location /streamed/ { proxy_pass http://%BACKEND%; proxy_http_version 1.1;
                proxy_request_buffering off; } }",
    )
    .set("BACKEND", backend.address())
    .file("www/file", vec![b'x'; 200_000])
    .start();
    Some((backend, server))
}

/// Runs cases, each on a connection of its own, and tells all that went wrong.
fn check(cases: &[Case]) {
    let Some((_backend, server)) = start() else {
        return;
    };
    let mut wrong = Vec::new();
    for case in cases {
        let mut frames = Frames::connect(server.port(1));
        frames.send(&case.bytes);
        frames.send(ask(PROBE, "/own"));
        let seen = frames.until_end_of(PROBE);
        let goes_on = seen.status(PROBE) == Some(200);
        let is_allowed = case.allowed.iter().any(|reaction| match *reaction {
            GoesOn => goes_on && seen.reset(CASE).is_none() && seen.goaway().is_none(),
            Stream(code) => goes_on && seen.reset(CASE) == Some(code),
            Status(status) => goes_on && seen.status(CASE) == Some(status),
            Connection(code) => !goes_on && seen.goaway() == Some(code),
        });
        if !is_allowed {
            wrong.push(format!(
                "section {}: {}: allowed are {:?}, but: goes on {goes_on}, reset {:?}, status {:?}, \
                 goaway {:?}, end {:?}",
                case.section,
                case.name,
                case.allowed,
                seen.reset(CASE),
                seen.status(CASE),
                seen.goaway(),
                seen.end
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn frames_are_read_as_sections_4_and_5_say() {
    const CLOSED: &[Reaction] = &[Stream(STREAM_CLOSED), Connection(STREAM_CLOSED)];
    const COMPRESSION: &[Reaction] = &[Connection(COMPRESSION_ERROR)];
    const PROTOCOL: &[Reaction] = &[Connection(PROTOCOL_ERROR)];
    const SIZE: &[Reaction] = &[Connection(FRAME_SIZE_ERROR)];
    let reserved = |bytes: Vec<u8>| {
        let mut bytes = bytes;
        bytes[5] |= 0x80;
        bytes
    };
    let broken_block = frame(
        HEADERS,
        WHOLE,
        CASE,
        [get("/own", &[]), vec![0x80]].concat(),
    );
    check(&[
        case(
            "4.1",
            "a frame of an unknown kind is ignored",
            &[frame(0xbe, 0xff, 0, b"grease")],
            &[GoesOn],
        ),
        case(
            "4.1",
            "a frame of an unknown kind on a stream is ignored",
            &[open(), frame(0xbe, 0xff, CASE, b"grease")],
            &[GoesOn],
        ),
        case(
            "4.1",
            "flags without a meaning are ignored",
            &[
                frame(PING, 0xfe, 0, [0; 8]),
                frame(HEADERS, WHOLE | 0xd2, CASE, get("/own", &[])),
            ],
            &[Status(200)],
        ),
        case(
            "4.1",
            "the reserved bit is ignored",
            &[reserved(whole())],
            &[Status(200)],
        ),
        case(
            "4.2",
            "DATA longer than SETTINGS_MAX_FRAME_SIZE",
            &[open(), data(0, &[0; 16_385])],
            SIZE,
        ),
        case(
            "4.2",
            "DATA as long as SETTINGS_MAX_FRAME_SIZE",
            &[open(), data(END_STREAM, &[0; 16_384])],
            &[GoesOn],
        ),
        case(
            "4.2",
            "HEADERS longer than SETTINGS_MAX_FRAME_SIZE",
            &[head(WHOLE, get("/own", &[("x", &"y".repeat(17_000))]))],
            SIZE,
        ),
        case(
            "4.2",
            "SETTINGS longer than SETTINGS_MAX_FRAME_SIZE",
            &[frame(SETTINGS, 0, 0, vec![0; 16_386])],
            SIZE,
        ),
        case(
            "4.3",
            "a block that cannot be decoded",
            &[broken_block],
            COMPRESSION,
        ),
        case(
            "4.3",
            "a block that ends within a field",
            &[head(WHOLE, vec![0x00, 0x05, b'a'])],
            COMPRESSION,
        ),
        case(
            "4.3",
            "another kind of frame within a block",
            &[
                head(END_STREAM, get("/own", &[])),
                frame(PING, 0, 0, [0; 8]),
            ],
            PROTOCOL,
        ),
        case(
            "4.3",
            "HEADERS of another stream within a block",
            &[head(END_STREAM, get("/own", &[])), ask(3, "/own")],
            PROTOCOL,
        ),
        case(
            "4.3",
            "CONTINUATION of another stream within a block",
            &[
                head(END_STREAM, get("/own", &[])),
                frame(CONTINUATION, END_HEADERS, 3, []),
            ],
            PROTOCOL,
        ),
        case(
            "4.3",
            "a block in several frames",
            &[
                head(END_STREAM, get("/own", &[])[..7].to_vec()),
                frame(CONTINUATION, 0, CASE, &get("/own", &[])[7..20]),
                frame(CONTINUATION, 0, CASE, []),
                frame(CONTINUATION, END_HEADERS, CASE, &get("/own", &[])[20..]),
            ],
            &[Status(200)],
        ),
        case(
            "4.3.1",
            "a table larger than SETTINGS_HEADER_TABLE_SIZE",
            &[head(
                WHOLE,
                [vec![0x3f, 0xe2, 0x1f], get("/own", &[])].concat(),
            )],
            COMPRESSION,
        ),
        case("5.1", "DATA on an idle stream", &[data(0, b"x")], PROTOCOL),
        case(
            "5.1",
            "RST_STREAM on an idle stream",
            &[reset(CASE, CANCEL)],
            PROTOCOL,
        ),
        case(
            "5.1",
            "WINDOW_UPDATE on an idle stream",
            &[window_update(CASE, 1)],
            PROTOCOL,
        ),
        case(
            "5.1",
            "CONTINUATION on an idle stream",
            &[frame(CONTINUATION, END_HEADERS, CASE, get("/own", &[]))],
            PROTOCOL,
        ),
        case(
            "5.1",
            "PRIORITY on an idle stream",
            &[frame(PRIORITY, 0, CASE, [0, 0, 0, 0, 1])],
            &[GoesOn],
        ),
        case(
            "5.1",
            "DATA on a half-closed stream",
            &[head(WHOLE, get("/file", &[])), data(0, b"x")],
            CLOSED,
        ),
        case(
            "5.1",
            "HEADERS on a half-closed stream",
            &[head(WHOLE, get("/file", &[])), whole()],
            CLOSED,
        ),
        case(
            "5.1",
            "WINDOW_UPDATE on a half-closed stream",
            &[head(WHOLE, get("/own", &[])), window_update(CASE, 1)],
            &[Status(200)],
        ),
        case(
            "5.1",
            "PRIORITY on a half-closed stream",
            &[
                head(WHOLE, get("/own", &[])),
                frame(PRIORITY, 0, CASE, [0, 0, 0, 0, 1]),
            ],
            &[Status(200)],
        ),
        case(
            "5.1",
            "RST_STREAM on a half-closed stream",
            &[head(WHOLE, get("/file", &[])), reset(CASE, CANCEL)],
            &[GoesOn],
        ),
        case(
            "5.1",
            "HEADERS on a stream that was reset",
            &[open(), reset(CASE, CANCEL), whole()],
            CLOSED,
        ),
        case(
            "5.1",
            "DATA on a stream that was reset",
            &[open(), reset(CASE, CANCEL), data(0, b"x")],
            CLOSED,
        ),
        case(
            "5.1",
            "PRIORITY on a stream that was reset",
            &[
                open(),
                reset(CASE, CANCEL),
                frame(PRIORITY, 0, CASE, [0, 0, 0, 0, 1]),
            ],
            &[GoesOn],
        ),
        case(
            "5.1.1",
            "a stream of an even number",
            &[ask(2, "/own")],
            PROTOCOL,
        ),
        case(
            "5.1.1",
            "a stream of a lower number than one before",
            &[ask(5, "/own"), ask(3, "/own")],
            &[Connection(PROTOCOL_ERROR), Connection(STREAM_CLOSED)],
        ),
        case(
            "5.5",
            "an unknown frame within a block",
            &[head(END_STREAM, get("/own", &[])), frame(0xbe, 0, 0, [])],
            PROTOCOL,
        ),
    ]);
}

#[test]
fn frames_mean_what_section_6_says() {
    const PROTOCOL: &[Reaction] = &[Connection(PROTOCOL_ERROR)];
    const SIZE: &[Reaction] = &[Connection(FRAME_SIZE_ERROR)];
    const FLOW: &[Reaction] = &[Connection(FLOW_CONTROL_ERROR)];
    let padded = |padding: usize| {
        let block = get("/own", &[]);
        let mut payload = vec![padding as u8];
        payload.extend(&block);
        payload.extend(vec![0; padding]);
        payload
    };
    let mut too_padded = padded(0);
    too_padded[0] = 255;
    let setting = |name, value| settings(&[(name, value)]);
    check(&[
        case(
            "6.1",
            "DATA on stream 0",
            &[frame(DATA, 0, 0, b"x")],
            PROTOCOL,
        ),
        case(
            "6.1",
            "DATA of padding as long as itself",
            &[open(), data(PADDED, &[4, 0, 0, 0])],
            PROTOCOL,
        ),
        case(
            "6.1",
            "DATA with padding",
            &[open(), data(PADDED | END_STREAM, &[2, b'x', 0, 0])],
            &[GoesOn],
        ),
        case(
            "6.1",
            "DATA without the length of its padding",
            &[open(), data(PADDED, &[])],
            SIZE,
        ),
        case(
            "6.2",
            "HEADERS on stream 0",
            &[frame(HEADERS, WHOLE, 0, get("/own", &[]))],
            PROTOCOL,
        ),
        case(
            "6.2",
            "HEADERS with padding",
            &[head(WHOLE | PADDED, padded(7))],
            &[Status(200)],
        ),
        case(
            "6.2",
            "HEADERS with more padding than there is",
            &[head(WHOLE | PADDED, too_padded)],
            PROTOCOL,
        ),
        case(
            "6.2",
            "HEADERS with a priority",
            &[head(
                WHOLE | WITH_PRIORITY,
                [vec![0, 0, 0, 0, 16], get("/own", &[])].concat(),
            )],
            &[Status(200)],
        ),
        case(
            "6.3",
            "PRIORITY on stream 0",
            &[frame(PRIORITY, 0, 0, [0; 5])],
            PROTOCOL,
        ),
        case(
            "6.3",
            "PRIORITY of a wrong length",
            &[open(), frame(PRIORITY, 0, CASE, [0; 4])],
            &[Stream(FRAME_SIZE_ERROR), Connection(FRAME_SIZE_ERROR)],
        ),
        case(
            "6.4",
            "RST_STREAM on stream 0",
            &[reset(0, CANCEL)],
            PROTOCOL,
        ),
        case(
            "6.4",
            "RST_STREAM of a wrong length",
            &[open(), frame(RST_STREAM, 0, CASE, [0; 3])],
            SIZE,
        ),
        case(
            "6.5",
            "SETTINGS on a stream",
            &[frame(SETTINGS, 0, CASE, [])],
            PROTOCOL,
        ),
        case(
            "6.5",
            "SETTINGS of a wrong length",
            &[frame(SETTINGS, 0, 0, [0; 5])],
            SIZE,
        ),
        case(
            "6.5",
            "an acknowledgement of SETTINGS that is not empty",
            &[frame(SETTINGS, ACK, 0, [0; 6])],
            SIZE,
        ),
        case(
            "6.5.2",
            "ENABLE_PUSH other than 0 and 1",
            &[setting(ENABLE_PUSH, 2)],
            PROTOCOL,
        ),
        case(
            "6.5.2",
            "INITIAL_WINDOW_SIZE above the largest window",
            &[setting(INITIAL_WINDOW_SIZE, 1 << 31)],
            FLOW,
        ),
        case(
            "6.5.2",
            "INITIAL_WINDOW_SIZE of the largest window",
            &[setting(INITIAL_WINDOW_SIZE, (1 << 31) - 1)],
            &[GoesOn],
        ),
        case(
            "6.5.2",
            "MAX_FRAME_SIZE below its least value",
            &[setting(MAX_FRAME_SIZE, 16_383)],
            PROTOCOL,
        ),
        case(
            "6.5.2",
            "MAX_FRAME_SIZE above its greatest value",
            &[setting(MAX_FRAME_SIZE, 1 << 24)],
            PROTOCOL,
        ),
        case(
            "6.5.2",
            "a setting that is unknown",
            &[setting(0xbeef, 7)],
            &[GoesOn],
        ),
        case(
            "6.6",
            "PUSH_PROMISE from a client",
            &[
                open(),
                frame(
                    PUSH_PROMISE,
                    END_HEADERS,
                    CASE,
                    [vec![0, 0, 0, 2], get("/own", &[])].concat(),
                ),
            ],
            PROTOCOL,
        ),
        case(
            "6.7",
            "PING on a stream",
            &[frame(PING, 0, CASE, [0; 8])],
            PROTOCOL,
        ),
        case(
            "6.7",
            "PING of a wrong length",
            &[frame(PING, 0, 0, [0; 6])],
            SIZE,
        ),
        case(
            "6.7",
            "an acknowledgement of a PING that nobody sent",
            &[frame(PING, ACK, 0, [7; 8])],
            &[GoesOn],
        ),
        case(
            "6.8",
            "GOAWAY on a stream",
            &[frame(GOAWAY, 0, CASE, [0; 8])],
            PROTOCOL,
        ),
        case(
            "6.9",
            "WINDOW_UPDATE of 0 for the connection",
            &[window_update(0, 0)],
            PROTOCOL,
        ),
        case(
            "6.9",
            "WINDOW_UPDATE of 0 for a stream",
            &[open(), window_update(CASE, 0)],
            MALFORMED,
        ),
        case(
            "6.9",
            "WINDOW_UPDATE of a wrong length",
            &[frame(WINDOW_UPDATE, 0, 0, [0; 3])],
            SIZE,
        ),
        case(
            "6.9",
            "WINDOW_UPDATE with the reserved bit",
            &[window_update(0, 1 << 31 | 1)],
            &[GoesOn],
        ),
        case(
            "6.9.1",
            "a window of the connection beyond the largest",
            &[window_update(0, (1 << 31) - 1)],
            FLOW,
        ),
        case(
            "6.9.1",
            "a window of a stream beyond the largest",
            &[open(), window_update(CASE, (1 << 31) - 1)],
            &[Stream(FLOW_CONTROL_ERROR), Connection(FLOW_CONTROL_ERROR)],
        ),
        case(
            "6.9.2",
            "a window of a stream beyond the largest by SETTINGS",
            &[
                open(),
                window_update(CASE, 1 << 30),
                setting(INITIAL_WINDOW_SIZE, (1 << 31) - 1),
            ],
            FLOW,
        ),
        case(
            "6.10",
            "CONTINUATION without a block",
            &[whole(), frame(CONTINUATION, END_HEADERS, CASE, [])],
            PROTOCOL,
        ),
        case(
            "6.10",
            "CONTINUATION on stream 0",
            &[
                head(END_STREAM, get("/own", &[])),
                frame(CONTINUATION, END_HEADERS, 0, []),
            ],
            PROTOCOL,
        ),
        case(
            "6.10",
            "CONTINUATION behind DATA",
            &[
                open(),
                data(0, b"x"),
                frame(CONTINUATION, END_HEADERS, CASE, []),
            ],
            PROTOCOL,
        ),
    ]);
}

#[test]
fn malformed_requests_are_refused_as_section_8_says() {
    let usual = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/own"),
        (":authority", "a"),
    ];
    let without = |name: &str| {
        let fields: Vec<_> = (usual.iter().copied())
            .filter(|(other, _)| *other != name)
            .collect();
        only(&fields)
    };
    let instead = |name: &str, value: &'static str| {
        let fields = usual.map(|(other, usual)| (other, if other == name { value } else { usual }));
        only(&fields)
    };
    let twice =
        |name: &'static str, value: &'static str| only(&[&usual[..], &[(name, value)]].concat());
    let upload = |length: &str| {
        head(
            OPEN,
            request("POST", "/upload", &[("content-length", length)]),
        )
    };
    const REFUSED: &[Reaction] = &[
        Stream(PROTOCOL_ERROR),
        Connection(PROTOCOL_ERROR),
        Status(400),
    ];
    check(&[
        case(
            "8.1",
            "trailers that do not end the stream",
            &[open(), head(OPEN, block(&[("x", "y")]))],
            MALFORMED,
        ),
        case(
            "8.1",
            "trailers that end the stream",
            &[open(), data(0, b"x"), head(WHOLE, block(&[("x", "y")]))],
            &[GoesOn],
        ),
        case(
            "8.1",
            "DATA behind trailers",
            &[open(), head(WHOLE, block(&[("x", "y")])), data(0, b"x")],
            &[Stream(STREAM_CLOSED), Connection(STREAM_CLOSED)],
        ),
        case(
            "8.1.1",
            "a length above that of the body",
            &[upload("3"), data(END_STREAM, b"xx")],
            MALFORMED,
        ),
        case(
            "8.1.1",
            "a length below that of the body",
            &[upload("1"), data(END_STREAM, b"xx")],
            MALFORMED,
        ),
        case(
            "8.1.1",
            "a length below that of several DATA",
            &[upload("3"), data(0, b"xx"), data(END_STREAM, b"xx")],
            MALFORMED,
        ),
        case(
            "8.1.1",
            "a length and no body",
            &[head(
                WHOLE,
                request("POST", "/upload", &[("content-length", "1")]),
            )],
            MALFORMED,
        ),
        case(
            "8.1.1",
            "a length above that of a body with trailers",
            &[
                upload("3"),
                data(0, b"xx"),
                head(WHOLE, block(&[("x", "y")])),
            ],
            MALFORMED,
        ),
        case(
            "8.1.1",
            "the length of the body",
            &[upload("3"), data(0, b"xx"), data(END_STREAM, b"x")],
            &[GoesOn],
        ),
        case(
            "8.1.1",
            "two lengths",
            &[head(
                OPEN,
                request(
                    "POST",
                    "/upload",
                    &[("content-length", "1"), ("content-length", "2")],
                ),
            )],
            MALFORMED,
        ),
        case(
            "8.1.1",
            "a length that is none",
            &[upload("+1"), data(END_STREAM, b"x")],
            MALFORMED,
        ),
        case(
            "8.1.1",
            "an empty length",
            &[upload(""), data(END_STREAM, b"")],
            MALFORMED,
        ),
        case(
            "8.2",
            "a name in capital letters",
            &[with("X-A", "b")],
            MALFORMED,
        ),
        case(
            "8.2.1",
            "a name with a space",
            &[with("x a", "b")],
            MALFORMED,
        ),
        case(
            "8.2.1",
            "a name with a control byte",
            &[with("x\u{7f}a", "b")],
            MALFORMED,
        ),
        case(
            "8.2.1",
            "a name beyond ASCII",
            &[with("x\u{e4}a", "b")],
            MALFORMED,
        ),
        case(
            "8.2.1",
            "a name with a colon",
            &[with("x:a", "b")],
            MALFORMED,
        ),
        case("8.2.1", "a name of no byte", &[with("", "b")], MALFORMED),
        case("8.2.1", "a value with NUL", &[with("x", "a\0b")], MALFORMED),
        case(
            "8.2.1",
            "a value with a line feed",
            &[with("x", "a\nb")],
            MALFORMED,
        ),
        case(
            "8.2.1",
            "a value with a carriage return",
            &[with("x", "a\rb")],
            MALFORMED,
        ),
        case(
            "8.2.1",
            "a value that begins with a space",
            &[with("x", " a")],
            MALFORMED,
        ),
        case(
            "8.2.1",
            "a value that ends with a tab",
            &[with("x", "a\t")],
            MALFORMED,
        ),
        case(
            "8.2.2",
            "Connection",
            &[with("connection", "close")],
            MALFORMED,
        ),
        case(
            "8.2.2",
            "Keep-Alive",
            &[with("keep-alive", "timeout=3")],
            MALFORMED,
        ),
        case(
            "8.2.2",
            "Proxy-Connection",
            &[with("proxy-connection", "close")],
            MALFORMED,
        ),
        case(
            "8.2.2",
            "Transfer-Encoding",
            &[with("transfer-encoding", "chunked")],
            MALFORMED,
        ),
        case("8.2.2", "Upgrade", &[with("upgrade", "h2c")], MALFORMED),
        case(
            "8.2.2",
            "TE other than trailers",
            &[with("te", "trailers, deflate")],
            MALFORMED,
        ),
        case(
            "8.2.2",
            "TE of trailers",
            &[with("te", "trailers")],
            &[Status(200)],
        ),
        case(
            "8.3",
            "a pseudo field that is unknown",
            &[with(":a", "b")],
            MALFORMED,
        ),
        case(
            "8.3",
            "a pseudo field of an answer",
            &[only(&[&usual[..], &[(":status", "200")]].concat())],
            MALFORMED,
        ),
        case(
            "8.3",
            "a pseudo field in trailers",
            &[open(), data(0, b"x"), head(WHOLE, block(&[(":path", "/")]))],
            MALFORMED,
        ),
        case(
            "8.3",
            "a pseudo field behind another field",
            &[only(&[&[("x", "y")], &usual[..]].concat())],
            MALFORMED,
        ),
        case(
            "8.3",
            "a pseudo field behind another field, the last",
            &[only(&[&usual[..3], &[("x", "y")], &usual[3..]].concat())],
            MALFORMED,
        ),
        case("8.3.1", "no :method", &[without(":method")], MALFORMED),
        case("8.3.1", "no :scheme", &[without(":scheme")], MALFORMED),
        case("8.3.1", "no :path", &[without(":path")], MALFORMED),
        case(
            "8.3.1",
            "no :path and no :authority",
            &[only(&[
                (":method", "GET"),
                (":scheme", "http"),
                ("host", "a"),
            ])],
            MALFORMED,
        ),
        case(
            "8.3.1",
            "no :authority and no Host",
            &[without(":authority")],
            REFUSED,
        ),
        case(
            "8.3.1",
            "no :authority but Host",
            &[only(&[&usual[..3], &[("host", "a")]].concat())],
            &[Status(200)],
        ),
        case(
            "8.3.1",
            "Host as :authority",
            &[with("host", "a")],
            &[Status(200)],
        ),
        case(
            "8.3.1",
            "Host other than :authority",
            &[with("host", "b")],
            REFUSED,
        ),
        case(
            "8.3.1",
            "two :method",
            &[twice(":method", "GET")],
            MALFORMED,
        ),
        case(
            "8.3.1",
            "two :scheme",
            &[twice(":scheme", "http")],
            MALFORMED,
        ),
        case("8.3.1", "two :path", &[twice(":path", "/own")], MALFORMED),
        case(
            "8.3.1",
            "two :authority",
            &[twice(":authority", "a")],
            MALFORMED,
        ),
        case(
            "8.3.1",
            "an empty :path",
            &[instead(":path", "")],
            MALFORMED,
        ),
        case(
            "8.3.1",
            "a :path that does not begin with a slash",
            &[instead(":path", "own")],
            MALFORMED,
        ),
        case(
            "8.3.1",
            "a :path that begins with its query",
            &[instead(":path", "?own")],
            MALFORMED,
        ),
        case(
            "8.3.1",
            "an asterisk for another method than OPTIONS",
            &[instead(":path", "*")],
            MALFORMED,
        ),
        case(
            "8.3.1",
            "a :path with a space",
            &[instead(":path", "/ own")],
            REFUSED,
        ),
        case(
            "8.3.1",
            "a user in :authority",
            &[instead(":authority", "u@a")],
            MALFORMED,
        ),
        case(
            "8.3.1",
            "an :authority that is no host",
            &[instead(":authority", "a/b")],
            REFUSED,
        ),
        case(
            "8.3.1",
            "a :scheme that is none",
            &[instead(":scheme", "h ttp")],
            MALFORMED,
        ),
        case(
            "8.5",
            "CONNECT with :path and :scheme",
            &[instead(":method", "CONNECT")],
            MALFORMED,
        ),
        case(
            "8.5",
            "CONNECT without :authority",
            &[only(&[(":method", "CONNECT")])],
            MALFORMED,
        ),
        case(
            "8.5",
            "CONNECT",
            &[only(&[(":method", "CONNECT"), (":authority", "a:443")])],
            &[Status(405)],
        ),
        case(
            "8441 4",
            ":protocol in another method than CONNECT",
            &[twice(":protocol", "websocket")],
            MALFORMED,
        ),
        case(
            "8441 4",
            ":protocol without :path",
            &[only(&[
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                (":scheme", "http"),
                (":authority", "a"),
            ])],
            MALFORMED,
        ),
        case(
            "8441 4",
            ":protocol without :scheme",
            &[only(&[
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                (":path", "/own"),
                (":authority", "a"),
            ])],
            MALFORMED,
        ),
        case(
            "8441 5",
            "a :protocol that is unknown",
            &[only(&[
                (":method", "CONNECT"),
                (":protocol", "connect-udp"),
                (":scheme", "http"),
                (":path", "/own"),
                (":authority", "a"),
            ])],
            &[Status(501)],
        ),
        case(
            "8441 5",
            "success where there is no tunnel is none",
            &[only(&[
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                (":scheme", "http"),
                (":path", "/own"),
                (":authority", "a"),
            ])],
            &[Status(501)],
        ),
    ]);
}

/// RFC 9113 section 3.4.
#[test]
fn a_connection_begins_with_preface_and_settings_on_both_sides() {
    let Some((_backend, server)) = start() else {
        return;
    };
    let port = server.port(1);
    let mut frames = Frames::silent(port);
    frames.send([PREFACE, &settings(&[(HEADER_TABLE_SIZE, 0)])].concat());
    let first = frames.frame().expect("a frame");
    assert_eq!((first.kind, first.flags, first.stream), (SETTINGS, 0, 0));
    let told = first.settings();
    assert_eq!(told.get(&MAX_CONCURRENT_STREAMS), Some(&10));
    assert_eq!(told.get(&INITIAL_WINDOW_SIZE), Some(&(64 << 10)));
    assert_eq!(told.get(&ENABLE_CONNECT_PROTOCOL), Some(&1));
    assert_eq!(told.get(&ENABLE_PUSH), None);
    // Section 6.5.3.
    let seen = frames.until(|frame| frame.kind == SETTINGS);
    assert_eq!(seen.frames.last().expect("a frame").flags, ACK);

    // Anything else than SETTINGS comes first.
    for first in [
        frame(PING, 0, 0, [0; 8]),
        ask(1, "/own"),
        frame(SETTINGS, ACK, 0, []),
    ] {
        let mut frames = Frames::silent(port);
        frames.send([PREFACE, &first].concat());
        assert_eq!(frames.rest().goaway(), Some(PROTOCOL_ERROR));
    }

    // What begins as the preface and goes on otherwise is no request of any version.
    let mut client = server.connect(1);
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\rX");
    let (bytes, _) = client.rest();
    let said = String::from_utf8_lossy(&bytes);
    assert!(
        said.is_empty() || said.starts_with("HTTP/1.1 400 ") || said.starts_with("HTTP/1.1 505 "),
        "{said}"
    );
}

/// RFC 9113 section 6.7.
#[test]
fn a_ping_is_answered_with_its_own_bytes() {
    let Some((_backend, server)) = start() else {
        return;
    };
    let mut frames = Frames::connect(server.port(1));
    frames.send(frame(PING, 0, 0, b"openclaw"));
    let seen = frames.until(|frame| frame.kind == PING);
    let answer = seen.frames.last().expect("a frame");
    assert_eq!((answer.flags, &answer.payload[..]), (ACK, &b"openclaw"[..]));
}

/// RFC 9113 section 5.1.2.
#[test]
fn a_stream_beyond_the_limit_is_refused() {
    let Some((_backend, server)) = start() else {
        return;
    };
    let mut frames = Frames::connect(server.port(1));
    for number in 0..10 {
        let block = request("POST", "/upload", &[]);
        frames.send(frame(HEADERS, OPEN, 1 + 2 * number, block));
    }
    frames.send(ask(21, "/own"));
    let seen = frames.until_end_of(21);
    assert_eq!(seen.reset(21), Some(REFUSED_STREAM));
    // There is room when one has ended.
    frames.send(frame(DATA, END_STREAM, 1, b"x"));
    assert_eq!(frames.until_end_of(1).status(1), Some(200));
    assert_eq!(frames.status_of(23, "/own"), Some(200));
}

/// RFC 9113 section 6.9: no more DATA than there is room for.
#[test]
fn the_windows_of_a_client_are_kept() {
    let Some((_backend, server)) = start() else {
        return;
    };
    let mut frames = Frames::with_settings(server.port(1), &[(INITIAL_WINDOW_SIZE, 3)]);
    let mut room_of_stream = 3;
    let read = |frames: &mut Frames, count: usize| {
        let mut taken = 0;
        while taken < count {
            let frame = frames.frame().expect("a frame");
            if frame.kind == DATA {
                taken += frame.payload.len();
            }
        }
        assert_eq!(taken, count);
    };
    // What is sent beyond shows before the answer to a PING.
    let is_quiet = |frames: &mut Frames| {
        frames.send(frame(PING, 0, 0, [1; 8]));
        let seen = frames.until(|frame| frame.kind == PING);
        assert!(seen.body(1).is_empty(), "{:?}", seen.frames);
    };
    frames.send(ask(1, "/file"));
    read(&mut frames, room_of_stream);
    is_quiet(&mut frames);
    // Section 6.9.1.
    frames.send(window_update(1, 7));
    read(&mut frames, 7);
    is_quiet(&mut frames);
    // Section 6.9.2: a larger one is larger for streams that are open; a smaller one may make a
    // window negative, and then it must first become positive.
    frames.send(settings(&[(INITIAL_WINDOW_SIZE, 13)]));
    read(&mut frames, 10);
    is_quiet(&mut frames);
    frames.send(settings(&[(INITIAL_WINDOW_SIZE, 3)]));
    frames.send(window_update(1, 10));
    is_quiet(&mut frames);
    frames.send(window_update(1, 2));
    read(&mut frames, 2);
    // The window of the connection holds too: 65535 bytes at first.
    frames.send(window_update(1, 1 << 20));
    room_of_stream += 7 + 10 + 2;
    read(&mut frames, 65_535 - room_of_stream);
    is_quiet(&mut frames);
    frames.send(window_update(0, 1 << 20));
    let rest = frames.until_end_of(1);
    assert_eq!(rest.body(1).len(), 200_000 - 65_535);
    assert!(rest.has_ended(1));
}

/// RFC 9113 section 6.9.1: the client must keep ours.
#[test]
fn a_client_that_sends_beyond_our_windows_is_stopped() {
    let Some((_backend, server)) = start() else {
        return;
    };
    let mut frames = Frames::connect(server.port(1));
    // `/own` never reads a body; the window opens for nobody.
    frames.send(frame(HEADERS, OPEN, 1, request("POST", "/own", &[])));
    for _ in 0..70 {
        if !frames.send(frame(DATA, 0, 1, [0; 16_384])) {
            break;
        }
    }
    frames.finish();
    let seen = frames.rest();
    // The answer came before the body; the stream was then done with, or the window exceeded.
    let is_stopped = seen.reset(1).is_some() || seen.goaway() == Some(FLOW_CONTROL_ERROR);
    assert!(is_stopped, "{seen:?}");
}

/// RFC 9113 section 8.1: the request is not over, but the answer is, so the client is told to stop.
#[test]
fn an_answer_before_the_end_of_the_request_ends_the_stream_without_an_error() {
    let Some((_backend, server)) = start() else {
        return;
    };
    let mut frames = Frames::connect(server.port(1));
    frames.send(frame(HEADERS, OPEN, 1, request("POST", "/own", &[])));
    let seen = frames.until(|frame| frame.kind == RST_STREAM);
    assert_eq!(seen.status(1), Some(200));
    assert!(seen.has_ended(1));
    assert_eq!(seen.body(1), b"own");
    assert_eq!(seen.reset(1), Some(NO_ERROR));
    assert_eq!(frames.status_of(3, "/own"), Some(200));
}

/// RFC 9113 section 8.2.3.
#[test]
fn cookie_crumbs_are_one_field_for_a_peer_of_http_1() {
    let Some((backend, server)) = start() else {
        return;
    };
    let mut frames = Frames::connect(server.port(1));
    let fields = get(
        "/passed/x",
        &[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")],
    );
    frames.send(frame(HEADERS, WHOLE, 1, fields));
    assert_eq!(frames.until_end_of(1).status(1), Some(200));
    assert_eq!(backend.seen()[0].head.value("Cookie"), Some("a=1; b=2"));
}

/// RFC 9113 section 8.1: trailers of a request go no further where there is no room for them.
#[test]
fn trailers_of_a_request_are_no_part_of_its_body() {
    let Some((backend, server)) = start() else {
        return;
    };
    let mut frames = Frames::connect(server.port(1));
    frames.send(frame(HEADERS, OPEN, 1, request("POST", "/upload", &[])));
    frames.send(frame(DATA, 0, 1, b"body"));
    frames.send(frame(HEADERS, WHOLE, 1, block(&[("x-sum", "7")])));
    assert_eq!(frames.until_end_of(1).status(1), Some(200));
    let seen = &backend.seen()[0];
    assert_eq!(seen.body, b"body");
    assert_eq!(seen.head.value("X-Sum"), None);
    assert!(seen.trailers.is_empty());
}

/// RFC 9110 section 6.5: they do where the body is sent in chunks.
#[test]
fn trailers_of_a_request_follow_its_chunks_to_a_peer_of_http_1() {
    let Some((backend, server)) = start() else {
        return;
    };
    let mut frames = Frames::connect(server.port(1));
    frames.send(frame(HEADERS, OPEN, 1, request("POST", "/streamed/x", &[])));
    frames.send(frame(DATA, 0, 1, b"body"));
    let trailers = block(&[("x-sum", "7"), ("host", "b"), ("x-two", "8")]);
    frames.send(frame(HEADERS, WHOLE, 1, trailers));
    assert_eq!(frames.until_end_of(1).status(1), Some(200));
    let seen = &backend.seen()[0];
    assert_eq!(seen.body, b"body");
    assert_eq!(seen.head.value("Transfer-Encoding"), Some("chunked"));
    let trailers: Vec<_> = (seen.trailers.iter())
        .map(|field| (field.name.as_str(), field.value.as_str()))
        .collect();
    assert_eq!(trailers, [("x-sum", "7"), ("x-two", "8")]);
}
