//! Tests of the whole dashboard: pictures at fixed sizes, keys against a daemon, and a robot.

use std::path::Path;
use std::time::Duration;

use jiff::tz::TimeZone;
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::{Color, Modifier};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::app::{App, Event, Look, Output};
use super::edit::offline::Offline;
use super::fixture;
use super::glyphs::{ASCII, BLOCK, BRAILLE, Glyphs};
use super::keymap::{self, Action, Context};
use super::link::{self, LinkEvent, LinkOrder};
use super::model::{self, Link};
use super::theme::{THEMES, Theme};
use super::view::{Answer, Call, Failure, Screen};
use crate::protocol::{
    AlertAction, Done, Event as DaemonEvent, KeyAction, KeyChanged, Millis, Occurrence, Refusal,
    Review, Revisions, Terms, TermsAgreement,
};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};

const SIZES: [(u16, u16); 4] = [(60, 16), (80, 24), (120, 40), (200, 60)];

/// An application with its answers made up on the spot.
struct Stage {
    app: App,
    now: Millis,
    /// How many calls it made.
    calls: usize,
}

impl Stage {
    fn new(look: Look) -> Self {
        Self {
            app: App::new(look, 0),
            now: 0,
            calls: 0,
        }
    }

    /// Connected, with everything known and the first summary in.
    fn live() -> Self {
        let mut stage = Self::new(look(BLOCK, THEMES[0]));
        stage.connect();
        stage
    }

    fn connect(&mut self) {
        let status = Box::new(fixture::status());
        self.link(LinkEvent::Connected(
            "/run/openclaw/control.sock".into(),
            status,
        ));
        self.daemon(DaemonEvent::Summary(Box::new(fixture::summary())));
        let requests = fixture::requests();
        self.daemon(DaemonEvent::Requests {
            requests,
            dropped: 0,
        });
    }

    fn daemon(&mut self, event: DaemonEvent) {
        self.link(LinkEvent::Event(event));
    }

    fn link(&mut self, event: LinkEvent) {
        self.event(Event::Link(event));
    }

    /// Does something and answers the calls that it makes. Gives what else is to be done.
    fn event(&mut self, event: Event) -> Vec<Output> {
        let mut outputs = self.app.update(event, self.now);
        let mut others = Vec::new();
        while let Some(output) = outputs.pop() {
            match output {
                Output::Order(LinkOrder::Call(ticket, call)) => {
                    self.calls += 1;
                    let answer = LinkEvent::Answer(ticket, answer(&call));
                    outputs.extend(self.app.update(Event::Link(answer), self.now));
                }
                Output::Edit(job) => {
                    // Somebody adds a line.
                    let edited = Event::Edited(Ok(format!("{}# more\n", job.text)));
                    outputs.extend(self.app.update(edited, self.now));
                }
                output => others.push(output),
            }
        }
        others
    }

    /// Types keys: `2jje<C-u>20<C-s>`.
    fn keys(&mut self, keys: &str) -> Vec<Output> {
        let mut outputs = Vec::new();
        for key in parse(keys) {
            outputs.extend(self.event(Event::Key(key)));
        }
        outputs
    }

    fn picture(&mut self, width: u16, height: u16) -> String {
        text(&self.looks(width, height).0)
    }

    fn looks(&mut self, width: u16, height: u16) -> (Buffer, Option<Position>) {
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
        let cursor = self.app.render(&mut buffer);
        (buffer, cursor)
    }
}

fn look(glyphs: Glyphs, theme: Theme) -> Look {
    Look {
        theme,
        glyphs,
        zone: TimeZone::UTC,
        is_read_only: false,
        owns_daemon: false,
        conf: None,
    }
}

fn answer(call: &Call) -> Result<Answer, Failure> {
    Ok(match call {
        Call::Status => Answer::Status(Box::new(fixture::status())),
        Call::Routes => Answer::Routes(fixture::routes()),
        Call::Upstreams | Call::Peers(_) => Answer::Upstreams(fixture::upstreams()),
        Call::Events => Answer::Events(fixture::events()),
        Call::History(..) => Answer::History(fixture::history()),
        Call::Config => Answer::Config(fixture::config()),
        Call::Revisions(None) => Answer::Revisions(fixture::revisions()),
        Call::Revisions(Some(_)) => Answer::Revisions(Revisions::default()),
        Call::RevisionDiff(id) => Answer::RevisionDiff(fixture::revision_diff(*id)),
        Call::Explain(_) => Answer::Explanation(fixture::explanation()),
        Call::Bans | Call::Ban(_) => Answer::Bans(fixture::bans()),
        Call::Keys => Answer::Keys(fixture::keys()),
        Call::Key(_) => Answer::Key(Box::new(fixture::keys().keys[2].clone())),
        Call::ChangeKey(change) => Answer::KeyChanged(Box::new(KeyChanged {
            secret: match change.action {
                KeyAction::Add | KeyAction::Rotate => fixture::key_changed().secret,
                _ => None,
            },
            ..fixture::key_changed()
        })),
        Call::Alerts => Answer::Alerts(fixture::alerts()),
        Call::ChangeAlert(_) | Call::TestAlert(_) => Answer::Done(Done {
            text: "it was seen".to_owned(),
        }),
        Call::Spend { by, from, to } => Answer::Spend(fixture::spend(by, from, to)),
        Call::ModelCalls => Answer::ModelCalls(fixture::model_calls()),
        Call::Caches => Answer::Caches(fixture::caches()),
        Call::CacheShow(_) => Answer::CacheEntries(fixture::cache_entries()),
        Call::CachePurge(_) => Answer::CachePurged(fixture::cache_purged()),
        Call::KeptPurge(_) => Answer::KeptPurged(fixture::kept_purged()),
        Call::Certificates => Answer::Certificates(fixture::certificates()),
        Call::Why(_) => Answer::Preflight(fixture::preflight()),
        Call::Renew(_) | Call::Agree(_) => Answer::Done(Done {
            text: "it was asked for".to_owned(),
        }),
        Call::Review(_) | Call::Revert(_) => Answer::Review(Review {
            diff: "--- a\n+++ b\n@@ -1 +1 @@\n-gzip off;\n+gzip on;\n".repeat(20),
            effects: vec!["1 listener stays".to_owned()],
            is_applicable: true,
            ..Review::default()
        }),
        _ => return Err(Failure::Broken("not in this play".to_owned())),
    })
}

