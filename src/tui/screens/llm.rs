//! LLM: what calls of language models cost and by whom, those under way, and those that are over.
//!
//! What happens comes with each summary. The sums and the calls of the ledger are asked for again only
//! when the summary says that more of them ended.

use std::collections::VecDeque;

use ratatui::layout::Rect;

use super::super::keymap::{Action, Context};
use super::super::model::{Loaded, Model};
use super::super::number;
use super::super::paint::{Painter, Span};
use super::super::text;
use super::super::theme::Role;
use super::super::view::{Answer, Call, Effect, Input, Notice, Target, View};
use super::super::widgets::reader::Reader;
use super::super::widgets::sparkline;
use super::super::widgets::table::{Cell, Column, Table, matches};
use super::{WIDE, render_state};
use crate::protocol::{
    KeyList, LlmNow, Millis, ModelCall, ModelCalls, ProviderNow, RunningCall, SpendReport, SpendRow,
};

/// What spend is told by, in the order of the key that goes through them.
const KINDS: [&str; 5] = ["model", "provider", "key", "gateway", "user"];

const COLUMNS: [Column; 8] = [
    Column::text("NAME", 14, 2, 0),
    Column::number("CALLS", 6, 0),
    Column::number("FAILED", 6, 3),
    Column::number("TOK IN", 6, 0),
    Column::number("CACHED", 6, 4),
    Column::number("TOK OUT", 7, 0),
    Column::number("SPEND", 9, 0),
    Column::text("", 14, 1, 2),
];

const CALL_COLUMNS: [Column; 9] = [
    Column::text("BEGAN", 8, 0, 0),
    Column::text("MODEL", 14, 2, 0),
    Column::text("KEY", 8, 1, 4),
    Column::text("GATEWAY", 8, 1, 6),
    Column::number("TOK IN", 6, 3),
    Column::number("OUT", 6, 0),
    Column::number("FIRST", 7, 5),
    Column::number("TIME", 7, 0),
    Column::number("COST", 8, 0),
];

/// The last column of calls, which takes what is left.
const OUTCOME: Column = Column::text("OUTCOME", 12, 1, 0);

const SPEND: u8 = 0;
const CALLS: u8 = 1;

/// So many numbers of the past are kept for the curve: one a second.
const POINTS: usize = 300;

/// The dialog of a call, frame included.
const TRACE: u16 = 78;

/// The columns of the labels in it.
const LABEL: usize = 12;

/// The screen.
#[derive(Debug, Default)]
pub struct LlmScreen {
    spend: Table,
    calls: Table,
    /// The list of calls has the focus.
    is_in_calls: bool,
    /// Position in [`KINDS`].
    kind: usize,
    /// The sums are of the month, else of the day.
    is_of_month: bool,
    filter: String,
    today: Loaded<SpendReport>,
    month: Loaded<SpendReport>,
    ended: Loaded<ModelCalls>,
    keys: Loaded<KeyList>,
    /// What the summary said when the ledger was asked last, and the day.
    asked: Option<(u64, String)>,
    /// Tokens that came out, each second.
    past: VecDeque<f64>,
    /// Rows of sums that are shown.
    shown_sums: Vec<usize>,
    /// Calls that are shown, those under way first.
    shown_calls: Vec<Shown>,
}

/// Where a shown call is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shown {
    Running(usize),
    Ended(usize),
}

fn now(model: &Model) -> Option<&LlmNow> {
    model.live().summary.as_ref()?.llm.as_deref()
}

impl LlmScreen {
    fn ask(&mut self, model: &Model) -> Vec<Effect> {
        let Some(at) = model.daemon_time() else {
            return Vec::new();
        };
        let day = number::date(at);
        let first = format!("{}01", &day[..day.len().min(8)]);
        self.asked = now(model).map(|now| (now.ended, day.clone()));
        let spend = |from: String| Call::Spend {
            by: KINDS[self.kind].to_owned(),
            from,
            to: day.clone(),
        };
        let calls = [
            spend(day.clone()),
            spend(first),
            Call::ModelCalls,
            Call::Keys,
        ];
        calls.into_iter().map(Effect::Call).collect()
    }

