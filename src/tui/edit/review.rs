//! What a change would do, and the last word on it: the difference, what is wrong, the effects, and
//! two buttons.
//!
//! Owns the way from a proposal to an applied revision. Invariant: nothing is applied that was not
//! shown, and what the daemon refuses is shown with its reason.

use std::path::{Path, PathBuf};

use ratatui::layout::Rect;

use super::super::keymap::Action;
use super::super::model::{Link, Model};
use super::super::paint::{Painter, Span};
use super::super::text;
use super::super::theme::Role;
use super::super::view::{Answer, Call, Effect, Failure, Input, Target};
use super::buttons;
use crate::protocol::{Applied, Change, Problem, Refusal, RefusalCode, Revert, Review};

/// What is to be put into force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Proposal {
    /// New texts.
    Change(Change),
    /// An earlier revision.
    Revert(Revert),
    /// The files as they are.
    Files(Change),
}

/// A proposal and what the daemon says to it.
#[derive(Clone, Debug)]
pub struct ReviewPane {
    proposal: Proposal,
    state: State,
    /// The word on the button that leaves.
    leave: &'static str,
    /// Is the text that is proposed one that a person wrote in an editor?
    may_edit: bool,
    is_on_action: bool,
    /// A difference that the daemon does not know: of what runs and the files as they are.
    more: Option<String>,
    /// What the proposal changes, told by who makes it.
    ours: String,
    /// Where the main file is; paths in it are shown without.
    directory: PathBuf,
    offset: usize,
    page: usize,
    count: usize,
}

#[derive(Clone, Debug)]
enum State {
    /// The daemon is asked; with true it is applied as soon as it is known to be right.
    Asking(bool),
    /// It answered.
    Ready(Review),
    /// It is asked to do it.
    Applying(Review),
    /// The base is not current.
    Stale(Box<Refusal>),
    /// It did not work.
    Failed(Failure),
}

/// What comes of an input.
#[derive(Debug)]
pub enum Verdict {
    /// The review goes on, and wants this.
    Stay(Vec<Effect>),
    /// Back to where the change came from.
    Leave,
    /// Once more, from what is current.
    StartOver,
    /// Once more in the editor.
    EditAgain,
    /// It is in force.
    Done(Applied),
}

impl ReviewPane {
    /// Reviews a proposal; `leave` is the word on the button that goes back. The focus is on the
    /// button that applies, unless the proposal is dangerous.
    pub fn new(proposal: Proposal, leave: &'static str) -> Self {
        let is_on_action = matches!(proposal, Proposal::Change(_));
        Self {
            proposal,
            state: State::Asking(false),
            leave,
            may_edit: false,
            is_on_action,
            more: None,
            ours: String::new(),
            directory: PathBuf::new(),
            offset: 0,
            page: 1,
            count: 0,
        }
    }

    /// A proposal that was said yes to already; it is shown only if it is refused.
    pub fn agreed(proposal: Proposal) -> Self {
        Self {
            state: State::Applying(Review::default()),
            ..Self::new(proposal, "Cancel")
        }
    }

