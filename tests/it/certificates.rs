//! Certificates in files: what is wrong with them is told and harms nobody else, what changes is
//! served without a reload.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use openclaw::tls::facts::Facts;
use openclaw::tls::pem;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use crate::support::certificate::{Authority, Pair};
use crate::support::process_tree::process_tree;
use crate::support::server::{Server, Setup, eventually};
use crate::support::tls_client::Handshaker;

/// With a log that has more than errors.
const TALKATIVE: &str = "daemon off; pid server.pid; error_log error.log notice;";

const PLACEHOLDER: &str = "CN=openclaw placeholder certificate";

fn fixture(name: &str) -> String {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/certificates");
    fs::read_to_string(directory.join(name)).expect("a file")
}

/// The first certificate that openssl is shown, if the handshake succeeds.
fn shown(server: &Server, name: &str, arguments: &[&str]) -> Option<Facts> {
    let output = Command::new("openssl")
        .args(["s_client", "-connect"])
        .arg(format!("127.0.0.1:{}", server.port(1)))
        .args(["-servername", name])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("openssl runs");
    let section = pem::sections(&output.stdout).next()?;
    Facts::read(&section.expect("openssl writes PEM").der)
}

fn subject(server: &Server, name: &str) -> Option<String> {
    shown(server, name, &[]).map(|facts| facts.subject)
}

