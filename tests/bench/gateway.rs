//! What the gateway to language models adds to a call.
//!
//! `cargo bench --bench gateway` asks a provider made for this, directly, through the gateway and
//! through a plain `proxy_pass` of the same program, in rounds that alternate, and prints a Markdown
//! table: how much later an answer comes at 1,000 calls a second, small and with a body of 400 KB; how
//! much later the first piece of a stream comes, and each one after it; what a call and a piece cost in
//! processor time; and memory with 1,000 open streams. The gateway asks for a key with a budget, and
//! keeps its ledger, as in real life. Needs taskset. Everything stays on the loopback and is bounded:
//! about two minutes, or twenty seconds with
//! `-- --quick`. Other options:
//! - `OPENCLAW_UNDER_TEST=/path`: another program in our place;
//! - `OPENCLAW_BENCH_PEER=127.0.0.1:4000`: another gateway beside ours, which asks
//!   `http://127.0.0.1:9099/v1` when it is asked for its model `bench`; with
//!   `OPENCLAW_BENCH_PEER_FIELDS="Authorization: Bearer sk-1|X-Other: 2"`, and the number of its process
//!   in `OPENCLAW_BENCH_PEER_PROCESS`. It should have the first core for itself as ours has. It is not
//!   asked at a fixed rate, which it may not reach, but as fast as it answers; and for no streams with
//!   `OPENCLAW_BENCH_PEER_STREAMS=no`.
//!
//! The gateway has the first core for itself; the provider and the clients share the second one.

#[path = "../it/support/ports.rs"]
mod ports;
#[path = "../it/support/process_tree.rs"]
mod process_tree;

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use ports::reserve;
use process_tree::process_tree;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

/// Where another gateway finds the provider.
const PEERS_PROVIDER: u16 = 9099;
/// Calls that are under way at the same time at most.
const CONNECTIONS: usize = 64;
/// Calls of a second.
const RATE: u64 = 1000;
/// Pieces of a stream.
const PIECES: usize = 50;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(2);
/// Streams that are open at once.
const STREAMS: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(60);
/// What Linux counts processor time in, and has counted in on every architecture we run on.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a piece's time is counted from.
static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let (rounds, seconds) = if quick { (2, 1) } else { (5, 4) };
    pin_to_second_core();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(16_384).max(soft), hard).expect("within the limit");
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let provider = provider();
    let program = std::env::var_os("OPENCLAW_UNDER_TEST").map_or_else(
        || PathBuf::from(env!("CARGO_BIN_EXE_openclaw")),
        PathBuf::from,
    );
    let gateway = Gateway::start(&program, provider.port());
    let mut ways = vec![
        Way {
            name: "direct",
            address: provider,
            fields: String::new(),
        },
        Way {
            name: "openclaw",
            address: (Ipv4Addr::LOCALHOST, gateway.port).into(),
            fields: format!("Authorization: Bearer {}\r\n", gateway.key),
        },
        Way {
            name: "plain proxy",
            address: (Ipv4Addr::LOCALHOST, gateway.plain).into(),
            fields: String::new(),
        },
    ];
    let without_peer = ways.len();
    let peer = Peer::from_environment();
    ways.extend(peer.iter().map(|peer| Way {
        name: "peer",
        address: peer.address,
        fields: peer.fields.clone(),
    }));
    println!("| measure | way | p50 | p99 | p99.9 | added p50 | added p99 |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    let small = call(1000, false);
    let large = call(400_000, false);
    let stream = call(1000, true);
    compare(
        "µs of a call of 1 KB, 1,000 a second",
        &ways[..without_peer],
        rounds,
        |way| {
            let calls = RATE * seconds;
            runtime.block_on(open_loop(way, &small, calls))
        },
    );
    compare("µs of a call of 1 KB, one by one", &ways, rounds, |way| {
        runtime.block_on(one_by_one(way, &small, 100 * seconds as usize))
    });
    compare("µs of a call of 400 KB, one by one", &ways, rounds, |way| {
        runtime.block_on(one_by_one(way, &large, 50 * seconds as usize))
    });
    let with_streams = match &peer {
        Some(peer) if !peer.streams => &ways[..without_peer],
        _ => &ways[..],
    };
    let mut later = vec![Vec::new(); with_streams.len()];
    compare(
        "µs until the first piece of a stream",
        with_streams,
        rounds,
        |way| {
            let place = ways.iter().position(|other| other.name == way.name);
            let (firsts, others) = runtime.block_on(streams(way, &stream, 20 * seconds as usize));
            later[place.expect("one of them")].extend(others);
            firsts
        },
    );
    let direct = quantiles(&mut later[0].clone());
    for (way, times) in ways.iter().zip(&mut later) {
        row(
            "µs that a later piece is under way",
            way.name,
            quantiles(times),
            direct,
        );
    }
    println!();
    println!("| measure | way | |");
    println!("| --- | --- | --- |");
    let measured = [(&ways[1], gateway.process.id())].into_iter();
    let measured = measured.chain(peer.iter().map(|peer| (&ways[without_peer], peer.process)));
    for (way, process) in measured {
        let figure =
            |measure: &str, value: String| println!("| {measure} | {} | {value} |", way.name);
        let (rate, cost) = saturated(&runtime, way, process, &small, seconds);
        figure("calls of 1 KB a second", format!("{rate:.0}"));
        figure("CPU µs per call of 1 KB", format!("{cost:.1}"));
        if !with_streams.iter().any(|other| other.name == way.name) {
            continue;
        }
        let pieces = stream_cost(&runtime, way, process, &stream, seconds);
        figure("CPU µs per piece of a stream", format!("{pieces:.2}"));
        let (idle, full) = runtime.block_on(open_streams(way, process));
        figure("MiB, idle after the load", format!("{idle:.1}"));
        figure("MiB with 1,000 open streams", format!("{full:.1}"));
    }
    overhead(&runtime, &ways[0], &ways[1], &small, rounds, seconds);
}

