//! The command line: nginx's options in nginx's own syntax, and words for what nginx has not.
//!
//! Owns what is written, not what it means: no file is looked at here. nginx's options are read as
//! `ngx_get_options` reads them (a value in the same word or in the next one, options without value
//! in one word), so that service files and scripts made for it work unchanged.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use clap::Parser as _;

use crate::conf::check::closest;

/// What the program is asked to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Invocation {
    /// Serve, test, signal or say the version.
    Server(Options),
    /// One of the words that have a syntax of their own.
    Word(Word),
}

/// nginx's options and those that go with them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// `-?`, `-h`, `--help`
    pub help: bool,
    /// `-v`, `--version`; also set by the options that show more.
    pub version: bool,
    /// `-V`
    pub configure_arguments: bool,
    /// `-t`, `-T`, the word `check`
    pub test: bool,
    /// `-T`
    pub dump: bool,
    /// `-q`
    pub quiet: bool,
    /// `--strict`: warnings fail the test too.
    pub strict: bool,
    /// `--json`, `--format=json`
    pub json: bool,
    /// `--daemon`: serve without a screen and stay in the foreground.
    pub headless: bool,
    /// `-p DIRECTORY`
    pub prefix: Option<PathBuf>,
    /// `-c FILE`
    pub conf: Option<PathBuf>,
    /// `-e FILE`
    pub error_log: Option<PathBuf>,
    /// `-g DIRECTIVES`
    pub globals: Option<String>,
    /// `-s SIGNAL`
    pub signal: Option<Order>,
}

/// What `-s` tells the running process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// End at once.
    Stop,
    /// Finish what runs, then end.
    Quit,
    /// Take the new configuration.
    Reload,
    /// Open the log files anew.
    Reopen,
}

/// Words that stand first on the command line.
#[derive(clap::Parser, Clone, PartialEq, Eq, Debug)]
#[command(
    name = "openclaw",
    disable_help_subcommand = true,
    disable_version_flag = true
)]
pub enum Word {
    /// Write configuration files in the one common form
    Fmt {
        /// Change nothing, fail if a file would change
        #[arg(long)]
        check: bool,
        /// The files; `-` reads standard input and writes standard output
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Say what a directive is for and how it is written
    Help {
        /// Its name
        directive: Option<String>,
    },
    /// Say what a problem code means, with an example
    Explain {
        /// The code, such as OC-E030
        code: String,
    },
}

/// A command line that makes no sense.
#[derive(Debug)]
pub enum UsageError {
    /// Told in nginx's words.
    Option {
        /// What is wrong.
        message: String,
        /// What was probably meant.
        hint: Option<String>,
    },
    /// Told by the parser of words; also its help.
    Word(clap::Error),
}

impl fmt::Display for UsageError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Option { message, hint } => {
                write!(formatter, "openclaw: {message}")?;
                if let Some(hint) = hint {
                    write!(formatter, "\nhint: {hint}")?;
                }
                Ok(())
            }
            Self::Word(error) => write!(formatter, "{error}"),
        }
    }
}

impl std::error::Error for UsageError {}

/// Reads the arguments that follow the program's name.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation, UsageError> {
    let mut arguments = arguments.into_iter().peekable();
    let is_word = arguments
        .peek()
        .is_some_and(|first| WORDS.iter().any(|word| first == OsStr::new(word)));
    if is_word {
        let program = [OsString::from("openclaw")];
        return Word::try_parse_from(program.into_iter().chain(arguments))
            .map(Invocation::Word)
            .map_err(UsageError::Word);
    }
    let mut options = Options::default();
    while let Some(argument) = arguments.next() {
        let bytes = argument.as_bytes();
        if bytes == b"check" {
            options.test = true;
        } else if let Some(long) = bytes.strip_prefix(b"--") {
            options.take_long(long, &argument, &mut arguments)?;
        } else if let Some(cluster) = bytes.strip_prefix(b"-") {
            options.take_cluster(cluster, &mut arguments)?;
        } else {
            return Err(invalid(&argument));
        }
    }
    Ok(Invocation::Server(options))
}

/// The text of `-h` behind the version.
pub const HELP: &str = "\
Usage: openclaw [-?hvVtTq] [-s signal] [-c filename] [-p prefix]
                [-e filename] [-g directives] [--daemon] [--strict] [--json]
       openclaw check [options as with -t]
       openclaw fmt [--check] FILE...
       openclaw help [DIRECTIVE]
       openclaw explain CODE

