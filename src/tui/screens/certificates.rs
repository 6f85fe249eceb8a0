//! Certificates: what names are served with, what ends soonest first, and what is done about it.

use ratatui::layout::Rect;

use super::super::agree::Agree;
use super::super::glyphs::Glyphs;
use super::super::keymap::{Action, Context};
use super::super::model::Model;
use super::super::number;
use super::super::paint::{Painter, Span};
use super::super::text;
use super::super::theme::Role;
use super::super::view::{Answer, Ask, Call, Effect, Input, Notice, Target, View};
use super::super::why::Why;
use super::super::widgets::reader::Reader;
use super::super::widgets::table::{Cell, Column, Table, matches};
use super::{WIDE, render_state, short_path};
use crate::protocol::{
    Certificate, CertificateName, CertificateSource, CertificateState, Level, LogLine, Millis,
};

const COLUMNS: [Column; 6] = [
    Column::text("NAMES", 16, 2, 0),
    Column::text("ISSUER", 12, 1, 3),
    Column::number("LEFT", 6, 2),
    Column::text("RENEW", 11, 0, 4),
    Column::text("CHALLENGE", 11, 0, 5),
    Column::text("STATE", 13, 0, 0),
];

const TABLE: u8 = 0;
const DETAIL: u8 = 1;

/// The dialog of the chain, frame included.
const CHAIN: u16 = 78;

/// The columns of the labels of facts.
const LABEL: usize = 11;

/// The screen.
#[derive(Debug, Default)]
pub struct CertificatesScreen {
    table: Table,
    filter: String,
    search: String,
    /// Sorted by the end, unless a column is chosen.
    sort: Option<usize>,
    is_reversed: bool,
    /// The details have the focus; where there is little room they stand in place of the table.
    is_open: bool,
    /// Positions in the model's list, as they are shown.
    shown: Vec<usize>,
    /// The id of the selected one, to find it again when the order changes.
    selected: Option<String>,
    /// What was asked whether it should be renewed.
    pending: Option<String>,
}

/// How a level looks.
fn role(level: Level) -> Role {
    match level {
        Level::Good => Role::Ok,
        Level::Info => Role::Accent,
        Level::Warn => Role::Warn,
        Level::Bad => Role::Bad,
    }
}

/// `! failed 2`
fn state(certificate: &Certificate, glyphs: &Glyphs) -> String {
    let glyph = match (certificate.state, certificate.level()) {
        (CertificateState::Valid, _) => glyphs.up,
        (CertificateState::Waiting, _) => glyphs.half,
        (CertificateState::Expired | CertificateState::Placeholder, _) => glyphs.down,
        _ => "!",
    };
    let failures = certificate.managed.as_ref().map_or(0, |it| it.failures);
    match certificate.state {
        CertificateState::Failed if failures > 1 => format!("{glyph} failed {failures}"),
        state => format!("{glyph} {}", state.name()),
    }
}

/// Who signed what is served; else who shall.
fn issuer(certificate: &Certificate) -> String {
    if let CertificateSource::Files { .. } = certificate.source {
        return match &certificate.served {
            Some(served) => format!("file, {}", served.issuer),
            None => "file".to_owned(),
        };
    }
    match &certificate.served {
        Some(served) if served.organization.is_empty() => served.issuer.clone(),
        Some(served) => format!("{} {}", served.issuer, served.organization),
        None => certificate.source.name().to_owned(),
    }
}

/// When something happens next.
fn renewal(certificate: &Certificate, now: Millis, none: &str) -> String {
    let Some(managed) = &certificate.managed else {
        return match certificate.source {
            CertificateSource::Files { .. } => "manual".to_owned(),
            _ => none.to_owned(),
        };
    };
    let word = if managed.failures > 0 { "retry" } else { "in" };
    match managed.next {
        _ if managed.is_busy => "now".to_owned(),
        Some(next) if next <= now => "now".to_owned(),
        Some(next) => format!("{word} {}", number::age(next - now)),
        None => none.to_owned(),
    }
}

fn left(certificate: &Certificate, now: Millis, none: &str) -> String {
    match &certificate.served {
        // Some live for hours only.
        Some(served) if served.days_left == 0 && served.not_after > now => {
            number::age(served.not_after - now)
        }
        Some(served) => format!("{} d", served.days_left),
        None => none.to_owned(),
    }
}

fn challenge(certificate: &Certificate) -> &str {
    let managed = certificate.managed.as_ref();
    managed.map_or("", |managed| managed.challenge.as_str())
}

