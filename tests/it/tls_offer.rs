//! What a server offers: protocols, suites, groups, names of protocols, and HSTS.

use std::process::Command;

use crate::support::certificate::Authority;
use crate::support::openssl::{request, shake_hands};
use crate::support::server::{Server, Setup};
use crate::support::tls_client::Handshaker;

/// Servers with a certificate of the same authority, one for each name with its directives.
fn start(servers: &[(&str, &str)]) -> Server {
    let authority = Authority::new();
    let mut conf = String::new();
    let mut files = Vec::new();
    for (name, directives) in servers {
        let pair = authority.issue(&[name]);
        conf.push_str(&format!(
            "server {{ listen %LISTEN1% ssl; server_name {name};
            ssl_certificate %PREFIX%/{name}.pem; ssl_certificate_key %PREFIX%/{name}.key;
            location / {{ return 200 \"{name} $ssl_cipher\\n\"; }}
            {directives} }}\n"
        ));
        files.push((format!("{name}.pem"), pair.certificate));
        files.push((format!("{name}.key"), pair.key));
    }
    let setup = Setup::http(&conf).file("ca.pem", authority.pem());
    let setup = (files.into_iter()).fold(setup, |setup, (name, text)| setup.file(&name, text));
    setup.start()
}

/// What a client gets with these arguments: protocol and cipher, or nothing.
type Case = (
    &'static str,
    &'static [&'static str],
    Option<(&'static str, &'static str)>,
);

#[test]
fn a_server_offers_its_protocols_and_suites_in_its_order_and_no_others() {
    const E128: &str = "ECDHE-ECDSA-AES128-GCM-SHA256";
    const E256: &str = "ECDHE-ECDSA-AES256-GCM-SHA384";
    const EC20: &str = "ECDHE-ECDSA-CHACHA20-POLY1305";
    const T128: &str = "TLS_AES_128_GCM_SHA256";
    const T256: &str = "TLS_AES_256_GCM_SHA384";
    const TC20: &str = "TLS_CHACHA20_POLY1305_SHA256";
    let server = start(&[
        ("usual.test", ""),
        ("new.test", "ssl_protocols TLSv1.3;"),
        ("old.test", "ssl_protocols TLSv1.2;"),
        (
            "order.test",
            "ssl_ciphers ECDHE+AES128:ECDHE+AES256:ECDHE+CHACHA20; ssl_prefer_server_ciphers on;",
        ),
        ("client.test", "ssl_ciphers ECDHE+AES128:ECDHE+AES256;"),
        ("few.test", "ssl_ciphers ECDHE-ECDSA-AES256-GCM-SHA384;"),
        (
            "suites.test",
            "ssl_conf_command Ciphersuites TLS_CHACHA20_POLY1305_SHA256;",
        ),
        (
            "chacha.test",
            "ssl_prefer_server_ciphers on; ssl_conf_command Options PrioritizeChaCha;",
        ),
        ("group.test", "ssl_ecdh_curve secp384r1;"),
    ]);
    let cases: &[Case] = &[
        ("usual.test", &[], Some(("TLSv1.3", T256))),
        ("usual.test", &["-tls1_2"], Some(("TLSv1.2", E256))),
        (
            "usual.test",
            &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
            None,
        ),
        ("usual.test", &["-tls1", "-cipher", "ALL:@SECLEVEL=0"], None),
        (
            "usual.test",
            &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256"],
            None,
        ),
        (
            "usual.test",
            &["-tls1_2", "-cipher", "AES128-GCM-SHA256"],
            None,
        ),
        ("usual.test", &["-tls1_2", "-cipher", "DHE"], None),
        ("new.test", &[], Some(("TLSv1.3", T256))),
        ("new.test", &["-tls1_2"], None),
        ("old.test", &[], Some(("TLSv1.2", E256))),
        ("old.test", &["-tls1_3"], None),
        ("order.test", &["-tls1_2"], Some(("TLSv1.2", E128))),
        (
            "order.test",
            &["-tls1_2", "-cipher", "ECDHE+CHACHA20:ECDHE+AES256"],
            Some(("TLSv1.2", E256)),
        ),
        (
            "client.test",
            &["-tls1_2", "-cipher", "ECDHE+AES256:ECDHE+AES128"],
            Some(("TLSv1.2", E256)),
        ),
        ("few.test", &["-tls1_2", "-cipher", E128], None),
        (
            "few.test",
            &["-tls1_2", "-cipher", E256],
            Some(("TLSv1.2", E256)),
        ),
        ("few.test", &[], Some(("TLSv1.3", T256))),
        ("suites.test", &[], Some(("TLSv1.3", TC20))),
        ("suites.test", &["-tls1_3", "-ciphersuites", T128], None),
        ("suites.test", &["-tls1_2"], Some(("TLSv1.2", E256))),
        (
            "chacha.test",
            &["-tls1_2", "-cipher", "ECDHE+CHACHA20:ECDHE+AESGCM"],
            Some(("TLSv1.2", EC20)),
        ),
        (
            "chacha.test",
            &[
                "-tls1_2",
                "-cipher",
                "ECDHE+AES128:ECDHE+CHACHA20:ECDHE+AES256",
            ],
            Some(("TLSv1.2", E256)),
        ),
        (
            "chacha.test",
            &[
                "-ciphersuites",
                "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256",
            ],
            Some(("TLSv1.3", TC20)),
        ),
        ("group.test", &["-groups", "X25519:P-256"], None),
        (
            "group.test",
            &["-groups", "X25519:P-384"],
            Some(("TLSv1.3", T256)),
        ),
    ];
    for (name, arguments, expected) in cases {
        let handshake = request(server.port(1), name, arguments);
        let agreed = handshake.agreed();
        assert_eq!(
            agreed, *expected,
            "{name} {arguments:?}\n{}",
            handshake.said
        );
        if let Some((_, cipher)) = agreed {
            let body = format!("{name} {cipher}");
            assert_eq!(handshake.body(), Some(body.as_str()), "{}", handshake.said);
        }
    }
}

