//! The server under test: a configuration in a directory of its own, a process, its logs.
//!
//! By default the program is `openclaw`. `OPENCLAW_UNDER_TEST=/usr/sbin/nginx` runs the same tests
//! against nginx, which shows whether a test itself is right.
//!
//! Placeholders in configurations: `%LISTEN1%`, `%LISTEN2%`, … are free ports, `%PREFIX%` is the
//! directory, `%COMMON%` are the lines every `http` block wants here, `%DEAD1%`, … are addresses
//! where nothing listens; a test adds others with [`Setup::set`].
//!
//! When a [`Server`] is dropped its process is stopped, and a panic or an alert in its log fails the
//! test, even one that passed otherwise.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use tempfile::TempDir;

use super::backend::Backend;
use super::client::Client;
use super::fixture::lay_out;
use super::ports::{Port, reserve};
use super::process_tree::{ProcessTree, process_tree};

/// How long a test waits for a state before it calls the server stuck.
const PATIENCE: Duration = Duration::from_secs(20);

/// Lines that every `http` block of a test wants: everything that a server writes stays in its own
/// directory, and defaults that differ between versions of nginx are said.
const COMMON: &str = "
    server_tokens off;
    client_body_temp_path %PREFIX%/temp/body;
    proxy_temp_path %PREFIX%/temp/proxy;
    proxy_http_version 1.1;
    types { text/html html; image/gif gif; image/jpeg jpg; }
    access_log logs/access.log;
";

/// Paths of modules that only nginx has; its compiled-in ones need root.
const COMMON_FOR_NGINX: &str = "
    fastcgi_temp_path %PREFIX%/temp/fastcgi;
    uwsgi_temp_path %PREFIX%/temp/uwsgi;
    scgi_temp_path %PREFIX%/temp/scgi;
";

/// The program under test.
pub fn under_test() -> PathBuf {
    std::env::var_os("OPENCLAW_UNDER_TEST").map_or_else(
        || PathBuf::from(env!("CARGO_BIN_EXE_openclaw")),
        PathBuf::from,
    )
}

/// nginx itself, for tests that need it as the oracle or as a backend; it must be installed.
pub fn oracle() -> PathBuf {
    std::env::var_os("OPENCLAW_ORACLE").map_or_else(|| "/usr/sbin/nginx".into(), PathBuf::from)
}

/// Whether a program is nginx: some of what we promise goes beyond it.
pub fn is_nginx(program: &Path) -> bool {
    program.file_name() == Some(OsStr::new("nginx"))
}

/// Waits until a state is reached. Files, logs and processes give no event to wait for: they are
/// looked at again and again, and only a server that never gets there costs the whole patience.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A configuration and its files, before the start.
pub struct Setup {
    conf: String,
    program: PathBuf,
    values: BTreeMap<String, String>,
    files: Vec<(String, Vec<u8>)>,
    tree: String,
    globals: String,
    tolerated: Vec<String>,
}

impl Setup {
    /// A whole configuration.
    pub fn new(conf: impl Into<String>) -> Self {
        Self {
            conf: conf.into(),
            program: under_test(),
            values: BTreeMap::new(),
            files: Vec::new(),
            tree: String::new(),
            globals: "daemon off; pid server.pid;".to_owned(),
            tolerated: Vec::new(),
        }
    }

    /// What stands in the `http` block.
    pub fn http(conf: &str) -> Self {
        Self::new(format!("events {{}}\nhttp {{\n%COMMON%\n{conf}\n}}\n"))
    }

    /// A server that passes everything on to a backend.
    pub fn proxy(backend: &Backend) -> Self {
        Self::http("server { listen %LISTEN1%; location / { proxy_pass http://%BACKEND%; } }")
            .set("BACKEND", backend.address())
    }

    /// Runs another program than the one under test.
    pub fn program(mut self, program: &Path) -> Self {
        self.program = program.to_owned();
        self
    }

    /// Gives a placeholder its value.
    pub fn set(mut self, name: &str, value: impl ToString) -> Self {
        self.values.insert(format!("%{name}%"), value.to_string());
        self
    }

