//! Certificates of clients, compared with nginx where it can be.

use std::path::Path;
use std::process::Command;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};

use crate::support::certificate::Authority;
use crate::support::server::{Server, Setup, eventually, oracle};

type Issuer = CertifiedIssuer<'static, KeyPair>;

/// Who can be shown to a server, by the name of its files: `NAME.pem` with the chain, `NAME.key`.
struct Family {
    files: Vec<(String, String)>,
}

fn parameters(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::new(Vec::new()).expect("no names");
    parameters.distinguished_name = DistinguishedName::new();
    let mut named = |kind, text: &str| parameters.distinguished_name.push(kind, text);
    named(DnType::CountryName, "DE");
    named(DnType::OrganizationName, "Kühe, Söhne + \"Co\"");
    named(DnType::CommonName, name);
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    parameters
}

fn authority_parameters(name: &str) -> CertificateParams {
    let mut parameters = parameters(name);
    parameters.extended_key_usages.clear();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    parameters
}

fn root(name: &str) -> Issuer {
    let key = KeyPair::generate().expect("a key");
    CertifiedIssuer::self_signed(authority_parameters(name), key).expect("signed")
}

fn below(issuer: &Issuer, name: &str) -> Issuer {
    let key = KeyPair::generate().expect("a key");
    CertifiedIssuer::signed_by(authority_parameters(name), key, issuer).expect("signed")
}

impl Family {
    fn new() -> Self {
        let mut family = Self { files: Vec::new() };
        let own = root("own root");
        let foreign = root("foreign root");
        let first = below(&own, "first authority");
        let second = below(&first, "second authority");
        family.add("good", &own, parameters("good"), &[]);
        family.add("first", &first, parameters("first"), &[&first]);
        family.add("second", &second, parameters("second"), &[&second, &first]);
        family.add("unchained", &first, parameters("unchained"), &[]);
        family.add("foreign", &foreign, parameters("foreign"), &[]);
        family.add(
            "foreign_chain",
            &foreign,
            parameters("foreign"),
            &[&foreign],
        );
        let mut old = parameters("old");
        old.not_before = date_time_ymd(2001, 2, 3);
        old.not_after = date_time_ymd(2002, 3, 4);
        family.add("old", &own, old, &[]);
        let mut early = parameters("early");
        early.not_before = date_time_ymd(2901, 2, 3);
        early.not_after = date_time_ymd(2902, 3, 4);
        family.add("early", &own, early, &[]);
        let mut server = parameters("server");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        family.add("server", &own, server, &[]);
        let mut revoked = parameters("revoked");
        revoked.serial_number = Some(SerialNumber::from(0x1234_5678_9abc));
        family.add("revoked", &own, revoked, &[]);
        let key = KeyPair::generate().expect("a key");
        let alone = parameters("alone").self_signed(&key).expect("signed");
        family.file("alone.pem", alone.pem());
        family.file("alone.key", key.serialize_pem());
        family.file("ca.pem", own.pem());
        family.file("alone_ca.pem", alone.pem());
        family.file("own.crl", revocation(&own, 2000, 3000));
        family.file("stale.crl", revocation(&own, 2000, 2001));
        family.file("foreign.crl", revocation(&foreign, 2000, 3000));
        family
    }

    fn file(&mut self, name: &str, text: String) {
        self.files.push((name.to_owned(), text));
    }

    fn add(
        &mut self,
        name: &str,
        issuer: &Issuer,
        parameters: CertificateParams,
        chain: &[&Issuer],
    ) {
        let key = KeyPair::generate().expect("a key");
        let mut text = parameters.signed_by(&key, issuer).expect("signed").pem();
        for issuer in chain {
            text.push_str(&issuer.pem());
        }
        self.file(&format!("{name}.pem"), text);
        self.file(&format!("{name}.key"), key.serialize_pem());
    }

