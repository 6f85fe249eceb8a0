//! nginx and openclaw side by side: the same file, the same load, in one run.
//!
//! `cargo bench --bench side_by_side` prints a Markdown table of what a request costs, with and without
//! TLS: processor time, system calls, user instructions; what a handshake costs, full and resumed; and
//! memory with many idle connections. HTTP/2 is measured with many streams at a time, as browsers and
//! gRPC use it. Needs nginx, wrk, h2load, strace, valgrind and taskset.
//! Everything stays on the loopback and is bounded: about ten minutes, or about two with `-- --quick`.
//! Other options:
//! - `-- --only cpu,http2,gzip,handshakes,syscalls,instructions,memory`: some of the measures;
//! - `-- --tls` and `-- --plain`: only the workloads with TLS, or those without;
//! - `OPENCLAW_UNDER_TEST=/path`: another program in our place.
//!
//! Both peers have the same certificate (ECDSA P-256) and the same line of protocols; clients are those
//! of OpenSSL (wrk, h2load) or rustls (one request after the other, handshakes).
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
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use ports::{Port, reserve};
use process_tree::process_tree;
use rcgen::{CertificateParams, KeyPair};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};
use socket2::SockRef;

/// What is asked for again and again.
#[derive(Clone, Copy)]
struct Workload {
    name: &'static str,
    path: &'static str,
    is_secure: bool,
}

const WORKLOADS: [Workload; 8] = [
    Workload::plain("1 KiB proxied", "/1k"),
    Workload::plain("64 KiB proxied", "/64k"),
    Workload::plain("1 KiB from the cache", "/cached/1k"),
    Workload::plain("64 KiB from the cache", "/cached/64k"),
    Workload::plain("1 KiB file", "/file"),
    Workload::secure("1 KiB proxied, TLS", "/1k"),
    Workload::secure("64 KiB proxied, TLS", "/64k"),
    Workload::secure("1 KiB file, TLS", "/file"),
];
/// The same over HTTP/2, which here is always with TLS.
const STREAMS: [Workload; 3] = [
    Workload::secure("1 KiB proxied, HTTP/2", "/1k"),
    Workload::secure("64 KiB proxied, HTTP/2", "/64k"),
    Workload::secure("1 KiB file, HTTP/2", "/file"),
];
/// Pages that are compressed on their way. What comes out has to be no larger: how much that is, is
/// told too.
const PACKED: [Workload; 4] = [
    Workload::plain("40 KiB HTML file, gzip 1", "/gzip1/page.html"),
    Workload::plain("40 KiB HTML file, gzip 6", "/gzip6/page.html"),
    Workload::plain("40 KiB JSON proxied, gzip 1", "/proxied1/data.json"),
    Workload::plain("40 KiB JSON proxied, gzip 6", "/proxied6/data.json"),
];
/// What a connection that is made for one request asks for: as little as there is.
const NOTHING: &str = "/nothing";
const NAME: &str = "bench.test";
const IDLE_CONNECTIONS: usize = 10_000;
/// Fewer with TLS: the client has to hold their keys as well.
const IDLE_SECURE_CONNECTIONS: usize = 2_000;
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
    let backend_port = backend.port.number;
    let workloads = || WORKLOADS.into_iter().filter(|it| options.includes(*it));
    let has_tls = workloads().any(|workload| workload.is_secure);
    if options.wants("cpu") {
        processor_time(&peers, backend_port, &options, workloads(), wrk);
    }
    if options.wants("http2") && has_tls {
        processor_time(&peers, backend_port, &options, STREAMS.into_iter(), h2load);
    }
    if options.wants("gzip") {
        packed_sizes(&peers, backend_port);
        processor_time(&peers, backend_port, &options, PACKED.into_iter(), wrk);
    }
    if options.wants("handshakes") && has_tls {
        handshakes(&peers, backend_port, &options);
    }
    if options.wants("syscalls") {
        for (workload, run) in counted(workloads().collect()) {
            let counts = peers.each_ref().map(|peer| {
                system_calls(peer, backend_port, options.requests, |server, requests| {
                    run(server, workload, requests);
                })
            });
            row("system calls per request", workload.name, counts, 2);
        }
    }
    if options.wants("instructions") {
        for (workload, run) in counted(workloads().collect()) {
            let counts = peers.each_ref().map(|peer| {
                instructions(peer, backend_port, options.requests, |server, requests| {
                    run(server, workload, requests);
                })
            });
            row("user instructions per request", workload.name, counts, 0);
        }
        for (name, is_resumed) in HANDSHAKES.into_iter().filter(|_| has_tls) {
            let counts = peers.each_ref().map(|peer| {
                instructions(
                    peer,
                    backend_port,
                    options.requests / 10,
                    |server, count| {
                        shake_hands(server, count, is_resumed);
                    },
                )
            });
            row("user instructions per connection", name, counts, 0);
        }
    }
    if options.wants("memory") {
        let plain: fn(&Running) -> Client = |server| {
            let mut client = Client::connect(server, false);
            client.get("/file", 1);
            client
        };
        let secure: fn(&Running) -> Client = |server| {
            let mut client = Client::connect(server, true);
            client.get("/file", 1);
            client
        };
        let kinds = [
            (false, IDLE_CONNECTIONS, "10,000 idle connections", plain),
            (
                true,
                IDLE_SECURE_CONNECTIONS,
                "2,000 idle connections, TLS",
                secure,
            ),
            (
                true,
                IDLE_SECURE_CONNECTIONS,
                "2,000 idle connections, HTTP/2",
                Client::after_http2,
            ),
        ];
        for (is_secure, count, name, connect) in kinds {
            if !workloads().any(|workload| workload.is_secure == is_secure) {
                continue;
            }
            let sizes = peers
                .each_ref()
                .map(|peer| memory(peer, backend_port, count, connect));
            row("resident MiB", "idle", sizes.map(|(idle, _)| idle), 1);
            row("resident MiB", name, sizes.map(|(_, full)| full), 1);
            let each = sizes.map(|(idle, full)| (full - idle) * 1024.0 / count as f64);
            row("resident KiB", "one of them", each, 2);
        }
    }
}

