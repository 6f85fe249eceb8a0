//! Secrets: tokens, keys and passwords, read from where the configuration says when they are needed.
//!
//! Read anew at each use, so that a token that was replaced is used without a reload. Invariant:
//! neither `Debug` nor an error shows one, and [`Secret::mask`] takes it out of the words of others.

use std::error::Error;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::{env, fmt, io};

use crate::conf::typed::secret::SecretSource;

/// A file that holds a secret has at most so many bytes.
const MOST_BYTES: u64 = 64 * 1024;

/// A shorter text is not taken out of the words of others: it would stand in them by chance.
const LEAST_MASKED: usize = 4;

/// A secret at hand.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Reads a secret; white space around it is dropped. May block for the time that a small file
    /// takes.
    pub fn read(source: &SecretSource) -> Result<Self, SecretError> {
        let text = match source {
            SecretSource::Literal(text) => text.to_string(),
            SecretSource::Environment(name) => env::var(&**name).map_err(|error| match error {
                env::VarError::NotPresent => SecretError::NoVariable(name.clone()),
                env::VarError::NotUnicode(_) => SecretError::NotText(source.to_string()),
            })?,
            SecretSource::File(path) => text_of(path, source)?,
            SecretSource::Credential(name) => {
                let directory = env::var_os("CREDENTIALS_DIRECTORY")
                    .ok_or_else(|| SecretError::NoCredentials(name.clone()))?;
                text_of(&Path::new(&directory).join(&**name), source)?
            }
        };
        match text.trim() {
            "" => Err(SecretError::Empty(source.to_string())),
            text => Ok(Self(text.into())),
        }
    }

    /// The text itself, to be sent to whom it is for.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// A text in which this secret is replaced by `***`.
    pub fn mask(&self, text: &str) -> String {
        match self.0.len() < LEAST_MASKED {
            true => text.to_owned(),
            false => text.replace(&*self.0, "***"),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

/// Why a secret is not at hand.
#[derive(Debug)]
pub enum SecretError {
    /// The environment lacks the variable.
    NoVariable(Box<str>),
    /// There is no directory of credentials.
    NoCredentials(Box<str>),
    /// The file cannot be read.
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is larger than any secret.
    TooLarge(String),
    /// It is not UTF-8.
    NotText(String),
    /// Nothing but white space.
    Empty(String),
}

impl fmt::Display for SecretError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoVariable(name) => write!(formatter, "the environment has no variable `{name}`"),
            Self::NoCredentials(name) => write!(
                formatter,
                "no credential `{name}`: systemd gave no `$CREDENTIALS_DIRECTORY` \
                 (hint: `LoadCredential={name}:PATH` in the unit)"
            ),
            Self::Unreadable { path, .. } => {
                write!(formatter, "cannot read the secret in `{}`", path.display())
            }
            Self::TooLarge(place) => {
                write!(formatter, "`{place}` holds more than {MOST_BYTES} bytes")
            }
            Self::NotText(place) => write!(formatter, "`{place}` holds no UTF-8 text"),
            Self::Empty(place) => write!(formatter, "`{place}` is empty"),
        }
    }
}

impl Error for SecretError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } => Some(source),
            _ => None,
        }
    }
}

fn text_of(path: &Path, place: &SecretSource) -> Result<String, SecretError> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?
            .take(MOST_BYTES + 1)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|source| SecretError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(SecretError::TooLarge(place.to_string()));
    }
    String::from_utf8(bytes).map_err(|_| SecretError::NotText(place.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_comes_from_a_file_without_the_end_of_its_line() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("token");
        std::fs::write(&path, "  9f86d081\n").expect("written");
        let secret = Secret::read(&SecretSource::File(path)).expect("readable");
        assert_eq!(secret.expose(), "9f86d081");
    }

    #[test]
    fn a_secret_comes_from_the_environment() {
        // Cargo sets it for every test.
        let source = SecretSource::Environment("CARGO_PKG_NAME".into());
        assert_eq!(Secret::read(&source).expect("set").expose(), "openclaw");
    }

    #[test]
    fn what_cannot_be_read_names_the_place_and_never_the_text() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = |name: &str, bytes: &[u8]| {
            let path = directory.path().join(name);
            std::fs::write(&path, bytes).expect("written");
            SecretSource::File(path)
        };
        let long = vec![b'x'; MOST_BYTES as usize + 1];
        for (source, expected) in [
            (
                SecretSource::Environment("NO_SUCH_VARIABLE".into()),
                "no variable `NO_SUCH_VARIABLE`",
            ),
            (
                SecretSource::Credential("dns".into()),
                "no credential `dns`",
            ),
            (
                SecretSource::File(directory.path().join("none")),
                "cannot read the secret in",
            ),
            (file("empty", b" \n"), "is empty"),
            (file("long", &long), "more than 65536 bytes"),
            (file("binary", b"\xff\xfe"), "no UTF-8 text"),
        ] {
            let error = Secret::read(&source).expect_err("not there").to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_secret_is_shown_nowhere() {
        let source = SecretSource::Literal("9f86d081".into());
        let secret = Secret::read(&source).expect("text");
        assert_eq!(format!("{secret:?} {source} {source:?}"), "*** *** ***");
        assert_eq!(secret.mask("bad token 9f86d081."), "bad token ***.");
        let short = Secret::read(&SecretSource::Literal("a".into())).expect("text");
        assert_eq!(short.mask("a bad token"), "a bad token");
    }
}
