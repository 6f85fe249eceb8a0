//! Tokens → lossless tree, and what is wrong with the shape of a file.
//!
//! Parsing never fails and never recurses without bound: it recovers at `;` and `}` and keeps what
//! makes no sense as stray text. Every byte of the text is in the tree.

use std::iter::Peekable;

use super::diagnostic::{Code, Diagnostic};
use super::directives;
use super::lexer::{self, Kind, Lexer, Token};
use super::source::{FileId, Span};
use super::tree::{Block, Directive, Document, End, Item, Trivia, Word};

/// How many blocks may stand in each other.
pub const MAX_DEPTH: usize = 32;

/// How many bytes a word may have; nginx's bound is its buffer of 4096.
pub const MAX_WORD_BYTES: usize = 65_536;

/// How many words, and pieces that make no sense, a file may have: the tree takes memory for each.
pub const MAX_WORDS: usize = 2_000_000;

/// How many problems of one file are told.
pub const MAX_PROBLEMS: usize = 200;

/// Parses a text; the tree is complete also if problems are returned.
pub fn parse(file: FileId, text: &str) -> (Document, Vec<Diagnostic>) {
    let mut parser = Parser {
        file,
        text,
        tokens: lexer::tokens(text).peekable(),
        at: 0,
        words: 0,
        problems: Vec::new(),
        unclosed: Vec::new(),
        odd_close: None,
    };
    let mut items = Vec::new();
    parser.items(&mut items, 0);
    let trailing = parser.trivia();
    let document = Document {
        file,
        items,
        trailing,
    };
    parser.report_unclosed(&document);
    (document, parser.problems)
}

struct Parser<'a> {
    file: FileId,
    text: &'a str,
    tokens: Peekable<Lexer<'a>>,
    /// Where the next token starts, trivia not yet taken.
    at: usize,
    /// How many words and stray pieces there are so far.
    words: usize,
    problems: Vec<Diagnostic>,
    /// The heads of the blocks that are open at the end of the file, innermost first.
    unclosed: Vec<Span>,
    /// The head of a block and its `}`, where the two are on different columns of their lines.
    odd_close: Option<(Span, Span)>,
}

