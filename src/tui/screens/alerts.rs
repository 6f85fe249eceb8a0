//! Alerts: what was told, what could not be told, and to whom.

use ratatui::layout::Rect;

use super::super::glyphs::Glyphs;
use super::super::keymap::{Action, Context};
use super::super::model::{Loaded, Model};
use super::super::number;
use super::super::paint::{Painter, Span};
use super::super::text;
use super::super::theme::Role;
use super::super::view::{Answer, Ask, Call, Effect, Input, Notice, Target, View};
use super::super::widgets::reader::Reader;
use super::super::widgets::table::{Cell, Column, Table, matches};
use super::render_state;
use crate::protocol::{
    AlertAction, AlertChange, AlertList, AlertReceiver, AlertState, AlertTest, Millis,
};

const COLUMNS: [Column; 5] = [
    Column::text("AT", 11, 0, 0),
    Column::text("KIND", 16, 1, 2),
    Column::text("ABOUT", 12, 1, 3),
    Column::text("WHAT", 20, 4, 0),
    Column::text("TOLD", 14, 1, 0),
];

const RECEIVER_COLUMNS: [Column; 7] = [
    Column::text("RECEIVER", 12, 1, 0),
    Column::text("FORMAT", 8, 0, 0),
    Column::text("LAST TOLD", 9, 0, 3),
    Column::text("WAITING", 7, 0, 0),
    Column::text("GIVEN UP", 8, 0, 0),
    Column::text("OF", 14, 1, 4),
    Column::text("LAST FAILURE", 16, 3, 2),
];

const ALERTS: u8 = 0;
const RECEIVERS: u8 = 1;

/// The dialog of an alert, frame included.
const WIDTH: u16 = 76;

/// The columns of the labels in it.
const LABEL: usize = 10;

/// The screen.
#[derive(Debug, Default)]
pub struct AlertsScreen {
    alerts: Table,
    receivers: Table,
    is_in_receivers: bool,
    /// Only what somebody was not told.
    is_undelivered: bool,
    filter: String,
    list: Loaded<AlertList>,
    shown: Vec<usize>,
    /// Who is to get a message on trial.
    pending: Option<AlertTest>,
    /// When the daemon was last asked.
    asked: Millis,
}

/// How long what is shown may be old.
const FRESH: Millis = 5_000;

impl AlertsScreen {
    fn arrange(&mut self) {
        self.shown.clear();
        let Some(list) = &self.list.value else {
            self.alerts.set_rows(0);
            return self.receivers.set_rows(0);
        };
        let is_meant = |alert: &AlertState| {
            let texts = [&*alert.kind, &alert.subject, &alert.text, &alert.severity];
            (self.filter.is_empty() || matches(&self.filter, &texts))
                && (!self.is_undelivered || alert.sends.iter().any(|send| send.state != "sent"))
        };
        let rows = list.alerts.iter().enumerate();
        (self.shown).extend(rows.filter(|(_, it)| is_meant(it)).map(|(at, _)| at));
        self.alerts.set_rows(self.shown.len());
        self.receivers.set_rows(list.receivers.len());
    }

    fn alert(&self) -> Option<&AlertState> {
        let &at = self.shown.get(self.alerts.selected)?;
        self.list.value.as_ref()?.alerts.get(at)
    }

    fn receiver(&self) -> Option<&AlertReceiver> {
        let list = self.list.value.as_ref()?;
        list.receivers.get(self.receivers.selected)
    }

