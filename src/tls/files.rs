//! Certificates in files: held for as long as a configuration wants them, and loaded again when the
//! files change.
//!
//! Owns the slot of each pair of files, across configurations, and what was wrong with the last look
//! at it. Whoever renews a certificate need not tell anybody: see [`Files::look`]. Invariant: a pair
//! that was good once is served until there is a better one, whatever its files hold meanwhile.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::file;
use super::material::{self, MaterialError, Warning};
use super::placeholder::placeholder;
use super::slot::{Held, Slot};
use crate::conf::typed::tls::CertificateFiles;

/// What tells one pair of files from another, wherever they are named.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Pair {
    /// `ssl_certificate`
    pub certificate: PathBuf,
    /// `ssl_certificate_key`
    pub key: PathBuf,
    /// `ssl_password_file`
    pub passwords: Option<PathBuf>,
}

impl From<&CertificateFiles> for Pair {
    fn from(files: &CertificateFiles) -> Self {
        Self {
            certificate: files.certificate.clone(),
            key: files.key.clone(),
            passwords: files.passwords.clone(),
        }
    }
}

impl Pair {
    /// Can its files be opened?
    fn is_readable(&self) -> bool {
        let passwords = self.passwords.as_ref();
        let mut paths = [&self.certificate, &self.key].into_iter().chain(passwords);
        paths.all(|path| file::open(path).is_ok())
    }
}

/// All pairs of files that any configuration uses.
#[derive(Debug, Default)]
pub struct Files {
    entries: Mutex<HashMap<Pair, Arc<Entry>>>,
}

#[derive(Debug)]
struct Entry {
    slot: Arc<Slot>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What the files looked like before they were read.
    seen: Stamps,
    /// Why the last look brought nothing.
    trouble: Option<MaterialError>,
    /// The files changed and are no good; another look will tell whether somebody was writing.
    is_doubted: bool,
    /// Was it seen that they can be read again? The program may have had the rights of root when it
    /// read them, and who can renew nothing should learn it before the day of the renewal.
    is_readable: bool,
}

/// What a look at changed files found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// There is a new certificate, and it is served.
    Loaded {
        /// Where it is.
        certificate: PathBuf,
        /// What is odd about it.
        warnings: Vec<Warning>,
    },
    /// The files are no good any more; what was there before stays.
    Refused {
        /// Why.
        error: MaterialError,
        /// Is a certificate from before served, and not a placeholder?
        is_served: bool,
    },
}

/// A pair of files as people see it.
#[derive(Clone, Debug)]
pub struct Status {
    /// Which.
    pub pair: Pair,
    /// What is served.
    pub held: Arc<Held>,
    /// What is wrong with the files now.
    pub trouble: Option<MaterialError>,
}

impl Files {
    /// Holds nothing yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The slot of a pair of files, which are read now; and why what they hold now is not what the
    /// slot holds. `None` if the machine cannot make keys.
    pub fn slot(&self, files: &CertificateFiles) -> Option<(Arc<Slot>, Option<MaterialError>)> {
        let pair = Pair::from(files);
        let known = self.entries.lock().get(&pair).cloned();
        let entry = match known {
            Some(entry) => entry,
            None => {
                let entry = Arc::new(Entry {
                    slot: Slot::new(placeholder("it was not read yet")?),
                    state: Mutex::default(),
                });
                let mut entries = self.entries.lock();
                Arc::clone(entries.entry(pair.clone()).or_insert(entry))
            }
        };
        let mut state = entry.state.lock();
        let _ = entry.load(&pair, &mut state);
        Some((Arc::clone(&entry.slot), state.trouble.clone()))
    }

    /// Reads the pairs whose files changed, and forgets those that no configuration uses any more. To
    /// be called again and again; it may block, on slow disks and costly passwords.
    pub fn look(&self) -> Vec<Change> {
        let entries: Vec<(Pair, Arc<Entry>)> = {
            let mut entries = self.entries.lock();
            entries.retain(|_, entry| Arc::strong_count(&entry.slot) > 1);
            let all = entries.iter();
            all.map(|(pair, entry)| (pair.clone(), Arc::clone(entry)))
                .collect()
        };
        let looked = entries.iter().filter_map(|(pair, entry)| entry.look(pair));
        looked.collect()
    }

    /// All pairs that are in use.
    pub fn list(&self) -> Vec<Status> {
        let entries = self.entries.lock();
        let listed = entries.iter().map(|(pair, entry)| Status {
            pair: pair.clone(),
            held: entry.slot.held(),
            trouble: entry.state.lock().trouble.clone(),
        });
        let mut listed: Vec<Status> = listed.collect();
        listed.sort_by(|one, other| one.pair.certificate.cmp(&other.pair.certificate));
        listed
    }
}

