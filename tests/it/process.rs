//! The process: start, signals, reload, the end; and what the command line says without a start.

use std::fs;
use std::net::TcpStream;
use std::process::ExitStatus;
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::backend::{Backend, Then};
use crate::support::client::Client;
use crate::support::server::{Outcome, Server, Setup, eventually, is_nginx, under_test};

const PATIENCE: Duration = Duration::from_secs(20);
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

fn serving(text: &str) -> Setup {
    Setup::http(&format!(
        "server {{ listen %LISTEN1%; return 200 {text}; }}"
    ))
}

fn whole(text: &str) -> String {
    format!("events {{}} http {{ %COMMON% server {{ listen %LISTEN1%; return 200 {text}; }} }}")
}

#[test]
fn the_pid_file_names_the_process_and_goes_with_it() {
    let mut server = serving("ok").start();
    let pid = fs::read_to_string(server.pid_file()).expect("a started server has it");
    assert_eq!(pid, format!("{}\n", server.pid()));
    assert!(server.quit().success());
    assert!(!server.pid_file().exists());
}

/// A backend that answers when it is told to, and the server in front of it with a request on its way.
fn with_a_request_on_its_way() -> (Server, Client, mpsc::Sender<()>, Backend) {
    let (go, wait) = mpsc::channel();
    let wait = std::sync::Mutex::new(wait);
    let (begun, begin) = mpsc::channel();
    let backend = Backend::scripted(move |exchange| {
        begun.send(()).expect("the test waits for it");
        let told = wait.lock().expect("one connection").recv_timeout(PATIENCE);
        if told.is_ok() {
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate");
        }
        Then::Close
    });
    let server = Setup::http(
        "server { listen %LISTEN1%; location / { proxy_pass http://%BACKEND%; } }
         server { listen %LISTEN2%; return 200 ok; }",
    )
    .set("BACKEND", backend.address())
    .start();
    let mut client = server.connect(1);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    begin.recv_timeout(PATIENCE).expect("the backend is asked");
    (server, client, go, backend)
}

fn eventually_refuses(port: u16) {
    eventually("new connections are refused", || {
        TcpStream::connect(("127.0.0.1", port))
            .is_err()
            .then_some(())
    });
}

#[test]
fn quit_finishes_what_runs_and_takes_nothing_new() {
    let (mut server, mut client, go, _backend) = with_a_request_on_its_way();
    let mut idle = server.connect(2);
    idle.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    server.signal(Signal::SIGQUIT);
    eventually_refuses(server.port(1));
    assert!(server.runs(), "a request is on its way");
    go.send(()).expect("the backend waits");
    let answer = client.answer("GET");
    assert_eq!((answer.status, answer.text().as_str()), (200, "late"));
    assert!(server.wait().success());
    assert!(idle.rest().0.is_empty());
}

#[test]
fn term_stops_at_once() {
    let (mut server, mut client, _go, _backend) = with_a_request_on_its_way();
    server.signal(Signal::SIGTERM);
    assert!(server.wait().success());
    let (bytes, _) = client.rest();
    assert!(!String::from_utf8_lossy(&bytes).contains("late"));
}

#[test]
fn int_stops_as_term_does() {
    let mut server = serving("ok").start();
    server.signal(Signal::SIGINT);
    assert!(server.wait().success());
}

