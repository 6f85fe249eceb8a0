//! nginx and openclaw side by side: the same file, the same load, in one run.
//!
//! `cargo bench --bench side_by_side` prints a Markdown table of what a request costs: processor time,
//! system calls, user instructions, and memory with and without 10,000 idle connections. Needs nginx,
//! wrk, strace, valgrind and taskset. Everything stays on the loopback and is bounded: about three
//! minutes, or less than one with `-- --quick`. Other options:
//! - `-- --only cpu,syscalls,instructions,memory`: some of the measures;
//! - `OPENCLAW_UNDER_TEST=/path`: another program in our place.
//!
//! Processor time is compared between rounds that alternate, and its median counts: on a shared
//! machine a round may be off, the ratio of medians hardly is. Instructions and system calls are
//! counts and hardly differ between runs.

#[path = "../it/support/ports.rs"]
mod ports;
#[path = "../it/support/process_tree.rs"]
mod process_tree;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use ports::{Port, reserve};
use process_tree::process_tree;

const WORKLOADS: [(&str, &str); 3] = [
    ("1 KiB proxied", "/1k"),
    ("64 KiB proxied", "/64k"),
    ("1 KiB file", "/file"),
];
const IDLE_CONNECTIONS: usize = 10_000;
const PATIENCE: Duration = Duration::from_secs(60);
/// What Linux counts processor time in, and has counted in on every architecture we run on.
const TICKS_PER_SECOND: f64 = 100.0;

fn main() {
    let options = Options::read();
    let oracle = std::env::var_os("OPENCLAW_ORACLE")
        .map_or_else(|| PathBuf::from("/usr/sbin/nginx"), PathBuf::from);
    let ours = std::env::var_os("OPENCLAW_UNDER_TEST").map_or_else(
        || PathBuf::from(env!("CARGO_BIN_EXE_openclaw")),
        PathBuf::from,
    );
    let backend = Running::backend(&oracle);
    let peers = [oracle, ours];
    println!("| measure | workload | nginx | openclaw | ratio |");
    println!("| --- | --- | --- | --- | --- |");
    if options.wants("cpu") {
        processor_time(&peers, backend.port.number, &options);
    }
    if options.wants("syscalls") {
        for (workload, path) in WORKLOADS {
            let counts = peers
                .each_ref()
                .map(|peer| system_calls(peer, backend.port.number, path, options.requests));
            row("system calls per request", workload, counts, 2);
        }
    }
    if options.wants("instructions") {
        for (workload, path) in WORKLOADS {
            let counts = peers
                .each_ref()
                .map(|peer| instructions(peer, backend.port.number, path, options.requests));
            row("user instructions per request", workload, counts, 0);
        }
    }
    if options.wants("memory") {
        let sizes = peers
            .each_ref()
            .map(|peer| memory(peer, backend.port.number));
        let idle = sizes.map(|(idle, _)| idle);
        let full = sizes.map(|(_, full)| full);
        row("resident MiB", "idle", idle, 1);
        row("resident MiB", "10,000 idle connections", full, 1);
    }
}

struct Options {
    rounds: usize,
    seconds: u64,
    requests: usize,
    only: Option<String>,
}

impl Options {
    fn read() -> Self {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let quick = arguments.iter().any(|argument| argument == "--quick");
        let only = arguments
            .iter()
            .position(|argument| argument == "--only")
            .and_then(|place| arguments.get(place + 1).cloned());
        Self {
            rounds: if quick { 1 } else { 5 },
            seconds: if quick { 1 } else { 3 },
            requests: if quick { 300 } else { 2000 },
            only,
        }
    }

    fn wants(&self, measure: &str) -> bool {
        self.only
            .as_ref()
            .is_none_or(|only| only.split(',').any(|wanted| wanted == measure))
    }
}