Options:
  -?,-h         : this help
  -v            : show version and exit
  -V            : show version and what is built in then exit
  -t            : test configuration and exit
  -T            : test configuration, dump it and exit
  -q            : suppress non-error messages during configuration testing
  -s signal     : send signal to the running process: stop, quit, reopen, reload
  -p prefix     : set prefix path (default: the directory of the configuration)
  -e filename   : set error log file (default: /var/log/openclaw/error.log,
                  with -p logs/error.log)
  -c filename   : set configuration file (default: /etc/openclaw/openclaw.conf,
                  then ~/.config/openclaw/openclaw.conf)
  -g directives : set global directives out of configuration file
  --daemon      : stay in the foreground, whatever the configuration says
  --strict      : with -t, fail on warnings too
  --json        : with -t, print problems as JSON; also --format=json

Words:
  check         : the same as -t
  fmt           : write configuration files in the one common form
  help          : say what a directive is for and how it is written
  explain       : say what a problem code means

";

const WORDS: &[&str] = &["fmt", "help", "explain"];

const LONG: &[&str] = &[
    "--help",
    "--version",
    "--strict",
    "--json",
    "--format=json",
    "--daemon",
];

const ORDERS: &[(&str, Order)] = &[
    ("stop", Order::Stop),
    ("quit", Order::Quit),
    ("reload", Order::Reload),
    ("reopen", Order::Reopen),
];

impl Options {
    fn take_cluster(
        &mut self,
        cluster: &[u8],
        following: &mut impl Iterator<Item = OsString>,
    ) -> Result<(), UsageError> {
        for (position, &letter) in cluster.iter().enumerate() {
            let rest = &cluster[position + 1..];
            let mut value = |what: &str| match rest {
                [] => following.next().ok_or_else(|| UsageError::Option {
                    message: format!("option \"-{}\" requires {what}", char::from(letter)),
                    hint: None,
                }),
                rest => Ok(OsString::from_vec(rest.to_vec())),
            };
            match letter {
                b'?' | b'h' => {
                    self.version = true;
                    self.help = true;
                }
                b'v' => self.version = true,
                b'V' => {
                    self.version = true;
                    self.configure_arguments = true;
                }
                b't' => self.test = true,
                b'T' => {
                    self.test = true;
                    self.dump = true;
                }
                b'q' => self.quiet = true,
                b'p' => {
                    self.prefix = Some(value("directory name")?.into());
                    return Ok(());
                }
                b'c' => {
                    self.conf = Some(value("file name")?.into());
                    return Ok(());
                }
                b'e' => {
                    self.error_log = Some(value("file name")?.into());
                    return Ok(());
                }
                b'g' => {
                    let text = value("parameter")?.into_string();
                    self.globals = Some(text.map_err(|_| UsageError::Option {
                        message: "the directives of \"-g\" are not UTF-8".to_owned(),
                        hint: None,
                    })?);
                    return Ok(());
                }
                b's' => {
                    let name = value("parameter")?;
                    let order = ORDERS.iter().find(|(order, _)| name == OsStr::new(order));
                    let Some(&(_, order)) = order else {
                        return Err(invalid_order(&name));
                    };
                    self.signal = Some(order);
                    return Ok(());
                }
                _ => return Err(invalid_letter(letter, cluster)),
            }
        }
        Ok(())
    }

    fn take_long(
        &mut self,
        name: &[u8],
        argument: &OsStr,
        following: &mut impl Iterator<Item = OsString>,
    ) -> Result<(), UsageError> {
        match name {
            b"help" => {
                self.version = true;
                self.help = true;
            }
            b"version" => self.version = true,
            b"strict" => self.strict = true,
            b"json" | b"format=json" => self.json = true,
            b"format=text" => self.json = false,
            b"format" => match following.next() {
                Some(format) if format == OsStr::new("json") => self.json = true,
                Some(format) if format == OsStr::new("text") => self.json = false,
                _ => {
                    return Err(UsageError::Option {
                        message: "option \"--format\" requires `json` or `text`".to_owned(),
                        hint: None,
                    });
                }
            },
            b"daemon" => self.headless = true,
            _ => return Err(invalid(argument)),
        }
        Ok(())
    }
}

