//! Certificates that come by themselves, from a real authority.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openclaw::tls::facts::Facts;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;

use crate::support::front::{Answer, Verdict};
use crate::support::pebble::{EXTERNAL_KEY, Options, Pebble};
use crate::support::responder::Responder;
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

pub fn setup(pebble: &Pebble, issuer: &str, servers: &str) -> Setup {
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
pub fn is_served(pebble: &Pebble, name: &str) -> bool {
    answer(pebble, name).is_some()
}

pub fn answer(pebble: &Pebble, name: &str) -> Option<String> {
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

/// The serial number of the certificate under a name, if a client trusts it.
fn serial(pebble: &Pebble, name: &str) -> Option<String> {
    serial_at(pebble, name, pebble.tls.number)
}

fn serial_at(pebble: &Pebble, name: &str, port: u16) -> Option<String> {
    let output = handshake(pebble, name, port);
    output
        .contains("Verify return code: 0 (ok)")
        .then(|| leaf(&output))?
}

/// As [`serial`], whether a client trusts it or not.
fn presented(pebble: &Pebble, name: &str) -> Option<String> {
    leaf(&handshake(pebble, name, pebble.tls.number))
}

fn handshake(pebble: &Pebble, name: &str, port: u16) -> String {
    let output = Command::new("openssl")
        .args([
            "s_client",
            "-connect",
            &format!("127.0.0.1:{port}"),
            "-servername",
            name,
        ])
        .args(["-verify_hostname", name, "-CAfile"])
        .arg(pebble.root())
        .stdin(Stdio::null())
        .output()
        .expect("openssl runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn leaf(text: &str) -> Option<String> {
    let start = text.find("-----BEGIN CERTIFICATE-----")?;
    let end = start + text[start..].find("-----END CERTIFICATE-----")?;
    Some(text[start..end].to_owned())
}

/// The common name of who issued a certificate, and of whom a root is.
fn issued_by(certificate: &str) -> String {
    facts(certificate).issuer_common_name.expect("a name")
}

fn issuer_of_root(certificate: &str) -> String {
    facts(certificate).common_name.expect("a name")
}

fn facts(certificate: &str) -> Facts {
    let der = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM");
    Facts::read(&der).expect("a certificate")
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

#[test]
fn a_name_is_proven_by_a_handshake_on_the_port_of_tls() {
    let pebble = Pebble::start();
    let servers = secure(
        "a.example.com b.example.com",
        "acme_certificate pebble key=ecdsa:384;",
    );
    let _server = setup(&pebble, "challenge tls-alpn-01;", &servers).start();
    eventually("the certificate is served", || {
        (is_served(&pebble, "a.example.com") && is_served(&pebble, "b.example.com")).then_some(())
    });
    assert!(!pebble.log().contains("validate w/ HTTP"));
}

#[test]
fn nothing_is_asked_of_an_authority_before_its_terms_are_agreed_to() {
    let pebble = Pebble::start();
    let servers = secure("a.example.com", "acme_certificate pebble;");
    let conf = CONF.replace("accept_terms_of_service;", "");
    let conf = conf.replace("%ISSUER%", "").replace("%SERVERS%", &servers);
    let server = Setup::http(&conf)
        .set("URI", pebble.uri())
        .set("CA", pebble.trusted().display())
        .set("HTTP", pebble.http.number)
        .set("TLS", pebble.tls.number)
        .start();
    eventually("it is told", || {
        let said = server.said();
        said.contains("have to be agreed to first").then_some(())
    });
    assert!(
        server.said().contains("Do%20what%20thou%20wilt"),
        "where they are read is told"
    );
    assert!(!pebble.log().contains("POST"));
    // What a person or an installer leaves.
    let place = server.site().prefix.join("state/acme/pebble");
    fs::create_dir_all(&place).expect("a directory");
    fs::write(place.join("agreed"), "ann@example.com\n").expect("written");
    eventually("the certificate is served", || {
        is_served(&pebble, "a.example.com").then_some(())
    });
    let account = server.read("state/acme/pebble/account.json");
    assert!(account.contains("mailto:ann@example.com"), "{account}");
}

#[test]
fn the_words_of_the_authority_are_told_and_the_next_attempt_is_made() {
    let pebble = Pebble::start();
    // Nobody listens there.
    let wrong = json!({ "host": "a.example.com", "addresses": ["127.0.0.77"] });
    pebble.tell_dns("add-a", &wrong);
    let servers = secure("a.example.com", "acme_certificate pebble;");
    let server = setup(&pebble, "challenge http-01;", &servers).start();
    let record = eventually("it is told", || {
        let record = record(&server, "a.example.com");
        record["trouble"].is_object().then_some(record)
    });
    let problem = &record["trouble"]["problem"];
    assert_eq!(problem["kind"], "urn:ietf:params:acme:error:connection");
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert!(
        detail.contains("127.0.0.77") && detail.contains("refused"),
        "{detail}"
    );
    assert!(
        server
            .said()
            .contains("urn:ietf:params:acme:error:connection")
    );
    pebble.tell_dns("clear-a", &json!({ "host": "a.example.com" }));
    eventually("the certificate is served", || {
        is_served(&pebble, "a.example.com").then_some(())
    });
    // It is written down after the certificate is there.
    eventually("the trouble is over", || {
        let record = self::record(&server, "a.example.com");
        record["trouble"].is_null().then_some(())
    });
}

#[test]
fn an_account_of_the_authority_is_bound_and_used_again() {
    let options = Options {
        external: true,
        ..Options::default()
    };
    let pebble = Pebble::start_with(options);
    let servers = secure("a.example.com", "acme_certificate pebble;")
        + &secure("b.example.com", "acme_certificate pebble key=rsa:2048;");
    let issuer = format!("external_account_key kid-1 data:{EXTERNAL_KEY};");
    let server = setup(&pebble, &issuer, &servers).start();
    eventually("the certificates are served", || {
        (is_served(&pebble, "a.example.com") && is_served(&pebble, "b.example.com")).then_some(())
    });
    assert_eq!(pebble.accounts(), 1);
    assert!(!server.said().contains(EXTERNAL_KEY));
}

#[test]
fn an_address_gets_a_certificate() {
    for challenge in ["http-01", "tls-alpn-01"] {
        let pebble = Pebble::start();
        let servers = secure("127.0.0.1", "acme_certificate pebble;");
        let _server = setup(&pebble, &format!("challenge {challenge};"), &servers).start();
        eventually("the certificate is served", || {
            is_served(&pebble, "127.0.0.1").then_some(())
        });
    }
}

#[test]
fn wildcards_are_proven_by_records_that_a_program_puts() {
    let pebble = Pebble::start();
    let hook = r#"#!/bin/sh
case "$1" in
present) action=set-txt; text="{\"host\":\"$2.\",\"value\":\"$3\"}" ;;
*) action=clear-txt; text="{\"host\":\"$2.\"}" ;;
esac
echo "$1 $2" >>%PREFIX%/hook.log
curl --silent --fail --data "$text" "http://%DNS%/$action"
"#;
    let conf = "dns_provider hook { exec /bin/sh %HOOK%; propagation off; }".to_owned()
        + &CONF.replace("%ISSUER%", "challenge dns-01 hook;").replace(
            "%SERVERS%",
            &secure(".example.com", "acme_certificate pebble;"),
        );
    let log = pebble.file("hook.log");
    let hook = hook
        .replace("%PREFIX%/hook.log", &log.display().to_string())
        .replace("%DNS%", &pebble.dns_address());
    let script = pebble.file("hook.sh");
    fs::write(&script, hook).expect("written");
    let _server = Setup::http(&conf)
        .set("URI", pebble.uri())
        .set("CA", pebble.trusted().display())
        .set("HTTP", pebble.http.number)
        .set("TLS", pebble.tls.number)
        .set("HOOK", script.display())
        .start();
    eventually("the certificate is served", || {
        (is_served(&pebble, "any.example.com") && is_served(&pebble, "example.com")).then_some(())
    });
    eventually("the records are removed", || {
        let told = fs::read_to_string(&log).unwrap_or_default();
        (told.matches("present").count() == told.matches("remove").count()).then_some(())
    });
}

#[test]
fn a_certificate_is_renewed_before_it_ends_and_served_at_once() {
    let options = Options {
        validity: Some(6),
        ..Options::default()
    };
    let pebble = Pebble::start_with(options);
    let servers = secure("a.example.com", "acme_certificate pebble;");
    let server = setup(&pebble, "", &servers).start();
    let first = eventually("the certificate is served", || {
        serial(&pebble, "a.example.com")
    });
    eventually("another is served", || {
        let now = serial(&pebble, "a.example.com")?;
        (now != first).then_some(())
    });
    assert_eq!(pebble.accounts(), 1);
    assert!(server.said().is_empty() || !server.said().contains("[error]"));
}

#[test]
fn the_authority_says_when_to_renew_and_what_kind_of_certificate_there_is() {
    // Even a wish for a time that is over is followed after a third of the life only.
    let pebble = Pebble::start_with(Options {
        validity: Some(12),
        ..Options::default()
    });
    let renewals = Arc::new(Mutex::new(Vec::<String>::new()));
    let seen = Arc::clone(&renewals);
    let orders = Arc::new(Mutex::new(Vec::<serde_json::Value>::new()));
    let placed = Arc::clone(&orders);
    let front = pebble.front(move |asked| {
        if asked.path == "/dir" {
            return Verdict::Change(Box::new(|mut answer| {
                let mut directory: serde_json::Value =
                    serde_json::from_slice(&answer.body).expect("a directory");
                let new = directory["newOrder"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned();
                directory["renewalInfo"] = new.replace("order-plz", "renewal-info").into();
                directory["meta"]["profiles"] = json!({ "shortlived": "for days" });
                answer.body = directory.to_string().into_bytes();
                answer
            }));
        }
        if let Some(certificate) = asked.path.strip_prefix("/renewal-info/") {
            let mut seen = seen.lock().expect("no panic");
            let is_first = seen.is_empty() || seen[0] == certificate;
            seen.push(certificate.to_owned());
            // The first one at once, the next one some day.
            let window = match is_first {
                true => json!({ "start": "2020-01-01T00:00:00Z", "end": "2020-01-02T00:00:00Z" }),
                false => json!({ "start": "2049-01-01T00:00:00Z", "end": "2049-01-02T00:00:00Z" }),
            };
            let said =
                json!({ "suggestedWindow": window, "explanationURL": "https://ca.example/why" });
            return Verdict::Answer(Answer::json(200, &said).field("Retry-After", "3600"));
        }
        if asked.path == "/order-plz" {
            let sent: serde_json::Value = serde_json::from_str(&asked.body).expect("JSON");
            let payload = sent["payload"].as_str().unwrap_or_default();
            let payload = data_encoding::BASE64URL_NOPAD.decode(payload.as_bytes());
            let payload: serde_json::Value =
                serde_json::from_slice(&payload.expect("base64")).expect("JSON");
            placed.lock().expect("no panic").push(payload.clone());
            return Verdict::Change(Box::new(move |mut answer| {
                if answer.status == 201 {
                    let mut order: serde_json::Value =
                        serde_json::from_slice(&answer.body).expect("an order");
                    for member in ["replaces", "profile"] {
                        order[member] = payload[member].clone();
                    }
                    answer.body = order.to_string().into_bytes();
                }
                answer
            }));
        }
        Verdict::Pass
    });
    let servers = secure("a.example.com", "acme_certificate pebble;");
    let server = setup(&pebble, "profile shortlived require;", &servers)
        .set("URI", front.uri())
        .start();
    eventually("it is renewed, and the next one is asked for", || {
        let seen = renewals.lock().expect("no panic");
        (seen.iter().any(|one| *one != seen[0])).then_some(())
    });
    assert_eq!(pebble.orders(), 2);
    let first = renewals.lock().expect("no panic")[0].clone();
    let orders = orders.lock().expect("no panic");
    assert!(orders.iter().all(|order| order["profile"] == "shortlived"));
    assert!(orders[0]["replaces"].is_null());
    assert_eq!(orders.last().expect("orders")["replaces"], first.as_str());
    eventually("the wish is kept", || {
        let kept = record(&server, "a.example.com");
        (kept["suggestion"]["window"][0] == 2_493_072_000_i64).then_some(())
    });
}

#[test]
fn what_was_there_is_served_while_the_authority_is_away() {
    let options = Options {
        validity: Some(8),
        ..Options::default()
    };
    let pebble = Pebble::start_with(options);
    let is_away = Arc::new(AtomicBool::new(false));
    let away = Arc::clone(&is_away);
    let front = pebble.front(move |_| match away.load(Ordering::SeqCst) {
        true => Verdict::Refuse,
        false => Verdict::Pass,
    });
    let servers = secure("a.example.com", "acme_certificate pebble;");
    let server = setup(&pebble, "", &servers).set("URI", front.uri()).start();
    let first = eventually("the certificate is served", || {
        serial(&pebble, "a.example.com")
    });
    is_away.store(true, Ordering::SeqCst);
    eventually("it is told", || {
        record(&server, "a.example.com")["attempts"]
            .as_u64()
            .filter(|attempts| *attempts >= 2)
    });
    assert_eq!(presented(&pebble, "a.example.com"), Some(first.clone()));
    is_away.store(false, Ordering::SeqCst);
    eventually("another is served", || {
        let now = serial(&pebble, "a.example.com")?;
        (now != first).then_some(())
    });
}

#[test]
fn another_authority_is_asked_when_the_first_one_fails() {
    let pebble = Pebble::start();
    let conf = format!(
        "acme_issuer dead {{ uri https://%DEAD1%/dir; accept_terms_of_service; retry 50ms 100ms; }}
         acme dead pebble;
         {CONF}"
    );
    let conf = conf
        .replace("%ISSUER%", "")
        .replace("%SERVERS%", &secure("a.example.com", ""));
    let server = Setup::http(&conf)
        .set("URI", pebble.uri())
        .set("CA", pebble.trusted().display())
        .set("HTTP", pebble.http.number)
        .set("TLS", pebble.tls.number)
        .start();
    eventually("the certificate is served", || {
        is_served(&pebble, "a.example.com").then_some(())
    });
    assert!(server.said().contains("issuer `dead`"));
}

#[test]
fn two_instances_with_one_state_directory_place_one_order() {
    let pebble = Pebble::start();
    let shared = tempfile::tempdir().expect("a directory");
    // The first one is held while it has the lock, until the second one runs.
    let is_held = Arc::new(AtomicBool::new(true));
    let held = Arc::clone(&is_held);
    let front = pebble.front(move |asked| {
        while asked.path == "/order-plz" && held.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        Verdict::Pass
    });
    let servers = secure("a.example.com", "acme_certificate pebble;");
    let issuer = format!("state_path {};", shared.path().join("acme").display());
    let first = setup(&pebble, &issuer, &servers)
        .set("URI", front.uri())
        .start();
    eventually("the first one orders", || (front.count() > 3).then_some(()));
    let second_port = crate::support::ports::reserve();
    let second = setup(
        &pebble,
        &issuer,
        &servers.replace("%TLS%", &second_port.number.to_string()),
    )
    .set("URI", front.uri())
    .set("HTTP", crate::support::ports::reserve().number)
    .start();
    is_held.store(false, Ordering::SeqCst);
    eventually("both serve it", || {
        let one = serial_at(&pebble, "a.example.com", pebble.tls.number)?;
        let other = serial_at(&pebble, "a.example.com", second_port.number)?;
        (one == other).then_some(())
    });
    assert_eq!((pebble.orders(), pebble.accounts()), (1, 1));
    drop((first, second));
}

#[test]
fn the_instance_that_the_authority_comes_to_gives_the_proof_of_the_one_that_orders() {
    for challenge in ["http-01", "tls-alpn-01"] {
        let pebble = Pebble::start();
        let shared = tempfile::tempdir().expect("a directory");
        let place = shared.path().join("acme");
        let servers = secure("a.example.com", "acme_certificate pebble;");
        let issuer = format!("state_path {}; challenge {challenge};", place.display());
        // Behind the address of the name stands one that has no certificate to order.
        let other = secure("b.example.com", "acme_certificate pebble;");
        let at_address = setup(&pebble, &issuer, &other).start();
        eventually("the first one has its certificate", || {
            is_served(&pebble, "b.example.com").then_some(())
        });
        let ports = [
            crate::support::ports::reserve(),
            crate::support::ports::reserve(),
        ];
        let orders = setup(&pebble, &issuer, &servers)
            .set("HTTP", ports[0].number)
            .set("TLS", ports[1].number)
            .start();
        eventually("the certificate is served", || {
            serial_at(&pebble, "a.example.com", ports[1].number)
        });
        let left = fs::read_dir(place.join("proofs")).expect("it was made");
        assert_eq!(left.count(), 0, "{challenge}");
        drop((at_address, orders));
    }
}

#[test]
fn a_clock_that_is_wrong_by_the_authority_is_told() {
    let pebble = Pebble::start();
    let front = pebble.front(|_| {
        Verdict::Change(Box::new(|mut answer| {
            answer
                .fields
                .retain(|(name, _)| !name.eq_ignore_ascii_case("date"));
            answer.field("Date", "Sun, 06 Nov 2094 08:49:37 GMT")
        }))
    });
    let servers = secure("a.example.com", "acme_certificate pebble;");
    let server = setup(&pebble, "", &servers).set("URI", front.uri()).start();
    let control = crate::control::Control::of(&server);
    eventually("it is told", || {
        let summary: openclaw::protocol::Summary = control.must_get("/v1/summary");
        let clock = summary.certificate_states.clock;
        (clock.contains("behind the authorities'") && summary.warning == Some(clock)).then_some(())
    });
}

#[test]
fn a_provider_of_dns_that_cannot_be_used_is_told_before_an_order_needs_it() {
    let pebble = Pebble::start();
    let conf = "dns_provider zone { provider cloudflare; api_token file:%PREFIX%/none; }"
        .to_owned()
        + &CONF.replace("%ISSUER%", "challenge dns-01 zone;").replace(
            "%SERVERS%",
            &secure("*.example.com", "acme_certificate pebble;"),
        );
    let server = Setup::http(&conf)
        .set("URI", pebble.uri())
        .set("CA", pebble.trusted().display())
        .set("HTTP", pebble.http.number)
        .set("TLS", pebble.tls.number)
        .start();
    let control = crate::control::Control::of(&server);
    let why: openclaw::protocol::Preflight = control
        .post("/v1/certificates/why", &json!({ "name": "*.example.com" }))
        .expect("it is looked into");
    let check = why.checks.iter().find(|check| check.subject == "provider");
    let check = check.unwrap_or_else(|| panic!("{:?}", why.checks));
    assert_eq!(check.level, openclaw::protocol::Level::Bad);
    assert!(check.seen.contains("`zone`"), "{}", check.seen);
}

#[test]
fn a_certificate_that_is_revoked_is_replaced_at_once() {
    let port = crate::support::ports::reserve();
    let pebble = Pebble::start_with(Options {
        responder: Some(format!("http://127.0.0.1:{}/", port.number)),
        ..Options::default()
    });
    let servers = secure("a.example.com", "acme_certificate pebble;");
    let mut server = setup(&pebble, "", &servers).start();
    let first = eventually("the certificate is served", || {
        serial(&pebble, "a.example.com")
    });
    server.quit();
    let paths = ["signer.pem", "signer.key"].map(|name| pebble.file(name));
    let [ca, key] = &paths;
    let revoked = facts(&format!("{first}-----END CERTIFICATE-----\n"));
    let number = revoked.serial.replace(':', "").to_uppercase();
    let number = number.trim_start_matches("00");
    let line = format!("R\t40960101000000Z\t200101000000Z\t{number}\tunknown\t/CN=a\n");
    fs::write(ca, pebble.ask("intermediates/0")).expect("written");
    fs::write(key, pebble.ask("intermediate-keys/0")).expect("written");
    let _responder = Responder::start(port.number, ca, key, &line);
    server.start_again();
    eventually("another is served", || {
        let now = serial(&pebble, "a.example.com")?;
        (now != first).then_some(())
    });
    assert_eq!(pebble.orders(), 2);
    assert!(server.said().contains("revoked by its authority"));
}

#[test]
fn two_hundred_names_get_through() {
    let pebble = Pebble::start();
    let servers: String = (0..200)
        .map(|number| {
            secure(
                &format!("n{number}.example.com"),
                "acme_certificate pebble;",
            )
        })
        .collect();
    let server = setup(&pebble, "", &servers).start();
    let place = server.site().prefix.join("state/acme/pebble");
    let mut last = 0;
    loop {
        // Each of them may take the usual time, all of them take what they take.
        let before = last;
        last = eventually("more of them are there", || {
            let there = (0..200)
                .filter(|number| {
                    place
                        .join(format!("n{number}.example.com/certificate.pem"))
                        .is_file()
                })
                .count();
            (there > before || there == 200).then_some(there)
        });
        if last == 200 {
            break;
        }
    }
    assert!(is_served(&pebble, "n0.example.com") && is_served(&pebble, "n199.example.com"));
    assert_eq!((pebble.orders(), pebble.accounts()), (200, 1));
}

#[test]
fn a_chain_that_is_preferred_is_taken_and_a_name_more_costs_nobody_a_certificate() {
    let options = Options {
        alternates: 2,
        ..Options::default()
    };
    let pebble = Pebble::start_with(options);
    let wanted = issuer_of_root(&pebble.ask("roots/2"));
    let servers = secure("a.example.com", "acme_certificate pebble;");
    let issuer = format!("preferred_chain \"{wanted}\";");
    let mut server = setup(&pebble, &issuer, &servers).start();
    let chain = eventually("the certificate is there", || {
        let chain = server.read("state/acme/pebble/a.example.com/certificate.pem");
        (!chain.is_empty()).then_some(chain)
    });
    let last = chain.rfind("-----BEGIN").expect("a chain");
    assert_eq!(issued_by(&chain[last..]), wanted);
    // With a name more that cannot be proven, the certificate at hand goes on being served.
    let wrong = json!({ "host": "b.example.com", "addresses": ["127.0.0.77"] });
    pebble.tell_dns("add-a", &wrong);
    let before = presented(&pebble, "a.example.com");
    assert!(before.is_some());
    let servers = secure("a.example.com b.example.com", "acme_certificate pebble;");
    let conf = CONF
        .replace("%ISSUER%", &issuer)
        .replace("%SERVERS%", &servers);
    server.rewrite(&format!("events {{}}\nhttp {{\n%COMMON%\n{conf}\n}}\n"));
    server.signal(nix::sys::signal::Signal::SIGHUP);
    eventually("it is told", || {
        server.said().contains("proving the names").then_some(())
    });
    assert_eq!(presented(&pebble, "a.example.com"), before);
}

/// Kills the program with the request of a number, and says what came of it.
fn killed_at(pebble: &Pebble, point: usize, verdict: fn() -> Verdict) -> bool {
    let process = Arc::new(AtomicUsize::new(0));
    let target = Arc::clone(&process);
    let placed = Arc::new(AtomicBool::new(false));
    let is_order = Arc::clone(&placed);
    let front = pebble.front(move |asked| {
        if asked.number != point {
            return Verdict::Pass;
        }
        is_order.store(asked.path == "/order-plz", Ordering::SeqCst);
        let process = loop {
            match target.load(Ordering::SeqCst) {
                0 => std::thread::yield_now(),
                process => break process,
            }
        };
        let process = nix::unistd::Pid::from_raw(i32::try_from(process).expect("a process"));
        nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGKILL).expect("it runs");
        verdict()
    });
    let name = format!("p{point}.example.com");
    let servers = secure(&name, "acme_certificate pebble;");
    let before = (pebble.orders(), pebble.accounts());
    let refused = pebble.refusals();
    let mut server = setup(pebble, "", &servers).set("URI", front.uri()).start();
    process.store(server.pid() as usize, Ordering::SeqCst);
    let is_killed = eventually("it is killed, or done", || {
        if !server.runs() {
            return Some(true);
        }
        is_served(pebble, &name).then_some(false)
    });
    if is_killed {
        server.wait();
        server.start_again();
    }
    eventually("the certificate is served", || {
        is_served(pebble, &name).then_some(())
    });
    let orders = pebble.orders() - before.0;
    // What an authority did and could not say is known to nobody but the authority.
    let most = match (placed.load(Ordering::SeqCst), verdict()) {
        (true, Verdict::Mute) => 2,
        _ => 1,
    };
    // An authority that asked for the proof while nobody was there to give it has refused the order,
    // and only another one can follow it.
    let refused = pebble.refusals() - refused;
    assert!(
        orders <= most + refused,
        "{orders} orders, killed at request {point}"
    );
    assert_eq!(
        pebble.accounts() - before.1,
        1,
        "accounts, killed at request {point}"
    );
    is_killed
}

#[test]
fn a_program_that_is_killed_goes_on_with_the_same_order() {
    let points = std::env::var("OPENCLAW_KILL_POINTS").ok();
    let points = points.and_then(|text| text.parse().ok()).unwrap_or(25);
    let pebble = Pebble::start();
    let killed = (1..=points).filter(|point| {
        let verdict = match point % 2 {
            0 => || Verdict::Refuse,
            _ => || Verdict::Mute,
        };
        killed_at(&pebble, 1 + point % 25, verdict)
    });
    // Later points lie behind the end of an order, when no nonce was stale.
    assert!(killed.count() >= 10);
}

#[test]
fn a_local_name_is_signed_by_the_own_authority_and_no_public_one_is_asked() {
    let conf = "server { listen 127.0.0.1:%LISTEN1% ssl; server_name nas nas.local 127.0.0.1;
        location / { return 200 mine; } }";
    let server = Setup::http(conf).start();
    let root = server.site().prefix.join("state/authority/root.pem");
    let port = server.port(1);
    for name in ["nas", "nas.local", "127.0.0.1"] {
        eventually("the certificate is served", || {
            let output = Command::new("curl")
                .args(["--silent", "--max-time", "20", "--cacert"])
                .arg(&root)
                .args(["--resolve", &format!("{name}:{port}:127.0.0.1")])
                .arg(format!("https://{name}:{port}/"))
                .output()
                .expect("curl runs");
            (output.stdout == b"mine").then_some(())
        });
    }
}
