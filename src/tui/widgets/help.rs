//! The help: what the keys of a screen do, drawn from the table that binds them.

use super::super::glyphs::Glyphs;
use super::super::keymap::{self, Binding, Context};
use super::super::paint::Span;
use super::super::theme::Role;
use super::reader::Reader;

/// The dialog, frame included.
const WIDTH: u16 = 76;

/// The width of the keys.
const KEYS: usize = 13;

/// The help for a context.
pub fn reader(context: Context, is_read_only: bool, glyphs: &Glyphs) -> Reader {
    let mut lines = Vec::new();
    for (title, is_everywhere) in [("On this screen", false), ("Everywhere", true)] {
        let rows = keymap::rows(context, is_read_only)
            .filter(|binding| binding.is_everywhere() == is_everywhere);
        let entries = entries(rows, glyphs);
        if entries.is_empty() {
            continue;
        }
        if !lines.is_empty() {
            lines.push(Vec::new());
        }
        lines.push(vec![Span::new(title, Role::Title)]);
        // Two entries stand beside each other, read downwards.
        let half = entries.len().div_ceil(2);
        for (position, left) in entries.iter().take(half).enumerate() {
            let mut line = vec![
                Span::new(format!("{:KEYS$} ", left.0), Role::Accent),
                Span::plain(format!("{:21} ", left.1)),
            ];
            if let Some(right) = entries.get(half + position) {
                line.push(Span::new(format!("{:11} ", right.0), Role::Accent));
                line.push(Span::plain(right.1));
            }
            lines.push(line);
        }
    }
    if is_read_only {
        lines.push(Vec::new());
        let text = "Started with --read-only: keys that change something are gone.";
        lines.push(vec![Span::new(text, Role::Muted)]);
    }
    Reader::new(format!("Help: {}", context.name()), WIDTH, lines)
}

/// Rows one after the other that say the same are one entry: `j ↓ k ↑  move`.
fn entries(
    rows: impl Iterator<Item = &'static Binding>,
    glyphs: &Glyphs,
) -> Vec<(String, &'static str)> {
    let mut entries: Vec<(String, &'static str)> = Vec::new();
    for binding in rows {
        let keys: Vec<&str> = binding
            .keys
            .iter()
            .map(|key| keymap::shown(key, glyphs))
            .collect();
        let keys = keys.join(" ");
        match entries.last_mut() {
            Some((known, help)) if *help == binding.help => {
                known.push(' ');
                known.push_str(&keys);
            }
            _ => entries.push((keys, binding.help)),
        }
    }
    entries
}