/// Another gateway, that runs already.
struct Peer {
    address: SocketAddr,
    /// What of the head of a request it wants beside what all get.
    fields: String,
    process: u32,
    streams: bool,
}

impl Peer {
    fn from_environment() -> Option<Self> {
        let variable = |name: &str| std::env::var(format!("OPENCLAW_BENCH_PEER{name}")).ok();
        let address = variable("")?.parse().expect("an address with a port");
        let fields = variable("_FIELDS").unwrap_or_default();
        let lines = fields.split('|').filter(|line| !line.is_empty());
        let process = variable("_PROCESS").expect("the number of its process");
        Some(Self {
            address,
            fields: lines.map(|line| format!("{}\r\n", line.trim())).collect(),
            process: process.parse().expect("a number"),
            streams: variable("_STREAMS").is_none_or(|word| word != "no"),
        })
    }
}

/// One way to the provider.
struct Way {
    name: &'static str,
    address: SocketAddr,
    /// Lines of the head of a request.
    fields: String,
}

/// Measures the ways in turn and prints a row for each.
fn compare(measure: &str, ways: &[Way], rounds: usize, mut measured: impl FnMut(&Way) -> Vec<f64>) {
    let mut times = vec![Vec::new(); ways.len()];
    for way in ways {
        measured(way);
    }
    for round in 0..rounds {
        for place in 0..ways.len() {
            let place = (place + round) % ways.len();
            times[place].push(quantiles(&mut measured(&ways[place])));
        }
    }
    // Of each quantile the median of the rounds.
    let medians: Vec<[f64; 3]> = times
        .iter()
        .map(|rounds| {
            [0, 1, 2].map(|which| {
                let mut values: Vec<f64> = rounds.iter().map(|round| round[which]).collect();
                values.sort_by(f64::total_cmp);
                values[values.len() / 2]
            })
        })
        .collect();
    for (way, figures) in ways.iter().zip(&medians) {
        row(measure, way.name, *figures, medians[0]);
    }
}