fn row(measure: &str, workload: &str, [nginx, openclaw]: [f64; 2], digits: usize) {
    println!(
        "| {measure} | {workload} | {nginx:.digits$} | {openclaw:.digits$} | {:.2} |",
        openclaw / nginx
    );
}

/// Processor time and rate under wrk, in rounds that alternate between the peers.
fn processor_time(peers: &[PathBuf; 2], backend: u16, options: &Options) {
    let servers = peers
        .each_ref()
        .map(|peer| Running::proxy(peer, backend, &[]));
    for (workload, path) in WORKLOADS {
        let mut costs = [Vec::new(), Vec::new()];
        let mut rates = [Vec::new(), Vec::new()];
        for server in &servers {
            wrk(server.port.number, path, 1);
        }
        for round in 0..options.rounds {
            let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
            for peer in order {
                let before = process_tree(servers[peer].process.id()).cpu_ticks;
                let (requests, rate) = wrk(servers[peer].port.number, path, options.seconds);
                let ticks = process_tree(servers[peer].process.id()).cpu_ticks - before;
                let micros = ticks as f64 / TICKS_PER_SECOND * 1e6;
                costs[peer].push(micros / requests as f64);
                rates[peer].push(rate);
            }
        }
        row("CPU µs per request", workload, costs.map(median), 2);
        row("requests per second", workload, rates.map(median), 0);
    }
    for server in &servers {
        let tree = process_tree(server.process.id());
        eprintln!(
            "after the load: {} has {} KiB in {} processes",
            server.program.display(),
            tree.resident_kib,
            tree.processes.len()
        );
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Runs wrk; gives its count of requests and its rate.
fn wrk(port: u16, path: &str, seconds: u64) -> (u64, f64) {
    let output = pinned(OsStr::new("wrk"), "1")
        .args(["-t1", "-c32", &format!("-d{seconds}s")])
        .arg(format!("http://127.0.0.1:{port}{path}"))
        .output()
        .expect("wrk must be installed");
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && !report.contains("Non-2xx") && !report.contains("Socket errors"),
        "wrk is not content:\n{report}"
    );
    let number = |mark: &str, place: usize| -> Option<f64> {
        let line = report.lines().find(|line| line.contains(mark))?;
        line.split_ascii_whitespace().nth(place)?.parse().ok()
    };
    let requests = number(" requests in ", 0).expect("wrk tells its count");
    let rate = number("Requests/sec:", 1).expect("wrk tells its rate");
    (requests as u64, rate)
}

/// System calls of the whole process tree for one request after the other on a kept connection.
fn system_calls(program: &Path, backend: u16, path: &str, requests: usize) -> f64 {
    let server = Running::proxy(program, backend, &[]);
    let mut client = Client::connect(server.port.number);
    client.get(path, 50);
    let summary = server.directory.path().join("strace");
    let tree = process_tree(server.process.id());
    let mut strace = Command::new("strace");
    strace.args(["-f", "-c", "-o"]).arg(&summary);
    for process in &tree.processes {
        strace.arg("-p").arg(process.to_string());
    }
    let mut strace = strace
        .stderr(Stdio::piped())
        .spawn()
        .expect("strace must be installed");
    // It says when it is attached; what comes before is not counted.
    let said = strace.stderr.take().expect("its standard error is piped");
    let mut lines = BufReader::new(said).lines();
    for _ in &tree.processes {
        let line = lines.next().expect("strace says when it is attached");
        let line = line.expect("strace writes text");
        assert!(line.contains("attached"), "{line}");
    }
    client.get(path, requests);
    kill(Pid::from_raw(strace.id().cast_signed()), Signal::SIGINT).expect("strace still runs");
    let rest = thread::spawn(move || lines.count());
    strace.wait().expect("strace is our child");
    rest.join().expect("reading cannot panic");
    let summary = fs::read_to_string(summary).expect("strace writes its summary");
    let total = summary
        .lines()
        .find(|line| line.trim_end().ends_with(" total"))
        .and_then(|line| line.split_ascii_whitespace().nth(3))
        .and_then(|calls| calls.parse::<f64>().ok())
        .expect("the summary has a total");
    total / requests as f64
}

/// User instructions for a request: two runs under callgrind that differ only in their requests.
fn instructions(program: &Path, backend: u16, path: &str, requests: usize) -> f64 {
    let collected = |requests: usize| -> f64 {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let out = format!(
            "--callgrind-out-file={}/callgrind.%p",
            directory.path().display()
        );
        let mut server = Running::proxy(
            program,
            backend,
            &["valgrind", "--tool=callgrind", "--trace-children=yes", &out],
        );
        Client::connect(server.port.number).get(path, requests);
        server.quit();
        let said = fs::read_to_string(server.directory.path().join("stderr"))
            .expect("valgrind writes there");
        let counts: Vec<f64> = said
            .lines()
            .filter_map(|line| line.split_once("Collected : "))
            .filter_map(|(_, count)| count.trim().parse().ok())
            .collect();
        assert!(!counts.is_empty(), "valgrind counted nothing:\n{said}");
        counts.iter().sum()
    };
    let few = 200;
    (collected(few + requests) - collected(few)) / requests as f64
}

/// Resident MiB of the whole process tree: after the start, and with many idle connections.
fn memory(program: &Path, backend: u16) -> (f64, f64) {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("every process has limits");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("up to the hard limit");
    assert!(
        most > IDLE_CONNECTIONS as u64 + 100,
        "a process may open {most} files here: raise `ulimit -Hn`"
    );
    let server = Running::proxy(program, backend, &[]);
    let mib = |server: &Running| process_tree(server.process.id()).resident_kib as f64 / 1024.0;
    Client::connect(server.port.number).get("/file", 1);
    let idle = mib(&server);
    let mut clients = Vec::with_capacity(IDLE_CONNECTIONS);
    for _ in 0..IDLE_CONNECTIONS {
        let mut client = Client::connect(server.port.number);
        client.get("/file", 1);
        clients.push(client);
    }
    // Idle connections may be put away only after a moment.
    thread::sleep(Duration::from_secs(3));
    (idle, mib(&server))
}

/// One request after the other on a kept connection.
struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    fn connect(port: u16) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the server listens");
        stream.set_nodelay(true).expect("a TCP socket");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a TCP socket");
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    fn get(&mut self, path: &str, count: usize) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let mut part = [0; 64 * 1024];
        for _ in 0..count {
            self.stream
                .write_all(request.as_bytes())
                .expect("the connection is kept");
            self.buffer.clear();
            let mut whole = None;
            while whole.is_none_or(|whole| self.buffer.len() < whole) {
                let read = self.stream.read(&mut part).expect("an answer comes");
                assert!(read > 0, "the server closed a kept connection");
                self.buffer.extend_from_slice(&part[..read]);
                whole = whole.or_else(|| answer_length(&self.buffer));
            }
        }
    }
}

