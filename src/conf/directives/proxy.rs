//! Rows of `ngx_http_proxy_module`: a request passed on to a peer, and its answer passed back.
//! Its caching and TLS are not here; [`super::foreign()`] names them until they are.

use super::{
    ANY_NUMBER, Argument, Argument::*, COUNT, Contexts, DIRECTORY_LEVEL, Directive,
    HTTP_SERVER_LOCATION, NO_LOW_WATER_MARK, POSITIVE, TABLES_GROW, row,
};

const PROXY: &str = "http_proxy";
const NO_ANSWERS_ON_DISK: &str =
    "an answer waits for a slow client in memory (`proxy_buffers`), then its peer waits";

pub(super) const NEXT_UPSTREAM: Argument = OneOf(&[
    "error",
    "timeout",
    "invalid_header",
    "http_500",
    "http_502",
    "http_503",
    "http_504",
    "http_403",
    "http_404",
    "http_429",
    "non_idempotent",
    "off",
]);

const IGNORABLE_HEADERS: Argument = OneOf(&[
    "X-Accel-Redirect",
    "X-Accel-Expires",
    "X-Accel-Limit-Rate",
    "X-Accel-Buffering",
    "X-Accel-Charset",
    "Expires",
    "Cache-Control",
    "Set-Cookie",
    "Vary",
]);

