//! The application: everything that is shown, and what each thing that happens changes of it.
//!
//! [`App::update`] takes an event and gives what is to be done outside; it does no I/O and reads no
//! clock. [`App::render`] draws. So a test is a list of events.

mod draw;

use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;

use crossterm::event::{
    KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};
use jiff::tz::TimeZone;
use ratatui::layout::Position;

use super::agree::Agree;
use super::command;
use super::edit;
use super::glyphs::Glyphs;
use super::keymap::{self, Action, Context};
use super::link::{LinkEvent, LinkOrder, Ticket};
use super::model::{Link, Model};
use super::screens::Screens;
use super::theme::Theme;
use super::view::{
    Answer, Ask, Call, EditorJob, Effect, Failure, Hit, Input, Notice, Screen, Target, View, Window,
};
use super::widgets::ask::AskView;
use super::widgets::help;
use super::widgets::line::Line;
use super::widgets::prompt::PromptView;
use crate::protocol::{Event as DaemonEvent, Millis, Point, Terms, Topic};

/// Numbers are old after so many milliseconds without a summary.
const OLD: Millis = 3_000;

/// So long nothing is said about a connection that is being made.
const PATIENCE: Millis = 300;

/// So many lines a turn of the wheel moves.
const WHEEL: i16 = 3;

/// So many commands are remembered.
const HISTORY: usize = 100;

/// What happens.
#[derive(Clone, Debug)]
pub enum Event {
    /// A key.
    Key(KeyEvent),
    /// Text from the clipboard.
    Paste(String),
    /// The mouse.
    Mouse(MouseEvent),
    /// The terminal has another size, or was somebody else's for a while.
    Resized,
    /// The daemon, or its absence.
    Link(LinkEvent),
    /// An editor ended.
    Edited(Result<String, String>),
    /// A file was written, or not.
    Written(Result<PathBuf, String>),
    /// The time of [`App::deadline`] has come.
    Time,
}

/// What is to be done outside.
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// For the link.
    Order(LinkOrder),
    /// Leave the terminal to an editor; gives [`Event::Edited`].
    Edit(EditorJob),
    /// Put text into the terminal's clipboard.
    Copy(String),
    /// Write a new file; gives [`Event::Written`].
    Write(PathBuf, String),
    /// Give the terminal to the shell.
    Suspend,
    /// Draw everything anew: the terminal shows something else.
    Redraw,
    /// End.
    Quit,
}

/// Who wanted something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Origin {
    App,
    Screen(Screen),
    Overlay(u64),
}

/// What the application asks for itself, to say which pane failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asked {
    Routes,
    Upstreams,
    Caches,
    Certificates,
    Config,
    History,
    Other,
}

/// An overlay that is open.
#[derive(Debug)]
struct Overlay {
    id: u64,
    opener: Origin,
    view: Box<dyn View>,
}

/// The line at the bottom that is typed.
#[derive(Debug)]
enum Bottom {
    /// With the filter that was in force before.
    Filter(Line, String),
    Command(Line),
}

/// How the dashboard looks and what it may do.
#[derive(Clone, Debug)]
pub struct Look {
    /// Colours.
    pub theme: Theme,
    /// Letters.
    pub glyphs: Glyphs,
    /// The zone of the times that are shown.
    pub zone: TimeZone,
    /// Keys that change something are gone.
    pub is_read_only: bool,
    /// The proxy runs in this process and ends with the dashboard.
    pub owns_daemon: bool,
    /// The configuration that can be changed while no daemon answers.
    pub conf: Option<PathBuf>,
}

/// The application.
#[derive(Debug)]
pub struct App {
    model: Model,
    theme: Theme,
    glyphs: Glyphs,
    screen: Screen,
    screens: Screens,
    overlays: Vec<Overlay>,
    bottom: Option<Bottom>,
    notice: Option<Notice>,
    /// The banner of a lost daemon was put away.
    is_banner_hidden: bool,
    commands: Vec<String>,
    hits: Vec<Hit>,
    waiting: HashMap<Ticket, (Origin, Asked)>,
    editing: Option<Origin>,
    next: u64,
    topics: Vec<Topic>,
    is_asking_history: bool,
    /// The terms that somebody was asked about.
    offered: Vec<Terms>,
    outputs: Vec<Output>,
    is_dirty: bool,
    is_quitting: bool,
    /// When the last summary came.
    heard: Millis,
}

