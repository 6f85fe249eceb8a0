//! The certificates that this machine trusts: one more, or one less.
//!
//! Owns where each family of systems keeps what its administrator adds, and the program that takes it
//! into service. Firefox and phones have stores of their own, which a person must open.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::acme::authority::Facts;

/// Where programs of the system are. Not `PATH`: this runs as root.
const DIRECTORIES: &[&str] = &["usr/sbin", "usr/bin", "sbin", "bin"];

/// How systems of one family do it.
struct Family {
    /// Where an administrator puts certificates.
    anchors: &'static str,
    /// What takes them into service.
    program: &'static str,
    /// What it is given when one was removed.
    after_removal: &'static [&'static str],
    /// The directory may be missing and is made then.
    is_made: bool,
}

const FAMILIES: &[Family] = &[
    // Fedora, Red Hat and their relatives.
    Family {
        anchors: "etc/pki/ca-trust/source/anchors",
        program: "update-ca-trust",
        after_removal: &[],
        is_made: false,
    },
    // Arch.
    Family {
        anchors: "etc/ca-certificates/trust-source/anchors",
        program: "update-ca-trust",
        after_removal: &[],
        is_made: false,
    },
    // SUSE.
    Family {
        anchors: "etc/pki/trust/anchors",
        program: "update-ca-certificates",
        after_removal: &[],
        is_made: false,
    },
    // Debian, Ubuntu, Alpine. Links to what was removed stay unless all are made anew.
    Family {
        anchors: "usr/local/share/ca-certificates",
        program: "update-ca-certificates",
        after_removal: &["--fresh"],
        is_made: true,
    },
];

/// The store of a system whose files are below a directory: `/`, but in tests.
#[derive(Debug)]
pub struct TrustStore {
    root: PathBuf,
}

