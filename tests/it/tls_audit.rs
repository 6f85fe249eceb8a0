//! `openclaw audit`: the grades, of the program itself and of a server that is worse.

use std::process::Command;

use crate::support::certificate::Authority;
use crate::support::server::{Server, Setup, oracle, under_test};

/// The exit code, and what is printed.
fn audit(server: &Server, arguments: &[&str]) -> (Option<i32>, String) {
    let prefix = &server.site().prefix;
    let output = Command::new(under_test())
        .arg("audit")
        .args(arguments)
        .arg("--ca")
        .arg(prefix.join("ca.pem"))
        .arg("-c")
        .arg(server.site().conf_file())
        .arg("-p")
        .arg(prefix)
        .output()
        .expect("the program runs");
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    (output.status.code(), said)
}

fn setup(conf: &str) -> Setup {
    let authority = Authority::new();
    let one = authority.issue(&["one.test"]);
    let two = authority.issue(&["two.test"]);
    Setup::http(conf)
        .file("ca.pem", authority.pem())
        .file("one.pem", one.certificate)
        .file("one.key", one.key)
        .file("two.pem", two.certificate)
        .file("two.key", two.key)
}

#[test]
fn a_server_without_a_line_about_tls_but_hsts_has_the_best_grade() {
    let server = setup(
        "server { listen %LISTEN1% ssl; server_name one.test; hsts on;
            ssl_certificate %PREFIX%/one.pem; ssl_certificate_key %PREFIX%/one.key; return 200; }
        server { listen %LISTEN2%; server_name one.test; return 301 https://$host$request_uri; }
        server { listen %LISTEN1% ssl; server_name two.test; ssl_protocols TLSv1.2;
            ssl_certificate %PREFIX%/two.pem; ssl_certificate_key %PREFIX%/two.key; return 200; }
        server { listen %LISTEN1% ssl; server_name wrong.test;
            ssl_certificate %PREFIX%/two.pem; ssl_certificate_key %PREFIX%/two.key; return 200; }",
    )
    .start();
    let (code, said) = audit(&server, &["one.test"]);
    let address = format!("one.test at 127.0.0.1:{}: A+\n", server.port(1));
    assert!(said.starts_with(&address), "{said}");
    for part in [
        "TLSv1.3, TLSv1.2",
        "hybrid",
        "ECDSA P-256",
        "plain HTTP leads here",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(code, Some(0));
    let (code, said) = audit(&server, &["--json", "two.test"]);
    let reports: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(
        (code, &reports[0]["grade"]),
        (Some(0), &"A-".into()),
        "{said}"
    );
    let (code, said) = audit(&server, &["--json"]);
    let reports: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let grades = reports.as_array().expect("a list").iter();
    let grades: Vec<_> = grades
        .map(|report| report["grade"].as_str().expect("a grade"))
        .collect();
    assert_eq!((code, grades), (Some(1), vec!["A+", "A-", "T"]));
}

#[test]
fn old_protocols_and_suites_elsewhere_are_seen() {
    let server = setup(
        "server { listen %LISTEN1% ssl; server_name one.test;
            ssl_protocols TLSv1.1 TLSv1.2; ssl_ciphers ALL:@SECLEVEL=0;
            ssl_certificate %PREFIX%/one.pem; ssl_certificate_key %PREFIX%/one.key; return 200; }",
    )
    .program(&oracle())
    .start();
    let (code, said) = audit(&server, &[&format!("127.0.0.1:{}", server.port(1))]);
    assert!(said.contains("TLSv1.2, TLSv1.1"), "{said}");
    assert!(
        said.contains("suites without forward secrecy or authenticated encryption"),
        "{said}"
    );
    // The certificate is for a name.
    assert!(said.contains("T (B if it were trusted)"), "{said}");
    assert_eq!(code, Some(1));
}

#[test]
fn where_nobody_listens_yet_the_configuration_is_graded() {
    let tested = setup(
        "server { listen %LISTEN1% ssl; server_name one.test; hsts on;
            ssl_certificate %PREFIX%/one.pem; ssl_certificate_key %PREFIX%/one.key; return 200; }
        server { listen %LISTEN1% ssl; server_name two.test; ssl_protocols TLSv1.2;
            add_header Strict-Transport-Security max-age=99999999 always;
            ssl_certificate %PREFIX%/two.pem; ssl_certificate_key %PREFIX%/two.key; return 200; }
        server { listen %LISTEN1% ssl; server_name wrong.test;
            ssl_certificate %PREFIX%/two.pem; ssl_certificate_key %PREFIX%/two.key; return 200; }
        server { listen %LISTEN1% ssl; server_name gone.test;
            ssl_certificate %PREFIX%/gone.pem; ssl_certificate_key %PREFIX%/gone.key; return 200; }
        server { listen %LISTEN1% ssl; server_name own.test; acme_certificate letsencrypt; return 200; }",
    )
    .run(&["-t"]);
    let (prefix, conf) = (&tested.site.prefix, tested.site.conf_file());
    let output = Command::new(under_test())
        .args(["audit", "--json", "--ca"])
        .arg(prefix.join("ca.pem"))
        .arg("-c")
        .arg(conf)
        .arg("-p")
        .arg(prefix)
        .output()
        .expect("the program runs");
    let reports: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let reports = reports.as_array().expect("a list");
    let grades: Vec<_> = reports
        .iter()
        .map(|report| report["grade"].as_str())
        .collect();
    assert_eq!(
        grades,
        [Some("A+"), Some("A-"), Some("T"), None, None],
        "{reports:#?}"
    );
    assert!(
        reports[..3]
            .iter()
            .all(|report| report["is_foreseen"] == true)
    );
    let suites = reports[1]["findings"].to_string();
    assert!(
        suites.contains("ECDHE-ECDSA-")
            && !suites.contains("ECDHE-RSA-")
            && !suites.contains("TLS_AES"),
        "{suites}"
    );
    let error = |position: usize| reports[position]["error"].to_string();
    assert!(error(3).contains("there is no such file"), "{}", error(3));
    assert!(error(4).contains("stands in no file"), "{}", error(4));
    assert_eq!(output.status.code(), Some(1));
}
