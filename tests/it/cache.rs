//! The cache over real sockets: what is stored and what is served of it.
//!
//! Cases are data in `tests/cache/*.cases`. A case is a location of its own behind which an origin
//! answers what the case says:
//!
//! | line | meaning |
//! | --- | --- |
//! | `case NAME \| WHERE \| WHAT` | begins a case: its name, the rule it is about, what it says |
//! | `conf …` | one more line of its location |
//! | `origin 200 \| Name: value \| …` | answers of the origin from here on; `:body text` is the body, else the number of the request; with `:ranges` one range of it is sent to who asks for that |
//! | `then 304 \| …` | the answer after that one; the last one stays |
//! | `down`, `up` | the origin closes connections without an answer; it answers again |
//! | `ask GET /path \| Name: value \| …` | a request; `:body text` sends one |
//! | `got 200 HIT 1 \| Name: value \| !Name \| …` | its status, `$upstream_cache_status`, body, fields; a number may be `5..9`; `_` is anything, `-` nothing |
//! | `saw GET \| Name: value \| !Name` | what the origin was asked last |
//! | `count 2` | how many requests the origin got |
//! | `stale` | waits for a second, the shortest time that answers live |
//! | `renewed 2` | waits until the origin got so many requests |
//! | `hold`, `release` | the origin keeps its answers back from here on; it gives them |
//! | `begin GET /path \| …`, `finish` | a request of a client of its own; its answer, the oldest one first |
//! | `openclaw got …`, `nginx got …` | a line for one of them alone, where they differ on purpose |
//! | `because …` | the reason for such lines |
//! | `alone …` | the case is not one for nginx, with the reason |
//!
//! `{now}`, `{now-30}` are dates, `{unix+60}` numbers.
//!
//! Cases of directives that nginx has are played by nginx too: what they expect is what it does.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;

use crate::support::backend::{Backend, Exchange, Then, pattern};
use crate::support::client::Client;
use crate::support::server::{Setup, eventually, is_nginx, oracle, under_test};
use crate::support::wire::Head;

/// So many cases run at the same time.
const AT_ONCE: usize = 16;

#[derive(Default)]
struct Case {
    name: String,
    rule: String,
    conf: String,
    steps: Vec<(usize, String)>,
    /// Lines of `because`.
    reasons: usize,
    /// Nginx does not play it.
    is_alone: bool,
}

/// An answer of the origin.
#[derive(Clone, Default)]
struct Told {
    status: u16,
    fields: Vec<(String, String)>,
    body: Option<String>,
    serves_ranges: bool,
}

#[derive(Default)]
struct Origin {
    answers: VecDeque<Told>,
    is_down: bool,
    is_held: bool,
    count: usize,
    last: Option<Head>,
}

/// The origins of all cases, and what is told when one gives its answers.
#[derive(Default)]
struct Origins {
    all: Mutex<HashMap<String, Origin>>,
    released: Condvar,
}

fn read(file: &str) -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/cache")
        .join(file);
    let text = fs::read_to_string(path).expect("the cases are part of the sources");
    let mut cases: Vec<Case> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(rest) = line.strip_prefix("case ") {
            let (name, rule) = rest.split_once(" | ").expect("a case has a rule");
            cases.push(Case {
                name: name.to_owned(),
                rule: rule.to_owned(),
                ..Case::default()
            });
            continue;
        }
        let case = cases.last_mut().expect("a line belongs to a case");
        match line.split_once(' ') {
            Some(("conf", conf)) => {
                let _ = writeln!(case.conf, "{conf}");
            }
            Some(("because", _)) => case.reasons += 1,
            Some(("alone", _)) => case.is_alone = true,
            _ => case.steps.push((number + 1, line.to_owned())),
        }
    }
    for case in &cases {
        let mut steps = case.steps.iter();
        let differs = steps.any(|(_, step)| step.starts_with("nginx "));
        assert_eq!(
            differs,
            case.reasons > 0,
            "{}: a difference has a reason",
            case.name
        );
    }
    cases
}

/// The parts of a line between bars.
fn parts(line: &str) -> (String, Vec<String>) {
    let mut parts = line.split(" | ").map(|part| dated(part.trim()));
    (parts.next().unwrap_or_default(), parts.collect())
}