/// Keys from their names as the table writes them, in angle brackets if longer than a letter.
pub(super) fn parse(keys: &str) -> Vec<KeyEvent> {
    let mut parsed = Vec::new();
    let mut rest = keys;
    while let Some(letter) = rest.chars().next() {
        let bracket = rest.strip_prefix('<').and_then(|rest| rest.split_once('>'));
        match bracket {
            Some((name, behind)) if !name.is_empty() => {
                parsed.push(key(name));
                rest = behind;
            }
            _ => {
                parsed.push(key(&letter.to_string()));
                rest = &rest[letter.len_utf8()..];
            }
        }
    }
    parsed
}

fn key(name: &str) -> KeyEvent {
    let (name, modifiers) = match name.split_once('-') {
        Some(("C", rest)) if !rest.is_empty() => (rest, KeyModifiers::CONTROL),
        Some(("S", rest)) if !rest.is_empty() => (rest, KeyModifiers::SHIFT),
        _ => (name, KeyModifiers::NONE),
    };
    let code = match name {
        "Enter" => KeyCode::Enter,
        "Esc" => KeyCode::Esc,
        "Tab" if modifiers == KeyModifiers::SHIFT => KeyCode::BackTab,
        "Tab" => KeyCode::Tab,
        "Space" => KeyCode::Char(' '),
        "Backspace" => KeyCode::Backspace,
        "Delete" => KeyCode::Delete,
        "Up" => KeyCode::Up,
        "Down" => KeyCode::Down,
        "Left" => KeyCode::Left,
        "Right" => KeyCode::Right,
        "Home" => KeyCode::Home,
        "End" => KeyCode::End,
        "PgUp" => KeyCode::PageUp,
        "PgDn" => KeyCode::PageDown,
        "F1" => KeyCode::F(1),
        name => KeyCode::Char(name.chars().next().expect("a key has a name")),
    };
    KeyEvent::new(code, modifiers)
}

