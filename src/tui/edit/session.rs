//! A change of the configuration from its first key to the revision: the overlay that holds a form,
//! a question or an edited text, then its review.
//!
//! Invariant: what was typed is kept until it is in force or the person lets it go.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use ratatui::layout::Rect;

use super::super::keymap::{self, Action, Context};
use super::super::model::{Link, Model};
use super::super::paint::Painter;
use super::super::text;
use super::super::theme::Role;
use super::super::view::{
    Answer, Ask, Call, EditorJob, Effect, Failure, Input, Notice, Target, View,
};
use super::buttons;
use super::form::Form;
use super::form_view::{FormView, Outcome};
use super::removal::Removal;
use super::review::{Proposal, ReviewPane, Verdict};
use super::site_view::SiteView;
use super::texts::{Texts, difference_of};
use super::{history, removal};
use crate::conf::address::Address;
use crate::conf::diff;
use crate::protocol::{Applied, Change, ConfigTexts, Revert};

/// The widest that a dialog gets, frame included.
const WIDTH: u16 = 100;

/// The widest that a question gets.
const QUESTION: u16 = 60;

/// So many inputs are kept until there is something that can take them.
const HELD: usize = 256;

/// What is to be changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wish {
    /// A new site.
    Add,
    /// The block with this address.
    Edit(Address),
    /// A file as a text, the cursor on this line.
    Text(PathBuf, u32),
    /// The main file as a text.
    MainText,
    /// The block with this address is to go; these lines tell what happens on it.
    Remove(Address, Vec<String>),
    /// The location with this address is to stand above the one before it, or below the next one.
    Move(Address, bool),
    /// The files as they are, to be looked at or put into force.
    Files,
    /// Back to the texts of this revision.
    Revert(u64),
    /// Without what this person changed last, or with it again.
    Undo {
        /// Whose changes are meant.
        person: String,
        /// With it again?
        is_redo: bool,
    },
}

/// A change that is being made.
#[derive(Debug)]
pub struct Session {
    wish: Wish,
    /// What it is about, for people.
    title: String,
    texts: Option<Texts>,
    draft: Draft,
    /// The last word, above the draft.
    review: Option<ReviewPane>,
    /// The texts are asked for to start with them, not only to see whether they are current.
    is_starting: bool,
    /// The text as it came out of the editor.
    edited: Option<String>,
    /// What the draft was made from is not current any more.
    is_outdated: bool,
    /// What was typed before there was a draft.
    held: Vec<Input>,
}

/// Where the change comes from.
#[derive(Debug)]
enum Draft {
    /// The texts are not here yet.
    Loading,
    /// There is nothing to change, for this reason.
    Message(String),
    /// A form of a block.
    Form(Box<FormView>),
    /// The short form of a site.
    Site(Box<SiteView>),
    /// Is it to go? Has the button the focus that does it?
    Question(Removal, bool),
    /// An editor, which has the terminal.
    Editor(PathBuf, u32),
    /// The wish itself says everything.
    Plain,
}

impl Session {
    /// Starts a change; `title` is what it is about.
    pub fn new(wish: Wish, title: impl Into<String>) -> Self {
        Self {
            wish,
            title: title.into(),
            texts: None,
            draft: Draft::Loading,
            review: None,
            is_starting: false,
            edited: None,
            is_outdated: false,
            held: Vec::new(),
        }
    }

    /// As an effect.
    pub fn open(wish: Wish, title: impl Into<String>) -> Vec<Effect> {
        vec![Effect::Open(Box::new(Self::new(wish, title)))]
    }

    /// Asks for the texts, to start with them.
    fn load(&mut self) -> Vec<Effect> {
        self.is_starting = true;
        vec![Effect::Call(Call::Config)]
    }

