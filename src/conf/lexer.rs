//! Text → tokens, as nginx's `ngx_conf_read_token` cuts it.
//!
//! Invariant: the tokens of a text cover every byte of it, in order, and each starts and ends on a
//! character boundary. Lexing never fails; what is wrong with a word is found by the parser.
//!
//! Rules that surprise (all nginx's): a quote, `#` or `}` in the middle of a word is part of the
//! word; only a blank, `;` or `{` ends it; a backslash protects whatever follows; a `{` directly
//! after `$` is part of the word.

use std::ops::Range;

/// What a token is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Blanks and line ends.
    Blank,
    /// From `#` up to, without, the line end.
    Comment,
    /// A word without quotes around it.
    Word,
    /// A word in quotes, both quotes included.
    Quoted,
    /// A quote that opens a word which is not closed; reaches to the end of its line or statement.
    Unclosed,
    /// `;`
    Semicolon,
    /// `{`
    Open,
    /// `}`
    Close,
    /// The body of a `*_by_lua_block`, without its braces.
    Raw,
    /// A byte order mark at the start of the text.
    Mark,
}

/// A piece of the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Its first byte.
    pub start: usize,
    /// The byte after its last one.
    pub end: usize,
}

impl Token {
    /// The positions as a range for slicing the text.
    pub fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

/// Cuts a text into tokens.
pub fn tokens(text: &str) -> Lexer<'_> {
    Lexer {
        text,
        at: 0,
        statement: Statement::Start,
    }
}

/// What a word of the source means: quotes taken off, escapes resolved.
///
/// `\"`, `\'` and `\\` stand for the second character, `\t`, `\r` and `\n` for the control
/// character; any other backslash stays (a regular expression needs it).
pub fn unescape(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    let mut characters = word.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        let rest = characters.as_str();
        match rest.chars().next() {
            Some(escaped @ ('"' | '\'' | '\\')) => out.push(escaped),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('n') => out.push('\n'),
            _ => {
                out.push('\\');
                continue;
            }
        }
        characters.next();
    }
    out
}

/// Spells a value as one word of the source: bare if that means the same, else in quotes.
pub fn escape(value: &str) -> String {
    let bare = !value.is_empty() && {
        let mut pieces = tokens(value);
        let first = pieces.next();
        first.is_some_and(|token| token.kind == Kind::Word && token.end == value.len())
            && unescape(value) == value
            // It would protect the `;` that follows.
            && !value.ends_with('\\')
            // Reads as the end of a block, though it is not.
            && !value.contains(['}', '\u{a0}', '\u{feff}'])
    };
    if bare {
        return value.to_owned();
    }
    match value.contains('"') && !value.contains('\'') {
        true => quote(value, '\''),
        false => quote(value, '"'),
    }
}

/// Spells a value as one word in quotes.
pub fn quote(value: &str, quote: char) -> String {
    let mut out = String::with_capacity(value.len() + 2);
    out.push(quote);
    let mut characters = value.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.peek() {
                // Alone it would be read as the start of an escape.
                None | Some('"' | '\'' | '\\' | 't' | 'r' | 'n') => out.push_str("\\\\"),
                _ => {
                    // The lexer steps over the character after a backslash, whatever it is.
                    out.push('\\');
                    out.extend(characters.next());
                }
            },
            '\r' => out.push_str("\\r"),
            _ if character == quote => {
                out.push('\\');
                out.push(character);
            }
            _ => out.push(character),
        }
    }
    out.push(quote);
    out
}

/// The iterator over the tokens of a text.
#[derive(Clone, Debug)]
pub struct Lexer<'a> {
    text: &'a str,
    at: usize,
    statement: Statement,
}

/// What the words since the last `;`, `{` or `}` say about the block that may follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Statement {
    Start,
    Plain,
    /// The name ends in `_by_lua_block`: what stands between the braces is a program.
    Program,
    /// The brace of a program was just opened.
    Body,
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        let &first = bytes.get(start)?;
        if self.statement == Statement::Body {
            self.statement = Statement::Start;
            let end = program_end(bytes, start);
            if end > start {
                self.at = end;
                return Some(Token {
                    kind: Kind::Raw,
                    start,
                    end,
                });
            }
        }
        let (kind, end) = match first {
            _ if start == 0 && self.text.starts_with('\u{feff}') => (Kind::Mark, 3),
            b' ' | b'\t' | b'\r' | b'\n' => {
                let blanks = bytes[start..].iter().take_while(|byte| is_blank(**byte));
                (Kind::Blank, start + blanks.count())
            }
            b'#' => {
                let length = memchr::memchr(b'\n', &bytes[start..]);
                (Kind::Comment, length.map_or(bytes.len(), |at| start + at))
            }
            b';' => (Kind::Semicolon, start + 1),
            b'{' => (Kind::Open, start + 1),
            b'}' => (Kind::Close, start + 1),
            b'"' | b'\'' => quoted(bytes, start),
            _ => (Kind::Word, bare_end(bytes, start)),
        };
        self.statement = match kind {
            Kind::Semicolon | Kind::Close => Statement::Start,
            Kind::Open if self.statement == Statement::Program => Statement::Body,
            Kind::Open => Statement::Start,
            Kind::Word if self.statement == Statement::Start => {
                match self.text[start..end].ends_with("_by_lua_block") {
                    true => Statement::Program,
                    false => Statement::Plain,
                }
            }
            Kind::Quoted | Kind::Unclosed if self.statement == Statement::Start => Statement::Plain,
            _ => self.statement,
        };
        self.at = end;
        Some(Token { kind, start, end })
    }
}