fn row(measure: &str, way: &str, [p50, p99, p999]: [f64; 3], direct: [f64; 3]) {
    println!(
        "| {measure} | {way} | {p50:.0} | {p99:.0} | {p999:.0} | {:.0} | {:.0} |",
        p50 - direct[0],
        p99 - direct[1]
    );
}

/// The median, and what 99 and 99.9 of a hundred are below.
fn quantiles(times: &mut [f64]) -> [f64; 3] {
    times.sort_by(f64::total_cmp);
    let last = times.len().saturating_sub(1);
    [0.5, 0.99, 0.999].map(|part| times[(last as f64 * part).round() as usize])
}

/// A call of about so many bytes.
fn call(bytes: usize, streams: bool) -> String {
    let said = "All happy families are alike. ".repeat(bytes / 30);
    format!(
        r#"{{"model":"bench","stream":{streams},"max_tokens":100,"messages":[{{"role":"user","content":"{said}"}}]}}"#
    )
}

/// A client with a connection that stays open.
struct Client {
    stream: TcpStream,
    head: String,
    read: Vec<u8>,
}

impl Client {
    async fn new(way: &Way, body: &str) -> Self {
        let stream = TcpStream::connect(way.address).await.expect("it listens");
        stream.set_nodelay(true).expect("an open socket");
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: bench\r\n{}\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            way.fields,
            body.len()
        );
        Self {
            stream,
            head,
            read: Vec::with_capacity(16_384),
        }
    }

    /// Asks, and reads all of the answer; microseconds.
    async fn ask(&mut self) -> f64 {
        let begun = Instant::now();
        self.send().await;
        loop {
            self.more().await;
            if let Some(end) = end_of_answer(&self.read) {
                assert_eq!(end, self.read.len(), "more than an answer");
                break;
            }
        }
        let took = begun.elapsed();
        assert!(
            self.read.starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&self.read)
        );
        took.as_secs_f64() * 1e6
    }

    /// What the gateway says that it took itself, microseconds.
    fn overhead(&self) -> f64 {
        let head = String::from_utf8_lossy(&self.read);
        let mut fields = head.lines().filter_map(|line| line.split_once(": "));
        let found = fields.find(|(name, _)| name.eq_ignore_ascii_case("x-openclaw-overhead-us"));
        let (_, value) = found.expect("the gateway tells it");
        value.trim().parse().expect("a number")
    }

    async fn send(&mut self) {
        self.read.clear();
        self.stream
            .write_all(self.head.as_bytes())
            .await
            .expect("it reads");
    }

    async fn more(&mut self) {
        let count = self
            .stream
            .read_buf(&mut self.read)
            .await
            .expect("it answers");
        assert!(count > 0, "closed: {}", String::from_utf8_lossy(&self.read));
    }

    /// Reads a stream: microseconds until the first piece, and how long each later one was under way.
    async fn stream(&mut self) -> (f64, Vec<f64>) {
        let begun = Instant::now();
        self.send().await;
        let mut first = None;
        let mut later = Vec::with_capacity(PIECES);
        let mut place = 0;
        loop {
            self.more().await;
            let now = BEGUN.elapsed().as_nanos();
            while let Some(at) = memchr::memmem::find(&self.read[place..], b"\"content\":\"") {
                let text = &self.read[place + at + 11..];
                let Some(end) = memchr::memchr(b'"', text) else {
                    break;
                };
                let sent: u128 = std::str::from_utf8(&text[..end])
                    .expect("digits")
                    .parse()
                    .expect("digits");
                match first {
                    None => first = Some(begun.elapsed().as_secs_f64() * 1e6),
                    Some(_) => later.push(now.saturating_sub(sent) as f64 / 1e3),
                }
                place += at + 11 + end;
            }
            if self.read.ends_with(b"0\r\n\r\n") {
                break;
            }
        }
        assert_eq!(later.len() + 1, PIECES, "pieces");
        (first.expect("a piece"), later)
    }
}

