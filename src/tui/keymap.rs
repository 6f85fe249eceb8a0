//! THE table of keys: what they do, where they hold, and what help and the last row say of them.
//!
//! Help, hints, the documentation and the check for duplicates are made from it; no key is bound
//! anywhere else. The order of the rows is that of the hints: most used first.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::glyphs::Glyphs;
use super::view::Screen;

/// What a key does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Action {
    /// Shows a screen.
    Go(Screen),
    /// Gives the focus to the next pane.
    NextPane,
    /// Gives the focus to the pane before.
    PreviousPane,
    /// Opens the help.
    Help,
    /// Asks for a filter.
    Filter,
    /// Goes to the next row that the last filter meant.
    NextMatch,
    /// Goes to the one before.
    PreviousMatch,
    /// Asks for a command.
    Command,
    /// Stops the display, or lets it go on.
    Pause,
    /// Shows a longer window.
    LongerWindow,
    /// Shows a shorter one.
    ShorterWindow,
    /// Takes the last change of the configuration back.
    Undo,
    /// Takes the undo back.
    Redo,
    /// Leaves what is open; on a screen, the dashboard.
    Back,
    /// Leaves the dashboard.
    Quit,
    /// Gives the terminal back to the shell for a while.
    Suspend,
    /// Draws everything again.
    Redraw,
    /// Tries to connect now.
    Retry,
    /// One row down.
    Down,
    /// One row up.
    Up,
    /// To the first row.
    First,
    /// To the last row.
    Last,
    /// Half a page down.
    HalfDown,
    /// Half a page up.
    HalfUp,
    /// A page down.
    PageDown,
    /// A page up.
    PageUp,
    /// Sorts by the next column.
    Sort,
    /// Sorts the other way round.
    ReverseSort,
    /// Opens the row.
    Open,
    /// Closes what was opened, or clears the filter.
    Close,
    /// Copies the row.
    Copy,
    /// Adds a row.
    Add,
    /// Edits it in a form.
    Edit,
    /// Edits it in `$EDITOR`.
    EditText,
    /// Deletes it.
    Delete,
    /// Moves it down in the configuration.
    MoveDown,
    /// Moves it up in the configuration.
    MoveUp,
    /// Asks what would happen to a URL.
    TestUrl,
    /// Gives a peer nothing new.
    Drain,
    /// Puts a peer in.
    PeerUp,
    /// Gives a peer another weight.
    Weight,
    /// Makes a peer as the configuration says.
    ResetPeer,
    /// Check the selected peer now.
    CheckPeer,
    /// Follows the newest row.
    Follow,
    /// Gets a new certificate now.
    Renew,
    /// Looks for what keeps a certificate from coming.
    Why,
    /// Shows what was done for a certificate.
    AcmeLog,
    /// Asks for the agreement to an authority's terms.
    Agree,
    /// Shows who is banned.
    Bans,
    /// Lets somebody in again.
    Unban,
    /// Shows what is stored under a URL.
    Inspect,
    /// Removes a key from the cache.
    PurgeKey,
    /// Removes everything from a zone of the cache.
    PurgeZone,
    /// Gives a key another secret.
    Rotate,
    /// Takes a key back.
    RevokeKey,
    /// Copies a new secret.
    CopySecret,
    /// Says that an alert was seen.
    Acknowledge,
    /// Says that all alerts were seen.
    AcknowledgeAll,
    /// Tells an alert again to those who do not know of it.
    TellAgain,
    /// Sends somebody an alert on trial.
    TestReceiver,
    /// Shows only what somebody was not told.
    Undelivered,
    /// Tells spend by something else.
    SpendKind,
    /// Tells spend of another time.
    SpendPeriod,
    /// Shows only one class of statuses.
    StatusClass,
    /// Writes what is shown into a file.
    Write,
    /// Checks the configuration.
    Validate,
    /// Puts a change into force.
    Apply,
    /// Goes back to a revision.
    Revert,
    /// Accepts a field, a form, the button with the focus.
    Accept,
    /// Says yes.
    Confirm,
    /// Says no.
    Deny,
    /// Goes to the next field.
    NextField,
    /// Goes to the field before.
    PreviousField,
    /// Shows what a form would change.
    Review,
    /// Puts the cursor at the start of the line.
    LineStart,
    /// Puts it at the end.
    LineEnd,
    /// One letter left.
    LineLeft,
    /// One letter right.
    LineRight,
    /// Deletes the letter before the cursor.
    DeleteBack,
    /// Deletes the letter under the cursor.
    DeleteForward,
    /// Deletes the word before the cursor.
    DeleteWord,
    /// Deletes everything before the cursor.
    DeleteLine,
    /// Brings an earlier line of this prompt back.
    Recall,
    /// Completes the word before the cursor.
    Complete,
}