impl Entry {
    fn look(&self, pair: &Pair) -> Option<Change> {
        let mut state = self.state.lock();
        let was_doubted = state.is_doubted;
        if Stamps::of(pair) == state.seen && !was_doubted {
            if state.is_readable || state.trouble.is_some() {
                return None;
            }
            state.is_readable = pair.is_readable();
            if state.is_readable {
                return None;
            }
        }
        let before = state.trouble.clone();
        match self.load(pair, &mut state) {
            Ok(warnings) => Some(Change::Loaded {
                certificate: pair.certificate.clone(),
                warnings,
            }),
            // Two files never change at the same moment: who finds them unlike looks once more before
            // there is talk about it.
            Err(_) if !was_doubted => {
                state.is_doubted = true;
                state.trouble = before;
                None
            }
            Err(error) if before.as_ref() == Some(&error) => None,
            Err(error) => Some(Change::Refused {
                error,
                is_served: self.slot.held().lacking.is_none(),
            }),
        }
    }

    /// Reads the files and puts what they hold into the slot, if it is good.
    fn load(&self, pair: &Pair, state: &mut State) -> Result<Vec<Warning>, MaterialError> {
        // What changes while it is read is seen to have changed the next time.
        state.seen = Stamps::of(pair);
        state.is_doubted = false;
        state.is_readable = false;
        match material::load(&pair.certificate, &pair.key, pair.passwords.as_deref()) {
            Ok(material) => {
                state.trouble = None;
                self.slot.put_again(material.certified_key());
                Ok(material.warnings)
            }
            Err(error) => {
                if self.slot.held().lacking.is_some()
                    && let Some(held) = placeholder(error.to_string())
                {
                    self.slot.put(held);
                }
                state.trouble = Some(error.clone());
                Err(error)
            }
        }
    }
}

/// What tells whether files changed; where one is a link, what the link leads to.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Stamps {
    certificate: Option<Stamp>,
    key: Option<Stamp>,
    passwords: Option<Stamp>,
}

impl Stamps {
    fn of(pair: &Pair) -> Self {
        Self {
            certificate: Stamp::of(&pair.certificate),
            key: Stamp::of(&pair.key),
            passwords: pair.passwords.as_deref().and_then(Stamp::of),
        }
    }
}