/// Puts times in place of `{now±N}` and `{unix±N}`.
fn dated(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((inside, behind)) = after.split_once('}') else {
            break;
        };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("it is later")
            .as_secs();
        let (word, shift) = match inside.find(['+', '-']) {
            Some(at) => inside.split_at(at),
            None => (inside, "0"),
        };
        let time = now as i64 + shift.parse::<i64>().expect("a shift in seconds");
        out += before;
        match word {
            "now" => out += &http_date(time),
            "unix" => out += &time.to_string(),
            other => panic!("no such time: {other}"),
        }
        rest = behind;
    }
    out + rest
}

fn http_date(time: i64) -> String {
    String::from_utf8(openclaw::http::date::http(time).to_vec()).expect("ASCII")
}

fn field(part: &str) -> (String, String) {
    let (name, value) = part
        .split_once(": ")
        .unwrap_or((part.trim_end_matches(':'), ""));
    (name.to_owned(), value.to_owned())
}

fn told(line: &str) -> Told {
    let (status, parts) = parts(line);
    let mut told = Told {
        status: status.parse().expect("a status"),
        ..Told::default()
    };
    for part in parts {
        match part.strip_prefix(":body ") {
            Some(text) => told.body = Some(text.to_owned()),
            None if part == ":ranges" => told.serves_ranges = true,
            None => told.fields.push(field(&part)),
        }
    }
    told
}

/// The first and the last byte of a range that a request asks for.
fn asked_range(head: &Head) -> Option<(usize, usize)> {
    let (first, last) = head
        .value("Range")?
        .strip_prefix("bytes=")?
        .split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?))
}

/// Answers as the case whose name stands first in the path says.
fn answer(origins: &Origins, exchange: &mut Exchange<'_>) -> Then {
    if exchange.read_body().is_err() {
        return Then::Close;
    }
    let head = exchange.seen.head.clone();
    let path = head.line.split(' ').nth(1).unwrap_or_default().to_owned();
    let name = path.split(['/', '?']).nth(1).unwrap_or_default().to_owned();
    let (told, number) = {
        let mut all = origins.all.lock().expect("no writer panics");
        let origin = all.entry(name.clone()).or_default();
        if origin.is_down {
            return Then::Close;
        }
        origin.count += 1;
        origin.last = Some(head.clone());
        let number = origin.count;
        let is_held = |all: &mut HashMap<String, Origin>| all[&name].is_held;
        all = (origins.released.wait_while(all, is_held)).expect("no writer panics");
        let origin = all.entry(name).or_default();
        let told = match origin.answers.len() {
            0 => Told {
                status: 200,
                ..Told::default()
            },
            1 => origin.answers[0].clone(),
            _ => origin.answers.pop_front().expect("there are some"),
        };
        (told, number)
    };
    let Told {
        mut status,
        mut fields,
        body,
        serves_ranges,
    } = told;
    let mut body = body.unwrap_or_else(|| number.to_string());
    if let Some((first, last)) = asked_range(&head).filter(|_| serves_ranges) {
        let whole = body.len();
        (status, body) = match body.get(first..whole.min(last + 1)) {
            Some(part) if !part.is_empty() => (206, part.to_owned()),
            _ => (416, String::new()),
        };
        let range = match status {
            206 => format!("bytes {first}-{}/{whole}", first + body.len() - 1),
            _ => format!("bytes */{whole}"),
        };
        fields.push(("Content-Range".to_owned(), range));
    }
    let is_bare = head.line.starts_with("HEAD ") || matches!(status, 204 | 304);
    let mut bytes = format!("HTTP/1.1 {status} Told\r\n");
    if status != 304
        && !fields
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("Content-Length"))
    {
        let _ = write!(bytes, "Content-Length: {}\r\n", body.len());
    }
    for (name, value) in fields {
        let _ = write!(bytes, "{name}: {value}\r\n");
    }
    bytes += "\r\n";
    if !is_bare {
        bytes += &body;
    }
    match exchange.send(bytes) {
        true => Then::NextRequest,
        false => Then::Close,
    }
}

