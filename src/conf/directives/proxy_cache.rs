//! Rows of the cache's policy: which answers are stored and when they are served. Where they are kept
//! stands in [`super::cache_path`].

use super::{ANY_NUMBER, Argument::*, Directive, HTTP_SERVER_LOCATION, POSITIVE, row};

const PROXY: &str = "http_proxy";

pub(super) const ROWS: &[Directive] = &[
    row(PROXY, "proxy_cache", HTTP_SERVER_LOCATION, &[Template])
        .default("off")
        .help("the zone of `proxy_cache_path` that answers are stored in"),
    row(PROXY, "proxy_cache_key", HTTP_SERVER_LOCATION, &[Template])
        .default("$scheme$proxy_host$request_uri")
        .help(
            "what tells answers apart; the usual one holds the host too where the peer is told it",
        ),
    row(PROXY, "proxy_cache_valid", HTTP_SERVER_LOCATION, &[Free])
        .takes(1, ANY_NUMBER)
        .many()
        .help("statuses, or `any`, and for how long their answers are fresh if they do not say so"),
    row(
        PROXY,
        "proxy_cache_methods",
        HTTP_SERVER_LOCATION,
        &[OneOf(&["GET", "HEAD", "POST"])],
    )
    .takes(1, ANY_NUMBER)
    .default("GET HEAD")
    .help("methods whose answers are stored; GET and HEAD always are"),
    row(
        PROXY,
        "proxy_cache_min_uses",
        HTTP_SERVER_LOCATION,
        &[POSITIVE],
    )
    .default("1")
    .help("requests after which an answer is stored"),
    row(
        PROXY,
        "proxy_cache_bypass",
        HTTP_SERVER_LOCATION,
        &[Template],
    )
    .takes(1, ANY_NUMBER)
    .many()
    .help("a value that is neither empty nor 0 lets a request pass the cache by"),
    row(PROXY, "proxy_no_cache", HTTP_SERVER_LOCATION, &[Template])
        .takes(1, ANY_NUMBER)
        .many()
        .help("a value that is neither empty nor 0 keeps an answer from being stored"),
    row(
        PROXY,
        "proxy_cache_purge",
        HTTP_SERVER_LOCATION,
        &[Template],
    )
    .takes(1, ANY_NUMBER)
    .many()
    .help("a value that is neither empty nor 0 makes a request remove what its key stands for"),
    row(PROXY, "proxy_cache_lock", HTTP_SERVER_LOCATION, &[Flag])
        .default("off")
        .help("whether of several requests for one answer only one goes to the peer"),
    row(
        PROXY,
        "proxy_cache_lock_age",
        HTTP_SERVER_LOCATION,
        &[Milliseconds],
    )
    .default("5s")
    .help("how long that one may take before another one goes as well"),
    row(
        PROXY,
        "proxy_cache_lock_timeout",
        HTTP_SERVER_LOCATION,
        &[Milliseconds],
    )
    .default("5s")
    .help("how long the others wait before they go as well, without storing the answer"),
    row(
        PROXY,
        "proxy_cache_use_stale",
        HTTP_SERVER_LOCATION,
        &[OneOf(&[
            "error",
            "timeout",
            "invalid_header",
            "updating",
            "http_500",
            "http_502",
            "http_503",
            "http_504",
            "http_403",
            "http_404",
            "http_429",
            "off",
        ])],
    )
    .takes(1, ANY_NUMBER)
    .default("off")
    .help("failures, and `updating`, for which a stale answer is better than none"),
    row(
        PROXY,
        "proxy_cache_background_update",
        HTTP_SERVER_LOCATION,
        &[Flag],
    )
    .default("off")
    .help("whether a stale answer is renewed behind the back of the client that gets it"),
    row(
        PROXY,
        "proxy_cache_revalidate",
        HTTP_SERVER_LOCATION,
        &[Flag],
    )
    .default("off")
    .help("whether the peer is asked if a stale answer is still good"),
    row(
        PROXY,
        "proxy_cache_convert_head",
        HTTP_SERVER_LOCATION,
        &[Flag],
    )
    .default("on")
    .help("whether HEAD becomes GET, so that its answer can be stored"),
    row(
        PROXY,
        "proxy_cache_max_range_offset",
        HTTP_SERVER_LOCATION,
        &[Offset],
    )
    .help("a request for a range that begins behind this many bytes is passed on as it is"),
    row(
        PROXY,
        "proxy_cache_check_type",
        HTTP_SERVER_LOCATION,
        &[Flag],
    )
    .default("on")
    .help("whether a page in place of e.g. `x.css` is left out if its request had a cookie"),
    row(
        PROXY,
        "proxy_cache_strip_cookies",
        HTTP_SERVER_LOCATION,
        &[Flag],
    )
    .default("off")
    .help("whether `Set-Cookie` is left out of what is stored in spite of it"),
    row(
        PROXY,
        "proxy_cache_client_control",
        HTTP_SERVER_LOCATION,
        &[Flag],
    )
    .default("off")
    .help("whether `Cache-Control` of a request is obeyed, e.g. `no-cache` and `only-if-cached`"),
    row(PROXY, "proxy_cache_status", HTTP_SERVER_LOCATION, &[Text])
        .default("off")
        .help("name of this cache in the field `Cache-Status` of answers, which tells what it did"),
    row("http_slice", "slice", HTTP_SERVER_LOCATION, &[Size])
        .default("0")
        .help("size of the parts that `$slice_range` asks a peer for, each stored by itself"),
];