fn invalid(argument: &OsStr) -> UsageError {
    let text = argument.to_string_lossy();
    let order = ORDERS.iter().map(|(order, _)| *order);
    let hint = if text.starts_with('-') {
        closest(&text, LONG.iter().copied()).map(|near| format!("did you mean `{near}`?"))
    } else if let Some(order) = closest(&text, order) {
        Some(format!("did you mean `-s {order}`?"))
    } else {
        closest(&text, WORDS.iter().copied().chain(["check"]))
            .map(|near| format!("did you mean `{near}`?"))
            .or_else(|| {
                let is_conf = text.ends_with(".conf");
                is_conf.then(|| format!("a configuration file is named by `-c {text}`"))
            })
    };
    UsageError::Option {
        message: format!("invalid option: \"{text}\""),
        hint: Some(hint.unwrap_or_else(|| "`openclaw -h` lists the options".to_owned())),
    }
}

fn invalid_letter(letter: u8, cluster: &[u8]) -> UsageError {
    let word = String::from_utf8_lossy(cluster);
    let long = format!("--{word}");
    let near = closest(&long, LONG.iter().copied()).map(str::to_owned);
    let near = near.or_else(|| {
        // `-S`, `-C`: nginx's options are of one case.
        let other = match letter {
            letter if letter.is_ascii_uppercase() => letter.to_ascii_lowercase(),
            letter => letter.to_ascii_uppercase(),
        };
        b"hvVtTqspceg"
            .contains(&other)
            .then(|| format!("-{}", char::from(other)))
    });
    UsageError::Option {
        message: format!("invalid option: \"{}\"", letter.escape_ascii()),
        hint: Some(match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`openclaw -h` lists the options".to_owned(),
        }),
    }
}

