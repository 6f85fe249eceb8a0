//! `ssl_ocsp` with `openssl ocsp` as the responders, compared with nginx.

use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SerialNumber,
};

use crate::support::certificate;
use crate::support::ports::{Port, reserve};
use crate::support::responder::{Responder, access, index};
use crate::support::server::{Server, Setup, eventually, oracle};

type Issuer = CertifiedIssuer<'static, KeyPair>;

/// Serial numbers of the clients; the responders have others up to 9 for good.
const GOOD: u64 = 1;
const REVOKED: u64 = 2;
const STRANGE: u64 = 0x77;
/// Of the authorities between.
const BETWEEN: u64 = 3;
const REVOKED_BETWEEN: u64 = 4;

/// A root with two authorities below, the second of them revoked, and clients of each; all files in a
/// directory.
struct Family {
    directory: tempfile::TempDir,
    /// Where the root's responder answers, and where those of the two others do.
    ports: [Port; 3],
}

fn parameters(name: &str, serial: u64) -> CertificateParams {
    let mut parameters = CertificateParams::new(Vec::new()).expect("no names");
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.serial_number = Some(SerialNumber::from(serial));
    parameters
}

fn authority(name: &str, serial: u64) -> (CertificateParams, KeyPair) {
    let mut parameters = parameters(name, serial);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    (parameters, KeyPair::generate().expect("a key"))
}

impl Family {
    fn new() -> Self {
        let family = Self {
            directory: tempfile::tempdir().expect("a directory"),
            ports: [reserve(), reserve(), reserve()],
        };
        let [root_port, first_port, second_port] = family.ports.each_ref().map(|port| port.number);
        let (params, key) = authority("root", 100);
        let secret = key.serialize_pem();
        let root = CertifiedIssuer::self_signed(params, key).expect("signed");
        family.put("root", &root.pem(), &secret);
        let below = |name: &str, serial: u64| {
            let (mut params, key) = authority(name, serial);
            params.custom_extensions.push(access(root_port));
            let secret = key.serialize_pem();
            let issuer = CertifiedIssuer::signed_by(params, key, &root).expect("signed");
            family.put(name, &issuer.pem(), &secret);
            issuer
        };
        let first = below("first", BETWEEN);
        let second = below("second", REVOKED_BETWEEN);
        family.client("good", GOOD, &root, Some(root_port), false);
        family.client("revoked", REVOKED, &root, Some(root_port), false);
        family.client("strange", STRANGE, &root, Some(root_port), false);
        family.client("silent", GOOD, &root, None, false);
        family.client("deep", GOOD, &first, Some(first_port), true);
        family.client("deep_revoked", REVOKED, &first, Some(first_port), true);
        family.client("under_revoked", GOOD, &second, Some(second_port), true);
        family
    }

    fn put(&self, name: &str, certificate: &str, key: &str) {
        let path = |end: &str| self.directory.path().join(format!("{name}.{end}"));
        std::fs::write(path("pem"), certificate).expect("written");
        std::fs::write(path("key"), key).expect("written");
    }

    fn client(&self, name: &str, serial: u64, issuer: &Issuer, port: Option<u16>, has_chain: bool) {
        let key = KeyPair::generate().expect("a key");
        let mut params = parameters(name, serial);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.custom_extensions.extend(port.map(access));
        let mut chain = params.signed_by(&key, issuer).expect("signed").pem();
        if has_chain {
            chain.push_str(&issuer.pem());
        }
        self.put(name, &chain, &key.serialize_pem());
    }

    fn responder(&self, name: &str, port: usize, revoked: &[u64]) -> Responder {
        let path = |end: &str| self.directory.path().join(format!("{name}.{end}"));
        let port = self.ports[port].number;
        Responder::start(port, &path("pem"), &path("key"), &index(revoked))
    }

    fn responders(&self) -> [Responder; 3] {
        [
            self.responder("root", 0, &[REVOKED, REVOKED_BETWEEN]),
            self.responder("first", 1, &[REVOKED]),
            self.responder("second", 2, &[]),
        ]
    }

