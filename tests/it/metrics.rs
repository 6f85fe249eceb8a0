//! What is counted about requests, as `metrics` tells it to Prometheus.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::sys::signal::Signal;

use openclaw::protocol::{Event, Request, Summary, Topic};

use super::control::Control;
use super::support::backend::Backend;
use super::support::client::Client;
use super::support::server::{Server, Setup, eventually};

/// One value of a series, by its name with all labels.
type Samples = BTreeMap<String, f64>;

/// Names with their values.
type Labels = Vec<(String, String)>;

/// Reads a page in the exposition format 0.0.4 and refuses what `promtool check metrics` would.
fn parse(page: &str) -> Samples {
    let mut samples = Samples::new();
    let mut kinds: BTreeMap<String, String> = BTreeMap::new();
    let mut helped = BTreeSet::new();
    let mut family = String::new();
    assert!(page.ends_with('\n'), "the last line has its end");
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a name and a text");
            assert!(!help.trim().is_empty(), "{line}");
            assert!(helped.insert(name.to_owned()), "a second time: {line}");
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a type");
            assert!(matches!(kind, "counter" | "gauge" | "histogram"), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            let known = kinds.insert(name.to_owned(), kind.to_owned());
            assert_eq!(known, None, "a second time: {line}");
            assert!(helped.contains(name), "without help: {line}");
            family = name.to_owned();
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a series and its value");
        let value: f64 = value
            .parse()
            .unwrap_or_else(|_| panic!("no number: {line}"));
        let name = series.split('{').next().unwrap_or_default();
        assert!(name.starts_with("openclaw_"), "{line}");
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        assert!(name.bytes().all(is_name), "{line}");
        let suffix = name.strip_prefix(&*family);
        let suffix = suffix.unwrap_or_else(|| panic!("outside of its family: {line}"));
        match kinds[&family].as_str() {
            "histogram" => assert!(matches!(suffix, "_bucket" | "_sum" | "_count"), "{line}"),
            _ => assert_eq!(suffix, "", "{line}"),
        }
        let labels = labels(&series[name.len()..]);
        let names: BTreeSet<_> = labels.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), labels.len(), "a label twice: {line}");
        let before = samples.insert(series.to_owned(), value);
        assert_eq!(before, None, "a series twice: {line}");
    }
    check_histograms(&samples, &kinds);
    samples
}

/// The labels in `{a="b",c="d"}`.
fn labels(text: &str) -> Labels {
    let mut labels = Vec::new();
    let Some(inside) = text.strip_prefix('{') else {
        assert_eq!(text, "");
        return labels;
    };
    let mut rest = inside;
    loop {
        let (name, after) = rest.split_once("=\"").expect("a label has a value");
        let mut value = String::new();
        let mut characters = after.char_indices();
        let end = loop {
            match characters.next().expect("a value has an end") {
                (at, '"') => break at,
                (_, '\\') => match characters.next().expect("something is escaped").1 {
                    'n' => value.push('\n'),
                    escaped @ ('\\' | '"') => value.push(escaped),
                    other => panic!("`\\{other}` is no escape"),
                },
                (_, plain) => value.push(plain),
            }
        };
        labels.push((name.to_owned(), value));
        rest = &after[end + 1..];
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None => break,
        }
    }
    assert_eq!(rest, "}");
    labels
}