/// When it ends; what is not there at all comes first.
fn end(certificate: &Certificate) -> Millis {
    certificate.served.as_ref().map_or(0, |it| it.not_after)
}

fn cells(certificate: &Certificate, now: Millis, glyphs: &Glyphs) -> Vec<Cell> {
    let role = role(certificate.level());
    let or_none = |text: &str| match text {
        "" => glyphs.none.to_owned(),
        text => text.to_owned(),
    };
    let left_role = match certificate.state {
        CertificateState::Valid | CertificateState::Waiting => Role::Text,
        _ => role,
    };
    vec![
        (certificate.names.join(", "), Role::Text),
        (issuer(certificate), Role::Text),
        (left(certificate, now, glyphs.none), left_role),
        (renewal(certificate, now, glyphs.none), Role::Text),
        (or_none(challenge(certificate)), Role::Text),
        (state(certificate, glyphs), role),
    ]
}

fn is_match(certificate: &Certificate, wanted: &str) -> bool {
    let mut texts: Vec<&str> = certificate.names.iter().map(String::as_str).collect();
    texts.extend(certificate.used_by.iter().map(|it| it.server.as_str()));
    let issuer = issuer(certificate);
    texts.extend([
        issuer.as_str(),
        certificate.source.name(),
        certificate.state.name(),
        challenge(certificate),
    ]);
    matches(wanted, &texts)
}

impl CertificatesScreen {
    fn arrange(&mut self, model: &Model) {
        self.shown.clear();
        let Some(list) = &model.certificates.value else {
            return self.table.set_rows(0);
        };
        let all = &list.certificates;
        self.shown.extend(
            (0..all.len()).filter(|&position| {
                self.filter.is_empty() || is_match(&all[position], &self.filter)
            }),
        );
        let now = model.daemon_time().unwrap_or_default();
        let sort = self.sort;
        self.shown.sort_by(|&left, &right| {
            let (left, right) = (&all[left], &all[right]);
            match sort {
                Some(0) => left.names.cmp(&right.names),
                Some(1) => issuer(left).cmp(&issuer(right)),
                Some(3) => {
                    let next = |it: &Certificate| it.managed.as_ref().and_then(|it| it.next);
                    (next(left).unwrap_or(Millis::MAX).max(now))
                        .cmp(&next(right).unwrap_or(Millis::MAX).max(now))
                }
                Some(4) => challenge(left).cmp(challenge(right)),
                Some(5) => left.state.cmp(&right.state),
                _ => end(left).cmp(&end(right)),
            }
        });
        if self.is_reversed {
            self.shown.reverse();
        }
        self.table.set_rows(self.shown.len());
        let same = self.selected.as_ref().and_then(|id| {
            let mut rows = self.shown.iter();
            rows.position(|&position| all[position].id == *id)
        });
        if let Some(row) = same {
            self.table.selected = row;
        }
        self.selected = self.certificate(model).map(|it| it.id.clone());
    }

