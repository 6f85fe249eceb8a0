//! Runs a case: both peers on the same file, the same requests to both, every difference told.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::case::Case;
use super::deviations::named;
use super::normalise::{Normaliser, log_masks, pattern_of};
use super::requests::{Action, Script};
use crate::support::backend::{Backend, Record, Seen};
use crate::support::client::{Answer, Client};
use crate::support::server::{Setup, is_nginx, oracle};
use crate::support::wire::End;

/// The log that every case has besides its own ones.
const LOG: &str = r#"
    map $status $oracle_request {
        # What is known of a refused head depends on where its flaw was found.
        ~^(?:400|405|413|414|501|505)$ refused;
        default "$request_method $uri $http_host $server_name $server_protocol";
    }
    log_format oracle '$remote_addr $server_port "$request" $oracle_request '
        '$status sent=$bytes_sent body=$body_bytes_sent $scheme '
        'to=$upstream_addr $upstream_status location=$sent_http_location';
    access_log logs/oracle.log oracle;
"#;

/// What one connection brought.
pub struct Observed {
    /// The answers with the methods they answer.
    pub answers: Vec<(Answer, String)>,
    pub end: String,
    pub extra: Vec<u8>,
    pub seen: Vec<Seen>,
}

/// A place where the peers differ.
#[derive(Debug)]
pub struct Difference {
    pub what: String,
    pub theirs: Vec<String>,
    pub ours: Vec<String>,
}

/// What one peer did in a whole case.
struct Side {
    /// What each script brought; nothing where nginx was not asked.
    exchanges: Vec<Option<Observed>>,
    lines: Vec<Vec<String>>,
    logs: BTreeMap<String, Vec<String>>,
    nginx: bool,
}

/// Plays a case with the oracle and with a program, which may have another configuration, and tells
/// where they differ. The text is the transcript of what the oracle did.
pub fn differences(case: &Case, ours: &Path, our_conf: &str) -> (Vec<Difference>, String) {
    let (theirs, our_side) = thread::scope(|scope| {
        let theirs = scope.spawn(|| play(case, &oracle(), &case.conf));
        let ours = play(case, ours, our_conf);
        (theirs.join().expect("a peer's thread does not panic"), ours)
    });
    let theirs = theirs.unwrap_or_else(|said| panic!("nginx refuses the case:\n{said}"));
    let ours = our_side.unwrap_or_else(|said| panic!("openclaw refuses the case:\n{said}"));
    let mut differences = Vec::new();
    for (place, script) in case.requests.scripts.iter().enumerate() {
        let alike = match &script.deviation {
            Some(expected) => ours.exchanges[place].as_ref().is_none_or(|exchange| {
                let last = exchange.answers.last();
                last.is_some_and(|(answer, _)| answer.status == expected.status)
            }),
            None => theirs.lines[place] == ours.lines[place],
        };
        if !alike {
            let mut what = script.source.clone();
            if let Some(expected) = &script.deviation {
                let id = &expected.deviation;
                let deviation = named(id).unwrap_or_else(|| panic!("no deviation is named `{id}`"));
                what = format!("{what}\n   wanted since {}", deviation.reason);
            }
            differences.push(Difference {
                what,
                theirs: theirs.lines[place].clone(),
                ours: ours.lines[place].clone(),
            });
        }
    }
    if !case.has("unlogged") {
        differences.extend(log_differences(case, &theirs, &ours));
    }
    let mut transcript = String::new();
    for (script, lines) in case.requests.scripts.iter().zip(&theirs.lines) {
        let _infallible = writeln!(transcript, "── {}\n{}\n", script.source, lines.join("\n"));
    }
    for (name, lines) in &theirs.logs {
        let _infallible = writeln!(transcript, "── logs/{name}\n{}\n", lines.join("\n"));
    }
    (differences, transcript)
}