    /// Shows the files of this directory without it.
    pub fn in_directory(self, directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            ..self
        }
    }

    /// Remembers what the proposal changes, for when the daemon cannot say it.
    pub fn with_difference(self, ours: String) -> Self {
        Self { ours, ..self }
    }

    /// The texts that are proposed, if the proposal is made of some.
    pub fn change(&self) -> Option<&Change> {
        match &self.proposal {
            Proposal::Change(change) => Some(change),
            Proposal::Revert(_) | Proposal::Files(_) => None,
        }
    }

    /// Was the base refused, without a word on what is different now?
    pub fn wants_difference(&self) -> bool {
        let is_silent = matches!(&self.state, State::Stale(refusal) if refusal.diff.is_none());
        is_silent && self.more.is_none()
    }

    /// Offers to go back to the editor.
    pub fn with_editor(self) -> Self {
        Self {
            may_edit: true,
            ..self
        }
    }

    /// Shows this difference above that of the daemon.
    pub fn show_difference(&mut self, difference: String) {
        self.more = Some(difference);
    }

    /// What the daemon is to be asked now.
    pub fn ask(&self) -> Effect {
        Effect::Call(match (&self.state, &self.proposal) {
            (State::Applying(_), Proposal::Change(change)) => Call::Apply(change.clone()),
            (State::Applying(_), Proposal::Revert(revert)) => Call::Revert(revert.clone()),
            (State::Applying(_), Proposal::Files(_)) => Call::Reload,
            (_, Proposal::Change(change) | Proposal::Files(change)) => Call::Review(change.clone()),
            (_, Proposal::Revert(revert)) => Call::Revert(Revert {
                dry_run: true,
                ..revert.clone()
            }),
        })
    }

    /// The buttons: the one that leaves, and the one that does something, if there is one.
    fn words(&self, model: &Model) -> Vec<&'static str> {
        let apply = match saves(model) {
            true => "Save",
            false => "Apply",
        };
        match &self.state {
            State::Asking(_) | State::Applying(_) => vec![self.leave],
            State::Ready(review) if self.is_ready(review) && !model.is_read_only => {
                vec![self.leave, apply]
            }
            State::Ready(_) if self.may_edit => vec![self.leave, "Edit again"],
            State::Ready(_) => vec![self.leave],
            State::Stale(_) => vec![self.leave, "Start over"],
            State::Failed(Failure::Refused(refusal))
                if self.may_edit && refusal.code == RefusalCode::Problems =>
            {
                vec![self.leave, "Edit again"]
            }
            State::Failed(_) => vec![self.leave, "Try again"],
        }
    }

    /// Takes an input.
    pub fn input(&mut self, input: &Input, model: &Model) -> Verdict {
        let stay = || Verdict::Stay(Vec::new());
        let has_action = self.words(model).len() > 1;
        match input {
            Input::Answer(answer) => self.answered(answer),
            Input::Action(action) => match action {
                Action::NextField | Action::PreviousField => {
                    self.is_on_action = !self.is_on_action;
                    stay()
                }
                Action::Accept if self.is_on_action && has_action => self.press(),
                Action::Accept | Action::Apply if self.may_wish(*action, model) => {
                    self.state = State::Asking(true);
                    stay()
                }
                Action::Accept if has_action || !matches!(self.state, State::Applying(_)) => {
                    Verdict::Leave
                }
                Action::Apply => match &self.state {
                    State::Ready(review) if self.is_ready(review) => self.press(),
                    _ => stay(),
                },
                Action::EditText if self.may_edit && !self.is_applying() => Verdict::EditAgain,
                Action::Close | Action::Back if matches!(self.state, State::Asking(true)) => {
                    self.state = State::Asking(false);
                    stay()
                }
                // What is being applied cannot be called back.
                Action::Close | Action::Back if !self.is_applying() => Verdict::Leave,
                Action::Copy => Verdict::Stay(vec![Effect::Copy(self.copied())]),
                action => {
                    self.scroll(*action);
                    stay()
                }
            },
            Input::Click(Target::Button(0)) if !self.is_applying() => Verdict::Leave,
            Input::Click(Target::Button(1)) if has_action => self.press(),
            Input::Wheel(lines, _) => {
                self.offset = self.offset.saturating_add_signed(isize::from(*lines));
                stay()
            }
            _ => stay(),
        }
    }

    /// Can it be put into force, and is there something to put?
    fn is_ready(&self, review: &Review) -> bool {
        let is_known = match &self.proposal {
            Proposal::Files(_) => self.more.as_ref().is_some_and(|more| !more.is_empty()),
            Proposal::Change(_) | Proposal::Revert(_) => true,
        };
        review.is_applicable && is_known
    }

    /// Does a key mean that it is to be applied once it is checked? Only of what is shown already.
    fn may_wish(&self, action: Action, model: &Model) -> bool {
        matches!(self.state, State::Asking(_))
            && matches!(self.proposal, Proposal::Change(_))
            && (self.is_on_action || action == Action::Apply)
            && !model.is_read_only
    }

    fn is_applying(&self) -> bool {
        matches!(self.state, State::Applying(_))
    }

    /// Presses the button that does something.
    fn press(&mut self) -> Verdict {
        match &self.state {
            State::Ready(review) if self.is_ready(review) => {
                self.state = State::Applying(review.clone());
                Verdict::Stay(vec![self.ask()])
            }
            State::Ready(_) => Verdict::EditAgain,
            State::Stale(_) => Verdict::StartOver,
            State::Failed(Failure::Refused(refusal))
                if self.may_edit && refusal.code == RefusalCode::Problems =>
            {
                Verdict::EditAgain
            }
            State::Failed(_) => {
                self.state = State::Asking(false);
                Verdict::Stay(vec![self.ask()])
            }
            State::Asking(_) | State::Applying(_) => Verdict::Stay(Vec::new()),
        }
    }

    fn answered(&mut self, answer: &Result<Answer, Failure>) -> Verdict {
        match answer {
            Ok(Answer::Review(review)) => {
                if !review.is_applicable {
                    self.is_on_action = false;
                }
                let is_wished = matches!(self.state, State::Asking(true));
                self.state = State::Ready(review.clone());
                if is_wished && self.is_ready(review) {
                    self.offset = 0;
                    return self.press();
                }
            }
            Ok(Answer::Applied(applied)) => return Verdict::Done(applied.clone()),
            Ok(_) => {}
            Err(Failure::Refused(refusal)) if refusal.code == RefusalCode::Stale => {
                self.is_on_action = false;
                self.state = State::Stale(refusal.clone());
            }
            Err(failure) => {
                self.is_on_action = false;
                self.state = State::Failed(failure.clone());
            }
        }
        self.offset = 0;
        Verdict::Stay(Vec::new())
    }

    fn scroll(&mut self, action: Action) {
        let page = self.page.max(1);
        self.offset = match action {
            Action::Down => self.offset + 1,
            Action::Up => self.offset.saturating_sub(1),
            Action::HalfDown => self.offset + page / 2,
            Action::HalfUp => self.offset.saturating_sub(page / 2),
            Action::PageDown => self.offset + page,
            Action::PageUp => self.offset.saturating_sub(page),
            Action::First => 0,
            Action::Last => usize::MAX,
            _ => return,
        }
        .min(self.count.saturating_sub(page));
    }

    /// The difference as a text.
    fn copied(&self) -> String {
        let lines = self.lines(u16::MAX, false);
        let lines = lines.iter().map(|line| {
            let texts: Vec<&str> = line.iter().map(|span| span.text.as_str()).collect();
            texts.concat()
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Everything there is to read.
    fn lines(&self, columns: u16, is_offline: bool) -> Vec<Vec<Span>> {
        let mut out: Vec<Vec<Span>> = Vec::new();
        let columns = usize::from(columns);
        let say = |out: &mut Vec<Vec<Span>>, text: &str, role: Role| {
            for line in text::wrap(text, columns) {
                out.push(vec![Span::new(line, role)]);
            }
        };
        match &self.state {
            State::Asking(is_wished) => {
                out.extend(difference(&self.ours, &self.directory));
                match is_wished {
                    true => say(
                        &mut out,
                        "checking, will apply (Esc takes it back)",
                        Role::Warn,
                    ),
                    false => say(&mut out, "checking the change", Role::Muted),
                }
            }
            State::Ready(review) | State::Applying(review) => {
                let errors = review.problems.iter().filter(|problem| problem.is_error);
                // What is in the way comes first.
                for problem in errors {
                    problem_lines(&mut out, problem, columns);
                }
                if let Some(more) = &self.more {
                    out.extend(difference(more, &self.directory));
                }
                out.extend(difference(&review.diff, &self.directory));
                if review.diff.is_empty() && self.more.is_none() && !self.is_applying() {
                    say(&mut out, "nothing changes", Role::Muted);
                }
                if self.is_applying() {
                    say(&mut out, "putting it into force", Role::Muted);
                } else {
                    counts(&mut out, review);
                }
                for problem in review.problems.iter().filter(|problem| !problem.is_error) {
                    problem_lines(&mut out, problem, columns);
                }
                for effect in &review.effects {
                    out.push(vec![
                        Span::new("effect ", Role::Accent),
                        Span::plain(effect.as_str()),
                    ]);
                }
                let is_change = matches!(self.proposal, Proposal::Change(_));
                if is_offline && is_change && review.is_applicable {
                    say(
                        &mut out,
                        "no daemon runs: what is saved takes effect at start",
                        Role::Warn,
                    );
                }
            }
            State::Stale(refusal) => {
                say(
                    &mut out,
                    "The configuration was changed meanwhile:",
                    Role::Warn,
                );
                say(&mut out, &refusal.message, Role::Text);
                if let Some(theirs) = refusal.diff.as_ref().or(self.more.as_ref()) {
                    out.extend(difference(theirs, &self.directory));
                }
                if let Proposal::Change(change) = &self.proposal {
                    say(&mut out, &format!("Yours: {}", change.note), Role::Warn);
                    out.extend(difference(&self.ours, &self.directory));
                }
                say(
                    &mut out,
                    "Starting over keeps what you typed and puts it on top of the new texts.",
                    Role::Text,
                );
            }
            State::Failed(failure) => {
                say(&mut out, &failure.to_string(), Role::Bad);
                if let Failure::Refused(refusal) = failure {
                    for problem in &refusal.problems {
                        problem_lines(&mut out, problem, columns);
                    }
                    if let Some(diff) = &refusal.diff {
                        out.extend(difference(diff, &self.directory));
                    }
                }
                say(&mut out, "Nothing was changed.", Role::Text);
            }
        }
        out
    }

    /// Draws it into the inside of a dialog.
    pub fn render(&mut self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        let lines = self.lines(area.width, saves(model));
        let page = area.height.saturating_sub(2);
        self.page = usize::from(page).max(1);
        self.count = lines.len();
        self.offset = self.offset.min(self.count.saturating_sub(self.page));
        for (line, y) in lines.iter().skip(self.offset).take(self.page).zip(area.y..) {
            painter.put_spans(area.x, y, area.width, line);
        }
        let below = self.count.saturating_sub(self.offset + self.page);
        if below > 0 && area.height > 2 {
            let more = match below {
                1 => "1 more line (j)".to_owned(),
                below => format!("{below} more lines (j)"),
            };
            painter.put_right(area.x, area.bottom() - 2, area.width, &more, Role::Muted);
        }
        let words = self.words(model);
        let focus = usize::from(self.is_on_action && words.len() > 1);
        buttons::render(painter, area, &words, focus);
    }
}

/// Is a change saved, because there is nobody who could put it into force?
fn saves(model: &Model) -> bool {
    model.conf.is_some() && matches!(model.link, Link::Absent { .. } | Link::Lost { .. })
}

/// The lines of a unified difference; the sign says what the colour says. Files of this directory are
/// shown without it.
pub fn difference(unified: &str, directory: &Path) -> Vec<Vec<Span>> {
    let lines = unified.lines().filter(|line| !line.starts_with("--- "));
    let spans = lines.map(|line| {
        let line = line.replace('\t', "    ");
        let (role, line) = match line.as_bytes() {
            // The file, once.
            [b'+', b'+', b'+', b' ', ..] => (Role::Title, short(&line[4..], directory).to_owned()),
            [b'+', ..] => (Role::Ok, line),
            [b'-', ..] => (Role::Bad, line),
            [b'@', ..] => (Role::Accent, line),
            [b'\\', ..] => (Role::Muted, line),
            _ => (Role::Text, line),
        };
        vec![Span::new(line, role)]
    });
    spans.collect()
}

/// A path without this directory.
fn short<'p>(path: &'p str, directory: &Path) -> &'p str {
    let rest = directory
        .to_str()
        .and_then(|directory| path.strip_prefix(directory));
    match rest {
        Some(rest) if rest.len() < path.len() => rest.trim_start_matches('/'),
        _ => path,
    }
}

