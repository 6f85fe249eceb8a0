//! The configuration: its revisions, what each changed, and the ways to another one.

use std::path::Path;

use ratatui::layout::Rect;

use super::super::edit;
use super::super::keymap::{Action, Context};
use super::super::model::{Loaded, Model};
use super::super::number;
use super::super::paint::{Painter, Span};
use super::super::theme::Role;
use super::super::view::{Answer, Call, Effect, Input, Notice, Target, View};
use super::super::widgets::table::{self, Column, Table};
use super::{WIDE, render_state};
use crate::protocol::{ConfState, Outcome, Revision, RevisionDiff, Revisions};

/// The table.
const TABLE: u8 = 0;

/// The difference.
const DIFF: u8 = 1;

/// So many revisions are kept here; older ones are not asked for.
const MOST: usize = 2_000;

const COLUMNS: [Column; 6] = [
    Column::number("REV", 4, 0),
    Column::text("WHEN", 11, 0, 2),
    Column::text("BY", 9, 1, 3),
    Column::text("CHANGE", 16, 4, 0),
    Column::number("LINES", 8, 4),
    Column::text("", 9, 0, 1),
];

/// The screen.
#[derive(Debug, Default)]
pub struct ConfigScreen {
    revisions: Loaded<Revisions>,
    /// The newest one that was read.
    diff: Option<(u64, Result<RevisionDiff, String>)>,
    /// The one that is being read.
    asked: Option<u64>,
    /// Older revisions are being read.
    is_asking: bool,
    /// There are no older ones.
    is_whole: bool,
    /// The revision with the focus.
    selected: Option<u64>,
    table: Table,
    /// The difference has the whole screen, or the focus.
    is_open: bool,
    offset: usize,
    filter: String,
    search: String,
}

impl ConfigScreen {
    /// The revisions that the filter lets through.
    fn rows(&self) -> Vec<&Revision> {
        let all = (self.revisions.value.as_ref()).map_or(&[][..], |known| &known.revisions);
        let shown = |revision: &&Revision| {
            let id = revision.id.to_string();
            let reason = revision.reason.as_deref().unwrap_or_default();
            let texts = [
                &*id,
                &revision.author,
                &revision.client,
                &revision.note,
                reason,
            ];
            self.filter.is_empty() || table::matches(&self.filter, &texts)
        };
        all.iter().filter(shown).collect()
    }

    fn revision(&self) -> Option<&Revision> {
        self.rows().get(self.table.selected).copied()
    }

    /// Keeps the selection on its revision while rows come and go.
    fn arrange(&mut self) {
        let rows = self.rows();
        let count = rows.len();
        let at = self
            .selected
            .and_then(|id| rows.iter().position(|revision| revision.id == id));
        self.table.set_rows(count);
        if let Some(at) = at {
            self.table.shift_to(at);
        }
    }

    /// Asks for what the selected revision changed, and for older ones near the end.
    fn ask(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.selected = self.revision().map(|revision| revision.id);
        if let Some(id) = self.selected
            && self.asked.is_none()
            && self.diff.as_ref().is_none_or(|(known, _)| *known != id)
        {
            self.asked = Some(id);
            effects.push(Effect::Call(Call::RevisionDiff(id)));
        }
        let all = (self.revisions.value.as_ref()).map_or(&[][..], |known| &known.revisions);
        let is_near_end = self.table.selected + 10 >= self.rows().len();
        if let Some(oldest) = all.last()
            && is_near_end
            && !self.is_asking
            && !self.is_whole
            && all.len() < MOST
        {
            self.is_asking = true;
            effects.push(Effect::Call(Call::Revisions(Some(oldest.id))));
        }
        effects
    }

    fn take(&mut self, revisions: &Revisions) {
        self.is_asking = false;
        let newest = revisions
            .revisions
            .first()
            .map_or(0, |revision| revision.id);
        match &mut self.revisions.value {
            // Older ones than those that are known.
            Some(known)
                if known
                    .revisions
                    .last()
                    .is_some_and(|oldest| newest < oldest.id) =>
            {
                self.is_whole = revisions.revisions.is_empty();
                known.revisions.extend(revisions.revisions.iter().cloned());
                known.revisions.truncate(MOST);
            }
            _ => {
                self.is_whole = revisions.revisions.is_empty();
                self.revisions.set(revisions.clone());
            }
        }
    }

