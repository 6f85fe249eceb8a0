//! Any text parses into a tree that prints back byte for byte; checking it, formatting it and
//! printing what is wrong with it never panics; what is formatted keeps its words and is stable.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use openclaw::conf::lexer::{self, Kind};
use openclaw::conf::source::FileId;
use openclaw::conf::{check, diagnostic, fmt, include};

fuzz_target!(|text: &str| {
    let mut loaded = include::outline(Path::new("fuzz.conf"), text.to_owned());
    assert_eq!(loaded.documents[0].print(text), text);
    check::check(&mut loaded);
    let _ = diagnostic::render(&loaded.diagnostics, &loaded.sources, false);
    let _ = diagnostic::render_json(&loaded.diagnostics, &loaded.sources);
    if let Ok(once) = fmt::format(FileId(0), text) {
        assert_eq!(substance(&once), substance(text));
        assert_eq!(fmt::format(FileId(0), &once), Ok(once.clone()));
    }
});

/// What formatting keeps: words, punctuation, and comments without blanks at their end.
fn substance(text: &str) -> Vec<(Kind, &str)> {
    lexer::tokens(text)
        .filter(|token| !matches!(token.kind, Kind::Blank | Kind::Mark))
        .map(|token| (token.kind, text[token.range()].trim_end()))
        .collect()
}