/// A server with a certificate and a key below the prefix.
fn site(name: &str, certificate: &str, key: &str) -> String {
    format!(
        "server {{ listen %LISTEN1% ssl; server_name {name};
        ssl_certificate %PREFIX%/{certificate};
        ssl_certificate_key %PREFIX%/{key};
        location / {{ return 200 \"{name}\\n\"; }} }}\n"
    )
}

fn issue(names: &[&str]) -> Pair {
    Authority::new().issue(names)
}

/// Certificate, key, and what is said of them, of what no server can serve.
fn bad_inputs() -> Vec<(&'static str, Vec<u8>, Vec<u8>, &'static str)> {
    let good = issue(&["bad.test"]);
    let other = issue(&["bad.test"]);
    let encrypted = fixture("leaf-pbes2-aes-256-cbc.key");
    let leaf = fixture("leaf.pem");
    let der = pem::sections(leaf.as_bytes())
        .next()
        .expect("a section")
        .expect("is well")
        .der
        .to_vec();
    let (certificate, key) = (good.certificate.into_bytes(), good.key.into_bytes());
    let cut = certificate[..certificate.len() / 2].to_vec();
    vec![
        (
            "mismatch",
            certificate.clone(),
            other.key.into_bytes(),
            "does not belong to certificate",
        ),
        ("empty", Vec::new(), key.clone(), "is empty"),
        ("garbage", vec![0xa5; 4000], key.clone(), "is not PEM"),
        ("der", der, key.clone(), "is in DER form, not PEM"),
        ("cut", cut, key.clone(), "has no end"),
        (
            "swapped",
            key.clone(),
            certificate.clone(),
            "has no certificate, but `PRIVATE KEY`",
        ),
        (
            "encrypted",
            leaf.clone().into_bytes(),
            encrypted.into_bytes(),
            "is encrypted",
        ),
        (
            "weak",
            fixture("weak.pem").into_bytes(),
            fixture("weak.key").into_bytes(),
            "of a kind that is not supported: RSA 1024",
        ),
        (
            "large",
            certificate.repeat(3000),
            key.clone(),
            "is too large",
        ),
        ("nokey", certificate, Vec::new(), "is empty"),
    ]
}

#[test]
fn every_bad_input_is_told_once_and_harms_no_other_name() {
    let inputs = bad_inputs();
    let good = issue(&["good.test"]);
    let mut conf = site("good.test", "good.pem", "good.key");
    let setup = |mut setup: Setup| {
        for (name, certificate, key, _) in &inputs {
            setup = setup
                .file(&format!("{name}.pem"), certificate.clone())
                .file(&format!("{name}.key"), key.clone());
        }
        setup
            .file("good.pem", good.certificate.clone())
            .file("good.key", good.key.clone())
            .file("directory.pem/x", "")
    };
    for (name, ..) in &inputs {
        conf += &site(
            &format!("{name}.test"),
            &format!("{name}.pem"),
            &format!("{name}.key"),
        );
    }
    conf += &site("missing.test", "missing.pem", "missing.key");
    conf += &site("directory.test", "directory.pem", "good.key");
    let all = inputs.len() + 2;

    let tested = setup(Setup::http(&conf)).run(&["-t"]);
    assert!(tested.status.success(), "{}", tested.stderr);
    let told = tested.stderr.matches("OC-W262").count();
    assert_eq!(told, all, "{}", tested.stderr);
    // The line and the column of the path, and nothing else in the whole output is a problem.
    assert_eq!(tested.stderr.matches("warning[").count(), all);
    for (name, .., message) in &inputs {
        let path = format!("/{name}.");
        let is_told = tested
            .stderr
            .lines()
            .any(|line| line.contains(&path) && line.contains(message));
        assert!(is_told, "{name}: {}", tested.stderr);
    }
    for message in ["there is no such file", "it is a directory"] {
        assert!(tested.stderr.contains(message), "{}", tested.stderr);
    }
    assert!(tested.stderr.contains("openclaw.conf:"));

    let server = setup(Setup::http(&conf)).start();
    let names = inputs.iter().map(|(name, ..)| *name);
    for name in names.chain(["missing", "directory"]) {
        let name = format!("{name}.test");
        assert_eq!(
            subject(&server, &name).as_deref(),
            Some(PLACEHOLDER),
            "{name}"
        );
        let said = server.read("error.log");
        assert!(
            said.contains(&format!("no certificate for server \"{name}\"")),
            "{said}"
        );
    }
    let facts = shown(&server, "good.test", &[]).expect("a certificate");
    assert!(facts.covers("good.test"));
}

#[test]
fn doubtful_certificates_are_served_and_told() {
    let authority = Authority::new();
    let unrelated = issue(&["else.test"]).certificate;
    let leaf = fixture("leaf.pem");
    let intermediate = fixture("intermediate.pem");
    let expired = {
        let key = KeyPair::generate().expect("a key");
        let mut parameters =
            CertificateParams::new(vec!["expired.test".to_owned()]).expect("a name");
        parameters.not_before = date_time_ymd(2001, 1, 1);
        parameters.not_after = date_time_ymd(2001, 12, 31);
        let certificate = parameters.self_signed(&key).expect("signed");
        (certificate.pem(), key.serialize_pem())
    };
    let open = authority.issue(&["open.test"]);
    let open_key = tempfile::NamedTempFile::new().expect("a file");
    fs::write(open_key.path(), &open.key).expect("written");
    let readable = fs::Permissions::from_mode(0o644);
    fs::set_permissions(open_key.path(), readable).expect("ours");
    let conf = site("expired.test", "expired.pem", "expired.key")
        + &site("example.com", "reversed.pem", "leaf.key")
        + &site("www.example.com", "strange.pem", "leaf.key")
        + &site("a.example.com", "alone.pem", "leaf.key")
        + &site("other.test", "open.pem", "OPEN")
            .replace("%PREFIX%/OPEN", &open_key.path().display().to_string());
    let setup = || {
        Setup::http(&conf)
            .file("expired.pem", expired.0.clone())
            .file("expired.key", expired.1.clone())
            .file("reversed.pem", intermediate.clone() + &leaf)
            .file("strange.pem", leaf.clone() + &unrelated + &intermediate)
            .file("alone.pem", leaf.clone())
            .file("leaf.key", fixture("leaf.key"))
            .file("open.pem", open.certificate.clone())
    };
    let tested = setup().run(&["-t"]);
    assert!(tested.status.success(), "{}", tested.stderr);
    for message in [
        "expired.pem`: the certificate expired on 2001-12-31",
        "reversed.pem`: the certificates are not in order; they are sent in order",
        "strange.pem`: the certificate of `CN=rcgen self signed cert` has nothing to do",
        "alone.pem`: the certificate of `CN=Workshop E1,O=Workshop`, who signed, is missing",
        "open.pem`: others can read the key: its mode is 0644",
        "no certificate of this server is for `other.test`",
        "it is for open.test",
    ] {
        assert!(
            tested.stderr.contains(message),
            "{message}: {}",
            tested.stderr
        );
    }
    let server = setup().start();
    for (name, own) in [
        ("expired.test", "expired.test"),
        ("example.com", "example.com"),
        ("www.example.com", "example.com"),
        ("a.example.com", "example.com"),
        ("other.test", "open.test"),
    ] {
        let facts = shown(&server, name, &[]).expect("a certificate");
        assert!(facts.covers(own), "{name}");
    }
}

#[test]
fn a_certificate_of_version_1_and_an_encrypted_key_are_served() {
    let conf = site("old.example", "v1.pem", "leaf.key")
        + "ssl_password_file passwords;
        server { listen %LISTEN1% ssl; server_name example.com;
            # Beside the configuration, as nginx has it.
            ssl_certificate chain.pem; ssl_certificate_key encrypted.key; return 204; }";
    let chain = fixture("leaf.pem") + &fixture("intermediate.pem");
    let server = Setup::http(&conf)
        .file("v1.pem", fixture("v1.pem"))
        .file("leaf.key", fixture("leaf.key"))
        .file("conf/chain.pem", chain)
        .file("conf/encrypted.key", fixture("leaf-pbes2-aes-256-cbc.key"))
        .file("conf/passwords", "wrong\nfirst\n")
        .start();
    let facts = shown(&server, "old.example", &[]).expect("a certificate");
    assert_eq!(
        (facts.version, facts.subject.as_str()),
        (1, "CN=old.example")
    );
    assert_eq!(
        subject(&server, "example.com").as_deref(),
        Some("CN=example.com")
    );
    assert!(!server.read("error.log").contains("[error]"));
}

#[test]
fn a_client_gets_the_certificate_that_it_likes_best() {
    // RSA stands first: the order is the client's.
    let conf = "server { listen %LISTEN1% ssl; server_name rsa.example;
        ssl_certificate %PREFIX%/rsa.pem; ssl_certificate_key %PREFIX%/rsa.key;
        ssl_certificate %PREFIX%/ec.pem; ssl_certificate_key %PREFIX%/ec.key;
        ssl_certificate %PREFIX%/none.pem; ssl_certificate_key %PREFIX%/none.key;
        return 204; }";
    let ec = issue(&["rsa.example"]);
    let server = Setup::http(conf)
        .file("rsa.pem", fixture("rsa.pem"))
        .file("rsa.key", fixture("rsa.key"))
        .file("ec.pem", ec.certificate)
        .file("ec.key", ec.key)
        .start();
    for (arguments, key) in [
        (&[][..], "ECDSA P-256"),
        (&["-sigalgs", "RSA-PSS+SHA256"], "RSA 2048"),
        (&["-sigalgs", "RSA-PSS+SHA256:ECDSA+SHA256"], "RSA 2048"),
        (
            &["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"],
            "RSA 2048",
        ),
        (
            &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"],
            "ECDSA P-256",
        ),
    ] {
        let facts = shown(&server, "rsa.example", arguments).expect("a certificate");
        assert_eq!(facts.key, key, "{arguments:?}");
    }
}

#[test]
fn a_server_with_certificates_for_different_names_shows_the_one_that_is_asked_for() {
    let conf = "server { listen %LISTEN1% ssl; server_name one.test two.test;
        ssl_certificate %PREFIX%/one.pem; ssl_certificate_key %PREFIX%/one.key;
        ssl_certificate %PREFIX%/two.pem; ssl_certificate_key %PREFIX%/two.key;
        return 204; }";
    let (one, two) = (issue(&["one.test"]), issue(&["two.test", "*.two.test"]));
    let server = Setup::http(conf)
        .file("one.pem", one.certificate)
        .file("one.key", one.key)
        .file("two.pem", two.certificate)
        .file("two.key", two.key)
        .tolerate("it is not for")
        .start();
    for (name, expected) in [
        ("one.test", "one.test"),
        ("two.test", "two.test"),
        ("TWO.test", "two.test"),
        ("a.two.test", "two.test"),
        // Nobody's: it gets what there is.
        ("a.one.test", "one.test"),
    ] {
        let facts = shown(&server, name, &[]).expect("a certificate");
        assert_eq!(facts.dns_names[0], expected, "{name}");
    }
}

