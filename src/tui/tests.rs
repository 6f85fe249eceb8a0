//! Tests of the whole dashboard: pictures at fixed sizes, keys against a daemon, and a robot.

use std::path::Path;
use std::time::Duration;

use jiff::tz::TimeZone;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::app::{App, Event, Look, Output};
use super::fixture;
use super::glyphs::{BLOCK, Glyphs};
use super::link::{self, LinkEvent, LinkOrder};
use super::model::Link;
use super::theme::{THEMES, Theme};
use super::view::{Answer, Call, Failure, Screen};
use crate::protocol::{Event as DaemonEvent, Millis, Refusal};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

const SIZES: [(u16, u16); 4] = [(60, 16), (80, 24), (120, 40), (200, 60)];

/// An application with its answers made up on the spot.
struct Stage {
    app: App,
    now: Millis,
}

impl Stage {
    fn new(look: Look) -> Self {
        Self {
            app: App::new(look, 0),
            now: 0,
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
                    let answer = LinkEvent::Answer(ticket, answer(&call));
                    outputs.extend(self.app.update(Event::Link(answer), self.now));
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
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
        self.app.render(&mut buffer);
        text(&buffer)
    }
}

fn look(glyphs: Glyphs, theme: Theme) -> Look {
    Look {
        theme,
        glyphs,
        zone: TimeZone::UTC,
        is_read_only: false,
        owns_daemon: false,
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
        Call::Explain(_) => Answer::Explanation(fixture::explanation()),
        _ => return Err(Failure::Broken("not in this play".to_owned())),
    })
}

/// Keys from their names as the table writes them, in angle brackets if longer than a letter.
fn parse(keys: &str) -> Vec<KeyEvent> {
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
fn text(buffer: &Buffer) -> String {
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
fn snapshot(name: &str, picture: &str) {
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
        (Screen::Logs, "4jj"),
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

/// An application that is connected to a daemon by a real socket.
struct Play {
    app: App,
    daemon: fixture::Daemon,
    orders: mpsc::UnboundedSender<LinkOrder>,
    events: mpsc::Receiver<LinkEvent>,
    others: Vec<Output>,
}

impl Play {
    async fn start(look: Look) -> Self {
        let daemon = fixture::Daemon::start();
        let (orders, ordered) = mpsc::unbounded_channel();
        let (told, events) = mpsc::channel(link::QUEUE);
        let absent = daemon.socket().with_file_name("absent.sock");
        tokio::spawn(link::run(vec![absent, daemon.socket()], ordered, told));
        let mut play = Self {
            app: App::new(look, 0),
            daemon,
            orders,
            events,
            others: Vec::new(),
        };
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
    play.keys("3jjjD<Enter>");
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
async fn the_stream_is_about_what_is_shown() {
    let mut play = Play::start(look(BLOCK, THEMES[0])).await;
    play.keys("4");
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
