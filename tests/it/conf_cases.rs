//! The configuration language on whole files: `tests/conf/*.conf` and what is said about each.
//!
//! A case is a file and its `.expect`, the problems as printed for people; an empty one means that
//! nothing is wrong. `OPENCLAW_REWRITE_EXPECTATIONS=1` writes the expectations anew (read the
//! difference before you keep it).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use openclaw::conf::check::check;
use openclaw::conf::diagnostic::{self, Code, Diagnostic, Severity};
use openclaw::conf::explain::CODES;
use openclaw::conf::include::{self, Loaded};
use openclaw::conf::lint::lint;
use openclaw::conf::typed::lower::config::lower;
use openclaw::tls::examine::examine;

const CASES: &str = "tests/conf";

#[test]
fn every_case_is_told_as_expected() {
    let rewrite = std::env::var_os("OPENCLAW_REWRITE_EXPECTATIONS").is_some();
    let mut failed = Vec::new();
    let mut broken = 0;
    for path in cases() {
        let loaded = read(&path);
        let told = diagnostic::render(&loaded.diagnostics, &loaded.sources, false);
        broken += usize::from(!told.is_empty());
        let file = path.with_extension("expect");
        if rewrite {
            fs::write(&file, &told).expect("the expectation can be written");
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        if told != expected {
            failed.push(format!(
                "{}\n--- expected\n{expected}--- told\n{told}",
                path.display()
            ));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(
        broken >= 60,
        "only {broken} broken configurations are tried"
    );
}

#[test]
fn every_case_prints_back_byte_for_byte() {
    for path in cases() {
        let loaded = read(&path);
        for document in &loaded.documents {
            let text = loaded.sources.text(document.file);
            assert_eq!(document.print(text), text, "{}", path.display());
        }
    }
}

#[test]
fn the_wrong_example_of_a_code_has_it_and_the_right_one_is_right() {
    let mut wrong = Vec::new();
    for row in CODES.iter().filter(|row| !row.wrong.is_empty()) {
        let name = row.code.name();
        let read_text = |text: &str| {
            let mut loaded = read_text(text);
            if row.code.is_of_lint() {
                lint(&mut loaded);
            }
            loaded
        };
        let told = codes(&read_text(row.wrong).diagnostics);
        if !told.contains(&name) {
            wrong.push(format!("the wrong example of {name} has {told:?}"));
        }
        let told = codes(&read_text(row.right).diagnostics);
        if !told.is_empty() {
            wrong.push(format!("the right example of {name} has {told:?}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{}",
        wrong.join(
            "
"
        )
    );
}

#[test]
fn every_code_is_told_by_some_case() {
    let mut told: BTreeSet<&str> = BTreeSet::new();
    for path in cases() {
        told.extend(codes(&read(&path).diagnostics));
    }
    // Those of lowering: their examples are enough, its own tests have the rest.
    for row in CODES.iter().filter(|row| row.code.is_of_lowering()) {
        let mut loaded = read_text(row.wrong);
        lint(&mut loaded);
        told.extend(codes(&loaded.diagnostics));
    }
    told.extend(codes(&too_large().diagnostics));
    told.extend(codes(&too_many_directives().diagnostics));
    told.extend(codes(
        &read_text(&format!("user {};", "a".repeat(65_537))).diagnostics,
    ));
    told.extend(codes(
        &read_text(&"no_such_name x;\n".repeat(600)).diagnostics,
    ));
    told.extend(codes(&examined()));
    told.extend(codes(&unstapled()));
    let missing: Vec<_> = CODES
        .iter()
        .filter(|row| !told.contains(row.code.name()))
        .map(|row| row.code.name())
        .collect();
    assert!(missing.is_empty(), "no case has {missing:?}");
}

/// Stapling of a certificate that names no responder.
fn unstapled() -> Vec<Diagnostic> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/certificates");
    let text = "http { server { ssl_stapling on; ssl_certificate other.pem; } }".to_owned();
    let mut loaded = include::load_text(&directory.join("openclaw.conf"), text, &directory);
    lint(&mut loaded);
    loaded.diagnostics
}

/// What is wrong with the directories of caches, and with certificates: one that is not there, one that others can read the key of or that
/// has expired, one for another name.
fn examined() -> Vec<Diagnostic> {
    let text = "events {} http {
        proxy_cache_path /dev/null/one keys_zone=one:1m;
        server { listen 1 ssl; ssl_certificate none.pem; ssl_certificate_key none.key; }
        server { listen 1 ssl; server_name else.test;
            ssl_certificate root.pem; ssl_certificate intermediate.pem;
            ssl_certificate_key leaf.key; ssl_certificate_key leaf.key; }
        server { listen 1 ssl; server_name other.test;
            ssl_certificate leaf.pem; ssl_certificate_key leaf.key; } }";
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/certificates");
    let path = directory.join("openclaw.conf");
    let mut loaded = include::load_text(&path, text.to_owned(), &directory);
    check(&mut loaded);
    let config = lower(&mut loaded, Path::new("/"), &[]).expect("nothing is wrong with the text");
    let mut found = examine(&config.http);
    let unusable = found
        .iter()
        .filter(|problem| problem.code == Code::CERTIFICATE_UNUSABLE);
    assert_eq!(unusable.count(), 3, "{found:?}");
    found.extend(openclaw::cache::place::examine(&config.http));
    found
}

#[test]
fn a_file_of_more_than_ten_mebibytes_is_refused() {
    assert_eq!(codes(&too_large().diagnostics), ["OC-E021"]);
}

#[test]
fn the_number_of_problems_is_bounded() {
    for text in [";\n".repeat(100_000), "no_such_name x;\n".repeat(100_000)] {
        let told = codes(&read_text(&text).diagnostics);
        assert!((200..=501).contains(&told.len()), "{}", told.len());
        assert_eq!(told.last(), Some(&"OC-E012"));
    }
}

#[test]
fn includes_that_multiply_are_stopped() {
    assert_eq!(codes(&too_many_directives().diagnostics), ["OC-E025"]);
}

#[test]
fn a_missing_main_file_is_told() {
    let loaded = include::load(
        Path::new("missing.conf"),
        Path::new("/does/not/exist"),
        None,
    );
    assert_eq!(
        diagnostic::render_short(&loaded.diagnostics, &loaded.sources),
        "/does/not/exist/missing.conf:1:1: error[OC-E022]: \
         `/does/not/exist/missing.conf` does not exist\n"
    );
    assert!(loaded.nodes.is_empty());
}

#[test]
fn directives_of_the_command_line_stand_before_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("a.conf"), "events { }").expect("a file");
    let loaded = include::load(
        Path::new("a.conf"),
        directory.path(),
        Some("pid a.pid; user x"),
    );
    let names: Vec<&str> = loaded.nodes.iter().map(|node| &*node.name.text).collect();
    assert_eq!(names, ["pid", "user", "events"]);
    assert_eq!(
        diagnostic::render_short(&loaded.diagnostics, &loaded.sources),
        "<command line>:1:18: error[OC-E006]: `user` does not end with `;` (hint: add a `;` here)\n"
    );
}

#[test]
fn included_directives_stand_where_the_include_stood() {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).expect("a file");
    };
    write(
        "main.conf",
        "a; include sub/*.conf; include none*.conf; d { include sub/1.conf; }",
    );
    // Relative to the main file's directory, also from within a directory.
    write("sub/1.conf", "b; include sub/x/inner;");
    write("sub/2.conf", "c \"q r\";");
    write("sub/x/inner", "i;");
    let loaded = include::load(&directory.path().join("main.conf"), Path::new("/"), None);
    assert_eq!(codes(&loaded.diagnostics), [""; 0]);
    let names: Vec<&str> = loaded.nodes.iter().map(|node| &*node.name.text).collect();
    assert_eq!(names, ["a", "b", "i", "c", "d"]);
    let inner = loaded.nodes[4].block.as_ref().expect("a block");
    assert_eq!(inner.len(), 2);
    assert_eq!(&*loaded.nodes[3].arguments[0].text, "q r");
    assert!(loaded.nodes[3].arguments[0].quoted);
    // Each file is read once, and its spans point into it.
    assert_eq!(loaded.sources.len(), 4);
    assert_eq!(loaded.documents.len(), 4);
    assert_eq!(inner[0].span, loaded.nodes[1].span);
    assert_eq!(loaded.sources.slice(inner[0].span), "b;");
}

