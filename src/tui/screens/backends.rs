//! Backends: the peers of all upstreams and the providers of language models, the worst first, and what can
//! be done with a peer by hand.

use std::cmp::Ordering;

use ratatui::layout::Rect;

use super::super::edit;
use super::super::glyphs::Glyphs;
use super::super::keymap::{Action, Context};
use super::super::model::Model;
use super::super::number;
use super::super::paint::{Painter, Span};
use super::super::text;
use super::super::theme::Role;
use super::super::view::{Answer, Ask, Call, Effect, Input, Notice, Prompt, Target, View};
use super::super::widgets::sparkline;
use super::super::widgets::table::{Cell, Column, Table, matches};
use super::{WIDE, providers, render_state, short_path};
use crate::protocol::{
    Circuit, Peer, PeerAction, PeerChange, PeerState, PeerTraffic, ProviderNow, Upstream,
};

const COLUMNS: [Column; 8] = [
    Column::text("UPSTREAM", 9, 1, 0),
    Column::text("PEER", 17, 2, 0),
    Column::text("STATE", 16, 0, 0),
    Column::number("W", 3, 4),
    Column::number("CONN", 5, 3),
    Column::number("REQ/S", 5, 1),
    Column::number("P99", 7, 2),
    Column::number("FAIL", 4, 5),
];

const TABLE: u8 = 0;
const DETAIL: u8 = 1;

/// The largest weight that the daemon takes.
const HEAVIEST: u32 = 65_535;

/// The screen.
#[derive(Debug, Default)]
pub struct Backends {
    table: Table,
    filter: String,
    search: String,
    sort: Option<usize>,
    is_reversed: bool,
    is_open: bool,
    /// What is shown, in order.
    shown: Vec<Row>,
    /// What is selected, to find it again when the order changes.
    selected: Option<Chosen>,
    /// What was asked whether it should be done.
    pending: Option<PeerChange>,
    /// The answer that is awaited is to a check, which goes on when it has come.
    is_checking: bool,
}

/// A line of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Row {
    /// Positions of upstream and peer in the model's list.
    Peer(usize, usize),
    /// The position of a provider among those of the summary.
    Provider(usize),
}

/// What a row is about.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Chosen {
    /// The number of a peer.
    Peer(u32),
    /// The name of a provider.
    Provider(String),
}

/// What lines are put in order by.
struct Sorted<'m> {
    group: &'m str,
    peer: String,
    state: PeerState,
    weight: u32,
    active: u64,
    rate: f64,
    p99: u64,
    failed: u64,
}

/// An upstream in a line.
#[derive(Clone, PartialEq, Debug)]
pub struct Group<'m> {
    /// Its name.
    pub name: &'m str,
    /// How many peers get requests.
    pub up: usize,
    /// How many there are.
    pub all: usize,
    /// The worst state among them.
    pub worst: PeerState,
    /// Requests per second.
    pub rate: f64,
}

impl<'m> Group<'m> {
    /// An upstream as it is now.
    pub fn of(upstream: &'m Upstream, model: &Model) -> Self {
        let states = || upstream.peers.iter().map(|peer| numbers(peer, model));
        Self {
            name: &upstream.name,
            up: states().filter(|it| it.state == PeerState::Up).count(),
            all: upstream.peers.len(),
            worst: states().map(|it| it.state).min().unwrap_or_default(),
            rate: states().map(|it| it.traffic.rate).sum(),
        }
    }
}

/// How a state looks.
pub fn role(state: PeerState) -> Role {
    match state {
        PeerState::Up => Role::Ok,
        PeerState::Drain | PeerState::Checking => Role::Warn,
        PeerState::Failed | PeerState::Unhealthy | PeerState::Ejected | PeerState::Unresolved => {
            Role::Bad
        }
        PeerState::Down => Role::Muted,
    }
}

/// The newest numbers of a peer.
fn numbers<'m>(peer: &'m Peer, model: &'m Model) -> &'m PeerTraffic {
    model.live().peers.get(&peer.id).unwrap_or(&peer.traffic)
}

