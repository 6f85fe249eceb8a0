//! Colour, where it is wanted; it only ever repeats what the words say.

use std::io::IsTerminal;

use super::args::Color;

/// Puts colour on text, or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Paint {
    is_on: bool,
}

impl Paint {
    /// As it is wanted on this stream (no-color.org; a terminal that knows none says so itself).
    pub fn of(color: Color, stream: &impl IsTerminal) -> Self {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_on = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                stream.is_terminal()
                    && !is_set("NO_COLOR")
                    && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
            }
        };
        Self { is_on }
    }

    /// None.
    pub const PLAIN: Self = Self { is_on: false };

    /// Is there any?
    pub fn is_on(self) -> bool {
        self.is_on
    }

    /// All is well.
    pub fn good(self, text: &str) -> String {
        self.put("32", text)
    }

    /// Look at it.
    pub fn warn(self, text: &str) -> String {
        self.put("33", text)
    }

    /// It is broken.
    pub fn bad(self, text: &str) -> String {
        self.put("31", text)
    }

    /// A heading.
    pub fn heading(self, text: &str) -> String {
        self.put("1", text)
    }

    /// A unified difference: what goes and what comes. The text is escaped here.
    pub fn diff(self, text: &str) -> String {
        let text = crate::unit::printable::escape_lines(text);
        let mut out = String::with_capacity(text.len());
        for line in text.lines() {
            let line = match line.as_bytes().first() {
                Some(b'+') => self.good(line),
                Some(b'-') => self.bad(line),
                Some(b'@') => self.put("36", line),
                _ => line.to_owned(),
            };
            out.push_str(&line);
            out.push('\n');
        }
        out
    }

    fn put(self, code: &str, text: &str) -> String {
        match self.is_on {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_escaped_and_painted_only_where_colour_is_wanted() {
        let diff = "@@ x\n-a\x1b[2J\n+b\n c\n";
        assert_eq!(Paint::PLAIN.diff(diff), "@@ x\n-a^[[2J\n+b\n c\n");
        let painted = Paint { is_on: true }.diff(diff);
        assert!(painted.contains("\x1b[31m-a^[[2J\x1b[0m\n"), "{painted:?}");
        assert!(painted.ends_with(" c\n"));
    }

    #[test]
    fn colour_can_be_had_and_left_by_word() {
        let stream = std::fs::File::open("/dev/null").expect("there");
        assert!(Paint::of(Color::Always, &stream).is_on());
        assert!(!Paint::of(Color::Never, &stream).is_on());
        assert!(!Paint::of(Color::Auto, &stream).is_on());
    }
}
