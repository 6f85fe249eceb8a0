//! `ssl_stapling` with `openssl ocsp` as the responder.

use std::path::Path;
use std::process::Command;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    SerialNumber,
};

use crate::support::openssl::shake_hands;
use crate::support::ports::{Port, reserve};
use crate::support::responder::{Responder, access, index};
use crate::support::server::{Server, Setup, eventually};

/// An authority with a responder, whose files are in a directory of its own.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: tempfile::TempDir,
    port: Port,
    responder: Option<Responder>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut parameters = CertificateParams::new(Vec::new()).expect("no names");
        parameters
            .distinguished_name
            .push(DnType::CommonName, "stapling authority");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let secret = key.serialize_pem();
        let issuer = CertifiedIssuer::self_signed(parameters, key).expect("signed");
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("ca.pem"), issuer.pem()).expect("written");
        std::fs::write(directory.path().join("ca.key"), secret).expect("written");
        Self {
            issuer,
            directory,
            port: reserve(),
            responder: None,
        }
    }

    /// A chain and a key for a name; with the responder's address or not.
    fn issue(&self, name: &str, serial: u64, has_responder: bool) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let mut parameters = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        parameters.serial_number = Some(SerialNumber::from(serial));
        parameters.distinguished_name.push(DnType::CommonName, name);
        if has_responder {
            parameters.custom_extensions.push(access(self.port.number));
        }
        let certificate = parameters.signed_by(&key, &self.issuer).expect("signed");
        (certificate.pem() + &self.issuer.pem(), key.serialize_pem())
    }

    /// Answers from now on; these serial numbers are revoked, others up to 9 are good.
    fn answer(&mut self, revoked: &[u64]) {
        self.stop();
        let path = |name: &str| self.directory.path().join(name);
        let (certificate, key) = (path("ca.pem"), path("ca.key"));
        let index = index(revoked);
        let responder = Responder::start(self.port.number, &certificate, &key, &index);
        self.responder = Some(responder);
    }

    fn stop(&mut self) {
        self.responder = None;
    }

    fn serve(&self, servers: &[(&str, &str, (String, String))]) -> Server {
        let mut conf = String::new();
        let mut files = Vec::new();
        for (name, directives, (certificate, key)) in servers {
            conf.push_str(&format!(
                "server {{ listen %LISTEN1% ssl; server_name {name};
                ssl_certificate %PREFIX%/{name}.pem; ssl_certificate_key %PREFIX%/{name}.key;
                {directives} }}\n"
            ));
            files.push((format!("{name}.pem"), certificate.clone()));
            files.push((format!("{name}.key"), key.clone()));
        }
        let setup =
            Setup::http(&conf).globals("daemon off; pid server.pid; error_log error.log notice;");
        let setup = setup.file("ca.pem", self.issuer.pem());
        files
            .into_iter()
            .fold(setup, |setup, (path, text)| setup.file(&path, text))
            .start()
    }
}

/// Is a status sent along, and a good one that openssl verifies?
fn has_status(server: &Server, name: &str) -> bool {
    let ca = server.site().prefix.join("ca.pem").display().to_string();
    let said = shake_hands(server.port(1), name, &["-status", "-CAfile", &ca]).said;
    let is_good = said.contains("Cert Status: good");
    assert!(!is_good || said.contains("Verify return code: 0"), "{said}");
    assert!(is_good || !said.contains("OCSP Response Status"), "{said}");
    is_good
}

fn kept(server: &Server) -> usize {
    let list = std::fs::read_dir(server.site().prefix.join("state/ocsp"));
    list.map_or(0, Iterator::count)
}