    /// The texts are here: what now?
    fn start(&mut self, config: &ConfigTexts, model: &Model) -> Vec<Effect> {
        let texts = Texts::new(config);
        self.is_outdated = false;
        let read_only = texts.read_only.clone();
        if let Some(why) = read_only.filter(|_| self.wish != Wish::Files) {
            self.draft = Draft::Message(format!("The configuration cannot be changed: {why}"));
            return Vec::new();
        }
        self.texts = Some(texts.clone());
        match self.wish.clone() {
            Wish::Add => {
                match &mut self.draft {
                    // Over again, with what was typed.
                    Draft::Site(view) => view.look(&texts),
                    draft => *draft = Draft::Site(Box::new(SiteView::new(&texts))),
                }
                Vec::new()
            }
            Wish::Edit(address) => self.start_form(&address, &texts),
            Wish::Text(path, line) => self.start_editor(&texts, path, line),
            Wish::MainText => self.start_editor(&texts, texts.conf.clone(), 1),
            Wish::Remove(address, lines) => {
                self.draft = match Removal::of(&texts.load(&HashMap::new()), &address, lines) {
                    Ok(mut removal) => {
                        if is_file_gone(&removal, &texts) {
                            let name = removal.path.file_name().unwrap_or_default();
                            let told = format!("Its file {} goes with it.", name.to_string_lossy());
                            // Above the line on the revision, and the blank one at the end.
                            let at = removal.lines.len().saturating_sub(2);
                            removal.lines.insert(at, told);
                        }
                        Draft::Question(removal, false)
                    }
                    Err(why) => Draft::Message(why),
                };
                Vec::new()
            }
            Wish::Move(address, is_up) => {
                match removal::moved(&texts.load(&HashMap::new()), &address, is_up) {
                    Ok((path, text)) => {
                        let direction = if is_up { "up" } else { "down" };
                        let note = format!("move {} {direction}", self.title);
                        let change = texts.change(HashMap::from([(path, text)]), note);
                        self.draft = Draft::Plain;
                        self.show(
                            ReviewPane::new(Proposal::Change(change), "Cancel"),
                            &texts.directory(),
                        )
                    }
                    Err(why) => {
                        self.draft = Draft::Message(why);
                        Vec::new()
                    }
                }
            }
            Wish::Files => {
                let change = texts.change(HashMap::new(), String::new());
                self.draft = Draft::Plain;
                let mut effects = self.show(
                    ReviewPane::new(Proposal::Files(change), "Close"),
                    &texts.directory(),
                );
                let revision = model.status.as_ref().map_or(0, |status| status.revision);
                let is_up = matches!(model.link, Link::Live | Link::Old { .. });
                if revision > 0 && is_up {
                    effects.push(Effect::Call(Call::RevisionTexts(revision)));
                }
                effects
            }
            Wish::Revert(revision) => {
                self.draft = Draft::Plain;
                let proposal = revert(&texts, revision, false);
                self.show(ReviewPane::new(proposal, "Cancel"), &texts.directory())
            }
            Wish::Undo { .. } => vec![Effect::Call(Call::Revisions(None))],
        }
    }

    fn start_form(&mut self, address: &Address, texts: &Texts) -> Vec<Effect> {
        let mut form = match Form::of(&texts.load(&HashMap::new()), address) {
            Ok(form) => form,
            Err(why) => {
                self.draft = Draft::Message(why);
                return Vec::new();
            }
        };
        let mut effects = Vec::new();
        if let Draft::Form(view) = &self.draft {
            form.show_all(view.form.has_all());
            let lost = view.form.carry_over(&mut form);
            if !lost.is_empty() {
                let lost = lost.join(", ");
                effects.push(Notice::bad(format!(
                    "changed by others, look again: {lost}"
                )));
            }
        }
        self.draft = Draft::Form(Box::new(FormView::new(form, texts)));
        effects
    }

    fn start_editor(&mut self, texts: &Texts, path: PathBuf, line: u32) -> Vec<Effect> {
        let text = match (&self.edited, texts.text(&path)) {
            (Some(edited), _) => edited.clone(),
            (None, Some(text)) => text.to_owned(),
            (None, None) => {
                let why = format!("{} is no part of the configuration", path.display());
                self.draft = Draft::Message(why);
                return Vec::new();
            }
        };
        self.draft = Draft::Editor(path.clone(), line);
        vec![Effect::Suspend(EditorJob { path, line, text })]
    }

