//! HTTP/2 without TLS, by prior knowledge (RFC 9113 section 3.3), spoken by nghttp2's programs.

use std::process::Command;

use crate::support::backend::{Backend, pattern};
use crate::support::server::{Server, Setup, is_nginx, under_test};

fn server(backend: &Backend) -> Server {
    // nginx before 1.25.1 has it as a parameter of the socket.
    let (listen, directive) = if is_nginx(&under_test()) {
        (" http2", "")
    } else {
        ("", "http2 on;")
    };
    Setup::http(&format!(
        "server {{ listen %LISTEN1%{listen}; {directive} root www;
            location / {{ }}
            location /own {{ return 200 \"$server_protocol $http_host\"; }}
            location /passed/ {{ proxy_pass http://%BACKEND%; }} }}"
    ))
    .set("BACKEND", backend.address())
    .file("www/file", pattern(300_000))
    .start()
}

/// Runs a program that must be installed, and gives what it wrote.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("`{program}` must be installed: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn curl_speaks_it_by_prior_knowledge() {
    let backend = Backend::start();
    let server = server(&backend);
    let base = format!("http://127.0.0.1:{}", server.port(1));
    let curl = |arguments: &[&str]| {
        let usual = ["--http2-prior-knowledge", "-sS", "--max-time", "20"];
        run("curl", &[&usual, arguments].concat())
    };
    let own = curl(&[&format!("{base}/own")]);
    assert_eq!(own, format!("HTTP/2.0 127.0.0.1:{}", server.port(1)));
    assert!(curl(&[&format!("{base}/file")]).into_bytes() == pattern(300_000));
    let status = ["-o", "/dev/null", "-w", "%{http_code} %{http_version}"];
    let missing = format!("{base}/missing");
    assert_eq!(curl(&[&status[..], &[missing.as_str()]].concat()), "404 2");
    let body = "x".repeat(100_000);
    let passed = curl(&[
        "--data-binary",
        &body,
        "-H",
        "X-Answer: text=taken",
        "-H",
        "TE: trailers",
        &format!("{base}/passed/upload?a=b"),
    ]);
    assert_eq!(passed, "taken");
    let seen = backend.seen();
    assert_eq!(seen[0].head.line, "POST /passed/upload?a=b HTTP/1.1");
    assert!(seen[0].body == body.as_bytes());
    assert_eq!(seen[0].head.value("TE"), None);
}

#[test]
fn many_streams_share_connections() {
    let backend = Backend::start();
    let server = server(&backend);
    for path in ["own", "file", "passed/x"] {
        let url = format!("http://127.0.0.1:{}/{path}", server.port(1));
        let report = run("h2load", &["-n", "500", "-c", "5", "-m", "20", &url]);
        let line = report
            .lines()
            .find(|line| line.starts_with("requests:"))
            .unwrap_or_else(|| panic!("no count in {report}"));
        assert!(
            line.contains("500 succeeded, 0 failed, 0 errored"),
            "{line}"
        );
        assert!(report.contains("500 2xx"), "{report}");
    }
}

#[test]
fn nghttp_sees_the_fields() {
    let backend = Backend::start();
    let server = server(&backend);
    let url = format!("http://127.0.0.1:{}/passed/x", server.port(1));
    let fields = "X-Answer: field=X-Up:yes field=Connection:x field=Keep-Alive:y chunked text=body";
    let report = run("nghttp", &["-v", "--no-dep", "-H", fields, &url]);
    assert!(report.contains(":status: 200"), "{report}");
    assert!(report.contains("x-up: yes"), "{report}");
    assert!(report.contains("body"), "{report}");
    // RFC 9113 section 8.2.2.
    for hop in ["connection:", "keep-alive:", "transfer-encoding:"] {
        assert!(!report.contains(&format!(") {hop}")), "{report}");
    }
}

/// One port serves both, by what comes first.
#[test]
fn http_1_is_served_on_the_same_port() {
    if is_nginx(&under_test()) {
        return;
    }
    let backend = Backend::start();
    let server = server(&backend);
    let answer = server
        .connect(1)
        .ask("GET /own HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(answer.text(), "HTTP/1.1 a");
}

/// RFC 9113 section 3.1 has no more upgrade from HTTP/1.1: a client that asks gets HTTP/1.1.
#[test]
fn an_upgrade_to_h2c_is_not_taken() {
    if is_nginx(&under_test()) {
        return;
    }
    let backend = Backend::start();
    let server = server(&backend);
    let answer = server.connect(1).ask(
        "GET /own HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
         HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
    );
    assert_eq!(answer.status, 200);
}
