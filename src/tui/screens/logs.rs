//! Logs: requests as they end, the newest first, and how one of them passed its time.

use std::collections::VecDeque;
use std::rc::Rc;

use ratatui::layout::Rect;

use super::super::banned::Banned;
use super::super::glyphs::Glyphs;
use super::super::keymap::{Action, Context};
use super::super::model::{Link, Model};
use super::super::number;
use super::super::paint::Painter;
use super::super::text;
use super::super::theme::Role;
use super::super::view::{Effect, Input, Notice, Prompt, Target, View};
use super::super::widgets::table::{Cell, Column, Table, render_empty};
use super::WIDE;
use crate::protocol::{Micros, Request};

const COLUMNS: [Column; 8] = [
    Column::text("TIME", 12, 0, 4),
    Column::text("ST", 3, 0, 0),
    Column::text("METH", 5, 0, 3),
    Column::text("URL", 18, 6, 0),
    Column::number("MS", 6, 0),
    Column::number("BYTES", 6, 1),
    Column::text("UPSTREAM", 8, 2, 2),
    Column::text("CLIENT", 15, 1, 5),
];

const TABLE: u8 = 0;
const DETAIL: u8 = 1;

/// The rows of the detail pane below the table, frame included.
const DETAIL_ROWS: u16 = 16;

/// The screen.
#[derive(Debug)]
pub struct Logs {
    table: Table,
    filter: String,
    search: String,
    /// The hundreds of the statuses that are shown, if not all are.
    class: Option<u16>,
    is_following: bool,
    is_open: bool,
    /// The requests that are shown by their number, oldest first.
    shown: VecDeque<u64>,
    /// All before this one were looked at.
    looked: u64,
    /// The request that is selected.
    selected: Option<u64>,
    offset: usize,
    names: Vec<String>,
}

impl Default for Logs {
    fn default() -> Self {
        Self {
            table: Table::default(),
            filter: String::new(),
            search: String::new(),
            class: None,
            is_following: true,
            is_open: false,
            shown: VecDeque::new(),
            looked: 0,
            selected: None,
            offset: 0,
            names: Vec::new(),
        }
    }
}

/// The request of a number, as long as it is kept.
fn request(model: &Model, number: u64) -> Option<&Rc<Request>> {
    let live = model.live();
    let oldest = live.logged - live.log.len() as u64;
    live.log
        .get(usize::try_from(number.checked_sub(oldest)?).ok()?)
}

impl Logs {
    /// The rows that are shown, for a file.
    pub fn shown_text(&self, model: &Model) -> String {
        let mut text = String::new();
        for &number in self.shown.iter().rev() {
            let Some(request) = request(model, number) else {
                continue;
            };
            let line = format!(
                "{} {} {} {}{} {} ms {} B {} {}",
                number::clock_milliseconds(request.at, &model.zone),
                request.status,
                request.method,
                request.host,
                request.target,
                number::milliseconds(request.duration),
                request.sent,
                peers(request).unwrap_or_else(|| "-".to_owned()),
                request.client
            );
            text.push_str(&text::escape(&line));
            text.push('\n');
        }
        text
    }

    /// Looks at what came in since, and forgets what is not kept any more.
    fn arrange(&mut self, model: &Model) {
        let live = model.live();
        let oldest = live.logged - live.log.len() as u64;
        let filter = Filter::parse(&self.filter);
        // A pause goes back in time.
        while self.shown.back().is_some_and(|&last| last >= live.logged) {
            self.shown.pop_back();
        }
        let start = self.looked.min(live.logged).max(oldest);
        for number in start..live.logged {
            let is_shown = request(model, number).is_some_and(|request| {
                self.class.is_none_or(|class| request.status / 100 == class)
                    && filter.takes(request)
            });
            if is_shown {
                self.shown.push_back(number);
            }
        }
        self.looked = live.logged;
        while self.shown.front().is_some_and(|&first| first < oldest) {
            self.shown.pop_front();
        }
        self.table.set_rows(self.shown.len());
        if self.is_following {
            self.table.selected = 0;
        } else if let Some(selected) = self.selected {
            let row = self.shown.partition_point(|&number| number <= selected);
            let row = self.shown.len() - row;
            self.table.shift_to(row);
        }
        self.remember();
    }

    /// Looks at everything again: something else is wanted.
    fn look_again(&mut self) {
        self.shown.clear();
        self.looked = 0;
    }

    fn remember(&mut self) {
        let row = self.shown.len().checked_sub(self.table.selected + 1);
        self.selected = row.and_then(|row| self.shown.get(row).copied());
    }