#[test]
fn a_reload_takes_the_new_file() {
    let mut server = serving("old").start();
    let mut kept = server.connect(1);
    assert_eq!(kept.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").text(), "old");
    server.rewrite(&whole("new"));
    server.signal(Signal::SIGHUP);
    eventually("the new file serves", || {
        (server.connect(1).ask(GET).text() == "new").then_some(())
    });
    // A kept connection gets the new one, or it is closed. An old worker of nginx may answer still.
    kept.send(GET);
    if let Ok(answer) = kept.next_answer("GET") {
        assert!(answer.text() == "new" || is_nginx(&under_test()));
    }
}

#[test]
fn a_reload_may_change_the_ports() {
    let mut server = serving("ok").start();
    let old = server.port(1);
    server.rewrite("events {} http { %COMMON% server { listen %LISTEN2%; return 200 moved; } }");
    server.signal(Signal::SIGHUP);
    eventually("the new port listens", || {
        Client::try_connect(server.port(2)).ok()
    });
    eventually_refuses(old);
    assert_eq!(server.connect(2).ask(GET).text(), "moved");
}

/// Nothing of a failed reload is ever visible, but the reason.
#[test]
fn a_bad_reload_keeps_serving_and_says_why() {
    let mut server = serving("old")
        .tolerate("no_such_directive")
        .tolerate("conf:")
        .start();
    for (bad, reason) in [
        (
            "events {}\nhttp {\nno_such_directive on;\n}\n",
            "no_such_directive",
        ),
        ("events {}\nhttp {\nserver {\n", "openclaw.conf:"),
    ] {
        let said = server.said().len();
        server.rewrite(bad);
        server.signal(Signal::SIGHUP);
        eventually("the reason is logged", || {
            server.said()[said..].contains(reason).then_some(())
        });
        assert_eq!(server.connect(1).ask(GET).text(), "old");
    }
    server.rewrite(&whole("new"));
    server.signal(Signal::SIGHUP);
    eventually("a good file serves", || {
        (server.connect(1).ask(GET).text() == "new").then_some(())
    });
}

/// A port that another program holds must not take down what runs.
#[test]
fn a_reload_to_a_taken_port_keeps_serving() {
    let taken = Backend::start();
    let mut server = serving("old")
        .set("TAKEN", taken.port())
        .tolerate("")
        .start();
    let said = server.said().len();
    server.rewrite(
        "events {} http { %COMMON%
           server { listen %LISTEN1%; listen 127.0.0.1:%TAKEN%; return 200 new; } }",
    );
    server.signal(Signal::SIGHUP);
    eventually("the reason is logged", || {
        server.said()[said..]
            .contains(&taken.port().to_string())
            .then_some(())
    });
    assert_eq!(server.connect(1).ask(GET).text(), "old");
}

#[test]
fn usr1_opens_the_logs_anew() {
    let server = serving("ok").start();
    server.connect(1).ask(GET);
    let log = server.site().prefix.join("logs/access.log");
    let rotated = server.site().prefix.join("logs/access.log.1");
    eventually("the first line is written", || {
        (server.read("logs/access.log").lines().count() == 1).then_some(())
    });
    fs::rename(&log, &rotated).expect("a file in our own directory");
    server.signal(Signal::SIGUSR1);
    eventually("there is a new file", || log.exists().then_some(()));
    eventually("a line goes to the new file", || {
        server.connect(1).ask(GET);
        (server.read("logs/access.log").lines().count() > 0).then_some(())
    });
    let lines = server.read("logs/access.log.1").lines().count()
        + server.read("logs/access.log").lines().count();
    assert!(lines >= 2, "no line is lost");
}

#[test]
fn signals_can_be_sent_by_the_program_itself() {
    let mut server = serving("old").start();
    let send = |server: &Server, signal: &str| -> ExitStatus {
        server
            .site()
            .command()
            .args(["-s", signal])
            .status()
            .expect("the program must be there")
    };
    server.rewrite(&whole("new"));
    assert!(send(&server, "reload").success());
    eventually("the new file serves", || {
        (server.connect(1).ask(GET).text() == "new").then_some(())
    });
    assert!(send(&server, "reopen").success());
    assert_eq!(server.connect(1).ask(GET).status, 200);
    assert!(send(&server, "quit").success());
    assert!(server.wait().success());
    assert!(!send(&server, "stop").success(), "nothing runs any more");
}

