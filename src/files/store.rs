//! `proxy_store`: the answer of a peer becomes a file, which is served from then on.
//!
//! Owns the file while it comes in: it has a name of its own beside that of its target, which nobody
//! can guess, and takes the target's when it is whole. Invariant: under the target's name there is a
//! whole answer, or what was there before; what breaks off leaves nothing.

use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// An answer on its way into a file.
#[derive(Debug)]
pub struct Storing {
    file: File,
    temporary: PathBuf,
    target: PathBuf,
    access: u32,
    modified: Option<u64>,
    failure: Option<io::Error>,
    is_stored: bool,
}

impl Storing {
    /// Begins a file, with the directories that it lies in. `access` are its rights, those of the
    /// directories are made of them; `modified` is told in seconds since 1970.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn begin(target: &Path, access: u32, modified: Option<u64>) -> io::Result<Self> {
        let directory = target.parent().unwrap_or(Path::new("/"));
        // Who may read a directory may enter it.
        (DirBuilder::new().recursive(true))
            .mode(access | (access & 0o444) >> 2)
            .create(directory)?;
        let mut number = [0; 16];
        aws_lc_rs::rand::fill(&mut number)
            .map_err(|_| io::Error::other("there are no random numbers"))?;
        let temporary = directory.join(format!(".{:032x}.part", u128::from_be_bytes(number)));
        Ok(Self {
            file: File::options()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&temporary)?,
            temporary,
            target: target.to_owned(),
            access,
            modified,
            failure: None,
            is_stored: false,
        })
    }

    /// Appends bytes of the answer. After a failure nothing more is written.
    pub fn append(&mut self, bytes: &[u8]) {
        if self.failure.is_none() {
            self.failure = self.file.write_all(bytes).err();
        }
    }

    /// The answer is whole: the file takes its name.
    pub fn commit(&mut self) {
        if self.failure.is_some() {
            return;
        }
        let done = self
            .file
            .set_permissions(Permissions::from_mode(self.access))
            .and_then(|()| match self.modified {
                Some(seconds) => {
                    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
                    self.file
                        .set_modified(time.unwrap_or(SystemTime::UNIX_EPOCH))
                }
                None => Ok(()),
            })
            .and_then(|()| std::fs::rename(&self.temporary, &self.target));
        self.is_stored = done.is_ok();
        self.failure = done.err();
    }

    /// Why nothing is stored, if something failed.
    pub fn failure(&self) -> Option<&io::Error> {
        self.failure.as_ref()
    }
}

impl Drop for Storing {
    fn drop(&mut self) {
        if !self.is_stored {
            // Whoever removed it before us did our work.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).expect("a directory");
        let name = |entry: io::Result<std::fs::DirEntry>| entry.expect("an entry").file_name();
        let mut names: Vec<String> = entries
            .map(|entry| name(entry).to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_there_when_it_is_whole_with_its_rights_and_its_time() {
        let directory = tempfile::tempdir().expect("a directory");
        let target = directory.path().join("a/b/c.txt");
        let mut storing = Storing::begin(&target, 0o644, Some(784_111_777)).expect("begun");
        storing.append(b"abc");
        assert!(!target.exists());
        storing.commit();
        assert!(storing.failure().is_none());
        drop(storing);
        assert_eq!(std::fs::read(&target).expect("there"), b"abc");
        let about = target.metadata().expect("there");
        assert_eq!(about.permissions().mode() & 0o777, 0o644);
        let modified = about.modified().expect("Linux knows");
        assert_eq!(
            modified
                .duration_since(SystemTime::UNIX_EPOCH)
                .expect("later"),
            Duration::from_secs(784_111_777)
        );
        assert_eq!(names(&directory.path().join("a/b")), ["c.txt"]);
    }

    #[test]
    fn what_breaks_off_leaves_what_was_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let target = directory.path().join("c.txt");
        std::fs::write(&target, "before").expect("written");
        let mut storing = Storing::begin(&target, 0o600, None).expect("begun");
        storing.append(b"after");
        drop(storing);
        assert_eq!(std::fs::read(&target).expect("there"), b"before");
        assert_eq!(names(directory.path()), ["c.txt"]);
    }

    #[test]
    fn what_cannot_take_its_name_is_told_and_removed() {
        let directory = tempfile::tempdir().expect("a directory");
        let target = directory.path().join("taken");
        std::fs::create_dir(&target).expect("made");
        let mut storing = Storing::begin(&target, 0o600, None).expect("begun");
        storing.append(b"abc");
        storing.commit();
        assert!(storing.failure().is_some());
        drop(storing);
        assert_eq!(names(directory.path()), ["taken"]);
        assert!(Storing::begin(&directory.path().join("taken/a/../\0/b"), 0o600, None).is_err());
    }
}
