//! A form on the screen: its fields, help, and what it changes while it is typed.

use std::collections::HashMap;

use ratatui::layout::Rect;

use super::super::keymap::{Action, Context};
use super::super::paint::Painter;
use super::super::text;
use super::super::theme::Role;
use super::super::view::{Input, Target};
use super::super::widgets::line::Line;
use super::form::{Block, Editor, Form, Subject};
use super::preview::{self, Preview};
use super::texts::Texts;
use crossterm::event::KeyCode;

/// What comes of an input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The form goes on.
    Stay,
    /// The change is to be reviewed.
    Review,
    /// The person wants to leave.
    Leave,
    /// The same is to be edited as a text.
    Text,
}

/// A form that is open.
#[derive(Clone, Debug)]
pub struct FormView {
    /// Its values.
    pub form: Form,
    /// What they change.
    pub preview: Preview,
    focus: usize,
    /// What is typed, where the focus is on a field of text.
    line: Option<Line>,
    /// The first field that is shown.
    offset: usize,
    /// How many are shown.
    page: usize,
    /// The groups of peers that there are, and how many peers each has.
    groups: Vec<(String, usize)>,
}

impl FormView {
    /// Shows a form.
    pub fn new(form: Form, texts: &Texts) -> Self {
        let mut view = Self {
            groups: groups(texts),
            preview: Preview::of(&form, texts),
            form,
            focus: 0,
            line: None,
            offset: 0,
            page: 1,
        };
        view.take_up();
        view
    }

    /// Which keys hold.
    pub fn context(&self) -> Context {
        match self.line {
            Some(_) => Context::Field,
            None => Context::Form,
        }
    }

    /// Takes an input.
    pub fn input(&mut self, input: &Input, texts: &Texts) -> Outcome {
        match input {
            Input::Action(Action::Review) => return Outcome::Review,
            Input::Action(Action::Close) => return Outcome::Leave,
            Input::Action(Action::EditText) => return Outcome::Text,
            Input::Action(Action::NextField | Action::Down) => self.step(1),
            Input::Action(Action::PreviousField | Action::Up) => self.step(-1),
            Input::Action(Action::Accept) => self.accept(texts),
            Input::Click(Target::Field(row)) => {
                let focus = self.offset + usize::from(*row);
                let is_same = focus == self.focus;
                self.move_to(focus);
                if is_same && self.line.is_none() {
                    self.accept(texts);
                }
            }
            Input::Wheel(lines, _) => self.step(isize::from(*lines)),
            Input::Key(key) if self.line.is_none() => self.key(key.code, texts),
            input => {
                if let Some(line) = &mut self.line
                    && line.input(input)
                {
                    let typed = line.text().to_owned();
                    if let Some(field) = self.form.fields.get_mut(self.focus) {
                        field.set(&typed);
                    }
                    self.preview = Preview::of(&self.form, texts);
                }
            }
        }
        Outcome::Stay
    }

    /// A key on a field that is not typed.
    fn key(&mut self, key: KeyCode, texts: &Texts) {
        let Some(field) = self.form.fields.get_mut(self.focus) else {
            if matches!(key, KeyCode::Char(' ')) {
                self.accept(texts);
            }
            return;
        };
        match key {
            KeyCode::Char(' ') | KeyCode::Right => field.next(false),
            KeyCode::Left => field.next(true),
            KeyCode::Delete | KeyCode::Backspace | KeyCode::Char('x') => field.remove(),
            KeyCode::Char('u') => field.reset(),
            _ => return,
        }
        self.preview = Preview::of(&self.form, texts);
    }

    fn accept(&mut self, texts: &Texts) {
        let Some(field) = self.form.fields.get_mut(self.focus) else {
            // The last row shows the rest.
            self.form.show_all(!self.form.has_all());
            self.offset = 0;
            return self.move_to(self.focus.min(self.form.fields.len()));
        };
        match field.editor() {
            Editor::Choice(_) | Editor::Presence => {
                field.next(false);
                self.preview = Preview::of(&self.form, texts);
            }
            Editor::Text => {
                self.form.add_empty(self.focus);
                self.step(1);
            }
            Editor::Nothing => self.step(1),
        }
    }

