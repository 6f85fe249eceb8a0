//! `openclaw config`: revisions, their differences, and every change but that in an editor.
//!
//! Invariant: nothing is changed that was not shown first and agreed to, by an answer or by `--yes`.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::path::Path;

use jiff::tz::TimeZone;
use nix::unistd::geteuid;
use serde::Serialize;

use super::exit::Exit;
use super::figures::date_time;
use super::session::{Failure, Session, print_json};
use super::socket::name_of_user;
use super::table::{Side, Table};
use super::words::Agreement;
use super::{complain, print};
use crate::conf::diff::unified;
use crate::conf::source::MAX_FILE_BYTES;
use crate::protocol::{
    Applied, Change, ConfState, ConfigTexts, FileText, Outcome, Revert, Review, Revision,
    RevisionDiff, RevisionTexts, Revisions,
};
use crate::unit::printable::{escape, escape_lines};

/// The client's name in the record.
pub const CLIENT: &str = "cli";

/// How far back `undo` looks for a change of this user.
const LOOKED_BACK: usize = 200;

/// `config history`
pub fn history(session: &Session, lines: usize) -> Result<(), Failure> {
    let revisions: Revisions = session.get(&format!("/v1/revisions?limit={lines}"))?;
    if session.json {
        print_json(&revisions);
    } else if revisions.revisions.is_empty() {
        print("no revisions are recorded\n");
    } else {
        print(&history_table(&revisions, &TimeZone::system()).text());
    }
    Ok(())
}

/// `config show`
pub fn show(session: &Session, id: Option<u64>) -> Result<(), Failure> {
    let files = match id {
        Some(id) => {
            let texts: RevisionTexts = session.get(&format!("/v1/revisions/{id}"))?;
            if session.json {
                print_json(&texts);
                return Ok(());
            }
            texts.files
        }
        None => {
            let texts: ConfigTexts = session.get("/v1/config")?;
            if session.json {
                print_json(&texts);
                return Ok(());
            }
            texts.files
        }
    };
    for file in &files {
        print(&format!(
            "# configuration file {}:\n{}\n",
            escape(&file.path),
            escape_lines(&file.text)
        ));
    }
    Ok(())
}

/// `config diff`
pub fn diff(session: &Session, id: Option<u64>) -> Result<(), Failure> {
    if let Some(id) = id {
        let diff: RevisionDiff = session.get(&format!("/v1/revisions/{id}/diff"))?;
        if session.json {
            print_json(&diff);
        } else if diff.diff.is_empty() {
            print("it changed nothing\n");
        } else {
            print(&session.paint.diff(&diff.diff));
        }
        return Ok(());
    }
    let texts: ConfigTexts = session.get("/v1/config")?;
    let id = texts.base.revision;
    if id == 0 {
        return Err(Failure::failed(
            "no revision is recorded, so there is nothing to compare the files with",
        ));
    }
    if session.json {
        let diff: RevisionDiff = session.get(&format!("/v1/revisions/{id}/diff"))?;
        print_json(&diff);
        return Ok(());
    }
    if texts.state == ConfState::Clean {
        print("the files say what is in force\n");
        return Ok(());
    }
    let in_force: RevisionTexts = session.get(&format!("/v1/revisions/{id}"))?;
    print(
        &session
            .paint
            .diff(&difference(&in_force.files, &texts.files)),
    );
    Ok(())
}

/// `config check`
pub fn check(session: &Session) -> Result<(), Failure> {
    let texts: ConfigTexts = session.get("/v1/config")?;
    let change = Change {
        base: texts.base,
        client: CLIENT.to_owned(),
        ..Change::default()
    };
    let review: Review = session.post("/v1/config/review", &change)?;
    if session.json {
        print_json(&review);
    } else {
        session.warn(&review.problems);
    }
    if review.problems.iter().any(|problem| problem.is_error) {
        return Err(Failure::Quiet(Exit::Configuration));
    }
    if !session.json {
        let state = match texts.state {
            ConfState::Clean => "and in force",
            ConfState::Edited => "and not in force: `openclaw reload` takes it",
        };
        print(&format!("{} is good {state}\n", escape(&texts.conf)));
    }
    Ok(())
}