/// What is wrong with a value that was expected to be this.
fn differs(expected: &str, found: Option<&str>) -> bool {
    match (expected, found) {
        ("_", _) => false,
        ("-", found) => found.is_some_and(|found| !found.is_empty()),
        (_, None) => true,
        (expected, Some(found)) => match expected.split_once("..") {
            Some((low, high)) => {
                let number = |text: &str| text.parse::<i64>();
                match (number(low), number(high), number(found)) {
                    (Ok(low), Ok(high), Ok(found)) => !(low..=high).contains(&found),
                    _ => expected != found,
                }
            }
            None => expected != found,
        },
    }
}

/// The first field of a list that is not as expected.
fn wrong_field(parts: &[String], value_of: impl Fn(&str) -> Option<String>) -> Option<String> {
    parts.iter().find_map(|part| {
        if let Some(name) = part.strip_prefix('!') {
            return value_of(name).map(|found| format!("`{name}` is there: `{found}`"));
        }
        let (name, expected) = field(part);
        let found = value_of(&name);
        differs(&expected, found.as_deref())
            .then(|| format!("`{name}` is {found:?} and not `{expected}`"))
    })
}

/// The request of an `ask` or a `begin`.
fn request(case: &Case, rest: &str) -> String {
    let (line, parts) = parts(rest);
    let (method, path) = line.split_once(' ').expect("a method and a path");
    let mut request = format!("{method} /{}{path} HTTP/1.1\r\n", case.name);
    let mut body = String::new();
    let mut has_host = false;
    for part in parts {
        match part.strip_prefix(":body ") {
            Some(text) => {
                let _ = write!(request, "Content-Length: {}\r\n", text.len());
                body = text.to_owned();
            }
            None => {
                has_host |= part.to_ascii_lowercase().starts_with("host:");
                let _ = write!(request, "{part}\r\n");
            }
        }
    }
    if !has_host {
        request += "Host: a\r\n";
    }
    format!("{request}\r\n{body}")
}

/// The shortest time after which an answer that is fresh for a second is stale: nginx counts whole
/// seconds, and a second that is equal is still good.
fn second_of(program: &Path) -> Duration {
    match is_nginx(program) {
        true => Duration::from_millis(2050),
        false => Duration::from_millis(1050),
    }
}

