//! Files that change while they are in use, other than certificates with their keys: authorities that
//! are trusted, lists of what was revoked, what is shown to peers.
//!
//! Owns when to read them again. What was good stays until what is there now is good too. Invariant:
//! what nobody holds any more is not looked at.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::files::Stamp;

/// Some files of which one thing is made.
pub struct Watched {
    paths: Vec<PathBuf>,
    state: Mutex<State>,
    /// Reads them and takes what they hold into use; the error says what is wrong with them.
    take: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
}

#[derive(Default)]
struct State {
    seen: Vec<Option<Stamp>>,
    /// They changed and are no good; another look will tell whether somebody was writing.
    is_doubted: bool,
    trouble: Option<String>,
}

/// What a look at changed files found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// What they hold is in use.
    Taken(Vec<PathBuf>),
    /// They are no good; what was there before stays.
    Refused(String),
}

impl fmt::Debug for Watched {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Watched")
            .field("paths", &self.paths)
            .finish_non_exhaustive()
    }
}

static ALL: Mutex<Vec<Weak<Watched>>> = Mutex::new(Vec::new());

/// Looks at all that is held somewhere. Reads files: not for a thread that serves.
pub fn look() -> Vec<Change> {
    let mut all = ALL.lock();
    all.retain(|watched| watched.strong_count() > 0);
    let held: Vec<Arc<Watched>> = all.iter().filter_map(Weak::upgrade).collect();
    drop(all);
    // Places that name the same file say the same of it.
    let mut changes: Vec<Change> = Vec::new();
    for change in held.iter().filter_map(|watched| watched.look()) {
        if !changes.contains(&change) {
            changes.push(change);
        }
    }
    changes
}

impl Watched {
    /// What the files look like, to be asked for before they are read for the first time.
    pub(super) fn stamps(paths: &[PathBuf]) -> Vec<Option<Stamp>> {
        paths.iter().map(|path| Stamp::of(path)).collect()
    }

    /// Looks at these files from now on, which looked like this before they were read, for as long as
    /// somebody holds what is returned; `None` without files.
    pub(super) fn begin(
        paths: Vec<PathBuf>,
        seen: Vec<Option<Stamp>>,
        take: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Option<Arc<Self>> {
        if paths.is_empty() {
            return None;
        }
        let watched = Arc::new(Self {
            paths,
            state: Mutex::new(State {
                seen,
                ..State::default()
            }),
            take: Box::new(take),
        });
        ALL.lock().push(Arc::downgrade(&watched));
        Some(watched)
    }

    fn look(&self) -> Option<Change> {
        let seen = Self::stamps(&self.paths);
        let mut state = self.state.lock();
        if seen == state.seen && !state.is_doubted {
            return None;
        }
        let was_doubted = std::mem::take(&mut state.is_doubted);
        let changed = (self.paths.iter().zip(&seen).zip(&state.seen))
            .filter(|((_, now), before)| now != before)
            .map(|((path, _), _)| path.clone())
            .collect();
        state.seen = seen;
        match (self.take)() {
            Ok(()) => {
                state.trouble = None;
                Some(Change::Taken(match was_doubted {
                    true => self.paths.clone(),
                    false => changed,
                }))
            }
            Err(_) if !was_doubted => {
                state.is_doubted = true;
                None
            }
            Err(problem) if state.trouble.as_ref() == Some(&problem) => None,
            Err(problem) => {
                state.trouble = Some(problem.clone());
                Some(Change::Refused(problem))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_taken_and_what_is_no_good_is_told_once_and_leaves_what_was() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("some.pem");
        let put = |text: &str| {
            let new = directory.path().join("new");
            std::fs::write(&new, text).expect("written");
            std::fs::rename(&new, &path).expect("renamed");
        };
        put("1");
        let paths = vec![path.clone()];
        let taken = Arc::new(Mutex::new(0));
        let (into, from) = (Arc::clone(&taken), path.clone());
        let watched = Watched::begin(paths.clone(), Watched::stamps(&paths), move || {
            let text = std::fs::read_to_string(&from).map_err(|error| error.to_string())?;
            *into.lock() = text.parse().map_err(|_| "no number".to_owned())?;
            Ok(())
        });
        let watched = watched.expect("there is a file");
        assert_eq!(watched.look(), None);
        put("2");
        assert_eq!(watched.look(), Some(Change::Taken(paths.clone())));
        assert_eq!((watched.look(), *taken.lock()), (None, 2));
        put("x");
        assert_eq!(watched.look(), None);
        assert_eq!(watched.look(), Some(Change::Refused("no number".into())));
        assert_eq!((watched.look(), *taken.lock()), (None, 2));
        put("3");
        assert_eq!(watched.look(), Some(Change::Taken(paths)));
        assert_eq!(*taken.lock(), 3);
        assert!(Watched::begin(Vec::new(), Vec::new(), || Ok(())).is_none());
    }
}