/// A directory as certbot makes them: links that lead to numbered files.
struct Lineage {
    live: PathBuf,
    archive: PathBuf,
    number: usize,
}

impl Lineage {
    fn new(root: &Path) -> Self {
        let live = root.join("live/example.test");
        let archive = root.join("archive/example.test");
        fs::create_dir_all(&live).expect("a fresh directory");
        fs::create_dir_all(&archive).expect("a fresh directory");
        Self {
            live,
            archive,
            number: 0,
        }
    }

    fn renew(&mut self, pair: &Pair) {
        self.number += 1;
        for (name, content) in [("privkey", &pair.key), ("fullchain", &pair.certificate)] {
            let file = format!("{name}{}.pem", self.number);
            fs::write(self.archive.join(&file), content).expect("a fresh file");
            let private = fs::Permissions::from_mode(0o600);
            fs::set_permissions(self.archive.join(&file), private).expect("ours");
            // certbot removes the link and makes it anew.
            let link = self.live.join(format!("{name}.pem"));
            let _ = fs::remove_file(&link);
            let target = format!("../../archive/example.test/{file}");
            symlink(target, link).expect("a fresh link");
        }
    }
}

#[test]
fn renewed_certificates_are_served_without_a_reload_and_no_handshake_fails() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut lineage = Lineage::new(directory.path());
    lineage.renew(&issue(&["example.test"]));
    let conf = format!(
        "server {{ listen %LISTEN1% ssl; server_name example.test;
        ssl_certificate {live}/fullchain.pem; ssl_certificate_key {live}/privkey.pem;
        return 204; }}",
        live = lineage.live.display()
    );
    let server = Setup::http(&conf).globals(TALKATIVE).start();
    let port = server.port(1);
    let stop = Arc::new(AtomicBool::new(false));
    let made = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let (stop, made) = (Arc::clone(&stop), Arc::clone(&made));
            std::thread::spawn(move || {
                let handshaker = Handshaker::new();
                while !stop.load(Ordering::Relaxed) {
                    handshaker
                        .certificate(port, "example.test")
                        .expect("every handshake succeeds");
                    made.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let handshaker = Handshaker::new();
    for _ in 0..4 {
        let next = issue(&["example.test"]);
        let expected = pem::sections(next.certificate.as_bytes())
            .next()
            .expect("a section")
            .expect("is well");
        lineage.renew(&next);
        eventually("the renewed certificate is served", || {
            let served = handshaker.certificate(port, "example.test");
            (served.expect("a handshake") == *expected.der).then_some(())
        });
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("no handshake failed");
    }
    assert!(made.load(Ordering::Relaxed) > 20);
    let said = server.read("error.log");
    assert_eq!(
        said.matches("has changed, it is served now").count(),
        4,
        "{said}"
    );
    assert!(!said.contains("[error]"), "{said}");
}

#[test]
fn the_last_good_certificate_stays_until_there_is_a_better_one() {
    let (one, two) = (issue(&["one.test"]), issue(&["one.test"]));
    let server = Setup::http(&site("one.test", "one.pem", "one.key"))
        .globals(TALKATIVE)
        .file("one.pem", one.certificate.clone())
        .file("one.key", one.key)
        .start();
    let before = shown(&server, "one.test", &[]).expect("a certificate");
    fs::write(server.site().prefix.join("one.key"), "garbage").expect("ours");
    eventually("the fault is told", || {
        let said = server.read("error.log");
        said.contains("is not PEM; the one from before is served on")
            .then_some(())
    });
    assert_eq!(shown(&server, "one.test", &[]), Some(before.clone()));
    // A reload keeps it too, and says so.
    server.signal(nix::sys::signal::Signal::SIGHUP);
    eventually("the reload is done", || {
        let said = server.read("error.log");
        said.contains("generation 1 exited").then_some(())
    });
    assert_eq!(shown(&server, "one.test", &[]), Some(before));
    let said = server.read("error.log");
    assert_eq!(said.matches("[error]").count(), 1, "{said}");
    assert!(
        said.contains("[warn]") && said.contains("OC-W262"),
        "{said}"
    );
    fs::write(server.site().prefix.join("one.key"), &two.key).expect("ours");
    fs::write(server.site().prefix.join("one.pem"), &two.certificate).expect("ours");
    eventually("the new one is served", || {
        let said = server.read("error.log");
        said.contains("has changed, it is served now").then_some(())
    });
}

#[test]
fn a_placeholder_gives_way_as_soon_as_the_files_are_there() {
    let pair = issue(&["late.test"]);
    let server = Setup::http(&site("late.test", "late.pem", "late.key")).start();
    assert_eq!(subject(&server, "late.test").as_deref(), Some(PLACEHOLDER));
    fs::write(server.site().prefix.join("late.key"), pair.key).expect("ours");
    fs::write(server.site().prefix.join("late.pem"), pair.certificate).expect("ours");
    eventually("the certificate is served", || {
        let facts = shown(&server, "late.test", &[])?;
        facts.covers("late.test").then_some(())
    });
}

#[test]
fn paths_with_variables_are_computed_for_each_client() {
    let (a, b, outside) = (
        issue(&["a.test"]),
        issue(&["b.test"]),
        issue(&["outside.test"]),
    );
    let conf = "
        map $ssl_server_name $directory { default certs; outside.test ../conf/certs/..; }
        server { listen %LISTEN1% ssl default_server;
            ssl_certificate $directory/$ssl_server_name.pem;
            ssl_certificate_key %PREFIX%/conf/$directory/$ssl_server_name.key;
            ssl_certificate_cache max=10 inactive=1m valid=1m;
            return 200 \"$ssl_server_name\\n\"; }";
    let server = Setup::http(conf)
        .file("conf/certs/a.test.pem", a.certificate)
        .file("conf/certs/a.test.key", a.key)
        .file("conf/certs/b.test.pem", b.certificate)
        .file("conf/certs/b.test.key", b.key)
        .file("conf/outside.test.pem", outside.certificate)
        .file("conf/outside.test.key", outside.key)
        .start();
    for name in ["a.test", "b.test", "A.test"] {
        let facts = shown(&server, name, &[]).expect("a certificate");
        assert!(facts.covers(name), "{name}");
    }
    for name in [
        "c.test",
        "outside.test",
        "..",
        "../a.test",
        "a.test/../b.test",
    ] {
        assert_eq!(shown(&server, name, &[]), None, "{name}");
    }
    let said = server.read("error.log");
    assert!(
        said.contains("there is no such file while SSL handshaking"),
        "{said}"
    );
    assert!(
        said.contains("is no path of a certificate or a key while SSL handshaking"),
        "{said}"
    );
    // What is kept needs no file.
    fs::remove_file(server.site().prefix.join("conf/certs/a.test.key")).expect("ours");
    assert!(shown(&server, "a.test", &[]).is_some());
}

#[test]
fn keys_of_root_are_read_again_after_the_rights_of_root_are_gone() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "this test gives the rights of root up, for which it has to be run by root"
    );
    let directory = tempfile::tempdir().expect("a directory");
    let mut lineage = Lineage::new(directory.path());
    lineage.renew(&issue(&["example.test"]));
    let closed = fs::Permissions::from_mode(0o700);
    fs::set_permissions(directory.path(), closed).expect("ours");
    let conf = format!(
        "server {{ listen %LISTEN1% ssl; server_name example.test;
        ssl_certificate {live}/fullchain.pem; ssl_certificate_key {live}/privkey.pem;
        return 204; }}",
        live = lineage.live.display()
    );
    let mut server = Setup::http(&conf)
        .globals("daemon off; user nobody; pid server.pid; error_log error.log notice;")
        .start();
    // Its configuration is for everybody, and only the keys are not.
    for place in server.site().prefix.ancestors().take(2) {
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(place, open).expect("ours");
    }
    let handshaker = Handshaker::new();
    let served = |port| handshaker.certificate(port, "example.test");
    for _ in 0..2 {
        let next = issue(&["example.test"]);
        let expected = pem::sections(next.certificate.as_bytes())
            .next()
            .expect("a section")
            .expect("is well");
        lineage.renew(&next);
        eventually("the renewed certificate is served", || {
            (served(server.port(1)).expect("a handshake") == *expected.der).then_some(())
        });
        server.signal(nix::sys::signal::Signal::SIGHUP);
        eventually("the old generation has ended", || {
            server.said().contains("exited with code 0").then_some(())
        });
        assert!(served(server.port(1)).expect("a handshake") == *expected.der);
    }
    let said = server.said();
    assert!(!said.contains("permission denied"), "{said}");
    // Nobody is left behind, however it ends.
    let tree = process_tree(server.pid()).processes;
    let keeper = tree.get(1).expect("somebody opens the files");
    let status = fs::read_to_string(format!("/proc/{keeper}/status")).expect("procfs");
    let line = |name: &str| status.lines().find(|line| line.starts_with(name));
    let capabilities = line("CapEff:").expect("Linux shows it");
    assert!(
        capabilities.ends_with("\t0000000000000000"),
        "{capabilities}"
    );
    server.quit();
    eventually("it has gone too", || {
        let gone = fs::read_to_string(format!("/proc/{keeper}/stat"));
        gone.map_or(true, |stat| stat.contains(") Z "))
            .then_some(())
    });
}

#[test]
fn the_doctor_tells_of_certificates_too() {
    let tested = Setup::http(&site("gone.test", "gone.pem", "gone.key")).run(&["-t"]);
    let output = Command::new(env!("CARGO_BIN_EXE_openclaw"))
        .args(["doctor", "--json", "-c"])
        .arg(tested.site.conf_file())
        .arg("-p")
        .arg(&tested.site.prefix)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("OC-W262") && said.contains("there is no such file"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