    fn act(&mut self, action: Action, model: &Model) -> Vec<Effect> {
        if self.is_open {
            let page = 10;
            let offset = match action {
                Action::Down => Some(self.offset.saturating_add(1)),
                Action::Up => Some(self.offset.saturating_sub(1)),
                Action::HalfDown | Action::PageDown => Some(self.offset.saturating_add(page)),
                Action::HalfUp | Action::PageUp => Some(self.offset.saturating_sub(page)),
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
            Action::Open => self.is_open = self.revision().is_some(),
            Action::NextPane | Action::PreviousPane => {
                self.is_open = !self.is_open && self.revision().is_some();
            }
            Action::Close if self.is_open => self.is_open = false,
            Action::Close => self.filter.clear(),
            Action::NextMatch => self.find(false),
            Action::PreviousMatch => self.find(true),
            Action::Copy => {
                if let Some((_, Ok(diff))) = &self.diff {
                    return vec![Effect::Copy(diff.diff.clone())];
                }
            }
            Action::Validate => return edit::validate(),
            Action::Apply if !is_edited(model) => {
                return vec![Notice::plain(
                    "the files say what is in force: nothing to apply",
                )];
            }
            Action::Apply => return edit::validate(),
            Action::Edit | Action::EditText => return edit::main_file(),
            Action::Revert => {
                let current = (self.revisions.value.as_ref()).map_or(0, |known| known.current);
                return match self.revision() {
                    Some(revision) if revision.outcome == Outcome::Refused => {
                        vec![Notice::plain("this revision was never in force")]
                    }
                    Some(revision) if revision.id == current && !is_edited(model) => {
                        vec![Notice::plain("this revision is in force")]
                    }
                    Some(revision) => edit::revert(revision.id),
                    None => Vec::new(),
                };
            }
            action => {
                self.table.act(action);
            }
        }
        Vec::new()
    }

    fn find(&mut self, is_backwards: bool) {
        let rows = self.rows();
        let is_meant = |row: usize| {
            rows.get(row).is_some_and(|revision| {
                table::matches(&self.search, &[&revision.note, &revision.author])
            })
        };
        if let Some(row) = self.table.next(is_backwards, is_meant) {
            self.table.selected = row;
        }
    }

    fn render_table(&mut self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        let remark = match is_edited(model) {
            true => format!(
                "{} files edited, not in force (a)",
                painter.glyphs().changed
            ),
            false => String::new(),
        };
        let inside = painter.frame(area, "History", &remark, !self.is_open);
        painter.hit(area, Target::Pane(TABLE));
        let rows: Vec<Revision> = self.rows().into_iter().cloned().collect();
        if rows.is_empty() {
            let all = (self.revisions.value.as_ref()).map_or(0, |known| known.revisions.len());
            let empty = match all {
                0 => "no revisions yet: the first change makes one".to_owned(),
                all => format!("0 of {all} match \"{}\" (Esc clears)", self.filter),
            };
            return render_state(painter, inside, &self.revisions, model, &empty);
        }
        let current = (self.revisions.value.as_ref()).map_or(0, |known| known.current);
        let glyphs = painter.glyphs();
        let now = model.daemon_time().unwrap_or_default();
        self.table
            .render(painter, inside, TABLE, &COLUMNS, None, |row| {
                let revision = &rows[row];
                let is_refused = revision.outcome == Outcome::Refused;
                let role = if is_refused { Role::Muted } else { Role::Text };
                let change = match &revision.reason {
                    Some(reason) if is_refused && revision.note.is_empty() => reason.clone(),
                    Some(reason) if is_refused => format!("{}: {reason}", revision.note),
                    _ if revision.note.is_empty() => revision.client.clone(),
                    _ => revision.note.clone(),
                };
                let state = match is_refused {
                    true => (format!("{} refused", glyphs.gone), Role::Bad),
                    false if revision.id == current => (format!("{} running", glyphs.up), Role::Ok),
                    false => (String::new(), Role::Text),
                };
                vec![
                    (revision.id.to_string(), role),
                    (when(revision.at, now, model), role),
                    (revision.author.clone(), role),
                    (change, role),
                    (format!("+{} -{}", revision.added, revision.removed), role),
                    state,
                ]
            });
    }

    fn render_diff(&mut self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        let title = match self.revision() {
            Some(revision) if revision.parent > 0 => format!(
                "Diff {} {} {}",
                revision.parent,
                painter.glyphs().arrow,
                revision.id
            ),
            Some(revision) => format!("Diff {}", revision.id),
            None => "Diff".to_owned(),
        };
        let inside = painter.frame(area, &title, "unified", self.is_open);
        painter.hit(area, Target::Pane(DIFF));
        let Some(revision) = self.revision() else {
            return;
        };
        let mut lines: Vec<Vec<Span>> = Vec::new();
        let columns = usize::from(inside.width);
        let about = format!("{} by {}", revision.note, by(revision));
        let mut say = |text: &str, role: Role| {
            let wrapped = super::super::text::wrap(text, columns);
            lines.extend(wrapped.into_iter().map(|line| vec![Span::new(line, role)]));
        };
        say(about.trim_start(), Role::Muted);
        if let Some(undone) = revision.reverts {
            say(&format!("takes revision {undone} back"), Role::Muted);
        }
        if let Some(reason) = &revision.reason {
            say(&format!("refused: {reason}"), Role::Bad);
        }
        match &self.diff {
            Some((id, Ok(diff))) if *id == revision.id => {
                if diff.diff.is_empty() {
                    say("nothing is different", Role::Muted);
                }
                let conf = model.status.as_ref().map_or("", |status| &status.conf);
                let directory = Path::new(conf).parent().unwrap_or(Path::new(""));
                lines.extend(edit::difference(&diff.diff, directory));
            }
            Some((id, Err(why))) if *id == revision.id => say(why, Role::Bad),
            _ => say(painter.glyphs().cut, Role::Muted),
        }
        let page = usize::from(inside.height);
        self.offset = self.offset.min(lines.len().saturating_sub(page));
        for (line, y) in lines
            .iter()
            .skip(self.offset)
            .zip(inside.y..inside.bottom())
        {
            painter.put_spans(inside.x, y, inside.width, line);
        }
        let below = lines.len().saturating_sub(self.offset.saturating_add(page));
        if below > 0 && inside.height > 1 {
            let more = format!("{below} more lines");
            painter.put_right(
                inside.x,
                inside.bottom() - 1,
                inside.width,
                &more,
                Role::Muted,
            );
        }
    }
}

impl View for ConfigScreen {
    fn context(&self) -> Context {
        Context::Config
    }