/// The letters of a buffer; what a wide letter covers is not told twice.
pub(super) fn text(buffer: &Buffer) -> String {
    let area = buffer.area;
    let mut text = String::new();
    for y in area.top()..area.bottom() {
        let mut line = String::new();
        let mut covered = 0;
        for x in area.left()..area.right() {
            if covered > 0 {
                covered -= 1;
                continue;
            }
            let symbol = buffer[(x, y)].symbol();
            covered = super::text::width(symbol).saturating_sub(1);
            line.push_str(symbol);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Compares with the picture of this name; writes it with `UPDATE_SNAPSHOTS=1`.
pub(super) fn snapshot(name: &str, picture: &str) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tui");
    let path = directory.join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::create_dir_all(&directory).expect("the sources can be written");
        return std::fs::write(&path, picture).expect("the sources can be written");
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        known == picture,
        "{name} looks different; UPDATE_SNAPSHOTS=1 accepts it\n{picture}"
    );
}

#[test]
fn every_screen_looks_as_it_should_at_all_sizes() {
    let screens = [
        (Screen::Overview, "1"),
        (Screen::Routes, "2j"),
        (Screen::Backends, "3"),
        (Screen::Certificates, "4j"),
        (Screen::Logs, "5jj"),
        (Screen::Config, "6j"),
        (Screen::Cache, "7"),
        (Screen::Llm, "8"),
        (Screen::Keys, "9jj"),
        (Screen::Alerts, "0"),
    ];
    for (screen, keys) in screens {
        for (width, height) in SIZES {
            let mut stage = Stage::live();
            stage.keys(keys);
            let name = screen.name().to_lowercase();
            let picture = stage.picture(width, height);
            snapshot(&format!("{name}-{width}x{height}"), &picture);
        }
    }
}

#[test]
fn overlays_and_prompts_look_as_they_should() {
    for (name, keys) in [
        ("help", "2?"),
        ("help-search", "2?/sort"),
        ("confirm", "3jjjjD"),
        ("confirm-other-button", "3jjjjD<Tab>"),
        ("prompt", "3jjjjw"),
        ("explain", "2jt<Enter>"),
        ("filter", "2/api"),
        ("filter-nothing", "2/nothing<Enter>"),
        ("command", ":w<Tab>"),
        ("command-unknown", ":jump<Enter>"),
        ("paused", "5<Space>"),
        ("route-open", "2j<Enter>"),
        ("peer-open", "3<Enter>"),
        ("provider-open", "3/openai<Enter><Enter>"),
        ("request-open", "5jj<Enter>"),
        ("certificate-open", "4j<Tab>"),
        ("certificate-chain", "4j<Enter>"),
        ("certificate-log", "4jl"),
        ("certificate-renew", "4jr"),
        ("certificate-why", "4jw"),
        ("cache-keys", "7<Tab>j"),
        ("cache-inspect", "7<Tab><Enter>"),
        ("cache-purge", "7<Tab>p"),
        ("cache-kept", "7jj<Tab>j"),
        ("cache-kept-purge", "7jj<Tab>jp"),
        ("cache-kept-purge-all", "7jjP"),
        ("key-add", "9aci<Tab>ops<Tab><Tab>gpt-4o, claude-*"),
        (
            "key-add-wrong",
            "9aci<Tab><Tab><Tab><Tab><Tab><Tab>5/hour<C-s>",
        ),
        ("key-edit", "9jje"),
        ("key-secret", "9aci<C-s>"),
        ("key-secret-python", "9aci<C-s><Tab>"),
        ("key-rotate", "9jjR<Enter>"),
        ("key-revoke", "9jjx"),
        ("key-remove", "9jjd"),
        ("key-detail", "9jj<Tab>"),
        ("key-open", "9jj<Enter>"),
        ("alert-open", "0jj<Enter>"),
        ("alert-not-told", "0m"),
        ("alert-seen", "0A"),
        ("alert-receiver", "0<Tab>j<Enter>"),
        ("alert-test", "0<Tab>jt"),
        ("llm-by-key", "8mm"),
        ("llm-by-provider", "8mt"),
        ("llm-call", "8<Tab>jjj<Enter>"),
        ("llm-call-kept", "8<Tab>G<Enter>"),
        ("llm-running", "8<Tab><Enter>"),
        ("llm-refused", "8<Tab>jjjjj<Enter>"),
        ("banned", "2b"),
        ("banned-let-in", "5bjd"),
        ("sorted", "2ssssS"),
    ] {
        let mut stage = Stage::live();
        stage.keys(keys);
        snapshot(name, &stage.picture(80, 24));
    }
}

#[test]
fn every_state_of_the_connection_is_told() {
    let mut stage = Stage::new(look(BLOCK, THEMES[0]));
    snapshot("connecting-at-once", &stage.picture(80, 24));
    stage.now = 400;
    stage.event(Event::Time);
    snapshot("connecting", &stage.picture(80, 24));
    let tried = vec![
        (
            "/run/openclaw/control.sock".into(),
            "does not exist".to_owned(),
        ),
        (
            "/home/alice/.local/state/openclaw/a/long/way/control.sock".into(),
            "permission denied".to_owned(),
        ),
    ];
    stage.link(LinkEvent::Failed(tried, Duration::from_secs(4)));
    snapshot("offline", &stage.picture(80, 24));
    snapshot("offline-small", &stage.picture(60, 16));

    // Everything is being read.
    let mut stage = Stage::new(look(BLOCK, THEMES[0]));
    let status = Box::new(fixture::status());
    let connected = LinkEvent::Connected("/run/openclaw/control.sock".into(), status);
    stage.app.update(Event::Link(connected), 0);
    snapshot("loading", &stage.picture(120, 40));

    let mut stage = Stage::live();
    stage.now = 4_200;
    stage.event(Event::Time);
    snapshot("old", &stage.picture(80, 24));
    stage.now = 14_000;
    stage.link(LinkEvent::Lost("silent for 10 s".to_owned()));
    let tried = vec![(
        "/run/openclaw/control.sock".into(),
        "nobody listens there".to_owned(),
    )];
    stage.link(LinkEvent::Failed(tried, Duration::from_secs(4)));
    stage.keys("2");
    snapshot("lost", &stage.picture(80, 24));
    stage.keys("<Esc>");
    assert!(!stage.picture(80, 24).contains("does not answer"));
}

#[test]
fn a_pane_that_could_not_be_read_says_so_and_keeps_what_it_had() {
    for has_data in [false, true] {
        let mut stage = Stage::new(look(BLOCK, THEMES[0]));
        if has_data {
            stage.connect();
        }
        let status = Box::new(fixture::status());
        let connected = LinkEvent::Connected("/run/openclaw/control.sock".into(), status);
        for output in stage.app.update(Event::Link(connected), 0) {
            if let Output::Order(LinkOrder::Call(ticket, _)) = output {
                let failure = Failure::Broken("too busy".to_owned());
                let answer = LinkEvent::Answer(ticket, Err(failure));
                stage.app.update(Event::Link(answer), 0);
            }
        }
        stage.keys("2");
        let picture = stage.picture(80, 24);
        if has_data {
            assert!(picture.contains("/api/"), "{picture}");
        } else {
            snapshot("failed", &picture);
        }
    }
}

#[test]
fn nothing_configured_leads_to_a_sentence() {
    let mut stage = Stage::live();
    let empty = [
        Answer::Routes(crate::protocol::Routes::default()),
        Answer::Upstreams(crate::protocol::Upstreams::default()),
    ];
    for output in stage.app.update(
        Event::Link(LinkEvent::Event(DaemonEvent::Changed { revision: 42 })),
        0,
    ) {
        if let Output::Order(LinkOrder::Call(ticket, call)) = output {
            let answer = match call {
                Call::Routes => Ok(empty[0].clone()),
                Call::Upstreams => Ok(empty[1].clone()),
                call => answer(&call),
            };
            stage
                .app
                .update(Event::Link(LinkEvent::Answer(ticket, answer)), 0);
        }
    }
    snapshot("empty-overview", &stage.picture(80, 24));
    stage.keys("2");
    snapshot("empty-routes", &stage.picture(80, 24));
}

#[test]
fn a_terminal_without_colour_gets_none_and_one_without_letters_only_ascii() {
    for (name, glyphs, theme) in [
        ("colour", BLOCK, THEMES[0]),
        ("no-colour", BLOCK, THEMES[0].without_colour()),
        ("ascii", ASCII, THEMES[0]),
        ("braille", BRAILLE, THEMES[0]),
    ] {
        let mut stage = Stage::new(look(glyphs, theme));
        stage.connect();
        let mut buffer = Buffer::empty(Rect::new(0, 0, 80, 24));
        stage.app.render(&mut buffer);
        let has_colour = buffer.content.iter().any(|cell| cell.fg != Color::Reset);
        assert_eq!(has_colour, theme.has_colour(), "{name}");
        assert!(buffer.content.iter().all(|cell| cell.bg == Color::Reset));
        let picture = text(&buffer);
        assert!(glyphs.is_unicode || picture.is_ascii());
        snapshot(
            &format!("overview-{name}"),
            &format!("{picture}{}", styles(&buffer)),
        );
    }
}

/// The styles of a buffer: a letter for each colour, a capital one if reversed, `*` for bold.
fn styles(buffer: &Buffer) -> String {
    let area = buffer.area;
    let mut text = String::new();
    for y in area.top()..area.bottom() {
        let line: String = (area.left()..area.right())
            .map(|x| {
                let cell = &buffer[(x, y)];
                let letter = match cell.fg {
                    Color::Reset if cell.modifier.contains(Modifier::BOLD) => '*',
                    Color::Reset => '.',
                    Color::Green => 'g',
                    Color::Yellow => 'y',
                    Color::Red => 'r',
                    Color::Cyan => 'c',
                    Color::DarkGray => 'd',
                    _ => '?',
                };
                match cell.modifier.contains(Modifier::REVERSED) {
                    true if letter == '.' => 'R',
                    true => letter.to_ascii_uppercase(),
                    false => letter,
                }
            })
            .collect();
        text.push_str(&line);
        text.push('\n');
    }
    text
}

#[test]
fn without_the_right_to_change_something_its_keys_are_gone() {
    let mut stage = Stage::new(Look {
        is_read_only: true,
        ..look(BLOCK, THEMES[0])
    });
    stage.connect();
    stage.keys("3D");
    let picture = stage.picture(80, 24);
    assert!(!picture.contains("Drain peer?"));
    snapshot("read-only", &picture);
    stage.keys("?");
    assert!(!stage.picture(80, 24).contains("drain:"));
}

#[test]
fn a_proxy_in_this_process_is_not_stopped_by_accident() {
    let mut stage = Stage::new(Look {
        owns_daemon: true,
        ..look(BLOCK, THEMES[0])
    });
    stage.connect();
    assert!(!stage.keys("q").contains(&Output::Quit));
    snapshot("quit", &stage.picture(80, 24));
    assert!(!stage.keys("<Enter>q<Esc>q").contains(&Output::Quit));
    assert!(stage.keys("y").contains(&Output::Quit));
    let mut stage = Stage::live();
    assert!(stage.keys("q").contains(&Output::Quit));
}

#[test]
fn a_terminal_that_is_too_small_is_told_how_much_is_needed() {
    let mut stage = Stage::live();
    snapshot("too-small", &stage.picture(52, 14));
    for (width, height) in [(1, 1), (0, 0), (59, 500), (500, 15), (500, 200), (60, 200)] {
        stage.picture(width, height);
    }
    assert!(stage.keys("q").contains(&Output::Quit));
}

#[test]
fn the_mouse_presses_what_it_points_at() {
    let mut stage = Stage::live();
    let click = |stage: &mut Stage, column: u16, row: u16| {
        stage.picture(80, 24);
        stage.event(Event::Mouse(MouseEvent {
            kind: MouseEventKind::Down(MouseButton::Left),
            column,
            row,
            modifiers: KeyModifiers::NONE,
        }));
    };
    click(&mut stage, 10, 1);
    assert_eq!(stage.app.screen(), Screen::Routes);
    click(&mut stage, 10, 6);
    assert!(stage.picture(80, 24).contains("│>example.org     ~"));
    // The head of the column with the rates sorts by it.
    click(&mut stage, 56, 3);
    assert!(stage.picture(80, 24).contains("sort: req/s"));
    stage.event(Event::Mouse(MouseEvent {
        kind: MouseEventKind::ScrollDown,
        column: 10,
        row: 10,
        modifiers: KeyModifiers::NONE,
    }));
    assert!(stage.picture(80, 24).contains("│>_ (default)"));
    // The hint for the help.
    click(&mut stage, 2, 23);
    assert!(stage.picture(80, 24).contains("Help: Routes"));
    // What is below an overlay is not hit.
    click(&mut stage, 15, 1);
    assert!(stage.picture(80, 24).contains("Help: Routes"));
}

#[test]
fn a_pause_stops_the_display_and_not_the_collection() {
    let mut stage = Stage::live();
    stage.keys("5<Space>");
    let before = stage.picture(80, 24);
    let requests = vec![fixture::requests()[0].clone(); 12];
    stage.daemon(DaemonEvent::Requests {
        requests,
        dropped: 3,
    });
    stage.now = 41_000;
    let after = stage.picture(80, 24);
    assert_eq!(before.lines().nth(4), after.lines().nth(4));
    assert!(after.contains("12 newer"), "{after}");
    stage.keys("<Space>");
    assert!(stage.picture(80, 24).contains("3 not shown"));
}

#[test]
fn what_was_selected_stays_when_newer_requests_come() {
    let mut stage = Stage::live();
    stage.keys("5jj");
    let line = |stage: &mut Stage| {
        let picture = stage.picture(80, 24);
        let selected = picture.lines().position(|line| line.starts_with("│>"));
        let line = selected.and_then(|at| picture.lines().nth(at));
        line.map(str::to_owned)
    };
    let before = line(&mut stage);
    for _ in 0..40 {
        stage.daemon(DaemonEvent::Requests {
            requests: fixture::requests(),
            dropped: 0,
        });
        assert_eq!(line(&mut stage), before);
    }
    stage.keys("f");
    assert_ne!(line(&mut stage), before);
}

#[test]
fn the_log_is_bounded_and_keeps_the_newest() {
    let mut stage = Stage::live();
    stage.keys("5/status=404<Enter>");
    let mut requests = vec![fixture::requests()[0].clone(); model::LOG_ROWS];
    requests[0].status = 404;
    for _ in 0..3 {
        stage.daemon(DaemonEvent::Requests {
            requests: requests.clone(),
            dropped: 0,
        });
        assert!(stage.picture(80, 24).contains("1 of 10000 match"));
    }
    assert_eq!(stage.app.model().live().log.len(), model::LOG_ROWS);
}

#[test]
fn nothing_is_drawn_again_when_nothing_changed() {
    let mut stage = Stage::live();
    assert!(stage.app.take_dirty());
    // Requests while another screen is shown.
    stage.daemon(DaemonEvent::Requests {
        requests: fixture::requests(),
        dropped: 0,
    });
    assert!(!stage.app.take_dirty());
    stage.daemon(DaemonEvent::Summary(Box::new(fixture::summary())));
    assert!(stage.app.take_dirty());
}

/// What a test types before it presses a key, to be where the key means something.
fn beginnings(context: Context) -> &'static [&'static str] {
    match context {
        Context::Overview => &["1", "1jj", "1/example<Enter>", "1+", "1<Tab>"],
        Context::Routes => &["2", "2jj", "2/example<Enter>", "2+", "2s"],
        Context::Backends => &["3", "3jj", "3/app<Enter>", "3+", "3s"],
        Context::Certificates => &["4", "4jj", "4/example<Enter>", "4+", "4s"],
        Context::Keys => &["9", "9jj", "9/bot<Enter>", "9<Tab>", "9+"],
        Context::Alerts => &["0", "0j", "0/budget<Enter>", "0<Tab>", "0m", "0+"],
        Context::Secret => &["9aci<Tab><C-s>"],
        Context::Llm => &["8", "8j", "8<Tab>j", "8<Tab>", "8/gpt<Enter>", "8+"],
        Context::Cache => &["7", "7j", "7<Tab>j", "7jj<Tab>j", "7/example<Enter>", "7+"],
        Context::Logs => &["5", "5jj", "5/example<Enter>", "5+"],
        Context::Prompt => &["2/ap", "2/ap<Left>", "3wx", "2t<Enter><Esc>jt"],
        Context::Command => &[":rou", ":rou<Left>", ":logs<Enter>:"],
        Context::Confirm => &["3jjjD"],
        Context::Reader => &["?", "?jjj"],
        Context::Offline | Context::OfflineConf => &[""],
        Context::Config => &[
            "6",
            "6jj",
            "6/gzip<Enter>",
            "6+",
            "6/root<Enter>",
            "6<Enter>",
        ],
        Context::Form => &[
            "2je<S-Tab>",
            "2je<Up><Up>",
            "2je<Tab><Tab><Tab><Tab><Tab><Tab><Tab><Tab><Tab><Tab><Tab><Tab><Tab><Tab>",
            "2je<Tab><Tab><Tab><Tab><Tab><Tab><Tab><Tab><Tab><Tab><Tab><Tab><Tab><Tab><Tab>",
            "2je<Tab><Tab><Tab><Tab><Tab><Tab><Tab><Tab><Tab><Tab><Tab><Tab><Tab><Tab><Tab><Tab>",
            "2je<Tab><Tab><Tab><Tab><Tab><Tab><Tab><Tab><Tab><Tab><Tab><Tab><Tab><Tab><Tab><Tab><Tab><Tab>",
        ],
        Context::Field => &["2axy", "2axy<Left>", "2ax<Tab>", "2je<Tab>x"],
        Context::Bans => &["2b", "2bjj"],
        Context::Review => &["3jje<C-s>", "2jdy", "2jE", "2jEjj"],
    }
}

