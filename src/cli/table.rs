//! Tables of plain text: columns that are as wide as what is in them.
//!
//! Everything that comes into a table is escaped here: a cell never moves the cursor.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::unit::printable::escape;

/// To which side a column leans.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Names.
    Left,
    /// Numbers.
    Right,
}

/// Rows under a heading.
#[derive(Clone, Debug)]
pub struct Table {
    columns: &'static [(&'static str, Side)],
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table.
    pub fn new(columns: &'static [(&'static str, Side)]) -> Self {
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    /// Adds a row with a cell for each column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells = cells.into_iter().map(|cell| escape(&cell).into_owned());
        self.rows.push(cells.collect());
    }

    /// Is there no row?
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The lines, without an end each; the first is the heading.
    pub fn lines(&self) -> Vec<String> {
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                let widest = cells.map(|cell| cell.width()).max().unwrap_or(0);
                widest.max(self.columns[column].0.width())
            })
            .collect();
        let heading: Vec<String> = self.columns.iter().map(|it| it.0.to_owned()).collect();
        [&heading]
            .into_iter()
            .chain(&self.rows)
            .map(|row| {
                let mut line = String::new();
                for ((cell, width), (_, side)) in row.iter().zip(&widths).zip(self.columns) {
                    if !line.is_empty() {
                        line.push_str("  ");
                    }
                    let space = " ".repeat(width - cell.width());
                    match side {
                        Side::Left => line.extend([cell.as_str(), &space]),
                        Side::Right => line.extend([space.as_str(), cell]),
                    }
                }
                line.truncate(line.trim_end().len());
                line
            })
            .collect()
    }

    /// All of it.
    pub fn text(&self) -> String {
        let mut text = self.lines().join("\n");
        text.push('\n');
        text
    }
}

/// The start of an escaped line that fits into so many columns; `…` if something is missing.
pub fn cut(line: &str, columns: usize) -> String {
    if line.width() <= columns {
        return line.to_owned();
    }
    let mut used = 1;
    let kept = line.chars().take_while(|character| {
        used += character.width().unwrap_or(0);
        used <= columns
    });
    let mut kept: String = kept.collect();
    if columns > 0 {
        kept.push('…');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them_and_cells_are_escaped() {
        let mut table = Table::new(&[("NAME", Side::Left), ("N", Side::Right), ("X", Side::Left)]);
        table.row(["世".to_owned(), "1234".to_owned(), "\x1b[2J".to_owned()]);
        table.row(["longer".to_owned(), "5".to_owned(), String::new()]);
        assert_eq!(
            table.text(),
            "NAME       N  X\n世      1234  ^[[2J\nlonger     5\n"
        );
    }

    #[test]
    fn a_line_is_cut_to_the_terminal() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "ab…");
        assert_eq!(cut("世界", 3), "世…");
        assert_eq!(cut("世界", 2), "…");
        assert_eq!(cut("ab", 0), "");
    }
}