/// Where an answer ends, if all of it is there. One without a length comes in chunks.
fn end_of_answer(bytes: &[u8]) -> Option<usize> {
    let end = memchr::memmem::find(bytes, b"\r\n\r\n")? + 4;
    match length(&bytes[..end]) {
        Some(length) => (bytes.len() >= end + length).then_some(end + length),
        None => bytes[end..].ends_with(b"0\r\n\r\n").then_some(bytes.len()),
    }
}

fn length(head: &[u8]) -> Option<usize> {
    let head = std::str::from_utf8(head).ok()?;
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
}

/// Calls at a fixed rate, whatever becomes of those before.
async fn open_loop(way: &Way, body: &str, calls: u64) -> Vec<f64> {
    let mut idle = Vec::new();
    for _ in 0..CONNECTIONS {
        idle.push(Client::new(way, body).await);
    }
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let mut times = Vec::with_capacity(calls as usize);
    let mut clock = tokio::time::interval(Duration::from_micros(1_000_000 / RATE));
    for _ in 0..calls {
        clock.tick().await;
        while let Ok((client, took)) = receiver.try_recv() {
            idle.push(client);
            times.push(took);
        }
        let mut client = match idle.pop() {
            Some(client) => client,
            None => Client::new(way, body).await,
        };
        let sender = sender.clone();
        tokio::spawn(async move {
            let took = client.ask().await;
            let _ = sender.send((client, took));
        });
    }
    drop(sender);
    while let Some((_, took)) = receiver.recv().await {
        times.push(took);
    }
    times
}

async fn one_by_one(way: &Way, body: &str, calls: usize) -> Vec<f64> {
    let mut client = Client::new(way, body).await;
    let mut times = Vec::with_capacity(calls);
    for _ in 0..calls {
        times.push(client.ask().await);
    }
    times
}

/// What the gateway says of itself beside what is measured from outside: one call after the other, so that
/// nothing but the gateway stands between. What the loopback adds by itself is in the second alone.
fn overhead(
    runtime: &Runtime,
    direct: &Way,
    gateway: &Way,
    body: &str,
    rounds: usize,
    seconds: u64,
) {
    let (mut told, mut added) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let calls = 500 * seconds as usize;
        let mut without = runtime.block_on(one_by_one(direct, body, calls));
        let (mut through, mut here) = runtime.block_on(async {
            let mut client = Client::new(gateway, body).await;
            let (mut through, mut here) = (Vec::new(), Vec::new());
            for _ in 0..calls {
                through.push(client.ask().await);
                here.push(client.overhead());
            }
            (through, here)
        });
        told.push(quantiles(&mut here)[0]);
        added.push(quantiles(&mut through)[0] - quantiles(&mut without)[0]);
    }
    let [told, ..] = quantiles(&mut told);
    let [added, ..] = quantiles(&mut added);
    let figure = |measure: &str, value: f64| {
        println!("| {measure} | {} | {value:.0} |", gateway.name);
    };
    figure("µs that x-openclaw-overhead-us tells, p50", told);
    figure("µs longer than without the gateway, p50", added);
    figure("µs between these two", added - told);
}

/// Streams, four at a time.
async fn streams(way: &Way, body: &str, count: usize) -> (Vec<f64>, Vec<f64>) {
    let (mut firsts, mut others) = (Vec::new(), Vec::new());
    let mut running = Vec::new();
    for _ in 0..4 {
        let mut client = Client::new(way, body).await;
        running.push(tokio::spawn(async move {
            let mut seen = Vec::new();
            for _ in 0..count.div_ceil(4) {
                seen.push(client.stream().await);
            }
            seen
        }));
    }
    for task in running {
        for (first, later) in task.await.expect("a stream") {
            firsts.push(first);
            others.extend(later);
        }
    }
    (firsts, others)
}