fn run(case: &Case, program: &Path, port: u16, origins: &Origins) -> Result<(), String> {
    let mut client = Client::connect(port);
    let mut begun: VecDeque<(Client, String)> = VecDeque::new();
    let mut last = None;
    let origin = |change: &mut dyn FnMut(&mut Origin)| {
        let mut all = origins.all.lock().expect("no writer panics");
        change(all.entry(case.name.clone()).or_default());
    };
    let (own, other) = match is_nginx(program) {
        true => ("nginx ", "openclaw "),
        false => ("openclaw ", "nginx "),
    };
    for (number, line) in &case.steps {
        if line.starts_with(other) {
            continue;
        }
        let line = line.strip_prefix(own).unwrap_or(line);
        let failed = |why: String| Err(format!("line {number}: `{line}`: {why}"));
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "origin" => origin(&mut |origin| {
                origin.answers.clear();
                origin.answers.push_back(told(rest));
            }),
            "then" => origin(&mut |origin| origin.answers.push_back(told(rest))),
            "down" => origin(&mut |origin| origin.is_down = true),
            "up" => origin(&mut |origin| origin.is_down = false),
            "hold" => origin(&mut |origin| origin.is_held = true),
            "release" => {
                origin(&mut |origin| origin.is_held = false);
                origins.released.notify_all();
            }
            "ask" => {
                client.send(request(case, rest));
                let method = rest.split(' ').next().unwrap_or_default();
                let answer = match client.next_answer(method) {
                    Ok(answer) => answer,
                    Err(end) => return failed(format!("no answer, {end:?}")),
                };
                if answer.says_close() || answer.cut.is_some() {
                    client = Client::connect(port);
                }
                last = Some(answer);
            }
            "begin" => {
                let mut another = Client::connect(port);
                another.send(request(case, rest));
                let method = rest.split(' ').next().unwrap_or_default().to_owned();
                begun.push_back((another, method));
            }
            "finish" => {
                let (mut another, method) = begun.pop_front().expect("something was begun");
                last = match another.next_answer(&method) {
                    Ok(answer) => Some(answer),
                    Err(end) => return failed(format!("no answer, {end:?}")),
                };
            }
            "got" => {
                let answer = last.as_ref().expect("something was asked");
                let (line, parts) = parts(rest);
                let mut words = line.splitn(3, ' ');
                let mut word = || words.next().unwrap_or("_");
                let (status, cache, body) = (word(), word(), word());
                let found = answer.status.to_string();
                if differs(status, Some(&found)) {
                    return failed(format!("the status is {found}; {:?}", answer.fields));
                }
                if differs(cache, answer.value("X-Cache")) {
                    return failed(format!("the cache says {:?}", answer.value("X-Cache")));
                }
                if differs(body, Some(&answer.text())) {
                    return failed(format!("the body is `{}`", answer.text()));
                }
                let value_of = |name: &str| {
                    let mut values = answer
                        .fields
                        .iter()
                        .filter(|field| field.name.eq_ignore_ascii_case(name));
                    let first = values.next()?.value.clone();
                    Some(values.fold(first, |all, field| format!("{all}, {}", field.value)))
                };
                if let Some(why) = wrong_field(&parts, value_of) {
                    return failed(why);
                }
            }
            "saw" => {
                let (method, parts) = parts(rest);
                let mut seen = None;
                origin(&mut |origin| seen.clone_from(&origin.last));
                let seen = seen.expect("the origin was asked");
                if !seen.line.starts_with(&format!("{method} ")) {
                    return failed(format!("it was asked `{}`", seen.line));
                }
                let value_of = |name: &str| seen.value(name).map(str::to_owned);
                if let Some(why) = wrong_field(&parts, value_of) {
                    return failed(why);
                }
            }
            "count" => {
                let mut count = 0;
                origin(&mut |origin| count = origin.count);
                if count.to_string() != rest {
                    return failed(format!("it was asked {count} times"));
                }
            }
            "stale" => {
                let asked = Instant::now();
                eventually("a second has passed", || {
                    (asked.elapsed() > second_of(program)).then_some(())
                });
            }
            "renewed" => {
                let expected: usize = rest.parse().expect("a number");
                eventually("the origin was asked again", || {
                    let mut count = 0;
                    origin(&mut |origin| count = origin.count);
                    (count == expected).then_some(())
                });
            }
            other => return failed(format!("no such step as `{other}`")),
        }
    }
    Ok(())
}

/// Has a program play all cases that are for it, each in a location of its own.
fn play(file: &str, cases: &[Case], program: &Path) {
    let cases: Vec<&Case> = (cases.iter())
        .filter(|case| !(case.is_alone && is_nginx(program)))
        .collect();
    let origins = Arc::new(Origins::default());
    let answering = Arc::clone(&origins);
    let backend = Backend::scripted(move |exchange| answer(&answering, exchange));
    let mut locations = String::new();
    for case in &cases {
        let zone = match case.conf.contains("proxy_cache ") {
            true => "",
            false => "proxy_cache one;",
        };
        let _ = writeln!(
            locations,
            "location /{}/ {{ proxy_pass http://%BACKEND%; {zone}
                 add_header X-Cache $upstream_cache_status always; {} }}",
            case.name, case.conf
        );
    }
    let server = Setup::http(&format!(
        "proxy_cache_path %PREFIX%/cache levels=1:2 keys_zone=one:10m;
         server {{ listen %LISTEN1%; {locations} }}"
    ))
    .program(program)
    .set("BACKEND", backend.address())
    .tolerate("upstream prematurely closed connection")
    .tolerate("slice")
    .start();
    let port = server.port(1);
    let queue = Mutex::new(cases.iter());
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(case) = queue.lock().expect("no holder panics").next() else {
                        return;
                    };
                    if let Err(why) = run(case, program, port, &origins) {
                        let why = format!("{} ({}): {why}", case.name, case.rule);
                        failures.lock().expect("no holder panics").push(why);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no holder panicked");
    assert!(
        failures.is_empty(),
        "{} of {} cases in {file} with {}:\n{}",
        failures.len(),
        cases.len(),
        program.display(),
        failures.join("\n")
    );
}

/// The program under test plays the cases of a file.
fn check(file: &str) {
    if !is_nginx(&under_test()) {
        play(file, &read(file), &under_test());
    }
}

#[test]
fn the_rules_of_rfc_9111_5861_and_9213_hold() {
    check("standards.cases");
}

