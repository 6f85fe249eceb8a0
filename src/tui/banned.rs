//! Who is kept out, until when and why; the dialog in which they are let in again.

use ratatui::layout::Rect;

use super::keymap::{Action, Context};
use super::model::Model;
use super::number;
use super::paint::Painter;
use super::theme::Role;
use super::view::{Answer, Ask, Call, Effect, Input, Notice, View};
use super::widgets::table::{self, Cell, Column, Table};
use crate::protocol::{BanChange, BanState, Bans};

/// The dialog, frame included.
const WIDTH: u16 = 96;

const COLUMNS: [Column; 4] = [
    Column::text("BANNED", 18, 1, 0),
    Column::number("LEFT", 8, 0),
    Column::text("BY", 8, 0, 1),
    Column::text("WHY", 20, 3, 0),
];

/// The list, open.
#[derive(Debug, Default)]
pub struct Banned {
    table: Table,
    bans: Option<Bans>,
    failed: Option<String>,
    /// Who was asked about.
    pending: Option<String>,
}

impl Banned {
    fn selected(&self) -> Option<&BanState> {
        self.bans.as_ref()?.bans.get(self.table.selected)
    }

    fn act(&mut self, action: Action) -> Vec<Effect> {
        match action {
            Action::Close | Action::Back => return vec![Effect::Close],
            Action::Unban => {
                let Some(ban) = self.selected() else {
                    return vec![Notice::plain("nobody is banned")];
                };
                let network = ban.network.clone();
                let mut lines = vec![format!("{network} may ask again from now on.")];
                if !ban.reason.is_empty() {
                    lines.push(format!("It was banned by {}: {}", ban.by, ban.reason));
                }
                self.pending = Some(network);
                return vec![Effect::Ask(Ask {
                    title: "Let in?".to_owned(),
                    lines,
                    button: "Let in".to_owned(),
                })];
            }
            Action::Copy => {
                let network = self.selected().map(|ban| ban.network.clone());
                return network.map(Effect::Copy).into_iter().collect();
            }
            action => {
                self.table.act(action);
            }
        }
        Vec::new()
    }
}

impl View for Banned {
    fn context(&self) -> Context {
        Context::Bans
    }

    fn input(&mut self, input: &Input, _model: &Model) -> Vec<Effect> {
        match input {
            Input::Shown | Input::Tick => return vec![Effect::Call(Call::Bans)],
            Input::Action(action) => return self.act(*action),
            Input::Confirmed => {
                return match self.pending.take() {
                    Some(network) => vec![Effect::Call(Call::Ban(BanChange {
                        network,
                        remove: true,
                        ..BanChange::default()
                    }))],
                    None => Vec::new(),
                };
            }
            Input::Answer(Ok(Answer::Bans(bans))) => {
                // Others come and go meanwhile: whoever is selected stays so.
                let selected = self.selected().map(|ban| ban.network.clone());
                let row = selected
                    .and_then(|network| bans.bans.iter().position(|ban| ban.network == network));
                self.table.set_rows(bans.bans.len());
                if let Some(row) = row {
                    self.table.shift_to(row);
                }
                self.bans = Some(bans.clone());
                self.failed = None;
            }
            // What is shown stays; the next look tells whether it is still true.
            Input::Answer(Err(failure)) if self.bans.is_some() => {
                return vec![Notice::bad(failure.to_string())];
            }
            Input::Answer(Err(failure)) => self.failed = Some(failure.to_string()),
            input => {
                self.table.input(input, 0);
            }
        }
        Vec::new()
    }

    fn render(&mut self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        let rows = (self.bans.as_ref()).map_or(0, |bans| bans.bans.len().min(200) as u16);
        // The heads, at least a line of words, a blank and the count.
        let height = (rows.max(1) + 3).saturating_add(2);
        let inside = painter.dialog(area, WIDTH, height, "Banned");
        let Some(bans) = &self.bans else {
            let text = self.failed.as_deref().unwrap_or("looking");
            return table::render_empty(painter, inside, text);
        };
        let list = Rect::new(
            inside.x + 1,
            inside.y,
            inside.width.saturating_sub(1),
            inside.height.saturating_sub(2),
        );
        if bans.bans.is_empty() {
            let text = "nobody is banned: `openclaw ban ADDRESS` bans, and auto_ban by itself";
            table::render_empty(painter, list, text);
        } else {
            let now = model.daemon_time().unwrap_or(model.now);
            self.table.render(painter, list, 0, &COLUMNS, None, |row| {
                cells(&bans.bans[row], now)
            });
        }
        let count = format!(
            "turned away since the start: {}",
            number::count(bans.turned_away)
        );
        let y = inside.bottom().saturating_sub(1);
        painter.put(inside.x + 1, y, inside.width, &count, Role::Muted);
    }
}

fn cells(ban: &BanState, now: u64) -> Vec<Cell> {
    let left = match ban.until {
        None => "for good".to_owned(),
        Some(until) => number::age(until.saturating_sub(now)),
    };
    vec![
        (ban.network.clone(), Role::Text),
        (left, Role::Text),
        (ban.by.clone(), Role::Muted),
        (ban.reason.clone(), Role::Text),
    ]
}