/// nginx's four blanks; every other byte, a no-break space too, belongs to a word.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Where a word without quotes ends.
fn bare_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start;
    let mut after_dollar = false;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'{' if after_dollar => {
                at += 1;
                continue;
            }
            b'\\' => {
                at = boundary(bytes, at + 2);
                after_dollar = false;
                continue;
            }
            b';' | b'{' => break,
            _ if is_blank(byte) => break,
            _ => {}
        }
        after_dollar = byte == b'$';
        at += 1;
    }
    at
}

/// The next character boundary at or after a position, within the text.
fn boundary(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(|byte| byte & 0xC0 == 0x80) {
        at += 1;
    }
    at.min(bytes.len())
}

/// A word that starts with a quote.
///
/// A quote that is never closed, or that spans lines and is then followed by something no closing
/// quote can be followed by, was forgotten. It is then cut at the end of its line, so that the rest
/// of the file can still be read. Both are errors in nginx, so no valid text is read differently.
fn quoted(bytes: &[u8], start: usize) -> (Kind, usize) {
    let quote = bytes[start];
    let mut at = start + 1;
    let mut close = None;
    while let Some(offset) = memchr::memchr2(quote, b'\\', bytes.get(at..).unwrap_or_default()) {
        at += offset;
        if bytes[at] == quote {
            close = Some(at);
            break;
        }
        at += 2;
    }
    if let Some(close) = close {
        let fits = bytes
            .get(close + 1)
            .is_none_or(|&next| is_blank(next) || matches!(next, b';' | b'{' | b')'));
        if fits || memchr::memchr(b'\n', &bytes[start..close]).is_none() {
            return (Kind::Quoted, close + 1);
        }
    }
    let line_end = memchr::memchr(b'\n', &bytes[start..]).map_or(bytes.len(), |at| start + at);
    let line = &bytes[start..line_end];
    let line = line.trim_ascii_end();
    let line = line
        .strip_suffix(b";")
        .or(line.strip_suffix(b"{"))
        .unwrap_or(line);
    let end = start + line.trim_ascii_end().len();
    (Kind::Unclosed, end.max(start + 1))
}