    /// A program with servers of these names and directives.
    fn serve(&self, program: Option<&Path>, servers: &[(&str, &str)]) -> Server {
        let authority = Authority::new();
        let mut setup_files = self.files.clone();
        let mut conf = String::new();
        for (name, directives) in servers {
            let pair = authority.issue(&[name]);
            conf.push_str(&format!(
                "server {{ listen %LISTEN1% ssl; server_name {name};
                ssl_certificate %PREFIX%/{name}.pem; ssl_certificate_key %PREFIX%/{name}.key;
                {directives}
                error_page 495 496 /refused;
                location /refused {{ return 200 \"$status $ssl_client_verify\\n\"; }}
                location / {{ return 200 \"{WHAT_IS_KNOWN}\"; }} }}\n"
            ));
            setup_files.push((format!("{name}.pem"), pair.certificate));
            setup_files.push((format!("{name}.key"), pair.key));
        }
        // The second is what nginx says of itself when OpenSSL refuses a certificate.
        let setup = Setup::http(&conf)
            .tolerate("cannot load")
            .tolerate("ignoring stale global SSL error");
        let setup = program.into_iter().fold(setup, Setup::program);
        let setup =
            (setup_files.into_iter()).fold(setup, |setup, (path, text)| setup.file(&path, text));
        setup.start()
    }
}

fn revocation(issuer: &Issuer, from: i32, until: i32) -> String {
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(from, 1, 1),
        next_update: date_time_ymd(until, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: vec![RevokedCertParams {
            serial_number: SerialNumber::from(0x1234_5678_9abc),
            revocation_time: date_time_ymd(2001, 1, 1),
            reason_code: None,
            invalidity_date: None,
        }],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(issuer).expect("signed").pem().expect("PEM")
}

/// Every variable that nginx 1.22 has.
const WHAT_IS_KNOWN: &str = "$ssl_client_verify\\n$ssl_client_s_dn\\n$ssl_client_i_dn\\n\
    $ssl_client_s_dn_legacy\\n$ssl_client_i_dn_legacy\\n$ssl_client_serial\\n$ssl_client_fingerprint\\n\
    $ssl_client_v_start\\n$ssl_client_v_end\\n$ssl_client_v_remain\\n$ssl_client_cert\\n\
    $ssl_client_raw_cert\\n$ssl_client_escaped_cert\\n";

/// What a client with this certificate is told: status and body.
fn ask(server: &Server, name: &str, shown: &str, arguments: &[&str]) -> String {
    let port = server.port(1);
    let mut command = Command::new("curl");
    command
        .args([
            "--silent",
            "--show-error",
            "--insecure",
            "--http1.1",
            "--max-time",
            "20",
        ])
        .args(["--write-out", "%{http_code}"])
        .args(["--resolve", &format!("{name}:{port}:127.0.0.1")])
        .args(arguments);
    if !shown.is_empty() {
        let path = |end: &str| server.site().prefix.join(format!("{shown}.{end}"));
        command
            .arg("--cert")
            .arg(path("pem"))
            .arg("--key")
            .arg(path("key"));
    }
    let output = command
        .arg(format!("https://{name}:{port}/"))
        .output()
        .expect("curl runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const SERVERS: &[(&str, &str)] = &[
    (
        "on.test",
        "ssl_verify_client on; ssl_client_certificate %PREFIX%/ca.pem;",
    ),
    (
        "optional.test",
        "ssl_verify_client optional; ssl_trusted_certificate %PREFIX%/ca.pem; ssl_client_certificate %PREFIX%/ca.pem;",
    ),
    (
        "any.test",
        "ssl_verify_client optional_no_ca; ssl_client_certificate %PREFIX%/ca.pem;",
    ),
    (
        "deep.test",
        "ssl_verify_client on; ssl_client_certificate %PREFIX%/ca.pem; ssl_verify_depth 2;",
    ),
    (
        "flat.test",
        "ssl_verify_client on; ssl_client_certificate %PREFIX%/ca.pem; ssl_verify_depth 0;",
    ),
    (
        "alone.test",
        "ssl_verify_client on; ssl_client_certificate %PREFIX%/alone_ca.pem;",
    ),
    (
        "crl.test",
        "ssl_verify_client on; ssl_client_certificate %PREFIX%/ca.pem; ssl_crl %PREFIX%/own.crl;",
    ),
    (
        "stale.test",
        "ssl_verify_client on; ssl_client_certificate %PREFIX%/ca.pem; ssl_crl %PREFIX%/stale.crl;",
    ),
    (
        "elsewhere.test",
        "ssl_verify_client on; ssl_client_certificate %PREFIX%/ca.pem; ssl_crl %PREFIX%/foreign.crl;",
    ),
    ("off.test", ""),
];

#[test]
fn a_client_is_told_what_nginx_tells_it_whatever_it_shows() {
    let family = Family::new();
    let ours = family.serve(None, SERVERS);
    let theirs = family.serve(Some(&oracle()), SERVERS);
    let shown = [
        "",
        "good",
        "first",
        "second",
        "unchained",
        "foreign",
        "foreign_chain",
        "old",
        "early",
        "server",
        "revoked",
        "alone",
    ];
    let mut different = Vec::new();
    let mut passed = 0;
    for (name, _) in SERVERS {
        for shown in shown {
            // Another version is another way through the handshake, not through the judgement.
            let version = match shown {
                "good" | "foreign" => "1.2",
                _ => "1.3",
            };
            let [own, other] =
                [&ours, &theirs].map(|server| ask(server, name, shown, &["--tls-max", version]));
            passed += usize::from(own.starts_with("SUCCESS"));
            // Where several things are wrong, OpenSSL tells what it sees last; who is refused, is refused.
            let is_refused = [&own, &other].map(|said| said.starts_with("400 FAILED:"));
            let has_one_fault = !matches!(
                *name,
                "crl.test" | "stale.test" | "elsewhere.test" | "alone.test"
            );
            if own != other && (has_one_fault || is_refused != [true, true]) {
                different.push(format!(
                    "{name} {shown}\n--- ours\n{own}\n--- nginx\n{other}"
                ));
            }
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    assert!(passed > 10, "only {passed} clients were accepted");
}

#[test]
fn a_judgement_of_one_server_does_not_hold_for_another() {
    let family = Family::new();
    for program in [None, Some(oracle())] {
        let server = family.serve(program.as_deref(), SERVERS);
        for (name, host, expected) in [
            ("off.test", "on.test", "421"),
            ("any.test", "on.test", "421"),
            ("on.test", "optional.test", "421"),
            // Nothing is asked of clients there.
            ("on.test", "off.test", "200"),
        ] {
            let said = ask(
                &server,
                name,
                "good",
                &["--header", &format!("Host: {host}")],
            );
            assert!(said.ends_with(expected), "{name} {host}: {said}");
        }
    }
    // Who names nobody in the handshake is at the default server.
    let server = family.serve(None, &[("off.test", ""), SERVERS[0]]);
    let said = Command::new("curl")
        .args(["--silent", "--insecure", "--header", "Host: on.test"])
        .args(["--write-out", "%{http_code}"])
        .arg(format!("https://127.0.0.1:{}/", server.port(1)))
        .output()
        .expect("curl runs");
    assert!(String::from_utf8_lossy(&said.stdout).ends_with("421"));
}

#[test]
fn a_session_is_no_way_around_the_judgement() {
    let family = Family::new();
    let server = family.serve(None, &[SERVERS[0]]);
    let prefix = &server.site().prefix;
    let path = |name: &str| prefix.join(name).display().to_string();
    let (certificate, key, session) = (path("good.pem"), path("good.key"), path("session"));
    for version in ["-tls1_2", "-tls1_3"] {
        let arguments = [version, "-cert", &certificate, "-key", &key];
        let shake = |more: &[&str]| {
            crate::support::openssl::request(
                server.port(1),
                "on.test",
                &[&arguments[..], more].concat(),
            )
        };
        assert_eq!(shake(&["-sess_out", &session]).body(), Some("SUCCESS"));
        let resumed = shake(&["-sess_in", &session, "-sess_out", &session]);
        assert!(resumed.is_resumed() && resumed.body() == Some("SUCCESS"));
        // The authority goes: a session, like a connection, is judged by the configuration in force.
        let before = std::fs::read(path("ca.pem")).expect("a file");
        std::fs::write(
            path("ca.pem"),
            std::fs::read(path("alone_ca.pem")).expect("a file"),
        )
        .expect("written");
        server.signal(nix::sys::signal::Signal::SIGHUP);
        let kept = std::fs::read(&session).expect("a session");
        eventually("the client is refused", || {
            std::fs::write(&session, &kept).expect("written");
            let refused = shake(&["-sess_in", &session]);
            (refused.body() != Some("SUCCESS")).then_some(refused.said)
        });
        std::fs::write(path("ca.pem"), before).expect("written");
        server.signal(nix::sys::signal::Signal::SIGHUP);
        eventually("the client is accepted again", || {
            (shake(&[]).body() == Some("SUCCESS")).then_some(())
        });
    }
}

#[test]
fn a_file_that_cannot_be_read_lets_no_certificate_pass_and_harms_no_other_server() {
    let family = Family::new();
    let server = family.serve(
        None,
        &[
            ("on.test", "ssl_verify_client on; ssl_client_certificate %PREFIX%/gone.pem;"),
            ("optional.test", "ssl_verify_client optional; ssl_client_certificate %PREFIX%/good.key;"),
            ("crl.test", "ssl_verify_client optional_no_ca; ssl_client_certificate %PREFIX%/ca.pem; ssl_crl %PREFIX%/gone.crl;"),
            ("off.test", ""),
        ],
    );
    let first = |name, shown| {
        let said = ask(&server, name, shown, &[]);
        said.lines().next().unwrap_or_default().to_owned()
    };
    assert_eq!(first("on.test", ""), "400 NONE");
    let unknown = "400 FAILED:unable to get local issuer certificate";
    assert_eq!(first("on.test", "good"), unknown);
    assert_eq!(first("optional.test", "good"), unknown);
    assert_eq!(first("optional.test", ""), "NONE");
    assert_eq!(
        first("crl.test", "good"),
        "400 FAILED:unable to get certificate CRL"
    );
    assert_eq!(first("off.test", "good"), "NONE");
    for file in ["gone.pem", "good.key", "gone.crl"] {
        assert!(
            server.said().contains(&format!("/{file}\": ")),
            "{}",
            server.said()
        );
    }
}

#[test]
fn http2_is_judged_as_well_and_says_how_the_key_was_proved() {
    let family = Family::new();
    let pair = Authority::new().issue(&["a.test"]);
    let conf = "server { listen %LISTEN1% ssl; server_name a.test;
        ssl_certificate %PREFIX%/a.pem; ssl_certificate_key %PREFIX%/a.key;
        ssl_verify_client on; ssl_client_certificate %PREFIX%/ca.pem;
        return 200 \"$server_protocol $ssl_client_sigalg $ssl_client_verify\\n\"; }";
    let setup = Setup::http(conf)
        .file("a.pem", pair.certificate)
        .file("a.key", pair.key);
    let files = family.files.iter();
    let server = files
        .fold(setup, |setup, (path, text)| setup.file(path, text.clone()))
        .start();
    let prefix = &server.site().prefix;
    let curl = |more: &[String]| {
        let output = Command::new("curl")
            .args(["--silent", "--insecure", "--write-out", "%{http_code}"])
            .args(["--resolve", &format!("a.test:{}:127.0.0.1", server.port(1))])
            .args(more)
            .arg(format!("https://a.test:{}/", server.port(1)))
            .output()
            .expect("curl runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let path = |name: &str| prefix.join(name).display().to_string();
    let shown = |name: &str| {
        vec![
            "--cert".into(),
            path(&format!("{name}.pem")),
            "--key".into(),
            path(&format!("{name}.key")),
        ]
    };
    assert_eq!(
        curl(&shown("good")),
        "HTTP/2.0 ecdsa_secp256r1_sha256 SUCCESS\n200"
    );
    assert!(curl(&shown("foreign")).contains("The SSL certificate error"));
    assert!(curl(&[]).contains("No required SSL certificate was sent"));
}

#[test]
fn files_about_clients_are_read_again_when_they_change() {
    let family = Family::new();
    let server = family.serve(
        None,
        &[(
            "on.test",
            "ssl_verify_client on; ssl_client_certificate %PREFIX%/trusted.pem; ssl_crl %PREFIX%/list.crl;",
        )],
    );
    let text = |name: &str| {
        let mut files = family.files.iter();
        let found = files.find(|(known, _)| known == name);
        found.map(|(_, text)| text.clone()).expect("a file")
    };
    let put = |name: &str, text: &str| {
        let path = server.site().prefix.join(name);
        let new = path.with_extension("new");
        std::fs::write(&new, text).expect("written");
        std::fs::rename(new, path).expect("renamed");
    };
    let becomes = |what: &str, shown: &str, wanted: &str| {
        eventually(what, || {
            let said = ask(&server, "on.test", shown, &[]);
            (said.lines().next() == Some(wanted)).then_some(())
        });
    };
    let refused = "400 FAILED:unable to get local issuer certificate";
    becomes("nobody is trusted", "good", refused);
    put("list.crl", &text("own.crl"));
    put("trusted.pem", &text("ca.pem"));
    becomes("the authority is there", "good", "SUCCESS");
    becomes(
        "one is revoked",
        "revoked",
        "400 FAILED:certificate revoked",
    );
    // Whose names clients are told comes from the same file.
    let names = crate::support::openssl::shake_hands(server.port(1), "on.test", &[]).said;
    assert!(names.contains("CN = own root"), "{names}");
    put("list.crl", "garbage");
    eventually("the fault is told", || {
        let said = server.said();
        said.contains("what was there before is used on")
            .then_some(())
    });
    becomes("the list from before counts", "good", "SUCCESS");
    becomes(
        "and still has it",
        "revoked",
        "400 FAILED:certificate revoked",
    );
    put("list.crl", &text("stale.crl"));
    becomes("the list is too old", "good", "400 FAILED:CRL has expired");
}