/// The differences side by side, the first few of them.
pub fn report(name: &str, differences: &[Difference]) -> String {
    const SHOWN: usize = 8;
    const WIDTH: usize = 78;
    let mut text = format!("case `{name}`: {} differences\n", differences.len());
    for difference in differences.iter().take(SHOWN) {
        let _infallible = writeln!(text, "\n── {}", difference.what);
        let _infallible = writeln!(text, "  {:WIDTH$} │ openclaw", "nginx");
        for (left, right) in aligned(&difference.theirs, &difference.ours) {
            let mark = if left == right { ' ' } else { '≠' };
            if left.chars().count() <= WIDTH {
                let _infallible = writeln!(text, "{mark} {left:WIDTH$} │ {right}");
            } else if left == right {
                let start: String = left.chars().take(WIDTH - 1).collect();
                let _infallible = writeln!(text, "{mark} {start}… │ (the same)");
            } else {
                let _infallible = writeln!(text, "{mark} {left}\n{mark} {:WIDTH$} │ {right}", "");
            }
        }
    }
    if differences.len() > SHOWN {
        let _infallible = writeln!(text, "\n… and {} more", differences.len() - SHOWN);
    }
    text
}

/// Pairs of lines by their longest common subsequence: a line that one side lacks has a gap there.
fn aligned<'a>(left: &'a [String], right: &'a [String]) -> Vec<(&'a str, &'a str)> {
    let mut lengths = vec![vec![0; right.len() + 1]; left.len() + 1];
    for row in (0..left.len()).rev() {
        for column in (0..right.len()).rev() {
            lengths[row][column] = if left[row] == right[column] {
                lengths[row + 1][column + 1] + 1
            } else {
                lengths[row + 1][column].max(lengths[row][column + 1])
            };
        }
    }
    let (mut row, mut column) = (0, 0);
    let mut pairs = Vec::new();
    while row < left.len() || column < right.len() {
        let same_name = |left: &str, right: &str| {
            left.starts_with(['<', '>']) && left.split(' ').nth(1) == right.split(' ').nth(1)
        };
        match (left.get(row), right.get(column)) {
            (Some(ours), Some(theirs)) if ours == theirs || same_name(ours, theirs) => {
                pairs.push((ours.as_str(), theirs.as_str()));
                row += 1;
                column += 1;
            }
            (Some(ours), theirs)
                if theirs.is_none() || lengths[row + 1][column] >= lengths[row][column + 1] =>
            {
                pairs.push((ours.as_str(), ""));
                row += 1;
            }
            (_, Some(theirs)) => {
                pairs.push(("", theirs.as_str()));
                column += 1;
            }
            (_, None) => unreachable!("one side has a line left"),
        }
    }
    pairs
}