/// `config revert`
pub fn revert(session: &Session, id: u64, agreement: Agreement) -> Result<(), Failure> {
    take_back(session, id, false, agreement)
}

/// `config undo`
pub fn undo(session: &Session, agreement: Agreement) -> Result<(), Failure> {
    let author = name_of_user(geteuid().as_raw());
    let path = format!("/v1/revisions?limit={LOOKED_BACK}");
    let revisions: Revisions = session.get(&path)?;
    let Some(revision) = last_change(&revisions.revisions, &author) else {
        return Err(Failure::failed(format!(
            "there is no change of `{author}` to take back\n\
             hint: `openclaw config history` lists all, `openclaw config revert ID` goes back to one"
        )));
    };
    if !session.json {
        let note = match revision.note.is_empty() {
            true => String::new(),
            false => format!(": {}", escape(&revision.note)),
        };
        print(&format!(
            "taking back revision {} of {}{note}\n",
            revision.id,
            date_time(revision.at, &TimeZone::system())
        ));
    }
    take_back(session, revision.id, true, agreement)
}

/// `config apply`
pub fn apply(
    session: &Session,
    file: &Path,
    target: Option<&Path>,
    note: &str,
    agreement: Agreement,
) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::failed(format!("`{}`: {error}", file.display()));
    let text = match file == Path::new("-") {
        true => read(io::stdin()),
        false => File::open(file).and_then(read),
    };
    let text = text.map_err(failed)?;
    let texts: ConfigTexts = session.get("/v1/config")?;
    let path = match target {
        Some(target) => absolute(target)?,
        None => texts.conf.clone(),
    };
    let change = Change {
        base: texts.base,
        files: vec![FileText { path, text }],
        note: note.to_owned(),
        client: CLIENT.to_owned(),
        ..Change::default()
    };
    let review: Review = session.post("/v1/config/review", &change)?;
    show_review(session, &review);
    refuse_problems(session, &review)?;
    if review.diff.is_empty() {
        return unchanged(session);
    }
    agree(agreement, "apply this?")?;
    let applied: Applied = session.post("/v1/config/apply", &change)?;
    show_applied(session, &applied);
    Ok(())
}

/// `openclaw reload`
pub fn reload(session: &Session) -> Result<(), Failure> {
    /// No members: the path says all.
    #[derive(Serialize)]
    struct Nothing {}
    let applied: Applied = session.post("/v1/reload", &Nothing {})?;
    show_applied(session, &applied);
    Ok(())
}

/// What a change would do: its difference, its problems, its effects.
pub fn show_review(session: &Session, review: &Review) {
    session.warn(&review.problems);
    let mut text = session.paint.diff(&review.diff);
    for effect in &review.effects {
        text.push_str(&format!("- {}\n", escape(effect)));
    }
    // With `--json` the result alone goes to standard output.
    match session.json {
        true => complain(text.trim_end_matches('\n')),
        false => print(&text),
    }
}

/// Ends the word if the change cannot be applied.
pub fn refuse_problems(session: &Session, review: &Review) -> Result<(), Failure> {
    if review.is_applicable {
        return Ok(());
    }
    let count = review.problems.iter().filter(|it| it.is_error).count();
    Err(match (count, &session.status.read_only) {
        (0, Some(why)) => Failure::failed(format!("the configuration cannot be written: {why}")),
        (0, None) => Failure::failed("the daemon cannot apply this: nothing was changed"),
        (1, _) => Failure::Told(
            Exit::Configuration,
            "1 error: nothing was changed".to_owned(),
        ),
        (count, _) => Failure::Told(
            Exit::Configuration,
            format!("{count} errors: nothing was changed"),
        ),
    })
}