    /// Writes a file below the prefix.
    pub fn file(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.to_owned(), content.into()));
        self
    }

    /// Lays out a fixture tree below the prefix.
    pub fn tree(mut self, tree: &str) -> Self {
        tree.clone_into(&mut self.tree);
        self
    }

    /// Replaces the directives given on the command line.
    pub fn globals(mut self, globals: &str) -> Self {
        globals.clone_into(&mut self.globals);
        self
    }

    /// Says that a line of the error log that contains this is part of the test.
    pub fn tolerate(mut self, text: &str) -> Self {
        self.tolerated.push(text.to_owned());
        self
    }

    /// Starts the server and waits until its sockets are bound.
    pub fn start(self) -> Server {
        self.try_start().unwrap_or_else(|refusal| {
            panic!(
                "the server must start, it ended with {}\n{}",
                refusal.status, refusal.said
            )
        })
    }

    /// Starts the server, or says why it refused.
    pub fn try_start(self) -> Result<Server, Refusal> {
        let site = self.lay_out();
        let child = site.command().spawn().expect("the program must be there");
        let mut server = Server {
            child,
            site,
            ended: None,
            tolerated: self.tolerated,
        };
        // The pid file is written once all sockets are bound: whoever can read it can connect.
        let started = eventually("the server has started or given up", || {
            if let Some(status) = server.poll_end() {
                return Some(Err(status));
            }
            server.pid_in_file().map(Ok)
        });
        match started {
            Ok(_) => Ok(server),
            Err(status) => {
                // What it said is the refusal's to tell, and no fault yet.
                server.tolerated.push(String::new());
                Err(Refusal {
                    status,
                    said: server.said(),
                })
            }
        }
    }

    /// Runs the program to its end with more arguments, such as `-t`.
    pub fn run(self, arguments: &[&str]) -> Outcome {
        let site = self.lay_out();
        let output = site
            .command()
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()
            .expect("the program must be there");
        Outcome {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            site,
        }
    }

    fn lay_out(&self) -> Site {
        let directory = tempfile::Builder::new()
            .prefix("openclaw-test-")
            .tempdir()
            .expect("a temporary directory");
        // One more level, of the same length for both peers of a comparison.
        let prefix = directory.path().join("site");
        for part in ["logs", "temp", "conf"] {
            fs::create_dir_all(prefix.join(part)).expect("a fresh directory");
        }
        let mut site = Site {
            prefix,
            program: self.program.clone(),
            globals: self.globals.clone(),
            values: self.values.clone(),
            listen: BTreeMap::new(),
            dead: BTreeMap::new(),
            _directory: directory,
        };
        if geteuid().is_root() && !site.globals.contains("user ") {
            site.globals += " user root;";
        }
        for (path, content) in &self.files {
            let path = site.prefix.join(path);
            let parent = path.parent().expect("below the prefix");
            fs::create_dir_all(parent).expect("a fresh directory");
            fs::write(&path, content).expect("a fresh file");
            // Others being able to read a key is worth a warning.
            if path.extension() == Some(OsStr::new("key")) {
                let private = fs::Permissions::from_mode(0o600);
                fs::set_permissions(&path, private).expect("a file of ours");
            }
        }
        lay_out(&self.tree, &site.prefix);
        let conf = site.fill(&self.conf);
        fs::write(site.conf_file(), conf).expect("a fresh file");
        site
    }
}

/// A server that did not start.
#[derive(Debug)]
pub struct Refusal {
    pub status: ExitStatus,
    /// Its error log and what it wrote on its standard error.
    pub said: String,
}

/// A program that ran to its end.
pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    pub site: Site,
}

/// The directory of a server.
pub struct Site {
    pub prefix: PathBuf,
    pub program: PathBuf,
    globals: String,
    values: BTreeMap<String, String>,
    listen: BTreeMap<usize, Port>,
    dead: BTreeMap<usize, Port>,
    _directory: TempDir,
}

impl Site {
    /// Replaces placeholders; new ones for ports get new ports.
    pub fn fill(&mut self, conf: &str) -> String {
        let nginx_only = if is_nginx(&self.program) {
            COMMON_FOR_NGINX
        } else {
            ""
        };
        let mut conf = conf.replace("%COMMON%", &format!("{COMMON}{nginx_only}"));
        for (name, value) in &self.values {
            conf = conf.replace(name, value);
        }
        for number in 1..=9 {
            let listen = format!("%LISTEN{number}%");
            if conf.contains(&listen) {
                let port = self.listen.entry(number).or_insert_with(reserve);
                conf = conf.replace(&listen, &port.number.to_string());
            }
            let dead = format!("%DEAD{number}%");
            if conf.contains(&dead) {
                let port = self.dead.entry(number).or_insert_with(reserve);
                conf = conf.replace(&dead, &format!("127.0.0.1:{}", port.number));
            }
        }
        conf.replace("%PREFIX%", &self.prefix.display().to_string())
    }

    /// Where the configuration file is.
    pub fn conf_file(&self) -> PathBuf {
        self.prefix.join("conf/openclaw.conf")
    }

    /// The ports that stand for `%LISTENn%`, with their numbers.
    pub fn listens(&self) -> Vec<(usize, u16)> {
        self.listen
            .iter()
            .map(|(&place, port)| (place, port.number))
            .collect()
    }

    /// The ports that stand for `%DEADn%`, with their numbers.
    pub fn dead(&self) -> Vec<(usize, u16)> {
        self.dead
            .iter()
            .map(|(&place, port)| (place, port.number))
            .collect()
    }