/// Runs one peer through a case; `Err` is what it said when it refused the configuration.
fn play(case: &Case, program: &Path, conf: &str) -> Result<Side, String> {
    let record = Record::default();
    let sockets = tempfile::tempdir().expect("a temporary directory");
    let log = format!("%COMMON%\n{LOG}");
    let mut setup = Setup::new(conf.replace("%COMMON%", &log))
        .program(program)
        .tree(&case.files);
    let mut names = Vec::new();
    let mut backends = Vec::new();
    for number in 1..=9 {
        let tcp = format!("BACKEND{number}");
        if conf.contains(&tcp) {
            let backend = Backend::named(&format!("backend {number}"), &record);
            names.push((backend.port().to_string(), tcp.clone()));
            setup = setup.set(&tcp, backend.address());
            backends.push(backend);
        }
        let unix = format!("UNIX{number}");
        if conf.contains(&unix) {
            let path = sockets.path().join(format!("{number}.sock"));
            let backend = Backend::on_path(&format!("backend unix {number}"), &path, &record);
            setup = setup.set(&unix, backend.address());
            backends.push(backend);
        }
    }
    let mut server = setup.try_start().map_err(|refusal| refusal.said)?;
    let site = server.site();
    for (number, port) in site.listens() {
        names.push((port.to_string(), format!("LISTEN{number}")));
    }
    for (number, port) in site.dead() {
        names.push((port.to_string(), format!("DEAD{number}")));
    }
    names.push((site.prefix.display().to_string(), "PREFIX".to_owned()));
    names.push((sockets.path().display().to_string(), "SOCKETS".to_owned()));
    let normaliser = Normaliser::new(&names, is_nginx(program), case);
    // Where a difference is wanted, what nginx does is not the question.
    let asked = |script: &Script| !(is_nginx(program) && script.deviation.is_some());
    let mut exchanges = Vec::new();
    let mut lines = Vec::new();
    for script in &case.requests.scripts {
        let observed = asked(script).then(|| {
            let mut observed = exchange(
                Client::connect_from(script.source_address, server.port(script.listen)),
                script,
            );
            observed.seen = record.take();
            observed
        });
        lines.push(match &observed {
            Some(observed) => normaliser.exchange(observed),
            None => vec!["(not asked)".to_owned()],
        });
        exchanges.push(observed);
    }
    server.quit();
    let logs = read_logs(case, &normaliser, &server.site().prefix);
    Ok(Side {
        exchanges,
        lines,
        logs,
        nginx: is_nginx(program),
    })
}

fn exchange(mut client: Client, script: &Script) -> Observed {
    let mut answers = Vec::new();
    let mut ended = None;
    for action in &script.actions {
        let (method, final_only) = match action {
            Action::Send(bytes) => {
                client.send(bytes);
                continue;
            }
            Action::Flush => {
                // Long enough that the kernel does not join the packets, and nothing waits for it:
                // if they are joined after all, the same bytes arrive.
                thread::sleep(Duration::from_millis(5));
                continue;
            }
            Action::AwaitAny => ("GET", false),
            Action::AwaitFinal(method) => (method.as_str(), true),
        };
        let mut over = false;
        loop {
            match client.next_answer(method) {
                Ok(answer) => {
                    let interim = answer.status < 200 && answer.status != 101;
                    // A final answer where an interim one was awaited: it stands for all to come.
                    over = answer.cut.is_some() || (!interim && !final_only);
                    answers.push((answer, method.to_owned()));
                    if over || !(interim && final_only) {
                        break;
                    }
                }
                Err(end) => {
                    ended = Some(end);
                    break;
                }
            }
        }
        if over || ended.is_some() {
            break;
        }
    }
    let open = ended.is_none()
        && !answers
            .last()
            .is_some_and(|(answer, _)| answer.says_close());
    client.finish_sending();
    let (extra, end) = client.rest();
    let end = match ended.unwrap_or(end) {
        _ if open && end != End::TimedOut => "kept open",
        // A reset and an orderly end are the same to who has read all there was.
        End::Closed | End::Reset => "closed",
        End::TimedOut => "stuck",
        End::Malformed => "not HTTP",
    };
    Observed {
        answers,
        end: end.to_owned(),
        extra,
        seen: Vec::new(),
    }
}

fn read_logs(case: &Case, normaliser: &Normaliser, prefix: &Path) -> BTreeMap<String, Vec<String>> {
    let mut masks: Vec<_> = case
        .requests
        .masks
        .iter()
        .map(|(pattern, name)| (pattern_of(pattern), name.clone()))
        .collect();
    masks.extend(log_masks());
    let mut logs = BTreeMap::new();
    for entry in std::fs::read_dir(prefix.join("logs")).expect("the prefix has it") {
        let entry = entry.expect("a directory of ours");
        let bytes = std::fs::read(entry.path()).expect("a log is a file");
        let lines = crate::support::wire::latin1(&bytes)
            .lines()
            .map(|line| {
                masks
                    .iter()
                    .fold(normaliser.text(line), |line, (pattern, name)| {
                        pattern.replace_all(&line, name.as_str()).into_owned()
                    })
            })
            .collect();
        logs.insert(entry.file_name().to_string_lossy().into_owned(), lines);
    }
    logs
}

