//! The texts that a change starts from, and what is wrong with them once something is changed.
//!
//! Invariant: nothing here is written to a file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::conf::check;
use crate::conf::diagnostic::{Diagnostic, Severity, any_error};
use crate::conf::diff;
use crate::conf::include::{self, Loaded};
use crate::conf::source::Sources;
use crate::conf::typed::lower::config::lower;
use crate::protocol::{Base, Change, ConfigTexts, FileText, Problem};

/// The name of this client in the record of revisions.
pub const CLIENT: &str = "dashboard";

/// A configuration as the daemon told it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Texts {
    /// What a change of it starts from.
    pub base: Base,
    /// The main file.
    pub conf: PathBuf,
    /// Where relative paths start.
    pub prefix: PathBuf,
    /// Why it cannot be written, if it cannot.
    pub read_only: Option<String>,
    files: HashMap<PathBuf, String>,
}

impl Texts {
    /// What the daemon said.
    pub fn new(texts: &ConfigTexts) -> Self {
        let files = texts.files.iter();
        Self {
            base: texts.base.clone(),
            conf: PathBuf::from(&texts.conf),
            prefix: PathBuf::from(&texts.prefix),
            read_only: texts.read_only.clone(),
            files: files
                .map(|file| (PathBuf::from(&file.path), file.text.clone()))
                .collect(),
        }
    }

    /// Where the main file is.
    pub fn directory(&self) -> PathBuf {
        self.conf.parent().unwrap_or(Path::new("")).to_owned()
    }

    /// The text of a file.
    pub fn text(&self, path: &Path) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// All texts by their files.
    pub fn files(&self) -> &HashMap<PathBuf, String> {
        &self.files
    }

    /// Reads the configuration, with other texts for some files.
    pub fn load(&self, changed: &HashMap<PathBuf, String>) -> Loaded {
        self.load_without(changed, &[])
    }

    fn load_without(&self, changed: &HashMap<PathBuf, String>, removed: &[PathBuf]) -> Loaded {
        let mut texts = self.files.clone();
        texts.extend(changed.clone());
        include::load_changed(&self.conf, &self.prefix, None, texts, removed)
    }

    /// Does nothing miss a file when it is gone? So it is if only a pattern finds it.
    pub fn may_go(&self, path: &Path) -> bool {
        let loaded = self.load_without(&HashMap::new(), &[path.to_owned()]);
        self.files.contains_key(path) && !any_error(&loaded.diagnostics)
    }

    /// As [`Texts::load`], with everything that is wrong found.
    pub fn check(&self, changed: &HashMap<PathBuf, String>) -> Loaded {
        self.check_without(changed, &[])
    }

    /// As [`Texts::check`], as if these files were not there.
    pub fn check_without(&self, changed: &HashMap<PathBuf, String>, removed: &[PathBuf]) -> Loaded {
        let mut loaded = self.load_without(changed, removed);
        check::check(&mut loaded);
        // Only what is wrong is wanted of it.
        let _ = lower(&mut loaded, &self.prefix, &[]);
        loaded
    }

    /// The change that gives files these texts; those that are as they were are left out.
    pub fn change(&self, changed: HashMap<PathBuf, String>, note: String) -> Change {
        let mut files: Vec<FileText> = changed
            .into_iter()
            .filter(|(path, text)| self.text(path) != Some(text))
            .map(|(path, text)| FileText {
                path: path.to_string_lossy().into_owned(),
                text,
            })
            .collect();
        files.sort_by(|one, other| one.path.cmp(&other.path));
        Change {
            base: self.base.clone(),
            files,
            removed: Vec::new(),
            note,
            client: CLIENT.to_owned(),
        }
    }
}

/// The difference that a change makes to texts.
pub fn difference_of(change: &Change, texts: &Texts) -> String {
    let files = change.files.iter().map(|file| (&file.path, &*file.text));
    let gone = change.removed.iter().map(|path| (path, ""));
    let parts = files.chain(gone).map(|(path, text)| {
        let old = texts.text(Path::new(path)).unwrap_or_default();
        diff::unified(path, old, text)
    });
    parts.collect()
}

/// A problem as the protocol tells it.
pub fn problem(diagnostic: &Diagnostic, sources: &Sources) -> Problem {
    let span = diagnostic.span();
    let (line, column) = sources.line_column(span);
    let source = sources.slice(sources.line_span(span.file, line));
    let meant = sources.slice(span);
    Problem {
        code: diagnostic.code.name().to_owned(),
        is_error: diagnostic.severity == Severity::Error,
        message: diagnostic.message.clone(),
        hint: diagnostic.hint.clone(),
        file: sources.path(span.file).to_string_lossy().into_owned(),
        line: line as u32,
        column: column as u32,
        width: meant.lines().next().unwrap_or_default().chars().count() as u32,
        source: source.trim_end_matches('\r').to_owned(),
    }
}
