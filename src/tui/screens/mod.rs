//! The screens: one file each, all of them views.

pub mod alerts;
pub mod backends;
pub mod cache;
pub mod certificates;
pub mod config;
pub mod keys;
pub mod llm;
pub mod logs;
pub mod overview;
mod providers;
pub mod routes;

use std::path::Path;

use ratatui::layout::Rect;

use super::model::{Loaded, Model};
use super::number;
use super::paint::Painter;
use super::theme::Role;
use super::view::{Screen, View};
use super::widgets::table::render_empty;

/// From this width on a screen shows the details beside its table.
const WIDE: u16 = 100;

/// All screens with what each keeps.
#[derive(Debug, Default)]
pub struct Screens {
    overview: overview::Overview,
    routes: routes::RoutesScreen,
    backends: backends::Backends,
    certificates: certificates::CertificatesScreen,
    logs: logs::Logs,
    config: config::ConfigScreen,
    cache: cache::CacheScreen,
    llm: llm::LlmScreen,
    keys: keys::KeysScreen,
    alerts: alerts::AlertsScreen,
}

impl Screens {
    /// A screen.
    pub fn view(&self, screen: Screen) -> &dyn View {
        match screen {
            Screen::Overview => &self.overview,
            Screen::Routes => &self.routes,
            Screen::Backends => &self.backends,
            Screen::Certificates => &self.certificates,
            Screen::Logs => &self.logs,
            Screen::Config => &self.config,
            Screen::Cache => &self.cache,
            Screen::Llm => &self.llm,
            Screen::Keys => &self.keys,
            Screen::Alerts => &self.alerts,
        }
    }

    /// A screen, to be changed.
    pub fn view_mut(&mut self, screen: Screen) -> &mut dyn View {
        match screen {
            Screen::Overview => &mut self.overview,
            Screen::Routes => &mut self.routes,
            Screen::Backends => &mut self.backends,
            Screen::Certificates => &mut self.certificates,
            Screen::Logs => &mut self.logs,
            Screen::Config => &mut self.config,
            Screen::Cache => &mut self.cache,
            Screen::Llm => &mut self.llm,
            Screen::Keys => &mut self.keys,
            Screen::Alerts => &mut self.alerts,
        }
    }

    /// The rows that a screen shows, for a file.
    pub fn shown_text(&self, screen: Screen, model: &Model) -> Option<String> {
        match screen {
            Screen::Logs => Some(self.logs.shown_text(model)),
            _ => None,
        }
    }
}

/// Says what there is to say of something that has no rows to show: that it is being read, that it
/// could not be, or `empty`.
fn render_state<T>(
    painter: &mut Painter<'_>,
    area: Rect,
    loaded: &Loaded<T>,
    model: &Model,
    empty: &str,
) {
    match (&loaded.value, &loaded.error) {
        (_, Some((why, since))) => {
            let age = number::age(model.now.saturating_sub(*since));
            let text = format!("could not be read since {age}: {why} (r tries again)");
            render_empty(painter, area, &text);
        }
        (None, None) => {
            painter.put(
                area.x,
                area.y,
                area.width,
                painter.glyphs().cut,
                Role::Muted,
            );
        }
        (Some(_), None) => render_empty(painter, area, empty),
    }
}

/// A file's path, short: from the directory of the main file on.
fn short_path<'p>(model: &Model, path: &'p str) -> &'p str {
    let directory = model
        .status
        .as_ref()
        .and_then(|status| Path::new(&status.conf).parent())
        .and_then(Path::to_str)
        .filter(|directory| !directory.is_empty());
    directory
        .and_then(|directory| path.strip_prefix(directory))
        .map_or(path, |rest| rest.trim_start_matches('/'))
}

/// How a share of 5xx looks.
fn error_role(errors: u64, all: u64) -> Role {
    match (errors, all) {
        (0, _) => Role::Text,
        (errors, all) if errors * 100 >= all => Role::Bad,
        _ => Role::Warn,
    }
}
