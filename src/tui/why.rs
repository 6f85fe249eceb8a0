//! What keeps a certificate from coming: what the daemon looked at, and what is to be done.

use ratatui::layout::Rect;

use super::keymap::Context;
use super::model::Model;
use super::number;
use super::paint::{Painter, Span};
use super::text;
use super::theme::Role;
use super::view::{Answer, Call, Effect, Input, View};
use super::widgets::reader::Reader;
use crate::protocol::{CertificateName, Level, Preflight};

/// The dialog, frame included.
const WIDTH: u16 = 78;

/// Where what was seen begins.
const INDENT: usize = 13;

/// A question that is open, or its answer.
#[derive(Debug)]
pub struct Why {
    name: String,
    reader: Reader,
}

impl Why {
    /// Asks the daemon as soon as it is shown.
    pub fn new(name: &str) -> Self {
        let lines = vec![vec![Span::new(
            "looking: the name, the ports, the authority",
            Role::Muted,
        )]];
        Self {
            name: name.to_owned(),
            reader: Reader::new(format!("Why {name}"), WIDTH, lines),
        }
    }
}

impl View for Why {
    fn context(&self) -> Context {
        self.reader.context()
    }

    fn input(&mut self, input: &Input, model: &Model) -> Vec<Effect> {
        match input {
            Input::Shown => {
                let name = self.name.clone();
                return vec![Effect::Call(Call::Why(CertificateName { name }))];
            }
            Input::Answer(Ok(Answer::Preflight(preflight))) => {
                self.reader.set(lines(preflight, model));
            }
            Input::Answer(Err(failure)) => self.reader.fail(failure),
            input => return self.reader.input(input, model),
        }
        Vec::new()
    }

    fn render(&mut self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        self.reader.render(painter, area, model);
    }
}

fn lines(preflight: &Preflight, model: &Model) -> Vec<Vec<Span>> {
    let mut lines = Vec::new();
    let columns = usize::from(WIDTH) - 4 - INDENT - 5;
    for check in &preflight.checks {
        let (word, role) = match check.level {
            Level::Good => ("ok", Role::Ok),
            Level::Info => ("–", Role::Muted),
            Level::Warn => ("!", Role::Warn),
            Level::Bad => ("fail", Role::Bad),
        };
        for (position, line) in text::wrap(&check.seen, columns).into_iter().enumerate() {
            let (word, subject) = match position {
                0 => (word, check.subject.as_str()),
                _ => ("", ""),
            };
            lines.push(vec![
                Span::new(format!("{word:5}"), role),
                Span::new(
                    format!("{:INDENT$}", text::fit(subject, INDENT - 1, "")),
                    Role::Accent,
                ),
                Span::plain(line),
            ]);
        }
        for line in text::wrap(&check.advice, columns) {
            if !line.is_empty() {
                lines.push(vec![
                    Span::plain(" ".repeat(INDENT + 5)),
                    Span::new(line, Role::Muted),
                ]);
            }
        }
    }
    if let Some(trouble) = &preflight.last_error {
        lines.push(Vec::new());
        let now = model.daemon_time().unwrap_or(trouble.at);
        let at = number::day(trouble.at, now, &model.zone);
        lines.push(vec![Span::new(
            format!("the last attempt, {at}"),
            Role::Title,
        )]);
        let whole = usize::from(WIDTH) - 4;
        for line in text::wrap(&trouble.text, whole) {
            lines.push(vec![Span::new(line, Role::Bad)]);
        }
        if !trouble.authority.is_empty() {
            lines.push(vec![Span::new("the authority's words", Role::Title)]);
            for line in text::wrap(&trouble.authority, whole) {
                lines.push(vec![Span::plain(line)]);
            }
        }
    }
    lines
}
