//! A table: columns that keep their place, a selection, and only the visible rows drawn.

use ratatui::layout::Rect;

use super::super::keymap::Action;
use super::super::paint::Painter;
use super::super::text;
use super::super::theme::Role;
use super::super::view::{Input, Target};

/// A column's definition.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its head.
    pub title: &'static str,
    /// The least width.
    pub width: u16,
    /// Its part of the width that is left; 0 keeps it as it is.
    pub grows: u16,
    /// Numbers stand at the right.
    pub is_number: bool,
    /// Columns with the highest number go first where there is no room; 0 stays.
    pub drop: u8,
}

impl Column {
    /// A column of text.
    pub const fn text(title: &'static str, width: u16, grows: u16, drop: u8) -> Self {
        Self {
            title,
            width,
            grows,
            is_number: false,
            drop,
        }
    }

    /// A column of numbers.
    pub const fn number(title: &'static str, width: u16, drop: u8) -> Self {
        Self {
            title,
            width,
            grows: 0,
            is_number: true,
            drop,
        }
    }
}

/// A cell: its text and what it is.
pub type Cell = (String, Role);

/// Where a table stands.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Table {
    /// The row with the focus, from 0.
    pub selected: usize,
    /// The first row that is shown.
    offset: usize,
    /// How many rows were shown last.
    page: usize,
    /// How many rows there are.
    rows: usize,
}

impl Table {
    /// Moves the selection; true if the action does that.
    pub fn act(&mut self, action: Action) -> bool {
        let (page, last) = (self.page.max(1), self.rows.saturating_sub(1));
        self.selected = match action {
            Action::Down => (self.selected + 1).min(last),
            Action::Up => self.selected.saturating_sub(1),
            Action::First => 0,
            Action::Last => last,
            Action::HalfDown => (self.selected + page.div_ceil(2)).min(last),
            Action::HalfUp => self.selected.saturating_sub(page.div_ceil(2)),
            Action::PageDown => (self.selected + page).min(last),
            Action::PageUp => self.selected.saturating_sub(page),
            _ => return false,
        };
        true
    }

    /// Takes clicks and the wheel over `pane`, beside what [`Table::act`] takes.
    pub fn input(&mut self, input: &Input, pane: u8) -> bool {
        match *input {
            Input::Action(action) => self.act(action),
            Input::Click(Target::Row { pane: hit, row }) if hit == pane => {
                self.selected = row.min(self.rows.saturating_sub(1));
                true
            }
            Input::Wheel(lines, _) => {
                let steps = usize::from(lines.unsigned_abs());
                self.selected = if lines > 0 {
                    (self.selected + steps).min(self.rows.saturating_sub(1))
                } else {
                    self.selected.saturating_sub(steps)
                };
                true
            }
            _ => false,
        }
    }

    /// Selects a row that is where the selection was before rows came or went above it, so that the
    /// picture stands still.
    pub fn shift_to(&mut self, row: usize) {
        self.offset = (self.offset + row).saturating_sub(self.selected);
        self.selected = row.min(self.rows.saturating_sub(1));
    }

    /// The next row behind the selection that is meant, or the one before, around the ends.
    pub fn next(&self, is_backwards: bool, is_meant: impl Fn(usize) -> bool) -> Option<usize> {
        let count = self.rows;
        (1..=count)
            .map(|step| if is_backwards { count - step } else { step })
            .map(|step| (self.selected + step) % count)
            .find(|&row| is_meant(row))
    }

    /// There are so many rows now.
    pub fn set_rows(&mut self, rows: usize) {
        self.rows = rows;
        self.selected = self.selected.min(rows.saturating_sub(1));
    }

