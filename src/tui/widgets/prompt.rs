//! A question with a line of text for an answer, in a dialog.

use ratatui::layout::Rect;

use super::super::keymap::{Action, Context};
use super::super::model::Model;
use super::super::paint::Painter;
use super::super::text;
use super::super::theme::Role;
use super::super::view::{Effect, Input, Prompt, View};
use super::line::Line;

/// The dialog, frame included.
const WIDTH: u16 = 64;

/// A prompt that is open.
#[derive(Debug)]
pub struct PromptView {
    prompt: Prompt,
    line: Line,
}

impl PromptView {
    /// Asks.
    pub fn new(mut prompt: Prompt) -> Self {
        let history = std::mem::take(&mut prompt.history);
        let line = Line::new(prompt.text.as_str()).with_history(history);
        Self { prompt, line }
    }
}

impl View for PromptView {
    fn context(&self) -> Context {
        Context::Prompt
    }

    fn input(&mut self, input: &Input, _model: &Model) -> Vec<Effect> {
        match input {
            Input::Action(Action::Accept) => {
                let text = self.line.text().trim().to_owned();
                vec![Effect::Reply(Input::Entered(text)), Effect::Close]
            }
            Input::Action(Action::Close) => vec![Effect::Close],
            input => {
                self.line.input(input);
                Vec::new()
            }
        }
    }

    fn render(&mut self, painter: &mut Painter<'_>, area: Rect, _model: &Model) {
        let columns = usize::from(WIDTH.min(area.width).saturating_sub(4));
        let label = text::wrap(&self.prompt.label, columns);
        let inside = painter.dialog(area, WIDTH, label.len() as u16 + 4, &self.prompt.title);
        for (line, y) in label.iter().zip(inside.y..inside.bottom()) {
            painter.put(inside.x, y, inside.width, line, Role::Muted);
        }
        if inside.height > 0 {
            let y = inside.bottom() - 1;
            painter.put(inside.x, y, inside.width, ">", Role::Accent);
            let columns = inside.width.saturating_sub(2);
            self.line.render(painter, inside.x + 2, y, columns, true);
        }
    }
}
