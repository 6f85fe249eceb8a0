//! Rows that decide who may pass: passwords, other servers that are asked, tokens, logins.

use super::{
    ANY_NUMBER, Argument::*, COUNT, Contexts, Directive, HTTP_SERVER_LOCATION, TABLES_GROW, row,
};

const BASIC: &str = "http_auth_basic";
const REQUEST: &str = "http_auth_request";
const SECURE_LINK: &str = "http_secure_link";
const REFERER: &str = "http_referer";
const MIRROR: &str = "http_mirror";

/// A server and its locations.
const SITE: Contexts = Contexts::SERVER.or(Contexts::LOCATION);

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
    row(REQUEST, "auth_request", HTTP_SERVER_LOCATION, &[Text])
        .default("off")
        .help("a location that is asked whether a request may pass: 2xx yes, 401 and 403 no"),
    row(
        REQUEST,
        "auth_request_set",
        HTTP_SERVER_LOCATION,
        &[Variable, Template],
    )
    .many()
    .help("keeps something of the answer to `auth_request` in a variable"),
    row(
        SECURE_LINK,
        "secure_link",
        HTTP_SERVER_LOCATION,
        &[Template],
    )
    .help("the digest that a link carries, and behind a comma when the link ends"),
    row(
        SECURE_LINK,
        "secure_link_md5",
        HTTP_SERVER_LOCATION,
        &[Template],
    )
    .help("what the digest of a link is made of; put a secret into it"),
    row(
        SECURE_LINK,
        "secure_link_secret",
        HTTP_SERVER_LOCATION,
        &[Text],
    )
    .help("a secret word that links `/prefix/digest/link` are signed with"),
    row(REFERER, "valid_referers", SITE, &[Free])
        .takes(1, ANY_NUMBER)
        .many()
        .help("sites whose links may lead here; for others `$invalid_referer` is 1"),
    row(REFERER, "referer_hash_max_size", SITE, &[COUNT])
        .default("2048")
        .no_effect(TABLES_GROW)
        .help("largest size of the tables of referring sites"),
    row(REFERER, "referer_hash_bucket_size", SITE, &[COUNT])
        .default("64")
        .no_effect(TABLES_GROW)
        .help("size in bytes of one bucket of the tables of referring sites"),
    row(MIRROR, "mirror", HTTP_SERVER_LOCATION, &[Text])
        .many()
        .default("off")
        .help("a location that gets a copy of each request; its answer is thrown away"),
    row(MIRROR, "mirror_request_body", HTTP_SERVER_LOCATION, &[Flag])
        .default("on")
        .help("whether copies of requests have the body, which is read before the request goes on"),
];