    fn current<'m>(&self, model: &'m Model) -> Option<&'m Rc<Request>> {
        request(model, self.selected?)
    }

    fn find(&mut self, model: &Model, is_backwards: bool) -> Vec<Effect> {
        if self.search.is_empty() {
            return vec![Notice::plain("nothing was searched for yet (/ does)")];
        }
        let filter = Filter::parse(&self.search);
        let is_meant = |row: usize| {
            let number = self.shown.len().checked_sub(row + 1);
            let number = number.and_then(|at| self.shown.get(at));
            number.is_some_and(|&number| {
                request(model, number).is_some_and(|request| filter.takes(request))
            })
        };
        match self.table.next(is_backwards, is_meant) {
            Some(row) => {
                self.table.selected = row;
                self.is_following = false;
                Vec::new()
            }
            None => vec![Notice::plain(format!("nothing has {} in it", self.search))],
        }
    }

    fn act(&mut self, action: Action, model: &Model) -> Vec<Effect> {
        match action {
            Action::Open => {
                self.is_open = self.current(model).is_some();
                self.is_following = false;
                self.offset = 0;
            }
            Action::NextPane | Action::PreviousPane => {
                self.is_open = !self.is_open && self.current(model).is_some();
            }
            Action::Close if self.is_open => self.is_open = false,
            Action::Close => {
                self.filter.clear();
                self.class = None;
                self.look_again();
            }
            Action::Follow => {
                self.is_following = !self.is_following;
                self.is_open = false;
            }
            Action::Bans => return vec![Effect::Open(Box::new(Banned::default()))],
            Action::StatusClass => {
                self.class = match self.class {
                    None => Some(2),
                    Some(5) => None,
                    Some(class) => Some(class + 1),
                };
                self.look_again();
            }
            Action::Write => {
                let time = model.daemon_time().unwrap_or_default();
                let name = number::clock(time, &model.zone).replace(':', "");
                return vec![Effect::Prompt(Prompt {
                    title: "Write what is shown".to_owned(),
                    label: format!("{} rows into a new file:", self.shown.len()),
                    text: format!("openclaw-requests-{name}.txt"),
                    history: self.names.clone(),
                })];
            }
            Action::NextMatch => return self.find(model, false),
            Action::PreviousMatch => return self.find(model, true),
            Action::Copy => {
                let url = self
                    .current(model)
                    .map(|request| format!("{}{}", request.host, request.target));
                return url.into_iter().map(Effect::Copy).collect();
            }
            action => {
                if self.table.act(action) {
                    self.is_following = false;
                }
            }
        }
        Vec::new()
    }

    fn render_table(&mut self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        let remark = match (model.paused_since(), self.is_following) {
            (Some(_), _) => "paused",
            (None, true) => "following",
            (None, false) => "standing still",
        };
        let inside = painter.frame(area, "Live requests", remark, !self.is_open);
        if self.shown.is_empty() {
            let all = model.live().log.len();
            let text = match &model.link {
                _ if all > 0 => format!("0 of {all} match {} (Esc clears)", self.wanted()),
                Link::Live => "no requests since this screen was opened".to_owned(),
                _ => "no requests came in before the connection broke".to_owned(),
            };
            return render_empty(painter, inside, &text);
        }
        let glyphs = *painter.glyphs();
        let shown = &self.shown;
        self.table
            .render(painter, inside, TABLE, &COLUMNS, None, |row| {
                let number = shown[shown.len() - 1 - row];
                match request(model, number) {
                    Some(request) => cells(request, model, &glyphs),
                    None => vec![("?".to_owned(), Role::Muted)],
                }
            });
    }

    /// The filter in words.
    fn wanted(&self) -> String {
        let mut words = Vec::new();
        if let Some(class) = self.class {
            words.push(format!("{class}xx"));
        }
        if !self.filter.is_empty() {
            words.push(format!("\"{}\"", self.filter));
        }
        words.join(" and ")
    }

    fn render_detail(&self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        let Some(request) = self.current(model) else {
            painter.frame(area, "", "", false);
            return;
        };
        let title = format!(
            "{} {} {} {}{}",
            number::clock_milliseconds(request.at, &model.zone),
            request.status,
            request.method,
            request.host,
            request.target
        );
        let id = match request.id.as_str() {
            "" => String::new(),
            id => format!("id {id}"),
        };
        let inside = painter.frame(area, &title, &id, self.is_open);
        painter.hit(area, Target::Pane(DETAIL));
        let none = painter.glyphs().none;
        let or_none = |text: &str| if text.is_empty() { none } else { text }.to_owned();
        let mut size = format!(
            "{} received, {} sent",
            number::size(request.received),
            number::size(request.sent)
        );
        if !request.is_complete {
            size.push_str(", the client did not take all of it");
        }
        let facts = [
            ("url", format!("{}{}", request.host, request.target)),
            (
                "location",
                or_none(format!("{} {}", request.server, request.location).trim()),
            ),
            (
                "client",
                format!(
                    "{}  {}  {}",
                    request.client, request.protocol, request.user_agent
                ),
            ),
            ("bytes", size),
        ];
        let mut y = inside.y;
        for (name, value) in &facts {
            if y < inside.bottom() {
                painter.put(inside.x, y, 9, name, Role::Muted);
                let columns = inside.width.saturating_sub(10);
                painter.put(inside.x + 10, y, columns, value, Role::Text);
                y += 1;
            }
        }
        y += 1;
        for phase in phases(request).iter().skip(self.offset) {
            if y >= inside.bottom() {
                break;
            }
            render_phase(
                painter,
                Rect::new(inside.x, y, inside.width, 1),
                phase,
                request.duration,
            );
            y += 1;
        }
    }
}

