//! What can be done with a configuration while no daemon runs: read it, check it, save it.
//!
//! Answers the calls of forms and reviews in the daemon's place. Invariant: what is saved was checked,
//! and its files are still those that the change started from.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::super::view::{Answer, Call, Failure};
use super::texts::{self, Texts};
use crate::conf::include::{self, COMMAND_LINE, Loaded};
use crate::protocol::{
    Applied, Base, Change, ConfState, ConfigTexts, FileText, Refusal, RefusalCode, Review,
};

/// Gives files new texts, all or none, each whole and durable, with the owner and mode that it has;
/// why that did not go, in words.
pub type Writer = fn(&[(PathBuf, String)]) -> Result<(), String>;

/// A configuration on this machine.
#[derive(Clone, Debug)]
pub struct Offline {
    /// The main file, absolute.
    pub conf: PathBuf,
    /// Where relative paths start.
    pub prefix: PathBuf,
    /// How it is saved.
    pub write: Writer,
}

impl Offline {
    /// The answer to a call; those that need a daemon are refused.
    pub fn answer(&self, call: &Call) -> Result<Answer, Failure> {
        match call {
            Call::Config => Ok(Answer::Config(self.config()?)),
            Call::Review(change) => Ok(Answer::Review(self.review(change)?)),
            Call::Apply(change) => Ok(Answer::Applied(self.save(change)?)),
            _ => Err(Failure::Broken("no daemon runs".to_owned())),
        }
    }

    fn config(&self) -> Result<ConfigTexts, Failure> {
        let loaded = include::load(&self.conf, &self.prefix, None);
        let files = files(&loaded);
        if !self.conf.exists() {
            let why = format!("{} does not exist", self.conf.display());
            return Err(Failure::Broken(why));
        }
        Ok(ConfigTexts {
            base: Base {
                revision: 0,
                digest: digest(&files),
            },
            conf: self.conf.to_string_lossy().into_owned(),
            prefix: self.prefix.to_string_lossy().into_owned(),
            files,
            state: ConfState::Clean,
            read_only: None,
        })
    }

    /// The texts as they are, if the change starts from them.
    fn current(&self, change: &Change) -> Result<Texts, Failure> {
        let config = self.config()?;
        // A form may have started from what a daemon told that is gone now.
        if config.base.digest == change.base.digest {
            return Ok(Texts::new(&config));
        }
        Err(Failure::Refused(Box::new(Refusal {
            code: RefusalCode::Stale,
            message: "the files were changed since".to_owned(),
            current: Some(Box::new(config.base)),
            ..Refusal::default()
        })))
    }

    fn review(&self, change: &Change) -> Result<Review, Failure> {
        let texts = self.current(change)?;
        let changed: HashMap<PathBuf, String> = change
            .files
            .iter()
            .map(|file| (PathBuf::from(&file.path), file.text.clone()))
            .collect();
        let removed: Vec<PathBuf> = change.removed.iter().map(PathBuf::from).collect();
        if let Some(path) = removed.iter().find(|path| texts.text(path).is_none()) {
            let why = format!("`{}` is no part of the configuration", path.display());
            return Err(Failure::Broken(why));
        }
        let loaded = texts.check_without(&changed, &removed);
        let mut review = Review {
            diff: texts::difference_of(change, &texts),
            effects: (change.removed.iter())
                .map(|path| format!("removes {path}"))
                .collect(),
            problems: (loaded.diagnostics.iter())
                .map(|diagnostic| texts::problem(diagnostic, &loaded.sources))
                .collect(),
            ..Review::default()
        };
        review.is_applicable = !review.problems.iter().any(|problem| problem.is_error);
        Ok(review)
    }

    fn save(&self, change: &Change) -> Result<Applied, Failure> {
        let review = self.review(change)?;
        if !review.is_applicable {
            return Err(Failure::Refused(Box::new(Refusal {
                code: RefusalCode::Problems,
                message: "the configuration has errors".to_owned(),
                problems: review.problems,
                ..Refusal::default()
            })));
        }
        let files: Vec<(PathBuf, String)> = change
            .files
            .iter()
            .map(|file| (PathBuf::from(&file.path), file.text.clone()))
            .collect();
        (self.write)(&files).map_err(Failure::Broken)?;
        for path in &change.removed {
            std::fs::remove_file(path)
                .map_err(|error| Failure::Broken(format!("{path} cannot be removed: {error}")))?;
        }
        Ok(Applied {
            problems: review.problems,
            is_unchanged: files.is_empty() && change.removed.is_empty(),
            ..Applied::default()
        })
    }
}

fn files(loaded: &Loaded) -> Vec<FileText> {
    let ids = loaded.sources.ids();
    let known = ids.filter(|&file| loaded.sources.path(file) != Path::new(COMMAND_LINE));
    known
        .map(|file| FileText {
            path: loaded.sources.path(file).to_string_lossy().into_owned(),
            text: loaded.sources.text(file).to_owned(),
        })
        .collect()
}

fn digest(files: &[FileText]) -> String {
    let mut hash = Sha256::new();
    for file in files {
        // Lengths tell where a path ends and a text starts.
        hash.update(file.path.len().to_le_bytes());
        hash.update(&file.path);
        hash.update(file.text.len().to_le_bytes());
        hash.update(&file.text);
    }
    let mut text = String::new();
    for byte in hash.finalize() {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