    fn step(&mut self, by: isize) {
        let count = self.form.fields.len() as isize + 1;
        let next = (self.focus as isize + by).rem_euclid(count);
        self.move_to(next as usize);
    }

    fn move_to(&mut self, focus: usize) {
        // A list grows as it is filled.
        self.form.add_empty(self.focus);
        self.focus = focus.min(self.form.fields.len());
        self.take_up();
    }

    /// Puts the value with the focus where it can be typed.
    fn take_up(&mut self) {
        let field = self.form.fields.get(self.focus);
        self.line = field
            .filter(|field| field.editor() == Editor::Text)
            .map(|field| Line::new(field.value.clone().unwrap_or_default()));
    }

    /// Draws it into the inside of a dialog.
    pub fn render(&mut self, painter: &mut Painter<'_>, area: Rect) {
        if area.height < 2 || area.width < 8 {
            return;
        }
        let keys = match self.line {
            Some(_) => "Tab next field  C-s review  Esc leave (asks if changed)",
            None => "Space change  x take out  C-s review  E $EDITOR  Esc leave",
        };
        painter.put(area.x, area.bottom() - 1, area.width, keys, Role::Muted);
        painter.put(
            area.x,
            area.bottom() - 2,
            area.width,
            &self.help(),
            Role::Muted,
        );
        let rest = area.height.saturating_sub(2);
        // One row for the list to end with.
        let rows = self.form.fields.len() + 1;
        let wanted = match self.preview.lines.len() + self.preview.elsewhere.len() {
            0 => 0,
            lines => u16::try_from(lines + 1).unwrap_or(u16::MAX),
        };
        let least = (rest / 2).max(1);
        let shown = u16::try_from(rows)
            .unwrap_or(u16::MAX)
            .min(rest.saturating_sub(wanted).max(least))
            .min(rest);
        self.render_fields(
            painter,
            Rect {
                height: shown,
                ..area
            },
        );
        let below = Rect::new(area.x, area.y + shown, area.width, rest - shown);
        self.render_preview(painter, below);
    }

    /// What is said of the field with the focus.
    fn help(&self) -> String {
        let Some(field) = self.form.fields.get(self.focus) else {
            return "Enter shows every other directive that may stand here".to_owned();
        };
        match (&field.subject, field.row()) {
            (Subject::Raw { reason, .. }, _) => format!("{reason}: E edits it as text"),
            (_, Some(row)) => {
                let default = match field.default() {
                    Some(default) if default != "\"\"" => format!("; default {default}"),
                    _ => String::new(),
                };
                format!("{}: {}{default}", row.name, row.help)
            }
            _ => String::new(),
        }
    }

