//! `openclaw config edit`: a private copy of a file, the person's own editor, and the same review as
//! for every other change.
//!
//! Invariants: the file itself is written by the daemon only; what somebody typed is never thrown
//! away without their word.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::mkdtemp;

use super::complain;
use super::config::{
    CLIENT, absolute, ask, read, refuse_problems, show_applied, show_review, unchanged,
};
use super::exit::Exit;
use super::session::{Failure, Session};
use super::words::Agreement;
use crate::protocol::client::CallError;
use crate::protocol::{Applied, Change, ConfigTexts, FileText, RefusalCode, Review};

/// Editors that are tried when none is named.
const EDITORS: &[&str] = &["editor", "nano", "vi"];

/// Edits, reviews, asks, applies.
pub fn run(
    session: &Session,
    file: Option<&Path>,
    note: &str,
    agreement: Agreement,
) -> Result<(), Failure> {
    let texts: ConfigTexts = session.get("/v1/config")?;
    if let Some(why) = &texts.read_only {
        return Err(Failure::failed(format!(
            "the configuration cannot be written: {why}"
        )));
    }
    let path = match file {
        Some(file) => absolute(file)?,
        None => texts.conf.clone(),
    };
    let Some(original) = texts.files.iter().find(|file| file.path == path) else {
        let names: Vec<_> = texts.files.iter().map(|file| file.path.as_str()).collect();
        return Err(Failure::failed(format!(
            "`{path}` is no file of the configuration\nhint: its files are {}",
            names.join(", ")
        )));
    };
    let copy = Copy::of(original)
        .map_err(|error| Failure::failed(format!("a private copy cannot be made: {error}")))?;
    loop {
        edit(&copy.path).map_err(|failure| copy.keep(failure))?;
        let text = File::open(&copy.path).and_then(read).map_err(|error| {
            copy.keep(Failure::failed(format!(
                "`{}`: {error}",
                copy.path.display()
            )))
        })?;
        if text == original.text {
            copy.discard();
            return unchanged(session);
        }
        let change = Change {
            base: texts.base.clone(),
            files: vec![FileText {
                path: path.clone(),
                text,
            }],
            note: note.to_owned(),
            client: CLIENT.to_owned(),
            ..Change::default()
        };
        let review: Review = session
            .post("/v1/config/review", &change)
            .map_err(|failure| copy.keep(stale(failure)))?;
        show_review(session, &review);
        if let Err(failure) = refuse_problems(session, &review) {
            let answer = match agreement.yes {
                true => String::new(),
                false => ask("edit again, discard, or keep the copy and end? [e/d/K] "),
            };
            match answer.as_str() {
                "e" | "edit" => continue,
                "d" | "discard" => {
                    copy.discard();
                    return Err(Failure::Quiet(Exit::Configuration));
                }
                _ => return Err(copy.keep(failure)),
            }
        }
        let answer = match agreement.yes {
            true => "y".to_owned(),
            false => ask("apply this, edit again, or not? [y/e/N] "),
        };
        match answer.as_str() {
            "y" | "yes" => {
                let applied: Applied = session
                    .post("/v1/config/apply", &change)
                    .map_err(|failure| copy.keep(stale(failure)))?;
                copy.discard();
                show_applied(session, &applied);
                return Ok(());
            }
            "e" | "edit" => {}
            _ => return Err(copy.keep(Failure::failed("nothing was changed"))),
        }
    }
}

/// Says what a stale base means to somebody who was editing.
fn stale(failure: Failure) -> Failure {
    if let Failure::Call(CallError::Refused(refusal)) = &failure
        && refusal.code == RefusalCode::Stale
    {
        complain("openclaw: the configuration was changed while you were editing");
    }
    failure
}

/// A copy that only its owner can read.
struct Copy {
    directory: PathBuf,
    path: PathBuf,
}

impl Copy {
    fn of(file: &FileText) -> std::io::Result<Self> {
        let directory = mkdtemp(&std::env::temp_dir().join("openclaw-edit-XXXXXX"))?;
        // Editors know a language by the name of the file.
        let name = Path::new(&file.path).file_name();
        let path = directory.join(name.unwrap_or("openclaw.conf".as_ref()));
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?
            .write_all(file.text.as_bytes())?;
        Ok(Self { directory, path })
    }

    /// Says where the copy is; the word fails for this reason.
    fn keep(&self, failure: Failure) -> Failure {
        complain(&format!(
            "openclaw: what you edited is kept in {}",
            self.path.display()
        ));
        failure
    }

    fn discard(&self) {
        // What is left in a private directory does no harm.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Runs the editor to its end.
fn edit(path: &Path) -> Result<(), Failure> {
    let named = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let mut command = match named("VISUAL").or_else(|| named("EDITOR")) {
        // It may carry options and quotes, as everywhere; the shell reads it, the path is no part
        // of what it reads.
        Some(editor) => {
            let mut script = editor;
            script.push(" \"$@\"");
            let mut command = Command::new("/bin/sh");
            command.arg("-c").arg(script).arg("openclaw");
            command
        }
        None => Command::new(usual_editor()?),
    };
    let status = command.arg(path).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::failed(format!(
            "the editor did not end well ({status}): nothing was changed"
        ))),
        Err(error) => Err(Failure::failed(format!(
            "the editor cannot be started: {error}"
        ))),
    }
}

fn usual_editor() -> Result<PathBuf, Failure> {
    let path: OsString = std::env::var_os("PATH").unwrap_or_default();
    let directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
    EDITORS
        .iter()
        .flat_map(|name| {
            directories
                .iter()
                .map(move |directory| directory.join(name))
        })
        .find(|path| path.is_file())
        .ok_or_else(|| {
            Failure::failed("no editor is known\nhint: name one, for example `EDITOR=vi`")
        })
}