/// `failed 91 s`
fn state(numbers: &PeerTraffic, model: &Model) -> String {
    let word = match numbers.state {
        PeerState::Up => return "up".to_owned(),
        PeerState::Failed => "failed",
        PeerState::Unhealthy => "unhealthy",
        PeerState::Ejected => "left out",
        PeerState::Checking => "checking",
        PeerState::Down => "down",
        PeerState::Drain => "drain",
        PeerState::Unresolved => "no name",
    };
    match model.daemon_time() {
        Some(now) if numbers.since > 0 => {
            format!("{word} {}", number::age(now.saturating_sub(numbers.since)))
        }
        _ => word.to_owned(),
    }
}

fn cells(upstream: &Upstream, peer: &Peer, model: &Model, glyphs: &Glyphs) -> Vec<Cell> {
    let now = numbers(peer, model);
    let quiet = if now.traffic.rate > 0.0 {
        Role::Text
    } else {
        Role::Muted
    };
    let all: u64 = now.traffic.statuses.iter().sum();
    let p99 = match all {
        0 => glyphs.none.to_owned(),
        _ => number::duration(now.traffic.p99),
    };
    let failed = if now.failed > 0 { Role::Warn } else { quiet };
    vec![
        (upstream.name.clone(), Role::Text),
        (peer_name(peer), Role::Text),
        (
            format!("{} {}", glyphs.peer(now.state), state(now, model)),
            role(now.state),
        ),
        (peer.weight.to_string(), Role::Text),
        (number::count(now.active), quiet),
        (number::rate(now.traffic.rate), quiet),
        (p99, quiet),
        (number::count(now.failed), failed),
    ]
}

/// What checks and circuits say of a peer and its group.
fn health_facts(
    upstream: &Upstream,
    now: &PeerTraffic,
    model: &Model,
) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if !upstream.check.is_empty() {
        facts.push(("check", upstream.check.clone()));
    }
    if let Some(health) = &now.health {
        let since = match model.daemon_time() {
            Some(now) if health.since > 0 => {
                format!(" {}", number::age(now.saturating_sub(health.since)))
            }
            _ => String::new(),
        };
        let failures = match health.failures {
            0 => String::new(),
            failures => format!(", {} failed", number::count(failures)),
        };
        let checks = match health.checks {
            1 => "1 check".to_owned(),
            checks => format!("{} checks", number::count(checks)),
        };
        let text = format!("{}{since}, {checks}{failures}", health.condition);
        facts.push(("health", text));
        if !health.found.is_empty() {
            facts.push(("found", health.found.clone()));
        }
    }
    if let Some(circuit) = &now.circuit {
        facts.push(("circuit", circuit_words(circuit)));
    }
    let summary = model.live().summary.as_deref();
    let live = summary.and_then(|it| it.groups.iter().find(|group| group.name == upstream.name));
    if let Some(group) = live.or(upstream.group.as_ref()) {
        if let Some(breaker) = &group.breaker {
            facts.push(("breaker", circuit_words(breaker)));
        }
        if group.room > 0 {
            let text = format!(
                "{} wait, room for {}, {} turned away",
                group.waiting,
                group.room,
                number::count(group.refused)
            );
            facts.push(("queue", text));
        }
    }
    facts
}

/// `open for 4 s more, opened 2 times`
fn circuit_words(circuit: &Circuit) -> String {
    let mut text = circuit.phase.clone();
    if circuit.left_ms > 0 {
        text.push_str(&format!(" for {} more", number::age(circuit.left_ms)));
    }
    if circuit.requests > 0 {
        let (failures, requests) = (circuit.failures, circuit.requests);
        text.push_str(&format!(", {failures} of {requests} failed"));
    }
    match circuit.opened {
        0 => {}
        1 => text.push_str(", opened once"),
        opened => text.push_str(&format!(", opened {} times", number::count(opened))),
    }
    text
}

/// The address, and the name where it says more.
fn peer_name(peer: &Peer) -> String {
    if peer.address.is_empty() {
        peer.name.clone()
    } else {
        peer.address.clone()
    }
}

