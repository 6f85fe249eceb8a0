//! The PROXY protocol on both sides, and who a request is said to be from.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use nix::sys::signal::Signal;

use crate::cache::Door;
use crate::support::backend::{Backend, Record, Then};
use crate::support::certificate::Authority;
use crate::support::client::Client;
use crate::support::server::{Server, Setup, eventually};
use crate::support::wire::End;

const LINE: &str = "PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\n";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A header of version 2 for a client over IPv4, with these values behind the addresses.
fn binary(values: &[(u8, &[u8])]) -> Vec<u8> {
    let mut content = vec![192, 0, 2, 1, 198, 51, 100, 2, 0x12, 0x67, 1, 0xbb];
    for (kind, value) in values {
        content.push(*kind);
        content.extend(u16::try_from(value.len()).expect("short").to_be_bytes());
        content.extend(*value);
    }
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x11".to_vec();
    bytes.extend(u16::try_from(content.len()).expect("short").to_be_bytes());
    bytes.extend(content);
    bytes
}

fn start(inside: &str) -> Server {
    Setup::http(&format!(
        "server {{ listen %LISTEN1% proxy_protocol; {inside} }}"
    ))
    .start()
}

#[test]
fn a_header_may_come_in_pieces_and_with_values_that_have_names() {
    let server = start(
        r#"location / { return 200 "$proxy_protocol_addr $proxy_protocol_tlv_authority $proxy_protocol_tlv_0xEE $proxy_protocol_tlv_ssl_version $proxy_protocol_tlv_ssl_verify $proxy_protocol_tlv_alpn."; }"#,
    );
    let ssl = [&[1, 0, 0, 0, 7][..], &[0x21, 0, 7], b"TLSv1.2"].concat();
    let header = binary(&[(2, b"a.test"), (0xee, b"own"), (0x20, &ssl)]);
    for size in [1, 7, 100] {
        let mut client = server.connect(1);
        for piece in [&header, GET.as_bytes()].concat().chunks(size) {
            assert!(client.send(piece));
        }
        let answer = client.answer("GET");
        assert_eq!(answer.text(), "192.0.2.1 a.test own TLSv1.2 7 .");
    }
}

#[test]
fn a_broken_header_closes_the_connection_and_is_told() {
    let server = start("location / { return 200; }");
    let port = server.port(1);
    for (wrong, told) in [
        (GET.as_bytes().to_vec(), "broken header: \"GET / HTTP/1.1\""),
        (
            b"PROXY TCP4 1 2 3 4\r\n".to_vec(),
            "broken header: \"PROXY TCP4 1 2 3 4\"",
        ),
        (
            b"\x16\x03\x01\xff".to_vec(),
            r#"broken header: "\x16\x03\x01\xff""#,
        ),
        (
            b"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\0".to_vec(),
            "unknown PROXY protocol version: 1",
        ),
        (
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff".to_vec(),
            "header is too large",
        ),
    ] {
        let mut client = server.connect(1);
        client.send(&wrong);
        let (answer, end) = client.rest();
        assert!(answer.is_empty() && end != End::TimedOut, "{told}");
        let line = format!(
            "{told} while reading PROXY protocol, client: 127.0.0.1, server: 127.0.0.1:{port}"
        );
        eventually(&line, || server.said().contains(&line).then_some(()));
    }
    // One that only looked is no news.
    drop(server.connect(1));
    let mut client = server.connect(1);
    client.send(LINE);
    assert_eq!(client.ask(GET).status, 200);
    let log = server.read("error.log");
    assert_eq!(log.matches("while reading PROXY protocol").count(), 5);
}

#[test]
fn a_header_that_does_not_come_is_waited_for_as_long_as_a_head() {
    let server = start("client_header_timeout 200ms; location / { return 200; }");
    for begun in ["", "PROXY TCP4 "] {
        let mut client = server.connect(1);
        client.send(begun);
        assert_eq!(client.rest(), (Vec::new(), End::Closed));
    }
}