#[test]
fn the_directives_do_what_they_say() {
    check("directives.cases");
}

#[test]
fn nginx_does_what_the_cases_of_its_directives_say() {
    let file = "directives.cases";
    play(file, &read(file), &oracle());
}

#[test]
fn an_answer_is_stored_in_slices_and_sent_as_the_whole() {
    check("slices.cases");
}

#[test]
fn nginx_does_what_the_cases_of_slices_say() {
    let file = "slices.cases";
    play(file, &read(file), &oracle());
}

#[test]
fn no_client_decides_what_another_one_gets() {
    check("poisoning.cases");
}

/// A server with a cache in front of a backend, its location with these lines.
fn caching(backend: &Backend, lines: &str) -> Setup {
    Setup::http(&format!(
        "proxy_cache_path %PREFIX%/cache levels=1:2 keys_zone=one:10m;
         server {{ listen %LISTEN1%; location / {{ proxy_pass http://%BACKEND%; proxy_cache one;
             add_header X-Cache $upstream_cache_status always; {lines} }} }}"
    ))
    .set("BACKEND", backend.address())
}

/// A door that an origin waits at until the test opens it.
#[derive(Default)]
pub struct Door {
    is_open: Mutex<bool>,
    changed: Condvar,
}

impl Door {
    pub fn open(&self) {
        *self.is_open.lock().expect("no holder panics") = true;
        self.changed.notify_all();
    }

    pub fn pass(&self) {
        let is_open = self.is_open.lock().expect("no holder panics");
        drop(
            self.changed
                .wait_while(is_open, |is_open| !*is_open)
                .expect("no holder panics"),
        );
    }
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn a_thousand_clients_at_once_are_one_request_of_the_origin() {
    const CLIENTS: usize = 1000;
    let door = Arc::new(Door::default());
    let waiting = Arc::clone(&door);
    let body = pattern(300_000);
    let sent = body.clone();
    let backend = Backend::scripted(move |exchange| {
        exchange.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nCache-Control: max-age=60\r\n\r\n",
            sent.len()
        ));
        let (first, rest) = sent.split_at(1000);
        exchange.send(first);
        // The rest comes when everybody waits for it.
        waiting.pass();
        exchange.send(rest);
        Then::NextRequest
    });
    let server = Setup::new(
        "events { worker_connections 4096; }
         http {
             %COMMON%
             proxy_cache_path %PREFIX%/cache keys_zone=one:10m;
             server { listen %LISTEN1%; location / { proxy_pass http://%BACKEND%; proxy_cache one;
                 proxy_cache_lock on; proxy_cache_lock_timeout 1m; } }
         }",
    )
    .set("BACKEND", backend.address())
    .start();
    let port = server.port(1);
    let mut clients: Vec<Client> = (0..CLIENTS)
        .map(|_| {
            let mut client = Client::connect(port);
            client.send(GET);
            client
        })
        .collect();
    // All were answered as far as there is something to answer with.
    door.open();
    for client in &mut clients {
        let answer = client.answer("GET");
        assert_eq!((answer.status, answer.cut), (200, None));
        assert!(answer.body == body);
    }
    assert_eq!(backend.seen().len(), 1);
}

#[test]
fn those_who_wait_read_along_while_the_answer_comes() {
    let door = Arc::new(Door::default());
    let waiting = Arc::clone(&door);
    let backend = Backend::scripted(move |exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\nCache-Control: max-age=60\r\n\r\n");
        exchange.send("abc");
        waiting.pass();
        exchange.send("def");
        Then::NextRequest
    });
    let server = caching(&backend, "proxy_cache_lock on;").start();
    let mut first = server.connect(1);
    first.send(GET);
    eventually("the origin was asked", || {
        (backend.seen().len() == 1).then_some(())
    });
    let mut second = server.connect(1);
    second.send(GET);
    // The origin has not sent the rest, and the second one has what there is.
    let mut seen = String::new();
    while !seen.ends_with("\r\n\r\nabc") {
        let byte = second.bytes(1).expect("the head and three bytes come");
        seen.push(char::from(byte[0]));
    }
    assert!(seen.contains("X-Cache: HIT"), "{seen}");
    door.open();
    assert_eq!(second.bytes(3).expect("the rest comes"), b"def");
    assert_eq!(first.answer("GET").text(), "abcdef");
    assert_eq!(backend.seen().len(), 1);
}