    fn act(&mut self, action: Action, model: &Model) -> Vec<Effect> {
        match action {
            Action::NextPane | Action::PreviousPane => self.is_in_receivers = !self.is_in_receivers,
            Action::Close if self.is_in_receivers => self.is_in_receivers = false,
            Action::Close => {
                self.filter.clear();
                self.is_undelivered = false;
            }
            Action::Undelivered => self.is_undelivered = !self.is_undelivered,
            Action::TestReceiver => {
                let Some(receiver) = self.receiver() else {
                    return vec![Notice::plain("nobody is told: `alert` names who is")];
                };
                let name = receiver.name.clone();
                let lines = vec![
                    format!("{name} gets one message that says that it is a test,"),
                    "now and once; whether it took it is told here.".to_owned(),
                ];
                self.pending = Some(AlertTest { name });
                return vec![Effect::Ask(Ask {
                    title: "Send a test?".to_owned(),
                    lines,
                    button: "Send".to_owned(),
                })];
            }
            Action::Acknowledge | Action::TellAgain => {
                let Some(alert) = self.alert() else {
                    return vec![Notice::plain("there is no alert")];
                };
                return vec![Effect::Call(Call::ChangeAlert(AlertChange {
                    id: alert.id.clone(),
                    action: match action {
                        Action::Acknowledge => AlertAction::Acknowledge,
                        _ => AlertAction::Retry,
                    },
                }))];
            }
            Action::AcknowledgeAll => {
                // What came since then nobody has seen.
                let Some(newest) = (self.list.value.as_ref()).and_then(|list| list.alerts.first())
                else {
                    return vec![Notice::plain("there is no alert")];
                };
                return vec![Effect::Call(Call::ChangeAlert(AlertChange {
                    id: newest.id.clone(),
                    action: AlertAction::AcknowledgeAll,
                }))];
            }
            Action::Open if self.is_in_receivers => {
                let reader = self
                    .receiver()
                    .map(|receiver| receiver_detail(receiver, model));
                let open = reader.map(|reader| Effect::Open(Box::new(reader)));
                return open.into_iter().collect();
            }
            Action::Open => {
                let reader = self.alert().map(|alert| detail(alert, model));
                let open = reader.map(|reader| Effect::Open(Box::new(reader)));
                return open.into_iter().collect();
            }
            Action::NextMatch | Action::PreviousMatch => {
                return vec![Notice::plain("/ shows only the alerts that match")];
            }
            Action::Copy => {
                let copied = self.alert().map(|alert| alert.text.clone());
                return copied.map(Effect::Copy).into_iter().collect();
            }
            action if self.is_in_receivers => {
                self.receivers.act(action);
            }
            action => {
                self.alerts.act(action);
            }
        }
        Vec::new()
    }

    fn render_alerts(&mut self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        let unseen = self.list.value.iter().flat_map(|list| &list.alerts);
        // Of good news nobody has to say that they saw it.
        let is_wrong = |alert: &&AlertState| matches!(&*alert.severity, "bad" | "warn");
        let unseen = unseen.filter(is_wrong);
        let unseen = unseen.filter(|alert| alert.seen.is_none()).count();
        let remark = match self.is_undelivered {
            true => "not told".to_owned(),
            false => format!("{unseen} not seen"),
        };
        let inside = painter.frame(area, "Alerts", &remark, !self.is_in_receivers);
        let all = self.list.value.as_ref().map_or(0, |list| list.alerts.len());
        let list = self.list.value.as_ref().filter(|_| !self.shown.is_empty());
        let Some(list) = list else {
            let empty = match (all, self.is_undelivered) {
                (0, _) => "nothing happened that somebody should know".to_owned(),
                (_, true) => "everything was told (Esc shows all)".to_owned(),
                (all, false) => format!("0 of {all} match \"{}\" (Esc clears)", self.filter),
            };
            return render_state(painter, inside, &self.list, model, &empty);
        };
        let glyphs = *painter.glyphs();
        let now = model.daemon_time().unwrap_or_default();
        let shown = &self.shown;
        self.alerts
            .render(painter, inside, ALERTS, &COLUMNS, None, |row| {
                cells(&list.alerts[shown[row]], now, model, &glyphs)
            });
    }

    fn render_receivers(&mut self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        let inside = painter.frame(area, "Who is told", "", self.is_in_receivers);
        let list = self
            .list
            .value
            .as_ref()
            .filter(|list| !list.receivers.is_empty());
        let Some(list) = list else {
            let empty = "nobody is told: the configuration names who is";
            return render_state(painter, inside, &self.list, model, empty);
        };
        let none = painter.glyphs().none;
        let now = model.daemon_time().unwrap_or_default();
        self.receivers
            .render(painter, inside, RECEIVERS, &RECEIVER_COLUMNS, None, |row| {
                receiver_cells(&list.receivers[row], now, none)
            });
    }
}

