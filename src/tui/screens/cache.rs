//! Cache: its zones and the kept answers of language models, what comes of looking into them, what is wanted
//! most, and purging.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use ratatui::layout::Rect;

use super::super::cached::Cached;
use super::super::keymap::{Action, Context};
use super::super::model::Model;
use super::super::number;
use super::super::paint::Painter;
use super::super::theme::Role;
use super::super::view::{Answer, Ask, Call, Effect, Input, Notice, Prompt, Target, View};
use super::super::widgets::sparkline;
use super::super::widgets::table::{Cell, Column, Table, matches};
use super::render_state;
use crate::protocol::{
    CacheKey, CachePurge, CacheResults, CacheTarget, CacheZone, Caches, KeptAnswers, KeptPurge,
    KeptShare,
};

const COLUMNS: [Column; 8] = [
    Column::text("ZONE", 10, 2, 0),
    Column::number("USED", 9, 0),
    Column::number("MAX", 9, 2),
    Column::number("ENTRIES", 8, 3),
    Column::number("MEMORY", 9, 5),
    Column::number("HIT", 6, 0),
    Column::number("SAVED", 9, 4),
    Column::text("STATE", 14, 0, 6),
];

const KEY_COLUMNS: [Column; 5] = [
    Column::number("USES", 6, 0),
    Column::number("SIZE", 9, 3),
    Column::number("AGE", 6, 2),
    Column::number("FRESH", 6, 1),
    Column::text("KEY", 20, 1, 0),
];

const SHARE_COLUMNS: [Column; 7] = [
    Column::number("HITS", 6, 0),
    Column::number("ANSWERS", 7, 2),
    Column::number("SIZE", 9, 3),
    Column::number("SAVED", 9, 0),
    Column::number("OLDEST", 6, 4),
    Column::text("WHOSE", 14, 1, 0),
    Column::text("MODEL", 14, 1, 0),
];

/// What stands for kept answers among the zones.
const KEPT: &str = "llm_cache";

const ZONES: u8 = 0;
const KEYS: u8 = 1;

/// So many numbers of the past are kept for the curve: one a second.
const POINTS: usize = 300;

/// The screen.
#[derive(Debug, Default)]
pub struct CacheScreen {
    zones: Table,
    keys: Table,
    /// The list of keys has the focus.
    is_in_keys: bool,
    filter: String,
    /// Positions of the keys that are shown.
    shown: Vec<usize>,
    /// What was known last.
    known: Option<Rc<Caches>>,
    /// For each zone what came of it between two looks, the oldest first.
    past: HashMap<String, VecDeque<CacheResults>>,
    /// What was asked whether it should be done.
    pending: Option<Call>,
}

impl CacheScreen {
    fn arrange(&mut self, model: &Model) {
        let Some(caches) = &model.caches.value else {
            self.zones.set_rows(0);
            return self.keys.set_rows(0);
        };
        let is_new = (self.known.as_ref()).is_none_or(|known| !Rc::ptr_eq(known, caches));
        if is_new {
            for (name, results) in looked_into(caches) {
                let before = self.known.as_ref().and_then(|known| {
                    let mut known = looked_into(known);
                    known.find(|(known, _)| *known == name)
                });
                if let Some((_, before)) = before {
                    let past = self.past.entry(name.to_owned()).or_default();
                    past.push_back(between(before, results));
                    if past.len() > POINTS {
                        past.pop_front();
                    }
                }
            }
            self.known = Some(Rc::clone(caches));
        }
        self.zones.set_rows(looked_into(caches).count());
        self.shown.clear();
        if let Some(kept) = self.kept(model) {
            let filter = &self.filter;
            let wanted = |share: &KeptShare| {
                filter.is_empty() || matches(filter, &[&share.whose(), &share.model])
            };
            let shares = kept.shares.iter().enumerate();
            let positions = shares.filter(|(_, share)| wanted(share)).map(|(at, _)| at);
            self.shown.extend(positions);
        } else if let Some(zone) = caches.zones.get(self.zones.selected) {
            let wanted = |key: &CacheKey| {
                self.filter.is_empty() || matches(&self.filter, &[&key.key, &key.url])
            };
            let keys = zone.hottest.iter().enumerate();
            self.shown.extend(
                keys.filter(|(_, key)| wanted(key))
                    .map(|(position, _)| position),
            );
        }
        self.keys.set_rows(self.shown.len());
    }

