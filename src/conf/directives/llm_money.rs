//! Rows of the gateway to language models that say what calls may cost and how many there may be.

use super::{ANY_NUMBER, Argument::*, Contexts, Directive, row};
use crate::conf::typed::llm_money::PRICE_WORDS;

const LLM: &str = "http_llm";

pub(super) const ROWS: &[Directive] = &[
    row(
        LLM,
        "llm_limit",
        Contexts::HTTP,
        &[
            OneOf(&["group", "gateway", "model"]),
            Text,
            Parameter(&["rpm=", "tpm=", "concurrency=", "budget="]),
        ],
    )
    .takes(3, 9)
    .many()
    .help("what a group of keys, a gateway or a model may use, all its calls together"),
    row(
        LLM,
        "llm_price",
        Contexts::HTTP,
        &[Text, Parameter(PRICE_WORDS)],
    )
    .takes(2, ANY_NUMBER)
    .many()
    .help("what a model costs in dollars per million tokens, in place of the built-in price"),
    row(
        LLM,
        "llm_unpriced",
        Contexts::HTTP,
        &[OneOf(&["deny", "allow"])],
    )
    .default("deny")
    .help("may a key with a budget call a model whose price is not known"),
    row(
        LLM,
        "llm_budget_status",
        Contexts::HTTP,
        &[OneOf(&["402", "429"])],
    )
    .default("402")
    .help("the status of a call for which a budget has no room"),
    row(LLM, "llm_timezone", Contexts::HTTP, &[Text])
        .default("UTC")
        .help("whose calendar budgets by day, week and month follow, such as Europe/Berlin"),
];
