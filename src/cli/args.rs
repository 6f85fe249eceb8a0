//! The command line: nginx's options in nginx's own syntax, and words for what nginx has not.
//!
//! Owns what is written, not what it means: no file is looked at here. nginx's options are read as
//! `ngx_get_options` reads them (a value in the same word or in the next one, options without value
//! in one word), so that service files and scripts made for it work unchanged.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{CommandFactory as _, Parser as _};

use super::words::Word;
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
    /// The word `dashboard`: the screen of a running daemon, and nothing else.
    pub dashboard: bool,
    /// `--socket PATH`: the control socket of the daemon that the dashboard shows.
    pub socket: Option<PathBuf>,
    /// The dashboard.
    pub screen: Screen,
    /// `--domain` and what goes with it.
    pub quick: Option<Quick>,
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

/// How the dashboard looks and what it may do.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Screen {
    /// `--read-only`: nothing can be changed from it.
    pub read_only: bool,
    /// `--color auto|always|never`
    pub color: Color,
    /// `--glyphs auto|braille|block|ascii`
    pub glyphs: Glyphs,
    /// `--theme NAME`; the default theme if absent.
    pub theme: Option<String>,
    /// `--no-mouse`: the mouse is left to the terminal.
    pub no_mouse: bool,
}

/// When to use colour.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Color {
    /// On a terminal that has it, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What graphs and frames are drawn with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Glyphs {
    /// By the locale and the terminal.
    #[default]
    Auto,
    /// Eight dots in a cell.
    Braille,
    /// Parts of blocks.
    Block,
    /// Nothing beyond ASCII.
    Ascii,
}

/// A proxy without a file: `--domain D[,D] --upstream A:P`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Quick {
    /// The names that are served, at least one: lower case, ASCII, safe to be written into a
    /// configuration.
    pub domains: Vec<String>,
    /// Where requests go: `http://127.0.0.1:3000`, with scheme and port, without a path.
    pub upstream: String,
    /// `--port N`
    pub port: Option<u16>,
    /// `--save FILE`: where to write the configuration that says the same.
    pub save: Option<PathBuf>,
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
    let mut quick = QuickParts::default();
    while let Some(argument) = arguments.next() {
        let bytes = argument.as_bytes();
        if bytes == b"check" {
            options.test = true;
        } else if bytes == b"dashboard" {
            options.dashboard = true;
        } else if let Some(long) = bytes.strip_prefix(b"--") {
            options.take_long(long, &argument, &mut arguments, &mut quick)?;
        } else if let Some(cluster) = bytes.strip_prefix(b"-") {
            options.take_cluster(cluster, &mut arguments)?;
        } else {
            return Err(invalid(&argument));
        }
    }
    options.quick = quick.whole()?;
    if options.quick.is_some() && options.conf.is_some() {
        return Err(UsageError::Option {
            message: "\"--domain\" stands in the place of a configuration file".to_owned(),
            hint: Some("leave out `-c`, or write the server into that file".to_owned()),
        });
    }
    Ok(Invocation::Server(options))
}

/// The text of `-h` behind the version.
pub fn help() -> String {
    let mut text = String::from(USAGE);
    text.push_str("\nOptions:\n");
    for row in OPTIONS {
        help_lines(&row.spelling(), row.help, &mut text);
    }
    text.push_str("\nWords:\n");
    for (word, help) in WORDS_AMONG_OPTIONS {
        help_lines(word, help, &mut text);
    }
    for word in Word::command().get_subcommands() {
        let about = word.get_about().map(ToString::to_string);
        let mut about = about.unwrap_or_default();
        if let Some(first) = about.get_mut(..1) {
            first.make_ascii_lowercase();
        }
        help_lines(word.get_name(), &about, &mut text);
    }
    text.push_str("\n`openclaw WORD --help` tells the arguments of a word.\n\n");
    text
}

/// The whole syntax as completion and the manual describe it. It is not what reads a command line:
/// nginx's way of writing options is not the one of the library. Both come from the same tables.
pub fn command() -> clap::Command {
    let arguments = || OPTIONS.iter().map(OptionRow::argument);
    let among_options = WORDS_AMONG_OPTIONS.iter().map(|(word, about)| {
        clap::Command::new(*word)
            .about(*about)
            .disable_help_flag(true)
            .args(arguments())
    });
    Word::command()
        .disable_help_flag(true)
        .args(arguments())
        .subcommands(among_options)
}

