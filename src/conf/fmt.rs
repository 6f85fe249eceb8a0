//! `openclaw fmt`: one layout for all files.
//!
//! One directive per line, four blanks for each block, one blank between words, `{` on the line of
//! its name. Kept: every word as spelled, comments, line breaks between the words of a directive,
//! and groups of lines (one empty line between them). Formatting what is formatted changes nothing,
//! and the words before and after are the same.

use super::diagnostic::{self, Diagnostic};
use super::lexer::{self, Kind};
use super::parser;
use super::source::{FileId, Span};
use super::tree::{Block, Directive, Document, End, Item, Trivia, Word};

/// How the lines of a formatted text start.
#[derive(Clone, Copy, Debug)]
pub struct Style<'a> {
    /// What each block adds.
    pub unit: &'a str,
    /// What stands before that, on every line but the first.
    pub base: &'a str,
    /// How lines end.
    pub newline: &'a str,
}

impl Default for Style<'_> {
    fn default() -> Self {
        Self {
            unit: "    ",
            base: "",
            newline: "\n",
        }
    }
}

/// Formats a file; refused with its problems if it does not parse.
pub fn format(file: FileId, text: &str) -> Result<String, Vec<Diagnostic>> {
    let (document, problems) = parser::parse(file, text);
    if diagnostic::any_error(&problems) {
        return Err(problems);
    }
    let mut out = layout(&document, text, Style::default());
    if out.starts_with('\u{feff}') {
        // A word that was not first: alone at the start it would be taken for a byte order mark.
        out.insert(0, '\u{feff}');
    }
    if !out.is_empty() {
        out.push('\n');
    }
    Ok(out)
}

/// Lays a sound document out, without a line end behind it.
pub fn layout(document: &Document, text: &str, style: Style<'_>) -> String {
    let mut printer = Printer {
        text,
        style,
        out: String::with_capacity(text.len()),
    };
    printer.items(&document.items, document.trailing, 0, true);
    printer.out
}

struct Printer<'a> {
    text: &'a str,
    style: Style<'a>,
    out: String,
}

/// A comment, and how many line ends stand before it.
struct Note<'a> {
    lines_before: usize,
    text: &'a str,
}

impl<'a> Printer<'a> {
    fn items(&mut self, items: &[Item], trailing: Trivia, depth: usize, outermost: bool) {
        // The first line of a block follows its `{` without an empty line.
        let mut first = true;
        for item in items {
            let leading = match item {
                Item::Directive(directive) => directive.name.leading,
                Item::Stray { leading, .. } => *leading,
            };
            let gap = self.notes(leading, depth, &mut first, outermost);
            self.line(depth, gap >= 2 && !first);
            first = false;
            match item {
                Item::Directive(directive) => self.directive(directive, depth),
                Item::Stray { span, .. } => self.put(*span),
            }
        }
        self.notes(trailing, depth, &mut first, outermost && items.is_empty());
    }

    fn directive(&mut self, directive: &Directive, depth: usize) {
        self.put(directive.name.span);
        for word in &directive.arguments {
            self.argument(word, depth);
        }
        match &directive.end {
            End::Missing => {}
            End::Semicolon { leading, span } => {
                if self.notes_inside(*leading, depth) {
                    self.line(depth + 1, false);
                }
                self.put(*span);
            }
            End::Block(block) => self.block(block, depth),
        }
    }

    fn argument(&mut self, word: &Word, depth: usize) {
        let between = &self.text[word.leading.span.range()];
        if self.notes_inside(word.leading, depth) || between.contains('\n') {
            self.line(depth + 1, false);
        } else if !between.is_empty() {
            // Nothing stands between `"a"` and `)`.
            self.out.push(' ');
        }
        self.put(word.span);
    }

    fn block(&mut self, block: &Block, depth: usize) {
        match self.notes_inside(block.leading, depth) {
            true => self.line(depth, false),
            false => self.out.push(' '),
        }
        self.put(block.open);
        if let Some(raw) = block.raw {
            self.put(raw);
        } else {
            self.items(&block.items, block.trailing, depth + 1, false);
            let comments = block.trailing.comments(self.text).next().is_some();
            if !block.items.is_empty() || comments {
                self.line(depth, false);
            }
        }
        if let Some(close) = block.close {
            self.put(close);
        }
    }

    /// Writes the comments before an item or the end of a block: one that follows on the line of
    /// what was before stays there, others get their own line. Returns the line ends behind them.
    fn notes(&mut self, trivia: Trivia, depth: usize, first: &mut bool, outermost: bool) -> usize {
        let (notes, after) = notes(self.text, trivia);
        for (index, note) in notes.iter().enumerate() {
            // At the start of a file there is no line to follow on.
            if index == 0 && note.lines_before == 0 && !(outermost && *first) {
                self.out.push(' ');
            } else {
                self.line(depth, note.lines_before >= 2 && !*first);
                *first = false;
            }
            self.out.push_str(note.text);
        }
        after
    }