    /// Asks anew if the ledger has more to tell, or the day is another one.
    fn follow(&mut self, model: &Model) -> Vec<Effect> {
        let Some(now) = now(model) else {
            return Vec::new();
        };
        if model.paused_since().is_none() {
            self.past.push_back(now.output_rate);
            if self.past.len() > POINTS {
                self.past.pop_front();
            }
        }
        let is_known = self.asked.as_ref().is_some_and(|(ended, day)| {
            let today = model.daemon_time().map(number::date);
            *ended == now.ended && today.is_none_or(|today| today == *day)
        });
        match is_known {
            true => Vec::new(),
            false => self.ask(model),
        }
    }

    fn report(&self) -> &Loaded<SpendReport> {
        match self.is_of_month {
            true => &self.month,
            false => &self.today,
        }
    }

    fn arrange(&mut self, model: &Model) {
        let filter = &self.filter;
        let is_meant = |texts: &[&str]| filter.is_empty() || matches(filter, texts);
        self.shown_sums.clear();
        let report = match self.is_of_month {
            true => &self.month,
            false => &self.today,
        };
        if let Some(report) = &report.value {
            let rows = report.rows.iter().enumerate();
            (self.shown_sums).extend(
                rows.filter(|(_, row)| is_meant(&[&row.name]))
                    .map(|(at, _)| at),
            );
        }
        self.spend.set_rows(self.shown_sums.len());
        self.shown_calls.clear();
        let running = now(model).map_or(&[][..], |now| &now.calls);
        for (at, call) in running.iter().enumerate().rev() {
            if is_meant(&[
                &call.key,
                &call.gateway,
                &call.user,
                &call.asked,
                &call.answering,
            ]) {
                self.shown_calls.push(Shown::Running(at));
            }
        }
        for (at, call) in self.ended.value.iter().flat_map(|it| &it.calls).enumerate() {
            let texts = [
                &*call.key,
                &call.gateway,
                &call.user,
                &call.asked,
                &call.provider,
                &call.model,
                &call.outcome,
                &call.rule,
            ];
            if call.state != "open" && is_meant(&texts) {
                self.shown_calls.push(Shown::Ended(at));
            }
        }
        self.calls.set_rows(self.shown_calls.len());
    }

    fn trace(&self, model: &Model) -> Option<Reader> {
        match *self.shown_calls.get(self.calls.selected)? {
            Shown::Running(at) => now(model)?.calls.get(at).map(|call| under_way(call, model)),
            Shown::Ended(at) => {
                let call = self.ended.value.as_ref()?.calls.get(at)?;
                Some(over(call, model))
            }
        }
    }

    fn act(&mut self, action: Action, model: &Model) -> Vec<Effect> {
        match action {
            Action::NextPane | Action::PreviousPane => self.is_in_calls = !self.is_in_calls,
            Action::Close if self.is_in_calls => self.is_in_calls = false,
            Action::Close => self.filter.clear(),
            Action::Open if !self.is_in_calls => {
                // From a sum to its calls.
                let name = self.row().map(|row| row.name.clone());
                self.filter = name.unwrap_or_default();
                self.is_in_calls = true;
                self.calls = Table::default();
            }
            Action::Open => {
                let trace = self.trace(model);
                let open = trace.map(|trace| Effect::Open(Box::new(trace)));
                return open.into_iter().collect();
            }
            Action::SpendKind => {
                self.kind = (self.kind + 1) % KINDS.len();
                self.spend = Table::default();
                self.today = Loaded::default();
                self.month = Loaded::default();
                return self.ask(model);
            }
            Action::SpendPeriod => self.is_of_month = !self.is_of_month,
            Action::NextMatch | Action::PreviousMatch => {
                return vec![Notice::plain("/ shows only the rows that match")];
            }
            Action::Copy => {
                let copied = match self.is_in_calls {
                    true => match self.shown_calls.get(self.calls.selected) {
                        Some(Shown::Running(at)) => now(model)
                            .and_then(|now| now.calls.get(*at))
                            .map(|call| call.id),
                        Some(Shown::Ended(at)) => (self.ended.value.as_ref())
                            .and_then(|it| it.calls.get(*at))
                            .map(|call| call.id),
                        None => None,
                    }
                    .map(|id| id.to_string()),
                    false => self.row().map(|row| row.name.clone()),
                };
                return copied.map(Effect::Copy).into_iter().collect();
            }
            action if self.is_in_calls => {
                self.calls.act(action);
            }
            action => {
                self.spend.act(action);
            }
        }
        Vec::new()
    }

