//! Rows of `dns_provider`: who can put the records of challenges into a zone. None of nginx's.

use super::{ANY_NUMBER, Argument::*, Contexts, Directive, row};

const PROVIDER: Contexts = Contexts::DNS_PROVIDER;
const MODULE: &str = "openclaw";

/// The words of `provider`.
pub const PROVIDERS: &[&str] = &[
    "acme-dns",
    "cloudflare",
    "desec",
    "digitalocean",
    "duckdns",
    "gandi",
    "hetzner",
    "hetzner-console",
    "ovh",
    "porkbun",
    "rfc2136",
    "route53",
];

pub(super) const ROWS: &[Directive] = &[
    row(MODULE, "dns_provider", Contexts::HTTP, &[Text])
        .block(PROVIDER)
        .many()
        .help("a named provider of DNS that can answer challenges of certificate authorities"),
    row(MODULE, "provider", PROVIDER, &[OneOf(PROVIDERS)])
        .help("who holds the zone, or by which interface it is changed"),
    row(MODULE, "api_url", PROVIDER, &[Text])
        .help("where the interface is reached, unless at its usual place"),
    row(MODULE, "api_token", PROVIDER, &[Text])
        .help("token: env:NAME, file:PATH or credential:NAME"),
    row(MODULE, "api_key", PROVIDER, &[Text])
        .help("key (porkbun): env:NAME, file:PATH or credential:NAME"),
    row(MODULE, "api_secret", PROVIDER, &[Text])
        .help("secret key (porkbun): env:NAME, file:PATH or credential:NAME"),
    row(MODULE, "access_key", PROVIDER, &[Text])
        .help("access key (route53): text, env:NAME, file:PATH or credential:NAME"),
    row(MODULE, "secret_key", PROVIDER, &[Text])
        .help("secret access key (route53): env:NAME, file:PATH or credential:NAME"),
    row(MODULE, "session_token", PROVIDER, &[Text])
        .help("token of a session (route53): env:NAME, file:PATH or credential:NAME"),
    row(MODULE, "application_key", PROVIDER, &[Text])
        .help("key of the application (ovh): text, env:NAME, file:PATH or credential:NAME"),
    row(MODULE, "application_secret", PROVIDER, &[Text])
        .help("secret of the application (ovh): env:NAME, file:PATH or credential:NAME"),
    row(MODULE, "consumer_key", PROVIDER, &[Text])
        .help("key of the consumer (ovh): env:NAME, file:PATH or credential:NAME"),
    row(
        MODULE,
        "endpoint",
        PROVIDER,
        &[OneOf(&["ovh-eu", "ovh-ca", "ovh-us"])],
    )
    .default("ovh-eu")
    .help("the part of the provider that has the account (ovh)"),
    row(MODULE, "username", PROVIDER, &[Text])
        .help("user (acme-dns): text, env:NAME, file:PATH or credential:NAME"),
    row(MODULE, "password", PROVIDER, &[Text])
        .help("password (acme-dns): env:NAME, file:PATH or credential:NAME"),
    row(MODULE, "subdomain", PROVIDER, &[Text])
        .help("the first part of the name that holds the challenges (acme-dns)"),
    row(MODULE, "server", PROVIDER, &[Text])
        .help("name server that takes updates (rfc2136), with its port unless 53"),
    row(MODULE, "transport", PROVIDER, &[OneOf(&["tcp", "udp"])])
        .default("tcp")
        .help("how updates travel (rfc2136)"),
    row(MODULE, "tsig_key", PROVIDER, &[Text]).help("name of the key that signs updates (rfc2136)"),
    row(
        MODULE,
        "tsig_algorithm",
        PROVIDER,
        &[OneOf(&["hmac-sha256", "hmac-sha512"])],
    )
    .default("hmac-sha256")
    .help("digest of the signature of updates (rfc2136)"),
    row(MODULE, "tsig_secret", PROVIDER, &[Text])
        .help("the key in base64 (rfc2136): env:NAME, file:PATH or credential:NAME"),
    row(MODULE, "exec", PROVIDER, &[Path, Text])
        .takes(1, ANY_NUMBER)
        .help("program that is called with present or remove, the name and the value"),
    row(MODULE, "exec_timeout", PROVIDER, &[Milliseconds])
        .default("60s")
        .help("how long the program of `exec` may take"),
    row(MODULE, "zone", PROVIDER, &[Text])
        .help("the zone that is written to, if it is not to be looked for"),
    row(MODULE, "propagation", PROVIDER, &[Free])
        .default("2m")
        .help("how long to wait until all servers of the zone have a record; `off` does not wait"),
];
