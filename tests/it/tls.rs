//! TLS with clients, as curl and openssl see it.

use std::process::Command;

use crate::support::certificate::Authority;
use crate::support::server::{Server, Setup};

/// Two names with a certificate each, and one whose certificate is not there.
const CONF: &str = r#"
    server {
        listen %LISTEN1% ssl;
        server_name one.test;
        ssl_certificate %PREFIX%/one.pem;
        ssl_certificate_key %PREFIX%/one.key;
        location / { return 200 "one $scheme $https $ssl_protocol $server_protocol\n"; }
    }
    server {
        listen %LISTEN1% ssl;
        server_name two.test;
        ssl_certificate %PREFIX%/two.pem;
        ssl_certificate_key %PREFIX%/two.key;
        location / { return 200 "two $ssl_server_name\n"; }
    }
    server {
        listen %LISTEN1% ssl;
        server_name gone.test;
        ssl_certificate %PREFIX%/gone.pem;
        ssl_certificate_key %PREFIX%/gone.key;
        location / { return 200 "gone\n"; }
    }
"#;

fn start() -> Server {
    let authority = Authority::new();
    let one = authority.issue(&["one.test"]);
    let two = authority.issue(&["two.test"]);
    Setup::http(CONF)
        .file("ca.pem", authority.pem())
        .file("one.pem", one.certificate)
        .file("one.key", one.key)
        .file("two.pem", two.certificate)
        .file("two.key", two.key)
        .tolerate("gone")
        .start()
}

/// What curl says of a name, with these arguments.
fn curl(server: &Server, name: &str, arguments: &[&str]) -> (bool, String) {
    let port = server.port(1);
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20", "--cacert"])
        .arg(server.site().prefix.join("ca.pem"))
        .args(["--resolve", &format!("{name}:{port}:127.0.0.1")])
        .args(arguments)
        .arg(format!("https://{name}:{port}/"))
        .output()
        .expect("curl runs");
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    (output.status.success(), said)
}

#[test]
fn each_name_is_served_with_its_own_certificate_over_http2_and_http1() {
    let server = start();
    let (is_fine, said) = curl(&server, "one.test", &[]);
    assert_eq!(
        (is_fine, said.as_str()),
        (true, "one https on TLSv1.3 HTTP/2.0\n")
    );
    let (is_fine, said) = curl(&server, "one.test", &["--http1.1", "--tls-max", "1.2"]);
    assert_eq!(
        (is_fine, said.as_str()),
        (true, "one https on TLSv1.2 HTTP/1.1\n")
    );
    let (is_fine, said) = curl(&server, "two.test", &[]);
    assert_eq!((is_fine, said.as_str()), (true, "two two.test\n"));
}

#[test]
fn a_missing_certificate_harms_no_other_name() {
    let server = start();
    let (is_fine, said) = curl(&server, "gone.test", &[]);
    assert!(!is_fine && said.contains("certificate"), "{said}");
    let (is_fine, said) = curl(&server, "gone.test", &["--insecure"]);
    assert_eq!((is_fine, said.as_str()), (true, "gone\n"));
    assert!(curl(&server, "one.test", &[]).0);
}

#[test]
fn plain_http_where_tls_is_spoken_is_told_so() {
    let server = start();
    let mut client = server.connect(1);
    let answer = client.ask("GET / HTTP/1.1\r\nHost: one.test\r\n\r\n");
    assert_eq!(answer.status, 400);
    assert!(
        answer
            .text()
            .contains("The plain HTTP request was sent to HTTPS port"),
        "{}",
        answer.text()
    );
    assert!(answer.says_close());
}

#[test]
fn http2_without_tls_gets_by_nothing_where_tls_is_spoken() {
    let authority = Authority::new();
    let pair = authority.issue(&["one.test"]);
    let server = Setup::http(
        "server { listen %LISTEN1% ssl; http2 on; server_name one.test;
            ssl_certificate %PREFIX%/one.pem; ssl_certificate_key %PREFIX%/one.key;
            ssl_verify_client on; ssl_client_certificate %PREFIX%/ca.pem;
            location / { return 200 secret; } }",
    )
    .file("ca.pem", authority.pem())
    .file("one.pem", pair.certificate)
    .file("one.key", pair.key)
    .start();
    let output = Command::new("curl")
        .args(["--silent", "--max-time", "20", "--http2-prior-knowledge"])
        .arg(format!("http://127.0.0.1:{}/", server.port(1)))
        .output()
        .expect("curl runs");
    assert!(!output.status.success());
    assert!(!String::from_utf8_lossy(&output.stdout).contains("secret"));
    let mut client = server.connect(1);
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    let (answer, _) = client.rest();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
    assert!(
        answer.contains(" 400 ") || answer.contains(" 505 "),
        "{answer}"
    );
}
