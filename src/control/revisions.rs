//! What the store remembers, as the protocol tells it: revisions, events, the audit.
//!
//! Reading blocks, so it is done on threads that may wait.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::answer::{file_texts, millis};
use super::{Control, Visitor, alerts, keys};
use crate::conf::diff;
use crate::process::conf_files;
use crate::process::desk::{Proposal, refusal};
use crate::protocol::{
    Done, Events, Level, Occurrence, Outcome, Refusal, RefusalCode, Revert, Revision, RevisionDiff,
    RevisionTexts, Revisions, StoreStatus,
};
use crate::store::{self, Audit, Kept, Reader, Row, State, StoreError};

/// How long the store may take to open before somebody is told that it is not there.
const OPENING: Duration = Duration::from_secs(3);

/// Reads from the store on a thread that may wait.
pub async fn read<T: Send + 'static>(
    control: &Control,
    run: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Refusal> {
    let store = control.desk.store.clone();
    let reading = tokio::task::spawn_blocking(move || {
        // A dashboard that shares the process asks before the file is made.
        store.wait_open(OPENING);
        run(&store.reader()?)
    });
    reading
        .await
        .map_err(|_| refusal(RefusalCode::Failed, "the store was not read"))?
        .map_err(|error| refusal(RefusalCode::NoStore, format!("the store: {error}")))
}

/// Revisions, newest first.
pub async fn list(
    control: &Control,
    limit: usize,
    before: Option<u64>,
) -> Result<Revisions, Refusal> {
    let rows = read(control, move |reader| {
        reader.revisions(limit as u32, before)
    })
    .await?;
    Ok(Revisions {
        current: control.desk.in_force().revision,
        revisions: rows.into_iter().map(told).collect(),
    })
}

/// A revision with its files.
pub async fn texts(control: &Control, id: u64) -> Result<RevisionTexts, Refusal> {
    let (revision, files) = revision(control, id).await?;
    Ok(RevisionTexts {
        revision,
        files: file_texts(files),
    })
}

/// What a revision changed.
pub async fn diff(control: &Control, id: u64) -> Result<RevisionDiff, Refusal> {
    let (told, files) = revision(control, id).await?;
    let parent = match told.parent {
        0 => Vec::new(),
        // A parent that is too old to be kept: all of it is new.
        parent => match revision(control, parent).await {
            Ok((_, files)) => files,
            Err(error) if error.code == RefusalCode::NotFound => Vec::new(),
            Err(error) => return Err(error),
        },
    };
    let now = conf_files::texts(&control.desk.read(&[], &[]).loaded);
    Ok(RevisionDiff {
        diff: conf_files::difference(&parent, &files),
        to_here: conf_files::difference(&now, &files),
        revision: told,
    })
}

type Files = Vec<(PathBuf, String)>;

async fn revision(control: &Control, id: u64) -> Result<(Revision, Files), Refusal> {
    let found = read(control, move |reader| reader.revision(id)).await?;
    let found = found
        .ok_or_else(|| refusal(RefusalCode::NotFound, format!("there is no revision {id}")))?;
    let files = found.files.into_iter();
    let files = files.map(|file| (PathBuf::from(file.path), file.text));
    Ok((told(found.revision), files.collect()))
}

fn told(kept: Kept<store::Revision>) -> Revision {
    let row = kept.row;
    Revision {
        id: kept.id,
        at: row.at,
        author: row.author,
        client: row.client,
        note: row.note,
        outcome: match row.outcome {
            store::Outcome::Applied => Outcome::Applied,
            store::Outcome::Refused => Outcome::Refused,
        },
        reason: row.reason,
        parent: row.parent,
        reverts: row.reverts,
        added: row.added,
        removed: row.removed,
    }
}

/// The change that a revert asks for: back to the texts of a revision, or without what one changed.
pub async fn proposal_of(control: &Control, revert: &Revert) -> Result<Proposal, Refusal> {
    let (wanted, files) = revision(control, revert.revision).await?;
    let now = conf_files::texts(&control.desk.read(&[], &[]).loaded);
    let (target, note) = match revert.undo {
        false => (files, format!("back to revision {}", wanted.id)),
        true => {
            if wanted.outcome == Outcome::Refused {
                return Err(refusal(
                    RefusalCode::Invalid,
                    format!("revision {} was never in force", wanted.id),
                ));
            }
            if wanted.parent == 0 {
                return Err(refusal(
                    RefusalCode::Invalid,
                    format!(
                        "revision {} is the first: there is nothing before it",
                        wanted.id
                    ),
                ));
            }
            let (_, parent) = revision(control, wanted.parent).await?;
            let target = without(&parent, &files, &now).map_err(|path| Refusal {
                hint: Some("look at the revisions since, and edit by hand".to_owned()),
                ..refusal(
                    RefusalCode::Conflict,
                    format!(
                        "later changes are in the way in `{}`: nothing was undone",
                        path.display()
                    ),
                )
            })?;
            (target, format!("undo of revision {}", wanted.id))
        }
    };
    let is_in = |files: &Files, path: &Path| files.iter().any(|(other, _)| other == path);
    Ok(Proposal {
        base: revert.base.clone(),
        files: target
            .iter()
            .filter(|file| !now.contains(file))
            .cloned()
            .collect(),
        removed: now
            .iter()
            .filter(|(path, _)| !is_in(&target, path))
            .map(|(path, _)| path.clone())
            .collect(),
        note,
        reverts: Some(wanted.id),
    })
}