    fn input(&mut self, input: &Input, model: &Model) -> Vec<Effect> {
        self.arrange();
        let mut effects = Vec::new();
        let before = self.selected;
        match input {
            Input::Shown => {
                self.is_asking = true;
                effects.push(Effect::Call(Call::Revisions(None)));
            }
            Input::Action(action) => {
                effects = self.act(*action, model);
            }
            Input::Filter(filter) => {
                self.filter.clone_from(filter);
                if !filter.is_empty() {
                    self.search.clone_from(filter);
                }
            }
            Input::Click(Target::Pane(pane)) => self.is_open = *pane == DIFF,
            Input::Wheel(lines, _) if self.is_open => {
                self.offset = self.offset.saturating_add_signed(isize::from(*lines));
            }
            Input::Answer(Ok(Answer::Revisions(revisions))) => {
                self.take(revisions);
                self.arrange();
            }
            Input::Answer(Ok(Answer::RevisionDiff(diff))) => {
                self.diff = Some((diff.revision.id, Ok(diff.clone())));
                self.asked = None;
            }
            Input::Answer(Err(failure)) => match self.asked.take() {
                Some(id) => self.diff = Some((id, Err(failure.to_string()))),
                None => {
                    self.is_asking = false;
                    self.revisions.fail(&failure.to_string(), model.now);
                }
            },
            input => {
                if self.table.input(input, TABLE) {
                    self.is_open = false;
                }
            }
        }
        self.table.set_rows(self.rows().len());
        effects.extend(self.ask());
        if self.selected != before {
            self.offset = 0;
        }
        effects
    }

    fn render(&mut self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        self.arrange();
        if area.width >= WIDE {
            let width = area.width / 2;
            let left = Rect { width, ..area };
            let right = Rect::new(left.right(), area.y, area.width - width, area.height);
            self.render_table(painter, left, model);
            self.render_diff(painter, right, model);
        } else if self.is_open {
            self.render_diff(painter, area, model);
        } else {
            let height = (area.height * 2 / 5).max(area.height.min(5));
            let above = Rect { height, ..area };
            let below = Rect::new(area.x, above.bottom(), area.width, area.height - height);
            self.render_table(painter, above, model);
            if below.height > 2 {
                self.render_diff(painter, below, model);
            }
        }
    }

    fn remark(&self, model: &Model) -> Option<String> {
        let read_only = model.config.value.as_ref()?.read_only.as_ref()?;
        Some(format!("the files cannot be changed: {read_only}"))
    }

