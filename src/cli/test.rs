//! `-t`, `-T` and `check`: is the configuration good, and what is wrong with it?

use std::path::Path;
use std::process::ExitCode;

use super::args::Options;
use super::{complain, print};
use crate::conf::diagnostic::{self, Severity, any_error};
use crate::conf::include::{COMMAND_LINE, Loaded};
use crate::process::{self, Setup};

/// Only warnings, and they were asked to count.
const STRICT: u8 = 2;

/// Tests the configuration and says so in nginx's words.
pub fn run(setup: &Setup, options: &Options) -> ExitCode {
    let path = setup.conf.display();
    let Ok(tested) = process::test(setup) else {
        complain(&format!("openclaw: configuration file {path} test failed"));
        return ExitCode::FAILURE;
    };
    let warnings = tested
        .loaded
        .diagnostics
        .iter()
        .filter(|problem| problem.severity == Severity::Warning)
        .count();
    let is_refused = options.strict && warnings > 0;
    let loaded = &tested.loaded;
    if options.json {
        print(&diagnostic::render_json(
            &loaded.diagnostics,
            &loaded.sources,
        ));
        print("\n");
    } else {
        show(loaded, options.quiet && !options.strict);
    }
    if !any_error(&loaded.diagnostics) && !options.quiet {
        complain(&format!(
            "openclaw: the configuration file {path} syntax is ok"
        ));
    }
    if let Some(failure) = &tested.failure {
        complain(&format!("openclaw: [emerg] {failure}"));
    }
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
            "openclaw: configuration file {path} test is successful"
        ));
    }
    if options.dump {
        dump(loaded);
    }
    ExitCode::SUCCESS
}

/// Can the configuration be used? What is wrong is shown.
pub fn is_usable(setup: &Setup) -> bool {
    let Ok(tested) = process::test(setup) else {
        return false;
    };
    show(&tested.loaded, true);
    if let Some(failure) = &tested.failure {
        complain(&format!("openclaw: [emerg] {failure}"));
    }
    tested.is_good()
}

/// Shows what is wrong; quietly, what can be lived with is left out.
fn show(loaded: &Loaded, quietly: bool) {
    let shown: Vec<_> = loaded
        .diagnostics
        .iter()
        .filter(|problem| !quietly || problem.severity == Severity::Error)
        .cloned()
        .collect();
    process::show(&shown, &loaded.sources);
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
