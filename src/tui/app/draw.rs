//! The frame around the screens: header, tabs, the line of context, the keys.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::super::keymap::{self, Action};
use super::super::model::Link;
use super::super::number;
use super::super::paint::{Painter, Span};
use super::super::text;
use super::super::theme::Role;
use super::super::view::{Screen, Target};
use super::{App, Bottom, PATIENCE};
use crate::protocol::ConfState;

/// Below this nothing can be read.
const LEAST: (u16, u16) = (60, 16);

/// From this width on the header says everything.
const WIDE: u16 = 100;

impl App {
    /// Draws everything; gives the place of the cursor, if it is shown.
    pub fn render(&mut self, buffer: &mut Buffer) -> Option<Position> {
        let (theme, glyphs) = (self.theme, self.glyphs);
        let mut painter = Painter::new(buffer, &theme, &glyphs);
        let area = painter.area();
        if area.width < LEAST.0 || area.height < LEAST.1 {
            let text = format!(
                "openclaw needs {}x{}, has {}x{}  (q quits)",
                LEAST.0, LEAST.1, area.width, area.height
            );
            for (line, y) in text::wrap(&text, usize::from(area.width))
                .iter()
                .zip(area.top()..area.bottom())
            {
                painter.put(area.x, y, area.width, line, Role::Text);
            }
            let (hits, _) = painter.finish();
            self.hits = hits;
            return None;
        }
        let row = |y: u16| Rect::new(area.x, y, area.width, 1);
        let body = Rect::new(area.x, area.y + 2, area.width, area.height - 4);
        self.header(&mut painter, row(area.y));
        if self.is_offline() {
            self.offline(&mut painter, body);
        } else if self.model.status.is_some() {
            self.tabs(&mut painter, row(area.y + 1));
            painter.dim(self.model.is_old());
            self.screens
                .view_mut(self.screen)
                .render(&mut painter, body, &self.model);
            painter.dim(false);
        }
        if self.shows_banner() {
            self.banner(&mut painter, body);
        }
        for overlay in &mut self.overlays {
            overlay.view.render(&mut painter, body, &self.model);
        }
        self.context_line(&mut painter, row(area.bottom() - 2));
        self.hints(&mut painter, row(area.bottom() - 1));
        let (hits, cursor) = painter.finish();
        self.hits = hits;
        cursor
    }

