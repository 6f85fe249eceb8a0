//! What is kept on the disk: accounts, keys, certificates, and how far an order has come.
//!
//! Owns the files and what they look like. Invariant: whatever moment the program is killed in, a
//! file is there as it was or as it is to be, and a key that an authority knows of is on the disk
//! before the authority is told. Directories are their owner's alone, and so are files.
//!
//! ```text
//! STATE/acme/ISSUER/account.json         the account, with its key
//! STATE/acme/ISSUER/history.json         what it was asked lately
//! STATE/acme/ISSUER/proofs/              what it asks to see, for instances that share the directory
//! STATE/acme/ISSUER/agreed               the terms are agreed to; an address to write to
//! STATE/acme/ISSUER/NAME/certificate.pem the chain that is served
//! STATE/acme/ISSUER/NAME/key.pem         its key
//! STATE/acme/ISSUER/NAME/next.*.pem      those of an order that is not finished
//! STATE/acme/ISSUER/NAME/order.json      how far it has come, and what went wrong
//! STATE/acme/ISSUER/NAME/lock            held by the instance that orders
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use crate::conf::typed::acme::{Issuer, KeyKind, Order};
use crate::tls::material::{self, Material, MaterialError, Problem, Source};

/// The largest file of ours that is read.
const MOST_BYTES: u64 = 1 << 20;

/// The place of an issuer's account.
pub fn issuer_directory(state: &Path, issuer: &Issuer) -> PathBuf {
    match &issuer.state_path {
        Some(path) => path.clone(),
        None => state.join("acme").join(file_name(&issuer.name)),
    }
}

/// A text as the name of a file: never a way out of the directory, never hidden.
fn file_name(text: &str) -> String {
    let name: String = text
        .chars()
        .map(|letter| match letter {
            '*' | '/' | '\0' => '_',
            letter => letter,
        })
        .collect();
    match name.strip_prefix('.') {
        Some(rest) => format!("_{rest}"),
        None => name,
    }
}

/// The place of one certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Home {
    directory: PathBuf,
}

