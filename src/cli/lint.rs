//! `openclaw lint`: traps of a configuration that can be used, and what a test of it tells as well.

use std::process::ExitCode;

use super::exit::Exit;
use super::session::{Failure, setup};
use super::words::Daemon;
use super::{complain, conf_file, print};
use crate::conf::diagnostic::{self, any_error};
use crate::conf::lint::lint;
use crate::process;

/// Problems were found, and they were asked to count.
const STRICT: u8 = 2;

/// Looks at the configuration, which need not be in force.
pub fn run(is_strict: bool, daemon: &Daemon) -> Result<ExitCode, Failure> {
    let setup = setup(daemon).map_err(|error| Failure::failed(error.to_string()))?;
    if let Err(error) = std::fs::File::open(&setup.conf) {
        return Err(Failure::Told(
            Exit::Configuration,
            format!("`{}`: {error}", setup.conf.display()),
        ));
    }
    let (mut loaded, _) = conf_file::read(&setup);
    lint(&mut loaded);
    let problems = &loaded.diagnostics;
    if daemon.json {
        print(&diagnostic::render_json(problems, &loaded.sources));
    } else {
        process::show(problems, &loaded.sources);
        let count = problems.len();
        let count = match count {
            0 => "no traps found".to_owned(),
            1 => "1 problem; `openclaw explain CODE` says more".to_owned(),
            _ => format!("{count} problems; `openclaw explain CODE` says more"),
        };
        complain(&format!("openclaw: {}: {count}", setup.conf.display()));
    }
    Ok(if any_error(problems) {
        ExitCode::FAILURE
    } else if is_strict && !problems.is_empty() {
        ExitCode::from(STRICT)
    } else {
        ExitCode::SUCCESS
    })
}