    /// Draws it into the inside of a frame: the heads, then the rows around the selection. The column
    /// before the area is free for the mark of the selected row. `cells` is asked only for rows that
    /// are seen.
    pub fn render(
        &mut self,
        painter: &mut Painter<'_>,
        area: Rect,
        pane: u8,
        columns: &[Column],
        sort: Option<usize>,
        mut cells: impl FnMut(usize) -> Vec<Cell>,
    ) {
        if area.height == 0 || area.width == 0 {
            return;
        }
        let widths = widths(columns, area.width);
        let head = |painter: &mut Painter<'_>| {
            let mut x = area.x;
            for (position, (column, &width)) in columns.iter().zip(&widths).enumerate() {
                if width == 0 {
                    continue;
                }
                let role = if sort == Some(position) {
                    Role::Accent
                } else {
                    Role::Muted
                };
                if column.is_number {
                    painter.put_right(x, area.y, width, column.title, role);
                } else {
                    painter.put(x, area.y, width, column.title, role);
                }
                let target = Target::Header {
                    pane,
                    column: position as u8,
                };
                painter.hit(Rect::new(x, area.y, width, 1), target);
                x += width + 1;
            }
        };
        head(painter);
        self.page = usize::from(area.height - 1);
        if self.page == 0 {
            return;
        }
        let lowest = self.rows.saturating_sub(self.page);
        self.offset = self
            .offset
            .clamp((self.selected + 1).saturating_sub(self.page), self.selected)
            .min(lowest);
        for (line, row) in (self.offset..self.rows).take(self.page).enumerate() {
            let y = area.y + 1 + line as u16;
            let whole = Rect::new(area.x.saturating_sub(1), y, area.width + 1, 1);
            let mut x = area.x;
            for ((column, &width), (text, role)) in columns.iter().zip(&widths).zip(cells(row)) {
                if width == 0 {
                    continue;
                }
                if column.is_number {
                    painter.put_right(x, y, width, &text, role);
                } else {
                    painter.put(x, y, width, &text, role);
                }
                x += width + 1;
            }
            if row == self.selected {
                painter.put(whole.x, y, 1, ">", Role::Accent);
                painter.mark(whole, Role::Selection);
            }
            painter.hit(whole, Target::Row { pane, row });
        }
    }
}

/// How wide each column is in so much room; 0 for those that have to go.
pub fn widths(columns: &[Column], room: u16) -> Vec<u16> {
    let mut shown = vec![true; columns.len()];
    let needed = |shown: &[bool]| -> u16 {
        let chosen = || columns.iter().zip(shown).filter(|(_, shown)| **shown);
        let gaps = (chosen().count() as u16).saturating_sub(1);
        chosen().map(|(column, _)| column.width).sum::<u16>() + gaps
    };
    while needed(&shown) > room {
        let last = (0..columns.len())
            .filter(|&position| shown[position] && columns[position].drop > 0)
            .max_by_key(|&position| columns[position].drop);
        match last {
            Some(position) => shown[position] = false,
            None => break,
        }
    }
    let mut left = room.saturating_sub(needed(&shown));
    let mut parts: u16 = columns
        .iter()
        .zip(&shown)
        .filter(|(_, shown)| **shown)
        .map(|(column, _)| column.grows)
        .sum();
    let mut widths = Vec::with_capacity(columns.len());
    for (column, shown) in columns.iter().zip(shown) {
        if !shown {
            widths.push(0);
            continue;
        }
        let more = match parts {
            0 => 0,
            parts => (u32::from(left) * u32::from(column.grows) / u32::from(parts)) as u16,
        };
        left -= more;
        parts -= column.grows;
        widths.push(column.width + more);
    }
    widths
}

/// Has one of the texts the wanted one in it, whatever the case?
pub fn matches(wanted: &str, texts: &[&str]) -> bool {
    let wanted = wanted.to_lowercase();
    texts
        .iter()
        .any(|text| text.to_lowercase().contains(&wanted))
}

/// What a list without rows says, in the first line of its area.
pub fn render_empty(painter: &mut Painter<'_>, area: Rect, sentence: &str) {
    for (line, text) in text::wrap(sentence, usize::from(area.width))
        .iter()
        .take(usize::from(area.height))
        .enumerate()
    {
        painter.put(area.x, area.y + line as u16, area.width, text, Role::Muted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [
        Column::text("NAME", 6, 2, 0),
        Column::text("TARGET", 6, 1, 2),
        Column::number("REQ/S", 5, 1),
    ];

    #[test]
    fn columns_grow_with_the_room_and_drop_without() {
        assert_eq!(widths(&COLUMNS, 19), [6, 6, 5]);
        assert_eq!(widths(&COLUMNS, 25), [10, 8, 5]);
        assert_eq!(widths(&COLUMNS, 18), [12, 0, 5]);
        assert_eq!(widths(&COLUMNS, 11), [11, 0, 0]);
        assert_eq!(widths(&COLUMNS, 0), [6, 0, 0]);
    }

    #[test]
    fn the_selection_stays_among_the_rows() {
        let mut table = Table::default();
        table.set_rows(10);
        table.page = 4;
        for (action, selected) in [
            (Action::Up, 0),
            (Action::HalfDown, 2),
            (Action::PageDown, 6),
            (Action::Last, 9),
            (Action::Down, 9),
            (Action::HalfUp, 7),
            (Action::First, 0),
        ] {
            assert!(table.act(action));
            assert_eq!(table.selected, selected, "{action:?}");
        }
        assert!(!table.act(Action::Quit));
        table.act(Action::Last);
        table.set_rows(3);
        assert_eq!(table.selected, 2);
    }
}