impl App {
    /// The application at its start, at a time of the monotonic clock.
    pub fn new(look: Look, now: Millis) -> Self {
        let mut model = Model::new(look.zone, now);
        model.is_read_only = look.is_read_only;
        model.owns_daemon = look.owns_daemon;
        model.conf = look.conf;
        Self {
            model,
            theme: look.theme,
            glyphs: look.glyphs,
            screen: Screen::Overview,
            screens: Screens::default(),
            overlays: Vec::new(),
            bottom: None,
            notice: None,
            is_banner_hidden: false,
            commands: Vec::new(),
            hits: Vec::new(),
            waiting: HashMap::new(),
            editing: None,
            next: 0,
            topics: Vec::new(),
            is_asking_history: false,
            offered: Vec::new(),
            outputs: Vec::new(),
            is_dirty: true,
            is_quitting: false,
            heard: now,
        }
    }

    /// What is known about the proxy.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The screen that is shown.
    pub fn screen(&self) -> Screen {
        self.screen
    }

    /// What was said last, until the next key.
    pub fn notice_text(&self) -> Option<&str> {
        self.notice.as_ref().map(|notice| notice.text.as_str())
    }

    /// Has something visible changed since this was asked last?
    pub fn take_dirty(&mut self) -> bool {
        std::mem::take(&mut self.is_dirty)
    }

    /// When [`Event::Time`] is wanted, if nothing else happens before.
    pub fn deadline(&self) -> Option<Millis> {
        match &self.model.link {
            Link::Connecting { since } if self.model.now < since + PATIENCE => {
                Some(since + PATIENCE)
            }
            Link::Connecting { .. } => None,
            Link::Live => Some(self.heard + OLD),
            Link::Old { .. } | Link::Lost { .. } | Link::Absent { .. } => {
                Some((self.model.now / 1000 + 1) * 1000)
            }
        }
    }

    /// Takes in what happened at a time of the monotonic clock.
    pub fn update(&mut self, event: Event, now: Millis) -> Vec<Output> {
        self.model.now = self.model.now.max(now);
        match event {
            Event::Key(key) if key.kind == KeyEventKind::Release => {}
            Event::Key(key) => {
                self.is_dirty = true;
                self.notice = None;
                self.key(key);
            }
            Event::Paste(text) => {
                self.is_dirty = true;
                self.input_top(Input::Paste(text));
            }
            Event::Mouse(mouse) => self.mouse(mouse),
            Event::Resized => self.is_dirty = true,
            Event::Link(event) => self.link(event),
            Event::Edited(result) => {
                self.is_dirty = true;
                if let Some(origin) = self.editing.take() {
                    self.deliver(origin, Input::Edited(result));
                }
            }
            Event::Written(Ok(path)) => self.say(Notice::good(format!("wrote {}", path.display()))),
            Event::Written(Err(why)) => self.say(Notice::bad(why)),
            Event::Time => {
                self.is_dirty = true;
                if self.model.link == Link::Live && self.model.now >= self.heard + OLD {
                    self.model.link = Link::Old { since: self.heard };
                }
            }
        }
        self.subscribe();
        std::mem::take(&mut self.outputs)
    }

    /// Which rows of the table of keys hold now.
    pub fn context(&self) -> Context {
        match self.bottom {
            Some(Bottom::Filter(..)) => return Context::Prompt,
            Some(Bottom::Command(_)) => return Context::Command,
            None => {}
        }
        match self.overlays.last() {
            Some(overlay) => overlay.view.context(),
            None if self.is_offline() && self.model.conf.is_some() => Context::OfflineConf,
            None if self.is_offline() => Context::Offline,
            None => self.screens.view(self.screen).context(),
        }
    }

    /// No daemon was reached since the start.
    fn is_offline(&self) -> bool {
        self.model.status.is_none() && matches!(self.model.link, Link::Absent { .. })
    }

    fn key(&mut self, key: KeyEvent) {
        let Some(action) = keymap::find(self.context(), key, self.model.is_read_only) else {
            self.input_top(Input::Key(key));
            return;
        };
        self.act(action);
    }

