//! A new secret of a key with what a client needs to use it. It is shown this once.
//!
//! Invariant: the secret is nowhere but here, and gone when this is closed.

use ratatui::layout::Rect;

use super::keymap::{Action, Context};
use super::model::Model;
use super::paint::Painter;
use super::text;
use super::theme::Role;
use super::view::{Effect, Input, View};
use crate::llm::snippet::{self, Form};
use crate::protocol::{KeyState, SecretText};

/// The dialog, frame included.
const WIDTH: u16 = 78;

/// The secret, open.
#[derive(Debug)]
pub struct KeySecretView {
    name: String,
    gateway: String,
    secret: SecretText,
    url: String,
    /// Position in [`Form::ALL`].
    form: usize,
}

impl KeySecretView {
    /// Of a key that has just got it.
    pub fn new(key: &KeyState, secret: SecretText, model: &Model) -> Self {
        let gateway = match key.gateway.as_str() {
            "" => &key.name,
            gateway => gateway,
        };
        Self {
            name: key.name.clone(),
            gateway: gateway.to_owned(),
            secret,
            url: model
                .status
                .as_ref()
                .map_or_else(String::new, snippet::address),
            form: 0,
        }
    }

    fn snippet(&self) -> String {
        let form = Form::ALL[self.form % Form::ALL.len()];
        snippet::text(form, &self.url, &self.secret.0, &self.gateway)
    }
}

impl View for KeySecretView {
    fn context(&self) -> Context {
        Context::Secret
    }

    fn input(&mut self, input: &Input, _model: &Model) -> Vec<Effect> {
        match input {
            Input::Action(Action::Close) => return vec![Effect::Close],
            Input::Action(Action::CopySecret) => {
                return vec![Effect::CopyQuietly {
                    text: self.secret.0.clone(),
                    what: "the secret",
                }];
            }
            Input::Action(Action::Copy) => {
                return vec![Effect::CopyQuietly {
                    text: self.snippet(),
                    what: "the snippet",
                }];
            }
            Input::Action(Action::NextField) => self.form = (self.form + 1) % Form::ALL.len(),
            _ => {}
        }
        Vec::new()
    }

    fn render(&mut self, painter: &mut Painter<'_>, area: Rect, _model: &Model) {
        let columns = usize::from(WIDTH.min(area.width).saturating_sub(4));
        let form = Form::ALL[self.form % Form::ALL.len()];
        let mut lines = vec![
            ("This secret is shown only now.".to_owned(), Role::Warn),
            (String::new(), Role::Text),
        ];
        let add = |lines: &mut Vec<(String, Role)>, words: &str, role: Role| {
            lines.extend(
                text::wrap(words, columns)
                    .into_iter()
                    .map(|line| (line, role)),
            );
        };
        add(&mut lines, &self.secret.0, Role::Accent);
        lines.push((String::new(), Role::Text));
        add(
            &mut lines,
            &format!("For clients, {} (Tab: another form):", form.name()),
            Role::Muted,
        );
        for line in self.snippet().lines() {
            match line {
                "" => lines.push((String::new(), Role::Text)),
                // What is indented stays so.
                line => {
                    let shown = text::fit(line, columns, painter.glyphs().cut);
                    lines.push((shown, Role::Text));
                }
            }
        }
        lines.push((String::new(), Role::Text));
        let words = "The address is a guess: write there where clients reach this gateway.";
        add(&mut lines, words, Role::Muted);
        let title = format!("Secret of {}", self.name);
        let height = lines.len() as u16 + 2;
        let inside = painter.dialog(area, WIDTH, height, &title);
        for ((line, role), y) in lines.iter().zip(inside.y..inside.bottom()) {
            painter.put(inside.x, y, inside.width, line, *role);
        }
    }
}
