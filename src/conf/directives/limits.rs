//! Rows about how much of a site one client may have: requests by their rate, and at a time.

use super::{Argument, Argument::*, Directive, HTTP_SERVER, HTTP_SERVER_LOCATION, row};

const REQUESTS: &str = "http_limit_req";
const CONNECTIONS: &str = "http_limit_conn";

const LEVEL: Argument = OneOf(&["info", "notice", "warn", "error"]);
const STATUS: Argument = Number { min: 400, max: 599 };

pub(super) const ROWS: &[Directive] = &[
    row(
        REQUESTS,
        "limit_req_zone",
        HTTP_SERVER,
        &[
            Template,
            Parameter(&["zone=", "rate=", "burst=", "delay=", "nodelay"]),
        ],
    )
    .takes(3, 5)
    .many()
    .help("names a table of clients and the rate at which each may ask"),
    row(
        REQUESTS,
        "limit_req",
        HTTP_SERVER_LOCATION,
        &[Parameter(&["zone=", "burst=", "delay=", "nodelay"])],
    )
    .takes(1, 3)
    .many()
    .help("limits requests by a zone; `burst` may come ahead of the rate, delayed or not"),
    row(
        REQUESTS,
        "limit_req_status",
        HTTP_SERVER_LOCATION,
        &[STATUS],
    )
    .default("503")
    .help("status of the answer to a request above its rate"),
    row(
        REQUESTS,
        "limit_req_log_level",
        HTTP_SERVER_LOCATION,
        &[LEVEL],
    )
    .default("error")
    .help("level at which refused requests are logged; delayed ones a level below"),
    row(REQUESTS, "limit_req_dry_run", HTTP_SERVER_LOCATION, &[Flag])
        .default("off")
        .help("counts and logs requests above their rate without refusing or delaying any"),
    row(
        CONNECTIONS,
        "limit_conn_zone",
        HTTP_SERVER,
        &[Template, Parameter(&["zone="])],
    )
    .takes(2, 2)
    .many()
    .help("names a table of clients whose requests at a time are counted"),
    row(
        CONNECTIONS,
        "limit_conn",
        HTTP_SERVER_LOCATION,
        &[
            Text,
            Number {
                min: 1,
                max: 65_535,
            },
        ],
    )
    .many()
    .help("most requests that may be under way at a time for each key of a zone"),
    row(
        CONNECTIONS,
        "limit_conn_status",
        HTTP_SERVER_LOCATION,
        &[STATUS],
    )
    .default("503")
    .help("status of the answer to a request too many"),
    row(
        CONNECTIONS,
        "limit_conn_log_level",
        HTTP_SERVER_LOCATION,
        &[LEVEL],
    )
    .default("error")
    .help("level at which requests too many are logged"),
    row(
        CONNECTIONS,
        "limit_conn_dry_run",
        HTTP_SERVER_LOCATION,
        &[Flag],
    )
    .default("off")
    .help("counts and logs requests too many without refusing any"),
];