impl Home {
    /// The place of what an order asks for; `None` if no issuer is asked.
    pub fn of(state: &Path, order: &Order) -> Option<Self> {
        let issuer = issuer_directory(state, order.issuers.first()?);
        let first = file_name(order.names.first()?);
        let name = match (&order.names[..], order.key) {
            ([_], KeyKind::EcdsaP256) => first,
            // Two certificates may have the same first name.
            (names, key) => {
                let mut names: Vec<_> = names.iter().map(|name| &**name).collect();
                names.sort_unstable();
                let digest = Sha256::digest(format!("{} {key}", names.join(" ")));
                let number = digest
                    .iter()
                    .take(4)
                    .fold(0u32, |number, byte| number << 8 | u32::from(*byte));
                format!("{first}-{number:08x}")
            }
        };
        Some(Self {
            directory: issuer.join(name),
        })
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The certificate with its key; `None` if there is none. What was being put in its place when the
    /// program was killed is taken.
    pub fn load(&self) -> Result<Option<Material>, MaterialError> {
        let path = |name: &str| self.directory.join(name);
        let found = material::load(&path("certificate.pem"), &path("key.pem"), None);
        match found {
            Ok(material) => Ok(Some(material)),
            Err(error) => {
                if let Ok(material) =
                    material::load(&path("next.certificate.pem"), &path("key.pem"), None)
                {
                    return Ok(Some(material));
                }
                let is_missing = |problem: &Problem| {
                    let missing = material::Part::Certificate;
                    matches!(
                        problem,
                        Problem::File { part, problem: crate::tls::file::FileProblem::Missing }
                            if *part == missing
                    )
                };
                match is_missing(&error.problem) {
                    true => Ok(None),
                    false => Err(error),
                }
            }
        }
    }

    /// Finishes what was being put in its place when the program was killed; to be called by who holds
    /// the lock, before anything is ordered that would take the next names.
    pub fn finish_putting(&self) -> io::Result<()> {
        let path = |name: &str| self.directory.join(name);
        let [certificate, key] = ["certificate.pem", "key.pem"].map(path);
        let next = path("next.certificate.pem");
        if !next.try_exists()?
            || material::load(&certificate, &key, None).is_ok()
            || material::load(&next, &key, None).is_err()
        {
            return Ok(());
        }
        fs::rename(next, certificate)?;
        sync(&self.directory)
    }

    /// The key of an order that is not finished, as PEM.
    pub fn next_key(&self) -> io::Result<Option<zeroize::Zeroizing<String>>> {
        let read = read(&self.directory.join("next.key.pem"))?;
        Ok(read.map(|text| zeroize::Zeroizing::new(String::from_utf8_lossy(&text).into_owned())))
    }

    /// Keeps the key of an order that is about to be finished.
    pub fn put_next_key(&self, pem: &str) -> io::Result<()> {
        write(&self.directory.join("next.key.pem"), pem.as_bytes())
    }

    /// Forgets what an order left that will not be finished.
    pub fn clear_next(&self) -> io::Result<()> {
        for name in ["next.key.pem", "next.certificate.pem"] {
            match fs::remove_file(self.directory.join(name)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Puts a certificate with its key into the place of what is there.
    pub fn put(&self, material: &Material) -> io::Result<()> {
        let path = |name: &str| self.directory.join(name);
        write(&path("next.key.pem"), material.key_pem().as_bytes())?;
        write(
            &path("next.certificate.pem"),
            material.chain_pem().as_bytes(),
        )?;
        // From the first renaming on, `load` finds the new pair; before it, the old one.
        fs::rename(path("next.key.pem"), path("key.pem"))?;
        fs::rename(path("next.certificate.pem"), path("certificate.pem"))?;
        sync(&self.directory)
    }

    /// When the certificate was put there.
    pub fn modified(&self) -> Option<SystemTime> {
        let metadata = fs::metadata(self.directory.join("certificate.pem")).ok()?;
        metadata.modified().ok()
    }

    /// What is known of it.
    pub fn record<T: DeserializeOwned + Default>(&self) -> T {
        // A record that cannot be read costs an order more, and no certificate.
        read_json(&self.directory.join("order.json"))
            .ok()
            .flatten()
            .unwrap_or_default()
    }

    /// Keeps what is known of it.
    pub fn put_record(&self, record: &impl Serialize) -> io::Result<()> {
        write_json(&self.directory.join("order.json"), record)
    }

    /// Removes all that is kept of it, unless another instance is at it.
    pub fn forget(&self) {
        if !self.directory.is_dir() {
            return;
        }
        if let Ok(Some(_lock)) = self.lock() {
            // What stays is taken up when the name comes again.
            let _ = fs::remove_dir_all(&self.directory);
        }
    }

    /// Makes sure that nobody else orders; `None` if somebody does. Held until dropped, also by being
    /// killed.
    pub fn lock(&self) -> io::Result<Option<File>> {
        make_directory(&self.directory)?;
        lock(&self.directory.join("lock"))
    }
}

/// All certificates that are kept for an issuer.
pub fn homes(issuer_directory: &Path) -> Vec<Home> {
    let Ok(entries) = fs::read_dir(issuer_directory) else {
        return Vec::new();
    };
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join("certificate.pem").is_file())
        .map(|directory| Home { directory })
        .collect()
}

/// Holds a file for this instance; `None` if another one has it.
pub fn lock(path: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Makes a directory, and those above it, for nobody else.
pub fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Reads a file of ours; `None` if there is none.
pub fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MOST_BYTES {
        true => Err(ErrorKind::FileTooLarge.into()),
        false => Ok(Some(bytes)),
    }
}

/// Reads a file of ours; `None` if there is none.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let Some(bytes) = read(path)? else {
        return Ok(None);
    };
    // Not the reason: it quotes the text, which may be a key.
    let value = serde_json::from_slice(&bytes).map_err(|_| ErrorKind::InvalidData)?;
    Ok(Some(value))
}

/// As [`write()`].
pub fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let mut text = zeroize::Zeroizing::new(serde_json::to_vec_pretty(value)?);
    text.push(b'\n');
    write(path, &text)
}