    /// The sum that is selected.
    fn row(&self) -> Option<&SpendRow> {
        let &at = self.shown_sums.get(self.spend.selected)?;
        self.report().value.as_ref()?.rows.get(at)
    }

    fn take(&mut self, answer: &Answer, model: &Model) {
        match answer {
            Answer::Spend(report) if report.by == KINDS[self.kind] => {
                // On the first of a month the day and the month are the same.
                let today = model.daemon_time().map(number::date);
                let is_today = today.is_some_and(|today| today == report.from);
                if is_today {
                    self.today.set(report.clone());
                }
                if report.from.ends_with("-01") {
                    self.month.set(report.clone());
                }
            }
            Answer::ModelCalls(calls) => self.ended.set(calls.clone()),
            Answer::Keys(keys) => self.keys.set(keys.clone()),
            _ => {}
        }
    }

    fn render_now(&self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        let inside = painter.frame(area, "Spend", "in UTC", false);
        let Some(now) = now(model) else {
            let empty = "no provider: llm_provider makes one";
            if model.live().summary.is_some() {
                painter.put(inside.x, inside.y, inside.width, empty, Role::Muted);
            }
            return;
        };
        let none = painter.glyphs().none;
        let month = self.month.value.as_ref().map(|report| &report.total);
        let mut first = vec![Span::new(
            format!("today {}", number::dollars(&now.today)),
            Role::Accent,
        )];
        let spent = month.map_or(none.to_owned(), |total| number::dollars(&total.cost));
        first.push(Span::plain(format!("month {spent}")));
        if let Some(total) = self.today.value.as_ref().map(|report| &report.total) {
            first.push(Span::plain(format!(
                "{} calls today",
                number::count(total.calls)
            )));
            let role = if total.failed > 0 {
                Role::Warn
            } else {
                Role::Text
            };
            first.push(Span::new(
                format!("{} failed", number::count(total.failed)),
                role,
            ));
            if total.unpriced > 0 {
                let unpriced = number::count(total.unpriced);
                first.push(Span::new(format!("{unpriced} unpriced"), Role::Warn));
            }
        }
        let second = [
            Span::plain(format!("{} under way", now.running)),
            Span::plain(format!("{} held", number::dollars(&now.held))),
            Span::plain(format!("{} calls/min", now.calls_per_minute)),
            Span::plain(format!("{} tok/s in", number::rate(now.input_rate))),
            Span::plain(format!("{} tok/s out", number::rate(now.output_rate))),
        ];
        let rows = [&first[..], &second];
        for (facts, y) in rows.into_iter().zip(inside.y..inside.bottom()) {
            painter.put_facts(inside.x, y, inside.width, facts);
        }
        let y = inside.y + 2;
        if y >= inside.bottom() {
            return;
        }
        let budgets = self.budgets();
        if budgets.is_empty() {
            let values: Vec<f64> = self.past.iter().copied().collect();
            let curve = Rect::new(inside.x, y, inside.width, inside.bottom() - y);
            return sparkline::render(painter, curve, &values, Role::Ok);
        }
        let facts: Vec<Span> = budgets
            .into_iter()
            .map(|(share, words)| Span::new(words, budget_role(share)))
            .collect();
        painter.put_facts(inside.x, y, inside.width, &facts);
    }

    /// The budgets of keys, those with the least left first.
    fn budgets(&self) -> Vec<(f64, String)> {
        let keys = self.keys.value.iter().flat_map(|list| &list.keys);
        let mut budgets: Vec<(f64, String)> = keys
            .filter(|key| !key.revoked)
            .flat_map(|key| key.budgets.iter().map(move |budget| (key, budget)))
            .filter_map(|(key, budget)| {
                let limit = budget.limit.as_deref()?;
                let share = number::share_of_dollars(&budget.spent, limit)?;
                let words = format!(
                    "{} {} of {}/{}",
                    text::fit(&key.name, 20, "…"),
                    number::percent(share),
                    number::dollars(limit),
                    budget.period
                );
                Some((share, words))
            })
            .collect();
        budgets.sort_by(|one, other| other.0.total_cmp(&one.0).then_with(|| one.1.cmp(&other.1)));
        budgets.truncate(4);
        budgets
    }