#[test]
fn the_header_stands_before_tls_and_before_http2() {
    let authority = Authority::new();
    let own = authority.issue(&["one.test"]);
    let server = Setup::http(
        r#"server {
            listen %LISTEN1% ssl proxy_protocol;
            ssl_certificate %PREFIX%/own.pem;
            ssl_certificate_key %PREFIX%/own.key;
            set_real_ip_from 127.0.0.0/8;
            real_ip_header proxy_protocol;
            location / { return 200 "$remote_addr $realip_remote_addr $server_protocol $https"; }
        }"#,
    )
    .file("ca.pem", authority.pem())
    .file("own.pem", own.certificate)
    .file("own.key", own.key)
    .start();
    let port = server.port(1);
    for (version, protocol) in [("--http1.1", "HTTP/1.1"), ("--http2", "HTTP/2.0")] {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "20"])
            .args(["--haproxy-protocol", version, "--cacert"])
            .arg(server.site().prefix.join("ca.pem"))
            .args(["--resolve", &format!("one.test:{port}:127.0.0.1")])
            .arg(format!("https://one.test:{port}/"))
            .output()
            .expect("curl runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said, format!("127.0.0.1 127.0.0.1 {protocol} on"));
    }
}

#[test]
fn one_server_of_an_address_says_it_for_all_and_is_warned_about() {
    let server = Setup::http(
        "server { listen %LISTEN1% proxy_protocol; location / { return 204; } }
         server { listen %LISTEN1%; server_name b; location / { return 201; } }",
    )
    .start();
    let mut client = server.connect(1);
    client.send(LINE);
    let answer = client.ask("GET / HTTP/1.1\r\nHost: b\r\n\r\n");
    assert_eq!(answer.status, 201);
    let said = server.said();
    assert!(said.contains("protocol options redefined for"), "{said}");
}

#[test]
fn a_unix_socket_can_be_trusted() {
    let server = Setup::http(
        r#"server {
            listen unix:%PREFIX%/own.sock;
            set_real_ip_from unix:;
            real_ip_header X-Forwarded-For;
            location / { return 200 "$remote_addr $realip_remote_addr\n"; }
        }"#,
    )
    .start();
    let socket = server.site().prefix.join("own.sock");
    let mut stream = UnixStream::connect(socket).expect("the server listens");
    let request = b"GET / HTTP/1.0\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n";
    stream.write_all(request).expect("the server reads");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .expect("the server answers");
    assert!(answer.ends_with("\r\n\r\n203.0.113.9 unix:\n"), "{answer}");
}

#[test]
fn a_proxy_that_is_not_found_is_not_trusted_and_harms_no_site() {
    let server = Setup::http(
        r#"set_real_ip_from no-such-name..invalid; set_real_ip_from localhost;
        server { listen %LISTEN1%; location / { return 200 $remote_addr; } }"#,
    )
    .start();
    let request = "GET / HTTP/1.1\r\nHost: a\r\nX-Real-IP: 203.0.113.9\r\n\r\n";
    assert_eq!(server.connect(1).ask(request).text(), "203.0.113.9");
    let said = server.read("error.log");
    let told = "host not found in set_real_ip_from `no-such-name..invalid`";
    assert_eq!(said.matches(told).count(), 1, "{said}");
}

#[test]
fn a_list_of_proxies_is_read_again_and_one_that_is_wrong_leaves_the_old_one_in_force() {
    let server = Setup::http(
        r#"set_real_ip_from file:%PREFIX%/proxies.txt; set_real_ip_from cloudflare;
        server { listen %LISTEN1%; location / { return 200 $remote_addr; } }"#,
    )
    .file(
        "proxies.txt",
        "# ours\n192.0.2.0/24\n\n127.0.0.1 # this machine\n",
    )
    .tolerate("the list of proxies")
    .tolerate("the new configuration is not applied")
    .start();
    let asked = || {
        let request = "GET / HTTP/1.1\r\nHost: a\r\nX-Real-IP: 203.0.113.9\r\n\r\n";
        server.connect(1).ask(request).text()
    };
    assert_eq!(asked(), "203.0.113.9");
    let write = |text: &str| {
        std::fs::write(server.site().prefix.join("proxies.txt"), text).expect("it is ours")
    };
    for (wrong, why) in [
        ("127.0.0.1\n0.0.0.0/0\n", "line 2"),
        ("127.0.0.1\n\n192.0.2.0/242001:db8::/32", "line 3"),
        ("# nothing\n", "no network"),
        (&"192.0.2.1\n".repeat(1001), "more than 1000"),
        (&"# much\n".repeat(20_000), "longer than"),
    ] {
        write(wrong);
        server.signal(Signal::SIGHUP);
        eventually("the reload is refused", || {
            server.read("error.log").contains(why).then_some(())
        });
        assert_eq!(asked(), "203.0.113.9", "{why}");
    }
    write("192.0.2.0/24\n");
    server.signal(Signal::SIGHUP);
    eventually("the list is in force", || {
        (asked() == "127.0.0.1").then_some(())
    });
}

