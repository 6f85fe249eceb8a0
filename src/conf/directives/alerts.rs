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
            Parameter(&[
                "format=",
                "secret=",
                "events=",
                "private",
                "to=",
                "from=",
                "ca=",
                "user=",
                "password=",
                "plain",
            ]),
        ],
    )
    .takes(2, 10)
    .many()
    .help("who is told of alerts: a name, a URL (`smtp://` for mail), and in which `format=`"),
    row(
        MODULE,
        "alert_heartbeat",
        Contexts::HTTP,
        &[Text, Parameter(&["every=", "private"])],
    )
    .takes(1, 3)
    .help("a URL that is asked for all the time; its owner tells when that ends"),
    row(
        MODULE,
        "alert_spike",
        Contexts::HTTP,
        &[Text, Parameter(&["tokens="])],
    )
    .takes(1, 2)
    .default("10 tokens=10m")
    .help("dollars and tokens in ten minutes that are no alert, however unusual; `off`"),
    row(
        MODULE,
        "alert_errors",
        Contexts::HTTP,
        &[Text, Text, Parameter(&["least=", "within=", "attempts"])],
    )
    .takes(1, 5)
    .many()
    .default("all 25% least=20 within=5m")
    .help("how many failed calls of a provider, model, key or all are an alert; `off`"),
];