/// A name and what it is for, in the form of nginx's help.
fn help_lines(name: &str, help: &str, text: &mut String) {
    const COLUMN: usize = 18;
    for (position, line) in help.lines().enumerate() {
        let (name, sign) = if position == 0 {
            (name, ':')
        } else {
            ("", ' ')
        };
        text.push_str(&format!("  {name:<COLUMN$}{sign} {line}\n"));
    }
}

/// An option that is no part of a word: what help, completion and the manual know of it.
#[derive(Clone, Copy, Debug)]
pub struct OptionRow {
    /// Its letters, the first one is shown first.
    pub letters: &'static [char],
    /// Its long name.
    pub long: Option<&'static str>,
    /// What its value is called, if it takes one.
    pub value: Option<&'static str>,
    /// The words that its value may be; empty if it is free.
    pub values: &'static [&'static str],
    /// What it is for; lines of at most 58 characters.
    pub help: &'static str,
}

impl OptionRow {
    /// What names it among all: its long name, or else its letter.
    pub fn id(&self) -> &'static str {
        const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let letter = || LETTERS.find(*self.letters.first()?);
        match (self.long, letter()) {
            (Some(long), _) => long,
            (None, Some(at)) => &LETTERS[at..=at],
            (None, None) => "",
        }
    }

    fn argument(&self) -> clap::Arg {
        let mut argument = clap::Arg::new(self.id()).help(self.help.replace('\n', " "));
        // A shell would take `?` for a pattern.
        if let Some(letter) = self.letters.iter().find(|letter| **letter != '?') {
            argument = argument.short(*letter);
        }
        if let Some(long) = self.long {
            argument = argument.long(long);
        }
        let Some(value) = self.value else {
            return argument.action(clap::ArgAction::SetTrue);
        };
        let argument = argument.value_name(value).value_hint(match value {
            "filename" | "path" => clap::ValueHint::FilePath,
            "prefix" => clap::ValueHint::DirPath,
            _ => clap::ValueHint::Other,
        });
        match self.values.is_empty() {
            true => argument,
            false => argument.value_parser(PossibleValuesParser::new(self.values)),
        }
    }

    /// How it is written: `-?,-h`, `-s signal`, `--daemon`.
    fn spelling(&self) -> String {
        let letters = self.letters.iter().map(|letter| format!("-{letter}"));
        let mut spelling = letters.collect::<Vec<_>>().join(",");
        // nginx's own options are known by their letters.
        if let (Some(long), true) = (self.long, spelling.is_empty()) {
            spelling = format!("--{long}");
        }
        if let Some(value) = self.value {
            spelling.push(' ');
            spelling.push_str(value);
        }
        spelling
    }
}

/// How a command line is made.
pub const USAGE: &str = "\
Usage: openclaw [-?hvVtTq] [-s signal] [-c filename] [-p prefix]
                [-e filename] [-g directives] [--daemon] [--strict] [--json]
       openclaw --domain NAME[,NAME] --upstream HOST:PORT [--port N]
                [--save filename]
       openclaw check [options as with -t]
       openclaw dashboard [--socket path] [--read-only]
       openclaw WORD [--json] [--socket path] [ARGUMENTS]
";

/// Words that go with nginx's options.
pub const WORDS_AMONG_OPTIONS: &[(&str, &str)] = &[
    ("check", "the same as -t"),
    (
        "dashboard",
        "the screen of the running daemon; never starts one",
    ),
];

