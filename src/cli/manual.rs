//! `openclaw man`: the manual page, made from the same tables as the help.

use std::io;

use clap::Args as _;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

use super::args::{USAGE, WORDS_AMONG_OPTIONS, command};
use super::exit::Exit;
use super::words::Daemon;

/// The whole page in the language of man(7).
pub fn page() -> io::Result<Vec<u8>> {
    let command = command();
    let man = Man::new(command.clone())
        .section("8")
        .source(concat!("openclaw ", env!("CARGO_PKG_VERSION")))
        .manual("OpenClaw");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;

    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]);
    roff.control("nf", []);
    for line in USAGE.lines() {
        roff.text([roman(line.get("Usage: ".len()..).unwrap_or_default())]);
    }
    roff.control("fi", []);
    roff.control("SH", ["DESCRIPTION"]);
    roff.text([roman(
        "A reverse proxy for a few sites that reads configuration files of nginx. Without a word \
         it serves; the words ask the daemon that runs, over its control socket.",
    )]);
    roff.control("SH", ["OPTIONS"]);
    options(&command, &[], &mut roff);
    roff.control("SH", ["WORDS"]);
    roff.text([roman(
        "Every word that asks the daemon takes these options:",
    )]);
    let of_all = Daemon::augment_args(clap::Command::new("openclaw"));
    options(&of_all, &[], &mut roff);
    for word in command.get_subcommands() {
        word_section(word, "openclaw", &of_all, &mut roff);
    }
    roff.control("SH", ["EXIT STATUS"]);
    roff.text([roman(
        "Of the words. Options of nginx end as in nginx, and with 2 where --strict forbids warnings.",
    )]);
    for (exit, meaning) in Exit::ALL {
        entry(&mut roff, &exit.code().to_string(), meaning);
    }
    roff.control("SH", ["ENVIRONMENT"]);
    entry(
        &mut roff,
        "OPENCLAW_SOCKET",
        "the control socket, unless --socket names one",
    );
    entry(&mut roff, "VISUAL, EDITOR", "the editor of `config edit`");
    entry(&mut roff, "NO_COLOR", "if set and not empty, no colour");
    roff.control("SH", ["FILES"]);
    entry(
        &mut roff,
        "/etc/openclaw/openclaw.conf",
        "the configuration",
    );
    entry(
        &mut roff,
        "/run/openclaw/control.sock",
        "the control socket",
    );
    entry(&mut roff, "/var/lib/openclaw", "the daemon's memory");
    roff.control("SH", ["SEE ALSO"]);
    roff.text([
        bold("nginx"),
        roman("(8); `openclaw help DIRECTIVE` explains a directive."),
    ]);
    roff.to_writer(&mut page)?;
    Ok(page)
}

/// A word, what it is for, its arguments, and the words behind it. What was told of all is left out.
fn word_section(word: &clap::Command, before: &str, told: &clap::Command, roff: &mut Roff) {
    let name = format!("{before} {}", word.get_name());
    let mut heading = name.clone();
    for argument in word.get_positionals() {
        let values = value_names(argument);
        heading.push_str(&match argument.is_required_set() {
            true => format!(" {values}"),
            false => format!(" [{values}]"),
        });
    }
    roff.control("SS", [heading.as_str()]);
    if let Some(about) = word.get_about() {
        roff.text([roman(about.to_string())]);
    }
    // The options of `check` and `dashboard` stand above.
    if !WORDS_AMONG_OPTIONS
        .iter()
        .any(|(it, _)| *it == word.get_name())
    {
        let told: Vec<_> = told.get_arguments().map(clap::Arg::get_id).collect();
        options(word, &told, roff);
    }
    for word in word.get_subcommands() {
        word_section(word, &name, told, roff);
    }
}

/// The options of a command but for these.
fn options(command: &clap::Command, told: &[&clap::Id], roff: &mut Roff) {
    let options = command.get_arguments();
    for option in options.filter(|it| !it.is_positional() && !told.contains(&it.get_id())) {
        let mut names = Vec::new();
        names.extend(option.get_short().map(|letter| format!("-{letter}")));
        names.extend(option.get_long().map(|long| format!("--{long}")));
        let mut line = vec![bold(names.join(", "))];
        if option.get_action().takes_values() {
            line.extend([roman(" "), italic(value_names(option))]);
        }
        roff.control("TP", []);
        roff.text(line);
        let help = option.get_help().map(ToString::to_string);
        roff.text([roman(help.unwrap_or_default())]);
    }
}

fn value_names(argument: &clap::Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    names
        .iter()
        .map(|it| it.as_str())
        .collect::<Vec<_>>()
        .join(" ")
}

fn entry(roff: &mut Roff, name: &str, text: &str) {
    roff.control("TP", []);
    roff.text([bold(name)]);
    roff.text([roman(text)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_option_and_every_word() {
        let page = String::from_utf8(page().expect("memory")).expect("UTF-8");
        let plain = page
            .replace("\\-", "-")
            .replace("\\fR", "")
            .replace("\\fB", "");
        for row in super::super::args::OPTIONS {
            for name in row.letters.iter().map(|it| format!("-{it}")) {
                assert!(name == "-?" || plain.contains(&name), "{name}");
            }
            if let Some(long) = row.long {
                assert!(plain.contains(&format!("--{long}")), "{long}");
            }
        }
        for heading in [
            "openclaw status",
            "openclaw backends weight UPSTREAM PEER N",
            "openclaw config revert ID",
        ] {
            assert!(plain.contains(heading), "{heading}");
        }
    }
}
