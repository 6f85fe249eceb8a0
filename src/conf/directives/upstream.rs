//! Rows of `upstream`: peers, the choice among them, connections that are kept.

use super::{ANY_NUMBER, Argument, Argument::*, COUNT, Contexts, Directive, POSITIVE, row};

const UPSTREAM: Contexts = Contexts::UPSTREAM;
const MODULE: &str = "http_upstream";
const KEEPALIVE: &str = "http_upstream_keepalive";

const SERVER_PARAMETERS: Argument = Parameter(&[
    "weight=",
    "max_conns=",
    "max_fails=",
    "fail_timeout=",
    "slow_start=",
    "route=",
    "service=",
    "resolve",
    "backup",
    "down",
    "drain",
]);

pub(super) const ROWS: &[Directive] = &[
    row(MODULE, "upstream", Contexts::HTTP, &[Text])
        .block(UPSTREAM)
        .many()
        .help("a named group of peers that requests are shared among"),
    row(MODULE, "server", UPSTREAM, &[Free, SERVER_PARAMETERS])
        .takes(1, ANY_NUMBER)
        .many()
        .help("address of a peer with its weight, limits and role"),
    row("http_upstream_zone", "zone", UPSTREAM, &[Text, Size])
        .takes(1, 2)
        .help("name and size in bytes of the memory in which workers share their view of peers"),
    row(
        "http_upstream_hash",
        "hash",
        UPSTREAM,
        &[Template, OneOf(&["consistent"])],
    )
    .takes(1, 2)
    .help("chooses the peer by this text; `consistent` moves few requests when peers change"),
    row("http_upstream_ip_hash", "ip_hash", UPSTREAM, &[])
        .help("chooses the peer by the client's address"),
    row("http_upstream_least_conn", "least_conn", UPSTREAM, &[])
        .help("chooses the peer with the fewest requests under way for its weight"),
    row(
        "http_upstream_least_time",
        "least_time",
        UPSTREAM,
        &[OneOf(&["header", "last_byte"]), OneOf(&["inflight"])],
    )
    .takes(1, 2)
    .help("chooses the peer that answers soonest, to the head or to the last byte"),
    row(
        "http_upstream_random",
        "random",
        UPSTREAM,
        &[
            OneOf(&["two"]),
            OneOf(&["least_conn", "least_time=header", "least_time=last_byte"]),
        ],
    )
    .takes(0, 2)
    .help("draws the peer; `two` draws two and takes the better one"),
    row(
        "http_upstream_sticky",
        "sticky",
        UPSTREAM,
        &[OneOf(&["cookie", "route", "learn"]), Free],
    )
    .takes(2, ANY_NUMBER)
    .help("keeps a client at the peer that it met first"),
    row(
        MODULE,
        "queue",
        UPSTREAM,
        &[POSITIVE, Parameter(&["timeout="])],
    )
    .takes(1, 2)
    .help("how many requests may wait for a peer, and how long; 60 seconds if not said"),
    row(
        KEEPALIVE,
        "keepalive",
        UPSTREAM,
        &[COUNT, OneOf(&["local"])],
    )
    .takes(1, 2)
    .default("32 local")
    .help("idle connections that each worker keeps; `local` keeps those of each location apart"),
    row(KEEPALIVE, "keepalive_requests", UPSTREAM, &[COUNT])
        .default("1000")
        .help("most requests over one connection to a peer"),
    row(KEEPALIVE, "keepalive_time", UPSTREAM, &[Milliseconds])
        .default("1h")
        .help("age at which a connection to a peer is closed after its next request"),
    row(KEEPALIVE, "keepalive_timeout", UPSTREAM, &[Milliseconds])
        .default("60s")
        .help("how long an idle connection to a peer stays open"),
    row(MODULE, "resolver", UPSTREAM, &[Free])
        .takes(1, ANY_NUMBER)
        .help("name servers for the names of this group's peers"),
    row(MODULE, "resolver_timeout", UPSTREAM, &[Milliseconds])
        .default("30s")
        .help("how long resolving a peer's name may take"),
];
