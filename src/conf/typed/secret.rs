//! Where a secret is: not the secret itself, unless somebody wrote it into the configuration.

use std::fmt;
use std::path::PathBuf;

/// Where to find a token, key or password when it is needed.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// `env:NAME`: a variable of the process's environment.
    Environment(Box<str>),
    /// `file:PATH`: the text of a file.
    File(PathBuf),
    /// `credential:NAME`: a file of that name in `$CREDENTIALS_DIRECTORY`, where systemd puts what
    /// `LoadCredential=` names.
    Credential(Box<str>),
    /// The text itself; never shown.
    Literal(Box<str>),
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl fmt::Display for SecretSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(name) => write!(formatter, "env:{name}"),
            Self::File(path) => write!(formatter, "file:{}", path.display()),
            Self::Credential(name) => write!(formatter, "credential:{name}"),
            Self::Literal(_) => formatter.write_str("***"),
        }
    }
}