#[test]
fn every_key_of_the_table_does_something_where_it_is_bound() {
    let mut idle = Vec::new();
    for context in Context::ALL {
        let beginnings = beginnings(context);
        if beginnings.is_empty() {
            continue;
        }
        for binding in keymap::rows(context, false) {
            if let Action::Go(screen) = binding.action
                && screen.name() == context.name()
            {
                continue;
            }
            for name in binding.keys {
                // A small screen has something to scroll, a large one has all panes.
                let starts = beginnings
                    .iter()
                    .flat_map(|beginning| [(beginning, (60, 16)), (beginning, (120, 40))]);
                let does = starts.into_iter().any(|(beginning, (width, height))| {
                    let is_with_conf = context == Context::OfflineConf;
                    let mut stage = Stage::new(Look {
                        conf: is_with_conf.then(|| "/etc/openclaw/openclaw.conf".into()),
                        ..look(BLOCK, THEMES[0])
                    });
                    if matches!(context, Context::Offline | Context::OfflineConf) {
                        let tried = vec![("/run/a.sock".into(), "does not exist".to_owned())];
                        stage.link(LinkEvent::Failed(tried, Duration::from_secs(1)));
                    } else {
                        stage.connect();
                    }
                    for key in parse(beginning) {
                        stage.event(Event::Key(key));
                        stage.looks(width, height);
                    }
                    if stage.app.context() != context {
                        return false;
                    }
                    let before = stage.looks(width, height);
                    let calls = stage.calls;
                    let outputs = stage.event(Event::Key(key(name)));
                    before != stage.looks(width, height)
                        || calls != stage.calls
                        || !outputs.is_empty()
                });
                if !does {
                    idle.push(format!("{name} in {context:?} ({:?})", binding.action));
                }
            }
        }
    }
    assert!(idle.is_empty(), "{}", idle.join("\n"));
}

