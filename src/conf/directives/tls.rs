//! Rows of `ngx_http_ssl_module`: TLS with clients.

use super::{
    ANY_NUMBER, Argument::*, COUNT, Contexts, Directive, HTTP_SERVER, HTTP_SERVER_LOCATION,
    POSITIVE, row,
};

const SSL: &str = "http_ssl";
const V3: &str = "http_v3";
const NO_HTTP3: &str = "there is no HTTP/3 here";
/// What nginx has no module for.
const OWN: &str = "openclaw";

pub(super) const ROWS: &[Directive] = &[
    row(SSL, "ssl_certificate", HTTP_SERVER, &[PathTemplate])
        .many()
        .help("file with the certificate and its chain, the certificate first"),
    row(SSL, "ssl_certificate_key", HTTP_SERVER, &[PathTemplate])
        .many()
        .help("file with the private key of the certificate"),
    row(
        SSL,
        "ssl_protocols",
        HTTP_SERVER,
        &[OneOf(&["SSLv2", "SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"])],
    )
    .takes(1, ANY_NUMBER)
    .default("TLSv1.2 TLSv1.3")
    .help("the versions of the protocol that are spoken"),
    row(SSL, "ssl_ciphers", HTTP_SERVER, &[Text])
        .default("HIGH:!aNULL:!MD5")
        .help("cipher suites, in OpenSSL's language"),
    row(SSL, "ssl_prefer_server_ciphers", HTTP_SERVER, &[Flag])
        .default("off")
        .help("whether the order of our suites counts, or that of the client's"),
    row(SSL, "ssl_conf_command", HTTP_SERVER, &[Text, Text])
        .many()
        .help("a command for OpenSSL: `Ciphersuites`, `Groups`, `Options PrioritizeChaCha` and some more"),
    row(SSL, "ssl_ecdh_curve", HTTP_SERVER, &[Text])
        .default("auto")
        .help("groups for the exchange of keys, in the order of preference"),
    row(SSL, "ssl_dhparam", HTTP_SERVER, &[Path])
        .no_effect("suites with finite fields are not offered")
        .help("parameters for the exchange of keys over finite fields"),
    row(SSL, "ssl_buffer_size", HTTP_SERVER, &[Size])
        .default("16k")
        .help("the most bytes of an answer in one record"),
    row(SSL, "ssl_session_cache", HTTP_SERVER, &[Free])
        .takes(1, 2)
        .help("where sessions are kept: `off`, `none`, `builtin[:COUNT]`, `shared:NAME:SIZE`"),
    row(SSL, "ssl_session_timeout", HTTP_SERVER, &[Seconds])
        .default("5m")
        .help("how long a client may take up its session again"),
    row(SSL, "ssl_session_tickets", HTTP_SERVER, &[Flag])
        .default("on")
        .help("whether clients keep their sessions themselves, encrypted"),
    row(SSL, "ssl_session_ticket_key", HTTP_SERVER, &[Path])
        .many()
        .help("file with a key for tickets, 48 or 80 bytes; the first encrypts, all decrypt"),
    row(SSL, "ssl_early_data", HTTP_SERVER, &[Flag])
        .default("off")
        .help("whether requests are taken before a resumed handshake has ended (TLS 1.3)"),
    row(SSL, "ssl_reject_handshake", HTTP_SERVER, &[Flag])
        .default("off")
        .help("whether handshakes for this server are refused"),
    row(
        SSL,
        "ssl_verify_client",
        HTTP_SERVER,
        &[OneOf(&["on", "off", "optional", "optional_no_ca"])],
    )
    .default("off")
    .help("whether clients must show a certificate"),
    row(SSL, "ssl_verify_depth", HTTP_SERVER, &[COUNT])
        .default("1")
        .help("the most certificates between a client's and its authority's"),
    row(SSL, "ssl_client_certificate", HTTP_SERVER, &[Path])
        .help("file with authorities for clients, whose names are told to them"),
    row(SSL, "ssl_trusted_certificate", HTTP_SERVER, &[Path])
        .help("file with authorities for clients and OCSP, whose names are not told"),
    row(SSL, "ssl_crl", HTTP_SERVER, &[Path])
        .help("file with lists of what authorities revoked"),
    row(SSL, "ssl_ocsp", HTTP_SERVER, &[OneOf(&["on", "off", "leaf"])])
        .default("off")
        .help("whether the authorities of clients are asked about their certificates (OCSP)"),
    row(SSL, "ssl_ocsp_responder", HTTP_SERVER, &[Text])
        .help("whom to ask about clients, instead of whom their certificates name"),
    row(SSL, "ssl_ocsp_cache", HTTP_SERVER, &[Free])
        .default("off")
        .help("where answers about clients are kept: `off`, `shared:NAME:SIZE`"),
    row(SSL, "ssl_stapling", HTTP_SERVER, &[Flag])
        .default("off")
        .help("whether the status of the certificate is sent along (OCSP)"),
    row(SSL, "ssl_stapling_file", HTTP_SERVER, &[Path])
        .help("file with the status to send, instead of asking a responder"),
    row(SSL, "ssl_stapling_responder", HTTP_SERVER, &[Text])
        .help("whom to ask for the status, instead of whom the certificate names"),
    row(SSL, "ssl_stapling_verify", HTTP_SERVER, &[Flag])
        .default("off")
        .help("whether the responder's own certificate must lead to a trusted authority"),
    row(OWN, "hsts", HTTP_SERVER_LOCATION, &[Free])
        .takes(1, 3)
        .help("tells browsers to use TLS only: `[max-age=TIME] [includeSubDomains] [preload]`, `off`"),
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
    row(SSL, "ssl_certificate_compression", HTTP_SERVER, &[Flag])
        .default("off")
        .no_effect("certificates are sent as they are")
        .help("send certificates compressed to clients that understand it"),
    row(V3, "http3", HTTP_SERVER, &[Flag])
        .default("on")
        .no_effect(NO_HTTP3)
        .help("whether HTTP/3 is spoken on the addresses with `quic`"),
    row(V3, "http3_hq", HTTP_SERVER, &[Flag])
        .default("off")
        .no_effect(NO_HTTP3)
        .help("whether the protocol of interoperability tests is spoken over QUIC"),
    row(V3, "http3_max_concurrent_streams", HTTP_SERVER, &[POSITIVE])
        .default("128")
        .no_effect(NO_HTTP3)
        .help("the most requests at a time on a connection of HTTP/3"),
    row(V3, "http3_stream_buffer_size", HTTP_SERVER, &[Size])
        .default("64k")
        .no_effect(NO_HTTP3)
        .help("the memory for a stream of QUIC"),
    row(V3, "quic_retry", HTTP_SERVER, &[Flag])
        .default("off")
        .no_effect(NO_HTTP3)
        .help("whether clients of QUIC prove their address first"),
    row(V3, "quic_gso", HTTP_SERVER, &[Flag])
        .default("off")
        .no_effect(NO_HTTP3)
        .help("whether the system cuts what QUIC sends into packets"),
    row(V3, "quic_host_key", HTTP_SERVER, &[Path])
        .no_effect(NO_HTTP3)
        .help("file with the key for tokens of QUIC"),
    row(V3, "quic_active_connection_id_limit", HTTP_SERVER, &[POSITIVE])
        .default("2")
        .no_effect(NO_HTTP3)
        .help("how many names a connection of QUIC has at a time"),
    row(V3, "quic_bpf", Contexts::MAIN, &[Flag])
        .default("off")
        .no_effect(NO_HTTP3)
        .help("whether packets of QUIC find their worker through eBPF"),
    row(SSL, "ssl_object_cache_inheritable", Contexts::MAIN, &[Flag])
        .default("on")
        .no_effect("a file that did not change is not taken into use again")
        .help("take unchanged certificates over when the configuration is loaded again"),
];