    /// The zone that is selected.
    fn zone<'m>(&self, model: &'m Model) -> Option<&'m CacheZone> {
        let caches = model.caches.value.as_deref()?;
        caches.zones.get(self.zones.selected)
    }

    /// The kept answers of language models, if they are selected.
    fn kept<'m>(&self, model: &'m Model) -> Option<&'m KeptAnswers> {
        let caches = model.caches.value.as_deref()?;
        (caches.llm.as_ref()).filter(|_| self.zones.selected == caches.zones.len())
    }

    /// Those of them that are selected.
    fn share<'m>(&self, model: &'m Model) -> Option<&'m KeptShare> {
        let &position = self.shown.get(self.keys.selected)?;
        self.kept(model)?.shares.get(position)
    }

    /// What is selected, and what came of looking into it.
    fn selected<'m>(&self, model: &'m Model) -> Option<(&'m str, &'m CacheResults)> {
        let caches = model.caches.value.as_deref()?;
        looked_into(caches).nth(self.zones.selected)
    }

    /// The key that is selected.
    fn key<'m>(&self, model: &'m Model) -> Option<&'m CacheKey> {
        let &position = self.shown.get(self.keys.selected)?;
        self.zone(model)?.hottest.get(position)
    }

    fn ask(&mut self, purge: Call, what: String, why: &str) -> Vec<Effect> {
        self.pending = Some(purge);
        vec![Effect::Ask(Ask {
            title: "Purge?".to_owned(),
            lines: vec![
                what,
                String::new(),
                why.to_owned(),
                "This cannot be undone.".to_owned(),
            ],
            button: "Purge".to_owned(),
        })]
    }

    fn act(&mut self, action: Action, model: &Model) -> Vec<Effect> {
        match action {
            Action::NextPane | Action::PreviousPane => {
                self.is_in_keys = !self.is_in_keys && !self.shown.is_empty();
            }
            Action::Close if self.is_in_keys => self.is_in_keys = false,
            Action::Close => self.filter.clear(),
            Action::Open => {
                if !self.is_in_keys {
                    self.is_in_keys = !self.shown.is_empty();
                    return Vec::new();
                }
                let zone = self.zone(model).map(|zone| zone.name.clone());
                return match self.key(model) {
                    Some(key) => vec![Effect::Open(Box::new(Cached::new(&key.key, zone)))],
                    None => Vec::new(),
                };
            }
            Action::Inspect if self.kept(model).is_some() => {
                return vec![Notice::plain(
                    "what was asked and answered is shown nowhere",
                )];
            }
            Action::Inspect => {
                let url = self.key(model).filter(|_| self.is_in_keys);
                return vec![Effect::Prompt(Prompt {
                    title: "Inspect".to_owned(),
                    label: "a URL, or a key as proxy_cache_key makes it".to_owned(),
                    text: url.map(|key| key.key.clone()).unwrap_or_default(),
                    history: Vec::new(),
                })];
            }
            Action::PurgeKey if self.kept(model).is_some() => {
                let Some(share) = self.share(model) else {
                    return vec![Notice::plain("nothing is selected")];
                };
                let purge = KeptPurge {
                    key: share.key.clone(),
                    group: share.group.clone(),
                    everybody: share.key.is_none() && share.group.is_none(),
                    model: Some(share.model.clone()),
                };
                let what = purge.words();
                let why = "The next calls for them go to the providers.";
                return self.ask(Call::KeptPurge(purge), what, why);
            }
            Action::PurgeKey => {
                let (Some(zone), Some(key)) = (self.zone(model), self.key(model)) else {
                    return vec![Notice::plain("no key is selected")];
                };
                let purge = CachePurge {
                    zone: Some(zone.name.clone()),
                    target: CacheTarget::Name(key.key.clone()),
                };
                let why = "The next request for it goes to the origin.";
                return self.ask(Call::CachePurge(purge), key.key.clone(), why);
            }
            Action::PurgeZone => {
                if let Some(kept) = self.kept(model) {
                    let count = number::count(kept.answers);
                    let what = format!("all {count} kept answers of language models");
                    let why = "All calls go to the providers until their answers are kept again.";
                    return self.ask(Call::KeptPurge(KeptPurge::default()), what, why);
                }
                let Some(zone) = self.zone(model) else {
                    return vec![Notice::plain("there is no cache")];
                };
                let purge = CachePurge {
                    zone: Some(zone.name.clone()),
                    target: CacheTarget::Everything,
                };
                let what = format!(
                    "all {} entries of the zone {}",
                    number::count(zone.entries),
                    zone.name
                );
                let why = "All requests go to the origins until they are stored again.";
                return self.ask(Call::CachePurge(purge), what, why);
            }
            Action::NextMatch | Action::PreviousMatch => {
                return vec![Notice::plain("/ shows only the keys that match")];
            }
            Action::Copy => {
                let key = self.key(model).map(|key| key.key.clone());
                let key = key.or_else(|| self.share(model).map(|share| share.model.clone()));
                let zone = self.selected(model).map(|(name, _)| name.to_owned());
                let copied = key.filter(|_| self.is_in_keys).or(zone);
                return copied.map(Effect::Copy).into_iter().collect();
            }
            action if self.is_in_keys => {
                self.keys.act(action);
            }
            action => {
                if self.zones.act(action) {
                    self.keys = Table::default();
                }
            }
        }
        Vec::new()
    }

    fn render_zones(&mut self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        let inside = painter.frame(area, "Zones", "", !self.is_in_keys);
        let caches = model.caches.value.as_deref();
        let Some(caches) = caches.filter(|caches| looked_into(caches).count() > 0) else {
            let empty = "no cache: proxy_cache_path makes one";
            return render_state(painter, inside, &model.caches, model, empty);
        };
        let none = painter.glyphs().none;
        self.zones
            .render(painter, inside, ZONES, &COLUMNS, None, |row| {
                match (caches.zones.get(row), &caches.llm) {
                    (Some(zone), _) => zone_cells(zone, none),
                    (None, Some(kept)) => kept_cells(kept, none),
                    (None, None) => Vec::new(),
                }
            });
    }

    fn render_results(&self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        let selected = self.selected(model);
        let name = selected.map_or("", |(name, _)| name);
        let inside = painter.frame(area, "Results", name, false);
        let Some((_, results)) = selected else { return };
        let all = results.all();
        let none = painter.glyphs().none;
        let mut named = results.named().to_vec();
        if self.kept(model).is_some() {
            // Nothing else comes of them.
            named.retain(|(name, _)| matches!(*name, "HIT" | "MISS" | "BYPASS"));
        }
        for ((name, count), y) in named.iter().zip(inside.y..inside.bottom()) {
            let role = match *name {
                "HIT" | "REVALIDATED" => Role::Ok,
                "STALE" | "UPDATING" => Role::Warn,
                _ => Role::Text,
            };
            painter.put(inside.x, y, 12, name, Role::Text);
            let width = inside.width.saturating_sub(12 + 16);
            let bar = Rect::new(inside.x + 12, y, width, 1);
            let share = if all == 0 {
                0.0
            } else {
                *count as f64 / all as f64
            };
            sparkline::render_bar(painter, bar, share, role, false);
            let numbers = format!(
                "{:>6} {:>8}",
                number::share(*count, all, none),
                number::count(*count)
            );
            painter.put_right(inside.x, y, inside.width, &numbers, Role::Text);
        }
    }

    fn render_curve(&self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        let past = self.selected(model);
        let past = past.and_then(|(name, _)| self.past.get(name));
        let shares: Vec<f64> = past.into_iter().flatten().map(share).collect();
        let recent = past
            .into_iter()
            .flatten()
            .fold((0, 0), |(some, all), results| {
                (some + results.from_cache(), all + results.all())
            });
        let now = number::share(recent.0, recent.1, painter.glyphs().none);
        let inside = painter.frame(area, "Hit rate", &now, false);
        sparkline::render(painter, inside, &shares, Role::Ok);
    }

    fn render_shares(
        &mut self,
        painter: &mut Painter<'_>,
        area: Rect,
        model: &Model,
        kept: &KeptAnswers,
    ) {
        let inside = painter.frame(area, "Kept answers", "by whose and model", self.is_in_keys);
        if self.shown.is_empty() {
            let empty = match self.filter.as_str() {
                "" => "nothing is kept".to_owned(),
                filter => format!("none matches \"{filter}\" (Esc clears)"),
            };
            return render_state(painter, inside, &model.caches, model, &empty);
        }
        let shown = &self.shown;
        self.keys
            .render(painter, inside, KEYS, &SHARE_COLUMNS, None, |row| {
                share_cells(&kept.shares[shown[row]])
            });
    }

    fn render_keys(&mut self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        if let Some(kept) = self.kept(model) {
            return self.render_shares(painter, area, model, kept);
        }
        let inside = painter.frame(area, "Hottest keys", "in memory", self.is_in_keys);
        let Some(zone) = self.zone(model).filter(|_| !self.shown.is_empty()) else {
            let empty = match self.filter.as_str() {
                "" => "nothing is in memory".to_owned(),
                filter => format!("none matches \"{filter}\" (Esc clears)"),
            };
            return render_state(painter, inside, &model.caches, model, &empty);
        };
        let shown = &self.shown;
        self.keys
            .render(painter, inside, KEYS, &KEY_COLUMNS, None, |row| {
                key_cells(&zone.hottest[shown[row]])
            });
    }
}