/// Every option that is no part of a word.
pub const OPTIONS: &[OptionRow] = &[
    option(&['?', 'h'], Some("help"), "this help"),
    option(&['v'], Some("version"), "show version and exit"),
    option(&['V'], None, "show version and what is built in then exit"),
    option(&['t'], None, "test configuration and exit"),
    option(&['T'], None, "test configuration, dump it and exit"),
    option(
        &['q'],
        None,
        "suppress non-error messages during configuration testing",
    ),
    OptionRow {
        values: &["stop", "quit", "reopen", "reload"],
        ..valued(
            &['s'],
            None,
            "signal",
            "send signal to the running process:\nstop, quit, reopen, reload",
        )
    },
    valued(
        &['p'],
        None,
        "prefix",
        "set prefix path\n(default: the directory of the configuration)",
    ),
    valued(
        &['e'],
        None,
        "filename",
        "set error log file (default:\n/var/log/openclaw/error.log, with -p logs/error.log)",
    ),
    valued(
        &['c'],
        None,
        "filename",
        "set configuration file\n(default: /etc/openclaw/openclaw.conf,\n\
         then ~/.config/openclaw/openclaw.conf)",
    ),
    valued(
        &['g'],
        None,
        "directives",
        "set global directives out of configuration file",
    ),
    option(
        &[],
        Some("daemon"),
        "no screen; stay in the foreground, whatever the\nconfiguration says",
    ),
    option(&[], Some("strict"), "with -t, fail on warnings too"),
    option(
        &[],
        Some("json"),
        "with -t, print problems as JSON; also --format=json",
    ),
    valued(
        &[],
        Some("domain"),
        "NAMES",
        "serve these names, comma between, without a file",
    ),
    valued(
        &[],
        Some("upstream"),
        "A:P",
        "with --domain, where requests go",
    ),
    valued(
        &[],
        Some("port"),
        "N",
        "with --domain, the port to listen on",
    ),
    valued(
        &[],
        Some("save"),
        "filename",
        "with --domain, write the configuration that says so",
    ),
    valued(
        &[],
        Some("socket"),
        "path",
        "the control socket of the daemon to show",
    ),
    option(
        &[],
        Some("read-only"),
        "a dashboard that can change nothing",
    ),
    OptionRow {
        values: &["auto", "always", "never"],
        ..valued(&[], Some("color"), "when", "colour: auto, always, never")
    },
    OptionRow {
        values: &["auto", "braille", "block", "ascii"],
        ..valued(
            &[],
            Some("glyphs"),
            "set",
            "what to draw with: auto, braille, block, ascii",
        )
    },
    valued(&[], Some("theme"), "name", "the theme of the dashboard"),
    option(&[], Some("no-mouse"), "leave the mouse to the terminal"),
];

const fn option(
    letters: &'static [char],
    long: Option<&'static str>,
    help: &'static str,
) -> OptionRow {
    OptionRow {
        letters,
        long,
        value: None,
        values: &[],
        help,
    }
}

const fn valued(
    letters: &'static [char],
    long: Option<&'static str>,
    value: &'static str,
    help: &'static str,
) -> OptionRow {
    OptionRow {
        value: Some(value),
        ..option(letters, long, help)
    }
}

/// The names of [`Word`].
const WORDS: &[&str] = &[
    "status",
    "top",
    "routes",
    "route",
    "backends",
    "ban",
    "key",
    "spend",
    "import",
    "models",
    "providers",
    "alerts",
    "limits",
    "cache",
    "cert",
    "logs",
    "config",
    "reload",
    "backup",
    "restore",
    "ca",
    "doctor",
    "audit",
    "passwd",
    "lint",
    "fmt",
    "help",
    "explain",
    "completions",
    "man",
];

/// Long options as they are written.
fn long_options() -> impl Iterator<Item = String> {
    let names = OPTIONS.iter().filter_map(|row| row.long);
    names
        .map(|name| format!("--{name}"))
        .chain(["--format=json".to_owned()])
}