/// What tells whether one file changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// `None` if there is no such file.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let metadata = match fs::metadata(path) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                file::open(path).ok()?.metadata()
            }
            metadata => metadata,
        };
        let metadata = metadata.ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use tempfile::TempDir;

    use super::*;
    use crate::conf::source::{FileId, Span};
    use crate::tls::facts::Facts;

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/data/certificates")
            .join(name)
    }

    fn files(directory: &Path) -> CertificateFiles {
        CertificateFiles {
            certificate: directory.join("c.pem"),
            key: directory.join("k.pem"),
            passwords: None,
            span: Span {
                file: FileId(0),
                start: 0,
                end: 0,
            },
        }
    }

    fn put(directory: &TempDir, name: &str, from: &str) {
        // As careful programs do: a new file takes the name of the old one.
        let (new, place) = (directory.path().join("new"), directory.path().join(name));
        fs::copy(fixture(from), &new).expect("copied");
        fs::rename(new, place).expect("renamed");
    }

    fn served(slot: &Slot) -> String {
        let held = slot.held();
        assert_eq!(held.lacking, None);
        Facts::read(&held.certified.cert[0])
            .expect("a certificate")
            .subject
    }

    #[test]
    fn changed_files_are_served_and_unchanged_ones_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        put(&directory, "c.pem", "rsa.pem");
        put(&directory, "k.pem", "rsa.key");
        let files = files(directory.path());
        let all = Files::new();
        let (slot, trouble) = all.slot(&files).expect("a slot");
        assert_eq!((served(&slot).as_str(), trouble), ("CN=rsa.example", None));
        assert_eq!(all.look(), []);

        put(&directory, "c.pem", "other.pem");
        put(&directory, "k.pem", "other.key");
        let changes = all.look();
        assert!(
            matches!(&changes[..], [Change::Loaded { certificate, .. }] if *certificate == files.certificate),
            "{changes:?}"
        );
        assert_eq!(served(&slot), "CN=other.example");
        assert_eq!(all.look(), []);
        // The same slot for whoever asks next.
        let (again, _) = all.slot(&files).expect("a slot");
        assert!(Arc::ptr_eq(&slot, &again));
    }

    #[test]
    fn the_last_good_one_stays_and_the_fault_is_told_once() {
        let directory = tempfile::tempdir().expect("a directory");
        put(&directory, "c.pem", "rsa.pem");
        put(&directory, "k.pem", "rsa.key");
        let all = Files::new();
        let (slot, _) = all.slot(&files(directory.path())).expect("a slot");

        put(&directory, "k.pem", "other.key");
        // Somebody may be about to write the other file.
        assert_eq!(all.look(), []);
        let changes = all.look();
        assert!(
            matches!(
                &changes[..],
                [Change::Refused {
                    is_served: true,
                    ..
                }]
            ),
            "{changes:?}"
        );
        assert_eq!(all.look(), []);
        assert_eq!(served(&slot), "CN=rsa.example");
        assert!(all.list()[0].trouble.is_some());
        // A reload asks again, and has its answer.
        let (_, trouble) = all.slot(&files(directory.path())).expect("a slot");
        assert!(trouble.is_some());
        assert_eq!(served(&slot), "CN=rsa.example");

        put(&directory, "c.pem", "other.pem");
        assert!(matches!(&all.look()[..], [Change::Loaded { .. }]));
        assert_eq!(served(&slot), "CN=other.example");
        assert!(all.list()[0].trouble.is_none());
    }

    #[test]
    fn one_file_after_the_other_is_no_fault() {
        let directory = tempfile::tempdir().expect("a directory");
        put(&directory, "c.pem", "rsa.pem");
        put(&directory, "k.pem", "rsa.key");
        let all = Files::new();
        let (slot, _) = all.slot(&files(directory.path())).expect("a slot");
        put(&directory, "k.pem", "other.key");
        assert_eq!(all.look(), []);
        put(&directory, "c.pem", "other.pem");
        assert!(matches!(&all.look()[..], [Change::Loaded { .. }]));
        assert_eq!(served(&slot), "CN=other.example");
    }

    #[test]
    fn a_placeholder_is_replaced_as_soon_as_there_are_files() {
        let directory = tempfile::tempdir().expect("a directory");
        let all = Files::new();
        let (slot, trouble) = all.slot(&files(directory.path())).expect("a slot");
        assert!(slot.held().lacking.is_some() && trouble.is_some());
        // Nothing new is nothing to tell.
        assert_eq!(all.look(), []);
        put(&directory, "c.pem", "rsa.pem");
        assert_eq!(all.look(), []);
        put(&directory, "k.pem", "rsa.key");
        assert!(matches!(&all.look()[..], [Change::Loaded { .. }]));
        assert_eq!(served(&slot), "CN=rsa.example");
    }

    #[test]
    fn a_link_that_leads_elsewhere_is_a_change() {
        let directory = tempfile::tempdir().expect("a directory");
        for (name, from) in [
            ("cert1.pem", "rsa.pem"),
            ("key1.pem", "rsa.key"),
            ("cert2.pem", "other.pem"),
            ("key2.pem", "other.key"),
        ] {
            put(&directory, name, from);
        }
        let link = |name: &str, to: &str| {
            let (new, place) = (directory.path().join("new"), directory.path().join(name));
            symlink(to, &new).expect("linked");
            fs::rename(new, place).expect("renamed");
        };
        link("c.pem", "cert1.pem");
        link("k.pem", "key1.pem");
        let all = Files::new();
        let (slot, _) = all.slot(&files(directory.path())).expect("a slot");
        assert_eq!(served(&slot), "CN=rsa.example");
        link("c.pem", "cert2.pem");
        link("k.pem", "key2.pem");
        assert!(matches!(&all.look()[..], [Change::Loaded { .. }]));
        assert_eq!(served(&slot), "CN=other.example");
    }

    #[test]
    fn whoever_cannot_read_the_files_again_is_told_before_they_change() {
        if !nix::unistd::geteuid().is_root() {
            // Only root can lose rights, and only for root there is something to lose.
            return;
        }
        let directory = tempfile::tempdir().expect("a directory");
        put(&directory, "c.pem", "rsa.pem");
        put(&directory, "k.pem", "rsa.key");
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(directory.path(), open).expect("ours");
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(directory.path().join("k.pem"), private).expect("ours");
        let all = Files::new();
        let (slot, trouble) = all.slot(&files(directory.path())).expect("a slot");
        assert_eq!(trouble, None);
        // The rights of this thread over files become those of nobody.
        nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65534));
        assert_eq!(all.look(), []);
        let changes = all.look();
        assert_eq!(all.look(), []);
        nix::unistd::setfsuid(nix::unistd::Uid::from_raw(0));
        let [Change::Refused { error, is_served }] = &changes[..] else {
            panic!("{changes:?}");
        };
        assert!(is_served, "{error}");
        assert!(error.to_string().ends_with("permission denied"), "{error}");
        assert_eq!(served(&slot), "CN=rsa.example");
    }

    #[test]
    fn what_nobody_uses_any_more_is_forgotten() {
        let directory = tempfile::tempdir().expect("a directory");
        let all = Files::new();
        let held = all.slot(&files(directory.path())).expect("a slot");
        all.look();
        assert_eq!(all.list().len(), 1);
        drop(held);
        all.look();
        assert!(all.list().is_empty());
    }
}