    fn render_sums(&mut self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        let period = if self.is_of_month { "month" } else { "today" };
        let title = format!("By {}", KINDS[self.kind]);
        let inside = painter.frame(area, &title, period, !self.is_in_calls);
        let report = match self.is_of_month {
            true => &self.month,
            false => &self.today,
        };
        let Some(sums) = report
            .value
            .as_ref()
            .filter(|_| !self.shown_sums.is_empty())
        else {
            let empty = match (self.filter.as_str(), report.value.as_ref()) {
                (filter, Some(sums)) if !filter.is_empty() => {
                    format!("0 of {} match \"{filter}\" (Esc clears)", sums.rows.len())
                }
                _ => "no calls yet: openclaw key add NAME makes a key".to_owned(),
            };
            return render_state(painter, inside, report, model, &empty);
        };
        let mut columns = COLUMNS;
        columns[0].title = match self.kind {
            0 => "MODEL",
            1 => "PROVIDER",
            2 => "KEY",
            3 => "GATEWAY",
            _ => "USER",
        };
        columns[7].title = match self.kind {
            1 => "STATE",
            2 => "BUDGET",
            _ => "SHARE",
        };
        let glyphs = *painter.glyphs();
        let all = sums.total.cost.clone();
        let providers = now(model).map_or(&[][..], |now| &now.providers);
        let (shown, kind) = (&self.shown_sums, self.kind);
        let keys = self.keys.value.as_ref();
        let period = if self.is_of_month { "month" } else { "day" };
        self.spend
            .render(painter, inside, SPEND, &columns, Some(6), |at| {
                let row = &sums.rows[shown[at]];
                let last = match kind {
                    1 => {
                        let provider = providers.iter().find(|it| it.name == row.name);
                        provider.map_or((glyphs.none.to_owned(), Role::Muted), |it| {
                            provider_state(it, glyphs.up, glyphs.down)
                        })
                    }
                    2 => budget_cell(keys, &row.name, period, glyphs.none),
                    _ => match number::share_of_dollars(&row.cost, &all) {
                        Some(share) => (number::percent(share), Role::Text),
                        None => (glyphs.none.to_owned(), Role::Muted),
                    },
                };
                sum_cells(row, last, glyphs.none)
            });
    }

    fn render_calls(&mut self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        let running = now(model).map_or(0, |now| now.running);
        let remark = format!("{running} under way");
        let inside = painter.frame(area, "Calls", &remark, self.is_in_calls);
        if self.shown_calls.is_empty() {
            let empty = match self.filter.as_str() {
                "" => "no calls yet".to_owned(),
                filter => format!("none matches \"{filter}\" (Esc clears)"),
            };
            return render_state(painter, inside, &self.ended, model, &empty);
        }
        let mut columns = CALL_COLUMNS.to_vec();
        columns.push(OUTCOME);
        let glyphs = *painter.glyphs();
        let ended = self.ended.value.as_ref();
        let shown = &self.shown_calls;
        let at = model.daemon_time().unwrap_or_default();
        self.calls
            .render(painter, inside, CALLS, &columns, None, |row| {
                let cells = match shown[row] {
                    Shown::Running(position) => now(model)
                        .and_then(|now| now.calls.get(position))
                        .map(|call| running_cells(call, model, glyphs.half, glyphs.none)),
                    Shown::Ended(position) => ended
                        .and_then(|it| it.calls.get(position))
                        .map(|call| ended_cells(call, at, model, glyphs.none)),
                };
                cells.unwrap_or_default()
            });
    }

    fn render_providers(&self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        let inside = painter.frame(area, "Providers", "", false);
        let glyphs = *painter.glyphs();
        let providers = now(model).map_or(&[][..], |now| &now.providers);
        for (provider, y) in providers.iter().zip(inside.y..inside.bottom()) {
            let (state, role) = provider_state(provider, glyphs.up, glyphs.down);
            painter.put(inside.x, y, 14, &provider.name, Role::Text);
            let x = inside.x + 15;
            let columns = inside.width.saturating_sub(15);
            let spans = [
                Span::new(format!("{state:<12}"), role),
                Span::new(remark(provider, columns.saturating_sub(12)), Role::Muted),
            ];
            painter.put_spans(x, y, columns, &spans);
        }
    }
}

