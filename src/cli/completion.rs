//! `openclaw completions`: what a shell needs to complete our command lines.

use clap_complete::{Shell as Kind, generate};

use super::args::command;
use super::words::Shell;

/// The script for a shell.
pub fn script(shell: Shell) -> String {
    let kind = match shell {
        Shell::Bash => Kind::Bash,
        Shell::Zsh => Kind::Zsh,
        Shell::Fish => Kind::Fish,
    };
    let mut script = Vec::new();
    generate(kind, &mut command(), "openclaw", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_knows_the_words_and_the_options() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = script(shell);
            for text in [
                "status",
                "backends",
                "drain",
                "read-only",
                "braille",
                "history",
            ] {
                assert!(script.contains(text), "{shell:?} {text}");
            }
        }
    }
}
