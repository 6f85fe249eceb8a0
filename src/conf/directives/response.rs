//! Rows about what leaves and what is noted: fields, logs, the status page, HTTP/2.

use super::{
    ANY_NUMBER, Argument, Argument::*, COUNT, Contexts, Directive, HTTP_SERVER,
    HTTP_SERVER_LOCATION, HTTP_TO_IF_IN_LOCATION, NO_POOLS, TABLES_GROW, row,
};

const HEADERS: &str = "http_headers";
const LOG: &str = "http_log";
const V2: &str = "http_v2";
/// What nginx has no module for.
const OWN: &str = "openclaw";

const INHERIT: Argument = OneOf(&["on", "off", "merge"]);
/// RFC 9113 section 6.5.2 keeps these settings in 32 bits; hyper's are unsigned.
const STREAMS: Argument = Number {
    min: 1,
    max: i32::MAX as i64,
};

const OBSOLETE_PUSH: &str = "browsers no longer take pushed answers; use `early_hints`";
const OBSOLETE_HEADERS: &str = "obsolete; use `large_client_header_buffers`";

pub(super) const ROWS: &[Directive] = &[
    row(
        HEADERS,
        "add_header",
        HTTP_TO_IF_IN_LOCATION,
        &[Text, Template, OneOf(&["always"])],
    )
    .takes(2, 3)
    .many()
    .help("adds a field to good answers; `always` to every answer"),
    row(
        HEADERS,
        "add_header_inherit",
        HTTP_TO_IF_IN_LOCATION,
        &[INHERIT],
    )
    .default("on")
    .help("whether those of the level above count: if there is none here, never, or always"),
    row(
        HEADERS,
        "add_trailer",
        HTTP_TO_IF_IN_LOCATION,
        &[Text, Template, OneOf(&["always"])],
    )
    .takes(2, 3)
    .many()
    .help("adds a field after the body of good answers; `always` to every answer"),
    row(
        HEADERS,
        "add_trailer_inherit",
        HTTP_TO_IF_IN_LOCATION,
        &[INHERIT],
    )
    .default("on")
    .help("whether those of the level above count: if there is none here, never, or always"),
    row(HEADERS, "expires", HTTP_TO_IF_IN_LOCATION, &[Free])
        .takes(1, 2)
        .default("off")
        .help("sets `Expires` and `Cache-Control` to a time from now or, with `@`, of the day"),
    row(LOG, "log_format", Contexts::HTTP, &[Text, Free])
        .takes(2, ANY_NUMBER)
        .many()
        .help("names the form of a line of the access log; `combined` is there from the start"),
    row(
        LOG,
        "access_log",
        HTTP_TO_IF_IN_LOCATION.or(Contexts::LIMIT_EXCEPT),
        &[PathTemplate, Free],
    )
    .takes(1, ANY_NUMBER)
    .many()
    .default("logs/access.log combined")
    .help("where requests are noted, in which format, when, and how much is collected first"),
    row(
        LOG,
        "open_log_file_cache",
        HTTP_SERVER_LOCATION,
        &[Parameter(&[
            "off",
            "max=",
            "inactive=",
            "min_uses=",
            "valid=",
        ])],
    )
    .takes(1, 4)
    .default("off")
    .no_effect("the log keeps its files open by itself")
    .help("how many log files with variables in their names stay open"),
    row(
        "http_stub_status",
        "stub_status",
        Contexts::SERVER.or(Contexts::LOCATION),
        &[Free],
    )
    .takes(0, 1)
    .help("answers with counts of connections and requests"),
    row(
        OWN,
        "metrics",
        Contexts::LOCATION,
        &[OneOf(&["prometheus", "json"])],
    )
    .takes(0, 1)
    .help("answers with all that is counted, for Prometheus or as JSON"),
    row(V2, "http2", HTTP_SERVER, &[Flag])
        .default("off")
        .help("whether clients may speak HTTP/2"),
    row(V2, "http2_max_concurrent_streams", HTTP_SERVER, &[STREAMS])
        .default("128")
        .help("most requests at a time over one HTTP/2 connection"),
    row(V2, "http2_body_preread_size", HTTP_SERVER, &[Size])
        .default("512k")
        .help("bytes of a request body that a client may send before they are read; at least 16k"),
    row(V2, "http2_recv_buffer_size", Contexts::HTTP, &[Size])
        .default("256k")
        .no_effect("buffers size themselves")
        .help("buffer in which a worker reads HTTP/2, in bytes"),
    row(V2, "http2_chunk_size", HTTP_SERVER_LOCATION, &[Size])
        .default("8k")
        .no_effect("frames carry what is there to send")
        .help("largest piece of an answer's body in one frame, in bytes"),
    row(V2, "http2_pool_size", HTTP_SERVER, &[Size])
        .default("4k")
        .no_effect(NO_POOLS)
        .help("memory set aside for an HTTP/2 connection, in bytes"),
    row(V2, "http2_streams_index_size", HTTP_SERVER, &[COUNT])
        .default("32")
        .no_effect(TABLES_GROW)
        .help("size of the table of a connection's streams"),
    row(V2, "http2_max_concurrent_pushes", HTTP_SERVER, &[COUNT])
        .no_effect(OBSOLETE_PUSH)
        .help("most pushed answers at a time"),
    row(V2, "http2_push", HTTP_SERVER_LOCATION, &[Text])
        .many()
        .no_effect(OBSOLETE_PUSH)
        .help("the URI that is pushed together with the answer"),
    row(V2, "http2_push_preload", HTTP_SERVER_LOCATION, &[Flag])
        .no_effect(OBSOLETE_PUSH)
        .help("whether `Link` fields with `preload` push"),
    row(V2, "http2_max_requests", HTTP_SERVER, &[COUNT])
        .no_effect("obsolete; use `keepalive_requests`")
        .help("most requests over one HTTP/2 connection"),
    row(V2, "http2_max_field_size", HTTP_SERVER, &[Size])
        .no_effect(OBSOLETE_HEADERS)
        .help("largest compressed field of a request, in bytes"),
    row(V2, "http2_max_header_size", HTTP_SERVER, &[Size])
        .no_effect(OBSOLETE_HEADERS)
        .help("largest head of a request, in bytes"),
    row(V2, "http2_recv_timeout", HTTP_SERVER, &[Milliseconds])
        .no_effect("obsolete; use `client_header_timeout`")
        .help("how long to wait for more of a request"),
    row(V2, "http2_idle_timeout", HTTP_SERVER, &[Milliseconds])
        .no_effect("obsolete; use `keepalive_timeout`")
        .help("how long an idle HTTP/2 connection stays open"),
];