#[test]
fn the_other_forms_tell_the_same() {
    let loaded = read_text("events { worker_connections many\u{7}; }");
    let short = diagnostic::render_short(&loaded.diagnostics, &loaded.sources);
    assert_eq!(
        short,
        "/etc/openclaw/openclaw.conf:1:29: error[OC-E041]: `many\\u{7}` is not a number\n"
    );
    let json = diagnostic::render_json(&loaded.diagnostics, &loaded.sources);
    assert!(
        json.contains(r#""message":"`many\u0007` is not a number""#),
        "{json}"
    );
    assert!(
        json.contains(r#""line":1,"column":29,"end_line":1,"end_column":34"#),
        "{json}"
    );
    let coloured = diagnostic::render(&loaded.diagnostics, &loaded.sources, true);
    assert!(
        coloured.contains("\u{1b}[") && !coloured.contains('\u{7}'),
        "{coloured:?}"
    );
}

fn cases() -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(CASES)
        .expect("tests run in the directory of the crate")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "conf")
        })
        .collect();
    paths.sort();
    paths
}

fn read(path: &Path) -> Loaded {
    judged(include::load(path, Path::new(""), None))
}

/// With all that is said about it.
fn judged(mut loaded: Loaded) -> Loaded {
    check(&mut loaded);
    lower(&mut loaded, Path::new("/"), &[]);
    loaded
}