impl View for CacheScreen {
    fn context(&self) -> Context {
        Context::Cache
    }

    fn input(&mut self, input: &Input, model: &Model) -> Vec<Effect> {
        self.arrange(model);
        let effects = match input {
            Input::Shown | Input::Tick => vec![Effect::Call(Call::Caches)],
            Input::Action(action) => self.act(*action, model),
            Input::Filter(filter) => {
                self.filter.clone_from(filter);
                Vec::new()
            }
            Input::Entered(name) if !name.is_empty() => {
                vec![Effect::Open(Box::new(Cached::new(name, None)))]
            }
            Input::Confirmed => match self.pending.take() {
                Some(purge) => vec![Effect::Call(purge)],
                None => Vec::new(),
            },
            Input::Answer(Ok(Answer::CachePurged(purged))) => vec![
                Notice::good(format!("purged in {}", purged.zones.join(", "))),
                Effect::Call(Call::Caches),
            ],
            Input::Answer(Ok(Answer::KeptPurged(purged))) => vec![
                Notice::good(format!(
                    "purged {} kept answers, {}",
                    number::count(purged.answers),
                    number::bytes(purged.bytes)
                )),
                Effect::Call(Call::Caches),
            ],
            Input::Answer(Err(failure)) => vec![Notice::bad(failure.to_string())],
            Input::Click(Target::Pane(pane)) => {
                self.is_in_keys = *pane == KEYS;
                Vec::new()
            }
            input => {
                if self.zones.input(input, ZONES) {
                    self.is_in_keys = false;
                    self.keys = Table::default();
                } else if self.keys.input(input, KEYS) {
                    self.is_in_keys = true;
                }
                Vec::new()
            }
        };
        self.arrange(model);
        effects
    }

