//! The overview: rates, latency, statuses, backends, routes by traffic, what happened.

use ratatui::layout::Rect;

use super::super::glyphs::Glyphs;
use super::super::keymap::{Action, Context};
use super::super::model::{Live, Model};
use super::super::number;
use super::super::paint::{Painter, Span};
use super::super::text;
use super::super::theme::Role;
use super::super::view::{Effect, Input, Notice, Screen, Target, View};
use super::super::widgets::sparkline;
use super::super::widgets::table::{Table, render_empty};
use super::{WIDE, backends, error_role, providers, render_state, routes, short_path};
use crate::protocol::{CertificateStates, Level, LlmNow, Micros, Occurrence, Point};

/// A pane, by the order in which the focus goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Pane {
    #[default]
    Routes,
    Events,
    Requests,
    Latency,
    Status,
    Backends,
    Process,
    Llm,
}

const PANES: [Pane; 8] = [
    Pane::Routes,
    Pane::Events,
    Pane::Requests,
    Pane::Latency,
    Pane::Status,
    Pane::Backends,
    Pane::Process,
    Pane::Llm,
];

/// The screen.
#[derive(Debug, Default)]
pub struct Overview {
    focus: Pane,
    routes: Table,
    events: Table,
    filter: String,
    search: String,
    /// Sorted by requests, unless a column of [`routes::COLUMNS`] is chosen.
    sort: Option<usize>,
    is_reversed: bool,
    /// Positions in the model's list, as they are shown.
    shown: Vec<usize>,
    /// The panes that were drawn last.
    panes: Vec<Pane>,
}

impl Overview {
    fn arrange(&mut self, model: &Model) {
        self.events.set_rows(model.live().events.len());
        self.shown.clear();
        let Some(list) = &model.routes.value else {
            return self.routes.set_rows(0);
        };
        let traffic = &model.live().routes;
        let filter = &self.filter;
        self.shown
            .extend((0..list.routes.len()).filter(|&position| {
                filter.is_empty() || routes::is_match(&list.routes[position], filter)
            }));
        let column = self.sort.unwrap_or(routes::REQUESTS);
        self.shown.sort_by(|&left, &right| {
            routes::compare(column, &list.routes[left], &list.routes[right], traffic)
        });
        if self.is_reversed {
            self.shown.reverse();
        }
        self.routes.set_rows(self.shown.len());
    }

    fn open(&self, model: &Model) -> Vec<Effect> {
        let (screen, id) = match self.focus {
            Pane::Routes => {
                let position = self.shown.get(self.routes.selected);
                let list = model.routes.value.as_deref();
                let id = position.and_then(|&position| list.map(|it| it.routes[position].id));
                (Screen::Routes, id)
            }
            Pane::Backends => (Screen::Backends, None),
            Pane::Llm => (Screen::Llm, None),
            Pane::Requests | Pane::Latency | Pane::Status => (Screen::Logs, None),
            Pane::Events | Pane::Process => (Screen::Config, None),
        };
        vec![Effect::Go(screen, id)]
    }

    fn step_focus(&mut self, is_backwards: bool) {
        let shown: Vec<Pane> = PANES
            .into_iter()
            .filter(|pane| self.panes.contains(pane))
            .collect();
        let at = shown.iter().position(|&pane| pane == self.focus);
        let step = if is_backwards {
            shown.len().saturating_sub(1)
        } else {
            1
        };
        if !shown.is_empty() {
            self.focus = shown[(at.unwrap_or(0) + step) % shown.len()];
        }
    }

    fn find(&mut self, model: &Model, is_backwards: bool) -> Vec<Effect> {
        if self.search.is_empty() {
            return vec![Notice::plain("nothing was searched for yet (/ does)")];
        }
        let Some(list) = &model.routes.value else {
            return Vec::new();
        };
        let is_match = |row: usize| routes::is_match(&list.routes[self.shown[row]], &self.search);
        match self.routes.next(is_backwards, is_match) {
            Some(row) => {
                self.routes.selected = row;
                Vec::new()
            }
            None => vec![Notice::plain(format!("nothing has {} in it", self.search))],
        }
    }

