//! Keys: who may call language models, how much of each budget is left, and which gateway has moved
//! to a new secret.

use ratatui::layout::Rect;

use super::super::glyphs::Glyphs;
use super::super::key_form::KeyForm;
use super::super::key_secret::KeySecretView;
use super::super::keymap::{Action, Context};
use super::super::model::{Loaded, Model};
use super::super::number;
use super::super::paint::{Painter, Span};
use super::super::text;
use super::super::theme::Role;
use super::super::view::{Answer, Ask, Call, Effect, Input, Notice, Prompt, Target, View};
use super::super::widgets::reader::Reader;
use super::super::widgets::table::{Cell, Column, Table, matches};
use super::{WIDE, render_state};
use crate::protocol::{
    KeyAction, KeyBudget, KeyChange, KeyChanged, KeyList, KeySecret, KeyState, Millis,
};
use crate::unit;

const COLUMNS: [Column; 8] = [
    Column::text("NAME", 10, 2, 0),
    Column::text("SECRET", 10, 0, 4),
    Column::text("OWNER", 8, 1, 6),
    Column::text("SPENT", 17, 0, 0),
    Column::text("USED", 8, 1, 0),
    Column::text("MODELS", 12, 2, 5),
    Column::number("LAST", 5, 3),
    Column::text("STATE", 16, 0, 0),
];

const TABLE: u8 = 0;
const DETAIL: u8 = 1;

/// The dialog of a key, frame included.
const WIDTH: u16 = 78;

/// The columns of the labels of facts.
const LABEL: usize = 11;

/// How long the secret before works while a key is rotated, unless something else is typed.
const OVERLAP: &str = "72h";

/// The screen.
#[derive(Debug, Default)]
pub struct KeysScreen {
    table: Table,
    filter: String,
    is_open: bool,
    keys: Loaded<KeyList>,
    /// Positions in the list, as they are shown.
    shown: Vec<usize>,
    /// The name of the selected one.
    selected: Option<String>,
    /// What the summary said when the keys were asked for last.
    asked: Option<u64>,
    /// What is to be done when the question is answered with yes.
    pending: Option<KeyChange>,
    /// What is typed.
    prompted: Option<Prompted>,
}

/// What a prompt is about.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Prompted {
    /// How long the secret before works.
    Overlap(String),
    /// The name, to remove it.
    Name(String),
}

impl KeysScreen {
    fn ask(&mut self, model: &Model) -> Vec<Effect> {
        self.asked = ended(model);
        vec![Effect::Call(Call::Keys)]
    }

    fn arrange(&mut self) {
        self.shown.clear();
        let all = self.keys.value.as_ref().map_or(&[][..], |list| &list.keys);
        let is_meant = |key: &KeyState| {
            let texts = [&*key.name, &key.owner, &key.group, &key.gateway];
            let mut texts: Vec<&str> = texts.into();
            texts.extend(key.secrets.iter().map(|secret| secret.prefix.as_str()));
            texts.extend(key.models.iter().map(String::as_str));
            self.filter.is_empty() || matches(&self.filter, &texts)
        };
        let rows = all.iter().enumerate();
        (self.shown).extend(rows.filter(|(_, key)| is_meant(key)).map(|(at, _)| at));
        self.table.set_rows(self.shown.len());
        let same = self.selected.as_ref().and_then(|name| {
            let mut rows = self.shown.iter();
            rows.position(|&at| all[at].name == *name)
        });
        if let Some(row) = same {
            self.table.selected = row;
        }
        self.selected = self.key().map(|key| key.name.clone());
    }

    /// What is selected.
    fn key(&self) -> Option<&KeyState> {
        let &at = self.shown.get(self.table.selected)?;
        self.keys.value.as_ref()?.keys.get(at)
    }

