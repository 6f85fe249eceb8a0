//! `openclaw fmt`: configuration files in the one common form.
//!
//! A file is replaced whole (written beside it, synced, renamed), with its owner and its mode, or
//! not at all.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::unistd::{Gid, Uid};

use super::{complain, print};
use crate::conf::fmt::format;
use crate::conf::source::{MAX_FILE_BYTES, Sources};
use crate::process;

/// Formats the files; with `check` it only says which ones would change.
pub fn run(check: bool, files: &[PathBuf]) -> ExitCode {
    let mut is_good = true;
    for path in files {
        match file(check, path) {
            Ok(is_fine) => is_good &= is_fine,
            Err(error) => {
                complain(&format!(
                    "openclaw: cannot format `{}`: {error}",
                    path.display()
                ));
                is_good = false;
            }
        }
    }
    if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// `Ok(false)`: it would change, or cannot be parsed; either has been told.
fn file(check: bool, path: &Path) -> io::Result<bool> {
    let is_standard = path == Path::new("-");
    let text = if is_standard {
        read(io::stdin())?
    } else {
        read(File::open(path)?)?
    };
    let mut sources = Sources::default();
    let id = sources.add(path, text);
    let text = sources.text(id);
    let formatted = match format(id, text) {
        Ok(formatted) => formatted,
        Err(problems) => {
            process::show(&problems, &sources);
            return Ok(false);
        }
    };
    if check {
        if formatted != text {
            complain(&format!("openclaw: `{}` would change", path.display()));
        }
        return Ok(formatted == text);
    }
    if is_standard {
        print(&formatted);
    } else if formatted != text {
        replace(path, formatted.as_bytes())?;
    }
    Ok(true)
}

fn read(from: impl io::Read) -> io::Result<String> {
    let mut text = String::new();
    from.take(MAX_FILE_BYTES as u64 + 1)
        .read_to_string(&mut text)?;
    if text.len() > MAX_FILE_BYTES {
        return Err(io::Error::other("the file is too large"));
    }
    Ok(text)
}

/// Puts other bytes into the place of a file, whole or not at all; owner and mode stay.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Through a link the file behind it is meant, and the link stays.
    let path = fs::canonicalize(path)?;
    let data = path.metadata()?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let fresh = directory.join(name);
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&fresh)?;
        let (user, group) = (Uid::from_raw(data.uid()), Gid::from_raw(data.gid()));
        let own = file.metadata()?;
        if (own.uid(), own.gid()) != (data.uid(), data.gid()) {
            nix::unistd::fchown(&file, Some(user), Some(group))?;
        }
        file.set_permissions(Permissions::from_mode(data.mode()))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&fresh, &path)?;
        File::open(directory)?.sync_all()
    })();
    if written.is_err() {
        // It is not there if it could not be made.
        let _ = fs::remove_file(&fresh);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_with_its_mode_and_through_a_link() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.conf");
        let link = directory.path().join("link.conf");
        fs::write(&path, "events{}").expect("a fresh file");
        fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("ours");
        std::os::unix::fs::symlink(&path, &link).expect("a fresh path");
        assert!(!file(true, &link).expect("readable"));
        assert_eq!(fs::read_to_string(&path).expect("there"), "events{}");
        assert!(file(false, &link).expect("writable"));
        assert!(file(true, &link).expect("readable"));
        let mode = path.metadata().expect("there").mode();
        assert_eq!(mode & 0o777, 0o640);
        assert!(link.symlink_metadata().expect("there").is_symlink());
        let left = fs::read_dir(directory.path()).expect("ours").count();
        assert_eq!(left, 2);
    }

    #[test]
    fn a_file_with_mistakes_stays_as_it_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.conf");
        fs::write(&path, "http {").expect("a fresh file");
        assert!(!file(false, &path).expect("readable"));
        assert_eq!(fs::read_to_string(&path).expect("there"), "http {");
    }
}