    /// Keeps what is typed before there is something that takes it.
    fn hold(&mut self, input: &Input) -> Vec<Effect> {
        match input {
            Input::Action(Action::Close | Action::Back | Action::Deny) => vec![Effect::Close],
            // A question is answered by who has read it, and an editor has keys of its own.
            Input::Action(Action::Confirm | Action::Accept)
                if self.context() == Context::Confirm =>
            {
                Vec::new()
            }
            Input::Key(_) | Input::Paste(_) | Input::Action(_)
                if self.context() != Context::Reader && self.held.len() < HELD =>
            {
                self.held.push(input.clone());
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// Gives the draft what was typed before it was there.
    fn replay(&mut self, model: &Model) -> Vec<Effect> {
        let mut effects = Vec::new();
        for input in std::mem::take(&mut self.held) {
            // What the key means may be known only now.
            let input = match input {
                Input::Key(key) => keymap::find(self.context(), key, model.is_read_only)
                    .map_or(input, Input::Action),
                input => input,
            };
            let wanted = self.input(&input, model);
            let is_elsewhere = wanted.iter().any(|effect| {
                matches!(
                    effect,
                    Effect::Close | Effect::Ask(_) | Effect::Open(_) | Effect::Suspend(_)
                )
            });
            effects.extend(wanted);
            if is_elsewhere {
                break;
            }
        }
        effects
    }

    /// Is there nothing yet that takes keys?
    fn is_loading(&self) -> bool {
        self.review.is_none() && matches!(self.draft, Draft::Loading)
    }

    /// Puts a review on top.
    fn show(&mut self, review: ReviewPane, directory: &Path) -> Vec<Effect> {
        let ours = match (review.change(), &self.texts) {
            (Some(change), Some(texts)) => difference_of(change, texts),
            _ => String::new(),
        };
        let review = review.in_directory(directory).with_difference(ours);
        let ask = review.ask();
        self.review = Some(review);
        vec![ask]
    }

    /// Reviews what is in the form.
    fn review_draft(&mut self) -> Vec<Effect> {
        let Some(texts) = &self.texts else {
            return Vec::new();
        };
        let directory = texts.directory();
        let change = match &mut self.draft {
            Draft::Form(view) if !view.form.is_changed() => {
                return vec![Notice::plain("nothing is changed")];
            }
            Draft::Form(view) => match view.preview.after.clone() {
                Some(after) if view.preview.is_sound() => {
                    let note = format!("{}: {}", self.title, view.summary());
                    texts.change(HashMap::from([(view.form.path.clone(), after)]), note)
                }
                _ => return vec![Notice::bad("a value is wrong: see the sign at its field")],
            },
            Draft::Site(view) => match view.change() {
                Some((changed, note)) => texts.change(changed, note),
                None => {
                    view.insist();
                    return vec![Notice::bad("something is missing or wrong")];
                }
            },
            _ => return Vec::new(),
        };
        self.show(
            ReviewPane::new(Proposal::Change(change), "Back"),
            &directory,
        )
    }

    /// An editor is done.
    fn edited(&mut self, result: &Result<String, String>) -> Vec<Effect> {
        let (Draft::Editor(path, _), Some(texts)) = (&self.draft, &self.texts) else {
            return Vec::new();
        };
        let text = match result {
            Ok(text) => text,
            Err(why) => return vec![Notice::bad(why.as_str()), Effect::Close],
        };
        if texts.text(path) == Some(text) {
            return vec![Notice::plain("nothing is changed"), Effect::Close];
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let note = format!("edit {name}");
        let directory = texts.directory();
        let change = texts.change(HashMap::from([(path.clone(), text.clone())]), note);
        self.edited = Some(text.clone());
        self.show(
            ReviewPane::new(Proposal::Change(change), "Discard").with_editor(),
            &directory,
        )
    }

    /// A review came to an end, or wants something.
    fn judged(&mut self, verdict: Verdict) -> Vec<Effect> {
        match verdict {
            Verdict::Stay(effects) => effects,
            Verdict::Leave => match &self.draft {
                Draft::Form(_) | Draft::Site(_) => {
                    self.review = None;
                    Vec::new()
                }
                Draft::Editor(..) => ask_to_discard("What you wrote in the editor is lost."),
                _ => vec![Effect::Close],
            },
            Verdict::StartOver => {
                self.review = None;
                // An editor starts with what was written; the review then shows it against the new
                // texts.
                self.load()
            }
            Verdict::EditAgain => {
                self.review = None;
                match (&self.draft, self.texts.take()) {
                    (Draft::Editor(path, line), Some(texts)) => {
                        let (path, line) = (path.clone(), *line);
                        let effects = self.start_editor(&texts, path, line);
                        self.texts = Some(texts);
                        effects
                    }
                    (_, texts) => {
                        self.texts = texts;
                        Vec::new()
                    }
                }
            }
            Verdict::Done(applied) => {
                vec![done(&applied, &self.wish), Effect::Refresh, Effect::Close]
            }
        }
    }

    fn answered(&mut self, answer: &Result<Answer, Failure>, model: &Model) -> Vec<Effect> {
        let mut effects = self.take_answer(answer, model);
        match self.draft {
            Draft::Loading => {}
            // Nothing there is for what was typed.
            Draft::Message(_) | Draft::Editor(..) => self.held.clear(),
            _ => effects.extend(self.replay(model)),
        }
        effects
    }

    fn take_answer(&mut self, answer: &Result<Answer, Failure>, model: &Model) -> Vec<Effect> {
        match answer {
            Ok(Answer::Config(config)) if self.is_starting => {
                self.is_starting = false;
                self.start(config, model)
            }
            Ok(Answer::Config(config)) => {
                let Some(texts) = &self.texts else {
                    return Vec::new();
                };
                self.is_outdated = texts.base != config.base;
                let review = self.review.as_mut();
                if let Some(review) = review.filter(|review| review.wants_difference()) {
                    let now = Texts::new(config);
                    review.show_difference(difference(texts.files(), now.files()));
                }
                Vec::new()
            }
            Ok(Answer::Revisions(revisions)) => self.undo(&revisions.revisions),
            Ok(Answer::RevisionTexts(revision)) => {
                if let (Some(review), Some(texts)) = (&mut self.review, &self.texts) {
                    let files = revision.files.iter();
                    let running = files.map(|file| (PathBuf::from(&file.path), file.text.clone()));
                    let difference = difference(&running.collect(), texts.files());
                    review.show_difference(difference);
                }
                Vec::new()
            }
            Ok(_) => Vec::new(),
            Err(failure) => {
                // What is open stays open; only what cannot begin says so.
                if self.is_starting || matches!(self.draft, Draft::Loading) {
                    self.is_starting = false;
                    match self.draft {
                        Draft::Loading | Draft::Plain => {
                            self.draft = Draft::Message(failure.to_string());
                            Vec::new()
                        }
                        _ => vec![Notice::bad(failure.to_string())],
                    }
                } else {
                    Vec::new()
                }
            }
        }
    }

    fn undo(&mut self, revisions: &[crate::protocol::Revision]) -> Vec<Effect> {
        let (Wish::Undo { person, is_redo }, Some(texts)) = (&self.wish, &self.texts) else {
            return Vec::new();
        };
        let found = match is_redo {
            false => history::undo(revisions, person),
            true => history::redo(revisions, person),
        };
        match found {
            Some(id) => {
                let proposal = revert(texts, id, true);
                let directory = texts.directory();
                self.draft = Draft::Plain;
                self.show(ReviewPane::new(proposal, "Cancel"), &directory)
            }
            None => {
                let word = if *is_redo { "redo" } else { "undo" };
                let told = format!("There is no change of {person} to {word}.");
                self.draft = Draft::Message(told);
                Vec::new()
            }
        }
    }

    /// The size of its dialog in an area, and its title.
    fn shape(&self, area: Rect) -> (u16, u16, String) {
        let wide = match area.width {
            ..72 => area.width,
            width => (width - 8).min(WIDTH),
        };
        let high = match area.height {
            ..16 => area.height,
            height => height - 2,
        };
        let (title, height) = match (&self.review, &self.draft) {
            (Some(_), _) => (format!("Review  {}", self.title), high),
            (None, Draft::Form(view)) => (
                format!("Edit  {}", self.title),
                view.height().saturating_add(2).max(17),
            ),
            (None, Draft::Site(view)) => (
                "Add a site".to_owned(),
                view.height().saturating_add(2).max(17),
            ),
            (None, Draft::Question(removal, _)) => (removal.title.clone(), u16::MAX),
            _ => (self.title.clone(), 5),
        };
        (wide, height.min(high), title)
    }
}

impl View for Session {
    fn context(&self) -> Context {
        match (&self.review, &self.draft) {
            (Some(_), _) => Context::Review,
            (None, Draft::Form(view)) => view.context(),
            (None, Draft::Site(view)) => view.context(),
            (None, Draft::Question(..)) => Context::Confirm,
            (None, Draft::Loading) => match self.wish {
                // Letters are letters, also those that come before the fields.
                Wish::Add | Wish::Edit(_) => Context::Field,
                Wish::Remove(..) => Context::Confirm,
                Wish::Move(..) | Wish::Files | Wish::Revert(_) | Wish::Undo { .. } => {
                    Context::Review
                }
                Wish::Text(..) | Wish::MainText => Context::Reader,
            },
            _ => Context::Reader,
        }
    }

    fn input(&mut self, input: &Input, model: &Model) -> Vec<Effect> {
        match input {
            Input::Shown if self.texts.is_none() => return self.load(),
            Input::Shown => return vec![Effect::Call(Call::Config)],
            // What the person was asked was whether to let it go.
            Input::Confirmed => return vec![Effect::Close],
            Input::Edited(result) => return self.edited(result),
            Input::Answer(Ok(
                Answer::Config(_) | Answer::Revisions(_) | Answer::RevisionTexts(_),
            )) => {
                let Input::Answer(answer) = input else {
                    return Vec::new();
                };
                return self.answered(answer, model);
            }
            Input::Answer(answer) if self.review.is_none() => return self.answered(answer, model),
            _ => {}
        }
        if let Some(review) = &mut self.review {
            let verdict = review.input(input, model);
            let is_answer = matches!(input, Input::Answer(_));
            let wants_difference = is_answer && review.wants_difference();
            let mut effects = self.judged(verdict);
            if wants_difference {
                effects.push(Effect::Call(Call::Config));
            }
            return effects;
        }
        if self.is_loading() {
            return self.hold(input);
        }
        let Some(texts) = &self.texts else {
            return match input {
                Input::Action(Action::Close | Action::Back | Action::Deny) => vec![Effect::Close],
                _ => Vec::new(),
            };
        };
        let outcome = match &mut self.draft {
            Draft::Form(view) => view.input(input, texts),
            Draft::Site(view) => view.input(input, texts),
            Draft::Question(removal, is_on_button) => {
                let is_yes = match input {
                    Input::Action(Action::NextField | Action::PreviousField) => {
                        *is_on_button = !*is_on_button;
                        return Vec::new();
                    }
                    Input::Action(Action::Confirm) | Input::Click(Target::Button(1)) => true,
                    Input::Action(Action::Accept) => *is_on_button,
                    Input::Action(Action::Deny) | Input::Click(Target::Button(0)) => false,
                    _ => return Vec::new(),
                };
                if !is_yes {
                    return vec![Effect::Close];
                }
                let note = format!("delete {}", self.title);
                let change = match is_file_gone(removal, texts) {
                    true => Change {
                        removed: vec![removal.path.to_string_lossy().into_owned()],
                        ..texts.change(HashMap::new(), note)
                    },
                    false => {
                        let text = (removal.path.clone(), removal.text.clone());
                        texts.change(HashMap::from([text]), note)
                    }
                };
                let review = ReviewPane::agreed(Proposal::Change(change));
                self.draft = Draft::Plain;
                let directory = texts.directory();
                return self.show(review, &directory);
            }
            _ => match input {
                Input::Action(Action::Close | Action::Back) => return vec![Effect::Close],
                _ => Outcome::Stay,
            },
        };
        match outcome {
            Outcome::Stay => Vec::new(),
            Outcome::Review => self.review_draft(),
            Outcome::Leave => {
                let is_changed = match &self.draft {
                    Draft::Form(view) => view.form.is_changed(),
                    Draft::Site(view) => view.is_changed(),
                    _ => false,
                };
                match is_changed {
                    true => ask_to_discard("What you changed here is lost."),
                    false => vec![Effect::Close],
                }
            }
            Outcome::Text => {
                let Draft::Form(view) = &self.draft else {
                    return Vec::new();
                };
                let path = view.form.path.clone();
                let line = view.form.line();
                // What is no value cannot be in a text.
                if view.form.is_changed() {
                    self.edited = view.preview.after.clone();
                }
                self.wish = Wish::Text(path.clone(), line);
                let Some(texts) = self.texts.take() else {
                    return Vec::new();
                };
                let effects = self.start_editor(&texts, path, line);
                self.texts = Some(texts);
                effects
            }
        }
    }

    fn render(&mut self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        let (width, height, title) = self.shape(area);
        if let (None, Draft::Question(removal, is_on_button)) = (&self.review, &self.draft) {
            let width = QUESTION.min(area.width);
            let columns = usize::from(width.saturating_sub(4));
            let wrapped = |line: &String| match line.as_str() {
                "" => vec![String::new()],
                line => text::wrap(line, columns),
            };
            let lines: Vec<String> = removal.lines.iter().flat_map(wrapped).collect();
            let inside = painter.dialog(area, width, lines.len() as u16 + 4, &title);
            // The buttons are seen in any case.
            let room = usize::from(inside.height.saturating_sub(1));
            for (line, y) in lines.iter().take(room).zip(inside.y..) {
                painter.put(inside.x, y, inside.width, line, Role::Text);
            }
            return buttons::render(
                painter,
                inside,
                &["Cancel", "Delete"],
                usize::from(*is_on_button),
            );
        }
        let inside = painter.dialog(area, width, height, &title);
        if let Some(review) = &mut self.review {
            return review.render(painter, inside, model);
        }
        match &mut self.draft {
            Draft::Form(view) => view.render(painter, inside),
            Draft::Site(view) => view.render(painter, inside),
            Draft::Message(why) => {
                let lines = text::wrap(why, usize::from(inside.width));
                for (line, y) in lines.iter().zip(inside.y..inside.bottom()) {
                    painter.put(inside.x, y, inside.width, line, Role::Bad);
                }
            }
            _ => {
                let cut = painter.glyphs().cut;
                painter.put(inside.x, inside.y, inside.width, cut, Role::Muted);
            }
        }
    }

    fn remark(&self, _model: &Model) -> Option<String> {
        self.is_outdated.then(|| {
            "the configuration was changed by others since: the review will show it".to_owned()
        })
    }
}

/// The unified difference of two sets of files.
fn difference(old: &HashMap<PathBuf, String>, new: &HashMap<PathBuf, String>) -> String {
    let mut paths: Vec<&PathBuf> = old.keys().chain(new.keys()).collect();
    paths.sort_unstable();
    paths.dedup();
    let text = |files: &HashMap<PathBuf, String>, path: &PathBuf| {
        files.get(path).cloned().unwrap_or_default()
    };
    let parts = paths
        .into_iter()
        .map(|path| diff::unified(&path.to_string_lossy(), &text(old, path), &text(new, path)));
    parts.collect()
}

/// Does the file go too, because nothing is left in it and only a pattern finds it?
fn is_file_gone(removal: &Removal, texts: &Texts) -> bool {
    removal.text.trim().is_empty() && texts.may_go(&removal.path)
}

fn ask_to_discard(what: &str) -> Vec<Effect> {
    vec![Effect::Ask(Ask {
        title: "Discard?".to_owned(),
        lines: vec![what.to_owned(), String::new()],
        button: "Discard".to_owned(),
    })]
}

fn revert(texts: &Texts, revision: u64, undo: bool) -> Proposal {
    Proposal::Revert(Revert {
        base: texts.base.clone(),
        revision,
        undo,
        dry_run: false,
        client: super::texts::CLIENT.to_owned(),
    })
}

/// What is said when a change is in force.
fn done(applied: &Applied, wish: &Wish) -> Effect {
    match (applied.is_unchanged, applied.revision) {
        (true, _) => Notice::plain("nothing was different"),
        (false, 0) => Notice::good("it is saved"),
        (false, revision) => {
            let back = match wish {
                Wish::Undo { is_redo: false, .. } => "C-r brings it back",
                _ => "u undoes it",
            };
            Notice::good(format!("revision {revision} is in force; {back}"))
        }
    }
}
