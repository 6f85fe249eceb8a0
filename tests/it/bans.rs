//! Clients that are kept out by hand: at once, on all workers, over a restart, until they are let in.

use std::net::Ipv4Addr;
use std::process::{Command, Output};

use openclaw::protocol::{BanChange, Bans};

use crate::control::Control;
use crate::support::client::Client;
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
    Command::new(env!("CARGO_BIN_EXE_openclaw"))
        .args(words)
        .arg("--socket")
        .arg(server.site().prefix.join("state/control.sock"))
        .output()
        .expect("the program must be there")
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