#[test]
fn a_status_is_sent_along_and_outlives_the_responder_a_reload_and_a_restart() {
    let mut authority = Authority::new();
    authority.answer(&[]);
    let mut server = authority.serve(&[
        (
            "one.test",
            "ssl_stapling on; ssl_stapling_verify on;",
            authority.issue("one.test", 1, true),
        ),
        ("off.test", "", authority.issue("off.test", 2, true)),
    ]);
    eventually("the status is sent", || {
        has_status(&server, "one.test").then_some(())
    });
    assert!(!has_status(&server, "off.test"));
    assert_eq!(kept(&server), 1);
    authority.stop();
    server.signal(nix::sys::signal::Signal::SIGHUP);
    eventually("the old generation has ended", || {
        server.said().contains("exited with code 0").then_some(())
    });
    assert!(has_status(&server, "one.test"));
    server.quit();
    server.start_again();
    eventually("the status is sent again", || {
        has_status(&server, "one.test").then_some(())
    });
}

#[test]
fn a_certificate_that_is_replaced_gets_a_status_of_its_own() {
    let mut authority = Authority::new();
    authority.answer(&[]);
    let server = authority.serve(&[(
        "one.test",
        "ssl_stapling on;",
        authority.issue("one.test", 1, true),
    )]);
    eventually("the status is sent", || {
        has_status(&server, "one.test").then_some(())
    });
    let (certificate, key) = authority.issue("one.test", 2, true);
    let write = |name: &str, text: &str| {
        std::fs::write(server.site().prefix.join(name), text).expect("written");
    };
    write("one.test.key", &key);
    write("one.test.pem", &certificate);
    eventually("both have a status", || (kept(&server) == 2).then_some(()));
    eventually("the status is sent", || {
        has_status(&server, "one.test").then_some(())
    });
}

#[test]
fn without_a_good_answer_none_is_sent_and_the_log_says_why() {
    let mut authority = Authority::new();
    authority.answer(&[1]);
    let down = reserve();
    let server = authority.serve(&[
        (
            "revoked.test",
            "ssl_stapling on;",
            authority.issue("revoked.test", 1, true),
        ),
        (
            "none.test",
            "ssl_stapling on;",
            authority.issue("none.test", 2, false),
        ),
        (
            "down.test",
            &format!(
                "ssl_stapling on; ssl_stapling_responder http://127.0.0.1:{}/;",
                down.number
            ),
            authority.issue("down.test", 3, true),
        ),
        (
            "good.test",
            "ssl_stapling on;",
            authority.issue("good.test", 4, true),
        ),
    ]);
    eventually("the status is sent", || {
        has_status(&server, "good.test").then_some(())
    });
    for told in [
        "the certificate is revoked; no status is sent",
        "\"ssl_stapling\" ignored, no OCSP responder URL in the certificate \"CN=none.test\"",
        "OCSP responder \"127.0.0.1\": cannot",
    ] {
        eventually("it is told", || server.said().contains(told).then_some(()));
    }
    for name in ["revoked.test", "none.test", "down.test"] {
        assert!(!has_status(&server, name), "{name}");
    }
    assert_eq!(kept(&server), 1);
}

#[test]
fn a_status_in_a_file_is_sent_as_it_is() {
    let mut authority = Authority::new();
    authority.answer(&[]);
    let pair = authority.issue("one.test", 1, false);
    let path = |name: &str| authority.directory.path().join(name);
    std::fs::write(path("one.pem"), &pair.0).expect("written");
    ask(
        &path("ca.pem"),
        &path("one.pem"),
        &path("one.der"),
        authority.port.number,
    );
    let directives = format!(
        "ssl_stapling on; ssl_stapling_file {};",
        path("one.der").display()
    );
    let server = authority.serve(&[("one.test", &directives, pair)]);
    eventually("the status is sent", || {
        has_status(&server, "one.test").then_some(())
    });
}

/// Asks the responder as an administrator would.
fn ask(issuer: &Path, certificate: &Path, answer: &Path, port: u16) {
    let output = Command::new("openssl")
        .args([
            "ocsp",
            "-noverify",
            "-url",
            &format!("http://127.0.0.1:{port}/"),
        ])
        .arg("-issuer")
        .arg(issuer)
        .arg("-cert")
        .arg(certificate)
        .arg("-respout")
        .arg(answer)
        .output()
        .expect("openssl runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