    fn render(&mut self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        self.arrange(model);
        let count = model
            .caches
            .value
            .as_ref()
            .map_or(0, |caches| looked_into(caches).count());
        let height = (count as u16 + 3).clamp(4, area.height / 3);
        let zones = Rect::new(area.x, area.y, area.width, height);
        let middle = 9.min(area.height - height);
        let width = area.width * 55 / 100;
        let results = Rect::new(area.x, zones.bottom(), width, middle);
        let curve = Rect::new(results.right(), zones.bottom(), area.width - width, middle);
        let left = area.height - height - middle;
        let keys = Rect::new(area.x, results.bottom(), area.width, left);
        self.render_zones(painter, zones, model);
        self.render_results(painter, results, model);
        self.render_curve(painter, curve, model);
        if left > 2 {
            self.render_keys(painter, keys, model);
        }
    }

    fn filter(&self) -> &str {
        &self.filter
    }

    fn remark(&self, model: &Model) -> Option<String> {
        if let Some(kept) = self.kept(model) {
            return Some(format!(
                "in memory: {} gave way to others, {} purged, saved ${}",
                number::count(kept.evicted),
                number::count(kept.purged),
                kept.saved
            ));
        }
        let zone = self.zone(model)?;
        let removed = zone.evicted + zone.inactive_removed;
        Some(format!(
            "{}: {} stored, {} evicted, {} purged, {} disk errors",
            zone.path,
            number::count(zone.stored),
            number::count(removed),
            number::count(zone.purged),
            zone.disk_errors
        ))
    }
}