fn role(severity: &str) -> Role {
    match severity {
        "bad" => Role::Bad,
        "warn" => Role::Warn,
        "good" => Role::Ok,
        _ => Role::Text,
    }
}

fn cells(alert: &AlertState, now: Millis, model: &Model, glyphs: &Glyphs) -> Vec<Cell> {
    let count = |state: &str| alert.sends.iter().filter(|it| it.state == state).count();
    let (waiting, parked) = (count("waiting"), count("parked"));
    // Nobody has to look at it any more.
    let plain = if alert.seen.is_some() {
        Role::Muted
    } else {
        Role::Text
    };
    let told = match (waiting, parked, alert.sends.len()) {
        (_, _, 0) => (glyphs.none.to_owned(), Role::Muted),
        (0, 0, all) => (format!("{} {all} told", glyphs.up), Role::Ok),
        (0, parked, _) => (format!("{} {parked} given up", glyphs.gone), Role::Bad),
        (waiting, _, _) => (format!("{} {waiting} waiting", glyphs.half), Role::Warn),
    };
    vec![
        (number::day(alert.at, now, &model.zone), Role::Muted),
        (alert.kind.clone(), role(&alert.severity)),
        (alert.subject.clone(), plain),
        (alert.text.clone(), plain),
        told,
    ]
}

fn receiver_cells(receiver: &AlertReceiver, now: Millis, none: &str) -> Vec<Cell> {
    let none = || (none.to_owned(), Role::Muted);
    let ago = |at: Millis| format!("{} ago", number::age(now.saturating_sub(at)));
    let count = |count: u64, role: Role| match count {
        0 => none(),
        count => (number::count(count), role),
    };
    vec![
        (receiver.name.clone(), Role::Text),
        (receiver.format.clone(), Role::Text),
        receiver.sent.map_or_else(none, |at| (ago(at), Role::Ok)),
        count(receiver.waiting, Role::Warn),
        count(receiver.parked, Role::Bad),
        match receiver.events.is_empty() {
            true => ("everything".to_owned(), Role::Muted),
            false => (receiver.events.join(" "), Role::Text),
        },
        receiver.failed.map_or_else(none, |at| {
            (format!("{}: {}", ago(at), receiver.error), Role::Bad)
        }),
    ]
}

/// Facts under labels, wrapped.
#[derive(Default)]
struct Facts(Vec<Vec<Span>>);

impl Facts {
    fn add(&mut self, label: &str, value: &str, role: Role) {
        let mut label = label.to_owned();
        for line in text::wrap(value, usize::from(WIDTH) - 4 - LABEL) {
            let heading = text::fit(&std::mem::take(&mut label), LABEL - 1, "");
            let heading = format!("{heading:LABEL$}");
            self.0
                .push(vec![Span::new(heading, Role::Muted), Span::new(line, role)]);
        }
    }
}

/// Who is told, to read.
fn receiver_detail(receiver: &AlertReceiver, model: &Model) -> Reader {
    let mut facts = Facts::default();
    let moment = |at: Option<Millis>| match at {
        Some(at) => number::moment(at, &model.zone),
        None => "never".to_owned(),
    };
    let events = match receiver.events.is_empty() {
        true => "everything".to_owned(),
        false => receiver.events.join(" "),
    };
    facts.add("format", &receiver.format, Role::Text);
    facts.add("of", &events, Role::Text);
    facts.add("last told", &moment(receiver.sent), Role::Text);
    facts.add("waiting", &receiver.waiting.to_string(), Role::Text);
    facts.add("given up", &receiver.parked.to_string(), Role::Text);
    if let Some(at) = receiver.failed {
        facts.add("failed", &moment(Some(at)), Role::Bad);
        facts.add("", &receiver.error, Role::Bad);
    }
    Reader::new(format!("Told  {}", receiver.name), WIDTH, facts.0)
}

