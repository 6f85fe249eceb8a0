//! Changing the configuration: forms, reviews, the editor.
//!
//! Owns what a person changes until it is a [`crate::protocol::Change`]; the daemon checks that again
//! and puts it into force. Every change is a [`session::Session`].

pub mod buttons;
pub mod form;
mod form_view;
mod history;
pub mod offline;
mod preview;
mod removal;
mod review;
pub mod session;
mod site_view;
mod texts;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use super::keymap::Action;
use super::model::Model;
use super::number;
use super::view::{Effect, Notice};
use crate::conf::address::Address;
use crate::protocol::{Route, Upstream};
pub use review::difference;
use session::{Session, Wish};

/// What a key that changes a route does. Only [`Action::Add`] needs none.
pub fn on_route(action: Action, route: Option<&Route>, model: &Model) -> Vec<Effect> {
    if action == Action::Add {
        return Session::open(Wish::Add, "Add a site");
    }
    let Some(route) = route else {
        return Vec::new();
    };
    let title = title(route);
    let address = match route.address.is_empty() {
        true => &route.server_address,
        false => &route.address,
    };
    if action == Action::EditText {
        return Session::open(Wish::Text(PathBuf::from(&route.file), route.line), title);
    }
    let Ok(address) = Address::parse(address) else {
        return vec![Notice::bad(
            "the daemon does not say where the route is written",
        )];
    };
    let wish = match action {
        Action::Edit => Wish::Edit(address),
        Action::Delete => Wish::Remove(address, traffic(route, model)),
        Action::MoveUp => Wish::Move(address, true),
        Action::MoveDown => Wish::Move(address, false),
        _ => return Vec::new(),
    };
    Session::open(wish, title)
}

/// Edits an upstream: its peers are lines of its form.
pub fn on_upstream(upstream: &Upstream) -> Vec<Effect> {
    match Address::parse(&upstream.conf_address) {
        Ok(address) if !upstream.conf_address.is_empty() => {
            Session::open(Wish::Edit(address), format!("upstream {}", upstream.name))
        }
        _ => vec![Notice::plain(
            "its address stands in a `proxy_pass`: edit the route",
        )],
    }
}

/// Looks at the files as they are, and offers to put them into force if they are not.
pub fn validate() -> Vec<Effect> {
    Session::open(Wish::Files, "the files as they are")
}

/// Opens the main file in an editor.
pub fn main_file() -> Vec<Effect> {
    Session::open(Wish::MainText, "the main file")
}

/// Goes back to the texts of a revision, after the difference was shown.
pub fn revert(revision: u64) -> Vec<Effect> {
    Session::open(
        Wish::Revert(revision),
        format!("back to revision {revision}"),
    )
}

/// Takes the last change of this person back, after it was shown.
pub fn undo(model: &Model) -> Vec<Effect> {
    undo_or_redo(model, false)
}

/// Takes the last undo of this person back, after it was shown.
pub fn redo(model: &Model) -> Vec<Effect> {
    undo_or_redo(model, true)
}

fn undo_or_redo(model: &Model, is_redo: bool) -> Vec<Effect> {
    if model.is_read_only {
        return Vec::new();
    }
    let title = if is_redo { "Redo" } else { "Undo" };
    let person = person();
    Session::open(Wish::Undo { person, is_redo }, title)
}

/// The name of the user of this process, as the daemon tells it of a client.
fn person() -> String {
    let user = nix::unistd::geteuid();
    match nix::unistd::User::from_uid(user) {
        Ok(Some(user)) => user.name,
        _ => user.to_string(),
    }
}

/// `example.org /api/`
fn title(route: &Route) -> String {
    let server = match route.server.is_empty() {
        true => route.listens.first().map_or("", String::as_str),
        false => &route.server,
    };
    format!("{server} {}", route.location).trim().to_owned()
}

/// What happens on a route now.
fn traffic(route: &Route, model: &Model) -> Vec<String> {
    let live = model.live();
    let Some(numbers) = live.routes.get(&route.id) else {
        return Vec::new();
    };
    vec![format!(
        "serves {} req/s now, {} requests since the start",
        number::rate(numbers.traffic.rate),
        number::count(numbers.total)
    )]
}