    fn act(&mut self, action: Action, model: &Model) -> Vec<Effect> {
        match action {
            Action::Open => return self.open(model),
            Action::NextPane => self.step_focus(false),
            Action::PreviousPane => self.step_focus(true),
            Action::Close => {
                self.filter.clear();
                self.focus = Pane::Routes;
            }
            Action::Sort => {
                self.sort = match self.sort {
                    None => Some(0),
                    Some(column) => Some(column + 1).filter(|&next| next < routes::COLUMNS.len()),
                };
                self.is_reversed = false;
            }
            Action::ReverseSort => self.is_reversed = !self.is_reversed,
            Action::NextMatch => return self.find(model, false),
            Action::PreviousMatch => return self.find(model, true),
            Action::Copy => return self.copy(model),
            action if self.focus == Pane::Events => {
                self.events.act(action);
            }
            action => {
                self.routes.act(action);
            }
        }
        Vec::new()
    }

    fn copy(&self, model: &Model) -> Vec<Effect> {
        let text = match self.focus {
            Pane::Events => {
                let occurrence = model.live().events.get(self.events.selected);
                occurrence.map(|it| format!("{} {}", it.subject, it.text))
            }
            _ => {
                let position = self.shown.get(self.routes.selected);
                let list = model.routes.value.as_deref();
                position.zip(list).map(|(&position, list)| {
                    let route = &list.routes[position];
                    format!("{} {}", routes::server_name(route), route.location)
                })
            }
        };
        text.into_iter().map(Effect::Copy).collect()
    }

    fn pane(
        &mut self,
        painter: &mut Painter<'_>,
        area: Rect,
        pane: Pane,
        title: &str,
        remark: &str,
    ) -> Rect {
        self.panes.push(pane);
        let inside = painter.frame(area, title, remark, self.focus == pane);
        painter.hit(area, Target::Pane(pane as u8));
        inside
    }

    fn requests(&mut self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        let window = model.window.name();
        let inside = self.pane(painter, area, Pane::Requests, "Requests/s", window);
        let Some(summary) = model.live().summary.as_deref() else {
            return loading(painter, inside);
        };
        let facts = [
            format!("{} now", number::rate(summary.traffic.rate)),
            format!("peak {}", number::rate(summary.peak)),
            format!("total {}", number::count(summary.total)),
        ];
        put_facts(painter, inside, inside.y, facts, Role::Text);
        let last = [
            format!("in {}/s", number::size(summary.traffic.received as u64)),
            format!("out {}/s", number::size(summary.traffic.sent as u64)),
        ];
        curve(painter, inside, model, last, Role::Accent, |point| {
            point.rate
        });
    }

    fn latency(&mut self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        let window = model.window.name();
        let inside = self.pane(painter, area, Pane::Latency, "Latency ms", window);
        let Some(summary) = model.live().summary.as_deref() else {
            return loading(painter, inside);
        };
        let none = painter.glyphs().none;
        let all: u64 = summary.traffic.statuses.iter().sum();
        let time = |value: Micros| match all {
            0 => none.to_owned(),
            _ => number::milliseconds(value),
        };
        let traffic = &summary.traffic;
        let facts = [
            format!("p50 {}", time(traffic.p50)),
            format!("p90 {}", time(traffic.p90)),
            format!("p99 {}", time(traffic.p99)),
            format!("max {}", time(traffic.max)),
        ];
        put_facts(painter, inside, inside.y, facts, Role::Text);
        let last = match all {
            0 => vec!["no requests in the last 10 s".to_owned()],
            _ => vec![
                format!("upstream {:.0}%", summary.upstream_share * 100.0),
                format!("self {} p99", number::duration(summary.own_p99)),
            ],
        };
        curve(painter, inside, model, last, Role::Warn, |point| {
            point.p99 as f64
        });
    }