    fn serve(&self, program: Option<&Path>, servers: &[(&str, &str)]) -> Server {
        let authority = certificate::Authority::new();
        let mut conf = String::new();
        let mut files = Vec::new();
        for (name, directives) in servers {
            let pair = authority.issue(&[name]);
            conf.push_str(&format!(
                "server {{ listen %LISTEN1% ssl; server_name {name};
                ssl_certificate %PREFIX%/{name}.pem; ssl_certificate_key %PREFIX%/{name}.key;
                ssl_client_certificate {root}; ssl_verify_depth 3;
                {directives}
                error_page 495 496 /refused;
                location /refused {{ return 200 \"$status $ssl_client_verify\\n\"; }}
                location / {{ return 200 \"$ssl_client_verify\\n\"; }} }}\n",
                root = self.directory.path().join("root.pem").display(),
            ));
            files.push((format!("{name}.pem"), pair.certificate));
            files.push((format!("{name}.key"), pair.key));
        }
        let setup = Setup::http(&conf)
            .globals("daemon off; pid server.pid; error_log error.log info;")
            .tolerate("ignoring stale global SSL error");
        let setup = program.into_iter().fold(setup, Setup::program);
        let setup = (files.into_iter()).fold(setup, |setup, (path, text)| setup.file(&path, text));
        setup.start()
    }

    /// What a client that shows this is told.
    fn ask(&self, server: &Server, name: &str, shown: &str, arguments: &[&str]) -> String {
        let port = server.port(1);
        let mut command = Command::new("curl");
        command
            .args(["--silent", "--show-error", "--insecure", "--max-time", "20"])
            .args(["--resolve", &format!("{name}:{port}:127.0.0.1")])
            .args(arguments);
        if !shown.is_empty() {
            let path = |end: &str| self.directory.path().join(format!("{shown}.{end}"));
            command.arg("--cert").arg(path("pem"));
            command.arg("--key").arg(path("key"));
        }
        let output = command
            .arg(format!("https://{name}:{port}/"))
            .output()
            .expect("curl runs");
        let failure = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{failure}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

#[test]
fn a_client_is_told_what_nginx_tells_it_whatever_its_authority_says() {
    let family = Family::new();
    let _responders = family.responders();
    let down = reserve();
    let other = format!(
        "ssl_verify_client on; ssl_ocsp leaf; ssl_ocsp_responder http://127.0.0.1:{}/;",
        family.ports[0].number
    );
    let nobody = format!(
        "ssl_verify_client on; ssl_ocsp on; ssl_ocsp_responder http://127.0.0.1:{}/;",
        down.number
    );
    let servers = [
        ("on.test", "ssl_verify_client on; ssl_ocsp on;"),
        ("leaf.test", "ssl_verify_client on; ssl_ocsp leaf;"),
        ("optional.test", "ssl_verify_client optional; ssl_ocsp on;"),
        ("other.test", &*other),
        ("nobody.test", &*nobody),
        ("off.test", "ssl_verify_client on;"),
    ];
    let ours = family.serve(None, &servers);
    let theirs = family.serve(Some(&oracle()), &servers);
    for (name, _) in servers {
        for shown in [
            "",
            "good",
            "revoked",
            "strange",
            "silent",
            "deep",
            "deep_revoked",
            "under_revoked",
        ] {
            let [mine, theirs] =
                [&ours, &theirs].map(|server| family.ask(server, name, shown, &["--http1.1"]));
            assert_eq!(mine, theirs, "{shown} at {name}");
            if name != "nobody.test" {
                let second = family.ask(&ours, name, shown, &["--http2"]);
                assert_eq!(second, mine, "{shown} at {name} over HTTP/2");
            }
        }
    }
    let told = |shown| family.ask(&ours, "on.test", shown, &[]);
    assert_eq!(told("good"), "SUCCESS\n");
    assert_eq!(told("revoked"), "400 FAILED:certificate revoked\n");
    assert_eq!(told("under_revoked"), "400 FAILED:certificate revoked\n");
    assert_eq!(told("strange"), "400 FAILED:certificate status unknown\n");
    let at_nobody = family.ask(&ours, "nobody.test", "good", &[]);
    assert_eq!(at_nobody, "400 FAILED:certificate status request failed\n");
    let said = ours.said();
    assert!(said.contains("client SSL certificate verify error: (certificate revoked)"));
    assert!(said.contains("OCSP responder \"127.0.0.1\": cannot connect to `127.0.0.1`"));
}

#[test]
fn an_answer_that_is_kept_outlives_its_responder_and_a_reload() {
    let family = Family::new();
    let responders = family.responders();
    let kept = "ssl_verify_client on; ssl_ocsp on; ssl_ocsp_cache shared:answers:32k;";
    let mut server = family.serve(
        None,
        &[
            ("kept.test", kept),
            ("asked.test", "ssl_verify_client on; ssl_ocsp on;"),
        ],
    );
    let told = |server: &Server, name, shown| family.ask(server, name, shown, &[]);
    for shown in ["deep", "revoked"] {
        let first = told(&server, "kept.test", shown);
        assert_eq!(told(&server, "asked.test", shown), first);
    }
    drop(responders);
    let failed = "400 FAILED:certificate status request failed\n";
    for _ in 0..2 {
        assert_eq!(told(&server, "kept.test", "deep"), "SUCCESS\n");
        let refused = told(&server, "kept.test", "revoked");
        assert_eq!(refused, "400 FAILED:certificate revoked\n");
        assert_eq!(told(&server, "kept.test", "good"), failed);
        assert_eq!(told(&server, "asked.test", "deep"), failed);
        server.signal(Signal::SIGHUP);
        eventually("the old generation has ended", || {
            server.said().contains("exited with code 0").then_some(())
        });
    }
    server.quit();
}
