//! Clients that are kept out, by hand and by themselves: at once, on all workers, over a restart, until
//! they are let in.

use std::net::Ipv4Addr;
use std::process::Output;

use nix::sys::signal::Signal;
use openclaw::protocol::{BanChange, Bans, Events};

use crate::control::Control;
use crate::support::client::Client;
use crate::support::http2_client::Http2Client;
use crate::support::server::{Server, Setup, eventually};

const CONF: &str = "
    server {
        listen %LISTEN1%;
        location / { return 200 hello; }
    }
    server {
        listen %LISTEN2%;
        set_real_ip_from 127.0.0.1;
        real_ip_header X-Real-IP;
        location / { return 200 hello; }
    }
";

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn openclaw(server: &Server, words: &[&str]) -> Output {
    server.openclaw(words).output().expect("the program runs")
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// Is a client with this address answered?
fn is_served(server: &Server, address: [u8; 4]) -> bool {
    let mut client = Client::connect_from(Ipv4Addr::from(address), server.port(1));
    client.send(GET);
    client.next_answer("GET").is_ok()
}

#[test]
fn a_banned_address_is_turned_away_until_it_is_let_in() {
    let mut server = Setup::http(CONF).start();
    let _control = Control::of(&server);
    let (good, bad) = ([127, 0, 0, 1], [127, 7, 7, 7]);
    let mut kept = Client::connect_from(Ipv4Addr::from(bad), server.port(1));
    assert_eq!(kept.ask(GET).status, 200);
    assert!(said(&openclaw(&server, &["ban"])).contains("nobody is banned"));
    let output = openclaw(
        &server,
        &["ban", "127.7.7.7", "--for", "1h", "--reason", "scans"],
    );
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("127.7.7.7"), "{}", said(&output));
    assert!(!is_served(&server, bad));
    assert!(is_served(&server, good));
    // A connection from before the ban, too.
    kept.send(GET);
    assert!(kept.next_answer("GET").is_err());
    // And one that a trusted proxy brings.
    let mut proxy = server.connect(2);
    proxy.send("GET / HTTP/1.1\r\nHost: a\r\nX-Real-IP: 127.7.7.7\r\n\r\n");
    assert!(proxy.next_answer("GET").is_err());

    // The list outlives the daemon.
    let is_kept = || {
        let reader = openclaw::store::Reader::open(&server.site().prefix.join("state/openclaw.db"));
        let kept = reader.ok()?.meta("bans").ok()??;
        kept.contains("127.7.7.7").then_some(())
    };
    eventually("the store has it", is_kept);
    server.quit();
    server.start_again();
    eventually("it is in force again", || {
        (!is_served(&server, bad)).then_some(())
    });
    let listed = openclaw(&server, &["ban", "list"]);
    assert!(said(&listed).contains("scans"), "{}", said(&listed));

    let output = openclaw(&server, &["ban", "remove", "127.7.7.7"]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(is_served(&server, bad));
    let output = openclaw(&server, &["ban", "remove", "127.7.7.7"]);
    assert!(!output.status.success());
    assert!(said(&output).contains("not banned"), "{}", said(&output));
}

#[test]
fn what_is_no_ban_is_refused() {
    let server = Setup::http(CONF).start();
    let control = Control::of(&server);
    for wrong in ["0.0.0.0/0", "::/0", "example.com", "10.0.0.0/33", ""] {
        let change = BanChange {
            network: wrong.to_owned(),
            ..BanChange::default()
        };
        let answer = control.post::<Bans>("/v1/bans", &change);
        assert!(answer.is_err(), "{wrong}");
    }
    assert!(is_served(&server, [127, 0, 0, 1]));
}

/// Clients are named by a proxy that is trusted: a machine's own programs are never banned.
const BY_ITSELF: &str = "
    log_format bans '$remote_addr $status $ban_status';
    access_log logs/bans.log bans;
    error_log logs/error.log notice;
    server {
        listen %LISTEN1%;
        http2 on;
        set_real_ip_from 127.0.0.1;
        set_real_ip_from 192.0.2.1;
        real_ip_header X-Real-IP;
        auto_ban 3 in=1h for=1h on=404,login;
        auto_ban_except 198.51.100.0/24;
        location / { return 200 hello; }
        location /nothing { return 404; }
        location /sure { auto_ban off; return 404; }
        location /private { auth_basic a; auth_basic_user_file %PREFIX%/users; alias %PREFIX%/www/a; }
    }
    server { listen %LISTEN2%; location / { metrics; } }
";

fn by_itself() -> Setup {
    Setup::http(BY_ITSELF)
        .file("users", "ann:{PLAIN}one\n")
        .file("www/a", "content")
}

/// What a client of this address is answered; `None` if it is not.
fn asked(server: &Server, client: &str, path: &str, fields: &str) -> Option<u16> {
    let mut proxy = server.connect(1);
    proxy.send(format!(
        "GET {path} HTTP/1.1\r\nHost: a\r\nX-Real-IP: {client}\r\n{fields}\r\n"
    ));
    proxy.next_answer("GET").ok().map(|answer| answer.status)
}

fn metrics(server: &Server) -> String {
    server
        .connect(2)
        .ask("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .text()
}

#[test]
fn who_asks_for_what_is_not_there_too_often_is_kept_out_by_itself() {
    let mut server = by_itself().start();
    let control = Control::of(&server);
    for _ in 0..2 {
        assert_eq!(asked(&server, "203.0.113.9", "/nothing", ""), Some(404));
    }
    // What was counted outlives a reload.
    server.signal(Signal::SIGHUP);
    eventually("another generation is in force", || {
        (metrics(&server).contains("openclaw_config_generation 2\n")).then_some(())
    });
    assert_eq!(asked(&server, "203.0.113.9", "/sure", ""), Some(404));
    assert_eq!(asked(&server, "203.0.113.9", "/", ""), Some(200));
    assert_eq!(asked(&server, "203.0.113.9", "/nothing?a", ""), Some(404));
    assert_eq!(asked(&server, "203.0.113.9", "/", ""), None);
    assert_eq!(asked(&server, "203.0.113.8", "/", ""), Some(200));

    let bans: Bans = control.must_get("/v1/bans");
    let ban = &bans.bans[0];
    assert_eq!((&*ban.network, &*ban.by), ("203.0.113.9", "auto_ban"));
    assert_eq!(ban.reason, "3 in 1h, the last 404 at a/nothing");
    assert_eq!(ban.until, Some(ban.since + 3_600_000));
    eventually("it is an event", || {
        let events: Events = control.must_get("/v1/events");
        let mut events = events.events.into_iter().filter(|it| it.kind == "ban");
        let told = events.next()?;
        assert_eq!(told.subject, "203.0.113.9");
        assert_eq!(told.text, "is kept out: 3 in 1h, the last 404 at a/nothing");
        assert!(events.next().is_none(), "once");
        Some(())
    });
    let told = metrics(&server);
    for line in [
        "openclaw_bans{origin=\"auto_ban\"} 1\n",
        "openclaw_bans{origin=\"people\"} 0\n",
        "openclaw_auto_bans_total 1\n",
        "openclaw_bans_turned_away_total 1\n",
    ] {
        assert!(told.contains(line), "{line}{told}");
    }
    let lines = eventually("the log has all of them", || {
        let log = server.read("logs/bans.log");
        let own = log.lines().filter(|line| line.starts_with("203.0.113.9 "));
        let own: Vec<String> = own.map(str::to_owned).collect();
        (own.len() >= 6).then_some(own)
    });
    let ends = [
        "404 COUNTED",
        "404 COUNTED",
        "404 -",
        "200 -",
        "404 BANNED",
        "444 TURNED_AWAY",
    ];
    for (line, end) in lines.iter().zip(ends) {
        assert!(line.ends_with(end), "{end}: {lines:?}");
    }
    let line =
        "203.0.113.9/32 is kept out: 3 in 1h, the last 404 at a/nothing, client: 203.0.113.9";
    eventually(line, || {
        server.read("logs/error.log").contains(line).then_some(())
    });

    // It outlives a restart, and who is let in begins anew.
    eventually("the store has it", || {
        let reader = openclaw::store::Reader::open(&server.site().prefix.join("state/openclaw.db"));
        let kept = reader.ok()?.meta("bans").ok()??;
        kept.contains("203.0.113.9").then_some(())
    });
    server.quit();
    server.start_again();
    eventually("it is in force again", || {
        (asked(&server, "203.0.113.9", "/", "").is_none()).then_some(())
    });
    let output = openclaw(&server, &["ban", "remove", "203.0.113.9"]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(asked(&server, "203.0.113.9", "/nothing", ""), Some(404));
    assert_eq!(asked(&server, "203.0.113.9", "/", ""), Some(200));
}

#[test]
fn wrong_passwords_count_and_being_asked_for_one_does_not() {
    let server = by_itself().start();
    let pair = |text: &str| {
        let pair = data_encoding::BASE64.encode(text.as_bytes());
        format!("Authorization: Basic {pair}\r\n")
    };
    let (right, wrong) = (pair("ann:one"), pair("ann:two"));
    for _ in 0..5 {
        assert_eq!(asked(&server, "203.0.113.1", "/private", ""), Some(401));
        assert_eq!(asked(&server, "203.0.113.1", "/private", &right), Some(200));
    }
    // The addresses of a network of IPv6 are one client.
    for host in ["1", "2", "ffff:9"] {
        let client = format!("2001:db8:1:2::{host}");
        assert_eq!(asked(&server, &client, "/private", &wrong), Some(401));
    }
    assert_eq!(asked(&server, "2001:db8:1:2::77", "/", ""), None);
    assert_eq!(asked(&server, "2001:db8:1:3::77", "/", ""), Some(200));
}

#[test]
fn exceptions_proxies_and_the_machine_itself_are_never_kept_out() {
    let server = by_itself().start();
    for client in [
        "198.51.100.7",
        "192.0.2.1",
        "127.0.0.1",
        "::1",
        "no address",
    ] {
        for _ in 0..5 {
            assert_eq!(asked(&server, client, "/nothing", ""), Some(404));
        }
        assert_eq!(asked(&server, client, "/", ""), Some(200), "{client}");
    }
}

#[test]
fn a_client_of_http2_is_kept_out_and_its_neighbours_are_not() {
    let server = by_itself().start();
    let mut proxy = Http2Client::connect(server.port(1));
    let mut ask = |client: &str, path: &str| {
        let answer = proxy.try_ask("GET", path, &[("x-real-ip", client)], b"");
        answer.map(|answer| answer.status)
    };
    for _ in 0..3 {
        assert_eq!(ask("203.0.113.9", "/nothing"), Some(404));
    }
    assert_eq!(ask("203.0.113.9", "/"), None);
    // Over the same connection.
    assert_eq!(ask("203.0.113.8", "/"), Some(200));
}
