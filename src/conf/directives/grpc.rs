//! Rows of `ngx_http_grpc_module`: requests of gRPC passed on to a peer. TLS with it is in
//! [`super::peer_tls`].

use super::proxy::NEXT_UPSTREAM;
use super::{ANY_NUMBER, Argument::*, COUNT, Contexts, Directive, HTTP_SERVER_LOCATION, row};

const GRPC: &str = "http_grpc";

pub(super) const ROWS: &[Directive] = &[
    row(
        GRPC,
        "grpc_pass",
        Contexts::LOCATION.or(Contexts::IF_IN_LOCATION),
        &[Template],
    )
    .help("passes requests of gRPC on to this address"),
    row(
        GRPC,
        "grpc_bind",
        HTTP_SERVER_LOCATION,
        &[Template, OneOf(&["transparent"])],
    )
    .takes(1, 2)
    .help("own address that connections to peers come from; `off` leaves it to the system"),
    row(GRPC, "grpc_socket_keepalive", HTTP_SERVER_LOCATION, &[Flag])
        .default("off")
        .help("whether the system probes idle connections to peers"),
    row(
        GRPC,
        "grpc_connect_timeout",
        HTTP_SERVER_LOCATION,
        &[Milliseconds],
    )
    .default("60s")
    .help("how long connecting to a peer may take"),
    row(
        GRPC,
        "grpc_send_timeout",
        HTTP_SERVER_LOCATION,
        &[Milliseconds],
    )
    .default("60s")
    .help("longest pause between two writes of a request to a peer"),
    row(
        GRPC,
        "grpc_read_timeout",
        HTTP_SERVER_LOCATION,
        &[Milliseconds],
    )
    .default("60s")
    .help("longest pause between two messages of a peer"),
    row(GRPC, "grpc_buffer_size", HTTP_SERVER_LOCATION, &[Size])
        .default("4k")
        .help("most that the head of a peer's answer may take, in bytes"),
    row(
        GRPC,
        "grpc_next_upstream",
        HTTP_SERVER_LOCATION,
        &[NEXT_UPSTREAM],
    )
    .takes(1, ANY_NUMBER)
    .many()
    .default("error timeout")
    .help("failures after which the next peer of the upstream is tried"),
    row(
        GRPC,
        "grpc_next_upstream_timeout",
        HTTP_SERVER_LOCATION,
        &[Milliseconds],
    )
    .default("0")
    .help("how long peers may be tried altogether; 0 is no limit"),
    row(
        GRPC,
        "grpc_next_upstream_tries",
        HTTP_SERVER_LOCATION,
        &[COUNT],
    )
    .default("0")
    .help("most peers that are tried for a request; 0 is no limit"),
    row(
        GRPC,
        "grpc_set_header",
        HTTP_SERVER_LOCATION,
        &[Text, Template],
    )
    .many()
    .default("Host $proxy_host")
    .help("sets a field of the request to the peer; an empty value removes it"),
    row(GRPC, "grpc_hide_header", HTTP_SERVER_LOCATION, &[Text])
        .many()
        .help("field of a peer's answer that the client does not get"),
    row(GRPC, "grpc_pass_header", HTTP_SERVER_LOCATION, &[Text])
        .many()
        .help("field of a peer's answer that the client gets although it is hidden by default"),
    row(
        GRPC,
        "grpc_ignore_headers",
        HTTP_SERVER_LOCATION,
        &[OneOf(&["X-Accel-Redirect", "X-Accel-Charset"])],
    )
    .takes(1, ANY_NUMBER)
    .many()
    .help("fields of a peer's answer that give us no orders"),
    row(GRPC, "grpc_intercept_errors", HTTP_SERVER_LOCATION, &[Flag])
        .default("off")
        .help("whether `error_page` also replaces a peer's answers from 300 on"),
];