fn budget_role(share: f64) -> Role {
    match share {
        share if share >= 1.0 => Role::Bad,
        share if share >= 0.8 => Role::Warn,
        _ => Role::Text,
    }
}

/// What is wrong with a provider; if nothing is, how much it does and how soon its answers begin: in
/// words if they fit, else as `2+1 430 ms`.
fn remark(provider: &ProviderNow, columns: u16) -> String {
    if !provider.note.is_empty() {
        return provider.note.clone();
    }
    let of_most = match provider.most {
        0 => provider.under_way.to_string(),
        most => format!("{}/{most}", provider.under_way),
    };
    let mut words = vec![format!("{of_most} under way")];
    if provider.waiting > 0 {
        words.push(format!("{} wait", provider.waiting));
    }
    if provider.first_token > 0 {
        words.push(format!("first {}", number::duration(provider.first_token)));
    }
    let words = words.join(", ");
    if words.len() <= usize::from(columns) {
        return words;
    }
    let mut short = provider.under_way.to_string();
    if provider.waiting > 0 {
        short.push_str(&format!("+{}", provider.waiting));
    }
    if provider.first_token > 0 {
        short.push_str(&format!(" {}", number::duration(provider.first_token)));
    }
    short
}

fn provider_state(provider: &ProviderNow, up: &str, down: &str) -> (String, Role) {
    match provider.state.as_str() {
        "ready" => (format!("{up} ready"), Role::Ok),
        state => (format!("{down} {state}"), Role::Bad),
    }
}

fn budget_cell(keys: Option<&KeyList>, name: &str, period: &str, none: &str) -> Cell {
    let key = keys.and_then(|list| list.keys.iter().find(|key| key.name == name));
    let budget = key.and_then(|key| key.budgets.iter().find(|it| it.period == period));
    let limit = budget.and_then(|budget| Some((budget, budget.limit.as_deref()?)));
    let told = limit.and_then(|(budget, limit)| {
        let share = number::share_of_dollars(&budget.spent, limit)?;
        let words = format!("{} of {}", number::percent(share), number::dollars(limit));
        Some((words, budget_role(share)))
    });
    told.unwrap_or_else(|| (none.to_owned(), Role::Muted))
}

fn sum_cells(row: &SpendRow, last: Cell, none: &str) -> Vec<Cell> {
    let name = match row.name.as_str() {
        "" => none.to_owned(),
        name => name.to_owned(),
    };
    let failed = if row.failed > 0 {
        Role::Warn
    } else {
        Role::Text
    };
    let spend = match row.unpriced {
        0 => (number::dollars(&row.cost), Role::Text),
        // What is not priced is no part of the sum.
        _ => (format!("{}+?", number::dollars(&row.cost)), Role::Warn),
    };
    vec![
        (name, Role::Text),
        (number::count(row.calls), Role::Text),
        (number::count(row.failed), failed),
        (number::count(row.input), Role::Text),
        (number::share(row.cache_read, row.input, none), Role::Text),
        (number::count(row.output), Role::Text),
        spend,
        last,
    ]
}

fn running_cells(call: &RunningCall, model: &Model, half: &str, none: &str) -> Vec<Cell> {
    let plain = |text: &str| (text.to_owned(), Role::Text);
    let or_none = |text: &str| match text {
        "" => (none.to_owned(), Role::Muted),
        text => plain(text),
    };
    let (label, state) = match call.answering.as_str() {
        "" => (&call.asked, "waits"),
        answering => (&answering.to_owned(), "answers"),
    };
    vec![
        plain(&number::clock(call.id / 1000, &model.zone)),
        plain(label),
        or_none(&call.key),
        or_none(&call.gateway),
        (none.to_owned(), Role::Muted),
        (number::count(call.output), Role::Accent),
        (none.to_owned(), Role::Muted),
        (number::duration(call.age * 1000), Role::Accent),
        (number::dollars(&call.held), Role::Muted),
        (format!("{half} {state}"), Role::Accent),
    ]
}

