//! Colours by role. Colour is only ever the second sign: everything is readable without.
//!
//! The background is never painted. Without colour no style here carries one, so that no such
//! sequence reaches the terminal; what is selected is then told by `>` and reverse video.

use ratatui::style::{Color, Modifier, Style};

/// What a piece of the screen is, as far as its look is concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Role {
    /// Plain text.
    #[default]
    Text,
    /// In order.
    Ok,
    /// Look at it.
    Warn,
    /// Broken.
    Bad,
    /// Names, keys, what is active.
    Accent,
    /// Frames, hints, what matters less.
    Muted,
    /// Titles and heads of columns.
    Title,
    /// The row or field with the focus.
    Selection,
}

/// How roles look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Theme {
    /// Its name, for `:theme`.
    pub name: &'static str,
    ok: Color,
    warn: Color,
    bad: Color,
    accent: Color,
    muted: Color,
    is_bold: bool,
    has_colour: bool,
}

/// The themes, the default first. The first uses the terminal's own 16 colours.
pub const THEMES: [Theme; 4] = [
    Theme {
        name: "default",
        ok: Color::Green,
        warn: Color::Yellow,
        bad: Color::Red,
        accent: Color::Cyan,
        muted: Color::DarkGray,
        is_bold: false,
        has_colour: true,
    },
    Theme {
        name: "light",
        ok: Color::Indexed(28),
        warn: Color::Indexed(130),
        bad: Color::Indexed(124),
        accent: Color::Indexed(25),
        muted: Color::Indexed(242),
        is_bold: false,
        has_colour: true,
    },
    Theme {
        name: "high-contrast",
        ok: Color::LightGreen,
        warn: Color::LightYellow,
        bad: Color::LightRed,
        accent: Color::LightCyan,
        muted: Color::Reset,
        is_bold: true,
        has_colour: true,
    },
    // Blue, yellow and orange differ for people who do not tell red from green.
    Theme {
        name: "deuteranopia",
        ok: Color::Indexed(33),
        warn: Color::Indexed(220),
        bad: Color::Indexed(208),
        accent: Color::Indexed(117),
        muted: Color::Indexed(244),
        is_bold: false,
        has_colour: true,
    },
];

impl Theme {
    /// The theme of this name.
    pub fn named(name: &str) -> Option<Self> {
        THEMES.into_iter().find(|theme| theme.name == name)
    }

    /// The same without colour.
    pub fn without_colour(self) -> Self {
        Self {
            has_colour: false,
            ..self
        }
    }

    /// Does it use colour?
    pub fn has_colour(&self) -> bool {
        self.has_colour
    }

    /// How a role looks.
    pub fn style(&self, role: Role) -> Style {
        let colour = match role {
            Role::Text | Role::Title | Role::Selection => Color::Reset,
            Role::Ok => self.ok,
            Role::Warn => self.warn,
            Role::Bad => self.bad,
            Role::Accent => self.accent,
            Role::Muted => self.muted,
        };
        let mut style = Style::new();
        if self.has_colour && colour != Color::Reset {
            style = style.fg(colour);
        }
        match role {
            Role::Selection => style = style.add_modifier(Modifier::REVERSED),
            Role::Title => style = style.add_modifier(Modifier::BOLD),
            // Without colour this is what tells it from the rest, beside its glyph.
            Role::Bad if !self.has_colour => style = style.add_modifier(Modifier::BOLD),
            Role::Ok | Role::Warn | Role::Bad | Role::Accent if self.is_bold => {
                style = style.add_modifier(Modifier::BOLD);
            }
            _ => {}
        }
        style
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLES: [Role; 8] = [
        Role::Text,
        Role::Ok,
        Role::Warn,
        Role::Bad,
        Role::Accent,
        Role::Muted,
        Role::Title,
        Role::Selection,
    ];

    #[test]
    fn no_theme_paints_the_background_and_none_has_colour_when_it_must_not() {
        for theme in THEMES {
            for role in ROLES {
                assert_eq!(theme.style(role).bg, None, "{} {role:?}", theme.name);
                assert_eq!(theme.without_colour().style(role).fg, None);
            }
            assert_eq!(Theme::named(theme.name), Some(theme));
        }
        assert_eq!(Theme::named("pink"), None);
    }
}