pub(super) const ROWS: &[Directive] = &[
    // Where the request goes.
    row(
        PROXY,
        "proxy_pass",
        Contexts::LOCATION
            .or(Contexts::IF_IN_LOCATION)
            .or(Contexts::LIMIT_EXCEPT),
        &[Template],
    )
    .help("passes the request on to this address; a path replaces the location's prefix"),
    row(
        PROXY,
        "proxy_http_version",
        HTTP_SERVER_LOCATION,
        &[OneOf(&["1.0", "1.1", "2"])],
    )
    .default("1.1")
    .help("version of HTTP that peers are spoken to in"),
    row(
        PROXY,
        "proxy_bind",
        HTTP_SERVER_LOCATION,
        &[Template, OneOf(&["transparent"])],
    )
    .takes(1, 2)
    .help("own address that connections to peers come from; `off` leaves it to the system"),
    row(
        PROXY,
        "proxy_socket_keepalive",
        HTTP_SERVER_LOCATION,
        &[Flag],
    )
    .default("off")
    .help("whether the system probes idle connections to peers"),
    row(
        PROXY,
        "proxy_protocol",
        HTTP_SERVER_LOCATION,
        &[OneOf(&["off", "on", "v1", "v2"])],
    )
    .default("off")
    .help("the header that names the client to the peer before anything else; `on` is `v1`"),
    row(
        PROXY,
        "proxy_connect_timeout",
        HTTP_SERVER_LOCATION,
        &[Milliseconds],
    )
    .default("60s")
    .help("how long connecting to a peer may take"),
    row(
        PROXY,
        "proxy_send_timeout",
        HTTP_SERVER_LOCATION,
        &[Milliseconds],
    )
    .default("60s")
    .help("longest pause between two writes of a request to a peer"),
    row(
        PROXY,
        "proxy_read_timeout",
        HTTP_SERVER_LOCATION,
        &[Milliseconds],
    )
    .default("60s")
    .help("longest pause between two reads of an answer from a peer"),
    row(PROXY, "proxy_send_lowat", HTTP_SERVER_LOCATION, &[Size])
        .default("0")
        .no_effect(NO_LOW_WATER_MARK)
        .help("smallest free room in bytes for which a write to a peer is tried"),
    row(
        PROXY,
        "proxy_next_upstream",
        HTTP_SERVER_LOCATION,
        &[NEXT_UPSTREAM],
    )
    .takes(1, ANY_NUMBER)
    .many()
    .default("error timeout")
    .help("failures after which the next peer of the upstream is tried"),
    row(
        PROXY,
        "proxy_next_upstream_timeout",
        HTTP_SERVER_LOCATION,
        &[Milliseconds],
    )
    .default("0")
    .help("how long peers may be tried altogether; 0 is no limit"),
    row(
        PROXY,
        "proxy_next_upstream_tries",
        HTTP_SERVER_LOCATION,
        &[COUNT],
    )
    .default("0")
    .help("most peers that are tried for a request; 0 is no limit"),
    // What the request says.
    row(PROXY, "proxy_method", HTTP_SERVER_LOCATION, &[Template])
        .help("method of the request to the peer, in place of the client's"),
    row(
        PROXY,
        "proxy_set_header",
        HTTP_SERVER_LOCATION,
        &[Text, Template],
    )
    .many()
    .default("Host $proxy_host")
    .help("sets a field of the request to the peer; an empty value removes it"),
    row(PROXY, "proxy_set_body", HTTP_SERVER_LOCATION, &[Template])
        .help("body of the request to the peer, in place of the client's"),
    row(
        PROXY,
        "proxy_pass_request_headers",
        HTTP_SERVER_LOCATION,
        &[Flag],
    )
    .default("on")
    .help("whether the client's fields are passed on to the peer"),
    row(
        PROXY,
        "proxy_pass_request_body",
        HTTP_SERVER_LOCATION,
        &[Flag],
    )
    .default("on")
    .help("whether the client's body is passed on to the peer"),
    row(
        PROXY,
        "proxy_request_buffering",
        HTTP_SERVER_LOCATION,
        &[Flag],
    )
    .default("on")
    .help("whether the client's body is read completely before a peer is connected"),
    row(
        PROXY,
        "proxy_ignore_client_abort",
        HTTP_SERVER_LOCATION,
        &[Flag],
    )
    .default("off")
    .help("whether the request to the peer goes on when the client is gone"),
    row(
        PROXY,
        "proxy_headers_hash_max_size",
        HTTP_SERVER_LOCATION,
        &[COUNT],
    )
    .default("512")
    .no_effect(TABLES_GROW)
    .help("largest size of the tables of fields to set and to hide"),
    row(
        PROXY,
        "proxy_headers_hash_bucket_size",
        HTTP_SERVER_LOCATION,
        &[COUNT],
    )
    .default("64")
    .no_effect(TABLES_GROW)
    .help("size in bytes of one bucket of the tables of fields to set and to hide"),
    // What of the answer is passed back.
    row(PROXY, "proxy_hide_header", HTTP_SERVER_LOCATION, &[Text])
        .many()
        .help("field of a peer's answer that the client does not get"),
    row(PROXY, "proxy_pass_header", HTTP_SERVER_LOCATION, &[Text])
        .many()
        .help("field of a peer's answer that the client gets although it is hidden by default"),
    row(
        PROXY,
        "proxy_ignore_headers",
        HTTP_SERVER_LOCATION,
        &[IGNORABLE_HEADERS],
    )
    .takes(1, ANY_NUMBER)
    .many()
    .help("fields of a peer's answer that give us no orders"),
    row(PROXY, "proxy_pass_trailers", HTTP_SERVER_LOCATION, &[Flag])
        .default("off")
        .help("whether fields after the body of a peer's answer are passed back"),
    row(
        PROXY,
        "proxy_intercept_errors",
        HTTP_SERVER_LOCATION,
        &[Flag],
    )
    .default("off")
    .help("whether `error_page` also replaces a peer's answers from 300 on"),
    row(PROXY, "proxy_redirect", HTTP_SERVER_LOCATION, &[Free])
        .takes(1, 2)
        .many()
        .default("default")
        .help("text in `Location` and `Refresh` of a peer and what to put in its place"),
    row(PROXY, "proxy_cookie_domain", HTTP_SERVER_LOCATION, &[Free])
        .takes(1, 2)
        .many()
        .default("off")
        .help("domain in cookies of a peer and what to put in its place"),
    row(PROXY, "proxy_cookie_path", HTTP_SERVER_LOCATION, &[Free])
        .takes(1, 2)
        .many()
        .default("off")
        .help("path in cookies of a peer and what to put in its place"),
    row(PROXY, "proxy_cookie_flags", HTTP_SERVER_LOCATION, &[Free])
        .takes(1, 4)
        .many()
        .default("off")
        .help("cookie of a peer, by name or regular expression, and flags to add or take away"),
    row(PROXY, "proxy_force_ranges", HTTP_SERVER_LOCATION, &[Flag])
        .default("off")
        .help("whether ranges are served from answers of peers that do not offer them"),
    row(PROXY, "proxy_store", HTTP_SERVER_LOCATION, &[PathTemplate])
        .default("off")
        .help(
            "whether answers become files below `root`, or the path of the file that each becomes",
        ),
    row(PROXY, "proxy_store_access", HTTP_SERVER_LOCATION, &[Free])
        .takes(1, 3)
        .default("user:rw")
        .help("rights of these files: `user:`, `group:` and `all:` with `r` or `rw`"),
    // How the answer is held.
    row(PROXY, "proxy_buffering", HTTP_SERVER_LOCATION, &[Flag])
        .default("on")
        .help("whether a peer's answer is read faster than the client takes it"),
    row(PROXY, "proxy_buffer_size", HTTP_SERVER_LOCATION, &[Size])
        .default("4k")
        .help("buffer for the head of a peer's answer, in bytes; a longer head is refused"),
    row(
        PROXY,
        "proxy_buffers",
        HTTP_SERVER_LOCATION,
        &[POSITIVE, Size],
    )
    .default("8 4k")
    .help("number and size of the buffers for one answer of a peer"),
    row(
        PROXY,
        "proxy_busy_buffers_size",
        HTTP_SERVER_LOCATION,
        &[Size],
    )
    .default("8k")
    .no_effect("the engine shares its buffers out by itself")
    .help("bytes of those buffers that may be on their way to the client"),
    row(
        PROXY,
        "proxy_max_temp_file_size",
        HTTP_SERVER_LOCATION,
        &[Size],
    )
    .default("1024m")
    .no_effect(NO_ANSWERS_ON_DISK)
    .help("bytes of one answer that may wait on disk; 0 is none"),
    row(
        PROXY,
        "proxy_temp_file_write_size",
        HTTP_SERVER_LOCATION,
        &[Size],
    )
    .default("8k")
    .no_effect("the engine shares its buffers out by itself")
    .help("bytes that are written to disk at a time"),
    row(
        PROXY,
        "proxy_temp_path",
        HTTP_SERVER_LOCATION,
        &[Path, DIRECTORY_LEVEL],
    )
    .takes(1, 4)
    .default("proxy_temp")
    .no_effect(NO_ANSWERS_ON_DISK)
    .help("directory for answers on disk, with up to three levels below it"),
    row(PROXY, "proxy_limit_rate", HTTP_SERVER_LOCATION, &[Template])
        .default("0")
        .help("bytes per second that are read from a peer for one request; 0 is no limit"),
];