#[test]
fn a_daemon_leaves_its_caller() {
    let outcome = serving("ok").globals("daemon on; pid server.pid;").run(&[]);
    assert!(outcome.status.success(), "{}", outcome.stderr);
    let pid_file = outcome.site.prefix.join("server.pid");
    let pid: i32 = eventually("the daemon has written its pid", || {
        let text = fs::read_to_string(&pid_file).ok()?;
        text.strip_suffix('\n')?.parse().ok()
    });
    let (_, port) = outcome.site.listens()[0];
    assert_eq!(Client::connect(port).ask(GET).text(), "ok");
    kill(Pid::from_raw(pid), Signal::SIGQUIT).expect("the daemon runs");
    eventually("the daemon has ended", || {
        (!pid_file.exists()).then_some(())
    });
}

#[test]
fn a_taken_port_is_said_at_the_start() {
    let taken = Backend::start();
    let refusal = Setup::http("server { listen 127.0.0.1:%TAKEN%; return 200 ok; }")
        .set("TAKEN", taken.port())
        .try_start()
        .err()
        .expect("the port is taken");
    assert_eq!(refusal.status.code(), Some(1));
    assert!(
        refusal.said.contains(&taken.port().to_string()),
        "{}",
        refusal.said
    );
}

fn test(conf: &str, arguments: &[&str]) -> Outcome {
    Setup::new(conf).run(arguments)
}

const GOOD: &str = "events {}\nhttp {\n    server { listen 127.0.0.1:1; return 200 ok; }\n}\n";

#[test]
fn t_says_that_a_file_is_good() {
    let outcome = test(GOOD, &["-t"]);
    assert_eq!(outcome.status.code(), Some(0), "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("syntax is ok"),
        "{}",
        outcome.stderr
    );
    assert!(
        outcome.stderr.contains("test is successful"),
        "{}",
        outcome.stderr
    );
    assert_eq!(outcome.stdout, "");
    // nginx leaves an empty one behind.
    let left_behind = outcome.site.prefix.join("server.pid").exists();
    assert!(!left_behind || is_nginx(&under_test()));
}

#[test]
fn t_names_file_line_and_reason() {
    for (conf, line, reason) in [
        (
            "events {}\nhttp {\n    no_such_directive 1;\n}\n",
            3,
            "no_such_directive",
        ),
        (
            "events {}\nhttp {\n    server {\n        listen nonsense:nonsense;\n    }\n}\n",
            4,
            "nonsense",
        ),
        (
            "events {}\nhttp {\n    server {\n        location ~ ( { }\n    }\n}\n",
            4,
            "(",
        ),
        ("events {}\nhttp {\n    sendfile maybe;\n}\n", 3, "maybe"),
        (
            "events {}\nhttp {\n    sendfile on;\n    sendfile off;\n}\n",
            4,
            "sendfile",
        ),
        ("events {}\nserver { }\n", 2, "server"),
        ("events {}\nhttp {\n    root;\n}\n", 3, "root"),
        (
            "events {}\nhttp {\n    server { set $x $no_such_variable; }\n}\n",
            3,
            "no_such_variable",
        ),
        (
            "events {}\nhttp {\n    server { return 200 \"unclosed; }\n}\n",
            3,
            "openclaw.conf",
        ),
    ] {
        let outcome = test(conf, &["-t"]);
        assert_eq!(outcome.status.code(), Some(1), "{conf}\n{}", outcome.stderr);
        assert!(
            outcome.stderr.contains(reason),
            "{conf}\n{}",
            outcome.stderr
        );
        // Where nginx notices it only at the end of the file, or tells no line, we still do.
        if !is_nginx(&under_test()) {
            let place = format!("openclaw.conf:{line}");
            assert!(
                outcome.stderr.contains(&place),
                "{place}\n{}",
                outcome.stderr
            );
        }
    }
}