/// As many calls as it can: how many a second, and what one costs.
fn saturated(runtime: &Runtime, way: &Way, process: u32, body: &str, seconds: u64) -> (f64, f64) {
    let before = process_tree(process).cpu_ticks;
    let begun = Instant::now();
    let calls: usize = runtime.block_on(async {
        let mut running = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut client = Client::new(way, body).await;
            running.push(tokio::spawn(async move {
                let mut calls = 0;
                while begun.elapsed() < Duration::from_secs(seconds) {
                    client.ask().await;
                    calls += 1;
                }
                calls
            }));
        }
        let mut calls = 0;
        for task in running {
            calls += task.await.expect("calls");
        }
        calls
    });
    let took = begun.elapsed().as_secs_f64();
    let ticks = process_tree(process).cpu_ticks - before;
    let micros = ticks as f64 / TICKS_PER_SECOND * 1e6;
    (calls as f64 / took, micros / calls as f64)
}

/// What a piece of a stream costs, its share of the call in it.
fn stream_cost(runtime: &Runtime, way: &Way, process: u32, body: &str, seconds: u64) -> f64 {
    let before = process_tree(process).cpu_ticks;
    let count = 32 * seconds as usize;
    let pieces: usize = runtime.block_on(async {
        let mut running = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut client = Client::new(way, body).await;
            running.push(tokio::spawn(async move {
                for _ in 0..count / 8 {
                    client.stream().await;
                }
                count / 8 * PIECES
            }));
        }
        let mut pieces = 0;
        for task in running {
            pieces += task.await.expect("streams");
        }
        pieces
    });
    let ticks = process_tree(process).cpu_ticks - before;
    ticks as f64 / TICKS_PER_SECOND * 1e6 / pieces as f64
}

/// Memory before and while many streams are open, each after its first piece.
async fn open_streams(way: &Way, process: u32) -> (f64, f64) {
    let mib = || process_tree(process).resident_kib as f64 / 1024.0;
    let idle = mib();
    let body = call(1000, true).replace("\"stream\":true", "\"stream\":true,\"user\":\"hold\"");
    let mut clients = Vec::with_capacity(STREAMS);
    for _ in 0..STREAMS {
        let mut client = Client::new(way, &body).await;
        client.send().await;
        clients.push(client);
    }
    for client in &mut clients {
        while memchr::memmem::find(&client.read, b"\"content\":\"").is_none() {
            client.more().await;
        }
    }
    (idle, mib())
}

/// Starts the provider on a thread of its own; it lasts as long as the process.
fn provider() -> SocketAddr {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, PEERS_PROVIDER))
        .or_else(|_| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .expect("a port");
    listener.set_nonblocking(true).expect("our socket");
    let address = listener.local_addr().expect("a bound socket");
    thread::spawn(move || {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).expect("a socket");
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(provide(stream));
            }
        });
    });
    address
}

