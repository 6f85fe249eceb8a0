//! What is typed behind `:`, and how it is completed.

use std::path::PathBuf;

use super::keymap::Action;
use super::model::Model;
use super::theme::{THEMES, Theme};
use super::view::{Screen, Window};

/// A command.
#[derive(Clone, PartialEq, Debug)]
pub enum Command {
    /// Shows a screen.
    Go(Screen),
    /// Shows only rows with a text.
    Filter(String),
    /// How far back curves go.
    Window(Window),
    /// Other colours.
    Theme(Theme),
    /// Puts the files into force as they are.
    Reload,
    /// A key of a screen.
    Act(Screen, Action),
    /// Writes what the screen shows into a file.
    Write(PathBuf),
    /// Leaves.
    Quit,
}

/// Words and what may stand behind them.
const WORDS: [(&str, &[&str]); 18] = [
    ("overview", &[]),
    ("routes", &[]),
    ("backends", &[]),
    ("certificates", &[]),
    ("logs", &[]),
    ("config", &[]),
    ("cache", &[]),
    ("llm", &[]),
    ("keys", &[]),
    ("alerts", &[]),
    ("filter", &[]),
    ("window", &["5m", "1h", "1d"]),
    (
        "theme",
        &[
            THEMES[0].name,
            THEMES[1].name,
            THEMES[2].name,
            THEMES[3].name,
        ],
    ),
    ("reload", &[]),
    ("validate", &[]),
    ("drain", &[]),
    ("write", &[]),
    ("quit", &[]),
];

/// Reads a command; why it is none.
pub fn parse(text: &str, model: &Model) -> Result<Command, String> {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let rest = rest.trim();
    let changes = matches!(word, "reload" | "drain");
    if changes && model.is_read_only {
        return Err(format!("`{word}` changes something: this is --read-only"));
    }
    let screen = Screen::ALL
        .into_iter()
        .find(|screen| screen.name().eq_ignore_ascii_case(word));
    if let Some(screen) = screen {
        return Ok(Command::Go(screen));
    }
    match word {
        "filter" => Ok(Command::Filter(rest.to_owned())),
        "window" => Window::ALL
            .into_iter()
            .find(|window| window.word() == rest)
            .map(Command::Window)
            .ok_or_else(|| "`window` wants one of 5m, 1h, 1d".to_owned()),
        "theme" => Theme::named(rest).map(Command::Theme).ok_or_else(|| {
            let names: Vec<_> = THEMES.iter().map(|theme| theme.name).collect();
            format!("`theme` wants one of {}", names.join(", "))
        }),
        "reload" => Ok(Command::Reload),
        "validate" => Ok(Command::Act(Screen::Config, Action::Validate)),
        "drain" => Ok(Command::Act(Screen::Backends, Action::Drain)),
        "write" if rest.is_empty() => Err("`write` wants a file name".to_owned()),
        "write" => Ok(Command::Write(PathBuf::from(rest))),
        "quit" | "q" => Ok(Command::Quit),
        word => Err(format!("unknown command `{word}` (Tab shows them)")),
    }
}

/// The text with its last word completed as far as that is clear; else what there is to choose from.
pub fn complete(text: &str) -> Result<String, String> {
    let (start, word, choices): (_, _, Vec<&str>) = match text.split_once(' ') {
        None => ("", text, WORDS.iter().map(|(word, _)| *word).collect()),
        Some((first, rest)) => {
            let row = WORDS.iter().find(|(word, _)| *word == first);
            let choices = row.map_or(&[][..], |(_, choices)| choices);
            (first, rest.trim_start(), choices.to_vec())
        }
    };
    let fitting: Vec<&str> = choices
        .into_iter()
        .filter(|choice| choice.starts_with(word))
        .collect();
    let Some(first) = fitting.first() else {
        return Err("nothing starts like this".to_owned());
    };
    let common = fitting.iter().fold(first.len(), |length, choice| {
        let same = first.bytes().zip(choice.bytes());
        length.min(same.take_while(|(a, b)| a == b).count())
    });
    let completed = &first[..common];
    let gap = if start.is_empty() { "" } else { " " };
    if fitting.len() == 1 {
        let has_more = start.is_empty()
            && WORDS.iter().any(|(word, choices)| {
                *word == completed && (!choices.is_empty() || matches!(*word, "filter" | "write"))
            });
        let end = if has_more { " " } else { "" };
        Ok(format!("{start}{gap}{completed}{end}"))
    } else if completed.len() > word.len() {
        Ok(format!("{start}{gap}{completed}"))
    } else {
        Err(fitting.join("  "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;

    #[test]
    fn every_word_is_a_command() {
        let model = Model::new(TimeZone::UTC, 0);
        for (word, choices) in WORDS {
            let text = match (word, choices.first()) {
                (word, Some(choice)) => format!("{word} {choice}"),
                ("write", None) => "write x".to_owned(),
                (word, None) => word.to_owned(),
            };
            parse(&text, &model).expect(&text);
        }
        parse("windows", &model).expect_err("no such word");
    }

    #[test]
    fn a_word_is_completed_as_far_as_it_is_clear() {
        assert_eq!(complete("the"), Ok("theme ".to_owned()));
        assert_eq!(
            complete("theme de"),
            Err("default  deuteranopia".to_owned())
        );
        assert_eq!(complete("theme deu"), Ok("theme deuteranopia".to_owned()));
        assert_eq!(complete("ro"), Ok("routes".to_owned()));
        assert_eq!(complete("w"), Err("window  write".to_owned()));
        assert!(complete("zz").is_err());
    }

    #[test]
    fn what_changes_something_is_refused_when_it_must_not() {
        let mut model = Model::new(TimeZone::UTC, 0);
        model.is_read_only = true;
        assert!(parse("reload", &model).is_err());
        assert_eq!(parse("quit", &model), Ok(Command::Quit));
    }
}