    /// Does what a key of the table means here.
    fn act(&mut self, action: Action) {
        match action {
            Action::Quit => return self.quit(),
            Action::Suspend if self.model.owns_daemon => {
                return self.say(Notice::bad(
                    "the proxy runs in this process: suspending would stop it",
                ));
            }
            Action::Suspend => return self.outputs.push(Output::Suspend),
            Action::Redraw => return self.outputs.push(Output::Redraw),
            _ => {}
        }
        if self.bottom.is_some() {
            return self.input_bottom(Input::Action(action));
        }
        if !self.overlays.is_empty() {
            let is_help = action == Action::Help;
            if is_help {
                return self.open_help();
            }
            return self.input_top(Input::Action(action));
        }
        match action {
            Action::Go(screen) => self.go(screen, None),
            Action::Help => self.open_help(),
            Action::Filter => {
                let filter = self.screens.view(self.screen).filter().to_owned();
                self.bottom = Some(Bottom::Filter(Line::new(filter.as_str()), filter));
            }
            Action::Command => {
                let line = Line::default().with_history(self.commands.clone());
                self.bottom = Some(Bottom::Command(line));
            }
            Action::Pause => self.model.toggle_pause(),
            Action::LongerWindow => self.step_window(1),
            Action::ShorterWindow => self.step_window(-1),
            Action::Retry => match self.model.link {
                Link::Live | Link::Old { .. } => {
                    self.ask_all();
                    self.ask_history();
                    self.say(Notice::plain("asked again"));
                }
                _ => self.outputs.push(Output::Order(LinkOrder::Retry)),
            },
            Action::Close if self.shows_banner() => self.is_banner_hidden = true,
            Action::EditText if self.is_offline() => self.apply(Origin::App, edit::main_file()),
            Action::Validate if self.is_offline() => self.apply(Origin::App, edit::validate()),
            Action::Undo => self.apply(Origin::App, edit::undo(&self.model)),
            Action::Redo => self.apply(Origin::App, edit::redo(&self.model)),
            Action::Back => self.quit(),
            action => self.input_top(Input::Action(action)),
        }
    }

    /// Ends, or asks first if the proxy ends with it.
    fn quit(&mut self) {
        if !self.model.owns_daemon || self.is_quitting {
            self.outputs.push(Output::Quit);
            return;
        }
        self.is_quitting = true;
        let connections = match &self.model.current().summary {
            Some(summary) => format!(
                "{} requests are being answered, {} connections are open.",
                summary.in_flight, summary.connections
            ),
            None => String::new(),
        };
        let ask = Ask {
            title: "Quit?".to_owned(),
            lines: vec![
                "The proxy runs in this process: it stops with the dashboard.".to_owned(),
                connections,
                "`openclaw --daemon` starts one that runs without it.".to_owned(),
            ],
            button: "Stop the proxy".to_owned(),
        };
        self.open(Origin::App, Box::new(AskView::new(ask)));
    }

    fn open_help(&mut self) {
        let context = self.context();
        let help = help::reader(context, self.model.is_read_only, &self.glyphs);
        self.open(Origin::App, Box::new(help));
    }

    fn open(&mut self, opener: Origin, view: Box<dyn View>) {
        self.next += 1;
        let id = self.next;
        self.overlays.push(Overlay { id, opener, view });
        self.deliver(Origin::Overlay(id), Input::Shown);
    }

    fn go(&mut self, screen: Screen, selected: Option<u32>) {
        self.screen = screen;
        if let Some(id) = selected {
            self.deliver(Origin::Screen(screen), Input::Select(id));
        }
        self.deliver(Origin::Screen(screen), Input::Shown);
    }

    fn step_window(&mut self, step: isize) {
        let at = Window::ALL
            .iter()
            .position(|&window| window == self.model.window)
            .unwrap_or(0);
        let at = at.saturating_add_signed(step).min(Window::ALL.len() - 1);
        self.set_window(Window::ALL[at]);
    }

    fn set_window(&mut self, window: Window) {
        if self.model.window != window {
            self.model.window = window;
            self.is_asking_history = false;
            self.ask_history();
            self.deliver(Origin::Screen(self.screen), Input::Shown);
        }
    }

    fn say(&mut self, effect: Effect) {
        self.is_dirty = true;
        self.apply(Origin::App, vec![effect]);
    }

