//! Routes: where requests go, in the order in which they are matched, with what happens on each.

use std::cmp::Ordering;
use std::collections::HashMap;

use ratatui::layout::Rect;

use super::super::banned::Banned;
use super::super::edit;
use super::super::explain::Explain;
use super::super::glyphs::Glyphs;
use super::super::keymap::{Action, Context};
use super::super::model::{Loaded, Model};
use super::super::number;
use super::super::paint::{Painter, Span};
use super::super::theme::Role;
use super::super::view::{Answer, Call, Effect, Input, Notice, Prompt, Target, View, Window};
use super::super::widgets::sparkline;
use super::super::widgets::table::{Cell, Column, Table, matches};
use super::{WIDE, error_role, render_state, short_path};
use crate::protocol::{ConfState, History, Question, Route, RouteLimit, RouteTraffic, Summary};

/// The columns, here and on the overview.
pub const COLUMNS: [Column; 7] = [
    Column::text("SERVER", 12, 3, 0),
    Column::text("LOCATION", 12, 3, 0),
    Column::text("TARGET", 12, 4, 3),
    Column::number("REQ/S", 6, 0),
    Column::number("P99", 7, 2),
    Column::number("5XX", 5, 1),
    Column::number("HIT", 5, 4),
];

/// The column of requests per second.
pub const REQUESTS: usize = 3;

const TABLE: u8 = 0;
const DETAIL: u8 = 1;

/// The screen.
#[derive(Debug, Default)]
pub struct RoutesScreen {
    table: Table,
    filter: String,
    /// The last filter, for the next and previous match after it was cleared.
    search: String,
    sort: Option<usize>,
    is_reversed: bool,
    is_open: bool,
    /// The first line of the block that is shown.
    offset: usize,
    /// Positions in the model's list, as they are shown.
    shown: Vec<usize>,
    /// The number of the route that is selected, to find it again when the list changes.
    selected: Option<u32>,
    /// The curve of one route over one window.
    history: Option<(u32, Window, Loaded<History>)>,
    /// The curve that was asked for and did not come yet.
    asked: Option<(u32, Window)>,
    urls: Vec<String>,
}

/// The cells of a row.
pub fn cells(route: &Route, traffic: Option<&RouteTraffic>, glyphs: &Glyphs) -> Vec<Cell> {
    let none = glyphs.none;
    let traffic = traffic.map(|row| &row.traffic);
    let (errors, all) = traffic.map_or((0, 0), |traffic| {
        (traffic.statuses[4], traffic.statuses.iter().sum())
    });
    let (looked_up, cached) = traffic.map_or((0, 0), |traffic| (traffic.looked_up, traffic.cached));
    let rate = traffic.map_or(0.0, |traffic| traffic.rate);
    let p99 = match traffic {
        Some(traffic) if all > 0 => number::duration(traffic.p99),
        _ => none.to_owned(),
    };
    let quiet = if rate > 0.0 { Role::Text } else { Role::Muted };
    vec![
        (server_name(route), Role::Text),
        (route.location.clone(), Role::Text),
        (route.target.clone(), Role::Text),
        (number::rate(rate), quiet),
        (p99, quiet),
        (number::share(errors, all, none), error_role(errors, all)),
        (number::share(cached, looked_up, none), quiet),
    ]
}

/// The name of a route's server: `_ (default)` for one without a name that takes what is left.
pub fn server_name(route: &Route) -> String {
    match (route.server.as_str(), route.is_default) {
        ("" | "_", true) => "_ (default)".to_owned(),
        ("", false) => "_".to_owned(),
        (name, _) => name.to_owned(),
    }
}

