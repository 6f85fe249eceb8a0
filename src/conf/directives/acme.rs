//! Rows of `ngx_http_acme_module`, nginx's own module for automatic certificates, and of ours.

use super::{ANY_NUMBER, Argument::*, Contexts, Directive, HTTP_SERVER, row};

const ISSUER: Contexts = Contexts::ACME_ISSUER;
const ACME: &str = "http_acme";
const OWN: &str = "openclaw";

pub(super) const ROWS: &[Directive] = &[
    row(ACME, "acme_issuer", Contexts::HTTP, &[Text])
        .block(ISSUER)
        .many()
        .help("a certificate authority that certificates are got from"),
    row(ACME, "uri", ISSUER, &[Text]).help("where the directory of the authority is"),
    row(ACME, "account_key", ISSUER, &[Text])
        .help("key of the account: a file, or `ecdsa:256` for one that is made"),
    row(ACME, "challenge", ISSUER, &[Text])
        .takes(1, 2)
        .help("how names are proven: http-01, tls-alpn-01, or dns-01 with a DNS provider"),
    row(ACME, "contact", ISSUER, &[Text])
        .many()
        .help("address that the authority may write to"),
    row(ACME, "external_account_key", ISSUER, &[Text])
        .takes(2, 2)
        .help("identifier and key of an account at the authority that ours belongs to"),
    row(ACME, "preferred_chain", ISSUER, &[Text])
        .help("common name of the issuer at the top of the chain that is preferred"),
    row(ACME, "profile", ISSUER, &[Text])
        .takes(1, 2)
        .help("kind of certificate, by the authority's name for it; `require` accepts no other"),
    row(ACME, "ssl_trusted_certificate", ISSUER, &[Path])
        .help("file with the authorities that the authority's own certificate must come from"),
    row(ACME, "ssl_verify", ISSUER, &[Flag])
        .default("on")
        .help("is the certificate of the authority verified"),
    row(ACME, "state_path", ISSUER, &[Text]).help("directory of the account and the certificates"),
    row(ACME, "accept_terms_of_service", ISSUER, &[]).help("agrees to the terms of the authority"),
    row(OWN, "retry", ISSUER, &[Milliseconds])
        .takes(1, 2)
        .default("1m 24h")
        .help("how long to wait after a failed attempt, and after many"),
    row(
        ACME,
        "acme_shared_zone",
        Contexts::HTTP,
        &[Parameter(&["zone="])],
    )
    .no_effect("workers share certificates without a zone")
    .help("memory for certificates"),
    row(ACME, "acme_certificate", Contexts::SERVER, &[Text])
        .takes(1, ANY_NUMBER)
        .many()
        .help("gets a certificate from an issuer, for the server's names or for those written"),
    row(OWN, "acme", HTTP_SERVER, &[Text])
        .takes(1, ANY_NUMBER)
        .default("letsencrypt")
        .help("issuers of certificates for servers that have none, in order; `off` gets none"),
    row(OWN, "acme_on_demand", HTTP_SERVER, &[Text])
        .takes(1, ANY_NUMBER)
        .default("off")
        .help("gets certificates for names that clients bring, where a rule allows it"),
];