    /// Passes an input to whatever has the focus.
    fn input_top(&mut self, input: Input) {
        if self.bottom.is_some() {
            return self.input_bottom(input);
        }
        let origin = match self.overlays.last() {
            Some(overlay) => Origin::Overlay(overlay.id),
            None if self.is_offline() => return,
            None => Origin::Screen(self.screen),
        };
        self.deliver(origin, input);
    }

    /// Passes an input to a view, if it still is there, and does what it wants.
    fn deliver(&mut self, origin: Origin, input: Input) {
        let effects = match origin {
            Origin::App => {
                // Only one question is asked by the application itself.
                if input == Input::Confirmed && self.is_quitting {
                    self.outputs.push(Output::Quit);
                }
                return;
            }
            Origin::Screen(screen) => self.screens.view_mut(screen).input(&input, &self.model),
            Origin::Overlay(id) => {
                let overlay = self.overlays.iter_mut().find(|overlay| overlay.id == id);
                match overlay {
                    Some(overlay) => overlay.view.input(&input, &self.model),
                    None => return,
                }
            }
        };
        self.apply(origin, effects);
    }

    fn apply(&mut self, origin: Origin, effects: Vec<Effect>) {
        for effect in effects {
            self.is_dirty = true;
            match effect {
                Effect::Call(call) => self.call(origin, call),
                Effect::Suspend(job) => {
                    self.editing = Some(origin);
                    self.outputs.push(Output::Edit(job));
                }
                Effect::Copy(text) => {
                    let lines = text.lines().count();
                    let what = if lines > 1 {
                        format!("{lines} lines")
                    } else {
                        text.clone()
                    };
                    self.outputs.push(Output::Copy(text));
                    self.say(Notice::good(format!("copied {what}")));
                }
                Effect::CopyQuietly { text, what } => {
                    self.outputs.push(Output::Copy(text));
                    self.say(Notice::good(format!("copied {what}")));
                }
                Effect::Write { path, text } => self.outputs.push(Output::Write(path, text)),
                Effect::Notice(notice) => self.notice = Some(notice),
                Effect::Open(view) => self.open(origin, view),
                Effect::Ask(ask) => self.open(origin, Box::new(AskView::new(ask))),
                Effect::Prompt(prompt) => self.open(origin, Box::new(PromptView::new(prompt))),
                Effect::Reply(input) => {
                    if let Origin::Overlay(id) = origin {
                        let overlay = self.overlays.iter().find(|overlay| overlay.id == id);
                        if let Some(opener) = overlay.map(|overlay| overlay.opener) {
                            self.deliver(opener, input);
                        }
                    }
                }
                Effect::Close => {
                    if let Origin::Overlay(id) = origin {
                        let closed = self.overlays.iter().position(|overlay| overlay.id == id);
                        if let Some(at) = closed {
                            let overlay = self.overlays.remove(at);
                            if overlay.opener == Origin::App {
                                self.is_quitting = false;
                            }
                        }
                    }
                }
                Effect::Go(screen, selected) => self.go(screen, selected),
                Effect::Refresh => self.ask_all(),
            }
        }
    }

    fn call(&mut self, origin: Origin, call: Call) {
        self.next += 1;
        let asked = match (origin, &call) {
            (Origin::App, Call::Routes) => Asked::Routes,
            (Origin::App, Call::Upstreams) => Asked::Upstreams,
            (Origin::App, Call::Caches) => Asked::Caches,
            (Origin::App, Call::Certificates) => Asked::Certificates,
            (Origin::App, Call::Config) => Asked::Config,
            (Origin::App, Call::History(..)) => Asked::History,
            _ => Asked::Other,
        };
        self.waiting.insert(self.next, (origin, asked));
        self.outputs
            .push(Output::Order(LinkOrder::Call(self.next, call)));
    }

    /// Asks for everything that does not come by itself.
    fn ask_all(&mut self) {
        if !matches!(self.model.link, Link::Live | Link::Old { .. }) {
            return;
        }
        for call in [
            Call::Status,
            Call::Routes,
            Call::Upstreams,
            Call::Caches,
            Call::Certificates,
            Call::Config,
            Call::Events,
        ] {
            self.call(Origin::App, call);
        }
    }

    fn ask_history(&mut self) {
        if !self.is_asking_history {
            self.is_asking_history = true;
            self.call(Origin::App, Call::History(self.model.window, None));
        }
    }