/// A limit that holds, and what it does at the moment.
fn limit_line(limit: &RouteLimit, summary: Option<&Summary>) -> Span {
    // What it does now stands first: the rule may be cut off.
    let mut text = format!("{:9}{}", "limit", limit.zone);
    let traffic = summary
        .into_iter()
        .flat_map(|summary| &summary.limits)
        .find(|traffic| traffic.zone == limit.zone && traffic.of == limit.of);
    let mut role = Role::Text;
    if let Some(traffic) = traffic {
        if traffic.delayed > 0.0 {
            text.push_str(&format!(" {}/s delayed,", number::rate(traffic.delayed)));
        }
        if traffic.refused > 0.0 {
            text.push_str(&format!(" {}/s refused,", number::rate(traffic.refused)));
            role = Role::Warn;
        }
    }
    text.push(' ');
    text.push_str(&limit.rule);
    Span::new(text, role)
}

/// `example.org /api/`
fn title(route: &Route) -> String {
    format!("{} {}", server_name(route), route.location)
        .trim_end()
        .to_owned()
}

impl RoutesScreen {
    /// Finds out which rows are shown, in which order.
    fn arrange(&mut self, model: &Model) {
        let Some(routes) = &model.routes.value else {
            self.shown.clear();
            self.table.set_rows(0);
            return;
        };
        let traffic = &model.live().routes;
        self.shown.clear();
        self.shown
            .extend((0..routes.routes.len()).filter(|&position| {
                self.filter.is_empty() || is_match(&routes.routes[position], &self.filter)
            }));
        if let Some(column) = self.sort {
            self.shown.sort_by(|&left, &right| {
                compare(column, &routes.routes[left], &routes.routes[right], traffic)
            });
            if self.is_reversed {
                self.shown.reverse();
            }
        } else if self.is_reversed {
            self.shown.reverse();
        }
        self.table.set_rows(self.shown.len());
        let same = self.selected.and_then(|id| {
            self.shown
                .iter()
                .position(|&position| routes.routes[position].id == id)
        });
        if let Some(row) = same {
            self.table.selected = row;
        }
        self.selected = self.route(model).map(|route| route.id);
    }

