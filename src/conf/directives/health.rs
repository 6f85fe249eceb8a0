//! Rows of what watches peers and keeps requests from those that do not work.

use super::{ANY_NUMBER, Argument, Argument::*, Contexts, Directive, HTTP_SERVER_LOCATION, row};

const CHECKS: &str = "http_upstream_hc";
const GUARD: &str = "openclaw";
const MATCH: Contexts = Contexts::MATCH;

const CHECK_PARAMETERS: Argument = Parameter(&[
    "interval=",
    "jitter=",
    "fails=",
    "passes=",
    "uri=",
    "mandatory",
    "persistent",
    "match=",
    "port=",
    "type=",
    "grpc_service=",
    "grpc_status=",
    "keepalive_time=",
]);

pub(super) const ROWS: &[Directive] = &[
    row(
        CHECKS,
        "health_check",
        Contexts::LOCATION.or(Contexts::UPSTREAM),
        &[CHECK_PARAMETERS],
    )
    .takes(0, ANY_NUMBER)
    .help("asks every peer of the group regularly whether it works; who fails gets no requests"),
    row(
        CHECKS,
        "health_check_timeout",
        HTTP_SERVER_LOCATION.or(Contexts::UPSTREAM),
        &[Milliseconds],
    )
    .default("5s")
    .help("how long one check of a peer may take, from connecting to the last byte"),
    row(CHECKS, "match", Contexts::HTTP, &[Text])
        .block(MATCH)
        .many()
        .help("what the answer to a check has to be like; all of it must hold"),
    row(CHECKS, "status", MATCH, &[Free])
        .takes(1, ANY_NUMBER)
        .help("statuses and ranges that the answer may have; after `!` those that it may not"),
    row(CHECKS, "header", MATCH, &[Free])
        .takes(1, 3)
        .many()
        .help(
            "a field that must be there, be missing (`!`), or have a value (`=`, `!=`, `~`, `!~`)",
        ),
    row(
        CHECKS,
        "body",
        MATCH,
        &[OneOf(&["~", "~*", "!~", "!~*"]), Regex],
    )
    .many()
    .help("a pattern that must be found in the body, or must not (`!~`)"),
    row(CHECKS, "require", MATCH, &[Variable])
        .takes(1, ANY_NUMBER)
        .many()
        .help("variables that must be neither empty nor `0`"),
    row(
        GUARD,
        "eject",
        Contexts::UPSTREAM,
        &[Parameter(&[
            "errors=", "ratio=", "volume=", "slow=", "window=", "open=", "probes=", "most=",
        ])],
    )
    .takes(0, 8)
    .help("leaves a peer out that fails, for all workers at once; never more than a share of them"),
    row(
        GUARD,
        "breaker",
        Contexts::UPSTREAM,
        &[Parameter(&[
            "errors=", "ratio=", "volume=", "slow=", "window=", "open=", "probes=",
        ])],
    )
    .takes(0, 7)
    .help("answers 503 at once while the group as a whole fails, and tries it with a few probes"),
    row(
        GUARD,
        "retry_budget",
        Contexts::UPSTREAM,
        &[Free, Parameter(&["min="])],
    )
    .takes(1, 2)
    .help("tries other peers for no more than this share of the requests"),
    row(GUARD, "priority", HTTP_SERVER_LOCATION, &[Template])
        .help("`high`, `normal` or `low`: who waits in the `queue` of a group in front of whom"),
];
