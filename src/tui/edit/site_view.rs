//! The short form of a new site on the screen.

use std::collections::HashMap;
use std::path::PathBuf;

use ratatui::layout::Rect;

use super::super::keymap::{Action, Context};
use super::super::paint::Painter;
use super::super::theme::Role;
use super::super::view::{Input, Target};
use super::super::widgets::line::Line;
use super::form_view::Outcome;
use super::review::difference;
use super::texts::Texts;
use crate::conf::diff;
use crate::conf::site::{self, Field, Https, Site};

/// The fields, in order, with their labels and what is said of them.
const FIELDS: [(Field, &str, &str); 5] = [
    (
        Field::Domain,
        "Domain",
        "names of the site: example.org www.example.org, *.example.org",
    ),
    (
        Field::Target,
        "Target",
        "host:port, :port, http://…, unix:/socket, /directory, redirect https://…",
    ),
    (
        Field::Path,
        "Path",
        "the path below which it answers; / if nothing is typed",
    ),
    (Field::Port, "Port", "the port on which it is asked"),
    (
        Field::Https,
        "HTTPS",
        "redirect: HTTP leads there; hsts: for ever; both; off",
    ),
];

/// The columns of the labels.
const LABEL: u16 = 10;

/// A short form that is open.
#[derive(Clone, Debug, Default)]
pub struct SiteView {
    lines: [Line; FIELDS.len()],
    focus: usize,
    /// What is wrong with a field, and whether anything was typed there.
    problems: HashMap<Field, String>,
    touched: [bool; FIELDS.len()],
    /// The port if none is typed.
    usual_port: u16,
    /// HTTPS if nothing is typed.
    usual_https: &'static str,
    /// Why it cannot be added as it is.
    refused: Option<String>,
    /// What it adds.
    texts: Option<(HashMap<PathBuf, String>, String)>,
    difference: String,
    directory: PathBuf,
}

impl SiteView {
    /// An empty form.
    pub fn new(texts: &Texts) -> Self {
        let mut view = Self::default();
        view.look(texts);
        view
    }

    /// Was anything typed?
    pub fn is_changed(&self) -> bool {
        self.lines.iter().any(|line| !line.text().is_empty())
    }

    /// Which keys hold.
    pub fn context(&self) -> Context {
        Context::Field
    }

    /// The new texts and what they are, if everything is right.
    pub fn change(&self) -> Option<(HashMap<PathBuf, String>, String)> {
        self.texts.clone()
    }

    /// Shows what is wrong also where nothing was typed yet.
    pub fn insist(&mut self) {
        self.touched = [true; FIELDS.len()];
    }

    /// Takes an input.
    pub fn input(&mut self, input: &Input, texts: &Texts) -> Outcome {
        match input {
            Input::Action(Action::Review) => return Outcome::Review,
            Input::Action(Action::Close) => return Outcome::Leave,
            Input::Action(Action::Accept) if self.focus + 1 == FIELDS.len() => {
                return Outcome::Review;
            }
            Input::Action(Action::NextField | Action::Down | Action::Accept) => self.step(1),
            Input::Action(Action::PreviousField | Action::Up) => self.step(FIELDS.len() - 1),
            Input::Click(Target::Field(field)) => {
                self.focus = usize::from(*field).min(FIELDS.len() - 1);
            }
            input => {
                if self.lines[self.focus].input(input) {
                    self.look(texts);
                }
            }
        }
        Outcome::Stay
    }

    fn step(&mut self, by: usize) {
        self.touched[self.focus] |= !self.lines[self.focus].text().is_empty();
        self.focus = (self.focus + by) % FIELDS.len();
    }

