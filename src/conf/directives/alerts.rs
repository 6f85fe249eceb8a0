//! Rows that say who is told when something needs a person. None of nginx's.

use super::{Argument::*, Contexts, Directive, row};

const MODULE: &str = "openclaw";

pub(super) const ROWS: &[Directive] = &[
    row(
        MODULE,
        "alert",
        Contexts::HTTP,
        &[
            Text,
            Text,
            Parameter(&["format=", "secret=", "events=", "private"]),
        ],
    )
    .takes(2, 8)
    .many()
    .help("who is told of alerts: a name, a URL, and in which `format=`"),
    row(
        MODULE,
        "alert_heartbeat",
        Contexts::HTTP,
        &[Text, Parameter(&["every=", "private"])],
    )
    .takes(1, 3)
    .help("a URL that is asked for all the time; its owner tells when that ends"),
];
