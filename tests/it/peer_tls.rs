//! `proxy_pass https://`: what a peer sees of us, and whom we believe.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Stdio};
use std::thread;

use rcgen::{DnType, SerialNumber, date_time_ymd};

use crate::support::backend::pattern;
use crate::support::certificate::{Authority, Pair};
use crate::support::secure_backend::{SecureBackend, SecureStream};
use crate::support::server::{Server, Setup, eventually, oracle};

/// What an nginx with TLS tells of a request.
const TOLD: &str = "$ssl_protocol $ssl_cipher name=$ssl_server_name reused=$ssl_session_reused \
                    connection=$connection request=$connection_requests \
                    client=$ssl_client_verify,$ssl_client_s_dn host=$http_host";

/// An nginx that speaks TLS, with these directives more.
fn peer(pair: &Pair, more: &str) -> Server {
    Setup::http(&format!(
        "server {{ listen 127.0.0.1:%LISTEN1% ssl; listen unix:%PREFIX%/peer.sock ssl;
            ssl_certificate %PREFIX%/peer.pem; ssl_certificate_key %PREFIX%/peer.key;
            ssl_protocols TLSv1.2 TLSv1.3;
            {more}
            location / {{ return 200 \"{TOLD}\"; }}
            location /file {{ root %PREFIX%; }}
        }}"
    ))
    .program(&oracle())
    .file("peer.pem", pair.certificate.as_str())
    .file("peer.key", pair.key.as_str())
    .file("file", pattern(300_000))
    .start()
}

/// A proxy to a peer with these directives in its server, and these files beside it.
fn proxy(target: &str, more: &str, files: &[(&str, &str)]) -> Server {
    let mut setup = Setup::http(&format!(
        "server {{ listen %LISTEN1%; {more} location / {{ proxy_pass {target}; }} }}"
    ));
    for (name, text) in files {
        setup = setup.file(name, *text);
    }
    setup.start()
}

/// Asks for `/`: the status and the body.
fn ask(server: &Server) -> (u16, String) {
    let answer = server
        .connect(1)
        .ask("GET / HTTP/1.1\r\nHost: front.test\r\nConnection: close\r\n\r\n");
    (answer.status, answer.text())
}

/// The value of `name=…` in what the peer told.
fn told<'a>(text: &'a str, name: &str) -> &'a str {
    text.split(' ')
        .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        .unwrap_or_else(|| panic!("no `{name}` in `{text}`"))
}

/// Asks, and expects a failure whose reason the log has.
fn refuses(server: &Server, reason: &str) {
    assert_eq!(ask(server).0, 502);
    let line = eventually("the reason is in the log", || {
        let said = server.said();
        said.lines()
            .rfind(|line| line.contains("while SSL handshaking to upstream"))
            .map(str::to_owned)
    });
    assert!(line.contains(reason), "{line}");
    assert!(line.contains("upstream: \"https://127.0.0.1:"), "{line}");
}