    /// Reads what was typed and finds what it adds; `texts` may be newer than at the last time.
    pub fn look(&mut self, texts: &Texts) {
        self.problems.clear();
        self.refused = None;
        self.texts = None;
        self.difference.clear();
        self.directory = texts.directory();
        let loaded = texts.load(&HashMap::new());
        self.usual_port = site::usual_port(&loaded);
        let typed = |index: usize| self.lines[index].text();
        let site = Site::parse(
            typed(0),
            typed(1),
            typed(2),
            typed(3),
            typed(4),
            self.usual_port,
        );
        let (names, port) = match &site {
            Ok(site) => (&site.names[..], site.port),
            Err(_) => (&[][..], self.usual_port),
        };
        self.usual_https = Https::suited(names, port).word();
        let site = match site {
            Ok(site) => site,
            Err(problems) => {
                for problem in problems {
                    let told = problem.to_string();
                    self.problems.entry(problem.field).or_insert(told);
                }
                return;
            }
        };
        let addition = match site::add(&loaded, &site) {
            Ok(addition) => addition,
            Err(refused) => {
                self.refused = Some(refused.to_string());
                return;
            }
        };
        match addition.texts(&texts.conf, &texts.prefix, texts.files()) {
            Ok(changed) => {
                let mut files: Vec<_> = changed.iter().collect();
                files.sort();
                for (path, text) in files {
                    let old = texts.text(path).unwrap_or_default();
                    let name = path.to_string_lossy();
                    self.difference.push_str(&diff::unified(&name, old, text));
                }
                self.texts = Some((changed, addition.note));
            }
            Err(error) => self.refused = Some(error.to_string()),
        }
    }

    /// Draws it into the inside of a dialog.
    pub fn render(&mut self, painter: &mut Painter<'_>, area: Rect) {
        if area.height == 0 {
            return;
        }
        let value_x = area.x + LABEL;
        let columns = area.width.saturating_sub(LABEL);
        let mut y = area.y;
        let end = area.bottom();
        for (index, (field, label, _)) in FIELDS.iter().enumerate() {
            if y >= end {
                return;
            }
            let has_focus = index == self.focus;
            painter.hit(
                Rect::new(area.x, y, area.width, 1),
                Target::Field(index as u8),
            );
            if has_focus {
                painter.put(area.x.saturating_sub(1), y, 1, ">", Role::Accent);
            }
            painter.put(area.x, y, LABEL - 1, label, Role::Text);
            self.lines[index].render(painter, value_x, y, columns, has_focus);
            if self.lines[index].text().is_empty() && !has_focus {
                let usual = match field {
                    Field::Path => "/".to_owned(),
                    Field::Port => self.usual_port.to_string(),
                    Field::Https => self.usual_https.to_owned(),
                    Field::Domain | Field::Target => String::new(),
                };
                painter.put(value_x, y, columns, &usual, Role::Muted);
            }
            y += 1;
            let is_shown = self.touched[index] || !self.lines[index].text().is_empty();
            if let Some(problem) = self.problems.get(field)
                && is_shown
                && y < end
            {
                let told = format!("{} {problem}", painter.glyphs().gone);
                painter.put(value_x, y, columns, &told, Role::Bad);
                y += 1;
            }
        }
        let (field, _, help) = FIELDS[self.focus];
        if area.height > 2 {
            let help = match field {
                Field::Port => format!("{help}; {} if nothing is typed", self.usual_port),
                Field::Https => format!("{help} ({})", self.usual_https),
                _ => help.to_owned(),
            };
            painter.put(area.x, end - 2, area.width, &help, Role::Muted);
            let keys = "Tab next field  C-s review  Esc leave (asks if something was typed)";
            painter.put(area.x, end - 1, area.width, keys, Role::Muted);
        }
        let mut rows = y + 1..end.saturating_sub(2);
        if let Some(refused) = &self.refused {
            let told = format!("{} {refused}", painter.glyphs().gone);
            for line in super::super::text::wrap(&told, usize::from(area.width)) {
                let Some(y) = rows.next() else { return };
                painter.put(area.x, y, area.width, &line, Role::Bad);
            }
        }
        for line in difference(&self.difference, &self.directory) {
            let Some(y) = rows.next() else { return };
            painter.put_spans(area.x, y, area.width, &line);
        }
    }

    /// How many rows it wants, frame not included.
    pub fn height(&self) -> u16 {
        let lines = self.difference.lines().count().max(6);
        u16::try_from(lines + 12).unwrap_or(u16::MAX)
    }
}