    fn render_fields(&mut self, painter: &mut Painter<'_>, area: Rect) {
        self.page = usize::from(area.height).max(1);
        let count = self.form.fields.len() + 1;
        if self.focus < self.offset {
            self.offset = self.focus;
        }
        if self.focus >= self.offset + self.page {
            self.offset = self.focus + 1 - self.page;
        }
        self.offset = self.offset.min(count.saturating_sub(self.page));
        let label_columns = (area.width * 2 / 5).min(28);
        let value_x = area.x + label_columns + 1;
        let rest = area.right().saturating_sub(value_x);
        let value_columns = (rest * 3 / 5).max(1);
        let remark_x = value_x + value_columns + 1;
        let remark_columns = area.right().saturating_sub(remark_x);
        for (index, y) in (self.offset..count).take(self.page).zip(area.y..) {
            let has_focus = index == self.focus;
            let row = Rect::new(area.x, y, area.width, 1);
            painter.hit(row, Target::Field((index - self.offset).min(255) as u8));
            // Without colour the mark tells the focus.
            if has_focus {
                let mark = Rect::new(area.x.saturating_sub(1), y, 1, 1);
                painter.put(mark.x, y, 1, ">", Role::Accent);
            }
            let Some(field) = self.form.fields.get(index) else {
                let word = match self.form.has_all() {
                    true => "fewer",
                    false => "more",
                };
                let end = painter.put(area.x, y, label_columns, word, Role::Accent);
                if has_focus {
                    painter.mark(Rect::new(area.x, y, end - area.x, 1), Role::Selection);
                }
                continue;
            };
            let role = match (&field.subject, field.is_changed(), field.value.is_some()) {
                (Subject::Raw { .. }, ..) => Role::Muted,
                (_, true, _) => Role::Accent,
                (_, _, true) => Role::Text,
                _ => Role::Muted,
            };
            painter.put(area.x, y, label_columns, label(field.label()), role);
            let flaw = self.preview.fields.get(&index);
            match (&self.line, has_focus) {
                (Some(line), true) => line.render(painter, value_x, y, value_columns, true),
                _ => {
                    let (value, role) = match (&field.subject, field.editor(), &field.value) {
                        (Subject::Raw { source, .. }, ..) => {
                            let behind = source.split_once(' ').map_or("", |(_, rest)| rest);
                            (behind.to_owned(), Role::Muted)
                        }
                        (_, Editor::Presence, value) => {
                            let word = if value.is_some() { "yes" } else { "no" };
                            (word.to_owned(), role)
                        }
                        (_, _, Some(value)) => (value.clone(), role),
                        (_, _, None) => match field.original() {
                            Some(original) => (format!("(was {original})"), Role::Accent),
                            None => (field.default().unwrap_or_default().to_owned(), Role::Muted),
                        },
                    };
                    let end = painter.put(value_x, y, value_columns, &value, role);
                    if has_focus {
                        let end = end.max(value_x + 1);
                        painter.mark(Rect::new(value_x, y, end - value_x, 1), Role::Selection);
                    }
                    if matches!(field.editor(), Editor::Choice(_) | Editor::Presence) {
                        let x = value_x + value_columns.saturating_sub(1);
                        painter.put(x, y, 1, painter.glyphs().choice, Role::Muted);
                    }
                }
            }
            match flaw {
                Some((message, is_error)) => {
                    let (sign, role) = match is_error {
                        true => (painter.glyphs().gone, Role::Bad),
                        false => ("!", Role::Warn),
                    };
                    let told = format!("{sign} {message}");
                    painter.put(remark_x, y, remark_columns, &told, role);
                }
                None => {
                    let remark = self.remark(index);
                    painter.put(remark_x, y, remark_columns, &remark, Role::Muted);
                }
            }
        }
        let below = count.saturating_sub(self.offset + self.page);
        let last = self.offset + self.page - 1;
        let is_free = self.remark(last).is_empty() && !self.preview.fields.contains_key(&last);
        if below > 0 && area.height > 0 && is_free {
            let more = format!("{below} more");
            let columns = text::width(&more) as u16;
            let x = area.right().saturating_sub(columns);
            painter.put(x, area.bottom() - 1, columns, &more, Role::Muted);
        }
    }

    /// What is worth knowing of a value.
    fn remark(&self, index: usize) -> String {
        let Some(field) = self.form.fields.get(index) else {
            return String::new();
        };
        if let (Some(value), "proxy_pass") = (&field.value, field.label())
            && let Some(rest) = value.strip_prefix("http://")
        {
            let host = rest.split('/').next().unwrap_or_default();
            let group = self.groups.iter().find(|(name, _)| name == host);
            return match group {
                Some((_, 1)) => "upstream (1 peer)".to_owned(),
                Some((_, count)) => format!("upstream ({count} peers)"),
                None => String::new(),
            };
        }
        let remark = match (&field.subject, &field.value) {
            (Subject::Raw { .. }, _) => "E edits it",
            (Subject::Head(_), Some(value)) if self.form.block == Block::Location => match value {
                value if value.starts_with('=') => "exact match",
                value if value.starts_with("^~") => "prefix, before regular expressions",
                value if value.starts_with('~') => "regular expression",
                value if value.starts_with('@') => "by name only",
                _ => "prefix match",
            },
            (Subject::Directive(_), None) if field.original().is_some() => "taken out",
            (Subject::Directive(_), None) if field.default().is_some() => "default",
            _ => "",
        };
        remark.to_owned()
    }