    fn statuses(&mut self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        let inside = self.pane(painter, area, Pane::Status, "Status", "10 s");
        let Some(summary) = model.live().summary.as_deref() else {
            return loading(painter, inside);
        };
        let none = painter.glyphs().none;
        let traffic = &summary.traffic;
        let statuses = traffic.statuses;
        let all: u64 = statuses.iter().sum();
        let mut bars = vec![
            ("2xx", statuses[1], all, Role::Ok),
            ("3xx", statuses[2], all, Role::Accent),
            ("4xx", statuses[3], all, Role::Warn),
            ("5xx", statuses[4], all, Role::Bad),
        ];
        // Who has no cache has no bar for it.
        if traffic.looked_up > 0 {
            bars.push(("hit", traffic.cached, traffic.looked_up, Role::Accent));
        }
        let mut y = inside.y;
        for (name, count, all, role) in bars {
            if y >= inside.bottom() {
                return;
            }
            painter.put(inside.x, y, inside.width, name, Role::Text);
            let width = inside.width.saturating_sub(11);
            let share = match all {
                0 => 0.0,
                _ => count as f64 / all as f64,
            };
            let bar = Rect::new(inside.x + 4, y, width, 1);
            sparkline::render_bar(painter, bar, share, role, false);
            let share = number::share(count, all, none);
            let role = if role == Role::Bad {
                error_role(count, all)
            } else {
                Role::Text
            };
            painter.put_right(inside.right() - 6, y, 6, &share, role);
            y += 1;
        }
        let mut lines = vec![
            vec![
                format!("in flight {}", summary.in_flight),
                format!("conns {}", summary.connections),
                format!("h2 {:.0}%", summary.http2 * 100.0),
            ],
            [
                format!("idle conns {}", summary.idle),
                format!("panics {}", summary.panics),
            ]
            .into_iter()
            .chain((summary.floods > 0).then(|| format!("floods {}", summary.floods)))
            .collect(),
        ];
        // Who asks for no passwords has none that are wrong.
        if summary.failed_logins > 0 {
            lines.push(vec![format!("failed logins {}", summary.failed_logins)]);
        }
        y += u16::from(inside.bottom() > y + lines.len() as u16);
        for (facts, y) in lines.into_iter().zip(y..inside.bottom()) {
            put_facts(painter, inside, y, facts, Role::Text);
        }
    }