impl Backends {
    fn arrange(&mut self, model: &Model) {
        self.shown.clear();
        let Some(list) = &model.upstreams.value else {
            return self.table.set_rows(0);
        };
        for (group, upstream) in list.upstreams.iter().enumerate() {
            let peers = 0..upstream.peers.len();
            self.shown.extend(peers.map(|at| Row::Peer(group, at)));
        }
        let providers = 0..providers::all(model).len();
        self.shown.extend(providers.map(Row::Provider));
        if !self.filter.is_empty() {
            self.shown.retain(|row| is_match(*row, &self.filter, model));
        }
        let sort = self.sort;
        self.shown.sort_by(|&left, &right| {
            let (Some(left), Some(right)) = (sorted(left, model), sorted(right, model)) else {
                return Ordering::Equal;
            };
            match sort {
                None | Some(2) => left.state.cmp(&right.state),
                Some(0) => left.group.cmp(right.group),
                Some(1) => left.peer.cmp(&right.peer),
                Some(3) => right.weight.cmp(&left.weight),
                Some(4) => right.active.cmp(&left.active),
                Some(5) => right.rate.total_cmp(&left.rate),
                Some(6) => right.p99.cmp(&left.p99),
                Some(_) => right.failed.cmp(&left.failed),
            }
        });
        if self.is_reversed {
            self.shown.reverse();
        }
        self.table.set_rows(self.shown.len());
        let same = self.selected.as_ref().and_then(|chosen| {
            let mut rows = self.shown.iter();
            rows.position(|&row| chosen_of(row, model).as_ref() == Some(chosen))
        });
        if let Some(row) = same {
            self.table.selected = row;
        }
        self.selected = self.chosen(model);
    }

    fn chosen(&self, model: &Model) -> Option<Chosen> {
        chosen_of(*self.shown.get(self.table.selected)?, model)
    }

