//! What is said of the configuration: its text, a change of it before it is made, its revisions.

use serde::{Deserialize, Serialize};

use super::{ConfState, Millis};

/// What a change starts from. A change whose base is not current is refused.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Base {
    /// The revision in force.
    pub revision: u64,
    /// Tells the texts of all files from any others: `ConfigTexts::base` has that of the texts there.
    pub digest: String,
}

/// A file and its text.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileText {
    /// Absolute.
    pub path: String,
    /// The whole text.
    pub text: String,
}

/// The configuration as its files have it now.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ConfigTexts {
    /// What a change of these texts starts from.
    pub base: Base,
    /// The main file.
    pub conf: String,
    /// Where relative paths start.
    pub prefix: String,
    /// The main file first, then those it includes.
    pub files: Vec<FileText>,
    /// Do they say what is in force?
    pub state: ConfState,
    /// Why they cannot be written, if they cannot.
    pub read_only: Option<String>,
}

/// New texts for some files.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// What it starts from.
    pub base: Base,
    /// The files that change, or are new.
    pub files: Vec<FileText>,
    /// Files of the configuration that go, by their paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
    /// What it is for, in a line.
    #[serde(default)]
    pub note: String,
    /// The client, for the record: `dashboard`, `cli`.
    #[serde(default)]
    pub client: String,
}

/// What a change would do.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Review {
    /// The difference to the files as they are, unified.
    pub diff: String,
    /// What is wrong with the result.
    pub problems: Vec<Problem>,
    /// What it does to what runs, one line each.
    pub effects: Vec<String>,
    /// May it be applied?
    pub is_applicable: bool,
}

/// A problem of a configuration.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// `OC-E030`
    pub code: String,
    /// Does it forbid using the configuration?
    pub is_error: bool,
    /// What is wrong.
    pub message: String,
    /// The way out.
    pub hint: Option<String>,
    /// Where it is.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// From 1.
    pub column: u32,
    /// How many characters are meant.
    pub width: u32,
    /// The whole line.
    pub source: String,
}

/// A change is in force.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Applied {
    /// The revision that is in force now.
    pub revision: u64,
    /// The generation that serves it.
    pub generation: u64,
    /// Warnings about it.
    pub problems: Vec<Problem>,
    /// Nothing was different.
    pub is_unchanged: bool,
}

/// Back to an earlier revision.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revert {
    /// What it starts from.
    pub base: Base,
    /// The revision whose texts are wanted; its own change is undone with `undo`.
    pub revision: u64,
    /// Undo only what this revision changed, and keep what came after; refused if later revisions
    /// changed the same lines.
    #[serde(default)]
    pub undo: bool,
    /// Only review.
    #[serde(default)]
    pub dry_run: bool,
    /// As [`Change::client`].
    #[serde(default)]
    pub client: String,
}

/// A revision without its texts.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Revision {
    /// Counts up.
    pub id: u64,
    /// When.
    pub at: Millis,
    /// Who: the user's name.
    pub author: String,
    /// By what: `dashboard`, `cli`, `reload`, `start`.
    pub client: String,
    /// What it was for.
    pub note: String,
    /// Was it put into force?
    pub outcome: Outcome,
    /// Why it was refused.
    pub reason: Option<String>,
    /// The revision that it changed; 0 for the first.
    pub parent: u64,
    /// The revision whose change it takes back, if it is an undo.
    pub reverts: Option<u64>,
    /// Lines that came.
    pub added: u32,
    /// Lines that went.
    pub removed: u32,
}

/// What became of a revision.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was put into force.
    #[default]
    Applied,
    /// It was not.
    Refused,
}

/// Revisions, newest first.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Revisions {
    /// The revision in force.
    pub current: u64,
    /// The revisions.
    pub revisions: Vec<Revision>,
}

/// A revision and its texts.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RevisionTexts {
    /// The revision.
    pub revision: Revision,
    /// Its files.
    pub files: Vec<FileText>,
}

/// What a revision changed.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RevisionDiff {
    /// The revision.
    pub revision: Revision,
    /// The difference to its parent, unified.
    pub diff: String,
    /// The difference from the files as they are to it, unified.
    pub to_here: String,
}