/// Puts a file into the place of what is there, whole and for good, or not at all.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let fresh = directory.join(format!(".{name}.{}", std::process::id()));
    let written = (|| {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&fresh)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&fresh, path)
    })();
    if written.is_err() {
        // What is half there is of no use; that it cannot be removed is told by the error.
        let _ = fs::remove_file(&fresh);
    }
    written?;
    sync(directory)
}

/// Gives a file another name, so that nothing is lost when its own is used again; the new name.
pub fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let mut number = 1;
    let aside = loop {
        let aside = path.with_extension(format!("json.old-{number}"));
        if !aside.try_exists()? {
            break aside;
        }
        number += 1;
    };
    fs::rename(path, &aside)?;
    sync(path.parent().unwrap_or(Path::new(".")))?;
    Ok(aside)
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Reads a certificate with its key that are at hand as PEM.
pub fn material(certificate: &[u8], key: &[u8]) -> Result<Material, MaterialError> {
    let source = |name, bytes| Source::Text { name, bytes };
    material::load_from(
        source("the certificate", certificate),
        source("the key", key),
        None,
    )
}

/// A time as milliseconds since 1970.
pub mod unix_time {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use serde::{Deserialize as _, Deserializer, Serializer};

    /// As serde wants it.
    pub fn serialize<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        serializer.serialize_u64(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// As serde wants it.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
        // A day that no clock shows is as good as any other that is wrong.
        let milliseconds = u64::deserialize(deserializer)?.min(u64::from(u32::MAX) * 1000 * 4);
        Ok(UNIX_EPOCH + Duration::from_millis(milliseconds))
    }
}

/// As [`unix_time`], for one that may be missing.
pub mod maybe_unix_time {
    use std::time::SystemTime;

    use super::unix_time;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Time(#[serde(with = "unix_time")] SystemTime);

    /// As serde wants it.
    pub fn serialize<S: Serializer>(
        time: &Option<SystemTime>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(Time).serialize(serializer)
    }

    /// As serde wants it.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<SystemTime>, D::Error> {
        Ok(Option::<Time>::deserialize(deserializer)?.map(|time| time.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> Material {
        let key = rcgen::KeyPair::generate().expect("a key");
        let parameters = rcgen::CertificateParams::new(vec!["a.example.com".to_owned()]);
        let certificate = parameters.and_then(|parameters| parameters.self_signed(&key));
        let certificate = certificate.expect("a certificate").pem();
        material(certificate.as_bytes(), key.serialize_pem().as_bytes())
            .expect("they belong together")
    }

    #[test]
    fn an_end_between_the_two_renamings_is_made_good() {
        let directory = tempfile::tempdir().expect("a directory");
        let home = Home {
            directory: directory.path().to_owned(),
        };
        let (old, new) = (made(), made());
        home.put(&old).expect("put");
        home.finish_putting().expect("nothing to do");
        let path = |name: &str| directory.path().join(name);
        write(&path("key.pem"), new.key_pem().as_bytes()).expect("written");
        write(&path("next.certificate.pem"), new.chain_pem().as_bytes()).expect("written");
        home.finish_putting().expect("finished");
        home.clear_next().expect("cleared");
        let kept = home.load().expect("usable").expect("there");
        assert_eq!(kept.chain, new.chain);
    }

    #[test]
    fn a_file_that_is_set_aside_takes_the_place_of_no_other() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("account.json");
        let mut names = Vec::new();
        for text in ["one", "two"] {
            write(&path, text.as_bytes()).expect("written");
            names.push(set_aside(&path).expect("renamed"));
        }
        let texts = names
            .iter()
            .map(|name| fs::read_to_string(name).expect("there"));
        assert_eq!(texts.collect::<Vec<_>>(), ["one", "two"]);
        assert!(!path.exists());
    }
}