/// The files as they are now without what led from `old` to `new`; the error names a file whose
/// lines were changed again since.
fn without(old: &Files, new: &Files, now: &Files) -> Result<Files, PathBuf> {
    let text_in = |files: &Files, path: &Path| -> Option<String> {
        let found = files.iter().find(|(other, _)| other == path);
        found.map(|(_, text)| text.clone())
    };
    let mut result = Files::new();
    for (path, text) in now {
        let (before, after) = (text_in(old, path), text_in(new, path));
        match (before, after) {
            (before, after) if before == after => result.push((path.clone(), text.clone())),
            // It came with the change, and goes with it.
            (None, Some(after)) if after == *text => {}
            (Some(before), Some(after)) => {
                let undone = undone(&before, &after, text).ok_or_else(|| path.clone())?;
                result.push((path.clone(), undone));
            }
            _ => return Err(path.clone()),
        }
    }
    // It went with the change, and comes back.
    for (path, text) in old {
        let has_gone = text_in(new, path).is_none();
        if has_gone && text_in(now, path).is_none() {
            result.push((path.clone(), text.clone()));
        }
    }
    Ok(result)
}

/// `now` without what led from `old` to `new`; `None` if later changes touch the same lines.
fn undone(old: &str, new: &str, now: &str) -> Option<String> {
    let old: Vec<&str> = old.split_inclusive('\n').collect();
    let new: Vec<&str> = new.split_inclusive('\n').collect();
    let now: Vec<&str> = now.split_inclusive('\n').collect();
    let undo = diff::changes(&new, &old);
    let later = diff::changes(&new, &now);
    let mut out = String::new();
    let mut at = 0; // In `now`.
    let mut shift: isize = 0; // From lines of `new` to lines of `now`.
    let mut rest = later.iter().peekable();
    for change in &undo {
        while let Some(next) = rest.peek() {
            // Changes that touch share a line, or an edge: nobody can say which came first.
            if next.old.end < change.old.start {
                shift += next.new.len() as isize - next.old.len() as isize;
                rest.next();
            } else if next.old.start > change.old.end {
                break;
            } else {
                return None;
            }
        }
        let start = usize::try_from(change.old.start as isize + shift).ok()?;
        out.extend(now.get(at..start)?.iter().copied());
        out.extend(old.get(change.new.clone())?.iter().copied());
        at = start + change.old.len();
    }
    out.extend(now.get(at..)?.iter().copied());
    Some(out)
}

/// What happened, newest first.
pub async fn events(control: &Control, limit: usize) -> Result<Events, Refusal> {
    let rows = read(control, move |reader| reader.events(limit as u32, None)).await?;
    let told = rows.into_iter().map(|kept| Occurrence {
        id: kept.id,
        at: kept.row.at,
        level: match kept.row.level {
            store::Level::Info => Level::Info,
            store::Level::Good => Level::Good,
            store::Level::Warn => Level::Warn,
            store::Level::Bad => Level::Bad,
        },
        kind: kept.row.kind,
        subject: kept.row.subject,
        text: kept.row.text,
    });
    Ok(Events {
        events: told.collect(),
    })
}

/// Keeps an event.
pub fn keep_event(control: &Control, occurrence: &Occurrence) {
    // The store counts what it has to drop.
    let _ = control.desk.store.try_put(Row::Event(store::Event {
        at: occurrence.at,
        level: match occurrence.level {
            Level::Info => store::Level::Info,
            Level::Good => store::Level::Good,
            Level::Warn => store::Level::Warn,
            Level::Bad => store::Level::Bad,
        },
        kind: occurrence.kind.clone(),
        subject: occurrence.subject.clone(),
        text: occurrence.text.clone(),
    }));
}