/// The long option that was probably meant.
fn closest_long(text: &str) -> Option<String> {
    let names: Vec<String> = long_options().collect();
    closest(text, names.iter().map(String::as_str)).map(str::to_owned)
}

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
        text: &[u8],
        argument: &OsStr,
        following: &mut impl Iterator<Item = OsString>,
        quick: &mut QuickParts,
    ) -> Result<(), UsageError> {
        let (name, joined) = match memchr::memchr(b'=', text) {
            Some(at) => (&text[..at], Some(&text[at + 1..])),
            None => (text, None),
        };
        let name = std::str::from_utf8(name).map_err(|_| invalid(argument))?;
        let row = OPTIONS.iter().find(|row| row.long == Some(name));
        let takes_value = name == "format" || row.is_some_and(|row| row.value.is_some());
        if joined.is_some() && !takes_value {
            return Err(invalid(argument));
        }
        // Asked for only by those that take one.
        let mut path = || match joined {
            Some(value) => Ok(OsString::from_vec(value.to_vec())),
            None => following.next().ok_or_else(|| UsageError::Option {
                message: format!("option \"--{name}\" requires a value"),
                hint: None,
            }),
        };
        let mut word = || {
            path()?.into_string().map_err(|_| UsageError::Option {
                message: format!("the value of \"--{name}\" is not UTF-8"),
                hint: None,
            })
        };
        match name {
            "help" => {
                self.version = true;
                self.help = true;
            }
            "version" => self.version = true,
            "strict" => self.strict = true,
            "json" => self.json = true,
            "format" => {
                self.json = one_of(name, &word()?, &[("json", true), ("text", false)])?;
            }
            "daemon" => self.headless = true,
            "socket" => self.socket = Some(path()?.into()),
            "read-only" => self.screen.read_only = true,
            "no-mouse" => self.screen.no_mouse = true,
            "theme" => self.screen.theme = Some(word()?),
            "color" => {
                self.screen.color = one_of(
                    name,
                    &word()?,
                    &[
                        ("auto", Color::Auto),
                        ("always", Color::Always),
                        ("never", Color::Never),
                    ],
                )?;
            }
            "glyphs" => {
                self.screen.glyphs = one_of(
                    name,
                    &word()?,
                    &[
                        ("auto", Glyphs::Auto),
                        ("braille", Glyphs::Braille),
                        ("block", Glyphs::Block),
                        ("ascii", Glyphs::Ascii),
                    ],
                )?;
            }
            "domain" => {
                for domain in word()?.split(',') {
                    quick.domains.push(read_domain(domain.trim())?);
                }
            }
            "upstream" => quick.upstream = Some(read_upstream(&word()?)?),
            "port" => quick.port = Some(read_port(&word()?)?),
            "save" => quick.save = Some(path()?.into()),
            _ => return Err(invalid(argument)),
        }
        Ok(())
    }
}

/// What was said of a [`Quick`] so far.
#[derive(Default)]
struct QuickParts {
    domains: Vec<String>,
    upstream: Option<String>,
    port: Option<u16>,
    save: Option<PathBuf>,
}

impl QuickParts {
    fn whole(self) -> Result<Option<Quick>, UsageError> {
        let lonely = |option: &str, other: &str| UsageError::Option {
            message: format!("option \"{option}\" goes with \"{other}\""),
            hint: Some(
                "for example `openclaw --domain app.example.com --upstream 127.0.0.1:3000`"
                    .to_owned(),
            ),
        };
        match (self.domains.is_empty(), self.upstream) {
            (false, Some(upstream)) => Ok(Some(Quick {
                domains: self.domains,
                upstream,
                port: self.port,
                save: self.save,
            })),
            (false, None) => Err(lonely("--domain", "--upstream")),
            (true, Some(_)) => Err(lonely("--upstream", "--domain")),
            (true, None) if self.port.is_some() => Err(lonely("--port", "--domain")),
            (true, None) if self.save.is_some() => Err(lonely("--save", "--domain")),
            (true, None) => Ok(None),
        }
    }
}

/// One of a few words.
fn one_of<T: Copy>(name: &str, value: &str, words: &[(&str, T)]) -> Result<T, UsageError> {
    let found = words.iter().find(|(word, _)| *word == value);
    found.map(|(_, meaning)| *meaning).ok_or_else(|| {
        let names: Vec<_> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        UsageError::Option {
            message: format!("option \"--{name}\" requires {}", names.join(", ")),
            hint: closest(value, words.iter().map(|(word, _)| *word))
                .map(|near| format!("did you mean `{near}`?")),
        }
    })
}

/// The name of a site, as `server_name` takes it. What cannot be part of a name is refused, because
/// the name is written into a configuration.
fn read_domain(text: &str) -> Result<String, UsageError> {
    let wrong = |why: &str| UsageError::Option {
        message: format!("`{text}` is no name of a site: {why}"),
        hint: Some("for example `--domain app.example.com,www.example.com`".to_owned()),
    };
    let name = text.strip_prefix("*.").unwrap_or(text);
    if name.is_empty() {
        return Err(wrong("it is empty"));
    }
    if !name.is_ascii() {
        return Err(wrong("write it as `xn--…`, the form that is sent"));
    }
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if name.contains(':') {
        return Err(wrong("a port is given by `--port N`"));
    }
    if text.len() > 253 || !name.split('.').all(is_label) {
        return Err(wrong("letters, digits, `-` and dots make a name"));
    }
    Ok(text.to_ascii_lowercase())
}