    fn render_preview(&self, painter: &mut Painter<'_>, area: Rect) {
        // An empty row sets it apart.
        let mut rows = area.y + 1..area.bottom();
        // Where there is little room, what changes is more important than what is around it.
        let is_tight = self.preview.lines.len() > rows.len();
        let is_around =
            |line: &&preview::Line| matches!(line, preview::Line::Same(_) | preview::Line::Gap);
        let lines = self.preview.lines.iter();
        for line in lines.filter(|line| !(is_tight && is_around(line))) {
            let Some(y) = rows.next() else { return };
            let (sign, text, role) = match line {
                preview::Line::Same(text) => (" ", text.clone(), Role::Text),
                preview::Line::Old(text) => ("-", text.clone(), Role::Bad),
                preview::Line::New(text) => ("+", text.clone(), Role::Ok),
                preview::Line::Gap => (" ", painter.glyphs().cut.to_owned(), Role::Muted),
                preview::Line::Caret {
                    column,
                    width,
                    message,
                    is_error,
                } => {
                    let carets = "^".repeat((*width).min(usize::from(area.width)));
                    let blanks = " ".repeat((*column).min(usize::from(area.width)));
                    let role = if *is_error { Role::Bad } else { Role::Warn };
                    (" ", format!("{blanks}{carets} {message}"), role)
                }
            };
            painter.put(area.x, y, area.width, &format!("{sign} {text}"), role);
        }
        for problem in &self.preview.elsewhere {
            let Some(y) = rows.next() else { return };
            let file = problem.file.rsplit('/').next().unwrap_or_default();
            let told = format!(
                "{} {file}:{}: {}",
                painter.glyphs().gone,
                problem.line,
                problem.message
            );
            painter.put(area.x, y, area.width, &told, Role::Bad);
        }
    }

    /// How many rows it wants, frame not included.
    pub fn height(&self) -> u16 {
        let preview = self.preview.lines.len().max(6) + 1;
        u16::try_from(self.form.fields.len() + 1 + preview + 2).unwrap_or(u16::MAX)
    }

    /// What the change is, in a line.
    pub fn summary(&self) -> String {
        let changed = self.form.fields.iter().filter(|field| field.is_changed());
        let parts = changed.map(|field| match &field.value {
            Some(value) => format!("{} {value}", field.label()).trim_end().to_owned(),
            None => format!("without {}", field.label()),
        });
        parts.collect::<Vec<_>>().join(", ")
    }
}

/// The names of all groups of peers with the number of their `server` lines.
fn groups(texts: &Texts) -> Vec<(String, usize)> {
    let loaded = texts.load(&HashMap::new());
    let http = loaded.nodes.iter().find(|node| &*node.name.text == "http");
    let blocks = http
        .and_then(|http| http.block.as_deref())
        .unwrap_or_default();
    let groups = blocks.iter().filter(|node| &*node.name.text == "upstream");
    let counted = groups.filter_map(|node| {
        let name = node.arguments.first()?.text.to_string();
        let lines = node.block.iter().flatten();
        Some((
            name,
            lines.filter(|line| &*line.name.text == "server").count(),
        ))
    });
    counted.collect()
}

/// What stands before a value: the directive's name, or what people call it.
fn label(name: &str) -> &str {
    match name {
        "location" => "Location",
        "upstream" => "Name",
        "proxy_pass" => "Target",
        name => name,
    }
}