    /// What is selected.
    fn certificate<'m>(&self, model: &'m Model) -> Option<&'m Certificate> {
        let list = model.certificates.value.as_deref()?;
        let &position = self.shown.get(self.table.selected)?;
        list.certificates.get(position)
    }

    fn find(&mut self, model: &Model, is_backwards: bool) -> Vec<Effect> {
        if self.search.is_empty() {
            return vec![Notice::plain("nothing was searched for yet (/ does)")];
        }
        let Some(list) = &model.certificates.value else {
            return Vec::new();
        };
        let is_meant = |row: usize| is_match(&list.certificates[self.shown[row]], &self.search);
        match self.table.next(is_backwards, is_meant) {
            Some(row) => {
                self.table.selected = row;
                Vec::new()
            }
            None => vec![Notice::plain(format!("nothing has {} in it", self.search))],
        }
    }

    /// Asks whether it should be renewed, the authority's limits first.
    fn renew(&mut self, model: &Model) -> Vec<Effect> {
        let Some(certificate) = self.certificate(model) else {
            return vec![Notice::plain("no certificate is selected")];
        };
        let Some(managed) = &certificate.managed else {
            let first = certificate.names.first().map_or("NAME", String::as_str);
            return vec![Notice::plain(match certificate.source {
                CertificateSource::Files { .. } => {
                    format!("it is a file: openclaw cert import {first} replaces it")
                }
                _ => "nothing says where it comes from".to_owned(),
            })];
        };
        let now = model.daemon_time().unwrap_or_default();
        let mut lines = vec![certificate.names.join(", ")];
        if !managed.limits.is_empty() {
            lines.push(managed.limits.clone());
        }
        let mut line = match &certificate.served {
            Some(served) => format!(
                "The one that is served is good for {} days.",
                served.days_left
            ),
            None => "A placeholder is served.".to_owned(),
        };
        if let Some(next) = managed.next.filter(|next| *next > now) {
            let wait = number::age(next - now);
            line.push_str(&format!(" It is renewed without you in {wait}."));
        }
        lines.push(line);
        lines.push(String::new());
        lines.push("What is served stays until the new one is there.".to_owned());
        self.pending = Some(certificate.id.clone());
        vec![Effect::Ask(Ask {
            title: "Renew now?".to_owned(),
            lines,
            button: "Renew".to_owned(),
        })]
    }

    fn act(&mut self, action: Action, model: &Model) -> Vec<Effect> {
        match action {
            Action::Open => {
                return match self.certificate(model) {
                    Some(certificate) => vec![Effect::Open(Box::new(chain(certificate, model)))],
                    None => Vec::new(),
                };
            }
            Action::NextPane | Action::PreviousPane => {
                self.is_open = !self.is_open && self.certificate(model).is_some();
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
                let certificate = self.certificate(model);
                let copied = certificate.map(|it| Effect::Copy(it.names.join(" ")));
                return copied.into_iter().collect();
            }
            Action::Renew => return self.renew(model),
            Action::Why => {
                return match self.certificate(model).and_then(|it| it.names.first()) {
                    Some(name) => vec![Effect::Open(Box::new(Why::new(name)))],
                    None => vec![Notice::plain("no certificate is selected")],
                };
            }
            Action::AcmeLog => {
                let Some(certificate) = self.certificate(model) else {
                    return Vec::new();
                };
                let log = certificate.managed.as_ref().map(|it| it.log.as_slice());
                let Some(log) = log.filter(|log| !log.is_empty()) else {
                    return vec![Notice::plain("nothing was done for it yet")];
                };
                let first = certificate.names.first().map_or("", String::as_str);
                let lines = log.iter().flat_map(|line| {
                    let columns = usize::from(CHAIN) - 4;
                    wrapped(&log_line(line, model), columns)
                });
                let title = format!("ACME log  {first}");
                let reader = Reader::new(title, CHAIN, lines.collect());
                return vec![Effect::Open(Box::new(reader))];
            }
            Action::Agree => {
                let list = model.certificates.value.as_deref();
                let mut all = list.into_iter().flat_map(|list| &list.certificates);
                let terms = all.find_map(|it| it.managed.as_ref()?.terms.clone());
                return match terms {
                    Some(terms) => vec![Effect::Open(Box::new(Agree::new(terms)))],
                    None => vec![Notice::plain("no certificate waits for an agreement")],
                };
            }
            action => {
                self.table.act(action);
            }
        }
        Vec::new()
    }

    fn render_table(&mut self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        let sort = match self.sort {
            None => "soonest".to_owned(),
            Some(column) => COLUMNS[column].title.to_lowercase(),
        };
        let reversed = if self.is_reversed { " reversed" } else { "" };
        let remark = format!("sort: {sort}{reversed}");
        let inside = painter.frame(area, "Certificates", &remark, !self.is_open);
        let list = model.certificates.value.as_deref();
        let Some(list) = list.filter(|_| !self.shown.is_empty()) else {
            let empty = match all(model) {
                0 => "no certificates: no server listens with ssl".to_owned(),
                all => format!("0 of {all} match \"{}\" (Esc clears)", self.filter),
            };
            return render_state(painter, inside, &model.certificates, model, &empty);
        };
        let glyphs = *painter.glyphs();
        let now = model.daemon_time().unwrap_or_default();
        let shown = &self.shown;
        let sort = self.sort.or(Some(2));
        self.table
            .render(painter, inside, TABLE, &COLUMNS, sort, |row| {
                cells(&list.certificates[shown[row]], now, &glyphs)
            });
    }

    fn render_detail(&self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        let Some(certificate) = self.certificate(model) else {
            painter.frame(area, "", "", false);
            return;
        };
        let title = certificate.names.first().map_or("", String::as_str);
        let state = state(certificate, painter.glyphs());
        let inside = painter.frame(area, title, &state, self.is_open);
        painter.hit(area, Target::Pane(DETAIL));
        let facts = facts(certificate, model, painter.glyphs());
        let columns = usize::from(inside.width);
        let lines = facts.iter().flat_map(|(name, value, role)| {
            let value = text::wrap(value, columns.saturating_sub(LABEL));
            let mut name = name.to_owned();
            value.into_iter().map(move |line| {
                let label = format!("{:LABEL$}", std::mem::take(&mut name));
                vec![Span::new(label, Role::Muted), Span::new(line, *role)]
            })
        });
        for (spans, y) in lines.zip(inside.y..inside.bottom()) {
            painter.put_spans(inside.x, y, inside.width, &spans);
        }
    }

    fn render_log(&self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        let inside = painter.frame(area, "ACME log", "newest last", false);
        let certificate = self.certificate(model);
        let managed = certificate.and_then(|it| it.managed.as_ref());
        let Some(managed) = managed.filter(|managed| !managed.log.is_empty()) else {
            let why = match managed {
                Some(_) => "nothing was done for it yet",
                None => "it is not got by the daemon",
            };
            painter.put(inside.x, inside.y, inside.width, why, Role::Muted);
            return;
        };
        let first = managed.log.len().saturating_sub(usize::from(inside.height));
        for (line, y) in managed.log[first..].iter().zip(inside.y..) {
            let spans = log_line(line, model);
            painter.put_spans(inside.x, y, inside.width, &spans);
        }
    }
}