    fn backends(&mut self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        let summary = model.live().summary.as_deref();
        let states = summary.map(|summary| summary.peer_states);
        let remark = states.map_or_else(String::new, |states| {
            let all = states.up + states.drain + states.failed + states.down;
            match all {
                1 => "1 peer".to_owned(),
                all => format!("{all} peers"),
            }
        });
        let inside = self.pane(painter, area, Pane::Backends, "Backends", &remark);
        let Some(states) = states else {
            return loading(painter, inside);
        };
        let glyphs = painter.glyphs();
        let counts = [
            (glyphs.up, "up", states.up, Role::Ok),
            (glyphs.drain, "drain", states.drain, Role::Warn),
            (glyphs.down, "failed", states.failed, Role::Bad),
            (glyphs.off, "down", states.down, Role::Muted),
        ];
        let spans: Vec<Span> = counts
            .into_iter()
            .filter(|(_, word, count, _)| *count > 0 || *word == "up")
            .map(|(glyph, word, count, role)| {
                // In words where there is room.
                if inside.width > 48 {
                    Span::new(format!("{glyph} {count} {word}"), role)
                } else {
                    Span::new(format!("{glyph} {count}"), role)
                }
            })
            .collect();
        painter.put_facts(inside.x, inside.y, inside.width, &spans);
        // What is wrong comes before what is right, but leaves room for that.
        let troubles = summary.map_or(&[][..], |summary| &summary.troubles);
        let shown = troubles
            .len()
            .min(usize::from(inside.height.saturating_sub(1)) / 2);
        for (trouble, y) in troubles[..shown].iter().zip(inside.y + 1..) {
            let spans = [Span::new("! ", Role::Bad), Span::new(trouble, Role::Warn)];
            painter.put_spans(inside.x, y, inside.width, &spans);
        }
        let above = 1 + shown as u16;
        let rows = Rect::new(
            inside.x,
            inside.y + above,
            inside.width,
            inside.height.saturating_sub(above),
        );
        let Some(upstreams) = &model.upstreams.value else {
            return render_state(painter, rows, &model.upstreams, model, "");
        };
        if upstreams.upstreams.is_empty() {
            let words = match providers::all(model) {
                [] => "no upstreams: nothing is passed on",
                _ => "no upstreams; providers stand on 3 Backends",
            };
            return render_empty(painter, rows, words);
        }
        let mut groups: Vec<_> = upstreams
            .upstreams
            .iter()
            .map(|upstream| backends::Group::of(upstream, model))
            .collect();
        groups.sort_by_key(|group| group.worst);
        let width = groups
            .iter()
            .map(|group| text::width(group.name))
            .max()
            .unwrap_or(0)
            .min(usize::from(rows.width) / 2) as u16;
        for (group, y) in groups.iter().zip(rows.y..rows.bottom()) {
            let glyph = glyphs.peer(group.worst);
            let role = backends::role(group.worst);
            painter.put(rows.x, y, rows.width, glyph, role);
            painter.put(rows.x + 2, y, width, group.name, Role::Text);
            let rest = rows.x + 2 + width + 2;
            let columns = rows.right().saturating_sub(rest);
            let line = format!("{}/{} up", group.up, group.all);
            painter.put(rest, y, columns, &line, Role::Text);
            let rate = format!("{} req/s", number::rate(group.rate));
            let used = text::width(&line) as u16;
            let right = columns.saturating_sub(used + 2);
            if usize::from(right) >= text::width(&rate) {
                painter.put_right(rest + used + 2, y, right, &rate, Role::Muted);
            }
        }
    }

    /// What the gateway to language models does.
    fn llm(&mut self, painter: &mut Painter<'_>, area: Rect, now: &LlmNow) {
        let inside = self.pane(painter, area, Pane::Llm, "LLM", "today in UTC");
        let none = painter.glyphs().none;
        let failed = match now.failed_per_minute {
            0 => Role::Text,
            _ => Role::Bad,
        };
        let (hits, looked) = now.kept_per_minute;
        let budget = now.budget.as_ref().and_then(|budget| {
            let share = number::share_of_dollars(&budget.spent, &budget.limit)?;
            Some((share, budget))
        });
        let spent = Span::new(
            format!("{} spent", number::dollars(&now.today)),
            Role::Accent,
        );
        let calls = Span::plain(format!("{} calls/min", now.calls_per_minute));
        let errors = Span::new(format!("{} failed", now.failed_per_minute), failed);
        let hits = match looked {
            0 => None,
            _ => Some(Span::plain(format!(
                "{} kept",
                number::share(hits, looked, none)
            ))),
        };
        let tokens = vec![
            Span::plain(format!("{} tok/s in", number::rate(now.input_rate))),
            Span::plain(format!("{} out", number::rate(now.output_rate))),
        ];
        let budget_line = budget.map(|(share, budget)| {
            let role = match share {
                share if share >= 1.0 => Role::Bad,
                share if share >= 0.8 => Role::Warn,
                _ => Role::Text,
            };
            let limit = number::dollars(&budget.limit);
            vec![
                Span::new(number::percent(share), role),
                Span::new(format!("of {limit}/{}", budget.period), role),
                Span::plain(budget.whose.clone()),
            ]
        });
        let first = vec![spent, Span::plain(format!("{} under way", now.running))];
        let mut second = vec![calls, errors];
        second.extend(hits);
        let lines = [Some(first), budget_line, Some(second), Some(tokens)];
        let lines = lines.into_iter().flatten();
        for (line, y) in lines.zip(inside.y..inside.bottom()) {
            painter.put_facts(inside.x, y, inside.width, &line);
        }
    }