    fn act(&mut self, action: Action, model: &Model) -> Vec<Effect> {
        let name = self.key().map(|key| key.name.clone());
        match action {
            Action::Add => return vec![Effect::Open(Box::new(KeyForm::add()))],
            Action::NextPane | Action::PreviousPane => self.is_open = !self.is_open,
            Action::Close if self.is_open => self.is_open = false,
            Action::Close => self.filter.clear(),
            Action::NextMatch | Action::PreviousMatch => {
                return vec![Notice::plain("/ shows only the keys that match")];
            }
            Action::Open
            | Action::Edit
            | Action::Rotate
            | Action::RevokeKey
            | Action::Delete
            | Action::Copy => {
                let (Some(key), Some(name)) = (self.key(), name) else {
                    return vec![Notice::plain("no key is selected")];
                };
                let now = model.daemon_time().unwrap_or_default();
                match action {
                    Action::Open => return vec![Effect::Call(Call::Key(name))],
                    Action::Edit => return vec![Effect::Open(Box::new(KeyForm::edit(key)))],
                    Action::Copy => return vec![Effect::Copy(name)],
                    Action::Rotate if key.revoked => {
                        return vec![Notice::plain("it is revoked: nothing makes it usable")];
                    }
                    Action::Rotate => {
                        self.prompted = Some(Prompted::Overlap(name.clone()));
                        return vec![Effect::Prompt(Prompt {
                            title: format!("Rotate {name}"),
                            label: "for how long the secret before still works".to_owned(),
                            text: OVERLAP.to_owned(),
                            history: Vec::new(),
                        })];
                    }
                    Action::RevokeKey if key.revoked => {
                        return vec![Notice::plain("it is revoked already")];
                    }
                    Action::RevokeKey => {
                        let lines = revocation(key, now);
                        self.pending = Some(KeyChange {
                            name,
                            action: KeyAction::Revoke,
                            ..KeyChange::default()
                        });
                        return vec![Effect::Ask(Ask {
                            title: "Revoke key?".to_owned(),
                            lines,
                            button: "Revoke".to_owned(),
                        })];
                    }
                    _ => {
                        self.prompted = Some(Prompted::Name(name.clone()));
                        return vec![Effect::Prompt(Prompt {
                            title: format!("Remove {name}? This cannot be undone"),
                            label: "its name, to remove it with its secrets".to_owned(),
                            text: String::new(),
                            history: Vec::new(),
                        })];
                    }
                }
            }
            action => {
                self.table.act(action);
            }
        }
        Vec::new()
    }

    /// What was typed into a prompt.
    fn entered(&mut self, typed: &str, model: &Model) -> Vec<Effect> {
        match self.prompted.take() {
            Some(Prompted::Overlap(name)) => {
                let Some(overlap) = unit::time::seconds(typed).map(|time| time.as_secs()) else {
                    let why = format!("`{typed}` is not a time (for example 72h)");
                    return vec![Notice::bad(why)];
                };
                let now = model.daemon_time().unwrap_or_default();
                let key = self.key().filter(|key| key.name == name);
                let lines = key.map(|key| rotation(key, typed, now)).unwrap_or_default();
                self.pending = Some(KeyChange {
                    name,
                    action: KeyAction::Rotate,
                    overlap,
                    ..KeyChange::default()
                });
                vec![Effect::Ask(Ask {
                    title: "Rotate key?".to_owned(),
                    lines,
                    button: "Rotate".to_owned(),
                })]
            }
            Some(Prompted::Name(name)) if name == typed => {
                vec![Effect::Call(Call::ChangeKey(Box::new(KeyChange {
                    name,
                    action: KeyAction::Remove,
                    ..KeyChange::default()
                })))]
            }
            Some(Prompted::Name(name)) => {
                vec![Notice::plain(format!(
                    "{name} was not removed: another name was typed"
                ))]
            }
            None => Vec::new(),
        }
    }

    fn changed(&mut self, changed: &KeyChanged, model: &Model) -> Vec<Effect> {
        let mut effects = self.ask(model);
        match (&changed.key, &changed.secret) {
            (Some(key), Some(secret)) => {
                let view = KeySecretView::new(key, secret.clone(), model);
                effects.push(Effect::Open(Box::new(view)));
            }
            (Some(key), None) => effects.push(Notice::good(format!("changed {}", key.name))),
            (None, _) => effects.push(Notice::good("removed")),
        }
        effects
    }

    fn render_table(&mut self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        let count = self.keys.value.as_ref().map_or(0, |list| list.keys.len());
        let remark = match count {
            1 => "1 key".to_owned(),
            count => format!("{count} keys"),
        };
        let inside = painter.frame(area, "Virtual keys", &remark, !self.is_open);
        let list = self.keys.value.as_ref().filter(|_| !self.shown.is_empty());
        let Some(list) = list else {
            let empty = match count {
                0 => "no keys yet: a makes one".to_owned(),
                count => format!("0 of {count} match \"{}\" (Esc clears)", self.filter),
            };
            return render_state(painter, inside, &self.keys, model, &empty);
        };
        let glyphs = *painter.glyphs();
        let now = model.daemon_time().unwrap_or_default();
        let shown = &self.shown;
        self.table
            .render(painter, inside, TABLE, &COLUMNS, None, |row| {
                cells(&list.keys[shown[row]], now, &glyphs)
            });
    }