    fn header(&self, painter: &mut Painter<'_>, row: Rect) {
        let glyphs = painter.glyphs();
        let is_wide = row.width >= WIDE;
        let status = self.model.status.as_ref();
        let summary = self.model.current().summary.as_deref();
        let now = self.model.now;
        let mut spans = vec![Span::new(" openclaw", Role::Title)];
        if let Some(status) = status {
            spans.push(Span::plain(format!(
                " {}",
                text::fit(&status.host, 20, glyphs.cut)
            )));
        }
        spans.push(Span::plain("  "));
        let mut right = String::new();
        let wait = |retry: u64| format!("retry in {} s ", retry.saturating_sub(now).div_ceil(1000));
        match &self.model.link {
            Link::Connecting { since } if now < since + PATIENCE => {}
            Link::Connecting { .. } => {
                spans.push(Span::new(format!("{} connecting", glyphs.half), Role::Warn));
            }
            Link::Absent { retry, .. } => {
                let state = format!("{} not connected", glyphs.gone);
                spans.push(Span::new(state, Role::Bad));
                right = wait(*retry);
            }
            Link::Lost { since, retry, .. } => {
                let state = format!(
                    "{} not connected {}",
                    glyphs.gone,
                    number::stopwatch(now.saturating_sub(*since))
                );
                spans.push(Span::new(state, Role::Bad));
                if let Some(summary) = summary {
                    let time = number::clock(summary.at, &self.model.zone);
                    spans.push(Span::plain(format!("   showing {time} (old)")));
                }
                right = wait(*retry);
            }
            Link::Live | Link::Old { .. } => {
                match &self.model.link {
                    Link::Old { since } => {
                        let age = number::age(now.saturating_sub(*since));
                        spans.push(Span::new(format!("{} old {age}", glyphs.half), Role::Warn));
                    }
                    _ => spans.push(Span::new(format!("{} live", glyphs.up), Role::Ok)),
                }
                if let Some(summary) = summary {
                    if is_wide {
                        let uptime = number::uptime(summary.uptime_seconds);
                        spans.push(Span::plain(format!("  up {uptime}")));
                    }
                    spans.push(Span::plain(format!("  rev {}", summary.revision)));
                    match summary.state {
                        ConfState::Edited => spans.push(Span::new(" (edited)", Role::Warn)),
                        ConfState::Clean if is_wide => spans.push(Span::plain(" (clean)")),
                        ConfState::Clean => {}
                    }
                    let traffic = &summary.traffic;
                    let all: u64 = traffic.statuses.iter().sum();
                    let spent = summary.spent_today.as_deref();
                    let spent = spent.map(|it| format!("{} today  ", number::dollars(it)));
                    right = format!(
                        "{} req/s  {} 5xx  {}{} ",
                        number::rate(traffic.rate),
                        number::share(traffic.statuses[4], all, glyphs.none),
                        spent.unwrap_or_default(),
                        number::clock(summary.at, &self.model.zone)
                    );
                }
            }
        }
        let columns = (text::width(&right) as u16).min(row.width);
        // What does not fit whole is left out.
        let mut room = usize::from(row.width - columns);
        let mut x = row.x;
        for span in spans {
            let width = text::width(&span.text);
            if width > room {
                break;
            }
            room -= width;
            x = painter.put(x, row.y, width as u16, &span.text, span.role);
        }
        painter.put_right(row.right() - columns, row.y, columns, &right, Role::Text);
    }