    fn process(&mut self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        let inside = self.pane(painter, area, Pane::Process, "Process", "");
        let Some(status) = &model.status else {
            return loading(painter, inside);
        };
        let store = match &status.store.error {
            Some(error) => Span::new(format!("not in use: {error}"), Role::Bad),
            None => Span::plain(number::size(status.store.bytes)),
        };
        let workers = match status.workers {
            1 => "1 worker".to_owned(),
            count => format!("{count} workers"),
        };
        let mut lines = vec![
            (
                "version",
                Span::plain(format!("{}   pid {}", status.version, status.pid)),
            ),
            (
                "runs",
                Span::plain(format!("{workers}, {}", number::size(status.resident))),
            ),
            ("listens", Span::plain(status.listens.join(" "))),
            ("file", Span::plain(status.conf.clone())),
            ("store", store),
        ];
        let summary = model.live().summary.as_deref();
        let certificates = summary.map(|summary| &summary.certificate_states);
        if let Some(states) = certificates.filter(|states| states.all > 0) {
            lines.push(("certs", certificate_line(states, model, painter.glyphs())));
        }
        if status.store.dropped > 0 {
            let text = format!("{} rows were dropped", status.store.dropped);
            lines.push(("", Span::new(text, Role::Warn)));
        }
        if status.dropped_log_lines > 0 {
            let text = format!("{} lines were lost", status.dropped_log_lines);
            lines.push(("logs", Span::new(text, Role::Warn)));
        }
        if let Some(why) = &status.read_only {
            // The file stands above, and the reason would be cut off behind it.
            let why = match why.strip_prefix(&*status.conf) {
                Some(why) => why.trim_start_matches(": "),
                None => why,
            };
            lines.push(("edits", Span::new(format!("none, {why}"), Role::Warn)));
        }
        for ((name, span), y) in lines.iter().zip(inside.y..inside.bottom()) {
            painter.put(inside.x, y, 8, name, Role::Muted);
            let columns = inside.width.saturating_sub(9);
            painter.put(inside.x + 9, y, columns, &span.text, span.role);
        }
    }

    fn routes(&mut self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        let list = model.routes.value.as_deref();
        let all = list.map_or(0, |list| list.routes.len());
        let remark = match (list, self.sort) {
            (None, _) => String::new(),
            (Some(_), Some(column)) => {
                let reversed = if self.is_reversed { " reversed" } else { "" };
                format!(
                    "sort: {}{reversed}",
                    routes::COLUMNS[column].title.to_lowercase()
                )
            }
            (Some(_), None) if all == 1 => "1 route".to_owned(),
            (Some(_), None) => format!("{all} routes"),
        };
        let inside = self.pane(painter, area, Pane::Routes, "Routes by traffic", &remark);
        let Some(list) = list.filter(|_| !self.shown.is_empty()) else {
            let empty = match all {
                0 => "no routes yet".to_owned(),
                all => format!("0 of {all} match \"{}\" (Esc clears)", self.filter),
            };
            return render_state(painter, inside, &model.routes, model, &empty);
        };
        let traffic = model.live().routes.clone();
        let shown = &self.shown;
        let glyphs = *painter.glyphs();
        let sort = self.sort.or(Some(routes::REQUESTS));
        self.routes.render(
            painter,
            inside,
            Pane::Routes as u8,
            &routes::COLUMNS,
            sort,
            |row| {
                let route = &list.routes[shown[row]];
                routes::cells(route, traffic.get(&route.id), &glyphs)
            },
        );
    }