fn read_text(text: &str) -> Loaded {
    let path = Path::new("/etc/openclaw/openclaw.conf");
    judged(include::load_text(path, text.to_owned(), Path::new("/")))
}

fn too_large() -> Loaded {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("large.conf");
    fs::write(&path, " ".repeat((10 << 20) + 1)).expect("a file");
    read(&path)
}

/// Ten levels of files that each include the next one ten times.
fn too_many_directives() -> Loaded {
    let directory = tempfile::tempdir().expect("a directory");
    for level in 0..10 {
        let text = format!("include {}.conf;\n", level + 1).repeat(10);
        fs::write(directory.path().join(format!("{level}.conf")), text).expect("a file");
    }
    fs::write(directory.path().join("10.conf"), "env A;").expect("a file");
    include::load(&directory.path().join("0.conf"), Path::new("/"), None)
}

fn codes(problems: &[Diagnostic]) -> Vec<&'static str> {
    problems.iter().map(|problem| problem.code.name()).collect()
}

#[test]
fn a_warning_is_not_an_error() {
    let loaded = read_text("http { include /does/not/exist/mime.types; }");
    assert_eq!(loaded.diagnostics.len(), 1);
    assert_eq!(loaded.diagnostics[0].severity, Severity::Warning);
    assert!(!diagnostic::any_error(&loaded.diagnostics));
}

/// The snippets that the product's guide prints, as a reader would put them into a file.
#[test]
fn the_snippets_of_the_guide_parse() {
    let mut count = 0;
    for entry in fs::read_dir("tests/conf/guide").expect("the snippets") {
        let path = entry.expect("an entry").path();
        let text = fs::read_to_string(&path).expect("a snippet");
        let whole = wrapped(&text);
        let loaded = include::load_text(&path, whole, Path::new(""));
        let told: Vec<_> = loaded
            .diagnostics
            .iter()
            // The table of media types is named by a path that need not exist.
            .filter(|problem| problem.code != Code::BUILTIN_MIME_TYPES)
            .cloned()
            .collect();
        let told = diagnostic::render(&told, &loaded.sources, false);
        assert_eq!(told, "", "{}", path.display());
        assert!(loaded.nodes.iter().any(|node| &*node.name.text == "http"));
        count += 1;
    }
    assert_eq!(count, 12);
}

/// A snippet in the blocks that it leaves out.
fn wrapped(text: &str) -> String {
    let loaded = include::load_text(Path::new("snippet"), text.to_owned(), Path::new("/"));
    let has = |name: &str| loaded.nodes.iter().any(|node| &*node.name.text == name);
    let closed = codes(&loaded.diagnostics).contains(&"OC-E003");
    if has("http") {
        text.to_owned()
    } else if closed {
        format!("http {{\n{text}")
    } else if has("location") {
        format!("http {{ server {{\n{text}}} }}\n")
    } else {
        format!("http {{\n{text}}}\n")
    }
}