fn ended_cells(call: &ModelCall, now: Millis, model: &Model, none: &str) -> Vec<Cell> {
    let plain = |text: &str| (text.to_owned(), Role::Text);
    let or_none = |text: &str| match text {
        "" => (none.to_owned(), Role::Muted),
        text => plain(text),
    };
    let at = call.id / 1000;
    let began = match now.saturating_sub(at) < 86_400_000 {
        true => number::clock(at, &model.zone),
        false => number::day(at, now, &model.zone),
    };
    let label = match call.provider.as_str() {
        "" => call.asked.clone(),
        provider => format!("{provider}/{}", call.model),
    };
    vec![
        plain(&began),
        plain(&label),
        or_none(&call.key),
        or_none(&call.gateway),
        (number::count(call.tokens.total_input()), Role::Text),
        (number::count(call.tokens.total_output()), Role::Text),
        match call.first {
            Some(first) => plain(&number::duration(first)),
            None => (none.to_owned(), Role::Muted),
        },
        plain(&number::duration(call.total)),
        cost(call),
        (outcome(call), outcome_role(call)),
    ]
}

fn cost(call: &ModelCall) -> Cell {
    match (&call.cost, &call.billed) {
        (None, None) => ("?".to_owned(), Role::Warn),
        _ => (number::dollars(&call.charged), Role::Text),
    }
}

fn outcome(call: &ModelCall) -> String {
    let words = match call.outcome.as_str() {
        "" => &call.state,
        outcome => outcome,
    };
    match call.status {
        0 | 200 => words.to_owned(),
        status => format!("{status} {words}"),
    }
}

fn outcome_role(call: &ModelCall) -> Role {
    match (call.outcome.as_str(), call.status) {
        ("ok", _) => Role::Ok,
        (_, 500..) | ("interrupted", _) => Role::Bad,
        _ => Role::Warn,
    }
}

/// Labels with their values, those without one left out.
struct Facts(Vec<Vec<Span>>);

impl Facts {
    fn add(&mut self, label: &str, value: &str, role: Role) {
        if value.is_empty() {
            return;
        }
        let mut label = label.to_owned();
        for line in text::wrap(value, usize::from(TRACE) - 4 - LABEL) {
            self.0.push(vec![
                Span::new(
                    format!("{:LABEL$}", std::mem::take(&mut label)),
                    Role::Muted,
                ),
                Span::new(line, role),
            ]);
        }
    }
}

/// A call under way, to read.
fn under_way(call: &RunningCall, model: &Model) -> Reader {
    let mut facts = Facts(Vec::new());
    let mut plain = |label: &str, value: &str| facts.add(label, value, Role::Text);
    plain("call", &call.id.to_string());
    plain("began", &number::moment(call.id / 1000, &model.zone));
    plain("for", &number::duration(call.age * 1000));
    plain("asked for", &call.asked);
    plain("answers", &call.answering);
    plain("key", &call.key);
    plain("gateway", &call.gateway);
    plain("user", &call.user);
    plain(
        "tokens out",
        &format!("about {}", number::count(call.output)),
    );
    plain("held", &format!("${}", call.held));
    Reader::new(format!("Call under way  {}", call.asked), TRACE, facts.0)
}

/// A call that is over, to read: which way it went and what it came to.
fn over(call: &ModelCall, model: &Model) -> Reader {
    let mut facts = Facts(Vec::new());
    facts.add("outcome", &outcome(call), outcome_role(call));
    let mut plain = |label: &str, value: &str| facts.add(label, value, Role::Text);
    plain("call", &call.id.to_string());
    let began = number::moment(call.id / 1000, &model.zone);
    let clock = number::clock_milliseconds(call.id / 1000, &model.zone);
    plain("began", &format!("{began} ({clock})"));
    plain("key", &call.key);
    plain("gateway", &call.gateway);
    plain("user", &call.user);
    plain("node", &call.node);
    plain("wanted", &call.operation);
    plain("asked for", &call.asked);
    plain("rule", &call.rule);
    for (position, tried) in call.tried.split(',').enumerate() {
        let (label, came) = tried.rsplit_once(':').unwrap_or((tried, ""));
        let role = if came == "ok" { Role::Ok } else { Role::Warn };
        let heading = if position == 0 { "tried" } else { "" };
        let words = match came {
            "" => label.to_owned(),
            came => format!("{label}  {came}"),
        };
        facts.add(heading, &words, role);
    }
    let mut plain = |label: &str, value: &str| facts.add(label, value, Role::Text);
    if call.tried.is_empty() && call.attempts > 0 {
        plain("attempts", &call.attempts.to_string());
    }
    let estimated = if call.estimated { " (estimated)" } else { "" };
    for (name, count) in call.tokens.named() {
        if count > 0 {
            plain(name, &format!("{count}{estimated}"));
        }
    }
    plain("held", &format!("${}", call.reserved));
    match (&call.cost, call.outcome.is_empty()) {
        (Some(cost), _) => plain("cost", &format!("${cost} by prices of {}", call.price)),
        (None, false) => plain("cost", "not known: the model has no price"),
        (None, true) => {}
    }
    if let Some(billed) = &call.billed {
        plain("billed", &format!("${billed} by the provider"));
    }
    plain("charged", &format!("${}", call.charged));
    if let Some(first) = call.first {
        plain("first part", &number::duration(first));
    }
    plain("providers", &number::duration(call.upstream));
    plain("in all", &number::duration(call.total));
    let own = call.total.saturating_sub(call.upstream);
    if call.upstream > 0 {
        plain("ours", &number::duration(own));
    }
    Reader::new(format!("Call  {}", call.asked), TRACE, facts.0)
}