    /// The peer that is selected.
    fn peer<'m>(&self, model: &'m Model) -> Option<(&'m Upstream, &'m Peer)> {
        peer_of(*self.shown.get(self.table.selected)?, model)
    }

    /// The provider that is selected.
    fn provider<'m>(&self, model: &'m Model) -> Option<&'m ProviderNow> {
        provider_of(*self.shown.get(self.table.selected)?, model)
    }

    /// Why nothing can be done with what is selected.
    fn no_peer(&self, model: &Model) -> Effect {
        Notice::plain(match self.provider(model) {
            Some(_) => "this is for peers: a provider is changed in the configuration",
            None => "no peer is selected",
        })
    }

    fn find(&mut self, model: &Model, is_backwards: bool) -> Vec<Effect> {
        if self.search.is_empty() {
            return vec![Notice::plain("nothing was searched for yet (/ does)")];
        }
        let is_meant = |row: usize| is_match(self.shown[row], &self.search, model);
        match self.table.next(is_backwards, is_meant) {
            Some(row) => {
                self.table.selected = row;
                Vec::new()
            }
            None => vec![Notice::plain(format!("nothing has {} in it", self.search))],
        }
    }

    /// Asks whether this should be done, with what it touches in numbers.
    fn ask(&mut self, action: PeerAction, weight: Option<u32>, model: &Model) -> Vec<Effect> {
        let Some((upstream, peer)) = self.peer(model) else {
            return vec![self.no_peer(model)];
        };
        let now = numbers(peer, model);
        let group = Group::of(upstream, model);
        let share = if group.rate > 0.0 {
            number::percent(now.traffic.rate / group.rate)
        } else {
            "0.0%".to_owned()
        };
        let mut lines = vec![
            format!("{}  {}", upstream.name, peer_name(peer)),
            format!(
                "gets {} req/s now, {share} of {}; {} under way",
                number::rate(now.traffic.rate),
                upstream.name,
                number::count(now.active)
            ),
            String::new(),
        ];
        let others = group.up - usize::from(now.state == PeerState::Up);
        let (title, button) = match action {
            PeerAction::Drain => {
                lines.push("It finishes what it has and gets nothing new.".to_owned());
                lines.push(match others {
                    0 => format!(
                        "No other peer of {} is up: requests get 502.",
                        upstream.name
                    ),
                    1 => "1 other peer takes its requests.".to_owned(),
                    others => format!("{others} other peers take its requests."),
                });
                ("Drain peer?".to_owned(), "Drain")
            }
            PeerAction::Up => {
                lines.push(format!(
                    "It was {} and gets requests again.",
                    state(now, model)
                ));
                ("Put peer in?".to_owned(), "Up")
            }
            PeerAction::Weight => {
                let all: u32 = upstream.peers.iter().map(|peer| peer.weight).sum();
                let new = weight.unwrap_or(peer.weight);
                let part = |weight: u32, all: u32| match all {
                    0 => "0.0%".to_owned(),
                    all => number::percent(f64::from(weight) / f64::from(all)),
                };
                let others = all.saturating_sub(peer.weight);
                lines.push(format!(
                    "Its weight becomes {new} (is {}): {} of all weights (is {}).",
                    peer.weight,
                    part(new, others.saturating_add(new)),
                    part(peer.weight, all)
                ));
                ("Change weight?".to_owned(), "Change")
            }
            PeerAction::Down | PeerAction::Reset | PeerAction::Check => {
                lines.push("State and weight become those of the configuration.".to_owned());
                ("Reset peer?".to_owned(), "Reset")
            }
        };
        lines.push(String::new());
        lines.push(if action == PeerAction::Reset {
            "What was set by hand is forgotten.".to_owned()
        } else {
            "The file stays as it is; `x` or a restart takes it back.".to_owned()
        });
        self.pending = Some(PeerChange {
            upstream: upstream.name.clone(),
            address: peer.address.clone(),
            action,
            weight,
        });
        vec![Effect::Ask(Ask {
            title,
            lines,
            button: button.to_owned(),
        })]
    }

    fn act(&mut self, action: Action, model: &Model) -> Vec<Effect> {
        match action {
            Action::Open => self.is_open = self.chosen(model).is_some(),
            Action::NextPane | Action::PreviousPane => {
                self.is_open = !self.is_open && self.chosen(model).is_some();
            }
            Action::Close if self.is_open => self.is_open = false,
            Action::Close => self.filter.clear(),
            Action::Sort => {
                self.sort = match self.sort {
                    None => Some(0),
                    Some(column) => Some(column + 1).filter(|&next| next < COLUMNS.len()),
                };
                self.is_reversed = false;
            }
            Action::ReverseSort => self.is_reversed = !self.is_reversed,
            Action::NextMatch => return self.find(model, false),
            Action::PreviousMatch => return self.find(model, true),
            Action::Copy => {
                let peer = self.peer(model).map(|(_, peer)| peer_name(peer));
                let name = peer.or_else(|| Some(self.provider(model)?.name.clone()));
                return name.map(Effect::Copy).into_iter().collect();
            }
            Action::Edit => {
                return match self.peer(model) {
                    Some((upstream, _)) => edit::on_upstream(upstream),
                    None => vec![self.no_peer(model)],
                };
            }
            Action::Drain => return self.ask(PeerAction::Drain, None, model),
            Action::PeerUp => return self.ask(PeerAction::Up, None, model),
            Action::ResetPeer => return self.ask(PeerAction::Reset, None, model),
            Action::CheckPeer => {
                let Some((upstream, peer)) = self.peer(model) else {
                    return vec![self.no_peer(model)];
                };
                self.is_checking = true;
                return vec![Effect::Call(Call::Peers(PeerChange {
                    upstream: upstream.name.clone(),
                    address: peer.address.clone(),
                    action: PeerAction::Check,
                    weight: None,
                }))];
            }
            Action::Weight => {
                let Some((upstream, peer)) = self.peer(model) else {
                    return vec![self.no_peer(model)];
                };
                return vec![Effect::Prompt(Prompt {
                    title: "Weight".to_owned(),
                    label: format!(
                        "{} {}: a weight from 1 to {HEAVIEST}",
                        upstream.name,
                        peer_name(peer)
                    ),
                    text: peer.weight.to_string(),
                    history: Vec::new(),
                })];
            }
            action => {
                self.table.act(action);
            }
        }
        Vec::new()
    }

    fn render_table(&mut self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        let sort = match self.sort {
            None => "worst first".to_owned(),
            Some(column) => COLUMNS[column].title.to_lowercase(),
        };
        let reversed = if self.is_reversed { " reversed" } else { "" };
        let remark = format!("sort: {sort}{reversed}");
        let inside = painter.frame(area, "Backends", &remark, !self.is_open);
        if self.shown.is_empty() {
            let empty = match all(model) {
                0 => "no upstreams: nothing is passed on".to_owned(),
                all => format!("0 of {all} match \"{}\" (Esc clears)", self.filter),
            };
            return render_state(painter, inside, &model.upstreams, model, &empty);
        }
        let glyphs = *painter.glyphs();
        let shown = &self.shown;
        self.table
            .render(painter, inside, TABLE, &COLUMNS, self.sort, |row| {
                let provider = provider_of(shown[row], model);
                let provider = provider.map(|it| providers::cells(it, &glyphs));
                let peer = || {
                    let (upstream, peer) = peer_of(shown[row], model)?;
                    Some(cells(upstream, peer, model, &glyphs))
                };
                provider.or_else(peer).unwrap_or_default()
            });
    }

    fn render_detail(&self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        if let Some(provider) = self.provider(model) {
            painter.hit(area, Target::Pane(DETAIL));
            return providers::render(painter, area, provider, self.is_open);
        }
        let Some((upstream, peer)) = self.peer(model) else {
            painter.frame(area, "", "", false);
            return;
        };
        let share_height = (upstream.peers.len() as u16 + 2)
            .min(area.height / 2)
            .max(3)
            .min(area.height);
        let above = Rect::new(area.x, area.y, area.width, area.height - share_height);
        let below = Rect::new(area.x, above.bottom(), area.width, share_height);
        let now = numbers(peer, model);
        let title = format!("{} {}", upstream.name, peer_name(peer));
        let inside = painter.frame(above, &title, &state(now, model), self.is_open);
        painter.hit(above, Target::Pane(DETAIL));
        let none = painter.glyphs().none;
        let requests: u64 = now.traffic.statuses.iter().sum();
        let time = |value| match requests {
            0 => none.to_owned(),
            _ => number::duration(value),
        };
        let limit = match peer.max_connections {
            0 => "no limit".to_owned(),
            limit => format!("{limit} max"),
        };
        let mut weight = peer.weight.to_string();
        if peer.is_backup {
            weight.push_str("   backup");
        }
        if peer.is_overridden {
            weight.push_str("   set by hand");
        }
        let fails = match peer.max_fails {
            0 => "not counted".to_owned(),
            fails => format!(
                "{fails} in {} take it out as long",
                number::duration(peer.fail_timeout_ms.saturating_mul(1000))
            ),
        };
        let place = match peer.file.as_str() {
            "" => "written as an address in proxy_pass".to_owned(),
            file => format!("{}:{}", short_path(model, file), peer.line),
        };
        let facts = [
            ("name", peer.name.clone()),
            ("weight", weight),
            ("method", upstream.method.clone()),
            ("active", format!("{}, {limit}", now.active)),
            (
                "kept",
                format!("{} idle, {} per worker", now.idle, upstream.keepalive),
            ),
            ("fails", fails),
            (
                "served",
                format!(
                    "{}, {} failed",
                    number::count(now.total),
                    number::count(now.failed)
                ),
            ),
            (
                "latency",
                format!(
                    "p50 {}  p99 {}",
                    time(now.traffic.p50),
                    time(now.traffic.p99)
                ),
            ),
        ];
        let mut facts = Vec::from(facts);
        if now.traffic.statuses[4] > 0 {
            let share = number::share(now.traffic.statuses[4], requests, none);
            facts.push(("answers", format!("{share} are 5xx, in 10 s")));
        }
        facts.extend(health_facts(upstream, now, model));
        facts.push(("place", place));
        let mut y = inside.y;
        for (name, value) in &facts {
            if y < inside.bottom() {
                painter.put(inside.x, y, 8, name, Role::Muted);
                let columns = inside.width.saturating_sub(9);
                painter.put(inside.x + 9, y, columns, value, Role::Text);
                y += 1;
            }
        }
        y += 1;
        let changes = now.health.iter().flat_map(|health| &health.changes);
        let rows = usize::from(inside.bottom().saturating_sub(y)) / 2;
        for change in changes.take(rows) {
            let bad = matches!(change.condition.as_str(), "unhealthy");
            let role = if bad { Role::Bad } else { Role::Ok };
            let spans = [
                Span::new(
                    format!("{} ", number::clock(change.at, &model.zone)),
                    Role::Muted,
                ),
                Span::new(format!("{} ", change.condition), role),
                Span::plain(&change.found),
            ];
            painter.put_spans(inside.x, y, inside.width, &spans);
            y += 1;
        }
        let events = model.live().events.iter();
        let about = events.filter(|it| it.kind == "peer" && it.subject.contains(&peer.address));
        for (occurrence, y) in about.zip(y..inside.bottom()) {
            let spans = [
                Span::new(
                    format!("{} ", number::clock(occurrence.at, &model.zone)),
                    Role::Muted,
                ),
                Span::plain(&occurrence.text),
            ];
            painter.put_spans(inside.x, y, inside.width, &spans);
        }
        self.render_shares(painter, below, upstream, model);
    }

    fn render_shares(
        &self,
        painter: &mut Painter<'_>,
        area: Rect,
        upstream: &Upstream,
        model: &Model,
    ) {
        let inside = painter.frame(area, &format!("Share of {}", upstream.name), "now", false);
        let group = Group::of(upstream, model);
        let names = upstream
            .peers
            .iter()
            .map(|peer| text::width(&peer_name(peer)));
        let width = names.max().unwrap_or(0).min(usize::from(inside.width) / 2) as u16;
        for (peer, y) in upstream.peers.iter().zip(inside.y..inside.bottom()) {
            painter.put(inside.x, y, width, &peer_name(peer), Role::Text);
            let rate = numbers(peer, model).traffic.rate;
            let share = if group.rate > 0.0 {
                rate / group.rate
            } else {
                0.0
            };
            let start = inside.x + width + 1;
            let columns = inside.right().saturating_sub(start + 7);
            let bar = Rect::new(start, y, columns, 1);
            sparkline::render_bar(painter, bar, share, Role::Accent, false);
            let label = if group.rate > 0.0 {
                number::percent(share)
            } else {
                painter.glyphs().none.to_owned()
            };
            painter.put_right(inside.right().saturating_sub(6), y, 6, &label, Role::Text);
        }
    }
}

