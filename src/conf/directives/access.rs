//! Rows that decide who may pass: passwords, other servers that are asked, tokens, logins.

use super::{
    ANY_NUMBER, Argument::*, COUNT, Contexts, Directive, HTTP_SERVER_LOCATION, TABLES_GROW, row,
};

const BASIC: &str = "http_auth_basic";
const REQUEST: &str = "http_auth_request";
const SECURE_LINK: &str = "http_secure_link";
const REFERER: &str = "http_referer";
const JWT: &str = "http_auth_jwt";
const REQUIRE: &str = "http_auth_require";
const OIDC: &str = "http_oidc";
const PROVIDER: Contexts = Contexts::OIDC_PROVIDER;
const PLACES: &str = "http_geoip2";
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
    row(
        JWT,
        "auth_jwt",
        LIMITED,
        &[Template, Parameter(&["token="])],
    )
    .takes(1, 2)
    .default("off")
    .help("asks for a JSON web token; the text is the realm, `off` asks nobody"),
    row(
        JWT,
        "auth_jwt_key_file",
        HTTP_SERVER_LOCATION,
        &[PathTemplate],
    )
    .many()
    .help("file with the keys of tokens, as a JSON web key set"),
    row(JWT, "auth_jwt_key_request", LIMITED, &[Text])
        .many()
        .help("a location of this server that answers with the keys of tokens"),
    row(JWT, "auth_jwt_leeway", HTTP_SERVER_LOCATION, &[Seconds])
        .default("0s")
        .help("how far the clock of whoever makes tokens may be off"),
    row(JWT, "auth_jwt_require", LIMITED, &[Template])
        .takes(1, ANY_NUMBER)
        .many()
        .help(
            "what must be something and not `0` beside a good token; `error=403` is told otherwise",
        ),
    row(JWT, "auth_jwt_claim_set", Contexts::HTTP, &[Variable, Text])
        .takes(2, ANY_NUMBER)
        .many()
        .help("a variable with a claim of the token, by the names on the way to it"),
    row(
        JWT,
        "auth_jwt_header_set",
        Contexts::HTTP,
        &[Variable, Text],
    )
    .takes(2, ANY_NUMBER)
    .many()
    .help("a variable with something of the token's header, by the names on the way to it"),
    row(REQUIRE, "auth_require", LIMITED, &[Template])
        .takes(1, ANY_NUMBER)
        .many()
        .help(
            "what must be something and not `0` for a request to pass; `error=401` says the code",
        ),
    row(OIDC, "auth_oidc", HTTP_SERVER_LOCATION, &[Text])
        .default("off")
        .help("the `oidc_provider` at whom people log in before they pass"),
    row(OIDC, "auth_oidc_allow", HTTP_SERVER_LOCATION, &[Text])
        .takes(2, ANY_NUMBER)
        .many()
        .help(
            "who may pass after the login: a claim and its values, such as `email *@example.com`",
        ),
    row(OIDC, "oidc_provider", Contexts::HTTP, &[Text])
        .block(PROVIDER)
        .many()
        .help("somebody at whom people log in with OpenID Connect"),
    row(OIDC, "issuer", PROVIDER, &[Text]).help("the provider's address, as it says itself"),
    row(OIDC, "client_id", PROVIDER, &[Text]).help("what the provider calls this proxy"),
    row(OIDC, "client_secret", PROVIDER, &[Text])
        .help("what the two know: env:NAME, file:PATH or credential:NAME"),
    row(OIDC, "config_url", PROVIDER, &[Text])
        .help("where the provider describes itself, unless below the issuer"),
    row(OIDC, "scope", PROVIDER, &[Text])
        .takes(1, ANY_NUMBER)
        .default("openid")
        .help("what the provider is asked to tell: `openid email profile`"),
    row(OIDC, "redirect_uri", PROVIDER, &[Text])
        .default("/oidc_callback")
        .help("where the provider sends people back to: a path, or a whole address"),
    row(OIDC, "logout_uri", PROVIDER, &[Text]).help("the path that ends a session"),
    row(OIDC, "post_logout_uri", PROVIDER, &[Text]).help("where people are sent after that"),
    row(OIDC, "logout_token_hint", PROVIDER, &[Flag])
        .default("off")
        .help("whether the provider is shown its token when a session ends there too"),
    row(OIDC, "cookie_name", PROVIDER, &[Text])
        .default("OPENCLAW_SESSION")
        .help("name of the cookie of a session"),
    row(OIDC, "session_timeout", PROVIDER, &[Seconds])
        .default("8h")
        .help("how long a session lasts"),
    row(OIDC, "pkce", PROVIDER, &[Flag])
        .default("on")
        .help("whether codes are bound to the browser that asked (RFC 7636)"),
    row(OIDC, "extra_auth_args", PROVIDER, &[Text])
        .help("more arguments for the provider's page of login"),
    row(OIDC, "userinfo", PROVIDER, &[Flag])
        .default("off")
        .help("whether the provider is asked for more than its token says"),
    row(OIDC, "ssl_trusted_certificate", PROVIDER, &[Path])
        .help("file with the authorities that the provider's certificate must come from"),
    row(OIDC, "ssl_verify", PROVIDER, &[Flag])
        .default("on")
        .help("is the certificate of the provider verified"),
    row(PLACES, "geoip2", Contexts::HTTP, &[Path])
        .block(Contexts::ENTRIES)
        .many()
        .help("variables that say where an address is, by a database in MaxMind's format"),
    row(PLACES, "geoip2_proxy", Contexts::HTTP, &[Free])
        .many()
        .help("a proxy that is believed, for `geoip2`, who the client is"),
    row(PLACES, "geoip2_proxy_recursive", Contexts::HTTP, &[Flag])
        .default("off")
        .help("whether addresses of such proxies in the field are passed over"),
];