/// Buckets are cumulative, and the last of them holds all.
fn check_histograms(samples: &Samples, kinds: &BTreeMap<String, String>) {
    for (family, _) in kinds.iter().filter(|(_, kind)| *kind == "histogram") {
        let mut buckets: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
        for (series, count) in samples {
            let Some(rest) = series.strip_prefix(&format!("{family}_bucket")) else {
                continue;
            };
            let (limit, others): (Vec<_>, Vec<_>) =
                labels(rest).into_iter().partition(|(name, _)| name == "le");
            let limit: f64 = limit[0].1.parse().expect("a limit is a number");
            buckets.entry(others).or_default().push((limit, *count));
        }
        for (others, mut buckets) in buckets {
            buckets.sort_by(|left, right| left.0.total_cmp(&right.0));
            let counts: Vec<f64> = buckets.iter().map(|(_, count)| *count).collect();
            assert!(counts.is_sorted(), "{family} {others:?} {buckets:?}");
            let (last, all) = buckets.last().expect("there is one");
            assert_eq!(*last, f64::INFINITY);
            let labels: Vec<_> = (others.iter())
                .map(|(name, value)| format!("{name}=\"{}\"", value.replace('\\', "\\\\")))
                .collect();
            let count = format!("{family}_count{{{}}}", labels.join(","));
            assert_eq!(samples[&count], *all, "{count}");
            assert!(samples[&count.replace("_count{", "_sum{")] >= 0.0);
        }
    }
}