/// All that was looked into: the zones, and behind them the kept answers of language models.
fn looked_into(caches: &Caches) -> impl Iterator<Item = (&str, &CacheResults)> {
    let zones = caches.zones.iter();
    let zones = zones.map(|zone| (zone.name.as_str(), &zone.results));
    zones.chain(caches.llm.iter().map(|kept| (KEPT, &kept.results)))
}

fn kept_cells(kept: &KeptAnswers, none: &str) -> Vec<Cell> {
    let results = &kept.results;
    vec![
        (KEPT.to_owned(), Role::Text),
        (number::bytes(kept.bytes), Role::Text),
        (number::bytes(kept.most_bytes), Role::Text),
        (number::count(kept.answers), Role::Text),
        (number::bytes(kept.bytes), Role::Text),
        (
            number::share(results.from_cache(), results.all(), none),
            Role::Text,
        ),
        (number::dollars(&kept.saved), Role::Text),
        ("ok".to_owned(), Role::Ok),
    ]
}

fn share_cells(share: &KeptShare) -> Vec<Cell> {
    vec![
        (number::count(share.hits), Role::Text),
        (number::count(share.answers), Role::Text),
        (number::bytes(share.bytes), Role::Text),
        (number::dollars(&share.saved), Role::Text),
        (number::age(share.oldest * 1000), Role::Text),
        (share.whose(), Role::Text),
        (share.model.clone(), Role::Text),
    ]
}

fn zone_cells(zone: &CacheZone, none: &str) -> Vec<Cell> {
    let state = match (zone.is_aside, zone.is_loading) {
        (true, _) => Role::Bad,
        (_, true) => Role::Warn,
        _ => Role::Ok,
    };
    vec![
        (zone.name.clone(), Role::Text),
        (number::bytes(zone.bytes), Role::Text),
        (
            zone.most_bytes
                .map_or_else(|| none.to_owned(), number::bytes),
            Role::Text,
        ),
        (number::count(zone.entries), Role::Text),
        (number::bytes(zone.bytes_in_memory), Role::Text),
        (
            number::share(zone.results.from_cache(), zone.results.all(), none),
            Role::Text,
        ),
        (number::bytes(zone.saved), Role::Text),
        (zone.state().to_owned(), state),
    ]
}

fn key_cells(key: &CacheKey) -> Vec<Cell> {
    let (fresh, role) = match u64::try_from(key.left) {
        Ok(left) => (number::age(left * 1000), Role::Text),
        Err(_) => ("stale".to_owned(), Role::Warn),
    };
    vec![
        (number::count(u64::from(key.uses)), Role::Text),
        (number::bytes(key.length), Role::Text),
        (number::age(key.age * 1000), Role::Text),
        (fresh, role),
        (key.key.clone(), Role::Text),
    ]
}

/// What came between two looks; the daemon may have been started anew.
fn between(before: &CacheResults, now: &CacheResults) -> CacheResults {
    CacheResults {
        hit: now.hit.saturating_sub(before.hit),
        miss: now.miss.saturating_sub(before.miss),
        expired: now.expired.saturating_sub(before.expired),
        stale: now.stale.saturating_sub(before.stale),
        updating: now.updating.saturating_sub(before.updating),
        revalidated: now.revalidated.saturating_sub(before.revalidated),
        bypass: now.bypass.saturating_sub(before.bypass),
    }
}

fn share(results: &CacheResults) -> f64 {
    match results.all() {
        0 => 0.0,
        all => results.from_cache() as f64 / all as f64,
    }
}