#[test]
fn the_help_tells_every_key_of_its_screen() {
    for (context, keys) in [
        (Context::Overview, "1"),
        (Context::Routes, "2"),
        (Context::Backends, "3"),
        (Context::Certificates, "4"),
        (Context::Logs, "5"),
        (Context::Config, "6"),
        (Context::Cache, "7"),
        (Context::Llm, "8"),
        (Context::Keys, "9"),
        (Context::Alerts, "0"),
    ] {
        let mut stage = Stage::live();
        stage.keys(keys);
        stage.keys("?");
        let picture = stage.picture(120, 60);
        for binding in keymap::rows(context, false) {
            for key in binding.keys {
                let shown = keymap::shown(key, &BLOCK);
                let is_told = picture
                    .lines()
                    .any(|line| line.contains(binding.help) && line.contains(shown));
                assert!(
                    is_told,
                    "{key} of {context:?} is not in its help:\n{picture}"
                );
            }
        }
    }
}

/// Numbers that look like chance and are the same each time (xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }

    fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }

    /// A name that somebody chose to break the screen.
    fn name(&mut self) -> String {
        let parts = [
            "example.org",
            "\x1b[2J\x1b]0;owned\x07",
            "\r\n\t\0\x7f",
            "\u{9b}31m\u{85}",
            "日本語👩‍👩‍👧",
            "\u{202e}gro\u{200b}\u{feff}",
            "e\u{301}\u{302}\u{303}",
            "",
            "/a/b?c=d&e=%00",
        ];
        let mut name = String::new();
        for _ in 0..=self.below(3) {
            name.push_str(self.pick(&parts));
        }
        match self.below(40) {
            0 => name.repeat(10_000 / name.len().max(1) + 1),
            1 => "\u{301}".repeat(5_000),
            _ => name,
        }
    }
}

#[test]
fn a_robot_presses_ten_thousand_keys_and_breaks_nothing() {
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let mut keys: Vec<&str> = keymap::TABLE
        .iter()
        .flat_map(|binding| binding.keys)
        .copied()
        .filter(|key| !matches!(*key, "Q" | "C-c"))
        .collect();
    keys.extend(["ä", "日", "0", "x", "\u{301}", "Z"]);
    let mut stage = Stage::live();
    for step in 0..10_000 {
        stage.now += chance.below(400) as Millis;
        match chance.below(20) {
            0..13 => {
                let name = chance.pick(&keys);
                stage.event(Event::Key(key(name)));
            }
            13 => {
                let text = chance.name();
                stage.event(Event::Paste(text));
            }
            14 => {
                stage.event(Event::Mouse(MouseEvent {
                    kind: chance.pick(&[
                        MouseEventKind::Down(MouseButton::Left),
                        MouseEventKind::ScrollDown,
                        MouseEventKind::ScrollUp,
                    ]),
                    column: chance.below(130) as u16,
                    row: chance.below(45) as u16,
                    modifiers: KeyModifiers::NONE,
                }));
            }
            15 => stage.link(chance_of_link(&mut chance)),
            16 => {
                stage.event(Event::Time);
            }
            _ => stage.daemon(chance_of_news(&mut chance)),
        }
        // Several things happen between two frames.
        if chance.below(3) > 0 {
            continue;
        }
        let (width, height) = match chance.below(200) {
            0 => (500, 200),
            1..20 => (chance.below(70) as u16, chance.below(20) as u16),
            20..60 => (120, 40),
            _ => (80, 24),
        };
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
        stage.app.render(&mut buffer);
        for cell in &buffer.content {
            let symbol = cell.symbol();
            if matches!(symbol.as_bytes(), [b' '..=b'~']) {
                continue;
            }
            let is_safe = super::text::escape(symbol) == symbol && symbol.len() <= 32;
            assert!(is_safe, "step {step}: {symbol:?} reached the screen");
        }
    }
    // Whatever is open can be left, and then keys do what they always do.
    stage.connect();
    for _ in 0..40 {
        // What would be lost is asked for, which Esc alone denies.
        stage.keys("<Esc>y");
    }
    stage.keys("<Esc>2");
    assert_eq!(stage.app.screen(), Screen::Routes);
    stage.keys("1");
    assert_eq!(stage.app.screen(), Screen::Overview);
}

fn chance_of_link(chance: &mut Chance) -> LinkEvent {
    match chance.below(4) {
        0 => LinkEvent::Lost(chance.name()),
        1 => LinkEvent::Failed(
            vec![(chance.name().into(), chance.name())],
            Duration::from_secs(2),
        ),
        _ => {
            let mut status = fixture::status();
            status.host = chance.name();
            status.listens = vec![chance.name()];
            LinkEvent::Connected(chance.name().into(), Box::new(status))
        }
    }
}

