//! Rows of the gateway to language models: providers, models, and where clients come in.

use super::{Argument::*, Contexts, Directive, row};
use crate::conf::typed::llm::APIS;

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
        .help("the key for the provider: env:NAME, file:PATH or credential:NAME"),
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
        "target",
        MODEL,
        &[Text, Parameter(&["weight=", "backup"])],
    )
    .takes(1, 3)
    .many()
    .help("a PROVIDER/MODEL that answers, with its `weight=`, or as `backup` for the others"),
];