    fn input_bottom(&mut self, input: Input) {
        let Some(bottom) = &mut self.bottom else {
            return;
        };
        match (bottom, &input) {
            (Bottom::Filter(..), Input::Action(Action::Accept)) => self.bottom = None,
            (Bottom::Filter(_, before), Input::Action(Action::Close)) => {
                let before = std::mem::take(before);
                self.bottom = None;
                self.deliver(Origin::Screen(self.screen), Input::Filter(before));
            }
            (Bottom::Filter(line, _), input) => {
                if line.input(input) {
                    let filter = line.text().to_owned();
                    self.deliver(Origin::Screen(self.screen), Input::Filter(filter));
                }
            }
            (Bottom::Command(_), Input::Action(Action::Close)) => self.bottom = None,
            (Bottom::Command(line), Input::Action(Action::Complete)) => {
                let completed = command::complete(line.text());
                match completed {
                    Ok(text) => line.set(text),
                    Err(choices) => self.say(Notice::plain(choices)),
                }
            }
            (Bottom::Command(line), Input::Action(Action::Accept)) => {
                let text = line.text().trim().to_owned();
                self.bottom = None;
                if text.is_empty() {
                    return;
                }
                if self.commands.last() != Some(&text) {
                    self.commands.push(text.clone());
                    if self.commands.len() > HISTORY {
                        self.commands.remove(0);
                    }
                }
                self.command(&text);
            }
            (Bottom::Command(line), input) => {
                line.input(input);
            }
        }
    }

    /// Does what was typed behind `:`.
    fn command(&mut self, text: &str) {
        let command = match command::parse(text, &self.model) {
            Ok(command) => command,
            Err(why) => return self.say(Notice::bad(why)),
        };
        match command {
            command::Command::Go(screen) => self.go(screen, None),
            command::Command::Filter(filter) => {
                self.deliver(Origin::Screen(self.screen), Input::Filter(filter));
            }
            command::Command::Window(window) => self.set_window(window),
            command::Command::Theme(theme) => {
                self.theme = if self.theme.has_colour() {
                    theme
                } else {
                    theme.without_colour()
                };
            }
            command::Command::Reload => self.call(Origin::App, Call::Reload),
            command::Command::Act(screen, action) => {
                self.go(screen, None);
                self.act(action);
            }
            command::Command::Write(path) => {
                match self.screens.shown_text(self.screen, &self.model) {
                    Some(text) => self.outputs.push(Output::Write(path, text)),
                    None => self.say(Notice::bad("there is nothing to write on this screen")),
                }
            }
            command::Command::Quit => self.quit(),
        }
    }

    fn mouse(&mut self, mouse: MouseEvent) {
        let place = Position::new(mouse.column, mouse.row);
        let target = self
            .hits
            .iter()
            .rev()
            .find(|hit| hit.area.contains(place))
            .map(|hit| hit.target);
        let input = match mouse.kind {
            MouseEventKind::Down(MouseButton::Left) => match target {
                None => return,
                Some(Target::Screen(screen)) => {
                    self.is_dirty = true;
                    return self.go(screen, None);
                }
                Some(Target::Press(action)) => {
                    self.is_dirty = true;
                    self.notice = None;
                    return self.act(action);
                }
                Some(target) => Input::Click(target),
            },
            MouseEventKind::ScrollDown if mouse.modifiers == KeyModifiers::NONE => {
                Input::Wheel(WHEEL, target)
            }
            MouseEventKind::ScrollUp if mouse.modifiers == KeyModifiers::NONE => {
                Input::Wheel(-WHEEL, target)
            }
            _ => return,
        };
        self.is_dirty = true;
        self.input_top(input);
    }