    /// The command that runs the program on this configuration.
    pub fn command(&self) -> Command {
        let output = |name: &str| {
            File::options()
                .create(true)
                .append(true)
                .open(self.prefix.join(name))
                .expect("a file in a fresh directory")
        };
        let mut command = Command::new(&self.program);
        command
            .arg("-p")
            .arg(format!("{}/", self.prefix.display()))
            .arg("-c")
            .arg(self.conf_file())
            .args(["-e", "error.log", "-g", &self.globals])
            .env("TZ", "UTC")
            .stdin(Stdio::null())
            .stdout(output("stdout"))
            .stderr(output("stderr"));
        command
    }
}

/// A running server.
pub struct Server {
    child: Child,
    site: Site,
    ended: Option<ExitStatus>,
    tolerated: Vec<String>,
}

impl Server {
    /// The port that stands for `%LISTENn%`.
    pub fn port(&self, number: usize) -> u16 {
        self.site
            .listen
            .get(&number)
            .unwrap_or_else(|| panic!("the configuration has no `%LISTEN{number}%`"))
            .number
    }

    /// Opens a connection to `%LISTENn%`.
    pub fn connect(&self, number: usize) -> Client {
        Client::connect(self.port(number))
    }

    pub fn site(&self) -> &Site {
        &self.site
    }

    /// The file of the pid, as given on the command line.
    pub fn pid_file(&self) -> PathBuf {
        self.site.prefix.join("server.pid")
    }

    /// The id of the process that takes signals.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes a new configuration, which takes effect with the next reload.
    pub fn rewrite(&mut self, conf: &str) {
        let conf = self.site.fill(conf);
        // As an editor saves: never a half-written file for a reload that comes too early.
        let fresh = self.site.prefix.join("conf/fresh");
        fs::write(&fresh, conf).expect("a file in our own directory");
        fs::rename(fresh, self.site.conf_file()).expect("a file in our own directory");
    }

    pub fn signal(&self, signal: Signal) {
        let process = Pid::from_raw(self.child.id().cast_signed());
        kill(process, signal).expect("the process is ours and not yet waited for");
    }

    /// Waits for the end of the process and says how it ended.
    pub fn wait(&mut self) -> ExitStatus {
        eventually("the server has ended", || self.poll_end())
    }

    /// Whether the process still runs.
    pub fn runs(&mut self) -> bool {
        self.poll_end().is_none()
    }

    /// Starts the program once more in the same directory, after it has ended, and waits until its
    /// sockets are bound.
    pub fn start_again(&mut self) {
        assert!(self.poll_end().is_some(), "it runs");
        // What a killed process leaves must not pass for the new one's.
        let _none_left = fs::remove_file(self.pid_file());
        self.child = self
            .site
            .command()
            .spawn()
            .expect("the program must be there");
        self.ended = None;
        eventually("the server has started again", || self.pid_in_file());
    }

    /// Kills the process and its descendants as they are.
    pub fn kill(&mut self) {
        for process in self.usage().processes {
            let _gone_already = kill(Pid::from_raw(process.cast_signed()), Signal::SIGKILL);
        }
        self.wait();
    }

    /// Asks the server to finish what it does and waits for its end.
    pub fn quit(&mut self) -> ExitStatus {
        self.signal(Signal::SIGQUIT);
        self.wait()
    }

    /// A file below the prefix; empty if there is none.
    pub fn read(&self, path: &str) -> String {
        fs::read(self.site.prefix.join(path))
            .map(|bytes| super::wire::latin1(&bytes))
            .unwrap_or_default()
    }

    /// The error log and the standard error.
    pub fn said(&self) -> String {
        self.read("error.log") + &self.read("stderr")
    }

    /// The program's own words, said to this daemon.
    pub fn openclaw(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_openclaw"));
        command.args(words).arg("--socket");
        command.arg(self.site().prefix.join("state/control.sock"));
        command
    }

    /// What the process and its descendants use.
    pub fn usage(&self) -> ProcessTree {
        process_tree(self.child.id())
    }

    fn poll_end(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("the child is ours");
        }
        self.ended
    }

    fn pid_in_file(&self) -> Option<u32> {
        let text = fs::read_to_string(self.pid_file()).ok()?;
        text.strip_suffix('\n')?.parse().ok()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.poll_end().is_none() {
            self.signal(Signal::SIGTERM);
            let start = Instant::now();
            while self.poll_end().is_none() && start.elapsed() < Duration::from_secs(5) {
                thread::sleep(Duration::from_millis(2));
            }
            // Workers of a killed master stay behind: the whole tree goes.
            if self.ended.is_none() {
                self.kill();
            }
        }
        if thread::panicking() {
            eprintln!("the server said:\n{}", self.said());
            return;
        }
        let said = self.said();
        let fault = said
            .lines()
            .filter(|line| {
                line.contains("panicked at") || line.contains("[alert]") || line.contains("[emerg]")
            })
            .find(|line| {
                !self
                    .tolerated
                    .iter()
                    .any(|text| line.contains(text.as_str()))
            });
        assert!(fault.is_none(), "the server said:\n{said}");
    }
}
