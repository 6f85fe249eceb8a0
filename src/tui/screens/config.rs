//! The configuration: its files as they are.

use ratatui::layout::Rect;

use super::super::keymap::{Action, Context};
use super::super::model::Model;
use super::super::paint::Painter;
use super::super::theme::Role;
use super::super::view::{Effect, Input, View};
use super::super::widgets::table::Table;
use super::{render_state, short_path};

/// The screen.
#[derive(Debug, Default)]
pub struct ConfigScreen {
    files: Table,
}

impl View for ConfigScreen {
    fn context(&self) -> Context {
        Context::Config
    }

    fn input(&mut self, input: &Input, model: &Model) -> Vec<Effect> {
        let texts = model.config.value.as_deref();
        if *input == Input::Action(Action::Copy)
            && let Some(file) = texts.and_then(|texts| texts.files.get(self.files.selected))
        {
            return vec![Effect::Copy(file.text.clone())];
        }
        self.files.input(input, 0);
        Vec::new()
    }

    fn render(&mut self, painter: &mut Painter<'_>, area: Rect, model: &Model) {
        let inside = painter.frame(area, "Files", "", true);
        let files = model
            .config
            .value
            .as_ref()
            .map_or(&[][..], |texts| &texts.files);
        self.files.set_rows(files.len());
        if files.is_empty() {
            return render_state(painter, inside, &model.config, model, "no files");
        }
        let columns = [super::super::widgets::table::Column::text("FILE", 20, 1, 0)];
        self.files
            .render(painter, inside, 0, &columns, None, |row| {
                vec![(short_path(model, &files[row].path).to_owned(), Role::Text)]
            });
    }
}
