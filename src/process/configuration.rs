//! From the file to a typed configuration, and its problems to where somebody reads them.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write as _};
use std::path::{Path, PathBuf};

use super::Setup;
use crate::cache::place;
use crate::conf::check;
use crate::conf::diagnostic::{self, Diagnostic, Severity, any_error, arrange};
use crate::conf::include::{self, Loaded};
use crate::conf::source::{Sources, Span};
use crate::conf::typed::log::{ErrorLog, Level};
use crate::conf::typed::{Config, lower::config::lower};
use crate::log::error_log;
use crate::tls::examine;

/// What reading a configuration yields.
#[derive(Debug)]
pub struct Reading {
    /// Its texts, its tree and what is wrong.
    pub loaded: Loaded,
    /// The configuration, unless something is wrong that forbids using it.
    pub config: Option<Config>,
}

/// Reads the configuration; `usual_error_log` is used where it names none, and `texts` stand for
/// those of their files, and `removed` are files that are passed over as if they were not there.
pub fn read(
    setup: &Setup,
    usual_error_log: &ErrorLog,
    texts: &[(PathBuf, String)],
    removed: &[PathBuf],
) -> Reading {
    let mut loaded = load(setup, texts, removed);
    check::check(&mut loaded);
    let usual = std::slice::from_ref(usual_error_log);
    let config = lower(&mut loaded, &setup.prefix, usual);
    Reading { loaded, config }
}

impl Reading {
    /// With what is wrong with the certificates that it names, whose files are read for it, and with
    /// the directories of its caches.
    pub fn examined(mut self) -> Self {
        if let Some(config) = &self.config {
            examine(config, &mut self.loaded);
        }
        if any_error(&self.loaded.diagnostics) {
            self.config = None;
        }
        self
    }
}

/// Adds what is wrong with the certificates and the directories that a good configuration names.
pub fn examine(config: &Config, loaded: &mut Loaded) {
    let mut found = examine::examine(&config.http);
    found.extend(place::examine(&config.http));
    if !found.is_empty() {
        loaded.diagnostics.append(&mut found);
        arrange(&mut loaded.diagnostics);
    }
}

/// Reads the texts and makes the tree of them; `texts` and `removed` as in [`read`].
pub fn load(setup: &Setup, texts: &[(PathBuf, String)], removed: &[PathBuf]) -> Loaded {
    let own = setup
        .text
        .iter()
        .map(|text| (setup.conf.clone(), text.clone()));
    let texts: HashMap<_, _> = own.chain(texts.iter().cloned()).collect();
    let globals = setup.globals.as_deref();
    include::load_changed(&setup.conf, &setup.prefix, globals, texts, removed)
}

/// The file that holds the number of the running process, as far as a configuration that may have
/// mistakes elsewhere tells it: a process must be stoppable while its file is being edited.
pub fn pid_path(setup: &Setup) -> Option<PathBuf> {
    let loaded = load(setup, &[], &[]);
    let named = loaded
        .nodes
        .iter()
        .find(|node| &*node.name.text == "pid" && node.block.is_none())
        .and_then(|node| node.arguments.first());
    let usual =
        || crate::conf::directives::find("pid", crate::conf::directives::Contexts::MAIN)?.default;
    let path = named.map_or_else(usual, |word| Some(&*word.text))?;
    Some(setup.prefix.join(path))
}

/// Tells problems to the error log, one line each, as severe as nginx finds them.
pub fn log(diagnostics: &[Diagnostic], sources: &Sources) {
    for problem in diagnostics {
        let level = match problem.severity {
            Severity::Error => Level::Emerg,
            Severity::Warning => Level::Warn,
        };
        let line = diagnostic::render_short(std::slice::from_ref(problem), sources);
        error_log::report(level, format_args!("{}", line.trim_end()));
    }
}

/// Shows problems to a person, with the lines they are about.
pub fn show(diagnostics: &[Diagnostic], sources: &Sources) {
    let stderr = io::stderr();
    let text = diagnostic::render(diagnostics, sources, has_colour(&stderr));
    // Nobody is left to tell when standard error is gone.
    let _ = stderr.lock().write_all(text.as_bytes());
}

/// Where a span begins, as nginx writes it: `FILE:LINE`.
pub fn place(span: Span, sources: &Sources) -> String {
    let (line, _) = sources.line_column(span);
    format!("{}:{line}", sources.path(span.file).display())
}

/// Is colour wanted on this stream? (no-color.org; a terminal that knows none says so itself.)
fn has_colour(stream: &impl IsTerminal) -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    stream.is_terminal()
        && !is_set("NO_COLOR")
        && std::env::var_os("TERM").is_none_or(|term| Path::new(&term) != Path::new("dumb"))
}
