//! The life of the program beyond what it shares with nginx (`process`): the user, limits, and what
//! must not be lost while configurations change.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use tempfile::TempDir;

use super::support::backend::{Backend, Then};
use super::support::client::Client;
use super::support::ports::reserve;
use super::support::server::{Setup, eventually};
use super::support::wire::End;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const GET_AND_CLOSE: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// What tells configurations apart.
fn answering(text: &str) -> String {
    format!(
        "error_log error.log notice;\nworker_processes 2;\nevents {{ }}\nhttp {{\n%COMMON%\n\
         server {{ listen 127.0.0.1:%LISTEN1%; return 200 {text}; }}\n}}\n"
    )
}

fn lines_with(log: &str, text: &str) -> usize {
    log.lines().filter(|line| line.contains(text)).count()
}

#[test]
fn a_reload_takes_the_new_configuration_and_the_old_one_ends() {
    let mut server = Setup::new(answering("old")).start();
    let mut kept = server.connect(1);
    assert_eq!(kept.ask(GET).text(), "old");
    server.rewrite(&answering("new"));
    server.signal(Signal::SIGHUP);
    eventually("the old generation has ended", || {
        server.said().contains("exited with code 0").then_some(())
    });
    assert_eq!(server.connect(1).ask(GET).text(), "new");
    assert!(
        server
            .said()
            .contains("signal 1 (SIGHUP) received, reconfiguring")
    );
    // A client that had nothing under way may have lost its connection, as with nginx, or is
    // answered by the new configuration; never by the old one.
    if kept.send(GET)
        && let Ok(answer) = kept.next_answer("GET")
    {
        assert_eq!(answer.text(), "new");
    }
}

#[test]
fn a_reload_with_a_mistake_changes_nothing_and_says_why() {
    let mut server = Setup::new(answering("old")).tolerate("[emerg]").start();
    server.rewrite(&answering("new; nonsense on"));
    server.signal(Signal::SIGHUP);
    eventually("the mistake is told", || {
        let said = server.said();
        (said.contains("unknown directive `nonsense`") && said.contains("stays")).then_some(())
    });
    assert_eq!(server.connect(1).ask(GET).text(), "old");
    assert!(!server.said().contains("exited with code"));
    server.rewrite(&answering("new"));
    server.signal(Signal::SIGHUP);
    eventually("the mended one is taken", || {
        (server.connect(1).ask(GET).text() == "new").then_some(())
    });
}

#[test]
fn no_connection_is_lost_while_configurations_change() {
    let mut server = Setup::new(answering("first")).start();
    let port = server.port(1);
    let ended = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..2)
        .map(|_| {
            let ended = Arc::clone(&ended);
            thread::spawn(move || {
                let mut count = 0;
                while !ended.load(Ordering::SeqCst) {
                    let answer = Client::connect(port).ask(GET_AND_CLOSE);
                    assert_eq!(answer.status, 200);
                    count += 1;
                }
                count
            })
        })
        .collect();
    for round in 1..=12 {
        // Other settings of the socket and other numbers of workers, on the same address.
        let workers = [1, 4, 2, 3][round % 4];
        let backlog = 511 + round;
        let conf = answering(&format!("round{round}"))
            .replace("worker_processes 2", &format!("worker_processes {workers}"))
            .replace("%LISTEN1%;", &format!("%LISTEN1% backlog={backlog};"));
        server.rewrite(&conf);
        server.signal(Signal::SIGHUP);
        eventually("the round is served", || {
            let answer = server.connect(1).ask(GET);
            (answer.text() == format!("round{round}")).then_some(())
        });
    }
    ended.store(true, Ordering::SeqCst);
    for client in clients {
        assert!(client.join().expect("no answer was lost") > 0);
    }
    eventually("all old generations have ended", || {
        (lines_with(&server.said(), "exited with code 0") == 12).then_some(())
    });
}

#[test]
fn a_second_instance_on_the_same_port_is_refused() {
    let server = Setup::new(answering("first")).start();
    let conf = answering("second").replace("%LISTEN1%", &server.port(1).to_string());
    let refusal = Setup::new(conf)
        .try_start()
        .err()
        .expect("the port is taken");
    assert_eq!(refusal.status.code(), Some(1));
    let reason = format!(
        "bind() to 127.0.0.1:{} failed (98: Address already in use)",
        server.port(1)
    );
    assert!(refusal.said.contains(&reason), "{}", refusal.said);
    for _ in 0..8 {
        assert_eq!(server.connect(1).ask(GET_AND_CLOSE).text(), "first");
    }
}