/// Where the brace stands that ends a Lua program: braces are balanced, those in strings, long
/// brackets and comments are not counted (Lua 5.1 manual, section 2.1). The end of the text, if
/// there is none.
fn program_end(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0usize;
    let mut at = start;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 0 => return at,
            b'}' => depth -= 1,
            b'"' | b'\'' => {
                at += 1;
                while let Some(&inner) = bytes.get(at) {
                    match inner {
                        b'\\' => at += 1,
                        // A Lua string does not span lines; a stray quote harms one line only.
                        b'\n' => break,
                        _ if inner == byte => break,
                        _ => {}
                    }
                    at += 1;
                }
            }
            b'[' => {
                if let Some(end) = long_bracket_end(bytes, at) {
                    at = end;
                    continue;
                }
            }
            b'-' if bytes.get(at + 1) == Some(&b'-') => {
                let body = at + 2;
                at = long_bracket_end(bytes, body).unwrap_or_else(|| {
                    let rest = bytes.get(body..).unwrap_or_default();
                    memchr::memchr(b'\n', rest).map_or(bytes.len(), |offset| body + offset)
                });
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

/// Where a long bracket `[==[ … ]==]` that opens here ends; `None` if none opens here.
fn long_bracket_end(bytes: &[u8], start: usize) -> Option<usize> {
    let rest = bytes.get(start..)?.strip_prefix(b"[")?;
    let level = rest.iter().take_while(|&&byte| byte == b'=').count();
    if rest.get(level) != Some(&b'[') {
        return None;
    }
    let mut close = vec![b']'];
    close.resize(level + 1, b'=');
    close.push(b']');
    let body = start + level + 2;
    let found = memchr::memmem::find(&bytes[body..], &close);
    Some(found.map_or(bytes.len(), |offset| body + offset + close.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(text: &str) -> Vec<(Kind, &str)> {
        tokens(text)
            .filter(|token| token.kind != Kind::Blank)
            .map(|token| (token.kind, &text[token.range()]))
            .collect()
    }

    #[test]
    fn words_end_at_blanks_semicolons_and_opening_braces_only() {
        use Kind::*;
        assert_eq!(
            cut("a b\"c#d}e;f{g}"),
            [
                (Word, "a"),
                (Word, "b\"c#d}e"),
                (Semicolon, ";"),
                (Word, "f"),
                (Open, "{"),
                (Word, "g}"),
            ]
        );
    }

    #[test]
    fn a_brace_after_a_dollar_belongs_to_the_word() {
        use Kind::*;
        assert_eq!(cut("a${b}c{"), [(Word, "a${b}c"), (Open, "{")]);
        assert_eq!(cut("${b}"), [(Word, "${b}")]);
        assert_eq!(cut("a$b{"), [(Word, "a$b"), (Open, "{")]);
        assert_eq!(cut("$\\{{"), [(Word, "$\\{"), (Open, "{")]);
    }

    #[test]
    fn a_backslash_protects_the_next_character() {
        use Kind::*;
        assert_eq!(cut("a\\;b\\ c;"), [(Word, "a\\;b\\ c"), (Semicolon, ";")]);
        assert_eq!(cut(r#""a\"b";"#), [(Quoted, r#""a\"b""#), (Semicolon, ";")]);
        assert_eq!(cut("\\"), [(Word, "\\")]);
        assert_eq!(cut("\\é;"), [(Word, "\\é"), (Semicolon, ";")]);
    }

    #[test]
    fn a_comment_starts_only_where_a_word_could() {
        use Kind::*;
        assert_eq!(
            cut("a#b #c;\nd"),
            [(Word, "a#b"), (Comment, "#c;"), (Word, "d")]
        );
    }

    #[test]
    fn a_forgotten_quote_costs_its_line_only() {
        use Kind::*;
        assert_eq!(
            cut("a \"b;\nc \"d\";\n"),
            [
                (Word, "a"),
                (Unclosed, "\"b"),
                (Semicolon, ";"),
                (Word, "c"),
                (Quoted, "\"d\""),
                (Semicolon, ";"),
            ]
        );
        assert_eq!(cut("a 'b"), [(Word, "a"), (Unclosed, "'b")]);
        assert_eq!(cut("\""), [(Unclosed, "\"")]);
    }

    #[test]
    fn quoted_words_may_span_lines() {
        use Kind::*;
        assert_eq!(cut("'a\nb';"), [(Quoted, "'a\nb'"), (Semicolon, ";")]);
    }

    #[test]
    fn the_body_of_a_lua_block_is_one_token() {
        use Kind::*;
        assert_eq!(
            cut("x_by_lua_block { a = {1} -- }\n b = '}' c = [[}]] } d;"),
            [
                (Word, "x_by_lua_block"),
                (Open, "{"),
                (Raw, " a = {1} -- }\n b = '}' c = [[}]] "),
                (Close, "}"),
                (Word, "d"),
                (Semicolon, ";"),
            ]
        );
        assert_eq!(cut("a x_by_lua_block {b")[2..], [(Open, "{"), (Word, "b")]);
    }

    #[test]
    fn only_known_escapes_are_resolved() {
        assert_eq!(unescape(r#"\"\'\\\t\r\n"#), "\"'\\\t\r\n");
        assert_eq!(unescape(r"\.\d\;\"), r"\.\d\;\");
        assert_eq!(unescape(r"\\n"), r"\n");
    }

    #[test]
    fn a_value_is_spelled_bare_where_that_is_safe() {
        assert_eq!(escape("a"), "a");
        assert_eq!(escape(r"\.php$"), r"\.php$");
        assert_eq!(escape(""), "\"\"");
        assert_eq!(escape("a b"), "\"a b\"");
        assert_eq!(escape("say \"hi\""), "'say \"hi\"'");
        assert_eq!(escape("\\"), r#""\\""#);
    }

    proptest! {
        #[test]
        fn tokens_cover_every_byte(text in r#"([ \t\r\n;{}#"'\\$a-cé]|_by_lua_block|--|\[=*\[|\]=*\]){0,60}|.*"#) {
            let mut at = 0;
            for token in tokens(&text) {
                prop_assert_eq!(token.start, at);
                prop_assert!(token.end > at);
                prop_assert!(text.get(token.range()).is_some());
                at = token.end;
            }
            prop_assert_eq!(at, text.len());
        }

        #[test]
        fn a_spelled_value_reads_back(value in r#"[ \t\r\n;{}#"'\\$a-cétrn]{0,20}|.*"#) {
            let spelled = escape(&value);
            // As it stands in a file: between blanks, and directly before the end.
            let line = format!("name {spelled};");
            let cut = cut(&line);
            prop_assert_eq!(cut.len(), 3, "{}", line);
            let inner = match cut[1].0 {
                Kind::Word => cut[1].1,
                Kind::Quoted => &cut[1].1[1..cut[1].1.len() - 1],
                kind => return Err(TestCaseError::fail(format!("{kind:?}: {line}"))),
            };
            prop_assert_eq!(unescape(inner), value);
        }
    }
}
