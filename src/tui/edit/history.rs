//! Which revision an undo or a redo of a person means.
//!
//! An undo is a revision of its own that takes another one back, so both are found by reading the
//! history; nothing is kept here.

use std::collections::HashSet;

use crate::protocol::{Outcome, Revision};

/// The last change of this person that is not taken back; revisions come newest first.
pub fn undo(revisions: &[Revision], person: &str) -> Option<u64> {
    let gone = taken_back(revisions);
    own(revisions, person)
        .find(|revision| revision.reverts.is_none() && !gone.contains(&revision.id))
        .map(|revision| revision.id)
}

/// The last undo of this person that is not taken back, if they changed nothing else since.
pub fn redo(revisions: &[Revision], person: &str) -> Option<u64> {
    let gone = taken_back(revisions);
    let is_change = |id: u64| {
        let known = revisions.iter().find(|revision| revision.id == id);
        known.is_none_or(|revision| revision.reverts.is_none())
    };
    own(revisions, person)
        .take_while(|revision| revision.reverts.is_some() || gone.contains(&revision.id))
        .find(|revision| !gone.contains(&revision.id) && revision.reverts.is_some_and(is_change))
        .map(|revision| revision.id)
}

/// What was in force and is by this person. A reload takes what the files say, whoever wrote it.
fn own<'r>(revisions: &'r [Revision], person: &str) -> impl Iterator<Item = &'r Revision> {
    revisions.iter().filter(move |revision| {
        revision.outcome == Outcome::Applied
            && revision.author == person
            && revision.parent != 0
            && !matches!(&*revision.client, "start" | "signal")
    })
}

/// The revisions whose change is taken back by a later one that itself is not.
fn taken_back(revisions: &[Revision]) -> HashSet<u64> {
    let mut gone = HashSet::new();
    // Newest first: whether an undo holds is known before what it takes back.
    for revision in revisions {
        if revision.outcome == Outcome::Applied
            && !gone.contains(&revision.id)
            && let Some(old) = revision.reverts
        {
            gone.insert(old);
        }
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Revisions from the oldest, numbered from 1: who, and what is taken back.
    fn history(rows: &[(&str, Option<u64>)]) -> Vec<Revision> {
        let revisions = rows
            .iter()
            .enumerate()
            .map(|(index, (author, reverts))| Revision {
                id: index as u64 + 1,
                author: (*author).to_owned(),
                reverts: *reverts,
                parent: 1,
                ..Revision::default()
            });
        let mut revisions: Vec<_> = revisions.collect();
        revisions.reverse();
        revisions
    }

    #[test]
    fn undo_goes_back_one_change_of_the_person_after_the_other() {
        let mut rows = vec![("ann", None), ("ann", None), ("bob", None)];
        assert_eq!(undo(&history(&rows), "ann"), Some(2));
        rows.push(("ann", Some(2)));
        assert_eq!(undo(&history(&rows), "ann"), Some(1));
        rows.push(("ann", Some(1)));
        assert_eq!(undo(&history(&rows), "ann"), None);
        assert_eq!(undo(&history(&rows), "bob"), Some(3));
    }

    #[test]
    fn redo_takes_undos_back_until_something_else_is_changed() {
        let mut rows = vec![
            ("ann", None),
            ("ann", None),
            ("ann", Some(2)),
            ("ann", Some(1)),
        ];
        assert_eq!(redo(&history(&rows), "ann"), Some(4));
        rows.push(("ann", Some(4)));
        assert_eq!(redo(&history(&rows), "ann"), Some(3));
        assert_eq!(undo(&history(&rows), "ann"), Some(1));
        rows.push(("ann", Some(3)));
        assert_eq!(redo(&history(&rows), "ann"), None);
        rows.push(("ann", Some(2)));
        assert_eq!(redo(&history(&rows), "ann"), Some(7));
        rows.push(("ann", None));
        assert_eq!(redo(&history(&rows), "ann"), None);
        assert_eq!(redo(&history(&rows), "bob"), None);
    }

    #[test]
    fn what_was_refused_or_came_with_the_start_is_not_undone() {
        let mut revisions = history(&[("ann", None), ("ann", None)]);
        revisions[0].outcome = Outcome::Refused;
        revisions[1].client = "start".to_owned();
        assert_eq!(undo(&revisions, "ann"), None);
    }
}