    fn link(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Connected(socket, status) => {
                self.is_dirty = true;
                self.is_banner_hidden = false;
                let is_other = self.model.status.as_ref().is_some_and(|known| {
                    (known.pid, known.started) != (status.pid, status.started)
                });
                self.model.socket = Some(socket);
                self.model.status = Some(*status);
                self.model.link = Link::Live;
                self.heard = self.model.now;
                if is_other {
                    // Its occurrences count from one again.
                    self.model.current_mut().events.clear();
                }
                // The subscription is new as well.
                self.topics.clear();
                self.is_asking_history = false;
                self.ask_all();
                self.ask_history();
                self.show_again();
            }
            LinkEvent::Failed(tried, wait) => {
                self.is_dirty = true;
                let retry = self.model.now + wait.as_millis() as Millis;
                self.model.link = match (&self.model.status, &self.model.link) {
                    (None, _) => Link::Absent { tried, retry },
                    (Some(_), Link::Lost { since, .. }) => Link::Lost {
                        since: *since,
                        error: tried
                            .first()
                            .map(|(_, why)| why.clone())
                            .unwrap_or_default(),
                        retry,
                    },
                    (Some(_), _) => Link::Lost {
                        since: self.heard,
                        error: tried
                            .first()
                            .map(|(_, why)| why.clone())
                            .unwrap_or_default(),
                        retry,
                    },
                };
            }
            LinkEvent::Lost(error) => {
                self.is_dirty = true;
                self.model.link = Link::Lost {
                    since: self.heard,
                    error,
                    retry: self.model.now,
                };
                let waiting: Vec<_> = self.waiting.drain().collect();
                for (_, (origin, _)) in waiting {
                    let failure = Failure::Broken("the connection broke".to_owned());
                    self.deliver(origin, Input::Answer(Err(failure)));
                }
            }
            LinkEvent::Event(event) => self.daemon(event),
            LinkEvent::Answer(ticket, answer) => {
                // A call of before the connection broke is answered twice.
                if let Some((origin, asked)) = self.waiting.remove(&ticket) {
                    self.is_dirty = true;
                    self.answer(origin, asked, answer);
                }
            }
        }
    }

    fn daemon(&mut self, event: DaemonEvent) {
        match event {
            DaemonEvent::Opened { .. } | DaemonEvent::Unknown => {}
            DaemonEvent::Summary(summary) => {
                self.is_dirty = true;
                self.heard = self.model.now;
                self.model.link = Link::Live;
                let state = |model: &Model| model.current().summary.as_ref().map(|it| it.state);
                let (before, after) = (state(&self.model), summary.state);
                let known = self.model.current().summary.clone();
                let known = known.map(|known| known.certificate_states.clone());
                let states = summary.certificate_states.clone();
                let point = Point {
                    rate: summary.traffic.rate,
                    // Over ten seconds: the summary has no other number of them.
                    errors: summary.traffic.statuses[4] as f64 / 10.0,
                    p50: summary.traffic.p50,
                    p99: summary.traffic.p99,
                    sent: summary.traffic.sent,
                    looked_up: summary.traffic.looked_up as f64 / 10.0,
                    cached: summary.traffic.cached as f64 / 10.0,
                };
                let at = summary.at;
                self.model.current_mut().take_summary(*summary);
                if before.is_some_and(|before| before != after) {
                    self.call(Origin::App, Call::Config);
                    self.call(Origin::App, Call::Status);
                }
                if known.is_some_and(|known| known != states) {
                    self.call(Origin::App, Call::Certificates);
                }
                if let Some(terms) = states.terms {
                    self.offer_terms(terms);
                }
                self.follow_history(at, point);
                self.deliver(Origin::Screen(self.screen), Input::Tick);
                if let Some(id) = self.overlays.last().map(|overlay| overlay.id) {
                    self.deliver(Origin::Overlay(id), Input::Tick);
                }
            }
            DaemonEvent::Requests { requests, dropped } => {
                let has_log = self.screen == Screen::Logs && self.model.paused_since().is_none();
                self.is_dirty |= has_log;
                self.model.current_mut().take_requests(requests, dropped);
            }
            DaemonEvent::Occurred(occurrence) => {
                self.is_dirty = true;
                // What was done for it and when it goes on are no part of a summary.
                if occurrence.kind == "certificate" {
                    self.call(Origin::App, Call::Certificates);
                }
                self.model.current_mut().take_occurrence(occurrence);
            }
            DaemonEvent::Changed { .. } => {
                self.is_dirty = true;
                self.ask_all();
                self.show_again();
            }
        }
    }

    /// Asks once for the agreement that certificates wait for, when nothing else is open.
    fn offer_terms(&mut self, terms: Terms) {
        let is_busy = !self.overlays.is_empty() || self.bottom.is_some() || self.editing.is_some();
        let may_change = self.model.status.as_ref().is_some_and(|it| it.may_change);
        if is_busy || self.model.is_read_only || !may_change || self.offered.contains(&terms) {
            return;
        }
        self.offered.push(terms.clone());
        self.open(Origin::Screen(self.screen), Box::new(Agree::new(terms)));
    }

    /// Everything that is open asks again for what it shows, and a form whether its base is current.
    fn show_again(&mut self) {
        let overlays: Vec<u64> = self.overlays.iter().map(|overlay| overlay.id).collect();
        self.deliver(Origin::Screen(self.screen), Input::Shown);
        for id in overlays {
            self.deliver(Origin::Overlay(id), Input::Shown);
        }
    }

    /// Keeps the curve up to date: by the summaries where a point is a second, else by asking when a
    /// point must have ended.
    fn follow_history(&mut self, at: Millis, point: Point) {
        let live = self.model.current_mut();
        let Some(history) = &mut live.history.value else {
            return;
        };
        let step = Millis::from(history.step_seconds.max(1)) * 1000;
        if history.step_seconds > 1 {
            if at >= history.at + step {
                self.ask_history();
            }
            return;
        }
        let history = Rc::make_mut(history);
        if at > history.at {
            history.at = at;
            history.points.push(point);
            if history.points.len() > 300 {
                history.points.remove(0);
            }
        }
    }

    fn answer(&mut self, origin: Origin, asked: Asked, answer: Result<Answer, Failure>) {
        let now = self.model.now;
        if asked == Asked::History {
            self.is_asking_history = false;
        }
        match (&answer, asked) {
            (Ok(Answer::Status(status)), _) => self.model.status = Some((**status).clone()),
            (Ok(Answer::Routes(routes)), _) => self.model.routes.set(Rc::new(routes.clone())),
            (Ok(Answer::Upstreams(upstreams)), _) => {
                self.model.upstreams.set(Rc::new(upstreams.clone()));
            }
            (Ok(Answer::Caches(caches)), _) => self.model.caches.set(Rc::new(caches.clone())),
            (Ok(Answer::Certificates(certificates)), _) => {
                self.model.certificates.set(Rc::new(certificates.clone()));
            }
            (Ok(Answer::Config(config)), _) => self.model.config.set(Rc::new(config.clone())),
            (Ok(Answer::Events(events)), _) => {
                for occurrence in events.events.iter().rev() {
                    self.model.current_mut().take_occurrence(occurrence.clone());
                }
            }
            (Ok(Answer::History(history)), Asked::History) => {
                let history = Rc::new(history.clone());
                self.model.current_mut().history.set(history);
            }
            (Ok(Answer::Applied(applied)), _) if origin == Origin::App => {
                let text = if applied.is_unchanged {
                    "reloaded: nothing was different".to_owned()
                } else {
                    format!("reloaded: revision {} is in force", applied.revision)
                };
                self.say(Notice::good(text));
            }
            (Err(failure), asked) if origin == Origin::App => {
                let why = failure.to_string();
                match asked {
                    Asked::Routes => self.model.routes.fail(&why, now),
                    Asked::Upstreams => self.model.upstreams.fail(&why, now),
                    Asked::Caches => self.model.caches.fail(&why, now),
                    Asked::Certificates => self.model.certificates.fail(&why, now),
                    Asked::Config => self.model.config.fail(&why, now),
                    Asked::History => self.model.current_mut().history.fail(&why, now),
                    Asked::Other => {}
                }
                self.say(Notice::bad(why));
            }
            _ => {}
        }
        self.deliver(origin, Input::Answer(answer));
    }

    /// The stream is about what is shown.
    fn subscribe(&mut self) {
        if !matches!(self.model.link, Link::Live | Link::Old { .. }) {
            return;
        }
        let mut topics = vec![Topic::Summary, Topic::Events];
        match self.screen {
            Screen::Overview => topics.extend([Topic::Routes, Topic::Peers, Topic::Llm]),
            Screen::Routes => topics.push(Topic::Routes),
            Screen::Backends => topics.extend([Topic::Peers, Topic::Llm]),
            Screen::Logs => topics.push(Topic::Requests),
            Screen::Llm | Screen::Keys => topics.push(Topic::Llm),
            Screen::Certificates | Screen::Config | Screen::Cache | Screen::Alerts => {}
        }
        if self.topics != topics {
            self.topics.clone_from(&topics);
            self.outputs.push(Output::Order(LinkOrder::Topics(topics)));
        }
    }

    fn shows_banner(&self) -> bool {
        !self.is_banner_hidden && matches!(self.model.link, Link::Lost { .. })
    }
}
