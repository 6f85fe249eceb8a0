//! Certificates that come by themselves, from a real authority.

use std::fs;
use std::process::Command;

use crate::support::pebble::Pebble;
use crate::support::server::{Server, Setup, eventually};

/// An issuer, a server that only redirects, and what a test adds.
const CONF: &str = r#"
    acme_issuer pebble {
        uri %URI%;
        ssl_trusted_certificate %CA%;
        accept_terms_of_service;
        retry 100ms 1s;
        %ISSUER%
    }
    server {
        listen 127.0.0.1:%HTTP%;
        server_name _;
        return 301 https://$host$request_uri;
    }
    %SERVERS%
"#;

/// A server with TLS for some names.
fn secure(names: &str, more: &str) -> String {
    format!(
        "server {{
            listen 127.0.0.1:%TLS% ssl;
            server_name {names};
            {more}
            location / {{ return 200 \"$server_name\\n\"; }}
        }}\n"
    )
}

fn setup(pebble: &Pebble, issuer: &str, servers: &str) -> Setup {
    Setup::http(
        &CONF
            .replace("%ISSUER%", issuer)
            .replace("%SERVERS%", servers),
    )
    .set("URI", pebble.uri())
    .set("CA", pebble.trusted().display())
    .set("HTTP", pebble.http.number)
    .set("TLS", pebble.tls.number)
    .set("DNS", pebble.dns_address())
}

/// Does a client that trusts the authority get an answer under this name?
fn is_served(pebble: &Pebble, name: &str) -> bool {
    answer(pebble, name).is_some()
}

fn answer(pebble: &Pebble, name: &str) -> Option<String> {
    let port = pebble.tls.number;
    let output = Command::new("curl")
        .args(["--silent", "--max-time", "20", "--cacert"])
        .arg(pebble.root())
        .args(["--resolve", &format!("{name}:{port}:127.0.0.1")])
        .arg(format!("https://{name}:{port}/"))
        .output()
        .expect("curl runs");
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The record of a certificate.
fn record(server: &Server, name: &str) -> serde_json::Value {
    let path = format!("state/acme/pebble/{name}/order.json");
    serde_json::from_str(&server.read(&path)).unwrap_or_default()
}

#[test]
fn a_name_gets_its_certificate_over_port_80_and_keeps_it() {
    let pebble = Pebble::start();
    let servers = secure("a.example.com", "acme_certificate pebble;");
    let mut server = setup(&pebble, "", &servers).start();
    eventually("the certificate is served", || {
        is_served(&pebble, "a.example.com").then_some(())
    });
    assert_eq!(
        answer(&pebble, "a.example.com").as_deref(),
        Some("a.example.com\n")
    );
    let kept = server.site().prefix.join("state/acme/pebble");
    for name in [
        "account.json",
        "a.example.com/key.pem",
        "a.example.com/order.json",
    ] {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &std::path::Path| {
            fs::metadata(path).expect("it is kept").permissions().mode() & 0o777
        };
        let path = kept.join(name);
        assert_eq!(mode(&path), 0o600, "{name}");
        assert_eq!(mode(path.parent().expect("a directory")), 0o700, "{name}");
    }
    assert_eq!(pebble.orders(), 1);
    server.quit();
    server.start_again();
    assert!(
        is_served(&pebble, "a.example.com"),
        "it is there from the first moment on"
    );
    assert_eq!(pebble.orders(), 1);
}
