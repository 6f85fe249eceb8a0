//! Text of strangers on its way to the terminal: escaped, measured and cut.
//!
//! Whatever comes out of [`fit`] moves no cursor and is exactly as wide as [`width`] says. The work
//! is bounded by the width that is asked for, not by the length of the text.

use std::borrow::Cow;

use unicode_segmentation::UnicodeSegmentation as _;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::unit::printable;

/// A letter with more marks than a terminal can be trusted with is shown as unknown.
const LONGEST_GRAPHEME: usize = 32;

const ZERO_WIDTH_JOINER: char = '\u{200d}';

/// How many columns a text takes once it is escaped.
pub fn width(text: &str) -> usize {
    if text.bytes().all(is_plain) {
        return text.len();
    }
    graphemes(text)
        .map(|grapheme| grapheme_width(&grapheme))
        .sum()
}

/// The text with everything visible that would move the cursor, change its direction or vanish:
/// `^X` for control characters of ASCII, `\u{9b}` and `\u{202e}` for others.
pub fn escape(text: &str) -> String {
    graphemes(text).collect()
}

/// The text, escaped, in at most `columns` columns; `cut` ends it if something is missing.
pub fn fit(text: &str, columns: usize, cut: &str) -> String {
    let cut_width = cut.width();
    // Nearly every text is like this.
    if text.bytes().take(columns + 1).all(is_plain) {
        return match columns.checked_sub(cut_width) {
            _ if text.len() <= columns => text.to_owned(),
            Some(room) => format!("{}{cut}", &text[..room]),
            None => String::new(),
        };
    }
    let mut fitted = String::new();
    let mut used = 0;
    // So much of it stays if the rest does not fit.
    let mut keep = 0;
    for grapheme in graphemes(text) {
        let grapheme_width = grapheme_width(&grapheme);
        if used + grapheme_width > columns {
            fitted.truncate(keep);
            if cut_width <= columns {
                fitted.push_str(cut);
            }
            return fitted;
        }
        used += grapheme_width;
        fitted.push_str(&grapheme);
        if used + cut_width <= columns {
            keep = fitted.len();
        }
    }
    fitted
}

/// As [`fit`], with what is at the end kept and the start cut.
pub fn fit_end(text: &str, columns: usize, cut: &str) -> String {
    if width(text) <= columns {
        return escape(text);
    }
    let room = columns.saturating_sub(cut.width());
    let mut kept = Vec::new();
    let mut used = 0;
    for grapheme in text.graphemes(true).rev().map(shown) {
        used += grapheme_width(&grapheme);
        if used > room {
            break;
        }
        kept.push(grapheme);
    }
    kept.reverse();
    let mut fitted = if cut.width() <= columns { cut } else { "" }.to_owned();
    fitted.extend(kept);
    fitted
}

/// A text in lines of at most `columns` columns, broken at blanks where that is possible.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        let mut used = 0;
        for word in paragraph.split_inclusive(' ') {
            if used > 0 && used + width(word.trim_end()) > columns {
                lines.push(line.trim_end().to_owned());
                line.clear();
                used = 0;
            }
            for grapheme in graphemes(word) {
                let grapheme_width = grapheme_width(&grapheme);
                if used + grapheme_width > columns && used > 0 {
                    if grapheme == " " {
                        continue;
                    }
                    lines.push(std::mem::take(&mut line));
                    used = 0;
                }
                line.push_str(&grapheme);
                used += grapheme_width;
            }
        }
        lines.push(line.trim_end().to_owned());
    }
    lines
}

/// The letters of a text as they are shown; each is either one grapheme or an escape.
pub fn graphemes(text: &str) -> impl Iterator<Item = Cow<'_, str>> {
    text.graphemes(true).map(shown)
}

/// Letters that are one column wide, whatever stands beside them, but for marks behind the last one.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
}

fn grapheme_width(grapheme: &str) -> usize {
    grapheme.width()
}

fn shown(grapheme: &str) -> Cow<'_, str> {
    // The joiner holds letters together that are one; alone it has no width.
    let is_dangerous = |letter| letter != ZERO_WIDTH_JOINER && printable::is_unsafe(letter);
    let is_plain = grapheme.len() <= LONGEST_GRAPHEME
        && grapheme.width() > 0
        && !grapheme.chars().any(is_dangerous);
    if is_plain {
        return Cow::Borrowed(grapheme);
    }
    if grapheme.len() > LONGEST_GRAPHEME {
        return Cow::Borrowed("\u{fffd}");
    }
    let mut escaped = String::new();
    for letter in grapheme.chars() {
        if printable::is_unsafe(letter) {
            escaped.push_str(&printable::escape(letter.encode_utf8(&mut [0; 4])));
        } else if letter.width().unwrap_or(0) == 0 {
            // On its own it has no width and would hang on what stands before it.
            escaped.push_str(&format!("\\u{{{:x}}}", u32::from(letter)));
        } else {
            escaped.push(letter);
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_moves_the_cursor_stays() {
        assert_eq!(
            escape("a\x1b[2Jb\r\n\t\x7f\u{9b}x"),
            "a^[[2Jb^M^J^I^?\\u{9b}x"
        );
        assert_eq!(escape("x\u{202e}y\u{200b}z"), "x\\u{202e}y\\u{200b}z");
        assert_eq!(escape("\u{301}a"), "\\u{301}a");
        let stack = format!("a{}", "\u{301}".repeat(100));
        assert_eq!(escape(&stack), "\u{fffd}");
    }

    #[test]
    fn letters_of_people_stay_as_they_are() {
        for text in ["Grüße", "日本語", "e\u{301}", "👩‍👩‍👧", "नमस्ते"]
        {
            assert_eq!(escape(text), text);
        }
        assert_eq!(width("日本"), 4);
        assert_eq!(width("e\u{301}"), 1);
    }

    #[test]
    fn a_text_that_is_cut_is_never_wider_than_asked() {
        assert_eq!(fit("example.org", 8, "…"), "example…");
        assert_eq!(fit("example.org", 11, "…"), "example.org");
        assert_eq!(fit("example.org", 0, "…"), "");
        assert_eq!(fit("日本語", 5, "…"), "日本…");
        assert_eq!(fit("日本語", 4, "…"), "日…");
        assert_eq!(fit("a\x1bb", 2, "…"), "a…");
        assert_eq!(fit("abc", 0, "…"), "");
        assert_eq!(fit_end("/srv/www/site", 8, "…"), "…ww/site");
        assert_eq!(fit_end("site", 8, "…"), "site");
    }

    #[test]
    fn lines_break_at_blanks_and_inside_words_that_are_too_long() {
        assert_eq!(wrap("one two three", 8), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij kl", 4), ["abcd", "efgh", "ij", "kl"]);
        assert_eq!(wrap("a\n\nb", 4), ["a", "", "b"]);
    }
}