impl Workload {
    const fn plain(name: &'static str, path: &'static str) -> Self {
        Self {
            name,
            path,
            is_secure: false,
        }
    }

    const fn secure(name: &'static str, path: &'static str) -> Self {
        Self {
            name,
            path,
            is_secure: true,
        }
    }
}

struct Options {
    rounds: usize,
    seconds: u64,
    requests: usize,
    only: Option<String>,
    plain: bool,
    tls: bool,
}

impl Options {
    fn read() -> Self {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let has = |option: &str| arguments.iter().any(|argument| argument == option);
        let quick = has("--quick");
        let only = arguments
            .iter()
            .position(|argument| argument == "--only")
            .and_then(|place| arguments.get(place + 1).cloned());
        Self {
            rounds: if quick { 1 } else { 5 },
            seconds: if quick { 1 } else { 3 },
            requests: if quick { 300 } else { 2000 },
            only,
            plain: !has("--tls"),
            tls: !has("--plain"),
        }
    }

    fn includes(&self, workload: Workload) -> bool {
        if workload.is_secure {
            self.tls
        } else {
            self.plain
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

/// How large what is compressed is on the wire.
fn packed_sizes(peers: &[PathBuf; 2], backend: u16) {
    let servers = peers
        .each_ref()
        .map(|peer| Running::proxy(peer, backend, &[]));
    for workload in PACKED {
        let sizes = servers.each_ref().map(|server| {
            let mut stream = socket(server.port.number);
            let path = workload.path;
            let request = format!("GET {path} HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n");
            let mut answer = Vec::new();
            stream
                .write_all(request.as_bytes())
                .and_then(|()| stream.read_to_end(&mut answer))
                .expect("an answer and the end of the connection");
            let head = answer.windows(4).position(|window| window == b"\r\n\r\n");
            let body = &answer[head.expect("a head") + 4..];
            assert!(body.starts_with(&[0x1f, 0x8b]), "{path} is not compressed");
            body.len() as f64
        });
        row("compressed bytes", workload.name, sizes, 0);
    }
}

/// Text as pages and programs have it, of about 40 KiB.
fn page(is_json: bool) -> Vec<u8> {
    let mut text = String::new();
    let mut number = 1_u64;
    while text.len() < 40 << 10 {
        number = number
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(7);
        let (id, rank) = (number >> 40, number >> 58);
        let color = ["red", "green", "blue", "black"][(rank % 4) as usize];
        text += &match is_json {
            true => format!(
                "{{\"id\": {id}, \"name\": \"user {rank}\", \"color\": \"{color}\", \"active\": true}},\n"
            ),
            false => format!(
                "<tr class=\"row {color}\"><td>{id}</td><td><a href=\"/users/{id}\">user {rank}</a></td></tr>\n"
            ),
        };
    }
    text.into_bytes()
}

/// Processor time and rate under a load, in rounds that alternate between the peers.
fn processor_time(
    peers: &[PathBuf; 2],
    backend: u16,
    options: &Options,
    workloads: impl Iterator<Item = Workload>,
    load: impl Fn(&Running, Workload, u64) -> (u64, f64),
) {
    let servers = peers
        .each_ref()
        .map(|peer| Running::proxy(peer, backend, &[]));
    for workload in workloads {
        let mut costs = [Vec::new(), Vec::new()];
        let mut rates = [Vec::new(), Vec::new()];
        for server in &servers {
            load(server, workload, 1);
        }
        for round in 0..options.rounds {
            let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
            for peer in order {
                let server = &servers[peer];
                let ((requests, rate), micros) =
                    server.micros(|| load(server, workload, options.seconds));
                costs[peer].push(micros / requests as f64);
                rates[peer].push(rate);
            }
        }
        row("CPU µs per request", workload.name, costs.map(median), 2);
        row("requests per second", workload.name, rates.map(median), 0);
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

/// How a connection for one request may begin.
const HANDSHAKES: [(&str, bool); 2] = [("full handshake", false), ("resumed handshake", true)];

/// Processor time of connections that serve one request each, which asks for nothing.
fn handshakes(peers: &[PathBuf; 2], backend: u16, options: &Options) {
    let servers = peers
        .each_ref()
        .map(|peer| Running::proxy(peer, backend, &[]));
    for (name, is_resumed) in HANDSHAKES {
        let mut costs = [Vec::new(), Vec::new()];
        for round in 0..options.rounds {
            let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
            for peer in order {
                let server = &servers[peer];
                shake_hands(server, 50, is_resumed);
                let ((), micros) =
                    server.micros(|| shake_hands(server, options.requests, is_resumed));
                costs[peer].push(micros / options.requests as f64);
            }
        }
        let costs = costs.map(median);
        row("CPU µs per connection", name, costs, 2);
        let rates = costs.map(|micros| 1e6 / micros);
        row("connections per second and core", name, rates, 0);
    }
}

/// So many connections of TLS 1.3 with one request each; all but the first resume the session of one
/// before if `is_resumed`.
fn shake_hands(server: &Running, count: usize, is_resumed: bool) {
    let config = client_config(is_resumed);
    for number in 0..count {
        let mut client = Client::over_tls(server, &config);
        client.get(NOTHING, 1);
        let kind = client.stream.handshake();
        let expected = match is_resumed && number > 0 {
            true => HandshakeKind::Resumed,
            false => HandshakeKind::Full,
        };
        assert_eq!(kind, Some(expected));
    }
}

/// Runs wrk; gives its count of requests and its rate.
fn wrk(server: &Running, workload: Workload, seconds: u64) -> (u64, f64) {
    let output = pinned(OsStr::new("wrk"), "1")
        .args(["-t1", "-c32", &format!("-d{seconds}s")])
        .args(["-H", "Accept-Encoding: gzip"])
        .arg(server.url(workload))
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

/// Runs h2load for so long; gives its count of requests and its rate.
fn h2load(server: &Running, workload: Workload, seconds: u64) -> (u64, f64) {
    let requests = h2load_with(server, workload, &format!("-D{seconds}"));
    (requests, requests as f64 / seconds as f64)
}

/// Runs h2load with an option that says for how long; gives its count of requests.
fn h2load_with(server: &Running, workload: Workload, extent: &str) -> u64 {
    let output = pinned(OsStr::new("h2load"), "1")
        .args(["-t1", "-c8", "-m16", extent])
        .arg(server.url(workload))
        .output()
        .expect("h2load must be installed");
    let report = String::from_utf8_lossy(&output.stdout);
    let number = |mark: &str, place: usize| -> Option<f64> {
        let line = report.lines().find(|line| line.starts_with(mark))?;
        line.split_ascii_whitespace().nth(place)?.parse().ok()
    };
    let is_content = output.status.success()
        && report.contains("Application protocol: h2")
        && number("status codes:", 4) == Some(0.0)
        && number("status codes:", 6) == Some(0.0)
        && number("status codes:", 8) == Some(0.0);
    assert!(is_content, "h2load is not content:\n{report}");
    number("status codes:", 2).expect("h2load tells its count") as u64
}

/// Asks a server for something so many times.
type Ask = fn(&Running, Workload, usize);

/// What is counted, and how it is asked for: without HTTP/2 one request after the other on a kept
/// connection, with it many at a time.
fn counted(plain: Vec<Workload>) -> Vec<(Workload, Ask)> {
    let one_by_one: Ask = |server, workload, requests| {
        Client::connect(server, workload.is_secure).get(workload.path, requests);
    };
    let at_a_time: Ask = |server, workload, requests| {
        h2load_with(server, workload, &format!("-n{requests}"));
    };
    let has_tls = plain.iter().any(|workload| workload.is_secure);
    let streams = STREAMS
        .into_iter()
        .filter(|_| has_tls)
        .map(|workload| (workload, at_a_time));
    plain
        .into_iter()
        .map(|workload| (workload, one_by_one))
        .chain(streams)
        .collect()
}

/// System calls of the whole process tree for each request.
fn system_calls(
    program: &Path,
    backend: u16,
    requests: usize,
    run: impl Fn(&Running, usize),
) -> f64 {
    let server = Running::proxy(program, backend, &[]);
    run(&server, 256);
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
    run(&server, requests);
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
fn instructions(
    program: &Path,
    backend: u16,
    requests: usize,
    run: impl Fn(&Running, usize),
) -> f64 {
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
        run(&server, requests);
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
    let few = requests.div_ceil(10);
    (collected(few + requests) - collected(few)) / requests as f64
}

/// Resident MiB of the whole process tree: after the start, and with many idle connections.
fn memory(
    program: &Path,
    backend: u16,
    count: usize,
    connect: fn(&Running) -> Client,
) -> (f64, f64) {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("every process has limits");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("up to the hard limit");
    assert!(
        most > count as u64 + 100,
        "a process may open {most} files here: raise `ulimit -Hn`"
    );
    let server = Running::proxy(program, backend, &[]);
    let mib = |server: &Running| process_tree(server.process.id()).resident_kib as f64 / 1024.0;
    drop(connect(&server));
    // What only the start needs is given back some seconds later, and asked for again by the next request.
    thread::sleep(Duration::from_secs(8));
    drop(connect(&server));
    let idle = mib(&server);
    let clients: Vec<Client> = (0..count).map(|_| connect(&server)).collect();
    // Idle connections may be put away only after a moment.
    thread::sleep(Duration::from_secs(3));
    let full = mib(&server);
    drop(clients);
    (idle, full)
}

/// The certificate and key of all servers, as PEM, and what trusts them.
static IDENTITY: LazyLock<(String, String, Arc<RootCertStore>)> = LazyLock::new(|| {
    let key = KeyPair::generate().expect("a key of P-256");
    let parameters = CertificateParams::new(vec![NAME.to_owned()]).expect("a name");
    let certificate = parameters.self_signed(&key).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).expect("a root");
    (certificate.pem(), key.serialize_pem(), Arc::new(roots))
});

/// A client of TLS 1.3 that keeps sessions, or never resumes one.
fn client_config(resumes: bool) -> Arc<ClientConfig> {
    // What the clients of OpenSSL here offer: both peers shall exchange keys alike.
    let provider = CryptoProvider {
        kx_groups: vec![aws_lc_rs::kx_group::X25519],
        ..aws_lc_rs::default_provider()
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the version is there")
        .with_root_certificates(Arc::clone(&IDENTITY.2))
        .with_no_client_auth();
    if !resumes {
        config.resumption = Resumption::disabled();
    }
    Arc::new(config)
}

/// One request after the other on a kept connection.
struct Client {
    stream: Wire,
    buffer: Vec<u8>,
}

enum Wire {
    Plain(TcpStream),
    Secure(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Wire {
    fn handshake(&self) -> Option<HandshakeKind> {
        match self {
            Self::Plain(_) => None,
            Self::Secure(stream) => stream.conn.handshake_kind(),
        }
    }
}

impl Read for Wire {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(bytes),
            Self::Secure(stream) => stream.read(bytes),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Secure(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Secure(stream) => stream.flush(),
        }
    }
}

impl Client {
    fn connect(server: &Running, is_secure: bool) -> Self {
        static CONFIG: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| client_config(false));
        match is_secure {
            true => Self::over_tls(server, &CONFIG),
            false => Self::over(Wire::Plain(socket(server.port.number))),
        }
    }

    fn over_tls(server: &Running, config: &Arc<ClientConfig>) -> Self {
        let name = NAME.try_into().expect("a name");
        let session = ClientConnection::new(Arc::clone(config), name).expect("a good config");
        let socket = socket(server.secure.number);
        // A close that leaves nothing behind: there are only so many ports.
        SockRef::from(&socket)
            .set_linger(Some(Duration::ZERO))
            .expect("a TCP socket");
        Self::over(Wire::Secure(Box::new(StreamOwned::new(session, socket))))
    }

    /// A connection of HTTP/2 after one request for the file.
    fn after_http2(server: &Running) -> Self {
        static CONFIG: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
            let mut config = Arc::unwrap_or_clone(client_config(false));
            config.alpn_protocols = vec![b"h2".to_vec()];
            Arc::new(config)
        });
        let mut client = Self::over_tls(server, &CONFIG);
        // The preface, empty SETTINGS, and HEADERS that end stream 1 (RFC 9113, RFC 7541): GET, https,
        // and `:path` and `:authority` as they are written.
        let mut said = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
        said.extend(b"\0\0\x14\x01\x05\0\0\0\x01\x82\x87\x04\x05/file\x01\x09localhost");
        client.stream.write_all(&said).expect("a new connection");
        let mut exactly = |count: usize| {
            let mut bytes = vec![0; count];
            client.stream.read_exact(&mut bytes).expect("an answer");
            bytes
        };
        loop {
            let head = exactly(9);
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            exactly(length);
            // DATA or HEADERS with END_STREAM.
            if head[3] < 2 && head[4] & 1 != 0 {
                return client;
            }
        }
    }

    fn over(stream: Wire) -> Self {
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

fn socket(port: u16) -> TcpStream {
    let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the server listens");
    socket.set_nodelay(true).expect("a TCP socket");
    socket
        .set_read_timeout(Some(PATIENCE))
        .expect("a TCP socket");
    socket
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
    secure: Port,
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
                types { text/html html; application/json json; }
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
                proxy_cache_path %PREFIX%/cache levels=1:2 keys_zone=bench:10m;
                upstream backend { server 127.0.0.1:%BACKEND%; keepalive 64; keepalive_requests 100000000; }
                server {
                    listen 127.0.0.1:%PORT%;
                    listen 127.0.0.1:%SECURE% ssl http2;
                    ssl_certificate %PREFIX%/certificate;
                    ssl_certificate_key %PREFIX%/key;
                    ssl_protocols TLSv1.2 TLSv1.3;
                    location / {
                        proxy_http_version 1.1;
                        proxy_set_header Connection \"\";
                        proxy_pass http://backend;
                    }
                    location /cached/ {
                        proxy_http_version 1.1;
                        proxy_set_header Connection \"\";
                        proxy_pass http://backend/;
                        proxy_cache bench;
                        proxy_cache_valid 200 1d;
                    }
                    location /file { root www; }
                    location /nothing { return 200; }
                    types { text/html html; application/json json; }
                    gzip_types application/json;
                    gzip_http_version 1.0;
                    location /gzip1/ { gzip on; alias www/; }
                    location /gzip6/ { gzip on; gzip_comp_level 6; alias www/; }
                    location /proxied1/ { gzip on; proxy_pass http://backend/; }
                    location /proxied6/ { gzip on; gzip_comp_level 6; proxy_pass http://backend/; }
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
        for (name, is_json) in [("page.html", false), ("data.json", true)] {
            fs::write(prefix.join("www").join(name), page(is_json)).expect("a fresh file");
        }
        let (port, secure) = (reserve(), reserve());
        let conf = conf
            .replace("%PORT%", &port.number.to_string())
            .replace("%SECURE%", &secure.number.to_string())
            .replace("%PREFIX%", &prefix.display().to_string());
        fs::write(prefix.join("certificate"), &IDENTITY.0).expect("a fresh file");
        fs::write(prefix.join("key"), &IDENTITY.1).expect("a fresh file");
        fs::set_permissions(prefix.join("key"), fs::Permissions::from_mode(0o600))
            .expect("our own file");
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
            secure,
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

    fn url(&self, workload: Workload) -> String {
        let (scheme, port) = match workload.is_secure {
            true => ("https", &self.secure),
            false => ("http", &self.port),
        };
        format!("{scheme}://127.0.0.1:{}{}", port.number, workload.path)
    }

    /// What comes of a load, and the processor time that the server needs for it, in µs.
    fn micros<T>(&self, load: impl FnOnce() -> T) -> (T, f64) {
        let ticks = || process_tree(self.process.id()).cpu_ticks;
        let before = ticks();
        let result = load();
        let ticks = ticks() - before;
        (result, ticks as f64 / TICKS_PER_SECOND * 1e6)
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