#[test]
fn an_answer_becomes_a_file_when_it_is_whole_and_only_where_it_may() {
    let door = Arc::new(Door::default());
    let waiting = Arc::clone(&door);
    let backend = Backend::scripted(move |exchange| {
        let line = exchange.seen.head.line.clone();
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc");
        if line.contains("/cut") {
            return Then::Close;
        }
        if line.contains("/slow") {
            waiting.pass();
        }
        exchange.send("def");
        Then::NextRequest
    });
    let server = Setup::http(
        "server { listen %LISTEN1%; location / {
             proxy_pass http://%BACKEND%; proxy_store %PREFIX%/kept/$arg_name; } }",
    )
    .set("BACKEND", backend.address())
    .tolerate("does not become a file")
    .tolerate("upstream prematurely closed connection")
    .start();
    let prefix = &server.site().prefix;
    let ask = |target: &str| {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        server.connect(1).ask(&request).text()
    };
    assert_eq!(ask("/?name=a/b"), "abcdef");
    assert_eq!(server.read("kept/a/b"), "abcdef");
    for escaping in [
        "../out",
        "a/../../out",
        "a/..",
        "a/",
        "",
        "b/%2e%2e/../../out",
    ] {
        assert_eq!(ask(&format!("/?name={escaping}")), "abcdef", "{escaping}");
    }
    assert!(!prefix.join("out").exists() && !prefix.parent().expect("one").join("out").exists());
    assert_eq!(ask("/cut?name=c/cut"), "abc");
    // Nobody is left who gets it, and it is kept all the same.
    let mut client = server.connect(1);
    client.send("GET /slow?name=d/slow HTTP/1.1\r\nHost: a\r\n\r\n");
    let begun = client.bytes(20).expect("the answer begins");
    assert!(begun.starts_with(b"HTTP/1.1 200"));
    drop(client);
    assert!(!prefix.join("kept/d/slow").exists());
    door.open();
    eventually("it is kept", || {
        (server.read("kept/d/slow") == "abcdef").then_some(())
    });
    let names = |directory: &str| {
        let entries = std::fs::read_dir(prefix.join(directory)).expect("a directory");
        entries.count()
    };
    eventually("nothing is left of what broke off", || {
        ([names("kept/a"), names("kept/c"), names("kept/d")] == [1, 0, 1]).then_some(())
    });
}

