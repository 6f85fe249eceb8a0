//! A line of text that is typed: the keys of a shell, and its history.

use super::super::keymap::Action;
use super::super::paint::Painter;
use super::super::text;
use super::super::theme::Role;
use super::super::view::Input;
use crossterm::event::{KeyCode, KeyModifiers};
use unicode_segmentation::UnicodeSegmentation as _;

/// More is not taken: nothing that is typed here is longer.
const LONGEST: usize = 8192;

/// A line and its cursor.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Line {
    text: String,
    /// In bytes, between two graphemes.
    cursor: usize,
    /// Earlier lines, oldest first.
    history: Vec<String>,
    /// The line of the history that is shown, from its end; 0 is the one being typed.
    recalled: usize,
}

impl Line {
    /// A line with a text in it and the cursor at its end.
    pub fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            cursor: text.len(),
            text,
            ..Self::default()
        }
    }

    /// The same with earlier lines to recall, oldest first.
    pub fn with_history(self, history: Vec<String>) -> Self {
        Self { history, ..self }
    }

    /// What was typed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Another text, with the cursor at its end.
    pub fn set(&mut self, text: impl Into<String>) {
        self.text = text.into();
        self.cursor = self.text.len();
    }

    /// Takes a key, an action of line editing or a paste. Was it for a line of text?
    pub fn input(&mut self, input: &Input) -> bool {
        match input {
            Input::Paste(pasted) => {
                // What comes from the clipboard is one line here.
                let line: String = pasted
                    .chars()
                    .map(|letter| if letter == '\n' { ' ' } else { letter })
                    .filter(|letter| !letter.is_control())
                    .collect();
                self.insert(&line);
                true
            }
            Input::Action(action) => self.act(*action),
            Input::Key(key) => {
                let is_plain = !key
                    .modifiers
                    .intersects(KeyModifiers::CONTROL | KeyModifiers::ALT);
                match key.code {
                    KeyCode::Char(letter) if is_plain && !letter.is_control() => {
                        self.insert(letter.encode_utf8(&mut [0; 4]));
                        true
                    }
                    _ => false,
                }
            }
            _ => false,
        }
    }

    /// Draws it with the cursor, if it has the focus; the part around the cursor where it is longer.
    pub fn render(&self, painter: &mut Painter<'_>, x: u16, y: u16, columns: u16, focus: bool) {
        if columns == 0 {
            return;
        }
        let before = text::width(&self.text[..self.cursor]);
        // The cursor needs a column behind the last letter.
        let room = usize::from(columns).saturating_sub(1);
        if before <= room {
            painter.put(x, y, columns, &self.text, Role::Text);
        } else {
            let shown = text::fit_end(&self.text[..self.cursor], room, painter.glyphs().cut);
            painter.put(x, y, columns, &shown, Role::Text);
        }
        if focus {
            painter.cursor(x + before.min(room) as u16, y);
        }
    }

    fn insert(&mut self, text: &str) {
        if self.text.len() + text.len() <= LONGEST {
            self.text.insert_str(self.cursor, text);
            self.cursor += text.len();
        }
    }

    fn act(&mut self, action: Action) -> bool {
        let before = &self.text[..self.cursor];
        match action {
            Action::LineStart => self.cursor = 0,
            Action::LineEnd => self.cursor = self.text.len(),
            Action::LineLeft => {
                let letter = before.graphemes(true).next_back();
                self.cursor -= letter.map_or(0, str::len);
            }
            Action::LineRight => {
                let letter = self.text[self.cursor..].graphemes(true).next();
                self.cursor += letter.map_or(0, str::len);
            }
            Action::DeleteBack => {
                let letter = before.graphemes(true).next_back().map_or(0, str::len);
                self.delete(letter);
            }
            Action::DeleteForward => {
                let letter = self.text[self.cursor..].graphemes(true).next();
                let end = self.cursor + letter.map_or(0, str::len);
                self.text.drain(self.cursor..end);
            }
            Action::DeleteWord => {
                let trimmed = before.trim_end();
                let start = trimmed.rfind(char::is_whitespace).map_or(0, |at| {
                    at + trimmed[at..].chars().next().map_or(0, char::len_utf8)
                });
                self.delete(before.len() - start);
            }
            Action::DeleteLine => self.delete(before.len()),
            Action::Recall => {
                if self.history.is_empty() {
                    return true;
                }
                self.recalled = self.recalled % self.history.len() + 1;
                let recalled = self.history[self.history.len() - self.recalled].clone();
                self.set(recalled);
            }
            _ => return false,
        }
        true
    }

    /// Takes so many bytes before the cursor away.
    fn delete(&mut self, bytes: usize) {
        let start = self.cursor - bytes;
        self.text.drain(start..self.cursor);
        self.cursor = start;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(line: &mut Line, text: &str) {
        assert!(line.input(&Input::Paste(text.to_owned())));
    }

    #[test]
    fn keys_of_a_shell_edit_the_line() {
        let mut line = Line::new("proxy_pass http://app;");
        for action in [Action::DeleteWord, Action::LineStart, Action::LineRight] {
            assert!(line.input(&Input::Action(action)));
        }
        typed(&mut line, "日e\u{301}");
        assert_eq!(line.text(), "p日e\u{301}roxy_pass ");
        line.input(&Input::Action(Action::DeleteBack));
        line.input(&Input::Action(Action::LineLeft));
        line.input(&Input::Action(Action::DeleteForward));
        assert_eq!(line.text(), "proxy_pass ");
        line.input(&Input::Action(Action::LineEnd));
        line.input(&Input::Action(Action::DeleteLine));
        assert_eq!(line.text(), "");
        assert!(!line.input(&Input::Action(Action::Quit)));
    }

    #[test]
    fn a_paste_is_one_line_without_control_characters() {
        let mut line = Line::default();
        typed(&mut line, "a\nb\x1b[2Jc");
        assert_eq!(line.text(), "a b[2Jc");
        typed(&mut line, &"x".repeat(LONGEST));
        assert_eq!(line.text(), "a b[2Jc");
    }

    #[test]
    fn earlier_lines_come_back_newest_first() {
        let mut line = Line::default().with_history(vec!["one".to_owned(), "two".to_owned()]);
        for expected in ["two", "one", "two"] {
            line.input(&Input::Action(Action::Recall));
            assert_eq!(line.text(), expected);
        }
    }
}