fn log_line(line: &LogLine, model: &Model) -> Vec<Span> {
    let role = match line.level {
        Level::Info => Role::Text,
        level => role(level),
    };
    vec![
        Span::new(
            format!("{} ", number::clock(line.at, &model.zone)),
            Role::Muted,
        ),
        Span::new(&line.text, role),
    ]
}

/// A line whose last piece is broken where it does not fit, the rest below it.
fn wrapped(spans: &[Span], columns: usize) -> Vec<Vec<Span>> {
    let Some((last, before)) = spans.split_last() else {
        return Vec::new();
    };
    let used: usize = before.iter().map(|span| text::width(&span.text)).sum();
    let parts = text::wrap(&last.text, columns.saturating_sub(used).max(8));
    let lines = parts.into_iter().enumerate().map(|(position, part)| {
        let mut line = match position {
            0 => before.to_vec(),
            _ => vec![Span::plain(" ".repeat(used))],
        };
        line.push(Span::new(part, last.role));
        line
    });
    lines.collect()
}

/// Everything about one, what is urgent first.
fn facts(certificate: &Certificate, model: &Model, glyphs: &Glyphs) -> Vec<(String, String, Role)> {
    let mut facts = Vec::new();
    let mut fact = |name: &str, value: &str, role: Role| {
        if !value.is_empty() {
            facts.push((name.to_owned(), value.to_owned(), role));
        }
    };
    let now = model.daemon_time().unwrap_or_default();
    fact("", &certificate.remark, role(certificate.level()));
    fact("names", &certificate.names.join(", "), Role::Text);
    if let Some(served) = &certificate.served {
        let time = |at| number::moment(at, &model.zone);
        fact("not before", &time(served.not_before), Role::Text);
        fact("not after", &time(served.not_after), Role::Text);
        fact("issuer", &issuer(certificate), Role::Text);
        fact("key", &served.key, Role::Text);
        fact("serial", &served.serial, Role::Text);
    }
    match &certificate.source {
        CertificateSource::Files { certificate, key } => {
            fact("file", short_path(model, certificate), Role::Text);
            fact("key file", short_path(model, key), Role::Text);
        }
        CertificateSource::Issuer { name, uri } => {
            fact("from", &format!("{name}, {uri}"), Role::Text);
        }
        source => fact("from", source.name(), Role::Text),
    }
    for user in &certificate.used_by {
        let server = match user.server.as_str() {
            "" => "_",
            server => server,
        };
        let used = format!(
            "{server} on {} ({}:{})",
            user.listens.join(" "),
            short_path(model, &user.file),
            user.line
        );
        fact("used by", &used, Role::Text);
    }
    if let Some(managed) = &certificate.managed {
        fact("challenge", &managed.challenge, Role::Text);
        let next = renewal(certificate, now, glyphs.none);
        fact("renewal", &next, Role::Text);
        if let Some(used) = managed.last_used {
            let used = number::day(used, now, &model.zone);
            fact("on demand", &format!("last asked for {used}"), Role::Text);
        }
        fact("limits", &managed.limits, Role::Text);
        if let Some(terms) = &managed.terms {
            fact("terms", &format!("{} (A agrees)", terms.url), Role::Warn);
        }
        if let Some(trouble) = &managed.last_error {
            let at = number::day(trouble.at, now, &model.zone);
            fact("last error", &format!("{at}: {}", trouble.text), Role::Bad);
            fact("authority", &trouble.authority, Role::Bad);
        }
    }
    facts
}

