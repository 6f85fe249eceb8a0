//! Certificates whose files are known only when a client comes: paths with variables.
//!
//! Owns what such a path may be, loading, and what is kept of it. Who computes the paths, and on which
//! thread files are read, is decided above. Invariant: whatever a client says, no path climbs.

use std::collections::HashMap;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use rustls::sign::CertifiedKey;
use tokio::sync::Semaphore;

use super::material::{self, MaterialError, Source};
use crate::conf::template::Template;
use crate::conf::typed::tls::CertificateCache;
use crate::unit::clock;

/// How many are loaded at a time for one line of the configuration. More wait.
const MOST_AT_ONCE: usize = 4;

/// One `ssl_certificate` with variables.
pub struct Computed {
    /// `ssl_certificate`
    pub certificate: Template,
    /// `ssl_certificate_key`
    pub key: Template,
    /// Bounds the threads that read files.
    pub loading: Arc<Semaphore>,
    directory: PathBuf,
    passwords: Option<PathBuf>,
    limits: Option<CertificateCache>,
    kept: Mutex<HashMap<Wanted, Kept>>,
}

/// What a template came out as: a certificate and its key.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Wanted {
    certificate: Place,
    key: Place,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Place {
    File(PathBuf),
    /// `data:`
    Text(Box<[u8]>),
}

struct Kept {
    certified: Arc<CertifiedKey>,
    loaded: Instant,
    used: Instant,
}

/// A path that is none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadPath(String);

impl fmt::Display for BadPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "`{}` is no path of a certificate or a key",
            self.0
        )
    }
}

impl fmt::Debug for Computed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Computed")
    }
}

impl Computed {
    /// Relative paths start at `directory`.
    pub fn new(
        certificate: Template,
        key: Template,
        directory: PathBuf,
        passwords: Option<PathBuf>,
        limits: Option<CertificateCache>,
    ) -> Arc<Self> {
        Arc::new(Self {
            certificate,
            key,
            loading: Arc::new(Semaphore::new(MOST_AT_ONCE)),
            directory,
            passwords,
            limits,
            kept: Mutex::default(),
        })
    }

    /// What the templates came out as.
    ///
    /// # Errors
    ///
    /// If one is empty, or would climb out of a directory.
    pub fn wanted(&self, certificate: &[u8], key: &[u8]) -> Result<Wanted, BadPath> {
        Ok(Wanted {
            certificate: self.place(certificate)?,
            key: self.place(key)?,
        })
    }

    fn place(&self, value: &[u8]) -> Result<Place, BadPath> {
        if let Some(text) = value.strip_prefix(b"data:") {
            return Ok(Place::Text(text.into()));
        }
        let path = Path::new(std::ffi::OsStr::from_bytes(value));
        let climbs = (path.components()).any(|component| component == Component::ParentDir);
        if value.is_empty() || value.contains(&0) || climbs {
            let shown = String::from_utf8_lossy(value).chars().take(200).collect();
            return Err(BadPath(shown));
        }
        Ok(Place::File(self.directory.join(path)))
    }

    /// The certificate, if it was loaded a short while ago.
    pub fn kept(&self, wanted: &Wanted) -> Option<Arc<CertifiedKey>> {
        let limits = self.limits?;
        let now = clock::now();
        let mut all = self.kept.lock();
        let kept = all.get_mut(wanted)?;
        let is_fresh = now.saturating_duration_since(kept.loaded) < limits.valid
            && now.saturating_duration_since(kept.used) < limits.inactive;
        if !is_fresh {
            all.remove(wanted);
            return None;
        }
        kept.used = now;
        Some(Arc::clone(&kept.certified))
    }

    /// Loads it, and keeps it as the configuration says. Blocks.
    ///
    /// # Errors
    ///
    /// If it cannot be served.
    pub fn load(&self, wanted: &Wanted) -> Result<Arc<CertifiedKey>, MaterialError> {
        // Whoever waited for another to load the same may have it now.
        if let Some(kept) = self.kept(wanted) {
            return Ok(kept);
        }
        let material = material::load_from(
            wanted.certificate.source(),
            wanted.key.source(),
            self.passwords.as_deref(),
        )?;
        let certified = material.certified_key();
        if let Some(limits) = self.limits {
            let now = clock::now();
            let mut all = self.kept.lock();
            if all.len() >= limits.most {
                all.retain(|_, kept| now.saturating_duration_since(kept.used) < limits.inactive);
            }
            while all.len() >= limits.most {
                let oldest = all.iter().min_by_key(|(_, kept)| kept.used);
                let Some(oldest) = oldest.map(|(wanted, _)| wanted.clone()) else {
                    break;
                };
                all.remove(&oldest);
            }
            let kept = Kept {
                certified: Arc::clone(&certified),
                loaded: now,
                used: now,
            };
            all.insert(wanted.clone(), kept);
        }
        Ok(certified)
    }
}