/// Where keys hold.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Context {
    /// The screen.
    Overview,
    /// The screen.
    Routes,
    /// The screen.
    Backends,
    /// The screen.
    Certificates,
    /// The screen.
    Logs,
    /// The screen.
    Config,
    /// The screen.
    Cache,
    /// The screen.
    Llm,
    /// The screen.
    Keys,
    /// The screen.
    Alerts,
    /// A form, with the focus on something that is not text.
    Form,
    /// A form, with the focus on a field of text.
    Field,
    /// What a change would do: a text with a button.
    Review,
    /// Who is banned.
    Bans,
    /// A line of text at the bottom or in a dialog.
    Prompt,
    /// A command at the bottom.
    Command,
    /// A question with two buttons.
    Confirm,
    /// A text to read.
    Reader,
    /// A new secret of a key.
    Secret,
    /// No daemon was found, and no configuration.
    Offline,
    /// No daemon was found, but a configuration.
    OfflineConf,
}

impl Context {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::Overview,
        Self::Routes,
        Self::Backends,
        Self::Certificates,
        Self::Logs,
        Self::Config,
        Self::Cache,
        Self::Llm,
        Self::Keys,
        Self::Alerts,
        Self::Form,
        Self::Field,
        Self::Review,
        Self::Bans,
        Self::Prompt,
        Self::Command,
        Self::Confirm,
        Self::Reader,
        Self::Secret,
        Self::Offline,
        Self::OfflineConf,
    ];

    /// Its name in the title of the help.
    pub fn name(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Routes => "Routes",
            Self::Backends => "Backends",
            Self::Certificates => "Certificates",
            Self::Logs => "Logs",
            Self::Config => "Config",
            Self::Cache => "Cache",
            Self::Llm => "LLM",
            Self::Keys => "Keys",
            Self::Alerts => "Alerts",
            Self::Form | Self::Field => "Form",
            Self::Review => "Review",
            Self::Bans => "Banned",
            Self::Prompt => "Prompt",
            Self::Command => "Command",
            Self::Confirm => "Question",
            Self::Reader => "Text",
            Self::Secret => "Secret",
            Self::Offline | Self::OfflineConf => "No daemon",
        }
    }
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// What it does.
    pub action: Action,
    /// Its keys: `j`, `C-d`, `S-Tab`, `PgDn`.
    pub keys: &'static [&'static str],
    /// Where it holds.
    pub contexts: &'static [Context],
    /// What the last row says behind the key; empty if it says nothing.
    pub hint: &'static str,
    /// What the help says.
    pub help: &'static str,
    /// Does it change something, so that it is gone with `--read-only`?
    pub changes: bool,
}

use Context::{
    Alerts, Backends, Bans, Cache, Certificates, Command, Config, Confirm, Field, Form, Keys, Llm,
    Logs, Offline, OfflineConf, Overview, Prompt, Reader, Review, Routes, Secret,
};

const SCREENS: &[Context] = &[
    Overview,
    Routes,
    Backends,
    Certificates,
    Logs,
    Config,
    Cache,
    Llm,
    Keys,
    Alerts,
];
/// Where rows are listed or text is read.
const LISTS: &[Context] = &[
    Overview,
    Routes,
    Backends,
    Certificates,
    Logs,
    Config,
    Cache,
    Llm,
    Keys,
    Alerts,
    Reader,
    Review,
    Bans,
];
const TEXT: &[Context] = &[Prompt, Command, Field];
const FORMS: &[Context] = &[Form, Field];

