//! The files of a configuration on disk: what they say, and how they are changed.
//!
//! Invariant: whoever opens a file finds its old text or its new one, whole, whatever happens to the
//! process or the machine meanwhile. A new text goes into a file beside the old one, is on disk
//! before it takes its name, and has its owner and mode. Several files are changed one after the
//! other; if one fails the ones before are changed back.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};
use sha2::{Digest as _, Sha256};

use crate::conf::diff;
use crate::conf::include::{COMMAND_LINE, Loaded};

/// The files that a configuration was read from with their texts, the main file first.
pub fn texts(loaded: &Loaded) -> Vec<(PathBuf, String)> {
    let sources = &loaded.sources;
    sources
        .ids()
        .filter(|&file| sources.path(file) != Path::new(COMMAND_LINE))
        .map(|file| (sources.path(file).to_owned(), sources.text(file).to_owned()))
        .collect()
}

/// Tells configurations apart: a SHA-256 over the paths and texts, in hexadecimal digits.
pub fn digest(loaded: &Loaded) -> String {
    let mut digest = Sha256::new();
    let sources = &loaded.sources;
    for file in sources.ids() {
        let path = sources.path(file);
        if path == Path::new(COMMAND_LINE) {
            continue;
        }
        let (path, text) = (path.as_os_str().as_encoded_bytes(), sources.text(file));
        // Lengths first, so that no two lists of texts read the same.
        digest.update((path.len() as u64).to_le_bytes());
        digest.update(path);
        digest.update((text.len() as u64).to_le_bytes());
        digest.update(text);
    }
    let digest = digest.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The unified difference of two lists of files.
pub fn difference(old: &[(PathBuf, String)], new: &[(PathBuf, String)]) -> String {
    let diffs = pairs(old, new)
        .map(|(path, before, after)| diff::unified(&path.display().to_string(), before, after));
    diffs.collect()
}

/// How many lines came and how many went between two lists of files.
pub fn changed_lines(old: &[(PathBuf, String)], new: &[(PathBuf, String)]) -> (u32, u32) {
    let mut sums = (0, 0);
    for (_, before, after) in pairs(old, new) {
        let before: Vec<&str> = before.split_inclusive('\n').collect();
        let after: Vec<&str> = after.split_inclusive('\n').collect();
        for change in diff::changes(&before, &after) {
            sums.0 += change.new.len() as u32;
            sums.1 += change.old.len() as u32;
        }
    }
    sums
}

/// Each file of two lists with both of its texts; one that is not there has none.
fn pairs<'f>(
    old: &'f [(PathBuf, String)],
    new: &'f [(PathBuf, String)],
) -> impl Iterator<Item = (&'f Path, &'f str, &'f str)> {
    let text_in = |files: &'f [(PathBuf, String)], path: &Path| {
        let found = files.iter().find(|(other, _)| other == path);
        found.map_or("", |(_, text)| text.as_str())
    };
    let gone = old
        .iter()
        .filter(|(path, _)| !new.iter().any(|(other, _)| other == path));
    let all = new.iter().chain(gone);
    all.map(move |(path, _)| (path.as_path(), text_in(old, path), text_in(new, path)))
}

/// Why the files cannot be changed; `None` if they can.
pub fn obstacle(files: &[(PathBuf, String)]) -> Option<String> {
    files.iter().find_map(|(path, _)| {
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        let directory = path.parent().unwrap_or(Path::new("/"));
        let may_write = |path: &Path| access(path, AccessFlags::W_OK);
        // A mount of a single file can be written but not replaced; its directory decides.
        let is_mount = is_mount_point(&path, directory);
        match (may_write(&path), may_write(directory)) {
            (Err(errno), _) => Some(format!("{}: {}", path.display(), errno.desc())),
            (_, Err(errno)) => Some(format!("{}: {}", directory.display(), errno.desc())),
            _ if is_mount => Some(format!("{} is a mount of its own", path.display())),
            _ => None,
        }
    })
}

/// Is a file mounted by itself, as containers do?
fn is_mount_point(path: &Path, directory: &Path) -> bool {
    match (fs::metadata(path), fs::metadata(directory)) {
        (Ok(file), Ok(directory)) => file.dev() != directory.dev(),
        _ => false,
    }
}

/// A file could not be changed; all are as they were, unless it says otherwise.
#[derive(Debug)]
pub struct WriteError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub error: io::Error,
    /// Files that could not be changed back.
    pub left: Vec<PathBuf>,
}

impl fmt::Display for WriteError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "`{}` cannot be written", self.path.display())?;
        if !self.left.is_empty() {
            let left: Vec<_> = self
                .left
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            write!(out, "; changed already: {}", left.join(", "))?;
        }
        Ok(())
    }
}