/// The length of an answer once its head is there.
fn answer_length(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .and_then(|length| length.trim().parse::<usize>().ok())
        .expect("every answer here has a length");
    Some(end + length)
}

/// A server in a directory of its own, stopped when dropped.
struct Running {
    process: Child,
    program: PathBuf,
    port: Port,
    directory: tempfile::TempDir,
}

impl Running {
    /// The backend of all runs: nginx with two files, on the other core.
    fn backend(program: &Path) -> Self {
        let conf = "
            events { worker_connections 4096; }
            http {
                access_log off;
                sendfile on;
                keepalive_requests 100000000;
                keepalive_time 1d;
                open_file_cache max=10;
                server { listen 127.0.0.1:%PORT%; root www; }
            }";
        Self::start(program, conf, "1", &[])
    }

    /// A peer in front of the backend, on the first core; `wrapper` is a command to run it under.
    fn proxy(program: &Path, backend: u16, wrapper: &[&str]) -> Self {
        let conf = "
            worker_rlimit_nofile 16384;
            events { worker_connections 12000; }
            http {
                access_log logs/access.log combined;
                sendfile on;
                keepalive_requests 100000000;
                keepalive_time 1d;
                keepalive_timeout 600s;
                upstream backend { server 127.0.0.1:%BACKEND%; keepalive 64; keepalive_requests 100000000; }
                server {
                    listen 127.0.0.1:%PORT%;
                    location / {
                        proxy_http_version 1.1;
                        proxy_set_header Connection \"\";
                        proxy_pass http://backend;
                    }
                    location /file { root www; }
                }
            }";
        let conf = conf.replace("%BACKEND%", &backend.to_string());
        Self::start(program, &conf, "0", wrapper)
    }