/// Answers calls on a connection, at once.
async fn provide(mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let content = "Every unhappy family is unhappy in its own way. ".repeat(12);
    let body = format!(
        r#"{{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"gpt-4o-mini","choices":[{{"index":0,"message":{{"role":"assistant","content":"{content}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":250,"completion_tokens":100,"total_tokens":350}}}}"#
    );
    let whole = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut read = Vec::with_capacity(16_384);
    loop {
        let (end, streams, holds) = loop {
            if let Some(end) = memchr::memmem::find(&read, b"\r\n\r\n") {
                let end = end + 4 + length(&read[..end]).unwrap_or(0);
                if read.len() >= end {
                    let has = |text: &[u8]| memchr::memmem::find(&read[..end], text).is_some();
                    break (end, has(b"\"stream\":true"), has(b"\"hold\""));
                }
            }
            match stream.read_buf(&mut read).await {
                Ok(count) if count > 0 => {}
                _ => return,
            }
        };
        read.drain(..end);
        if !streams {
            if stream.write_all(whole.as_bytes()).await.is_err() {
                return;
            }
            continue;
        }
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        if stream.write_all(head.as_bytes()).await.is_err() {
            return;
        }
        let mut clock = tokio::time::interval(PAUSE);
        clock.reset();
        for place in 0..PIECES {
            if place > 0 {
                clock.tick().await;
            }
            let sent = BEGUN.elapsed().as_nanos();
            let event = format!(
                "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-4o-mini\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{sent}\"}},\"finish_reason\":null}}]}}\n\n"
            );
            let piece = format!("{:x}\r\n{event}\r\n", event.len());
            if stream.write_all(piece.as_bytes()).await.is_err() {
                return;
            }
            if holds {
                // Until the gateway goes.
                let _ = stream.read_buf(&mut read).await;
                return;
            }
        }
        let events = [
            r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-4o-mini","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
            r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-4o-mini","choices":[],"usage":{"prompt_tokens":250,"completion_tokens":100,"total_tokens":350}}"#,
            "data: [DONE]",
        ];
        let last = events.join("\n\n") + "\n\n";
        let last = format!("{:x}\r\n{last}\r\n0\r\n\r\n", last.len());
        if stream.write_all(last.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The gateway with a key, stopped when dropped.
struct Gateway {
    process: Child,
    port: u16,
    /// Where the same provider is behind `proxy_pass`.
    plain: u16,
    key: String,
    _directory: tempfile::TempDir,
}

impl Gateway {
    fn start(program: &Path, provider: u16) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let prefix = directory.path();
        fs::create_dir(prefix.join("logs")).expect("a fresh directory");
        let (port, plain) = (reserve(), reserve());
        let conf = format!(
            "worker_rlimit_nofile 16384;
            state_directory {prefix}/state;
            events {{ worker_connections 4096; }}
            http {{
                access_log logs/access.log combined;
                keepalive_requests 100000000;
                keepalive_time 1d;
                llm_provider openai {{ base_url http://127.0.0.1:{provider}/v1; }}
                llm_model bench {{ target openai/gpt-4o-mini; }}
                upstream provider {{ server 127.0.0.1:{provider}; keepalive 64; }}
                server {{
                    listen 127.0.0.1:{port};
                    location /v1/ {{ llm_gateway; }}
                }}
                server {{
                    listen 127.0.0.1:{plain};
                    location /v1/ {{ proxy_pass http://provider; proxy_buffering off; }}
                }}
            }}",
            prefix = prefix.display(),
            port = port.number,
            plain = plain.number,
        );
        fs::write(prefix.join("conf"), conf).expect("a fresh file");
        let mut globals = "daemon off; worker_processes 1; pid pid;".to_owned();
        if geteuid().is_root() {
            globals += " user root;";
        }
        let output = |name: &str| File::create(prefix.join(name)).expect("a fresh file");
        let process = Command::new("taskset")
            .args(["-c", "0"])
            .arg(program)
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
        let mut gateway = Self {
            process,
            port: port.number,
            plain: plain.number,
            key: String::new(),
            _directory: directory,
        };
        let socket = gateway._directory.path().join("state/control.sock");
        let begun = Instant::now();
        loop {
            let made = Command::new(program)
                .args(["key", "add", "bench", "--budget", "100000/day", "--socket"])
                .arg(&socket)
                .output()
                .expect("the program runs");
            if made.status.success() {
                gateway.key = String::from_utf8_lossy(&made.stdout).trim().to_owned();
                return gateway;
            }
            let ended = gateway.process.try_wait().expect("our child");
            assert!(
                ended.is_none() && begun.elapsed() < PATIENCE,
                "no key: {}",
                String::from_utf8_lossy(&made.stderr)
            );
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        for process in process_tree(self.process.id()).processes {
            let _gone_already = kill(Pid::from_raw(process.cast_signed()), Signal::SIGKILL);
        }
        let _reaped = self.process.wait();
    }
}

/// Leaves the first core to the gateway, if there are two.
fn pin_to_second_core() {
    if thread::available_parallelism().map_or(1, usize::from) > 1 {
        let id = std::process::id().to_string();
        let _not_measured_as_well = Command::new("taskset")
            .args(["-pc", "1", &id])
            .stdout(Stdio::null())
            .status();
    }
}