impl View for LlmScreen {
    fn context(&self) -> Context {
        Context::Llm
    }

    fn input(&mut self, input: &Input, model: &Model) -> Vec<Effect> {
        self.arrange(model);
        let effects = match input {
            Input::Shown => self.ask(model),
            Input::Tick => self.follow(model),
            Input::Action(action) => self.act(*action, model),
            Input::Filter(filter) => {
                self.filter.clone_from(filter);
                Vec::new()
            }
            Input::Answer(Ok(answer)) => {
                self.take(answer, model);
                Vec::new()
            }
            Input::Answer(Err(failure)) => {
                let why = failure.to_string();
                for loaded in [&mut self.today, &mut self.month] {
                    loaded.fail(&why, model.now);
                }
                self.ended.fail(&why, model.now);
                // The next summary asks again.
                self.asked = None;
                Vec::new()
            }
            Input::Click(Target::Pane(pane)) => {
                self.is_in_calls = *pane == CALLS;
                Vec::new()
            }
            Input::Click(Target::Row { pane: CALLS, .. }) => {
                self.calls.input(input, CALLS);
                self.is_in_calls = true;
                Vec::new()
            }
            input => {
                let (table, pane) = match (self.is_in_calls, input) {
                    (true, Input::Wheel(..)) => (&mut self.calls, CALLS),
                    _ => (&mut self.spend, SPEND),
                };
                if table.input(input, pane) {
                    self.is_in_calls = pane == CALLS;
                }
                Vec::new()
            }
        };
        self.arrange(model);
        effects
    }

    fn render(&mut self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        self.arrange(model);
        // Where there is little room the calls matter more than a third line.
        let head = if area.height < 16 { 4 } else { 5 }.min(area.height);
        let left = area.height - head;
        let sums = (left * 2 / 5).max(4).min(left);
        let top = Rect::new(area.x, area.y, area.width, head);
        let middle = Rect::new(area.x, top.bottom(), area.width, sums);
        let below = Rect::new(area.x, middle.bottom(), area.width, left - sums);
        self.render_now(painter, top, model);
        if area.width >= WIDE {
            let width = (area.width * 35 / 100).clamp(36, 80);
            let table = Rect::new(middle.x, middle.y, middle.width - width, sums);
            let beside = Rect::new(table.right(), middle.y, width, sums);
            self.render_sums(painter, table, model);
            self.render_providers(painter, beside, model);
        } else {
            self.render_sums(painter, middle, model);
        }
        if below.height > 2 {
            self.render_calls(painter, below, model);
        }
    }

    fn filter(&self) -> &str {
        &self.filter
    }

    fn remark(&self, model: &Model) -> Option<String> {
        let now = now(model)?;
        let trouble = now.providers.iter().find(|it| it.state != "ready");
        if let Some(provider) = trouble {
            let note = match provider.note.as_str() {
                "" => String::new(),
                note => format!(": {note}"),
            };
            return Some(format!("{} {}{note}", provider.name, provider.state));
        }
        match self.filter.as_str() {
            "" => None,
            filter => Some(format!("only \"{filter}\" (Esc clears)")),
        }
    }
}