#[test]
fn live_requests_and_balance_by_address_see_the_client() {
    let record = Record::default();
    let backends = ["one", "two", "three"].map(|name| Backend::named(name, &record));
    let [one, two, three] = backends.each_ref().map(Backend::address);
    let server = Setup::http(&format!(
        "upstream all {{ ip_hash; server {one}; server {two}; server {three}; }}
         set_real_ip_from 127.0.0.1;
         server {{ listen %LISTEN1%; location / {{ proxy_pass http://all; }} }}"
    ))
    .start();
    let mut client = server.connect(1);
    let mut found = std::collections::BTreeSet::new();
    for number in 0..20 {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Real-IP: 10.{number}.0.1\r\n\r\n");
        let first = client.ask(&request).text();
        assert_eq!(client.ask(&request).text(), first);
        found.insert(first);
    }
    assert_eq!(found.len(), 3);
}

/// What a peer got, connection by connection, of one that answers every request and keeps its
/// connections.
fn peer() -> (u16, std::sync::mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let (sender, receiver) = std::sync::mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(mut stream), sender) = (stream, sender.clone()) else {
                return;
            };
            thread::spawn(move || {
                let mut request = Vec::new();
                while read_head(&mut stream, &mut request) {
                    if sender.send(std::mem::take(&mut request)).is_err() {
                        return;
                    }
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                    if stream.write_all(answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (port, receiver)
}

/// Reads until an empty line, behind a header of version 2 if there is one.
fn read_head(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> bool {
    let mut byte = [0];
    loop {
        let behind = match bytes.starts_with(b"\r\n") {
            true => 16,
            false => 0,
        };
        let behind = bytes.get(behind..).unwrap_or_default();
        if behind.ends_with(b"\r\n\r\n") {
            return true;
        }
        if !stream.read(&mut byte).is_ok_and(|count| count == 1) {
            return false;
        }
        bytes.extend(byte);
    }
}

#[test]
fn a_peer_is_told_the_client_once_a_connection_and_no_connection_serves_another_client() {
    let (port, received) = peer();
    let server = Setup::http(&format!(
        "upstream app {{ server 127.0.0.1:{port}; keepalive 8; }}
         set_real_ip_from 127.0.0.1;
         server {{ listen %LISTEN1%; proxy_set_header Connection \"\";
            location / {{ proxy_protocol v1; proxy_pass http://app; }}
            location /two {{ proxy_protocol v2; proxy_pass http://app; }}
            location /none {{ proxy_pass http://app; }} }}"
    ))
    .start();
    let mut client = server.connect(1);
    let mut seen = |path: &str, client_address: &str| {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-Real-IP: {client_address}\r\n\r\n");
        assert_eq!(client.ask(&request).text(), "ok");
        received.recv().expect("the peer has seen it")
    };
    let own = server.port(1);
    let line = format!("PROXY TCP4 192.0.2.1 127.0.0.1 4711 {own}\r\nGET / HTTP/1.1\r\n");
    assert!(seen("/", "192.0.2.1:4711").starts_with(line.as_bytes()));
    // The same client goes on over its connection.
    assert!(seen("/", "192.0.2.1:4711").starts_with(b"GET / "));
    // Others have their own, and so has the same address with another port.
    for other in ["192.0.2.1:4712", "192.0.2.2:4711"] {
        assert!(
            seen("/", other).starts_with(b"PROXY TCP4 192.0.2."),
            "{other}"
        );
    }
    let six = format!("PROXY TCP6 2001:db8::1 ::ffff:127.0.0.1 0 {own}\r\nGET / ");
    let got = seen("/", "2001:db8::1");
    assert!(got.starts_with(six.as_bytes()), "{}", got.escape_ascii());
    let mut header =
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\x7f\0\0\x01\x12\x67".to_vec();
    header.extend(own.to_be_bytes());
    header.extend(b"GET /two ");
    let got = seen("/two", "192.0.2.1:4711");
    assert!(got.starts_with(&header), "{}", got.escape_ascii());
    // What began without the header serves those without.
    assert!(seen("/none", "192.0.2.1:4711").starts_with(b"GET /none "));
    assert!(seen("/none", "192.0.2.9:4711").starts_with(b"GET /none "));
}

#[test]
fn a_client_without_an_address_is_unknown_to_the_peer() {
    let (port, received) = peer();
    let server = Setup::http(&format!(
        "server {{ listen unix:%PREFIX%/own.sock; proxy_protocol on; proxy_pass_request_headers off;
            location / {{ proxy_pass http://127.0.0.1:{port}; }} }}"
    ))
    .start();
    let socket = server.site().prefix.join("own.sock");
    let mut stream = UnixStream::connect(socket).expect("the server listens");
    stream
        .write_all(b"GET / HTTP/1.0\r\n\r\n")
        .expect("the server reads");
    let got = received.recv().expect("the peer has seen it");
    assert!(
        got.starts_with(b"PROXY UNKNOWN\r\nGET / "),
        "{}",
        got.escape_ascii()
    );
    drop(stream);
}

#[test]
fn two_of_us_in_a_row_pass_the_client_on() {
    let inner = start(
        "set_real_ip_from 127.0.0.1; real_ip_header proxy_protocol; \
         location / { return 200 \"$remote_addr:$remote_port\"; }",
    );
    let outer = Setup::http(&format!(
        "server {{ listen %LISTEN1%; location / {{ proxy_protocol v2; proxy_pass http://127.0.0.1:{}; }} }}",
        inner.port(1)
    ))
    .start();
    let mut client = Client::connect_from(Ipv4Addr::new(127, 4, 5, 6), outer.port(1));
    assert!(client.ask(GET).text().starts_with("127.4.5.6:"));
}