    fn occurrences(&mut self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        let inside = self.pane(painter, area, Pane::Events, "Events", "newest first");
        let events = &model.live().events;
        if model.live().summary.is_none() {
            return loading(painter, inside);
        }
        if events.is_empty() {
            return render_empty(painter, inside, "nothing happened yet");
        }
        let glyphs = *painter.glyphs();
        let first = (self.events.selected + 1).saturating_sub(usize::from(inside.height));
        let rows = events.iter().enumerate().skip(first);
        for ((row, occurrence), y) in rows.zip(inside.y..inside.bottom()) {
            let (glyph, role) = sign(occurrence, &glyphs);
            let time = number::clock(occurrence.at, &model.zone);
            let spans = [
                Span::new(format!("{time} "), Role::Muted),
                Span::new(format!("{glyph} "), role),
                Span::plain(sentence(occurrence, model)),
            ];
            painter.put_spans(inside.x, y, inside.width, &spans);
            let line = Rect::new(inside.x.saturating_sub(1), y, inside.width + 1, 1);
            if self.focus == Pane::Events && row == self.events.selected {
                painter.put(line.x, y, 1, ">", Role::Accent);
                painter.mark(line, Role::Selection);
            }
            let pane = Pane::Events as u8;
            painter.hit(line, Target::Row { pane, row });
        }
    }
}

impl View for Overview {
    fn context(&self) -> Context {
        Context::Overview
    }

    fn input(&mut self, input: &Input, model: &Model) -> Vec<Effect> {
        self.arrange(model);
        match input {
            Input::Action(action) => return self.act(*action, model),
            Input::Filter(filter) => {
                self.filter.clone_from(filter);
                if !filter.is_empty() {
                    self.search.clone_from(filter);
                }
            }
            Input::Click(Target::Header { column, .. }) => {
                let column = usize::from(*column);
                self.is_reversed = self.sort == Some(column) && !self.is_reversed;
                self.sort = Some(column);
                self.focus = Pane::Routes;
            }
            Input::Click(Target::Pane(pane) | Target::Row { pane, .. }) => {
                let clicked = PANES.into_iter().find(|known| *known as u8 == *pane);
                self.focus = clicked.unwrap_or(self.focus);
                self.routes.input(input, Pane::Routes as u8);
                self.events.input(input, Pane::Events as u8);
            }
            Input::Wheel(_, Some(Target::Pane(pane) | Target::Row { pane, .. }))
                if *pane == Pane::Events as u8 =>
            {
                self.events.input(input, *pane);
            }
            input => {
                self.routes.input(input, Pane::Routes as u8);
            }
        }
        self.arrange(model);
        Vec::new()
    }

    fn render(&mut self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        self.arrange(model);
        self.panes.clear();
        // The pane at a position of a row that is cut into such parts.
        let row = |y: u16, height: u16, parts: &[u16], at: usize| {
            let all: u16 = parts.iter().sum();
            let before: u16 = parts[..at].iter().sum();
            let start = area.width * before / all;
            let end = area.width * (before + parts[at]) / all;
            Rect::new(area.x + start, y, end - start, height)
        };
        let thirds = [1, 1, 1];
        let halves = [1, 1];
        let split = [2, 1];
        let summary = model.live().summary.clone();
        let llm = summary.as_ref().and_then(|summary| summary.llm.as_deref());
        let mut y = area.y;
        if area.width >= WIDE {
            let height = if area.height >= 30 {
                9
            } else {
                5.min(area.height)
            };
            self.requests(painter, row(y, height, &thirds, 0), model);
            self.latency(painter, row(y, height, &thirds, 1), model);
            self.statuses(painter, row(y, height, &thirds, 2), model);
            y += height;
            if area.height >= 16 {
                let height = if area.height >= 30 { 9 } else { 6 };
                match llm {
                    Some(now) => {
                        self.backends(painter, row(y, height, &thirds, 0), model);
                        self.llm(painter, row(y, height, &thirds, 1), now);
                        self.process(painter, row(y, height, &thirds, 2), model);
                    }
                    None => {
                        self.backends(painter, row(y, height, &split, 0), model);
                        self.process(painter, row(y, height, &split, 1), model);
                    }
                }
                y += height;
            }
            let rest = area.bottom() - y;
            self.routes(painter, row(y, rest, &split, 0), model);
            self.occurrences(painter, row(y, rest, &split, 1), model);
        } else {
            self.requests(painter, row(y, 5, &halves, 0), model);
            self.latency(painter, row(y, 5, &halves, 1), model);
            y += 5;
            if area.height >= 18 {
                match llm {
                    Some(now) => {
                        self.statuses(painter, row(y, 6, &thirds, 0), model);
                        self.llm(painter, row(y, 6, &thirds, 1), now);
                        self.backends(painter, row(y, 6, &thirds, 2), model);
                    }
                    None => {
                        self.statuses(painter, row(y, 6, &halves, 0), model);
                        self.backends(painter, row(y, 6, &halves, 1), model);
                    }
                }
                y += 6;
            }
            let rest = area.bottom() - y;
            self.routes(painter, row(y, rest, &[1], 0), model);
        }
    }

