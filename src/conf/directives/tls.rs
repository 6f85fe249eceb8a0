//! Rows of `ngx_http_ssl_module`: TLS with clients.

use super::{Argument::*, Contexts, Directive, HTTP_SERVER, row};

const SSL: &str = "http_ssl";

pub(super) const ROWS: &[Directive] = &[
    row(SSL, "ssl_certificate", HTTP_SERVER, &[PathTemplate])
        .many()
        .help("file with the certificate and its chain, the certificate first"),
    row(SSL, "ssl_certificate_key", HTTP_SERVER, &[PathTemplate])
        .many()
        .help("file with the private key of the certificate"),
    row(SSL, "ssl_password_file", HTTP_SERVER, &[Path])
        .help("file with a password for encrypted keys on each line"),
    row(
        SSL,
        "ssl_certificate_cache",
        HTTP_SERVER,
        &[Parameter(&["off", "max=", "inactive=", "valid="])],
    )
    .takes(1, 3)
    .default("off")
    .help("keep certificates whose paths have variables"),
    row(SSL, "ssl_object_cache_inheritable", Contexts::MAIN, &[Flag])
        .default("on")
        .no_effect("a file that did not change is not taken into use again")
        .help("take unchanged certificates over when the configuration is loaded again"),
];