/// What became of a change.
pub fn show_applied(session: &Session, applied: &Applied) {
    session.warn(&applied.problems);
    if session.json {
        print_json(applied);
    } else if applied.is_unchanged {
        print(&format!(
            "nothing was different, revision {} stays in force\n",
            applied.revision
        ));
    } else {
        print(&format!("revision {} is in force\n", applied.revision));
    }
}

/// Nothing to do.
pub fn unchanged(session: &Session) -> Result<(), Failure> {
    let applied = Applied {
        revision: session.status.revision,
        generation: session.status.generation,
        is_unchanged: true,
        ..Applied::default()
    };
    show_applied(session, &applied);
    Ok(())
}

/// Asks, unless `--yes` says the answer.
pub fn agree(agreement: Agreement, question: &str) -> Result<(), Failure> {
    if agreement.yes || matches!(ask(&format!("{question} [y/N] ")).as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(Failure::failed(
        "nothing was changed (`--yes` answers for you)",
    ))
}

/// The answer of whoever is at standard input, in lower case; empty at its end.
pub fn ask(question: &str) -> String {
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(question.as_bytes());
    let _ = stderr.flush();
    let mut answer = String::new();
    // An answer is a word; more is not wanted in memory.
    let read = io::stdin().lock().take(1 << 10).read_line(&mut answer);
    if !matches!(read, Ok(1..)) || !io::stdin().is_terminal() {
        // Nobody pressed Enter where it is seen.
        let _ = stderr.write_all(b"\n");
    }
    answer.trim().to_ascii_lowercase()
}

/// A text that may be a configuration.
pub fn read(from: impl io::Read) -> io::Result<String> {
    let mut text = String::new();
    from.take(MAX_FILE_BYTES as u64 + 1)
        .read_to_string(&mut text)?;
    match text.len() > MAX_FILE_BYTES {
        true => Err(io::Error::other("the file is too large")),
        false => Ok(text),
    }
}

/// A path as the daemon needs it: its working directory is another.
pub fn absolute(path: &Path) -> Result<String, Failure> {
    let whole = std::path::absolute(path)
        .map_err(|error| Failure::failed(format!("`{}`: {error}", path.display())))?;
    whole
        .into_os_string()
        .into_string()
        .map_err(|_| Failure::failed(format!("`{}` is not UTF-8", path.display())))
}

fn take_back(
    session: &Session,
    revision: u64,
    undo: bool,
    agreement: Agreement,
) -> Result<(), Failure> {
    let texts: ConfigTexts = session.get("/v1/config")?;
    let revert = Revert {
        base: texts.base,
        revision,
        undo,
        dry_run: true,
        client: CLIENT.to_owned(),
    };
    let review: Review = session.post("/v1/config/revert", &revert)?;
    show_review(session, &review);
    refuse_problems(session, &review)?;
    if review.diff.is_empty() {
        return unchanged(session);
    }
    agree(agreement, "apply this?")?;
    let revert = Revert {
        dry_run: false,
        ..revert
    };
    let applied: Applied = session.post("/v1/config/revert", &revert)?;
    show_applied(session, &applied);
    Ok(())
}

/// The newest change of this user that was not taken back already. What takes back is no change:
/// otherwise a second undo would bring back what the first one took.
fn last_change<'r>(newest_first: &'r [Revision], author: &str) -> Option<&'r Revision> {
    let mut taken_back = HashSet::new();
    newest_first.iter().find(|revision| {
        if revision.outcome != Outcome::Applied {
            return false;
        }
        if let Some(id) = revision.reverts {
            taken_back.insert(id);
            return false;
        }
        revision.author == author
            && revision.client != "start"
            && revision.parent != 0
            && !taken_back.contains(&revision.id)
    })
}