/// A part of the time of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Phase {
    name: String,
    start: Micros,
    end: Micros,
    role: Role,
}

/// How a request passed its time, in order: before the first try, each try in its parts, and after
/// the last one.
fn phases(request: &Request) -> Vec<Phase> {
    let whole = request.duration;
    let phase = |name: String, start: Micros, end: Micros, role| Phase {
        name,
        start: start.min(whole),
        end: end.clamp(start.min(whole), whole),
        role,
    };
    let mut phases = vec![phase("whole request".to_owned(), 0, whole, Role::Text)];
    let mut done = 0;
    for (position, attempt) in request.attempts.iter().enumerate() {
        if attempt.started > done {
            let name = if done == 0 {
                "read, route, access"
            } else {
                "next peer"
            };
            phases.push(phase(name.to_owned(), done, attempt.started, Role::Muted));
        }
        let start = attempt.started;
        let times = attempt.response.or(attempt.header).or(attempt.connect);
        // One that never got anywhere ended when the next one started.
        let next = request.attempts.get(position + 1);
        let end = match times {
            Some(time) => start.saturating_add(time),
            None => next.map_or(whole, |next| next.started),
        };
        let role = if attempt.status >= 500 {
            Role::Bad
        } else {
            Role::Ok
        };
        let name = format!("{} {}", attempt.peer, attempt.status);
        phases.push(phase(name, start, end, role));
        let mut at = start;
        for (name, until) in [
            ("  connect", attempt.connect),
            ("  wait for head", attempt.header),
            ("  body", attempt.response),
        ] {
            if let Some(until) = until {
                let until = start.saturating_add(until);
                phases.push(phase(name.to_owned(), at, until, Role::Accent));
                at = until.max(at);
            }
        }
        done = end.max(done);
    }
    if request.attempts.is_empty() {
        phases.push(phase("answered here".to_owned(), 0, whole, Role::Accent));
    } else if done < whole {
        phases.push(phase(
            "send to the client".to_owned(),
            done,
            whole,
            Role::Muted,
        ));
    }
    phases
}

/// A name, a bar where it lies in the whole, and how long it took.
fn render_phase(painter: &mut Painter<'_>, area: Rect, phase: &Phase, whole: Micros) {
    let names = 24.min(area.width / 3);
    painter.put(area.x, area.y, names, &phase.name, Role::Text);
    let bars = area.width.saturating_sub(names + 11);
    let column = |at: Micros| match whole {
        0 => 0,
        whole => (at as f64 / whole as f64 * f64::from(bars)).round() as u16,
    };
    let (start, end) = (column(phase.start), column(phase.end));
    // What took any time is seen.
    let start = start.min(bars.saturating_sub(1));
    let width = (end.saturating_sub(start)).max(u16::from(phase.end > phase.start));
    let full = painter.glyphs().widths[7].repeat(usize::from(width));
    painter.put(area.x + names + 1 + start, area.y, width, &full, phase.role);
    let time = number::duration(phase.end - phase.start);
    painter.put_right(area.right().saturating_sub(9), area.y, 9, &time, Role::Text);
}

