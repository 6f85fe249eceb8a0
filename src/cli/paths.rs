//! Which configuration file is meant, and where its relative paths start.
//!
//! Owns the default places. nginx resolves everything against a prefix fixed when it was built; here
//! the prefix is the directory of the configuration unless `-p` says otherwise, so that one
//! directory is a whole setup.

use std::fmt;
use std::path::{Path, PathBuf};

use super::args::Options;
use crate::process::EarlyLog;
use crate::process::places::SYSTEM_CONF as SYSTEM;

/// The places of one run, all absolute.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Paths {
    /// The configuration file.
    pub conf: PathBuf,
    /// Where relative paths start.
    pub prefix: PathBuf,
    /// The error log until the configuration names one; `stderr` is a word.
    pub error_log: EarlyLog,
}

/// What the surroundings say.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The working directory.
    pub current: PathBuf,
    /// `XDG_CONFIG_HOME`
    pub config_home: Option<PathBuf>,
    /// `HOME`
    pub home: Option<PathBuf>,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_process() -> Self {
        let path = |name| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        Self {
            current: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            config_home: path("XDG_CONFIG_HOME"),
            home: path("HOME"),
        }
    }

    /// The configuration of this user, whether it is there or not.
    pub fn personal_conf(&self) -> Option<PathBuf> {
        let home = self.home.as_ref().map(|home| home.join(".config"));
        let personal = self.config_home.clone().or(home)?;
        Some(personal.join("openclaw/openclaw.conf"))
    }
}

/// No configuration was named, and none is at the default places.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotFound {
    looked_at: Vec<PathBuf>,
}

impl fmt::Display for NotFound {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("no configuration: there is neither ")?;
        for (position, path) in self.looked_at.iter().enumerate() {
            if position > 0 {
                formatter.write_str(" nor ")?;
            }
            write!(formatter, "`{}`", path.display())?;
        }
        Ok(())
    }
}

impl std::error::Error for NotFound {}

/// Finds the places; `exists` tells whether there is such a file.
pub fn find(
    options: &Options,
    surroundings: &Surroundings,
    exists: impl Fn(&Path) -> bool,
) -> Result<Paths, NotFound> {
    let given_prefix = options
        .prefix
        .as_ref()
        .map(|prefix| plain(&surroundings.current.join(prefix)));
    let conf = match (&options.conf, &given_prefix) {
        (Some(conf), Some(prefix)) => plain(&prefix.join(conf)),
        (Some(conf), None) => plain(&surroundings.current.join(conf)),
        (None, given_prefix) => {
            let candidates = match given_prefix {
                Some(prefix) => vec![
                    prefix.join("conf/openclaw.conf"),
                    prefix.join("openclaw.conf"),
                ],
                None => [Some(PathBuf::from(SYSTEM)), surroundings.personal_conf()]
                    .into_iter()
                    .flatten()
                    .collect(),
            };
            match candidates.iter().position(|candidate| exists(candidate)) {
                Some(position) => candidates[position].clone(),
                None => {
                    return Err(NotFound {
                        looked_at: candidates,
                    });
                }
            }
        }
    };
    let has_prefix = given_prefix.is_some();
    let prefix = given_prefix
        .or_else(|| conf.parent().map(Path::to_owned))
        .unwrap_or_else(|| PathBuf::from("/"));
    let error_log = match &options.error_log {
        Some(word) if word == Path::new("stderr") => EarlyLog::Named(word.clone()),
        Some(path) => EarlyLog::Named(prefix.join(path)),
        None if has_prefix => EarlyLog::Usual(prefix.join("logs/error.log")),
        None => EarlyLog::Usual("/var/log/openclaw/error.log".into()),
    };
    Ok(Paths {
        conf,
        prefix,
        error_log,
    })
}

/// The same path without `.` and doubled slashes, for people to read.
fn plain(path: &Path) -> PathBuf {
    path.components().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surroundings() -> Surroundings {
        Surroundings {
            current: "/srv".into(),
            config_home: None,
            home: Some("/home/me".into()),
        }
    }

    fn found(options: &Options, there: &[&str]) -> Result<Paths, NotFound> {
        find(options, &surroundings(), |path| {
            there.iter().any(|file| Path::new(file) == path)
        })
    }

    #[test]
    fn a_relative_configuration_starts_at_the_prefix_or_else_where_we_are() {
        let options = Options {
            conf: Some("conf/a.conf".into()),
            ..Options::default()
        };
        let paths = found(&options, &[]).expect("named");
        assert_eq!(paths.conf, Path::new("/srv/conf/a.conf"));
        assert_eq!(paths.prefix, Path::new("/srv/conf"));
        let options = Options {
            prefix: Some("site/".into()),
            ..options
        };
        let paths = found(&options, &[]).expect("named");
        assert_eq!(paths.conf, Path::new("/srv/site/conf/a.conf"));
        assert_eq!(paths.prefix, Path::new("/srv/site/"));
        assert_eq!(
            paths.error_log,
            EarlyLog::Usual("/srv/site/logs/error.log".into())
        );
    }

    #[test]
    fn the_system_configuration_comes_before_the_personal_one() {
        let personal = "/home/me/.config/openclaw/openclaw.conf";
        let options = Options::default();
        let paths = found(&options, &[personal, SYSTEM]).expect("there");
        assert_eq!(paths.conf, Path::new(SYSTEM));
        assert_eq!(paths.prefix, Path::new("/etc/openclaw"));
        let paths = found(&options, &[personal]).expect("there");
        assert_eq!(paths.conf, Path::new(personal));
        assert_eq!(
            found(&options, &[]).expect_err("nothing there").to_string(),
            format!("no configuration: there is neither `{SYSTEM}` nor `{personal}`")
        );
    }

    #[test]
    fn a_prefix_alone_names_the_configuration_below_it() {
        let options = Options {
            prefix: Some("/srv".into()),
            ..Options::default()
        };
        let paths = found(&options, &["/srv/openclaw.conf"]).expect("there");
        assert_eq!(paths.conf, Path::new("/srv/openclaw.conf"));
        let paths = found(&options, &["/srv/openclaw.conf", "/srv/conf/openclaw.conf"]);
        assert_eq!(
            paths.expect("there").conf,
            Path::new("/srv/conf/openclaw.conf")
        );
        found(&options, &[SYSTEM]).expect_err("not below the prefix");
    }

    #[test]
    fn the_error_log_of_the_command_line_starts_at_the_prefix_and_may_be_stderr() {
        let with = |error_log: &str| Options {
            conf: Some("/etc/x/a.conf".into()),
            error_log: Some(error_log.into()),
            ..Options::default()
        };
        let log = |text| found(&with(text), &[]).expect("named").error_log;
        assert_eq!(log("e.log"), EarlyLog::Named("/etc/x/e.log".into()));
        assert_eq!(log("stderr"), EarlyLog::Named("stderr".into()));
    }
}
