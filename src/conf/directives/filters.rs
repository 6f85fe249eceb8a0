//! Rows about what becomes of an answer's body.

use super::{
    ANY_NUMBER, Argument, Argument::*, COUNT, Directive, HTTP_SERVER_LOCATION,
    HTTP_TO_IF_IN_LOCATION, row,
};

const GZIP: &str = "http_gzip";
/// What nginx has no module for in its own sources.
const OWN: &str = "openclaw";

const LEVEL: Argument = Number { min: 1, max: 9 };
const PROXIED: Argument = OneOf(&[
    "off",
    "expired",
    "no-cache",
    "no-store",
    "private",
    "no_last_modified",
    "no_etag",
    "auth",
    "any",
]);
const STATIC: Argument = OneOf(&["on", "off", "always"]);
const OWN_BUFFERS: &str = "buffers size themselves";

pub(super) const ROWS: &[Directive] = &[
    row(GZIP, "gzip", HTTP_TO_IF_IN_LOCATION, &[Flag])
        .default("off")
        .help("whether bodies are compressed with gzip for clients that take it"),
    row(GZIP, "gzip_types", HTTP_SERVER_LOCATION, &[Text])
        .takes(1, ANY_NUMBER)
        .many()
        .default("text/html")
        .help("media types that gzip compresses besides text/html; `*` is all"),
    row(GZIP, "gzip_comp_level", HTTP_SERVER_LOCATION, &[LEVEL])
        .default("1")
        .help("how hard gzip tries: from 1, fast, to 9, small"),
    row(GZIP, "gzip_min_length", HTTP_SERVER_LOCATION, &[Size])
        .default("20")
        .help("bodies known to be shorter, in bytes, are not compressed with gzip"),
    row(GZIP, "gzip_vary", HTTP_SERVER_LOCATION, &[Flag])
        .default("off")
        .help("whether `Vary: Accept-Encoding` tells caches that there are several forms"),
    row(
        GZIP,
        "gzip_http_version",
        HTTP_SERVER_LOCATION,
        &[OneOf(&["1.0", "1.1"])],
    )
    .default("1.1")
    .help("the oldest version of HTTP whose clients get gzip"),
    row(GZIP, "gzip_proxied", HTTP_SERVER_LOCATION, &[PROXIED])
        .takes(1, ANY_NUMBER)
        .default("off")
        .help("which answers to requests with `Via`, those of proxies, get gzip"),
    row(GZIP, "gzip_disable", HTTP_SERVER_LOCATION, &[Free])
        .takes(1, ANY_NUMBER)
        .many()
        .help("user agents, by regular expressions, that get no gzip; `msie6` is old browsers"),
    row(GZIP, "gzip_buffers", HTTP_SERVER_LOCATION, &[COUNT, Size])
        .default("32 4k")
        .no_effect(OWN_BUFFERS)
        .help("buffers for what gzip puts out"),
    row(GZIP, "gzip_window", HTTP_SERVER_LOCATION, &[Size])
        .default("32k")
        .no_effect("the window follows the body's length")
        .help("how far back gzip looks for repetitions, in bytes"),
    row(GZIP, "gzip_hash", HTTP_SERVER_LOCATION, &[Size])
        .default("128k")
        .no_effect(super::TABLES_GROW)
        .help("size of the table in which gzip looks for repetitions, in bytes"),
    row(GZIP, "postpone_gzipping", HTTP_SERVER_LOCATION, &[Size])
        .default("0")
        .no_effect("memory for gzip is taken when the first bytes come")
        .help("bytes to wait for before gzip begins"),
    row(GZIP, "gzip_no_buffer", HTTP_SERVER_LOCATION, &[Flag])
        .default("off")
        .no_effect("what can be sent is sent at once")
        .help("whether gzip sends small pieces"),
    row(
        "http_gzip_static",
        "gzip_static",
        HTTP_SERVER_LOCATION,
        &[STATIC],
    )
    .default("off")
    .help("whether `FILE.gz` is sent for `FILE`: to clients that take gzip, or `always`"),
    row("http_gunzip", "gunzip", HTTP_SERVER_LOCATION, &[Flag])
        .default("off")
        .help("whether gzip of peers is unpacked for clients that do not take it"),
    row(
        "http_gunzip",
        "gunzip_buffers",
        HTTP_SERVER_LOCATION,
        &[COUNT, Size],
    )
    .default("32 4k")
    .no_effect(OWN_BUFFERS)
    .help("buffers for what is unpacked"),
    row(OWN, "brotli", HTTP_TO_IF_IN_LOCATION, &[Flag])
        .default("off")
        .help("whether bodies are compressed with brotli for clients that take it"),
    row(OWN, "brotli_types", HTTP_SERVER_LOCATION, &[Text])
        .takes(1, ANY_NUMBER)
        .many()
        .default("text/html")
        .help("media types that brotli compresses besides text/html; `*` is all"),
    row(
        OWN,
        "brotli_comp_level",
        HTTP_SERVER_LOCATION,
        &[Number { min: 0, max: 11 }],
    )
    .default("6")
    .help("how hard brotli tries: from 0, fast, to 11, small"),
    row(OWN, "brotli_window", HTTP_SERVER_LOCATION, &[Size])
        .default("512k")
        .help("how far back brotli looks for repetitions: a power of two from 1k to 16m"),
    row(OWN, "brotli_min_length", HTTP_SERVER_LOCATION, &[Size])
        .default("20")
        .help("bodies known to be shorter, in bytes, are not compressed with brotli"),
    row(OWN, "brotli_buffers", HTTP_SERVER_LOCATION, &[COUNT, Size])
        .default("32 4k")
        .no_effect(OWN_BUFFERS)
        .help("buffers for what brotli puts out"),
    row(OWN, "brotli_static", HTTP_SERVER_LOCATION, &[STATIC])
        .default("off")
        .help("whether `FILE.br` is sent for `FILE`: to clients that take brotli, or `always`"),
    row(OWN, "zstd", HTTP_TO_IF_IN_LOCATION, &[Flag])
        .default("off")
        .help("whether bodies are compressed with zstd for clients that take it"),
    row(OWN, "zstd_types", HTTP_SERVER_LOCATION, &[Text])
        .takes(1, ANY_NUMBER)
        .many()
        .default("text/html")
        .help("media types that zstd compresses besides text/html; `*` is all"),
    row(
        OWN,
        "zstd_comp_level",
        HTTP_SERVER_LOCATION,
        &[Number { min: 1, max: 22 }],
    )
    .default("1")
    .help("how hard zstd tries: from 1, fast, to 22, small"),
    row(OWN, "zstd_min_length", HTTP_SERVER_LOCATION, &[Size])
        .default("20")
        .help("bodies known to be shorter, in bytes, are not compressed with zstd"),
    row(OWN, "zstd_buffers", HTTP_SERVER_LOCATION, &[COUNT, Size])
        .default("32 4k")
        .no_effect(OWN_BUFFERS)
        .help("buffers for what zstd puts out"),
    row(OWN, "zstd_static", HTTP_SERVER_LOCATION, &[STATIC])
        .default("off")
        .help("whether `FILE.zst` is sent for `FILE`: to clients that take zstd, or `always`"),
    row("http_sub", "sub_filter", HTTP_SERVER_LOCATION, &[Template])
        .takes(2, 2)
        .many()
        .help("replaces a text in bodies by another one; capital letters make no difference"),
    row(
        "http_sub",
        "sub_filter_types",
        HTTP_SERVER_LOCATION,
        &[Text],
    )
    .takes(1, ANY_NUMBER)
    .many()
    .default("text/html")
    .help("media types in which text is replaced besides text/html; `*` is all"),
    row("http_sub", "sub_filter_once", HTTP_SERVER_LOCATION, &[Flag])
        .default("on")
        .help("whether each text is replaced once only"),
    row(
        "http_sub",
        "sub_filter_last_modified",
        HTTP_SERVER_LOCATION,
        &[Flag],
    )
    .default("off")
    .help("whether an answer keeps its `Last-Modified` although text is replaced"),
    row(OWN, "cors", HTTP_SERVER_LOCATION, &[Free])
        .takes(1, ANY_NUMBER)
        .default("off")
        .help("whose pages may read the answers; browsers that ask first are answered"),
];