fn chance_of_news(chance: &mut Chance) -> DaemonEvent {
    match chance.below(5) {
        0 => DaemonEvent::Changed {
            revision: chance.below(100) as u64,
        },
        1 => DaemonEvent::Occurred(Occurrence {
            id: chance.below(1000) as u64,
            at: u64::MAX / (1 + chance.below(9) as u64),
            kind: "peer".to_owned(),
            subject: chance.name(),
            text: chance.name(),
            ..Occurrence::default()
        }),
        2 => {
            let mut summary = fixture::summary();
            summary.warning = Some(chance.name());
            summary.traffic.rate = chance.pick(&[0.0, f64::NAN, f64::INFINITY, -1.0, 1e300]);
            summary.at = chance.pick(&[0, u64::MAX, fixture::NOW]);
            summary.traffic.p99 = chance.pick(&[0, u64::MAX]);
            for peer in &mut summary.peers {
                peer.since = chance.pick(&[0, u64::MAX, 1]);
                peer.traffic.rate = chance.pick(&[0.0, f64::NAN, 5.0]);
            }
            summary.routes.truncate(chance.below(6));
            DaemonEvent::Summary(Box::new(summary))
        }
        _ => {
            let mut requests = fixture::requests();
            for request in &mut requests {
                request.target = chance.name();
                request.host = chance.name();
                request.method = chance.name();
                request.user_agent = chance.name();
                request.duration = chance.pick(&[0, 1, u64::MAX]);
                for attempt in &mut request.attempts {
                    attempt.peer = chance.name();
                    attempt.started = chance.pick(&[0, 1, u64::MAX]);
                    attempt.response = chance.pick(&[None, Some(u64::MAX)]);
                }
            }
            DaemonEvent::Requests {
                requests,
                dropped: chance.below(3) as u64,
            }
        }
    }
}

/// An application that is connected to a daemon by a real socket.
struct Play {
    app: App,
    daemon: fixture::Daemon,
    orders: mpsc::UnboundedSender<LinkOrder>,
    events: mpsc::Receiver<LinkEvent>,
    others: Vec<Output>,
}

impl Play {
    /// With a daemon; the application is told of it by the link only.
    fn new(look: Look, offline: Option<Offline>) -> Self {
        let daemon = fixture::Daemon::start();
        let (orders, ordered) = mpsc::unbounded_channel();
        let (told, events) = mpsc::channel(link::QUEUE);
        let absent = daemon.socket().with_file_name("absent.sock");
        let sockets = match offline {
            Some(_) => vec![absent],
            None => vec![absent, daemon.socket()],
        };
        tokio::spawn(link::run(sockets, offline, ordered, told));
        Self {
            app: App::new(look, 0),
            daemon,
            orders,
            events,
            others: Vec::new(),
        }
    }

    async fn start(look: Look) -> Self {
        let mut play = Self::new(look, None);
        play.until("connected", |play| {
            play.app.model().config.value.is_some() && play.app.model().routes.value.is_some()
        })
        .await;
        let summary = Box::new(fixture::summary());
        play.daemon.tell(&DaemonEvent::Summary(summary));
        play.until("a summary", |play| {
            play.app.model().live().summary.is_some()
        })
        .await;
        play
    }

    fn event(&mut self, event: Event) {
        for output in self.app.update(event, 0) {
            match output {
                Output::Order(order) => self.orders.send(order).expect("the link runs"),
                output => self.others.push(output),
            }
        }
    }

    fn keys(&mut self, keys: &str) {
        for key in parse(keys) {
            self.event(Event::Key(key));
        }
    }

    fn picture(&mut self) -> String {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 120, 40));
        self.app.render(&mut buffer);
        text(&buffer)
    }

    /// Goes on until something is so.
    async fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !is_so(self) {
                tokio::select! {
                    event = self.events.recv() => {
                        let event = event.expect("the link runs");
                        self.event(Event::Link(event));
                    }
                    () = sleep(Duration::from_millis(2)) => {}
                }
            }
        };
        timeout(Duration::from_secs(20), waiting)
            .await
            .unwrap_or_else(|_| panic!("waited in vain for: {what}"));
    }
}

