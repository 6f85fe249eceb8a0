//! The dashboard in a real terminal: the program inside of tmux, with keys sent and the screen read.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::control::Control;
use crate::support::backend::{Backend, Then};
use crate::support::certificate::Authority;
use crate::support::client::Client;
use crate::support::model;
use crate::support::ports::reserve;
use crate::support::server::{Server, Setup, eventually, under_test};

/// A terminal of its own, which ends with the test.
struct Terminal {
    directory: tempfile::TempDir,
}

impl Terminal {
    /// Runs a command of the shell in a terminal of this size.
    fn run(columns: u32, rows: u32, command: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let terminal = Self { directory };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let size = ["-x", &columns, "-y", &rows];
        let mut arguments = vec!["-f", "/dev/null", "new-session", "-d"];
        arguments.extend(size);
        arguments.push(command);
        let output = terminal.tmux(&arguments);
        assert!(
            output.status.success(),
            "tmux must be installed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> Output {
        Command::new("tmux")
            .arg("-S")
            .arg(self.directory.path().join("tmux"))
            .args(arguments)
            .env("LANG", "C.UTF-8")
            .env("LC_ALL", "C.UTF-8")
            .env_remove("TMUX")
            .output()
            .expect("tmux must be installed")
    }

    fn keys(&self, keys: &[&str]) {
        let mut arguments = vec!["send-keys"];
        arguments.extend(keys);
        assert!(self.tmux(&arguments).status.success());
    }

    fn text(&self, text: &str) {
        assert!(self.tmux(&["send-keys", "-l", text]).status.success());
    }

    fn screen(&self) -> String {
        String::from_utf8_lossy(&self.tmux(&["capture-pane", "-p"]).stdout).into_owned()
    }

    /// The screen with its escape sequences.
    fn raw_screen(&self) -> String {
        String::from_utf8_lossy(&self.tmux(&["capture-pane", "-p", "-e"]).stdout).into_owned()
    }

    /// Waits until the screen shows something.
    fn shows(&self, text: &str) -> String {
        eventually(
            &format!("the screen shows `{text}`, not\n{}", self.screen()),
            || Some(self.screen()).filter(|screen| screen.contains(text)),
        )
    }

    /// Waits until the screen shows something no more.
    fn hides(&self, text: &str) {
        eventually(&format!("the screen hides `{text}`"), || {
            (!self.screen().contains(text)).then_some(())
        });
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the terminal shows:\n{}", self.screen());
        }
        self.tmux(&["kill-server"]);
    }
}

const SITE: &str = "
    # The site; comments stay.
    server {
        listen %LISTEN1%;
        server_name a.test;   # its name

        location / { return 200 root; }
        location ~ \\.php$ { return 404; }
    }
";

fn socket(server: &Server) -> PathBuf {
    server.site().prefix.join("state/control.sock")
}

/// A dashboard of a server, and what the shell says when it ends.
fn dashboard(server: &Server, columns: u32, rows: u32, environment: &str) -> Terminal {
    let command = format!(
        "{environment} {} dashboard --socket {}; echo ended with $?; stty -a; sleep 1000",
        under_test().display(),
        socket(server).display()
    );
    Terminal::run(columns, rows, &command)
}

fn get(server: &Server, host: &str) -> String {
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let answer = server.connect(1).ask(&request);
    format!("{} {}", answer.status, answer.text())
}

#[test]
fn a_site_is_added_tried_taken_back_and_brought_again() {
    let server = Setup::http(SITE).start();
    let _ready = Control::of(&server);
    let before = fs::read_to_string(server.site().conf_file()).expect("there");
    let terminal = dashboard(&server, 120, 40, "");
    terminal.shows("● live");
    terminal.keys(&["2"]);
    terminal.shows("~ \\.php$");
    terminal.keys(&["a"]);
    terminal.shows("Domain");
    terminal.text("b.test");
    terminal.keys(&["Tab"]);
    terminal.text("redirect https://elsewhere.test");
    terminal.keys(&["Tab", "Tab", "C-u"]);
    terminal.text(&server.port(1).to_string());
    terminal.keys(&["C-s"]);
    terminal.shows("server_name b.test;");
    // The daemon has looked at it, and nothing was changed yet.
    terminal.shows("[ Apply ]");
    assert_eq!(get(&server, "b.test"), "200 root");
    terminal.keys(&["Enter"]);
    terminal.shows("rev 2");
    assert!(get(&server, "b.test").starts_with("301"));
    let after = fs::read_to_string(server.site().conf_file()).expect("there");
    assert!(after.contains("# The site; comments stay."));
    assert_eq!(after.replace(&added(&before, &after), ""), before);

    terminal.keys(&["u"]);
    terminal.shows("Apply");
    terminal.shows("listener stays");
    terminal.keys(&["a"]);
    terminal.shows("rev 3");
    assert_eq!(
        fs::read_to_string(server.site().conf_file()).expect("there"),
        before
    );
    assert_eq!(get(&server, "b.test"), "200 root");

    terminal.keys(&["C-r"]);
    terminal.shows("Apply");
    terminal.shows("listener stays");
    terminal.keys(&["a"]);
    terminal.shows("rev 4");
    assert_eq!(
        fs::read_to_string(server.site().conf_file()).expect("there"),
        after
    );
    terminal.keys(&["q"]);
    let ended = terminal.shows("ended with 0");
    assert!(!ended.contains("-echo "), "{ended}");
}