/// Keeps a line of the audit.
pub fn audit(control: &Control, visitor: &Visitor, action: &str, detail: &str) {
    // It is in the error log already, should the store not take it.
    drop(control.desk.store.put_audit(Audit {
        at: millis(SystemTime::now()),
        user: visitor.name.clone(),
        uid: visitor.uid,
        pid: visitor.pid.unwrap_or_default().unsigned_abs(),
        client: String::new(),
        action: action.to_owned(),
        detail: detail.to_owned(),
    }));
}

/// How the store does.
pub fn store_status(control: &Control) -> StoreStatus {
    let store = &control.desk.store;
    StoreStatus {
        path: store.path().display().to_string(),
        error: match store.state() {
            State::Failed(error) => Some(error.to_string()),
            State::Opening | State::Open => None,
        },
        bytes: store.bytes(),
        dropped: store.dropped(),
    }
}

/// Copies the store into a file.
pub async fn backup(control: &Control, path: PathBuf) -> Result<Done, Refusal> {
    let shown = path.display().to_string();
    let store = control.desk.store.clone();
    let made = tokio::task::spawn_blocking(move || store.backup(&path)).await;
    match made {
        Ok(Ok(bytes)) => Ok(Done {
            text: format!("{bytes} bytes saved in {shown}"),
        }),
        Ok(Err(error @ StoreError::NotWritable { .. })) => {
            // People take the file for their own: it is the daemon that makes it.
            let text = format!(
                "{error}; hint: the daemon writes it: name a directory where its user may write"
            );
            Err(refusal(RefusalCode::Failed, text))
        }
        Ok(Err(error)) => Err(refusal(RefusalCode::Failed, error.to_string())),
        Err(_) => Err(refusal(RefusalCode::Failed, "the backup broke off")),
    }
}

/// Puts the content of a backup in place of the store's. The configuration in force stays; it is
/// recorded anew if the backup does not have it last.
pub async fn restore(control: &Control, path: PathBuf) -> Result<Done, Refusal> {
    let shown = path.display().to_string();
    let store = control.desk.store.clone();
    let made = tokio::task::spawn_blocking(move || store.restore(&path)).await;
    match made {
        Ok(Ok(())) => {
            keys::reread().await?;
            alerts::reread();
            control.desk.record_again().await?;
            Ok(Done {
                text: format!("restored from {shown}; the configuration in force stays as it is"),
            })
        }
        Ok(Err(error)) => Err(refusal(RefusalCode::Failed, error.to_string())),
        Err(_) => Err(refusal(RefusalCode::Failed, "the restore broke off")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_undo_keeps_what_came_later_elsewhere() {
        let old = "a\nb\nc\nd\ne\nf\n";
        let new = "a\nB\nc\nd\ne\nf\n";
        let now = "a\nB\nc\nd\ne\nF\ng\n";
        assert_eq!(
            undone(old, new, now).as_deref(),
            Some("a\nb\nc\nd\ne\nF\ng\n")
        );
        assert_eq!(undone(old, new, new).as_deref(), Some(old));
    }

    #[test]
    fn an_undo_is_refused_where_the_same_lines_were_changed_again() {
        let old = "a\nb\nc\n";
        let new = "a\nB\nc\n";
        assert_eq!(undone(old, new, "a\nX\nc\n"), None);
        assert_eq!(undone(old, new, "a\nB\nX\nc\n"), None);
    }

    #[test]
    fn a_file_that_came_goes_and_one_that_went_comes_back() {
        let file = |name: &str, text: &str| (PathBuf::from(name), text.to_owned());
        let old = vec![file("main", "x\n"), file("gone", "g\n")];
        let new = vec![file("main", "x\n"), file("came", "c\n")];
        let now = vec![file("main", "y\n"), file("came", "c\n")];
        let expected = vec![file("main", "y\n"), file("gone", "g\n")];
        assert_eq!(without(&old, &new, &now), Ok(expected));
        let edited = vec![file("main", "y\n"), file("came", "C\n")];
        assert_eq!(without(&old, &new, &edited), Err(PathBuf::from("came")));
    }

    proptest! {
        #[test]
        fn an_undo_of_the_last_change_gives_the_text_before_it(
            old in vec("[abc]\n", 0..12),
            new in vec("[abc]\n", 0..12),
        ) {
            let (old, new) = (old.concat(), new.concat());
            prop_assert_eq!(undone(&old, &new, &new), Some(old));
        }

        #[test]
        fn an_undo_either_refuses_or_leaves_the_later_lines(
            old in vec("[abc]\n", 0..8),
            new in vec("[abc]\n", 0..8),
            later in vec("[xyz]\n", 0..4),
        ) {
            let (old, new) = (old.concat(), new.concat());
            let now = format!("{new}-\n{}", later.concat());
            if let Some(undone) = undone(&old, &new, &now) {
                let expected = format!("-\n{}", later.concat());
                prop_assert!(undone.ends_with(&expected));
            }
        }
    }
}