/// Compares the logs line by line, after the sizes in ours are corrected by what both had on the
/// wire: a longer product name or other chunks are no difference.
fn log_differences(case: &Case, theirs: &Side, ours: &Side) -> Vec<Difference> {
    let (their_lines, our_lines) = (logged(case, theirs), logged(case, ours));
    let names: BTreeSet<&String> = theirs.logs.keys().chain(ours.logs.keys()).collect();
    let sizes = pattern_of(r#"(sent=|body=|" \d{3})(?: ?)\d+( )"#);
    let mut differences = Vec::new();
    for name in names {
        let empty = Vec::new();
        let mut left = theirs.logs.get(name).unwrap_or(&empty).clone();
        let mut right = ours.logs.get(name).unwrap_or(&empty).clone();
        // Where each request has its line, a line's request is known.
        if right.len() == our_lines.len() {
            let mut sizes = our_lines.iter();
            right.retain(|_| sizes.next().is_some_and(|line| !line.deviates));
        }
        let kept: Vec<&Logged> = our_lines.iter().filter(|line| !line.deviates).collect();
        if left.len() == their_lines.len() && right.len() == kept.len() {
            for (place, line) in right.iter_mut().enumerate() {
                let (Some(theirs), ours) = (their_lines.get(place), kept[place]) else {
                    continue;
                };
                *line = resized(line, ours.sent, theirs.sent, "sent");
                *line = resized(line, ours.body, theirs.body, "body");
            }
        } else {
            // A log of some requests only: which answer a line tells of is not known.
            for line in left.iter_mut().chain(&mut right) {
                *line = sizes.replace_all(line, "$1 SIZE$2").into_owned();
            }
        }
        if left != right {
            let place = (0..left.len().max(right.len()))
                .find(|&place| left.get(place) != right.get(place))
                .unwrap_or(0);
            differences.push(Difference {
                what: format!("logs/{name}, from line {}", place + 1),
                theirs: left.iter().skip(place).take(12).cloned().collect(),
                ours: right.iter().skip(place).take(12).cloned().collect(),
            });
        }
    }
    differences
}

/// A line that a log should have: for each final answer, or for a connection without any.
struct Logged {
    sent: usize,
    body: usize,
    deviates: bool,
}

fn logged(case: &Case, side: &Side) -> Vec<Logged> {
    let mut lines = Vec::new();
    for (script, exchange) in case.requests.scripts.iter().zip(&side.exchanges) {
        let Some(exchange) = exchange else { continue };
        let deviates = script.deviation.is_some();
        let before = lines.len();
        let mut interim = 0;
        for (answer, _) in &exchange.answers {
            let size = answer.head_size + answer.body_size;
            if answer.status < 200 && answer.status != 101 {
                // nginx counts it to the body of what follows, and we do not.
                interim += if side.nginx { size } else { 0 };
                continue;
            }
            let tunnelled = if answer.status == 101 {
                exchange.extra.len()
            } else {
                0
            };
            lines.push(Logged {
                sent: size + tunnelled + interim,
                body: answer.body_size + tunnelled + interim,
                deviates,
            });
            interim = 0;
        }
        if lines.len() == before {
            lines.push(Logged {
                sent: 0,
                body: 0,
                deviates,
            });
        }
    }
    lines
}

/// Replaces our size by theirs where a line tells it, as `sent=123`, or as the combined format does.
fn resized(line: &str, ours: usize, theirs: usize, name: &str) -> String {
    let mut line = line.replace(&format!("{name}={ours} "), &format!("{name}={theirs} "));
    if name == "body" {
        let combined = pattern_of(&format!(r#"(" \d{{3}}) {ours} ""#));
        let replacement = format!("$1 {theirs} \"");
        line = combined.replace(&line, replacement).into_owned();
    }
    line
}
