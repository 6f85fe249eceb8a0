//! The form of a virtual key: what it may do and spend. It is made or changed with one call.

use ratatui::layout::Rect;

use super::edit::buttons;
use super::key_secret::KeySecretView;
use super::keymap::{Action, Context};
use super::model::Model;
use super::paint::Painter;
use super::text;
use super::theme::Role;
use super::view::{Answer, Call, Effect, Input, Notice, Target, View};
use super::widgets::line::Line;
use crate::protocol::{BudgetSetting, KeyAction, KeyChange, KeySettings, KeyState};
use crate::unit;

/// The dialog, frame included.
const WIDTH: u16 = 72;

/// The columns of the labels.
const LABEL: u16 = 12;

/// The times that budgets are of.
const PERIODS: [&str; 4] = ["day", "week", "month", "total"];

/// The fields, in their order, with what is to be known of each.
const FIELDS: [(&str, &str); 11] = [
    ("Name", "what it is called in lists and in the ledger"),
    ("Owner", "whose it is, for people"),
    ("Group", "whose limits it shares; empty for none"),
    (
        "Models",
        "patterns with commas, such as gpt-4o, claude-*; empty for all",
    ),
    (
        "Addresses",
        "networks with commas that may use it; empty for all",
    ),
    (
        "Gateway",
        "the only X-Gateway-Id that may use it; empty for any",
    ),
    (
        "Budgets",
        "for example 5/day, 50/month; also week and total; empty for any",
    ),
    ("Calls/min", "empty for any number"),
    ("Tokens/min", "empty for any number"),
    ("At once", "calls at the same time; empty for any number"),
    ("Expires", "when its newest secret ends: 90d, or never"),
];

const NAME: usize = 0;
const EXPIRES: usize = 10;

/// The form, open.
#[derive(Debug)]
pub struct KeyForm {
    /// The key as it is, if it is there.
    before: Option<KeyState>,
    lines: [Line; FIELDS.len()],
    /// A field, then the buttons.
    focus: usize,
    /// Why it did not go.
    refused: Option<String>,
}

impl KeyForm {
    /// For a new key.
    pub fn add() -> Self {
        Self {
            before: None,
            lines: Default::default(),
            focus: NAME,
            refused: None,
        }
    }

    /// For one that is there.
    pub fn edit(key: &KeyState) -> Self {
        let number = |limit: Option<u64>| limit.map_or(String::new(), |limit| limit.to_string());
        let budgets = key.budgets.iter().filter_map(|budget| {
            let limit = budget.limit.as_ref()?;
            Some(format!("{limit}/{}", budget.period))
        });
        let texts = [
            key.name.clone(),
            key.owner.clone(),
            key.group.clone(),
            key.models.join(", "),
            key.addresses.join(", "),
            key.gateway.clone(),
            budgets.collect::<Vec<_>>().join(", "),
            number(key.rpm),
            number(key.tpm),
            number(key.concurrency),
            String::new(),
        ];
        Self {
            before: Some(key.clone()),
            lines: texts.map(Line::new),
            focus: NAME,
            refused: None,
        }
    }

    fn step(&mut self, is_backwards: bool) {
        let count = FIELDS.len() + 2;
        let step = if is_backwards { count - 1 } else { 1 };
        self.focus = (self.focus + step) % count;
    }

    /// What is to be done, or why it makes no sense.
    fn change(&self) -> Result<KeyChange, (usize, String)> {
        let text = |field: usize| self.lines[field].text().trim().to_owned();
        let list = |field: usize| {
            let text = text(field);
            let parts = text.split([',', ' ']).map(str::trim);
            let parts = parts.filter(|part| !part.is_empty()).map(str::to_owned);
            Some(parts.collect::<Vec<_>>())
        };
        let number = |field: usize| match text(field).as_str() {
            "" => Ok(Some(0)),
            written => match written.parse::<u64>() {
                Ok(count) => Ok(Some(count)),
                Err(_) => Err((field, format!("`{written}` is not a number"))),
            },
        };
        let name = text(NAME);
        if name.is_empty() {
            return Err((NAME, "a key needs a name".to_owned()));
        }
        let mut budgets: Vec<BudgetSetting> = Vec::new();
        for written in list(6).unwrap_or_default() {
            let budget = BudgetSetting::parse(&written);
            budgets.push(budget.ok_or_else(|| {
                let why = format!("`{written}` is not a budget (for example 5/day)");
                (6, why)
            })?);
        }
        // What is not written any more is not bounded any more.
        for period in PERIODS {
            if !budgets.iter().any(|budget| budget.period == period) {
                budgets.push(BudgetSetting {
                    period: period.to_owned(),
                    limit: None,
                });
            }
        }
        let expires = match text(EXPIRES).as_str() {
            "" => None,
            "never" => Some(0),
            written => match unit::time::seconds(written) {
                Some(time) => Some(time.as_secs()),
                None => return Err((EXPIRES, format!("`{written}` is not a time"))),
            },
        };
        let settings = KeySettings {
            name: None,
            owner: Some(text(1)),
            group: Some(text(2)),
            models: list(3),
            addresses: list(4),
            gateway: Some(text(5)),
            rpm: number(7)?,
            tpm: number(8)?,
            concurrency: number(9)?,
            budgets,
            zone: None,
            expires,
        };
        Ok(match &self.before {
            None => KeyChange {
                name,
                action: KeyAction::Add,
                settings,
                ..KeyChange::default()
            },
            Some(before) => KeyChange {
                name: before.name.clone(),
                action: KeyAction::Edit,
                settings: KeySettings {
                    name: (name != before.name).then_some(name),
                    ..settings
                },
                ..KeyChange::default()
            },
        })
    }