/// Where requests go, with scheme and port.
fn read_upstream(text: &str) -> Result<String, UsageError> {
    let wrong = |why: &str| UsageError::Option {
        message: format!("`{text}` is no address to pass requests to: {why}"),
        hint: Some("for example `--upstream 127.0.0.1:3000`".to_owned()),
    };
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme @ ("http" | "https"), rest)) => (scheme, rest.trim_end_matches('/')),
        Some(_) => return Err(wrong("only `http://` and `https://` are known")),
        None => ("http", text),
    };
    let has_scheme = text.contains("://");
    let (host, port) = match rest.strip_prefix('[') {
        Some(inner) => {
            let (address, after) = inner
                .split_once(']')
                .ok_or_else(|| wrong("`]` is missing"))?;
            let address: std::net::Ipv6Addr = address
                .parse()
                .map_err(|_| wrong("no IPv6 address stands in `[]`"))?;
            let port = match after {
                "" => None,
                after => Some(
                    after
                        .strip_prefix(':')
                        .ok_or_else(|| wrong("`:` is missing"))?,
                ),
            };
            (format!("[{address}]"), port)
        }
        None => match rest.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err(wrong("an IPv6 address stands in `[]`"));
            }
            Some((host, port)) => (host.to_owned(), Some(port)),
            None => (rest.to_owned(), None),
        },
    };
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if !host.starts_with('[') && (host.is_empty() || !host.bytes().all(is_host)) {
        return Err(wrong("this is no name of a host"));
    }
    let port = match (port, scheme) {
        (Some(port), _) => read_port(port)?,
        (None, "https") => 443,
        (None, _) if has_scheme => 80,
        (None, _) => return Err(wrong("the port is missing")),
    };
    Ok(format!("{scheme}://{host}:{port}"))
}

fn read_port(text: &str) -> Result<u16, UsageError> {
    let port = text.parse().ok().filter(|port| *port > 0);
    port.ok_or_else(|| UsageError::Option {
        message: format!("`{text}` is no port"),
        hint: Some("ports are the numbers from 1 to 65535".to_owned()),
    })
}

