//! The dashboard: what the proxy does now, on a terminal, as a client of the control protocol.
//!
//! Owns what is shown and which keys do what; nothing that the daemon needs. The daemon runs the same
//! without it.
//!
//! # How it is cut
//!
//! [`view::View`] is the seam. A screen or an overlay is a struct that keeps its own state, turns an
//! [`view::Input`] into [`view::Effect`]s and draws itself with a [`paint::Painter`]. It does no
//! I/O. What it knows about the proxy is the [`model::Model`]. An effect is plain data: a call to the
//! daemon, an editor, a copy, a notice, another overlay. The answer to an effect comes back as an
//! input to the view that wanted it, as long as it is open.
//!
//! Keys are bound only in the table [`keymap::TABLE`]: a view names its [`keymap::Context`], and what
//! the table binds there comes as [`view::Input::Action`]. What it does not bind comes as
//! [`view::Input::Key`], which is how letters reach a [`widgets::line::Line`].
//!
//! What belongs to changing the configuration is in `edit`: `edit::on_route(action, route, model)`
//! gives the effects of the keys that change a route ([`keymap::Action::Add`], `Edit`, `EditText`,
//! `Delete`, `MoveUp`, `MoveDown`), `edit::undo(model)` and `edit::redo(model)` those of `u` and
//! `C-r`. [`view::Effect::Suspend`] runs `$EDITOR` ([`editor`]).
//!
//! Text reaches the screen only through the painter, which escapes and cuts it.

mod agree;
pub mod app;
mod banned;
pub mod cached;
mod command;
pub mod edit;
pub mod editor;
pub mod explain;
pub mod glyphs;
pub mod key_form;
pub mod key_secret;
pub mod keymap;
pub mod link;
pub mod model;
pub mod number;
pub mod paint;
pub mod run;
pub mod screens;
pub mod terminal;
pub mod text;
pub mod theme;
pub mod view;
mod why;
pub mod widgets;

pub use edit::offline::Offline;
pub use run::{Choice, Error, Options, run};

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;