#[test]
fn names_in_any_case_with_a_dot_by_pattern_or_none_find_their_server() {
    let server = start(&[
        ("first.test", ""),
        (
            "named.test",
            "server_name ~^numbered-\\d+\\.test$ *.wild.test;",
        ),
    ]);
    for (name, expected) in [
        ("named.test", "named.test"),
        ("NAMED.Test", "named.test"),
        ("numbered-12.test", "named.test"),
        ("a.b.wild.test", "named.test"),
        ("other.test", "first.test"),
        ("", "first.test"),
    ] {
        let handshake = shake_hands(server.port(1), name, &[]);
        assert!(
            certificate_names(&handshake.said).contains(expected),
            "{name}: {}",
            handshake.said
        );
    }
}

/// The names in the certificate that openssl printed.
fn certificate_names(said: &str) -> String {
    use openclaw::tls::{facts::Facts, pem};
    let section = pem::sections(said.as_bytes())
        .next()
        .expect("a certificate");
    let facts = Facts::read(&section.expect("PEM").der).expect("a certificate");
    facts.dns_names.join(" ")
}

#[test]
fn who_refuses_handshakes_says_that_there_is_nobody_of_that_name() {
    let authority = Authority::new();
    let pair = authority.issue(&["some.test"]);
    let server = Setup::http(
        "server { listen %LISTEN1% ssl default_server; ssl_reject_handshake on; }
        server { listen %LISTEN1% ssl; server_name some.test;
            ssl_certificate %PREFIX%/a.pem; ssl_certificate_key %PREFIX%/a.key;
            return 200 \"some\\n\"; }",
    )
    .file("a.pem", pair.certificate)
    .file("a.key", pair.key)
    .start();
    for name in ["", "other.test"] {
        for version in ["-tls1_2", "-tls1_3"] {
            let handshake = shake_hands(server.port(1), name, &[version]);
            assert_eq!(handshake.agreed(), None, "{}", handshake.said);
            let said = &handshake.said;
            assert!(said.contains("unrecognized name"), "{said}");
        }
    }
    assert_eq!(
        request(server.port(1), "some.test", &[]).body(),
        Some("some")
    );
}

#[test]
fn protocols_above_are_agreed_upon_and_unknown_ones_refused() {
    let server = start(&[("one.test", ""), ("old.test", "http2 off;")]);
    for (name, offered, expected) in [
        ("one.test", "h2,http/1.1", Some("h2")),
        ("one.test", "http/1.1", Some("http/1.1")),
        ("one.test", "http/1.0", Some("http/1.0")),
        ("one.test", "spdy/3,foo", None),
        ("old.test", "h2,http/1.1", Some("http/1.1")),
        ("old.test", "h2", None),
    ] {
        let handshake = shake_hands(server.port(1), name, &["-alpn", offered]);
        let said = &handshake.said;
        match expected {
            Some(protocol) => {
                assert!(
                    said.contains(&format!("ALPN protocol: {protocol}\n")),
                    "{said}"
                );
            }
            None => assert!(said.contains("alert no application protocol"), "{said}"),
        }
    }
}

#[test]
fn records_are_no_larger_than_said() {
    let server = start(&[
        (
            "usual.test",
            "location = /long { return 200 $arg_a$arg_a$arg_a$arg_a$arg_a; }",
        ),
        (
            "small.test",
            "ssl_buffer_size 1k; location = /long { return 200 $arg_a$arg_a$arg_a$arg_a$arg_a; }",
        ),
    ]);
    for (name, largest) in [("usual.test", 16 << 10), ("small.test", 1 << 10)] {
        let request = format!(
            "GET /long?a={} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n",
            "a".repeat(6000)
        );
        let (answer, records) = Handshaker::new()
            .records(server.port(1), name, request.as_bytes())
            .expect("answered");
        assert!(answer.len() > 30_000, "{name}");
        // The type of the content and the tag of the cipher stand in the record as well.
        let found = records.iter().max().copied().unwrap_or_default();
        assert!(
            found <= largest + 17 && found > largest / 2,
            "{name} {found}"
        );
    }
}

#[test]
fn hsts_is_sent_over_tls_whatever_the_status_and_is_not_lost() {
    let authority = Authority::new();
    let pair = authority.issue(&["one.test"]);
    let server = Setup::http(
        "server {
            listen %LISTEN1% ssl; listen %LISTEN2%; server_name one.test;
            ssl_certificate %PREFIX%/a.pem; ssl_certificate_key %PREFIX%/a.key;
            hsts max-age=1d includeSubDomains;
            location /header/ { add_header X-A b; return 404; }
            location /redirect/ { return 301 /; }
            location /off/ { hsts off; return 200 off; }
            location /other/ { hsts max-age=2y includeSubDomains preload; return 200 other; }
            location /twice/ { add_header Strict-Transport-Security max-age=1; return 200 twice; }
        }",
    )
    .file("a.pem", pair.certificate)
    .file("a.key", pair.key)
    .start();
    let field = |port: u16, scheme: &str, path: &str| {
        let output = Command::new("curl")
            .args(["--silent", "--insecure", "--max-time", "20", "--head"])
            .args(["--resolve", &format!("one.test:{port}:127.0.0.1")])
            .arg(format!("{scheme}://one.test:{port}{path}"))
            .output()
            .expect("curl runs");
        let said = String::from_utf8_lossy(&output.stdout).to_ascii_lowercase();
        assert!(said.starts_with("http/"), "{path}");
        let fields = said
            .lines()
            .filter_map(|line| line.strip_prefix("strict-transport-security: "));
        fields.map(str::to_owned).collect::<Vec<_>>()
    };
    let usual = "max-age=86400; includesubdomains";
    for (path, expected) in [
        ("/none", vec![usual]),
        ("/header/", vec![usual]),
        ("/redirect/", vec![usual]),
        ("/off/", vec![]),
        (
            "/other/",
            vec!["max-age=63072000; includesubdomains; preload"],
        ),
        ("/twice/", vec![usual]),
    ] {
        assert_eq!(field(server.port(1), "https", path), expected, "{path}");
    }
    assert!(field(server.port(2), "http", "/none").is_empty());
}