impl std::error::Error for WriteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// Gives files new texts; one that is not there is made.
pub fn write(changes: &[(PathBuf, String)]) -> Result<(), WriteError> {
    let mut done: Vec<(&Path, Option<Vec<u8>>)> = Vec::new();
    for (path, text) in changes {
        let before = match fs::read(path) {
            Ok(before) => Ok(Some(before)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        let result = before.and_then(|before| {
            replace(path, text.as_bytes())?;
            Ok(before)
        });
        match result {
            Ok(before) => done.push((path, before)),
            Err(error) => {
                let undo = |(path, before): &(&Path, Option<Vec<u8>>)| match before {
                    Some(before) => replace(path, before),
                    None => fs::remove_file(path),
                };
                let left = done.iter().rev().filter(|change| undo(change).is_err());
                return Err(WriteError {
                    path: path.clone(),
                    error,
                    left: left.map(|(path, _)| (*path).to_owned()).collect(),
                });
            }
        }
    }
    Ok(())
}

/// Puts a text in place of a file's, whole and durable, with the file's owner and mode. A link is
/// followed: what it names is replaced.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let directory = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // A leading dot: no pattern of an `include` finds it.
    let fresh = directory.join(format!(".{name}.{}.new", std::process::id()));
    let attempt = || {
        let _ = fs::remove_file(&fresh);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&fresh)?;
        file.write_all(text)?;
        let (mode, owner) = match fs::metadata(&path) {
            Ok(data) => (data.mode(), Some((data.uid(), data.gid()))),
            // A new file is like its directory: readable by whom that is.
            Err(_) => {
                let data = fs::metadata(directory)?;
                (data.mode() & 0o666 | 0o600, None)
            }
        };
        if let Some((user, group)) = owner {
            let now = file.metadata()?;
            if (now.uid(), now.gid()) != (user, group) {
                // Only root can give a file away. Whoever may write to the directory may replace
                // the file; the group is kept if that is possible.
                std::os::unix::fs::fchown(&file, Some(user), Some(group))
                    .or_else(|_| std::os::unix::fs::fchown(&file, None, Some(group)))
                    .or_else(|error| match error.kind() {
                        io::ErrorKind::PermissionDenied => Ok(()),
                        _ => Err(error),
                    })?;
            }
        }
        file.set_permissions(fs::Permissions::from_mode(mode & 0o7777))?;
        file.sync_all()?;
        fs::rename(&fresh, &path)?;
        // The name is on disk once the directory is.
        File::open(directory)?.sync_all()
    };
    let result = attempt();
    if result.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::include::load;

    #[test]
    fn a_replaced_file_keeps_its_mode_and_a_link_stays_a_link() {
        let directory = tempfile::tempdir().expect("a directory");
        let (file, link) = (directory.path().join("a"), directory.path().join("link"));
        fs::write(&file, "old").expect("a fresh file");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("ours");
        std::os::unix::fs::symlink(&file, &link).expect("a fresh path");
        write(&[(link.clone(), "new".to_owned())]).expect("writable");
        assert_eq!(fs::read_to_string(&file).expect("there"), "new");
        assert_eq!(
            fs::metadata(&file).expect("there").permissions().mode() & 0o777,
            0o640
        );
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
        assert_eq!(fs::read_dir(directory.path()).expect("there").count(), 2);
    }

    #[test]
    fn when_one_file_fails_the_others_are_as_before() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        fs::write(path("a"), "old").expect("a fresh file");
        let changes = [
            (path("a"), "new".to_owned()),
            (path("fresh"), "new".to_owned()),
            (path("missing/b"), "new".to_owned()),
        ];
        let error = write(&changes).expect_err("no such directory");
        assert_eq!(error.path, path("missing/b"));
        assert!(error.left.is_empty());
        assert_eq!(fs::read_to_string(path("a")).expect("there"), "old");
        assert!(!path("fresh").exists());
    }

    #[test]
    fn the_digest_tells_texts_and_paths_apart() {
        let directory = tempfile::tempdir().expect("a directory");
        let main = directory.path().join("main");
        let digest_of = |main_text: &str, other: &str| {
            fs::write(&main, main_text).expect("ours");
            fs::write(directory.path().join("other"), other).expect("ours");
            digest(&load(&main, directory.path(), Some("daemon off;")))
        };
        let first = digest_of("include other;", "a 1;");
        assert_eq!(first.len(), 64);
        assert_eq!(first, digest_of("include other;", "a 1;"));
        assert_ne!(first, digest_of("include other;", "a 2;"));
        assert_ne!(first, digest_of("include other; ", "a 1;"));
    }
}
