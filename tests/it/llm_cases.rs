//! Calls in one format's words and in another's: `tests/llm/*.case`.
//!
//! A case begins with a line `=== KIND FROM TO OPTIONS…`, then what comes in, a line `---`, and what goes
//! out. `TO` may be `all`: then one answer for each other format follows, each after a line `-> FORMAT`. Streams
//! are tried whole and cut after every byte. `OPENCLAW_REWRITE_EXPECTATIONS=1` writes what goes out anew
//! (read the difference before you keep it).

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use openclaw::llm::wire::front::{Format, Operation};
use openclaw::llm::wire::json::{Duplicates, Index};
use openclaw::llm::wire::neutral::{Client, Names, Target};
use openclaw::llm::wire::translate::{self, Translator};
use openclaw::llm::wire::watch::Seen;

const CASES: &str = "tests/llm";

#[test]
fn every_call_is_said_in_the_other_format_as_expected() {
    let rewrite = std::env::var_os("OPENCLAW_REWRITE_EXPECTATIONS").is_some();
    let mut failed = Vec::new();
    let mut count = 0;
    for path in files() {
        let text = fs::read_to_string(&path).expect("the cases can be read");
        let mut told = String::new();
        for case in text.split("=== ").skip(1) {
            let (head, rest) = case.split_once('\n').expect("a head");
            let (input, _) = rest.split_once("---\n").unwrap_or((rest, ""));
            let mut words = head.split(' ');
            let mut word = || words.next().expect("a kind and two formats");
            let (kind, from, to) = (word(), format(word()), word());
            let options: Vec<&str> = words.take_while(|word| *word != "#").collect();
            let _ = write!(told, "=== {head}\n{input}---\n");
            if to == "all" {
                for other in Format::ALL.into_iter().filter(|other| *other != from) {
                    count += 1;
                    let out = said(kind, from, other, &options, input);
                    let _ = write!(told, "-> {}\n{out}\n", other.name());
                }
            } else {
                count += 1;
                let out = said(kind, from, format(to), &options, input);
                let _ = writeln!(told, "{out}");
            }
        }
        if rewrite {
            fs::write(&path, &told).expect("the cases can be written");
        } else if told != text {
            let (line, (expected, got)) = text
                .lines()
                .zip(told.lines())
                .enumerate()
                .find(|(_, (expected, got))| expected != got)
                .unwrap_or((0, ("another number of lines", "")));
            failed.push(format!(
                "{}:{}\n--- expected\n{expected}\n--- told\n{got}",
                path.display(),
                line + 1
            ));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(count >= 600, "only {count} cases are tried");
}

fn said(kind: &str, from: Format, to: Format, options: &[&str], input: &str) -> String {
    let has = |option: &str| options.contains(&option);
    match kind {
        "request" => {
            let mut target = Target::new("real-model");
            target.adaptive = has("adaptive");
            target.budget = !has("adaptive");
            target.sampling = !has("no-sampling");
            target.prefill = !has("no-prefill");
            target.schema = !has("no-schema");
            target.extensions = has("extensions");
            target.old_max_tokens = has("old-max-tokens");
            let mut index = Index::new();
            let root = match index.read(input.as_bytes(), Duplicates::Refuse) {
                Ok(root) => root,
                Err(error) => return format!("malformed: {error}"),
            };
            let written = translate::read_request(from, root).and_then(|mut request| {
                request.stream |= has("stream");
                if has("forget") {
                    translate::forget_thinking(&mut request);
                }
                translate::write_request(to, &request, &target)
            });
            match written {
                Ok(written) => {
                    is_json(&written.body);
                    let mut out = written.body;
                    if let Some(version) = written.version {
                        let _ = write!(out, "\nversion: {version}");
                    }
                    if !written.dropped.is_empty() {
                        let _ = write!(out, "\ndropped: {}", written.dropped.join(", "));
                    }
                    out
                }
                Err(error) => format!("error: {error}"),
            }
        }
        "answer" => {
            let client = shown(options);
            let mut seen = Seen::default();
            match translate::answer(from, to, &client, input.as_bytes(), &mut seen) {
                Ok(body) => {
                    is_json(&body);
                    body
                }
                Err(failed) => format!("failed: {failed}"),
            }
        }
        "stream" => {
            let whole = streamed(from, to, options, [input.as_bytes()]);
            for size in [1, 7] {
                let cut = streamed(from, to, options, input.as_bytes().chunks(size));
                assert_eq!(cut, whole, "cut after every {size} bytes");
            }
            whole
        }
        _ => panic!("`{kind}` is no kind of a case"),
    }
}

fn streamed<'a>(
    from: Format,
    to: Format,
    options: &[&str],
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> String {
    let mut translator = Translator::new(from, to, shown(options));
    let mut out = String::new();
    for piece in pieces {
        out.push_str(&translator.push(piece).expect("short enough"));
    }
    out.push_str(&translator.end());
    if let Err(failed) = translator.verdict() {
        out.push_str(&failed.told().event(to, "req1"));
        let _ = writeln!(out, "failed: {failed}");
    }
    out
}

fn shown(options: &[&str]) -> Client {
    Client {
        operation: if options.contains(&"generate") {
            Operation::Completion
        } else {
            Operation::Chat
        },
        id: "id1".to_owned(),
        model: "alias".to_owned(),
        created: 1_700_000_000,
        legacy: options.contains(&"legacy"),
        include_usage: options.contains(&"usage"),
        array: options.contains(&"array"),
        input_tokens: 42,
        names: Names::default(),
    }
}

fn is_json(text: &str) {
    let mut index = Index::new();
    if let Err(error) = index.read(text.as_bytes(), Duplicates::Refuse) {
        panic!("{error}: {text}");
    }
}

fn format(name: &str) -> Format {
    Format::ALL
        .into_iter()
        .find(|format| format.name() == name)
        .unwrap_or_else(|| panic!("`{name}` is no format"))
}

fn files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(Path::new(CASES))
        .expect("there are cases")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "case")
        })
        .collect();
    files.sort();
    files
}