impl View for Backends {
    fn context(&self) -> Context {
        Context::Backends
    }

    fn input(&mut self, input: &Input, model: &Model) -> Vec<Effect> {
        self.arrange(model);
        let effects = match input {
            Input::Action(action) => self.act(*action, model),
            Input::Filter(filter) => {
                self.filter.clone_from(filter);
                if !filter.is_empty() {
                    self.search.clone_from(filter);
                }
                Vec::new()
            }
            Input::Click(Target::Header {
                pane: TABLE,
                column,
            }) => {
                let column = usize::from(*column);
                self.is_reversed = self.sort == Some(column) && !self.is_reversed;
                self.sort = Some(column);
                Vec::new()
            }
            Input::Click(Target::Pane(DETAIL)) => {
                self.is_open = true;
                Vec::new()
            }
            Input::Entered(text) => match text.parse() {
                Ok(weight) if (1..=HEAVIEST).contains(&weight) => {
                    self.ask(PeerAction::Weight, Some(weight), model)
                }
                _ => vec![Notice::bad(format!(
                    "a weight is a number from 1 to {HEAVIEST}, not `{text}`"
                ))],
            },
            Input::Confirmed => match self.pending.take() {
                Some(change) => vec![Effect::Call(Call::Peers(change))],
                None => Vec::new(),
            },
            Input::Answer(Ok(Answer::Upstreams(_))) => {
                let words = match std::mem::take(&mut self.is_checking) {
                    true => "it is checked now, its state tells what comes of it",
                    false => "done",
                };
                vec![Notice::good(words)]
            }
            Input::Answer(Err(failure)) => {
                self.is_checking = false;
                vec![Notice::bad(failure.to_string())]
            }
            input => {
                if self.table.input(input, TABLE) {
                    self.is_open = false;
                }
                Vec::new()
            }
        };
        self.selected = self.chosen(model);
        self.arrange(model);
        effects
    }

