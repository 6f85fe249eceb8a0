//! Certificates as people see them: listed, judged, imported, looked into; with a daemon and without.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;

use openclaw::protocol::client::CallError;
use openclaw::protocol::{
    Certificate, CertificateSource, CertificateState, Certificates, Check, Level, Preflight,
    Refusal, RefusalCode, Summary, TermsAgreement,
};

use crate::control::Control;
use crate::support::certificate::Authority;
use crate::support::server::{Server, Setup, eventually};

const CONF: &str = "
    server {
        listen %LISTEN1% ssl;
        server_name one.test;
        ssl_certificate %PREFIX%/one.pem;
        ssl_certificate_key %PREFIX%/one.key;
        location / { return 200 one; }
    }
    server {
        listen %LISTEN1% ssl;
        server_name two.test other.test;
        ssl_certificate %PREFIX%/two.pem;
        ssl_certificate_key %PREFIX%/two.key;
        location / { return 200 two; }
    }
    server {
        # Somebody forgot to copy it.
        listen %LISTEN1% ssl;
        server_name gone.test;
        ssl_certificate %PREFIX%/gone.pem;
        ssl_certificate_key %PREFIX%/gone.key;
        location / { return 200 gone; }
    }
";

fn start(authority: &Authority) -> Server {
    let one = authority.issue(&["one.test"]);
    let two = authority.issue(&["two.test"]);
    let gone = authority.issue(&["gone.test"]);
    Setup::http(CONF)
        .file("ca.pem", authority.pem())
        .file("one.pem", one.certificate)
        .file("one.key", one.key)
        .file("two.pem", two.certificate)
        .file("two.key", two.key)
        .file("new.pem", gone.certificate)
        .file("new.key", gone.key)
        .tolerate("gone")
        .tolerate("other.test")
        .start()
}

fn openclaw(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_openclaw"))
        .args(arguments)
        .env_remove("OPENCLAW_SOCKET")
        .env_remove("NO_COLOR")
        .env("TZ", "UTC")
        .output()
        .expect("the program must be there")
}

fn said(output: &Output) -> String {
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    text
}

/// A word to the daemon of a server.
fn word(server: &Server, arguments: &[&str]) -> Output {
    let socket = server.site().prefix.join("state/control.sock");
    let socket = socket.display().to_string();
    openclaw(&[arguments, &["--socket", &socket]].concat())
}

fn named<'c>(listed: &'c Certificates, name: &str) -> &'c Certificate {
    let mut all = listed.certificates.iter();
    let found = all.find(|certificate| certificate.is_named(name));
    found.unwrap_or_else(|| panic!("{name}: {listed:?}"))
}