#[test]
fn t_notices_a_missing_include() {
    let outcome = test("events {}\nhttp {\n    include missing.conf;\n}\n", &["-t"]);
    assert_eq!(outcome.status.code(), Some(1));
    assert!(
        outcome.stderr.contains("missing.conf"),
        "{}",
        outcome.stderr
    );
    let outcome = test(
        "events {}\nhttp {\n    include missing/*.conf;\n}\n",
        &["-t"],
    );
    assert_eq!(outcome.status.code(), Some(0), "{}", outcome.stderr);
}

#[test]
fn capital_t_writes_every_file_out() {
    let outcome = Setup::new("events {}\nhttp {\n    include part.conf;\n}\n")
        .file(
            "conf/part.conf",
            "# a part\nserver { listen 127.0.0.1:1; }\n",
        )
        .run(&["-T"]);
    assert_eq!(outcome.status.code(), Some(0), "{}", outcome.stderr);
    let main = outcome
        .stdout
        .find("include part.conf;")
        .expect("the file itself");
    let part = outcome.stdout.find("# a part").expect("what it includes");
    assert!(main < part);
    assert_eq!(outcome.stdout.matches("# configuration file ").count(), 2);
}

#[test]
fn q_says_nothing_of_a_good_file() {
    let outcome = test(GOOD, &["-t", "-q"]);
    assert_eq!(outcome.status.code(), Some(0));
    assert_eq!(outcome.stderr, "");
}

#[test]
fn v_tells_the_version_on_standard_error() {
    let name = if is_nginx(&under_test()) {
        "nginx"
    } else {
        "openclaw"
    };
    let outcome = test("", &["-v"]);
    assert_eq!(outcome.status.code(), Some(0));
    let start = format!("{name} version: {name}/");
    assert!(outcome.stderr.starts_with(&start), "{}", outcome.stderr);
    assert_eq!(outcome.stderr.lines().count(), 1);
    assert_eq!(outcome.stdout, "");
    let outcome = test("", &["-V"]);
    assert_eq!(outcome.status.code(), Some(0));
    assert!(outcome.stderr.starts_with(&start), "{}", outcome.stderr);
    assert!(outcome.stderr.lines().count() > 1);
}

#[test]
fn an_unknown_option_is_refused() {
    let outcome = test(GOOD, &["-Z"]);
    assert_eq!(outcome.status.code(), Some(1));
    assert!(outcome.stderr.contains('Z'), "{}", outcome.stderr);
}

#[test]
fn a_missing_file_is_refused() {
    let outcome = test(GOOD, &["-t", "-c", "/nonexistent/openclaw.conf"]);
    assert_eq!(outcome.status.code(), Some(1));
    assert!(
        outcome.stderr.contains("/nonexistent/openclaw.conf"),
        "{}",
        outcome.stderr
    );
}

/// `log_rotate`: nothing else is needed on the machine to keep logs small.
#[test]
fn logs_that_have_grown_are_moved_away_while_requests_are_served() {
    let server = Setup::new(
        "log_rotate 2k keep=99;\nevents {}\nhttp {\n%COMMON%\nserver { listen %LISTEN1%; return 200 x; }\n}\n",
    )
    .start();
    let mut sent = 0;
    eventually("a log was moved away", || {
        for _ in 0..50 {
            let mut client = server.connect(1);
            client.ask("GET /line HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            sent += 1;
        }
        server
            .site()
            .prefix
            .join("logs/access.log.1")
            .exists()
            .then_some(())
    });
    let lines = || {
        let moved = (1..=99).map(|number| server.read(&format!("logs/access.log.{number}")));
        let logs: String = moved.chain([server.read("logs/access.log")]).collect();
        logs.matches("GET /line").count()
    };
    eventually("every request has its line", || {
        (lines() == sent).then_some(())
    });
    let refused = Setup::new("log_rotate 2k keep=0; events {}").run(&["-t"]);
    assert!(
        refused.stderr.contains("`0` is not a number of files"),
        "{}",
        refused.stderr
    );
}
