//! A text to read in a dialog: it scrolls, can be searched and copied.

use ratatui::layout::Rect;

use super::super::keymap::{Action, Context};
use super::super::model::Model;
use super::super::paint::{Painter, Span};
use super::super::text;
use super::super::theme::Role;
use super::super::view::{Effect, Input, View};
use super::line::Line;
use super::table;

/// A text that is open.
#[derive(Debug, Default)]
pub struct Reader {
    title: String,
    lines: Vec<Vec<Span>>,
    /// The widest it gets, frame included.
    width: u16,
    offset: usize,
    page: usize,
    search: Line,
    is_searching: bool,
}

impl Reader {
    /// Shows lines.
    pub fn new(title: impl Into<String>, width: u16, lines: Vec<Vec<Span>>) -> Self {
        Self {
            title: title.into(),
            lines,
            width,
            ..Self::default()
        }
    }

    /// Other lines.
    pub fn set(&mut self, lines: Vec<Vec<Span>>) {
        self.lines = lines;
        self.offset = 0;
    }

    /// Why there are none, in a reader as wide as [`Reader::new`] was told.
    pub fn fail(&mut self, failure: &dyn std::fmt::Display) {
        let lines = text::wrap(&failure.to_string(), usize::from(self.width) - 4);
        let bad = |line| vec![Span::new(line, Role::Bad)];
        self.set(lines.into_iter().map(bad).collect());
    }

    fn found(&self) -> impl Iterator<Item = &Vec<Span>> {
        let wanted = self.search.text();
        self.lines.iter().filter(move |line| {
            let texts: Vec<&str> = line.iter().map(|span| span.text.as_str()).collect();
            wanted.is_empty() || table::matches(wanted, &texts)
        })
    }
}

impl View for Reader {
    fn context(&self) -> Context {
        if self.is_searching {
            Context::Prompt
        } else {
            Context::Reader
        }
    }

    fn input(&mut self, input: &Input, _model: &Model) -> Vec<Effect> {
        if self.is_searching {
            match input {
                Input::Action(Action::Accept) => self.is_searching = false,
                Input::Action(Action::Close) => {
                    self.is_searching = false;
                    self.search.set("");
                }
                input => {
                    self.search.input(input);
                    self.offset = 0;
                }
            }
            return Vec::new();
        }
        let last = self.found().count().saturating_sub(self.page.max(1));
        let page = self.page.max(1);
        let offset = match input {
            Input::Action(Action::Close | Action::Back) => return vec![Effect::Close],
            Input::Action(Action::Copy) => {
                let text: Vec<String> = self
                    .found()
                    .map(|line| line.iter().map(|span| span.text.as_str()).collect())
                    .collect();
                return vec![Effect::Copy(text.join("\n"))];
            }
            Input::Action(Action::Filter) => {
                self.is_searching = true;
                return Vec::new();
            }
            Input::Action(Action::Down) => self.offset + 1,
            Input::Action(Action::Up) => self.offset.saturating_sub(1),
            Input::Action(Action::HalfDown) => self.offset + page / 2,
            Input::Action(Action::HalfUp) => self.offset.saturating_sub(page / 2),
            Input::Action(Action::PageDown) => self.offset + page,
            Input::Action(Action::PageUp) => self.offset.saturating_sub(page),
            Input::Action(Action::First) => 0,
            Input::Action(Action::Last) => last,
            Input::Wheel(lines, _) => self.offset.saturating_add_signed(isize::from(*lines)),
            _ => return Vec::new(),
        };
        self.offset = offset.min(last);
        Vec::new()
    }

    fn render(&mut self, painter: &mut Painter<'_>, area: Rect, _model: &Model) {
        let rows = self.lines.len().min(usize::from(u16::MAX) / 2) as u16;
        let has_search = self.is_searching || !self.search.text().is_empty();
        let height = rows.saturating_add(2 + u16::from(has_search));
        let inside = painter.dialog(area, self.width, height, &self.title);
        let found: Vec<&Vec<Span>> = self.found().collect();
        // The last row is for the search and the place, where one of them is wanted.
        let has_place = found.len() > usize::from(inside.height);
        let has_footer = has_search || has_place;
        let page = usize::from(inside.height.saturating_sub(u16::from(has_footer)));
        let offset = self.offset.min(found.len().saturating_sub(page.max(1)));
        for (line, y) in found.iter().skip(offset).take(page).zip(inside.y..) {
            painter.put_spans(inside.x, y, inside.width, line);
        }
        let last = (offset + page).min(found.len());
        let place = format!("{last} of {}", found.len());
        self.page = page;
        if !has_footer || inside.height == 0 {
            return;
        }
        let y = inside.bottom() - 1;
        if has_search {
            painter.put(inside.x, y, 1, "/", Role::Accent);
            let columns = inside.width.saturating_sub(14);
            self.search
                .render(painter, inside.x + 1, y, columns, self.is_searching);
        }
        if has_place {
            let columns = 13.min(inside.width);
            painter.put_right(inside.right() - columns, y, columns, &place, Role::Muted);
        }
    }
}
