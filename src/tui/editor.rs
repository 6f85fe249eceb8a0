//! `$EDITOR` on a copy of a text: the file itself is changed by the daemon only, after a review.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::view::EditorJob;

/// What an editor may leave behind.
const LONGEST: u64 = 16 << 20;

/// Opens the text in `$VISUAL`, `$EDITOR` or `vi` and waits until it is closed; gives the text as it
/// was left. The terminal has to be free.
pub fn run(job: &EditorJob) -> Result<String, String> {
    let editor = ["VISUAL", "EDITOR"]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|value| !value.trim().is_empty())
        .unwrap_or_else(|| "vi".to_owned());
    run_with(&editor, job)
}

fn run_with(editor: &str, job: &EditorJob) -> Result<String, String> {
    let directory = private_directory()?;
    let result = edit(editor, job, &directory);
    // What is left there is only a copy.
    let _ = fs::remove_dir_all(&directory);
    result
}

fn edit(editor: &str, job: &EditorJob, directory: &Path) -> Result<String, String> {
    let name = job.path.file_name().unwrap_or("openclaw.conf".as_ref());
    let copy = directory.join(name);
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&copy)
        .and_then(|mut file| file.write_all(job.text.as_bytes()));
    written.map_err(|error| format!("could not write {}: {error}", copy.display()))?;
    // The variable may hold arguments: `code --wait`. All editors that people name there know `+N`,
    // or take it for the name of a new file, which harms nobody.
    let mut words = editor.split_whitespace();
    let program = words.next().unwrap_or("vi");
    let status = Command::new(program)
        .args(words)
        .arg(format!("+{}", job.line.max(1)))
        .arg(&copy)
        .status()
        .map_err(|error| format!("could not start `{program}`: {error}"))?;
    if !status.success() {
        return Err(format!(
            "`{program}` ended with {status}; nothing is changed"
        ));
    }
    let length = fs::metadata(&copy).map_or(0, |metadata| metadata.len());
    if length > LONGEST {
        return Err(format!("the text has {length} bytes, which is too much"));
    }
    fs::read_to_string(&copy).map_err(|error| format!("could not read {}: {error}", copy.display()))
}

/// A directory that nobody else can look into: configurations hold secrets.
fn private_directory() -> Result<PathBuf, String> {
    let base = std::env::temp_dir();
    let mut last = String::new();
    for attempt in 0..100 {
        let path = base.join(format!("openclaw-edit-{}-{attempt}", std::process::id()));
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(error) => last = format!("could not make {}: {error}", path.display()),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> EditorJob {
        EditorJob {
            path: "/etc/openclaw/openclaw.conf".into(),
            line: 2,
            text: "events {}\n".to_owned(),
        }
    }

    #[test]
    fn the_text_comes_back_as_it_was_left() {
        let directory = tempfile::tempdir().expect("a directory");
        let script = directory.path().join("editor");
        let text =
            "#!/bin/sh\n[ \"$1\" = --wait ] && [ \"$2\" = +2 ] && echo 'http {}' >> \"$3\"\n";
        fs::write(&script, text).expect("written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(&script, mode).expect("ours");
        let editor = format!("{} --wait", script.display());
        assert_eq!(
            run_with(&editor, &job()),
            Ok("events {}\nhttp {}\n".to_owned())
        );
    }

    #[test]
    fn an_editor_that_fails_changes_nothing() {
        let error = run_with("false", &job()).expect_err("it fails");
        assert!(error.contains("`false` ended with"), "{error}");
        run_with("/nowhere/editor", &job()).expect_err("there is none");
    }
}