#[tokio::test]
async fn a_peer_is_drained_only_after_a_yes() {
    let mut play = Play::start(look(BLOCK, THEMES[0])).await;
    play.keys("3jjjjD<Enter>");
    play.keys("D<Esc>Dn");
    play.keys("Djkq<Space>y");
    play.until("the call", |play| play.daemon.was_asked("POST /v1/peers"))
        .await;
    let asked = play.daemon.asked();
    let changes: Vec<_> = asked
        .iter()
        .filter(|(line, _)| line == "POST /v1/peers")
        .map(|(_, body)| body.as_str())
        .collect();
    assert_eq!(
        changes,
        [r#"{"upstream":"app","address":"10.0.0.10:8080","action":"drain","weight":null}"#]
    );
}

#[tokio::test]
async fn somebody_is_let_in_again_only_after_a_yes() {
    let mut play = Play::start(look(BLOCK, THEMES[0])).await;
    play.keys("2b");
    play.until("the list", |play| play.daemon.was_asked("GET /v1/bans"))
        .await;
    while !play.picture().contains("scans") {
        let event = timeout(Duration::from_secs(20), play.events.recv()).await;
        let event = event.expect("the list comes").expect("the link runs");
        play.event(Event::Link(event));
    }
    play.keys("d<Esc>dnd<Enter>");
    play.keys("djkqy");
    play.until("the call", |play| play.daemon.was_asked("POST /v1/bans"))
        .await;
    let asked = play.daemon.asked();
    let changes: Vec<_> = asked
        .iter()
        .filter(|(line, _)| line == "POST /v1/bans")
        .map(|(_, body)| body.as_str())
        .collect();
    assert_eq!(
        changes,
        [r#"{"network":"203.0.113.9","seconds":null,"reason":"","remove":true}"#]
    );
}

#[tokio::test]
async fn the_list_of_bans_is_asked_for_again_while_it_is_open() {
    let mut play = Play::start(look(BLOCK, THEMES[0])).await;
    play.keys("2b");
    for round in 1..=3 {
        play.until("the list", |play| {
            let asked = play.daemon.asked();
            let count = asked.iter().filter(|(line, _)| line == "GET /v1/bans");
            count.count() >= round
        })
        .await;
        let summary = Box::new(fixture::summary());
        play.daemon.tell(&DaemonEvent::Summary(summary));
    }
}

#[tokio::test]
async fn what_a_daemon_tells_that_counts_its_events_anew_is_shown() {
    let mut play = Play::start(look(BLOCK, THEMES[0])).await;
    play.until("the events", |play| {
        !play.app.model().current().events.is_empty()
    })
    .await;
    let known = play.app.model().current().events[0].clone();
    let count = play.app.model().current().events.len();
    let new = Occurrence {
        at: known.at + 1,
        text: "is kept out".to_owned(),
        ..known.clone()
    };
    // The one that is known is not told twice.
    for told in [known, new] {
        play.daemon.tell(&DaemonEvent::Occurred(told));
    }
    play.until("the event", |play| {
        play.app.model().current().events[0].text == "is kept out"
    })
    .await;
    assert_eq!(play.app.model().current().events.len(), count + 1);
}

#[tokio::test]
async fn a_lost_daemon_comes_back_with_everything_where_it_was() {
    let mut play = Play::start(look(BLOCK, THEMES[0])).await;
    play.keys("2/api<Enter>");
    play.daemon.die();
    play.until("the loss", |play| {
        matches!(play.app.model().link, Link::Lost { .. })
    })
    .await;
    assert!(play.app.model().routes.value.is_some());
    play.daemon.rise();
    play.keys("r");
    play.until("the return", |play| play.app.model().link == Link::Live)
        .await;
    assert_eq!(play.app.screen(), Screen::Routes);
    let mut buffer = Buffer::empty(Rect::new(0, 0, 80, 24));
    play.app.render(&mut buffer);
    assert!(text(&buffer).contains("1 of 6 match \"api\""));
}

#[tokio::test]
async fn without_a_daemon_the_configuration_is_edited_and_saved() {
    const TEXT: &str = "events { }\nhttp {\n    server {\n        listen 8080;\n    }\n}\n";
    let directory = tempfile::tempdir().expect("a directory");
    let conf = directory.path().join("openclaw.conf");
    std::fs::write(&conf, TEXT).expect("a fresh file");
    let offline = Offline {
        conf: conf.clone(),
        prefix: directory.path().to_owned(),
        write: |files| {
            let mut files = files.iter();
            files
                .try_for_each(|(path, text)| std::fs::write(path, text))
                .map_err(|error| error.to_string())
        },
    };
    let look = Look {
        conf: Some(conf.clone()),
        ..look(BLOCK, THEMES[0])
    };
    let mut play = Play::new(look, Some(offline));
    play.until("no daemon", |play| {
        play.app.context() == Context::OfflineConf
    })
    .await;
    let seen = |play: &mut Play| {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 100, 30));
        play.app.render(&mut buffer);
        text(&buffer)
    };
    let picture = seen(&mut play);
    assert!(
        picture.contains("e  edit   v  check") && picture.contains("openclaw.conf"),
        "{picture}"
    );
    let is_editing = |play: &Play| {
        let last = play.others.last();
        matches!(last, Some(Output::Edit(job)) if job.text.contains("listen"))
    };
    // Broken: the place is shown, and there is nothing to press but to leave or to edit again.
    play.keys("e");
    play.until("the editor", is_editing).await;
    play.others.clear();
    let broken = TEXT.replace("listen 8080", "lisen 8081");
    play.event(Event::Edited(Ok(broken)));
    play.keys("<Enter>");
    for _ in 0..1000 {
        let picture = seen(&mut play);
        if picture.contains("^^^^^") {
            break;
        }
        let event = play.events.recv().await.expect("the link runs");
        play.event(Event::Link(event));
    }
    let picture = seen(&mut play);
    assert!(
        picture.contains("openclaw.conf:4:9") && picture.contains("^^^^^"),
        "{picture}"
    );
    assert!(!picture.contains("Save"), "{picture}");
    assert_eq!(std::fs::read_to_string(&conf).expect("there"), TEXT);
    // Right, on a second try.
    play.keys("E");
    let again = |play: &Play| matches!(play.others.last(), Some(Output::Edit(_)));
    play.until("the editor again", again).await;
    let right = TEXT.replace("listen 8080", "listen 8081");
    play.event(Event::Edited(Ok(right.clone())));
    play.keys("<Enter>");
    play.until("it is saved", |play| {
        play.app.notice_text() == Some("it is saved")
    })
    .await;
    assert_eq!(std::fs::read_to_string(&conf).expect("there"), right);
    assert_eq!(play.app.context(), Context::OfflineConf);
    // Checking it says that it is right.
    play.keys("v");
    play.until("the files", |play| play.app.context() == Context::Review)
        .await;
    assert!(play.daemon.asked().is_empty());
    // Without a configuration there is nothing of this.
    let mut play = Play::new(self::look(BLOCK, THEMES[0]), None);
    let tried = vec![("/run/a.sock".into(), "does not exist".to_owned())];
    play.event(Event::Link(LinkEvent::Failed(
        tried,
        Duration::from_secs(1),
    )));
    assert_eq!(play.app.context(), Context::Offline);
    assert!(!seen(&mut play).contains("edit"));
}

/// A summary in which a certificate waits for somebody.
fn waiting() -> DaemonEvent {
    let mut summary = fixture::summary();
    summary.certificate_states.terms = Some(Terms {
        issuer: "letsencrypt".to_owned(),
        url: "https://letsencrypt.org/documents/LE-SA-v1.5.pdf".to_owned(),
    });
    DaemonEvent::Summary(Box::new(summary))
}

#[tokio::test]
async fn terms_are_offered_once_and_only_the_button_agrees() {
    let mut play = Play::start(look(BLOCK, THEMES[0])).await;
    play.daemon.tell(&waiting());
    play.until("the question", |play| play.app.context() == Context::Field)
        .await;
    let mut buffer = Buffer::empty(Rect::new(0, 0, 80, 24));
    play.app.render(&mut buffer);
    snapshot("terms", &text(&buffer));
    // Whoever typed ahead has agreed to nothing.
    play.keys("qy<Enter><Enter>");
    play.until("it is put away", |play| {
        play.app.context() == Context::Overview
    })
    .await;
    play.daemon.tell(&waiting());
    play.keys("4");
    play.until("the screen", |play| {
        play.app.screen() == Screen::Certificates
    })
    .await;
    assert_eq!(play.app.context(), Context::Certificates);
    assert!(!play.daemon.was_asked("POST /v1/certificates/agree"));
}

#[test]
fn an_agreement_is_given_with_an_address_or_without() {
    for (keys, email) in [
        ("a@b.example<Enter><Tab><Enter>", "a@b.example"),
        ("<S-Tab><Enter>", ""),
    ] {
        let mut stage = Stage::live();
        stage.daemon(waiting());
        let mut calls = Vec::new();
        for key in parse(keys) {
            for output in stage.app.update(Event::Key(key), 0) {
                if let Output::Order(LinkOrder::Call(_, call)) = output {
                    calls.push(call);
                }
            }
        }
        let expected = Call::Agree(TermsAgreement {
            issuer: "letsencrypt".to_owned(),
            email: email.to_owned(),
        });
        assert_eq!(calls, [expected]);
    }
    let mut stage = Stage::new(Look {
        is_read_only: true,
        ..look(BLOCK, THEMES[0])
    });
    stage.connect();
    stage.daemon(waiting());
    assert_eq!(stage.app.context(), Context::Overview);
}