const fn row(
    action: Action,
    keys: &'static [&'static str],
    contexts: &'static [Context],
    hint: &'static str,
    help: &'static str,
) -> Binding {
    Binding {
        action,
        keys,
        contexts,
        hint,
        help,
        changes: false,
    }
}

/// A row whose key changes something.
const fn changing(
    action: Action,
    keys: &'static [&'static str],
    contexts: &'static [Context],
    hint: &'static str,
    help: &'static str,
) -> Binding {
    Binding {
        changes: true,
        ..row(action, keys, contexts, hint, help)
    }
}

/// The table.
#[rustfmt::skip]
pub const TABLE: &[Binding] = &[
    row(Action::Help, &["?", "F1"], &[Overview, Routes, Backends, Certificates, Logs, Config, Cache, Llm, Keys, Alerts, Review, Offline, OfflineConf], "help", "help for this screen"),
    // Own keys of screens.
    row(Action::Open, &["Enter", "l", "Right"], &[Overview], "open", "go to its screen"),
    row(Action::Open, &["Enter", "l", "Right"], &[Routes], "detail", "open the route"),
    changing(Action::Add, &["a"], &[Routes], "add", "add a route"),
    changing(Action::Edit, &["e"], &[Routes], "edit", "edit in a form"),
    changing(Action::EditText, &["E"], &[Routes], "$EDITOR", "edit in $EDITOR"),
    changing(Action::Delete, &["d"], &[Routes], "delete", "delete (asks first)"),
    row(Action::TestUrl, &["t"], &[Routes], "test", "test a URL"),
    changing(Action::MoveDown, &["J"], &[Routes], "", "move in its server"),
    changing(Action::MoveUp, &["K"], &[Routes], "", "move in its server"),
    changing(Action::Unban, &["d"], &[Bans], "let in", "let in again (asks first)"),
    row(Action::Open, &["Enter", "l", "Right"], &[Backends], "detail", "open the peer"),
    changing(Action::Drain, &["D"], &[Backends], "drain", "drain (asks first)"),
    changing(Action::PeerUp, &["U"], &[Backends], "up", "put it in (asks first)"),
    changing(Action::Weight, &["w"], &[Backends], "weight", "weight (asks first)"),
    changing(Action::ResetPeer, &["x"], &[Backends], "reset", "reset (asks first)"),
    changing(Action::CheckPeer, &["c"], &[Backends], "check", "check it now"),
    changing(Action::Edit, &["e"], &[Backends], "edit", "edit in a form"),
    row(Action::Open, &["Enter", "Right"], &[Certificates], "chain", "all about it, its chain"),
    changing(Action::Renew, &["r"], &[Certificates], "renew", "renew now (asks first)"),
    row(Action::Why, &["w"], &[Certificates], "why", "what is in its way"),
    row(Action::AcmeLog, &["l"], &[Certificates], "log", "what was done for it"),
    changing(Action::Agree, &["A"], &[Certificates], "", "agree to the terms"),
    row(Action::Open, &["Enter", "Right"], &[Cache], "inspect", "keys of a zone, a key"),
    row(Action::Inspect, &["i"], &[Cache], "URL", "look up a URL"),
    changing(Action::PurgeKey, &["p"], &[Cache], "purge", "purge the key (asks)"),
    changing(Action::PurgeZone, &["P"], &[Cache], "", "purge the zone (asks)"),
    row(Action::Open, &["Enter", "l", "Right"], &[Llm], "trace", "calls of a sum, a call"),
    row(Action::Open, &["Enter", "l", "Right"], &[Keys], "detail", "all about the key"),
    changing(Action::Add, &["a"], &[Keys], "add", "make a key"),
    changing(Action::Edit, &["e"], &[Keys], "edit", "change what it may do"),
    changing(Action::Rotate, &["R"], &[Keys], "rotate", "another secret (asks)"),
    changing(Action::RevokeKey, &["x"], &[Keys], "revoke", "revoke (asks first)"),
    changing(Action::Delete, &["d"], &[Keys], "", "remove (type its name)"),
    row(Action::CopySecret, &["y"], &[Secret], "copy the secret", "copy the secret"),
    row(Action::Copy, &["c"], &[Secret], "copy the snippet", "copy the snippet"),
    row(Action::NextField, &["Tab"], &[Secret], "another form", "another form"),
    row(Action::Close, &["Esc", "q"], &[Secret], "close", "close; it is gone then"),
    row(Action::Open, &["Enter", "l", "Right"], &[Alerts], "detail", "all about it"),
    changing(Action::Acknowledge, &["A"], &[Alerts], "seen", "say that you saw it"),
    changing(Action::AcknowledgeAll, &["X"], &[Alerts], "", "say that you saw all"),
    changing(Action::TestReceiver, &["t"], &[Alerts], "test", "send a test (asks first)"),
    changing(Action::TellAgain, &["R"], &[Alerts], "tell again", "tell it again, now"),
    row(Action::Undelivered, &["m"], &[Alerts], "not told", "what was not told, all"),
    row(Action::SpendKind, &["m"], &[Llm], "by", "by model, key, …"),
    row(Action::SpendPeriod, &["t"], &[Llm], "today/month", "of today, of the month"),
    row(Action::Open, &["Enter", "l", "Right"], &[Logs], "detail", "phases and timing"),
    row(Action::Follow, &["f"], &[Logs], "follow", "follow the newest"),
    row(Action::StatusClass, &["s"], &[Logs], "status", "one class of statuses"),
    row(Action::Write, &["w"], &[Logs], "save", "write shown to a file"),
    row(Action::Open, &["Enter", "l", "Right"], &[Config], "diff", "show what it changed"),
    row(Action::Validate, &["v"], &[Config, OfflineConf], "validate", "check the files"),
    changing(Action::Apply, &["a"], &[Config], "apply", "apply edits of files"),
    changing(Action::Revert, &["r"], &[Config], "revert to", "revert to this (asks)"),
    changing(Action::EditText, &["E", "e"], &[Config, OfflineConf], "$EDITOR", "edit in $EDITOR"),
    changing(Action::Undo, &["u"], &[Routes, Config], "undo", "undo, redo a change"),
    changing(Action::Undo, &["u"], &[Overview, Backends, Certificates, Logs], "", "undo, redo a change"),
    row(Action::Bans, &["b"], &[Routes, Logs], "bans", "who is banned"),
    changing(Action::Redo, &["C-r"], SCREENS, "", "undo, redo a change"),
    // Tables.
    row(Action::Sort, &["s"], &[Overview, Routes, Backends, Certificates], "sort", "sort column, reverse"),
    row(Action::ReverseSort, &["S"], &[Overview, Routes, Backends, Certificates], "", "sort column, reverse"),
    row(Action::Down, &["j", "Down"], LISTS, "", "move"),
    row(Action::Up, &["k", "Up"], LISTS, "", "move"),
    row(Action::First, &["g", "Home"], LISTS, "", "first, last"),
    row(Action::Last, &["G", "End"], LISTS, "", "first, last"),
    row(Action::HalfDown, &["C-d"], LISTS, "", "half page down, up"),
    row(Action::HalfUp, &["C-u"], LISTS, "", "half page down, up"),
    row(Action::PageDown, &["PgDn"], LISTS, "", "page down, up"),
    row(Action::PageUp, &["PgUp"], LISTS, "", "page down, up"),
    row(Action::Close, &["Esc", "h", "Left"], SCREENS, "", "back, clear filter"),
    row(Action::Copy, &["y"], SCREENS, "", "copy the row"),
    // Everywhere.
    row(Action::Filter, &["/"], &[Overview, Routes, Backends, Certificates, Logs, Config, Cache, Llm, Keys, Alerts], "filter", "show only some rows"),
    row(Action::NextMatch, &["n"], SCREENS, "", "next, previous match"),
    row(Action::PreviousMatch, &["N"], SCREENS, "", "next, previous match"),
    row(Action::Pause, &["Space"], SCREENS, "pause", "pause the display"),
    row(Action::NextPane, &["Tab"], SCREENS, "pane", "next, previous pane"),
    row(Action::PreviousPane, &["S-Tab"], SCREENS, "", "next, previous pane"),
    row(Action::LongerWindow, &["+", "="], SCREENS, "", "longer window"),
    row(Action::ShorterWindow, &["-"], SCREENS, "", "shorter window"),
    row(Action::Go(Screen::Overview), &["1"], SCREENS, "", "go to a screen"),
    row(Action::Go(Screen::Routes), &["2"], SCREENS, "", "go to a screen"),
    row(Action::Go(Screen::Backends), &["3"], SCREENS, "", "go to a screen"),
    row(Action::Go(Screen::Certificates), &["4"], SCREENS, "", "go to a screen"),
    row(Action::Go(Screen::Logs), &["5"], SCREENS, "", "go to a screen"),
    row(Action::Go(Screen::Config), &["6"], SCREENS, "", "go to a screen"),
    row(Action::Go(Screen::Cache), &["7"], SCREENS, "", "go to a screen"),
    row(Action::Go(Screen::Llm), &["8"], SCREENS, "", "go to a screen"),
    row(Action::Go(Screen::Keys), &["9"], SCREENS, "", "go to a screen"),
    row(Action::Go(Screen::Alerts), &["0"], SCREENS, "", "go to a screen"),
    row(Action::Command, &[":"], &[Overview, Routes, Backends, Certificates, Logs, Config, Cache, Llm, Keys, Alerts, Offline, OfflineConf], "cmd", "command (Tab completes)"),
    row(Action::Retry, &["r"], &[Overview, Routes, Backends, Logs, Offline, OfflineConf], "", "try to connect now"),
    // Forms, prompts, questions.
    row(Action::NextField, &["Tab"], FORMS, "next field", "next, previous field"),
    row(Action::PreviousField, &["S-Tab"], FORMS, "", "next, previous field"),
    row(Action::Down, &["Down"], FORMS, "", "one down, up"),
    row(Action::Up, &["Up"], FORMS, "", "one down, up"),
    row(Action::Accept, &["Enter"], &[Form, Field, Prompt, Command], "accept", "accept"),
    changing(Action::Review, &["C-s"], FORMS, "review", "review the change"),
    changing(Action::Apply, &["a", "C-s"], &[Review], "apply", "put it into force"),
    changing(Action::EditText, &["E"], &[Form, Review], "$EDITOR", "the same in $EDITOR"),
    row(Action::Complete, &["Tab"], &[Command], "complete", "complete the word"),
    row(Action::LineStart, &["C-a", "Home"], TEXT, "", "start of the line"),
    row(Action::LineEnd, &["C-e", "End"], TEXT, "", "end of the line"),
    row(Action::LineLeft, &["Left", "C-b"], TEXT, "", "one letter left"),
    row(Action::LineRight, &["Right", "C-f"], TEXT, "", "one letter right"),
    row(Action::DeleteBack, &["Backspace", "C-h"], TEXT, "", "delete the letter before"),
    row(Action::DeleteForward, &["Delete"], TEXT, "", "delete the letter here"),
    row(Action::DeleteWord, &["C-w"], TEXT, "", "delete the word before"),
    row(Action::DeleteLine, &["C-u"], TEXT, "", "delete everything before"),
    row(Action::Recall, &["C-r", "Up"], &[Prompt, Command], "", "what was typed earlier"),
    row(Action::NextField, &["Tab", "Right", "Left", "S-Tab"], &[Confirm, Review], "other button", "the other button"),
    row(Action::Accept, &["Enter"], &[Confirm, Review], "press", "press the button"),
    row(Action::Confirm, &["y"], &[Confirm], "yes", "yes"),
    row(Action::Deny, &["n", "Esc"], &[Confirm], "no", "no"),
    row(Action::Close, &["Esc"], &[Form, Field, Prompt, Command, Review], "leave", "leave"),
    row(Action::Close, &["Esc", "q"], &[Bans], "close", "close"),
    row(Action::Close, &["Esc", "q", "?", "F1"], &[Reader], "close", "close"),
    row(Action::Filter, &["/"], &[Reader], "search", "search"),
    row(Action::Copy, &["y"], &[Bans], "copy", "copy the address"),
    row(Action::Copy, &["y"], &[Reader, Review], "copy", "copy the text"),
    // Leaving.
    row(Action::Redraw, &["C-l"], &Context::ALL, "", "redraw"),
    row(Action::Suspend, &["C-z"], &Context::ALL, "", "suspend (fg comes back)"),
    row(Action::Back, &["q"], &[Overview, Routes, Backends, Certificates, Logs, Config, Cache, Llm, Keys, Alerts, Review, Offline, OfflineConf], "quit", "back, quit"),
    row(Action::Quit, &["Q"], &[Overview, Routes, Backends, Certificates, Logs, Config, Cache, Llm, Keys, Alerts, Offline, OfflineConf], "", "quit"),
    row(Action::Quit, &["C-c"], &Context::ALL, "", "quit"),
];