    /// Writes the comments within a directive; tells whether there were any.
    fn notes_inside(&mut self, trivia: Trivia, depth: usize) -> bool {
        let (notes, _) = notes(self.text, trivia);
        for note in &notes {
            match note.lines_before {
                0 => self.out.push(' '),
                _ => self.line(depth + 1, false),
            }
            self.out.push_str(note.text);
        }
        !notes.is_empty()
    }

    /// Starts a line, after an empty one if `apart`.
    fn line(&mut self, depth: usize, apart: bool) {
        if self.out.is_empty() {
            return;
        }
        if apart {
            self.out.push_str(self.style.newline);
        }
        self.out.push_str(self.style.newline);
        self.out.push_str(self.style.base);
        for _ in 0..depth {
            self.out.push_str(self.style.unit);
        }
    }

    fn put(&mut self, span: Span) {
        self.out.push_str(&self.text[span.range()]);
    }
}

/// The comments of a piece of trivia, and the line ends behind the last one.
fn notes(text: &str, trivia: Trivia) -> (Vec<Note<'_>>, usize) {
    let piece = &text[trivia.span.range()];
    let mut notes = Vec::new();
    let mut lines = 0;
    for token in lexer::tokens(piece) {
        let part = &piece[token.range()];
        match token.kind {
            Kind::Comment => {
                notes.push(Note {
                    lines_before: lines,
                    text: part.trim_end(),
                });
                lines = 0;
            }
            _ => lines += part.matches('\n').count(),
        }
    }
    (notes, lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn formatted(text: &str) -> String {
        format(FileId(0), text).expect("a sound text")
    }

    #[test]
    fn lines_blocks_words_and_groups_get_one_layout() {
        assert_eq!(
            formatted(
                "\u{feff}\n\n# top\nevents{}\n\n\n\nhttp\n{ # web\n\n\nserver { listen   80 ;\n\n\
                 \tserver_name a # first\n\tb; } # end\n\n\n# last  \r\n\n}\n# more"
            ),
            "# top\n\
             events {}\n\
             \n\
             http { # web\n\
             \x20   server {\n\
             \x20       listen 80;\n\
             \n\
             \x20       server_name a # first\n\
             \x20           b;\n\
             \x20   } # end\n\
             \n\
             \x20   # last\n\
             }\n\
             # more\n"
        );
    }

    #[test]
    fn line_breaks_between_words_stay() {
        assert_eq!(
            formatted("log_format main 'a '\n           'b\n  c';"),
            "log_format main 'a '\n    'b\n  c';\n"
        );
    }

    #[test]
    fn programs_and_closing_brackets_stay_as_they_are() {
        assert_eq!(
            formatted("x { if ($a = \"b\") { y_by_lua_block {\n  z = {1}\n} } }"),
            "x {\n    if ($a = \"b\") {\n        y_by_lua_block {\n  z = {1}\n}\n    }\n}\n"
        );
    }

    #[test]
    fn an_empty_text_stays_empty_and_a_broken_one_is_refused() {
        assert_eq!(formatted(""), "");
        assert_eq!(formatted(" \n\n"), "");
        assert!(format(FileId(0), "a { b").is_err());
    }

    /// What formatting must keep: words, punctuation, and comments without blanks at their end.
    fn substance(text: &str) -> Vec<(Kind, String)> {
        lexer::tokens(text)
            .filter(|token| !matches!(token.kind, Kind::Blank | Kind::Mark))
            .map(|token| (token.kind, text[token.range()].trim_end().to_owned()))
            .collect()
    }

    proptest! {
        #[test]
        fn formatting_keeps_the_substance_and_is_stable(
            pieces in proptest::collection::vec(
                prop_oneof![
                    Just("a"), Just("b c"), Just(";"), Just("; "), Just(" {"), Just("}"), Just("}\n"),
                    Just("\n"), Just("\n\n"), Just("\r\n"), Just(" "), Just("\t"), Just("# n\n"),
                    Just(" # m \r\n"), Just("#"), Just("'q\n r'"), Just("\"s\""), Just(")"),
                    Just("x_by_lua_block { y\n} "), Just("$\u{7b}z}"), Just("\\;"), Just("\u{feff}"),
                ],
                0..40,
            ),
        ) {
            // Close what is open, so that most texts are sound.
            let mut text = pieces.concat();
            let open = text.matches('{').count().saturating_sub(text.matches('}').count());
            text.push_str(";\n");
            text.push_str(&"}".repeat(open));
            for text in [text.as_str(), pieces.concat().as_str()] {
                if let Ok(once) = format(FileId(0), text) {
                    prop_assert_eq!(substance(&once), substance(text), "{}", once);
                    prop_assert_eq!(format(FileId(0), &once), Ok(once.clone()), "{}", text);
                }
            }
        }
    }
}
