//! Drawing: the only way by which screens and overlays reach the buffer.
//!
//! Every text goes through [`text::fit`], everything is clipped to the screen, and no colour is
//! named but by its role. So a name of 10 kB with an escape sequence in it is only a cut name.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::{Modifier, Style};

use super::glyphs::Glyphs;
use super::text;
use super::theme::{Role, Theme};
use super::view::{Hit, Target};

/// What a frame is drawn with.
#[derive(Debug)]
pub struct Painter<'b> {
    buffer: &'b mut Buffer,
    theme: &'b Theme,
    glyphs: &'b Glyphs,
    hits: Vec<Hit>,
    cursor: Option<Position>,
    is_dimmed: bool,
}

/// A piece of text and what it is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Span {
    /// Not yet escaped.
    pub text: String,
    /// How it looks.
    pub role: Role,
}

impl Span {
    /// A piece.
    pub fn new(text: impl Into<String>, role: Role) -> Self {
        Self {
            text: text.into(),
            role,
        }
    }

    /// A plain piece.
    pub fn plain(text: impl Into<String>) -> Self {
        Self::new(text, Role::Text)
    }
}

impl<'b> Painter<'b> {
    /// A painter of one frame.
    pub fn new(buffer: &'b mut Buffer, theme: &'b Theme, glyphs: &'b Glyphs) -> Self {
        Self {
            buffer,
            theme,
            glyphs,
            hits: Vec::new(),
            cursor: None,
            is_dimmed: false,
        }
    }

    /// The letters in use.
    pub fn glyphs(&self) -> &'b Glyphs {
        self.glyphs
    }

    /// The whole screen.
    pub fn area(&self) -> Rect {
        self.buffer.area
    }

    /// From here on everything is drawn as old.
    pub fn dim(&mut self, is_dimmed: bool) {
        self.is_dimmed = is_dimmed;
    }

    /// How a role looks now.
    pub fn style(&self, role: Role) -> Style {
        let style = self.theme.style(role);
        if self.is_dimmed {
            style.add_modifier(Modifier::DIM)
        } else {
            style
        }
    }

    /// Puts a text into `columns` columns from (`x`, `y`), cut with `…` where it does not fit. Gives
    /// the column behind it.
    pub fn put(&mut self, x: u16, y: u16, columns: u16, text: &str, role: Role) -> u16 {
        let style = self.style(role);
        self.put_styled(x, y, columns, text, style)
    }

    /// As [`Painter::put`], against the right end of the columns.
    pub fn put_right(&mut self, x: u16, y: u16, columns: u16, text: &str, role: Role) {
        let fitted = text::fit(text, usize::from(columns), self.glyphs.cut);
        let used = (text::width(&fitted) as u16).min(columns);
        let start = x.saturating_add(columns - used);
        self.put(start, y, used, &fitted, role);
    }

    /// Puts pieces one after the other. Gives the column behind the last.
    pub fn put_spans(&mut self, x: u16, y: u16, columns: u16, spans: &[Span]) -> u16 {
        let end = x.saturating_add(columns);
        let mut at = x;
        for span in spans {
            at = self.put(at, y, end.saturating_sub(at), &span.text, span.role);
        }
        at
    }

    /// Puts as many facts beside each other as fit whole, the first in any case.
    pub fn put_facts(&mut self, x: u16, y: u16, columns: u16, facts: &[Span]) {
        let end = x.saturating_add(columns);
        let mut at = x;
        for (position, fact) in facts.iter().enumerate() {
            let room = usize::from(end.saturating_sub(at));
            if position > 0 && text::width(&fact.text) > room {
                return;
            }
            at = self.put(at, y, room as u16, &fact.text, fact.role) + 3;
        }
    }

    /// Fills an area with blanks in the style of a role.
    pub fn clear(&mut self, area: Rect) {
        let area = area.intersection(self.buffer.area);
        for y in area.top()..area.bottom() {
            for x in area.left()..area.right() {
                self.buffer[(x, y)].reset();
            }
        }
    }

    /// Gives an area another role without changing its letters: a selected row.
    pub fn mark(&mut self, area: Rect, role: Role) {
        let style = self.style(role);
        self.buffer
            .set_style(area.intersection(self.buffer.area), style);
    }

    /// Draws a frame with a title at the left and a remark at the right of its upper line. Gives what
    /// is inside, with a blank column at both sides.
    pub fn frame(&mut self, area: Rect, title: &str, remark: &str, is_focused: bool) -> Rect {
        let lines = self.glyphs.frame;
        let (width, height) = (area.width, area.height);
        if width < 2 || height < 2 {
            return Rect::new(area.x, area.y, 0, 0);
        }
        let role = if is_focused {
            Role::Accent
        } else {
            Role::Muted
        };
        let across = lines.horizontal.repeat(usize::from(width) - 2);
        let top = format!("{}{across}{}", lines.top_left, lines.top_right);
        let bottom = format!("{}{across}{}", lines.bottom_left, lines.bottom_right);
        let (left, right) = (area.left(), area.right() - 1);
        self.put(left, area.top(), width, &top, role);
        self.put(left, area.bottom() - 1, width, &bottom, role);
        for y in area.top() + 1..area.bottom() - 1 {
            self.put(left, y, 1, lines.vertical, role);
            self.put(right, y, 1, lines.vertical, role);
        }
        // A corner, a line, the title, at least one line, the remark, a line, a corner.
        let room = usize::from(width).saturating_sub(4);
        let title = &text::fit(title, room, self.glyphs.cut);
        let remark = &text::fit(remark, room, self.glyphs.cut);
        let title_width = text::width(title) + 2;
        let remark_width = text::width(remark) + 2;
        if !title.is_empty() && room > 3 {
            let columns = title_width.min(room) as u16;
            let title_role = if is_focused {
                Role::Accent
            } else {
                Role::Title
            };
            self.put(left + 2, area.top(), 1, " ", role);
            let end = self.put(left + 3, area.top(), columns - 2, title, title_role);
            self.put(end, area.top(), 1, " ", role);
        }
        if !remark.is_empty() && title_width + remark_width < room {
            let start = right - 1 - remark_width as u16;
            let padded = format!(" {remark} ");
            self.put(start, area.top(), remark_width as u16, &padded, role);
        }
        Rect::new(
            left + 2,
            area.top() + 1,
            width.saturating_sub(4),
            height - 2,
        )
    }

    /// Clears the middle of `area` and draws a frame there: an overlay of `width` times `height`
    /// cells, frame included, smaller where the screen is. Clicks outside hit nothing from here on.
    pub fn dialog(&mut self, area: Rect, width: u16, height: u16, title: &str) -> Rect {
        let (width, height) = (width.min(area.width), height.min(area.height));
        let dialog = Rect::new(
            area.x + (area.width - width) / 2,
            area.y + (area.height - height) / 2,
            width,
            height,
        );
        self.hits.clear();
        self.clear(dialog);
        self.frame(dialog, title, "", true)
    }

    /// Shows the terminal's cursor here.
    pub fn cursor(&mut self, x: u16, y: u16) {
        let position = Position::new(x, y);
        self.cursor = self.buffer.area.contains(position).then_some(position);
    }

    /// A click into this area means this; the last that contains the place wins.
    pub fn hit(&mut self, area: Rect, target: Target) {
        self.hits.push(Hit { area, target });
    }

    /// What clicks mean, and where the cursor is.
    pub fn finish(self) -> (Vec<Hit>, Option<Position>) {
        (self.hits, self.cursor)
    }

    fn put_styled(&mut self, x: u16, y: u16, columns: u16, text: &str, style: Style) -> u16 {
        let screen = self.buffer.area;
        if !screen.contains(Position::new(x, y)) {
            return x;
        }
        let columns = columns.min(screen.right() - x);
        let fitted = text::fit(text, usize::from(columns), self.glyphs.cut);
        let fitted = if self.glyphs.is_unicode || fitted.is_ascii() {
            fitted
        } else {
            ascii(&fitted)
        };
        let (end, _) = self
            .buffer
            .set_stringn(x, y, fitted, usize::from(columns), style);
        end
    }
}

