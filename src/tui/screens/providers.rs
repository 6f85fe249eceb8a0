//! A provider of language models among the backends: its line, and what is told of it beside the list.

use ratatui::layout::Rect;

use super::super::glyphs::Glyphs;
use super::super::model::Model;
use super::super::number;
use super::super::paint::{Painter, Span};
use super::super::theme::Role;
use super::super::widgets::table::Cell;
use super::backends;
use crate::protocol::{ModelNow, PeerState, ProviderNow};

/// So many signs of calls under way, with how many there may be, fit into their column.
const CALLS: usize = 5;

/// All providers, as they are now.
pub fn all(model: &Model) -> &[ProviderNow] {
    let summary = model.live().summary.as_deref();
    let now = summary.and_then(|summary| summary.llm.as_deref());
    now.map_or(&[], |now| &now.providers)
}

/// What a peer would be in that stands as it does.
pub fn state(provider: &ProviderNow) -> PeerState {
    state_of(&provider.state)
}

fn state_of(word: &str) -> PeerState {
    match word {
        "ready" => PeerState::Up,
        "open" => PeerState::Ejected,
        "probing" | "cooling" => PeerState::Checking,
        _ => PeerState::Unhealthy,
    }
}

/// `open 8 s`, `ready, 3 wait`
pub fn state_words(provider: &ProviderNow) -> String {
    let mut words = provider.state.clone();
    let mut models = provider.models.iter();
    let same = models.find(|model| model.state == provider.state);
    if let Some(left) = same.and_then(left) {
        words.push_str(&format!(" {left}"));
    }
    if provider.waiting > 0 {
        words.push_str(&format!(", {} wait", provider.waiting));
    }
    words
}

fn left(model: &ModelNow) -> Option<String> {
    (model.left_ms > 0).then(|| number::age(model.left_ms.max(1000)))
}

/// Its line in the list of peers.
pub fn cells(provider: &ProviderNow, glyphs: &Glyphs) -> Vec<Cell> {
    let quiet = match provider.under_way {
        0 => Role::Muted,
        _ => Role::Text,
    };
    let state = state(provider);
    let under_way = number::count(provider.under_way.into());
    let calls = match provider.most {
        0 => under_way,
        most => Some(format!("{under_way}/{most}"))
            .filter(|calls| calls.len() <= CALLS)
            .unwrap_or(under_way),
    };
    let first_token = match provider.first_token {
        0 => glyphs.none.to_owned(),
        time => number::duration(time),
    };
    let failed = match provider.failed {
        0 => quiet,
        _ => Role::Warn,
    };
    vec![
        (provider.name.clone(), Role::Text),
        (host(provider).to_owned(), Role::Text),
        (
            format!("{} {}", glyphs.peer(state), state_words(provider)),
            backends::role(state),
        ),
        (glyphs.none.to_owned(), Role::Muted),
        (calls, quiet),
        (glyphs.none.to_owned(), Role::Muted),
        (first_token, quiet),
        (number::count(provider.failed), failed),
    ]
}

/// The host of its address.
pub fn host(provider: &ProviderNow) -> &str {
    let address = provider.address.as_str();
    let behind = address.split_once("://").map_or(address, |(_, rest)| rest);
    behind.split('/').next().unwrap_or_default()
}

/// What is told of it beside the list.
pub fn render(painter: &mut Painter<'_>, area: Rect, provider: &ProviderNow, is_focused: bool) {
    let inside = painter.frame(area, &provider.name, &state_words(provider), is_focused);
    let mut y = inside.y;
    for (name, value) in facts(provider) {
        if y < inside.bottom() {
            painter.put(inside.x, y, 8, name, Role::Muted);
            let columns = inside.width.saturating_sub(9);
            painter.put(inside.x + 9, y, columns, &value, Role::Text);
            y += 1;
        }
    }
    for model in &provider.models {
        y += 1;
        if y + 1 >= inside.bottom() {
            break;
        }
        let state = match state_of(&model.state) {
            PeerState::Up if model.share < 100 => PeerState::Drain,
            state => state,
        };
        let spans = [
            Span::new(
                format!("{} ", painter.glyphs().peer(state)),
                backends::role(state),
            ),
            Span::plain(format!("{} ", model.model)),
            Span::new(model.key.clone(), Role::Muted),
        ];
        painter.put_spans(inside.x, y, inside.width, &spans);
        y += 1;
        let columns = inside.width.saturating_sub(2);
        painter.put(inside.x + 2, y, columns, &model_words(model), Role::Text);
    }
}