    fn start(program: &Path, conf: &str, core: &str, wrapper: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let prefix = directory.path();
        for part in ["logs", "www"] {
            fs::create_dir(prefix.join(part)).expect("a fresh directory");
        }
        for (name, size) in [("1k", 1024), ("64k", 65_536), ("file", 1024)] {
            fs::write(prefix.join("www").join(name), vec![b'x'; size]).expect("a fresh file");
        }
        let port = reserve();
        let conf = conf.replace("%PORT%", &port.number.to_string());
        fs::write(prefix.join("conf"), conf).expect("a fresh file");
        let mut globals = "daemon off; worker_processes 1; pid pid;".to_owned();
        if geteuid().is_root() {
            globals += " user root;";
        }
        let output = |name: &str| File::create(prefix.join(name)).expect("a fresh file");
        let mut command = match wrapper {
            [] => pinned(program.as_os_str(), core),
            [wrapper, arguments @ ..] => {
                let mut command = pinned(OsStr::new(wrapper), core);
                command.args(arguments).arg(program);
                command
            }
        };
        let process = command
            .arg("-p")
            .arg(format!("{}/", prefix.display()))
            .arg("-c")
            .arg(prefix.join("conf"))
            .args(["-e", "error.log", "-g", &globals])
            .stdin(Stdio::null())
            .stdout(output("stdout"))
            .stderr(output("stderr"))
            .spawn()
            .expect("the program and taskset must be there");
        let mut running = Self {
            process,
            program: program.to_owned(),
            port,
            directory,
        };
        let start = Instant::now();
        while !fs::read_to_string(running.directory.path().join("pid"))
            .is_ok_and(|pid| pid.ends_with('\n'))
        {
            let ended = running.process.try_wait().expect("our child");
            assert!(
                ended.is_none() && start.elapsed() < PATIENCE,
                "{} does not start:\n{}",
                program.display(),
                running.said()
            );
            thread::sleep(Duration::from_millis(5));
        }
        running
    }

    fn said(&self) -> String {
        ["stderr", "error.log"]
            .iter()
            .filter_map(|name| fs::read_to_string(self.directory.path().join(name)).ok())
            .collect()
    }

    /// Stops the server in order and waits for its end.
    fn quit(&mut self) {
        kill(
            Pid::from_raw(self.process.id().cast_signed()),
            Signal::SIGQUIT,
        )
        .expect("the server runs");
        let start = Instant::now();
        while self.process.try_wait().expect("our child").is_none() {
            assert!(start.elapsed() < PATIENCE, "the server does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.process.try_wait().is_ok_and(|ended| ended.is_none()) {
            for process in process_tree(self.process.id()).processes {
                let _gone_already = kill(Pid::from_raw(process.cast_signed()), Signal::SIGKILL);
            }
            let _reaped = self.process.wait();
        }
    }
}

/// A command on one core, so that the peer under load has one for itself.
fn pinned(program: &OsStr, core: &str) -> Command {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut command = Command::new("taskset");
    command.args(["-c", if cores > 1 { core } else { "0" }]);
    command.arg(program);
    command
}