fn history_table(revisions: &Revisions, zone: &TimeZone) -> Table {
    let mut table = Table::new(&[
        ("", Side::Left),
        ("REV", Side::Right),
        ("WHEN", Side::Left),
        ("WHO", Side::Left),
        ("BY", Side::Left),
        ("LINES", Side::Right),
        ("WHAT", Side::Left),
    ]);
    for revision in &revisions.revisions {
        let mut what = Vec::new();
        if revision.outcome == Outcome::Refused {
            let why = revision
                .reason
                .as_deref()
                .unwrap_or("no reason is recorded");
            what.push(format!("refused: {why}"));
        }
        if let Some(id) = revision.reverts {
            what.push(format!("takes back {id}"));
        }
        if !revision.note.is_empty() {
            what.push(revision.note.clone());
        }
        table.row([
            match revision.id == revisions.current {
                true => "*".to_owned(),
                false => String::new(),
            },
            revision.id.to_string(),
            date_time(revision.at, zone),
            revision.author.clone(),
            revision.client.clone(),
            format!("+{} -{}", revision.added, revision.removed),
            what.join("; "),
        ]);
    }
    table
}

/// The difference of two sets of files.
fn difference(old: &[FileText], new: &[FileText]) -> String {
    let text = |files: &[FileText], path: &str| {
        let found = files.iter().find(|file| file.path == path);
        found.map(|file| file.text.clone()).unwrap_or_default()
    };
    let gone = old
        .iter()
        .filter(|file| new.iter().all(|other| other.path != file.path));
    new.iter()
        .chain(gone)
        .map(|file| unified(&file.path, &text(old, &file.path), &text(new, &file.path)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(id: u64, author: &str) -> Revision {
        Revision {
            id,
            at: 1_700_000_000_000,
            author: author.to_owned(),
            client: "cli".to_owned(),
            parent: id - 1,
            ..Revision::default()
        }
    }

    #[test]
    fn undo_takes_the_last_change_of_this_user_that_still_stands() {
        let last = |revisions: &[Revision]| last_change(revisions, "me").map(|it| it.id);
        let mine = |id| revision(id, "me");
        assert_eq!(last(&[mine(4), mine(3)]), Some(4));
        assert_eq!(last(&[revision(4, "you"), mine(3)]), Some(3));
        let refused = Revision {
            outcome: Outcome::Refused,
            ..mine(5)
        };
        assert_eq!(last(&[refused, mine(4)]), Some(4));
        let undo = |id, of| Revision {
            reverts: Some(of),
            ..mine(id)
        };
        assert_eq!(last(&[undo(5, 4), mine(4), mine(3)]), Some(3));
        assert_eq!(
            last(&[undo(6, 3), undo(5, 4), mine(4), mine(3), mine(2)]),
            Some(2)
        );
        assert_eq!(last(&[mine(1)]), None, "the first has nothing before it");
    }

    #[test]
    fn the_history_marks_what_is_in_force_and_what_was_refused() {
        let revisions = Revisions {
            current: 3,
            revisions: vec![
                Revision {
                    outcome: Outcome::Refused,
                    reason: Some("unknown directive \x1b[31m".to_owned()),
                    ..revision(4, "me")
                },
                Revision {
                    note: "add api".to_owned(),
                    added: 5,
                    ..revision(3, "root")
                },
            ],
        };
        assert_eq!(
            history_table(&revisions, &TimeZone::UTC).text(),
            "\u{20}  REV  WHEN                 WHO   BY   LINES  WHAT\n\
             \u{20}    4  2023-11-14 22:13:20  me    cli  +0 -0  refused: unknown directive ^[[31m\n\
             *    3  2023-11-14 22:13:20  root  cli  +5 -0  add api\n"
        );
    }

    #[test]
    fn files_that_came_and_went_are_in_the_difference() {
        let file = |path: &str, text: &str| FileText {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let old = [file("/a", "1;\n"), file("/b", "2;\n")];
        let new = [file("/a", "1;\n"), file("/c", "3;\n")];
        let diff = difference(&old, &new);
        assert!(
            diff.contains("+3;") && diff.contains("-2;") && !diff.contains("/a"),
            "{diff}"
        );
    }
}
