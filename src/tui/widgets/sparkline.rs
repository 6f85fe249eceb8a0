//! A curve in a few rows, and a bar.

use ratatui::layout::Rect;

use super::super::paint::Painter;
use super::super::theme::Role;

/// Draws values, oldest first, as columns as high as the area; the newest at the right. Where there
/// are more values than columns, a column shows the largest of its values, so that no peak is lost.
pub fn render(painter: &mut Painter<'_>, area: Rect, values: &[f64], role: Role) {
    if area.width == 0 || area.height == 0 || values.is_empty() {
        return;
    }
    let glyphs = painter.glyphs();
    let halves = if glyphs.is_braille { 2 } else { 1 };
    let columns = usize::from(area.width) * halves;
    let columns = resampled(values, columns);
    let largest = columns.iter().copied().fold(0.0, f64::max);
    // Eighths of a row, or its four dots.
    let parts = if glyphs.is_braille { 4 } else { 8 };
    let heights: Vec<usize> = columns
        .iter()
        .map(|&value| height(value, largest, usize::from(area.height) * parts))
        .collect();
    for row in 0..area.height {
        let below = usize::from(area.height - 1 - row) * parts;
        let mut line = String::with_capacity(heights.len() * 3);
        for pair in heights.chunks(halves) {
            let part = |height: usize| height.saturating_sub(below).min(parts);
            if glyphs.is_braille {
                let left = part(pair[0]);
                let right = pair.get(1).map_or(0, |&height| part(height));
                line.push(braille(left, right));
            } else if part(pair[0]) == 0 {
                line.push(' ');
            } else {
                line.push_str(glyphs.heights[part(pair[0]) - 1]);
            }
        }
        let width = heights.len().div_ceil(halves) as u16;
        let x = area.right() - width.min(area.width);
        painter.put(x, area.y + row, width, &line, role);
    }
}

/// Draws a bar for a share from 0 to 1. What it leaves free is blank, or drawn if `has_rest`.
pub fn render_bar(painter: &mut Painter<'_>, area: Rect, share: f64, role: Role, has_rest: bool) {
    let glyphs = painter.glyphs();
    let parts = f64::from(area.width) * 8.0 * share.clamp(0.0, 1.0);
    let parts = if share > 0.0 {
        (parts.round() as usize).max(1)
    } else {
        0
    };
    let mut bar = glyphs.widths[7].repeat(parts / 8);
    if parts % 8 > 0 {
        bar.push_str(glyphs.widths[parts % 8 - 1]);
    }
    let end = painter.put(area.x, area.y, area.width, &bar, role);
    if has_rest {
        let rest = glyphs
            .rest
            .repeat(usize::from(area.right().saturating_sub(end)));
        painter.put(
            end,
            area.y,
            area.right().saturating_sub(end),
            &rest,
            Role::Muted,
        );
    }
}

/// What is there has a height of at least one.
fn height(value: f64, largest: f64, full: usize) -> usize {
    if value <= 0.0 || largest <= 0.0 || !value.is_finite() {
        return 0;
    }
    ((value / largest * full as f64).round() as usize).clamp(1, full)
}

fn resampled(values: &[f64], columns: usize) -> Vec<f64> {
    if values.len() <= columns {
        return values.to_vec();
    }
    (0..columns)
        .map(|column| {
            let start = column * values.len() / columns;
            let end = (column + 1) * values.len() / columns;
            values[start..end].iter().copied().fold(0.0, f64::max)
        })
        .collect()
}

/// A letter with so many dots in its left and right column, from below.
fn braille(left: usize, right: usize) -> char {
    const LEFT: [u32; 5] = [0, 0x40, 0x44, 0x46, 0x47];
    const RIGHT: [u32; 5] = [0, 0x80, 0xa0, 0xb0, 0xb8];
    char::from_u32(0x2800 + LEFT[left.min(4)] + RIGHT[right.min(4)]).unwrap_or(' ')
}

#[cfg(test)]
mod tests {
    use super::super::super::glyphs::{ASCII, BLOCK, BRAILLE, Glyphs};
    use super::super::super::theme::THEMES;
    use super::*;
    use ratatui::buffer::Buffer;

    fn drawn(glyphs: &Glyphs, width: u16, height: u16, values: &[f64]) -> Vec<String> {
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
        let mut painter = Painter::new(&mut buffer, &THEMES[0], glyphs);
        let area = painter.area();
        render(&mut painter, area, values, Role::Text);
        (0..height)
            .map(|y| (0..width).map(|x| buffer[(x, y)].symbol()).collect())
            .collect()
    }

    #[test]
    fn a_curve_ends_at_the_right_and_keeps_its_peaks() {
        assert_eq!(drawn(&BLOCK, 6, 1, &[0.0, 1.0, 4.0, 8.0]), ["   ▁▄█"]);
        assert_eq!(drawn(&BLOCK, 2, 1, &[0.0, 8.0, 0.0, 1.0]), ["█▁"]);
        assert_eq!(drawn(&BLOCK, 2, 2, &[8.0, 4.0]), ["█ ", "██"]);
        assert_eq!(drawn(&ASCII, 3, 1, &[1.0, 5.0, 8.0]), [".=#"]);
        assert_eq!(drawn(&BRAILLE, 1, 1, &[8.0, 4.0]), ["⣧"]);
        assert_eq!(drawn(&BLOCK, 2, 1, &[0.0, 0.0]), ["  "]);
        assert_eq!(drawn(&BLOCK, 2, 1, &[f64::NAN, 1.0]), [" █"]);
    }

    #[test]
    fn a_bar_shows_the_smallest_share() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 4, 1));
        for (share, expected) in [(0.0, "    "), (0.001, "▏   "), (0.5, "██  "), (2.0, "████")]
        {
            buffer.reset();
            let mut painter = Painter::new(&mut buffer, &THEMES[0], &BLOCK);
            let area = painter.area();
            render_bar(&mut painter, area, share, Role::Text, false);
            let line: String = (0..4).map(|x| buffer[(x, 0)].symbol()).collect();
            assert_eq!(line, expected);
        }
    }
}