    fn render(&mut self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        self.arrange(model);
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

    fn remark(&self, model: &Model) -> Option<String> {
        model.upstreams.value.as_ref()?;
        let all = all(model);
        let mut remark = match self.filter.as_str() {
            "" => format!("{all} backends"),
            filter => format!("{} of {all} match \"{filter}\"", self.shown.len()),
        };
        if let Some(provider) = self.provider(model) {
            let (name, state) = (&provider.name, providers::state_words(provider));
            remark.push_str(&format!("   {name} {state}"));
            return Some(remark);
        }
        let (upstream, peer) = self.peer(model)?;
        let now = numbers(peer, model);
        let place = format!("{} {}", upstream.name, peer_name(peer));
        remark.push_str(&format!("   {place} {}", state(now, model)));
        if peer.is_overridden {
            remark.push_str(", set by hand (x resets)");
        }
        Some(remark)
    }

    fn filter(&self) -> &str {
        &self.filter
    }
}

fn peer_of(row: Row, model: &Model) -> Option<(&Upstream, &Peer)> {
    let Row::Peer(group, position) = row else {
        return None;
    };
    let list = model.upstreams.value.as_deref()?;
    let upstream = list.upstreams.get(group)?;
    Some((upstream, upstream.peers.get(position)?))
}

fn provider_of(row: Row, model: &Model) -> Option<&ProviderNow> {
    match row {
        Row::Peer(..) => None,
        Row::Provider(position) => providers::all(model).get(position),
    }
}

fn chosen_of(row: Row, model: &Model) -> Option<Chosen> {
    let peer = peer_of(row, model).map(|(_, peer)| Chosen::Peer(peer.id));
    peer.or_else(|| Some(Chosen::Provider(provider_of(row, model)?.name.clone())))
}

fn sorted(row: Row, model: &Model) -> Option<Sorted<'_>> {
    if let Some(provider) = provider_of(row, model) {
        return Some(Sorted {
            group: &provider.name,
            peer: providers::host(provider).to_owned(),
            state: providers::state(provider),
            weight: 0,
            active: provider.under_way.into(),
            rate: 0.0,
            p99: provider.first_token,
            failed: provider.failed,
        });
    }
    let (upstream, peer) = peer_of(row, model)?;
    let now = numbers(peer, model);
    Some(Sorted {
        group: &upstream.name,
        peer: peer_name(peer),
        state: now.state,
        weight: peer.weight,
        active: now.active,
        rate: now.traffic.rate,
        p99: now.traffic.p99,
        failed: now.failed,
    })
}

fn is_match(row: Row, wanted: &str, model: &Model) -> bool {
    if let Some(provider) = provider_of(row, model) {
        let host = providers::host(provider);
        let state = providers::state_words(provider);
        let kind = &provider.kind;
        return matches(wanted, &[&provider.name, host, &state, kind, "llm"]);
    }
    peer_of(row, model).is_some_and(|(upstream, peer)| {
        let state = state(numbers(peer, model), model);
        matches(wanted, &[&upstream.name, &peer.address, &peer.name, &state])
    })
}

/// How many peers and providers there are.
fn all(model: &Model) -> usize {
    let list = model.upstreams.value.as_deref();
    let peers: usize = list.map_or(0, |list| {
        list.upstreams.iter().map(|it| it.peers.len()).sum()
    });
    peers + providers::all(model).len()
}