    fn render_detail(&self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        let Some(key) = self.key() else {
            painter.frame(area, "", "", false);
            return;
        };
        let glyphs = *painter.glyphs();
        let now = model.daemon_time().unwrap_or_default();
        let (state, _) = state(key, now, &glyphs);
        let inside = painter.frame(area, &key.name, &state, self.is_open);
        painter.hit(area, Target::Pane(DETAIL));
        let lines = facts(key, model, &glyphs, usize::from(inside.width));
        for (spans, y) in lines.iter().zip(inside.y..inside.bottom()) {
            painter.put_spans(inside.x, y, inside.width, spans);
        }
    }
}

fn ended(model: &Model) -> Option<u64> {
    let summary = model.live().summary.as_ref()?;
    summary.llm.as_ref().map(|now| now.ended)
}

/// Can it be used now?
fn is_usable(secret: &KeySecret, now: Millis) -> bool {
    secret.revoked.is_none()
        && secret.not_before <= now
        && secret.expires.is_none_or(|expires| expires > now)
}

/// Of the gateways that use a key of which more than one secret can be used: how many have moved to the
/// newest, and how many there are.
fn moved(key: &KeyState, now: Millis) -> Option<(usize, usize)> {
    let usable = key.secrets.iter().filter(|secret| is_usable(secret, now));
    let newest = key.secrets.last().filter(|_| usable.count() > 1)?;
    let mut all: Vec<&str> = (key.secrets.iter())
        .flat_map(|secret| secret.uses.iter().map(|used| used.gateway.as_str()))
        .collect();
    all.sort_unstable();
    all.dedup();
    Some((newest.uses.len(), all.len()))
}

fn state(key: &KeyState, now: Millis, glyphs: &Glyphs) -> (String, Role) {
    if key.revoked {
        return (format!("{} revoked", glyphs.gone), Role::Bad);
    }
    if !key.secrets.iter().any(|secret| is_usable(secret, now)) {
        return (format!("{} expired", glyphs.off), Role::Muted);
    }
    match moved(key, now) {
        Some((_, 0)) => (format!("{} rotating", glyphs.changed), Role::Accent),
        Some((moved, all)) if moved < all => (
            format!("{} {moved} of {all} moved", glyphs.changed),
            Role::Warn,
        ),
        Some((moved, all)) => (
            format!("{} {moved} of {all} moved", glyphs.changed),
            Role::Ok,
        ),
        None if key.running > 0 => (format!("{} {} under way", glyphs.up, key.running), Role::Ok),
        None => (format!("{} active", glyphs.up), Role::Ok),
    }
}

/// The budget of which the least is left.
fn tightest(key: &KeyState) -> Option<(&KeyBudget, f64)> {
    let bounded = key.budgets.iter().filter_map(|budget| {
        let limit = budget.limit.as_deref()?;
        Some((budget, number::share_of_dollars(&budget.spent, limit)?))
    });
    bounded.max_by(|one, other| one.1.total_cmp(&other.1))
}

fn role_of(share: f64) -> Role {
    match share {
        share if share >= 1.0 => Role::Bad,
        share if share >= 0.8 => Role::Warn,
        _ => Role::Ok,
    }
}

/// A bar as a text.
fn bar(share: f64, columns: usize, glyphs: &Glyphs) -> String {
    let full = (share.clamp(0.0, 1.0) * columns as f64).round() as usize;
    // Something is never nothing.
    let full = if share > 0.0 { full.max(1) } else { 0 };
    glyphs.widths[7].repeat(full) + &glyphs.rest.repeat(columns - full)
}

fn initial(period: &str) -> &str {
    match period {
        "day" => "d",
        "week" => "w",
        "month" => "m",
        "total" => "all",
        period => period,
    }
}