impl Binding {
    /// Does it hold on all screens?
    pub fn is_everywhere(&self) -> bool {
        let is_same = |other: &Binding| (other.keys, other.help) == (self.keys, self.help);
        SCREENS.iter().all(|screen| {
            let mut rows = TABLE.iter().filter(|row| is_same(row));
            rows.any(|row| row.contexts.contains(screen))
        })
    }
}

/// What a key does in a context.
pub fn find(context: Context, key: KeyEvent, is_read_only: bool) -> Option<Action> {
    let name = name(key)?;
    rows(context, is_read_only)
        .find(|binding| binding.keys.contains(&name.as_str()))
        .map(|binding| binding.action)
}

/// The rows that hold in a context.
pub fn rows(context: Context, is_read_only: bool) -> impl Iterator<Item = &'static Binding> {
    TABLE.iter().filter(move |binding| {
        binding.contexts.contains(&context) && !(is_read_only && binding.changes)
    })
}

/// The name of a key as the table writes it.
pub fn name(key: KeyEvent) -> Option<String> {
    let word = match key.code {
        KeyCode::Char(' ') => "Space".to_owned(),
        KeyCode::Char(letter) => letter.to_string(),
        KeyCode::Enter => "Enter".to_owned(),
        KeyCode::Esc => "Esc".to_owned(),
        KeyCode::Tab if key.modifiers.contains(KeyModifiers::SHIFT) => "S-Tab".to_owned(),
        KeyCode::Tab => "Tab".to_owned(),
        KeyCode::BackTab => "S-Tab".to_owned(),
        KeyCode::Backspace => "Backspace".to_owned(),
        KeyCode::Delete => "Delete".to_owned(),
        KeyCode::Up => "Up".to_owned(),
        KeyCode::Down => "Down".to_owned(),
        KeyCode::Left => "Left".to_owned(),
        KeyCode::Right => "Right".to_owned(),
        KeyCode::Home => "Home".to_owned(),
        KeyCode::End => "End".to_owned(),
        KeyCode::PageUp => "PgUp".to_owned(),
        KeyCode::PageDown => "PgDn".to_owned(),
        KeyCode::F(number) => format!("F{number}"),
        _ => return None,
    };
    Some(if key.modifiers.contains(KeyModifiers::CONTROL) {
        format!("C-{}", word.to_lowercase())
    } else if key.modifiers.contains(KeyModifiers::ALT) {
        format!("M-{word}")
    } else {
        word
    })
}

/// A key as people are told about it: arrows as such.
pub fn shown(key: &'static str, glyphs: &Glyphs) -> &'static str {
    match key {
        "Down" if glyphs.is_unicode => "↓",
        "Up" if glyphs.is_unicode => "↑",
        "Left" if glyphs.is_unicode => "←",
        "Right" if glyphs.is_unicode => "→",
        key => key,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_key_is_bound_twice_in_a_context() {
        for context in Context::ALL {
            let mut seen = HashSet::new();
            for key in rows(context, false).flat_map(|binding| binding.keys) {
                assert!(seen.insert(key), "{key} is bound twice in {context:?}");
            }
        }
    }

    #[test]
    fn control_keys_have_one_spelling() {
        let key = KeyEvent::new(KeyCode::Char('D'), KeyModifiers::CONTROL);
        assert_eq!(name(key).as_deref(), Some("C-d"));
        let key = KeyEvent::new(KeyCode::BackTab, KeyModifiers::SHIFT);
        assert_eq!(name(key).as_deref(), Some("S-Tab"));
    }
}
