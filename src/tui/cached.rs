//! What the cache has under a URL or a key.

use ratatui::layout::Rect;

use super::keymap::Context;
use super::model::Model;
use super::number;
use super::paint::{Painter, Span};
use super::text;
use super::theme::Role;
use super::view::{Answer, Call, Effect, Input, View};
use super::widgets::reader::Reader;
use crate::protocol::{CacheEntries, CacheEntry, CacheName};

/// The dialog, frame included.
const WIDTH: u16 = 78;

/// The columns of the labels.
const LABEL: usize = 9;

/// A question that is open, or its answer.
#[derive(Debug)]
pub struct Cached {
    wanted: CacheName,
    reader: Reader,
}

impl Cached {
    /// Asks the daemon as soon as it is shown.
    pub fn new(name: &str, zone: Option<String>) -> Self {
        let lines = vec![vec![Span::new("looking", Role::Muted)]];
        Self {
            wanted: CacheName {
                zone,
                name: name.to_owned(),
            },
            reader: Reader::new("In the cache", WIDTH, lines),
        }
    }
}

impl View for Cached {
    fn context(&self) -> Context {
        self.reader.context()
    }

    fn input(&mut self, input: &Input, model: &Model) -> Vec<Effect> {
        match input {
            Input::Shown => return vec![Effect::Call(Call::CacheShow(self.wanted.clone()))],
            Input::Answer(Ok(Answer::CacheEntries(found))) => {
                self.reader.set(lines(&self.wanted.name, found));
            }
            Input::Answer(Err(failure)) => self.reader.fail(failure),
            input => return self.reader.input(input, model),
        }
        Vec::new()
    }

    fn render(&mut self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        self.reader.render(painter, area, model);
    }
}

fn lines(name: &str, found: &CacheEntries) -> Vec<Vec<Span>> {
    let mut lines = Vec::new();
    if found.entries.is_empty() {
        add(
            &mut lines,
            "nothing",
            &format!("is stored for {name}"),
            Role::Warn,
        );
        lines.push(Vec::new());
        for (position, key) in found.looked_for.iter().enumerate() {
            let label = if position == 0 { "keys" } else { "" };
            add(&mut lines, label, key, Role::Text);
        }
        return lines;
    }
    for (position, entry) in found.entries.iter().enumerate() {
        if position > 0 {
            lines.push(Vec::new());
        }
        add_entry(&mut lines, entry);
    }
    lines
}

fn add_entry(lines: &mut Vec<Vec<Span>>, entry: &CacheEntry) {
    let freshness = match entry.left {
        0.. => Role::Ok,
        _ => Role::Warn,
    };
    let place = if entry.is_in_memory {
        ", in memory"
    } else {
        ""
    };
    let answer = format!("{}, {}{place}", entry.status, number::bytes(entry.length));
    add(lines, "key", &entry.key, Role::Text);
    add(lines, "url", &entry.url, Role::Text);
    add(lines, "zone", &entry.zone, Role::Text);
    add(lines, "file", &entry.file, Role::Muted);
    add(lines, "answer", &answer, Role::Text);
    add(lines, "age", &number::age(entry.age * 1000), Role::Text);
    add(lines, "fresh", &entry.freshness(), freshness);
    add(
        lines,
        "wanted",
        &format!("{} times", entry.uses),
        Role::Text,
    );
    for (name, value) in &entry.vary {
        let value = value.as_deref().unwrap_or("(not sent)");
        add(lines, "for", &format!("{name}: {value}"), Role::Text);
    }
    add(lines, "tags", &entry.tags.join(" "), Role::Text);
    for (position, field) in entry.fields.iter().enumerate() {
        let label = if position == 0 { "head" } else { "" };
        add(lines, label, field, Role::Text);
    }
}

/// A value behind its label; nothing if there is no value.
fn add(lines: &mut Vec<Vec<Span>>, label: &str, value: &str, role: Role) {
    if value.is_empty() {
        return;
    }
    let mut label = label.to_owned();
    for line in text::wrap(value, usize::from(WIDTH) - 4 - LABEL) {
        lines.push(vec![
            Span::new(
                format!("{:LABEL$}", std::mem::take(&mut label)),
                Role::Muted,
            ),
            Span::new(line, role),
        ]);
    }
}