/// A backend that answers when it is told to.
fn gated() -> (Backend, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (arrived, seen) = mpsc::channel();
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let backend = Backend::scripted(move |exchange| {
        let _nobody_looks = arrived.send(());
        let is_open = gate.lock().expect("no panic").recv().is_ok();
        if is_open {
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow");
        }
        Then::Close
    });
    (backend, seen, open)
}

fn proxying(backend: &Backend, main: &str) -> String {
    format!(
        "error_log error.log notice;\n{main}\nevents {{ }}\nhttp {{\n%COMMON%\n\
         server {{ listen 127.0.0.1:%LISTEN1%; location / {{ proxy_pass http://{}; }} \
         location /fast {{ return 200 fast; }} }}\n}}\n",
        backend.address()
    )
}

#[test]
fn a_graceful_end_finishes_what_runs_and_takes_nothing_new() {
    let (backend, seen, open) = gated();
    let mut server = Setup::new(proxying(&backend, "worker_processes 2;")).start();
    let mut idle = server.connect(1);
    let fast = "GET /fast HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(idle.ask(fast).text(), "fast");
    let mut slow = server.connect(1);
    slow.send(GET);
    seen.recv().expect("the request reached the backend");
    server.signal(Signal::SIGQUIT);
    // The idle connection is closed, the port too, and the request still runs.
    assert_eq!(idle.rest().1, End::Closed);
    eventually("the port is closed", || {
        Client::try_connect(server.port(1)).is_err().then_some(())
    });
    assert!(server.runs());
    open.send(()).expect("the backend waits");
    let answer = slow.answer("GET");
    assert_eq!((answer.status, answer.text().as_str()), (200, "slow"));
    assert!(server.wait().success());
    let said = server.said();
    assert!(
        said.contains("signal 3 (SIGQUIT) received, shutting down"),
        "{said}"
    );
    assert!(said.contains("gracefully shutting down"), "{said}");
    assert!(!server.pid_file().exists());
}

#[test]
fn a_graceful_end_waits_no_longer_than_allowed() {
    let (backend, seen, _open) = gated();
    let conf = proxying(&backend, "worker_shutdown_timeout 100ms;");
    let mut server = Setup::new(conf).start();
    let mut slow = server.connect(1);
    slow.send(GET);
    seen.recv().expect("the request reached the backend");
    assert!(server.quit().success());
    assert!(slow.next_answer("GET").is_err());
    assert!(server.said().contains("worker_shutdown_timeout has passed"));
}

#[test]
fn a_fast_end_waits_for_nobody_and_may_follow_a_graceful_one() {
    let (backend, seen, _open) = gated();
    for signals in [
        &[Signal::SIGTERM][..],
        &[Signal::SIGINT],
        &[Signal::SIGQUIT, Signal::SIGTERM],
    ] {
        let mut server = Setup::new(proxying(&backend, "")).start();
        let mut slow = server.connect(1);
        slow.send(GET);
        seen.recv().expect("the request reached the backend");
        for signal in signals {
            server.signal(*signal);
        }
        assert!(server.wait().success());
        assert!(slow.next_answer("GET").is_err());
        assert!(!server.pid_file().exists());
    }
}

#[test]
fn what_is_not_supported_says_so_and_changes_nothing() {
    let server = Setup::new(answering("text")).start();
    for (signal, name) in [
        (Signal::SIGUSR2, "12 (SIGUSR2)"),
        (Signal::SIGWINCH, "28 (SIGWINCH)"),
    ] {
        server.signal(signal);
        let line = format!("signal {name} received, which is not supported");
        eventually("it is told", || server.said().contains(&line).then_some(()));
    }
    assert_eq!(server.connect(1).ask(GET).text(), "text");
}

#[test]
fn connections_beyond_the_limit_wait_for_room() {
    let conf = answering("text")
        .replace("worker_processes 2", "worker_processes 1")
        .replace("events { }", "events { worker_connections 2; }");
    let server = Setup::new(conf)
        .tolerate("worker_connections are not enough")
        .start();
    let mut first = server.connect(1);
    let mut second = server.connect(1);
    assert_eq!(first.ask(GET).text(), "text");
    assert_eq!(second.ask(GET).text(), "text");
    let mut third = server.connect(1);
    third.send(GET);
    eventually("the lack of room is told", || {
        server
            .said()
            .contains("2 worker_connections are not enough")
            .then_some(())
    });
    drop(first);
    assert_eq!(third.answer("GET").text(), "text");
}