fn facts(provider: &ProviderNow) -> Vec<(&'static str, String)> {
    let most = match (provider.most, provider.is_adaptive) {
        (0, _) => "no limit".to_owned(),
        (most, false) => format!("{most} at most"),
        (most, true) => format!("{most} at most (learned)"),
    };
    let mut facts = vec![
        ("api", provider.kind.clone()),
        ("address", provider.address.clone()),
        ("calls", format!("{} under way, {most}", provider.under_way)),
    ];
    if provider.room > 0 {
        let text = format!(
            "{} wait, room for {}, {} turned away",
            provider.waiting,
            provider.room,
            number::count(provider.turned_away)
        );
        facts.push(("queue", text));
    }
    if provider.first_token > 0 {
        let time = number::duration(provider.first_token);
        facts.push(("latency", format!("{time} until the first token")));
    }
    let mut served = format!(
        "{}, {} failed",
        number::count(provider.asked),
        number::count(provider.failed)
    );
    if provider.limited > 0 {
        let limited = number::count(provider.limited);
        served.push_str(&format!(", {limited} over a limit"));
    }
    facts.push(("served", served));
    if !provider.note.is_empty() {
        facts.push(("note", provider.note.clone()));
    }
    facts
}

/// `open for 8 s: 5 failures in a row`
fn model_words(model: &ModelNow) -> String {
    if model.state != "ready" {
        let mut words = model.state.clone();
        if let Some(left) = left(model) {
            words.push_str(&format!(" for {left}"));
        }
        if model.state == "open" && !model.reason.is_empty() {
            words.push_str(&format!(": {}", model.reason));
        }
        return words;
    }
    let mut words = format!("{} under way", model.under_way);
    if model.first_token > 0 {
        let time = number::duration(model.first_token);
        words.push_str(&format!(", first {time}"));
    }
    match model.share {
        // Its circuit has not closed, and nobody asked since it may.
        0 => words.push_str(", a probe is next"),
        1..100 => words.push_str(&format!(", {} % of its calls", model.share)),
        _ => {}
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_is_left_alone_tells_why_and_for_how_long() {
        let told = |state: &str, left_ms, reason: &str, share| {
            model_words(&ModelNow {
                state: state.to_owned(),
                left_ms,
                reason: reason.to_owned(),
                share,
                first_token: 210_000,
                ..ModelNow::default()
            })
        };
        let reason = "5 failures in a row";
        let cases = [
            (
                told("open", 8_000, reason, 0),
                "open for 8 s: 5 failures in a row",
            ),
            (told("cooling", 300, reason, 100), "cooling for 1 s"),
            (told("refused", 0, "", 100), "refused"),
            (
                told("ready", 0, reason, 0),
                "0 under way, first 210 ms, a probe is next",
            ),
            (
                told("ready", 0, reason, 64),
                "0 under way, first 210 ms, 64 % of its calls",
            ),
            (told("ready", 0, "", 100), "0 under way, first 210 ms"),
        ];
        for (told, expected) in cases {
            assert_eq!(told, expected);
        }
    }

    #[test]
    fn the_worst_of_a_provider_and_who_waits_stand_in_its_line() {
        let model = |state: &str, left_ms| ModelNow {
            state: state.to_owned(),
            left_ms,
            ..ModelNow::default()
        };
        let mut provider = ProviderNow {
            state: "cooling".to_owned(),
            waiting: 3,
            models: vec![model("ready", 0), model("cooling", 27_000)],
            address: "https://api.example.com:8443/v1".to_owned(),
            ..ProviderNow::default()
        };
        assert_eq!(state_words(&provider), "cooling 27 s, 3 wait");
        assert_eq!(host(&provider), "api.example.com:8443");
        provider.state = "no key".to_owned();
        assert_eq!(state_words(&provider), "no key, 3 wait");
        assert_eq!(state(&provider), PeerState::Unhealthy);
    }
}