/// For terminals that know no other letters: as many question marks as there were columns.
fn ascii(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for grapheme in text::graphemes(text) {
        if grapheme.is_ascii() {
            plain.push_str(&grapheme);
        } else {
            plain.extend(std::iter::repeat_n('?', text::width(&grapheme)));
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::super::glyphs::{ASCII, BLOCK};
    use super::super::theme::THEMES;
    use super::*;

    fn lines(buffer: &Buffer) -> Vec<String> {
        let area = buffer.area;
        (area.top()..area.bottom())
            .map(|y| {
                (area.left()..area.right())
                    .map(|x| buffer[(x, y)].symbol())
                    .collect()
            })
            .collect()
    }

    #[test]
    fn a_frame_has_its_title_left_and_its_remark_right() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 24, 3));
        let mut painter = Painter::new(&mut buffer, &THEMES[0], &BLOCK);
        let area = painter.area();
        let inside = painter.frame(area, "Routes", "5 min", false);
        assert_eq!(inside, Rect::new(2, 1, 20, 1));
        painter.put_right(inside.x, inside.y, inside.width, "7", Role::Text);
        assert_eq!(
            lines(&buffer),
            [
                "┌─ Routes ───── 5 min ─┐",
                "│                    7 │",
                "└──────────────────────┘"
            ]
        );
    }

    #[test]
    fn nothing_is_drawn_outside_at_any_size() {
        for width in 0..12 {
            for height in 0..5 {
                let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
                let mut painter = Painter::new(&mut buffer, &THEMES[0], &BLOCK);
                let area = painter.area();
                painter.frame(area, "a title", "and more", true);
                painter.put(3, 3, 500, "日本語 and more", Role::Bad);
                painter.put_right(0, 0, 500, "日本語", Role::Bad);
                painter.dialog(area, 40, 10, "x");
                painter.cursor(100, 100);
                painter.mark(Rect::new(0, 0, 99, 99), Role::Selection);
            }
        }
    }

    #[test]
    fn a_terminal_without_letters_gets_question_marks_of_the_same_width() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 8, 1));
        let mut painter = Painter::new(&mut buffer, &THEMES[0], &ASCII);
        painter.put(0, 0, 8, "a日本é\x1b", Role::Text);
        assert_eq!(lines(&buffer), ["a?????^["]);
    }
}