#[test]
fn connections_wait_while_there_is_no_descriptor_for_them() {
    let setup = Setup::new(answering("text").replace("worker_processes 2", "worker_processes 1"));
    let script = tempfile::tempdir().expect("a temporary directory");
    let path = script.path().join("limited");
    let program = env!("CARGO_BIN_EXE_openclaw");
    let text = format!("#!/bin/sh\nulimit -n 40\nexec {program} \"$@\"\n");
    fs::write(&path, text).expect("a fresh file");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&path, mode).expect("ours");
    let server = setup.program(&path).tolerate("exceed open file").start();
    let mut clients: Vec<_> = (0..60).map(|_| server.connect(1)).collect();
    eventually("the lack of descriptors is told", || {
        server
            .said()
            .contains("accept4() failed (24: Too many open files)")
            .then_some(())
    });
    let mut last = clients.pop().expect("sixty of them");
    last.send(GET);
    drop(clients);
    assert_eq!(last.answer("GET").text(), "text");
    let said = server.said();
    assert!(
        said.contains("512 worker_connections exceed open file resource limit: 40"),
        "{said}"
    );
}

#[test]
fn a_unix_socket_is_served_and_its_file_goes_with_the_program() {
    let conf = "error_log error.log notice;\nworker_processes 2;\nevents { }\nhttp {\n%COMMON%\n\
                server { listen unix:%PREFIX%/socket; return 200 unix; }\n}\n";
    let mut server = Setup::new(conf).start();
    let path = server.site().prefix.join("socket");
    for _ in 0..4 {
        let mut stream = std::os::unix::net::UnixStream::connect(&path).expect("listens");
        std::io::Write::write_all(&mut stream, GET_AND_CLOSE.as_bytes()).expect("open");
        let mut text = String::new();
        std::io::Read::read_to_string(&mut stream, &mut text).expect("open");
        assert!(text.ends_with("\r\n\r\nunix"), "{text}");
    }
    assert!(server.quit().success());
    assert!(!path.exists());
}

#[test]
fn a_worker_without_work_is_not_woken() {
    let server = Setup::new(answering("text")).start();
    assert_eq!(server.connect(1).ask(GET_AND_CLOSE).text(), "text");
    let switches = || {
        let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).expect("it runs");
        let count = |task: std::io::Result<fs::DirEntry>| {
            let status = task.expect("it runs").path().join("status");
            let status = fs::read_to_string(status).expect("it runs");
            let line = status
                .lines()
                .find(|line| line.starts_with("voluntary_ctxt_switches"));
            line.expect("Linux shows it").to_owned()
        };
        tasks.map(count).collect::<Vec<_>>()
    };
    // What was left to do is done after a while, and then nothing happens any more.
    eventually("the workers rest", || {
        let before = switches();
        thread::sleep(std::time::Duration::from_millis(300));
        (switches() == before).then_some(())
    });
}

/// The program, started by hand in a directory of its own.
struct ByHand {
    directory: TempDir,
    child: Option<Child>,
}