#[test]
fn an_answer_that_is_not_for_others_holds_nobody_up() {
    let backend = Backend::start();
    let server = caching(&backend, "proxy_cache_lock on;").start();
    let port = server.port(1);
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                let mut client = Client::connect(port);
                let answer = client.ask(
                    "GET / HTTP/1.1\r\nHost: a\r\nX-Answer: delay=50 field=Cache-Control:private\r\n\r\n",
                );
                assert_eq!(answer.status, 200);
            });
        }
    });
    assert_eq!(backend.seen().len(), 20);
}

#[test]
fn an_origin_that_breaks_off_leaves_nothing_behind() {
    let backend = Backend::start();
    let server = caching(&backend, "proxy_cache_valid 200 1m;")
        .tolerate("upstream prematurely closed connection")
        .start();
    for framing in ["", "chunked"] {
        let path = format!("/{framing}");
        let ask = |answer: &str| {
            let mut client = server.connect(1);
            client.ask(&format!(
                "GET {path} HTTP/1.1\r\nHost: a\r\nX-Answer: {answer} {framing}\r\n\r\n"
            ))
        };
        let cut = ask("body=200000 cut=100000");
        assert!(cut.cut.is_some());
        let whole = ask("body=200000");
        assert_eq!(whole.value("X-Cache"), Some("MISS"));
        assert!(whole.body == pattern(200_000));
        let again = ask("drop");
        assert_eq!(again.value("X-Cache"), Some("HIT"));
        assert!(again.body == pattern(200_000));
    }
}

#[test]
fn an_answer_is_stored_although_its_client_left() {
    let door = Arc::new(Door::default());
    let waiting = Arc::clone(&door);
    let backend = Backend::scripted(move |exchange| {
        exchange
            .send("HTTP/1.1 200 OK\r\nContent-Length: 200000\r\nCache-Control: max-age=60\r\n\r\n");
        exchange.send(&pattern(200_000)[..100_000]);
        waiting.pass();
        exchange.send(&pattern(200_000)[100_000..]);
        Then::NextRequest
    });
    let server = caching(&backend, "").start();
    let mut client = server.connect(1);
    client.send(GET);
    client.bytes(1000).expect("the answer begins");
    drop(client);
    door.open();
    let answer = eventually("it is stored", || {
        let answer = server
            .connect(1)
            .ask("GET / HTTP/1.1\r\nHost: a\r\nRange: bytes=0-9\r\n\r\n");
        (answer.value("X-Cache") == Some("HIT")).then_some(answer)
    });
    assert_eq!(answer.status, 206);
    let answer = server.connect(1).ask(GET);
    assert!(answer.body == pattern(200_000));
}

/// Asks for a great answer and reads none of it until another client, who follows, has all of it.
fn a_slow_client_first(conf: &str, length: usize) {
    let backend = Backend::start();
    let server = caching(&backend, conf).start();
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Answer: body={length}\r\n\r\n");
    let mut slow = server.connect(1);
    slow.send(&request);
    eventually("the origin was asked", || {
        (backend.seen().len() == 1).then_some(())
    });
    let answer = server.connect(1).ask(&request);
    assert_eq!(answer.value("X-Cache"), Some("HIT"));
    assert!(answer.body == pattern(length));
    let answer = slow.answer("GET");
    assert_eq!(
        (answer.status, answer.value("X-Cache")),
        (200, Some("MISS"))
    );
    assert!(answer.body == pattern(length));
    assert_eq!(slow.ask(&request).value("X-Cache"), Some("HIT"));
    assert_eq!(backend.seen().len(), 1);
}

#[test]
fn a_client_that_reads_nothing_does_not_hold_up_the_others() {
    let conf = "proxy_cache_lock on; proxy_cache_valid 200 1m;";
    // More than fits into the sockets between.
    a_slow_client_first(conf, 900_000);
    // More than is kept in memory for anybody.
    a_slow_client_first(conf, 16_000_000);
    // What it gets is made for it: the rest of that comes from the disk too.
    a_slow_client_first(
        &format!("{conf} sub_filter_types *; sub_filter '\\1' '\\1';"),
        20_000_000,
    );
}