fn cells(key: &KeyState, now: Millis, glyphs: &Glyphs) -> Vec<Cell> {
    let none = || (glyphs.none.to_owned(), Role::Muted);
    let or_none = |text: &str| match text {
        "" => none(),
        text => (text.to_owned(), Role::Text),
    };
    let prefix = key
        .secrets
        .last()
        .map_or("", |secret| secret.prefix.as_str());
    let total = key.budgets.iter().find(|budget| budget.period == "total");
    let (spent, used) = match tightest(key) {
        Some((budget, share)) => {
            let limit = budget.limit.as_deref().unwrap_or_default();
            let spent = format!(
                "{}/{} {}",
                number::dollars(&budget.spent),
                number::dollars(limit),
                initial(&budget.period)
            );
            let role = role_of(share);
            ((spent, Role::Text), (bar(share, 8, glyphs), role))
        }
        None => {
            let spent = total.map(|total| format!("{} in all", number::dollars(&total.spent)));
            (or_none(&spent.unwrap_or_default()), none())
        }
    };
    vec![
        (key.name.clone(), Role::Text),
        match prefix {
            "" => none(),
            prefix => (format!("{prefix}{}", glyphs.cut), Role::Muted),
        },
        or_none(&key.owner),
        spent,
        used,
        match key.models.is_empty() {
            true => ("all".to_owned(), Role::Muted),
            false => (key.models.join(","), Role::Text),
        },
        match key.last_used {
            0 => none(),
            last => (number::age(now.saturating_sub(last)), Role::Text),
        },
        state(key, now, glyphs),
    ]
}

/// Everything about a key, for so many columns.
fn facts(key: &KeyState, model: &Model, glyphs: &Glyphs, columns: usize) -> Vec<Vec<Span>> {
    let mut facts = Vec::new();
    let mut fact = |label: &str, value: &str, role: Role| {
        if value.is_empty() {
            return;
        }
        let mut label = label.to_owned();
        for line in text::wrap(value, columns.saturating_sub(LABEL).max(8)) {
            let heading = format!("{:LABEL$}", std::mem::take(&mut label));
            facts.push(vec![Span::new(heading, Role::Muted), Span::new(line, role)]);
        }
    };
    let now = model.daemon_time().unwrap_or_default();
    let all = |list: &[String]| match list {
        [] => "all".to_owned(),
        list => list.join(", "),
    };
    for budget in &key.budgets {
        let spent = number::dollars(&budget.spent);
        match budget.limit.as_deref() {
            Some(limit) => {
                let share = number::share_of_dollars(&budget.spent, limit).unwrap_or(1.0);
                let words = format!(
                    "{} {spent} of {}, {}",
                    bar(share, 10, glyphs),
                    number::dollars(limit),
                    number::percent(share)
                );
                fact(&budget.period, &words, role_of(share));
            }
            None => fact(&budget.period, &spent, Role::Text),
        }
    }
    let held: Vec<&KeyBudget> = key.budgets.iter().filter(|it| it.held != "0.00").collect();
    if let Some(held) = held.first() {
        let words = format!("{} for {} calls", number::dollars(&held.held), key.running);
        fact("held", &words, Role::Text);
    }
    fact("calendar", &key.zone, Role::Text);
    for (label, limit) in [
        ("calls/min", key.rpm),
        ("tokens/min", key.tpm),
        ("at once", key.concurrency),
    ] {
        if let Some(limit) = limit {
            fact(label, &number::count(limit), Role::Text);
        }
    }
    fact("models", &all(&key.models), Role::Text);
    fact("addresses", &all(&key.addresses), Role::Text);
    fact("gateway", &key.gateway, Role::Text);
    fact("group", &key.group, Role::Text);
    fact("owner", &key.owner, Role::Text);
    fact(
        "made",
        &number::day(key.created, now, &model.zone),
        Role::Text,
    );
    if key.last_used > 0 {
        let age = number::age(now.saturating_sub(key.last_used));
        fact("last used", &format!("{age} ago"), Role::Text);
    }
    if let Some((moved, all)) = moved(key, now) {
        let role = if moved < all { Role::Warn } else { Role::Ok };
        let words = format!("{moved} of {all} gateways use the newest secret");
        fact("rotation", &words, role);
    }
    for secret in key.secrets.iter().rev() {
        let until = match (secret.revoked, secret.expires) {
            (Some(_), _) => "revoked".to_owned(),
            (None, Some(expires)) if expires <= now => "expired".to_owned(),
            (None, Some(expires)) => format!("for another {}", number::age(expires - now)),
            (None, None) => "for good".to_owned(),
        };
        let role = if is_usable(secret, now) {
            Role::Text
        } else {
            Role::Muted
        };
        fact(
            "secret",
            &format!("{}{} {until}", secret.prefix, glyphs.cut),
            role,
        );
        for used in &secret.uses {
            let age = number::age(now.saturating_sub(used.last));
            let gateway = match used.gateway.as_str() {
                "" => "no gateway",
                gateway => gateway,
            };
            let words = format!(
                "  {gateway}: {} calls, last {age} ago",
                number::count(used.calls)
            );
            fact("", &words, Role::Muted);
        }
    }
    facts
}