/// `check  ok: 0 errors, 1 warning`
fn counts(out: &mut Vec<Vec<Span>>, review: &Review) {
    let errors = review
        .problems
        .iter()
        .filter(|problem| problem.is_error)
        .count();
    let warnings = review.problems.len() - errors;
    let plural = |count: usize, word: &str| match count {
        1 => format!("1 {word}"),
        _ => format!("{count} {word}s"),
    };
    let (word, role) = match review.is_applicable {
        true => ("ok", Role::Ok),
        false => ("not applicable", Role::Bad),
    };
    out.push(vec![
        Span::new("check  ", Role::Accent),
        Span::new(word, role),
        Span::plain(format!(
            ": {}, {}",
            plural(errors, "error"),
            plural(warnings, "warning")
        )),
    ]);
}

/// A problem as the command line shows it: what, where, the line with a caret, the way out.
fn problem_lines(out: &mut Vec<Vec<Span>>, problem: &Problem, columns: usize) {
    let (word, role) = match problem.is_error {
        true => ("error", Role::Bad),
        false => ("warn", Role::Warn),
    };
    let file = problem.file.rsplit('/').next().unwrap_or_default();
    let what = format!(
        "{file}:{}:{}: {}",
        problem.line, problem.column, problem.message
    );
    let mut lines = text::wrap(&what, columns.saturating_sub(7).max(1)).into_iter();
    out.push(vec![
        Span::new(format!("{word:<7}"), role),
        Span::plain(lines.next().unwrap_or_default()),
    ]);
    out.extend(lines.map(|line| vec![Span::plain(format!("       {line}"))]));
    if !problem.source.trim().is_empty() {
        let trimmed = problem.source.trim_start_matches([' ', '\t']);
        let cut = problem.source.chars().count() - trimmed.chars().count();
        let column = (problem.column as usize).saturating_sub(1 + cut);
        let before: String = trimmed.chars().take(column).collect();
        // Only what can be on the screen is drawn.
        let blanks = text::width(&before).min(columns);
        let width = (problem.width.max(1) as usize).min(columns);
        out.push(vec![Span::new(format!("       {trimmed}"), Role::Muted)]);
        out.push(vec![Span::new(
            format!("       {}{}", " ".repeat(blanks), "^".repeat(width)),
            role,
        )]);
    }
    if let Some(hint) = &problem.hint {
        for line in text::wrap(&format!("hint: {hint}"), columns.saturating_sub(7).max(1)) {
            out.push(vec![Span::new(format!("       {line}"), Role::Accent)]);
        }
    }
}