fn scrape(server: &Server) -> Samples {
    let answer = server
        .connect(1)
        .ask("GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.value("Content-Type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    parse(std::str::from_utf8(&answer.body).expect("text"))
}

/// Waits until the page tells this: a request is counted after its answer was sent.
fn wait_for(server: &Server, expected: &[(&str, f64)]) -> Samples {
    let mut last = Samples::new();
    eventually("the numbers are told", || {
        last = scrape(server);
        let holds = |(series, value): &(&str, f64)| last.get(*series) == Some(value);
        (expected.iter().all(holds)).then(|| last.clone())
    })
}

fn get(server: &Server, path: &str) -> u16 {
    let request = format!("GET {path} HTTP/1.1\r\nHost: one.example\r\nConnection: close\r\n\r\n");
    server.connect(1).ask(&request).status
}

fn conf(more: &str) -> String {
    format!(
        r"worker_processes 2;
        events {{ }}
        http {{
            %COMMON%
            server {{ listen 127.0.0.1:%LISTEN1%; location = /metrics {{ metrics; }} }}
            {more}
        }}"
    )
}

const SITE: &str = r"
    server {
        listen 127.0.0.1:%LISTEN1%;
        server_name one.example www.one.example;
        location / { return 200 x; }
        location /moved/ { rewrite ^ /end last; }
        location = /end { return 204; }
        location ~ \.(a|b)$ {
            if ($arg_x) { return 403; }
            limit_except GET { deny all; }
            return 500;
        }
        location /page/ { error_page 404 /end; return 404; }
    }";

#[test]
fn a_request_is_counted_where_it_ends_and_by_its_status() {
    let server = Setup::new(conf(SITE)).start();
    for (path, times, status) in [
        ("/", 3, 200),
        ("/moved/x", 2, 204),
        ("/f.a", 1, 500),
        ("/f.b?x=1", 2, 403),
        ("/page/x", 1, 404),
    ] {
        for _ in 0..times {
            assert_eq!(get(&server, path), status, "{path}");
        }
    }
    let mut refused = server.connect(1);
    assert_eq!(refused.ask("GET / HTTP/1.1\r\n\r\n").status, 400);
    let of = |location: &str, class: &str| {
        let listen = format!("127.0.0.1:{}", server.port(1));
        let place = format!(r#"server="one.example",listen="{listen}",location="{location}""#);
        format!(r#"openclaw_requests_total{{{place},class="{class}"}}"#)
    };
    let listen = format!("127.0.0.1:{}", server.port(1));
    let nowhere = format!(r#"server="",listen="{listen}",location="",class="4xx""#);
    let samples = wait_for(
        &server,
        &[
            (&of("/", "2xx"), 3.0),
            (&of("= /end", "2xx"), 2.0),
            (&of("= /end", "4xx"), 1.0),
            (&of(r"~ \\.(a|b)$", "5xx"), 1.0),
            (&of(r"~ \\.(a|b)$", "4xx"), 2.0),
            (&format!("openclaw_requests_total{{{nowhere}}}"), 1.0),
        ],
    );
    assert!(
        !samples.contains_key(&of("/moved/", "2xx")),
        "none ended there"
    );
    let sent = of("/", "2xx").replace(r#",class="2xx""#, "");
    let sent = sent.replace("requests_total", "sent_bytes_total");
    assert!(
        samples[&sent] > 300.0,
        "heads and bodies: {}",
        samples[&sent]
    );
}

#[test]
fn a_reload_takes_nothing_back() {
    let mut server = Setup::new(conf(SITE)).start();
    let listen = format!("127.0.0.1:{}", server.port(1));
    let place = format!(r#"server="one.example",listen="{listen}",location="/",class="2xx""#);
    let series = format!("openclaw_requests_total{{{place}}}");
    for _ in 0..5 {
        get(&server, "/");
    }
    wait_for(
        &server,
        &[(&series, 5.0), ("openclaw_config_generation", 1.0)],
    );
    // The site stands elsewhere in the file, and has another location besides.
    let other =
        "server { listen 127.0.0.1:%LISTEN1%; server_name other; location / { return 201; } }";
    let site = SITE.replace("location /page/", "location /new/ { } location /page/");
    server.rewrite(
        &conf(&format!("{other}{site}")).replace("worker_processes 2", "worker_processes 1"),
    );
    server.signal(Signal::SIGHUP);
    wait_for(
        &server,
        &[("openclaw_config_generation", 2.0), (&series, 5.0)],
    );
    get(&server, "/");
    wait_for(&server, &[(&series, 6.0)]);
}

#[test]
fn a_backend_that_dies_is_told_as_failed() {
    let dying = Backend::start();
    let living = Backend::start();
    let server = Setup::new(conf(
        "upstream app {
            server %DYING% max_fails=2 fail_timeout=1h;
            server %LIVING%;
            keepalive 4;
        }
        server {
            listen 127.0.0.1:%LISTEN1%;
            server_name one.example;
            location / { proxy_pass http://app; proxy_set_header Connection ''; }
        }",
    ))
    .set("DYING", dying.address())
    .set("LIVING", living.address())
    .start();
    let of = |name: &str, address: &str, more: &str| {
        format!(r#"openclaw_upstream_{name}{{upstream="app",peer="{address}"{more}}}"#)
    };
    let (one, two) = (dying.address(), living.address());
    for _ in 0..8 {
        assert_eq!(get(&server, "/"), 200);
    }
    let attempts = |samples: &Samples| {
        let ok = r#",class="2xx""#;
        samples[&of("attempts_total", &one, ok)] + samples[&of("attempts_total", &two, ok)]
    };
    let samples = eventually("the attempts are counted", || {
        let samples = scrape(&server);
        let is_told = samples.contains_key(&of("active", &one, ""));
        (is_told && attempts(&samples) == 8.0).then_some(samples)
    });
    for address in [&one, &two] {
        assert_eq!(samples[&of("peer_state", address, r#",state="up""#)], 1.0);
        assert_eq!(samples[&of("failures_total", address, "")], 0.0);
        assert_eq!(samples[&of("active", address, "")], 0.0);
        assert!(samples[&of("idle_connections", address, "")] >= 1.0);
        assert!(samples[&of("duration_seconds_count", address, "")] >= 1.0);
        assert!(samples[&of("received_bytes_total", address, "")] > 0.0);
    }
    drop(dying);
    // Each of the workers finds out for itself.
    let samples = eventually("the dead one is left out", || {
        assert_eq!(get(&server, "/"), 200, "nobody notices");
        let samples = scrape(&server);
        let failed = samples[&of("peer_state", &one, r#",state="failed""#)];
        (failed == 1.0).then_some(samples)
    });
    assert!(samples[&of("failures_total", &one, "")] >= 2.0);
    assert_eq!(samples[&of("peer_state", &one, r#",state="up""#)], 0.0);
    assert_eq!(samples[&of("peer_state", &two, r#",state="up""#)], 1.0);
    assert_eq!(samples[&of("failures_total", &two, "")], 0.0);
}

#[test]
fn the_page_is_right_at_every_moment_of_traffic() {
    let backend = Backend::start();
    let server = Setup::new(conf(
        "server {
            listen 127.0.0.1:%LISTEN1%;
            server_name one.example;
            keepalive_requests 100000000;
            location / { return 200 x; }
            location /passed/ { proxy_pass http://%BACKEND%; }
        }",
    ))
    .set("BACKEND", backend.address())
    .start();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for path in ["/", "/passed/", "/a"] {
            let (server, is_over) = (&server, &is_over);
            scope.spawn(move || {
                let mut client: Client = server.connect(1);
                while !is_over.load(Ordering::Relaxed) {
                    let request = format!("GET {path} HTTP/1.1\r\nHost: one.example\r\n\r\n");
                    assert_eq!(client.ask(&request).status, 200);
                }
            });
        }
        let mut before = Samples::new();
        for _ in 0..30 {
            let now = scrape(&server);
            for (series, value) in &before {
                let is_counter = series.contains("_total") || series.contains("_bucket");
                assert!(!is_counter || now[series] >= *value, "{series} went back");
            }
            before = now;
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn it_is_read_only_and_has_another_form() {
    let server = Setup::http(
        "server { listen %LISTEN1%;
            location = /metrics { metrics prometheus; }
            location = /json { metrics json; }
        }",
    )
    .start();
    let mut client = server.connect(1);
    let head = client.ask("HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((head.status, head.body.len()), (200, 0));
    let post = "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(client.ask(post).status, 405);
    let answer = server
        .connect(1)
        .ask("GET /json HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(answer.value("Content-Type"), Some("application/json"));
    let value: serde_json::Value = serde_json::from_slice(&answer.body).expect("is JSON");
    assert_eq!(value["config_generation"], 1);
    assert!(value["connections"]["accepted"].as_u64() >= Some(2));
    assert!(value["process"]["open_fds"].as_u64() > Some(3));
}

#[test]
fn a_wrong_argument_or_a_second_answer_is_refused() {
    for (lines, expected) in [
        ("metrics graphite;", "`prometheus`"),
        ("metrics prometheus json;", "metrics"),
        ("metrics; stub_status;", "and so does `stub_status`"),
        (
            "metrics; proxy_pass http://127.0.0.1:9;",
            "and so does `proxy_pass`",
        ),
    ] {
        let outcome = Setup::http(&format!(
            "server {{ listen %LISTEN1%; location / {{ {lines} }} }}"
        ))
        .run(&["-t"]);
        assert!(!outcome.status.success(), "{lines}");
        assert!(outcome.stderr.contains(expected), "{}", outcome.stderr);
    }
    let outcome = Setup::http("server { listen %LISTEN1%; metrics; }").run(&["-t"]);
    assert!(!outcome.status.success(), "belongs into a location");
}

#[test]
fn requests_over_http2_are_counted_like_others() {
    let server =
        Setup::new(conf("").replace("location =", "http2 on; location / { } location =")).start();
    let url = format!("http://127.0.0.1:{}/missing", server.port(1));
    let output = std::process::Command::new("curl")
        .args(["--http2-prior-knowledge", "-s", "-o", "/dev/null", &url])
        .status();
    assert!(output.expect("`curl` must be installed").success());
    let listen = format!("127.0.0.1:{}", server.port(1));
    let place = format!(r#"server="",listen="{listen}",location="/",class="4xx""#);
    wait_for(
        &server,
        &[
            ("openclaw_http2_requests_total", 1.0),
            (&format!("openclaw_requests_total{{{place}}}"), 1.0),
        ],
    );
}

#[test]
fn the_control_socket_tells_the_same_numbers() {
    let backend = Backend::start();
    let server = Setup::new(conf(
        "server {
            listen 127.0.0.1:%LISTEN1%;
            server_name one.example;
            location / { proxy_pass http://%BACKEND%; }
        }",
    ))
    .set("BACKEND", backend.address())
    .start();
    let control = Control::of(&server);
    for _ in 0..5 {
        assert_eq!(get(&server, "/"), 200);
    }
    let page = control
        .runtime
        .block_on(control.client.get_text("/v1/metrics"));
    let samples = parse(&page.expect("a page"));
    assert_eq!(samples["openclaw_config_revision"], 1.0);
    assert_eq!(samples["openclaw_config_generation"], 1.0);
    let summary = eventually("the next second was looked at", || {
        let summary: Summary = control.must_get("/v1/summary");
        (summary.total >= 5).then_some(summary)
    });
    let [route] = &summary.routes[..] else {
        panic!("one route: {summary:?}");
    };
    assert_eq!((route.total, route.traffic.statuses), (5, [0, 5, 0, 0, 0]));
    assert!(route.traffic.max >= route.traffic.p50, "{route:?}");
    let [peer] = &summary.peers[..] else {
        panic!("one peer: {summary:?}");
    };
    assert_eq!((peer.total, peer.failed, peer.active), (5, 0, 0));
    assert!(peer.traffic.received > 0.0 && summary.peak >= 1.0);
}

#[test]
fn who_watches_is_told_what_became_of_a_request() {
    let backend = Backend::start();
    let server = Setup::new(conf(
        "upstream app { server %DEAD1%; server %BACKEND% backup; }
        server {
            listen 127.0.0.1:%LISTEN1%;
            server_name one.example;
            location /app/ { proxy_pass http://app; }
        }",
    ))
    .set("BACKEND", backend.address())
    .start();
    let control = Control::of(&server);
    let path = format!("/app/{}?x=%1b[2J", "x".repeat(3000));
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: One.example:80\r\nUser-Agent: {}\r\nConnection: close\r\n\r\n",
        "a".repeat(1000)
    );
    let watch = async {
        let stream = control.client.stream(&[Topic::Requests]).await;
        let mut stream = stream.expect("room for one");
        // Until the workers know that somebody watches, nothing is told.
        loop {
            let port = server.port(1);
            let request = request.clone();
            let asking = tokio::task::spawn_blocking(move || {
                assert_eq!(Client::connect(port).ask(&request).status, 200);
            });
            asking.await.expect("it does not panic");
            let next = tokio::time::timeout(std::time::Duration::from_secs(1), async {
                loop {
                    match stream.next().await.expect("the stream lives") {
                        Some(Event::Requests { mut requests, .. }) => break requests.remove(0),
                        Some(_) => {}
                        None => panic!("the stream ended early"),
                    }
                }
            });
            if let Ok(told) = next.await {
                return told;
            }
        }
    };
    let told: Request = control.runtime.block_on(watch);
    assert_eq!((told.status, &*told.method), (200, "GET"));
    assert_eq!((&*told.host, &*told.protocol), ("one.example", "HTTP/1.1"));
    assert_eq!((&*told.server, &*told.location), ("one.example", "/app/"));
    assert_eq!((told.target.len(), told.user_agent.len()), (2048, 256));
    assert_eq!((&*told.client, told.is_complete), ("127.0.0.1", true));
    assert!(told.received > 4000 && told.sent > 100, "{told:?}");
    let peers: Vec<_> = (told.attempts.iter())
        .map(|attempt| (attempt.status, attempt.header.is_some()))
        .collect();
    // The dead one may have been found dead by an earlier request.
    assert_eq!(*peers.last().expect("an attempt"), (200, true), "{told:?}");
    let last = &told.attempts[told.attempts.len() - 1];
    assert_eq!(last.peer, backend.address());
    assert!(last.connect <= last.header && last.header <= last.response);
    assert!(told.duration >= last.started);
}
