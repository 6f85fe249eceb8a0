//! Rows of `ngx_http_ssl_module`: TLS with clients.

use super::{Argument::*, Directive, HTTP_SERVER, row};

const SSL: &str = "http_ssl";

pub(super) const ROWS: &[Directive] = &[
    row(SSL, "ssl_certificate", HTTP_SERVER, &[PathTemplate])
        .many()
        .help("file with the certificate and its chain, the certificate first"),
    row(SSL, "ssl_certificate_key", HTTP_SERVER, &[PathTemplate])
        .many()
        .help("file with the private key of the certificate"),
];