/// The one piece that stands in `after` and not in `before`.
fn added(before: &str, after: &str) -> String {
    let same = |one: &mut dyn Iterator<Item = char>, other: &mut dyn Iterator<Item = char>| {
        one.zip(other)
            .take_while(|(one, other)| one == other)
            .map(|(letter, _)| letter.len_utf8())
            .sum::<usize>()
    };
    let head = same(&mut before.chars(), &mut after.chars());
    let tail = same(
        &mut before[head..].chars().rev(),
        &mut after[head..].chars().rev(),
    );
    after[head..after.len() - tail].to_owned()
}

#[test]
fn a_peer_is_checked_at_the_press_of_a_key_and_its_state_is_shown() {
    let works = Arc::new(AtomicBool::new(true));
    let is_working = Arc::clone(&works);
    let backend = Backend::scripted(move |exchange| {
        let status = match is_working.load(Ordering::SeqCst) {
            true => "200 OK",
            false => "503 Down",
        };
        exchange.send(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"));
        Then::NextRequest
    });
    let server = Setup::http(&format!(
        "upstream app {{ server {}; server %DEAD1% down; }}
         server {{ listen %LISTEN1%; location / {{ proxy_pass http://app; health_check interval=1d; }} }}",
        backend.address()
    ))
    .start();
    let _ready = Control::of(&server);
    eventually("it was checked at the start", || {
        (!backend.seen().is_empty()).then_some(())
    });
    let terminal = dashboard(&server, 120, 40, "");
    terminal.shows("● live");
    terminal.keys(&["3"]);
    terminal.shows("c check");
    works.store(false, Ordering::SeqCst);
    terminal.text(&format!("/{}", backend.port()));
    terminal.keys(&["Enter", "c"]);
    terminal.shows("unhealthy");
    works.store(true, Ordering::SeqCst);
    terminal.keys(&["c"]);
    terminal.shows("passes its checks");
    terminal.shows("● up");
    assert_eq!(backend.seen().len(), 3);
}

#[test]
fn certificates_are_shown_with_what_is_wrong_and_why() {
    let authority = Authority::new();
    let pair = authority.issue(&["one.test"]);
    let server = Setup::http(
        "server { listen %LISTEN1% ssl; server_name one.test;
                  ssl_certificate %PREFIX%/one.pem; ssl_certificate_key %PREFIX%/one.key; }
         server { listen %LISTEN1% ssl; server_name gone.test;
                  ssl_certificate %PREFIX%/gone.pem; ssl_certificate_key %PREFIX%/gone.key; }",
    )
    .file("one.pem", pair.certificate)
    .file("one.key", pair.key)
    .tolerate("gone")
    .start();
    let _ready = Control::of(&server);
    let terminal = dashboard(&server, 120, 40, "");
    terminal.shows("● live");
    // What needs somebody is seen from every screen.
    terminal.shows("4 Certificates(1)");
    terminal.keys(&["4"]);
    terminal.shows("▼ placeholder");
    terminal.shows("● valid");
    terminal.keys(&["j", "Enter"]);
    terminal.shows("nothing is sent with it");
    terminal.keys(&["q", "k", "r"]);
    terminal.shows("openclaw cert import gone.test replaces it");
    terminal.keys(&["q"]);
    terminal.shows("ended with 0");
}

#[test]
fn the_spend_ticks_after_a_call_and_the_call_is_traced() {
    let provider = model::openai();
    let server = Setup::http(
        "llm_provider one { base_url http://%ONE%/v1; }
         server { listen %LISTEN1%; location /v1/ { llm_gateway anybody; } }",
    )
    .set("ONE", provider.address())
    .start();
    let _ready = Control::of(&server);
    let terminal = dashboard(&server, 120, 40, "");
    terminal.shows("● live");
    terminal.keys(&["8"]);
    terminal.shows("today $0 ");
    terminal.shows("0 under way");
    let call = |model: &str, more: &str| {
        let body = format!("{{\"model\":\"{model}\",\"messages\":[]{more}}}");
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let answer = server.connect(1).ask(&call("one/gpt-4o", ""));
    assert_eq!(answer.status, 200, "{}", answer.text());
    // 5 tokens, 4 of a cache and 12 out, by the prices that come with the program.
    terminal.shows("today $0.0001");
    terminal.shows("one/gpt-4o");
    terminal.keys(&["Tab", "Enter"]);
    // What is drawn last: a terminal can be looked at in the middle of a frame.
    let trace = terminal.shows("$0.0001375 by prices of");
    for line in ["one/gpt-4o  ok", "cache read  4", "output      12"] {
        assert!(trace.contains(line), "{trace}");
    }
    terminal.keys(&["Escape"]);
    // One that has only just begun is seen as well, for as long as it lasts.
    let mut waiting = server.connect(1);
    waiting.send(call("one/hang", ",\"stream\":true"));
    terminal.shows("1 under way");
    terminal.shows("◐ answers");
    drop(waiting);
    terminal.shows("client_abort");
    terminal.shows("0 under way");
    terminal.keys(&["q"]);
    terminal.shows("ended with 0");
}

#[test]
fn providers_of_models_stand_among_the_backends_and_what_is_wrong_with_one() {
    let provider = model::openai();
    let server = Setup::http(
        "llm_provider one { base_url http://%ONE%/v1; }
         llm_provider lost { base_url http://127.0.0.1:1/v1; retries 0; }
         server { listen %LISTEN1%; location /v1/ { llm_gateway anybody; } }",
    )
    .set("ONE", provider.address())
    .start();
    let _ready = Control::of(&server);
    let terminal = dashboard(&server, 120, 40, "");
    terminal.shows("● live");
    terminal.keys(&["3"]);
    terminal.shows("one ");
    let body = r#"{"model":"lost/gpt-4o","messages":[]}"#;
    for _ in 0..5 {
        let answer = server.connect(1).ask(&format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        assert_eq!(answer.status, 502, "{}", answer.text());
    }
    let screen = terminal.shows("▼ open");
    let line = screen.lines().find(|line| line.contains("lost"));
    assert!(line.is_some_and(|line| line.contains("open")), "{screen}");
    terminal.keys(&["1"]);
    terminal.shows("! lost/gpt-4o is not asked");
    terminal.keys(&["q"]);
    terminal.shows("ended with 0");
}

#[test]
fn a_broken_edit_shows_its_place_and_nothing_changes() {
    let server = Setup::http(SITE).start();
    let _ready = Control::of(&server);
    let before = fs::read_to_string(server.site().conf_file()).expect("there");
    // The editor of this person makes a mistake.
    let editor = server.site().prefix.join("editor");
    fs::write(
        &editor,
        "#!/bin/sh\nfor last; do :; done\nsed -i 's/return 200 root/retrun 200 root/' \"$last\"\n",
    )
    .expect("a fresh file");
    let terminal = dashboard(
        &server,
        100,
        30,
        &format!("chmod +x {0}; VISUAL= EDITOR={0}", editor.display()),
    );
    terminal.shows("● live");
    terminal.keys(&["2"]);
    terminal.shows("a.test");
    terminal.keys(&["E"]);
    let review = terminal.shows("unknown directive");
    assert!(review.contains('^'), "{review}");
    assert_eq!(
        fs::read_to_string(server.site().conf_file()).expect("there"),
        before
    );
    assert_eq!(get(&server, "a.test"), "200 root");
}

#[test]
fn it_says_when_the_daemon_is_gone_and_finds_it_again() {
    let mut server = Setup::http(SITE).start();
    let _ready = Control::of(&server);
    let terminal = dashboard(&server, 80, 24, "");
    terminal.shows("● live");
    terminal.keys(&["2"]);
    terminal.shows("a.test");
    server.kill();
    terminal.shows("not connected");
    // What was there stays readable.
    terminal.shows("a.test");
    server.start_again();
    terminal.shows("● live");
    terminal.hides("not connected");
}

#[test]
fn a_small_terminal_says_what_it_needs_and_a_larger_one_shows_it() {
    let server = Setup::http(SITE).start();
    let _ready = Control::of(&server);
    let terminal = dashboard(&server, 80, 24, "");
    terminal.shows("● live");
    for (columns, rows, expected) in [
        ("52", "14", "openclaw needs 60x16, has 52x14"),
        ("3", "1", ""),
        ("200", "60", "● live"),
        ("60", "16", "● live"),
    ] {
        terminal.tmux(&["resize-window", "-x", columns, "-y", rows]);
        terminal.shows(expected);
    }
    terminal.keys(&["q"]);
    terminal.shows("ended with 0");
}

#[test]
fn no_color_means_none_and_a_request_cannot_paint() {
    let server = Setup::http(SITE).start();
    let _ready = Control::of(&server);
    let terminal = dashboard(&server, 100, 30, "NO_COLOR=1");
    terminal.shows("● live");
    terminal.keys(&["5"]);
    terminal.shows("Logs");
    let request = "GET /evil%1b%5b2J?q=%9b HTTP/1.1\r\nHost: a.test\r\nUser-Agent: a\u{9b}31mb\u{202e}c\r\nConnection: close\r\n\r\n";
    eventually("the request is shown", || {
        server.connect(1).ask(request);
        terminal.screen().contains("/evil").then_some(())
    });
    terminal.keys(&["Enter"]);
    terminal.shows("/evil");
    let raw = terminal.raw_screen();
    // Colours are 30 to 49 and 90 to 107; reverse and bold are none.
    let mut rest = raw.as_str();
    while let Some(at) = rest.find("\x1b[") {
        rest = &rest[at + 2..];
        let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != ';');
        let end = end.unwrap_or(rest.len());
        for code in rest[..end]
            .split(';')
            .filter_map(|code| code.parse::<u32>().ok())
        {
            assert!(
                !(30..=49).contains(&code) && !(90..=107).contains(&code)
                    || code == 39
                    || code == 49,
                "colour {code} in {raw:?}"
            );
        }
    }
    assert!(!raw.contains('\u{202e}') && !raw.contains('\u{9b}'));
}

/// The program in a home of its own, as a user who is not root: root's configuration and memory are
/// the machine's, and a test has no business there.
fn at_home(arguments: &str) -> (tempfile::TempDir, Terminal) {
    let home = tempfile::tempdir().expect("a directory");
    let is_root = nix::unistd::geteuid().is_root();
    if is_root {
        let user = nix::unistd::User::from_name("nobody")
            .ok()
            .flatten()
            .expect("nobody");
        let (user, group) = (user.uid.as_raw(), user.gid.as_raw());
        std::os::unix::fs::chown(home.path(), Some(user), Some(group)).expect("root may");
    }
    fs::copy(under_test(), home.path().join("openclaw")).expect("room");
    let run = format!(
        "cd {0}; HOME={0} XDG_CONFIG_HOME= XDG_STATE_HOME= XDG_RUNTIME_DIR= ./openclaw {arguments}; \
         echo ended with $?",
        home.path().display()
    );
    let run = match is_root {
        true => format!("setpriv --reuid nobody --regid nogroup --clear-groups sh -c '{run}'"),
        false => format!("sh -c '{run}'"),
    };
    let terminal = Terminal::run(100, 30, &format!("{run}; sleep 1000"));
    (home, terminal)
}

#[test]
fn without_anything_it_serves_a_first_page_and_ends_with_the_dashboard() {
    let (home, terminal) = at_home("");
    let screen = terminal.shows("listens");
    let port = screen
        .split("0.0.0.0:")
        .nth(1)
        .and_then(|rest| rest.split(|letter: char| !letter.is_ascii_digit()).next())
        .and_then(|port| port.parse().ok())
        .expect("a port");
    let page = Client::connect(port).ask("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!(page.status, 200);
    assert!(page.text().contains("OpenClaw works"));
    assert!(home.path().join(".config/openclaw/openclaw.conf").is_file());
    terminal.keys(&["q"]);
    terminal.shows("Quit");
    terminal.keys(&["y"]);
    terminal.shows("ended with 0");
    Client::try_connect(port).err().expect("it has ended");
}

#[test]
fn a_domain_and_an_upstream_are_served_without_any_file() {
    let backend = Backend::start();
    let port = reserve();
    let (_home, terminal) = at_home(&format!(
        "--domain a.test,b.test --upstream {} --port {}",
        backend.address(),
        port.number
    ));
    terminal.shows("● live");
    let status = |host: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        Client::connect(port.number).ask(&request).status
    };
    assert_eq!(
        (status("a.test"), status("b.test"), status("c.test")),
        (200, 200, 404)
    );
    // There is no file that an edit could be written to.
    terminal.keys(&["2", "a"]);
    terminal.shows("without a file");
}