    /// `[1 Overview]2 Routes 3 Backends`: brackets stand where blanks are.
    fn tabs(&self, painter: &mut Painter<'_>, row: Rect) {
        let mut x = row.x;
        let summary = self.model.live().summary.as_deref();
        let certificates = summary.map(|summary| &summary.certificate_states);
        let troubles = certificates.map_or(0, |states| states.warn + states.bad);
        let is_bad = certificates.is_some_and(|states| states.bad > 0);
        let unseen = summary.map_or(0, |summary| summary.unseen_alerts);
        let label = |position: usize, screen: Screen, name: &str| match screen {
            Screen::Certificates if troubles > 0 => {
                format!("{} {name}({troubles})", (position + 1) % 10)
            }
            Screen::Alerts if unseen > 0 => {
                format!("{} {name}({unseen})", (position + 1) % 10)
            }
            _ => format!("{} {name}", (position + 1) % 10),
        };
        let needed = |name: fn(Screen) -> &'static str| -> usize {
            (Screen::ALL.into_iter().enumerate())
                .map(|(position, screen)| text::width(&label(position, screen, name(screen))) + 1)
                .sum()
        };
        let is_narrow = needed(Screen::name) + 1 > usize::from(row.width);
        // Then the digits have to do, but for the one that is shown.
        let is_tiny = needed(Screen::short_name) + 1 > usize::from(row.width);
        for (position, screen) in Screen::ALL.into_iter().enumerate() {
            let is_shown = screen == self.screen;
            let name = match is_narrow {
                true if is_tiny && !is_shown => ((position + 1) % 10).to_string(),
                true => label(position, screen, screen.short_name()),
                false => label(position, screen, screen.name()),
            };
            let role = match (is_shown, screen) {
                (true, _) => Role::Accent,
                (false, Screen::Certificates) if is_bad => Role::Bad,
                (false, Screen::Certificates) if troubles > 0 => Role::Warn,
                (false, Screen::Alerts) if unseen > 0 => Role::Warn,
                (false, _) => Role::Muted,
            };
            if is_shown {
                painter.put(x, row.y, 1, "[", role);
            }
            let end = painter.put(x + 1, row.y, row.right().saturating_sub(x + 1), &name, role);
            if is_shown {
                painter.put(end, row.y, 1, "]", role);
            }
            painter.hit(
                Rect::new(x + 1, row.y, end - x - 1, 1),
                Target::Screen(screen),
            );
            x = end;
        }
    }

    /// What is typed; else what was just said; else that the display is paused; else the newest
    /// warning; else what the screen has to say.
    fn context_line(&self, painter: &mut Painter<'_>, row: Rect) {
        let (x, y, columns) = (row.x + 1, row.y, row.width.saturating_sub(2));
        let line = match &self.bottom {
            Some(Bottom::Filter(line, _)) => Some(("/", line)),
            Some(Bottom::Command(line)) => Some((":", line)),
            None => None,
        };
        if let Some((sign, line)) = line {
            painter.put(x, y, 1, sign, Role::Accent);
            line.render(painter, x + 1, y, columns.saturating_sub(1), true);
            if let Some(notice) = &self.notice {
                // The choices of a completion, behind what is typed.
                let start = x + 3 + text::width(line.text()) as u16;
                painter.put(
                    start,
                    y,
                    row.right().saturating_sub(start),
                    &notice.text,
                    Role::Muted,
                );
            }
            return;
        }
        if let Some(notice) = &self.notice {
            painter.put(x, y, columns, &notice.text, notice.role);
            return;
        }
        if let Some(since) = self.model.paused_since() {
            let mut line = format!(
                "paused {}",
                number::stopwatch(self.model.now.saturating_sub(since))
            );
            let newer = self.model.current().logged - self.model.live().logged;
            if self.screen == Screen::Logs && newer > 0 {
                line.push_str(&format!(", {newer} newer"));
            }
            line.push_str("   Space goes on");
            painter.put(x, y, columns, &line, Role::Warn);
            return;
        }
        if self.model.status.is_none() {
            return;
        }
        let remark = self.screens.view(self.screen).remark(&self.model);
        let summary = self.model.live().summary.as_deref();
        let warning = summary.and_then(|summary| summary.warning.as_deref());
        match (warning, remark) {
            (Some(warning), _) if self.screen == Screen::Overview => {
                let end = painter.put(x, y, columns, "! ", Role::Bad);
                painter.put(
                    end,
                    y,
                    row.right().saturating_sub(end + 1),
                    warning,
                    Role::Warn,
                );
            }
            (_, Some(remark)) => {
                painter.put(x, y, columns, &remark, Role::Muted);
            }
            (Some(warning), None) => {
                painter.put(x, y, columns, &format!("! {warning}"), Role::Warn);
            }
            (None, None) => {}
        }
    }

    /// The keys that hold now, as many as fit whole; how to leave is always among them.
    fn hints(&self, painter: &mut Painter<'_>, row: Rect) {
        let glyphs = painter.glyphs();
        let is_read_only = self.model.is_read_only;
        let mut x = row.x + 1;
        if is_read_only {
            x = painter.put(x, row.y, row.width, "read-only  ", Role::Warn);
        }
        let hint = |binding: &keymap::Binding| {
            let key = keymap::shown(binding.keys[0], glyphs);
            let is_sign = key.len() == 1 && !key.starts_with(char::is_alphanumeric);
            let gap = if is_sign { "" } else { " " };
            (key, format!("{gap}{}  ", binding.hint))
        };
        let shown = || {
            keymap::rows(self.context(), is_read_only).filter(|binding| !binding.hint.is_empty())
        };
        let is_leaving = |action: Action| matches!(action, Action::Back | Action::Close);
        let width = |(key, hint): &(&str, String)| (text::width(key) + text::width(hint)) as u16;
        let leaving: Vec<_> = shown().filter(|row| is_leaving(row.action)).collect();
        let reserved: u16 = leaving.iter().map(|row| width(&hint(row))).sum();
        let others = shown().filter(|row| !is_leaving(row.action));
        let mut is_full = false;
        for binding in others.chain(leaving.iter().copied()) {
            let hint = hint(binding);
            let columns = width(&hint);
            let is_last = is_leaving(binding.action);
            let room = if is_last { 0 } else { reserved };
            // The two blanks behind the last one may be cut.
            if is_full && !is_last || x + columns + room > row.right() + 2 {
                is_full = true;
                continue;
            }
            let start = x;
            x = painter.put(
                x,
                row.y,
                row.right().saturating_sub(x),
                hint.0,
                Role::Accent,
            );
            x = painter.put(
                x,
                row.y,
                row.right().saturating_sub(x),
                hint.1.trim_end(),
                Role::Text,
            );
            painter.hit(
                Rect::new(start, row.y, x - start, 1),
                Target::Press(binding.action),
            );
            x += 2;
        }
    }

    fn banner(&self, painter: &mut Painter<'_>, area: Rect) {
        let Link::Lost { error, .. } = &self.model.link else {
            return;
        };
        let inside = painter.dialog(area, 64, 10, "The daemon does not answer");
        let socket = self.model.socket.as_ref();
        let socket = socket.map_or_else(String::new, |path| path.display().to_string());
        let lines = [
            format!("socket  {socket}"),
            format!("error   {error}"),
            String::new(),
            "The last data stays on screen and is marked old.".to_owned(),
            String::new(),
            "r  retry now      Esc  put this away      q  quit".to_owned(),
            String::new(),
            if self.model.owns_daemon {
                "The proxy runs in this process and does not answer either.".to_owned()
            } else {
                "Traffic may still be flowing: this is only the dashboard.".to_owned()
            },
        ];
        for (line, y) in lines.iter().zip(inside.y..inside.bottom()) {
            painter.put(inside.x, y, inside.width, line, Role::Text);
        }
    }

    fn offline(&self, painter: &mut Painter<'_>, area: Rect) {
        let Link::Absent { tried, .. } = &self.model.link else {
            return;
        };
        let width = 64.min(area.width);
        let columns = usize::from(width.saturating_sub(4));
        let cut = painter.glyphs().cut;
        let mut lines = Vec::new();
        for (position, (socket, why)) in tried.iter().enumerate() {
            let label = if position == 0 {
                "looked for  "
            } else {
                "            "
            };
            let socket = socket.display().to_string();
            if text::width(&socket) + text::width(why) + 14 <= columns {
                let room = columns - 12 - text::width(why);
                lines.push(format!("{label}{socket:room$}{why}"));
            } else {
                lines.push(format!(
                    "{label}{}",
                    text::fit_end(&socket, columns - 12, cut)
                ));
                for part in text::wrap(why, columns - 12) {
                    lines.push(format!("            {part}"));
                }
            }
        }
        lines.push(String::new());
        if let Some(conf) = &self.model.conf {
            let conf = text::fit_end(&conf.display().to_string(), columns - 15, cut);
            lines.push(format!("configuration  {conf}"));
        }
        lines.push("start one:              openclaw --daemon".to_owned());
        lines.push("check a configuration:  openclaw -t".to_owned());
        lines.push("permission denied? run as the user who runs the daemon".to_owned());
        lines.push(String::new());
        lines.push(
            match (&self.model.conf, self.model.is_read_only) {
                (Some(_), false) => "r  retry now   e  edit   v  check   ?  help   q  quit",
                (Some(_), true) => "r  retry now   v  check   ?  help   q  quit",
                (None, _) => "r  retry now (also by itself)   ?  help   q  quit",
            }
            .to_owned(),
        );
        let height = lines.len() as u16 + 2;
        let inside = painter.dialog(area, width, height, "No running openclaw was found");
        for (line, y) in lines.iter().zip(inside.y..inside.bottom()) {
            painter.put(inside.x, y, inside.width, line, Role::Text);
        }
    }
}
