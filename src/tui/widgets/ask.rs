//! A question before something is done: the focus on the harmless button, all other keys swallowed.

use ratatui::layout::Rect;

use super::super::keymap::{Action, Context};
use super::super::model::Model;
use super::super::paint::Painter;
use super::super::text;
use super::super::theme::Role;
use super::super::view::{Ask, Effect, Input, Target, View};

/// The dialog, frame included.
const WIDTH: u16 = 60;

/// A question that is open.
#[derive(Debug)]
pub struct AskView {
    ask: Ask,
    is_on_button: bool,
}

impl AskView {
    /// Asks.
    pub fn new(ask: Ask) -> Self {
        Self {
            ask,
            is_on_button: false,
        }
    }
}

impl View for AskView {
    fn context(&self) -> Context {
        Context::Confirm
    }

    fn input(&mut self, input: &Input, _model: &Model) -> Vec<Effect> {
        let is_yes = match input {
            Input::Action(Action::NextField) => {
                self.is_on_button = !self.is_on_button;
                return Vec::new();
            }
            Input::Action(Action::Confirm) | Input::Click(Target::Button(1)) => true,
            Input::Action(Action::Accept) => self.is_on_button,
            Input::Action(Action::Deny) | Input::Click(Target::Button(0)) => false,
            _ => return Vec::new(),
        };
        if is_yes {
            vec![Effect::Reply(Input::Confirmed), Effect::Close]
        } else {
            vec![Effect::Close]
        }
    }

    fn render(&mut self, painter: &mut Painter<'_>, area: Rect, _model: &Model) {
        let width = WIDTH.min(area.width);
        let columns = usize::from(width.saturating_sub(4));
        let lines: Vec<String> = self
            .ask
            .lines
            .iter()
            .flat_map(|line| match line.as_str() {
                "" => vec![String::new()],
                line => text::wrap(line, columns),
            })
            .collect();
        let height = lines.len() as u16 + 4;
        let inside = painter.dialog(area, width, height, &self.ask.title);
        // The buttons are seen in any case.
        let room = usize::from(inside.height.saturating_sub(1));
        for (line, y) in lines.iter().take(room).zip(inside.y..) {
            painter.put(inside.x, y, inside.width, line, Role::Text);
        }
        if inside.height == 0 {
            return;
        }
        let y = inside.bottom() - 1;
        let button = |word: &str, has_focus: bool| {
            if has_focus {
                format!("[ {word} ]")
            } else {
                format!("  {word}  ")
            }
        };
        let cancel = button("Cancel", !self.is_on_button);
        let accept = button(&self.ask.button, self.is_on_button);
        let used = text::width(&cancel) + 6 + text::width(&accept);
        let mut x = inside.x + inside.width.saturating_sub(used as u16) / 2;
        for (position, label) in [cancel, accept].iter().enumerate() {
            let has_focus = (position == 1) == self.is_on_button;
            let columns = inside.right().saturating_sub(x);
            let end = painter.put(x, y, columns, label, Role::Text);
            let area = Rect::new(x, y, end - x, 1);
            if has_focus {
                painter.mark(area, Role::Selection);
            }
            painter.hit(area, Target::Button(position as u8));
            x = end + 6;
        }
    }
}
