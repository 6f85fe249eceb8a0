//! `-t`, `-T` and `check`: is the configuration good, and what is wrong with it?

use std::path::Path;
use std::process::ExitCode;

use super::args::Options;
use super::{complain, print};
use crate::conf::diagnostic::{self, Severity};
use crate::conf::include::{COMMAND_LINE, Loaded};
use crate::process::{self, Failed, Setup, Tested};

/// Only warnings, and they were asked to count.
const STRICT: u8 = 2;

/// Tests the configuration and says so in nginx's words.
pub fn run(setup: &Setup, options: &Options) -> ExitCode {
    let Ok(tested) = process::test(setup) else {
        return ExitCode::FAILURE;
    };
    let warnings = tested
        .loaded
        .diagnostics
        .iter()
        .filter(|problem| problem.severity == Severity::Warning)
        .count();
    let is_refused = options.strict && warnings > 0;
    if options.json {
        let loaded = &tested.loaded;
        print(&diagnostic::render_json(
            &loaded.diagnostics,
            &loaded.sources,
        ));
        print("\n");
    } else {
        show(&tested, options.quiet && !options.strict);
    }
    let path = setup.conf.display();
    if !tested.is_good() {
        complain(&format!("openclaw: configuration file {path} test failed"));
        return ExitCode::FAILURE;
    }
    if is_refused {
        complain(&format!(
            "openclaw: configuration file {path} test failed, warnings are not allowed"
        ));
        return ExitCode::from(STRICT);
    }
    if !options.quiet {
        complain(&format!(
            "openclaw: the configuration file {path} syntax is ok"
        ));
        complain(&format!(
            "openclaw: configuration file {path} test is successful"
        ));
    }
    if options.dump {
        dump(&tested.loaded);
    }
    ExitCode::SUCCESS
}

/// Can the configuration be used? What is wrong is shown.
pub fn is_usable(setup: &Setup) -> bool {
    match process::test(setup) {
        Ok(tested) => {
            show(&tested, true);
            tested.is_good()
        }
        Err(Failed) => false,
    }
}

/// Shows what is wrong; quietly, what can be lived with is left out.
fn show(tested: &Tested, quietly: bool) {
    let loaded = &tested.loaded;
    let shown: Vec<_> = loaded
        .diagnostics
        .iter()
        .filter(|problem| !quietly || problem.severity == Severity::Error)
        .cloned()
        .collect();
    process::show(&shown, &loaded.sources);
    if let Some(failure) = &tested.failure {
        complain(&format!("openclaw: [emerg] {failure}"));
    }
}

/// Every file that was read, as nginx prints them.
fn dump(loaded: &Loaded) {
    let sources = &loaded.sources;
    for file in sources.ids() {
        let path = sources.path(file);
        if path == Path::new(COMMAND_LINE) {
            continue;
        }
        let text = sources.text(file);
        print(&format!(
            "# configuration file {}:\n{text}\n",
            path.display()
        ));
    }
}
