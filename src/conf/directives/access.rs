//! Rows that decide who may pass: passwords, other servers that are asked, tokens, logins.

use super::{Argument::*, Contexts, Directive, HTTP_SERVER_LOCATION, row};

const BASIC: &str = "http_auth_basic";

/// Everywhere a request has a place, `limit_except` included.
const LIMITED: Contexts = HTTP_SERVER_LOCATION.or(Contexts::LIMIT_EXCEPT);

pub(super) const ROWS: &[Directive] = &[
    row(BASIC, "auth_basic", LIMITED, &[Template])
        .default("off")
        .help(
            "asks for a name and a password; the text is what the browser shows, `off` asks nobody",
        ),
    row(BASIC, "auth_basic_user_file", LIMITED, &[PathTemplate])
        .help("file with names and passwords, as `openclaw passwd` and `htpasswd` make it"),
    row(
        BASIC,
        "auth_throttle",
        HTTP_SERVER_LOCATION,
        &[Free, Milliseconds],
    )
    .takes(1, 2)
    .default("20 10m")
    .help("how many wrong passwords of one address are borne in a time; `off` bears all"),
];