impl ByHand {
    fn new(conf: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        fs::write(directory.path().join("openclaw.conf"), conf).expect("a fresh file");
        Self {
            directory,
            child: None,
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_openclaw"));
        command
            .arg("-p")
            .arg(self.directory.path())
            .stdin(Stdio::null());
        command
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn pid(&self) -> Option<Pid> {
        let number = self.read("a.pid").trim().parse().ok()?;
        Some(Pid::from_raw(number))
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            // It may have ended already.
            let _gone = kill(pid, Signal::SIGKILL);
        }
        if let Some(mut child) = self.child.take() {
            let _status = child.wait();
        }
    }
}

fn plain(port: u16, main: &str) -> String {
    let user = if geteuid().is_root() && !main.contains("user ") {
        "user root;"
    } else {
        ""
    };
    format!(
        "error_log error.log notice;\npid a.pid;\n{user}\n{main}\nevents {{ }}\nhttp {{\n\
         access_log access.log;\nserver {{ listen 127.0.0.1:{port}; return 200 text; }}\n}}\n"
    )
}

#[test]
fn in_the_background_it_serves_when_the_start_has_ended() {
    let port = reserve();
    let server = ByHand::new(&plain(port.number, "worker_processes 2;"));
    let output = server
        .command()
        .output()
        .expect("the program must be there");
    assert!(output.status.success(), "{output:?}");
    // Neither is waited for: both are there.
    assert_eq!(Client::connect(port.number).ask(GET).text(), "text");
    let pid = server.pid().expect("written");
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<_> = stat
        .rsplit(')')
        .next()
        .expect("fields")
        .split_whitespace()
        .collect();
    assert_eq!(fields[3], pid.to_string(), "a session of its own: {stat}");
    let target = fs::read_link(format!("/proc/{pid}/fd/2")).expect("it runs");
    assert_eq!(target, Path::new("/dev/null"));
    let status = server.command().args(["-s", "quit"]).status();
    assert!(status.expect("the program must be there").success());
    eventually("it has ended", || {
        (!server.path("a.pid").exists()).then_some(())
    });
}

#[test]
fn in_the_background_a_failed_start_is_a_failed_command() {
    let taken = Backend::start();
    let server = ByHand::new(&plain(taken.port(), ""));
    let output = server
        .command()
        .output()
        .expect("the program must be there");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("failed (98: Address already in use)"),
        "{said}"
    );
    // Found only in the background: another process holds the pid file.
    let port = reserve();
    let first = ByHand::new(&plain(port.number, ""));
    assert!(first.command().status().expect("there").success());
    let other = reserve();
    let again = plain(other.number, "");
    fs::write(first.path("openclaw.conf"), again).expect("ours");
    let output = first.command().output().expect("the program must be there");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("runs already and holds the pid file"),
        "{said}"
    );
    assert_eq!(Client::connect(port.number).ask(GET).text(), "text");
}

#[test]
fn root_gives_its_rights_up_and_others_are_told_that_a_user_means_nothing() {
    let port = reserve();
    let server = ByHand::new(&plain(port.number, "user nobody;\nworker_processes 2;"));
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(server.directory.path(), mode).expect("ours");
    let output = server
        .command()
        .output()
        .expect("the program must be there");
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let ignored = "the \"user\" directive makes sense only if";
    assert_eq!(said.contains(ignored), !geteuid().is_root(), "{said}");
    let pid = server.pid().expect("written");
    if geteuid().is_root() {
        for task in fs::read_dir(format!("/proc/{pid}/task")).expect("it runs") {
            let task = task.expect("it runs").path();
            // It may have ended since.
            let Ok(status) = fs::read_to_string(task.join("status")) else {
                continue;
            };
            let field = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name));
                line.expect("Linux shows it").trim().to_owned()
            };
            assert!(
                !field("Uid:").split_whitespace().any(|id| id == "0"),
                "{status}"
            );
            assert!(
                !field("Gid:").split_whitespace().any(|id| id == "0"),
                "{status}"
            );
            assert!(
                !field("Groups:").split_whitespace().any(|id| id == "0"),
                "{status}"
            );
            // The main thread may bind low ports for a reload, workers may nothing.
            let is_main = task.ends_with(pid.to_string());
            let allowed = if is_main { 1 << 10 } else { 0 };
            // A thread that has only just begun has those of the main thread until its first step.
            eventually("the thread gives its rights up", || {
                let status = fs::read_to_string(task.join("status")).unwrap_or_default();
                let line = status.lines().find_map(|line| line.strip_prefix("CapPrm:"));
                let rights = line.map_or(0, |rights| {
                    u64::from_str_radix(rights.trim(), 16).expect("a number")
                });
                (rights & !allowed == 0).then_some(())
            });
        }
    }
    // Logs can be opened again with the rights that are left.
    fs::rename(server.path("access.log"), server.path("access.1")).expect("there");
    kill(pid, Signal::SIGUSR1).expect("it runs");
    eventually("the log is there again", || {
        server.path("access.log").exists().then_some(())
    });
    assert!(
        !server.read("error.log").contains("[emerg]"),
        "{}",
        server.read("error.log")
    );
}

#[test]
fn a_user_that_does_not_exist_keeps_the_program_from_starting() {
    assert!(
        geteuid().is_root(),
        "for others the name is not looked up at all: this test has to be run by root"
    );
    let port = reserve();
    let server = ByHand::new(&plain(port.number, "user no-such-user-here;\ndaemon off;"));
    let output = server
        .command()
        .output()
        .expect("the program must be there");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("getpwnam(\"no-such-user-here\") failed in "),
        "{said}"
    );
    assert!(said.contains("openclaw.conf:4"), "{said}");
    assert!(
        said.contains("hint: create the user with `useradd"),
        "{said}"
    );
}