    fn submit(&mut self) -> Vec<Effect> {
        match self.change() {
            Ok(change) => vec![Effect::Call(Call::ChangeKey(Box::new(change)))],
            Err((field, why)) => {
                self.focus = field;
                self.refused = Some(why);
                Vec::new()
            }
        }
    }
}

impl View for KeyForm {
    fn context(&self) -> Context {
        match self.focus < FIELDS.len() {
            true => Context::Field,
            false => Context::Form,
        }
    }

    fn input(&mut self, input: &Input, model: &Model) -> Vec<Effect> {
        match input {
            Input::Action(Action::Close) | Input::Click(Target::Button(0)) => {
                return vec![Effect::Close];
            }
            Input::Click(Target::Button(1)) | Input::Action(Action::Review) => {
                return self.submit();
            }
            Input::Click(Target::Field(field)) => self.focus = usize::from(*field),
            Input::Action(Action::NextField | Action::Down) => self.step(false),
            Input::Action(Action::PreviousField | Action::Up) => self.step(true),
            Input::Action(Action::Accept) => match self.focus.checked_sub(FIELDS.len()) {
                None => self.step(false),
                Some(0) => return vec![Effect::Close],
                Some(_) => return self.submit(),
            },
            Input::Answer(Ok(Answer::KeyChanged(changed))) => {
                let mut effects = vec![Effect::Reply(Input::Shown)];
                match (&changed.key, &changed.secret) {
                    (Some(key), Some(secret)) => {
                        let view = KeySecretView::new(key, secret.clone(), model);
                        effects.push(Effect::Open(Box::new(view)));
                    }
                    (Some(key), None) => {
                        effects.push(Notice::good(format!("changed {}", key.name)));
                    }
                    (None, _) => {}
                }
                effects.push(Effect::Close);
                return effects;
            }
            Input::Answer(Err(failure)) => self.refused = Some(failure.to_string()),
            input => {
                if let Some(line) = self.lines.get_mut(self.focus) {
                    self.refused = None;
                    line.input(input);
                }
            }
        }
        Vec::new()
    }

    fn render(&mut self, painter: &mut Painter<'_>, area: Rect, _model: &Model) {
        let title = match &self.before {
            None => "Add a key".to_owned(),
            Some(key) => format!("Edit {}", key.name),
        };
        // The fields, a blank line, two of help, the buttons, the frame.
        let height = FIELDS.len() as u16 + 6;
        let inside = painter.dialog(area, WIDTH, height, &title);
        let page = inside.height.saturating_sub(4).max(1);
        // The field with the focus is always seen.
        let focus = (self.focus.min(FIELDS.len() - 1)) as u16;
        let offset = (focus + 1).saturating_sub(page);
        for (line, y) in (offset..FIELDS.len() as u16)
            .take(page.into())
            .zip(inside.y..)
        {
            let field = usize::from(line);
            let has_focus = self.focus == field;
            painter.put(inside.x, y, LABEL, FIELDS[field].0, Role::Muted);
            if has_focus {
                painter.put(inside.x.saturating_sub(1), y, 1, ">", Role::Accent);
            }
            let row = Rect::new(inside.x, y, inside.width, 1);
            painter.hit(row, Target::Field(field as u8));
            let columns = inside.width.saturating_sub(LABEL);
            self.lines[field].render(painter, inside.x + LABEL, y, columns, has_focus);
        }
        let help = FIELDS.get(self.focus).map_or("", |(_, help)| help);
        let (words, role) = match &self.refused {
            Some(why) => (why.as_str(), Role::Bad),
            None => (help, Role::Muted),
        };
        let y = inside.bottom().saturating_sub(3);
        let lines = text::wrap(words, usize::from(inside.width));
        for (line, y) in lines.iter().take(2).zip(y..) {
            painter.put(inside.x, y, inside.width, line, role);
        }
        let button = if self.before.is_some() {
            "Change"
        } else {
            "Make the key"
        };
        let focus = match self.focus.checked_sub(FIELDS.len()) {
            None => usize::MAX,
            Some(button) => button,
        };
        buttons::render(painter, inside, &["Cancel", button], focus);
    }
}