#[tokio::test]
async fn a_certificate_is_renewed_only_after_a_yes() {
    let mut play = Play::start(look(BLOCK, THEMES[0])).await;
    play.keys("4");
    play.until("the list", |play| {
        play.app.model().certificates.value.is_some()
    })
    .await;
    // The first one is a file, which nobody here can renew.
    play.keys("r");
    let told = "it is a file: openclaw cert import old.example.org replaces it";
    assert_eq!(play.app.notice_text(), Some(told));
    play.keys("jr<Enter>r<Esc>rn");
    play.keys("ry");
    play.until("the call", |play| {
        play.daemon.was_asked("POST /v1/certificates/renew")
    })
    .await;
    let asked = play.daemon.asked();
    let bodies: Vec<_> = asked
        .iter()
        .filter(|(line, _)| line == "POST /v1/certificates/renew")
        .map(|(_, body)| body.as_str())
        .collect();
    assert_eq!(bodies, [r#"{"name":"c2"}"#]);
}

#[tokio::test]
async fn the_stream_is_about_what_is_shown() {
    let mut play = Play::start(look(BLOCK, THEMES[0])).await;
    play.keys("5");
    play.until("the lease", |play| {
        play.daemon.asked().iter().any(|(line, body)| {
            line == "POST /v1/subscriptions/7"
                && body == r#"{"topics":["summary","events","requests"]}"#
        })
    })
    .await;
}

#[tokio::test]
async fn what_the_daemon_refuses_is_told() {
    let mut play = Play::start(look(BLOCK, THEMES[0])).await;
    play.daemon.refuse(Refusal {
        message: "no such peer".to_owned(),
        hint: Some("look again".to_owned()),
        ..Refusal::default()
    });
    play.keys("3w<C-u>7<Enter>y");
    play.until("the call", |play| play.daemon.was_asked("POST /v1/peers"))
        .await;
    let body = r#"{"upstream":"app","address":"10.0.0.12:8080","action":"weight","weight":7}"#;
    assert!(
        play.daemon
            .asked()
            .contains(&("POST /v1/peers".to_owned(), body.to_owned()))
    );
    let told = "no such peer (hint: look again)";
    play.until("the notice", |play| play.app.notice_text() == Some(told))
        .await;
}

#[test]
fn a_key_is_made_once_and_its_secret_shown_once() {
    let mut stage = Stage::live();
    let mut calls = Vec::new();
    let secret = fixture::key_changed().secret.expect("a secret").0;
    for key in parse("9aci<Tab>ops<Tab><Tab>gpt-4o, claude-*<Tab><Tab><Tab>5/day<C-s>") {
        for output in stage.app.update(Event::Key(key), 0) {
            if let Output::Order(LinkOrder::Call(ticket, call)) = output {
                let answer = LinkEvent::Answer(ticket, answer(&call));
                stage.app.update(Event::Link(answer), 0);
                calls.push(call);
            }
        }
    }
    let changes: Vec<_> = calls
        .iter()
        .filter_map(|call| match call {
            Call::ChangeKey(change) => Some(change),
            _ => None,
        })
        .collect();
    let [change] = changes[..] else {
        panic!("{changes:?}");
    };
    assert_eq!(
        (change.name.as_str(), change.action),
        ("ci", KeyAction::Add)
    );
    let settings = &change.settings;
    assert_eq!(settings.owner.as_deref(), Some("ops"));
    assert_eq!(settings.models.as_deref().map(<[String]>::len), Some(2));
    let day = settings.budgets.iter().find(|it| it.period == "day");
    assert_eq!(day.and_then(|day| day.limit.as_deref()), Some("5"));
    assert!(stage.picture(80, 24).contains(&secret[..40]));
    // It can be taken along, and is gone when it is put away.
    assert_eq!(stage.keys("y"), [Output::Copy(secret.clone())]);
    assert!(!stage.app.notice_text().unwrap_or_default().contains("oc-"));
    stage.keys("<Esc>");
    assert!(!stage.picture(80, 24).contains(&secret[..10]));
}

#[test]
fn a_key_is_taken_back_only_after_a_yes_and_removed_only_by_its_name() {
    let changed = |stage: &mut Stage, keys: &str| {
        let mut changes = Vec::new();
        for key in parse(keys) {
            for output in stage.app.update(Event::Key(key), 0) {
                if let Output::Order(LinkOrder::Call(_, Call::ChangeKey(change))) = output {
                    changes.push((change.action, change.overlap));
                }
            }
        }
        changes
    };
    let mut stage = Stage::live();
    stage.keys("9jj");
    assert_eq!(changed(&mut stage, "x<Enter>x<Esc>xn"), []);
    assert_eq!(changed(&mut stage, "xy"), [(KeyAction::Revoke, 0)]);
    assert_eq!(changed(&mut stage, "d<Enter>dci-bo<Enter>"), []);
    assert_eq!(
        changed(&mut stage, "dci-bot<Enter>"),
        [(KeyAction::Remove, 0)]
    );
    assert_eq!(changed(&mut stage, "R<C-u>soon<Enter>"), []);
    assert_eq!(changed(&mut stage, "R<C-u>2h<Enter>n"), []);
    assert_eq!(
        changed(&mut stage, "R<C-u>2h<Enter>y"),
        [(KeyAction::Rotate, 7200)]
    );
}

#[test]
fn alerts_are_seen_told_again_and_tried_out_as_asked() {
    let mut stage = Stage::live();
    let mut calls = Vec::new();
    for key in parse("0jjARX<Tab>jtn") {
        for output in stage.app.update(Event::Key(key), 0) {
            if let Output::Order(LinkOrder::Call(ticket, call)) = output {
                let answer = LinkEvent::Answer(ticket, answer(&call));
                stage.app.update(Event::Link(answer), 0);
                calls.push(call);
            }
        }
    }
    let changed: Vec<_> = calls
        .iter()
        .filter_map(|call| match call {
            Call::ChangeAlert(change) => Some((&*change.id, change.action)),
            _ => None,
        })
        .collect();
    let given_up = &*fixture::alerts().alerts[2].id;
    let expected = [
        (given_up, AlertAction::Acknowledge),
        (given_up, AlertAction::Retry),
        (&fixture::alerts().alerts[0].id, AlertAction::AcknowledgeAll),
    ];
    assert_eq!(changed, expected);
    // A no sends nothing, a yes one.
    let is_test = |call: &&Call| matches!(call, Call::TestAlert(_));
    assert_eq!(calls.iter().filter(is_test).count(), 0);
    let mut tested = Vec::new();
    for key in parse("ty") {
        for output in stage.app.update(Event::Key(key), 0) {
            if let Output::Order(LinkOrder::Call(_, Call::TestAlert(test))) = output {
                tested.push(test.name);
            }
        }
    }
    assert_eq!(tested, ["chat"]);
}