/// The certificate and what is sent with it, to read.
fn chain(certificate: &Certificate, model: &Model) -> Reader {
    let mut lines = Vec::new();
    let columns = usize::from(CHAIN) - 4;
    let mut fact = |name: &str, value: &str| {
        if !value.is_empty() {
            let label = Span::new(format!("{name:LABEL$}"), Role::Muted);
            lines.extend(wrapped(&[label, Span::plain(value)], columns));
        }
    };
    let time = |at| number::moment(at, &model.zone);
    match &certificate.served {
        Some(served) => {
            fact("subject", &served.subject);
            fact("names", &served.names.join(", "));
            fact("issuer", &served.issuer);
            fact("not before", &time(served.not_before));
            fact("not after", &time(served.not_after));
            fact("key", &served.key);
            fact("signature", &served.signature);
            fact("serial", &served.serial);
            fact("sha256", &served.sha256);
            for (position, link) in served.chain.iter().enumerate() {
                fact(&format!("{}", position + 1), &link.subject);
                fact("", &format!("signed by {}", link.issuer));
                fact("", &format!("{}, until {}", link.key, time(link.not_after)));
            }
            if served.chain.is_empty() {
                fact("chain", "nothing is sent with it");
            }
        }
        None => {
            fact("names", &certificate.names.join(", "));
            fact("served", "a placeholder that nobody trusts");
            fact("", &certificate.remark);
        }
    }
    let title = certificate.names.first().map_or("", String::as_str);
    Reader::new(format!("Chain  {title}"), CHAIN, lines)
}

/// How many certificates there are.
fn all(model: &Model) -> usize {
    let list = model.certificates.value.as_deref();
    list.map_or(0, |list| list.certificates.len())
}

impl View for CertificatesScreen {
    fn context(&self) -> Context {
        Context::Certificates
    }

    fn input(&mut self, input: &Input, model: &Model) -> Vec<Effect> {
        self.arrange(model);
        let effects = match input {
            Input::Shown => vec![Effect::Call(Call::Certificates)],
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
            Input::Confirmed => match self.pending.take() {
                Some(name) => vec![Effect::Call(Call::Renew(CertificateName { name }))],
                None => Vec::new(),
            },
            Input::Answer(Ok(Answer::Done(done))) => {
                vec![
                    Notice::good(done.text.as_str()),
                    Effect::Call(Call::Certificates),
                ]
            }
            Input::Answer(Err(failure)) => vec![Notice::bad(failure.to_string())],
            input => {
                if self.table.input(input, TABLE) {
                    self.is_open = false;
                }
                Vec::new()
            }
        };
        self.selected = self.certificate(model).map(|it| it.id.clone());
        self.arrange(model);
        effects
    }

    fn render(&mut self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        self.arrange(model);
        if area.width >= WIDE {
            let log = (area.height / 4).clamp(6, 12);
            let height = area.height.saturating_sub(log);
            let width = (area.width * 35 / 100).clamp(42, 80);
            let left = Rect::new(area.x, area.y, area.width - width, height);
            let right = Rect::new(left.right(), area.y, width, height);
            let below = Rect::new(area.x, left.bottom(), area.width, area.height - height);
            self.render_table(painter, left, model);
            self.render_detail(painter, right, model);
            self.render_log(painter, below, model);
        } else if self.is_open {
            self.render_detail(painter, area, model);
        } else {
            self.render_table(painter, area, model);
        }
    }

    fn remark(&self, model: &Model) -> Option<String> {
        model.certificates.value.as_ref()?;
        let all = all(model);
        let certificate = self.certificate(model)?;
        let mut remark = match (self.filter.as_str(), all) {
            ("", 1) => "1 certificate".to_owned(),
            ("", all) => format!("{all} certificates"),
            (filter, all) => format!("{} of {all} match \"{filter}\"", self.shown.len()),
        };
        if !certificate.remark.is_empty() {
            remark.push_str("   ");
            remark.push_str(&certificate.remark);
        }
        Some(remark)
    }

    fn filter(&self) -> &str {
        &self.filter
    }
}