/// What a revocation does, in numbers.
fn revocation(key: &KeyState, now: Millis) -> Vec<String> {
    let mut lines = vec![format!("{}: its calls get 401 from now on.", key.name)];
    if key.running > 0 {
        lines.push(format!("{} calls under way are finished.", key.running));
    }
    if key.last_used > 0 {
        let age = number::age(now.saturating_sub(key.last_used));
        lines.push(format!("It was last used {age} ago."));
    }
    lines.extend([String::new(), "This cannot be undone.".to_owned()]);
    lines
}

/// What a rotation does, in numbers.
fn rotation(key: &KeyState, overlap: &str, now: Millis) -> Vec<String> {
    let usable = key.secrets.iter().filter(|secret| is_usable(secret, now));
    let gateways: usize = usable.map(|secret| secret.uses.len()).sum();
    let mut lines = vec![
        format!("{} gets a new secret, which is shown once.", key.name),
        format!("Those before it work for another {overlap}."),
    ];
    if gateways > 0 {
        lines.push("This screen tells which gateways have moved.".to_owned());
    }
    lines.extend([String::new(), "This cannot be undone.".to_owned()]);
    lines
}

impl View for KeysScreen {
    fn context(&self) -> Context {
        Context::Keys
    }

    fn input(&mut self, input: &Input, model: &Model) -> Vec<Effect> {
        self.arrange();
        let effects = match input {
            Input::Shown => self.ask(model),
            // What was spent changes with the calls that end.
            Input::Tick if self.asked != ended(model) => self.ask(model),
            Input::Tick => Vec::new(),
            Input::Action(action) => self.act(*action, model),
            Input::Entered(typed) => self.entered(typed, model),
            Input::Confirmed => match self.pending.take() {
                Some(change) => vec![Effect::Call(Call::ChangeKey(Box::new(change)))],
                None => Vec::new(),
            },
            Input::Filter(filter) => {
                self.filter.clone_from(filter);
                Vec::new()
            }
            Input::Answer(Ok(Answer::Keys(keys))) => {
                self.keys.set(keys.clone());
                Vec::new()
            }
            Input::Answer(Ok(Answer::Key(key))) => {
                let columns = usize::from(WIDTH) - 4;
                // The glyphs do not matter to what is read as a text.
                let lines = facts(key, model, &super::super::glyphs::BLOCK, columns);
                let title = format!("Key  {}", key.name);
                vec![Effect::Open(Box::new(Reader::new(title, WIDTH, lines)))]
            }
            Input::Answer(Ok(Answer::KeyChanged(changed))) => self.changed(changed, model),
            Input::Answer(Err(failure)) => {
                let why = failure.to_string();
                if self.keys.value.is_none() {
                    self.keys.fail(&why, model.now);
                }
                vec![Notice::bad(why)]
            }
            Input::Click(Target::Pane(DETAIL)) => {
                self.is_open = true;
                Vec::new()
            }
            input => {
                if self.table.input(input, TABLE) {
                    self.is_open = false;
                }
                Vec::new()
            }
        };
        self.selected = self.key().map(|key| key.name.clone());
        self.arrange();
        effects
    }

    fn render(&mut self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        self.arrange();
        if area.width >= WIDE {
            let width = (area.width * 35 / 100).clamp(42, 80);
            let left = Rect::new(area.x, area.y, area.width - width, area.height);
            let right = Rect::new(left.right(), area.y, width, area.height);
            self.render_table(painter, left, model);
            self.render_detail(painter, right, model);
        } else if self.is_open {
            self.render_detail(painter, area, model);
        } else {
            self.render_table(painter, area, model);
        }
    }

    fn filter(&self) -> &str {
        &self.filter
    }

    fn remark(&self, _model: &Model) -> Option<String> {
        let list = self.keys.value.as_ref()?;
        list.unusable.first().cloned()
    }
}
