//! A row of buttons at the bottom of a dialog, one of them with the focus.

use ratatui::layout::Rect;

use super::super::paint::Painter;
use super::super::text;
use super::super::theme::Role;
use super::super::view::Target;

/// Blank columns between two buttons.
const GAP: u16 = 6;

/// Draws buttons with these words into the middle of the last row of an area.
pub fn render(painter: &mut Painter<'_>, area: Rect, words: &[&str], focus: usize) {
    if area.height == 0 {
        return;
    }
    let y = area.bottom() - 1;
    let labels: Vec<String> = words
        .iter()
        .enumerate()
        .map(|(index, word)| match index == focus {
            true => format!("[ {word} ]"),
            false => format!("  {word}  "),
        })
        .collect();
    let gaps = usize::from(GAP) * labels.len().saturating_sub(1);
    let used = labels.iter().map(|label| text::width(label)).sum::<usize>() + gaps;
    let used = u16::try_from(used).unwrap_or(u16::MAX);
    let mut x = area.x + area.width.saturating_sub(used) / 2;
    for (index, label) in labels.iter().enumerate() {
        let columns = area.right().saturating_sub(x);
        let end = painter.put(x, y, columns, label, Role::Text);
        let button = Rect::new(x, y, end.saturating_sub(x), 1);
        if index == focus {
            painter.mark(button, Role::Selection);
        }
        painter.hit(button, Target::Button(index as u8));
        x = end.saturating_add(GAP);
    }
}
