//! Rows of the gateway to language models: providers, models, and where clients come in.

use super::{Argument::*, Contexts, Directive, HTTP_SERVER_LOCATION, row};
use crate::conf::typed::llm::APIS;

const STRATEGIES: &[&str] = &["ordered", "weighted", "least_busy", "fastest", "affinity"];
const LLM: &str = "http_llm";
const PROVIDER: Contexts = Contexts::LLM_PROVIDER;
const MODEL: Contexts = Contexts::LLM_MODEL;

pub(super) const ROWS: &[Directive] = &[
    row(
        LLM,
        "llm_gateway",
        Contexts::LOCATION,
        &[OneOf(&["anybody"])],
    )
    .takes(0, 1)
    .help("answers calls of language models for those with a key, or for `anybody`"),
    row(
        LLM,
        "llm_route",
        HTTP_SERVER_LOCATION,
        &[Template, Parameter(&["if=", "always"])],
    )
    .takes(1, 3)
    .many()
    .help("the model that answers instead of the one asked for, unless it is empty"),
    row(LLM, "llm_sticky", HTTP_SERVER_LOCATION, &[Milliseconds])
        .default("0")
        .help("how long a conversation keeps the model that the rules chose for it"),
    row(
        LLM,
        "llm_cache",
        HTTP_SERVER_LOCATION,
        &[
            OneOf(&["off", "key", "group", "global"]),
            Parameter(&["max_age=", "wait="]),
        ],
    )
    .takes(1, 3)
    .default("off")
    .help("who shares answers that are kept: each `key`, its `group`, or all"),
    row(LLM, "llm_cache_size", Contexts::HTTP, &[Size])
        .default("64m")
        .help("how much memory the answers that are kept may take"),
    row(LLM, "llm_body_memory", Contexts::HTTP, &[Size])
        .default("256m")
        .help("how much memory the bodies of calls under way may take together"),
    row(
        LLM,
        "llm_log",
        HTTP_SERVER_LOCATION,
        &[
            OneOf(&["body"]),
            OneOf(&["off", "hash", "redacted", "full"]),
            Parameter(&["retention="]),
        ],
    )
    .takes(2, 3)
    .default("body off")
    .help("what is written down of calls and their answers, and for how many days"),
    row(LLM, "llm_region", HTTP_SERVER_LOCATION, &[Template])
        .help("only providers of this region are asked, whatever becomes of the call"),
    row(
        LLM,
        "llm_tag",
        HTTP_SERVER_LOCATION,
        &[OneOf(&["gateway", "user", "node"]), Template],
    )
    .many()
    .help("where it is read which gateway, user or node calls"),
    row(LLM, "llm_downgrade", HTTP_SERVER_LOCATION, &[Text, Text])
        .many()
        .help("the model that answers once a key has used so much of a budget, such as 80%"),
    row(LLM, "llm_provider", Contexts::HTTP, &[Text])
        .block(PROVIDER)
        .many()
        .help("a provider of language models, by the name that targets call it"),
    row(LLM, "api", PROVIDER, &[OneOf(APIS)])
        .default("openai")
        .help("the API that the provider speaks, or a known provider with its address"),
    row(LLM, "base_url", PROVIDER, &[Text])
        .help("where the API begins, if not at the provider's usual address"),
    row(LLM, "api_version", PROVIDER, &[Text])
        .help("the version of Azure's API; without it, the one that has none"),
    row(LLM, "deployment", PROVIDER, &[Text])
        .help("the deployment of Azure that answers; otherwise the model names it"),
    row(LLM, "api_key", PROVIDER, &[Text])
        .many()
        .help("a key for the provider: env:NAME, file:PATH or credential:NAME"),
    row(LLM, "header", PROVIDER, &[Text, Text])
        .many()
        .help("a field that the provider gets with each call"),
    row(LLM, "connect_timeout", PROVIDER, &[Milliseconds])
        .default("10s")
        .help("how long a connection to the provider may take"),
    row(LLM, "first_token_timeout", PROVIDER, &[Milliseconds])
        .default("600s")
        .help("how long the provider may think before its answer begins"),
    row(LLM, "chunk_timeout", PROVIDER, &[Milliseconds])
        .default("120s")
        .help("how long the provider may pause inside of an answer"),
    row(LLM, "total_timeout", PROVIDER, &[Milliseconds])
        .default("1h")
        .help("how long the provider may take in all; 0 for any time"),
    row(
        LLM,
        "max_connections",
        PROVIDER,
        &[Free, Parameter(&["min=", "max="])],
    )
    .takes(1, 3)
    .default("0")
    .help("how many calls the provider gets at once; 0 for any, `auto` to learn it"),
    row(
        LLM,
        "queue",
        PROVIDER,
        &[
            Number { min: 1, max: 65535 },
            Parameter(&["timeout=", "bytes="]),
        ],
    )
    .takes(1, 3)
    .help("how many calls may wait while the provider has `max_connections`, and how long"),
    row(LLM, "region", PROVIDER, &[Text]).help("where the provider computes, for `llm_region`"),
    row(LLM, "retries", PROVIDER, &[Number { min: 0, max: 10 }])
        .default("2")
        .help("how often a call is made again when all targets failed"),
    row(LLM, "client_gone", PROVIDER, &[OneOf(&["abort", "drain"])])
        .default("abort")
        .help("is a call ended when its client leaves, or read to its end"),
    row(LLM, "passthrough", PROVIDER, &[Flag])
        .default("off")
        .help("are files, batches and other paths of the provider's account open to keys"),
    row(LLM, "ssl_verify", PROVIDER, &[Flag])
        .default("on")
        .help("is the certificate of the provider verified"),
    row(LLM, "ssl_trusted_certificate", PROVIDER, &[Path])
        .help("file with the authorities that the provider's certificate must come from"),
    row(LLM, "llm_model", Contexts::HTTP, &[Text])
        .block(MODEL)
        .many()
        .help("a model by the name that clients ask for, and what answers for it"),
    row(
        LLM,
        "strategy",
        MODEL,
        &[OneOf(STRATEGIES), OneOf(&["conversation", "key", "user"])],
    )
    .takes(1, 2)
    .default("weighted")
    .help("which target is asked first"),
    row(
        LLM,
        "target",
        MODEL,
        &[
            Text,
            Parameter(&["weight=", "backup", "on=", "max_context=", "if=", "region="]),
        ],
    )
    .takes(1, 7)
    .many()
    .help("a PROVIDER/MODEL that answers: `weight=`, `backup`, `on=`, `if=`, …"),
];
