//! Rows of the module headers-more, which is not nginx's own and stands in very many of its files.

use super::{ANY_NUMBER, Argument::*, Directive, HTTP_TO_IF_IN_LOCATION, row};

const MORE: &str = "http_headers_more";

pub(super) const ROWS: &[Directive] = &[
    row(
        MORE,
        "more_set_headers",
        HTTP_TO_IF_IN_LOCATION,
        &[Template],
    )
    .takes(1, ANY_NUMBER)
    .many()
    .help("sets fields of every answer, or of those with `-s STATUSES`, `-t TYPES`"),
    row(MORE, "more_clear_headers", HTTP_TO_IF_IN_LOCATION, &[Text])
        .takes(1, ANY_NUMBER)
        .many()
        .help("takes fields out of answers; a `*` at the end is any rest of the name"),
    row(
        MORE,
        "more_set_input_headers",
        HTTP_TO_IF_IN_LOCATION,
        &[Template],
    )
    .takes(1, ANY_NUMBER)
    .many()
    .help("sets fields of requests before access is decided; `-r` those that are there"),
    row(
        MORE,
        "more_clear_input_headers",
        HTTP_TO_IF_IN_LOCATION,
        &[Text],
    )
    .takes(1, ANY_NUMBER)
    .many()
    .help("takes fields out of requests; a `*` at the end is any rest of the name"),
];