fn invalid(argument: &OsStr) -> UsageError {
    let text = argument.to_string_lossy();
    let order = ORDERS.iter().map(|(order, _)| *order);
    let among_options = WORDS_AMONG_OPTIONS.iter().map(|(word, _)| *word);
    let hint = if text.starts_with('-') {
        let name = text.split('=').next().unwrap_or_default();
        closest_long(&text)
            .or_else(|| closest_long(name))
            .map(|near| format!("did you mean `{near}`?"))
    } else if WORDS.contains(&&*text) {
        Some(format!("a word stands first: `openclaw {text}`"))
    } else if let Some(near) = closest(&text, WORDS.iter().copied().chain(among_options)) {
        Some(format!("did you mean `{near}`?"))
    } else {
        closest(&text, order)
            .map(|near| format!("did you mean `-s {near}`?"))
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
    let near = closest_long(&long).or_else(|| {
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
                &["reopen"][..],
                "openclaw: invalid option: \"reopen\"\nhint: did you mean `-s reopen`?",
            ),
            (
                &["-q", "reload"],
                "openclaw: invalid option: \"reload\"\n\
                 hint: a word stands first: `openclaw reload`",
            ),
            (
                &["sttaus"],
                "openclaw: invalid option: \"sttaus\"\nhint: did you mean `status`?",
            ),
            (
                &["--strict=1"],
                "openclaw: invalid option: \"--strict=1\"\nhint: did you mean `--strict`?",
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

    #[test]
    fn every_option_of_the_table_is_understood_and_every_word_is_known() {
        for row in OPTIONS {
            let value = match (row.values.first(), row.long) {
                (Some(first), _) => first,
                (None, Some("upstream")) => "a:1",
                (None, Some(_)) => "1",
                (None, None) => "x",
            };
            let value = row.value.map(|_| value);
            let letters = row.letters.iter().map(|letter| format!("-{letter}"));
            for name in letters.chain(row.long.map(|long| format!("--{long}"))) {
                let line: Vec<&str> = [name.as_str()].into_iter().chain(value).collect();
                match words(&line) {
                    Ok(_) => {}
                    Err(error) if row.help.contains("--domain") || name == "--domain" => {
                        assert!(error.to_string().contains("goes with"), "{line:?}: {error}");
                    }
                    Err(error) => panic!("{line:?}: {error}"),
                }
            }
            assert!(
                row.help.lines().all(|line| line.len() <= 58),
                "{}",
                row.help
            );
        }
        let command = Word::command();
        let names: Vec<_> = command
            .get_subcommands()
            .map(clap::Command::get_name)
            .collect();
        assert_eq!(names, WORDS);
    }

    #[test]
    fn what_completion_and_the_manual_describe_is_what_is_parsed() {
        let command = command();
        command.clone().debug_assert();
        let described: Vec<_> = command
            .get_arguments()
            .map(|it| it.get_id().to_string())
            .collect();
        let rows: Vec<_> = OPTIONS.iter().map(OptionRow::id).collect();
        assert_eq!(described, rows);
        let help = help();
        for word in command.get_subcommands() {
            let line = format!("\n  {} ", word.get_name());
            assert!(help.contains(&line), "{line:?}");
        }
    }

    #[test]
    fn help_fits_on_a_terminal() {
        for line in help().lines() {
            assert!(line.chars().count() <= 79, "{line}");
        }
    }

    #[test]
    fn a_proxy_without_a_file_needs_names_and_an_address() {
        let line = "--domain App.example.com,*.example.org --upstream 127.0.0.1:3000 --port 8080";
        let line: Vec<_> = line.split(' ').chain(["--save=a.conf"]).collect();
        let quick = options(&line).quick.expect("whole");
        assert_eq!(quick.domains, ["app.example.com", "*.example.org"]);
        assert_eq!(quick.upstream, "http://127.0.0.1:3000");
        assert_eq!(quick.port, Some(8080));
        assert_eq!(quick.save, Some("a.conf".into()));
        for (text, expected) in [
            ("https://api.example.com", "https://api.example.com:443"),
            ("http://a/", "http://a:80"),
            ("[::1]:90", "http://[::1]:90"),
        ] {
            assert_eq!(read_upstream(text).expect(text), expected);
        }
        for (line, expected) in [
            (&["--domain", "a"][..], "goes with \"--upstream\""),
            (&["--upstream", "a:1"], "goes with \"--domain\""),
            (&["--save", "x"], "goes with \"--domain\""),
            (
                &["--domain", "a;b", "--upstream", "a:1"],
                "no name of a site",
            ),
            (&["--domain", "a:80"], "--port"),
            (&["--domain", "bücher.de"], "xn--"),
            (&["--upstream", "3000"], "port is missing"),
            (&["--upstream", "::1"], "stands in `[]`"),
            (&["--upstream", "ftp://a"], "only `http://`"),
            (&["--upstream", "http://a/b"], "no name of a host"),
            (&["--upstream", "a:0"], "no port"),
            (&["--port", "x"], "no port"),
            (
                &["--domain", "a", "--upstream", "a:1", "-c", "x"],
                "in the place of a configuration file",
            ),
        ] {
            let said = refusal(line);
            assert!(said.contains(expected), "{line:?}: {said}");
        }
    }

    #[test]
    fn the_screen_is_told_how_to_look() {
        let line = "dashboard --socket /s --read-only --color never --glyphs=ascii --no-mouse";
        let line: Vec<_> = line.split(' ').chain(["--theme", "light"]).collect();
        let options = options(&line);
        assert!(options.dashboard);
        assert_eq!(options.socket, Some("/s".into()));
        let expected = Screen {
            read_only: true,
            color: Color::Never,
            glyphs: Glyphs::Ascii,
            theme: Some("light".to_owned()),
            no_mouse: true,
        };
        assert_eq!(options.screen, expected);
        assert_eq!(
            refusal(&["--glyphs", "blok"]),
            "openclaw: option \"--glyphs\" requires `auto`, `braille`, `block`, `ascii`\n\
             hint: did you mean `block`?"
        );
        assert!(refusal(&["--theme"]).contains("requires a value"));
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
