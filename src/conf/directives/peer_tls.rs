//! Rows of TLS with peers, which `ngx_http_proxy_module` and `ngx_http_grpc_module` have alike.

use super::{Argument::*, COUNT, Directive, HTTP_SERVER_LOCATION, row};

macro_rules! rows {
    ($module:literal, $family:literal) => {
        &[
            row(
                $module,
                concat!($family, "_ssl_protocols"),
                HTTP_SERVER_LOCATION,
                &[OneOf(&[
                    "SSLv2", "SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3",
                ])],
            )
            .takes(1, 6)
            .default("TLSv1.2 TLSv1.3")
            .help("versions of TLS that are spoken with peers"),
            row(
                $module,
                concat!($family, "_ssl_ciphers"),
                HTTP_SERVER_LOCATION,
                &[Text],
            )
            .default("DEFAULT")
            .help("ciphers that peers are offered, as OpenSSL lists them"),
            row(
                $module,
                concat!($family, "_ssl_name"),
                HTTP_SERVER_LOCATION,
                &[Template],
            )
            .default("$proxy_host")
            .help("name that the certificate of a peer must have, and that it is sent"),
            row(
                $module,
                concat!($family, "_ssl_server_name"),
                HTTP_SERVER_LOCATION,
                &[Flag],
            )
            .default("off")
            .help("whether a peer is told its name in the handshake (SNI)"),
            row(
                $module,
                concat!($family, "_ssl_verify"),
                HTTP_SERVER_LOCATION,
                &[Flag],
            )
            .default("off")
            .help("whether the certificate of a peer must be right"),
            row(
                $module,
                concat!($family, "_ssl_verify_depth"),
                HTTP_SERVER_LOCATION,
                &[COUNT],
            )
            .default("1")
            .help("most authorities between the certificate of a peer and a trusted one"),
            row(
                $module,
                concat!($family, "_ssl_trusted_certificate"),
                HTTP_SERVER_LOCATION,
                &[Path],
            )
            .help("file with the authorities for peers; those of the system if none is named"),
            row(
                $module,
                concat!($family, "_ssl_crl"),
                HTTP_SERVER_LOCATION,
                &[Path],
            )
            .help("file with lists of certificates that their authorities took back"),
            row(
                $module,
                concat!($family, "_ssl_certificate"),
                HTTP_SERVER_LOCATION,
                &[PathTemplate],
            )
            .help("file with our own certificate for peers that ask for one"),
            row(
                $module,
                concat!($family, "_ssl_certificate_key"),
                HTTP_SERVER_LOCATION,
                &[PathTemplate],
            )
            .help("file with the private key of that certificate"),
            row(
                $module,
                concat!($family, "_ssl_certificate_cache"),
                HTTP_SERVER_LOCATION,
                &[Parameter(&["off", "max=", "inactive=", "valid="])],
            )
            .takes(1, 3)
            .default("off")
            .no_effect("the certificate is loaded once, with the configuration")
            .help("keep certificates whose paths have variables"),
            row(
                $module,
                concat!($family, "_ssl_password_file"),
                HTTP_SERVER_LOCATION,
                &[Path],
            )
            .help("file with a password for that key on each line"),
            row(
                $module,
                concat!($family, "_ssl_conf_command"),
                HTTP_SERVER_LOCATION,
                &[Text, Text],
            )
            .many()
            .help("command of OpenSSL's configuration: `Ciphersuites` and others"),
            row(
                $module,
                concat!($family, "_ssl_session_reuse"),
                HTTP_SERVER_LOCATION,
                &[Flag],
            )
            .default("on")
            .help("whether the next handshake with a peer goes on from the one before"),
        ]
    };
}

pub(super) const PROXY: &[Directive] = rows!("http_proxy", "proxy");
pub(super) const GRPC: &[Directive] = rows!("http_grpc", "grpc");
