//! What would happen to a URL: the daemon's answer, step after step.

use ratatui::layout::Rect;

use super::keymap::Context;
use super::model::Model;
use super::paint::{Painter, Span};
use super::text;
use super::theme::Role;
use super::view::{Answer, Call, Effect, Input, View};
use super::widgets::reader::Reader;
use crate::protocol::{Explanation, Question};

/// The dialog, frame included.
const WIDTH: u16 = 76;

/// A question that is open, or its answer.
#[derive(Debug)]
pub struct Explain {
    question: Question,
    reader: Reader,
}

impl Explain {
    /// Asks the daemon as soon as it is shown.
    pub fn new(question: Question) -> Self {
        let title = format!("{} {}", question.method, question.url);
        let lines = vec![vec![Span::new("asking the daemon", Role::Muted)]];
        Self {
            question,
            reader: Reader::new(title, WIDTH, lines),
        }
    }
}

impl View for Explain {
    fn context(&self) -> Context {
        self.reader.context()
    }

    fn input(&mut self, input: &Input, model: &Model) -> Vec<Effect> {
        match input {
            Input::Shown => return vec![Effect::Call(Call::Explain(self.question.clone()))],
            Input::Answer(Ok(Answer::Explanation(explanation))) => {
                self.reader.set(lines(explanation));
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

fn lines(explanation: &Explanation) -> Vec<Vec<Span>> {
    let mut lines = Vec::new();
    let mut fact = |name: &str, value: &str| {
        if !value.is_empty() {
            lines.push(vec![
                Span::new(format!("{name:10}"), Role::Muted),
                Span::plain(value),
            ]);
        }
    };
    fact("server", &explanation.server);
    fact("location", &explanation.location);
    fact("target", &explanation.target);
    if let Some(status) = explanation.status {
        fact("status", &status.to_string());
    }
    if let Some(url) = &explanation.upstream_url {
        fact("asks for", url);
    }
    fact("peers", &explanation.peers.join("  "));
    if !lines.is_empty() {
        lines.push(Vec::new());
    }
    for step in &explanation.steps {
        // The text in lines beside its phase, its place below.
        let wrapped = text::wrap(&step.text, usize::from(WIDTH) - 14);
        for (position, line) in wrapped.into_iter().enumerate() {
            let phase = if position == 0 {
                step.phase.as_str()
            } else {
                ""
            };
            lines.push(vec![
                Span::new(format!("{:10}", text::fit(phase, 9, "")), Role::Accent),
                Span::plain(line),
            ]);
        }
        if !step.place.is_empty() {
            lines.push(vec![Span::new(
                format!("{:10}{}", "", step.place),
                Role::Muted,
            )]);
        }
    }
    lines
}