impl Place {
    fn source(&self) -> Source<'_> {
        match self {
            Self::File(path) => Source::File(path),
            Self::Text(bytes) => Source::Text {
                name: "data:…",
                bytes,
            },
        }
    }
}

/// May a name that a client asks for become a part of a path? Names of hosts have no other bytes.
pub fn is_plain_name(name: &str) -> bool {
    name.bytes().all(|byte| {
        byte.is_ascii_lowercase()
            || byte.is_ascii_digit()
            || matches!(byte, b'.' | b'-' | b'_' | b'*')
    }) && !name.starts_with('.')
        && !name.contains("..")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn computed(directory: &Path, limits: Option<CertificateCache>) -> Arc<Computed> {
        let (certificate, key) = (Template::default(), Template::default());
        Computed::new(certificate, key, directory.to_owned(), None, limits)
    }

    fn fixtures() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/certificates")
    }

    #[test]
    fn no_path_climbs() {
        let computed = computed(Path::new("/etc/ssl"), None);
        for good in ["a.pem", "/x/a.pem", "sub/..a/b", "data:", "./a"] {
            assert!(computed.wanted(good.as_bytes(), b"k").is_ok(), "{good}");
        }
        for bad in ["", "..", "../a", "/etc/ssl/../shadow", "a/..", "a\0b"] {
            assert!(computed.wanted(bad.as_bytes(), b"k").is_err(), "{bad}");
            assert!(computed.wanted(b"c", bad.as_bytes()).is_err(), "{bad}");
        }
        for good in ["", "example.com", "*.a.b", "_x.y-z.1"] {
            assert!(is_plain_name(good), "{good}");
        }
        for bad in [
            "..", "a..b", "a/b", ".a", "A", "a b", "ä", "a\0", "a%2fb", "\\",
        ] {
            assert!(!is_plain_name(bad), "{bad}");
        }
    }

    #[test]
    fn without_a_cache_every_client_gets_what_the_files_hold() {
        let computed = computed(&fixtures(), None);
        let wanted = computed.wanted(b"rsa.pem", b"rsa.key").expect("a path");
        let one = computed.load(&wanted).expect("it loads");
        assert!(computed.kept(&wanted).is_none());
        let other = computed.load(&wanted).expect("it loads");
        assert!(!Arc::ptr_eq(&one, &other));
        let error = computed
            .load(&computed.wanted(b"none.pem", b"none.key").expect("a path"))
            .expect_err("it is not there");
        assert!(error.to_string().contains("none.pem"), "{error}");
    }

    #[test]
    fn the_cache_keeps_so_many_and_drops_what_was_used_longest_ago() {
        let limits = CertificateCache {
            most: 2,
            inactive: Duration::from_secs(600),
            valid: Duration::from_secs(600),
        };
        let computed = computed(&fixtures(), Some(limits));
        let wanted = |name: &str| {
            let (certificate, key) = (format!("{name}.pem"), format!("{name}.key"));
            computed
                .wanted(certificate.as_bytes(), key.as_bytes())
                .expect("a path")
        };
        let one = computed.load(&wanted("rsa")).expect("it loads");
        computed.load(&wanted("other")).expect("it loads");
        let kept = computed.kept(&wanted("rsa")).expect("it is kept");
        assert!(Arc::ptr_eq(&one, &kept));
        computed.load(&wanted("ed25519")).expect("it loads");
        assert!(computed.kept(&wanted("rsa")).is_some());
        assert!(computed.kept(&wanted("other")).is_none());
        assert!(computed.kept(&wanted("ed25519")).is_some());
    }

    #[test]
    fn what_is_too_old_is_loaded_again() {
        let limits = CertificateCache {
            most: 2,
            inactive: Duration::from_secs(600),
            valid: Duration::ZERO,
        };
        let computed = computed(&fixtures(), Some(limits));
        let wanted = computed.wanted(b"rsa.pem", b"rsa.key").expect("a path");
        computed.load(&wanted).expect("it loads");
        assert!(computed.kept(&wanted).is_none());
    }

    #[test]
    fn text_is_as_good_as_a_file_and_is_never_shown() {
        let computed = computed(&fixtures(), None);
        let text = |name: &str| {
            let text = std::fs::read(fixtures().join(name)).expect("a file");
            [b"data:", &text[..]].concat()
        };
        let (certificate, key) = (text("rsa.pem"), text("rsa.key"));
        let wanted = computed.wanted(&certificate, &key).expect("text");
        assert!(computed.load(&wanted).is_ok());
        let wanted = computed.wanted(&key, &key).expect("text");
        let error = computed.load(&wanted).expect_err("no certificate");
        assert_eq!(
            error.to_string(),
            "certificate `data:…` has no certificate, but `PRIVATE KEY`"
        );
    }
}
