//! Text from anywhere made safe for a terminal.
//!
//! Owns which characters a terminal would obey or a reader would not see: control characters (C0, DEL
//! and C1), and those that turn the direction of writing, break lines or have no width. Invariant: in
//! what comes out, whoever wrote it, nothing moves the cursor, sets a colour or hides.

use std::borrow::Cow;
use std::fmt::Write as _;

/// One line: every such character is shown, as `^[` or `\u{9b}`. Other text stays as it is.
pub fn escape(text: &str) -> Cow<'_, str> {
    replace(text, is_unsafe, show)
}

/// Text of several lines: as [`escape`], but ends of lines and tabs stay.
pub fn escape_lines(text: &str) -> Cow<'_, str> {
    replace(
        text,
        |character| !matches!(character, '\n' | '\t') && is_unsafe(character),
        show,
    )
}

/// JSON text: such characters become `\u009b`, which means the same in JSON. They stand in strings
/// only; the white space between its parts stays.
pub fn escape_json(text: &str) -> Cow<'_, str> {
    replace(
        text,
        |character| !matches!(character, '\n' | '\t' | '\r') && is_unsafe(character),
        |character, out| {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        },
    )
}

/// Would a terminal obey it, or a reader not see it?
pub fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            // Soft hyphen, Arabic letter mark, marks without width and of direction, separators of
            // lines, embeddings and isolates, byte order mark, interlinear marks, tags.
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

fn show(character: char, out: &mut String) {
    match character {
        '\0'..='\x1f' => {
            out.push('^');
            // From `@` on, as terminals and `cat -v` name them.
            out.push(char::from(character as u8 + b'@'));
        }
        '\x7f' => out.push_str("^?"),
        other => {
            // Writing to a string cannot fail.
            let _ = write!(out, "\\u{{{:x}}}", u32::from(other));
        }
    }
}

fn replace(
    text: &str,
    is_replaced: impl Fn(char) -> bool,
    put: impl Fn(char, &mut String),
) -> Cow<'_, str> {
    let Some(first) = text.find(&is_replaced) else {
        return Cow::Borrowed(text);
    };
    let (clean, rest) = text.split_at(first);
    let mut out = String::with_capacity(text.len() + 16);
    out.push_str(clean);
    for character in rest.chars() {
        match is_replaced(character) {
            true => put(character, &mut out),
            false => out.push(character),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        assert_eq!(escape("\x1b[2J\x07\r\n\tx\x7f"), "^[[2J^G^M^J^Ix^?");
        assert_eq!(escape("a\u{9b}31mb"), "a\\u{9b}31mb");
        assert_eq!(escape("\u{202e}gpj.exe"), "\\u{202e}gpj.exe");
        assert_eq!(escape_lines("a\n\tb\x1bc"), "a\n\tb^[c");
    }

    #[test]
    fn ordinary_text_is_not_touched() {
        for text in ["", "/a?b=%1b", "Grüße, 世界 🚀 e\u{301}"] {
            assert!(matches!(escape(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn json_means_the_same_afterwards() {
        assert_eq!(escape_json("{\"a\":\"\u{9b}\"}\n"), "{\"a\":\"\\u009b\"}\n");
        assert_eq!(escape_json("\"\u{e0041}\""), "\"\\udb40\\udc41\"");
    }

    proptest! {
        #[test]
        fn nothing_unsafe_comes_out(text in any::<String>()) {
            let shown = escape(&text);
            prop_assert!(!shown.contains(is_unsafe));
            prop_assert_eq!(escape(&shown), shown.as_ref());
            let lines = escape_lines(&text);
            prop_assert!(!lines.contains(|it| !matches!(it, '\n' | '\t') && is_unsafe(it)));
            prop_assert_eq!(lines.matches('\n').count(), text.matches('\n').count());
        }

        #[test]
        fn json_is_safe_and_reads_back(text in any::<String>()) {
            let json = serde_json::to_string(&text).expect("a string");
            let safe = escape_json(&json);
            prop_assert!(!safe.contains(is_unsafe));
            prop_assert_eq!(serde_json::from_str::<String>(&safe).expect("still JSON"), text);
        }
    }
}