    fn remark(&self, model: &Model) -> Option<String> {
        let occurrence = model.live().events.front()?;
        let time = number::clock(occurrence.at, &model.zone);
        Some(format!("{time} {}", sentence(occurrence, model)))
    }

    fn filter(&self) -> &str {
        &self.filter
    }
}

/// How many there are, and what is wrong or ends next.
fn certificate_line(states: &CertificateStates, model: &Model, glyphs: &Glyphs) -> Span {
    if states.bad > 0 {
        return Span::new(format!("{} {}", glyphs.down, states.worst), Role::Bad);
    }
    if states.warn > 0 {
        return Span::new(format!("! {}", states.worst), Role::Warn);
    }
    let next = states.soonest.zip(model.daemon_time());
    match next {
        Some((soonest, now)) => Span::plain(format!(
            "{} valid, the next ends in {}",
            states.all,
            number::age(soonest.saturating_sub(now))
        )),
        None => Span::plain(states.all.to_string()),
    }
}

fn loading(painter: &mut Painter<'_>, area: Rect) {
    painter.put(
        area.x,
        area.y,
        area.width,
        painter.glyphs().cut,
        Role::Muted,
    );
}

fn put_facts(
    painter: &mut Painter<'_>,
    area: Rect,
    y: u16,
    facts: impl IntoIterator<Item = String>,
    role: Role,
) {
    let facts: Vec<Span> = facts
        .into_iter()
        .map(|text| Span::new(text, role))
        .collect();
    painter.put_facts(area.x, y, area.width, &facts);
}

/// The curve between the first and the last line of a pane, and the last line.
fn curve(
    painter: &mut Painter<'_>,
    inside: Rect,
    model: &Model,
    last: impl IntoIterator<Item = String>,
    role: Role,
    value: impl Fn(&Point) -> f64,
) {
    if inside.height < 3 {
        return;
    }
    let gap = u16::from(inside.height > 4);
    let area = Rect::new(
        inside.x,
        inside.y + 1 + gap,
        inside.width,
        inside.height - 2 - 2 * gap,
    );
    let live: &Live = model.live();
    match &live.history.value {
        Some(history) => {
            let values: Vec<f64> = history.points.iter().map(value).collect();
            sparkline::render(painter, area, &values, role);
        }
        None => render_state(painter, area, &live.history, model, ""),
    }
    let y = inside.bottom() - 1;
    put_facts(painter, inside, y, last, Role::Muted);
}

/// How an occurrence is marked.
fn sign<'g>(occurrence: &Occurrence, glyphs: &'g Glyphs) -> (&'g str, Role) {
    match occurrence.level {
        Level::Info => (glyphs.changed, Role::Accent),
        Level::Good => (glyphs.better, Role::Ok),
        Level::Warn => ("!", Role::Warn),
        Level::Bad => (glyphs.down, Role::Bad),
    }
}

/// What it is about and what happened.
fn sentence(occurrence: &Occurrence, model: &Model) -> String {
    let subject = short_path(model, &occurrence.subject);
    if subject.is_empty() || occurrence.text.contains(subject) {
        return occurrence.text.clone();
    }
    format!("{subject} {}", occurrence.text)
}