#[test]
fn a_peer_is_asked_over_tls_without_a_name_and_the_connection_is_kept() {
    let pair = Authority::new().issue(&["peer.test"]);
    let peer = peer(&pair, "");
    let target = format!("https://127.0.0.1:{}", peer.port(1));
    let server = proxy(&target, "", &[]);
    let (status, first) = ask(&server);
    assert_eq!(status, 200);
    assert!(first.starts_with("TLSv1.3 "), "{first}");
    assert_eq!(told(&first, "name"), "");
    assert_eq!(told(&first, "host"), format!("127.0.0.1:{}", peer.port(1)));
    assert_eq!(told(&first, "client"), "NONE,");
    // The tickets of the session have come meanwhile, and are no reason to connect anew.
    for request in 2..=5 {
        let (_, text) = ask(&server);
        assert_eq!(told(&text, "connection"), told(&first, "connection"));
        assert_eq!(told(&text, "request"), request.to_string());
    }
    let mut client = server.connect(1);
    let answer = client.ask("GET /file HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(answer.body == pattern(300_000));
}

#[test]
fn the_name_of_a_peer_is_sent_if_wanted_and_tells_kept_connections_apart() {
    let pair = Authority::new().issue(&["peer.test"]);
    let peer = peer(&pair, "");
    let server = proxy(
        &format!("https://127.0.0.1:{}", peer.port(1)),
        "proxy_ssl_server_name on; proxy_ssl_name $arg_name:8443;",
        &[],
    );
    let mut client = server.connect(1);
    let mut ask = |name: &str| {
        let request = format!("GET /?name={name} HTTP/1.1\r\nHost: a\r\n\r\n");
        client.ask(&request).text()
    };
    let one = ask("one.test");
    assert_eq!(told(&one, "name"), "one.test");
    let two = ask("two.test");
    assert_eq!(told(&two, "name"), "two.test");
    assert_ne!(told(&one, "connection"), told(&two, "connection"));
    let again = ask("one.test");
    assert_eq!(told(&one, "connection"), told(&again, "connection"));
    // What is no name of a host cannot be sent, and nobody looks at it.
    assert_eq!(told(&ask("no%20name"), "name"), "");
    assert_eq!(told(&ask("127.0.0.1"), "name"), "");
}

#[test]
fn a_session_goes_on_in_the_next_handshake_unless_that_is_off() {
    let pair = Authority::new().issue(&["peer.test"]);
    // Each request has a connection of its own.
    let peer = peer(&pair, "keepalive_timeout 0; ssl_session_cache shared:s:1m;");
    let target = format!("https://127.0.0.1:{}", peer.port(1));
    for versions in ["TLSv1.2", "TLSv1.3"] {
        let one_version = format!("proxy_ssl_protocols {versions};");
        let server = proxy(&target, &one_version, &[]);
        let (_, first) = ask(&server);
        assert!(first.starts_with(versions), "{first}");
        assert_eq!(told(&first, "reused"), ".");
        let (_, second) = ask(&server);
        assert_eq!(told(&second, "reused"), "r");
        assert_ne!(told(&first, "connection"), told(&second, "connection"));

        let server = proxy(
            &target,
            &format!("{one_version} proxy_ssl_session_reuse off;"),
            &[],
        );
        ask(&server);
        assert_eq!(told(&ask(&server).1, "reused"), ".");
    }
}

#[test]
fn protocols_and_ciphers_are_those_that_are_written() {
    let pair = Authority::new().issue(&["peer.test"]);
    let peer = peer(&pair, "");
    let target = format!("https://127.0.0.1:{}", peer.port(1));
    let of_12 = "proxy_ssl_protocols TLSv1.2; proxy_ssl_ciphers ECDHE-ECDSA-CHACHA20-POLY1305;";
    let (_, text) = ask(&proxy(&target, of_12, &[]));
    assert!(
        text.starts_with("TLSv1.2 ECDHE-ECDSA-CHACHA20-POLY1305 "),
        "{text}"
    );
    let of_13 = "proxy_ssl_conf_command Ciphersuites TLS_CHACHA20_POLY1305_SHA256;";
    let (_, text) = ask(&proxy(&target, of_13, &[]));
    assert!(
        text.starts_with("TLSv1.3 TLS_CHACHA20_POLY1305_SHA256 "),
        "{text}"
    );
}

#[test]
fn a_right_certificate_is_taken_and_a_wrong_name_or_authority_is_told() {
    let authority = Authority::new();
    let other = Authority::named("another authority");
    let peer = peer(&authority.issue(&["peer.test", "*.wild.test"]), "");
    let target = format!("https://127.0.0.1:{}", peer.port(1));
    let files = [("ca.pem", &*authority.pem()), ("other.pem", &*other.pem())];
    let with = |name: &str, trusted: &str| {
        let verify = format!(
            "proxy_ssl_verify on; proxy_ssl_name {name};
             proxy_ssl_trusted_certificate %PREFIX%/{trusted};"
        );
        proxy(&target, &verify, &files)
    };
    assert_eq!(ask(&with("peer.test", "ca.pem")).0, 200);
    assert_eq!(ask(&with("a.wild.test", "ca.pem")).0, 200);
    refuses(
        &with("a.b.wild.test", "ca.pem"),
        "upstream SSL certificate does not match \"a.b.wild.test\"",
    );
    refuses(
        &with("'no name'", "ca.pem"),
        "upstream SSL certificate does not match \"no name\"",
    );
    refuses(
        &with("peer.test", "other.pem"),
        "upstream SSL certificate verify error: (20:unable to get local issuer certificate)",
    );
    // The authorities of the system know nothing of it.
    let system = proxy(
        &target,
        "proxy_ssl_verify on; proxy_ssl_name peer.test;",
        &[],
    );
    refuses(
        &system,
        "upstream SSL certificate verify error: (20:unable to get local issuer certificate)",
    );
}

#[test]
fn an_address_may_be_the_name() {
    let authority = Authority::new();
    let peer = peer(&authority.issue(&["127.0.0.1"]), "");
    let verify = "proxy_ssl_verify on; proxy_ssl_trusted_certificate %PREFIX%/ca.pem;";
    let target = format!("https://127.0.0.1:{}", peer.port(1));
    let server = proxy(&target, verify, &[("ca.pem", &authority.pem())]);
    assert_eq!(ask(&server).0, 200);
}

#[test]
fn a_chain_may_be_as_long_as_is_written() {
    let root = Authority::new();
    let first = root.under("first");
    let second = first.under("second");
    let mut pair = second.issue(&["peer.test"]);
    pair.certificate += &second.pem();
    pair.certificate += &first.pem();
    let peer = peer(&pair, "");
    let target = format!("https://127.0.0.1:{}", peer.port(1));
    let with = |more: &str| {
        let verify = format!(
            "proxy_ssl_verify on; proxy_ssl_name peer.test;
             proxy_ssl_trusted_certificate %PREFIX%/ca.pem; {more}"
        );
        proxy(&target, &verify, &[("ca.pem", &root.pem())])
    };
    assert_eq!(ask(&with("proxy_ssl_verify_depth 2;")).0, 200);
    refuses(&with(""), "verify error: (22:certificate chain too long)");
}

#[test]
fn what_expired_was_revoked_or_signed_itself_is_refused() {
    let authority = Authority::new();
    let verify = "proxy_ssl_verify on; proxy_ssl_name peer.test;
                  proxy_ssl_trusted_certificate %PREFIX%/ca.pem;";
    let expired = authority.issue_as(&["peer.test"], |parameters| {
        parameters.not_after = date_time_ymd(2020, 1, 1);
    });
    let old = peer(&expired, "");
    let target = format!("https://127.0.0.1:{}", old.port(1));
    refuses(
        &proxy(&target, verify, &[("ca.pem", &authority.pem())]),
        "verify error: (10:certificate has expired)",
    );

    let numbered = authority.issue_as(&["peer.test"], |parameters| {
        parameters.serial_number = Some(SerialNumber::from(77));
    });
    let taken_back = peer(&numbered, "");
    let target = format!("https://127.0.0.1:{}", taken_back.port(1));
    let verify_crl = format!("{verify} proxy_ssl_crl %PREFIX%/crl.pem;");
    let with = |list: &str| {
        let files = [("ca.pem", &*authority.pem()), ("crl.pem", list)];
        proxy(&target, &verify_crl, &files)
    };
    assert_eq!(ask(&with(&authority.revoke(&[76]))).0, 200);
    refuses(
        &with(&authority.revoke(&[77])),
        "verify error: (23:certificate revoked)",
    );
    // A list of somebody else says nothing.
    refuses(
        &with(&Authority::new().under("other").revoke(&[76])),
        "verify error: (3:unable to get certificate CRL)",
    );
    let pinned = proxy(
        &target,
        "proxy_ssl_verify on; proxy_ssl_name peer.test;
         proxy_ssl_trusted_certificate %PREFIX%/peer.pem;",
        &[("peer.pem", &numbered.certificate)],
    );
    // As with OpenSSL, whoever is trusted must have signed itself.
    refuses(&pinned, "verify error: (20:");
}

/// `openssl req -x509` makes such a one, which is an authority besides; people trust it as it is.
#[test]
fn a_certificate_that_signed_itself_can_be_trusted_itself() {
    let own = Authority::named("peer.test");
    let pair = Pair {
        certificate: own.pem(),
        key: own.key(),
    };
    let peer = peer(&pair, "");
    let target = format!("https://127.0.0.1:{}", peer.port(1));
    let with = |name: &str, trusted: &Authority| {
        let verify = format!(
            "proxy_ssl_verify on; proxy_ssl_name {name};
             proxy_ssl_trusted_certificate %PREFIX%/ca.pem;"
        );
        proxy(&target, &verify, &[("ca.pem", &trusted.pem())])
    };
    assert_eq!(ask(&with("peer.test", &own)).0, 200);
    refuses(&with("other.test", &own), "does not match \"other.test\"");
    // One of the same name is another one.
    refuses(
        &with("peer.test", &Authority::named("peer.test")),
        "verify error: (18:self-signed certificate)",
    );
}

#[test]
fn without_alternative_names_the_subject_is_the_name() {
    let authority = Authority::new();
    let pair = authority.issue_as(&[], |parameters| {
        parameters
            .distinguished_name
            .push(DnType::CommonName, "Peer.test");
    });
    let peer = peer(&pair, "");
    let target = format!("https://127.0.0.1:{}", peer.port(1));
    let with = |name: &str| {
        let verify = format!(
            "proxy_ssl_verify on; proxy_ssl_name {name};
             proxy_ssl_trusted_certificate %PREFIX%/ca.pem;"
        );
        proxy(&target, &verify, &[("ca.pem", &authority.pem())])
    };
    assert_eq!(ask(&with("peer.test")).0, 200);
    refuses(&with("other.test"), "does not match \"other.test\"");
}

#[test]
fn our_own_certificate_is_presented_with_a_key_under_a_password() {
    let authority = Authority::new();
    let peer = Setup::http(&format!(
        "server {{ listen 127.0.0.1:%LISTEN1% ssl;
            ssl_certificate %PREFIX%/peer.pem; ssl_certificate_key %PREFIX%/peer.key;
            ssl_verify_client optional; ssl_client_certificate %PREFIX%/ca.pem;
            location / {{ return 200 \"{TOLD}\"; }}
        }}"
    ))
    .program(&oracle())
    .file("ca.pem", authority.pem());
    let served = authority.issue(&["peer.test"]);
    let peer = peer
        .file("peer.pem", served.certificate)
        .file("peer.key", served.key)
        .start();
    let ours = authority.issue_as(&["us.test"], |parameters| {
        parameters.distinguished_name.push(DnType::CommonName, "us");
    });
    let locked = under_password(&ours.key, "secret");
    let server = proxy(
        &format!("https://127.0.0.1:{}", peer.port(1)),
        "proxy_ssl_certificate %PREFIX%/us.pem; proxy_ssl_certificate_key %PREFIX%/us.key;
         proxy_ssl_password_file %PREFIX%/passwords;",
        &[
            ("us.pem", &ours.certificate),
            ("us.key", &locked),
            ("passwords", "wrong\nsecret\n"),
        ],
    );
    let (_, text) = ask(&server);
    assert_eq!(told(&text, "client"), "SUCCESS,CN=us");
    let server = proxy(&format!("https://127.0.0.1:{}", peer.port(1)), "", &[]);
    assert_eq!(told(&ask(&server).1, "client"), "NONE,");
}

/// The key as openssl writes it under a password.
fn under_password(key: &str, password: &str) -> String {
    let mut child = Command::new("openssl")
        .args(["pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout"])
        .arg(format!("pass:{password}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("`openssl` must be installed");
    let mut input = child.stdin.take().expect("it is piped");
    input.write_all(key.as_bytes()).expect("it reads");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("PEM")
}

/// rustls reads certificates of version 3 only; unless it is verified, nothing has to be read.
#[test]
fn a_certificate_of_version_1_will_do_if_it_is_not_verified() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/certificates");
    let read = |name: &str| std::fs::read_to_string(format!("{directory}/{name}")).expect("a file");
    let pair = Pair {
        certificate: read("v1.pem"),
        key: read("leaf.key"),
    };
    let peer = peer(&pair, "");
    let target = format!("https://127.0.0.1:{}", peer.port(1));
    for versions in ["TLSv1.2", "TLSv1.3"] {
        let (status, text) = ask(&proxy(
            &target,
            &format!("proxy_ssl_protocols {versions};"),
            &[],
        ));
        assert_eq!(status, 200, "{text}");
        assert!(text.starts_with(versions), "{text}");
    }
}

#[test]
fn a_peer_without_tls_and_one_that_hangs_up_are_told() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("bound");
    let peer = thread::spawn(move || {
        for answer in ["HTTP/1.1 400 Bad Request\r\n\r\n", ""] {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut hello = [0; 16 << 10];
            let _ = stream.read(&mut hello);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    let server = proxy(&format!("https://{address}"), "", &[]);
    refuses(&server, "SSL_do_handshake() failed (");
    refuses(&server, "peer closed connection in SSL handshake");
    peer.join().expect("it ended well");
}

#[test]
fn a_handshake_may_take_as_long_as_connecting() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("bound");
    let server = proxy(
        &format!("https://{address}"),
        "proxy_connect_timeout 100ms;",
        &[],
    );
    assert_eq!(ask(&server).0, 504);
    let told = "upstream timed out (110: Connection timed out) while SSL handshaking to upstream";
    eventually("the reason is in the log", || {
        server.said().contains(told).then_some(())
    });
}

fn request(stream: &mut SecureStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => bytes.push(byte[0]),
            _ => return None,
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[test]
fn what_tls_says_by_itself_ends_no_kept_connection() {
    let pair = Authority::new().issue(&["peer.test"]);
    let peer = SecureBackend::start(&pair, &[], |stream| {
        while request(stream).is_some() {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            // New keys for what comes: a record without a byte for us.
            let _ = stream.conn.refresh_traffic_keys();
            let _ = stream.flush();
        }
    });
    let server = proxy(&format!("https://{}", peer.address()), "", &[]);
    for _ in 0..5 {
        assert_eq!(ask(&server), (200, "ok".to_owned()));
    }
    assert_eq!(peer.connections(), 1);
}

#[test]
fn an_end_without_a_goodbye_is_an_end_where_no_length_is_told_and_else_a_cut() {
    let pair = Authority::new().issue(&["peer.test"]);
    let peer = SecureBackend::start(&pair, &[], |stream| {
        let Some(head) = request(stream) else { return };
        let length = match head.starts_with("GET /length") {
            true => "Content-Length: 10\r\n",
            false => "",
        };
        let _ = write!(
            stream,
            "HTTP/1.1 200 OK\r\nConnection: close\r\n{length}\r\nok"
        );
        let _ = stream.flush();
    });
    let server = proxy(&format!("https://{}", peer.address()), "", &[]);
    assert_eq!(ask(&server), (200, "ok".to_owned()));
    let answer = server
        .connect(1)
        .ask("GET /length HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(answer.cut.is_some());
}

#[test]
fn a_url_of_variables_and_a_socket_may_be_secure_too() {
    let pair = Authority::new().issue(&["peer.test"]);
    let peer = peer(&pair, "");
    let socket = peer.site().prefix.join("peer.sock");
    let server = Setup::http(
        "server { listen %LISTEN1%; proxy_ssl_server_name on;
            location /variable { proxy_pass https://$arg_to; }
            location /any { proxy_pass $arg_to; }
            location /socket { proxy_pass https://unix:%SOCKET%; }
            location /socket-variable { proxy_pass https://unix:$arg_to:; }
        }",
    )
    .set("SOCKET", socket.display())
    .start();
    let ask = |path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        server.connect(1).ask(&request)
    };
    let address = format!("127.0.0.1:{}", peer.port(1));
    let socket = socket.display();
    for path in [
        format!("/variable?to={address}"),
        format!("/any?to=https://{address}"),
        "/socket".to_owned(),
        format!("/socket-variable?to={socket}"),
    ] {
        let answer = ask(&path);
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.text().starts_with("TLSv1.3 "), "{path}");
    }
    // Without TLS, where TLS is spoken.
    assert_eq!(ask(&format!("/any?to=http://{address}")).status, 400);
}

#[test]
fn a_peer_whose_handshake_fails_is_passed_over() {
    let authority = Authority::new();
    let wrong = peer(&Authority::new().issue(&["peer.test"]), "");
    let right = peer(&authority.issue(&["peer.test"]), "");
    let server = Setup::http(&format!(
        "upstream peers {{ server 127.0.0.1:{}; server 127.0.0.1:{}; }}
         server {{ listen %LISTEN1%; location / {{ proxy_pass https://peers;
            proxy_ssl_verify on; proxy_ssl_name peer.test;
            proxy_ssl_trusted_certificate %PREFIX%/ca.pem; }} }}",
        wrong.port(1),
        right.port(1)
    ))
    .file("ca.pem", authority.pem())
    .start();
    for _ in 0..4 {
        assert_eq!(ask(&server).0, 200);
    }
}

#[test]
fn files_that_cannot_be_used_harm_their_own_place_only() {
    let pair = Authority::new().issue(&["peer.test"]);
    let peer = peer(&pair, "");
    let server = Setup::http(&format!(
        "server {{ listen %LISTEN1%;
            location /gone {{ proxy_pass https://127.0.0.1:{port}; proxy_ssl_verify on;
                proxy_ssl_trusted_certificate %PREFIX%/gone.pem; }}
            location /bad {{ proxy_pass https://127.0.0.1:{port};
                proxy_ssl_certificate %PREFIX%/bad.pem; proxy_ssl_certificate_key %PREFIX%/bad.pem; }}
            location / {{ proxy_pass https://127.0.0.1:{port}; }}
        }}",
        port = peer.port(1)
    ))
    .file("bad.pem", "nothing")
    .start();
    let status = |path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        server.connect(1).ask(&request).status
    };
    assert_eq!(status("/"), 200);
    assert_eq!(status("/gone"), 502);
    assert_eq!(status("/bad"), 502);
    let said = server.said();
    assert!(
        said.contains("gone.pem") && said.contains("bad.pem"),
        "{said}"
    );
}

#[test]
fn files_about_peers_are_read_again_when_they_change_and_kept_connections_end_with_what_they_said()
{
    let authority = Authority::new();
    let pair = authority.issue_as(&["peer.test"], |parameters| {
        parameters.serial_number = Some(SerialNumber::from(77));
    });
    let peer = peer(&pair, "ssl_verify_client optional_no_ca;");
    let shown = |name: &str| {
        authority.issue_as(&["client.test"], |parameters| {
            parameters.distinguished_name.push(DnType::CommonName, name);
        })
    };
    let first = shown("first");
    let target = format!("https://127.0.0.1:{}", peer.port(1));
    let server = proxy(
        &target,
        "proxy_ssl_verify on; proxy_ssl_name peer.test;
         proxy_ssl_trusted_certificate %PREFIX%/ca.pem; proxy_ssl_crl %PREFIX%/crl.pem;
         proxy_ssl_certificate %PREFIX%/own.pem; proxy_ssl_certificate_key %PREFIX%/own.key;",
        &[
            ("crl.pem", &authority.revoke(&[76])),
            ("own.pem", &first.certificate),
            ("own.key", &first.key),
        ],
    );
    let put = |name: &str, text: &str| {
        let path = server.site().prefix.join(name);
        let new = path.with_extension("new");
        std::fs::write(&new, text).expect("written");
        std::fs::rename(new, path).expect("renamed");
    };
    let becomes = |what: &str, status: u16, text: &str| {
        eventually(what, || {
            let (found, told) = ask(&server);
            (found == status && told.contains(text)).then_some(())
        });
    };
    // There is nothing to trust yet.
    assert_eq!(ask(&server).0, 502);
    put("ca.pem", &authority.pem());
    becomes("the authority is there", 200, "CN=first");
    let second = shown("second");
    put("own.key", &second.key);
    put("own.pem", &second.certificate);
    becomes("another certificate is shown", 200, "CN=second");
    put("crl.pem", &authority.revoke(&[77]));
    becomes("the peer is revoked", 502, "");
    put("crl.pem", &authority.revoke(&[78]));
    becomes("the peer is good again", 200, "CN=second");
    put("ca.pem", "nothing");
    eventually("the fault is told", || {
        let said = server.said();
        said.contains("ca.pem\": it holds no certificate; what was there before is used on")
            .then_some(())
    });
    assert_eq!(ask(&server).0, 200);
    put("ca.pem", &Authority::new().pem());
    becomes("the authority is another", 502, "");
}

#[test]
fn the_doctor_names_what_is_wrong_with_tls_to_each_peer_and_the_way_out() {
    let authority = Authority::new();
    let good = peer(&authority.issue(&["peer.test"]), "");
    let expired = authority.issue_as(&["peer.test"], |parameters| {
        parameters.not_after = date_time_ymd(2020, 1, 1);
    });
    let expired = peer(&expired, "");
    let rejecting = Setup::http(
        "server { listen 127.0.0.1:%LISTEN1% ssl default_server; ssl_reject_handshake on; }
         server { listen 127.0.0.1:%LISTEN2%; return 200; }",
    )
    .program(&oracle())
    .start();
    let down = crate::support::ports::reserve();
    let verify = "proxy_ssl_verify on; proxy_ssl_trusted_certificate %PREFIX%/ca.pem;";
    let conf = format!(
        "upstream group {{ server 127.0.0.1:{good}; server 127.0.0.1:{down} down; }}
         server {{ listen %LISTEN1%;
            location /good {{ proxy_pass https://group; {verify} proxy_ssl_name peer.test:443; }}
            location /open {{ proxy_pass https://127.0.0.1:{expired}; }}
            location /name {{ proxy_pass https://127.0.0.1:{good}; {verify} proxy_ssl_name other.test; }}
            location /old {{ proxy_pass https://127.0.0.1:{expired}; {verify} proxy_ssl_name peer.test;
                location /old/inside {{ grpc_pass grpcs://127.0.0.1:{good}; grpc_ssl_verify on;
                    grpc_ssl_name peer.test; }} }}
            location /strange {{ proxy_pass https://127.0.0.1:{good}; proxy_ssl_verify on;
                proxy_ssl_name peer.test; }}
            location /unnamed {{ proxy_pass https://127.0.0.1:{rejecting}; }}
            location /plain {{ proxy_pass https://127.0.0.1:{plain}; }}
            location /down {{ proxy_pass https://127.0.0.1:{down}; }}
            location /file {{ proxy_pass https://127.0.0.1:{good}; proxy_ssl_verify on;
                proxy_ssl_trusted_certificate %PREFIX%/gone.pem; }} }}",
        good = good.port(1),
        expired = expired.port(1),
        rejecting = rejecting.port(1),
        plain = rejecting.port(2),
        down = down.number,
    );
    let tested = Setup::http(&conf)
        .file("ca.pem", authority.pem())
        .run(&["-t"]);
    let output = Command::new(env!("CARGO_BIN_EXE_openclaw"))
        .args(["doctor", "--json", "-c"])
        .arg(tested.site.conf_file())
        .arg("-p")
        .arg(&tested.site.prefix)
        .output()
        .expect("it runs");
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let findings = answer["findings"].as_array().expect("a list").iter();
    let told: Vec<String> = findings
        .filter(|finding| finding["check"] == "peers")
        .map(|finding| {
            let text = |name: &str| finding[name].as_str().expect("text");
            format!("{}: {}", text("level"), text("text"))
        })
        .collect();
    for (level, port, text) in [
        (
            "ok",
            good.port(1),
            "speaks TLSv1.3 with a certificate that is taken",
        ),
        (
            "ok",
            expired.port(1),
            "speaks TLSv1.3; nobody looks at its certificate",
        ),
        (
            "fail",
            good.port(1),
            "is not for `other.test` but for peer.test: write `proxy_ssl_name`",
        ),
        (
            "fail",
            expired.port(1),
            "its certificate has expired on 2020-01-01",
        ),
        (
            "fail",
            good.port(1),
            "it does not speak HTTP/2, which gRPC needs",
        ),
        (
            "fail",
            good.port(1),
            "is not trusted (\"CN=test authority\"): write `proxy_ssl_trusted_certificate`",
        ),
        (
            "fail",
            rejecting.port(1),
            "it wants to know whom is meant: write `proxy_ssl_server_name on`",
        ),
        ("fail", rejecting.port(2), "it does not speak TLS there"),
        ("warn", down.number, "no connection to"),
        ("fail", good.port(1), "gone.pem\": there is no such file"),
    ] {
        let is_it = |line: &&String| {
            line.starts_with(&format!("{level}: "))
                && line.contains(&format!("127.0.0.1:{port}"))
                && line.contains(text)
        };
        assert_eq!(told.iter().filter(is_it).count(), 1, "{text}: {told:#?}");
    }
    assert_eq!(told.len(), 10, "{told:#?}");
}
