//! The letters that pictures are made of: braille, blocks, or ASCII for terminals with nothing else.

use crate::protocol::PeerState;

/// A set of letters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Glyphs {
    /// Its name, for `--glyphs`.
    pub name: &'static str,
    /// Frames: corners from the top left in the order of reading, then the lines.
    pub frame: Frame,
    /// Eight heights of a column, lowest first.
    pub heights: [&'static str; 8],
    /// Eight widths of a bar, narrowest first.
    pub widths: [&'static str; 8],
    /// What a bar leaves free.
    pub rest: &'static str,
    /// Ends a text that was cut.
    pub cut: &'static str,
    /// "Does not apply".
    pub none: &'static str,
    /// In order.
    pub up: &'static str,
    /// Between good and bad; old.
    pub half: &'static str,
    /// Finishes what it has.
    pub drain: &'static str,
    /// Does not work.
    pub down: &'static str,
    /// Taken out on purpose.
    pub off: &'static str,
    /// Gone.
    pub gone: &'static str,
    /// Better than before.
    pub better: &'static str,
    /// Something was changed.
    pub changed: &'static str,
    /// A choice opens here.
    pub choice: &'static str,
    /// From one to the other.
    pub arrow: &'static str,
    /// May letters beyond ASCII be shown?
    pub is_unicode: bool,
    /// Two columns and four rows of dots in one letter.
    pub is_braille: bool,
}

/// The letters of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Corner.
    pub top_left: &'static str,
    /// Corner.
    pub top_right: &'static str,
    /// Corner.
    pub bottom_left: &'static str,
    /// Corner.
    pub bottom_right: &'static str,
    /// Line.
    pub horizontal: &'static str,
    /// Line.
    pub vertical: &'static str,
}

/// Blocks: for terminals with UTF-8.
pub const BLOCK: Glyphs = Glyphs {
    name: "block",
    frame: Frame {
        top_left: "┌",
        top_right: "┐",
        bottom_left: "└",
        bottom_right: "┘",
        horizontal: "─",
        vertical: "│",
    },
    heights: ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"],
    widths: ["▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"],
    rest: "▒",
    cut: "…",
    none: "–",
    up: "●",
    half: "◐",
    drain: "◌",
    down: "▼",
    off: "○",
    gone: "✕",
    better: "▲",
    changed: "↻",
    choice: "▾",
    arrow: "→",
    is_unicode: true,
    is_braille: false,
};

/// As [`BLOCK`], with curves of dots, which have twice the columns.
pub const BRAILLE: Glyphs = Glyphs {
    name: "braille",
    is_braille: true,
    ..BLOCK
};

/// Nothing beyond ASCII.
pub const ASCII: Glyphs = Glyphs {
    name: "ascii",
    frame: Frame {
        top_left: "+",
        top_right: "+",
        bottom_left: "+",
        bottom_right: "+",
        horizontal: "-",
        vertical: "|",
    },
    heights: [".", ".", "-", "-", "=", "=", "#", "#"],
    widths: [".", ".", "-", "-", "=", "=", "#", "#"],
    rest: ".",
    cut: "~",
    none: "-",
    up: "*",
    half: "%",
    drain: "o",
    down: "v",
    off: "-",
    gone: "x",
    better: "^",
    changed: "@",
    choice: "v",
    arrow: "->",
    is_unicode: false,
    is_braille: false,
};

/// All sets.
pub const SETS: [Glyphs; 3] = [BLOCK, BRAILLE, ASCII];

impl Glyphs {
    /// The set of this name.
    pub fn named(name: &str) -> Option<Self> {
        SETS.into_iter().find(|set| set.name == name)
    }

    /// What a terminal with these variables of the environment can show: the first of `LC_ALL`,
    /// `LC_CTYPE` and `LANG` that is not empty, and `TERM`.
    pub fn suited(locale: &str, term: &str) -> Self {
        let locale = locale.to_ascii_lowercase();
        let is_utf8 = locale.contains("utf-8") || locale.contains("utf8");
        match term {
            "linux" | "dumb" | "vt100" | "vt220" => ASCII,
            _ if is_utf8 => BLOCK,
            _ => ASCII,
        }
    }

    /// The sign of a peer's state.
    pub fn peer(&self, state: PeerState) -> &'static str {
        match state {
            PeerState::Up => self.up,
            PeerState::Drain => self.drain,
            PeerState::Checking => self.drain,
            PeerState::Failed
            | PeerState::Unhealthy
            | PeerState::Ejected
            | PeerState::Unresolved => self.down,
            PeerState::Down => self.off,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_what_it_can_show() {
        assert_eq!(Glyphs::suited("de_DE.UTF-8", "xterm"), BLOCK);
        assert_eq!(Glyphs::suited("C", "xterm"), ASCII);
        assert_eq!(Glyphs::suited("C.utf8", "linux"), ASCII);
        assert_eq!(Glyphs::suited("", "xterm"), ASCII);
    }

    #[test]
    fn every_set_is_found_by_its_name() {
        for set in SETS {
            assert_eq!(Glyphs::named(set.name), Some(set));
        }
        assert_eq!(Glyphs::named("emoji"), None);
    }
}