impl Parser<'_> {
    /// Reads the items of a block or file, up to a `}` that is not taken or the end.
    fn items(&mut self, items: &mut Vec<Item>, depth: usize) {
        loop {
            let leading = self.trivia();
            let Some(token) = self.tokens.peek().copied() else {
                self.give_back(leading);
                return;
            };
            if self.words > MAX_WORDS {
                // The rest is kept as one piece, which nothing looks into.
                self.tokens = lexer::tokens("").peekable();
                self.at = self.text.len();
                let span = Span::new(self.file, token.start..self.at);
                items.push(Item::Stray { leading, span });
                self.report(|| {
                    let place = Span::new(span.file, token.range());
                    Diagnostic::error(Code::TOO_LARGE, place, "the file is too large").label(
                        place,
                        format!("more than {MAX_WORDS} words stand before this"),
                    )
                });
                return;
            }
            match token.kind {
                Kind::Close if depth > 0 => {
                    self.give_back(leading);
                    return;
                }
                Kind::Close => {
                    let span = self.take(token);
                    self.words += 1;
                    self.report(|| {
                        Diagnostic::error(Code::UNEXPECTED_CLOSE, span, "unexpected `}`")
                            .label(span, "no block is open here")
                            .hint("remove it, or look for a `}` too many before it")
                    });
                    items.push(Item::Stray { leading, span });
                }
                Kind::Semicolon => {
                    let span = self.take(token);
                    self.words += 1;
                    self.report(|| {
                        Diagnostic::error(Code::UNEXPECTED_SEMICOLON, span, "unexpected `;`")
                            .label(span, "no directive stands before it")
                            .hint("remove it")
                    });
                    items.push(Item::Stray { leading, span });
                }
                Kind::Open => {
                    let span = Span::new(self.file, token.range());
                    self.words += 1;
                    self.report(|| {
                        Diagnostic::error(Code::UNEXPECTED_OPEN, span, "unexpected `{`")
                            .label(span, "no directive stands before it")
                    });
                    let (span, _) = self.skip_block();
                    items.push(Item::Stray { leading, span });
                }
                _ => {
                    let directive = self.directive(leading, depth);
                    items.push(Item::Directive(directive));
                }
            }
        }
    }

    /// Reads a directive whose first token is a word.
    fn directive(&mut self, leading: Trivia, depth: usize) -> Directive {
        let name = self.word(leading);
        let mut arguments = Vec::new();
        let end = loop {
            if self.words > MAX_WORDS {
                // What follows is not read, so nothing is known about its end.
                return Directive {
                    name,
                    arguments,
                    end: End::Missing,
                };
            }
            let leading = self.trivia();
            let Some(token) = self.tokens.peek().copied() else {
                self.give_back(leading);
                break End::Missing;
            };
            match token.kind {
                Kind::Semicolon => {
                    let span = self.take(token);
                    break End::Semicolon { leading, span };
                }
                Kind::Open if depth >= MAX_DEPTH => {
                    let span = Span::new(self.file, token.range());
                    self.report(|| {
                        Diagnostic::error(Code::TOO_DEEP, span, "blocks are nested too deeply")
                            .label(span, format!("more than {MAX_DEPTH} blocks are open here"))
                    });
                    // Kept as one piece, which nothing looks into.
                    let (whole, closed) = self.skip_block();
                    let at = whole.end - u32::from(closed);
                    break End::Block(Block {
                        leading,
                        open: Span {
                            end: whole.start + 1,
                            ..whole
                        },
                        items: Vec::new(),
                        raw: Some(Span {
                            start: whole.start + 1,
                            end: at,
                            ..whole
                        }),
                        trailing: Trivia {
                            span: Span {
                                start: at,
                                end: at,
                                ..whole
                            },
                        },
                        close: closed.then_some(Span { start: at, ..whole }),
                    });
                }
                Kind::Open => {
                    let open = self.take(token);
                    break End::Block(self.block(name.span, leading, open, depth));
                }
                Kind::Close => {
                    self.give_back(leading);
                    break End::Missing;
                }
                _ => arguments.push(self.word(leading)),
            }
        };
        let directive = Directive {
            name,
            arguments,
            end,
        };
        if directive.end == End::Missing {
            self.report_missing_semicolon(&directive);
        }
        directive
    }

    /// Reads a block after its `{`.
    fn block(&mut self, name: Span, leading: Trivia, open: Span, depth: usize) -> Block {
        let mut items = Vec::new();
        let mut raw = None;
        match self.tokens.peek().copied() {
            Some(token) if token.kind == Kind::Raw => raw = Some(self.take(token)),
            _ => self.items(&mut items, depth + 1),
        }
        let trailing = self.trivia();
        let close = match self.tokens.peek().copied() {
            Some(token) => Some(self.take(token)),
            None => {
                self.unclosed.push(name.to(open));
                None
            }
        };
        if let Some(close) = close
            && self.odd_close.is_none()
            && let (Some(opened), Some(closed)) = (self.indent(name), self.indent(close))
            && opened != closed
        {
            self.odd_close = Some((name.to(open), close));
        }
        Block {
            leading,
            open,
            items,
            raw,
            trailing,
            close,
        }
    }

    /// The blanks before a token, if it is the first on its line.
    fn indent(&self, span: Span) -> Option<&str> {
        let before = &self.text[..span.start as usize];
        let line = before.trim_end_matches([' ', '\t']);
        (line.is_empty() || line.ends_with('\n')).then(|| &before[line.len()..])
    }

    fn word(&mut self, leading: Trivia) -> Word {
        let Some(token) = self.tokens.peek().copied() else {
            // Callers have seen a token; an empty word is harmless all the same.
            return Word {
                leading,
                span: leading.span.after(),
                quoted: false,
            };
        };
        self.words += 1;
        let span = self.take(token);
        let quoted = matches!(token.kind, Kind::Quoted | Kind::Unclosed);
        let text = &self.text[token.range()];
        if token.kind == Kind::Unclosed {
            let quote = Span {
                end: span.start + 1,
                ..span
            };
            let mut problem =
                Diagnostic::error(Code::UNCLOSED_QUOTE, quote, "this quote is not closed")
                    .hint(format!("put a `{}` at the end of the word", &text[..1]));
            let rest = &self.text.as_bytes()[token.end..];
            if let Some(offset) = memchr::memchr(text.as_bytes()[0], rest) {
                let at = token.end + offset;
                problem = problem.label(Span::new(self.file, at..at + 1), "the next such quote");
            }
            self.report(|| problem);
        }
        if token.kind == Kind::Quoted
            && let Some(next) = self.tokens.peek().copied()
            && matches!(next.kind, Kind::Word | Kind::Quoted | Kind::Unclosed | Kind::Comment)
            // nginx lets `)` follow: `if ($a = "b")`.
            && !self.text[next.range()].starts_with(')')
        {
            let junk = Span::new(self.file, next.range());
            self.report(|| {
                Diagnostic::error(
                    Code::TEXT_AFTER_QUOTE,
                    junk,
                    "text directly after a closing quote",
                )
                .label(span, "this word ends with its closing quote")
                .hint(match next.kind {
                    Kind::Comment => "put a blank before the `#`",
                    _ => "put the quotes around the whole word, or a blank between the two",
                })
            });
        }
        if text.len() > MAX_WORD_BYTES {
            self.report(|| {
                Diagnostic::error(
                    Code::TOO_LONG,
                    Span {
                        end: span.start + 1,
                        ..span
                    },
                    "this word is too long",
                )
                .label(
                    Span {
                        end: span.start + 1,
                        ..span
                    },
                    format!(
                        "{} bytes start here; {MAX_WORD_BYTES} are allowed",
                        text.len()
                    ),
                )
                .hint("is a closing quote or a `;` missing?")
            });
        }
        if let Some(offset) = memchr::memchr(0, text.as_bytes()) {
            let at = token.start + offset;
            let place = Span::new(self.file, at..at + 1);
            self.report(|| {
                Diagnostic::error(Code::NUL, place, "a NUL byte in the text")
                    .hint("is the file damaged, or is it UTF-16? save it as UTF-8")
            });
        }
        if !quoted {
            self.warn_about_characters(span, text);
        }
        Word {
            leading,
            span,
            quoted,
        }
    }

    /// Tells about characters that look like blanks or quotes and are part of the word.
    fn warn_about_characters(&mut self, span: Span, text: &str) {
        let place = |at: usize, character: char| {
            let start = span.start + at as u32;
            Span {
                start,
                end: start + character.len_utf8() as u32,
                ..span
            }
        };
        let odd = match text.is_ascii() {
            true => None,
            false => text.char_indices().find_map(|(at, character)| {
                let what = match character {
                    '\u{a0}' | '\u{202f}' | '\u{2000}'..='\u{200a}' | '\u{3000}' => {
                        "a blank that does not separate words"
                    }
                    '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}' => {
                        "an invisible character"
                    }
                    '\u{2018}'..='\u{201f}' => "a curly quote, which does not quote",
                    _ => return None,
                };
                Some((place(at, character), what, u32::from(character)))
            }),
        };
        if let Some((at, what, number)) = odd {
            self.report(|| {
                Diagnostic::warning(
                    Code::INVISIBLE_CHARACTER,
                    at,
                    format!("the word holds {what}"),
                )
                .label(at, format!("U+{number:04X} is part of the word"))
                .hint("replace it by an ordinary blank or quote")
            });
        }
        if let Some((name, value)) = text.split_once('=')
            && value.starts_with(['"', '\''])
            && !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            let at = place(name.len() + 1, '"');
            self.report(|| {
                Diagnostic::warning(
                    Code::QUOTE_INSIDE_WORD,
                    at,
                    "a quote inside of a word does not quote",
                )
                .label(at, "the quote becomes part of the value")
                .hint("put the quotes around the whole word")
            });
        }
    }

    /// Takes the blanks and comments that come next.
    fn trivia(&mut self) -> Trivia {
        let start = self.at;
        while self
            .tokens
            .next_if(|token| matches!(token.kind, Kind::Blank | Kind::Comment | Kind::Mark))
            .is_some()
        {}
        let next = self.tokens.peek();
        self.at = next.map_or(self.text.len(), |token| token.start);
        Trivia {
            span: Span::new(self.file, start..self.at),
        }
    }

    /// Trivia that was taken belongs to what follows: the next [`Self::trivia`] returns it again.
    fn give_back(&mut self, trivia: Trivia) {
        self.at = trivia.span.start as usize;
    }

    fn take(&mut self, token: Token) -> Span {
        self.tokens.next();
        self.at = token.end;
        Span::new(self.file, token.range())
    }

    /// Steps over a `{` and all up to its `}`; tells whether there is one.
    fn skip_block(&mut self) -> (Span, bool) {
        let start = self.at;
        let mut depth = 0usize;
        for token in self.tokens.by_ref() {
            self.at = token.end;
            match token.kind {
                Kind::Open => depth += 1,
                Kind::Close => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
        (Span::new(self.file, start..self.at), depth == 0)
    }

    fn report(&mut self, problem: impl FnOnce() -> Diagnostic) {
        match self.problems.len() {
            ..MAX_PROBLEMS => self.problems.push(problem()),
            MAX_PROBLEMS => self.problems.push(Diagnostic::error(
                Code::TOO_MANY_PROBLEMS,
                problem().span(),
                "too many problems in this file, further ones are not shown",
            )),
            _ => {}
        }
    }

    fn report_missing_semicolon(&mut self, directive: &Directive) {
        let last = directive.arguments.last().unwrap_or(&directive.name);
        let place = last.span.after();
        let name = self.shown(directive.name);
        // `listen 80}`: nginx takes the brace as part of the word.
        let hint = match self.text[last.span.range()].strip_suffix('}') {
            Some(_) => {
                "a `}` directly after a word belongs to the word: write `;` and a blank before it"
            }
            None => "add a `;` here",
        };
        self.report(|| {
            Diagnostic::error(
                Code::MISSING_SEMICOLON,
                place,
                format!("`{name}` does not end with `;`"),
            )
            .label(place, "expected `;`")
            .hint(hint)
        });
    }

    /// A word for a message.
    fn shown(&self, word: Word) -> String {
        word.text(self.text).chars().take(60).collect()
    }

    /// Tells about blocks that the file leaves open, and finds out why.
    fn report_unclosed(&mut self, document: &Document) {
        if self.unclosed.is_empty() || self.words > MAX_WORDS {
            return;
        }
        if let Some(problem) = self.swallowed(document.file) {
            // The `;` that is missing before or behind it follows from it.
            let comment = problem.span().start as usize;
            let text = self.text;
            self.problems.retain(|problem| {
                let at = problem.span().start as usize;
                let follows = at >= comment || text[at..comment].trim_ascii().is_empty();
                problem.code != Code::MISSING_SEMICOLON || !follows
            });
            self.report(|| problem);
            return;
        }
        let unclosed = std::mem::take(&mut self.unclosed);
        let (message, hint) = match unclosed.len() {
            1 => (
                "this block is not closed".to_owned(),
                "add a `}`".to_owned(),
            ),
            count => (
                format!("{count} blocks are not closed"),
                format!("add {count} `}}`"),
            ),
        };
        let mut problem = Diagnostic::error(Code::UNCLOSED_BLOCK, unclosed[0], message).hint(hint);
        if let Some((opened, close)) = self.odd_close
            && opened.start > unclosed[0].start
        {
            problem = problem
                .label(
                    close,
                    "this `}` is indented unlike the block that it closes",
                )
                .label(opened, "is the `}` of this block missing?");
        }
        for head in &unclosed[1..] {
            problem = problem.label(*head, "nor is this one");
        }
        self.report(|| problem);
    }

    /// Looks for a comment that hides the end of a block which opens on the same line.
    fn swallowed(&self, file: FileId) -> Option<Diagnostic> {
        let mut line = 0;
        // The `{` of this line that are not closed on it.
        let mut open: Vec<Token> = Vec::new();
        for token in lexer::tokens(self.text) {
            let text = &self.text[token.range()];
            match token.kind {
                Kind::Open => open.push(token),
                Kind::Close => _ = open.pop(),
                Kind::Comment => {
                    let Some(brace) = open.last() else { continue };
                    let never_closed = || {
                        let end = brace.end as u32;
                        self.unclosed.iter().any(|head| head.end == end)
                    };
                    let hides = text.contains('}') || (text.contains(';') && never_closed());
                    if !hides {
                        continue;
                    }
                    let span = Span::new(file, token.start..token.start + 1);
                    let column = self.text[line..token.start].chars().count() + 1;
                    let hint = match resumption(text) {
                        Some(word) => {
                            format!("put a line break after the comment, perhaps before `{word}`")
                        }
                        None => "put a line break after the comment".to_owned(),
                    };
                    let message =
                        format!("the comment at column {column} swallows the rest of the line");
                    return Some(
                        Diagnostic::error(Code::SWALLOWED, span, message)
                            .label(span, "all that follows is a comment")
                            .label(
                                Span::new(file, brace.range()),
                                "so this block is not closed",
                            )
                            .hint(hint),
                    );
                }
                _ => {
                    if let Some(at) = text.rfind('\n') {
                        line = token.start + at + 1;
                        open.clear();
                    }
                }
            }
        }
        None
    }
}

/// The word of a comment at which the configuration seems to go on: the first `}`, or the name of
/// a directive in a comment that holds a `;` after it.
fn resumption(comment: &str) -> Option<&str> {
    let words: Vec<&str> = comment.split_ascii_whitespace().collect();
    words.iter().enumerate().find_map(|(index, word)| {
        if word.starts_with('}') {
            return Some("}");
        }
        // Not the first word: the comment itself has one.
        let name = word.trim_end_matches(';');
        let count = match word.ends_with(';') {
            true => 0,
            false => {
                1 + words[index + 1..]
                    .iter()
                    .position(|word| word.ends_with(';') || *word == "{")?
            }
        };
        let rows = directives::rows(name);
        let known = rows.iter().any(|row| row.fits(count))
            || (rows.is_empty() && directives::foreign(name).is_some());
        (index > 1 && known).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn codes(text: &str) -> Vec<&'static str> {
        let (document, problems) = parse(FileId(0), text);
        assert_eq!(document.print(text), text);
        problems.iter().map(|problem| problem.code.name()).collect()
    }

    #[test]
    fn a_sound_text_has_no_problems() {
        assert!(codes("\u{feff}a b \"c\" 'd';\r\n# x\ne { f; g { } }\n").is_empty());
        assert!(codes("").is_empty());
        assert!(codes("# only a comment").is_empty());
        assert!(codes("if ($a = \"b\") { c; }").is_empty());
        assert!(codes("a \"\\\"\";").is_empty());
    }

    #[test]
    fn all_problems_are_found_in_one_run() {
        assert_eq!(
            codes("; a b } { c; } d \"e\"f; g"),
            [
                "OC-E004", "OC-E006", "OC-E003", "OC-E005", "OC-E002", "OC-E006"
            ]
        );
    }

    #[test]
    fn nesting_is_bounded_and_what_is_too_deep_is_kept() {
        let text = format!("{} x; {}", "a {".repeat(100_000), "}".repeat(100_000));
        assert_eq!(codes(&text), ["OC-E009"]);
        let text = "a {".repeat(100_000);
        assert!(codes(&text).contains(&"OC-E009"));
    }

    #[test]
    fn the_size_of_the_tree_is_bounded() {
        let text = format!("a {{ {}", "b;".repeat(MAX_WORDS + 1_000));
        assert_eq!(codes(&text), ["OC-E025"]);
        let text = "a ".repeat(MAX_WORDS + 1_000);
        assert_eq!(codes(&text), ["OC-E025"]);
    }

    #[test]
    fn the_number_of_problems_is_bounded() {
        assert_eq!(codes(&";".repeat(100_000)).len(), MAX_PROBLEMS + 1);
    }

    #[test]
    fn the_indentation_shows_which_brace_is_missing() {
        let text = "http {\n    server {\n        listen 80;\n    server {\n    }\n}\n";
        let (_, problems) = parse(FileId(0), text);
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].labels.len(), 3);
        assert_eq!(&text[problems[0].labels[2].0.range()], "server {");
        assert_eq!(problems[0].labels[2].0.start, 11);
    }

    proptest! {
        #[test]
        fn the_tree_prints_back_byte_for_byte(text in r#"([ \t\r\n;{}#"'\\$a-cé]|_by_lua_block|\u{feff}){0,80}|.*"#) {
            let (document, _) = parse(FileId(0), &text);
            prop_assert_eq!(document.print(&text), text);
        }
    }
}
