//! The agreement to an authority's terms, which somebody has to give before the first certificate.
//!
//! Invariant: nothing but a press on the button agrees, and the focus is never there by itself.

use ratatui::layout::Rect;

use super::edit::buttons;
use super::keymap::{Action, Context};
use super::model::Model;
use super::paint::Painter;
use super::text;
use super::theme::Role;
use super::view::{Answer, Call, Effect, Input, Notice, Target, View};
use super::widgets::line::Line;
use crate::protocol::{Terms, TermsAgreement};

/// The dialog, frame included.
const WIDTH: u16 = 68;

/// What has the focus, in the order of `Tab`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Focus {
    #[default]
    Email,
    Later,
    Agree,
}

/// The question, open.
#[derive(Debug)]
pub struct Agree {
    terms: Terms,
    email: Line,
    focus: Focus,
    /// Why it did not go.
    refused: Option<String>,
}

impl Agree {
    /// Asks about these terms.
    pub fn new(terms: Terms) -> Self {
        Self {
            terms,
            email: Line::default(),
            focus: Focus::default(),
            refused: None,
        }
    }

    fn step(&mut self, is_backwards: bool) {
        self.focus = match (self.focus, is_backwards) {
            (Focus::Email, false) | (Focus::Agree, true) => Focus::Later,
            (Focus::Later, false) | (Focus::Email, true) => Focus::Agree,
            (Focus::Agree, false) | (Focus::Later, true) => Focus::Email,
        };
    }

    fn agree(&self) -> Vec<Effect> {
        vec![Effect::Call(Call::Agree(TermsAgreement {
            issuer: self.terms.issuer.clone(),
            email: self.email.text().trim().to_owned(),
        }))]
    }
}

impl View for Agree {
    fn context(&self) -> Context {
        match self.focus {
            Focus::Email => Context::Field,
            Focus::Later | Focus::Agree => Context::Form,
        }
    }

    fn input(&mut self, input: &Input, _model: &Model) -> Vec<Effect> {
        match input {
            Input::Action(Action::Close) | Input::Click(Target::Button(0)) => {
                return vec![Effect::Close];
            }
            Input::Click(Target::Button(1)) => return self.agree(),
            Input::Click(Target::Field(_)) => self.focus = Focus::Email,
            // There is nothing to review but this; the button is pressed on purpose.
            Input::Action(Action::Review) => self.focus = Focus::Agree,
            Input::Action(Action::NextField | Action::Down) => self.step(false),
            Input::Action(Action::PreviousField | Action::Up) => self.step(true),
            Input::Action(Action::Accept) => match self.focus {
                Focus::Email => self.step(false),
                Focus::Later => return vec![Effect::Close],
                Focus::Agree => return self.agree(),
            },
            Input::Answer(Ok(Answer::Done(done))) => {
                return vec![
                    Notice::good(done.text.as_str()),
                    Effect::Refresh,
                    Effect::Close,
                ];
            }
            Input::Answer(Err(failure)) => self.refused = Some(failure.to_string()),
            input if self.focus == Focus::Email => {
                self.refused = None;
                self.email.input(input);
            }
            _ => {}
        }
        Vec::new()
    }

    fn render(&mut self, painter: &mut Painter<'_>, area: Rect, _model: &Model) {
        let width = WIDTH.min(area.width);
        let columns = usize::from(width.saturating_sub(4));
        let mut lines = Vec::new();
        let mut say = |text: &str, role| {
            for line in text::wrap(text, columns) {
                lines.push((line, role));
            }
        };
        let asked = format!(
            "A certificate waits for your agreement to the terms of {}:",
            self.terms.issuer
        );
        say(&asked, Role::Text);
        match self.terms.url.as_str() {
            "" => say("(it does not say where they are)", Role::Muted),
            url => say(url, Role::Accent),
        }
        say(
            "The authority may write to an address when something is wrong; it needs none.",
            Role::Muted,
        );
        if let Some(refused) = &self.refused {
            say(refused, Role::Bad);
        }
        // A blank line, the field, a blank line, the buttons, the frame.
        let height = lines.len() as u16 + 6;
        let title = "Agree to the terms?";
        let inside = painter.dialog(area, width, height, title);
        let room = usize::from(inside.height.saturating_sub(4));
        let mut y = inside.y;
        for (line, role) in lines.iter().take(room) {
            painter.put(inside.x, y, inside.width, line, *role);
            y += 1;
        }
        y += 1;
        if y + 1 < inside.bottom() {
            painter.put(inside.x, y, 8, "E-mail", Role::Text);
            let field = Rect::new(inside.x, y, inside.width, 1);
            painter.hit(field, Target::Field(0));
            let has_focus = self.focus == Focus::Email;
            if has_focus {
                painter.put(inside.x.saturating_sub(1), y, 1, ">", Role::Accent);
            }
            let columns = inside.width.saturating_sub(8);
            self.email
                .render(painter, inside.x + 8, y, columns, has_focus);
        }
        let focus = match self.focus {
            Focus::Email => usize::MAX,
            Focus::Later => 0,
            Focus::Agree => 1,
        };
        buttons::render(painter, inside, &["Not now", "I agree"], focus);
    }
}