fn cells(request: &Request, model: &Model, glyphs: &Glyphs) -> Vec<Cell> {
    let status = match request.status {
        500.. => Role::Bad,
        400.. => Role::Warn,
        300.. => Role::Accent,
        _ => Role::Ok,
    };
    let none = || glyphs.none.to_owned();
    let sent = number::bytes(request.sent);
    vec![
        (
            number::clock_milliseconds(request.at, &model.zone),
            Role::Muted,
        ),
        (request.status.to_string(), status),
        (request.method.clone(), Role::Text),
        (format!("{}{}", request.host, request.target), Role::Text),
        (number::milliseconds(request.duration), Role::Text),
        (sent, Role::Text),
        (peers(request).unwrap_or_else(none), Role::Text),
        (request.client.clone(), Role::Muted),
    ]
}

/// The peer that answered, and how many were tried before.
fn peers(request: &Request) -> Option<String> {
    let last = request.attempts.last()?;
    Some(match request.attempts.len() {
        1 => last.peer.clone(),
        tries => format!("{} ({tries} tries)", last.peer),
    })
}

impl View for Logs {
    fn context(&self) -> Context {
        Context::Logs
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
                self.look_again();
                Vec::new()
            }
            Input::Click(Target::Pane(DETAIL)) => {
                self.is_open = true;
                Vec::new()
            }
            Input::Entered(name) if !name.is_empty() => {
                self.names.push(name.clone());
                vec![Effect::Write {
                    path: name.into(),
                    text: self.shown_text(model),
                }]
            }
            input => {
                if self.table.input(input, TABLE) {
                    self.is_following = false;
                }
                Vec::new()
            }
        };
        self.remember();
        self.arrange(model);
        effects
    }

    fn render(&mut self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        self.arrange(model);
        let has_both = area.height >= 2 * DETAIL_ROWS && area.width >= WIDE;
        if has_both {
            let table = area.height - DETAIL_ROWS;
            let above = Rect::new(area.x, area.y, area.width, table);
            let below = Rect::new(area.x, above.bottom(), area.width, DETAIL_ROWS);
            self.render_table(painter, above, model);
            self.render_detail(painter, below, model);
        } else if self.is_open {
            self.render_detail(painter, area, model);
        } else {
            self.render_table(painter, area, model);
        }
    }

    fn remark(&self, model: &Model) -> Option<String> {
        let live = model.live();
        let mut remark = match self.wanted().as_str() {
            "" => format!("{} requests", self.shown.len()),
            wanted => format!("{} of {} match {wanted}", self.shown.len(), live.log.len()),
        };
        if live.dropped > 0 {
            remark.push_str(&format!(
                "   {} not shown: too many at once",
                number::count(live.dropped)
            ));
        }
        if !self.is_following {
            remark.push_str("   f follows");
        }
        Some(remark)
    }

    fn filter(&self) -> &str {
        &self.filter
    }
}

/// What requests are wanted: groups of terms, with `or` between the groups. A term is a text that
/// stands anywhere, or a field, a comparison and a value: `status>=400`, `ms>1000`, `method=POST`.
#[derive(Clone, PartialEq, Debug, Default)]
struct Filter {
    groups: Vec<Vec<Term>>,
}