#[test]
fn what_is_served_is_listed_with_its_state_and_what_is_not_is_told() {
    let authority = Authority::new();
    let server = start(&authority);
    let control = Control::of(&server);
    let listed: Certificates = control.must_get("/v1/certificates");
    assert_eq!(listed.certificates.len(), 3);
    let one = named(&listed, "one.test");
    assert_eq!(
        (one.state, one.level()),
        (CertificateState::Valid, Level::Good)
    );
    let served = one.served.as_ref().expect("it is there");
    assert_eq!(served.names, ["one.test"]);
    assert_eq!(served.issuer, "test authority");
    assert_eq!(served.key, "ECDSA P-256");
    assert_eq!(one.used_by[0].server, "one.test");
    assert!(one.used_by[0].line > 0 && !one.used_by[0].listens.is_empty());
    let two = named(&listed, "two.test");
    assert_eq!(two.state, CertificateState::Mismatch);
    assert!(two.remark.contains("other.test"), "{}", two.remark);
    let gone = named(&listed, "gone.test");
    assert_eq!(gone.state, CertificateState::Placeholder);
    assert!(gone.served.is_none() && gone.remark.contains("gone.pem"));
    // What needs somebody is in the summary, among the events, and told to programs.
    eventually("the summary counts them", || {
        let states = control
            .must_get::<Summary>("/v1/summary")
            .certificate_states;
        let is_counted = (states.all, states.warn, states.bad) == (3, 1, 1);
        (is_counted && states.worst.starts_with("gone.test")).then_some(())
    });
    eventually("the event is told", || {
        let events: openclaw::protocol::Events = control.must_get("/v1/events");
        let mut events = events.events.iter();
        let told = events.any(|it| it.kind == "certificate" && it.subject == "gone.test");
        told.then_some(())
    });
    let text = word(&server, &["cert"]);
    let text = said(&text);
    for part in [
        "one.test",
        "wrong name",
        "placeholder",
        "test authority",
        "manual",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let shown = word(&server, &["cert", "show", "one.test"]);
    assert_eq!(shown.status.code(), Some(0));
    let shown = said(&shown);
    assert!(
        shown.contains("sha256") && shown.contains("one.pem"),
        "{shown}"
    );
    let unknown = word(&server, &["cert", "show", "on.test"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(said(&unknown).contains("did you mean `one.test`?"));
    let status = said(&word(&server, &["status"]));
    assert!(
        status.contains("certificates  3, 1 bad, 1 to look at"),
        "{status}"
    );
}

#[test]
fn without_a_daemon_the_files_tell_what_they_hold() {
    let authority = Authority::new();
    let pair = authority.issue(&["a.test"]);
    let directory = tempfile::tempdir().expect("a directory");
    let write =
        |name: &str, text: &str| fs::write(directory.path().join(name), text).expect("ours");
    write("a.pem", &pair.certificate);
    write("a.key", &pair.key);
    write(
        "openclaw.conf",
        "events { }\nhttp { server { listen 8443 ssl; server_name a.test;\n\
         ssl_certificate a.pem; ssl_certificate_key a.key; } }\n",
    );
    let conf = directory.path().join("openclaw.conf").display().to_string();
    let prefix = directory.path().display().to_string();
    let output = openclaw(&["cert", "list", "--json", "-c", &conf, "-p", &prefix]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let listed: Certificates = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(named(&listed, "a.test").state, CertificateState::Valid);
    // Of a daemon that was named nothing is guessed.
    let absent = directory.path().join("absent.sock").display().to_string();
    let output = openclaw(&["cert", "list", "--socket", &absent]);
    assert_eq!(output.status.code(), Some(4));
}

/// The subject of what is served for a name.
fn served(server: &Server, name: &str) -> bool {
    let port = server.port(1);
    let output = Command::new("curl")
        .args(["--silent", "--max-time", "20", "--cacert"])
        .arg(server.site().prefix.join("ca.pem"))
        .args(["--resolve", &format!("{name}:{port}:127.0.0.1")])
        .arg(format!("https://{name}:{port}/"))
        .output();
    output.expect("curl runs").status.success()
}

#[test]
fn an_imported_certificate_is_served_and_can_be_taken_back() {
    let authority = Authority::new();
    let server = start(&authority);
    let control = Control::of(&server);
    let prefix = server.site().prefix.clone();
    let conf = server.site().conf_file();
    let before = fs::read_to_string(&conf).expect("there");
    let file = |name: &str| prefix.join(name).display().to_string();
    let import = |certificate: &str, key: &str| {
        let (certificate, key) = (file(certificate), file(key));
        let words = [
            "cert",
            "import",
            "gone.test",
            "--cert",
            &certificate,
            "--key",
            &key,
            "-y",
        ];
        word(&server, &words)
    };
    assert!(!served(&server, "gone.test"));
    // A key that is another one's changes nothing.
    let refused = import("new.pem", "one.key");
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    assert!(said(&refused).contains("hint:"), "{}", said(&refused));
    assert_eq!(fs::read_to_string(&conf).expect("there"), before);
    assert!(!prefix.join("state/imported").exists());

    let done = import("new.pem", "new.key");
    assert_eq!(done.status.code(), Some(0), "{}", said(&done));
    eventually("it is served", || {
        served(&server, "gone.test").then_some(())
    });
    let after = fs::read_to_string(&conf).expect("there");
    assert!(after.contains("# Somebody forgot to copy it.") && after != before);
    let listed: Certificates = control.must_get("/v1/certificates");
    let gone = named(&listed, "gone.test");
    assert_eq!(gone.state, CertificateState::Valid);
    let CertificateSource::Files { certificate, key } = &gone.source else {
        panic!("{gone:?}");
    };
    for path in [certificate, key] {
        let mode = fs::metadata(path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{path}");
    }
    let directory = Path::new(key).parent().expect("it has one");
    let mode = fs::metadata(directory).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    // The same once more is the same.
    assert_eq!(import("new.pem", "new.key").status.code(), Some(0));
    assert_eq!(fs::read_to_string(&conf).expect("there"), after);

    let undone = word(&server, &["config", "undo", "--yes"]);
    assert_eq!(undone.status.code(), Some(0), "{}", said(&undone));
    assert_eq!(fs::read_to_string(&conf).expect("there"), before);
}

#[test]
fn a_container_with_certificate_and_key_is_imported_under_its_password() {
    let authority = Authority::new();
    let server = start(&authority);
    let prefix = server.site().prefix.clone();
    let file = |name: &str| prefix.join(name).display().to_string();
    let [pem, key, container] = ["new.pem", "new.key", "new.pfx"].map(file);
    let made = Command::new("openssl")
        .args(["pkcs12", "-export", "-in", &pem, "-inkey", &key])
        .args(["-out", &container, "-passout", "pass:open sesame"])
        .status()
        .expect("openssl runs");
    assert!(made.success());
    fs::write(prefix.join("wrong"), "open\n").expect("written");
    fs::write(prefix.join("right"), "open sesame\r\nsecond line\n").expect("written");
    let import = |password: &str| {
        let password = file(password);
        let words = ["cert", "import", "gone.test", "--cert", &container];
        let more = ["--password-file", &password, "-y"];
        word(&server, &[&words[..], &more].concat())
    };
    let refused = import("wrong");
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    assert!(
        said(&refused).contains("the password does not open it"),
        "{}",
        said(&refused)
    );
    let done = import("right");
    assert_eq!(done.status.code(), Some(0), "{}", said(&done));
    assert!(!said(&done).contains("sesame"));
    eventually("it is served", || {
        served(&server, "gone.test").then_some(())
    });
}

/// A name server that knows no name but `shop.example.com`, which it sends elsewhere, and whom
/// `example.com` permits to certify.
fn name_server() -> std::net::SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = socket.local_addr().expect("it has one");
    thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let question = &buffer[12..length];
            let end = question.iter().position(|byte| *byte == 0);
            let Some(end) = end.filter(|end| question.len() >= end + 5) else {
                continue;
            };
            let name = question[..end].to_ascii_lowercase();
            let kind = u16::from_be_bytes([question[end + 1], question[end + 2]]);
            let is_shop = name == b"\x04shop\x07example\x03com";
            let is_parent = name == b"\x07example\x03com";
            let data: Option<&[u8]> = match kind {
                1 if is_shop => Some(&[203, 0, 113, 7]),
                257 if is_parent => Some(b"\0\x05issueother.example"),
                _ => None,
            };
            let code = if is_shop || is_parent { 0 } else { 3 };
            let answers = u8::from(data.is_some());
            let mut answer = buffer[..2].to_vec();
            answer.extend([0x81, 0x80 | code, 0, 1, 0, answers, 0, 0, 0, 0]);
            answer.extend(&question[..end + 5]);
            if let Some(data) = data {
                answer.extend([0xc0, 0x0c]);
                answer.extend(kind.to_be_bytes());
                answer.extend([0, 1, 0, 0, 0, 1]);
                answer.extend((data.len() as u16).to_be_bytes());
                answer.extend(data);
            }
            let _ = socket.send_to(&answer, from);
        }
    });
    address
}

#[test]
fn a_preflight_says_what_is_in_the_way_and_what_to_do() {
    let names = name_server();
    let server = Setup::http(
        "resolver %NAMES%;
         acme_issuer nearby {
             uri https://127.0.0.1:1/directory;
             accept_terms_of_service;
             ssl_verify off;
         }
         server {
             listen %LISTEN1% ssl;
             server_name shop.example.com;
             acme_certificate nearby;
             ssl_certificate $acme_certificate;
             ssl_certificate_key $acme_certificate_key;
         }
         server { listen %LISTEN2%; server_name plain.example.com; }",
    )
    .set("NAMES", names.to_string())
    .tolerate("certificate")
    .tolerate("acme")
    .start();
    let control = Control::of(&server);
    let why = |name: &str| -> Preflight {
        let asked = serde_json::json!({ "name": name });
        let answer = control.post("/v1/certificates/why", &asked);
        answer.unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    let of = |preflight: &Preflight, subject: &str| -> Check {
        let mut checks = preflight.checks.iter();
        let found = checks.find(|check| check.subject == subject).cloned();
        found.unwrap_or_else(|| panic!("{subject}: {preflight:?}"))
    };
    let shop = why("Shop.example.com.");
    assert_eq!(shop.name, "shop.example.com");
    assert_eq!(of(&shop, "server").level, Level::Good);
    assert_eq!(of(&shop, "terms").level, Level::Good);
    // Neither 80 nor 443: no proof can be given here.
    assert_eq!(of(&shop, "challenge").level, Level::Bad);
    let address = of(&shop, "address");
    assert_eq!(address.level, Level::Warn);
    assert!(address.seen.contains("203.0.113.7") && !address.advice.is_empty());
    let caa = of(&shop, "caa");
    assert!(caa.seen.contains("other.example"), "{caa:?}");
    let authority = of(&shop, "authority");
    assert_eq!(authority.level, Level::Bad, "{authority:?}");
    eventually("the last attempt is told", || {
        why("shop.example.com").last_error.map(|_| ())
    });
    let plain = of(&why("plain.example.com"), "server");
    assert_eq!(plain.level, Level::Bad);
    assert!(plain.advice.contains("listen 443 ssl"), "{plain:?}");
    let nobody = why("nobody.example.com");
    assert_eq!(of(&nobody, "server").level, Level::Bad);
    assert_eq!(of(&nobody, "address").level, Level::Bad);
    let refused = control.post::<Preflight>(
        "/v1/certificates/why",
        &serde_json::json!({ "name": "../etc" }),
    );
    match refused {
        Err(CallError::Refused(refusal)) => assert_eq!(refusal.code, RefusalCode::Invalid),
        other => panic!("{other:?}"),
    }
    let output = word(&server, &["cert", "why", "nobody.example.com"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("FAIL  server"), "{}", said(&output));
}

#[test]
fn an_agreement_needs_an_address_that_is_one() {
    let server = Setup::http("server { listen %LISTEN1%; }").start();
    let control = Control::of(&server);
    let agreed = server.site().prefix.join("state/acme/letsencrypt/agreed");
    for wrong in [
        "a b@c.example",
        "nobody",
        "@c.example",
        "a@b@c.example",
        "a@b.c\r\nx: y",
    ] {
        let agreement = TermsAgreement {
            issuer: String::new(),
            email: wrong.to_owned(),
        };
        match control.post::<Refusal>("/v1/certificates/agree", &agreement) {
            Err(CallError::Refused(refusal)) => {
                assert!(
                    refusal.message.contains("no address of mail"),
                    "{refusal:?}"
                );
            }
            other => panic!("{wrong}: {other:?}"),
        }
    }
    assert!(!agreed.exists());
    // It is kept also before anything is wanted, as the installation asks for it.
    let words = ["cert", "agree", "--yes", "--email", "me@example.com"];
    let output = word(&server, &words);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(
        fs::read_to_string(agreed).expect("kept"),
        "me@example.com\n"
    );
}
