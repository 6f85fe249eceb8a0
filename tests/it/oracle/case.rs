//! A differential case as it lies in `tests/oracle/`: `NAME.conf`, `NAME.requests`, `NAME.files`.
//!
//! The configuration is what both servers load, with the placeholders of [`crate::support::server`]
//! and besides them `%BACKEND1%` (a recording backend's address) and `%UNIX1%` (the same on a Unix
//! socket). The files are a fixture tree, see [`crate::support::fixture`].
//!
//! Options in `NAME.requests`:
//! - `option explicit-connection`: the case itself says what `Connection` goes upstream;
//! - `option own-length`: answers may have a length in the place of chunks;
//! - `option unlogged`: the logs are not compared (the reason stands beside it).

use std::fs;
use std::path::{Path, PathBuf};

use super::requests::{Requests, parse};

pub struct Case {
    pub conf: String,
    pub requests: Requests,
    pub files: String,
}

impl Case {
    pub fn load(name: &str) -> Self {
        let read = |ending: &str| fs::read_to_string(directory().join(format!("{name}.{ending}")));
        let requests = read("requests").expect("each case has its requests");
        Self {
            conf: read("conf").expect("each case has its configuration"),
            requests: parse(&requests),
            files: read("files").unwrap_or_default(),
        }
    }

    pub fn has(&self, option: &str) -> bool {
        self.requests.options.iter().any(|own| own == option)
    }
}

/// Where the cases lie.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle")
}