#[derive(Clone, PartialEq, Debug)]
enum Term {
    Text(String),
    Number(Field, Comparison, f64),
    Word(WordField, String),
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Field {
    Status,
    Milliseconds,
    Bytes,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum WordField {
    Method,
    Host,
    Client,
    Upstream,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Comparison {
    AtLeast,
    AtMost,
    Above,
    Below,
    Equal,
}

impl Filter {
    fn parse(text: &str) -> Self {
        let mut groups = vec![Vec::new()];
        for word in text.split_whitespace() {
            match groups.last_mut() {
                Some(group) if word != "or" => group.push(Term::parse(word)),
                _ => groups.push(Vec::new()),
            }
        }
        // `or` without something behind it is still being typed.
        groups.retain(|group| !group.is_empty());
        Self { groups }
    }

    fn takes(&self, request: &Request) -> bool {
        self.groups.is_empty()
            || self
                .groups
                .iter()
                .any(|group| group.iter().all(|term| term.takes(request)))
    }
}

impl Term {
    fn parse(word: &str) -> Self {
        let comparisons = [
            (">=", Comparison::AtLeast),
            ("<=", Comparison::AtMost),
            (">", Comparison::Above),
            ("<", Comparison::Below),
            ("=", Comparison::Equal),
        ];
        let split = comparisons.into_iter().find_map(|(sign, comparison)| {
            let (name, value) = word.split_once(sign)?;
            Some((name, comparison, value))
        });
        let Some((name, comparison, value)) = split else {
            return Self::Text(word.to_lowercase());
        };
        let field = match name {
            "status" => Some(Field::Status),
            "ms" => Some(Field::Milliseconds),
            "bytes" => Some(Field::Bytes),
            _ => None,
        };
        if let (Some(field), Ok(value)) = (field, value.parse()) {
            return Self::Number(field, comparison, value);
        }
        let field = match (name, comparison) {
            ("method", Comparison::Equal) => WordField::Method,
            ("host", Comparison::Equal) => WordField::Host,
            ("client", Comparison::Equal) => WordField::Client,
            ("upstream", Comparison::Equal) => WordField::Upstream,
            _ => return Self::Text(word.to_lowercase()),
        };
        Self::Word(field, value.to_lowercase())
    }

    fn takes(&self, request: &Request) -> bool {
        let has = |text: &str, wanted: &str| text.to_lowercase().contains(wanted);
        let has_peer = |wanted: &str| request.attempts.iter().any(|it| has(&it.peer, wanted));
        match self {
            Self::Text(wanted) => {
                let url = format!("{}{}", request.host, request.target);
                has(&url, wanted)
                    || has(&request.client, wanted)
                    || has(&request.method, wanted)
                    || request.status.to_string() == *wanted
                    || has_peer(wanted)
            }
            Self::Number(field, comparison, wanted) => {
                let value = match field {
                    Field::Status => f64::from(request.status),
                    Field::Milliseconds => request.duration as f64 / 1000.0,
                    Field::Bytes => request.sent as f64,
                };
                match comparison {
                    Comparison::AtLeast => value >= *wanted,
                    Comparison::AtMost => value <= *wanted,
                    Comparison::Above => value > *wanted,
                    Comparison::Below => value < *wanted,
                    Comparison::Equal => value == *wanted,
                }
            }
            Self::Word(WordField::Method, wanted) => request.method.eq_ignore_ascii_case(wanted),
            Self::Word(WordField::Host, wanted) => has(&request.host, wanted),
            Self::Word(WordField::Client, wanted) => has(&request.client, wanted),
            Self::Word(WordField::Upstream, wanted) => has_peer(wanted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Attempt;

    #[test]
    fn a_filter_is_terms_with_or_between() {
        let mut request = Request {
            status: 502,
            method: "GET".to_owned(),
            host: "example.org".to_owned(),
            target: "/api".to_owned(),
            duration: 1_500_000,
            ..Request::default()
        };
        let takes = |text: &str, request: &Request| Filter::parse(text).takes(request);
        for text in [
            "",
            "api",
            "status>=500",
            "ms>1000 method=get",
            "status=200 or ms>1000",
            "ORG/A",
            "502",
            "x or api",
            "api or",
        ] {
            assert!(takes(text, &request), "{text}");
        }
        for text in [
            "apix",
            "status<500",
            "ms>1000 method=post",
            "a>b",
            "upstream=10.",
        ] {
            assert!(!takes(text, &request), "{text}");
        }
        request.attempts.push(Attempt {
            peer: "10.0.0.1:80".to_owned(),
            ..Attempt::default()
        });
        assert!(takes("upstream=10.", &request));
    }

    #[test]
    fn the_phases_of_a_request_cover_its_time_in_order() {
        let request = Request {
            duration: 2_010_000,
            attempts: vec![
                Attempt {
                    peer: "a".to_owned(),
                    status: 504,
                    started: 100,
                    ..Attempt::default()
                },
                Attempt {
                    peer: "b".to_owned(),
                    status: 200,
                    started: 2_000_000,
                    connect: Some(1_000),
                    header: Some(5_000),
                    response: Some(8_000),
                    ..Attempt::default()
                },
            ],
            ..Request::default()
        };
        let found: Vec<_> = phases(&request)
            .into_iter()
            .map(|phase| (phase.name, phase.start, phase.end))
            .collect();
        let expected = [
            ("whole request", 0, 2_010_000),
            ("read, route, access", 0, 100),
            ("a 504", 100, 2_000_000),
            ("b 200", 2_000_000, 2_008_000),
            ("  connect", 2_000_000, 2_001_000),
            ("  wait for head", 2_001_000, 2_005_000),
            ("  body", 2_005_000, 2_008_000),
            ("send to the client", 2_008_000, 2_010_000),
        ];
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(name, start, end)| (name.to_owned(), start, end))
            .collect();
        assert_eq!(found, expected);
    }
}
