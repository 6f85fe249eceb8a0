//! Tests of changes from the key to the file: sequences of keys, pictures, and a robot.

use std::path::PathBuf;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use jiff::tz::TimeZone;
use proptest::prelude::*;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use tempfile::TempDir;

use super::super::glyphs::{ASCII, BLOCK, Glyphs};
use super::super::keymap;
use super::super::model::{Link, Model};
use super::super::paint::Painter;
use super::super::tests::{parse, snapshot, text};
use super::super::theme::{THEMES, Theme};
use super::super::view::{Answer, Call, Effect, Failure, Input, View};
use super::offline::Offline;
use super::session::{Session, Wish};
use crate::conf::address::Address;
use crate::protocol::{
    Applied, FileText, Outcome, Review, Revision, RevisionTexts, Revisions, Status, Summary,
};

const SITE: &str = "\
events { }

http {
    upstream api {
        server 10.0.1.20:9000;   # first
        server 10.0.1.21:9000 weight=2;
    }

    server {
        listen 80;
        server_name example.org;

        # Everything else.
        location / {
            proxy_pass http://127.0.0.1:8080;
        }

        location /api/ {
            proxy_pass http://api;
            proxy_read_timeout 30s;
            proxy_buffering off; # they stream
            if ($request_method = POST) { return 403; }
        }

        location ~ \\.php$ { return 404; }
    }

    include sites/*.conf;
}
";

const API: &str = "http / server example.org / location /api/";

/// A change on a configuration of its own, with the daemon's place taken by the files.
struct Play {
    directory: TempDir,
    offline: Offline,
    model: Model,
    views: Vec<Box<dyn View>>,
    notices: Vec<String>,
    calls: Vec<Call>,
    /// What an editor would leave.
    editor: Vec<Result<String, String>>,
    suspended: Vec<(PathBuf, u32, String)>,
    revisions: Vec<Revision>,
    /// Calls are answered by [`Play::answer_waiting`] only.
    is_slow: bool,
    waiting: Vec<(usize, Call)>,
}

fn write(files: &[(PathBuf, String)]) -> Result<(), String> {
    files.iter().try_for_each(|(path, text)| {
        let directory = path.parent().expect("a file is in a directory");
        std::fs::create_dir_all(directory).map_err(|error| error.to_string())?;
        std::fs::write(path, text).map_err(|error| error.to_string())
    })
}

impl Play {
    fn new(wish: Wish, title: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let conf = directory.path().join("openclaw.conf");
        std::fs::write(&conf, SITE).expect("a file");
        let offline = Offline {
            prefix: directory.path().to_owned(),
            conf,
            write,
        };
        let mut model = Model::new(TimeZone::UTC, 0);
        model.link = Link::Live;
        model.status = Some(Status {
            revision: 41,
            ..Status::default()
        });
        model.current_mut().take_summary(Summary::default());
        let mut play = Self {
            directory,
            offline,
            model,
            views: vec![Box::new(Session::new(wish, title))],
            notices: Vec::new(),
            calls: Vec::new(),
            editor: Vec::new(),
            suspended: Vec::new(),
            revisions: Vec::new(),
            is_slow: false,
            waiting: Vec::new(),
        };
        play.input(Input::Shown);
        play
    }

    /// As [`Play::new`], with a daemon that takes its time.
    fn slow(wish: Wish, title: &str) -> Self {
        let mut play = Self::new(Wish::MainText, "");
        play.is_slow = true;
        play.views = vec![Box::new(Session::new(wish, title))];
        play.calls.clear();
        play.suspended.clear();
        play.input(Input::Shown);
        play
    }

    /// Answers what was asked so far.
    fn answer_waiting(&mut self) {
        for (at, call) in std::mem::take(&mut self.waiting) {
            let answer = self.answer(&call);
            self.deliver(at, Input::Answer(answer));
        }
    }

    fn edit(address: &str) -> Self {
        let address = Address::parse(address).expect("an address");
        Self::new(Wish::Edit(address), "example.org /api/")
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.offline.conf).expect("there")
    }

    fn answer(&self, call: &Call) -> Result<Answer, Failure> {
        match call {
            Call::Revisions(_) => Ok(Answer::Revisions(Revisions {
                current: 41,
                revisions: self.revisions.clone(),
            })),
            Call::RevisionTexts(_) => Ok(Answer::RevisionTexts(RevisionTexts {
                files: vec![FileText {
                    path: self.offline.conf.to_string_lossy().into_owned(),
                    text: SITE.to_owned(),
                }],
                ..RevisionTexts::default()
            })),
            Call::Revert(revert) if revert.dry_run => Ok(Answer::Review(Review {
                diff: "--- a\n+++ a\n@@ -1 +1 @@\n-a 1;\n+a 2;\n".to_owned(),
                is_applicable: true,
                ..Review::default()
            })),
            Call::Revert(_) | Call::Reload => Ok(Answer::Applied(Applied {
                revision: 42,
                ..Applied::default()
            })),
            call => self.offline.answer(call),
        }
    }

    /// Gives the topmost view an input and does what it wants.
    fn input(&mut self, input: Input) {
        let top = self.views.len();
        if top > 0 {
            self.deliver(top - 1, input);
        }
    }

    fn deliver(&mut self, at: usize, input: Input) {
        let Some(view) = self.views.get_mut(at) else {
            return;
        };
        for effect in view.input(&input, &self.model) {
            match effect {
                Effect::Call(call) => {
                    self.calls.push(call.clone());
                    if self.is_slow {
                        self.waiting.push((at, call));
                        continue;
                    }
                    let answer = self.answer(&call);
                    self.deliver(at, Input::Answer(answer));
                }
                Effect::Suspend(job) => {
                    self.suspended.push((job.path, job.line, job.text));
                    if !self.editor.is_empty() {
                        let left = self.editor.remove(0);
                        self.deliver(at, Input::Edited(left));
                    }
                }
                Effect::Notice(notice) => self.notices.push(notice.text),
                Effect::Ask(ask) => {
                    let view = super::super::widgets::ask::AskView::new(ask);
                    self.views.push(Box::new(view));
                }
                Effect::Reply(input) => self.deliver(at - 1, input),
                Effect::Close => {
                    self.views.truncate(at);
                    return;
                }
                _ => {}
            }
        }
    }

    fn key(&mut self, key: KeyEvent) {
        let Some(view) = self.views.last() else {
            return;
        };
        let input = match keymap::find(view.context(), key, false) {
            Some(action) => Input::Action(action),
            None => Input::Key(key),
        };
        self.input(input);
    }

    fn keys(&mut self, keys: &str) {
        for key in parse(keys) {
            self.key(key);
        }
    }

    /// Goes down to the field with this label, as it is seen.
    fn go_to(&mut self, label: &str) {
        for _ in 0..200 {
            let focused = self.picture(200, 60, &BLOCK, THEMES[0]);
            let mark = format!(">{label}");
            if focused.lines().any(|line| line.contains(&mark)) {
                return;
            }
            self.keys("<Tab>");
        }
        panic!(
            "no field {label}: {}",
            self.picture(200, 60, &BLOCK, THEMES[0])
        );
    }

    fn picture(&mut self, width: u16, height: u16, glyphs: &Glyphs, theme: Theme) -> String {
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
        let mut painter = Painter::new(&mut buffer, &theme, glyphs);
        // As the frame gives it: without its two upper and two lower rows.
        let area = Rect::new(0, 2.min(height), width, height.saturating_sub(4));
        if let Some(view) = self.views.last_mut() {
            view.render(&mut painter, area, &self.model);
        }
        text(&buffer)
    }

    fn snapshots(&mut self, name: &str) {
        for (width, height) in [(60, 16), (80, 24), (120, 40)] {
            let picture = self.picture(width, height, &BLOCK, THEMES[0]);
            snapshot(&format!("edit_{name}_{width}x{height}"), &picture);
        }
    }

    /// The lines that the file lost and got.
    fn difference(&self) -> Vec<String> {
        let new = self.text();
        let unified = crate::conf::diff::unified("x", SITE, &new);
        let lines = unified.lines().skip(2);
        let changed = lines.filter(|line| line.starts_with(['+', '-']));
        changed
            .map(|line| format!("{}{}", &line[..1], line[1..].trim()))
            .collect()
    }
}

#[test]
fn a_value_is_typed_reviewed_and_put_into_force() {
    let mut play = Play::edit(API);
    play.go_to("proxy_read_timeout");
    play.keys("<C-u>90x");
    play.snapshots("form_wrong");
    play.keys("<C-s>");
    assert_eq!(
        play.notices,
        ["a value is wrong: see the sign at its field"]
    );
    play.keys("<Backspace>s<C-s>");
    play.snapshots("review");
    play.keys("<Enter>");
    assert!(play.views.is_empty());
    assert_eq!(
        play.difference(),
        ["-proxy_read_timeout 30s;", "+proxy_read_timeout 90s;"]
    );
    let Some(Call::Apply(change)) = play.calls.last() else {
        panic!("{:?}", play.calls);
    };
    assert_eq!(change.note, "example.org /api/: proxy_read_timeout 90s");
    assert_eq!(change.client, "dashboard");
}

#[test]
fn flags_are_switched_and_lines_are_taken_out() {
    let mut play = Play::edit(API);
    play.snapshots("form");
    play.go_to("proxy_buffering");
    play.keys("<Space><Space>");
    play.go_to("proxy_read_timeout");
    play.keys("<C-u>");
    play.go_to("add_header");
    play.keys("X-Frame-Options<Space>DENY<Enter>X-B<Space>'b;c'");
    play.go_to("internal");
    play.keys("x<Enter>");
    play.keys("<C-s>a");
    assert_eq!(play.notices, ["it is saved"]);
    assert_eq!(
        play.difference(),
        [
            "-proxy_read_timeout 30s;",
            "-proxy_buffering off; # they stream",
            "+add_header X-Frame-Options DENY;",
            "+add_header X-B 'b;c';",
            "+proxy_buffering on; # they stream",
            "+internal;",
        ]
        .iter()
        .map(|line| (*line).to_owned())
        .collect::<Vec<_>>()
    );
}

#[test]
fn peers_are_lines_of_the_form_of_their_upstream() {
    let mut play = Play::edit("http / upstream api");
    play.go_to("server");
    play.keys("<Tab><C-u>10.0.1.21:9000 weight=5<Tab>10.0.1.22:9000 backup<Tab>");
    play.snapshots("upstream");
    play.keys("<C-s><Enter>");
    assert_eq!(
        play.difference(),
        [
            "-server 10.0.1.21:9000 weight=2;",
            "+server 10.0.1.21:9000 weight=5;",
            "+server 10.0.1.22:9000 backup;",
        ]
    );
}

#[test]
fn every_other_directive_is_behind_the_last_row() {
    let mut play = Play::edit(API);
    play.go_to("more");
    play.keys("<Enter>");
    play.go_to("proxy_method");
    play.keys("PUT<C-s><Enter>");
    assert_eq!(play.difference(), ["+proxy_method PUT;"]);
}

#[test]
fn a_site_is_added_by_the_short_form() {
    let mut play = Play::new(Wish::Add, "Add a site");
    play.snapshots("site_empty");
    play.keys("<C-s>");
    assert_eq!(play.notices, ["something is missing or wrong"]);
    play.keys("git.example.org<Tab>:3000;");
    play.snapshots("site_wrong");
    play.keys("<Backspace>");
    play.snapshots("site");
    play.keys("<Tab><Tab><Tab><Enter>");
    play.keys("<Enter>");
    assert!(play.views.is_empty(), "{:?}", play.notices);
    let new = play.directory.path().join("sites/git.example.org.conf");
    let new = std::fs::read_to_string(new).expect("written");
    assert!(new.contains("proxy_pass http://127.0.0.1:3000;"));
    assert!(new.contains("listen 443 ssl;") && new.contains("return 301 https://"));
    assert!(
        play.text()
            .contains("map $http_upgrade $connection_upgrade")
    );
    let Some(Call::Apply(change)) = play.calls.last() else {
        panic!("{:?}", play.calls);
    };
    assert_eq!(change.note, "add git.example.org /: http://127.0.0.1:3000");
}

#[test]
fn a_site_of_a_trial_is_asked_where_the_trial_is() {
    let mut play = Play::new(Wish::Add, "Add a site");
    let trial = SITE.replace("listen 80;", "listen 8080;");
    std::fs::write(&play.offline.conf, &trial).expect("ours");
    play.views = vec![Box::new(Session::new(Wish::Add, "Add a site"))];
    play.input(Input::Shown);
    play.keys("git.example.org<Tab>:3000<Tab>");
    let picture = play.picture(120, 40, &BLOCK, THEMES[0]);
    assert!(picture.contains("Port      8080"), "{picture}");
    play.keys("<Tab>");
    let picture = play.picture(120, 40, &BLOCK, THEMES[0]);
    assert!(picture.contains("8080 if nothing is typed"), "{picture}");
    play.keys("<Enter><Enter><Enter>");
    let new = play.directory.path().join("sites/git.example.org.conf");
    let new = std::fs::read_to_string(new).expect("written");
    assert!(
        new.contains("listen 8080;") && !new.contains("ssl"),
        "{new}"
    );
}

#[test]
fn what_is_typed_before_the_form_is_there_is_not_lost() {
    let mut play = Play::slow(Wish::Add, "Add a site");
    play.keys("q.example.org<Tab>");
    play.input(Input::Paste(":3000".to_owned()));
    play.answer_waiting();
    assert_eq!(play.views.len(), 1);
    let picture = play.picture(120, 40, &BLOCK, THEMES[0]);
    assert!(
        picture.contains("Domain    q.example.org") && picture.contains("Target    :3000"),
        "{picture}"
    );
    // What is endless is cut.
    let mut play = Play::slow(Wish::Add, "Add a site");
    play.keys(&"x".repeat(1000));
    play.answer_waiting();
    let picture = play.picture(400, 40, &BLOCK, THEMES[0]);
    assert!(!picture.contains("the daemon"), "{picture}");
    // Leaving does not wait.
    let mut play = Play::slow(Wish::Add, "Add a site");
    play.keys("x<Esc>");
    assert!(play.views.is_empty());
}

#[test]
fn keys_that_come_early_mean_what_they_mean_in_the_form() {
    let mut play = Play::slow(Wish::Edit(Address::parse(API).expect("one")), "a");
    play.keys("<Tab><C-s>q");
    play.answer_waiting();
    assert_eq!(play.notices, ["nothing is changed"]);
    assert_eq!(play.views.len(), 1);
    // A question is not answered before it is read.
    let wish = Wish::Remove(Address::parse(API).expect("one"), Vec::new());
    let mut play = Play::slow(wish, "a");
    play.keys("y<Enter>");
    play.answer_waiting();
    assert_eq!(play.views.len(), 1);
    assert_eq!(play.difference(), [""; 0]);
}

#[test]
fn a_change_that_is_wanted_before_it_is_checked_is_applied_if_it_is_right() {
    let started = |keys: &str| {
        let mut play = Play::edit(API);
        play.go_to("proxy_read_timeout");
        play.is_slow = true;
        play.keys("<C-u>90s<C-s>");
        play.keys(keys);
        play
    };
    for key in ["<Enter>", "a"] {
        let mut play = started(key);
        let picture = play.picture(80, 24, &BLOCK, THEMES[0]);
        assert!(
            picture.contains("checking, will apply") && picture.contains("+            proxy_read"),
            "{picture}"
        );
        play.answer_waiting();
        play.answer_waiting();
        assert_eq!(play.notices, ["it is saved"]);
        assert!(play.text().contains("proxy_read_timeout 90s"));
    }
    // Taken back.
    let mut play = started("a<Esc>");
    play.answer_waiting();
    play.answer_waiting();
    assert_eq!(play.difference(), [""; 0]);
    let picture = play.picture(80, 24, &BLOCK, THEMES[0]);
    assert!(picture.contains("Apply"), "{picture}");
    // Errors and refusals end the wish; trying again does not bring it back.
    let mut play = started("a");
    play.waiting.clear();
    play.input(Input::Answer(Err(Failure::Broken("gone".to_owned()))));
    play.keys("<Tab><Enter>");
    play.answer_waiting();
    play.answer_waiting();
    assert_eq!(play.difference(), [""; 0]);
    let mut play = started("a");
    play.waiting.clear();
    play.input(Input::Answer(Ok(Answer::Review(Review::default()))));
    assert!(play.waiting.is_empty());
    assert_eq!(play.difference(), [""; 0]);
}

#[test]
fn a_site_that_is_there_is_told_where() {
    let mut play = Play::new(Wish::Add, "Add a site");
    play.keys("example.org<Tab>:3000<Tab>/api/");
    let picture = play.picture(120, 40, &BLOCK, THEMES[0]);
    assert!(
        picture.contains("the site has `location /api/` already"),
        "{picture}"
    );
}

#[test]
fn a_route_is_deleted_after_a_yes_only() {
    let address = Address::parse(API).expect("an address");
    let traffic = vec!["serves 301 req/s now, 1200000 requests since the start".to_owned()];
    let wish = Wish::Remove(address, traffic);
    for keys in ["n", "<Esc>", "<Enter>"] {
        let mut play = Play::new(wish.clone(), "example.org /api/");
        play.keys(keys);
        assert!(play.views.is_empty());
        assert_eq!(play.difference(), [""; 0], "{keys}");
    }
    for keys in ["y", "<Tab><Enter>"] {
        let mut play = Play::new(wish.clone(), "example.org /api/");
        play.snapshots("delete");
        play.keys("jx5");
        play.keys(keys);
        assert!(play.views.is_empty(), "{:?}", play.notices);
        assert!(!play.text().contains("location /api/"), "{keys}");
    }
}

#[test]
fn the_file_of_a_site_goes_with_its_last_block() {
    let site =
        "server {\n    listen 80;\n    server_name b.example;\n    location / { return 404; }\n}\n";
    let address = Address::parse("http / server b.example / location \"/\"").expect("an address");
    let deleted = |text: &str| {
        let mut play = Play::new(Wish::MainText, "");
        let path = play.directory.path().join("sites/b.example.conf");
        write(&[(path.clone(), text.to_owned())]).expect("ours");
        let wish = Wish::Remove(address.clone(), Vec::new());
        play.views = vec![Box::new(Session::new(wish, "b.example /"))];
        play.input(Input::Shown);
        let picture = play.picture(80, 24, &BLOCK, THEMES[0]);
        play.keys("y");
        assert!(play.views.is_empty(), "{:?}", play.notices);
        (picture, std::fs::read_to_string(path).ok())
    };
    let (picture, left) = deleted(&format!("\n{site}\n"));
    assert!(
        picture.contains("Its file b.example.conf goes with it."),
        "{picture}"
    );
    assert_eq!(left, None);
    // What else is in it stays.
    let (picture, left) = deleted(&format!("# Mine.\n\n{site}"));
    assert!(!picture.contains("goes with it"), "{picture}");
    assert_eq!(left.as_deref().map(str::trim), Some("# Mine."));
}

#[test]
fn a_location_moves_up_after_a_look_at_it() {
    let php = "http / server example.org / location \"~ \\.php$\"";
    let address = Address::parse(php).expect("an address");
    let mut play = Play::new(Wish::Move(address, true), "example.org ~ \\.php$");
    play.keys("<Enter>");
    let new = play.text();
    assert!(new.find("php").expect("there") < new.find("/api/").expect("there"));
    let address = Address::parse("http / server example.org / location \"/\"").expect("one");
    let mut play = Play::new(Wish::Move(address, true), "example.org /");
    let picture = play.picture(80, 24, &BLOCK, THEMES[0]);
    assert!(
        picture.contains("It is the first location of its server."),
        "{picture}"
    );
    play.keys("<Esc>");
    assert!(play.views.is_empty());
}

#[test]
fn what_others_changed_meanwhile_is_shown_and_what_was_typed_is_kept() {
    let mut play = Play::edit(API);
    play.go_to("proxy_read_timeout");
    play.keys("<C-u>90s");
    let theirs = SITE.replace(
        "server_name example.org;",
        "server_name example.org b.example;",
    );
    std::fs::write(&play.offline.conf, &theirs).expect("ours");
    play.keys("<C-s>");
    play.snapshots("stale");
    // The focus is on the button that does nothing.
    play.keys("<Tab><Enter>");
    play.keys("<C-s><Enter>");
    assert!(play.views.is_empty(), "{:?}", play.notices);
    let new = play.text();
    assert!(new.contains("b.example") && new.contains("proxy_read_timeout 90s;"));
}

#[test]
fn leaving_asks_if_something_was_typed() {
    let mut play = Play::edit(API);
    play.keys("<Esc>");
    assert!(play.views.is_empty());
    let mut play = Play::edit(API);
    play.go_to("root");
    play.keys("/srv<Esc>");
    assert_eq!(play.views.len(), 2);
    play.keys("n");
    assert_eq!(play.views.len(), 1);
    play.keys("<Esc>y");
    assert!(play.views.is_empty());
    assert_eq!(play.difference(), [""; 0]);
}

#[test]
fn an_editor_that_leaves_a_mistake_can_be_opened_again() {
    let mut play = Play::new(Wish::MainText, "the main file");
    assert_eq!(play.suspended[0].1, 1);
    play.input(Input::Edited(Ok(SITE.replace("listen 80;", "listen 80"))));
    play.snapshots("editor_error");
    play.keys("<Enter>");
    assert_eq!(
        play.views.len(),
        2,
        "what was written is not thrown away at once"
    );
    play.keys("n");
    play.keys("E");
    assert!(
        play.suspended[1].2.contains("listen 80\n"),
        "with what was written"
    );
    play.input(Input::Edited(Ok(SITE.replace("listen 80;", "listen 81;"))));
    play.keys("<Enter>");
    assert_eq!(play.difference(), ["-listen 80;", "+listen 81;"]);
}

#[test]
fn an_editor_that_changes_nothing_or_fails_changes_nothing() {
    for left in [
        Ok(SITE.to_owned()),
        Err("the editor ended with 1".to_owned()),
    ] {
        let mut play = Play::new(Wish::MainText, "the main file");
        play.input(Input::Edited(left));
        assert!(play.views.is_empty());
        assert_eq!(play.notices.len(), 1);
    }
}

#[test]
fn a_form_goes_on_in_the_editor_with_what_was_typed() {
    let mut play = Play::edit(API);
    play.go_to("proxy_read_timeout");
    play.keys("<C-u>90s");
    play.go_to("proxy_buffering");
    play.keys("E");
    let (path, line, text) = &play.suspended[0];
    assert_eq!((path, *line), (&play.offline.conf, 18));
    assert!(text.contains("proxy_read_timeout 90s;"));
}

#[test]
fn an_undo_shows_the_last_own_change_and_takes_it_back() {
    let revision = |id, author: &str| Revision {
        id,
        author: author.to_owned(),
        client: "dashboard".to_owned(),
        outcome: Outcome::Applied,
        parent: id - 1,
        ..Revision::default()
    };
    let wish = |is_redo| Wish::Undo {
        person: "ann".to_owned(),
        is_redo,
    };
    let mut play = Play::new(wish(false), "Undo");
    let picture = play.picture(80, 24, &BLOCK, THEMES[0]);
    assert!(
        picture.contains("There is no change of ann to undo."),
        "{picture}"
    );
    play.revisions = vec![revision(41, "bob"), revision(40, "ann")];
    play.views = vec![Box::new(Session::new(wish(false), "Undo"))];
    play.input(Input::Shown);
    // Enter is on Cancel.
    play.keys("<Tab><Enter>");
    let Some(Call::Revert(revert)) = play.calls.last() else {
        panic!("{:?}", play.calls);
    };
    assert_eq!(
        (revert.revision, revert.undo, revert.dry_run),
        (40, true, false)
    );
    assert_eq!(
        play.notices,
        ["revision 42 is in force; C-r brings it back"]
    );
}

#[test]
fn files_as_they_are_can_be_put_into_force_if_they_differ() {
    let mut play = Play::new(Wish::Files, "the files as they are");
    play.keys("a");
    assert!(!play.calls.contains(&Call::Reload), "nothing differs");
    let other = SITE.replace("listen 80;", "listen 81;");
    std::fs::write(&play.offline.conf, other).expect("ours");
    play.views = vec![Box::new(Session::new(Wish::Files, "the files as they are"))];
    play.input(Input::Shown);
    play.snapshots("files");
    play.keys("a");
    assert_eq!(play.calls.last(), Some(&Call::Reload));
    assert!(play.views.is_empty());
}

#[test]
fn what_cannot_be_changed_says_why() {
    let mut play = Play::edit("http / server nobody.example");
    let picture = play.picture(80, 24, &BLOCK, THEMES[0]);
    assert!(picture.contains("any more"), "{picture}");
    play.keys("<Esc>");
    assert!(play.views.is_empty());
}

#[test]
fn without_a_daemon_the_change_is_saved() {
    let mut play = Play::edit(API);
    play.model.conf = Some(play.offline.conf.clone());
    play.model.link = Link::Absent {
        tried: Vec::new(),
        retry: 0,
    };
    play.go_to("proxy_read_timeout");
    play.keys("<C-u>90s<C-s>");
    let picture = play.picture(80, 24, &BLOCK, THEMES[0]);
    assert!(
        picture.contains("Save") && picture.contains("takes effect at start"),
        "{picture}"
    );
    play.keys("<Enter>");
    assert_eq!(play.notices, ["it is saved"]);
}

#[test]
fn a_terminal_without_colour_and_letters_shows_the_same() {
    let mut play = Play::edit(API);
    play.go_to("proxy_read_timeout");
    play.keys("<C-u>90x");
    let picture = play.picture(80, 24, &ASCII, THEMES[0].without_colour());
    assert!(picture.is_ascii(), "{picture}");
    assert!(
        picture.contains("x `90x`") || picture.contains("x "),
        "{picture}"
    );
}

/// Keys that a robot presses.
fn any_key() -> impl Strategy<Value = KeyEvent> {
    let code = prop_oneof![
        4 => prop::sample::select(vec![
            KeyCode::Tab, KeyCode::BackTab, KeyCode::Enter, KeyCode::Up, KeyCode::Down, KeyCode::Left,
            KeyCode::Right, KeyCode::Backspace, KeyCode::Delete, KeyCode::Home, KeyCode::End, KeyCode::PageDown,
        ]),
        4 => prop::sample::select(vec![
            ' ', 'x', '9', ';', '"', '\'', '$', '{', '}', '\\', '#', '/', 'a', 'e', 'E', 'y', 'n', 'j', 'G', 'u',
            '\u{65e5}', '\u{301}', '\u{202e}',
        ]).prop_map(KeyCode::Char),
        1 => Just(KeyCode::Esc),
    ];
    let modifiers = prop_oneof![6 => Just(KeyModifiers::NONE), 1 => Just(KeyModifiers::CONTROL)];
    let control = prop::sample::select(vec!['s', 'u', 'a', 'e', 'w', 'd'])
        .prop_map(|letter| KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL));
    prop_oneof![6 => (code, modifiers).prop_map(|(code, modifiers)| KeyEvent::new(code, modifiers)), 1 => control]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_robot_breaks_no_form_and_writes_only_sound_files(
        start in 0..4usize,
        keys in prop::collection::vec(any_key(), 1..120),
        sizes in prop::collection::vec((0u16..140, 0u16..50), 1..4),
    ) {
        let address = |text: &str| Address::parse(text).expect("an address");
        let wish = match start {
            0 => Wish::Add,
            1 => Wish::Edit(address(API)),
            2 => Wish::Edit(address("http / upstream api")),
            _ => Wish::Edit(address("http / server example.org")),
        };
        let mut play = Play::new(wish, "a robot");
        for (index, key) in keys.into_iter().enumerate() {
            play.key(key);
            let (width, height) = sizes[index % sizes.len()];
            play.picture(width, height, &BLOCK, THEMES[0]);
        }
        let written = play.text();
        let texts = super::texts::Texts::new(&match play.offline.answer(&Call::Config) {
            Ok(Answer::Config(config)) => config,
            other => return Err(TestCaseError::fail(format!("{other:?}"))),
        });
        let loaded = texts.check(&Default::default());
        prop_assert!(!crate::conf::diagnostic::any_error(&loaded.diagnostics), "{}", written);
    }
}