#[test]
fn a_slow_client_that_leaves_or_wants_a_part_keeps_nothing_from_being_stored() {
    const LENGTH: usize = 20_000_000;
    let backend = Backend::start();
    let server = caching(&backend, "proxy_cache_lock on; proxy_cache_valid 200 1m;").start();
    for (path, range, is_read) in [
        ("/gone", "", false),
        ("/part", "Range: bytes=9000000-18999999\r\n", true),
    ] {
        let request = |range: &str| {
            format!("GET {path} HTTP/1.1\r\nHost: a\r\n{range}X-Answer: body={LENGTH}\r\n\r\n")
        };
        let before = backend.seen().len();
        let mut slow = server.connect(1);
        slow.send(request(range));
        eventually("the origin was asked", || {
            (backend.seen().len() > before).then_some(())
        });
        let mut other = server.connect(1);
        other.send(request(""));
        other.bytes(2_000_000).expect("the answer begins");
        if is_read {
            let answer = slow.answer("GET");
            assert_eq!(answer.status, 206);
            assert!(answer.body == pattern(LENGTH)[9_000_000..19_000_000]);
        }
        drop(slow);
        drop(other);
        let answer = server.connect(1).ask(&request(""));
        assert_eq!(answer.value("X-Cache"), Some("HIT"));
        assert!(answer.body == pattern(LENGTH));
        assert_eq!(backend.seen().len(), before + 1);
    }
}

#[test]
fn a_reload_while_an_answer_is_stored_loses_neither_it_nor_its_client() {
    let door = Arc::new(Door::default());
    let waiting = Arc::clone(&door);
    let backend = Backend::scripted(move |exchange| {
        exchange
            .send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\nCache-Control: max-age=60\r\n\r\nabc");
        waiting.pass();
        exchange.send("def");
        Then::NextRequest
    });
    let conf = |generation: u8| {
        format!(
            "events {{}} http {{ %COMMON% proxy_cache_path %PREFIX%/cache keys_zone=one:10m;
             server {{ listen %LISTEN1%;
                 location = /generation {{ return 200 {generation}; }}
                 location / {{ proxy_pass http://%BACKEND%; proxy_cache one;
                     add_header X-Cache $upstream_cache_status always; }} }} }}"
        )
    };
    let mut server = Setup::new(conf(1))
        .set("BACKEND", backend.address())
        .start();
    let mut client = server.connect(1);
    client.send(GET);
    eventually("the origin was asked", || {
        (backend.seen().len() == 1).then_some(())
    });
    server.rewrite(&conf(2));
    server.signal(Signal::SIGHUP);
    eventually("the new configuration is in force", || {
        let answer = server
            .connect(1)
            .ask("GET /generation HTTP/1.1\r\nHost: a\r\n\r\n");
        (answer.text() == "2").then_some(())
    });
    door.open();
    assert_eq!(client.answer("GET").text(), "abcdef");
    let answer = server.connect(1).ask(GET);
    assert_eq!(answer.value("X-Cache"), Some("HIT"));
    assert_eq!(answer.text(), "abcdef");
}

#[test]
fn what_is_compressed_for_one_client_is_stored_as_it_came() {
    let backend = Backend::start();
    let server = caching(
        &backend,
        "proxy_cache_valid 200 1m; gzip on; gzip_types text/plain; gzip_min_length 1; gzip_proxied any;",
    )
    .start();
    let ask = |field: &str| {
        server.connect(1).ask(&format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX-Answer: body=5000\r\n{field}\r\n"
        ))
    };
    let packed = ask("Accept-Encoding: gzip\r\n");
    assert_eq!(packed.value("Content-Encoding"), Some("gzip"));
    let plain = ask("");
    assert_eq!(plain.value("X-Cache"), Some("HIT"));
    assert_eq!(plain.value("Content-Encoding"), None);
    assert!(plain.body == pattern(5000));
    let packed_again = ask("Accept-Encoding: gzip\r\n");
    assert_eq!(packed_again.value("X-Cache"), Some("HIT"));
    assert_eq!(packed_again.value("Content-Encoding"), Some("gzip"));
    assert_eq!(backend.seen().len(), 1);
}
