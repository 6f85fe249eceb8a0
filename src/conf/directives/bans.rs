//! Rows about clients that are kept out by themselves.

use super::{ANY_NUMBER, Argument::*, Directive, HTTP_SERVER_LOCATION, row};

const BANS: &str = "http_auto_ban";

pub(super) const ROWS: &[Directive] = &[
    row(
        BANS,
        "auto_ban",
        HTTP_SERVER_LOCATION,
        &[Free, Parameter(&["in=", "for=", "on="])],
    )
    .takes(1, 4)
    .many()
    .help("keeps out an address for a time once it got so many answers of these statuses"),
    row(BANS, "auto_ban_except", HTTP_SERVER_LOCATION, &[Text])
        .takes(1, ANY_NUMBER)
        .many()
        .help("addresses and networks that `auto_ban` never keeps out"),
];