/// An alert, to read.
fn detail(alert: &AlertState, model: &Model) -> Reader {
    let mut facts = Facts::default();
    facts.add("what", &alert.text, role(&alert.severity));
    facts.add("about", &alert.subject, Role::Text);
    facts.add("at", &number::moment(alert.at, &model.zone), Role::Text);
    let seen = alert.seen.map(|at| number::moment(at, &model.zone));
    facts.add("seen", seen.as_deref().unwrap_or("not yet"), Role::Text);
    facts.add("number", &alert.id, Role::Muted);
    for send in &alert.sends {
        let mut words = match send.state.as_str() {
            "sent" => format!("told at {}", number::clock(send.tried, &model.zone)),
            "waiting" => format!("again at {}", number::clock(send.next, &model.zone)),
            _ => "given up".to_owned(),
        };
        words.push_str(&match send.attempts {
            1 => ", tried once".to_owned(),
            attempts => format!(", tried {attempts} times"),
        });
        let role = match send.state.as_str() {
            "sent" => Role::Ok,
            "waiting" => Role::Warn,
            _ => Role::Bad,
        };
        facts.add(&send.receiver, &words, role);
        if !send.error.is_empty() {
            facts.add("", &send.error, Role::Bad);
        }
    }
    Reader::new(format!("Alert  {}", alert.kind), WIDTH, facts.0)
}

impl View for AlertsScreen {
    fn context(&self) -> Context {
        Context::Alerts
    }

    fn input(&mut self, input: &Input, model: &Model) -> Vec<Effect> {
        self.arrange();
        let effects = match input {
            Input::Tick if model.now.saturating_sub(self.asked) < FRESH => Vec::new(),
            Input::Shown | Input::Tick => {
                self.asked = model.now;
                vec![Effect::Call(Call::Alerts)]
            }
            Input::Action(action) => self.act(*action, model),
            Input::Filter(filter) => {
                self.filter.clone_from(filter);
                Vec::new()
            }
            Input::Confirmed => match self.pending.take() {
                Some(test) => vec![Effect::Call(Call::TestAlert(test))],
                None => Vec::new(),
            },
            Input::Answer(Ok(Answer::Alerts(list))) => {
                self.list.set(list.clone());
                Vec::new()
            }
            Input::Answer(Ok(Answer::Done(done))) => {
                let text = match done.text.as_str() {
                    "" => "it is on its way",
                    text => text,
                };
                vec![Notice::good(text), Effect::Call(Call::Alerts)]
            }
            Input::Answer(Err(failure)) => {
                let why = failure.to_string();
                self.list.fail(&why, model.now);
                vec![Notice::bad(why)]
            }
            Input::Click(Target::Pane(pane)) => {
                self.is_in_receivers = *pane == RECEIVERS;
                Vec::new()
            }
            Input::Click(Target::Row {
                pane: RECEIVERS, ..
            }) => {
                self.receivers.input(input, RECEIVERS);
                self.is_in_receivers = true;
                Vec::new()
            }
            input => {
                if self.alerts.input(input, ALERTS) {
                    self.is_in_receivers = false;
                }
                Vec::new()
            }
        };
        self.arrange();
        effects
    }

    fn render(&mut self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        self.arrange();
        let count = self
            .list
            .value
            .as_ref()
            .map_or(0, |list| list.receivers.len());
        let below = (count as u16 + 3).clamp(4, (area.height / 3).max(4));
        let above = Rect::new(
            area.x,
            area.y,
            area.width,
            area.height.saturating_sub(below),
        );
        let under = Rect::new(area.x, above.bottom(), area.width, below);
        self.render_alerts(painter, above, model);
        self.render_receivers(painter, under, model);
    }

    fn filter(&self) -> &str {
        &self.filter
    }

    fn remark(&self, _model: &Model) -> Option<String> {
        let alert = self.alert()?;
        let failed = alert.sends.iter().find(|send| !send.error.is_empty())?;
        Some(format!("{}: {}", failed.receiver, failed.error))
    }
}
