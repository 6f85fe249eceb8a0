//! A configuration read from its files, without a daemon and without opening anything else.

use std::io;

use super::exit::Exit;
use super::session::{Failure, setup};
use super::words::Daemon;
use crate::conf::check::check;
use crate::conf::include::{self, Loaded};
use crate::conf::typed::Config;
use crate::conf::typed::log::{ErrorLog, Level, Target};
use crate::conf::typed::lower::config::lower;
use crate::process::{self, Setup};

/// The texts with what is wrong with them, and what they mean if nothing is that forbids it.
pub fn read(setup: &Setup) -> (Loaded, Option<Config>) {
    let mut loaded = include::load(&setup.conf, &setup.prefix, None);
    check(&mut loaded);
    let usual = ErrorLog {
        target: Target::Stderr,
        level: Level::Error,
    };
    let config = lower(&mut loaded, &setup.prefix, &[usual]);
    (loaded, config)
}

/// As [`read`], for a word that can do without; its problems are not shown.
pub fn read_quietly(daemon: &Daemon) -> Option<(Loaded, Config)> {
    let setup = setup(daemon).ok()?;
    match read(&setup) {
        (loaded, Some(config)) => Some((loaded, config)),
        (_, None) => None,
    }
}

/// As [`read`], for a word that cannot go on without it; its problems are shown.
pub fn read_good(daemon: &Daemon) -> Result<(Loaded, Config), Failure> {
    let setup = setup(daemon).map_err(|error| Failure::failed(error.to_string()))?;
    let readable = std::fs::File::open(&setup.conf);
    readable.map_err(|error: io::Error| {
        Failure::Told(
            Exit::Configuration,
            format!("`{}`: {error}", setup.conf.display()),
        )
    })?;
    match read(&setup) {
        (loaded, Some(config)) => Ok((loaded, config)),
        (loaded, None) => {
            process::show(&loaded.diagnostics, &loaded.sources);
            Err(Failure::Quiet(Exit::Configuration))
        }
    }
}