    fn filter(&self) -> &str {
        &self.filter
    }
}

/// Do the files say something else than what is in force?
fn is_edited(model: &Model) -> bool {
    let live = model.live();
    let told = live.summary.as_ref().map(|summary| summary.state);
    let state = told.or(model.status.as_ref().map(|status| status.state));
    state == Some(ConfState::Edited)
}

/// `today 11:58`, `12 Nov`
fn when(at: u64, now: u64, model: &Model) -> String {
    let day = number::day(at, now, &model.zone);
    let clock = number::clock(at, &model.zone);
    let minutes = clock.get(..5).unwrap_or(&clock);
    match &*day {
        "today" => format!("today {minutes}"),
        _ => day,
    }
}

/// `alice (dashboard)`
fn by(revision: &Revision) -> String {
    match &*revision.client {
        "" => revision.author.clone(),
        client => format!("{} ({client})", revision.author),
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use ratatui::buffer::Buffer;

    use super::super::super::fixture;
    use super::super::super::glyphs::BLOCK;
    use super::super::super::tests::text;
    use super::super::super::theme::THEMES;
    use super::super::super::view::Failure;
    use super::*;

    fn model() -> Model {
        let mut model = Model::new(TimeZone::UTC, 0);
        model.status = Some(fixture::status());
        model.current_mut().take_summary(fixture::summary());
        model
    }

    /// Answers what a screen asks for.
    fn play(screen: &mut ConfigScreen, effects: Vec<Effect>, model: &Model) -> Vec<Effect> {
        let mut left = Vec::new();
        let mut effects = effects;
        while let Some(effect) = effects.pop() {
            let answer = match effect {
                Effect::Call(Call::Revisions(None)) => Answer::Revisions(fixture::revisions()),
                Effect::Call(Call::Revisions(Some(_))) => Answer::Revisions(Revisions::default()),
                Effect::Call(Call::RevisionDiff(id)) => {
                    Answer::RevisionDiff(fixture::revision_diff(id))
                }
                other => {
                    left.push(other);
                    continue;
                }
            };
            effects.extend(screen.input(&Input::Answer(Ok(answer)), model));
        }
        left
    }

    fn act(screen: &mut ConfigScreen, action: Action, model: &Model) -> Vec<Effect> {
        let effects = screen.input(&Input::Action(action), model);
        play(screen, effects, model)
    }

    fn shown(model: &Model) -> ConfigScreen {
        let mut screen = ConfigScreen::default();
        let effects = screen.input(&Input::Shown, model);
        play(&mut screen, effects, model);
        screen
    }

    fn picture(screen: &mut ConfigScreen, model: &Model, width: u16, height: u16) -> String {
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
        let mut painter = Painter::new(&mut buffer, &THEMES[0], &BLOCK);
        let area = Rect::new(0, 2.min(height), width, height.saturating_sub(4));
        screen.render(&mut painter, area, model);
        text(&buffer)
    }

    #[test]
    fn revisions_are_listed_with_what_the_selected_one_changed() {
        let mut model = model();
        let mut screen = shown(&model);
        act(&mut screen, Action::Down, &model);
        model.status.as_mut().expect("set").state = ConfState::Edited;
        let mut summary = fixture::summary();
        summary.state = ConfState::Edited;
        model.current_mut().take_summary(summary);
        let picture = picture(&mut screen, &model, 80, 24);
        assert!(picture.contains("proxy_read_timeout 41s"), "{picture}");
        assert!(
            picture.contains("files edited, not in force (a)"),
            "{picture}"
        );
    }

    #[test]
    fn keys_open_a_change_or_say_why_not() {
        let model = model();
        let mut screen = shown(&model);
        let said = |effects: Vec<Effect>| match effects.as_slice() {
            [Effect::Notice(notice)] => notice.text.clone(),
            [Effect::Open(_)] => "opened".to_owned(),
            [Effect::Copy(text)] => text.lines().count().to_string(),
            other => format!("{other:?}"),
        };
        let mut press = |action| said(act(&mut screen, action, &model));
        assert_eq!(press(Action::Revert), "this revision was never in force");
        assert_eq!(press(Action::Down), "[]");
        assert_eq!(press(Action::Revert), "this revision is in force");
        assert_eq!(press(Action::Down), "[]");
        assert_eq!(press(Action::Revert), "opened");
        assert_eq!(press(Action::Validate), "opened");
        assert_eq!(press(Action::EditText), "opened");
        assert_eq!(
            press(Action::Apply),
            "the files say what is in force: nothing to apply"
        );
        assert_eq!(press(Action::Copy), "7");
        assert_eq!(press(Action::Open), "[]");
        assert!(screen.is_open);
        act(&mut screen, Action::Last, &model);
        act(&mut screen, Action::Close, &model);
        assert!(!screen.is_open);
        assert_eq!(screen.selected, Some(40), "the difference was scrolled");
    }

    #[test]
    fn a_filter_and_a_failure_say_what_is_not_shown() {
        let model = model();
        let mut screen = shown(&model);
        screen.input(&Input::Filter("alice".to_owned()), &model);
        assert_eq!(screen.rows().len(), 2);
        screen.input(&Input::Filter("nobody".to_owned()), &model);
        let picture_text = picture(&mut screen, &model, 80, 24);
        assert!(
            picture_text.contains("0 of 5 match \"nobody\""),
            "{picture_text}"
        );
        let mut screen = ConfigScreen::default();
        screen.input(&Input::Shown, &model);
        let failure = Failure::Broken("the store is not in use".to_owned());
        screen.input(&Input::Answer(Err(failure)), &model);
        let picture_text = picture(&mut screen, &model, 80, 24);
        assert!(
            picture_text.contains("the store is not in use"),
            "{picture_text}"
        );
    }
}