fn invalid_order(name: &OsStr) -> UsageError {
    let name = name.to_string_lossy();
    let orders = || ORDERS.iter().map(|(order, _)| *order);
    // `-stop` is `-s top`.
    let near = closest(&name, orders()).or_else(|| closest(&format!("s{name}"), orders()));
    UsageError::Option {
        message: format!("invalid option: \"-s {name}\""),
        hint: Some(match near {
            Some(near) => format!("did you mean `-s {near}`?"),
            None => format!(
                "the signals are {}",
                orders().collect::<Vec<_>>().join(", ")
            ),
        }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn words(line: &[&str]) -> Result<Invocation, UsageError> {
        parse(line.iter().map(OsString::from))
    }

    fn options(line: &[&str]) -> Options {
        match words(line) {
            Ok(Invocation::Server(options)) => options,
            other => panic!("{line:?}: {other:?}"),
        }
    }

    fn refusal(line: &[&str]) -> String {
        match words(line) {
            Err(error) => error.to_string(),
            Ok(invocation) => panic!("{line:?}: {invocation:?}"),
        }
    }

    #[test]
    fn a_value_stands_in_the_same_word_or_in_the_next() {
        for line in [
            &["-tq", "-c", "a.conf", "-p", "/x"][..],
            &["-t", "-q", "-ca.conf", "-p/x"],
            &["-p/x", "-tqc", "a.conf"],
            &["-tqca.conf", "-p", "/x"],
        ] {
            let expected = Options {
                test: true,
                quiet: true,
                conf: Some("a.conf".into()),
                prefix: Some("/x".into()),
                ..Options::default()
            };
            assert_eq!(options(line), expected, "{line:?}");
        }
    }

    #[test]
    fn a_value_may_look_like_an_option_and_may_be_empty() {
        assert_eq!(options(&["-c", "-t"]).conf, Some("-t".into()));
        assert_eq!(options(&["-g", ""]).globals, Some(String::new()));
        assert_eq!(options(&["-"]), Options::default());
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_nginx_words_with_the_nearest_option() {
        for (line, expected) in [
            (
                &["reload"][..],
                "openclaw: invalid option: \"reload\"\nhint: did you mean `-s reload`?",
            ),
            (
                &["-x"],
                "openclaw: invalid option: \"x\"\nhint: `openclaw -h` lists the options",
            ),
            (
                &["-C", "x"],
                "openclaw: invalid option: \"C\"\nhint: did you mean `-c`?",
            ),
            (
                &["--jsno"],
                "openclaw: invalid option: \"--jsno\"\nhint: did you mean `--json`?",
            ),
            (
                &["-daemon"],
                "openclaw: invalid option: \"d\"\nhint: did you mean `--daemon`?",
            ),
            (
                &["-s", "relaod"],
                "openclaw: invalid option: \"-s relaod\"\nhint: did you mean `-s reload`?",
            ),
            (
                &["-stop"],
                "openclaw: invalid option: \"-s top\"\nhint: did you mean `-s stop`?",
            ),
            (&["-c"], "openclaw: option \"-c\" requires file name"),
            (&["-tp"], "openclaw: option \"-p\" requires directory name"),
            (&["-g"], "openclaw: option \"-g\" requires parameter"),
            (
                &["my.conf"],
                "openclaw: invalid option: \"my.conf\"\n\
                 hint: a configuration file is named by `-c my.conf`",
            ),
        ] {
            assert_eq!(refusal(line), expected, "{line:?}");
        }
    }

    #[test]
    fn long_options_and_the_word_check_go_with_nginx_options() {
        let expected = Options {
            test: true,
            strict: true,
            json: true,
            conf: Some("a".into()),
            ..Options::default()
        };
        assert_eq!(options(&["check", "-ca", "--json", "--strict"]), expected);
        assert_eq!(
            options(&["-t", "--strict", "--format=json", "-c", "a"]),
            expected
        );
        assert!(options(&["--format", "json", "-t"]).json);
        assert!(options(&["--daemon"]).headless);
    }

    #[test]
    fn words_have_a_syntax_of_their_own() {
        let word = |line: &[&str]| match words(line) {
            Ok(Invocation::Word(word)) => word,
            other => panic!("{line:?}: {other:?}"),
        };
        assert_eq!(
            word(&["fmt", "--check", "a", "b"]),
            Word::Fmt {
                check: true,
                files: vec!["a".into(), "b".into()]
            }
        );
        assert_eq!(
            word(&["help", "listen"]),
            Word::Help {
                directive: Some("listen".to_owned())
            }
        );
        assert_eq!(word(&["help"]), Word::Help { directive: None });
        assert!(refusal(&["fmt"]).contains("required"));
        assert!(refusal(&["fmt", "--chekc", "a"]).contains("--check"));
    }

    /// An option of nginx and its value, if it takes one.
    fn option() -> impl Strategy<Value = (char, Option<String>)> {
        prop_oneof![
            prop::sample::select(vec!['h', '?', 'v', 'V', 't', 'T', 'q'])
                .prop_map(|letter| (letter, None)),
            (prop::sample::select(vec!['p', 'c', 'e', 'g']), "[ -~]{1,8}")
                .prop_map(|(letter, value)| (letter, Some(value))),
            prop::sample::select(vec!["stop", "quit", "reload", "reopen"])
                .prop_map(|order| ('s', Some(order.to_owned()))),
        ]
    }

    proptest! {
        /// Whatever options stand in whatever words, they mean what they mean alone.
        #[test]
        fn every_spelling_of_nginx_options_is_understood(
            list in vec((option(), any::<bool>(), any::<bool>()), 0..12),
        ) {
            let mut line: Vec<String> = Vec::new();
            let mut expected = Options::default();
            // Can the next option go into the last word?
            let mut open = false;
            for ((letter, value), joins, separate) in list {
                match line.last_mut() {
                    Some(last) if open && joins => last.push(letter),
                    _ => line.push(format!("-{letter}")),
                }
                open = value.is_none();
                if let Some(value) = &value {
                    match line.last_mut() {
                        Some(last) if !separate => last.push_str(value),
                        _ => line.push(value.clone()),
                    }
                }
                let path = || value.clone().map(PathBuf::from);
                match letter {
                    'h' | '?' => (expected.help, expected.version) = (true, true),
                    'v' => expected.version = true,
                    'V' => (expected.configure_arguments, expected.version) = (true, true),
                    't' => expected.test = true,
                    'T' => (expected.dump, expected.test) = (true, true),
                    'q' => expected.quiet = true,
                    'p' => expected.prefix = path(),
                    'c' => expected.conf = path(),
                    'e' => expected.error_log = path(),
                    'g' => expected.globals = value.clone(),
                    _ => expected.signal = ORDERS
                        .iter()
                        .find(|(name, _)| Some(*name) == value.as_deref())
                        .map(|(_, order)| *order),
                }
            }
            let parsed = parse(line.iter().map(OsString::from));
            prop_assert_eq!(parsed.expect("all of it is nginx's"), Invocation::Server(expected));
        }

        #[test]
        fn no_command_line_makes_the_parser_panic(line in vec("\\PC{0,12}", 0..6)) {
            let _ = parse(line.into_iter().map(OsString::from));
        }
    }
}