impl TrustStore {
    /// The store of the system below this directory.
    pub fn below(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The file in which the root is trusted, if it is.
    pub fn installed(&self, facts: &Facts) -> Option<PathBuf> {
        let files = FAMILIES.iter().map(|family| self.file(family, facts));
        files.into_iter().find(|file| file.is_file())
    }

    /// Makes this machine trust the root; the file that says so.
    pub fn install(&self, facts: &Facts) -> Result<PathBuf, String> {
        let (family, program) = self.family()?;
        let file = self.file(family, facts);
        let failed = |error: io::Error| cannot("write", &file, &error);
        if let Some(directory) = file.parent()
            && family.is_made
        {
            fs::create_dir_all(directory).map_err(failed)?;
        }
        write(&file, facts.pem.as_bytes()).map_err(failed)?;
        if let Err(error) = run(&program, &[]) {
            // Trusted or not, but never half.
            let _ = fs::remove_file(&file);
            return Err(error);
        }
        Ok(file)
    }

    /// Makes this machine trust the root no more; the files that are gone.
    pub fn uninstall(&self, facts: &Facts) -> Result<Vec<PathBuf>, String> {
        let mut removed = Vec::new();
        for family in FAMILIES {
            let file = self.file(family, facts);
            match fs::remove_file(&file) {
                Ok(()) => {
                    removed.push(file);
                    if let Some(program) = self.program(family) {
                        run(&program, family.after_removal)?;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(cannot("remove", &file, &error)),
            }
        }
        Ok(removed)
    }

    fn family(&self) -> Result<(&'static Family, PathBuf), String> {
        let mut families = FAMILIES
            .iter()
            .filter(|family| family.is_made || self.root.join(family.anchors).is_dir());
        let found = families.find_map(|family| Some((family, self.program(family)?)));
        found.ok_or_else(|| {
            "this system has no store of certificates that is known here\n\
             hint: install the package `ca-certificates`, or add the root by hand"
                .to_owned()
        })
    }

    fn program(&self, family: &Family) -> Option<PathBuf> {
        let places = DIRECTORIES.iter();
        let mut places = places.map(|it| self.root.join(it).join(family.program));
        places.find(|path| path.is_file())
    }

    /// Each root has its own file, by its fingerprint.
    fn file(&self, family: &Family, facts: &Facts) -> PathBuf {
        let print: String = facts.fingerprint.split(':').take(4).collect();
        let name = format!("openclaw-{}.crt", print.to_ascii_lowercase());
        self.root.join(family.anchors).join(name)
    }
}

fn cannot(what: &str, file: &Path, error: &io::Error) -> String {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => "\nhint: run it with `sudo`",
        _ => "",
    };
    format!("cannot {what} `{}`: {error}{hint}", file.display())
}

fn write(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = file.with_extension("new");
    let mut out = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o644)
        .open(&fresh)?;
    out.write_all(bytes)?;
    out.sync_all()?;
    fs::rename(&fresh, file)?;
    match file.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

fn run(program: &Path, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("LC_ALL", "C")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .output();
    let failed = |why: &str| format!("`{}` failed: {why}", program.display());
    let output = output.map_err(|error| failed(&error.to_string()))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().rfind(|line| !line.trim().is_empty());
            Err(failed(last.unwrap_or(&output.status.to_string())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::authority::Authority;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use tempfile::TempDir;

    /// A system with these directories, in which this program is a link to another one of this
    /// machine: `true`, `false`.
    fn system(directories: &[&str], program: &str, outcome: &str) -> TempDir {
        let root = tempfile::tempdir().expect("a directory");
        for directory in directories {
            fs::create_dir_all(root.path().join(directory)).expect("made");
        }
        let place = root.path().join("usr/sbin");
        fs::create_dir_all(&place).expect("made");
        symlink(format!("/bin/{outcome}"), place.join(program)).expect("linked");
        root
    }

    fn facts() -> (TempDir, Facts) {
        let directory = tempfile::tempdir().expect("a directory");
        let authority = Authority::open(&directory.path().join("authority"), &[]).expect("made");
        let facts = authority.facts().clone();
        (directory, facts)
    }

    #[test]
    fn each_family_of_systems_has_its_place() {
        let (_directory, facts) = facts();
        for (directories, program, expected) in [
            (
                &["etc/pki/ca-trust/source/anchors"][..],
                "update-ca-trust",
                "etc/pki/ca-trust/source/anchors",
            ),
            (
                &["etc/ca-certificates/trust-source/anchors"],
                "update-ca-trust",
                "etc/ca-certificates/trust-source/anchors",
            ),
            (
                &["etc/pki/trust/anchors"],
                "update-ca-certificates",
                "etc/pki/trust/anchors",
            ),
            (
                &[],
                "update-ca-certificates",
                "usr/local/share/ca-certificates",
            ),
        ] {
            let root = system(directories, program, "true");
            let store = TrustStore::below(root.path());
            assert_eq!(store.installed(&facts), None);
            let file = store.install(&facts).expect("installed");
            assert!(file.starts_with(root.path().join(expected)), "{file:?}");
            assert_eq!(fs::read_to_string(&file).expect("there"), facts.pem);
            let mode = fs::metadata(&file).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o644);
            assert_eq!(store.installed(&facts), Some(file.clone()));
            assert_eq!(store.install(&facts).expect("again"), file);
            assert_eq!(store.uninstall(&facts).expect("removed"), [file]);
            assert_eq!(store.installed(&facts), None);
            assert!(store.uninstall(&facts).expect("nothing to do").is_empty());
        }
    }

    #[test]
    fn a_store_that_does_not_take_it_does_not_keep_it() {
        let (_directory, facts) = facts();
        let root = system(&[], "update-ca-certificates", "false");
        let store = TrustStore::below(root.path());
        let error = store.install(&facts).expect_err("it fails");
        assert!(error.contains("update-ca-certificates` failed"), "{error}");
        assert_eq!(store.installed(&facts), None);
    }

    #[test]
    fn a_system_without_a_store_is_told() {
        let (_directory, facts) = facts();
        let root = tempfile::tempdir().expect("a directory");
        let error = TrustStore::below(root.path()).install(&facts);
        let error = error.expect_err("there is none");
        assert!(error.contains("`ca-certificates`"), "{error}");
    }
}