    /// The route that is selected.
    fn route<'m>(&self, model: &'m Model) -> Option<&'m Route> {
        let routes = model.routes.value.as_deref()?;
        let position = self.shown.get(self.table.selected)?;
        routes.routes.get(*position)
    }

    /// Goes to the next row that the last filter meant, or the one before.
    fn find(&mut self, model: &Model, is_backwards: bool) -> Vec<Effect> {
        let Some(routes) = &model.routes.value else {
            return Vec::new();
        };
        if self.search.is_empty() {
            return vec![Notice::plain("nothing was searched for yet (/ does)")];
        }
        let is_match = |row: usize| is_match(&routes.routes[self.shown[row]], &self.search);
        match self.table.next(is_backwards, is_match) {
            Some(row) => {
                self.table.selected = row;
                Vec::new()
            }
            None => vec![Notice::plain(format!("nothing has {} in it", self.search))],
        }
    }

    /// Asks for the curve of the selected route, unless it is there and fresh.
    fn ask_history(&mut self, model: &Model) -> Vec<Effect> {
        let Some(id) = self.selected else {
            return Vec::new();
        };
        // One question at a time: the answer to it leads to the next one.
        if self.asked.is_some() {
            return Vec::new();
        }
        let known = self
            .history
            .as_ref()
            .filter(|it| (it.0, it.1) == (id, model.window));
        if let Some(history) = known.and_then(|(_, _, loaded)| loaded.value.as_ref()) {
            let step = u64::from(history.step_seconds.max(5)) * 1000;
            if model
                .daemon_time()
                .is_none_or(|now| now < history.at + step)
            {
                return Vec::new();
            }
        }
        self.asked = Some((id, model.window));
        vec![Effect::Call(Call::History(model.window, Some(id)))]
    }

    fn act(&mut self, action: Action, model: &Model) -> Vec<Effect> {
        if self.is_open {
            let offset = match action {
                Action::Down => Some(self.offset.saturating_add(1)),
                Action::Up => Some(self.offset.saturating_sub(1)),
                Action::HalfDown | Action::PageDown => Some(self.offset.saturating_add(10)),
                Action::HalfUp | Action::PageUp => Some(self.offset.saturating_sub(10)),
                Action::First => Some(0),
                Action::Last => Some(usize::MAX),
                _ => None,
            };
            if let Some(offset) = offset {
                self.offset = offset;
                return Vec::new();
            }
        }
        match action {
            Action::Open => {
                self.is_open = self.route(model).is_some();
                self.offset = 0;
                return self.ask_history(model);
            }
            Action::NextPane | Action::PreviousPane => {
                self.is_open = !self.is_open && self.route(model).is_some();
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
                if let Some(route) = self.route(model) {
                    let block = block(model, route).join("\n");
                    let text = if block.is_empty() {
                        title(route)
                    } else {
                        block
                    };
                    return vec![Effect::Copy(text)];
                }
            }
            Action::Add
            | Action::Edit
            | Action::EditText
            | Action::Delete
            | Action::MoveUp
            | Action::MoveDown => return edit::on_route(action, self.route(model), model),
            Action::Bans => return vec![Effect::Open(Box::new(Banned::default()))],
            Action::TestUrl => {
                let text = self.route(model).map(url).unwrap_or_default();
                return vec![Effect::Prompt(Prompt {
                    title: "Test a URL".to_owned(),
                    label: "What would happen to a GET of this URL? Nothing is sent.".to_owned(),
                    text,
                    history: self.urls.clone(),
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
            None => "match order".to_owned(),
            Some(column) => COLUMNS[column].title.to_lowercase(),
        };
        let reversed = if self.is_reversed { " reversed" } else { "" };
        let remark = format!("sort: {sort}{reversed}");
        let inside = painter.frame(area, "Routes", &remark, !self.is_open);
        let Some(routes) = model
            .routes
            .value
            .as_deref()
            .filter(|_| !self.shown.is_empty())
        else {
            let all = model
                .routes
                .value
                .as_deref()
                .map_or(0, |it| it.routes.len());
            let empty = if all == 0 && model.is_read_only {
                "no routes yet".to_owned()
            } else if all == 0 {
                "no routes yet: a adds one".to_owned()
            } else {
                format!("0 of {all} match \"{}\" (Esc clears)", self.filter)
            };
            return render_state(painter, inside, &model.routes, model, &empty);
        };
        let traffic = model.live().routes.clone();
        let shown = &self.shown;
        // The cells need the letters of the painter that the table is drawn with.
        let glyphs = *painter.glyphs();
        self.table
            .render(painter, inside, TABLE, &COLUMNS, self.sort, |row| {
                let route = &routes.routes[shown[row]];
                cells(route, traffic.get(&route.id), &glyphs)
            });
    }

    fn render_detail(&mut self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        let Some(route) = self.route(model) else {
            painter.frame(area, "", "", false);
            return;
        };
        // Numbers below, the text above; the text alone where there is no room for both.
        let traffic_height = if area.height >= 14 { 8 } else { 0 };
        let above = Rect::new(area.x, area.y, area.width, area.height - traffic_height);
        let below = Rect::new(area.x, above.bottom(), area.width, traffic_height);
        let place = format!("{}:{}", short_path(model, &route.file), route.line);
        let inside = painter.frame(above, &title(route), &place, self.is_open);
        painter.hit(above, Target::Pane(DETAIL));
        let mut lines: Vec<Span> = block(model, route).into_iter().map(Span::plain).collect();
        let summary = model.live().summary.as_deref();
        if summary.is_some_and(|summary| summary.state == ConfState::Edited) {
            // The lines are those of the revision in force, the text is that of today.
            let text = "edited since, not applied: may be other lines";
            lines.insert(0, Span::new(text, Role::Warn));
        }
        if lines.is_empty() {
            lines.push(Span::new(place, Role::Muted));
        }
        lines.push(Span::default());
        let fact = |name: &str, value: &str| Span::plain(format!("{name:9}{value}"));
        lines.push(fact("target", &route.target));
        lines.push(fact("names", &route.names.join(" ")));
        lines.push(fact("listen", &route.listens.join(" ")));
        if let Some(upstream) = upstream(model, route) {
            lines.push(fact("upstream", &upstream));
        }
        let none = painter.glyphs().none;
        if let Some(traffic) = model.live().routes.get(&route.id) {
            if traffic.failed_logins > 0 {
                let text = format!("{} failed", number::count(traffic.failed_logins));
                lines.push(fact("logins", &text));
            }
            if traffic.unpacked > 0 {
                let share = number::share(traffic.packed, traffic.unpacked, none);
                let from = number::bytes(traffic.unpacked);
                lines.push(fact("packed", &format!("{from} to {share}")));
            }
        }
        lines.extend((route.limits.iter()).map(|limit| limit_line(limit, summary)));
        lines.extend(route.notes.iter().map(|note| Span::new(note, Role::Muted)));
        self.offset = self.offset.min(lines.len().saturating_sub(1));
        let rows = inside.y..inside.bottom();
        for (line, y) in lines.iter().skip(self.offset).zip(rows) {
            painter.put(inside.x, y, inside.width, &line.text, line.role);
        }
        if traffic_height > 0 {
            self.render_traffic(painter, below, route, model);
        }
    }

    fn render_traffic(&self, painter: &mut Painter<'_>, area: Rect, route: &Route, model: &Model) {
        let none = painter.glyphs().none;
        let inside = painter.frame(area, "Traffic", model.window.name(), false);
        let row = model.live().routes.get(&route.id);
        let statuses = row.map_or([0; 5], |row| row.traffic.statuses);
        let all: u64 = statuses.iter().sum();
        let time = |value| match all {
            0 => none.to_owned(),
            _ => number::duration(value),
        };
        let rate = number::rate(row.map_or(0.0, |row| row.traffic.rate));
        let (p50, p99) = row.map_or((0, 0), |row| (row.traffic.p50, row.traffic.p99));
        let line = format!("{rate} req/s   p50 {}   p99 {}", time(p50), time(p99));
        painter.put(inside.x, inside.y, inside.width, &line, Role::Text);
        let curve = Rect::new(inside.x, inside.y + 1, inside.width, 3);
        let history = self
            .history
            .as_ref()
            .filter(|(id, window, _)| (*id, *window) == (route.id, model.window));
        match history.map(|(_, _, loaded)| loaded) {
            Some(Loaded {
                value: Some(history),
                ..
            }) => {
                let values: Vec<f64> = history.points.iter().map(|point| point.rate).collect();
                sparkline::render(painter, curve, &values, Role::Accent);
            }
            Some(loaded) => render_state(painter, curve, loaded, model, ""),
            None => {}
        }
        let mut line = String::new();
        for (class, count) in statuses.iter().enumerate() {
            if *count > 0 {
                let share = number::share(*count, all, none);
                line.push_str(&format!("{}xx {share}  ", class + 1));
            }
        }
        if let Some(traffic) = row.map(|row| &row.traffic)
            && traffic.looked_up > 0
        {
            let share = number::share(traffic.cached, traffic.looked_up, none);
            line.push_str(&format!("from cache {share}"));
        }
        if all == 0 {
            line.push_str("no requests in the last 10 s");
        }
        painter.put(
            inside.x,
            inside.y + 4,
            inside.width,
            line.trim_end(),
            Role::Text,
        );
        let total = row.map(|row| format!("{} since the start", number::count(row.total)));
        if let Some(mut total) = total {
            let points = (history.and_then(|(_, _, loaded)| loaded.value.as_ref()))
                .map_or(&[][..], |history| &history.points);
            let looked_up: f64 = points.iter().map(|point| point.looked_up).sum();
            let cached: f64 = points.iter().map(|point| point.cached).sum();
            if looked_up > 0.0 {
                let share = number::percent(cached / looked_up);
                let window = model.window.name();
                total.push_str(&format!(", from cache {share} in {window}"));
            }
            painter.put(inside.x, inside.y + 5, inside.width, &total, Role::Muted);
        }
    }
}

impl View for RoutesScreen {
    fn context(&self) -> Context {
        Context::Routes
    }

    fn input(&mut self, input: &Input, model: &Model) -> Vec<Effect> {
        self.arrange(model);
        let mut effects = match input {
            Input::Shown | Input::Tick => self.ask_history(model),
            Input::Action(action) => self.act(*action, model),
            Input::Filter(filter) => {
                self.filter.clone_from(filter);
                if !filter.is_empty() {
                    self.search.clone_from(filter);
                }
                Vec::new()
            }
            Input::Select(id) => {
                self.filter.clear();
                self.selected = Some(*id);
                self.arrange(model);
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
            Input::Entered(url) if !url.is_empty() => {
                self.urls.retain(|known| known != url);
                self.urls.push(url.clone());
                let question = Question {
                    method: "GET".to_owned(),
                    url: url.clone(),
                    ..Question::default()
                };
                vec![Effect::Open(Box::new(Explain::new(question)))]
            }
            Input::Answer(answer) => {
                if let Some((id, window)) = self.asked.take() {
                    let mut loaded = Loaded::default();
                    match answer {
                        Ok(Answer::History(history)) => loaded.set(history.clone()),
                        Ok(_) => {}
                        Err(failure) => loaded.fail(&failure.to_string(), model.now),
                    }
                    let is_other = answer.is_ok() && self.selected != Some(id);
                    self.history = Some((id, window, loaded));
                    if is_other {
                        self.ask_history(model)
                    } else {
                        Vec::new()
                    }
                } else {
                    Vec::new()
                }
            }
            input => {
                if self.table.input(input, TABLE) {
                    self.is_open = false;
                }
                Vec::new()
            }
        };
        let before = self.selected;
        self.selected = self.route(model).map(|route| route.id);
        self.arrange(model);
        if self.selected != before {
            effects.extend(self.ask_history(model));
        }
        effects
    }

    fn render(&mut self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        self.arrange(model);
        if area.width >= WIDE {
            let width = (area.width * 37 / 100).clamp(44, 90);
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
        let routes = model.routes.value.as_deref()?;
        let all = routes.routes.len();
        let mut remark = if self.filter.is_empty() {
            format!("{all} routes")
        } else {
            format!("{} of {all} match \"{}\"", self.shown.len(), self.filter)
        };
        if self.sort.is_none() && !self.is_reversed {
            remark.push_str("   order shown = nginx matching order");
        }
        let summary = model.live().summary.as_deref();
        if summary.is_some_and(|summary| summary.state == ConfState::Edited) {
            remark.push_str("   files were edited, not applied");
        }
        Some(remark)
    }

    fn filter(&self) -> &str {
        &self.filter
    }
}

/// The order of two routes by a column: the largest number first, names from A.
pub fn compare(
    column: usize,
    left: &Route,
    right: &Route,
    traffic: &HashMap<u32, RouteTraffic>,
) -> Ordering {
    let numbers = |route: &Route| traffic.get(&route.id).map(|row| &row.traffic);
    let rate = |route: &Route| numbers(route).map_or(0.0, |it| it.rate);
    let p99 = |route: &Route| numbers(route).map_or(0, |it| it.p99);
    let errors = |route: &Route| numbers(route).map_or(0, |it| it.statuses[4]);
    // One without a cache is behind one with which nothing was found.
    let hits = |route: &Route| match numbers(route) {
        Some(it) if it.looked_up > 0 => it.cached as f64 / it.looked_up as f64,
        _ => -1.0,
    };
    match column {
        0 => server_name(left).cmp(&server_name(right)),
        1 => left.location.cmp(&right.location),
        2 => left.target.cmp(&right.target),
        3 => rate(right).total_cmp(&rate(left)),
        4 => p99(right).cmp(&p99(left)),
        5 => errors(right).cmp(&errors(left)),
        _ => hits(right).total_cmp(&hits(left)),
    }
}

/// Does a route have a text in what is shown of it, or in another name of its server?
pub fn is_match(route: &Route, wanted: &str) -> bool {
    let name = server_name(route);
    matches(wanted, &[&name, &route.location, &route.target])
        || route.names.iter().any(|name| matches(wanted, &[name]))
}

/// The lines of a route's block as its file has them, without what they are all indented by.
fn block(model: &Model, route: &Route) -> Vec<String> {
    let texts = model.config.value.as_deref();
    let file = texts.and_then(|texts| texts.files.iter().find(|file| file.path == route.file));
    let (Some(file), Some(first)) = (file, (route.line as usize).checked_sub(1)) else {
        return Vec::new();
    };
    let count = (route.end_line as usize).saturating_sub(first);
    let lines: Vec<&str> = file.text.lines().skip(first).take(count).collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let common = lines
        .iter()
        .filter(|line| !line.trim().is_empty())
        .map(|line| indent(line))
        .min()
        .unwrap_or(0);
    lines
        .iter()
        .map(|line| line.get(common..).unwrap_or("").replace('\t', "    "))
        .collect()
}

/// `api: 2 peers, least_conn`
fn upstream(model: &Model, route: &Route) -> Option<String> {
    let name = route.upstream.as_deref()?;
    let upstreams = model.upstreams.value.as_deref()?;
    let upstream = upstreams.upstreams.iter().find(|it| it.name == name)?;
    let peers = match upstream.peers.len() {
        1 => "1 peer".to_owned(),
        count => format!("{count} peers"),
    };
    Some(format!("{name}: {peers}, {}", upstream.method))
}

/// A URL that most likely leads to a route.
fn url(route: &Route) -> String {
    let host = match route.server.as_str() {
        "" | "_" => "localhost",
        name => name.trim_start_matches("*."),
    };
    let path = match route.location.split_once(' ') {
        None => route.location.as_str(),
        Some(("=" | "^~", path)) => path,
        Some(_) => "/",
    };
    let path = if path.starts_with('/') { path } else { "/" };
    let listen = route.listens.first().map_or("", String::as_str);
    let mut words = listen.split_whitespace();
    let address = words.next().unwrap_or("");
    let port = address.rsplit(':').next().unwrap_or("");
    let has_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let (scheme, usual) = match words.any(|word| word == "ssl") {
        true => ("https", "443"),
        false => ("http", "80"),
    };
    if has_port && port != usual {
        format!("{scheme}://{host}:{port}{path}")
    } else {
        format!("{scheme}://{host}{path}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_says_what_it_does_and_warns_if_it_refuses() {
        let limit = RouteLimit {
            zone: "clients".to_owned(),
            rule: "5r/s burst 20".to_owned(),
            ..RouteLimit::default()
        };
        let traffic = |delayed, refused| Summary {
            limits: vec![crate::protocol::LimitTraffic {
                zone: "clients".to_owned(),
                delayed,
                refused,
                ..Default::default()
            }],
            ..Summary::default()
        };
        let line = |summary: Option<&Summary>| {
            let span = limit_line(&limit, summary);
            (span.text.to_string(), span.role)
        };
        let quiet = ("limit    clients 5r/s burst 20".to_owned(), Role::Text);
        assert_eq!(line(None), quiet);
        assert_eq!(line(Some(&traffic(0.0, 0.0))), quiet);
        let (text, role) = line(Some(&traffic(2.5, 14.0)));
        assert_eq!(
            text,
            "limit    clients 2.5/s delayed, 14/s refused, 5r/s burst 20"
        );
        assert_eq!(role, Role::Warn);
    }

    #[test]
    fn a_url_for_a_test_leads_to_the_route() {
        for (server, location, listen, expected) in [
            ("example.org", "/api/", "80", "http://example.org/api/"),
            (
                "*.example.org",
                "= /x",
                "[::1]:8080",
                "http://example.org:8080/x",
            ),
            ("_", r"~ \.php$", "443 ssl", "https://localhost/"),
            ("", "", "10.0.0.1", "http://localhost/"),
        ] {
            let route = Route {
                server: server.to_owned(),
                location: location.to_owned(),
                listens: vec![listen.to_owned()],
                ..Route::default()
            };
            assert_eq!(url(&route), expected);
        }
    }
}
